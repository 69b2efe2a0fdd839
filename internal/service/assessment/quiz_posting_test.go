package assessment

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// Whether a grade is posted is the same in both ways in which it is asked, whatever was
// said before of somebody and then of everybody, or the other way round.
func TestPostedIsAskedInTwoWays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	quiz := w.letters(&assessmentpb.QuizSettings{Attempts: 2})
	st := w.start(quiz)
	check := func(what string, want bool) {
		t.Helper()
		posted, err := postedTo(t.Context(), w.db, quiz.course, []string{quiz.item}, st.account)
		if err != nil {
			t.Fatal(err)
		}
		var unposted bool
		if err := w.db.QueryRow(t.Context(), `SELECT `+unpostedSQL+` FROM attempt a WHERE a.id = $1`, st.attempt.GetId()).Scan(&unposted); err != nil {
			t.Fatal(err)
		}
		if posted[quiz.item] != want || unposted == want {
			t.Errorf("%s: %v, and by the other way %v; want %v", what, posted[quiz.item], !unposted, want)
		}
	}
	say := func(version int64, policy string, posted bool, accounts ...string) {
		t.Helper()
		hear(w, w.service.postingChanged, &gradespb.PostingChanged{CourseId: quiz.course, ItemId: quiz.item, Policy: policy, Posted: posted, AccountIds: accounts, Version: version})
	}
	check("nothing was said", true)
	say(1, "manual", false)
	check("nobody", false)
	say(2, "manual", true, st.account)
	check("they were named", true)
	say(3, "manual", false)
	check("named, and then nobody else", true)
	say(4, "automatic", false, st.account)
	say(5, "automatic", true)
	check("hidden, and then everybody else", false)
	say(2, "manual", true, st.account)
	check("and told again", false)

	// What holds for items of which nothing was said.
	def := func(version int64, policy string, posted bool) {
		t.Helper()
		hear(w, w.service.postingChanged, &gradespb.PostingChanged{CourseId: quiz.course, Policy: policy, Posted: posted, Version: version})
	}
	def(6, "manual", false)
	say(7, "automatic", true, st.account)
	check("something was said of this one", true)
	if _, err := w.db.Exec(t.Context(), `DELETE FROM posting WHERE item_id = $1`, quiz.item); err != nil {
		t.Fatal(err)
	}
	check("nothing was said of a new one", false)
	say(8, "automatic", true)
	check("now something was", true)
	if _, err := w.db.Exec(t.Context(), `DELETE FROM posting WHERE item_id = $1`, quiz.item); err != nil {
		t.Fatal(err)
	}
	def(9, "automatic", true)
	check("new ones are posted by themselves again", true)
}

// What staff mark is told to nobody who may not know it: neither by the state of the
// attempt, nor by how often it changed, nor by the length of its log.
func TestMarkedUnseen(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 1, &assessmentpb.QuizSettings{})
	quiz, st := w.taken, w.students[0]
	hear(w.world, w.service.postingChanged, &gradespb.PostingChanged{CourseId: quiz.course, ItemId: quiz.item, Policy: "manual", Version: 1})
	told := func() (out []proto.Message) {
		t.Helper()
		list, err := w.attempts.ListMyAttempts(w.as(st.account), &assessmentpb.ListMyAttemptsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		states, err := w.attempts.ListAttemptStates(t.Context(), &assessmentpb.ListAttemptStatesRequest{Attempts: []*assessmentpb.AttemptKnown{{AttemptId: st.attempt.GetId()}}})
		if err != nil {
			t.Fatal(err)
		}
		return []proto.Message{st.get(), list, states}
	}
	before := told()
	for _, slot := range []int32{1, 2} {
		if _, err := w.mark(w.as(id.New("account")), st.attempt.GetId(), func(r *assessmentpb.MarkAnswerRequest) {
			r.Slot, r.Fraction, r.Comment, r.Reason = slot, "0.25", "See me", "As I say"
		}); err != nil {
			t.Fatal(err)
		}
	}
	w.scored()
	for i, m := range told() {
		if !proto.Equal(m, before[i]) {
			t.Errorf("%v\nand before it was marked\n%v", m, before[i])
		}
	}
	// What comes late has the number behind that of the end, as if nothing was between.
	seqs := []int64{before[0].(*assessmentpb.Attempt).GetLastSeq()} //nolint:forcetypeassert // made above
	for seq := range int64(2) {
		seqs = append(seqs, st.send(laptop, text(3+seq, 1, "Late")).GetVerdicts()[0].GetSeq())
	}
	if seqs[1] != seqs[0]+1 || seqs[2] != seqs[1]+1 || st.get().GetLastSeq() != seqs[2] {
		t.Errorf("numbers in the log: %d, %d", seqs, st.get().GetLastSeq())
	}
	say := &gradespb.PostingChanged{CourseId: quiz.course, ItemId: quiz.item, Policy: "manual", Posted: true, AccountIds: []string{st.account}, Version: 2}
	hear(w.world, w.service.postingChanged, say)
	if a := st.get(); a.GetState() != stateGraded || a.GetPoints() == "" {
		t.Errorf("posted: %v", a)
	}
}
