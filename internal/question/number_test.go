package question

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
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
		"2×1":            {want{"2", "×1"}, want{"2", "×1"}, want{"2", "×1"}},
		"1٫234,5":        {},
		"1٬23":           {},
		"1٬234,567":      {want{"1234.567", ""}, want{"", ""}, want{"1234.567", ""}},
		"1٬234.5":        {want{"1234.5", ""}, want{"1234.5", ""}, want{"", ""}},
		"−１２．５ｅ－１ｃｍ":     {want{"-1.25", "cm"}, want{"-1.25", "cm"}, want{"", ""}},
		"１，２３４":          {want{"1.234", ""}, want{"1234", ""}, want{"1.234", ""}},
		"２＊１０＾３":         {want{"2000", ""}, want{"2000", ""}, want{"2000", ""}},
		"३":              {want{"3", ""}, want{"3", ""}, want{"3", ""}},
		"":               {}, "m": {}, "-": {}, ".": {}, ",": {}, "e5": {}, "--1": {}, "1e100": {}, "1e-100": {}, "NaN": {}, "Inf": {}, "0x10": {want{"0", "x10"}, want{"0", "x10"}, want{"0", "x10"}},
	} {
		for rule, w := range map[string]want{"either": c.either, "point": c.point, "comma": c.comma} {
			got, ok := newReader(rule).read(text)
			if ok != (w.value != "") || ok && (!got.value.Equal(num(w.value)) || got.rest != w.rest) {
				t.Errorf("%q with %s: got %s and %q, %v; want %s and %q", text, rule, got.value, got.rest, ok, w.value, w.rest)
			}
		}
	}
	if got, ok := (reader{&pb.NumberRules{NoGrouping: true}, Version}).read("1 234"); ok {
		t.Errorf("digits are grouped: %s", got.value)
	}
	for text, c := range map[string]struct{ least, most, places int }{"1500": {2, 4, 0}, "1500.": {4, 4, 0}, "0.0150": {3, 3, 4}, "1.50e3": {3, 3, 2}, "0": {0, 0, 0}} {
		got, ok := newReader("").read(text)
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
		w, ok := newReader("point").read(text)
		if !ok || !w.value.Equal(roundFigures(n, figures)) || w.rest != "" {
			t.Fatalf("%s is told as %s and read as %s, %v", n, text, w.value, ok)
		}
		if !short && n.Sign() != 0 && (w.figuresMin > figures || w.figuresMax < figures) {
			t.Fatalf("%s is told with %d figures as %s", n, figures, text)
		}
		comma, ok := newReader("comma").read(local(text, true))
		if !ok || !comma.value.Equal(w.value) {
			t.Fatalf("%s with a comma is %s, %v", text, comma.value, ok)
		}
	})
}

func newReader(rule string) reader { return reader{&pb.NumberRules{DecimalSign: rule}, Version} }

// TestReadOfVersion1 holds that attempts of version 1 of the engine read as they did.
func TestReadOfVersion1(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct{ either, point, comma, rest string }{
		"٣٫٥":         {"3.5", "3.5", "", ""},
		"1٫234":       {"1.234", "1.234", "1234", ""},
		"1٬234":       {"1", "1", "1", "٬234"},
		"1,234٫5":     {"1234.5", "1234.5", "", ""},
		"1.234٫5":     {"", "", "", ""},
		"1٫234٫567":   {"1234567", "", "1234567", ""},
		"2e–3":        {"2", "2", "2", "e–3"},
		"2e−3":        {"0.002", "0.002", "0.002", ""},
		"2e＋3":        {"2", "2", "2", "e＋3"},
		"–2·10^−3":    {"-0.002", "-0.002", "-0.002", ""},
		"2·10⁻³ m":    {"0.002", "0.002", "0.002", "m"},
		"٢×١٠^٣":      {"2", "2", "2", "×١٠^٣"},
		"1e٣":         {"1000", "1000", "1000", ""},
		"－１２":         {"-12", "-12", "-12", ""},
		"１２．５":        {"12", "12", "12", "．５"},
		"1,234":       {"1.234", "1234", "1.234", ""},
		"1'234 567.8": {"", "", "", ""},
	} {
		for rule, value := range map[string]string{"either": want.either, "point": want.point, "comma": want.comma} {
			got, ok := reader{&pb.NumberRules{DecimalSign: rule}, 1}.read(text)
			if ok != (value != "") || ok && (!got.value.Equal(num(value)) || got.rest != want.rest) {
				t.Errorf("%q with %s: got %s and %q, %v; want %s and %q", text, rule, got.value, got.rest, ok, value, want.rest)
			}
		}
	}
}

// TestVersionIsKept holds that a question gives what the version of the engine gives that
// it is read for, also in a gap and where a formula says what is right, and tells which
// that is.
func TestVersionIsKept(t *testing.T) {
	t.Parallel()
	comma := &pb.NumberRules{DecimalSign: "comma"}
	asked := near("3.5", "absolute", "0")
	asked.Reading = comma
	number := numericQuestion(asked)
	gap := ask("It is [[1]].", func(q *pb.QuestionContent) {
		q.Body = &pb.QuestionContent_Blanks{Blanks: &pb.BlanksQuestion{Gaps: []*pb.BlankGap{{Key: "1", Fill: &pb.BlankGap_Number{Number: asked}}}}}
	})
	formula := calculatedQuestion("a - a + 3.5")
	formula.GetCalculated().Reading = comma
	for name, c := range map[string]struct {
		q *pb.QuestionContent
		a *pb.Answer
	}{"number": {number, count("٣٫٥")}, "gap": {gap, gaps("1", "٣٫٥")}, "formula": {formula, count("٣٫٥")}} {
		for engine, want := range map[int]string{1: "0", Version: "1"} {
			of, err := Compile(c.q, engine)
			if err != nil {
				t.Fatal(name, err)
			}
			in, err := of.Instance(Seed{})
			if err != nil {
				t.Fatal(name, err)
			}
			if got := in.Score(c.a).Fraction; !got.Equal(num(want)) {
				t.Errorf("%s by version %d: %s", name, engine, got)
			}
			state, err := in.Fold(Rules{Behaviour: Deferred}, nil)
			if err != nil {
				t.Fatal(name, err)
			}
			if v, o := in.View().GetEngine(), in.Outcome(Rules{}, state).GetEngine(); v != int32(engine) || o != int32(engine) { //nolint:gosec // G115: few
				t.Errorf("%s by version %d tells %d and %d", name, engine, v, o)
			}
		}
	}
	for _, engine := range []int{-1, 0, Version + 1} {
		if _, err := Compile(number, engine); !errors.Is(err, ErrEngine) {
			t.Errorf("version %d: %v", engine, err)
		}
	}
}

// naiveNumber reads a number of version 2 by trying all that its signs may mean: each way
// to group it, with each decimal sign or none. It returns an empty value for none.
func naiveNumber(text string, rules *pb.NumberRules) (value exact.Number, rest string, ok bool) {
	same := map[rune]string{'−': "-", '–': "-", '\u00a0': " ", '\u202f': " ", '\u2009': " ", '\u2007': " ", '’': "'"}
	var b strings.Builder
	for _, r := range strings.TrimSpace(text) {
		d := -1
		for _, zero := range []rune{'٠', '۰', '०'} {
			if r >= zero && r <= zero+9 {
				d = int(r - zero)
			}
		}
		switch {
		case d >= 0:
			b.WriteString(strconv.Itoa(d))
		case r > 0xff00 && r < 0xff5f:
			b.WriteRune(r - 0xfee0)
		case same[r] != "":
			b.WriteString(same[r])
		default:
			b.WriteRune(r)
		}
	}
	m := naiveParts.FindStringSubmatch(b.String())
	if m == nil {
		return value, "", false
	}
	sign, digits, rest := m[1], m[2], m[3]
	decimals := map[string]string{"point": ".٫", "comma": ",٫"}[rules.GetDecimalSign()]
	groupings := map[string]string{"point": ",٬ '", "comma": ".٬ '"}[rules.GetDecimalSign()]
	if decimals == "" {
		decimals, groupings = ".,٫", ".,٬ '"
	}
	if rules.GetNoGrouping() {
		groupings = ""
	}
	found := ""
	// Those with a decimal sign count before those without, and nothing is read in two
	// ways otherwise.
	for d := range strings.SplitSeq(decimals, "") {
		for _, g := range append(strings.Split(groupings, ""), "") {
			whole, part, _ := strings.Cut(digits, d)
			if strings.Contains(digits, d) && d != g && naiveWhole(whole, g) && naiveDigits.MatchString(part) && whole+part != "" {
				found = strings.ReplaceAll(whole, g, "") + "." + part
			}
		}
	}
	for _, g := range append(strings.Split(groupings, ""), "") {
		if found == "" && naiveWhole(digits, g) {
			found = strings.ReplaceAll(digits, g, "") + "."
		}
	}
	whole, part, _ := strings.Cut(found, ".")
	if found == "" || len(whole) > 40 || len(part) > 40 {
		return value, "", false
	}
	value = exact.MustParse(strings.TrimPrefix(sign, "+") + "0" + whole + "." + part + "0")
	if e := naivePower.FindStringSubmatch(rest); e != nil {
		power := strings.NewReplacer("⁰", "0", "¹", "1", "²", "2", "³", "3", "⁴", "4", "⁵", "5", "⁶", "6", "⁷", "7", "⁸", "8", "⁹", "9", "⁻", "-", "⁺", "+").Replace(e[1] + e[2] + e[3])
		n, err := strconv.Atoi(power)
		if err != nil || len(strings.TrimLeft(power, "+-")) > 2 {
			return value, "", false
		}
		ten := exact.Int(10)
		for ; n > 0; n-- {
			value = value.Mul(ten)
		}
		for ; n < 0; n++ {
			value = value.Div(ten)
		}
		rest = rest[len(e[0]):]
	}
	return value, strings.TrimSpace(rest), true
}

var (
	naiveParts  = regexp.MustCompile(`(?s)^([-+]?)([.,٫]?[0-9]+(?:[.,٫٬ '][0-9]+)*[.,٫]?)(.*)$`)
	naiveDigits = regexp.MustCompile(`^[0-9]*$`)
	naivePower  = regexp.MustCompile(`^(?:[eE]([-+]?[0-9]+)|[\s\v\x{85}\pZ]*[×xX*·⋅∙][\s\v\x{85}\pZ]*10(?:(?:\^|\*\*)([-+]?[0-9]+)|([⁻⁺]*[⁰¹²³⁴⁵⁶⁷⁸⁹][⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]*)))`)
)

// naiveWhole reports whether digits are whole, grouped by a sign; none where it is empty.
func naiveWhole(digits, by string) bool {
	if by == "" {
		return naiveDigits.MatchString(digits)
	}
	groups := strings.Split(digits, by)
	for i, g := range groups {
		if !naiveDigits.MatchString(g) || i > 0 && len(g) != 3 || len(groups) > 1 && (len(g) == 0 || len(g) > 3) {
			return false
		}
	}
	return true
}

// readsAlike holds a text against the naive reader, by all rules.
func readsAlike(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, text string,
) {
	t.Helper()
	for _, sign := range []string{"", "either", "point", "comma"} {
		for _, none := range []bool{false, true} {
			rules := &pb.NumberRules{DecimalSign: sign, NoGrouping: none}
			got, ok := reader{rules, Version}.read(text)
			value, rest, want := naiveNumber(text, rules)
			if ok != want || ok && (!got.value.Equal(value) || naiveRest(got.rest) != naiveRest(rest)) {
				t.Fatalf("%q by %v: %s and %q, %v; a naive reader says %s and %q, %v", text, rules, got.value, got.rest, ok, value, rest, want)
			}
		}
	}
}

// naiveRest is what is behind a number with all that the naive reader has taken for
// something else taken out.
func naiveRest(s string) string {
	return strings.Map(func(r rune) rune {
		if r > ' ' && r <= '~' && (r < '0' || r > '9') && !strings.ContainsRune("-'", r) {
			return r
		}
		return -1
	}, s)
}

// TestNumbersReadAlike makes numbers of what they are made of, right and wrong.
func TestNumbersReadAlike(t *testing.T) {
	t.Parallel()
	pick := func(t *rapid.T, name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
	rapid.Check(t, func(t *rapid.T) {
		text := pick(t, "sign", "", "", "-", "+", "−", "–", "－", "--")
		for range rapid.IntRange(0, 4).Draw(t, "groups") {
			text += pick(t, "digits", "1", "23", "456", "456", "456", "٧٨٩", "۱۲۳", "४५६", "１２３", "0000", "")
			text += pick(t, "between", "", ".", ",", ",", "٫", "٬", "٬", " ", "\u202f", "'", "’", "．", "，")
		}
		text += pick(t, "digits", "", "5", "٥", "456")
		text += pick(t, "power", "", "", "e", "E", "×10^", " x 10**", "*10", "·١٠^", "ｅ", "×11^", "·10", "∙1")
		text += pick(t, "sign of power", "", "", "-", "+", "−", "–", "⁻", "⁺", "⁻⁻")
		text += pick(t, "digits of power", "", "3", "12", "٣", "⁵", "²²", "123", "⁵⁻")
		text += pick(t, "unit", "", " m", "km/h", "eV", " %")
		readsAlike(t, text)
	})
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{"1,234.5 m", "−1 234,5×10⁻³", "1e99", "٣٫٥", "١٬٢٣٤٫٥", "2e–3", "１２．５ｅ３", "1'234", "..", "1.2.3", "5 eV", "1*10^5", "0x10"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		readsAlike(t, text)
		for _, rule := range []string{"either", "point", "comma"} {
			for engine := 1; engine <= Version; engine++ {
				w, ok := reader{&pb.NumberRules{DecimalSign: rule}, engine}.read(text)
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
