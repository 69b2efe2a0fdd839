package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// quiz is a quiz of a course as quiz.json tells it: settings and questions are as the
// contracts have them, and all questions are asked in their order.
type quiz struct {
	Title     string            `json:"title"`
	Module    string            `json:"module"`
	Settings  json.RawMessage   `json:"settings"`
	Questions []json.RawMessage `json:"questions"`
}

// readQuiz returns the quiz of a course, nil where it has none.
func (c course) readQuiz() (*quiz, error) {
	text, err := c.read("quiz.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // said above
	}
	if err != nil {
		return nil, err
	}
	q := &quiz{}
	if err := json.Unmarshal(text, q); err != nil {
		return nil, fmt.Errorf("quiz.json: %w", err)
	}
	return q, nil
}

// addQuiz makes the quiz of a course with its questions, publishes it and gives it its
// place in the draft, as far as that is not done.
func (s *school) addQuiz(ctx context.Context, c course, courseID string) error {
	q, err := c.readQuiz()
	if err != nil || q == nil {
		return err
	}
	made, err := s.findQuiz(ctx, c, courseID, q)
	if err != nil {
		return fmt.Errorf("quiz: %w", err)
	}
	if made.GetVersion() == 0 {
		if _, err := s.quizzes.PublishQuiz(c.key(ctx, "quiz-publish"), &assessmentpb.PublishQuizRequest{CourseId: courseID, QuizId: made.GetId()}); err != nil {
			return fmt.Errorf("publish quiz: %w", err)
		}
	}
	outline, err := s.courses.GetOutline(ctx, &coursespb.GetOutlineRequest{CourseId: courseID})
	if err != nil {
		return fmt.Errorf("outline: %w", err)
	}
	if slices.ContainsFunc(outline.GetItems(), func(it *coursespb.OutlineItem) bool { return it.GetKind() == "quiz" && it.GetTitle() == q.Title }) {
		return nil
	}
	at := slices.IndexFunc(outline.GetModules(), func(m *coursespb.Module) bool { return m.GetTitle() == q.Module })
	if at < 0 {
		return fmt.Errorf("quiz.json: there is no module %q", q.Module)
	}
	_, err = s.contents.CreateActivity(c.key(ctx, "quiz-activity"), &coursespb.CreateActivityRequest{
		CourseId: courseID, ModuleId: outline.GetModules()[at].GetId(), Kind: "quiz", Title: q.Title, ActivityRef: made.GetId(),
		Settings: &coursespb.ItemSettings{Required: new(false)},
	})
	if err != nil {
		return fmt.Errorf("place of quiz: %w", err)
	}
	return nil
}

// findQuiz returns the quiz of that title, new with its questions if there is none.
func (s *school) findQuiz(ctx context.Context, c course, courseID string, q *quiz) (*assessmentpb.Quiz, error) {
	res, err := s.quizzes.ListQuizzes(ctx, &assessmentpb.ListQuizzesRequest{CourseId: courseID, PageSize: 100})
	if err != nil {
		return nil, err
	}
	for _, one := range res.GetItems() {
		if one.GetTitle() == q.Title {
			return one, nil
		}
	}
	settings := &assessmentpb.QuizSettings{}
	if err := protojson.Unmarshal(q.Settings, settings); err != nil {
		return nil, fmt.Errorf("quiz.json: settings: %w", err)
	}
	section := &assessmentpb.QuizSection{}
	for i, text := range q.Questions {
		content := &questionpb.QuestionContent{}
		if err := protojson.Unmarshal(text, content); err != nil {
			return nil, fmt.Errorf("quiz.json: question %d: %w", i, err)
		}
		one, err := s.bank.CreateQuestion(c.key(ctx, "question-%d", i), &assessmentpb.CreateQuestionRequest{CourseId: courseID, Content: content})
		if err != nil {
			return nil, fmt.Errorf("question %q: %w", content.GetTitle(), err)
		}
		section.Slots = append(section.Slots, &assessmentpb.QuizSlot{
			Source: &assessmentpb.QuizSlot_Question{Question: &assessmentpb.FixedQuestion{QuestionId: one.GetId()}},
		})
	}
	settings.Sections = []*assessmentpb.QuizSection{section}
	return s.quizzes.CreateQuiz(c.key(ctx, "quiz"), &assessmentpb.CreateQuizRequest{CourseId: courseID, Title: q.Title, Settings: settings})
}
