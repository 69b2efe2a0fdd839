package edge

import (
	"bytes"
	"context"
	"mime"
	"net/http"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// certificateFile is an address at which a certificate, its badge, or what
// verifies badges is fetched.
type certificateFile struct {
	path  string
	query bool   // whether ?format= says which
	cache string // for how long others may keep it
	fetch func(e *Edge, ctx context.Context, r *http.Request) (*learningpb.File, error)
}

const (
	kept     = "private, no-cache" // asked again each time: it may be revoked
	publicly = "public, max-age=300"
	shortly  = "public, max-age=60"
)

// certificateFiles are those addresses.
var certificateFiles = []certificateFile{
	{"/v1/me/certificates/{certificate_id}/pdf", false, kept, func(e *Edge, ctx context.Context, r *http.Request) (*learningpb.File, error) {
		return e.certificates.DownloadCertificate(ctx, &learningpb.DownloadCertificateRequest{CertificateId: r.PathValue("certificate_id")})
	}},
	{"/v1/me/certificates/{certificate_id}/badge", true, kept, func(e *Edge, ctx context.Context, r *http.Request) (*learningpb.File, error) {
		return e.certificates.DownloadBadge(ctx, &learningpb.DownloadBadgeRequest{
			CertificateId: r.PathValue("certificate_id"), Format: r.URL.Query().Get("format"),
		})
	}},
	{"/v1/certificates/{serial}/badge", true, kept, func(e *Edge, ctx context.Context, r *http.Request) (*learningpb.File, error) {
		return e.certificates.DownloadSharedBadge(ctx, &learningpb.DownloadSharedBadgeRequest{
			Serial: r.PathValue("serial"), Format: r.URL.Query().Get("format"),
		})
	}},
	{"/.well-known/did.json", false, publicly, badgeDocument("did")},
	{"/.well-known/jwks.json", false, publicly, badgeDocument("jwks")},
	{"/v1/badges/issuer", false, publicly, badgeDocument("issuer")},
	{"/v1/badges/{kind}/{id}", false, shortly, badgeDocument("")},
}

func badgeDocument(kind string) func(*Edge, context.Context, *http.Request) (*learningpb.File, error) {
	return func(e *Edge, ctx context.Context, r *http.Request) (*learningpb.File, error) {
		return e.certificates.DownloadBadgeDocument(ctx, &learningpb.DownloadBadgeDocumentRequest{Kind: kind + r.PathValue("kind"), Id: r.PathValue("id")})
	}
}

func (e *Edge) certificateFile(f certificateFile) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		file, err := e.fetchedFile(f, r)
		if err != nil {
			writeProblem(w, r, e.Log, err)
			return
		}
		h := w.Header()
		h.Set("Content-Type", file.GetContentType())
		h.Set("ETag", `"`+file.GetEtag()+`"`)
		h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
		h.Set("Cache-Control", f.cache)
		h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": file.GetFilename()}))
		if f.cache != kept {
			// Verifiers run in browsers, on pages of their own. Caches hand it to
			// others, so that it must not end anybody's session.
			h.Set("Access-Control-Allow-Origin", "*")
			h.Set("Cross-Origin-Resource-Policy", "cross-origin")
			h.Del("Content-Disposition")
			h.Del("Set-Cookie")
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file.GetContent()))
	}
}

func (e *Edge) fetchedFile(f certificateFile, r *http.Request) (*learningpb.File, error) {
	if err := checkHeaders(r); err != nil {
		return nil, err
	}
	for name := range r.URL.Query() {
		if !f.query || name != "format" {
			return nil, fault.InvalidField(name, "field.unknown", "There is no such parameter.")
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), e.Timeout)
	defer cancel()
	file, err := f.fetch(e, ctx, r)
	return file, fault.FromStatus(err)
}

// certificateView is what the page of a certificate shows.
type certificateView struct {
	*learningpb.Verification
	Completed, Issued, Ended string
}

// certificatePage says what a certificate proves to anybody who has its serial.
func (e *Edge) certificatePage(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), e.Timeout)
	defer cancel()
	// Nobody should find people by it.
	w.Header().Set("X-Robots-Tag", "noindex, nofollow, noarchive")
	v, err := e.certificates.GetVerification(ctx, &learningpb.GetVerificationRequest{Serial: r.PathValue("serial")})
	if kind := fault.KindOf(fault.FromStatus(err)); kind == fault.NotFound || kind == fault.Invalid {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNotFound)
		e.show(w, r, "certificate.html", certificateView{})
		return
	}
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	view := certificateView{Verification: v}
	const day = "2 January 2006"
	view.Completed, view.Issued = v.GetCompletedAt().AsTime().Format(day), v.GetIssuedAt().AsTime().Format(day)
	if v.GetEndedAt() != nil {
		view.Ended = v.GetEndedAt().AsTime().Format(day)
	}
	e.show(w, r, "certificate.html", view)
}
