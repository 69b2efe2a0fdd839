package story_test

import (
	"strings"
	"testing"
)

// TestCheckout fills a cart, has it priced with a coupon, and buys a bundle for oneself,
// seats for a team and a gift for a friend.
func TestCheckout(t *testing.T) {
	t.Parallel()
	inBoth(t, shared, sharedApart, func(t *testing.T, in *installation) {
		teacher, buyer, friend := in.signUp(t, "Selling Teacher"), in.signUp(t, "Generous Buyer"), in.signUp(t, "A Friend")
		var courses []string
		for _, title := range []string{"Tailoring", "Trimming", "Threading"} {
			course, _ := draft(t, teacher, title)
			publish(t, teacher, course, 4000)
			courses = append(courses, course)
		}
		money := func(amount int, currency string) map[string]any {
			return map[string]any{"amount": amount, "currency": currency}
		}
		for _, c := range courses {
			teacher.do(t, 200, "PUT", "/v1/courses/"+c+"/prices", map[string]any{"base": money(4000, "EUR"), "further": []any{money(600_0, "JPY")}})
		}
		teacher.do(t, 200, "PUT", "/v1/courses/"+courses[2]+"/seat-prices", map[string]any{"seat_prices": []any{
			map[string]any{"from_quantity": 1, "price": money(3000, "EUR")}, map[string]any{"from_quantity": 5, "price": money(2000, "EUR")},
		}})
		// That the teacher has published them is news for commerce.
		bundle := teacher.manages(t, "a bundle", 201, "POST", "/v1/bundles", map[string]any{
			"title": "Everything in Thread", "course_ids": courses[:2], "prices": []any{money(5001, "EUR")},
		})
		teacher.manages(t, "the bundle is published", 200, "POST", "/v1/bundles/"+bundle.text("id")+"/publish", nil)
		teacher.do(t, 201, "POST", "/v1/me/coupons", map[string]any{"terms": map[string]any{"name": "Friends", "percent": 10}, "code": "thread-" + bundle.text("id")[20:]})
		if l := buyer.do(t, 200, "GET", "/v1/bundles?course_id="+courses[1], nil); len(l.items()) != 1 || l.at("items.0.for_sale") != true {
			t.Fatalf("bundles %s", l)
		}

		items := []any{
			map[string]any{"bundle_id": bundle.text("id")},
			map[string]any{"course_id": courses[2], "kind": "seats", "quantity": 5},
			map[string]any{"course_id": courses[2], "kind": "gift", "gift": map[string]any{"from_name": "Gen", "note": "Sew on!"}},
		}
		cart := buyer.do(t, 200, "PUT", "/v1/me/cart", map[string]any{"items": items, "currency": "EUR"})
		if cart.number("items.0.price.amount") != 5001 || cart.number("items.1.price.amount") != 10000 || cart.number("items.1.list.amount") != 15000 {
			t.Fatalf("cart %s", cart)
		}
		quote := buyer.do(t, 201, "POST", "/v1/quotes", map[string]any{"items": items, "currency": "EUR", "coupon_code": "THREAD-" + bundle.text("id")[20:]})
		// A tenth of 90.01, of all but the seats.
		if quote.number("total.amount") != 5001+10000+4000-900 || quote.number("list_total.amount") != 27000 {
			t.Fatalf("quote %s", quote)
		}
		order := buyer.do(t, 201, "POST", "/v1/orders", map[string]any{"quote_id": quote.text("id")})
		if order.number("total.amount") != quote.number("total.amount") {
			t.Fatalf("order %s", order)
		}
		if a := buyer.do(t, 200, "GET", "/v1/me/gifts", nil); len(a.items()) != 0 {
			t.Fatalf("gifts that are not paid: %s", a)
		}
		_, payment, _ := strings.Cut(order.text("pay_url"), "/pay/")
		in.nobody().do(t, 200, "POST", "/v1/development/payments/"+payment+"/settle", map[string]any{"outcome": "succeed"})
		buyer.sees(t, soon, "the order is fulfilled", "/v1/orders/"+order.text("id"), func(a answer) bool { return a.text("state") == "fulfilled" })
		for _, c := range courses[:2] {
			eventually(t, soon, "the buyer is enrolled", enrolled(t, buyer, c))
		}
		blocks := buyer.do(t, 200, "GET", "/v1/me/seat_blocks", nil)
		if len(blocks.items()) != 1 || blocks.number("items.0.seats") != 5 || blocks.text("items.0.course_id") != courses[2] {
			t.Fatalf("seats %s", blocks)
		}
		code := buyer.do(t, 200, "GET", "/v1/me/gifts", nil).text("items.0.code")
		friend.do(t, 404, "POST", "/v1/gifts/redeem", map[string]any{"code": code[:len(code)-1]})
		gift := friend.do(t, 200, "POST", "/v1/gifts/redeem", map[string]any{"code": code})
		if gift.text("course_id") != courses[2] || gift.text("gift.note") != "Sew on!" {
			t.Fatalf("gift %s", gift)
		}
		eventually(t, soon, "the friend is enrolled", enrolled(t, friend, courses[2]))
		if a := buyer.do(t, 404, "POST", "/v1/gifts/redeem", map[string]any{"code": code}); a.text("code") != "gift.invalid" {
			t.Fatalf("taken twice: %s", a)
		}
	})
}
