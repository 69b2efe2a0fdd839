package learning

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// deadlineRow is a row of effective_deadline with what is told besides.
type deadlineRow struct {
	CourseID            string
	AccountID           string
	AccountName         string
	ItemID              string
	AvailableFrom       *time.Time
	AvailableFromSource string
	Due                 *time.Time
	DueSource           string
	Until               *time.Time
	UntilSource         string
	ExtraDays           int32
	Number              int32 // of the version
	CourseTitle         string
	CompletedAt         *time.Time
}

const deadlineColumns = `d.course_id, d.account_id, d.item_id, d.available_from, d.available_from_source, d.due, d.due_source, d.until, d.until_source,
	d.extra_days, CASE WHEN l.pinned_version > 0 THEN l.pinned_version ELSE k.version END AS number, k.title AS course_title,
	(SELECT completed_at FROM lesson_completion c WHERE c.course_id = d.course_id AND c.account_id = d.account_id AND c.lesson_id = d.item_id) AS completed_at`

// message tells a deadline, and that it is eased to who may know.
func (d deadlineRow) message(v *version, eased bool) *learningpb.Deadline {
	out := &learningpb.Deadline{
		CourseId: d.CourseID, CourseTitle: d.CourseTitle, ItemId: d.ItemID, AccountId: d.AccountID, AccountName: d.AccountName,
		CompletedAt: optional(d.CompletedAt),
	}
	if v != nil {
		if it := v.byID[d.ItemID]; it != nil {
			out.ItemTitle, out.Kind = it.GetTitle(), it.GetKind()
		}
	}
	out.AvailableFrom = effectiveMoment(d.AvailableFrom, d.AvailableFromSource)
	out.Due = effectiveMoment(d.Due, d.DueSource)
	out.Until = effectiveMoment(d.Until, d.UntilSource)
	if eased {
		for _, m := range []*learningpb.EffectiveMoment{out.GetDue(), out.GetUntil()} {
			if m.GetAt() != nil {
				m.ExtraDays = d.ExtraDays
			}
		}
	}
	return out
}

func effectiveMoment(at *time.Time, source string) *learningpb.EffectiveMoment {
	if source == "" {
		return nil
	}
	out := &learningpb.EffectiveMoment{At: optional(at), Source: source}
	for _, kind := range []string{"group", "cohort"} {
		if strings.HasPrefix(source, kind+"_") {
			out.Source, out.SourceId = kind, source
		}
	}
	return out
}

// ListMyDeadlines implements learningpb.DeadlineServiceServer.
func (r *deadlineServer) ListMyDeadlines(ctx context.Context, req *learningpb.ListMyDeadlinesRequest) (*learningpb.ListMyDeadlinesResponse, error) {
	s := r.service
	from := time.Unix(0, 0).UTC()
	if req.GetFrom() != "" {
		var err error
		if from, err = s.momentOf(req.GetFrom()); err != nil {
			return nil, fault.InvalidField("from", "time.invalid", "Send a time such as 2026-05-03T09:00:00Z.")
		}
	}
	after := [2]string{}
	if req.GetCursor() != "" {
		at, rest, err := page.After(req.GetCursor())
		if err != nil {
			return nil, err
		}
		course, item, ok := strings.Cut(rest, " ")
		if !ok {
			return nil, page.ErrCursor
		}
		from, after = at, [2]string{course, item}
	}
	size := page.Size(req.GetPageSize())
	account := auth.From(ctx).Account
	rows, err := s.db.Query(ctx, `
		SELECT `+deadlineColumns+`, '' AS account_name FROM effective_deadline d
		JOIN learner l ON l.course_id = d.course_id AND l.account_id = d.account_id AND l.enrolled_at IS NOT NULL AND NOT l.ended
		JOIN course k ON k.course_id = d.course_id
		WHERE d.account_id = $1 AND d.due IS NOT NULL AND (d.due, d.course_id, d.item_id) > ($2, $3, $4)
		ORDER BY d.due, d.course_id, d.item_id LIMIT $5`, account, from, after[0], after[1], size+1)
	if err != nil {
		return nil, fmt.Errorf("list deadlines: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[deadlineRow])
	if err != nil {
		return nil, fmt.Errorf("list deadlines: %w", err)
	}
	out := &learningpb.ListMyDeadlinesResponse{}
	if len(list) > size {
		list = list[:size]
		last := list[size-1]
		out.NextCursor = page.TimeCursor(*last.Due, last.CourseID+" "+last.ItemID)
	}
	out.Items, err = s.seen(ctx, account, list)
	return out, err
}

// seen tells those deadlines of an account whose items are not hidden from it.
func (s *Service) seen(ctx context.Context, account string, list []deadlineRow) ([]*learningpb.Deadline, error) {
	courses := make([]string, len(list))
	for i, d := range list {
		courses[i] = d.CourseID
	}
	courses = distinct(courses)
	at := s.now()
	people, err := s.persons(ctx, s.db, account, at, courses...)
	if err != nil {
		return nil, err
	}
	byCourse := map[string]*person{}
	for i, p := range people {
		byCourse[courses[i]] = p
	}
	var out []*learningpb.Deadline
	for _, d := range list {
		p := byCourse[d.CourseID]
		if p == nil {
			continue
		}
		it := p.version.byID[d.ItemID]
		if it == nil || p.decide(it, at).Hidden {
			continue
		}
		out = append(out, d.message(p.version, true))
	}
	return out, nil
}

// ListDeadlines implements learningpb.DeadlineServiceServer.
func (r *deadlineServer) ListDeadlines(ctx context.Context, req *learningpb.ListDeadlinesRequest) (*learningpb.ListDeadlinesResponse, error) {
	s := r.service
	if req.GetItemId() == "" && req.GetAccountId() == "" {
		return nil, fault.InvalidField("item_id", "deadline.which", "Name an item, a person or both.")
	}
	after, err := pair(req.GetCursor())
	if err != nil {
		return nil, err
	}
	eased, err := auth.Has(ctx, "accommodation.read")
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := s.db.Query(ctx, `
		SELECT `+deadlineColumns+`, coalesce(a.name, '') AS account_name FROM effective_deadline d
		JOIN learner l ON l.course_id = d.course_id AND l.account_id = d.account_id
		JOIN course k ON k.course_id = d.course_id
		LEFT JOIN account a ON a.account_id = d.account_id
		WHERE d.course_id = $1 AND ($2 = '' OR d.item_id = $2) AND ($3 = '' OR d.account_id = $3) AND (d.account_id, d.item_id) > ($4, $5)
		ORDER BY d.account_id, d.item_id LIMIT $6`, req.GetCourseId(), req.GetItemId(), req.GetAccountId(), after[0], after[1], size+1)
	if err != nil {
		return nil, fmt.Errorf("list deadlines: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[deadlineRow])
	if err != nil {
		return nil, fmt.Errorf("list deadlines: %w", err)
	}
	out := &learningpb.ListDeadlinesResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.Cursor(list[size-1].AccountID, list[size-1].ItemID)
	}
	for _, d := range list {
		v, err := s.versionOf(ctx, s.db, d.CourseID, d.Number)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, d.message(v, eased))
	}
	return out, nil
}
