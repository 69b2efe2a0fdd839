package assessment

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// What attempts ask of quizzes. These are simple: one version's fixed questions, open
// to who may take it.

// quizVersion is a version of a quiz that was published. It is never changed, and
// kept in a cache.
type quizVersion struct {
	QuizID   string
	CourseID string
	Number   int32
	Settings *assessmentpb.QuizSettings
}

// quizVersion returns a version of a quiz.
func (s *Service) quizVersion(ctx context.Context, q pg.Querier, quiz string, number int32) (*quizVersion, error) {
	key := versionKey{quiz, number}
	if v, ok := s.versions.GetIfPresent(key); ok {
		return v, nil
	}
	v := &quizVersion{QuizID: quiz, Number: number, Settings: &assessmentpb.QuizSettings{}}
	var settings []byte
	err := q.QueryRow(ctx, `
		SELECT q.course_id, v.settings FROM quiz_version v JOIN quiz q ON q.id = v.quiz_id
		WHERE v.quiz_id = $1 AND v.version = $2`, quiz, number).Scan(&v.CourseID, &settings)
	if pg.NoRows(err) {
		return nil, ErrAttemptNotFound
	}
	if err == nil {
		err = proto.Unmarshal(settings, v.Settings)
	}
	if err != nil {
		return nil, fmt.Errorf("read version %d of %s: %w", number, quiz, err)
	}
	s.versions.Set(key, v)
	return v, nil
}

type versionKey struct {
	quiz   string
	number int32
}

// admit returns the prepared attempt that somebody may begin at an item now, having
// made it where there was none. What changes between this and the beginning is looked
// at again by [Service.begin].
func (s *Service) admit(ctx context.Context, course, item, account, _ string) (attemptID string, err error) {
	var quiz string
	var number int32
	err = s.db.QueryRow(ctx, `
		SELECT q.id, q.version FROM placement p JOIN quiz q ON q.id = p.ref AND q.course_id = p.course_id
		WHERE p.course_id = $1 AND p.item_id = $2 AND p.kind = 'quiz' AND p.present AND q.version > 0 AND q.deleted_at IS NULL`, course, item).Scan(&quiz, &number)
	if pg.NoRows(err) {
		return "", ErrAttemptNotFound
	}
	if err != nil {
		return "", fmt.Errorf("find quiz of %s: %w", item, err)
	}
	version, err := s.quizVersion(ctx, s.db, quiz, number)
	if err != nil {
		return "", err
	}
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("an attempt that is prepared was seen by nobody")
		ids, err := s.assemble(ctx, tx, version, item, []string{account})
		if err == nil {
			attemptID = ids[account]
		}
		return err
	})
	return attemptID, err
}

// assemble prepares an attempt for each of some accounts, where none of theirs is
// prepared or runs, and returns those that are prepared.
func (s *Service) assemble(ctx context.Context, tx *pg.Tx, version *quizVersion, item string, accounts []string) (map[string]string, error) {
	out := map[string]string{}
	overtime, limit, grace := timesOf(version.Settings)
	for _, account := range accounts {
		attemptID, seed := id.New("attempt"), int64(rand.Uint64()) //nolint:gosec // it shuffles questions; any bits will do
		tag, err := tx.Exec(ctx, `
			INSERT INTO attempt (id, course_id, item_id, quiz_id, quiz_version, account_id, number, state, engine_version, seed, prepared_at, time_limit, overtime, grace, max_points)
			SELECT $1, $2, $3, $4, $5, $6, 1 + (SELECT count(*) FROM attempt WHERE quiz_id = $4 AND item_id = $3 AND account_id = $6 AND NOT preview), 'prepared', $7, $8, $9, $10, $11, $12, 0
			ON CONFLICT DO NOTHING`,
			attemptID, version.CourseID, item, version.QuizID, version.Number, account, question.Version, seed, s.time(), limit, overtime, grace)
		if err != nil {
			return nil, fmt.Errorf("prepare attempt: %w", err)
		}
		if tag.RowsAffected() > 0 {
			if err := s.assembleQuestions(ctx, tx, version, attemptID, seed); err != nil {
				return nil, err
			}
		}
		err = tx.QueryRow(ctx, `
			SELECT id FROM attempt WHERE quiz_id = $1 AND item_id = $2 AND account_id = $3 AND NOT preview AND state = 'prepared'`,
			version.QuizID, item, account).Scan(&attemptID)
		if err != nil && !pg.NoRows(err) {
			return nil, fmt.Errorf("prepared attempt: %w", err)
		}
		if err == nil {
			out[account] = attemptID
		}
	}
	return out, nil
}

func (s *Service) assembleQuestions(ctx context.Context, tx *pg.Tx, version *quizVersion, attemptID string, seed int64) error {
	slot, page, total := int32(0), int32(0), exact.Number{}
	per := version.Settings.GetQuestionsPerPage()
	for section, sec := range version.Settings.GetSections() {
		onPage := int32(0)
		for _, sl := range sec.GetSlots() {
			if per > 0 && onPage == per {
				page, onPage = page+1, 0
			}
			onPage++
			slot++
			f := sl.GetQuestion()
			asked, err := s.question(ctx, tx, questionKey{f.GetQuestionId(), f.GetVersion()}, question.Version)
			if err != nil {
				return err
			}
			points, behaviour := sl.GetPoints(), sl.GetBehaviour()
			if points == "" || asked.Kind() == "description" {
				points = asked.Points().String()
			}
			if behaviour == "" {
				behaviour = version.Settings.GetBehaviour()
			}
			if behaviour == "" {
				behaviour = "deferred"
			}
			n, err := exact.Parse(points)
			if err != nil {
				return fmt.Errorf("points of slot %d: %w", slot, err)
			}
			total = total.Add(n)
			if _, err := tx.Exec(ctx, `
				INSERT INTO attempt_question (attempt_id, slot, section, page, question_id, question_version, key_version, behaviour, seed, max_points)
				VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8, $9::text::numeric)`,
				attemptID, slot, section, page, f.GetQuestionId(), f.GetVersion(), behaviour, seed, points); err != nil {
				return fmt.Errorf("prepare questions: %w", err)
			}
		}
		page++
	}
	if version.Settings.GetMaxPoints() != "" {
		total = exact.MustParse(version.Settings.GetMaxPoints())
	}
	_, err := tx.Exec(ctx, `UPDATE attempt SET max_points = $2::text::numeric WHERE id = $1`, attemptID, total.Text(6))
	return err
}

// timesOf returns what a quiz says of time.
func timesOf(q *assessmentpb.QuizSettings) (overtime string, limit *time.Duration, grace time.Duration) {
	overtime = q.GetOvertime()
	if overtime == "" {
		overtime = "submit"
	}
	if q.GetTimeLimitSeconds() > 0 {
		limit = new(time.Duration(q.GetTimeLimitSeconds()) * time.Second)
	}
	if overtime != "submit" {
		grace = time.Duration(q.GetGraceSeconds()) * time.Second
	}
	return overtime, limit, grace
}

// reviewOf returns what the owner of an attempt may see of it now.
func (s *Service) reviewOf(_ context.Context, _ pg.Querier, a *attempt, version *quizVersion) (*assessmentpb.ReviewParts, error) {
	all := &assessmentpb.ReviewParts{Attempt: true, Marks: true, Correctness: true, Feedback: true, GeneralFeedback: true, Answer: true}
	m := version.Settings.GetReview()
	if m == nil {
		if a.State == stateAbandoned {
			return &assessmentpb.ReviewParts{}, nil
		}
		return all, nil
	}
	switch {
	case a.running():
		return m.GetDuring(), nil
	case a.submitted():
		return m.GetAfter(), nil
	default:
		return &assessmentpb.ReviewParts{}, nil
	}
}

// attemptChanged is told in the transaction whenever the result of an attempt has
// changed, whose row it holds locked: it was submitted, scored, marked or scored
// anew.
func (s *Service) attemptChanged(context.Context, *pg.Tx, *attempt, string) error { return nil }

// questionKey names a version of a question.
type questionKey struct {
	id      string
	version int32
}

// question returns a version of a question, read for a version of the engine.
func (s *Service) question(ctx context.Context, q pg.Querier, key questionKey, engine int) (*question.Question, error) {
	if out, ok := s.questions.GetIfPresent(compiledKey{key, engine}); ok {
		return out, nil
	}
	var body []byte
	if err := q.QueryRow(ctx, `SELECT body FROM question_version WHERE question_id = $1 AND version = $2`, key.id, key.version).Scan(&body); err != nil {
		return nil, fmt.Errorf("read version %d of %s: %w", key.version, key.id, err)
	}
	content := &questionpb.QuestionContent{}
	if err := proto.Unmarshal(body, content); err != nil {
		return nil, fmt.Errorf("read version %d of %s: %w", key.version, key.id, err)
	}
	out, err := question.Compile(content, engine)
	if err != nil {
		return nil, fmt.Errorf("read version %d of %s: %w", key.version, key.id, err)
	}
	s.questions.Set(compiledKey{key, engine}, out)
	return out, nil
}

type compiledKey struct {
	questionKey

	engine int
}

// instance returns a question as it is in an attempt.
func (s *Service) instance(ctx context.Context, q pg.Querier, key questionKey, engine int, seed question.Seed) (*question.Instance, error) {
	of, err := s.question(ctx, q, key, engine)
	if err != nil {
		return nil, err
	}
	return of.Instance(seed)
}
