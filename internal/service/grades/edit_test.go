package grades

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// code is the code of an error; empty for none.
func code(err error) string {
	if err == nil {
		return ""
	}
	return fault.CodeOf(fault.FromStatus(err))
}

func (w *world) undo(change int64) error {
	_, err := w.grid.UndoGradeChange(w.staff(), &gradespb.UndoGradeChangeRequest{CourseId: w.course, What: &gradespb.UndoGradeChangeRequest_ChangeId{ChangeId: change}})
	return err
}

// history returns the changes of a student, the oldest first.
func (w *world) history(account string) []*gradespb.HistoryEntry {
	w.t.Helper()
	var out []*gradespb.HistoryEntry
	for cursor := ""; ; {
		page, err := w.grid.ListGradeHistory(w.staff(), &gradespb.ListGradeHistoryRequest{CourseId: w.course, AccountId: account, Cursor: cursor, PageSize: 2})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, h := range page.GetItems() {
			out = append([]*gradespb.HistoryEntry{h}, out...)
		}
		if cursor = page.GetNextCursor(); cursor == "" {
			return out
		}
	}
}

func TestEditHistoryUndo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 2)
	w.publish(1, nil, q...)
	ana := w.enroll("Ana")
	w.give(w.mark(ana, q[0], "5", "10"))
	w.settled()

	c := w.set(ana, q[0], &gradespb.GradeEdit{Points: new("8"), Reason: "A question was unfair"})
	if c.GetPoints() != "8" || c.GetRawPoints() != "5" || c.GetOverrideBy() != w.teacher || c.GetOverrideReason() != "A question was unfair" {
		t.Errorf("%v, want 8 beside the raw 5", c)
	}
	etag := c.GetEtag()
	if c = w.set(ana, q[0], &gradespb.GradeEdit{Points: new("8.000"), Reason: "The same again"}); c.GetEtag() != etag {
		t.Errorf("the same again is another version: %s, %s", etag, c.GetEtag())
	}
	w.set(ana, q[0], &gradespb.GradeEdit{Status: new("excused"), Reason: "Ill", Feedback: new("Get well soon")})
	if g := w.mine(ana); g.GetCurrent().GetPercent() != "" || g.GetItems()[0].GetFeedback() != "Get well soon" {
		t.Errorf("%v, want nothing to count, and feedback", g)
	}
	// A new mark comes beside all that.
	w.give(w.mark(ana, q[0], "9", "10"))
	all := w.history(ana)
	var got []string
	for _, h := range all {
		got = append(got, fmt.Sprintf("%s %s %s>%s %s>%s", h.GetSource(), h.GetKind(), h.GetBefore().GetPoints(), h.GetAfter().GetPoints(), h.GetBefore().GetStatus(), h.GetAfter().GetStatus()))
	}
	want := []string{"assessment mark >5 >", "staff points >8 >", "staff status > >excused", "staff feedback > >", "assessment mark 5>9 >"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("history (-want +got):\n%s", diff)
	}
	// Undone in any order, each once, and not what the assessment says.
	for _, step := range []struct {
		change  int
		code    string
		percent string
		raw     string
	}{
		{0, "change.not_undoable", "", "9"},
		{1, "", "", "9"},
		{1, "change.undone", "", "9"},
		{2, "", "90", "9"},
		{3, "", "90", "9"},
	} {
		if err := w.undo(all[step.change].GetChangeId()); code(err) != step.code {
			t.Errorf("undo %d: %v, want %q", step.change, err, step.code)
		}
		if got := w.student(ana).GetTotals().GetCurrent().GetPercent(); got != step.percent {
			t.Errorf("after undo %d: %q, want %q", step.change, got, step.percent)
		}
	}
	w.check()
	// An undo is a change, and can be undone.
	all = w.history(ana)
	undo := all[len(all)-3] // of the override
	if undo.GetSource() != "undo" || undo.GetUndoes() != all[1].GetChangeId() {
		t.Fatalf("%v, want the undo of %d", undo, all[1].GetChangeId())
	}
	if err := w.undo(undo.GetChangeId()); err != nil {
		t.Fatal(err)
	}
	if c := w.cell(ana, q[0]); c.GetOverridePoints() != "8" || c.GetOverrideReason() != "A question was unfair" {
		t.Errorf("%v, want the override again", c)
	}
	// Which makes the first one undoable once more.
	if err := w.undo(all[1].GetChangeId()); err != nil {
		t.Errorf("undo again: %v", err)
	}
	w.set(ana, q[0], &gradespb.GradeEdit{Points: new("1"), Reason: "One"})
	all = w.history(ana)
	first := all[len(all)-1].GetChangeId()
	w.set(ana, q[0], &gradespb.GradeEdit{Points: new("2"), Reason: "Two"})
	if err := w.undo(first); code(err) != "change.changed_since" {
		t.Errorf("%v, want that it was changed since", err)
	}
	w.check()
}

// A total that is set, and set again, has the reason of each in its history, that of who
// undoes too.
func TestUndoTotal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(1, nil, newIDs("activity", 1)...)
	ana := w.enroll("Ana")
	w.settled()
	for _, c := range [][2]string{{"60", "First"}, {"70", "Second"}} {
		if _, err := w.grades.SetTotal(w.staff(), &gradespb.SetTotalRequest{CourseId: w.course, AccountId: ana, Percent: c[0], Reason: c[1]}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.grid.UndoGradeChange(w.staff(), &gradespb.UndoGradeChangeRequest{
		CourseId: w.course, What: &gradespb.UndoGradeChangeRequest_ChangeId{ChangeId: w.history(ana)[1].GetChangeId()}, Reason: "Third",
	}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range w.history(ana) {
		got = append(got, fmt.Sprintf("%s %s: %s, since %s", h.GetSource(), h.GetReason(), h.GetAfter().GetPoints(), h.GetAfter().GetReason()))
	}
	want := []string{"staff First: 60, since First", "staff Second: 70, since Second", "undo Third: 60, since First"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEditRefusals(t *testing.T) {
	t.Parallel()
	w := newWorldAllowing(t, func(_, _, permission string) bool { return permission != "grade.post" })
	q := newIDs("activity", 2)
	w.publish(1, nil, q...)
	ana := w.enroll("Ana")
	w.give(w.mark(ana, q[0], "5", "10"))
	w.settled()
	for _, c := range []struct {
		account, item string
		edit          *gradespb.GradeEdit
		want          string
	}{
		{ana, q[0], &gradespb.GradeEdit{}, "grade.no_change"},
		{ana, q[0], &gradespb.GradeEdit{Points: new("5")}, "grade.reason_required"},
		{ana, q[0], &gradespb.GradeEdit{Status: new("excused"), Reason: "  "}, "grade.reason_required"},
		{ana, q[0], &gradespb.GradeEdit{Status: new("gone"), Reason: "Why"}, "request.invalid"},
		{ana, q[0], &gradespb.GradeEdit{Points: new("1e3"), Reason: "Why"}, "request.invalid"},
		{ana, q[1], &gradespb.GradeEdit{Points: new("5"), Reason: "Why"}, "grade.points_unknown"},
		{ana, "activity_nothing", &gradespb.GradeEdit{Points: new("5"), Reason: "Why"}, "item.not_found"},
		{id.New("account"), q[0], &gradespb.GradeEdit{Points: new("5"), Reason: "Why"}, "student.not_found"},
		{ana, q[0], &gradespb.GradeEdit{Posted: new(false)}, "auth.forbidden"},
	} {
		_, err := w.grid.SetGrade(w.staff(), &gradespb.SetGradeRequest{CourseId: w.course, ItemId: c.item, AccountId: c.account, Edit: c.edit})
		if code(err) != c.want {
			t.Errorf("%v: %v, want %s", c.edit, err, c.want)
		}
	}
	total := func(percent string, posted bool) error {
		_, err := w.grades.SetTotal(w.staff(), &gradespb.SetTotalRequest{CourseId: w.course, AccountId: ana, Percent: percent, Posted: posted, Reason: "Why"})
		return err
	}
	if err := total("60", true); code(err) != "auth.forbidden" {
		t.Errorf("a total that is shown: %v", err)
	}
	if n := len(w.history(ana)); n != 1 {
		t.Errorf("%d changes of what was refused", n-1)
	}
	if err := total("60", false); err != nil {
		t.Errorf("a total that is not shown: %v", err)
	}
	// One that is shown is changed, and not hidden; nor is it shown by undoing that it was
	// taken back.
	if _, err := w.db.Exec(t.Context(), `UPDATE total_override SET posted = true`); err != nil {
		t.Fatal(err)
	}
	if err := total("61", false); code(err) != "auth.forbidden" {
		t.Errorf("a total that was shown is hidden: %v", err)
	}
	if err := errors.Join(total("62", true), total("", false)); err != nil {
		t.Error(err)
	}
	all := w.history(ana)
	if err := w.undo(all[len(all)-1].GetChangeId()); code(err) != "auth.forbidden" {
		t.Errorf("a total that was shown comes back: %v", err)
	}
	w.course = id.New("course")
	_, err := w.grid.SetGrade(w.staff(), &gradespb.SetGradeRequest{CourseId: w.course, ItemId: q[0], AccountId: ana, Edit: &gradespb.GradeEdit{Feedback: new("?")}})
	if code(err) != "student.not_found" {
		t.Errorf("in a course without a gradebook: %v", err)
	}
}

// TestTwoTeachersOnOneCell: of many who change a cell at once by the version they have
// seen one wins, and the others are told the version that it has now.
func TestTwoTeachersOnOneCell(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 1)
	w.publish(1, nil, q...)
	ana := w.enroll("Ana")
	w.give(w.mark(ana, q[0], "5", "10"))
	w.settled()
	etag := w.cell(ana, q[0]).GetEtag()
	const teachers = 8
	errs := make([]error, teachers)
	var wg sync.WaitGroup
	for i := range teachers {
		wg.Go(func() {
			ctx := rpc.WithIfMatch(w.as(id.New("account")), etag)
			_, errs[i] = w.grid.SetGrade(ctx, &gradespb.SetGradeRequest{
				CourseId: w.course, ItemId: q[0], AccountId: ana, Edit: &gradespb.GradeEdit{Points: new(fmt.Sprint(i)), Reason: "Mine"},
			})
		})
	}
	wg.Wait()
	won := -1
	now := w.cell(ana, q[0])
	for i, err := range errs {
		switch told, _ := errors.AsType[*fault.Error](fault.FromStatus(err)); {
		case err == nil && won >= 0:
			t.Errorf("%d and %d have won", won, i)
		case err == nil:
			won = i
		case told == nil || told.Code != "etag.stale" || told.Etag != now.GetEtag() || !slices.Contains(told.Fields, fault.Field{Path: "cell.points", Code: "etag.stale", Hint: "It is " + now.GetPoints() + " now."}):
			t.Errorf("%d: %v, want etag.stale with %s", i, err, now.GetEtag())
		}
	}
	if won < 0 || now.GetPoints() != fmt.Sprint(won) {
		t.Errorf("%d won, the cell is %v", won, now)
	}
	if n := len(w.history(ana)); n != 2 {
		t.Errorf("%d changes, want the mark and one override", n)
	}
	w.check()
}

// TestMarksAndEditsAtOnce: marks, overrides, posting and new criteria at the same time
// lose nothing, and come to what a count of everything comes to.
func TestMarksAndEditsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 4)
	w.publish(1, halves(q[:2], q[2:]), q...)
	people := make([]string, 5)
	for i := range people {
		people[i] = w.enroll(fmt.Sprint("Student ", i))
	}
	if _, err := w.columns.UpdateColumn(w.staff(), &gradespb.UpdateColumnRequest{CourseId: w.course, ItemId: q[3], Posting: new("manual")}); err != nil {
		t.Fatal(err)
	}
	const rounds = 12
	var wg sync.WaitGroup
	stop, counted := make(chan struct{}), make(chan struct{})
	go func() { // the worker
		defer close(counted)
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := w.service.countNext(context.Background()); err != nil {
					t.Errorf("count: %v", err)
				}
			}
		}
	}()
	wg.Go(func() {
		for i := range rounds {
			for _, p := range people {
				w.give(w.mark(p, q[i%4], fmt.Sprint(i%11), fmt.Sprint(10+i%2)))
			}
		}
	})
	wg.Go(func() {
		for i := range rounds {
			for _, p := range people {
				w.set(p, q[3], &gradespb.GradeEdit{Feedback: new(fmt.Sprint("Round ", i))})
				w.set(p, q[0], &gradespb.GradeEdit{Status: new([]string{"excused", "", "late", "on_time"}[i%4]), LateSeconds: 5000, Reason: "Round"})
			}
		}
	})
	wg.Go(func() {
		for i := range rounds {
			var err error
			if i%3 == 2 {
				_, err = w.columns.HideGrades(w.staff(), &gradespb.HideGradesRequest{CourseId: w.course, ItemId: q[3], AccountIds: people[:2]})
			} else {
				_, err = w.columns.PostGrades(w.staff(), &gradespb.PostGradesRequest{CourseId: w.course, ItemId: q[3]})
			}
			if err != nil {
				t.Errorf("post: %v", err)
			}
		}
	})
	wg.Go(func() {
		for i := range rounds / 2 {
			c := halves(q[:2], q[2:])
			c.Categories[0].DropLowest = int32(i % 2)
			e := w.publication(int64(i+2), c, q...)
			hear(w, w.service.coursePublished, e)
		}
	})
	wg.Wait()
	close(stop)
	<-counted
	w.settled()
	w.check()
	for _, p := range people {
		kinds := map[string]int{}
		for _, h := range w.history(p) {
			kinds[h.GetKind()]++
		}
		if kinds["mark"] != rounds || kinds["feedback"] != rounds {
			t.Errorf("%v of %d marks and %d feedbacks", kinds, rounds, rounds)
		}
	}
}

func TestBatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 2)
	w.publish(1, nil, q...)
	ana, ben := w.enroll("Ana"), w.enroll("Ben")
	w.give(w.mark(ana, q[0], "5", "10"), w.mark(ben, q[1], "5", "10"))
	w.settled()
	old := w.cell(ana, q[0]).GetEtag()
	w.set(ana, q[0], &gradespb.GradeEdit{Feedback: new("Hm")})

	edit := func(account, item, points, etag string) *gradespb.CellEdit {
		return &gradespb.CellEdit{AccountId: account, ItemId: item, Edit: &gradespb.GradeEdit{Points: &points}, Etag: etag}
	}
	_, err := w.grid.SetGrades(w.staff(), &gradespb.SetGradesRequest{CourseId: w.course, Reason: "Pasted", Cells: []*gradespb.CellEdit{
		edit(ana, q[1], "7", "0"), edit(ana, q[0], "7", old), edit(ben, "activity_x", "7", ""), edit(ben, q[0], "", ""),
	}})
	told, _ := errors.AsType[*fault.Error](fault.FromStatus(err))
	if told == nil || told.Code != "grade.batch_refused" {
		t.Fatalf("%v, want it refused", err)
	}
	var got []string
	for _, f := range told.Fields {
		got = append(got, f.Path+" "+f.Code)
	}
	if diff := cmp.Diff([]string{"cells[1] etag.stale", "cells[2] item.not_found"}, got); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	if c := w.cell(ana, q[1]); c.GetEtag() != "0" {
		t.Errorf("%v was changed by a batch that was refused", c)
	}
	_, err = w.grid.SetGrades(w.staff(), &gradespb.SetGradesRequest{CourseId: w.course, Reason: "Twice", Cells: []*gradespb.CellEdit{edit(ana, q[0], "1", ""), edit(ana, q[0], "2", "")}})
	if code(err) != "grade.cell_twice" {
		t.Errorf("%v", err)
	}
	res, err := w.grid.SetGrades(rpc.WithIdempotencyKey(w.staff(), "paste"), &gradespb.SetGradesRequest{CourseId: w.course, Reason: "Pasted", Cells: []*gradespb.CellEdit{
		edit(ana, q[0], "7", ""), edit(ana, q[1], "8", ""), edit(ben, q[0], "9", ""), edit(ben, q[1], "", ""),
	}})
	if err != nil || res.GetChanged() != 3 || len(res.GetCells()) != 4 || res.GetCells()[2].GetPoints() != "9" {
		t.Fatalf("%v, %v", res, err)
	}
	w.check()
	if got := w.student(ana).GetTotals().GetCurrent().GetPercent(); got != "75" {
		t.Errorf("%s %%, want 75", got)
	}
	undone, err := w.grid.UndoGradeChange(w.staff(), &gradespb.UndoGradeChangeRequest{CourseId: w.course, What: &gradespb.UndoGradeChangeRequest_BatchId{BatchId: res.GetBatchId()}})
	if err != nil || undone.GetUndone() != 3 {
		t.Fatalf("%v, %v", undone, err)
	}
	if got := w.student(ana).GetTotals().GetCurrent().GetPercent(); got != "50" {
		t.Errorf("%s %%, want 50", got)
	}
	w.check()
}
