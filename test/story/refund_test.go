package story_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// press presses a button of the pay page.
func press(t testing.TB, buyer *person, page, outcome string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, page, strings.NewReader(url.Values{"outcome": {outcome}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := buyer.in.web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%s answered %d", outcome, res.StatusCode)
	}
}

// TestMoneyBack gives money back line by line: access ends with the grant of the line, and
// with nothing else.
func TestMoneyBack(t *testing.T) {
	t.Parallel()
	inBoth(t, shared, sharedApart, func(t *testing.T, in *installation) {
		teacher, student, staff := in.signUp(t, "Repaying Teacher"), in.signUp(t, "Repaid Student"), in.admin(t, "Money Admin")
		one, oneLessons := draft(t, teacher, "What Is Given Back")
		two, twoLessons := draft(t, teacher, "What Is Kept")
		publish(t, teacher, one, 4900)
		publish(t, teacher, two, 2900)
		lesson := map[string]string{one: "/v1/courses/" + one + "/lessons/" + oneLessons[1], two: "/v1/courses/" + two + "/lessons/" + twoLessons[1]}
		reads := func(what, course string, status int) {
			t.Helper()
			student.sees(t, soon, what, lesson[course], func(a answer) bool { return a.status == status })
		}
		buy := func(courses ...string) (order answer, page string) {
			t.Helper()
			order = student.manages(t, "the courses can be ordered", 201, "POST", "/v1/orders", map[string]any{"course_ids": courses})
			page = order.text("pay_url")
			press(t, student, page, "succeed")
			return student.sees(t, soon, "the order is fulfilled", "/v1/orders/"+order.text("id"), func(a answer) bool { return a.text("state") == "fulfilled" }), page
		}
		order, _ := buy(one, two)
		orderPath := "/v1/orders/" + order.text("id")
		line := map[string]string{order.text("lines.0.course_id"): order.text("lines.0.id"), order.text("lines.1.course_id"): order.text("lines.1.id")}

		// The student has the first course by a grant of the teacher's besides: that stays.
		teacher.do(t, 201, "POST", "/v1/courses/"+one+"/entitlements", map[string]any{"account_id": student.account, "reason": "A guest"})
		student.do(t, 403, "POST", orderPath+"/refunds", map[string]any{"note": "Mine"})
		asked := student.do(t, 201, "POST", orderPath+"/refund-requests", map[string]any{"line_ids": []string{line[one]}, "reason": "Too easy"})
		request := asked.text("items.0.id")
		student.do(t, 403, "POST", "/v1/courses/"+one+"/refund-requests/"+request+"/decide", map[string]any{"decision": "approve"})
		teacher.do(t, 404, "POST", "/v1/courses/"+two+"/refund-requests/"+request+"/decide", map[string]any{"decision": "approve"})
		decided := teacher.do(t, 200, "POST", "/v1/courses/"+one+"/refund-requests/"+request+"/decide", map[string]any{"decision": "approve", "answer": "As you like"})
		if decided.text("state") != "approved" {
			t.Fatalf("decided %s", decided)
		}
		student.sees(t, soon, "the order is partly refunded", orderPath, func(a answer) bool { return a.text("state") == "partly_refunded" })
		student.sees(t, soon, "the grant has ended", "/v1/me/entitlements", func(a answer) bool {
			ended := 0
			for _, e := range a.items() {
				if e.text("state") == "revoked" && e.text("source_id") == line[one] {
					ended++
				}
			}
			return ended == 1
		})
		reads("what is given otherwise stays", one, 200)
		reads("the other line stays", two, 200)

		// The rest of it goes back too: nothing is left, and it can be bought again.
		staff.do(t, 201, "POST", orderPath+"/refunds", map[string]any{"note": "Asked by phone"})
		reads("access has ended", two, 403)
		reads("what is given otherwise stays", one, 200)
		student.sees(t, soon, "the order is refunded", orderPath, func(a answer) bool { return a.text("state") == "refunded" })
		if a := student.do(t, 200, "GET", orderPath+"/refunds", nil); len(a.items()) != 2 {
			t.Errorf("refunds %s", a)
		}

		// Bought again, and disputed: access ends when that is lost.
		second, page := buy(two)
		reads("it is bought again", two, 200)
		press(t, student, page, "dispute")
		student.sees(t, soon, "the order is disputed", "/v1/orders/"+second.text("id"), func(a answer) bool { return a.text("state") == "disputed" })
		if a := student.in.nobody().do(t, 200, "GET", page, nil); !strings.Contains(string(a.body), "lose_dispute") {
			t.Errorf("the pay page of a dispute: %s", a.body)
		}
		reads("access stays while it is open", two, 200)
		staff.sees(t, soon, "staff see it", "/v1/disputes?state=open", func(a answer) bool {
			for _, d := range a.items() {
				if d.text("order_id") == second.text("id") {
					return d.text("due_by") != ""
				}
			}
			return false
		})
		press(t, student, page, "lose_dispute")
		reads("access has ended with the dispute", two, 403)

		// The teacher owes nothing and has nothing; a run pays nobody of it.
		if a := teacher.do(t, 200, "GET", "/v1/me/earnings", nil); a.number("items.0.held.amount") != 0 || a.number("items.0.available.amount") != 0 {
			t.Errorf("earnings %s", a)
		}
		if a := teacher.do(t, 201, "POST", "/v1/me/payout-account", nil); !strings.Contains(a.String(), `"ready":true`) && !strings.Contains(a.String(), `"ready": true`) {
			t.Errorf("payout account %s", a)
		}
		teacher.do(t, 403, "POST", "/v1/payout-runs", map[string]any{"currency": "EUR"})
		run := staff.do(t, 201, "POST", "/v1/payout-runs", map[string]any{"currency": "EUR"})
		staff.sees(t, soon, "the run is done", "/v1/payout-runs/"+run.text("id"), func(a answer) bool { return a.text("state") == "done" })
		if a := teacher.do(t, 200, "GET", "/v1/me/payouts", nil); len(a.items()) != 0 {
			t.Errorf("paid %s", a)
		}
	})
}
