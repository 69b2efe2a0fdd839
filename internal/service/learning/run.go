package learning

import "context"

// Run does what the service does by itself, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	s.keepDeadlines(ctx)
	return nil
}
