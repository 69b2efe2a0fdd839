package courses_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/stoa-lms/stoa/internal/service/courses"
)

// TestManyFiles: more files than the old form of ZIP can count.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	names := make([]string, 70_000)
	for i := range names {
		names[i] = fmt.Sprintf("modules/f%05d.md", i)
	}
	var out bytes.Buffer
	if err := courses.WriteArchive(&out, names, "x"); err != nil {
		t.Fatal(err)
	}
	_, n, err := courses.OpenZip(bytes.NewReader(out.Bytes()), int64(out.Len()), names[69_999])
	if err != nil || n != len(names)+1 {
		t.Errorf("%d files, %v", n, err)
	}
	z, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil || len(z.File) != len(names)+1 {
		t.Errorf("by another reader: %v", err)
	}
}

// sparse keeps what is written to it but for long rows of zeros.
type sparse struct {
	size   int64
	pieces []piece
}

type piece struct {
	at   int64
	text []byte
}

func (s *sparse) Write(p []byte) (int, error) {
	if len(p) < 1<<16 || len(bytes.Trim(p, "\x00")) > 0 {
		s.pieces = append(s.pieces, piece{s.size, bytes.Clone(p)})
	}
	s.size += int64(len(p))
	return len(p), nil
}

func (s *sparse) ReadAt(p []byte, at int64) (int, error) {
	n := int(min(int64(len(p)), s.size-at))
	if n <= 0 {
		return 0, io.EOF
	}
	clear(p[:n])
	for _, one := range s.pieces {
		if from := one.at - at; from < int64(n) && from+int64(len(one.text)) > 0 {
			if from >= 0 {
				copy(p[from:n], one.text)
			} else {
				copy(p[:n], one.text[-from:])
			}
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// TestLargeFile: a file of more bytes, at a place behind more, than the old form of
// ZIP can name.
func TestLargeFile(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		return // the race detector makes of seconds minutes
	}
	out := &sparse{}
	w := zip.NewWriter(out)
	const size = 4<<30 + 7
	for _, name := range []string{"a.bin", "b.bin"} {
		f := must(w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store}))
		zeros := make([]byte, 1<<20)
		for left := int64(size); left > 0; left -= int64(len(zeros)) {
			must(f.Write(zeros[:min(left, int64(len(zeros)))]))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, n, err := courses.OpenZip(out, out.size, "b.bin")
	if err != nil || n != 2 {
		t.Fatalf("%d files, %v", n, err)
	}
	if got, err := io.Copy(io.Discard, f); err != nil || got != size {
		t.Errorf("%d bytes, %v", got, err)
	}
}
