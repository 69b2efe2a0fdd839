package learning

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// versionsOf returns the versions that learners of a course see, by what their
// rows have of it: 0 is the newest.
func (s *Service) versionsOf(ctx context.Context, q pg.Querier, courseID string) (map[int32]*version, error) {
	var newest int32
	var pinned []int32
	err := q.QueryRow(ctx, `
		SELECT k.version, coalesce((SELECT array_agg(DISTINCT p.version) FROM cohort_pin p WHERE p.course_id = $1 AND p.version > 0), '{}')
		FROM course k WHERE k.course_id = $1`, courseID).Scan(&newest, &pinned)
	if pg.NoRows(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("versions: %w", err)
	}
	out := map[int32]*version{}
	for _, number := range append(pinned, 0) {
		seen := number
		if seen == 0 {
			seen = newest
		}
		v, err := s.versionOf(ctx, q, courseID, seen)
		if err != nil {
			return nil, err
		}
		if v == nil {
			return nil, errBusy
		}
		out[number] = v
	}
	return out, nil
}

// openSQL is the condition that an item is open to a learner l, each by the
// version that they see. It reports false for an item that no version has.
func (b *ruleSQL) openSQL(versions map[int32]*version, itemID string) (string, bool) {
	numbers := make([]int32, 0, len(versions))
	for number := range versions {
		numbers = append(numbers, number)
	}
	slices.Sort(numbers)
	var cases strings.Builder
	for _, number := range numbers {
		if it := versions[number].byID[itemID]; it != nil {
			fmt.Fprintf(&cases, " WHEN %d THEN %s", number, b.open(versions[number], it))
		}
	}
	if cases.Len() == 0 {
		return "false", false
	}
	return "CASE l.pinned_version" + cases.String() + " ELSE false END", true
}

// enrolledSQL holds for a learner l of the course $1 who is enrolled at a moment.
func (b *ruleSQL) enrolledSQL() string {
	return `l.course_id = $1 AND l.enrolled_at IS NOT NULL AND NOT l.ended AND l.enrolled_at <= ` + b.now()
}

// viewer is somebody to whom an item is open.
type viewer struct {
	AccountID  string
	Name       string
	EnrolledAt time.Time
}

// ListWhoCanSee implements learningpb.OutlineServiceServer.
func (r *outlineServer) ListWhoCanSee(ctx context.Context, req *learningpb.ListWhoCanSeeRequest) (*learningpb.ListWhoCanSeeResponse, error) {
	s := r.service
	at, err := s.momentOf(req.GetAt())
	if err != nil {
		return nil, err
	}
	versions, err := s.versionsOf(ctx, s.db, req.GetCourseId())
	if err != nil {
		return nil, err
	}
	out := &learningpb.ListWhoCanSeeResponse{}
	b := newRuleSQL(at, s.known(at), req.GetCourseId())
	open, known := b.openSQL(versions, req.GetItemId())
	if !known {
		return nil, ErrItemNotFound
	}
	if req.GetCursor() == "" {
		err = s.db.QueryRow(ctx, `SELECT count(*) FILTER (WHERE `+open+`)::int, count(*)::int FROM learner l WHERE `+b.enrolledSQL(), b.args...).
			Scan(&out.OpenCount, &out.EnrolledCount)
		if err != nil {
			return nil, fmt.Errorf("count viewers: %w", err)
		}
	}
	list, next, err := s.viewers(ctx, b, open, page.Size(req.GetPageSize()), req.GetCursor())
	if err != nil {
		return nil, err
	}
	out.NextCursor = next
	for _, one := range list {
		out.Items = append(out.Items, &learningpb.Viewer{AccountId: one.AccountID, AccountName: one.Name, EnrolledAt: timestamppb.New(one.EnrolledAt)})
	}
	return out, nil
}

// viewers returns a page of those for whom the condition holds.
func (s *Service) viewers(ctx context.Context, b *ruleSQL, open string, size int, cursor string) ([]viewer, string, error) {
	before, beforeID, err := page.After(cursor)
	if err != nil {
		return nil, "", err
	}
	rows, err := s.db.Query(ctx, fmt.Sprintf(`
		SELECT page.account_id, coalesce(a.name, '') AS name, page.enrolled_at FROM (
			SELECT l.account_id, l.enrolled_at FROM learner l WHERE %s AND (l.enrolled_at, l.account_id) < (%s, %s) AND %s
			ORDER BY l.enrolled_at DESC, l.account_id DESC LIMIT %s) AS page
		LEFT JOIN account a USING (account_id) ORDER BY page.enrolled_at DESC, page.account_id DESC`,
		b.enrolledSQL(), b.arg(before), b.arg(beforeID), open, b.arg(size+1)), b.args...)
	if err != nil {
		return nil, "", fmt.Errorf("list viewers: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[viewer])
	if err != nil {
		return nil, "", fmt.Errorf("list viewers: %w", err)
	}
	if len(list) <= size {
		return list, "", nil
	}
	return list[:size], page.TimeCursor(list[size-1].EnrolledAt, list[size-1].AccountID), nil
}
