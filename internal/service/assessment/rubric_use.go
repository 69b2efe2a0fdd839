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
	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// rubricUses returns what is marked by a rubric.
func rubricUses(ctx context.Context, q pg.Querier, rubricID string) ([]*assessmentpb.RubricUse, error) {
	rows, err := q.Query(ctx, `SELECT target_id, question_id, purpose FROM rubric_use WHERE rubric_id = $1 ORDER BY target_id, question_id, purpose LIMIT 100`, rubricID)
	if err != nil {
		return nil, fmt.Errorf("uses of rubric: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.RubricUse, error) {
		var to rubricTarget
		err := row.Scan(&to.id, &to.question, &to.purpose)
		return to.message(rubricID), err
	})
	if err != nil {
		return nil, fmt.Errorf("uses of rubric: %w", err)
	}
	return list, nil
}

// purposePeers is that of a rubric by which students review each other's work.
const purposePeers = "peer_review"

// rubricTarget is what a rubric is attached to.
type rubricTarget struct {
	id       string // a quiz, or an assignment
	question string // of the quiz
	purpose  string // of an assignment: empty, or purposePeers
}

func (t rubricTarget) message(rubricID string) *assessmentpb.RubricUse {
	if strings.HasPrefix(t.id, "assignment_") {
		return &assessmentpb.RubricUse{RubricId: rubricID, AssignmentId: t.id, Purpose: t.purpose}
	}
	return &assessmentpb.RubricUse{RubricId: rubricID, QuizId: t.id, QuestionId: t.question}
}

// state is what the audit log says of it.
func (t rubricTarget) state() map[string]any {
	return map[string]any{"target": t.id, "question": t.question, "purpose": t.purpose}
}

// targetOf returns what a rubric is attached to.
func targetOf(quizID, questionID, assignmentID, purpose string) (rubricTarget, error) {
	switch {
	case assignmentID != "" && quizID == "" && questionID == "":
		return rubricTarget{id: assignmentID, purpose: purpose}, nil
	case assignmentID == "" && quizID != "" && questionID != "" && purpose == "":
		return rubricTarget{id: quizID, question: questionID}, nil
	default:
		return rubricTarget{}, fault.InvalidField("quiz_id", "rubric.target_not_found", "Name a quiz and one of its questions, or an assignment.")
	}
}

// AttachRubric implements [assessmentpb.RubricServiceServer].
func (h *rubricServer) AttachRubric(ctx context.Context, req *assessmentpb.AttachRubricRequest) (*assessmentpb.RubricUse, error) {
	to, err := targetOf(req.GetQuizId(), req.GetQuestionId(), req.GetAssignmentId(), req.GetPurpose())
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
				OR EXISTS (SELECT FROM assignment WHERE course_id = $1 AND id = $2 AND deleted_at IS NULL AND $3 = '')`, r.CourseID, to.id, to.question).Scan(&there); err != nil {
			return nil, fmt.Errorf("target of rubric: %w", err)
		}
		if !there {
			return nil, fault.InvalidField("quiz_id", "rubric.target_not_found", "The course has no such assignment, and no quiz that asks this question.")
		}
		if err := attach(ctx, tx, to, r.CourseID, r.ID); err != nil {
			return nil, err
		}
		return to.message(r.ID), audit.Record(ctx, tx, audit.Entry{Action: "rubric.attached", Object: r.ID, Course: r.CourseID, After: to.state()})
	})
}

// attach has something marked by a rubric, in place of another one.
func attach(ctx context.Context, tx *pg.Tx, to rubricTarget, courseID, rubricID string) error {
	if _, err := tx.Exec(ctx, `
		INSERT INTO rubric_use (target_id, question_id, purpose, course_id, rubric_id) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT ON CONSTRAINT rubric_use_pkey DO UPDATE SET rubric_id = EXCLUDED.rubric_id`, to.id, to.question, to.purpose, courseID, rubricID); err != nil {
		return fmt.Errorf("attach rubric: %w", err)
	}
	return nil
}

// DetachRubric implements [assessmentpb.RubricServiceServer].
func (h *rubricServer) DetachRubric(ctx context.Context, req *assessmentpb.DetachRubricRequest) (*emptypb.Empty, error) {
	to, err := targetOf(req.GetQuizId(), req.GetQuestionId(), req.GetAssignmentId(), req.GetPurpose())
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, h.service.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		r, err := readRubric(ctx, tx, req.GetCourseId(), req.GetRubricId(), "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		tag, err := tx.Exec(ctx, `DELETE FROM rubric_use WHERE target_id = $1 AND question_id = $2 AND purpose = $3 AND rubric_id = $4`, to.id, to.question, to.purpose, r.ID)
		if err != nil {
			return nil, fmt.Errorf("detach rubric: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil, ErrRubricNotFound
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{Action: "rubric.detached", Object: r.ID, Course: r.CourseID, Before: to.state()})
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

// rubricFor returns by what something is marked now, nil for nothing.
func rubricFor(ctx context.Context, q pg.Querier, to rubricTarget) (*assessmentpb.RubricVersion, error) {
	list, err := rubricVersions(ctx, q, `
		SELECT `+versionColumns+` FROM rubric_use u JOIN rubric r ON r.id = u.rubric_id JOIN rubric_version v ON v.rubric_id = r.id AND v.version = r.version
		WHERE u.target_id = $1 AND u.question_id = $2 AND u.purpose = $3`, to.id, to.question, to.purpose)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// shownRubric returns a rubric as students see it: without what markers alone do.
func shownRubric(v *assessmentpb.RubricVersion) *assessmentpb.RubricVersion {
	if v == nil {
		return nil
	}
	out := proto.CloneOf(v)
	out.PublishedBy, out.Content.Comments = "", nil
	for _, c := range out.GetContent().GetCriteria() {
		c.MarkerNotes = ""
	}
	return out
}

// chosenIn returns what was chosen in the rubric by which something is marked now: of its
// points the fraction of those that the rubric can give.
func chosenIn(ctx context.Context, q pg.Querier, to rubricTarget, chosen *assessmentpb.RubricMarks) (exact.Number, error) {
	version, err := rubricFor(ctx, q, to)
	switch {
	case err != nil:
		return exact.Number{}, err
	case version == nil || version.GetRubricId() != chosen.GetRubricId():
		return exact.Number{}, ErrRubricNotAttached
	case version.GetVersion() != chosen.GetVersion():
		return exact.Number{}, ErrRubricOutdated
	}
	got, of, err := rubricPoints(version.GetContent(), chosen)
	if err != nil {
		return exact.Number{}, err
	}
	return got.Div(of), nil
}

// byRubric makes a mark of what was chosen in the rubric by which an answer is marked.
func (m *markable) byRubric(ctx context.Context, tx *pg.Tx, given *markRecord, chosen *assessmentpb.RubricMarks) error {
	fraction, err := chosenIn(ctx, tx, rubricTarget{id: m.attempt.QuizID, question: m.slot.QuestionID}, chosen)
	if err != nil {
		return err
	}
	given.Fraction = new(fraction.String())
	given.Rubric, err = proto.MarshalOptions{Deterministic: true}.Marshal(chosen)
	return err
}

// rubricResults returns what marks by rubrics say of the questions of an attempt, where
// those are the marks that count.
func rubricResults(ctx context.Context, q pg.Querier, attempt string, marks bool) (map[int32]*assessmentpb.RubricResult, error) {
	list, err := collectMarks(ctx, q, `
		SELECT DISTINCT ON (slot) `+markColumns+` FROM answer_mark m
		WHERE attempt_id = $1 AND `+holdingSQL+` AND (withdrawn OR points IS NOT NULL OR fraction IS NOT NULL) ORDER BY slot, seq DESC`, attempt)
	if err != nil {
		return nil, err
	}
	chosen := make([]*assessmentpb.RubricMarks, len(list))
	for i, m := range list {
		chosen[i] = m.rubric
	}
	results, err := resultsOf(ctx, q, chosen, marks)
	if err != nil {
		return nil, err
	}
	out := map[int32]*assessmentpb.RubricResult{}
	for i, m := range list {
		if results[i] != nil {
			out[m.Slot] = results[i]
		}
	}
	return out, nil
}

// resultsOf returns what marks by rubrics say, in their order, each by the version by
// which it was given; nil where there is none.
func resultsOf(ctx context.Context, q pg.Querier, chosen []*assessmentpb.RubricMarks, marks bool) ([]*assessmentpb.RubricResult, error) {
	out := make([]*assessmentpb.RubricResult, len(chosen))
	var ids []string
	var numbers []int32
	for _, c := range chosen {
		if c != nil {
			ids, numbers = append(ids, c.GetRubricId()), append(numbers, c.GetVersion())
		}
	}
	if ids == nil {
		return out, nil
	}
	versions, err := rubricVersions(ctx, q, `
		SELECT DISTINCT ON (v.rubric_id, v.version) `+versionColumns+`
		FROM unnest($1::text[], $2::int[]) AS n (id, version) JOIN rubric_version v ON v.rubric_id = n.id AND v.version = n.version`, ids, numbers)
	if err != nil {
		return nil, err
	}
	for i, c := range chosen {
		for _, v := range versions {
			if c != nil && v.GetRubricId() == c.GetRubricId() && v.GetVersion() == c.GetVersion() {
				out[i] = rubricResult(v, c, marks)
			}
		}
	}
	return out, nil
}
