package learning

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// TestGradesAndResultsAreKeptApart: what was handed in and what is posted come from two
// services, each with versions of its own, in any order.
func TestGradesAndResultsAreKeptApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, ana, quiz := id.New("course"), id.New("account"), id.New("activity")
	hear(w, w.service.coursePublished, edition(course, 1, required(quiz, "", &need{Kind: "submitted"}, &need{Kind: "scored", MinPercent: "60"})))
	hear(w, w.service.enrollmentStarted, enrolled(course, ana, 0))
	kept := func() [3]string {
		var out [3]string
		if err := w.db.QueryRow(context.Background(), `
			SELECT coalesce(submitted_at::date::text, ''), coalesce(trim_scale(percent)::text, ''), passed::text FROM item_result
			WHERE course_id = $1 AND account_id = $2 AND item_id = $3`, course, ana, quiz).Scan(&out[0], &out[1], &out[2]); err != nil {
			t.Fatal(err)
		}
		return out
	}
	grade := func(version int64, percent string, passed bool) {
		hear(w, w.service.gradePosted, &gradespb.GradePosted{CourseId: course, ItemId: quiz, AccountId: ana, Percent: percent, Passed: passed, Version: version})
	}
	handed := func(version int64) {
		hear(w, w.service.activityResultChanged, &assessmentpb.ActivityResultChanged{CourseId: course, ItemId: quiz, AccountId: ana, SubmittedAt: timestamppb.New(may), Version: version})
	}
	for _, step := range []struct {
		name string
		do   func()
		want [3]string
	}{
		{"a grade before it is known that something was handed in", func() { grade(2, "59.9999", true) }, [3]string{"", "59.9999", "true"}},
		{"an old one", func() { grade(1, "10", false) }, [3]string{"", "59.9999", "true"}},
		{"handed in", func() { handed(1) }, [3]string{"2026-05-01", "59.9999", "true"}},
		{"handed in, of a higher version", func() { handed(9) }, [3]string{"2026-05-01", "59.9999", "true"}},
		{"hidden again", func() { grade(3, "", false) }, [3]string{"2026-05-01", "", "false"}},
		{"below nothing", func() { grade(4, "-12.5", false) }, [3]string{"2026-05-01", "-12.5", "false"}},
		{"enough", func() { grade(5, "60", false) }, [3]string{"2026-05-01", "60", "false"}},
	} {
		step.do()
		if diff := cmp.Diff(step.want, kept()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
	if got := w.completions(); len(got) != 1 || got[0].GetAccountId() != ana {
		t.Errorf("%v, want that the course is completed", got)
	}
}

// TestCompletionNeedsThePassMark: a course that asks for its pass mark is completed when
// that is reached and all is done, whichever comes first, once; and when a later version
// no longer asks.
func TestCompletionNeedsThePassMark(t *testing.T) {
	t.Parallel()
	grade := func(w *world, course, account, percent string, passed bool, version int64) {
		hear(w, w.service.courseGradeChanged, &gradespb.CourseGradeChanged{CourseId: course, AccountId: account, Percent: percent, Passed: passed, Version: version})
	}
	passing := func(course string, sequence int64, pass bool, items ...*coursespb.PublishedItem) *coursespb.CoursePublished {
		e := edition(course, sequence, items...)
		e.Grading = &coursespb.GradingPolicy{Method: "points", PassMark: "50", Completion: &coursespb.CourseCompletion{Kind: "all", Pass: pass}}
		return e
	}
	w := newWorld(t, rpctest.Everything)
	course, lesson := id.New("course"), id.New("lesson")
	hear(w, w.service.coursePublished, passing(course, 1, true, required(lesson, "", &need{Kind: "viewed"})))
	people := newIDs("account", 5)
	for _, p := range people {
		hear(w, w.service.enrollmentStarted, enrolled(course, p, 0))
	}
	done := func() map[string]int {
		out := map[string]int{}
		for _, e := range w.completions() {
			out[e.GetAccountId()]++
		}
		return out
	}
	w.view(people[0], course, lesson) // all done, then passed
	w.view(people[1], course, lesson) // all done, not passed
	grade(w, course, people[2], "80", true, 1)
	w.view(people[2], course, lesson) // passed, then all done
	grade(w, course, people[3], "80", true, 1)
	w.view(people[4], course, lesson) // passed, and not any more before all was done
	if diff := cmp.Diff(map[string]int{people[2]: 1}, done()); diff != "" {
		t.Errorf("before (-want +got):\n%s", diff)
	}
	grade(w, course, people[0], "50", true, 2)
	grade(w, course, people[0], "49", false, 1) // late
	grade(w, course, people[0], "50", true, 2)  // twice
	grade(w, course, people[1], "49.9", false, 1)
	grade(w, course, people[4], "30", false, 2)
	grade(w, course, people[4], "80", true, 1) // late
	want := map[string]int{people[0]: 1, people[2]: 1}
	if diff := cmp.Diff(want, done()); diff != "" {
		t.Errorf("by the pass mark (-want +got):\n%s", diff)
	}
	// What was completed stays, whatever becomes of the grade.
	grade(w, course, people[0], "10", false, 3)
	hear(w, w.service.coursePublished, passing(course, 2, false, required(lesson, "", &need{Kind: "viewed"})))
	want[people[1]], want[people[4]] = 1, 1
	if diff := cmp.Diff(want, done()); diff != "" {
		t.Errorf("no longer asked (-want +got):\n%s", diff)
	}
}
