package discovery

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestAlike(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":             {},
		"?!":           {},
		"Go, book! GO": {"bok", "boo", "book", "go", "ook"},
		"C++ für":      {"c", "für"},
		"Öl öl":        {"öl"},
	} {
		if diff := cmp.Diff(want, alike(text)); diff != "" {
			t.Errorf("alike(%q) (-want +got):\n%s", text, diff)
		}
	}
}

func TestForgiving(t *testing.T) {
	t.Parallel()
	for query, want := range map[string][2]string{
		"":             {"", ""},
		`"a phrase"`:   {"", ""},
		"this -that":   {"", ""},
		"this OR that": {"", ""},
		"Go book":      {"('book'|'ook'|'bok'|'boo')&('go')", "'book':*&'go'"},
		"it's a\\":     {"('a')&('it')&('s')", "'a'&'it'&'s'"},
	} {
		spelt, begun := forgiving(query)
		if diff := cmp.Diff(want, [2]string{spelt, begun}); diff != "" {
			t.Errorf("forgiving(%q) (-want +got):\n%s", query, diff)
		}
	}
}

// One mistake of any kind in a word of four letters or more leaves something in
// common.
func TestOneMistakeIsForgiven(t *testing.T) {
	t.Parallel()
	letter := rapid.RuneFrom([]rune("abcdeföß"))
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SliceOfN(letter, minForgiven, maxForgiven-1).Draw(t, "word")
		wrong := slices.Clone(word)
		i := rapid.IntRange(0, len(word)-2).Draw(t, "at")
		switch rapid.IntRange(0, 3).Draw(t, "mistake") {
		case 0: // two letters changed places
			wrong[i], wrong[i+1] = wrong[i+1], wrong[i]
		case 1: // a wrong letter
			wrong[i] = letter.Draw(t, "letter")
		case 2: // one too many
			wrong = slices.Insert(wrong, i, letter.Draw(t, "letter"))
		case 3: // one too few
			wrong = slices.Delete(wrong, i, i+1)
		}
		if !slices.ContainsFunc(variants(string(wrong)), func(v string) bool { return slices.Contains(variants(string(word)), v) }) {
			t.Fatalf("%q does not find %q", string(wrong), string(word))
		}
	})
}
