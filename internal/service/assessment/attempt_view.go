package assessment

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// summary returns an attempt without its questions. Points are told where review, or
// staff asking, allow it.
func (s *Service) summary(a *attempt, marks bool) *assessmentpb.Attempt {
	now := s.time()
	out := &assessmentpb.Attempt{
		Id: a.ID, CourseId: a.CourseID, ItemId: a.ItemID, QuizId: a.QuizID, QuizVersion: max(a.QuizVersion, 0), AccountId: a.AccountID, Number: a.Number,
		Preview: a.Preview, State: a.State, StartedAt: stamp(a.StartedAt), ExpiresAt: stamp(a.ExpiresAt), GraceUntil: stamp(a.GraceUntil), ClosesAt: stamp(a.ClosesAt),
		ServerTime: timestamppb.New(now), ExtraSeconds: int32(a.ExtraTime / time.Second), PausedAt: stamp(a.PausedAt), Breaks: a.Breaks, //nolint:gosec // G115: within years
		Page: a.Page, LastSeq: a.LastSeq, SavedAt: stamp(a.SavedAt), SubmittedAt: stamp(a.SubmittedAt), SubmittedBy: a.by(), Scored: a.ScoredAt != nil,
		MaxPoints: decimal(a.MaxPoints), Revision: a.Revision,
	}
	if marks && a.Points != nil {
		out.Points = decimal(*a.Points)
	}
	switch {
	case !a.running():
	case a.PausedAt != nil && a.LeftAtPause != nil:
		out.RemainingMs = new(a.LeftAtPause.Milliseconds())
	case a.ExpiresAt != nil:
		out.RemainingMs = new(max(a.ExpiresAt.Sub(now), 0).Milliseconds())
	}
	return out
}

// decimal writes a number of the database as people do.
func decimal(text string) string {
	if !strings.Contains(text, ".") {
		return text
	}
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// described adds what the layout says.
func described(out *assessmentpb.Attempt, l *layout) {
	out.Navigation, out.Pages = "free", l.pages
	if l.sequential() {
		out.Navigation = "sequential"
	}
	for _, sec := range l.version.Settings.GetSections() {
		out.Sections = append(out.Sections, &assessmentpb.AttemptSection{Title: sec.GetTitle(), Instructions: sec.GetInstructions()})
	}
}

// view returns an attempt as its owner sees it now.
func (s *Service) view(ctx context.Context, q pg.Querier, a *attempt, page int32) (*assessmentpb.Attempt, error) {
	l, err := s.layoutOf(ctx, q, a)
	if err != nil {
		return nil, err
	}
	over := !a.running()
	// While it runs a review shows only of what is checked.
	shown := reviewShown{ReviewParts: &assessmentpb.ReviewParts{}}
	if over || slices.ContainsFunc(l.slots, func(sl slotLayout) bool { return sl.steps() }) {
		if shown, err = s.reviewOf(ctx, q, a); err != nil {
			return nil, err
		}
	}
	out := s.summary(a, over && shown.GetMarks())
	if err := veil(ctx, q, []*attempt{a}, map[string]reviewShown{a.ID: shown}, []*assessmentpb.Attempt{out}); err != nil {
		return nil, err
	}
	described(out, l)
	for _, c := range a.Clients {
		out.Clients = append(out.Clients, c.message())
	}
	if out.Notices, err = readNotices(ctx, q, a); err != nil {
		return nil, err
	}
	out.Reviewable = over && shown.GetAttempt()
	if a.PausedAt != nil || over && !shown.GetAttempt() {
		return out, nil
	}
	if over {
		return out, s.viewOver(ctx, q, a, l, shown, page, out)
	}
	return out, s.viewRunning(ctx, q, a, l, shown, page, out)
}

// viewRunning adds the questions that are open.
func (s *Service) viewRunning(ctx context.Context, q pg.Querier, a *attempt, l *layout, shown reviewShown, page int32, out *assessmentpb.Attempt) error {
	done := map[int32]*folded{}
	if a.LastSeq > 0 {
		all, err := readSteps(ctx, q, []string{a.ID})
		if err != nil {
			return err
		}
		if done, err = fold(all[a.ID]); err != nil {
			return err
		}
	}
	for i := range l.slots {
		sl := &l.slots[i]
		if l.sequential() && sl.Page != a.Page || page > 0 && sl.Page != page-1 {
			continue
		}
		in, err := s.instance(ctx, q, sl.shown(), a.Engine, sl.seed())
		if err != nil {
			return err
		}
		v := sl.view(in, done[sl.Slot])
		v.Open = !a.closed(s.time())
		if sl.steps() {
			rules, err := sl.rules()
			if err != nil {
				return err
			}
			steps, err := done[sl.Slot].engineSteps()
			if err != nil {
				return err
			}
			state, err := in.Fold(rules, steps)
			if err != nil {
				return err
			}
			v.Outcome = tellable(in, rules, state, shown.ReviewParts)
			v.Open = v.Open && !state.Ended()
		}
		out.Questions = append(out.Questions, v)
	}
	return nil
}

// viewOver adds all questions of an attempt that is over, with what may be told.
func (s *Service) viewOver(ctx context.Context, q pg.Querier, a *attempt, l *layout, shown reviewShown, page int32, out *assessmentpb.Attempt) error {
	results, err := s.rebuild(ctx, q, []*attempt{a})
	if err != nil {
		return err
	}
	var rubrics map[int32]*assessmentpb.RubricResult
	if shown.GetFeedback() {
		if rubrics, err = rubricResults(ctx, q, a.ID, shown.GetMarks()); err != nil {
			return err
		}
	}
	rekeys, err := rekeysOf(ctx, q, a, shown.GetMarks())
	if err != nil {
		return err
	}
	for _, r := range results[a.ID].questions {
		sl := l.slot(r.slot)
		if page > 0 && sl.Page != page-1 {
			continue
		}
		in, err := s.instance(ctx, q, sl.shown(), a.Engine, sl.seed())
		if err != nil {
			return err
		}
		v := sl.view(in, r.done)
		v.MaxPoints, v.Rekeys = r.rules.MaxPoints.String(), rekeys[r.slot]
		state := r.state
		if !shown.posted {
			if state, err = r.unmarked(); err != nil {
				return err
			}
		}
		v.Outcome, v.Rubric = tellable(r.in, r.rules, state, shown.ReviewParts), rubrics[r.slot]
		out.Questions = append(out.Questions, v)
	}
	return nil
}

// view returns a question as it is shown, with what was done at it.
func (sl *slotLayout) view(in *question.Instance, done *folded) *assessmentpb.AttemptQuestion {
	v := &assessmentpb.AttemptQuestion{
		Slot: sl.Slot, Section: sl.Section, Page: sl.Page, Behaviour: sl.Behaviour, MaxPoints: decimal(sl.MaxPoints), View: in.View(),
	}
	if done != nil {
		v.Flagged, v.AnswerSeq = done.flagged, done.answerSeq
		if done.answer.GetCleared() == nil {
			v.Answer = done.answer
		}
	}
	return v
}

// maxNotices is how many notices are told at once.
const maxNotices = 50

// readNotices returns the last notices of an attempt.
func readNotices(ctx context.Context, q pg.Querier, a *attempt) ([]*assessmentpb.AttemptNotice, error) {
	if a.Notices == 0 {
		return nil, nil
	}
	all, err := noticesBehind(ctx, q, []string{a.ID}, []int32{max(a.Notices-maxNotices, 0)})
	return all[a.ID], err
}

// noticesBehind returns the notices of attempts behind the number that is given for
// each, the last 50.
func noticesBehind(ctx context.Context, q pg.Querier, attempts []string, behind []int32) (map[string][]*assessmentpb.AttemptNotice, error) {
	rows, err := q.Query(ctx, `
		SELECT n.attempt_id, n.number, n.kind, n.body, n.created_at
		FROM unnest($1::text[], $2::int[]) AS k (id, behind) JOIN attempt a ON a.id = k.id
			JOIN attempt_notice n ON n.attempt_id = k.id AND n.number > GREATEST(k.behind, a.notices - $3)
		ORDER BY n.attempt_id, n.number`, attempts, behind, maxNotices)
	if err != nil {
		return nil, fmt.Errorf("read notices: %w", err)
	}
	out := map[string][]*assessmentpb.AttemptNotice{}
	var id, kind, body string
	var number int32
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &number, &kind, &body, &at}, func() error {
		out[id] = append(out[id], &assessmentpb.AttemptNotice{Number: number, Kind: kind, Text: body, At: timestamppb.New(at)})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read notices: %w", err)
	}
	return out, nil
}
