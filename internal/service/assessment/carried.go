package assessment

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-lms/stoa/internal/auth/authpb"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// Bounds of what is taken along in an archive of a course.
const (
	maxCarriedQuestions = 10_000
	maxCarriedBytes     = 64 << 20
)

// Errors of taking quizzes and assignments along.
var (
	ErrCarriedTooLarge = fault.New(fault.Invalid, "activities.too_large", "At most %d questions, of %d MiB together, are taken along.", maxCarriedQuestions, maxCarriedBytes>>20)
	ErrNotStaged       = fault.New(fault.Conflict, "activities.not_staged", "The course has quizzes or assignments already.")
)

// carryServer takes quizzes and assignments along.
type carryServer struct {
	assessmentpb.UnimplementedCarryServiceServer

	service *Service
}

// carrying is what is about to be sent.
type carrying struct {
	courseID   string
	banks      []string
	quizzes    []quiz
	drafts     []draft // of the quizzes
	assigned   []assignment
	categories []category                               // parents first
	called     map[string]string                        // categories
	questions  []*assessmentpb.ExportActivitiesResponse // in the order to send
	versions   map[questionKey]string                   // what questions are called
	sent       map[string]bool                          // questions, as they are called
	rubrics    carriedRubrics
	bytes      int
}

// ExportActivities implements assessmentpb.CarryServiceServer.
func (h *carryServer) ExportActivities(req *assessmentpb.ExportActivitiesRequest, stream grpc.ServerStreamingServer[assessmentpb.ExportActivitiesResponse]) error {
	ctx, s := stream.Context(), h.service
	c := &carrying{courseID: req.GetCourseId(), called: map[string]string{}, versions: map[questionKey]string{}, sent: map[string]bool{}}
	for _, step := range []func(context.Context, *carrying, *assessmentpb.ExportActivitiesRequest) error{s.readCarried, s.carryCategories, s.carryQuestions, s.carryRubrics} {
		if err := step(ctx, c, req); err != nil {
			return err
		}
	}
	for _, one := range c.categories {
		if err := stream.Send(&assessmentpb.ExportActivitiesResponse{Carried: &assessmentpb.ExportActivitiesResponse_Category{
			Category: &assessmentpb.CarriedCategory{CategoryId: one.ID, ParentId: one.ParentID, Name: one.Name},
		}}); err != nil {
			return err
		}
	}
	for _, q := range c.questions {
		if err := stream.Send(q); err != nil {
			return err
		}
	}
	for _, r := range c.rubrics.list {
		if err := stream.Send(&assessmentpb.ExportActivitiesResponse{Carried: &assessmentpb.ExportActivitiesResponse_Rubric{Rubric: r}}); err != nil {
			return err
		}
	}
	for i, z := range c.quizzes {
		uses := c.usesOf(z.ID, c.drafts[i].settings)
		settings, leftOut := c.settings(c.drafts[i].settings)
		if err := stream.Send(&assessmentpb.ExportActivitiesResponse{MediaCourseId: c.courseID, LeftOut: leftOut, Carried: &assessmentpb.ExportActivitiesResponse_Quiz{
			Quiz: &assessmentpb.CarriedQuiz{QuizId: z.ID, Title: z.Title, Published: z.Version > 0 && z.Revision == z.PublishedRevision && leftOut == 0, Settings: settings, Rubrics: uses},
		}}); err != nil {
			return err
		}
	}
	for _, a := range c.assigned {
		settings, err := a.settings()
		if err != nil {
			return err
		}
		onlyOwn(settings.ProtoReflect())
		one := &assessmentpb.CarriedAssignment{AssignmentId: a.ID, Title: a.Title, Published: a.Version > 0 && a.Revision == a.PublishedRevision, Settings: settings}
		for _, u := range c.rubrics.uses[a.ID] {
			if u.Purpose == purposePeers {
				one.PeerRubricId = u.RubricID
			} else {
				one.RubricId = u.RubricID
			}
		}
		if err := stream.Send(&assessmentpb.ExportActivitiesResponse{MediaCourseId: c.courseID, Carried: &assessmentpb.ExportActivitiesResponse_Assignment{Assignment: one}}); err != nil {
			return err
		}
	}
	return nil
}

// readCarried reads the quizzes and assignments that are named, in that order.
func (s *Service) readCarried(ctx context.Context, c *carrying, req *assessmentpb.ExportActivitiesRequest) error {
	var err error
	if c.banks, err = banks(ctx, s.db, c.courseID); err != nil {
		return err
	}
	rows, err := s.db.Query(ctx, `SELECT `+quizColumns+` FROM quiz WHERE course_id = $1 AND id = ANY ($2) AND deleted_at IS NULL ORDER BY array_position($2, id)`, c.courseID, append([]string{}, req.GetQuizIds()...))
	if err != nil {
		return fmt.Errorf("quizzes to take along: %w", err)
	}
	if c.quizzes, err = pgx.CollectRows(rows, pgx.RowToStructByName[quiz]); err != nil {
		return fmt.Errorf("quizzes to take along: %w", err)
	}
	for _, z := range c.quizzes {
		settings, err := z.settings()
		if err != nil {
			return err
		}
		d, err := newDraft(settings)
		if err != nil {
			return err
		}
		if c.bytes += len(z.Draft); c.bytes > maxCarriedBytes {
			return ErrCarriedTooLarge
		}
		c.drafts = append(c.drafts, d)
	}
	if rows, err = s.db.Query(ctx, `SELECT `+assignmentColumns+` FROM assignment WHERE course_id = $1 AND id = ANY ($2) AND deleted_at IS NULL ORDER BY array_position($2, id)`,
		c.courseID, append([]string{}, req.GetAssignmentIds()...)); err != nil {
		return fmt.Errorf("assignments to take along: %w", err)
	}
	if c.assigned, err = pgx.CollectRows(rows, pgx.RowToStructByName[assignment]); err != nil {
		return fmt.Errorf("assignments to take along: %w", err)
	}
	return nil
}

// carryCategories finds the categories that are drawn from, and of such as are drawn
// from at any depth those in them.
func (s *Service) carryCategories(ctx context.Context, c *carrying, _ *assessmentpb.ExportActivitiesRequest) error {
	all, err := tree(ctx, s.db, c.banks)
	if err != nil {
		return err
	}
	for _, draw := range c.draws() {
		if _, ok := find(all, draw.GetCategoryId()); !ok {
			continue
		}
		wanted := []string{draw.GetCategoryId()}
		if draw.GetDeep() {
			wanted = under(all, draw.GetCategoryId())
		}
		for _, categoryID := range wanted {
			c.called[categoryID] = categoryID
		}
	}
	for _, one := range all { // by their path: parents first
		if c.called[one.ID] == "" {
			continue
		}
		// Those of several banks, and such whose parents stay behind, may be of one name.
		one.ParentID = c.called[one.ParentID]
		name := one.Name
		for n := 2; slices.ContainsFunc(c.categories, func(t category) bool { return t.ParentID == one.ParentID && strings.EqualFold(t.Name, one.Name) }); n++ {
			one.Name = fmt.Sprintf("%.90s (%d)", name, n)
		}
		c.categories = append(c.categories, one)
	}
	return nil
}

func (c *carrying) draws() (out []*assessmentpb.QuestionDraw) {
	for _, d := range c.drafts {
		eachSlot(d.settings, func(_ string, _ int, slot *assessmentpb.QuizSlot) {
			if draw := slot.GetDraw(); draw != nil {
				out = append(out, draw)
			}
		})
	}
	return out
}

// drawn reports whether one of the draws may draw a question.
func (c *carrying) drawn(draws []*assessmentpb.QuestionDraw, q bankQuestion) bool {
	return q.Kind != "description" && slices.ContainsFunc(draws, func(draw *assessmentpb.QuestionDraw) bool {
		in := draw.GetCategoryId() == q.CategoryID || draw.GetDeep() && slices.Contains(under(c.categories, draw.GetCategoryId()), q.CategoryID)
		return in && !slices.ContainsFunc(draw.GetTags(), func(tag string) bool { return !slices.Contains(q.Tags, tag) })
	})
}

// carryQuestions reads the questions that are asked, in the versions in which they are
// and in that order, and then those that may be drawn.
func (s *Service) carryQuestions(ctx context.Context, c *carrying, _ *assessmentpb.ExportActivitiesRequest) error {
	var ids []string
	var versions []int32
	asked := map[questionKey]bool{}
	for _, d := range c.drafts {
		eachSlot(d.settings, func(_ string, _ int, slot *assessmentpb.QuizSlot) {
			if q := slot.GetQuestion(); q != nil && !asked[questionKey{q.GetQuestionId(), q.GetVersion()}] {
				asked[questionKey{q.GetQuestionId(), q.GetVersion()}] = true
				ids, versions = append(ids, q.GetQuestionId()), append(versions, q.GetVersion())
			}
		})
	}
	categories := make([]string, len(c.categories))
	for i, one := range c.categories {
		categories[i] = one.ID
	}
	rows, err := s.db.Query(ctx, `
		SELECT `+bankQuestionColumns+`, w.asked, w.place < 1000000 AS named
		FROM (
			SELECT id, version, version AS asked, place FROM unnest($1::text[], $2::int[]) WITH ORDINALITY AS n (id, version, place)
			UNION ALL SELECT q.id, 0, 0, 1000000 FROM question q WHERE q.category_id = ANY ($4)
		) AS w
		JOIN question q ON q.id = w.id AND q.deleted_at IS NULL AND q.course_id = ANY ($3)
		JOIN question_version v ON v.question_id = q.id AND v.version = CASE WHEN w.version = 0 THEN q.version ELSE w.version END
		ORDER BY w.place, q.id`, ids, versions, c.banks, categories)
	if err != nil {
		return fmt.Errorf("questions to take along: %w", err)
	}
	defer rows.Close()
	draws, once := c.draws(), map[string]bool{}
	for rows.Next() {
		found, err := pgx.RowToStructByName[struct {
			bankQuestion

			Asked int32
			Named bool
		}](rows)
		if err != nil {
			return fmt.Errorf("questions to take along: %w", err)
		}
		q := found.bankQuestion
		if !found.Named && !c.drawn(draws, q) {
			continue
		}
		if err := c.carry(q, found.Asked, found.Named, once); err != nil {
			return err
		}
	}
	return rows.Err()
}

// carry adds a question in a version, once.
func (c *carrying) carry(q bankQuestion, asked int32, named bool, once map[string]bool) error {
	key := questionKey{q.ID, q.Version}
	if c.versions[key] == "" {
		content, err := q.content()
		if err != nil {
			return err
		}
		// Another version of a question that is there is another question, and none that
		// is drawn.
		called, in := q.ID, c.called[q.CategoryID]
		if once[q.ID] || q.Version != q.Current {
			called = id.New("question")
		}
		if q.Version != q.Current {
			in = ""
		}
		once[called], c.sent[called] = true, true
		c.versions[key] = called
		if c.bytes += len(q.Body); c.bytes > maxCarriedBytes || len(c.questions) >= maxCarriedQuestions {
			return ErrCarriedTooLarge
		}
		c.questions = append(c.questions, &assessmentpb.ExportActivitiesResponse{MediaCourseId: q.CourseID, Carried: &assessmentpb.ExportActivitiesResponse_Question{
			Question: &assessmentpb.CarriedQuestion{QuestionId: called, CategoryId: in, Tags: q.Tags, Content: content},
		}})
	}
	if named {
		c.versions[questionKey{q.ID, asked}] = c.versions[key]
	}
	return nil
}

// settings returns the settings of a quiz as they are taken along, and how many slots
// are left out.
func (c *carrying) settings(of *assessmentpb.QuizSettings) (*assessmentpb.QuizSettings, int32) {
	out, leftOut := proto.CloneOf(of), int32(0)
	for _, section := range out.GetSections() {
		section.Slots = slices.DeleteFunc(section.GetSlots(), func(slot *assessmentpb.QuizSlot) bool {
			there := false
			if q := slot.GetQuestion(); q != nil {
				q.QuestionId = c.versions[questionKey{q.GetQuestionId(), q.GetVersion()}]
				q.Version, there = 0, q.GetQuestionId() != ""
			} else if draw := slot.GetDraw(); draw != nil {
				there = c.called[draw.GetCategoryId()] != ""
			}
			if !there {
				leftOut++
			}
			return !there
		})
	}
	onlyOwn(out.ProtoReflect())
	return out, leftOut
}

// onlyOwn takes out of settings what names something that is not taken along: all ids
// but those of questions, categories and files.
func onlyOwn(m protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		kind, _ := proto.GetExtension(fd.Options(), authpb.E_Id).(string)
		switch {
		case fd.Message() != nil && fd.IsList():
			for i := range v.List().Len() {
				onlyOwn(v.List().Get(i).Message())
			}
		case fd.Message() != nil && !fd.IsMap():
			onlyOwn(v.Message())
		case kind != "" && kind != "question" && kind != "category" && kind != "media":
			m.Clear(fd)
		}
		return true
	})
}
