package main

import "image/color"

// commit is a dot of a history.
func (c *canvas) commit(col color.Color, x, y float64, label string) {
	c.dot(ink, x, y, 34)
	c.dot(col, x, y, 29)
	c.text(mono, 22, ink, 0.5, x, y+8, label)
}

// tag is a name that points at something.
func (c *canvas) tag(col, text color.Color, x, y float64, name string) {
	w := 30 + 14.5*float64(len(name))
	c.box(col, x-w/2, y-24, w, 48, 10)
	c.text(mono, 24, text, 0.5, x, y+8, name)
}

func gitCover() *canvas {
	c := newCanvas(rgb(0x24, 0x20, 0x3d))
	main, side := 400.0, 270.0
	c.line(sky, 9, point{130, main}, point{1070, main})
	c.line(sand, 9, curve(point{330, main}, point{410, main}, point{390, side}, point{470, side})...)
	c.line(sand, 9, point{470, side}, point{740, side})
	c.line(sand, 9, curve(point{740, side}, point{820, side}, point{800, main}, point{880, main})...)
	for _, x := range []float64{130, 330, 600, 880, 1070} {
		c.dot(paper, x, main, 30)
		c.dot(blue, x, main, 22)
	}
	for _, x := range []float64{470, 605, 740} {
		c.dot(paper, x, side, 30)
		c.dot(orange, x, side, 22)
	}
	c.text(bold, 64, paper, 0.5, 600, 125, "Git from the first commit")
	c.text(mono, 30, mint, 0.5, 600, 540, "git init && git add . && git commit")
	c.text(regular, 28, sky, 0.5, 600, 615, "Keep every version, lose nothing, work with others")
	return c
}

func threePlaces() *canvas {
	c := newCanvas(paper)
	c.text(bold, 34, ink, 0.5, 600, 66, "Three places in your project")
	for i, place := range []struct {
		title, first, second string
		fill                 color.Color
	}{
		{"Working tree", "the files you see", "and edit", sand},
		{"Staging area", "what the next", "commit will hold", sky},
		{"Repository", "every commit", "so far (.git)", mint},
	} {
		x := 70 + 375*float64(i)
		c.box(place.fill, x, 190, 310, 230, 18)
		c.text(bold, 32, ink, 0.5, x+155, 265, place.title)
		c.text(regular, 26, ink, 0.5, x+155, 325, place.first)
		c.text(regular, 26, ink, 0.5, x+155, 360, place.second)
	}
	for i, name := range []string{"git add", "git commit"} {
		x := 225 + 375*float64(i)
		c.line(ink, 5, curve(point{x, 185}, point{x + 60, 115}, point{x + 315, 115}, point{x + 362, 165})...)
		c.fill(ink, point{x + 375, 186}, point{x + 349, 171}, point{x + 373, 157})
		c.text(mono, 26, blue, 0.5, x+187, 104, name)
	}
	c.line(grey, 5, curve(point{975, 425}, point{850, 560}, point{350, 560}, point{240, 445})...)
	c.fill(grey, point{225, 425}, point{253, 437}, point{231, 456})
	c.text(mono, 26, grey, 0.5, 600, 575, "git restore --source=HEAD FILE")
	c.text(regular, 24, grey, 0.5, 600, 620, "brings back what a commit holds")
	return c
}

func branchAndMerge() *canvas {
	c := newCanvas(paper)
	c.text(bold, 34, ink, 0.5, 600, 66, "A branch, and its merge")
	main, side := 420.0, 240.0
	c.line(blue, 6, point{130, main}, point{1000, main})
	c.line(orange, 6, curve(point{310, main}, point{380, main}, point{370, side}, point{440, side})...)
	c.line(orange, 6, point{440, side}, point{640, side})
	c.line(orange, 6, curve(point{640, side}, point{740, side}, point{730, main}, point{830, main})...)
	for i, label := range []string{"A", "B"} {
		c.commit(sky, 130+180*float64(i), main, label)
	}
	c.commit(sand, 440, side, "C")
	c.commit(sand, 640, side, "D")
	c.commit(sky, 560, main, "E")
	c.commit(mint, 830, main, "M")
	c.tag(orange, paper, 640, side-80, "recipes")
	c.tag(blue, paper, 1000, main, "main")
	c.arrow(blue, 5, point{945, main}, point{868, main})
	c.text(regular, 26, ink, 0.5, 600, 535, "E was made on main while C and D were made on recipes.")
	c.text(regular, 26, ink, 0.5, 600, 575, "M has two parents, D and E, and holds the work of both.")
	return c
}

func remote() *canvas {
	c := newCanvas(paper)
	c.text(bold, 34, ink, 0.5, 600, 66, "Your repository and the shared one")
	c.box(mint, 90, 210, 400, 260, 18)
	c.box(sky, 710, 210, 400, 260, 18)
	c.text(bold, 30, ink, 0.5, 290, 265, "Yours")
	c.text(bold, 30, ink, 0.5, 910, 265, "origin")
	c.tag(green, paper, 290, 330, "main")
	c.tag(grey, paper, 290, 400, "origin/main")
	c.tag(blue, paper, 910, 365, "main")
	c.arrow(ink, 5, point{505, 330}, point{695, 330})
	c.text(mono, 26, ink, 0.5, 600, 312, "git push")
	c.arrow(ink, 5, point{695, 400}, point{505, 400})
	c.text(mono, 26, ink, 0.5, 600, 440, "git fetch")
	c.text(regular, 26, ink, 0.5, 600, 540, "origin/main is your note of where main was over there, as of the last fetch.")
	c.text(mono, 26, blue, 0.5, 600, 595, "git pull = git fetch + git merge")
	return c
}
