package learning

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit/recordpb"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// sent returns the names of what is in the outbox of a course, entries of the audit
// log by their action, in their order, each with its object.
func (w *world) sent(course string) []string {
	w.t.Helper()
	rows, err := w.db.Query(context.Background(), `SELECT name, payload FROM outbox ORDER BY position`)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	var name string
	var payload []byte
	_, err = pgx.ForEachRow(rows, []any{&name, &payload}, func() error {
		entry, item, whole := &recordpb.Recorded{}, &learningpb.ItemCompleted{}, &learningpb.CourseCompleted{}
		switch name {
		case string(entry.ProtoReflect().Descriptor().FullName()):
			if err := proto.Unmarshal(payload, entry); err != nil {
				return err
			}
			if entry.GetCourseId() == course && entry.GetAction() != "certificate.issued" {
				out = append(out, entry.GetAction()+" "+entry.GetObjectId())
			}
		case string(item.ProtoReflect().Descriptor().FullName()):
			if err := proto.Unmarshal(payload, item); err != nil {
				return err
			}
			if item.GetCourseId() == course {
				out = append(out, "ItemCompleted "+item.GetItemId())
			}
		case string(whole.ProtoReflect().Descriptor().FullName()):
			if err := proto.Unmarshal(payload, whole); err != nil {
				return err
			}
			if whole.GetCourseId() == course {
				out = append(out, "CourseCompleted "+course)
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// What a view answers is how the item stands when it is asked for afterwards, whatever
// completes it, and it tells of each completion once, of modules and the course too.
func TestViewItemAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, ana, inner, outer, video := id.New("course"), id.New("account"), id.New("module"), id.New("module"), id.New("media")
	l, quiz := newIDs("lesson", 6), id.New("activity")
	deep := module(inner)
	deep.ParentId = outer
	shown := required(l[2], outer, &need{Kind: "viewed"})
	shown.PlayableMediaIds = []string{video}
	optional := required(l[4], outer, &need{Kind: "viewed"})
	optional.Required = false
	hear(w, w.service.mediaChanged, &mediapb.MediaChanged{MediaId: video, CourseId: course, DurationMs: 600_000, Version: 1})
	hear(w, w.service.coursePublished, edition(course, 1, module(outer), deep,
		required(l[0], inner, &need{Kind: "viewed"}), required(l[1], inner, &need{Kind: "watched", WatchPercent: 50}), shown,
		required(l[3], outer, &need{Kind: "viewed"}, &need{Kind: "manual", Self: true}), optional,
		required(quiz, outer, &need{Kind: "viewed"}), required(l[5], outer, &need{Kind: "viewed"})))
	hear(w, w.service.enrollmentStarted, enrolled(course, ana, 0))
	look := func(item string) {
		t.Helper()
		for range 2 {
			got, err := w.items.ViewItem(w.as(ana), &learningpb.ViewItemRequest{CourseId: course, ItemId: item})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(w.state(ana, course, item), got, protocmp.Transform()); diff != "" {
				t.Errorf("%s (-afterwards +answer):\n%s", item, diff)
			}
		}
	}
	told := func(items ...string) (out []string) {
		for _, it := range items {
			out = append(out, "lesson.completed "+it)
		}
		for _, it := range items {
			out = append(out, "ItemCompleted "+it)
		}
		return out
	}
	var want []string
	for _, step := range []struct {
		view string
		done []string
	}{
		{l[0], []string{l[0]}},
		{l[1], []string{l[1], inner}}, // there is nothing to watch
		{l[2], []string{l[2]}},
		{l[3], nil},
		{l[4], []string{l[4]}},
		{quiz, []string{quiz}},
	} {
		look(step.view)
		want = append(want, told(step.done...)...)
		if diff := cmp.Diff(want, w.sent(course)); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", step.view, diff)
		}
	}
	if _, err := w.items.MarkItem(w.as(ana), &learningpb.MarkItemRequest{CourseId: course, ItemId: l[3], Done: true}); err != nil {
		t.Fatal(err)
	}
	look(l[3])
	look(l[5])
	want = append(want, "item.marked "+l[3])
	want = append(want, told(l[3])...)
	want = append(want, "lesson.completed "+l[5], "lesson.completed "+outer, "course.completed "+course,
		"ItemCompleted "+l[5], "ItemCompleted "+outer, "CourseCompleted "+course)
	if diff := cmp.Diff(want, w.sent(course)); diff != "" {
		t.Errorf("in the end (-want +got):\n%s", diff)
	}
}

// Where a part of a course is enough, the view with which it is has it completed.
func TestViewIsEnough(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, ana, l := id.New("course"), id.New("account"), newIDs("lesson", 4)
	e := published(course, 1, l...)
	e.Grading = &coursespb.GradingPolicy{Completion: &coursespb.CourseCompletion{Kind: "percent", MinPercent: "50"}}
	hear(w, w.service.coursePublished, e)
	hear(w, w.service.enrollmentStarted, enrolled(course, ana, 0))
	for i, want := range []int{0, 1, 1, 1} {
		w.view(ana, course, l[i])
		if got := len(w.completions()); got != want {
			t.Errorf("after %d of 4: %d completions, want %d", i+1, got, want)
		}
	}
}

// All that somebody new does at once, in several courses, counts once, and no time is
// counted twice.
func TestFirstViewsAtTheSameTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	const courses, lessons = 3, 3
	for range 8 {
		ana := id.New("account")
		var ids []string
		items := map[string][]string{}
		for range courses {
			course := id.New("course")
			ids, items[course] = append(ids, course), newIDs("lesson", lessons)
			hear(w, w.service.coursePublished, published(course, 1, items[course]...))
		}
		var wg sync.WaitGroup
		for _, course := range ids {
			for _, lesson := range items[course] {
				for range 2 {
					wg.Go(func() { w.view(ana, course, lesson) })
				}
			}
		}
		wg.Wait()
		for _, course := range ids {
			got := map[string]int{}
			for _, one := range w.sent(course) {
				got[one]++
			}
			for _, lesson := range items[course] {
				if got["ItemCompleted "+lesson] != 1 || got["lesson.completed "+lesson] != 1 {
					t.Errorf("%s was told %v", lesson, got)
				}
			}
		}
		var first, last time.Time
		var spent int64
		err := w.db.QueryRow(context.Background(), `
			SELECT (SELECT min(viewed_at) FROM item_fact WHERE account_id = $1), (SELECT last_at FROM learner_clock WHERE account_id = $1),
				(SELECT sum(spent_ms)::bigint FROM activity_day WHERE account_id = $1)`, ana).Scan(&first, &last, &spent)
		if err != nil {
			t.Fatal(err)
		}
		if all := last.Sub(first).Milliseconds(); spent <= 0 || spent > all {
			t.Errorf("%d ms were counted, %d went by", spent, all)
		}
	}
}

// One after another the time between two views counts, for the course in which it
// began, also for who views something in a course for the first time.
func TestTimeOfFirstViews(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	one, two, ana, l := id.New("course"), id.New("course"), id.New("account"), newIDs("lesson", 2)
	hear(w, w.service.coursePublished, published(one, 1, l[0]), published(two, 1, l[1]))
	spent := func(course string) int64 {
		var ms int64
		if err := w.db.QueryRow(context.Background(), `SELECT coalesce(sum(spent_ms), 0)::bigint FROM activity_day WHERE course_id = $1`, course).Scan(&ms); err != nil {
			t.Fatal(err)
		}
		return ms
	}
	start := time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)
	for i, step := range []struct {
		course, lesson string
		one, two       int64
	}{{one, l[0], 0, 0}, {two, l[1], 20_000, 0}, {two, l[1], 20_000, 20_000}, {one, l[0], 20_000, 40_000}} {
		w.at(start.Add(time.Duration(i) * 20 * time.Second))
		w.view(ana, step.course, step.lesson)
		if diff := cmp.Diff([]int64{step.one, step.two}, []int64{spent(one), spent(two)}); diff != "" {
			t.Errorf("after %d (-want +got):\n%s", i, diff)
		}
	}
}

// A view and a result that complete an item together do so in every order that the
// database makes of them, once.
func TestViewMeetsResult(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	const rounds = 40
	course, ana, quizzes := id.New("course"), id.New("account"), newIDs("activity", rounds)
	items := []*coursespb.PublishedItem{module(id.New("module"))}
	for _, q := range quizzes {
		items = append(items, required(q, items[0].GetId(), &need{Kind: "viewed"}, &need{Kind: "submitted"}))
	}
	hear(w, w.service.coursePublished, edition(course, 1, items...))
	hear(w, w.service.enrollmentStarted, enrolled(course, ana, 0))
	for _, q := range quizzes {
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if _, err := w.items.ViewItem(w.as(ana), &learningpb.ViewItemRequest{CourseId: course, ItemId: q}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			together(w, w.service.activityResultChanged, &assessmentpb.ActivityResultChanged{
				CourseId: course, ItemId: q, AccountId: ana, SubmittedAt: timestamppb.New(may), Version: 1,
			})
		})
		wg.Wait()
	}
	got := map[string]int{}
	for _, one := range w.sent(course) {
		got[one]++
	}
	for _, item := range append(quizzes, items[0].GetId()) {
		if got["lesson.completed "+item] != 1 || got["ItemCompleted "+item] != 1 {
			t.Error(fmt.Sprint(item, " was told ", got["lesson.completed "+item], " and ", got["ItemCompleted "+item], " times, want once"))
		}
	}
	if got["CourseCompleted "+course] != 1 {
		t.Errorf("the course was told %d times, want once", got["CourseCompleted "+course])
	}
}
