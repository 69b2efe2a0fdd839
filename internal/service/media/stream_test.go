package media_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"image/color"
	"image/jpeg"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/media"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

var addresses = regexp.MustCompile(`(?m)^/v1/media/\S+$|URI="([^"]+)"`)

// refs returns the addresses in a playlist.
func refs(playlist []byte) []string {
	var list []string
	for _, m := range addresses.FindAllStringSubmatch(string(playlist), -1) {
		if m[1] != "" {
			list = append(list, m[1])
		} else {
			list = append(list, m[0])
		}
	}
	return list
}

func TestVideo(t *testing.T) {
	t.Parallel()
	f := works(t, nil)
	reader, other := id.New("account"), id.New("account")
	f.readers.Store(reader+"lesson.read", true)
	m := f.mustUpload("film.mp4", film(t, "9"))
	caption := func(language, content string) error {
		_, err := f.processing.PutCaption(f.teacher, &mediapb.PutCaptionRequest{CourseId: f.course, MediaId: m.GetId(), Language: language, Content: content, Main: true})
		return err
	}
	if err := caption("de", "WEBVTT\n\n00:01.000 --> 00:02.000\nHallo\n"); err != nil {
		t.Fatal(err)
	}
	if err := caption("pt-br", "1\r\n00:00:01,000 --> 00:00:02,000\r\nOlá <b>x</b><script>\r\n"); err != nil {
		t.Fatal(err)
	}
	code(t, caption("en", "nothing"), fault.New(fault.Invalid, "caption.malformed", ""))
	m = f.settled(m)
	if m.GetState() != "ready" || m.GetKind() != "video" || m.GetWidth() != 320 || m.GetHeight() != 180 || m.GetDurationMs() < 8900 || m.GetDurationMs() > 9200 {
		t.Fatalf("%v", m)
	}
	seen := f.seenBy(reader, m)
	if seen.GetUrl() != "" {
		t.Error("a reader gets the original")
	}
	master := f.bytesOf(seen.GetHlsUrl())
	for _, want := range []string{"RESOLUTION=320x180", "RESOLUTION=256x144", `LANGUAGE="pt-BR"`, `LANGUAGE="de",AUTOSELECT=YES,DEFAULT=NO`, `SUBTITLES="captions"`, `NAME="Deutsch"`} {
		if !bytes.Contains(master, []byte(want)) {
			t.Errorf("the master playlist lacks %s:\n%s", want, master)
		}
	}
	var segment string
	begins := map[string]bool{}
	tracks := 0
	for _, address := range refs(master) {
		if strings.Contains(address, "/captions/") {
			tracks++
			text := f.bytesOf(refs(f.bytesOf(address))[0])
			if !bytes.HasPrefix(text, []byte("WEBVTT\n")) || bytes.Contains(text, []byte("<script")) {
				t.Errorf("captions:\n%s", text)
			}
			continue
		}
		list := f.bytesOf(address)
		parts := refs(list)
		if !bytes.Contains(list, []byte("#EXT-X-ENDLIST")) || len(parts) != 4 { // what it begins with, and three
			t.Errorf("playlist:\n%s", list)
		}
		for _, p := range parts {
			if got := f.bytesOf(p); bytes.Contains(got, []byte("SECRETPLACE")) || len(got) == 0 {
				t.Errorf("%s has what the camera wrote, or nothing", p)
			}
		}
		if !strings.Contains(address, "sound") {
			segment = parts[2]
			begins[strings.Join(regexp.MustCompile(`#EXTINF:[\d.]+`).FindAllString(string(list), -1), " ")] = true
		}
	}
	if tracks != 2 || len(begins) != 1 {
		t.Errorf("%d tracks, segments begin at %v", tracks, begins)
	}
	if _, err := jpeg.Decode(bytes.NewReader(f.bytesOf(seen.GetPosterUrl()))); err != nil {
		t.Error(err)
	}
	thumbs := f.bytesOf(seen.GetThumbnailsUrl())
	sheet := regexp.MustCompile(`/v1/media/[^#\s]+`).FindString(string(thumbs))
	if p, err := jpeg.Decode(bytes.NewReader(f.bytesOf(sheet))); err != nil || p.Bounds().Dx() < 9*160 || bytes.Count(thumbs, []byte("#xywh=")) < 9 {
		t.Errorf("%v\n%s", err, thumbs)
	}
	// A part of a part, and what says that it is the same.
	p, rest, err := f.part(segment, 100)
	if err != nil || int64(len(rest)) != p.GetSize()-100 || !p.GetImmutable() || p.GetEtag() == "" {
		t.Errorf("%v %v", p, err)
	}
	// Another part by the same token, another's item, a token that is no token.
	for name, forged := range map[string]string{
		"another part":    strings.Replace(segment, ".m4s", ".mp4", 1),
		"another segment": strings.Replace(segment, "00001.m4s", "00000.m4s", 1),
		"out of it":       strings.Replace(segment, "hls/", "../hls/", 1),
		"none":            regexp.MustCompile(`/parts/[^/]+/`).ReplaceAllString(segment, "/parts/x/"),
		"another file":    strings.Replace(segment, m.GetId(), id.New("media"), 1),
	} {
		if forged == segment {
			t.Errorf("%s is nothing else", name)
		}
		_, err := f.content(forged)
		if !errors.Is(err, media.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Whoever has lost access has lost it at the next segment, whatever they hold.
	f.readers.Delete(reader + "lesson.read")
	_, err = f.content(segment)
	code(t, err, media.ErrLinkExpired)
	_, err = f.content(f.seenBy(other, m).GetHlsUrl())
	code(t, err, media.ErrLinkExpired)
	f.readers.Store(reader+"lesson.read", true)
	f.bytesOf(segment)
	// What is open to everybody is open to nobody in particular, for a time.
	open, err := f.service.BatchGetMedia(t.Context(), &mediapb.BatchGetMediaRequest{
		CourseId: f.course, MediaIds: []string{m.GetId()}, Viewer: &mediapb.Viewer{ItemId: lesson, Open: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.bytesOf(open.GetItems()[0].GetHlsUrl())
	f.clock.Add(40 * 60)
	for _, address := range []string{open.GetItems()[0].GetHlsUrl(), segment} {
		_, err = f.content(address)
		code(t, err, media.ErrLinkExpired)
	}
	// Nothing is left over, and what is made of a file that is gone goes too.
	if n := f.count(`SELECT count(*) FROM upload`); n != 0 {
		t.Errorf("%d objects are of nothing", n)
	}
	if _, err := f.db.Exec(t.Context(), `DELETE FROM media WHERE id = $1`, m.GetId()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := f.count(`SELECT count(*) FROM variant`) + f.count(`SELECT count(*) FROM caption`); n != 0 || f.objects() != 1 {
		t.Errorf("%d rows and %d objects are left", n, f.objects())
	}
}

func TestSound(t *testing.T) {
	t.Parallel()
	f := works(t, nil)
	sound := ffmpeg(t, "a.mp3", "-f", "lavfi", "-i", "sine=duration=2", "-metadata", "title=SECRETPLACE")
	m := f.settled(f.mustUpload("a.mp3", sound))
	if m.GetState() != "ready" || m.GetKind() != "audio" || m.GetDurationMs() < 1900 || m.GetDurationMs() > 2200 {
		t.Fatalf("%v", m)
	}
	f.readers.Store(f.account+"lesson.read", true)
	seen := f.seenBy(f.account, m)
	var wave struct{ Peaks []float64 }
	if err := json.Unmarshal(f.bytesOf(seen.GetWaveformUrl()), &wave); err != nil || len(wave.Peaks) != 1000 || wave.Peaks[500] < 0.05 || wave.Peaks[500] > 1 {
		t.Errorf("%v %v", err, wave.Peaks)
	}
	if got := f.bytesOf(seen.GetUrl()); !bytes.Contains(got[:12], []byte("ftyp")) || bytes.Contains(got, []byte("SECRET")) {
		t.Error("no sound, or what is written in it")
	}
	f.bytesOf(seen.GetHlsUrl())
}

// TestTools is alone: it changes where programs are found.
func TestTools(t *testing.T) {
	video := film(t, "1")
	path := os.Getenv("PATH")
	program, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("missing", func(t *testing.T) {
		f := works(t, nil)
		f.Hurry()
		t.Setenv("PATH", t.TempDir())
		m := f.until(f.mustUpload("a.mp4", video), "waiting media.tool_missing")
		if m.GetUrl() != "" || len(media.MissingTools()) != 6 {
			t.Errorf("%v", m)
		}
		t.Setenv("PATH", path)
		if m := f.settled(m); m.GetState() != "ready" {
			t.Errorf("%v", m)
		}
	})
	script := func(t *testing.T, text string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "ffmpeg"), []byte("#!/bin/sh\n"+strings.ReplaceAll(text, "MARK", filepath.Join(dir, "mark"))+"\nexec "+program+` "$@"`+"\n"), 0o700); err != nil { //nolint:gosec // it is run
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+":"+path)
	}
	t.Run("dies once", func(t *testing.T) {
		f := works(t, nil)
		f.Hurry()
		script(t, `[ -e MARK ] || { touch MARK; exit 137; }`)
		if m := f.settled(f.mustUpload("a.mp4", video)); m.GetState() != "ready" {
			t.Errorf("%v", m)
		}
		if n := f.count(`SELECT count(*) FROM outbox WHERE name = 'stoa.media.v1.MediaChanged'`); n != 4 { // worked on, waits, worked on, ready
			t.Errorf("%d events", n)
		}
	})
	t.Run("dies always", func(t *testing.T) {
		f := works(t, nil)
		f.Hurry()
		script(t, `exit 137; :`)
		m := f.settled(f.mustUpload("a.mp4", video))
		if m.GetState() != "broken" || m.GetProblem() != "media.too_complex" {
			t.Errorf("%v", m)
		}
		t.Setenv("PATH", path)
		retry := func() error {
			_, err := f.processing.RetryMedia(f.teacher, &mediapb.RetryMediaRequest{CourseId: f.course, MediaId: m.GetId()})
			return err
		}
		if err := retry(); err != nil {
			t.Fatal(err)
		}
		if m := f.settled(m); m.GetState() != "ready" {
			t.Errorf("tried again: %v", m)
		}
		code(t, retry(), media.ErrNotRetryable)
	})
	t.Run("gone meanwhile", func(t *testing.T) {
		f := works(t, nil)
		script(t, `[ -e MARK ] || { touch MARK; sleep 600; }`)
		m := f.until(f.mustUpload("a.mp4", video), "processing")
		if _, err := f.db.Exec(t.Context(), `DELETE FROM media WHERE id = $1`, m.GetId()); err != nil {
			t.Fatal(err)
		}
		// Within the time after which whoever has it looks.
		eventually(t, "the task ends with the file", func() bool { return f.count(`SELECT count(*) FROM task`) == 0 })
	})
}

// TestDeadWorker: what somebody had who has died is done by another.
func TestDeadWorker(t *testing.T) {
	t.Parallel()
	idle := works(t, func(c *media.Config) { c.Workers = 0 })
	m := idle.mustUpload("a.mp4", film(t, "1"))
	if _, err := idle.db.Exec(t.Context(), `UPDATE task SET worker = 'run_dead', tries = 1, next_at = now() + interval '1 second'`); err != nil {
		t.Fatal(err)
	}
	busy := works(t, func(c *media.Config) { c.DB = idle.db })
	busy.dir, busy.course, busy.db = idle.dir, idle.course, idle.db
	if got := idle.until(m, "broken", "ready", "waiting media.retrying"); got.GetState() == "broken" {
		t.Errorf("%v", got)
	}
	if n := idle.count(`SELECT tries FROM task UNION ALL SELECT 0 LIMIT 1`); n == 1 {
		t.Error("nobody has taken it")
	}
	// Who dies with it each time does so for the last time.
	m = idle.mustUpload("b.mp4", film(t, "1"))
	if _, err := idle.db.Exec(t.Context(), `UPDATE task SET tries = 5 WHERE object_id = $1`, m.GetId()); err != nil {
		t.Fatal(err)
	}
	if got := idle.settled(m); got.GetState() != "broken" {
		t.Errorf("%v", got)
	}
}

// clamd speaks the protocol of clamd: it finds what has EICAR in it.
type clamd struct {
	net.Listener
	away  atomic.Bool
	heard atomic.Int64
}

func newClamd(t *testing.T) *clamd {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &clamd{Listener: l}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go c.answer(conn)
		}
	}()
	return c
}

func (c *clamd) answer(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	if c.away.Load() {
		return
	}
	command := make([]byte, len("zINSTREAM\x00"))
	if _, err := io.ReadFull(conn, command[:6]); err != nil {
		return
	}
	if string(command[:6]) == "zPING\x00" {
		_, _ = conn.Write([]byte("PONG\x00"))
		return
	}
	if _, err := io.ReadFull(conn, command[6:]); err != nil || string(command) != "zINSTREAM\x00" {
		return
	}
	var all bytes.Buffer
	for {
		var n uint32
		if binary.Read(conn, binary.BigEndian, &n) != nil {
			return
		}
		if n == 0 {
			break
		}
		if _, err := io.CopyN(&all, conn, int64(n)); err != nil {
			return
		}
	}
	c.heard.Add(int64(all.Len()))
	switch {
	case bytes.Contains(all.Bytes(), []byte("EICAR")):
		_, _ = conn.Write([]byte("stream: Win.Test.EICAR_HDB-1 FOUND\x00"))
	case all.Len() > 1<<20:
		_, _ = conn.Write([]byte("INSTREAM size limit exceeded. ERROR\x00"))
	default:
		_, _ = conn.Write([]byte("stream: OK\x00"))
	}
}

func TestMalware(t *testing.T) {
	t.Parallel()
	c := newClamd(t)
	scanner, err := media.NewScanner("clamd://" + c.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := scanner.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	f := works(t, func(cfg *media.Config) { cfg.Scanner = scanner })
	c.away.Store(true)
	content := random(200_000)
	m := f.mustUpload("a.bin", content)
	if m.GetState() != "scanning" || m.GetUrl() != "" {
		t.Errorf("%v", m)
	}
	f.until(m, "scanning media.scanner_away")
	c.away.Store(false)
	if m := f.settled(m); m.GetState() != "ready" || c.heard.Load() != 200_000 {
		t.Errorf("%v", m)
	}
	bad := f.settled(f.mustUpload("b.bin", append(content, []byte("X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD")...)))
	if bad.GetState() != "refused" || bad.GetProblem() != "media.malware" || bad.GetUrl() != "" || f.seenBy(f.account, bad).GetUrl() != "" {
		t.Errorf("%v", bad)
	}
	if large := f.settled(f.mustUpload("c.bin", random(2<<20))); large.GetProblem() != "media.scan_too_large" {
		t.Errorf("%v", large)
	}
	_, err = f.processing.RetryMedia(f.teacher, &mediapb.RetryMediaRequest{CourseId: f.course, MediaId: bad.GetId()})
	code(t, err, media.ErrNotRetryable)
	for _, wrong := range []string{"http://a:1", "clamd://host", "clamd:", "clamd://h:1/x"} {
		if _, err := media.NewScanner(wrong); err == nil {
			t.Errorf("%s is taken", wrong)
		}
	}
}

// eventually waits for something that happens.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatal(what + ": not in time")
		case <-tick.C:
		}
	}
}

// A copy of a video is as long as it, and who counts what is watched hears so: by no
// processing, as there is none, or by the one that goes on while it is made.
func TestCopiesTellTheirLength(t *testing.T) {
	t.Parallel()
	f := works(t, nil)
	ready := f.settled(f.mustUpload("a.mp4", film(t, "2")))
	picture := f.settled(f.mustUpload("a.jpg", photo(t, 20, 20, color.Black)))
	going := f.mustUpload("b.mp4", film(t, "3"))
	to := id.New("course")
	copies, err := f.copy(to, ready.GetId(), picture.GetId(), going.GetId())
	if err != nil {
		t.Fatal(err)
	}
	f.settled(going)
	rows, err := f.db.Query(t.Context(), `SELECT payload FROM outbox WHERE name = 'stoa.media.v1.MediaChanged' ORDER BY position`)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]*mediapb.MediaChanged{}
	var payload []byte
	if _, err := pgx.ForEachRow(rows, []any{&payload}, func() error {
		e := &mediapb.MediaChanged{}
		if err := proto.Unmarshal(payload, e); err != nil {
			return err
		}
		if told[e.GetMediaId()].GetVersion() < e.GetVersion() {
			told[e.GetMediaId()] = e
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i, m := range []*mediapb.Media{ready, nil, going} {
		if m == nil {
			continue
		}
		e, of := told[copies[i]], told[m.GetId()]
		if e.GetDurationMs() == 0 || e.GetDurationMs() != of.GetDurationMs() || e.GetState() != "ready" || e.GetKind() != "video" || e.GetCourseId() != to {
			t.Errorf("of the copy %v is told, of what it is of %v", e, of)
		}
	}
}

// Whatever is told as a video or a sound by its bytes is shown as one.
func TestFormats(t *testing.T) {
	t.Parallel()
	f := works(t, nil)
	sound := []string{"-f", "lavfi", "-i", "aevalsrc=random(0)*gt(sin(t)\\,0.8):duration=20"} // mostly silence: its rate changes a lot
	both := []string{"-f", "lavfi", "-i", "testsrc=size=128x96:rate=25:duration=2", "-f", "lavfi", "-i", "sine=duration=2"}
	for name, c := range map[string]struct {
		args        []string
		kind        string
		contentType string
	}{
		"a.ogg":  {append(sound[:4:4], "-c:a", "libvorbis"), "audio", "audio/ogg"},
		"a.opus": {append(sound[:4:4], "-c:a", "libopus"), "audio", "audio/ogg"},
		"a.aac":  {append(sound[:4:4], "-c:a", "aac", "-q:a", "1"), "audio", "audio/aac"},
		"a.mp3":  {append(sound[:4:4], "-c:a", "libmp3lame", "-q:a", "4", "-write_xing", "0", "-id3v2_version", "0"), "audio", "audio/mpeg"},
		"a.ogv":  {append(both[:8:8], "-c:v", "libtheora", "-c:a", "libvorbis"), "video", "video/ogg"},
		"a.3gp":  {append(both[:8:8], "-c:v", "h263", "-c:a", "aac"), "video", "video/3gpp"},
		"a.3g2":  {append(both[:8:8], "-c:v", "mpeg4", "-c:a", "aac"), "video", "video/3gpp2"},
		"a.mpg":  {append(both[:8:8], "-c:v", "mpeg2video", "-c:a", "mp2", "-f", "mpeg"), "video", "video/mpeg"},
		"a.ts":   {append(both[:8:8], "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac"), "video", "video/mp2t"},
		"a.wmv":  {append(both[:8:8], "-c:v", "wmv2", "-c:a", "wmav2"), "video", "video/x-ms-asf"},
		"a.flv":  {append(both[:8:8], "-c:v", "flv", "-c:a", "mp3", "-ar", "44100"), "video", "video/x-flv"},
		"a.avi":  {append(both[:8:8], "-c:v", "mpeg4", "-c:a", "mp3"), "video", "video/avi"},
	} {
		t.Run(name, func(t *testing.T) {
			m := f.mustUpload(name, ffmpeg(t, name, c.args...))
			if m.GetContentType() != c.contentType {
				t.Errorf("it is taken as %s, want %s", m.GetContentType(), c.contentType)
			}
			m = f.settled(m)
			want := int64(2_000)
			if c.kind == "audio" {
				want = 20_000
			}
			if d := m.GetDurationMs(); m.GetState() != "ready" || m.GetKind() != c.kind || d < want-300 || d > want+300 {
				t.Errorf("%s %s %s, %d ms", m.GetState(), m.GetProblem(), m.GetKind(), d)
			}
		})
	}
}
