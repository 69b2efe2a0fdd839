package assessment

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	stoajson "github.com/stoa-lms/stoa/internal/canonical"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// ownCopy is what a student keeps: each operation as JSON as it was sent, with what was
// told of it first.
type ownCopy struct {
	client string
	op     map[string]any
	told   *assessmentpb.OperationVerdict
}

// The functions below make a receipt of a student's own copy, as docs/answers.md says
// it. They know nothing of the program.

// emptied leaves out members that are empty.
func emptied(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, member := range x {
			member = emptied(member)
			list, isList := member.([]any)
			if member == nil || member == false || member == float64(0) || member == "" || isList && len(list) == 0 {
				continue
			}
			out[name] = member
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i := range x {
			out[i] = emptied(x[i])
		}
		return out
	default:
		return v
	}
}

// rfc8785 writes JSON as that document says, of what receipts have.
func rfc8785(v any) string {
	switch x := v.(type) {
	case map[string]any:
		names := make([]string, 0, len(x))
		for name := range x {
			names = append(names, name)
		}
		sort.Strings(names) // all are ASCII
		parts := make([]string, len(names))
		for i, name := range names {
			parts[i] = rfc8785(name) + ":" + rfc8785(x[name])
		}
		return "{" + strings.Join(parts, ",") + "}"
	case []any:
		parts := make([]string, len(x))
		for i := range x {
			parts[i] = rfc8785(x[i])
		}
		return "[" + strings.Join(parts, ",") + "]"
	case string:
		var b strings.Builder
		for _, r := range x {
			short, ok := map[rune]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\t': `\t`, '\n': `\n`, '\f': `\f`, '\r': `\r`}[r]
			switch {
			case ok:
				b.WriteString(short)
			case r < 0x20:
				fmt.Fprintf(&b, `\u%04x`, r)
			default:
				b.WriteRune(r)
			}
		}
		return `"` + b.String() + `"`
	case bool:
		return fmt.Sprint(x)
	case float64:
		return fmt.Sprintf("%.0f", x)
	default:
		panic(fmt.Sprintf("%T", v))
	}
}

const sixPlaces = "2006-01-02T15:04:05.000000Z07:00"

// recompute makes the hash of a receipt.
func recompute(header map[string]any, copies []ownCopy) string {
	copies = slices.Clone(copies)
	sort.Slice(copies, func(i, j int) bool { return copies[i].told.GetSeq() < copies[j].told.GetSeq() })
	var b strings.Builder
	b.WriteString(rfc8785(emptied(header)) + "\n")
	for _, c := range copies {
		if v := c.told.GetVerdict(); v != "accepted" && v != "late" && v != "accepted_later" {
			continue
		}
		line := map[string]any{
			"answer": c.op["answer"], "client": c.client, "kind": c.op["kind"], "n": c.op["client_seq"], "page": c.op["page"],
			"received": c.told.GetReceivedAt().AsTime().Format(sixPlaces), "seq": float64(c.told.GetSeq()), "slot": c.op["slot"], "verdict": c.told.GetVerdict(),
		}
		b.WriteString(rfc8785(emptied(line)) + "\n")
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}

// keepOwn sends operations and keeps a copy of what was sent and told.
func (st *student) keepOwn(copies []ownCopy, client string, ops ...*assessmentpb.Operation) []ownCopy {
	st.t.Helper()
	for i, v := range st.send(client, ops...).GetVerdicts() {
		if v.GetRepeated() || v.GetSeq() == 0 {
			continue
		}
		sent := ops[i] //nolint:gosec // G602: a verdict for each
		raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(sent)
		if err != nil {
			st.t.Fatal(err)
		}
		var op map[string]any
		if err := json.Unmarshal(raw, &op); err != nil {
			st.t.Fatal(err)
		}
		op["client_seq"] = float64(sent.GetClientSeq()) // protojson writes it as text
		copies = append(copies, ownCopy{client, op, v})
	}
	return copies
}

// verified holds a receipt to the student's own copy and to the published keys.
func (st *student) verified(r *assessmentpb.Receipt, by string, submitted time.Time, copies []ownCopy) {
	st.t.Helper()
	counts := 0
	for _, c := range copies {
		if v := c.told.GetVerdict(); v == "accepted" || v == "late" || v == "accepted_later" {
			counts++
		}
	}
	header := map[string]any{
		"account": st.account, "attempt": st.attempt.GetId(), "by": by, "format": "stoa-receipt-1", "number": float64(r.GetNumber()),
		"operations": float64(counts), "quiz": st.attempt.GetQuizId(), "quiz_version": float64(1), "submitted": submitted.Format(sixPlaces),
	}
	if got := recompute(header, copies); got != r.GetSha256() {
		st.t.Errorf("the receipt %d has %s, one's own copy makes %s", r.GetNumber(), r.GetSha256(), got)
	}
	if rfc8785(header) != r.GetHeader() {
		st.t.Errorf("header %s, want %s", r.GetHeader(), rfc8785(header))
	}
	keys, err := st.attempts.ListReceiptKeys(st.t.Context(), &assessmentpb.ListReceiptKeysRequest{})
	if err != nil || len(keys.GetItems()) != 1 || keys.GetItems()[0].GetId() != r.GetKeyId() {
		st.t.Fatalf("keys: %v, %v", keys, err)
	}
	key, err := base64.StdEncoding.DecodeString(keys.GetItems()[0].GetPublicKey())
	if err != nil {
		st.t.Fatal(err)
	}
	signature, err := base64.StdEncoding.DecodeString(r.GetSignature())
	if err != nil {
		st.t.Fatal(err)
	}
	if !ed25519.Verify(key, []byte("stoa-receipt-1 "+r.GetSha256()), signature) {
		st.t.Error("the signature does not hold")
	}
	if ed25519.Verify(key, []byte("stoa-receipt-1 "+strings.Repeat("0", 64)), signature) {
		st.t.Error("the signature holds for anything")
	}
}

func TestReceiptOfOnesOwnCopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	st := w.start(w.letters(&assessmentpb.QuizSettings{TimeLimitSeconds: 600, Overtime: "grace", GraceSeconds: 60}))
	cleared := &assessmentpb.Operation{ClientSeq: 4, Kind: opAnswer, Slot: 2, Answer: &questionpb.Answer{Content: &questionpb.Answer_Cleared{Cleared: &questionpb.ClearedAnswer{}}}}
	empty := &assessmentpb.Operation{ClientSeq: 5, Kind: opAnswer, Slot: 3, Answer: &questionpb.Answer{Content: &questionpb.Answer_Choice{Choice: &questionpb.ChoiceAnswer{}}}}
	var own []ownCopy
	own = st.keepOwn(own, laptop, pick(1, 1, "a"), pick(3, 2, "b"), text(6, 4, "\"Zitat\" \\ <&> \u2028 \U0001f600\ttab\r\nlineé"))
	w.later(1234567 * time.Microsecond)
	own = st.keepOwn(own, laptop, pick(2, 2, "c"), cleared, empty, pick(1, 1, "a"), do(7, opFlag, 1))
	own = st.keepOwn(own, phone, pick(1, 3, "b"))
	w.later(10 * time.Minute)
	own = st.keepOwn(own, phone, pick(2, 1, "b"), do(3, opUnflag, 1))
	w.later(time.Minute)
	own = st.keepOwn(own, phone, pick(4, 1, "c"))
	w.end()
	r := st.submit()
	ended := st.attempt.GetExpiresAt().AsTime().Add(time.Minute)
	st.verified(r, "clock", ended, own)
	// The lines that the server has are those.
	log, err := w.attempts.ListMyOperations(w.as(st.account), &assessmentpb.ListMyOperationsRequest{AttemptId: st.attempt.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	all := r.GetHeader() + "\n"
	for _, o := range log.GetItems() {
		if o.GetCounts() && o.GetClientId() != "server" {
			all += o.GetLine() + "\n"
		}
	}
	if sum := sha256.Sum256([]byte(all)); hex.EncodeToString(sum[:]) != r.GetSha256() {
		t.Error("the listed lines do not make the receipt")
	}
	// Another receipt when staff have something count.
	late := own[len(own)-1]
	second, err := w.attempts.AcceptLateAnswers(w.as(st.account), &assessmentpb.AcceptLateAnswersRequest{
		CourseId: st.attempt.GetCourseId(), AttemptId: st.attempt.GetId(), Seqs: []int64{late.told.GetSeq()}, Reason: "Why not",
	})
	if err != nil {
		t.Fatal(err)
	}
	late.told.Verdict = "accepted_later"
	st.verified(second, "clock", ended, own)
	if got, err := w.attempts.GetReceipt(w.as(st.account), &assessmentpb.GetReceiptRequest{AttemptId: st.attempt.GetId()}); err != nil || got.GetNumber() != 2 {
		t.Errorf("the newest: %v, %v", got, err)
	}
	// A copy that differs by anything makes another.
	own[0].op["slot"] = float64(2)
	header := map[string]any{}
	if err := json.Unmarshal([]byte(second.GetHeader()), &header); err != nil {
		t.Fatal(err)
	}
	if recompute(header, own) == second.GetSha256() {
		t.Error("another copy makes the same receipt")
	}
}

// Answers have only what the canonical form knows.
func TestAnswersAreCanonical(t *testing.T) {
	t.Parallel()
	seen := map[protoreflect.FullName]bool{}
	var walk func(md protoreflect.MessageDescriptor)
	walk = func(md protoreflect.MessageDescriptor) {
		if seen[md.FullName()] {
			return
		}
		seen[md.FullName()] = true
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			switch fd.Kind() {
			case protoreflect.MessageKind:
				walk(fd.Message())
			case protoreflect.StringKind, protoreflect.BoolKind, protoreflect.Int32Kind, protoreflect.Int64Kind:
			default:
				t.Errorf("%s is a %s", fd.FullName(), fd.Kind())
			}
			if fd.IsMap() || string(fd.Name()) != strings.ToLower(string(fd.Name())) {
				t.Errorf("%s can't be written", fd.FullName())
			}
		}
	}
	walk((&questionpb.Answer{}).ProtoReflect().Descriptor())
	if len(seen) < 10 {
		t.Errorf("only %d messages", len(seen))
	}
}

// drawAnswer draws an answer with anything in it.
func drawAnswer(t *rapid.T) *questionpb.Answer {
	word := rapid.StringOfN(rapid.Rune(), 0, 12, -1)
	keys := rapid.SliceOfN(rapid.StringMatching(`[a-z0-9_-]{1,5}`), 0, 4)
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0:
		return &questionpb.Answer{Content: &questionpb.Answer_Choice{Choice: &questionpb.ChoiceAnswer{Keys: keys.Draw(t, "keys"), None: rapid.Bool().Draw(t, "none")}}}
	case 1:
		return &questionpb.Answer{Content: &questionpb.Answer_TrueFalse{TrueFalse: &questionpb.TrueFalseAnswer{Value: rapid.Bool().Draw(t, "value")}}}
	case 2:
		return &questionpb.Answer{Content: &questionpb.Answer_Number{Number: &questionpb.NumberAnswer{Text: word.Draw(t, "text"), Unit: word.Draw(t, "unit")}}}
	case 3:
		b := &questionpb.BlanksAnswer{}
		for range rapid.IntRange(0, 3).Draw(t, "gaps") {
			b.Gaps = append(b.Gaps, &questionpb.GapAnswer{GapKey: word.Draw(t, "gap"), Text: word.Draw(t, "text"), Key: word.Draw(t, "key")})
		}
		return &questionpb.Answer{Content: &questionpb.Answer_Blanks{Blanks: b}}
	case 4:
		return &questionpb.Answer{Content: &questionpb.Answer_HotSpot{HotSpot: &questionpb.HotSpotAnswer{Marks: []*questionpb.HotSpotMark{
			{Place: &questionpb.HotSpotMark_Point{Point: &questionpb.ImagePoint{X: rapid.Int32Range(0, 3).Draw(t, "x"), Y: rapid.Int32().Draw(t, "y")}}},
			{Place: &questionpb.HotSpotMark_RegionKey{RegionKey: word.Draw(t, "region")}},
		}}}}
	case 5:
		return &questionpb.Answer{Content: &questionpb.Answer_Essay{Essay: &questionpb.EssayAnswer{Text: word.Draw(t, "text"), MediaIds: keys.Draw(t, "media")}}}
	default:
		return &questionpb.Answer{Content: &questionpb.Answer_Cleared{Cleared: &questionpb.ClearedAnswer{}}}
	}
}

// What is written of any answer is in the form of RFC 8785, as two others make it, and
// says what the answer says.
func TestCanonicalAnswers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := drawAnswer(t)
		got := string(canonical(a))
		raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var plain any
		if err := json.Unmarshal(raw, &plain); err != nil {
			t.Fatal(err)
		}
		if want := rfc8785(emptied(plain)); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
		if sorted, err := stoajson.Sort([]byte(got)); err != nil || string(sorted) != got {
			t.Fatalf("%s is sorted %s, %v", got, sorted, err)
		}
		back := &questionpb.Answer{}
		if err := protojson.Unmarshal([]byte(got), back); err != nil {
			t.Fatalf("%s: %v", got, err)
		}
		if string(canonical(back)) != got {
			t.Fatalf("%s comes back as %s", got, canonical(back))
		}
		// A region without a key is no region, which no answer has.
		if !strings.Contains(string(raw), `"region_key":""`) && !proto.Equal(back, a) {
			t.Fatalf("%v, want %v", back, a)
		}
	})
}
