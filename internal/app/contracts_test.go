package app_test

import (
	"regexp"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// reads are the words with which the names of RPCs that change nothing begin.
var reads = regexp.MustCompile(`^(Get|List|Search|Explain|Export|Check|Suggest|Download|Diff|Preview)`)

// TestReadsAreGets holds contracts to safe methods: what REST offers as GET
// changes nothing, and what changes nothing is offered as GET.
func TestReadsAreGets(t *testing.T) {
	t.Parallel()
	n := 0
	protoregistry.GlobalFiles.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(fd.Package()), "stoa.") {
			return true
		}
		for i := range fd.Services().Len() {
			methods := fd.Services().Get(i).Methods()
			for j := range methods.Len() {
				h, ok := proto.GetExtension(methods.Get(j).Options(), annotations.E_Http).(*annotations.HttpRule)
				if !ok || h == nil {
					continue
				}
				n++
				_, get := h.GetPattern().(*annotations.HttpRule_Get)
				if name := string(methods.Get(j).Name()); get != reads.MatchString(name) {
					t.Errorf("%s: a GET: %t, named as one that changes nothing: %t", methods.Get(j).FullName(), get, !get)
				}
			}
		}
		return true
	})
	if n < 40 {
		t.Errorf("only %d RPCs with a REST form were found", n)
	}
}
