package story_test

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/service/commerce/stripetest"
)

// TestGivenBack: a bundle, a gift and seats are bought in one order and given back line by
// line, the gift after it was taken and the seats after one was reassigned: what a line
// gave ends, and nothing else. Nobody else sees or does anything with it, nothing that a
// client sends says what it costs, and everybody is told.
func TestGivenBack(t *testing.T) {
	t.Parallel()
	inBoth(t, shared, sharedApart, func(t *testing.T, in *installation) {
		teacher, buyer, friend := in.signUp(t, "Bundling Teacher"), in.signUp(t, "Bundle Buyer"), in.signUp(t, "Gifted Friend")
		first, second, stranger, staff := in.signUp(t, "First Member"), in.signUp(t, "Second Member"), in.signUp(t, "A Stranger"), in.admin(t, "Refund Admin")
		var courses []string
		lesson := map[string]string{}
		for _, title := range []string{"Given Back", "Kept", "Given Away"} {
			course, lessons := draft(t, teacher, title)
			publish(t, teacher, course, 4000)
			courses = append(courses, course)
			lesson[course] = "/v1/courses/" + course + "/lessons/" + lessons[1]
		}
		money := func(amount int) map[string]any { return map[string]any{"amount": amount, "currency": "EUR"} }
		given := courses[2]
		teacher.do(t, 200, "PUT", "/v1/courses/"+given+"/seat-prices", map[string]any{"seat_prices": []any{map[string]any{"from_quantity": 1, "price": money(3000)}}})
		bundle := teacher.manages(t, "a bundle", 201, "POST", "/v1/bundles", map[string]any{"title": "Starter Pack", "course_ids": courses[:2], "prices": []any{money(5000)}})
		teacher.manages(t, "the bundle is published", 200, "POST", "/v1/bundles/"+bundle.text("id")+"/publish", nil)

		// What it costs is not a client's to say.
		items := []any{
			map[string]any{"bundle_id": bundle.text("id")},
			map[string]any{"course_id": given, "kind": "gift"},
			map[string]any{"course_id": given, "kind": "seats", "quantity": 2},
		}
		buyer.do(t, 400, "POST", "/v1/quotes", map[string]any{"items": []any{map[string]any{"course_id": given, "price": money(1)}}})
		buyer.do(t, 400, "POST", "/v1/quotes", map[string]any{"items": items, "total": money(1)})
		for _, quantity := range []any{-1, 5001, 1 << 40, "9999999999999999999999", 1.5} {
			buyer.do(t, 400, "POST", "/v1/quotes", map[string]any{"items": []any{map[string]any{"course_id": given, "kind": "seats", "quantity": quantity}}})
		}
		quote := buyer.do(t, 201, "POST", "/v1/quotes", map[string]any{"items": items})
		stranger.do(t, 404, "POST", "/v1/orders", map[string]any{"quote_id": quote.text("id")})
		buyer.do(t, 400, "POST", "/v1/orders", map[string]any{"quote_id": quote.text("id"), "total": money(1)})
		order := buyer.do(t, 201, "POST", "/v1/orders", map[string]any{"quote_id": quote.text("id")})
		if order.number("total.amount") != 5000+4000+6000 {
			t.Fatalf("order %s", order)
		}
		path := "/v1/orders/" + order.text("id")
		stranger.do(t, 404, "POST", path+"/cancel", nil)
		press(t, buyer, order.text("pay_url"), "succeed")
		buyer.do(t, 200, "POST", path+"/check-payment", nil)
		buyer.sees(t, soon, "the order is fulfilled", path, func(a answer) bool { return a.text("state") == "fulfilled" })
		line := map[string]string{}
		for _, l := range parts(order, "lines") {
			line[l.text("kind")+l.text("course_id")] = l.text("id")
		}

		// The gift is taken, one of the seats twice.
		friend.do(t, 200, "POST", "/v1/gifts/redeem", map[string]any{"code": buyer.do(t, 200, "GET", "/v1/me/gifts", nil).text("items.0.code")})
		block := buyer.do(t, 200, "GET", "/v1/me/seat_blocks", nil).text("items.0.id")
		seats := "/v1/me/seat_blocks/" + block + "/seats"
		take := func(p *person) {
			t.Helper()
			p.do(t, 200, "POST", "/v1/invitations/accept", map[string]any{"code": codeInMail.FindString(mailTo(t, in, p.email, "Given Away"))})
		}
		reads := func(p *person, what, course string, status int) {
			t.Helper()
			p.sees(t, soon, p.name+": "+what, lesson[course], func(a answer) bool { return a.status == status })
		}
		seat := buyer.do(t, 200, "POST", seats, map[string]any{"address": first.email})
		take(first)
		reads(first, "a seat is taken", given, 200)
		buyer.do(t, 200, "POST", seats+"/"+seat.text("id")+"/release", nil)
		reads(first, "it is taken back", given, 403)
		seat = buyer.do(t, 200, "POST", seats, map[string]any{"address": second.email})
		take(second)
		reads(second, "it is reassigned", given, 200)
		reads(friend, "the gift is taken", given, 200)
		for _, c := range courses[:2] {
			reads(buyer, "the bundle is open", c, 200)
		}

		// Somebody else's: as if there were none, or not theirs to do.
		invoice := buyer.sees(t, soon, "the invoice is there", "/v1/me/invoices", func(a answer) bool { return len(a.items()) == 1 })
		titles := map[string]bool{}
		for _, l := range parts(invoice, "items.0.lines") {
			titles[l.text("title")] = true
		}
		for _, want := range []string{"Starter Pack: Given Back", "Starter Pack: Kept", "Gift: Given Away", "2 seats: Given Away"} {
			if !titles[want] {
				t.Errorf("%q is not on the invoice: %v", want, titles)
			}
		}
		asked := buyer.do(t, 201, "POST", path+"/refund-requests", map[string]any{"line_ids": []string{line["course"+courses[1]]}, "reason": "Hm"}).text("items.0.id")
		for _, c := range []struct {
			status       int
			method, path string
			body         any
		}{
			{404, "GET", path, nil},
			{404, "POST", path + "/cancel", nil},
			{404, "POST", path + "/check-payment", nil},
			{404, "GET", path + "/refunds", nil},
			{403, "POST", path + "/refunds", map[string]any{"note": "Mine"}},
			{404, "GET", path + "/refund-requests", nil},
			{404, "POST", path + "/refund-requests", map[string]any{"reason": "Mine"}},
			{403, "POST", "/v1/refund-requests/" + asked + "/decide", map[string]any{"decision": "approve"}},
			{404, "GET", "/v1/quotes/" + quote.text("id"), nil},
			{404, "GET", "/v1/me/invoices/" + invoice.text("items.0.id") + "/pdf", nil},
			{404, "GET", seats, nil},
			{404, "POST", seats, map[string]any{"address": stranger.email}},
			{404, "POST", seats + "/" + seat.text("id") + "/release", nil},
			{403, "GET", "/v1/payouts/teachers/" + teacher.account + "/statement?since=2026-01-01T00:00:00Z&until=2099-01-01T00:00:00Z", nil},
		} {
			stranger.do(t, c.status, c.method, c.path, c.body)
		}

		// Line by line.
		giveBack := func(id string) {
			t.Helper()
			staff.do(t, 201, "POST", path+"/refunds", map[string]any{"note": "Asked by phone", "lines": []any{map[string]any{"line_id": id}}})
		}
		giveBack(line["course"+courses[0]])
		reads(buyer, "a line of the bundle is given back", courses[0], 403)
		reads(buyer, "the other stays", courses[1], 200)
		reads(friend, "the gift stays", given, 200)
		giveBack(line["gift"+given])
		reads(friend, "the gift is given back", given, 403)
		reads(second, "the seats stay", given, 200)
		giveBack(line["seats"+given])
		reads(second, "the seats are given back", given, 403)
		reads(first, "who had it before has nothing either", given, 403)
		if a := buyer.do(t, 409, "POST", seats, map[string]any{"address": first.email}); a.text("code") != "seat_block.ended" {
			t.Errorf("seats that were given back: %s", a)
		}
		reads(buyer, "what is left stays", courses[1], 200)
		buyer.do(t, 200, "GET", path, nil)

		// The buyer is told each time, and of what is declined.
		staff.do(t, 200, "POST", "/v1/refund-requests/"+asked+"/decide", map[string]any{"decision": "decline", "answer": "You have read all of it"})
		buyer.sees(t, soon, "the buyer is told", "/v1/notifications?page_size=100", func(a answer) bool {
			told := map[string]int{}
			for _, n := range a.items() {
				told[n.text("kind")]++
			}
			return told["refund"] == 3 && told["refund_declined"] == 1
		})

		// The teacher's statement is a file of the kind that was asked for.
		period := "/v1/me/statement?since=2026-01-01T00:00:00Z&until=2099-01-01T00:00:00Z"
		file := teacher.do(t, 200, "GET", period, nil)
		rows, err := csv.NewReader(bytes.NewReader(file.body)).ReadAll()
		if err != nil || len(rows) == 0 || rows[0][0] != "currency" || !strings.HasPrefix(file.header.Get("Content-Type"), "text/csv") {
			t.Errorf("statement %s, %v", file, err)
		}
		if file := teacher.do(t, 200, "GET", period+"&format=pdf", nil); !bytes.HasPrefix(file.body, []byte("%PDF-")) || file.header.Get("Content-Type") != "application/pdf" {
			t.Errorf("statement %s", file.header)
		}
		if a := teacher.do(t, 400, "GET", period+"&format=xlsx", nil); !strings.Contains(string(a.body), "format") {
			t.Errorf("%s", a)
		}
		teacher.do(t, 400, "GET", "/v1/me/statement?since=2026-01-01T00:00:00Z&until=yesterday", nil)

		// Who looks for the course sees what it costs less, and until when.
		until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		teacher.do(t, 201, "POST", "/v1/courses/"+given+"/price-reductions", map[string]any{"prices": []any{money(1500)}, "ends_at": until})
		in.nobody().sees(t, soon, "it is reduced", "/v1/marketplace/courses/"+given, func(a answer) bool {
			return a.number("price.amount") == 1500 && a.number("list_price.amount") == 4000 && a.text("reduced_until") == until
		})
	})
}

// TestLostWebhooks: with a process per service all that Stripe tells is lost. Who comes back
// from the page has what they bought at once, who does not has it after the next comparison.
func TestLostWebhooks(t *testing.T) {
	t.Parallel()
	stripe := stripetest.New(t, time.Now)
	in := distributedWith(t, "STOA_PAYMENTS=stripe", "STOA_STRIPE_KEY="+stripetest.Key, "STOA_STRIPE_WEBHOOK_SECRETS="+stripetest.Secret, "STOA_STRIPE_URL="+stripe.URL)
	teacher, staff := in.signUp(t, "Unheard Teacher"), in.admin(t, "Comparing Admin")
	course, lessons := draft(t, teacher, "Course of silence")
	publish(t, teacher, course, 4900)
	pays := func(name string) (buyer *person, path string) {
		t.Helper()
		buyer = in.signUp(t, name)
		order := buyer.manages(t, "the order", 201, "POST", "/v1/orders", map[string]any{"course_ids": []string{course}})
		_, session, _ := strings.Cut(order.text("pay_url"), "/pay/")
		if !stripe.Pay(session, stripetest.Succeed) || len(stripe.Take()) == 0 {
			t.Fatalf("it can't be paid: %s", order)
		}
		return buyer, "/v1/orders/" + order.text("id")
	}
	has := func(buyer *person, path string) {
		t.Helper()
		buyer.sees(t, soon, "the order is fulfilled", path, func(a answer) bool { return a.text("state") == "fulfilled" })
		buyer.do(t, 200, "GET", "/v1/courses/"+course+"/lessons/"+lessons[0], nil)
	}
	buyer, path := pays("Who Comes Back")
	begin := time.Now()
	if a := buyer.do(t, 200, "POST", path+"/check-payment", nil); a.text("state") != "paid" && a.text("state") != "fulfilled" {
		t.Errorf("order %s", a)
	}
	has(buyer, path)
	t.Logf("from the buyer's return to access: %v", time.Since(begin).Round(time.Millisecond))

	buyer, path = pays("Who Stays Away")
	if a := buyer.do(t, 200, "GET", path, nil); a.text("state") != "awaiting_payment" {
		t.Fatalf("order %s", a)
	}
	pass := staff.do(t, 201, "POST", "/v1/reconciliations", map[string]any{})
	staff.sees(t, soon, "all is compared", "/v1/reconciliations/"+pass.text("id"), func(a answer) bool { return a.text("state") == "done" })
	has(buyer, path)
	if out := in.command(t, true, "admin", "ledger", "verify"); !strings.Contains(out, "sum to zero") {
		t.Errorf("ledger: %s", out)
	}
}

// parts are the objects of a list in an answer.
func parts(a answer, path string) (out []answer) {
	list, _ := a.at(path).([]any)
	for _, v := range list {
		m, _ := v.(map[string]any)
		out = append(out, answer{json: m})
	}
	return out
}
