package notify

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
	"github.com/stoa-lms/stoa/internal/service/notify/notifypb"
)

func TestGradePosted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ana, ben := w.person("Ana", "en"), w.person("Ben", "de")
	course := w.course(w.person("Zeno", "en"), "Stoicism")
	item := id.New("activity")
	e := func(account, percent string, version int64, at time.Time) *gradespb.GradePosted {
		return &gradespb.GradePosted{
			CourseId: course, ItemId: item, AccountId: account, Percent: percent, Passed: true, Version: version, ChangedAt: timestamppb.New(at), Title: "Quiz 1",
		}
	}
	// Hidden ones are told to nobody.
	hear(w, w.service.gradePosted, e(ana, "", 2, may), e(ben, "", 1, may))
	for _, account := range []string{ana, ben} {
		for _, n := range w.told(account) {
			if n.GetKind() == "grade_posted" {
				t.Errorf("told of a grade that is not posted: %v", n)
			}
		}
	}
	// However often it changes in a day.
	hear(w, w.service.gradePosted, e(ana, "50", 3, may), e(ana, "50", 3, may), e(ana, "60", 4, may.Add(time.Minute)), e(ben, "50", 2, may))
	count := func(account string) (out []*notifypb.Notification) {
		for _, n := range w.told(account) {
			if n.GetKind() == "grade_posted" {
				out = append(out, n)
			}
		}
		return out
	}
	want := []*notifypb.Notification{{
		Kind: "grade_posted", Title: "A grade is posted in Stoicism", Body: "See it in your grades: Quiz 1.", CourseId: course, CreatedAt: timestamppb.New(may),
	}}
	if diff := cmp.Diff(want, count(ana), protocmp.Transform(), withoutID); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := count(ben); len(got) != 1 || got[0].GetTitle() != "In Stoicism gibt es eine neue Note" {
		t.Errorf("%v", got)
	}
	hear(w, w.service.gradePosted, e(ana, "70", 5, may.Add(48*time.Hour)))
	if got := count(ana); len(got) != 2 {
		t.Errorf("%d, want another one on another day", len(got))
	}
}
