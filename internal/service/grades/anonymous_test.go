package grades

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// staffViews are all answers that staff get about a course that name somebody, and what
// has changed after a cursor.
func (w *world) staffViews(account, item, cursor string) map[string]string {
	w.t.Helper()
	out := map[string]string{}
	show := func(name string, m proto.Message, err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatalf("%s: %v", name, err)
		}
		out[name] = strings.ReplaceAll(protojson.Format(m), "  ", " ") // its spaces vary
	}
	ctx := w.staff()
	rows, err := w.grid.ListGradeRows(ctx, &gradespb.ListGradeRowsRequest{CourseId: w.course})
	show("rows", rows, err)
	show("student", w.student(account), nil)
	changes, err := w.grid.ListGradeChanges(ctx, &gradespb.ListGradeChangesRequest{CourseId: w.course, Cursor: cursor})
	show("changes", &gradespb.ListGradeChangesResponse{Items: changes.GetItems()}, err)
	history, err := w.grid.ListGradeHistory(ctx, &gradespb.ListGradeHistoryRequest{CourseId: w.course, AccountId: account})
	show("history", history, err)
	for _, basis := range []string{"current", "final"} {
		explained, err := w.grades.ExplainStudentGrade(ctx, &gradespb.ExplainStudentGradeRequest{CourseId: w.course, AccountId: account, Basis: basis})
		show("explanation "+basis, explained, err)
	}
	estimate, err := w.grades.EstimateStudentGrades(ctx, &gradespb.EstimateStudentGradesRequest{CourseId: w.course, AccountId: account})
	show("what if", estimate, err)
	stats, err := w.columns.GetItemStatistics(ctx, &gradespb.GetItemStatisticsRequest{CourseId: w.course, ItemId: item})
	show("statistics", stats, err)
	out["file"] = string(w.export("csv"))
	return out
}

func (w *world) cursor() string {
	w.t.Helper()
	b, err := w.grid.GetGradebook(w.staff(), &gradespb.GetGradebookRequest{CourseId: w.course})
	if err != nil {
		w.t.Fatal(err)
	}
	return b.GetChangesCursor()
}

// TestAnonymousMarkIsUnseen holds everything that staff see beside names before and after
// an anonymous mark is made to be the same, until it is posted.
func TestAnonymousMarkIsUnseen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 2)
	w.publish(1, nil, q...)
	if _, err := w.columns.UpdateColumn(w.staff(), &gradespb.UpdateColumnRequest{CourseId: w.course, ItemId: q[0], Posting: new("manual"), Points: new("10")}); err != nil {
		t.Fatal(err)
	}
	ana, ben, cleo := w.enroll("Ana"), w.enroll("Ben"), w.enroll("Cleo")
	for i, account := range []string{ana, ben, cleo} {
		submitted := w.mark(account, q[0], "", "10")
		submitted.State, submitted.SourceId, submitted.Anonymous, submitted.Attempts = "submitted", "", true, int32(1+i)
		w.give(submitted, w.mark(account, q[1], "5", "10"))
	}
	w.settled()
	if at := w.cell(ana, q[0]).GetSubmittedAt(); at == nil || w.cell(ben, q[0]).GetSubmittedAt() != nil {
		t.Errorf("when it was handed in is told of one attempt alone: %v", at)
	}

	for i, account := range []string{ana, ben, cleo} {
		cursor := w.cursor()
		before := w.staffViews(account, q[0], cursor)
		if before["changes"] != "{}" || len(before["rows"]) < 100 {
			t.Fatalf("views before: %v", before)
		}
		first := w.cell(account, q[0])
		for _, points := range []string{"9", "7.5"} { // marked, and again
			m := w.mark(account, q[0], points, "10")
			m.SourceId, m.Anonymous, m.Attempts, m.MarkedBy, m.Cause = "", true, int32(1+i), w.teacher, "marking"
			if i == 0 {
				m.SubmittedAt = first.GetSubmittedAt()
			} else {
				m.LateSeconds = 60
				m.Others = []*assessmentpb.MarkedAttempt{{Points: "7", SubmittedAt: timestamppb.New(w.tick()), MarkedBy: w.teacher}}
			}
			w.give(m)
			w.settled()
			after := w.staffViews(account, q[0], cursor)
			// All of the course has a number more, whoever it is.
			after["file"], before["file"] = versions(after["file"]), versions(before["file"])
			if diff := cmp.Diff(before, after); diff != "" {
				t.Fatalf("it is seen (-before +after):\n%s", diff)
			}
		}
	}

	// Posted it is told, by one, by all, and by itself from then on.
	w.set(ana, q[0], &gradespb.GradeEdit{Posted: new(true)})
	if c := w.cell(ana, q[0]); c.GetPoints() != "7.5" || c.GetStatus() != "graded" || c.GetMarkedBy() != w.teacher || c.GetCounted() != "counted" {
		t.Errorf("posted: %v", c)
	}
	if text := w.staffViews(ana, q[0], w.cursor())["history"]; !strings.Contains(text, `"9"`) || !strings.Contains(text, `"7.5"`) {
		t.Errorf("its history: %s", text)
	}
	if got := w.mine(ana).GetItems()[0].GetPoints(); got != "7.5" {
		t.Errorf("Ana sees %q", got)
	}
	if _, err := w.columns.UpdateColumn(w.staff(), &gradespb.UpdateColumnRequest{CourseId: w.course, ItemId: q[0], Posting: new("automatic")}); err != nil {
		t.Fatal(err)
	}
	w.settled()
	if c := w.cell(ben, q[0]); c.GetPosted() || c.GetRawPoints() != "" {
		t.Errorf("what was hidden is told when the policy changes: %v", c)
	}
	out, err := w.columns.PostGrades(w.staff(), &gradespb.PostGradesRequest{CourseId: w.course, ItemId: q[0]})
	if err != nil || out.GetChanged() != 2 {
		t.Fatalf("post: %v, %v", out, err)
	}
	w.settled()
	if c := w.cell(ben, q[0]); c.GetPoints() != "7.5" || c.GetSubmittedAt() == nil {
		t.Errorf("posted with all: %v", c)
	}
	if stats, err := w.columns.GetItemStatistics(w.staff(), &gradespb.GetItemStatisticsRequest{CourseId: w.course, ItemId: q[0]}); err != nil || stats.GetCount() != 3 {
		t.Errorf("statistics: %v, %v", stats, err)
	}
	dan := w.enroll("Dan")
	m := w.mark(dan, q[0], "4", "10")
	m.Anonymous = true
	w.give(m)
	w.settled()
	if c := w.cell(dan, q[0]); c.GetPoints() != "4" || !c.GetPosted() {
		t.Errorf("posted by itself: %v", c)
	}
}

// versions blanks the versions in an export.
func versions(file string) string {
	lines := strings.Split(file, "\n")
	for i, line := range lines {
		fields := strings.Split(line, ",")
		if i > 0 && len(fields) > 2 {
			fields[2] = "V"
		}
		lines[i] = strings.Join(fields, ",")
	}
	return strings.Join(lines, "\n")
}

// TestUnpostedTellsNotWhichAttempt: of several attempts it is not told when the best one
// was handed in before its grade is.
func TestUnpostedTellsNotWhichAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 1)
	w.publish(1, nil, q...)
	ana := w.enroll("Ana")
	w.set(ana, q[0], &gradespb.GradeEdit{Posted: new(false)})
	see := func(want *gradespb.MyGrade, attempts int32, at *timestamppb.Timestamp, late int64) {
		t.Helper()
		m := w.mark(ana, q[0], "9", "10")
		m.Attempts, m.SubmittedAt, m.LateSeconds = attempts, at, late
		w.give(m)
		w.settled()
		got := w.mine(ana).GetItems()[0]
		if got.GetStatus() != want.GetStatus() || got.GetLate() != want.GetLate() || got.GetLateSeconds() != want.GetLateSeconds() || !proto.Equal(got.GetSubmittedAt(), want.GetSubmittedAt()) {
			t.Errorf("%d attempts: %v", attempts, got)
		}
	}
	first, second := timestamppb.New(w.tick()), timestamppb.New(w.tick())
	see(&gradespb.MyGrade{Status: "submitted", SubmittedAt: first, Late: true, LateSeconds: 60}, 1, first, 60)
	see(&gradespb.MyGrade{Status: "submitted"}, 2, first, 60)
	see(&gradespb.MyGrade{Status: "submitted"}, 2, second, 3600)
	w.set(ana, q[0], &gradespb.GradeEdit{Posted: new(true)})
	if got := w.mine(ana).GetItems()[0]; !proto.Equal(got.GetSubmittedAt(), second) || got.GetLateSeconds() != 3600 {
		t.Errorf("posted: %v", got)
	}
}
