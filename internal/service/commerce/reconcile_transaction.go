package commerce

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/money"
	"github.com/stoa-lms/stoa/internal/pg"
)

// heardWithin is how long it may take until what moved the balance is booked.
const heardWithin = time.Hour

// Transactions that have nothing to do with orders and teachers, by the names that Stripe
// has for them: what goes between the provider and the platform's bank, and what the
// provider takes for itself. They are booked as they are.
var (
	toBank  = map[string]bool{"payout": true, "payout_cancel": true, "payout_failure": true, "topup": true, "topup_reversal": true}
	charges = map[string]bool{"stripe_fee": true, "stripe_fx_fee": true, "tax_fee": true}
)

// kindPaymentFailed is of a transaction that takes back a payment which failed after the
// bank was asked for it.
const kindPaymentFailed = "payment_failed"

// The kinds of what is booked for them.
const (
	kindBank        = "bank"
	kindProviderFee = "provider_fee"
)

// unmatched is a transaction that is not booked as it is told.
type unmatched struct {
	Transaction

	AskedAt *time.Time
	Coming  bool // the provider said then that it is on its way
}

// due says whether the provider is asked about it now: at first, and then whenever it is
// twice as old as it was the last time. Others may have their money at the same account, and
// none of that is asked about in each pass.
func (t unmatched) due(now time.Time) bool {
	return t.AskedAt == nil || now.Sub(*t.AskedAt) >= t.AskedAt.Sub(t.At)
}

// booked returns what the ledger has on the provider's account for each of the
// transactions other than payments, by their ids; those of which it knows nothing are not
// there.
func (s *Service) booked(ctx context.Context, list ...unmatched) (map[string]int64, error) {
	var ids, kinds, refs, currencies []string
	for _, t := range list {
		if t.Kind != "payment" {
			ids, kinds, refs, currencies = append(ids, t.ID), append(kinds, t.Kind), append(refs, t.Ref), append(currencies, t.Currency)
		}
	}
	if ids == nil {
		return nil, nil
	}
	// Each is looked up by its keys: OFFSET and sum keep the ledger from being read whole.
	rows, err := s.DB.Query(ctx, `
		SELECT t.id, sum(p.amount)::bigint
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS t (id, kind, ref, currency)
		CROSS JOIN LATERAL (
			SELECT t.kind || ':' || r.id AS key FROM refund r WHERE t.kind IN ('refund', 'refund_failed') AND r.ref = t.ref
			UNION ALL
			SELECT t.kind || ':' || d.id FROM dispute d WHERE t.kind IN ('dispute', 'dispute_won') AND d.ref = t.ref
			UNION ALL
			SELECT f.key FROM dispute d CROSS JOIN LATERAL (
				SELECT key FROM ledger_entry WHERE order_id = d.order_id AND kind = 'dispute_fee' AND starts_with(key, 'dispute_fee:' || d.id || ':') OFFSET 0) f
			WHERE t.kind = 'dispute' AND d.ref = t.ref
			UNION ALL
			SELECT f.key FROM dispute d CROSS JOIN LATERAL (
				SELECT key FROM ledger_entry WHERE order_id = d.order_id AND kind = 'dispute_fee_back' AND starts_with(key, 'dispute_fee_back:' || d.id || ':') OFFSET 0) f
			WHERE t.kind = 'dispute_won' AND d.ref = t.ref
			UNION ALL
			SELECT 'payout:' || o.id FROM payout o WHERE t.kind = 'transfer' AND o.ref = t.ref
			UNION ALL
			SELECT k FROM provider_call c CROSS JOIN unnest(ARRAY['payout_reversal:' || c.object_id, 'payout_' || c.key]) AS k
			WHERE t.kind = 'reversal' AND c.kind = 'reversal' AND c.key = t.ref
			UNION ALL
			SELECT k || ':' || t.id FROM unnest('{bank,provider_fee}'::text[]) AS k
		) k
		CROSS JOIN LATERAL (SELECT id FROM ledger_entry WHERE key = k.key OFFSET 0) e
		CROSS JOIN LATERAL (SELECT sum(amount) AS amount FROM ledger_posting WHERE entry_id = e.id AND account = 'provider' AND currency = t.currency) p
		WHERE p.amount IS NOT NULL GROUP BY t.id`, ids, kinds, refs, currencies)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	var (
		id     string
		amount int64
	)
	if _, err := pgx.ForEachRow(rows, []any{&id, &amount}, func() error { out[id] = amount; return nil }); err != nil {
		return nil, fmt.Errorf("booked transactions: %w", err)
	}
	return out, nil
}

// matchOther is match for transactions other than payments, of which the ledger has booked
// something, or nothing. About refunds and disputes the provider is asked where ask says so.
func (s *Service) matchOther(ctx context.Context, t unmatched, booked map[string]int64, ask func() bool) (findings []finding, ok bool, err error) {
	net := t.Amount - t.Fee
	has, known := booked[t.ID]
	if known && has == net {
		return nil, true, nil
	}
	told := t.text()
	dispute := t.Kind == kindDispute || t.Kind == kindDisputeWon // what was heard of it may not have been all
	switch {
	case known && !dispute:
		return []finding{differs(t, told, has)}, false, nil
	case toBank[t.Kind] || charges[t.Kind]:
		return nil, true, s.bookMove(ctx, t)
	case t.Kind == kindRefund || t.Kind == kindRefundFailed:
		if !ask() {
			if t.Coming {
				return nil, false, errOnItsWay
			}
			break
		}
		news, err := s.provider.RefundState(ctx, t.Ref)
		if fault.Is(err, fault.NotFound) {
			break
		}
		if err != nil {
			return nil, false, err
		}
		err = s.hear(ctx, News{Refund: &news}, func(*pg.Tx) error { return nil })
		if fault.Is(err, fault.NotFound) {
			break // of a payment of nobody's
		}
		if err != nil {
			return nil, false, err
		}
		now, err := s.booked(ctx, t)
		if err != nil {
			return nil, false, err
		}
		if now[t.ID] == net {
			return []finding{{Kind: refundUnheard, Object: t.Ref, Detail: told + ", and nobody had heard.", Healed: true}}, true, nil
		}
		// What takes days may move the balance at once, and back if it fails.
		switch {
		case news.State == refundPending:
			return nil, false, errOnItsWay
		case news.State == refundFailed && t.Kind == kindRefund:
			if undone, err := s.undone(ctx, t, kindRefundFailed); err != nil || undone {
				return nil, false, err
			}
		case news.State == refundFailed:
			if found, err := s.undo(ctx, t, kindRefund); err != nil || found {
				return nil, found, err
			}
		}
	case dispute:
		if s.now().Sub(t.At) < settleWithin {
			return nil, false, nil // on its way
		}
		if ask() {
			if err := s.hearDispute(ctx, t.Ref); err != nil {
				return nil, false, err
			}
			now, err := s.booked(ctx, t)
			if err != nil {
				return nil, false, err
			}
			if has, known = now[t.ID]; known && has == net {
				return []finding{{Kind: disputeUnheard, Object: t.Ref, Detail: told + ", and nobody had heard.", Healed: true}}, true, nil
			}
		}
		if known {
			return []finding{differs(t, told, has)}, false, nil
		}
	case s.now().Sub(t.At) < heardWithin:
		return nil, false, nil // on its way
	}
	return []finding{{Kind: transactionUnknown, Object: t.ID, Detail: told + "."}}, false, nil
}

// text is a transaction as it is told.
func (t Transaction) text() string {
	return fmt.Sprintf("%s of %s less %s for %s at %s", t.Kind, money.Format(t.Amount, t.Currency), money.Format(t.Fee, t.Currency), t.Ref, t.At.UTC().Format(time.RFC3339))
}

// differs is that a transaction, as it is told, is not what is booked for it.
func differs(t unmatched, told string, has int64) finding {
	return finding{Kind: transactionDiffers, Object: t.ID, Detail: told + ", and " + money.Format(has, t.Currency) + " is booked."}
}

// hearDispute asks how a dispute stands and takes that in; of one that is of a payment of
// nobody's, or in which no money is taken, nothing.
func (s *Service) hearDispute(ctx context.Context, ref string) error {
	news, err := s.provider.DisputeState(ctx, ref)
	if fault.Is(err, fault.NotFound) || err == nil && news == nil {
		return nil
	}
	if err != nil {
		return err
	}
	err = s.hear(ctx, News{Dispute: news}, func(*pg.Tx) error { return nil })
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// bookMove books what went between the provider and the platform's bank, or what the
// provider took for itself.
func (s *Service) bookMove(ctx context.Context, t unmatched) error {
	e := entry{Key: kindBank + ":" + t.ID, Kind: kindBank}
	against := accountBank
	if charges[t.Kind] {
		e.Key, e.Kind, against = kindProviderFee+":"+t.ID, kindProviderFee, accountProcessing
	}
	e.Postings = []posting{
		{Account: accountProvider, Currency: t.Currency, Amount: t.Amount - t.Fee},
		{Account: against, Currency: t.Currency, Amount: -t.Amount},
		{Account: accountProcessing, Currency: t.Currency, Amount: t.Fee},
	}
	return s.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("the ledger records it")
		return book(ctx, tx, s.now(), e)
	})
}
