package access

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// Why somebody is in a cohort no more.
const (
	whyLeft        = "left"
	whyMoved       = "moved"
	whyRemoved     = "removed"
	whyAccessEnded = "access_ended"
	whyCancelled   = "cancelled"
	whyCompleted   = "completed"
)

// cohortMember is that somebody is, or was, in a cohort.
type cohortMember struct {
	ID            string
	CohortID      string
	CourseID      string
	AccountID     string
	Sequence      int64
	EntitlementID *string
	JoinedAt      time.Time
	LeftAt        *time.Time
	LeftWhy       string
}

const memberColumns = `id, cohort_id, course_id, account_id, sequence, entitlement_id, joined_at, left_at, left_why`

func (m cohortMember) message(name string) *accesspb.CohortMember {
	out := &accesspb.CohortMember{
		CohortId: m.CohortID, CourseId: m.CourseID, AccountId: m.AccountID, AccountName: name,
		JoinedAt: timestamppb.New(m.JoinedAt), LeftAt: timestampOf(m.LeftAt), LeftWhy: m.LeftWhy,
	}
	if m.EntitlementID != nil {
		out.EntitlementId = *m.EntitlementID
	}
	return out
}

// event tells in which cohort somebody is now. Coming and leaving take turns, so
// that twice the sequence and one more grows with each.
func (m cohortMember) event() proto.Message {
	event := &accesspb.CohortMembershipChanged{CourseId: m.CourseID, AccountId: m.AccountID, CohortId: m.CohortID, Version: 2 * m.Sequence}
	if m.LeftAt != nil {
		event.CohortId, event.Version = "", 2*m.Sequence+1
	}
	return event
}

func (m cohortMember) entry(reason string) audit.Entry {
	after := map[string]any{"cohort_id": m.CohortID, "why": m.LeftWhy}
	return audit.Entry{Action: "cohort.left", Object: m.CohortID, Course: m.CourseID, Person: m.AccountID, Reason: reason, After: after}
}

// present returns in which cohort of a course somebody is.
func present(ctx context.Context, q pg.Querier, courseID, accountID string) (m cohortMember, in bool, err error) {
	rows, err := q.Query(ctx, `SELECT `+memberColumns+` FROM cohort_member WHERE course_id = $1 AND account_id = $2 AND left_at IS NULL`, courseID, accountID)
	if err != nil {
		return cohortMember{}, false, fmt.Errorf("member: %w", err)
	}
	m, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[cohortMember])
	if pg.NoRows(err) {
		return cohortMember{}, false, nil
	}
	if err != nil {
		return cohortMember{}, false, fmt.Errorf("member: %w", err)
	}
	return m, true, nil
}

// JoinCohort implements accesspb.CohortServiceServer.
func (s *Service) JoinCohort(ctx context.Context, req *accesspb.JoinCohortRequest) (*accesspb.CohortMember, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.CohortMember, error) {
		m, err := s.join(ctx, tx, joining{course: req.GetCourseId(), cohort: req.GetCohortId(), account: auth.From(ctx).Account})
		if err != nil {
			return nil, err
		}
		return m.message(""), nil
	})
}

// AddCohortMember implements accesspb.CohortServiceServer.
func (s *Service) AddCohortMember(ctx context.Context, req *accesspb.AddCohortMemberRequest) (*accesspb.CohortMember, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.CohortMember, error) {
		if err := checkPerson(ctx, tx, req.GetAccountId()); err != nil {
			return nil, err
		}
		m, err := s.join(ctx, tx, joining{
			course: req.GetCourseId(), cohort: req.GetCohortId(), account: req.GetAccountId(), byStaff: true, reason: req.GetReason(),
		})
		if err != nil {
			return nil, err
		}
		return m.message(""), nil
	})
}

// joining is that somebody is to be in a cohort.
type joining struct {
	course, cohort, account string
	byStaff                 bool // puts them in, whether it is open or not
	reason                  string
}

// join puts somebody into a cohort and takes them out of another of the course.
func (s *Service) join(ctx context.Context, tx *pg.Tx, j joining) (cohortMember, error) {
	// One change at a time for one person and course.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('stoa.cohort_member'), hashtext($1))`, j.course+j.account); err != nil {
		return cohortMember{}, fmt.Errorf("take turns: %w", err)
	}
	was, _, err := present(ctx, tx, j.course, j.account)
	if err != nil {
		return cohortMember{}, err
	}
	locked, err := lockCohorts(ctx, tx, j.course, j.cohort, was.CohortID)
	if err != nil {
		return cohortMember{}, err
	}
	c := locked[j.cohort]
	if c == nil {
		return cohortMember{}, ErrCohortNotFound
	}
	// They may have been taken out of the other, or out of this, before the lock.
	was, in, err := present(ctx, tx, j.course, j.account)
	if err != nil || in && was.CohortID == c.ID {
		return was, err
	}
	if err := s.tend(ctx, tx, c); err != nil {
		return cohortMember{}, err
	}
	way, err := s.wayInto(ctx, tx, j, was)
	if err != nil {
		return cohortMember{}, err
	}
	if err := s.takeCohortSeat(ctx, tx, c, j, way); err != nil {
		return cohortMember{}, err
	}
	m := cohortMember{ID: id.New("member"), CohortID: c.ID, CourseID: c.CourseID, AccountID: j.account, JoinedAt: s.now()}
	if in {
		if err := s.moveOut(ctx, tx, locked[was.CohortID], was, &m); err != nil {
			return cohortMember{}, err
		}
	}
	return m, s.moveIn(ctx, tx, c, j, way, &m)
}

// way is how somebody has, or gets, access to a course.
type way struct {
	Published, Free, Teaches, HasAccess bool
}

// wayInto returns how somebody has or gets access beside the grant of the cohort
// that they are in.
func (s *Service) wayInto(ctx context.Context, tx *pg.Tx, j joining, was cohortMember) (way, error) {
	rows, err := tx.Query(ctx, `
		SELECT coalesce(c.published, false) AS published, coalesce(c.free, false) AS free, coalesce(c.owner_id = $2, false) OR `+teachesSQL+` AS teaches,
			EXISTS (SELECT FROM entitlement WHERE account_id = $2 AND course_id = $1 AND revoked_at IS NULL AND (ends_at IS NULL OR ends_at > $3)
				AND id IS DISTINCT FROM $4) AS has_access
		FROM (SELECT) AS one LEFT JOIN course c ON c.course_id = $1`, j.course, j.account, s.now(), was.EntitlementID)
	if err != nil {
		return way{}, fmt.Errorf("way into the course: %w", err)
	}
	w, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[way])
	if err != nil {
		return way{}, fmt.Errorf("way into the course: %w", err)
	}
	return w, nil
}

// takeCohortSeat takes a seat of a locked cohort: the one that is held for them, or
// one that nobody has.
func (s *Service) takeCohortSeat(ctx context.Context, tx *pg.Tx, c *cohort, j joining, w way) error {
	now := s.now()
	entry, waits, err := waiting(ctx, tx, c.ID, j.account)
	if err != nil {
		return err
	}
	offered := waits && entry.State == stateOffered
	switch {
	case !j.byStaff && !offered && !c.Open, !j.byStaff && !w.Published && !w.HasAccess:
		return ErrCohortNotFound
	case w.Teaches:
		return ErrOwnCourse
	case j.byStaff && (c.CancelledAt != nil || c.over(now)), !j.byStaff && !offered && !c.joinable(now):
		return ErrCohortClosed
	case !j.byStaff && !w.HasAccess && !w.Free:
		return ErrNotFree
	case !offered && (c.free() <= 0 || !j.byStaff && c.Waiting > 0):
		return ErrCohortFull
	}
	c.Taken++
	if !waits {
		return nil
	}
	if offered {
		c.Offered--
	} else {
		c.Waiting--
	}
	if _, err := tx.Exec(ctx, `UPDATE waitlist SET state = 'accepted', ended_at = $2 WHERE id = $1`, entry.ID, now); err != nil {
		return fmt.Errorf("accept offer: %w", err)
	}
	return nil
}

// moveOut takes somebody out of the cohort they were in for another. A grant that
// it gave goes with them.
func (s *Service) moveOut(ctx context.Context, tx *pg.Tx, c *cohort, was cohortMember, m *cohortMember) error {
	was.LeftAt, was.LeftWhy = &m.JoinedAt, whyMoved
	if c.over(m.JoinedAt) {
		was.LeftWhy = whyCompleted
	} else {
		m.EntitlementID = was.EntitlementID
		c.Taken--
	}
	if err := endMembership(ctx, tx, was); err != nil {
		return err
	}
	if err := audit.Record(ctx, tx, was.entry("")); err != nil {
		return err
	}
	return s.tend(ctx, tx, c)
}

// moveIn puts somebody into a locked cohort whose seat they have, with access in
// its time where they have none.
func (s *Service) moveIn(ctx context.Context, tx *pg.Tx, c *cohort, j joining, w way, m *cohortMember) error {
	err := tx.QueryRow(ctx, `SELECT coalesce(max(sequence), 0) + 1 FROM cohort_member WHERE course_id = $1 AND account_id = $2`,
		m.CourseID, m.AccountID).Scan(&m.Sequence)
	if err != nil {
		return fmt.Errorf("sequence: %w", err)
	}
	starts, ends := c.period(m.JoinedAt)
	if m.EntitlementID == nil && !w.HasAccess {
		e := entitlement{AccountID: m.AccountID, CourseID: m.CourseID, Source: sourceFree, StartsAt: starts, EndsAt: ends, Reason: j.reason}
		if j.byStaff {
			e.Source, e.SourceID = sourceManual, m.ID
		} else if err := s.makeRoom(ctx, tx, m.AccountID, m.CourseID); err != nil {
			return err
		}
		granted, err := s.grant(ctx, tx, []entitlement{e})
		if err != nil {
			return err
		}
		if len(granted) != 1 {
			return fmt.Errorf("no access of %s to %s by %s after a grant", m.AccountID, m.CourseID, c.ID)
		}
		m.EntitlementID = &granted[0].ID
	} else if m.EntitlementID != nil {
		e, err := lockEntitlement(ctx, tx, m.CourseID, *m.EntitlementID)
		if err != nil {
			return err
		}
		if err := s.setPeriods(ctx, tx, []period{{e, starts, ends}}, "moved to another cohort"); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO cohort_member (id, cohort_id, course_id, account_id, sequence, entitlement_id, joined_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		m.ID, m.CohortID, m.CourseID, m.AccountID, m.Sequence, m.EntitlementID, m.JoinedAt)
	if err != nil {
		return fmt.Errorf("insert member: %w", err)
	}
	err = audit.Record(ctx, tx, audit.Entry{
		Action: "cohort.joined", Object: c.ID, Course: c.CourseID, Person: m.AccountID, Reason: j.reason, After: map[string]any{"entitlement_id": m.EntitlementID},
	})
	if err != nil {
		return err
	}
	if err := bus.Publish(ctx, tx, m.event()); err != nil {
		return err
	}
	return s.keepCohort(ctx, tx, c, false)
}

// endMembership writes that somebody is in a cohort no more.
func endMembership(ctx context.Context, tx *pg.Tx, m cohortMember) error {
	if _, err := tx.Exec(ctx, `UPDATE cohort_member SET left_at = $2, left_why = $3 WHERE id = $1`, m.ID, m.LeftAt, m.LeftWhy); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	return nil
}

// LeaveCohort implements accesspb.CohortServiceServer.
func (s *Service) LeaveCohort(ctx context.Context, req *accesspb.LeaveCohortRequest) (*accesspb.LeaveCohortResponse, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.LeaveCohortResponse, error) {
		_, err := s.leave(ctx, tx, req.GetCourseId(), req.GetCohortId(), auth.From(ctx).Account, whyLeft, "left the cohort")
		return &accesspb.LeaveCohortResponse{}, err
	})
}

// RemoveCohortMember implements accesspb.CohortServiceServer.
func (s *Service) RemoveCohortMember(ctx context.Context, req *accesspb.RemoveCohortMemberRequest) (*accesspb.CohortMember, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.CohortMember, error) {
		m, err := s.leave(ctx, tx, req.GetCourseId(), req.GetCohortId(), req.GetAccountId(), whyRemoved, req.GetReason())
		if err != nil {
			return nil, err
		}
		return m.message(""), nil
	})
}

// leave takes somebody out of a cohort and ends the access that it gave.
func (s *Service) leave(ctx context.Context, tx *pg.Tx, courseID, cohortID, accountID, why, reason string) (cohortMember, error) {
	c, err := lockCohort(ctx, tx, courseID, cohortID)
	if err == ErrCohortNotFound { //nolint:errorlint // as it is returned
		return cohortMember{}, ErrNotInCohort
	}
	if err != nil {
		return cohortMember{}, err
	}
	m, in, err := present(ctx, tx, courseID, accountID)
	if err != nil {
		return cohortMember{}, err
	}
	if !in || m.CohortID != c.ID {
		return cohortMember{}, ErrNotInCohort
	}
	now := s.now()
	m.LeftAt, m.LeftWhy = &now, why
	c.Taken--
	if err := endMembership(ctx, tx, m); err != nil {
		return cohortMember{}, err
	}
	if err := audit.Record(ctx, tx, m.entry(reason)); err != nil {
		return cohortMember{}, err
	}
	if err := bus.Publish(ctx, tx, m.event()); err != nil {
		return cohortMember{}, err
	}
	if m.EntitlementID != nil {
		if _, err := s.revoke(ctx, tx, reason, `id = $4`, *m.EntitlementID); err != nil {
			return cohortMember{}, err
		}
	}
	return m, s.tend(ctx, tx, c)
}

// emptyCancelled takes members out of a cohort that was cancelled.
func (s *Service) emptyCancelled(ctx context.Context, tx *pg.Tx, c *cohort) (int, error) {
	if c.CancelledAt == nil || c.Taken == 0 {
		return 0, nil
	}
	list, err := s.depart(ctx, tx, whyCancelled, c.CancelReason, `m.cohort_id = $1 ORDER BY m.id LIMIT $2`, c.ID, tendBatch)
	if err != nil {
		return 0, err
	}
	c.Taken -= int32(len(list)) //nolint:gosec // at most tendBatch
	var grants []string
	for _, m := range list {
		if m.EntitlementID != nil {
			grants = append(grants, *m.EntitlementID)
		}
	}
	if len(grants) > 0 {
		if _, err := s.revoke(ctx, tx, c.CancelReason, `id = ANY($4)`, grants); err != nil {
			return 0, err
		}
	}
	return len(list), nil
}

// depart ends the memberships that a condition on m names, and says so.
func (s *Service) depart(ctx context.Context, tx *pg.Tx, why, reason, where string, args ...any) ([]cohortMember, error) {
	n := len(args)
	rows, err := tx.Query(ctx, fmt.Sprintf(`
		UPDATE cohort_member SET left_at = $%d, left_why = $%d
		WHERE id IN (SELECT m.id FROM cohort_member m WHERE m.left_at IS NULL AND %s) RETURNING %s`, n+1, n+2, where, memberColumns),
		append(slices.Clone(args), s.now(), why)...)
	if err != nil {
		return nil, fmt.Errorf("depart: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[cohortMember])
	if err != nil {
		return nil, fmt.Errorf("depart: %w", err)
	}
	events, entries := make([]proto.Message, len(list)), make([]audit.Entry, len(list))
	for i, m := range list {
		events[i], entries[i] = m.event(), m.entry(reason)
	}
	return list, tell(ctx, tx, entries, events)
}

// departRevoked takes those out of their cohorts whose grants by them were
// revoked.
func (s *Service) departRevoked(ctx context.Context, tx *pg.Tx, grants []string) error {
	return s.departAll(ctx, tx, `m.entitlement_id = ANY($1)`, grants)
}

// departEnded takes those out of their cohorts who have no access any more, and
// none to come, before the cohort is over.
func (s *Service) departEnded(ctx context.Context, tx *pg.Tx, accounts, courses []string) error {
	return s.departAll(ctx, tx, `(m.account_id, m.course_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
		AND EXISTS (SELECT FROM cohort c WHERE c.id = m.cohort_id AND (c.ends_at IS NULL OR c.ends_at > $3))
		AND NOT EXISTS (SELECT FROM entitlement e WHERE e.account_id = m.account_id AND e.course_id = m.course_id
			AND e.revoked_at IS NULL AND (e.ends_at IS NULL OR e.ends_at > $3))`, accounts, courses, s.now())
}

// departAll takes members whose access has ended out of their cohorts. The seats
// that become free are offered by Run.
func (s *Service) departAll(ctx context.Context, tx *pg.Tx, where string, args ...any) error {
	rows, err := tx.Query(ctx, `
		SELECT id FROM cohort WHERE id IN (SELECT m.cohort_id FROM cohort_member m WHERE m.left_at IS NULL AND `+where+`)
		ORDER BY id FOR NO KEY UPDATE`, args...)
	if err != nil {
		return fmt.Errorf("lock cohorts: %w", err)
	}
	cohorts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(cohorts) == 0 {
		return err
	}
	list, err := s.depart(ctx, tx, whyAccessEnded, "", `m.cohort_id = ANY($`+strconv.Itoa(len(args)+1)+`) AND `+where, append(slices.Clone(args), cohorts)...)
	if err != nil {
		return err
	}
	left := make([]int32, len(cohorts))
	for _, m := range list {
		left[slices.Index(cohorts, m.CohortID)]++
	}
	_, err = tx.Exec(ctx, `
		UPDATE cohort c SET taken = c.taken - n.gone, tend_at = CASE WHEN c.waiting > 0 THEN $3 ELSE c.tend_at END
		FROM unnest($1::text[], $2::integer[]) AS n (id, gone) WHERE c.id = n.id`, cohorts, left, s.now())
	if err != nil {
		return fmt.Errorf("free seats: %w", err)
	}
	return nil
}

// ListCohortMembers implements accesspb.CohortServiceServer.
func (s *Service) ListCohortMembers(ctx context.Context, req *accesspb.ListCohortMembersRequest) (*accesspb.ListCohortMembersResponse, error) {
	before, beforeID, err := after(req.GetCursor(), "member")
	if err != nil {
		return nil, err
	}
	if err := checkCohort(ctx, s.db, req.GetCourseId(), req.GetCohortId()); err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := s.db.Query(ctx, `
		SELECT `+prefixed("m", memberColumns)+`, coalesce(p.name, '') AS account_name FROM cohort_member m LEFT JOIN person p ON p.account_id = m.account_id
		WHERE m.cohort_id = $1 AND m.left_why IN ('', 'completed') AND (m.joined_at, m.id) < ($2, $3)
		ORDER BY m.joined_at DESC, m.id DESC LIMIT $4`, req.GetCohortId(), before, beforeID, size+1)
	if err != nil {
		return nil, fmt.Errorf("members: %w", err)
	}
	type named struct {
		cohortMember
		AccountName string
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[named])
	if err != nil {
		return nil, fmt.Errorf("members: %w", err)
	}
	out := &accesspb.ListCohortMembersResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.TimeCursor(list[size-1].JoinedAt, list[size-1].ID)
	}
	for _, m := range list {
		out.Items = append(out.Items, m.message(m.AccountName))
	}
	return out, nil
}

// checkCohort refuses a cohort that the course does not have.
func checkCohort(ctx context.Context, q pg.Querier, courseID, cohortID string) error {
	var found bool
	if err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM cohort WHERE id = $1 AND course_id = $2)`, cohortID, courseID).Scan(&found); err != nil {
		return fmt.Errorf("cohort: %w", err)
	}
	if !found {
		return ErrCohortNotFound
	}
	return nil
}

// ListMyCohorts implements accesspb.CohortServiceServer.
func (s *Service) ListMyCohorts(ctx context.Context, req *accesspb.ListMyCohortsRequest) (*accesspb.ListMyCohortsResponse, error) {
	before, beforeID, err := after(req.GetCursor(), "member")
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := s.db.Query(ctx, `
		SELECT `+memberColumns+` FROM cohort_member
		WHERE account_id = $1 AND left_why IN ('', 'completed') AND (joined_at, id) < ($2, $3)
		ORDER BY joined_at DESC, id DESC LIMIT $4`, auth.From(ctx).Account, before, beforeID, size+1)
	if err != nil {
		return nil, fmt.Errorf("my cohorts: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[cohortMember])
	if err != nil {
		return nil, fmt.Errorf("my cohorts: %w", err)
	}
	out := &accesspb.ListMyCohortsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.TimeCursor(list[size-1].JoinedAt, list[size-1].ID)
	}
	ids := make([]string, len(list))
	for i, m := range list {
		ids[i] = m.CohortID
	}
	rows, err = s.db.Query(ctx, `SELECT `+cohortColumns+` FROM cohort WHERE id = ANY($1)`, ids)
	if err != nil {
		return nil, fmt.Errorf("my cohorts: %w", err)
	}
	cohorts, err := pgx.CollectRows(rows, pgx.RowToStructByName[cohort])
	if err != nil {
		return nil, fmt.Errorf("my cohorts: %w", err)
	}
	for _, m := range list {
		i := slices.IndexFunc(cohorts, func(c cohort) bool { return c.ID == m.CohortID })
		out.Items = append(out.Items, &accesspb.MyCohort{Cohort: cohorts[i].message(s.now()), Member: m.message("")})
	}
	return out, nil
}
