package grades

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// TestIncrementalIsFull makes random courses and histories and holds all digits that
// came about by increments to those of a count of everything.
func TestIncrementalIsFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rapid.Check(t, func(rt *rapid.T) {
		w.course = id.New("course")
		h := newRandomCourse(rt, w)
		for range rapid.IntRange(5, 30).Draw(rt, "steps") {
			h.step()
		}
		w.settled()
		w.check()
		before := w.digits()
		// As if none of it had ever been counted.
		for _, sql := range []string{
			`UPDATE student SET totals = NULL WHERE course_id = $1`,
			`UPDATE cell SET score = NULL, counted = '' WHERE course_id = $1`,
		} {
			if _, err := w.db.Exec(context.Background(), sql, w.course); err != nil {
				rt.Fatal(err)
			}
		}
		if _, err := w.columns.RecalculateGradebook(w.staff(), &gradespb.RecalculateGradebookRequest{CourseId: w.course}); err != nil {
			rt.Fatal(err)
		}
		w.settled()
		if diff := cmp.Diff(before, w.digits()); diff != "" {
			rt.Fatalf("a count of everything comes to other digits (-increments +full):\n%s", diff)
		}
	})
}

// digits are all that was counted in the course.
func (w *world) digits() []string {
	w.t.Helper()
	rows, err := w.db.Query(context.Background(), `
		SELECT account_id || ' ' || totals::text || ' ' || told_percent || told_letter || told_passed FROM student WHERE course_id = $1
		UNION ALL
		SELECT account_id || ' ' || item_id || ' ' || coalesce(score::text, '') || ' ' || counted || ' ' || told_percent || told_passed || coalesce(others->>'counts', '') FROM cell JOIN item USING (course_id, item_id)
		WHERE course_id = $1 AND present AND counted <> ''
		ORDER BY 1`, w.course)
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// randomCourse does random things to a gradebook.
type randomCourse struct {
	rt       *rapid.T
	w        *world
	quizzes  []string
	columns  []string
	people   []string
	sequence int64
}

func newRandomCourse(rt *rapid.T, w *world) *randomCourse {
	h := &randomCourse{rt: rt, w: w, quizzes: newIDs("activity", rapid.IntRange(1, 6).Draw(rt, "quizzes"))}
	h.publish()
	for i := range rapid.IntRange(1, 3).Draw(rt, "people") {
		h.people = append(h.people, w.enroll(fmt.Sprint("Student ", i)))
	}
	return h
}

func (h *randomCourse) number(name string, below int) int {
	return rapid.IntRange(0, below-1).Draw(h.rt, name)
}

func pick[T any](h *randomCourse, name string, from ...T) T { return from[h.number(name, len(from))] }

// publish publishes the course with other criteria.
func (h *randomCourse) publish() {
	h.sequence++
	quizzes := h.quizzes[:1+h.number("present", len(h.quizzes))]
	if h.number("ungraded", 6) == 0 {
		h.w.publish(h.sequence, nil, quizzes...)
		return
	}
	c := &coursespb.GradingPolicy{
		Method: pick(h, "method", "points", "weighted"), PassMark: pick(h, "pass", "", "50", "66.6667"),
		MissingDeduction: pick(h, "missing", "", "100", "33.3"),
		Rounding:         &coursespb.Rounding{Mode: pick(h, "rounding", "half_even", "half_up"), Places: int32(h.number("places", 5))}, //nolint:gosec // small
	}
	weights := pick(h, "weights", []string{"100"}, []string{"33.3333", "66.6667"}, []string{"10", "20", "70"})
	for i, weight := range weights {
		g := &coursespb.GradingCategory{
			Key: fmt.Sprint("c", i), Title: fmt.Sprint("Category ", i), DropLowest: int32(h.number("lowest", 3)), DropHighest: int32(h.number("highest", 2)), //nolint:gosec // small
		}
		if c.GetMethod() == "weighted" {
			g.Weight = weight
		}
		c.Categories = append(c.Categories, g)
	}
	for _, q := range quizzes {
		g := c.GetCategories()[h.number("category", len(weights))]
		g.ItemIds = append(g.ItemIds, q)
		if h.number("never", 4) == 0 {
			g.NeverDrop = append(g.NeverDrop, q)
		}
	}
	if h.number("letters", 2) == 0 {
		c.Letters = []*coursespb.GradingLetter{{Letter: "A", MinPercent: "66.67"}, {Letter: "B", MinPercent: "0"}}
	}
	if h.number("late", 2) == 0 {
		c.Late = &coursespb.LatePolicy{Rate: pick(h, "rate", "10", "33.3"), Interval: pick(h, "interval", "hour", "day"), Floor: pick(h, "floor", "", "20")}
	}
	h.w.publish(h.sequence, c, quizzes...)
}

func (h *randomCourse) person() string { return h.people[h.number("person", len(h.people))] }

// item is a quiz, or a column of staff.
func (h *randomCourse) item() string {
	return pick(h, "item", append(append([]string{}, h.quizzes...), h.columns...)...)
}

func (h *randomCourse) points() string {
	return pick(h, "points", "0", "1", "3.333333", "7", "9.999999", "10", "12", "-1")
}

// step does one random thing. What the gradebook refuses is done to nobody.
func (h *randomCourse) step() {
	w := h.w
	switch h.number("what", 10) {
	case 0:
		h.publish()
	case 1, 2, 3:
		m := w.mark(h.person(), h.quizzes[h.number("quiz", len(h.quizzes))], h.points(), pick(h, "of", "10", "10", "10", "7", "30"))
		m.LateSeconds = pick(h, "late", int64(0), 0, 1, 86_401)
		for h.number("other", 3) == 0 {
			m.Others, m.Attempts = append(m.GetOthers(), &assessmentpb.MarkedAttempt{
				SourceId: id.New("attempt"), Points: h.points(), SubmittedAt: m.GetSubmittedAt(), LateSeconds: pick(h, "other late", int64(0), 0, 1, 86_401),
			}), m.GetAttempts()+1
		}
		if m.State = pick(h, "state", "marked", "marked", "marked", "submitted", "none", "excused"); m.GetState() != "marked" {
			m.Points = ""
		}
		w.give(m)
	case 4:
		h.edit(&gradespb.GradeEdit{Points: new(pick(h, "points", "", h.points())), Reason: "A random one"})
	case 5:
		h.edit(&gradespb.GradeEdit{Status: new(pick(h, "status", "", "excused", "missing", "late", "on_time")), LateSeconds: 90_000, Reason: "A random one"})
	case 6:
		h.column()
	case 7:
		_, _ = w.columns.UpdateColumn(w.staff(), &gradespb.UpdateColumnRequest{
			CourseId: w.course, ItemId: h.item(), Posting: new(pick(h, "posting", "manual", "automatic")), Points: new(pick(h, "worth", "5", "10", "100")),
		})
	case 8:
		if h.number("hide", 2) == 0 {
			_, _ = w.columns.HideGrades(w.staff(), &gradespb.HideGradesRequest{CourseId: w.course, ItemId: h.item()})
		} else {
			_, _ = w.columns.PostGrades(w.staff(), &gradespb.PostGradesRequest{CourseId: w.course, ItemId: h.item(), AccountIds: []string{h.person()}})
		}
	case 9:
		account := h.person()
		if all := w.history(account); len(all) > 0 && h.number("undo", 2) == 0 {
			_ = w.undo(all[h.number("change", len(all))].GetChangeId())
			return
		}
		_, _ = w.grades.SetTotal(w.staff(), &gradespb.SetTotalRequest{
			CourseId: w.course, AccountId: account, Category: pick(h, "place", "", "c0"), Percent: pick(h, "percent", "", "50.5", "66.67"), Reason: "A random one", Posted: h.number("posted", 2) == 0,
		})
	}
	if h.number("settle", 3) == 0 {
		w.settled()
	}
}

func (h *randomCourse) edit(e *gradespb.GradeEdit) {
	_, _ = h.w.grid.SetGrade(h.w.staff(), &gradespb.SetGradeRequest{CourseId: h.w.course, ItemId: h.item(), AccountId: h.person(), Edit: e})
}

// column makes a column, marked by hand or calculated.
func (h *randomCourse) column() {
	req := &gradespb.CreateColumnRequest{
		CourseId: h.w.course, Title: "Made by staff", Points: pick(h, "worth", "0", "10", "100"), Category: pick(h, "category", "", "c0"),
		ExtraCredit: h.number("extra", 4) == 0, Posting: pick(h, "posting", "manual", "automatic"),
	}
	if h.number("calculated", 2) == 0 {
		req.Formula = "points[" + h.item() + "] / 3 + possible[" + h.item() + "]"
	}
	if c, err := h.w.columns.CreateColumn(h.w.staff(), req); err == nil {
		h.columns = append(h.columns, c.GetItemId())
	}
}
