package pdf_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/pdf"
)

var may = time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)

func fonts(t testing.TB) *pdf.Fonts {
	t.Helper()
	f, err := pdf.FindFonts(pdf.FontDirs...)
	if err != nil {
		t.Fatal(err)
	}
	if missing := f.Missing(); len(missing) > 0 {
		t.Fatalf("install %q", missing)
	}
	return f
}

// page is a page with the texts one below the other.
func page(t testing.TB, f *pdf.Fonts, lang string, texts ...string) []byte {
	t.Helper()
	p := pdf.New(f, 842, 595, pdf.Meta{Title: "Title", Author: "Stoa", Language: lang, Created: may})
	y := 560.0
	for i, text := range texts {
		role := "P"
		if i == 0 {
			role = "H1"
		}
		height, err := p.Text(pdf.Text{Role: role, Text: text, Size: 24, MinSize: 8, MaxLines: 3, X: 421, Y: y, Width: 700})
		if err != nil {
			t.Fatalf("%s: %q: %v", lang, text, err)
		}
		y -= height
	}
	return p.Bytes()
}

// poppler runs one of poppler's programs on a document.
func poppler(t testing.TB, document []byte, program string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "page.pdf")
	if err := os.WriteFile(path, document, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, a := range args {
		if a == "FILE" {
			args[i] = path
		}
	}
	cmd := exec.CommandContext(context.Background(), program, args...) //nolint:gosec // a test's own
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("%s: %v: %s", program, err, stderr.String())
	}
	return out.String()
}

var languages = map[string][]string{
	"en":      {"Certificate of completion", "Anna Müller-O’Brien", "Office fluffy affairs"},
	"de":      {"Teilnahmebestätigung", "Jürgen Größe", "Übergänge & Maße"},
	"vi":      {"Chứng nhận hoàn thành", "Nguyễn Thị Minh Khai", "Lập trình cơ bản"},
	"pl":      {"Świadectwo ukończenia", "Żaneta Łęcka", "Źródła wiedzy"},
	"ru":      {"Сертификат об окончании", "Ёлка Щукина", "Введение"},
	"uk":      {"Сертифікат про завершення", "Їжак Ґудзь", "Вступ"},
	"el":      {"Πιστοποιητικό ολοκλήρωσης", "Ἀριστοτέλης Παπαδόπουλος", "Ηθική"},
	"ar":      {"شهادة إتمام", "فاطمة الزهراء", "مقدمة في الفلسفة", "لا إله إلا الله"},
	"he":      {"תעודת סיום", "דוד בן־גוריון", "מבוא לפילוסופיה"},
	"hi":      {"पूर्णता प्रमाणपत्र", "श्रीनिवास रामानुजन", "दर्शनशास्त्र का परिचय"},
	"zh-Hans": {"结业证书", "王小明", "哲学导论"},
	"ja":      {"修了証書", "山田 太郎", "プログラミング入門"},
	"ko":      {"수료증", "홍길동", "철학 입문"},
	"th":      {"ใบรับรองการสำเร็จหลักสูตร", "สมชาย ใจดี", "ปรัชญาเบื้องต้น"},
	"ka":      {"სერტიფიკატი", "ნინო", "ფილოსოფია"},
}

// TestWhatIsTurnedIsPlaced looks where words stand: what goes from right to left
// within what goes from left to right, with a number in it, and the other way
// round.
func TestWhatIsTurnedIsPlaced(t *testing.T) {
	t.Parallel()
	f := fonts(t)
	for text, want := range map[string][]string{
		"Go: מבוא (2026) end":   {"Go:", "(2026)", "מבוא", "end"},
		"abc 12 def":            {"abc", "12", "def"},
		"שלום abc 12 עולם":      {"עולם", "abc", "12", "שלום"},
		"עמוד 12 מתוך 34":       {"34", "מתוך", "12", "עמוד"},
		"Tel 055 and שלום only": {"Tel", "055", "and", "שלום", "only"},
	} {
		words := regexp.MustCompile(`<word xMin="([0-9.]+)"[^>]*>([^<]+)</word>`).
			FindAllStringSubmatch(poppler(t, page(t, f, "en", text), "pdftotext", "-bbox", "FILE", "-"), -1)
		slices.SortFunc(words, func(a, b []string) int {
			left, _ := strconv.ParseFloat(a[1], 64)
			right, _ := strconv.ParseFloat(b[1], 64)
			return cmp.Compare(left, right)
		})
		// Poppler takes single letters of what is turned for words.
		var got string
		for _, w := range words {
			got += w[2]
		}
		var all string
		for _, w := range want {
			if strings.ContainsFunc(w, func(r rune) bool { return r >= 0x590 && r < 0x600 }) {
				letters := []rune(w)
				slices.Reverse(letters)
				w = string(letters)
			}
			all += w
		}
		if turned(got) != turned(all) {
			t.Errorf("%q stands as %q, want %q", text, got, all)
		}
	}
}

// turned leaves out brackets, which are told as they are read and not as they look.
func turned(text string) string { return strings.NewReplacer("(", "", ")", "").Replace(text) }

func TestTextComesOutAsItWentIn(t *testing.T) {
	t.Parallel()
	f := fonts(t)
	for lang, texts := range languages {
		t.Run(lang, func(t *testing.T) {
			t.Parallel()
			document := page(t, f, lang, texts...)
			got := strings.Map(func(r rune) rune {
				if strings.ContainsRune("\u200e\u200f\u202a\u202b\u202c\f", r) { // poppler marks what it has turned
					return -1
				}
				return r
			}, poppler(t, document, "pdftotext", "FILE", "-"))
			if diff := gocmp.Diff(texts, strings.Split(strings.TrimSpace(strings.ReplaceAll(got, "\n\n", "\n")), "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzText sets any text in any language: it fits, or its script has no font, and
// the same text makes the same bytes.
func FuzzText(f *testing.F) {
	for lang, texts := range languages {
		for _, text := range texts {
			f.Add(lang, text)
		}
	}
	f.Add("ar", "a\u202e\u0301\u200d\u0000 (12) \u05d0\U000e0001\ufffd")
	all := fonts(f)
	f.Fuzz(func(t *testing.T, lang, text string) {
		if len(text) > 2000 || len(lang) > 50 {
			return
		}
		var first []byte
		for range 2 {
			p := pdf.New(all, 842, 595, pdf.Meta{Title: text, Language: lang, Created: may})
			height, err := p.Text(pdf.Text{Role: "P", Text: text, Size: 30, MinSize: 10, MaxLines: 2, X: 421, Y: 500, Width: 300})
			if _, missing := errors.AsType[*pdf.MissingFontError](err); err != nil && !missing {
				t.Fatal(err)
			}
			if height < 0 || height > 2*30*1.4 {
				t.Errorf("%q is %v high", text, height)
			}
			document := p.Bytes()
			if first != nil && !bytes.Equal(first, document) {
				t.Error("other bytes the second time")
			}
			first = document
		}
	})
}
