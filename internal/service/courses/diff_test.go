package courses

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// sides returns the text before and the text after of a comparison.
func sides(list []hunk) (before, after string) {
	var a, b strings.Builder
	for _, h := range list {
		if h.op != '+' {
			a.WriteString(h.text)
		}
		if h.op != '-' {
			b.WriteString(h.text)
		}
	}
	return a.String(), b.String()
}

func checkText(t interface{ Errorf(string, ...any) }, a, b string, budget int) []hunk {
	got := diffText(a, b, &budget)
	if was, is := sides(got); was != a || is != b {
		t.Errorf("diff of %q and %q is %v", a, b, got)
	}
	for i, h := range got {
		if h.text == "" || i > 0 && got[i-1].op == h.op || i > 0 && got[i-1].op == '+' && h.op == '-' {
			t.Errorf("diff of %q and %q is not normal: %v", a, b, got)
		}
	}
	return got
}

func TestDiffText(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		a, b string
		want []hunk
	}{
		"nothing":       {"", "", nil},
		"new":           {"", "a\nb", []hunk{{'+', "a\nb"}}},
		"gone":          {"a\nb", "", []hunk{{'-', "a\nb"}}},
		"a word":        {"the old stoa", "the new stoa", []hunk{{'=', "the "}, {'-', "old"}, {'+', "new"}, {'=', " stoa"}}},
		"a sentence":    {"one two three four", "five six seven four", []hunk{{'-', "one two three"}, {'+', "five six seven"}, {'=', " four"}}},
		"a line":        {"a\nb\nc\n", "a\nc\n", []hunk{{'=', "a\n"}, {'-', "b\n"}, {'=', "c\n"}}},
		"an end":        {"a\nb", "a\nb\n", []hunk{{'=', "a\nb"}, {'+', "\n"}}},
		"without words": {"日本語", "日木語", []hunk{{'=', "日"}, {'-', "本"}, {'+', "木"}, {'=', "語"}}},
	} {
		got := checkText(t, c.a, c.b, diffBudget)
		if d := cmp.Diff(c.want, got, cmp.AllowUnexported(hunk{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// text draws texts that have something in common.
func text(t *rapid.T, label string) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "stoa", " ", "  ", "\n", "\n\n", ".", "日", "é", "\xff", "e\u0301"}), 0, 40).Draw(t, label), "")
}

func TestDiffTextLeadsFromOneToTheOther(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		checkText(t, text(t, "a"), text(t, "b"), rapid.IntRange(0, 500).Draw(t, "budget"))
	})
}

func FuzzDiffText(f *testing.F) {
	f.Add("one\ntwo\n", "one\nthree\n")
	f.Add("\xff\x00 a", "\xff a")
	f.Fuzz(func(t *testing.T, a, b string) { checkText(t, a, b, diffBudget) })
}

// TestDiffIsShortest: what is found to be the same is as much as can be.
func TestDiffIsShortest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.SliceOfN(rapid.Int32Range(0, 3), 0, 12).Draw(t, "a"), rapid.SliceOfN(rapid.Int32Range(0, 3), 0, 12).Draw(t, "b")
		budget := diffBudget
		gone, _ := compareSequences(a, b, &budget)
		same := len(a)
		for _, g := range gone {
			if g {
				same--
			}
		}
		// The longest common subsequence, by its definition.
		best := make([][]int, len(a)+1)
		for i := range best {
			best[i] = make([]int, len(b)+1)
		}
		for i := range a {
			for j := range b {
				best[i+1][j+1] = max(best[i][j+1], best[i+1][j])
				if a[i] == b[j] {
					best[i+1][j+1] = max(best[i+1][j+1], best[i][j]+1)
				}
			}
		}
		if same != best[len(a)][len(b)] {
			t.Errorf("%v and %v have %d in common, found %d", a, b, best[len(a)][len(b)], same)
		}
	})
}

// TestDiffIsBounded: texts of the largest lesson that have nothing in common but
// what makes it hard take no more than the budget lets them.
func TestDiffIsBounded(t *testing.T) {
	t.Parallel()
	words := func(seed int) string {
		var b strings.Builder
		for i := 0; b.Len() < MaxBody; i++ {
			seed = (seed*1_103_515_245 + 12_345) & 0x7fffffff
			fmt.Fprintf(&b, "w%d ", seed%1000)
			if i%3 == 0 {
				b.WriteString("\n")
			}
		}
		return b.String()
	}
	began := time.Now()
	budget := diffBudget
	a, b := words(1), words(2)
	if was, is := sides(diffText(a, b, &budget)); was != a || is != b {
		t.Error("a text was lost")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	t.Logf("%s", time.Since(began))
}

// blockText draws a block.
func blockOf(t *rapid.T) document {
	d := document{"type": rapid.SampledFrom([]string{"markdown", "image", "code"}).Draw(t, "type")}
	if rapid.Bool().Draw(t, "texted") {
		d["text"] = text(t, "text")
	}
	if rapid.IntRange(0, 4).Draw(t, "named") == 0 {
		d["id"] = rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "id")
	}
	if rapid.IntRange(0, 3).Draw(t, "more") == 0 {
		d["more"] = map[string]any{"n": json.Number(fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "n"))), "list": []any{"a"}}
	}
	return d
}

// changedBlocks draws what somebody could make of a list of blocks.
func changedBlocks(t *rapid.T, list []document) []document {
	out := slices.Clone(list)
	for range rapid.IntRange(0, 4).Draw(t, "edits") {
		n := len(out)
		switch what := rapid.SampledFrom([]string{"add", "remove", "move", "edit"}).Draw(t, "edit"); {
		case what == "add" || n == 0:
			out = slices.Insert(out, rapid.IntRange(0, n).Draw(t, "at"), blockOf(t))
		case what == "remove":
			i := rapid.IntRange(0, n-1).Draw(t, "at")
			out = slices.Delete(out, i, i+1)
		case what == "move":
			i := rapid.IntRange(0, n-1).Draw(t, "at")
			b := out[i]
			out = slices.Delete(out, i, i+1)
			out = slices.Insert(out, rapid.IntRange(0, n-1).Draw(t, "to"), b)
		default:
			i := rapid.IntRange(0, n-1).Draw(t, "at")
			b := maps.Clone(out[i])
			b["text"] = text(t, "new text")
			out[i] = b
		}
	}
	return out
}

// apply makes the later blocks of the earlier and of how they differ.
func apply(t *rapid.T, a []document, b []document, pairs []pair) []document {
	var out []document
	used := map[int]int{}
	for _, p := range pairs {
		if p.before >= 0 {
			used[p.before]++
		}
		switch p.change {
		case "removed":
			continue
		case "same", "moved":
			out = append(out, a[p.before])
		default:
			var was document
			if p.change == "changed" {
				was = a[p.before]
			}
			budget := diffBudget
			out = append(out, applyFields(t, was, compareFields("", was, b[p.after], &budget)))
		}
		if p.after != len(out)-1 {
			t.Errorf("block %d comes as %d", p.after, len(out)-1)
		}
	}
	for i := range a {
		if used[i] != 1 {
			t.Errorf("block %d is told %d times", i, used[i])
		}
	}
	return out
}

func applyFields(t *rapid.T, was document, list []change) document {
	out := maps.Clone(was)
	if out == nil {
		out = document{}
	}
	for _, c := range list {
		in := map[string]any(out)
		path := strings.Split(c.path, ".")
		if len(path) == 2 {
			inner, _ := out[path[0]].(map[string]any)
			in = maps.Clone(inner)
			out[path[0]] = in
		}
		key := path[len(path)-1]
		switch {
		case !c.has:
			delete(in, key)
		case c.text != nil:
			before, after := sides(c.text)
			if old, _ := in[key].(string); old != before {
				t.Errorf("%s was %q and is told as %q", c.path, old, before)
			}
			in[key] = after
		default:
			in[key] = c.after
		}
	}
	return out
}

func TestBlocksLeadFromOneToTheOther(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var a []document
		for range rapid.IntRange(0, 8).Draw(t, "blocks") {
			a = append(a, blockOf(t))
		}
		b := changedBlocks(t, a)
		budget := diffBudget
		got := apply(t, a, b, alignBlocks(a, b, &budget))
		if textOf(got) != textOf(append([]document(nil), b...)) && len(got)+len(b) > 0 {
			t.Errorf("applied:\n%s\nwant:\n%s", textOf(got), textOf(b))
		}
		for _, p := range alignBlocks(a, a, &budget) {
			if p.change != "same" {
				t.Errorf("what is the same is told as %v", p)
			}
		}
	})
}

func TestAlignBlocks(t *testing.T) {
	t.Parallel()
	md := func(text string) document { return document{"type": "markdown", "text": text} }
	image := func(name string) document { return document{"type": "image", "media_id": name} }
	for name, c := range map[string]struct {
		a, b []document
		want []pair
	}{
		"an edit in the middle": {
			[]document{md("one"), md("two and more of it"), image("x")},
			[]document{md("one"), md("two and less of it"), image("x")},
			[]pair{{0, 0, "same"}, {1, 1, "changed"}, {2, 2, "same"}},
		},
		"another picture": {[]document{md("one"), image("x")}, []document{md("one"), image("y")}, []pair{{0, 0, "same"}, {1, 1, "changed"}}},
		"one put before":  {[]document{md("a b c"), md("d e f")}, []document{md("x y z"), md("a b c"), md("d e f")}, []pair{{-1, 0, "added"}, {0, 1, "same"}, {1, 2, "same"}}},
		"moved":           {[]document{md("a"), md("b"), md("c")}, []document{md("c"), md("a"), md("b")}, []pair{{2, 0, "moved"}, {0, 1, "same"}, {1, 2, "same"}}},
		"replaced":        {[]document{md("a b"), md("c d")}, []document{md("e f"), md("g h")}, []pair{{0, -1, "removed"}, {1, -1, "removed"}, {-1, 0, "added"}, {-1, 1, "added"}}},
		"named":           {[]document{{"id": "x", "type": "code", "text": "a"}, md("b")}, []document{md("b"), {"id": "x", "type": "code", "text": "z"}}, []pair{{1, 0, "same"}, {0, 1, "changed"}}},
	} {
		budget := diffBudget
		if d := cmp.Diff(c.want, alignBlocks(c.a, c.b, &budget), cmp.AllowUnexported(pair{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestCompareItems(t *testing.T) {
	t.Parallel()
	it := func(id, parent string, place int32, version int64, title string) placed {
		kind := "lesson"
		if parent == "" {
			kind = "module"
		}
		return placed{id, parent, kind, place, version, title}
	}
	before := []placed{
		it("m1", "", 0, 1, "M1"), it("m2", "", 1, 2, "M2"),
		it("a", "m1", 0, 3, "A"), it("b", "m1", 1, 4, "B"), it("c", "m1", 2, 5, "C"), it("d", "m1", 3, 6, "D"), it("e", "m2", 0, 7, "E"),
	}
	after := []placed{
		it("m1", "", 0, 1, "M1"), it("m2", "", 1, 2, "M2"),
		it("d", "m1", 0, 6, "D"), it("a", "m1", 1, 3, "A"), it("c", "m1", 2, 15, "Sea"), it("n", "m1", 3, 16, "N"),
		it("b", "m2", 0, 14, "B"),
	}
	budget := diffBudget
	var got []string
	for _, c := range compareItems(before, after, map[string]bool{"b": true}, &budget) {
		got = append(got, c.ID+": "+strings.Join(c.changes, " "))
	}
	want := []string{"d: moved", "c: renamed", "n: added", "b: moved changed", "e: removed"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func BenchmarkDiffText(b *testing.B) {
	var old, now strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&old, "line %d of a text that is long\n", i)
		if i%10 != 0 {
			fmt.Fprintf(&now, "line %d of a text that is %s\n", i, map[bool]string{true: "short", false: "long"}[i%7 == 0])
		}
	}
	for b.Loop() {
		budget := diffBudget
		diffText(old.String(), now.String(), &budget)
	}
}
