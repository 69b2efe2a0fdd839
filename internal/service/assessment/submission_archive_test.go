package assessment

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// download returns the files of an archive, its name and the cursor of the next.
func (w *workWorld) download(size int32, cursor string) (files map[string]string, name, next string) {
	w.t.Helper()
	stream, err := w.staff.DownloadSubmissions(w.as(w.teacher), &assessmentpb.DownloadSubmissionsRequest{CourseId: w.course, ItemId: w.item, PageSize: size, Cursor: cursor})
	if err != nil {
		w.t.Fatal(err)
	}
	var content bytes.Buffer
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			w.t.Fatalf("DownloadSubmissions: %v", err)
		}
		if res.GetFilename() != "" {
			name, next = res.GetFilename(), res.GetNextCursor()
		}
		content.Write(res.GetChunk())
	}
	z, err := zip.NewReader(bytes.NewReader(content.Bytes()), int64(content.Len()))
	if err != nil {
		w.t.Fatal(err)
	}
	files = map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			w.t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			w.t.Fatal(err)
		}
		if _, twice := files[f.Name]; twice {
			w.t.Errorf("%s is there twice", f.Name)
		}
		files[f.Name] = string(text)
	}
	return files, name, next
}

// table returns the rows of an archive's table.
func table(t *testing.T, files map[string]string) []map[string]string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(files[archiveTable], "\xef\xbb\xbf"))).ReadAll()
	if err != nil || len(rows) == 0 {
		t.Fatalf("table: %v", err)
	}
	var out []map[string]string
	for _, row := range rows[1:] {
		one := map[string]string{}
		for i, cell := range row {
			one[rows[0][i]] = cell
		}
		out = append(out, one)
	}
	return out
}

func archived(w *workWorld) (ana, ben string, settings *assessmentpb.AssignmentSettings) {
	settings = essaySettings()
	settings.Files, settings.Url = &assessmentpb.AssignmentFiles{}, &assessmentpb.AssignmentURL{Optional: true}
	return w.student("=Ana/../\u202eB: <b>"), w.student("Ben"), settings
}

func TestSubmissionArchive(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	ana, ben, settings := archived(w)
	w.assign(settings)
	files := []string{w.upload(ana, "../../etc/passwd", "root"), w.upload(ana, "Notes.txt", strings.Repeat("long ", 1000)), w.upload(ana, "notes.TXT", "again"), w.upload(ana, "CON.txt", "device"), w.upload(ana, "scanned.txt", "?")}
	if _, err := w.save(ana, &assessmentpb.SubmissionContent{Text: "Ana's *text*", Url: "https://example.org/", MediaIds: files}); err != nil {
		t.Fatal(err)
	}
	w.submitDraft(ana)
	w.hands(ben, "Ben's first")
	w.hands(ben, "Ben's second")
	w.mark(ben, 2, "7.5")
	w.store.files[files[4]].facts.State = "scanning"
	got, name, next := w.download(0, "")
	if name != "On Duties.zip" || next != "" {
		t.Errorf("called %q, next %q", name, next)
	}
	a, b := "=Ana_.._B_ _b__"+w.submissionID(ana), "Ben_"+w.submissionID(ben)
	delete(got, archiveTable)
	names := []string{}
	for n := range got {
		names = append(names, n)
	}
	want := map[string]string{
		a + "/text.md": "Ana's *text*", a + "/address.txt": "https://example.org/\n", a + "/_.._etc_passwd": "root", a + "/Notes.txt": strings.Repeat("long ", 1000),
		a + "/notes (2).TXT": "again", a + "/_CON.txt": "device", b + "/text.md": "Ben's second",
		a + "/scanned.txt.missing.txt": "This file could not be had: it is being scanned, or was refused. media.not_ready\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files %q (-want +got):\n%s", names, diff)
	}
	got, _, _ = w.download(0, "")
	rows := table(t, got)
	slices.SortFunc(rows, func(x, y map[string]string) int { return strings.Compare(x["name"], y["name"]) })
	if len(rows) != 2 || rows[0]["name"] != "'=Ana/../\u202eB: <b>" || rows[0]["account_id"] != ana || rows[1]["points"] != "7.5" || rows[1]["version"] != "2" || rows[1]["folder"] != b || rows[1]["state"] != "marked" {
		t.Errorf("table: %v", rows)
	}
	// By parts, each by itself.
	seen := map[string]bool{}
	for cursor, n := "", 0; n < 3; n++ {
		part, _, next := w.download(1, cursor)
		for _, row := range table(t, part) {
			seen[row["account_id"]] = true
		}
		if cursor = next; cursor == "" {
			if n != 1 {
				t.Errorf("%d parts", n+1)
			}
			break
		}
	}
	if len(seen) != 2 {
		t.Errorf("the parts have %v", seen)
	}
}

func TestAnonymousArchive(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	ana, _, settings := archived(w)
	settings.Anonymous = true
	w.assign(settings)
	w.posts(1, false)
	if _, err := w.save(ana, &assessmentpb.SubmissionContent{Text: "text", Url: "https://example.org/", MediaIds: []string{w.upload(ana, "Ana's essay.txt", "essay")}}); err != nil {
		t.Fatal(err)
	}
	w.submitDraft(ana)
	got, _, _ := w.download(0, "")
	all := fmt.Sprint(got)
	for _, secret := range []string{"Ana", ana, "2026"} {
		if strings.Contains(all, secret) {
			t.Errorf("the archive tells %q: %v", secret, got)
		}
	}
	rows := table(t, got)
	if len(rows) != 1 || rows[0]["participant"] == "" || got[rows[0]["folder"]+"/file-1.txt"] != "essay" {
		t.Errorf("archive: %v", got)
	}
}

func TestSafeName(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.StringMatching(`[./\\ a:<con]{0,40}`)).Draw(t, "name")
		names := &fileNames{}
		first, second := names.take(name), names.take(strings.ToUpper(name))
		for _, got := range []string{first, second} {
			if got == "" || got == "." || got == ".." || strings.ContainsAny(got, "/\\:*?\"<>|\x00\n") || strings.Trim(got, " .") != got || len([]rune(got)) > 170 {
				t.Fatalf("%q is called %q", name, got)
			}
		}
		if strings.EqualFold(first, second) {
			t.Fatalf("%q and its capitals are both called %q", name, first)
		}
	})
}

// feed uploads an archive of feedback.
func (w *workWorld) feed(ctx context.Context, dryRun bool, content []byte) (*assessmentpb.FeedbackArchive, error) {
	stream, err := w.staff.UploadFeedbackArchive(ctx)
	if err != nil {
		return nil, err
	}
	req := &assessmentpb.UploadFeedbackArchiveRequest{CourseId: w.course, ItemId: w.item, DryRun: dryRun}
	for chunk := range slices.Chunk(append(content, ' ')[:len(content):len(content)], 1000) {
		req.Chunk = chunk
		if err := stream.Send(req); err != nil {
			break
		}
		req = &assessmentpb.UploadFeedbackArchiveRequest{}
	}
	return stream.CloseAndRecv()
}

// pack makes a ZIP archive of names and contents in turn.
func pack(t testing.TB, list ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for i := 0; i+1 < len(list); i += 2 {
		f, err := z.Create(list[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(list[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestFeedbackArchive(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	ana, ben, settings := archived(w)
	w.assign(settings)
	if _, err := w.save(ana, &assessmentpb.SubmissionContent{Text: "text", MediaIds: []string{w.upload(ana, "essay.txt", "essay")}}); err != nil {
		t.Fatal(err)
	}
	w.submitDraft(ana)
	w.hands(ben, "Ben's")
	a, b := w.submissionID(ana), w.submissionID(ben)
	archive := pack(t,
		"Feedback/Ana_"+a+"/text.md", "text", "Feedback/Ana_"+a+"/essay.txt", "essay", // as they were downloaded
		"Feedback/Ana_"+a+"/remarks/Good.txt", "well done", "Feedback/Ana_"+a+"/good.TXT", "more", "Feedback/whoever "+b+"/remarks.txt", "so so",
		archiveTable, "folder", "__MACOSX/._x", "x", "Feedback/.DS_Store", "x")
	key := rpc.WithIdempotencyKey(w.as(w.teacher), "feedback")
	feedback := func(account string) (out []string) {
		got, err := w.staff.GetSubmission(w.as(w.teacher), &assessmentpb.GetSubmissionRequest{CourseId: w.course, SubmissionId: w.submissionID(account)})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range got.GetVersion().GetFeedbackFiles() {
			out = append(out, f.GetFilename()+"="+string(w.store.files[f.GetMediaId()].bytes))
		}
		slices.Sort(out)
		return out
	}
	told, err := w.feed(w.as(w.teacher), true, archive)
	if err != nil || told.GetApplied() {
		t.Fatalf("looked at: %v, %v", told, err)
	}
	var verdicts []string
	for _, f := range told.GetFiles() {
		verdicts = append(verdicts, f.GetVerdict()+" "+f.GetFilename())
	}
	if diff := cmp.Diff([]string{"same text.md", "same essay.txt", "add Good.txt", "add good (2).TXT", "add remarks.txt", "ignored ", "ignored ", "ignored "}, verdicts); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
	if got := feedback(ana); got != nil {
		t.Errorf("looking added %v", got)
	}
	for range 2 { // with its key, and once it is there
		if told, err = w.feed(key, false, archive); err != nil || !told.GetApplied() {
			t.Fatalf("applied: %v, %v", told, err)
		}
	}
	if _, err := w.feed(w.as(w.teacher), false, archive); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"Good.txt=well done", "good (2).TXT=more"}, feedback(ana)); diff != "" {
		t.Errorf("Ana's (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"remarks.txt=so so"}, feedback(ben)); diff != "" {
		t.Errorf("Ben's (-want +got):\n%s", diff)
	}
}

// Archives that nobody has vouched for change nothing, whatever they are.
func TestHostileFeedback(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	ana, _, settings := archived(w)
	w.assign(settings)
	w.hands(ana, "text")
	folder := "Ana_" + w.submissionID(ana) + "/"
	link := func() []byte {
		var out bytes.Buffer
		z := zip.NewWriter(&out)
		h := &zip.FileHeader{Name: folder + "link"}
		h.SetMode(os.ModeSymlink | 0o777)
		f, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.Write([]byte("/etc/passwd"))
		_ = z.Close()
		return out.Bytes()
	}
	lying := pack(t, folder+"a.txt", strings.Repeat("a", 5000))
	// The list says that it is shorter than it is.
	i := bytes.LastIndex(lying, []byte("PK\x01\x02"))
	lying[i+24], lying[i+25] = 10, 0
	crc := pack(t, folder+"a.txt", "broken")
	crc[bytes.LastIndex(crc, []byte("PK\x01\x02"))+16] ^= 1
	many := make([]string, 0, 2*(maxFeedbackFiles+1))
	for i := range maxFeedbackFiles + 1 {
		many = append(many, fmt.Sprint(folder, i, ".txt"), "x")
	}
	for name, c := range map[string]struct {
		archive []byte
		want    string
	}{
		"empty":            {nil, "feedback_archive.not_archive"},
		"no archive":       {[]byte(strings.Repeat("text ", 100)), "feedback_archive.not_archive"},
		"nothing in it":    {pack(t), "feedback_archive.empty"},
		"only the table":   {pack(t, archiveTable, "x"), "feedback_archive.empty"},
		"out of it":        {pack(t, folder+"../../a.txt", "x"), "feedback_archive.refused"},
		"from the root":    {pack(t, "/"+folder+"a.txt", "x"), "feedback_archive.refused"},
		"backslashes":      {pack(t, strings.ReplaceAll(folder, "/", `\`)+"a.txt", "x"), "feedback_archive.refused"},
		"no folder":        {pack(t, "a.txt", "x"), "feedback_archive.refused"},
		"another's":        {pack(t, "x_"+id.New("submission")+"/a.txt", "x"), "feedback_archive.refused"},
		"an empty file":    {pack(t, folder+"a.txt", ""), "feedback_archive.refused"},
		"a link":           {link(), "feedback_archive.refused"},
		"a bomb":           {pack(t, folder+"a.txt", strings.Repeat("\x00", 8<<20)), "feedback_archive.refused"},
		"a lie":            {lying, "feedback_archive.refused"},
		"a wrong checksum": {crc, "feedback_archive.refused"},
		"too many":         {pack(t, many...), "feedback_archive.refused"},
		"something before": {append([]byte("#!/bin/sh\n"), pack(t, folder+"a.txt", "x")...), "feedback_archive.not_archive"},
		"something behind": {append(pack(t, folder+"a.txt", "x"), "x"...), "feedback_archive.not_archive"},
		"cut off":          {pack(t, folder+"a.txt", "x")[:40], "feedback_archive.not_archive"},
		"one good one bad": {pack(t, folder+"good.txt", "good", "bad.txt", "bad"), "feedback_archive.refused"},
	} {
		if _, err := w.feed(w.as(w.teacher), false, c.archive); refusedAs(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if n := w.query(`SELECT media_id FROM submission_file`); len(n) > 0 {
		t.Errorf("files were added: %v", n)
	}
	if _, err := w.feed(w.as(ana), false, pack(t, folder+"a.txt", "x")); fault.CodeOf(err) != "not_found" {
		t.Errorf("a student's: %v", err)
	}
}

func FuzzFeedbackArchive(f *testing.F) {
	folder := "a_submission_01h455vb4pex5vsknk084sn02q/"
	f.Add(pack(f, folder+"a.txt", "text", folder+"b/c.txt", strings.Repeat("x", 1000)))
	f.Add(pack(f))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	f.Fuzz(func(t *testing.T, content []byte) {
		z, err := openFeedback(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			if e, ok := errors.AsType[*fault.Error](err); !ok || e.Kind == fault.Internal {
				t.Fatalf("an error that can't be told: %v", err)
			}
			return
		}
		for _, e := range z.File {
			if refusedEntry(e) != "" || e.UncompressedSize64 > 1<<20 {
				continue
			}
			if id, base, ok := submissionOfPath(e.Name); ok && (id == "" || strings.Contains(base, "/")) {
				t.Fatalf("%q goes to %q as %q", e.Name, id, base)
			}
			n := &countedBytes{}
			if err := unpack(e, n); err == nil && uint64(n.n) != e.UncompressedSize64 || uint64(n.n) > e.UncompressedSize64+1 { //nolint:gosec // not negative
				t.Fatalf("%q has %d bytes and not %d", e.Name, n.n, e.UncompressedSize64)
			}
		}
	})
}

type countedBytes struct{ n int64 }

func (c *countedBytes) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// What comes in time is in time, however long it waits for its turn.
func TestSubmittedWhileWaiting(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	settings := essaySettings()
	settings.Late = "refuse"
	w.assign(settings)
	ana := w.student("Ana")
	w.due(ana, w.now().Add(time.Minute), time.Time{})
	if _, err := w.save(ana, &assessmentpb.SubmissionContent{Text: "text"}); err != nil {
		t.Fatal(err)
	}
	w.later(time.Minute)
	locked, release, held := make(chan string, 1), make(chan struct{}), make(chan error, 1)
	go func() {
		held <- w.db.InTx(context.Background(), func(tx *pg.Tx) error {
			tx.Exempt("a test")
			var xid string
			err := tx.QueryRow(context.Background(), `SELECT pg_current_xact_id()::text FROM submission FOR UPDATE`).Scan(&xid)
			locked <- xid
			<-release
			return err
		})
	}()
	xid := <-locked
	done := make(chan error, 1)
	go func() {
		got, err := w.submit(ana)
		if err == nil && got.GetLateSeconds() != 0 {
			err = fmt.Errorf("late by %d", got.GetLateSeconds())
		}
		done <- err
	}()
	w.somebodyWaits(xid)
	w.later(time.Hour)
	close(release)
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("what came in time: %v", err)
	}
	if _, err := w.save(ana, &assessmentpb.SubmissionContent{Text: "more"}); fault.CodeOf(err) != "submission.closed" {
		t.Errorf("what came late: %v", err)
	}
}

// somebodyWaits returns once somebody waits for a transaction to end.
func (w *workWorld) somebodyWaits(xid string) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(time.Minute)
	for {
		if len(w.query(`SELECT pid::text FROM pg_locks WHERE locktype = 'transactionid' AND transactionid::text = $1 AND NOT granted`, xid)) > 0 {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			w.t.Fatal("nobody waits for a lock")
		}
	}
}
