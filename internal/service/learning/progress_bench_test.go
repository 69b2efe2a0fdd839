package learning

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// classroom is a course with lessons of a video each, and people who take it.
func classroom(w *world, lessons, people int, watch int32) (course string, items, media, accounts []string) {
	course, items, media, accounts = id.New("course"), newIDs("lesson", lessons), newIDs("media", lessons), newIDs("account", people)
	e := &coursespb.CoursePublished{CourseId: course, Sequence: 1, Version: 1, Title: "Stoicism"}
	module := &coursespb.PublishedItem{Id: id.New("module"), Kind: "module", Title: "Module"}
	e.Items = append(e.Items, module)
	for i, l := range items {
		e.Items = append(e.Items, &coursespb.PublishedItem{
			Id: l, ParentId: module.GetId(), Kind: "lesson", Title: fmt.Sprint("Lesson ", i), Required: true,
			Completion: completion1(&need{Kind: "watched", WatchPercent: watch}), PlayableMediaIds: media[i : i+1],
		})
		hear(w, w.service.mediaChanged, &mediapb.MediaChanged{MediaId: media[i], CourseId: course, DurationMs: 600_000, Version: 1})
	}
	hear(w, w.service.coursePublished, e)
	started := make([]*accesspb.EnrollmentStarted, people)
	for i, a := range accounts {
		started[i] = enrolled(course, a, 0)
	}
	hear(w, w.service.enrollmentStarted, started...)
	return course, items, media, accounts
}

// BenchmarkProgress measures calls of one event each, of many people at once: reports
// of players, and views of items, each the first of its person and item.
//
// "bare" is what the same machine makes at the same time of a transaction that updates
// one row, without a call around it.
func BenchmarkProgress(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		w := newWorld(b, rpctest.Everything)
		course, _, _, people := classroom(w, 1, 500, 90)
		var n atomic.Int64
		b.SetParallelism(8)
		b.ResetTimer()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				who := people[int(n.Add(1))%len(people)]
				err := w.db.InTx(context.Background(), func(tx *pg.Tx) error {
					tx.Exempt("a test")
					_, err := tx.Exec(context.Background(), `UPDATE learner SET last_seen_at = now() WHERE course_id = $1 AND account_id = $2`, course, who)
					return err
				})
				if err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("watch", func(b *testing.B) {
		w := newWorld(b, rpctest.Everything)
		course, items, media, people := classroom(w, 20, 500, 90)
		var n atomic.Int64
		b.SetParallelism(8)
		b.ResetTimer()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				i := n.Add(1)
				who, seq := int(i)%len(people), i/int64(len(people))+1
				at := seq % 59 * 10_000
				_, err := w.items.RecordWatch(rpctest.Account(context.Background(), people[who]), &learningpb.RecordWatchRequest{
					CourseId: course, LessonId: items[who%20], SessionId: "player-1", Sequence: seq,
					Intervals: []*learningpb.PlayedInterval{{MediaId: media[who%20], FromMs: at, ToMs: at + 10_000}},
					Position:  &learningpb.PlayerPosition{MediaId: media[who%20], PositionMs: at + 10_000},
				})
				if err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("view", func(b *testing.B) {
		w := newWorld(b, rpctest.Everything)
		course, people, l := viewers(w)
		for _, a := range people {
			w.view(a, course, l[0])
		}
		var n atomic.Int64
		b.SetParallelism(8)
		b.ResetTimer()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				who := people[int(n.Add(1))%len(people)]
				if _, err := w.items.ViewItem(rpctest.Account(context.Background(), who), &learningpb.ViewItemRequest{CourseId: course, ItemId: l[0]}); err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("first view", benchFirstViews)
}

// viewers is a course and people who take it.
func viewers(w *world) (course string, people, lessons []string) {
	course, people, lessons = id.New("course"), newIDs("account", 2000), newIDs("lesson", 50)
	hear(w, w.service.coursePublished, published(course, 1, lessons...))
	started := make([]*accesspb.EnrollmentStarted, len(people))
	for i, a := range people {
		started[i] = enrolled(course, a, 0)
	}
	hear(w, w.service.enrollmentStarted, started...)
	if _, err := w.db.Exec(context.Background(), `INSERT INTO learner_clock (account_id) SELECT unnest($1::text[])`, people); err != nil {
		w.t.Fatal(err)
	}
	return course, people, lessons
}

// benchFirstViews measures views that each complete an item, in turns with what pgx
// makes of the rows that such a view leaves, written in one batch of a transaction, of
// which nothing is decided, nor locked: both on databases of their own, 16 at a time.
func benchFirstViews(b *testing.B) {
	w, bare := newWorld(b, rpctest.Everything), newWorld(b, rpctest.Everything)
	course, people, l := viewers(w)
	bareCourse, barePeople, bareItems := viewers(bare)
	payloads := [2][]byte{make([]byte, 230), make([]byte, 130)} // some as long as an entry of the audit log and an event are
	var took [2]time.Duration
	const turn = 500
	b.ResetTimer()
	for from := 0; from < b.N; from += turn {
		to := min(from+turn, b.N)
		took[0] += sixteen(from, to, func(i int) error {
			_, err := w.items.ViewItem(rpctest.Account(context.Background(), people[i%len(people)]),
				&learningpb.ViewItemRequest{CourseId: course, ItemId: l[i/len(people)%len(l)]})
			return err
		})
		took[1] += sixteen(from, to, func(i int) error {
			who, item, at := barePeople[i%len(people)], bareItems[i/len(people)%len(l)], bare.service.now()
			return bare.db.InTx(context.Background(), func(tx *pg.Tx) error {
				tx.Exempt("a test")
				rows := &pgx.Batch{}
				rows.Queue(`UPDATE learner_clock SET last_at = $2, last_course_id = $3 WHERE account_id = $1`, who, at, bareCourse)
				rows.Queue(`UPDATE learner SET resume_lesson_id = $3, last_seen_at = $4 WHERE course_id = $1 AND account_id = $2`, bareCourse, who, item, at)
				rows.Queue(`INSERT INTO item_fact (course_id, account_id, item_id, viewed_at) VALUES ($1, $2, $3, $4)`, bareCourse, who, item, at)
				rows.Queue(`INSERT INTO lesson_completion (course_id, account_id, lesson_id, completed_at, version) VALUES ($1, $2, $3, $4, 1)`, bareCourse, who, item, at)
				rows.Queue(`
					INSERT INTO activity_day AS d (account_id, day, course_id, spent_ms, acted) VALUES ($1, $2, $3, $4, true)
					ON CONFLICT (account_id, day, course_id) DO UPDATE SET spent_ms = d.spent_ms + EXCLUDED.spent_ms`, who, at, bareCourse, 1000)
				for k, name := range []string{"stoa.audit.v1.Recorded", "stoa.learning.v1.ItemCompleted"} {
					rows.Queue(`INSERT INTO outbox (event_id, name, payload) VALUES ($1, $2, $3)`, uuid.New(), name, payloads[k])
				}
				return tx.SendBatch(context.Background(), rows).Close()
			})
		})
	}
	b.ReportMetric(float64(b.N)/took[0].Seconds(), "events/s")
	b.ReportMetric(float64(b.N)/took[1].Seconds(), "bare/s")
	b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "of_bare")
}

// sixteen does things of some numbers, so many at a time, and returns how long it took.
func sixteen(from, to int, do func(int) error) time.Duration {
	start := time.Now()
	var next atomic.Int64
	next.Store(int64(from))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < to; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					panic(err)
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}
