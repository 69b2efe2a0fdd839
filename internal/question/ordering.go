package question

import (
	"slices"
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// ordering asks to bring n items into their order. Each is a part. The rules are those
// of Moodle's ordering (question/type/ordering), of whose ten these are kept:
//
//	all_or_nothing      1 where all are in their place (its "all or nothing")
//	absolute_position   items in their place / n ("absolute position")
//	relative_to_next    items that are followed by what has to follow them, the last
//	                    by nothing / n ("relative to next item, including last")
//	longest_increasing  (L - 1) / (n - 1), L being the length of the longest sequence
//	                    of items in their order, others between ("longest ordered
//	                    subset", less what any answer would have)
type ordering struct {
	*pb.OrderingQuestion

	places map[string]int // by key: where it belongs
}

func normaliseOrdering(q *pb.QuestionContent) {
	b := q.GetOrdering()
	fill(&b.Scoring, "absolute_position")
	fill(&b.Layout, "vertical")
	fillKeys(len(b.GetItems()), func(i int) (*string, string) { return &b.Items[i].Key, b.Items[i].GetText() })
}

func newOrdering(q *pb.QuestionContent, c *checker) kind {
	k := ordering{q.GetOrdering(), map[string]int{}}
	c.keys("ordering.items", len(k.GetItems()), func(i int) string { return k.GetItems()[i].GetKey() })
	for i, item := range k.GetItems() {
		k.places[item.GetKey()] = i
	}
	return k
}

func (k ordering) accept(c *checker, a *pb.Answer) {
	c.refs("ordering.keys", a.GetOrdering().GetKeys(), func(key string) bool { _, ok := k.places[key]; return ok })
}

// order returns where the items that were given belong, in the order in which they
// were given.
func (k ordering) order(a *pb.Answer) []int {
	var out []int
	for _, key := range a.GetOrdering().GetKeys() {
		if at, ok := k.places[key]; ok && !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	return out
}

func (k ordering) given(a *pb.Answer) given {
	switch n := len(k.order(a)); n {
	case 0:
		return nothing
	case len(k.GetItems()):
		return whole
	}
	return lacking
}

// view shows the items in any order, the right one too: one that is never the right
// one would tell something of it.
func (k ordering) view(in *Instance, v *pb.QuestionView) {
	items := shuffle(in.seed.stream("items"), byKey(k.GetItems()))
	v.Body = &pb.QuestionView_Ordering{Ordering: &pb.OrderingView{Items: keyed(in, items), Layout: k.GetLayout()}}
}

func (k ordering) score(_ *Instance, a *pb.Answer) Score {
	order := k.order(a)
	n := len(k.GetItems())
	var right []int // the items that are right, by the rule
	switch k.GetScoring() {
	case "relative_to_next":
		for i, at := range order {
			if i+1 < len(order) && order[i+1] == at+1 || at == n-1 && i == n-1 {
				right = append(right, at)
			}
		}
	case "longest_increasing":
		right = longestIncreasing(order)
	default:
		for i, at := range order {
			if i == at {
				right = append(right, at)
			}
		}
	}
	var s Score
	weight := exact.Ratio(1, int64(n))
	for i, item := range k.GetItems() {
		switch {
		case !slices.Contains(order, i):
			s.unanswered(item.GetKey(), weight)
		case slices.Contains(right, i):
			s.part(item.GetKey(), unit, weight, "")
		default:
			s.part(item.GetKey(), exact.Number{}, weight, "")
		}
	}
	switch k.GetScoring() {
	case "longest_increasing":
		s.Fraction = exact.Ratio(int64(max(0, len(right)-1)), int64(n-1))
		s.rule("longest_increasing")
	case "all_or_nothing":
		s.allOrNothing(len(right) == n)
	default:
		s.rule(k.GetScoring())
	}
	return s
}

// longestIncreasing returns the longest increasing sequence; of several as long, the
// one whose last is found first.
func longestIncreasing(order []int) []int {
	length, before := make([]int, len(order)), make([]int, len(order))
	best := -1
	for i := range order {
		length[i], before[i] = 1, -1
		for j := range i {
			if order[j] < order[i] && length[j]+1 > length[i] {
				length[i], before[i] = length[j]+1, j
			}
		}
		if best < 0 || length[i] > length[best] {
			best = i
		}
	}
	var out []int
	for ; best >= 0; best = before[best] {
		out = append(out, order[best])
	}
	slices.Reverse(out)
	return out
}

func (k ordering) right(*Instance) *pb.Answer {
	out := &pb.OrderingAnswer{}
	for _, item := range k.GetItems() {
		out.Keys = append(out.Keys, item.GetKey())
	}
	return &pb.Answer{Content: &pb.Answer_Ordering{Ordering: out}}
}

func (k ordering) words(in *Instance, a *pb.Answer, key string) string {
	var out []string
	for i, at := range k.order(a) {
		item := k.GetItems()[at]
		switch key {
		case "":
			out = append(out, in.text(item.GetText()))
		case item.GetKey():
			return exact.Int(int64(i+1)).String() + "\\. " + in.text(item.GetText())
		}
	}
	return strings.Join(out, " → ")
}
