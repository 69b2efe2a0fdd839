package edge

import (
	"context"
	"encoding/base64"
	"errors"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// The protocol of uploads that can be resumed, https://tus.io/protocols/resumable-upload
// 1.0.0. What is stored, and who may, is media's affair; here are its headers.
const (
	tusVersion    = "1.0.0"
	tusExtensions = "creation,creation-with-upload,creation-defer-length,expiration,termination,checksum"
	tusAlgorithms = "md5,sha1,sha256"
	tusType       = "application/offset+octet-stream"
)

// statuses are those that the protocol has for errors, where they are not those
// of their kind.
var statuses = map[string]int{
	"upload.locked": http.StatusLocked, "upload.gone": http.StatusGone, "upload.checksum_mismatch": 460,
	"upload.version": http.StatusPreconditionFailed, "upload.content_type": http.StatusUnsupportedMediaType,
}

// tus adds the routes of the protocol. GET of an upload is the contract's.
func (e *Edge) tus(mux *http.ServeMux) {
	const all, one = "/v1/courses/{course_id}/uploads", "/v1/courses/{course_id}/uploads/{upload_id}"
	mux.HandleFunc("OPTIONS "+all, e.tusOptions)
	mux.HandleFunc("OPTIONS "+one, e.tusOptions)
	for pattern, handle := range map[string]func(http.ResponseWriter, *http.Request) error{
		"POST " + all: e.tusCreate, "HEAD " + one: e.tusHead, "PATCH " + one: e.tusPatch, "DELETE " + one: e.tusDelete, "POST " + one: e.tusOverridden,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Tus-Resumable", tusVersion)
			h.Set("Cache-Control", "no-store")
			err := checkHeaders(r)
			if err == nil && r.Header.Get("Tus-Resumable") != tusVersion {
				h.Set("Tus-Version", tusVersion)
				err = fault.New(fault.Invalid, "upload.version", "Send Tus-Resumable: %s.", tusVersion)
			}
			if err == nil {
				err = handle(w, r)
			}
			if err != nil {
				e.tusProblem(w, r, err)
			}
		})
	}
}

// tusProblem tells an error with the status that the protocol has for it.
func (e *Edge) tusProblem(w http.ResponseWriter, r *http.Request, err error) {
	if f, ok := errors.AsType[*fault.Error](fault.FromStatus(err)); ok && statuses[f.Code] != 0 {
		writeStatus(w, r, statuses[f.Code], f)
		return
	}
	writeProblem(w, r, e.Log, err)
}

func (e *Edge) tusOptions(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Tus-Resumable", tusVersion)
	h.Set("Tus-Version", tusVersion)
	h.Set("Tus-Extension", tusExtensions)
	h.Set("Tus-Max-Size", strconv.FormatInt(e.MaxUpload, 10))
	h.Set("Tus-Checksum-Algorithm", tusAlgorithms)
	w.WriteHeader(http.StatusNoContent)
}

// tusOverridden is for clients that can't send PATCH or DELETE.
func (e *Edge) tusOverridden(w http.ResponseWriter, r *http.Request) error {
	switch r.Header.Get("X-Http-Method-Override") {
	case http.MethodPatch:
		return e.tusPatch(w, r)
	case http.MethodDelete:
		return e.tusDelete(w, r)
	default:
		return fault.InvalidField("X-HTTP-Method-Override", "field.required", "Send PATCH or DELETE, or use these methods.")
	}
}

func (e *Edge) tusCreate(w http.ResponseWriter, r *http.Request) error {
	req, err := creation(r)
	if err != nil {
		return err
	}
	if req.GetLength() > e.MaxUpload {
		return errTooLarge(e.MaxUpload)
	}
	with := isTus(r)
	if r.ContentLength != 0 && !with {
		return errTusType()
	}
	first := &mediapb.AppendUploadRequest{}
	if with {
		if err := announce(r, first); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), e.Timeout)
	defer cancel()
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		ctx = rpc.WithIdempotencyKey(ctx, key)
	}
	u, err := e.uploads.CreateUpload(ctx, req)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/courses/"+u.GetCourseId()+"/uploads/"+u.GetId())
	if with && r.ContentLength != 0 {
		first.CourseId, first.UploadId = u.GetCourseId(), u.GetId()
		if u, err = e.tusAppend(w, r, first); err != nil {
			return err
		}
		w.Header().Set("Upload-Offset", strconv.FormatInt(u.GetOffset(), 10))
	}
	tellUpload(w, u)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// creation reads the headers of a new upload.
func creation(r *http.Request) (*mediapb.CreateUploadRequest, error) {
	req := &mediapb.CreateUploadRequest{CourseId: r.PathValue("course_id"), Metadata: r.Header.Get("Upload-Metadata")}
	if r.Header.Get("Upload-Concat") != "" {
		return nil, fault.InvalidField("Upload-Concat", "field.unknown", "Uploads can't be put together of others.")
	}
	length, deferred := r.Header.Get("Upload-Length"), r.Header.Get("Upload-Defer-Length")
	switch {
	case (length == "") == (deferred == ""):
		return nil, fault.InvalidField("Upload-Length", "field.required", "Send either Upload-Length or Upload-Defer-Length: 1.")
	case deferred != "" && deferred != "1":
		return nil, fault.InvalidField("Upload-Defer-Length", "field.type", "Send 1.")
	case deferred != "":
		req.DeferLength = true
	default:
		var err error
		if req.Length, err = tusNumber("Upload-Length", length); err != nil {
			return nil, err
		}
	}
	metadata, err := parseMetadata(req.GetMetadata())
	if err != nil {
		return nil, err
	}
	req.Filename, req.Sha256 = metadata["filename"], metadata["sha256"]
	if req.GetFilename() == "" {
		req.Filename = metadata["name"] // as some clients have it
	}
	return req, nil
}

// tusNumber reads a number that is not negative.
func tusNumber(name, text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || strings.HasPrefix(text, "+") {
		return 0, fault.InvalidField(name, "field.type", "Send a whole number of bytes.")
	}
	return int64(min(n, math.MaxInt64)), nil
}

// parseMetadata reads Upload-Metadata: keys, each with a value in base 64 or
// without, with commas between.
func parseMetadata(text string) (map[string]string, error) {
	metadata := map[string]string{}
	if text == "" {
		return metadata, nil
	}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(pair), " ")
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
		_, twice := metadata[key]
		if key == "" || err != nil || twice {
			return nil, fault.InvalidField("Upload-Metadata", "field.type", "Send keys, each once, with values in base 64 after a space, and commas between.")
		}
		metadata[key] = strings.ToValidUTF8(string(raw), "")
	}
	return metadata, nil
}

func isTus(r *http.Request) bool {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && t == tusType
}

func errTusType() error {
	return fault.New(fault.Invalid, "upload.content_type", "Send the bytes as %s.", tusType)
}

// announce reads what a request says of the bytes that it brings.
func announce(r *http.Request, req *mediapb.AppendUploadRequest) error {
	req.Announced = max(r.ContentLength, 0)
	text := r.Header.Get("Upload-Checksum")
	if text == "" {
		return nil
	}
	algorithm, value, _ := strings.Cut(text, " ")
	sum, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(sum) == 0 || algorithm == "" {
		return fault.InvalidField("Upload-Checksum", "field.type", "Send an algorithm, a space and the checksum in base 64.")
	}
	req.ChecksumAlgorithm, req.Checksum = algorithm, sum
	return nil
}

func (e *Edge) tusHead(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), e.Timeout)
	defer cancel()
	u, err := e.uploads.GetUpload(ctx, &mediapb.GetUploadRequest{CourseId: r.PathValue("course_id"), UploadId: r.PathValue("upload_id")})
	if err != nil {
		return err
	}
	switch {
	case u.GetPartSize() != 0: // a direct one
		return fault.New(fault.NotFound, "upload.not_found", "There is no such upload.")
	case u.GetState() == "failed":
		return fault.New(fault.Conflict, "upload.gone", "This upload has ended.")
	}
	h := w.Header()
	h.Set("Upload-Offset", strconv.FormatInt(u.GetOffset(), 10))
	if u.GetLength() > 0 {
		h.Set("Upload-Length", strconv.FormatInt(u.GetLength(), 10))
	} else {
		h.Set("Upload-Defer-Length", "1")
	}
	if u.GetMetadata() != "" {
		h.Set("Upload-Metadata", u.GetMetadata())
	}
	tellUpload(w, u)
	w.WriteHeader(http.StatusOK)
	return nil
}

// tellUpload says until when an upload may go on, or which file it has become.
func tellUpload(w http.ResponseWriter, u *mediapb.Upload) {
	if u.GetState() == "open" {
		w.Header().Set("Upload-Expires", u.GetExpiresAt().AsTime().UTC().Format(http.TimeFormat))
	}
	if u.GetMediaId() != "" {
		w.Header().Set("Stoa-Media-Id", u.GetMediaId())
	}
}

func (e *Edge) tusPatch(w http.ResponseWriter, r *http.Request) error {
	if !isTus(r) {
		return errTusType()
	}
	req := &mediapb.AppendUploadRequest{CourseId: r.PathValue("course_id"), UploadId: r.PathValue("upload_id")}
	var err error
	if req.Offset, err = tusNumber("Upload-Offset", r.Header.Get("Upload-Offset")); err != nil {
		return err
	}
	if length := r.Header.Get("Upload-Length"); length != "" {
		if req.Length, err = tusNumber("Upload-Length", length); err != nil {
			return err
		}
	}
	if err := announce(r, req); err != nil {
		return err
	}
	u, err := e.tusAppend(w, r, req)
	if err != nil {
		return err
	}
	w.Header().Set("Upload-Offset", strconv.FormatInt(u.GetOffset(), 10))
	tellUpload(w, u)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// tusAppend sends the body of a request to media. When it breaks off, media gets
// to know that no more comes, and keeps what has come. What media refuses is told
// at once, though the client sends slowly or has nothing to send just now.
func (e *Edge) tusAppend(w http.ResponseWriter, r *http.Request, msg *mediapb.AppendUploadRequest) (*mediapb.Upload, error) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream, err := e.uploads.AppendUpload(ctx)
	if err != nil {
		return nil, err
	}
	answered := make(chan struct{})
	var u mediapb.Upload
	go func() {
		err = fault.FromStatus(stream.RecvMsg(&u))
		close(answered)
	}()
	cut := sendBodyUntil(answered, w, r, e.MaxUpload, errTooLarge(e.MaxUpload), func(chunk []byte) bool {
		msg.Chunk = chunk
		taken := stream.Send(msg) == nil
		msg = &mediapb.AppendUploadRequest{}
		return taken
	})
	_ = stream.CloseSend() // never fails
	<-answered
	if err == nil {
		err = cut
	}
	return &u, err
}

func (e *Edge) tusDelete(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), e.Timeout)
	defer cancel()
	_, err := e.uploads.DeleteUpload(ctx, &mediapb.DeleteUploadRequest{CourseId: r.PathValue("course_id"), UploadId: r.PathValue("upload_id")})
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// putPart takes a part of a direct upload where the bucket is a folder.
func (e *Edge) putPart(w http.ResponseWriter, r *http.Request) {
	part, err := e.takenPart(w, r)
	if err != nil {
		e.tusProblem(w, r, err)
		return
	}
	w.Header().Set("ETag", `"`+part.GetEtag()+`"`) // as S3 answers
	e.writeMessage(w, r, http.StatusOK, part)
}

func (e *Edge) takenPart(w http.ResponseWriter, r *http.Request) (*mediapb.PutPartResponse, error) {
	q := r.URL.Query()
	number, err := strconv.ParseInt(r.PathValue("number"), 10, 32)
	size, sizeErr := strconv.ParseInt(q.Get("size"), 10, 64)
	expires, expiresErr := strconv.ParseInt(q.Get("expires"), 10, 64)
	if err != nil || sizeErr != nil || expiresErr != nil || size < 0 || number < 0 || len(q) != 4 {
		return nil, fault.InvalidField("number", "field.type", "Use the address as it was given.")
	}
	if r.ContentLength >= 0 && r.ContentLength != size {
		return nil, fault.New(fault.Invalid, "upload.part", "Send exactly the bytes that were signed.")
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream, err := e.parts.PutPart(ctx)
	if err != nil {
		return nil, err
	}
	msg := &mediapb.PutPartRequest{
		UploadId: r.PathValue("upload_id"), Number: int32(number), Size: size, Sha256: q.Get("sha256"), Expires: expires, Signature: q.Get("signature"),
	}
	err = sendBody(w, r, size, errTooLarge(size), func(chunk []byte) bool {
		msg.Chunk = chunk
		taken := stream.Send(msg) == nil
		msg = &mediapb.PutPartRequest{}
		return taken
	})
	if err != nil {
		return nil, err
	}
	res, err := stream.CloseAndRecv()
	return res, fault.FromStatus(err)
}
