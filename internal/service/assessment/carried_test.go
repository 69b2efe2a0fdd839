package assessment

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// carried returns what a course's quizzes and assignments are taken along as.
func (w *quizWorld) carried(course string, quizzes, assignments []string) []*assessmentpb.ExportActivitiesResponse {
	w.t.Helper()
	stream := must(assessmentpb.NewCarryServiceClient(w.harness.As("courses")).ExportActivities(w.t.Context(), &assessmentpb.ExportActivitiesRequest{
		CourseId: course, QuizIds: quizzes, AssignmentIds: assignments,
	}))(w.t)
	var out []*assessmentpb.ExportActivitiesResponse
	for {
		one, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out
		}
		out = append(out, must(one, err)(w.t))
	}
}

// takeIn takes things in as the service courses does.
func (w *quizWorld) takeIn(head *assessmentpb.ImportActivitiesHead, list []*assessmentpb.ImportActivitiesRequest) ([]*assessmentpb.CarriedFinding, error) {
	w.t.Helper()
	stream := must(assessmentpb.NewCarryServiceClient(w.harness.As("courses")).ImportActivities(w.t.Context()))(w.t)
	for _, req := range append([]*assessmentpb.ImportActivitiesRequest{{Carried: &assessmentpb.ImportActivitiesRequest_Head{Head: head}}}, list...) {
		if stream.Send(req) != nil {
			break
		}
	}
	res, err := stream.CloseAndRecv()
	return res.GetFindings(), fault.FromStatus(err)
}

// called calls all that is taken along otherwise, and leaves out files.
func called(list []*assessmentpb.ExportActivitiesResponse) []*assessmentpb.ImportActivitiesRequest {
	names := map[string]string{}
	name := func(was string) string {
		if was != "" && names[was] == "" {
			kind, _, _ := strings.Cut(was, "_")
			names[was] = id.New(kind)
		}
		return names[was]
	}
	var out []*assessmentpb.ImportActivitiesRequest
	for n, one := range list {
		one = proto.CloneOf(one)
		req := &assessmentpb.ImportActivitiesRequest{Path: fmt.Sprint("file-", n)}
		switch {
		case one.GetCategory() != nil:
			c := one.GetCategory()
			c.CategoryId, c.ParentId = name(c.GetCategoryId()), name(c.GetParentId())
			req.Carried = &assessmentpb.ImportActivitiesRequest_Category{Category: c}
		case one.GetQuestion() != nil:
			q := one.GetQuestion()
			q.QuestionId, q.CategoryId = name(q.GetQuestionId()), name(q.GetCategoryId())
			req.Carried = &assessmentpb.ImportActivitiesRequest_Question{Question: q}
		case one.GetQuiz() != nil:
			z := one.GetQuiz()
			z.QuizId = name(z.GetQuizId())
			eachSlot(z.GetSettings(), func(_ string, _ int, slot *assessmentpb.QuizSlot) {
				if q := slot.GetQuestion(); q != nil {
					q.QuestionId = name(q.GetQuestionId())
				} else {
					slot.GetDraw().CategoryId = name(slot.GetDraw().GetCategoryId())
				}
			})
			for _, use := range z.GetRubrics() {
				use.QuestionId, use.RubricId = name(use.GetQuestionId()), name(use.GetRubricId())
			}
			req.Carried = &assessmentpb.ImportActivitiesRequest_Quiz{Quiz: z}
		case one.GetRubric() != nil:
			one.GetRubric().RubricId = name(one.GetRubric().GetRubricId())
			req.Carried = &assessmentpb.ImportActivitiesRequest_Rubric{Rubric: one.GetRubric()}
		default:
			a := one.GetAssignment()
			a.AssignmentId, a.RubricId, a.PeerRubricId = name(a.GetAssignmentId()), name(a.GetRubricId()), name(a.GetPeerRubricId())
			req.Carried = &assessmentpb.ImportActivitiesRequest_Assignment{Assignment: a}
		}
		out = append(out, req)
	}
	return out
}

// linesOf is what is taken along without ids, a line each.
func linesOf(list []*assessmentpb.ExportActivitiesResponse) []string {
	names, out := map[string]string{}, []string{}
	name := func(was string) string {
		if was != "" && names[was] == "" {
			names[was] = fmt.Sprint("#", len(names))
		}
		return names[was]
	}
	for _, one := range list {
		switch {
		case one.GetCategory() != nil:
			out = append(out, fmt.Sprintf("category %s in %q: %s", name(one.GetCategory().GetCategoryId()), name(one.GetCategory().GetParentId()), one.GetCategory().GetName()))
		case one.GetQuestion() != nil:
			out = append(out, fmt.Sprintf("question %s in %q, %v: %s", name(one.GetQuestion().GetQuestionId()), name(one.GetQuestion().GetCategoryId()), one.GetQuestion().GetTags(), one.GetQuestion().GetContent().GetPrompt()))
		case one.GetQuiz() != nil:
			line := fmt.Sprintf("quiz %s, published %v, left out %d:", one.GetQuiz().GetTitle(), one.GetQuiz().GetPublished(), one.GetLeftOut())
			eachSlot(one.GetQuiz().GetSettings(), func(_ string, _ int, slot *assessmentpb.QuizSlot) {
				line += " " + name(slot.GetQuestion().GetQuestionId()) + name(slot.GetDraw().GetCategoryId())
			})
			out = append(out, line)
		default:
			out = append(out, fmt.Sprintf("assignment %s, published %v: %s %v", one.GetAssignment().GetTitle(), one.GetAssignment().GetPublished(),
				one.GetAssignment().GetSettings().GetInstructions(), one.GetAssignment().GetSettings().GetGroup()))
		}
	}
	return out
}

// carriedWorld is a course with two quizzes and an assignment.
func carriedWorld(t *testing.T) (w *quizWorld, quizzes, assignments []string) {
	w = newQuizWorld(t)
	ctx, shared := w.as(w.teacher), w.bank.course(w.teacher)
	must(w.bank.ShareBank(ctx, &assessmentpb.ShareBankRequest{CourseId: shared, WithCourseId: w.course}))(t)
	outer := w.bank.category(ctx, w.course, "", "Outer")
	inner := w.bank.category(ctx, w.course, outer, "Inner")
	theirs := w.bank.category(ctx, shared, "", "outer") // of the same name
	w.bank.category(ctx, w.course, "", "Not drawn from")
	fixed := w.bank.add(ctx, w.course, "", truth("Fixed", "As it was?")).GetId()
	must(w.bank.UpdateQuestion(ctx, &assessmentpb.UpdateQuestionRequest{CourseId: w.course, QuestionId: fixed, Content: truth("Fixed", "As it is?")}))(t)
	w.bank.add(ctx, w.course, inner, truth("Drawn", "Drawn?"), "hard")
	w.bank.add(ctx, w.course, inner, truth("Easy", "Not drawn?"), "easy")
	w.bank.add(ctx, shared, theirs, truth("Theirs", "Theirs?"))
	gone := w.question("Gone")
	deep := drawn(outer, 1, "hard")
	deep.GetDraw().Deep = true
	pinned := asked(fixed)
	pinned.GetQuestion().Version = 1
	one := w.create(&assessmentpb.QuizSettings{Attempts: 2, Sections: []*assessmentpb.QuizSection{section(asked(fixed), deep), section(drawn(theirs, 1))}}).GetId()
	w.publish(one)
	two := w.create(&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(pinned, asked(gone))}}).GetId()
	w.exec(`UPDATE question SET deleted_at = now() WHERE id = $1`, gone) // as none can be that is used
	client := assessmentpb.NewAssignmentServiceClient(w.harness.As("edge"))
	essay := must(client.CreateAssignment(ctx, &assessmentpb.CreateAssignmentRequest{CourseId: w.course, Title: "Essay", Settings: &assessmentpb.AssignmentSettings{
		Instructions: "Write.", Text: &assessmentpb.AssignmentText{}, Group: &assessmentpb.GroupWork{},
	}}))(t).GetId()
	must(client.PublishAssignment(ctx, &assessmentpb.PublishAssignmentRequest{CourseId: w.course, AssignmentId: essay}))(t)
	return w, []string{one, two, id.New("quiz")}, []string{essay}
}

func TestCarried(t *testing.T) {
	t.Parallel()
	w, quizzes, assignments := carriedWorld(t)
	first := w.carried(w.course, quizzes, assignments)
	want := []string{
		`category #0 in "": Outer`, `category #1 in "#0": Inner`, `category #2 in "": outer (2)`,
		`question #3 in "", []: As it is?`, `question #4 in "", []: As it was?`, `question #5 in "#1", [hard]: Drawn?`, `question #6 in "#2", []: Theirs?`,
		"quiz The Stoics, published true, left out 0: #3 #0 #2", "quiz The Stoics, published false, left out 1: #4",
		"assignment Essay, published true: Write. ",
	}
	if diff := cmp.Diff(want, linesOf(first)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	staging, account := id.New("course"), id.New("account")
	head := &assessmentpb.ImportActivitiesHead{CourseId: staging, MediaCourseId: staging, AccountId: account, DryRun: true}
	count := func(course string) string {
		return w.query(`SELECT concat_ws(' ', (SELECT count(*) FROM quiz WHERE course_id = $1), (SELECT count(*) FROM assignment WHERE course_id = $1),
			(SELECT count(*) FROM question WHERE course_id = $1), (SELECT count(*) FROM question_category WHERE course_id = $1))`, course)[0]
	}
	if f, err := w.takeIn(head, called(first)); err != nil || len(f) != 0 || count(staging) != "0 0 0 0" {
		t.Fatalf("looked at: %v, %v; there are %s", f, err, count(staging))
	}
	head.DryRun = false
	var list []*assessmentpb.ImportActivitiesRequest
	for range 2 { // the second try in place of the first
		list = called(first)
		if f, err := w.takeIn(head, list); err != nil || len(f) != 0 || count(staging) != "2 1 4 3" {
			t.Fatalf("taken in: %v, %v; there are %s", f, err, count(staging))
		}
	}
	var made, works []string
	for _, one := range list {
		if q := one.GetQuiz().GetQuizId(); q != "" {
			made = append(made, q)
		}
		if a := one.GetAssignment().GetAssignmentId(); a != "" {
			works = append(works, a)
		}
	}
	// Into a course with a bank of its own.
	there := w.bank.course(w.teacher)
	w.bank.category(w.as(w.teacher), there, "", "OUTER")
	imported := &coursespb.ActivitiesImported{StagingCourseId: staging, CourseId: there}
	hear(w.world, w.service.activitiesImported, imported, imported, &coursespb.ActivitiesImported{StagingCourseId: staging})
	if count(staging) != "0 0 0 0" || count(there) != "2 1 4 4" {
		t.Errorf("left %s, there are %s", count(staging), count(there))
	}
	second := w.carried(there, made, works)
	want[0], want[8] = `category #0 in "": Outer (3)`, strings.Replace(want[8], "left out 1", "left out 0", 1)
	if diff := cmp.Diff(want, linesOf(second)); diff != "" {
		t.Errorf("taken along once more (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(first[3].GetQuestion().GetContent(), second[3].GetQuestion().GetContent(), protocmp.Transform()); diff != "" {
		t.Errorf("a question (-want +got):\n%s", diff)
	}
	if z := w.query(`SELECT concat_ws(' ', version, created_by, question_count) FROM quiz WHERE id = $1`, made[0]); z[0] != "1 "+account+" 3" {
		t.Errorf("the quiz: %s", z[0])
	}

	// Of an import of which nothing comes.
	head.CourseId = id.New("course")
	if f, err := w.takeIn(head, called(first)); err != nil || len(f) != 0 {
		t.Fatal(f, err)
	}
	hear(w.world, w.service.activitiesImported, &coursespb.ActivitiesImported{StagingCourseId: head.GetCourseId()})
	if count(head.GetCourseId()) != "0 0 0 0" {
		t.Errorf("of nothing there are %s", count(head.GetCourseId()))
	}
	// A course that is there is not touched, whatever is said.
	head.CourseId = w.course
	_, err := w.takeIn(head, called(first))
	expect(t, "into a course that is there", fault.CodeOf(err), "activities.not_staged")
	hear(w.world, w.service.activitiesImported, &coursespb.ActivitiesImported{StagingCourseId: w.course})
	if count(w.course) != "2 1 4 3" {
		t.Errorf("of the course there are %s", count(w.course))
	}
}

// Rubrics are taken along in the version that is published, with what is marked by them,
// and are what they were.
func TestCarriedRubrics(t *testing.T) {
	t.Parallel()
	w, quizzes, assignments := carriedWorld(t)
	ctx := w.as(w.teacher)
	rubrics := assessmentpb.NewRubricServiceClient(w.harness.As("edge"))
	guide := func(title string) *assessmentpb.RubricContent {
		return &assessmentpb.RubricContent{Kind: "guide", Comments: []string{"Well said."}, Criteria: []*assessmentpb.RubricCriterion{
			{Key: "a", Title: title, Description: "What it says.", MaxPoints: "7.5", MarkerNotes: "Be fair."}, {Key: "b", Title: "Style", MaxPoints: "2.5"},
		}}
	}
	published := func(title string) string {
		r := must(rubrics.CreateRubric(ctx, &assessmentpb.CreateRubricRequest{CourseId: w.course, Title: title, Content: guide(title)}))(t)
		must(rubrics.PublishRubric(ctx, &assessmentpb.PublishRubricRequest{CourseId: w.course, RubricId: r.GetId()}))(t)
		return r.GetId()
	}
	essays, peers := published("Essays"), published("Peers")
	must(rubrics.UpdateRubric(ctx, &assessmentpb.UpdateRubricRequest{CourseId: w.course, RubricId: essays, Title: "Essays", Content: guide("Not yet published")}))(t)
	use := func(req *assessmentpb.AttachRubricRequest) {
		t.Helper()
		req.CourseId = w.course
		must(rubrics.AttachRubric(ctx, req))(t)
	}
	first := w.carried(w.course, quizzes, assignments)
	asIs, drawn := first[3].GetQuestion().GetQuestionId(), first[5].GetQuestion().GetQuestionId()
	for _, one := range []struct{ quiz, question string }{{quizzes[0], asIs}, {quizzes[0], drawn}, {quizzes[1], asIs}} {
		use(&assessmentpb.AttachRubricRequest{QuizId: one.quiz, QuestionId: one.question, RubricId: essays})
	}
	use(&assessmentpb.AttachRubricRequest{AssignmentId: assignments[0], RubricId: essays})
	use(&assessmentpb.AttachRubricRequest{AssignmentId: assignments[0], RubricId: peers, Purpose: "peer_review"})
	// marked tells by what is marked what is taken along, by what all is called.
	marked := func(list []*assessmentpb.ExportActivitiesResponse) []string {
		var out []string
		called := map[string]string{"": ""}
		for _, one := range list {
			called[one.GetQuestion().GetQuestionId()] = one.GetQuestion().GetContent().GetPrompt()
			if r := one.GetRubric(); r != nil {
				called[r.GetRubricId()] = r.GetTitle() + ": " + r.GetContent().GetCriteria()[0].GetTitle()
			}
			for _, u := range one.GetQuiz().GetRubrics() {
				out = append(out, called[u.GetQuestionId()]+" "+called[u.GetRubricId()])
			}
			if a := one.GetAssignment(); a != nil {
				out = append(out, called[a.GetRubricId()], called[a.GetPeerRubricId()])
			}
		}
		slices.Sort(out)
		return out
	}
	first = w.carried(w.course, quizzes, assignments)
	// The second quiz asks the question as it was, which is another one in an archive.
	want := []string{"As it is? Essays: Essays", "As it was? Essays: Essays", "Drawn? Essays: Essays", "Essays: Essays", "Peers: Peers"}
	if diff := cmp.Diff(want, marked(first)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	staging, there := id.New("course"), w.bank.course(w.teacher)
	head := &assessmentpb.ImportActivitiesHead{CourseId: staging, MediaCourseId: staging, AccountId: id.New("account")}
	var list []*assessmentpb.ImportActivitiesRequest
	for range 2 { // the second try in place of the first
		list = called(first)
		if f, err := w.takeIn(head, list); err != nil || len(f) != 0 {
			t.Fatal(f, err)
		}
	}
	hear(w.world, w.service.activitiesImported, &coursespb.ActivitiesImported{StagingCourseId: staging, CourseId: there})
	var made, works []string
	for _, one := range list {
		if z := one.GetQuiz(); z != nil {
			made = append(made, z.GetQuizId())
		}
		if a := one.GetAssignment(); a != nil {
			works = append(works, a.GetAssignmentId())
		}
	}
	second := w.carried(there, made, works)
	if diff := cmp.Diff(want, marked(second)); diff != "" {
		t.Errorf("taken along once more (-want +got):\n%s", diff)
	}
	content := func(list []*assessmentpb.ExportActivitiesResponse) []*assessmentpb.RubricContent {
		var out []*assessmentpb.RubricContent
		for _, one := range list {
			if r := one.GetRubric(); r != nil {
				out = append(out, r.GetContent())
			}
		}
		slices.SortFunc(out, func(a, b *assessmentpb.RubricContent) int {
			return strings.Compare(a.GetCriteria()[0].GetTitle(), b.GetCriteria()[0].GetTitle())
		})
		return out
	}
	if diff := cmp.Diff(content(first), content(second), protocmp.Transform()); diff != "" || len(content(second)) != 2 {
		t.Errorf("rubrics (-want +got):\n%s", diff)
	}
	if res := must(rubrics.ListRubrics(ctx, &assessmentpb.ListRubricsRequest{CourseId: there}))(t); len(res.GetItems()) != 2 || res.GetItems()[0].GetVersion() != 1 || res.GetItems()[0].GetChanged() {
		t.Errorf("there are %v", res)
	}
	for name, c := range map[string]struct {
		change func(*assessmentpb.ImportActivitiesRequest)
		want   string
	}{
		"no such rubric": {func(r *assessmentpb.ImportActivitiesRequest) {
			if r.GetAssignment() != nil {
				r.GetAssignment().RubricId = id.New("rubric")
			}
		}, "rubric_id rubric.not_found"},
		"no such question": {func(r *assessmentpb.ImportActivitiesRequest) {
			if len(r.GetQuiz().GetRubrics()) == 1 {
				r.GetQuiz().GetRubrics()[0].QuestionId = id.New("question")
			}
		}, "rubrics[0].question_id question.not_found"},
		"a question twice": {func(r *assessmentpb.ImportActivitiesRequest) {
			if u := r.GetQuiz().GetRubrics(); len(u) == 2 {
				u[1].QuestionId = u[0].GetQuestionId()
			}
		}, "rubrics[1].rubric_id archive.id_twice"},
		"a rubric that can't be": {func(r *assessmentpb.ImportActivitiesRequest) {
			if r.GetRubric() != nil {
				r.GetRubric().GetContent().GetCriteria()[1].Key = "a"
			}
		}, "content.criteria[1].key rubric.key_twice"},
	} {
		list, staging := called(first), id.New("course")
		for _, one := range list {
			c.change(one)
		}
		f, err := w.takeIn(&assessmentpb.ImportActivitiesHead{CourseId: staging, MediaCourseId: staging, AccountId: id.New("account")}, list)
		if err != nil || len(f) == 0 || f[0].GetField()+" "+f[0].GetCode() != c.want || f[0].GetHint() == "" {
			t.Errorf("%s: %v, %v; want %s", name, f, err, c.want)
		}
		if n := w.query(`SELECT count(*)::text FROM rubric WHERE course_id = $1`, staging)[0]; n != "0" {
			t.Errorf("%s: %s rubrics are there", name, n)
		}
	}
	// Of an import of which nothing comes.
	head.CourseId = id.New("course")
	if f, err := w.takeIn(head, called(first)); err != nil || len(f) != 0 {
		t.Fatal(f, err)
	}
	hear(w.world, w.service.activitiesImported, &coursespb.ActivitiesImported{StagingCourseId: head.GetCourseId()})
	if n := w.query(`SELECT concat_ws(' ', (SELECT count(*) FROM rubric WHERE course_id = $1), (SELECT count(*) FROM rubric_use WHERE course_id = $1))`, head.GetCourseId())[0]; n != "0 0" {
		t.Errorf("of nothing there are %s", n)
	}
}

// TestCarriedIsChecked: what is not as it should be is told with its path, and nothing of
// all is stored.
func TestCarriedIsChecked(t *testing.T) {
	t.Parallel()
	w, quizzes, assignments := carriedWorld(t)
	first := w.carried(w.course, quizzes, assignments)
	for name, c := range map[string]struct {
		change func(list []*assessmentpb.ImportActivitiesRequest)
		want   string
	}{
		"a question that can't be": {func(l []*assessmentpb.ImportActivitiesRequest) { l[3].GetQuestion().Content.Penalty = "7" }, "file-3 content.penalty"},
		"a question twice": {func(l []*assessmentpb.ImportActivitiesRequest) {
			l[4].GetQuestion().QuestionId = l[3].GetQuestion().GetQuestionId()
		}, "file-4 question_id archive.id_twice"},
		"no such category": {func(l []*assessmentpb.ImportActivitiesRequest) { l[5].GetQuestion().CategoryId = id.New("category") }, "file-5 category_id category.not_found"},
		"a category in itself": {func(l []*assessmentpb.ImportActivitiesRequest) {
			l[0].GetCategory().ParentId = l[1].GetCategory().GetCategoryId()
		}, "file-0 parent_id category.not_found"},
		"a category twice": {func(l []*assessmentpb.ImportActivitiesRequest) { l[2].GetCategory().Name = "OUTER" }, "file-2 name category.exists"},
		"no such question": {func(l []*assessmentpb.ImportActivitiesRequest) {
			l[7].GetQuiz().GetSettings().GetSections()[0].GetSlots()[0].GetQuestion().QuestionId = id.New("question")
		}, "file-7 settings.sections[0].slots[0].question.question_id question.not_found"},
		"a version": {func(l []*assessmentpb.ImportActivitiesRequest) {
			l[7].GetQuiz().GetSettings().GetSections()[0].GetSlots()[0].GetQuestion().Version = 7
		}, "file-7 settings.sections[0].slots[0].question.question_id question.not_found"},
		"a quiz that can't be": {func(l []*assessmentpb.ImportActivitiesRequest) { l[7].GetQuiz().GetSettings().GraceSeconds = 5 }, "file-7 settings.grace_seconds quiz.no_grace"},
		"an assignment that can't be": {func(l []*assessmentpb.ImportActivitiesRequest) {
			l[9].GetAssignment().GetSettings().Late, l[9].GetAssignment().GetSettings().LateSeconds = "refuse", 5
		}, "file-9 settings.late_seconds"},
		"groups": {func(l []*assessmentpb.ImportActivitiesRequest) {
			l[9].GetAssignment().GetSettings().GetGroup().GroupIds = ids("group", 1)
		}, "file-9 settings.group.group_ids archive.ref"},
	} {
		list, staging := called(first), id.New("course")
		c.change(list)
		f, err := w.takeIn(&assessmentpb.ImportActivitiesHead{CourseId: staging, MediaCourseId: staging, AccountId: id.New("account")}, list)
		if err != nil || len(f) == 0 || !strings.HasPrefix(f[0].GetPath()+" "+f[0].GetField()+" "+f[0].GetCode(), c.want) || f[0].GetHint() == "" {
			t.Errorf("%s: %v, %v; want %s", name, f, err, c.want)
		}
		if n := w.query(`SELECT count(*)::text FROM question WHERE course_id = $1`, staging)[0]; n != "0" {
			t.Errorf("%s: %s questions are there", name, n)
		}
	}
	// More than is taken along.
	q := called(first)[3]
	many := make([]*assessmentpb.ImportActivitiesRequest, maxCarriedQuestions+1)
	for i := range many {
		many[i] = proto.CloneOf(q)
		many[i].GetQuestion().QuestionId = id.New("question")
	}
	staging := id.New("course")
	_, err := w.takeIn(&assessmentpb.ImportActivitiesHead{CourseId: staging, MediaCourseId: staging, AccountId: id.New("account"), DryRun: true}, many)
	expect(t, "too many questions", fault.CodeOf(err), "activities.too_large")
	// Files that the course does not have.
	list := called(first)
	list[3].GetQuestion().Content = question.WithMedia(truth("Shown", "![x](media:here)"), map[string]string{"here": id.New("media")})
	if _, err := w.takeIn(&assessmentpb.ImportActivitiesHead{CourseId: staging, MediaCourseId: staging, AccountId: id.New("account")}, list); err == nil {
		t.Error("files that are not there are taken")
	}
}
