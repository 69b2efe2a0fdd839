package learning

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

func TestListOpenings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	h := rpctest.New(t, rpctest.Everything)
	w.service.Register(h)
	items := learningpb.NewItemServiceClient(h.As("assessment"))
	courses, activities, people := newIDs("course", 2), newIDs("activity", 3), newIDs("account", 40)
	slices.Sort(courses)
	slices.Sort(activities)
	slices.Sort(people)
	opens := func(course, item string, at *time.Time, accounts ...string) {
		t.Helper()
		run(t, w, `
			INSERT INTO effective_deadline (course_id, account_id, item_id, available_from, available_from_source, due_source, until_source, extra_days)
			SELECT $1, a, $2, $3, 'course', '', '', 0 FROM unnest($4::text[]) AS a`, course, item, at, accounts)
	}
	nine, ten, eleven := may.Add(9*time.Hour), may.Add(10*time.Hour), may.Add(11*time.Hour)
	opens(courses[0], activities[0], &ten, people[:30]...) // a cohort
	opens(courses[0], activities[0], &eleven, people[30:32]...)
	opens(courses[0], activities[0], &nine, people[32:34]...)
	opens(courses[0], activities[0], nil, people[34:]...)
	opens(courses[0], activities[1], &eleven, people[:5]...)
	opens(courses[1], activities[2], &ten, people[0])
	opens(courses[1], activities[1], &ten, people[1])

	opening := func(course, item string, at time.Time) *learningpb.Opening {
		return &learningpb.Opening{CourseId: course, ItemId: item, AvailableFrom: timestamppb.New(at)}
	}
	for name, c := range map[string]struct {
		after, until time.Time
		want         []*learningpb.Opening
	}{
		"nothing": {eleven, eleven.Add(time.Hour), nil},
		"all but what opens at its begin": {nine, eleven, []*learningpb.Opening{
			opening(courses[0], activities[0], ten), opening(courses[1], activities[1], ten), opening(courses[1], activities[2], ten),
			opening(courses[0], activities[0], eleven), opening(courses[0], activities[1], eleven),
		}},
		"up to its end": {nine.Add(-time.Microsecond), ten.Add(-time.Microsecond), []*learningpb.Opening{opening(courses[0], activities[0], nine)}},
		"backwards":     {eleven, nine, nil},
	} {
		for _, size := range []int32{1, 2, 3, 1000} {
			var got []*learningpb.Opening
			req := &learningpb.ListOpeningsRequest{After: timestamppb.New(c.after), Until: timestamppb.New(c.until), PageSize: size}
			for {
				res, err := items.ListOpenings(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				if len(res.GetItems()) > int(size) {
					t.Errorf("%s: %d on a page of %d", name, len(res.GetItems()), size)
				}
				got = append(got, res.GetItems()...)
				if req.Cursor = res.GetNextCursor(); req.GetCursor() == "" {
					break
				}
			}
			if diff := cmp.Diff(c.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("%s in pages of %d (-want +got):\n%s", name, size, diff)
			}
		}
	}

	whom := func(item string, after, until time.Time, size int32) []string {
		t.Helper()
		var got []string
		req := &learningpb.ListOpeningAccountsRequest{CourseId: courses[0], ItemId: item, After: timestamppb.New(after), Until: timestamppb.New(until), PageSize: size}
		for {
			res, err := items.ListOpeningAccounts(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if len(res.GetAccountIds()) == 0 {
				return got
			}
			got = append(got, res.GetAccountIds()...)
			req.AfterAccountId = got[len(got)-1]
		}
	}
	for _, size := range []int32{1, 7, 1000} {
		if diff := cmp.Diff(people[:32], whom(activities[0], nine, eleven, size)); diff != "" {
			t.Errorf("in pages of %d (-want +got):\n%s", size, diff)
		}
	}
	if diff := cmp.Diff([]string(nil), whom(activities[2], nine, eleven, 7)); diff != "" {
		t.Errorf("of another course (-want +got):\n%s", diff)
	}

	day := func(d time.Duration) (a, u *timestamppb.Timestamp) {
		return timestamppb.New(may), timestamppb.New(may.Add(d))
	}
	after, until := day(24*time.Hour + time.Second)
	if _, err := items.ListOpenings(t.Context(), &learningpb.ListOpeningsRequest{After: after, Until: until}); fault.CodeOf(err) != "request.invalid" {
		t.Errorf("longer than a day: %v", err)
	}
	if _, err := items.ListOpeningAccounts(t.Context(), &learningpb.ListOpeningAccountsRequest{CourseId: courses[0], ItemId: id.New("activity"), After: after, Until: until}); fault.CodeOf(err) != "request.invalid" {
		t.Errorf("longer than a day: %v", err)
	}
	after, until = day(24 * time.Hour)
	for _, cursor := range []string{"x", "WyJ4IiwieSIsInoiXQ", "WyIxIiwieSJd"} {
		if _, err := items.ListOpenings(t.Context(), &learningpb.ListOpeningsRequest{After: after, Until: until, Cursor: cursor}); fault.CodeOf(err) != "request.invalid" {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}
