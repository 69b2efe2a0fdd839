package story_test

import (
	"strings"
	"testing"
)

// TestSubscription has somebody subscribe to a course and learn: periods pass and are paid,
// one can't be charged, access lapses and recovers, and ends with the subscription. The
// stories run on the real clock, so that at the pay page of the development provider the
// periods are made seconds long: access lasts for as long again at most, and a payment
// that failed is tried again after halves of it.
func TestSubscription(t *testing.T) {
	t.Parallel()
	inBoth(t, shared, sharedApart, func(t *testing.T, in *installation) {
		teacher, student, staff := in.signUp(t, "Teacher With A Plan"), in.signUp(t, "Subscribed Student"), in.admin(t, "Subscription Admin")
		course, lessons := draft(t, teacher, "What One Subscribes To")
		publish(t, teacher, course, 4900)
		reads := func(what string, status int) {
			t.Helper()
			student.sees(t, soon, what, "/v1/courses/"+course+"/lessons/"+lessons[1], func(a answer) bool { return a.status == status })
		}
		price := map[string]any{"amount": 900, "currency": "EUR"}
		made := teacher.manages(t, "a plan can be made", 201, "POST", "/v1/plans", map[string]any{
			"title": "Every Month", "interval": "month", "course_ids": []string{course}, "prices": []any{price},
		})
		plan := made.text("id")
		student.do(t, 404, "GET", "/v1/plans/"+plan, nil)
		student.do(t, 404, "POST", "/v1/subscriptions", map[string]any{"plan_id": plan})
		teacher.manages(t, "the plan can be published", 200, "POST", "/v1/plans/"+plan+"/publish", nil)
		student.sees(t, soon, "the course has a plan", "/v1/courses/"+course+"/plans", func(a answer) bool {
			return a.status == 200 && len(a.items()) == 1 && a.text("items.0.id") == plan
		})
		reads("nothing is paid", 403)

		sub := student.do(t, 201, "POST", "/v1/subscriptions", map[string]any{"plan_id": plan})
		path := "/v1/me/subscriptions/" + sub.text("id")
		_, payment, _ := strings.Cut(sub.text("pay_url"), "/pay/")
		settle := "/v1/development/payments/" + payment + "/settle"
		in.nobody().do(t, 200, "POST", settle, map[string]any{"outcome": "succeed", "period_seconds": 5})
		student.sees(t, soon, "the subscription is active", path, func(a answer) bool { return a.text("state") == "active" })
		reads("the period is paid", 200)
		student.sees(t, soon, "the next periods are paid by themselves", "/v1/orders?subscription_id="+sub.text("id"), func(a answer) bool {
			return len(a.items()) >= 3 && a.text("items.0.period_end") != ""
		})
		reads("access goes on", 200)
		student.do(t, 409, "POST", "/v1/subscriptions", map[string]any{"plan_id": plan})

		// The card has run out.
		press(t, student, sub.text("pay_url"), "renewals_fail")
		student.sees(t, soon, "a period could not be charged", path, func(a answer) bool { return a.text("state") == "past_due" })
		student.sees(t, soon, "the student is told", "/v1/notifications", func(a answer) bool { return strings.Contains(string(a.body), "subscription_failed") })
		reads("access has lapsed", 403)
		link := student.do(t, 201, "POST", path+"/billing-link", nil)
		press(t, student, link.text("url"), "renewals_succeed")
		student.sees(t, soon, "it is paid", path, func(a answer) bool { return a.text("state") == "active" })
		reads("access has recovered", 200)

		// Who cancels and changes their mind goes on.
		hesitant := in.signUp(t, "Hesitant Student")
		other := hesitant.do(t, 201, "POST", "/v1/subscriptions", map[string]any{"plan_id": plan})
		_, payment, _ = strings.Cut(other.text("pay_url"), "/pay/")
		in.nobody().do(t, 200, "POST", "/v1/development/payments/"+payment+"/settle", map[string]any{"outcome": "succeed", "period_seconds": 3600})
		others := "/v1/me/subscriptions/" + other.text("id")
		hesitant.sees(t, soon, "the other subscription is active", others, func(a answer) bool { return a.text("state") == "active" })
		if a := hesitant.do(t, 200, "POST", others+"/cancel", nil); a.at("cancel_at_period_end") != true {
			t.Errorf("cancelled: %s", a)
		}
		if a := hesitant.do(t, 200, "POST", others+"/resume", nil); a.at("cancel_at_period_end") == true || a.text("state") != "active" {
			t.Errorf("resumed: %s", a)
		}

		// Who cancels keeps what is paid, and no more.
		if a := student.do(t, 200, "POST", path+"/cancel", nil); a.text("state") != "active" && a.text("state") != "ended" {
			t.Errorf("cancelled %s", a)
		}
		student.sees(t, soon, "it has ended", path, func(a answer) bool { return a.text("state") == "ended" && a.text("end_reason") == "cancelled" })
		reads("access has ended", 403)
		student.do(t, 403, "GET", "/v1/subscriptions", nil)
		staff.sees(t, soon, "staff see it", "/v1/subscriptions?state=ended&buyer_id="+student.account, func(a answer) bool { return len(a.items()) == 1 })
		if a := staff.do(t, 200, "GET", "/v1/ledger/balances", nil); a.status != 200 {
			t.Errorf("%s", a)
		}
	})
}
