package assessment

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// partsOf makes parts of six bits.
func partsOf(bits int) *assessmentpb.ReviewParts {
	on := func(i int) bool { return bits&(1<<i) != 0 }
	return &assessmentpb.ReviewParts{Attempt: on(0), Marks: on(1), Correctness: on(2), Feedback: on(3), GeneralFeedback: on(4), Answer: on(5)}
}

// naiveParts says part by part when it is shown.
func naiveParts(m *assessmentpb.ReviewMatrix, phase string, posted bool) *assessmentpb.ReviewParts {
	rows := map[string]*assessmentpb.ReviewParts{"during": m.GetDuring(), "after": m.GetAfter(), "later": m.GetLater(), "closed": m.GetClosed()}
	r := rows[phase]
	out := &assessmentpb.ReviewParts{}
	if r.GetAttempt() {
		out.Attempt = true
	}
	if r.GetMarks() && posted {
		out.Marks = true
	}
	if r.GetCorrectness() && posted && r.GetAttempt() {
		out.Correctness = true
	}
	if r.GetFeedback() && posted && r.GetAttempt() {
		out.Feedback = true
	}
	if r.GetGeneralFeedback() && posted && r.GetAttempt() {
		out.GeneralFeedback = true
	}
	if r.GetAnswer() && posted && r.GetAttempt() {
		out.Answer = true
	}
	return out
}

func TestShownParts(t *testing.T) {
	t.Parallel()
	ended := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for bits := range 64 {
		// The other rows show the opposite, so that a wrong row is seen.
		for _, phase := range []string{"during", "after", "later", "closed"} {
			m := &assessmentpb.ReviewMatrix{During: partsOf(^bits & 63), After: partsOf(^bits & 63), Later: partsOf(^bits & 63), Closed: partsOf(^bits & 63)}
			*map[string]**assessmentpb.ReviewParts{"during": &m.During, "after": &m.After, "later": &m.Later, "closed": &m.Closed}[phase] = partsOf(bits)
			for _, posted := range []bool{true, false} {
				for _, c := range []struct {
					name string
					r    reviewed
					now  time.Time
				}{
					{"during", reviewed{running: true}, ended},
					{"during", reviewed{running: true, closesAt: new(ended.Add(-time.Hour))}, ended},
					{"after", reviewed{ended: ended}, ended},
					{"after", reviewed{ended: ended, closesAt: new(ended)}, ended.Add(2*time.Minute - time.Microsecond)},
					{"later", reviewed{ended: ended}, ended.Add(2 * time.Minute)},
					{"later", reviewed{ended: ended, closesAt: new(ended.Add(time.Hour))}, ended.Add(time.Hour - time.Microsecond)},
					{"closed", reviewed{ended: ended, closesAt: new(ended.Add(time.Hour))}, ended.Add(time.Hour)},
					{"closed", reviewed{ended: ended, closesAt: new(ended)}, ended.Add(2 * time.Minute)},
				} {
					if c.name != phase {
						continue
					}
					c.r.posted = posted
					if diff := cmp.Diff(naiveParts(m, phase, posted), shownParts(m, c.r, c.now), protocmp.Transform()); diff != "" {
						t.Fatalf("%s, bits %06b, posted %v (-want +got):\n%s", phase, bits, posted, diff)
					}
				}
			}
		}
	}
	for _, c := range []struct {
		r    reviewed
		want int
	}{{reviewed{running: true, posted: true}, 63}, {reviewed{ended: ended, posted: true}, 63}, {reviewed{ended: ended}, 1}} {
		if diff := cmp.Diff(partsOf(c.want), shownParts(nil, c.r, ended), protocmp.Transform()); diff != "" {
			t.Errorf("without a matrix, %+v:\n%s", c.r, diff)
		}
	}
	if diff := cmp.Diff(&assessmentpb.ReviewParts{}, shownParts(&assessmentpb.ReviewMatrix{}, reviewed{ended: ended, posted: true}, ended), protocmp.Transform()); diff != "" {
		t.Errorf("of an empty matrix:\n%s", diff)
	}
}

func TestPosting(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	people := ids("account", 3)
	ana, ben := people[0], people[1]
	said := func(version int64, policy string, posted bool, accounts ...string) *gradespb.PostingChanged {
		return &gradespb.PostingChanged{CourseId: w.course, ItemId: w.item, Policy: policy, Posted: posted, AccountIds: accounts, Version: version}
	}
	expect := func(want string) {
		t.Helper()
		got := ""
		for _, account := range people {
			posted, err := postedTo(t.Context(), w.db, w.course, []string{w.item, "activity_other"}, account)
			if err != nil {
				t.Fatal(err)
			}
			if !posted["activity_other"] {
				t.Error("of another item something is said")
			}
			got += fmt.Sprint(posted[w.item], " ")
		}
		if got != want {
			t.Errorf("Ana, Ben, somebody else: got %swant %s", got, want)
		}
	}
	hearing := func(events ...*gradespb.PostingChanged) { hear(w.world, w.service.postingChanged, events...) }
	expect("true true true ")
	// Ana's was posted by itself and stays so.
	hearing(said(1, "manual", true, ana), said(2, "manual", false))
	expect("true false false ")
	hearing(said(4, "manual", true, ana, ben), said(5, "manual", false, ana))
	expect("false true false ")
	// Late, and twice: what is newer stands.
	hearing(said(1, "manual", true, ana), said(4, "manual", true, ana, ben))
	expect("false true false ")
	// What comes is posted from now on; Ana's stays hidden.
	hearing(said(6, "automatic", false, ana), said(7, "automatic", true), said(2, "manual", false))
	expect("false true true ")
	hearing(said(8, "automatic", true, ana))
	expect("true true true ")
	// Nothing that comes is posted by itself, whatever is said.
	hearing(said(9, "manual", true))
	expect("true true false ")
}
