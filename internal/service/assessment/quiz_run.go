package assessment

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

const (
	// prepareAhead is how long before a window opens attempts are made for it, and
	// prepareAfter how long after that they are kept fresh.
	prepareAhead = 15 * time.Minute
	prepareAfter = 5 * time.Minute
	// prepareRound is how often all those enrolled are looked at meanwhile, as what is
	// said for them may change until the last moment.
	prepareRound = time.Minute
	// prepareBeat is how often it is looked for windows that open soon.
	prepareBeat = 15 * time.Second
	// prepareLease is how long who works on a batch has it.
	prepareLease = 30 * time.Second
	// prepareBatch is for how many people attempts are made in one transaction.
	prepareBatch = 250
	// openingsPage is how many windows learning is asked for at a time, and maxOpenings
	// for how many items attempts are made ahead of windows that some have of their own.
	openingsPage = 1000
	maxOpenings  = 50_000
)

// wakePreparing has what is to be prepared looked at.
func (s *Service) wakePreparing() {
	select {
	case s.unprepared <- struct{}{}:
	default: // somebody is about to look anyway
	}
}

// keepPreparing makes attempts ahead of the windows of quizzes, the marks anew of those
// that were published anew, and the quizzes of courses that were copied, until ctx
// ends. Any number of processes may run it.
func (s *Service) keepPreparing(ctx context.Context) {
	tick := time.NewTicker(prepareBeat)
	defer tick.Stop()
	for {
		for _, step := range []func(context.Context) (bool, error){s.schedulePreparations, s.prepareNext, s.remarkDue, s.dueNext, s.copyNext, s.copyNextAssignment, s.dropOldPreviews} {
			for more := true; more && ctx.Err() == nil; {
				var err error
				if more, err = step(ctx); err != nil && ctx.Err() == nil {
					s.log.WarnContext(ctx, "attempts could not be prepared yet", "error", err.Error())
				}
			}
		}
		select {
		case <-tick.C:
		case <-s.unprepared:
		case <-ctx.Done():
			return
		}
	}
}

// schedulePreparations notes the quizzes whose window opens soon, and forgets those
// whose window has opened or does not open soon any more: windows that courses set, for
// all those enrolled, and windows that some have of their own, which learning knows.
// Where learning does not answer, what it said last holds. There is nothing more of it.
func (s *Service) schedulePreparations(ctx context.Context) (bool, error) {
	now := s.time()
	after, until := now.Add(-prepareAfter), now.Add(prepareAhead)
	own, away := s.ownOpenings(ctx, after, until)
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a mark of the worker for itself")
		_, err := tx.Exec(ctx, `
			WITH own AS (
				SELECT p.course_id, p.item_id, o.opens_at FROM unnest($4::text[], $5::text[], $6::timestamptz[]) AS o (course_id, item_id, opens_at)
				JOIN placement p ON p.course_id = o.course_id AND p.item_id = o.item_id AND p.kind = 'quiz' AND p.ref <> ''
				UNION ALL
				SELECT course_id, item_id, opens_at FROM quiz_preparation WHERE $7 AND own AND opens_at > $2
			), opening AS (
				SELECT course_id, item_id, min(opens_at) AS opens_at, bool_and(own) AS own FROM (
					SELECT course_id, item_id, opens_at, false AS own FROM placement
					WHERE present AND kind = 'quiz' AND ref <> '' AND opens_at > $2 AND opens_at <= $3
					UNION ALL
					SELECT course_id, item_id, opens_at, true FROM own) AS o GROUP BY course_id, item_id
			), gone AS (
				DELETE FROM quiz_preparation p WHERE NOT EXISTS (SELECT FROM opening o WHERE o.course_id = p.course_id AND o.item_id = p.item_id)
			)
			INSERT INTO quiz_preparation AS p (course_id, item_id, opens_at, own, next_at) SELECT course_id, item_id, opens_at, own, $1 FROM opening ORDER BY course_id, item_id
			ON CONFLICT ON CONSTRAINT quiz_preparation_pkey DO UPDATE SET opens_at = EXCLUDED.opens_at, own = EXCLUDED.own, next_at = EXCLUDED.next_at, after_id = ''
			WHERE p.opens_at <> EXCLUDED.opens_at OR p.own <> EXCLUDED.own`, now, after, until, own.courses, own.items, own.opens, away != nil)
		return err
	})
	if err == nil && away != nil {
		err = fmt.Errorf("windows of their own: %w", away)
	}
	return false, err
}

// ownOpenings are items that open, each with the first moment at which it does.
type ownOpenings struct {
	courses, items []string
	opens          []time.Time
}

// ownOpenings asks learning which items become available to anybody in a span of time.
func (s *Service) ownOpenings(ctx context.Context, after, until time.Time) (ownOpenings, error) {
	var out ownOpenings
	seen := map[[2]string]bool{}
	req := &learningpb.ListOpeningsRequest{After: timestamppb.New(after), Until: timestamppb.New(until), PageSize: openingsPage}
	for {
		res, err := s.items.ListOpenings(ctx, req)
		if err != nil {
			return ownOpenings{}, err
		}
		for _, o := range res.GetItems() { // the earliest first
			if key := [2]string{o.GetCourseId(), o.GetItemId()}; !seen[key] {
				seen[key] = true
				out.courses, out.items, out.opens = append(out.courses, key[0]), append(out.items, key[1]), append(out.opens, o.GetAvailableFrom().AsTime())
			}
		}
		if req.Cursor = res.GetNextCursor(); req.GetCursor() == "" || len(out.items) >= maxOpenings {
			return out, nil
		}
	}
}

// preparation is the next work on a quiz whose window opens soon.
type preparation struct {
	CourseID string
	ItemID   string
	AfterID  string
	Own      bool
}

// prepareNext makes attempts for the next of those enrolled at a quiz whose window
// opens soon, and reports whether there may be more to do. How far it is stays with the
// row, so that it goes on after a crash.
func (s *Service) prepareNext(ctx context.Context) (bool, error) {
	now := s.time()
	p, err := s.takePreparation(ctx, now)
	if err != nil || p == nil {
		return false, err
	}
	accounts, last, err := s.preparedFor(ctx, p, now)
	if err != nil {
		return false, err
	}
	if last == "" {
		return true, s.leavePreparation(ctx, *p, "", now.Add(prepareRound), nil)
	}
	if len(accounts) == 0 {
		return true, s.leavePreparation(ctx, *p, last, now, nil)
	}
	o, version, err := s.openingOf(ctx, p.CourseID, p.ItemID, "")
	if fault.Is(err, fault.NotFound) { // nothing is published of it yet
		return true, s.leavePreparation(ctx, *p, "", now.Add(prepareRound), nil)
	}
	if err != nil {
		return false, err
	}
	list, err := s.standings(ctx, p.CourseID, p.ItemID, accounts)
	if err != nil {
		return false, err
	}
	var soon []*standing
	var others []string
	for _, st := range list {
		if st.beginsBy(now, now.Add(prepareAhead)) {
			soon = append(soon, st)
		} else {
			others = append(others, st.accountID)
		}
	}
	return true, s.leavePreparation(ctx, *p, last, now, func(tx *pg.Tx) error {
		if err := dropPrepared(ctx, tx, `quiz_id = $1 AND item_id = $2 AND account_id = ANY ($3) AND NOT preview`, o.QuizID, p.ItemID, others); err != nil {
			return err
		}
		var number int32
		if err := tx.QueryRow(ctx, `SELECT version FROM quiz WHERE id = $1 AND deleted_at IS NULL FOR KEY SHARE`, o.QuizID).Scan(&number); err != nil {
			return err
		}
		if number != version.Number { // published anew meanwhile: it is begun again for that
			return nil
		}
		return s.prepare(ctx, tx, version, p.ItemID, soon)
	})
}

// preparedFor returns the next who are looked at of those enrolled: all of them, or of a
// window of their own those whom it opens for. The second result is how far that is,
// empty where there are no more.
func (s *Service) preparedFor(ctx context.Context, p *preparation, now time.Time) ([]string, string, error) {
	var of []string // all when nil
	if p.Own {
		res, err := s.items.ListOpeningAccounts(ctx, &learningpb.ListOpeningAccountsRequest{
			CourseId: p.CourseID, ItemId: p.ItemID, After: timestamppb.New(now.Add(-prepareAfter)), Until: timestamppb.New(now.Add(prepareAhead)),
			PageSize: prepareBatch, AfterAccountId: p.AfterID,
		})
		if err != nil {
			return nil, "", err
		}
		if of = res.GetAccountIds(); len(of) == 0 {
			return nil, "", nil
		}
	}
	rows, err := s.db.Query(ctx, `
		SELECT account_id FROM enrollment WHERE course_id = $1 AND account_id > $2 AND live AND ($4::text[] IS NULL OR account_id = ANY ($4)) ORDER BY account_id LIMIT $3`,
		p.CourseID, p.AfterID, prepareBatch, of)
	if err != nil {
		return nil, "", fmt.Errorf("who is enrolled: %w", err)
	}
	accounts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, "", fmt.Errorf("who is enrolled: %w", err)
	}
	switch {
	case of != nil:
		return accounts, of[len(of)-1], nil
	case len(accounts) == 0:
		return nil, "", nil
	}
	return accounts, accounts[len(accounts)-1], nil
}

// beginsBy reports whether somebody may begin now, or by a moment.
func (st *standing) beginsBy(now, by time.Time) bool {
	if !st.enrolled || st.state != "open" && st.state != "locked" && st.state != "hidden" {
		return false
	}
	w := st.window()
	if st.state != "open" && (w.from == nil || w.from.After(by)) {
		return false
	}
	return w.until == nil || now.Before(*w.until)
}

// takePreparation takes the work that is due longest, so that nobody else does for a
// while; nil where there is none.
func (s *Service) takePreparation(ctx context.Context, now time.Time) (*preparation, error) {
	var out *preparation
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a mark of the worker for itself")
		rows, err := tx.Query(ctx, `
			UPDATE quiz_preparation p SET next_at = $2 FROM (
				SELECT course_id, item_id FROM quiz_preparation WHERE next_at <= $1 ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED) AS due
			WHERE p.course_id = due.course_id AND p.item_id = due.item_id RETURNING p.course_id, p.item_id, p.after_id, p.own`, now, now.Add(prepareLease))
		if err != nil {
			return fmt.Errorf("next preparation: %w", err)
		}
		list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[preparation])
		if err != nil {
			return fmt.Errorf("next preparation: %w", err)
		}
		if out = nil; len(list) > 0 {
			out = list[0]
		}
		return nil
	})
	return out, err
}

// leavePreparation does work of a batch, and notes how far it is and when it goes on.
// Where it was begun again meanwhile it stays begun.
func (s *Service) leavePreparation(ctx context.Context, p preparation, afterID string, next time.Time, work func(tx *pg.Tx) error) error {
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("an attempt that is prepared was seen by nobody")
		if work != nil {
			if err := work(tx); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `UPDATE quiz_preparation SET after_id = $4, next_at = $5 WHERE course_id = $1 AND item_id = $2 AND after_id = $3`,
			p.CourseID, p.ItemID, p.AfterID, afterID, next)
		return err
	})
}
