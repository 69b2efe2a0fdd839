package access

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// maxWaiting are those who wait for seats of one cohort.
const maxWaiting = 10_000

// The states of an entry in which it still stands.
const (
	stateWaiting = "waiting"
	stateOffered = "offered"
)

// waitlistEntry is that somebody waits for a seat of a cohort, or waited.
type waitlistEntry struct {
	ID          string
	CohortID    string
	CourseID    string
	AccountID   string
	State       string
	JoinedAt    time.Time
	OfferEndsAt *time.Time
}

const waitlistColumns = `id, cohort_id, course_id, account_id, state, joined_at, offer_ends_at`

func (w waitlistEntry) message() *accesspb.WaitlistEntry {
	return &accesspb.WaitlistEntry{
		Id: w.ID, CohortId: w.CohortID, CourseId: w.CourseID, AccountId: w.AccountID, State: w.State,
		JoinedAt: timestamppb.New(w.JoinedAt), OfferEndsAt: timestampOf(w.OfferEndsAt),
	}
}

// waiting returns the entry by which somebody waits for a seat of a locked
// cohort, or is offered one.
func waiting(ctx context.Context, tx *pg.Tx, cohortID, accountID string) (w waitlistEntry, waits bool, err error) {
	rows, err := tx.Query(ctx, `
		SELECT `+waitlistColumns+` FROM waitlist WHERE cohort_id = $1 AND account_id = $2 AND state IN ('waiting', 'offered')`, cohortID, accountID)
	if err != nil {
		return waitlistEntry{}, false, fmt.Errorf("waitlist: %w", err)
	}
	w, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[waitlistEntry])
	if pg.NoRows(err) {
		return waitlistEntry{}, false, nil
	}
	if err != nil {
		return waitlistEntry{}, false, fmt.Errorf("waitlist: %w", err)
	}
	return w, true, nil
}

// JoinWaitlist implements accesspb.CohortServiceServer.
func (s *Service) JoinWaitlist(ctx context.Context, req *accesspb.JoinWaitlistRequest) (*accesspb.WaitlistEntry, error) {
	account := auth.From(ctx).Account
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.WaitlistEntry, error) {
		c, err := lockCohort(ctx, tx, req.GetCourseId(), req.GetCohortId())
		if err != nil {
			return nil, err
		}
		if err := s.tend(ctx, tx, c); err != nil {
			return nil, err
		}
		w, waits, err := waiting(ctx, tx, c.ID, account)
		if err != nil {
			return nil, err
		}
		if waits {
			tx.Exempt("nothing but what time brings, which is recorded")
			return w.message(), nil
		}
		if err := s.mayWait(ctx, tx, c, account); err != nil {
			return nil, err
		}
		w = waitlistEntry{ID: id.New("wait"), CohortID: c.ID, CourseID: c.CourseID, AccountID: account, State: stateWaiting, JoinedAt: s.now()}
		_, err = tx.Exec(ctx, `INSERT INTO waitlist (id, cohort_id, course_id, account_id, joined_at) VALUES ($1, $2, $3, $4, $5)`,
			w.ID, w.CohortID, w.CourseID, w.AccountID, w.JoinedAt)
		if err != nil {
			return nil, fmt.Errorf("insert into waitlist: %w", err)
		}
		c.Waiting++
		if err := audit.Record(ctx, tx, audit.Entry{Action: "waitlist.joined", Object: w.ID, Course: w.CourseID, Person: account}); err != nil {
			return nil, err
		}
		return w.message(), s.keepCohort(ctx, tx, c, false)
	})
}

// mayWait refuses who can't wait for a seat of a locked cohort.
func (s *Service) mayWait(ctx context.Context, tx *pg.Tx, c *cohort, account string) error {
	way, err := s.wayInto(ctx, tx, joining{course: c.CourseID, account: account}, cohortMember{})
	if err != nil {
		return err
	}
	m, in, err := present(ctx, tx, c.CourseID, account)
	switch {
	case err != nil:
		return err
	case in && m.CohortID == c.ID:
		return ErrInCohort
	case !c.Open, !way.Published && !way.HasAccess:
		return ErrCohortNotFound
	case way.Teaches:
		return ErrOwnCourse
	case !c.joinable(s.now()):
		return ErrCohortClosed
	case c.free() > 0 && c.Waiting == 0:
		return ErrCohortNotFull
	case c.Waiting >= maxWaiting:
		return ErrWaitlistFull
	default:
		return nil
	}
}

// LeaveWaitlist implements accesspb.CohortServiceServer.
func (s *Service) LeaveWaitlist(ctx context.Context, req *accesspb.LeaveWaitlistRequest) (*accesspb.WaitlistEntry, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.WaitlistEntry, error) {
		c, w, err := s.offWaitlist(ctx, tx, req.GetCourseId(), req.GetCohortId(), auth.From(ctx).Account, "left")
		if err != nil {
			return nil, err
		}
		if err := audit.Record(ctx, tx, audit.Entry{Action: "waitlist.left", Object: w.ID, Course: w.CourseID, Person: w.AccountID}); err != nil {
			return nil, err
		}
		return w.message(), s.tend(ctx, tx, c)
	})
}

// RemoveFromWaitlist implements accesspb.CohortServiceServer.
func (s *Service) RemoveFromWaitlist(ctx context.Context, req *accesspb.RemoveFromWaitlistRequest) (*accesspb.WaitlistEntry, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.WaitlistEntry, error) {
		c, w, err := s.offWaitlist(ctx, tx, req.GetCourseId(), req.GetCohortId(), req.GetAccountId(), "removed")
		if err != nil {
			return nil, err
		}
		err = audit.Record(ctx, tx, audit.Entry{Action: "waitlist.removed", Object: w.ID, Course: w.CourseID, Person: w.AccountID, Reason: req.GetReason()})
		if err != nil {
			return nil, err
		}
		return w.message(), s.tend(ctx, tx, c)
	})
}

// offWaitlist ends an entry and returns it with its cohort, locked. The seat
// that was held for it is free then.
func (s *Service) offWaitlist(ctx context.Context, tx *pg.Tx, courseID, cohortID, accountID, state string) (*cohort, waitlistEntry, error) {
	c, err := lockCohort(ctx, tx, courseID, cohortID)
	if err == ErrCohortNotFound { //nolint:errorlint // as it is returned
		return nil, waitlistEntry{}, ErrNotWaiting
	}
	if err != nil {
		return nil, waitlistEntry{}, err
	}
	w, waits, err := waiting(ctx, tx, c.ID, accountID)
	if err != nil {
		return nil, waitlistEntry{}, err
	}
	if !waits {
		return nil, waitlistEntry{}, ErrNotWaiting
	}
	if w.State == stateOffered {
		c.Offered--
	} else {
		c.Waiting--
	}
	w.State = state
	if _, err := tx.Exec(ctx, `UPDATE waitlist SET state = $2, ended_at = $3 WHERE id = $1`, w.ID, state, s.now()); err != nil {
		return nil, waitlistEntry{}, fmt.Errorf("leave waitlist: %w", err)
	}
	return c, w, nil
}

// change changes the entries of a cohort, $1, that a condition names to what is set.
func change(ctx context.Context, tx *pg.Tx, set, where, cohortID string, args ...any) ([]waitlistEntry, error) {
	rows, err := tx.Query(ctx, `
		UPDATE waitlist SET `+set+` WHERE id IN (SELECT id FROM waitlist WHERE cohort_id = $1 AND `+where+`)
		RETURNING `+waitlistColumns, append([]any{cohortID}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("change waitlist: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[waitlistEntry])
	if err != nil {
		return nil, fmt.Errorf("change waitlist: %w", err)
	}
	return list, nil
}

// expireOffers ends the offers that were not taken in time.
func (s *Service) expireOffers(ctx context.Context, tx *pg.Tx, c *cohort) (int, error) {
	if c.Offered == 0 {
		return 0, nil
	}
	list, err := change(ctx, tx, `state = 'expired', ended_at = $2`,
		`state = 'offered' AND offer_ends_at <= $2 ORDER BY offer_ends_at LIMIT $3`, c.ID, s.now(), tendBatch)
	if err != nil {
		return 0, err
	}
	c.Offered -= int32(len(list)) //nolint:gosec // at most tendBatch
	events, entries := make([]proto.Message, len(list)), make([]audit.Entry, len(list))
	for i, w := range list {
		events[i] = &accesspb.WaitlistOfferExpired{EntryId: w.ID, CohortId: c.ID, CohortName: c.Name, CourseId: c.CourseID, AccountId: w.AccountID}
		entries[i] = audit.Entry{Action: "waitlist.expired", Object: w.ID, Course: c.CourseID, Person: w.AccountID}
	}
	return len(list), tell(ctx, tx, entries, events)
}

// closeWaitlist ends the waiting for a cohort that nobody may join any more.
func (s *Service) closeWaitlist(ctx context.Context, tx *pg.Tx, c *cohort) (int, error) {
	if c.Waiting+c.Offered == 0 || !c.closed(s.now()) {
		return 0, nil
	}
	list, err := change(ctx, tx, `state = 'closed', ended_at = $2`,
		`state IN ('waiting', 'offered') ORDER BY joined_at, id LIMIT $3`, c.ID, s.now(), tendBatch)
	if err != nil {
		return 0, err
	}
	entries := make([]audit.Entry, len(list))
	for i, w := range list {
		if w.OfferEndsAt != nil {
			c.Offered--
		} else {
			c.Waiting--
		}
		entries[i] = audit.Entry{Action: "waitlist.closed", Object: w.ID, Course: c.CourseID, Person: w.AccountID}
	}
	return len(list), tell(ctx, tx, entries, nil)
}

// offerSeats offers the seats that are free to those who wait longest.
func (s *Service) offerSeats(ctx context.Context, tx *pg.Tx, c *cohort) (int, error) {
	now := s.now()
	n := min(c.free(), c.Waiting, tendBatch)
	if n <= 0 || !c.joinable(now) {
		return 0, nil
	}
	ends := now.Add(time.Duration(c.OfferHours) * time.Hour)
	if closes := c.closes(); closes != nil && closes.Before(ends) {
		ends = *closes
	}
	list, err := change(ctx, tx, `state = 'offered', offer_ends_at = $2`,
		`state = 'waiting' ORDER BY joined_at, id LIMIT $3`, c.ID, ends, n)
	if err != nil {
		return 0, err
	}
	c.Waiting -= int32(len(list)) //nolint:gosec // at most tendBatch
	c.Offered += int32(len(list)) //nolint:gosec // at most tendBatch
	events, entries := make([]proto.Message, len(list)), make([]audit.Entry, len(list))
	for i, w := range list {
		events[i] = &accesspb.WaitlistOffered{
			EntryId: w.ID, CohortId: c.ID, CohortName: c.Name, CourseId: c.CourseID, AccountId: w.AccountID, EndsAt: timestamppb.New(ends),
		}
		entries[i] = audit.Entry{
			Action: "waitlist.offered", Object: w.ID, Course: c.CourseID, Person: w.AccountID, After: map[string]any{"offer_ends_at": ends},
		}
	}
	return len(list), tell(ctx, tx, entries, events)
}

// ListMyWaitlist implements accesspb.CohortServiceServer.
func (s *Service) ListMyWaitlist(ctx context.Context, req *accesspb.ListMyWaitlistRequest) (*accesspb.ListMyWaitlistResponse, error) {
	before, beforeID, err := after(req.GetCursor(), "wait")
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	// Each line that is counted has an end: at most maxWaiting.
	rows, err := s.db.Query(ctx, `
		SELECT `+prefixed("w", waitlistColumns)+`, CASE w.state WHEN 'waiting' THEN (
			SELECT count(*)::integer FROM waitlist o WHERE o.cohort_id = w.cohort_id AND o.state = 'waiting' AND (o.joined_at, o.id) <= (w.joined_at, w.id)
		) ELSE 0 END AS position
		FROM waitlist w WHERE w.account_id = $1 AND w.state IN ('waiting', 'offered') AND (w.joined_at, w.id) < ($2, $3)
		ORDER BY w.joined_at DESC, w.id DESC LIMIT $4`, auth.From(ctx).Account, before, beforeID, size+1)
	if err != nil {
		return nil, fmt.Errorf("my waitlist: %w", err)
	}
	type placed struct {
		waitlistEntry
		Position int32
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[placed])
	if err != nil {
		return nil, fmt.Errorf("my waitlist: %w", err)
	}
	out := &accesspb.ListMyWaitlistResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.TimeCursor(list[size-1].JoinedAt, list[size-1].ID)
	}
	for _, w := range list {
		m := w.message()
		m.Position = w.Position
		out.Items = append(out.Items, m)
	}
	return out, nil
}

// ListWaitlist implements accesspb.CohortServiceServer.
func (s *Service) ListWaitlist(ctx context.Context, req *accesspb.ListWaitlistRequest) (*accesspb.ListWaitlistResponse, error) {
	// Oldest first: behind the cursor, or behind nothing.
	at, atID := time.Time{}, ""
	if req.GetCursor() != "" {
		var err error
		if at, atID, err = after(req.GetCursor(), "wait"); err != nil {
			return nil, err
		}
	}
	if err := checkCohort(ctx, s.db, req.GetCourseId(), req.GetCohortId()); err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := s.db.Query(ctx, `
		SELECT `+prefixed("w", waitlistColumns)+`, coalesce(p.name, '') AS account_name FROM waitlist w LEFT JOIN person p ON p.account_id = w.account_id
		WHERE w.cohort_id = $1 AND w.state IN ('waiting', 'offered') AND (w.joined_at, w.id) > ($2, $3)
		ORDER BY w.joined_at, w.id LIMIT $4`, req.GetCohortId(), at, atID, size+1)
	if err != nil {
		return nil, fmt.Errorf("waitlist: %w", err)
	}
	type named struct {
		waitlistEntry
		AccountName string
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[named])
	if err != nil {
		return nil, fmt.Errorf("waitlist: %w", err)
	}
	out := &accesspb.ListWaitlistResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.TimeCursor(list[size-1].JoinedAt, list[size-1].ID)
	}
	for _, w := range list {
		m := w.message()
		m.AccountName = w.AccountName
		out.Items = append(out.Items, m)
	}
	return out, nil
}
