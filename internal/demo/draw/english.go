package main

import (
	"image/color"
	"strconv"
)

func englishCover() *canvas {
	c := newCanvas(rgb(0x17, 0x4a, 0x3d))
	c.text(bold, 64, paper, 0.5, 600, 110, "Write clear English")
	c.box(paper, 240, 160, 720, 400, 18)
	widths := []float64{560, 610, 480, 590, 330}
	for i, w := range widths {
		y := 215 + 68*float64(i)
		if i == 1 || i == 3 {
			c.box(sand, 285, y-19, w+20, 46, 8)
		}
		c.box(rgb(0x8c, 0x98, 0xa5), 295, y-4, w, 16, 8)
	}
	// What was struck out.
	c.line(orange, 7, point{285, 284}, point{915, 284})
	c.line(orange, 7, point{285, 420}, point{900, 420})
	// A pencil.
	c.fill(orange, point{905, 470}, point{1035, 340}, point{1075, 380}, point{945, 510})
	c.fill(sand, point{905, 470}, point{945, 510}, point{880, 535})
	c.fill(ink, point{889, 510}, point{905, 526}, point{880, 535})
	c.text(regular, 28, mint, 0.5, 600, 625, "Say it once, say it plainly, be understood")
	return c
}

// sentenceLengths shows the words of each sentence in the example of the lesson
// "Paragraphs that keep a promise": before and after.
func sentenceLengths() *canvas {
	c := newCanvas(paper)
	c.text(bold, 34, ink, 0, 90, 64, "Words in each sentence of one paragraph")
	for i, half := range []struct {
		label string
		words []int
	}{{"before: every sentence alike", []int{20, 21, 20, 20, 20, 18}}, {"after: short ones carry the point", []int{4, 14, 14, 3, 18, 6, 6}}} {
		left := 120 + 550*float64(i)
		base := 560.0
		for n := 5; n <= 25; n += 5 {
			y := base - float64(n)*16
			c.line(pale, 1, point{left, y}, point{left + 470, y})
			c.text(regular, 20, grey, 1, left-10, y+7, strconv.Itoa(n))
		}
		for j, n := range half.words {
			x := left + 12 + 65*float64(j)
			h := float64(n) * 16
			if i == 0 {
				c.rect(sand, x, base-h, 52, h)
			} else {
				c.rect(mint, x, base-h, 52, h)
			}
			c.text(bold, 22, ink, 0.5, x+26, base-h-10, strconv.Itoa(n))
		}
		c.line(ink, 2, point{left, base}, point{left + 470, base})
		c.text(regular, 24, ink, 0.5, left+235, base+42, half.label)
	}
	return c
}

func answerFirst() *canvas {
	c := newCanvas(paper)
	c.text(bold, 34, ink, 0.5, 600, 66, "What comes first gets read")
	top, each := 105.0, 125.0
	edge := func(y float64) float64 { return 500 * (1 - (y-top)/(4.6*each)) }
	for i, row := range []struct {
		title, note string
		fill, text  color.Color
	}{
		{"The answer", "what happened, what you need, by when", green, paper},
		{"What follows from it", "cost, risk, who is affected", blue, paper},
		{"How you know", "figures, sources, what you tried", sky, ink},
		{"Background", "for those who want it", pale, ink},
	} {
		y0, y1 := top+each*float64(i), top+each*float64(i+1)-8
		c.fill(row.fill, point{600 - edge(y0), y0}, point{600 + edge(y0), y0}, point{600 + edge(y1), y1}, point{600 - edge(y1), y1})
		size := 30 - 2*float64(i)
		c.text(bold, size, row.text, 0.5, 600, y0+54, row.title)
		c.text(regular, size-5, row.text, 0.5, 600, y0+86, row.note)
	}
	c.arrow(grey, 5, point{80, 130}, point{80, 590})
	c.text(regular, 22, grey, 0, 60, 625, "fewer readers get here")
	return c
}
