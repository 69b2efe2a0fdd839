package courses

import (
	"archive/zip"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/canonical"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// The format that is written and read, and its versions. What has no captions is
// written as it was before there were any.
const (
	archiveFormat   = "stoa-course"
	firstVersion    = 1
	captionsVersion = 2
	carriedVersion  = 3 // with what quizzes and assignments ask
	rubricsVersion  = 4 // with the rubrics by which they are marked
	newestVersion   = rubricsVersion
)

// archiveWriter writes an archive. The same files in the same order are the same
// bytes: nothing is compressed, which programs do in different ways, and times
// are all the same.
type archiveWriter struct {
	zip     *zip.Writer
	files   []*coursespb.ArchiveFile
	version int // the first of the format that has what is in it
}

func newArchiveWriter(w io.Writer) *archiveWriter {
	return &archiveWriter{zip: zip.NewWriter(w), version: firstVersion}
}

// header is that of a file.
func header(path string) *zip.FileHeader {
	h := &zip.FileHeader{Name: path, Method: zip.Store}
	h.ModifiedDate = 1<<5 | 1 //nolint:staticcheck // 1980-01-01, as far back as ZIP goes; Modified adds a field to each file
	h.SetMode(0o644)
	return h
}

// put adds a file that is in memory.
func (w *archiveWriter) put(path string, text []byte) error {
	sum := sha256.Sum256(text)
	w.files = append(w.files, &coursespb.ArchiveFile{Path: path, Sha256: hex.EncodeToString(sum[:]), Size: int64(len(text))})
	return w.write(path, text)
}

func (w *archiveWriter) write(path string, text []byte) error {
	h := header(path)
	h.CRC32 = crc32.ChecksumIEEE(text)
	h.CompressedSize64, h.UncompressedSize64 = uint64(len(text)), uint64(len(text))
	out, err := w.zip.CreateRaw(h)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

// putJSON adds a message.
func (w *archiveWriter) putJSON(path string, m proto.Message) error {
	text, err := archiveJSON(m)
	if err != nil {
		return err
	}
	return w.put(path, text)
}

// errChanged is of a file that has other bytes than is said of it.
var errChanged = errors.New("a file has other bytes than its hash says")

// copy adds a file that is read from somewhere and has to be what is said of it.
func (w *archiveWriter) copy(path, sum string, size int64, from io.Reader) error {
	out, err := w.zip.CreateHeader(header(path))
	if err != nil {
		return err
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, hash), from)
	if err != nil {
		return err
	}
	if n != size || hex.EncodeToString(hash.Sum(nil)) != sum {
		return fmt.Errorf("%s: %w", path, errChanged)
	}
	w.files = append(w.files, &coursespb.ArchiveFile{Path: path, Sha256: sum, Size: size})
	return nil
}

// close ends the archive with the list of all its files.
func (w *archiveWriter) close(origin string) error {
	slices.SortFunc(w.files, func(a, b *coursespb.ArchiveFile) int { return cmp.Compare(a.GetPath(), b.GetPath()) })
	var text bytes.Buffer
	text.WriteString("{\n  \"files\": [")
	for i, f := range w.files {
		if i > 0 {
			text.WriteByte(',')
		}
		// Paths are of letters that JSON has as they are.
		fmt.Fprintf(&text, "\n    {\"path\": \"%s\", \"sha256\": \"%s\", \"size\": %d}", f.GetPath(), f.GetSha256(), f.GetSize()) //nolint:gocritic // %q is Go's
	}
	text.WriteString("\n  ],\n  \"format\": \"" + archiveFormat + "\",\n  \"origin\": \"" + origin + "\",\n  \"version\": " + strconv.Itoa(w.version) + "\n}\n")
	if err := w.write(manifestFile, text.Bytes()); err != nil {
		return err
	}
	return w.zip.Close()
}

// archiveJSON returns a message as it is in an archive: the names of the contract
// in the order of the alphabet, two spaces for each step, a line end at the end.
func archiveJSON(m proto.Message) ([]byte, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	return canonical.Indent(text, "  ")
}
