// Package question asks and scores questions: it knows what is right, what an answer
// gives, what a client shows and what may be told. It is pure. It reads no database,
// no clock and no network, and the same inputs give the same digits for ever.
//
// [Validate] says what is wrong with what an author wrote, [Normalise] and [Hash]
// make one form of what means the same. [Compile] reads a question once for many
// attempts; [Question.Instance] is it in one attempt, with its variables drawn and
// its order shuffled by a [Seed]. An instance is shown by [Instance.View], scores an
// answer by [Instance.Score], and [Instance.Fold] makes the state of an attempt of
// its steps. [Instance.Outcome] tells it, and [Mask] leaves out what may not be told.
//
// # Types and behaviours
//
// A type is how something is asked and scored. Each has a file, in which the formula
// of its score stands with its source, and a line in [kinds]. A behaviour is when an
// answer is scored and what a try costs: deferred, immediate, interactive or manual,
// each in a file and with a line in [behaviours]. Neither knows the other.
//
// # Numbers
//
// Fractions are exact and never rounded here; see [exact.Number]. Formulas are
// evaluated in decimals, not in binary floats, whose last digits differ between
// processors.
//
// # Versions
//
// What the engine makes of a question is frozen under its version. An attempt keeps
// the version that it began with, and one that changes scores or shuffles comes
// beside those before, so that grades of before stay as they are. What a version does
// otherwise stands where it is done:
//
//   - 1 was the first.
//   - 2 reads more ways to write a number, and takes ٫ for a decimal sign always; see
//     reader.
package question

import (
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// Version is the newest of the engine, which has all from 1. It grows with each change
// that makes another score, order or draw of the same question, answer and seed.
const Version = 2

// Sizes of what is kept.
const (
	MaxQuestion = 512 << 10 // of the canonical form of a question, in bytes
	MaxAnswer   = 256 << 10 // of the encoded message of an answer, in bytes
	MaxEssay    = 200_000   // of the text of an essay, in bytes
)

// Errors that are told.
var (
	// ErrEngine is told for a version of the engine that this program does not have.
	ErrEngine = fault.New(fault.Precondition, "question.engine", "This question needs another version of the program.")
	// ErrDraw is told where no values of the variables fulfil what they have to.
	ErrDraw = fault.New(fault.Invalid, "question.draw", "No values of the variables fulfil the constraints.")
)

// kind is a type of question, read from what an author wrote.
type kind interface {
	// accept adds what of an answer is not of the question. The answer's content is
	// that of the kind, which is all that may be taken for granted.
	accept(c *checker, a *pb.Answer)
	// given says how much of an answer there is.
	given(a *pb.Answer) given
	// view fills the body of a view.
	view(in *Instance, v *pb.QuestionView)
	// score scores an answer that is there. What it can't understand counts nothing.
	score(in *Instance, a *pb.Answer) Score
	// right returns an answer that scores 1; nil where there is none.
	right(in *Instance) *pb.Answer
	// words returns what was answered in Markdown: of a part, or of all where the key
	// is empty.
	words(in *Instance, a *pb.Answer, key string) string
}

// resolver is a kind of which another one is made once variables have their values.
type resolver interface {
	resolve(v values) (kind, error)
}

// keeper is a kind of which what was wrong can be taken out.
type keeper interface {
	keep(a *pb.Answer, s Score) *pb.Answer
}

// given is how much of an answer there is.
type given uint8

const (
	nothing given = iota
	lacking       // something, but it can't be scored while a try is open
	whole
)

// maker is how a type is known.
type maker struct {
	answer string // the content of answers, empty where none is taken
	manual bool   // whether only people can mark it
	// normalise fills what is empty in the body and has a default; see [Normalise].
	normalise func(q *pb.QuestionContent)
	// make reads the body, and adds to the checker what is wrong with it.
	make func(q *pb.QuestionContent, c *checker) kind
}

// kinds are the types there are, by the name of the body.
var kinds = map[string]maker{
	"choice":       {"choice", false, normaliseChoice, newChoice},
	"true_false":   {"true_false", false, normaliseTrueFalse, newTrueFalse},
	"short_answer": {"text", false, normaliseShortAnswer, newShortAnswer},
	"numeric":      {"number", false, normaliseNumeric, newNumeric},
	"calculated":   {"number", false, normaliseCalculated, newCalculated},
	"matching":     {"matching", false, normaliseMatching, newMatching},
	"ordering":     {"ordering", false, normaliseOrdering, newOrdering},
	"blanks":       {"blanks", false, normaliseBlanks, newBlanks},
	"categorise":   {"categorise", false, normaliseCategorise, newCategorise},
	"hot_spot":     {"hot_spot", false, normaliseHotSpot, newHotSpot},
	"essay":        {"essay", true, normaliseEssay, newEssay},
	"file_upload":  {"files", true, nil, newFileUpload},
	"description":  {"", false, nil, newDescription},
}

// KindOf returns the name of a question's type, such as "choice"; empty for none.
func KindOf(q *pb.QuestionContent) string { return oneof(q.ProtoReflect(), "body") }

// oneof returns the name of the field of a oneof that is set, empty for none.
func oneof(m protoreflect.Message, name protoreflect.Name) string {
	if m.IsValid() {
		if fd := m.WhichOneof(m.Descriptor().Oneofs().ByName(name)); fd != nil {
			return string(fd.Name())
		}
	}
	return ""
}

// AnswerOf returns the name of the content that answers to a type have, such as
// "number" for "calculated"; empty for a type that takes none.
func AnswerOf(kind string) string { return kinds[kind].answer }

// Question is a question that was read. It is never changed, so that many may use it
// at once.
type Question struct {
	content *pb.QuestionContent // normalised
	engine  int                 // the version that it was read for
	name    string              // of its kind
	takes   string              // the content of its answers
	manual  bool                // whether only people can mark it
	kind    kind
	vars    *variables
	texts   map[string]textFormula // by the text of each "{=formula}" in its Markdown
	floor   exact.Number
	penalty exact.Number
	comma   bool // whether numbers are told with a decimal comma
}

// Compile reads a question that was found valid, for a version of the engine. What
// it can't read is told as [Validate] does; draws are not tried.
func Compile(q *pb.QuestionContent, engine int) (*Question, error) {
	if engine < 1 || engine > Version {
		return nil, ErrEngine
	}
	c := &checker{engine: engine}
	out := compile(Normalise(q), c)
	if err := c.err(); err != nil {
		return nil, err
	}
	return out, nil
}

// compile reads a normalised question.
func compile(q *pb.QuestionContent, c *checker) *Question {
	out := &Question{content: q, engine: c.engine, name: KindOf(q), comma: decimalComma(q)}
	out.floor = c.fraction("floor", q.GetFloor(), "0", "-1", "0")
	out.penalty = c.fraction("penalty", q.GetPenalty(), "1/3", "0", "1")
	out.vars = newVariables(q.GetVariables(), c)
	out.texts = c.textFormulas(q, out.vars)
	m, ok := kinds[out.name]
	if !ok {
		c.add("body", "required", "Say how it is asked.")
		return out
	}
	out.takes, out.manual = m.answer, m.manual
	out.kind = m.make(q, c)
	if blank(q.GetPrompt()) {
		c.add("prompt", "required", "Say what is asked.")
	}
	return out
}

// Content returns what was compiled, normalised. It must not be changed.
func (q *Question) Content() *pb.QuestionContent { return q.content }

// Kind returns the name of the question's type, such as "choice".
func (q *Question) Kind() string { return q.name }

// Manual reports whether only people can mark it.
func (q *Question) Manual() bool { return q.manual }

// Points returns what it is worth where a quiz says nothing else.
func (q *Question) Points() exact.Number {
	n, err := exact.Parse(q.content.GetPoints())
	if err != nil || q.name == "description" {
		return exact.Int(0)
	}
	return n
}

// Floor returns the least fraction that it gives.
func (q *Question) Floor() exact.Number { return q.floor }

// Instance is a question in an attempt: its variables have values. It is never
// changed, so that many may use it at once.
type Instance struct {
	*Question

	seed   Seed
	values values
	kind   kind // of which variables are resolved
}

// Instance returns the question of a seed. The error is ErrDraw where its variables
// can't be drawn, which [Validate] would have refused.
func (q *Question) Instance(seed Seed) (*Instance, error) {
	v, k, err := q.draw(seed)
	if err != nil {
		return nil, err
	}
	return &Instance{Question: q, seed: seed, values: v, kind: k}, nil
}

// keyed makes what is shown of keys and texts.
func keyed[T interface {
	GetKey() string
	GetText() string
}](in *Instance, list []T,
) []*pb.KeyedText {
	out := make([]*pb.KeyedText, len(list))
	for i, one := range list {
		out[i] = &pb.KeyedText{Key: one.GetKey(), Text: in.text(one.GetText())}
	}
	return out
}

// byKey returns a copy in the order of the keys, which tells nothing: what is
// shuffled begins with it, so that the order that an author wrote has no say.
func byKey[T interface{ GetKey() string }](list []T) []T {
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b T) int { return compareText(a.GetKey(), b.GetKey()) })
	return out
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func find[T interface{ GetKey() string }](list []T, key string) (T, bool) {
	i := slices.IndexFunc(list, func(one T) bool { return one.GetKey() == key })
	if i < 0 {
		var none T
		return none, false
	}
	return list[i], true
}
