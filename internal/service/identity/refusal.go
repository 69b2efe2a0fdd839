package identity

import (
	"context"
	"errors"

	"github.com/stoa-lms/stoa/internal/pg"
)

// refusalError is what is told of a try whose traces stay: the count of wrong
// ones, and that what was good once was used.
type refusalError struct{ told error }

func (r refusalError) Error() string { return r.told.Error() }
func (r refusalError) Unwrap() error { return r.told }

// refused makes [Service.attempt] commit and tell err.
func refused(err error) error { return refusalError{err} }

func isRefusal(err error) bool { return errors.As(err, new(refusalError)) }

// attempt runs fn in a transaction that is kept when fn fails with a refusal.
func (s *Service) attempt(ctx context.Context, fn func(tx *pg.Tx) error) error {
	var refusal error
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		refusal = fn(tx)
		if isRefusal(refusal) {
			return nil
		}
		return refusal
	})
	if err != nil {
		return err
	}
	return refusal
}
