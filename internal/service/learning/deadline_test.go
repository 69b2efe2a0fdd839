package learning

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// fakeAccess says how deadlines are eased.
type fakeAccess struct {
	accesspb.AccommodationServiceClient

	mu   sync.Mutex
	days map[string]int32 // by account and course, the course empty for all
}

func (f *fakeAccess) set(account, course string, days int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.days[account+" "+course] = days
}

func (f *fakeAccess) ListAccommodations(_ context.Context, req *accesspb.ListAccommodationsRequest, _ ...grpc.CallOption) (*accesspb.ListAccommodationsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &accesspb.ListAccommodationsResponse{}
	for _, account := range req.GetAccountIds() {
		for _, course := range []string{"", req.GetCourseId()} {
			if days := f.days[account+" "+course]; days > 0 {
				out.Items = append(out.Items, &accesspb.Accommodation{AccountId: account, CourseId: course, Ease: &accesspb.Ease{TimePercent: 100, ExtraDays: days}})
			}
		}
	}
	return out, nil
}

// timed is a course with schedules and people.
type timed struct {
	*ruled

	access    *fakeAccess
	deadlines learningpb.DeadlineServiceClient
}

func newTimed(t *testing.T, allow rpctest.Allow) *timed {
	t.Helper()
	w := newWorld(t, allow)
	f := &timed{access: &fakeAccess{days: map[string]int32{}}}
	w.service.access = f.access
	h := rpctest.New(t, allow)
	w.service.Register(h)
	w.client = learningpb.NewLearningServiceClient(h.As("edge"))
	f.ruled = newRuled(w, h)
	f.deadlines = learningpb.NewDeadlineServiceClient(h.As("edge"))
	return f
}

// work does all that waits.
func (f *timed) work(t failer) {
	t.Helper()
	for _, step := range []func(context.Context) (bool, error){f.service.nextEase, f.service.nextDeadlines} {
		for {
			more, err := step(f.t.Context())
			if err != nil {
				t.Fatalf("%v", err)
			}
			if !more {
				break
			}
		}
	}
}

func at(moment time.Time) *releasepb.Moment {
	return &releasepb.Moment{When: &releasepb.Moment_At{At: timestamppb.New(moment)}}
}

func afterStart(days int32, clock string) *releasepb.Moment {
	return &releasepb.Moment{When: &releasepb.Moment_AfterStart{AfterStart: &releasepb.RelativeMoment{Days: days, Time: clock}}}
}

func to(m *releasepb.Moment) *learningpb.MomentOverride {
	return &learningpb.MomentOverride{To: &learningpb.MomentOverride_Moment{Moment: m}}
}

func noBound() *learningpb.MomentOverride {
	return &learningpb.MomentOverride{To: &learningpb.MomentOverride_None{None: &learningpb.NoBound{}}}
}

func (f *timed) override(item, target string, from, due, until *learningpb.MomentOverride) error {
	_, err := f.deadlines.SetDeadlineOverride(f.as("account_teacher"), &learningpb.SetDeadlineOverrideRequest{
		CourseId: f.course, ItemId: item, TargetId: target, AvailableFrom: from, Due: due, Until: until,
	})
	return err
}

// stored returns the effective deadlines as text, by account and item.
func (f *timed) stored(t failer) map[string]string {
	t.Helper()
	rows, err := f.db.Query(f.t.Context(), `
		SELECT account_id, item_id, available_from, available_from_source, due, due_source, until, until_source FROM effective_deadline WHERE course_id = $1`, f.course)
	if err != nil {
		t.Fatalf("%v", err)
	}
	out := map[string]string{}
	var account, item string
	var m [3]*time.Time
	var s [3]string
	if _, err := pgx.ForEachRow(rows, []any{&account, &item, &m[0], &s[0], &m[1], &s[1], &m[2], &s[2]}, func() error {
		out[account+" "+item] = fmt.Sprint(show(m[0], s[0]), show(m[1], s[1]), show(m[2], s[2]))
		return nil
	}); err != nil {
		t.Fatalf("%v", err)
	}
	return out
}

func show(at *time.Time, source string) string {
	switch {
	case source == "":
		return "- "
	case at == nil:
		return "none by " + source + " "
	default:
		return at.UTC().Format(time.RFC3339) + " by " + source + " "
	}
}

func day(n int) time.Time { return time.Date(2026, 5, n, 12, 0, 0, 0, time.UTC) }

func TestWhoseDeadlineCounts(t *testing.T) {
	t.Parallel()
	f := newTimed(t, rpctest.Everything)
	f.item(f.l1).Schedule = &releasepb.Schedule{AvailableFrom: at(day(1)), Due: at(day(10)), Until: at(day(12))}
	f.publish()
	ana := id.New("account")
	hear(f.world, f.service.enrollmentStarted, enrolled(f.course, ana, 0))
	for i, g := range f.groups {
		hear(f.world, f.service.groupChanged, &accesspb.GroupChanged{GroupId: g, CourseId: f.course, Name: fmt.Sprint(i), Version: 1})
		hear(f.world, f.service.groupMembershipChanged, &accesspb.GroupMembershipChanged{GroupId: g, CourseId: f.course, AccountId: ana, Member: i < 2, Version: 1})
	}
	hear(f.world, f.service.cohortChanged, &accesspb.CohortChanged{CohortId: f.cohorts[0], CourseId: f.course, Name: "Spring", StartsAt: timestamppb.New(day(2)), Version: 1})
	hear(f.world, f.service.cohortMembershipChanged, &accesspb.CohortMembershipChanged{CourseId: f.course, AccountId: ana, CohortId: f.cohorts[0], Version: 1})
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(what, from, due, until string) {
		t.Helper()
		f.work(t)
		got := f.stored(t)[ana+" "+f.l1]
		got = strings.NewReplacer("2026-05-", "", "T12:00:00Z", "", f.groups[0], "g0", f.groups[1], "g1", f.cohorts[0], "cohort").Replace(got)
		if want := from + " " + due + " " + until + " "; got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	want("the schedule", "01 by course", "10 by course", "12 by course")
	ok(f.override(f.l1, f.cohorts[0], nil, to(at(day(14))), nil))
	want("the cohort's due, and until with it", "01 by course", "14 by cohort", "14 by due")
	ok(f.override(f.l1, f.groups[0], to(at(day(4))), to(at(day(11))), nil))
	want("the group's", "04 by g0", "11 by g0", "12 by course")
	ok(f.override(f.l1, f.groups[1], to(at(day(3))), to(at(day(9))), noBound()))
	want("the most generous of each", "03 by g1", "11 by g0", "none by g1")
	ok(f.override(f.l1, f.groups[2], to(at(day(1))), to(at(day(30))), nil))
	want("a group that they are not in", "03 by g1", "11 by g0", "none by g1")
	ok(f.override(f.l1, ana, noBound(), to(afterStart(5, "14:00")), to(at(day(6)))))
	want("the person's, after the cohort's start", "none by person", "07 by person", "07 by due")
	f.access.set(ana, f.course, 3)
	f.access.set(ana, "", 1)
	hear(f.world, f.service.accommodationChanged, &accesspb.AccommodationChanged{AccountId: ana, CourseId: f.course})
	want("eased once, by the more generous", "none by person", "10 by person", "10 by due")
	f.access.set(ana, f.course, 0)
	hear(f.world, f.service.accommodationChanged, &accesspb.AccommodationChanged{AccountId: ana})
	want("eased less", "none by person", "08 by person", "08 by due")
	f.access.set(ana, "", 0)
	hear(f.world, f.service.accommodationChanged, &accesspb.AccommodationChanged{AccountId: ana})
	hear(f.world, f.service.cohortChanged, &accesspb.CohortChanged{CohortId: f.cohorts[0], CourseId: f.course, Name: "Spring", StartsAt: timestamppb.New(day(3)), Version: 2})
	want("the cohort starts later", "none by person", "08 by person", "08 by due")
	_, err := f.deadlines.DeleteDeadlineOverride(f.as(ana), &learningpb.DeleteDeadlineOverrideRequest{CourseId: f.course, ItemId: f.l1, TargetId: ana})
	ok(err)
	want("without the person's", "03 by g1", "11 by g0", "none by g1")
	hear(f.world, f.service.enrollmentEnded, &accesspb.EnrollmentEnded{CourseId: f.course, AccountId: ana, Version: 2})
	f.work(t)
	if got := f.stored(t); len(got) != 0 {
		t.Errorf("of who has left: %v", got)
	}
}

// Effective deadlines are what a model makes of the facts from scratch, whatever
// happened before and in which order.
func TestDeadlinesOverRandomHistories(t *testing.T) {
	t.Parallel()
	f := newTimed(t, rpctest.Everything)
	rows := 0
	rapid.Check(t, func(t *rapid.T) {
		f.ruled = newRuled(f.world, nil)
		people := newIDs("account", 3)
		m := &history{timed: f, overrides: map[string]*learningpb.SetDeadlineOverrideRequest{}, start: map[string]time.Time{}, cohort: map[string]string{}, ended: map[string]bool{}, member: map[string]bool{}, starts: map[string]time.Time{}}
		for _, g := range f.groups {
			hear(f.world, f.service.groupChanged, &accesspb.GroupChanged{GroupId: g, CourseId: f.course, Name: g, Version: 1})
		}
		m.publish(t)
		for _, c := range f.cohorts {
			m.move(t, c)
		}
		for step := range rapid.IntRange(5, 25).Draw(t, "steps") {
			m.version = int64(step + 2)
			who := rapid.SampledFrom(people).Draw(t, "who")
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				m.publish(t)
			case 1:
				m.move(t, rapid.SampledFrom(f.cohorts).Draw(t, "cohort"))
			case 2, 3:
				e := enrolled(f.course, who, rapid.IntRange(0, 3).Draw(t, "day"))
				hear(f.world, f.service.enrollmentStarted, e)
				if e.GetEnrolledAt().AsTime().After(m.start[who]) {
					m.start[who] = e.GetEnrolledAt().AsTime()
				}
			case 4:
				m.ended[who] = rapid.Bool().Draw(t, "ended")
				if m.ended[who] {
					hear(f.world, f.service.enrollmentEnded, &accesspb.EnrollmentEnded{CourseId: f.course, AccountId: who, Version: m.version})
				} else {
					hear(f.world, f.service.enrollmentResumed, &accesspb.EnrollmentResumed{CourseId: f.course, AccountId: who, Version: m.version})
				}
			case 5:
				g, is := rapid.SampledFrom(f.groups).Draw(t, "group"), rapid.Bool().Draw(t, "member")
				hear(f.world, f.service.groupMembershipChanged, &accesspb.GroupMembershipChanged{GroupId: g, CourseId: f.course, AccountId: who, Member: is, Version: m.version})
				m.member[who+g] = is
			case 6:
				c := rapid.SampledFrom(append(slices.Clone(f.cohorts), "")).Draw(t, "cohort")
				hear(f.world, f.service.cohortMembershipChanged, &accesspb.CohortMembershipChanged{CourseId: f.course, AccountId: who, CohortId: c, Version: m.version})
				m.cohort[who] = c
			case 7:
				f.access.set(who, rapid.SampledFrom([]string{"", f.course}).Draw(t, "where"), rapid.Int32Range(0, 3).Draw(t, "days"))
				hear(f.world, f.service.accommodationChanged, &accesspb.AccommodationChanged{AccountId: who})
			default:
				m.override(t, who)
			}
			if rapid.IntRange(0, 3).Draw(t, "work") == 0 {
				f.work(t)
			}
		}
		f.work(t)
		want := m.all(people)
		if diff := cmp.Diff(want, f.stored(t)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		rows += len(want)
		// And all of the course anew changes nothing.
		run(t, f.world, `INSERT INTO deadline_task (course_id, account_id) VALUES ($1, '')`, f.course)
		f.work(t)
		if diff := cmp.Diff(want, f.stored(t)); diff != "" {
			t.Fatalf("anew (-want +got):\n%s", diff)
		}
	})
	if rows == 0 {
		t.Error("nobody had a deadline: the test tells nothing")
	}
}

// history is what has happened, and makes deadlines of it in its own way.
type history struct {
	*timed

	version   int64
	overrides map[string]*learningpb.SetDeadlineOverrideRequest // by item and target
	start     map[string]time.Time
	starts    map[string]time.Time // of cohorts
	cohort    map[string]string
	ended     map[string]bool
	member    map[string]bool // by account and group
}

func drawMoment(t *rapid.T) *releasepb.Moment {
	if rapid.Bool().Draw(t, "relative") {
		return afterStart(rapid.Int32Range(0, 5).Draw(t, "days"), rapid.SampledFrom([]string{"", "02:30", "23:59"}).Draw(t, "time"))
	}
	return at(day(rapid.IntRange(1, 9).Draw(t, "day")))
}

func (m *history) publish(t *rapid.T) {
	for _, it := range m.publication.GetItems() {
		it.Schedule = nil
		if rapid.IntRange(0, 2).Draw(t, "scheduled") == 0 {
			it.Schedule = &releasepb.Schedule{Due: drawMoment(t)}
			if rapid.Bool().Draw(t, "until") {
				it.Schedule.Until, it.Schedule.AvailableFrom = drawMoment(t), drawMoment(t)
			}
		}
	}
	m.ruled.publish()
}

func (m *history) move(t *rapid.T, cohort string) {
	m.starts[cohort] = day(rapid.IntRange(1, 9).Draw(t, "starts"))
	m.publication.Sequence++
	hear(m.world, m.service.cohortChanged, &accesspb.CohortChanged{CohortId: cohort, CourseId: m.course, Name: cohort, StartsAt: timestamppb.New(m.starts[cohort]), Version: m.publication.GetSequence()})
}

func (m *history) override(t *rapid.T, who string) {
	item := rapid.SampledFrom([]string{m.l1, m.l2, m.m1}).Draw(t, "item")
	target := rapid.SampledFrom(append(append([]string{who}, m.groups...), m.cohorts...)).Draw(t, "target")
	if m.overrides[item+" "+target] != nil && rapid.Bool().Draw(t, "delete") {
		if _, err := m.deadlines.DeleteDeadlineOverride(m.as("account_teacher"), &learningpb.DeleteDeadlineOverrideRequest{CourseId: m.course, ItemId: item, TargetId: target}); err != nil {
			t.Fatal(err)
		}
		delete(m.overrides, item+" "+target)
		return
	}
	field := func(name string) *learningpb.MomentOverride {
		switch rapid.IntRange(0, 3).Draw(t, name) {
		case 0:
			return nil
		case 1:
			return noBound()
		default:
			return to(drawMoment(t))
		}
	}
	req := &learningpb.SetDeadlineOverrideRequest{CourseId: m.course, ItemId: item, TargetId: target, AvailableFrom: field("from"), Due: field("due"), Until: field("until")}
	switch _, err := m.deadlines.SetDeadlineOverride(m.as("account_teacher"), req); {
	case err == nil:
		m.overrides[item+" "+target] = req
	case target == who && (m.start[who].IsZero() || m.ended[who]), fault.KindOf(err) == fault.Invalid:
	default:
		t.Fatal(err)
	}
}

func (m *history) all(people []string) map[string]string {
	out := map[string]string{}
	for _, who := range people {
		if m.start[who].IsZero() || m.ended[who] {
			continue
		}
		for _, it := range m.publication.GetItems() {
			if text := m.one(who, it); text != "" {
				out[who+" "+it.GetId()] = text
			}
		}
	}
	return out
}

// one goes through what may say each moment, from the strongest on.
func (m *history) one(who string, it *coursespb.PublishedItem) string {
	start := m.start[who]
	if c := m.cohort[who]; c != "" {
		start = m.starts[c]
	}
	zone := release.Zone("Europe/Berlin")
	resolve := func(x *releasepb.Moment) *time.Time {
		t, _ := release.Resolve(x, start, zone)
		return &t
	}
	pick := func(of func(*learningpb.SetDeadlineOverrideRequest) *learningpb.MomentOverride, scheduled *releasepb.Moment, generous func(a, b time.Time) bool) (*time.Time, string) {
		said := func(target string) (*time.Time, bool) {
			o := m.overrides[it.GetId()+" "+target]
			if o == nil || of(o) == nil {
				return nil, false
			}
			if of(o).GetMoment() == nil {
				return nil, true
			}
			return resolve(of(o).GetMoment()), true
		}
		if t, ok := said(who); ok {
			return t, "person"
		}
		groups := slices.Clone(m.groups)
		slices.Sort(groups)
		var best *time.Time
		source := ""
		for _, g := range groups {
			t, ok := said(g)
			if !ok || !m.member[who+g] {
				continue
			}
			if source == "" || best != nil && (t == nil || generous(*t, *best)) {
				best, source = t, g
			}
		}
		if source != "" {
			return best, source
		}
		if c := m.cohort[who]; c != "" {
			if t, ok := said(c); ok {
				return t, c
			}
		}
		if scheduled != nil {
			return resolve(scheduled), "course"
		}
		return nil, ""
	}
	s := it.GetSchedule()
	from, fromBy := pick((*learningpb.SetDeadlineOverrideRequest).GetAvailableFrom, s.GetAvailableFrom(), time.Time.Before)
	due, dueBy := pick((*learningpb.SetDeadlineOverrideRequest).GetDue, s.GetDue(), time.Time.After)
	until, untilBy := pick((*learningpb.SetDeadlineOverrideRequest).GetUntil, s.GetUntil(), time.Time.After)
	if fromBy+dueBy+untilBy == "" {
		return ""
	}
	extra := int(max(m.access.days[who+" "], m.access.days[who+" "+m.course]))
	ease := func(t *time.Time) *time.Time {
		if t == nil {
			return nil
		}
		local := t.In(zone)
		later := time.Date(local.Year(), local.Month(), local.Day()+extra, local.Hour(), local.Minute(), local.Second(), 0, zone) // no clock changes in May
		return &later
	}
	due, until = ease(due), ease(until)
	if due != nil && until != nil && due.After(*until) {
		until, untilBy = due, "due"
	}
	return show(from, fromBy) + show(due, dueBy) + show(until, untilBy)
}

func TestDeadlineLists(t *testing.T) {
	t.Parallel()
	ana, ben, teacher, assistant := id.New("account"), id.New("account"), id.New("account"), id.New("account")
	f := newTimed(t, func(account, _, permission string) bool {
		switch account {
		case teacher:
			return true
		case assistant:
			return permission != "accommodation.read"
		}
		return permission == "me.read" || permission == "lesson.read" || permission == "course.view"
	})
	for i, it := range []string{f.l1, f.l2, f.q1, f.l3} {
		f.item(it).Schedule = &releasepb.Schedule{Due: at(day(10 + i))}
	}
	f.item(f.l2).Release = hide(completedRule(f.l1))
	f.publish()
	f.access.set(ana, "", 2)
	hear(f.world, f.service.enrollmentStarted, enrolled(f.course, ana, 0), enrolled(f.course, ben, 0))
	f.work(t)
	titles := func() []string {
		t.Helper()
		var out []string
		cursor := ""
		for {
			res, err := f.deadlines.ListMyDeadlines(f.as(ana), &learningpb.ListMyDeadlinesRequest{PageSize: 2, Cursor: cursor})
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range res.GetItems() {
				out = append(out, fmt.Sprint(d.GetKind(), " ", d.GetDue().GetAt().AsTime().Day(), " ", d.GetDue().GetExtraDays(), " ", d.GetCompletedAt() != nil))
			}
			if cursor = res.GetNextCursor(); cursor == "" {
				return out
			}
		}
	}
	if diff := cmp.Diff([]string{"lesson 12 2 false", "quiz 14 2 false", "lesson 15 2 false"}, titles()); diff != "" {
		t.Errorf("a hidden item is told of (-want +got):\n%s", diff)
	}
	f.view(ana, f.course, f.l1)
	if diff := cmp.Diff([]string{"lesson 12 2 true", "lesson 13 2 false", "quiz 14 2 false", "lesson 15 2 false"}, titles()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	list := func(who string, req *learningpb.ListDeadlinesRequest) []int32 {
		t.Helper()
		req.CourseId = f.course
		res, err := f.deadlines.ListDeadlines(f.as(who), req)
		if err != nil {
			t.Fatal(err)
		}
		var out []int32
		for _, d := range res.GetItems() {
			out = append(out, d.GetDue().GetExtraDays())
		}
		slices.Sort(out)
		return out
	}
	for who, want := range map[string][]int32{teacher: {0, 2}, assistant: {0, 0}} {
		if diff := cmp.Diff(want, list(who, &learningpb.ListDeadlinesRequest{ItemId: f.l3})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if got := list(teacher, &learningpb.ListDeadlinesRequest{AccountId: ana}); len(got) != 4 {
		t.Errorf("%v", got)
	}
	if _, err := f.deadlines.ListDeadlines(f.as(teacher), &learningpb.ListDeadlinesRequest{CourseId: f.course}); fault.CodeOf(err) != "request.invalid" {
		t.Errorf("%v", err)
	}
	if _, err := f.deadlines.ListDeadlines(f.as(ana), &learningpb.ListDeadlinesRequest{CourseId: f.course, ItemId: f.l3}); !fault.Is(err, fault.Forbidden) {
		t.Errorf("%v", err)
	}
}

func TestOverridesRefuse(t *testing.T) {
	t.Parallel()
	f := newTimed(t, rpctest.Everything)
	f.publish()
	ana := id.New("account")
	hear(f.world, f.service.enrollmentStarted, enrolled(f.course, ana, 0))
	due := to(at(day(9)))
	for name, c := range map[string]struct {
		err  error
		code string
	}{
		"says nothing":    {f.override(f.l1, ana, nil, nil, nil), "request.invalid"},
		"unknown item":    {f.override(id.New("lesson"), ana, nil, due, nil), "item.not_found"},
		"not enrolled":    {f.override(f.l1, id.New("account"), nil, due, nil), "target.unknown"},
		"unknown group":   {f.override(f.l1, f.groups[0], nil, due, nil), "target.unknown"},
		"nobody":          {f.override(f.l1, "x", nil, due, nil), "target.unknown"},
		"out of order":    {f.override(f.l1, ana, nil, due, to(at(day(8)))), "request.invalid"},
		"no moment":       {f.override(f.l1, ana, nil, to(&releasepb.Moment{}), nil), "request.invalid"},
		"says not what":   {f.override(f.l1, ana, nil, &learningpb.MomentOverride{}, nil), "request.invalid"},
		"far in the past": {f.override(f.l1, ana, nil, to(at(time.Date(3, 1, 1, 0, 0, 0, 0, time.UTC))), nil), "request.invalid"},
	} {
		if got := fault.CodeOf(c.err); got != c.code {
			t.Errorf("%s: %v, want %s", name, c.err, c.code)
		}
	}
	set, err := f.deadlines.SetDeadlineOverride(rpc.WithIfMatch(f.as(ana), "0"), &learningpb.SetDeadlineOverrideRequest{CourseId: f.course, ItemId: f.l1, TargetId: ana, Due: due})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.deadlines.SetDeadlineOverride(rpc.WithIfMatch(f.as(ana), "0"), &learningpb.SetDeadlineOverrideRequest{CourseId: f.course, ItemId: f.l1, TargetId: ana, Due: due}); fault.CodeOf(err) != "etag.stale" {
		t.Errorf("%v", err)
	}
	many, err := f.deadlines.SetDeadlineOverrides(f.as(ana), &learningpb.SetDeadlineOverridesRequest{CourseId: f.course, ItemIds: []string{f.l1, f.l2, f.l1}, TargetIds: []string{ana}, Until: due})
	if err != nil || many.GetOverrides() != 2 {
		t.Errorf("%v, %v", many, err)
	}
	list, err := f.deadlines.ListDeadlineOverrides(f.as(ana), &learningpb.ListDeadlineOverridesRequest{CourseId: f.course, TargetId: ana, PageSize: 1})
	if err != nil || len(list.GetItems()) != 1 || list.GetNextCursor() == "" {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := f.deadlines.DeleteDeadlineOverride(rpc.WithIfMatch(f.as(ana), set.GetEtag()), &learningpb.DeleteDeadlineOverrideRequest{CourseId: f.course, ItemId: f.l1, TargetId: ana}); fault.CodeOf(err) != "etag.stale" {
		t.Errorf("%v", err)
	}
	if got := len(f.stored(t)); got != 2 {
		t.Errorf("%d deadlines follow at once, want 2", got)
	}
}

// People come and go in groups, overrides change and deadlines are made anew, all
// at once: what stands at last is what a run from scratch makes.
func TestDeadlinesUnderConcurrency(t *testing.T) {
	t.Parallel()
	f := newTimed(t, rpctest.Everything)
	f.item(f.l1).Schedule = &releasepb.Schedule{Due: at(day(10))}
	f.publish()
	people := newIDs("account", 6)
	hear(f.world, f.service.groupChanged, &accesspb.GroupChanged{GroupId: f.groups[0], CourseId: f.course, Name: "A", Version: 1})
	for _, p := range people {
		hear(f.world, f.service.enrollmentStarted, enrolled(f.course, p, 0))
	}
	ctx, stop := context.WithCancel(t.Context())
	var workers, wg sync.WaitGroup
	for range 2 {
		workers.Go(func() { f.service.keepDeadlines(ctx) })
	}
	for i, p := range people {
		wg.Go(func() {
			for n := range 6 {
				together(f.world, f.service.groupMembershipChanged, &accesspb.GroupMembershipChanged{GroupId: f.groups[0], CourseId: f.course, AccountId: p, Member: n%2 == i%2, Version: int64(n + 1)})
				if err := f.override(f.l1, p, nil, to(at(day(10+n))), nil); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			if err := f.override(f.l2, f.groups[0], nil, to(at(day(20+i))), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	stop()
	workers.Wait()
	// What a worker had when it was stopped is locked until the server knows.
	for late := time.Now().Add(time.Minute); ; {
		f.work(t)
		var left int
		if err := f.db.QueryRow(t.Context(), `SELECT count(*) FROM deadline_task`).Scan(&left); err != nil {
			t.Fatal(err)
		}
		if left == 0 {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("%d tasks are left", left)
		}
	}
	got := f.stored(t)
	run(t, f.world, `DELETE FROM effective_deadline`)
	run(t, f.world, `INSERT INTO deadline_task (course_id, account_id) VALUES ($1, '')`, f.course)
	f.work(t)
	if diff := cmp.Diff(f.stored(t), got); diff != "" || len(got) < len(people) {
		t.Errorf("%d deadlines (-want +got):\n%s", len(got), diff)
	}
}
