package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// chunk is how much of a file travels in one message.
const chunk = 256 << 10

// stall is how long a transfer may stand still.
const stall = 30 * time.Second

// upload takes the body of a request as a file.
func (e *Edge) upload(w http.ResponseWriter, r *http.Request) {
	e.takeFile(w, r, func(ctx context.Context) (fileStream, func(name string, chunk []byte) error, error) {
		stream, err := e.media.UploadMedia(ctx)
		return stream, func(name string, chunk []byte) error {
			return stream.Send(&mediapb.UploadMediaRequest{CourseId: r.PathValue("course_id"), Filename: name, Chunk: chunk})
		}, err
	})
}

// fileStream takes a file piece by piece.
type fileStream interface {
	CloseAndRecv() (*mediapb.Media, error)
}

// takeFile takes the body of a request as a file. What is sent is told the file's name
// with the first piece.
func (e *Edge) takeFile(w http.ResponseWriter, r *http.Request, open func(ctx context.Context) (fileStream, func(name string, chunk []byte) error, error)) {
	m, err := e.takenFile(w, r, open)
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	e.writeCreated(w, r, m)
}

// writeCreated answers with what was made.
func (e *Edge) writeCreated(w http.ResponseWriter, r *http.Request, m proto.Message) {
	e.writeMessage(w, r, http.StatusCreated, m)
}

func (e *Edge) writeMessage(w http.ResponseWriter, r *http.Request, status int, m proto.Message) {
	text, err := codec{}.Marshal(m)
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = bytes.NewReader(text).WriteTo(w) // the caller is gone when this fails
}

func (e *Edge) takenFile(w http.ResponseWriter, r *http.Request, open func(ctx context.Context) (fileStream, func(name string, chunk []byte) error, error)) (*mediapb.Media, error) {
	if err := checkHeaders(r); err != nil {
		return nil, err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(query) != 1 || len(query["filename"]) != 1 || query.Get("filename") == "" {
		return nil, fault.InvalidField("filename", "field.required", "Send the file's name, and nothing else, as ?filename=….")
	}
	if r.ContentLength > e.MaxUpload {
		return nil, errTooLarge(e.MaxUpload)
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		ctx = rpc.WithIdempotencyKey(ctx, key)
	}
	stream, send, err := open(ctx)
	if err != nil {
		return nil, err
	}
	name := query.Get("filename")
	err = sendBody(w, r, e.MaxUpload, errTooLarge(e.MaxUpload), func(chunk []byte) bool {
		taken := send(name, chunk) == nil
		name = ""
		return taken
	})
	if err != nil {
		return nil, err
	}
	m, err := stream.CloseAndRecv()
	return m, fault.FromStatus(err)
}

// sendBody sends the body of a request piece by piece, the first though it is
// empty. It stops when send takes no more, which whoever receives them gives a
// reason for.
func sendBody(w http.ResponseWriter, r *http.Request, most int64, tooLarge error, send func(chunk []byte) bool) error {
	return sendBodyUntil(nil, w, r, most, tooLarge, send)
}

// sendBodyUntil is sendBody that stops as soon as answered is closed, too.
func sendBodyUntil(answered <-chan struct{}, w http.ResponseWriter, r *http.Request, most int64, tooLarge error, send func(chunk []byte) bool) error {
	in := http.MaxBytesReader(w, r.Body, most)
	// Servers of tests have no deadlines to move; all others do.
	control := http.NewResponseController(w)
	over, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		select {
		case <-answered:
			_ = control.SetReadDeadline(time.Now()) // ends a Read that waits for the client
		case <-over:
		}
	}()
	end := time.Now() // the server does not wait for what nobody takes before it answers
	defer func() {
		close(over)
		<-gone
		_ = control.SetReadDeadline(end)
	}()
	buf := make([]byte, chunk)
	for first := true; ; first = false {
		_ = control.SetReadDeadline(time.Now().Add(stall))
		if closed(answered) {
			return nil
		}
		n, err := in.Read(buf)
		switch {
		case (n > 0 || first) && !send(buf[:n]), err != nil && closed(answered):
			return nil
		case errors.Is(err, io.EOF):
			end = time.Time{}
			return nil
		case errors.As(err, new(*http.MaxBytesError)):
			return tooLarge
		case err != nil:
			return fault.New(fault.Invalid, "request.incomplete", "The body ended before all of it had come.")
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func errTooLarge(most int64) error {
	return fault.New(fault.TooLarge, "media.too_large", "A file has at most %d bytes.", most)
}

// download sends a public file.
func (e *Edge) download(w http.ResponseWriter, r *http.Request) {
	req := &mediapb.DownloadMediaRequest{MediaId: r.PathValue("media_id"), DescribeOnly: true}
	first, err := firstOf(r.Context(), func(ctx context.Context) (func() (*mediapb.DownloadMediaResponse, error), error) {
		return receive(e.media.DownloadMedia(ctx, req))
	})
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	m := first.GetMedia()
	f := &file{ctx: r.Context(), control: http.NewResponseController(w), size: m.GetSize(), open: func(ctx context.Context, offset int64) (func() ([]byte, error), error) {
		req.DescribeOnly, req.Offset = false, offset
		return chunksOf(receive(e.media.DownloadMedia(ctx, req)))
	}}
	defer f.close()
	writeFileHeader(w.Header(), m.GetContentType(), m.GetSha256(), m.GetFilename(), "private, max-age=300")
	http.ServeContent(w, r, "", m.GetCreatedAt().AsTime(), f)
}

// writeFileHeader says what a file is, and that nothing in it is to be run. A file
// without a name is shown in place.
func writeFileHeader(h http.Header, contentType, etag, filename, cache string) {
	h.Set("Content-Type", contentType)
	h.Set("ETag", `"`+etag+`"`)
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", cache)
	if filename == "" {
		return
	}
	disposition := "attachment"
	if shown(contentType) {
		disposition = "inline"
	}
	h.Set("Content-Disposition", mime.FormatMediaType(disposition, map[string]string{"filename": filename}))
}

// shown reports whether a browser may show the type in place.
func shown(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	switch kind, _, _ := strings.Cut(t, "/"); kind {
	case "image":
		return t != "image/svg+xml"
	case "video", "audio":
		return true
	default:
		return t == "application/pdf" || t == "text/plain"
	}
}

// receive is how a stream is read, of which nothing else is needed.
func receive[Res any](stream grpc.ServerStreamingClient[Res], err error) (func() (*Res, error), error) {
	if err != nil {
		return nil, err
	}
	return stream.Recv, nil
}

// chunksOf reads the bytes of a stream.
func chunksOf[Res any, P interface {
	*Res
	GetChunk() []byte
}](next func() (P, error), err error) (func() ([]byte, error), error) {
	if err != nil {
		return nil, err
	}
	return func() ([]byte, error) {
		msg, err := next()
		if err != nil {
			return nil, err
		}
		return msg.GetChunk(), nil
	}, nil
}

// firstOf returns the first message of a stream, which describes the rest.
func firstOf[P any](ctx context.Context, open func(context.Context) (func() (P, error), error)) (first P, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	next, err := open(ctx)
	if err != nil {
		return first, err
	}
	first, err = next()
	return first, fault.FromStatus(err)
}

// file is a stored file as [http.ServeContent] reads it: a stream is opened at
// the first read after each seek.
type file struct {
	ctx     context.Context //nolint:containedctx // io.ReadSeeker has no place for it
	control *http.ResponseController
	open    func(ctx context.Context, offset int64) (next func() ([]byte, error), err error)
	size    int64
	at      int64
	rest    []byte
	next    func() ([]byte, error)
	cancel  context.CancelFunc
}

// Seek implements [io.Seeker].
func (f *file) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("edge: seek to %d", offset)
	}
	if offset != f.at {
		f.close()
		f.at = offset
	}
	return offset, nil
}

// Read implements [io.Reader].
func (f *file) Read(p []byte) (int, error) {
	if f.at >= f.size {
		return 0, io.EOF
	}
	if f.next == nil {
		ctx, cancel := context.WithCancel(f.ctx)
		f.cancel = cancel
		next, err := f.open(ctx, f.at)
		if err != nil {
			f.close()
			return 0, err
		}
		f.next = next
	}
	for len(f.rest) == 0 {
		var err error
		if f.rest, err = f.next(); errors.Is(err, io.EOF) {
			return 0, io.ErrUnexpectedEOF
		} else if err != nil {
			return 0, err
		}
	}
	// What is read is written next: a reader that takes nothing is let go.
	_ = f.control.SetWriteDeadline(time.Now().Add(stall))
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	f.at += int64(n)
	return n, nil
}

func (f *file) close() {
	if f.cancel != nil {
		f.cancel()
	}
	f.next, f.cancel, f.rest = nil, nil, nil
}
