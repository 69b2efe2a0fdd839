package assessment

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

const (
	// maxRubric bounds a rubric in bytes.
	maxRubric = 256 << 10
	// maxRubricPoints bounds what a level or a criterion gives.
	maxRubricPoints = 10_000

	kindGuide = "guide"
)

// rubricFields collects what is wrong with a rubric, or with marks by one.
type rubricFields []fault.Field

func (f *rubricFields) add(path, code, hint string) {
	if len(*f) < 20 {
		*f = append(*f, fault.Field{Path: path, Code: code, Hint: hint})
	}
}

func (f rubricFields) err(code, message string) error {
	if len(f) == 0 {
		return nil
	}
	return &fault.Error{Kind: fault.Invalid, Code: code, Message: message, Fields: f}
}

// checkRubric looks at what a rubric says, and returns it as it is kept.
func checkRubric(c *assessmentpb.RubricContent) ([]byte, error) {
	if proto.Size(c) > maxRubric {
		return nil, fault.New(fault.TooLarge, "rubric.too_large", "A rubric has at most %d KiB.", maxRubric>>10)
	}
	var bad rubricFields
	seen := map[string]bool{}
	most := exact.Number{}
	for i, one := range c.GetCriteria() {
		path := fmt.Sprintf("content.criteria[%d]", i)
		if seen[one.GetKey()] {
			bad.add(path+".key", "rubric.key_twice", "Each criterion has a key of its own.")
		}
		seen[one.GetKey()] = true
		if c.GetKind() == kindGuide {
			checkGuided(&bad, path, one)
		} else {
			checkLevels(&bad, path, one)
		}
		most = most.Add(mostOf(c.GetKind(), one))
	}
	if c.GetKind() != kindGuide && len(c.GetComments()) > 0 {
		bad.add("content.comments", "rubric.not_of_kind", "Only a guide has comments to choose from.")
	}
	if len(bad) == 0 && most.Sign() == 0 {
		bad.add("content.criteria", "rubric.worthless", "At least one criterion gives points.")
	}
	if err := bad.err("rubric.invalid", "The rubric has something that can't be."); err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(c)
}

func checkGuided(bad *rubricFields, path string, one *assessmentpb.RubricCriterion) {
	if len(one.GetLevels()) > 0 {
		bad.add(path+".levels", "rubric.not_of_kind", "Only criteria of a rubric have levels.")
	}
	if n, err := exact.Parse(one.GetMaxPoints()); err != nil || n.Sign() <= 0 || n.Cmp(exact.Int(maxRubricPoints)) > 0 {
		bad.add(path+".max_points", "number.range", "It is above 0 and at most 10,000.")
	}
}

func checkLevels(bad *rubricFields, path string, one *assessmentpb.RubricCriterion) {
	if len(one.GetLevels()) < 2 {
		bad.add(path+".levels", "rubric.levels_missing", "A criterion of a rubric has at least two levels.")
	}
	if one.GetMaxPoints() != "" || one.GetMarkerNotes() != "" {
		bad.add(path+".max_points", "rubric.not_of_kind", "Only criteria of a guide have max_points and marker_notes.")
	}
	seen := map[string]bool{}
	for j, l := range one.GetLevels() {
		at := fmt.Sprintf("%s.levels[%d]", path, j)
		if seen[l.GetKey()] {
			bad.add(at+".key", "rubric.key_twice", "Each level of a criterion has a key of its own.")
		}
		seen[l.GetKey()] = true
		if n, err := exact.Parse(l.GetPoints()); err != nil || n.Cmp(exact.Int(maxRubricPoints)) > 0 {
			bad.add(at+".points", "number.range", "It is from 0 to 10,000.")
		}
	}
}

// pointsIn reads points that were checked; what is empty is 0.
func pointsIn(text string) exact.Number {
	n, err := exact.Parse(text)
	if err != nil {
		return exact.Number{}
	}
	return n
}

// mostOf returns the most that a criterion gives.
func mostOf(kind string, one *assessmentpb.RubricCriterion) exact.Number {
	if kind == kindGuide {
		return pointsIn(one.GetMaxPoints())
	}
	most := exact.Number{}
	for _, l := range one.GetLevels() {
		most = exact.Max(most, pointsIn(l.GetPoints()))
	}
	return most
}

func levelOf(one *assessmentpb.RubricCriterion, key string) *assessmentpb.RubricLevel {
	for _, l := range one.GetLevels() {
		if l.GetKey() == key {
			return l
		}
	}
	return nil
}

// rubricPoints returns what marks by a rubric give, and of how many points: got is the
// sum of the points of the levels that were chosen, or that were given by a guide; of is
// the sum of the most that each criterion gives, which is above 0. What the question
// gives is got / of of its points. It is pure and rounds nothing. Each criterion has to
// be marked once, by a level that it has or by points that it can give; the error is a
// *[fault.Error] otherwise.
func rubricPoints(c *assessmentpb.RubricContent, marks *assessmentpb.RubricMarks) (got, of exact.Number, err error) {
	var bad rubricFields
	given := map[string]int{}
	for i, m := range marks.GetCriteria() {
		if _, twice := given[m.GetKey()]; twice {
			bad.add(fmt.Sprintf("rubric.criteria[%d].key", i), "rubric.marked_twice", "Each criterion is marked once.")
		}
		given[m.GetKey()] = i
	}
	for _, one := range c.GetCriteria() {
		i, ok := given[one.GetKey()]
		if !ok {
			bad.add("rubric.criteria", "rubric.unmarked", fmt.Sprintf("The criterion %q is not marked.", one.GetKey()))
			continue
		}
		delete(given, one.GetKey())
		most := mostOf(c.GetKind(), one)
		of = of.Add(most)
		n, hint := criterionPoints(c.GetKind(), one, marks.GetCriteria()[i], most)
		if hint != "" {
			bad.add(fmt.Sprintf("rubric.criteria[%d]", i), "rubric.mark_range", hint)
		}
		got = got.Add(n)
	}
	for key, i := range given {
		bad.add(fmt.Sprintf("rubric.criteria[%d].key", i), "rubric.no_criterion", fmt.Sprintf("The rubric has no criterion %q.", key))
	}
	return got, of, bad.err("rubric.marks_invalid", "The rubric can't be marked like this.")
}

// criterionPoints returns what a mark gives for a criterion, and what is wrong with it.
func criterionPoints(kind string, one *assessmentpb.RubricCriterion, m *assessmentpb.CriterionMark, most exact.Number) (exact.Number, string) {
	if kind == kindGuide {
		n, err := exact.Parse(m.GetPoints())
		if err != nil || n.Cmp(most) > 0 || m.GetLevel() != "" {
			return exact.Number{}, fmt.Sprintf("Send points from 0 to %s, and no level.", most)
		}
		return n, ""
	}
	l := levelOf(one, m.GetLevel())
	if l == nil || m.GetPoints() != "" {
		return exact.Number{}, "Send the key of one of its levels, and no points."
	}
	return pointsIn(l.GetPoints()), ""
}

// rubricResult tells what marks by a version say, to who may see it; points only where
// marks may be told. Notes for markers are not in it.
func rubricResult(v *assessmentpb.RubricVersion, marks *assessmentpb.RubricMarks, tellMarks bool) *assessmentpb.RubricResult {
	c := v.GetContent()
	chosen := map[string]*assessmentpb.CriterionMark{}
	for _, m := range marks.GetCriteria() {
		chosen[m.GetKey()] = m
	}
	out := &assessmentpb.RubricResult{RubricId: v.GetRubricId(), Version: v.GetVersion(), Title: v.GetTitle(), Kind: c.GetKind()}
	got, of := exact.Number{}, exact.Number{}
	for _, one := range c.GetCriteria() {
		m, most := chosen[one.GetKey()], mostOf(c.GetKind(), one)
		r := &assessmentpb.CriterionResult{Key: one.GetKey(), Title: one.GetTitle(), Description: one.GetDescription(), Comment: m.GetComment()}
		if l := levelOf(one, m.GetLevel()); l != nil {
			r.Level, r.LevelTitle, r.LevelDescription = l.GetKey(), l.GetTitle(), l.GetDescription()
		}
		n := givenIn(one, m)
		got, of = got.Add(n), of.Add(most)
		if tellMarks {
			r.Points, r.MaxPoints = n.String(), most.String()
		}
		out.Criteria = append(out.Criteria, r)
	}
	if tellMarks {
		out.Points, out.MaxPoints = got.String(), of.String()
	}
	return out
}

// givenIn returns what a mark that is kept gives for a criterion: its points, or those of
// its level.
func givenIn(one *assessmentpb.RubricCriterion, m *assessmentpb.CriterionMark) exact.Number {
	if m.GetPoints() != "" {
		return pointsIn(m.GetPoints())
	}
	return pointsIn(levelOf(one, m.GetLevel()).GetPoints())
}

// meanMarks returns what two chose in a version of a rubric on average: each criterion has
// the points between theirs, the level where both chose it, and what both said.
func meanMarks(v *assessmentpb.RubricVersion, a, b *assessmentpb.RubricMarks) *assessmentpb.RubricMarks {
	out := &assessmentpb.RubricMarks{RubricId: v.GetRubricId(), Version: v.GetVersion()}
	of := func(marks *assessmentpb.RubricMarks, key string) *assessmentpb.CriterionMark {
		for _, m := range marks.GetCriteria() {
			if m.GetKey() == key {
				return m
			}
		}
		return nil
	}
	for _, one := range v.GetContent().GetCriteria() {
		left, right := of(a, one.GetKey()), of(b, one.GetKey())
		m := &assessmentpb.CriterionMark{Key: one.GetKey(), Comment: bothSaid(left.GetComment(), right.GetComment())}
		m.Points = givenIn(one, left).Add(givenIn(one, right)).Div(exact.Int(2)).String()
		if left.GetLevel() == right.GetLevel() {
			m.Level = left.GetLevel()
		}
		out.Criteria = append(out.Criteria, m)
	}
	return out
}

// bothSaid joins what two said.
func bothSaid(a, b string) string {
	switch {
	case a == "" || a == b:
		return b
	case b == "":
		return a
	default:
		return a + "\n\n" + b
	}
}
