package exchange_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/question/exchange"
)

// read reads a file, all of which has to be taken.
func read(t testing.TB, format exchange.Format, text string) ([]exchange.Item, *exchange.Report) {
	t.Helper()
	var out []exchange.Item
	report, err := exchange.Read(t.Context(), format, strings.NewReader(text), func(it exchange.Item) error {
		out = append(out, it)
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	return out, report
}

// brief tells a question in a line.
func brief(it exchange.Item) string {
	q := it.Content
	var b strings.Builder
	fmt.Fprintf(&b, "%s|%s|%s", question.KindOf(q), q.GetTitle(), q.GetPrompt())
	option := func(text, fraction, feedback string) { fmt.Fprintf(&b, "|%s=%s#%s", text, fraction, feedback) }
	for _, o := range q.GetChoice().GetOptions() {
		option(o.GetText(), o.GetFraction(), o.GetFeedback())
	}
	for _, p := range q.GetShortAnswer().GetPatterns() {
		option(p.GetPattern(), p.GetFraction(), p.GetFeedback())
	}
	for _, a := range q.GetNumeric().GetAnswers() {
		option(a.GetValue()+"±"+a.GetTolerance().GetSize()+a.GetTolerance().GetLow()+".."+a.GetTolerance().GetHigh(), a.GetFraction(), a.GetFeedback())
	}
	if t := q.GetTrueFalse(); t != nil {
		fmt.Fprintf(&b, "|%v#%s#%s", t.GetRight(), t.GetTrueFeedback(), t.GetFalseFeedback())
	}
	for _, s := range q.GetMatching().GetStems() {
		for _, c := range q.GetMatching().GetChoices() {
			if c.GetKey() == s.GetRightKeys()[0] {
				fmt.Fprintf(&b, "|%s>%s", s.GetText(), c.GetText())
			}
		}
	}
	for _, i := range q.GetOrdering().GetItems() {
		fmt.Fprintf(&b, "|%s", i.GetText())
	}
	for _, g := range q.GetBlanks().GetGaps() {
		fmt.Fprintf(&b, "|%s*%d:", g.GetKey(), g.GetWeight())
		for _, p := range g.GetTyped().GetPatterns() {
			option(p.GetPattern(), p.GetFraction(), p.GetFeedback())
		}
		for _, a := range g.GetNumber().GetAnswers() {
			option(a.GetValue()+"±"+a.GetTolerance().GetSize(), a.GetFraction(), a.GetFeedback())
		}
		for _, o := range g.GetDropdown().GetOptions() {
			option(o.GetText(), o.GetFraction(), o.GetFeedback())
		}
		for _, i := range q.GetBlanks().GetItems() {
			if g.GetDrag() != nil && i.GetKey() == g.GetDrag().GetRightKeys()[0] {
				fmt.Fprintf(&b, "%s", i.GetText())
			}
		}
	}
	for _, r := range q.GetHotSpot().GetRegions() {
		fmt.Fprintf(&b, "|%s %v", r.GetDescription(), r.GetRight())
	}
	for _, a := range q.GetCalculated().GetAnswers() {
		fmt.Fprintf(&b, "|%s %d", a.GetFormula(), len(q.GetVariables().GetRows()))
	}
	if q.GetGeneralFeedback() != "" {
		fmt.Fprintf(&b, "|general %s", q.GetGeneralFeedback())
	}
	return b.String()
}

// The syntax of GIFT is that of https://docs.moodle.org/en/GIFT_format.
func TestReadGIFT(t *testing.T) {
	t.Parallel()
	items, report := read(t, exchange.GIFT, `// a comment
$CATEGORY: $course$/top/Maths/Prime numbers

// [tag:easy] [tag:b c]
::Q1:: Which is a prime? {
=2#Right: it is the only even one.
~%-50%4
~9 # 3 \* 3
#### Primes have two divisors.
}

Two is a prime. {T#No: it is one.#Yes.}

The capital of Italy is {=Rome =%50%Roma} .

How much is 22 / 7? {#3.14:0.01}

When? {#1939..1945}

Several {#=1822:0#just =%50%1822:2}

Which are even? {~%50%2 ~%50%4 ~%-100%3}

Match. { =cat -> cat food =dog -> dog food = -> hay }

[html]Write <b>about</b> $5 \{x\} and \(a_1\). {}

Just a text with a \{ in it.

broken {=a
`)
	want := []string{
		`choice|Q1|Which is a prime?|2=1#Right: it is the only even one.|4=-0.5#|9=0#3 \\\* 3|general Primes have two divisors.`,
		`true_false|Two is a prime.|Two is a prime.|true#Yes.#No: it is one.`,
		`short_answer|The capital of Italy is _____ .|The capital of Italy is \_\_\_\_\_ .|Rome=1#|Roma=0.5#`,
		`numeric|How much is 22 / 7?|How much is 22 / 7?|3.14±0.01..=1#`,
		`numeric|When?|When?|±1939..1945=1#`,
		`numeric|Several|Several|1822±..=1#just|1822±2..=0.5#`,
		`choice|Which are even?|Which are even?|2=0.5#|4=0.5#|3=-1#`,
		`matching|Match.|Match.|cat>cat food|dog>dog food`,
		`essay|Write about $5 {x} and $a_1$.|Write **about** \$5 {x} and $a_1$.`,
		`description|Just a text with a { in it.|Just a text with a { in it.`,
	}
	var got []string
	for _, it := range items {
		got = append(got, brief(it))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"Maths", "Prime numbers"}, items[0].Category); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"easy", "b c"}, items[0].Tags); d != "" {
		t.Error(d)
	}
	if last := report.Entries[len(report.Entries)-1]; report.Refused != 1 || last.Notes[0].Code != "gift.open" || last.At != "line 30" {
		t.Errorf("%d refused, %+v", report.Refused, last)
	}
}

// https://docs.moodle.org/en/Aiken_format
func TestReadAiken(t *testing.T) {
	t.Parallel()
	items, report := read(t, exchange.Aiken, "\ufeffWhich is *not* a\nprime?\r\nA) 2\r\nB. 3\r\nC) 4\r\nANSWER: C\r\n\r\nNo answer?\nA. x\nB. y\n\nLast?\nA. x\nB. y\nANSWER: A")
	if len(items) != 2 || report.Refused != 1 || report.Entries[1].Notes[0].Code != "aiken.answer" || report.Entries[1].At != "line 8" {
		t.Fatalf("%d items, %+v", len(items), report)
	}
	if got, want := brief(items[0]), "choice|Which is *not* a prime?|Which is \\*not\\* a\\\nprime?|2=0#|3=0#|4=1#"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// What Moodle's question/format/xml writes, by our own examples.
func TestReadMoodle(t *testing.T) {
	t.Parallel()
	file := picture(newRandom())
	items, report := read(t, exchange.MoodleXML, moodleSample(file))
	want := []string{
		"choice|Primes|Which is a **prime**? $x_1$ ![p](media:" + file.ID + ")|2=1#**Yes**|4=-1/3#|general G",
		"true_false|TF|x|true#y#n",
		"short_answer|SA|x|R*=1#|*=0#no",
		"numeric|Num|x|5±0.1..=1#|±..=0#no",
		"matching|Match|x|Italy>Rome|France>Paris",
		"blanks|Cloze|It is [[1]] and [[2]] and [[3]].|1*1:|Paris=1#ok|Par*=0.5#|2*2:|2.1±0.1=1#|3*1:|a < b=1#|c~d=0#",
		"blanks|Drag|[[1]] and [[2]]|1*1:two|2*1:one",
		"blanks|Select|[[1]] and [[2]]|1*1:|a=0#|b=1#|2*1:|c=1#|d=0#",
		"ordering|Order|x|one|two|three",
		"calculated|Calc|{a} and {=a * pi + sin(e_)}|a * mod(e_, 2) + pi 2",
		"hot_spot|Mark|x|Place 1 true|Elsewhere false",
	}
	var got []string
	for _, it := range items {
		got = append(got, brief(it))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s\n%+v", d, report)
	}
	if q := items[0].Content; q.GetPenalty() != "1/3" || q.GetPoints() != "2" || !q.GetChoice().GetShuffle() || len(q.GetHints()) != 1 || !q.GetHints()[0].GetClearWrong() {
		t.Errorf("%v", q)
	}
	if d := cmp.Diff([]string{"A", "b/c"}, items[0].Category); d != "" {
		t.Error(d)
	}
	if u := items[3].Content.GetNumeric().GetUnits(); u.GetUnits()[1].GetMultiplier() != "0.01" || u.GetPenalty() != "0.1" {
		t.Errorf("units %v", u)
	}
	if report.Refused != 1 || report.Entries[len(report.Entries)-1].Notes[0].Code != "moodle.kind" {
		t.Errorf("%+v", report)
	}
}

// TestReadQTI reads items as the guides of 1EdTech describe them
// (https://www.imsglobal.org/question/qtiv2p1/imsqti_implv2p1.html), written by us.
func TestReadQTI(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct {
		item, want string
	}{
		"choice": {
			qtiItem(`<responseDeclaration identifier="RESPONSE" cardinality="single" baseType="identifier"><correctResponse><value>right</value></correctResponse></responseDeclaration>
			<itemBody><p>Look <em>at</em> it.</p><choiceInteraction responseIdentifier="RESPONSE" shuffle="true" maxChoices="1"><prompt>Which?</prompt>
			<simpleChoice identifier="wrong">No <math xmlns="x"><mi>x</mi></math></simpleChoice><simpleChoice identifier="right">Yes</simpleChoice></choiceInteraction></itemBody>
			<responseProcessing template="http://www.imsglobal.org/question/qti_v2p1/rptemplates/match_correct"/>`),
			"choice|An item|Look *at* it.\n\nWhich?|No x=0#|Yes=1#",
		},
		"map": {
			qtiItem(`<responseDeclaration identifier="RESPONSE" cardinality="multiple" baseType="identifier"><correctResponse><value>A</value><value>B</value></correctResponse>
			<mapping lowerBound="0" upperBound="2" defaultValue="-2"><mapEntry mapKey="A" mappedValue="1"/><mapEntry mapKey="B" mappedValue="1"/></mapping></responseDeclaration>
			<itemBody><choiceInteraction responseIdentifier="RESPONSE" shuffle="false" maxChoices="0"><prompt>Which?</prompt>
			<simpleChoice identifier="A">H</simpleChoice><simpleChoice identifier="B">O</simpleChoice><simpleChoice identifier="C">X</simpleChoice></choiceInteraction></itemBody>
			<responseProcessing template="http://www.imsglobal.org/question/qti_v2p1/rptemplates/map_response"/>`),
			"choice|An item|Which?|H=0.5#|O=0.5#|X=-1#",
		},
		"QTI 3": {
			`<qti-assessment-item xmlns="http://www.imsglobal.org/xsd/imsqtiasi_v3p0" identifier="i" title="An item" time-dependent="false">
			<qti-response-declaration identifier="RESPONSE" cardinality="ordered" base-type="identifier"><qti-correct-response><qti-value>B</qti-value><qti-value>A</qti-value></qti-correct-response></qti-response-declaration>
			<qti-item-body><qti-order-interaction response-identifier="RESPONSE" shuffle="true"><qti-prompt>Order.</qti-prompt><qti-simple-choice identifier="A">one</qti-simple-choice>
			<qti-simple-choice identifier="B">two</qti-simple-choice></qti-order-interaction></qti-item-body></qti-assessment-item>`,
			"ordering|An item|Order.|two|one",
		},
		"text": {
			qtiItem(`<responseDeclaration identifier="RESPONSE" cardinality="single" baseType="string"><correctResponse><value>York</value></correctResponse>
			<mapping defaultValue="0"><mapEntry mapKey="York" mappedValue="1"/><mapEntry mapKey="york" mappedValue="0.5"/></mapping></responseDeclaration>
			<itemBody><p>Richard of <textEntryInteraction responseIdentifier="RESPONSE" expectedLength="15"/>?</p></itemBody>
			<responseProcessing template="http://www.imsglobal.org/question/qti_v2p1/rptemplates/map_response"/>`),
			"blanks|An item|Richard of [[1]]?|1*1:|York=1#|york=0.5#",
		},
		"number": {
			qtiItem(`<responseDeclaration identifier="RESPONSE" cardinality="single" baseType="float"><correctResponse><value>42</value></correctResponse></responseDeclaration>
			<itemBody><p>What?</p><p><textEntryInteraction responseIdentifier="RESPONSE"/></p></itemBody>
			<responseProcessing><responseCondition><responseIf><equal toleranceMode="absolute" tolerance="0.5 0.5"><variable identifier="RESPONSE"/><correct identifier="RESPONSE"/></equal>
			<setOutcomeValue identifier="SCORE"><baseValue baseType="float">1</baseValue></setOutcomeValue></responseIf></responseCondition></responseProcessing>`),
			"numeric|An item|What?|42±0.5..=1#",
		},
		"number, nearer below": {
			qtiItem(`<responseDeclaration identifier="RESPONSE" cardinality="single" baseType="float"><correctResponse><value>42</value></correctResponse></responseDeclaration>
			<itemBody><p>What?</p><p><textEntryInteraction responseIdentifier="RESPONSE"/></p></itemBody>
			<responseProcessing><responseCondition><responseIf><equal toleranceMode="absolute" tolerance="0.5 2"><variable identifier="RESPONSE"/><correct identifier="RESPONSE"/></equal>
			<setOutcomeValue identifier="SCORE"><baseValue baseType="float">1</baseValue></setOutcomeValue></responseIf></responseCondition></responseProcessing>`),
			"numeric|An item|What?|±41.5..44=1#",
		},
		"number, nearer below by percent": {
			qtiItem(`<responseDeclaration identifier="RESPONSE" cardinality="single" baseType="float"><correctResponse><value>50</value></correctResponse></responseDeclaration>
			<itemBody><p>What?</p><p><textEntryInteraction responseIdentifier="RESPONSE"/></p></itemBody>
			<responseProcessing><responseCondition><responseIf><equal toleranceMode="relative" tolerance="1 3"><variable identifier="RESPONSE"/><correct identifier="RESPONSE"/></equal>
			<setOutcomeValue identifier="SCORE"><baseValue baseType="float">1</baseValue></setOutcomeValue></responseIf></responseCondition></responseProcessing>`),
			"numeric|An item|What?|±49.5..51.5=1#",
		},
		"match": {
			qtiItem(`<responseDeclaration identifier="RESPONSE" cardinality="multiple" baseType="directedPair"><correctResponse><value>C R</value><value>D M</value></correctResponse></responseDeclaration>
			<itemBody><matchInteraction responseIdentifier="RESPONSE" shuffle="true" maxAssociations="4"><prompt>Match.</prompt><simpleMatchSet><simpleAssociableChoice identifier="C" matchMax="1">Capulet</simpleAssociableChoice>
			<simpleAssociableChoice identifier="D" matchMax="1">Demetrius</simpleAssociableChoice></simpleMatchSet><simpleMatchSet><simpleAssociableChoice identifier="M" matchMax="4">Dream</simpleAssociableChoice>
			<simpleAssociableChoice identifier="R" matchMax="4">Romeo</simpleAssociableChoice></simpleMatchSet></matchInteraction></itemBody>
			<responseProcessing template="http://www.imsglobal.org/question/qti_v2p1/rptemplates/match_correct"/>`),
			"matching|An item|Match.|Capulet>Romeo|Demetrius>Dream",
		},
		"gaps": {
			qtiItem(`<responseDeclaration identifier="RESPONSE" cardinality="multiple" baseType="directedPair"><correctResponse><value>W G1</value><value>Su G2</value></correctResponse></responseDeclaration>
			<itemBody><gapMatchInteraction responseIdentifier="RESPONSE" shuffle="false"><prompt>Fill.</prompt><gapText identifier="W" matchMax="1">winter</gapText><gapText identifier="Su" matchMax="1">summer</gapText>
			<blockquote><p>Now is the <gap identifier="G1"/> of our discontent, <gap identifier="G2"/></p></blockquote></gapMatchInteraction></itemBody>
			<responseProcessing template="http://www.imsglobal.org/question/qti_v2p1/rptemplates/match_correct"/>`),
			"blanks|An item|Fill.\n\n> Now is the [[1]] of our discontent, [[2]]|1*1:winter|2*1:summer",
		},
		"essay":       {qtiItem(`<responseDeclaration identifier="R" cardinality="single" baseType="string"/><itemBody><extendedTextInteraction responseIdentifier="R" expectedLines="5"><prompt>Write.</prompt></extendedTextInteraction></itemBody>`), "essay|An item|Write."},
		"upload":      {qtiItem(`<responseDeclaration identifier="R" cardinality="single" baseType="file"/><itemBody><uploadInteraction responseIdentifier="R"><prompt>Send.</prompt></uploadInteraction></itemBody>`), "file_upload|An item|Send."},
		"description": {qtiItem(`<itemBody><p>Read.</p></itemBody>`), "description|An item|Read."},
	} {
		items, report := read(t, exchange.QTI21, one.item)
		if len(items) != 1 {
			t.Errorf("%s: %+v", name, report)
			continue
		}
		if got := brief(items[0]); got != one.want {
			t.Errorf("%s: %q, want %q", name, got, one.want)
		}
		for _, o := range items[0].Content.GetChoice().GetOptions() {
			if strings.Contains("right wrong A B C", o.GetKey()) {
				t.Errorf("%s: the key %q tells what is right", name, o.GetKey())
			}
		}
	}
}

func qtiItem(inner string) string {
	return `<?xml version="1.0" encoding="UTF-8"?><assessmentItem xmlns="http://www.imsglobal.org/xsd/imsqti_v2p1" identifier="i" title="An item" adaptive="false" timeDependent="false">` + inner + `</assessmentItem>`
}

func TestReadCSV(t *testing.T) {
	t.Parallel()
	items, report := read(t, exchange.CSV, "\ufeffkind;prompt;option_1;fraction_1;option_2;category;tags\nchoice;\"Which;?\";'=A1;1;b;A / B;x;y\nchoice;Which?;a;1;b;A / B;x\nnothing;p\n")
	if len(items) != 1 || report.Refused != 2 {
		t.Fatalf("%d items, %+v", len(items), report)
	}
	items, _ = read(t, exchange.CSV, "kind,prompt,option_1,fraction_1,option_2,category,tags\nchoice,Which?,'=A1,1,b,A / B,x;y\n")
	if got, want := brief(items[0]), "choice|Which?|Which?|=A1=1#|b=0#"; got != want || len(items[0].Category) != 2 || len(items[0].Tags) != 2 {
		t.Errorf("%q, want %q; %v %v", got, want, items[0].Category, items[0].Tags)
	}
}

// pack makes a zip file.
func pack(t testing.TB, files map[string]string, edit func(h *zip.FileHeader)) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		if edit != nil {
			edit(h)
		}
		w, err := z.CreateHeader(h)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestHostile holds that what is not to be trusted is refused as a whole.
func TestHostile(t *testing.T) {
	t.Parallel()
	quiz := func(s string) []byte { return []byte(s) }
	limits := exchange.DefaultLimits
	limits.Bytes, limits.ItemBytes, limits.Unpacked, limits.Items, limits.Files = 1<<20, 200_000, 1<<20, 10, 20
	many := map[string]string{}
	for i := range 30 {
		many[fmt.Sprint(i)] = "x"
	}
	for name, one := range map[string]struct {
		format exchange.Format
		data   []byte
		code   string
	}{
		"entities":     {exchange.MoodleXML, quiz(`<!DOCTYPE quiz [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><quiz>&c;</quiz>`), "exchange.hostile"},
		"external":     {exchange.MoodleXML, quiz(`<!DOCTYPE quiz SYSTEM "file:///etc/passwd"><quiz></quiz>`), "exchange.hostile"},
		"QTI entities": {exchange.QTI21, quiz(`<!DOCTYPE assessmentItem [<!ENTITY a SYSTEM "file:///etc/passwd">]><assessmentItem title="&a;"/>`), "exchange.hostile"},
		"encoding":     {exchange.MoodleXML, quiz(`<?xml version="1.0" encoding="UTF-16"?><quiz></quiz>`), "exchange.malformed"},
		"UTF-16":       {exchange.MoodleXML, []byte("\xfe\xff\x00<\x00q\x00u\x00i\x00z\x00>"), "exchange.malformed"},
		"no worth": {exchange.QTI21, quiz(qtiItem(`<responseDeclaration identifier="R" cardinality="single" baseType="float"><mapping><mapEntry mapKey="5" mappedValue="1"/></mapping></responseDeclaration>
			<itemBody><p>How many? <textEntryInteraction responseIdentifier="R"/></p></itemBody>
			<responseProcessing><setOutcomeValue identifier="SCORE"><product><mapResponse identifier="R"/><baseValue baseType="float">0</baseValue></product></setOutcomeValue>
			<responseCondition><responseIf><equal toleranceMode="exact"><variable identifier="R"/><baseValue baseType="float">5</baseValue></equal>
			<setOutcomeValue identifier="SCORE"><baseValue baseType="float">2</baseValue></setOutcomeValue></responseIf></responseCondition></responseProcessing>`)), ""},
		"depth":       {exchange.MoodleXML, quiz("<quiz><question>" + strings.Repeat("<a>", 200) + strings.Repeat("</a>", 200) + "</question></quiz>"), "exchange.too_large"},
		"nodes":       {exchange.MoodleXML, quiz("<quiz><question>" + strings.Repeat("<a/>", 40_000) + "</question></quiz>"), ""},
		"item":        {exchange.MoodleXML, quiz("<quiz><question><name>" + strings.Repeat("a", 300_000) + "</name></question></quiz>"), "exchange.too_large"},
		"attributes":  {exchange.MoodleXML, quiz("<quiz><question " + strings.Repeat("a", 300_000) + "='x'></question></quiz>"), "exchange.too_large"},
		"file":        {exchange.MoodleXML, quiz("<quiz>" + strings.Repeat("<question type='category'/>", 100_000)), "exchange.too_large"},
		"count":       {exchange.GIFT, []byte(strings.Repeat("text\n\n", 20)), "exchange.too_large"},
		"line":        {exchange.GIFT, []byte(strings.Repeat("a", 300_000)), "exchange.too_large"},
		"zeros":       {exchange.GIFT, []byte("a\x00b"), "exchange.malformed"},
		"unfinished":  {exchange.MoodleXML, quiz("<quiz><question>"), "exchange.malformed"},
		"other root":  {exchange.MoodleXML, quiz("<html></html>"), "exchange.malformed"},
		"bomb":        {exchange.QTI21, pack(t, map[string]string{"imsmanifest.xml": strings.Repeat(" ", 3<<20)}, nil), "exchange.too_large"},
		"many files":  {exchange.QTI21, pack(t, many, nil), "exchange.too_large"},
		"traversal":   {exchange.QTI21, pack(t, map[string]string{"../x": "x", "imsmanifest.xml": "<manifest/>"}, nil), "exchange.hostile"},
		"absolute":    {exchange.QTI21, pack(t, map[string]string{"/x": "x"}, nil), "exchange.hostile"},
		"backslash":   {exchange.QTI21, pack(t, map[string]string{`a\x`: "x"}, nil), "exchange.hostile"},
		"link":        {exchange.QTI21, pack(t, map[string]string{"x": "/etc/passwd"}, func(h *zip.FileHeader) { h.SetMode(fs.ModeSymlink | 0o777) }), "exchange.hostile"},
		"no manifest": {exchange.QTI21, pack(t, map[string]string{"x": "x"}, nil), "exchange.malformed"},
		"no zip":      {exchange.QTI21, []byte("PK\x03\x04nothing"), "exchange.malformed"},
		"columns":     {exchange.CSV, []byte("kind,prompt,secret\n"), "exchange.malformed"},
		"quotes":      {exchange.CSV, []byte("kind,prompt\nchoice,\"a\n"), "exchange.malformed"},
		"format":      {"nothing", nil, "exchange.format"},
	} {
		_, err := exchange.ReadLimited(t.Context(), limits, one.format, bytes.NewReader(one.data), func(exchange.Item) error { return nil })
		f, _ := errors.AsType[*fault.Error](err)
		if one.code == "" && err == nil {
			continue
		}
		if f == nil || f.Code != one.code {
			t.Errorf("%s: %v, want %s", name, err, one.code)
		}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := exchange.Read(stopped, exchange.GIFT, strings.NewReader("a\n\nb"), func(exchange.Item) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

func TestDetect(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]exchange.Format{
		"PK\x03\x04": exchange.QTI21, "\ufeff<?xml version='1.0'?>\n<quiz>": exchange.MoodleXML, qtiItem(""): exchange.QTI21, "<qti-assessment-item": exchange.QTI30,
		"Title,kind,prompt\n": exchange.CSV, "What?\nA. x\nB. y\nANSWER: A\n": exchange.Aiken, "::x:: y {T}": exchange.GIFT, "// x\n": exchange.GIFT, "hello": "", "<html>": "", "": "",
	} {
		if got := exchange.Detect([]byte(text)); got != want {
			t.Errorf("Detect(%q) = %q, want %q", text, got, want)
		}
	}
}
