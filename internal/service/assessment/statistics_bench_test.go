package assessment

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// crowded has attempts at the quiz that are scored and counted, of as many accounts.
func (w *statisticsWorld) crowded(n int) {
	w.t.Helper()
	st := w.taken("abc")
	w.scored()
	// Copies of one, each with another account, and with points of its own.
	w.exec(`
		INSERT INTO attempt (id, course_id, item_id, quiz_id, quiz_version, account_id, number, state, engine_version, seed, prepared_at, started_at, submitted_at, submitted_by, graded_at, scored_at, points, max_points, last_seq, saved_at, clients)
		SELECT 'attempt_' || g, course_id, item_id, quiz_id, quiz_version, 'account_' || lpad(g::text, 8, '0'), 1, state, engine_version, seed + g, prepared_at, started_at, submitted_at, submitted_by, graded_at, scored_at, points, max_points, last_seq, saved_at, clients
		FROM attempt, generate_series(1, $2) g WHERE id = $1`, st.attempt.GetId(), n-1)
	w.exec(`
		INSERT INTO attempt_question (attempt_id, slot, section, page, question_id, question_version, key_version, behaviour, seed, max_points, state, fraction, points)
		SELECT 'attempt_' || g, slot, section, page, question_id, question_version, key_version, behaviour, seed + g, max_points, state, fraction, points
		FROM attempt_question, generate_series(1, $2) g WHERE attempt_id = $1`, st.attempt.GetId(), n-1)
	w.exec(`
		INSERT INTO answer_operation (attempt_id, seq, client_id, client_seq, slot, kind, value, received_at, verdict)
		SELECT 'attempt_' || g, seq, client_id, client_seq, slot, kind, replace(convert_from(value, 'UTF8'), '"b"', CASE g % 3 WHEN 0 THEN '"a"' WHEN 1 THEN '"b"' ELSE '"c"' END)::bytea, received_at, verdict
		FROM answer_operation, generate_series(1, $2) g WHERE attempt_id = $1`, st.attempt.GetId(), n-1)
	w.exec(`
		INSERT INTO receipt (id, attempt_id, number, submitted_at, submitted_by, operations, last_seq, header, sha256, key_id, signature, created_at)
		SELECT 'receipt_' || g, 'attempt_' || g, number, submitted_at, submitted_by, operations, last_seq, header, sha256, key_id, signature, created_at
		FROM receipt, generate_series(1, $2) g WHERE attempt_id = $1`, st.attempt.GetId(), n-1)
	w.analyze()
	for from := 0; from < n; from += 1_000 {
		if err := w.db.InTx(w.t.Context(), func(tx *pg.Tx) error {
			tx.Exempt("a test")
			rows, err := tx.Query(w.t.Context(), `SELECT account_id FROM attempt WHERE quiz_id = $1 ORDER BY account_id OFFSET $2 LIMIT 1000`, w.quiz.quiz, from)
			if err != nil {
				return err
			}
			accounts, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				return err
			}
			return w.service.countPeople(w.t.Context(), tx, w.quiz.quiz, w.quiz.item, accounts, nil)
		}); err != nil {
			w.t.Fatal(err)
		}
	}
	w.analyze()
}

// analyze has the planner know the tables, as it does a minute later.
func (w *statisticsWorld) analyze() {
	w.t.Helper()
	if err := w.db.InTx(w.t.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		for _, sql := range []string{`SET LOCAL ROLE NONE`, `ANALYZE`} {
			if _, err := tx.Exec(w.t.Context(), sql); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
}

// BenchmarkStatistics measures what it takes to count one more attempt, and to read all
// figures, at so many.
func BenchmarkStatistics(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		if testing.Short() && n > 1_000 {
			continue
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newStatisticsWorld(b, &assessmentpb.QuizSettings{})
			w.crowded(n)
			b.Run("count", func(b *testing.B) {
				st := w.taken("abc")
				w.scored()
				a, err := readAttempt(b.Context(), w.db, st.attempt.GetId())
				if err != nil {
					b.Fatal(err)
				}
				results, err := w.service.rebuild(b.Context(), w.db, []*attempt{a})
				if err != nil {
					b.Fatal(err)
				}
				b.ResetTimer()
				for i := range b.N {
					if err := w.db.InTx(b.Context(), func(tx *pg.Tx) error {
						tx.Exempt("a test")
						// Another score each time.
						a.MaxPoints = []string{"3", "4"}[i%2]
						return w.service.countAttempts(b.Context(), tx, []*attempt{a}, results)
					}); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("read", func(b *testing.B) {
				for range b.N {
					w.get("first")
				}
			})
		})
	}
}

// BenchmarkRekey measures a preview and its application, a whole one each.
func BenchmarkRekey(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		if testing.Short() && n > 1_000 {
			continue
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newStatisticsWorld(b, &assessmentpb.QuizSettings{})
			w.crowded(n)
			keys := []int32{w.version(rightIs("b")), w.version(rightIs("c"))}
			for i := range b.N {
				w.teacher = id.New("account")
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				begun := time.Now()
				k := w.preview(keyed2(keys[i%2]))
				runtime.ReadMemStats(&after)
				b.ReportMetric((float64(after.HeapSys)-float64(before.HeapSys))/(1<<20), "MiB")
				b.ReportMetric(float64(time.Since(begun).Milliseconds()), "ms/preview")
				if k.GetState() != "ready" || int(k.GetDone()) != n {
					b.Fatalf("%v", k)
				}
				if k = w.apply(k.GetId()); k.GetState() != "applied" {
					b.Fatalf("%v", k)
				}
			}
		})
	}
}
