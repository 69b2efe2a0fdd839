package question

import (
	"fmt"
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// hotSpot asks to find places on a picture. R regions are right; each is a part that
// weighs 1/R. A mark takes the first right region in which it lies and that no mark
// before it has taken: 1. One that lies in no right region gives wrong_fraction; one
// in a region that is taken gives nothing. That is the mapping of areas of QTI's
// select point interaction (mapResponsePoint), in which an area counts once. Or all
// or nothing.
//
// A mark by a region's key lies in that region alone.
type hotSpot struct {
	*pb.HotSpotQuestion

	wrong      exact.Number
	rightOnes  int64
	regionKeys map[string]*pb.HotSpotRegion
}

// keyedRegion is a region with what is shown of it.
type keyedRegion struct{ *pb.HotSpotRegion }

// GetText returns what is there.
func (r keyedRegion) GetText() string { return r.GetDescription() }

func normaliseHotSpot(q *pb.QuestionContent) {
	b := q.GetHotSpot()
	fill(&b.Scoring, "per_part")
	share(&b.WrongFraction, "0")
	fillKeys(len(b.GetRegions()), func(i int) (*string, string) { return &b.Regions[i].Key, b.Regions[i].GetDescription() })
	if b.GetMaxMarks() != 0 {
		return
	}
	for _, r := range b.GetRegions() {
		if r.GetRight() {
			b.MaxMarks++
		}
	}
}

func newHotSpot(q *pb.QuestionContent, c *checker) kind {
	k := hotSpot{HotSpotQuestion: q.GetHotSpot(), regionKeys: map[string]*pb.HotSpotRegion{}}
	regions := k.GetRegions()
	c.keys("hot_spot.regions", len(regions), func(i int) string { return regions[i].GetKey() })
	k.wrong = c.fraction("hot_spot.wrong_fraction", k.GetWrongFraction(), "0", "-1", "0")
	for i, r := range regions {
		k.regionKeys[r.GetKey()] = r
		if r.GetRight() {
			k.rightOnes++
		}
		if !k.inside(r) {
			c.add(index("hot_spot.regions", i), "region.outside", "No part of it is on the picture, which is %d × %d.", k.GetWidth(), k.GetHeight())
		}
	}
	switch {
	case k.rightOnes == 0:
		c.add("hot_spot.regions", "region.no_right", "At least one region is right.")
	case k.rightOnes == int64(len(regions)):
		c.add("hot_spot.regions", "region.no_wrong", "At least one region is wrong: who can't see the picture chooses among them.")
	}
	if m := int64(k.GetMaxMarks()); m < k.rightOnes {
		c.add("hot_spot.max_marks", "region.marks", "There are more right regions than marks.")
	}
	return k
}

// inside reports whether a mark on the picture can lie in a region: whether the edges
// of both meet or one is within the other is told by their boxes, which is enough for
// who has drawn it beside the picture.
func (k hotSpot) inside(r *pb.HotSpotRegion) bool {
	var left, top int32
	switch s := r.GetShape().(type) {
	case *pb.HotSpotRegion_Circle:
		left, top = s.Circle.GetCenter().GetX()-s.Circle.GetRadius(), s.Circle.GetCenter().GetY()-s.Circle.GetRadius()
	case *pb.HotSpotRegion_Rectangle:
		left, top = s.Rectangle.GetCorner().GetX(), s.Rectangle.GetCorner().GetY()
	case *pb.HotSpotRegion_Polygon:
		left, top = k.GetWidth(), k.GetHeight()
		for _, p := range s.Polygon.GetPoints() {
			left, top = min(left, p.GetX()), min(top, p.GetY())
		}
	}
	return left < k.GetWidth() && top < k.GetHeight()
}

// contains reports whether a point lies in a region, its edge included.
func contains(r *pb.HotSpotRegion, p *pb.ImagePoint) bool {
	x, y := int64(p.GetX()), int64(p.GetY())
	switch s := r.GetShape().(type) {
	case *pb.HotSpotRegion_Circle:
		dx, dy, radius := x-int64(s.Circle.GetCenter().GetX()), y-int64(s.Circle.GetCenter().GetY()), int64(s.Circle.GetRadius())
		return dx*dx+dy*dy <= radius*radius
	case *pb.HotSpotRegion_Rectangle:
		dx, dy := x-int64(s.Rectangle.GetCorner().GetX()), y-int64(s.Rectangle.GetCorner().GetY())
		return dx >= 0 && dy >= 0 && dx <= int64(s.Rectangle.GetWidth()) && dy <= int64(s.Rectangle.GetHeight())
	case *pb.HotSpotRegion_Polygon:
		return inPolygon(s.Polygon.GetPoints(), x, y)
	}
	return false
}

// inPolygon counts the edges that a ray to the right crosses, in whole numbers.
func inPolygon(points []*pb.ImagePoint, x, y int64) bool {
	inside := false
	for i, a := range points {
		b := points[(i+1)%len(points)]
		ax, ay, bx, by := int64(a.GetX()), int64(a.GetY()), int64(b.GetX()), int64(b.GetY())
		cross := (bx-ax)*(y-ay) - (by-ay)*(x-ax)
		if cross == 0 && x >= min(ax, bx) && x <= max(ax, bx) && y >= min(ay, by) && y <= max(ay, by) {
			return true // on the edge
		}
		if (ay > y) != (by > y) && (cross > 0) == (by > ay) {
			inside = !inside
		}
	}
	return inside
}

func (k hotSpot) accept(c *checker, a *pb.Answer) {
	marks := a.GetHotSpot().GetMarks()
	if len(marks) > int(k.GetMaxMarks()) {
		c.add("hot_spot.marks", "region.too_many", "Set at most %d marks.", k.GetMaxMarks())
	}
	seen := map[string]bool{}
	for i, m := range marks {
		at := index("hot_spot.marks", i)
		switch p := m.GetPlace().(type) {
		case *pb.HotSpotMark_Point:
			if p.Point.GetX() > k.GetWidth() || p.Point.GetY() > k.GetHeight() {
				c.add(at+".point", "region.outside", "It is not on the picture, which is %d × %d.", k.GetWidth(), k.GetHeight())
			}
		case *pb.HotSpotMark_RegionKey:
			if k.regionKeys[p.RegionKey] == nil {
				c.add(at+".region_key", "key.unknown", "The question has nothing with this key.")
			}
			if seen[p.RegionKey] {
				c.add(at+".region_key", "key.twice", "It is marked before.")
			}
			seen[p.RegionKey] = true
		}
	}
}

// marks returns the marks that are on the picture, as many as there may be.
func (k hotSpot) marks(a *pb.Answer) []*pb.HotSpotMark {
	var out []*pb.HotSpotMark
	for _, m := range a.GetHotSpot().GetMarks() {
		p := m.GetPoint()
		if p != nil && p.GetX() <= k.GetWidth() && p.GetY() <= k.GetHeight() || k.regionKeys[m.GetRegionKey()] != nil {
			out = append(out, m)
		}
	}
	return out
}

func (k hotSpot) given(a *pb.Answer) given {
	switch n := len(k.marks(a)); {
	case n == 0:
		return nothing
	case n > int(k.GetMaxMarks()):
		return lacking
	}
	return whole
}

func (k hotSpot) view(in *Instance, v *pb.QuestionView) {
	regions := make([]keyedRegion, len(k.GetRegions()))
	for i, r := range k.GetRegions() {
		regions[i] = keyedRegion{r}
	}
	v.Body = &pb.QuestionView_HotSpot{HotSpot: &pb.HotSpotView{
		MediaId: k.GetMediaId(), Width: k.GetWidth(), Height: k.GetHeight(), Alt: in.text(k.GetAlt()), MaxMarks: k.GetMaxMarks(),
		Regions: keyed(in, shuffle(in.seed.stream("regions"), byKey(regions))),
	}}
}

// hit returns the region that a mark names or takes: a right one that is not taken,
// else any right one, else any.
func (k hotSpot) hit(m *pb.HotSpotMark, taken map[string]bool) *pb.HotSpotRegion {
	if r := k.regionKeys[m.GetRegionKey()]; r != nil {
		return r
	}
	var right, other *pb.HotSpotRegion
	for _, r := range k.GetRegions() {
		switch {
		case !contains(r, m.GetPoint()):
		case r.GetRight() && !taken[r.GetKey()]:
			return r
		case r.GetRight() && right == nil:
			right = r
		case !r.GetRight() && other == nil:
			other = r
		}
	}
	if right != nil {
		return right
	}
	return other
}

// markKey returns what the part of a mark is known by: the region that it hit, or its
// place where that is none.
func markKey(m *pb.HotSpotMark, r *pb.HotSpotRegion) string {
	if r != nil {
		return r.GetKey()
	}
	return fmt.Sprintf("%d,%d", m.GetPoint().GetX(), m.GetPoint().GetY())
}

func (k hotSpot) score(_ *Instance, a *pb.Answer) Score {
	var s Score
	marks := k.marks(a)
	if len(marks) > int(k.GetMaxMarks()) {
		return s // refused when it came; nothing is gained by marking all
	}
	weight := exact.Ratio(1, k.rightOnes)
	taken := map[string]bool{}
	right := true
	for _, m := range marks {
		r := k.hit(m, taken)
		switch {
		case r.GetRight() && taken[r.GetKey()]:
			// It counts nothing.
		case r.GetRight():
			taken[r.GetKey()] = true
			s.part(r.GetKey(), unit, weight, r.GetFeedback())
		default:
			right = false
			s.part(markKey(m, r), k.wrong, weight, r.GetFeedback())
		}
	}
	if k.GetScoring() == "all_or_nothing" {
		s.allOrNothing(right && int64(len(taken)) == k.rightOnes)
	}
	return s
}

func (k hotSpot) right(*Instance) *pb.Answer {
	out := &pb.HotSpotAnswer{}
	for _, r := range k.GetRegions() {
		if r.GetRight() {
			out.Marks = append(out.Marks, &pb.HotSpotMark{Place: &pb.HotSpotMark_RegionKey{RegionKey: r.GetKey()}})
		}
	}
	return &pb.Answer{Content: &pb.Answer_HotSpot{HotSpot: out}}
}

func (k hotSpot) words(in *Instance, a *pb.Answer, key string) string {
	var out []string
	taken := map[string]bool{}
	for _, m := range k.marks(a) {
		r := k.hit(m, taken)
		if r.GetRight() {
			taken[r.GetKey()] = true
		}
		text := plainText(in.text(r.GetDescription()))
		if r == nil {
			text = markKey(m, r)
		}
		if key == "" {
			out = append(out, text)
		} else if key == markKey(m, r) {
			return text
		}
	}
	return strings.Join(out, "; ")
}

func (k hotSpot) keep(a *pb.Answer, _ Score) *pb.Answer {
	out := &pb.HotSpotAnswer{}
	taken := map[string]bool{}
	for _, m := range k.marks(a) {
		if r := k.hit(m, taken); r.GetRight() && !taken[r.GetKey()] {
			taken[r.GetKey()] = true
			out.Marks = append(out.Marks, m)
		}
	}
	return &pb.Answer{Content: &pb.Answer_HotSpot{HotSpot: out}}
}
