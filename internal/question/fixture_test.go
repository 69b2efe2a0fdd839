package question

import (
	"maps"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

const pictureID = "media_01h455vb4pex5vsknk084sn02q"

// ask makes a question with a body.
func ask(prompt string, set func(q *pb.QuestionContent)) *pb.QuestionContent {
	q := &pb.QuestionContent{Title: "A question", Prompt: prompt}
	set(q)
	return q
}

func options(list ...string) []*pb.ChoiceOption {
	var out []*pb.ChoiceOption
	for two := range slices.Chunk(list, 2) {
		out = append(out, &pb.ChoiceOption{Key: two[0], Text: "Option " + two[0], Fraction: two[1], Feedback: "About " + two[0]})
	}
	return out
}

func single() *pb.QuestionContent {
	return ask("Which is a prime?", func(q *pb.QuestionContent) {
		q.Body = &pb.QuestionContent_Choice{Choice: &pb.ChoiceQuestion{Shuffle: true, Options: options("a", "1", "b", "-1/3", "c", "1/3", "d", "0")}}
	})
}

func multiple(scoring string) *pb.QuestionContent {
	return ask("Which are primes?", func(q *pb.QuestionContent) {
		q.Body = &pb.QuestionContent_Choice{Choice: &pb.ChoiceQuestion{
			Multiple: true, Shuffle: true, Scoring: scoring, Options: options("a", "1/3", "b", "1/3", "c", "1/3", "d", "-1/2", "e", "-1/2"),
		}}
	})
}

func trueFalseQuestion() *pb.QuestionContent {
	return ask("Two is a prime.", func(q *pb.QuestionContent) {
		q.Body = &pb.QuestionContent_TrueFalse{TrueFalse: &pb.TrueFalseQuestion{Right: true, TrueFeedback: "Yes.", FalseFeedback: "No."}}
	})
}

func short(patterns ...string) *pb.ShortAnswerQuestion {
	s := &pb.ShortAnswerQuestion{}
	for two := range slices.Chunk(patterns, 2) {
		s.Patterns = append(s.Patterns, &pb.AnswerPattern{Pattern: two[0], Fraction: two[1], Feedback: "About " + two[0]})
	}
	return s
}

func shortQuestion(s *pb.ShortAnswerQuestion) *pb.QuestionContent {
	return ask("Say it.", func(q *pb.QuestionContent) { q.Body = &pb.QuestionContent_ShortAnswer{ShortAnswer: s} })
}

func numericQuestion(n *pb.NumericQuestion) *pb.QuestionContent {
	return ask("How much?", func(q *pb.QuestionContent) { q.Body = &pb.QuestionContent_Numeric{Numeric: n} })
}

func near(value, kind, size string) *pb.NumericQuestion {
	return &pb.NumericQuestion{Answers: []*pb.NumericAnswer{{Value: value, Tolerance: &pb.Tolerance{Kind: kind, Size: size}, Feedback: "Near"}}}
}

func metres() *pb.UnitRules {
	return &pb.UnitRules{Units: []*pb.QuestionUnit{
		{Symbol: "m", Also: []string{"metre", "metres"}}, {Symbol: "cm", Multiplier: "0.01"}, {Symbol: "km", Multiplier: "1000"},
	}}
}

func calculatedQuestion(formula string) *pb.QuestionContent {
	return ask("What are {a} and {b} together? Half of it is {=(a+b)/2}.", func(q *pb.QuestionContent) {
		q.Variables = &pb.QuestionVariables{Variables: []*pb.QuestionVariable{
			{Name: "a", Range: &pb.VariableRange{Min: "1", Max: "10", Step: "0.5"}}, {Name: "b", Range: &pb.VariableRange{Min: "-5", Max: "5"}},
		}}
		q.Body = &pb.QuestionContent_Calculated{Calculated: &pb.CalculatedQuestion{Answers: []*pb.CalculatedAnswer{
			{Formula: formula, Tolerance: &pb.Tolerance{Kind: "absolute", Size: "0.001"}, Format: &pb.NumberFormat{Kind: "decimal_places", Digits: 2}},
		}}}
	})
}

func matchingQuestion() *pb.QuestionContent {
	return ask("Which capital?", func(q *pb.QuestionContent) {
		q.Body = &pb.QuestionContent_Matching{Matching: &pb.MatchingQuestion{
			Shuffle: true,
			Stems: []*pb.MatchingStem{
				{Key: "it", Text: "Italy", RightKeys: []string{"r"}},
				{Key: "fr", Text: "France", RightKeys: []string{"p"}},
				{Key: "es", Text: "Spain", RightKeys: []string{"m"}},
				{Key: "pt", Text: "Portugal", RightKeys: []string{"l"}},
			},
			Choices: []*pb.MatchingChoice{
				{Key: "r", Text: "Rome"}, {Key: "p", Text: "Paris"}, {Key: "m", Text: "Madrid"}, {Key: "l", Text: "Lisbon"}, {Key: "v", Text: "Vienna"},
			},
		}}
	})
}

func orderingQuestion(scoring string, keys ...string) *pb.QuestionContent {
	return ask("Put them in order.", func(q *pb.QuestionContent) {
		o := &pb.OrderingQuestion{Scoring: scoring}
		for _, k := range keys {
			o.Items = append(o.Items, &pb.OrderingItem{Key: k, Text: "Item " + k})
		}
		q.Body = &pb.QuestionContent_Ordering{Ordering: o}
	})
}

func blanksQuestion() *pb.QuestionContent {
	return ask("[[1]] is the capital of [[2]], with [[3]] million people; it lies on the [[4]], not on the [[5]].", func(q *pb.QuestionContent) {
		q.Body = &pb.QuestionContent_Blanks{Blanks: &pb.BlanksQuestion{
			Gaps: []*pb.BlankGap{
				{Key: "1", Fill: &pb.BlankGap_Typed{Typed: short("Paris", "1", "Par*", "1/2")}},
				{Key: "2", Fill: &pb.BlankGap_Dropdown{Dropdown: &pb.DropdownGap{Shuffle: true, Options: options("f", "1", "g", "0", "h", "-1/2")}}},
				{Key: "3", Weight: 2, Fill: &pb.BlankGap_Number{Number: near("2.1", "absolute", "0.1")}},
				{Key: "4", Fill: &pb.BlankGap_Drag{Drag: &pb.DragGap{Group: "river", RightKeys: []string{"seine"}}}},
				{Key: "5", Fill: &pb.BlankGap_Drag{Drag: &pb.DragGap{Group: "river", RightKeys: []string{"seine", "rhine", "thames"}}}},
			},
			Items: []*pb.DragItem{
				{Key: "seine", Text: "Seine", Group: "river"}, {Key: "rhine", Text: "Rhine", Group: "river"}, {Key: "thames", Text: "Thames", Group: "river"},
			},
		}}
	})
}

func categoriseQuestion() *pb.QuestionContent {
	return ask("Sort them.", func(q *pb.QuestionContent) {
		q.Body = &pb.QuestionContent_Categorise{Categorise: &pb.CategoriseQuestion{
			Several: true, Shuffle: true,
			Categories: []*pb.CategoriseCategory{{Key: "even", Text: "Even"}, {Key: "prime", Text: "Prime"}, {Key: "square", Text: "Square"}},
			Items: []*pb.CategoriseItem{
				{Key: "2", Text: "2", RightKeys: []string{"even", "prime"}},
				{Key: "3", Text: "3", RightKeys: []string{"prime"}},
				{Key: "4", Text: "4", RightKeys: []string{"even", "square"}},
				{Key: "15", Text: "15"},
			},
		}}
	})
}

func hotSpotQuestion() *pb.QuestionContent {
	return ask("Find the valves.", func(q *pb.QuestionContent) {
		q.Body = &pb.QuestionContent_HotSpot{HotSpot: &pb.HotSpotQuestion{
			MediaId: pictureID, Width: 800, Height: 600, Alt: "A heart, cut open", MaxMarks: 3, WrongFraction: "-1/2",
			Regions: []*pb.HotSpotRegion{
				{Key: "left", Description: "Between the chambers on the left", Right: true, Shape: &pb.HotSpotRegion_Circle{Circle: &pb.CircleShape{Center: &pb.ImagePoint{X: 100, Y: 100}, Radius: 50}}},
				{Key: "right", Description: "Between the chambers on the right", Right: true, Shape: &pb.HotSpotRegion_Rectangle{Rectangle: &pb.RectangleShape{Corner: &pb.ImagePoint{X: 120, Y: 80}, Width: 200, Height: 40}}},
				{Key: "wall", Description: "The wall in the middle", Shape: &pb.HotSpotRegion_Polygon{Polygon: &pb.PolygonShape{Points: []*pb.ImagePoint{{X: 400, Y: 0}, {X: 500, Y: 300}, {X: 400, Y: 600}}}}},
			},
		}}
	})
}

func essayQuestion() *pb.QuestionContent {
	return ask("Discuss.", func(q *pb.QuestionContent) {
		q.Body = &pb.QuestionContent_Essay{Essay: &pb.EssayQuestion{MinWords: 3, MaxWords: 1000, GraderNotes: "Look at the grammar.", Attachments: &pb.FileRules{MaxCount: 2, Kinds: []string{".pdf"}}}}
	})
}

func fileQuestion() *pb.QuestionContent {
	return ask("Hand it in.", func(q *pb.QuestionContent) {
		q.Body = &pb.QuestionContent_FileUpload{FileUpload: &pb.FileUploadQuestion{Files: &pb.FileRules{MinCount: 1, MaxCount: 3}}}
	})
}

func descriptionQuestion() *pb.QuestionContent {
	return ask("Read this: ![a chart](media:"+pictureID+")", func(q *pb.QuestionContent) {
		q.Body = &pb.QuestionContent_Description{Description: &pb.DescriptionQuestion{}}
	})
}

// samples has questions of all types, with all that they can have.
func samples() map[string]*pb.QuestionContent {
	out := map[string]*pb.QuestionContent{
		"single": single(), "weights": multiple("weights"), "all or nothing": multiple("all_or_nothing"),
		"per option": multiple("per_option"), "right minus wrong": multiple("right_minus_wrong"),
		"true or false": trueFalseQuestion(),
		"short answer":  shortQuestion(short("Rome", "1", "R*", "1/2", "*", "-1/4")),
		"numeric":       numericQuestion(&pb.NumericQuestion{Answers: []*pb.NumericAnswer{{Value: "1.5", Tolerance: &pb.Tolerance{Kind: "relative", Size: "0.01"}}, {Value: "3", Fraction: "-1/2"}}, Units: metres()}),
		"calculated":    calculatedQuestion("a + b"),
		"matching":      matchingQuestion(),
		"ordering":      orderingQuestion("absolute_position", "q", "m", "z", "a"),
		"ordering next": orderingQuestion("relative_to_next", "q", "m", "z", "a"),
		"ordering all":  orderingQuestion("all_or_nothing", "q", "m", "z", "a"),
		"ordering run":  orderingQuestion("longest_increasing", "q", "m", "z", "a"),
		"blanks":        blanksQuestion(), "categorise": categoriseQuestion(), "hot spot": hotSpotQuestion(),
		"essay": essayQuestion(), "files": fileQuestion(), "description": descriptionQuestion(),
	}
	for _, name := range slices.Sorted(maps.Keys(out)) {
		q := out[name]
		q.Floor = "-1/2"
		q.Penalty = "1/4"
		q.GeneralFeedback, q.RightFeedback, q.PartlyFeedback, q.WrongFeedback = "In general", "All right", "Some right", "Wrong"
		q.Hints = []*pb.QuestionHint{{Text: "First hint", ClearWrong: true}, {Text: "Second hint", ShowCount: true}}
	}
	return out
}

// compiled reads a valid question.
func compiled(t testing.TB, q *pb.QuestionContent) *Question {
	t.Helper()
	if err := Validate(q); err != nil {
		t.Fatalf("%v: not valid: %v", q.GetTitle(), err)
	}
	out, err := Compile(q, Version)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func instance(t testing.TB, q *pb.QuestionContent, seed Seed) *Instance {
	t.Helper()
	in, err := compiled(t, q).Instance(seed)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func num(s string) exact.Number { return exact.MustParse(s) }

func choose(keys ...string) *pb.Answer {
	return &pb.Answer{Content: &pb.Answer_Choice{Choice: &pb.ChoiceAnswer{Keys: keys}}}
}

func say(text string) *pb.Answer {
	return &pb.Answer{Content: &pb.Answer_Text{Text: &pb.TextAnswer{Text: text}}}
}

func count(text string) *pb.Answer {
	return &pb.Answer{Content: &pb.Answer_Number{Number: &pb.NumberAnswer{Text: text}}}
}

func order(keys ...string) *pb.Answer {
	return &pb.Answer{Content: &pb.Answer_Ordering{Ordering: &pb.OrderingAnswer{Keys: keys}}}
}

func pairs(keys ...string) *pb.Answer {
	a := &pb.MatchingAnswer{}
	for two := range slices.Chunk(keys, 2) {
		a.Pairs = append(a.Pairs, &pb.MatchingPair{StemKey: two[0], ChoiceKey: two[1]})
	}
	return &pb.Answer{Content: &pb.Answer_Matching{Matching: a}}
}

// gaps fills gaps: with a key where it begins with #.
func gaps(list ...string) *pb.Answer {
	a := &pb.BlanksAnswer{}
	for two := range slices.Chunk(list, 2) {
		one := &pb.GapAnswer{GapKey: two[0], Text: two[1]}
		if one.GetText()[0] == '#' {
			one.Key, one.Text = one.GetText()[1:], ""
		}
		a.Gaps = append(a.Gaps, one)
	}
	return &pb.Answer{Content: &pb.Answer_Blanks{Blanks: a}}
}

func place(list ...[]string) *pb.Answer {
	a := &pb.CategoriseAnswer{}
	for _, one := range list {
		a.Placements = append(a.Placements, &pb.ItemPlacement{ItemKey: one[0], CategoryKeys: one[1:]})
	}
	return &pb.Answer{Content: &pb.Answer_Categorise{Categorise: a}}
}

// point marks places: x and y in turn, or a key.
func point(list ...any) *pb.Answer {
	a := &pb.HotSpotAnswer{}
	var x *int32
	for _, one := range list {
		if key, ok := one.(string); ok {
			a.Marks = append(a.Marks, &pb.HotSpotMark{Place: &pb.HotSpotMark_RegionKey{RegionKey: key}})
			continue
		}
		n, _ := one.(int)
		v := int32(n) //nolint:gosec // small
		if x == nil {
			x = &v
			continue
		}
		a.Marks = append(a.Marks, &pb.HotSpotMark{Place: &pb.HotSpotMark_Point{Point: &pb.ImagePoint{X: *x, Y: v}}})
		x = nil
	}
	return &pb.Answer{Content: &pb.Answer_HotSpot{HotSpot: a}}
}

func write(text string) *pb.Answer {
	return &pb.Answer{Content: &pb.Answer_Essay{Essay: &pb.EssayAnswer{Text: text}}}
}

func with[T proto.Message](m T, change func(m T)) T {
	out := proto.CloneOf(m)
	change(out)
	return out
}
