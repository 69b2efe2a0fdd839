package edge

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// anyText is text with what needs care in JSON.
func anyText(t *rapid.T, label string) string {
	return rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"", "\"\\/\b\f\n\r\t", "\u2028\u2029", "</script>&", "\x00\x1f\x7f", "\U0001F600", "é", strings.Repeat("x", 3000),
	})).Draw(t, label)
}

// What the codec writes is JSON, and reads back as the same message.
func TestWhatIsWrittenReadsBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "seconds"), rapid.Int64Range(0, 999999999).Draw(t, "nanos"))
		lesson := &coursespb.Lesson{
			Id: anyText(t, "id"), Title: anyText(t, "title"), Position: rapid.Int32().Draw(t, "position"), Preview: rapid.Bool().Draw(t, "preview"),
			Blocks: []*coursespb.Block{
				{Content: &coursespb.Block_Markdown{Markdown: &coursespb.MarkdownBlock{Text: anyText(t, "text")}}},
				{Content: &coursespb.Block_File{File: &coursespb.FileBlock{Size: rapid.Int64().Draw(t, "size")}}},
				{},
			},
			UpdatedAt: timestamppb.New(at),
		}
		order := &commercepb.Order{
			State: anyText(t, "state"), Total: &moneypb.Money{Amount: rapid.Int64().Draw(t, "amount"), Currency: "EUR"},
			Lines: []*commercepb.OrderLine{{Title: anyText(t, "line")}, {}},
		}
		for _, m := range []proto.Message{lesson, order, &coursespb.Course{Tags: []string{anyText(t, "tag"), ""}}, &coursespb.Outline{}} {
			text, err := codec{}.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if !json.Valid(text) {
				t.Fatalf("not JSON: %s", text)
			}
			back := m.ProtoReflect().New().Interface()
			if err := protojson.Unmarshal(text, back); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			if !proto.Equal(m, back) {
				t.Fatalf("%s\nreads back as %v,\nwas %v", text, back, m)
			}
		}
	})
}

// Every field of the contract is there, but for messages that are not set.
func TestEmptyMessage(t *testing.T) {
	t.Parallel()
	text, err := codec{}.Marshal(&commercepb.Order{Total: &moneypb.Money{Amount: 1 << 40}})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"","buyer_id":"","state":"","lines":[],"total":{"amount":1099511627776,"currency":""},"pay_url":"","coupon_id":"","subscription_id":""}`
	if string(text) != want {
		t.Fatalf("%s, want %s", text, want)
	}
}

func FuzzString(f *testing.F) {
	f.Add("a\xffb\u2028\"")
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(appendString(nil, s), &back); err != nil {
			t.Fatal(err)
		}
		if back != strings.ToValidUTF8(s, "\ufffd") && back != toValid(s) {
			t.Fatalf("%q reads back as %q", s, back)
		}
	})
}

// toValid replaces each byte that is not UTF-8, one by one, as encoding/json does.
func toValid(s string) string { return string([]rune(s)) }

func FuzzBody(f *testing.F) {
	for _, s := range []string{`{"title":"x"}`, `{"title":7}`, `{"x":1}`, `{`, `[]`, `{"tags":{"values":[1]}}`, "\xff", `{"title":"\ud800"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := &body{ReadCloser: io.NopCloser(strings.NewReader(text))}
		err := codec{}.NewDecoder(b).Decode(&coursespb.UpdateCourseRequest{})
		if err == nil {
			return
		}
		fe, ok := errors.AsType[*fault.Error](b.fault)
		if !ok || fe.Kind != fault.Invalid || fe.Code == "" || strings.Contains(fe.Error(), "\u00a0") {
			t.Fatalf("%q is told as %v", text, b.fault)
		}
	})
}
