package access

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// maxCohorts are those of a course, and offerHours for how long a seat is
// offered where nobody said.
const (
	maxCohorts = 1000
	offerHours = 48
)

// cohort is a dated run of a course.
type cohort struct {
	ID           string
	CourseID     string
	Name         string
	StartsAt     time.Time
	EndsAt       *time.Time
	EnrollFrom   *time.Time
	EnrollUntil  *time.Time
	Seats        int32
	Taken        int32
	Offered      int32
	Waiting      int32
	Open         bool
	OfferHours   int32
	Revision     int64
	CancelledAt  *time.Time
	CancelReason string
	Rescheduled  bool
}

const cohortColumns = `id, course_id, name, starts_at, ends_at, enroll_from, enroll_until, seats, taken, offered, waiting, open, offer_hours,
	revision, cancelled_at, cancel_reason, rescheduled`

// state follows from the times; it is not stored.
func (c cohort) state(now time.Time) string {
	switch {
	case c.CancelledAt != nil:
		return "cancelled"
	case c.over(now):
		return "over"
	case c.StartsAt.After(now):
		return "upcoming"
	default:
		return "running"
	}
}

func (c cohort) over(now time.Time) bool { return c.EndsAt != nil && !c.EndsAt.After(now) }

// closes is when nobody may join any more by themselves; nil for never.
func (c cohort) closes() *time.Time {
	if c.EnrollUntil == nil || c.EndsAt != nil && c.EndsAt.Before(*c.EnrollUntil) {
		return c.EndsAt
	}
	return c.EnrollUntil
}

// closed reports whether nobody may join any more by themselves.
func (c cohort) closed(now time.Time) bool {
	closes := c.closes()
	return c.CancelledAt != nil || closes != nil && !closes.After(now)
}

// joinable reports whether people may join by themselves now.
func (c cohort) joinable(now time.Time) bool {
	return !c.closed(now) && (c.EnrollFrom == nil || !c.EnrollFrom.After(now))
}

// free is how many seats nobody has and nobody is offered.
func (c cohort) free() int32 {
	if c.Seats == 0 {
		return maxWaiting
	}
	return c.Seats - c.Taken - c.Offered
}

// period is when a grant that the cohort gives to who joined then begins and
// ends.
func (c cohort) period(joined time.Time) (starts time.Time, ends *time.Time) {
	starts = c.StartsAt
	if joined.After(starts) {
		starts = joined
	}
	if c.EndsAt != nil {
		at := *c.EndsAt
		if at.Before(starts) {
			at = starts
		}
		ends = &at
	}
	return starts, ends
}

// check refuses times that are not in order.
func (c cohort) check() error {
	switch {
	case c.EndsAt != nil && !c.EndsAt.After(c.StartsAt):
		return invalid("cohort.period", "ends_at", "A cohort ends after it begins.")
	case c.EnrollUntil != nil && c.EnrollFrom != nil && !c.EnrollUntil.After(*c.EnrollFrom):
		return invalid("cohort.period", "enroll_until", "The time to join ends after it begins.")
	case c.EnrollFrom != nil && c.EndsAt != nil && !c.EndsAt.After(*c.EnrollFrom):
		return invalid("cohort.period", "enroll_from", "The time to join begins before the cohort ends.")
	case c.Name == "":
		return invalid("cohort.name", "name", "A name has at least one letter.")
	}
	return nil
}

func (c cohort) message(now time.Time) *accesspb.Cohort {
	return &accesspb.Cohort{
		Id: c.ID, CourseId: c.CourseID, Name: c.Name, StartsAt: timestamppb.New(c.StartsAt), EndsAt: timestampOf(c.EndsAt),
		EnrollFrom: timestampOf(c.EnrollFrom), EnrollUntil: timestampOf(c.EnrollUntil), Seats: c.Seats, Taken: c.Taken, Offered: c.Offered,
		Waiting: c.Waiting, Open: c.Open, OfferHours: c.OfferHours, State: c.state(now), Etag: etag(c.Revision),
	}
}

// entry is the cohort as the audit log has it.
func (c cohort) entry() map[string]any {
	return map[string]any{
		"name": c.Name, "starts_at": c.StartsAt, "ends_at": c.EndsAt, "enroll_from": c.EnrollFrom, "enroll_until": c.EnrollUntil,
		"seats": c.Seats, "open": c.Open, "offer_hours": c.OfferHours, "cancelled_at": c.CancelledAt,
	}
}

func (c cohort) event() *accesspb.CohortChanged {
	return &accesspb.CohortChanged{
		CohortId: c.ID, CourseId: c.CourseID, Name: c.Name, StartsAt: timestamppb.New(c.StartsAt), EndsAt: timestampOf(c.EndsAt),
		Cancelled: c.CancelledAt != nil, Version: c.Revision,
	}
}

// CreateCohort implements accesspb.CohortServiceServer.
func (s *Service) CreateCohort(ctx context.Context, req *accesspb.CreateCohortRequest) (*accesspb.Cohort, error) {
	c := cohort{
		ID: id.New("cohort"), CourseID: req.GetCourseId(), Name: strings.TrimSpace(req.GetName()), StartsAt: *moment(req.GetStartsAt()),
		EndsAt: moment(req.GetEndsAt()), EnrollFrom: moment(req.GetEnrollFrom()), EnrollUntil: moment(req.GetEnrollUntil()),
		Seats: req.GetSeats(), Open: req.GetOpen(), OfferHours: req.GetOfferHours(), Revision: 1,
	}
	if c.OfferHours == 0 {
		c.OfferHours = offerHours
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Cohort, error) {
		// Those who make cohorts of one course take turns, so that each counts the others.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('stoa.cohort'), hashtext($1))`, c.CourseID); err != nil {
			return nil, fmt.Errorf("take turns: %w", err)
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO cohort (id, course_id, name, starts_at, ends_at, enroll_from, enroll_until, seats, open, offer_hours)
			SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 WHERE (SELECT count(*) FROM cohort WHERE course_id = $2) < $11`,
			c.ID, c.CourseID, c.Name, c.StartsAt, c.EndsAt, c.EnrollFrom, c.EnrollUntil, c.Seats, c.Open, c.OfferHours, maxCohorts)
		switch {
		case pg.Violates(err, "cohort_name"):
			return nil, ErrCohortNameTaken
		case err != nil:
			return nil, fmt.Errorf("insert cohort: %w", err)
		case tag.RowsAffected() == 0:
			return nil, ErrTooManyCohorts
		}
		if err := audit.Record(ctx, tx, audit.Entry{Action: "cohort.created", Object: c.ID, Course: c.CourseID, After: c.entry()}); err != nil {
			return nil, err
		}
		return c.message(s.now()), bus.Publish(ctx, tx, c.event())
	})
}

// GetCohort implements accesspb.CohortServiceServer.
func (s *Service) GetCohort(ctx context.Context, req *accesspb.GetCohortRequest) (*accesspb.Cohort, error) {
	rows, err := s.db.Query(ctx, `SELECT `+cohortColumns+` FROM cohort WHERE id = $1 AND course_id = $2`, req.GetCohortId(), req.GetCourseId())
	if err != nil {
		return nil, fmt.Errorf("cohort: %w", err)
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[cohort])
	if pg.NoRows(err) {
		return nil, ErrCohortNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("cohort: %w", err)
	}
	if !c.Open {
		staff, err := auth.Has(ctx, enrollmentList)
		if err != nil {
			return nil, err
		}
		if !staff {
			in, _, err := present(ctx, s.db, c.CourseID, auth.From(ctx).Account)
			if err != nil {
				return nil, err
			}
			if in.CohortID != c.ID {
				return nil, ErrCohortNotFound
			}
		}
	}
	return c.message(s.now()), nil
}

// ListCohorts implements accesspb.CohortServiceServer.
func (s *Service) ListCohorts(ctx context.Context, req *accesspb.ListCohortsRequest) (*accesspb.ListCohortsResponse, error) {
	before, beforeID, err := after(req.GetCursor(), "cohort")
	if err != nil {
		return nil, err
	}
	all, err := auth.Has(ctx, enrollmentList)
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := s.db.Query(ctx, `
		SELECT `+cohortColumns+` FROM cohort WHERE course_id = $1 AND (starts_at, id) < ($2, $3) AND (open OR $4)
		ORDER BY starts_at DESC, id DESC LIMIT $5`, req.GetCourseId(), before, beforeID, all, size+1)
	if err != nil {
		return nil, fmt.Errorf("cohorts: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[cohort])
	if err != nil {
		return nil, fmt.Errorf("cohorts: %w", err)
	}
	out := &accesspb.ListCohortsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.TimeCursor(list[size-1].StartsAt, list[size-1].ID)
	}
	for _, c := range list {
		out.Items = append(out.Items, c.message(s.now()))
	}
	return out, nil
}

// lockCohort returns a cohort of a course and keeps others from changing it, its
// members and its waitlist until tx ends.
func lockCohort(ctx context.Context, tx *pg.Tx, courseID, cohortID string) (*cohort, error) {
	found, err := lockCohorts(ctx, tx, courseID, cohortID)
	if err != nil {
		return nil, err
	}
	if found[cohortID] == nil {
		return nil, ErrCohortNotFound
	}
	return found[cohortID], nil
}

// lockCohorts locks several of one course, in one order.
func lockCohorts(ctx context.Context, tx *pg.Tx, courseID string, cohortIDs ...string) (map[string]*cohort, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+cohortColumns+` FROM cohort WHERE id = ANY($1) AND course_id = $2 ORDER BY id FOR NO KEY UPDATE`, cohortIDs, courseID)
	if err != nil {
		return nil, fmt.Errorf("lock cohort: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[cohort])
	if err != nil {
		return nil, fmt.Errorf("lock cohort: %w", err)
	}
	out := map[string]*cohort{}
	for _, c := range list {
		out[c.ID] = c
	}
	return out, nil
}

// UpdateCohort implements accesspb.CohortServiceServer.
func (s *Service) UpdateCohort(ctx context.Context, req *accesspb.UpdateCohortRequest) (*accesspb.Cohort, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Cohort, error) {
		c, err := lockCohort(ctx, tx, req.GetCourseId(), req.GetCohortId())
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, etag(c.Revision)); err != nil {
			return nil, err
		}
		if c.CancelledAt != nil {
			return nil, ErrCohortCancelled
		}
		was := *c
		c.apply(req)
		if err := c.check(); err != nil {
			return nil, err
		}
		if c.Seats > 0 && c.Taken+c.Offered > c.Seats {
			return nil, ErrCohortSeatsTaken
		}
		c.Revision++
		c.Rescheduled = true // where its times are as they were, nothing is found to change
		_, err = tx.Exec(ctx, `
			UPDATE cohort SET name = $2, starts_at = $3, ends_at = $4, enroll_from = $5, enroll_until = $6, seats = $7, open = $8, offer_hours = $9, revision = $10
			WHERE id = $1`, c.ID, c.Name, c.StartsAt, c.EndsAt, c.EnrollFrom, c.EnrollUntil, c.Seats, c.Open, c.OfferHours, c.Revision)
		if pg.Violates(err, "cohort_name") {
			return nil, ErrCohortNameTaken
		}
		if err != nil {
			return nil, fmt.Errorf("update cohort: %w", err)
		}
		err = audit.Record(ctx, tx, audit.Entry{Action: "cohort.updated", Object: c.ID, Course: c.CourseID, Before: was.entry(), After: c.entry()})
		if err != nil {
			return nil, err
		}
		if err := s.tend(ctx, tx, c); err != nil {
			return nil, err
		}
		return c.message(s.now()), bus.Publish(ctx, tx, c.event())
	})
}

// apply changes what a request names.
func (c *cohort) apply(req *accesspb.UpdateCohortRequest) {
	if req.Name != nil {
		c.Name = strings.TrimSpace(req.GetName())
	}
	if at := moment(req.GetStartsAt()); at != nil {
		c.StartsAt = *at
	}
	for name, f := range map[string]struct {
		to   **time.Time
		from *timestamppb.Timestamp
	}{
		"ends_at":      {&c.EndsAt, req.GetEndsAt()},
		"enroll_from":  {&c.EnrollFrom, req.GetEnrollFrom()},
		"enroll_until": {&c.EnrollUntil, req.GetEnrollUntil()},
	} {
		for _, cleared := range req.GetClear() {
			if cleared == name {
				*f.to = nil
			}
		}
		if at := moment(f.from); at != nil {
			*f.to = at
		}
	}
	if req.Seats != nil {
		c.Seats = req.GetSeats()
	}
	if req.Open != nil {
		c.Open = req.GetOpen()
	}
	if req.OfferHours != nil {
		c.OfferHours = req.GetOfferHours()
	}
}

// CancelCohort implements accesspb.CohortServiceServer.
func (s *Service) CancelCohort(ctx context.Context, req *accesspb.CancelCohortRequest) (*accesspb.Cohort, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Cohort, error) {
		c, err := lockCohort(ctx, tx, req.GetCourseId(), req.GetCohortId())
		if err != nil {
			return nil, err
		}
		if c.CancelledAt != nil {
			return c.message(s.now()), nil
		}
		was, now := *c, s.now()
		c.CancelledAt, c.CancelReason = &now, req.GetReason()
		c.Revision++
		_, err = tx.Exec(ctx, `UPDATE cohort SET cancelled_at = $2, cancel_reason = $3, revision = $4 WHERE id = $1`, c.ID, now, c.CancelReason, c.Revision)
		if err != nil {
			return nil, fmt.Errorf("cancel cohort: %w", err)
		}
		err = audit.Record(ctx, tx, audit.Entry{
			Action: "cohort.cancelled", Object: c.ID, Course: c.CourseID, Reason: c.CancelReason, Before: was.entry(), After: c.entry(),
		})
		if err != nil {
			return nil, err
		}
		if err := s.tend(ctx, tx, c); err != nil {
			return nil, err
		}
		return c.message(now), bus.Publish(ctx, tx, c.event())
	})
}

// tendBatch is how many members or entries of a waitlist one step takes.
const tendBatch = 500

// tend does for a locked cohort what is to be done by itself by now: offers that
// were not taken end, who waits is offered what is free, members follow its
// times or leave when it is cancelled. What is left, and what comes later, is
// done by Run.
func (s *Service) tend(ctx context.Context, tx *pg.Tx, c *cohort) error {
	more := false
	for _, step := range []func(context.Context, *pg.Tx, *cohort) (int, error){s.expireOffers, s.closeWaitlist, s.emptyCancelled, s.reschedule, s.offerSeats} {
		n, err := step(ctx, tx, c)
		if err != nil {
			return err
		}
		more = more || n == tendBatch
	}
	return s.keepCohort(ctx, tx, c, more)
}

// keepCohort writes the counters of a locked cohort, and when it is tended next.
func (s *Service) keepCohort(ctx context.Context, tx *pg.Tx, c *cohort, more bool) error {
	now := s.now()
	var next *time.Time
	soonest := func(at *time.Time) {
		if at != nil && (next == nil || at.Before(*next)) {
			next = at
		}
	}
	if more || c.Waiting > 0 && c.joinable(now) && c.free() > 0 {
		soonest(&now)
	}
	if c.Waiting > 0 {
		soonest(c.closes())
		if c.EnrollFrom != nil && c.EnrollFrom.After(now) {
			soonest(c.EnrollFrom)
		}
	}
	if c.Offered > 0 {
		var ends *time.Time
		err := tx.QueryRow(ctx, `SELECT min(offer_ends_at) FROM waitlist WHERE cohort_id = $1 AND state = 'offered'`, c.ID).Scan(&ends)
		if err != nil {
			return fmt.Errorf("next offer to end: %w", err)
		}
		soonest(ends)
	}
	_, err := tx.Exec(ctx, `UPDATE cohort SET taken = $2, offered = $3, waiting = $4, rescheduled = $5, tend_at = $6 WHERE id = $1`,
		c.ID, c.Taken, c.Offered, c.Waiting, c.Rescheduled, next)
	if err != nil {
		return fmt.Errorf("keep cohort: %w", err)
	}
	return nil
}

// reschedule has grants that a cohort gave begin and end when it does now.
func (s *Service) reschedule(ctx context.Context, tx *pg.Tx, c *cohort) (int, error) {
	if !c.Rescheduled {
		return 0, nil
	}
	rows, err := tx.Query(ctx, `
		SELECT `+prefixed("e", entitlementColumns)+`, m.joined_at FROM cohort_member m JOIN entitlement e ON e.id = m.entitlement_id
		WHERE m.cohort_id = $1 AND m.left_at IS NULL AND e.revoked_at IS NULL AND (e.starts_at <> greatest($2, m.joined_at)
			OR e.ends_at IS DISTINCT FROM CASE WHEN $3::timestamptz IS NOT NULL THEN greatest($3, $2, m.joined_at) END)
		ORDER BY m.id LIMIT $4 FOR UPDATE OF e`, c.ID, c.StartsAt, c.EndsAt, tendBatch)
	if err != nil {
		return 0, fmt.Errorf("reschedule: %w", err)
	}
	type given struct {
		entitlement
		JoinedAt time.Time
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[given])
	if err != nil {
		return 0, fmt.Errorf("reschedule: %w", err)
	}
	periods := make([]period, len(list))
	for i, g := range list {
		starts, ends := c.period(g.JoinedAt)
		periods[i] = period{g.entitlement, starts, ends}
	}
	c.Rescheduled = len(list) == tendBatch
	return len(list), s.setPeriods(ctx, tx, periods, "the times of the cohort have changed")
}

// prefixed returns a list of columns of a table by its alias.
func prefixed(alias, columns string) string {
	list := strings.Split(columns, ",")
	for i, column := range list {
		list[i] = alias + "." + strings.TrimSpace(column)
	}
	return strings.Join(list, ", ")
}

// tendEvery is how many cohorts are tended at most before others of the second.
const tendEvery = 100

// followCohorts tends the cohorts in which something is to be done by now.
func (s *Service) followCohorts(ctx context.Context) error {
	for range tendEvery {
		done := false
		err := s.db.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("what time brings; what follows for people is recorded")
			rows, err := tx.Query(ctx, `
				SELECT `+cohortColumns+` FROM cohort WHERE tend_at <= $1 ORDER BY tend_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED`, s.now())
			if err != nil {
				return fmt.Errorf("cohort to tend: %w", err)
			}
			c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[cohort])
			if done = pg.NoRows(err); done {
				return nil
			}
			if err != nil {
				return fmt.Errorf("cohort to tend: %w", err)
			}
			return s.tend(ctx, tx, c)
		})
		if err != nil || done {
			return err
		}
	}
	return nil
}
