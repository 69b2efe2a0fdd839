package media

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"testing"
)

// FuzzPicture: whatever comes is refused as the caller's mistake, or is made a
// picture of our size.
func FuzzPicture(f *testing.F) {
	img := image.NewPaletted(image.Rect(0, 0, 9, 7), []color.Color{color.White, color.Black})
	for _, encode := range []func(*bytes.Buffer) error{
		func(b *bytes.Buffer) error { return png.Encode(b, img) },
		func(b *bytes.Buffer) error { return jpeg.Encode(b, img, nil) },
		func(b *bytes.Buffer) error { return gif.Encode(b, img, nil) },
	} {
		var buf bytes.Buffer
		if err := encode(&buf); err != nil {
			f.Fatal(err)
		}
		f.Add(buf.Bytes())
	}
	f.Add([]byte("RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00"))
	f.Add([]byte("\xff\xd8\xff\xe1\x00\x22Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		orientation(content)
		how, pixels, err := pictureFormat(content)
		if err != nil || pixels > 1_000_000 {
			return
		}
		out, err := square(how, content)
		if err != nil {
			if !errors.Is(err, ErrPictureBroken) {
				t.Errorf("error %v", err)
			}
			return
		}
		if c, err := jpeg.DecodeConfig(bytes.NewReader(out)); err != nil || c.Width != avatarSide || c.Height != avatarSide {
			t.Errorf("made %+v, %v", c, err)
		}
	})
}
