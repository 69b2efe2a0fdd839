package assessment

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// world is the service on a database of its own.
type world struct {
	t       testing.TB
	db      *pg.DB
	service *Service
	harness *rpctest.Harness

	around *around

	attempts assessmentpb.AttemptServiceClient

	mu    sync.Mutex
	clock time.Time
}

func newWorld(t testing.TB, allow rpctest.Allow) *world {
	t.Helper()
	return newWorldOn(t, pgtest.Open(t, Schema), allow)
}

// newWorldOn is [newWorld] on a database that there is, as another process has it.
func newWorldOn(t testing.TB, db *pg.DB, allow rpctest.Allow) *world {
	t.Helper()
	w := &world{t: t, db: db, clock: time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)}
	keyset, err := secret.Generate()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := secret.Parse(keyset)
	if err != nil {
		t.Fatal(err)
	}
	vault, err := secret.NewVault(keys, w.db)
	if err != nil {
		t.Fatal(err)
	}
	w.around = newAround()
	w.service = New(Config{DB: w.db, Vault: vault, Now: w.now, Log: rpctest.Log(t), Accommodations: w.around, Items: w.around})
	w.harness = rpctest.New(t, allow)
	w.service.Register(w.harness)
	w.attempts = assessmentpb.NewAttemptServiceClient(w.harness.As("edge"))
	return w
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

// later moves the clock on.
func (w *world) later(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

func (w *world) as(account string) context.Context {
	return rpctest.Account(context.Background(), account)
}

// exec changes rows as a test may.
func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if err := w.db.InTx(context.Background(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		_, err := tx.Exec(context.Background(), sql, args...)
		return err
	}); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// hear runs a handler in a transaction of its own, as the bus does.
func hear[E proto.Message](w *world, handle func(context.Context, *pg.Tx, E) error, events ...E) {
	w.t.Helper()
	for _, e := range events {
		if err := w.db.InTx(context.Background(), func(tx *pg.Tx) error {
			tx.Exempt("a copy")
			return handle(context.Background(), tx, e)
		}); err != nil {
			w.t.Fatalf("hear %T: %v", e, err)
		}
	}
}

// addQuestion stores a question at version 1.
func (w *world) addQuestion(course string, q *questionpb.QuestionContent) string {
	w.t.Helper()
	if err := question.Validate(q); err != nil {
		w.t.Fatalf("question: %v", err)
	}
	q = question.Normalise(q)
	body, err := proto.Marshal(q)
	if err != nil {
		w.t.Fatal(err)
	}
	qid := id.New("question")
	w.exec(`INSERT INTO question (id, course_id, version, created_by, created_at, updated_at) VALUES ($1, $2, 1, 'account_x', $3, $3)`, qid, course, w.now())
	w.exec(`INSERT INTO question_version (question_id, version, kind, title, body, hash, created_by, created_at) VALUES ($1, 1, $2, $3, $4, $5, 'account_x', $6)`,
		qid, question.KindOf(q), q.GetTitle(), body, []byte{1}, w.now())
	return qid
}

// choiceQuestion asks for one of three letters, of which "a" is right.
func choiceQuestion(n int) *questionpb.QuestionContent {
	return &questionpb.QuestionContent{
		Title: fmt.Sprintf("Letter %d", n), Prompt: "Which letter is the first?",
		Body: &questionpb.QuestionContent_Choice{Choice: &questionpb.ChoiceQuestion{Options: []*questionpb.ChoiceOption{
			{Key: "a", Text: "A", Fraction: "1"}, {Key: "b", Text: "B", Fraction: "1/3"}, {Key: "c", Text: "C"},
		}}},
	}
}

// essayQuestion asks for a text.
func essayQuestion(n int) *questionpb.QuestionContent {
	return &questionpb.QuestionContent{
		Title: fmt.Sprintf("Essay %d", n), Prompt: "Say why.", Points: "4",
		Body: &questionpb.QuestionContent_Essay{Essay: &questionpb.EssayQuestion{}},
	}
}

// taken is a quiz that stands in a course.
type taken struct {
	course, item, quiz string
}

// publishQuiz has a quiz stand at an item, as if it were published.
func (w *world) publishQuiz(course string, settings *assessmentpb.QuizSettings) taken {
	w.t.Helper()
	t := taken{course, id.New("activity"), id.New("quiz")}
	for _, sec := range settings.GetSections() {
		for _, slot := range sec.GetSlots() {
			of, err := w.service.question(context.Background(), w.db, questionKey{slot.GetQuestion().GetQuestionId(), 1}, question.Version)
			if err != nil {
				w.t.Fatal(err)
			}
			slot.GetQuestion().Points, slot.GetQuestion().Kind = of.Points().String(), of.Kind()
		}
	}
	text, err := proto.Marshal(settings)
	if err != nil {
		w.t.Fatal(err)
	}
	w.exec(`INSERT INTO quiz (id, course_id, title, draft, version, created_by, created_at, updated_at) VALUES ($1, $2, 'A quiz', $3, 1, 'account_x', $4, $4)`, t.quiz, course, text, w.now())
	w.exec(`INSERT INTO quiz_version (quiz_id, version, settings, created_by, created_at) VALUES ($1, 1, $2, 'account_x', $3)`, t.quiz, text, w.now())
	w.exec(`INSERT INTO placement (course_id, item_id, ref, kind, title, sequence, present) VALUES ($1, $2, $3, 'quiz', 'A quiz', 1, true)`, course, t.item, t.quiz)
	return t
}

// quizOf makes a quiz of the questions, one page for each section.
func quizOf(settings *assessmentpb.QuizSettings, sections ...[]string) *assessmentpb.QuizSettings {
	for _, ids := range sections {
		sec := &assessmentpb.QuizSection{}
		for _, q := range ids {
			sec.Slots = append(sec.Slots, &assessmentpb.QuizSlot{Source: &assessmentpb.QuizSlot_Question{Question: &assessmentpb.FixedQuestion{QuestionId: q, Version: 1}}})
		}
		settings.Sections = append(settings.Sections, sec)
	}
	return settings
}
