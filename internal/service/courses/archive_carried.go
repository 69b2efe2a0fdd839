package courses

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/fault"
	asks "github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// The folders of what quizzes and assignments ask.
const (
	categoriesFolder  = "categories"
	questionsFolder   = "questions"
	rubricsFolder     = "rubrics"
	quizzesFolder     = "quizzes"
	assignmentsFolder = "assignments"
)

// carriedFile is a file of the archive that assessment has the contents of.
type carriedFile struct {
	path    string
	text    []byte
	version int // of the format that has such
}

// readCarried asks for the quizzes and assignments that activities of the course show,
// with what they ask. Who may not make quizzes gets none of what is right in them.
func (s *Service) readCarried(ctx context.Context, e *export) ([]*assessmentpb.ExportActivitiesResponse, error) {
	if s.carry == nil {
		return nil, nil
	}
	req, err := s.shownActivities(ctx, e)
	if err != nil || len(req.GetQuizIds())+len(req.GetAssignmentIds()) == 0 {
		return nil, err
	}
	if may, err := s.mayCopyActivities(ctx, e.courseID, ""); err != nil || !may {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.carry.ExportActivities(ctx, req)
	if err != nil {
		return nil, err
	}
	var out []*assessmentpb.ExportActivitiesResponse
	for {
		one, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err = fault.FromStatus(err); fault.CodeOf(err) == "activities.too_large" {
			return nil, ErrArchiveTooLarge
		}
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
}

// shownActivities names the quizzes and assignments that activities show, in the order
// of the course.
func (s *Service) shownActivities(ctx context.Context, e *export) (*assessmentpb.ExportActivitiesRequest, error) {
	refs := map[int64]string{}
	rows, err := s.db.Query(ctx, `SELECT id, activity_ref FROM item_version WHERE id = ANY ($1) AND activity_ref <> ''`, versions(e.parts))
	if err != nil {
		return nil, err
	}
	var versionID int64
	var ref string
	if _, err := pgx.ForEachRow(rows, []any{&versionID, &ref}, func() error {
		refs[versionID] = ref
		return nil
	}); err != nil {
		return nil, err
	}
	req, seen := &assessmentpb.ExportActivitiesRequest{CourseId: e.courseID}, map[string]bool{}
	for _, p := range e.parts {
		ref := refs[p.VersionID]
		switch {
		case !asked(ref) || seen[ref]:
		case p.Kind == "quiz":
			req.QuizIds = append(req.QuizIds, ref)
		case p.Kind == "assignment":
			req.AssignmentIds = append(req.AssignmentIds, ref)
		}
		seen[ref] = true
	}
	return req, nil
}

// carriedMedia returns the files that what is taken along shows, by the courses that
// have them, each once.
func carriedMedia(carried []*assessmentpb.ExportActivitiesResponse) map[string][]string {
	out := map[string][]string{}
	for _, one := range carried {
		named := asks.Names(one.GetQuestion().GetContent())
		for _, text := range instructions(one.GetQuiz().GetSettings(), one.GetAssignment().GetSettings()) {
			named = append(named, asks.NamesIn(*text)...)
		}
		if len(named) > 0 {
			out[one.GetMediaCourseId()] = append(out[one.GetMediaCourseId()], named...)
		}
	}
	for courseID, list := range out {
		slices.Sort(list)
		out[courseID] = slices.Compact(list)
	}
	return out
}

// instructions returns the texts of settings that may name files.
func instructions(quiz *assessmentpb.QuizSettings, assignment *assessmentpb.AssignmentSettings) []*string {
	var out []*string
	if quiz != nil {
		out = append(out, &quiz.Instructions)
		for _, section := range quiz.GetSections() {
			out = append(out, &section.Instructions)
		}
	}
	if assignment != nil {
		out = append(out, &assignment.Instructions)
	}
	return out
}

// carriedNames says how what is taken along is called, by kind and the name before.
type carriedNames map[string]string

func (n carriedNames) give(kind, id string) string {
	n["#"+kind] += "." // counts
	n[id] = kind + "-" + strconv.Itoa(len(n["#"+kind]))
	return n[id]
}

// nameCarried makes the files of what is taken along, whose files have their names: the
// same for the same content, whatever its ids are.
func (e *export) nameCarried(carried []*assessmentpb.ExportActivitiesResponse) error {
	names := carriedNames{}
	if len(carried) > 0 {
		e.refs.activity = func(ref string) string { return names[ref] }
	}
	if err := e.nameCategories(carried, names); err != nil {
		return err
	}
	if err := e.nameQuestions(carried, names); err != nil {
		return err
	}
	if err := e.nameRubrics(carried, names); err != nil {
		return err
	}
	for _, one := range carried {
		var m proto.Message
		var path string
		switch {
		case one.GetQuiz() != nil:
			z := proto.CloneOf(one.GetQuiz())
			z.QuizId = names.give("quiz", z.GetQuizId())
			if one.GetLeftOut() > 0 {
				e.found.warn(one.GetQuiz().GetQuizId(), "settings.sections", "copy.questions", "Questions that it asks are in no bank of the course any more, and are left out.")
			}
			renameSettings(z.GetSettings(), nil, e.refs.media, func(id string) string { return names[id] })
			z.Rubrics = names.uses(z)
			m, path = z, quizzesFolder+"/"+z.GetQuizId()
		case one.GetAssignment() != nil:
			a := proto.CloneOf(one.GetAssignment())
			a.AssignmentId = names.give("assignment", a.GetAssignmentId())
			renameSettings(nil, a.GetSettings(), e.refs.media, nil)
			a.RubricId, a.PeerRubricId = names[a.GetRubricId()], names[a.GetPeerRubricId()]
			m, path = a, assignmentsFolder+"/"+a.GetAssignmentId()
		default:
			continue
		}
		if err := e.addCarried(path, m); err != nil {
			return err
		}
	}
	return nil
}

func (e *export) addCarried(path string, m proto.Message) error {
	text, err := archiveJSON(m)
	version := carriedVersion
	if _, is := m.(*assessmentpb.CarriedRubric); is {
		version = rubricsVersion
	}
	if err == nil {
		e.carried = append(e.carried, carriedFile{path + ".json", text, version})
	}
	return err
}

// uses returns by what the questions of a quiz are marked, in the order of their names.
func (n carriedNames) uses(z *assessmentpb.CarriedQuiz) []*assessmentpb.CarriedRubricUse {
	var out []*assessmentpb.CarriedRubricUse
	for _, use := range z.GetRubrics() {
		out = append(out, &assessmentpb.CarriedRubricUse{QuestionId: n[use.GetQuestionId()], RubricId: n[use.GetRubricId()]})
	}
	slices.SortFunc(out, func(a, b *assessmentpb.CarriedRubricUse) int { return byCount(a.GetQuestionId(), b.GetQuestionId()) })
	return out
}

// byCount orders names that were given by their numbers.
func byCount(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// nameRubrics adds the rubrics in the order in which quizzes and assignments are marked
// by them, in a quiz by the names of its questions.
func (e *export) nameRubrics(carried []*assessmentpb.ExportActivitiesResponse, names carriedNames) error {
	rubrics := map[string]*assessmentpb.CarriedRubric{}
	var order []string
	for _, one := range carried {
		if r := one.GetRubric(); r != nil {
			rubrics[r.GetRubricId()] = r
		}
		uses := slices.Clone(one.GetQuiz().GetRubrics())
		slices.SortFunc(uses, func(a, b *assessmentpb.CarriedRubricUse) int {
			return byCount(names[a.GetQuestionId()], names[b.GetQuestionId()])
		})
		for _, use := range uses {
			order = append(order, use.GetRubricId())
		}
		order = append(order, one.GetAssignment().GetRubricId(), one.GetAssignment().GetPeerRubricId())
	}
	for _, rubricID := range order {
		if rubrics[rubricID] == nil || names[rubricID] != "" {
			continue
		}
		r := proto.CloneOf(rubrics[rubricID])
		r.RubricId = names.give("rubric", rubricID)
		if err := e.addCarried(rubricsFolder+"/"+r.GetRubricId(), r); err != nil {
			return err
		}
	}
	return nil
}

// nameCategories adds the categories in the order of their paths.
func (e *export) nameCategories(carried []*assessmentpb.ExportActivitiesResponse, names carriedNames) error {
	type placed struct {
		*assessmentpb.CarriedCategory

		path []string
	}
	var list []placed
	paths := map[string][]string{}
	for _, one := range carried { // parents first
		if c := one.GetCategory(); c != nil {
			paths[c.GetCategoryId()] = append(slices.Clone(paths[c.GetParentId()]), c.GetName())
			list = append(list, placed{c, paths[c.GetCategoryId()]})
		}
	}
	slices.SortFunc(list, func(a, b placed) int { return slices.Compare(a.path, b.path) })
	for _, c := range list {
		one := proto.CloneOf(c.CarriedCategory)
		one.CategoryId, one.ParentId = names.give("category", c.GetCategoryId()), names[c.GetParentId()]
		if err := e.addCarried(categoriesFolder+"/"+one.GetCategoryId(), one); err != nil {
			return err
		}
	}
	return nil
}

// nameQuestions adds the questions: those that are asked in the order in which they are,
// then those that are drawn by their categories and what they ask.
func (e *export) nameQuestions(carried []*assessmentpb.ExportActivitiesResponse, names carriedNames) error {
	type placed struct {
		*assessmentpb.CarriedQuestion

		was      string
		place    int
		category string
		text     []byte
	}
	place := map[string]int{}
	for _, one := range carried {
		for _, section := range one.GetQuiz().GetSettings().GetSections() {
			for _, slot := range section.GetSlots() {
				if q := slot.GetQuestion().GetQuestionId(); q != "" && place[q] == 0 {
					place[q] = len(place) + 1
				}
			}
		}
	}
	var list []placed
	for _, one := range carried {
		q := proto.CloneOf(one.GetQuestion())
		if q == nil {
			continue
		}
		at, ok := place[q.GetQuestionId()]
		if !ok {
			at = len(place) + 1
		}
		was := q.GetQuestionId()
		q.QuestionId, q.CategoryId, q.Content = "", names[q.GetCategoryId()], asks.WithMedia(q.GetContent(), e.refs.media)
		text, err := archiveJSON(q)
		if err != nil {
			return err
		}
		list = append(list, placed{q, was, at, q.GetCategoryId(), text})
	}
	slices.SortStableFunc(list, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(len(a.category), len(b.category)), strings.Compare(a.category, b.category), bytes.Compare(a.text, b.text))
	})
	for _, q := range list {
		q.QuestionId = names.give("question", q.was)
		if err := e.addCarried(questionsFolder+"/"+q.GetQuestionId(), q.CarriedQuestion); err != nil {
			return err
		}
	}
	return nil
}

// renameSettings calls files, questions and categories in settings otherwise. Those that
// media does not have keep their names.
func renameSettings(quiz *assessmentpb.QuizSettings, assignment *assessmentpb.AssignmentSettings, media map[string]string, called func(string) string) {
	for _, text := range instructions(quiz, assignment) {
		*text = asks.RenameMedia(*text, media)
	}
	for _, section := range quiz.GetSections() {
		for _, slot := range section.GetSlots() {
			if q := slot.GetQuestion(); q != nil {
				q.QuestionId = called(q.GetQuestionId())
			}
			if d := slot.GetDraw(); d != nil {
				d.CategoryId = called(d.GetCategoryId())
			}
		}
	}
}
