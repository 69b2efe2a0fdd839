package notify

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/notify/notifypb"
)

// invited is an invitation's mail as access asks for it.
func (w *world) invited(t *testing.T, course, locale string, m *accesspb.InvitationMail) *accesspb.InvitationMailRequested {
	t.Helper()
	e := &accesspb.InvitationMailRequested{MailId: id.New("mail"), InvitationId: id.New("invitation"), CourseId: course, Locale: locale}
	plain, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	e.Sealed = w.keys.Seal("invitation mail\n"+e.GetMailId(), plain)
	return e
}

func TestInvitationMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	course := id.New("course")
	m := &accesspb.InvitationMail{
		To: "ada@example.org", Inviter: "Zeno", Code: "AAAA-BBBB", ExpiresAt: timestamppb.New(may),
		Message: "Come in!\r\n\r\nStoa\n Buy at https://evil.example/x, www.evil.example or mail eve@evil.example.",
	}
	e := w.invited(t, course, "en", m)
	if err := try(w, w.service.invitationMailRequested, e); err == nil || !strings.Contains(err.Error(), "not known here yet") {
		t.Fatalf("before the course is known: %v", err)
	}
	course = w.course(id.New("account"), "Stoicism")
	e = w.invited(t, course, "en", m)
	hear(w, w.service.invitationMailRequested, e, e)
	german := w.invited(t, course, "de-AT", &accesspb.InvitationMail{To: "ben@example.org", Code: "CCCC-DDDD", ExpiresAt: timestamppb.New(may)})
	w.pass(time.Second)
	hear(w, w.service.invitationMailRequested, german)
	want := []*notifypb.DevelopmentMail{{
		To: "ben@example.org", Subject: "Du bist eingeladen: Stoicism", State: "held", CreatedAt: timestamppb.New(may.Add(time.Second)),
		Text: "Hallo,\n\ndu bist eingeladen, am Kurs „Stoicism“ teilzunehmen.\n\nhttps://learn.example.org/invitation?token=CCCC-DDDD\n\n" +
			"Melde dich mit irgendeinem Konto an, oder leg eines an. Der Code der Einladung ist CCCC-DDDD. Er lässt eine Person hinein, bis 2026-05-01 09:00 UTC. " +
			"Wenn du nicht kommen willst, brauchst du nichts zu tun.\n\nStoa\n",
	}, {
		To: "ada@example.org", Subject: "You are invited to Stoicism", State: "held", CreatedAt: timestamppb.New(may),
		Text: "Hello,\n\nyou are invited by Zeno to take the course “Stoicism”. They write: “Come in! Stoa Buy at […] […] or mail […]”\n\n" +
			"https://learn.example.org/invitation?token=AAAA-BBBB\n\n" +
			"Sign in with any account, or make one. The code of the invitation is AAAA-BBBB. It lets one person in, until 2026-05-01 09:00 UTC. " +
			"If you don't want to come, you need do nothing.\n\nStoa\n",
	}}
	if diff := cmp.Diff(want, w.mails(), protocmp.Transform(), protocmp.IgnoreFields(&notifypb.DevelopmentMail{}, "id")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// What is sealed for one mail is not read as another's, and one without a code is none.
	other := proto.CloneOf(e)
	other.MailId = id.New("mail")
	if err := try(w, w.service.invitationMailRequested, other); err == nil {
		t.Error("another mail's text passed")
	}
	if err := try(w, w.service.invitationMailRequested, w.invited(t, course, "en", &accesspb.InvitationMail{To: "ada@example.org"})); err == nil {
		t.Error("a mail without a code passed")
	}

	// With the last mail of an invitation goes its key.
	keys := func() int {
		t.Helper()
		var n int
		if err := w.db.QueryRow(t.Context(), `SELECT count(*) FROM person_key WHERE person LIKE 'invitation_%'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	w.pass(keepMail - time.Second/2)
	second := w.invited(t, course, "en", m)
	second.InvitationId = german.GetInvitationId()
	hear(w, w.service.invitationMailRequested, second)
	w.pass(time.Second)
	if err := w.service.sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := keys(); n != 1 {
		t.Errorf("%d keys, want that of the mail that is left", n)
	}
	if got := w.mails(); len(got) != 1 || got[0].GetTo() != "ada@example.org" {
		t.Errorf("%v", got)
	}
	w.pass(keepMail + time.Second)
	if err := w.service.sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := keys(); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}
