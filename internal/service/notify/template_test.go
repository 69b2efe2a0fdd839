package notify

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// Every kind is told in every language, and those with a mail have it in all.
func TestTextsAreWhole(t *testing.T) {
	t.Parallel()
	f := facts{Name: "Ana", Student: "Ben", Course: "Logic", Item: "Quiz 1", Amount: "EUR 1.00", Order: "order_1", Day: "2026-05-01", Link: "https://x/y", Address: "192.0.2.1", Device: "Firefox", Inviter: "Zeno", Message: "Come in!", Code: "AAAA-BBBB", Lines: []line{{"Logic", "EUR 1.00"}}}
	for language, kinds := range texts {
		if len(kinds) != len(texts["en"]) {
			t.Errorf("%s has %d kinds, English has %d", language, len(kinds), len(texts["en"]))
		}
		for k, s := range texts["en"] {
			got, err := tell(k, language, f)
			if err != nil {
				t.Errorf("%s in %s: %v", k, language, err)
				continue
			}
			mailOnly := security[k] || k == invitation
			if (got.title == "") != mailOnly || (got.body == "") != mailOnly ||
				(got.html == "") != (s.text == "") || (texts[language][k].button == "") != (pageOf[k] == "") || (got.subject == "") != (s.subject == "") || (got.text == "") != (s.text == "") {
				t.Errorf("%s in %s lacks a part: %+v", k, language, got)
			}
			if strings.Contains(got.title+got.body+got.subject+got.text+got.html, "<no value>") {
				t.Errorf("%s in %s lacks a fact: %+v", k, language, got)
			}
		}
	}
	if _, err := tell("unheard_of", "en", f); err == nil {
		t.Error("a kind without texts passed")
	}
}

func TestLanguageOf(t *testing.T) {
	t.Parallel()
	for locale, want := range map[string]string{"": "en", "en": "en", "en-GB": "en", "de": "de", "DE-at": "de", "fr": "en", "deu": "en", "-": "en"} {
		if got := languageOf(locale); got != want {
			t.Errorf("languageOf(%q) = %q, want %q", locale, got, want)
		}
	}
}

// No fact makes a second line anywhere but in a mail's text, whose lines are
// ours.
func TestFactsStayInLine(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string {
			return rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune("a {}\r\n\t\x00\u0085\u2028\u2029\u202e\u2066<")))).Draw(t, name)
		}
		f := facts{Name: text("name"), Student: text("student"), Course: text("course"), Inviter: text("inviter"), Message: text("message"), Amount: "EUR 1.00", Order: "order_1", Day: "2026-05-01"}
		for range rapid.IntRange(0, 3).Draw(t, "lines") {
			f.Lines = append(f.Lines, line{Course: text("line"), Amount: "EUR 1.00"})
		}
		for language, kinds := range texts {
			for k, s := range kinds {
				got, err := tell(k, language, f)
				if err != nil {
					t.Fatal(err)
				}
				for _, one := range []string{got.title, got.body, got.subject} {
					if strings.ContainsFunc(one, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\u202e' }) || !utf8.ValidString(one) {
						t.Fatalf("%s: %q", k, one)
					}
				}
				// Each thing bought is one line more than the template's own, in which the loop is one line less.
				want := strings.Count(s.text, "\n")
				if strings.Contains(s.text, "range") {
					want += len(f.Lines) - 1
				}
				if n := strings.Count(got.text, "\n"); n != want {
					t.Fatalf("%s has %d lines, want %d: %q", k, n, want, got.text)
				}
			}
		}
	})
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                       "",
		" a \t\r\n b ":           "a b",
		"a\xffb":                 "a\ufffdb",
		"a\u202eb\u2066c\u200fd": "abcd",
		strings.Repeat("ä", 200): strings.Repeat("ä", 200),
		strings.Repeat("ä", 201): strings.Repeat("ä", 199) + "…",
	} {
		if got := oneLine(in); got != want {
			t.Errorf("oneLine(%q) = %q, want %q", in, got, want)
		}
	}
}
