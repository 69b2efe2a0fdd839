package learning

import (
	"context"
	"sync"
)

// Run does what the service does by itself, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.keepSettling(ctx) })
	s.keepDeadlines(ctx)
	wg.Wait()
	return nil
}
