package assessment

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/embedded"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// durable is the service on a PostgreSQL of its own that writes to the disk, as in
// production.
func durable(b *testing.B) (w *world, dir string) {
	b.Helper()
	dir, err := os.MkdirTemp("", "stoa-bench-*")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	server, err := embedded.Start(b.Context(), embedded.Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Stop(context.Background()) })
	if err := pg.Migrate(b.Context(), server.URL(), Schema); err != nil {
		b.Fatal(err)
	}
	db, err := pg.Open(b.Context(), pg.Config{URL: server.URL(), Schema: Schema.Name, MaxConns: 16})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(db.Close)
	w = newWorldOn(b, db, rpctest.Everything)
	w.service.now = time.Now
	return w, dir
}

// pages is a quiz of 16 questions on 8 pages.
func (w *world) pages(limit int32) taken {
	w.t.Helper()
	course := id.New("course")
	var ids []string
	for n := range 16 {
		ids = append(ids, w.addQuestion(course, choiceQuestion(n)))
	}
	return w.publishQuiz(course, quizOf(&assessmentpb.QuizSettings{TimeLimitSeconds: limit, QuestionsPerPage: 2}, ids))
}

// cpu returns the CPU time that this process and the database in a folder have used.
func cpu(b *testing.B, dir string) time.Duration {
	b.Helper()
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		b.Fatal(err)
	}
	total := time.Duration(own.Utime.Nano() + own.Stime.Nano())
	pidFile, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid")) //nolint:gosec // G304: of the test's own server
	if err != nil {
		b.Fatal(err)
	}
	postmaster, _, _ := strings.Cut(string(pidFile), "\n")
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path) //nolint:gosec // of the kernel
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		f := strings.Fields(rest)
		pid := filepath.Base(filepath.Dir(path))
		if len(f) < 15 || f[1] != postmaster && pid != postmaster {
			continue
		}
		fields := f[11:13]
		if pid == postmaster { // with those that have ended
			fields = f[11:15]
		}
		for _, ticks := range fields {
			n, err := strconv.ParseInt(ticks, 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			total += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return total
}

func percentile(list []time.Duration, p float64) float64 {
	slices.Sort(list)
	return float64(list[min(int(float64(len(list))*p), len(list)-1)].Microseconds()) / 1000
}

// BenchmarkAnswers is how many answers a second are durable, against a bare loop that
// inserts rows of the same table by pgx, with as many in a commit and as many at once.
func BenchmarkAnswers(b *testing.B) {
	const students, took = 64, 3 * time.Second
	for _, size := range []int{1, 2, 10} {
		b.Run(fmt.Sprint("batches of ", size), func(b *testing.B) {
			w, dir := durable(b)
			quiz := w.pages(0)
			all := make([]*student, students)
			for i := range all {
				all[i] = w.start(quiz)
			}
			attempts := make([]string, students)
			for i := range attempts { // of the bare loop, so that its rows meet none
				attempts[i] = w.start(quiz).attempt.GetId()
			}
			next := make([]int64, students)
			bare := make([]int64, students)
			ours, theirs := 0.0, 0.0
			var ourCPU, theirCPU time.Duration
			for b.Loop() {
				for range 3 { // by turns, so that what else the machine does meets both
					at := cpu(b, dir)
					ours += during(took, students, func(i int) int {
						ops := make([]*assessmentpb.Operation, size)
						for n := range ops {
							next[i]++
							ops[n] = pick(next[i], int32(next[i]%16+1), "a")
							ops[n].ClientTime = timestamppb.Now()
						}
						if next[i] > maxOperations-int64(size) {
							b.Error("the log is full")
						}
						if _, err := all[i].try(laptop, ops...); err != nil {
							b.Error(err)
						}
						return size
					})
					between := cpu(b, dir)
					theirs += during(took, students, func(i int) int {
						if err := bareInsert(w.db, attempts[i], &bare[i], size); err != nil {
							b.Error(err)
						}
						return size
					})
					ourCPU += between - at
					theirCPU += cpu(b, dir) - between
				}
			}
			n := float64(3 * b.N)
			b.ReportMetric(ours/n, "answers/s")
			b.ReportMetric(theirs/n, "bare/s")
			b.ReportMetric(ours/theirs, "ratio")
			b.ReportMetric(float64(ourCPU.Microseconds())/(ours*took.Seconds()), "cpu-µs/answer")
			b.ReportMetric(float64(theirCPU.Microseconds())/(theirs*took.Seconds()), "cpu-µs/bare")
		})
	}
}

// bareInsert inserts rows in a transaction, one after the other.
func bareInsert(db *pg.DB, attempt string, next *int64, size int) error {
	ctx := context.Background()
	return db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a benchmark")
		for range size {
			*next++
			if _, err := tx.Exec(ctx, `
				INSERT INTO answer_operation (attempt_id, seq, client_id, client_seq, slot, kind, value, client_time, received_at, verdict)
				VALUES ($1, $2, 'laptop-1', $2, 1, 'answer', $3, $4, $4, 'accepted')`, attempt, *next, []byte(`{"choice":{"keys":["a"]}}`), time.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// during does something again and again for a while, by many at once, and returns how
// much a second.
func during(d time.Duration, many int, do func(i int) int) float64 {
	var wg sync.WaitGroup
	done := make([]int, many)
	begin := time.Now()
	for i := range many {
		wg.Go(func() {
			for time.Since(begin) < d {
				done[i] += do(i)
			}
		})
	}
	wg.Wait()
	total := 0
	for _, n := range done {
		total += n
	}
	return float64(total) / time.Since(begin).Seconds()
}

// BenchmarkExam is an exam of 16 questions on 8 pages with a think time of 30 to 90
// seconds a page, compressed 60 times: how long saving a page and submitting take, and
// what an attempt costs from its start to its score.
func BenchmarkExam(b *testing.B) {
	const students, compressed = 300, 60
	w, dir := durable(b)
	quiz := w.pages(3600)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = w.service.Run(ctx) })
	defer running.Wait()
	defer cancel()
	var mu sync.Mutex
	var saves, submits []time.Duration
	begin := cpu(b, dir)
	for b.Loop() {
		var wg sync.WaitGroup
		for range students {
			wg.Go(func() {
				think := func() {
					<-time.After((30*time.Second + rand.N(60*time.Second)) / compressed) //nolint:gosec // they think
				}
				think()
				st := w.start(quiz)
				var mine []time.Duration
				for page := range int64(8) {
					think()
					at := time.Now()
					st.send(laptop, pick(2*page+1, int32(2*page+1), "a"), pick(2*page+2, int32(2*page+2), "b"))
					mine = append(mine, time.Since(at))
				}
				at := time.Now()
				st.submit()
				took := time.Since(at)
				mu.Lock()
				defer mu.Unlock()
				saves, submits = append(saves, mine...), append(submits, took)
			})
		}
		wg.Wait()
		for left := 1; left > 0; {
			if err := w.db.QueryRow(ctx, `SELECT count(*) FROM attempt WHERE state <> 'graded'`).Scan(&left); err != nil {
				b.Fatal(err)
			}
			runtime.Gosched()
		}
	}
	used := cpu(b, dir) - begin
	b.ReportMetric(0, "ns/op")
	for name, list := range map[string][]time.Duration{"save": saves, "submit": submits} {
		for _, p := range []int{50, 95, 99} {
			b.ReportMetric(percentile(list, float64(p)/100), fmt.Sprintf("ms/%s-p%d", name, p))
		}
	}
	b.ReportMetric(used.Seconds()*1000/float64(len(submits)), "cpu-ms/attempt")
}

// BenchmarkStart is a synchronised start: so many students, for whom attempts were
// made ahead, begin at once.
func BenchmarkStart(b *testing.B) {
	for _, students := range []int{3000, 10_000} {
		b.Run(fmt.Sprint(students), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w, dir := durable(b)
				quiz := w.pages(3600)
				accounts := make([]string, students)
				for i := range accounts {
					accounts[i] = id.New("account")
				}
				version, err := w.service.quizVersion(b.Context(), w.db, quiz.quiz, 1)
				if err != nil {
					b.Fatal(err)
				}
				for some := range slices.Chunk(accounts, 250) {
					list, err := w.service.standings(b.Context(), quiz.course, quiz.item, some)
					if err != nil {
						b.Fatal(err)
					}
					if err := w.db.InTx(b.Context(), func(tx *pg.Tx) error {
						tx.Exempt("a benchmark")
						return w.service.prepare(b.Context(), tx, version, quiz.item, list)
					}); err != nil {
						b.Fatal(err)
					}
				}
				w.exec(`ANALYZE`)
				w.around.say("", &learningpb.ItemAccess{})
				asked := w.around.asked
				lasted := make([]time.Duration, students)
				begin := cpu(b, dir)
				var wg sync.WaitGroup
				b.StartTimer()
				at := time.Now()
				for i, account := range accounts {
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(w.as(account), 55*time.Second)
						defer cancel()
						if _, err := w.attempts.StartAttempt(ctx, &assessmentpb.StartAttemptRequest{CourseId: quiz.course, ItemId: quiz.item}); err != nil {
							b.Error(err)
						}
						lasted[i] = time.Since(at)
					})
				}
				wg.Wait()
				took := time.Since(at)
				b.StopTimer()
				if w.around.asked != asked {
					b.Error("others were asked")
				}
				b.ReportMetric(took.Seconds(), "s/all")
				b.ReportMetric(percentile(lasted, 0.5), "ms/p50")
				b.ReportMetric(float64(students)/took.Seconds(), "starts/s")
				b.ReportMetric((cpu(b, dir)-begin).Seconds()*1000/float64(students), "cpu-ms/start")
				b.StartTimer()
			}
		})
	}
}
