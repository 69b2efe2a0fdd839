package grades

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

const day = int64(24 * time.Hour / time.Second)

// best is a mark of several attempts: of each the points and how late it was, the one of
// most points first.
func (w *world) best(account, item, of string, attempts ...string) *assessmentpb.MarkChanged {
	w.t.Helper()
	m := w.mark(account, item, "", of)
	m.Attempts = int32(len(attempts)) //nolint:gosec // small
	for i, text := range attempts {
		points, seconds, _ := strings.Cut(text, "@")
		var late int64
		if _, err := fmt.Sscan(seconds, &late); err != nil {
			w.t.Fatal(err)
		}
		if i == 0 {
			m.Points, m.LateSeconds = points, late
			continue
		}
		m.Others = append(m.Others, &assessmentpb.MarkedAttempt{
			SourceId: id.New("attempt"), Points: points, LateSeconds: late, SubmittedAt: timestamppb.New(w.tick()), MarkedBy: id.New("account"),
		})
	}
	return m
}

// counts holds what staff and the student see of a cell, and what it counts, to be of one
// of the attempts of a mark: 0 for the mark itself.
func (w *world) counts(what string, m *assessmentpb.MarkChanged, i int, raw, points string) {
	w.t.Helper()
	want := &assessmentpb.MarkedAttempt{SourceId: m.GetSourceId(), LateSeconds: m.GetLateSeconds(), SubmittedAt: m.GetSubmittedAt(), MarkedBy: m.GetMarkedBy()}
	if i > 0 {
		want = m.GetOthers()[i-1]
	}
	c := w.cell(m.GetAccountId(), m.GetItemId())
	if c.GetSourceId() != want.GetSourceId() || c.GetLateSeconds() != want.GetLateSeconds() || c.GetLate() != (want.GetLateSeconds() > 0) ||
		!proto.Equal(c.GetSubmittedAt(), want.GetSubmittedAt()) || c.GetMarkedBy() != want.GetMarkedBy() || c.GetRawPoints() != raw || c.GetPoints() != points {
		w.t.Errorf("%s: staff see %v", what, c)
	}
	var mine *gradespb.MyGrade
	for _, g := range w.mine(m.GetAccountId()).GetItems() {
		if g.GetItemId() == m.GetItemId() {
			mine = g
		}
	}
	deducted := numberOf(&raw).Sub(numberOf(&points)).String()
	if deducted == "0" {
		deducted = ""
	}
	if mine.GetLateSeconds() != want.GetLateSeconds() || !proto.Equal(mine.GetSubmittedAt(), want.GetSubmittedAt()) || mine.GetRawPoints() != raw || mine.GetPoints() != points || mine.GetDeducted() != deducted {
		w.t.Errorf("%s: the student sees %v", what, mine)
	}
	w.check()
}

// TestBestAfterLateness: of several attempts the one counts that the late policy leaves
// the most of, whatever it becomes, and whatever staff say.
func TestBestAfterLateness(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 3)
	criteria := halves(nil, q)
	criteria.Categories[0].DropLowest = 0
	w.publish(1, criteria, q...)
	ana := w.enroll("Ana")
	a := w.best(ana, q[0], "10", "9@1", "8.5@0")
	b := w.best(ana, q[1], "10", "9@1", "7.5@0")
	c := w.best(ana, q[2], "20", fmt.Sprint("19@", 3*day), "17@1", "12@0")
	w.give(a, b, c)
	w.settled()
	w.counts("a late one that is a little better", a, 1, "8.5", "8.5")
	w.counts("a late one that is much better", b, 0, "9", "8")
	w.counts("one in the middle", c, 1, "17", "15")
	if got := w.mine(ana).GetCurrent().GetPercent(); got != "78.75" {
		t.Errorf("the total is %s", got)
	}

	// Files of staff, and what has changed for who follows.
	if file := string(w.export("csv")); !strings.Contains(file, ",8.5,8,15,") {
		t.Errorf("exported: %s", file)
	}
	cursor := w.cursor()
	// Another policy, without another mark.
	publish := func(sequence int64, late *coursespb.LatePolicy) {
		t.Helper()
		criteria.Late = late
		w.publish(sequence, criteria, q...)
	}
	publish(2, nil)
	w.counts("without a policy", a, 0, "9", "9")
	w.counts("without a policy", b, 0, "9", "9")
	w.counts("without a policy", c, 0, "19", "19")
	changes, err := w.grid.ListGradeChanges(w.staff(), &gradespb.ListGradeChangesRequest{CourseId: w.course, Cursor: cursor})
	if err != nil {
		t.Fatal(err)
	}
	var raw []string
	for _, change := range changes.GetItems() {
		if cell := change.GetCell(); cell != nil {
			raw = append(raw, cell.GetRawPoints()+" of "+cell.GetSourceId())
		}
	}
	want := []string{"9 of " + a.GetSourceId(), "9 of " + b.GetSourceId(), "19 of " + c.GetSourceId()}
	slices.Sort(want)
	slices.Sort(raw)
	if diff := cmp.Diff(want, raw); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	publish(3, &coursespb.LatePolicy{Rate: "40", Interval: "day"})
	w.counts("a harder policy", b, 1, "7.5", "7.5")
	w.counts("a harder policy", c, 2, "12", "12")
	publish(4, &coursespb.LatePolicy{Rate: "10", Interval: "day"})

	// What staff say of lateness holds for all of them.
	w.set(ana, q[0], &gradespb.GradeEdit{Status: new("on_time"), Reason: "The network was down"})
	if got := w.cell(ana, q[0]); got.GetSourceId() != a.GetSourceId() || got.GetPoints() != "9" || got.GetLate() {
		t.Errorf("on time: %v", got)
	}
	w.set(ana, q[0], &gradespb.GradeEdit{Status: new("late"), LateSeconds: 2 * day, Reason: "It was copied"})
	if got := w.cell(ana, q[0]); got.GetSourceId() != a.GetSourceId() || got.GetPoints() != "7" || got.GetLateSeconds() != 2*day {
		t.Errorf("late: %v", got)
	}
	w.check()
	w.set(ana, q[0], &gradespb.GradeEdit{Status: new(""), Reason: "As it was"})
	w.counts("as it was", a, 1, "8.5", "8.5")

	// Out of other points than it was marked of.
	if _, err := w.columns.UpdateColumn(w.staff(), &gradespb.UpdateColumnRequest{CourseId: w.course, ItemId: q[0], Points: new("100")}); err != nil {
		t.Fatal(err)
	}
	w.settled()
	w.counts("of 100", a, 1, "85", "85")
}

// TestBestIsFollowed: who follows changes is told when another attempt counts, though it
// counts as much as the one before.
func TestBestIsFollowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 1)
	criteria := halves(nil, q)
	w.publish(1, criteria, q...)
	ana := w.enroll("Ana")
	m := w.best(ana, q[0], "10", "9@1", "8@0")
	w.give(m)
	w.settled()
	w.counts("equal ones", m, 0, "9", "8")
	cursor := w.cursor()
	criteria.Late.Rate = "15"
	w.publish(2, criteria, q...)
	w.counts("one of them counts less", m, 1, "8", "8")
	changes, err := w.grid.ListGradeChanges(w.staff(), &gradespb.ListGradeChangesRequest{CourseId: w.course, Cursor: cursor})
	if err != nil || len(changes.GetItems()) != 1 || changes.GetItems()[0].GetCell().GetRawPoints() != "8" {
		t.Errorf("changes: %v, %v", changes, err)
	}
}

// TestBestIsExplained: the derivation has each attempt, for the student too.
func TestBestIsExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 1)
	w.publish(1, halves(nil, q), q...)
	ana := w.enroll("Ana")
	w.give(w.best(ana, q[0], "10", fmt.Sprint("9@", 2*day), "8@1", "6.5@0"))
	w.settled()
	says := func(d *gradespb.GradeDerivation, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, step := range d.GetSteps()[1:3] {
			var inputs []string
			for _, in := range step.GetInputs() {
				inputs = append(inputs, strings.TrimSpace(in.GetName()+in.GetRef()+" "+in.GetValue()))
			}
			out = append(out, fmt.Sprintf("%s by %s of %s: %s", step.GetKind(), step.GetFormula(), strings.Join(inputs, ", "), step.GetValue()))
		}
		return strings.Join(out, "\n")
	}
	want := `mark by best of raw1 9, late1 172800, raw2 8, late2 1, raw3 6.5, late3 0, points 10, rate 10, interval 86400, floor 0, grace 0: 9
late by late of raw 9, points 10, rate 10, late 172800, interval 86400, floor 0: 7`
	if got := says(w.grades.ExplainStudentGrade(w.staff(), &gradespb.ExplainStudentGradeRequest{CourseId: w.course, AccountId: ana})); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := says(w.grades.ExplainMyGrade(w.as(ana), &gradespb.ExplainMyGradeRequest{CourseId: w.course})); got != want {
		t.Errorf("the student is told\n%s", got)
	}
	w.set(ana, q[0], &gradespb.GradeEdit{Posted: new(false)})
	if d, err := w.grades.ExplainMyGrade(w.as(ana), &gradespb.ExplainMyGradeRequest{CourseId: w.course}); err != nil || strings.Contains(fmt.Sprint(d), "172800") {
		t.Errorf("unposted: %v, %v", d, err)
	}
	mine := w.mine(ana).GetItems()[0]
	if mine.GetSubmittedAt() != nil || mine.GetLate() || mine.GetRawPoints() != "" {
		t.Errorf("unposted the student sees %v", mine)
	}
}

// TestOthersAreKept: a change of the others alone is an entry of the history, and who
// knows of none leaves nothing behind that counts.
func TestOthersAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 1)
	w.publish(1, halves(nil, q), q...)
	ana := w.enroll("Ana")
	first := w.best(ana, q[0], "10", "9@1", "8.5@0")
	second := w.best(ana, q[0], "10", "9@1", "8.75@0")
	second.SourceId, second.SubmittedAt = first.GetSourceId(), first.GetSubmittedAt()
	second.Others[0].SourceId = first.GetOthers()[0].GetSourceId()
	same := proto.CloneOf(second)
	same.Version = second.GetVersion() + 1
	w.mu.Lock()
	w.marks++
	w.mu.Unlock()
	w.give(first, second, same)
	w.settled()
	w.counts("another other", same, 1, "8.75", "8.75")
	var others []string
	for _, h := range w.history(ana) {
		if h.GetKind() == kindMark {
			others = append(others, fmt.Sprint(len(h.GetBefore().GetOthers()), " ", h.GetAfter().GetOthers()[0].GetPoints(), " ", h.GetAfter().GetOthers()[0].GetSourceId() == second.GetOthers()[0].GetSourceId()))
		}
	}
	if diff := cmp.Diff([]string{"0 8.5 true", "1 8.75 true"}, others); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	// A process of the version before stores a mark, and leaves what it does not know.
	if _, err := w.db.Exec(t.Context(), `UPDATE cell SET points = 5, mark_version = mark_version + 1 WHERE account_id = $1`, ana); err != nil {
		t.Fatal(err)
	}
	if c := w.cell(ana, q[0]); c.GetPoints() != "4" || c.GetRawPoints() != "5" {
		t.Errorf("by a mark without others: %v", c)
	}
	w.mu.Lock()
	w.marks++
	w.mu.Unlock()
	// Nothing of several counts any more.
	w.give(w.mark(ana, q[0], "7", "10"))
	w.settled()
	if c := w.cell(ana, q[0]); c.GetPoints() != "7" {
		t.Errorf("of one attempt: %v", c)
	}
	w.check()
}
