package commerce_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/commerce/stripetest"
)

const oldSecret = "whsec_theonebefore000" //nolint:gosec // of a test

// stripeShop is a shop whose orders are paid at a Stripe of its own.
type stripeShop struct {
	*shop
	stripe   *stripetest.Server
	provider *commerce.Stripe
}

func newStripeShop(t testing.TB) *stripeShop {
	t.Helper()
	s := &stripeShop{}
	s.shop = openShop(t, func(_ *shop, cfg *commerce.Config) {
		s.stripe = stripetest.New(t, cfg.Now)
		cfg.DevelopmentPayments = false
		cfg.Stripe = &commerce.StripeConfig{Key: stripetest.Key, URL: s.stripe.URL, WebhookSecrets: []string{oldSecret, stripetest.Secret}, Tax: true}
		s.provider = commerce.NewStripe(*cfg.Stripe)
	})
	return s
}

func (s *stripeShop) clock() time.Time { return time.Unix(s.now.Load(), 0) }

// send delivers an event as Stripe does.
func (s *stripeShop) send(d stripetest.Delivery) error {
	return s.sendAs(d.Body, d.Signed(stripetest.Secret, s.clock()))
}

func (s *stripeShop) sendAs(body []byte, signature string) error {
	_, err := s.events.TakeProviderEvent(s.Context(), &commercepb.TakeProviderEventRequest{Provider: "stripe", Body: body, Signature: signature})
	return err
}

// hear delivers all events and has them taken in.
func (s *stripeShop) hear() {
	s.Helper()
	for _, d := range s.stripe.Take() {
		if err := s.send(d); err != nil {
			s.Fatalf("%s: %v", d.Type, err)
		}
	}
	s.takeIn()
}

func (s *stripeShop) takeIn() int {
	s.Helper()
	n, err := s.svc.HearEvents(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return n
}

// session is where an order is paid.
func (s *stripeShop) session(o *commercepb.Order) string {
	s.Helper()
	_, session, ok := strings.Cut(o.GetPayUrl(), "/pay/")
	if !ok {
		s.Fatalf("no page to pay at: %v", o)
	}
	return session
}

// kept returns what became of events, by state.
func (s *stripeShop) kept() map[string]int {
	s.Helper()
	rows, err := s.db.Query(s.Context(), `SELECT state, count(*) FROM provider_event GROUP BY state`)
	if err != nil {
		s.Fatal(err)
	}
	defer rows.Close()
	kept := map[string]int{}
	for rows.Next() {
		var state string
		var n int
		if err := rows.Scan(&state, &n); err != nil {
			s.Fatal(err)
		}
		kept[state] = n
	}
	if err := rows.Err(); err != nil {
		s.Fatal(err)
	}
	return kept
}

// balanced fails unless the ledger balances and has what Stripe has.
func (s *stripeShop) balanced() {
	s.Helper()
	if r, err := commerce.VerifyLedger(s.Context(), s.db); err != nil || r.Problem != "" {
		s.Fatalf("%v, %v", r, err)
	}
	list, err := commerce.Balances(s.Context(), s.db, []string{"provider"})
	if err != nil {
		s.Fatal(err)
	}
	books := map[string]int64{}
	for _, b := range list {
		books[b.Currency] = b.Amount
	}
	if diff := cmp.Diff(s.stripe.Balance(), books); diff != "" {
		s.Fatalf("Stripe's balance and the ledger's differ (-stripe +ledger):\n%s", diff)
	}
}

func TestStripeOrder(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	for currency, price := range map[string]int64{"EUR": 4900, "JPY": 5000, "KWD": 12340} {
		buyer, seller := id.New("account"), id.New("account")
		o := s.order(buyer, s.course(seller, price, currency), s.course(seller, 2*price, currency))
		if !s.stripe.Pay(s.session(o), stripetest.Decline) {
			t.Fatal("the page is closed")
		}
		s.hear()
		if got := s.get(buyer, o.GetId()); got.GetState() != "awaiting_payment" || got.GetPayUrl() == "" {
			t.Fatalf("declined: %v", got)
		}
		s.stripe.Pay(s.session(o), stripetest.Succeed)
		s.hear()
		if got := s.get(buyer, o.GetId()); got.GetState() != "paid" || got.GetPayUrl() != "" {
			t.Fatalf("paid: %v", got)
		}
		var tax, fee int64
		if err := s.db.QueryRow(t.Context(), `
			SELECT (SELECT sum(tax) FROM order_line l WHERE l.order_id = p.order_id)::bigint, fee FROM payment p WHERE order_id = $1`, o.GetId()).Scan(&tax, &fee); err != nil {
			t.Fatal(err)
		}
		want := price - price*100/119 + 2*price - 2*price*100/119
		if tax != want || fee != stripetest.Fee(3*price) {
			t.Errorf("%s: tax %d and fee %d, want %d and %d", currency, tax, fee, want, stripetest.Fee(3*price))
		}
	}
	s.balanced()
	if kept := s.kept(); kept["parked"]+kept["waiting"]+kept["ignored"] > 0 {
		t.Errorf("events %v", kept)
	}
}

// What a currency can't be paid in is refused before anybody orders.
func TestThreeDecimals(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	course := s.course(id.New("account"), 12340, "KWD")
	_, err := s.client.SetPrice(rpctest.Account(t.Context(), id.New("account")), &commercepb.SetPriceRequest{
		CourseId: course, Price: &moneypb.Money{Amount: 12345, Currency: "KWD"},
	})
	wantCode(t, err, "price.digits")
	_, _, err = s.provider.Checkout(t.Context(), "k", commerce.Checkout{Amount: 12345, Currency: "KWD"})
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
}

// In a currency with three decimals what coupons and bundles make can be paid, given back
// and handed out: to the last unit that there is, what is less stays.
func TestThreeDecimalsAreCharged(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	seller, buyer := id.New("account"), id.New("account")
	must[*commercepb.PayoutAccount](s.shop)(s.payouts.CreatePayoutAccount(s.as(seller), &commercepb.CreatePayoutAccountRequest{}))
	var ref string
	if err := s.db.QueryRow(t.Context(), `SELECT ref FROM payout_account WHERE teacher_id = $1`, seller).Scan(&ref); err != nil {
		t.Fatal(err)
	}
	s.stripe.Onboard(ref)
	kwd := func(amount int64) *moneypb.Money { return &moneypb.Money{Amount: amount, Currency: "KWD"} }
	a, b, c := s.course(seller, 12340, "KWD"), s.course(seller, 7770, "KWD"), s.course(seller, 5010, "KWD")
	s.coupon(seller, "THIRD", func(c *commercepb.CouponTerms) { c.Percent = 33 })
	o := must[*commercepb.Order](s.shop)(s.buy(buyer, must[*commercepb.Quote](s.shop)(s.quote(buyer, "KWD", "THIRD", s.bundle(seller, "Both", kwd(19990), a, b), item(c)))))
	// A third of 25.000 is 8.250; the bundle and what the coupon takes are divided in tens.
	sum := int64(0)
	for _, l := range o.GetLines() {
		if l.GetPrice().GetAmount()%10 != 0 {
			t.Errorf("a line of %v", l.GetPrice())
		}
		sum += l.GetPrice().GetAmount()
	}
	if sum != 16750 || o.GetTotal().GetAmount() != sum {
		t.Fatalf("order %v", o)
	}
	if !s.stripe.Pay(s.session(o), stripetest.Succeed) {
		t.Fatal("it can't be paid")
	}
	s.hear()
	s.wantState(buyer, o, "paid")
	line := o.GetLines()[0].GetId()
	_, err := s.giveBack(o, &commercepb.LineToRefund{LineId: line, Amount: 1001})
	wantCode(t, err, "refund.digits")
	s.gaveBack(o, &commercepb.LineToRefund{LineId: line, Amount: 1010})
	s.balanced()
	s.now.Add(31 * 24 * 3600)
	s.releases(3)
	before := -s.ledgerAt("teacher:" + seller)["KWD"]
	must[*commercepb.PayoutRun](s.shop)(s.payouts.CreatePayoutRun(s.staff(), &commercepb.CreatePayoutRunRequest{Currency: "KWD"}))
	s.paysOut()
	s.carryOut(1)
	p := s.paidTo(seller)[0]
	if p.GetState() != "paid" || p.GetAmount().GetAmount() != before/10*10 || p.GetClosing().GetAmount() != before%10 {
		t.Errorf("paid %v of %d", p, before)
	}
	s.balanced()
}

// When what Stripe tells is lost, it is asked.
func TestLostWebhook(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	s.stripe.LateFees(true)
	buyer := id.New("account")
	o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
	s.stripe.Pay(s.session(o), stripetest.Succeed)
	s.stripe.Take()
	look := func(after int64) int {
		t.Helper()
		s.now.Add(after)
		n, err := s.svc.LookAtPayments(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := look(60); n != 0 {
		t.Fatalf("%d payments are looked up at once", n)
	}
	if n := look(150); n != 1 || s.get(buyer, o.GetId()).GetState() != "paid" {
		t.Fatalf("%d looked up, order %v", n, s.get(buyer, o.GetId()))
	}
	// Its fee is asked for too, and then no more.
	if n := look(90); n != 1 {
		t.Fatalf("%d looked up for a fee", n)
	}
	s.stripe.TellFees()
	s.stripe.Take()
	look(3600)
	s.balanced()
	if n := look(24 * 3600); n != 0 {
		t.Errorf("%d looked up when all is known", n)
	}
}

// Who comes back from Stripe's page has the payment looked up, and does not wait for what
// Stripe tells: every few seconds at most, however often they ask.
func TestBuyerComesBack(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	buyer := id.New("account")
	o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
	check := func() string {
		t.Helper()
		return must[*commercepb.Order](s.shop)(s.client.LookUpOrderPayment(s.as(buyer), &commercepb.LookUpOrderPaymentRequest{OrderId: o.GetId()})).GetState()
	}
	if got := check(); got != "awaiting_payment" {
		t.Fatalf("order %s", got)
	}
	s.stripe.Pay(s.session(o), stripetest.Succeed)
	s.stripe.Take() // all that it tells is lost
	for range 5 {
		if got := check(); got != "awaiting_payment" {
			t.Fatalf("it was looked up again at once: %s", got)
		}
	}
	s.now.Add(5)
	if got := check(); got != "paid" {
		t.Fatalf("order %s", got)
	}
	if n := len(sent[*commercepb.OrderPaid](s.shop)); n != 1 {
		t.Errorf("%d OrderPaid", n)
	}
	s.now.Add(5)
	if got := check(); got != "paid" {
		t.Errorf("order %s", got)
	}
	s.balanced()

	// While Stripe is away the order is what it is.
	o = s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
	s.away(true)
	if got := check(); got != "awaiting_payment" {
		t.Errorf("order %s", got)
	}
}

func TestPayLaterAtStripe(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	for _, arrives := range []bool{true, false} {
		buyer := id.New("account")
		o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
		session := s.session(o)
		s.stripe.Pay(session, stripetest.Later)
		s.hear()
		s.now.Add(3 * 24 * 3600)
		if n, err := s.svc.Expire(t.Context()); err != nil || n != 0 {
			t.Fatalf("%d expired while the payment was on its way, %v", n, err)
		}
		s.stripe.Arrive(session, arrives)
		s.hear()
		if _, err := s.svc.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := map[bool]string{true: "paid", false: "expired"}[arrives]
		if got := s.get(buyer, o.GetId()).GetState(); got != want {
			t.Errorf("arrives %v: order %s, want %s", arrives, got, want)
		}
	}
	s.balanced()
}

// An event may come twice and in any order; each is kept once.
func TestEventsTwiceAndInAnyOrder(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	buyer := id.New("account")
	o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
	s.stripe.Pay(s.session(o), stripetest.Decline)
	s.stripe.Pay(s.session(o), stripetest.Succeed)
	events := s.stripe.Take()
	slices.Reverse(events)
	for _, d := range slices.Concat(events, events) {
		if err := s.send(d); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.takeIn(); n != len(events) {
		t.Errorf("%d taken in of %d", n, len(events))
	}
	if got := s.get(buyer, o.GetId()).GetState(); got != "paid" {
		t.Errorf("order %s", got)
	}
	if n := len(sent[*commercepb.OrderPaid](s.shop)); n != 1 {
		t.Errorf("%d OrderPaid", n)
	}
	s.balanced()
}

// What is not signed by Stripe, of just now, over these bytes, is refused and not kept.
func TestForgedEvents(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	buyer := id.New("account")
	o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
	lie := s.stripe.Lie("checkout.session.completed", s.session(o), map[string]any{"payment_status": "paid", "status": "complete"})
	now := s.clock()
	good := lie.Signed(stripetest.Secret, now)
	for name, c := range map[string]struct {
		body      []byte
		signature string
		code      string
	}{
		"another secret":  {lie.Body, lie.Signed("whsec_guessed", now), "payment_event.signature"},
		"no signature":    {lie.Body, "", "payment_event.signature"},
		"nonsense":        {lie.Body, "t=,v1=zz,=,,", "payment_event.signature"},
		"truncated":       {lie.Body[:len(lie.Body)-1], good, "payment_event.signature"},
		"longer":          {append(slices.Clone(lie.Body), ' '), good, "payment_event.signature"},
		"replayed":        {lie.Body, lie.Signed(stripetest.Secret, now.Add(-301*time.Second)), "payment_event.stale"},
		"ahead":           {lie.Body, lie.Signed(stripetest.Secret, now.Add(301*time.Second)), "payment_event.stale"},
		"two times":       {lie.Body, good + fmt.Sprintf(",t=%d", now.Unix()-1), "payment_event.signature"},
		"an old one, new": {lie.Body, fmt.Sprintf("t=%d,", now.Unix()) + lie.Signed(stripetest.Secret, now.Add(-time.Hour)), "payment_event.stale"},
		"no event":        {[]byte(`{"object":"list"}`), stripetest.Delivery{Body: []byte(`{"object":"list"}`)}.Signed(stripetest.Secret, now), "payment_event.invalid"},
		"no JSON":         {[]byte(`{`), stripetest.Delivery{Body: []byte(`{`)}.Signed(stripetest.Secret, now), "payment_event.invalid"},
	} {
		if err := s.sendAs(c.body, c.signature); err == nil || fault.CodeOf(fault.FromStatus(err)) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	if err := s.sendAs(make([]byte, 1<<20+1), good); err == nil || !fault.Is(fault.FromStatus(err), fault.Invalid) {
		t.Errorf("too large: %v", err)
	}
	if kept := s.kept(); len(kept) > 0 {
		t.Errorf("kept %v", kept)
	}
	// A lie that is signed well, of another version, changes nothing: Stripe is asked.
	for _, signature := range []string{good, lie.Signed(oldSecret, now), lie.Signed("whsec_new", now) + "," + strings.Split(good, ",")[1]} {
		if err := s.sendAs(lie.Body, signature); err != nil {
			t.Fatalf("%s: %v", signature, err)
		}
	}
	s.takeIn()
	if got := s.get(buyer, o.GetId()).GetState(); got != "awaiting_payment" {
		t.Errorf("a lie made the order %s", got)
	}
	if diff := cmp.Diff(map[string]int{"done": 1}, s.kept()); diff != "" {
		t.Error(diff)
	}
}

// Events of other things are kept and ignored; those of things of others too.
func TestUnknownEvents(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	s.stripe.Tell("customer.created", "cus_1")
	s.stripe.Tell("a.type.of.tomorrow", "x_1")
	s.stripe.Tell("checkout.session.completed", "cs_of_nobody")
	s.hear()
	// That the session is not known may be an error of today.
	if diff := cmp.Diff(map[string]int{"ignored": 2, "waiting": 1}, s.kept()); diff != "" {
		t.Error(diff)
	}
	for range commerce.MaxEventTries {
		s.now.Add(3600)
		s.takeIn()
	}
	if diff := cmp.Diff(map[string]int{"ignored": 2, "parked": 1}, s.kept()); diff != "" {
		t.Error(diff)
	}
}

// Events of the other mode, which an endpoint may be told too, are kept and ignored: nothing
// of them is there.
func TestEventsOfTheOtherMode(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	s.stripe.Tell("account.updated", "acct_live")
	s.stripe.Tell("checkout.session.completed", "cs_live")
	for _, d := range s.stripe.Take() {
		d.Body = bytes.Replace(d.Body, []byte(`"livemode":false`), []byte(`"livemode":true`), 1)
		if err := s.send(d); err != nil {
			t.Fatal(err)
		}
	}
	s.takeIn()
	if r := s.replay(commerce.Replay{Since: s.clock().Add(-time.Hour)}); r != (commerce.Replayed{}) {
		t.Errorf("%+v", r)
	}
	s.takeIn()
	if diff := cmp.Diff(map[string]int{"ignored": 2}, s.kept()); diff != "" {
		t.Error(diff)
	}
	if n := s.count(`SELECT count(*) FROM provider_event WHERE problem LIKE '%other mode%'`); n != 2 {
		t.Errorf("%d say why", n)
	}
}

// While Stripe is away events are tried again, and what is parked is replayed.
func TestParkedAndReplayed(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	buyer := id.New("account")
	o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
	s.stripe.Pay(s.session(o), stripetest.Succeed)
	s.away(true)
	s.hear()
	for range commerce.MaxEventTries {
		s.now.Add(3600)
		s.takeIn()
	}
	kept := s.kept()
	if kept["parked"] == 0 || kept["waiting"]+kept["done"] > 0 {
		t.Fatalf("events %v", kept)
	}
	s.away(false)
	s.now.Add(24 * 3600)
	s.takeIn()
	if got := s.get(buyer, o.GetId()).GetState(); got != "awaiting_payment" {
		t.Fatalf("order %s", got)
	}
	if r := s.replay(commerce.Replay{Parked: true}); r.Again != kept["parked"] {
		t.Errorf("%+v of %d", r, kept["parked"])
	}
	s.takeIn()
	if got := s.get(buyer, o.GetId()).GetState(); got != "paid" {
		t.Errorf("order %s", got)
	}
	s.balanced()
}

// away has Stripe not answer.
func (s *stripeShop) away(yes bool) {
	s.stripe.Fail(nil)
	if yes {
		s.stripe.Fail(always(stripetest.Before))
	}
}

func (s *stripeShop) replay(r commerce.Replay) commerce.Replayed {
	s.Helper()
	done, err := commerce.ReplayEvents(s.Context(), s.db, s.provider, s.clock(), r)
	if err != nil {
		s.Fatal(err)
	}
	return done
}

// Events that never came are fetched.
func TestReplayFetches(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	var orders []*commercepb.Order
	var lost []stripetest.Delivery
	for range 30 { // four events each: more than a page
		o := s.order(id.New("account"), s.course(id.New("account"), 4900, "EUR"))
		s.stripe.Pay(s.session(o), stripetest.Succeed)
		orders = append(orders, o)
		lost = append(lost, s.stripe.Take()...)
	}
	if err := s.send(lost[0]); err != nil {
		t.Fatal(err)
	}
	s.takeIn()
	if r := s.replay(commerce.Replay{Event: lost[1].ID}); r != (commerce.Replayed{Missed: 1}) {
		t.Errorf("one that never came: %+v", r)
	}
	if r := s.replay(commerce.Replay{Event: lost[0].ID}); r != (commerce.Replayed{Again: 1}) {
		t.Errorf("one that came: %+v", r)
	}
	if _, err := commerce.ReplayEvents(t.Context(), s.db, s.provider, s.clock(), commerce.Replay{Event: "evt_nobody"}); fault.CodeOf(err) != "payment_event.unknown" {
		t.Errorf("one that is not: %v", err)
	}
	if _, err := commerce.ReplayEvents(t.Context(), s.db, s.provider, s.clock(), commerce.Replay{Since: s.clock().Add(-31 * 24 * time.Hour)}); err == nil {
		t.Error("31 days are taken")
	}
	if n := s.recorded("payment_events.replayed"); n != 2 {
		t.Errorf("%d replays are recorded", n)
	}
	if r := s.replay(commerce.Replay{Since: s.clock().Add(-time.Hour)}); r.Missed != len(lost)-2 {
		t.Errorf("%+v of %d", r, len(lost))
	}
	s.takeIn()
	for _, o := range orders {
		if got := s.get(o.GetBuyerId(), o.GetId()).GetState(); got != "paid" {
			t.Errorf("order %s", got)
		}
	}
	s.balanced()
}

// The text of events is gone after 90 days; that they came is not.
func TestEventRetention(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	s.stripe.Tell("customer.created", "cus_1")
	s.hear()
	s.now.Add(89 * 24 * 3600)
	if n, err := s.svc.SweepEvents(t.Context()); err != nil || n != 0 {
		t.Errorf("%d after 89 days, %v", n, err)
	}
	s.now.Add(2 * 24 * 3600)
	if n, err := s.svc.SweepEvents(t.Context()); err != nil || n != 1 {
		t.Errorf("%d after 91 days, %v", n, err)
	}
	if kept := s.kept(); kept["ignored"] != 1 {
		t.Errorf("kept %v", kept)
	}
}

// However a call to Stripe fails, an order has one page and is paid once.
func TestOnePagePerOrder(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]stripetest.Fault{"before": stripetest.Before, "after": stripetest.After, "busy": stripetest.Busy, "stuck": stripetest.Stuck} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStripeShop(t)
			s.stripe.Fail(always(f))
			buyer := id.New("account")
			o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
			if o.GetPayUrl() != "" {
				t.Fatalf("order %v", o)
			}
			if f != stripetest.Stuck { // which lasts by itself
				s.carryOut(600)
			}
			s.stripe.Fail(nil)
			s.carryOut(600)
			o = s.get(buyer, o.GetId())
			s.stripe.Pay(s.session(o), stripetest.Succeed)
			s.hear()
			if got := s.get(buyer, o.GetId()).GetState(); got != "paid" {
				t.Errorf("order %s", got)
			}
			if n := s.stripe.Sessions(); n != 1 {
				t.Errorf("%d pages", n)
			}
			s.balanced()
		})
	}
}

func always(f stripetest.Fault) func(*http.Request) stripetest.Fault {
	return func(*http.Request) stripetest.Fault { return f }
}

// A page is closed with its order; who paid before that paid for nothing, and is owed it.
func TestCancelledAtStripe(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	buyer := id.New("account")
	course := s.course(id.New("account"), 4900, "EUR")
	cancel := func(o *commercepb.Order) {
		t.Helper()
		if _, err := s.client.CancelOrder(rpctest.Account(t.Context(), buyer), &commercepb.CancelOrderRequest{OrderId: o.GetId()}); err != nil {
			t.Fatal(err)
		}
	}
	o := s.order(buyer, course)
	cancel(o)
	s.carryOut(0)
	if s.stripe.Pay(s.session(o), stripetest.Succeed) {
		t.Error("a cancelled order can be paid")
	}
	o = s.order(buyer, course)
	s.stripe.Pay(s.session(o), stripetest.Succeed)
	cancel(o)
	s.stripe.Take() // Stripe's words are lost: it is told when the page is to be closed
	s.carryOut(0)
	if got := s.get(buyer, o.GetId()).GetState(); got != "cancelled" {
		t.Errorf("order %s", got)
	}
	s.carryOut(0)
	var back int
	if err := s.db.QueryRow(t.Context(), `SELECT count(*) FROM refund WHERE source = 'surplus' AND state = 'succeeded' AND amount = 4900`).Scan(&back); err != nil || back != 1 {
		t.Errorf("%d times its money went back, %v", back, err)
	}
	s.balanced()
	s.hear()
}

// Refunds, disputes, accounts, transfers and what moved the balance, at the seam.
func TestStripeSeam(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	ctx := t.Context()
	o := s.order(id.New("account"), s.course(id.New("account"), 10_000, "EUR"))
	session := s.session(o)
	s.stripe.Pay(session, stripetest.Succeed)
	var payment string
	if err := s.db.QueryRow(ctx, `SELECT id FROM payment WHERE ref = $1`, session).Scan(&payment); err != nil {
		t.Fatal(err)
	}
	type heard struct {
		Refunds  []commerce.RefundNews
		Disputes []commerce.DisputeNews
		Accounts []commerce.AccountNews
	}
	// What Stripe tells, each with what it says then of the thing that it is about.
	var got heard
	hear := func() {
		t.Helper()
		for _, d := range s.stripe.Take() {
			e, err := s.provider.ReadEvent(d.Body, d.Signed(stripetest.Secret, s.clock()), s.clock())
			if err != nil {
				t.Fatalf("%s: %v", d.Type, err)
			}
			if s.provider.About(e.Type) == "" {
				continue
			}
			switch n, err := s.provider.News(ctx, e); {
			case err != nil:
				t.Fatalf("%s: %v", d.Type, err)
			case n.Refund != nil:
				got.Refunds = append(got.Refunds, *n.Refund)
			case n.Dispute != nil:
				got.Disputes = append(got.Disputes, *n.Dispute)
			case n.Account != nil:
				got.Accounts = append(got.Accounts, *n.Account)
			}
		}
	}
	refund := commerce.RefundRequest{RefundID: "refund_1", PaymentRef: session, Amount: 3000, Currency: "EUR", Reason: "requested_by_customer"}
	first, err := s.provider.Refund(ctx, "refund:1", refund)
	want := commerce.RefundNews{RefundID: "refund_1", Ref: first.Ref, PaymentID: payment, Amount: 3000, Currency: "EUR", State: "succeeded"}
	if diff := cmp.Diff(want, first); err != nil || diff != "" {
		t.Fatalf("%v\n%s", err, diff)
	}
	hear()
	if diff := cmp.Diff([]commerce.RefundNews{want}, got.Refunds); diff != "" {
		t.Fatal(diff)
	}
	// The same again, also when Stripe has forgotten the key: it is one refund.
	s.stripe.ForgetKeys()
	if again, err := s.provider.Refund(ctx, "refund:1", refund); err != nil || again != first {
		t.Errorf("again: %v, %v", again, err)
	}
	if _, err := s.provider.Refund(ctx, "refund:2", commerce.RefundRequest{RefundID: "refund_2", PaymentRef: session, Amount: 7001, Currency: "EUR", Reason: "duplicate"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("too much: %v", err)
	}
	if _, err := s.provider.Refund(ctx, "refund:3", commerce.RefundRequest{RefundID: "refund_3", PaymentRef: session, Amount: 1, Currency: "USD", Reason: "duplicate"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("another currency: %v", err)
	}
	s.stripe.FailRefund(first.Ref)
	hear()
	want.State, want.FailReason = "failed", "lost_or_stolen_card"
	if diff := cmp.Diff(want, got.Refunds[len(got.Refunds)-1]); diff != "" {
		t.Error(diff)
	}

	dispute := s.stripe.Dispute(session)
	hear()
	due := s.clock().Add(7 * 24 * time.Hour).UTC()
	news := commerce.DisputeNews{Ref: dispute, PaymentID: payment, Amount: 10_000, Currency: "EUR", Fee: 1500, State: "open", Reason: "fraudulent", DueBy: &due}
	if diff := cmp.Diff(news, got.Disputes[0]); diff != "" {
		t.Error(diff)
	}
	s.stripe.CloseDispute(dispute, true)
	hear()
	news.FeeBack = 1500
	if news.State = "won"; cmp.Diff(news, got.Disputes[len(got.Disputes)-1]) != "" {
		t.Errorf("%+v", got.Disputes[len(got.Disputes)-1])
	}
	n := len(got.Disputes)
	s.stripe.Warn(dispute) // an inquiry takes no money
	s.stripe.Tell("charge.dispute.updated", dispute)
	hear()
	if len(got.Disputes) != n {
		t.Errorf("an inquiry is a dispute: %v", got.Disputes[n:])
	}

	account, err := s.provider.CreateAccount(ctx, "account:1", "account_1")
	if err != nil || account.Ready || account.TeacherID != "account_1" || !slices.Equal(account.Requirements, []string{"external_account", "individual.first_name"}) {
		t.Fatalf("%+v, %v", account, err)
	}
	transfer := commerce.TransferRequest{PayoutID: "payout_1", AccountRef: account.Ref, Amount: 5000, Currency: "EUR"}
	if _, err := s.provider.Transfer(ctx, "payout:1", transfer); !fault.Is(err, fault.Invalid) {
		t.Errorf("to an account that is not ready: %v", err)
	}
	if url, err := s.provider.OnboardingURL(ctx, account.Ref, "https://stoa.test/back"); err != nil || url == "" {
		t.Errorf("%q, %v", url, err)
	}
	s.stripe.Onboard(account.Ref)
	hear()
	if diff := cmp.Diff([]commerce.AccountNews{{TeacherID: "account_1", Ref: account.Ref, Ready: true}}, got.Accounts, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	// What the balance lacks today it may have tomorrow: that is not final.
	large := transfer
	large.Amount, large.PayoutID = 1_000_000, "payout_2"
	if _, err := s.provider.Transfer(ctx, "payout:2", large); err == nil || fault.Is(err, fault.Invalid) {
		t.Errorf("more than there is: %v", err)
	}
	ref, err := s.provider.Transfer(ctx, "payout:3", transfer)
	if err != nil {
		t.Fatal(err)
	}
	s.stripe.ForgetKeys()
	if again, err := s.provider.Transfer(ctx, "payout:3", transfer); err != nil || again != ref {
		t.Errorf("again: %q, %v", again, err)
	}
	for range 2 {
		if err := s.provider.ReverseTransfer(ctx, "reverse:1", ref, 2000); err != nil {
			t.Fatal(err)
		}
		s.stripe.ForgetKeys()
	}
	if err := s.provider.ReverseTransfer(ctx, "reverse:2", ref, 3001); !fault.Is(err, fault.Invalid) {
		t.Errorf("more than there is: %v", err)
	}

	type moved struct {
		Kind, Ref   string
		Amount, Fee int64
	}
	var all []moved
	for after := ""; ; {
		list, last, err := s.provider.Transactions(ctx, after)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			if last != after {
				t.Errorf("at the end the cursor is %q, was %q", last, after)
			}
			break
		}
		for _, x := range list {
			all = append(all, moved{x.Kind, x.Ref, x.Amount, x.Fee})
		}
		after = last
	}
	if diff := cmp.Diff([]moved{
		{"payment", payment, 10_000, stripetest.Fee(10_000)},
		{"refund", first.Ref, -3000, 0},
		{"refund_failed", first.Ref, 3000, 0},
		{"dispute", dispute, -10_000, 1500},
		{"dispute_won", dispute, 10_000, -1500},
		{"transfer", ref, -5000, 0},
		{"reversal", "reverse:1", 2000, 0},
	}, all); diff != "" {
		t.Error(diff)
	}
}

// However many transactions there are, they are listed once each, in order.
func TestTransactionsInOrder(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	for i := range 330 {
		session, _, err := s.provider.Checkout(t.Context(), fmt.Sprint("k", i), commerce.Checkout{
			PaymentID: fmt.Sprintf("payment_%d", i), Amount: 100, Currency: "EUR", ExpiresAt: s.clock().Add(time.Hour),
			ReturnURL: "https://stoa.test", Lines: []commerce.CheckoutLine{{Title: "A", Amount: 100}},
		})
		if err != nil || !s.stripe.Pay(session, stripetest.Succeed) {
			t.Fatal(err)
		}
		if i%7 == 0 && i > 120 {
			s.now.Add(10) // more than a page in the first second
		}
	}
	next := 0
	for after := ""; ; {
		list, last, err := s.provider.Transactions(t.Context(), after)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		for _, x := range list {
			if want := fmt.Sprintf("payment_%d", next); x.Ref != want {
				t.Fatalf("%s, want %s", x.Ref, want)
			}
			next++
		}
		after = last
	}
	if next != 330 {
		t.Errorf("%d of 330", next)
	}
}

// Of what is others' at the same provider it is asked ever more rarely, and told all the same.
func TestMoneyOfOthers(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	const many = 130 // more than is asked of at once
	s.exec(`INSERT INTO provider_transaction (provider, id, kind, ref, amount, fee, currency, at)
		SELECT 'stripe', 'txn_' || n, 'payment', 'in_' || n, 100, 0, 'EUR', $1::timestamptz FROM generate_series(1, $2::int) n UNION ALL
		SELECT 'stripe', 'txn_b', 'refund', 're_1', -100, 0, 'EUR', $1::timestamptz UNION ALL
		SELECT 'stripe', 'txn_c', 'dispute', 'du_1', -100, 0, 'EUR', $1::timestamptz`, s.clock(), many)
	s.exec(`INSERT INTO provider_balance (provider, currency, amount) VALUES ('stripe', 'EUR', $1)`, 100*many-200)
	var asked []int
	for range 8 { // after so many times five minutes
		s.now.Add(300)
		before := s.stripe.Requests("GET invoices") + s.stripe.Requests("GET refunds") + s.stripe.Requests("GET disputes")
		if _, err := s.svc.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		asked = append(asked, s.stripe.Requests("GET invoices")+s.stripe.Requests("GET refunds")+s.stripe.Requests("GET disputes")-before)
		if open := s.count(`SELECT count(*) FROM mismatch WHERE state = 'open'`); open != many+2 {
			t.Fatalf("%d mismatches are open", open)
		}
	}
	if diff := cmp.Diff([]int{100, 100, 32, 100, 0, 32, 0, 100}, asked); diff != "" {
		t.Error(diff)
	}
}
