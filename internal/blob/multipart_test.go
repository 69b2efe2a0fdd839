package blob_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/blob"
	"github.com/stoa-lms/stoa/internal/id"
)

// TestMultipart is what every kind of bucket promises of objects in parts.
func TestMultipart(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) *blob.Bucket{"folder": openFolder, "s3": openS3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for name, test := range map[string]func(*testing.T, *blob.Bucket){
				"in order": inParts, "what is wrong with parts": wrongParts, "given up": abortedParts, "prefix": prefix,
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					test(t, open(t))
				})
			}
		})
	}
}

func putPart(t *testing.T, b *blob.Bucket, key, upload string, number int32, content []byte) blob.Part {
	t.Helper()
	p, err := b.PutPart(t.Context(), key, upload, number, bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	if p.Number != number || p.Size != int64(len(content)) || p.ETag == "" {
		t.Errorf("part %+v", p)
	}
	return p
}

func begin(t *testing.T, b *blob.Bucket) (key, upload string) {
	t.Helper()
	key = id.New("media/parts")
	upload, err := b.CreateMultipart(t.Context(), key, "text/plain", false)
	if err != nil {
		t.Fatal(err)
	}
	return key, upload
}

func inParts(t *testing.T, b *blob.Bucket) {
	key, upload := begin(t, b)
	first, last, other := random(blob.MinPart), random(10), random(blob.MinPart+1)
	one := putPart(t, b, key, upload, 1, other)
	last9 := putPart(t, b, key, upload, 9, last)
	replaced := putPart(t, b, key, upload, 1, first)
	putPart(t, b, key, upload, 4, random(100)) // which is not named in the end
	if one.ETag == replaced.ETag {
		t.Error("an ETag does not tell the content")
	}
	listed, err := b.ListParts(t.Context(), key, upload)
	if err != nil {
		t.Fatal(err)
	}
	if len(listed) != 3 || listed[0].Number != 1 || listed[0].Size != blob.MinPart || listed[0].ETag != replaced.ETag || listed[2].ETag != last9.ETag {
		t.Errorf("parts %+v", listed)
	}
	if _, err := b.Stat(t.Context(), key); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("there is an object before it is complete: %v", err)
	}
	if err := b.CompleteMultipart(t.Context(), key, upload, []blob.Part{replaced, last9}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, b, key, 0, -1); !bytes.Equal(got, append(bytes.Clone(first), last...)) {
		t.Errorf("%d bytes read differently", len(got))
	}
	if err := b.CompleteMultipart(t.Context(), key, upload, []blob.Part{replaced, last9}); err != nil && !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("completed again: %v", err)
	}
	if _, err := b.PutPart(t.Context(), key, upload, 10, bytes.NewReader(last), 10); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("a part after the end: %v", err)
	}
}

func wrongParts(t *testing.T, b *blob.Bucket) {
	key, upload := begin(t, b)
	one, two := putPart(t, b, key, upload, 1, random(blob.MinPart)), putPart(t, b, key, upload, 2, random(3))
	short := putPart(t, b, key, upload, 3, random(3))
	lying := two
	lying.ETag = one.ETag
	absent := blob.Part{Number: 7, ETag: one.ETag, Size: 3}
	for name, parts := range map[string][]blob.Part{
		"another content": {one, lying}, "absent": {one, absent}, "out of order": {two, one}, "a short one in the middle": {one, two, short},
	} {
		if err := b.CompleteMultipart(t.Context(), key, upload, parts); !errors.Is(err, blob.ErrBadPart) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := b.PutPart(t.Context(), key, upload, 4, bytes.NewReader(random(3)), 5); err == nil {
		t.Error("a part that ends too early is stored")
	}
	if _, err := b.Stat(t.Context(), key); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("wrong parts made an object: %v", err)
	}
	// It can still be completed.
	if err := b.CompleteMultipart(t.Context(), key, upload, []blob.Part{one, two}); err != nil {
		t.Error(err)
	}
}

func abortedParts(t *testing.T, b *blob.Bucket) {
	key, upload := begin(t, b)
	putPart(t, b, key, upload, 1, random(10))
	find := func() (n int) {
		found, err := b.Multiparts(t.Context(), key, time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	if n := find(); n != 1 {
		t.Errorf("%d uploads are found", n)
	}
	if old, err := b.Multiparts(t.Context(), key, time.Now().Add(-time.Hour)); err != nil || len(old) != 0 {
		t.Errorf("of an hour ago: %v, %v", old, err)
	}
	for range 2 {
		if err := b.AbortMultipart(t.Context(), key, upload); err != nil {
			t.Fatal(err)
		}
	}
	if n := find(); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
	if _, err := b.ListParts(t.Context(), key, upload); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("parts of an aborted upload: %v", err)
	}
	if _, err := b.PutPart(t.Context(), key, upload, 1, bytes.NewReader(nil), 0); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("a part of an aborted upload: %v", err)
	}
}

func prefix(t *testing.T, b *blob.Bucket) {
	dir := id.New("variants/x")
	for _, name := range []string{dir + "/a", dir + "/b/c", dir + "x"} {
		if err := b.Put(t.Context(), name, bytes.NewReader([]byte("x")), "text/plain"); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := b.DeletePrefix(t.Context(), dir+"/"); err != nil {
			t.Fatal(err)
		}
	}
	var left []bool
	for _, name := range []string{dir + "/a", dir + "/b/c", dir + "x"} {
		_, err := b.Stat(t.Context(), name)
		left = append(left, err == nil)
	}
	if d := cmp.Diff([]bool{false, false, true}, left); d != "" {
		t.Error(d)
	}
}

// TestSignedParts: the S3 server takes what was signed, and nothing else.
func TestSignedParts(t *testing.T) {
	t.Parallel()
	b := openS3(t)
	key := id.New("media/signed")
	upload, err := b.CreateMultipart(t.Context(), key, "text/plain", true)
	if err != nil {
		t.Fatal(err)
	}
	contents := [][]byte{random(blob.MinPart), random(99)}
	var parts []blob.Part
	for i, content := range contents {
		sum := sha256.Sum256(content)
		part := blob.Part{Number: int32(i + 1), Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
		signed, err := b.SignPart(t.Context(), key, upload, part, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		send := func(content []byte) int {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, signed.URL, bytes.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			maps.Copy(req.Header, signed.Headers)
			res, err := http.DefaultClient.Do(req)
			if err != nil { // a server may hang up on what it does not want
				t.Log(err)
				return 0
			}
			text, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			t.Logf("%d bytes: %s %s", len(content), res.Status, text)
			return res.StatusCode
		}
		other := bytes.Clone(content)
		other[3]++
		for _, wrong := range [][]byte{other, content[:len(content)-1], append(bytes.Clone(content), 'x')} {
			if status := send(wrong); status == http.StatusOK {
				t.Errorf("%d other bytes are taken", len(wrong))
			}
		}
		if status := send(content); status != http.StatusOK {
			t.Fatalf("refused: %d", status)
		}
	}
	if parts, err = b.ListParts(t.Context(), key, upload); err != nil {
		t.Fatal(err)
	}
	if err := b.CompleteMultipart(t.Context(), key, upload, parts); err != nil {
		t.Fatal(err)
	}
	if got := read(t, b, key, 0, -1); !bytes.Equal(got, append(bytes.Clone(contents[0]), contents[1]...)) {
		t.Errorf("%d bytes read differently", len(got))
	}
	if _, err := openFolder(t).SignPart(t.Context(), key, upload, blob.Part{}, time.Hour); !errors.Is(err, blob.ErrNoAddresses) {
		t.Errorf("a folder signs: %v", err)
	}
}
