package learning

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// Bounds of one event and of one answer.
const (
	maxTold = 1000
	maxDues = 10_000
)

// tellDeadlines says whose effective dates are others than before.
func tellDeadlines(ctx context.Context, tx *pg.Tx, courseID string, accounts []string) error {
	for len(accounts) > 0 {
		part := accounts[:min(len(accounts), maxTold)]
		accounts = accounts[len(part):]
		if err := bus.Publish(ctx, tx, &learningpb.DeadlinesChanged{CourseId: courseID, AccountIds: part}); err != nil {
			return err
		}
	}
	return nil
}

// ListDueDates implements learningpb.DeadlineServiceServer.
func (r *deadlineServer) ListDueDates(ctx context.Context, req *learningpb.ListDueDatesRequest) (*learningpb.ListDueDatesResponse, error) {
	values, err := page.Values(req.GetCursor(), 2)
	if err != nil {
		return nil, err
	}
	if values == nil {
		values = []string{"", ""}
	}
	rows, err := r.service.db.Query(ctx, `
		SELECT account_id, item_id, due FROM effective_deadline
		WHERE course_id = $1 AND account_id = ANY ($2) AND due IS NOT NULL AND (account_id, item_id) > ($3, $4)
		ORDER BY account_id, item_id LIMIT $5`, req.GetCourseId(), req.GetAccountIds(), values[0], values[1], maxDues+1)
	if err != nil {
		return nil, fmt.Errorf("list due dates: %w", err)
	}
	out := &learningpb.ListDueDatesResponse{}
	out.Items, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*learningpb.DueDate, error) {
		d := &learningpb.DueDate{}
		var due time.Time
		if err := row.Scan(&d.AccountId, &d.ItemId, &due); err != nil {
			return nil, err
		}
		d.Due = timestamppb.New(due)
		return d, nil
	})
	if err != nil {
		return nil, fmt.Errorf("list due dates: %w", err)
	}
	if len(out.GetItems()) > maxDues {
		out.Items = out.GetItems()[:maxDues]
		last := out.GetItems()[maxDues-1]
		out.NextCursor = page.Cursor(last.GetAccountId(), last.GetItemId())
	}
	return out, nil
}
