package assessment

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
)

// countingSQL is which rows of the log count, as o.
const countingSQL = `(o.verdict IN ('accepted', 'late') OR
	o.verdict IN ('too_late', 'refused') AND EXISTS (SELECT FROM answer_acceptance c WHERE c.attempt_id = o.attempt_id AND c.seq = o.seq))`

// step is an operation of the log that what is derived is made of.
type step struct {
	AttemptID  string
	Seq        int64
	Slot       int32
	Kind       string
	Page       int32
	Value      []byte
	ReceivedAt time.Time
}

// readSteps returns the operations of attempts that count, in the order of the log:
// of answers and flags that follow one another the last alone. Marks are left out: see
// marksOf.
func readSteps(ctx context.Context, q pg.Querier, attempts []string) (map[string][]step, error) {
	rows, err := q.Query(ctx, `
		SELECT attempt_id, seq, slot, kind, page, value, received_at
		FROM (
			SELECT o.*, lead(o.kind) OVER (PARTITION BY o.attempt_id, o.slot, o.kind IN ('flag', 'unflag') ORDER BY o.seq) AS next
			FROM answer_operation o
			WHERE o.attempt_id = ANY ($1) AND o.slot > 0 AND o.kind <> 'mark' AND `+countingSQL+`
		) AS o
		WHERE next IS NULL OR kind NOT IN ('flag', 'unflag') AND NOT (kind = 'answer' AND next = 'answer')
		ORDER BY attempt_id, seq`, attempts)
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[step])
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	out := map[string][]step{}
	for _, st := range list {
		out[st.AttemptID] = append(out[st.AttemptID], st)
	}
	return out, nil
}

// answer returns what an operation of the log gave.
func (st *step) answer() (*questionpb.Answer, error) {
	a := &questionpb.Answer{}
	if err := protojson.Unmarshal(st.Value, a); err != nil {
		return nil, fmt.Errorf("operation %d of %s: %w", st.Seq, st.AttemptID, err)
	}
	return a, nil
}

// folded is what was done at a question.
type folded struct {
	answer    *questionpb.Answer // what was answered last
	answerSeq int64
	flagged   bool
	steps     []step // in their order, without flags
}

// fold makes of the steps of an attempt what stands at each of its questions.
func fold(steps []step) (map[int32]*folded, error) {
	out := map[int32]*folded{}
	for _, st := range steps {
		f := out[st.Slot]
		if f == nil {
			f = &folded{}
			out[st.Slot] = f
		}
		switch st.Kind {
		case opFlag, opUnflag:
			f.flagged = st.Kind == opFlag
			continue
		case opAnswer:
			var err error
			if f.answer, err = st.answer(); err != nil {
				return nil, err
			}
			f.answerSeq = st.Seq
		}
		f.steps = append(f.steps, st)
	}
	return out, nil
}
