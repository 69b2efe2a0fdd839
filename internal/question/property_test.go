package question

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// all are the samples, read.
func all(t *testing.T) (names []string, read map[string]*Question) {
	t.Helper()
	read = map[string]*Question{}
	for name, q := range samples() {
		read[name] = compiled(t, q)
	}
	return slices.Sorted(maps.Keys(read)), read
}

func drawSeed(t *rapid.T) Seed {
	return Seed{rapid.Int64().Draw(t, "seed"), rapid.IntRange(0, 100).Draw(t, "slot")}
}

func drawInstance(t *rapid.T, names []string, read map[string]*Question) *Instance {
	in, err := read[rapid.SampledFrom(names).Draw(t, "question")].Instance(drawSeed(t))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// drawAnswer draws any answer at all: of the question's kind most often, with keys
// that it has, some of them twice, and some that it does not have.
func drawAnswer(t *rapid.T, in *Instance) *pb.Answer {
	known := []string{"unknown", ""}
	eachKey(in.content.ProtoReflect(), func(key string) { known = append(known, key) })
	key := rapid.SampledFrom(known)
	keys := rapid.SliceOfN(key, 0, 6)
	text := rapid.OneOf(rapid.SampledFrom([]string{"Rome", "Rimini", "1.5 m", "150 cm", "2,1", "3", "1e5", "Paris", " ", ""}), rapid.StringN(0, 10, 40))
	content := in.takes
	if content == "" || rapid.IntRange(0, 19).Draw(t, "other kind") == 0 {
		content = rapid.SampledFrom([]string{"choice", "text", "number", "matching", "ordering", "essay", "cleared", "hot_spot", ""}).Draw(t, "kind")
	}
	a := &pb.Answer{}
	switch content {
	case "choice":
		a.Content = &pb.Answer_Choice{Choice: &pb.ChoiceAnswer{Keys: keys.Draw(t, "keys"), None: rapid.Bool().Draw(t, "none")}}
	case "true_false":
		a.Content = &pb.Answer_TrueFalse{TrueFalse: &pb.TrueFalseAnswer{Value: rapid.Bool().Draw(t, "value")}}
	case "text":
		a.Content = &pb.Answer_Text{Text: &pb.TextAnswer{Text: text.Draw(t, "text")}}
	case "number":
		a.Content = &pb.Answer_Number{Number: &pb.NumberAnswer{Text: text.Draw(t, "text"), Unit: rapid.SampledFrom([]string{"", "m", "x"}).Draw(t, "unit")}}
	case "matching":
		list := rapid.SliceOfN(key, 0, 8).Draw(t, "pairs")
		a = pairs(list[:len(list)/2*2]...)
	case "ordering":
		a.Content = &pb.Answer_Ordering{Ordering: &pb.OrderingAnswer{Keys: keys.Draw(t, "keys")}}
	case "blanks":
		b := &pb.BlanksAnswer{}
		for range rapid.IntRange(0, 6).Draw(t, "gaps") {
			b.Gaps = append(b.Gaps, &pb.GapAnswer{GapKey: key.Draw(t, "gap"), Text: text.Draw(t, "text"), Key: key.Draw(t, "key")})
		}
		a.Content = &pb.Answer_Blanks{Blanks: b}
	case "categorise":
		b := &pb.CategoriseAnswer{}
		for range rapid.IntRange(0, 5).Draw(t, "placements") {
			b.Placements = append(b.Placements, &pb.ItemPlacement{ItemKey: key.Draw(t, "item"), CategoryKeys: keys.Draw(t, "keys")})
		}
		a.Content = &pb.Answer_Categorise{Categorise: b}
	case "hot_spot":
		b := &pb.HotSpotAnswer{}
		for range rapid.IntRange(0, 4).Draw(t, "marks") {
			m := &pb.HotSpotMark{Place: &pb.HotSpotMark_RegionKey{RegionKey: key.Draw(t, "key")}}
			if rapid.Bool().Draw(t, "point") {
				m.Place = &pb.HotSpotMark_Point{Point: &pb.ImagePoint{X: rapid.Int32Range(0, 900).Draw(t, "x"), Y: rapid.Int32Range(0, 700).Draw(t, "y")}}
			}
			b.Marks = append(b.Marks, m)
		}
		a.Content = &pb.Answer_HotSpot{HotSpot: b}
	case "essay":
		a = write(text.Draw(t, "text"))
	case "files":
		a.Content = &pb.Answer_Files{Files: &pb.FilesAnswer{MediaIds: rapid.SliceOfN(rapid.Just(pictureID), 0, 4).Draw(t, "files")}}
	case "cleared":
		a.Content = &pb.Answer_Cleared{Cleared: &pb.ClearedAnswer{}}
	}
	return a
}

// eachKey calls f with each key in a message.
func eachKey(m protoreflect.Message, f func(key string)) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsList() && fd.Message() != nil:
			for i := range v.List().Len() {
				eachKey(v.List().Get(i).Message(), f)
			}
		case fd.Message() != nil:
			eachKey(v.Message(), f)
		case fd.Name() == "key":
			f(v.String())
		}
		return true
	})
}

// TestScoreIsBounded: whatever an answer is, its score lies between the floor and 1,
// and its lines add up to it.
func TestScoreIsBounded(t *testing.T) {
	t.Parallel()
	names, read := all(t)
	rapid.Check(t, func(t *rapid.T) {
		in := drawInstance(t, names, read)
		a := drawAnswer(t, in)
		s := in.Score(a)
		if s.Fraction.Cmp(in.Floor()) < 0 || s.Fraction.Cmp(unit) > 0 {
			t.Fatalf("%s: %v gives %s", in.name, a, s.Fraction)
		}
		again := in.Score(proto.CloneOf(a))
		if diff := cmp.Diff(s, again); diff != "" {
			t.Fatalf("scored twice: %s", diff)
		}
		if s.State == NeedsMarking || s.State == "" {
			return
		}
		value := exact.Number{}
		for _, l := range s.Lines {
			switch l.Code {
			case "part":
				if !l.Value.Equal(l.Fraction.Mul(l.Weight)) {
					t.Fatalf("%+v is no product", l)
				}
				value = value.Add(l.Value)
			case "rule":
				if l.Key != "all_or_nothing" && l.Key != "longest_increasing" && !value.Equal(l.Value) {
					t.Fatalf("the parts give %s, and the rule says %s: %+v", value, l.Value, s.Lines)
				}
				value = l.Value
			case "total":
				if !value.Equal(l.Value) || !l.Value.Equal(s.Fraction) {
					t.Fatalf("the lines give %s, the total is %s and the score %s: %+v", value, l.Value, s.Fraction, s.Lines)
				}
			default:
				value = l.Value
			}
		}
	})
}

// TestRightAnswer: what is told to be right is accepted and gives all, with any seed;
// in any behaviour, too.
func TestRightAnswer(t *testing.T) {
	t.Parallel()
	names, read := all(t)
	rapid.Check(t, func(t *rapid.T) {
		in := drawInstance(t, names, read)
		right := in.kind.right(in)
		if right == nil {
			return
		}
		if err := in.CheckAnswer(right); err != nil {
			t.Fatalf("%v is refused: %v", right, err)
		}
		s := in.Score(right)
		if !s.Fraction.Equal(unit) || s.State != Right || in.given(right) != whole {
			t.Fatalf("%v gives %s, %s", right, s.Fraction, s.State)
		}
		for _, p := range s.Parts {
			if p.State != Right && (in.name != "categorise" || p.State != Unanswered) {
				t.Fatalf("%v has a part that is not right: %+v", right, p)
			}
		}
		for _, b := range []string{Deferred, Immediate, Interactive} {
			state, err := in.Fold(Rules{Behaviour: b, MaxPoints: num("3")}, []Step{{Kind: StepAnswer, Answer: right}, {Kind: StepFinish}})
			if err != nil || state.Fraction == nil || !state.Fraction.Equal(unit) || state.Phase != Complete {
				t.Fatalf("%s: %+v, %v", b, state, err)
			}
		}
	})
}

// TestShufflesChangeNothing: what an answer gives does not depend on the seed where
// there are no variables, and every view has the same things in it.
func TestShufflesChangeNothing(t *testing.T) {
	t.Parallel()
	names, read := all(t)
	names = slices.DeleteFunc(names, func(n string) bool { return n == "calculated" })
	rapid.Check(t, func(t *rapid.T) {
		in := drawInstance(t, names, read)
		other, err := in.Instance(drawSeed(t))
		if err != nil {
			t.Fatal(err)
		}
		a := drawAnswer(t, in)
		if diff := cmp.Diff(in.Score(a), other.Score(a)); diff != "" {
			t.Fatal(diff)
		}
		unordered := protocmp.SortRepeated(func(a, b *pb.KeyedText) bool { return a.GetKey() < b.GetKey() })
		drags := protocmp.SortRepeated(func(a, b *pb.DragView) bool { return a.GetKey() < b.GetKey() })
		if diff := cmp.Diff(in.View(), other.View(), protocmp.Transform(), unordered, drags); diff != "" {
			t.Fatal(diff)
		}
		again, err := in.Instance(in.seed)
		if err != nil || !proto.Equal(in.View(), again.View()) {
			t.Fatalf("the same seed shows something else: %v", err)
		}
	})
}

// TestAcceptedOrNot: an answer is accepted or refused with fields, and never breaks
// what reads it afterwards.
func TestAcceptedOrNot(t *testing.T) {
	t.Parallel()
	names, read := all(t)
	rapid.Check(t, func(t *rapid.T) {
		in := drawInstance(t, names, read)
		a := drawAnswer(t, in)
		err := in.CheckAnswer(a)
		if in.takes == "" && err == nil {
			t.Fatalf("%v is accepted where nothing is asked", a)
		}
		if in.takes != "" && contentOf(a) != in.takes && contentOf(a) != "cleared" && err == nil {
			t.Fatalf("%v is accepted by %s", a, in.name)
		}
		_ = in.kind.words(in, a, "")
		if k, ok := in.kind.(keeper); ok && in.given(a) != nothing {
			kept := k.keep(a, in.Score(a))
			if err == nil && in.CheckAnswer(kept) != nil {
				t.Fatalf("what was kept of %v is refused: %v", a, kept)
			}
		}
	})
}

// TestNormalForm: a normalised question is its own normal form, and scores and shows
// as the one that it was made of.
func TestNormalForm(t *testing.T) {
	t.Parallel()
	for name, q := range samples() {
		once := Normalise(q)
		if diff := cmp.Diff(once, Normalise(once), protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		h1, err1 := Hash(q)
		h2, err2 := Hash(once)
		if h1 != h2 || err1 != nil || err2 != nil {
			t.Errorf("%s: %x and %x, %v, %v", name, h1, h2, err1, err2)
		}
		text, err := Canonical(q)
		if err != nil {
			t.Fatal(err)
		}
		back := &pb.QuestionContent{}
		if err := protojson.Unmarshal(text, back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(once, back, protocmp.Transform()); diff != "" {
			t.Errorf("%s is not read again: %s", name, diff)
		}
	}
}
