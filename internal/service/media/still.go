package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"os"

	"golang.org/x/image/draw"
)

// widths of a picture that are made where it is wider, and the widest of all.
var widths = []int{320, 640, 1280, 1920}

const (
	maxWidth = 2560
	// maxStill bounds a picture in bytes.
	maxStill = 100 << 20
	// maxFrames and maxFramePixels bound a picture that moves, of which all is
	// read at once.
	maxFrames      = 500
	maxFramePixels = 60_000_000
)

// makeImages writes a picture anew in several sizes, as it was meant to be held.
// Nothing of the original's bytes is in them. One that moves is written anew as
// well, and its sizes show the first picture.
func (s *Service) makeImages(ctx context.Context, j *job) (*result, error) {
	content, err := readUpTo(j.path("in"), maxStill)
	if err != nil {
		return nil, err
	}
	f, pixels, err := pictureFormat(content)
	switch {
	case errors.Is(err, ErrPictureType):
		return nil, problemError(problemImageType)
	case errors.Is(err, ErrPictureLarge):
		return nil, problemError(problemSize)
	case err != nil:
		return nil, problemError(problemImage)
	}
	if err := s.pixels.Acquire(ctx, pixels); err != nil {
		return nil, err
	}
	defer s.pixels.Release(pixels)
	res := &result{kind: kindImage}
	if moving, err := animation(content); err != nil {
		return nil, err
	} else if moving != nil {
		res.parts = append(res.parts, *moving)
	}
	picture, err := f.decode(bytes.NewReader(content))
	if err != nil || picture.Bounds().Empty() {
		return nil, problemError(problemImage)
	}
	o := orientation(content)
	b := picture.Bounds()
	res.width, res.height = b.Dx(), b.Dy()
	if o >= 5 {
		res.width, res.height = res.height, res.width
	}
	opaque := isOpaque(picture)
	for _, w := range sizes(res.width) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h := max(1, (res.height*w+res.width/2)/res.width)
		p, err := still(picture, o, w, h, opaque)
		if err != nil {
			return nil, err
		}
		res.parts = append(res.parts, p)
	}
	return res, nil
}

// sizes returns the widths that are made of a picture of a width.
func sizes(width int) []int {
	var list []int
	for _, w := range widths {
		if w < width {
			list = append(list, w)
		}
	}
	return append(list, min(width, maxWidth))
}

// still writes a picture in one size: a JPEG, or a PNG where it can be seen
// through.
func still(picture image.Image, o, w, h int, opaque bool) (part, error) {
	sw, sh := w, h // before it is turned
	if o >= 5 {
		sw, sh = h, w
	}
	out := image.NewRGBA(image.Rect(0, 0, sw, sh))
	op := draw.Src
	if opaque {
		draw.Draw(out, out.Rect, image.NewUniform(color.White), image.Point{}, draw.Src)
		op = draw.Over
	}
	draw.ApproxBiLinear.Scale(out, out.Rect, picture, picture.Bounds(), op, nil)
	out = upright(out, o)
	p := part{variant: variant{Name: fmt.Sprintf("w%d.jpg", w), ContentType: "image/jpeg", Width: w, Height: h}}
	var buf bytes.Buffer
	var err error
	if opaque {
		err = jpeg.Encode(&buf, out, &jpeg.Options{Quality: 85})
	} else {
		p.Name, p.ContentType = fmt.Sprintf("w%d.png", w), "image/png"
		err = png.Encode(&buf, out)
	}
	if err != nil {
		return part{}, fmt.Errorf("media: write a picture: %w", err)
	}
	p.content = buf.Bytes()
	return p, nil
}

func isOpaque(p image.Image) bool {
	o, ok := p.(interface{ Opaque() bool })
	return ok && o.Opaque()
}

// upright returns a picture as a camera that was held otherwise saw it; o is the
// value of the EXIF field Orientation.
func upright(p *image.RGBA, o int) *image.RGBA {
	if o < 2 || o > 8 {
		return p
	}
	w, h := p.Rect.Dx(), p.Rect.Dy()
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	if o >= 5 {
		out = image.NewRGBA(image.Rect(0, 0, h, w))
	}
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			var fx, fy int
			switch o {
			case 2:
				fx, fy = w-1-x, y
			case 3:
				fx, fy = w-1-x, h-1-y
			case 4:
				fx, fy = x, h-1-y
			case 5:
				fx, fy = y, x
			case 6:
				fx, fy = y, h-1-x
			case 7:
				fx, fy = w-1-y, h-1-x
			case 8:
				fx, fy = w-1-y, x
			}
			out.SetRGBA(x, y, p.RGBAAt(fx, fy))
		}
	}
	return out
}

// animation returns a GIF that moves without what is written beside its pictures;
// nil for what does not move.
func animation(content []byte) (*part, error) {
	if !bytes.HasPrefix(content, []byte("GIF8")) {
		return nil, nil //nolint:nilnil // none is an answer like others
	}
	frames, pixels := gifFrames(content)
	if frames < 2 {
		return nil, nil //nolint:nilnil // the same
	}
	if frames > maxFrames || pixels > maxFramePixels {
		return nil, problemError(problemAnimation)
	}
	g, err := gif.DecodeAll(bytes.NewReader(content))
	if err != nil {
		return nil, problemError(problemImage)
	}
	var buf bytes.Buffer
	if err := gif.EncodeAll(&buf, g); err != nil {
		return nil, problemError(problemImage)
	}
	return &part{
		variant: variant{Name: "animation.gif", ContentType: "image/gif", Width: g.Config.Width, Height: g.Config.Height}, content: buf.Bytes(),
	}, nil
}

// gifFrames counts the pictures of a GIF and their pixels by its blocks, without
// reading what is in them.
func gifFrames(p []byte) (frames int, pixels int64) {
	if len(p) < 13 {
		return 0, 0
	}
	table := func(flags byte) int {
		if flags&0x80 == 0 {
			return 0
		}
		return 3 << (flags&7 + 1)
	}
	at := 13 + table(p[10])
	blocks := func() bool { // over a chain of pieces with their lengths
		for at < len(p) {
			n := int(p[at])
			at += 1 + n
			if n == 0 {
				return true
			}
		}
		return false
	}
	for at < len(p) {
		switch p[at] {
		case 0x21: // an extension
			at += 2
			if !blocks() {
				return frames, pixels
			}
		case 0x2c: // a picture
			if at+10 > len(p) {
				return frames, pixels
			}
			frames++
			pixels += int64(int(p[at+5])|int(p[at+6])<<8) * int64(int(p[at+7])|int(p[at+8])<<8)
			at += 10 + table(p[at+9]) + 1
			if !blocks() {
				return frames, pixels
			}
		default:
			return frames, pixels
		}
	}
	return frames, pixels
}

func readUpTo(path string, most int64) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // in a folder of our own
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(content)) > most {
		return nil, problemError(problemSize)
	}
	return content, nil
}
