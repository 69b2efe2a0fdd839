package assessment

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// PublishQuiz implements assessmentpb.QuizServiceServer.
func (r *quizServer) PublishQuiz(ctx context.Context, req *assessmentpb.PublishQuizRequest) (*assessmentpb.Quiz, error) {
	s := r.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.Quiz, error) {
		z, err := readQuiz(ctx, tx, req.GetCourseId(), req.GetQuizId(), "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		if err := z.match(ctx, s.time()); err != nil {
			return nil, err
		}
		before := z.state()
		made, err := s.publishQuiz(ctx, tx, &z, req.GetMessage())
		if err != nil {
			return nil, err
		}
		if !made && z.Revision == z.PublishedRevision {
			tx.Exempt("what is published is what there was")
			return z.message(true)
		}
		if _, err := tx.Exec(ctx, `UPDATE quiz SET version = $2, published_revision = $3 WHERE id = $1`, z.ID, z.Version, z.Revision); err != nil {
			return nil, fmt.Errorf("publish quiz: %w", err)
		}
		z.PublishedRevision = z.Revision
		if err := audit.Record(ctx, tx, audit.Entry{Action: "quiz.published", Object: z.ID, Course: z.CourseID, Before: before, After: z.state()}); err != nil {
			return nil, err
		}
		return z.message(true)
	})
}

// publishQuiz makes a version of the draft of a locked quiz, and reports whether it
// differs from the last one: otherwise there is no new one.
func (s *Service) publishQuiz(ctx context.Context, tx *pg.Tx, z *quiz, message string) (bool, error) {
	d, err := s.fixedDraft(ctx, tx, *z)
	if err != nil {
		return false, err
	}
	if d.settings.GetExam().GetLockdown() {
		var keyed bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM lockdown_key WHERE quiz_id = $1)`, z.ID).Scan(&keyed); err != nil {
			return false, fmt.Errorf("keys of quiz: %w", err)
		}
		if !keyed {
			return false, ErrLockdownKeyless
		}
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(d.settings)
	if err != nil {
		return false, err
	}
	var last []byte
	var title string
	err = tx.QueryRow(ctx, `SELECT settings, title FROM quiz_version WHERE quiz_id = $1 AND version = $2`, z.ID, z.Version).Scan(&last, &title)
	if err != nil && !pg.NoRows(err) {
		return false, fmt.Errorf("last version of quiz: %w", err)
	}
	if err == nil && bytes.Equal(last, text) && title == z.Title {
		return false, nil
	}
	z.Version++
	if _, err := tx.Exec(ctx, `
		INSERT INTO quiz_version (quiz_id, version, title, settings, message, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		z.ID, z.Version, z.Title, text, message, auth.From(ctx).Account, s.time()); err != nil {
		return false, fmt.Errorf("insert version of quiz: %w", err)
	}
	if err := d.storePublished(ctx, tx, z.ID); err != nil {
		return false, err
	}
	// What was made ahead is of the version before.
	if err := dropPrepared(ctx, tx, `quiz_id = $1`, z.ID); err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, `
		UPDATE quiz_preparation p SET after_id = '', next_at = $2 FROM placement l
		WHERE l.ref = $1 AND l.course_id = p.course_id AND l.item_id = p.item_id`, z.ID, s.time()); err != nil {
		return false, fmt.Errorf("prepare anew: %w", err)
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO quiz_remark (quiz_id) SELECT $1 WHERE EXISTS (SELECT FROM quiz_mark WHERE quiz_id = $1) ON CONFLICT ON CONSTRAINT quiz_remark_pkey DO NOTHING`, z.ID); err != nil {
		return false, fmt.Errorf("mark anew: %w", err)
	}
	tx.AfterCommit(s.wakePreparing)
	return true, nil
}

// fixedDraft returns the draft of a quiz with exact versions of questions.
func (s *Service) fixedDraft(ctx context.Context, tx *pg.Tx, z quiz) (draft, error) {
	drafted, err := z.settings()
	if err != nil {
		return draft{}, err
	}
	d, err := newDraft(drafted)
	if err != nil {
		return draft{}, err
	}
	if d.count == 0 {
		return draft{}, ErrQuizEmpty
	}
	if err := d.checkIn(ctx, tx, z.CourseID); err != nil {
		return draft{}, err
	}
	from, err := banks(ctx, tx, z.CourseID)
	if err != nil {
		return draft{}, err
	}
	return d, d.fix(ctx, tx, from)
}

// fix replaces what the draft names by exact versions of questions, and what it draws
// by the questions that there are.
func (d *draft) fix(ctx context.Context, tx *pg.Tx, from []string) error {
	pins, err := d.pin(ctx, tx, from)
	if err != nil {
		return err
	}
	fixed := make([]string, 0, len(d.fixed))
	for questionID, q := range d.fixed {
		p := pins[questionID]
		q.Version, q.Kind = p.Version, p.Kind
		if q.Points, err = pointsOf(p.Kind, p.Body); err != nil {
			return err
		}
		fixed = append(fixed, questionID)
	}
	var bad quizFields
	total := 0
	eachSlot(d.settings, func(path string, _ int, slot *assessmentpb.QuizSlot) {
		draw := slot.GetDraw()
		if draw == nil || err != nil || total > maxDrawnFrom {
			return
		}
		draw.DrawnFrom, err = drawable(ctx, tx, from, draw, fixed, slot.GetPoints() == "", maxDrawnFrom-total+1)
		switch total += len(draw.GetDrawnFrom()); {
		case err != nil:
		case total > maxDrawnFrom:
			bad.add(path+".draw", "quiz.pool_too_large", "All draws of a quiz together draw from at most %d questions. Name tags to draw from fewer.", maxDrawnFrom)
		case len(draw.GetDrawnFrom()) < int(draw.GetCount()):
			bad.add(path+".draw.count", "quiz.pool_too_small", "There are %d questions to draw %d from, without those that are asked anyway.", len(draw.GetDrawnFrom()), draw.GetCount())
		}
	})
	if err != nil {
		return err
	}
	if len(bad) == 0 {
		d.checkDraws(&bad)
	}
	if len(bad) == 0 {
		return nil
	}
	return &fault.Error{Kind: fault.Invalid, Code: bad[0].Code, Message: "There are not the right number of questions to draw from.", Fields: bad}
}

// checkDraws looks whether all draws can be had at once, none twice.
func (d *draft) checkDraws(bad *quizFields) {
	v := newQuizVersion("", "", 0, "", d.settings)
	if !v.overlap {
		return
	}
	_, lacking := v.drawAll(0, nil)
	if lacking < 0 {
		return
	}
	at := 0
	eachSlot(d.settings, func(path string, _ int, slot *assessmentpb.QuizSlot) {
		if slot.GetDraw() == nil {
			return
		}
		if at == lacking {
			bad.add(path+".draw.count", "quiz.pool_too_small", "Other draws need the same questions: all of them together can't be had without asking one twice.")
		}
		at++
	})
}

// pointsOf returns what a question is worth by itself, as a decimal.
func pointsOf(kind string, body []byte) (string, error) {
	content := &questionpb.QuestionContent{}
	if kind == "description" {
		return "0", nil
	}
	if err := proto.Unmarshal(body, content); err != nil {
		return "", fmt.Errorf("stored question: %w", err)
	}
	n, err := exact.Parse(orElse(content.GetPoints(), "1"))
	return n.String(), err
}

// drawable returns the questions that a draw can draw from, in their current versions,
// without those that are asked anyway and such as ask nothing; at most limit. Their
// points are read where they are wanted.
func drawable(ctx context.Context, q pg.Querier, from []string, draw *assessmentpb.QuestionDraw, without []string, points bool, limit int) ([]*assessmentpb.FixedQuestion, error) {
	rows, err := q.Query(ctx, `
		WITH RECURSIVE wanted AS (
			SELECT id FROM question_category WHERE id = $1 AND course_id = ANY ($2)
			UNION SELECT c.id FROM question_category c JOIN wanted w ON c.parent_id = w.id WHERE $3)
		SELECT q.id, q.version, v.kind, CASE WHEN $4 THEN v.body ELSE '' END
		FROM question q JOIN question_version v ON v.question_id = q.id AND v.version = q.version
		WHERE q.category_id IN (SELECT id FROM wanted) AND q.deleted_at IS NULL AND q.tags @> $5 AND q.id <> ALL ($6) AND v.kind <> 'description'
		ORDER BY q.id LIMIT $7`, draw.GetCategoryId(), from, draw.GetDeep(), points, draw.GetTags(), without, limit)
	if err != nil {
		return nil, fmt.Errorf("questions to draw from: %w", err)
	}
	// One after the other: together they may be large.
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.FixedQuestion, error) {
		one := &assessmentpb.FixedQuestion{}
		var body []byte
		if err := row.Scan(&one.QuestionId, &one.Version, &one.Kind, &body); err != nil || !points {
			return one, err
		}
		one.Points, err = pointsOf(one.GetKind(), body)
		return one, err
	})
	if err != nil {
		return nil, fmt.Errorf("questions to draw from: %w", err)
	}
	return list, nil
}

// storePublished notes which questions the version that is published asks or may draw.
func (d *draft) storePublished(ctx context.Context, tx *pg.Tx, quizID string) error {
	versions := map[string]int32{}
	eachSlot(d.settings, func(_ string, _ int, slot *assessmentpb.QuizSlot) {
		if q := slot.GetQuestion(); q != nil {
			versions[q.GetQuestionId()] = q.GetVersion()
		}
		for _, q := range slot.GetDraw().GetDrawnFrom() {
			versions[q.GetQuestionId()] = q.GetVersion()
		}
	})
	ids, numbers := make([]string, 0, len(versions)), make([]string, 0, len(versions))
	for questionID, version := range versions {
		ids, numbers = append(ids, questionID), append(numbers, strconv.Itoa(int(version)))
	}
	if _, err := tx.Exec(ctx, `
		WITH asked AS (SELECT * FROM unnest($2::text[], $3::text[]) AS a (question_id, version)), gone AS (
			DELETE FROM quiz_question u WHERE quiz_id = $1 AND NOT draft AND NOT EXISTS (SELECT FROM asked a WHERE a.question_id = u.question_id)
		), kept AS (
			UPDATE quiz_question u SET published_version = 0 WHERE quiz_id = $1 AND draft AND published_version > 0 AND NOT EXISTS (SELECT FROM asked a WHERE a.question_id = u.question_id)
		)
		INSERT INTO quiz_question (quiz_id, question_id, draft, published_version) SELECT $1, question_id, false, version::int FROM asked ORDER BY question_id
		ON CONFLICT ON CONSTRAINT quiz_question_pkey DO UPDATE SET published_version = EXCLUDED.published_version`, quizID, ids, numbers); err != nil {
		return fmt.Errorf("uses of version: %w", err)
	}
	return nil
}
