package assessment

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// rubricUses returns what is marked by a rubric.
func rubricUses(ctx context.Context, q pg.Querier, rubricID string) ([]*assessmentpb.RubricUse, error) {
	rows, err := q.Query(ctx, `SELECT target_id, question_id FROM rubric_use WHERE rubric_id = $1 ORDER BY target_id, question_id LIMIT 100`, rubricID)
	if err != nil {
		return nil, fmt.Errorf("uses of rubric: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.RubricUse, error) {
		var target, question string
		err := row.Scan(&target, &question)
		return useOf(rubricID, target, question), err
	})
	if err != nil {
		return nil, fmt.Errorf("uses of rubric: %w", err)
	}
	return list, nil
}

func useOf(rubricID, target, question string) *assessmentpb.RubricUse {
	if strings.HasPrefix(target, "assignment_") {
		return &assessmentpb.RubricUse{RubricId: rubricID, AssignmentId: target}
	}
	return &assessmentpb.RubricUse{RubricId: rubricID, QuizId: target, QuestionId: question}
}

// targetOf returns what a rubric is attached to.
func targetOf(quizID, questionID, assignmentID string) (target, question string, err error) {
	switch {
	case assignmentID != "" && quizID == "" && questionID == "":
		return assignmentID, "", nil
	case assignmentID == "" && quizID != "" && questionID != "":
		return quizID, questionID, nil
	default:
		return "", "", fault.InvalidField("quiz_id", "rubric.target_not_found", "Name a quiz and one of its questions, or an assignment.")
	}
}

// AttachRubric implements [assessmentpb.RubricServiceServer].
func (h *rubricServer) AttachRubric(ctx context.Context, req *assessmentpb.AttachRubricRequest) (*assessmentpb.RubricUse, error) {
	target, question, err := targetOf(req.GetQuizId(), req.GetQuestionId(), req.GetAssignmentId())
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, h.service.db, req, func(tx *pg.Tx) (*assessmentpb.RubricUse, error) {
		r, err := readRubric(ctx, tx, req.GetCourseId(), req.GetRubricId(), "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		if r.Version == 0 {
			return nil, ErrRubricNotPublished
		}
		var there bool
		if err := tx.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM quiz z JOIN quiz_question u ON u.quiz_id = z.id WHERE z.id = $2 AND z.course_id = $1 AND z.deleted_at IS NULL AND u.question_id = $3)
				OR EXISTS (SELECT FROM placement WHERE course_id = $1 AND ref = $2 AND kind = 'assignment' AND $3 = '')`, r.CourseID, target, question).Scan(&there); err != nil {
			return nil, fmt.Errorf("target of rubric: %w", err)
		}
		if !there {
			return nil, fault.InvalidField("quiz_id", "rubric.target_not_found", "The course has no such assignment, and no quiz that asks this question.")
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO rubric_use (target_id, question_id, course_id, rubric_id) VALUES ($1, $2, $3, $4)
			ON CONFLICT ON CONSTRAINT rubric_use_pkey DO UPDATE SET rubric_id = EXCLUDED.rubric_id`, target, question, r.CourseID, r.ID); err != nil {
			return nil, fmt.Errorf("attach rubric: %w", err)
		}
		return useOf(r.ID, target, question), audit.Record(ctx, tx, audit.Entry{
			Action: "rubric.attached", Object: r.ID, Course: r.CourseID, After: map[string]any{"target": target, "question": question},
		})
	})
}

// DetachRubric implements [assessmentpb.RubricServiceServer].
func (h *rubricServer) DetachRubric(ctx context.Context, req *assessmentpb.DetachRubricRequest) (*emptypb.Empty, error) {
	target, question, err := targetOf(req.GetQuizId(), req.GetQuestionId(), req.GetAssignmentId())
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, h.service.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		r, err := readRubric(ctx, tx, req.GetCourseId(), req.GetRubricId(), "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		tag, err := tx.Exec(ctx, `DELETE FROM rubric_use WHERE target_id = $1 AND question_id = $2 AND rubric_id = $3`, target, question, r.ID)
		if err != nil {
			return nil, fmt.Errorf("detach rubric: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil, ErrRubricNotFound
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{
			Action: "rubric.detached", Object: r.ID, Course: r.CourseID, Before: map[string]any{"target": target, "question": question},
		})
	})
}

// versionRow reads a version of a rubric.
func versionRow(row pgx.CollectableRow) (*assessmentpb.RubricVersion, error) {
	out := &assessmentpb.RubricVersion{Content: &assessmentpb.RubricContent{}}
	var content []byte
	var at time.Time
	if err := row.Scan(&out.RubricId, &out.Version, &out.Title, &content, &out.PublishedBy, &at); err != nil {
		return nil, err
	}
	out.PublishedAt = timestamppb.New(at)
	return out, proto.Unmarshal(content, out.GetContent())
}

const versionColumns = `v.rubric_id, v.version, v.title, v.content, v.created_by, v.created_at`

func rubricVersions(ctx context.Context, q pg.Querier, sql string, args ...any) ([]*assessmentpb.RubricVersion, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read rubrics: %w", err)
	}
	list, err := pgx.CollectRows(rows, versionRow)
	if err != nil {
		return nil, fmt.Errorf("read rubrics: %w", err)
	}
	return list, nil
}

// GetRubricVersion implements [assessmentpb.RubricServiceServer].
func (h *rubricServer) GetRubricVersion(ctx context.Context, req *assessmentpb.GetRubricVersionRequest) (*assessmentpb.RubricVersion, error) {
	list, err := rubricVersions(ctx, h.service.db, `
		SELECT `+versionColumns+` FROM rubric_version v JOIN rubric r ON r.id = v.rubric_id WHERE r.course_id = $1 AND r.id = $2 AND v.version = $3`,
		req.GetCourseId(), req.GetRubricId(), req.GetVersion())
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrRubricNotFound
	}
	return list[0], nil
}

// rubricFor returns by what answers to a question of a quiz are marked now, nil for
// nothing.
func rubricFor(ctx context.Context, q pg.Querier, target, question string) (*assessmentpb.RubricVersion, error) {
	list, err := rubricVersions(ctx, q, `
		SELECT `+versionColumns+` FROM rubric_use u JOIN rubric r ON r.id = u.rubric_id JOIN rubric_version v ON v.rubric_id = r.id AND v.version = r.version
		WHERE u.target_id = $1 AND u.question_id = $2`, target, question)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// byRubric makes a mark of what was chosen in the rubric by which an answer is marked.
func (m *markable) byRubric(ctx context.Context, tx *pg.Tx, given *markRecord, chosen *assessmentpb.RubricMarks) error {
	version, err := rubricFor(ctx, tx, m.attempt.QuizID, m.slot.QuestionID)
	switch {
	case err != nil:
		return err
	case version == nil || version.GetRubricId() != chosen.GetRubricId():
		return ErrRubricNotAttached
	case version.GetVersion() != chosen.GetVersion():
		return ErrRubricOutdated
	}
	got, of, err := rubricPoints(version.GetContent(), chosen)
	if err != nil {
		return err
	}
	given.Fraction = new(got.Div(of).String())
	given.Rubric, err = proto.MarshalOptions{Deterministic: true}.Marshal(chosen)
	return err
}

// rubricResults returns what marks by rubrics say of the questions of an attempt, where
// those are the marks that count.
func rubricResults(ctx context.Context, q pg.Querier, attempt string, marks bool) (map[int32]*assessmentpb.RubricResult, error) {
	list, err := collectMarks(ctx, q, `
		SELECT DISTINCT ON (slot) `+markColumns+` FROM answer_mark
		WHERE attempt_id = $1 AND (withdrawn OR points IS NOT NULL OR fraction IS NOT NULL) ORDER BY slot, seq DESC`, attempt)
	if err != nil {
		return nil, err
	}
	var ids []string
	var numbers []int32
	for _, m := range list {
		if m.rubric != nil {
			ids, numbers = append(ids, m.rubric.GetRubricId()), append(numbers, m.rubric.GetVersion())
		}
	}
	if ids == nil {
		return nil, nil //nolint:nilnil // none is an answer
	}
	versions, err := rubricVersions(ctx, q, `
		SELECT DISTINCT ON (v.rubric_id, v.version) `+versionColumns+`
		FROM unnest($1::text[], $2::int[]) AS n (id, version) JOIN rubric_version v ON v.rubric_id = n.id AND v.version = n.version`, ids, numbers)
	if err != nil {
		return nil, err
	}
	out := map[int32]*assessmentpb.RubricResult{}
	for _, m := range list {
		for _, v := range versions {
			if m.rubric != nil && v.GetRubricId() == m.rubric.GetRubricId() && v.GetVersion() == m.rubric.GetVersion() {
				if out[m.Slot], err = rubricResult(v, m.rubric, marks); err != nil {
					return nil, err
				}
			}
		}
	}
	return out, nil
}
