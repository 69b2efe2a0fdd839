package gradebook

// calculation is the code of a version. Versions share none that could change digits:
// a later one copies what it changes.
type calculation struct {
	student func(*Book, *Row, *Result)
	explain func(*Book, *Row, Seen, Basis) *Derivation
}

var calculations = map[int]*calculation{
	1: {student: student1, explain: explain1},
}
