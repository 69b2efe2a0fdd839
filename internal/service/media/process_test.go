package media_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/color/palette"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/blob"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/media"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// works gives a fixture workers, until the test ends.
func works(t *testing.T, change func(*media.Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir(), account: id.New("account"), course: id.New("course")}
	f.db = pgtest.Open(t, media.Schema)
	bucket, err := blob.Open(t.Context(), blob.Config{URL: "file://" + f.dir})
	if err != nil {
		t.Fatal(err)
	}
	cfg := media.Config{
		DB: f.db, Bucket: bucket, Log: rpctest.Log(t), Key: [32]byte{1}, MaxSize: 30 << 20, Workers: 1, TempDir: t.TempDir(),
		Checker: &f.readers, Now: func() time.Time { return start.Add(time.Duration(f.clock.Load()) * time.Second) },
	}
	if change != nil {
		change(&cfg)
	}
	f.Service = media.New(cfg)
	f.serve()
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = f.Run(ctx) })
	t.Cleanup(func() { stop(); wg.Wait() })
	return f
}

// readers are the accounts that may read lessons.
type readers struct{ sync.Map }

func (r *readers) Allowed(_ context.Context, q auth.Question, _ time.Time) (bool, error) {
	may, _ := r.Load(q.Account + q.Permission)
	return may == true, nil
}

// settled waits until a file is in a state in which it stays.
func (f *fixture) settled(m *mediapb.Media) *mediapb.Media {
	f.t.Helper()
	return f.until(m, "ready", "broken", "refused")
}

func (f *fixture) until(m *mediapb.Media, states ...string) *mediapb.Media {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := f.GetMedia(f.teacher, &mediapb.GetMediaRequest{CourseId: f.course, MediaId: m.GetId()})
		if err != nil {
			f.t.Fatal(err)
		}
		for _, s := range states {
			if got.GetState() == s || got.GetState()+" "+got.GetProblem() == s {
				return got
			}
		}
		select {
		case <-ctx.Done():
			f.t.Fatalf("%s is %s %s after three minutes", m.GetFilename(), got.GetState(), got.GetProblem())
		case <-tick.C:
		}
	}
}

// ffmpeg makes a file for a test.
func ffmpeg(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	out, err := exec.CommandContext(t.Context(), "ffmpeg", append(append([]string{"-nostdin", "-v", "error"}, args...), path)...).CombinedOutput() //nolint:gosec // arguments of tests
	if err != nil {
		t.Fatalf("ffmpeg: %v: install it with deploy/install-servers.sh ffmpeg poppler libreoffice\n%s", err, out)
	}
	content, err := os.ReadFile(path) //nolint:gosec // a path of our own
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// film is a small video with sound, with a place and a title written into it.
func film(t testing.TB, seconds string) []byte {
	t.Helper()
	return ffmpeg(t, "film.mp4", "-f", "lavfi", "-i", "testsrc=size=320x180:rate=15:duration="+seconds, "-f", "lavfi", "-i", "sine=duration="+seconds,
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-metadata", "title=SECRETPLACE", "-metadata", "location=+48.1+011.5/")
}

func photo(t testing.TB, w, h int, c color.Color) []byte {
	t.Helper()
	p := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			p.Set(x, y, c)
		}
	}
	p.Set(0, 0, color.White)
	var b bytes.Buffer
	if err := jpeg.Encode(&b, p, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withExif puts EXIF data behind the head of a JPEG: that it was held turned by a
// quarter, and where.
func withExif(content []byte) []byte {
	exif := []byte("Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00SECRETPLACE 48.1 11.5")
	segment := binary.BigEndian.AppendUint16([]byte{0xff, 0xe1}, uint16(len(exif)+2)) //nolint:gosec // it is short
	return append(append(append([]byte{}, content[:2]...), append(segment, exif...)...), content[2:]...)
}

// content fetches what is at an address.
func (f *fixture) content(address string) ([]byte, error) {
	f.t.Helper()
	p, content, err := f.part(address, 0)
	if err == nil && p.GetSize() != int64(len(content)) {
		f.t.Errorf("%s: %d bytes of %d", address, len(content), p.GetSize())
	}
	return content, err
}

// bytesOf is content that has to be there.
func (f *fixture) bytesOf(address string) []byte {
	f.t.Helper()
	content, err := f.content(address)
	if err != nil {
		f.t.Fatalf("%q: %v", address, err)
	}
	return content
}

func (f *fixture) part(address string, offset int64) (*mediapb.Part, []byte, error) {
	f.t.Helper()
	rest, ok := strings.CutPrefix(address, "/v1/media/")
	mediaID, rest, ok2 := strings.Cut(rest, "/parts/")
	token, name, ok3 := strings.Cut(rest, "/")
	if !ok || !ok2 || !ok3 {
		f.t.Fatalf("%q is no address of a part", address)
	}
	stream, err := f.processing.DownloadPart(f.t.Context(), &mediapb.DownloadPartRequest{MediaId: mediaID, Token: token, Part: name, Offset: offset})
	if err != nil {
		return nil, nil, err
	}
	var p *mediapb.Part
	var content []byte
	for {
		msg, err := stream.Recv()
		if err != nil {
			if p != nil && err.Error() == "EOF" {
				return p, content, nil
			}
			return p, content, err
		}
		if msg.GetPart() != nil {
			p = msg.GetPart()
		}
		content = append(content, msg.GetChunk()...)
	}
}

// seenBy returns a file as a reader of a lesson gets it.
func (f *fixture) seenBy(account string, m *mediapb.Media) *mediapb.Media {
	f.t.Helper()
	res, err := f.service.BatchGetMedia(f.t.Context(), &mediapb.BatchGetMediaRequest{
		CourseId: f.course, MediaIds: []string{m.GetId()}, Viewer: &mediapb.Viewer{AccountId: account, ItemId: lesson},
	})
	if err != nil || len(res.GetItems()) != 1 {
		f.t.Fatalf("%v %v", res, err)
	}
	return res.GetItems()[0]
}

const lesson = "lesson_01h455vb4pex5vsknk084sn02q"

func TestPictures(t *testing.T) {
	t.Parallel()
	f := works(t, nil)
	reader := id.New("account")
	f.readers.Store(reader+"lesson.read", true)
	original := withExif(photo(t, 1000, 400, color.RGBA{200, 10, 10, 255}))
	m := f.mustUpload("photo.jpg", original)
	if m.GetState() != "waiting" || m.GetUrl() != "" {
		t.Errorf("before it is looked at: %v", m)
	}
	m = f.settled(m)
	// Turned by a quarter.
	if m.GetState() != "ready" || m.GetKind() != "image" || m.GetWidth() != 400 || m.GetHeight() != 1000 || len(m.GetImages()) != 2 {
		t.Fatalf("%v", m)
	}
	if whole := f.staffBytes(m.GetUrl()); !bytes.Equal(whole, original) {
		t.Error("staff don't get the original")
	}
	seen := f.seenBy(reader, m)
	for i, want := range []image.Point{{320, 800}, {400, 1000}} {
		got := f.bytesOf(seen.GetImages()[i].GetUrl())
		p, err := jpeg.Decode(bytes.NewReader(got))
		if err != nil || p.Bounds().Size() != want || bytes.Contains(got, []byte("Exif")) || bytes.Contains(got, []byte("SECRET")) {
			t.Errorf("size %d: %v %v", i, p.Bounds(), err)
		}
	}
	if got := f.bytesOf(seen.GetUrl()); bytes.Contains(got, []byte("SECRET")) {
		t.Error("a reader gets what the camera wrote")
	}
	// The white pixel of the corner has gone to the right with the turn.
	p, _ := jpeg.Decode(bytes.NewReader(f.bytesOf(seen.GetImages()[1].GetUrl())))
	if r, g, _, _ := p.At(399, 0).RGBA(); g < 0x2000 || r < g {
		t.Logf("corner %x %x: blurred away", r, g)
	}
	glass := image.NewNRGBA(image.Rect(0, 0, 10, 10))
	var b bytes.Buffer
	_ = png.Encode(&b, glass)
	if m := f.settled(f.mustUpload("glass.png", b.Bytes())); m.GetState() != "ready" || m.GetImages()[0].GetContentType() != "image/png" {
		t.Errorf("what can be seen through: %v", m)
	}
	moving := &gif.GIF{}
	for range 3 {
		moving.Image, moving.Delay = append(moving.Image, image.NewPaletted(image.Rect(0, 0, 30, 20), palette.WebSafe)), append(moving.Delay, 10)
	}
	b.Reset()
	_ = gif.EncodeAll(&b, moving)
	m = f.seenBy(reader, f.settled(f.mustUpload("moving.gif", b.Bytes())))
	g, err := gif.DecodeAll(bytes.NewReader(f.bytesOf(m.GetUrl())))
	if err != nil || len(g.Image) != 3 || len(m.GetImages()) != 1 {
		t.Errorf("what moves: %v %v", m, err)
	}
}

// bomb is a PNG that says that it is 50,000 pixels a side.
func bomb() []byte {
	b := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\xc3\x50\x00\x00\xc3\x50\x08\x02\x00\x00\x00")
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[12:29]))
}

// zipOf is an archive.
func zipOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pdf is a document with a text on each page, of a size, and whatever else.
func pdf(pages int, side int, catalog string) []byte {
	var b bytes.Buffer
	var offsets []int
	object := func(format string, args ...any) {
		offsets = append(offsets, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n", len(offsets))
		fmt.Fprintf(&b, format, args...)
		b.WriteString("\nendobj\n")
	}
	b.WriteString("%PDF-1.4\n")
	var kids strings.Builder
	for i := range pages {
		fmt.Fprintf(&kids, "%d 0 R ", 4+2*i)
	}
	object("<</Type/Catalog/Pages 2 0 R %s>>", catalog)
	object("<</Type/Pages/Kids[%s]/Count %d/MediaBox[0 0 %d %d]>>", kids.String(), pages, side, side)
	object("<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>")
	for i := range pages {
		text := fmt.Sprintf("BT /F1 24 Tf 20 50 Td (Page number %d) Tj ET", i+1)
		object("<</Type/Page/Parent 2 0 R/Resources<</Font<</F1 3 0 R>>>>/Contents %d 0 R>>", 5+2*i)
		object("<</Length %d>>stream\n%s\nendstream", len(text), text)
	}
	at := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(offsets)+1)
	for _, o := range offsets {
		fmt.Fprintf(&b, "%010d 00000 n \n", o)
	}
	fmt.Fprintf(&b, "trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n", len(offsets)+1, at)
	return b.Bytes()
}

// odp is a presentation of one page.
func odp(t testing.TB, text string) []byte {
	t.Helper()
	const spaces = `xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0" xmlns:xlink="http://www.w3.org/1999/xlink"`
	return zipOf(t, map[string]string{
		"mimetype":              "application/vnd.oasis.opendocument.presentation",
		"META-INF/manifest.xml": `<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><manifest:file-entry manifest:full-path="/" manifest:media-type="application/vnd.oasis.opendocument.presentation"/><manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/></manifest:manifest>`,
		"content.xml":           `<office:document-content ` + spaces + ` office:version="1.2"><office:body><office:presentation><draw:page draw:name="one"><draw:frame svg:x="2cm" svg:y="2cm" svg:width="15cm" svg:height="3cm"><draw:text-box><text:p>` + text + `</text:p></draw:text-box></draw:frame></draw:page></office:presentation></office:body></office:document-content>`,
	})
}

func TestSlides(t *testing.T) {
	t.Parallel()
	f := works(t, nil)
	m := f.settled(f.mustUpload("deck.odp", odp(t, "Peripatetic school")))
	if m.GetState() != "ready" || m.GetKind() != "slides" || len(m.GetPages()) != 1 || !strings.Contains(m.GetPages()[0].GetText(), "Peripatetic school") {
		t.Fatalf("%v", m)
	}
	p, err := jpeg.Decode(bytes.NewReader(f.staffBytes(m.GetPages()[0].GetUrl())))
	if err != nil || p.Bounds().Dx() != int(m.GetPages()[0].GetWidth()) || p.Bounds().Dx() > 1600 {
		t.Errorf("%v", err)
	}
	// What is in a document that runs in a browser is in no picture of it; a page of
	// 200 inches is as large as others.
	m = f.settled(f.mustUpload("deck.pdf", pdf(12, 14400, "/OpenAction<</S/JavaScript/JS(app.alert\\(1\\))>>")))
	if m.GetState() != "ready" || len(m.GetPages()) != 12 || m.GetPages()[11].GetText() != "Page number 12" || m.GetPages()[0].GetWidth() != 1600 {
		t.Errorf("%v", m)
	}
	if m := f.settled(f.mustUpload("book.pdf", pdf(301, 100, ""))); m.GetState() != "ready" || m.GetKind() != "file" || len(m.GetPages()) != 0 {
		t.Errorf("a book: %v", m)
	}
}

// staffBytes is bytesOf an address of staff.
func (f *fixture) staffBytes(address string) []byte {
	f.readers.Store(f.account+"media.read", true)
	return f.bytesOf(address)
}

func TestHostileFiles(t *testing.T) {
	t.Parallel()
	f := works(t, nil)
	video := film(t, "2")
	lying := bytes.Clone(video)
	for _, box := range []struct {
		name        string
		scale, time int // where they are behind the name, in version 0
	}{{"mvhd", 12, 16}, {"mdhd", 12, 16}, {"tkhd", 0, 20}} {
		for at := 0; ; {
			i := bytes.Index(lying[at:], []byte(box.name))
			if i < 0 {
				break
			}
			at += i + 4
			scale := uint32(1000)
			if box.scale > 0 {
				scale = binary.BigEndian.Uint32(lying[at+box.scale:])
			}
			binary.BigEndian.PutUint32(lying[at+box.time:], scale*36_000)
		}
	}
	many := zipOf(t, map[string]string{"ppt/presentation.xml": strings.Repeat("a", 40<<20), "[Content_Types].xml": "<Types/>"})
	script := append([]byte("\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"), []byte("\n<script>alert(1)</script>\n#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")...)
	for name, c := range map[string]struct {
		file    string
		content []byte
		state   string
		problem string
	}{
		"a PNG of 50,000 pixels a side": {"a.png", bomb(), "broken", "media.dimensions"},
		"half a picture":                {"a.jpg", photo(t, 300, 300, color.Black)[:700], "broken", "media.image_broken"},
		"a picture of another kind":     {"a.heic", []byte("\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"), "broken", "media.image_unsupported"},
		"ten hours on two seconds":      {"a.mp4", lying, "broken", "media.duration_lies"},
		"a video that ends early":       {"a.mp4", video[:len(video)/3], "broken", "media.unreadable"},
		"a playlist behind a video":     {"a.mp4", script, "broken", "media.unreadable"},
		"a playlist":                    {"a.mp4", []byte("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"), "ready", ""},
		"a list of files":               {"a.mp4", []byte("ffconcat version 1.0\nfile /etc/passwd\n"), "ready", ""},
		"a sound that is none":          {"a.mp3", append([]byte("ID3\x04\x00\x00\x00\x00\x00\x00"), make([]byte, 500)...), "broken", "media.unreadable"},
		"slides that get larger":        {"a.pptx", many, "broken", "media.archive_bomb"},
		"slides that are another zip":   {"a.pptx", zipOf(t, map[string]string{"a.txt": "hello"}), "broken", "media.slides_broken"},
		"slides that end early":         {"a.odp", odp(t, "x")[:400], "broken", "media.slides_broken"},
		"a PDF that is none":            {"a.pdf", []byte("%PDF-1.7\nnothing of the kind"), "broken", "media.slides_broken"},
		"a program called a video":      {"a.mp4", append([]byte("\x7fELF"), make([]byte, 300)...), "ready", ""},
		"too many streams":              {"a.mkv", manyStreams(t), "broken", "media.too_many_streams"},
		"a picture called a video":      {"a.mp4", photo(t, 20, 20, color.Black), "ready", ""},
		"an encrypted PDF":              {"a.pdf", encryptedPDF(), "broken", "media.encrypted"},
		"a GIF of a thousand pictures":  {"a.gif", manyFrames(), "broken", "media.animation_large"},
	} {
		t.Run(name, func(t *testing.T) {
			m := f.mustUpload(c.file, c.content)
			m = f.settled(m)
			if m.GetState() != c.state || m.GetProblem() != c.problem {
				t.Errorf("%s %s, want %s %s", m.GetState(), m.GetProblem(), c.state, c.problem)
			}
			if c.state == "broken" && (m.GetUrl() != "" || m.GetHlsUrl() != "" || f.seenBy(f.account, m).GetUrl() != "") {
				t.Errorf("it has an address: %v", m)
			}
			if m.GetKind() == "video" && c.state == "ready" && !bytes.Contains(c.content, []byte("moov")) {
				t.Errorf("it is shown as a video: %v", m)
			}
		})
	}
	if n := f.count(`SELECT count(*) FROM task`); n != 0 {
		t.Errorf("%d tasks are left", n)
	}
	if n := f.count(`SELECT count(*) FROM outbox WHERE name LIKE '%MediaChanged'`); n == 0 {
		t.Error("nobody is told")
	}
	err := filepath.WalkDir(f.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Count(path, "/") < strings.Count(f.dir, "/")+3 {
			return err
		}
		content, err := os.ReadFile(path) //nolint:gosec // of the test's bucket
		if bytes.Contains(content, []byte("root:x:0")) {
			t.Errorf("%s has a file of ours in it", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// manyStreams is a video with forty subtitles.
func manyStreams(t testing.TB) []byte {
	t.Helper()
	srt := filepath.Join(t.TempDir(), "a.srt")
	if err := os.WriteFile(srt, []byte("1\n00:00:00,000 --> 00:00:01,000\nHello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=1", "-i", srt, "-map", "0"}
	for range 40 {
		args = append(args, "-map", "1")
	}
	return ffmpeg(t, "a.mkv", args...)
}

// encryptedPDF asks for a password.
func encryptedPDF() []byte {
	b := pdf(1, 100, "")
	return bytes.Replace(b, []byte("trailer<<"), []byte("trailer<</Encrypt<</Filter/Standard/V 1/R 2/O<"+strings.Repeat("ab", 32)+">/U<"+strings.Repeat("cd", 32)+">/P -4>>/ID[<"+
		strings.Repeat("00", 16)+"><"+strings.Repeat("00", 16)+">]"), 1)
}

// manyFrames is a GIF of a few kilobytes that says it has a thousand large pictures.
func manyFrames() []byte {
	b := []byte("GIF89a\x10\x27\x10\x27\x80\x00\x00\x00\x00\x00\xff\xff\xff")
	b[6], b[7], b[8], b[9] = 0xe8, 0x03, 0xe8, 0x03
	for range 1000 {
		b = append(b, 0x2c, 0, 0, 0, 0, 0xe8, 0x03, 0xe8, 0x03, 0, 2, 2, 0x4c, 0x01, 0)
	}
	return append(b, 0x3b)
}
