package question

import (
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// placeholder is what variables stand in for in Markdown: {name} or {=formula}.
var placeholder = regexp.MustCompile(`\{(=[^{}\n]*|[A-Za-z][A-Za-z0-9_]*)\}`)

// picture is a file of the course in Markdown: shown in place, or linked to.
var picture = regexp.MustCompile(`\]\(\s*<?media:(media_[0-7][0-9a-hjkmnp-tv-z]{25})\b`)

// text returns Markdown with the values of variables in their places.
func (in *Instance) text(s string) string {
	if in.vars == nil || !strings.Contains(s, "{") {
		return s
	}
	return placeholder.ReplaceAllStringFunc(s, func(whole string) string {
		inner := whole[1 : len(whole)-1]
		if source, ok := strings.CutPrefix(inner, "="); ok {
			f, ok := in.texts[source]
			if !ok {
				return whole
			}
			n, err := f.eval(in.values.env())
			if err != nil {
				return whole
			}
			return local(figuresText(n, 15, true), in.comma)
		}
		for _, v := range in.values {
			if v.name == inner {
				return local(v.text, in.comma)
			}
		}
		return whole
	})
}

// textFields are those with text that is shown.
var textFields = []string{
	"prompt", "text", "description", "alt", "template", "feedback", "general_feedback", "right_feedback", "partly_feedback",
	"wrong_feedback", "true_feedback", "false_feedback",
}

// eachText calls f with each text of a message that is shown, and its path.
func eachText(m protoreflect.Message, path string, f func(path, text string)) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) {
			continue
		}
		at := string(fd.Name())
		if path != "" {
			at = path + "." + at
		}
		switch {
		case fd.Message() != nil && fd.IsList():
			for j := range m.Get(fd).List().Len() {
				eachText(m.Get(fd).List().Get(j).Message(), index(at, j), f)
			}
		case fd.Message() != nil:
			eachText(m.Get(fd).Message(), at, f)
		case fd.Kind() == protoreflect.StringKind && !fd.IsList() && slices.Contains(textFields, string(fd.Name())):
			f(at, m.Get(fd).String())
		}
	}
}

// textFormula is a formula in a text, and where it is first.
type textFormula struct {
	*formula

	path string
}

// textFormulas reads the formulas in all texts of a question.
func (c *checker) textFormulas(q *pb.QuestionContent, vars *variables) map[string]textFormula {
	if vars == nil {
		return nil
	}
	out := map[string]textFormula{}
	eachText(q.ProtoReflect(), "", func(path, text string) {
		for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
			source, ok := strings.CutPrefix(m[1], "=")
			if _, seen := out[source]; seen || !ok {
				continue
			}
			f, err := parseFormula(source, vars.names)
			switch {
			case err != nil:
				c.add(path, "formula.invalid", "{=%s} can't be read: %v.", source, err)
			case f.number == nil:
				c.add(path, "formula.truth", "{=%s} is true or false; a number has to be here.", source)
			case len(out) >= 100:
				c.add(path, "formula.too_many", "A question has at most 100 formulas in its texts.")
			default:
				out[source] = textFormula{f, path}
			}
		}
	})
	return out
}

// Media returns the files that a question names, in the order in which it does: those
// of its texts and the pictures of hot spots.
func Media(q *pb.QuestionContent) []string {
	var out []string
	add := func(id string) {
		if id != "" && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	eachText(q.ProtoReflect(), "", func(_, text string) {
		for _, id := range pictures(text) {
			add(id)
		}
	})
	add(q.GetHotSpot().GetMediaId())
	return out
}

// MediaIn returns the files that a text names, without repetition.
func MediaIn(text string) []string {
	var out []string
	for _, id := range pictures(text) {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// anyName is a file in Markdown under whatever name, as archives have others than ids.
var anyName = regexp.MustCompile(`\]\(\s*<?media:([A-Za-z0-9_-]+)`)

// NamesIn returns what a text calls files, whether these are ids or not.
func NamesIn(text string) []string {
	var out []string
	for _, m := range anyName.FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

// Names returns what a question calls files, whether these are ids or not.
func Names(q *pb.QuestionContent) []string {
	var out []string
	eachText(q.ProtoReflect(), "", func(_, text string) { out = append(out, NamesIn(text)...) })
	if spot := q.GetHotSpot().GetMediaId(); spot != "" {
		out = append(out, spot)
	}
	return out
}

// inPlace is a file that Markdown shows where it stands.
var inPlace = regexp.MustCompile(`!\[[^\]]*\]\(\s*<?media:(media_[0-7][0-9a-hjkmnp-tv-z]{25})\b`)

// ShownInPlace returns those files that texts of a question show where they stand: they
// are pictures, sounds or videos.
func ShownInPlace(q *pb.QuestionContent) []string {
	var out []string
	eachText(q.ProtoReflect(), "", func(_, text string) {
		for _, m := range inPlace.FindAllStringSubmatch(text, -1) {
			out = append(out, m[1])
		}
	})
	return out
}

func pictures(text string) []string {
	if !strings.Contains(text, "media:") {
		return nil
	}
	var out []string
	for _, m := range picture.FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}
