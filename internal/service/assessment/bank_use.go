package assessment

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// maxUses is how many quizzes are told that use a question.
const maxUses = 200

// ListQuestionUses implements assessmentpb.BankServiceServer.
func (r *bankServer) ListQuestionUses(ctx context.Context, req *assessmentpb.ListQuestionUsesRequest) (*assessmentpb.ListQuestionUsesResponse, error) {
	s := r.service
	q, err := readQuestion(ctx, s.db, req.GetCourseId(), req.GetQuestionId(), 0, false)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `
		SELECT z.course_id, z.id, z.title, u.draft, u.published_version FROM quiz_question u JOIN quiz z ON z.id = u.quiz_id
		WHERE u.question_id = $1 AND z.deleted_at IS NULL ORDER BY z.id DESC LIMIT $2`, q.ID, 10*maxUses)
	if err != nil {
		return nil, err
	}
	uses, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.QuestionUse, error) {
		var u assessmentpb.QuestionUse
		return &u, row.Scan(&u.CourseId, &u.QuizId, &u.Title, &u.Draft, &u.PublishedVersion)
	})
	if err != nil {
		return nil, err
	}
	if uses, err = addDraws(ctx, s.db, q, uses); err != nil {
		return nil, err
	}
	courses := []string{req.GetCourseId()}
	for _, u := range uses {
		if !slices.Contains(courses, u.GetCourseId()) {
			courses = append(courses, u.GetCourseId())
		}
	}
	reads, err := s.mayOn(ctx, courses[1:], "question.read")
	if err != nil {
		return nil, err
	}
	reads[req.GetCourseId()] = true
	res := &assessmentpb.ListQuestionUsesResponse{}
	for _, u := range uses {
		if reads[u.GetCourseId()] && len(res.GetItems()) < maxUses {
			res.Items = append(res.Items, u)
		} else {
			res.Others++
		}
	}
	res.Attempts, err = attemptsWith(ctx, s.db, q.ID)
	return res, err
}

// addDraws adds the quizzes whose drafts may draw a question: from its category or one
// above it, by its tags.
func addDraws(ctx context.Context, db pg.Querier, q bankQuestion, uses []*assessmentpb.QuestionUse) ([]*assessmentpb.QuestionUse, error) {
	if q.CategoryID == "" || q.Kind == "description" {
		return uses, nil
	}
	rows, err := db.Query(ctx, `
		WITH RECURSIVE above AS (
			SELECT id, parent_id FROM question_category WHERE id = $1
			UNION SELECT c.id, c.parent_id FROM question_category c JOIN above a ON c.id = a.parent_id)
		SELECT z.course_id, z.id, z.title, z.draft, array_agg(u.category_id) FROM quiz_category u JOIN above a ON a.id = u.category_id
		JOIN quiz z ON z.id = u.quiz_id WHERE z.deleted_at IS NULL GROUP BY z.id ORDER BY z.id DESC LIMIT $2`, q.CategoryID, 10*maxUses)
	if err != nil {
		return nil, err
	}
	var (
		use   assessmentpb.QuestionUse
		draft []byte
		above []string
	)
	_, err = pgx.ForEachRow(rows, []any{&use.CourseId, &use.QuizId, &use.Title, &draft, &above}, func() error {
		var settings assessmentpb.QuizSettings
		if err := proto.Unmarshal(draft, &settings); err != nil {
			return err
		}
		draws := false
		eachSlot(&settings, func(_ string, _ int, slot *assessmentpb.QuizSlot) {
			d := slot.GetDraw()
			in := d.GetCategoryId() == q.CategoryID || d.GetDeep() && slices.Contains(above, d.GetCategoryId())
			draws = draws || d != nil && in && !slices.ContainsFunc(d.GetTags(), func(tag string) bool { return !slices.Contains(q.Tags, tag) })
		})
		if !draws {
			return nil
		}
		i := slices.IndexFunc(uses, func(u *assessmentpb.QuestionUse) bool { return u.GetQuizId() == use.GetQuizId() })
		if i < 0 {
			i = len(uses)
			uses = append(uses, &assessmentpb.QuestionUse{CourseId: use.GetCourseId(), QuizId: use.GetQuizId(), Title: use.GetTitle()})
		}
		uses[i].DraftDraws = true
		return nil
	})
	return uses, err
}

// mayOn says on which of some courses the caller holds a permission.
func (s *Service) mayOn(ctx context.Context, courses []string, permission string) (map[string]bool, error) {
	out := make(map[string]bool, len(courses)+1)
	for batch := range slices.Chunk(courses, 100) {
		req := &accesspb.ResolvePermissionsRequest{}
		for _, courseID := range batch {
			req.Subjects = append(req.Subjects, &accesspb.ResolvePermissionsRequest_Subject{AccountId: auth.From(ctx).Account, CourseId: courseID})
		}
		res, err := s.access.ResolvePermissions(ctx, req)
		if err != nil {
			return nil, err
		}
		for i, courseID := range batch {
			out[courseID] = slices.Contains(res.GetAnswers()[i].GetPermissions(), permission) && auth.From(ctx).MayUse(permission)
		}
	}
	return out, nil
}

// attemptsWith counts the attempts that have a question, in whatever version, without
// previews.
func attemptsWith(ctx context.Context, q pg.Querier, questionID string) (n int64, err error) {
	err = q.QueryRow(ctx, `
		SELECT count(*) FROM attempt_question q JOIN attempt a ON a.id = q.attempt_id WHERE q.question_id = $1 AND NOT a.preview`, questionID).Scan(&n)
	return n, err
}
