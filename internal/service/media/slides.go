package media

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// Bounds of slides.
const (
	maxPages   = 300
	pageSide   = 1600      // pixels of the longer side of a page's picture
	maxWords   = 2_000     // characters of text that are kept of a page
	maxEntries = 10_000    // of an archive
	maxUnpack  = 512 << 20 // bytes of an archive when it is unpacked
	maxEntry   = 256 << 20 // the same, of one entry
	maxRatio   = 200       // how much larger an archive gets when it is unpacked
	freeRatio  = 16 << 20  // up to so many bytes whatever the ratio
)

// makeSlides makes a picture of each page, with its text.
func makeSlides(ctx context.Context, j *job, contentType string, progress func(float64)) (*result, error) {
	pdf := "in"
	if contentType != "application/pdf" {
		if err := checkArchive(j.path("in")); err != nil {
			return nil, err
		}
		var err error
		if pdf, err = convert(ctx, j, contentType); err != nil {
			return nil, err
		}
		progress(0.4)
	}
	pages, err := countPages(ctx, j, pdf)
	if errors.Is(err, problemError(problemPages)) && pdf == "in" {
		return &result{kind: kindFile}, nil // a book is read elsewhere
	}
	if err != nil {
		return nil, err
	}
	l := defaultLimits
	l.time, l.cpu = 10*time.Minute, 10*time.Minute
	texts, err := j.run(ctx, l, "pdftotext", "-enc", "UTF-8", "-l", strconv.Itoa(pages), pdf, "-")
	if err != nil {
		return nil, brokenSlides(err)
	}
	if _, err := j.run(ctx, l, "pdftoppm", "-jpeg", "-jpegopt", "quality=85", "-scale-to", strconv.Itoa(pageSide), "-l", strconv.Itoa(pages), pdf, "page"); err != nil {
		return nil, brokenSlides(err)
	}
	words := strings.Split(string(texts), "\f")
	res := &result{kind: kindSlides}
	for n := 1; n <= pages; n++ {
		path := j.path(fmt.Sprintf("page-%0*d.jpg", len(strconv.Itoa(pages)), n))
		w, h, err := jpegSize(path)
		if err != nil {
			return nil, problemError(problemSlides)
		}
		p := part{variant: variant{Name: fmt.Sprintf("pages/%d.jpg", n), ContentType: "image/jpeg", Width: w, Height: h, Page: n}, path: path}
		if n <= len(words) {
			p.Words = pageText(words[n-1])
		}
		if n == 1 {
			res.width, res.height = w, h
		}
		res.parts = append(res.parts, p)
	}
	return res, nil
}

func brokenSlides(err error) error {
	switch {
	case errors.Is(err, errOutput):
		return problemError(problemTooHard)
	case refused(err):
		return problemError(problemSlides)
	default:
		return err
	}
}

// pageText is the text of a page as it is kept: what a database can hold, with
// single spaces between words.
func pageText(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "")), " ")
	if runes := []rune(text); len(runes) > maxWords {
		return string(runes[:maxWords])
	}
	return text
}

func jpegSize(path string) (w, h int, err error) {
	f, err := os.Open(path) //nolint:gosec // in a folder of our own
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = f.Close() }()
	c, err := jpeg.DecodeConfig(f)
	return c.Width, c.Height, err
}

// countPages asks how many pages a PDF has, and refuses one that can't be shown.
func countPages(ctx context.Context, j *job, pdf string) (int, error) {
	l := defaultLimits
	l.time, l.cpu = time.Minute, 30*time.Second
	out, err := j.run(ctx, l, "pdfinfo", pdf)
	if e, ok := errors.AsType[*runError](err); ok && refused(err) {
		if strings.Contains(e.stderr, "Incorrect password") {
			return 0, problemError(problemEncrypted)
		}
		return 0, problemError(problemSlides)
	}
	if err != nil {
		return 0, brokenSlides(err)
	}
	for line := range strings.Lines(string(out)) {
		if value, ok := strings.CutPrefix(line, "Pages:"); ok {
			switch n, err := strconv.Atoi(strings.TrimSpace(value)); {
			case err != nil || n < 1:
				return 0, problemError(problemSlides)
			case n > maxPages:
				return 0, problemError(problemPages)
			default:
				return n, nil
			}
		}
	}
	return 0, problemError(problemSlides)
}

// office is the profile of LibreOffice for a conversion: nothing that is in a
// document is run, and nothing outside of it is read.
const office = `<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry" xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<item oor:path="/org.openoffice.Office.Common/Security/Scripting"><prop oor:name="MacroSecurityLevel" oor:op="fuse"><value>3</value></prop></item>
<item oor:path="/org.openoffice.Office.Common/Security/Scripting"><prop oor:name="DisableMacrosExecution" oor:op="fuse"><value>true</value></prop></item>
<item oor:path="/org.openoffice.Office.Common/Security/Scripting"><prop oor:name="BlockUntrustedRefererLinks" oor:op="fuse"><value>true</value></prop></item>
<item oor:path="/org.openoffice.Office.Common/Security/Scripting"><prop oor:name="DisableActiveContent" oor:op="fuse"><value>true</value></prop></item>
</oor:items>
`

// convert makes a PDF of slides and returns its name in the folder.
func convert(ctx context.Context, j *job, contentType string) (string, error) {
	name := "slides.odp"
	if contentType == archives[".pptx"] {
		name = "slides.pptx"
	}
	if err := os.Rename(j.path("in"), j.path(name)); err != nil {
		return "", err
	}
	if err := os.MkdirAll(j.path("office/user"), 0o700); err != nil {
		return "", err
	}
	if err := os.WriteFile(j.path("office/user/registrymodifications.xcu"), []byte(office), 0o600); err != nil {
		return "", err
	}
	l := defaultLimits
	l.time, l.cpu, l.memory, l.files = 5*time.Minute, 5*time.Minute, 8<<30, 1024
	_, err := j.run(ctx, l, "soffice", "--headless", "--norestore", "--nolockcheck", "--nodefault", "--nofirststartwizard",
		"-env:UserInstallation=file://"+j.path("office"), "--convert-to", "pdf", "--outdir", ".", name)
	if err != nil {
		return "", brokenSlides(err)
	}
	// It answers 0 for what it could not read.
	if _, err := os.Stat(j.path("slides.pdf")); err != nil {
		return "", problemError(problemSlides)
	}
	return "slides.pdf", nil
}

// checkArchive refuses an archive that is broken, or gets larger than it may when
// it is unpacked. What it says of its sizes is not believed: all of it is
// unpacked, and counted.
func checkArchive(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	z, err := zip.OpenReader(path)
	if err != nil {
		return problemError(problemSlides)
	}
	defer func() { _ = z.Close() }()
	if len(z.File) > maxEntries {
		return problemError(problemBomb)
	}
	most := min(maxUnpack, max(freeRatio, info.Size()*maxRatio))
	var total int64
	for _, f := range z.File {
		if f.Flags&1 != 0 {
			return problemError(problemEncrypted)
		}
		r, err := f.Open()
		if err != nil {
			return problemError(problemSlides)
		}
		n, err := io.Copy(io.Discard, io.LimitReader(r, min(maxEntry, most-total)+1))
		_ = r.Close() // it was read only
		if total += n; total > most || n > maxEntry {
			return problemError(problemBomb)
		}
		if err != nil {
			return problemError(problemSlides)
		}
	}
	return nil
}
