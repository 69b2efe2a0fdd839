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

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// markedWorld is a course whose assignments are marked by several, by rubrics, and by
// students.
type markedWorld struct {
	*workWorld

	marking assessmentpb.MarkingServiceClient
	rubrics assessmentpb.RubricServiceClient
	peers   assessmentpb.PeerReviewServiceClient
	reviews assessmentpb.MyPeerReviewServiceClient
}

func newMarkedWorld(t testing.TB) *markedWorld {
	t.Helper()
	w := &markedWorld{workWorld: newWorkWorld(t)}
	conn := w.harness.As("edge")
	w.marking, w.rubrics = assessmentpb.NewMarkingServiceClient(conn), assessmentpb.NewRubricServiceClient(conn)
	w.peers, w.reviews = assessmentpb.NewPeerReviewServiceClient(conn), assessmentpb.NewMyPeerReviewServiceClient(conn)
	return w
}

// marker returns somebody who may mark.
func (w *markedWorld) marker() string {
	account := id.New("account")
	w.markers.Store(account, true)
	return account
}

// hand has some students hand something in, and returns them with their submissions.
func (w *markedWorld) hand(n int) (students, submissions []string) {
	w.t.Helper()
	for i := range n {
		account := w.student(fmt.Sprintf("Student %d", i))
		w.hands(account, fmt.Sprintf("Text %d.", i))
		students, submissions = append(students, account), append(submissions, w.submissionID(account))
	}
	return students, submissions
}

func (w *markedWorld) next(grader string) (*assessmentpb.MarkedAnswer, error) {
	return w.marking.ClaimNext(w.as(grader), &assessmentpb.ClaimNextRequest{CourseId: w.course, ItemId: w.item})
}

// gives has somebody mark the first version of a submission.
func (w *markedWorld) gives(ctx context.Context, submission, points string) (*assessmentpb.Submission, error) {
	return w.staff.MarkSubmission(ctx, &assessmentpb.MarkSubmissionRequest{CourseId: w.course, SubmissionId: submission, Number: 1, Points: points})
}

func (w *markedWorld) submissionOf(who, submission string) *assessmentpb.Submission {
	w.t.Helper()
	out, err := w.staff.GetSubmission(w.as(who), &assessmentpb.GetSubmissionRequest{CourseId: w.course, SubmissionId: submission})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// queue returns what is listed, page by page.
func (w *markedWorld) queue(who, state string, size int32) []*assessmentpb.QueuedAnswer {
	w.t.Helper()
	var out []*assessmentpb.QueuedAnswer
	for cursor := ""; ; {
		res, err := w.marking.ListMarkingQueue(w.as(who), &assessmentpb.ListMarkingQueueRequest{CourseId: w.course, ItemId: w.item, State: state, PageSize: size, Cursor: cursor})
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, res.GetItems()...)
		if cursor = res.GetNextCursor(); cursor == "" {
			return out
		}
	}
}

func (w *markedWorld) count() *assessmentpb.MarkingCount {
	w.t.Helper()
	sum, err := w.marking.GetMarkingSummary(w.as(w.teacher), &assessmentpb.GetMarkingSummaryRequest{CourseId: w.course})
	if err != nil || len(sum.GetItems()) != 1 {
		w.t.Fatal(sum, err)
	}
	return sum.GetItems()[0]
}

// guide makes a guide of one criterion of ten points and publishes it.
func (w *markedWorld) guide(to *assessmentpb.AttachRubricRequest) *assessmentpb.Rubric {
	w.t.Helper()
	ctx := w.as(w.teacher)
	r, err := w.rubrics.CreateRubric(ctx, &assessmentpb.CreateRubricRequest{CourseId: w.course, Title: "Essays", Content: &assessmentpb.RubricContent{
		Kind: "guide", Comments: []string{"Good."}, Criteria: []*assessmentpb.RubricCriterion{
			{Key: "thought", Title: "Thought", MaxPoints: "6", MarkerNotes: "Be strict."}, {Key: "style", Title: "Style", MaxPoints: "3"},
		},
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	if r, err = w.rubrics.PublishRubric(ctx, &assessmentpb.PublishRubricRequest{CourseId: w.course, RubricId: r.GetId()}); err != nil {
		w.t.Fatal(err)
	}
	to.CourseId, to.RubricId = w.course, r.GetId()
	if _, err := w.rubrics.AttachRubric(ctx, to); err != nil {
		w.t.Fatal(err)
	}
	return r
}

func chose(r *assessmentpb.Rubric, thought, style string) *assessmentpb.RubricMarks {
	return &assessmentpb.RubricMarks{RubricId: r.GetId(), Version: r.GetVersion(), Criteria: []*assessmentpb.CriterionMark{
		{Key: "thought", Points: thought, Comment: "Deep."}, {Key: "style", Points: style},
	}}
}

func TestSubmissionQueue(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	w.assign(essaySettings())
	_, subs := w.hand(3)
	ben, cleo := w.marker(), w.marker()
	var listed []string
	for _, one := range w.queue(ben, "", 2) {
		listed = append(listed, one.GetSubmissionId())
		if one.GetState() != "to_mark" || one.GetAccountId() == "" || one.GetMaxPoints() != "10" || one.GetNumber() != 1 {
			t.Errorf("listed: %v", one)
		}
	}
	slices.Sort(subs)
	if diff := cmp.Diff(subs, listed); diff != "" {
		t.Error(diff)
	}
	first, err := w.next(ben)
	if err != nil || first.GetOf().GetSubmissionId() != subs[0] || first.GetSubmission().GetVersion().GetContent().GetText() == "" || first.GetHeld() {
		t.Fatal(first, err)
	}
	// A mark that can't be saved moves nobody on.
	if _, err := w.gives(w.as(ben), subs[0], "100.5"); fault.CodeOf(err) != "mark.invalid" {
		t.Error(err)
	}
	if again, err := w.next(ben); err != nil || again.GetOf().GetSubmissionId() != subs[0] || !again.GetHeld() {
		t.Error(again, err)
	}
	if _, err := w.gives(w.as(cleo), subs[0], "5"); fault.CodeOf(err) != "marking.claimed" {
		t.Error(err)
	}
	claim := &assessmentpb.ClaimSubmissionRequest{CourseId: w.course, SubmissionId: subs[0]}
	if _, err := w.marking.ClaimSubmission(w.as(cleo), claim); fault.CodeOf(err) != "marking.claimed" {
		t.Error(err)
	}
	if _, err := w.marking.ClaimSubmission(w.as(ben), &assessmentpb.ClaimSubmissionRequest{CourseId: w.course, SubmissionId: subs[1]}); fault.CodeOf(err) != "marking.unsaved" {
		t.Error(err)
	}
	if c := w.count(); c.GetToMark() != 3 || c.GetClaimed() != 1 || c.GetAssignmentId() == "" {
		t.Errorf("count: %v", c)
	}
	// Another's claim is not to be given back.
	if _, err := w.marking.ReleaseSubmissionClaim(w.as(cleo), &assessmentpb.ReleaseSubmissionClaimRequest{CourseId: w.course, SubmissionId: subs[0]}); err != nil {
		t.Error(err)
	}
	if _, err := w.marking.ClaimSubmission(w.as(cleo), claim); fault.CodeOf(err) != "marking.claimed" {
		t.Error("somebody gave back what another holds:", err)
	}
	if _, err := w.gives(w.as(ben), subs[0], "7"); err != nil {
		t.Fatal(err)
	}
	if second, err := w.next(ben); err != nil || second.GetOf().GetSubmissionId() != subs[1] {
		t.Error(second, err)
	}
	if _, err := w.marking.ReleaseSubmissionClaim(w.as(ben), &assessmentpb.ReleaseSubmissionClaimRequest{CourseId: w.course, SubmissionId: subs[1]}); err != nil {
		t.Error(err)
	}
	if third, err := w.next(cleo); err != nil || third.GetOf().GetSubmissionId() != subs[1] {
		t.Error(third, err)
	}
	w.later(11 * time.Minute) // it has run out
	if m, err := w.next(ben); err != nil || m.GetOf().GetSubmissionId() != subs[1] {
		t.Error(m, err)
	}
	if c := w.count(); c.GetToMark() != 2 || c.GetMarked() != 1 {
		t.Errorf("count: %v", c)
	}
	if marked := w.queue(ben, "marked", 10); len(marked) != 1 || marked[0].GetPoints() != "7" || marked[0].GetState() != "marked" {
		t.Errorf("marked: %v", marked)
	}
	if _, err := w.marking.ClaimSubmission(w.as(ben), &assessmentpb.ClaimSubmissionRequest{CourseId: id.New("course"), SubmissionId: subs[2]}); fault.CodeOf(err) != "submission.not_found" {
		t.Error(err)
	}
	if _, err := w.next(id.New("account")); fault.KindOf(err) != fault.NotFound {
		t.Error("a student marks:", err)
	}
}

// Graders mark what students have handed in: no submission is had twice.
func TestSubmissionGradersRace(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	w.assign(essaySettings())
	_, subs := w.hand(12)
	var mu sync.Mutex
	var had []string
	var wg sync.WaitGroup
	for range 6 {
		who := w.marker()
		wg.Go(func() {
			for {
				m, err := w.next(who)
				if fault.CodeOf(err) == "marking.nothing_left" {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				had = append(had, m.GetOf().GetSubmissionId())
				mu.Unlock()
				if _, err := w.gives(w.as(who), m.GetOf().GetSubmissionId(), "1"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(subs)
	slices.Sort(had)
	if diff := cmp.Diff(subs, had); diff != "" {
		t.Error(diff)
	}
}

// Graders are told pseudonyms of those who hand in anonymously.
func TestSubmissionQueueIsAnonymous(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	settings := essaySettings()
	settings.Anonymous = true
	w.assign(settings)
	students, _ := w.hand(2)
	w.posts(1, false)
	m, err := w.next(w.teacher)
	if err != nil || !strings.HasPrefix(m.GetOf().GetPseudonym(), "P-") {
		t.Fatal(m, err)
	}
	told := fmt.Sprint(m, w.queue(w.teacher, "all", 10))
	for _, account := range students {
		if strings.Contains(told, account) {
			t.Error("a student is named")
		}
	}
}

func TestAssignmentRubric(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	assignment := w.assign(essaySettings())
	r := w.guide(&assessmentpb.AttachRubricRequest{AssignmentId: assignment})
	students, subs := w.hand(1)
	w.posts(1, false)
	if my := w.my(students[0]); my.GetRubric().GetVersion() != 1 || my.GetRubric().GetContent().GetCriteria()[0].GetMarkerNotes() != "" || my.GetRubric().GetContent().GetComments() != nil || my.GetRubric().GetPublishedBy() != "" {
		t.Errorf("what students see of it: %v", my.GetRubric())
	}
	ctx := w.as(w.teacher)
	if m, err := w.next(w.teacher); err != nil || m.GetRubric().GetContent().GetCriteria()[0].GetMarkerNotes() != "Be strict." || m.GetRubric().GetContent().GetComments()[0] != "Good." {
		t.Error(m, err)
	}
	mark := func(marks *assessmentpb.RubricMarks, points string) (*assessmentpb.Submission, error) {
		return w.staff.MarkSubmission(ctx, &assessmentpb.MarkSubmissionRequest{CourseId: w.course, SubmissionId: subs[0], Number: 1, Rubric: marks, Points: points, Comment: "So."})
	}
	outdated, unknown := chose(r, "4", "2"), chose(r, "4", "2")
	outdated.Version, unknown.RubricId = 2, id.New("rubric")
	for code, c := range map[string]struct {
		marks  *assessmentpb.RubricMarks
		points string
	}{
		"rubric.marks_invalid": {chose(r, "6.000001", "2"), ""}, "rubric.outdated": {outdated, ""}, "rubric.not_attached": {unknown, ""}, "mark.invalid": {chose(r, "4", "2"), "5"},
	} {
		if _, err := mark(c.marks, c.points); fault.CodeOf(err) != code {
			t.Errorf("%s: %v", code, err)
		}
	}
	// 6 of 9 points are two thirds of 10.
	got, err := mark(chose(r, "4.5", "1.5"), "")
	if err != nil || got.GetVersion().GetMark().GetPoints() != "6.666667" || got.GetVersion().GetMark().GetRubric().GetPoints() != "6" {
		t.Fatal(got, err)
	}
	if my := w.my(students[0]); my.GetSubmissions()[0].GetMark() != nil {
		t.Errorf("an unposted mark shows: %v", my)
	}
	mine := func() *assessmentpb.SubmissionMark {
		t.Helper()
		out, err := w.GetMySubmission(w.as(students[0]), &assessmentpb.GetMySubmissionRequest{CourseId: w.course, ItemId: w.item, Number: 1})
		if err != nil {
			t.Fatal(err)
		}
		return out.GetMark()
	}
	if mine() != nil {
		t.Error("an unposted mark shows")
	}
	w.posts(2, true, students[0])
	if m := mine(); m.GetRubric().GetCriteria()[0].GetPoints() != "4.5" || m.GetRubric().GetCriteria()[0].GetComment() != "Deep." || m.GetRubric().GetMaxPoints() != "9" || m.GetMarkedBy() != "" {
		t.Errorf("posted: %v", m)
	}
	detach := &assessmentpb.DetachRubricRequest{CourseId: w.course, RubricId: r.GetId(), AssignmentId: assignment}
	if _, err := w.rubrics.DetachRubric(ctx, &assessmentpb.DetachRubricRequest{CourseId: w.course, RubricId: r.GetId(), AssignmentId: assignment, Purpose: "peer_review"}); fault.CodeOf(err) != "rubric.not_found" {
		t.Errorf("for another purpose: %v", err)
	}
	if _, err := w.rubrics.DetachRubric(ctx, detach); err != nil {
		t.Error(err)
	}
	if _, err := w.rubrics.DetachRubric(ctx, detach); fault.CodeOf(err) != "rubric.not_found" {
		t.Errorf("twice: %v", err)
	}
	if _, err := mark(chose(r, "1", "1"), ""); fault.CodeOf(err) != "rubric.not_attached" {
		t.Error(err)
	}
	if m := mine(); m.GetRubric().GetPoints() != "6" { // what was marked by it stays
		t.Errorf("detached: %v", m)
	}
	if _, err := w.rubrics.DeleteRubric(ctx, &assessmentpb.DeleteRubricRequest{CourseId: w.course, RubricId: r.GetId()}); err != nil {
		t.Error(err)
	}
	if m := mine(); m.GetRubric().GetPoints() != "6" {
		t.Errorf("deleted: %v", m)
	}
	if _, err := w.rubrics.AttachRubric(ctx, &assessmentpb.AttachRubricRequest{CourseId: w.course, RubricId: r.GetId(), AssignmentId: assignment}); fault.CodeOf(err) != "rubric.not_found" {
		t.Error(err)
	}
}

// Copies are marked by the same rubrics, in other courses by copies of them, one of each.
func TestRubricsFollowCopies(t *testing.T) {
	t.Parallel()
	w := newMarkedWorld(t)
	ctx := w.as(w.teacher)
	assignment := w.assign(essaySettings())
	r := w.guide(&assessmentpb.AttachRubricRequest{AssignmentId: assignment})
	if _, err := w.rubrics.AttachRubric(ctx, &assessmentpb.AttachRubricRequest{CourseId: w.course, RubricId: r.GetId(), AssignmentId: assignment, Purpose: "peer_review"}); err != nil {
		t.Fatal(err)
	}
	uses := func(target string) []string {
		return w.query(`SELECT rubric_id || ' ' || purpose FROM rubric_use WHERE target_id = $1 ORDER BY purpose`, target)
	}
	there := id.New("course")
	w.outside.editor[w.teacher+there] = true
	copyTo := func(course string) string {
		t.Helper()
		a, err := w.CopyAssignment(ctx, &assessmentpb.CopyAssignmentRequest{CourseId: w.course, AssignmentId: assignment, ToCourseId: course})
		if err != nil {
			t.Fatal(err)
		}
		return a.GetId()
	}
	if diff := cmp.Diff([]string{r.GetId() + " ", r.GetId() + " peer_review"}, uses(copyTo(w.course))); diff != "" {
		t.Error(diff)
	}
	first := uses(copyTo(there))
	copied := strings.Fields(first[0])[0]
	if diff := cmp.Diff([]string{copied + " ", copied + " peer_review"}, first); diff != "" || copied == r.GetId() {
		t.Error(copied, diff)
	}
	if diff := cmp.Diff(first, uses(copyTo(there))); diff != "" {
		t.Error("another copy:", diff)
	}
	got, err := w.rubrics.GetRubric(ctx, &assessmentpb.GetRubricRequest{CourseId: there, RubricId: copied})
	if err != nil || got.GetTitle() != "Essays" || got.GetVersion() != 1 || got.GetChanged() || len(got.GetUses()) != 4 {
		t.Error(got, err)
	}
}

func TestQuizRubricsFollowCopies(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	rubrics, ctx := assessmentpb.NewRubricServiceClient(w.harness.As("edge")), w.as(w.teacher)
	question := w.bank.add(ctx, w.course, "", essayQuestion(1)).GetId()
	quizID := w.create(&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(asked(question))}}).GetId()
	r, err := rubrics.CreateRubric(ctx, &assessmentpb.CreateRubricRequest{CourseId: w.course, Title: "Essays", Content: &assessmentpb.RubricContent{
		Kind: "guide", Criteria: []*assessmentpb.RubricCriterion{{Key: "all", Title: "All", MaxPoints: "3"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rubrics.PublishRubric(ctx, &assessmentpb.PublishRubricRequest{CourseId: w.course, RubricId: r.GetId()}); err != nil {
		t.Fatal(err)
	}
	if _, err := rubrics.AttachRubric(ctx, &assessmentpb.AttachRubricRequest{CourseId: w.course, RubricId: r.GetId(), QuizId: quizID, QuestionId: question}); err != nil {
		t.Fatal(err)
	}
	there := w.bank.course(w.teacher)
	got, err := w.CopyQuiz(ctx, &assessmentpb.CopyQuizRequest{CourseId: w.course, QuizId: quizID, ToCourseId: there})
	if err != nil {
		t.Fatal(err)
	}
	copied := got.GetQuiz().GetSettings().GetSections()[0].GetSlots()[0].GetQuestion().GetQuestionId()
	list, err := rubrics.ListRubrics(ctx, &assessmentpb.ListRubricsRequest{CourseId: there})
	if err != nil || len(list.GetItems()) != 1 {
		t.Fatal(list, err)
	}
	if diff := cmp.Diff([]string{got.GetQuiz().GetId() + " " + copied + " " + list.GetItems()[0].GetId()},
		w.query(`SELECT target_id || ' ' || question_id || ' ' || rubric_id FROM rubric_use WHERE course_id = $1`, there)); diff != "" {
		t.Error(diff)
	}
}

// Answers are marked by points of a guide, and the queue is listed page by page.
func TestGuideMarksAndQueuePages(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 3, &assessmentpb.QuizSettings{})
	ctx, course := w.as(id.New("account")), w.taken.course
	w.exec(`INSERT INTO quiz_question (quiz_id, question_id, draft, published_version) VALUES ($1, $2, true, 1)`, w.taken.quiz, w.essay)
	r, err := w.rubrics.CreateRubric(ctx, &assessmentpb.CreateRubricRequest{CourseId: course, Title: "Guide", Content: &assessmentpb.RubricContent{
		Kind: "guide", Criteria: []*assessmentpb.RubricCriterion{{Key: "thought", Title: "Thought", MaxPoints: "6"}, {Key: "style", Title: "Style", MaxPoints: "3"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if r, err = w.rubrics.PublishRubric(ctx, &assessmentpb.PublishRubricRequest{CourseId: course, RubricId: r.GetId()}); err != nil {
		t.Fatal(err)
	}
	use := &assessmentpb.AttachRubricRequest{CourseId: course, RubricId: r.GetId(), QuizId: w.taken.quiz, QuestionId: w.essay}
	if _, err := w.rubrics.AttachRubric(ctx, use); err != nil {
		t.Fatal(err)
	}
	attempt := w.students[0].attempt.GetId()
	by := func(marks *assessmentpb.RubricMarks) func(*assessmentpb.MarkAnswerRequest) {
		return func(req *assessmentpb.MarkAnswerRequest) { req.Rubric = marks }
	}
	levelled := chose(r, "5", "1")
	levelled.Criteria[0].Level, levelled.Criteria[0].Points = "top", ""
	for _, bad := range []*assessmentpb.RubricMarks{chose(r, "6.1", "1"), chose(r, "", "1"), levelled} {
		if _, err := w.mark(ctx, attempt, by(bad)); fault.CodeOf(err) != "rubric.marks_invalid" {
			t.Errorf("%v: %v", bad, err)
		}
	}
	m, err := w.mark(ctx, attempt, by(chose(r, "5", "0.5")))
	if err != nil || m.GetOutcome().GetFraction() != "11/18" || m.GetResult().GetCriteria()[1].GetPoints() != "0.5" {
		t.Fatal(m, err)
	}
	detach := &assessmentpb.DetachRubricRequest{CourseId: course, RubricId: r.GetId(), QuizId: w.taken.quiz, QuestionId: w.essay}
	if _, err := w.rubrics.DetachRubric(ctx, detach); err != nil {
		t.Error(err)
	}
	if _, err := w.rubrics.DetachRubric(ctx, detach); fault.CodeOf(err) != "rubric.not_found" {
		t.Error(err)
	}
	if _, err := w.mark(rpc.WithIfMatch(ctx, m.GetEtag()), attempt, by(chose(r, "5", "1"))); fault.CodeOf(err) != "rubric.not_attached" {
		t.Error(err)
	}
	for _, order := range []string{"question", "student"} {
		var got []string
		for cursor := ""; ; {
			res, err := w.ListMarkingQueue(ctx, &assessmentpb.ListMarkingQueueRequest{CourseId: course, ItemId: w.taken.item, State: "all", Order: order, PageSize: 2, Cursor: cursor})
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range res.GetItems() {
				got = append(got, one.GetAttemptId())
			}
			if cursor = res.GetNextCursor(); cursor == "" {
				break
			}
		}
		var want []string
		for _, st := range w.students {
			want = append(want, st.attempt.GetId())
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("by %s: %s", order, diff)
		}
	}
	if _, err := w.ListMarkingQueue(ctx, &assessmentpb.ListMarkingQueueRequest{CourseId: course, ItemId: w.taken.item, Cursor: "nonsense"}); fault.CodeOf(err) != "request.invalid" {
		t.Error(err)
	}
	// Another's claim is not to be given back.
	ben, cleo := id.New("account"), id.New("account")
	held, err := w.next(ben)
	if err != nil {
		t.Fatal(err)
	}
	at := held.GetOf().GetAttemptId()
	if _, err := w.ReleaseClaim(w.as(cleo), &assessmentpb.ReleaseClaimRequest{CourseId: course, AttemptId: at, Slot: 1}); err != nil {
		t.Error(err)
	}
	if _, err := w.mark(w.as(cleo), at, points("1")); fault.CodeOf(err) != "marking.claimed" {
		t.Error("somebody gave back what another holds:", err)
	}
}
