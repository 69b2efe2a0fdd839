package discovery

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/discovery/discoverypb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

func TestHears(t *testing.T) {
	t.Parallel()
	var got []string
	for _, h := range New(Config{}).Handlers() {
		got = append(got, h.EventName())
	}
	want := []string{
		"stoa.courses.v1.CoursePublished", "stoa.courses.v1.CourseUnpublished", "stoa.commerce.v1.PriceSet",
		"stoa.access.v1.EnrollmentStarted", "stoa.identity.v1.AccountCreated", "stoa.identity.v1.AccountUpdated",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// All that is heard of a course makes the same listing in whatever order it
// comes, and however often.
func TestEventsInAnyOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rapid.Check(t, func(rt *rapid.T) {
		course, teacher := id.New("course"), id.New("account")
		publish := func(sequence int64) func() {
			e := &coursespb.CoursePublished{
				CourseId: course, OwnerId: teacher, Sequence: sequence, Version: int32(sequence), Title: fmt.Sprint("Title ", sequence), //nolint:gosec // small
				PublishedAt: timestamppb.New(may.AddDate(0, 0, int(sequence))), Tags: []string{fmt.Sprint(sequence)},
				Modules: []*coursespb.PublishedModule{{Title: "M", Lessons: make([]*coursespb.PublishedLesson, sequence)}},
			}
			return func() { hear(w, w.service.coursePublished, e) }
		}
		unpublish := func(sequence int64) func() {
			return func() {
				hear(w, w.service.courseUnpublished, &coursespb.CourseUnpublished{CourseId: course, Sequence: sequence})
			}
		}
		price := func(version int64) func() {
			e := priced(course, version, 100*version)
			e.Further = []*moneypb.Money{{Amount: 200 * version, Currency: "USD"}}
			for i := range version { // one of them holds now
				e.Reductions = append(e.Reductions, reducedTo(may.AddDate(0, 0, int(version-i)), 10*version))
			}
			return func() { hear(w, w.service.priceSet, e) }
		}
		name := func(version int64) func() {
			if version == 1 {
				return func() {
					hear(w, w.service.accountCreated, &identitypb.AccountCreated{AccountId: teacher, Name: "Name 1"})
				}
			}
			return func() {
				hear(w, w.service.accountUpdated, &identitypb.AccountUpdated{AccountId: teacher, Name: fmt.Sprint("Name ", version), Version: version})
			}
		}
		enroll := func() func() {
			e := &accesspb.EnrollmentStarted{EnrollmentId: id.New("enrollment"), CourseId: course, AccountId: id.New("account")}
			return func() { hear(w, w.service.enrollmentStarted, e) }
		}
		events := []func(){
			publish(1), unpublish(2), publish(3), price(1), price(2), price(3), name(1), name(2), name(3), enroll(), enroll(), enroll(),
		}
		takenOut := rapid.Bool().Draw(rt, "taken out")
		if takenOut {
			events = append(events, unpublish(4))
		}
		for _, i := range rapid.Permutation(append(indices(len(events)), indices(len(events))...)).Draw(rt, "order") {
			events[i]()
		}
		got, err := w.client.GetListing(context.Background(), &discoverypb.GetListingRequest{CourseId: course})
		if takenOut {
			if err == nil {
				rt.Fatalf("taken out and listed: %v", got)
			}
			events = append(events, publish(5))
			events[len(events)-1]()
			if got, err = w.client.GetListing(context.Background(), &discoverypb.GetListingRequest{CourseId: course}); err != nil || got.GetEnrollmentCount() != 3 {
				rt.Fatalf("published again: %v, %v", got, err)
			}
			return
		}
		if err != nil {
			rt.Fatal(err)
		}
		want := &discoverypb.Listing{
			CourseId: course, Title: "Title 3", Tags: []string{"3"}, TeacherId: teacher, TeacherName: "Name 3",
			Price: priced(course, 3, 30).GetPrice(), ListPrice: priced(course, 3, 300).GetPrice(), ReducedUntil: timestamppb.New(may.AddDate(0, 0, 2)),
			FurtherPrices: []*discoverypb.ListingPrice{{List: usd(600), Price: usd(600)}}, LessonCount: 3, EnrollmentCount: 3, PublishedAt: timestamppb.New(may.AddDate(0, 0, 3)),
		}
		if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(&discoverypb.Listing{}, "modules")); diff != "" {
			rt.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// One enrollment delivered to several processes at the same time counts once.
func TestEnrollmentCountsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	course := w.sold(0, 0, &coursespb.CoursePublished{Title: "Counted"})
	done := make(chan error)
	for i := range 20 {
		e := &accesspb.EnrollmentStarted{EnrollmentId: fmt.Sprint("enrollment_", i/4), CourseId: course}
		go func() {
			done <- w.db.InTx(context.Background(), func(tx *pg.Tx) error {
				tx.Exempt("a copy")
				return w.service.enrollmentStarted(context.Background(), tx, e)
			})
		}()
	}
	for range 20 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := w.list(&discoverypb.ListListingsRequest{}).GetItems()[0].GetEnrollmentCount(); got != 5 {
		t.Errorf("%d counted, want 5", got)
	}
}

func usd(amount int64) *moneypb.Money { return &moneypb.Money{Amount: amount, Currency: "USD"} }
