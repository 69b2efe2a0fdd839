package learning

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// entry is something in somebody's calendar.
type entry struct {
	At          time.Time
	Kind        string
	CourseID    string
	CourseTitle string
	ItemID      string // or the id of the cohort
	Title       string
	Complete    bool
}

// uid names the entry for ever: what moves is the same entry at another time.
func (e entry) uid() string { return e.Kind + "." + e.CourseID + "." + e.ItemID }

// key sorts entries of one time.
func (e entry) key() string { return e.uid() }

// entriesOf returns some entries of somebody's calendar in a range, earliest first,
// behind a time and a key. Titles of what is closed to them are left out, and with
// what is hidden the entries.
func entriesOf(ctx context.Context, q pg.Querier, accountID string, from, to, after time.Time, afterKey string, limit int) ([]entry, bool, error) {
	rows, err := q.Query(ctx, `
		WITH mine AS (
			SELECT l.course_id, k.title, `+seen+` AS version FROM learner l JOIN course k USING (course_id)
			WHERE l.account_id = $1 AND l.enrolled_at IS NOT NULL AND NOT l.ended
		), entry AS (
			SELECT m.at, m.kind, d.course_id, mine.title AS course_title, d.item_id, i.title,
				EXISTS (SELECT FROM lesson_completion c WHERE c.course_id = d.course_id AND c.account_id = $1 AND c.lesson_id = d.item_id) AS complete
			FROM mine JOIN effective_deadline d ON d.course_id = mine.course_id AND d.account_id = $1
				JOIN published_item i ON i.course_id = d.course_id AND i.version = mine.version AND i.item_id = d.item_id
				CROSS JOIN LATERAL (VALUES ('available', d.available_from), ('due', d.due), ('until', d.until)) AS m (kind, at)
			WHERE m.at >= $2 AND m.at < $3
			UNION ALL
			SELECT m.at, m.kind, r.course_id, mine.title, r.cohort_id, r.name, false
			FROM mine JOIN cohort_member c ON c.course_id = mine.course_id AND c.account_id = $1
				JOIN cohort r ON r.cohort_id = c.cohort_id AND NOT r.cancelled
				CROSS JOIN LATERAL (VALUES ('cohort_starts', r.starts_at), ('cohort_ends', r.ends_at)) AS m (kind, at)
			WHERE m.at >= $2 AND m.at < $3
		)
		SELECT at, kind, course_id, course_title, item_id, title, complete FROM entry
		WHERE (at, (kind || '.' || course_id || '.' || item_id) COLLATE "C") > ($4, $5)
		ORDER BY at, (kind || '.' || course_id || '.' || item_id) COLLATE "C" LIMIT $6`, accountID, from, to, after, afterKey, limit+1)
	if err != nil {
		return nil, false, fmt.Errorf("calendar: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[entry])
	if err != nil {
		return nil, false, fmt.Errorf("calendar: %w", err)
	}
	more := len(list) > limit
	return list[:min(len(list), limit)], more, nil
}

// shownOf takes out what is hidden from somebody and the titles of what is closed.
func (s *Service) shownOf(ctx context.Context, accountID string, list []entry) ([]entry, error) {
	courses := make([]string, 0, len(list))
	for _, e := range list {
		courses = append(courses, e.CourseID)
	}
	closed, err := s.closedTo(ctx, s.db, accountID, courses)
	if err != nil {
		return nil, err
	}
	var out []entry
	for _, e := range list {
		switch closed[place{e.CourseID, e.ItemID}] {
		case hidden:
			continue
		case locked:
			e.Title = ""
		}
		out = append(out, e)
	}
	return out, nil
}

// ListCalendar implements learningpb.CalendarServiceServer.
func (s *Service) ListCalendar(ctx context.Context, req *learningpb.ListCalendarRequest) (*learningpb.ListCalendarResponse, error) {
	from, err := moment("from", req.GetFrom(), s.now())
	if err != nil {
		return nil, err
	}
	to, err := moment("to", req.GetTo(), from.AddDate(0, 0, 30))
	if err != nil {
		return nil, err
	}
	if !to.After(from) || to.Sub(from) > 400*24*time.Hour {
		return nil, ErrCalendarRange
	}
	after, afterKey := from.Add(-time.Microsecond), ""
	if values, err := page.Values(req.GetCursor(), 2); err != nil {
		return nil, err
	} else if values != nil {
		micros, err := strconv.ParseInt(values[0], 10, 64)
		if err != nil || micros < from.UnixMicro() || micros >= to.UnixMicro() {
			return nil, page.ErrCursor
		}
		after, afterKey = time.UnixMicro(micros).UTC(), values[1]
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = 100
	}
	account := auth.From(ctx).Account
	list, more, err := entriesOf(ctx, s.db, account, from, to, after, afterKey, size)
	if err != nil {
		return nil, err
	}
	out := &learningpb.ListCalendarResponse{}
	if more {
		last := list[len(list)-1]
		out.NextCursor = page.TimeCursor(last.At, last.key())
	}
	if list, err = s.shownOf(ctx, account, list); err != nil {
		return nil, err
	}
	for _, e := range list {
		m := &learningpb.CalendarEntry{
			Kind: e.Kind, At: timestamppb.New(e.At), CourseId: e.CourseID, CourseTitle: e.CourseTitle, ItemId: e.ItemID, Title: e.Title, Complete: e.Complete,
		}
		if e.Kind == "cohort_starts" || e.Kind == "cohort_ends" {
			m.ItemId = ""
		}
		out.Items = append(out.Items, m)
	}
	return out, nil
}

// moment reads a time of a parameter.
func moment(field, text string, absent time.Time) (time.Time, error) {
	if text == "" {
		return absent, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Year() < 1970 || t.Year() > 9000 {
		return time.Time{}, fault.InvalidField(field, "field.type", "Send a time such as 2026-05-04T09:00:00Z.")
	}
	return t.UTC().Truncate(time.Microsecond), nil
}
