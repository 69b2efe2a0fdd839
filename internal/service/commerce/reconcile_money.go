package commerce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/money"
	"github.com/stoa-lms/stoa/internal/pg"
)

// onePage is reconcilePage in statements whose plan has to know how few rows it makes.
var onePage = strconv.Itoa(reconcilePage)

// reconcileOrders compares a page of orders with what is booked of them and with their
// payments.
func (s *Service) reconcileOrders(ctx context.Context, after string) (stepResult, error) {
	if _, err := s.bookUnbooked(ctx); err != nil {
		return stepResult{}, err
	}
	rows, err := s.DB.Query(ctx, `
		SELECT o.id, o.total, o.currency, o.paid_at IS NOT NULL, o.booked, coalesce(p.state, ''), coalesce(p.surplus, false),
			(SELECT coalesce(sum(l.amount), 0)::bigint FROM ledger_entry e JOIN ledger_posting l ON l.entry_id = e.id
				WHERE e.order_id = o.id AND e.kind = 'sale' AND l.account = 'provider' AND l.currency = o.currency)
		FROM (SELECT * FROM orders WHERE id > $1 ORDER BY id LIMIT `+onePage+`) o LEFT JOIN payment p ON p.id = o.payment_id ORDER BY o.id`, after)
	if err != nil {
		return stepResult{}, err
	}
	type compared struct {
		ID       string
		Total    int64
		Currency string
		Paid     bool
		Booked   bool
		Payment  string
		Surplus  bool
		Sold     int64
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[compared])
	if err != nil {
		return stepResult{}, fmt.Errorf("orders: %w", err)
	}
	res := stepResult{done: len(list) < reconcilePage, compared: len(list)}
	for _, o := range list {
		res.after = o.ID
		want := int64(0)
		if o.Paid && o.Booked {
			want = o.Total
		}
		if o.Sold != want {
			res.findings = append(res.findings, finding{
				Kind: bookedDiffers, Object: o.ID, Detail: fmt.Sprintf("%s is booked and %s was paid.", money.Format(o.Sold, o.Currency), money.Format(want, o.Currency)),
			})
		}
		if o.Paid && o.Total > 0 && (o.Payment != paymentSucceeded || o.Surplus) {
			res.findings = append(res.findings, finding{Kind: paidUnpaid, Object: o.ID, Detail: "The order is paid, and its payment is " + o.Payment + "."})
		}
	}
	return res, nil
}

// reconcileBuyers names orders by which something is the buyer's that is neither given back
// nor on its way, and no bank has it. It may have come back to the platform, or the provider
// did not take the refund. What the provider has given back is heard before.
func (s *Service) reconcileBuyers(ctx context.Context, after string) (stepResult, error) {
	rows, err := s.DB.Query(ctx, `
		SELECT b.order_id, b.currency, b.amount - coalesce(r.amount, 0)
		FROM (
			SELECT e.order_id, l.currency, -sum(l.amount)::bigint AS amount FROM ledger_posting l JOIN ledger_entry e ON e.id = l.entry_id
			WHERE l.account = 'buyers' AND e.order_id || ' ' || l.currency > $1 GROUP BY e.order_id, l.currency HAVING sum(l.amount) < 0 AND max(e.booked_at) < $2
		) b LEFT JOIN LATERAL (
			SELECT sum(amount)::bigint AS amount FROM refund WHERE order_id = b.order_id AND currency = b.currency AND source = 'surplus' AND state = 'pending'
		) r ON true
		WHERE b.amount > coalesce(r.amount, 0) AND NOT EXISTS (SELECT FROM dispute d WHERE d.order_id = b.order_id AND d.state = 'open')
		ORDER BY b.order_id || ' ' || b.currency LIMIT $3`, after, s.now().Add(-settleWithin), reconcilePage)
	if err != nil {
		return stepResult{}, err
	}
	var res stepResult
	var (
		order, currency string
		amount          int64
	)
	if _, err := pgx.ForEachRow(rows, []any{&order, &currency, &amount}, func() error {
		res.after = order + " " + currency
		res.findings = append(res.findings, finding{Kind: buyerOwed, Object: order, Detail: money.Format(amount, currency) + " is the buyer's, and is not on its way to them."})
		return nil
	}); err != nil {
		return stepResult{}, fmt.Errorf("what buyers are owed: %w", err)
	}
	res.compared, res.done = len(res.findings), len(res.findings) < reconcilePage
	return res, nil
}

// reconcileProvider compares what moved the balance at the provider with what is booked.
func (s *Service) reconcileProvider(ctx context.Context, after string) (stepResult, error) {
	if s.provider == nil {
		return stepResult{done: true}, nil
	}
	if after == "" {
		if err := s.fetchTransactions(ctx); err != nil {
			return stepResult{}, err
		}
	}
	rows, err := s.DB.Query(ctx, `
		SELECT id, kind, ref, amount, fee, currency, at, asked_at, coming FROM provider_transaction
		WHERE NOT matched AND provider = $1 AND id > $2 ORDER BY id LIMIT $3`, s.provider.Name(), after, reconcilePage)
	if err != nil {
		return stepResult{}, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[unmatched])
	if err != nil {
		return stepResult{}, fmt.Errorf("transactions: %w", err)
	}
	refs := make([]string, len(list))
	for i, t := range list {
		refs[i] = t.Ref
	}
	rows, err = s.DB.Query(ctx, `
		SELECT `+paymentColumns+` FROM payment WHERE provider = $1 AND id = ANY ($2)
		UNION SELECT `+paymentColumns+` FROM payment WHERE provider = $1 AND ref = ANY ($2)`, s.provider.Name(), refs)
	if err != nil {
		return stepResult{}, err
	}
	payments, err := pgx.CollectRows(rows, pgx.RowToStructByName[payment])
	if err != nil {
		return stepResult{}, fmt.Errorf("payments: %w", err)
	}
	byID := make(map[string]*payment, 2*len(payments))
	for i := range payments {
		if payments[i].Ref != nil {
			byID[*payments[i].Ref] = &payments[i]
		}
		byID[payments[i].ID] = &payments[i]
	}
	booked, err := s.booked(ctx, list...)
	if err != nil {
		return stepResult{}, err
	}
	res := stepResult{done: len(list) < reconcilePage, compared: len(list)}
	now := s.now()
	var matched, asked []string
	coming := []string{}
	for _, t := range list {
		res.after = t.ID
		mine := false
		ask := func() bool {
			if !mine && len(asked) < reconcileAsks && t.due(now) {
				asked, mine = append(asked, t.ID), true
			}
			return mine
		}
		var f []finding
		var ok bool
		switch t.Kind {
		case "payment":
			f, ok, err = s.matchPayment(ctx, t, byID[t.Ref], ask)
		case kindPaymentFailed:
			f, ok, err = s.matchFailed(ctx, t, byID[t.Ref])
		default:
			f, ok, err = s.matchOther(ctx, t, booked, ask)
		}
		if errors.Is(err, errOnItsWay) {
			coming = append(coming, t.ID)
			continue
		}
		if err != nil {
			return stepResult{}, err
		}
		res.findings = append(res.findings, f...)
		if ok {
			matched = append(matched, t.ID)
		}
	}
	if _, err := s.DB.Exec(ctx, `
		UPDATE provider_transaction SET asked_at = $3, coming = id = ANY ($4) WHERE provider = $1 AND id = ANY ($2)`, s.provider.Name(), asked, now, coming); err != nil {
		return stepResult{}, err
	}
	if _, err := s.DB.Exec(ctx, `UPDATE provider_transaction SET matched = true WHERE provider = $1 AND id = ANY ($2)`, s.provider.Name(), matched); err != nil {
		return stepResult{}, err
	}
	if !res.done {
		return res, nil
	}
	differ, err := s.compareBalances(ctx)
	res.findings = append(res.findings, differ...)
	return res, err
}

// fetchTransactions keeps what the provider has moved since it was asked last.
func (s *Service) fetchTransactions(ctx context.Context) error {
	name := s.provider.Name()
	for {
		cursor := ""
		if err := s.DB.QueryRow(ctx, `SELECT cursor FROM provider_cursor WHERE provider = $1`, name).Scan(&cursor); err != nil && !pg.NoRows(err) {
			return err
		}
		list, last, err := s.provider.Transactions(ctx, cursor)
		if err != nil || len(list) == 0 {
			return err
		}
		if err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("a copy")
			batch := &pgx.Batch{}
			for _, t := range list {
				batch.Queue(`
					WITH new AS (
						INSERT INTO provider_transaction (provider, id, kind, ref, amount, fee, currency, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
						ON CONFLICT DO NOTHING RETURNING amount - fee AS net
					)
					INSERT INTO provider_balance (provider, currency, amount) SELECT $1, $7, net FROM new
					ON CONFLICT ON CONSTRAINT provider_balance_pkey DO UPDATE SET amount = provider_balance.amount + excluded.amount`,
					name, t.ID, t.Kind, t.Ref, t.Amount, t.Fee, t.Currency, t.At)
			}
			batch.Queue(`
				INSERT INTO provider_cursor (provider, cursor) VALUES ($1, $2)
				ON CONFLICT ON CONSTRAINT provider_cursor_pkey DO UPDATE SET cursor = excluded.cursor`, name, last)
			return tx.SendBatch(ctx, batch).Close()
		}); err != nil {
			return fmt.Errorf("transactions of the provider: %w", err)
		}
	}
}

// matchPayment says whether a payment at the provider is booked as it says, and what is
// wrong otherwise; p is the payment that it is of, nil for none. Of one of nobody's the
// provider is asked where ask says so.
func (s *Service) matchPayment(ctx context.Context, t unmatched, p *payment, ask func() bool) (findings []finding, ok bool, err error) {
	if p == nil || p.State != paymentSucceeded {
		if asked := ask(); t.Coming && !asked {
			return nil, false, errOnItsWay
		}
	}
	if p == nil && ask() {
		if p, err = s.hearPeriod(ctx, t.Ref); err != nil {
			return nil, false, err
		}
		if p == nil {
			if undone, err := s.undone(ctx, t, kindPaymentFailed); err != nil || undone {
				return nil, false, err
			}
		}
		if p != nil {
			findings = append(findings, finding{
				Kind: paymentUnheard, Object: p.ID, Detail: money.Format(t.Amount, t.Currency) + " were paid for a period, and nobody had heard.", Healed: p.State == paymentSucceeded,
			})
		}
	}
	if p == nil {
		return []finding{{Kind: paymentUnknown, Object: t.Ref, Detail: money.Format(t.Amount, t.Currency) + " were paid."}}, false, nil
	}
	if p.State != paymentSucceeded || p.Fee == nil {
		unheard := p.State != paymentSucceeded
		if p.Ref == nil {
			return nil, false, nil // its page is being written down
		}
		news, err := s.provider.Payment(ctx, *p.Ref)
		if err != nil {
			return nil, false, err
		}
		if err := s.DB.InTx(ctx, func(tx *pg.Tx) error { return s.heardPayment(ctx, tx, news) }); err != nil {
			return nil, false, err
		}
		now, err := paymentOf(ctx, s.DB, p.ID)
		if err != nil {
			return nil, false, err
		}
		p = &now
		if p.State == paymentProcessing {
			return nil, false, errOnItsWay
		}
		if p.State != paymentSucceeded {
			if undone, err := s.undone(ctx, t, kindPaymentFailed); err != nil || undone {
				return nil, false, err
			}
		}
		if unheard {
			findings = append(findings, finding{
				Kind: paymentUnheard, Object: p.ID, Detail: money.Format(t.Amount, t.Currency) + " were paid, and nobody had heard.", Healed: p.State == paymentSucceeded,
			})
		}
	}
	if p.State == paymentSucceeded && (*p.Received != t.Amount || p.Fee != nil && *p.Fee != t.Fee) {
		findings = append(findings, finding{
			Kind: paymentDiffers, Object: p.ID,
			Detail: fmt.Sprintf("The provider has %s less %s, the ledger %s less %s.", money.Format(t.Amount, t.Currency), money.Format(t.Fee, t.Currency), money.Format(*p.Received, p.Currency), fee(p)),
		})
		return findings, false, nil
	}
	return findings, p.State == paymentSucceeded && p.Fee != nil, nil
}

// undone reports whether a transaction of a kind takes back what another did: that is then
// matched with it. It may have come since the provider was asked.
func (s *Service) undone(ctx context.Context, t unmatched, by string) (yes bool, err error) {
	if err := s.fetchTransactions(ctx); err != nil {
		return false, err
	}
	err = s.DB.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM provider_transaction WHERE provider = $1 AND NOT matched AND kind = $2 AND ref = $3 AND currency = $4 AND amount = $5)`,
		s.provider.Name(), by, t.Ref, t.Currency, -t.Amount).Scan(&yes)
	return yes, err
}

// undo matches a transaction with that before it, of a kind, which it takes back: of neither
// anything is booked but what the provider keeps of both. It reports whether there is one.
func (s *Service) undo(ctx context.Context, t unmatched, of string) (found bool, err error) {
	err = s.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("the ledger records it")
		var net int64
		err := tx.QueryRow(ctx, `
			UPDATE provider_transaction SET matched = true WHERE provider = $1 AND id = (
				SELECT id FROM provider_transaction WHERE provider = $1 AND NOT matched AND kind = $2 AND ref = $3 AND currency = $4 AND amount = $5 AND at <= $6
				ORDER BY at DESC, id DESC LIMIT 1
			) RETURNING amount - fee`, s.provider.Name(), of, t.Ref, t.Currency, -t.Amount, t.At).Scan(&net)
		if pg.NoRows(err) {
			return nil
		}
		if err != nil {
			return err
		}
		found = true
		if _, err := tx.Exec(ctx, `UPDATE provider_transaction SET matched = true WHERE provider = $1 AND id = $2`, s.provider.Name(), t.ID); err != nil {
			return err
		}
		if net += t.Amount - t.Fee; net == 0 {
			return nil
		}
		return book(ctx, tx, s.now(), entry{Key: kindProviderFee + ":" + t.ID, Kind: kindProviderFee, Postings: []posting{
			{Account: accountProvider, Currency: t.Currency, Amount: net},
			{Account: accountProcessing, Currency: t.Currency, Amount: -net},
		}})
	})
	return found, err
}

// matchFailed is match for what takes back a payment that failed after its bank was asked; p
// is the payment, nil for none.
func (s *Service) matchFailed(ctx context.Context, t unmatched, p *payment) (findings []finding, ok bool, err error) {
	switch found, err := s.undo(ctx, t, "payment"); {
	case err != nil || found:
		return nil, found, err
	case p != nil && p.State == paymentSucceeded: // another try of it was paid, for which the first was taken
		return nil, true, nil
	case s.now().Sub(t.At) < heardWithin:
		return nil, false, nil // on its way
	}
	return []finding{{Kind: transactionUnknown, Object: t.ID, Detail: t.text() + "."}}, false, nil
}

// errOnItsWay is of a transaction of what takes days: the balance is moved when a bank is
// asked, which has not said yet.
var errOnItsWay = errors.New("it is on its way")

// hearPeriod takes in a payment of a period of a subscription of which nobody has heard; it
// returns nil for what is none.
func (s *Service) hearPeriod(ctx context.Context, ref string) (*payment, error) {
	news, err := s.provider.Payment(ctx, ref)
	if final(err) || err == nil && news.SubscriptionRef == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, err
	}
	if news.State == paymentProcessing {
		return nil, errOnItsWay
	}
	if err := s.hearSubscription(ctx, news.SubscriptionRef); final(err) {
		return nil, nil //nolint:nilnil // it is of nobody's here
	} else if err != nil {
		return nil, err
	}
	// The provider tells the last periods with it; this one may be before them.
	var p payment
	err = s.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("what changes by it is recorded")
		sub, err := oneSubscription(ctx, tx, ErrPaymentNotFound, `provider = $1 AND ref = $2 FOR UPDATE`, s.provider.Name(), news.SubscriptionRef)
		if err != nil {
			return err
		}
		id, err := s.paymentNamed(ctx, tx, "", ref)
		if errors.Is(err, errPaymentUnheard) {
			if err := s.heardPeriod(ctx, tx, &sub, PeriodNews{InvoiceRef: ref, Start: news.PeriodStart, End: news.PeriodEnd, Payment: news}); err != nil {
				return err
			}
			id, err = s.paymentNamed(ctx, tx, "", ref)
		}
		if err != nil {
			return err
		}
		p, err = paymentOf(ctx, tx, id)
		return err
	})
	if final(err) {
		return nil, nil //nolint:nilnil // it has not succeeded
	}
	return &p, err
}

func fee(p *payment) string {
	if p.Fee == nil {
		return "an unknown fee"
	}
	return money.Format(*p.Fee, p.Currency)
}

// compareBalances compares what the provider has with what the ledger says, once nothing
// is booked in between; on a platform where that never is so, the next pass tries again.
func (s *Service) compareBalances(ctx context.Context) (findings []finding, err error) {
	ledger := func() (map[string]int64, error) {
		list, err := balances(ctx, s.DB, []string{accountProvider})
		out := map[string]int64{}
		for _, b := range list {
			out[b.Currency] = b.Amount
		}
		return out, err
	}
	for range 5 {
		before, err := ledger()
		if err != nil {
			return nil, err
		}
		if err := s.fetchTransactions(ctx); err != nil {
			return nil, err
		}
		rows, err := s.DB.Query(ctx, `
			SELECT b.currency, b.amount, coalesce(u.amount, 0) FROM provider_balance b
			LEFT JOIN (SELECT currency, sum(amount - fee)::bigint AS amount FROM provider_transaction WHERE NOT matched AND provider = $1 GROUP BY currency) u ON u.currency = b.currency
			WHERE b.provider = $1 ORDER BY b.currency`, s.provider.Name())
		if err != nil {
			return nil, err
		}
		type side struct {
			Currency          string
			Amount, Unmatched int64
		}
		sides, err := pgx.CollectRows(rows, pgx.RowToStructByPos[side])
		if err != nil {
			return nil, fmt.Errorf("balances: %w", err)
		}
		after, err := ledger()
		if err != nil {
			return nil, err
		}
		quiet := true
		for currency, amount := range after {
			quiet = quiet && before[currency] == amount
		}
		if !quiet {
			continue
		}
		for currency := range after { // also where the provider has moved nothing
			if !slices.ContainsFunc(sides, func(b side) bool { return b.Currency == currency }) {
				sides = append(sides, side{Currency: currency})
			}
		}
		for _, b := range sides {
			if has := after[b.Currency]; b.Amount-b.Unmatched != has {
				findings = append(findings, finding{
					Kind: balanceDiffers, Object: s.provider.Name() + " " + b.Currency,
					Detail: fmt.Sprintf("The provider has %s without what is told apart, the ledger %s.", money.Format(b.Amount-b.Unmatched, b.Currency), money.Format(has, b.Currency)),
				})
			}
		}
		return findings, nil
	}
	return nil, nil
}
