package learning

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

func (w *world) report(account string, req *learningpb.RecordWatchRequest) *learningpb.RecordWatchResponse {
	w.t.Helper()
	res, err := w.items.RecordWatch(w.as(account), req)
	if err != nil {
		w.t.Fatalf("RecordWatch: %v", err)
	}
	return res
}

func played(media string, from, to int64) *learningpb.PlayedInterval {
	return &learningpb.PlayedInterval{MediaId: media, FromMs: from, ToMs: to}
}

func TestRecordWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, items, media, people := classroom(w, 2, 2, 90)
	ana := people[0]
	req := func(sequence int64, position int64, p ...*learningpb.PlayedInterval) *learningpb.RecordWatchRequest {
		return &learningpb.RecordWatchRequest{
			CourseId: course, LessonId: items[0], SessionId: "player-1", Sequence: sequence, Intervals: p,
			Position: &learningpb.PlayerPosition{MediaId: media[0], PositionMs: position},
		}
	}
	w.report(ana, req(1, 0))
	w.later(9*time.Minute + 59*time.Second)
	got := w.report(ana, req(2, 530_000, played(media[0], 0, 300_000), played(media[0], 290_000, 530_000)))
	want := &learningpb.RecordWatchResponse{CreditedMs: 540_000, Media: []*learningpb.WatchedMedia{
		{MediaId: media[0], WatchedMs: 530_000, DurationMs: 600_000, Percent: 88},
	}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	p, err := w.items.GetItemProgress(w.as(ana), &learningpb.GetItemProgressRequest{CourseId: course, ItemId: items[0]})
	if err != nil || p.GetState() != "begun" || len(p.GetRequirements()) != 1 || p.GetRequirements()[0].GetDetail() != "Watched 88 % of 90 %." || p.GetRequirements()[0].GetMet() {
		t.Errorf("explained: %v, %v", p, err)
	}
	// A file of another lesson counts nothing, nor what lies behind the end.
	w.later(time.Minute)
	got = w.report(ana, req(3, 600_000, played(media[1], 0, 10_000), played(media[0], 530_000, 660_000)))
	if got.GetCreditedMs() != 70_000 || got.GetCutMs() != 70_000 || !got.GetComplete() || got.GetMedia()[0].GetPercent() != 100 {
		t.Errorf("to the end: %v", got)
	}
	again := w.report(ana, req(3, 1, played(media[0], 530_000, 660_000)))
	if !again.GetRepeated() || again.GetCreditedMs() != 70_000 || !again.GetComplete() {
		t.Errorf("again: %v", again)
	}
	r, err := w.items.GetResume(w.as(ana), &learningpb.GetResumeRequest{CourseId: course})
	if err != nil || r.GetItemId() != items[0] || r.GetPosition().GetPositionMs() != 600_000 || r.GetPosition().GetMediaId() != media[0] {
		t.Errorf("resume: %v, %v", r, err)
	}
	mine, err := w.client.ListMyCourses(w.as(ana), &learningpb.ListMyCoursesRequest{})
	if err != nil || mine.GetItems()[0].GetPercent() != 50 || mine.GetItems()[0].GetPosition().GetPositionMs() != 600_000 {
		t.Errorf("my courses: %v, %v", mine, err)
	}
	if p := w.progress(people[1], course); p.GetPercent() != 0 || p.GetItems()[1].GetState() != "new" {
		t.Errorf("of somebody else: %v", p)
	}
}

// A report that was overtaken counts what was played, and moves nobody back.
func TestPositionOfALateReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, items, media, people := classroom(w, 1, 1, 90)
	send := func(sequence, from, to int64) *learningpb.RecordWatchResponse {
		return w.report(people[0], &learningpb.RecordWatchRequest{
			CourseId: course, LessonId: items[0], SessionId: "player-1", Sequence: sequence, Intervals: []*learningpb.PlayedInterval{played(media[0], from, to)},
			Position: &learningpb.PlayerPosition{MediaId: media[0], PositionMs: to},
		})
	}
	w.report(people[0], &learningpb.RecordWatchRequest{CourseId: course, LessonId: items[0], SessionId: "player-1", Sequence: 1})
	w.later(time.Minute)
	send(3, 30_000, 60_000)
	w.later(15 * time.Second)
	if res := send(2, 0, 30_000); res.GetCreditedMs() != 30_000 || res.GetMedia()[0].GetWatchedMs() != 60_000 {
		t.Errorf("%v", res)
	}
	position := func() int64 {
		r, err := w.items.GetResume(w.as(people[0]), &learningpb.GetResumeRequest{CourseId: course})
		if err != nil {
			t.Fatal(err)
		}
		return r.GetPosition().GetPositionMs()
	}
	if got := position(); got != 60_000 {
		t.Errorf("at %d", got)
	}
	w.later(time.Minute)
	send(4, 0, 10_000) // who goes back themselves is there
	if got := position(); got != 10_000 {
		t.Errorf("gone back to %d", got)
	}
}

func TestRecordWatchRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, items, media, people := classroom(w, 1, 1, 90)
	ok := func() *learningpb.RecordWatchRequest {
		return &learningpb.RecordWatchRequest{CourseId: course, LessonId: items[0], SessionId: "player-1", Sequence: 1, Intervals: []*learningpb.PlayedInterval{played(media[0], 0, 1)}}
	}
	for name, c := range map[string]struct {
		edit func(*learningpb.RecordWatchRequest)
		code string
	}{
		"no such lesson":    {func(r *learningpb.RecordWatchRequest) { r.LessonId = id.New("lesson") }, "lesson.not_found"},
		"no such course":    {func(r *learningpb.RecordWatchRequest) { r.CourseId = id.New("course") }, "lesson.not_found"},
		"an empty interval": {func(r *learningpb.RecordWatchRequest) { r.Intervals[0].FromMs = 1 }, "watch.interval"},
		"backwards":         {func(r *learningpb.RecordWatchRequest) { r.Intervals[0].FromMs = 2 }, "watch.interval"},
		"longer than a day": {func(r *learningpb.RecordWatchRequest) { r.Intervals[0].ToMs = 86_400_001 }, "request.invalid"},
		"a short session":   {func(r *learningpb.RecordWatchRequest) { r.SessionId = "a" }, "request.invalid"},
		"sequence 0":        {func(r *learningpb.RecordWatchRequest) { r.Sequence = 0 }, "request.invalid"},
		"too many intervals": {func(r *learningpb.RecordWatchRequest) {
			for range 100 {
				r.Intervals = append(r.Intervals, played(media[0], 0, 1))
			}
		}, "request.invalid"},
		"not a file": {func(r *learningpb.RecordWatchRequest) { r.Intervals[0].MediaId = course }, "request.invalid"},
	} {
		req := ok()
		c.edit(req)
		_, err := w.items.RecordWatch(w.as(people[0]), req)
		var f *fault.Error
		if !errors.As(fault.FromStatus(err), &f) || f.Code != c.code && (len(f.Fields) == 0 || f.Fields[0].Code != c.code) {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}

// A learner who jumps, goes back, plays fast, repeats reports and has two tabs: what
// is watched is what a naive model of bits says, and nothing that was not played.
func TestWatchedMatchesModel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	rapid.Check(t, func(t *rapid.T) {
		course, items, media, people := classroom(w, 1, 1, 100)
		const scale = 10_000 // the model counts in stretches of ten seconds
		var watched [60]bool
		type tab struct {
			session  string
			sequence int64
			last     *learningpb.RecordWatchRequest
		}
		tabs := []*tab{{session: id.New("player")}, {session: id.New("player")}}
		for _, tb := range tabs {
			tb.sequence++
			w.report(people[0], &learningpb.RecordWatchRequest{CourseId: course, LessonId: items[0], SessionId: tb.session, Sequence: tb.sequence})
		}
		w.later(time.Hour)
		for range rapid.IntRange(1, 25).Draw(t, "reports") {
			tb := rapid.SampledFrom(tabs).Draw(t, "tab")
			if tb.last != nil && rapid.IntRange(0, 3).Draw(t, "again") == 0 {
				if res := w.report(people[0], tb.last); !res.GetRepeated() {
					t.Fatal("counted twice")
				}
				continue
			}
			tb.sequence++
			req := &learningpb.RecordWatchRequest{CourseId: course, LessonId: items[0], SessionId: tb.session, Sequence: tb.sequence}
			var length int64
			for range rapid.IntRange(0, 3).Draw(t, "intervals") {
				from := rapid.Int64Range(0, 70).Draw(t, "from")
				to := from + rapid.Int64Range(1, 8).Draw(t, "long")
				req.Intervals = append(req.Intervals, played(media[0], from*scale, to*scale))
				if to = min(to, 60); to > from {
					length += (to - from) * scale
				}
			}
			// Time enough passes for half of it, all of it, or more.
			enough := rapid.SampledFrom([]int64{4, 2, 1}).Draw(t, "speed")
			w.later(time.Duration(length/enough) * time.Millisecond)
			res := w.report(people[0], req)
			tb.last = req
			if enough <= 2 && res.GetCreditedMs() != length {
				t.Fatalf("credited %d of %d", res.GetCreditedMs(), length)
			}
			left := res.GetCreditedMs()
			for _, p := range req.GetIntervals() {
				for i := p.GetFromMs() / scale; i < min(p.GetToMs()/scale, 60) && left > 0; i++ {
					if left < scale {
						return // a part of a stretch: the model ends here
					}
					watched[i] = true
					left -= scale
				}
			}
			var want int64
			for _, b := range watched {
				if b {
					want += scale
				}
			}
			if got := res.GetMedia()[0].GetWatchedMs(); got != want {
				t.Fatalf("watched %d, the model says %d", got, want)
			}
			if res.GetComplete() != (want == 600_000) {
				t.Fatalf("complete %t with %d ms", res.GetComplete(), want)
			}
		}
	})
}

// The length of a file comes after it was watched, and twice, and late.
func TestDurationComesLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, items, media, people := classroom(w, 1, 3, 90)
	hear(w, w.service.mediaChanged, &mediapb.MediaChanged{MediaId: media[0], Version: 2}) // not known any more
	for i, long := range []int64{1000_000, 90_000, 89_000} {
		req := &learningpb.RecordWatchRequest{CourseId: course, LessonId: items[0], SessionId: "player-1", Sequence: 1}
		w.report(people[i], req)
		w.later(time.Hour)
		req.Sequence, req.Intervals = 2, []*learningpb.PlayedInterval{played(media[0], 0, long)}
		if res := w.report(people[i], req); res.GetComplete() || res.GetCreditedMs() != long || res.GetMedia()[0].GetPercent() != 0 {
			t.Errorf("before the length is known: %v", res)
		}
	}
	known := &mediapb.MediaChanged{MediaId: media[0], CourseId: course, DurationMs: 100_000, Version: 4}
	hear(w, w.service.mediaChanged, known, known, &mediapb.MediaChanged{MediaId: media[0], DurationMs: 50_000, Version: 3})
	for i, want := range []int32{100, 90, 89} {
		p, err := w.items.GetItemProgress(w.as(people[i]), &learningpb.GetItemProgressRequest{CourseId: course, ItemId: items[0]})
		if err != nil || p.GetWatchedPercent() != want || (p.GetState() == "complete") != (want >= 90) {
			t.Errorf("%d: %v, %v; want %d %%", i, p, err, want)
		}
	}
	var longest int64
	if err := w.db.QueryRow(t.Context(), `SELECT max(upper(ranges)) FROM watched WHERE media_id = $1`, media[0]).Scan(&longest); err != nil || longest != 100_000 {
		t.Errorf("kept to %d, %v", longest, err)
	}
}

// However somebody jumps, what is kept of a file is bounded, and they gain nothing by
// it: what was not played is taken as watched only where it is little of what was.
func TestRangesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, items, media, people := classroom(w, 1, 2, 100)
	send := func(account string, sequence int64, step, long int64) *learningpb.RecordWatchResponse {
		w.later(time.Minute)
		req := &learningpb.RecordWatchRequest{CourseId: course, LessonId: items[0], SessionId: "player-1", Sequence: sequence + 1}
		for i := range int64(100) {
			from := ((sequence-1)*100 + i) * step
			req.Intervals = append(req.Intervals, played(media[0], from, from+long))
		}
		return w.report(account, req)
	}
	for _, p := range people {
		w.report(p, &learningpb.RecordWatchRequest{CourseId: course, LessonId: items[0], SessionId: "player-1", Sequence: 1})
	}
	var res, honest *learningpb.RecordWatchResponse
	for sequence := int64(1); sequence <= 6; sequence++ {
		res = send(people[0], sequence, 500, 10)     // 600 parts of 10 ms, half a second apart
		honest = send(people[1], sequence, 950, 900) // 600 parts of which the player lost a little between
	}
	if got := res.GetMedia()[0].GetWatchedMs(); got != 600*10 {
		t.Errorf("who jumps has watched %d", got)
	}
	if got := honest.GetMedia()[0].GetWatchedMs(); got != 599*950+900 {
		t.Errorf("who played nearly all has watched %d", got)
	}
	hear(w, w.service.mediaChanged, &mediapb.MediaChanged{MediaId: media[0], CourseId: course, DurationMs: 80_000_000, Version: 2})
	for sequence := int64(7); sequence <= 30; sequence++ {
		res = send(people[0], sequence, 5000, 10)
	}
	var n int
	if err := w.db.QueryRow(t.Context(), `SELECT count(*) FROM watched, unnest(ranges) WHERE media_id = $1 AND account_id = $2`, media[0], people[0]).Scan(&n); err != nil || n != mostRanges {
		t.Errorf("%d ranges, %v", n, err)
	}
	if got := res.GetMedia()[0].GetWatchedMs(); got != mostRanges*10 {
		t.Errorf("watched %d", got)
	}
}
