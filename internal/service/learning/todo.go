package learning

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

const (
	maxTodo        = 100 // things told
	maxDue         = 500 // things with a deadline that are looked at
	maxTodoCourses = 50  // the latest, for what is next
	maxNext        = 20  // items of each that are looked at
)

// todo is something to do.
type todo struct {
	CourseID    string
	CourseTitle string
	ItemID      string
	Title       string
	ItemKind    string
	Due         *time.Time
	Until       *time.Time
	Minutes     int32
}

// ListTodo implements learningpb.CalendarServiceServer.
func (s *Service) ListTodo(ctx context.Context, req *learningpb.ListTodoRequest) (*learningpb.ListTodoResponse, error) {
	account, now := auth.From(ctx).Account, s.now()
	soon := now.AddDate(0, 0, int(cmp.Or(req.GetDays(), 7)))
	due, err := s.due(ctx, account, now, soon)
	if err != nil {
		return nil, err
	}
	next, err := s.next(ctx, account, now)
	if err != nil {
		return nil, err
	}
	var courses []string
	for _, t := range slices.Concat(due, next) {
		if !slices.Contains(courses, t.CourseID) {
			courses = append(courses, t.CourseID)
		}
	}
	closed, err := s.closedTo(ctx, s.db, account, courses)
	if err != nil {
		return nil, err
	}
	out := &learningpb.ListTodoResponse{}
	told, served := map[place]bool{}, map[string]bool{}
	add := func(kind string, t todo) {
		told[place{t.CourseID, t.ItemID}] = true
		if len(out.Items) < maxTodo {
			out.Items = append(out.Items, &learningpb.Todo{
				Kind: kind, CourseId: t.CourseID, CourseTitle: t.CourseTitle, ItemId: t.ItemID, Title: t.Title, ItemKind: t.ItemKind,
				DueAt: optional(t.Due), Until: optional(t.Until), Minutes: t.Minutes,
			})
		}
	}
	for _, t := range due {
		if closed[place{t.CourseID, t.ItemID}] != "" {
			continue
		}
		kind := "due"
		if t.Due.Before(now) {
			kind = "overdue"
		}
		add(kind, t)
	}
	for _, t := range next {
		p := place{t.CourseID, t.ItemID}
		if served[t.CourseID] || closed[p] != "" {
			continue
		}
		served[t.CourseID] = true
		if !told[p] {
			add("next", t)
		}
	}
	return out, nil
}

const todoColumns = `l.course_id, k.title AS course_title, i.item_id, i.title, i.kind AS item_kind, d.due, d.until, i.minutes`

// notDone holds for an item i that the learner l has not completed and that they can
// work on at $2 by their deadlines d.
const notDone = `(d.available_from IS NULL OR d.available_from <= $2) AND (d.until IS NULL OR d.until > $2)
	AND NOT EXISTS (SELECT FROM lesson_completion c WHERE c.course_id = i.course_id AND c.account_id = $1 AND c.lesson_id = i.item_id)`

// due returns what has a deadline before soon, earliest first.
func (s *Service) due(ctx context.Context, account string, now, soon time.Time) ([]todo, error) {
	rows, err := s.db.Query(ctx, `
		SELECT `+todoColumns+`
		FROM learner l JOIN course k USING (course_id)
			JOIN effective_deadline d ON d.course_id = l.course_id AND d.account_id = l.account_id AND d.due < $3
			JOIN published_item i ON i.course_id = l.course_id AND i.version = `+seen+` AND i.item_id = d.item_id AND i.ruled
		WHERE l.account_id = $1 AND l.enrolled_at IS NOT NULL AND NOT l.ended AND `+notDone+`
		ORDER BY d.due, l.course_id, i.position LIMIT $4`, account, now, soon, maxDue)
	if err != nil {
		return nil, fmt.Errorf("due: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[todo])
	if err != nil {
		return nil, fmt.Errorf("due: %w", err)
	}
	return list, nil
}

// next returns the first things that count and are not done of each course, newest
// enrollment first.
func (s *Service) next(ctx context.Context, account string, now time.Time) ([]todo, error) {
	rows, err := s.db.Query(ctx, `
		WITH mine AS MATERIALIZED (
			SELECT course_id, account_id, pinned_version, enrolled_at FROM learner
			WHERE account_id = $1 AND enrolled_at IS NOT NULL AND NOT ended AND completed_at IS NULL
			ORDER BY enrolled_at DESC, course_id DESC LIMIT $3
		)
		SELECT n.course_id, n.course_title, n.item_id, n.title, n.item_kind, n.due, n.until, n.minutes
		FROM mine m CROSS JOIN LATERAL (
			SELECT `+todoColumns+`, i.position
			FROM mine l JOIN course k USING (course_id)
				JOIN published_item i ON i.course_id = l.course_id AND i.version = `+seen+` AND i.counted
				LEFT JOIN effective_deadline d ON d.course_id = l.course_id AND d.account_id = l.account_id AND d.item_id = i.item_id
			WHERE l.course_id = m.course_id AND `+notDone+`
			ORDER BY i.position LIMIT $4) AS n
		ORDER BY m.enrolled_at DESC, m.course_id DESC, n.position`, account, now, maxTodoCourses, maxNext)
	if err != nil {
		return nil, fmt.Errorf("next: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[todo])
	if err != nil {
		return nil, fmt.Errorf("next: %w", err)
	}
	return list, nil
}
