package gradebook

import "github.com/stoa-lms/stoa/internal/exact"

// calculation is the code of a version. Versions share none that could change digits:
// a later one copies what it changes.
type calculation struct {
	student  func(*Book, *Row, *Result)
	explain  func(*Book, *Row, Seen, Basis) *Derivation
	part     func(*Book, *Row, Seen, Basis, Part) *Derivation
	counting func(*Policy, exact.Number, *Mark) int
}

var calculations = map[int]*calculation{
	1: {student: student1, explain: explain1, part: part1, counting: counting1},
}
