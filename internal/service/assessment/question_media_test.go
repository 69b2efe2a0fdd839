package assessment

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// ShowMedia writes what was asked of it into the addresses.
func (o *outside) ShowMedia(_ context.Context, req *mediapb.ShowMediaRequest, _ ...grpc.CallOption) (*mediapb.BatchGetMediaResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shown++
	res := &mediapb.BatchGetMediaResponse{}
	for _, c := range req.GetFiles() {
		for _, mediaID := range c.GetMediaIds() {
			if t := o.files[c.GetCourseId()+mediaID]; t != "" {
				res.Items = append(res.Items, &mediapb.Media{
					Id: mediaID, CourseId: c.GetCourseId(), Filename: "the right one.png", Kind: strings.Split(t, "/")[0],
					Url: fmt.Sprint("/", req.GetAccountId(), req.GetCourseId(), req.GetItemId(), req.GetPermission()), UrlExpiresAt: req.GetNotAfter(),
				})
			}
		}
	}
	slices.Reverse(res.GetItems()) // in no order
	return res, nil
}

// pictureWorld is a quiz whose questions show files.
type pictureWorld struct {
	*quizWorld
	assessmentpb.QuestionMediaServiceClient

	names map[string]string // of files
	quiz  string
	start *assessmentpb.Attempt
	ana   string
}

func newPictureWorld(t *testing.T, settings *assessmentpb.QuizSettings) *pictureWorld {
	w := &pictureWorld{quizWorld: newQuizWorld(t), names: map[string]string{}, ana: id.New("account")}
	w.QuestionMediaServiceClient = assessmentpb.NewQuestionMediaServiceClient(w.harness.As("edge"))
	ctx, shared := w.as(w.teacher), w.bank.course(w.teacher)
	if _, err := w.bank.ShareBank(ctx, &assessmentpb.ShareBankRequest{CourseId: shared, WithCourseId: w.course}); err != nil {
		t.Fatal(err)
	}
	ofShared, own := w.named(shared), w.named(w.course)
	first := w.bank.add(ctx, shared, "", &questionpb.QuestionContent{
		Title: "First", Prompt: "![A bust](media:" + ofShared("prompt") + ")", GeneralFeedback: "![All](media:" + ofShared("general") + ")",
		RightFeedback: "![Right](media:" + ofShared("right") + ")", WrongFeedback: "![Wrong](media:" + ofShared("wrong") + ")",
		Body: &questionpb.QuestionContent_Choice{Choice: &questionpb.ChoiceQuestion{Options: []*questionpb.ChoiceOption{
			{Key: "a", Text: "![A](media:" + ofShared("option") + ")", Fraction: "1", Feedback: "![Why](media:" + ofShared("why") + ")"}, {Key: "b", Text: "B"},
		}}},
	}).GetId()
	second := w.bank.add(ctx, w.course, "", spotted(own("spot"))).GetId()
	w.bank.add(ctx, w.course, "", truth("Third", "![Not asked](media:"+own("other")+")"))
	settings.Instructions = "![Before](media:" + own("before") + ")"
	settings.Sections = []*assessmentpb.QuizSection{section(asked(first)), section(asked(second))}
	settings.Sections[0].Instructions = "[A table](media:" + own("table") + ")"
	w.quiz = w.placed(settings)
	w.start = must(w.attempts.StartAttempt(w.as(w.ana), &assessmentpb.StartAttemptRequest{CourseId: w.course, ItemId: w.item}))(t)
	return w
}

// spotted asks to mark a picture.
func spotted(mediaID string) *questionpb.QuestionContent {
	circle := func(x int32) *questionpb.HotSpotRegion_Circle {
		return &questionpb.HotSpotRegion_Circle{Circle: &questionpb.CircleShape{Center: &questionpb.ImagePoint{X: x, Y: 10}, Radius: 5}}
	}
	return &questionpb.QuestionContent{Title: "Spot", Prompt: "Mark it.", Body: &questionpb.QuestionContent_HotSpot{HotSpot: &questionpb.HotSpotQuestion{
		MediaId: mediaID, Width: 100, Height: 100, Alt: "A heart",
		Regions: []*questionpb.HotSpotRegion{{Key: "left", Description: "Left", Right: true, Shape: circle(10)}, {Key: "right", Description: "Right", Shape: circle(80)}},
	}}}
}

func must[T any](out T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// named makes pictures of a course that are called something.
func (w *pictureWorld) named(course string) func(string) string {
	return func(name string) string {
		mediaID := w.bank.picture(course)
		w.names[mediaID] = name
		return mediaID
	}
}

// sees returns what files an attempt shows to somebody, page after page.
func (w *pictureWorld) sees(account string) string {
	w.t.Helper()
	var out []string
	req := &assessmentpb.ListAttemptMediaRequest{AttemptId: w.start.GetId(), PageSize: 2}
	for {
		res, err := w.ListAttemptMedia(w.as(account), req)
		if err != nil {
			return fault.CodeOf(err)
		}
		for _, m := range res.GetItems() {
			if want := "/" + account + w.course + w.item + "assessment.take"; m.GetUrl() != want || m.GetFilename() != "" || m.GetCourseId() != w.course {
				w.t.Errorf("%s: %v, want %s", w.names[m.GetId()], m, want)
			}
			out = append(out, w.names[m.GetId()])
		}
		if req.Cursor = res.GetNextCursor(); req.GetCursor() == "" {
			slices.Sort(out)
			return strings.Join(out, " ")
		}
	}
}

func (w *pictureWorld) submitted(key string) {
	w.t.Helper()
	st := &student{world: w.world, account: w.ana, attempt: w.start}
	st.send(laptop, pick(1, 1, key))
	st.submit()
	w.scored()
}

func TestAttemptMedia(t *testing.T) {
	t.Parallel()
	w := newPictureWorld(t, &assessmentpb.QuizSettings{Review: &assessmentpb.ReviewMatrix{
		After:  &assessmentpb.ReviewParts{Attempt: true},
		Later:  &assessmentpb.ReviewParts{Attempt: true, Feedback: true},
		Closed: &assessmentpb.ReviewParts{Attempt: true, GeneralFeedback: true, Answer: true},
	}})
	expect(t, "while it runs", w.sees(w.ana), "option prompt spot table")
	expect(t, "somebody else", w.sees(id.New("account")), "attempt.not_found")
	one, err := w.ListAttemptMedia(w.as(w.ana), &assessmentpb.ListAttemptMediaRequest{AttemptId: w.start.GetId(), Page: 2})
	if err != nil || len(one.GetItems()) != 1 || w.names[one.GetItems()[0].GetId()] != "spot" {
		t.Errorf("its second page: %v, %v", one, err)
	}
	before := w.outside.shown
	must(w.ListAttemptMedia(w.as(w.ana), &assessmentpb.ListAttemptMediaRequest{AttemptId: w.start.GetId(), PageSize: 100}))(t)
	if w.outside.shown != before+1 {
		t.Errorf("media was asked %d times", w.outside.shown-before)
	}
	w.submitted("b")
	expect(t, "right after", w.sees(w.ana), "option prompt spot table")
	w.later(time.Hour)
	expect(t, "later", w.sees(w.ana), "option prompt spot table wrong")
	w.around.say(w.ana, &learningpb.ItemAccess{Enrolled: true, State: "open", ClosesAt: timestamppb.New(w.now())})
	// The right answer is an option that shows a picture, which shows in any case.
	expect(t, "closed", w.sees(w.ana), "general option prompt spot table")
	w.update(w.quiz, &assessmentpb.QuizSettings{Sections: must(w.GetQuiz(w.as(w.teacher), &assessmentpb.GetQuizRequest{CourseId: w.course, QuizId: w.quiz}))(t).GetSettings().GetSections(), Review: &assessmentpb.ReviewMatrix{}})
	w.publish(w.quiz)
	expect(t, "once nothing is reviewed", w.sees(w.ana), "attempt.not_reviewable")
	marking, err := w.ListAttemptMediaForMarking(w.as(w.teacher), &assessmentpb.ListAttemptMediaForMarkingRequest{CourseId: w.course, AttemptId: w.start.GetId(), PageSize: 100})
	if err != nil || len(marking.GetItems()) != 6 || marking.GetItems()[0].GetUrl() != "/"+w.teacher+w.course+"submission.read" {
		t.Errorf("for marking: %v, %v", marking, err)
	}
	if _, err := w.ListAttemptMediaForMarking(w.as(w.teacher), &assessmentpb.ListAttemptMediaForMarkingRequest{CourseId: id.New("course"), AttemptId: w.start.GetId()}); fault.CodeOf(err) != "attempt.not_found" {
		t.Errorf("as of another course: %v", err)
	}
}

// uploads stands for the files that students hand in.
type uploads struct {
	mediapb.SubmissionFileServiceClient

	of   map[string]string // whose
	kept []string
}

func (u *uploads) KeepSubmissionFiles(_ context.Context, req *mediapb.KeepSubmissionFilesRequest, _ ...grpc.CallOption) (*mediapb.SubmissionFiles, error) {
	out := &mediapb.SubmissionFiles{}
	for _, mediaID := range req.GetMediaIds() {
		if !slices.Contains(req.GetAccountIds(), u.of[mediaID]) {
			continue
		}
		if !req.GetLookOnly() {
			u.kept = append(u.kept, mediaID)
		}
		out.Items = append(out.Items, &mediapb.Media{Id: mediaID})
	}
	return out, nil
}

func (u *uploads) ShowSubmissionFiles(_ context.Context, req *mediapb.ShowSubmissionFilesRequest, _ ...grpc.CallOption) (*mediapb.SubmissionFiles, error) {
	out := &mediapb.SubmissionFiles{}
	for _, mediaID := range req.GetMediaIds() {
		m := &mediapb.Media{Id: mediaID, Filename: "Ana Silva.PDF", Url: fmt.Sprint("/", req.GetAccountId(), req.GetStaff())}
		if req.GetAnonymous() {
			m.Url += "anonymous"
		}
		out.Items = append(out.Items, m)
	}
	return out, nil
}

// TestAnswerFiles: what somebody answers with is shown to them and to who marks it, and is
// kept once it is submitted; others' files that they name are not.
func TestAnswerFiles(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	files := &uploads{of: map[string]string{}}
	w.service.files = files
	q := w.bank.add(w.as(w.teacher), w.course, "", &questionpb.QuestionContent{Title: "Essay", Prompt: "Hand it in.", Body: &questionpb.QuestionContent_FileUpload{
		FileUpload: &questionpb.FileUploadQuestion{Files: &questionpb.FileRules{MaxCount: 3}},
	}}).GetId()
	settings := &assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(asked(q))}}
	quizID := w.placed(settings)
	st := w.start(taken{course: w.course, item: w.item})
	own, others := id.New("media"), id.New("media")
	files.of[own], files.of[others] = st.account, id.New("account")
	expect(t, "an answer", st.verdicts(laptop, &assessmentpb.Operation{ClientSeq: 1, Kind: opAnswer, Slot: 1, Answer: &questionpb.Answer{
		Content: &questionpb.Answer_Files{Files: &questionpb.FilesAnswer{MediaIds: []string{own, others}}},
	}}), "accepted")
	media := assessmentpb.NewQuestionMediaServiceClient(w.harness.As("edge"))
	shown := func(res *assessmentpb.QuestionMedia, err error) string {
		t.Helper()
		out := ""
		for _, m := range must(res, err)(t).GetItems() {
			out += m.GetId() + m.GetUrl()
		}
		return out
	}
	expect(t, "their own", shown(media.ListAttemptMedia(w.as(st.account), &assessmentpb.ListAttemptMediaRequest{AttemptId: st.attempt.GetId()})), own+"/"+st.account+"false")
	work := func() {
		t.Helper()
		if _, err := w.service.tellAnswerFiles(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	work()
	if len(files.kept) != 0 {
		t.Error("kept before it is submitted")
	}
	st.submit()
	w.scored()
	work()
	work()
	if diff := cmp.Diff([]string{own}, files.kept); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	expect(t, "for marking", shown(media.ListAttemptMediaForMarking(w.as(w.teacher), &assessmentpb.ListAttemptMediaForMarkingRequest{CourseId: w.course, AttemptId: st.attempt.GetId()})), own+"/"+w.teacher+"true")
	settings.AnonymousMarking = true
	w.update(quizID, settings)
	w.publish(quizID)
	anonymous, err := media.ListAttemptMediaForMarking(w.as(w.teacher), &assessmentpb.ListAttemptMediaForMarkingRequest{CourseId: w.course, AttemptId: st.attempt.GetId()})
	expect(t, "anonymous", shown(anonymous, err), own+"/"+w.teacher+"trueanonymous")
	expect(t, "what it is called", anonymous.GetItems()[0].GetFilename(), "file-1.pdf")
}

func TestAttemptMediaPaused(t *testing.T) {
	t.Parallel()
	w := newPictureWorld(t, &assessmentpb.QuizSettings{Navigation: "sequential"})
	expect(t, "the page that is open", w.sees(w.ana), "option prompt table")
	w.exec(`UPDATE attempt SET paused_at = now(), paused_by = account_id WHERE id = $1`, w.start.GetId())
	expect(t, "paused", w.sees(w.ana), "")
}

func TestQuestionMedia(t *testing.T) {
	t.Parallel()
	w := newPictureWorld(t, &assessmentpb.QuizSettings{})
	ctx := w.as(w.teacher)
	first := must(w.GetQuiz(ctx, &assessmentpb.GetQuizRequest{CourseId: w.course, QuizId: w.quiz}))(t).GetSettings().GetSections()[0].GetSlots()[0].GetQuestion().GetQuestionId()
	res, err := w.ListQuestionMedia(ctx, &assessmentpb.ListQuestionMediaRequest{CourseId: w.course, QuestionId: first})
	if err != nil || len(res.GetItems()) != 6 || res.GetItems()[0].GetUrl() != "/"+w.teacher+w.course+"question.read" || res.GetItems()[0].GetFilename() == "" {
		t.Errorf("a question of a shared bank: %v, %v", res, err)
	}
	if _, err := w.ListQuestionMedia(ctx, &assessmentpb.ListQuestionMediaRequest{CourseId: w.bank.course(w.teacher), QuestionId: first}); fault.CodeOf(err) != "question.not_found" {
		t.Errorf("of a bank that is not shared: %v", err)
	}
	told := func(account, item string) string {
		res, err := w.ListInstructionMedia(w.as(account), &assessmentpb.ListInstructionMediaRequest{CourseId: w.course, ItemId: item})
		if err != nil {
			return fault.CodeOf(err)
		}
		out := ""
		for _, m := range res.GetItems() {
			out += w.names[m.GetId()]
		}
		return out
	}
	expect(t, "of instructions", told(w.ana, w.item), "before")
	expect(t, "of no item", told(w.ana, id.New("activity")), "assignment.not_found")
	w.around.say(w.ana, &learningpb.ItemAccess{Enrolled: true, State: "hidden"})
	expect(t, "of what is hidden", told(w.ana, w.item), "assignment.not_found")
}

// TestFilesAreHeld: what a version of a question shows is held, and what can't be shown
// is refused.
func TestFilesAreHeld(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	ctx := w.as(w.teacher)
	file := func(contentType string) string {
		mediaID := w.bank.picture(w.course)
		w.outside.files[w.course+mediaID] = contentType
		return mediaID
	}
	sound, video, paper, elsewhere := file("audio/mpeg"), file("video/mp4"), file("application/pdf"), w.bank.picture(w.bank.course(w.teacher))
	w.bank.add(ctx, w.course, "", truth("Heard", "![a](media:"+sound+") ![b](media:"+video+") [c](media:"+paper+")"))
	if diff := cmp.Diff(slices.Sorted(slices.Values([]string{sound, video, paper})), slices.Sorted(slices.Values(w.outside.held))); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
	for name, content := range map[string]*questionpb.QuestionContent{
		"paper in place":   truth("No", "![c](media:"+paper+")"),
		"another course's": truth("No", "[c](media:"+elsewhere+")"),
		"a sound to mark":  spotted(sound),
	} {
		if _, err := w.bank.CreateQuestion(ctx, &assessmentpb.CreateQuestionRequest{CourseId: w.course, Content: content}); fault.CodeOf(err) != "media.not_found" {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := w.CreateQuiz(ctx, &assessmentpb.CreateQuizRequest{CourseId: w.course, Title: "No", Settings: &assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{{Instructions: "[x](media:" + elsewhere + ")"}}}})
	if diff := cmp.Diff([]string{"media.not_found", "settings.sections[0].instructions media.not_found"}, codesOf(err)); diff != "" {
		t.Errorf("instructions (-want +got):\n%s", diff)
	}
}

func TestShownUntil(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	at := func(minutes int) *time.Time { return new(start.Add(time.Duration(minutes) * time.Minute)) }
	all, none := partsOf(63), partsOf(0)
	for _, c := range []struct {
		name   string
		matrix *assessmentpb.ReviewMatrix
		r      reviewed
		ends   *time.Time
		now    *time.Time
		want   *time.Time
	}{
		{"without a matrix", nil, reviewed{running: true, posted: true}, at(60), at(0), nil},
		{"running, nothing after it", &assessmentpb.ReviewMatrix{}, reviewed{running: true, posted: true}, at(60), at(0), at(60)},
		{"running without an end", &assessmentpb.ReviewMatrix{}, reviewed{running: true, posted: true}, nil, at(0), nil},
		{"running, right after it alone", &assessmentpb.ReviewMatrix{After: all}, reviewed{running: true, posted: true}, at(60), at(0), at(62)},
		{"running, until it is closed", &assessmentpb.ReviewMatrix{After: all, Later: all, Closed: none}, reviewed{running: true, posted: true, closesAt: at(90)}, at(60), at(0), at(90)},
		{"right after", &assessmentpb.ReviewMatrix{After: all, Later: partsOf(1)}, reviewed{ended: *at(0), posted: true}, nil, at(1), at(2)},
		{"right after, more later", &assessmentpb.ReviewMatrix{After: partsOf(1), Later: all}, reviewed{ended: *at(0), posted: true}, nil, at(1), nil},
		{"later", &assessmentpb.ReviewMatrix{After: none, Later: all}, reviewed{ended: *at(0), closesAt: at(100), posted: true}, nil, at(5), at(100)},
		{"closed", &assessmentpb.ReviewMatrix{Closed: all}, reviewed{ended: *at(0), closesAt: at(100), posted: true}, nil, at(101), nil},
		{"closed right after", &assessmentpb.ReviewMatrix{After: all}, reviewed{ended: *at(0), closesAt: at(1), posted: true}, nil, at(1), at(2)},
	} {
		if diff := cmp.Diff(c.want, shownUntil(c.matrix, c.r, c.ends, *c.now)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
