package assessment

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// givenMark is a mark that is given to a version.
type givenMark struct {
	points   *exact.Number // nil for feedback without a mark
	comment  string        // Markdown
	comments []*assessmentpb.InlineComment
	rubric   *assessmentpb.RubricMarks // nil where it was not marked by one
	source   string                    // "marking", or what made it of several
	by       string                    // who marked it; empty for the program
}

// remarks returns what is said of parts, as it is kept; nil for nothing.
func (m givenMark) remarks() ([]byte, error) {
	if len(m.comments) == 0 {
		return nil, nil
	}
	return proto.Marshal(&assessmentpb.SubmissionMark{Comments: m.comments})
}

// choices returns what was chosen in a rubric, as it is kept; nil without one.
func (m givenMark) choices() ([]byte, error) {
	if m.rubric == nil {
		return nil, nil
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(m.rubric)
}

// applyMark gives a mark to a version of locked work, and tells whom it concerns. It is
// the one way in which something that was handed in gets a mark, whatever made it: the
// newest holds, and all that were given stay.
func (s *Service) applyMark(ctx context.Context, tx *pg.Tx, w *work, number int32, m givenMark) error {
	var revision int64
	now := s.time()
	var points *string
	if m.points != nil {
		text := m.points.Round(6, exact.HalfEven).String()
		points = &text
	}
	if err := tx.QueryRow(ctx, `
		UPDATE submission_version SET mark_revision = mark_revision + 1, points = $3::text::numeric, marked_by = $4, marked_at = $5
		WHERE submission_id = $1 AND number = $2 RETURNING mark_revision`, w.ID, number, points, m.by, now).Scan(&revision); err != nil {
		return fmt.Errorf("mark version: %w", err)
	}
	comments, err := m.remarks()
	if err != nil {
		return err
	}
	rubric, err := m.choices()
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO submission_mark (submission_id, number, revision, points, comment, comments, rubric, source, marked_by, marked_at)
		VALUES ($1, $2, $3, $4::text::numeric, $5, $6, $7, $8, $9, $10)`,
		w.ID, number, revision, points, m.comment, comments, rubric, orElse(m.source, "marking"), m.by, now); err != nil {
		return fmt.Errorf("insert mark: %w", err)
	}
	members, err := membersOfVersion(ctx, tx, w.ID, number)
	if err != nil {
		return err
	}
	return s.submissionChanged(ctx, tx, w, members, "marking")
}

// submissionChanged is told in the transaction whenever what some people handed in, or
// its mark, has changed, whose row it holds locked. What counts for each of them follows,
// and is told where it differs.
func (s *Service) submissionChanged(ctx context.Context, tx *pg.Tx, w *work, accounts []string, cause string) error {
	return s.remarkWork(ctx, tx, w.CourseID, w.ItemID, w.AssignmentID, accounts, cause)
}

// handedMark is a version that counts for somebody, as what counts is made of it.
type handedMark struct {
	finished

	markedBy string
	late     int64
}

// assignmentMark is a row of assignment_mark.
type assignmentMark struct {
	markRow

	SourceNumber int32
	MarkedBy     string
}

// made returns the row that what somebody handed in makes, with the versions of the one
// there is. Points are rounded here, once.
func (m assignmentMark) made(v *assignmentVersion, list []*handedMark, reviewed reviewing) assignmentMark {
	out := assignmentMark{markRow: markRow{AccountID: m.AccountID, Version: m.Version, ResultVersion: m.ResultVersion, Attempts: int32(len(list)), State: workNone}} //nolint:gosec // far below
	if len(list) == 0 {
		return out
	}
	all := make([]*finished, len(list))
	for i, one := range list {
		all[i] = &one.finished
		out.FirstSubmittedAt = earlier(out.FirstSubmittedAt, &one.submittedAt)
	}
	k := keepGrade(v.Settings.GetGradeKept(), all)
	out.State, out.SourceID = k.state, k.id
	points := func(share exact.Number) exact.Number {
		return reviewed.share(v.Settings, share).Mul(v.Points).Round(6, exact.HalfEven)
	}
	var others []otherMark
	for _, one := range list {
		if &one.finished == k.of {
			out.SourceNumber, out.SubmittedAt, out.LateSeconds = one.number, &one.submittedAt, one.late
			if k.state == workMarked {
				out.MarkedBy = one.markedBy
			}
		} else if k.best && one.graded {
			others = append(others, otherMark{SourceID: one.id, Points: points(one.share), SubmittedAt: one.submittedAt, LateSeconds: one.late, MarkedBy: one.markedBy})
		}
	}
	out.Others = front(out.LateSeconds, others)
	out.MaxPoints = v.Points.String()
	if k.state == workMarked {
		out.Points = points(k.share).String()
	}
	if v.Settings.GetAnonymous() {
		out.anonymous()
	}
	return out
}

// remarkWork makes anew what counts of what some people handed in to an assignment at an
// item, and tells what has changed. It takes the same few statements for any number of
// them. Where the item shows another assignment by now, what was told before stays.
func (s *Service) remarkWork(ctx context.Context, tx *pg.Tx, courseID, itemID, assignmentID string, accounts []string, cause string) error {
	var other bool
	var number int32
	if err := tx.QueryRow(ctx, `
		SELECT a.version, EXISTS (SELECT FROM placement p WHERE p.course_id = $1 AND p.item_id = $2 AND p.ref <> a.id) FROM assignment a WHERE a.id = $3`,
		courseID, itemID, assignmentID).Scan(&number, &other); err != nil {
		return fmt.Errorf("assignment of submissions: %w", err)
	}
	if other {
		_, err := tx.Exec(ctx, `UPDATE assignment_mark SET assignment_version = $4 WHERE course_id = $1 AND item_id = $2 AND assignment_id = $3 AND account_id = ANY ($5)`,
			courseID, itemID, assignmentID, number, accounts)
		return err
	}
	v, err := s.assignmentVersion(ctx, tx, assignmentID, number)
	if err != nil {
		return err
	}
	rows, err := lockAssignmentMarks(ctx, tx, courseID, itemID, accounts)
	if err != nil {
		return err
	}
	// Looked at once nobody else changes what is made of it.
	handed, err := handedBy(ctx, tx, itemID, assignmentID, accounts)
	if err != nil {
		return err
	}
	reviewed, err := reviewedBy(ctx, tx, itemID, v, accounts, handed)
	if err != nil {
		return err
	}
	now := s.time()
	var events []proto.Message
	batch := &pgx.Batch{}
	for _, was := range rows {
		is := was.made(v, handed[was.AccountID], reviewed[was.AccountID])
		if !sameTime(is.FirstSubmittedAt, was.FirstSubmittedAt) {
			is.ResultVersion++
			events = append(events, is.result(courseID, itemID))
		}
		if was.differs(is.markRow) || was.MarkedBy != is.MarkedBy {
			is.Version++
			e := is.event(courseID, itemID, cause, now)
			e.MarkedBy, e.Anonymous = is.MarkedBy, v.Settings.GetAnonymous()
			events = append(events, e)
		}
		others, err := is.othersText()
		if err != nil {
			return err
		}
		batch.Queue(`
			UPDATE assignment_mark SET assignment_id = $4, assignment_version = $5, state = $6, source_id = $7, source_number = $8, points = $9, max_points = $10,
				submitted_at = $11, first_submitted_at = $12, late_seconds = $13, attempts = $14, marked_by = $15, version = $16, result_version = $17,
				others = CASE WHEN $18::text IS NOT NULL THEN jsonb_build_object('version', $16::bigint, 'list', $18::text::jsonb) END
			WHERE course_id = $1 AND item_id = $2 AND account_id = $3`,
			courseID, itemID, is.AccountID, assignmentID, number, is.State, is.SourceID, is.SourceNumber, is.Points, is.MaxPoints,
			is.SubmittedAt, is.FirstSubmittedAt, is.LateSeconds, is.Attempts, is.MarkedBy, is.Version, is.ResultVersion, others)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("store marks: %w", err)
	}
	if len(events) == 0 {
		return nil
	}
	return bus.Publish(ctx, tx, events...)
}

// lockAssignmentMarks returns the rows of some people at an item, made where there are
// none, as nobody else can change them any more.
func lockAssignmentMarks(ctx context.Context, tx *pg.Tx, courseID, itemID string, accounts []string) ([]assignmentMark, error) {
	if _, err := tx.Exec(ctx, `
		INSERT INTO assignment_mark (course_id, item_id, account_id) SELECT $1, $2, a FROM unnest($3::text[]) AS a ORDER BY a
		ON CONFLICT ON CONSTRAINT assignment_mark_pkey DO NOTHING`, courseID, itemID, accounts); err != nil {
		return nil, fmt.Errorf("store marks: %w", err)
	}
	rows, err := tx.Query(ctx, `
		SELECT account_id, state, source_id, source_number, points, max_points, submitted_at, late_seconds, `+othersSQL+`, attempts, marked_by, version, first_submitted_at, result_version
		FROM assignment_mark WHERE course_id = $1 AND item_id = $2 AND account_id = ANY ($3) ORDER BY account_id FOR UPDATE`, courseID, itemID, accounts)
	if err != nil {
		return nil, fmt.Errorf("lock marks: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[assignmentMark])
	if err != nil {
		return nil, fmt.Errorf("lock marks: %w", err)
	}
	return list, nil
}

// handedBy returns what some people handed in to an assignment at an item and did not
// take back, alone or with others, by account and in the order of time.
func handedBy(ctx context.Context, q pg.Querier, itemID, assignmentID string, accounts []string) (map[string][]*handedMark, error) {
	rows, err := q.Query(ctx, `
		SELECT m.account_id, v.submission_id, v.number, v.points::text, v.max_points::text, v.submitted_at, m.due_at, m.late_seconds, v.marked_by
		FROM submission_member m JOIN submission_version v ON v.submission_id = m.submission_id AND v.number = m.number
			JOIN submission s ON s.id = m.submission_id
		WHERE m.item_id = $1 AND s.assignment_id = $2 AND m.account_id = ANY ($3) AND v.withdrawn_at IS NULL
		ORDER BY m.account_id, v.submitted_at, v.submission_id, v.number`, itemID, assignmentID, accounts)
	if err != nil {
		return nil, fmt.Errorf("read what was handed in: %w", err)
	}
	out := map[string][]*handedMark{}
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		var (
			account, most string
			points        *string
			h             handedMark
		)
		if err := row.Scan(&account, &h.id, &h.number, &points, &most, &h.submittedAt, &h.due, &h.late, &h.markedBy); err != nil {
			return struct{}{}, err
		}
		var err error
		if h.maxPoints, err = exact.Parse(most); err != nil {
			return struct{}{}, err
		}
		if points != nil {
			n, err := exact.Parse(*points)
			if err != nil {
				return struct{}{}, err
			}
			h.graded, h.share = true, n.Div(h.maxPoints)
		}
		out[account] = append(out[account], &h)
		return struct{}{}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what was handed in: %w", err)
	}
	return out, nil
}

// remarkAssignments makes anew the marks of some people that were made by a version of an
// assignment which is not the newest any more, and reports whether there may be more.
func (s *Service) remarkAssignments(ctx context.Context) (bool, error) {
	const most = 200
	more := false
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("follows from an assignment that was published, which is recorded")
		more = false
		rows, err := tx.Query(ctx, `
			SELECT m.course_id, m.item_id, m.assignment_id, m.account_id FROM assignment a JOIN assignment_mark m ON m.assignment_id = a.id AND m.assignment_version < a.version
			WHERE a.id IN (SELECT assignment_id FROM assignment_remark ORDER BY assignment_id LIMIT 1)
			ORDER BY m.course_id, m.item_id, m.account_id LIMIT $1`, most)
		if err != nil {
			return fmt.Errorf("marks to make anew: %w", err)
		}
		type key struct{ course, item, assignment string }
		groups := map[key][]string{}
		var order []key
		var k key
		var account string
		if _, err := pgx.ForEachRow(rows, []any{&k.course, &k.item, &k.assignment, &account}, func() error {
			if groups[k] == nil {
				order = append(order, k)
			}
			groups[k] = append(groups[k], account)
			return nil
		}); err != nil {
			return fmt.Errorf("marks to make anew: %w", err)
		}
		for _, k := range order {
			if err := s.remarkWork(ctx, tx, k.course, k.item, k.assignment, groups[k], "regrade"); err != nil {
				return err
			}
		}
		if len(order) > 0 {
			more = true
			return nil
		}
		tag, err := tx.Exec(ctx, `
			DELETE FROM assignment_remark r WHERE assignment_id IN (SELECT assignment_id FROM assignment_remark ORDER BY assignment_id LIMIT 1)
				AND NOT EXISTS (SELECT FROM assignment a JOIN assignment_mark m ON m.assignment_id = a.id AND m.assignment_version < a.version WHERE a.id = r.assignment_id)`)
		more = tag.RowsAffected() > 0
		return err
	})
	return more, err
}

// dueAt is when something is due for somebody.
type dueAt struct {
	AccountID string
	Due       *time.Time
}

// setLateness keeps for accounts by when it is due for them at an item, and how late what
// they handed in is by that. It returns the accounts of whom something differs.
func setLateness(ctx context.Context, tx *pg.Tx, itemID string, dues []dueAt) ([]string, error) {
	accounts, times := make([]string, len(dues)), make([]*time.Time, len(dues))
	for i, d := range dues {
		accounts[i], times[i] = d.AccountID, d.Due
	}
	rows, err := tx.Query(ctx, `
		WITH now AS (
			SELECT m.submission_id, m.number, m.account_id, d.due_at,
				CASE WHEN v.submitted_at > d.due_at THEN ceil(extract(epoch FROM v.submitted_at - d.due_at))::bigint ELSE 0 END AS late
			FROM unnest($2::text[], $3::timestamptz[]) AS d (account_id, due_at)
				JOIN submission_member m ON m.item_id = $1 AND m.account_id = d.account_id
				JOIN submission_version v ON v.submission_id = m.submission_id AND v.number = m.number
		), changed AS (
			UPDATE submission_member m SET due_at = n.due_at, late_seconds = n.late FROM now n
			WHERE m.submission_id = n.submission_id AND m.number = n.number AND m.account_id = n.account_id
				AND (m.due_at IS DISTINCT FROM n.due_at OR m.late_seconds <> n.late)
			RETURNING m.account_id
		)
		SELECT DISTINCT account_id FROM changed ORDER BY account_id`, itemID, accounts, times)
	if err != nil {
		return nil, fmt.Errorf("set lateness: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("set lateness: %w", err)
	}
	return list, nil
}

// marksOfVersions returns the marks that hold of versions of a submission, by number, as
// staff sees them.
func (s *Service) marksOfVersions(ctx context.Context, submissionID string, versions []handed) (map[int32]*assessmentpb.SubmissionMark, error) {
	var numbers []int32
	for _, v := range versions {
		if v.MarkRevision > 0 {
			numbers = append(numbers, v.Number)
		}
	}
	if len(numbers) == 0 {
		return nil, nil
	}
	list, err := s.readMarks(ctx, `m.submission_id = $1 AND m.number = ANY ($2) AND m.revision = v.mark_revision`, submissionID, numbers)
	if err != nil {
		return nil, err
	}
	out := map[int32]*assessmentpb.SubmissionMark{}
	for _, m := range list {
		out[m.number] = m.mark
	}
	return out, nil
}

// numberedMark is a mark of a version.
type numberedMark struct {
	number int32
	mark   *assessmentpb.SubmissionMark
	rubric *assessmentpb.RubricMarks
}

// readMarks returns marks, newest first.
func (s *Service) readMarks(ctx context.Context, where string, args ...any) ([]numberedMark, error) {
	rows, err := s.db.Query(ctx, `
		SELECT m.number, m.revision, m.points::text, v.max_points::text, m.comment, m.comments, m.rubric, m.source, m.marked_by, m.marked_at
		FROM submission_mark m JOIN submission_version v ON v.submission_id = m.submission_id AND v.number = m.number
		WHERE `+where+` ORDER BY m.number DESC, m.revision DESC LIMIT 100`, args...)
	if err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (numberedMark, error) {
		var (
			out      = numberedMark{mark: &assessmentpb.SubmissionMark{}}
			points   *string
			comments []byte
			rubric   []byte
			at       time.Time
		)
		m := out.mark
		if err := row.Scan(&out.number, &m.Revision, &points, &m.PointsOf, &m.Comment, &comments, &rubric, &m.Source, &m.MarkedBy, &at); err != nil {
			return out, err
		}
		if m.PointsOf = trimmed(m.GetPointsOf()); points != nil {
			m.Points = trimmed(*points)
		}
		parts := &assessmentpb.SubmissionMark{}
		if err := proto.Unmarshal(comments, parts); err != nil {
			return out, err
		}
		m.Comments, m.CommentHtml, m.MarkedAt = parts.GetComments(), s.markdown.Render(m.GetComment()), timestamppb.New(at)
		if rubric != nil {
			out.rubric = &assessmentpb.RubricMarks{}
			return out, proto.Unmarshal(rubric, out.rubric)
		}
		return out, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	chosen := make([]*assessmentpb.RubricMarks, len(list))
	for i, m := range list {
		chosen[i] = m.rubric
	}
	results, err := resultsOf(ctx, s.db, chosen, true)
	if err != nil {
		return nil, err
	}
	for i, m := range list {
		m.mark.Rubric = results[i]
	}
	return list, nil
}
