package assessment

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// rekeysOf returns how the questions of an attempt were scored anew, by slot and the
// oldest first: what changed their points, or those that they are worth. Only where marks
// are shown, as it tells nothing else.
func rekeysOf(ctx context.Context, q pg.Querier, a *attempt, marks bool) (map[int32][]*assessmentpb.AnswerRekey, error) {
	if !marks || a.ScoredAt == nil {
		return nil, nil
	}
	rows, err := q.Query(ctx, `
		SELECT r.slot, r.at, k.reason, k.action, r.old_points::text, r.new_points::text, r.old_max::text, r.new_max::text, r.old_total::text, r.new_total::text
		FROM rekey_attempt r JOIN rekey k ON k.id = r.rekey_id
		WHERE r.attempt_id = $1 AND r.stage = 2 AND r.change NOT IN ('', 'unscored') AND (r.old_points IS DISTINCT FROM r.new_points OR r.old_max <> r.new_max)
		ORDER BY r.at, k.number`, a.ID)
	if err != nil {
		return nil, fmt.Errorf("read re-keys of an attempt: %w", err)
	}
	out := map[int32][]*assessmentpb.AnswerRekey{}
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		var slot int32
		var r rekeyed
		one := &assessmentpb.AnswerRekey{}
		err := row.Scan(&slot, &r.At, &one.Reason, &one.Action, &r.OldPoints, &r.NewPoints, &r.OldMax, &r.NewMax, &r.OldTotal, &r.NewTotal)
		if err != nil {
			return struct{}{}, err
		}
		one.At = timestamppb.New(*r.At)
		one.OldPoints, one.NewPoints, one.OldMaxPoints, one.NewMaxPoints = shownPoints(r.OldPoints), shownPoints(r.NewPoints), shownPoints(r.OldMax), shownPoints(r.NewMax)
		one.OldTotal, one.NewTotal = shownPoints(r.OldTotal), shownPoints(r.NewTotal)
		out[slot] = append(out[slot], one)
		return struct{}{}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read re-keys of an attempt: %w", err)
	}
	return out, nil
}
