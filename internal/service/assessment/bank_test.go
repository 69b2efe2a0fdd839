package assessment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// bankWorld is a bank and those who use it.
type bankWorld struct {
	assessmentpb.BankServiceClient

	t       testing.TB
	service *Service
	outside *outside
}

// outside stands for access and media.
type outside struct {
	accesspb.AccessServiceClient
	mediapb.MediaServiceClient
	mediapb.LibraryServiceClient

	mu     sync.Mutex
	editor map[string]bool   // account and course
	files  map[string]string // the type of a file, by course and id
	copied int
	held   []string
	shown  int
}

func (o *outside) ResolvePermissions(_ context.Context, req *accesspb.ResolvePermissionsRequest, _ ...grpc.CallOption) (*accesspb.ResolvePermissionsResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	res := &accesspb.ResolvePermissionsResponse{}
	for _, q := range req.GetSubjects() {
		var has []string
		if o.editor[q.GetAccountId()+q.GetCourseId()] {
			has = []string{"course.view", "question.edit", "question.read", "assessment.edit"}
		}
		res.Answers = append(res.Answers, &accesspb.ResolvePermissionsResponse_Answer{Permissions: has})
	}
	return res, nil
}

func (o *outside) HoldMedia(_ context.Context, req *mediapb.HoldMediaRequest, _ ...grpc.CallOption) (*mediapb.HoldMediaResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	res := &mediapb.HoldMediaResponse{}
	for _, mediaID := range req.GetMediaIds() {
		if t := o.files[req.GetCourseId()+mediaID]; t != "" {
			o.held = append(o.held, mediaID)
			res.Items = append(res.Items, &mediapb.Media{Id: mediaID, ContentType: t})
		}
	}
	return res, nil
}

func (o *outside) CopyMedia(_ context.Context, req *mediapb.CopyMediaRequest, _ ...grpc.CallOption) (*mediapb.CopyMediaResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	res := &mediapb.CopyMediaResponse{}
	for _, mediaID := range req.GetMediaIds() {
		c := id.New("media")
		o.files[req.GetToCourseId()+c] = o.files[req.GetFromCourseId()+mediaID]
		o.copied++
		res.Items = append(res.Items, &mediapb.CopiedMedia{FromMediaId: mediaID, MediaId: c})
	}
	return res, nil
}

func newBankWorld(t testing.TB) *bankWorld {
	t.Helper()
	o := &outside{editor: map[string]bool{}, files: map[string]string{}}
	s := New(Config{DB: pgtest.Open(t, Schema), Log: rpctest.Log(t), Access: o, Media: o, Library: o})
	h := rpctest.New(t, func(account, course, _ string) bool { return o.editor[account+course] })
	s.Register(h)
	return &bankWorld{assessmentpb.NewBankServiceClient(h.As("edge")), t, s, o}
}

// course returns a course whose bank the account edits.
func (w *bankWorld) course(account string) string {
	courseID := id.New("course")
	w.outside.mu.Lock()
	defer w.outside.mu.Unlock()
	w.outside.editor[account+courseID] = true
	return courseID
}

func (w *bankWorld) picture(courseID string) string {
	mediaID := id.New("media")
	w.outside.mu.Lock()
	defer w.outside.mu.Unlock()
	w.outside.files[courseID+mediaID] = "image/png"
	return mediaID
}

func truth(title, prompt string) *questionpb.QuestionContent {
	return &questionpb.QuestionContent{Title: title, Prompt: prompt, Body: &questionpb.QuestionContent_TrueFalse{TrueFalse: &questionpb.TrueFalseQuestion{Right: true}}}
}

func (w *bankWorld) add(ctx context.Context, courseID, categoryID string, content *questionpb.QuestionContent, tags ...string) *assessmentpb.BankQuestion {
	w.t.Helper()
	q, err := w.CreateQuestion(ctx, &assessmentpb.CreateQuestionRequest{CourseId: courseID, CategoryId: categoryID, Tags: tags, Content: content})
	if err != nil {
		w.t.Fatalf("CreateQuestion: %v", err)
	}
	return q
}

func (w *bankWorld) category(ctx context.Context, courseID, parentID, name string) string {
	w.t.Helper()
	c, err := w.CreateCategory(ctx, &assessmentpb.CreateCategoryRequest{CourseId: courseID, ParentId: parentID, Name: name})
	if err != nil {
		w.t.Fatalf("CreateCategory: %v", err)
	}
	return c.GetId()
}

func (w *bankWorld) titles(ctx context.Context, req *assessmentpb.ListQuestionsRequest) []string {
	w.t.Helper()
	var out []string
	for range 100 {
		res, err := w.ListQuestions(ctx, req)
		if err != nil {
			w.t.Fatalf("ListQuestions: %v", err)
		}
		for _, q := range res.GetItems() {
			out = append(out, q.GetContent().GetTitle())
		}
		if req.Cursor = res.GetNextCursor(); req.GetCursor() == "" {
			return out
		}
	}
	w.t.Fatal("pages without an end")
	return nil
}

func wantFault(t *testing.T, what string, err error, code, field string) {
	t.Helper()
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Code != code && !slices.ContainsFunc(f.Fields, func(field fault.Field) bool { return field.Code == code }) {
		t.Errorf("%s: %v, want %s", what, err, code)
		return
	}
	if field != "" && !strings.Contains(err.Error(), field) {
		t.Errorf("%s: %v names not %s", what, err, field)
	}
}

func TestQuestionVersions(t *testing.T) {
	t.Parallel()
	w := newBankWorld(t)
	teacher := id.New("account")
	ctx, courseID := rpctest.Account(t.Context(), teacher), w.course(teacher)
	req := &assessmentpb.CreateQuestionRequest{CourseId: courseID, Tags: []string{" Rome ", "rome", "B  c"}, Content: truth("One", "Is it?")}
	q, err := w.CreateQuestion(rpc.WithIdempotencyKey(ctx, "k"), req)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := w.CreateQuestion(rpc.WithIdempotencyKey(ctx, "k"), req); err != nil || !cmp.Equal(q, again, protocmp.Transform()) {
		t.Errorf("with the same key: %v, %v", again, err)
	}
	if q.GetVersion() != 1 || q.GetCurrentVersion() != 1 || q.GetKind() != "true_false" || !slices.Equal(q.GetTags(), []string{"b c", "rome"}) || len(q.GetHash()) != 64 {
		t.Errorf("made: %v", q)
	}
	update := func(etag string, content *questionpb.QuestionContent) (*assessmentpb.BankQuestion, error) {
		return w.UpdateQuestion(rpc.WithIfMatch(ctx, etag), &assessmentpb.UpdateQuestionRequest{CourseId: courseID, QuestionId: q.GetId(), Content: content})
	}
	second, err := update(q.GetEtag(), truth("Two", "Is it now?"))
	if err != nil || second.GetVersion() != 2 || second.GetContent().GetTitle() != "Two" {
		t.Fatalf("changed: %v, %v", second, err)
	}
	_, err = update(q.GetEtag(), truth("Three", "?"))
	wantFault(t, "on top of an old one", err, "etag.stale", "")
	if same, err := update("", truth("Two", "Is it now?")); err != nil || same.GetVersion() != 2 {
		t.Errorf("the same content is another version: %v, %v", same, err)
	}
	_, err = update("", &questionpb.QuestionContent{Title: "E", Prompt: "Write.", Body: &questionpb.QuestionContent_Essay{Essay: &questionpb.EssayQuestion{}}})
	wantFault(t, "of another kind", err, "question.other_kind", "content")
	_, err = update("", &questionpb.QuestionContent{Title: "E"})
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "content.") {
		t.Errorf("without a body: %v", err)
	}

	first, err := w.GetQuestion(ctx, &assessmentpb.GetQuestionRequest{CourseId: courseID, QuestionId: q.GetId(), Version: 1})
	if err != nil || first.GetContent().GetTitle() != "One" || first.GetVersion() != 1 || first.GetCurrentVersion() != 2 {
		t.Errorf("the first version: %v, %v", first, err)
	}
	_, err = w.GetQuestion(ctx, &assessmentpb.GetQuestionRequest{CourseId: courseID, QuestionId: q.GetId(), Version: 3})
	wantFault(t, "a version there is not", err, "question.not_found", "")
	back, err := w.SetQuestionVersion(ctx, &assessmentpb.SetQuestionVersionRequest{CourseId: courseID, QuestionId: q.GetId(), Version: 1})
	if err != nil || back.GetCurrentVersion() != 1 || back.GetContent().GetTitle() != "One" {
		t.Errorf("set back: %v, %v", back, err)
	}
	if got := w.titles(ctx, &assessmentpb.ListQuestionsRequest{CourseId: courseID, Query: "one"}); !slices.Equal(got, []string{"One"}) {
		t.Errorf("found by the version set: %v", got)
	}
	third, err := update("", truth("Three", "At last?"))
	if err != nil || third.GetVersion() != 3 {
		t.Errorf("after an earlier one was set: %v, %v", third, err)
	}
	list, err := w.ListQuestionVersions(ctx, &assessmentpb.ListQuestionVersionsRequest{CourseId: courseID, QuestionId: q.GetId(), PageSize: 2})
	if err != nil || len(list.GetItems()) != 2 || list.GetItems()[0].GetTitle() != "Three" {
		t.Fatalf("versions: %v, %v", list, err)
	}
	list, err = w.ListQuestionVersions(ctx, &assessmentpb.ListQuestionVersionsRequest{CourseId: courseID, QuestionId: q.GetId(), PageSize: 2, Cursor: list.GetNextCursor()})
	if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetVersion() != 1 || list.GetNextCursor() != "" {
		t.Errorf("the rest: %v, %v", list, err)
	}

	other := w.course(teacher)
	_, err = w.GetQuestion(ctx, &assessmentpb.GetQuestionRequest{CourseId: other, QuestionId: q.GetId()})
	wantFault(t, "through another course", err, "question.not_found", "")
	if _, err := w.DeleteQuestion(ctx, &assessmentpb.DeleteQuestionRequest{CourseId: courseID, QuestionId: q.GetId()}); err != nil {
		t.Error(err)
	}
	_, err = w.GetQuestion(ctx, &assessmentpb.GetQuestionRequest{CourseId: courseID, QuestionId: q.GetId()})
	wantFault(t, "deleted", err, "question.not_found", "")
	if got := w.titles(ctx, &assessmentpb.ListQuestionsRequest{CourseId: courseID}); len(got) != 0 {
		t.Errorf("deleted ones are listed: %v", got)
	}
}

// TestQuestionVersionRace: of several who change a question at once on top of the
// same version one wins, and each version has its number once.
func TestQuestionVersionRace(t *testing.T) {
	t.Parallel()
	w := newBankWorld(t)
	teacher := id.New("account")
	ctx, courseID := rpctest.Account(t.Context(), teacher), w.course(teacher)
	q := w.add(ctx, courseID, "", truth("Race", "?"))
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		won      int
		versions []int32
	)
	for i := range 8 {
		for _, etag := range []string{q.GetEtag(), ""} {
			wg.Go(func() {
				got, err := w.UpdateQuestion(rpc.WithIfMatch(ctx, etag), &assessmentpb.UpdateQuestionRequest{
					CourseId: courseID, QuestionId: q.GetId(), Content: truth(fmt.Sprint("Race ", i, etag), "?"),
				})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					versions = append(versions, got.GetVersion())
					if etag != "" {
						won++
					}
				case etag == "" || fault.CodeOf(err) != "etag.stale":
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	slices.Sort(versions)
	if won > 1 || len(versions) != 8+won || versions[0] != 2 || int(versions[len(versions)-1]) != len(versions)+1 || len(slices.Compact(versions)) != 8+won {
		t.Errorf("%d won with a version, versions %v", won, versions)
	}
}

func TestCategories(t *testing.T) {
	t.Parallel()
	w := newBankWorld(t)
	teacher := id.New("account")
	ctx, courseID := rpctest.Account(t.Context(), teacher), w.course(teacher)
	history := w.category(ctx, courseID, "", "History")
	rome := w.category(ctx, courseID, history, "Rome")
	kings := w.category(ctx, courseID, rome, "Kings")
	_, err := w.CreateCategory(ctx, &assessmentpb.CreateCategoryRequest{CourseId: courseID, Name: "hisTory"})
	wantFault(t, "the same name", err, "category.exists", "")
	_, err = w.CreateCategory(ctx, &assessmentpb.CreateCategoryRequest{CourseId: w.course(teacher), ParentId: rome, Name: "X"})
	wantFault(t, "in another bank", err, "category.not_found", "parent_id")
	move := func(categoryID, parentID string) error {
		_, err := w.UpdateCategory(ctx, &assessmentpb.UpdateCategoryRequest{CourseId: courseID, CategoryId: categoryID, ParentId: &parentID})
		return err
	}
	wantFault(t, "into itself", move(history, kings), "category.circle", "parent_id")
	deep := kings
	for i := range 7 {
		deep = w.category(ctx, courseID, deep, fmt.Sprint("Deep ", i))
	}
	_, err = w.CreateCategory(ctx, &assessmentpb.CreateCategoryRequest{CourseId: courseID, ParentId: deep, Name: "X"})
	wantFault(t, "too deep", err, "category.too_deep", "parent_id")
	wide := w.category(ctx, courseID, w.category(ctx, courseID, "", "A"), "B")
	wantFault(t, "moved too deep", move(rome, wide), "category.too_deep", "parent_id")

	w.add(ctx, courseID, kings, truth("Numa", "?"))
	w.add(ctx, courseID, rome, truth("Caesar", "?"))
	w.add(ctx, courseID, "", truth("Nobody", "?"))
	in := func(categoryID string, deep bool) []string {
		return w.titles(ctx, &assessmentpb.ListQuestionsRequest{CourseId: courseID, CategoryId: categoryID, Deep: deep, PageSize: 1})
	}
	if got := in(rome, false); !slices.Equal(got, []string{"Caesar"}) {
		t.Errorf("in Rome: %v", got)
	}
	if got := in(history, true); !slices.Equal(got, []string{"Caesar", "Numa"}) {
		t.Errorf("in History and below: %v", got)
	}
	list, err := w.ListCategories(ctx, &assessmentpb.ListCategoriesRequest{CourseId: courseID})
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, c := range list.GetItems() {
		if c.GetQuestionCount() > 0 {
			paths = append(paths, fmt.Sprint(strings.Join(c.GetPath(), "/"), " ", c.GetQuestionCount()))
		}
	}
	if diff := cmp.Diff([]string{"History/Rome 1", "History/Rome/Kings 1"}, paths); diff != "" {
		t.Error(diff)
	}
	if _, err := w.DeleteCategory(ctx, &assessmentpb.DeleteCategoryRequest{CourseId: courseID, CategoryId: rome}); err != nil {
		t.Fatal(err)
	}
	if got := in(history, false); !slices.Equal(got, []string{"Caesar"}) {
		t.Errorf("what was in the one that was deleted: %v", got)
	}
	if got := in(history, true); !slices.Equal(got, []string{"Caesar", "Numa"}) {
		t.Errorf("below the one that was deleted: %v", got)
	}
	_, err = w.ListQuestions(ctx, &assessmentpb.ListQuestionsRequest{CourseId: courseID, CategoryId: rome})
	wantFault(t, "of one that was deleted", err, "category.not_found", "")
}

func TestSearchQuestions(t *testing.T) {
	t.Parallel()
	w := newBankWorld(t)
	teacher := id.New("account")
	ctx, courseID := rpctest.Account(t.Context(), teacher), w.course(teacher)
	w.add(ctx, courseID, "", truth("Volcano", "Does a mountain smoke?"), "geology", "easy")
	w.add(ctx, courseID, "", truth("Mountain", "Is Etna one?"), "geology", "it's")
	w.add(ctx, courseID, "", truth("River", "Does it flow to the sea, volcano or not?"), "water")
	w.add(ctx, courseID, "", &questionpb.QuestionContent{Title: "Peak", Prompt: "Name one.", Body: &questionpb.QuestionContent_ShortAnswer{
		ShortAnswer: &questionpb.ShortAnswerQuestion{Patterns: []*questionpb.AnswerPattern{{Pattern: "Etna"}}},
	}})
	w.add(ctx, w.course(teacher), "", truth("Volcano elsewhere", "?"), "geology")
	for _, c := range []struct {
		req  *assessmentpb.ListQuestionsRequest
		want []string
	}{
		{&assessmentpb.ListQuestionsRequest{Query: "volcano"}, []string{"Volcano", "River"}},
		{&assessmentpb.ListQuestionsRequest{Query: "VOLC"}, []string{"Volcano", "River"}},
		{&assessmentpb.ListQuestionsRequest{Query: "etna"}, []string{"Peak", "Mountain"}},
		{&assessmentpb.ListQuestionsRequest{Query: "volcano -river "}, []string{"Volcano"}},
		{&assessmentpb.ListQuestionsRequest{Query: `"to the sea"`}, []string{"River"}},
		{&assessmentpb.ListQuestionsRequest{Query: `"the to sea"`}, nil},
		{&assessmentpb.ListQuestionsRequest{Query: "water"}, []string{"River"}},
		{&assessmentpb.ListQuestionsRequest{Query: "' | \\ & ! :* <-> é "}, nil},
		{&assessmentpb.ListQuestionsRequest{Query: "mountain", Tags: []string{"Easy"}}, []string{"Volcano"}},
		{&assessmentpb.ListQuestionsRequest{Tags: []string{"geology"}}, []string{"Mountain", "Volcano"}},
		{&assessmentpb.ListQuestionsRequest{Tags: []string{"geology", "it's"}}, []string{"Mountain"}},
		{&assessmentpb.ListQuestionsRequest{Kind: "short_answer"}, []string{"Peak"}},
		{&assessmentpb.ListQuestionsRequest{Kind: "short_answer", Query: "volcano"}, nil},
	} {
		for _, size := range []int32{0, 1} {
			c.req.CourseId, c.req.PageSize, c.req.Cursor = courseID, size, ""
			got := w.titles(ctx, c.req)
			if c.req.GetQuery() == "etna" { // as good as each other but for the weight of the prompt
				slices.Sort(got)
				slices.Sort(c.want)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%v: %v, want %v", c.req, got, c.want)
			}
		}
	}
}

func TestSharedBank(t *testing.T) {
	t.Parallel()
	w := newBankWorld(t)
	teacher, colleague := id.New("account"), id.New("account")
	ctx := rpctest.Account(t.Context(), teacher)
	from, with, foreign := w.course(teacher), w.course(teacher), w.course(colleague)
	picture := w.picture(from)
	q := w.add(ctx, from, "", truth("Shared", "![A map](media:"+picture+") Is it?"), "map")
	_, err := w.CreateQuestion(ctx, &assessmentpb.CreateQuestionRequest{CourseId: with, Content: truth("X", "![x](media:"+picture+")")})
	wantFault(t, "a picture of another course", err, "media.not_found", picture)

	get := func() error {
		_, err := w.GetQuestion(ctx, &assessmentpb.GetQuestionRequest{CourseId: with, QuestionId: q.GetId()})
		return err
	}
	wantFault(t, "before it is shared", get(), "question.not_found", "")
	_, err = w.ListQuestions(ctx, &assessmentpb.ListQuestionsRequest{CourseId: with, BankCourseId: from})
	wantFault(t, "before it is shared", err, "bank.not_shared", "")
	share := func(to string) error {
		_, err := w.ShareBank(ctx, &assessmentpb.ShareBankRequest{CourseId: from, WithCourseId: to})
		return err
	}
	wantFault(t, "with a course of somebody else", share(foreign), "not_found", "")
	wantFault(t, "with itself", share(from), "bank.itself", "with_course_id")
	for range 2 {
		if err := share(with); err != nil {
			t.Fatal(err)
		}
	}
	if err := get(); err != nil {
		t.Errorf("shared: %v", err)
	}
	if got := w.titles(ctx, &assessmentpb.ListQuestionsRequest{CourseId: with, BankCourseId: from, Tags: []string{"map"}}); !slices.Equal(got, []string{"Shared"}) {
		t.Errorf("listed: %v", got)
	}
	_, err = w.UpdateQuestion(ctx, &assessmentpb.UpdateQuestionRequest{CourseId: with, QuestionId: q.GetId(), Content: truth("Mine", "?")})
	wantFault(t, "changed where it is shared", err, "question.not_found", "")
	list, err := w.ListBankShares(ctx, &assessmentpb.ListBankSharesRequest{CourseId: with})
	if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetCourseId() != from {
		t.Errorf("shares: %v, %v", list, err)
	}

	req := &assessmentpb.CopyQuestionsRequest{CourseId: with, QuestionIds: []string{q.GetId()}}
	for range 2 {
		res, err := w.CopyQuestions(rpc.WithIdempotencyKey(ctx, "copy"), req)
		if err != nil {
			t.Fatal(err)
		}
		c, err := w.GetQuestion(ctx, &assessmentpb.GetQuestionRequest{CourseId: with, QuestionId: res.GetQuestionIds()[0]})
		if err != nil || c.GetCourseId() != with || strings.Contains(c.GetContent().GetPrompt(), picture) || !strings.Contains(c.GetContent().GetPrompt(), "(media:media_") {
			t.Errorf("the copy: %v, %v", c, err)
		}
	}
	if got := w.titles(ctx, &assessmentpb.ListQuestionsRequest{CourseId: with}); len(got) != 1 {
		t.Errorf("copied with one key twice: %v", got)
	}
	if _, err := w.UnshareBank(ctx, &assessmentpb.UnshareBankRequest{CourseId: from, WithCourseId: with}); err != nil {
		t.Error(err)
	}
	wantFault(t, "after it was shared", get(), "question.not_found", "")
	_, err = w.UnshareBank(ctx, &assessmentpb.UnshareBankRequest{CourseId: from, WithCourseId: with})
	wantFault(t, "ended twice", err, "bank.not_shared", "")
}

func TestArrangeQuestions(t *testing.T) {
	t.Parallel()
	w := newBankWorld(t)
	teacher := id.New("account")
	ctx, courseID := rpctest.Account(t.Context(), teacher), w.course(teacher)
	a, b := w.add(ctx, courseID, "", truth("A", "?"), "old", "kept"), w.add(ctx, courseID, "", truth("B", "?"))
	to := w.category(ctx, courseID, "", "To")
	arrange := func(req *assessmentpb.ArrangeQuestionsRequest) (int32, error) {
		req.CourseId = courseID
		res, err := w.ArrangeQuestions(ctx, req)
		return res.GetChanged(), err
	}
	ids := []string{a.GetId(), b.GetId()}
	if n, err := arrange(&assessmentpb.ArrangeQuestionsRequest{QuestionIds: ids, CategoryId: &to, AddTags: []string{"New"}, RemoveTags: []string{"old"}}); err != nil || n != 2 {
		t.Fatalf("%d, %v", n, err)
	}
	if n, err := arrange(&assessmentpb.ArrangeQuestionsRequest{QuestionIds: ids, AddTags: []string{"new"}}); err != nil || n != 0 {
		t.Errorf("again: %d, %v", n, err)
	}
	got, err := w.GetQuestion(ctx, &assessmentpb.GetQuestionRequest{CourseId: courseID, QuestionId: a.GetId()})
	if err != nil || got.GetCategoryId() != to || !slices.Equal(got.GetTags(), []string{"kept", "new"}) {
		t.Errorf("arranged: %v, %v", got, err)
	}
	if got := w.titles(ctx, &assessmentpb.ListQuestionsRequest{CourseId: courseID, CategoryId: to, Tags: []string{"new"}}); !slices.Equal(got, []string{"B", "A"}) {
		t.Errorf("found: %v", got)
	}
	_, err = arrange(&assessmentpb.ArrangeQuestionsRequest{QuestionIds: append(ids, id.New("question")), AddTags: []string{"x"}})
	wantFault(t, "one that there is not", err, "question.not_found", "question_ids[2]")
	many := make([]string, 19)
	for i := range many {
		many[i] = fmt.Sprint("tag ", i)
	}
	_, err = arrange(&assessmentpb.ArrangeQuestionsRequest{QuestionIds: ids, AddTags: many})
	wantFault(t, "too many tags", err, "question.too_many_tags", "add_tags")
	if got := w.titles(ctx, &assessmentpb.ListQuestionsRequest{CourseId: courseID, Tags: []string{"tag 1"}}); len(got) != 0 {
		t.Errorf("half of it was done: %v", got)
	}
}
