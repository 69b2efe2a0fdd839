package question

import (
	"math/bits"
	"strconv"
)

// Seed is what all that is random in a question comes from: the same seed shuffles
// and draws the same for ever.
//
// # The algorithm, which never changes
//
// A stream is a SplitMix64 generator (Steele, Lea and Flood, "Fast splittable
// pseudorandom number generators", OOPSLA 2014; the constants are those of
// Vigna's splitmix64.c). Its state begins as
//
//	mix(attempt + 0x9e3779b97f4a7c15) XOR fnv1a(label)
//
// where mix is the output function of SplitMix64 and fnv1a the FNV-1a hash of 64
// bits of the label's bytes. Labels are "slot/N/WHAT" for what is a question's own,
// N being the slot, and "shared/NAME/WHAT" for what synchronised questions have in
// common. A number below n is the next output modulo n, where outputs of at least
// 2^64 - (2^64 mod n) are passed over, so that all are equally likely. A shuffle is
// that of Fisher and Yates from the end: for i from n - 1 down to 1, i is swapped
// with a number below i + 1.
//
// What is shuffled is in the order of its keys before, or in that of the author where
// it tells nothing; see the view of each type. Variables are drawn as
// [variables.candidates] says.
type Seed struct {
	Attempt int64 // of the attempt
	Slot    int   // the question's place in the attempt, so that two differ
}

// stream returns the numbers of what is the question's own.
func (s Seed) stream(what string) *stream {
	return newStream(s.Attempt, "slot/"+strconv.Itoa(s.Slot)+"/"+what)
}

// shared returns the numbers of what questions of the attempt have in common.
func (s Seed) shared(name, what string) *stream {
	return newStream(s.Attempt, "shared/"+name+"/"+what)
}

// Draw returns k of the numbers 0 to n - 1, each at most once, in a random order:
// what is drawn of a pool. Where k is not below n it returns all of them. The Slot of
// the seed tells pools of one attempt apart.
func Draw(seed Seed, n, k int) []int {
	if n <= 0 || k <= 0 {
		return nil
	}
	k = min(k, n)
	s := seed.stream("pool")
	// A shuffle from the beginning that stops after k, of which only what was moved
	// is kept: pools are large, draws are small.
	moved := make(map[int]int, k)
	at := func(i int) int {
		if v, ok := moved[i]; ok {
			return v
		}
		return i
	}
	out := make([]int, k)
	for i := range out {
		j := i + s.below(n-i)
		out[i] = at(j)
		moved[j] = at(i)
	}
	return out
}

const golden = 0x9e3779b97f4a7c15

// stream is a SplitMix64 generator.
type stream struct{ state uint64 }

func newStream(seed int64, label string) *stream {
	h := uint64(0xcbf29ce484222325)
	for _, c := range []byte(label) {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	return &stream{mix(uint64(seed)+golden) ^ h} //nolint:gosec // G115: only the bits count
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (s *stream) next() uint64 {
	s.state += golden
	return mix(s.state)
}

// below returns a number of 0 to n - 1; n is above 0.
func (s *stream) below(n int) int {
	m := uint64(n) //nolint:gosec // G115: above 0
	// 2^64 mod n
	_, rest := bits.Div64(1%m, 0, m)
	for {
		if v := s.next(); rest == 0 || v < -rest {
			return int(v % m) //nolint:gosec // G115: below n
		}
	}
}

// shuffle returns a copy in a random order.
func shuffle[T any](s *stream, in []T) []T {
	out := append([]T(nil), in...)
	for i := len(out) - 1; i > 0; i-- {
		j := s.below(i + 1)
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// shuffleUnless returns a copy in a random order, in which those that are fixed have
// kept their places.
func shuffleUnless[T any](s *stream, in []T, fixed func(T) bool) []T {
	out := append([]T(nil), in...)
	var free []int
	for i, one := range out {
		if !fixed(one) {
			free = append(free, i)
		}
	}
	for i, from := range shuffle(s, free) {
		out[free[i]] = in[from]
	}
	return out
}
