package courses

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/stoa-lms/stoa/internal/canonical"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// CourseOwnerChanged is the handler of the event, for tests.
var CourseOwnerChanged = (*Service).courseOwnerChanged

// ServerSet are the fields of blocks that the server sets.
var ServerSet = serverSet

// Hash is the hash of a content whose blocks are JSON as they are stored.
func Hash(kind, title string, preview bool, body []byte) ([]byte, error) {
	c := content{Title: title, Preview: preview}
	if err := json.Unmarshal(body, &c.Body); err != nil {
		return nil, err
	}
	return c.hash(kind)
}

// Canonical is the canonical form of a value.
var Canonical = canonical.JSON

// RunImports works on imports until none is due, for tests.
var RunImports = (*Service).runImports

// Carry has a service take quizzes and assignments along, for tests.
func Carry(s *Service, c assessmentpb.CarryServiceClient) { s.carry = c }

// SweepClaims is a part of Tidy, for tests.
var SweepClaims = (*Service).sweepClaims

// ReadZip reads all files of an archive.
func ReadZip(content []byte) (map[string]string, error) {
	var note findings
	z, err := openZip(bytes.NewReader(content), int64(len(content)), 1<<26, &note)
	if err != nil {
		return nil, err
	}
	if note.errors > 0 {
		return nil, errZip
	}
	out := map[string]string{}
	for name, f := range z.files {
		text, err := z.read(f)
		if err != nil {
			return nil, err
		}
		out[name] = string(text)
	}
	return out, nil
}

// Inspect looks at an archive and returns the codes of what is wrong with it.
func Inspect(ctx context.Context, s *Service, content []byte) []string {
	var note findings
	if p := readArchive(bytes.NewReader(content), int64(len(content)), 1<<26, &note); p != nil {
		if err := s.inspect(ctx, p, id.New("course")); err != nil {
			note.add("", "failed", err.Error())
		}
	}
	var codes []string
	for _, f := range note.list {
		codes = append(codes, f.GetCode())
	}
	return codes
}

// OpenZip returns a file of an archive.
func OpenZip(r io.ReaderAt, size int64, name string) (io.Reader, int, error) {
	var note findings
	z, err := openZip(r, size, 1<<40, &note)
	if err != nil || note.errors > 0 {
		return nil, 0, errors.Join(err, fmt.Errorf("%v", note.list))
	}
	return z.open(z.files[name]), len(z.files), nil
}

// WriteArchive writes an archive of files of text.
func WriteArchive(to io.Writer, names []string, text string) error {
	w := newArchiveWriter(to)
	for _, name := range names {
		if err := w.put(name, []byte(text)); err != nil {
			return err
		}
	}
	return w.close("course_01h455vb4pex5vsknk084sn02q")
}
