package assessment

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// slotState is a question that is checked while the attempt runs, as the log has made
// it so far.
type slotState struct {
	in    *question.Instance
	rules question.Rules
	state question.State
}

// take applies an operation, and reports whether it has a place.
func (st *slotState) take(o *sent) bool {
	next := st.in.Apply(st.rules, st.state, question.Step{Kind: o.kind, Answer: o.op.GetAnswer()})
	if next.Ignored > st.state.Ignored {
		return false
	}
	st.state = next
	return true
}

// rules says how a question of an attempt is asked.
func (sl *slotLayout) rules() (question.Rules, error) {
	points, err := exact.Parse(sl.MaxPoints)
	if err != nil {
		return question.Rules{}, fmt.Errorf("points of question %d: %w", sl.Slot, err)
	}
	return question.Rules{Behaviour: sl.Behaviour, MaxPoints: points}, nil
}

// steps returns what was done at a question as the engine has it.
func (f *folded) engineSteps() ([]question.Step, error) {
	if f == nil {
		return nil, nil
	}
	out := make([]question.Step, 0, len(f.steps)+1)
	for _, st := range f.steps {
		one := question.Step{Kind: st.Kind}
		if st.Kind == opAnswer {
			var err error
			if one.Answer, err = st.answer(); err != nil {
				return nil, err
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// readStates reads the questions that are checked and that operations are for.
func (b *batch) readStates(order []*sent) error {
	wanted := false
	for _, o := range order {
		if sl := b.layout.slot(o.slot); sl != nil && sl.steps() {
			wanted = true
		}
	}
	if !wanted {
		return nil
	}
	all, err := readSteps(b.ctx, b.tx, []string{b.attempt.ID})
	if err != nil {
		return err
	}
	done, err := fold(all[b.attempt.ID])
	if err != nil {
		return err
	}
	b.states = map[int32]*slotState{}
	for _, o := range order {
		sl := b.layout.slot(o.slot)
		if sl == nil || !sl.steps() || b.states[o.slot] != nil {
			continue
		}
		st := &slotState{}
		if st.in, err = b.service.instance(b.ctx, b.tx, sl.shown(), b.attempt.Engine, sl.seed()); err != nil {
			return err
		}
		if st.rules, err = sl.rules(); err != nil {
			return err
		}
		steps, err := done[o.slot].engineSteps()
		if err != nil {
			return err
		}
		if st.state, err = st.in.Fold(st.rules, steps); err != nil {
			return err
		}
		b.states[o.slot] = st
	}
	return nil
}

// outcome tells with a verdict what is told of the question now.
func (b *batch) outcome(o *sent, v *assessmentpb.OperationVerdict) error {
	st := b.states[o.slot]
	if st == nil || o.kind != opCheck && o.kind != opHint && o.kind != opGiveUp || !counting(v.GetVerdict()) {
		return nil
	}
	if b.review == nil {
		shown, err := b.service.reviewOf(b.ctx, b.tx, b.attempt)
		if err != nil {
			return err
		}
		b.review = shown.ReviewParts
	}
	v.Outcome = tellable(st.in, st.rules, st.state, b.review)
	return nil
}

// maskOf is what a row of the review matrix allows the engine to tell.
func maskOf(r *assessmentpb.ReviewParts) *questionpb.OutcomeMask {
	return &questionpb.OutcomeMask{Marks: r.GetMarks(), Correctness: r.GetCorrectness(), Feedback: r.GetFeedback(), RightAnswer: r.GetAnswer()}
}

// tellable returns what may be told of a question: what its behaviour and the review
// matrix both allow. Feedback to what was answered and to the question in general are
// one to the engine, and two in the matrix.
func tellable(in *question.Instance, rules question.Rules, state question.State, review *assessmentpb.ReviewParts) *questionpb.Outcome {
	out, behaviour := in.Outcome(rules, state), rules.Tell(state)
	mask := question.Both(behaviour, maskOf(review))
	if !review.GetGeneralFeedback() {
		out.GeneralFeedback = ""
	} else if !review.GetFeedback() {
		mask.Feedback = behaviour.GetFeedback()
		out.Feedback, out.Hints = nil, nil
		for _, p := range out.GetParts() {
			p.Feedback = ""
		}
		if !mask.GetMarks() && !mask.GetCorrectness() && !mask.GetRightAnswer() {
			out.Parts = nil
		}
	}
	return question.Mask(out, mask)
}

// otherAnswer is the answer to a question that counted before.
type otherAnswer struct {
	Slot       int32
	ClientID   string
	ClientSeq  int64
	ReceivedAt time.Time
	ClientTime *time.Time
}

// replaced tells which answers of other clients were taken the place of.
func (b *batch) replaced() error {
	if len(b.attempt.Clients) == 0 || len(b.attempt.Clients) == 1 && b.attempt.Clients[0].ID == b.client.ID {
		return nil
	}
	first := map[int32]*logged{}
	var slots []int32
	for _, o := range b.log {
		if o.kind == opAnswer && counting(o.verdict) && first[o.slot] == nil {
			first[o.slot] = o
			slots = append(slots, o.slot)
		}
	}
	if len(slots) == 0 {
		return nil
	}
	rows, err := b.tx.Query(b.ctx, `
		SELECT DISTINCT ON (slot) slot, client_id, client_seq, received_at, client_time FROM answer_operation o
		WHERE attempt_id = $1 AND slot = ANY ($2) AND kind = 'answer' AND `+countingSQL+` ORDER BY slot, seq DESC`, b.attempt.ID, slots)
	if err != nil {
		return fmt.Errorf("read answers of other clients: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[otherAnswer])
	if err != nil {
		return fmt.Errorf("read answers of other clients: %w", err)
	}
	for _, r := range list {
		if r.ClientID == b.client.ID {
			continue
		}
		other, _ := b.attempt.client(r.ClientID)
		o := first[r.Slot]
		newer := false
		if r.ClientTime != nil && o.at != nil {
			newer = r.ClientTime.UnixMilli()-other.Offset > o.at.UnixMilli()-b.client.Offset
		}
		b.told[o.place].Replaced = &assessmentpb.ReplacedAnswer{
			ClientId: r.ClientID, ClientSeq: r.ClientSeq, ReceivedAt: timestamppb.New(r.ReceivedAt), Newer: newer,
		}
	}
	return nil
}
