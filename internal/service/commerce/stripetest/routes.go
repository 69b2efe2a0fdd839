package stripetest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// taxRate is what of an amount is tax, in percent of what is left.
const taxRate = 19

// route does what a request asks for.
func (s *Server) route(r *http.Request) (any, refusal) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/v1/"), "/")
	if parts[0] == "checkout" {
		parts = parts[1:]
	}
	kind, id, sub := parts[0], "", ""
	if len(parts) > 1 {
		id = parts[1]
	}
	if len(parts) > 2 {
		sub = parts[2]
	}
	get := r.Method == http.MethodGet
	switch {
	case kind == "sessions" && !get && id == "":
		return s.createSession(r)
	case kind == "sessions" && get && id == "":
		list := slices.DeleteFunc(s.of("checkout.session"), func(o object) bool {
			for _, by := range []string{"payment_intent", "subscription"} {
				if r.Form.Has(by) && o[by] != r.Form.Get(by) {
					return true
				}
			}
			return false
		})
		return s.told(r, page(r, list)), refusal{}
	case kind == "sessions" && sub == "expire":
		return s.expireSession(id)
	case kind == "sessions" && sub == "line_items":
		o, no := s.get("checkout.session", id)
		if no.status != 0 {
			return nil, no
		}
		return object{"object": "list", "data": o["-lines"], "has_more": false}, refusal{}
	case kind == "sessions" && get:
		o, no := s.get("checkout.session", id)
		return s.told(r, o), no
	case kind == "subscriptions", kind == "invoices", kind == "invoice_payments", kind == "billing_portal", kind == "payment_intents":
		return s.billing(r, kind, id, sub)
	case kind == "charges" && get:
		return s.get("charge", id)
	case kind == "refunds" && !get:
		return s.createRefund(r)
	case kind == "refunds" && id == "":
		list := slices.DeleteFunc(s.of("refund"), func(o object) bool { return o["payment_intent"] != r.Form.Get("payment_intent") })
		return page(r, list), refusal{}
	case kind == "refunds":
		o, no := s.get("refund", id)
		return s.told(r, o), no
	case kind == "disputes":
		o, no := s.get("dispute", id)
		return s.told(r, o), no
	case kind == "account":
		return object{"object": "account", "id": "acct_platform", "country": "DE", "charges_enabled": true}, refusal{}
	case kind == "accounts" && !get:
		return s.add("account", "acct", object{
			"metadata": meta(r.Form, "metadata"), "capabilities": object{"transfers": "inactive"},
			"requirements": object{"currently_due": []string{"external_account", "individual.first_name"}, "past_due": []string{"external_account"}},
		}), refusal{}
	case kind == "accounts":
		return s.get("account", id)
	case kind == "account_links":
		if _, no := s.get("account", r.Form.Get("account")); no.status != 0 {
			return nil, no
		}
		return object{"object": "account_link", "url": s.URL + "/onboarding"}, refusal{}
	case kind == "transfers" && sub == "reversals" && get:
		list := slices.DeleteFunc(s.of("transfer_reversal"), func(o object) bool { return o["transfer"] != id })
		return page(r, list), refusal{}
	case kind == "transfers" && sub == "reversals":
		return s.createReversal(r, id)
	case kind == "transfers" && get:
		list := slices.DeleteFunc(s.of("transfer"), func(o object) bool { return o["transfer_group"] != r.Form.Get("transfer_group") })
		return page(r, list), refusal{}
	case kind == "transfers":
		return s.createTransfer(r)
	case kind == "balance_transactions":
		list := slices.Clone(created(r, s.txns))
		for i, t := range list {
			list[i] = clone(t)
			if source, ok := s.things[t["source"].(string)]; ok {
				list[i]["source"] = source
			}
		}
		return page(r, list), refusal{}
	case kind == "events" && id != "":
		return s.get("event", id)
	case kind == "events":
		return page(r, created(r, s.of("event"))), refusal{}
	}
	return nil, unknown(r.Method + " " + r.URL.Path)
}

// clone returns a thing without what is ours.
func clone(o object) object {
	c := make(object, len(o))
	for k, v := range o {
		if strings.HasPrefix(k, "-") {
			continue
		}
		switch v := v.(type) {
		case object:
			c[k] = clone(v)
		case []object:
			list := make([]object, len(v))
			for i, o := range v {
				list[i] = clone(o)
			}
			c[k] = list
		default:
			c[k] = v
		}
	}
	return c
}

// told returns a thing with what it refers to, as far as a request says.
func (s *Server) told(r *http.Request, o object) any {
	if o == nil {
		return nil
	}
	o = clone(o)
	for _, path := range expansions(r) {
		s.expand(o, strings.Split(path, "."))
	}
	return o
}

// expansions are what a request wants to be told of what things refer to.
func expansions(r *http.Request) (paths []string) {
	for name, values := range r.Form {
		if strings.HasPrefix(name, "expand[") {
			paths = append(paths, values...)
		}
	}
	return paths
}

func (s *Server) expand(o object, path []string) {
	if len(path) == 0 {
		return
	}
	name := path[0]
	if name == "payments" && o["object"] == "invoice" {
		o[name] = object{"object": "list", "has_more": false, "data": s.paymentsOf(o["id"].(string))}
	}
	switch v := o[name].(type) {
	case string:
		if inner, ok := s.things[v]; ok {
			inner = clone(inner)
			o[name] = inner
			s.expand(inner, path[1:])
		}
	case object:
		s.expand(v, path[1:])
	case []object:
		for _, inner := range v {
			s.expand(inner, path[1:])
		}
	}
}

// createSession makes a page to pay at.
func (s *Server) createSession(r *http.Request) (any, refusal) {
	f := r.Form
	expires, _ := strconv.ParseInt(f.Get("expires_at"), 10, 64)
	if left := time.Unix(expires, 0).Sub(s.now()); left < 30*time.Minute || left > 24*time.Hour {
		return nil, invalid("", "The `expires_at` timestamp must be between 30 minutes and 24 hours from now.")
	}
	subscribes := f.Get("mode") == "subscription"
	switch {
	case f.Get("mode") != "payment" && !subscribes, f.Get("success_url") == "":
		return nil, invalid("parameter_missing", "mode or success_url")
	case subscribes && (f.Has("customer_creation") || len(meta(f, "payment_intent_data")) > 0):
		return nil, invalid("", "You can not pass `payment_intent_data` or `customer_creation` in `subscription` mode.")
	}
	total, currency, lines := int64(0), "", []object{}
	for i := 0; ; i++ {
		at := "line_items[" + strconv.Itoa(i) + "]"
		if f.Get(at+"[quantity]") == "" {
			break
		}
		amount, _ := strconv.ParseInt(f.Get(at+"[price_data][unit_amount]"), 10, 64)
		if currency = f.Get(at + "[price_data][currency]"); amount <= 0 || currency == "kwd" && amount%10 != 0 || f.Get(at+"[price_data][product_data][name]") == "" {
			return nil, invalid("parameter_invalid_integer", "line %d", i)
		}
		if every := f.Get(at + "[price_data][recurring][interval]"); subscribes != (every == "month" || every == "year") {
			return nil, invalid("", "a price of line %d for `%s` mode is due each %q", i, f.Get("mode"), every)
		}
		line := object{"object": "item", "id": s.id("li"), "amount_total": amount, "amount_tax": int64(0), "metadata": meta(f, at+"[metadata]")}
		if f.Get("automatic_tax[enabled]") == "true" {
			if f.Get(at+"[price_data][tax_behavior]") != "inclusive" {
				return nil, invalid("", "no tax behavior")
			}
			line["amount_tax"] = amount - amount*100/(100+taxRate)
		}
		total += amount
		lines = append(lines, line)
	}
	if total == 0 {
		return nil, invalid("parameter_missing", "line_items")
	}
	o := s.add("checkout.session", "cs_test", object{
		"metadata": meta(f, "metadata"), "client_reference_id": f.Get("client_reference_id"), "currency": currency, "amount_total": total,
		"status": "open", "payment_status": "unpaid", "expires_at": expires, "payment_intent": nil, "livemode": false,
		"mode": f.Get("mode"), "subscription": nil, "invoice": nil, "customer": nil,
		"-intent": meta(f, "payment_intent_data[metadata]"), "-lines": lines,
		"-subscription": meta(f, "subscription_data[metadata]"), "-interval": f.Get("line_items[0][price_data][recurring][interval]"),
	})
	o["url"] = s.URL + "/pay/" + o["id"].(string)
	return clone(o), refusal{}
}

// expireSession closes a page.
func (s *Server) expireSession(id string) (any, refusal) {
	o, no := s.get("checkout.session", id)
	if no.status != 0 {
		return nil, no
	}
	if o["status"] != "open" {
		return nil, invalid("", "Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout Session has a status of `%v`.", o["status"])
	}
	o["status"], o["url"] = "expired", nil
	s.tell("checkout.session.expired", clone(o))
	return clone(o), refusal{}
}

// move moves the balance by amount less fee.
func (s *Server) move(kind, category, source, currency string, amount, fee int64) string {
	t := object{
		"id": s.id("txn"), "object": "balance_transaction", "type": kind, "reporting_category": category, "source": source,
		"currency": currency, "amount": amount, "fee": fee, "net": amount - fee, "created": s.now().Unix(),
	}
	s.txns = append(s.txns, t)
	s.things[t["id"].(string)] = t
	return t["id"].(string)
}

// createRefund is a request for it.
func (s *Server) createRefund(r *http.Request) (any, refusal) {
	intent, no := s.get("payment_intent", r.Form.Get("payment_intent"))
	if no.status != 0 {
		return nil, no
	}
	amount, _ := strconv.ParseInt(r.Form.Get("amount"), 10, 64)
	id, _ := intent["latest_charge"].(string)
	charge := s.things[id]
	if intent["status"] != "succeeded" || charge == nil {
		return nil, invalid("charge_already_refunded", "This was not paid.")
	}
	o, no := s.giveBack(charge, amount, r.Form.Get("reason"), meta(r.Form, "metadata"))
	if no.status != 0 {
		return nil, no
	}
	return s.told(r, o), refusal{}
}

// giveBack gives some of a charge back.
func (s *Server) giveBack(charge object, amount int64, reason string, meta map[string]string) (object, refusal) {
	lost, disputed := s.disputed(charge)
	if disputed {
		return nil, invalid("charge_disputed", "The charge is disputed.")
	}
	if amount <= 0 || amount > charge["amount"].(int64)-charge["amount_refunded"].(int64)-lost {
		return nil, invalid("charge_already_refunded", "Refund amount is greater than unrefunded amount on charge")
	}
	charge["amount_refunded"] = charge["amount_refunded"].(int64) + amount
	status := "succeeded"
	if s.slowRefunds {
		status = "pending"
	}
	o := s.add("refund", "re", object{
		"amount": amount, "currency": charge["currency"], "charge": charge["id"], "payment_intent": charge["payment_intent"], "status": status,
		"reason": reason, "metadata": meta,
	})
	o["balance_transaction"] = s.move("refund", "refund", o["id"].(string), charge["currency"].(string), -amount, 0)
	s.tell("refund.created", o)
	return o, refusal{}
}

// createTransfer hands money to an account.
func (s *Server) createTransfer(r *http.Request) (any, refusal) {
	account, no := s.get("account", r.Form.Get("destination"))
	if no.status != 0 {
		return nil, no
	}
	amount, _ := strconv.ParseInt(r.Form.Get("amount"), 10, 64)
	currency := r.Form.Get("currency")
	switch {
	case account["capabilities"].(object)["transfers"] != "active":
		return nil, invalid("insufficient_capabilities_for_transfer", "Your destination account needs to have the transfers capability.")
	case amount <= 0:
		return nil, invalid("parameter_invalid_integer", "amount")
	case amount > s.balance(currency):
		return nil, invalid("balance_insufficient", "You have insufficient available funds in your Stripe account.")
	}
	o := s.add("transfer", "tr", object{
		"amount": amount, "amount_reversed": int64(0), "currency": currency, "destination": account["id"], "transfer_group": r.Form.Get("transfer_group"),
		"metadata": meta(r.Form, "metadata"),
	})
	s.move("transfer", "transfer", o["id"].(string), currency, -amount, 0)
	return o, refusal{}
}

// createReversal takes some of a transfer back.
func (s *Server) createReversal(r *http.Request, id string) (any, refusal) {
	transfer, no := s.get("transfer", id)
	if no.status != 0 {
		return nil, no
	}
	amount, _ := strconv.ParseInt(r.Form.Get("amount"), 10, 64)
	if amount <= 0 || amount > transfer["amount"].(int64)-transfer["amount_reversed"].(int64) {
		return nil, invalid("", "There is not that much to reverse.")
	}
	transfer["amount_reversed"] = transfer["amount_reversed"].(int64) + amount
	o := s.add("transfer_reversal", "trr", object{"amount": amount, "currency": transfer["currency"], "transfer": id, "metadata": meta(r.Form, "metadata")})
	s.move("transfer_refund", "transfer_reversal", o["id"].(string), transfer["currency"].(string), amount, 0)
	return o, refusal{}
}
