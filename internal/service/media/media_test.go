package media_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"image/color"
	"io"
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

	t          *testing.T
	avatars    mediapb.AvatarServiceClient
	uploads    mediapb.UploadServiceClient
	direct     mediapb.MultipartServiceClient
	library    mediapb.LibraryServiceClient // as the edge calls
	copies     mediapb.LibraryServiceClient // as another service calls
	bucket     *blob.Bucket
	service    mediapb.MediaServiceClient // as another service calls
	db         *pg.DB
	dir        string
	teacher    context.Context //nolint:containedctx // who calls in most tests
	account    string
	colleague  string // who may do the same
	course     string
	readers    readers
	processing mediapb.ProcessingServiceClient
	clock      atomic.Int64 // seconds that have passed
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
		DB: f.db, Bucket: bucket, Log: rpctest.Log(t), Key: [32]byte{1}, MaxSize: maxSize, Checker: &f.readers,
		Now: f.time,
	}
	change(&cfg)
	f.readers.Store(f.account+"media.read", true)
	f.Service, f.bucket = media.New(cfg), cfg.Bucket
	f.serve()
	return f
}

// serve makes the service answer.
func (f *fixture) serve() {
	t := f.t
	h := rpctest.New(t, func(account, _, _ string) bool { return account == f.account || account == f.colleague })
	f.Register(h)
	f.MediaServiceClient = mediapb.NewMediaServiceClient(h.As("edge"))
	f.uploads = mediapb.NewUploadServiceClient(h.As("edge"))
	f.direct = mediapb.NewMultipartServiceClient(h.As("edge"))
	f.library = mediapb.NewLibraryServiceClient(h.As("edge"))
	f.copies = mediapb.NewLibraryServiceClient(h.As("courses"))
	f.avatars = mediapb.NewAvatarServiceClient(h.As("edge"))
	f.service = mediapb.NewMediaServiceClient(h.As("courses"))
	f.processing = mediapb.NewProcessingServiceClient(h.As("edge"))
	f.teacher = rpctest.Account(t.Context(), f.account)
}

// time is what the service takes for now.
func (f *fixture) time() time.Time { return start.Add(time.Duration(f.clock.Load()) * time.Second) }

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
			Size: int64(size), Sha256: hex.EncodeToString(sum[:]), State: "ready", Percent: 100, Kind: "file",
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
		described, bytesGot, err := f.part(m.GetUrl(), 0)
		if err != nil {
			t.Fatal(err)
		}
		wantPart := &mediapb.Part{
			ContentType: want.GetContentType(), Size: want.GetSize(), Etag: want.GetSha256(), Immutable: true, Filename: want.GetFilename(),
			ExpiresAt: m.GetUrlExpiresAt(),
		}
		if d := cmp.Diff(wantPart, described, protocmp.Transform()); d != "" {
			t.Errorf("%d bytes: DownloadPart: %s", size, d)
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
	f.hear(event(t, &coursespb.CoursePublished{CourseId: f.course, Sequence: 1, CoverMediaId: m.GetId()}))
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
		_, got, err := f.download(t.Context(), &mediapb.DownloadMediaRequest{MediaId: m.GetId(), Offset: c.offset, Length: c.length})
		if err != nil || !bytes.Equal(got, content[c.from:c.to]) {
			t.Errorf("%d from %d: %d bytes, %v", c.length, c.offset, len(got), err)
		}
		if c.length != 0 {
			continue
		}
		_, got, err = f.part(m.GetUrl(), c.offset)
		if err != nil || !bytes.Equal(got, content[c.from:c.to]) {
			t.Errorf("the original from %d: %d bytes, %v", c.offset, len(got), err)
		}
	}
	described, got, err := f.download(t.Context(), &mediapb.DownloadMediaRequest{MediaId: m.GetId(), DescribeOnly: true})
	if err != nil || len(got) != 0 || described.GetSize() != 600_000 || described.GetUrl() != "" {
		t.Errorf("describe only: %v, %d bytes, %v", described, len(got), err)
	}
}

// TestLinks: an address of an original is good for one of the course's staff, one file
// and a time.
func TestLinks(t *testing.T) {
	t.Parallel()
	f := setup(t)
	m, other := f.mustUpload("a.txt", []byte("one")), f.mustUpload("b.txt", []byte("other"))
	if got, want := m.GetUrlExpiresAt().AsTime(), start.Add(19*time.Minute); !got.Equal(want) {
		t.Errorf("expires %s, want %s", got, want)
	}
	if !strings.HasPrefix(m.GetUrl(), "/v1/media/"+m.GetId()+"/parts/") {
		t.Errorf("address %s", m.GetUrl())
	}
	token := func(m *mediapb.Media) string { return strings.Split(m.GetUrl(), "/")[5] }
	signed := func(change string) string {
		payload, signature, _ := strings.Cut(token(m), ".")
		raw, err := base64.RawURLEncoding.DecodeString(payload)
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Split(string(raw), "\n")
		switch change {
		case "end":
			fields[0] = strconv.FormatInt(f.time().Add(24*time.Hour).Unix(), 36)
		case "account":
			fields[1] = f.colleague
		}
		return base64.RawURLEncoding.EncodeToString([]byte(strings.Join(fields, "\n"))) + "." + signature
	}
	if signed("") != token(m) {
		t.Fatal("the token is not what the test takes it for")
	}
	for name, address := range map[string]string{
		"no token":          strings.Replace(m.GetUrl(), token(m), "x", 1),
		"another signature": strings.Replace(m.GetUrl(), token(m), token(m)+"A", 1),
		"another's":         strings.Replace(m.GetUrl(), token(m), token(other), 1),
		"a later end":       strings.Replace(m.GetUrl(), token(m), signed("end"), 1),
		"another account":   strings.Replace(m.GetUrl(), token(m), signed("account"), 1),
		"another part":      strings.Replace(m.GetUrl(), "/original", "/poster.jpg", 1),
		"another file":      strings.Replace(m.GetUrl(), m.GetId(), other.GetId(), 1),
		"no file":           strings.Replace(m.GetUrl(), m.GetId(), id.New("media"), 1),
	} {
		if address == m.GetUrl() {
			t.Errorf("%s is nothing else", name)
		}
		if p, got, err := f.part(address, 0); !errors.Is(err, media.ErrNotFound) || p != nil || got != nil {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
	for name, req := range map[string]*mediapb.DownloadMediaRequest{
		"by its id alone": {MediaId: m.GetId()}, "by an address of before": {MediaId: m.GetId(), Expires: f.time().Add(time.Hour).Unix(), Signature: "A"},
	} {
		if p, got, err := f.download(f.teacher, req); !errors.Is(err, media.ErrNotFound) || p != nil || got != nil {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
	// It is the holder's: who works on the course no more has it no more, whoever else does.
	f.readers.Store(f.colleague+"media.read", true)
	f.readers.Delete(f.account + "media.read")
	_, _, err := f.part(m.GetUrl(), 0)
	code(t, err, media.ErrLinkExpired)
	theirs, err := f.GetMedia(rpctest.Account(t.Context(), f.colleague), &mediapb.GetMediaRequest{CourseId: f.course, MediaId: m.GetId()})
	if err != nil || theirs.GetUrl() == m.GetUrl() {
		t.Errorf("a colleague has the same address: %v", err)
	}
	f.bytesOf(theirs.GetUrl())
	f.readers.Store(f.account+"media.read", true)

	f.clock.Store(240) // the same step: the same address
	again, err := f.GetMedia(f.teacher, &mediapb.GetMediaRequest{CourseId: f.course, MediaId: m.GetId()})
	if err != nil || again.GetUrl() != m.GetUrl() {
		t.Errorf("four minutes later: %s, %v", again.GetUrl(), err)
	}
	f.clock.Store(19*60 - 1)
	if _, _, err := f.part(m.GetUrl(), 0); err != nil {
		t.Errorf("a second before the end: %v", err)
	}
	f.clock.Store(19 * 60)
	_, _, err = f.part(m.GetUrl(), 0)
	code(t, err, media.ErrLinkExpired)
}

func TestLostObject(t *testing.T) {
	t.Parallel()
	f := setup(t)
	m := f.mustUpload("a.txt", []byte("text"))
	if err := os.Truncate(filepath.Join(f.dir, "media", m.GetId()), 3); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.part(m.GetUrl(), 0); !fault.Is(err, fault.Internal) {
		t.Errorf("a part is lost: %v", err)
	}
	if err := os.Remove(filepath.Join(f.dir, "media", m.GetId())); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.part(m.GetUrl(), 0); !fault.Is(err, fault.Internal) {
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
		if _, err := f.content(m.GetUrl()); err != nil {
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
	f := works(t, nil)
	cover := photo(t, 20, 10, color.Black)
	first, second := f.mustUpload("1.jpg", withExif(cover)), f.mustUpload("2.jpg", cover)
	foreign, err := f.upload(f.teacher, id.New("course"), "3.jpg", cover)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pictures are ready", func() bool { return f.count(`SELECT count(*) FROM media WHERE state = 'ready'`) == 3 })
	published := func(sequence int64, cover string) bus.Event {
		return event(t, &coursespb.CoursePublished{CourseId: f.course, Sequence: sequence, CoverMediaId: cover})
	}
	public := func(step string, want ...bool) {
		t.Helper()
		var got []bool
		for _, m := range []*mediapb.Media{first, second, foreign} {
			_, content, err := f.download(t.Context(), &mediapb.DownloadMediaRequest{MediaId: m.GetId()})
			if bytes.Contains(content, []byte("SECRETPLACE")) {
				t.Error("anybody gets what the camera wrote")
			}
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
