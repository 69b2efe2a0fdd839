package story_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/id"
)

// content makes bytes of no known type, the same for a seed.
func content(seed byte, n int) []byte {
	out := make([]byte, n)
	r := rand.NewChaCha8([32]byte{seed})
	_, _ = r.Read(out)
	copy(out, "\x00\x01")
	return out
}

// tus makes a request of the protocol.
func (p *person) tus(ctx context.Context, method, path string, body io.Reader, header ...string) (answer, error) {
	if !strings.HasPrefix(path, "http") {
		path = p.in.edge + path
	}
	req, err := http.NewRequestWithContext(ctx, method, path, body)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	req.Header.Set("Tus-Resumable", "1.0.0")
	if body != nil {
		req.Header.Set("Content-Type", "application/offset+octet-stream")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if req.Header.Del(header[i]); header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return answer{status: res.StatusCode, header: res.Header, body: text}, err
}

func (p *person) mustTus(t testing.TB, want int, method, path string, body io.Reader, header ...string) answer {
	t.Helper()
	a, err := p.tus(t.Context(), method, path, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	if a.status != want {
		t.Fatalf("%s %s: %s, want %d", method, path, a, want)
	}
	if a.header.Get("Tus-Resumable") != "1.0.0" {
		t.Errorf("%s %s: no version", method, path)
	}
	return a
}

// offset asks until the upload says where it goes on.
func (p *person) offset(t testing.TB, upload string) (at int) {
	t.Helper()
	eventually(t, time.Minute, "the upload answers", func() (bool, string) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		a, err := p.tus(ctx, "HEAD", upload, nil)
		if err != nil || a.status != 200 {
			return false, fmt.Sprint(a.status, err)
		}
		if a.header.Get("Cache-Control") != "no-store" {
			t.Error("a cache may keep the offset")
		}
		at, err = strconv.Atoi(a.header.Get("Upload-Offset"))
		return err == nil, a.String()
	})
	return at
}

// trickle reads slowly enough to be interrupted, and says how far it came.
type trickle struct {
	r    io.Reader
	sent int
	at   func(sent int)
}

func (s *trickle) Read(p []byte) (int, error) {
	n, err := s.r.Read(p[:min(len(p), 64<<10)])
	s.sent += n
	s.at(s.sent)
	return n, err
}

// uploadKilled: 50 MiB come in pieces, while what takes them is killed again
// and again. What was acknowledged is there, and the file is what was sent.
func uploadKilled(t *testing.T, in *installation) {
	t.Helper()
	killed := []string{"stoa", "stoa", "stoa"}
	if in.broker != nil {
		killed = []string{"media", "edge", "media"}
	}
	teacher := in.signUp(t, "Upload Teacher")
	course, _ := draft(t, teacher, "Uploads")
	want := content(7, 50<<20)
	sum := sha256.Sum256(want)
	meta := "filename " + base64.StdEncoding.EncodeToString([]byte("lecture.bin")) + ",sha256 " + base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString(sum[:])))
	made := teacher.mustTus(t, 201, "POST", "/v1/courses/"+course+"/uploads", nil, "Upload-Length", strconv.Itoa(len(want)), "Upload-Metadata", meta)
	upload := made.header.Get("Location")
	acknowledged, kills := 0, 0
	for at := 0; at < len(want); at = teacher.offset(t, upload) {
		if at < acknowledged {
			t.Fatalf("%d bytes are there of %d that were acknowledged", at, acknowledged)
		}
		size, until := min(6<<20+rand.IntN(12<<20), len(want)-at), -1 //nolint:gosec // sizes of pieces
		var victim *process
		if kills < len(killed) && acknowledged > 0 {
			victim, until = in.processes[killed[kills]], size/2+size/4
			kills++
		}
		body := &trickle{r: bytes.NewReader(want[at : at+size])}
		body.at = func(sent int) {
			if victim != nil && sent >= until {
				victim.kill()
				victim.start()
				victim = nil
			}
		}
		req, cancel := context.WithTimeout(t.Context(), time.Minute)
		a, err := teacher.tus(req, "PATCH", upload, body, "Upload-Offset", strconv.Itoa(at))
		cancel()
		switch {
		case a.status == http.StatusLocked: // until nobody hears of the killed one any more
			again, err := strconv.Atoi(a.header.Get("Retry-After"))
			if err != nil {
				t.Fatalf("a locked upload does not say when it may go on: %v", a.header)
			}
			after(t.Context(), time.Duration(again)*time.Second)
		case err != nil, a.status >= 500:
			t.Logf("a piece of %d bytes at %d: %d %v", size, at, a.status, err)
			in.waitReady()
		case a.status != http.StatusNoContent:
			t.Fatalf("a piece at %d: %s", at, a)
		default:
			if acknowledged, err = strconv.Atoi(a.header.Get("Upload-Offset")); err != nil || acknowledged != at+size {
				t.Fatalf("a piece of %d bytes at %d: %v", size, at, a.header)
			}
		}
	}
	if kills != len(killed) {
		t.Errorf("only %d processes were killed", kills)
	}
	mediaID := teacher.sees(t, time.Minute, "the upload is a file", upload, func(a answer) bool { return a.text("media_id") != "" }).text("media_id")
	m := teacher.do(t, 200, "GET", "/v1/courses/"+course+"/media/"+mediaID, nil)
	got := in.nobody().do(t, 200, "GET", m.text("url"), nil)
	if !bytes.Equal(got.body, want) || m.text("sha256") != hex.EncodeToString(sum[:]) {
		t.Errorf("%d bytes came back otherwise: %s", len(got.body), m)
	}
	usage := teacher.do(t, 200, "GET", "/v1/courses/"+course+"/media-usage", nil)
	if usage.number("reserved") != 0 || usage.number("unfinished") != 0 || usage.number("used") < len(want) {
		t.Errorf("%s", usage)
	}
}

// TestTus holds the edge to the protocol.
func TestTus(t *testing.T) {
	t.Parallel()
	in := shared(t)
	teacher := in.signUp(t, "Tus Teacher")
	course, _ := draft(t, teacher, "Tus")
	all := "/v1/courses/" + course + "/uploads"
	for _, path := range []string{all, all + "/" + id.New("upload")} {
		a := in.nobody()
		o, err := a.tus(t.Context(), "OPTIONS", path, nil, "Tus-Resumable", "", "Authorization", "")
		if err != nil || o.status != 204 || o.header.Get("Tus-Version") != "1.0.0" || o.header.Get("Tus-Max-Size") != "2147483648" ||
			o.header.Get("Tus-Extension") != "creation,creation-with-upload,creation-defer-length,expiration,termination,checksum" || o.header.Get("Tus-Checksum-Algorithm") != "md5,sha1,sha256" {
			t.Errorf("OPTIONS %s: %s %v", path, o, err)
		}
	}
	for name, c := range map[string]struct {
		status int
		header []string
	}{
		"another version":        {412, []string{"Tus-Resumable", "0.2.2", "Upload-Length", "5"}},
		"no version":             {412, []string{"Tus-Resumable", "", "Upload-Length", "5"}},
		"no length":              {400, nil},
		"both lengths":           {400, []string{"Upload-Length", "5", "Upload-Defer-Length", "1"}},
		"deferred otherwise":     {400, []string{"Upload-Defer-Length", "2"}},
		"a length that is none":  {400, []string{"Upload-Length", "-5"}},
		"too long":               {413, []string{"Upload-Length", "2147483649"}},
		"longer than there are":  {413, []string{"Upload-Length", "99999999999999999999"}},
		"nothing":                {400, []string{"Upload-Length", "0"}},
		"metadata of no form":    {400, []string{"Upload-Length", "5", "Upload-Metadata", "filename ***"}},
		"metadata twice":         {400, []string{"Upload-Length", "5", "Upload-Metadata", "a YQ==,a YQ=="}},
		"a hash that is none":    {400, []string{"Upload-Length", "5", "Upload-Metadata", "sha256 YQ=="}},
		"concatenation":          {400, []string{"Upload-Length", "5", "Upload-Concat", "partial"}},
		"metadata without value": {201, []string{"Upload-Length", "5", "Upload-Metadata", "filename YS50eHQ=, is_confidential"}},
	} {
		if a := teacher.mustTus(t, c.status, "POST", all, nil, c.header...); c.status == 412 && a.header.Get("Tus-Version") != "1.0.0" {
			t.Errorf("%s: %v", name, a.header)
		}
	}
	// Created with its first bytes, and told more.
	made := teacher.mustTus(t, 201, "POST", all, strings.NewReader("hello"), "Upload-Length", "11", "Upload-Metadata", "filename YS50eHQ=")
	upload := made.header.Get("Location")
	if made.header.Get("Upload-Offset") != "5" || made.header.Get("Upload-Expires") == "" {
		t.Errorf("%v", made.header)
	}
	head := teacher.mustTus(t, 200, "HEAD", upload, nil)
	if head.header.Get("Upload-Length") != "11" || head.header.Get("Upload-Offset") != "5" || head.header.Get("Upload-Metadata") != "filename YS50eHQ=" {
		t.Errorf("%v", head.header)
	}
	sum := sha256.Sum256([]byte(" world"))
	good := "sha256 " + base64.StdEncoding.EncodeToString(sum[:])
	for name, c := range map[string]struct {
		status int
		body   string
		header []string
	}{
		"no offset":           {400, " world", nil},
		"an offset before":    {409, " world", []string{"Upload-Offset", "4"}},
		"an offset beyond":    {409, " world", []string{"Upload-Offset", "6"}},
		"another type":        {415, " world", []string{"Upload-Offset", "5", "Content-Type", "text/plain"}},
		"another version":     {412, " world", []string{"Upload-Offset", "5", "Tus-Resumable", "2.0.0"}},
		"another checksum":    {460, " w0rld", []string{"Upload-Offset", "5", "Upload-Checksum", good}},
		"an odd checksum":     {400, " world", []string{"Upload-Offset", "5", "Upload-Checksum", "sha256"}},
		"an odd algorithm":    {400, " world", []string{"Upload-Offset", "5", "Upload-Checksum", "crc32 YQ=="}},
		"more than were said": {413, " world and more", []string{"Upload-Offset", "5"}},
	} {
		teacher.mustTus(t, c.status, "PATCH", upload, strings.NewReader(c.body), c.header...)
		if at := teacher.offset(t, upload); at != 5 {
			t.Fatalf("%s: the offset is %d", name, at)
		}
	}
	done := teacher.mustTus(t, 204, "POST", upload, strings.NewReader(" world"), "X-HTTP-Method-Override", "PATCH", "Upload-Offset", "5", "Upload-Checksum", good)
	mediaID := done.header.Get("Stoa-Media-Id")
	if done.header.Get("Upload-Offset") != "11" || mediaID == "" {
		t.Fatalf("%v", done.header)
	}
	m := teacher.do(t, 200, "GET", "/v1/courses/"+course+"/media/"+mediaID, nil)
	if got := teacher.do(t, 200, "GET", m.text("url"), nil); string(got.body) != "hello world" || m.text("filename") != "a.txt" {
		t.Errorf("%s %s", m, got.body)
	}
	if at := teacher.offset(t, upload); at != 11 {
		t.Errorf("after the end the offset is %d", at)
	}
	teacher.mustTus(t, 410, "PATCH", upload, strings.NewReader("x"), "Upload-Offset", "11")
	teacher.mustTus(t, 410, "DELETE", upload, nil)

	// Deferred, refused, given up.
	upload = teacher.mustTus(t, 201, "POST", all, nil, "Upload-Defer-Length", "1").header.Get("Location")
	if h := teacher.mustTus(t, 200, "HEAD", upload, nil).header; h.Get("Upload-Defer-Length") != "1" || h.Get("Upload-Length") != "" {
		t.Errorf("%v", h)
	}
	teacher.mustTus(t, 204, "PATCH", upload, strings.NewReader("<!DOCTYPE"), "Upload-Offset", "0")
	a := teacher.mustTus(t, 400, "PATCH", upload, strings.NewReader(" html>"), "Upload-Offset", "9", "Upload-Length", "15")
	if !bytes.Contains(a.body, []byte("media.type_refused")) {
		t.Errorf("%s", a)
	}
	teacher.mustTus(t, 410, "HEAD", upload, nil)
	upload = teacher.mustTus(t, 201, "POST", all, strings.NewReader("abc"), "Upload-Length", "900000").header.Get("Location")
	in.nobody().mustTus(t, 401, "HEAD", upload, nil, "Authorization", "")
	in.signUp(t, "Tus Outsider").mustTus(t, 404, "HEAD", upload, nil)
	// One writes slowly, another is told to wait. Whoever comes first writes, so that
	// the slow one begins again when it was the other.
	var slow *io.PipeWriter
	result := make(chan error, 1)
	begin := func() {
		var pipe *io.PipeReader
		pipe, slow = io.Pipe()
		go func() {
			a, err := teacher.tus(t.Context(), "PATCH", upload, pipe, "Upload-Offset", "3")
			_ = pipe.CloseWithError(io.ErrClosedPipe)
			if err == nil && a.status != 204 {
				err = errors.New(a.String())
			}
			result <- err
		}()
		_, _ = slow.Write(make([]byte, 500_000)) // more than a client holds back
	}
	begin()
	eventually(t, soon, "somebody writes", func() (bool, string) {
		select {
		case err := <-result:
			t.Logf("the other was first: %v", err)
			begin()
		default:
		}
		a, err := teacher.tus(t.Context(), "PATCH", upload, strings.NewReader(""), "Upload-Offset", "3")
		return err == nil && a.status == http.StatusLocked, a.String()
	})
	// Who is refused hears it at once, though the body has not ended.
	pipe, unfinished := io.Pipe()
	go func() { _, _ = unfinished.Write(make([]byte, 100)) }()
	teacher.mustTus(t, http.StatusLocked, "PATCH", upload, pipe, "Upload-Offset", "3")
	_ = unfinished.Close()
	_ = slow.Close()
	if err := <-result; err != nil {
		t.Error(err)
	}
	if at := teacher.offset(t, upload); at != 500_003 {
		t.Errorf("the offset is %d", at)
	}
	teacher.mustTus(t, 204, "DELETE", upload, nil)
	teacher.mustTus(t, 404, "HEAD", upload, nil)
	teacher.mustTus(t, 404, "PATCH", upload, strings.NewReader("x"), "Upload-Offset", "5")
	if a := teacher.do(t, 200, "GET", "/v1/me/uploads", nil); len(a.items()) != 1 { // of those without a value
		t.Errorf("%s", a)
	}
}

// TestDirectParts: parts go to the addresses that are given, here the edge's own.
func TestDirectParts(t *testing.T) {
	t.Parallel()
	in := shared(t)
	teacher := in.signUp(t, "Parts Teacher")
	course, _ := draft(t, teacher, "Parts")
	want := content(3, 9<<20)
	u := teacher.do(t, 201, "POST", "/v1/courses/"+course+"/multipart-uploads", map[string]any{"filename": "a.bin", "length": len(want)})
	path, size := "/v1/courses/"+course+"/multipart-uploads/"+u.text("id"), u.number("part_size")
	var parts []map[string]any
	for n := 1; (n-1)*size < len(want); n++ {
		part := want[(n-1)*size : min(n*size, len(want))]
		sum := sha256.Sum256(part)
		signed := teacher.do(t, 200, "POST", path+"/sign", map[string]any{"parts": []any{map[string]any{"number": n, "size": len(part), "sha256": hex.EncodeToString(sum[:])}}})
		list, _ := signed.at("parts").([]any)
		first, _ := list[0].(map[string]any)
		address, _ := first["url"].(string)
		in.nobody().do(t, 400, "PUT", address, part[1:])
		in.nobody().do(t, 404, "PUT", strings.Replace(address, "signature=", "signature=x", 1), part)
		parts = append(parts, map[string]any{"number": n, "etag": in.nobody().do(t, 200, "PUT", address, part).header.Get("ETag")})
	}
	done := teacher.do(t, 200, "POST", path+"/complete", map[string]any{"parts": parts})
	m := teacher.do(t, 200, "GET", "/v1/courses/"+course+"/media/"+done.text("media_id"), nil)
	if got := teacher.do(t, 200, "GET", m.text("url"), nil); !bytes.Equal(got.body, want) {
		t.Errorf("%d bytes came back otherwise", len(got.body))
	}
	teacher.do(t, 204, "DELETE", "/v1/courses/"+course+"/media/"+m.text("id"), nil)
	teacher.do(t, 404, "GET", "/v1/courses/"+course+"/media/"+m.text("id"), nil)
	teacher.do(t, 200, "POST", "/v1/courses/"+course+"/media/"+m.text("id")+"/restore", map[string]any{})
	teacher.do(t, 200, "GET", "/v1/courses/"+course+"/media/"+m.text("id"), nil)
	teacher.do(t, 409, "DELETE", path, nil)
}

// BenchmarkUpload sends 256 MiB to a folder bucket by tus and as a whole, in turns
// with a handler that copies the body to a file and does nothing else.
func BenchmarkUpload(b *testing.B) {
	const size = 256 << 20
	in := oneProcess(b)
	teacher := in.signUp(b, "Bench Teacher")
	course, _ := draft(b, teacher, "Bench")
	dir := b.TempDir()
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Create(filepath.Join(dir, "file")) //nolint:gosec // the folder of the test
		if err == nil {
			_, err = io.Copy(f, r.Body)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer bare.Close()
	want := content(1, size)
	var spent [3]time.Duration
	for b.Loop() {
		upload := teacher.mustTus(b, 201, "POST", "/v1/courses/"+course+"/uploads", nil, "Upload-Length", strconv.Itoa(size)).header.Get("Location")
		for i, send := range []func(){
			func() {
				if a, err := teacher.tus(b.Context(), "POST", bare.URL, bytes.NewReader(want)); err != nil || a.status != 200 {
					b.Fatal(a, err)
				}
			},
			func() { teacher.do(b, 201, "POST", "/v1/courses/"+course+"/media?filename=a.bin", want) },
			func() { teacher.mustTus(b, 204, "PATCH", upload, bytes.NewReader(want), "Upload-Offset", "0") },
		} {
			start := time.Now()
			send()
			spent[i] += time.Since(start)
		}
	}
	rate := func(d time.Duration) float64 { return float64(size>>20) * float64(b.N) / d.Seconds() }
	b.ReportMetric(rate(spent[0]), "bare-MiB/s")
	b.ReportMetric(rate(spent[1]), "whole-MiB/s")
	b.ReportMetric(rate(spent[2]), "tus-MiB/s")
	b.ReportMetric(float64(spent[0])/float64(spent[1]), "whole-ratio")
	b.ReportMetric(float64(spent[0])/float64(spent[2]), "tus-ratio")
}
