package media

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// BenchmarkTranscode compares a video that is made within limits, as a task has it,
// with plain ffmpeg and the same arguments.
func BenchmarkTranscode(b *testing.B) {
	source := b.TempDir() + "/in.mp4"
	if out, err := exec.CommandContext(b.Context(), "ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=640x360:rate=25:duration=10", //nolint:gosec // a path of our own
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", source).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	content, err := os.ReadFile(source) //nolint:gosec // the same
	if err != nil {
		b.Fatal(err)
	}
	folder := func() *job {
		j, err := newJob(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(j.path("in"), content, 0o600); err != nil { //nolint:gosec // the same
			b.Fatal(err)
		}
		return j
	}
	in, err := input("video/mp4")
	if err != nil {
		b.Fatal(err)
	}
	args := hlsVideo(in, &probed{width: 640, height: 360, video: true})
	var plain, ours, all time.Duration
	for b.Loop() {
		j := folder()
		at := time.Now()
		cmd := exec.CommandContext(b.Context(), "ffmpeg", args...) //nolint:gosec // our own arguments
		cmd.Dir = j.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, strings.TrimSpace(string(out)))
		}
		plain += time.Since(at)
		j, at = folder(), time.Now()
		if _, err := j.run(b.Context(), defaultLimits, "ffmpeg", args...); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(at)
		j, at = folder(), time.Now()
		if _, err := makeStream(b.Context(), j, "video/mp4", func(float64) {}); err != nil {
			b.Fatal(err)
		}
		all += time.Since(at)
	}
	b.ReportMetric(plain.Seconds()/ours.Seconds(), "of-plain")
	b.ReportMetric(plain.Seconds()/all.Seconds(), "of-plain-with-all-else")
}
