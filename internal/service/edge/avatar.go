package edge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// maxAvatar bounds the picture of a profile in bytes, as media does.
const maxAvatar = 5 << 20

var errAvatarTooLarge = fault.New(fault.TooLarge, "avatar.too_large", "A picture of a profile has at most %d MiB.", maxAvatar>>20)

// putAvatar takes the body of a request as the picture of the caller's profile.
func (e *Edge) putAvatar(w http.ResponseWriter, r *http.Request) {
	a, err := e.uploadedAvatar(w, r)
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	e.writeMessage(w, r, http.StatusOK, a)
}

func (e *Edge) uploadedAvatar(w http.ResponseWriter, r *http.Request) (*mediapb.Avatar, error) {
	if err := checkHeaders(r); err != nil {
		return nil, err
	}
	for name := range r.URL.Query() {
		return nil, fault.InvalidField(name, "field.unknown", "There are no parameters: send the bytes of the picture as the body.")
	}
	if r.ContentLength > maxAvatar {
		return nil, errAvatarTooLarge
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		ctx = rpc.WithIdempotencyKey(ctx, key)
	}
	stream, err := e.avatars.UploadAvatar(ctx)
	if err != nil {
		return nil, err
	}
	err = sendBody(w, r, maxAvatar, errAvatarTooLarge, func(chunk []byte) bool {
		return stream.Send(&mediapb.UploadAvatarRequest{Chunk: chunk}) == nil
	})
	if err != nil {
		return nil, err
	}
	a, err := stream.CloseAndRecv()
	return a, fault.FromStatus(err)
}

// getAvatar sends the picture of a profile to anybody.
func (e *Edge) getAvatar(w http.ResponseWriter, r *http.Request) {
	a, content, err := e.downloadedAvatar(r)
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "image/jpeg")
	h.Set("ETag", `"`+a.GetId()+`"`)
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// What is at an address never changes. Caches hand it to others, so that it
	// must not end the session of whoever came with a bad cookie.
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Del("Set-Cookie")
	http.ServeContent(w, r, "", a.GetCreatedAt().AsTime(), bytes.NewReader(content))
}

// downloadedAvatar fetches all of a picture: there is not much of it.
func (e *Edge) downloadedAvatar(r *http.Request) (*mediapb.Avatar, []byte, error) {
	ctx, cancel := context.WithTimeout(r.Context(), e.Timeout)
	defer cancel()
	stream, err := e.avatars.DownloadAvatar(ctx, &mediapb.DownloadAvatarRequest{AvatarId: r.PathValue("avatar_id")})
	if err != nil {
		return nil, nil, err
	}
	var a *mediapb.Avatar
	var content []byte
	for {
		msg, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return a, content, nil
		}
		if err != nil {
			return nil, nil, fault.FromStatus(err)
		}
		if msg.GetAvatar() != nil {
			a = msg.GetAvatar()
		}
		content = append(content, msg.GetChunk()...)
	}
}
