package courses_test

import (
	"context"
	"testing"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// TestPromoVideo: anybody gets addresses of the promotional video of what is
// published, and staff of that of the draft.
func TestPromoVideo(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	f.lesson(courseID, f.module(courseID, "m"), "l")
	first, second := f.media.add(courseID, "video/mp4"), f.media.add(courseID, "video/mp4")
	set := func(video string) {
		t.Helper()
		must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID, PromoVideoMediaId: &video}))
	}
	sees := func(who string, ctx context.Context, view, video string, viewer *mediapb.Viewer) {
		t.Helper()
		got := must(f.GetCourse(ctx, &coursespb.GetCourseRequest{CourseId: courseID, View: view}))
		same(t, who+" sees", f.media.told(courseID, video), got.GetPromoVideo())
		f.media.mu.Lock()
		defer f.media.mu.Unlock()
		same(t, who+" is told to media as", viewer, f.media.viewer)
	}
	own := &mediapb.Viewer{AccountId: f.teacherID}
	visitor := rpctest.Account(t.Context(), id.New("account"))
	set(first)
	sees("staff, of a draft", f.teacher, "", first, own)
	f.publish(courseID)
	set(second)
	sees("staff, of a draft that differs", f.teacher, "", second, own)
	sees("staff, of what is published", f.teacher, "published", first, own)
	sees("a visitor who is signed in", visitor, "", first, &mediapb.Viewer{Landing: true})
	sees("a visitor", t.Context(), "", first, &mediapb.Viewer{Landing: true})
	f.publish(courseID)
	sees("a visitor", t.Context(), "", second, &mediapb.Viewer{Landing: true})

	set("")
	f.publish(courseID)
	asked := f.media.asked()
	if got := must(f.GetCourse(t.Context(), &coursespb.GetCourseRequest{CourseId: courseID})); got.GetPromoVideo() != nil || f.media.asked() != asked {
		t.Errorf("without a video: %v", got.GetPromoVideo())
	}
}
