package question

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

func TestRead(t *testing.T) {
	t.Parallel()
	type want struct {
		value, rest string // value empty: no number
	}
	for text, c := range map[string]struct{ either, point, comma want }{
		"12":             {want{"12", ""}, want{"12", ""}, want{"12", ""}},
		" +12.5 ":        {want{"12.5", ""}, want{"12.5", ""}, want{"", ""}},
		"−12,5":          {want{"-12.5", ""}, want{"", ""}, want{"-12.5", ""}},
		"1,234":          {want{"1.234", ""}, want{"1234", ""}, want{"1.234", ""}},
		"1.234":          {want{"1.234", ""}, want{"1.234", ""}, want{"1234", ""}},
		"1,234,567":      {want{"1234567", ""}, want{"1234567", ""}, want{"", ""}},
		"1.234.567":      {want{"1234567", ""}, want{"", ""}, want{"1234567", ""}},
		"1,234.5":        {want{"1234.5", ""}, want{"1234.5", ""}, want{"", ""}},
		"1.234,5":        {want{"1234.5", ""}, want{"", ""}, want{"1234.5", ""}},
		"1,234,567.5":    {want{"1234567.5", ""}, want{"1234567.5", ""}, want{"", ""}},
		"1 234 567.25 m": {want{"1234567.25", "m"}, want{"1234567.25", "m"}, want{"", ""}},
		"1\u202f234,5":   {want{"1234.5", ""}, want{"", ""}, want{"1234.5", ""}},
		"1'234’567":      {want{"1234567", ""}, want{"1234567", ""}, want{"1234567", ""}},
		"1 23":           {want{"", ""}, want{"", ""}, want{"", ""}},
		"1234 567":       {want{"", ""}, want{"", ""}, want{"", ""}},
		"1 234'567":      {want{"", ""}, want{"", ""}, want{"", ""}},
		"1.5.":           {want{"", ""}, want{"", ""}, want{"", ""}},
		".5":             {want{"0.5", ""}, want{"0.5", ""}, want{"", ""}},
		"5.":             {want{"5", ""}, want{"5", ""}, want{"", ""}},
		"5,":             {want{"5", ""}, want{"", ""}, want{"5", ""}},
		"1.5e3":          {want{"1500", ""}, want{"1500", ""}, want{"", ""}},
		"15E-1kg":        {want{"1.5", "kg"}, want{"1.5", "kg"}, want{"1.5", "kg"}},
		"5 eV":           {want{"5", "eV"}, want{"5", "eV"}, want{"5", "eV"}},
		"5eV":            {want{"5", "eV"}, want{"5", "eV"}, want{"5", "eV"}},
		"6 × 10^23":      {want{"600000000000000000000000", ""}, want{"600000000000000000000000", ""}, want{"600000000000000000000000", ""}},
		"6x10−2 V":       {want{"6", "x10−2 V"}, want{"6", "x10−2 V"}, want{"6", "x10−2 V"}},
		"6·10⁻² V":       {want{"0.06", "V"}, want{"0.06", "V"}, want{"0.06", "V"}},
		"6*10**2":        {want{"600", ""}, want{"600", ""}, want{"600", ""}},
		"٣٫٥":            {want{"3.5", ""}, want{"3.5", ""}, want{"3.5", ""}},
		"١٬٢٣٤٫٥":        {want{"1234.5", ""}, want{"1234.5", ""}, want{"1234.5", ""}},
		"1٬234":          {want{"1234", ""}, want{"1234", ""}, want{"1234", ""}},
		"1,234٫5":        {want{"1234.5", ""}, want{"1234.5", ""}, want{"", ""}},
		"1.234٫5":        {want{"1234.5", ""}, want{"", ""}, want{"1234.5", ""}},
		"1٫5٫5":          {},
		"٬5":             {},
		"2e–3":           {want{"0.002", ""}, want{"0.002", ""}, want{"0.002", ""}},
		"2e＋3":           {want{"2000", ""}, want{"2000", ""}, want{"2000", ""}},
		"2·10^−3":        {want{"0.002", ""}, want{"0.002", ""}, want{"0.002", ""}},
		"٢×١٠^٣":         {want{"2000", ""}, want{"2000", ""}, want{"2000", ""}},
		"2×11^3":         {want{"2", "×11^3"}, want{"2", "×11^3"}, want{"2", "×11^3"}},
		"३":              {want{"3", ""}, want{"3", ""}, want{"3", ""}},
		"":               {}, "m": {}, "-": {}, ".": {}, ",": {}, "e5": {}, "--1": {}, "1e100": {}, "1e-100": {}, "NaN": {}, "Inf": {}, "0x10": {want{"0", "x10"}, want{"0", "x10"}, want{"0", "x10"}},
	} {
		for rule, w := range map[string]want{"either": c.either, "point": c.point, "comma": c.comma} {
			got, ok := read(text, &pb.NumberRules{DecimalSign: rule})
			if ok != (w.value != "") || ok && (!got.value.Equal(num(w.value)) || got.rest != w.rest) {
				t.Errorf("%q with %s: got %s and %q, %v; want %s and %q", text, rule, got.value, got.rest, ok, w.value, w.rest)
			}
		}
	}
	if got, ok := read("1 234", &pb.NumberRules{NoGrouping: true}); ok {
		t.Errorf("digits are grouped: %s", got.value)
	}
	for text, c := range map[string]struct{ least, most, places int }{"1500": {2, 4, 0}, "1500.": {4, 4, 0}, "0.0150": {3, 3, 4}, "1.50e3": {3, 3, 2}, "0": {0, 0, 0}} {
		got, ok := read(text, &pb.NumberRules{})
		if !ok || text != "1500." && (got.figuresMin != c.least || got.figuresMax != c.most || got.places != c.places) {
			t.Errorf("%q: %+v, %v", text, got, ok)
		}
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		number        string
		figures       int
		rounded       string
		full, trimmed string
	}{
		{"0", 3, "0", "0.00", "0"},
		{"1234.5", 2, "1200", "1.2e3", "1200"},
		{"1250", 2, "1300", "1.3e3", "1300"},
		{"-1250", 2, "-1300", "-1.3e3", "-1300"},
		{"0.00012345", 3, "0.000123", "0.000123", "0.000123"},
		{"9.99", 2, "10", "10", "10"},
		{"1.5", 3, "1.5", "1.50", "1.5"},
		{"1/3", 5, "0.33333", "0.33333", "0.33333"},
		{"100", 3, "100", "100", "100"},
		{"0.0000000015", 2, "0.0000000015", "1.5e-9", "1.5e-9"},
		{"1000000000000000000000000000", 3, "1000000000000000000000000000", "1.00e27", "1e27"},
		{"12", 2, "12", "12", "12"},
		{"2", 1, "2", "2", "2"},
	} {
		n := num(c.number)
		if got := roundFigures(n, c.figures); !got.Equal(num(c.rounded)) {
			t.Errorf("%s to %d figures: %s, want %s", c.number, c.figures, got, c.rounded)
		}
		if got := figuresText(n, c.figures, false); got != c.full {
			t.Errorf("%s with %d figures: %s, want %s", c.number, c.figures, got, c.full)
		}
		if got := figuresText(n, c.figures, true); got != c.trimmed {
			t.Errorf("%s with at most %d figures: %s, want %s", c.number, c.figures, got, c.trimmed)
		}
	}
}

// TestFiguresAreReadAgain: what is told as a number is read as that number, and with
// as many figures.
func TestFiguresAreReadAgain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := exact.Ratio(rapid.Int64().Draw(t, "numerator"), rapid.Int64Range(1, 1e9).Draw(t, "denominator")).Mul(power(rapid.IntRange(-60, 60).Draw(t, "power")))
		figures, short := rapid.IntRange(1, 18).Draw(t, "figures"), rapid.Bool().Draw(t, "short")
		text := figuresText(n, figures, short)
		w, ok := read(text, &pb.NumberRules{DecimalSign: "point"})
		if !ok || !w.value.Equal(roundFigures(n, figures)) || w.rest != "" {
			t.Fatalf("%s is told as %s and read as %s, %v", n, text, w.value, ok)
		}
		if !short && n.Sign() != 0 && (w.figuresMin > figures || w.figuresMax < figures) {
			t.Fatalf("%s is told with %d figures as %s", n, figures, text)
		}
		comma, ok := read(local(text, true), &pb.NumberRules{DecimalSign: "comma"})
		if !ok || !comma.value.Equal(w.value) {
			t.Fatalf("%s with a comma is %s, %v", text, comma.value, ok)
		}
	})
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{"1,234.5 m", "−1 234,5×10⁻³", "1e99", "٣٫٥", "١٬٢٣٤٫٥", "2e–3", "1'234", "..", "1.2.3", "5 eV", "1*10^5", "0x10"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, rule := range []string{"either", "point", "comma"} {
			w, ok := read(text, &pb.NumberRules{DecimalSign: rule})
			if !ok {
				continue
			}
			if w.figuresMin > w.figuresMax || w.places < 0 {
				t.Fatalf("%q: %+v", text, w)
			}
			if w.value.Sign() != 0 {
				if e := magnitude(w.value); e <= -maxExponent || e >= maxExponent {
					t.Fatalf("%q is out of bounds", text)
				}
				roundFigures(w.value, 5)
			}
		}
	})
}

func FuzzPattern(f *testing.F) {
	f.Add("R*me\\*", "Rome*", true, false)
	f.Add("**a**b*", "xxaxxbxx", false, true)
	f.Add("\\", "\\", true, true)
	f.Fuzz(func(t *testing.T, source, text string, sensitive, noAccents bool) {
		if len(source) > 500 || len(text) > 2000 {
			return
		}
		for _, spaces := range []string{"collapse", "keep", "ignore"} {
			rules := textRules{sensitive, noAccents, spaces}
			p := rules.parsePattern(source)
			got := p.matches(rules.fold(text))
			if want := naive(p.runes, rules.fold(text), map[[2]int]bool{}); got != want {
				t.Fatalf("%q and %q by %+v: %v, a naive matcher says %v", source, text, rules, got, want)
			}
			if everything := rules.parsePattern("*"); !everything.matches(rules.fold(text)) {
				t.Fatalf("* does not fit %q", text)
			}
		}
	})
}

// naive matches by trying all that a star can stand for.
func naive(pattern, text []rune, failed map[[2]int]bool) bool {
	at := [2]int{len(pattern), len(text)}
	switch {
	case failed[at]:
		return false
	case len(pattern) == 0:
		return len(text) == 0
	case pattern[0] == star:
		if naive(pattern[1:], text, failed) || len(text) > 0 && naive(pattern, text[1:], failed) {
			return true
		}
	case len(text) > 0 && pattern[0] == text[0]:
		if naive(pattern[1:], text[1:], failed) {
			return true
		}
	}
	failed[at] = true
	return false
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"choice":{"keys":["a","b"]}}`, `{"number":{"text":"1,5 m"}}`, `{"blanks":{"gaps":[{"gap_key":"1","text":"Paris"}]}}`, `{"hot_spot":{"marks":[{"point":{"x":1}}]}}`,
		`{"ordering":{"keys":["q","m","z","a"]}}`, `{"categorise":{"placements":[{"item_key":"2","category_keys":["even"]}]}}`, `{"essay":{"text":"a b c"}}`, `{"cleared":{}}`, `{}`, `[`, `{"choice":null}`, `{"choice":{},"text":{}}`,
	} {
		f.Add([]byte(seed))
	}
	var all []*Instance
	for _, q := range samples() {
		all = append(all, instance(f, q, Seed{}))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := DecodeAnswer(text)
		if a == nil {
			if err == nil {
				t.Fatal("neither an answer nor an error")
			}
			return
		}
		for _, in := range all {
			_ = in.CheckAnswer(a)
			s := in.Score(a)
			if s.Fraction.Cmp(in.Floor()) < 0 || s.Fraction.Cmp(unit) > 0 {
				t.Fatalf("%s: %s gives %s", in.name, text, s.Fraction)
			}
			state, err := in.Fold(Rules{Behaviour: Interactive}, []Step{{Kind: StepAnswer, Answer: a}, {Kind: StepCheck}, {Kind: StepFinish}})
			if err != nil || !state.Ended() {
				t.Fatalf("%s: %+v, %v", in.name, state, err)
			}
			in.Outcome(Rules{}, state)
		}
	})
}
