package assessment

import (
	"context"
	"sync"
)

// Run does what the service does by itself, until ctx ends: it prepares attempts, ends
// those whose time is over, scores them, has what is eased for people and what is
// scored anew follow, and forgets connections that are gone and events that are old.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.keepTime(ctx) })
	wg.Go(func() { s.keepScoring(ctx) })
	wg.Go(func() { s.keepEasing(ctx) })
	wg.Go(func() { s.keepPreparing(ctx) })
	wg.Go(func() { s.keepFiling(ctx) })
	wg.Go(func() { s.keepComparing(ctx) })
	wg.Go(func() { s.keepWatch(ctx) })
	wg.Go(func() { s.keepRekeying(ctx) })
	wg.Wait()
	return nil
}
