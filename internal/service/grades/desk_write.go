package grades

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// write numbers what has changed and stores it. Cells that look to staff as before keep
// their numbers: a new one would tell whose anonymous mark has just been made.
func (d *desk) write(ctx context.Context, cells, counted, unseen []*cell, seats []*seat, events []proto.Message) error {
	if len(cells)+len(counted)+len(unseen)+len(seats)+len(d.history) == 0 {
		return nil
	}
	// Last, and until the end: what has a lower number is visible before.
	seq, err := d.s.number(ctx, d.tx, d.book.CourseID, len(cells)+len(counted)+len(seats)+len(d.history))
	if err != nil {
		return err
	}
	for _, h := range d.history {
		seq++
		h.Seq, h.BatchID = seq, d.batch
		if h.ItemID == "" {
			d.seats[h.AccountID].Revision = seq
		}
	}
	for _, list := range [][]*cell{cells, counted} {
		for _, c := range list {
			seq++
			c.Seq = seq
		}
	}
	for _, st := range seats {
		seq++
		st.Seq = seq
	}
	if err := writeCells(ctx, d.tx, append(cells, unseen...)); err != nil {
		return err
	}
	if err := writeCounted(ctx, d.tx, d.book.CourseID, counted); err != nil {
		return err
	}
	if err := writeSeats(ctx, d.tx, d.book.CourseID, seats); err != nil {
		return err
	}
	if err := writeHistory(ctx, d.tx, d.book.CourseID, d.history); err != nil {
		return err
	}
	return bus.Publish(ctx, d.tx, append(events, d.postings()...)...)
}

// postings are the events that say of which grades somebody has decided whether they
// are shown.
func (d *desk) postings() []proto.Message {
	type which struct {
		itemID string
		posted bool
	}
	told := map[which]*gradespb.PostingChanged{}
	var out []proto.Message
	for _, h := range d.history {
		it := d.book.items[h.ItemID]
		if h.Kind != kindPosted || it == nil {
			continue
		}
		c := d.seats[h.AccountID].cells[h.ItemID]
		at := which{h.ItemID, c.visible(it)}
		e := told[at]
		if e == nil || len(e.GetAccountIds()) == postInEvent {
			e = &gradespb.PostingChanged{CourseId: d.book.CourseID, ItemId: h.ItemID, Policy: it.Posting, Posted: at.posted}
			told[at] = e
			out = append(out, e)
		}
		e.AccountIds, e.Version = append(e.GetAccountIds(), h.AccountID), h.Seq
	}
	return out
}

// number takes n numbers of a gradebook and returns the one before the first. The
// gradebook gives no others until the transaction ends.
func (s *Service) number(ctx context.Context, tx *pg.Tx, courseID string, n int) (int64, error) {
	var last int64
	err := tx.QueryRow(ctx, `
		INSERT INTO course_clock AS c (course_id, seq) VALUES ($1, $2)
		ON CONFLICT (course_id) DO UPDATE SET seq = c.seq + EXCLUDED.seq RETURNING seq`, courseID, n).Scan(&last)
	if err != nil {
		return 0, fmt.Errorf("number changes: %w", err)
	}
	return last - int64(n), nil
}

func writeCells(ctx context.Context, tx *pg.Tx, cells []*cell) error {
	if len(cells) == 0 {
		return nil
	}
	text, err := json.Marshal(cells)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO cell SELECT * FROM jsonb_populate_recordset(NULL::cell, $1::jsonb)
		ON CONFLICT ON CONSTRAINT cell_pkey DO UPDATE SET source_id = EXCLUDED.source_id, state = EXCLUDED.state, points = EXCLUDED.points,
			max_points = EXCLUDED.max_points, submitted_at = EXCLUDED.submitted_at, late_seconds = EXCLUDED.late_seconds, attempts = EXCLUDED.attempts,
			marked_by = EXCLUDED.marked_by, marked_at = EXCLUDED.marked_at, mark_version = EXCLUDED.mark_version, overdue = EXCLUDED.overdue,
			override = EXCLUDED.override, override_by = EXCLUDED.override_by, override_reason = EXCLUDED.override_reason, status = EXCLUDED.status,
			status_late = EXCLUDED.status_late, status_by = EXCLUDED.status_by, status_reason = EXCLUDED.status_reason, feedback = EXCLUDED.feedback,
			feedback_by = EXCLUDED.feedback_by, posted = EXCLUDED.posted, posted_at = EXCLUDED.posted_at, score = EXCLUDED.score,
			counted = EXCLUDED.counted, told_percent = EXCLUDED.told_percent, told_passed = EXCLUDED.told_passed,
			told_version = EXCLUDED.told_version, seq = EXCLUDED.seq, anonymous = EXCLUDED.anonymous, others = EXCLUDED.others`, text)
	if err != nil {
		return fmt.Errorf("write cells: %w", err)
	}
	return nil
}

// writeCounted writes of cells what was counted alone.
func writeCounted(ctx context.Context, tx *pg.Tx, courseID string, cells []*cell) error {
	n := len(cells)
	if n == 0 {
		return nil
	}
	accounts, items, counted, percents := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	scores, posted, postedAt := make([]*string, n), make([]*bool, n), make([]*time.Time, n)
	passed, versions, seqs := make([]bool, n), make([]int64, n), make([]int64, n)
	for i, c := range cells {
		accounts[i], items[i], counted[i], percents[i] = c.AccountID, c.ItemID, c.Counted, c.ToldPercent
		scores[i], posted[i], postedAt[i], passed[i], versions[i], seqs[i] = c.Score, c.Posted, c.PostedAt, c.ToldPassed, c.ToldVersion, c.Seq
	}
	_, err := tx.Exec(ctx, `
		UPDATE cell c SET score = f.score::numeric, counted = f.counted, posted = f.posted, posted_at = f.posted_at, told_percent = f.percent,
			told_passed = f.passed, told_version = f.version, seq = f.seq
		FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::timestamptz[], $8::text[], $9::boolean[], $10::bigint[], $11::bigint[])
			AS f (account_id, item_id, score, counted, posted, posted_at, percent, passed, version, seq)
		WHERE c.course_id = $1 AND c.account_id = f.account_id AND c.item_id = f.item_id`,
		courseID, accounts, items, scores, counted, posted, postedAt, percents, passed, versions, seqs)
	if err != nil {
		return fmt.Errorf("write counted cells: %w", err)
	}
	return nil
}

func writeSeats(ctx context.Context, tx *pg.Tx, courseID string, seats []*seat) error {
	n := len(seats)
	if n == 0 {
		return nil
	}
	accounts, all, percents, letters := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	passed := make([]bool, n)
	versions, revisions, seqs := make([]int64, n), make([]int64, n), make([]int64, n)
	for i, st := range seats {
		text, err := json.Marshal(st.Totals)
		if err != nil {
			return err
		}
		accounts[i], all[i], percents[i], letters[i], passed[i] = st.AccountID, string(text), st.ToldPercent, st.ToldLetter, st.ToldPassed
		versions[i], revisions[i], seqs[i] = st.ToldVersion, st.Revision, st.Seq
	}
	_, err := tx.Exec(ctx, `
		UPDATE student s SET totals = f.totals::jsonb, stale = false, told_percent = f.percent, told_letter = f.letter, told_passed = f.passed,
			told_version = f.version, revision = f.revision, seq = f.seq
		FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::bigint[], $8::bigint[], $9::bigint[])
			AS f (account_id, totals, percent, letter, passed, version, revision, seq)
		WHERE s.course_id = $1 AND s.account_id = f.account_id`, courseID, accounts, all, percents, letters, passed, versions, revisions, seqs)
	if err != nil {
		return fmt.Errorf("write totals: %w", err)
	}
	return nil
}
