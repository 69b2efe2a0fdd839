package gradebook

import "github.com/stoa-lms/stoa/internal/exact"

// Policy is how a course is graded. Percentages and weights are in percent: 62.5.
type Policy struct {
	// Which calculation, 1 to [Version].
	Version int
	// How the total comes of the categories: Points or Weighted. Weighted, those that
	// are in no other category and no extra credit weigh 100 together.
	Method Method
	// At most [MaxCategories], in the order of the course.
	Categories []Category
	// At most [MaxItems], in the order of the course.
	Items []Item
	// At most [MaxPeriods]; none where the course is graded as a whole. Either all have
	// a weight, 100 together, or none.
	Periods []Period
	// What becomes of a weight with nothing in it; Redistribute when empty.
	Empty Empty
	// What lateness costs; nothing when nil.
	Late *LatePolicy
	// What is taken off what was never handed in, in percent of its points, 0 to 100. A
	// missing item has no score when nil.
	MissingDeduction *exact.Number
	// What is done with the total; nothing when nil.
	Curve *Curve
	// The percentage that the total does not exceed, above 0; no limit when nil.
	Cap *exact.Number
	// How the total is rounded. The zero Rounding is half to even, without places.
	Rounding Rounding
	// The letters, from the best to the worst, at most [MaxLetters]; the last begins at
	// 0, and has all that is below too.
	Letters []Letter
	// The percentage with which the course is passed, 0 to 100; none when nil.
	PassMark *exact.Number
	// What letters and the pass mark are held against; Rounded when empty.
	Judge Judge
}

// Limits of a policy.
const (
	MaxCategories = 200
	MaxDepth      = 5 // of categories in categories
	MaxItems      = 5000
	MaxPeriods    = 20
	MaxLetters    = 30
)

// Method is how what is inside comes together.
type Method string

// The methods there are.
const (
	// Points counts all points alike.
	Points Method = "points"
	// Weighted is the mean of percentages by their weights.
	Weighted Method = "weighted"
	// Equal is the mean of percentages, all of weight 1.
	Equal Method = "equal"
)

// Empty is what becomes of the weight of a category or period in which nothing counts.
type Empty string

// What may become of it.
const (
	// Redistribute leaves it out, so that the others weigh more.
	Redistribute Empty = "redistribute"
	// AsZero counts it as 0 percent.
	AsZero Empty = "zero"
)

// Judge is what letters and the pass mark are held against.
type Judge string

// What they may be held against.
const (
	Rounded Judge = "rounded"
	Exact   Judge = "exact"
)

// Category is what is graded together.
type Category struct {
	// Its name within the course, unique.
	Key, Title string
	// The category that it is in; none when empty.
	Parent string
	// How its items and categories come together; Points when empty.
	Method Method
	// Its weight where it is inside of weights, at least 0; nil elsewhere.
	Weight *exact.Number
	// How many points it is worth where it is inside of points, above 0. The points of
	// what counts in it when nil.
	Points *exact.Number
	// How many of the lowest and of the highest do not count.
	DropLowest, DropHighest int
	// How many of the best count, all when 0. Not together with the drops.
	KeepHighest int
	// Whether it only adds.
	ExtraCredit bool
	// What is done with its percentage; nothing when nil.
	Curve *Curve
	// The percentage that it does not exceed, above 0; no limit when nil.
	Cap *exact.Number
}

// Item is what is marked, or is calculated of others.
type Item struct {
	// Its name within the course, unique.
	ID, Title string
	// How errors name it; "items[3]" when empty.
	Path string
	// The category that it is in. With none it counts by points where the whole course
	// does, and not at all otherwise.
	Category string
	// The grading period that it is in. With none it does not count where periods have
	// weights.
	Period string
	// Points possible, at least 0. With 0 it is a bonus.
	Points exact.Number
	// Its weight where its category is Weighted, at least 0; 1 when nil.
	Weight *exact.Number
	// Whether it only adds.
	ExtraCredit bool
	// Whether its category's drops pass it over.
	NeverDrop bool
	// Whether it counts for nothing. Formulas may name it nevertheless.
	Excluded bool
	// How its points are calculated of others; empty for what is marked.
	Formula string
}

// Period is a part of the course's time that is graded by itself.
type Period struct {
	// Its name within the course, unique.
	Key, Title string
	// Its share of the total; nil where the total is of all items alike.
	Weight *exact.Number
}

// LatePolicy is what lateness costs.
type LatePolicy struct {
	// Percent of the points for each interval begun, 0 to 100.
	Rate exact.Number
	// In seconds, above 0.
	Interval int64
	// The percentage below which lateness takes nobody, 0 to 100.
	Floor exact.Number
	// Seconds within which nothing is taken off. Who is later is late from the
	// deadline on, not from the end of the grace.
	Grace int64
}

// Curve changes a percentage by a stated rule that never turns a better one into a
// worse. Only rules that are exact are here: a square root is not.
type Curve struct {
	Kind CurveKind
	// Add: how many percentage points. Scale: which percentage becomes 100, above 0,
	// such as the best of the class.
	By exact.Number
	// Linear: From[0] becomes To[0] and From[1] becomes To[1], the others on the line
	// through both. From rises, To does not fall.
	From, To [2]exact.Number
}

// CurveKind is a kind of curve.
type CurveKind string

// The kinds there are.
const (
	Add    CurveKind = "add"
	Scale  CurveKind = "scale"
	Linear CurveKind = "linear"
)

// Rounding is how a total is rounded.
type Rounding struct {
	Mode exact.Mode
	// 0 to 4.
	Places int
}

// Letter is a letter and the least percentage that has it.
type Letter struct {
	Letter string
	Min    exact.Number // 0 to 100
}
