package notify

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/notify/notifypb"
)

func (w *world) list(account string, req *notifypb.ListNotificationsRequest) *notifypb.ListNotificationsResponse {
	w.t.Helper()
	res, err := w.client.ListNotifications(as(account), req)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func TestListNotifications(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	zeno, ana, ben := w.person("Zeno", "en"), w.person("Ana", "en"), w.person("Ben", "en")
	var courses []string
	for i := range 6 {
		if i%2 == 0 {
			w.pass(time.Minute) // two of each time
		}
		courses = append(courses, w.course(zeno, fmt.Sprint("Course ", i)))
		hear(w, w.service.enrollmentStarted, enrolled(courses[i], ana))
	}
	hear(w, w.service.enrollmentStarted, enrolled(courses[0], ben))

	pages := func(unread bool) []string {
		var out []string
		req := &notifypb.ListNotificationsRequest{Unread: unread, PageSize: 2}
		for {
			res := w.list(ana, req)
			for _, n := range res.GetItems() {
				out = append(out, n.GetCourseId())
			}
			if res.GetNextCursor() == "" {
				return out
			}
			req.Cursor = res.GetNextCursor()
		}
	}
	want := []string{courses[5], courses[4], courses[3], courses[2], courses[1], courses[0], ""}
	for _, unread := range []bool{false, true} {
		if diff := cmp.Diff(want, pages(unread)); diff != "" {
			t.Errorf("unread %v (-want +got):\n%s", unread, diff)
		}
	}
	all := w.list(ana, &notifypb.ListNotificationsRequest{})
	for _, i := range []int{0, 3} {
		if _, err := w.client.ReadNotification(as(ana), &notifypb.ReadNotificationRequest{NotificationId: all.GetItems()[i].GetId()}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, pages(false)); diff != "" {
		t.Errorf("all after reading (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{courses[4], courses[3], courses[1], courses[0], ""}, pages(true)); diff != "" {
		t.Errorf("unread after reading (-want +got):\n%s", diff)
	}
	if got := w.list(ana, &notifypb.ListNotificationsRequest{PageSize: 1}).GetUnreadCount(); got != 5 {
		t.Errorf("%d unread, want 5", got)
	}
	if res := w.list(id.New("account"), &notifypb.ListNotificationsRequest{}); len(res.GetItems()) != 0 || res.GetUnreadCount() != 0 {
		t.Errorf("a stranger: %v", res)
	}
	if _, err := w.client.ListNotifications(as(""), &notifypb.ListNotificationsRequest{}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("nobody: %v", err)
	}
	if _, err := w.client.ListNotifications(as(ana), &notifypb.ListNotificationsRequest{Cursor: "x"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a wrong cursor: %v", err)
	}
}

// many makes n notifications for an account, a millisecond apart from the given time on.
func (w *world) many(account string, n int, from time.Time) {
	w.t.Helper()
	_, err := w.db.Exec(context.Background(), `
		INSERT INTO notification (id, account_id, kind, title, body, created_at, dedupe_key)
		SELECT $1 || i, $1, 'welcome', 't', 'b', $3::timestamptz + i * interval '1 millisecond', $1 || i FROM generate_series(1, $2) i`, account, n, from)
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestUnreadIsCountedUpTo100(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ana := id.New("account")
	for _, c := range []struct{ add, want int }{{99, 99}, {1, 100}, {1, 100}} {
		if _, err := w.db.Exec(context.Background(), `
			INSERT INTO notification (id, account_id, kind, title, body, created_at, dedupe_key)
			SELECT gen_random_uuid(), $1, 'welcome', 't', 'b', now(), gen_random_uuid() FROM generate_series(1, $2)`, ana, c.add); err != nil {
			t.Fatal(err)
		}
		if got := w.list(ana, &notifypb.ListNotificationsRequest{}).GetUnreadCount(); int(got) != c.want {
			t.Errorf("%d counted, want %d", got, c.want)
		}
	}
}

func TestReadNotification(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ana, ben := w.person("Ana", "en"), w.person("Ben", "en")
	n := w.list(ana, &notifypb.ListNotificationsRequest{}).GetItems()[0]
	req := &notifypb.ReadNotificationRequest{NotificationId: n.GetId()}

	for name, c := range map[string]struct {
		account, id, code string
	}{
		"somebody else": {ben, n.GetId(), "notification.not_found"},
		"unknown":       {ana, id.New("notification"), "notification.not_found"},
		"not an id":     {ana, ana, "request.invalid"},
		"nobody":        {"", n.GetId(), "auth.required"},
	} {
		if _, err := w.client.ReadNotification(as(c.account), &notifypb.ReadNotificationRequest{NotificationId: c.id}); fault.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}

	results := make([]*notifypb.Notification, 6)
	var wg sync.WaitGroup
	for i := range results {
		ctx := as(ana)
		if i%2 == 0 {
			ctx = rpc.WithIdempotencyKey(ctx, "k")
		}
		wg.Go(func() {
			w.pass(time.Second)
			got, err := w.client.ReadNotification(ctx, req)
			if err != nil {
				t.Error(err)
			}
			results[i] = got
		})
	}
	wg.Wait()
	if results[0].GetReadAt() == nil {
		t.Fatal("not read")
	}
	for _, r := range results[1:] {
		if diff := cmp.Diff(results[0], r, protocmp.Transform()); diff != "" {
			t.Errorf("reading again changed something:\n%s", diff)
		}
	}
}

func TestDevelopmentMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"Ana", "Ben", "Cleo"} {
		w.pass(time.Minute)
		w.person(name, "en")
	}
	res, err := w.client.ListDevelopmentMail(context.Background(), &notifypb.ListDevelopmentMailRequest{PageSize: 2})
	if err != nil || len(res.GetItems()) != 2 || res.GetItems()[0].GetTo() != "Cleo@example.org" || res.GetItems()[1].GetTo() != "Ben@example.org" {
		t.Errorf("%v, %v; want Cleo's and Ben's", res, err)
	}
	other := notifypb.NewNotifyServiceClient(w.server.As("commerce"))
	if _, err := other.ListDevelopmentMail(context.Background(), &notifypb.ListDevelopmentMailRequest{}); !fault.Is(err, fault.NotFound) {
		t.Errorf("not from the edge: %v", err)
	}

	h := rpctest.New(t, rpctest.Everything)
	New(Config{DB: w.db, Log: rpctest.Log(t)}).Register(h)
	off := notifypb.NewNotifyServiceClient(h.As("edge"))
	if _, err := off.ListDevelopmentMail(as(id.New("account")), &notifypb.ListDevelopmentMailRequest{}); fault.CodeOf(err) != "not_found" {
		t.Errorf("without a development outbox: %v", err)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old, kept := id.New("account"), w.person("Ana", "en")
	w.many(old, 2*sweepBatch+1, may.Add(-time.Minute))
	w.pass(keepMail + time.Second)
	ben := w.person("Ben", "en")
	if err := w.service.sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := w.mails(); len(got) != 1 || got[0].GetTo() != "Ben@example.org" {
		t.Errorf("after a month: %v, want Ben's", got)
	}
	if got := len(w.list(kept, &notifypb.ListNotificationsRequest{}).GetItems()); got != 1 {
		t.Errorf("%d notifications after a month, want 1", got)
	}
	w.pass(keepNotifications - keepMail)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.service.Run(ctx); err != nil {
		t.Errorf("Run that is over: %v", err)
	}
	if err := w.service.sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	for account, want := range map[string]int{old: 0, kept: 0, ben: 1} {
		if got := len(w.list(account, &notifypb.ListNotificationsRequest{}).GetItems()); got != want {
			t.Errorf("%d notifications after a year, want %d", got, want)
		}
	}
}
