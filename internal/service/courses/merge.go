package courses

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// conflict is a place that both sides have changed, each otherwise.
type conflict struct {
	path                 string
	base, current, yours string
}

// merger puts two changes of one document together. Where both have changed the
// same, the current side is taken and the place noted.
type merger struct {
	conflicts []conflict
	budget    *int
}

// documents merges contents: their fields, and their blocks one by one.
func (m *merger) documents(base, current, yours document) document {
	without := func(d document) document {
		d = maps.Clone(d)
		delete(d, "body")
		return d
	}
	out := m.fields("", without(base), without(current), without(yours))
	blocks := m.blocks(base.body(), current.body(), yours.body())
	list := make([]any, len(blocks))
	for i, b := range blocks {
		list[i] = map[string]any(b)
	}
	out["body"] = list
	return out
}

// fields merges objects field by field.
func (m *merger) fields(path string, base, current, yours document) document {
	out := maps.Clone(current)
	if out == nil {
		out = document{}
	}
	keys := map[string]bool{}
	for _, d := range []document{base, current, yours} {
		for key := range d {
			keys[key] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		b, inBase := base[key]
		c, inCurrent := current[key]
		y, inYours := yours[key]
		same := func(v any, in bool, w any, also bool) bool { return in == also && textOf(v) == textOf(w) }
		switch {
		case same(c, inCurrent, y, inYours), same(b, inBase, y, inYours):
		case same(b, inBase, c, inCurrent):
			if out[key] = y; !inYours {
				delete(out, key)
			}
		default:
			if v := m.value(path+key, b, c, y); inCurrent {
				out[key] = v
			}
		}
	}
	return out
}

// value merges a value that both sides have changed.
func (m *merger) value(path string, base, current, yours any) any {
	was, a := base.(map[string]any)
	is, b := current.(map[string]any)
	edit, c := yours.(map[string]any)
	if a && b && c {
		return map[string]any(m.fields(path+".", was, is, edit))
	}
	old, a := base.(string)
	now, b := current.(string)
	mine, c := yours.(string)
	if a && b && c && (len(old) > longText || strings.Contains(old, "\n")) {
		return m.text(path, old, now, mine)
	}
	m.conflict(path, shownValue(base), shownValue(current), shownValue(yours))
	return current
}

// maxConflicts bounds what is told.
const maxConflicts = 200

func (m *merger) conflict(path, base, current, yours string) {
	if len(m.conflicts) < maxConflicts {
		m.conflicts = append(m.conflicts, conflict{path, clip(base, maxValue), clip(current, maxValue), clip(yours, maxValue)})
	}
}

// shownValue is a text as it is, and all else as JSON; "" where it is absent.
func shownValue(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		return textOf(v)
	}
}

// edit is that some tokens of the base are replaced.
type edit struct {
	from, to int
	text     string
}

func edits(base, other []string, budget *int) []edit {
	var out []edit
	n := numbered(base, other)
	gone, came := compareSequences(n[0], n[1], budget)
	for i, j := 0, 0; i < len(base) || j < len(other); {
		e := edit{from: i, to: i}
		for e.to < len(base) && gone[e.to] {
			e.to++
		}
		at := j
		for at < len(other) && came[at] {
			at++
		}
		if e.to > i || at > j {
			e.text = strings.Join(other[j:at], "")
			out, i, j = append(out, e), e.to, at
			continue
		}
		i, j = i+1, j+1
	}
	return out
}

// text merges texts word by word. Changes that touch each other are one place.
func (m *merger) text(path, base, current, yours string) string {
	words := tokens(base)
	a, b := edits(words, tokens(current), m.budget), edits(words, tokens(yours), m.budget)
	var out strings.Builder
	at := 0
	for len(a) > 0 || len(b) > 0 {
		// A place: the first change of either, and all that touch it.
		var from, to int
		if len(b) == 0 || len(a) > 0 && a[0].from <= b[0].from {
			from, to = a[0].from, a[0].to
		} else {
			from, to = b[0].from, b[0].to
		}
		nA, nB := 0, 0
		for {
			switch {
			case nA < len(a) && a[nA].from <= to:
				to, nA = max(to, a[nA].to), nA+1
				continue
			case nB < len(b) && b[nB].from <= to:
				to, nB = max(to, b[nB].to), nB+1
				continue
			}
			break
		}
		out.WriteString(strings.Join(words[at:from], ""))
		was := strings.Join(words[from:to], "")
		now, mine := applied(words, from, to, a[:nA]), applied(words, from, to, b[:nB])
		switch {
		case nA == 0:
			out.WriteString(mine)
		case nB == 0 || now == mine:
			out.WriteString(now)
		default:
			m.conflict(path, was, now, mine)
			out.WriteString(now)
		}
		at, a, b = to, a[nA:], b[nB:]
	}
	out.WriteString(strings.Join(words[at:], ""))
	return out.String()
}

// applied returns the words from one place to another with some changes made.
func applied(words []string, from, to int, list []edit) string {
	var out strings.Builder
	for _, e := range list {
		out.WriteString(strings.Join(words[from:e.from], ""))
		out.WriteString(e.text)
		from = e.to
	}
	out.WriteString(strings.Join(words[from:to], ""))
	return out.String()
}

// fates says what one side made of the blocks of the base.
type fates struct {
	blocks []document
	stayed []int       // by place in the base: the place there of one that kept its order, else -1
	moved  []int       // the place of one that went elsewhere, else -1
	come   [][]int     // by place in the base: those that stand before it and did not stay, the last behind all
	origin map[int]int // of those that moved, by place: the place in the base
}

func fatesOf(base, blocks []document, budget *int) fates {
	f := fates{blocks: blocks, stayed: make([]int, len(base)), moved: make([]int, len(base)), come: make([][]int, len(base)+1), origin: map[int]int{}}
	for i := range base {
		f.stayed[i], f.moved[i] = -1, -1
	}
	var order []int32
	var pairs []pair
	for _, p := range alignBlocks(base, blocks, budget) {
		if p.after >= 0 {
			pairs = append(pairs, p)
			if p.change == "same" || p.change == "changed" {
				order = append(order, int32(p.before)) //nolint:gosec // a few hundred
			}
		}
	}
	sorted := slices.Clone(order)
	slices.Sort(sorted)
	_, out := compareSequences(sorted, order, budget)
	n, gap := 0, 0
	for _, p := range pairs {
		inOrder := false
		if p.change == "same" || p.change == "changed" {
			inOrder = !out[n]
			n++
		}
		switch {
		case inOrder:
			f.stayed[p.before], gap = p.after, p.before+1
			continue
		case p.before >= 0:
			f.moved[p.before], f.origin[p.after] = p.after, p.before
		}
		f.come[gap] = append(f.come[gap], p.after)
	}
	return f
}

// gone reports whether the side has taken a block of the base away.
func (f fates) gone(i int) bool { return f.stayed[i] < 0 && f.moved[i] < 0 }

// of returns what the side has made of a block of the base that it still has.
func (f fates) of(i int) document {
	if f.stayed[i] >= 0 {
		return f.blocks[f.stayed[i]]
	}
	return f.blocks[f.moved[i]]
}

// blocks merges lists of blocks. What either side has added is in the result, that
// of the current side first; a block that one has moved and the other changed is
// both; one that one has taken away and the other changed is a conflict.
func (m *merger) blocks(base, current, yours []document) []document {
	c, y := fatesOf(base, current, m.budget), fatesOf(base, yours, m.budget)
	out := []document{}
	path := func() string { return "blocks[" + strconv.Itoa(len(out)) + "]" }
	both := func(i int) {
		out = append(out, m.fields(path()+".", base[i], c.of(i), y.of(i)))
	}
	// lost is a block that one side has and the other has taken away.
	lost := func(i int, has fates, byYou bool) {
		changed := textOf(has.of(i)) != textOf(base[i]) || has.moved[i] >= 0
		switch {
		case !changed:
		case byYou:
			m.conflict(path(), textOf(base[i]), textOf(has.of(i)), "")
			out = append(out, has.of(i))
		default:
			m.conflict(path(), textOf(base[i]), "", textOf(has.of(i)))
		}
	}
	for i := range len(base) + 1 {
		added := map[string]int{}
		for _, j := range c.come[i] {
			from, moved := c.origin[j]
			switch {
			case !moved:
				added[textOf(current[j])]++
				out = append(out, current[j])
			case y.gone(from):
				lost(from, c, true)
			default:
				both(from)
			}
		}
		for _, j := range y.come[i] {
			from, moved := y.origin[j]
			switch {
			case !moved && added[textOf(yours[j])] > 0:
				added[textOf(yours[j])]--
			case !moved:
				out = append(out, yours[j])
			case c.moved[from] >= 0: // it is where the current side has moved it
			case c.gone(from):
				lost(from, y, false)
			default:
				both(from)
			}
		}
		switch {
		case i == len(base):
		case c.stayed[i] >= 0 && y.stayed[i] >= 0:
			both(i)
		case c.stayed[i] >= 0 && y.gone(i):
			lost(i, c, true)
		case y.stayed[i] >= 0 && c.gone(i):
			lost(i, y, false)
		}
	}
	return out
}
