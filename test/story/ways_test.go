package story_test

import (
	"html"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestWaysIn takes the ways into a course besides buying it: a cohort with more
// takers than seats, its waitlist, an invitation by
// e-mail, a seat of a team, a file of people.
func TestWaysIn(t *testing.T) {
	t.Parallel()
	inBoth(t, shared, sharedApart, func(t *testing.T, in *installation) {
		teacher := in.signUp(t, "Inviting Teacher")
		free, lessons := draft(t, teacher, "Taken in Runs")
		publish(t, teacher, free, 0)
		cohortsAndWaitlist(t, in, teacher, free, lessons[1])
		sold, paid := draft(t, teacher, "For Those Invited")
		publish(t, teacher, sold, 4900)
		invitedByEmail(t, in, teacher, sold, paid[1])
		teamSeat(t, in, teacher, sold, paid[1])
		imported(t, in, teacher, sold, paid[1])
	})
}

func cohortsAndWaitlist(t *testing.T, in *installation, teacher *person, course, lesson string) {
	t.Helper()
	teacher.do(t, 200, "PUT", "/v1/courses/"+course+"/enrollment_policy", map[string]any{"cohort_only": true})
	cohort := teacher.do(t, 201, "POST", "/v1/courses/"+course+"/cohorts", map[string]any{
		"name": "Now", "starts_at": "2026-01-01T00:00:00Z", "seats": 2, "open": true,
	})
	path := "/v1/courses/" + course + "/cohorts/" + cohort.text("id")
	takers := make([]*person, 8)
	var everybody sync.WaitGroup
	for i := range takers {
		takers[i] = in.signUp(t, "A Taker")
	}
	takers[0].do(t, 403, "POST", "/v1/courses/"+course+"/enrollments", nil)
	joined := make([]bool, len(takers))
	for i, p := range takers {
		everybody.Go(func() {
			a, err := p.try(t.Context(), "POST", path+"/join", nil)
			if joined[i] = err == nil && a.status == http.StatusOK; !joined[i] && (err != nil || a.text("code") != "cohort.full") {
				t.Errorf("joining answers %s, %v", a, err)
			}
		})
	}
	everybody.Wait()
	var inside, outside []*person
	for i, p := range takers {
		if joined[i] {
			inside = append(inside, p)
		} else {
			outside = append(outside, p)
		}
	}
	if len(inside) != 2 || t.Failed() {
		t.Fatalf("%d have two seats", len(inside))
	}
	inside[0].do(t, 200, "GET", "/v1/courses/"+course+"/lessons/"+lesson, nil)
	outside[0].do(t, 403, "GET", "/v1/courses/"+course+"/lessons/"+lesson, nil)
	for _, p := range outside[:2] {
		p.do(t, 200, "POST", path+"/waitlist", nil)
	}
	inside[0].do(t, 200, "POST", path+"/leave", nil)
	refused(t, "a seat", inside[0], time.Now(), 403, "/v1/courses/"+course+"/lessons/"+lesson)
	outside[1].do(t, 409, "POST", path+"/join", nil)
	mailTo(t, in, outside[0].email, `A seat for Taken in Runs is held for you`)
	outside[0].do(t, 200, "POST", path+"/join", nil)
	outside[0].do(t, 200, "GET", "/v1/courses/"+course+"/lessons/"+lesson, nil)
	now := teacher.do(t, 200, "GET", path, nil)
	if now.number("taken") != 2 || now.number("waiting") != 1 || now.number("offered") != 0 {
		t.Errorf("the cohort is %s", now)
	}
}

// mailTo waits for a mail to an address that has a text, and returns it.
func mailTo(t testing.TB, in *installation, address, text string) string {
	t.Helper()
	var found string
	eventually(t, soon, "a mail to "+address, func() (bool, string) {
		a, err := in.nobody().try(t.Context(), "GET", "/mail", nil)
		if err != nil {
			return false, err.Error()
		}
		for article := range strings.SplitSeq(string(a.body), "<article>") {
			if article = html.UnescapeString(article); strings.Contains(article, "To "+address) && strings.Contains(article, text) {
				found = article
				return true, ""
			}
		}
		return false, string(a.body)
	})
	return found
}

var codeInMail = regexp.MustCompile(`\b[A-Z2-9]{4}(-[A-Z2-9]{4}){3}\b`)

func invitedByEmail(t *testing.T, in *installation, teacher *person, course, lesson string) {
	t.Helper()
	guest := in.signUp(t, "Invited Guest")
	made := teacher.do(t, 201, "POST", "/v1/courses/"+course+"/email_invitations", map[string]any{
		"addresses": []string{strings.ToUpper(guest.email), "nobody.yet@example.org"}, "message": "Come and learn.",
	})
	if len(made.items()) != 2 || made.items()[0].text("state") != "open" || made.items()[1].text("state") != "open" {
		t.Fatalf("invited: %s", made)
	}
	// Who has not shown that the address is theirs does not see it.
	if mine := guest.do(t, 200, "GET", "/v1/me/email_invitations", nil); len(mine.items()) != 0 {
		t.Errorf("with an unverified address: %s", mine)
	}
	code := codeInMail.FindString(mailTo(t, in, guest.email, "For Those Invited"))
	if code == "" {
		t.Fatal("the mail has no code")
	}
	guest.do(t, 200, "POST", "/v1/invitations/accept", map[string]any{"code": code})
	guest.do(t, 200, "GET", "/v1/courses/"+course+"/lessons/"+lesson, nil)
	in.signUp(t, "Somebody Else").do(t, 400, "POST", "/v1/invitations/accept", map[string]any{"code": code})
}

func teamSeat(t *testing.T, in *installation, teacher *person, course, lesson string) {
	t.Helper()
	manager, first, second := in.signUp(t, "Team Manager"), in.signUp(t, "Team Member"), in.signUp(t, "Team Successor")
	block := teacher.manages(t, "the manager is known", 201, "POST", "/v1/courses/"+course+"/seat_blocks", map[string]any{"holder_id": manager.account, "seats": 1})
	path := "/v1/me/seat_blocks/" + block.text("id") + "/seats"
	teacher.do(t, 404, "GET", path, nil)
	seat := manager.do(t, 200, "POST", path, map[string]any{"address": first.email})
	manager.do(t, 409, "POST", path, map[string]any{"address": second.email})
	take := func(p *person) {
		t.Helper()
		code := codeInMail.FindString(mailTo(t, in, p.email, "For Those Invited"))
		p.do(t, 200, "POST", "/v1/invitations/accept", map[string]any{"code": code})
		p.do(t, 200, "GET", "/v1/courses/"+course+"/lessons/"+lesson, nil)
	}
	take(first)
	manager.do(t, 200, "POST", path+"/"+seat.text("id")+"/release", nil)
	refused(t, "a seat of a team", first, time.Now(), 403, "/v1/courses/"+course+"/lessons/"+lesson)
	manager.do(t, 200, "POST", path, map[string]any{"address": second.email})
	take(second)
}

func imported(t *testing.T, in *installation, teacher *person, course, lesson string) {
	t.Helper()
	known := in.signUp(t, "Person of a File")
	teacher.manages(t, "the person is known", 201, "POST", "/v1/courses/"+course+"/entitlements", map[string]any{
		"account_id": known.account, "reason": "for a day long ago", "starts_at": "2020-01-01T00:00:00Z", "ends_at": "2020-01-02T00:00:00Z",
	})
	file := "account_id,email\n" + known.account + ",\n,another@example.org\n,no address\n"
	made := teacher.do(t, 201, "POST", "/v1/courses/"+course+"/imports", []byte(file), "Content-Type", "text/csv")
	path := "/v1/courses/" + course + "/imports/" + made.text("id")
	teacher.sees(t, soon, "the import is done", path, func(a answer) bool { return a.text("state") == "done" })
	report := string(teacher.do(t, 200, "GET", path+"/report", nil).body)
	for _, outcome := range []string{`"enrolled"`, `"invited"`, `"refused"`} {
		if strings.Count(report, `"outcome":`+outcome) != 1 {
			t.Errorf("not one row is %s: %s", outcome, report)
		}
	}
	known.do(t, 200, "GET", "/v1/courses/"+course+"/lessons/"+lesson, nil)
}
