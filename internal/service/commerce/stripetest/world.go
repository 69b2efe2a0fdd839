package stripetest

import (
	"fmt"
	"slices"
	"strings"
)

// Outcome is what the buyer's bank says.
type Outcome string

// The outcomes.
const (
	Succeed Outcome = "succeed"
	Decline Outcome = "decline"
	Later   Outcome = "later" // it takes days
)

// Pay has the buyer pay at a page, and reports whether the page took it.
func (s *Server) Pay(session string, outcome Outcome) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	o, ok := s.things[session]
	if !ok || o["status"] != "open" {
		return false
	}
	if o["mode"] == "subscription" {
		s.subscribe(o, outcome)
		return true
	}
	var intent object
	if id, _ := o["payment_intent"].(string); id != "" {
		intent = s.things[id]
	} else {
		intent = s.add("payment_intent", "pi", object{
			"amount": o["amount_total"], "amount_received": int64(0), "currency": o["currency"], "metadata": o["-intent"], "latest_charge": nil,
		})
		o["payment_intent"] = intent["id"]
	}
	switch outcome {
	case Decline:
		intent["status"] = "requires_payment_method"
		intent["last_payment_error"] = object{"type": "card_error", "code": "card_declined"}
		s.tell("payment_intent.payment_failed", intent)
	case Later:
		o["status"] = "complete"
		s.submit(intent)
		s.tell("checkout.session.completed", clone(o))
	default:
		o["status"], o["payment_status"] = "complete", "paid"
		s.charge(intent)
		s.tell("checkout.session.completed", clone(o))
	}
	return true
}

// Arrive has a payment end that was to come later, of a page or an invoice, and reports
// whether there was one.
func (s *Server) Arrive(ref string, paid bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	intent := s.intentOf(ref)
	if intent == nil || intent["status"] != "processing" {
		return false
	}
	session := s.sessionOf(intent)
	if paid {
		s.charge(intent)
	} else {
		s.fail(intent)
	}
	if in := s.invoiceOf(intent); in != nil {
		s.attempted(in, paid)
	}
	switch {
	case session == nil:
	case paid:
		session["payment_status"] = "paid"
		s.tell("checkout.session.async_payment_succeeded", clone(session))
	default:
		s.tell("checkout.session.async_payment_failed", clone(session))
	}
	return true
}

// intentOf returns what is paid at a page or by an invoice, nil when there is nothing.
func (s *Server) intentOf(ref string) object {
	o := s.things[ref]
	if in, ok := o["invoice"].(string); ok && o["object"] == "checkout.session" {
		o = s.things[in]
	}
	for _, name := range []string{"payment_intent", "-intent"} {
		if id, ok := o[name].(string); ok {
			return s.things[id]
		}
	}
	return nil
}

// sessionOf returns the page at which something was paid, nil when there is none.
func (s *Server) sessionOf(intent object) object {
	for _, o := range s.of("checkout.session") {
		if o["payment_intent"] == intent["id"] || o["invoice"] != nil && o["invoice"] == intent["-invoice"] {
			return o
		}
	}
	return nil
}

// charge takes the money, which the bank may have been asked for before.
func (s *Server) charge(intent object) {
	charge := s.pending(intent)
	if charge == nil {
		charge = s.newCharge(intent, "charge")
	}
	charge["status"] = "succeeded"
	intent["last_payment_error"] = nil
	intent["status"], intent["amount_received"] = "succeeded", intent["amount"]
	s.tell("payment_intent.succeeded", intent)
	s.tell("charge.succeeded", clone(charge))
}

// newCharge moves the balance for what an intent is of.
func (s *Server) newCharge(intent object, kind string) object {
	amount, currency := intent["amount"].(int64), intent["currency"].(string)
	charge := s.add("charge", "ch", object{
		"amount": amount, "amount_refunded": int64(0), "currency": currency, "payment_intent": intent["id"], "metadata": intent["metadata"], "status": "pending",
		"balance_transaction": nil,
	})
	txn := s.move(kind, "charge", charge["id"].(string), currency, amount, Fee(amount))
	if s.lateFees {
		charge["-transaction"] = txn
	} else {
		charge["balance_transaction"] = txn
	}
	intent["latest_charge"] = charge["id"]
	return charge
}

// submit asks a bank for the money, which takes days. The balance is moved at once.
func (s *Server) submit(intent object) {
	s.newCharge(intent, "payment")
	intent["status"], intent["last_payment_error"] = "processing", nil
	s.tell("payment_intent.processing", clone(intent))
}

// pending returns what a bank was asked for and has not said, nil for nothing.
func (s *Server) pending(intent object) object {
	id, _ := intent["latest_charge"].(string)
	if charge := s.things[id]; charge != nil && charge["status"] == "pending" {
		return charge
	}
	return nil
}

// fail has a bank say no: the balance is moved back. What that is of is the charge; of odd
// amounts it is a refund that nobody made, and the fee is kept.
func (s *Server) fail(intent object) {
	charge := s.pending(intent)
	intent["status"], charge["status"] = "requires_payment_method", "failed"
	amount, source := charge["amount"].(int64), charge["id"].(string)
	fee := Fee(amount)
	if amount%2 == 1 {
		fee = 0
		source = s.id("pyr")
		s.things[source] = object{"id": source, "object": "refund", "charge": charge["id"], "payment_intent": intent["id"], "metadata": map[string]string{}}
	}
	s.move("payment_failure_refund", "charge_failure", source, charge["currency"].(string), -amount, -fee)
}

// Fee is what is kept of an amount.
func Fee(amount int64) int64 { return amount*15/1000 + 25 }

// TellFees tells the fees that were not told yet.
func (s *Server) TellFees() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, charge := range s.of("charge") {
		if txn, ok := charge["-transaction"]; ok {
			charge["balance_transaction"] = txn
			delete(charge, "-transaction")
			s.tell("charge.updated", clone(charge))
		}
	}
}

// Dispute has the bank take back what is left of a payment, that of a page or an invoice,
// and returns the dispute.
func (s *Server) Dispute(ref string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	intent := s.intentOf(ref)
	charge := s.things[intent["latest_charge"].(string)]
	left := charge["amount"].(int64) - charge["amount_refunded"].(int64)
	o := s.add("dispute", "du", object{
		"amount": left, "currency": charge["currency"], "charge": charge["id"], "payment_intent": intent["id"], "reason": "fraudulent",
		"status": "needs_response", "evidence_details": object{"due_by": s.now().Unix() + 7*24*60*60},
	})
	txn := s.move("adjustment", "dispute", o["id"].(string), charge["currency"].(string), -left, 1500)
	o["balance_transactions"] = []object{s.things[txn]}
	s.tell("charge.dispute.created", o)
	s.tell("charge.dispute.funds_withdrawn", o)
	return o["id"].(string)
}

// Warn turns a dispute into an inquiry, in which no money is taken.
func (s *Server) Warn(dispute string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.things[dispute]["status"] = "warning_needs_response"
}

// CloseDispute ends a dispute; one that was lost may be won after all. Of even amounts that
// are won the fee comes back, as it does in some countries.
func (s *Server) CloseDispute(dispute string, won bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.things[dispute]
	o["status"] = "lost"
	if won {
		o["status"] = "won"
		fee := int64(0)
		if o["amount"].(int64)%2 == 0 {
			fee = -1500
		}
		txn := s.move("adjustment", "dispute_reversal", dispute, o["currency"].(string), o["amount"].(int64), fee)
		o["balance_transactions"] = append(o["balance_transactions"].([]object), s.things[txn])
		s.tell("charge.dispute.funds_reinstated", o)
	}
	s.tell("charge.dispute.closed", o)
}

// FailRefund has a refund come back.
func (s *Server) FailRefund(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.things[id]
	o["status"], o["failure_reason"] = "failed", "lost_or_stolen_card"
	charge := s.things[o["charge"].(string)]
	charge["amount_refunded"] = charge["amount_refunded"].(int64) - o["amount"].(int64)
	s.move("refund_failure", "refund_failure", id, o["currency"].(string), o["amount"].(int64), 0)
	s.tell("refund.failed", o)
}

// SlowRefunds has what is given back from now on take days, until [Server.FailRefund] or
// [Server.EndRefund], or not.
func (s *Server) SlowRefunds(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slowRefunds = yes
}

// EndRefund has a refund that took days get to the buyer.
func (s *Server) EndRefund(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.things[id]
	o["status"] = "succeeded"
	s.tell("refund.updated", o)
}

// Refunds returns all refunds, oldest first.
func (s *Server) Refunds() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lists["refund"])
}

// Onboard has a teacher say all that is asked of them.
func (s *Server) Onboard(account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.things[account]
	o["capabilities"], o["requirements"] = object{"transfers": "active"}, object{"currently_due": []string{}, "past_due": []string{}}
	s.tell("account.updated", o)
}

// SessionOf returns the last page that was made for a payment of ours, empty when there
// is none.
func (s *Server) SessionOf(payment string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := ""
	for _, o := range s.of("checkout.session") {
		if o["client_reference_id"] == payment {
			found = o["id"].(string)
		}
	}
	return found
}

// Sessions returns how many pages there are.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lists["checkout.session"])
}

// Open returns how many pages can still be paid at.
func (s *Server) Open() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.of("checkout.session") {
		if o["status"] == "open" {
			n++
		}
	}
	return n
}

// Charged returns what was taken from the buyer by each payment of ours; by the invoice
// what was for a later period of a subscription.
func (s *Server) Charged() map[string][]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	paid := map[string][]int64{}
	for _, o := range s.charges() {
		payment, _ := s.paymentOf(o)
		paid[payment] = append(paid[payment], o["amount"].(int64))
	}
	return paid
}

// Balance returns what the platform has in each currency.
func (s *Server) Balance() map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := map[string]int64{}
	for _, t := range s.txns {
		sum[strings.ToUpper(t["currency"].(string))] += t["net"].(int64)
	}
	return sum
}

func (s *Server) balance(currency string) (sum int64) {
	for _, t := range s.txns {
		if t["currency"] == currency {
			sum += t["net"].(int64)
		}
	}
	return sum
}

// Lie makes an event that says that something happened which did not.
func (s *Server) Lie(kind, id string, says map[string]any) Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	says["id"] = id
	s.n++
	e := object{
		"id": fmt.Sprintf("evt_lie%08d", s.n), "object": "event", "api_version": "2020-08-27", "created": s.now().Unix(), "type": kind,
		"data": object{"object": says},
	}
	return Delivery{e["id"].(string), kind, encode(e), s.now()}
}
