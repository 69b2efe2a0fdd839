package learning

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

func (w *world) statistics(account, course string) *learningpb.Statistics {
	w.t.Helper()
	s, err := w.calendar.GetStatistics(w.as(account), &learningpb.GetStatisticsRequest{CourseId: course})
	if err != nil {
		w.t.Fatalf("GetStatistics: %v", err)
	}
	return s
}

// Days in a row, in zones whose clocks change meanwhile, at the edges of each day.
func TestStreakOverClockChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	for zone, first := range map[string]time.Time{
		"Europe/Berlin":       time.Date(2026, 3, 27, 0, 0, 0, 0, time.UTC),  // forward on the 29th
		"America/New_York":    time.Date(2026, 10, 30, 0, 0, 0, 0, time.UTC), // back on the 1st
		"America/Sao_Paulo":   time.Date(2018, 11, 2, 0, 0, 0, 0, time.UTC),  // midnight of the 4th is left out
		"America/Havana":      time.Date(2026, 10, 30, 0, 0, 0, 0, time.UTC), // midnight of the 1st comes twice
		"Australia/Lord_Howe": time.Date(2026, 4, 3, 0, 0, 0, 0, time.UTC),   // half an hour back on the 5th
		"Pacific/Apia":        time.Date(2011, 12, 28, 0, 0, 0, 0, time.UTC), // the 30th is left out
		"Asia/Kolkata":        time.Date(2026, 1, 30, 0, 0, 0, 0, time.UTC),
	} {
		course, ana, l := id.New("course"), id.New("account"), newIDs("lesson", 1)
		hear(w, w.service.coursePublished, published(course, 1, l...))
		hear(w, w.service.accountUpdated, &identitypb.AccountUpdated{AccountId: ana, Name: "Ana", TimeZone: zone, Version: 2})
		in, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		streak := 0
		for n := range 6 {
			y, m, d := first.AddDate(0, 0, n).Date()
			start, end := startOfDay(y, m, d, in), startOfDay(y, m, d+1, in)
			if !start.Before(end) { // Apia had no such day
				streak = 0
				continue
			}
			for _, at := range []time.Time{start, end.Add(-time.Second)} {
				if got := at.In(in).Format(time.DateOnly); got != first.AddDate(0, 0, n).Format(time.DateOnly) {
					t.Fatalf("%s: %s is on %s", zone, at, got)
				}
			}
			// The last second of one day, the first of the next, by turns.
			at := start
			if n%2 == 0 {
				at = end.Add(-time.Second)
			}
			w.at(at)
			w.view(ana, course, l[0])
			streak++
			w.at(end.Add(-time.Second))
			s := w.statistics(ana, "")
			if s.GetStreakDays() != int32(streak) || s.GetTimeZone() != zone || len(s.GetDays()) != 30 {
				t.Errorf("%s, day %d: a streak of %d in %s, want %d", zone, n, s.GetStreakDays(), s.GetTimeZone(), streak)
			}
			if last := s.GetDays()[29].GetDay(); last != first.AddDate(0, 0, n).Format(time.DateOnly) {
				t.Errorf("%s, day %d: today is %s", zone, n, last)
			}
		}
		at := startOfDay(first.Year(), first.Month(), first.Day()+6, in)
		for days, want := range map[int]int{0: streak, 1: 0} {
			w.at(at.AddDate(0, 0, days).Add(23 * time.Hour))
			if s := w.statistics(ana, course); int(s.GetStreakDays()) != want || int(s.GetLongestStreakDays()) < streak {
				t.Errorf("%s, %d days later: %d, the longest %d", zone, days+1, s.GetStreakDays(), s.GetLongestStreakDays())
			}
		}
	}
}

// Somebody without a zone has days of the course's, and handing in counts as well.
func TestHandingInCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, ana, l := id.New("course"), id.New("account"), newIDs("lesson", 1)
	e := published(course, 1, l...)
	e.TimeZone = "Asia/Tokyo"
	hear(w, w.service.coursePublished, e)
	handed := func(at time.Time) {
		hear(w, w.service.activityResultChanged, &assessmentpb.ActivityResultChanged{CourseId: course, ItemId: id.New("activity"), AccountId: ana, SubmittedAt: timestamppb.New(at), Version: 1})
	}
	handed(time.Date(2026, 5, 1, 16, 0, 0, 0, time.UTC)) // the 2nd in Tokyo
	handed(time.Date(2026, 5, 1, 20, 0, 0, 0, time.UTC))
	w.at(time.Date(2026, 5, 3, 1, 0, 0, 0, time.UTC))
	w.view(ana, course, l[0])
	if s := w.statistics(ana, ""); s.GetStreakDays() != 2 || s.GetActiveDays() != 2 || s.GetTimeZone() != "Asia/Tokyo" || s.GetDays()[29].GetCompletedItems() != 1 {
		t.Errorf("%v", s)
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, ana, l := id.New("course"), id.New("account"), newIDs("lesson", 4)
	hear(w, w.service.coursePublished, published(course, 1, l...))
	hear(w, w.service.enrollmentStarted, enrolled(course, ana, 0))
	for i, due := range []*time.Time{onDay(-1), onDay(1), onDay(2), onDay(9)} {
		w.deadline(ana, course, l[i], nil, due, nil)
	}
	w.at(*onDay(0))
	w.view(ana, course, l[0]) // late
	w.view(ana, course, l[1]) // in time
	w.view(ana, course, l[3]) // long before
	w.at(*onDay(3))
	s := w.statistics(ana, "")
	got := fmt.Sprint(s.GetDueSoFar(), s.GetDoneOfDue(), s.GetDoneInTime(), s.GetCourses()[0].GetDueSoFar(), s.GetCourses()[0].GetPercent())
	if got != "3 2 1 3 75" {
		t.Errorf("due, done, in time, of the course, percent: %s", got)
	}
}

// Time, active days and streaks are what a count over all that was done says, after
// anything anybody does in two courses.
func TestStatisticsAgainstRecount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		type act struct {
			at       time.Time
			course   int
			credited int64
			acted    bool
		}
		ana := id.New("account")
		hear(w, w.service.accountCreated, &identitypb.AccountCreated{AccountId: ana, TimeZone: zone.String()})
		var courses, lessons, media [2]string
		for i := range courses {
			c, l, m, _ := classroom(w, 1, 0, 90)
			courses[i], lessons[i], media[i] = c, l[0], m[0]
		}
		now := time.Date(2026, 3, 27, 20, 0, 0, 0, time.UTC)
		var acts []act
		for n := range rapid.IntRange(1, 30).Draw(t, "acts") {
			now = now.Add(time.Duration(rapid.OneOf(rapid.Int64Range(1, 700), rapid.Int64Range(1, 100_000), rapid.Int64Range(599, 601)).Draw(t, "pause")) * time.Second)
			w.at(now)
			a := act{at: now, course: rapid.IntRange(0, 1).Draw(t, "course"), acted: true}
			if rapid.Bool().Draw(t, "watch") {
				req := &learningpb.RecordWatchRequest{CourseId: courses[a.course], LessonId: lessons[a.course], SessionId: "player-1", Sequence: int64(n + 1)}
				if long := rapid.Int64Range(0, 600).Draw(t, "long") * 1000; long > 0 {
					req.Intervals = append(req.Intervals, played(media[a.course], 0, long))
				}
				a.credited = w.report(ana, req).GetCreditedMs()
				a.acted = a.credited > 0
			} else {
				w.view(ana, courses[a.course], lessons[a.course])
			}
			acts = append(acts, a)
		}
		var spent [2]time.Duration
		days := map[string]bool{}
		for i, a := range acts {
			if a.acted {
				days[a.at.In(zone).Format(time.DateOnly)] = true
			}
			if i == 0 {
				continue
			}
			gap, of := a.at.Sub(acts[i-1].at), acts[i-1].course
			if a.credited > 0 {
				of = a.course
			}
			if gap > 10*time.Minute {
				gap = min(gap, time.Duration(a.credited)*time.Millisecond)
			}
			spent[of] += gap
		}
		longest, row, last := 0, 0, time.Time{}
		for _, d := range slices.Sorted(maps.Keys(days)) {
			at, _ := time.Parse(time.DateOnly, d)
			if row++; !at.Equal(last.AddDate(0, 0, 1)) {
				row = 1
			}
			last, longest = at, max(longest, row)
		}
		today, _ := time.Parse(time.DateOnly, now.Add(time.Second).In(zone).Format(time.DateOnly))
		if last.Before(today.AddDate(0, 0, -1)) {
			row = 0
		}
		s := w.statistics(ana, "")
		got := []int64{s.GetSpentSeconds(), int64(s.GetActiveDays()), int64(s.GetLongestStreakDays()), int64(s.GetStreakDays())}
		for _, c := range courses {
			got = append(got, w.statistics(ana, c).GetSpentSeconds())
		}
		want := []int64{
			int64((spent[0] + spent[1]) / time.Second), int64(len(days)), int64(longest), int64(row), int64(spent[0] / time.Second), int64(spent[1] / time.Second),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("spent, days, longest, streak, of each course (-recounted +told):\n%s", diff)
		}
	})
}
