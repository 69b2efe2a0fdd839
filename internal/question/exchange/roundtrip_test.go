package exchange_test

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/question/exchange"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// texts are what authors write, and what they should better not.
var texts = []string{
	"Rome", "Which is a prime?", "**bold** and *italic*", "$a_1*b_2*c$ is < 5 & > 3", "$$\\frac{{1}}{2}$$", "costs \\$5, not \\$6", "a\n\nb",
	"- one\n- two", "1. one\n2. two", "`code $x$ {y}`", "```go\nif a < b {\n\tx()\n}\n```", "| a | b |\n|---|---|\n| 1 | 2 |", "# Title\n\ntext",
	"List<String>", "a = b ~ c # d : e { f }", "C:\\new\\table", "-> arrow", "// no comment", "::x::", "[link](https://example.org/a?b=1&c=2)", "é ü ß 漢字 العربية 🙂",
	"\"quoted\" 'single'", "=SUM(A1)", "+1", "-1/2", "'=x", "@home", "trailing \\\\", "a\\\nb", "~~gone~~", "> quote", "&amp; &lt;b&gt;", "100%", "%50%", "A. x", "ANSWER: B",
	"[markdown]", "x %y% z", "a;b,c\td", "2 * 3 * 4", "snake_case_word", "<!-- hidden -->", "]]>", "<script>alert(1)</script>", "{1:SA:=x}", "[x]", "#", "=", "~",
}

func text(r *rand.Rand) string {
	s := texts[r.IntN(len(texts))]
	if r.IntN(3) == 0 {
		s += " " + texts[r.IntN(len(texts))]
	}
	return s
}

func maybe(r *rand.Rand) string {
	if r.IntN(2) == 0 {
		return ""
	}
	return text(r)
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

func share(r *rand.Rand) string {
	return []string{"0", "1/2", "1/3", "-1/3", "0.25", "-1", "1/7", "0.1", "5/6"}[r.IntN(9)]
}

// unique returns texts that differ, so that keys do.
func unique(r *rand.Rand, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s %d", text(r), i)
	}
	return out
}

func picture(r *rand.Rand) exchange.File {
	var b bytes.Buffer
	m := image.NewGray(image.Rect(0, 0, 20+r.IntN(80), 20+r.IntN(80)))
	_ = png.Encode(&b, m) // a buffer takes everything
	return exchange.File{ID: exchange.FileID(b.Bytes()), Name: "picture.png", Data: b.Bytes()}
}

// plain is a question with nothing that a format may lack.
func plain(n int) exchange.Item {
	text := fmt.Sprint("Plain number ", n)
	return exchange.Item{Content: &pb.QuestionContent{Title: text, Prompt: text, Body: &pb.QuestionContent_Choice{Choice: &pb.ChoiceQuestion{
		Shuffle: true, Options: []*pb.ChoiceOption{{Text: "One", Fraction: "1"}, {Text: "Two"}},
	}}}}
}

// random returns a valid question, or nearly one.
func random(r *rand.Rand) exchange.Item {
	q := &pb.QuestionContent{Title: oneLine(text(r)), Prompt: text(r), GeneralFeedback: maybe(r)}
	it := exchange.Item{Content: q}
	if r.IntN(2) == 0 {
		q.RightFeedback, q.PartlyFeedback, q.WrongFeedback = maybe(r), maybe(r), maybe(r)
		q.Points = []string{"2.5", "1", "10"}[r.IntN(3)]
		q.Penalty = []string{"0", "1/3", "0.25", "1"}[r.IntN(4)]
		q.Floor = []string{"", "-1/2"}[r.IntN(2)]
		q.Language = []string{"", "pt-BR"}[r.IntN(2)]
		it.Tags = [][]string{nil, {"algebra"}, {"a b", "x]y", "z;w"}}[r.IntN(3)]
		it.Category = [][]string{nil, {"Maths"}, {"Maths", "1/2 & more", "{x}"}}[r.IntN(3)]
		for range r.IntN(3) {
			q.Hints = append(q.Hints, &pb.QuestionHint{Text: text(r), ClearWrong: r.IntN(2) == 0, ShowCount: r.IntN(2) == 0})
		}
	}
	if r.IntN(4) == 0 {
		f := picture(r)
		it.Files = append(it.Files, f)
		q.Prompt += "\n\n![a _picture_](media:" + f.ID + ")"
	}
	kinds[r.IntN(len(kinds))](r, &it)
	return it
}

var kinds = []func(r *rand.Rand, it *exchange.Item){
	func(r *rand.Rand, it *exchange.Item) {
		c := &pb.ChoiceQuestion{Shuffle: r.IntN(4) > 0, Numbering: []string{"", "abc", "ABC"}[r.IntN(3)]}
		for i, t := range unique(r, 2+r.IntN(4)) {
			o := &pb.ChoiceOption{Text: t, Fraction: share(r), Feedback: maybe(r)}
			if i == 0 {
				o.Fraction = "1"
			}
			c.Options = append(c.Options, o)
		}
		if r.IntN(2) == 0 {
			c.Multiple, c.Scoring = true, []string{"", "all_or_nothing", "per_option", "right_minus_wrong"}[r.IntN(4)]
			c.MaxChosen = int32(r.IntN(2)) * int32(len(c.GetOptions()))
		}
		it.Content.Body = &pb.QuestionContent_Choice{Choice: c}
	},
	func(r *rand.Rand, it *exchange.Item) {
		it.Content.Body = &pb.QuestionContent_TrueFalse{TrueFalse: &pb.TrueFalseQuestion{Right: r.IntN(2) == 0, TrueFeedback: maybe(r), FalseFeedback: maybe(r), WrongFraction: []string{"", "-1/2"}[r.IntN(2)]}}
	},
	func(r *rand.Rand, it *exchange.Item) {
		it.Content.Body = &pb.QuestionContent_ShortAnswer{ShortAnswer: short(r)}
	},
	func(r *rand.Rand, it *exchange.Item) {
		n := numeric(r)
		if r.IntN(3) == 0 {
			n.Units = &pb.UnitRules{Units: []*pb.QuestionUnit{{Symbol: "m"}, {Symbol: "cm", Multiplier: "0.01"}}, Rule: []string{"", "optional"}[r.IntN(2)], Penalty: "0.1"}
		}
		it.Content.Body = &pb.QuestionContent_Numeric{Numeric: n}
	},
	func(r *rand.Rand, it *exchange.Item) {
		k := &pb.MatchingQuestion{Shuffle: r.IntN(4) > 0, WrongFraction: []string{"", "-1/4"}[r.IntN(2)], Scoring: []string{"", "all_or_nothing"}[r.IntN(2)]}
		names := unique(r, 5)
		keyed := question.Normalise(&pb.QuestionContent{Body: &pb.QuestionContent_Ordering{Ordering: &pb.OrderingQuestion{Items: []*pb.OrderingItem{{Text: names[0]}, {Text: names[1]}, {Text: names[2]}}}}}).GetOrdering().GetItems()
		for _, c := range keyed {
			key := c.GetKey()
			if r.IntN(5) == 0 {
				key = "own" + key
			}
			k.Choices = append(k.Choices, &pb.MatchingChoice{Key: key, Text: c.GetText()})
		}
		for i := range 2 {
			k.Stems = append(k.Stems, &pb.MatchingStem{Text: names[3+i], RightKeys: []string{k.GetChoices()[i].GetKey()}, Feedback: []string{"", "x"}[r.IntN(2)]})
		}
		it.Content.Body = &pb.QuestionContent_Matching{Matching: k}
	},
	func(r *rand.Rand, it *exchange.Item) {
		o := &pb.OrderingQuestion{Scoring: []string{"", "all_or_nothing", "relative_to_next", "longest_increasing"}[r.IntN(4)], Layout: []string{"", "horizontal"}[r.IntN(2)]}
		for _, t := range unique(r, 2+r.IntN(4)) {
			o.Items = append(o.Items, &pb.OrderingItem{Text: t})
		}
		it.Content.Body = &pb.QuestionContent_Ordering{Ordering: o}
	},
	func(r *rand.Rand, it *exchange.Item) {
		b := &pb.BlanksQuestion{Gaps: []*pb.BlankGap{
			{Key: "1", Weight: int32(1 + r.IntN(3)), Fill: &pb.BlankGap_Typed{Typed: short(r)}},
			{Key: "2", Fill: &pb.BlankGap_Number{Number: numeric(r)}},
			{Key: "3", Fill: &pb.BlankGap_Dropdown{Dropdown: &pb.DropdownGap{Shuffle: r.IntN(2) == 0, Options: []*pb.ChoiceOption{{Text: oneLine(text(r)) + "1", Fraction: "1", Feedback: maybe(r)}, {Text: oneLine(text(r)) + "2", Fraction: share(r)}}}}},
		}}
		it.Content.Prompt = "It is [[1]] or *[[2]]* or [[3]]."
		it.Content.Body = &pb.QuestionContent_Blanks{Blanks: b}
	},
	func(r *rand.Rand, it *exchange.Item) {
		b := &pb.BlanksQuestion{Items: []*pb.DragItem{{Key: "x", Text: text(r) + "1"}, {Key: "y", Text: text(r) + "2", Reuse: r.IntN(2) == 0}, {Key: "z", Text: text(r) + "3"}}}
		if r.IntN(2) == 0 {
			b.Items = []*pb.DragItem{{Text: "Seine"}, {Text: "Rhine"}, {Text: "Thames"}}
			names := question.Normalise(&pb.QuestionContent{Body: &pb.QuestionContent_Ordering{Ordering: &pb.OrderingQuestion{Items: []*pb.OrderingItem{{Text: "Seine"}, {Text: "Rhine"}, {Text: "Thames"}}}}}).GetOrdering().GetItems()
			for i, one := range names {
				b.Items[i].Key = one.GetKey()
			}
		}
		for i := range 2 {
			b.Gaps = append(b.Gaps, &pb.BlankGap{Key: fmt.Sprint(i + 1), Fill: &pb.BlankGap_Drag{Drag: &pb.DragGap{RightKeys: []string{b.GetItems()[i].GetKey()}}}})
		}
		it.Content.Prompt = "Not [[1]] but [[2]]."
		it.Content.Body = &pb.QuestionContent_Blanks{Blanks: b}
	},
	func(r *rand.Rand, it *exchange.Item) {
		c := &pb.CategoriseQuestion{Several: r.IntN(2) == 0, Categories: []*pb.CategoriseCategory{{Key: "a", Text: text(r) + " a"}, {Key: "b", Text: text(r) + " b"}}}
		for i, t := range unique(r, 3) {
			c.Items = append(c.Items, &pb.CategoriseItem{Text: t, RightKeys: [][]string{{"a"}, {"b"}, nil}[i]})
		}
		it.Content.Body = &pb.QuestionContent_Categorise{Categorise: c}
	},
	func(r *rand.Rand, it *exchange.Item) {
		f := picture(r)
		it.Files = append(it.Files, f)
		size, _ := png.DecodeConfig(bytes.NewReader(f.Data))
		h := &pb.HotSpotQuestion{MediaId: f.ID, Width: int32(size.Width), Height: int32(size.Height), Alt: "A heart", MaxMarks: int32(r.IntN(2)) * 3, Regions: []*pb.HotSpotRegion{
			{Description: "left", Right: true, Shape: &pb.HotSpotRegion_Circle{Circle: &pb.CircleShape{Center: &pb.ImagePoint{X: 5, Y: 5}, Radius: 4}}},
			{Description: "right", Right: r.IntN(2) == 0, Shape: &pb.HotSpotRegion_Rectangle{Rectangle: &pb.RectangleShape{Corner: &pb.ImagePoint{X: 10, Y: 8}, Width: 5, Height: 4}}},
			{Description: "wall", Shape: &pb.HotSpotRegion_Polygon{Polygon: &pb.PolygonShape{Points: []*pb.ImagePoint{{X: 1, Y: 1}, {X: 9, Y: 3}, {X: 4, Y: 12}}}}},
		}}
		it.Content.Body = &pb.QuestionContent_HotSpot{HotSpot: h}
	},
	func(r *rand.Rand, it *exchange.Item) {
		it.Content.Body = &pb.QuestionContent_Essay{Essay: &pb.EssayQuestion{Format: []string{"", "markdown"}[r.IntN(2)], MinWords: int32(r.IntN(2)) * 10, Template: maybe(r), GraderNotes: maybe(r), Attachments: []*pb.FileRules{nil, {MaxCount: 2, Kinds: []string{".pdf"}}}[r.IntN(2)]}}
	},
	func(r *rand.Rand, it *exchange.Item) {
		it.Content.Body = &pb.QuestionContent_FileUpload{FileUpload: &pb.FileUploadQuestion{Files: &pb.FileRules{MaxCount: 1 + int32(r.IntN(2))}}}
	},
	func(_ *rand.Rand, it *exchange.Item) {
		it.Content.Points = ""
		it.Content.Body = &pb.QuestionContent_Description{Description: &pb.DescriptionQuestion{}}
	},
	func(r *rand.Rand, it *exchange.Item) {
		it.Content.Prompt = "What is {a} + {b}, or {=a*b+1}?"
		v := &pb.QuestionVariables{Variables: []*pb.QuestionVariable{{Name: "a"}, {Name: "b"}}, Rows: []*pb.VariableRow{{Values: []string{"1", "2.5"}}, {Values: []string{"-3", "4"}}}}
		if r.IntN(3) == 0 {
			v = &pb.QuestionVariables{Variables: []*pb.QuestionVariable{{Name: "a", Range: &pb.VariableRange{Min: "1", Max: "5"}}, {Name: "b", Range: &pb.VariableRange{Min: "1", Max: "2"}}}, Constraints: []string{"a != b"}}
		}
		it.Content.Variables = v
		it.Content.Body = &pb.QuestionContent_Calculated{Calculated: &pb.CalculatedQuestion{Answers: []*pb.CalculatedAnswer{{
			Formula: []string{"a + b", "sin(a) * pow(b, 2) + 1.5e3", "a ^ b"}[r.IntN(3)], Tolerance: &pb.Tolerance{Kind: "relative", Size: "0.01"}, Feedback: maybe(r),
			Format: &pb.NumberFormat{Kind: "decimal_places", Digits: 2},
		}}}}
	},
}

func short(r *rand.Rand) *pb.ShortAnswerQuestion {
	s := &pb.ShortAnswerQuestion{CaseSensitive: r.IntN(2) == 0, Patterns: []*pb.AnswerPattern{{Pattern: "Rome", Feedback: maybe(r)}, {Pattern: `R*\*`, Fraction: share(r)}}}
	if r.IntN(2) == 0 {
		s.Patterns = append(s.Patterns, &pb.AnswerPattern{Pattern: strings.TrimSpace(oneLine(text(r))), Fraction: share(r)})
	}
	return s
}

func numeric(r *rand.Rand) *pb.NumericQuestion {
	return &pb.NumericQuestion{Answers: []*pb.NumericAnswer{
		{Value: "3.14", Tolerance: []*pb.Tolerance{nil, {Kind: "absolute", Size: "0.01"}, {Kind: "relative", Size: "0.1"}, {Kind: "significant_figures", Digits: 2}}[r.IntN(4)], Feedback: maybe(r)},
		{Value: "-2e5", Fraction: share(r)},
		{Tolerance: &pb.Tolerance{Kind: "range", Low: []string{"1", "1", ""}[r.IntN(3)], High: "2"}, Fraction: "1/2"},
	}[:1+r.IntN(3)]}
}

func sequence(list []exchange.Item) iter.Seq2[exchange.Item, error] {
	return func(yield func(exchange.Item, error) bool) {
		for _, one := range list {
			if !yield(one, nil) {
				return
			}
		}
	}
}

// TestRoundTrip writes random questions in each format and reads the file again: what
// is not the same is just what the report has told.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, format := range exchange.Formats {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(7, uint64(len(format)))) //nolint:gosec // no secret
			n := 400
			if testing.Short() {
				n = 60
			}
			var list []exchange.Item
			for len(list) < n {
				it := random(r)
				if len(list)%10 == 0 { // as every format has them
					it = plain(len(list))
				}
				if question.Validate(it.Content) == nil {
					list = append(list, it)
				}
			}
			var file bytes.Buffer
			told, err := exchange.Write(t.Context(), format, &file, sequence(list))
			if err != nil {
				t.Fatal(err)
			}
			var back []exchange.Item
			report, err := exchange.Read(t.Context(), format, bytes.NewReader(file.Bytes()), func(it exchange.Item) error {
				back = append(back, it)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if report.Refused > 0 || len(back) != told.Kept+told.Changed || len(told.Entries) != n {
				t.Fatalf("written %d, changed %d, refused %d; read %d, refused %d", told.Kept, told.Changed, told.Refused, len(back), report.Refused)
			}
			t.Logf("kept %d, changed %d, refused %d; %d bytes", told.Kept, told.Changed, told.Refused, file.Len())
			if told.Kept < n/100 {
				t.Errorf("only %d of %d are kept", told.Kept, n)
			}
			at := 0
			for i, e := range told.Entries {
				if e.Outcome == exchange.Refused {
					if len(e.Notes) == 0 {
						t.Errorf("%d is refused without a reason", i)
					}
					continue
				}
				was, is := list[i], back[at]
				at++
				diff := cmp.Diff(question.Normalise(was.Content), is.Content, protocmp.Transform())
				same := diff == "" && cmp.Equal(was.Category, is.Category) && cmp.Equal(sortedTags(was.Tags), sortedTags(is.Tags))
				switch {
				case same && e.Outcome != exchange.Kept && len(e.Notes) > 0 && allFields(e.Notes):
					t.Errorf("%d is the same, and told to be changed: %v", i, e.Notes)
				case !same && e.Outcome == exchange.Kept:
					t.Errorf("%d is told to be kept, and is not: %v %v; %v %v\n%s", i, was.Category, was.Tags, is.Category, is.Tags, diff)
				case same:
					a, _ := question.Hash(was.Content)
					if b, _ := question.Hash(is.Content); a != b {
						t.Errorf("%d has another hash", i)
					}
				}
			}
		})
	}
}

func allFields(notes []exchange.Note) bool {
	for _, n := range notes {
		if n.Field == "" {
			return false
		}
	}
	return true
}

func sortedTags(tags []string) map[string]bool {
	out := map[string]bool{}
	for _, t := range tags {
		out[t] = true
	}
	return out
}
