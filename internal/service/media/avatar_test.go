package media_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/media"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

var (
	red   = color.NRGBA{200, 30, 30, 255}
	blue  = color.NRGBA{30, 30, 200, 255}
	white = color.NRGBA{255, 255, 255, 255}
)

// plain is a picture of one colour.
func plain(w, h int, c color.Color) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.Set(x, y, c)
		}
	}
	return img
}

func asPNG(img image.Image) []byte {
	var buf bytes.Buffer
	if err := png.Encode(&buf, img); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

func asJPEG(img image.Image) []byte {
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, img, nil); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// asGIF makes a GIF of a picture in each colour.
func asGIF(w, h int, frames ...color.Color) []byte {
	g := &gif.GIF{}
	for _, c := range frames {
		g.Image = append(g.Image, image.NewPaletted(image.Rect(0, 0, w, h), color.Palette{c, color.Black}))
		g.Delay = append(g.Delay, 1)
	}
	var buf bytes.Buffer
	if err := gif.EncodeAll(&buf, g); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// inCanvas moves the first picture of a GIF to the right within a wider whole.
func inCanvas(content []byte) []byte {
	binary.LittleEndian.PutUint16(content[6:], 90)
	i := bytes.Index(content, []byte{0x2c, 0, 0, 0, 0, 20, 0, 20, 0})
	content[i+1] = 60
	return content
}

// webP are pictures of one pixel: nothing in the repository writes WebP.
func webP(text string) []byte {
	content, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return content
}

var (
	webPLossy    = webP("UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA")
	webPLossless = webP("UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==")
)

// pngSaying is a PNG of a few bytes that says how large it is.
func pngSaying(w, h uint32) []byte {
	head := []byte("IHDR")
	head = binary.BigEndian.AppendUint32(head, w)
	head = binary.BigEndian.AppendUint32(head, h)
	head = append(head, 8, 6, 0, 0, 0)
	out := append([]byte("\x89PNG\r\n\x1a\n"), 0, 0, 0, 13)
	out = append(out, head...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(head))
}

func (f *fixture) uploadAvatar(ctx context.Context, content []byte) (*mediapb.Avatar, error) {
	f.t.Helper()
	stream, err := f.avatars.UploadAvatar(ctx)
	if err != nil {
		return nil, err
	}
	for len(content) > 0 {
		n := min(100_000, len(content))
		if err := stream.Send(&mediapb.UploadAvatarRequest{Chunk: content[:n]}); err != nil {
			break // the reason is what CloseAndRecv returns
		}
		content = content[n:]
	}
	return stream.CloseAndRecv()
}

func (f *fixture) mustUploadAvatar(ctx context.Context, content []byte) *mediapb.Avatar {
	f.t.Helper()
	a, err := f.uploadAvatar(ctx, content)
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

// downloadAvatar fetches an avatar as nobody.
func (f *fixture) downloadAvatar(avatarID string) (*mediapb.Avatar, []byte, error) {
	f.t.Helper()
	stream, err := f.avatars.DownloadAvatar(f.t.Context(), &mediapb.DownloadAvatarRequest{AvatarId: avatarID})
	if err != nil {
		return nil, nil, err
	}
	var a *mediapb.Avatar
	var content []byte
	for {
		msg, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return a, content, nil
		}
		if err != nil {
			return nil, nil, err
		}
		if (a == nil) != (msg.GetAvatar() != nil) {
			f.t.Error("the description comes once, and first")
		}
		if a == nil {
			a = msg.GetAvatar()
		}
		content = append(content, msg.GetChunk()...)
	}
}

// avatarEvents returns what was said, oldest first.
func (f *fixture) avatarEvents() []*mediapb.AvatarChanged {
	f.t.Helper()
	rows, err := f.db.Query(f.t.Context(), `SELECT payload FROM outbox WHERE name = 'stoa.media.v1.AvatarChanged' ORDER BY position`)
	if err != nil {
		f.t.Fatal(err)
	}
	defer rows.Close()
	var out []*mediapb.AvatarChanged
	for rows.Next() {
		var payload []byte
		if err := rows.Scan(&payload); err != nil {
			f.t.Fatal(err)
		}
		event := &mediapb.AvatarChanged{}
		if err := proto.Unmarshal(payload, event); err != nil {
			f.t.Fatal(err)
		}
		out = append(out, event)
	}
	return out
}

// avatarsLeft is how many accounts have a picture, how many objects are to be
// swept, and how many there are.
func (f *fixture) avatarsLeft() [3]int {
	f.t.Helper()
	return [3]int{f.count(`SELECT count(*) FROM avatar WHERE id IS NOT NULL`), f.count(`SELECT count(*) FROM upload`), f.objects()}
}

// near reports whether two colours look alike after a JPEG.
func near(a, b color.Color) bool {
	ar, ag, ab, _ := a.RGBA()
	br, bg, bb, _ := b.RGBA()
	for _, d := range []int{int(ar) - int(br), int(ag) - int(bg), int(ab) - int(bb)} {
		if max(d, -d) > 12<<8 {
			return false
		}
	}
	return true
}

func TestAvatarIsWrittenAnew(t *testing.T) {
	t.Parallel()
	f := setup(t)
	striped := plain(300, 20, blue) // red in the middle
	for y := range 20 {
		for x := 130; x < 170; x++ {
			striped.Set(x, y, red)
		}
	}
	deep := image.NewNRGBA64(image.Rect(0, 0, 20, 30))
	for i := range 20 * 30 {
		deep.Set(i%20, i/20, red)
	}
	for name, c := range map[string]struct {
		content []byte
		want    color.Color // nil: of one pixel that is what it is
	}{
		"jpeg":             {asJPEG(plain(40, 30, red)), red},
		"grey jpeg":        {asJPEG(image.NewGray(image.Rect(0, 0, 9, 9))), color.Black},
		"png":              {asPNG(plain(30, 40, red)), red},
		"png of 16 bits":   {asPNG(deep), red},
		"large":            {asPNG(plain(1500, 1000, red)), red},
		"narrow":           {asPNG(plain(12_000, 1, red)), red},
		"one pixel":        {asPNG(plain(1, 1, red)), red},
		"transparent":      {asPNG(image.NewNRGBA(image.Rect(0, 0, 50, 50))), white},
		"its middle":       {asPNG(striped), red},
		"not at zero":      {inCanvas(asGIF(20, 20, red)), red},
		"gif":              {asGIF(20, 20, blue), blue},
		"gif that moves":   {asGIF(20, 20, red, blue, white), red},
		"webp, lossy":      {webPLossy, nil},
		"webp, lossless":   {webPLossless, nil},
		"with HTML behind": {append(asJPEG(plain(40, 30, red)), "<script>alert(1)</script>"...), red},
	} {
		ctx := rpctest.Account(t.Context(), id.New("account"))
		a, err := f.uploadAvatar(ctx, c.content)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !id.Valid("avatar", a.GetId()) || a.GetUrl() != "/v1/avatars/"+a.GetId() || !a.GetCreatedAt().AsTime().Equal(start) {
			t.Errorf("%s: %v", name, a)
		}
		got, content, err := f.downloadAvatar(a.GetId())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := cmp.Diff(a, got, protocmp.Transform()); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		img, err := jpeg.Decode(bytes.NewReader(content))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if img.Bounds() != image.Rect(0, 0, 256, 256) {
			t.Errorf("%s: %v", name, img.Bounds())
		}
		for _, at := range []image.Point{{0, 0}, {255, 255}, {128, 128}} {
			if c.want != nil && !near(img.At(at.X, at.Y), c.want) {
				t.Errorf("%s at %v: %v, want %v", name, at, img.At(at.X, at.Y), c.want)
			}
		}
		if bytes.Contains(content, []byte("script")) {
			t.Errorf("%s: something of the original is left", name)
		}
	}
}

// quarters is a picture of four colours, row by row.
func quarters(c [4]color.Color) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, 64, 64))
	for y := range 64 {
		for x := range 64 {
			img.Set(x, y, c[y/32*2+x/32])
		}
	}
	return img
}

// withOrientation puts EXIF data behind the beginning of a JPEG.
func withOrientation(content []byte, order binary.AppendByteOrder, o uint16) []byte {
	head := "II*\x00"
	if order == binary.AppendByteOrder(binary.BigEndian) {
		head = "MM\x00*"
	}
	exif := order.AppendUint32([]byte("Exif\x00\x00"+head), 8)
	exif = order.AppendUint16(exif, 2)
	for _, entry := range [][2]uint16{{0x010f, 1}, {0x0112, o}} {
		exif = order.AppendUint16(exif, entry[0])
		exif = order.AppendUint16(exif, 3)
		exif = order.AppendUint32(exif, 1)
		exif = order.AppendUint16(exif, entry[1])
		exif = order.AppendUint16(exif, 0)
	}
	exif = append(exif, "latitude 48.2"...)
	out := append([]byte("\xff\xd8"), "\xff\xe0\x00\x04ab\xff\xe1"...)
	out = binary.BigEndian.AppendUint16(out, uint16(len(exif)+2)) //nolint:gosec // a few bytes
	return append(append(out, exif...), content[2:]...)
}

func TestAvatarIsTurned(t *testing.T) {
	t.Parallel()
	f := setup(t)
	green := color.NRGBA{20, 160, 20, 255}
	colours := [4]color.Color{red, green, blue, white}
	stored := asJPEG(quarters(colours))
	for o, want := range map[uint16][4]int{
		0: {0, 1, 2, 3}, 1: {0, 1, 2, 3}, 2: {1, 0, 3, 2}, 3: {3, 2, 1, 0}, 4: {2, 3, 0, 1},
		5: {0, 2, 1, 3}, 6: {2, 0, 3, 1}, 7: {3, 1, 2, 0}, 8: {1, 3, 0, 2}, 9: {0, 1, 2, 3},
	} {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			a := f.mustUploadAvatar(rpctest.Account(t.Context(), id.New("account")), withOrientation(stored, order, o))
			_, content, err := f.downloadAvatar(a.GetId())
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(content, []byte("latitude")) || bytes.Contains(content, []byte("Exif")) {
				t.Error("EXIF data is left")
			}
			img, err := jpeg.Decode(bytes.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			for i, c := range want {
				if got := img.At(64+i%2*128, 64+i/2*128); !near(got, colours[c]) {
					t.Errorf("orientation %d in %v: quarter %d is %v, want %v", o, order, i, got, colours[c])
				}
			}
		}
	}
}

func TestAvatarRefuses(t *testing.T) {
	t.Parallel()
	f := setup(t)
	noise := asPNG(plain(100, 100, red))
	photo, moving := asJPEG(plain(100, 100, red)), asGIF(100, 100, red, blue)
	wide := bytes.Clone(moving)
	binary.LittleEndian.PutUint16(wide[6:], 65_535)
	small := bytes.Clone(moving)
	binary.LittleEndian.PutUint16(small[6:], 5) // less than its first picture
	scans := append(bytes.Clone(photo), bytes.Repeat([]byte("\xff\xda\x00\x02"), 200)...)
	for name, c := range map[string]struct {
		content []byte
		want    *fault.Error
	}{
		"nothing":            {nil, media.ErrPictureType},
		"text":               {[]byte("a picture of me"), media.ErrPictureType},
		"svg":                {[]byte(`<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`), media.ErrPictureType},
		"html":               {[]byte("<!DOCTYPE html><script>alert(1)</script>"), media.ErrPictureType},
		"pdf":                {[]byte("%PDF-1.7"), media.ErrPictureType},
		"bmp":                {[]byte("BM\x3a\x00\x00\x00"), media.ErrPictureType},
		"a bomb":             {pngSaying(50_000, 50_000), media.ErrPictureLarge},
		"the largest bomb":   {pngSaying(1<<31-1, 1<<31-1), nil},
		"a bit too wide":     {asPNG(plain(12_001, 1, red)), media.ErrPictureLarge},
		"a bit too many":     {pngSaying(5_001, 5_000), media.ErrPictureLarge},
		"a wide GIF":         {wide, media.ErrPictureLarge},
		"no pixels":          {pngSaying(0, 5), nil},
		"a head alone":       {pngSaying(50, 50), media.ErrPictureBroken},
		"half a PNG":         {noise[:len(noise)/2], media.ErrPictureBroken},
		"half a JPEG":        {photo[:len(photo)-20], media.ErrPictureBroken},
		"half a GIF":         {moving[:len(moving)/3], media.ErrPictureBroken},
		"half a WebP":        {webPLossless[:len(webPLossless)-6], media.ErrPictureBroken},
		"the name of a JPEG": {[]byte("\xff\xd8\xff"), media.ErrPictureBroken},
		"the name of a WebP": {[]byte("RIFF\x00\x00\x00\x00WEBPVP8 "), media.ErrPictureBroken},
		"a GIF in less":      {small, media.ErrPictureBroken},
		"a JPEG of scans":    {scans, media.ErrPictureBroken},
	} {
		_, err := f.uploadAvatar(rpctest.Account(t.Context(), id.New("account")), c.content)
		if c.want == nil {
			c.want = media.ErrPictureBroken
		}
		e, ok := errors.AsType[*fault.Error](err)
		if !ok || !errors.Is(err, c.want) || len(e.Fields) != 1 || e.Fields[0].Hint == "" {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := f.uploadAvatar(t.Context(), photo); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("nobody: %v", err)
	}
	if _, err := f.avatars.DeleteAvatar(t.Context(), &mediapb.DeleteAvatarRequest{}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("nobody deletes: %v", err)
	}
	if got := f.avatarsLeft(); got != [3]int{} || len(f.avatarEvents()) != 0 {
		t.Errorf("avatars, uploads, objects: %v", got)
	}
}

// What is over the limit is not read.
func TestAvatarStopsReading(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stream, err := f.avatars.UploadAvatar(f.teacher)
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for ; sent < 200; sent++ {
		if err := stream.Send(&mediapb.UploadAvatarRequest{Chunk: make([]byte, 1<<20)}); err != nil {
			break
		}
	}
	if sent == 200 {
		t.Error("200 MiB were taken")
	}
	if _, err := stream.CloseAndRecv(); !errors.Is(err, media.ErrAvatarTooLarge) {
		t.Errorf("error %v", err)
	}
	// Just as much as may be is read: a JPEG with what counts for nothing behind.
	photo := asJPEG(plain(9, 9, red))
	f.mustUploadAvatar(f.teacher, append(photo, make([]byte, 5<<20-len(photo))...))
	_, err = f.uploadAvatar(f.teacher, append(photo, make([]byte, 5<<20+1-len(photo))...))
	if !errors.Is(err, media.ErrAvatarTooLarge) {
		t.Errorf("a byte more: %v", err)
	}
}

func TestAvatarIsReplacedAndDeleted(t *testing.T) {
	t.Parallel()
	f := setup(t)
	other := rpctest.Account(t.Context(), id.New("account"))
	if _, err := f.avatars.DeleteAvatar(other, &mediapb.DeleteAvatarRequest{}); err != nil {
		t.Errorf("delete without one: %v", err)
	}
	kept := f.mustUploadAvatar(other, asPNG(plain(10, 10, blue)))
	first := f.mustUploadAvatar(f.teacher, asPNG(plain(10, 10, red)))
	second := f.mustUploadAvatar(f.teacher, asPNG(plain(10, 10, red)))
	gone := func(ids ...string) {
		t.Helper()
		for _, avatarID := range ids {
			_, _, err := f.downloadAvatar(avatarID)
			code(t, err, media.ErrAvatarNotFound)
		}
	}
	gone(first.GetId(), id.New("avatar"))
	if _, _, err := f.downloadAvatar(second.GetId()); err != nil {
		t.Error(err)
	}
	if got := f.avatarsLeft(); got != [3]int{2, 0, 2} {
		t.Errorf("avatars, uploads, objects: %v", got)
	}
	for range 2 {
		if _, err := f.avatars.DeleteAvatar(f.teacher, &mediapb.DeleteAvatarRequest{}); err != nil {
			t.Error(err)
		}
		gone(second.GetId())
	}
	third := f.mustUploadAvatar(f.teacher, asPNG(plain(10, 10, red)))
	want := []*mediapb.AvatarChanged{
		{AccountId: f.account, AvatarId: first.GetId(), Version: 1},
		{AccountId: f.account, AvatarId: second.GetId(), Version: 2},
		{AccountId: f.account, Version: 3},
		{AccountId: f.account, AvatarId: third.GetId(), Version: 4},
	}
	if d := cmp.Diff(want, f.avatarEvents()[1:], protocmp.Transform()); d != "" {
		t.Errorf("events: %s", d)
	}
	if _, _, err := f.downloadAvatar(kept.GetId()); err != nil {
		t.Errorf("that of another: %v", err)
	}
	if _, _, err := f.downloadAvatar("media_01h455vb4pex5vsknk084sn02q"); !fault.Is(err, fault.Invalid) {
		t.Errorf("an id of another kind: %v", err)
	}
	if got := f.avatarsLeft(); got != [3]int{2, 0, 2} {
		t.Errorf("avatars, uploads, objects: %v", got)
	}
}

func TestAvatarsAtOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	const callers = 12
	content := asPNG(plain(10, 10, red))
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			if _, err := f.uploadAvatar(f.teacher, content); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() {
		if _, err := f.avatars.DeleteAvatar(f.teacher, &mediapb.DeleteAvatarRequest{}); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	events := f.avatarEvents()
	for i, e := range events {
		if e.GetVersion() != int64(i+1) {
			t.Errorf("event %d has version %d", i, e.GetVersion())
		}
	}
	last := events[len(events)-1].GetAvatarId()
	left := 1
	if last == "" { // deleted at last
		left = 0
	} else if _, _, err := f.downloadAvatar(last); err != nil {
		t.Error(err)
	}
	if got := f.avatarsLeft(); got != [3]int{left, 0, left} {
		t.Errorf("avatars, uploads, objects: %v", got)
	}
}

func TestAvatarOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := rpc.WithIdempotencyKey(f.teacher, "key-1")
	content := asPNG(plain(10, 10, red))
	got := make([]*mediapb.Avatar, 6)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = f.uploadAvatar(ctx, content); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, a := range got {
		if d := cmp.Diff(got[0], a, protocmp.Transform()); d != "" {
			t.Errorf("one key made two: %s", d)
		}
	}
	_, err := f.uploadAvatar(ctx, asPNG(plain(11, 11, red)))
	if fault.CodeOf(err) != "idempotency.key_reused" {
		t.Errorf("the key with another picture: %v", err)
	}
	if left := f.avatarsLeft(); left != [3]int{1, 0, 1} || len(f.avatarEvents()) != 1 {
		t.Errorf("avatars, uploads, objects: %v", left)
	}
}

func TestAvatarRate(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for range 20 { // what is refused counts too
		if _, err := f.uploadAvatar(f.teacher, []byte("text")); !errors.Is(err, media.ErrPictureType) {
			t.Fatal(err)
		}
	}
	content := asPNG(plain(10, 10, red))
	for range 2 {
		f.clock.Store(600)
		_, err := f.uploadAvatar(f.teacher, content)
		e, ok := errors.AsType[*fault.Error](err)
		if !ok || e.Code != "avatar.rate" || e.Kind != fault.Exhausted || e.Retry.Minutes() != 50 {
			t.Errorf("error %v", err)
		}
	}
	f.mustUploadAvatar(rpctest.Account(t.Context(), id.New("account")), content)
	f.clock.Store(3600)
	f.mustUploadAvatar(f.teacher, content)
}

func TestAvatarsAreSwept(t *testing.T) {
	t.Parallel()
	f := setup(t)
	object := func(avatarID string) string { return filepath.Join(f.dir, "media", avatarID) }
	first := f.mustUploadAvatar(f.teacher, asPNG(plain(10, 10, red)))

	// The process died before the row was there.
	lost := id.New("avatar")
	if err := os.WriteFile(object(lost), []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.db.Exec(t.Context(), `INSERT INTO upload (id, started_at) VALUES ($1, $2)`, lost, start); err != nil {
		t.Fatal(err)
	}
	// The object of the avatar before can't be deleted when it is replaced.
	if err := errors.Join(os.Remove(object(first.GetId())), os.MkdirAll(filepath.Join(object(first.GetId()), "x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	second := f.mustUploadAvatar(f.teacher, asPNG(plain(10, 10, red)))
	_, _, err := f.downloadAvatar(first.GetId())
	code(t, err, media.ErrAvatarNotFound)
	if err := errors.Join(os.RemoveAll(object(first.GetId())), os.WriteFile(object(first.GetId()), []byte("as before"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Sweep(t.Context()); err != nil || n != 1 {
		t.Errorf("swept %d, %v", n, err)
	}
	f.clock.Store(24*3600 + 60)
	if n, err := f.Sweep(t.Context()); err != nil || n != 1 {
		t.Errorf("a day later: swept %d, %v", n, err)
	}
	if _, _, err := f.downloadAvatar(second.GetId()); err != nil {
		t.Error(err)
	}
	if got := f.avatarsLeft(); got != [3]int{1, 0, 1} {
		t.Errorf("avatars, uploads, objects: %v", got)
	}
}

func TestAvatarLostItsObject(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a := f.mustUploadAvatar(f.teacher, asPNG(plain(10, 10, red)))
	path := filepath.Join(f.dir, "media", a.GetId())
	lost := func(what string) {
		t.Helper()
		if _, _, err := f.downloadAvatar(a.GetId()); !fault.Is(err, fault.Internal) {
			t.Errorf("%s is lost: %v", what, err)
		}
	}
	if err := os.Truncate(path, 30); err != nil {
		t.Fatal(err)
	}
	lost("a part")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	lost("all")
}
