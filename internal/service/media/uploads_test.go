package media_test

import (
	"bytes"
	"context"
	"crypto/md5"  //nolint:gosec // of the protocol
	"crypto/sha1" //nolint:gosec // of the protocol
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/blob"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/media"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// large lets files be of several parts.
func large(cfg *media.Config) { cfg.MaxSize = 100 << 20 }

// onS3 keeps files in the S3 server of the tests.
func onS3(t *testing.T) func(*media.Config) {
	return func(cfg *media.Config) {
		large(cfg)
		text := os.Getenv("STOA_TEST_S3")
		if text == "" {
			t.Fatal("STOA_TEST_S3 is not set: run `make test`, or `go run ./cmd/testservers -only postgres,s3 -- go test ./internal/service/media/`")
		}
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		secret, _ := u.User.Password()
		cfg.Bucket, err = blob.Open(t.Context(), blob.Config{
			URL:       "s3://stoa?region=us-east-1&endpoint=" + url.QueryEscape(u.Scheme+"://"+u.Host),
			AccessKey: u.User.Username(), SecretKey: secret,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// both runs a test on a folder and on S3.
func both(t *testing.T, test func(*testing.T, *fixture)) {
	t.Helper()
	t.Run("folder", func(t *testing.T) {
		t.Parallel()
		test(t, setupWith(t, large))
	})
	t.Run("s3", func(t *testing.T) {
		t.Parallel()
		test(t, setupWith(t, onS3(t)))
	})
}

func (f *fixture) create(req *mediapb.CreateUploadRequest) *mediapb.Upload {
	f.t.Helper()
	if req.GetCourseId() == "" {
		req.CourseId = f.course
	}
	u, err := f.uploads.CreateUpload(f.teacher, req)
	if err != nil {
		f.t.Fatal(err)
	}
	return u
}

// append sends bytes, and lets change the first message.
func (f *fixture) append(ctx context.Context, u *mediapb.Upload, offset int64, content []byte, change func(*mediapb.AppendUploadRequest)) (*mediapb.Upload, error) {
	f.t.Helper()
	stream, err := f.uploads.AppendUpload(ctx)
	if err != nil {
		return nil, err
	}
	req := &mediapb.AppendUploadRequest{CourseId: u.GetCourseId(), UploadId: u.GetId(), Offset: offset}
	if change != nil {
		change(req)
	}
	for first := true; first || len(content) > 0; first = false {
		n := min(256<<10, len(content))
		req.Chunk, content = content[:n], content[n:]
		if err := stream.Send(req); err != nil {
			break // the reason is what CloseAndRecv returns
		}
		req = &mediapb.AppendUploadRequest{}
	}
	return stream.CloseAndRecv()
}

func (f *fixture) get(u *mediapb.Upload) *mediapb.Upload {
	f.t.Helper()
	got, err := f.uploads.GetUpload(f.teacher, &mediapb.GetUploadRequest{CourseId: u.GetCourseId(), UploadId: u.GetId()})
	if err != nil {
		f.t.Fatal(err)
	}
	return got
}

func (f *fixture) usage() []int64 {
	f.t.Helper()
	u, err := f.library.GetMediaUsage(f.teacher, &mediapb.GetMediaUsageRequest{CourseId: f.course})
	if err != nil {
		f.t.Fatal(err)
	}
	return []int64{u.GetUsed(), u.GetReserved(), int64(u.GetUnfinished())}
}

// holds looks at a file that has come in: its bytes, its hash, what it takes.
func (f *fixture) holds(mediaID string, content []byte) {
	f.t.Helper()
	m, err := f.GetMedia(f.teacher, &mediapb.GetMediaRequest{CourseId: f.course, MediaId: mediaID})
	if err != nil {
		f.t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	if m.GetSha256() != hex.EncodeToString(sum[:]) || m.GetSize() != int64(len(content)) || m.GetState() != "ready" {
		f.t.Errorf("it is %v", m)
	}
	_, got, err := f.part(m.GetUrl(), 0)
	if err != nil {
		f.t.Fatal(err)
	}
	if !bytes.Equal(got, content) {
		f.t.Errorf("%d bytes came back as %d others", len(content), len(got))
	}
}

// TestInPieces: pieces of all sizes, one of which breaks off, make the file.
func TestInPieces(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, f *fixture) {
		content := random(21<<20 + 7)
		sum := sha256.Sum256(content)
		u := f.create(&mediapb.CreateUploadRequest{Filename: "dir/long.bin", Length: int64(len(content)), Sha256: strings.ToUpper(hex.EncodeToString(sum[:])), Metadata: "filename bG9uZy5iaW4="})
		if u.GetOffset() != 0 || u.GetState() != "open" || u.GetFilename() != "long.bin" || u.GetMetadata() != "filename bG9uZy5iaW4=" {
			t.Errorf("%v", u)
		}
		if d := cmp.Diff([]int64{0, int64(len(content)), 1}, f.usage()); d != "" {
			t.Error(d)
		}
		at := int64(0)
		for _, n := range []int64{0, 1, 511, 3 << 20, 6 << 20, 0, 9<<20 + 1} {
			got, err := f.append(f.teacher, u, at, content[at:at+n], nil)
			if err != nil {
				t.Fatal(err)
			}
			if at += n; got.GetOffset() != at || f.get(u).GetOffset() != at {
				t.Fatalf("at %d, want %d", got.GetOffset(), at)
			}
		}
		// One that breaks off leaves what has come.
		ctx, cancel := context.WithCancel(f.teacher)
		stream, err := f.uploads.AppendUpload(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&mediapb.AppendUploadRequest{CourseId: f.course, UploadId: u.GetId(), Offset: at, Chunk: content[at : at+100_000]}); err != nil {
			t.Fatal(err)
		}
		f.wait(func() bool { return f.count(`SELECT count(*) FROM transfer WHERE writer IS NOT NULL`) == 1 })
		cancel()
		// A lease that could not be given back ends by itself.
		f.wait(func() bool {
			return f.count(`SELECT count(*) FROM transfer WHERE writer_until > clock_timestamp()`) == 0
		})
		if now := f.get(u).GetOffset(); now != at && now != at+100_000 {
			t.Errorf("at %d after a break at %d", now, at+100_000)
		} else {
			at = now
		}
		done, err := f.append(f.teacher, u, at, content[at:], nil)
		if err != nil {
			t.Fatal(err)
		}
		if done.GetState() != "done" || done.GetOffset() != int64(len(content)) || done.GetMediaId() == "" {
			t.Errorf("%v", done)
		}
		f.holds(done.GetMediaId(), content)
		if d := cmp.Diff([]int64{int64(len(content)), 0, 0}, f.usage()); d != "" {
			t.Error(d)
		}
		if f.dir != "" && f.objects() > 1 {
			t.Errorf("%d objects", f.objects())
		}
		if n := f.count(`SELECT count(*) FROM transfer WHERE NOT cleaned`); n != 0 {
			t.Error("something is left in the bucket")
		}
		_, err = f.append(f.teacher, u, int64(len(content)), nil, nil)
		code(t, err, media.ErrUploadGone)
	})
}

func (f *fixture) wait(look func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(time.Minute); !look(); {
		if time.Now().After(deadline) {
			f.t.Fatal("out of patience")
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestAppendRefuses(t *testing.T) {
	t.Parallel()
	f := setup(t)
	u := f.create(&mediapb.CreateUploadRequest{Filename: "a.bin", Length: 1000})
	if _, err := f.append(f.teacher, u, 0, random(400), nil); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("x"))
	announce := func(n int64) func(*mediapb.AppendUploadRequest) {
		return func(r *mediapb.AppendUploadRequest) { r.Announced = n }
	}
	for name, c := range map[string]struct {
		offset int64
		n      int
		change func(*mediapb.AppendUploadRequest)
		want   string
	}{
		"an offset before":      {399, 1, nil, "upload.offset"},
		"an offset beyond":      {401, 1, nil, "upload.offset"},
		"more than there is":    {400, 601, nil, "upload.too_long"},
		"more than is said":     {400, 0, announce(601), "upload.too_long"},
		"another length":        {400, 1, func(r *mediapb.AppendUploadRequest) { r.Length = 999 }, "upload.length"},
		"an unknown algorithm":  {400, 1, func(r *mediapb.AppendUploadRequest) { r.ChecksumAlgorithm = "crc32" }, "upload.checksum_algorithm"},
		"another checksum":      {400, 600, func(r *mediapb.AppendUploadRequest) { r.ChecksumAlgorithm, r.Checksum = "sha256", sum[:] }, "upload.checksum_mismatch"},
		"of an absent upload":   {0, 1, func(r *mediapb.AppendUploadRequest) { r.UploadId = id.New("upload") }, "upload.not_found"},
		"of an upload of media": {0, 1, func(r *mediapb.AppendUploadRequest) { r.UploadId = id.New("media") }, ""},
	} {
		_, err := f.append(f.teacher, u, c.offset, random(max(c.n, 2))[:c.n], c.change)
		if fault.CodeOf(err) != c.want && (c.want != "" || !fault.Is(err, fault.Invalid)) {
			t.Errorf("%s: %v", name, err)
		}
		if now := f.get(u).GetOffset(); now != 400 {
			t.Fatalf("%s: the offset is %d", name, now)
		}
	}
	colleague := rpctest.Account(t.Context(), f.colleague)
	for name, ctx := range map[string]context.Context{"somebody else": rpctest.Account(t.Context(), id.New("account")), "a colleague": colleague} {
		if _, err := f.append(ctx, u, 400, random(2), nil); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := f.uploads.GetUpload(colleague, &mediapb.GetUploadRequest{CourseId: f.course, UploadId: u.GetId()})
	code(t, err, media.ErrUploadNotFound)
	_, err = f.uploads.DeleteUpload(colleague, &mediapb.DeleteUploadRequest{CourseId: f.course, UploadId: u.GetId()})
	code(t, err, media.ErrUploadNotFound)
	// With each algorithm, and then to the end.
	for i, sum := range map[string]func([]byte) []byte{
		"md5": func(b []byte) []byte { s := md5.Sum(b); return s[:] }, "sha1": func(b []byte) []byte { s := sha1.Sum(b); return s[:] }, //nolint:gosec // of the protocol
		"sha256": func(b []byte) []byte { s := sha256.Sum256(b); return s[:] },
	} {
		b := random(200)
		if _, err := f.append(f.teacher, u, f.get(u).GetOffset(), b, func(r *mediapb.AppendUploadRequest) { r.ChecksumAlgorithm, r.Checksum = i, sum(b) }); err != nil {
			t.Errorf("%s: %v", i, err)
		}
	}
	if got := f.get(u); got.GetState() != "done" {
		t.Errorf("%v", got)
	}
	for name, c := range map[string]struct {
		req  *mediapb.CreateUploadRequest
		want string
	}{
		"empty":     {&mediapb.CreateUploadRequest{}, "media.empty"},
		"too large": {&mediapb.CreateUploadRequest{Length: maxSize + 1}, "media.too_large"},
		"huge":      {&mediapb.CreateUploadRequest{Length: 1<<63 - 1}, "media.too_large"},
		"both":      {&mediapb.CreateUploadRequest{Length: 1, DeferLength: true}, "request.invalid"},
	} {
		c.req.CourseId = f.course
		if _, err := f.uploads.CreateUpload(f.teacher, c.req); fault.CodeOf(err) != c.want && (c.want != "request.invalid" || !fault.Is(err, fault.Invalid)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHostileUploads: what is not to be stored is stored in no way.
func TestHostileUploads(t *testing.T) {
	t.Parallel()
	f := setup(t)
	html := []byte("<!DOCTYPE html><script>alert(1)</script>" + strings.Repeat(" ", 600))
	for name, c := range map[string]struct {
		content []byte
		pieces  int
		sum     string
		want    *fault.Error
	}{
		"a page at once":      {html, 1, "", media.ErrTypeRefused},
		"a page byte by byte": {html[:20], 20, "", media.ErrTypeRefused},
		"another hash":        {random(300), 3, strings.Repeat("ab", 32), media.ErrChecksum},
	} {
		u := f.create(&mediapb.CreateUploadRequest{Filename: "picture.png", Length: int64(len(c.content)), Sha256: c.sum})
		step := len(c.content) / c.pieces
		var err error
		for at := 0; at < len(c.content) && err == nil; at += step {
			_, err = f.append(f.teacher, u, int64(at), c.content[at:at+step], nil)
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if got := f.get(u); got.GetState() != "failed" || got.GetProblem() != c.want.Code || got.GetMediaId() != "" {
			t.Errorf("%s: %v", name, got)
		}
		_, err = f.append(f.teacher, u, 0, c.content, nil)
		code(t, err, media.ErrUploadGone)
	}
	if n := f.count(`SELECT count(*) FROM media`) + f.objects(); n != 0 {
		t.Errorf("%d things are stored", n)
	}
	if d := cmp.Diff([]int64{0, 0, 0}, f.usage()); d != "" {
		t.Error(d)
	}
}

// TestDeferredLength: what comes is reserved as it comes.
func TestDeferredLength(t *testing.T) {
	t.Parallel()
	f := setupWith(t, func(cfg *media.Config) { cfg.Limits.CourseQuota = 1000 })
	content := random(900)
	u := f.create(&mediapb.CreateUploadRequest{Filename: "a.bin", DeferLength: true})
	if _, err := f.append(f.teacher, u, 0, content[:500], nil); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]int64{0, 500, 1}, f.usage()); d != "" {
		t.Error(d)
	}
	length := func(n int64) func(*mediapb.AppendUploadRequest) {
		return func(r *mediapb.AppendUploadRequest) { r.Length = n }
	}
	if _, err := f.append(f.teacher, u, 500, random(501), nil); fault.CodeOf(err) != "media.quota_exceeded" {
		t.Errorf("over the quota: %v", err)
	}
	if _, err := f.append(f.teacher, u, 500, nil, length(1001)); fault.CodeOf(err) != "media.quota_exceeded" {
		t.Errorf("a length over the quota: %v", err)
	}
	for _, n := range []int64{499, maxSize + 1} {
		if _, err := f.append(f.teacher, u, 500, nil, length(n)); err == nil {
			t.Errorf("a length of %d is taken", n)
		}
	}
	if _, err := f.append(f.teacher, u, 500, content[500:], nil); err != nil {
		t.Fatal(err)
	}
	done, err := f.append(f.teacher, u, 900, nil, length(900))
	if err != nil {
		t.Fatal(err)
	}
	f.holds(done.GetMediaId(), content)
	if d := cmp.Diff([]int64{900, 0, 0}, f.usage()); d != "" {
		t.Error(d)
	}
}

// TestTwoWriters: of two at once one is told to wait; one that stood still too
// long has lost its place, and none of its bytes get between the other's.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, f *fixture) {
		content := random(17 << 20)
		u := f.create(&mediapb.CreateUploadRequest{Filename: "a.bin", Length: int64(len(content))})
		slow, err := f.uploads.AppendUpload(f.teacher)
		if err != nil {
			t.Fatal(err)
		}
		send := func(n int, req *mediapb.AppendUploadRequest) {
			for range n {
				req.Chunk = bytes.Repeat([]byte{0xee}, 1<<20)
				if slow.Send(req) != nil {
					return
				}
				req = &mediapb.AppendUploadRequest{}
			}
		}
		send(3, &mediapb.AppendUploadRequest{CourseId: f.course, UploadId: u.GetId()})
		f.wait(func() bool { return f.count(`SELECT count(*) FROM transfer WHERE writer IS NOT NULL`) == 1 })
		_, err = f.append(f.teacher, u, 0, content, nil)
		code(t, err, media.ErrUploadLocked)
		_, err = f.uploads.DeleteUpload(f.teacher, &mediapb.DeleteUploadRequest{CourseId: f.course, UploadId: u.GetId()})
		code(t, err, media.ErrUploadLocked)
		// As if the first process had not been heard of for long.
		if _, err := f.db.Exec(t.Context(), `UPDATE transfer SET writer_until = '2000-01-01'`); err != nil {
			t.Fatal(err)
		}
		if _, err := f.append(f.teacher, u, 0, content[:9<<20], nil); err != nil {
			t.Fatal(err)
		}
		send(14, &mediapb.AppendUploadRequest{})
		_, err = slow.CloseAndRecv()
		code(t, err, media.ErrUploadLocked)
		done, err := f.append(f.teacher, u, 9<<20, content[9<<20:], nil)
		if err != nil {
			t.Fatal(err)
		}
		f.holds(done.GetMediaId(), content)

		// Many at once, each with bytes of its own: one of them is the file.
		u = f.create(&mediapb.CreateUploadRequest{Filename: "b.bin", Length: 3 << 20})
		var wg sync.WaitGroup
		var won atomic.Int32
		var mediaID atomic.Value
		for _, letter := range "abcdef" {
			wg.Go(func() {
				res, err := f.append(f.teacher, u, 0, bytes.Repeat([]byte(string(letter)), 3<<20), nil)
				switch c := fault.CodeOf(err); {
				case err == nil:
					won.Add(1)
					mediaID.Store([2]string{res.GetMediaId(), string(letter)})
				case c != "upload.locked" && c != "upload.gone" && c != "upload.offset":
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d writers wrote the same upload", won.Load())
		}
		got, _ := mediaID.Load().([2]string)
		f.holds(got[0], bytes.Repeat([]byte(got[1]), 3<<20))
	})
}

// TestQuotaAtOnce: of twenty at once, as many begin as there is room for.
func TestQuotaAtOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits media.Limits
		code   string
		fit    int
	}{
		"of the course":          {media.Limits{CourseQuota: 5500}, "media.quota_exceeded", 5},
		"of the account":         {media.Limits{AccountQuota: 3999, CourseQuota: 100_000}, "media.quota_exceeded", 3},
		"unfinished, an account": {media.Limits{AccountUploads: 4, CourseUploads: 9}, "upload.too_many", 4},
		"unfinished, a course":   {media.Limits{AccountUploads: 9, CourseUploads: 2}, "upload.too_many", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setupWith(t, func(cfg *media.Config) { cfg.Limits = c.limits })
			var wg sync.WaitGroup
			var mu sync.Mutex
			var begun []*mediapb.Upload
			for i := range 20 {
				wg.Go(func() {
					var u *mediapb.Upload
					var err error
					if i%2 == 0 {
						u, err = f.uploads.CreateUpload(f.teacher, &mediapb.CreateUploadRequest{CourseId: f.course, Filename: "a", Length: 1000})
					} else {
						u, err = f.direct.CreateMultipartUpload(f.teacher, &mediapb.CreateMultipartUploadRequest{CourseId: f.course, Filename: "a", Length: 1000})
					}
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						begun = append(begun, u)
					} else if fault.CodeOf(err) != c.code {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if len(begun) != c.fit {
				t.Fatalf("%d have begun, want %d", len(begun), c.fit)
			}
			if d := cmp.Diff([]int64{0, int64(1000 * c.fit), int64(c.fit)}, f.usage()); d != "" {
				t.Error(d)
			}
			// What is given up makes room.
			var err error
			if u := begun[0]; u.GetPartSize() == 0 {
				_, err = f.uploads.DeleteUpload(f.teacher, &mediapb.DeleteUploadRequest{CourseId: f.course, UploadId: u.GetId()})
			} else {
				_, err = f.direct.AbortMultipartUpload(f.teacher, &mediapb.AbortMultipartUploadRequest{CourseId: f.course, UploadId: u.GetId()})
			}
			if err != nil {
				t.Fatal(err)
			}
			f.create(&mediapb.CreateUploadRequest{Filename: "a", Length: 1000})
		})
	}
}

// TestQuotaOfWholeFiles: files that come as a whole are held to it too, and told
// what is left.
func TestQuotaOfWholeFiles(t *testing.T) {
	t.Parallel()
	f := setupWith(t, func(cfg *media.Config) { cfg.Limits.CourseQuota = 5500 })
	var wg sync.WaitGroup
	var fit atomic.Int32
	for range 20 {
		wg.Go(func() {
			_, err := f.upload(f.teacher, f.course, "a.bin", random(1000))
			if err == nil {
				fit.Add(1)
			} else if fault.CodeOf(err) != "media.quota_exceeded" {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if fit.Load() != 5 || f.objects() != 5 {
		t.Errorf("%d files and %d objects fit into 5500 bytes", fit.Load(), f.objects())
	}
	_, err := f.upload(f.teacher, f.course, "a.bin", random(501))
	if e, ok := errors.AsType[*fault.Error](err); !ok || len(e.Fields) != 1 || !strings.Contains(e.Fields[0].Hint, "500 bytes") {
		t.Errorf("%v", err)
	}
	f.mustUpload("b.bin", random(500))
	u, err := f.library.GetMediaUsage(f.teacher, &mediapb.GetMediaUsageRequest{CourseId: f.course})
	if err != nil || u.GetQuota() != 5500 || u.GetLeft() != 0 {
		t.Errorf("%v, %v", u, err)
	}
}

// TestUploadsExpire: what stands still for a day is gone with all it has stored.
func TestUploadsExpire(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, f *fixture) {
		sweep := func() {
			t.Helper()
			if _, err := f.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		u := f.create(&mediapb.CreateUploadRequest{Filename: "a.bin", Length: 20 << 20})
		if _, err := f.append(f.teacher, u, 0, random(9<<20), nil); err != nil {
			t.Fatal(err)
		}
		f.clock.Add(24*3600 - 1)
		if _, err := f.append(f.teacher, u, 9<<20, random(5), nil); err != nil {
			t.Fatal(err)
		}
		f.clock.Add(24*3600 - 1)
		sweep()
		if now := f.get(u).GetOffset(); now != 9<<20+5 {
			t.Errorf("at %d", now)
		}
		f.clock.Add(1)
		_, err := f.append(f.teacher, u, 9<<20+5, random(5), nil)
		code(t, err, media.ErrUploadGone)
		_, err = f.uploads.GetUpload(f.teacher, &mediapb.GetUploadRequest{CourseId: f.course, UploadId: u.GetId()})
		code(t, err, media.ErrUploadNotFound)
		var key string
		if err := f.db.QueryRow(t.Context(), `SELECT 'media/' || media_id FROM transfer`).Scan(&key); err != nil {
			t.Fatal(err)
		}
		sweep()
		if d := cmp.Diff([]int64{0, 0, 0}, f.usage()); d != "" {
			t.Error(d)
		}
		if n := f.count(`SELECT count(*) FROM transfer`); n != 0 {
			t.Errorf("%d uploads are left", n)
		}
		if left, err := f.bucket.Multiparts(t.Context(), key, time.Now().Add(time.Hour)); err != nil || len(left) != 0 {
			t.Errorf("parts are left: %v, %v", left, err)
		}
	})
}

// TestStrayParts: an upload of the bucket that nothing names is aborted.
func TestStrayParts(t *testing.T) {
	t.Parallel()
	f := setupWith(t, large)
	named := f.create(&mediapb.CreateUploadRequest{Filename: "a.bin", Length: 20 << 20})
	if _, err := f.append(f.teacher, named, 0, random(9<<20), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := f.bucket.CreateMultipart(t.Context(), "media/"+id.New("media"), "text/plain", false); err != nil {
		t.Fatal(err)
	}
	f.clock.Store(int64(time.Since(start)/time.Second) + 49*3600)
	if _, err := f.db.Exec(t.Context(), `UPDATE transfer SET expires_at = '2999-01-01'`); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := f.bucket.Multiparts(t.Context(), "media/", time.Now().Add(time.Hour))
	if err != nil || len(left) != 1 {
		t.Errorf("left are %v, %v", left, err)
	}
	if n := f.count(`SELECT count(*) FROM transfer WHERE bucket_upload = $1`, left[0].Upload); n != 1 {
		t.Error("the wrong one was aborted")
	}
}

// TestFinishedByOthers: an upload whose process dies between its last byte and
// the file is finished by whoever looks next, once.
func TestFinishedByOthers(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, f *fixture) {
		content := random(9 << 20)
		u := f.create(&mediapb.CreateUploadRequest{Filename: "a.bin", Length: int64(len(content))})
		done, err := f.append(f.teacher, u, 0, content, nil)
		if err != nil {
			t.Fatal(err)
		}
		// As it was before: the object may be there already.
		for _, sql := range []string{
			`DELETE FROM media`, `UPDATE transfer SET state = 'finishing', reserved = length, writer = 'dead', writer_until = clock_timestamp() + interval '1 hour'`,
			`UPDATE usage SET used = 0, reserved = 9 << 20, unfinished = 1`,
		} {
			if _, err := f.db.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		finish := func() {
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					if err := f.Finish(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		finish()
		if got := f.get(u); got.GetState() != "finishing" || got.GetOffset() != int64(len(content)) {
			t.Errorf("while somebody holds it: %v", got)
		}
		if _, err := f.db.Exec(t.Context(), `UPDATE transfer SET writer_until = '2000-01-01'`); err != nil {
			t.Fatal(err)
		}
		finish()
		if n := f.count(`SELECT count(*) FROM media`); n != 1 || f.get(u).GetMediaId() != done.GetMediaId() {
			t.Errorf("%d files, %v", n, f.get(u))
		}
		f.holds(done.GetMediaId(), content)
		if d := cmp.Diff([]int64{int64(len(content)), 0, 0}, f.usage()); d != "" {
			t.Error(d)
		}
	})
}

func TestListMyUploads(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var want []string
	for i := range 5 {
		f.clock.Add(1)
		want = append([]string{f.create(&mediapb.CreateUploadRequest{Filename: fmt.Sprint(i), Length: 10}).GetId()}, want...)
	}
	if _, err := f.uploads.DeleteUpload(f.teacher, &mediapb.DeleteUploadRequest{CourseId: f.course, UploadId: want[4]}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		res, err := f.uploads.ListMyUploads(f.teacher, &mediapb.ListMyUploadsRequest{PageSize: 3, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range res.GetItems() {
			got = append(got, u.GetId())
		}
		cursor = res.GetNextCursor()
	}
	if d := cmp.Diff(want[:4], got); d != "" {
		t.Error(d)
	}
	res, err := f.uploads.ListMyUploads(rpctest.Account(t.Context(), id.New("account")), &mediapb.ListMyUploadsRequest{})
	if err != nil || len(res.GetItems()) != 0 {
		t.Errorf("somebody else sees %v, %v", res, err)
	}
}
