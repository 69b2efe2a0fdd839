package grades

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// How many students are counted with the posting itself, and how many are told in one
// event.
const (
	postAtOnce  = 200
	postInEvent = 1000
)

// graded is the condition that there is something to show: a score, or a mark that counts
// for nobody before it is posted.
const graded = `(c.score IS NOT NULL OR c.counted = 'excused' OR c.override IS NOT NULL OR c.anonymous AND c.state = 'marked')`

// posting is which grades are to be shown or hidden.
type posting struct {
	courseID, itemID   string
	accounts, sections []string
	posted             bool
}

// PostGrades implements gradespb.ColumnServiceServer.
func (r *columnServer) PostGrades(ctx context.Context, req *gradespb.PostGradesRequest) (*gradespb.PostGradesResponse, error) {
	return r.service.post(ctx, req, posting{req.GetCourseId(), req.GetItemId(), req.GetAccountIds(), req.GetSectionIds(), true})
}

// HideGrades implements gradespb.ColumnServiceServer.
func (r *columnServer) HideGrades(ctx context.Context, req *gradespb.HideGradesRequest) (*gradespb.PostGradesResponse, error) {
	return r.service.post(ctx, req, posting{req.GetCourseId(), req.GetItemId(), req.GetAccountIds(), req.GetSectionIds(), false})
}

// post shows grades or hides them, all at once. What students see is right from then on;
// their stored totals, and the events of them, follow behind where they are many.
//
// Posted are grades that there are. Hidden are those too that nobody has decided of yet.
func (s *Service) post(ctx context.Context, req proto.Message, p posting) (*gradespb.PostGradesResponse, error) {
	if err := knownSections(ctx, s.db, p.courseID, p.sections); err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*gradespb.PostGradesResponse, error) {
		tx.Exempt("nothing has changed")
		if err := lockGradebook(ctx, tx, p.courseID); err != nil {
			return nil, err
		}
		accounts, err := s.lockForPosting(ctx, tx, p)
		if err != nil {
			return nil, err
		}
		b, err := s.bookOf(ctx, tx, p.courseID)
		if errors.Is(err, ErrNoGradebook) {
			return nil, ErrItemNotFound
		}
		if err != nil {
			return nil, err
		}
		it, err := b.columnOf(p.itemID)
		if err != nil {
			return nil, err
		}
		changed, batch, err := s.setPostedOf(ctx, tx, it, p, accounts)
		if err != nil {
			return nil, err
		}
		if err := s.countPosted(ctx, tx, p.courseID, changed); err != nil {
			return nil, err
		}
		if err := s.tellPosted(ctx, tx, p.courseID, it.ItemID, it.Posting, p.posted, changed); err != nil {
			return nil, err
		}
		if len(changed) == 0 {
			return &gradespb.PostGradesResponse{}, nil
		}
		entry := audit.Entry{Action: "grades.hidden"}
		if p.posted {
			entry = audit.Entry{Action: "grades.posted"}
		}
		entry.Object, entry.Course = p.itemID, p.courseID
		entry.After = map[string]any{"grades": len(changed), "sections": p.sections, "students": len(p.accounts), "batch": batch}
		return &gradespb.PostGradesResponse{BatchId: batch, Changed: int32(len(changed))}, audit.Record(ctx, tx, entry) //nolint:gosec // bounded
	})
}

// lockForPosting locks the rows of the students whose grades of an item are to be shown
// or hidden.
func (s *Service) lockForPosting(ctx context.Context, tx *pg.Tx, p posting) ([]string, error) {
	where, args := `true`, []any{p.courseID, p.itemID}
	switch {
	case len(p.accounts) > 0 && len(p.sections) > 0:
		where, args = `(s.account_id = ANY ($3) OR `+inSections("$4")+`)`, append(args, p.accounts, p.sections)
	case len(p.accounts) > 0:
		where, args = `s.account_id = ANY ($3)`, append(args, p.accounts)
	case len(p.sections) > 0:
		where, args = inSections("$3"), append(args, p.sections)
	}
	accounts, err := collectTexts(tx.Query(ctx, `
		SELECT s.account_id FROM student s WHERE s.course_id = $1
			AND EXISTS (SELECT FROM cell c WHERE c.course_id = $1 AND c.item_id = $2 AND c.account_id = s.account_id) AND `+where+`
		ORDER BY s.account_id FOR NO KEY UPDATE OF s`, args...))
	if err != nil {
		return nil, fmt.Errorf("lock students: %w", err)
	}
	return accounts, nil
}

// setPostedOf shows or hides the grades of an item of some students, whose rows are
// locked, and returns those of whom that is another than before.
func (s *Service) setPostedOf(ctx context.Context, tx *pg.Tx, it *item, p posting, accounts []string) ([]string, string, error) {
	which := `c.posted IS DISTINCT FROM false`
	if p.posted {
		which = `c.posted IS DISTINCT FROM true AND ` + graded
	}
	accounts, err := collectTexts(tx.Query(ctx, `
		SELECT account_id FROM cell c WHERE c.course_id = $1 AND c.item_id = $2 AND c.account_id = ANY ($3) AND `+which+` ORDER BY account_id`,
		p.courseID, it.ItemID, accounts))
	if err != nil || len(accounts) == 0 {
		return nil, "", err
	}
	batch, now := id.New("gradebatch"), s.now()
	seq, err := s.number(ctx, tx, p.courseID, len(accounts))
	if err != nil {
		return nil, "", err
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO grade_change (course_id, seq, account_id, item_id, kind, before, after, source, changed_by, changed_at, reason, batch_id)
		SELECT c.course_id, $4 + f.n, c.account_id, c.item_id, 'posted', CASE WHEN c.posted IS NULL THEN '{}' ELSE jsonb_build_object('posted', c.posted) END,
			jsonb_build_object('posted', $5::boolean), 'staff', $6, $7, '', $8
		FROM unnest($3::text[]) WITH ORDINALITY AS f (account_id, n) JOIN cell c ON c.course_id = $1 AND c.item_id = $2 AND c.account_id = f.account_id`,
		p.courseID, it.ItemID, accounts, seq, p.posted, auth.From(ctx).Account, now, batch); err != nil {
		return nil, "", fmt.Errorf("note posting: %w", err)
	}
	if _, err := tx.Exec(ctx, `
		UPDATE cell c SET posted = $5, posted_at = CASE WHEN $5 THEN $6::timestamptz END, seq = $4 + f.n
		FROM unnest($3::text[]) WITH ORDINALITY AS f (account_id, n) WHERE c.course_id = $1 AND c.item_id = $2 AND c.account_id = f.account_id`,
		p.courseID, it.ItemID, accounts, seq, p.posted, now); err != nil {
		return nil, "", fmt.Errorf("set posting: %w", err)
	}
	return accounts, batch, nil
}

// countPosted counts students at once where they are few, otherwise behind.
func (s *Service) countPosted(ctx context.Context, tx *pg.Tx, courseID string, accounts []string) error {
	if len(accounts) == 0 {
		return nil
	}
	if len(accounts) <= postAtOnce {
		d, err := s.openLocked(ctx, tx, courseID, accounts...)
		if err != nil {
			return err
		}
		return d.settle(ctx)
	}
	if _, err := tx.Exec(ctx, `UPDATE student SET stale = true WHERE course_id = $1 AND account_id = ANY ($2)`, courseID, accounts); err != nil {
		return fmt.Errorf("mark stale: %w", err)
	}
	return s.countStale(ctx, tx, courseID)
}

// tellPosted says of whom grades of an item are shown or hidden. They are named, also
// where all are meant: who hears it knows others than those whose grades there are here.
func (s *Service) tellPosted(ctx context.Context, tx *pg.Tx, courseID, itemID, policy string, posted bool, accounts []string) error {
	for part := range slices.Chunk(accounts, postInEvent) {
		version, err := s.number(ctx, tx, courseID, 1)
		if err != nil {
			return err
		}
		if err := bus.Publish(ctx, tx, &gradespb.PostingChanged{
			CourseId: courseID, ItemId: itemID, Policy: policy, AccountIds: part, Posted: posted, Version: version + 1,
		}); err != nil {
			return err
		}
	}
	return nil
}
