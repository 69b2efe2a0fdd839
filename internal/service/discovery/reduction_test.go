package discovery

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/discovery/discoverypb"
)

// Reductions are seen from the microsecond on in which they begin, and no longer than
// they hold, in the list, in search results and on the course's page, without any news in
// between. Further currencies are shown besides.
func TestReductionsAreSeenOnTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	course := w.sold(0, 4900, &coursespb.CoursePublished{Title: "Reduced"})
	other := w.sold(1, 2000, &coursespb.CoursePublished{Title: "Another"})
	begins, next := may.AddDate(0, 0, 10), may.AddDate(0, 0, 12)
	e := priced(course, 2, 4900)
	e.Further = []*moneypb.Money{{Amount: 5900, Currency: "CHF"}, {Amount: 5500, Currency: "USD"}}
	first, second := reducedTo(begins, 2900), reducedTo(next, 9900) // not less: that is none
	first.Prices = append(first.Prices, &moneypb.Money{Amount: 3500, Currency: "USD"}, &moneypb.Money{Amount: 1, Currency: "JPY"})
	e.Reductions = append(e.Reductions, first, second)
	hear(w, w.service.priceSet, e)

	type shown struct {
		Price, List, CHF, USD int64
		Until                 *timestamppb.Timestamp
	}
	of := func(l *discoverypb.Listing) shown {
		out := shown{Price: l.GetPrice().GetAmount(), List: l.GetListPrice().GetAmount(), Until: l.GetReducedUntil()}
		for _, p := range l.GetFurtherPrices() {
			switch p.GetPrice().GetCurrency() {
			case "CHF":
				out.CHF = p.GetPrice().GetAmount()
			case "USD":
				out.USD = p.GetPrice().GetAmount()
			default:
				t.Errorf("in %v it is not sold", p)
			}
		}
		return out
	}
	full := shown{4900, 4900, 5900, 5500, nil}
	less := shown{2900, 4900, 5900, 3500, first.GetEndsAt()}
	for _, c := range []struct {
		at   time.Time
		want shown
	}{
		{begins.Add(-time.Second), full}, {begins, less}, {begins.Add(24*time.Hour - time.Second), less}, {begins.Add(24 * time.Hour), full}, {next, full}, {next.AddDate(1, 0, 0), full},
	} {
		w.now.Store(c.at.Unix())
		page, err := w.client.GetListing(t.Context(), &discoverypb.GetListingRequest{CourseId: course})
		if err != nil {
			t.Fatal(err)
		}
		all, found := w.list(&discoverypb.ListListingsRequest{Price: "paid"}).GetItems(), w.list(&discoverypb.ListListingsRequest{Query: "reduced"}).GetItems()
		if len(all) != 2 || len(found) != 1 || all[0].GetCourseId() != other {
			t.Fatalf("%v, %v", all, found)
		}
		for where, l := range map[string]*discoverypb.Listing{"page": page, "list": all[1], "search": found[0]} {
			if diff := cmp.Diff(c.want, of(l), protocmp.Transform()); diff != "" {
				t.Errorf("%s at %v (-want +got):\n%s", where, c.at, diff)
			}
		}
		if got := of(all[0]); got != (shown{Price: 2000, List: 2000}) {
			t.Errorf("another course: %+v", got)
		}
	}

	// News without them ends them, and older news does not bring them back.
	w.now.Store(begins.Unix())
	hear(w, w.service.priceSet, priced(course, 3, 4900), e)
	page, err := w.client.GetListing(t.Context(), &discoverypb.GetListingRequest{CourseId: course})
	if err != nil || of(page) != (shown{Price: 4900, List: 4900}) {
		t.Errorf("%+v, %v", of(page), err)
	}
}
