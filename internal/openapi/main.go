// Command openapi writes the OpenAPI 3.1 document of the REST interface from the
// contracts:
//
//	go run ./internal/openapi
//
// It does not post-process what protoc-gen-openapiv3 writes, because that knows
// neither the limits of validate.proto nor the rules of options.proto, describes
// another error than ours and 200 for every answer: all but the names would be
// written over. Read from the descriptors, the same is one walk, and needs no
// tool but Go, so that a test can hold the committed document to the contracts.
//
// What a contract says and this can't tell in OpenAPI is an error, so that no
// rule is lost in silence.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/reflect/protoregistry"

	// The contracts with an address over HTTP. A test of the edge misses the
	// operations of one that is forgotten here.
	_ "github.com/stoa-lms/stoa/internal/service/access/accesspb"
	_ "github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	_ "github.com/stoa-lms/stoa/internal/service/audit/auditpb"
	_ "github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	_ "github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	_ "github.com/stoa-lms/stoa/internal/service/discovery/discoverypb"
	_ "github.com/stoa-lms/stoa/internal/service/grades/gradespb"
	_ "github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	_ "github.com/stoa-lms/stoa/internal/service/learning/learningpb"
	_ "github.com/stoa-lms/stoa/internal/service/media/mediapb"
	_ "github.com/stoa-lms/stoa/internal/service/notify/notifypb"
)

// output is where the edge embeds the document.
const output = "internal/service/edge/assets/openapi.json"

func main() {
	root := flag.String("root", ".", "root of the repository")
	flag.Parse()
	if err := run(*root); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	text, err := generate(root)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, output), text, 0o644) //nolint:gosec // a source file
}

// generate returns the document of the contracts of the repository at root.
func generate(root string) ([]byte, error) {
	d, err := document(protoregistry.GlobalFiles, root)
	if err != nil {
		return nil, err
	}
	return d.Encode()
}
