package courses

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func content3(t *rapid.T) (base, current, yours document) {
	var blocks []document
	for range rapid.IntRange(0, 6).Draw(t, "blocks") {
		blocks = append(blocks, blockOf(t))
	}
	of := func(title string, list []document) document {
		body := []any{}
		for _, b := range list {
			body = append(body, map[string]any(b))
		}
		return document{"title": title, "preview": false, "body": body}
	}
	titles := rapid.SampledFrom([]string{"One", "Two"})
	return of("One", blocks), of(titles.Draw(t, "title"), changedBlocks(t, blocks)), of(titles.Draw(t, "your title"), changedBlocks(t, blocks))
}

func merged(base, current, yours document) (document, []conflict) {
	budget := diffBudget
	m := &merger{budget: &budget}
	return m.documents(base, current, yours), m.conflicts
}

// What one side alone has changed is the result, whichever side; the same change
// of both is made once; and nothing that was given is changed.
func TestMergeOfOneSide(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		base, current, yours := content3(t)
		before := textOf(base) + textOf(current) + textOf(yours)
		for what, c := range map[string]struct{ base, current, yours, want document }{
			"theirs": {base, current, base, current},
			"yours":  {base, base, yours, yours},
			"both":   {base, yours, yours, yours},
		} {
			got, conflicts := merged(c.base, c.current, c.yours)
			if textOf(got) != textOf(c.want) || len(conflicts) > 0 {
				t.Errorf("%s: got\n%s\nwant\n%s\nconflicts %v", what, textOf(got), textOf(c.want), conflicts)
			}
		}
		merged(base, current, yours)
		if textOf(base)+textOf(current)+textOf(yours) != before {
			t.Error("the merge has changed what it was given")
		}
	})
}

// TestMergeLosesNothing: without conflicts each block that either side has added
// is in the result.
func TestMergeLosesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		base, current, yours := content3(t)
		got, conflicts := merged(base, current, yours)
		if len(conflicts) > 0 {
			return
		}
		count := func(list []document) map[string]int {
			out := map[string]int{}
			for _, b := range list {
				out[textOf(b)]++
			}
			return out
		}
		has := count(got.body())
		budget := diffBudget
		for _, side := range []document{current, yours} {
			for _, p := range alignBlocks(base.body(), side.body(), &budget) {
				if b := side.body(); p.change == "added" && has[textOf(b[p.after])] == 0 {
					t.Errorf("%s is lost of\n%s\nand\n%s\nto\n%s", textOf(b[p.after]), textOf(current), textOf(yours), textOf(got))
				}
			}
		}
	})
}

func TestMerge(t *testing.T) {
	t.Parallel()
	md := func(text string) document { return document{"type": "markdown", "text": text} }
	long := "The painted porch of Athens was where Zeno of Citium taught his school."
	doc := func(title string, list ...document) document {
		body := []any{}
		for _, b := range list {
			body = append(body, map[string]any(b))
		}
		return document{"title": title, "body": body}
	}
	for name, c := range map[string]struct {
		base, current, yours, want document
		conflicts                  []conflict
	}{
		"words apart": {
			doc("t", md(long)), doc("t", md("The famous painted porch of Athens was where Zeno of Citium taught his school.")),
			doc("t", md("The painted porch of Athens was where Zeno of Citium founded his school.")),
			doc("t", md("The famous painted porch of Athens was where Zeno of Citium founded his school.")), nil,
		},
		"the same word": {
			doc("t", md(long)), doc("t", md("The painted porch of Athens was where Zeno of Citium founded his school.")),
			doc("t", md("The painted porch of Athens was where Zeno of Citium opened his school.")),
			doc("t", md("The painted porch of Athens was where Zeno of Citium founded his school.")),
			[]conflict{{"blocks[0].text", "taught", "founded", "opened"}},
		},
		"titles": {doc("a"), doc("b"), doc("c"), doc("b"), []conflict{{"title", "a", "b", "c"}}},
		"both add": {
			doc("t", md("one")), doc("t", md("one"), md("theirs is here")), doc("t", md("one"), md("but yours too")),
			doc("t", md("one"), md("theirs is here"), md("but yours too")), nil,
		},
		"one moves, one edits": {
			doc("t", md("a a a"), md("b b b"), md(long)), doc("t", md(long), md("a a a"), md("b b b")),
			doc("t", md("a a a"), md("b b b"), md(long+" Indeed.")), doc("t", md(long+" Indeed."), md("a a a"), md("b b b")), nil,
		},
		"gone here, changed there": {
			doc("t", md("stays"), md(long)), doc("t", md("stays")), doc("t", md("stays"), md(long+" Indeed.")), doc("t", md("stays")),
			[]conflict{{"blocks[1]", textOf(md(long)), "", textOf(md(long + " Indeed."))}},
		},
		"changed here, gone there": {
			doc("t", md("stays"), md(long)), doc("t", md("stays"), md(long+" Indeed.")), doc("t", md("stays")), doc("t", md("stays"), md(long+" Indeed.")),
			[]conflict{{"blocks[1]", textOf(md(long)), textOf(md(long + " Indeed.")), ""}},
		},
	} {
		got, conflicts := merged(c.base, c.current, c.yours)
		if textOf(got) != textOf(c.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, textOf(got), textOf(c.want))
		}
		if d := cmp.Diff(c.conflicts, conflicts, cmp.AllowUnexported(conflict{})); d != "" {
			t.Errorf("%s: conflicts (-want +got):\n%s", name, d)
		}
	}
}

// FuzzMergeText: what one side alone has changed is the result, and without a
// conflict the order of the sides does not matter.
func FuzzMergeText(f *testing.F) {
	f.Add("a b c d", "a x c d", "a b c y")
	f.Fuzz(func(t *testing.T, base, current, yours string) {
		merge := func(a, b, c string) (string, int) {
			budget := diffBudget
			m := &merger{budget: &budget}
			return m.text("text", a, b, c), len(m.conflicts)
		}
		if got, n := merge(base, current, base); got != current || n > 0 {
			t.Errorf("%q and its change %q make %q", base, current, got)
		}
		if got, n := merge(base, base, yours); got != yours || n > 0 {
			t.Errorf("%q and its change %q make %q", base, yours, got)
		}
		one, n := merge(base, current, yours)
		other, m := merge(base, yours, current)
		if n != m || n == 0 && one != other {
			t.Errorf("%q, %q and %q make %q and %q", base, current, yours, one, other)
		}
	})
}

func TestRuleIn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		days int32 // -1 for no rule
	}{
		"none":     {`{"title": "x"}`, -1},
		"empty":    {`{"release": null, "settings": {}}`, -1},
		"column":   {`{"release": {"enrolled": {"days": 3}}}`, 3},
		"settings": {`{"settings": {"release": {"enrolled": {"days": 4}}, "required": true}}`, 4},
		"bytes":    {`{"release": "\\x2a020805"}`, 5},
	} {
		doc := rawDocument(t, c.text)
		r, err := ruleIn(doc)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if (r == nil) != (c.days < 0) || r != nil && r.GetEnrolled().GetDays() != c.days {
			t.Errorf("%s: %v", name, r)
		}
	}
}
