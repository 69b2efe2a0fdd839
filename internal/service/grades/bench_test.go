package grades

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// crowd fills the course with students who have a mark in each of some quizzes, and
// counts them. It returns the quizzes and some of the students.
func (w *world) crowd(students, quizzes int) (q, some []string) {
	w.t.Helper()
	ctx := context.Background()
	q = newIDs("activity", quizzes)
	w.publish(1, halves(q[:quizzes/2], q[quizzes/2:]), q...)
	for _, sql := range []string{
		`UPDATE item SET told_points = 10, told_at = now() WHERE course_id = $1`,
		`UPDATE course SET revision = revision + 1 WHERE course_id = $1`,
		`INSERT INTO student (course_id, account_id, name, sort_key, enrolled, enrolled_at, enrollment_version)
		SELECT $1, 'account_' || to_char(n, 'FM00000000'), 'Student ' || n, 'student ' || to_char(n, 'FM00000000'), true, now(), 1 FROM generate_series(1, ` + strconv.Itoa(students) + `) AS n`,
	} {
		if _, err := w.db.Exec(ctx, sql, w.course); err != nil {
			w.t.Fatal(err)
		}
	}
	for from := 0; from < students; from += 5_000 {
		if _, err := w.db.Exec(ctx, `
			INSERT INTO cell (course_id, item_id, account_id, state, points, max_points, submitted_at, mark_version, posted, seq)
			SELECT $1, i.item_id, 'account_' || to_char(n, 'FM00000000'), 'marked', (hashtext(i.item_id || n) & 1023) * 10 / 1023.0, 10, now(), 1, true, 1
			FROM generate_series($2 + 1, least($2 + 5000, $3)) AS n, item i WHERE i.course_id = $1`, w.course, from, students); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, table := range []string{"student", "cell"} {
		if _, err := w.db.Exec(ctx, `ANALYZE `+table); err != nil {
			w.t.Fatal(err)
		}
	}
	for i := range min(students, 1000) {
		some = append(some, fmt.Sprintf("account_%08d", i*(students/min(students, 1000))+1))
	}
	return q, some
}

// countAll counts everybody anew and returns how long it took.
func (w *world) countAll() time.Duration {
	w.t.Helper()
	if err := w.db.InTx(context.Background(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		return w.service.countEverybody(context.Background(), tx, w.course)
	}); err != nil {
		w.t.Fatal(err)
	}
	begin := time.Now()
	w.settled()
	return time.Since(begin)
}

// BenchmarkMark is one changed mark in courses of many sizes: it should cost the same.
func BenchmarkMark(b *testing.B) {
	for _, students := range []int{10, 1_000, 100_000} {
		b.Run(fmt.Sprint(students), func(b *testing.B) {
			w := newWorld(b)
			q, some := w.crowd(students, 10)
			some = some[:10]
			w.marks = 10
			for _, account := range some { // the first mark writes what was never counted
				w.give(w.mark(account, q[0], "5", "10"))
			}
			n := 0
			for b.Loop() {
				w.give(w.mark(some[n%10], q[n/10%len(q)], strconv.Itoa(n%11), "10"))
				n++
			}
		})
	}
}

// BenchmarkCount is a count of everybody, with all that it writes: for each student and
// item it should take the same time, however many there are.
func BenchmarkCount(b *testing.B) {
	for _, size := range [][2]int{{100, 100}, {1_000, 10}, {1_000, 100}, {10_000, 100}} {
		b.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(b *testing.B) {
			w := newWorld(b)
			w.crowd(size[0], size[1])
			first := w.countAll() // writes every score
			cells := float64(size[0] * size[1])
			for b.Loop() {
				w.countAll() // finds them as they are
			}
			b.ReportMetric(float64(first.Nanoseconds())/cells, "first-ns/cell")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/cells, "ns/cell")
		})
	}
}

// BenchmarkWindow is a window of 50 students by 20 and by 100 items of a large course.
func BenchmarkWindow(b *testing.B) {
	w := newWorld(b)
	q, _ := w.crowd(1_000, 100)
	w.countAll()
	for _, columns := range []int{20, 100} {
		b.Run(fmt.Sprint(columns), func(b *testing.B) {
			for b.Loop() {
				res, err := w.grid.ListGradeRows(w.staff(), &gradespb.ListGradeRowsRequest{CourseId: w.course, PageSize: 50, ItemIds: q[:columns]})
				if err != nil || len(res.GetItems()) != 50 {
					b.Fatal(err)
				}
			}
		})
	}
}

// counting is a stream that counts what is sent to it.
type counting struct {
	grpc.ServerStreamingServer[gradespb.ExportGradesResponse]

	ctx   context.Context //nolint:containedctx // as a stream has it
	bytes int64
}

func (c *counting) Context() context.Context { return c.ctx }

func (c *counting) Send(m *gradespb.ExportGradesResponse) error {
	c.bytes += int64(len(m.GetChunk()))
	return nil
}

// peak watches how much of the heap is in use until it is stopped.
func peak() (stop func() uint64) {
	var most atomic.Uint64
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most.Store(max(most.Load(), m.HeapInuse))
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}()
	return func() uint64 { close(done); <-stopped; return most.Load() }
}

// BenchmarkExport sends 10,000, 100,000 and 1,000,000 marks: what it keeps of them in memory
// should not grow with them.
func BenchmarkExport(b *testing.B) {
	for _, students := range []int{100, 1_000, 10_000} {
		w := newWorld(b)
		w.crowd(students, 100)
		for _, format := range []string{"csv", "xlsx"} {
			b.Run(fmt.Sprintf("%s/%d", format, students*100), func(b *testing.B) {
				r := &transferServer{service: w.service}
				runtime.GC()
				var before runtime.MemStats
				runtime.ReadMemStats(&before)
				var most uint64
				var size int64
				for b.Loop() {
					stop := peak()
					out := &counting{ctx: w.staff()}
					if err := r.ExportGrades(&gradespb.ExportGradesRequest{CourseId: w.course, Format: format}, out); err != nil {
						b.Fatal(err)
					}
					most, size = max(most, stop()), out.bytes
				}
				b.ReportMetric(float64(most-min(before.HeapInuse, most))/(1<<20), "peak-MiB")
				b.ReportMetric(float64(size)/(1<<20), "file-MiB")
			})
		}
	}
}

// TestExportIsBounded holds the memory of an export of 200,000 marks to a bound that all
// of them would exceed.
func TestExportIsBounded(t *testing.T) {
	w := newWorld(t)
	w.crowd(2_000, 100)
	r := &transferServer{service: w.service}
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	stop := peak()
	out := &counting{ctx: w.staff()}
	if err := r.ExportGrades(&gradespb.ExportGradesRequest{CourseId: w.course}, out); err != nil {
		t.Fatal(err)
	}
	if used := stop(); used > before.HeapInuse+64<<20 {
		t.Errorf("%d MiB for a file of %d bytes", (used-before.HeapInuse)>>20, out.bytes)
	}
	if out.bytes < 1<<20 {
		t.Errorf("only %d bytes", out.bytes)
	}
}
