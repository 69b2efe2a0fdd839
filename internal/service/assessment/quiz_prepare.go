package assessment

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/rpc"
)

// freshFor is how long what was asked of learning and access about somebody counts for
// an attempt that was made ahead. While a window is about to open, and a little after,
// it is asked again each minute.
const freshFor = 3 * time.Minute

// opening is a quiz at an item, and the attempt of one account that is prepared.
type opening struct {
	QuizID       string
	Version      int32
	PasswordHash string
	PreparedID   string
	PreparedAt   *time.Time
	Number       int32 // of the attempt; 0 for none
	OpenFrom     *time.Time
	OpenUntil    *time.Time
}

// admission returns the prepared attempt that somebody may begin at an item now, having
// made it where there was none. Where one was made ahead for a window that is open, and
// what it was made of is fresh, nobody else is asked.
func (s *Service) admission(ctx context.Context, courseID, itemID, accountID, password string) (string, examEntry, error) {
	var entry examEntry
	o, version, err := s.openingOf(ctx, courseID, itemID, accountID)
	if err != nil {
		return "", entry, err
	}
	now := s.time()
	ready := o.PreparedAt != nil && now.Sub(*o.PreparedAt) < freshFor && o.OpenFrom != nil && !now.Before(*o.OpenFrom) && (o.OpenUntil == nil || now.Before(*o.OpenUntil))
	if o.Number > 1 && (version.Settings.GetFirstDelaySeconds() > 0 || version.Settings.GetLaterDelaySeconds() > 0) {
		ready = false // it may be too soon after the one before
	}
	var st *standing
	if !ready {
		list, err := s.standings(ctx, courseID, itemID, []string{accountID})
		if err != nil {
			return "", entry, err
		}
		st = list[0]
		attempts, err := begunAt(ctx, s.db, o.QuizID, itemID, accountID)
		if err != nil {
			return "", entry, err
		}
		// An attempt may have been begun since it was looked.
		if n := len(attempts); n > 0 && attempts[n-1].State == stateInProgress {
			return attempts[n-1].ID, entry, nil
		}
		if refused := st.refuse(version.Settings, attempts, now); refused != nil {
			return "", entry, refused
		}
	}
	if err := checkNetwork(version.Settings.GetAddressRanges(), rpc.Address(ctx)); err != nil {
		return "", entry, err
	}
	if err := s.checkPassword(ctx, accountID, o.QuizID, password, o.PasswordHash); err != nil {
		return "", entry, err
	}
	if entry, err = s.enterExam(ctx, version, itemID, accountID); err != nil {
		return "", entry, err
	}
	if ready {
		return o.PreparedID, entry, nil
	}
	id, err := s.prepareOne(ctx, version, itemID, st)
	return id, entry, err
}

// openingOf finds the quiz that an item shows. Of an attempt that is prepared it tells
// only where it is of the version that is taken now.
func (s *Service) openingOf(ctx context.Context, courseID, itemID, accountID string) (opening, *quizVersion, error) {
	rows, err := s.db.Query(ctx, `
		SELECT z.id AS quiz_id, z.version, z.password_hash, coalesce(a.id, '') AS prepared_id, a.prepared_at, coalesce(a.number, 0) AS number, a.open_from, a.open_until
		FROM placement p JOIN quiz z ON z.id = p.ref AND z.course_id = p.course_id AND z.deleted_at IS NULL AND z.version > 0
		LEFT JOIN attempt a ON a.quiz_id = z.id AND a.item_id = p.item_id AND a.account_id = $3 AND a.state = 'prepared' AND NOT a.preview AND a.quiz_version = z.version
		WHERE p.course_id = $1 AND p.item_id = $2 AND p.kind = 'quiz'`, courseID, itemID, accountID)
	if err != nil {
		return opening{}, nil, fmt.Errorf("find quiz of %s: %w", itemID, err)
	}
	o, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[opening])
	if pg.NoRows(err) {
		return opening{}, nil, ErrAttemptNotFound
	}
	if err != nil {
		return opening{}, nil, fmt.Errorf("find quiz of %s: %w", itemID, err)
	}
	version, err := s.quizVersion(ctx, s.db, o.QuizID, o.Version)
	return o, version, err
}

// begunAt returns the attempts that somebody has begun, by their numbers.
func begunAt(ctx context.Context, q pg.Querier, quizID, itemID, accountID string) ([]begun, error) {
	rows, err := q.Query(ctx, `
		SELECT id, number, state, started_at, closes_at, submitted_at FROM attempt
		WHERE item_id = $2 AND account_id = $3 AND quiz_id = $1 AND NOT preview AND state <> 'prepared' ORDER BY number`, quizID, itemID, accountID)
	if err != nil {
		return nil, fmt.Errorf("read attempts: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[begun])
	if err != nil {
		return nil, fmt.Errorf("read attempts: %w", err)
	}
	return list, nil
}

// prepareOne makes an attempt for one who may begin it, and returns it; what was made
// before is given what holds now. Two who do so at once get the same one.
func (s *Service) prepareOne(ctx context.Context, version *quizVersion, itemID string, st *standing) (string, error) {
	var attemptID string
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("an attempt that is prepared was seen by nobody")
		// Not deleted, and not published anew, until this is done.
		var number int32
		err := tx.QueryRow(ctx, `SELECT version FROM quiz WHERE id = $1 AND deleted_at IS NULL FOR KEY SHARE`, version.QuizID).Scan(&number)
		if pg.NoRows(err) {
			return ErrAttemptNotFound
		}
		if err != nil {
			return fmt.Errorf("quiz of attempt: %w", err)
		}
		if number != version.Number {
			if version, err = s.quizVersion(ctx, tx, version.QuizID, number); err != nil {
				return err
			}
		}
		if err := s.prepare(ctx, tx, version, itemID, []*standing{st}); err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `
			SELECT id FROM attempt WHERE quiz_id = $1 AND item_id = $2 AND account_id = $3 AND NOT preview AND state IN ('prepared', 'in_progress')`,
			version.QuizID, itemID, st.accountID).Scan(&attemptID)
		if pg.NoRows(err) { // begun and over since
			return ErrAttemptNoneLeft
		}
		if err != nil {
			return fmt.Errorf("prepared attempt: %w", err)
		}
		return nil
	})
	return attemptID, err
}

// prepare makes an attempt ahead for each of some people who may begin one, but those
// who have one that is prepared or runs: what is prepared is given the times that hold
// now, and what is of another version is made anew. It takes the same few statements
// for any number of them.
func (s *Service) prepare(ctx context.Context, tx *pg.Tx, version *quizVersion, itemID string, people []*standing) error {
	accounts := make([]string, len(people))
	byAccount := make(map[string]*standing, len(people))
	for i, st := range people {
		accounts[i], byAccount[st.accountID] = st.accountID, st
	}
	if err := dropPrepared(ctx, tx, `quiz_id = $1 AND item_id = $2 AND account_id = ANY ($3) AND quiz_version <> $4`, version.QuizID, itemID, accounts, version.Number); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, `
		SELECT q.account_id, coalesce(max(a.number), 0)::int AS number, count(a.id) FILTER (WHERE a.state <> 'prepared') AS begun,
			coalesce(bool_or(a.state IN ('prepared', 'in_progress')), false) AS has
		FROM unnest($3::text[]) AS q (account_id)
		LEFT JOIN attempt a ON a.item_id = $2 AND a.account_id = q.account_id AND a.quiz_id = $1 AND NOT a.preview
		GROUP BY q.account_id ORDER BY q.account_id`, version.QuizID, itemID, accounts)
	if err != nil {
		return fmt.Errorf("look for attempts: %w", err)
	}
	type row struct {
		AccountID string
		Number    int32
		Begun     int
		Has       bool
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
	if err != nil {
		return fmt.Errorf("look for attempts: %w", err)
	}
	asked, err := askedBefore(ctx, tx, version, itemID, accounts)
	if err != nil {
		return err
	}
	made := newPreparedBatch(version, itemID, s.time())
	if made.rekeys, err = rekeysFor(ctx, tx, version, itemID); err != nil {
		return err
	}
	for _, one := range list {
		st := byAccount[one.AccountID]
		made.time(st)
		if !one.Has && allowed(version.Settings, st.extraAttempts, one.Begun) == nil {
			made.add(st, one.Number+1, asked[one.AccountID])
		}
	}
	return made.store(ctx, tx)
}

// askedBefore returns the questions that people were asked in earlier attempts, by
// account; nothing where the quiz draws none.
func askedBefore(ctx context.Context, q pg.Querier, version *quizVersion, itemID string, accounts []string) (map[string]map[string]bool, error) {
	out := map[string]map[string]bool{}
	if len(version.draws) == 0 {
		return out, nil
	}
	rows, err := q.Query(ctx, `
		SELECT DISTINCT a.account_id, x.question_id FROM attempt a JOIN attempt_question x ON x.attempt_id = a.id
		WHERE a.item_id = $2 AND a.account_id = ANY ($3) AND a.quiz_id = $1 AND NOT a.preview AND a.state <> 'prepared'`, version.QuizID, itemID, accounts)
	if err != nil {
		return nil, fmt.Errorf("questions of earlier attempts: %w", err)
	}
	var account, questionID string
	_, err = pgx.ForEachRow(rows, []any{&account, &questionID}, func() error {
		if out[account] == nil {
			out[account] = map[string]bool{}
		}
		out[account][questionID] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("questions of earlier attempts: %w", err)
	}
	return out, nil
}

// preparedBatch is what is written of attempts that are prepared together.
type preparedBatch struct {
	version *quizVersion
	itemID  string
	now     time.Time
	rekeys  rekeysInForce
	preview bool // somebody of the staff tries it

	accounts     []string // all, with their times
	percents     []int32
	breaks       []bool
	from         []*time.Time
	until        []*time.Time
	due          []*time.Time
	ids          []string // of attempts that are made
	owners       []string
	numbers      []int32
	seeds        []int64
	points       []string
	attemptIDs   []string // of their questions
	slots        []int32
	sections     []int32
	pages        []int32
	questionIDs  []string
	questions    []int32
	behaviours   []string
	questionSeed []int64
	questionMax  []string
	keys         []int32
	scorings     []string
	ownMax       []*string
}

func newPreparedBatch(version *quizVersion, itemID string, now time.Time) *preparedBatch {
	return &preparedBatch{version: version, itemID: itemID, now: now}
}

// time notes what holds for somebody now.
func (b *preparedBatch) time(st *standing) {
	w := st.window()
	if w.from == nil {
		w.from = &b.now // it is open
	}
	b.accounts, b.percents, b.breaks = append(b.accounts, st.accountID), append(b.percents, st.timePercent), append(b.breaks, st.breaks)
	b.from, b.until, b.due = append(b.from, w.from), append(b.until, w.until), append(b.due, st.due)
}

// add makes an attempt with a seed of its own.
func (b *preparedBatch) add(st *standing, number int32, asked map[string]bool) {
	attemptID, seed := id.New("attempt"), int64(rand.Uint64()) //nolint:gosec // it shuffles questions, and nobody sees it before the attempt begins
	total := exact.Number{}
	for _, q := range b.version.assemble(seed, asked) {
		total = total.Add(q.points)
		b.attemptIDs, b.slots, b.sections, b.pages = append(b.attemptIDs, attemptID), append(b.slots, int32(q.slot)), append(b.sections, int32(q.section)), append(b.pages, int32(q.page)) //nolint:gosec // at most 500
		b.questionIDs, b.questions = append(b.questionIDs, q.questionID), append(b.questions, q.version)
		b.behaviours, b.questionSeed = append(b.behaviours, q.behaviour), append(b.questionSeed, seed)
		is, own := b.rekeys.pins(q.questionID, q.version, q.points.Text(6))
		b.questionMax, b.keys, b.scorings, b.ownMax = append(b.questionMax, is.max), append(b.keys, is.key), append(b.scorings, is.scoring), append(b.ownMax, own)
	}
	if b.version.maxPoints != nil {
		total = *b.version.maxPoints
	}
	b.ids, b.owners, b.numbers = append(b.ids, attemptID), append(b.owners, st.accountID), append(b.numbers, number)
	b.seeds, b.points = append(b.seeds, seed), append(b.points, total.Text(6))
}

// store writes the attempts. Who has got one since it was looked keeps that: its
// questions are not written.
func (b *preparedBatch) store(ctx context.Context, tx *pg.Tx) error {
	v := b.version
	overtime, limit, grace := timesOf(v.Settings)
	if b.preview && overtime == "abandon" {
		overtime, grace = "submit", 0 // so that there is something to look at
	}
	if _, err := tx.Exec(ctx, `
		UPDATE attempt a SET prepared_at = $3, open_from = t.open_from, open_until = t.open_until, due_at = t.due, time_percent = t.percent, breaks = t.breaks
		FROM unnest($4::text[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[], $8::int[], $9::bool[]) AS t (account_id, open_from, open_until, due, percent, breaks)
		WHERE a.quiz_id = $1 AND a.item_id = $2 AND a.account_id = t.account_id AND a.state = 'prepared' AND NOT a.preview`,
		v.QuizID, b.itemID, b.now, b.accounts, b.from, b.until, b.due, b.percents, b.breaks); err != nil {
		return fmt.Errorf("renew prepared attempts: %w", err)
	}
	if len(b.ids) == 0 {
		return nil
	}
	tag, err := tx.Exec(ctx, `
		WITH made AS (
			INSERT INTO attempt (id, course_id, item_id, quiz_id, quiz_version, account_id, number, state, engine_version, seed, prepared_at,
				open_from, open_until, due_at, time_limit, time_percent, breaks, overtime, grace, max_points, preview)
			SELECT m.id, $1, $2, $3, $4, m.account_id, m.number, 'prepared', $5, m.seed, $6, t.open_from, t.open_until, t.due, $7, t.percent, t.breaks, $8, $9, m.points::numeric, $21
			FROM unnest($10::text[], $11::text[], $12::int[], $13::bigint[], $14::text[]) AS m (id, account_id, number, seed, points)
			JOIN unnest($15::text[], $16::timestamptz[], $17::timestamptz[], $18::timestamptz[], $19::int[], $20::bool[]) AS t (account_id, open_from, open_until, due, percent, breaks) USING (account_id)
			ORDER BY m.account_id
			ON CONFLICT DO NOTHING RETURNING id
		)
		SELECT id FROM made`,
		v.CourseID, b.itemID, v.QuizID, v.Number, question.Version, b.now, limit, overtime, grace, b.ids, b.owners, b.numbers, b.seeds, b.points,
		b.accounts, b.from, b.until, b.due, b.percents, b.breaks, b.preview)
	if err != nil {
		return fmt.Errorf("prepare attempts: %w", err)
	}
	made := int(tag.RowsAffected())
	_, err = tx.Exec(ctx, `
		INSERT INTO attempt_question (attempt_id, slot, section, page, question_id, question_version, key_version, behaviour, seed, max_points, scoring, own_points)
		SELECT q.attempt_id, q.slot, q.section, q.page, q.question_id, q.version, q.key, q.behaviour, q.seed, q.points::numeric, q.scoring, q.own::numeric
		FROM unnest($1::text[], $2::int[], $3::int[], $4::int[], $5::text[], $6::int[], $7::text[], $8::bigint[], $9::text[], $11::int[], $12::text[], $13::text[])
			AS q (attempt_id, slot, section, page, question_id, version, behaviour, seed, points, key, scoring, own)
		WHERE $10 OR EXISTS (SELECT FROM attempt a WHERE a.id = q.attempt_id)`,
		b.attemptIDs, b.slots, b.sections, b.pages, b.questionIDs, b.questions, b.behaviours, b.questionSeed, b.questionMax, made == len(b.ids), b.keys, b.scorings, b.ownMax)
	if err != nil {
		return fmt.Errorf("prepare questions: %w", err)
	}
	return nil
}

// dropPrepared deletes attempts that nobody has begun, of those that a condition
// names.
func dropPrepared(ctx context.Context, tx *pg.Tx, where string, args ...any) error {
	rows, err := tx.Query(ctx, `SELECT id FROM attempt WHERE state = 'prepared' AND `+where+` ORDER BY id FOR UPDATE`, args...)
	if err != nil {
		return fmt.Errorf("find prepared attempts: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("find prepared attempts: %w", err)
	}
	if len(ids) == 0 {
		return nil
	}
	for _, sql := range []string{`DELETE FROM attempt_question WHERE attempt_id = ANY ($1)`, `DELETE FROM attempt WHERE id = ANY ($1)`} {
		if _, err := tx.Exec(ctx, sql, ids); err != nil {
			return fmt.Errorf("drop prepared attempts: %w", err)
		}
	}
	return nil
}
