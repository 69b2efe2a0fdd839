package assessment

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

const (
	logPage = 100
	// logBytes bounds the answers of a piece of a log, but for the first.
	logBytes = 1 << 20
)

// ListMyOperations implements [assessmentpb.AttemptServiceServer].
func (h *attemptServer) ListMyOperations(ctx context.Context, req *assessmentpb.ListMyOperationsRequest) (*assessmentpb.ListOperationsResponse, error) {
	a, err := h.own(ctx, req.GetAttemptId())
	if err == nil {
		err = h.service.guardLockdown(ctx, a)
	}
	if err != nil {
		return nil, err
	}
	return readLog(ctx, h.service.db, a.ID, req.GetAfter(), req.GetPageSize(), false)
}

// ListOperations implements [assessmentpb.AttemptServiceServer].
func (h *attemptServer) ListOperations(ctx context.Context, req *assessmentpb.ListOperationsRequest) (*assessmentpb.ListOperationsResponse, error) {
	a, err := h.ofCourse(ctx, req.GetCourseId(), req.GetAttemptId())
	if err != nil {
		return nil, err
	}
	out, err := readLog(ctx, h.service.db, a.ID, req.GetAfter(), req.GetPageSize(), true)
	if err != nil {
		return nil, err
	}
	names, err := h.service.pseudonyms(ctx, h.service.db, []string{a.ID})
	if err != nil {
		return nil, err
	}
	if names[a.ID] != "" {
		for _, o := range out.GetItems() {
			unnamedOperation(o)
		}
	}
	return out, nil
}

// logRow is an operation in the log with what became of it.
type logRow struct {
	line

	ClientTime *time.Time
	Code       string
	AcceptedBy *string
	Reason     *string
}

// readLog returns a piece of a log: as many operations as are asked for, and as have
// room. That something was marked is told to staff alone.
func readLog(ctx context.Context, q pg.Querier, attempt string, after int64, size int32, staff bool) (*assessmentpb.ListOperationsResponse, error) {
	if size == 0 {
		size = logPage
	}
	rows, err := q.Query(ctx, `
		SELECT o.seq, o.client_id, o.client_seq, o.kind, o.slot, o.page, o.value, o.received_at, o.verdict, o.client_time, o.code, c.account_id, c.reason
		FROM (
			SELECT *, sum(coalesce(length(value), 0)) OVER (ORDER BY seq) - coalesce(length(value), 0) AS before
			FROM (SELECT * FROM answer_operation WHERE attempt_id = $1 AND seq > $2 AND ($5 OR kind <> 'mark') ORDER BY seq LIMIT $3) AS piece
		) AS o LEFT JOIN answer_acceptance c ON c.attempt_id = o.attempt_id AND c.seq = o.seq
		WHERE o.before <= $4 ORDER BY o.seq`, attempt, after, int(size)+1, logBytes, staff)
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	res := &assessmentpb.ListOperationsResponse{}
	bytes := 0
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		var r logRow
		if err := row.Scan(&r.Seq, &r.ClientID, &r.ClientSeq, &r.Kind, &r.Slot, &r.Page, &r.Value, &r.ReceivedAt, &r.Verdict,
			&r.ClientTime, &r.Code, &r.AcceptedBy, &r.Reason); err != nil {
			return struct{}{}, err
		}
		bytes += len(r.Value)
		if len(res.GetItems()) == int(size) || len(res.GetItems()) > 0 && bytes > logBytes {
			res.NextAfter = res.GetItems()[len(res.GetItems())-1].GetSeq()
			return struct{}{}, nil
		}
		one, err := r.message(staff)
		res.Items = append(res.Items, one)
		return struct{}{}, err
	})
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	return res, nil
}

func (r *logRow) message(staff bool) (*assessmentpb.LoggedOperation, error) {
	op := &assessmentpb.Operation{ClientSeq: r.ClientSeq, Kind: r.Kind, Slot: r.Slot, Page: r.Page, ClientTime: stamp(r.ClientTime)}
	if r.Value != nil {
		op.Answer = &questionpb.Answer{}
		if err := protojson.Unmarshal(r.Value, op.GetAnswer()); err != nil {
			return nil, fmt.Errorf("operation %d: %w", r.Seq, err)
		}
	}
	out := &assessmentpb.LoggedOperation{
		Seq: r.Seq, ClientId: r.ClientID, Operation: op, ReceivedAt: timestamppb.New(r.ReceivedAt), Verdict: r.Verdict, Code: r.Code,
		Counts: counting(r.Verdict) || r.AcceptedBy != nil,
	}
	if r.AcceptedBy != nil {
		r.Accepted = true
		if staff {
			out.AcceptedBy, out.AcceptedReason = *r.AcceptedBy, *r.Reason
		}
	}
	if out.GetCounts() && r.ClientID != serverClient {
		out.Line = string(r.text())
	}
	return out, nil
}
