package access

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/email"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// Handlers returns what the service does on others' events. They may come
// twice, late and in any order: each keeps the newest it has heard.
func (s *Service) Handlers() []bus.Handler {
	return []bus.Handler{
		bus.Copy(s.coursePublished), bus.Copy(s.courseUnpublished), bus.Copy(s.priceSet), bus.On(s.orderPaid), bus.On(s.giftRedeemed),
		bus.On(s.linesRefunded), bus.On(s.subscriptionEnded),
		bus.Copy(s.accountCreated), bus.Copy(s.accountUpdated),
	}
}

func (s *Service) coursePublished(ctx context.Context, tx *pg.Tx, event *coursespb.CoursePublished) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO course (course_id, owner_id, sequence, published) VALUES ($1, $2, $3, true)
		ON CONFLICT (course_id) DO UPDATE SET owner_id = EXCLUDED.owner_id, sequence = EXCLUDED.sequence, published = true
		WHERE course.sequence < EXCLUDED.sequence`, event.GetCourseId(), event.GetOwnerId(), event.GetSequence())
	if err != nil {
		return fmt.Errorf("course published: %w", err)
	}
	return nil
}

func (s *Service) courseUnpublished(ctx context.Context, tx *pg.Tx, event *coursespb.CourseUnpublished) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO course (course_id, sequence, published) VALUES ($1, $2, false)
		ON CONFLICT (course_id) DO UPDATE SET sequence = EXCLUDED.sequence, published = false
		WHERE course.sequence < EXCLUDED.sequence`, event.GetCourseId(), event.GetSequence())
	if err != nil {
		return fmt.Errorf("course unpublished: %w", err)
	}
	return nil
}

func (s *Service) priceSet(ctx context.Context, tx *pg.Tx, event *commercepb.PriceSet) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO course (course_id, price_version, free) VALUES ($1, $2, $3)
		ON CONFLICT (course_id) DO UPDATE SET price_version = EXCLUDED.price_version, free = EXCLUDED.free
		WHERE course.price_version < EXCLUDED.price_version`,
		event.GetCourseId(), event.GetVersion(), event.GetPrice().GetAmount() == 0)
	if err != nil {
		return fmt.Errorf("price set: %w", err)
	}
	return nil
}

// orderPaid gives the buyer what each line bought, once: access to the course, for ever or
// for a period of a subscription, or seats of it to give out. A gift gives nothing until somebody takes it.
func (s *Service) orderPaid(ctx context.Context, tx *pg.Tx, event *commercepb.OrderPaid) error {
	// From the payment on, but not from a moment that this process's clock has
	// yet to reach: what is granted now can be used now.
	starts := s.now()
	if paid := event.GetPaidAt(); paid.IsValid() && paid.AsTime().Before(starts) {
		starts = paid.AsTime().Truncate(time.Microsecond)
	}
	var list []entitlement
	var blocks []seatBlock
	for _, line := range event.GetLines() {
		switch line.GetKind() {
		case "", "course":
			list = append(list, entitlement{
				AccountID: event.GetBuyerId(), CourseID: line.GetCourseId(),
				Source: sourceOrder, SourceID: line.GetLineId(), StartsAt: starts,
			})
		case sourceSubscription:
			e := entitlement{
				AccountID: event.GetBuyerId(), CourseID: line.GetCourseId(),
				Source: sourceSubscription, SourceID: line.GetLineId(), StartsAt: starts, EndsAt: moment(line.GetEndsAt()),
			}
			if at := moment(line.GetStartsAt()); at != nil && at.Before(starts) {
				e.StartsAt = *at // a period may be paid for later than it begins
			}
			list = append(list, e)
		case "seats":
			block, err := s.newSeatBlock(ctx, seatBlock{
				CourseID: line.GetCourseId(), HolderID: event.GetBuyerId(), SourceID: line.GetLineId(), Seats: max(line.GetQuantity(), 1),
			}, &starts, nil, nil, "")
			if err != nil {
				return fmt.Errorf("order paid: %w", err)
			}
			blocks = append(blocks, block)
		}
	}
	if _, err := s.grant(ctx, tx, list); err != nil {
		return fmt.Errorf("order paid: %w", err)
	}
	if len(blocks) == 0 {
		return nil
	}
	if err := s.makeSeatBlocks(ctx, tx, blocks); err != nil {
		return fmt.Errorf("order paid: %w", err)
	}
	return nil
}

// giftRedeemed gives who took a gift access to the course, once.
func (s *Service) giftRedeemed(ctx context.Context, tx *pg.Tx, event *commercepb.GiftRedeemed) error {
	starts := s.now()
	if at := event.GetRedeemedAt(); at.IsValid() && at.AsTime().Before(starts) {
		starts = at.AsTime().Truncate(time.Microsecond)
	}
	if _, err := s.grant(ctx, tx, []entitlement{{
		AccountID: event.GetAccountId(), CourseID: event.GetCourseId(), Source: sourceGift, SourceID: event.GetLineId(), StartsAt: starts,
	}}); err != nil {
		return fmt.Errorf("gift redeemed: %w", err)
	}
	return nil
}

func (s *Service) accountCreated(ctx context.Context, tx *pg.Tx, event *identitypb.AccountCreated) error {
	address, err := email.Of(s.vault.Keys(), event)
	if err != nil {
		return err
	}
	return s.keepPerson(ctx, tx, person{event.GetAccountId(), event.GetName(), address, event.GetEmailVerified(), 1})
}

func (s *Service) accountUpdated(ctx context.Context, tx *pg.Tx, event *identitypb.AccountUpdated) error {
	address, err := email.Of(s.vault.Keys(), event)
	if err != nil {
		return err
	}
	return s.keepPerson(ctx, tx, person{event.GetAccountId(), event.GetName(), address, event.GetEmailVerified(), event.GetVersion()})
}

// person is what identity tells of an account.
type person struct {
	account, name, address string
	verified               bool
	version                int64
}

func (s *Service) keepPerson(ctx context.Context, tx *pg.Tx, p person) error {
	var index []byte
	if p.address != "" {
		index = email.Index(s.vault.Keys(), Schema.Name, p.address)
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO person (account_id, name, email_index, email_verified, version) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (account_id) DO UPDATE SET
			name = EXCLUDED.name, email_index = EXCLUDED.email_index, email_verified = EXCLUDED.email_verified, version = EXCLUDED.version
		WHERE person.version < EXCLUDED.version`, p.account, p.name, index, p.verified, p.version)
	if err != nil {
		return fmt.Errorf("person: %w", err)
	}
	return nil
}

// namesOf returns the names of those accounts that are known.
func namesOf(ctx context.Context, q pg.Querier, accounts []string) (map[string]string, error) {
	rows, err := q.Query(ctx, `SELECT account_id, name FROM person WHERE account_id = ANY($1)`, accounts)
	if err != nil {
		return nil, fmt.Errorf("names: %w", err)
	}
	out := map[string]string{}
	var account, name string
	if _, err := pgx.ForEachRow(rows, []any{&account, &name}, func() error { out[account] = name; return nil }); err != nil {
		return nil, fmt.Errorf("names: %w", err)
	}
	return out, nil
}
