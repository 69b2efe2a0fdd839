package main

import (
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/gomono"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

// The size of every picture.
const width, height = 1200, 675

// The colours, which people who see few of them can tell apart by lightness too.
var (
	paper  = rgb(0xfb, 0xfb, 0xf8)
	ink    = rgb(0x1d, 0x2b, 0x3a)
	grey   = rgb(0x6b, 0x77, 0x85)
	pale   = rgb(0xd8, 0xde, 0xe4)
	blue   = rgb(0x1f, 0x5f, 0xae)
	sky    = rgb(0x9d, 0xc3, 0xea)
	orange = rgb(0xd9, 0x6a, 0x0b)
	sand   = rgb(0xf6, 0xd2, 0xa8)
	green  = rgb(0x17, 0x7a, 0x5b)
	mint   = rgb(0xa9, 0xdc, 0xc8)
)

func rgb(r, g, b uint8) color.RGBA { return color.RGBA{R: r, G: g, B: b, A: 0xff} }

type point struct{ x, y float64 }

// canvas is a picture being drawn; y grows downwards.
type canvas struct{ img *image.RGBA }

func newCanvas(background color.Color) *canvas {
	c := &canvas{image.NewRGBA(image.Rect(0, 0, width, height))}
	draw.Draw(c.img, c.img.Bounds(), image.NewUniform(background), image.Point{}, draw.Src)
	return c
}

// fill fills a polygon.
func (c *canvas) fill(col color.Color, points ...point) {
	r := vector.NewRasterizer(width, height)
	for i, p := range points {
		if i == 0 {
			r.MoveTo(float32(p.x), float32(p.y))
		} else {
			r.LineTo(float32(p.x), float32(p.y))
		}
	}
	r.ClosePath()
	r.Draw(c.img, c.img.Bounds(), image.NewUniform(col), image.Point{})
}

func (c *canvas) rect(col color.Color, x, y, w, h float64) {
	c.fill(col, point{x, y}, point{x + w, y}, point{x + w, y + h}, point{x, y + h})
}

// box is a rectangle with round corners.
func (c *canvas) box(col color.Color, x, y, w, h, radius float64) {
	var points []point
	for corner, centre := range []point{{x + w - radius, y + h - radius}, {x + radius, y + h - radius}, {x + radius, y + radius}, {x + w - radius, y + radius}} {
		for step := range 13 {
			a := math.Pi / 2 * (float64(corner) + float64(step)/12)
			points = append(points, point{centre.x + radius*math.Cos(a), centre.y + radius*math.Sin(a)})
		}
	}
	c.fill(col, points...)
}

func (c *canvas) dot(col color.Color, x, y, radius float64) {
	c.box(col, x-radius, y-radius, 2*radius, 2*radius, radius)
}

// line is a line of the given thickness through the points.
func (c *canvas) line(col color.Color, thick float64, points ...point) {
	for i := 1; i < len(points); i++ {
		a, b := points[i-1], points[i]
		length := math.Hypot(b.x-a.x, b.y-a.y)
		if length == 0 {
			continue
		}
		dx, dy := (b.y-a.y)/length*thick/2, -(b.x-a.x)/length*thick/2
		c.fill(col, point{a.x + dx, a.y + dy}, point{b.x + dx, b.y + dy}, point{b.x - dx, b.y - dy}, point{a.x - dx, a.y - dy})
		if i > 1 {
			c.dot(col, a.x, a.y, thick/2)
		}
	}
}

// dashed is a broken straight line.
func (c *canvas) dashed(col color.Color, thick float64, a, b point) {
	length := math.Hypot(b.x-a.x, b.y-a.y)
	for at := 0.0; at < length; at += 20 {
		end := min(at+12, length)
		c.line(col, thick,
			point{a.x + (b.x-a.x)*at/length, a.y + (b.y-a.y)*at/length},
			point{a.x + (b.x-a.x)*end/length, a.y + (b.y-a.y)*end/length})
	}
}

// arrow is a line with a head at b.
func (c *canvas) arrow(col color.Color, thick float64, a, b point) {
	length := math.Hypot(b.x-a.x, b.y-a.y)
	ux, uy := (b.x-a.x)/length, (b.y-a.y)/length
	head := thick * 4
	base := point{b.x - ux*head, b.y - uy*head}
	c.line(col, thick, a, base)
	c.fill(col, b, point{base.x - uy*head/2, base.y + ux*head/2}, point{base.x + uy*head/2, base.y - ux*head/2})
}

// curve returns points of a cubic Bézier curve.
func curve(a, b, d, e point) []point {
	points := make([]point, 0, 41)
	for i := range 41 {
		t := float64(i) / 40
		u := 1 - t
		points = append(points, point{
			u*u*u*a.x + 3*u*u*t*b.x + 3*u*t*t*d.x + t*t*t*e.x,
			u*u*u*a.y + 3*u*u*t*b.y + 3*u*t*t*d.y + t*t*t*e.y,
		})
	}
	return points
}

// face is a font to write with.
type face []byte

var (
	regular face = goregular.TTF
	bold    face = gobold.TTF
	mono    face = gomono.TTF
)

func (f face) at(size float64) font.Face {
	parsed, err := opentype.Parse(f)
	check(err)
	made, err := opentype.NewFace(parsed, &opentype.FaceOptions{Size: size, DPI: 72, Hinting: font.HintingNone})
	check(err)
	return made
}

// text writes with its base line at y; align 0 begins at x, 0.5 is centred on
// it and 1 ends there.
func (c *canvas) text(f face, size float64, col color.Color, align, x, y float64, s string) {
	made := f.at(size)
	w := float64(font.MeasureString(made, s)) / 64
	d := font.Drawer{Dst: c.img, Src: image.NewUniform(col), Face: made, Dot: fixed.Point26_6{
		X: fixed.Int26_6((x - align*w) * 64), Y: fixed.Int26_6(y * 64),
	}}
	d.DrawString(s)
}

// save writes the picture with as few colours as do.
func (c *canvas) save(path string) {
	check(os.MkdirAll(filepath.Dir(path), 0o750))
	f, err := os.Create(path) //nolint:gosec // the caller names the folder
	check(err)
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	check(encoder.Encode(f, reduced(c.img)))
	check(f.Close())
}

// reduced returns the picture with a palette of its 256 most used colours.
func reduced(img *image.RGBA) image.Image {
	count := map[color.RGBA]int{}
	for y := range height {
		for x := range width {
			count[img.RGBAAt(x, y)]++
		}
	}
	palette := mostUsed(count, 256)
	out := image.NewPaletted(img.Bounds(), palette)
	nearest := map[color.RGBA]uint8{}
	for y := range height {
		for x := range width {
			col := img.RGBAAt(x, y)
			i, ok := nearest[col]
			if !ok {
				i = uint8(palette.Index(col)) //nolint:gosec // a palette has at most 256 colours
				nearest[col] = i
			}
			out.SetColorIndex(x, y, i)
		}
	}
	return out
}
