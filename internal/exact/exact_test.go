package exact_test

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/exact"
)

// number draws small and very large numbers, so that both forms meet.
func number(t *rapid.T, label string) (exact.Number, *big.Rat) {
	num := rapid.OneOf(rapid.Int64Range(-1000, 1000), rapid.Int64()).Draw(t, label+" numerator")
	den := rapid.OneOf(rapid.Int64Range(1, 1000), rapid.Int64Min(1), rapid.Int64Max(-1)).Draw(t, label+" denominator")
	n, r := exact.Ratio(num, den), big.NewRat(num, den)
	for range rapid.IntRange(0, 2).Draw(t, label+" squared") {
		n, r = n.Mul(n), new(big.Rat).Mul(r, r)
	}
	return n, r
}

func TestAsBigRat(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, ra := number(t, "a")
		b, rb := number(t, "b")
		same := func(name string, got exact.Number, want *big.Rat) {
			t.Helper()
			if back, err := exact.Parse(got.String()); len(got.String()) < 60 && (err != nil || !back.Equal(got)) {
				t.Fatalf("%s: %s is not read again: %v, %v", name, got, back, err)
			}
			r, ok := new(big.Rat).SetString(got.String())
			if !ok || r.Cmp(want) != 0 {
				t.Fatalf("%s of %s and %s: got %s, want %s", name, ra, rb, got, want)
			}
		}
		same("a", a, ra)
		same("add", a.Add(b), new(big.Rat).Add(ra, rb))
		same("sub", a.Sub(b), new(big.Rat).Sub(ra, rb))
		same("mul", a.Mul(b), new(big.Rat).Mul(ra, rb))
		same("neg", a.Neg(), new(big.Rat).Neg(ra))
		same("sum", exact.Sum(a, b, a), new(big.Rat).Add(rb, new(big.Rat).Add(ra, ra)))
		if rb.Sign() != 0 {
			same("div", a.Div(b), new(big.Rat).Quo(ra, rb))
		}
		if got, want := a.Cmp(b), ra.Cmp(rb); got != want || a.Sign() != ra.Sign() || a.Equal(b) != (want == 0) {
			t.Fatalf("%s and %s: compared %d, want %d; sign %d", ra, rb, got, want, a.Sign())
		}
		if exact.Max(a, b).Cmp(exact.Min(a, b)) < 0 {
			t.Fatalf("the greater of %s and %s is the lesser", a, b)
		}
		places := rapid.IntRange(0, 18).Draw(t, "places")
		// FloatString rounds halves away from zero.
		if got, want := a.Round(places, exact.HalfUp).Text(places), ra.FloatString(places); got != want && got != "-"+want && "-"+got != want {
			t.Fatalf("%s to %d places: got %s, want %s", ra, places, got, want)
		}
	})
}

func TestRound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		number   string
		places   int
		even, up string
	}{
		{"0", 2, "0", "0"},
		{"2.5", 0, "2", "3"},
		{"3.5", 0, "4", "4"},
		{"-2.5", 0, "-2", "-3"},
		{"-0.5", 0, "0", "-1"},
		{"62.125", 2, "62.12", "62.13"},
		{"62.1250000000000000000000001", 2, "62.13", "62.13"},
		{"1/3", 4, "0.3333", "0.3333"},
		{"2/3", 4, "0.6667", "0.6667"},
		{"99999999999999999999.5", 0, "100000000000000000000", "100000000000000000000"},
		{"100000000000000000000.5", 0, "100000000000000000000", "100000000000000000001"},
		{"-100000000000000000000.5", 0, "-100000000000000000000", "-100000000000000000001"},
	} {
		n := exact.MustParse(c.number)
		if got := n.Round(c.places, exact.HalfEven).String(); got != c.even {
			t.Errorf("%s half to even: got %s, want %s", c.number, got, c.even)
		}
		if got := n.Round(c.places, exact.HalfUp).String(); got != c.up {
			t.Errorf("%s half up: got %s, want %s", c.number, got, c.up)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"007": "7", "-0": "0", "1.50": "1.5", "2/4": "0.5", "-1/3": "-1/3", "0.0000000000000000001": "1/10000000000000000000"} {
		if n, err := exact.Parse(text); err != nil || n.String() != want {
			t.Errorf("%q: got %s, %v; want %s", text, n, err, want)
		}
	}
	for _, text := range []string{"", "-", ".", "1.", ".5", "1e3", "+1", "1/0", "1/-3", "1/2/3", "1.5/2", " 1", "NaN", "0x1", "1_0", string(make([]byte, 100)), "1" + string([]byte{0xff})} {
		if n, err := exact.Parse(text); err == nil {
			t.Errorf("%q is read as %s", text, n)
		}
	}
	var zero exact.Number
	if zero.String() != "0" || !zero.Equal(exact.Int(0)) || zero.Add(exact.Int(2)).Cmp(exact.Int(2)) != 0 {
		t.Errorf("the zero number is %s", zero)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"1/3", "-62.5", "00.10", "1/0", "9223372036854775808"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := exact.Parse(text)
		if err != nil {
			return
		}
		if back, err := exact.Parse(n.String()); len(n.String()) <= 60 && (err != nil || !back.Equal(n)) {
			t.Fatalf("%q is %s and then %s, %v", text, n, back, err)
		}
	})
}

func BenchmarkWeighted(b *testing.B) {
	weight, points, of := exact.MustParse("33.3333"), exact.MustParse("17.25"), exact.Int(20)
	for b.Loop() {
		var total exact.Number
		for range 10 {
			total = total.Add(points.Div(of).Mul(weight))
		}
		_ = total.Round(2, exact.HalfUp)
	}
}

// TestStringIsWhatRationalsSay holds the short way of writing to the long one.
func TestStringIsWhatRationalsSay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		num := rapid.Int64Range(-1<<62, 1<<62).Draw(t, "num")
		den := rapid.OneOf(rapid.SampledFrom([]int64{1, 2, 4, 5, 8, 10, 16, 25, 1000, 1_000_000, 1_000_000_000, 10_000_000_000, 3, 7}), rapid.Int64Range(1, 1<<62)).Draw(t, "den")
		n := exact.Ratio(num, den)
		r := big.NewRat(num, den)
		want := r.String()
		if r.IsInt() {
			want = r.Num().String()
		} else if places, finite := r.FloatPrec(); finite && places <= 18 {
			want = r.FloatString(places)
		}
		if got := n.String(); got != want {
			t.Fatalf("%d/%d is written %s, want %s", num, den, got, want)
		}
	})
}
