package grades

import (
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/gradebook"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

func optional(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (t total) message() *gradespb.GradeTotal {
	return &gradespb.GradeTotal{
		Percent: t.Percent, Letter: t.Letter, Passed: t.Passed, Overridden: t.Overridden, Points: t.Points, MaxPoints: t.MaxPoints,
	}
}

func (t totals) message() *gradespb.Totals {
	return &gradespb.Totals{
		Current: t.Current.message(), Final: t.Final.message(), PostedCurrent: t.PostedCurrent.message(), PostedFinal: t.PostedFinal.message(),
	}
}

// cellMessage returns what somebody has in an item, for staff; c is nil where nothing
// was done yet. score is what it counts now.
func (b *book) cellMessage(account string, it *item, c *cell, score *gradebook.Score) *gradespb.Cell {
	c = c.shown().counting(b, it)
	out := &gradespb.Cell{ItemId: it.ItemID, AccountId: account, Etag: "0", Status: statusWord(c, score.Has), Counted: countedWord(score.State)}
	if score.Has {
		out.Points, out.Percent = rounded(score.Points), percentOf(score.Points, it.of)
	}
	if c == nil {
		out.Posted = c.visible(it)
		return out
	}
	out.LateSeconds, out.Late = c.late(), c.late() > 0
	out.SubmittedAt, out.Attempts, out.SourceId = optional(c.SubmittedAt), c.Attempts, c.SourceID
	if c.State == markMarked {
		out.RawPoints = rounded(c.raw(it))
	}
	out.OverridePoints, out.OverrideBy, out.OverrideReason = text(c.Override), c.OverrideBy, c.OverrideReason
	out.StatusOverride, out.StatusBy, out.StatusReason = c.Status, c.StatusBy, c.StatusReason
	out.Feedback, out.Posted, out.MarkedBy, out.MarkedAt = c.Feedback, c.visible(it), c.MarkedBy, optional(c.MarkedAt)
	out.Etag = strconv.FormatInt(c.Seq, 10)
	return out
}

// kept is the score of a cell as it was counted last.
func (c *cell) kept() *gradebook.Score {
	out := &gradebook.Score{State: keptStates[c.Counted]}
	if c.Score != nil {
		out.Points, out.Has = numberOf(c.Score), true
	}
	return out
}

// keptStates are states by their words.
var keptStates = map[string]gradebook.State{
	"counted": gradebook.Counted, "extra": gradebook.ExtraCounted, "dropped_lowest": gradebook.DroppedLowest,
	"dropped_highest": gradebook.DroppedHighest, "excused": gradebook.ExcusedOut, "uncounted": gradebook.Uncounted,
}

func (b *book) groupMessage(key, title string, current, final gradebook.Value) *gradespb.GroupGrade {
	out := &gradespb.GroupGrade{Key: key, Title: title, Overridden: current.Overridden}
	if current.Has {
		out.Current = b.Round(current.Percent).String()
	}
	if final.Has {
		out.Final = b.Round(final.Percent).String()
	}
	return out
}

// groups returns what categories and periods come to.
func (b *book) groups(t *gradebook.Totals) (categories, periods []*gradespb.GroupGrade) {
	for i, g := range b.Policy().Categories {
		categories = append(categories, b.groupMessage(g.Key, g.Title, t.Current.Categories[i], t.Final.Categories[i]))
	}
	for i, p := range b.Policy().Periods {
		periods = append(periods, b.groupMessage(p.Key, p.Title, t.Current.Periods[i], t.Final.Periods[i]))
	}
	return categories, periods
}

// derivationMessage tells how a total came about.
func derivationMessage(d *gradebook.Derivation) *gradespb.GradeDerivation {
	out := &gradespb.GradeDerivation{Calculation: int32(d.Version), Seen: d.Seen, Basis: d.Basis} //nolint:gosec // small
	for _, n := range d.Nodes {
		step := &gradespb.DerivationStep{
			Kind: n.Kind, Ref: n.Ref, Period: n.Period, Label: n.Label, Formula: n.Formula, Expression: n.Expression, Text: n.Text,
			Value: n.Value.String(), Rounded: n.Rounded, Empty: n.Empty,
		}
		for _, in := range n.Inputs {
			input := &gradespb.DerivationInput{Name: in.Name, Step: int32(in.Node), Value: in.Value.String(), Ref: in.Ref, Empty: in.Empty} //nolint:gosec // small
			if in.Of != nil {
				input.Of = in.Of.String()
			}
			step.Inputs = append(step.Inputs, input)
		}
		out.Steps = append(out.Steps, step)
	}
	return out
}

func (b *book) columnMessage(it *item) *gradespb.Column {
	out := &gradespb.Column{
		CourseId: b.CourseID, ItemId: it.ItemID, Title: it.Title, Kind: it.Kind, Category: it.Category, Period: it.Period, Weight: text(it.Weight),
		ExtraCredit: it.ExtraCredit, NeverDrop: it.NeverDrop, Excluded: it.Excluded, Formula: it.Formula, PassPercent: text(it.PassPercent),
		Posting: it.Posting, ByStaff: it.Source == ofStaff, Present: it.Present, Etag: strconv.FormatInt(it.Revision, 10),
	}
	if it.known {
		out.Points, out.PointsSource = it.of.String(), "assessment"
		if it.Points != nil {
			out.PointsSource = "staff"
		}
	}
	return out
}
