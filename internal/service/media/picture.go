package media

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"

	"golang.org/x/image/draw"
	"golang.org/x/image/webp"

	"github.com/stoa-lms/stoa/internal/fault"
)

// Bounds of a picture that is written anew. Its size in bytes bounds nothing: a
// few hundred may say that they are a picture of gigabytes. The worst is a
// progressive JPEG in four colours, whose reading takes 24 bytes a pixel.
const (
	maxPixels = 25_000_000
	maxSide   = 12_000
	// Each scan of a JPEG goes over all of it, and takes some ten bytes.
	maxScans   = 100
	avatarSide = 256
)

// Errors of pictures.
var (
	ErrPictureType = badPicture("avatar.type_refused", "This is no picture of a kind that is taken.",
		"Send the bytes of a JPEG, PNG, GIF or WebP file.")
	ErrPictureLarge = badPicture("avatar.dimensions", "The picture has too many pixels.",
		fmt.Sprintf("At most %d megapixels, and %d pixels a side.", maxPixels/1_000_000, maxSide))
	ErrPictureBroken = badPicture("avatar.unreadable", "The picture is damaged, or of a variety that is not read.",
		"Open it in another program, and save it as JPEG or PNG.")
)

func badPicture(code, message, hint string) *fault.Error {
	return &fault.Error{
		Kind: fault.Invalid, Code: code, Message: message, Fields: []fault.Field{{Path: "chunk", Code: code, Hint: hint}},
	}
}

// format reads one kind of picture. The formats are named here, and not taken
// from the registry of the package image, to which any package may add.
type format struct {
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}

var formats = map[string]format{
	"image/jpeg": {jpeg.DecodeConfig, jpeg.Decode},
	"image/png":  {png.DecodeConfig, png.Decode},
	"image/gif":  {gif.DecodeConfig, gif.Decode}, // the first picture
	"image/webp": {webp.DecodeConfig, webp.Decode},
}

// pictureFormat tells what a picture is by its content, and how many pixels it
// says that it has, without reading more than its head.
func pictureFormat(content []byte) (f format, pixels int64, err error) {
	kind := http.DetectContentType(content)
	f, ok := formats[kind]
	if !ok {
		return format{}, 0, ErrPictureType
	}
	if kind == "image/jpeg" && bytes.Count(content, []byte("\xff\xda")) > maxScans {
		return format{}, 0, ErrPictureBroken
	}
	c, err := f.config(bytes.NewReader(content))
	if err != nil {
		return format{}, 0, fmt.Errorf("%w: %w", ErrPictureBroken, err)
	}
	pixels = int64(c.Width) * int64(c.Height)
	switch {
	case c.Width < 1 || c.Height < 1:
		return format{}, 0, ErrPictureBroken
	case c.Width > maxSide || c.Height > maxSide || pixels > maxPixels:
		return format{}, 0, ErrPictureLarge
	}
	return f, pixels, nil
}

// square writes the middle of a picture anew, as a JPEG of avatarSide pixels a
// side. Nothing of the original's bytes is in it.
func square(f format, content []byte) ([]byte, error) {
	picture, err := f.decode(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPictureBroken, err)
	}
	b := picture.Bounds()
	side := min(b.Dx(), b.Dy())
	if side < 1 { // the first picture of a GIF is not as large as the whole
		return nil, ErrPictureBroken
	}
	middle := image.Rect(0, 0, side, side).Add(b.Min).Add(image.Pt((b.Dx()-side)/2, (b.Dy()-side)/2))
	out := image.NewRGBA(image.Rect(0, 0, avatarSide, avatarSide))
	draw.Draw(out, out.Rect, image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.CatmullRom.Scale(out, out.Rect, picture, middle, draw.Over, nil)
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, turn(out, orientation(content)), &jpeg.Options{Quality: 85}); err != nil {
		return nil, fmt.Errorf("media: write a picture: %w", err)
	}
	return buf.Bytes(), nil
}

// turn returns a square as a camera that was held otherwise saw it; o is the
// value of the EXIF field Orientation.
func turn(p *image.RGBA, o int) *image.RGBA {
	if o < 2 || o > 8 {
		return p
	}
	last := avatarSide - 1
	out := image.NewRGBA(p.Rect)
	for y := range avatarSide {
		for x := range avatarSide {
			from := [...][2]int{
				2: {last - x, y}, 3: {last - x, last - y}, 4: {x, last - y},
				5: {y, x}, 6: {y, last - x}, 7: {last - y, last - x}, 8: {last - y, x},
			}[o]
			out.SetRGBA(x, y, p.RGBAAt(from[0], from[1]))
		}
	}
	return out
}

// orientation returns the EXIF field Orientation of a JPEG, 0 where there is
// none that can be read.
func orientation(content []byte) int {
	if !bytes.HasPrefix(content, []byte("\xff\xd8")) {
		return 0
	}
	// Segments, each with its marker and its length, up to the first of pixels.
	for rest := content[2:]; len(rest) >= 4 && rest[0] == 0xff && rest[1] != 0xda; {
		n := 2 + int(binary.BigEndian.Uint16(rest[2:]))
		if n < 4 || n > len(rest) {
			return 0
		}
		if exif, ok := bytes.CutPrefix(rest[4:n], []byte("Exif\x00\x00")); ok && rest[1] == 0xe1 {
			return exifOrientation(exif)
		}
		rest = rest[n:]
	}
	return 0
}

// exifOrientation finds the field in the first directory of EXIF data.
func exifOrientation(exif []byte) int {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(exif, []byte("II*\x00")):
		order = binary.LittleEndian
	case bytes.HasPrefix(exif, []byte("MM\x00*")):
		order = binary.BigEndian
	default:
		return 0
	}
	if len(exif) < 8 {
		return 0
	}
	at := int64(order.Uint32(exif[4:]))
	if at+2 > int64(len(exif)) {
		return 0
	}
	const orientationTag, short, entryLen = 0x0112, 3, 12
	count, entries := int(order.Uint16(exif[at:])), exif[at+2:]
	for range count {
		if len(entries) < entryLen {
			return 0
		}
		if order.Uint16(entries) == orientationTag && order.Uint16(entries[2:]) == short {
			return int(order.Uint16(entries[8:]))
		}
		entries = entries[entryLen:]
	}
	return 0
}
