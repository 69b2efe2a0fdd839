package stripetest

import "time"

// finalizeAfter is how long the invoice of a renewal is a draft.
const finalizeAfter = time.Hour

// retries are how long after a try that failed the next one is. After the last the
// subscription is cancelled, as the account's settings say.
var retries = []time.Duration{3 * 24 * time.Hour, 5 * 24 * time.Hour, 4 * 24 * time.Hour}

// Confirm is what the bank says that wants the buyer to confirm a payment.
const Confirm Outcome = "confirm"

// tick does what time brings, in its order, each at its time.
func (s *Server) tick() {
	clock := s.now
	defer func() { s.now = clock }()
	for {
		at, do := s.next(clock())
		if do == nil {
			return
		}
		s.now = func() time.Time { return at }
		do()
		s.now = clock
	}
}

// next returns what is to be done first until now, nil when there is nothing.
func (s *Server) next(now time.Time) (at time.Time, do func()) {
	earlier := func(seconds any, fn func()) {
		if n, ok := seconds.(int64); ok && n <= now.Unix() && (do == nil || n < at.Unix()) {
			at, do = time.Unix(n, 0), fn
		}
	}
	for _, o := range s.of("checkout.session") {
		if o["status"] == "open" {
			earlier(o["expires_at"], func() { _, _ = s.expireSession(o["id"].(string)) })
		}
	}
	for _, o := range s.of("subscription") {
		if o["status"] == "canceled" {
			continue
		}
		earlier(o["cancel_at"], func() { s.ended(o) })
		earlier(periodEnd(o), func() { s.renew(o) })
	}
	for _, in := range s.of("invoice") {
		o := s.things[in["-subscription"].(string)]
		switch in["status"] {
		case "draft":
			earlier(in["-finalize"], func() {
				s.finalize(in)
				s.try(in, o["-card"].(Outcome))
			})
		case "open":
			earlier(in["next_payment_attempt"], func() { s.try(in, o["-card"].(Outcome)) })
		}
	}
	return at, do
}

// renew begins the next period of a subscription.
func (s *Server) renew(o object) {
	n := o["-period"].(int) + 1
	o["-period"] = n
	anchor, interval := o["-anchor"].(time.Time), o["-interval"].(string)
	i := item(o)
	i["current_period_start"], i["current_period_end"] = later(anchor, interval, n).Unix(), later(anchor, interval, n+1).Unix()
	in := s.bill(o, "subscription_cycle")
	in["-finalize"] = s.now().Add(finalizeAfter).Unix()
	s.tell("customer.subscription.updated", clone(o))
}

// try has an invoice paid, as far as the buyer's bank does.
func (s *Server) try(in object, outcome Outcome) {
	intent := s.things[in["-intent"].(string)]
	in["next_payment_attempt"], in["attempted"] = nil, true
	switch outcome {
	case Succeed:
		s.charge(intent)
		s.attempted(in, true)
	case Later:
		s.submit(intent)
	case Confirm:
		intent["status"] = "requires_action"
		s.tell("payment_intent.requires_action", clone(intent))
		s.attempted(in, false)
		s.tell("invoice.payment_action_required", clone(in))
	default:
		intent["status"], intent["last_payment_error"] = "requires_payment_method", object{"type": "card_error", "code": "card_declined"}
		s.tell("payment_intent.payment_failed", clone(intent))
		s.attempted(in, false)
	}
}

// attempted is what comes of a try.
func (s *Server) attempted(in object, paid bool) {
	o := s.things[in["-subscription"].(string)]
	if paid {
		in["status"], in["amount_paid"], in["amount_remaining"], in["next_payment_attempt"] = "paid", in["amount_due"], int64(0), nil
		for _, p := range s.payments(in["id"].(string)) {
			p["status"], p["amount_paid"] = "paid", in["amount_due"]
		}
		s.tell("invoice.paid", clone(in))
		s.tell("invoice.payment_succeeded", clone(in))
		if o["status"] == "past_due" && o["latest_invoice"] == in["id"] {
			o["status"] = "active"
		}
		if o["status"] != "canceled" {
			s.tell("customer.subscription.updated", clone(o))
		}
		return
	}
	tries := in["attempt_count"].(int) + 1
	in["attempt_count"] = tries
	if o["status"] != "canceled" && tries <= len(retries) {
		in["next_payment_attempt"] = s.now().Add(retries[tries-1]).Unix()
	}
	s.tell("invoice.payment_failed", clone(in))
	switch {
	case o["status"] == "canceled":
	case tries > len(retries):
		s.ended(o)
	default:
		o["status"] = "past_due"
		s.tell("customer.subscription.updated", clone(o))
	}
}

// Card says what the buyer's bank says to the renewals of a subscription.
func (s *Server) Card(subscription string, outcome Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	s.things[subscription]["-card"] = outcome
}

// PayInvoice has the buyer pay an invoice at its own page, and reports whether the page
// took it.
func (s *Server) PayInvoice(id string, outcome Outcome) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	in, ok := s.things[id]
	if !ok || in["status"] != "open" || s.things[in["-intent"].(string)]["status"] == "processing" {
		return false
	}
	intent := s.things[in["-intent"].(string)]
	if outcome != Succeed { // who is at the page sees it; it is no try of Stripe's own
		intent["last_payment_error"] = object{"type": "card_error", "code": "card_declined"}
		s.tell("payment_intent.payment_failed", clone(intent))
		return true
	}
	s.charge(intent)
	s.attempted(in, true)
	if o := s.things[in["-subscription"].(string)]; o["-saves"] == true {
		o["-card"] = Succeed
	}
	return true
}

// NoPortal has the settings of Stripe's own pages never saved.
func (s *Server) NoPortal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists["billing_portal.configuration"] = nil
}

// PortalCancel has the buyer end a subscription with its period by Stripe's own pages,
// which set the moment.
func (s *Server) PortalCancel(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	if o := s.things[id]; o["status"] != "canceled" {
		o["cancel_at"], o["canceled_at"] = periodEnd(o), s.now().Unix()
		s.tell("customer.subscription.updated", clone(o))
	}
}
