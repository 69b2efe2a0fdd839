package edge

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// downloadPart sends a part of a file to who brings a signed address. Media asks
// with each call whether the viewer may still read it.
func (e *Edge) downloadPart(w http.ResponseWriter, r *http.Request) {
	req := &mediapb.DownloadPartRequest{MediaId: r.PathValue("media_id"), Token: r.PathValue("token"), Part: r.PathValue("part"), DescribeOnly: true}
	first, err := firstOf(r.Context(), func(ctx context.Context) (func() (*mediapb.DownloadPartResponse, error), error) {
		return receive(e.processing.DownloadPart(ctx, req))
	})
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	p := first.GetPart()
	f := &file{ctx: r.Context(), control: http.NewResponseController(w), size: p.GetSize(), open: func(ctx context.Context, offset int64) (func() ([]byte, error), error) {
		req.DescribeOnly, req.Offset = false, offset
		return chunksOf(receive(e.processing.DownloadPart(ctx, req)))
	}}
	defer f.close()
	writeFileHeader(w.Header(), p.GetContentType(), p.GetEtag(), p.GetFilename(), partCache(p, time.Now()))
	// A time of the past would say that what changes has not; the ETag tells.
	http.ServeContent(w, r, "", time.Time{}, f)
}

// partCache says who may keep a part. What never changes is kept by the viewer's
// browser while the address works, and by a shared cache that is told to by
// CDN-Cache-Control of its own and checks the token; everything else is asked for
// anew.
func partCache(p *mediapb.Part, now time.Time) string {
	left := int(p.GetExpiresAt().AsTime().Sub(now).Seconds())
	if !p.GetImmutable() || left <= 0 {
		return "private, no-cache"
	}
	return fmt.Sprintf("private, max-age=%d, immutable", left)
}
