package media_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/media"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// handing is the service with somebody who hands files in.
type handing struct {
	*fixture

	mine    mediapb.SubmissionFileServiceClient // as the edge calls
	keeper  mediapb.SubmissionFileServiceClient // as assessment calls
	student string
	other   string
	asOne   context.Context //nolint:containedctx // who calls in most tests
	asOther context.Context //nolint:containedctx // who calls in some
}

func hands(t *testing.T, f *fixture) *handing {
	t.Helper()
	h := &handing{fixture: f, student: id.New("account"), other: id.New("account")}
	harness := rpctest.New(t, func(account, _, permission string) bool {
		return account == f.account || permission == "assessment.take"
	})
	f.Register(harness)
	h.mine, h.keeper = mediapb.NewSubmissionFileServiceClient(harness.As("edge")), mediapb.NewSubmissionFileServiceClient(harness.As("assessment"))
	h.asOne, h.asOther = rpctest.Account(t.Context(), h.student), rpctest.Account(t.Context(), h.other)
	for _, account := range []string{h.student, h.other} {
		f.readers.Store(account+"assessment.take", true)
	}
	f.readers.Store(f.account+"submission.read", true)
	return h
}

func (h *handing) put(ctx context.Context, name string, content []byte) (*mediapb.Media, error) {
	stream, err := h.mine.UploadSubmissionFile(ctx)
	if err != nil {
		return nil, err
	}
	req := &mediapb.UploadSubmissionFileRequest{CourseId: h.course, Filename: name}
	for first := true; first || len(content) > 0; first = false {
		n := min(1000, len(content))
		req.Chunk, content = content[:n], content[n:]
		if err := stream.Send(req); err != nil {
			break
		}
		req = &mediapb.UploadSubmissionFileRequest{}
	}
	return stream.CloseAndRecv()
}

func (h *handing) mustPut(name string, content []byte) *mediapb.Media {
	h.t.Helper()
	m, err := h.put(h.asOne, name, content)
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

func (h *handing) get(ctx context.Context, mediaID string) (*mediapb.Media, error) {
	return h.mine.GetSubmissionFile(ctx, &mediapb.GetSubmissionFileRequest{CourseId: h.course, MediaId: mediaID})
}

func (h *handing) keep(look bool, accounts []string, ids ...string) (out []string) {
	h.t.Helper()
	res, err := h.keeper.KeepSubmissionFiles(h.t.Context(), &mediapb.KeepSubmissionFilesRequest{CourseId: h.course, AccountIds: accounts, MediaIds: ids, Purpose: "submission", LookOnly: look})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, m := range res.GetItems() {
		out = append(out, m.GetFilename())
	}
	slices.Sort(out)
	return out
}

func (h *handing) show(account string, staff, anonymous bool, ids ...string) []*mediapb.Media {
	h.t.Helper()
	res, err := h.keeper.ShowSubmissionFiles(h.t.Context(), &mediapb.ShowSubmissionFilesRequest{CourseId: h.course, MediaIds: ids, AccountId: account, Staff: staff, Anonymous: anonymous})
	if err != nil {
		h.t.Fatal(err)
	}
	return res.GetItems()
}

func (h *handing) read(mediaID string) ([]byte, error) {
	stream, err := h.keeper.ReadSubmissionFile(h.t.Context(), &mediapb.ReadSubmissionFileRequest{CourseId: h.course, MediaId: mediaID})
	if err != nil {
		return nil, err
	}
	var out []byte
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, res.GetChunk()...)
	}
}

// A file that is handed in is its uploader's, and no file of the course.
func TestSubmissionFile(t *testing.T) {
	t.Parallel()
	h := hands(t, setup(t))
	page := []byte("<!DOCTYPE html><script>alert(1)</script>" + strings.Repeat("x", 5000))
	m := h.mustPut("C:\\work\\Essay.html", page)
	if m.GetFilename() != "Essay.html" || m.GetContentType() != "application/octet-stream" || m.GetState() != "ready" || m.GetKind() != "file" || m.GetUrl() == "" {
		t.Errorf("uploaded: %v", m)
	}
	part, content, err := h.part(m.GetUrl(), 0)
	if err != nil || !bytes.Equal(content, page) || part.GetFilename() != "Essay.html" || part.GetContentType() != "application/octet-stream" {
		t.Errorf("downloaded: %v, %v", part, err)
	}
	if _, err := h.get(h.asOther, m.GetId()); fault.CodeOf(err) != "media.not_found" {
		t.Errorf("another gets it: %v", err)
	}
	list, err := h.mine.ListSubmissionFiles(h.asOne, &mediapb.ListSubmissionFilesRequest{CourseId: h.course})
	if err != nil || len(list.GetItems()) != 1 || list.GetUsed() != m.GetSize() {
		t.Errorf("list: %v, %v", list, err)
	}
	if list, err := h.mine.ListSubmissionFiles(h.asOther, &mediapb.ListSubmissionFilesRequest{CourseId: h.course}); err != nil || len(list.GetItems()) != 0 {
		t.Errorf("another's list: %v, %v", list, err)
	}
	// Nothing of the library has it, nor can it be changed by way of that.
	h.readers.Store(h.account+"media.read", true)
	for name, call := range map[string]func() error{
		"GetMedia": func() error {
			_, err := h.GetMedia(h.teacher, &mediapb.GetMediaRequest{CourseId: h.course, MediaId: m.GetId()})
			return err
		},
		"DeleteMedia":          func() error { return h.delete(m.GetId(), false) },
		"DeleteMedia for good": func() error { return h.delete(m.GetId(), true) },
		"RestoreMedia": func() error {
			_, err := h.library.RestoreMedia(h.teacher, &mediapb.RestoreMediaRequest{CourseId: h.course, MediaId: m.GetId()})
			return err
		},
		"RetryMedia": func() error {
			_, err := h.processing.RetryMedia(h.teacher, &mediapb.RetryMediaRequest{CourseId: h.course, MediaId: m.GetId()})
			return err
		},
		"CopyMedia": func() error { _, err := h.copy(id.New("course"), m.GetId()); return err },
		"ReadMedia": func() error { _, err := h.readAll(h.course, m.GetId(), 0); return err },
		"DownloadMedia": func() error {
			_, _, err := h.download(h.t.Context(), &mediapb.DownloadMediaRequest{MediaId: m.GetId()})
			return err
		},
	} {
		if err := call(); fault.CodeOf(err) != "media.not_found" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if res, err := h.service.BatchGetMedia(t.Context(), &mediapb.BatchGetMediaRequest{CourseId: h.course, MediaIds: []string{m.GetId()}}); err != nil || len(res.GetItems()) != 0 {
		t.Errorf("a lesson shows it: %v, %v", res, err)
	}
	if res, err := h.ListMedia(h.teacher, &mediapb.ListMediaRequest{CourseId: h.course}); err != nil || len(res.GetItems()) != 0 {
		t.Errorf("the library lists it: %v, %v", res, err)
	}
	h.hear(event(t, &coursespb.CoursePublished{CourseId: h.course, Sequence: 1, CoverMediaId: m.GetId()}))
	if n := h.count(`SELECT count(*) FROM media WHERE public`); n != 0 {
		t.Error("it became the cover of the course")
	}
	if n := h.count(`SELECT count(*) FROM outbox WHERE name LIKE 'stoa.media.%'`); n != 0 {
		t.Errorf("others are told of it by %d events", n)
	}
	if n := h.count(`SELECT count(*) FROM usage WHERE id = $1 AND used > 0`, h.course); n != 0 {
		t.Error("it takes room of the course")
	}
	// Deleted it is gone, with its bytes.
	if _, err := h.mine.DeleteSubmissionFile(h.asOther, &mediapb.DeleteSubmissionFileRequest{CourseId: h.course, MediaId: m.GetId()}); fault.CodeOf(err) != "media.not_found" {
		t.Errorf("another deletes it: %v", err)
	}
	if _, err := h.mine.DeleteSubmissionFile(h.asOne, &mediapb.DeleteSubmissionFileRequest{CourseId: h.course, MediaId: m.GetId()}); err != nil {
		t.Fatal(err)
	}
	if n := h.objects(); n != 0 {
		t.Errorf("%d objects are left", n)
	}
}

func TestSubmissionFileKept(t *testing.T) {
	t.Parallel()
	h := hands(t, setup(t))
	a, b, c := h.mustPut("a.txt", []byte("a")), h.mustPut("b.txt", []byte("b")), h.mustPut("c.txt", []byte("c"))
	library := h.mustUpload("library.txt", []byte("library"))
	all := []string{a.GetId(), b.GetId(), library.GetId(), id.New("media")}
	if diff := cmp.Diff([]string{"a.txt", "b.txt"}, h.keep(true, []string{h.student, h.other}, all...)); diff != "" {
		t.Errorf("looked at (-want +got):\n%s", diff)
	}
	if got := h.keep(false, []string{h.other, h.account}, all...); got != nil {
		t.Errorf("kept of others: %v", got)
	}
	h.keep(false, []string{h.student}, a.GetId(), b.GetId())
	remove := func(m *mediapb.Media) string {
		_, err := h.mine.DeleteSubmissionFile(h.asOne, &mediapb.DeleteSubmissionFileRequest{CourseId: h.course, MediaId: m.GetId()})
		if err == nil {
			return ""
		}
		return fault.CodeOf(err)
	}
	if got := remove(a); got != "media.kept" {
		t.Errorf("deleting what is kept: %s", got)
	}
	// What nothing keeps is swept, and nothing else.
	h.clock.Store(int64(36 * 24 * time.Hour / time.Second))
	if _, err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for m, want := range map[*mediapb.Media]string{a: "", b: "", c: "media.not_found"} {
		_, err := h.get(h.asOne, m.GetId())
		if err != nil && fault.CodeOf(err) != want || err == nil && want != "" {
			t.Errorf("%s after the sweep: %v", m.GetFilename(), err)
		}
	}
	for range 2 { // once is as good as twice; and never a file of the library
		if _, err := h.keeper.DropSubmissionFiles(t.Context(), &mediapb.DropSubmissionFilesRequest{CourseId: h.course, MediaIds: []string{a.GetId(), library.GetId()}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.get(h.asOne, a.GetId()); fault.CodeOf(err) != "media.not_found" {
		t.Errorf("dropped: %v", err)
	}
	if content, err := h.readAll(h.course, library.GetId(), 0); err != nil || string(content) != "library" {
		t.Errorf("the library's: %v", err)
	}
	if list, err := h.mine.ListSubmissionFiles(h.asOne, &mediapb.ListSubmissionFilesRequest{CourseId: h.course}); err != nil || list.GetUsed() != 1 {
		t.Errorf("room: %v, %v", list, err)
	}
}

// Each student has room of their own in each course, however many uploads come at once.
func TestSubmissionQuota(t *testing.T) {
	t.Parallel()
	f := setupWith(t, func(cfg *media.Config) { cfg.Limits = media.Limits{SubmissionQuota: 3000, CourseQuota: 10} })
	h := hands(t, f)
	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := map[string]int{}
	for i := range 6 {
		wg.Go(func() {
			_, err := h.put(h.asOne, "a.txt", bytes.Repeat([]byte{'a' + byte(i)}, 1000)) //nolint:gosec // small
			code := ""
			if err != nil {
				code = fault.CodeOf(err)
			}
			mu.Lock()
			defer mu.Unlock()
			codes[code]++
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[string]int{"": 3, "media.quota_exceeded": 3}, codes); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
	if _, err := h.put(h.asOther, "b.txt", make([]byte, 3000)); err != nil {
		t.Errorf("another's room: %v", err)
	}
	if _, err := h.put(h.asOther, "b.txt", []byte("x")); fault.CodeOf(err) != "media.quota_exceeded" {
		t.Errorf("beyond it: %v", err)
	}
	h.course = id.New("course")
	if _, err := h.put(h.asOne, "c.txt", []byte("another course")); err != nil {
		t.Errorf("in another course: %v", err)
	}
	// Sent again with its key it is the same file, and takes no more room.
	ctx := rpc.WithIdempotencyKey(h.asOne, "once")
	first, err := h.put(ctx, "d.txt", []byte("once"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := h.put(ctx, "d.txt", []byte("once"))
	if err != nil || again.GetId() != first.GetId() || again.GetUrl() == "" {
		t.Errorf("again: %v, %v", again, err)
	}
	for i := range 198 {
		if _, err := h.put(h.asOne, "e.txt", []byte{'e', byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.put(h.asOne, "f.txt", []byte("f")); fault.CodeOf(err) != "media.too_many" {
		t.Errorf("too many: %v", err)
	}
}

// Addresses are good for the one to whom they were given, as long as they may read.
func TestSubmissionAddresses(t *testing.T) {
	t.Parallel()
	h := hands(t, setup(t))
	m := h.mustPut("Ana's essay.TXT", []byte("essay"))
	own := m.GetUrl()
	staff := h.show(h.account, true, false, m.GetId())[0]
	hidden := h.show(h.account, true, true, m.GetId())[0]
	program := h.show("", false, false, m.GetId())[0]
	for name, c := range map[string]struct{ url, filename string }{
		"own": {own, "Ana's essay.TXT"}, "staff": {staff.GetUrl(), "Ana's essay.TXT"}, "anonymous": {hidden.GetUrl(), "file.txt"}, "program": {program.GetUrl(), "Ana's essay.TXT"},
	} {
		part, content, err := h.part(c.url, 0)
		if err != nil || string(content) != "essay" || part.GetFilename() != c.filename {
			t.Errorf("%s: %v, %q, %v", name, part, content, err)
		}
	}
	if hidden.GetFilename() != "file.txt" || strings.Contains(fmt.Sprint(hidden), "Ana") {
		t.Errorf("anonymous: %v", hidden)
	}
	// Flags and names are signed.
	if _, _, err := h.part(strings.Replace(own, "/original", "/w320.webp", 1), 0); fault.CodeOf(err) != "media.not_found" {
		t.Errorf("another part: %v", err)
	}
	h.readers.Store(h.student+"assessment.take", false)
	h.readers.Store(h.account+"submission.read", false)
	for name, url := range map[string]string{"own": own, "staff": staff.GetUrl(), "anonymous": hidden.GetUrl()} {
		if _, _, err := h.part(url, 0); fault.CodeOf(err) != "media.link_expired" {
			t.Errorf("%s after it may be read no more: %v", name, err)
		}
	}
	h.clock.Store(int64(61 * time.Minute / time.Second))
	if _, _, err := h.part(program.GetUrl(), 0); fault.CodeOf(err) != "media.link_expired" {
		t.Errorf("a program's after an hour: %v", err)
	}
	if content, err := h.read(m.GetId()); err != nil || string(content) != "essay" {
		t.Errorf("read: %q, %v", content, err)
	}
	if _, err := h.read(h.mustUpload("library.txt", []byte("x")).GetId()); fault.CodeOf(err) != "media.not_found" {
		t.Errorf("a file of the library: %v", err)
	}
}

// Of pictures and PDF documents there are previews. What can't be shown in place, and
// what nothing is made of, is there all the same.
func TestSubmissionPreviews(t *testing.T) {
	t.Parallel()
	h := hands(t, works(t, nil))
	settled := func(m *mediapb.Media) *mediapb.Media {
		t.Helper()
		h.wait(func() bool {
			got, err := h.get(h.asOne, m.GetId())
			if err != nil {
				t.Fatal(err)
			}
			m = got
			return got.GetState() == "ready"
		})
		return m
	}
	picture := settled(h.mustPut("Me.png", asPNG(plain(800, 600, red))))
	if len(picture.GetImages()) == 0 || picture.GetKind() != "image" {
		t.Errorf("picture: %v", picture)
	}
	if got := h.show(h.account, true, true, picture.GetId())[0]; strings.HasSuffix(got.GetUrl(), "/original") || len(got.GetImages()) == 0 {
		t.Errorf("an anonymous picture as it was taken: %v", got)
	}
	document := settled(h.mustPut("a.pdf", pdf(2, 200, "Duties")))
	if len(document.GetPages()) != 2 || len(h.bytesOf(document.GetUrl())) == 0 {
		t.Errorf("document: %v", document)
	}
	for name, content := range map[string][]byte{"broken.pdf": []byte("%PDF-1.7\nnothing"), "broken.png": append(asPNG(plain(10, 10, red))[:40], "x"...), "film.mp4": film(t, "1")} {
		m := settled(h.mustPut(name, content))
		if len(m.GetPages())+len(m.GetImages()) != 0 || m.GetHlsUrl() != "" || !bytes.Equal(h.bytesOf(m.GetUrl()), content) {
			t.Errorf("%s: %v", name, m)
		}
	}
}
