package story_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// mediaReady waits until a file can be shown.
func mediaReady(t testing.TB, teacher *person, course, mediaID string) {
	t.Helper()
	eventually(t, 3*soon, "the file is ready", func() (bool, string) {
		a, err := teacher.try(t.Context(), "GET", "/v1/courses/"+course+"/media/"+mediaID, nil)
		if err == nil && a.text("state") == "broken" {
			t.Fatalf("the file is broken: %s", a)
		}
		return err == nil && a.text("state") == "ready", a.String()
	})
}

// film is a video of half a minute, long enough to be killed in.
func film(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "film.mp4")
	out, err := exec.CommandContext(t.Context(), "ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=320x180:rate=15:duration=32", //nolint:gosec // a path of our own
		"-f", "lavfi", "-i", "sine=duration=32", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v: install it with deploy/install-servers.sh ffmpeg poppler libreoffice\n%s", err, out)
	}
	content, err := os.ReadFile(path) //nolint:gosec // the same
	if err != nil {
		t.Fatal(err)
	}
	return content
}

var segmentAddress = regexp.MustCompile(`(?m)^/v1/media/\S+\.m4s$`)

// videoIsShown uploads a video, kills the process that works on it, and shows
// it all the same: in one process, and in a process per service. Who loses what
// they had loses it at the next segment.
func videoIsShown(t *testing.T, in *installation) {
	t.Helper()
	teacher, helper, student := in.signUp(t, "Filming Teacher"), in.signUp(t, "Some Helper"), in.signUp(t, "Some Student")
	course, lessons := draft(t, teacher, "On Film")
	m := teacher.do(t, 201, "POST", "/v1/courses/"+course+"/media?filename=film.mp4", film(t))
	at := "/v1/courses/" + course + "/media/" + m.text("id")
	teacher.sees(t, time.Minute, "the video is being processed", at, func(a answer) bool { return a.text("state") == "processing" })
	worker := in.processes["stoa"]
	if worker == nil {
		worker = in.processes["media"]
	}
	worker.kill()
	worker.start()
	in.waitReady()
	mediaReady(t, teacher, course, m.text("id"))

	// A helper sees it, part by part.
	grant := teacher.do(t, 200, "POST", "/v1/courses/"+course+"/roles", map[string]any{"account_id": helper.account, "role": "teaching_assistant"})
	video := helper.sees(t, soon, "the helper sees it", at, func(a answer) bool { return a.status == 200 })
	nobody := in.nobody()
	master := nobody.do(t, 200, "GET", video.text("hls_url"), nil)
	if cache := master.header.Get("Cache-Control"); cache != "private, no-cache" {
		t.Errorf("a playlist is kept: %s", cache)
	}
	list := regexp.MustCompile(`(?m)^/v1/media/\S+$`).FindString(string(master.body))
	segments := segmentAddress.FindAllString(string(nobody.do(t, 200, "GET", list, nil).body), -1)
	if len(segments) != 8 {
		t.Fatalf("%d segments", len(segments))
	}
	whole := nobody.do(t, 200, "GET", segments[0], nil)
	if !strings.HasSuffix(whole.header.Get("Cache-Control"), ", immutable") || whole.header.Get("Content-Type") != "video/iso.segment" {
		t.Errorf("a segment comes with %v", whole.header)
	}
	etag := whole.header.Get("ETag")
	if a := nobody.do(t, 206, "GET", segments[0], nil, "Range", "bytes=4-7", "If-Range", etag); string(a.body) != string(whole.body[4:8]) {
		t.Errorf("a range is %q", a.body)
	}
	nobody.do(t, 200, "GET", segments[0], nil, "Range", "bytes=4-7", "If-Range", `"another"`)
	nobody.do(t, 304, "GET", segments[0], nil, "If-None-Match", etag)
	nobody.do(t, 416, "GET", segments[0], nil, "Range", "bytes=99999999-")
	if a := nobody.do(t, 200, http.MethodHead, segments[0], nil); len(a.body) != 0 {
		t.Errorf("HEAD comes with %d bytes", len(a.body))
	}
	teacher.do(t, 204, "DELETE", "/v1/courses/"+course+"/roles/"+grant.text("id"), nil)
	refused(t, "a segment", nobody, time.Now(), 403, segments[1])

	// A learner's file is theirs as long as the course is.
	data := teacher.do(t, 201, "POST", "/v1/courses/"+course+"/media?filename=data.csv", []byte("a,b\n1,2\n"))
	teacher.do(t, 200, "PATCH", "/v1/courses/"+course+"/lessons/"+lessons[1], map[string]any{
		"blocks": map[string]any{"items": []any{map[string]any{"file": map[string]any{"media_id": data.text("id")}}}},
	})
	teacher.do(t, 200, "PATCH", "/v1/courses/"+course, map[string]any{"promo_video_media_id": m.text("id")})
	publish(t, teacher, course, 4900)
	entitlement := teacher.do(t, 201, "POST", "/v1/courses/"+course+"/entitlements", map[string]any{"account_id": student.account, "reason": "A guest"})
	lesson := student.sees(t, soon, "the student reads", "/v1/courses/"+course+"/lessons/"+lessons[1], func(a answer) bool {
		return a.status == 200
	})
	file := lesson.text("blocks.0.file.url")
	if a := nobody.do(t, 200, "GET", file, nil); string(a.body) != "a,b\n1,2\n" {
		t.Errorf("the file is %q", a.body)
	}
	teacher.do(t, 200, "POST", "/v1/courses/"+course+"/entitlements/"+entitlement.text("id")+"/revoke", map[string]any{"reason": "The end"})
	refused(t, "a file", nobody, time.Now(), 403, file)

	// What invites to the course anybody watches, while it is in the marketplace.
	landing := nobody.sees(t, soon, "the course is there for anybody", "/v1/courses/"+course, func(a answer) bool { return a.status == 200 })
	promo := landing.text("promo_video.hls_url")
	master = nobody.sees(t, soon, "its video is for anybody", promo, func(a answer) bool { return a.status == 200 })
	list = regexp.MustCompile(`(?m)^/v1/media/\S+$`).FindString(string(master.body))
	segments = segmentAddress.FindAllString(string(nobody.do(t, 200, "GET", list, nil).body), -1)
	nobody.do(t, 200, "GET", segments[0], nil)
	nobody.do(t, 200, "GET", landing.text("promo_video.poster_url"), nil)
	teacher.do(t, 200, "POST", "/v1/courses/"+course+"/unpublish", nil)
	nobody.sees(t, soon, "its video is for anybody no more", segments[0], func(a answer) bool { return a.status == 403 })
}
