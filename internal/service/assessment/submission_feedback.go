package assessment

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// Bounds of archives of feedback, whoever made them.
const (
	maxFeedbackArchives  = 4       // that are read at a time by one process
	maxFeedbackBytes     = 2 << 30 // of an archive, and of all of its files
	maxFeedbackEntries   = 5_000
	maxFeedbackDirectory = 8 << 20
	// maxFeedbackRatio is how much a file may shrink by compression, from feedbackCounts
	// bytes on.
	maxFeedbackRatio = 200
	feedbackCounts   = 1 << 20
)

// Errors of archives of feedback.
var (
	ErrFeedbackEmpty      = fault.New(fault.Invalid, "feedback_archive.empty", "The archive has no file that goes to a submission.")
	ErrFeedbackNotArchive = fault.New(fault.Invalid, "feedback_archive.not_archive", "This is not a ZIP archive.")
	ErrFeedbackTooLarge   = fault.New(fault.TooLarge, "feedback_archive.too_large", "An archive of feedback has at most %d bytes, packed and unpacked, and %d files.", int64(maxFeedbackBytes), maxFeedbackEntries)
	ErrFeedbackBusy       = fault.New(fault.Exhausted, "feedback_archive.busy", "Other archives are being read. Try again in a moment.")
)

// feedbackProblems collects what is wrong with files of an archive.
type feedbackProblems []fault.Field

func (f *feedbackProblems) add(name, hint string, args ...any) {
	if len(*f) < 20 {
		*f = append(*f, fault.Field{Path: shortened(name), Code: "feedback_archive.refused", Hint: fmt.Sprintf(hint, args...)})
	}
}

func (f feedbackProblems) err() error {
	if len(f) == 0 {
		return nil
	}
	return &fault.Error{Kind: fault.Invalid, Code: "feedback_archive.refused", Message: "Some files of the archive can't be taken. Nothing was changed.", Fields: f}
}

// shortened is a name of somebody's choosing as it may be told.
func shortened(name string) string {
	runes := []rune(strings.ToValidUTF8(name, "?"))
	return string(runes[:min(len(runes), 200)])
}

// feedbackFile is a file of an archive that goes to a submission.
type feedbackFile struct {
	told  *assessmentpb.FeedbackArchiveFile
	entry *zip.File
	sum   string // SHA-256 of its bytes
	media fileFacts
}

// UploadFeedbackArchive implements assessmentpb.SubmissionServiceServer.
func (r *submissionServer) UploadFeedbackArchive(stream grpc.ClientStreamingServer[assessmentpb.UploadFeedbackArchiveRequest, assessmentpb.FeedbackArchive]) error {
	ctx, s := stream.Context(), r.service
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return ErrFeedbackNotArchive
	}
	if err != nil {
		return err
	}
	select {
	case s.archives <- struct{}{}:
		defer func() { <-s.archives }()
	default:
		return ErrFeedbackBusy
	}
	v, err := s.assignmentAt(ctx, s.db, first.GetCourseId(), first.GetItemId())
	if err != nil {
		return err
	}
	file, sum, err := spoolFeedback(stream, first.GetChunk())
	if file != nil {
		defer func() { _ = file.Close() }()
	}
	if err != nil {
		return err
	}
	list, told, err := s.readFeedback(ctx, v, first.GetItemId(), file)
	if err != nil {
		return err
	}
	if !first.GetDryRun() {
		req := &assessmentpb.UploadFeedbackArchiveRequest{CourseId: first.GetCourseId(), ItemId: first.GetItemId(), Chunk: sum}
		if told, err = s.applyFeedback(ctx, req, list, told); err != nil {
			return err
		}
	}
	return stream.SendAndClose(told)
}

// spoolFeedback stores an archive in a file without a name, which goes with the process,
// and returns the SHA-256 of its bytes.
func spoolFeedback(stream grpc.ClientStreamingServer[assessmentpb.UploadFeedbackArchiveRequest, assessmentpb.FeedbackArchive], chunk []byte) (*os.File, []byte, error) {
	file, err := os.CreateTemp("", "stoa-feedback-*.zip")
	if err != nil {
		return nil, nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return file, nil, err
	}
	sum, size := sha256.New(), int64(0)
	for {
		if size += int64(len(chunk)); size > maxFeedbackBytes {
			return file, nil, ErrFeedbackTooLarge
		}
		sum.Write(chunk)
		if _, err := file.Write(chunk); err != nil {
			return file, nil, err
		}
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return file, sum.Sum(nil), nil
		}
		if err != nil {
			return file, nil, err
		}
		chunk = req.GetChunk()
	}
}

// openFeedback reads the list of an archive that nobody has vouched for. What comes
// before it or behind it is refused, as what would make the list longer than is bearable.
func openFeedback(r io.ReaderAt, size int64) (*zip.Reader, error) {
	const endLen = 22
	tail := make([]byte, min(size, endLen+1<<16))
	if size < endLen {
		return nil, ErrFeedbackNotArchive
	}
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	at := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if at < 0 || len(tail)-at < endLen {
		return nil, ErrFeedbackNotArchive
	}
	end := tail[at:]
	entries, length, start := int64(binary.LittleEndian.Uint16(end[10:])), int64(binary.LittleEndian.Uint32(end[12:])), int64(binary.LittleEndian.Uint32(end[16:]))
	switch ends := size - int64(len(tail)) + int64(at); {
	case entries > maxFeedbackEntries || length > maxFeedbackDirectory && length < 1<<32-1:
		return nil, ErrFeedbackTooLarge
	case start+length != ends || int(binary.LittleEndian.Uint16(end[20:])) != len(end)-endLen:
		return nil, ErrFeedbackNotArchive
	}
	z, err := zip.NewReader(r, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, ErrFeedbackNotArchive
	}
	if len(z.File) > maxFeedbackEntries {
		return nil, ErrFeedbackTooLarge
	}
	return z, nil
}

// ignoredEntry reports whether an entry is left out without a word: folders, the table of
// our own archives, and what systems put into archives by themselves.
func ignoredEntry(name string) bool {
	base := path.Base(name)
	return strings.HasSuffix(name, "/") || name == archiveTable || strings.HasPrefix(name, "__MACOSX/") || strings.HasPrefix(base, "._") ||
		base == ".DS_Store" || strings.EqualFold(base, "thumbs.db") || strings.EqualFold(base, "desktop.ini")
}

// submissionOfPath returns the submission that the folder of a path names, and what the
// file is called there. Folders above the submission's are passed over, as archives of a
// folder have one.
func submissionOfPath(name string) (submissionID, base string, ok bool) {
	parts := strings.Split(name, "/")
	for _, folder := range parts[:len(parts)-1] {
		i := strings.LastIndex(folder, "submission_")
		if i < 0 {
			continue
		}
		if candidate := folder[i:]; id.Valid("submission", candidate) {
			return candidate, parts[len(parts)-1], true
		}
	}
	return "", "", false
}

// refusedEntry says what is wrong with an entry whatever it is for; empty for nothing.
func refusedEntry(f *zip.File) string {
	name := f.Name
	switch {
	case !utf8.ValidString(name) || len(name) > 1000 || strings.ContainsAny(name, "\\\x00") || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "Its name has something that names of files don't have."
	case strings.HasPrefix(name, "/") || path.Clean(name) != name || name == ".." || strings.HasPrefix(name, "../"):
		return "Its name leads out of the archive."
	case !f.Mode().IsRegular():
		return "It is a link, or no file."
	case f.Flags&1 != 0:
		return "It is encrypted."
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return "It is packed in a way that is not known."
	case f.UncompressedSize64 == 0:
		return "It is empty."
	case f.UncompressedSize64 > feedbackCounts && f.UncompressedSize64/max(f.CompressedSize64, 1) > maxFeedbackRatio:
		return "It says that it is more than 200 times as large as it is packed."
	}
	return ""
}

// readFeedback looks what an archive has and where it goes, reading each file once.
func (s *Service) readFeedback(ctx context.Context, v *assignmentVersion, itemID string, file *os.File) ([]*feedbackFile, *assessmentpb.FeedbackArchive, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	z, err := openFeedback(file, info.Size())
	if err != nil {
		return nil, nil, err
	}
	out := &assessmentpb.FeedbackArchive{}
	var list []*feedbackFile
	var bad feedbackProblems
	total := uint64(0)
	for _, f := range z.File {
		if ignoredEntry(f.Name) && utf8.ValidString(f.Name) {
			if !strings.HasSuffix(f.Name, "/") {
				out.Files = append(out.Files, &assessmentpb.FeedbackArchiveFile{Path: shortened(f.Name), Verdict: "ignored"})
			}
			continue
		}
		if hint := refusedEntry(f); hint != "" {
			bad.add(f.Name, "%s", hint)
			continue
		}
		submissionID, base, ok := submissionOfPath(f.Name)
		if !ok {
			bad.add(f.Name, "It is in no folder of a submission: keep the names of the folders as they were downloaded.")
			continue
		}
		if total += f.UncompressedSize64; total > maxFeedbackBytes {
			return nil, nil, ErrFeedbackTooLarge
		}
		one := &feedbackFile{entry: f, told: &assessmentpb.FeedbackArchiveFile{
			Path: shortened(f.Name), SubmissionId: submissionID, Filename: safeName(base, 150), Size: int64(f.UncompressedSize64), Verdict: "add", //nolint:gosec // at most 2 GiB
		}}
		list, out.Files = append(list, one), append(out.Files, one.told)
	}
	if err := s.matchFeedback(ctx, v, itemID, list, &bad); err != nil {
		return nil, nil, err
	}
	if err := bad.err(); err != nil {
		return nil, nil, err
	}
	if len(list) == 0 {
		return nil, nil, ErrFeedbackEmpty
	}
	for _, f := range list {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		sum := sha256.New()
		if err := unpack(f.entry, sum); err != nil {
			bad.add(f.entry.Name, "It is broken: its bytes are not what the archive says.")
			continue
		}
		f.sum = hex.EncodeToString(sum.Sum(nil))
	}
	if err := bad.err(); err != nil {
		return nil, nil, err
	}
	return list, out, s.sameFeedback(ctx, list)
}

// unpack writes the bytes of an entry, which are as many as it says and no more.
func unpack(f *zip.File, to io.Writer) error {
	raw, err := f.OpenRaw()
	if err != nil {
		return err
	}
	in := raw
	if f.Method == zip.Deflate {
		in = flate.NewReader(raw)
	}
	check := &crcWriter{to: to}
	n, err := io.Copy(check, io.LimitReader(in, int64(f.UncompressedSize64)+1)) //nolint:gosec // at most 2 GiB
	if err != nil {
		return err
	}
	if uint64(n) != f.UncompressedSize64 || check.sum != f.CRC32 { //nolint:gosec // not negative
		return errors.New("not what it says")
	}
	return nil
}

// matchFeedback finds the versions that files go to: those that were handed in last.
func (s *Service) matchFeedback(ctx context.Context, v *assignmentVersion, itemID string, list []*feedbackFile, bad *feedbackProblems) error {
	ids := make([]string, len(list))
	for i, f := range list {
		ids[i] = f.told.GetSubmissionId()
	}
	rows, err := s.db.Query(ctx, `SELECT id, number FROM submission WHERE id = ANY ($1) AND course_id = $2 AND item_id = $3 AND assignment_id = $4 AND number > 0`,
		ids, v.CourseID, itemID, v.AssignmentID)
	if err != nil {
		return fmt.Errorf("submissions of archive: %w", err)
	}
	numbers := map[string]int32{}
	var submissionID string
	var number int32
	if _, err := pgx.ForEachRow(rows, []any{&submissionID, &number}, func() error {
		numbers[submissionID] = number
		return nil
	}); err != nil {
		return fmt.Errorf("submissions of archive: %w", err)
	}
	count, names := map[string]int{}, map[string]*fileNames{}
	for _, f := range list {
		to := f.told.GetSubmissionId()
		if f.told.Number = numbers[to]; f.told.GetNumber() == 0 {
			bad.add(f.entry.Name, "Nothing is handed in that its folder names.")
			continue
		}
		if count[to]++; count[to] > maxFeedbackFiles {
			bad.add(f.entry.Name, "The feedback on one version has at most %d files.", maxFeedbackFiles)
		}
		if names[to] == nil {
			names[to] = &fileNames{}
		}
		f.told.Filename = names[to].take(f.told.GetFilename())
	}
	return nil
}

// sameFeedback finds the files that are there already, and those that a submission has
// handed in itself: an archive that was downloaded has them still.
func (s *Service) sameFeedback(ctx context.Context, list []*feedbackFile) error {
	ids := make([]string, len(list))
	for i, f := range list {
		ids[i] = f.told.GetSubmissionId()
	}
	rows, err := s.db.Query(ctx, `
		SELECT submission_id, sha256, purpose, filename FROM submission_file WHERE submission_id = ANY ($1) AND state = 'kept'`, ids)
	if err != nil {
		return fmt.Errorf("files of submissions: %w", err)
	}
	there := map[string]bool{}
	var submissionID, sum, purpose, name string
	if _, err := pgx.ForEachRow(rows, []any{&submissionID, &sum, &purpose, &name}, func() error {
		there[submissionID+sum] = true
		return nil
	}); err != nil {
		return fmt.Errorf("files of submissions: %w", err)
	}
	texts, err := s.textsOf(ctx, list)
	if err != nil {
		return err
	}
	for _, f := range list {
		if key := f.told.GetSubmissionId() + f.sum; there[key] || texts[key] {
			f.told.Verdict = "same"
		}
	}
	return nil
}

// textsOf returns the texts and addresses that were handed in, as archives have them.
func (s *Service) textsOf(ctx context.Context, list []*feedbackFile) (map[string]bool, error) {
	out := map[string]bool{}
	seen := map[string]bool{}
	for _, f := range list {
		to := f.told.GetSubmissionId()
		if base := path.Base(f.entry.Name); seen[to] || base != "text.md" && base != "text.txt" && base != "address.txt" {
			continue
		}
		seen[to] = true
		var text []byte
		if err := s.db.QueryRow(ctx, `SELECT content FROM submission_version WHERE submission_id = $1 AND number = $2`, to, f.told.GetNumber()).Scan(&text); err != nil {
			return nil, fmt.Errorf("content of version: %w", err)
		}
		content, err := contentOf(text)
		if err != nil {
			return nil, err
		}
		for _, had := range []string{content.GetText(), content.GetUrl() + "\n"} {
			sum := sha256.Sum256([]byte(had))
			out[to+hex.EncodeToString(sum[:])] = true
		}
	}
	return out, nil
}

// applyFeedback uploads the files and adds them to their versions, all in one
// transaction. Files that were uploaded and not added are dropped again.
func (s *Service) applyFeedback(ctx context.Context, req *assessmentpb.UploadFeedbackArchiveRequest, list []*feedbackFile, told *assessmentpb.FeedbackArchive) (out *assessmentpb.FeedbackArchive, err error) {
	fresh := slices.DeleteFunc(slices.Clone(list), func(f *feedbackFile) bool { return f.told.GetVerdict() != "add" })
	for _, f := range fresh {
		if f.media, err = s.uploadFeedback(ctx, req.GetCourseId(), f); err != nil {
			return nil, err
		}
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.FeedbackArchive, error) {
		slices.SortStableFunc(fresh, func(a, b *feedbackFile) int {
			return strings.Compare(a.told.GetSubmissionId(), b.told.GetSubmissionId())
		})
		added := 0
		for i := 0; i < len(fresh); {
			to := fresh[i].told
			w, v, err := lockVersion(ctx, tx, req.GetCourseId(), to.GetSubmissionId(), to.GetNumber())
			if err != nil {
				return nil, err
			}
			var files []fileFacts
			for ; i < len(fresh) && fresh[i].told.GetSubmissionId() == w.ID; i++ {
				files = append(files, fresh[i].media)
			}
			if files, err = notNamed(ctx, tx, files); err != nil {
				return nil, err
			}
			if err := s.addFeedback(ctx, tx, w, v.Number, files); err != nil {
				return nil, err
			}
			added += len(files)
		}
		told.Applied = true
		return told, audit.Record(ctx, tx, audit.Entry{Action: "submission.feedback_uploaded", Object: req.GetItemId(), Course: req.GetCourseId(), After: map[string]any{"files": added}})
	})
}

// notNamed leaves out files that are named already: an archive that was sent again uploads
// none twice.
func notNamed(ctx context.Context, tx *pg.Tx, files []fileFacts) ([]fileFacts, error) {
	ids := make([]string, len(files))
	for i, f := range files {
		ids[i] = f.MediaID
	}
	known, err := namedFiles(ctx, tx, ids, "")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(files, func(f fileFacts) bool { _, ok := known[f.MediaID]; return ok }), nil
}

// uploadFeedback has media take a file in. Where the call is repeated with its key it is
// the file that is there.
func (s *Service) uploadFeedback(ctx context.Context, courseID string, f *feedbackFile) (fileFacts, error) {
	if given := rpc.IdempotencyKey(ctx); given != "" {
		key := sha256.Sum256([]byte(given + "\n" + f.told.GetSubmissionId() + "\n" + f.told.GetFilename() + "\n" + f.sum))
		ctx = rpc.WithIdempotencyKey(ctx, "feedback-"+hex.EncodeToString(key[:]))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.files.ImportFeedbackFile(ctx)
	if err != nil {
		return fileFacts{}, err
	}
	send := &chunkWriter{size: archiveChunk}
	first := &mediapb.ImportFeedbackFileRequest{CourseId: courseID, AccountId: auth.From(ctx).Account, Filename: f.told.GetFilename()}
	send.send = func(chunk []byte) error {
		first.Chunk = chunk
		err := stream.Send(first)
		first = &mediapb.ImportFeedbackFileRequest{}
		return err
	}
	err = unpack(f.entry, send)
	if err == nil {
		err = send.flush()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fileFacts{}, err
	}
	m, err := stream.CloseAndRecv()
	if err != nil {
		return fileFacts{}, fault.FromStatus(err)
	}
	return factsOf(m), nil
}

// crcWriter computes the checksum of an archive's entry of what it passes on.
type crcWriter struct {
	to  io.Writer
	sum uint32
}

// Write implements [io.Writer].
func (c *crcWriter) Write(p []byte) (int, error) {
	c.sum = crc32.Update(c.sum, crc32.IEEETable, p)
	return c.to.Write(p)
}
