package courses

import (
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/gradebook"
	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// refs writes contents anew for another place: what they name is called otherwise
// there, dates are moved, and what can't be of use there is left out and noted.
type refs struct {
	items map[string]string // how items are called there
	media map[string]string // how files are
	// date moves a moment; nil leaves it.
	date func(time.Time) time.Time
	// noDates and noRules leave out all dates and all rules.
	noDates, noRules bool
	// courses tells rules that name other courses as well, which are kept.
	courses bool
	// cohorts keeps cohorts and groups: it is the same course.
	cohorts bool
	// activity returns how a quiz or an assignment is called there, "" for one that is
	// not; nil leaves them out.
	activity func(ref string) string
	// keep keeps everything that is named as it is.
	keep bool
	// left notes what is left out of a thing, by its id and the field in it.
	left func(id, field, code, hint string)
}

func (r refs) leave(id, field, code, hint string) {
	if r.left != nil {
		r.left(id, field, code, hint)
	}
}

// item returns how an item is called there.
func (r refs) item(itemID string) (string, bool) {
	if r.keep {
		return itemID, true
	}
	to, ok := r.items[itemID]
	return to, ok
}

// content returns a content of an item with an id as it is there.
func (r refs) content(itemID string, c content) content {
	c.Settings = r.settings(c.Settings, itemID)
	called := ""
	if r.activity != nil {
		called = r.activity(c.ActivityRef)
	}
	if called != "" {
		c.ActivityRef = called
	} else if c.ActivityRef != "" && !r.keep {
		c.ActivityRef = ""
		r.leave(itemID, "activity_ref", "copy.activity_ref", "What is asked in it is not copied: link it to another one.")
	}
	body := make([]block, 0, len(c.Body))
	for i, b := range c.Body {
		at := index("blocks", i)
		if b.MediaID != "" && !r.keep {
			to, ok := r.media[b.MediaID]
			if !ok {
				r.leave(itemID, at, "copy.media", "Its file is not there any more.")
				continue
			}
			b.MediaID = to
		}
		if b.ItemID != "" {
			to, ok := r.item(b.ItemID)
			if !ok {
				r.leave(itemID, at, "copy.activity_block", "It begins something that is not copied.")
				continue
			}
			b.ItemID = to
		}
		body = append(body, b)
	}
	c.Body = body
	return c
}

// settings returns what is said of an item as it is said there.
func (r refs) settings(s settings, itemID string) settings {
	if s.absent() {
		return s
	}
	next := proto.CloneOf(s.M)
	next.Release = r.rule(next.GetRelease(), itemID, "settings.release")
	if r.noDates {
		next.Schedule = nil
	}
	for _, m := range []*releasepb.Moment{next.GetSchedule().GetAvailableFrom(), next.GetSchedule().GetDue(), next.GetSchedule().GetUntil()} {
		if at, ok := m.GetWhen().(*releasepb.Moment_At); ok {
			at.At = r.moved(at.At)
		}
	}
	return usual(next)
}

func (r refs) moved(t *timestamppb.Timestamp) *timestamppb.Timestamp {
	if t == nil || r.date == nil {
		return t
	}
	return timestamppb.New(r.date(t.AsTime()))
}

// rule returns a rule as it is there; nil when nothing is left of it. A list of
// which nothing is left is left out with it, whatever an empty one would mean.
func (r refs) rule(rule *releasepb.Rule, id, at string) *releasepb.Rule {
	if rule == nil || r.noRules {
		return nil
	}
	next := proto.CloneOf(rule)
	gone := func(what, code, hint string) *releasepb.Rule {
		r.leave(id, at+"."+what, code, hint)
		return nil
	}
	const elsewhere = "It names something that is not there. What is left of the rule may open more, or less, than it did."
	switch c := next.GetCondition().(type) {
	case *releasepb.Rule_All:
		if !r.rules(c.All, id, at+".all") {
			return nil
		}
	case *releasepb.Rule_Any:
		if !r.rules(c.Any, id, at+".any") {
			return nil
		}
	case *releasepb.Rule_Not:
		if c.Not = r.rule(c.Not, id, at+".not"); c.Not == nil {
			return nil
		}
	case *releasepb.Rule_Date:
		if r.noDates {
			return gone("date", "copy.date", "Dates are not copied.")
		}
		from, until := c.Date.GetFrom(), c.Date.GetUntil()
		c.Date.From, c.Date.Until = r.moved(from), r.moved(until)
		if from != nil && until != nil && !c.Date.GetUntil().AsTime().After(c.Date.GetFrom().AsTime()) {
			// Both are in the hour that a day has not on which clocks are put forward.
			c.Date.Until = timestamppb.New(c.Date.GetFrom().AsTime().Add(until.AsTime().Sub(from.AsTime())))
		}
	case *releasepb.Rule_Completed:
		to, ok := r.item(c.Completed.GetItemId())
		if !ok {
			return gone("completed", "copy.item", elsewhere)
		}
		c.Completed.ItemId = to
	case *releasepb.Rule_Score:
		to, ok := r.item(c.Score.GetItemId())
		if !ok {
			return gone("score", "copy.item", elsewhere)
		}
		c.Score.ItemId = to
	case *releasepb.Rule_CourseCompleted:
		if r.courses {
			r.leave(id, at+".course_completed", "copy.other_course", "It names another course. See that it is one of this platform: the rule is kept.")
		}
	case *releasepb.Rule_Cohort:
		if !r.keep && !r.cohorts {
			return gone("cohort", "copy.cohort", "Cohorts are of one course: name one of the other course.")
		}
	case *releasepb.Rule_Group:
		if !r.keep && !r.cohorts {
			return gone("group", "copy.group", "Groups are of one course: name one of the other course.")
		}
	}
	return next
}

// rules writes a list anew and reports whether anything is left of it.
func (r refs) rules(list *releasepb.Rules, id, at string) bool {
	kept := make([]*releasepb.Rule, 0, len(list.GetRules()))
	for i, one := range list.GetRules() {
		if one = r.rule(one, id, index(at+".rules", i)); one != nil {
			kept = append(kept, one)
		}
	}
	empty := len(list.GetRules()) == 0
	list.Rules = kept
	return empty || len(kept) > 0
}

// grading returns criteria as they are there.
func (r refs) grading(p *coursespb.GradingPolicy, id string) *coursespb.GradingPolicy {
	if p == nil {
		return nil
	}
	next := proto.CloneOf(p)
	for i, c := range next.GetCategories() {
		at := index("grading.categories", i)
		c.ItemIds = r.list(c.GetItemIds(), id, at+".item_ids")
		c.NeverDrop = r.list(c.GetNeverDrop(), id, at+".never_drop")
	}
	for i, period := range next.GetPeriods() {
		period.ItemIds = r.list(period.GetItemIds(), id, index("grading.periods", i)+".item_ids")
	}
	next.Items = nil
	for i, it := range p.GetItems() {
		if to, ok := r.item(it.GetItemId()); ok {
			it = proto.CloneOf(it)
			it.ItemId = to
			next.Items = append(next.Items, it)
		} else {
			r.leave(id, index("grading.items", i), "copy.grading_item", "It is not there.")
		}
	}
	next.Calculated = r.calculated(p.GetCalculated(), id)
	return next
}

// calculated returns calculated items with formulas that name what they name as it is
// called there. What is calculated of something that is not there is left out, and
// what is calculated of that.
func (r refs) calculated(given []*coursespb.CalculatedItem, id string) []*coursespb.CalculatedItem {
	gone := map[string]bool{}
	renamed := map[string]string{}
	for before := -1; before < len(gone); {
		before = len(gone)
		for _, c := range given {
			f, err := gradebook.ParseFormula(c.GetFormula())
			if err != nil {
				renamed[c.GetKey()] = c.GetFormula() // an import of it says so
				continue
			}
			renamed[c.GetKey()] = f.RenameItems(func(name string) string {
				if key, ok := strings.CutPrefix(name, coursespb.CalculatedPrefix); ok {
					gone[c.GetKey()] = gone[c.GetKey()] || gone[key]
					return name
				}
				to, ok := r.item(name)
				gone[c.GetKey()] = gone[c.GetKey()] || !ok
				return to
			})
			if !gone[c.GetKey()] {
				delete(gone, c.GetKey())
			}
		}
	}
	var kept []*coursespb.CalculatedItem
	for i, c := range given {
		if gone[c.GetKey()] {
			r.leave(id, index("grading.calculated", i), "copy.grading_item", "It is calculated of what is not there.")
			continue
		}
		c = proto.CloneOf(c)
		c.Formula = renamed[c.GetKey()]
		kept = append(kept, c)
	}
	return kept
}

func (r refs) list(ids []string, id, at string) []string {
	var out []string
	for i, one := range ids {
		if to, ok := r.item(one); ok {
			out = append(out, to)
		} else {
			r.leave(id, index(at, i), "copy.grading_item", "It is not there.")
		}
	}
	return out
}

// landing returns what a course is called and how it looks as it is there.
func (r refs) landing(l Landing, id string) Landing {
	l.Release.M = r.rule(l.Release.M, id, "release")
	l.Grading.M = r.grading(l.Grading.M, id)
	if !r.keep {
		l.CoverMediaID, l.PromoVideoMediaID = r.media[l.CoverMediaID], r.media[l.PromoVideoMediaID]
	}
	return l
}

// shift returns what moves moments by days, keeping the time of day in a zone.
func shift(days int, zone *time.Location) func(time.Time) time.Time {
	return func(t time.Time) time.Time { return release.AddDays(t, days, zone) }
}
