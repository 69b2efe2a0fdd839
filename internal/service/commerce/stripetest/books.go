package stripetest

import "slices"

// Taken is what Stripe has of a payment of ours.
type Taken struct {
	Charges  int
	Amount   int64 // what was charged, or is asked for
	Refunded int64 // what went back, by refunds and by disputes that were lost
	Disputed int64 // what the bank has until its disputes are settled
	Net      int64 // what all of it made of the balance
	// Ours of which it pays a period; empty for none.
	Subscription string
}

// Handed is a transfer to a teacher.
type Handed struct {
	Payout, Ref, Teacher, Currency string
	Amount, Reversed               int64
}

// Taken returns what was taken by each payment of ours; by the invoice what was for a later
// period of a subscription.
func (s *Server) Taken() map[string]Taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	of, net := map[string]string{}, map[string]int64{} // a charge's payment; what a thing made of the balance
	for _, t := range s.txns {
		net[t["source"].(string)] += t["net"].(int64)
	}
	out := map[string]Taken{}
	for _, o := range s.of("checkout.session") {
		payment, _ := o["client_reference_id"].(string)
		out[payment] = Taken{Amount: o["amount_total"].(int64)}
	}
	for _, o := range s.charges() {
		payment, subscription := s.paymentOf(o)
		id := o["id"].(string)
		of[id] = payment
		t := out[payment]
		t.Subscription = subscription
		t.Charges++
		t.Amount = o["amount"].(int64)
		t.Refunded += o["amount_refunded"].(int64)
		t.Net += net[id]
		out[payment] = t
	}
	for _, kind := range []string{"refund", "dispute"} {
		for _, o := range s.of(kind) {
			payment := of[o["charge"].(string)]
			t := out[payment]
			t.Net += net[o["id"].(string)]
			switch o["status"] {
			case "needs_response":
				t.Disputed += o["amount"].(int64)
			case "lost":
				t.Refunded += o["amount"].(int64)
			}
			out[payment] = t
		}
	}
	return out
}

// charges returns those that were paid, oldest first.
func (s *Server) charges() []object {
	return slices.DeleteFunc(s.of("charge"), func(o object) bool { return o["status"] != "succeeded" })
}

// paymentOf returns our name of what a charge is of, and that of the subscription of which
// it pays a period.
func (s *Server) paymentOf(charge object) (payment, subscription string) {
	in := s.invoiceOf(s.things[charge["payment_intent"].(string)])
	if in == nil {
		return charge["metadata"].(map[string]string)["stoa_payment"], ""
	}
	of := s.things[in["-subscription"].(string)]["metadata"].(map[string]string)
	if in["billing_reason"] == "subscription_create" {
		return of["stoa_payment"], of["stoa_subscription"]
	}
	return in["id"].(string), of["stoa_subscription"]
}

// Subscribed is a subscription of ours.
type Subscribed struct {
	Ref, Ours, State string
	Ends             bool // at a moment that is known
}

// Subscribed returns all subscriptions, oldest first.
func (s *Server) Subscribed() (list []Subscribed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	for _, o := range s.of("subscription") {
		list = append(list, Subscribed{
			Ref: o["id"].(string), Ours: o["metadata"].(map[string]string)["stoa_subscription"], State: o["status"].(string), Ends: o["cancel_at"] != nil,
		})
	}
	return list
}

// Handed returns what was handed to teachers.
func (s *Server) Handed() (list []Handed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.of("transfer") {
		meta := s.things[o["destination"].(string)]["metadata"].(map[string]string)
		list = append(list, Handed{
			Payout: o["metadata"].(map[string]string)["stoa_payout"], Ref: o["id"].(string), Teacher: meta["stoa_teacher"], Currency: o["currency"].(string),
			Amount: o["amount"].(int64), Reversed: o["amount_reversed"].(int64),
		})
	}
	return list
}

// disputed reports how much of a charge is not the platform's any more, and whether the bank
// has it at present, so that nothing can be given back.
func (s *Server) disputed(charge object) (lost int64, open bool) {
	for _, o := range s.of("dispute") {
		if o["charge"] == charge["id"] {
			open = open || o["status"] == "needs_response"
			if o["status"] == "lost" {
				lost += o["amount"].(int64)
			}
		}
	}
	return lost, open
}

// GiveBack has somebody at Stripe give back some of what was paid at a page or by an
// invoice, and reports whether there was so much.
func (s *Server) GiveBack(ref string, amount int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	charge := s.chargeOf(ref)
	if charge == nil {
		return false
	}
	_, no := s.giveBack(charge, amount, "", map[string]string{})
	return no.status == 0
}

// chargeOf returns what was taken at a page or by an invoice, nil for nothing.
func (s *Server) chargeOf(ref string) object {
	id, _ := s.intentOf(ref)["latest_charge"].(string)
	if charge := s.things[id]; charge["status"] == "succeeded" {
		return charge
	}
	return nil
}

// Disputable reports whether something is left of what was paid at a page that the bank
// has never wanted back.
func (s *Server) Disputable(session string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	charge := s.chargeOf(session)
	return charge != nil && charge["amount_refunded"].(int64) < charge["amount"].(int64) &&
		!slices.ContainsFunc(s.of("dispute"), func(o object) bool { return o["charge"] == charge["id"] })
}

// OpenDispute returns the dispute of what was paid at a page that is not settled, empty
// for none.
func (s *Server) OpenDispute(session string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	charge := s.chargeOf(session)
	for _, o := range s.of("dispute") {
		if charge != nil && o["charge"] == charge["id"] && o["status"] == "needs_response" {
			return o["id"].(string)
		}
	}
	return ""
}

// Pages returns all pages that there are.
func (s *Server) Pages() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lists["checkout.session"])
}
