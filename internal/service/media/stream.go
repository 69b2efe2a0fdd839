package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/stoa-lms/stoa/internal/webvtt"
)

// rung is a rendition of a video.
type rung struct{ height, kbit int }

// ladder is what is made of a video as far as it is that high, the four highest.
var ladder = []rung{{144, 200}, {240, 400}, {360, 800}, {480, 1400}, {720, 2800}, {1080, 5000}}

const (
	segmentTime  = 4 // seconds
	thumbs       = 100
	thumbWidth   = 160
	thumbColumns = 10
	peaks        = 1000
	peakRate     = 8000
)

// rungs returns the renditions of a video of a height: at its own, or at most
// 1080, and those well below.
func rungs(height int) []rung {
	top := min(height, ladder[len(ladder)-1].height) &^ 1
	var list []rung
	rate := ladder[0].kbit
	for _, r := range ladder {
		if r.height <= top {
			rate = r.kbit
		}
		if r.height*10 <= top*9 {
			list = append(list, r)
		}
	}
	list = append(list, rung{top, rate})
	return list[max(0, len(list)-4):]
}

// makeStream makes of a video an HLS presentation with a poster and a sheet of
// thumbnails, of a sound one with its peaks and a file to play at once.
func makeStream(ctx context.Context, j *job, contentType string, progress func(float64)) (*result, error) {
	p, err := probe(ctx, j, contentType)
	if err != nil {
		return nil, err
	}
	length, err := measure(ctx, j, contentType, p)
	if err != nil {
		return nil, err
	}
	in, err := input(contentType)
	if err != nil {
		return nil, err
	}
	res := &result{kind: kindAudio, duration: length}
	args := hlsAudio(in)
	if p.video {
		res.kind, res.width, res.height = kindVideo, p.width, p.height
		args = hlsVideo(in, p)
	}
	// All renditions of all the video, on all processors, with room for slow ones.
	l := defaultLimits
	l.time = max(10*time.Minute, 30*length)
	l.cpu = l.time * time.Duration(runtime.NumCPU())
	l.output = 4<<30 + int64(length.Seconds())*2<<20
	m := &meter{moved: func(out time.Duration) { progress(0.95 * out.Seconds() / length.Seconds()) }}
	if err := j.stream(ctx, l, m.read, "ffmpeg", args...); err != nil {
		return nil, unreadable(err)
	}
	if res.parts, err = segments(j); err != nil {
		return nil, err
	}
	if p.video {
		more, err := pictures(ctx, j, in, p, length)
		res.parts = append(res.parts, more...)
		return res, err
	}
	wave, err := waveform(ctx, j, in, length)
	if err != nil {
		return nil, err
	}
	res.parts = append(res.parts, wave, part{variant: variant{Name: "audio.m4a", ContentType: "audio/mp4"}, path: j.path("audio.m4a")})
	return res, nil
}

func unreadable(err error) error {
	if refused(err) {
		return problemError(problemVideo)
	}
	return err
}

// quiet is how every run of ffmpeg begins and what it drops: everything that the
// camera wrote beside the pictures.
var (
	quiet = []string{"-nostdin", "-v", "error", "-progress", "pipe:1"}
	plain = []string{"-map_metadata", "-1", "-map_chapters", "-1", "-sn", "-dn"}
)

// hlsVideo are the arguments that make all renditions at once, with pictures that
// begin at the same times in each.
func hlsVideo(in []string, p *probed) []string {
	list := rungs(p.height)
	var split, scale, streams strings.Builder
	fmt.Fprintf(&split, "[0:V:0]fps=fps='min(source_fps,60)',split=%d", len(list))
	args := append(append(append([]string{}, quiet...), in...), plain...)
	maps := []string{}
	for i, r := range list {
		fmt.Fprintf(&split, "[s%d]", i)
		fmt.Fprintf(&scale, ";[s%d]scale=-2:%d,setsar=1[v%d]", i, r.height, i)
		maps = append(maps, "-map", fmt.Sprintf("[v%d]", i),
			fmt.Sprintf("-b:v:%d", i), fmt.Sprintf("%dk", r.kbit), fmt.Sprintf("-maxrate:v:%d", i), fmt.Sprintf("%dk", r.kbit*107/100),
			fmt.Sprintf("-bufsize:v:%d", i), fmt.Sprintf("%dk", r.kbit*3/2))
		fmt.Fprintf(&streams, "v:%d,name:%dp", i, r.height)
		if p.audio {
			streams.WriteString(",agroup:sound")
		}
		streams.WriteString(" ")
	}
	args = append(args, "-filter_complex", split.String()+scale.String())
	args = append(args, maps...)
	args = append(args, "-c:v", "libx264", "-preset", "veryfast", "-profile:v", "high", "-pix_fmt", "yuv420p", "-sc_threshold", "0",
		"-force_key_frames", fmt.Sprintf("expr:gte(t,n_forced*%d)", segmentTime))
	if p.audio {
		args = append(args, "-map", "0:a:0", "-c:a", "aac", "-b:a", "128k", "-ac", "2", "-ar", "48000")
		streams.WriteString("a:0,name:sound,agroup:sound,default:yes")
	}
	return append(args, hls(strings.TrimSpace(streams.String()))...)
}

// hlsAudio are the arguments that make a stream and a file of a sound.
func hlsAudio(in []string) []string {
	aac := []string{"-map", "0:a:0", "-c:a", "aac", "-b:a", "128k", "-ac", "2", "-ar", "48000"}
	args := append(append(append(append([]string{}, quiet...), in...), plain...), aac...)
	args = append(args, hls("a:0,name:sound")...)
	args = append(args, plain...)
	return append(append(args, aac...), "-movflags", "+faststart", "audio.m4a")
}

func hls(streams string) []string {
	return []string{
		"-f", "hls", "-hls_time", fmt.Sprint(segmentTime), "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4",
		"-hls_flags", "independent_segments", "-hls_fmp4_init_filename", "init.mp4", "-master_pl_name", "master.m3u8",
		"-var_stream_map", streams, "-hls_segment_filename", "hls/%v/%05d.m4s", "hls/%v/index.m3u8",
	}
}

// typesOfParts are the types of what ffmpeg writes.
var typesOfParts = map[string]string{
	".m3u8": playlistType, ".m4s": "video/iso.segment", ".mp4": "video/mp4", ".jpg": "image/jpeg",
}

const playlistType = "application/vnd.apple.mpegurl"

// maxParts bounds how many segments there are: twelve hours have some 50,000.
const maxParts = 100_000

// segments returns what was written below hls.
func segments(j *job) ([]part, error) {
	var list []part
	err := filepath.WalkDir(j.path("hls"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(j.dir, path)
		if err != nil {
			return err
		}
		t, ok := typesOfParts[filepath.Ext(path)]
		if !ok || !d.Type().IsRegular() || len(list) == maxParts {
			return fmt.Errorf("media: ffmpeg has written %s", name)
		}
		list = append(list, part{variant: variant{Name: filepath.ToSlash(name), ContentType: t}, path: path})
		return nil
	})
	return list, err
}

// pictures makes the poster and the sheet of thumbnails.
func pictures(ctx context.Context, j *job, in []string, p *probed, length time.Duration) ([]part, error) {
	l := defaultLimits
	l.time = max(5*time.Minute, 10*length)
	l.cpu = l.time
	at := min(length/10, 10*time.Second)
	w, h := p.width, p.height
	if w > 1280 {
		w, h = 1280, max(2, p.height*1280/p.width)
	}
	// Where nothing can be found by its time, as in a stream with one whole picture, the
	// first picture is shown.
	for _, from := range [][]string{{"-ss", fmt.Sprintf("%.3f", at.Seconds())}, nil} {
		poster := append(append(append([]string{"-nostdin", "-v", "error"}, from...), in...), plain...)
		poster = append(poster, "-map", "0:V:0", "-an", "-frames:v", "1", "-vf", fmt.Sprintf("scale=%d:%d,setsar=1", w, h), "-q:v", "4", "-f", "image2", "-update", "1", "poster.jpg")
		if _, err := j.run(ctx, l, "ffmpeg", poster...); err != nil {
			return nil, unreadable(err)
		}
		if _, err := os.Stat(j.path("poster.jpg")); err == nil {
			break
		}
	}
	every := max(time.Second, (length+thumbs-1)/thumbs)
	n := int((length + every - 1) / every)
	th := max(2, p.height*thumbWidth/p.width) &^ 1
	columns := min(n, thumbColumns)
	sheet := append(append([]string{"-nostdin", "-v", "error"}, in...), plain...)
	sheet = append(sheet, "-map", "0:V:0", "-an", "-frames:v", "1", "-vf",
		fmt.Sprintf("fps=1/%.3f:round=up,scale=%d:%d,setsar=1,tile=%dx%d", every.Seconds(), thumbWidth, th, columns, (n+columns-1)/columns),
		"-q:v", "5", "-f", "image2", "-update", "1", "thumbnails.jpg")
	if _, err := j.run(ctx, l, "ffmpeg", sheet...); err != nil {
		return nil, unreadable(err)
	}
	list := []part{
		{variant: variant{Name: "poster.jpg", ContentType: "image/jpeg", Width: w, Height: h}, path: j.path("poster.jpg")},
		{variant: variant{Name: "thumbnails.jpg", ContentType: "image/jpeg"}, path: j.path("thumbnails.jpg")},
		{variant: variant{Name: "thumbnails.vtt", ContentType: vttType}, content: thumbnails(length, every, n, columns, th)},
	}
	for _, p := range list[:2] {
		if _, err := os.Stat(p.path); err != nil {
			return nil, problemError(problemVideo) // nothing in it can be decoded
		}
	}
	return list, nil
}

// thumbnails says where on the sheet the picture of each time is.
func thumbnails(length, every time.Duration, n, columns, height int) []byte {
	var b bytes.Buffer
	b.WriteString("WEBVTT\n")
	for i := range n {
		from := time.Duration(i) * every
		fmt.Fprintf(&b, "\n%s --> %s\nthumbnails.jpg#xywh=%d,%d,%d,%d\n", webvtt.Time(from), webvtt.Time(min(from+every, length)),
			i%columns*thumbWidth, i/columns*height, thumbWidth, height)
	}
	return b.Bytes()
}

// waveform makes the peaks of a sound.
func waveform(ctx context.Context, j *job, in []string, length time.Duration) (part, error) {
	l := defaultLimits
	l.time = max(5*time.Minute, length)
	l.cpu = l.time
	samples := max(peaks, int64(length.Seconds()*peakRate))
	list := make([]float64, peaks)
	var n int64
	read := func(r io.Reader) error {
		buf := make([]byte, 64<<10)
		for {
			k, err := io.ReadFull(r, buf)
			for i := 0; i+1 < k; i += 2 {
				v := math.Abs(float64(int16(binary.LittleEndian.Uint16(buf[i:])))) / 32768 //nolint:gosec // it is signed
				at := min(peaks-1, n*peaks/samples)
				list[at] = max(list[at], math.Round(v*1000)/1000)
				n++
			}
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
	args := append(append([]string{"-nostdin", "-v", "error"}, in...), plain...)
	if err := j.stream(ctx, l, read, "ffmpeg", append(args, "-map", "0:a:0", "-ac", "1", "-ar", fmt.Sprint(peakRate), "-f", "s16le", "pipe:1")...); err != nil {
		return part{}, unreadable(err)
	}
	text, err := json.Marshal(map[string]any{"peaks": list})
	return part{variant: variant{Name: "waveform.json", ContentType: "application/json"}, content: text}, err
}
