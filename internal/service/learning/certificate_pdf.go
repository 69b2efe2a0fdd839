package learning

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"rsc.io/qr"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pdf"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// pdfFile returns a certificate as PDF.
func (s *Service) pdfFile(c certificate) (*learningpb.File, error) {
	if c.State != stateValid {
		return nil, ErrCertificateNotValid
	}
	if c.PersonName == "" {
		return nil, ErrNameUnknown
	}
	content, err := s.drawCertificate(c)
	if missing, ok := errors.AsType[*pdf.MissingFontError](err); ok {
		return nil, fault.New(fault.Unavailable, "certificate.font_missing", "The platform lacks a font for the script %s. Its operator has to install the package %s.", missing.Script, missing.Package)
	}
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	return &learningpb.File{
		Content: content, ContentType: "application/pdf", Etag: hex.EncodeToString(sum[:16]), Filename: "certificate-" + writeSerial(c.Serial) + ".pdf",
	}, nil
}

// A4, on its side, in points.
const (
	paperWidth  = 841.89
	paperHeight = 595.28
)

// drawCertificate makes a page that has the name and the title of the course, in
// the language of the course. Names and titles as long as they may be fit.
func (s *Service) drawCertificate(c certificate) ([]byte, error) {
	words := wordsFor(c.Language)
	heading := c.Title
	if pdf.Clean(heading) == "" {
		heading = words.heading
	}
	p := pdf.New(s.fonts, paperWidth, paperHeight, pdf.Meta{
		Title: heading + ": " + c.CourseTitle, Author: c.IssuerName, Language: words.language, Created: c.IssuedAt,
	})
	p.Frame(24, 1.5, 0.35)
	p.Frame(30, 0.5, 0.35)

	const middle, wide = paperWidth / 2, paperWidth - 160
	// Where every text is as long as it may be, they end above the foot.
	y := paperHeight - 80.0
	for _, t := range []struct {
		pdf.Text
		after float64
	}{
		{pdf.Text{Role: "H1", Text: heading, Size: 34, MinSize: 12, MaxLines: 1, Width: wide}, 20},
		{pdf.Text{Role: "P", Text: words.statement, Size: 15, MinSize: 11, MaxLines: 2, Width: wide, Gray: 0.25}, 14},
		{pdf.Text{Role: "P", Text: c.PersonName, Size: 32, MinSize: 13, MaxLines: 2, Width: wide}, 12},
		{pdf.Text{Role: "P", Text: c.CourseTitle, Size: 22, MinSize: 12, MaxLines: 3, Width: wide}, 18},
		{pdf.Text{Role: "P", Text: fmt.Sprintf(words.completed, c.CompletedAt.UTC().Format(words.date)), Size: 13, MinSize: 10, MaxLines: 1, Width: wide, Gray: 0.25}, 4},
		{pdf.Text{Role: "P", Text: fmt.Sprintf(words.issuer, c.IssuerName), Size: 13, MinSize: 8, MaxLines: 2, Width: wide, Gray: 0.25}, 0},
	} {
		t.X, t.Y = middle, y
		height, err := p.Text(t.Text)
		if err != nil {
			return nil, err
		}
		y -= height + t.after
	}
	address := s.pageOf(c)
	const foot = 128.0
	texts := []pdf.Text{
		{Role: "P", Text: fmt.Sprintf(words.serial, writeSerial(c.Serial)), Size: 10, MinSize: 7, MaxLines: 1, X: middle, Y: 74, Width: 220, Gray: 0.25},
		{Role: "P", Text: address, Size: 9, MinSize: 5, MaxLines: 2, X: middle, Y: 56, Width: 520, Link: address},
	}
	if pdf.Clean(c.SignatoryName) != "" || pdf.Clean(c.SignatoryRole) != "" {
		const left = 190.0
		p.Rule(left-100, foot-26, 200)
		texts = append([]pdf.Text{
			{Role: "P", Text: c.SignatoryName, Size: 13, MinSize: 7, MaxLines: 1, X: left, Y: foot - 30, Width: 220},
			{Role: "P", Text: c.SignatoryRole, Size: 10, MinSize: 7, MaxLines: 2, X: left, Y: foot - 49, Width: 220, Gray: 0.25},
		}, texts...)
	}
	for _, t := range texts {
		if _, err := p.Text(t); err != nil {
			return nil, err
		}
	}
	code, err := qr.Encode(address, qr.M)
	if err != nil {
		return nil, fmt.Errorf("code of %s: %w", c.ID, err)
	}
	p.Squares(fmt.Sprintf(words.code, address), paperWidth-150, 48, 84, code.Size, code.Black)
	return p.Bytes(), nil
}
