package discovery

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/discovery/discoverypb"
)

// world is the service on a database of its own.
type world struct {
	t       testing.TB
	url     string
	db      *pg.DB
	service *Service
	client  discoverypb.DiscoveryServiceClient
	now     atomic.Int64
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, url: pgtest.New(t, Schema)}
	w.db = pgtest.OpenURL(t, w.url, Schema.Name)
	w.now.Store(may.AddDate(0, 0, 1).Add(time.Hour).Unix())
	w.service = New(Config{DB: w.db, Now: func() time.Time { return time.Unix(w.now.Load(), 0) }})
	// Nobody is allowed anything: the marketplace is open to all the same.
	h := rpctest.New(t, func(string, string, string) bool { return false })
	w.service.Register(h)
	w.client = discoverypb.NewDiscoveryServiceClient(h.As("edge"))
	return w
}

// hear runs a handler in a transaction of its own, as the bus does.
func hear[E proto.Message](w *world, handle func(context.Context, *pg.Tx, E) error, events ...E) {
	w.t.Helper()
	for _, e := range events {
		if err := w.db.InTx(context.Background(), func(tx *pg.Tx) error {
			tx.Exempt("a copy")
			return handle(context.Background(), tx, e)
		}); err != nil {
			w.t.Fatalf("hear %T: %v", e, err)
		}
	}
}

func (w *world) list(req *discoverypb.ListListingsRequest) *discoverypb.ListListingsResponse {
	w.t.Helper()
	res, err := w.client.ListListings(context.Background(), req)
	if err != nil {
		w.t.Fatalf("ListListings(%v): %v", req, err)
	}
	return res
}

// titles lists with all pages of the given size, and returns the titles.
func (w *world) titles(req *discoverypb.ListListingsRequest) []string {
	w.t.Helper()
	var out []string
	for {
		res := w.list(req)
		for _, l := range res.GetItems() {
			out = append(out, l.GetTitle())
		}
		if res.GetNextCursor() == "" {
			return out
		}
		req = proto.CloneOf(req)
		req.Cursor = res.GetNextCursor()
	}
}

var may = time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)

// sold puts a course into the marketplace: published on the given day of May,
// at a price in cents.
func (w *world) sold(day int, amount int64, course *coursespb.CoursePublished) string {
	w.t.Helper()
	if course.GetCourseId() == "" {
		course.CourseId = id.New("course")
	}
	course.OwnerId, course.Sequence, course.Version = id.New("account"), 1, 1
	course.PublishedAt = timestamppb.New(may.AddDate(0, 0, day))
	hear(w, w.service.coursePublished, course)
	hear(w, w.service.priceSet, priced(course.GetCourseId(), 1, amount))
	return course.GetCourseId()
}

func priced(course string, version, amount int64) *commercepb.PriceSet {
	return &commercepb.PriceSet{CourseId: course, Version: version, Price: &moneypb.Money{Amount: amount, Currency: "EUR"}}
}

// reducedTo is a reduction to cents that begins with a day and holds for it.
func reducedTo(day time.Time, amount int64) *commercepb.PriceReduction {
	return &commercepb.PriceReduction{
		ReductionId: id.New("reduction"), Prices: []*moneypb.Money{{Amount: amount, Currency: "EUR"}}, StartsAt: timestamppb.New(day), EndsAt: timestamppb.New(day.AddDate(0, 0, 1)),
	}
}
