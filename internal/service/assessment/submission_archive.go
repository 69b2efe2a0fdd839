package assessment

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"
	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
	"github.com/stoa-lms/stoa/internal/spreadsheet"
)

// Bounds of archives of what was handed in.
const (
	archiveParticipants = 10_000
	// archiveFiles is how many files an archive has, beyond which the rest is in the next:
	// their list is kept until the end.
	archiveFiles = 20_000
	archiveChunk = 256 << 10
	// archiveTable is the name of the table of whose folder is which.
	archiveTable = "submissions.csv"
)

// DownloadSubmissions implements assessmentpb.SubmissionServiceServer.
func (r *submissionServer) DownloadSubmissions(req *assessmentpb.DownloadSubmissionsRequest, stream grpc.ServerStreamingServer[assessmentpb.DownloadSubmissionsResponse]) error {
	ctx, s := stream.Context(), r.service
	after, err := codeAfter(req.GetCursor())
	if err != nil {
		return err
	}
	v, err := s.assignmentAt(ctx, s.db, req.GetCourseId(), req.GetItemId())
	if err != nil {
		return err
	}
	size := archiveParticipants
	if req.GetPageSize() > 0 {
		size = int(req.GetPageSize())
	}
	list, err := s.listEntries(ctx, v, req.GetItemId(), after, size+1, `coalesce(s.number, 0) > 0`)
	if err != nil {
		return err
	}
	first := &assessmentpb.DownloadSubmissionsResponse{Filename: archiveName(v.Title)}
	list, more := fitting(list, size)
	if more {
		first.NextCursor = page.Cursor(list[len(list)-1].Code)
	}
	if err := stream.Send(first); err != nil {
		return err
	}
	out := &chunkWriter{size: archiveChunk, send: func(chunk []byte) error {
		return stream.Send(&assessmentpb.DownloadSubmissionsResponse{Chunk: chunk})
	}}
	a := &submissionArchive{service: s, version: v, itemID: req.GetItemId(), zip: zip.NewWriter(out)}
	if err := a.write(ctx, list); err != nil {
		return err
	}
	return out.flush()
}

// fitting returns the entries that an archive has, and whether there are more.
func fitting(list []*entry, size int) ([]*entry, bool) {
	files := 0
	for i, e := range list {
		files += int(e.Files) + 2 // with a text and an address
		if i == size || i > 0 && files > archiveFiles {
			return list[:i], true
		}
	}
	return list, false
}

// chunkWriter sends what is written in pieces.
type chunkWriter struct {
	size int
	buf  []byte
	send func(chunk []byte) error
}

// Write implements [io.Writer].
func (c *chunkWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		take := min(c.size-len(c.buf), len(p))
		c.buf, p = append(c.buf, p[:take]...), p[take:]
		if len(c.buf) == c.size {
			if err := c.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (c *chunkWriter) flush() error {
	if len(c.buf) == 0 {
		return nil
	}
	err := c.send(c.buf)
	c.buf = make([]byte, 0, c.size) // who gets it may have it still
	return err
}

// submissionArchive is an archive that is written.
type submissionArchive struct {
	service *Service
	version *assignmentVersion
	itemID  string
	zip     *zip.Writer
	table   bytes.Buffer
	rows    *csv.Writer
}

func (a *submissionArchive) write(ctx context.Context, list []*entry) error {
	a.rows = csv.NewWriter(&a.table)
	header := []string{"folder", "participant", "name", "account_id", "group", "version", "submitted_at", "late_seconds", "state", "points", "points_of", "words", "files"}
	if err := a.rows.Write(header); err != nil {
		return err
	}
	const some = 200 // of whom is asked at once
	for len(list) > 0 {
		batch := list[:min(some, len(list))]
		list = list[len(batch):]
		if err := a.service.fillEntries(ctx, a.version, a.itemID, batch); err != nil {
			return err
		}
		told, err := a.service.entryMessages(ctx, batch)
		if err != nil {
			return err
		}
		for i, e := range batch {
			if err := a.add(ctx, e, told[i]); err != nil {
				return err
			}
		}
	}
	a.rows.Flush()
	if err := a.rows.Error(); err != nil {
		return err
	}
	out, err := a.create(archiveTable)
	if err != nil {
		return err
	}
	// So that spreadsheets take it as UTF-8.
	if _, err := out.Write(append([]byte("\xef\xbb\xbf"), a.table.Bytes()...)); err != nil {
		return err
	}
	return a.zip.Close()
}

func (a *submissionArchive) create(name string) (io.Writer, error) {
	// Stored as it is: what is handed in is compressed mostly, and this takes no time.
	return a.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store, Flags: 0x800})
}

// add adds what somebody handed in last.
func (a *submissionArchive) add(ctx context.Context, e *entry, told *assessmentpb.SubmissionEntry) error {
	var text []byte
	if err := a.service.db.QueryRow(ctx, `SELECT content FROM submission_version WHERE submission_id = $1 AND number = $2`, e.SubmissionID, e.Number).Scan(&text); err != nil {
		return fmt.Errorf("content of version: %w", err)
	}
	content, err := contentOf(text)
	if err != nil {
		return err
	}
	folder := folderOf(e, told)
	names := &fileNames{}
	if content.GetText() != "" {
		name := "text.md"
		if a.version.Settings.GetText().GetFormat() == "plain" {
			name = "text.txt"
		}
		if err := a.put(folder+"/"+names.take(name), content.GetText()); err != nil {
			return err
		}
	}
	if content.GetUrl() != "" {
		if err := a.put(folder+"/"+names.take("address.txt"), content.GetUrl()+"\n"); err != nil {
			return err
		}
	}
	files, err := namedFiles(ctx, a.service.db, content.GetMediaIds(), "")
	if err != nil {
		return err
	}
	for i, mediaID := range content.GetMediaIds() {
		name := files[mediaID].Filename
		if !e.revealed {
			name = neutralName(i, name)
		}
		if err := a.file(ctx, folder, names, mediaID, name); err != nil {
			return err
		}
	}
	return a.row(e, told, folder, len(content.GetMediaIds()))
}

func (a *submissionArchive) put(name, text string) error {
	out, err := a.create(name)
	if err == nil {
		_, err = io.WriteString(out, text)
	}
	return err
}

// file adds a file, as its bytes come. One that can't be had, because it is scanned or was
// found to be malware, is named by a note in its place.
func (a *submissionArchive) file(ctx context.Context, folder string, names *fileNames, mediaID, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := a.service.files.ReadSubmissionFile(ctx, &mediapb.ReadSubmissionFileRequest{CourseId: a.version.CourseID, MediaId: mediaID})
	if err == nil {
		_, err = stream.Recv() // what it is
		err = fault.FromStatus(err)
	}
	if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Conflict) {
		return a.put(folder+"/"+names.take(name+".missing.txt"), "This file could not be had: it is being scanned, or was refused. "+fault.CodeOf(err)+"\n")
	}
	if err != nil {
		return err
	}
	out, err := a.create(folder + "/" + names.take(name))
	if err != nil {
		return err
	}
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fault.FromStatus(err)
		}
		if _, err := out.Write(res.GetChunk()); err != nil {
			return err
		}
	}
}

// row adds a row to the table.
func (a *submissionArchive) row(e *entry, told *assessmentpb.SubmissionEntry, folder string, files int) error {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	base := []string{spreadsheet.Harmless(folder), spreadsheet.Harmless(told.GetParticipant())}
	rest := []string{e.state, told.GetPoints(), told.GetPointsOf(), number(int64(told.GetWords())), number(int64(files))}
	if !e.revealed {
		return a.rows.Write(append(append(base, "", "", "", number(int64(e.Number)), "", ""), rest...))
	}
	at := ""
	if e.SubmittedAt != nil {
		at = e.SubmittedAt.UTC().Format(time.RFC3339)
	}
	for _, p := range told.GetAccounts() { // of a group a row for each
		row := append(append([]string{}, base...), spreadsheet.Harmless(p.GetName()), p.GetAccountId(), spreadsheet.Harmless(told.GetGroupName()), number(int64(e.Number)), at, number(told.GetLateSeconds()))
		if err := a.rows.Write(append(row, rest...)); err != nil {
			return err
		}
	}
	return nil
}

// folderOf is the folder of what somebody handed in: who they are, as far as that is told,
// and the submission, by which it is found again.
func folderOf(e *entry, told *assessmentpb.SubmissionEntry) string {
	label := told.GetParticipant()
	if e.revealed {
		switch {
		case told.GetGroupName() != "":
			label = told.GetGroupName()
		case len(told.GetAccounts()) == 1 && told.GetAccounts()[0].GetName() != "":
			label = told.GetAccounts()[0].GetName()
		}
	}
	return safeName(label, 60) + "_" + e.SubmissionID
}

func archiveName(title string) string { return safeName(title, 100) + ".zip" }

// reserved are names that Windows does not allow, whatever they end with.
var reserved = map[string]bool{"con": true, "prn": true, "aux": true, "nul": true}

// safeName makes of a name one that every system takes and that names no folder.
func safeName(name string, most int) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == unicode.ReplacementChar:
			return -1
		case strings.ContainsRune(`/\:*?"<>|`, r):
			return '_'
		case unicode.IsSpace(r):
			return ' '
		}
		return r
	}, norm.NFC.String(strings.ToValidUTF8(name, "")))
	ext := path.Ext(name)
	if len([]rune(ext)) > 12 {
		ext = ""
	}
	base := []rune(strings.TrimSuffix(name, ext))
	if room := most - len([]rune(ext)); len(base) > room {
		base = base[:room]
	}
	name = strings.Trim(string(base)+ext, " .")
	stem, _, _ := strings.Cut(strings.ToLower(name), ".")
	device := len(stem) == 4 && (strings.HasPrefix(stem, "com") || strings.HasPrefix(stem, "lpt")) && stem[3] >= '0' && stem[3] <= '9'
	switch {
	case name == "":
		return "file"
	case reserved[stem] || device:
		return "_" + name
	}
	return name
}

// fileNames gives the files of a folder names of which no two are the same, for systems
// that take small and large letters as one as well.
type fileNames struct{ taken map[string]bool }

func (f *fileNames) take(name string) string {
	if f.taken == nil {
		f.taken = map[string]bool{}
	}
	name = safeName(name, 150)
	ext := path.Ext(name)
	for n, is := 2, name; ; n++ {
		if key := strings.ToLower(strings.ToUpper(is)); !f.taken[key] {
			f.taken[key] = true
			return is
		}
		is = fmt.Sprintf("%s (%d)%s", strings.TrimSuffix(name, ext), n, ext)
	}
}
