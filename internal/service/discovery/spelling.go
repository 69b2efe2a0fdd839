package discovery

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Typing mistakes are forgiven by leaving letters out: two words that differ by
// one letter left out, added, replaced or moved have a text in common when each
// may leave out one letter. "pyhton" and "python" meet in "pyton". So looking up
// a handful of texts in an index finds what a comparison of all words would.
// Shared trigrams don't tell here: "pyhton" shares as many with "pythagoras".
const (
	minForgiven = 4  // shorter words are like too many others
	maxForgiven = 24 // longer ones would leave out too many letters
	maxWord     = 100
)

// wordsOf returns the distinct words of a text in lower case.
func wordsOf(text string) []string {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) })
	words = slices.DeleteFunc(words, func(w string) bool { return utf8.RuneCountInString(w) > maxWord })
	slices.Sort(words)
	return slices.Compact(words)
}

// variants returns a word and, where it is forgiven, the word with any one of
// its letters left out.
func variants(word string) []string {
	out := []string{word}
	letters := []rune(word)
	if len(letters) < minForgiven || len(letters) > maxForgiven {
		return out
	}
	for i := range letters {
		if i == 0 || letters[i] != letters[i-1] { // the second of two equal letters leaves the same
			out = append(out, string(letters[:i])+string(letters[i+1:]))
		}
	}
	return out
}

// alike returns all that the words of a text are found by.
func alike(text string) []string {
	out := []string{}
	for _, w := range wordsOf(text) {
		out = append(out, variants(w)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// forgiving returns two queries in the syntax of a tsquery that find more than
// the words as they are: spelt is for what [alike] returns, begun is for words
// that begin with those asked for. They are empty for a query that says more
// than words, such as a phrase.
func forgiving(query string) (spelt, begun string) {
	if strings.Contains(query, `"`) {
		return "", ""
	}
	for field := range strings.FieldsSeq(query) {
		if strings.HasPrefix(field, "-") || strings.EqualFold(field, "or") {
			return "", ""
		}
	}
	var every, beginnings []string
	for _, w := range wordsOf(query) {
		every = append(every, "('"+strings.Join(variants(w), "'|'")+"')") // letters and digits need no escape
		beginnings = append(beginnings, "'"+w+"'")
		if utf8.RuneCountInString(w) >= minForgiven {
			beginnings[len(beginnings)-1] += ":*"
		}
	}
	return strings.Join(every, "&"), strings.Join(beginnings, "&")
}
