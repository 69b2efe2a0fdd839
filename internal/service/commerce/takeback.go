package commerce

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// takeBack is money that went back to the buyer of an order, and is to be taken from
// those who got it.
type takeBack struct {
	key, kind  string
	from       string // the account that it left
	amount     int64
	currency   string
	wishes     []wish // of which lines it is to be; the rest is of what is left of all
	toBuyers   bool   // it was owed to the buyer, and is of no line
	endsAccess bool
	refund     string
	dispute    string
}

// takenLine is what was taken back of a line.
type takenLine struct {
	*paidLine
	amount int64
	tax    int64
	ends   bool // access ends by it
}

type takenLines []takenLine

func (t takenLines) columns() (ids []string, amounts, taxes []int64) {
	for _, l := range t {
		ids, amounts, taxes = append(ids, l.ID), append(amounts, l.amount), append(taxes, l.tax)
	}
	return ids, amounts, taxes
}

// takeBack books that money went back, for an order that is locked: of each line the tax,
// the platform's share and those of its teachers are taken in the proportion in which they
// were booked. What is more than was paid for the lines is the buyer's debt. Access ends
// to lines of which all was given back; where nobody said which lines it is of, with the last
// of the money also to those that cost nothing. Nobody has to say so of what came back to the
// platform and is the buyer's still: that is what they get first. It returns what it is of
// each line.
func (s *Service) takeBack(ctx context.Context, tx *pg.Tx, o *order, b takeBack) (takenLines, error) {
	lines, err := lockLines(ctx, tx, o.ID)
	if err != nil {
		return nil, err
	}
	var taken takenLines
	rest := b.amount
	if o.PaidAt != nil && b.currency == o.Currency && !b.toBuyers {
		theirs := int64(0)
		if len(b.wishes) == 0 {
			owed, err := owedToBuyer(ctx, tx, o.ID, o.Currency)
			if err != nil {
				return nil, err
			}
			theirs = min(max(owed, 0), b.amount)
		}
		taken, rest = spread(lines, b.wishes, b.amount-theirs, b.currency)
		rest += theirs
		if len(b.wishes) == 0 {
			taken = append(taken, withAll(lines, taken)...)
		}
	}
	e := entry{Key: b.key, Kind: b.kind, Order: o.ID, Postings: []posting{
		{Account: b.from, Currency: b.currency, Amount: -rest},
		{Account: accountBuyers, Currency: b.currency, Amount: rest},
	}}
	if len(taken) > 0 {
		reversed, err := s.reverse(ctx, tx, o, b, taken)
		if err != nil {
			return nil, err
		}
		e.Postings = append(e.Postings, reversed...)
	}
	if b.amount > 0 {
		if err := book(ctx, tx, s.now(), e); err != nil {
			return nil, err
		}
	}
	return taken, s.linesTaken(ctx, tx, o, b, taken)
}

// owedToBuyer is what is the buyer's of an order, which is locked, and is not on its way to
// them; below zero what they owe.
func owedToBuyer(ctx context.Context, tx *pg.Tx, orderID, currency string) (owed int64, err error) {
	err = tx.QueryRow(ctx, `
		SELECT (-coalesce((SELECT sum(p.amount) FROM ledger_entry e JOIN ledger_posting p ON p.entry_id = e.id WHERE e.order_id = $1 AND p.account = 'buyers' AND p.currency = $2), 0)
			- coalesce((SELECT sum(amount) FROM refund WHERE order_id = $1 AND currency = $2 AND source = 'surplus' AND state = 'pending'), 0))::bigint`,
		orderID, currency).Scan(&owed)
	return owed, err
}

// spread says of which lines an amount is: of those that are wished for, as far as there
// is so much left of them; then in proportion of what is left of all and on its way to
// nobody; then also of that. What is more than was paid is the rest. What is left of a line
// can be given back by itself later.
func spread(lines []paidLine, wishes []wish, amount int64, currency string) (taken takenLines, rest int64) {
	parts := make([]int64, len(lines))
	rest = amount
	first := make([]int64, len(lines))
	for _, w := range wishes {
		if at := slices.IndexFunc(lines, func(l paidLine) bool { return l.ID == w.line }); at >= 0 {
			first[at] = min(w.amount, lines[at].Amount-lines[at].Refunded)
		}
	}
	pour := func(room []int64) {
		var sum int64
		for _, r := range room {
			sum += r
		}
		if sum <= 0 || rest <= 0 {
			return
		}
		// Weights make something, and what is shared is not more than they are: no
		// part is more than its room.
		part, err := shareCharged(min(rest, sum), room, currency)
		if err != nil {
			return
		}
		for i, p := range part {
			parts[i] += p
			rest -= p
		}
	}
	pour(first)
	for _, room := range []func(l paidLine) int64{paidLine.left, func(l paidLine) int64 { return l.Amount - l.Refunded }} {
		list := make([]int64, len(lines))
		for i, l := range lines {
			list[i] = max(room(l)-parts[i], 0)
		}
		pour(list)
	}
	for i := range lines {
		if parts[i] > 0 || slices.ContainsFunc(wishes, func(w wish) bool { return w.line == lines[i].ID && lines[i].Amount == 0 }) {
			taken = append(taken, takenLine{paidLine: &lines[i], amount: parts[i]})
		}
	}
	return taken, rest
}

// withAll returns the lines that cost nothing and give access still, once nothing is left of
// what was paid for the others: all of the order was given back then.
func withAll(lines []paidLine, taken takenLines) (more takenLines) {
	var total, left int64
	for _, l := range lines {
		total, left = total+l.Amount, left+l.Amount-l.Refunded
	}
	for _, t := range taken {
		left -= t.amount
	}
	if total == 0 || left > 0 {
		return nil
	}
	for i := range lines {
		if l := &lines[i]; l.Amount == 0 && !l.AccessEnded {
			more = append(more, takenLine{paidLine: l})
		}
	}
	return more
}

// reverse makes the postings that take from everybody what they got of lines: so much
// that in all, with what was taken before, each has given its part of what was given back
// of the line by the method of largest remainders; once all was, exactly what they got.
func (s *Service) reverse(ctx context.Context, tx *pg.Tx, o *order, b takeBack, taken takenLines) ([]posting, error) {
	ids, _, _ := taken.columns()
	rows, err := tx.Query(ctx, `
		SELECT p.line_id, regexp_replace(p.account, '^(held|teacher):', '') AS who,
			(-coalesce(sum(p.amount) FILTER (WHERE e.kind = 'sale'), 0))::bigint AS got, (-sum(p.amount))::bigint AS has
		FROM ledger_entry e JOIN ledger_posting p ON p.entry_id = e.id
		WHERE e.order_id = $1 AND p.line_id = ANY ($2) AND p.account NOT IN ('provider', 'disputed')
		GROUP BY p.line_id, who ORDER BY p.line_id, who`, o.ID, ids)
	if err != nil {
		return nil, err
	}
	type part struct {
		LineID, Who string
		Got, Has    int64
	}
	parts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[part])
	if err != nil {
		return nil, fmt.Errorf("booked shares: %w", err)
	}
	var out []posting
	for i := range taken {
		l := &taken[i]
		if l.amount == 0 {
			continue
		}
		var weights []int64
		var mine []part
		var sum int64
		for _, p := range parts {
			if p.LineID == l.ID {
				mine, weights, sum = append(mine, p), append(weights, p.Got), sum+p.Got
			}
		}
		if sum != l.Amount {
			return nil, fmt.Errorf("line %s: %d of %d is booked", l.ID, sum, l.Amount)
		}
		gone, err := share(l.Refunded+l.amount, weights)
		if err != nil {
			return nil, fmt.Errorf("line %s: %w", l.ID, err)
		}
		out = append(out, posting{Account: b.from, Currency: o.Currency, Amount: -l.amount, Line: l.ID})
		for n, p := range mine {
			give := gone[n] - (p.Got - p.Has)
			account := p.Who
			switch {
			case p.Who == accountTax:
				l.tax = give
			case p.Who == accountPlatform:
			case l.Released:
				account = accountTeacher + p.Who
			default:
				account = accountHeld + p.Who
			}
			out = append(out, posting{Account: account, Currency: o.Currency, Amount: give, Line: l.ID})
		}
	}
	return out, nil
}

// linesTaken writes down what was taken back of lines, and tells of it.
func (s *Service) linesTaken(ctx context.Context, tx *pg.Tx, o *order, b takeBack, taken takenLines) error {
	if len(taken) == 0 {
		return nil
	}
	now := s.now()
	e := &commercepb.LinesRefunded{OrderId: o.ID, BuyerId: o.BuyerID, RefundId: b.refund, DisputeId: b.dispute, RefundedAt: timestamppb.New(now)}
	batch := &pgx.Batch{}
	var ended []string
	for i := range taken {
		l := &taken[i]
		l.Refunded += l.amount
		full := l.Refunded == l.Amount
		l.ends = !l.AccessEnded && (full || b.endsAccess)
		l.AccessEnded = l.AccessEnded || l.ends
		if l.ends {
			ended = append(ended, l.ID)
		}
		batch.Queue(`UPDATE order_line SET refunded = $2, access_ended = $3 WHERE id = $1`, l.ID, l.Refunded, l.AccessEnded)
		e.Lines = append(e.Lines, &commercepb.LineRefund{
			LineId: l.ID, CourseId: l.CourseID, Title: l.Title, Kind: l.Kind, Quantity: l.Quantity, BundleTitle: l.BundleTitle,
			Amount: &moneypb.Money{Amount: l.amount, Currency: o.Currency}, Full: full, AccessEnds: l.ends,
		})
	}
	batch.Queue(`UPDATE refund_request SET state = 'void', decided_at = $2 WHERE line_id = ANY ($1) AND state = 'open'`, ended, now)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	if err := letGoLines(ctx, tx, ended); err != nil {
		return err
	}
	return bus.Publish(ctx, tx, e)
}

// settleOrder moves a paid order to the state that follows from its lines and disputes.
func (s *Service) settleOrder(ctx context.Context, tx *pg.Tx, o *order, cause string) error {
	if o.PaidAt == nil {
		return nil
	}
	var open bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM dispute WHERE order_id = $1 AND state = 'open')`, o.ID).Scan(&open); err != nil {
		return err
	}
	lines, err := lockLines(ctx, tx, o.ID)
	if err != nil {
		return err
	}
	over, some, done := true, false, true
	for _, l := range lines {
		over = over && l.over()
		some = some || l.Refunded > 0 || l.AccessEnded
		done = done && l.Fulfilled
	}
	state := paid
	switch {
	case open:
		state = disputed
	case over:
		state = refunded
	case some:
		state = partlyRefunded
	case done:
		state = fulfilled
	}
	if state == o.State {
		return nil
	}
	if err := s.become(ctx, tx, o, state, cause, s.now()); err != nil {
		return err
	}
	if state != fulfilled {
		return nil
	}
	var before bool
	if err := tx.QueryRow(ctx, `SELECT count(*) > 1 FROM order_transition WHERE order_id = $1 AND state = 'fulfilled'`, o.ID).Scan(&before); err != nil || before {
		return err
	}
	return bus.Publish(ctx, tx, &commercepb.OrderFulfilled{OrderId: o.ID, BuyerId: o.BuyerID})
}
