package release

import (
	"fmt"
	"strings"
	"time"
)

// Reason is a condition that keeps something closed.
type Reason struct {
	Code        string // the kind of condition, such as "completed"
	Not         bool   // it holds, and should not
	Text        string // what the authors say; empty to say it by [Reason.Sentence]
	IDs         []string
	From, Until time.Time
	Days        int
	Low, High   *Percent
	ChangesAt   time.Time // when time alone changes it; zero when it does not
}

// told returns why a node that has to have the value want keeps closed.
func (n *node) told(f *Facts, at time.Time, want bool) Reason {
	r := Reason{Code: names[n.kind], Not: !want, IDs: n.ids, From: n.from, Until: n.until, Days: n.days, Low: n.low, High: n.high}
	if want {
		r.Text = n.reason
	}
	opens, closes := n.next(f, at)
	if r.ChangesAt = opens; !want {
		r.ChangesAt = closes
	}
	return r
}

// Sentence says the reason to the person whom it concerns. title returns the
// title of an item or a course, "" for one that they may not know of.
func (r Reason) Sentence(title func(id string) string, zone *time.Location) string {
	if r.Text != "" {
		return r.Text
	}
	name := func(unknown string) string {
		if len(r.IDs) > 0 && title != nil {
			if t := title(r.IDs[0]); t != "" {
				return "“" + t + "”"
			}
		}
		return unknown
	}
	const part, another = "another part of the course", "another course"
	switch r.Code {
	case names[date], names[available]:
		switch {
		case !r.Not && !r.ChangesAt.IsZero():
			return "Opens on " + moment(r.ChangesAt, zone) + "."
		case !r.Not && !r.Until.IsZero():
			return "Was open until " + moment(r.Until, zone) + "."
		case r.Not && !r.ChangesAt.IsZero():
			return "Is closed until " + moment(r.ChangesAt, zone) + "."
		default:
			return "Is not open any more."
		}
	case names[enrolled]:
		switch {
		case r.Not:
			return "Was open for a time after you enrolled."
		case r.ChangesAt.IsZero():
			return "Is open to those enrolled."
		default:
			return "Opens on " + moment(r.ChangesAt, zone) + ", " + days(r.Days) + " after you enrolled."
		}
	case names[completed]:
		if r.Not {
			return "Is closed once " + name(part) + " is completed."
		}
		return "Complete " + name(part) + " first."
	case names[score]:
		return r.scoreSentence(name(part))
	case names[cohort]:
		return forOthers("cohort")
	case names[group]:
		return forOthers("group")
	case names[role]:
		return "Is open to other roles in the course."
	case names[course]:
		if r.Not {
			return "Is closed once " + name(another) + " is completed."
		}
		return "Complete the course " + name(another) + " first."
	}
	return "Is not open."
}

func (r Reason) scoreSentence(item string) string {
	var bounds []string
	if r.Low != nil {
		bounds = append(bounds, "at least "+r.Low.String()+" %")
	}
	if r.High != nil {
		bounds = append(bounds, "at most "+r.High.String()+" %")
	}
	switch {
	case len(bounds) == 0:
		bounds = []string{"a score"}
	case r.Not:
		return "Is closed to those with " + strings.Join(bounds, " and ") + " in " + item + "."
	}
	if r.Not {
		return "Is closed once there is a score in " + item + "."
	}
	return "Needs " + strings.Join(bounds, " and ") + " in " + item + "."
}

func forOthers(what string) string { return "Is open to another " + what + "." }

func days(n int) string {
	if n == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", n)
}

func moment(t time.Time, zone *time.Location) string {
	if zone == nil {
		zone = time.UTC
	}
	return t.In(zone).Format("2 January 2006 at 15:04 MST")
}

// Node is a node of a rule as it stands for somebody at a moment.
type Node struct {
	Kind   string // as [Reason.Code], and "all", "any" and "not"
	Holds  bool
	Keeps  bool // whether it is one of those that keep the thing closed
	Hides  bool // whether it would hide it
	Reason Reason
	// When time alone next makes it hold, and next makes it not; zero for never.
	OpensAt, ClosesAt time.Time
	Parts             []Node
}

// Explain is [Eval] with the whole tree. Of no rule it is a node that holds.
func Explain(r *Rule, f *Facts, at time.Time) (Decision, Node) {
	if r == nil {
		return Decision{Open: true}, Node{Kind: names[all], Holds: true}
	}
	return Eval(r, f, at), r.root.explain(f, at, true, true)
}

func (n *node) explain(f *Facts, at time.Time, want, above bool) Node {
	out := Node{Kind: names[n.kind], Holds: n.holds(f, at), Hides: n.hide}
	out.Keeps = above && out.Holds != want
	out.OpensAt, out.ClosesAt = n.next(f, at)
	out.Reason = n.told(f, at, want)
	for _, part := range n.parts {
		out.Parts = append(out.Parts, part.explain(f, at, want != (n.kind == not), out.Keeps))
	}
	return out
}
