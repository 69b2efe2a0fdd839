package gradebook_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stoa-lms/stoa/internal/gradebook"
)

// TestBestAttempt: of several attempts the one counts that lateness leaves the most of.
func TestBestAttempt(t *testing.T) {
	t.Parallel()
	const day = 86400
	daily := &gradebook.LatePolicy{Rate: n("10"), Interval: day}
	for name, c := range map[string]struct {
		late     *gradebook.LatePolicy
		of       string
		attempts string // raw@late, the mark's own first
		want     string // which counts, and for what
	}{
		"a late one that is a little better": {daily, "10", "9@1 8.5@0", "1 8.5"},
		"a late one that is much better":     {daily, "10", "9@1 7.5@0", "0 8"},
		"equal ones":                         {daily, "10", "9@1 8@0", "0 8"},
		"the first of equal others":          {daily, "10", "9@86401 8@1 7@0", "0 7"},
		"one in the middle":                  {daily, "10", "9@259200 8@1 6.5@0", "1 7"},
		"without a policy":                   {nil, "10", "9@1 8.5@0", "0 9"},
		"within the grace":                   {&gradebook.LatePolicy{Rate: n("10"), Interval: day, Grace: 1}, "10", "9@1 8.5@0", "0 9"},
		"at the floor":                       {&gradebook.LatePolicy{Rate: n("50"), Interval: day, Floor: n("60")}, "10", "9@1 5@0", "0 6"},
		"a bonus":                            {daily, "0", "9@1 8.5@0", "0 9"},
	} {
		class := points().category(gradebook.Category{}, "-/"+c.of)
		class.policy.Late = c.late
		m := gradebook.Mark{Status: gradebook.Graded}
		for i, text := range strings.Fields(c.attempts) {
			raw, late, _ := strings.Cut(text, "@")
			a := gradebook.Attempt{Raw: n(raw)}
			if _, err := fmt.Sscan(late, &a.Late); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				m.Raw, m.Late = a.Raw, a.Late
			} else {
				m.Others = append(m.Others, a)
			}
		}
		class.row.Marks[0] = m
		b, err := gradebook.Compile(&class.policy)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(b.Counting(n(c.of), &m), " ", class.result(t).Full.Current.Items[0].Points); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// TestBestAttemptSays is the derivation of a mark that is the best of several.
func TestBestAttemptSays(t *testing.T) {
	t.Parallel()
	class := points().category(gradebook.Category{}, "9/10")
	class.policy.Late = &gradebook.LatePolicy{Rate: n("10"), Interval: 3600, Grace: 60}
	class.row.Marks[0].Late, class.row.Marks[0].Others = 7201, []gradebook.Attempt{{Raw: n("8"), Late: 61}, {Raw: n("5")}}
	b, err := gradebook.Compile(&class.policy)
	if err != nil {
		t.Fatal(err)
	}
	d := b.Explain(&class.row, gradebook.Full, gradebook.Current)
	var got []string
	for _, node := range d.Nodes[:2] {
		var of []string
		for _, in := range node.Inputs {
			of = append(of, strings.TrimSpace(in.Name+in.Ref+" "+in.Value.String()))
		}
		got = append(got, fmt.Sprintf("%s %s: %s = %s", node.Kind, node.Formula, strings.Join(of, ", "), node.Value))
	}
	want := `mark best: raw1 9, late1 7201, raw2 8, late2 61, raw3 5, late3 0, points 10, rate 10, interval 3600, floor 0, grace 60 = 8
late late: raw 8, points 10, rate 10, late 61, interval 3600, floor 0 = 7`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
	if _, err := readAgain(d); err != nil {
		t.Error(err)
	}
}
