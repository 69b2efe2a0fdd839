package commerce

import (
	"context"
	"slices"

	"github.com/stripe/stripe-go/v85"
)

// CreateAccount implements [Provider]. The platform answers for fees and losses; Stripe
// asks the teacher for what the law wants to know, and shows them their payouts.
func (s *Stripe) CreateAccount(ctx context.Context, key, teacher string) (AccountNews, error) {
	account, err := stripeOnce(key, func(key *string) (*stripe.Account, error) {
		p := &stripe.AccountCreateParams{
			Controller: &stripe.AccountCreateControllerParams{
				Fees:                  &stripe.AccountCreateControllerFeesParams{Payer: new("application")},
				Losses:                &stripe.AccountCreateControllerLossesParams{Payments: new("application")},
				StripeDashboard:       &stripe.AccountCreateControllerStripeDashboardParams{Type: new("express")},
				RequirementCollection: new("stripe"),
			},
			Capabilities: &stripe.AccountCreateCapabilitiesParams{Transfers: &stripe.AccountCreateCapabilitiesTransfersParams{Requested: new(true)}},
			Metadata:     map[string]string{metaTeacher: teacher},
		}
		p.IdempotencyKey = key
		return s.client.V1Accounts.Create(ctx, p)
	})
	if err != nil {
		return AccountNews{}, err
	}
	return stripeAccount(account), nil
}

// AccountState implements [Provider].
func (s *Stripe) AccountState(ctx context.Context, ref string) (AccountNews, error) {
	account, err := s.client.V1Accounts.GetByID(ctx, ref, nil)
	if err := stripeFault(err); err != nil {
		return AccountNews{}, err
	}
	n := stripeAccount(account)
	if n.TeacherID == "" {
		return AccountNews{}, errNotOurs
	}
	return n, nil
}

func stripeAccount(a *stripe.Account) AccountNews {
	n := AccountNews{TeacherID: a.Metadata[metaTeacher], Ref: a.ID}
	n.Ready = a.Capabilities != nil && a.Capabilities.Transfers == stripe.AccountCapabilityStatusActive
	if r := a.Requirements; r != nil {
		n.Requirements = slices.Concat(r.PastDue, r.CurrentlyDue)
		slices.Sort(n.Requirements)
		n.Requirements = slices.Compact(n.Requirements)
	}
	return n
}

// OnboardingURL implements [Provider].
func (s *Stripe) OnboardingURL(ctx context.Context, ref, back string) (string, error) {
	link, err := s.client.V1AccountLinks.Create(ctx, &stripe.AccountLinkCreateParams{
		Account: &ref, Type: new(string(stripe.AccountLinkTypeAccountOnboarding)), ReturnURL: &back, RefreshURL: &back,
	})
	if err := stripeFault(err); err != nil {
		return "", err
	}
	return link.URL, nil
}

// Transfer implements [Provider]. One payout is one group, in which it is looked first.
func (s *Stripe) Transfer(ctx context.Context, key string, t TransferRequest) (string, error) {
	amount, currency, err := stripeAmount(t.Amount, t.Currency)
	if err != nil {
		return "", err
	}
	list := &stripe.TransferListParams{TransferGroup: &t.PayoutID}
	list.Limit = new(int64(100))
	for known, err := range s.client.V1Transfers.List(ctx, list).All(ctx) {
		if err := stripeFault(err); err != nil {
			return "", err
		}
		if known.Metadata[metaKey] == key {
			return known.ID, nil
		}
	}
	transfer, err := stripeOnce(key, func(idempotency *string) (*stripe.Transfer, error) {
		p := &stripe.TransferCreateParams{
			Amount: amount, Currency: currency, Destination: &t.AccountRef, TransferGroup: &t.PayoutID,
			Metadata: map[string]string{metaPayout: t.PayoutID, metaKey: key},
		}
		p.IdempotencyKey = idempotency
		return s.client.V1Transfers.Create(ctx, p)
	})
	if err != nil {
		return "", err
	}
	return transfer.ID, nil
}

// ReverseTransfer implements [Provider].
func (s *Stripe) ReverseTransfer(ctx context.Context, key, ref string, amount int64) error {
	list := &stripe.TransferReversalListParams{ID: &ref}
	list.Limit = new(int64(100))
	for known, err := range s.client.V1TransferReversals.List(ctx, list).All(ctx) {
		if err := stripeFault(err); err != nil {
			return err
		}
		if known.Metadata[metaKey] == key {
			return nil
		}
	}
	_, err := stripeOnce(key, func(idempotency *string) (*stripe.TransferReversal, error) {
		p := &stripe.TransferReversalCreateParams{ID: &ref, Amount: &amount, Metadata: map[string]string{metaKey: key}}
		p.IdempotencyKey = idempotency
		return s.client.V1TransferReversals.Create(ctx, p)
	})
	return err
}
