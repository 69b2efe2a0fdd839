package release

import (
	"time"

	"github.com/stoa-lms/stoa/internal/release/releasepb"
)

// Resolve returns when a moment is for somebody who starts at start, by the
// calendar of a zone; nil is UTC. It reports false for a moment that says
// nothing, and for one after a start that there is not.
func Resolve(m *releasepb.Moment, start time.Time, zone *time.Location) (time.Time, bool) {
	if zone == nil {
		zone = time.UTC
	}
	switch when := m.GetWhen().(type) {
	case *releasepb.Moment_At:
		return when.At.AsTime().UTC(), true
	case *releasepb.Moment_AfterStart:
		if start.IsZero() {
			return time.Time{}, false
		}
		at := start.In(zone)
		clock := time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute +
			time.Duration(at.Second())*time.Second + time.Duration(at.Nanosecond())
		if text := when.AfterStart.GetTime(); text != "" {
			t, err := time.Parse("15:04", text)
			if err != nil {
				return time.Time{}, false
			}
			clock = time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
		}
		return wall(at.Year(), at.Month(), at.Day()+int(when.AfterStart.GetDays()), clock, zone), true
	}
	return time.Time{}, false
}

// AddDays returns the moment so many days later by the calendar of a zone: the
// wall clock stays, as for a [releasepb.RelativeMoment].
func AddDays(at time.Time, days int, zone *time.Location) time.Time {
	if days == 0 {
		return at
	}
	t, _ := Resolve(&releasepb.Moment{When: &releasepb.Moment_AfterStart{AfterStart: &releasepb.RelativeMoment{Days: int32(days)}}}, at, zone) //nolint:gosec // a few hundred
	return t
}

// EnrolledFor returns from when on somebody has been enrolled for so many days:
// that many midnights of the zone after their enrollment.
func EnrolledFor(enrolledAt time.Time, days int, zone *time.Location) time.Time {
	y, m, d := dayOf(enrolledAt, zone)
	if t := midnight(y, m, d+days, zone); t.After(enrolledAt) {
		return t
	}
	return enrolledAt
}

// EnrolledBefore returns the moment such that exactly those who enrolled before
// it, and not after at, have been enrolled for so many days at a moment.
func EnrolledBefore(at time.Time, days int, zone *time.Location) time.Time {
	y, m, d := dayOf(at, zone)
	return midnight(y, m, d-days+1, zone)
}

// dayOf returns the day of a zone that a moment is in: the last that has begun.
// It is that of the calendar but where clocks are put back over midnight, when a
// day that has begun does not end again.
func dayOf(at time.Time, zone *time.Location) (int, time.Month, int) {
	y, m, d := at.In(zone).Date()
	for !midnight(y, m, d+1, zone).After(at) {
		d++
	}
	for midnight(y, m, d, zone).After(at) {
		d--
	}
	return y, m, d
}

func midnight(y int, m time.Month, d int, zone *time.Location) time.Time {
	return wall(y, m, d, 0, zone)
}

// wall returns the first moment at which the clocks of a zone show at least the
// time of day of a day. So what a change of clocks leaves out is the moment of
// the change, and of what comes twice it is the first. [time.Date] promises
// neither.
func wall(y int, m time.Month, d int, clock time.Duration, zone *time.Location) time.Time {
	shown := time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Add(clock)
	for from := shown.Add(-26 * time.Hour).In(zone); ; {
		begin, end := from.ZoneBounds()
		_, offset := from.Zone()
		t := shown.Add(-time.Duration(offset) * time.Second)
		if end.IsZero() || t.Before(end) {
			if t.Before(begin) && !begin.IsZero() {
				t = begin
			}
			return t.UTC()
		}
		from = end
	}
}
