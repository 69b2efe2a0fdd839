package media_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/media"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

func (f *fixture) delete(mediaID string, permanently bool) error {
	_, err := f.library.DeleteMedia(f.teacher, &mediapb.DeleteMediaRequest{CourseId: f.course, MediaId: mediaID, Permanently: permanently})
	return err
}

func (f *fixture) copy(to string, ids ...string) ([]string, error) {
	res, err := f.copies.CopyMedia(f.t.Context(), &mediapb.CopyMediaRequest{FromCourseId: f.course, ToCourseId: to, MediaIds: ids})
	var out []string
	var from []string
	for _, item := range res.GetItems() {
		from, out = append(from, item.GetFromMediaId()), append(out, item.GetMediaId())
	}
	if err == nil && !slices.Equal(from, ids) {
		f.t.Errorf("copies of %v, want %v", from, ids)
	}
	return out, err
}

func (f *fixture) readAll(course, mediaID string, offset int64) ([]byte, error) {
	stream, err := f.copies.ReadMedia(f.t.Context(), &mediapb.ReadMediaRequest{CourseId: course, MediaId: mediaID, Offset: offset})
	if err != nil {
		return nil, err
	}
	var content []byte
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return content, nil
		}
		if err != nil {
			return nil, err
		}
		content = append(content, res.GetChunk()...)
	}
}

// deletions are the events so far, as a line each.
func (f *fixture) deletions() []string {
	f.t.Helper()
	rows, err := f.db.Query(f.t.Context(), `SELECT payload FROM outbox WHERE name = 'stoa.media.v1.MediaDeleted' ORDER BY position`)
	if err != nil {
		f.t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var payload []byte
		e := &mediapb.MediaDeleted{}
		if err := errors.Join(rows.Scan(&payload), proto.Unmarshal(payload, e)); err != nil {
			f.t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%d gone=%v restored=%v", e.GetVersion(), e.GetGone(), e.GetRestored()))
	}
	return out
}

// TestBin: what is deleted is listed no more and shown by what has it, comes back
// within 30 days, and is gone after.
func TestBin(t *testing.T) {
	t.Parallel()
	f := setup(t)
	m := f.mustUpload("a.bin", random(100))
	get := func() error {
		_, err := f.GetMedia(f.teacher, &mediapb.GetMediaRequest{CourseId: f.course, MediaId: m.GetId()})
		return err
	}
	list := func(deleted bool) int {
		res, err := f.ListMedia(f.teacher, &mediapb.ListMediaRequest{CourseId: f.course, Deleted: deleted})
		if err != nil {
			t.Fatal(err)
		}
		return len(res.GetItems())
	}
	restore := func() error {
		_, err := f.library.RestoreMedia(f.teacher, &mediapb.RestoreMediaRequest{CourseId: f.course, MediaId: m.GetId()})
		return err
	}
	code(t, f.delete(id.New("media"), false), media.ErrNotFound)
	if err := f.delete(m.GetId(), false); err != nil {
		t.Fatal(err)
	}
	code(t, f.delete(m.GetId(), false), media.ErrNotFound)
	code(t, get(), media.ErrNotFound)
	if d := cmp.Diff([]int{0, 1}, []int{list(false), list(true)}); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]int64{100, 0, 0}, f.usage()); d != "" {
		t.Error(d)
	}
	batch, err := f.service.BatchGetMedia(t.Context(), &mediapb.BatchGetMediaRequest{CourseId: f.course, MediaIds: []string{m.GetId()}})
	if err != nil || len(batch.GetItems()) != 1 || batch.GetItems()[0].GetDeletedAt() == "" {
		t.Errorf("what shows it: %v, %v", batch, err)
	}
	if got, err := f.content(batch.GetItems()[0].GetUrl()); err != nil || len(got) != 100 {
		t.Errorf("a lesson that has it: %d bytes, %v", len(got), err)
	}
	sweep := func() {
		t.Helper()
		if _, err := f.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	f.clock.Add(30*24*3600 - 1)
	sweep()
	for range 2 {
		if err := restore(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(get(), f.delete(m.GetId(), false)); err != nil {
		t.Fatal(err)
	}
	f.clock.Add(30 * 24 * 3600)
	code(t, restore(), media.ErrNotFound)
	if f.objects() != 1 {
		t.Error("it went before the sweep")
	}
	sweep()
	if n := f.objects() + f.count(`SELECT (SELECT count(*) FROM media) + (SELECT count(*) FROM upload)`); n != 0 {
		t.Errorf("%d things are left", n)
	}
	if d := cmp.Diff([]int64{0, 0, 0}, f.usage()); d != "" {
		t.Error(d)
	}
	want := []string{"1 gone=false restored=false", "2 gone=false restored=true", "3 gone=false restored=false", "4 gone=true restored=false"}
	if d := cmp.Diff(want, f.deletions()); d != "" {
		t.Error(d)
	}
	// At once, from the bin and not.
	for _, first := range []bool{true, false} {
		m = f.mustUpload("b.bin", random(50))
		if !first {
			if err := f.delete(m.GetId(), false); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.delete(m.GetId(), true); err != nil {
			t.Fatal(err)
		}
		code(t, restore(), media.ErrNotFound)
		if f.objects() != 0 {
			t.Error("its object is left")
		}
	}
}

// TestCopiesOfCaptions: a copy has captions of its own, as those of its original.
func TestCopiesOfCaptions(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a := f.mustUpload("a.mp4", []byte("\x00\x00\x00\x18ftypisom...."))
	captions := func(media string) (list []string) {
		t.Helper()
		rows, err := f.db.Query(t.Context(), `SELECT language || ' ' || label || ' ' || main || ' ' || content || ' ' || revision FROM caption WHERE media_id = $1 ORDER BY 1`, media)
		if err != nil {
			t.Fatal(err)
		}
		if list, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			t.Fatal(err)
		}
		return list
	}
	for _, language := range []string{"de", "en"} {
		if _, err := f.db.Exec(t.Context(), `INSERT INTO caption VALUES ($1, $2, 'Label', $2 = 'en', 'WEBVTT', 3, now())`, a.GetId(), language); err != nil {
			t.Fatal(err)
		}
	}
	want := captions(a.GetId())
	ids, err := f.copy(id.New("course"), a.GetId())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.delete(a.GetId(), true); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, captions(ids[0])); d != "" || len(want) != 2 {
		t.Errorf("%d captions: %s", len(want), d)
	}
}

// TestCopies: copies share the bytes, which are there as long as one of them is.
func TestCopies(t *testing.T) {
	t.Parallel()
	f := setupWith(t, func(cfg *media.Config) { cfg.Limits.CourseQuota = 1000 })
	content := random(300)
	a, b := f.mustUpload("a.bin", content), f.mustUpload("b.bin", random(200))
	to := id.New("course")
	ids, err := f.copy(to, b.GetId(), a.GetId())
	if err != nil {
		t.Fatal(err)
	}
	if f.objects() != 2 {
		t.Errorf("%d objects", f.objects())
	}
	if err := f.delete(a.GetId(), true); err != nil {
		t.Fatal(err)
	}
	got, err := f.readAll(to, ids[1], 0)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("the copy: %d bytes, %v", len(got), err)
	}
	if got, err := f.readAll(to, ids[1], 299); err != nil || len(got) != 1 {
		t.Errorf("its last byte: %d bytes, %v", len(got), err)
	}
	for name, ids := range map[string][]string{"gone": {b.GetId(), a.GetId()}, "of another course": {ids[0]}} {
		if _, err := f.copy(to, ids...); !errors.Is(err, media.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := f.readAll(f.course, ids[0], 0); !errors.Is(err, media.ErrNotFound) {
		t.Errorf("a file of another course is read: %v", err)
	}
	for range 2 {
		if _, err := f.copy(to, b.GetId()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.copy(to, b.GetId()); fault.CodeOf(err) != "media.quota_exceeded" {
		t.Errorf("over the quota: %v", err)
	}
	if n := f.count(`SELECT used FROM usage WHERE id = $1`, f.account); n != 200 {
		t.Errorf("the account pays for %d bytes", n)
	}
	// Some of them, and none of another course or that there is not.
	list, err := f.ListMedia(f.teacher, &mediapb.ListMediaRequest{CourseId: to})
	if err != nil {
		t.Fatal(err)
	}
	one := list.GetItems()[0].GetId()
	res, err := f.copies.DeleteCourseMedia(t.Context(), &mediapb.DeleteCourseMediaRequest{CourseId: f.course, MediaIds: []string{one, id.New("media")}})
	if err != nil || res.GetDeleted() != 0 || res.GetLeft() {
		t.Errorf("another course's: %v, %v", res, err)
	}
	res, err = f.copies.DeleteCourseMedia(t.Context(), &mediapb.DeleteCourseMediaRequest{CourseId: to, MediaIds: []string{one}})
	if err != nil || res.GetDeleted() != 1 || res.GetLeft() {
		t.Errorf("one: %v, %v", res, err)
	}
	res, err = f.copies.DeleteCourseMedia(t.Context(), &mediapb.DeleteCourseMediaRequest{CourseId: to})
	if err != nil || res.GetDeleted() != 3 || res.GetLeft() {
		t.Errorf("%v, %v", res, err)
	}
	if f.objects() != 1 {
		t.Errorf("%d objects are left", f.objects())
	}
	if n := f.count(`SELECT used FROM usage WHERE id = $1`, to); n != 0 {
		t.Errorf("the course pays for %d bytes", n)
	}
}

// TestCopiesAtOnce: files are copied and purged at the same time, and there are
// bytes exactly as long as there is a file.
func TestCopiesAtOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for round := range 8 {
		m := f.mustUpload("a.bin", random(100))
		to := id.New("course")
		var wg sync.WaitGroup
		var mu sync.Mutex
		var copied []string
		for range 6 {
			wg.Go(func() {
				ids, err := f.copy(to, m.GetId())
				if err != nil && !errors.Is(err, media.ErrNotFound) {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				copied = append(copied, ids...)
			})
		}
		wg.Go(func() {
			if err := f.delete(m.GetId(), true); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if want := min(len(copied), 1); f.objects() != want {
			t.Fatalf("round %d: %d copies and %d objects", round, len(copied), f.objects())
		}
		// All copies at once: the last one takes the bytes with it.
		for _, copied := range copied {
			wg.Go(func() {
				if got, err := f.readAll(to, copied, 0); err != nil || len(got) != 100 {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			})
		}
		wg.Wait()
		for _, copied := range copied {
			wg.Go(func() {
				_, err := f.library.DeleteMedia(f.teacher, &mediapb.DeleteMediaRequest{CourseId: to, MediaId: copied, Permanently: true})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := f.objects() + f.count(`SELECT (SELECT count(*) FROM media) + (SELECT count(*) FROM upload)`); n != 0 {
			t.Fatalf("round %d: %d things are left of %d copies", round, n, len(copied))
		}
	}
}

// TestImport: a service brings a file once for its key, for an account.
func TestImport(t *testing.T) {
	t.Parallel()
	f := setup(t)
	content := random(700_000)
	bring := func(ctx context.Context, sum string) (*mediapb.Media, error) {
		stream, err := f.copies.ImportMedia(ctx)
		if err != nil {
			return nil, err
		}
		req := &mediapb.ImportMediaRequest{CourseId: f.course, Filename: "a/b.bin", Sha256: sum, AccountId: f.account}
		for at := 0; at < len(content); at += 350_000 {
			req.Chunk = content[at : at+350_000]
			if stream.Send(req) != nil {
				break
			}
			req = &mediapb.ImportMediaRequest{}
		}
		return stream.CloseAndRecv()
	}
	_, err := bring(t.Context(), hexSum(nil))
	code(t, err, media.ErrChecksum)
	if f.objects() != 0 {
		t.Error("something is stored")
	}
	var ids []string
	for range 3 {
		m, err := bring(rpc.WithIdempotencyKey(t.Context(), "import-1"), hexSum(content))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.GetId())
	}
	if ids[0] != ids[1] || ids[1] != ids[2] || f.objects() != 1 {
		t.Errorf("%v, %d objects", ids, f.objects())
	}
	f.holds(ids[0], content)
	if n := f.count(`SELECT used FROM usage WHERE id = $1`, f.account); n != 700_000 {
		t.Errorf("the account pays for %d bytes", n)
	}
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for name, content := range map[string]string{
		"Apple.png": "\x89PNG\r\n\x1a\n", "apricot.mp4": "\x00\x00\x00\x18ftypisom....", "b.mp3": "ID3\x03", "a%.pdf": "%PDF-1.7", "a.csv": "a,b\n", "a.bin": "\x00\x01",
	} {
		f.clock.Add(1)
		f.mustUpload(name, []byte(content))
	}
	if _, err := f.db.Exec(t.Context(), `UPDATE media SET state = CASE filename WHEN 'apricot.mp4' THEN 'processing' ELSE 'ready' END`); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		req  *mediapb.ListMediaRequest
		want []string
	}{
		{&mediapb.ListMediaRequest{Kind: "image"}, []string{"Apple.png"}},
		{&mediapb.ListMediaRequest{Kind: "video"}, []string{"apricot.mp4"}},
		{&mediapb.ListMediaRequest{Kind: "audio"}, []string{"b.mp3"}},
		{&mediapb.ListMediaRequest{Kind: "slides"}, []string{"a%.pdf"}},
		{&mediapb.ListMediaRequest{Kind: "file"}, []string{"a.bin", "a.csv"}},
		{&mediapb.ListMediaRequest{State: "processing"}, []string{"apricot.mp4"}},
		{&mediapb.ListMediaRequest{State: "broken"}, nil},
		{&mediapb.ListMediaRequest{FilenamePrefix: "AP"}, []string{"Apple.png", "apricot.mp4"}},
		{&mediapb.ListMediaRequest{FilenamePrefix: "a%"}, []string{"a%.pdf"}},
		{&mediapb.ListMediaRequest{FilenamePrefix: "ap", Kind: "image", State: "ready"}, []string{"Apple.png"}},
		{&mediapb.ListMediaRequest{Deleted: true}, nil},
	} {
		c.req.CourseId, c.req.PageSize = f.course, 1
		got := map[string]bool{}
		for first := true; first || c.req.GetCursor() != ""; first = false {
			res, err := f.ListMedia(f.teacher, c.req)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range res.GetItems() {
				got[m.GetFilename()] = true
			}
			c.req.Cursor = res.GetNextCursor()
		}
		want := map[string]bool{}
		for _, name := range c.want {
			want[name] = true
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%v: %s", c.req, d)
		}
	}
	if _, err := f.ListMedia(f.teacher, &mediapb.ListMediaRequest{CourseId: f.course, Kind: "film"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("an unknown kind: %v", err)
	}
}

// TestHeld: what is held can be deleted and restored, and is never gone; it is copied,
// and its copies are held by nobody.
func TestHeld(t *testing.T) {
	t.Parallel()
	f := setup(t)
	m := f.mustUpload("a.bin", random(100))
	hold := func(course, mediaID string) int {
		t.Helper()
		res, err := f.copies.HoldMedia(t.Context(), &mediapb.HoldMediaRequest{CourseId: course, MediaIds: []string{mediaID}})
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range res.GetItems() {
			if got.GetUrl() != "" || got.GetId() != mediaID {
				t.Errorf("%v", got)
			}
		}
		return len(res.GetItems())
	}
	if n := hold(id.New("course"), m.GetId()) + hold(f.course, id.New("media")); n != 0 {
		t.Errorf("%d files that are not of the course", n)
	}
	for range 2 {
		if hold(f.course, m.GetId()) != 1 {
			t.Error("it is not there")
		}
	}
	code(t, f.delete(m.GetId(), true), media.ErrHeld)
	if err := f.delete(m.GetId(), false); err != nil {
		t.Fatal(err)
	}
	code(t, f.delete(m.GetId(), true), media.ErrHeld)
	f.clock.Add(100 * 24 * 3600)
	if _, err := f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if content, err := f.readAll(f.course, m.GetId(), 0); err != nil || len(content) != 100 {
		t.Errorf("%d bytes, %v", len(content), err)
	}
	other := id.New("course")
	copies, err := f.copy(other, m.GetId())
	if err != nil {
		t.Fatal(err)
	}
	if hold(f.course, m.GetId()) != 1 {
		t.Error("what is held can't be held once more")
	}
	if _, err := f.library.RestoreMedia(f.teacher, &mediapb.RestoreMediaRequest{CourseId: f.course, MediaId: m.GetId()}); err != nil {
		t.Error(err)
	}
	if n := f.count(`SELECT count(*) FROM media WHERE id = '` + copies[0] + `' AND NOT held AND deleted_at IS NULL`); n != 1 {
		t.Error("the copy is held or deleted")
	}
	// What is deleted and not held can't be held any more.
	gone := f.mustUpload("b.bin", random(100))
	if err := f.delete(gone.GetId(), false); err != nil {
		t.Fatal(err)
	}
	if hold(f.course, gone.GetId()) != 0 {
		t.Error("what was deleted is held")
	}
}

// TestShown: files of several courses are shown to somebody of one of them, by a
// permission that is asked with each part and for no longer than is said.
func TestShown(t *testing.T) {
	t.Parallel()
	f := works(t, nil)
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewNRGBA(image.Rect(0, 0, 10, 10))); err != nil {
		t.Fatal(err)
	}
	m := f.settled(f.mustUpload("a.png", b.Bytes()))
	paper := f.settled(f.mustUpload("b.bin", random(100)))
	student, where := id.New("account"), id.New("course")
	show := func(permission string, end *timestamppb.Timestamp, files ...*mediapb.CourseFiles) []*mediapb.Media {
		t.Helper()
		res, err := f.service.ShowMedia(t.Context(), &mediapb.ShowMediaRequest{
			Files: files, AccountId: student, CourseId: where, ItemId: "activity_x", Permission: permission, NotAfter: end,
		})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetItems()
	}
	files := []*mediapb.CourseFiles{{CourseId: f.course, MediaIds: []string{m.GetId(), paper.GetId()}}, {CourseId: where, MediaIds: []string{m.GetId()}}}
	for _, permission := range []string{"assessment.take", "question.read", "submission.read"} {
		got := show(permission, nil, files...)
		if len(got) != 2 {
			t.Fatalf("%v", got)
		}
		for _, one := range got {
			_, err := f.content(one.GetUrl())
			code(t, err, media.ErrLinkExpired)
			f.readers.Store(student+permission, true)
			if _, err := f.content(one.GetUrl()); err != nil {
				t.Errorf("%s: %v", permission, err)
			}
			f.readers.Delete(student + permission)
		}
	}
	if got := show("assessment.take", nil, files[1]); len(got) != 0 {
		t.Errorf("as of another course: %v", got)
	}
	f.readers.Store(student+"assessment.take", true)
	end := start.Add(time.Duration(f.clock.Load())*time.Second + time.Minute)
	short := show("assessment.take", timestamppb.New(end), files[0])
	if !short[0].GetUrlExpiresAt().AsTime().Equal(end) {
		t.Errorf("works until %v, want %v", short[0].GetUrlExpiresAt().AsTime(), end)
	}
	f.clock.Add(61)
	_, err := f.content(short[0].GetUrl())
	code(t, err, media.ErrLinkExpired)
	if _, err := f.ShowMedia(f.teacher, &mediapb.ShowMediaRequest{AccountId: student, CourseId: where, Permission: "assessment.take"}); err == nil {
		t.Error("a person shows files")
	}
}
