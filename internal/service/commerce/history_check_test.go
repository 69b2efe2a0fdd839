package commerce_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce"
)

type rule struct{ name, sql string }

// marketRules are what has to be true of every order, line and teacher, whatever has
// happened: each finds what breaks it, as the id of what it is of, and what is wrong.
var marketRules = []rule{
	{"what the provider has of an order is what is booked", `
		SELECT o.id, coalesce(d.net, 0) || ' at the provider, ' || coalesce(l.n, 0) || ' booked'
		FROM orders o
		LEFT JOIN taken d ON d.payment_id = o.payment_id
		LEFT JOIN (
			SELECT e.order_id, sum(p.amount) AS n FROM ledger_entry e JOIN ledger_posting p ON p.entry_id = e.id WHERE p.account = 'provider' GROUP BY 1
		) l ON l.order_id = o.id
		WHERE coalesce(d.net, 0) <> coalesce(l.n, 0)`},
	{"what the provider has is what is booked", `
		SELECT coalesce(a.currency, l.currency), coalesce(a.n, 0) || ' at the provider, ' || coalesce(l.n, 0) || ' booked'
		FROM balance a
		FULL JOIN (SELECT currency, sum(amount) AS n FROM ledger_posting WHERE account = 'provider' GROUP BY 1) l ON l.currency = a.currency
		WHERE coalesce(a.n, 0) <> coalesce(l.n, 0)`},
	{"nothing is owed to the buyer, and what is disputed is what the bank has", `
		SELECT o.id, p.account || ' has ' || sum(p.amount)
		FROM orders o JOIN ledger_entry e ON e.order_id = o.id JOIN ledger_posting p ON p.entry_id = e.id
		LEFT JOIN taken d ON d.payment_id = o.payment_id
		WHERE p.account IN ('buyers', 'disputed') GROUP BY o.id, p.account, d.disputed
		HAVING sum(p.amount) <> CASE p.account WHEN 'disputed' THEN coalesce(d.disputed, 0) ELSE 0 END`},
	{"a line gives back what its refunds and disputes do", `
		SELECT l.id, l.refunded || ' of ' || l.amount || ' given back, ' || coalesce(sum(b.amount), 0) || ' by refunds and disputes'
		FROM order_line l LEFT JOIN (
			SELECT n.line_id, n.amount FROM refund_line n JOIN refund r ON r.id = n.refund_id WHERE r.state = 'succeeded'
			UNION ALL SELECT line_id, amount FROM dispute_line
		) b ON b.line_id = l.id
		GROUP BY l.id HAVING l.refunded <> coalesce(sum(b.amount), 0) OR l.refunded > l.amount OR l.reserved <> 0`},
	{"a line ends when all of it was given back, or who gave back said so, and is live until then", `
		SELECT l.id, 'ended ' || l.access_ended || ', live ' || l.live || ', given back ' || l.refunded || ' of ' || l.amount || ', ' || o.state
		FROM order_line l JOIN orders o ON o.id = l.order_id
		CROSS JOIN LATERAL (
			SELECT l.amount > 0 AND l.refunded = l.amount OR EXISTS (
				SELECT FROM refund_line n JOIN refund r ON r.id = n.refund_id WHERE n.line_id = l.id AND r.state = 'succeeded' AND (r.ends_access OR l.amount = 0)
			) OR l.amount = 0 AND EXISTS (SELECT FROM dispute_line WHERE line_id = l.id) AS ended
		) w
		WHERE l.access_ended <> w.ended OR l.live <> (NOT w.ended AND o.state NOT IN ('cancelled', 'expired'))`},
	{"what cost nothing ends with the last of the money, where nobody named lines", `
		SELECT o.id, o.state FROM orders o WHERE o.total > 0 AND o.paid_at IS NOT NULL
			AND NOT EXISTS (SELECT FROM refund r WHERE r.order_id = o.id AND r.state = 'succeeded' AND r.source NOT IN ('provider', 'surplus'))
			AND (SELECT bool_and(l.refunded = l.amount) AND NOT bool_and(l.access_ended) FROM order_line l WHERE l.order_id = o.id)`},
	{"an order stands as its lines and its payment do", `
		SELECT o.id, o.state || ', want ' || w.state
		FROM orders o LEFT JOIN taken d ON d.payment_id = o.payment_id
		CROSS JOIN LATERAL (
			SELECT CASE
				WHEN o.paid_at IS NULL AND d.charges = 1 AND d.refunded = d.amount AND o.state IN ('cancelled', 'expired') THEN o.state
				WHEN o.paid_at IS NULL AND coalesce(d.charges, 0) = 0 AND o.state IN ('awaiting_payment', 'cancelled', 'expired') THEN o.state
				WHEN o.paid_at IS NULL OR o.total > 0 AND d.charges IS DISTINCT FROM 1 THEN 'another'
				WHEN d.disputed > 0 THEN 'disputed'
				WHEN bool_and(l.refunded = l.amount AND l.access_ended) THEN 'refunded'
				WHEN bool_or(l.refunded > 0 OR l.access_ended) THEN 'partly_refunded'
				WHEN bool_and(l.fulfilled) THEN 'fulfilled' ELSE 'paid' END AS state
			FROM order_line l WHERE l.order_id = o.id
		) w
		WHERE o.state <> w.state`},
	{"an order is paid once, with what its lines cost", `
		SELECT o.id, o.total || ', lines of ' || l.amount || ', asked for ' || coalesce(p.amount, 0) || ' and ' || coalesce(d.amount, 0) || ', charged ' || coalesce(d.charges, 0) || ' times' || ', received ' || coalesce(p.received, 0) || ', paid ' || t.paid || ' times'
		FROM orders o LEFT JOIN payment p ON p.id = o.payment_id LEFT JOIN taken d ON d.payment_id = o.payment_id
		CROSS JOIN LATERAL (SELECT sum(amount) AS amount FROM order_line WHERE order_id = o.id) l
		CROSS JOIN LATERAL (
			SELECT count(*) FILTER (WHERE state = 'awaiting_payment') AS placed, count(*) FILTER (WHERE state = 'paid' AND cause LIKE 'paid at%' OR cause = 'there is nothing to pay') AS paid
			FROM order_transition WHERE order_id = o.id
		) t
		WHERE o.total <> l.amount OR o.total <> coalesce(p.amount, 0) OR o.total <> coalesce(d.amount, o.total)
			OR d.charges > 1 OR o.paid_at IS NOT NULL AND p.received <> o.total OR (o.paid_at IS NOT NULL) <> (t.paid = 1) OR t.paid > 1 OR t.placed <> (o.period_ref IS NULL OR o.state <> 'cancelled')::int`},
	{"the provider gave back what is booked as given back", `
		SELECT o.id, d.refunded || ' at the provider, ' || coalesce(sum(l.refunded), 0) || ' of the lines'
		FROM orders o JOIN taken d ON d.payment_id = o.payment_id JOIN order_line l ON l.order_id = o.id
		WHERE o.paid_at IS NOT NULL GROUP BY o.id, d.refunded HAVING d.refunded <> coalesce(sum(l.refunded), 0)`},
	{"what a line brought is shared as was agreed, to less than a unit", `
		SELECT l.id, 'platform ' || coalesce(s.platform, 0) || ' and tax ' || coalesce(s.tax, 0) || ' of ' || l.amount
		FROM order_line l JOIN orders o ON o.id = l.order_id
		LEFT JOIN LATERAL (
			SELECT -sum(p.amount) FILTER (WHERE p.account = 'platform') AS platform, -sum(p.amount) FILTER (WHERE p.account = 'tax') AS tax
			FROM ledger_entry e JOIN ledger_posting p ON p.entry_id = e.id WHERE e.order_id = o.id AND e.kind = 'sale' AND p.line_id = l.id
		) s ON true
		WHERE o.paid_at IS NOT NULL AND l.amount > 0 AND (
			abs(coalesce(s.platform, 0) - (l.amount - l.tax) * l.platform_share / 10000.0) >= 1 OR coalesce(s.tax, 0) <> l.tax
			OR l.platform_share <> 3000)`},
	{"each teacher gets their part of what the platform leaves, to less than a unit", `
		SELECT l.id, s.account_id || ' got ' || coalesce(g.got, 0) || ' of ' || l.amount
		FROM order_line l JOIN orders o ON o.id = l.order_id
		CROSS JOIN LATERAL (
			SELECT account_id, basis_points FROM order_line_share WHERE line_id = l.id
			UNION ALL SELECT l.seller_id, 10000 WHERE NOT EXISTS (SELECT FROM order_line_share WHERE line_id = l.id)
		) s
		CROSS JOIN LATERAL (
			SELECT -sum(p.amount) FILTER (WHERE p.account = 'held:' || s.account_id) AS got, coalesce(-sum(p.amount) FILTER (WHERE p.account = 'platform'), 0) AS platform
			FROM ledger_entry e JOIN ledger_posting p ON p.entry_id = e.id WHERE e.order_id = o.id AND e.kind = 'sale' AND p.line_id = l.id
		) g
		WHERE o.paid_at IS NOT NULL AND l.amount > 0 AND abs(coalesce(g.got, 0) - (l.amount - l.tax - g.platform) * s.basis_points / 10000.0) >= 1`},
	{"all give back in the proportion in which they got", `
		SELECT l.id, s.who || ' got ' || s.got || ' and has ' || s.has || ' when ' || l.refunded || ' of ' || l.amount || ' are given back'
		FROM (
			SELECT p.line_id, regexp_replace(p.account, '^(held|teacher):', '') AS who, coalesce(-sum(p.amount) FILTER (WHERE e.kind = 'sale'), 0) AS got, -sum(p.amount) AS has
			FROM ledger_posting p JOIN ledger_entry e ON e.id = p.entry_id WHERE p.line_id IS NOT NULL AND p.account NOT IN ('provider', 'disputed') GROUP BY 1, 2
		) s JOIN order_line l ON l.id = s.line_id
		WHERE abs(s.has - s.got * (l.amount - l.refunded)::numeric / l.amount) >= 1`},
	{"what is released can be paid out, what is not is held, and nothing is released early", `
		SELECT l.id, 'released ' || l.released || ', frozen ' || l.frozen || ', held ' || s.held || ', free ' || s.free || ', early ' || s.early
		FROM order_line l JOIN orders o ON o.id = l.order_id LEFT JOIN taken d ON d.payment_id = o.payment_id
		CROSS JOIN LATERAL (
			SELECT coalesce(-sum(p.amount) FILTER (WHERE p.account LIKE 'held:%'), 0) AS held, coalesce(-sum(p.amount) FILTER (WHERE p.account LIKE 'teacher:%'), 0) AS free,
				coalesce(bool_or(e.kind = 'release' AND e.booked_at < l.paid_at + interval '30 days'), false) AS early
			FROM ledger_entry e JOIN ledger_posting p ON p.entry_id = e.id WHERE e.order_id = o.id AND p.line_id = l.id
		) s
		WHERE l.released AND s.held <> 0 OR NOT l.released AND s.free <> 0 OR s.early OR l.frozen <> (coalesce(d.disputed, 0) > 0) OR l.frozen AND l.released`},
	{"what is disputed can't be paid out, from then until it is settled", `
		SELECT p.line_id, e.kind || ' when ' || -sum(p.amount) || ' could be paid out'
		FROM ledger_entry e JOIN ledger_entry b ON b.order_id = e.order_id AND b.id < e.id + (e.kind = 'dispute')::int JOIN ledger_posting p ON p.entry_id = b.id
		WHERE e.kind IN ('dispute', 'dispute_won', 'dispute_lost') AND p.line_id IS NOT NULL AND p.account LIKE 'teacher:%' GROUP BY e.id, e.kind, p.line_id HAVING sum(p.amount) <> 0`},
	{"what teachers were paid and have makes what is left to them", `
		SELECT who, currency || ': has ' || sum(n) FILTER (WHERE what = 'has') || ', paid ' || coalesce(sum(n) FILTER (WHERE what = 'paid'), 0) || ', shares of ' || coalesce(sum(n) FILTER (WHERE what = 'shares'), 0)
		FROM (
			SELECT 'has' AS what, substr(account, strpos(account, ':') + 1) AS who, currency, -amount AS n FROM ledger_posting WHERE account LIKE 'held:%' OR account LIKE 'teacher:%' OR account LIKE 'payable:%'
			UNION ALL SELECT 'shares', substr(account, strpos(account, ':') + 1), currency, -amount FROM ledger_posting WHERE (account LIKE 'held:%' OR account LIKE 'teacher:%') AND line_id IS NOT NULL
			UNION ALL SELECT 'paid', teacher_id, currency, amount - reversed FROM handed
		) x GROUP BY who, currency
		HAVING coalesce(sum(n) FILTER (WHERE what = 'has'), 0) + coalesce(sum(n) FILTER (WHERE what = 'paid'), 0) <> coalesce(sum(n) FILTER (WHERE what = 'shares'), 0)`},
	{"each payout is handed over once", `
		SELECT coalesce(o.id, t.ref), coalesce(o.state, 'no payout') || ' of ' || coalesce(o.amount, 0) || ', handed over ' || coalesce(t.amount, 0) || ' less ' || coalesce(t.reversed, 0)
		FROM payout o FULL JOIN handed t ON t.payout_id = o.id
		WHERE CASE o.state WHEN 'paid' THEN t.amount IS DISTINCT FROM o.amount OR t.reversed <> 0 OR t.ref IS DISTINCT FROM o.ref
			WHEN 'reversed' THEN t.amount IS DISTINCT FROM o.amount OR t.reversed IS DISTINCT FROM o.amount ELSE true END`},
	{"nothing is on its way to teachers", `SELECT account, currency || ' ' || sum(amount) FROM ledger_posting WHERE account LIKE 'payable:%' GROUP BY account, currency HAVING sum(amount) <> 0`},
	{"what is refused is refunds that the provider has not, and pages of orders and ends of subscriptions that came too late", `
		SELECT coalesce(r.order_id, c.object_id), c.key || ' ' || c.state || ': ' || c.problem FROM provider_call c
		LEFT JOIN refund r ON r.id = c.object_id LEFT JOIN orders o ON o.payment_id = c.object_id LEFT JOIN subscription s ON s.id = c.object_id
		WHERE c.state = 'waiting' OR c.state = 'refused' AND NOT coalesce(CASE c.kind WHEN 'refund' THEN r.state = 'failed' WHEN 'checkout' THEN o.state IN ('cancelled', 'expired') WHEN 'subscription' THEN s.state = 'ended' END, false)`},
	{"coupons are used as often as orders have them", `
		SELECT c.id, c.uses || ' uses of ' || c.max_uses || ', ' || count(u.order_id) || ' orders' FROM coupon c
		LEFT JOIN coupon_use u ON u.coupon_id = c.id AND u.live GROUP BY c.id HAVING c.uses <> count(u.order_id) OR c.max_uses > 0 AND c.uses > c.max_uses`},
	{"a use of a coupon lives as long as its order", `
		SELECT o.id, o.state || ', use ' || u.live FROM coupon_use u JOIN orders o ON o.id = u.order_id WHERE u.live <> (o.state NOT IN ('cancelled', 'expired'))`},
	{"places are taken as often as lines are live", `
		SELECT p.course_id, p.taken || ' of ' || p.places || ' taken, ' || coalesce(sum(l.quantity), 0) || ' live' FROM course_place p
		LEFT JOIN order_line l ON l.course_id = p.course_id AND l.live AND l.kind <> 'subscription' GROUP BY p.course_id HAVING p.taken <> coalesce(sum(l.quantity), 0) OR p.taken > p.places`},
	{"there is one invoice of what was paid, and credit notes of what was given back", `
		SELECT o.id, o.total || ' paid, ' || coalesce(i.n, 0) || ' invoices of ' || coalesce(i.total, 0) || ', credit notes of ' || coalesce(i.credit, 0) || ', ' || l.refunded || ' given back, tax ' || coalesce(i.tax, 0)
		FROM orders o
		CROSS JOIN LATERAL (SELECT sum(refunded) AS refunded, sum(tax) AS tax FROM order_line WHERE order_id = o.id) l
		LEFT JOIN LATERAL (
			SELECT count(*) FILTER (WHERE kind = 'invoice') AS n, sum(total) FILTER (WHERE kind = 'invoice') AS total, sum(total) FILTER (WHERE kind = 'credit_note') AS credit,
				sum(tax) FILTER (WHERE kind = 'invoice') AS tax
			FROM invoice WHERE order_id = o.id
		) i ON true
		WHERE coalesce(i.n, 0) <> (o.paid_at IS NOT NULL AND o.total > 0)::int OR i.n > 0 AND (i.total <> o.total OR coalesce(i.credit, 0) <> l.refunded OR i.tax <> l.tax)`},
	{"numbers of invoices have no gap", `SELECT series, count(*) || ' of ' || max(position) FROM invoice GROUP BY series HAVING count(*) <> max(position)`},
	{"a gift that was paid has a code, and one taken was paid", `
		SELECT l.id, o.state FROM gift g JOIN order_line l ON l.id = g.line_id JOIN orders o ON o.id = l.order_id WHERE (g.code IS NOT NULL) <> (o.paid_at IS NOT NULL) OR g.redeemed_by IS NOT NULL AND o.paid_at IS NULL`},
}

// atProvider is what the provider has, whichever it is.
type atProvider struct {
	taken   []taken
	handed  []handed
	balance map[string]int64
	// Subscriptions, as ours are called.
	subscribed []subscribedThere
}

// subscribedThere is a subscription at the provider.
type subscribedThere struct {
	SubscriptionID string `json:"subscription_id"`
	State          string `json:"state"`
	Ends           bool   `json:"ends"` // when the running period does
}

// taken is what it took from the buyer of a payment.
type taken struct {
	PaymentID string `json:"payment_id"`
	Charges   int    `json:"charges"`
	Amount    int64  `json:"amount"`   // what was charged, or is asked for
	Refunded  int64  `json:"refunded"` // what went back, by refunds and by disputes that were lost
	Disputed  int64  `json:"disputed"` // what the bank has
	Net       int64  `json:"net"`      // what all of it made of the balance
	// Of which subscription it is; empty for none.
	SubscriptionID string `json:"subscription_id"`
}

// handed is a payout.
type handed struct {
	PayoutID  string `json:"payout_id"`
	Ref       string `json:"ref"`
	TeacherID string `json:"teacher_id"`
	Currency  string `json:"currency"`
	Amount    int64  `json:"amount"`
	Reversed  int64  `json:"reversed"`
}

// rules begin with what the provider has.
const facts = `
	WITH taken AS MATERIALIZED (SELECT * FROM jsonb_to_recordset($1) AS t (payment_id text COLLATE "C", charges int, amount bigint, refunded bigint, disputed bigint, net bigint, subscription_id text COLLATE "C")),
	handed AS MATERIALIZED (SELECT * FROM jsonb_to_recordset($2) AS t (payout_id text COLLATE "C", ref text COLLATE "C", teacher_id text COLLATE "C", currency text COLLATE "C", amount bigint, reversed bigint)),
	balance AS MATERIALIZED (SELECT key COLLATE "C" AS currency, value::bigint AS n FROM jsonb_each_text($3)),
	subscribed AS MATERIALIZED (SELECT * FROM jsonb_to_recordset($4) AS t (subscription_id text COLLATE "C", state text, ends boolean))`

// looks looks at everything.
func (w *findings) looks(at atProvider) {
	s := w.shop
	for _, r := range s.rows(`SELECT buyer_id, id, payment_id FROM orders UNION ALL SELECT buyer_id, id, id FROM order_line UNION ALL SELECT buyer_id, id, id FROM subscription`) {
		if n, ok := w.buyers[r[0]]; ok {
			w.of[r[1]], w.of[r[2]] = n, n
		}
	}
	for range 3 { // what is given is told again
		if err := w.tellsAccess(s.Context(), false); err != nil {
			s.Fatal(err)
		}
	}
	r, err := commerce.VerifyLedger(s.Context(), s.db)
	switch {
	case err != nil:
		s.Fatal(err)
	case r.Problem != "":
		w.add(r.Problem, "the ledger: "+r.Problem)
	}
	if at.taken == nil {
		at.taken = []taken{}
	}
	if at.handed == nil {
		at.handed = []handed{}
	}
	if at.subscribed == nil {
		at.subscribed = []subscribedThere{}
	}
	for _, rule := range slices.Concat(marketRules, subscriptionRules) {
		for _, r := range s.rows(facts+rule.sql, at.taken, at.handed, at.balance, at.subscribed) {
			w.add(r[0], rule.name+": "+strings.Join(r, " "))
		}
	}
	for _, r := range w.reported {
		w.add(r, "the reconciler: "+r)
	}
	w.told()
	w.access()
}

// wrong implements [stage].
func (m *market) wrong() []wrong {
	at := atProvider{balance: map[string]int64{}}
	// A payment, its refunds and its dispute are one.
	m.read(&at.taken, `
		SELECT jsonb_build_object('payment_id', coalesce((SELECT id FROM payment WHERE provider = 'development' AND ref = p.id), p.id), 'subscription_id', coalesce(p.subscription_id, ''), 'charges', (p.state = 'succeeded')::int, 'amount', p.amount, 'refunded', p.refunded, 'net', coalesce(t.n, 0),
			'disputed', coalesce((SELECT sum(amount) FROM development_object WHERE payment_id = p.id AND kind = 'dispute' AND state = 'open'), 0))
		FROM development_payment p LEFT JOIN (
			SELECT coalesce(b.payment_id, t.ref) AS payment_id, sum(t.amount - t.fee) AS n
			FROM development_transaction t LEFT JOIN development_object b ON b.id = t.ref GROUP BY 1
		) t ON t.payment_id = p.id`)
	m.read(&at.handed, `
		SELECT jsonb_build_object('payout_id', substr(id, 10), 'ref', id, 'teacher_id', substr(account, 9), 'currency', currency, 'amount', amount, 'reversed', reversed)
		FROM development_object WHERE kind = 'transfer'`)
	m.read(&at.subscribed, `SELECT jsonb_build_object('subscription_id', id, 'state', state, 'ends', cancel_at_period_end) FROM development_subscription`)
	for _, r := range m.rows(`SELECT currency, sum(amount - fee)::text FROM development_transaction GROUP BY currency`) {
		at.balance[r[0]], _ = strconv.ParseInt(r[1], 10, 64)
	}
	w := m.findings()
	w.looks(at)
	return w.list
}

// read appends rows of JSON to a list.
func (s *shop) read(into any, sql string) {
	s.Helper()
	var text []byte
	if err := s.db.QueryRow(s.Context(), `SELECT coalesce(jsonb_agg(x), '[]') FROM (`+sql+`) AS r (x)`).Scan(&text); err != nil {
		s.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		s.Fatal(err)
	}
}

// findings collects what is wrong.
type findings struct {
	*ears
	of   map[string]int // whose orders, payments and lines are
	list []wrong
}

// add adds something that is wrong with what is named in a text.
func (w *findings) add(names, what string) {
	for _, name := range strings.FieldsFunc(names, func(r rune) bool { return r == ' ' || r == ':' || r == ',' }) {
		if n, ok := w.of[name]; ok {
			w.list = append(w.list, wrong{n, what})
			return
		}
	}
	w.list = append(w.list, wrong{-1, what})
}

// ends is until when a grant gives access, zero for ever.
func ends(g *accesspb.SourceGrant) int64 {
	if g.GetEndsAt() == nil {
		return 0
	}
	return g.GetEndsAt().AsTime().UnixMicro()
}

// told compares what was sent with how things stand.
func (w *findings) told() {
	for _, t := range []struct {
		what, sql string
		sent      map[string]int
	}{
		{"OrderPaid", `SELECT id FROM orders WHERE paid_at IS NOT NULL`, w.paid},
		{"OrderFulfilled", `SELECT DISTINCT order_id FROM order_transition WHERE state = 'fulfilled'`, w.fulfilled},
		{"LinesRefunded that ends access", `SELECT id FROM order_line WHERE access_ended`, w.ended},
		{"SubscriptionEnded", `SELECT id FROM subscription WHERE state = 'ended' AND period_end IS NOT NULL`, w.over},
		{"GiftRedeemed", `SELECT line_id FROM gift WHERE redeemed_by IS NOT NULL`, w.taken},
	} {
		want := map[string]bool{}
		for _, r := range w.shop.rows(t.sql) {
			want[r[0]] = true
			if t.sent[r[0]] != 1 {
				w.add(r[0], t.what+" was not sent once of "+r[0])
			}
		}
		for of := range t.sent {
			if !want[of] {
				w.add(of, t.what+" was sent of "+of)
			}
		}
	}
}

// access compares who has access with what was paid and not given back.
func (w *findings) access() {
	due := map[string][]string{}
	for _, r := range w.shop.rows(`
		SELECT l.id, l.kind, l.course_id, CASE l.kind WHEN 'gift' THEN g.redeemed_by ELSE l.buyer_id END, l.quantity::text,
			CASE l.kind WHEN 'subscription' THEN (extract(epoch FROM o.access_until) * 1000000)::bigint::text ELSE '0' END, coalesce(o.access_until <= $1, false)::text
		FROM order_line l JOIN orders o ON o.id = l.order_id LEFT JOIN gift g ON g.line_id = l.id WHERE l.paid_at IS NOT NULL AND NOT l.access_ended AND (l.kind <> 'gift' OR g.redeemed_by IS NOT NULL)`, time.Unix(w.shop.now.Load(), 0)) {
		due[r[0]] = r[1:]
	}
	w.shop.grants.mu.Lock()
	defer w.shop.grants.mu.Unlock()
	for line, r := range due {
		g := w.shop.grants.grants[line]
		switch {
		case r[0] == "seats":
			if n := w.shop.seats.blocks[line]; r[3] != strconv.Itoa(int(n)) {
				w.add(line, "of "+line+" there are "+strconv.Itoa(int(n))+" seats, want "+r[3])
			}
		case r[5] == "true" && g.GetRevoked(): // it has ended by itself besides
		case g == nil || g.GetRevoked() || r[4] != strconv.FormatInt(ends(g), 10) || g.GetCourseId() != r[1] || g.GetAccountId() != r[2]:
			w.add(line, line+" is paid and gives no access: "+g.String())
		}
	}
	for line, g := range w.shop.grants.grants {
		if due[line] == nil && !g.GetRevoked() {
			w.add(line, line+" gives access and is not paid")
		}
	}
	for line := range w.shop.seats.blocks {
		if due[line] == nil {
			w.add(line, line+" gives seats and is not paid")
		}
	}
}
