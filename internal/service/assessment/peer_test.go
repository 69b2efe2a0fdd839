package assessment

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

func peerSettings(p *assessmentpb.PeerReview) *assessmentpb.AssignmentSettings {
	settings := essaySettings()
	if p.GetReviews() == 0 {
		p.Reviews = 2
	}
	p.Seconds = 7 * 24 * 3600
	settings.PeerReview = p
	return settings
}

func (w *markedWorld) begin() *assessmentpb.PeerRound {
	w.t.Helper()
	r, err := w.peers.BeginPeerReview(w.as(w.teacher), &assessmentpb.BeginPeerReviewRequest{CourseId: w.course, ItemId: w.item})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// works runs the steps of the worker until there is nothing left to do.
func (w *markedWorld) works() {
	w.t.Helper()
	for _, step := range []func(context.Context) (bool, error){w.service.beginPeersDue, w.service.losePeersDue, w.service.endPeersDue, w.service.markPeers, w.service.remarkAssignments} {
		for more := true; more; {
			var err error
			if more, err = step(context.Background()); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

func (w *markedWorld) ends() {
	w.t.Helper()
	if _, err := w.peers.EndPeerReview(w.as(w.teacher), &assessmentpb.EndPeerReviewRequest{CourseId: w.course, ItemId: w.item}); err != nil {
		w.t.Fatal(err)
	}
	w.works()
}

func (w *markedWorld) mine(account string) []*assessmentpb.MyReview {
	w.t.Helper()
	res, err := w.reviews.ListMyReviews(w.as(account), &assessmentpb.ListMyReviewsRequest{CourseId: w.course, ItemId: w.item})
	if err != nil {
		w.t.Fatal(err)
	}
	return res.GetItems()
}

func (w *markedWorld) received(account string) []*assessmentpb.ReceivedReview {
	w.t.Helper()
	res, err := w.reviews.ListReviewsOfMine(w.as(account), &assessmentpb.ListReviewsOfMineRequest{CourseId: w.course, ItemId: w.item})
	if err != nil {
		w.t.Fatal(err)
	}
	return res.GetItems()
}

func (w *markedWorld) writes(account, review string, content *assessmentpb.PeerReviewContent) (*assessmentpb.MyReview, error) {
	return w.reviews.SubmitMyReview(w.as(account), &assessmentpb.SubmitMyReviewRequest{CourseId: w.course, ReviewId: review, Content: content})
}

// reviewed has everybody write all their reviews, with points that a function gives.
func (w *markedWorld) reviewed(students []string, points func(reviewer, submission string) string) {
	w.t.Helper()
	for _, who := range students {
		for _, r := range w.mine(who) {
			of := w.query(`SELECT submission_id FROM peer_review WHERE id = $1`, r.GetId())[0]
			if _, err := w.writes(who, r.GetId(), &assessmentpb.PeerReviewContent{Points: points(who, of), Comment: "By " + who}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// loads returns how many reviews each submission gets that hold, and each reviewer does.
func (w *markedWorld) loads(of string) []string {
	return w.query(`SELECT count(*)::text FROM peer_review WHERE item_id = $1 AND state NOT IN ('lost', 'freed') GROUP BY `+of+` ORDER BY 1`, w.item)
}

func TestCombined(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ how, points, want string }{
		{"median", "", ""},
		{"median", "3", "3"},
		{"median", "9 1 2", "2"},
		{"median", "9 1 2 20/3", "13/3"},
		{"mean", "1 1 2", "4/3"},
		{"mean", "0 10", "5"},
	} {
		var list []exact.Number
		for text := range strings.FieldsSeq(c.points) {
			list = append(list, exact.MustParse(text))
		}
		got := combined(c.how, list)
		if (got == nil) != (c.want == "") || got != nil && !got.Equal(exact.MustParse(c.want)) {
			t.Errorf("%s of %s: %v", c.how, c.points, got)
		}
	}
}

func TestWeighted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ weight, completion, staff, peers, want string }{
		{"30", "0", "8", "5", "71/10"},
		{"30", "10", "8", "5", "7"}, // 60 and 30 of 90
		{"30", "0", "8", "", "8"},   // no review counts
		{"30", "0", "", "5", ""},    // the staff's part is to come
		{"100", "0", "", "5", "5"},
		{"90", "10", "3", "5", "5"},
	} {
		var staff, peers *exact.Number
		if c.staff != "" {
			staff = new(exact.MustParse(c.staff))
		}
		if c.peers != "" {
			peers = new(exact.MustParse(c.peers))
		}
		got := weighted(peerSettings(&assessmentpb.PeerReview{WeightPercent: c.weight, CompletionPercent: c.completion}), staff, peers)
		if (got == nil) != (c.want == "") || got != nil && !got.Equal(exact.MustParse(c.want)) {
			t.Errorf("%v: %v", c, got)
		}
	}
	settings := peerSettings(&assessmentpb.PeerReview{CompletionPercent: "20"})
	if got := (reviewing{done: 2, due: 3}).share(settings, exact.MustParse("1/2")); !got.Equal(exact.MustParse("8/15")) {
		t.Errorf("with reviewing: %s", got)
	}
}

// Students review each other's work, which is a part of their marks, as is that they do.
func TestPeerReviewJourney(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	w.assign(peerSettings(&assessmentpb.PeerReview{Anonymous: true, WeightPercent: "30", CompletionPercent: "20", Combine: "mean"}))
	students, subs := w.hand(5)
	if got := w.mine(students[0]); len(got) != 0 {
		t.Errorf("before it began: %v", got)
	}
	if r := w.begin(); r.GetAllotted() != 10 || r.GetState() != "open" || !r.GetClosesAt().AsTime().Equal(w.now().Add(7*24*time.Hour)) {
		t.Errorf("begun: %v", r)
	}
	if _, err := w.peers.BeginPeerReview(w.as(w.teacher), &assessmentpb.BeginPeerReviewRequest{CourseId: w.course, ItemId: w.item}); fault.CodeOf(err) != "peer_review.open" {
		t.Error(err)
	}
	ana := students[0]
	list := w.mine(ana)
	if len(list) != 2 || list[0].GetState() != "allotted" {
		t.Fatal(list)
	}
	one, err := w.reviews.GetMyReview(w.as(ana), &assessmentpb.GetMyReviewRequest{CourseId: w.course, ReviewId: list[0].GetId()})
	if err != nil || one.GetWork().GetText() == "" || len(one.GetAuthors()) != 0 || one.GetMaxPoints() != "10" {
		t.Fatal(one, err)
	}
	for _, account := range students[1:] {
		if strings.Contains(fmt.Sprint(one), account) {
			t.Error("an author is named")
		}
	}
	// Others' reviews are not there for anybody else.
	for _, who := range []string{students[1], w.student("Outsider")} {
		if _, err := w.reviews.GetMyReview(w.as(who), &assessmentpb.GetMyReviewRequest{CourseId: w.course, ReviewId: list[0].GetId()}); fault.CodeOf(err) != "peer_review.not_found" {
			t.Error(err)
		}
		if _, err := w.writes(who, list[0].GetId(), &assessmentpb.PeerReviewContent{Points: "1"}); fault.CodeOf(err) != "peer_review.not_found" {
			t.Error(err)
		}
	}
	if _, err := w.reviews.GetMyReview(w.as(ana), &assessmentpb.GetMyReviewRequest{CourseId: id.New("course"), ReviewId: list[0].GetId()}); fault.CodeOf(err) != "peer_review.not_found" {
		t.Error(err)
	}
	for name, bad := range map[string]*assessmentpb.PeerReviewContent{
		"no points": {Comment: "Fine."}, "too many": {Points: "10.000001"},
	} {
		if _, err := w.writes(ana, list[0].GetId(), bad); fault.CodeOf(err) != "peer_review.invalid" {
			t.Errorf("%s: %v", name, err)
		}
	}
	draft, err := w.reviews.SaveMyReview(w.as(ana), &assessmentpb.SaveMyReviewRequest{CourseId: w.course, ReviewId: list[0].GetId(), Content: &assessmentpb.PeerReviewContent{Comment: "A secret draft."}})
	if err != nil || draft.GetState() != "begun" {
		t.Fatal(draft, err)
	}
	seen, err := w.peers.ListPeerReviews(w.as(w.teacher), &assessmentpb.ListPeerReviewsRequest{CourseId: w.course, ItemId: w.item, PageSize: 100})
	if err != nil || len(seen.GetItems()) != 10 || strings.Contains(fmt.Sprint(seen), "secret") {
		t.Error(seen, err)
	}
	// All but the last do all of theirs; the staff marks too.
	w.reviewed(students[:4], func(_, submission string) string { return fmt.Sprint(slices.Index(subs, submission) + 1) })
	outboxOf[assessmentpb.MarkChanged](w.quizWorld)
	for _, sub := range subs {
		marked, err := w.gives(w.as(w.teacher), sub, "8")
		if err != nil || marked.GetVersion().GetMark() != nil || marked.GetPeerMark().GetStaffPoints() != "8" {
			t.Fatal(marked, err)
		}
	}
	if list := w.queue(w.teacher, "", 10); len(list) != 0 {
		t.Errorf("to mark, though it is: %v", list)
	}
	if events := outboxOf[assessmentpb.MarkChanged](w.quizWorld); len(events) != 0 {
		t.Errorf("told before reviewing is over: %v", events)
	}
	if got := w.received(ana); len(got) != 0 {
		t.Errorf("shown before it is over: %v", got)
	}
	w.ends()
	if _, err := w.writes(students[4], w.mine(students[4])[0].GetId(), &assessmentpb.PeerReviewContent{Points: "1"}); fault.CodeOf(err) != "peer_review.over" {
		t.Error(err)
	}
	marks := map[string]string{}
	for _, e := range outboxOf[assessmentpb.MarkChanged](w.quizWorld) {
		marks[e.GetAccountId()] = e.GetPoints() // of several the last
	}
	for i, account := range students {
		// 50 and 30 of 80 for the work, and 20 for reviewing.
		work := exact.Int(8).Mul(exact.Int(50)).Add(exact.Int(int64(i + 1)).Mul(exact.Int(30))).Div(exact.Int(80))
		if len(w.query(`SELECT id FROM peer_review WHERE submission_id = $1 AND state = 'done'`, subs[i])) == 0 {
			work = exact.Int(8)
		}
		work = work.Round(6, exact.HalfEven) // as it is kept with the version
		done := exact.Int(10)
		if i == 4 {
			done = exact.Int(0)
		}
		expect(t, "mark of "+fmt.Sprint(i), marks[account], work.Mul(exact.Int(80)).Add(done.Mul(exact.Int(20))).Div(exact.Int(100)).Round(6, exact.HalfEven).String())
	}
	got := w.received(ana)
	if len(got) == 0 || got[0].GetPoints() != "1" || got[0].GetPointsOf() != "10" || got[0].GetReviewer() != nil {
		t.Errorf("received: %v", got)
	}
	w.posts(1, false)
	if got := w.received(ana); len(got) != 0 {
		t.Errorf("shown though the mark is not posted: %v", got)
	}
	if r, err := w.peers.GetPeerRound(w.as(w.teacher), &assessmentpb.GetPeerRoundRequest{CourseId: w.course, ItemId: w.item}); err != nil || r.GetState() != "over" || !r.GetMarked() || r.GetDone() != 8 {
		t.Error(r, err)
	}
	w.works()
	if events := outboxOf[assessmentpb.MarkChanged](w.quizWorld); len(events) != 0 {
		t.Errorf("told again: %v", events)
	}
}

// TestPeerReviewTaken has nobody owe what staff have taken, by its name, from who has begun
// others. Who has begun none still does.
func TestPeerReviewTaken(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	w.assign(peerSettings(&assessmentpb.PeerReview{WeightPercent: "30", CompletionPercent: "20"}))
	students, _ := w.hand(5)
	w.begin()
	take := func(reviews ...string) {
		t.Helper()
		if _, err := w.peers.ReallotPeerReviews(w.as(w.teacher), &assessmentpb.ReallotPeerReviewsRequest{CourseId: w.course, ItemId: w.item, ReviewIds: reviews}); err != nil {
			t.Fatal(err)
		}
	}
	active, idle := students[0], students[1]
	first, second := w.mine(active)[0].GetId(), w.mine(active)[1].GetId()
	if _, err := w.writes(active, first, &assessmentpb.PeerReviewContent{Points: "5"}); err != nil {
		t.Fatal(err)
	}
	take(second)
	take(w.mine(idle)[0].GetId())
	r, err := readRound(t.Context(), w.db, w.item, w.query(`SELECT ref FROM placement WHERE item_id = $1`, w.item)[0], "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := reviewingOf(t.Context(), w.db, r, []string{active, idle})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "of who has begun others", fmt.Sprint(got[active]), "{1 1}")
	expect(t, "of who has begun none", fmt.Sprint(got[idle]), "{0 2}")
}

// The staff excludes a review and sets what reviews come to: marks follow, also after the
// end.
func TestPeerOverrides(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	w.assign(peerSettings(&assessmentpb.PeerReview{Reviews: 3, WeightPercent: "100", Required: true}))
	students, subs := w.hand(4)
	if _, err := w.peers.SetPeerMark(w.as(w.teacher), &assessmentpb.SetPeerMarkRequest{CourseId: w.course, SubmissionId: subs[3], Points: "100.1"}); fault.CodeOf(err) != "mark.invalid" {
		t.Error(err)
	}
	if list := w.queue(w.teacher, "", 10); len(list) != 0 {
		t.Errorf("staff is to mark what reviews alone do: %v", list)
	}
	if _, err := w.gives(w.as(w.teacher), subs[0], "3"); fault.CodeOf(err) != "marking.peers_only" {
		t.Error(err)
	}
	w.begin()
	w.reviewed(students, func(reviewer, _ string) string {
		return fmt.Sprint([]int{0, 4, 8, 9}[slices.Index(students, reviewer)])
	})
	w.ends()
	points := func(i int) string { return w.submissionOf(w.teacher, subs[i]).GetVersion().GetMark().GetPoints() }
	expect(t, "median of 4, 8, 9", points(0), "8")
	expect(t, "median of 0, 8, 9", points(1), "8")
	bad := w.query(`SELECT id FROM peer_review WHERE submission_id = $1 AND reviewer_id = $2`, subs[1], students[0])[0]
	exclude := &assessmentpb.ExcludePeerReviewRequest{CourseId: w.course, ReviewId: bad, Reason: "Not serious."}
	one, err := w.peers.ExcludePeerReview(w.as(w.teacher), exclude)
	if err != nil || !one.GetExcluded() || one.GetReviewerId() != students[0] || one.GetReviewer() != "Student 0" {
		t.Fatal(one, err)
	}
	expect(t, "without it", points(1), "8.5")
	if got := w.received(students[1]); len(got) != 2 {
		t.Errorf("an excluded review is shown: %v", got)
	}
	if got := w.received(students[0]); len(got) != 0 {
		t.Errorf("shown to whose reviews are not all done: %v", got)
	}
	if _, err := w.peers.SetPeerMark(w.as(w.teacher), &assessmentpb.SetPeerMarkRequest{CourseId: w.course, SubmissionId: subs[1], Points: "6.25", Reason: "Too kind."}); err != nil {
		t.Fatal(err)
	}
	expect(t, "set", points(1), "6.25")
	if m := w.submissionOf(w.teacher, subs[1]).GetPeerMark(); !m.GetOverridden() || m.GetReason() != "Too kind." || m.GetCounted() != 2 {
		t.Errorf("%v", m)
	}
	if _, err := w.peers.SetPeerMark(w.as(w.teacher), &assessmentpb.SetPeerMarkRequest{CourseId: w.course, SubmissionId: subs[1]}); err != nil {
		t.Fatal(err)
	}
	exclude.Include = true
	if _, err := w.peers.ExcludePeerReview(w.as(w.teacher), exclude); err != nil {
		t.Fatal(err)
	}
	expect(t, "as it was", points(1), "8")
	expect(t, "overrides kept", fmt.Sprint(len(w.query(`SELECT reason FROM peer_override WHERE submission_id = $1`, subs[1]))), "2")
}

// Reviewing that is formative: no mark waits for it, and reviews are shown once they are
// released.
func TestFormativePeerReview(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	assignment := w.assign(peerSettings(&assessmentpb.PeerReview{Reviews: 1, Required: true}))
	r := w.guide(&assessmentpb.AttachRubricRequest{AssignmentId: assignment, Purpose: "peer_review"})
	students, subs := w.hand(3)
	w.begin()
	if m, err := w.gives(w.as(w.teacher), subs[0], "7"); err != nil || m.GetVersion().GetMark().GetPoints() != "7" || m.GetRubric() != nil {
		t.Error(m, err)
	}
	for _, who := range students[:2] {
		one := w.mine(who)[0]
		if _, err := w.writes(who, one.GetId(), &assessmentpb.PeerReviewContent{Comment: "No rubric."}); fault.CodeOf(err) != "peer_review.invalid" {
			t.Error(err)
		}
		if whole, err := w.reviews.GetMyReview(w.as(who), &assessmentpb.GetMyReviewRequest{CourseId: w.course, ReviewId: one.GetId()}); err != nil ||
			whole.GetRubric().GetContent().GetCriteria()[0].GetMarkerNotes() != "" || len(whole.GetAuthors()) != 1 || whole.GetAuthors()[0].GetName() == "" {
			t.Error(whole, err)
		}
		if done, err := w.writes(who, one.GetId(), &assessmentpb.PeerReviewContent{Rubric: chose(r, "3", "3"), Comment: "*Well.*"}); err != nil || done.GetState() != "done" {
			t.Fatal(done, err)
		}
		if _, err := w.writes(who, one.GetId(), &assessmentpb.PeerReviewContent{Rubric: chose(r, "0", "0")}); fault.CodeOf(err) != "peer_review.done" {
			t.Error(err)
		}
	}
	shown := func() (n int) {
		for _, who := range students {
			for _, one := range w.received(who) {
				n++
				if one.GetRubric().GetPoints() != "6" || one.GetPoints() != "20/3" || one.GetReviewer().GetName() == "" || one.GetCommentHtml() != "<p><em>Well.</em></p>\n" {
					t.Errorf("received: %v", one)
				}
			}
		}
		return n
	}
	if n := shown(); n != 0 {
		t.Errorf("%d shown before", n)
	}
	w.posts(1, false) // what is formative is no part of the mark
	if _, err := w.peers.UpdatePeerRound(w.as(w.teacher), &assessmentpb.UpdatePeerRoundRequest{CourseId: w.course, ItemId: w.item, Release: true}); err != nil {
		t.Fatal(err)
	}
	// Of three in a circle the one who has done nothing sees nothing.
	if n := shown(); n != 1 {
		t.Errorf("%d shown", n)
	}
	for name, req := range map[string]*assessmentpb.UpdatePeerRoundRequest{
		"past":   {ClosesAt: timestamppb.New(w.now())},
		"begin":  {BeginBy: timestamppb.New(w.now().Add(-time.Hour))},
		"behind": {BeginBy: timestamppb.New(w.now().AddDate(1, 0, 0))},
	} {
		req.CourseId, req.ItemId = w.course, w.item
		if _, err := w.peers.UpdatePeerRound(w.as(w.teacher), req); fault.CodeOf(err) != "peer_review.invalid" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// It begins when it is due; who has not begun in time loses theirs to others; who hands in
// late joins; what is taken back frees who reviews it; and it ends by itself.
func TestPeerReviewMoves(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	settings := peerSettings(&assessmentpb.PeerReview{BeginSeconds: 3600})
	settings.AllowWithdraw = true
	assignment := w.assign(settings)
	due := w.now().Add(time.Hour)
	w.sequence++
	hear(w.world, w.service.coursePublished, &coursespb.CoursePublished{CourseId: w.course, Sequence: w.sequence, Items: []*coursespb.PublishedItem{{
		Id: w.item, Kind: "assignment", Title: "Essay", ActivityRef: assignment,
		Schedule: &releasepb.Schedule{Due: &releasepb.Moment{When: &releasepb.Moment_At{At: timestamppb.New(due)}}},
	}}})
	students, subs := w.hand(8)
	w.works()
	if _, err := w.peers.GetPeerRound(w.as(w.teacher), &assessmentpb.GetPeerRoundRequest{CourseId: w.course, ItemId: w.item}); fault.CodeOf(err) != "peer_review.not_begun" {
		t.Error("it began before it was due:", err)
	}
	w.later(time.Hour)
	w.works()
	even := func(what string, n int) {
		t.Helper()
		if diff := cmp.Diff(slices.Repeat([]string{"2"}, n), w.loads("submission_id")); diff != "" {
			t.Errorf("%s, works get: %s", what, diff)
		}
	}
	even("begun", 8)
	begins := func(who string) {
		t.Helper()
		if _, err := w.reviews.SaveMyReview(w.as(who), &assessmentpb.SaveMyReviewRequest{CourseId: w.course, ReviewId: w.mine(who)[0].GetId(), Content: &assessmentpb.PeerReviewContent{Comment: "So far."}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, who := range students[:4] {
		begins(who)
	}
	kept := w.query(`SELECT id FROM peer_review WHERE state = 'begun' ORDER BY id`)
	late, _ := w.hand(1)
	even("one came late", 9)
	if got := w.mine(late[0]); len(got) != 2 {
		t.Errorf("who came late reviews %v", got)
	}
	// Taken back, and handed in again.
	if _, err := w.WithdrawSubmission(w.as(students[7]), &assessmentpb.WithdrawSubmissionRequest{CourseId: w.course, ItemId: w.item}); err != nil {
		t.Fatal(err)
	}
	for _, state := range w.query(`SELECT state FROM peer_review WHERE submission_id = $1`, subs[7]) {
		if state != "freed" {
			t.Errorf("a review of what was taken back is %s", state)
		}
	}
	if _, err := w.submit(students[7]); err != nil {
		t.Fatal(err)
	}
	even("handed in again", 9)
	if diff := cmp.Diff(kept, w.query(`SELECT id FROM peer_review WHERE state = 'begun' ORDER BY id`)); diff != "" {
		t.Errorf("begun: %s", diff)
	}
	begins(students[7])
	begins(late[0])
	// Three have begun nothing; one leaves who has.
	hear(w.world, w.service.enrollmentEnded, &accesspb.EnrollmentEnded{CourseId: w.course, AccountId: students[0], Version: 2})
	w.later(time.Hour)
	w.works()
	even("some have dropped out", 9)
	gone := append([]string{students[0]}, students[4:7]...)
	for _, who := range gone {
		if got := w.mine(who); len(got) != 0 {
			t.Errorf("%s still has %v", who, got)
		}
	}
	r, err := w.peers.GetPeerRound(w.as(w.teacher), &assessmentpb.GetPeerRoundRequest{CourseId: w.course, ItemId: w.item})
	if err != nil || r.GetBeginBy() != nil || r.GetLost() == 0 {
		t.Error(r, err)
	}
	var did []int
	for _, who := range append(slices.Clone(students[1:4]), students[7], late[0]) {
		did = append(did, len(w.mine(who)))
	}
	if slices.Max(did)-slices.Min(did) > 1 {
		t.Errorf("those who stay do %v", did)
	}
	// The staff takes one more away, and gives somebody back what they lost.
	first := w.query(`SELECT id FROM peer_review WHERE state = 'allotted' AND reviewer_id = $1 ORDER BY id LIMIT 1`, students[1])[0]
	reallot := &assessmentpb.ReallotPeerReviewsRequest{CourseId: w.course, ItemId: w.item, ReviewIds: []string{first}}
	if got, err := w.peers.ReallotPeerReviews(w.as(w.teacher), reallot); err != nil || got.GetTaken() != 1 || got.GetHanded() != 1 {
		t.Error(got, err)
	}
	if _, err := w.peers.ReallotPeerReviews(w.as(w.teacher), reallot); fault.CodeOf(err) != "peer_review.not_found" {
		t.Error(err)
	}
	reallot.ReviewIds = w.query(`SELECT id FROM peer_review WHERE state = 'begun' AND reviewer_id = $1`, students[1])
	if _, err := w.peers.ReallotPeerReviews(w.as(w.teacher), reallot); fault.CodeOf(err) != "peer_review.started" {
		t.Error(err)
	}
	lost := w.query(`SELECT submission_id FROM peer_review WHERE state = 'lost' AND reviewer_id = $1 LIMIT 1`, students[4])[0]
	add := &assessmentpb.AddPeerReviewRequest{CourseId: w.course, SubmissionId: lost, AccountId: students[4]}
	if one, err := w.peers.AddPeerReview(w.as(w.teacher), add); err != nil || one.GetState() != "allotted" || len(w.mine(students[4])) != 1 {
		t.Error(one, err)
	}
	for name, account := range map[string]string{"own": w.query(`SELECT account_id FROM submission WHERE id = $1`, lost)[0], "outsider": id.New("account")} {
		bad := proto.CloneOf(add)
		bad.AccountId = account
		if _, err := w.peers.AddPeerReview(w.as(w.teacher), bad); fault.CodeOf(err) != "peer_review.unsuitable" {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.later(7 * 24 * time.Hour)
	w.works()
	if r, err := w.peers.GetPeerRound(w.as(w.teacher), &assessmentpb.GetPeerRoundRequest{CourseId: w.course, ItemId: w.item}); err != nil || r.GetState() != "over" || !r.GetMarked() {
		t.Error(r, err)
	}
	if _, err := w.peers.ReallotPeerReviews(w.as(w.teacher), &assessmentpb.ReallotPeerReviewsRequest{CourseId: w.course, ItemId: w.item}); fault.CodeOf(err) != "peer_review.over" {
		t.Error(err)
	}
}

// Two devices submit the same review, and it is taken away at the same time: it is
// submitted once, or not at all.
func TestPeerReviewRaces(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	w.assign(peerSettings(&assessmentpb.PeerReview{}))
	students, _ := w.hand(6)
	w.begin()
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := map[string]int{}
	for _, who := range students {
		one := w.mine(who)[0]
		for device := range 2 {
			wg.Go(func() {
				_, err := w.reviews.SubmitMyReview(rpc.WithIfMatch(w.as(who), one.GetEtag()), &assessmentpb.SubmitMyReviewRequest{
					CourseId: w.course, ReviewId: one.GetId(), Content: &assessmentpb.PeerReviewContent{Comment: fmt.Sprint("From ", device)},
				})
				switch code := fault.CodeOf(err); {
				case err == nil:
					mu.Lock()
					done[one.GetId()]++
					mu.Unlock()
				case code != "peer_review.done" && code != "etag.stale" && code != "peer_review.not_found":
					t.Error(err)
				}
			})
		}
	}
	wg.Go(func() {
		if _, err := w.peers.ReallotPeerReviews(w.as(w.teacher), &assessmentpb.ReallotPeerReviewsRequest{CourseId: w.course, ItemId: w.item}); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	states := w.query(`SELECT id FROM peer_review WHERE state = 'done' ORDER BY id`)
	if len(states) != len(done) {
		t.Errorf("%d are done, %d were told so", len(states), len(done))
	}
	for _, reviewID := range states {
		if done[reviewID] != 1 {
			t.Errorf("%s was submitted %d times", reviewID, done[reviewID])
		}
	}
}

// Two of the staff mark besides the students; then reviews count no more, and what the
// staff has given counts by itself.
func TestPeerReviewAndTwoMarkers(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	settings := peerSettings(&assessmentpb.PeerReview{Reviews: 1, WeightPercent: "50"})
	settings.DoubleMarking = true
	assignment := w.assign(settings)
	students, subs := w.hand(3)
	w.begin()
	w.reviewed(students, func(_, _ string) string { return "4" })
	for range 2 {
		who := w.marker()
		for _, sub := range subs[:2] {
			if _, err := w.gives(w.as(who), sub, "8"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if m := w.submissionOf(w.teacher, subs[0]); m.GetTwoMarks().GetState() != "agreed" || m.GetVersion().GetMark() != nil || m.GetPeerMark().GetPoints() != "4" || m.GetPeerMark().GetStaffPoints() != "8" {
		t.Errorf("agreed: %v", m)
	}
	w.ends()
	point := func(i int) string { return w.submissionOf(w.teacher, subs[i]).GetVersion().GetMark().GetPoints() }
	expect(t, "half of each", point(0)+" "+point(1)+" "+point(2), "6 6 ")
	settled, err := w.marking.SettleMark(rpc.WithIfMatch(w.as(w.teacher), w.submissionOf(w.teacher, subs[1]).GetEtag()), &assessmentpb.SettleMarkRequest{CourseId: w.course, SubmissionId: subs[1], Number: 1, Points: "10"})
	if err != nil || settled.GetVersion().GetMark().GetPoints() != "7" {
		t.Error(settled, err)
	}
	republish := func(weight string) {
		t.Helper()
		settings.PeerReview.WeightPercent = weight
		if _, err := w.UpdateAssignment(w.as(w.teacher), &assessmentpb.UpdateAssignmentRequest{CourseId: w.course, AssignmentId: assignment, Settings: settings}); err != nil {
			t.Fatal(err)
		}
		w.publishAssignment(assignment)
		w.works()
	}
	republish("25")
	expect(t, "a quarter is theirs", point(0)+" "+point(1), "7 8.5")
	republish("0")
	expect(t, "nothing is theirs", point(0)+" "+point(1), "8 10")
}

// Marks that wait for reviewing to be over wait no more once it is a part of them no
// longer.
func TestPeerReviewIsLeftOut(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	settings := peerSettings(&assessmentpb.PeerReview{WeightPercent: "50"})
	assignment := w.assign(settings)
	_, subs := w.hand(1)
	if m, err := w.gives(w.as(w.teacher), subs[0], "8"); err != nil || m.GetVersion().GetMark() != nil {
		t.Fatal(m, err)
	}
	settings.PeerReview = nil
	if _, err := w.UpdateAssignment(w.as(w.teacher), &assessmentpb.UpdateAssignmentRequest{CourseId: w.course, AssignmentId: assignment, Settings: settings}); err != nil {
		t.Fatal(err)
	}
	w.publishAssignment(assignment)
	w.works()
	expect(t, "mark", w.submissionOf(w.teacher, subs[0]).GetVersion().GetMark().GetPoints(), "8")
}

// Groups hand in together: nobody reviews their own group's.
func TestPeerReviewOfGroups(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	settings := peerSettings(&assessmentpb.PeerReview{})
	settings.Group = &assessmentpb.GroupWork{}
	w.assign(settings)
	var subs []string
	for i, size := range []int{1, 2, 3, 2} {
		group := id.New("group")
		hear(w.world, w.service.groupChanged, &accesspb.GroupChanged{GroupId: group, CourseId: w.course, Name: fmt.Sprint("Group ", i), Version: 1})
		var last string
		for j := range size {
			last = w.student(fmt.Sprintf("Member %d of %d", j, i))
			hear(w.world, w.service.groupMembershipChanged, &accesspb.GroupMembershipChanged{GroupId: group, CourseId: w.course, AccountId: last, Member: true, Version: 1})
		}
		w.hands(last, "Ours.")
		subs = append(subs, w.submissionID(last))
	}
	w.begin()
	if own := w.query(`SELECT r.id FROM peer_review r JOIN submission_member m ON m.submission_id = r.submission_id AND m.account_id = r.reviewer_id`); len(own) != 0 {
		t.Errorf("%d review their own", len(own))
	}
	if diff := cmp.Diff(slices.Repeat([]string{"2"}, 8), w.loads("reviewer_id")); diff != "" {
		t.Errorf("each reviews: %s", diff)
	}
	if diff := cmp.Diff(slices.Repeat([]string{"4"}, len(subs)), w.loads("submission_id")); diff != "" {
		t.Errorf("each gets: %s", diff)
	}
}
