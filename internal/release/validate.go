package release

import (
	"fmt"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
)

const (
	maxParts  = 50
	maxReason = 300
	maxDays   = 3650
	maxItemID = 100
)

// Roles are those that a condition may name.
var Roles = []string{"student", "observer", "teaching_assistant", "grader", "co_teacher", "owner"}

// Kinds of requirements that complete an item of a kind.
var requirements = map[string][]string{
	"module":     nil,
	"lesson":     {"viewed", "watched", "manual"},
	"quiz":       {"viewed", "submitted", "scored", "passed", "manual"},
	"assignment": {"viewed", "submitted", "scored", "passed", "manual"},
}

// checker collects what is wrong.
type checker struct {
	faults []fault.Field
	nodes  int
}

// maxFaults bounds what is told of one rule.
const maxFaults = 50

func (c *checker) add(path, code, format string, args ...any) {
	if len(c.faults) < maxFaults {
		c.faults = append(c.faults, fault.Field{Path: path, Code: code, Hint: fmt.Sprintf(format, args...)})
	}
}

// Validate returns what is wrong with a rule by itself; nil for nothing, and for
// no rule. Paths begin below the rule. What it names is not looked for: see
// [CheckCourse].
func Validate(r *releasepb.Rule) []fault.Field {
	if r == nil {
		return nil
	}
	c := &checker{}
	c.rule(r, "", 1)
	if c.nodes > MaxNodes {
		c.add("", "rule.too_large", "A rule has at most %d nodes.", MaxNodes)
	}
	return c.faults
}

func (c *checker) rule(r *releasepb.Rule, path string, depth int) {
	if c.nodes++; c.nodes > MaxNodes {
		return
	}
	if depth > MaxDepth {
		c.add(path, "rule.too_deep", "A rule is at most %d nodes deep.", MaxDepth)
		c.nodes = MaxNodes + 1
		return
	}
	if !slices.Contains([]string{"", "lock", "hide"}, r.GetWhenClosed()) {
		c.add(join(path, "when_closed"), "string.in", `Send "lock" or "hide".`)
	}
	if utf8.RuneCountInString(r.GetReason()) > maxReason {
		c.add(join(path, "reason"), "string.max_len", "A reason has at most %d characters.", maxReason)
	}
	switch cond := r.GetCondition().(type) {
	case *releasepb.Rule_All:
		c.parts(cond.All.GetRules(), join(path, "all.rules"), depth)
	case *releasepb.Rule_Any:
		c.parts(cond.Any.GetRules(), join(path, "any.rules"), depth)
	case *releasepb.Rule_Not:
		c.rule(cond.Not, join(path, "not"), depth+1)
	case *releasepb.Rule_Date:
		c.date(cond.Date, join(path, "date"))
	case *releasepb.Rule_Enrolled:
		if d := cond.Enrolled.GetDays(); d < 0 || d > maxDays {
			c.add(join(path, "enrolled.days"), "int32.range", "Send 0 to %d days.", maxDays)
		}
	case *releasepb.Rule_Completed:
		c.item(cond.Completed.GetItemId(), join(path, "completed.item_id"))
	case *releasepb.Rule_Score:
		c.item(cond.Score.GetItemId(), join(path, "score.item_id"))
		c.score(cond.Score, join(path, "score"))
	case *releasepb.Rule_Cohort:
		c.ids(cond.Cohort.GetCohortIds(), "cohort", join(path, "cohort.cohort_ids"))
	case *releasepb.Rule_Group:
		c.ids(cond.Group.GetGroupIds(), "group", join(path, "group.group_ids"))
	case *releasepb.Rule_Role:
		c.roles(cond.Role.GetRoles(), join(path, "role.roles"))
	case *releasepb.Rule_CourseCompleted:
		if !id.Valid("course", cond.CourseCompleted.GetCourseId()) {
			c.add(join(path, "course_completed.course_id"), "id.invalid", "Send the id of a course.")
		}
	default:
		c.add(join(path, "condition"), "required", "Say what has to hold.")
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (c *checker) parts(list []*releasepb.Rule, path string, depth int) {
	if len(list) > maxParts {
		c.add(path, "repeated.max_items", "At most %d rules are taken together.", maxParts)
		return
	}
	for i, part := range list {
		c.rule(part, fmt.Sprintf("%s[%d]", path, i), depth+1)
	}
}

func (c *checker) date(d *releasepb.DateCondition, path string) {
	from, until := d.GetFrom(), d.GetUntil()
	if from == nil && until == nil {
		c.add(path, "date.empty", "Send from, until or both.")
	}
	if c.stamp(from, path+".from") && c.stamp(until, path+".until") && from != nil && until != nil && !from.AsTime().Before(until.AsTime()) {
		c.add(path+".until", "date.order", "until is after from.")
	}
}

// stamp reports whether a moment can be kept.
func (c *checker) stamp(t *timestamppb.Timestamp, path string) bool {
	if t == nil {
		return true
	}
	if t.CheckValid() != nil || t.AsTime().Year() < 1970 || t.AsTime().Year() > 9000 {
		c.add(path, "timestamp.range", "Send a moment of the years 1970 to 9000.")
		return false
	}
	return true
}

func (c *checker) item(itemID, path string) {
	if itemID == "" || len(itemID) > maxItemID {
		c.add(path, "required", "Send the id of an item of the course.")
	}
}

func (c *checker) score(s *releasepb.ScoreCondition, path string) {
	low := c.percent(s.GetMinPercent(), path+".min_percent")
	high := c.percent(s.GetMaxPercent(), path+".max_percent")
	if s.GetMinPercent() == "" && s.GetMaxPercent() == "" {
		c.add(path, "score.empty", "Send min_percent, max_percent or both.")
	}
	if low != nil && high != nil && *low > *high {
		c.add(path+".max_percent", "score.order", "max_percent is not less than min_percent.")
	}
}

func (c *checker) percent(text, path string) *Percent {
	if text == "" {
		return nil
	}
	p, err := ParsePercent(text)
	if err != nil || p < 0 || p > 9999_9999 {
		c.add(path, "percent.invalid", "Send a decimal such as 62.5, with at most 4 places.")
		return nil
	}
	return &p
}

func (c *checker) ids(list []string, kind, path string) {
	if len(list) == 0 || len(list) > maxParts {
		c.add(path, "repeated.range", "Send 1 to %d ids.", maxParts)
		return
	}
	for i, one := range list {
		if !id.Valid(kind, one) {
			c.add(fmt.Sprintf("%s[%d]", path, i), "id.invalid", "Send the id of a %s.", kind)
		}
	}
}

func (c *checker) roles(list []string, path string) {
	if len(list) == 0 || len(list) > 10 {
		c.add(path, "repeated.range", "Send 1 to 10 roles.")
		return
	}
	for i, one := range list {
		if !slices.Contains(Roles, one) {
			c.add(fmt.Sprintf("%s[%d]", path, i), "string.in", "Roles here are %q.", Roles)
		}
	}
}

// ValidateSchedule returns what is wrong with a schedule; nil for nothing, and
// for no schedule. Moments that can be compared for everybody have to be in their
// order; of one that is the same for all and one that is not, nothing is said.
func ValidateSchedule(s *releasepb.Schedule) []fault.Field {
	c := &checker{}
	list := []struct {
		name string
		m    *releasepb.Moment
	}{{"available_from", s.GetAvailableFrom()}, {"due", s.GetDue()}, {"until", s.GetUntil()}}
	for i, one := range list {
		if one.m == nil || !c.moment(one.m, one.name) {
			continue
		}
		for _, before := range list[:i] {
			if before.m != nil && later(before.m, one.m) {
				c.add(one.name, "schedule.order", "%s is not before %s.", one.name, before.name)
			}
		}
	}
	return c.faults
}

var clockTime = regexp.MustCompile(`^(([01][0-9]|2[0-3]):[0-5][0-9])?$`)

// ValidateMoment returns what is wrong with a moment; paths begin with path.
func ValidateMoment(m *releasepb.Moment, path string) []fault.Field {
	c := &checker{}
	c.moment(m, path)
	return c.faults
}

func (c *checker) moment(m *releasepb.Moment, path string) bool {
	n := len(c.faults)
	switch when := m.GetWhen().(type) {
	case *releasepb.Moment_At:
		c.stamp(when.At, path+".at")
		if when.At == nil {
			c.add(path+".at", "required", "Say when.")
		}
	case *releasepb.Moment_AfterStart:
		if d := when.AfterStart.GetDays(); d < 0 || d > maxDays {
			c.add(path+".after_start.days", "int32.range", "Send 0 to %d days.", maxDays)
		}
		if !clockTime.MatchString(when.AfterStart.GetTime()) {
			c.add(path+".after_start.time", "string.pattern", `Send a time such as "09:30".`)
		}
	default:
		c.add(path, "required", "Say when.")
	}
	return len(c.faults) == n
}

// later reports whether a is after b for everybody.
func later(a, b *releasepb.Moment) bool {
	if x, y := a.GetAt(), b.GetAt(); x != nil && y != nil {
		return x.AsTime().After(y.AsTime())
	}
	x, y := a.GetAfterStart(), b.GetAfterStart()
	if x == nil || y == nil {
		return false
	}
	if x.GetDays() != y.GetDays() {
		return x.GetDays() > y.GetDays()
	}
	return x.GetTime() != "" && y.GetTime() != "" && x.GetTime() > y.GetTime()
}

// ValidateCompletion returns what is wrong with what completes an item of a kind:
// "module", "lesson", "quiz" or "assignment". Nil for nothing, and for no
// completion.
func ValidateCompletion(kind string, completion *releasepb.Completion) []fault.Field {
	c := &checker{}
	list := completion.GetRequirements()
	allowed := requirements[kind]
	switch {
	case len(list) > 5:
		c.add("requirements", "repeated.max_items", "An item has at most 5 requirements.")
		return c.faults
	case kind == "module" && completion != nil:
		c.add("", "completion.module", "A module is completed when all that is required in it is.")
		return c.faults
	}
	seen := map[string]bool{}
	for i, r := range list {
		path := fmt.Sprintf("requirements[%d]", i)
		switch {
		case !slices.Contains(allowed, r.GetKind()):
			c.add(path+".kind", "string.in", "What completes a %s is one of %q.", kind, allowed)
		case seen[r.GetKind()]:
			c.add(path+".kind", "requirement.twice", "Each kind of requirement is there at most once.")
		}
		seen[r.GetKind()] = true
		c.requirement(r, path)
	}
	return c.faults
}

func (c *checker) requirement(r *releasepb.Requirement, path string) {
	switch watched := r.GetKind() == "watched"; {
	case watched && (r.GetWatchPercent() < 1 || r.GetWatchPercent() > 100):
		c.add(path+".watch_percent", "int32.range", "Send 1 to 100.")
	case !watched && r.GetWatchPercent() != 0:
		c.add(path+".watch_percent", "requirement.other_kind", "Only what is to be watched has watch_percent.")
	}
	switch scored := r.GetKind() == "scored"; {
	case scored && r.GetMinPercent() == "":
		c.add(path+".min_percent", "required", "Say how many percent are needed.")
	case scored:
		c.percent(r.GetMinPercent(), path+".min_percent")
	case r.GetMinPercent() != "":
		c.add(path+".min_percent", "requirement.other_kind", "Only what is to be scored has min_percent.")
	}
	if r.GetSelf() && r.GetKind() != "manual" {
		c.add(path+".self", "requirement.other_kind", "Only what is marked by hand has self.")
	}
}

// Zone returns the time zone of an IANA name, UTC for one that is not known.
func Zone(name string) *time.Location {
	if zone, err := time.LoadLocation(name); err == nil && name != "Local" {
		return zone
	}
	return time.UTC
}
