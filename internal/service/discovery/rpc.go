package discovery

import (
	"context"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/service/discovery/discoverypb"
)

// server answers the contract.
type server struct {
	discoverypb.UnimplementedDiscoveryServiceServer

	service *Service
}

func (r *server) ListListings(ctx context.Context, req *discoverypb.ListListingsRequest) (*discoverypb.ListListingsResponse, error) {
	f := filter{Category: req.GetCategory(), Language: req.GetLanguage(), Level: req.GetLevel(), Price: req.GetPrice()}
	size := page.Size(req.GetPageSize())
	var (
		items []listing
		next  string
		err   error
	)
	if query := strings.TrimSpace(req.GetQuery()); query != "" {
		items, next, err = search(ctx, r.service.db, r.service.clock(), query, f, size, req.GetCursor())
	} else {
		items, next, err = newest(ctx, r.service.db, r.service.clock(), f, size, req.GetCursor())
	}
	if err != nil {
		return nil, err
	}
	res := &discoverypb.ListListingsResponse{NextCursor: next, Items: make([]*discoverypb.Listing, len(items))}
	for i, l := range items {
		res.Items[i] = listingPB(l)
	}
	return res, nil
}

func (r *server) GetListing(ctx context.Context, req *discoverypb.GetListingRequest) (*discoverypb.Listing, error) {
	l, err := read(ctx, r.service.db, r.service.clock(), req.GetCourseId())
	if err != nil {
		return nil, err
	}
	return listingPB(l), nil
}

func listingPB(l listing) *discoverypb.Listing {
	out := &discoverypb.Listing{
		CourseId:        l.CourseID,
		Title:           l.Title,
		Subtitle:        l.Subtitle,
		DescriptionHtml: l.DescriptionHTML,
		Language:        l.Language,
		Level:           l.Level,
		Category:        l.Category,
		Tags:            l.Tags,
		Outcomes:        l.Outcomes,
		CoverUrl:        l.coverURL(),
		TeacherId:       l.TeacherID,
		TeacherName:     l.TeacherName,
		Price:           &moneypb.Money{Amount: l.now(l.PriceCurrency, l.PriceAmount), Currency: l.PriceCurrency},
		ListPrice:       &moneypb.Money{Amount: l.PriceAmount, Currency: l.PriceCurrency},
		LessonCount:     l.LessonCount,
		EnrollmentCount: l.EnrollmentCount,
		PublishedAt:     timestamppb.New(l.PublishedAt),
	}
	reduced := out.GetPrice().GetAmount() < l.PriceAmount
	for i, currency := range l.FurtherCurrencies {
		list := l.FurtherAmounts[i]
		price := l.now(currency, list)
		reduced = reduced || price < list
		out.FurtherPrices = append(out.FurtherPrices, &discoverypb.ListingPrice{
			List: &moneypb.Money{Amount: list, Currency: currency}, Price: &moneypb.Money{Amount: price, Currency: currency},
		})
	}
	if reduced {
		out.ReducedUntil = timestamppb.New(*l.ReducedUntil)
	}
	for _, m := range l.Modules {
		pb := &discoverypb.ListingModule{Title: m.Title}
		for _, s := range m.Lessons {
			pb.Lessons = append(pb.Lessons, &discoverypb.ListingLesson{Id: s.ID, Title: s.Title, Preview: s.Preview})
		}
		out.Modules = append(out.Modules, pb)
	}
	return out
}
