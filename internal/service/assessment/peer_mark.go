package assessment

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// peersWeigh reports whether reviews by students are a part of the mark.
func peersWeigh(settings *assessmentpb.AssignmentSettings) bool {
	return pointsIn(settings.GetPeerReview().GetWeightPercent()).Sign() > 0
}

// staffWeight is which part of the mark the staff gives, in percent.
func staffWeight(settings *assessmentpb.AssignmentSettings) exact.Number {
	p := settings.GetPeerReview()
	return exact.Int(100).Sub(pointsIn(p.GetWeightPercent())).Sub(pointsIn(p.GetCompletionPercent()))
}

// reviewing is what somebody did of the reviews that were theirs.
type reviewing struct {
	done, due int64
}

// fraction returns the part that is done, of which nobody has to do more than others; all
// of it where there was nothing to do.
func (r reviewing) fraction() exact.Number {
	if r.due == 0 {
		return exact.Int(1)
	}
	return exact.Ratio(min(r.done, r.due), r.due)
}

// share returns which share of the points somebody has whose work has a share of them:
// some of them may be for reviewing. It is pure and rounds nothing.
func (r reviewing) share(settings *assessmentpb.AssignmentSettings, ofWork exact.Number) exact.Number {
	percent := pointsIn(settings.GetPeerReview().GetCompletionPercent())
	if percent.Sign() == 0 {
		return ofWork
	}
	all := exact.Int(100)
	return ofWork.Mul(all.Sub(percent)).Add(r.fraction().Mul(percent)).Div(all)
}

// reviewedBy returns what some people did of their reviews at an item, where that is a
// part of their marks. While reviewing is not over nothing of theirs counts as marked.
func reviewedBy(ctx context.Context, q pg.Querier, itemID string, v *assignmentVersion, accounts []string, marks map[string][]*handedMark) (map[string]reviewing, error) {
	if pointsIn(v.Settings.GetPeerReview().GetCompletionPercent()).Sign() == 0 {
		return nil, nil
	}
	r, err := readRound(ctx, q, itemID, v.AssignmentID, "")
	if err != nil {
		return nil, err
	}
	if r == nil || r.ClosedAt == nil {
		for _, list := range marks {
			for _, one := range list {
				one.graded = false
			}
		}
		return nil, nil
	}
	return reviewingOf(ctx, q, r, accounts)
}

// reviewingOf returns what some people did of the reviews of a round: those that went to
// others as they had nothing to review any more are not theirs, nor are those that staff
// have taken, by their names, from who has begun others.
func reviewingOf(ctx context.Context, q pg.Querier, r *round, accounts []string) (map[string]reviewing, error) {
	rows, err := q.Query(ctx, `
		SELECT reviewer_id, count(*) FILTER (WHERE state = 'done' AND NOT excluded), count(*) FILTER (WHERE state <> 'freed' AND NOT (state = 'lost' AND taken))
		FROM peer_review WHERE item_id = $1 AND assignment_id = $2 AND reviewer_id = ANY ($3) GROUP BY reviewer_id`, r.ItemID, r.AssignmentID, accounts)
	if err != nil {
		return nil, fmt.Errorf("count reviews: %w", err)
	}
	out := map[string]reviewing{}
	var account string
	var one reviewing
	if _, err := pgx.ForEachRow(rows, []any{&account, &one.done, &one.due}, func() error {
		one.due = min(one.due, int64(r.Reviews))
		out[account] = one
		return nil
	}); err != nil {
		return nil, fmt.Errorf("count reviews: %w", err)
	}
	return out, nil
}

// peerResult is what reviews of a version come to.
type peerResult struct {
	expected   int32 // reviews that are done or may come
	counted    int32 // done, and not excluded
	points     *exact.Number
	overridden bool
	reason     string
}

// combined returns what points come to: their median or their mean; nil for none. It is
// pure and rounds nothing.
func combined(how string, list []exact.Number) *exact.Number {
	n := len(list)
	if n == 0 {
		return nil
	}
	if how == "mean" {
		out := exact.Sum(list...).Div(exact.Int(int64(n)))
		return &out
	}
	sorted := slices.SortedFunc(slices.Values(list), exact.Number.Cmp)
	out := sorted[n/2]
	if n%2 == 0 {
		out = out.Add(sorted[n/2-1]).Div(exact.Int(2))
	}
	return &out
}

// peersOf returns what the reviews of a submission come to, of the points of a version:
// those of versions that were taken back do not count.
func (s *Service) peersOf(ctx context.Context, q pg.Querier, as *assignmentVersion, v handed) (*peerResult, error) {
	rows, err := q.Query(ctx, `
		SELECT r.points, v.max_points::text FROM peer_review r LEFT JOIN submission_version v ON v.submission_id = r.submission_id AND v.number = r.number
		WHERE r.submission_id = $1 AND r.state NOT IN ('lost', 'freed') AND NOT r.excluded AND v.withdrawn_at IS NULL`, v.SubmissionID)
	if err != nil {
		return nil, fmt.Errorf("read reviews: %w", err)
	}
	most, err := exact.Parse(v.MaxPoints)
	if err != nil {
		return nil, err
	}
	out := &peerResult{}
	var list []exact.Number
	var points, of *string
	if _, err := pgx.ForEachRow(rows, []any{&points, &of}, func() error {
		out.expected++
		if points == nil || of == nil {
			return nil
		}
		n, err := exact.Parse(*points)
		if err != nil {
			return err
		}
		m, err := exact.Parse(*of)
		if err != nil {
			return err
		}
		out.counted++
		list = append(list, n.Mul(most).Div(m))
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read reviews: %w", err)
	}
	out.points = combined(as.Settings.GetPeerReview().GetCombine(), list)
	return out, out.override(ctx, q, v.SubmissionID)
}

// override puts what the staff has set in place of what reviews come to.
func (r *peerResult) override(ctx context.Context, q pg.Querier, submissionID string) error {
	var set *string
	var reason string
	err := q.QueryRow(ctx, `SELECT points, reason FROM peer_override WHERE submission_id = $1 ORDER BY seq DESC LIMIT 1`, submissionID).Scan(&set, &reason)
	if pg.NoRows(err) || err == nil && set == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read override: %w", err)
	}
	n, err := exact.Parse(*set)
	r.points, r.overridden, r.reason = &n, true, reason
	return err
}

// combine makes the mark of a locked version of what the staff gives and what reviews
// come to, weighted, once reviewing is over and both are there. Where no review counts
// the staff's part is all of it. Where the staff has said nothing, nothing is done that
// makes no difference.
func (s *Service) combine(ctx context.Context, tx *pg.Tx, w *work, v handed, as *assignmentVersion, g *given, said bool) error {
	r, err := readRound(ctx, tx, w.ItemID, w.AssignmentID, "")
	if err != nil || r == nil || r.ClosedAt == nil {
		return err
	}
	m, err := g.part[partSettled].mark()
	if err != nil {
		return err
	}
	peers, err := s.peersOf(ctx, tx, as, v)
	if err != nil {
		return err
	}
	switch {
	case peersWeigh(as.Settings):
		m.points, m.source = weighted(as.Settings, m.points, peers.points), "peer_review"
	case g.part[partSettled] == nil: // what there is was not made here
		return nil
	}
	if v.MarkRevision == 0 && m.points == nil && m.comment == "" && len(m.comments) == 0 {
		return nil
	}
	if same, err := samePoints(v, m); err != nil || same && !said {
		return err
	}
	return s.applyMark(ctx, tx, w, v.Number, m)
}

// weighted returns the points of a version, nil where they can't be said yet: the
// weighted mean of what the staff gives and what reviews come to. It is pure and rounds
// nothing.
func weighted(settings *assessmentpb.AssignmentSettings, staff, peers *exact.Number) *exact.Number {
	own, theirs := staffWeight(settings), pointsIn(settings.GetPeerReview().GetWeightPercent())
	switch {
	case own.Sign() == 0:
		return peers
	case staff == nil || peers == nil:
		return staff
	}
	out := own.Mul(*staff).Add(theirs.Mul(*peers)).Div(own.Add(theirs))
	return &out
}

// samePoints reports whether a version has a mark of these points already.
func samePoints(v handed, m givenMark) (bool, error) {
	if v.MarkRevision == 0 || (v.Points == nil) != (m.points == nil) {
		return false, nil
	}
	if m.points == nil {
		return true, nil
	}
	n, err := exact.Parse(*v.Points)
	return n.Equal(m.points.Round(6, exact.HalfEven)), err
}

// peerMark tells how the reviews of a version stand.
func (s *Service) peerMark(ctx context.Context, as *assignmentVersion, v handed, g *given) (*assessmentpb.PeerMark, error) {
	r, err := s.peersOf(ctx, s.db, as, v)
	if err != nil {
		return nil, err
	}
	out := &assessmentpb.PeerMark{Expected: r.expected, Counted: r.counted, Overridden: r.overridden, Reason: r.reason}
	if r.points != nil {
		out.Points = r.points.String()
	}
	if last := g.part[partSettled]; last != nil && peersWeigh(as.Settings) {
		out.StaffPoints = orNothing(last.Points)
	}
	return out, nil
}
