// Command draw makes the pictures of the demo school's courses:
//
//	cd internal/demo/draw && go run . ../content
//
// It is a module of its own because nothing else needs what it draws with. The
// pictures are committed; the same program draws the same bytes.
package main

import (
	"cmp"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: draw content-folder")
		os.Exit(2)
	}
	content := os.Args[1]
	minutes := commuteTimes(filepath.Join(content, "statistics/files/commute-times.csv"))
	for name, c := range map[string]*canvas{
		"statistics/images/cover.png":            statisticsCover(),
		"statistics/images/mean-and-median.png":  meanAndMedian(minutes),
		"statistics/images/sample-means.png":     sampleMeans(minutes),
		"statistics/images/twenty-intervals.png": twentyIntervals(minutes),
		"statistics/images/shoes-and-words.png":  shoesAndWords(),
		"english/images/cover.png":               englishCover(),
		"english/images/sentence-lengths.png":    sentenceLengths(),
		"english/images/answer-first.png":        answerFirst(),
		"git/images/cover.png":                   gitCover(),
		"git/images/three-places.png":            threePlaces(),
		"git/images/branch-and-merge.png":        branchAndMerge(),
		"git/images/remote.png":                  remote(),
	} {
		c.save(filepath.Join(content, name))
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "draw:", err)
		os.Exit(1)
	}
}

func mostUsed(count map[color.RGBA]int, n int) color.Palette {
	type used struct {
		col   color.RGBA
		times int
	}
	list := make([]used, 0, len(count))
	for col, times := range count {
		list = append(list, used{col, times})
	}
	slices.SortFunc(list, func(a, b used) int {
		return cmp.Or(cmp.Compare(b.times, a.times), cmp.Compare(a.col.R, b.col.R), cmp.Compare(a.col.G, b.col.G), cmp.Compare(a.col.B, b.col.B))
	})
	palette := color.Palette{}
	for _, u := range list[:min(n, len(list))] {
		palette = append(palette, u.col)
	}
	return palette
}
