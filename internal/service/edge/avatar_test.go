package edge

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// avatarOf stands for media: it has one avatar, and counts the bytes of uploads.
type avatarOf struct {
	mediapb.AvatarServiceClient

	avatar *mediapb.Avatar
	got    int
}

func (a *avatarOf) UploadAvatar(context.Context, ...grpc.CallOption) (mediapb.AvatarService_UploadAvatarClient, error) {
	return avatarUpload{of: a}, nil
}

type avatarUpload struct {
	grpc.ClientStreamingClient[mediapb.UploadAvatarRequest, mediapb.Avatar]

	of *avatarOf
}

func (u avatarUpload) Send(m *mediapb.UploadAvatarRequest) error {
	u.of.got += len(m.GetChunk())
	return nil
}

func (u avatarUpload) CloseAndRecv() (*mediapb.Avatar, error) { return u.of.avatar, nil }

func (a *avatarOf) DownloadAvatar(_ context.Context, req *mediapb.DownloadAvatarRequest, _ ...grpc.CallOption) (mediapb.AvatarService_DownloadAvatarClient, error) {
	if req.GetAvatarId() != a.avatar.GetId() {
		return nil, fault.New(fault.NotFound, "avatar.not_found", "There is no such picture.")
	}
	return &avatarDownload{rest: []*mediapb.DownloadAvatarResponse{{Avatar: a.avatar}, {Chunk: []byte("a pic")}, {Chunk: []byte("ture")}}}, nil
}

type avatarDownload struct {
	grpc.ServerStreamingClient[mediapb.DownloadAvatarResponse]

	rest []*mediapb.DownloadAvatarResponse
}

func (d *avatarDownload) Recv() (*mediapb.DownloadAvatarResponse, error) {
	if len(d.rest) == 0 {
		return nil, io.EOF
	}
	msg := d.rest[0]
	d.rest = d.rest[1:]
	return msg, nil
}

func newAvatarEdge(t *testing.T) (*Edge, *avatarOf) {
	t.Helper()
	e, _ := newSignInEdge(t)
	of := &avatarOf{avatar: &mediapb.Avatar{Id: id.New("avatar"), CreatedAt: timestamppb.Now()}}
	e.avatars = of
	return e, of
}

func TestGetAvatar(t *testing.T) {
	t.Parallel()
	e, of := newAvatarEdge(t)
	path, etag := "/v1/avatars/"+of.avatar.GetId(), `"`+of.avatar.GetId()+`"`
	for _, c := range []struct {
		method, path, match string
		status              int
		body                string
	}{
		{"GET", path, "", 200, "a picture"},
		{"HEAD", path, "", 200, ""},
		{"GET", path, etag, 304, ""},
		{"GET", path, `"another"`, 200, "a picture"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, nil)
		if c.match != "" {
			r.Header.Set("If-None-Match", c.match)
		}
		r.Header.Set("Cookie", secureCookieName+"=stoa_s_over") // which other answers delete
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		if w.Code != c.status || w.Body.String() != c.body {
			t.Errorf("%s with %s: %d %s", c.method, c.match, w.Code, w.Body)
		}
		want := map[string]string{
			"ETag": etag, "Cache-Control": "public, max-age=31536000, immutable", "Set-Cookie": "",
			"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox",
			"Cross-Origin-Resource-Policy": "same-origin", "Content-Type": "image/jpeg",
		}
		if c.status == http.StatusNotModified {
			delete(want, "Content-Type")
		}
		for name, value := range want {
			if got := w.Header().Get(name); got != value {
				t.Errorf("%s with %s: %s: %q, want %q", c.method, c.match, name, got, value)
			}
		}
	}
	w := browse(t, e, "GET", "/v1/avatars/"+id.New("avatar"), "")
	if w.status != 404 || w.header.Get("Cache-Control") != "no-store" || !strings.Contains(string(w.body), "avatar.not_found") {
		t.Errorf("no such picture: %d %v %s", w.status, w.header, w.body)
	}
}

func TestPutAvatar(t *testing.T) {
	t.Parallel()
	e, of := newAvatarEdge(t)
	put := func(query string, size int, told bool) *httptest.ResponseRecorder {
		of.got = 0
		var body io.Reader = strings.NewReader(strings.Repeat("x", size))
		if !told {
			body = io.MultiReader(body) // of a length that nobody knows
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/v1/me/avatar"+query, body)
		r.Header.Set("Content-Type", "image/png")
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		return w
	}
	for _, told := range []bool{true, false} {
		if w := put("", maxAvatar, told); w.Code != 200 || of.got != maxAvatar || !strings.Contains(w.Body.String(), of.avatar.GetId()) {
			t.Errorf("as much as may be: %d %s after %d bytes", w.Code, w.Body, of.got)
		}
		if w := put("", maxAvatar+1, told); w.Code != 413 || !strings.Contains(w.Body.String(), "avatar.too_large") || told && of.got > 0 {
			t.Errorf("a byte more: %d %s after %d bytes", w.Code, w.Body, of.got)
		}
	}
	if w := put("?filename=me.png", 9, true); w.Code != 400 || !strings.Contains(w.Body.String(), "field.unknown") || of.got > 0 {
		t.Errorf("a parameter: %d %s", w.Code, w.Body)
	}
}
