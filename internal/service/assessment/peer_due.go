package assessment

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// beginPeersDue has reviewing begin at the next item that is due, and reports whether
// there may be more.
func (s *Service) beginPeersDue(ctx context.Context) (bool, error) {
	var course, item string
	err := s.db.QueryRow(ctx, `
		SELECT p.course_id, p.item_id FROM placement p JOIN assignment a ON a.id = p.ref AND a.course_id = p.course_id AND a.peer_reviewed AND a.deleted_at IS NULL
		WHERE p.present AND p.kind = 'assignment' AND p.due_at <= $1
			AND NOT EXISTS (SELECT FROM peer_round r WHERE r.item_id = p.item_id AND r.assignment_id = a.id)
		ORDER BY p.due_at LIMIT 1`, s.time()).Scan(&course, &item)
	if pg.NoRows(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("next reviewing to begin: %w", err)
	}
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		v, err := s.peersAt(ctx, tx, course, item)
		if err != nil {
			return err
		}
		return s.openRound(ctx, tx, v, item)
	})
	if errors.Is(err, ErrPeersOpen) { // somebody was faster
		err = nil
	}
	return err == nil, err
}

// losePeersDue hands the reviews of who has begun none in time to others, at the next
// item where that time has come, and reports whether there may be more.
func (s *Service) losePeersDue(ctx context.Context) (bool, error) {
	return s.nextRound(ctx, `begin_by <= $1 AND closed_at IS NULL ORDER BY begin_by`, func(tx *pg.Tx, r *round) error {
		if _, err := tx.Exec(ctx, `UPDATE peer_round SET begin_by = NULL, revision = revision + 1 WHERE item_id = $1 AND assignment_id = $2`, r.ItemID, r.AssignmentID); err != nil {
			return fmt.Errorf("begin reviews: %w", err)
		}
		_, _, err := s.reallot(ctx, tx, r, nil)
		return err
	})
}

// endPeersDue ends reviewing at the next item where it is over, and reports whether there
// may be more.
func (s *Service) endPeersDue(ctx context.Context) (bool, error) {
	return s.nextRound(ctx, `closes_at < $1 AND closed_at IS NULL ORDER BY closes_at`, func(tx *pg.Tx, r *round) error {
		return s.endRound(ctx, tx, r)
	})
}

// nextRound does something with the next locked round that a condition finds.
func (s *Service) nextRound(ctx context.Context, where string, do func(tx *pg.Tx, r *round) error) (bool, error) {
	found := false
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		r, err := oneRound(ctx, tx, where+` LIMIT 1 FOR UPDATE SKIP LOCKED`, s.time())
		if found = r != nil; err != nil || !found {
			tx.Exempt("nothing is due")
			return err
		}
		return do(tx, r)
	})
	return found, err
}

// markPeers makes the marks that are made of reviews, of the next submissions at an item
// where reviewing is over, and reports whether there may be more. Any number of processes
// may do so: what is done twice makes no difference.
func (s *Service) markPeers(ctx context.Context) (bool, error) {
	const most = 20
	more := false
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("follows from the end of reviewing, which is recorded")
		r, err := oneRound(ctx, tx, `closed_at IS NOT NULL AND marked_at IS NULL ORDER BY closed_at LIMIT 1`)
		if more = r != nil; err != nil || !more {
			return err
		}
		rows, err := tx.Query(ctx, `
			SELECT `+workColumns+` FROM submission WHERE item_id = $1 AND assignment_id = $2 AND id > $3 AND last_number > 0 ORDER BY id LIMIT $4 FOR UPDATE`,
			r.ItemID, r.AssignmentID, r.MarkedTo, most)
		if err != nil {
			return fmt.Errorf("submissions to mark: %w", err)
		}
		works, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[work])
		if err != nil {
			return fmt.Errorf("submissions to mark: %w", err)
		}
		for _, w := range works {
			if err := s.marksFollow(ctx, tx, w); err != nil {
				return err
			}
		}
		if len(works) == 0 {
			_, err := tx.Exec(ctx, `UPDATE peer_round SET marked_at = $3, revision = revision + 1 WHERE item_id = $1 AND assignment_id = $2`, r.ItemID, r.AssignmentID, s.time())
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE peer_round SET marked_to = $3 WHERE item_id = $1 AND assignment_id = $2 AND marked_to < $3`, r.ItemID, r.AssignmentID, works[len(works)-1].ID)
		return err
	})
	return more, err
}

// peersRepublished has marks made anew that reviews are a part of, where their part is
// another now. Where it is none any more, marks that wait for the end of reviewing wait
// no longer: it is over.
func (s *Service) peersRepublished(ctx context.Context, tx *pg.Tx, assignmentID string, was, is *assessmentpb.AssignmentSettings) error {
	weighs := func(settings *assessmentpb.AssignmentSettings) string {
		p := settings.GetPeerReview()
		return p.GetWeightPercent() + " " + p.GetCompletionPercent() + " " + p.GetCombine()
	}
	if !peersWeigh(was) || weighs(was) == weighs(is) {
		return nil
	}
	now := s.time()
	if !peersWeigh(is) {
		if _, err := tx.Exec(ctx, `
			INSERT INTO peer_round AS r (course_id, item_id, assignment_id, reviews, seed, opened_at, closes_at, closed_at, edited_at)
			SELECT DISTINCT course_id, item_id, assignment_id, 0, 0, $2::timestamptz, $2::timestamptz, $2::timestamptz, $2::timestamptz FROM submission WHERE assignment_id = $1 AND last_number > 0
			ON CONFLICT ON CONSTRAINT peer_round_pkey DO UPDATE SET closed_at = coalesce(r.closed_at, $2), closes_at = least(r.closes_at, $2), revision = r.revision + 1`,
			assignmentID, now); err != nil {
			return fmt.Errorf("end rounds: %w", err)
		}
	}
	if _, err := tx.Exec(ctx, `UPDATE peer_round SET marked_to = '', marked_at = NULL WHERE assignment_id = $1 AND closed_at IS NOT NULL`, assignmentID); err != nil {
		return fmt.Errorf("mark anew: %w", err)
	}
	return nil
}

// marksFollow makes the mark of locked work anew of the reviews of it, and what counts for
// those who have handed it in of the reviews that they have done.
func (s *Service) marksFollow(ctx context.Context, tx *pg.Tx, w *work) error {
	as, err := s.settingsNow(ctx, tx, w)
	if err != nil {
		return err
	}
	if w.Number > 0 {
		_, v, err := lockVersion(ctx, tx, w.CourseID, w.ID, w.Number)
		if err != nil {
			return err
		}
		g, err := givenTo(ctx, tx, w.ID, w.Number)
		if err != nil {
			return err
		}
		if err := s.combine(ctx, tx, w, v, as, g, false); err != nil {
			return err
		}
	}
	rows, err := tx.Query(ctx, `SELECT DISTINCT account_id FROM submission_member WHERE submission_id = $1 ORDER BY account_id`, w.ID)
	if err != nil {
		return fmt.Errorf("members of submission: %w", err)
	}
	members, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("members of submission: %w", err)
	}
	return s.submissionChanged(ctx, tx, w, members, "marking")
}

// reallot takes reviews from who has not begun them and hands each to another, in a locked
// round: those that are named, or all of who has begun none or takes the course no more.
func (s *Service) reallot(ctx context.Context, tx *pg.Tx, r *round, ids []string) (taken, handed int, err error) {
	a, err := allocationOf(ctx, tx, r)
	if err != nil {
		return 0, 0, err
	}
	named, active := map[string]bool{}, map[string]bool{}
	for _, one := range ids {
		named[one] = true
	}
	for _, p := range a.pairs {
		active[p.reviewer] = active[p.reviewer] || p.begun
	}
	var lost []*pair
	for _, p := range a.pairs {
		_, takes := a.rank[p.reviewer]
		switch {
		case p.lost:
			continue
		case named[p.id] && p.fixed:
			return 0, 0, ErrPeerReviewStarted
		case !named[p.id] && (len(ids) > 0 || p.fixed || takes && active[p.reviewer]):
			continue
		}
		p.taken = named[p.id] && takes && active[p.reviewer]
		lost = append(lost, p)
		delete(named, p.id)
	}
	if len(named) > 0 {
		return 0, 0, ErrPeerReviewNotFound
	}
	before := len(a.pairs)
	a.reallot(lost)
	taken, handed = len(lost), len(a.pairs)-before
	if err := s.storeAllocation(ctx, tx, r, a); err != nil {
		return 0, 0, err
	}
	return taken, handed, audit.Record(ctx, tx, audit.Entry{
		Action: "peer_review.reallotted", Object: r.AssignmentID, Course: r.CourseID, After: map[string]any{"item": r.ItemID, "taken": taken, "handed": handed},
	})
}
