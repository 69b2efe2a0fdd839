package gradebook

import (
	"slices"

	"github.com/stoa-lms/stoa/internal/exact"
)

// Row is all that is known of one student's marks in a course.
type Row struct {
	// As the policy's Items; what is missing at the end has no mark.
	Marks []Mark
	// Overrides of categories, periods and the total. One place has at most one, the
	// last counts otherwise; those that name what the policy does not have are passed
	// over.
	Overrides []Override
}

// Status is how far a mark is.
type Status uint8

// The states there are.
const (
	// None: neither handed in nor marked.
	None Status = iota
	// Submitted: handed in, not marked.
	Submitted
	// Graded: marked with Raw.
	Graded
	// Missing: overdue, never handed in, not marked.
	Missing
	// Excused: does not count for this student.
	Excused
)

// Mark is what a student has in an item. The zero Mark is that there is nothing.
type Mark struct {
	Status Status
	// Whether Override stands in place of what would be calculated. It does so in every
	// status but Excused.
	Overridden bool
	// Whether the student may not see it yet. Nothing of it is in posted totals.
	Hidden bool
	// Seconds after the deadline, 0 when in time. Counts for what is Graded.
	Late int64
	// Points before anything is taken off, for Graded. May be below 0 and above what
	// is possible. Not used for calculated items.
	Raw exact.Number
	// Attempts that may count in place of Raw and Late, for Graded: of all the one does
	// that has the most points after the late policy, the first of equal ones.
	Others []Attempt
	// Points, where Overridden.
	Override exact.Number
}

// Attempt is one of several that a mark may be of.
type Attempt struct {
	// As Mark has them.
	Raw  exact.Number
	Late int64
}

// attempt returns an attempt that a mark may be of, as [Book.Counting] numbers them.
func (m *Mark) attempt(i int) Attempt {
	if i == 0 {
		return Attempt{Raw: m.Raw, Late: m.Late}
	}
	return m.Others[i-1]
}

// Override is a percentage that a teacher has set.
type Override struct {
	// Of which category, over all of the course and in each period where periods have
	// weights; in one period where Period is set too. Of the period's total where only
	// Period is set, of the course's where neither is.
	Category, Period string
	// In percent; not rounded, curved nor capped afterwards but for the total's rounding.
	Percent exact.Number
	// Whether the student may not see it yet.
	Hidden bool
}

// Change is a mark that a row has in place of another, to ask what would be if.
type Change struct {
	Item int // as in the policy's Items
	Mark Mark
}

// WhatIf returns a copy of a row with changes. With Posted it begins with what the
// student may see: of hidden marks nothing is in it but that they are hidden. Its
// posted totals are what would be, as far as the student may know.
func (r *Row) WhatIf(seen Seen, changes ...Change) *Row {
	next := &Row{Marks: slices.Clone(r.Marks), Overrides: slices.Clone(r.Overrides)}
	if seen == Posted {
		for i := range next.Marks {
			if next.Marks[i].Hidden {
				next.Marks[i] = Mark{Hidden: true}
			}
		}
		next.Overrides = slices.DeleteFunc(next.Overrides, func(o Override) bool { return o.Hidden })
	}
	for _, c := range changes {
		if c.Item >= len(next.Marks) {
			next.Marks = append(next.Marks, make([]Mark, c.Item+1-len(next.Marks))...)
		}
		next.Marks[c.Item] = c.Mark
	}
	return next
}
