package learning

import (
	"context"
	"slices"

	"github.com/stoa-lms/stoa/internal/pg"
)

// place is an item of a course.
type place struct{ CourseID, ItemID string }

// States of items that are not open to somebody.
const (
	locked = "locked"
	hidden = "hidden"
)

// closedTo returns the items of some courses that are not open to somebody now,
// whatever the number of courses by one statement, and one more for each version that
// is not in memory.
func (s *Service) closedTo(ctx context.Context, q pg.Querier, accountID string, courseIDs []string) (map[place]string, error) {
	courses := slices.Compact(slices.Sorted(slices.Values(courseIDs)))
	if len(courses) == 0 {
		return map[place]string{}, nil
	}
	at := s.now()
	list, err := s.persons(ctx, q, accountID, at, courses...)
	if err != nil {
		return nil, err
	}
	out := map[place]string{}
	for i, p := range list {
		if p == nil {
			continue
		}
		if p.facts.EnrolledAt.IsZero() {
			if p.all, err = isStaff(ctx); err != nil {
				return nil, err
			}
		}
		for _, it := range p.version.items {
			if d := p.decide(it, at); d.Hidden {
				out[place{courses[i], it.GetId()}] = hidden
			} else if !d.Open {
				out[place{courses[i], it.GetId()}] = locked
			}
		}
	}
	return out, nil
}

// openOrNone returns an item if somebody can open it now, and else none: where they stood
// may have been locked or hidden since.
func (s *Service) openOrNone(ctx context.Context, q pg.Querier, accountID, courseID, itemID string) (string, error) {
	if itemID == "" {
		return "", nil
	}
	closed, err := s.closedTo(ctx, q, accountID, []string{courseID})
	if err != nil || closed[place{courseID, itemID}] != "" {
		return "", err
	}
	return itemID, nil
}
