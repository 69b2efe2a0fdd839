package assessment

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// defaultFiles is how many files are handed in at most where the assignment does not
// say.
const defaultFiles = 10

// assignmentFields collects what is wrong with an assignment.
type assignmentFields []fault.Field

func (f *assignmentFields) add(path, hint string, args ...any) {
	if len(*f) < 20 {
		*f = append(*f, fault.Field{Path: "settings." + path, Code: "assignment.invalid", Hint: fmt.Sprintf(hint, args...)})
	}
}

func (f assignmentFields) err() error {
	if len(f) == 0 {
		return nil
	}
	return &fault.Error{Kind: fault.Invalid, Code: "assignment.invalid", Message: "The assignment has something that can't be.", Fields: f}
}

// checkedSettings returns settings in the form in which they are kept, or what of them
// can't be.
func checkedSettings(in *assessmentpb.AssignmentSettings) (*assessmentpb.AssignmentSettings, error) {
	s := &assessmentpb.AssignmentSettings{}
	if in != nil {
		s = proto.CloneOf(in)
	}
	var bad assignmentFields
	if s.GetPoints() == "" {
		s.Points = "100"
	}
	if n, err := exact.Parse(s.GetPoints()); err != nil || n.Sign() <= 0 || n.Cmp(exact.Int(1_000_000)) > 0 {
		bad.add("points", "Send a number greater than 0, at most 1000000.")
	} else {
		s.Points = n.String()
	}
	percent := func(path, text string) {
		if n, err := exact.Parse(text); text != "" && (err != nil || n.Cmp(exact.Int(100)) > 0) {
			bad.add(path, "Send a percentage from 0 to 100.")
		}
	}
	percent("pass_percent", s.GetPassPercent())
	if t := s.GetText(); t != nil {
		t.Format = orElse(t.GetFormat(), "markdown")
		if t.GetMaxWords() > 0 && t.GetMinWords() > t.GetMaxWords() {
			bad.add("text.min_words", "Send at most max_words, which is %d.", t.GetMaxWords())
		}
	}
	if f := s.GetFiles(); f != nil {
		if f.GetMaxCount() == 0 {
			f.MaxCount = max(defaultFiles, f.GetMinCount())
		}
		if f.GetMinCount() > f.GetMaxCount() {
			bad.add("files.min_count", "Send at most max_count, which is %d.", f.GetMaxCount())
		}
		slices.Sort(f.GetExtensions())
	}
	s.GradeKept, s.Late = orElse(s.GetGradeKept(), "last"), orElse(s.GetLate(), "until")
	if (s.GetLate() == "within") != (s.GetLateSeconds() > 0) {
		bad.add("late_seconds", `Send it where late is "within", and only there.`)
	}
	s.Statement = strings.TrimSpace(s.GetStatement())
	if p := s.GetPeerReview(); p != nil {
		p.WeightPercent = orElse(p.GetWeightPercent(), "0")
		percent("peer_review.weight_percent", p.GetWeightPercent())
		p.CompletionPercent, p.Combine = orElse(p.GetCompletionPercent(), "0"), orElse(p.GetCombine(), "median")
		percent("peer_review.completion_percent", p.GetCompletionPercent())
		if done := pointsIn(p.GetCompletionPercent()); done.Cmp(exact.Int(100)) == 0 || done.Sign() > 0 && done.Add(pointsIn(p.GetWeightPercent())).Cmp(exact.Int(100)) > 0 {
			bad.add("peer_review.completion_percent", "Send less than 100, and with weight_percent at most 100.")
		}
		if p.GetBeginSeconds() >= p.GetSeconds() {
			bad.add("peer_review.begin_seconds", "Send less than seconds, which is %d.", p.GetSeconds())
		}
	}
	if !s.GetDoubleMarking() {
		s.TwoMarkers = nil
	} else {
		if s.GetTwoMarkers() == nil {
			s.TwoMarkers = &assessmentpb.TwoMarkers{}
		}
		s.TwoMarkers.TolerancePercent, s.TwoMarkers.Agreed = orElse(s.GetTwoMarkers().GetTolerancePercent(), defaultTolerance), orElse(s.GetTwoMarkers().GetAgreed(), "mean")
		percent("two_markers.tolerance_percent", s.GetTwoMarkers().GetTolerancePercent())
	}
	if g := s.GetGroup(); g != nil {
		slices.Sort(g.GetGroupIds())
	}
	return s, bad.err()
}

// takes reports whether anything can be handed in.
func takesSomething(s *assessmentpb.AssignmentSettings) bool {
	return s.GetText() != nil || s.GetFiles() != nil || s.GetUrl() != nil
}

// checkGroups refuses groups that the course does not have.
func checkGroups(ctx context.Context, q pg.Querier, courseID string, settings *assessmentpb.AssignmentSettings) error {
	asked := settings.GetGroup().GetGroupIds()
	if len(asked) == 0 {
		return nil
	}
	var n int
	if err := q.QueryRow(ctx, `SELECT count(*) FROM course_group WHERE course_id = $1 AND group_id = ANY ($2) AND NOT deleted`, courseID, asked).Scan(&n); err != nil {
		return fmt.Errorf("groups of assignment: %w", err)
	}
	if n == len(asked) {
		return nil
	}
	var bad assignmentFields
	bad.add("group.group_ids", "Send groups that the course has.")
	return bad.err()
}
