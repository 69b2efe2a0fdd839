package discovery

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/discovery/discoverypb"
)

func TestSearch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sold(1, 0, &coursespb.CoursePublished{Title: "Python for beginners", Description: "Learn to program.", Category: "Code", Level: "beginner"})
	w.sold(2, 4900, &coursespb.CoursePublished{Title: "Data science", Subtitle: "With python and R", Category: "Code", Level: "advanced"})
	w.sold(3, 4900, &coursespb.CoursePublished{Title: "Machine learning", Tags: []string{"Python", "deep learning"}, Category: "AI"})
	w.sold(4, 4900, &coursespb.CoursePublished{Title: "Web servers", Description: "Of Go, Python and others.", Language: "de"})
	w.sold(5, 4900, &coursespb.CoursePublished{Title: "Die schönen Künste", Description: "Über Malerei", Language: "de"})
	w.sold(6, 4900, &coursespb.CoursePublished{Title: "Knitting", Description: "Two needles"})
	hear(w, w.service.coursePublished, &coursespb.CoursePublished{CourseId: "course_unpriced", Sequence: 1, Title: "Python without a price"})

	for _, c := range []struct {
		name string
		req  *discoverypb.ListListingsRequest
		want []string
	}{
		{"title, then subtitle and tags, then description", &discoverypb.ListListingsRequest{Query: "python"}, []string{"Python for beginners", "Machine learning", "Data science", "Web servers"}},
		{"case and spaces", &discoverypb.ListListingsRequest{Query: "  PYTHON "}, []string{"Python for beginners", "Machine learning", "Data science", "Web servers"}},
		{"all words", &discoverypb.ListListingsRequest{Query: "python program"}, []string{"Python for beginners"}},
		{"a phrase", &discoverypb.ListListingsRequest{Query: `"deep learning"`}, []string{"Machine learning"}},
		{"one of two", &discoverypb.ListListingsRequest{Query: "needles or malerei"}, []string{"Knitting", "Die schönen Künste"}},
		{"without a word", &discoverypb.ListListingsRequest{Query: "python -science -learning -program"}, []string{"Web servers"}},
		{"two letters changed places", &discoverypb.ListListingsRequest{Query: "pyhton"}, []string{"Machine learning", "Python for beginners"}},
		{"a letter too few", &discoverypb.ListListingsRequest{Query: "kniting"}, []string{"Knitting"}},
		{"a letter too many", &discoverypb.ListListingsRequest{Query: "machinne lerning"}, []string{"Machine learning"}},
		{"the beginning of a word", &discoverypb.ListListingsRequest{Query: "knitt"}, []string{"Knitting"}},
		{"umlauts", &discoverypb.ListListingsRequest{Query: "KÜNSTE"}, []string{"Die schönen Künste"}},
		{"umlauts left out", &discoverypb.ListListingsRequest{Query: "schonen"}, []string{"Die schönen Künste"}},
		{"filtered", &discoverypb.ListListingsRequest{Query: "python", Category: "Code"}, []string{"Python for beginners", "Data science"}},
		{"filtered by price", &discoverypb.ListListingsRequest{Query: "python", Price: "free"}, []string{"Python for beginners"}},
		{"filtered by language", &discoverypb.ListListingsRequest{Query: "python", Language: "DE"}, []string{"Web servers"}},
		{"a typing mistake, filtered", &discoverypb.ListListingsRequest{Query: "pyhton", Level: "advanced"}, nil},
		{"nothing", &discoverypb.ListListingsRequest{Query: "xylophone"}, nil},
		{"no words", &discoverypb.ListListingsRequest{Query: "?!"}, nil},
		{"a query language's own words", &discoverypb.ListListingsRequest{Query: `' & | ! <-> ( :* \ "`}, nil},
	} {
		for _, size := range []int32{0, 1, 3} {
			c.req.PageSize = size
			if diff := cmp.Diff(c.want, w.titles(c.req)); diff != "" {
				t.Errorf("%s, pages of %d (-want +got):\n%s", c.name, size, diff)
			}
		}
	}

	// A cursor is that of its own list.
	first := w.list(&discoverypb.ListListingsRequest{Query: "python", PageSize: 1}).GetNextCursor()
	if _, err := w.client.ListListings(context.Background(), &discoverypb.ListListingsRequest{Cursor: first}); !fault.Is(err, fault.Invalid) {
		t.Errorf("the cursor of a search without a query: %v", err)
	}
	second := w.list(&discoverypb.ListListingsRequest{PageSize: 1}).GetNextCursor()
	if _, err := w.client.ListListings(context.Background(), &discoverypb.ListListingsRequest{Query: "python", Cursor: second}); !fault.Is(err, fault.Invalid) {
		t.Errorf("the cursor of a list with a query: %v", err)
	}
}

// Many of one rank, some exact and some alike: pages of any size show each
// once, in the order of one large page.
func TestSearchPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 15 {
		w.sold(i, 0, &coursespb.CoursePublished{Title: fmt.Sprintf("Chess %d", i)})
	}
	for i := range 20 {
		w.sold(i, 0, &coursespb.CoursePublished{Title: fmt.Sprintf("Chest %d", i)})
	}
	all := w.titles(&discoverypb.ListListingsRequest{Query: "chess", PageSize: 100})
	if len(all) != 35 {
		t.Fatalf("%d found, want 35: %q", len(all), all)
	}
	if i := slices.IndexFunc(all, func(s string) bool { return s[:5] == "Chest" }); i != 15 {
		t.Errorf("the first that is only alike is at %d: %q", i, all)
	}
	for _, size := range []int32{1, 4, 7, 15, 34, 35} {
		if diff := cmp.Diff(all, w.titles(&discoverypb.ListListingsRequest{Query: "chess", PageSize: size})); diff != "" {
			t.Errorf("pages of %d:\n%s", size, diff)
		}
	}

	// With 20 spelt right, none that is only alike.
	for i := range 5 {
		w.sold(i, 0, &coursespb.CoursePublished{Title: fmt.Sprintf("Chess %d", 15+i)})
	}
	if got := w.titles(&discoverypb.ListListingsRequest{Query: "chess"}); len(got) != 20 {
		t.Errorf("%d found, want the 20 that are spelt right", len(got))
	}
}

// No query breaks the search.
func TestSearchTakesAnyText(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sold(0, 0, &coursespb.CoursePublished{Title: "Python"})
	rapid.Check(t, func(rt *rapid.T) {
		query := rapid.OneOf(rapid.StringN(0, 60, 200), rapid.StringMatching(`[-"'&|!:*()<>\\%_ a-z]{0,40}`)).Draw(rt, "query")
		_, err := w.client.ListListings(context.Background(), &discoverypb.ListListingsRequest{Query: query})
		if err != nil && !fault.Is(err, fault.Invalid) {
			rt.Fatalf("%q: %v", query, err)
		}
	})
}
