package gradebook

// calculation is the code of a version. Versions share none that could change digits.
type calculation struct {
	student func(*Book, *Row, *Result)
	explain func(*Book, *Row, Seen, Basis) *Derivation
}
