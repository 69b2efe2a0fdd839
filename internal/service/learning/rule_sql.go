package learning

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
)

// ruleSQL makes one SQL condition of rules, which holds for those of the learners
// l of a course to whom what is under the rules is open at a moment. It says the
// same as [release.Eval] of each of them. All values are arguments. Every part of
// the condition is a comparison, or a look into an index for one learner, so that
// the work grows with the learners and not faster.
type ruleSQL struct {
	version *version
	at      time.Time
	upTo    time.Time // until when what was completed counts
	args    []any
	atArg   string // of at, once it was asked for
	upArg   string // of upTo, once it was asked for
}

// newRuleSQL begins a statement whose first arguments are given; known is as
// [Service.known] says.
func newRuleSQL(at, known time.Time, args ...any) *ruleSQL {
	return &ruleSQL{at: at, upTo: known, args: args}
}

// now and known name the moment, and until when what was completed counts. A
// statement may not have arguments that it does not use.
func (b *ruleSQL) now() string   { return b.once(&b.atArg, b.at) }
func (b *ruleSQL) known() string { return b.once(&b.upArg, b.upTo) }

func (b *ruleSQL) once(name *string, v time.Time) string {
	if *name == "" {
		*name = b.arg(v)
	}
	return *name
}

func (b *ruleSQL) arg(v any) string {
	b.args = append(b.args, v)
	return fmt.Sprintf("$%d", len(b.args))
}

// open is the condition that an item of a version is open.
func (b *ruleSQL) open(v *version, it *versionItem) string {
	parts := []string{b.all(v, v.rules(it))}
	parts = append(parts, fmt.Sprintf(`NOT EXISTS (SELECT FROM effective_deadline d WHERE d.course_id = l.course_id AND d.account_id = l.account_id
		AND d.item_id = ANY (%s) AND d.available_from > %s)`, b.arg(it.path), b.now()))
	return conjunction(parts)
}

// all is the condition that all of some rules hold.
func (b *ruleSQL) all(v *version, rules []*releasepb.Rule) string {
	b.version = v
	parts := make([]string, len(rules))
	for i, r := range rules {
		parts[i] = b.rule(r, 1)
	}
	return conjunction(parts)
}

func conjunction(parts []string) string {
	if len(parts) == 0 {
		return "true"
	}
	return "(" + strings.Join(parts, " AND ") + ")"
}

func (b *ruleSQL) rule(r *releasepb.Rule, depth int) string {
	if depth > release.MaxDepth+1 {
		return "false"
	}
	parts := func(list []*releasepb.Rule) []string {
		out := make([]string, len(list))
		for i, part := range list {
			out[i] = b.rule(part, depth+1)
		}
		return out
	}
	switch c := r.GetCondition().(type) {
	case *releasepb.Rule_All:
		return conjunction(parts(c.All.GetRules()))
	case *releasepb.Rule_Any:
		list := parts(c.Any.GetRules())
		if len(list) == 0 {
			return "false"
		}
		return "(" + strings.Join(list, " OR ") + ")"
	case *releasepb.Rule_Not:
		return "(NOT " + b.rule(c.Not, depth+1) + ")"
	case *releasepb.Rule_Date, *releasepb.Rule_Enrolled:
		return b.timed(r)
	case *releasepb.Rule_Completed:
		return b.completed(c.Completed.GetItemId())
	case *releasepb.Rule_Score:
		return b.score(c.Score)
	case *releasepb.Rule_Cohort:
		return b.exists(`cohort_member x WHERE x.cohort_id <> '' AND x.cohort_id = ANY (%s)`, c.Cohort.GetCohortIds())
	case *releasepb.Rule_Group:
		return b.exists(`group_member x WHERE x.member AND x.group_id = ANY (%s)`, c.Group.GetGroupIds())
	case *releasepb.Rule_Role:
		if slices.Contains(c.Role.GetRoles(), "student") {
			return "true" // all that are asked about are
		}
		return b.exists(`course_role x WHERE x.granted AND (x.expires_at IS NULL OR x.expires_at > `+b.now()+`) AND x.role = ANY (%s)`, c.Role.GetRoles())
	case *releasepb.Rule_CourseCompleted:
		return fmt.Sprintf(`EXISTS (SELECT FROM learner x WHERE x.course_id = %s AND x.account_id = l.account_id AND x.enrolled_at IS NOT NULL AND x.completed_at <= %s)`,
			b.arg(c.CourseCompleted.GetCourseId()), b.known())
	}
	return "false"
}

// exists is the condition that the course has such a row for the learner.
func (b *ruleSQL) exists(from string, arg any) string {
	return `EXISTS (SELECT FROM ` + fmt.Sprintf(from, b.arg(arg)) + ` AND x.course_id = l.course_id AND x.account_id = l.account_id)`
}

// timed is a condition that the moment decides, for all learners or by when they
// enrolled.
func (b *ruleSQL) timed(r *releasepb.Rule) string {
	if e := r.GetEnrolled(); e != nil {
		return "l.enrolled_at < " + b.arg(release.EnrolledBefore(b.at, int(e.GetDays()), b.version.zone))
	}
	if release.Eval(release.Compile(r), &release.Facts{}, b.at).Open {
		return "true"
	}
	return "false"
}

// completed is the condition that an item was completed, a module also by all
// that is required in it.
func (b *ruleSQL) completed(itemID string) string {
	own := b.exists(`lesson_completion x WHERE x.lesson_id = %s AND x.completed_at <= `+b.known(), itemID)
	it := b.version.byID[itemID]
	if it == nil || it.GetKind() != "module" {
		return own
	}
	var leaves, modules []string
	for _, child := range it.children {
		switch {
		case !child.GetRequired():
		case child.GetKind() == "module":
			modules = append(modules, b.completed(child.GetId()))
		default:
			leaves = append(leaves, child.GetId())
		}
	}
	if len(leaves) > 0 {
		modules = append(modules, fmt.Sprintf(`(SELECT count(*) FROM lesson_completion x WHERE x.course_id = l.course_id AND x.account_id = l.account_id
			AND x.lesson_id = ANY (%s) AND x.completed_at <= %s) = %d`, b.arg(leaves), b.known(), len(leaves)))
	}
	if len(modules) == 0 {
		return own
	}
	return "(" + own + " OR " + conjunction(modules) + ")"
}

func (b *ruleSQL) score(c *releasepb.ScoreCondition) string {
	var bounds strings.Builder
	for _, one := range []struct{ text, op string }{{c.GetMinPercent(), ">="}, {c.GetMaxPercent(), "<="}} {
		if one.text == "" {
			continue
		}
		p, err := release.ParsePercent(one.text)
		if err != nil {
			return "false"
		}
		fmt.Fprintf(&bounds, " AND x.percent %s %s::text::numeric", one.op, b.arg(p.String()))
	}
	return b.exists(`item_result x WHERE x.percent IS NOT NULL`+bounds.String()+` AND x.item_id = %s`, c.GetItemId())
}
