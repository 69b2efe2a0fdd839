package learning

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// crowdSQL reads what is known of the accounts $2 in the course $1, as factSQL does
// of one: of completions those of the items $4, of deadlines those of the items $5.
// Roles are those that they have at $3.
const crowdSQL = `
	SELECT q.account_id, $1::text AS course_id, CASE WHEN l.pinned_version > 0 THEN l.pinned_version ELSE coalesce(k.version, 0) END AS number,
		l.enrolled_at, coalesce(l.ended, false) AS ended, l.completed_at, '' AS resume_lesson_id, coalesce(m.cohort_id, '') AS cohort_id,
		d.ids AS done_ids, d.times AS done_times, r.ids AS result_ids, r.percents, r.passed, r.submitted,
		(SELECT array_agg(group_id) FROM group_member g WHERE g.course_id = $1 AND g.account_id = q.account_id AND g.member) AS group_ids,
		(SELECT array_agg(role) FROM course_role o WHERE o.course_id = $1 AND o.account_id = q.account_id
			AND o.granted AND (o.expires_at IS NULL OR o.expires_at > $3)) AS roles,
		CASE WHEN $6 THEN (SELECT array_agg(o.course_id) FROM learner o
			WHERE o.account_id = q.account_id AND o.enrolled_at IS NOT NULL AND o.completed_at IS NOT NULL) END AS courses,
		e.ids AS deadline_ids, e.froms AS available_from, e.dues AS due, e.untils AS until
	FROM unnest($2::text[]) WITH ORDINALITY AS q (account_id, place)
	LEFT JOIN course k ON k.course_id = $1
	LEFT JOIN learner l ON l.course_id = $1 AND l.account_id = q.account_id
	LEFT JOIN cohort_member m ON m.course_id = $1 AND m.account_id = q.account_id
	CROSS JOIN LATERAL (
		SELECT array_agg(lesson_id) AS ids, array_agg(completed_at) AS times FROM lesson_completion c
		WHERE c.course_id = $1 AND c.account_id = q.account_id AND c.lesson_id = ANY ($4)) AS d
	CROSS JOIN LATERAL (
		SELECT array_agg(item_id) AS ids, array_agg(percent::text) AS percents, array_agg(passed) AS passed, array_agg(submitted_at) AS submitted
		FROM item_result i WHERE i.course_id = $1 AND i.account_id = q.account_id AND i.item_id = ANY ($4)) AS r
	CROSS JOIN LATERAL (
		SELECT array_agg(item_id) AS ids, array_agg(available_from) AS froms, array_agg(due) AS dues, array_agg(until) AS untils
		FROM effective_deadline f WHERE f.course_id = $1 AND f.account_id = q.account_id AND f.item_id = ANY ($5)) AS e
	ORDER BY q.place`

// ListItemAccess implements learningpb.ItemServiceServer.
func (r *itemServer) ListItemAccess(ctx context.Context, req *learningpb.ListItemAccessRequest) (*learningpb.ListItemAccessResponse, error) {
	s := r.service
	at := s.now()
	versions, err := s.versionsOf(ctx, s.db, req.GetCourseId())
	if err != nil {
		return nil, err
	}
	crowd, err := s.crowd(ctx, s.db, versions, req, at)
	if err != nil {
		return nil, err
	}
	out := &learningpb.ListItemAccessResponse{}
	for _, one := range crowd {
		out.Items = append(out.Items, one.access(req.GetItemId(), at, req.GetWhenDue()))
	}
	return out, nil
}

// oneOfMany is one of those who were asked about.
type oneOfMany struct {
	accountID string
	person    *person // nil where the course was never published
}

// crowd returns those who are asked about, with what the item's rules ask of them.
func (s *Service) crowd(ctx context.Context, q pg.Querier, versions map[int32]*version, req *learningpb.ListItemAccessRequest, at time.Time) ([]oneOfMany, error) {
	named, path, others := askedBy(versions, req.GetItemId())
	rows, err := q.Query(ctx, crowdSQL, req.GetCourseId(), req.GetAccountIds(), at, named, path, others)
	if err != nil {
		return nil, fmt.Errorf("read facts of many: %w", err)
	}
	type row struct {
		AccountID string
		factRow
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[row])
	if err != nil {
		return nil, fmt.Errorf("read facts of many: %w", err)
	}
	byNumber := map[int32]*version{}
	for _, v := range versions {
		byNumber[v.number] = v
	}
	out := make([]oneOfMany, len(list))
	for i, one := range list {
		out[i].accountID = one.AccountID
		if v := byNumber[one.Number]; v != nil {
			if out[i].person, err = newPerson(&one.factRow, v); err != nil {
				return nil, err
			}
			continue
		}
		// Never published, or published anew between two statements.
		if out[i].person, err = s.person(ctx, q, one.AccountID, &one.factRow); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// askedBy returns what the rules of an item ask of people in any version: the items,
// of modules all that they are completed by; the items whose schedules count; and
// whether other courses do. The items that they ask about are asked about as well, as
// their titles are told to those alone from whom they are not hidden.
func askedBy(versions map[int32]*version, itemID string) (named, path []string, others bool) {
	items, above := map[string]bool{}, map[string]bool{itemID: true}
	for _, v := range versions {
		it := v.byID[itemID]
		if it == nil {
			continue
		}
		about := []*versionItem{it}
		for _, asked := range it.chain.Items() {
			if one := v.byID[asked]; one != nil {
				about = append(about, one)
			}
		}
		for _, one := range about {
			for _, in := range one.path {
				above[in] = true
			}
			others = others || one.chain.Needs().Courses
			for _, asked := range one.chain.Items() {
				addTree(v, asked, items)
			}
		}
	}
	for one := range items {
		named = append(named, one)
	}
	for one := range above {
		path = append(path, one)
	}
	return named, path, others
}

// addTree adds an item and all that is in it.
func addTree(v *version, itemID string, to map[string]bool) {
	to[itemID] = true
	if it := v.byID[itemID]; it != nil {
		for _, child := range it.children {
			addTree(v, child.GetId(), to)
		}
	}
}

// access says how an item stands for one of them.
func (o oneOfMany) access(itemID string, at time.Time, whenDue bool) *learningpb.ItemAccess {
	out := &learningpb.ItemAccess{AccountId: o.accountID, State: "absent"}
	p := o.person
	if p == nil {
		return out
	}
	out.Enrolled = !p.facts.EnrolledAt.IsZero()
	it := p.version.byID[itemID]
	if it == nil {
		return out
	}
	i, dated := p.deadline[itemID]
	if dated && whenDue && p.Due[i] != nil && !p.Due[i].After(at) {
		at = p.Due[i].Add(-time.Microsecond)
	}
	d := p.decide(it, at)
	out.State, out.Reasons, out.OpensAt = d.State(), p.sentences(d.Missing, at), stampOf(d.OpensAt)
	_, closes := release.Next(p.rule(it), p.facts, at)
	out.ClosesAt = stampOf(closes)
	if dated {
		out.AvailableFrom, out.Due, out.Until = optional(p.AvailableFrom[i]), optional(p.Due[i]), optional(p.Until[i])
	}
	return out
}
