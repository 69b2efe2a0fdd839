package notify

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/email"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
	"github.com/stoa-lms/stoa/internal/service/notify/notifypb"
)

var withoutID = protocmp.IgnoreFields(&notifypb.Notification{}, "id")

func TestHears(t *testing.T) {
	t.Parallel()
	var got []string
	for _, h := range New(Config{}).Handlers() {
		got = append(got, h.EventName())
	}
	want := []string{
		"stoa.identity.v1.AccountCreated", "stoa.identity.v1.AccountUpdated", "stoa.identity.v1.SecurityMailRequested", "stoa.courses.v1.CoursePublished", "stoa.courses.v1.CourseReviewed",
		"stoa.access.v1.EnrollmentStarted", "stoa.access.v1.WaitlistOffered", "stoa.access.v1.WaitlistOfferExpired", "stoa.commerce.v1.OrderPaid", "stoa.commerce.v1.SubscriptionRenewalFailed", "stoa.commerce.v1.SubscriptionEnded",
		"stoa.commerce.v1.LinesRefunded", "stoa.commerce.v1.PaymentReturned", "stoa.commerce.v1.RefundRequestDeclined", "stoa.commerce.v1.DisputeOpened", "stoa.commerce.v1.DisputeSettled",
		"stoa.commerce.v1.PayoutPaid", "stoa.commerce.v1.PayoutFailed", "stoa.commerce.v1.PayoutReversed", "stoa.learning.v1.CourseCompleted", "stoa.grades.v1.GradePosted",
		"stoa.access.v1.InvitationMailRequested",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWelcome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ana := id.New("account")
	// The change is heard first: the welcome goes to where they are by now.
	hear(w, w.service.accountUpdated, &identitypb.AccountUpdated{AccountId: ana, Email: "new@example.org", Name: "Ana", Locale: "de-AT", Version: 2})
	hear(w, w.service.accountCreated, w.created(ana, "old", "en"), w.created(ana, "old", "en"))

	res, err := w.client.ListNotifications(as(ana), &notifypb.ListNotificationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := []*notifypb.Notification{{
		Kind: "welcome", Title: "Willkommen bei Stoa", CreatedAt: timestamppb.New(may),
		Body: "Hallo Ana! Finde einen Kurs im Marktplatz oder mach einen eigenen.",
	}}
	if diff := cmp.Diff(want, res.GetItems(), protocmp.Transform(), withoutID); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	mails := []*notifypb.DevelopmentMail{{
		To: "new@example.org", Subject: "Willkommen bei Stoa", CreatedAt: timestamppb.New(may), State: "held",
		Text: "Hallo Ana,\n\nwillkommen bei Stoa. Finde einen Kurs im Marktplatz oder mach einen eigenen.\n\nStoa\n",
	}}
	if diff := cmp.Diff(mails, w.mails(), protocmp.Transform(), protocmp.IgnoreFields(&notifypb.DevelopmentMail{}, "id")); diff != "" {
		t.Errorf("mail (-want +got):\n%s", diff)
	}
}

func TestEnrollment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	teacher, ana := id.New("account"), id.New("account")
	course := id.New("course")
	e := enrolled(course, ana)

	// Nothing is told before all are known, and the bus is told to try again.
	steps := []func(){
		func() { hear(w, w.service.accountCreated, w.created(ana, "Ana", "en")) },
		func() {
			hear(w, w.service.coursePublished,
				&coursespb.CoursePublished{CourseId: course, OwnerId: teacher, Title: "Stoicism", Sequence: 2},
				&coursespb.CoursePublished{CourseId: course, OwnerId: teacher, Title: "An older title", Sequence: 1})
		},
		func() { hear(w, w.service.accountCreated, w.created(teacher, "Zeno", "de")) },
	}
	for _, step := range steps {
		if err := try(w, w.service.enrollmentStarted, e); err == nil || !strings.Contains(err.Error(), "not known here yet") {
			t.Fatalf("before all are known: %v", err)
		}
		if got := w.told(ana); len(got) != 0 {
			t.Fatalf("told too early: %v", got)
		}
		step()
	}
	hear(w, w.service.enrollmentStarted, e, e)
	want := []*notifypb.Notification{{
		Kind: "enrollment", Title: "You are enrolled in Stoicism", CreatedAt: timestamppb.New(may),
		Body: "Begin with the first lesson whenever you like.", CourseId: course,
	}}
	if diff := cmp.Diff(want, w.told(ana), protocmp.Transform(), withoutID); diff != "" {
		t.Errorf("student (-want +got):\n%s", diff)
	}
	want = []*notifypb.Notification{{
		Kind: "new_student", Title: "Ana nimmt an Stoicism teil", CreatedAt: timestamppb.New(may),
		Body: "Du hast eine neue Teilnehmerin oder einen neuen Teilnehmer.", CourseId: course,
	}}
	if diff := cmp.Diff(want, w.told(teacher), protocmp.Transform(), withoutID); diff != "" {
		t.Errorf("teacher (-want +got):\n%s", diff)
	}

	// Enrolling in one's own course is no news to the teacher.
	hear(w, w.service.enrollmentStarted, enrolled(course, teacher))
	if got := w.told(teacher); len(got) != 2 || got[0].GetKind() != "enrollment" {
		t.Errorf("one's own course: %v", got)
	}
}

func TestOrderPaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ana, zeno, chrysippus := w.person("Ana", "en-GB"), w.person("Zeno", "en"), w.person("Chrysippus", "de")
	eur := func(amount int64) *moneypb.Money { return &moneypb.Money{Amount: amount, Currency: "EUR"} }
	l := func(seller, title string, amount int64) *commercepb.PaidLine {
		return &commercepb.PaidLine{LineId: id.New("line"), CourseId: id.New("course"), SellerId: seller, Title: title, Price: eur(amount)}
	}
	order := &commercepb.OrderPaid{
		OrderId: id.New("order"), BuyerId: ana, Total: eur(9905), PaidAt: timestamppb.New(may),
		Lines: []*commercepb.PaidLine{l(zeno, "Logic", 4900), l(chrysippus, "Physics", 5), l(zeno, "Ethics", 5000)},
	}
	hear(w, w.service.orderPaid, order, order)

	type short struct{ Kind, Title, Body, Course string }
	shorten := func(account string) map[short]int {
		out := map[short]int{}
		for _, n := range w.told(account) {
			out[short{n.GetKind(), n.GetTitle(), n.GetBody(), n.GetCourseId()}]++
		}
		return out
	}
	for account, want := range map[string]map[short]int{
		ana: {{"receipt", "You paid EUR 99.05", "3 courses are yours.", ""}: 1},
		zeno: {
			{"sale", "You sold Logic", "The price was EUR 49.00.", order.GetLines()[0].GetCourseId()}:  1,
			{"sale", "You sold Ethics", "The price was EUR 50.00.", order.GetLines()[2].GetCourseId()}: 1,
		},
		chrysippus: {{"sale", "Du hast Physics verkauft", "Der Preis war EUR 0.05.", order.GetLines()[1].GetCourseId()}: 1},
	} {
		if diff := cmp.Diff(want, shorten(account)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	want := &notifypb.DevelopmentMail{
		To: "Ana@example.org", Subject: "Your receipt of 2026-05-01", CreatedAt: timestamppb.New(may), State: "held",
		Text: "Hello Ana,\n\nthank you for your order " + order.GetOrderId() + " of 2026-05-01.\n\n" +
			"- Logic: EUR 49.00\n- Physics: EUR 0.05\n- Ethics: EUR 50.00\n\nTotal: EUR 99.05\n\nStoa\n",
	}
	mails := w.mails()
	if len(mails) != 4 { // three welcomes
		t.Errorf("%d mails, want 4", len(mails))
	}
	if diff := cmp.Diff(want, mails[0], protocmp.Transform(), protocmp.IgnoreFields(&notifypb.DevelopmentMail{}, "id")); diff != "" {
		t.Errorf("mail (-want +got):\n%s", diff)
	}

	single := &commercepb.OrderPaid{OrderId: id.New("order"), BuyerId: chrysippus, Total: eur(100), PaidAt: timestamppb.New(may), Lines: []*commercepb.PaidLine{l(zeno, "Logic", 100)}}
	w.pass(1)
	hear(w, w.service.orderPaid, single)
	got := shorten(chrysippus)
	if got[short{"receipt", "Du hast EUR 1.00 bezahlt", "Logic gehört dir.", single.GetLines()[0].GetCourseId()}] != 1 {
		t.Errorf("an order of one: %v", got)
	}

	seats := &commercepb.OrderPaid{OrderId: id.New("order"), BuyerId: ana, Total: eur(2000), PaidAt: timestamppb.New(may), Lines: []*commercepb.PaidLine{l(zeno, "Rhetoric", 2000)}}
	seats.Lines[0].Kind, seats.Lines[0].Quantity = "seats", 20
	w.pass(1)
	hear(w, w.service.orderPaid, seats)
	if got := shorten(zeno); got[short{"sale", "You sold 20 seats: Rhetoric", "The price was EUR 20.00.", seats.GetLines()[0].GetCourseId()}] != 1 {
		t.Errorf("seats: %v", got)
	}

	single.Lines[0].SellerId = id.New("account")
	if err := try(w, w.service.orderPaid, single); err == nil {
		t.Error("an unknown seller passed")
	}
	single.BuyerId, single.Lines = id.New("account"), nil
	if err := try(w, w.service.orderPaid, single); err == nil {
		t.Error("an unknown buyer passed")
	}
}

func TestWaitlist(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ana, course := w.person("Ana", "en"), id.New("course")
	e := &accesspb.WaitlistOffered{
		EntryId: id.New("wait"), CohortId: id.New("cohort"), CohortName: "May\nrun", CourseId: course, AccountId: ana, EndsAt: timestamppb.New(may),
	}
	if err := try(w, w.service.waitlistOffered, e); err == nil {
		t.Error("an unknown course passed")
	}
	hear(w, w.service.coursePublished, &coursespb.CoursePublished{CourseId: course, OwnerId: ana, Title: "Logic", Sequence: 1})
	hear(w, w.service.waitlistOffered, e, e)
	mails := w.mails()
	if len(mails) != 2 || mails[0].GetSubject() != "A seat for Logic is held for you" || !strings.Contains(mails[0].GetText(), "a seat of May run, a run of Logic. One is held for you until 2026-05-01 09:00 UTC") {
		t.Errorf("%v", mails)
	}
	w.pass(1)
	gone := &accesspb.WaitlistOfferExpired{EntryId: e.GetEntryId(), CohortId: e.GetCohortId(), CohortName: "May run", CourseId: course, AccountId: ana}
	hear(w, w.service.waitlistOfferExpired, gone, gone)
	var titles []string
	for _, n := range w.told(ana) {
		titles = append(titles, n.GetTitle())
	}
	want := []string{"The seat for Logic went to the next", "A seat for Logic is held for you"}
	if diff := cmp.Diff(want, titles); diff != "" {
		t.Errorf("%q", titles)
	}
}

// TestCourseReviewed: who submitted a course and its owner are told, each in their
// language and once, of a course that was never published.
func TestCourseReviewed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	zeno, ana := w.person("Zeno", "en"), w.person("Ana", "de")
	e := &coursespb.CourseReviewed{
		ReviewId: id.New("review"), CourseId: id.New("course"), Title: "Stoicism", State: "returned", OwnerId: zeno, SubmittedBy: ana,
		Comment: "The first lesson\nis too short", RemarkCount: 2, ReviewedAt: timestamppb.New(may),
	}
	hear(w, w.service.courseReviewed, e, e)
	approved := &coursespb.CourseReviewed{ReviewId: id.New("review"), CourseId: e.GetCourseId(), Title: "Stoicism", State: "approved", OwnerId: zeno, SubmittedBy: zeno}
	hear(w, w.service.courseReviewed, approved, approved)
	for account, want := range map[string][]string{
		zeno: {
			"course_approved: Stoicism was approved. You can publish it now.",
			"course_returned: Stoicism was returned. The moderators say: “The first lesson is too short” Remarks on parts of it: 2.",
		},
		ana: {"course_returned: Stoicism kommt zurück. Die Moderation schreibt: „The first lesson is too short“ Anmerkungen zu einzelnen Teilen: 2."},
	} {
		var got []string
		for _, n := range w.told(account) {
			got = append(got, n.GetKind()+": "+n.GetTitle()+". "+n.GetBody())
		}
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
}

func TestCourseCompleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	zeno := w.person("Zeno", "en")
	e := &learningpb.CourseCompleted{CourseId: w.course(zeno, "Stoicism"), AccountId: id.New("account"), CompletedAt: timestamppb.New(may)}
	if err := try(w, w.service.courseCompleted, e); err == nil {
		t.Error("an unknown person passed")
	}
	hear(w, w.service.accountCreated, w.created(e.GetAccountId(), "Ana", ""))
	hear(w, w.service.courseCompleted, e, e)
	want := []*notifypb.Notification{{
		Kind: "course_completed", Title: "You have completed Stoicism", Body: "Well done! You have viewed every lesson.",
		CourseId: e.GetCourseId(), CreatedAt: timestamppb.New(may),
	}}
	if diff := cmp.Diff(want, w.told(e.GetAccountId()), protocmp.Transform(), withoutID); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := try(w, w.service.courseCompleted, &learningpb.CourseCompleted{CourseId: id.New("course"), AccountId: zeno}); err == nil {
		t.Error("an unknown course passed")
	}
}

// Addresses come sealed, or plain in events of before; one that is sealed for
// somebody else is an error, and changes nothing.
func TestAddressesInEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ana := w.person("ana", "en")
	updated := func(address string, version int64) *identitypb.AccountUpdated {
		return &identitypb.AccountUpdated{AccountId: ana, EmailSealed: email.Seal(w.keys, ana, address), Name: "Ana", Locale: "en", Version: version}
	}
	is := func(want string) {
		t.Helper()
		err := w.db.InTx(t.Context(), func(tx *pg.Tx) error {
			who, err := w.service.people(t.Context(), tx, ana)
			if got := who[ana].Email; got != want {
				t.Errorf("address %q, want %q", got, want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	is("ana@example.org")
	hear(w, w.service.accountUpdated, updated("third@example.org", 3), updated("second@example.org", 2))
	is("third@example.org")
	hear(w, w.service.accountUpdated, &identitypb.AccountUpdated{AccountId: ana, Email: "before@example.org", Name: "Ana", Locale: "en", Version: 4})
	is("before@example.org")
	wrong := updated("x@example.org", 5)
	wrong.EmailSealed = email.Seal(w.keys, id.New("account"), "x@example.org")
	if err := try(w, w.service.accountUpdated, wrong); !errors.Is(err, secret.ErrUnreadable) {
		t.Errorf("%v", err)
	}
	e := w.created(id.New("account"), "x", "en")
	e.EmailSealed[12]++
	if err := try(w, w.service.accountCreated, e); !errors.Is(err, secret.ErrUnreadable) {
		t.Errorf("%v", err)
	}
	is("before@example.org")
}

// What several processes hear at the same time is told once.
func TestToldOnceUnderConcurrency(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	zeno, ana := w.person("Zeno", "en"), w.person("Ana", "en")
	e := enrolled(w.course(zeno, "Stoicism"), ana)
	account := id.New("account")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := try(w, w.service.enrollmentStarted, e); err != nil {
				t.Error(err)
			}
			if err := try(w, w.service.accountCreated, w.created(account, "Ben", "en")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if a, z, m := len(w.told(ana)), len(w.told(zeno)), len(w.mails()); a != 1 || z != 1 || m != 3 {
		t.Errorf("%d, %d notifications and %d mails; want 1, 1 and 3", a, z, m)
	}
}

// Whatever people are called and whatever they call their courses, a mail has
// the header that was meant, or there is no mail.
func TestNobodyBreaksAMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, address := range []string{"", "a", "a@b\r\nBcc: all@example.org", "a@b, c@d", "a@b c", "<a@b>", "a@b\x00"} {
		e := w.created(id.New("account"), "x", "en")
		e.EmailSealed = email.Seal(w.keys, e.GetAccountId(), address)
		hear(w, w.service.accountCreated, e)
		if got, err := w.client.ListNotifications(as(e.GetAccountId()), &notifypb.ListNotificationsRequest{}); err != nil || len(got.GetItems()) != 1 {
			t.Errorf("%q: no welcome: %v, %v", address, got, err)
		}
	}
	if got := w.mails(); len(got) != 0 {
		t.Errorf("sent to %v", got)
	}
	evil := "Eve\r\nBcc: all@example.org\r\n\r\nBuy!\u2028\u202eover"
	e := w.created(id.New("account"), evil, "en")
	e.EmailSealed = email.Seal(w.keys, e.GetAccountId(), "eve@example.org")
	hear(w, w.service.accountCreated, e)
	m := w.mails()[0]
	if strings.ContainsAny(m.GetSubject(), "\r\n") || !strings.HasPrefix(m.GetText(), "Hello,\n") {
		t.Errorf("%q, %q", m.GetSubject(), m.GetText())
	}
}
