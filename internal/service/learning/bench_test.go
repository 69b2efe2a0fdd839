package learning

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// benchCourse is a course of n items in modules of 20: each lesson opens after the
// one before, every tenth also on a date and with a deadline.
func benchCourse(n int) *coursespb.CoursePublished {
	e := &coursespb.CoursePublished{CourseId: id.New("course"), Sequence: 1, Version: 1, Title: "Large", TimeZone: "Europe/Berlin"}
	module, last := "", ""
	for i := range n {
		if i%20 == 0 {
			module = id.New("module")
			e.Items = append(e.Items, &coursespb.PublishedItem{Id: module, Kind: "module", Title: fmt.Sprint("Module ", i/20), Required: true})
			continue
		}
		it := &coursespb.PublishedItem{Id: id.New("lesson"), ParentId: module, Kind: "lesson", Title: fmt.Sprint("Lesson ", i), Required: true}
		if last != "" {
			it.Release = completedRule(last)
		}
		if i%10 == 1 {
			it.Release = allRules(fromRule(may), completedRule(last))
			it.Schedule = &releasepb.Schedule{Due: afterStart(30, "23:59")}
		}
		last = it.GetId()
		e.Items = append(e.Items, it)
	}
	return e
}

func benchWorld(b *testing.B, n int) (*world, *coursespb.CoursePublished, learningpb.OutlineServiceClient, string) {
	b.Helper()
	w := newWorld(b, rpctest.Everything)
	h := rpctest.New(b, rpctest.Everything)
	w.service.Register(h)
	e := benchCourse(n)
	hear(w, w.service.coursePublished, e)
	ana := id.New("account")
	hear(w, w.service.enrollmentStarted, enrolled(e.GetCourseId(), ana, 0))
	for {
		more, err := w.service.nextDeadlines(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if !more {
			break
		}
	}
	half := make([]string, 0, n)
	for _, it := range e.GetItems()[:n/2] {
		half = append(half, it.GetId())
	}
	benchExec(b, w, `INSERT INTO lesson_completion SELECT $1, $2, i, now() FROM unnest($3::text[]) AS i`, e.GetCourseId(), ana, half)
	benchExec(b, w, `ANALYZE lesson_completion`)
	return w, e, learningpb.NewOutlineServiceClient(h.As("edge")), ana
}

func benchExec(b *testing.B, w *world, sql string, args ...any) {
	b.Helper()
	err := w.db.InTx(b.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		_, err := tx.Exec(b.Context(), sql, args...)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
}

// bareOutline answers an outline with the same statement and nothing evaluated.
func bareOutline(ctx context.Context, w *world, account string, e *coursespb.CoursePublished) (*learningpb.LearnerOutline, error) {
	rows, err := w.db.Query(ctx, factSQL, account, []string{e.GetCourseId()}, time.Now(), endOfTime)
	if err != nil {
		return nil, err
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[factRow])
	if err != nil {
		return nil, err
	}
	out := &learningpb.LearnerOutline{CourseId: row.CourseID, Version: row.Number}
	for _, it := range e.GetItems() {
		out.Items = append(out.Items, &learningpb.OutlineItem{
			Id: it.GetId(), ParentId: it.GetParentId(), Kind: it.GetKind(), Title: it.GetTitle(), State: "open", CompletedAt: timestamppb.Now(),
		})
	}
	return out, nil
}

// BenchmarkOutline is a course as a learner sees it; evaluated and bare are the
// same statement and the same number of items, without the transport.
func BenchmarkOutline(b *testing.B) {
	for _, n := range []int{10, 100, 1_000, 10_000} {
		w, e, client, ana := benchWorld(b, n)
		b.Run(fmt.Sprintf("rpc/%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := client.GetLearnerOutline(w.as(ana), &learningpb.GetLearnerOutlineRequest{CourseId: e.GetCourseId()}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("evaluated/%d", n), func(b *testing.B) {
			for b.Loop() {
				list, err := w.service.persons(b.Context(), w.db, ana, w.service.now(), e.GetCourseId())
				if err != nil {
					b.Fatal(err)
				}
				list[0].outline(w.service.now())
			}
		})
		b.Run(fmt.Sprintf("bare/%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := bareOutline(b.Context(), w, ana, e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWhoCanSee counts those to whom an item is open and lists the first
// page, under a rule with a completion, a group and days.
func BenchmarkWhoCanSee(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		w := newWorld(b, rpctest.Everything)
		h := rpctest.New(b, rpctest.Everything)
		w.service.Register(h)
		client := learningpb.NewOutlineServiceClient(h.As("edge"))
		r := newRuled(w, h)
		r.item(r.l3).Release = &releasepb.Rule{Condition: &releasepb.Rule_Any{Any: &releasepb.Rules{Rules: []*releasepb.Rule{
			allRules(completedRule(r.l1), completedRule(r.m1)),
			{Condition: &releasepb.Rule_Group{Group: &releasepb.GroupCondition{GroupIds: r.groups[:1]}}},
			{Condition: &releasepb.Rule_Enrolled{Enrolled: &releasepb.EnrolledCondition{Days: 30}}},
		}}}}
		r.publish()
		benchExec(b, w, `INSERT INTO learner (course_id, account_id, enrolled_at) SELECT $1, 'account_' || i, $2::timestamptz - i * interval '1 minute' FROM generate_series(1, $3) AS i`, r.course, may, n)
		benchExec(b, w, `INSERT INTO lesson_completion SELECT $1, 'account_' || i, l, $2::timestamptz FROM generate_series(1, $3, 3) AS i, unnest($4::text[]) AS l`, r.course, may, n, []string{r.l1, r.l2})
		benchExec(b, w, `INSERT INTO group_member SELECT $1, 'account_' || i, $2, 1, true FROM generate_series(1, $3, 5) AS i`, r.course, r.groups[0], n)
		ana := id.New("account")
		hear(w, w.service.enrollmentStarted, enrolled(r.course, ana, 0))
		benchExec(b, w, `ANALYZE learner, lesson_completion, group_member`)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, err := client.ListWhoCanSee(w.as("account_x"), &learningpb.ListWhoCanSeeRequest{CourseId: r.course, ItemId: r.l3, PageSize: 100, At: may.Format(time.RFC3339)}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint("explain/", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := client.ExplainRelease(w.as("account_x"), &learningpb.ExplainReleaseRequest{CourseId: r.course, ItemId: r.l3, AccountId: ana}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDeadlines makes the deadlines of all learners of a course of 1,000
// items, a tenth of them with a schedule, anew.
func BenchmarkDeadlines(b *testing.B) {
	for _, n := range []int{500, 5_000} {
		w, e, _, _ := benchWorld(b, 1_000)
		benchExec(b, w, `INSERT INTO learner (course_id, account_id, enrolled_at) SELECT $1, 'account_' || i, $2::timestamptz + i * interval '1 minute' FROM generate_series(1, $3) AS i`, e.GetCourseId(), may, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				benchExec(b, w, `DELETE FROM effective_deadline`)
				benchExec(b, w, `INSERT INTO deadline_task (course_id, account_id) VALUES ($1, '')`, e.GetCourseId())
				for more := true; more; {
					var err error
					if more, err = w.service.nextDeadlines(context.Background()); err != nil {
						b.Fatal(err)
					}
				}
			}
			var rows int
			if err := w.db.QueryRow(b.Context(), `SELECT count(*) FROM effective_deadline`).Scan(&rows); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(rows)/(b.Elapsed().Seconds()/float64(b.N)), "rows/s")
		})
	}
}
