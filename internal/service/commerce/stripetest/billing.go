package stripetest

import (
	"net/http"
	"slices"
	"time"
)

// Subscriptions: Checkout begins them, each has a customer of its own, and an invoice for
// each period. Time brings the invoices; see cycle.go.

// billing does what a request asks for of subscriptions and what belongs to them.
func (s *Server) billing(r *http.Request, kind, id, sub string) (any, refusal) {
	get := r.Method == http.MethodGet
	find := func(kind string) (any, refusal) {
		o, no := s.get(kind, id)
		return s.told(r, o), no
	}
	switch {
	case kind == "subscriptions" && r.Method == http.MethodDelete:
		return s.cancelNow(r, id)
	case kind == "subscriptions" && !get:
		return s.updateSubscription(r, id)
	case kind == "subscriptions":
		return find("subscription")
	case kind == "invoices" && sub == "void":
		return s.voidInvoice(r, id)
	case kind == "invoices" && get && id == "":
		list := slices.DeleteFunc(s.of("invoice"), func(o object) bool {
			return r.Form.Get("subscription") != o["-subscription"] || r.Form.Has("status") && r.Form.Get("status") != o["status"]
		})
		return s.told(r, page(r, list)), refusal{}
	case kind == "invoices" && get:
		return find("invoice")
	case kind == "invoice_payments" && get:
		if r.Form.Get("payment[type]") != "payment_intent" {
			return nil, invalid("parameter_missing", "payment[type]")
		}
		list := slices.DeleteFunc(s.of("invoice_payment"), func(o object) bool {
			return r.Form.Get("payment[payment_intent]") != o["payment"].(object)["payment_intent"]
		})
		return s.told(r, page(r, list)), refusal{}
	case kind == "payment_intents" && get && id == "":
		list := slices.DeleteFunc(s.of("payment_intent"), func(o object) bool { return o["customer"] != r.Form.Get("customer") })
		return s.told(r, page(r, list)), refusal{}
	case kind == "payment_intents" && get:
		return find("payment_intent")
	case kind == "billing_portal" && id == "configurations":
		return page(r, s.of("billing_portal.configuration")), refusal{}
	case kind == "billing_portal" && !get:
		if len(s.lists["billing_portal.configuration"]) == 0 {
			return nil, invalid("", "No configuration provided and your test mode default configuration has not been created.")
		}
		if _, no := s.get("customer", r.Form.Get("customer")); no.status != 0 {
			return nil, no
		}
		o := s.add("billing_portal.session", "bps", object{"customer": r.Form.Get("customer"), "return_url": r.Form.Get("return_url")})
		o["url"] = s.URL + "/portal/" + o["id"].(string)
		return o, refusal{}
	}
	return nil, unknown(r.Method + " " + r.URL.Path)
}

// updateSubscription changes whether it goes on.
func (s *Server) updateSubscription(r *http.Request, id string) (any, refusal) {
	o, no := s.get("subscription", id)
	if no.status != 0 {
		return nil, no
	}
	if o["status"] == "canceled" {
		return nil, invalid("", "A canceled subscription can only update its cancellation_details and metadata.")
	}
	ends, at := r.Form.Has("cancel_at_period_end"), r.Form.Has("cancel_at")
	switch {
	case ends && at:
		return nil, invalid("", "You may only specify one of these parameters: cancel_at, cancel_at_period_end.")
	case ends && r.Form.Get("cancel_at_period_end") == "true":
		o["cancel_at_period_end"], o["cancel_at"], o["canceled_at"] = true, periodEnd(o), s.now().Unix()
	case ends && o["cancel_at_period_end"] == true, at && r.Form.Get("cancel_at") == "":
		o["cancel_at_period_end"], o["cancel_at"], o["canceled_at"] = false, nil, nil
	}
	if r.Form.Get("payment_settings[save_default_payment_method]") == "on_subscription" {
		o["-saves"] = true
	}
	s.tell("customer.subscription.updated", clone(o))
	return s.told(r, o), refusal{}
}

// cancelNow ends one at once. Nothing more is taken by itself; what was not paid can
// still be paid.
func (s *Server) cancelNow(r *http.Request, id string) (any, refusal) {
	o, no := s.get("subscription", id)
	if no.status != 0 {
		return nil, no
	}
	if o["status"] == "canceled" {
		return nil, unknown(id)
	}
	s.ended(o)
	return s.told(r, o), refusal{}
}

// ended ends a subscription.
func (s *Server) ended(o object) {
	o["status"], o["ended_at"] = "canceled", s.now().Unix()
	if o["canceled_at"] == nil {
		o["canceled_at"] = o["ended_at"]
	}
	for _, in := range s.of("invoice") {
		if in["-subscription"] == o["id"] {
			in["next_payment_attempt"], in["-finalize"] = nil, nil
		}
	}
	s.tell("customer.subscription.deleted", clone(o))
}

// voidInvoice has nobody pay it any more.
func (s *Server) voidInvoice(r *http.Request, id string) (any, refusal) {
	o, no := s.get("invoice", id)
	if no.status != 0 {
		return nil, no
	}
	if o["status"] != "open" && o["status"] != "uncollectible" {
		return nil, invalid("invoice_not_editable", "You can only pass in open invoices. This invoice isn't open.")
	}
	if intent := s.things[o["-intent"].(string)]; intent["status"] == "processing" {
		return nil, invalid("", "You can't void an invoice that has a payment in processing.")
	}
	o["status"], o["next_payment_attempt"] = "void", nil
	for _, p := range s.payments(o["id"].(string)) {
		p["status"] = "canceled"
	}
	s.tell("invoice.voided", clone(o))
	return s.told(r, o), refusal{}
}

// payments returns the payments of an invoice.
func (s *Server) payments(invoice string) []object {
	return slices.DeleteFunc(s.of("invoice_payment"), func(o object) bool { return o["invoice"] != invoice })
}

// paymentsOf returns them as they are told.
func (s *Server) paymentsOf(invoice string) []object {
	list := s.payments(invoice)
	for i, o := range list {
		list[i] = clone(o)
	}
	return list
}

// invoiceOf returns the invoice that is paid by an intent, nil when it is none's.
func (s *Server) invoiceOf(intent object) object {
	id, _ := intent["-invoice"].(string)
	return s.things[id]
}

// subscribe has a buyer pay at a page for a subscription. Of one whose bank declines
// there is an intent that nothing leads from to the page.
func (s *Server) subscribe(session object, outcome Outcome) {
	currency := session["currency"].(string)
	if outcome == Decline {
		intent := s.add("payment_intent", "pi", object{
			"amount": session["amount_total"], "amount_received": int64(0), "currency": currency, "metadata": map[string]string{}, "latest_charge": nil,
			"status": "requires_payment_method", "last_payment_error": object{"type": "card_error", "code": "card_declined"},
		})
		s.tell("payment_intent.payment_failed", clone(intent))
		return
	}
	customer := s.add("customer", "cus", object{"metadata": map[string]string{}})
	start := s.now()
	o := s.add("subscription", "sub", object{
		"customer": customer["id"], "currency": currency, "metadata": session["-subscription"], "status": "active", "livemode": false,
		"cancel_at_period_end": false, "cancel_at": nil, "canceled_at": nil, "ended_at": nil, "latest_invoice": nil, "collection_method": "charge_automatically",
		"start_date": start.Unix(), "billing_cycle_anchor": start.Unix(),
		"-amount": session["amount_total"], "-lines": session["-lines"], "-interval": session["-interval"], "-anchor": start, "-period": 0, "-card": Succeed,
	})
	o["items"] = object{"object": "list", "has_more": false, "data": []object{{
		"id": s.id("si"), "object": "subscription_item", "subscription": o["id"], "metadata": map[string]string{},
		"current_period_start": start.Unix(), "current_period_end": later(start, o["-interval"].(string), 1).Unix(),
	}}}
	in := s.bill(o, "subscription_create")
	session["status"], session["customer"], session["subscription"], session["invoice"] = "complete", customer["id"], o["id"], in["id"]
	s.tell("customer.subscription.created", clone(o))
	s.finalize(in)
	if outcome == Later {
		o["-card"] = Decline // should it not arrive
		s.try(in, Later)
	} else {
		session["payment_status"] = "paid"
		s.try(in, Succeed)
	}
	s.tell("checkout.session.completed", clone(session))
}

// bill makes the invoice of the period that a subscription is in.
func (s *Server) bill(o object, reason string) object {
	item := item(o)
	lines, due := []object{}, o["-amount"].(int64)
	for _, l := range o["-lines"].([]object) {
		line := object{
			"id": s.id("il"), "object": "line_item", "amount": l["amount_total"], "currency": o["currency"], "metadata": map[string]string{},
			"period": object{"start": item["current_period_start"], "end": item["current_period_end"]}, "taxes": []object{},
			"parent": object{"type": "subscription_item_details", "subscription_item_details": object{"subscription": o["id"], "subscription_item": item["id"], "proration": false}},
		}
		if tax := l["amount_tax"].(int64); tax > 0 {
			line["taxes"] = []object{{"amount": tax, "tax_behavior": "inclusive", "type": "tax_rate_details"}}
		}
		lines = append(lines, line)
	}
	taxes := []object{}
	for _, l := range lines {
		taxes = append(taxes, l["taxes"].([]object)...)
	}
	in := s.add("invoice", "in", object{
		"customer": o["customer"], "currency": o["currency"], "status": "draft", "billing_reason": reason, "livemode": false,
		"amount_due": due, "amount_paid": int64(0), "amount_remaining": due, "total": due, "attempt_count": 0, "attempted": false, "next_payment_attempt": nil,
		"hosted_invoice_url": nil, "period_start": item["current_period_start"], "period_end": item["current_period_start"], "metadata": map[string]string{},
		"parent": object{"type": "subscription_details", "subscription_details": object{"subscription": o["id"], "metadata": o["metadata"]}},
		"lines":  object{"object": "list", "has_more": false, "data": lines}, "total_taxes": taxes, "-subscription": o["id"],
	})
	o["latest_invoice"] = in["id"]
	s.tell("invoice.created", clone(in))
	return in
}

// finalize lets an invoice be paid.
func (s *Server) finalize(in object) {
	intent := s.add("payment_intent", "pi", object{
		"amount": in["amount_due"], "amount_received": int64(0), "currency": in["currency"], "metadata": map[string]string{}, "latest_charge": nil,
		"customer": in["customer"], "status": "requires_payment_method", "-invoice": in["id"],
	})
	s.add("invoice_payment", "inpay", object{
		"invoice": in["id"], "amount_requested": in["amount_due"], "amount_paid": int64(0), "currency": in["currency"], "is_default": true, "status": "open",
		"payment": object{"type": "payment_intent", "payment_intent": intent["id"]},
	})
	in["status"], in["-intent"], in["-finalize"] = "open", intent["id"], nil
	in["hosted_invoice_url"] = s.URL + "/invoice/" + in["id"].(string)
	s.tell("invoice.finalized", clone(in))
}

// item is what a subscription is of.
func item(o object) object { return o["items"].(object)["data"].([]object)[0] }

func periodEnd(o object) int64 { return item(o)["current_period_end"].(int64) }

// later returns the moment some intervals after another, on its day of the month, or the
// last where there is none.
func later(from time.Time, interval string, n int) time.Time {
	months := n
	if interval == "year" {
		months = 12 * n
	}
	from = from.UTC()
	t := time.Date(from.Year(), from.Month()+time.Month(months), 1, from.Hour(), from.Minute(), from.Second(), 0, time.UTC)
	last := t.AddDate(0, 1, -1).Day()
	return t.AddDate(0, 0, min(from.Day(), last)-1)
}

// SubscriptionOf returns what Stripe calls a subscription of ours, empty when there is
// none.
func (s *Server) SubscriptionOf(ours string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.of("subscription") {
		if o["metadata"].(map[string]string)["stoa_subscription"] == ours {
			return o["id"].(string)
		}
	}
	return ""
}

// Invoices returns the invoices of a subscription, oldest first, and how each stands.
func (s *Server) Invoices(subscription string) (refs, states []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	for _, o := range s.of("invoice") {
		if o["-subscription"] == subscription {
			refs, states = append(refs, o["id"].(string)), append(states, o["status"].(string))
		}
	}
	return refs, states
}

// Subscription returns how one stands.
func (s *Server) Subscription(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	return s.things[id]["status"].(string)
}

// Live returns how many subscriptions go on.
func (s *Server) Live() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	for _, o := range s.of("subscription") {
		if o["status"] != "canceled" {
			n++
		}
	}
	return n
}
