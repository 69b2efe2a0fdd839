package assessment

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

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
		SELECT n.item_id, coalesce(p.title, ''), n.question_id, coalesce(v.title, ''), n.to_mark, n.claimed, n.marked
		FROM (
			SELECT a.item_id, q.question_id, count(*) FILTER (WHERE q.state = 'needs_marking') AS to_mark, count(*) FILTER (WHERE q.state = 'marked') AS marked,
				count(*) FILTER (WHERE q.state = 'needs_marking' AND c.expires_at > $3) AS claimed
			FROM attempt a JOIN attempt_question q ON q.attempt_id = a.id AND q.state IN ('needs_marking', 'marked')
				LEFT JOIN marking_claim c ON c.target_id = q.attempt_id AND c.slot = q.slot
			WHERE a.course_id = $1 AND ($2 = '' OR a.item_id = $2) AND NOT a.preview AND a.state IN ('submitted', 'graded')
			GROUP BY a.item_id, q.question_id
			ORDER BY count(*) FILTER (WHERE q.state = 'needs_marking') = 0, a.item_id, q.question_id LIMIT $4
		) AS n
		LEFT JOIN placement p ON p.course_id = $1 AND p.item_id = n.item_id
		LEFT JOIN question z ON z.id = n.question_id LEFT JOIN question_version v ON v.question_id = z.id AND v.version = z.version
		ORDER BY n.to_mark = 0, n.item_id, n.question_id`, req.GetCourseId(), req.GetItemId(), h.service.time(), maxCounts)
	if err != nil {
		return nil, fmt.Errorf("count what is to be marked: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.MarkingCount, error) {
		m := &assessmentpb.MarkingCount{}
		return m, row.Scan(&m.ItemId, &m.ItemTitle, &m.QuestionId, &m.QuestionTitle, &m.ToMark, &m.Claimed, &m.Marked)
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
	states := []string{"needs_marking"}
	switch req.GetState() {
	case "to_agree": // answers are marked by one
		return &assessmentpb.ListMarkingQueueResponse{}, nil
	case "marked":
		states = []string{"marked"}
	case "all":
		states = []string{"needs_marking", "marked"}
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
		AND ($4 = '' OR q.question_id = $4) AND `+behind, ` ORDER BY `+queueOrder(req.GetOrder())+` LIMIT $8`,
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
		SELECT q.attempt_id, q.slot, q.question_id, v.title, a.account_id, a.number, a.submitted_at, q.state, q.points::text, q.max_points::text, c.account_id, c.expires_at
		FROM attempt a JOIN attempt_question q ON q.attempt_id = a.id
			JOIN question_version v ON v.question_id = q.question_id AND v.version = q.question_version
			LEFT JOIN marking_claim c ON c.target_id = q.attempt_id AND c.slot = q.slot
		WHERE `+where+order, args...)
	if err != nil {
		return nil, fmt.Errorf("list answers: %w", err)
	}
	now := s.time()
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.QueuedAnswer, error) {
		m := &assessmentpb.QueuedAnswer{}
		var submitted, until *time.Time
		var points, by *string
		err := row.Scan(&m.AttemptId, &m.Slot, &m.QuestionId, &m.QuestionTitle, &m.AccountId, &m.Number, &submitted, &m.State, &points, &m.MaxPoints, &by, &until)
		m.SubmittedAt, m.MaxPoints, m.Points = stampOf(submitted), decimal(m.GetMaxPoints()), decimal(orNothing(points))
		switch m.GetState() {
		case "needs_marking":
			m.State = "to_mark"
		default:
			m.State = "marked"
		}
		if by != nil && until.After(now) {
			m.Claim = &assessmentpb.MarkingClaim{AccountId: *by, ExpiresAt: timestamppb.New(*until)}
		}
		return m, err
	})
	if err != nil {
		return nil, fmt.Errorf("list answers: %w", err)
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
			m.AccountId, m.Pseudonym = "", name
		}
	}
	return list, nil
}
