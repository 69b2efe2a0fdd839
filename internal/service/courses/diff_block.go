package courses

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// document is a content of an item, or a block of it, as JSON: what is compared
// and merged is all that is stored, whatever it is.
type document map[string]any

// parse reads a document; numbers stay as they are written.
func parse(text []byte) (document, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var out document
	err := d.Decode(&out)
	return out, err
}

// textOf returns a value as text that is the same for the same value.
func textOf(v any) string {
	text, err := json.Marshal(v)
	if err != nil { // nothing that was read from JSON fails
		return ""
	}
	return string(text)
}

// body returns the blocks of a content.
func (d document) body() []document {
	list, _ := d["body"].([]any)
	out := make([]document, 0, len(list))
	for _, b := range list {
		if block, ok := b.(map[string]any); ok {
			out = append(out, block)
		}
	}
	return out
}

// kind returns the type of a block.
func (d document) kind() string {
	kind, _ := d["type"].(string)
	return kind
}

// change is a field that differs.
type change struct {
	path          string
	before, after any  // nil where absent
	had, has      bool // whether it was and is there
	text          []hunk
}

// longText is from when on a text is compared word by word.
const longText = 60

// compareFields returns the fields that differ, by their names; objects are
// looked into.
func compareFields(prefix string, a, b document, budget *int) []change {
	keys := slices.Sorted(maps.Keys(a))
	for key := range b {
		if _, ok := a[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var out []change
	for _, key := range keys {
		before, had := a[key]
		after, has := b[key]
		if had == has && textOf(before) == textOf(after) {
			continue
		}
		was, object := before.(map[string]any)
		is, objects := after.(map[string]any)
		if object && objects && len(was) > 0 && len(is) > 0 && !strings.Contains(prefix, ".") {
			out = append(out, compareFields(prefix+key+".", was, is, budget)...)
			continue
		}
		c := change{path: prefix + key, before: before, after: after, had: had, has: has}
		old, isOld := before.(string)
		now, isNow := after.(string)
		if (isOld || !had) && (isNow || !has) && (max(len(old), len(now)) > longText || strings.Contains(old+now, "\n")) {
			c.text = diffText(old, now, budget)
		}
		out = append(out, c)
	}
	return out
}

// pair is what became of a block: its place before and after, -1 for none.
type pair struct {
	before, after int
	change        string // "same", "moved", "changed", "added" or "removed"
}

// alignBlocks finds what became of each block: those that stayed the same in
// order, then those that are the same elsewhere, then those of the same type that
// are most alike between the same neighbours. Those that are gone come first, the
// others in the order of b.
func alignBlocks(a, b []document, budget *int) []pair {
	texts := func(list []document) []string {
		out := make([]string, len(list))
		for i, d := range list {
			out[i] = textOf(d)
		}
		return out
	}
	was, is := texts(a), texts(b)
	n := numbered(was, is)
	gone, came := compareSequences(n[0], n[1], budget)
	of := make([]pair, len(b)) // by place in b
	used := make([]bool, len(a))
	set := func(i, j int, change string) {
		of[j], used[i] = pair{i, j, change}, true
	}
	// gaps has for each block that differs after how many that stayed it comes.
	gapA, gapB := make([]int, len(a)), make([]int, len(b))
	stayed := 0
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && gone[i]:
			gapA[i] = stayed
			i++
		case j < len(b) && came[j]:
			of[j], gapB[j] = pair{-1, j, "added"}, stayed
			j++
		default:
			set(i, j, "same")
			i, j, stayed = i+1, j+1, stayed+1
		}
	}
	// One that names itself is itself.
	match(a, b, used, of, func(i, j int) bool {
		id, ok := a[i]["id"].(string)
		return ok && id != "" && id == b[j]["id"] && was[i] != is[j]
	}, func(i, j int) { set(i, j, "changed") })
	match(a, b, used, of, func(i, j int) bool { return n[0][i] == n[1][j] }, func(i, j int) { set(i, j, "moved") })
	alike(a, b, used, of, gapA, gapB, func(i, j int) { set(i, j, "changed") })

	var out []pair
	for i := range a {
		if !used[i] {
			out = append(out, pair{i, -1, "removed"})
		}
	}
	return append(out, of...)
}

// match pairs each block that is new with the first unused one that fits.
func match(a, b []document, used []bool, of []pair, fits func(i, j int) bool, set func(i, j int)) {
	for j := range b {
		if of[j].change != "added" {
			continue
		}
		for i := range a {
			if !used[i] && fits(i, j) {
				set(i, j)
				break
			}
		}
	}
}

// leastAlike is how much two blocks have in common to be one that was changed, of
// all their words.
const leastAlike = 0.3

// alike pairs blocks of one type in one gap: those most alike first, and where
// there is one of a type on either side these two.
func alike(a, b []document, used []bool, of []pair, gapA, gapB []int, set func(i, j int)) {
	type candidate struct {
		i, j  int
		score float64
	}
	wordsA, wordsB := map[int]map[string]bool{}, map[int]map[string]bool{}
	var list []candidate
	alone := map[[2]string]int{}
	key := func(gap int, kind string) [2]string { return [2]string{textOf(gap), kind} }
	for i := range a {
		if !used[i] {
			wordsA[i] = wordsOf(a[i])
			alone[key(gapA[i], a[i].kind())]++
		}
	}
	for j := range b {
		if of[j].change == "added" {
			wordsB[j] = wordsOf(b[j])
			alone[key(gapB[j], b[j].kind())] += 1 << 20
		}
	}
	for i := range a {
		if used[i] {
			continue
		}
		for j := range b {
			if of[j].change != "added" || gapA[i] != gapB[j] || a[i].kind() != b[j].kind() {
				continue
			}
			score := common(wordsA[i], wordsB[j])
			if score >= leastAlike || alone[key(gapA[i], a[i].kind())] == 1<<20+1 {
				list = append(list, candidate{i, j, score})
			}
		}
	}
	slices.SortStableFunc(list, func(x, y candidate) int {
		switch {
		case x.score > y.score:
			return -1
		case x.score < y.score:
			return 1
		default:
			return 0
		}
	})
	for _, c := range list {
		if !used[c.i] && of[c.j].change == "added" {
			set(c.i, c.j)
		}
	}
}

// maxWords bounds what is looked at of a block to find its like.
const maxWords = 2_000

// wordsOf returns the words in the texts of a block.
func wordsOf(d document) map[string]bool {
	out := map[string]bool{}
	for key, v := range d {
		text, ok := v.(string)
		if !ok || key == "type" {
			continue
		}
		for word := range strings.FieldsSeq(text) {
			if out[word] = true; len(out) >= maxWords {
				return out
			}
		}
	}
	return out
}

// common returns how many of all words are in both.
func common(a, b map[string]bool) float64 {
	both := 0
	for w := range a {
		if b[w] {
			both++
		}
	}
	if all := len(a) + len(b) - both; all > 0 {
		return float64(both) / float64(all)
	}
	return 1
}
