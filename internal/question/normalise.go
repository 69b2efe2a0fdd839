package question

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-lms/stoa/internal/canonical"
	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// Normalise returns a copy that says all that it means: fractions in lowest terms,
// what is empty and has a default as that default, keys where there are none, and
// "\n" at the ends of lines. What can't be read stays as it is, to be found by
// [Validate]. A normalised question is its own normal form.
func Normalise(q *pb.QuestionContent) *pb.QuestionContent {
	q = proto.CloneOf(q)
	if q == nil {
		return nil
	}
	tidy(q.ProtoReflect())
	q.Title = strings.TrimSpace(q.GetTitle())
	fill(&q.Points, "1")
	fill(&q.Floor, "0")
	fill(&q.Penalty, "1/3")
	for _, f := range []*string{&q.Points, &q.Floor, &q.Penalty} {
		lowest(f)
	}
	for _, v := range q.GetVariables().GetVariables() {
		if v.GetRange() != nil {
			fill(&v.Range.Step, "1")
		}
	}
	if m := kinds[KindOf(q)]; m.normalise != nil {
		m.normalise(q)
	}
	return q
}

func fill(field *string, empty string) {
	if *field == "" {
		*field = empty
	}
}

// lowest writes a fraction in lowest terms.
func lowest(field *string) {
	if n, err := exact.Parse(*field); err == nil {
		*field = n.String()
	}
}

func share(field *string, empty string) {
	fill(field, empty)
	lowest(field)
}

// tidy brings the ends of all lines to "\n". White space at the end of a text stays:
// to Markdown and to patterns it may mean something.
func tidy(m protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsList() && fd.Message() != nil:
			for i := range v.List().Len() {
				tidy(v.List().Get(i).Message())
			}
		case fd.IsList() || fd.Kind() != protoreflect.StringKind && fd.Message() == nil:
		case fd.Message() != nil:
			tidy(v.Message())
		case strings.Contains(v.String(), "\r"):
			text := strings.ReplaceAll(v.String(), "\r\n", "\n")
			m.Set(fd, protoreflect.ValueOfString(strings.ReplaceAll(text, "\r", "\n")))
		}
		return true
	})
}

var keyDigits = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// fillKeys gives keys to those that have none: the first 12 digits of the SHA-256 of
// the text, so that a key stays when others are moved or taken away, and tells
// nothing but the text.
func fillKeys(n int, of func(i int) (key *string, text string)) {
	var taken []string
	for i := range n {
		if key, _ := of(i); *key != "" {
			taken = append(taken, *key)
		}
	}
	for i := range n {
		key, text := of(i)
		for salt := 0; *key == ""; salt++ {
			if salt > 0 { // another one has the same text
				text = fmt.Sprintf("%s\x00%d", text, salt)
			}
			sum := sha256.Sum256([]byte(text))
			if made := keyDigits.EncodeToString(sum[:])[:12]; !slices.Contains(taken, made) {
				*key = made
				taken = append(taken, made)
			}
		}
	}
}

// Canonical returns the one form of a question by which it is known: the JSON by RFC
// 8785 of the normalised question, with the names of the contract and without what
// is empty.
func Canonical(q *pb.QuestionContent) ([]byte, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(Normalise(q))
	if err != nil {
		return nil, err
	}
	return canonical.Sort(text)
}

// Hash returns the SHA-256 of the canonical form: two questions that mean the same
// to the engine by the same text have the same hash.
func Hash(q *pb.QuestionContent) ([sha256.Size]byte, error) {
	text, err := Canonical(q)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return sha256.Sum256(text), nil
}
