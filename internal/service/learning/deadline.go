package learning

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// The sources of an effective moment that are no ids of groups and cohorts.
const (
	fromCourse = "course"
	fromPerson = "person"
	fromDue    = "due" // until moved along with due
)

// effective is one moment for one person, and what says so. Of no source: nothing
// says. At nil with a source: no bound is said.
type effective struct {
	at     *time.Time
	source string
}

// override is what some people have instead of an item's schedule. Moments that
// are nil are not overridden.
type override struct {
	itemID, targetID          string
	availableFrom, due, until *learningpb.MomentOverride
}

// timing is what the deadlines of one person are made of.
type timing struct {
	accountID string
	start     time.Time // of their cohort, or their enrollment
	cohortID  string
	groups    []string // sorted
	extraDays int
	version   *version
}

// deadline is a row of effective_deadline.
type deadline struct {
	accountID, itemID         string
	availableFrom, due, until effective
	extraDays                 int
}

// targets finds the overrides of one item by whom they are for.
type targets map[string]*override

// deadlineOf returns the effective moments of one item for one person, and false
// where nothing says any.
func (t *timing) deadlineOf(itemID string, schedule *releasepb.Schedule, over targets) (deadline, bool) {
	d := deadline{accountID: t.accountID, itemID: itemID}
	d.availableFrom = t.pick(schedule.GetAvailableFrom(), over, func(o *override) *learningpb.MomentOverride { return o.availableFrom }, false)
	d.due = t.pick(schedule.GetDue(), over, func(o *override) *learningpb.MomentOverride { return o.due }, true)
	d.until = t.pick(schedule.GetUntil(), over, func(o *override) *learningpb.MomentOverride { return o.until }, true)
	if d.availableFrom.source == "" && d.due.source == "" && d.until.source == "" {
		return deadline{}, false
	}
	if t.extraDays > 0 && (d.due.at != nil || d.until.at != nil) {
		d.extraDays = t.extraDays
		for _, e := range []*effective{&d.due, &d.until} {
			if e.at != nil {
				later := release.AddDays(*e.at, t.extraDays, t.version.zone)
				e.at = &later
			}
		}
	}
	if d.due.at != nil && d.until.at != nil && d.due.at.After(*d.until.at) {
		d.until = effective{d.due.at, fromDue}
	}
	return d, true
}

// pick returns what counts of one moment: what is said for the person, else the
// most generous of what is said for their groups, else for their cohort, else the
// schedule. The most generous is no bound, or else the latest or the earliest.
func (t *timing) pick(scheduled *releasepb.Moment, over targets, of func(*override) *learningpb.MomentOverride, latest bool) effective {
	said := func(target string) *learningpb.MomentOverride {
		if o := over[target]; o != nil && target != "" {
			return of(o)
		}
		return nil
	}
	if m := said(t.accountID); m != nil {
		return t.resolve(m, fromPerson)
	}
	var best effective
	for _, group := range t.groups {
		m := said(group)
		if m == nil {
			continue
		}
		e := t.resolve(m, group)
		switch {
		case best.source == "", e.at == nil && best.at != nil:
			best = e
		case e.at != nil && best.at != nil && (latest && e.at.After(*best.at) || !latest && e.at.Before(*best.at)):
			best = e
		}
	}
	if best.source != "" {
		return best
	}
	if m := said(t.cohortID); m != nil {
		return t.resolve(m, t.cohortID)
	}
	if scheduled != nil {
		return t.at(scheduled, fromCourse)
	}
	return effective{}
}

func (t *timing) resolve(m *learningpb.MomentOverride, source string) effective {
	if m.GetMoment() == nil {
		return effective{nil, source}
	}
	return t.at(m.GetMoment(), source)
}

func (t *timing) at(m *releasepb.Moment, source string) effective {
	at, ok := release.Resolve(m, t.start, t.version.zone)
	if !ok {
		return effective{nil, source}
	}
	at = at.Truncate(time.Microsecond)
	return effective{&at, source}
}

// deadlines returns all that one person has, of all items or of those named.
func (t *timing) deadlines(overrides map[string]targets, only map[string]bool) []deadline {
	var out []deadline
	add := func(it *versionItem) {
		if only != nil && !only[it.GetId()] {
			return
		}
		if d, ok := t.deadlineOf(it.GetId(), it.GetSchedule(), overrides[it.GetId()]); ok {
			out = append(out, d)
		}
	}
	for _, it := range t.version.schedule {
		add(it)
	}
	for itemID := range overrides {
		if it := t.version.byID[itemID]; it != nil && it.GetSchedule() == nil {
			add(it)
		}
	}
	return out
}

// storedMoment is how an override's moment is kept, nil for none.
func storedMoment(m *learningpb.MomentOverride) ([]byte, error) {
	if m == nil {
		return nil, nil
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

func readMoment(text []byte) (*learningpb.MomentOverride, error) {
	if text == nil {
		return nil, nil //nolint:nilnil // none is kept
	}
	m := &learningpb.MomentOverride{}
	if err := proto.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("stored moment: %w", err)
	}
	return m, nil
}
