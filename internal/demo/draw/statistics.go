package main

import (
	"encoding/csv"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
)

// commuteTimes reads the minutes of the course's data set.
func commuteTimes(path string) []float64 {
	f, err := os.Open(path) //nolint:gosec // the caller names the folder
	check(err)
	rows, err := csv.NewReader(f).ReadAll()
	check(err)
	check(f.Close())
	var minutes []float64
	for _, row := range rows[1:] {
		m, err := strconv.ParseFloat(row[2], 64)
		check(err)
		minutes = append(minutes, m)
	}
	return minutes
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

func deviation(values []float64) float64 {
	m, sum := mean(values), 0.0
	for _, v := range values {
		sum += (v - m) * (v - m)
	}
	return math.Sqrt(sum / float64(len(values)-1))
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// counted returns how many values fall into each bin.
func counted(values []float64, from, size float64, bins int) []int {
	counts := make([]int, bins)
	for _, v := range values {
		if i := int((v - from) / size); i >= 0 && i < bins {
			counts[i]++
		}
	}
	return counts
}

func statisticsCover() *canvas {
	c := newCanvas(ink)
	for i := range 37 {
		x := 60 + float64(i)*30
		z := (x - 600) / 190
		h := 380 * math.Exp(-z*z/2)
		col := blue
		if math.Abs(z) > 1.96 {
			col = orange
		}
		c.rect(col, x-12, 560-h, 24, h)
	}
	var bell []point
	for x := 40.0; x <= 1160; x += 4 {
		z := (x - 600) / 190
		bell = append(bell, point{x, 560 - 400*math.Exp(-z*z/2)})
	}
	c.line(sand, 5, bell...)
	c.line(pale, 3, point{40, 562}, point{1160, 562})
	c.text(bold, 64, paper, 0.5, 600, 105, "Statistics you can trust")
	c.text(regular, 28, sky, 0.5, 600, 625, "From a list of numbers to a sentence you can defend")
	return c
}

// axis draws a horizontal axis with ticks and returns where a value is.
func (c *canvas) axis(y, from, to, step float64, label string) func(float64) float64 {
	const left, right = 110, 1120
	at := func(v float64) float64 { return left + (v-from)/(to-from)*(right-left) }
	c.line(ink, 2, point{left, y}, point{right, y})
	for v := from; v <= to+step/1000; v += step {
		c.line(ink, 2, point{at(v), y}, point{at(v), y + 8})
		c.text(regular, 22, ink, 0.5, at(v), y+34, strconv.FormatFloat(v, 'f', -1, 64))
	}
	c.text(regular, 24, ink, 0.5, (left+right)/2, y+72, label)
	return at
}

func meanAndMedian(minutes []float64) *canvas {
	c := newCanvas(paper)
	c.text(bold, 34, ink, 0, 110, 64, "How long 60 people take to get to work")
	at := c.axis(560, 0, 100, 10, "minutes, one way")
	for i, n := range counted(minutes, 0, 5, 20) {
		c.rect(sky, at(float64(5*i))+1, 560-float64(n)*36, at(5)-at(0)-2, float64(n)*36)
	}
	for n := 2; n <= 10; n += 2 {
		y := 560 - float64(n)*36
		c.text(regular, 20, grey, 1, 100, y+7, strconv.Itoa(n))
		c.line(pale, 1, point{110, y}, point{1120, y})
	}
	mid, avg := median(minutes), mean(minutes)
	c.line(green, 5, point{at(mid), 560}, point{at(mid), 95})
	c.dashed(orange, 5, point{at(avg), 560}, point{at(avg), 130})
	c.text(bold, 26, green, 1, at(mid)-12, 118, fmt.Sprintf("median %.0f", mid))
	c.text(bold, 26, orange, 0, at(avg)+12, 152, fmt.Sprintf("mean %.1f", avg))
	c.text(regular, 22, grey, 0.5, at(87), 440, "three long trips pull")
	c.text(regular, 22, grey, 0.5, at(87), 466, "the mean to the right")
	return c
}

// draws returns the means of many samples with replacement.
func draws(r *rand.Rand, from []float64, size, times int) []float64 {
	means := make([]float64, times)
	for i := range means {
		for range size {
			means[i] += from[r.IntN(len(from))]
		}
		means[i] /= float64(size)
	}
	return means
}

func sampleMeans(minutes []float64) *canvas {
	c := newCanvas(paper)
	c.text(bold, 34, ink, 0, 110, 64, "2,000 sample means, twice")
	r := rand.New(rand.NewPCG(3, 8)) //nolint:gosec // a picture that is the same each time
	at := c.axis(570, 10, 70, 10, "mean of the sample, in minutes")
	for i, row := range []struct {
		size  int
		label string
	}{{5, "samples of 5 people"}, {60, "samples of 60 people"}} {
		base := 320 + 250*float64(i)
		col, strong := sand, orange
		if i == 1 {
			col, strong = sky, blue
		}
		means := draws(r, minutes, row.size, 2000)
		counts := counted(means, 10, 1, 60)
		most := float64(slices.Max(counts))
		for b, n := range counts {
			h := 185 * float64(n) / most
			c.rect(col, at(10+float64(b))+1, base-h, at(1)-at(0)-2, h)
		}
		c.line(pale, 2, point{110, base}, point{1120, base})
		c.text(bold, 26, strong, 0, at(49), base-120, row.label)
		c.text(regular, 22, grey, 0, at(49), base-88, fmt.Sprintf("spread of the means: %.1f minutes", deviation(means)))
	}
	c.dashed(ink, 3, point{at(mean(minutes)), 570}, point{at(mean(minutes)), 110})
	return c
}

func twentyIntervals(minutes []float64) *canvas {
	c := newCanvas(paper)
	c.text(bold, 34, ink, 0, 110, 58, "Twenty samples of 30 people, twenty 95 % intervals")
	at := c.axis(575, 20, 55, 5, "minutes")
	truth := mean(minutes)
	c.dashed(ink, 3, point{at(truth), 575}, point{at(truth), 90})
	c.text(regular, 22, ink, 0, at(truth)+12, 100, "the mean of all")
	for i, s := range oneMisses(minutes, truth) {
		m := mean(s)
		half := 2.045 * deviation(s) / math.Sqrt(float64(len(s)))
		col := blue
		if math.Abs(m-truth) > half {
			col = orange
		}
		y := 125 + 22.5*float64(i)
		c.line(col, 4, point{at(m - half), y}, point{at(m + half), y})
		c.dot(col, at(m), y, 6)
	}
	return c
}

// oneMisses returns twenty samples of which the intervals of nineteen contain
// the truth: what 95 % means on average.
func oneMisses(minutes []float64, truth float64) [][]float64 {
	for seed := uint64(1); ; seed++ {
		r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a picture that is the same each time
		var samples [][]float64
		misses := 0
		for range 20 {
			s := make([]float64, 30)
			for i := range s {
				s[i] = minutes[r.IntN(len(minutes))]
			}
			if math.Abs(mean(s)-truth) > 2.045*deviation(s)/math.Sqrt(30) {
				misses++
			}
			samples = append(samples, s)
		}
		if misses == 1 {
			return samples
		}
	}
}

func shoesAndWords() *canvas {
	c := newCanvas(paper)
	c.text(bold, 34, ink, 0, 110, 64, "Bigger shoes, more words?")
	at := c.axis(565, 26, 42, 2, "shoe size (EU)")
	up := func(words float64) float64 { return 565 - words/9*450 }
	for n := 0; n <= 9; n += 3 {
		c.text(regular, 20, grey, 1, 100, up(float64(n))+7, strconv.Itoa(n))
		c.line(pale, 1, point{110, up(float64(n))}, point{1120, up(float64(n))})
	}
	c.text(regular, 22, grey, 0, 110, 96, "words known, in thousands")
	r := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // a picture that is the same each time
	// Each class has its colour and its shape.
	marks := []func(x, y float64){
		func(x, y float64) { c.dot(orange, x, y, 9) },
		func(x, y float64) { c.rect(green, x-8, y-8, 16, 16) },
		func(x, y float64) { c.fill(blue, point{x, y - 11}, point{x + 10, y + 8}, point{x - 10, y + 8}) },
	}
	for i, class := range []struct {
		label       string
		shoe, words float64
	}{{"age 6", 29.5, 2.2}, {"age 9", 33.5, 4.4}, {"age 12", 37.5, 6.6}} {
		for range 16 {
			marks[i](at(class.shoe+1.1*r.NormFloat64()), up(class.words+0.7*r.NormFloat64()))
		}
		y := 430 + 34*float64(i)
		marks[i](at(38.6), y-8)
		c.text(regular, 24, ink, 0, at(38.6)+24, y, class.label)
	}
	return c
}
