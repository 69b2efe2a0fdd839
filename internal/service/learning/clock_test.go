package learning

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCredit(t *testing.T) {
	t.Parallel()
	type report struct {
		at       int64 // seconds
		session  string
		sequence int64
		claimed  int64 // seconds of video
		credited int64
		repeated bool
	}
	for name, reports := range map[string][]report{
		"plays as it is":                      {{100, "a", 1, 0, 0, false}, {110, "a", 2, 10, 10, false}, {120, "a", 3, 10, 10, false}},
		"plays at twice the speed":            {{100, "a", 1, 0, 0, false}, {110, "a", 2, 20, 20, false}, {120, "a", 3, 20, 20, false}},
		"claims more than there was":          {{100, "a", 1, 0, 0, false}, {110, "a", 2, 600, 30, false}, {120, "a", 3, 600, 20, false}},
		"nothing before the first but little": {{100, "a", 1, 600, 20, false}, {100, "b", 1, 600, 0, false}, {100, "c", 1, 600, 0, false}},
		"was offline":                         {{100, "a", 1, 0, 0, false}, {1900, "a", 2, 1800, 1800, false}},
		"two tabs at once":                    {{100, "a", 1, 20, 20, false}, {100, "b", 1, 20, 0, false}, {110, "a", 2, 20, 20, false}, {110, "b", 2, 20, 0, false}, {120, "b", 3, 20, 20, false}, {120, "a", 3, 20, 0, false}},
		"comes again":                         {{100, "a", 1, 10, 10, false}, {130, "a", 1, 10, 10, true}, {130, "a", 2, 10, 10, false}, {140, "a", 1, 10, 0, true}},
		"comes late":                          {{100, "a", 1, 0, 0, false}, {120, "a", 3, 10, 10, false}, {121, "a", 2, 10, 10, false}, {122, "a", 2, 10, 0, true}},
		"a reach back is good once":           {{100, "a", 1, 0, 0, false}, {101, "a", 2, 12, 12, false}, {102, "a", 3, 12, 2, false}},
	} {
		var c watchClock
		for i, r := range reports {
			credited, repeated := c.credit(1e12+r.at*1000, r.session, r.sequence, r.claimed*1000)
			if credited != r.credited*1000 || repeated != r.repeated {
				t.Errorf("%s, report %d: %d ms, %t; want %d, %t", name, i, credited, repeated, r.credited*1000, r.repeated)
			}
		}
	}
}

// Whatever people report, from however many players: in no stretch of time between
// two reports is more credited than twice the stretch and what reaches back before it.
// Honest players lose nothing. The clock stays small, also when it is stored.
func TestCreditIsBounded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type earned struct{ at, credited int64 }
		var (
			c    watchClock
			all  []earned
			next = map[string]int64{}
			came = map[string]bool{}
		)
		now := int64(1e12)
		for range rapid.IntRange(1, 120).Draw(t, "reports") {
			now += rapid.OneOf(rapid.Int64Range(0, 3000), rapid.Int64Range(0, 60_000), rapid.Int64Range(0, 4_000_000)).Draw(t, "pause")
			session := fmt.Sprint("player-", rapid.IntRange(0, 30).Draw(t, "session"))
			if rapid.Bool().Draw(t, "few") {
				session = "player-0"
			}
			sequence := next[session] + 1
			if rapid.IntRange(0, 4).Draw(t, "jump") == 0 {
				sequence = rapid.Int64Range(1, next[session]+70).Draw(t, "sequence")
			}
			next[session] = max(next[session], sequence)
			credited, repeated := c.credit(now, session, sequence, rapid.Int64Range(0, 100_000_000).Draw(t, "claimed"))
			if key := fmt.Sprint(session, " ", sequence); !repeated {
				if came[key] && len(c.Players) < keptPlayers {
					t.Fatalf("%s counted twice", key)
				}
				came[key] = true
				all = append(all, earned{now, credited})
			}
			text, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			c = watchClock{}
			if err := json.Unmarshal(text, &c); err != nil {
				t.Fatal(err)
			}
			if len(c.Used) > keptSpans || len(c.Players) > keptPlayers || len(text) > 8000 {
				t.Fatalf("%d spans, %d players, %d bytes", len(c.Used), len(c.Players), len(text))
			}
		}
		var total int64
		for _, e := range all {
			total += e.credited
		}
		// All that is credited was real time between the first reach and now, used once.
		if most := speed * (now - all[0].at + firstReach); total > most+int64(len(all))*speed {
			t.Fatalf("%d ms credited in all, at most %d", total, most)
		}
	})
}

func TestHonestPlayersLoseNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var c watchClock
		now, twice := int64(1e12), rapid.Bool().Draw(t, "twice")
		c.credit(now, "player-a", 1, 0)
		var owed int64
		for sequence := range rapid.Int64Range(2, 60).Draw(t, "reports") {
			// The network holds reports up, at most three seconds.
			pause := rapid.Int64Range(1000, 30_000).Draw(t, "pause")
			now += pause
			claimed := pause
			if twice {
				claimed *= 2
			}
			late := rapid.Int64Range(0, 3000).Draw(t, "late")
			credited, _ := c.credit(now+late, "player-a", sequence+2, claimed)
			owed += claimed - credited
		}
		if owed != 0 {
			t.Fatalf("%d ms of what was played were cut", owed)
		}
	})
}

// free and use agree with a naive model, a bit for each moment.
func TestClockAgainstBits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var c watchClock
		var used [200]bool
		for range rapid.IntRange(1, 30).Draw(t, "n") {
			from := rapid.Int64Range(0, 199).Draw(t, "from")
			to := rapid.Int64Range(from, 199).Draw(t, "to")
			var free int64
			for i := from; i < to; i++ {
				if !used[i] {
					free++
				}
			}
			if got := c.free(from, to); got != free {
				t.Fatalf("free(%d, %d) = %d, want %d", from, to, got, free)
			}
			much := rapid.Int64Range(0, free).Draw(t, "much")
			c.use(from, to, much)
			for i := from; i < to && much > 0; i++ {
				if !used[i] {
					used[i] = true
					much--
				}
			}
			var want []span
			for i := range int64(200) {
				if used[i] && (len(want) == 0 || want[len(want)-1].To < i) {
					want = append(want, span{i, i})
				}
				if used[i] {
					want[len(want)-1].To = i + 1
				}
			}
			if fmt.Sprint(c.Used) != fmt.Sprint(want) {
				t.Fatalf("used %v, want %v", c.Used, want)
			}
		}
	})
}

func TestBusy(t *testing.T) {
	t.Parallel()
	last := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		last     *time.Time
		after    time.Duration
		credited time.Duration
		want     time.Duration
	}{
		{nil, 0, time.Hour, 0},
		{&last, 3 * time.Minute, 0, 3 * time.Minute},
		{&last, 3 * time.Minute, 6 * time.Minute, 3 * time.Minute},
		{&last, 10 * time.Minute, 0, 10 * time.Minute},
		{&last, 10*time.Minute + 1, 0, 0},
		{&last, time.Hour, 30 * time.Minute, 30 * time.Minute},
		{&last, time.Hour, 2 * time.Hour, time.Hour},
		{&last, -time.Minute, 0, 0},
	} {
		if got := busy(c.last, last.Add(c.after), c.credited.Milliseconds()); got != c.want {
			t.Errorf("after %s with %s: %s, want %s", c.after, c.credited, got, c.want)
		}
	}
}
