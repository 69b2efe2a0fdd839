package assessment

import (
	"encoding/json"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// FuzzOperation: an operation is taken or refused by itself, and what is taken has one
// canonical form that says the same.
func FuzzOperation(f *testing.F) {
	for _, seed := range []string{
		`{"client_seq":1,"kind":"answer","slot":1,"answer":{"choice":{"keys":["a","b"],"none":true}}}`,
		`{"client_seq":2,"kind":"answer","slot":1,"answer":{"essay":{"text":"\"\\\b\f\n\r\t\u0001\u2028😀","media_ids":["media_01h455vb4pex5vsknk084sn02q"]}}}`,
		`{"client_seq":3,"kind":"answer","slot":2,"answer":{"hot_spot":{"marks":[{"point":{"x":0,"y":7}},{"region_key":"a"}]}}}`,
		`{"client_seq":4,"kind":"answer","slot":2,"answer":{"cleared":{}}}`, `{"client_seq":5,"kind":"page","page":1}`, `{"client_seq":6,"kind":"finish"}`,
		`{"client_seq":7,"kind":"check","slot":1,"client_time":"2026-05-04T09:00:00.123456789Z"}`, `{}`, `{"client_seq":-1,"slot":-1,"page":-1}`,
		`{"client_seq":8,"kind":"flag","slot":1,"client_time":"0001-01-01T00:00:00Z"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		op := &assessmentpb.Operation{}
		if protojson.Unmarshal(data, op) != nil {
			return
		}
		o := readOperation(op, 0)
		if o.lost != (o.verdict == invalid) || o.lost && o.hint == "" {
			t.Fatalf("%v: %q %q %q", op, o.verdict, o.code, o.hint)
		}
		if o.lost {
			return
		}
		if o.seq < 1 || !slices.Contains(opKinds, o.kind) || (o.value != nil) != (o.kind == opAnswer) {
			t.Fatalf("%v was taken: %v", op, o)
		}
		if o.value == nil {
			return
		}
		if !json.Valid(o.value) {
			t.Fatalf("%v is written %s", op, o.value)
		}
		back := &questionpb.Answer{}
		if err := protojson.Unmarshal(o.value, back); err != nil {
			t.Fatalf("%s: %v", o.value, err)
		}
		if again := canonical(back); string(again) != string(o.value) {
			t.Fatalf("%s comes back as %s", o.value, again)
		}
		if digest(o.kind, o.slot, o.page, o.value) != digest(op.GetKind(), op.GetSlot(), op.GetPage(), canonical(proto.CloneOf(op.GetAnswer()))) {
			t.Fatal("the same operation has two digests")
		}
	})
}
