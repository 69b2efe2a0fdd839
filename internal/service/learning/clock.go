package learning

import (
	"slices"
	"time"
)

// What a report of a player is good for. All is real time in milliseconds; what is
// earned with it is twice as much video.
const (
	speed       = 2                               // at most, of a player
	reachBack   = 5_000                           // before the last report of the session
	firstReach  = 10_000                          // before the first one
	farthest    = 24 * 60 * 60 * 1000             // however long ago the last one was
	keptSpans   = 50                              // of time that is used up
	keptPlayers = 20                              // the latest
	visitGap    = 10 * time.Minute                // between two things done in one visit
	maxMedia    = int64(24 * time.Hour / 1000000) // the longest file, in milliseconds
)

// watchClock holds people to real time: which of it has earned them video, on
// whichever player, so that none is good for two.
type watchClock struct {
	Used    []span   `json:"used,omitempty"` // in order, apart
	Players []player `json:"players,omitempty"`
}

// span is a stretch of time, its end not included: of the day in Unix milliseconds,
// or of a file.
type span struct {
	From int64 `json:"f"`
	To   int64 `json:"t"`
}

// player is a session of reports.
type player struct {
	ID       string `json:"id"`
	At       int64  `json:"at"`   // of its last report, Unix milliseconds
	Top      int64  `json:"top"`  // the largest sequence that came
	Came     uint64 `json:"came"` // which of the 64 up to it did, the largest as the lowest bit
	Credited int64  `json:"cr"`   // what the report with the largest sequence earned
}

// credit takes a report at the time now that claims so much video, and returns how
// much it is good for. A report that came before is told, and changes nothing.
func (c *watchClock) credit(now int64, session string, sequence, claimed int64) (credited int64, repeated bool) {
	i := slices.IndexFunc(c.Players, func(p player) bool { return p.ID == session })
	p, from := player{ID: session}, now-firstReach
	if i >= 0 {
		p, from = c.Players[i], max(c.Players[i].At-reachBack, now-farthest)
		if behind := p.Top - sequence; behind >= 64 || behind >= 0 && p.Came&(1<<behind) != 0 {
			if behind == 0 {
				return p.Credited, true
			}
			return 0, true
		}
		c.Players = slices.Delete(c.Players, i, i+1)
	}
	credited = min(claimed, speed*c.free(from, now))
	c.use(from, now, (credited+speed-1)/speed)
	if ahead := sequence - p.Top; ahead > 0 {
		p.Came = p.Came<<min(ahead, 64) | 1
		p.Top, p.Credited = sequence, credited
	} else {
		p.Came |= 1 << -ahead
	}
	p.At = max(p.At, now)
	c.Players = append(c.Players, p)
	if n := len(c.Players); n > keptPlayers {
		c.Players = slices.Delete(c.Players, 0, n-keptPlayers)
	}
	c.forget(now)
	return credited, false
}

// newest reports whether a report is later than all that came of its session.
func (c *watchClock) newest(session string, sequence int64) bool {
	i := slices.IndexFunc(c.Players, func(p player) bool { return p.ID == session })
	return i < 0 || sequence > c.Players[i].Top
}

// free returns how much of the time between is not used up.
func (c *watchClock) free(from, to int64) int64 {
	free := max(to-from, 0)
	for _, u := range c.Used {
		free -= max(min(u.To, to)-max(u.From, from), 0)
	}
	return free
}

// use marks so much of the time between as used, the earliest of what is free.
func (c *watchClock) use(from, to, much int64) {
	var taken []span
	at := from
	for _, u := range append(slices.Clone(c.Used), span{to, to}) {
		if end := min(u.From, to, at+much); end > at && much > 0 {
			taken = append(taken, span{at, end})
			much -= end - at
		}
		at = max(at, u.To)
	}
	c.Used = union(append(c.Used, taken...))
}

// forget keeps the clock small. What is forgotten of the used time is out of every
// report's reach; where there are too many spans, what is between is lost to their
// person.
func (c *watchClock) forget(now int64) {
	c.Used = slices.DeleteFunc(c.Used, func(u span) bool { return u.To < now-farthest })
	for len(c.Used) > keptSpans {
		closest := 1
		for i := 2; i < len(c.Used); i++ {
			if c.Used[i].From-c.Used[i-1].To < c.Used[closest].From-c.Used[closest-1].To {
				closest = i
			}
		}
		c.Used[closest-1].To = c.Used[closest].To
		c.Used = slices.Delete(c.Used, closest, closest+1)
	}
}

// union returns spans in order and apart.
func union(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return int(a.From - b.From) })
	var out []span
	for _, s := range spans {
		switch n := len(out); {
		case s.From >= s.To:
		case n > 0 && s.From <= out[n-1].To:
			out[n-1].To = max(out[n-1].To, s.To)
		default:
			out = append(out, s)
		}
	}
	return out
}

// busy is how much time somebody has spent who did the last thing at last and does
// another now, with so much video played between.
func busy(last *time.Time, now time.Time, credited int64) time.Duration {
	if last == nil {
		return 0
	}
	gap := max(now.Sub(*last), 0)
	if gap <= visitGap {
		return gap
	}
	return min(gap, time.Duration(credited)*time.Millisecond)
}
