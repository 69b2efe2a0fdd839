package commerce

import (
	"context"
	"slices"
	"time"

	"github.com/stripe/stripe-go/v85"
	"golang.org/x/sync/errgroup"
)

// stripePage is how many things one answer of Stripe has at most.
const stripePage = 100

// Transactions implements [Provider]. Stripe lists the newest first and, before a
// cursor, what is next to it; only the oldest have to be searched for.
func (s *Stripe) Transactions(ctx context.Context, after string) (list []Transaction, last string, err error) {
	var page []*stripe.BalanceTransaction
	if after == "" {
		page, err = s.oldest(ctx)
	} else {
		p := &stripe.BalanceTransactionListParams{}
		p.EndingBefore = &after
		page, _, err = s.transactions(ctx, p)
	}
	if err != nil {
		return nil, "", err
	}
	last = after
	for _, t := range page {
		list, last = append(list, stripeTransaction(t)), t.ID
	}
	return list, last, s.nameIntents(ctx, page, list)
}

// lookUpsAtOnce bounds how many charges are looked up at once.
const lookUpsAtOnce = 4

// nameIntents says of payments that carry nothing of ours which periods of subscriptions
// they are of: Stripe makes those by itself, and only its invoices know. What takes a
// payment back that failed may be a refund in name, which carries nothing either.
func (s *Stripe) nameIntents(ctx context.Context, page []*stripe.BalanceTransaction, list []Transaction) error {
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(lookUpsAtOnce)
	for i, t := range page {
		if (list[i].Kind != "payment" && list[i].Kind != "payment_failed") || t.Source == nil || list[i].Ref != t.Source.ID {
			continue
		}
		name := func(intent string, meta map[string]string) error {
			payment, ref, err := s.paidBy(each, intent, meta)
			if payment+ref != "" {
				list[i].Ref = payment + ref // one of them
			}
			return err
		}
		switch {
		case t.Source.Charge != nil && t.Source.Charge.PaymentIntent != nil:
			g.Go(func() error { return name(t.Source.Charge.PaymentIntent.ID, nil) })
		case t.Source.Refund != nil && t.Source.Refund.PaymentIntent != nil:
			g.Go(func() error {
				intent, err := s.intent(each, t.Source.Refund.PaymentIntent.ID)
				if err != nil {
					return err
				}
				return name(intent.ID, intent.Metadata)
			})
		}
	}
	return g.Wait()
}

// transactions returns a page, the oldest first, and whether there are more.
func (s *Stripe) transactions(ctx context.Context, p *stripe.BalanceTransactionListParams) ([]*stripe.BalanceTransaction, bool, error) {
	p.Limit = new(int64(stripePage))
	p.Expand = []*string{new("data.source")}
	l := s.client.V1BalanceTransactions.List(ctx, p)
	if err := stripeFault(l.Err()); err != nil {
		return nil, false, err
	}
	page := l.Data()
	if p.EndingBefore == nil { // else the client has turned it round
		slices.Reverse(page)
	}
	return page, l.Meta().HasMore, nil
}

// oldest returns the first transactions of the account: it halves the time until what
// is before it fits in a page.
func (s *Stripe) oldest(ctx context.Context) ([]*stripe.BalanceTransaction, error) {
	page, more, err := s.transactions(ctx, &stripe.BalanceTransactionListParams{})
	if err != nil || !more {
		return page, err
	}
	from, until := time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), time.Now().Unix()+1
	for until-from > 1 {
		middle := from + (until-from)/2
		page, more, err = s.transactions(ctx, &stripe.BalanceTransactionListParams{CreatedRange: &stripe.RangeQueryParams{LesserThan: middle}})
		switch {
		case err != nil:
			return nil, err
		case len(page) == 0:
			from = middle
		case more:
			until = middle
		default:
			return page, nil
		}
	}
	// More than a page in the first second there is: it is walked to its end.
	p := &stripe.BalanceTransactionListParams{CreatedRange: &stripe.RangeQueryParams{LesserThan: until}}
	for {
		page, more, err = s.transactions(ctx, p)
		if err != nil || !more {
			return page, err
		}
		p.StartingAfter = &page[0].ID
	}
}

// stripeTransaction says what moved the balance, and of what.
func stripeTransaction(t *stripe.BalanceTransaction) Transaction {
	n := Transaction{
		ID: t.ID, Kind: string(t.Type), Amount: t.Amount, Fee: t.Fee, Currency: stripeCurrency(t.Currency), At: time.Unix(t.Created, 0).UTC(),
	}
	source := t.Source
	if source != nil {
		n.Ref = source.ID
	}
	switch t.Type {
	case stripe.BalanceTransactionTypeCharge, stripe.BalanceTransactionTypePayment, stripe.BalanceTransactionTypePaymentFailureRefund:
		n.Kind = "payment"
		if t.Type == stripe.BalanceTransactionTypePaymentFailureRefund {
			n.Kind = "payment_failed"
		}
		if source != nil && source.Charge != nil && source.Charge.Metadata[metaPayment] != "" {
			n.Ref = source.Charge.Metadata[metaPayment]
		}
	case stripe.BalanceTransactionTypeRefund, stripe.BalanceTransactionTypePaymentRefund:
		n.Kind = "refund"
	case stripe.BalanceTransactionTypeRefundFailure:
		n.Kind = "refund_failed"
	case stripe.BalanceTransactionTypeAdjustment:
		switch t.ReportingCategory {
		case stripe.BalanceTransactionReportingCategoryDispute:
			n.Kind = "dispute"
		case stripe.BalanceTransactionReportingCategoryDisputeReversal:
			n.Kind = "dispute_won"
		default: // by its own name
		}
	case stripe.BalanceTransactionTypeTransfer:
		n.Kind = "transfer"
	case stripe.BalanceTransactionTypeTransferRefund:
		n.Kind = "reversal"
		if source != nil && source.TransferReversal != nil && source.TransferReversal.Metadata[metaKey] != "" {
			n.Ref = source.TransferReversal.Metadata[metaKey]
		}
	default: // by its own name
	}
	return n
}
