package media

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"
)

// Bounds of a video or a sound.
const (
	maxStreams  = 32
	maxFileTime = 12 * time.Hour
	maxVideo    = 8192 // pixels a side
)

// demuxers are the readers of ffmpeg by sniffed type. Each file is read by the one
// of its type alone: those that read lists of other files, whatever they are
// called, are never asked.
var demuxers = map[string]string{
	"video/mp4": "mov", "video/quicktime": "mov", "audio/mp4": "mov", "video/3gpp": "mov", "video/3gpp2": "mov",
	"video/webm": "matroska", "video/x-matroska": "matroska",
	"video/avi": "avi", "application/ogg": "ogg", "audio/ogg": "ogg", "video/ogg": "ogg",
	"video/mpeg": "mpeg", "video/mp2t": "mpegts", "video/x-ms-asf": "asf", "video/x-flv": "flv",
	"audio/mpeg": "mp3", "audio/flac": "flac", "audio/wave": "wav", "audio/aiff": "aiff", "audio/aac": "aac", "audio/amr": "amr",
}

// guessed are those whose files do not say how long they are: what ffprobe says of
// them it concludes from the rate of their beginning.
var guessed = map[string]bool{"mp3": true, "aac": true, "amr": true}

// input is how every run of ffmpeg and ffprobe reads a file.
func input(contentType string) ([]string, error) {
	t, _, _ := strings.Cut(contentType, ";")
	demuxer, ok := demuxers[t]
	if !ok {
		return nil, problemError(problemVideo)
	}
	return []string{"-protocol_whitelist", "file,pipe", "-f", demuxer, "-i", "in"}, nil
}

// probed is what ffprobe says of a file.
type probed struct {
	width, height int
	video, audio  bool
	duration      time.Duration // as it says
}

// probe looks at a file without decoding it.
func probe(ctx context.Context, j *job, contentType string) (*probed, error) {
	in, err := input(contentType)
	if err != nil {
		return nil, err
	}
	l := defaultLimits
	l.time, l.cpu, l.stdout, l.file = time.Minute, 30*time.Second, 1<<20, 1<<20
	const entries = "format=duration:stream=codec_type,width,height:stream_disposition=attached_pic:stream_side_data=rotation:stream_tags=rotate"
	out, err := j.run(ctx, l, "ffprobe", append([]string{"-v", "error", "-of", "json", "-show_entries", entries}, in...)...)
	if refused(err) {
		return nil, problemError(problemVideo)
	}
	if err != nil {
		return nil, err
	}
	return readProbe(out)
}

// readProbe reads what ffprobe says, and refuses what can't be.
func readProbe(out []byte) (*probed, error) {
	var said struct {
		Streams []struct {
			Type        string `json:"codec_type"`
			Width       int
			Height      int
			Disposition struct {
				Attached int `json:"attached_pic"`
			}
			Tags     struct{ Rotate string }
			SideData []struct{ Rotation float64 } `json:"side_data_list"`
		}
		Format struct{ Duration string }
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return nil, problemError(problemVideo)
	}
	if len(said.Streams) > maxStreams {
		return nil, problemError(problemStreams)
	}
	p := &probed{}
	for _, st := range said.Streams {
		switch {
		case st.Type == "audio":
			p.audio = true
		case st.Type == "video" && !p.video && st.Disposition.Attached == 0:
			p.video, p.width, p.height = true, st.Width, st.Height
			turned := st.Tags.Rotate == "90" || st.Tags.Rotate == "270"
			for _, d := range st.SideData {
				turned = turned || int(d.Rotation)%180 != 0
			}
			if turned {
				p.width, p.height = p.height, p.width
			}
		}
	}
	if !p.video && !p.audio {
		return nil, problemError(problemVideo)
	}
	if p.video && (p.width < 16 || p.height < 16 || p.width > maxVideo || p.height > maxVideo) {
		return nil, problemError(problemSize)
	}
	p.duration = seconds(said.Format.Duration)
	switch {
	case p.duration > maxFileTime:
		// Whether it is or says so only is found out by measuring, which is cheap.
		return p, nil
	case p.duration <= 0 && said.Format.Duration != "":
		return nil, problemError(problemNoTime)
	}
	return p, nil
}

// seconds reads a number of seconds; 0 for what is none.
func seconds(text string) time.Duration {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != f || f < 0 || f > 1e9 {
		return 0
	}
	return time.Duration(f * float64(time.Second))
}

// measure returns how long a file is by what is in it, and refuses one that says
// something else: it would be shown as long as it says, and worked on.
func measure(ctx context.Context, j *job, contentType string, p *probed) (time.Duration, error) {
	in, err := input(contentType)
	if err != nil {
		return 0, err
	}
	stream := "0:a:0"
	if p.video {
		stream = "0:V:0"
	}
	l := defaultLimits
	l.time, l.cpu = 10*time.Minute, 5*time.Minute
	m := &meter{}
	args := append([]string{"-nostdin", "-v", "error", "-progress", "pipe:1"}, in...)
	err = j.stream(ctx, l, m.read, "ffmpeg", append(args, "-map", stream, "-c", "copy", "-f", "null", "-")...)
	if refused(err) {
		return 0, problemError(problemVideo)
	}
	if err != nil {
		return 0, err
	}
	said := p.duration
	if guessed[in[3]] {
		said = 0
	}
	slack := max(2*time.Second, said/10)
	switch {
	case m.frames == 0 && p.video, m.out <= 0:
		return 0, problemError(problemNoTime)
	case said > 0 && (said-m.out > slack || m.out-said > slack):
		return 0, problemError(problemLies)
	case p.video && m.out > time.Minute && time.Duration(m.frames)*20*time.Second < m.out:
		return 0, problemError(problemLies) // a picture in twenty seconds is no video
	case m.out > maxFileTime:
		return 0, problemError(problemLong)
	}
	return m.out, nil
}

// meter reads what ffmpeg says of its progress.
type meter struct {
	frames int64
	out    time.Duration
	moved  func(out time.Duration) // nil for nobody
}

func (m *meter) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), "=")
		switch key {
		case "frame":
			m.frames, _ = strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		case "out_time_us":
			if us, err := strconv.ParseInt(value, 10, 64); err == nil && us > 0 {
				m.out = time.Duration(us) * time.Microsecond
				if m.moved != nil {
					m.moved(m.out)
				}
			}
		}
	}
	return lines.Err()
}
