package learning

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/pdf"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// poppler runs one of poppler's programs on a document.
func poppler(t testing.TB, document []byte, program string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "certificate.pdf")
	if err := os.WriteFile(path, document, 0o600); err != nil {
		t.Fatal(err)
	}
	if program == "pdftotext" {
		args = append(args, path, "-")
	} else {
		args = append(args, path)
	}
	cmd := exec.CommandContext(context.Background(), program, args...) //nolint:gosec // a test's own
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("%s: %v: %s", program, err, stderr.String())
	}
	return out.String()
}

func issuedCertificate(name, title, lang string) certificate {
	at := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	return certificate{
		ID: "certificate_01h455vb4pex5vsknk084sn02q", Serial: "7K3MQ9XV2HTR5WBN", PersonName: name, CourseTitle: title, Language: lang,
		IssuerName: "Example Academy", SignatoryName: "Zeno of Citium", SignatoryRole: "Founder", CompletedAt: at, IssuedAt: at, State: stateValid,
	}
}

func pdfService(t testing.TB) *Service {
	t.Helper()
	return New(Config{Fonts: systemFonts(t), PublicURL: "https://learn.example.org"})
}

// plain leaves out the marks by which poppler says that it has turned text.
func plain(text string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if strings.ContainsRune("\u200e\u200f\u202a\u202b\u202c\f", r) {
			return -1
		}
		return r
	}, text)), " ")
}

// The day is the one that the page says on which it is verified, wherever the server is.
func TestCertificateHasTheDayOfItsPage(t *testing.T) {
	t.Parallel()
	s, c := pdfService(t), issuedCertificate("Diogenes", "Ethics", "en")
	c.CompletedAt = c.CompletedAt.In(time.FixedZone("far east", 14*60*60)).Add(4 * time.Hour)
	f, err := s.pdfFile(c)
	if err != nil {
		t.Fatal(err)
	}
	if text := plain(poppler(t, f.GetContent(), "pdftotext", "-layout")); !strings.Contains(text, "Completed on 4 May 2026") {
		t.Errorf("%s", text)
	}
}

func TestCertificatesInAllLanguages(t *testing.T) {
	t.Parallel()
	s := pdfService(t)
	names := map[string][2]string{
		"el": {"Αριστοτέλης", "Ηθικά Νικομάχεια"}, "ru": {"Ёлка Щукина", "Введение в этику"}, "uk": {"Їжак Ґудзь", "Вступ до етики"},
		"ar": {"فاطمة الزهراء", "مقدمة في الفلسفة"}, "he": {"דוד לוי", "מבוא לפילוסופיה"}, "hi": {"श्रीनिवास रामानुजन", "दर्शनशास्त्र का परिचय"},
		"zh": {"王小明", "哲学导论"}, "zh-Hant": {"王小明", "哲學導論"}, "ja": {"山田 太郎", "プログラミング入門"}, "ko": {"홍길동", "철학 입문"}, "th": {"สมชาย ใจดี", "ปรัชญาเบื้องต้น"},
	}
	for _, w := range vocabulary {
		t.Run(w.language, func(t *testing.T) {
			t.Parallel()
			name, ok := names[w.language]
			if !ok {
				name = [2]string{"Ágnes Żółć-Öztürk", "Ethik für Anfänger"}
			}
			c := issuedCertificate(name[0], name[1], w.language)
			f, err := s.pdfFile(c)
			if err != nil {
				t.Fatal(err)
			}
			text := plain(poppler(t, f.GetContent(), "pdftotext"))
			for _, want := range []string{w.heading, name[0], name[1], "7K3M-Q9XV-2HTR-5WBN", "https://learn.example.org/certificates/7K3M-Q9XV-2HTR-5WBN", "Example Academy", "Zeno of Citium", "2026"} {
				// Lines are broken where there is no space, too.
				if !strings.Contains(strings.ReplaceAll(text, " ", ""), strings.ReplaceAll(want, " ", "")) {
					t.Errorf("lacks %q:\n%s", want, text)
				}
			}
			info := poppler(t, f.GetContent(), "pdfinfo", "-struct")
			for _, want := range []string{"Document", "H1 (block)", "P (block)", "Link", "Figure", "Object "} {
				if !strings.Contains(info, want) {
					t.Errorf("the structure lacks %q:\n%s", want, info)
				}
			}
			about := poppler(t, f.GetContent(), "pdfinfo")
			if !regexp.MustCompile(`Tagged:\s+yes`).MatchString(about) || !regexp.MustCompile(`Pages:\s+1\n`).MatchString(about) {
				t.Error(about)
			}
			read := plain(poppler(t, f.GetContent(), "pdfinfo", "-struct-text"))
			if i, j := strings.Index(read, w.heading), strings.Index(read, name[0]); i < 0 || j < i || strings.Index(read, name[1]) < j {
				t.Errorf("read aloud in another order:\n%s", read)
			}
			for _, want := range []string{"<pdfuaid:part>1</pdfuaid:part>", "/Lang (" + w.language + ")", "/DisplayDocTitle true"} {
				if !bytes.Contains(f.GetContent(), []byte(want)) {
					t.Errorf("lacks %s", want)
				}
			}
			again, err := s.pdfFile(c)
			if err != nil || !bytes.Equal(f.GetContent(), again.GetContent()) || f.GetEtag() != again.GetEtag() {
				t.Errorf("other bytes the second time, %v", err)
			}
			if n := len(f.GetContent()); n > 300<<10 {
				t.Errorf("%d bytes", n)
			}
		})
	}
}

func TestLongAndOddTextsFit(t *testing.T) {
	t.Parallel()
	s := pdfService(t)
	for what, c := range map[string]certificate{
		"long":          issuedCertificate(strings.Repeat("Wolfeschlegel ", 14), strings.Repeat("Advanced ", 22), "en"),
		"no spaces":     issuedCertificate(strings.Repeat("W", 200), strings.Repeat("漢", 200), "ja"),
		"no spaces ar":  issuedCertificate(strings.Repeat("م", 200), strings.Repeat("ش", 200), "ar"),
		"thai":          issuedCertificate(strings.Repeat("สมชาย", 40), strings.Repeat("ปรัชญาเบื้องต้น", 13), "th"),
		"emoji":         issuedCertificate("Anna 🎓👩‍👩‍👧 Müller 🇩🇪", "Fun 🎉 with ❤️ and 1️⃣", "en"),
		"mixed":         issuedCertificate("محمد Ali בן 王 श्री", "C++ و Go: מבוא (2026) 入門", "ar"),
		"bidi controls": issuedCertificate("\u202eadA\u202c \u2066Lovelace\u2069", "An\u200falysis\u0000\u0007\n\t\u2028x", "en"),
		"many marks":    issuedCertificate("Z"+strings.Repeat("\u0301", 199), "a"+strings.Repeat("\u0300\u0316", 100), "vi"),
		"unknown tag":   issuedCertificate("Ada", "Analysis", "x-klingon"),
		"no tag":        issuedCertificate("Ada", "Analysis", ""),
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f, err := s.pdfFile(c)
			if err != nil {
				t.Fatal(err)
			}
			// Nothing stands outside of the frame, and nothing upon something else.
			boxes := regexp.MustCompile(`<block xMin="([-0-9.]+)" yMin="([-0-9.]+)" xMax="([-0-9.]+)" yMax="([-0-9.]+)"`).
				FindAllStringSubmatch(poppler(t, f.GetContent(), "pdftotext", "-bbox-layout"), -1)
			if len(boxes) < 4 {
				t.Errorf("only %d blocks", len(boxes))
			}
			text := poppler(t, f.GetContent(), "pdftotext")
			if strings.ContainsAny(text, "\u202e\u2066\u0007") {
				t.Errorf("controls are in it: %q", text)
			}
			if what == "emoji" && !strings.Contains(plain(text), "Anna") {
				t.Error(text)
			}
			if len(f.GetContent()) > 300<<10 {
				t.Errorf("%d bytes", len(f.GetContent()))
			}
		})
	}
}

func TestFontThatIsMissing(t *testing.T) {
	t.Parallel()
	none, err := pdf.FindFonts(filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Fonts: none, PublicURL: "https://learn.example.org"})
	if _, err := s.pdfFile(issuedCertificate("Ada Žižek Ελένη Ёлка", "Analysis", "el")); err != nil {
		t.Errorf("Latin, Greek and Cyrillic need no font of the system: %v", err)
	}
	for name, says := range map[string]string{"श्री": "fonts-noto-core", "王": "fonts-noto-cjk"} {
		_, err := s.pdfFile(issuedCertificate(name, "Analysis", "en"))
		wantCode(t, err, "certificate.font_missing")
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v does not name %s", err, says)
		}
	}
}

func TestDownloadCertificate(t *testing.T) {
	t.Parallel()
	w := newCertifying(t, rpctest.Everything)
	account, _ := w.completed("Ada Lovelace", "Analysis", "de")
	c := w.only(account)
	f, err := w.certificates.DownloadCertificate(w.as(account), &learningpb.DownloadCertificateRequest{CertificateId: c.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	if text := plain(poppler(t, f.GetContent(), "pdftotext")); !strings.Contains(text, "Abschlusszertifikat") || !strings.Contains(text, c.GetSerial()) || !strings.Contains(text, "04.05.2026") {
		t.Error(text)
	}
	if f.GetContentType() != "application/pdf" || f.GetFilename() != "certificate-"+c.GetSerial()+".pdf" {
		t.Errorf("%s, %s", f.GetContentType(), f.GetFilename())
	}
}

func BenchmarkCertificate(b *testing.B) {
	s := pdfService(b)
	for lang, c := range map[string]certificate{
		"de": issuedCertificate("Ágnes Żółć-Öztürk", "Ethik für Anfänger", "de"),
		"ar": issuedCertificate("فاطمة الزهراء", "مقدمة في الفلسفة", "ar"),
		"ja": issuedCertificate("山田 太郎", "プログラミング入門", "ja"),
	} {
		b.Run(lang, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.pdfFile(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
