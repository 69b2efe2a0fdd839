package question

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/cockroachdb/apd/v3"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/exact"
)

func env(t testing.TB, texts ...string) environment {
	t.Helper()
	var out environment
	for _, s := range texts {
		d, _, err := apd.NewFromString(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, d)
	}
	return out
}

// TestFormula holds formulas to the digits of published tables.
func TestFormula(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"1 + 2 * 3": "7", "(1 + 2) * 3": "9", "2 ^ 3 ^ 2": "512", "-2 ^ 2": "-4", "2 ** -1": "0.5", "7 % 3": "1", "-7 % 3": "-1", "mod(-7, 3)": "2",
		"0.1 + 0.2": "0.3", "1 / 3 * 3": "1", "1 / 3": "0.333333333333333333333333333333", "2 / 3": "0.666666666666666666666666666667",
		"1e-3 * 5": "0.005", "1_000 + .5": "1000.5", "a * b": "-3.75", "a > 1 ? a : b": "1.5", "not (a > 1 and b > 0) ? 1 : 2": "1",
		"abs(b)": "2.5", "sign(b)": "-1", "max(a, b, 2)": "2", "min(a, b)": "-2.5", "floor(b)": "-3", "ceil(b)": "-2", "trunc(b)": "-2", "round(b)": "-3",
		"round(2.675, 2)": "2.68", "round(-0.5)": "-1", "sqrt(2)": "1.4142135623730950488016887242097", "cbrt(27)": "3", "pow(2, 0.5)": "1.4142135623730950488016887242097",
		"exp(1)": "2.71828182845904523536028747135266", "ln(2)": "0.693147180559945309417232121458", "log(e)": "1", "log10(1000)": "3", "log2(8)": "3",
		"sin(1)": "0.841470984807896506652502321630298999", "cos(1)": "0.540302305868139717400936607442976603", "tan(1)": "1.557407724654902230506974807458360173",
		"sin(1e6)": "-0.349993502171292952117652486780771469", "sin(pi)": "0", "cos(pi / 2)": "0", "sin(deg2rad(30))": "0.5", "tan(deg2rad(45))": "1", "rad2deg(pi)": "180",
		"4 * atan(1)": "3.14159265358979323846264338328", "6 * asin(0.5)": "3.14159265358979323846264338328", "acos(-1)": "3.14159265358979323846264338328", "acos(1)": "0",
		"atan2(-1, -1)": "-2.35619449019234492884698253745962716", "atan2(0, -1)": "3.14159265358979323846264338328", "atan2(1, 0)": "1.57079632679489661923132169163975144",
		"sinh(1)": "1.17520119364380145688238185059560081516", "cosh(1)": "1.54308063481524377847790562075706168260", "tanh(1)": "0.761594155955764888119458282604793590",
		"(-8) ^ 3": "-512", "0 ^ 2": "0", "exp(-2000)": "0", "tanh(500)": "1",
	} {
		f, err := parseFormula(source, []string{"a", "b"})
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		got, err := f.eval(env(t, "1.5", "-2.5"))
		if want := roundFigures(num(want), 30); err != nil || !got.Equal(want) {
			t.Errorf("%s: got %s, %v, want %s", source, got, err, want)
		}
	}
	for _, source := range []string{"1 / 0", "0 / 0", "0 ^ 0", "0 ^ -1", "sqrt(-1)", "ln(0)", "ln(-1)", "log10(0)", "asin(1.1)", "acos(-2)", "atan2(0, 0)", "(-8) ^ (1 / 3)", "tan(pi / 2)", "1 % 0", "mod(1, 0)", "10 ^ 500", "exp(500)", "sinh(500)", "sin(1e13)", "9 ^ 9 ^ 9", "round(1, 99)", "round(1, 0.5)", "1e149 * 1e149"} {
		f, err := parseFormula(source, nil)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got, err := f.eval(nil); err == nil {
			t.Errorf("%s is %s", source, got)
		}
	}
	for _, source := range []string{
		"", " ", "a +", "c", "a b", "sin", "sin()", "sin(1, 2)", "foo(1)", "a.b", "a[0]", "[1, 2]", "{}", `"text"`, "nil", "a ?? b", "a | b", "map([1], # + 1)", "all([1], true)", "1..5", "let x = 1; x",
		"a and b", "a + (a < b)", "not a", "a < b ? 1 : (a < b)", "a matches b", "a in b", "len(1)", "sum(1)", "a; b", "1e999", "9999999999999999999999", "pi()", "(sin)(1)", "a = 1",
		strings.Repeat("1+", 499) + "1", strings.Repeat("a", 1001),
	} {
		if f, err := parseFormula(source, []string{"a", "b"}); err == nil && f.number != nil {
			t.Errorf("%.40q is a formula", source)
		}
	}
}

// TestFormulaConstraints: comparisons look past what rounding has made.
func TestFormulaConstraints(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]bool{
		"a < b": false, "a > b": true, "a >= 1.5 and b <= -2.5": true, "a == 1.5": true, "a != 1.5": false, "1 / 3 * 3 == 1": true, "sqrt(2) ^ 2 == 2": true,
		"sqrt(2) ^ 2 != 2": false, "sqrt(2) ^ 2 < 2": false, "1e-20 == 0": false, "a < b or not (a < b)": true, "1 / 0 == 1": false, "not (1 / 0 == 1)": false, "true": true,
	} {
		f, err := parseFormula(source, []string{"a", "b"})
		if err != nil || f.truth == nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got := f.holds(env(t, "1.5", "-2.5")); got != want {
			t.Errorf("%s is %v", source, got)
		}
	}
}

// TestFunctionsAreNearFloats compares all functions with those of floats, which are
// another implementation, wherever both are defined.
func TestFunctionsAreNearFloats(t *testing.T) {
	t.Parallel()
	floats := map[string]func(x float64) float64{
		"abs": math.Abs, "acos": math.Acos, "asin": math.Asin, "atan": math.Atan, "cbrt": math.Cbrt, "ceil": math.Ceil, "cos": math.Cos, "cosh": math.Cosh,
		"exp": math.Exp, "floor": math.Floor, "ln": math.Log, "log": math.Log, "log10": math.Log10, "log2": math.Log2, "sin": math.Sin, "sinh": math.Sinh,
		"sqrt": math.Sqrt, "tan": math.Tan, "tanh": math.Tanh, "trunc": math.Trunc,
		"deg2rad": func(x float64) float64 { return x * math.Pi / 180 }, "rad2deg": func(x float64) float64 { return x * 180 / math.Pi },
	}
	rapid.Check(t, func(t *rapid.T) {
		x := float64(rapid.Int64Range(-30_000, 30_000).Draw(t, "x")) / 1000
		for name, f := range floats {
			want := f(x)
			p, err := parseFormula(name+"(x)", []string{"x"})
			if err != nil {
				t.Fatal(err)
			}
			d, _, err := apd.NewFromString(fmt.Sprint(x))
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.eval(environment{d})
			if err != nil {
				if !math.IsNaN(want) && !math.IsInf(want, 0) {
					t.Fatalf("%s(%v): %v, want %v", name, x, err, want)
				}
				continue
			}
			var back float64
			if _, err := fmt.Sscan(figuresText(got, 17, true), &back); err != nil {
				t.Fatal(err)
			}
			if math.Abs(back-want) > 1e-11*math.Max(1, math.Abs(want)) {
				t.Fatalf("%s(%v) is %v, want %v", name, x, back, want)
			}
		}
	})
}

func FuzzFormula(f *testing.F) {
	for _, seed := range []string{"a * sin(deg2rad(b)) ^ 2", "a > b ? 1/0 : round(a, 2)", "not(a==b)", "((((", "1e-999", "all(", "9^9^9^9", "{1:2}", "a?.b", "#", "'x'", "a|>f"} {
		f.Add(seed)
	}
	one, other := env(f, "1.5", "-2"), env(f, "0", "123456789.123456789")
	f.Fuzz(func(t *testing.T, source string) {
		p, err := parseFormula(source, []string{"a", "b"})
		if err != nil {
			return
		}
		for _, e := range []environment{one, other} {
			if p.number == nil {
				p.holds(e)
				continue
			}
			got, err := p.eval(e)
			if err != nil {
				continue
			}
			if again, err := p.eval(e); err != nil || !again.Equal(got) {
				t.Fatalf("%q makes %s and %s, %v", source, got, again, err)
			}
			if _, err := exact.Parse(got.String()); err != nil && len(got.String()) < 60 {
				t.Fatalf("%q makes %s", source, got)
			}
		}
	})
}
