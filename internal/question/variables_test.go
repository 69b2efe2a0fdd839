package question

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// trip is a calculated question with data sets, of which one of 200 fulfils the
// constraint.
func trip() *pb.QuestionContent {
	return ask("{d} km in {t} h", func(q *pb.QuestionContent) {
		v := &pb.QuestionVariables{Variables: []*pb.QuestionVariable{{Name: "d"}, {Name: "t"}}, Constraints: []string{"t > 199"}}
		for i := range 200 {
			v.Rows = append(v.Rows, &pb.VariableRow{Values: []string{strconv.Itoa(7 * i), strconv.Itoa(i + 1)}})
		}
		q.Variables = v
		q.Body = &pb.QuestionContent_Calculated{Calculated: &pb.CalculatedQuestion{
			Answers: []*pb.CalculatedAnswer{{Formula: "d / t", Tolerance: &pb.Tolerance{Kind: "relative", Size: "0.001"}, Format: &pb.NumberFormat{Digits: 3}}},
			Units:   &pb.UnitRules{Units: []*pb.QuestionUnit{{Symbol: "km/h"}, {Symbol: "m/s", Multiplier: "3.6"}}},
			Reading: &pb.NumberRules{DecimalSign: "comma"},
		}}
	})
}

// TestRareRow: the one data set that is allowed is found for every seed.
func TestRareRow(t *testing.T) {
	t.Parallel()
	q := compiled(t, trip())
	for seed := range int64(100) {
		in, err := q.Instance(Seed{Attempt: seed})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([][2]string{{"d", "1393"}, {"t", "200"}}, in.Values()); diff != "" {
			t.Fatal(diff)
		}
	}
	in, err := q.Instance(Seed{})
	if err != nil {
		t.Fatal(err)
	}
	if got := in.kind.words(in, in.kind.right(in), ""); got != `6\,97 km\/h` {
		t.Errorf("the right answer is told as %s", got)
	}
	for text, want := range map[string]string{"6,965 km/h": "1", "6,97 km/h": "1", "1,9347222222 m/s": "1", "6,99 km/h": "0", "6,97 m/s": "0"} {
		if s := in.Score(count(text)); !s.Fraction.Equal(num(want)) {
			t.Errorf("%s gives %s", text, s.Fraction)
		}
	}
}

// TestDraws: values are of their ranges, and fulfil the constraints.
func TestDraws(t *testing.T) {
	t.Parallel()
	q := compiled(t, with(calculatedQuestion("a / b"), func(q *pb.QuestionContent) { q.Variables.Constraints = []string{"b != 0", "a > b"} }))
	seen := map[string]bool{}
	for seed := range int64(300) {
		in, err := q.Instance(Seed{Attempt: seed})
		if err != nil {
			t.Fatal(err)
		}
		a, b := num(in.values[0].text), num(in.values[1].text)
		if a.Cmp(num("1")) < 0 || a.Cmp(num("10")) > 0 || !a.Mul(num("2")).Equal(a.Mul(num("2")).Round(0, 0)) || !strings.Contains(in.values[0].text, ".") {
			t.Fatalf("a is %s", in.values[0].text)
		}
		if b.Cmp(num("-5")) < 0 || b.Cmp(num("5")) > 0 || b.Sign() == 0 || a.Cmp(b) <= 0 {
			t.Fatalf("a is %s and b %s", a, b)
		}
		seen[in.values.String()] = true
	}
	if len(seen) < 100 {
		t.Errorf("only %d different draws", len(seen))
	}
}

// TestShared: questions of an attempt that are synchronised have the same values, in
// whatever slots and beside whatever other variables.
func TestShared(t *testing.T) {
	t.Parallel()
	one := with(calculatedQuestion("a + b"), func(q *pb.QuestionContent) { q.Variables.Shared = "day" })
	two := with(one, func(q *pb.QuestionContent) {
		q.Variables.Variables = append([]*pb.QuestionVariable{{Name: "c", Range: &pb.VariableRange{Min: "0", Max: "99"}}}, q.Variables.Variables...)
	})
	first, second := compiled(t, one), compiled(t, two)
	differ := 0
	for seed := range int64(50) {
		x, err := first.Instance(Seed{seed, 1})
		if err != nil {
			t.Fatal(err)
		}
		y, err := second.Instance(Seed{seed, 2})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(x.Values(), y.Values()[1:]); diff != "" {
			t.Fatal(diff)
		}
		alone, err := compiled(t, calculatedQuestion("a + b")).Instance(Seed{seed, 2})
		if err != nil {
			t.Fatal(err)
		}
		if !cmp.Equal(alone.Values(), x.Values()) {
			differ++
		}
	}
	if differ < 40 {
		t.Errorf("only %d of 50 differ from one that is not synchronised", differ)
	}
}

// TestSubstitution: what stands where in Markdown.
func TestSubstitution(t *testing.T) {
	t.Parallel()
	q := trip()
	q.Prompt = `{d}, {{d}}, \frac{{d}}{{t}}, {=d/t}, {=round(d/t, 1)}, {x}, {}, {d }, \sqrt{2}`
	in := instance(t, q, Seed{})
	if got, want := in.View().GetPrompt(), `1393, {1393}, \frac{1393}{200}, 6,965, 7, {x}, {}, {d }, \sqrt{2}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	plain := instance(t, with(single(), func(q *pb.QuestionContent) { q.Prompt = "{a} {=1+1}" }), Seed{})
	if got := plain.View().GetPrompt(); got != "{a} {=1+1}" {
		t.Errorf("without variables: %s", got)
	}
}
