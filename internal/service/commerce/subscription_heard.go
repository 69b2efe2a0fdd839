package commerce

import (
	"context"

	"github.com/stoa-lms/stoa/internal/pg"
)

// heardSubscription takes in how a subscription stands, in whatever order news comes.
func (s *Service) heardSubscription(context.Context, *pg.Tx, SubscriptionNews) error {
	return errSubscriptionUnsupported
}
