package app

import (
	"context"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// staleAfter is how long a permission that was taken away may still be believed
// in this process (A7), whether or not anybody could tell it.
const staleAfter = time.Second

// permissions answers for the guard from what the access service said within
// the last second.
type permissions struct {
	access accesspb.AccessServiceClient // set before the first call
	known  *otter.Cache[subject, answer]
}

type subject struct{ account, course string }

type answer struct {
	permissions map[string]bool
	items       map[[2]string]bool // item and permission
	asked       time.Time
}

func (a answer) allows(q auth.Question) bool {
	return a.permissions[q.Permission] || q.Item != "" && a.items[[2]string{q.Item, q.Permission}]
}

var _ auth.Checker = (*permissions)(nil)

func newPermissions() (*permissions, error) {
	known, err := otter.New(&otter.Options[subject, answer]{
		MaximumSize:      100_000,
		ExpiryCalculator: otter.ExpiryWriting[subject, answer](staleAfter),
	})
	if err != nil {
		return nil, err
	}
	return &permissions{known: known}, nil
}

// NewChecker returns the checker of a process, which asks access: for who
// measures it from outside (bench/authz).
func NewChecker(access accesspb.AccessServiceClient) (auth.Checker, error) {
	p, err := newPermissions()
	if err != nil {
		return nil, err
	}
	p.access = access
	return p, nil
}

// Allowed implements [auth.Checker].
func (p *permissions) Allowed(ctx context.Context, q auth.Question, since time.Time) (bool, error) {
	s := subject{q.Account, q.Course}
	if a, ok := p.known.GetIfPresent(s); ok {
		if may := a.allows(q); may || !a.asked.Before(since) {
			return may, nil
		}
	}
	a := answer{permissions: map[string]bool{}, items: map[[2]string]bool{}, asked: time.Now()}
	res, err := p.access.ResolvePermissions(ctx, &accesspb.ResolvePermissionsRequest{
		Subjects: []*accesspb.ResolvePermissionsRequest_Subject{{AccountId: q.Account, CourseId: q.Course}},
	})
	if err != nil {
		return false, err
	}
	for _, name := range res.GetAnswers()[0].GetPermissions() {
		a.permissions[name] = true
	}
	for _, item := range res.GetAnswers()[0].GetItems() {
		for _, name := range item.GetPermissions() {
			a.items[[2]string{item.GetItemId(), name}] = true
		}
	}
	// Two askers may finish in the other order: what was asked last stays.
	p.known.Compute(s, func(old answer, found bool) (answer, otter.ComputeOp) {
		if found && old.asked.After(a.asked) {
			return old, otter.CancelOp
		}
		return a, otter.WriteOp
	})
	return a.allows(q), nil
}
