package question

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// differSeeds is for how many seeds two questions are held to show the same. What is
// shown at all is shown for each of them; seeds differ in order and in what is drawn.
const differSeeds = 16

// Differ returns where two versions of a question show students different things, in
// words; empty where a student can't tell them apart before they are told what is right.
// Then one may be scored by the key of the other: what was answered means the same in
// both, and the same seed shuffles and draws the same.
//
// It compares what is drawn (variables), what helps (hints, whose number is that of the
// tries) and what [Instance.View] makes for some seeds. Titles, points, keys, scoring and
// feedback are not shown.
func Differ(a, b *Question) string {
	if a.name != b.name {
		return fmt.Sprintf("one is %q, the other %q", a.name, b.name)
	}
	pick := func(q *Question) *pb.QuestionContent {
		return &pb.QuestionContent{Prompt: q.content.GetPrompt(), Language: q.content.GetLanguage(), Variables: q.content.GetVariables(), Hints: q.content.GetHints()}
	}
	if where := differ(pick(a).ProtoReflect(), pick(b).ProtoReflect(), ""); where != "" {
		return where
	}
	for seed := range int64(differSeeds) {
		one, err := a.Instance(Seed{Attempt: seed, Slot: 1})
		if err != nil {
			return "the values of its variables"
		}
		other, err := b.Instance(Seed{Attempt: seed, Slot: 1})
		if err != nil {
			return "the values of its variables"
		}
		v, w := one.View(), other.View()
		v.Points, w.Points = "", ""
		if where := differ(v.ProtoReflect(), w.ProtoReflect(), ""); where != "" {
			return where
		}
	}
	return ""
}

// differ returns the first place where two messages of one type differ, with what is
// there; empty for none.
func differ(a, b protoreflect.Message, path string) string {
	if proto.Equal(a.Interface(), b.Interface()) {
		return ""
	}
	fields := a.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		at := string(fd.Name())
		if path != "" {
			at = path + "." + at
		}
		if where := differField(fd, a.Get(fd), b.Get(fd), at); where != "" {
			return where
		}
		if a.Has(fd) != b.Has(fd) {
			return at
		}
	}
	return path
}

func differField(fd protoreflect.FieldDescriptor, a, b protoreflect.Value, at string) string {
	if !fd.IsList() {
		if fd.Message() != nil {
			return differ(a.Message(), b.Message(), at)
		}
		return differValue(a, b, at)
	}
	x, y := a.List(), b.List()
	if x.Len() != y.Len() {
		return fmt.Sprintf("%s: %d and %d of them", at, x.Len(), y.Len())
	}
	for i := range x.Len() {
		if fd.Message() != nil {
			if where := differ(x.Get(i).Message(), y.Get(i).Message(), index(at, i)); where != "" {
				return where
			}
		} else if where := differValue(x.Get(i), y.Get(i), index(at, i)); where != "" {
			return where
		}
	}
	return ""
}

func differValue(a, b protoreflect.Value, at string) string {
	if a.Equal(b) {
		return ""
	}
	return fmt.Sprintf("%s: %q and %q", at, short60(a.String()), short60(b.String()))
}

// short60 returns the beginning of a text.
func short60(text string) string {
	if utf8.RuneCountInString(text) <= 60 {
		return text
	}
	return string([]rune(text)[:60]) + "…"
}
