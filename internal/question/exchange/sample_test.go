package exchange_test

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/question/exchange"
)

func newRandom() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) } //nolint:gosec // no secret

// moodleSample is a file as Moodle writes it, with a question of each type.
func moodleSample(file exchange.File) string {
	q := func(kind, name, prompt, rest string) string {
		return `<question type="` + kind + `"><name><text>` + name + `</text></name><questiontext format="html"><text><![CDATA[` + prompt + `]]></text></questiontext>` + rest + `</question>`
	}
	data := func(name, value string) string {
		return `<dataset_definition><status><text>private</text></status><name><text>` + name + `</text></name><type>calculated</type><dataset_items><dataset_item><number>1</number><value>` + value + `</value></dataset_item><dataset_item><number>2</number><value>3.0</value></dataset_item></dataset_items></dataset_definition>`
	}
	picture := `<file name="pic.png" path="/" encoding="base64">` + base64.StdEncoding.EncodeToString(file.Data) + `</file>`
	return `<?xml version="1.0" encoding="UTF-8"?><quiz><question type="category"><category><text>$course$/top/A/b//c</text></category></question>
	<question type="multichoice"><name><text>Primes</text></name><questiontext format="html"><text><![CDATA[<p>Which is a <strong>prime</strong>? \(x_1\) <img src="@@PLUGINFILE@@/pic.png" alt="p"></p>]]></text>` + picture + `</questiontext>
	<generalfeedback format="html"><text>G</text></generalfeedback><defaultgrade>2.0000000</defaultgrade><penalty>0.3333333</penalty><single>true</single><shuffleanswers>true</shuffleanswers><answernumbering>abc</answernumbering>
	<answer fraction="100" format="html"><text>2</text><feedback format="html"><text>&lt;b&gt;Yes&lt;/b&gt;</text></feedback></answer><answer fraction="-33.33333" format="html"><text>4</text></answer>
	<hint format="html"><text>H</text><clearwrong/></hint><tags><tag><text>t</text></tag></tags></question>` +
		q("truefalse", "TF", "x", `<answer fraction="100"><text>true</text><feedback><text>y</text></feedback></answer><answer fraction="0"><text>false</text><feedback><text>n</text></feedback></answer>`) +
		q("shortanswer", "SA", "x", `<usecase>0</usecase><answer fraction="100"><text>R*</text></answer><answer fraction="0"><text>*</text><feedback><text>no</text></feedback></answer>`) +
		q("numerical", "Num", "x", `<answer fraction="100"><text>5</text><tolerance>0.1</tolerance></answer><answer fraction="0"><text>*</text><feedback><text>no</text></feedback></answer>
			<units><unit><multiplier>1</multiplier><unit_name>m</unit_name></unit><unit><multiplier>100</multiplier><unit_name>cm</unit_name></unit></units><unitgradingtype>1</unitgradingtype><unitpenalty>0.1000000</unitpenalty><showunits>0</showunits>`) +
		q("matching", "Match", "x", `<subquestion format="html"><text>Italy</text><answer><text>Rome</text></answer></subquestion><subquestion format="html"><text>France</text><answer><text>Paris</text></answer></subquestion><subquestion><text></text><answer><text>Vienna</text></answer></subquestion>`) +
		q("cloze", "Cloze", "It is {1:SHORTANSWER:=Paris#ok~%50%Par*} and {2:NM:=2.1:0.1} and {:MC:=a &lt; b~c\\~d}.", "") +
		q("ddwtos", "Drag", "[[2]] and [[1]]", `<dragbox><text>one</text><group>1</group></dragbox><dragbox><text>two</text><group>1</group></dragbox>`) +
		q("gapselect", "Select", "[[2]] and [[3]]", `<selectoption><text>a</text><group>1</group></selectoption><selectoption><text>b</text><group>1</group></selectoption><selectoption><text>c</text><group>2</group></selectoption><selectoption><text>d</text><group>2</group></selectoption>`) +
		q("ordering", "Order", "x", `<layouttype>VERTICAL</layouttype><selecttype>ALL</selecttype><gradingtype>ABSOLUTE_POSITION</gradingtype><answer fraction="1.0" format="html"><text>one</text></answer><answer fraction="2.0" format="html"><text>two</text></answer><answer fraction="3.0" format="html"><text>three</text></answer>`) +
		q("calculated", "Calc", "{a} and {={a} * pi() + sin({e})}", `<answer fraction="100"><text>{a} * fmod({e}, 2) + pi()</text><tolerance>0.01</tolerance><tolerancetype>1</tolerancetype><correctanswerformat>1</correctanswerformat><correctanswerlength>2</correctanswerlength></answer>
			<dataset_definitions>`+data("a", "1.5")+data("e", "2")+`</dataset_definitions>`) +
		q("ddmarker", "Mark", "x", picture+`<drag><no>1</no><text>M</text><noofdrags>1</noofdrags></drag><drop><no>1</no><shape>circle</shape><coords>10,10;5</coords><choice>1</choice></drop>`) +
		q("randomsamatch", "R", "x", "") + `</quiz>`
}

// large returns a file with so many questions.
func large(t testing.TB, format exchange.Format, n int) []byte {
	t.Helper()
	r := newRandom()
	var list []exchange.Item
	for len(list) < 100 {
		it := random(r)
		it.Files = nil
		if question.KindOf(it.Content) == "choice" && question.Validate(it.Content) == nil && len(question.Media(it.Content)) == 0 {
			list = append(list, it)
		}
	}
	var file bytes.Buffer
	if _, err := exchange.Write(t.Context(), format, &file, sequence(list)); err != nil {
		t.Fatal(err)
	}
	if format == exchange.MoodleXML {
		inner := strings.TrimSuffix(file.String()[strings.Index(file.String(), "<quiz>")+6:], "</quiz>\n")
		return []byte("<quiz>" + strings.Repeat(inner, n/100) + "</quiz>")
	}
	return bytes.Repeat(file.Bytes(), n/100)
}

// TestMemory holds that reading needs the memory of a question and not of the file.
func TestMemory(t *testing.T) {
	size := 3000
	if testing.Short() {
		size = 600
	}
	for _, format := range []exchange.Format{exchange.GIFT, exchange.MoodleXML} {
		file := large(t, format, size)
		in := bytes.NewReader(file)
		var most uint64
		n := 0
		runtime.GC()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := exchange.Read(t.Context(), format, in, func(exchange.Item) error {
			if n++; n%500 == 0 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		grown := int64(most) - int64(before.HeapAlloc) //nolint:gosec // far below
		t.Logf("%s: %d questions, %d KiB, %d KiB more in use", format, n, len(file)>>10, grown>>10)
		if grown > 48<<20 {
			t.Errorf("%s: %d bytes more in use", format, grown)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, format := range []exchange.Format{exchange.GIFT, exchange.MoodleXML} {
		b.Run(string(format), func(b *testing.B) {
			file := large(b, format, 10_000)
			b.SetBytes(int64(len(file)))
			for b.Loop() {
				n := 0
				if _, err := exchange.Read(b.Context(), format, bytes.NewReader(file), func(exchange.Item) error { n++; return nil }); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(n)/b.Elapsed().Seconds()*float64(b.N), "items/s")
			}
		})
	}
}

// fuzz holds that nothing a file has ends the process, and that what is taken is valid.
func fuzz(f *testing.F, format exchange.Format, seeds ...string) {
	f.Helper()
	r := newRandom()
	for range 30 {
		var file bytes.Buffer
		_, _ = exchange.Write(f.Context(), format, &file, sequence([]exchange.Item{random(r)})) // a seed, whatever it is
		f.Add(file.Bytes())
	}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	limits := exchange.DefaultLimits
	limits.Unpacked, limits.ItemBytes = 4<<20, 1<<20
	f.Fuzz(func(t *testing.T, data []byte) {
		report, err := exchange.ReadLimited(t.Context(), limits, format, bytes.NewReader(data), func(it exchange.Item) error {
			if err := question.Validate(it.Content); err != nil {
				return fmt.Errorf("taken, and not valid: %w", err)
			}
			return nil
		})
		if err != nil && strings.Contains(err.Error(), "taken, and") {
			t.Error(err)
		}
		for _, e := range report.Entries {
			if e.Outcome == exchange.Refused && len(e.Notes) == 0 {
				t.Errorf("refused without a reason: %+v", e)
			}
		}
	})
}

func FuzzGIFT(f *testing.F) {
	fuzz(f, exchange.GIFT, "::a::b{=c~d#e->f####g}", "{#1..2}", "$CATEGORY: a//b/c")
}
func FuzzAiken(f *testing.F) { fuzz(f, exchange.Aiken, "a\nA. b\nB) c\nANSWER: B") }
func FuzzCSV(f *testing.F)   { fuzz(f, exchange.CSV, "kind,prompt,option_1\nmatching,a,b") }
func FuzzMoodle(f *testing.F) {
	fuzz(f, exchange.MoodleXML, moodleSample(picture(newRandom())))
}

// Besides packages there are items by themselves, in all three versions: what a change of
// a byte makes of a package is nearly always no package.
func FuzzQTI(f *testing.F) {
	seeds := []string{qtiItem(`<responseDeclaration identifier="RESPONSE" cardinality="single" baseType="identifier"/><itemBody><p>a <textEntryInteraction responseIdentifier="RESPONSE"/></p></itemBody>`)}
	r := newRandom()
	for _, version := range []exchange.Format{exchange.QTI21, exchange.QTI22, exchange.QTI30} {
		for range 15 {
			var file bytes.Buffer
			_, _ = exchange.Write(f.Context(), version, &file, sequence([]exchange.Item{random(r)}))
			seeds = append(seeds, itemsOf(f, file.Bytes())...)
		}
	}
	if len(seeds) < 30 {
		f.Fatalf("only %d items", len(seeds))
	}
	fuzz(f, exchange.QTI21, seeds...)
}

// itemsOf returns the items of a package as they are in it.
func itemsOf(t testing.TB, file []byte) (out []string) {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range z.File {
		if !strings.HasSuffix(e.Name, ".xml") || strings.HasSuffix(e.Name, "imsmanifest.xml") {
			continue
		}
		in, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	return out
}
