package question

import (
	"slices"
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// categorise asks to put items into categories. N items belong somewhere; each of
// them is a part that weighs 1/N and gives
//
//	max(0, right categories it is in - wrong ones) / its right categories
//
// An item that belongs nowhere takes 1/N away where it is put somewhere, and gives
// nothing where it is left out, so that an empty answer earns nothing. That is right
// minus wrong over what is to be placed, as QTI's match interaction scores with a
// mapping of -1 for all pairs that are not right. Or all or nothing.
type categorise struct {
	*pb.CategoriseQuestion

	placed int64 // N
}

func normaliseCategorise(q *pb.QuestionContent) {
	b := q.GetCategorise()
	fill(&b.Scoring, "per_part")
	fillKeys(len(b.GetItems()), func(i int) (*string, string) { return &b.Items[i].Key, b.Items[i].GetText() })
}

func newCategorise(q *pb.QuestionContent, c *checker) kind {
	k := categorise{CategoriseQuestion: q.GetCategorise()}
	c.keys("categorise.categories", len(k.GetCategories()), func(i int) string { return k.GetCategories()[i].GetKey() })
	c.keys("categorise.items", len(k.GetItems()), func(i int) string { return k.GetItems()[i].GetKey() })
	for i, item := range k.GetItems() {
		at := index("categorise.items", i)
		c.refs(at+".right_keys", item.GetRightKeys(), k.has)
		if len(item.GetRightKeys()) > 1 && !k.GetSeveral() {
			c.add(at+".right_keys", "categorise.several", "An item is in one category unless several is set.")
		}
		if len(item.GetRightKeys()) > 0 {
			k.placed++
		}
	}
	if k.placed == 0 {
		c.add("categorise.items", "categorise.nowhere", "At least one item belongs to a category.")
	}
	return k
}

func (k categorise) has(key string) bool { _, ok := find(k.GetCategories(), key); return ok }

func (k categorise) accept(c *checker, a *pb.Answer) {
	list := a.GetCategorise().GetPlacements()
	for i, p := range list {
		at := index("categorise.placements", i)
		if _, ok := find(k.GetItems(), p.GetItemKey()); !ok {
			c.add(at+".item_key", "key.unknown", "The question has nothing with this key.")
		}
		if slices.ContainsFunc(list[:i], func(o *pb.ItemPlacement) bool { return o.GetItemKey() == p.GetItemKey() }) {
			c.add(at+".item_key", "key.twice", "This item is put somewhere before.")
		}
		c.refs(at+".category_keys", p.GetCategoryKeys(), k.has)
		if len(p.GetCategoryKeys()) > 1 && !k.GetSeveral() {
			c.add(at+".category_keys", "categorise.several", "An item is put into one category here.")
		}
	}
}

// in returns the categories that an item was put into.
func (k categorise) in(a *pb.Answer, item string) []string {
	for _, p := range a.GetCategorise().GetPlacements() {
		if p.GetItemKey() != item {
			continue
		}
		var out []string
		for _, key := range p.GetCategoryKeys() {
			if k.has(key) && !slices.Contains(out, key) && (len(out) == 0 || k.GetSeveral()) {
				out = append(out, key)
			}
		}
		return out
	}
	return nil
}

func (k categorise) given(a *pb.Answer) given {
	for _, item := range k.GetItems() {
		if len(k.in(a, item.GetKey())) > 0 {
			// What is left out may belong nowhere, so nothing can be said to lack.
			return whole
		}
	}
	return nothing
}

func (k categorise) view(in *Instance, v *pb.QuestionView) {
	categories := k.GetCategories()
	if k.GetShuffle() {
		categories = shuffle(in.seed.stream("categories"), categories)
	}
	items := shuffle(in.seed.stream("items"), byKey(k.GetItems()))
	v.Body = &pb.QuestionView_Categorise{Categorise: &pb.CategoriseView{
		Categories: keyed(in, categories), Items: keyed(in, items), Several: k.GetSeveral(),
	}}
}

func (k categorise) score(_ *Instance, a *pb.Answer) Score {
	var s Score
	weight := exact.Ratio(1, k.placed)
	right := true
	for _, item := range k.GetItems() {
		in := k.in(a, item.GetKey())
		hits := int64(0)
		for _, key := range in {
			if slices.Contains(item.GetRightKeys(), key) {
				hits++
			}
		}
		wrong := int64(len(in)) - hits
		right = right && wrong == 0 && hits == int64(len(item.GetRightKeys()))
		switch {
		case len(in) == 0:
			s.unanswered(item.GetKey(), weight)
		case len(item.GetRightKeys()) == 0:
			s.part(item.GetKey(), exact.Int(-1), weight, item.GetFeedback())
		default:
			s.part(item.GetKey(), exact.Ratio(max(0, hits-wrong), int64(len(item.GetRightKeys()))), weight, item.GetFeedback())
		}
	}
	if k.GetScoring() == "all_or_nothing" {
		s.allOrNothing(right)
	}
	return s
}

func (k categorise) right(*Instance) *pb.Answer {
	out := &pb.CategoriseAnswer{}
	for _, item := range k.GetItems() {
		if len(item.GetRightKeys()) > 0 {
			out.Placements = append(out.Placements, &pb.ItemPlacement{ItemKey: item.GetKey(), CategoryKeys: item.GetRightKeys()})
		}
	}
	return &pb.Answer{Content: &pb.Answer_Categorise{Categorise: out}}
}

func (k categorise) words(in *Instance, a *pb.Answer, key string) string {
	var out []string
	for _, item := range k.GetItems() {
		var names []string
		for _, c := range k.in(a, item.GetKey()) {
			category, _ := find(k.GetCategories(), c)
			names = append(names, in.text(category.GetText()))
		}
		switch {
		case len(names) == 0:
		case key == item.GetKey():
			return strings.Join(names, ", ")
		case key == "":
			out = append(out, in.text(item.GetText())+" → "+strings.Join(names, ", "))
		}
	}
	return strings.Join(out, "; ")
}

func (k categorise) keep(a *pb.Answer, s Score) *pb.Answer {
	out := &pb.CategoriseAnswer{}
	for _, p := range s.Parts {
		if p.State == Right {
			out.Placements = append(out.Placements, &pb.ItemPlacement{ItemKey: p.Key, CategoryKeys: k.in(a, p.Key)})
		}
	}
	return &pb.Answer{Content: &pb.Answer_Categorise{Categorise: out}}
}
