package question

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// rekeyed returns a question that asks the same, of which other things are right and
// all that is told afterwards is other.
func rekeyed(q *pb.QuestionContent) *pb.QuestionContent {
	q = proto.CloneOf(q)
	q.Title, q.Floor, q.Penalty = "Another title", "-1/4", "1"
	q.GeneralFeedback, q.RightFeedback, q.PartlyFeedback, q.WrongFeedback, q.Hints = "g", "r", "p", "w", nil
	turnOptions := func(list []*pb.ChoiceOption) {
		first := list[0].GetFraction()
		for i := range list[1:] {
			list[i].Fraction = list[i+1].GetFraction()
		}
		list[len(list)-1].Fraction = first
		for _, o := range list {
			o.Feedback = "other"
		}
	}
	switch b := q.GetBody().(type) {
	case *pb.QuestionContent_Choice:
		turnOptions(b.Choice.GetOptions())
		if b.Choice.GetMultiple() {
			b.Choice.Scoring = "per_option"
		}
	case *pb.QuestionContent_TrueFalse:
		b.TrueFalse.Right = !b.TrueFalse.GetRight()
		b.TrueFalse.WrongFraction, b.TrueFalse.TrueFeedback = "-1", "other"
	case *pb.QuestionContent_ShortAnswer:
		b.ShortAnswer = &pb.ShortAnswerQuestion{CaseSensitive: true, IgnoreAccents: true, Spaces: "ignore", Patterns: short("Oslo", "1").GetPatterns()}
	case *pb.QuestionContent_Numeric:
		b.Numeric.Answers = near("77", "geometric", "0.5").GetAnswers()
	case *pb.QuestionContent_Calculated:
		b.Calculated.Answers[0].Formula = "a * 1000 - b"
		b.Calculated.Answers[0].Format = &pb.NumberFormat{Digits: 3}
		b.Calculated.Answers[0].Tolerance = nil
	case *pb.QuestionContent_Matching:
		b.Matching.Scoring, b.Matching.WrongFraction = "all_or_nothing", "-1"
		for i, s := range b.Matching.GetStems() {
			s.RightKeys = []string{b.Matching.GetChoices()[4-i].GetKey()}
		}
		slices.Reverse(b.Matching.Choices)
	case *pb.QuestionContent_Ordering:
		b.Ordering.Scoring = "all_or_nothing"
		slices.Reverse(b.Ordering.Items)
	case *pb.QuestionContent_Blanks:
		b.Blanks.Scoring, b.Blanks.WrongFraction = "all_or_nothing", "-1"
		b.Blanks.Gaps[0].GetTyped().Patterns = short("Rome", "1").GetPatterns()
		turnOptions(b.Blanks.Gaps[1].GetDropdown().GetOptions())
		b.Blanks.Gaps[2].GetNumber().Answers = near("5", "relative", "0").GetAnswers()
		b.Blanks.Gaps[3].GetDrag().RightKeys = []string{"thames"}
		b.Blanks.Gaps[4].GetDrag().RightKeys = []string{"rhine"}
		slices.Reverse(b.Blanks.Items)
		b.Blanks.Gaps[0].Weight = 7
	case *pb.QuestionContent_Categorise:
		b.Categorise.Scoring = "all_or_nothing"
		items := b.Categorise.GetItems()
		items[0].RightKeys, items[3].RightKeys = nil, []string{"square"}
		slices.Reverse(b.Categorise.Items)
	case *pb.QuestionContent_HotSpot:
		b.HotSpot.Scoring, b.HotSpot.WrongFraction = "all_or_nothing", "-1"
		r := b.HotSpot.GetRegions()
		r[0].Right, r[2].Right = false, true
		r[0].Shape, r[2].Shape = r[2].Shape, r[0].Shape
		slices.Reverse(b.HotSpot.Regions)
	case *pb.QuestionContent_Essay:
		b.Essay.GraderNotes = "Other notes"
	case *pb.QuestionContent_FileUpload:
		b.FileUpload.GraderNotes = "Other notes"
	}
	return q
}

// TestViewsTellNothing: of two questions that differ only in what is right, clients
// show the same.
func TestViewsTellNothing(t *testing.T) {
	t.Parallel()
	kindsSeen := map[string]bool{}
	for name, q := range samples() {
		// The prompt of the second formula says something about a and b, not about what
		// is right.
		one, other := compiled(t, q), compiled(t, rekeyed(q))
		kindsSeen[one.Kind()] = true
		if one.Kind() != "description" && proto.Equal(one.content.ProtoReflect().Interface(), other.content.ProtoReflect().Interface()) {
			t.Fatalf("%s: nothing differs", name)
		}
		rapid.Check(t, func(rt *rapid.T) {
			seed := drawSeed(rt)
			a, err := one.Instance(seed)
			if err != nil {
				rt.Fatal(err)
			}
			b, err := other.Instance(seed)
			if err != nil {
				rt.Fatal(err)
			}
			if diff := cmp.Diff(a.View(), b.View(), protocmp.Transform()); diff != "" {
				rt.Fatalf("%s: %s", name, diff)
			}
		})
		in := instance(t, q, Seed{})
		text := prototext.Format(in.View())
		for _, secret := range []string{"About ", "hint", "In general", "All right", "Wrong", "grammar", "fraction", "right_keys", "A question"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows %q: %s", name, secret, text)
			}
		}
	}
	if len(kindsSeen) != len(kinds) {
		t.Errorf("only %d of %d types were looked at", len(kindsSeen), len(kinds))
	}
}

func TestView(t *testing.T) {
	t.Parallel()
	q := with(single(), func(q *pb.QuestionContent) {
		q.Prompt = "Look: ![chart](media:" + pictureID + ") and ![chart](<media:" + pictureID + ">)"
		q.GetChoice().Options[3].Fixed = true
	})
	for seed := range int64(50) {
		v := instance(t, q, Seed{Attempt: seed}).View()
		if got := v.GetChoice().GetOptions(); len(got) != 4 || got[3].GetKey() != "d" {
			t.Fatalf("the fixed option is not the last: %v", got)
		}
		if diff := cmp.Diff([]string{pictureID}, v.GetMediaIds()); diff != "" {
			t.Fatal(diff)
		}
	}
	// Frozen: the order of an attempt must never change.
	var orders []string
	for seed := range int64(4) {
		var keys []string
		for _, o := range instance(t, single(), Seed{Attempt: seed, Slot: 2}).View().GetChoice().GetOptions() {
			keys = append(keys, o.GetKey())
		}
		orders = append(orders, strings.Join(keys, ""))
	}
	if diff := cmp.Diff([]string{"cabd", "adbc", "cdba", "bcda"}, orders); diff != "" {
		t.Error(diff)
	}
	v := instance(t, blanksQuestion(), Seed{}).View().GetBlanks()
	if v.GetGaps()[3].GetPlace() != 4 || v.GetGaps()[3].GetKind() != "drag" || len(v.GetGaps()[3].GetOptions()) != 3 || len(v.GetItems()) != 3 {
		t.Errorf("a gap to drag to: %v", v)
	}
	c := instance(t, calculatedQuestion("a + b"), Seed{Attempt: 7})
	if text := c.View().GetPrompt(); strings.Contains(text, "{") {
		t.Errorf("the prompt has variables: %s", text)
	}
	if diff := cmp.Diff([]string{pictureID}, Media(hotSpotQuestion())); diff != "" {
		t.Error(diff)
	}
}
