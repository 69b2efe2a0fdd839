package assessment

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

func TestRefuse(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	hour := func(n int) *time.Time { return new(now.Add(time.Duration(n) * time.Hour)) }
	open := standing{enrolled: true, state: "open"}
	with := func(change func(*standing)) *standing {
		st := open
		change(&st)
		return &st
	}
	done := func(n int, ended *time.Time) []begun {
		out := make([]begun, n)
		for i := range out {
			out[i] = begun{Number: int32(i + 1), State: stateGraded, SubmittedAt: ended}
		}
		return out
	}
	two := &assessmentpb.QuizSettings{Attempts: 2, FirstDelaySeconds: 3600, LaterDelaySeconds: 7200}
	for name, c := range map[string]struct {
		st       *standing
		settings *assessmentpb.QuizSettings
		attempts []begun
		want     []string
	}{
		"open":         {&open, &assessmentpb.QuizSettings{}, done(50, hour(0)), nil},
		"not enrolled": {with(func(s *standing) { s.enrolled = false }), two, nil, []string{"attempt.enrolling"}},
		"hidden":       {with(func(s *standing) { s.state, s.opensAt = "hidden", hour(1) }), two, nil, []string{"attempt.not_found"}},
		"not there":    {with(func(s *standing) { s.state = "absent" }), two, nil, []string{"attempt.not_found"}},
		"locked": {
			with(func(s *standing) { s.state, s.reasons = "locked", []string{"Complete “One” first."} }), two, nil,
			[]string{"attempt.locked", "item_id Complete “One” first."},
		},
		"opens": {
			with(func(s *standing) { s.state, s.opensAt, s.closesAt = "locked", hour(1), hour(2) }), two, nil,
			[]string{"attempt.locked", "opens_at 2026-05-04T10:00:00Z"},
		},
		"closed":      {with(func(s *standing) { s.closesAt = hour(0) }), two, nil, []string{"attempt.closed", "item_id It closed on 2026-05-04T09:00:00Z."}},
		"about to":    {with(func(s *standing) { s.closesAt = new(now.Add(time.Microsecond)) }), two, nil, nil},
		"none left":   {&open, two, done(2, hour(-9)), []string{"attempt.none_left", "item_id There are 2, and you have begun all of them."}},
		"eased":       {with(func(s *standing) { s.extraAttempts = 1 }), two, done(2, hour(-9)), nil},
		"none eased":  {with(func(s *standing) { s.extraAttempts = 1 }), two, done(3, hour(-9)), []string{"attempt.none_left", "item_id There are 3, and you have begun all of them."}},
		"too soon":    {&open, two, done(1, new(now.Add(-time.Minute))), []string{"attempt.too_soon", "item_id It can begin on 2026-05-04T09:59:00Z.", "opens_at 2026-05-04T09:59:00Z"}},
		"soon enough": {&open, two, done(1, hour(-1)), nil},
		"the third":   {with(func(s *standing) { s.extraAttempts = 1 }), two, done(2, hour(-1)), []string{"attempt.too_soon", "item_id It can begin on 2026-05-04T10:00:00Z.", "opens_at 2026-05-04T10:00:00Z"}},
		"never": {
			with(func(s *standing) { s.closesAt = hour(1) }), two, done(1, hour(0)),
			[]string{"attempt.closed", "item_id Your next attempt could begin on 2026-05-04T10:00:00Z, and it closes on 2026-05-04T10:00:00Z."},
		},
	} {
		var got []string
		if err := c.st.refuse(c.settings, c.attempts, now); err != nil {
			got = []string{err.Code}
			for _, f := range err.Fields {
				got = append(got, f.Path+" "+f.Hint)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ranges  []string
		address string
		want    bool
	}{
		{nil, "", true},
		{nil, "203.0.113.9", true},
		{[]string{"192.0.2.0/24"}, "192.0.2.255", true},
		{[]string{"192.0.2.0/24"}, "192.0.3.1", false},
		{[]string{"192.0.2.7"}, "192.0.2.7", true},
		{[]string{"192.0.2.7"}, "192.0.2.8", false},
		{[]string{"::ffff:192.0.2.0/120"}, "192.0.2.9", true},
		{[]string{"192.0.2.0/24"}, "::ffff:192.0.2.9", true},
		{[]string{"0.0.0.0/0"}, "2001:db8::1", false},
		{[]string{"2001:db8::/32"}, "2001:db8:9:9::", true},
		{[]string{"2001:db8:1:2:3::/80"}, "2001:db8:1:2::", true}, // as the edge tells it
		{[]string{"2001:db8:1:2::1"}, "2001:db8:1:3::", false},
		{[]string{"192.0.2.0/24", "2001:db8::/32"}, "", false},
		{[]string{"192.0.2.0/24"}, "somewhere", false},
	} {
		if err := checkNetwork(c.ranges, c.address); (err == nil) != c.want {
			t.Errorf("%q of %v: %v", c.address, c.ranges, err)
		}
	}
}

// TestNetworkWhileRunning: who leaves the networks of a quiz is shown nothing more of it,
// and what they answer is taken.
func TestNetworkWhileRunning(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	ana := id.New("account")
	settings := &assessmentpb.QuizSettings{AddressRanges: []string{"192.0.2.0/24"}, Sections: []*assessmentpb.QuizSection{section(asked(w.question("One")))}}
	quizID := w.placed(settings)
	here, away := rpc.WithAddress(w.as(ana), "192.0.2.9"), rpc.WithAddress(w.as(ana), "198.51.100.1")
	start := func(ctx context.Context) (*assessmentpb.Attempt, error) {
		return w.attempts.StartAttempt(ctx, &assessmentpb.StartAttemptRequest{CourseId: w.course, ItemId: w.item})
	}
	a := must(start(here))(t)
	get := func(ctx context.Context) error {
		return second(w.attempts.GetAttempt(ctx, &assessmentpb.GetAttemptRequest{AttemptId: a.GetId()}))
	}
	expect(t, "away, begun again", codeOf(nil, second(start(away))), "attempt.network")
	expect(t, "away, shown", codeOf(nil, get(away)), "attempt.network")
	media := assessmentpb.NewQuestionMediaServiceClient(w.harness.As("edge"))
	expect(t, "away, files", codeOf(nil, second(media.ListAttemptMedia(away, &assessmentpb.ListAttemptMediaRequest{AttemptId: a.GetId()}))), "attempt.network")
	told := must(w.attempts.AppendAnswers(away, &assessmentpb.AppendAnswersRequest{AttemptId: a.GetId(), ClientId: laptop, Operations: []*assessmentpb.Operation{do(1, opFlag, 1)}}))(t)
	expect(t, "away, answered", told.GetVerdicts()[0].GetVerdict(), "accepted")
	w.exec(`UPDATE attempt SET breaks = true`)
	if a := must(w.attempts.PauseAttempt(away, &assessmentpb.PauseAttemptRequest{AttemptId: a.GetId()}))(t); a.GetPausedAt() == nil {
		t.Errorf("paused: %v", a)
	}
	expect(t, "away, goes on", codeOf(nil, second(w.attempts.ResumeAttempt(away, &assessmentpb.ResumeAttemptRequest{AttemptId: a.GetId()}))), "attempt.network")
	if a := must(w.attempts.ResumeAttempt(here, &assessmentpb.ResumeAttemptRequest{AttemptId: a.GetId()}))(t); a.GetPausedAt() != nil || len(a.GetQuestions()) != 1 {
		t.Errorf("goes on: %v", a)
	}
	// The networks are mended meanwhile.
	settings.AddressRanges = []string{"192.0.2.0/24", "198.51.100.0/24"}
	w.update(quizID, settings)
	w.publish(quizID)
	if err := get(away); err != nil {
		t.Errorf("mended: %v", err)
	}
	settings.AddressRanges = []string{"192.0.2.0/24"}
	w.update(quizID, settings)
	w.publish(quizID)
	expect(t, "away again", codeOf(nil, get(away)), "attempt.network")
	if err := second(w.attempts.SubmitAttempt(away, &assessmentpb.SubmitAttemptRequest{AttemptId: a.GetId()})); err != nil {
		t.Errorf("submitted: %v", err)
	}
	if err := get(away); err != nil {
		t.Errorf("over: %v", err)
	}
}

func TestAdmit(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	ctx := w.as(w.teacher)
	ana := id.New("account")
	quizID := w.create(&assessmentpb.QuizSettings{
		TimeLimitSeconds: 600, Overtime: "grace", GraceSeconds: 30, MaxPoints: "20", Behaviour: "immediate", AddressRanges: []string{"192.0.2.0/24"},
		Sections: []*assessmentpb.QuizSection{section(asked(w.question("One")), asked(w.question("Two")))},
	}).GetId()
	if _, err := w.UpdateQuiz(ctx, &assessmentpb.UpdateQuizRequest{CourseId: w.course, QuizId: quizID, Password: new("Zeno of Citium")}); err != nil {
		t.Fatal(err)
	}
	from := func(address string) context.Context {
		return metadata.NewIncomingContext(t.Context(), metadata.Pairs(rpc.KeyAddress, address))
	}
	here := from("192.0.2.9")
	admit := func(ctx context.Context, account, password, want string) string {
		t.Helper()
		attemptID, err := w.service.admit(ctx, w.course, w.item, account, password)
		if code := fault.CodeOf(err); err != nil && code != want || err == nil && want != "" {
			t.Errorf("admitted: %v, want %q", err, want)
		}
		return attemptID
	}
	admit(here, ana, "Zeno of Citium", "attempt.not_found") // at no item
	w.place(quizID, nil)
	admit(here, ana, "Zeno of Citium", "attempt.not_found") // not published
	w.publish(quizID)
	admit(from("192.0.9.9"), ana, "Zeno of Citium", "attempt.network")
	admit(here, ana, "", "attempt.password")
	for range 5 {
		admit(here, ana, "Zenon", "attempt.password")
	}
	admit(here, ana, "Zeno of Citium", "attempt.password_wait")
	ben := id.New("account")
	w.around.eases[ben] = []*accesspb.Ease{{TimePercent: 150, ExtraDays: 1}, {TimePercent: 125, Breaks: true}}
	w.around.say(ben, itemOpen(func(it *itemAccess) {
		it.Due, it.Until, it.ClosesAt = timestamppb.New(w.now().Add(time.Hour)), timestamppb.New(w.now().Add(3*time.Hour)), timestamppb.New(w.now().Add(2*time.Hour))
	}))
	attemptID := admit(here, ben, "Zeno of Citium", "")
	if again := admit(here, ben, "Zeno of Citium", ""); again != attemptID {
		t.Errorf("another attempt: %s", again)
	}
	row := w.query(`
		SELECT concat_ws(' ', quiz_id = $2, quiz_version, account_id = $3, number, state, preview, engine_version, open_until, due_at, time_limit, time_percent, breaks, overtime, grace, max_points)
		FROM attempt WHERE id = $1`, attemptID, quizID, ben)
	if diff := cmp.Diff([]string{"t 1 t 1 prepared f 2 2026-05-04 11:00:00+00 2026-05-04 10:00:00+00 00:10:00 150 t grace 00:00:30 20.000000"}, row); diff != "" {
		t.Errorf("attempt (-want +got):\n%s", diff)
	}
	questions := w.query(`
		SELECT concat_ws(' ', slot, section, page, question_version, key_version, behaviour, seed = (SELECT seed FROM attempt WHERE id = $1), max_points, state)
		FROM attempt_question WHERE attempt_id = $1 ORDER BY slot`, attemptID)
	if diff := cmp.Diff([]string{"1 0 0 1 1 immediate t 1.000000 todo", "2 0 0 1 1 immediate t 1.000000 todo"}, questions); diff != "" {
		t.Errorf("questions (-want +got):\n%s", diff)
	}
	// One that runs is what is gone on with, whatever is said by now.
	w.exec(`UPDATE attempt SET state = 'in_progress', started_at = $2 WHERE id = $1`, attemptID, w.now())
	w.around.say(ben, &itemAccess{Enrolled: true, State: "locked"})
	if again := admit(here, ben, "", ""); again != attemptID {
		t.Errorf("another attempt: %s", again)
	}
	// A quiz of another course, though an item names it.
	other := newQuizWorld(t)
	other.place(quizID, nil)
	if _, err := other.service.admit(t.Context(), other.course, other.item, ana, ""); fault.CodeOf(err) != "attempt.not_found" {
		t.Errorf("of another course: %v", err)
	}
}

func TestAdmitAtOnce(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	w.placed(&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(asked(w.question("One")))}})
	ana := id.New("account")
	got := make([]string, 16)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = w.service.admit(context.Background(), w.course, w.item, ana, ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, attemptID := range got {
		if attemptID != got[0] || attemptID == "" {
			t.Errorf("attempts %v", got)
		}
	}
	if n := w.query(`SELECT count(*)::text || ' ' || (SELECT count(*) FROM attempt_question) FROM attempt`); n[0] != "1 1" {
		t.Errorf("attempts and questions: %s", n[0])
	}
}

// work does all that waits to be prepared.
func (w *quizWorld) work() {
	w.t.Helper()
	if _, err := w.service.schedulePreparations(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	for more := true; more; {
		var err error
		if more, err = w.service.prepareNext(context.Background()); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *quizWorld) enroll(accounts ...string) {
	w.t.Helper()
	for _, account := range accounts {
		hear(w.world, w.service.enrollmentStarted, &accesspb.EnrollmentStarted{CourseId: w.course, AccountId: account})
	}
}

func TestPreparedAhead(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	opens := w.now().Add(time.Hour)
	settings := &assessmentpb.QuizSettings{Attempts: 1, Sections: []*assessmentpb.QuizSection{section(asked(w.question("One")), asked(w.question("Two")))}}
	quizID := w.placed(settings)
	w.place(quizID, &opens)
	people := ids("account", 5)
	ana, ben, later, never, gone := people[0], people[1], people[2], people[3], people[4]
	w.enroll(people...)
	waits := func(from, until time.Time) *itemAccess {
		return &itemAccess{Enrolled: true, State: "locked", OpensAt: timestamppb.New(from), ClosesAt: timestamppb.New(until)}
	}
	closes := opens.Add(2 * time.Hour)
	w.around.say(ana, waits(opens, closes))
	w.around.say(ben, waits(opens, closes.Add(time.Hour)))
	w.around.say(later, waits(opens.Add(time.Hour), closes))
	w.around.say(never, &itemAccess{Enrolled: true, State: "locked"})
	w.around.say(gone, waits(opens, closes))
	hear(w.world, w.service.enrollmentEnded, &accesspb.EnrollmentEnded{CourseId: w.course, AccountId: gone, Version: 2})
	prepared := func() map[string]string {
		t.Helper()
		out := map[string]string{}
		for _, account := range people {
			for _, row := range w.query(`SELECT concat_ws(' ', quiz_version, time_percent, to_char(open_from, 'HH24:MI'), to_char(open_until, 'HH24:MI'), (SELECT count(*) FROM attempt_question WHERE attempt_id = id)) FROM attempt WHERE account_id = $1 AND state = 'prepared'`, account) {
				out[account] += row
			}
		}
		return out
	}
	expect := func(want map[string]string) {
		t.Helper()
		if diff := cmp.Diff(want, prepared()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	w.work()
	expect(map[string]string{})
	w.later(46 * time.Minute)
	w.work()
	expect(map[string]string{ana: "1 100 10:00 12:00 2", ben: "1 100 10:00 13:00 2"})
	// They can't begin before.
	if _, err := w.service.admit(t.Context(), w.course, w.item, ana, ""); fault.CodeOf(err) != "attempt.locked" {
		t.Errorf("before it opens: %v", err)
	}
	// Something is eased, an override is made, and the quiz is published anew.
	hear(w.world, w.service.easedAnew, &accesspb.AccommodationChanged{AccountId: ana})
	expect(map[string]string{ben: "1 100 10:00 13:00 2"})
	w.around.eases[ana] = []*accesspb.Ease{{TimePercent: 200}}
	w.around.say(ben, &itemAccess{Enrolled: true, State: "locked"})
	w.around.say(never, waits(opens, closes))
	w.later(time.Minute)
	w.work()
	expect(map[string]string{ana: "1 200 10:00 12:00 2", never: "1 100 10:00 12:00 2"})
	settings.TimeLimitSeconds = 60
	w.update(quizID, settings)
	w.publish(quizID)
	expect(map[string]string{})
	w.work()
	expect(map[string]string{ana: "2 200 10:00 12:00 2", never: "2 100 10:00 12:00 2"})
	hear(w.world, w.service.enrollmentEnded, &accesspb.EnrollmentEnded{CourseId: w.course, AccountId: never, Version: 2})
	expect(map[string]string{ana: "2 200 10:00 12:00 2"})
	hear(w.world, w.service.enrollmentResumed, &accesspb.EnrollmentResumed{CourseId: w.course, AccountId: never, Version: 3})
	w.later(12 * time.Minute)
	w.work()
	w.later(time.Minute)
	// It is open. Who begins only takes what is ready: nobody is asked.
	before := w.around.asked
	ready, err := w.service.admit(t.Context(), w.course, w.item, ana, "")
	if err != nil || w.around.asked != before {
		t.Errorf("admitted: %v, asked %d times", err, w.around.asked-before)
	}
	if want := w.query(`SELECT id FROM attempt WHERE account_id = $1`, ana); want[0] != ready {
		t.Errorf("admitted to %s, want %v", ready, want)
	}
	// What was asked is too old some minutes later.
	w.around.say(ana, itemOpen(nil))
	w.later(freshFor)
	if again, err := w.service.admit(t.Context(), w.course, w.item, ana, ""); err != nil || again != ready || w.around.asked == before {
		t.Errorf("admitted: %v to %s, asked %d times", err, again, w.around.asked-before)
	}
	w.later(prepareAfter)
	w.work()
	if left := w.query(`SELECT item_id FROM quiz_preparation`); len(left) > 0 {
		t.Errorf("still prepared: %v", left)
	}
	// Another quiz at the item: what was made for this one goes.
	w.place("", nil)
	other := w.create(settings)
	w.place(other.GetId(), nil)
	expect(map[string]string{})
}

// What is made ahead for another attempt is not begun before its time.
func TestPreparedAheadWaits(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	opens, ana := w.now().Add(10*time.Minute), id.New("account")
	quizID := w.placed(&assessmentpb.QuizSettings{
		Attempts: 2, FirstDelaySeconds: 3600, Sections: []*assessmentpb.QuizSection{section(asked(w.question("One")))},
	})
	w.place(quizID, &opens)
	w.enroll(ana)
	w.around.say(ana, &itemAccess{Enrolled: true, State: "locked", OpensAt: timestamppb.New(opens)})
	w.work()
	w.later(10 * time.Minute)
	w.around.say(ana, itemOpen(nil))
	first, err := w.service.admit(t.Context(), w.course, w.item, ana, "")
	if err != nil {
		t.Fatal(err)
	}
	w.exec(`UPDATE attempt SET state = 'submitted', started_at = $2, submitted_at = $2, submitted_by = account_id WHERE id = $1`, first, w.now())
	w.later(time.Minute)
	w.work()
	if made := w.query(`SELECT number::text FROM attempt WHERE state = 'prepared'`); !slices.Equal(made, []string{"2"}) {
		t.Fatalf("made ahead: %v", made)
	}
	if _, err := w.service.admit(t.Context(), w.course, w.item, ana, ""); fault.CodeOf(err) != "attempt.too_soon" {
		t.Errorf("a minute after the first: %v", err)
	}
	w.later(time.Hour)
	if second, err := w.service.admit(t.Context(), w.course, w.item, ana, ""); err != nil || second == first {
		t.Errorf("an hour after the first: %v, %s", err, second)
	}
}

// Who has a window of their own finds an attempt that was made ahead, as all others do;
// nobody else is looked at for it.
func TestPreparedAheadOfOwnWindows(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	quizID := w.placed(&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(asked(w.question("One")))}})
	cohort, others := ids("account", prepareBatch+5), ids("account", 3)
	late, gone := id.New("account"), id.New("account")
	w.enroll(append(append(slices.Clone(cohort), others...), late, gone)...)
	opens := w.now().Add(time.Hour)
	for _, account := range others { // open to them by the rules of the course, some day
		w.around.say(account, &itemAccess{Enrolled: true, State: "locked"})
	}
	for _, account := range append(slices.Clone(cohort), gone) {
		w.around.opensFor(w.course, w.item, account, opens)
	}
	w.around.opensFor(w.course, w.item, late, opens.Add(10*time.Minute))
	hear(w.world, w.service.enrollmentEnded, &accesspb.EnrollmentEnded{CourseId: w.course, AccountId: gone, Version: 2})
	prepared := func() int {
		t.Helper()
		if n := w.query(`SELECT account_id FROM attempt WHERE account_id = ANY ($1)`, append(others, gone)); len(n) > 0 {
			t.Errorf("made ahead for %v", n)
		}
		return len(w.query(`SELECT a.id FROM attempt a JOIN attempt_question q ON q.attempt_id = a.id WHERE a.state = 'prepared' AND a.account_id = ANY ($1)`, append(slices.Clone(cohort), late)))
	}
	expect := func(what string, want int) {
		t.Helper()
		if n := prepared(); n != want {
			t.Errorf("%s: %d are made, want %d", what, n, want)
		}
	}
	away := func(is bool) {
		t.Helper()
		w.around.setAway(is)
		if _, err := w.service.schedulePreparations(t.Context()); (err != nil) != is {
			t.Errorf("away is %t: %v", is, err)
		}
	}
	w.work()
	expect("an hour before", 0)
	w.later(45 * time.Minute)
	w.work()
	expect("15 minutes before", len(cohort))
	if n := w.around.asked; n != 2 {
		t.Errorf("asked %d times how it stands for somebody, want once for each batch", n)
	}
	// Learning is away: what is known goes on, and what the course says is found.
	away(true)
	if left := w.query(`SELECT concat_ws(' ', item_id = $1, own) FROM quiz_preparation`, w.item); len(left) != 1 || left[0] != "t t" {
		t.Errorf("while learning is away: %v", left)
	}
	away(false)
	w.later(10 * time.Minute)
	w.work()
	expect("the last one too", len(cohort)+1)
	w.later(4 * time.Minute)
	w.work() // what was asked is fresh
	w.later(time.Minute)
	before := w.around.asked
	for _, account := range cohort[:3] {
		if _, err := w.service.admit(t.Context(), w.course, w.item, account, ""); err != nil {
			t.Errorf("admitted: %v", err)
		}
	}
	if n := w.around.asked - before; n != 0 {
		t.Errorf("asked %d times for those who begin", n)
	}
	// One moves: it is made anew when theirs is near.
	w.around.opensFor(w.course, w.item, cohort[5], w.now().Add(time.Hour))
	hear(w.world, w.service.deadlinesChanged, &learningpb.DeadlinesChanged{CourseId: w.course, AccountIds: cohort[5:6]})
	w.work()
	expect("one is moved", len(cohort))
	// The course says a moment as well: all are looked at, learning or not.
	away(true)
	w.place(quizID, new(w.now().Add(12*time.Minute)))
	if _, err := w.service.schedulePreparations(t.Context()); err == nil {
		t.Error("learning is away, and nobody says so")
	}
	if left := w.query(`SELECT concat_ws(' ', own, after_id = '') FROM quiz_preparation`); len(left) != 1 || left[0] != "f t" {
		t.Errorf("by the course: %v", left)
	}
	away(false)
	w.place(quizID, nil)
	w.later(20 * time.Minute)
	w.work()
	if left := w.query(`SELECT item_id FROM quiz_preparation`); len(left) > 0 {
		t.Errorf("still prepared: %v", left)
	}
}

// A batch that dies is taken up by another, and what is done twice is there once.
func TestPreparedByTwo(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	opens := w.now().Add(10 * time.Minute)
	w.place(w.placed(&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(asked(w.question("One")))}}), &opens)
	people := ids("account", 2*prepareBatch+10)
	w.enroll(people...)
	if _, err := w.service.schedulePreparations(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p, err := w.service.takePreparation(t.Context(), w.service.time()); err != nil || p == nil { // and dies
		t.Fatalf("%v, %v", p, err)
	}
	if p, err := w.service.takePreparation(t.Context(), w.service.time()); err != nil || p != nil {
		t.Errorf("taken by two: %v, %v", p, err)
	}
	w.later(prepareLease)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for more := true; more; {
				var err error
				if more, err = w.service.prepareNext(context.Background()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	w.work()
	if n := w.query(`SELECT concat_ws(' ', count(*), count(DISTINCT account_id), (SELECT count(*) FROM attempt_question)) FROM attempt WHERE state = 'prepared'`); n[0] != fmt.Sprint(len(people), " ", len(people), " ", len(people)) {
		t.Errorf("attempts, accounts, questions: %s", n[0])
	}
}

func BenchmarkPrepare(b *testing.B) {
	w := newQuizWorld(b)
	set := &assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{{Shuffle: true}}}
	for i := range 30 {
		set.Sections[0].Slots = append(set.Sections[0].Slots, asked(w.question(fmt.Sprint("Question ", i))))
	}
	quizID := w.placed(set)
	opens := w.now().Add(10 * time.Minute)
	w.place(quizID, &opens)
	people := ids("account", 10_000)
	w.in(func(tx *pg.Tx) error {
		_, err := tx.Exec(context.Background(), `INSERT INTO enrollment SELECT $1, a, 1, true FROM unnest($2::text[]) AS a`, w.course, people)
		return err
	})
	for b.Loop() {
		b.StopTimer()
		w.in(func(tx *pg.Tx) error {
			return dropPrepared(context.Background(), tx, `quiz_id = $1`, quizID)
		})
		w.exec(`DELETE FROM quiz_preparation`)
		b.StartTimer()
		w.work()
	}
	if n := w.query(`SELECT count(*)::text FROM attempt WHERE state = 'prepared'`); n[0] != "10000" {
		b.Fatalf("%s attempts", n[0])
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/10,000")
}

// Who takes the course no more sees nothing of what an attempt asks, while it runs and when
// it is over; what they answered is kept, and what they answer still is taken.
func TestAttemptOfWhoLeft(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	ana := id.New("account")
	w.placed(&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(asked(w.question("One")))}})
	hear(w.world, w.service.enrollmentStarted, &accesspb.EnrollmentStarted{CourseId: w.course, AccountId: ana})
	as := w.as(ana)
	a := must(w.attempts.StartAttempt(as, &assessmentpb.StartAttemptRequest{CourseId: w.course, ItemId: w.item}))(t)
	w.exec(`UPDATE attempt SET breaks = true`)
	media := assessmentpb.NewQuestionMediaServiceClient(w.harness.As("edge"))
	shown := func(want string) {
		t.Helper()
		for name, err := range map[string]error{
			"attempt": second(w.attempts.GetAttempt(as, &assessmentpb.GetAttemptRequest{AttemptId: a.GetId()})),
			"files":   second(media.ListAttemptMedia(as, &assessmentpb.ListAttemptMediaRequest{AttemptId: a.GetId()})),
		} {
			if code := codeOf(nil, err); err == nil && want != "" || err != nil && code != want {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
	shown("")
	hear(w.world, w.service.enrollmentEnded, &accesspb.EnrollmentEnded{CourseId: w.course, AccountId: ana, Version: 2})
	shown("attempt.access_ended")
	expect(t, "a break", codeOf(nil, second(w.attempts.PauseAttempt(as, &assessmentpb.PauseAttemptRequest{AttemptId: a.GetId()}))), "attempt.access_ended")
	told := must(w.attempts.AppendAnswers(as, &assessmentpb.AppendAnswersRequest{AttemptId: a.GetId(), ClientId: laptop, Operations: []*assessmentpb.Operation{do(1, opFlag, 1)}}))(t)
	expect(t, "answered", told.GetVerdicts()[0].GetVerdict(), "accepted")
	must(w.attempts.SubmitAttempt(as, &assessmentpb.SubmitAttemptRequest{AttemptId: a.GetId()}))(t)
	shown("attempt.access_ended")
	if list := must(w.attempts.ListMyOperations(as, &assessmentpb.ListMyOperationsRequest{AttemptId: a.GetId()}))(t); len(list.GetItems()) == 0 {
		t.Error("what was answered is not told")
	}
	hear(w.world, w.service.enrollmentResumed, &accesspb.EnrollmentResumed{CourseId: w.course, AccountId: ana, Version: 3})
	shown("")
}
