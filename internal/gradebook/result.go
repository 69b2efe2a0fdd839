package gradebook

import "github.com/stoa-lms/stoa/internal/exact"

// Seen is whose eyes a total is for.
type Seen uint8

// The eyes there are.
const (
	// Full: with all marks.
	Full Seen = iota
	// Posted: with those that the student may see.
	Posted
)

// Basis is what a total makes of items without a score.
type Basis uint8

// The bases there are.
const (
	// Current leaves them out.
	Current Basis = iota
	// Final counts them as 0.
	Final
)

// Result is what a student has.
type Result struct {
	Full, Posted Totals
	// What the four views are made in, to be used again.
	room [2][2]View
}

// Totals are the two bases of a total.
type Totals struct {
	Current, Final View
}

// View returns one of the four views.
func (r *Result) View(seen Seen, basis Basis) *View {
	t := &r.Full
	if seen == Posted {
		t = &r.Posted
	}
	if basis == Final {
		return &t.Final
	}
	return &t.Current
}

// View is what a student has, seen in one way. Its slices may be shared with other
// views of the same result, and are for reading.
type View struct {
	// As the policy's Items.
	Items []Score
	// As the policy's Categories, each over all of the course. Where periods have
	// weights, these are beside the total, which is made of categories in periods.
	Categories []Value
	// As the policy's Periods.
	Periods []Value
	Total   Total
}

// Score is what a student has in an item.
type Score struct {
	// What counts, after the late policy and overrides; 0 where there is none.
	Points exact.Number
	// Whether there is a score. One that counts as 0 in a final total is none.
	Has   bool
	State State
}

// State is what becomes of an item in a total. Where periods have weights it is that of
// its period.
type State uint8

// The states there are.
const (
	// Unscored: it has no score, and is left out.
	Unscored State = iota
	// Counted.
	Counted
	// CountedZero: it has no score, and counts as 0 in a final total.
	CountedZero
	// ExtraCounted: it only adds.
	ExtraCounted
	// DroppedLowest and DroppedHighest: by a rule of its category.
	DroppedLowest
	DroppedHighest
	// ExcusedOut: excused.
	ExcusedOut
	// Uncounted: the course does not count it.
	Uncounted
)

// Value is a percentage that a category or a period comes to.
type Value struct {
	// In percent, exact.
	Percent exact.Number
	// Whether there is one: whether anything counts.
	Has bool
	// Whether a teacher has set it.
	Overridden bool
	// Points reached and possible in it, of what counts by points; both 0 where weights
	// make the percentage.
	Earned, Possible exact.Number
}

// Total is what a course comes to.
type Total struct {
	Value
	// Percent rounded as the course states.
	Rounded exact.Number
	// Its letter; empty where the course has none, or nothing counts.
	Letter string
	// Whether the pass mark is reached; false where the course has none.
	Passed bool
}
