package question

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestSplitMix64 holds the generator to the first numbers of Vigna's splitmix64.c for
// the seed 1234567, as Rosetta Code has them.
func TestSplitMix64(t *testing.T) {
	t.Parallel()
	s := stream{1234567}
	var got []uint64
	for range 5 {
		got = append(got, s.next())
	}
	if diff := cmp.Diff([]uint64{6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821}, got); diff != "" {
		t.Error(diff)
	}
}

// TestFrozen: these are what attempts were made with, and were calculated by another
// program from the description of the algorithm. A change here changes what
// students see of attempts of before.
func TestFrozen(t *testing.T) {
	t.Parallel()
	s := newStream(-5, "slot/3/options")
	numbers := []int{s.below(10), s.below(1000), s.below(1 << 40)}
	if diff := cmp.Diff([]int{4, 849, 723907483826}, numbers); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int{0, 5, 2, 4, 7, 3, 1, 6}, shuffle(newStream(1, "x"), []int{0, 1, 2, 3, 4, 5, 6, 7})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int{610466, 618980, 880663, 669282, 330287}, Draw(Seed{42, 1}, 1_000_000, 5)); diff != "" {
		t.Error(diff)
	}
}

func TestDraw(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n, k := rapid.IntRange(-1, 50).Draw(t, "n"), rapid.IntRange(-1, 60).Draw(t, "k")
		seed := drawSeed(t)
		got := Draw(seed, n, k)
		if len(got) != max(0, min(n, k)) || !slices.Equal(got, Draw(seed, n, k)) {
			t.Fatalf("%d of %d: %v", k, n, got)
		}
		sorted := slices.Sorted(slices.Values(got))
		if len(slices.Compact(sorted)) != len(got) || len(got) > 0 && (sorted[0] < 0 || slices.Max(got) >= n) {
			t.Fatalf("%d of %d: %v", k, n, got)
		}
	})
}

// TestFair: each is drawn about as often as all others, at each place.
func TestFair(t *testing.T) {
	t.Parallel()
	const rounds, n, k = 20_000, 10, 3
	var drawn, first, last [n]int
	for i := range rounds {
		got := Draw(Seed{Attempt: int64(i)}, n, k)
		for _, one := range got {
			drawn[one]++
		}
		first[got[0]]++
		order := shuffle(Seed{Attempt: int64(i)}.stream("options"), []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
		last[order[9]]++
	}
	for i := range n {
		// Five standard deviations of a binomial.
		if d := drawn[i] - rounds*k/n; d < -325 || d > 325 {
			t.Errorf("%d is drawn %d times of %d", i, drawn[i], rounds)
		}
		for _, got := range []int{first[i], last[i]} {
			if d := got - rounds/n; d < -213 || d > 213 {
				t.Errorf("%d is at the end %d times of %d", i, got, rounds)
			}
		}
	}
}
