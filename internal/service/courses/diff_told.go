package courses

import (
	"maps"
	"unicode/utf8"

	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// told turns what was found into messages, and counts their bytes.
type told struct {
	size      int
	shortened bool
}

// How much is told of a value, and of each end of a text that is the same.
const (
	maxValue = 2_000
	around   = 200
)

func (t *told) changes(list []change) []*coursespb.FieldChange {
	var out []*coursespb.FieldChange
	for _, c := range list {
		if t.size > maxItem {
			t.shortened = true
			break
		}
		f := &coursespb.FieldChange{Path: c.path}
		if c.text != nil {
			f.Text = t.hunks(c.text)
		} else {
			if c.had {
				f.Before = t.value(textOf(c.before))
			}
			if c.has {
				f.After = t.value(textOf(c.after))
			}
		}
		out = append(out, f)
	}
	return out
}

func (t *told) value(text string) string {
	if cut := clip(text, maxValue); cut != text {
		text, t.shortened = cut, true
	}
	t.size += len(text)
	return text
}

// hunks leaves out the middle of what is the same.
func (t *told) hunks(list []hunk) []*coursespb.TextHunk {
	var out []*coursespb.TextHunk
	names := map[byte]string{'=': "equal", '-': "delete", '+': "insert"}
	for _, h := range list {
		if t.size > maxItem {
			t.shortened = true
			break
		}
		m := &coursespb.TextHunk{Op: names[h.op], Text: h.text}
		if h.op == '=' && len(h.text) > 3*around {
			head, tail := clip(h.text, around), clipFront(h.text, around)
			m.Text = head + tail
			m.Omitted = int32(utf8.RuneCountInString(h.text) - utf8.RuneCountInString(head) - utf8.RuneCountInString(tail)) //nolint:gosec // at most a MiB
		} else if room := maxItem - t.size; len(h.text) > room {
			m.Text, t.shortened = clip(h.text, room), true
		}
		t.size += len(m.Text) + 8
		out = append(out, m)
	}
	return out
}

// clip returns the beginning of a text, whole characters of at most n bytes.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// clipFront returns its end.
func clipFront(text string, n int) string {
	i := len(text) - n
	if i <= 0 {
		return text
	}
	for i < len(text) && !utf8.RuneStart(text[i]) {
		i++
	}
	return text[i:]
}

// diffItem tells what happened to an item, and how many bytes it takes. before is
// nil for one that is new, after for one that is gone, which are told by their
// titles and not in full.
func diffItem(c itemChange, before, after document, budget *int) (*coursespb.ItemDiff, int) {
	out := &coursespb.ItemDiff{ItemId: c.ID, Kind: c.Kind, Changes: c.changes}
	if before != nil {
		out.TitleBefore, out.ParentBefore, out.PositionBefore = c.before.Title, c.before.ParentID, c.before.Place
	}
	if after != nil {
		out.TitleAfter, out.ParentAfter, out.PositionAfter = c.Title, c.ParentID, c.Place
	}
	t := &told{}
	if c.has("changed") {
		t.contents(out, before, after, budget)
	}
	out.Shortened = t.shortened || *budget < 0
	return out, t.size + 2*len(c.Title) + 200
}

// diffContents compares two contents of one item.
func diffContents(itemID, kind string, before, after document) *coursespb.ItemDiff {
	out := &coursespb.ItemDiff{ItemId: itemID, Kind: kind}
	out.TitleBefore, _ = before["title"].(string)
	out.TitleAfter, _ = after["title"].(string)
	if out.GetTitleBefore() != out.GetTitleAfter() {
		out.Changes = append(out.Changes, "renamed")
	}
	t, budget := &told{}, diffBudget
	t.contents(out, before, after, &budget)
	if len(out.GetSettings()) > 0 || len(out.GetBlocks()) > 0 {
		out.Changes = append(out.Changes, "changed")
	}
	out.Shortened = t.shortened || budget < 0
	return out
}

// contents tells how settings and blocks differ.
func (t *told) contents(out *coursespb.ItemDiff, before, after document, budget *int) {
	settings := func(d document) document {
		d = maps.Clone(d)
		delete(d, "title")
		delete(d, "body")
		return d
	}
	out.Settings = t.changes(compareFields("", settings(before), settings(after), budget))
	a, b := before.body(), after.body()
	for _, p := range alignBlocks(a, b, budget) {
		if p.change == "same" {
			continue
		}
		if t.size > maxItem {
			t.shortened = true
			break
		}
		d := &coursespb.BlockDiff{Change: p.change, Before: int32(p.before), After: int32(p.after)} //nolint:gosec // a few hundred
		var was, is document
		if p.before >= 0 {
			was = a[p.before]
			d.Type = was.kind()
		}
		if p.after >= 0 {
			is = b[p.after]
			d.Type = is.kind()
		}
		if p.change != "moved" {
			d.Fields = t.changes(compareFields("", was, is, budget))
		}
		t.size += 40
		out.Blocks = append(out.Blocks, d)
	}
}
