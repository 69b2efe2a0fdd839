package learning

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

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
	for _, name := range []string{"view", "first view"} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, rpctest.Everything)
			course, people, l := id.New("course"), newIDs("account", 2000), newIDs("lesson", 50)
			hear(w, w.service.coursePublished, published(course, 1, l...))
			started := make([]*accesspb.EnrollmentStarted, len(people))
			for i, a := range people {
				started[i] = enrolled(course, a, 0)
			}
			hear(w, w.service.enrollmentStarted, started...)
			if name == "view" {
				for _, a := range people {
					w.view(a, course, l[0])
				}
			}
			var n atomic.Int64
			b.SetParallelism(8)
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					i := int(n.Add(1))
					item := l[0]
					if name != "view" {
						item = l[i/len(people)%len(l)]
					}
					_, err := w.items.ViewItem(rpctest.Account(context.Background(), people[i%len(people)]), &learningpb.ViewItemRequest{CourseId: course, ItemId: item})
					if err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
