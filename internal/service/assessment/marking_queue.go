package assessment

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// maxCounts bounds the questions that are counted at once.
const maxCounts = 1000

// GetMarkingSummary implements [assessmentpb.MarkingServiceServer].
func (h *markingServer) GetMarkingSummary(ctx context.Context, req *assessmentpb.GetMarkingSummaryRequest) (*assessmentpb.GetMarkingSummaryResponse, error) {
	rows, err := h.service.db.Query(ctx, `
		SELECT n.item_id, coalesce(p.title, ''), n.question_id, coalesce(v.title, ''), n.to_mark, n.claimed, n.marked, n.to_agree
		FROM (
			SELECT a.item_id, q.question_id, count(*) FILTER (WHERE q.state = 'needs_marking' AND o.given < 2) AS to_mark, count(*) FILTER (WHERE q.state = 'marked') AS marked,
				count(*) FILTER (WHERE q.state = 'needs_marking' AND o.given < 2 AND o.held) AS claimed, count(*) FILTER (WHERE q.state = 'needs_marking' AND o.given = 2) AS to_agree
			FROM attempt a JOIN attempt_question q ON q.attempt_id = a.id AND q.state IN ('needs_marking', 'marked')
				CROSS JOIN LATERAL (SELECT `+answerGivenSQL+` AS given,
					EXISTS (SELECT FROM marking_claim c WHERE c.target_id = q.attempt_id AND c.slot = q.slot AND c.expires_at > $3) AS held) AS o
			WHERE a.course_id = $1 AND ($2 = '' OR a.item_id = $2) AND NOT a.preview AND a.state IN ('submitted', 'graded')
			GROUP BY a.item_id, q.question_id
			ORDER BY count(*) FILTER (WHERE q.state = 'needs_marking') = 0, a.item_id, q.question_id LIMIT $4
		) AS n
		LEFT JOIN placement p ON p.course_id = $1 AND p.item_id = n.item_id
		LEFT JOIN question z ON z.id = n.question_id LEFT JOIN question_version v ON v.question_id = z.id AND v.version = z.version
		ORDER BY n.to_mark + n.to_agree = 0, n.item_id, n.question_id`, req.GetCourseId(), req.GetItemId(), h.service.time(), maxCounts)
	if err != nil {
		return nil, fmt.Errorf("count what is to be marked: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.MarkingCount, error) {
		m := &assessmentpb.MarkingCount{}
		return m, row.Scan(&m.ItemId, &m.ItemTitle, &m.QuestionId, &m.QuestionTitle, &m.ToMark, &m.Claimed, &m.Marked, &m.ToAgree)
	})
	if err != nil {
		return nil, fmt.Errorf("count what is to be marked: %w", err)
	}
	submissions, err := h.service.countSubmissions(ctx, req.GetCourseId(), req.GetItemId())
	if err != nil {
		return nil, err
	}
	list = append(list, submissions...)
	slices.SortStableFunc(list, byNeed)
	return &assessmentpb.GetMarkingSummaryResponse{Items: list[:min(len(list), maxCounts)]}, nil
}

// ListMarkingQueue implements [assessmentpb.MarkingServiceServer].
func (h *markingServer) ListMarkingQueue(ctx context.Context, req *assessmentpb.ListMarkingQueueRequest) (*assessmentpb.ListMarkingQueueResponse, error) {
	assigned, err := h.service.assignmentAt(ctx, h.service.db, req.GetCourseId(), req.GetItemId())
	if err == nil {
		return h.service.listSubmissionQueue(ctx, assigned, req)
	}
	if !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	markers, err := h.service.markersAt(ctx, h.service.db, req.GetCourseId(), req.GetItemId())
	if err != nil {
		return nil, err
	}
	states, which := []string{"needs_marking"}, ``
	switch {
	case req.GetState() == "to_agree" && markers == 1:
		return &assessmentpb.ListMarkingQueueResponse{}, nil
	case req.GetState() == "to_agree":
		which = ` AND ` + answerGivenSQL + ` = 2`
	case req.GetState() == "marked":
		states = []string{"marked"}
	case req.GetState() == "all":
		states = []string{"needs_marking", "marked"}
	case markers > 1:
		which = ` AND ` + answerGivenSQL + ` < 2`
	}
	values, err := page.Values(req.GetCursor(), 3)
	if err != nil {
		return nil, err
	}
	question, attempt, slot := "", "", int64(0)
	if values != nil {
		question, attempt = values[0], values[1]
		if slot, err = strconv.ParseInt(values[2], 10, 32); err != nil || !id.Valid("question", question) || !id.Valid("attempt", attempt) {
			return nil, page.ErrCursor
		}
	}
	behind := `(q.question_id, q.attempt_id, q.slot) > ($5, $6, $7)`
	if req.GetOrder() == "student" {
		behind = `($5 = '' OR true) AND (q.attempt_id, q.slot) > ($6, $7)`
	}
	size := page.Size(req.GetPageSize())
	list, err := h.service.queued(ctx, `
		a.course_id = $1 AND a.item_id = $2 AND NOT a.preview AND a.state IN ('submitted', 'graded') AND q.state IN ('needs_marking', 'marked') AND q.state = ANY ($3)
		AND ($4 = '' OR q.question_id = $4)`+which+` AND `+behind, ` ORDER BY `+queueOrder(req.GetOrder())+` LIMIT $8`,
		req.GetCourseId(), req.GetItemId(), states, req.GetQuestionId(), question, attempt, slot, size+1)
	if err != nil {
		return nil, err
	}
	res := &assessmentpb.ListMarkingQueueResponse{Items: list}
	if len(list) > size {
		res.Items = list[:size]
		last := list[size-1]
		res.NextCursor = page.Cursor(last.GetQuestionId(), last.GetAttemptId(), strconv.Itoa(int(last.GetSlot())))
	}
	return res, nil
}

// queued returns answers, with pseudonyms where their students are anonymous: it takes
// the same few statements for any number of them.
func (s *Service) queued(ctx context.Context, where, order string, args ...any) ([]*assessmentpb.QueuedAnswer, error) {
	rows, err := s.db.Query(ctx, `
		SELECT q.attempt_id, q.slot, q.question_id, v.title, a.account_id, a.number, a.submitted_at, q.state, q.points::text, q.max_points::text,
			c.account_id, c.expires_at, d.account_id, d.expires_at, a.quiz_id
		FROM attempt a JOIN attempt_question q ON q.attempt_id = a.id
			JOIN question_version v ON v.question_id = q.question_id AND v.version = q.question_version
			LEFT JOIN marking_claim c ON c.target_id = q.attempt_id AND c.slot = q.slot AND c.part = 1
			LEFT JOIN marking_claim d ON d.target_id = q.attempt_id AND d.slot = q.slot AND d.part = 2
		WHERE `+where+order, args...)
	if err != nil {
		return nil, fmt.Errorf("list answers: %w", err)
	}
	now := s.time()
	var quizzes []string
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.QueuedAnswer, error) {
		m := &assessmentpb.QueuedAnswer{}
		var submitted *time.Time
		var until [2]*time.Time
		var by [2]*string
		var points *string
		var quizID string
		err := row.Scan(&m.AttemptId, &m.Slot, &m.QuestionId, &m.QuestionTitle, &m.AccountId, &m.Number, &submitted, &m.State, &points, &m.MaxPoints, &by[0], &until[0], &by[1], &until[1], &quizID)
		quizzes = append(quizzes, quizID)
		m.SubmittedAt, m.MaxPoints, m.Points = stampOf(submitted), decimal(m.GetMaxPoints()), decimal(orNothing(points))
		switch m.GetState() {
		case "needs_marking":
			m.State = "to_mark"
		default:
			m.State = "marked"
		}
		for i := range by {
			switch {
			case by[i] == nil || !until[i].After(now):
			case m.Claim == nil:
				m.Claim = (&claim{*by[i], *until[i]}).message()
			default:
				m.OtherClaim = (&claim{*by[i], *until[i]}).message()
			}
		}
		return m, err
	})
	if err != nil {
		return nil, fmt.Errorf("list answers: %w", err)
	}
	if err := s.fillAnswersGiven(ctx, list, quizzes); err != nil {
		return nil, err
	}
	ids := make([]string, len(list))
	for i, m := range list {
		ids[i] = m.GetAttemptId()
	}
	names, err := s.pseudonyms(ctx, s.db, ids)
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		if name := names[m.GetAttemptId()]; name != "" {
			unnamedAnswer(m, name)
		}
	}
	return list, nil
}
