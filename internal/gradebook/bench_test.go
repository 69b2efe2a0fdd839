package gradebook_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/gradebook"
)

// cohort is a course of so many items with a row for each of so many students: five
// weighted categories, one of which drops two, a late policy, marks in quarters of a
// point, some late, missing, excused and hidden.
func cohort(b *testing.B, items, students int, plain bool) (*gradebook.Book, []gradebook.Row) {
	p := &gradebook.Policy{
		Version: 1, Method: gradebook.Weighted, Late: &gradebook.LatePolicy{Rate: exact.Int(10), Interval: 86400, Floor: exact.Int(40)},
		MissingDeduction: new(exact.Int(100)), Rounding: gradebook.Rounding{Places: 2}, PassMark: new(exact.Int(60)),
		Letters: []gradebook.Letter{{Letter: "A", Min: exact.Int(90)}, {Letter: "B", Min: exact.Int(80)}, {Letter: "F"}},
	}
	for i := range 5 {
		p.Categories = append(p.Categories, gradebook.Category{Key: fmt.Sprint(i), Weight: new(exact.Int(20))})
	}
	p.Categories[0].DropLowest = 2
	for i := range items {
		p.Items = append(p.Items, gradebook.Item{ID: fmt.Sprint(i), Category: fmt.Sprint(i % 5), Points: exact.Int([]int64{10, 20, 25, 100}[i%4])})
	}
	book, err := gradebook.Compile(p)
	if err != nil {
		b.Fatal(err)
	}
	rows := make([]gradebook.Row, students)
	for s := range rows {
		rows[s].Marks = make([]gradebook.Mark, items)
		for i := range items {
			seed := int64(s*7919 + i*104729)
			m := gradebook.Mark{Status: gradebook.Graded, Raw: exact.Ratio(seed%41, 4)}
			switch {
			case plain:
			case seed%17 == 0:
				m.Late = seed % 300000
			case seed%19 == 0:
				m = gradebook.Mark{Status: gradebook.Missing}
			case seed%23 == 0:
				m = gradebook.Mark{Status: gradebook.Excused}
			case seed%29 == 0:
				m = gradebook.Mark{}
			case seed%31 == 0:
				m.Hidden = true
			}
			rows[s].Marks[i] = m
		}
	}
	return book, rows
}

// perItem reports the time for one student's item: by the clock, and of a processor,
// which says something on a machine that others use too.
func perItem(b *testing.B, items int, before time.Duration) {
	n := float64(b.N) * float64(items)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/student-item")
	b.ReportMetric(float64((processor(b)-before).Nanoseconds())/n, "cpu-ns/student-item")
}

// processor is how much time of a processor was used so far.
func processor(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkStudent calculates all four views of students of a course, one after the
// other. Plain is where all four are the same.
func BenchmarkStudent(b *testing.B) {
	for _, items := range []int{10, 100, 1000} {
		for _, kind := range []string{"plain", "all views"} {
			b.Run(fmt.Sprintf("%d items/%s", items, kind), func(b *testing.B) {
				book, rows := cohort(b, items, 1000*100/items, kind == "plain")
				var r gradebook.Result
				b.ReportAllocs()
				at, before := 0, processor(b)
				for b.Loop() {
					book.Into(&r, &rows[at%len(rows)])
					at++
				}
				perItem(b, items, before)
			})
		}
	}
}

// BenchmarkDrops is the search where points differ and much is dropped.
func BenchmarkDrops(b *testing.B) {
	for _, items := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(items), func(b *testing.B) {
			p := &gradebook.Policy{Version: 1, Method: gradebook.Points, Categories: []gradebook.Category{{Key: "a", DropLowest: items / 10}}}
			row := &gradebook.Row{}
			for i := range int64(items) {
				p.Items = append(p.Items, gradebook.Item{ID: fmt.Sprint(i), Category: "a", Points: exact.Int(5 + i%20)})
				row.Marks = append(row.Marks, gradebook.Mark{Status: gradebook.Graded, Raw: exact.Ratio(i*104729%97, 4)})
			}
			book, err := gradebook.Compile(p)
			if err != nil {
				b.Fatal(err)
			}
			var r gradebook.Result
			before := processor(b)
			for b.Loop() {
				book.Into(&r, row)
			}
			perItem(b, items, before)
		})
	}
}

// BenchmarkExplain is one derivation.
func BenchmarkExplain(b *testing.B) {
	book, rows := cohort(b, 100, 1, false)
	b.ReportAllocs()
	before := processor(b)
	for b.Loop() {
		book.Explain(&rows[0], gradebook.Posted, gradebook.Final)
	}
	perItem(b, 100, before)
}
