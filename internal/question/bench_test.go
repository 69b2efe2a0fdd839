package question

import (
	"maps"
	"slices"
	"testing"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// BenchmarkScore scores the right answer of each type.
func BenchmarkScore(b *testing.B) {
	for _, name := range slices.Sorted(maps.Keys(samples())) {
		in := instance(b, samples()[name], Seed{})
		right := in.kind.right(in)
		if right == nil {
			continue
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				in.Score(right)
			}
		})
	}
}

// BenchmarkFold folds an attempt of three answers, two checks and the end.
func BenchmarkFold(b *testing.B) {
	for _, name := range slices.Sorted(maps.Keys(samples())) {
		in := instance(b, samples()[name], Seed{})
		right := in.kind.right(in)
		cleared := &pb.Answer{Content: &pb.Answer_Cleared{Cleared: &pb.ClearedAnswer{}}}
		steps := []Step{{Kind: StepAnswer, Answer: right}, {Kind: StepAnswer, Answer: cleared}, {Kind: StepCheck}, {Kind: StepAnswer, Answer: right}, {Kind: StepCheck}, {Kind: StepFinish}}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := in.Fold(Rules{Behaviour: Interactive}, steps); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkInstance draws variables.
func BenchmarkInstance(b *testing.B) {
	for _, name := range []string{"single", "calculated"} {
		q := compiled(b, samples()[name])
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := q.Instance(Seed{Attempt: 1}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkView makes what is shown.
func BenchmarkView(b *testing.B) {
	for _, name := range slices.Sorted(maps.Keys(samples())) {
		in := instance(b, samples()[name], Seed{})
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				in.View()
			}
		})
	}
}

// BenchmarkCompile reads a question.
func BenchmarkCompile(b *testing.B) {
	for _, name := range []string{"single", "calculated", "blanks"} {
		q := samples()[name]
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Compile(q, Version); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFormula evaluates operators and functions, which differ a thousandfold.
func BenchmarkFormula(b *testing.B) {
	for _, source := range []string{"a + b", "a * b", "a / b", "a ^ 3", "a ^ 0.37", "exp(a)", "ln(b)", "log10(b)", "sqrt(b)", "cbrt(b)", "sin(a)", "atan(b)", "asin(0.3)", "sinh(a)", "1.0000001 ^ 999.9999"} {
		f, err := parseFormula(source, []string{"a", "b"})
		if err != nil {
			b.Fatal(err)
		}
		e := env(b, "1.234567890123", "1.98765432101234")
		b.Run(source, func(b *testing.B) {
			for b.Loop() {
				if _, err := f.eval(e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
