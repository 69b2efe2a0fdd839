package media_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/media"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

func hexSum(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func (f *fixture) sign(u *mediapb.Upload, number int32, content []byte) (*mediapb.SignedPart, error) {
	res, err := f.direct.SignParts(f.teacher, &mediapb.SignPartsRequest{CourseId: f.course, UploadId: u.GetId(), Parts: []*mediapb.PartToSign{
		{Number: number, Size: int64(len(content)), Sha256: strings.ToUpper(hexSum(content))},
	}})
	if err != nil {
		return nil, err
	}
	return res.GetParts()[0], nil
}

// put sends a part as a client does: to S3, or to the edge, of which a call of
// the contract takes the place here.
func (f *fixture) put(p *mediapb.SignedPart, content []byte) (etag string) {
	f.t.Helper()
	if strings.HasPrefix(p.GetUrl(), "/") {
		etag, _ = f.putFolder(p.GetUrl(), content)
		return etag
	}
	req, err := http.NewRequestWithContext(f.t.Context(), p.GetMethod(), p.GetUrl(), bytes.NewReader(content))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, h := range p.GetHeaders() {
		req.Header.Set(h.GetName(), h.GetValue())
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Log(err)
		return ""
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return ""
	}
	return res.Header.Get("ETag")
}

func (f *fixture) putFolder(address string, content []byte) (string, error) {
	f.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		f.t.Fatal(err)
	}
	path, q := strings.Split(u.Path, "/"), u.Query()
	number, _ := strconv.ParseInt(path[5], 10, 32)
	size, _ := strconv.ParseInt(q.Get("size"), 10, 64)
	expires, _ := strconv.ParseInt(q.Get("expires"), 10, 64)
	stream, err := f.direct.PutPart(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	req := &mediapb.PutPartRequest{
		UploadId: path[3], Number: int32(number), Size: size, Sha256: q.Get("sha256"), Expires: expires, Signature: q.Get("signature"),
	}
	for first := true; first || len(content) > 0; first = false {
		n := min(1<<20, len(content))
		req.Chunk, content = content[:n], content[n:]
		if stream.Send(req) != nil {
			break
		}
		req = &mediapb.PutPartRequest{}
	}
	res, err := stream.CloseAndRecv()
	return res.GetEtag(), err
}

func (f *fixture) begin(content []byte, sum string) *mediapb.Upload {
	f.t.Helper()
	u, err := f.direct.CreateMultipartUpload(f.teacher, &mediapb.CreateMultipartUploadRequest{
		CourseId: f.course, Filename: "direct.bin", Length: int64(len(content)), Sha256: sum,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return u
}

func (f *fixture) complete(u *mediapb.Upload, etags ...string) (*mediapb.Upload, error) {
	req := &mediapb.CompleteMultipartUploadRequest{CourseId: f.course, UploadId: u.GetId()}
	for i, etag := range etags {
		req.Parts = append(req.Parts, &mediapb.SentPart{Number: int32(i + 1), Etag: etag})
	}
	return f.direct.CompleteMultipartUpload(f.teacher, req)
}

// TestDirect: parts that are sent to the bucket, several at a time, make the file,
// and nothing is believed of who sends them.
func TestDirect(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, f *fixture) {
		content := random(20<<20 + 3)
		u := f.begin(content, hexSum(content))
		size := int(u.GetPartSize())
		var parts [][]byte
		for rest := content; len(rest) > 0; {
			n := min(size, len(rest))
			parts, rest = append(parts, rest[:n]), rest[n:]
		}
		for name, c := range map[string]struct {
			number int32
			size   int
		}{"too long": {1, size + 1}, "too short": {1, size - 1}, "beyond the end": {4, 1}, "a longer end": {3, len(parts[2]) + 1}} {
			if _, err := f.sign(u, c.number, make([]byte, c.size)); fault.CodeOf(err) != "upload.part" {
				t.Errorf("signed %s: %v", name, err)
			}
		}
		etags := make([]string, len(parts))
		var wg sync.WaitGroup
		for i, part := range parts {
			wg.Go(func() {
				signed, err := f.sign(u, int32(i+1), part) //nolint:gosec // there are three
				if err != nil {
					t.Error(err)
					return
				}
				other := bytes.Clone(part)
				other[len(other)-1]++
				for _, wrong := range [][]byte{other, part[:len(part)-1], append(bytes.Clone(part), 'x'), nil} {
					if etag := f.put(signed, wrong); etag != "" {
						t.Errorf("part %d: %d other bytes are taken", i+1, len(wrong))
					}
				}
				if etags[i] = f.put(signed, part); etags[i] == "" {
					t.Errorf("part %d is not taken", i+1)
				}
			})
		}
		wg.Wait()
		for name, named := range map[string][]string{"one missing": etags[:2], "another ETag": {etags[1], etags[1], etags[2]}, "one that was not sent": append(etags[:3:3], etags[2])} {
			if _, err := f.complete(u, named...); fault.CodeOf(err) != "upload.part" && fault.CodeOf(err) != "upload.length" {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := f.count(`SELECT count(*) FROM media`); n != 0 {
			t.Fatal("there is a file")
		}
		ids := make([]string, 4)
		for i := range ids {
			wg.Go(func() {
				done, err := f.complete(u, etags...)
				if err != nil && fault.CodeOf(err) != "upload.locked" {
					t.Error(err)
				}
				ids[i] = done.GetMediaId()
			})
		}
		wg.Wait()
		done, err := f.complete(u, etags...)
		if err != nil || done.GetState() != "done" {
			t.Fatalf("said again: %v, %v", done, err)
		}
		for _, other := range ids {
			if other != "" && other != done.GetMediaId() {
				t.Errorf("%s and %s", other, done.GetMediaId())
			}
		}
		f.holds(done.GetMediaId(), content)
		if d := cmp.Diff([]int64{int64(len(content)), 0, 0}, f.usage()); d != "" {
			t.Error(d)
		}
		if _, err := f.sign(u, 1, parts[0]); fault.CodeOf(err) != "upload.gone" {
			t.Errorf("signed after the end: %v", err)
		}
	})
}

func TestDirectRefuses(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, f *fixture) {
		page := []byte("<!DOCTYPE html><script>alert(1)</script>")
		for name, c := range map[string]struct {
			content []byte
			sum     string
			want    *fault.Error
		}{"a page": {page, "", media.ErrTypeRefused}, "another hash": {random(500), strings.Repeat("ab", 32), media.ErrChecksum}} {
			u := f.begin(c.content, c.sum)
			signed, err := f.sign(u, 1, c.content)
			if err != nil {
				t.Fatal(err)
			}
			etag := f.put(signed, c.content)
			for range 2 {
				_, err := f.complete(u, etag)
				code(t, err, c.want)
			}
			if got := f.get(u); got.GetState() != "failed" || got.GetProblem() != c.want.Code {
				t.Errorf("%s: %v", name, got)
			}
		}
		// Given up, and what was signed for it is good for nothing.
		content := random(500)
		u := f.begin(content, "")
		signed, err := f.sign(u, 1, content)
		if err != nil {
			t.Fatal(err)
		}
		req := &mediapb.AbortMultipartUploadRequest{CourseId: f.course, UploadId: u.GetId()}
		_, err = f.direct.AbortMultipartUpload(rpctest.Account(t.Context(), f.colleague), req)
		code(t, err, media.ErrUploadNotFound)
		if _, err := f.direct.AbortMultipartUpload(f.teacher, req); err != nil {
			t.Fatal(err)
		}
		if f.put(signed, content) != "" {
			t.Error("a part of an upload that was given up is taken")
		}
		_, err = f.complete(u, "x")
		code(t, err, media.ErrUploadNotFound)
		if n := f.count(`SELECT count(*) FROM media`) + f.objects(); n != 0 {
			t.Errorf("%d things are stored", n)
		}
		if d := cmp.Diff([]int64{0, 0, 0}, f.usage()); d != "" {
			t.Error(d)
		}
	})
}

// TestPartAddresses: nobody makes one up, and they end.
func TestPartAddresses(t *testing.T) {
	t.Parallel()
	f := setup(t)
	content := random(500)
	u := f.begin(content, "")
	signed, err := f.sign(u, 1, content)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{{"size=500", "size=499"}, {"parts/1", "parts/2"}, {"expires=", "expires=1"}, {"signature=", "signature=x"}, {hexSum(content), hexSum(nil)}} {
		_, err := f.putFolder(strings.Replace(signed.GetUrl(), change[0], change[1], 1), content)
		code(t, err, media.ErrUploadNotFound)
	}
	f.clock.Add(3600)
	_, err = f.putFolder(signed.GetUrl(), content)
	code(t, err, media.ErrLinkExpired)
}

// TestDirectLarge: what takes long to look at is finished behind the call.
func TestDirectLarge(t *testing.T) {
	t.Parallel()
	f := setupWith(t, large)
	content := random(65 << 20)
	u := f.begin(content, "")
	var etags []string
	for n, rest := int32(1), content; len(rest) > 0; n++ {
		size := min(int(u.GetPartSize()), len(rest))
		signed, err := f.sign(u, n, rest[:size])
		if err != nil {
			t.Fatal(err)
		}
		etags = append(etags, f.put(signed, rest[:size]))
		rest = rest[size:]
	}
	for range 2 {
		got, err := f.complete(u, etags...)
		if err != nil || got.GetState() != "finishing" || got.GetMediaId() != "" {
			t.Fatalf("%v, %v", got, err)
		}
	}
	if err := f.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.holds(f.get(u).GetMediaId(), content)
}
