package assessment

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// toMarkSQL is whether staff has yet to give the mark of what was handed in last, as s:
// where two do, also while they are to agree.
const toMarkSQL = `(s.number > 0 AND NOT s.returned
	AND EXISTS (SELECT FROM submission_version v WHERE v.submission_id = s.id AND v.number = s.number AND v.points IS NULL)
	AND (SELECT g.points FROM given_mark g WHERE g.submission_id = s.id AND g.number = s.number AND g.part = 3 ORDER BY g.seq DESC LIMIT 1) IS NULL
	AND NOT EXISTS (SELECT FROM assignment o WHERE o.id = s.assignment_id AND o.peer_only))`

// givenSQL is how many of two have marked it.
const givenSQL = `(SELECT count(*) FROM given_marker m WHERE m.submission_id = s.id AND m.number = s.number)`

// markersOf is how many mark what is handed in to an assignment.
func markersOf(v *assignmentVersion) int32 {
	if v.Settings.GetDoubleMarking() {
		return 2
	}
	return 1
}

// claimNextSubmission claims the first submission of the queue of which a part is free,
// and that the grader has not marked, as [Service.claimNext] does answers.
func (s *Service) claimNextSubmission(ctx context.Context, tx *pg.Tx, v *assignmentVersion, itemID, who string) (string, error) {
	for pass := " SKIP LOCKED"; ; {
		var submission string
		err := tx.QueryRow(ctx, `
			SELECT s.id FROM submission s
			WHERE s.item_id = $1 AND s.assignment_id = $2 AND s.course_id = $6 AND `+toMarkSQL+`
				AND NOT EXISTS (SELECT FROM given_marker m WHERE $5 > 1 AND m.submission_id = s.id AND m.number = s.number AND m.account_id = $3)
				AND (SELECT count(*) FROM marking_claim c WHERE c.target_id = s.id AND c.expires_at > $4)
					+ CASE WHEN $5 > 1 THEN `+givenSQL+` ELSE 0 END < $5
			ORDER BY s.id LIMIT 1 FOR NO KEY UPDATE OF s`+pass, itemID, v.AssignmentID, who, s.time(), markersOf(v), v.CourseID).Scan(&submission)
		switch {
		case pg.NoRows(err) && pass == "":
			return "", ErrMarkingNothingLeft
		case pg.NoRows(err):
			pass = ""
			continue
		case err != nil:
			return "", fmt.Errorf("next to mark: %w", err)
		}
		// The statement may have begun before somebody claimed it: then this finds it.
		taken, err := s.takeSubmission(ctx, tx, v, submission, who)
		if err != nil || taken {
			return submission, err
		}
	}
}

// takeSubmission claims a part of a submission whose row is locked, and reports whether
// one was free.
func (s *Service) takeSubmission(ctx context.Context, tx *pg.Tx, v *assignmentVersion, submission, who string) (bool, error) {
	free, err := s.freeParts(ctx, tx, v, submission, who)
	if err != nil || free <= 0 {
		return false, err
	}
	for part := range markersOf(v) {
		taken, err := s.take(ctx, tx, v.CourseID, submission, 0, part+1, who)
		if err != nil || taken {
			return taken, err
		}
	}
	return false, nil
}

// freeParts returns how many may mark a submission, whose row is locked, besides those
// others who have or do now. Of two, one who has marked it needs no other part.
func (s *Service) freeParts(ctx context.Context, tx *pg.Tx, v *assignmentVersion, submission, who string) (int32, error) {
	var held, given int32
	err := tx.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM marking_claim c WHERE c.target_id = $1 AND c.account_id <> $2 AND c.expires_at > $3),
			(SELECT count(*) FROM given_marker m JOIN submission s ON s.id = m.submission_id AND s.number = m.number WHERE s.id = $1 AND m.account_id <> $2)`,
		submission, who, s.time()).Scan(&held, &given)
	if err != nil {
		return 0, fmt.Errorf("who marks it: %w", err)
	}
	if markersOf(v) == 1 {
		given = 0
	}
	return markersOf(v) - held - given, nil
}

// ClaimSubmission implements [assessmentpb.MarkingServiceServer].
func (h *markingServer) ClaimSubmission(ctx context.Context, req *assessmentpb.ClaimSubmissionRequest) (*assessmentpb.MarkingClaim, error) {
	s, who := h.service, auth.From(ctx).Account
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.MarkingClaim, error) {
		tx.Exempt(whyClaims)
		if err := s.lockClaims(ctx, tx, req.GetCourseId(), who); err != nil {
			return nil, err
		}
		w, err := workOfCourse(ctx, tx, req.GetCourseId(), req.GetSubmissionId(), "FOR NO KEY UPDATE")
		if err != nil {
			return nil, err
		}
		v, err := s.settingsNow(ctx, tx, w)
		if err != nil {
			return nil, err
		}
		if err := s.holdOne(ctx, tx, req.GetCourseId(), who, w.ID, 0); err != nil {
			return nil, err
		}
		taken, err := s.takeSubmission(ctx, tx, v, w.ID, who)
		if err != nil {
			return nil, err
		}
		if !taken {
			return nil, ErrMarkingClaimed
		}
		return (&claim{who, s.time().Add(claimTime)}).message(), nil
	})
}

// ReleaseSubmissionClaim implements [assessmentpb.MarkingServiceServer].
func (h *markingServer) ReleaseSubmissionClaim(ctx context.Context, req *assessmentpb.ReleaseSubmissionClaimRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, h.service.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		tx.Exempt(whyClaims)
		_, err := tx.Exec(ctx, `DELETE FROM marking_claim WHERE target_id = $1 AND course_id = $2 AND account_id = $3`,
			req.GetSubmissionId(), req.GetCourseId(), auth.From(ctx).Account)
		return &emptypb.Empty{}, err
	})
}

// freeSubmission refuses to have a submission marked of which others hold all parts. Its
// row is locked.
func (s *Service) freeSubmission(ctx context.Context, tx *pg.Tx, v *assignmentVersion, submission, who string) error {
	free, err := s.freeParts(ctx, tx, v, submission, who)
	if err == nil && free <= 0 {
		err = ErrMarkingClaimed
	}
	return err
}

// endClaim ends somebody's claim on a submission, or everybody's.
func endClaim(ctx context.Context, tx *pg.Tx, submission, who string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM marking_claim WHERE target_id = $1 AND ($2 = '' OR account_id = $2)`, submission, who); err != nil {
		return fmt.Errorf("end claim: %w", err)
	}
	return nil
}

// settingsNow returns the version of the assignment by which something is marked now:
// that which is published.
func (s *Service) settingsNow(ctx context.Context, q pg.Querier, w *work) (*assignmentVersion, error) {
	var number int32
	if err := q.QueryRow(ctx, `SELECT version FROM assignment WHERE id = $1`, w.AssignmentID).Scan(&number); err != nil {
		return nil, fmt.Errorf("assignment of submission: %w", err)
	}
	return s.assignmentVersion(ctx, q, w.AssignmentID, number)
}

// markedSubmission tells a submission to who marks it.
func (s *Service) markedSubmission(ctx context.Context, course, submission string) (*assessmentpb.MarkedAnswer, error) {
	w, err := workOfCourse(ctx, s.db, course, submission, "")
	if err != nil {
		return nil, err
	}
	out := &assessmentpb.MarkedAnswer{}
	if out.Submission, err = s.submissionFor(ctx, course, submission, 0); err != nil {
		return nil, err
	}
	v, err := s.settingsNow(ctx, s.db, w)
	if err != nil {
		return nil, err
	}
	list, err := s.queuedSubmissions(ctx, v, w.ItemID, `s.id = $5`, "", 1, w.ID)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 { // taken back meanwhile
		return nil, ErrSubmissionNotFound
	}
	out.Of, out.Rubric, out.Etag = list[0], out.GetSubmission().GetRubric(), out.GetSubmission().GetEtag()
	return out, nil
}

// queueStates are the conditions of the states of submissions, where two mark them or
// not.
func queueState(state string, two bool) string {
	switch {
	case state == "all":
		return `true`
	case state == "marked":
		return `NOT ` + toMarkSQL + ` AND NOT s.returned`
	case state == "to_agree" && !two:
		return `false`
	case state == "to_agree":
		return toMarkSQL + ` AND ` + givenSQL + ` = 2`
	case two:
		return toMarkSQL + ` AND ` + givenSQL + ` < 2`
	default:
		return toMarkSQL
	}
}

// listSubmissionQueue is ListMarkingQueue of an assignment.
func (s *Service) listSubmissionQueue(ctx context.Context, v *assignmentVersion, req *assessmentpb.ListMarkingQueueRequest) (*assessmentpb.ListMarkingQueueResponse, error) {
	values, err := page.Values(req.GetCursor(), 1)
	if err != nil {
		return nil, err
	}
	after := ""
	if values != nil {
		if after = values[0]; !id.Valid("submission", after) {
			return nil, page.ErrCursor
		}
	}
	size := page.Size(req.GetPageSize())
	list, err := s.queuedSubmissions(ctx, v, req.GetItemId(), queueState(req.GetState(), v.Settings.GetDoubleMarking()), after, size+1)
	if err != nil {
		return nil, err
	}
	res := &assessmentpb.ListMarkingQueueResponse{Items: list}
	if len(list) > size {
		res.Items = list[:size]
		res.NextCursor = page.Cursor(list[size-1].GetSubmissionId())
	}
	return res, nil
}

// queuedSubmissions returns submissions at an item after one of them, without who has
// handed in where they are anonymous: it takes the same few statements for any number of
// them.
func (s *Service) queuedSubmissions(ctx context.Context, v *assignmentVersion, itemID, where, after string, limit int, more ...any) ([]*assessmentpb.QueuedAnswer, error) {
	args := append([]any{v.CourseID, itemID, v.AssignmentID, after}, more...)
	args = append(args, limit)
	rows, err := s.db.Query(ctx, `
		WITH coded AS (
			SELECT s.account_id, s.group_id, encode(sha256(p.salt || convert_to(s.account_id || s.group_id, 'UTF8')), 'hex') COLLATE "C" AS code
			FROM submission s, placement p
			WHERE p.course_id = $1 AND p.item_id = $2 AND s.course_id = $1 AND s.item_id = $2 AND s.assignment_id = $3 AND s.number > 0 AND s.id > $4 AND (`+where+`)
			ORDER BY s.id LIMIT $`+fmt.Sprint(len(args))+`
		)`+entryColumns+` ORDER BY s.id`, args...)
	if err != nil {
		return nil, fmt.Errorf("list submissions to mark: %w", err)
	}
	list, err := collectEntries(rows)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	if err := s.fillEntries(ctx, v, itemID, list); err != nil {
		return nil, err
	}
	out := make([]*assessmentpb.QueuedAnswer, len(list))
	at := map[string]*assessmentpb.QueuedAnswer{}
	ids := make([]string, len(list))
	for i, e := range list {
		m := &assessmentpb.QueuedAnswer{SubmissionId: e.SubmissionID, Number: e.Number, State: "to_mark", Pseudonym: pseudonymOf(e.Code)}
		if e.MaxPoints != nil {
			m.MaxPoints = trimmed(*e.MaxPoints)
		}
		if e.Points != nil {
			m.State, m.Points = "marked", trimmed(*e.Points)
		}
		if e.revealed {
			m.Pseudonym, m.AccountId, m.GroupId, m.SubmittedAt = "", e.AccountID, e.GroupID, stampOf(e.SubmittedAt)
		}
		out[i], ids[i], at[e.SubmissionID] = m, e.SubmissionID, m
	}
	if err := s.fillGiven(ctx, v, ids, at); err != nil {
		return nil, err
	}
	return out, s.fillClaims(ctx, ids, at)
}

// fillGiven adds who has marked submissions from which the mark that counts is not made
// yet.
func (s *Service) fillGiven(ctx context.Context, v *assignmentVersion, ids []string, at map[string]*assessmentpb.QueuedAnswer) error {
	rows, err := s.db.Query(ctx, `
		SELECT s.id, `+givenSQL+`::int, EXISTS (SELECT FROM given_marker m WHERE m.submission_id = s.id AND m.number = s.number AND m.account_id = $2), `+toMarkSQL+`
		FROM submission s WHERE s.id = ANY ($1)`, ids, auth.From(ctx).Account)
	if err != nil {
		return fmt.Errorf("who has marked: %w", err)
	}
	var submission string
	var given int32
	var mine, open bool
	if _, err := pgx.ForEachRow(rows, []any{&submission, &given, &mine, &open}, func() error {
		m := at[submission]
		if v.Settings.GetDoubleMarking() {
			m.Given, m.GivenByCaller = given, mine
		}
		switch {
		case !open:
			m.State = "marked"
		case v.Settings.GetDoubleMarking() && given == 2:
			m.State = "to_agree"
		}
		return nil
	}); err != nil {
		return fmt.Errorf("who has marked: %w", err)
	}
	return nil
}

func (s *Service) fillClaims(ctx context.Context, ids []string, at map[string]*assessmentpb.QueuedAnswer) error {
	rows, err := s.db.Query(ctx, `
		SELECT target_id, account_id, expires_at FROM marking_claim WHERE target_id = ANY ($1) AND expires_at > $2 ORDER BY target_id, part`, ids, s.time())
	if err != nil {
		return fmt.Errorf("who marks: %w", err)
	}
	var submission, account string
	var until time.Time
	if _, err := pgx.ForEachRow(rows, []any{&submission, &account, &until}, func() error {
		m, c := at[submission], (&claim{account, until}).message()
		if m.Claim == nil {
			m.Claim = c
		} else {
			m.OtherClaim = c
		}
		return nil
	}); err != nil {
		return fmt.Errorf("who marks: %w", err)
	}
	return nil
}

// countSubmissions counts what is to be marked of assignments, by item.
func (s *Service) countSubmissions(ctx context.Context, courseID, itemID string) ([]*assessmentpb.MarkingCount, error) {
	rows, err := s.db.Query(ctx, `
		SELECT p.item_id, p.title, p.ref, count(*) FILTER (WHERE n.open AND n.given < 2)::int, count(*) FILTER (WHERE n.open AND n.given < 2 AND n.held)::int,
			count(*) FILTER (WHERE NOT n.open)::int, count(*) FILTER (WHERE n.open AND n.given = 2)::int
		FROM placement p, LATERAL (
			SELECT `+toMarkSQL+` AS open, `+givenSQL+` AS given, EXISTS (SELECT FROM marking_claim c WHERE c.target_id = s.id AND c.expires_at > $3) AS held
			FROM submission s WHERE s.item_id = p.item_id AND s.assignment_id = p.ref AND s.number > 0 AND NOT s.returned
		) n
		WHERE p.course_id = $1 AND ($2 = '' OR p.item_id = $2) AND p.kind = 'assignment' AND p.ref <> ''
		GROUP BY p.item_id, p.title, p.ref ORDER BY p.item_id LIMIT $4`, courseID, itemID, s.time(), maxCounts)
	if err != nil {
		return nil, fmt.Errorf("count submissions to mark: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.MarkingCount, error) {
		m := &assessmentpb.MarkingCount{}
		return m, row.Scan(&m.ItemId, &m.ItemTitle, &m.AssignmentId, &m.ToMark, &m.Claimed, &m.Marked, &m.ToAgree)
	})
	if err != nil {
		return nil, fmt.Errorf("count submissions to mark: %w", err)
	}
	return list, nil
}

// byNeed orders counts as they are told: those with something to mark first.
func byNeed(a, b *assessmentpb.MarkingCount) int {
	switch left, right := a.GetToMark()+a.GetToAgree() > 0, b.GetToMark()+b.GetToAgree() > 0; {
	case left && !right:
		return -1
	case right && !left:
		return 1
	default:
		return strings.Compare(a.GetItemId()+a.GetQuestionId(), b.GetItemId()+b.GetQuestionId())
	}
}
