package assessment

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// ErrAttemptNotReviewable is told where nothing of an attempt's questions is shown.
var ErrAttemptNotReviewable = fault.New(fault.Forbidden, "attempt.not_reviewable", "The questions of this attempt are not shown now.")

// questionMediaServer answers about the files of what is asked.
type questionMediaServer struct {
	assessmentpb.UnimplementedQuestionMediaServiceServer

	service *Service
}

// shownFiles are files that somebody was found entitled to see.
type shownFiles struct {
	course     string            // where they are shown
	item       string            // the same
	owner      map[string]string // the course of each file of a library
	answers    map[string]bool   // files that were handed in as answers
	account    string            // whose answers
	permission string            // by which they are seen
	until      *time.Time        // when they are not shown any more; nil for never
	plain      bool              // what pictures are called may tell what is right
	anonymous  bool              // who sees answers may not know whose they are
}

func newShownFiles(course, item, permission string) *shownFiles {
	return &shownFiles{course: course, item: item, permission: permission, owner: map[string]string{}, answers: map[string]bool{}}
}

func (f *shownFiles) add(course string, ids ...string) {
	for _, mediaID := range ids {
		f.owner[mediaID] = course
	}
}

// ListAttemptMedia implements assessmentpb.QuestionMediaServiceServer.
func (h *questionMediaServer) ListAttemptMedia(ctx context.Context, req *assessmentpb.ListAttemptMediaRequest) (*assessmentpb.QuestionMedia, error) {
	s := h.service
	a, err := readAttempt(ctx, s.db, req.GetAttemptId())
	if err == nil {
		err = a.owned(auth.From(ctx).Account)
	}
	if err == nil {
		err = s.guardShown(ctx, a)
	}
	if err != nil {
		return nil, err
	}
	v, err := s.view(ctx, s.db, a, req.GetPage())
	if err != nil {
		return nil, err
	}
	if !a.running() && !v.GetReviewable() {
		return nil, ErrAttemptNotReviewable
	}
	f := newShownFiles(a.CourseID, a.ItemID, "assessment.take")
	if a.Preview {
		f.permission = "question.read"
	}
	f.plain = !a.Preview
	if err := s.filesOf(ctx, a, v, f); err != nil {
		return nil, err
	}
	if f.until, err = s.shownUntil(ctx, a); err != nil {
		return nil, err
	}
	return s.showMedia(ctx, f, req.GetPageSize(), req.GetCursor())
}

// ListAttemptMediaForMarking implements assessmentpb.QuestionMediaServiceServer.
func (h *questionMediaServer) ListAttemptMediaForMarking(ctx context.Context, req *assessmentpb.ListAttemptMediaForMarkingRequest) (*assessmentpb.QuestionMedia, error) {
	s := h.service
	attempts := &attemptServer{service: s}
	a, err := attempts.ofCourse(ctx, req.GetCourseId(), req.GetAttemptId())
	if err != nil {
		return nil, err
	}
	v, err := attempts.GetAttemptForMarking(ctx, &assessmentpb.GetAttemptForMarkingRequest{CourseId: a.CourseID, AttemptId: a.ID, Page: req.GetPage()})
	if err != nil {
		return nil, err
	}
	f := newShownFiles(a.CourseID, "", "submission.read")
	f.anonymous = v.GetPseudonym() != ""
	if err := s.filesOf(ctx, a, v, f); err != nil {
		return nil, err
	}
	return s.showMedia(ctx, f, req.GetPageSize(), req.GetCursor())
}

// ListQuestionMedia implements assessmentpb.QuestionMediaServiceServer.
func (h *questionMediaServer) ListQuestionMedia(ctx context.Context, req *assessmentpb.ListQuestionMediaRequest) (*assessmentpb.QuestionMedia, error) {
	q, err := readQuestion(ctx, h.service.db, req.GetCourseId(), req.GetQuestionId(), req.GetVersion(), false)
	if err != nil {
		return nil, err
	}
	content, err := q.content()
	if err != nil {
		return nil, err
	}
	f := newShownFiles(req.GetCourseId(), "", "question.read")
	f.add(q.CourseID, question.Media(content)...)
	return h.service.showMedia(ctx, f, req.GetPageSize(), req.GetCursor())
}

// ListInstructionMedia implements assessmentpb.QuestionMediaServiceServer.
func (h *questionMediaServer) ListInstructionMedia(ctx context.Context, req *assessmentpb.ListInstructionMediaRequest) (*assessmentpb.QuestionMedia, error) {
	s := h.service
	quizzes, err := s.myQuizzes(ctx, req.GetCourseId(), `p.item_id = $2`, req.GetItemId())
	if err != nil {
		return nil, err
	}
	f := newShownFiles(req.GetCourseId(), req.GetItemId(), "assessment.take")
	for _, q := range quizzes {
		f.add(req.GetCourseId(), question.MediaIn(q.GetInstructions())...)
	}
	if len(quizzes) == 0 {
		works, err := s.myWorks(ctx, req.GetCourseId(), []string{req.GetItemId()})
		if err != nil {
			return nil, err
		}
		if len(works) == 0 {
			return nil, ErrAssignmentNotFound
		}
		for _, w := range works {
			f.add(req.GetCourseId(), question.MediaIn(w.version.Settings.GetInstructions())...)
		}
	}
	return s.showMedia(ctx, f, req.GetPageSize(), req.GetCursor())
}

// filesOf adds the files that a view of an attempt names: those of its questions are of
// the courses whose banks these are of. It takes one statement.
func (s *Service) filesOf(ctx context.Context, a *attempt, v *assessmentpb.Attempt, f *shownFiles) error {
	if len(v.GetQuestions()) == 0 {
		return nil
	}
	l, err := s.layoutOf(ctx, s.db, a)
	if err != nil {
		return err
	}
	f.account = a.AccountID
	sections, questions := map[int32]bool{}, map[string][]string{}
	for _, q := range v.GetQuestions() {
		sections[q.GetSection()] = true
		of := l.slot(q.GetSlot()).QuestionID
		questions[of] = append(questions[of], slices.Concat(q.GetView().GetMediaIds(), q.GetOutcome().GetMediaIds())...)
		for _, mediaID := range answerFiles(q.GetAnswer()) {
			f.answers[mediaID] = true
		}
	}
	for i, section := range v.GetSections() {
		if sections[int32(i)] {
			f.add(a.CourseID, question.MediaIn(section.GetInstructions())...)
		}
	}
	maps.DeleteFunc(questions, func(_ string, ids []string) bool { return len(ids) == 0 })
	banks, err := banksOf(ctx, s.db, slices.Collect(maps.Keys(questions)))
	if err != nil {
		return err
	}
	for questionID, ids := range questions {
		f.add(banks[questionID], ids...)
	}
	return nil
}

// answerFiles returns the files that an answer is made of.
func answerFiles(answer *questionpb.Answer) []string {
	return slices.Concat(answer.GetEssay().GetMediaIds(), answer.GetFiles().GetMediaIds())
}

// banksOf returns the courses of whose banks questions are.
func banksOf(ctx context.Context, q pg.Querier, questions []string) (map[string]string, error) {
	if len(questions) == 0 {
		return nil, nil
	}
	rows, err := q.Query(ctx, `SELECT id, course_id FROM question WHERE id = ANY ($1)`, questions)
	if err != nil {
		return nil, fmt.Errorf("banks of questions: %w", err)
	}
	out := map[string]string{}
	var questionID, courseID string
	if _, err := pgx.ForEachRow(rows, []any{&questionID, &courseID}, func() error {
		out[questionID] = courseID
		return nil
	}); err != nil {
		return nil, fmt.Errorf("banks of questions: %w", err)
	}
	return out, nil
}

// showMedia returns a page of files with addresses. It asks media once for those of
// libraries and once for those of answers.
func (s *Service) showMedia(ctx context.Context, f *shownFiles, pageSize int32, cursor string) (*assessmentpb.QuestionMedia, error) {
	values, err := page.Values(cursor, 1)
	if err != nil {
		return nil, err
	}
	after := ""
	if values != nil {
		if after = values[0]; !id.Valid("media", after) {
			return nil, page.ErrCursor
		}
	}
	ids := slices.AppendSeq(slices.Collect(maps.Keys(f.owner)), maps.Keys(f.answers))
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(mediaID string) bool { return mediaID <= after })
	out := &assessmentpb.QuestionMedia{}
	if size := page.Size(pageSize); len(ids) > size {
		ids = ids[:size]
		out.NextCursor = page.Cursor(ids[size-1])
	}
	byCourse, answers := map[string][]string{}, []string{}
	for _, mediaID := range ids {
		if course := f.owner[mediaID]; course != "" {
			byCourse[course] = append(byCourse[course], mediaID)
		} else {
			answers = append(answers, mediaID)
		}
	}
	account := auth.From(ctx).Account
	if len(byCourse) > 0 {
		req := &mediapb.ShowMediaRequest{AccountId: account, CourseId: f.course, ItemId: f.item, Permission: f.permission}
		for _, course := range slices.Sorted(maps.Keys(byCourse)) {
			req.Files = append(req.Files, &mediapb.CourseFiles{CourseId: course, MediaIds: byCourse[course]})
		}
		if f.until != nil {
			req.NotAfter = timestamppb.New(*f.until)
		}
		res, err := s.media.ShowMedia(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, m := range res.GetItems() {
			out.Items = append(out.Items, f.told(m))
		}
	}
	if len(answers) > 0 {
		if answers, err = s.uploadedBy(ctx, f.course, f.account, answers); err != nil {
			return nil, err
		}
	}
	if len(answers) > 0 {
		res, err := s.files.ShowSubmissionFiles(ctx, &mediapb.ShowSubmissionFilesRequest{
			CourseId: f.course, MediaIds: answers, AccountId: account, Staff: f.permission != "assessment.take", Anonymous: f.anonymous,
		})
		if err != nil {
			return nil, err
		}
		for _, m := range res.GetItems() {
			if f.anonymous {
				m.Filename = neutralName(slices.Index(ids, m.GetId()), m.GetFilename())
			}
		}
		out.Items = append(out.Items, res.GetItems()...)
	}
	slices.SortFunc(out.GetItems(), func(a, b *mediapb.Media) int { return strings.Compare(a.GetId(), b.GetId()) })
	return out, nil
}

// told takes out of what media tells what may say more than is shown: what a picture of
// a region was called, and of whose bank it is.
func (f *shownFiles) told(m *mediapb.Media) *mediapb.Media {
	m.CourseId = f.course
	if !f.plain {
		return m
	}
	m.Sha256, m.CreatedAt, m.DeletedAt = "", nil, ""
	if k := m.GetKind(); k == "image" || k == "video" || k == "audio" {
		m.Filename = ""
	}
	return m
}

// shownUntil returns when something of what is shown of an attempt now is not shown any
// more, nil for never: then addresses of its files stop.
func (s *Service) shownUntil(ctx context.Context, a *attempt) (*time.Time, error) {
	matrices, err := s.matricesOf(ctx, s.db, []*attempt{a})
	if err != nil {
		return nil, err
	}
	closes := a.OpenUntil
	if !a.running() && !a.Preview {
		asked, err := s.closings(ctx, a.CourseID, a.AccountID, []string{a.ItemID})
		if err != nil {
			return nil, err
		}
		if at, ok := asked[a.ItemID]; ok {
			closes = at
		}
	}
	r := reviewed{running: a.running(), closesAt: closes, posted: true}
	if !r.running {
		r.ended = endOf(a)
	}
	return shownUntil(matrices[a.ID], r, a.ClosesAt, s.time()), nil
}

// shownUntil returns when a review shows less than it does now. An attempt that runs
// ends at the latest at ends.
func shownUntil(matrix *assessmentpb.ReviewMatrix, r reviewed, ends *time.Time, now time.Time) *time.Time {
	shown := shownParts(matrix, r, now)
	if r.running {
		shown.Attempt = true // what is asked
		if ends == nil {
			return nil
		}
		if now = *ends; less(shownParts(matrix, reviewed{ended: now, closesAt: r.closesAt, posted: true}, now), shown) {
			return ends
		}
		r.running, r.ended = false, now
	}
	moments := []*time.Time{new(r.ended.Add(rightAfter)), r.closesAt}
	slices.SortFunc(moments, func(a, b *time.Time) int {
		switch {
		case a == nil || b == nil:
			return 0
		default:
			return a.Compare(*b)
		}
	})
	for _, at := range moments {
		if at != nil && at.After(now) && less(shownParts(matrix, r, *at), shown) {
			return at
		}
	}
	return nil
}

// less reports whether a shows less than b of what has files.
func less(a, b *assessmentpb.ReviewParts) bool {
	return b.GetAttempt() && !a.GetAttempt() || b.GetFeedback() && !a.GetFeedback() || b.GetGeneralFeedback() && !a.GetGeneralFeedback() ||
		b.GetAnswer() && !a.GetAnswer() || b.GetMarks() && !a.GetMarks()
}

// hold has media hold files of a course for good, because something that is never
// changed shows them, and returns them. It calls media: never in a transaction.
func (s *Service) hold(ctx context.Context, courseID string, ids []string) (map[string]*mediapb.Media, error) {
	out := make(map[string]*mediapb.Media, len(ids))
	ids = slices.Clone(ids)
	slices.Sort(ids)
	for some := range slices.Chunk(slices.Compact(ids), 1000) {
		res, err := s.library.HoldMedia(ctx, &mediapb.HoldMediaRequest{CourseId: courseID, MediaIds: some})
		if err != nil {
			return nil, err
		}
		for _, m := range res.GetItems() {
			out[m.GetId()] = m
		}
	}
	return out, nil
}

// checkInstructions refuses instructions that name files which the course does not have.
// Call it before the transaction.
func (s *Service) checkInstructions(ctx context.Context, courseID string, texts map[string]string) error {
	var ids []string
	for _, text := range texts {
		ids = append(ids, question.MediaIn(text)...)
	}
	if len(ids) == 0 {
		return nil
	}
	if len(ids) > maxPictures {
		return fault.InvalidField("settings", "media.too_many", fmt.Sprintf("Instructions name at most %d files.", maxPictures))
	}
	found, err := s.hold(ctx, courseID, ids)
	if err != nil {
		return err
	}
	bad := &fault.Error{Kind: fault.Invalid, Code: "media.not_found", Message: "A file is named that is not of this course."}
	for _, path := range slices.Sorted(maps.Keys(texts)) {
		for _, mediaID := range question.MediaIn(texts[path]) {
			if found[mediaID] == nil && len(bad.Fields) < 20 {
				bad.Fields = append(bad.Fields, fault.Field{Path: path, Code: bad.Code, Hint: "Upload " + mediaID + " to this course first."})
			}
		}
	}
	if bad.Fields == nil {
		return nil
	}
	return bad
}

// quizInstructions returns the texts of a quiz by their paths.
func quizInstructions(settings *assessmentpb.QuizSettings) map[string]string {
	out := map[string]string{"settings.instructions": settings.GetInstructions()}
	for i, section := range settings.GetSections() {
		out[fmt.Sprintf("settings.sections[%d].instructions", i)] = section.GetInstructions()
	}
	return out
}
