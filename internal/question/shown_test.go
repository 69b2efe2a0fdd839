package question

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// TestDiffer holds every sample to differ from none of its versions whose key alone is
// another, and from all that show something else.
func TestDiffer(t *testing.T) {
	t.Parallel()
	for name, q := range samples() {
		of := compiled(t, q)
		unseen := proto.CloneOf(q)
		unseen.Title, unseen.GeneralFeedback, unseen.RightFeedback, unseen.Floor, unseen.Points, unseen.Penalty = "Another", "Another", "Another", "-1", "7", "1/2"
		if where := Differ(of, compiled(t, unseen)); where != "" {
			t.Errorf("%s: what is not shown differs: %s", name, where)
		}
		for what, change := range map[string]func(q *pb.QuestionContent){
			"prompt":   func(q *pb.QuestionContent) { q.Prompt += " Now." },
			"language": func(q *pb.QuestionContent) { q.Language = "de" },
			"hints":    func(q *pb.QuestionContent) { q.Hints = append(q.Hints, &pb.QuestionHint{Text: "Think."}) },
		} {
			seen := proto.CloneOf(q)
			change(seen)
			if where := Differ(of, compiled(t, seen)); !strings.HasPrefix(where, what) {
				t.Errorf("%s: another %s differs at %q", name, what, where)
			}
		}
	}
	keys := func(q *pb.QuestionContent) {
		for _, o := range q.GetChoice().GetOptions() {
			o.Fraction = "0"
		}
		q.GetChoice().GetOptions()[3].Fraction, q.GetChoice().GetOptions()[3].Feedback = "1", "So it is."
	}
	ordered := func(q *pb.QuestionContent) {
		items := q.GetOrdering().GetItems()
		items[0], items[1] = items[1], items[0]
	}
	for name, c := range map[string]struct {
		q      *pb.QuestionContent
		change func(*pb.QuestionContent)
		where  string
	}{
		"a key":    {single(), keys, ""},
		"a text":   {single(), func(q *pb.QuestionContent) { q.GetChoice().GetOptions()[0].Text = "Else" }, `"Option a" and "Else"`},
		"shuffled": {single(), func(q *pb.QuestionContent) { q.GetChoice().Shuffle = false }, "options"},
		"one more": {single(), func(q *pb.QuestionContent) {
			q.GetChoice().Options = append(q.GetChoice().Options, &pb.ChoiceOption{Key: "z", Text: "Z"})
		}, "4 and 5 of them"},
		"another type": {single(), func(q *pb.QuestionContent) { q.Body = trueFalseQuestion().GetBody() }, `one is "choice"`},
		"true":         {trueFalseQuestion(), func(q *pb.QuestionContent) { q.GetTrueFalse().Right = false }, ""},
		"patterns":     {shortQuestion(short("Rome", "1")), func(q *pb.QuestionContent) { q.GetShortAnswer().GetPatterns()[0].Pattern = "Roma" }, ""},
		"a number":     {numericQuestion(near("2", "absolute", "0")), func(q *pb.QuestionContent) { q.GetNumeric().GetAnswers()[0].Value = "3" }, ""},
		"a formula":    {calculatedQuestion("a + b"), func(q *pb.QuestionContent) { q.GetCalculated().GetAnswers()[0].Formula = "a - b" }, ""},
		"variables": {calculatedQuestion("a + b"), func(q *pb.QuestionContent) {
			q.GetVariables().GetVariables()[0].Range.Max = "11"
		}, "variables"},
	} {
		other := proto.CloneOf(c.q)
		c.change(other)
		if where := Differ(compiled(t, c.q), compiled(t, other)); where != c.where && (c.where == "" || !strings.Contains(where, c.where)) {
			t.Errorf("%s: differs at %q, want %q", name, where, c.where)
		}
	}
	for name, q := range samples() {
		if q.GetOrdering() != nil {
			other := proto.CloneOf(Normalise(q))
			ordered(other)
			if where := Differ(compiled(t, q), compiled(t, other)); where != "" {
				t.Errorf("%s in another order: %s", name, where)
			}
		}
	}
}

// TestAccept holds what is accepted to score as is said, and all else as before.
func TestAccept(t *testing.T) {
	t.Parallel()
	text := func(s string) *pb.Answer {
		return &pb.Answer{Content: &pb.Answer_Text{Text: &pb.TextAnswer{Text: s}}}
	}
	number := func(s string) *pb.Answer {
		return &pb.Answer{Content: &pb.Answer_Number{Number: &pb.NumberAnswer{Text: s}}}
	}
	chosen := func(keys ...string) *pb.Answer {
		return &pb.Answer{Content: &pb.Answer_Choice{Choice: &pb.ChoiceAnswer{Keys: keys}}}
	}
	truth := func(v bool) *pb.Answer {
		return &pb.Answer{Content: &pb.Answer_TrueFalse{TrueFalse: &pb.TrueFalseAnswer{Value: v}}}
	}
	thousands := near("2", "absolute", "0")
	thousands.Reading = &pb.NumberRules{DecimalSign: "point"}
	for name, c := range map[string]struct {
		q        *pb.QuestionContent
		a        *pb.Answer
		fraction string
		code     string
	}{
		"a choice":          {single(), chosen("d"), "1", ""},
		"half of it":        {single(), chosen("b"), "1/2", ""},
		"what is right":     {single(), chosen("a"), "1", "accept.given"},
		"nothing":           {single(), chosen(), "1", "accept.nothing"},
		"several":           {multiple("weights"), chosen("d"), "1", "accept.kind"},
		"not true":          {trueFalseQuestion(), truth(false), "1", "accept.kind"},
		"a word":            {shortQuestion(short("Rome", "1", "*", "0")), text("Ro*ma"), "1", ""},
		"a number":          {numericQuestion(near("2", "absolute", "0")), number("3"), "1", ""},
		"with a comma":      {numericQuestion(near("2", "absolute", "0")), number("3,5"), "1", ""},
		"in thousands":      {numericQuestion(thousands), number("1,234"), "1", ""},
		"in powers":         {numericQuestion(near("2", "absolute", "0")), number("−1 234×10⁻³"), "1", ""},
		"too large":         {numericQuestion(near("2", "absolute", "0")), number("123e99"), "1", "accept.kind"},
		"no number":         {numericQuestion(near("2", "absolute", "0")), number("three"), "1", "accept.kind"},
		"with variables":    {calculatedQuestion("a + b"), number("3"), "1", "accept.kind"},
		"of another kind":   {single(), text("a"), "1", "request.invalid"},
		"an option unknown": {single(), chosen("zz"), "1", "answer.invalid"},
	} {
		f := exact.MustParse(c.fraction)
		out, err := Accept(c.q, c.a, f)
		if c.code != "" {
			if e := fieldCode(err); e != c.code && fault.CodeOf(err) != c.code {
				t.Errorf("%s: %v, want %s", name, err, c.code)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := Validate(out); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		before, err := plain(c.q)
		if err != nil {
			t.Fatal(err)
		}
		after, err := plain(out)
		if err != nil {
			t.Fatal(err)
		}
		if got := after.Score(c.a).Fraction; !got.Equal(f) {
			t.Errorf("%s gives %s, want %s", name, got, f)
		}
		if where := Differ(before.Question, after.Question); where != "" {
			t.Errorf("%s shows something else: %s", name, where)
		}
		if right := before.kind.right(before); !after.Score(right).Fraction.Equal(exact.Int(1)) {
			t.Errorf("%s: what was right is not", name)
		}
	}
	// Parts of what has several.
	for name, q := range samples() {
		if q.GetMatching() == nil && q.GetBlanks() == nil || q.GetVariables() != nil {
			continue
		}
		in, err := plain(Normalise(q))
		if err != nil {
			t.Fatal(err)
		}
		right := in.kind.right(in)
		if _, err := Accept(q, right, exact.Int(1)); fieldCode(err) != "accept.given" {
			t.Errorf("%s: accepting what is right: %v", name, err)
		}
	}
}

func fieldCode(err error) string {
	if f, ok := err.(*fault.Error); ok && len(f.Fields) > 0 { //nolint:errorlint // as it is returned
		return f.Fields[0].Code
	}
	return ""
}

// TestResponses counts what is answered by what of the key it is, at least once for each
// part.
func TestResponses(t *testing.T) {
	t.Parallel()
	for name, q := range samples() {
		of := compiled(t, q)
		for seed := range int64(5) {
			in, err := of.Instance(Seed{Attempt: seed, Slot: 1})
			if err != nil {
				t.Fatal(err)
			}
			right := in.kind.right(in)
			got := in.Responses(right)
			if right == nil {
				continue
			}
			parts := map[string]int{}
			for _, r := range got {
				parts[r.Part]++
				if r.Answer == OtherResponse {
					t.Errorf("%s: what is right fits nothing: %v", name, got)
				}
			}
			none := in.Responses(nil)
			for _, r := range none {
				if r.Answer != NoResponse || parts[r.Part] == 0 {
					t.Errorf("%s: nothing is counted as %v", name, none)
				}
			}
			if len(got) == 0 || len(none) != len(parts) {
				t.Errorf("%s: parts of %v and %v", name, got, none)
			}
		}
		if guess, ok := of.Guess(); ok && (guess.Cmp(exact.Int(1)) >= 0 || guess.Cmp(of.floor) < 0) {
			t.Errorf("%s: guessing gives %s", name, guess)
		}
	}
	in, err := plain(shortQuestion(short("Rome", "1", "R*", "1/2")))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"rome": "Rome", "Roma": "R*", "Athens": OtherResponse, " ": NoResponse} {
		if got := in.Responses(&pb.Answer{Content: &pb.Answer_Text{Text: &pb.TextAnswer{Text: text}}}); len(got) != 1 || got[0].Answer != want {
			t.Errorf("%q is counted as %v, want %q", text, got, want)
		}
	}
	for q, want := range map[*pb.QuestionContent]string{single(): "0.25", trueFalseQuestion(): "0.5"} {
		if got, ok := compiled(t, q).Guess(); !ok || got.String() != want {
			t.Errorf("guessing at %s gives %s, want %s", KindOf(q), got, want)
		}
	}
}
