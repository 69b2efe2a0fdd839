package discovery

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/discovery/discoverypb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

func TestGetListing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	teacher, cover := id.New("account"), id.New("media")
	lesson1, lesson2 := id.New("lesson"), id.New("lesson")
	e := &coursespb.CoursePublished{
		CourseId: id.New("course"), OwnerId: teacher, Sequence: 1, Version: 1,
		Title: "Stoicism", Subtitle: "Keep calm", Description: "# Why\n\nBe *calm*.\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1))",
		Language: "en", Level: "beginner", Category: "Philosophy", Tags: []string{"stoa", "calm"}, Outcomes: []string{"Stay calm"},
		CoverMediaId: cover, PublishedAt: timestamppb.New(may),
		Modules: []*coursespb.PublishedModule{
			{Id: id.New("module"), Title: "One", Lessons: []*coursespb.PublishedLesson{{Id: lesson1, Title: "First", Preview: true}, {Id: lesson2, Title: "Second"}}},
			{Id: id.New("module"), Title: "Empty"},
		},
	}
	get := func() (*discoverypb.Listing, error) {
		return w.client.GetListing(context.Background(), &discoverypb.GetListingRequest{CourseId: e.GetCourseId()})
	}
	hear(w, w.service.coursePublished, e)
	if _, err := get(); fault.CodeOf(err) != "listing.not_found" {
		t.Errorf("without a price: %v", err)
	}
	hear(w, w.service.priceSet, priced(e.GetCourseId(), 1, 4900))
	want := &discoverypb.Listing{
		CourseId: e.GetCourseId(), Title: "Stoicism", Subtitle: "Keep calm",
		DescriptionHtml: "<h1>Why</h1>\n<p>Be <em>calm</em>.</p>\n<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>\n<p>x</p>\n",
		Language:        "en", Level: "beginner", Category: "Philosophy", Tags: []string{"stoa", "calm"}, Outcomes: []string{"Stay calm"},
		CoverUrl: "/v1/media/" + cover + "/content", TeacherId: teacher,
		Price: &moneypb.Money{Amount: 4900, Currency: "EUR"}, ListPrice: &moneypb.Money{Amount: 4900, Currency: "EUR"}, LessonCount: 2, PublishedAt: timestamppb.New(may),
		Modules: []*discoverypb.ListingModule{
			{Title: "One", Lessons: []*discoverypb.ListingLesson{{Id: lesson1, Title: "First", Preview: true}, {Id: lesson2, Title: "Second"}}},
			{Title: "Empty"},
		},
	}
	got, err := get()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	hear(w, w.service.accountCreated, &identitypb.AccountCreated{AccountId: teacher, Name: "Zeno"})
	want.TeacherName, want.DescriptionHtml, want.Outcomes, want.Modules = "Zeno", "", nil, nil
	if diff := cmp.Diff([]*discoverypb.Listing{want}, w.list(&discoverypb.ListListingsRequest{}).GetItems(), protocmp.Transform()); diff != "" {
		t.Errorf("in a list (-want +got):\n%s", diff)
	}

	hear(w, w.service.courseUnpublished, &coursespb.CourseUnpublished{CourseId: e.GetCourseId(), Sequence: 2})
	if _, err := get(); fault.CodeOf(err) != "listing.not_found" {
		t.Errorf("after it was taken out: %v", err)
	}
	if _, err := w.client.GetListing(context.Background(), &discoverypb.GetListingRequest{CourseId: id.New("course")}); fault.CodeOf(err) != "listing.not_found" {
		t.Errorf("unknown: %v", err)
	}
	if _, err := w.client.GetListing(context.Background(), &discoverypb.GetListingRequest{CourseId: id.New("lesson")}); fault.CodeOf(err) != "request.invalid" {
		t.Errorf("not a course: %v", err)
	}
}

func TestNewestFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sold(1, 0, &coursespb.CoursePublished{Title: "a", Category: "Music", Language: "de", Level: "all"})
	w.sold(3, 4900, &coursespb.CoursePublished{Title: "b", Category: "Music", Language: "de-AT", Level: "beginner"})
	w.sold(3, 0, &coursespb.CoursePublished{Title: "c", Category: "Maths", Language: "en", Level: "beginner"})
	w.sold(2, 900, &coursespb.CoursePublished{Title: "d", Category: "Music", Language: "en", Level: "advanced"})
	w.sold(0, 900, &coursespb.CoursePublished{Title: "e", Category: "music", Language: "EN", Level: "intermediate"})
	hidden := w.sold(9, 900, &coursespb.CoursePublished{Title: "hidden", Category: "Music"})
	hear(w, w.service.courseUnpublished, &coursespb.CourseUnpublished{CourseId: hidden, Sequence: 2})
	hear(w, w.service.coursePublished, &coursespb.CoursePublished{CourseId: id.New("course"), Sequence: 1, Title: "no price", PublishedAt: timestamppb.New(may)})

	for name, c := range map[string]struct {
		req  *discoverypb.ListListingsRequest
		want []string
	}{
		"all":           {&discoverypb.ListListingsRequest{}, []string{"c", "b", "d", "a", "e"}},
		"white space":   {&discoverypb.ListListingsRequest{Query: " \t "}, []string{"c", "b", "d", "a", "e"}},
		"category":      {&discoverypb.ListListingsRequest{Category: "Music"}, []string{"b", "d", "a"}},
		"language":      {&discoverypb.ListListingsRequest{Language: "en"}, []string{"c", "d", "e"}},
		"language, AT":  {&discoverypb.ListListingsRequest{Language: "DE-at"}, []string{"b"}},
		"level":         {&discoverypb.ListListingsRequest{Level: "beginner"}, []string{"c", "b"}},
		"level all":     {&discoverypb.ListListingsRequest{Level: "all"}, []string{"a"}},
		"free":          {&discoverypb.ListListingsRequest{Price: "free"}, []string{"c", "a"}},
		"paid":          {&discoverypb.ListListingsRequest{Price: "paid"}, []string{"b", "d", "e"}},
		"several":       {&discoverypb.ListListingsRequest{Category: "Music", Price: "paid", Level: "advanced", Language: "en"}, []string{"d"}},
		"nothing fits":  {&discoverypb.ListListingsRequest{Category: "Art"}, nil},
		"quote in text": {&discoverypb.ListListingsRequest{Category: "' OR true --"}, nil},
	} {
		for _, size := range []int32{0, 1, 2} {
			c.req.PageSize = size
			if diff := cmp.Diff(c.want, w.titles(c.req)); diff != "" {
				t.Errorf("%s, pages of %d (-want +got):\n%s", name, size, diff)
			}
		}
	}
}

func TestListRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, req := range []*discoverypb.ListListingsRequest{
		{PageSize: -1},
		{PageSize: 101},
		{Level: "expert"},
		{Price: "cheap"},
		{Cursor: "x"},
		{Cursor: "WyJhIl0"},
		{Cursor: "WyJhIiwiYiJd"},
		{Query: "x", Cursor: "x"},
		{Query: "x", Cursor: "WyJyYW5rIiwieCIsInkiXQ"},
		{Query: "a\x00b"},
	} {
		if _, err := w.client.ListListings(context.Background(), req); !fault.Is(err, fault.Invalid) {
			t.Errorf("%v: %v, want Invalid", req, err)
		}
	}
}
