package courses_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// carrier stands for assessment: it has what it was given, and refuses what is called so.
type carrier struct {
	assessmentpb.UnimplementedCarryServiceServer

	mu   sync.Mutex
	has  map[string][]*assessmentpb.ExportActivitiesResponse // by course
	runs int
	fail error
}

func (c *carrier) ExportActivities(req *assessmentpb.ExportActivitiesRequest, stream grpc.ServerStreamingServer[assessmentpb.ExportActivitiesResponse]) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.has[req.GetCourseId()] {
		if z := one.GetQuiz(); z != nil && !slices.Contains(req.GetQuizIds(), z.GetQuizId()) {
			continue
		}
		if err := stream.Send(one); err != nil {
			return err
		}
	}
	return nil
}

func (c *carrier) ImportActivities(stream grpc.ClientStreamingServer[assessmentpb.ImportActivitiesRequest, assessmentpb.ImportActivitiesResponse]) error {
	var head *assessmentpb.ImportActivitiesHead
	var list []*assessmentpb.ExportActivitiesResponse
	res := &assessmentpb.ImportActivitiesResponse{}
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		one := &assessmentpb.ExportActivitiesResponse{MediaCourseId: head.GetMediaCourseId()}
		switch {
		case req.GetHead() != nil:
			head = req.GetHead()
			continue
		case req.GetCategory() != nil:
			one.Carried = &assessmentpb.ExportActivitiesResponse_Category{Category: req.GetCategory()}
		case req.GetQuestion() != nil:
			one.Carried = &assessmentpb.ExportActivitiesResponse_Question{Question: req.GetQuestion()}
			if req.GetQuestion().GetContent().GetTitle() == "Refused" {
				res.Findings = append(res.Findings, &assessmentpb.CarriedFinding{Path: req.GetPath(), Field: "content.title", Code: "question.refused", Hint: "No."})
			}
		case req.GetQuiz() != nil:
			one.Carried = &assessmentpb.ExportActivitiesResponse_Quiz{Quiz: req.GetQuiz()}
		case req.GetRubric() != nil:
			one.Carried = &assessmentpb.ExportActivitiesResponse_Rubric{Rubric: req.GetRubric()}
		default:
			one.Carried = &assessmentpb.ExportActivitiesResponse_Assignment{Assignment: req.GetAssignment()}
		}
		list = append(list, one)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(res.GetFindings()) == 0 && !head.GetDryRun() {
		c.runs++
		if c.fail != nil {
			return c.fail
		}
		c.has[head.GetCourseId()] = list
	}
	return stream.SendAndClose(res)
}

// carrying is a fixture with a carrier, and a course that shows a quiz, twice, and an
// assignment.
func carrying(t *testing.T) (f *archiveFixture, c *carrier, course string) {
	f, c = setupArchive(t), &carrier{has: map[string][]*assessmentpb.ExportActivitiesResponse{}}
	assessmentpb.RegisterCarryServiceServer(f.conn, c)
	courses.Carry(f.own, assessmentpb.NewCarryServiceClient(f.conn.As("courses")))
	course = f.course()
	bank := id.New("course")
	picture, spot, paper := f.library.put(course, "a.png", "image/png:a"), f.library.put(bank, "b.png", "image/png:b"), f.library.put(bank, "c.pdf", "application/pdf:c")
	quiz, assignment, category, inner := id.New("quiz"), id.New("assignment"), id.New("category"), id.New("category")
	one, two, three := id.New("question"), id.New("question"), id.New("question")
	truth := func(title, prompt string) *questionpb.QuestionContent {
		return &questionpb.QuestionContent{Title: title, Prompt: prompt, Body: &questionpb.QuestionContent_TrueFalse{TrueFalse: &questionpb.TrueFalseQuestion{Right: true}}}
	}
	of := func(owner string, carried any) {
		one := &assessmentpb.ExportActivitiesResponse{MediaCourseId: owner}
		switch m := carried.(type) {
		case *assessmentpb.CarriedCategory:
			one.Carried = &assessmentpb.ExportActivitiesResponse_Category{Category: m}
		case *assessmentpb.CarriedQuestion:
			one.Carried = &assessmentpb.ExportActivitiesResponse_Question{Question: m}
		case *assessmentpb.CarriedQuiz:
			one.Carried = &assessmentpb.ExportActivitiesResponse_Quiz{Quiz: m}
		case *assessmentpb.CarriedAssignment:
			one.Carried = &assessmentpb.ExportActivitiesResponse_Assignment{Assignment: m}
		}
		c.has[course] = append(c.has[course], one)
	}
	of("", &assessmentpb.CarriedCategory{CategoryId: category, Name: "B"})
	of("", &assessmentpb.CarriedCategory{CategoryId: inner, ParentId: category, Name: "A"})
	// In an order that is of ids.
	of(bank, &assessmentpb.CarriedQuestion{QuestionId: three, CategoryId: inner, Tags: []string{"hard"}, Content: truth("Three", "Third? [paper](media:"+paper+")")})
	of(course, &assessmentpb.CarriedQuestion{QuestionId: two, CategoryId: inner, Tags: []string{"hard"}, Content: truth("Two", "Second?")})
	of(bank, &assessmentpb.CarriedQuestion{QuestionId: one, Content: truth("One", "First? ![a](media:"+spot+")")})
	of(course, &assessmentpb.CarriedQuiz{QuizId: quiz, Title: "Quiz", Published: true, Settings: &assessmentpb.QuizSettings{
		Instructions: "![a](media:" + picture + ")", Attempts: 3,
		Sections: []*assessmentpb.QuizSection{{Slots: []*assessmentpb.QuizSlot{
			{Points: "2", Source: &assessmentpb.QuizSlot_Question{Question: &assessmentpb.FixedQuestion{QuestionId: one}}},
			{Source: &assessmentpb.QuizSlot_Draw{Draw: &assessmentpb.QuestionDraw{CategoryId: category, Count: 1, Deep: true, Tags: []string{"hard"}}}},
		}}},
	}})
	of(course, &assessmentpb.CarriedAssignment{AssignmentId: assignment, Title: "Essay", Settings: &assessmentpb.AssignmentSettings{Instructions: "Write.", Points: "100", Text: &assessmentpb.AssignmentText{}}})
	module := f.module(course, "Module")
	for _, a := range [][3]string{{"quiz", "First", quiz}, {"assignment", "Second", assignment}, {"quiz", "Third", quiz}, {"quiz", "Fourth", id.New("quiz")}, {"quiz", "Fifth", ""}} {
		must(f.CreateActivity(f.teacher, &coursespb.CreateActivityRequest{CourseId: course, ModuleId: module, Kind: a[0], Title: a[1], ActivityRef: a[2]}))
	}
	return f, c, course
}

// ref returns what an activity shows.
func (f *archiveFixture) ref(course, title string) string {
	f.t.Helper()
	return must(f.GetActivity(f.teacher, &coursespb.GetActivityRequest{CourseId: course, ActivityId: f.items(course)[title].GetId()})).GetActivityRef()
}

// settled returns what was told of what was imported, a line each.
func (f *archiveFixture) settled() []string {
	var out []string
	for _, e := range f.events() {
		if i, ok := e.(*coursespb.ActivitiesImported); ok {
			out = append(out, i.GetStagingCourseId()+" to "+i.GetCourseId())
		}
	}
	return out
}

func TestArchiveCarries(t *testing.T) {
	t.Parallel()
	f, c, course := carrying(t)
	first := f.export(course, 0)
	if !bytes.Equal(first, f.export(course, 0)) {
		t.Error("the same course gives two archives")
	}
	files := unzipped(t, first)
	hash := func(content string) string {
		sum := sha256.Sum256([]byte(content))
		return "media-" + hex.EncodeToString(sum[:])[:16]
	}
	for name, want := range map[string]string{
		"categories/category-1.json":                "{\n  \"category_id\": \"category-1\",\n  \"name\": \"B\"\n}\n",
		"categories/category-2.json":                "{\n  \"category_id\": \"category-2\",\n  \"name\": \"A\",\n  \"parent_id\": \"category-1\"\n}\n",
		"modules/01-module/01-first/activity.json":  "{\n  \"activity_ref\": \"quiz-1\",\n  \"id\": \"activity-1\",\n  \"kind\": \"quiz\",\n  \"title\": \"First\"\n}\n",
		"modules/01-module/04-fourth/activity.json": "{\n  \"id\": \"activity-4\",\n  \"kind\": \"quiz\",\n  \"title\": \"Fourth\"\n}\n",
	} {
		if d := cmp.Diff(want, files[name]); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	for name, want := range map[string]string{
		"questions/question-1.json": "First? ![a](media:" + hash("image/png:b") + ")", "questions/question-2.json": "Second?",
		"questions/question-3.json": "Third? [paper](media:" + hash("application/pdf:c") + ")", "quizzes/quiz-1.json": "![a](media:" + hash("image/png:a") + ")",
		"assignments/assignment-1.json": "Write.", "stoa.json": `"version": 3`,
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s has not %s:\n%s", name, want, files[name])
		}
	}
	for name, text := range files {
		for _, kind := range []string{"question_0", "quiz_0", "media_0", "category_0", "assignment_0"} {
			if strings.Contains(text, kind) {
				t.Errorf("%s has ids of this platform:\n%s", name, text)
			}
		}
	}
	i := f.imported("", first, false)
	if i.GetState() != "done" || i.GetErrors() != 0 {
		t.Fatalf("import: %v", i)
	}
	made := i.GetCourseId()
	if second := f.export(made, 0); !bytes.Equal(first, second) {
		t.Errorf("another archive comes of what was imported (-first +second):\n%s", cmp.Diff(files, unzipped(t, second)))
	}
	if quiz := f.ref(made, "First"); !id.Valid("quiz", quiz) || quiz == f.ref(course, "First") || f.ref(made, "Third") != quiz || !id.Valid("assignment", f.ref(made, "Second")) || f.ref(made, "Fourth") != "" {
		t.Errorf("it shows %q and %q", quiz, f.ref(made, "Second"))
	}
	if d := cmp.Diff([]string{made + " to " + made}, f.settled()); d != "" {
		t.Errorf("told (-want +got):\n%s", d)
	}
	check := must(f.GetExportCheck(f.teacher, &coursespb.GetExportCheckRequest{CourseId: course}))
	if d := cmp.Diff([]string{"copy.activity_ref"}, codes(check.GetFindings())); d != "" || check.GetMediaFiles() != 3 {
		t.Errorf("check: %v\n%s", check, d)
	}

	// Modules into a course that is there: their files are its own.
	to := f.course()
	if i := f.imported(to, first, false); i.GetState() != "done" {
		t.Fatalf("modules: %v", i)
	}
	staged := ""
	for _, line := range f.settled() {
		if from, in, _ := strings.Cut(line, " to "); in == to {
			staged = from
		}
	}
	if staged == "" || staged == to || len(c.has[staged]) != 7 || c.has[staged][2].GetMediaCourseId() != to || f.library.count(to) != 3 {
		t.Errorf("modules: from %q, of %d files: %v", staged, f.library.count(to), c.has[staged])
	}
	// Who may not make quizzes takes none along, and puts none in.
	f.deny[f.teacherID+" "+course+" assessment.edit"], f.deny[f.teacherID+" "+to+" assessment.edit"] = true, true
	without := unzipped(t, f.export(course, 0))
	if slices.ContainsFunc(keys(without), func(name string) bool {
		return strings.HasPrefix(name, "questions/") || strings.HasPrefix(name, "quizzes/")
	}) || !strings.Contains(without["stoa.json"], `"version": 1`) {
		t.Errorf("without the permission there is %v", keys(without))
	}
	if i := f.imported(to, first, false); i.GetState() != "failed" || i.GetCode() != "course_import.permission" {
		t.Errorf("without the permission: %v", i)
	}
}

// TestArchiveCarriesRubrics: rubrics come along, and what is marked by them; archives of
// before there were any are read as ever.
func TestArchiveCarriesRubrics(t *testing.T) {
	t.Parallel()
	f, c, course := carrying(t)
	before := f.export(course, 0)
	guide := func(title string) *assessmentpb.ExportActivitiesResponse {
		return &assessmentpb.ExportActivitiesResponse{Carried: &assessmentpb.ExportActivitiesResponse_Rubric{Rubric: &assessmentpb.CarriedRubric{
			RubricId: id.New("rubric"), Title: title, Content: &assessmentpb.RubricContent{Kind: "guide", Criteria: []*assessmentpb.RubricCriterion{{Key: "a", Title: "Reasons", MaxPoints: "10", MarkerNotes: "Be fair."}}},
		}}}
	}
	essay, peers, drawn := guide("Essays"), guide("Peers"), guide("Answers")
	has := c.has[course]
	quiz, assignment := has[5].GetQuiz(), has[6].GetAssignment()
	asked, third := has[4].GetQuestion().GetQuestionId(), has[2].GetQuestion().GetQuestionId()
	use := func(question string, rubric *assessmentpb.ExportActivitiesResponse) *assessmentpb.CarriedRubricUse {
		return &assessmentpb.CarriedRubricUse{QuestionId: question, RubricId: rubric.GetRubric().GetRubricId()}
	}
	quiz.Rubrics = []*assessmentpb.CarriedRubricUse{use(third, drawn), use(asked, essay)}
	assignment.RubricId, assignment.PeerRubricId = essay.GetRubric().GetRubricId(), peers.GetRubric().GetRubricId()
	c.has[course] = slices.Concat(has[:5], []*assessmentpb.ExportActivitiesResponse{peers, drawn, essay}, has[5:])

	first := f.export(course, 0)
	files := unzipped(t, first)
	for name, want := range map[string]string{
		"rubrics/rubric-1.json": `"title": "Essays"`, "rubrics/rubric-2.json": `"title": "Answers"`, "rubrics/rubric-3.json": `"title": "Peers"`,
		"quizzes/quiz-1.json":           "\"rubrics\": [\n    {\n      \"question_id\": \"question-1\",\n      \"rubric_id\": \"rubric-1\"\n    },\n    {\n      \"question_id\": \"question-3\",\n      \"rubric_id\": \"rubric-2\"",
		"assignments/assignment-1.json": "\"peer_rubric_id\": \"rubric-3\",\n  \"rubric_id\": \"rubric-1\"", "stoa.json": `"version": 4`,
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s has not %s:\n%s", name, want, files[name])
		}
	}
	i := f.imported("", first, false)
	if i.GetState() != "done" || i.GetErrors() != 0 {
		t.Fatalf("import: %v", i)
	}
	if second := f.export(i.GetCourseId(), 0); !bytes.Equal(first, second) {
		t.Errorf("another archive comes of what was imported (-first +second):\n%s", cmp.Diff(files, unzipped(t, second)))
	}
	if i := f.imported("", before, false); i.GetState() != "done" || !strings.Contains(unzipped(t, before)["stoa.json"], `"version": 3`) {
		t.Errorf("one of before: %v", i)
	}
	change := func(name, from, to string) map[string]string {
		m := maps.Clone(files)
		m[name] = strings.Replace(m[name], from, to, 1)
		return m
	}
	for name, one := range map[string]struct {
		files   map[string]string
		version int
		want    string
	}{
		"version 3":               {files, 3, "stoa.json version archive.version"},
		"no such rubric":          {change("quizzes/quiz-1.json", `"rubric-1"`, `"rubric-9"`), 4, "quizzes/quiz-1.json rubrics[0].rubric_id archive.ref"},
		"no rubric":               {change("assignments/assignment-1.json", `"rubric-3"`, `"question-1"`), 4, "assignments/assignment-1.json peer_rubric_id archive.ref"},
		"no such question":        {change("quizzes/quiz-1.json", `"question_id": "question-3"`, `"question_id": "question-7"`), 4, "quizzes/quiz-1.json rubrics[1].question_id archive.ref"},
		"one that marks nothing":  {change("assignments/assignment-1.json", `"rubric-3"`, `"rubric-1"`), 4, "rubrics/rubric-3.json  archive.file_unused"},
		"a key that there is not": {change("rubrics/rubric-1.json", `"title": "Essays"`, `"version": "Essays"`), 4, "rubrics/rubric-1.json version archive.key"},
		"a limit":                 {change("rubrics/rubric-1.json", `"guide"`, `"song"`), 4, "rubrics/rubric-1.json content.kind "},
	} {
		i := f.imported("", sealedAs(t, one.version, without(one.files, "stoa.json"), zip.Store), false)
		if i.GetState() != "failed" || len(i.GetFindings()) == 0 {
			t.Errorf("%s: %v", name, i)
			continue
		}
		g := i.GetFindings()[0]
		if got := g.GetPath() + " " + g.GetField() + " " + g.GetCode(); !strings.HasPrefix(got, one.want) || g.GetHint() == "" {
			t.Errorf("%s: %s, want %s", name, got, one.want)
		}
	}
}

// TestCarriedFails: of an import that fails when quizzes were taken in, nothing is left,
// and one that is tried again takes them in anew.
func TestCarriedFails(t *testing.T) {
	t.Parallel()
	f, c, course := carrying(t)
	first := f.export(course, 0)
	c.fail = fault.New(fault.Conflict, "activities.not_staged", "No.")
	i := f.imported("", first, false)
	if i.GetState() != "failed" || i.GetCode() != "activities.not_staged" || len(f.settled()) != 1 || !strings.HasSuffix(f.settled()[0], " to ") {
		t.Errorf("refused: %v, told %v", i, f.settled())
	}
	c.fail, c.runs = fault.New(fault.Unavailable, "unavailable", "Later."), 0
	sent := must(f.send(f.teacher, "", first, false))
	if courses.RunImports(f.own, t.Context()) == nil || f.state(sent.GetId()).GetState() != "queued" {
		t.Errorf("while it does not answer: %v", f.state(sent.GetId()))
	}
	c.fail = nil
	f.later(1e12)
	if err := courses.RunImports(f.own, t.Context()); err != nil || f.state(sent.GetId()).GetState() != "done" || c.runs != 2 {
		t.Errorf("once it does: %v, %v, taken in %d times", f.state(sent.GetId()), err, c.runs)
	}
}

// TestCarriedRefused: hostile contents are told with their path, and nothing is there.
func TestCarriedRefused(t *testing.T) {
	t.Parallel()
	f, c, course := carrying(t)
	files := unzipped(t, f.export(course, 0))
	change := func(name, from, to string) map[string]string {
		m := maps.Clone(files)
		m[name] = strings.Replace(m[name], from, to, 1)
		if m[name] == files[name] {
			t.Fatalf("%s is as it was:\n%s", name, files[name])
		}
		return m
	}
	put := func(name, text string) map[string]string {
		m := maps.Clone(files)
		m[name] = text
		return m
	}
	drop := func(name string) map[string]string {
		m := maps.Clone(files)
		delete(m, name)
		return m
	}
	question := files["questions/question-2.json"]
	for name, one := range map[string]struct {
		files   map[string]string
		version int
		want    string // path, field and code of the first finding
	}{
		"version 2":                 {files, 2, "stoa.json version archive.version"},
		"no JSON":                   {put("questions/question-2.json", "{"), 3, "questions/question-2.json  archive.json"},
		"a key that there is not":   {change("quizzes/quiz-1.json", `"title"`, `"password"`), 3, "quizzes/quiz-1.json password archive.key"},
		"an unknown type":           {change("questions/question-2.json", `"true_false"`, `"telepathy"`), 3, "questions/question-2.json content.telepathy archive.key"},
		"a question of no type":     {put("questions/question-2.json", `{"question_id": "question-2", "category_id": "category-2", "tags": ["hard"], "content": {"title": "T"}}`), 3, "questions/question-2.json content.body "},
		"no content":                {put("questions/question-2.json", `{"question_id": "question-2", "category_id": "category-2"}`), 3, "questions/question-2.json content "},
		"a limit":                   {change("quizzes/quiz-1.json", `"attempts": 3`, `"attempts": 3000`), 3, "quizzes/quiz-1.json settings.attempts "},
		"content that can't be":     {change("questions/question-2.json", `"Two"`, `"Refused"`), 3, "questions/question-2.json content.title question.refused"},
		"no such question":          {drop("questions/question-1.json"), 3, "quizzes/quiz-1.json settings.sections archive.ref"},
		"no such category":          {drop("categories/category-1.json"), 3, "categories/category-2.json parent_id archive.ref"},
		"no such quiz":              {drop("quizzes/quiz-1.json"), 3, "modules/01-module/01-first/activity.json activity_ref archive.ref"},
		"of another kind":           {change("modules/01-module/01-first/activity.json", `"quiz-1"`, `"assignment-1"`), 3, "modules/01-module/01-first/activity.json activity_ref archive.kind"},
		"no such file":              {change("questions/question-1.json", "media:media-", "media:media-0"), 3, "questions/question-1.json  archive.ref"},
		"a file that is not shown":  {change("questions/question-3.json", "[paper]", "![paper]"), 3, "questions/question-3.json content media.wrong_kind"},
		"an id of the platform":     {change("quizzes/quiz-1.json", `"question-1"`, `"question_01h455vb4pex5vsknk084sn02q"`), 3, "quizzes/quiz-1.json settings.sections archive.ref"},
		"a name twice":              {put("questions/question-4.json", question), 3, "questions/question-4.json question_id archive.id_twice"},
		"a name that can't be":      {put("questions/question-4.json", strings.Replace(question, "question-2", "../x", 1)), 3, "questions/question-4.json question_id archive.id"},
		"a question nobody asks":    {put("questions/question-4.json", strings.NewReplacer(`"question-2"`, `"question-4"`, `"category_id": "category-2",`, "").Replace(question)), 3, "questions/question-4.json  archive.file_unused"},
		"a quiz that nothing shows": {put("quizzes/quiz-2.json", `{"quiz_id": "quiz-2", "title": "T"}`), 3, "quizzes/quiz-2.json  archive.file_unused"},
		"deep down":                 {put("questions/deep/question-4.json", question), 3, "questions/deep/question-4.json  archive.file_unused"},
		"categories in each other":  {change("categories/category-1.json", `"name": "B"`, `"name": "B", "parent_id": "category-2"`), 3, ""},
	} {
		before := f.library.total()
		i := f.imported("", sealedAs(t, one.version, without(one.files, "stoa.json"), zip.Store), false)
		if one.want == "" { // what assessment is asked about
			continue
		}
		if i.GetState() != "failed" || len(i.GetFindings()) == 0 {
			t.Errorf("%s: %v", name, i)
			continue
		}
		g := i.GetFindings()[0]
		if got := g.GetPath() + " " + g.GetField() + " " + g.GetCode(); !strings.HasPrefix(got, one.want) || g.GetHint() == "" {
			t.Errorf("%s: first %q, want %q, of %v", name, got, one.want, i)
		}
		if f.library.total() != before {
			t.Errorf("%s: files are left", name)
		}
	}
	// Another hash than its bytes have.
	m := maps.Clone(files)
	m["questions/question-2.json"] = strings.Replace(question, "Second?", "Zecond?", 1)
	if i := f.imported("", packed(t, m, zip.Store), false); i.GetState() != "failed" || i.GetFindings()[0].GetCode() != "archive.hash" || i.GetFindings()[0].GetPath() != "questions/question-2.json" {
		t.Errorf("another hash: %v", i)
	}
	// More than there may be.
	m = without(files, "stoa.json")
	for n := range 10_001 {
		m[fmt.Sprintf("questions/q%d.json", n)] = "{}"
	}
	if i := f.imported("", sealedAs(t, 3, m, zip.Store), false); i.GetState() != "failed" || i.GetFindings()[0].GetCode() != "archive.too_many_questions" {
		t.Errorf("too many: %v", i)
	}
	if n := len(c.has); n != 2 { // the course, and what was asked about categories in each other
		t.Errorf("%d courses have something", n)
	}
	// The schema knows them.
	holds := compiled(t, must(f.GetArchiveSchema(f.stranger, &coursespb.GetArchiveSchemaRequest{})).AsMap())
	for name, text := range files {
		kind := map[string]string{"categories": "category.json", "questions": "question.json", "quizzes": "quiz.json", "assignments": "assignment.json"}[strings.Split(name, "/")[0]]
		var v any
		if kind == "" {
			continue
		}
		if err := errors.Join(json.Unmarshal([]byte(text), &v), holds(kind, v)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if holds("question.json", map[string]any{"question_id": "question-1"}) == nil {
		t.Error("a question without content is accepted")
	}
}

func without(files map[string]string, name string) map[string]string {
	m := maps.Clone(files)
	delete(m, name)
	return m
}
