package release

import (
	"testing"
	"time"
	_ "time/tzdata" // the machine that tests need not have zones

	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/release/releasepb"
)

func after(days int32, at string) *releasepb.Moment {
	return &releasepb.Moment{When: &releasepb.Moment_AfterStart{AfterStart: &releasepb.RelativeMoment{Days: days, Time: at}}}
}

func parse(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestResolveOverChangesOfClocks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ zone, start, at, want string }{
		// Clocks go from 02:00 to 03:00.
		"Berlin, before":          {"Europe/Berlin", "2026-03-28T12:00:00Z", "01:59", "2026-03-29T01:59:00+01:00"},
		"Berlin, left out":        {"Europe/Berlin", "2026-03-28T12:00:00Z", "02:30", "2026-03-29T03:00:00+02:00"},
		"Berlin, after":           {"Europe/Berlin", "2026-03-28T12:00:00Z", "03:00", "2026-03-29T03:00:00+02:00"},
		"Berlin, the clock stays": {"Europe/Berlin", "2026-03-28T12:00:00+01:00", "", "2026-03-29T12:00:00+02:00"},
		// And from 03:00 back to 02:00.
		"Berlin, twice":         {"Europe/Berlin", "2026-10-24T12:00:00Z", "02:30", "2026-10-25T02:30:00+02:00"},
		"Berlin, after it":      {"Europe/Berlin", "2026-10-24T12:00:00Z", "03:00", "2026-10-25T03:00:00+01:00"},
		"New York, left out":    {"America/New_York", "2026-03-07T12:00:00Z", "02:15", "2026-03-08T03:00:00-04:00"},
		"New York, twice":       {"America/New_York", "2026-10-31T12:00:00Z", "01:15", "2026-11-01T01:15:00-04:00"},
		"Kolkata":               {"Asia/Kolkata", "2026-03-28T20:00:00Z", "00:15", "2026-03-30T00:15:00+05:30"},
		"Apia, no such day":     {"Pacific/Apia", "2011-12-29T08:00:00-10:00", "12:00", "2011-12-31T00:00:00+14:00"},
		"Apia, the day before":  {"Pacific/Apia", "2011-12-28T08:00:00-10:00", "23:59", "2011-12-29T23:59:00-10:00"},
		"Lord Howe, half left":  {"Australia/Lord_Howe", "2026-10-03T12:00:00+10:30", "02:15", "2026-10-04T02:30:00+11:00"},
		"Lord Howe, half twice": {"Australia/Lord_Howe", "2026-04-04T12:00:00+11:00", "01:45", "2026-04-05T01:45:00+11:00"},
	} {
		zone := Zone(c.zone)
		got, ok := Resolve(after(1, c.at), parse(t, c.start), zone)
		if want := parse(t, c.want); !ok || !got.Equal(want) {
			t.Errorf("%s: %v, want %v", name, got.In(zone), want.In(zone))
		}
	}
	if _, ok := Resolve(after(1, ""), time.Time{}, nil); ok {
		t.Error("after a start that there is not")
	}
	if got := AddDays(parse(t, "2026-10-20T23:59:00+02:00"), 7, Zone("Europe/Berlin")); !got.Equal(parse(t, "2026-10-27T23:59:00+01:00")) {
		t.Errorf("a week later: %v", got)
	}
	if Zone("Nowhere/Else") != time.UTC || Zone("Local") != time.UTC {
		t.Error("a zone that is none")
	}
}

func TestDaysEnrolled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		zone, enrolled string
		days           int
		want           string
	}{
		"from the enrollment on": {"Europe/Berlin", "2026-03-28T12:00:00+01:00", 0, "2026-03-28T12:00:00+01:00"},
		"the next midnight":      {"Europe/Berlin", "2026-03-28T12:00:00+01:00", 1, "2026-03-29T00:00:00+01:00"},
		"after a short day":      {"Europe/Berlin", "2026-03-28T12:00:00+01:00", 2, "2026-03-30T00:00:00+02:00"},
		"after a long day":       {"Europe/Berlin", "2026-10-24T12:00:00+02:00", 2, "2026-10-26T00:00:00+01:00"},
		"of the zone":            {"Asia/Kolkata", "2026-03-28T20:00:00Z", 1, "2026-03-30T00:00:00+05:30"},
		"over the lost day":      {"Pacific/Apia", "2011-12-29T08:00:00-10:00", 2, "2011-12-31T00:00:00+14:00"},
		"midnight is left out":   {"America/Sao_Paulo", "2018-11-03T12:00:00-03:00", 1, "2018-11-04T01:00:00-02:00"},
		"midnight is twice":      {"America/Havana", "2026-10-31T12:00:00-04:00", 1, "2026-11-01T00:00:00-04:00"},
		// 00:01 became 23:01 of the day before: the day that had begun goes on.
		"back over midnight": {"America/St_Johns", "2006-10-28T12:00:00-02:30", 1, "2006-10-29T00:00:00-02:30"},
	} {
		zone := Zone(c.zone)
		got, want := EnrolledFor(parse(t, c.enrolled), c.days, zone), parse(t, c.want)
		if !got.Equal(want) {
			t.Errorf("%s: %v, want %v", name, got.In(zone), want.In(zone))
		}
	}
}

// The moment by which somebody has to have enrolled says the same as the moment
// from which on their days are enough, in every zone and year.
func TestEnrolledBeforeIsEnrolledFor(t *testing.T) {
	t.Parallel()
	names := append([]string{"Pacific/Apia", "America/St_Johns", "America/Havana", "America/Sao_Paulo", "Africa/Casablanca", "Asia/Beirut"}, zones...)
	rapid.Check(t, func(t *rapid.T) {
		zone := Zone(rapid.SampledFrom(names).Draw(t, "zone"))
		at := time.Unix(rapid.Int64Range(0, 2_000_000_000).Draw(t, "at"), 0).UTC()
		if rapid.Bool().Draw(t, "near a change") {
			if _, end := at.In(zone).ZoneBounds(); !end.IsZero() {
				at = end.Add(time.Duration(rapid.IntRange(-120, 120).Draw(t, "minutes")) * time.Minute).UTC()
			}
		}
		days := rapid.IntRange(0, 40).Draw(t, "days")
		enrolled := at.Add(-time.Duration(rapid.IntRange(0, 45*24*4).Draw(t, "before")) * 15 * time.Minute)
		if got, want := enrolled.Before(EnrolledBefore(at, days, zone)), !at.Before(EnrolledFor(enrolled, days, zone)); got != want {
			t.Fatalf("enrolled %v, at %v, %d days: %t, want %t", enrolled.In(zone), at.In(zone), days, got, want)
		}
		moment, ok := Resolve(after(int32(days), "02:30"), enrolled, zone) //nolint:gosec // small
		if !ok || moment.Before(enrolled.Add(-24*time.Hour)) || moment.After(enrolled.Add(time.Duration(days+2)*24*time.Hour)) {
			t.Fatalf("%v", moment)
		}
	})
}

func TestPercent(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"62.5": "62.5", "0": "0", "100.0000": "100", "0.0001": "0.0001", "-12.25": "-12.25", "007": "7"} {
		p, err := ParsePercent(text)
		if err != nil || p.String() != want {
			t.Errorf("%s: %v, %v", text, p, err)
		}
	}
	for _, text := range []string{"", ".5", "5.", "1.23456", "1e3", "+1", "--1", "1 ", "9999999999999"} {
		if p, err := ParsePercent(text); err == nil {
			t.Errorf("%q is %v", text, p)
		}
	}
}
