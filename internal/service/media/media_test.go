package media_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/blob"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/media"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

const maxSize = 3 << 20

// fixture is the service on a database and a folder of its own.
type fixture struct {
	*media.Service
	mediapb.MediaServiceClient // as the edge calls

	t         *testing.T
	avatars   mediapb.AvatarServiceClient
	uploads   mediapb.UploadServiceClient
	direct    mediapb.MultipartServiceClient
	library   mediapb.LibraryServiceClient // as the edge calls
	copies    mediapb.LibraryServiceClient // as another service calls
	bucket    *blob.Bucket
	service   mediapb.MediaServiceClient // as another service calls
	db        *pg.DB
	dir       string
	teacher   context.Context //nolint:containedctx // who calls in most tests
	account   string
	colleague string // who may do the same
	course    string
	clock     atomic.Int64 // seconds that have passed
}

var start = time.Date(2026, 3, 4, 10, 1, 0, 0, time.UTC)

func setup(t *testing.T) *fixture {
	t.Helper()
	return setupWith(t, func(*media.Config) {})
}

// setupWith lets a test have another bucket and other limits.
func setupWith(t *testing.T, change func(*media.Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir(), account: id.New("account"), colleague: id.New("account"), course: id.New("course")}
	f.db = pgtest.Open(t, media.Schema)
	bucket, err := blob.Open(t.Context(), blob.Config{URL: "file://" + f.dir})
	if err != nil {
		t.Fatal(err)
	}
	cfg := media.Config{
		DB: f.db, Bucket: bucket, Log: rpctest.Log(t), Key: [32]byte{1}, MaxSize: maxSize,
		Now: func() time.Time { return start.Add(time.Duration(f.clock.Load()) * time.Second) },
	}
	change(&cfg)
	f.Service, f.bucket = media.New(cfg), cfg.Bucket
	h := rpctest.New(t, func(account, _, _ string) bool { return account == f.account || account == f.colleague })
	f.Register(h)
	f.MediaServiceClient = mediapb.NewMediaServiceClient(h.As("edge"))
	f.uploads = mediapb.NewUploadServiceClient(h.As("edge"))
	f.direct = mediapb.NewMultipartServiceClient(h.As("edge"))
	f.library = mediapb.NewLibraryServiceClient(h.As("edge"))
	f.copies = mediapb.NewLibraryServiceClient(h.As("courses"))
	f.avatars = mediapb.NewAvatarServiceClient(h.As("edge"))
	f.service = mediapb.NewMediaServiceClient(h.As("courses"))
	f.teacher = rpctest.Account(t.Context(), f.account)
	return f
}

// upload sends content in pieces of 100,000 bytes.
func (f *fixture) upload(ctx context.Context, course, name string, content []byte) (*mediapb.Media, error) {
	f.t.Helper()
	stream, err := f.UploadMedia(ctx)
	if err != nil {
		return nil, err
	}
	const piece = 100_000
	req := &mediapb.UploadMediaRequest{CourseId: course, Filename: name}
	for first := true; first || len(content) > 0; first = false {
		n := min(piece, len(content))
		req.Chunk, content = content[:n], content[n:]
		if err := stream.Send(req); err != nil {
			break // the reason is what CloseAndRecv returns
		}
		req = &mediapb.UploadMediaRequest{}
	}
	return stream.CloseAndRecv()
}

func (f *fixture) mustUpload(name string, content []byte) *mediapb.Media {
	f.t.Helper()
	m, err := f.upload(f.teacher, f.course, name, content)
	if err != nil {
		f.t.Fatal(err)
	}
	return m
}

func (f *fixture) download(ctx context.Context, req *mediapb.DownloadMediaRequest) (*mediapb.Media, []byte, error) {
	f.t.Helper()
	stream, err := f.DownloadMedia(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	var m *mediapb.Media
	var content []byte
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return m, content, nil
		}
		if err != nil {
			return m, content, err
		}
		if (m == nil) != (res.GetMedia() != nil) {
			f.t.Error("the description comes once, and first")
		}
		if len(res.GetChunk()) > 256<<10 {
			f.t.Errorf("a chunk of %d bytes", len(res.GetChunk()))
		}
		if m == nil {
			m = res.GetMedia()
		}
		content = append(content, res.GetChunk()...)
	}
}

// link makes a request of an address.
func link(t *testing.T, address string) *mediapb.DownloadMediaRequest {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	expires, err := strconv.ParseInt(u.Query().Get("expires"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	mediaID := strings.TrimSuffix(strings.TrimPrefix(u.Path, "/v1/media/"), "/content")
	return &mediapb.DownloadMediaRequest{MediaId: mediaID, Expires: expires, Signature: u.Query().Get("signature")}
}

// objects counts what is in the bucket.
func (f *fixture) objects() int {
	f.t.Helper()
	n := 0
	err := filepath.WalkDir(f.dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

// count returns a number that a statement returns.
func (f *fixture) count(sql string, args ...any) int {
	f.t.Helper()
	var n int
	if err := f.db.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

func random(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.Read(p)
	p[0], p[1] = 0, 0 // of no known type
	return p
}

func code(t *testing.T, err error, want *fault.Error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func TestUploadAndDownload(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, size := range []int{2, 511, 513, 99_999, 1<<20 + 1, maxSize} {
		content := random(size)
		m := f.mustUpload("lecture.bin", content)
		sum := sha256.Sum256(content)
		want := &mediapb.Media{
			Id: m.GetId(), CourseId: f.course, Filename: "lecture.bin", ContentType: "application/octet-stream",
			Size: int64(size), Sha256: hex.EncodeToString(sum[:]), State: "ready", Percent: 100,
		}
		ignore := protocmp.IgnoreFields(&mediapb.Media{}, "created_at", "url", "url_expires_at")
		if d := cmp.Diff(want, m, protocmp.Transform(), ignore); d != "" {
			t.Errorf("%d bytes: %s", size, d)
		}
		got, err := f.GetMedia(f.teacher, &mediapb.GetMediaRequest{CourseId: f.course, MediaId: m.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m, got, protocmp.Transform()); d != "" {
			t.Errorf("%d bytes: GetMedia: %s", size, d)
		}
		// Who has the address needs nothing else, and gets no new one.
		described, bytesGot, err := f.download(t.Context(), link(t, m.GetUrl()))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, described, protocmp.Transform(), protocmp.IgnoreFields(&mediapb.Media{}, "created_at")); d != "" {
			t.Errorf("%d bytes: DownloadMedia: %s", size, d)
		}
		if !bytes.Equal(bytesGot, content) {
			t.Errorf("%d bytes came back as %d others", size, len(bytesGot))
		}
	}
	if n := f.count(`SELECT count(*) FROM upload`); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
}

func TestUploadRefuses(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for name, c := range map[string]struct {
		content []byte
		want    *fault.Error
	}{
		"empty":     {nil, media.ErrEmpty},
		"html":      {[]byte("  <!DOCTYPE html><script>alert(1)</script>"), media.ErrTypeRefused},
		"svg":       {[]byte(`<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`), media.ErrTypeRefused},
		"too large": {random(maxSize + 1), fault.New(fault.TooLarge, "media.too_large", "")},
	} {
		_, err := f.upload(f.teacher, f.course, "picture.png", c.content)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := f.upload(f.teacher, f.course, strings.Repeat("x", 201), []byte("text")); !fault.Is(err, fault.Invalid) {
		t.Errorf("long name: %v", err)
	}
	if _, err := f.upload(f.teacher, "", "a.txt", []byte("text")); !fault.Is(err, fault.Invalid) {
		t.Errorf("no course: %v", err)
	}
	if _, err := f.upload(rpctest.Account(t.Context(), id.New("account")), f.course, "a.txt", []byte("text")); !fault.Is(err, fault.NotFound) {
		t.Errorf("somebody else: %v", err)
	}
	if _, err := f.upload(t.Context(), f.course, "a.txt", []byte("text")); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("nobody: %v", err)
	}
	if n := f.count(`SELECT (SELECT count(*) FROM media) + (SELECT count(*) FROM upload)`) + f.objects(); n != 0 {
		t.Errorf("%d things are left behind", n)
	}
}

// What is over the limit is not read.
func TestUploadStopsReading(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stream, err := f.UploadMedia(f.teacher)
	if err != nil {
		t.Fatal(err)
	}
	req := &mediapb.UploadMediaRequest{CourseId: f.course, Filename: "endless", Chunk: make([]byte, 1<<20)}
	sent := 0
	for ; sent < 200; sent++ {
		if err := stream.Send(req); err != nil {
			break
		}
	}
	if sent == 200 {
		t.Error("200 MiB were taken")
	}
	if _, err := stream.CloseAndRecv(); fault.CodeOf(err) != "media.too_large" {
		t.Errorf("error %v", err)
	}
}

func TestUploadGivenUp(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx, cancel := context.WithCancel(f.teacher)
	stream, err := f.UploadMedia(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&mediapb.UploadMediaRequest{CourseId: f.course, Filename: "half", Chunk: random(100_000)}); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := stream.CloseAndRecv(); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if n := f.count(`SELECT count(*) FROM media`); n != 0 {
		t.Error("half a file became one")
	}
}

func TestUploadOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := rpc.WithIdempotencyKey(f.teacher, "key-1")
	content := random(200_000)
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			m, err := f.upload(ctx, f.course, "a/same.bin", content)
			if err != nil {
				t.Error(err)
			}
			ids[i] = m.GetId()
		})
	}
	wg.Wait()
	for _, other := range ids {
		if other != ids[0] {
			t.Errorf("one key made %s and %s", ids[0], other)
		}
	}
	f.clock.Store(3600)
	again, err := f.upload(ctx, f.course, "same.bin", content)
	if err != nil {
		t.Fatal(err)
	}
	if again.GetId() != ids[0] || !again.GetUrlExpiresAt().AsTime().After(start.Add(time.Hour)) {
		t.Errorf("an hour later: %v", again)
	}
	_, err = f.upload(ctx, f.course, "same.bin", random(100))
	if fault.CodeOf(err) != "idempotency.key_reused" {
		t.Errorf("the key with other content: %v", err)
	}
	if got := [3]int{f.count(`SELECT count(*) FROM media`), f.count(`SELECT count(*) FROM upload`), f.objects()}; got != [3]int{1, 0, 1} {
		t.Errorf("files, uploads, objects: %v", got)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	f := setup(t)
	kept := f.mustUpload("kept.bin", random(100))
	lost, fresh := id.New("media"), id.New("media")
	for i, mediaID := range []string{lost, fresh} {
		if err := os.WriteFile(filepath.Join(f.dir, "media", mediaID), []byte("left by a crash"), 0o600); err != nil {
			t.Fatal(err)
		}
		at := start.Add(time.Duration(i*3600) * time.Second)
		if _, err := f.db.Exec(t.Context(), `INSERT INTO upload (id, started_at) VALUES ($1, $2)`, mediaID, at); err != nil {
			t.Fatal(err)
		}
	}
	f.clock.Store(24*3600 + 60)
	n, err := f.Sweep(t.Context())
	if err != nil || n != 1 {
		t.Errorf("swept %d, %v", n, err)
	}
	if _, err := os.Stat(filepath.Join(f.dir, "media", lost)); !os.IsNotExist(err) {
		t.Errorf("the lost object: %v", err)
	}
	for _, mediaID := range []string{kept.GetId(), fresh} {
		if _, err := os.Stat(filepath.Join(f.dir, "media", mediaID)); err != nil {
			t.Error(err)
		}
	}
	if n := f.count(`SELECT count(*) FROM upload WHERE id = $1`, fresh); n != 1 {
		t.Error("an upload in progress was forgotten")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	f := setup(t)
	content := random(600_000)
	m := f.mustUpload("video.bin", content)
	for _, c := range []struct{ offset, length, from, to int64 }{
		{0, 0, 0, 600_000},
		{0, 1, 0, 1},
		{5, 10, 5, 15},
		{262_143, 2, 262_143, 262_145},
		{100, 300_000, 100, 300_100},
		{599_999, 0, 599_999, 600_000},
		{599_990, 1 << 40, 599_990, 600_000},
		{600_000, 0, 0, 0},
		{1 << 50, 5, 0, 0},
	} {
		req := link(t, m.GetUrl())
		req.Offset, req.Length = c.offset, c.length
		_, got, err := f.download(t.Context(), req)
		if err != nil || !bytes.Equal(got, content[c.from:c.to]) {
			t.Errorf("%d from %d: %d bytes, %v", c.length, c.offset, len(got), err)
		}
	}
	req := link(t, m.GetUrl())
	req.DescribeOnly = true
	described, got, err := f.download(t.Context(), req)
	if err != nil || len(got) != 0 || described.GetSize() != 600_000 {
		t.Errorf("describe only: %v, %d bytes, %v", described, len(got), err)
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	f := setup(t)
	m, other := f.mustUpload("a.txt", []byte("one")), f.mustUpload("b.txt", []byte("other"))
	if got, want := m.GetUrlExpiresAt().AsTime(), start.Add(19*time.Minute); !got.Equal(want) {
		t.Errorf("expires %s, want %s", got, want)
	}
	if strings.HasPrefix(m.GetUrl(), "http") || !strings.HasPrefix(m.GetUrl(), "/v1/media/"+m.GetId()+"/content?") {
		t.Errorf("address %s", m.GetUrl())
	}
	for name, change := range map[string]func(*mediapb.DownloadMediaRequest){
		"no signature":      func(r *mediapb.DownloadMediaRequest) { r.Signature = "" },
		"nothing":           func(r *mediapb.DownloadMediaRequest) { r.Signature, r.Expires = "", 0 },
		"another signature": func(r *mediapb.DownloadMediaRequest) { r.Signature = "A" + r.Signature[1:] + "A" },
		"another's":         func(r *mediapb.DownloadMediaRequest) { r.Signature = link(t, other.GetUrl()).Signature },
		"a later end":       func(r *mediapb.DownloadMediaRequest) { r.Expires += 3600 },
		"an end in the past": func(r *mediapb.DownloadMediaRequest) {
			r.Expires = 1
		},
		"another file": func(r *mediapb.DownloadMediaRequest) { r.MediaId = other.GetId() },
		"no file":      func(r *mediapb.DownloadMediaRequest) { r.MediaId = id.New("media") },
	} {
		req := link(t, m.GetUrl())
		change(req)
		described, got, err := f.download(f.teacher, req)
		if !errors.Is(err, media.ErrNotFound) || described != nil || got != nil {
			t.Errorf("%s: %v, %v", name, described, err)
		}
	}
	f.clock.Store(240) // the same step: the same address
	again, err := f.GetMedia(f.teacher, &mediapb.GetMediaRequest{CourseId: f.course, MediaId: m.GetId()})
	if err != nil || again.GetUrl() != m.GetUrl() {
		t.Errorf("four minutes later: %s, %v", again.GetUrl(), err)
	}
	f.clock.Store(19*60 - 1)
	if _, _, err := f.download(t.Context(), link(t, m.GetUrl())); err != nil {
		t.Errorf("a second before the end: %v", err)
	}
	f.clock.Store(19 * 60)
	_, _, err = f.download(t.Context(), link(t, m.GetUrl()))
	code(t, err, media.ErrLinkExpired)
}

func TestLostObject(t *testing.T) {
	t.Parallel()
	f := setup(t)
	m := f.mustUpload("a.txt", []byte("text"))
	if err := os.Truncate(filepath.Join(f.dir, "media", m.GetId()), 3); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.download(t.Context(), link(t, m.GetUrl())); !fault.Is(err, fault.Internal) {
		t.Errorf("a part is lost: %v", err)
	}
	if err := os.Remove(filepath.Join(f.dir, "media", m.GetId())); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.download(t.Context(), link(t, m.GetUrl())); !fault.Is(err, fault.Internal) {
		t.Errorf("error %v", err)
	}
}

func TestListAndBatch(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var want, ids []string
	for i := range 7 {
		f.clock.Store(int64(i / 2)) // pairs of the same time
		m := f.mustUpload(fmt.Sprintf("%d.txt", i), []byte("text"))
		want = append([]string{m.GetId()}, want...)
		ids = append(ids, m.GetId())
	}
	foreign, err := f.upload(f.teacher, id.New("course"), "foreign.txt", []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	req := &mediapb.ListMediaRequest{CourseId: f.course, PageSize: 3}
	for range 10 {
		res, err := f.ListMedia(f.teacher, req)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range res.GetItems() {
			got = append(got, m.GetId())
			if m.GetUrl() == "" {
				t.Error("no address")
			}
		}
		if req.Cursor = res.GetNextCursor(); req.GetCursor() == "" {
			break
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("list: %s", d)
	}
	if _, err := f.ListMedia(f.teacher, &mediapb.ListMediaRequest{CourseId: f.course, Cursor: "x"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a cursor that is none: %v", err)
	}

	res, err := f.service.BatchGetMedia(t.Context(), &mediapb.BatchGetMediaRequest{
		CourseId: f.course, MediaIds: append(ids[:3:3], ids[0], foreign.GetId(), id.New("media")),
	})
	if err != nil || len(res.GetItems()) != 3 {
		t.Fatalf("batch: %d, %v", len(res.GetItems()), err)
	}
	for _, m := range res.GetItems() {
		if _, _, err := f.download(t.Context(), link(t, m.GetUrl())); err != nil {
			t.Errorf("the address of a batch: %v", err)
		}
	}
	if res, err := f.service.BatchGetMedia(t.Context(), &mediapb.BatchGetMediaRequest{CourseId: f.course}); err != nil || len(res.GetItems()) != 0 {
		t.Errorf("an empty batch: %v, %v", res, err)
	}
	if _, err := f.BatchGetMedia(f.teacher, &mediapb.BatchGetMediaRequest{CourseId: f.course}); !fault.Is(err, fault.NotFound) {
		t.Errorf("a batch for the edge: %v", err)
	}
	_, err = f.GetMedia(f.teacher, &mediapb.GetMediaRequest{CourseId: f.course, MediaId: foreign.GetId()})
	code(t, err, media.ErrNotFound)
}

// hear delivers events to the service as the bus would, one after the other.
func (f *fixture) hear(events ...bus.Event) {
	f.t.Helper()
	broker := bus.NewDirect()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	member := bus.Member{Name: "media", DB: f.db, Handlers: f.Handlers()}
	if err := broker.Declare(ctx, bus.Topology(member)); err != nil {
		f.t.Fatal(err)
	}
	go func() { done <- bus.Run(ctx, broker, rpctest.Log(f.t), member) }()
	for _, ev := range events {
		if err := broker.Publish(ctx, []bus.Event{ev}); err != nil {
			f.t.Error(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		f.t.Fatal(err)
	}
	if n := f.count(`SELECT count(*) FROM inbox_failed`); n != 0 {
		f.t.Errorf("%d events failed", n)
	}
}

func event(t *testing.T, m proto.Message) bus.Event {
	t.Helper()
	payload, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return bus.Event{ID: uuid.New(), Name: string(m.ProtoReflect().Descriptor().FullName()), Payload: payload, HappenedAt: time.Now()}
}

func TestCoverIsPublic(t *testing.T) {
	t.Parallel()
	f := setup(t)
	first, second := f.mustUpload("1.png", []byte("\x89PNG\r\n\x1a\n1")), f.mustUpload("2.png", []byte("\x89PNG\r\n\x1a\n2"))
	foreign, err := f.upload(f.teacher, id.New("course"), "3.png", []byte("\x89PNG\r\n\x1a\n3"))
	if err != nil {
		t.Fatal(err)
	}
	published := func(sequence int64, cover string) bus.Event {
		return event(t, &coursespb.CoursePublished{CourseId: f.course, Sequence: sequence, CoverMediaId: cover})
	}
	public := func(step string, want ...bool) {
		t.Helper()
		var got []bool
		for _, m := range []*mediapb.Media{first, second, foreign} {
			_, _, err := f.download(t.Context(), &mediapb.DownloadMediaRequest{MediaId: m.GetId()})
			if err != nil && !errors.Is(err, media.ErrNotFound) {
				t.Fatal(err)
			}
			got = append(got, err == nil)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", step, d)
		}
	}
	public("before", false, false, false)
	one := published(1, first.GetId())
	f.hear(one)
	public("published", true, false, false)
	f.hear(published(3, second.GetId()), one, published(2, first.GetId()))
	public("another cover, and the first again", false, true, false)
	f.hear(published(4, foreign.GetId()))
	public("a cover of another course", false, false, false)
	f.hear(published(5, first.GetId()), event(t, &coursespb.CourseUnpublished{CourseId: f.course, Sequence: 6}))
	public("taken out", false, false, false)
	f.hear(published(8, first.GetId()), event(t, &coursespb.CourseUnpublished{CourseId: f.course, Sequence: 7}))
	public("taken out before it was published again", true, false, false)
	f.hear(published(9, ""))
	public("no cover", false, false, false)
}
