package exchange

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-lms/stoa/internal/question"
)

// maxNotes bounds what is told of a question.
const maxNotes = 50

// What becomes of a question.
const (
	Kept    = "kept"
	Changed = "changed"
	Refused = "refused"
)

// Report says what became of each question, in the order of the file.
type Report struct {
	Entries                []Entry
	Kept, Changed, Refused int
}

// Entry says what became of a question.
type Entry struct {
	// At is where it is: "line 12", "question 3" or the name of a file in a package.
	At      string
	Title   string
	Outcome string // [Kept], [Changed] or [Refused]
	Notes   []Note // what was changed, or why it was refused
}

// Note is one thing that was changed, or is wrong.
type Note struct {
	Code  string
	Field string // of the question; empty for all of it
	Hint  string
}

func (r *Report) add(e Entry) {
	switch e.Outcome {
	case Refused:
		r.Refused++
	case Changed:
		r.Changed++
	default:
		r.Kept++
	}
	r.Entries = append(r.Entries, e)
}

// Refuse has a question that was read be refused after all.
func (r *Report) Refuse(entry int, notes ...Note) {
	e := &r.Entries[entry]
	switch e.Outcome {
	case Refused:
		return
	case Changed:
		r.Changed--
	default:
		r.Kept--
	}
	e.Outcome, e.Notes = Refused, notes
	r.Refused++
}

var placeInPath = regexp.MustCompile(`\[\d+\]`)

// lost returns what of a question is not in what was read back.
func lost(was, is *draft) []Note {
	var out []Note
	seen := map[string]bool{}
	tell := func(path string, a, b bool) {
		path = placeInPath.ReplaceAllString(path, "")
		code, hint := "field.changed", "It is not the same when the file is read again."
		if a && !b {
			code, hint = "field.lost", "The format does not have it."
		}
		if strings.HasSuffix(path, "key") || strings.HasSuffix(path, "keys") {
			code, hint = "key.renewed", "Keys are made anew of the texts when the file is read."
		}
		if !seen[path+code] && len(out) < maxNotes {
			seen[path+code] = true
			out = append(out, Note{Code: code, Field: path, Hint: hint})
		}
	}
	differ(was.Content.ProtoReflect(), is.Content.ProtoReflect(), "", tell)
	if !slices.Equal(was.Category, is.Category) {
		tell("category", len(was.Category) > 0, len(is.Category) > 0)
	}
	if !slices.Equal(sorted(was.Tags), sorted(is.Tags)) {
		tell("tags", len(was.Tags) > 0, len(is.Tags) > 0)
	}
	for _, f := range is.Files {
		if !slices.ContainsFunc(was.Files, func(o File) bool { return o.ID == f.ID && slices.Equal(o.Data, f.Data) }) {
			tell("files", true, true)
		}
	}
	if len(out) == 0 {
		// What the walk can't tell apart the hash does.
		a, errA := question.Hash(was.Content)
		b, errB := question.Hash(is.Content)
		if errA != nil || errB != nil || a != b {
			tell("content", true, true)
		}
	}
	return out
}

func sorted(list []string) []string {
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}

// differ calls tell with each field of two messages that is not the same.
func differ(a, b protoreflect.Message, path string, tell func(path string, a, b bool)) {
	if proto.Equal(a.Interface(), b.Interface()) {
		return
	}
	fields := a.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		at := strings.TrimPrefix(path+"."+string(fd.Name()), ".")
		hasA, hasB := a.Has(fd), b.Has(fd)
		switch {
		case !hasA && !hasB:
		case hasA != hasB:
			tell(at, hasA, hasB)
		case fd.IsList():
			differLists(fd, a.Get(fd).List(), b.Get(fd).List(), at, tell)
		case fd.Message() != nil:
			differ(a.Get(fd).Message(), b.Get(fd).Message(), at, tell)
		case !a.Get(fd).Equal(b.Get(fd)):
			tell(at, true, true)
		}
	}
}

func differLists(fd protoreflect.FieldDescriptor, a, b protoreflect.List, path string, tell func(path string, a, b bool)) {
	if a.Len() != b.Len() {
		tell(path, a.Len() > b.Len(), a.Len() < b.Len())
		return
	}
	for i := range a.Len() {
		switch {
		case fd.Message() != nil:
			differ(a.Get(i).Message(), b.Get(i).Message(), fmt.Sprintf("%s[%d]", path, i), tell)
		case !a.Get(i).Equal(b.Get(i)):
			tell(path, true, true)
		}
	}
}

// Change notes that a question that was read is changed after all.
func (r *Report) Change(entry int, note Note) {
	e := &r.Entries[entry]
	if e.Outcome == Kept {
		r.Kept--
		r.Changed++
		e.Outcome = Changed
	}
	if e.Outcome == Changed && len(e.Notes) < maxNotes {
		e.Notes = append(slices.Clone(e.Notes), note)
	}
}
