package assessment

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// quizWorld is a course with a bank, a teacher and students.
type quizWorld struct {
	*world
	assessmentpb.QuizServiceClient

	mine     assessmentpb.MyQuizServiceClient
	bank     *bankWorld
	outside  *outside
	course   string
	teacher  string
	item     string
	sequence int64
}

// around stands for learning, and for access where exams are eased.
type around struct {
	learningpb.ItemServiceClient
	accesspb.AccommodationServiceClient

	mu    sync.Mutex
	items map[string]*learningpb.ItemAccess // by account; open to whom it does not name
	eases map[string][]*accesspb.Ease
	asked int
	opens map[string]time.Time // by account, of the item that is asked for
	at    *learningpb.Opening  // the course and the item of opens
	away  bool                 // nobody answers about them
}

// ListOpenings tells each moment on a page of its own.
func (a *around) ListOpenings(_ context.Context, req *learningpb.ListOpeningsRequest, _ ...grpc.CallOption) (*learningpb.ListOpeningsResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.away {
		return nil, fault.New(fault.Unavailable, "unavailable", "A part of Stoa does not answer. Try again.")
	}
	var at []time.Time
	for _, t := range a.opens {
		if t.After(req.GetAfter().AsTime()) && !t.After(req.GetUntil().AsTime()) && t.Format(time.RFC3339) > req.GetCursor() {
			at = append(at, t)
		}
	}
	out := &learningpb.ListOpeningsResponse{}
	if len(at) > 0 {
		first := slices.MinFunc(at, time.Time.Compare)
		o := proto.CloneOf(a.at)
		o.AvailableFrom = timestamppb.New(first)
		lesson := &learningpb.Opening{CourseId: o.GetCourseId(), ItemId: id.New("lesson"), AvailableFrom: o.GetAvailableFrom()}
		out.Items, out.NextCursor = []*learningpb.Opening{o, lesson}, first.Format(time.RFC3339)
	}
	return out, nil
}

func (a *around) ListOpeningAccounts(_ context.Context, req *learningpb.ListOpeningAccountsRequest, _ ...grpc.CallOption) (*learningpb.ListOpeningAccountsResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := &learningpb.ListOpeningAccountsResponse{}
	for account, t := range a.opens {
		if t.After(req.GetAfter().AsTime()) && !t.After(req.GetUntil().AsTime()) && account > req.GetAfterAccountId() && req.GetItemId() == a.at.GetItemId() {
			out.AccountIds = append(out.AccountIds, account)
		}
	}
	slices.Sort(out.GetAccountIds())
	if n := int(req.GetPageSize()); len(out.GetAccountIds()) > n {
		out.AccountIds = out.GetAccountIds()[:n]
	}
	return out, nil
}

// opensFor has learning say from when the quiz is available to somebody.
func (a *around) opensFor(course, item, account string, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = &learningpb.Opening{CourseId: course, ItemId: item}
	a.opens[account] = at
	a.items[account] = &learningpb.ItemAccess{Enrolled: true, State: "locked", OpensAt: timestamppb.New(at)}
}

func (a *around) setAway(away bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = away
}

func (a *around) ListItemAccess(_ context.Context, req *learningpb.ListItemAccessRequest, _ ...grpc.CallOption) (*learningpb.ListItemAccessResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	out := &learningpb.ListItemAccessResponse{}
	for _, account := range req.GetAccountIds() {
		it := &learningpb.ItemAccess{Enrolled: true, State: "open"}
		if said := a.items[account]; said != nil {
			it = proto.CloneOf(said)
		}
		it.AccountId = account
		out.Items = append(out.Items, it)
	}
	return out, nil
}

func (a *around) CheckItems(_ context.Context, req *learningpb.CheckItemsRequest, _ ...grpc.CallOption) (*learningpb.CheckItemsResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := &learningpb.CheckItemsResponse{}
	if it := a.items[req.GetAccountId()]; it != nil {
		out.NotEnrolled = !it.GetEnrolled()
	}
	for _, itemID := range req.GetItemIds() {
		st := &learningpb.ItemState{ItemId: itemID, State: "open"}
		if it := a.items[req.GetAccountId()]; it != nil {
			st = &learningpb.ItemState{ItemId: itemID, State: it.GetState(), Reasons: it.GetReasons(), OpensAt: it.GetOpensAt(), ClosesAt: it.GetClosesAt(), Due: it.GetDue(), Until: it.GetUntil()}
		}
		out.Items = append(out.Items, st)
	}
	return out, nil
}

func (a *around) ListAccommodations(_ context.Context, req *accesspb.ListAccommodationsRequest, _ ...grpc.CallOption) (*accesspb.ListAccommodationsResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := &accesspb.ListAccommodationsResponse{}
	for _, account := range req.GetAccountIds() {
		for _, ease := range a.eases[account] {
			out.Items = append(out.Items, &accesspb.Accommodation{AccountId: account, Ease: ease})
		}
	}
	return out, nil
}

func newAround() *around {
	return &around{items: map[string]*learningpb.ItemAccess{}, eases: map[string][]*accesspb.Ease{}, opens: map[string]time.Time{}}
}

// say has learning say how the quiz stands for somebody.
func (a *around) say(account string, it *learningpb.ItemAccess) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.items[account] = it
}

func newQuizWorld(t testing.TB) *quizWorld {
	t.Helper()
	o := &outside{editor: map[string]bool{}, files: map[string]string{}}
	a := newAround()
	memory, err := cache.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	w := &quizWorld{
		world:   &world{t: t, db: pgtest.Open(t, Schema), around: a, clock: time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)},
		outside: o, teacher: id.New("account"), item: id.New("activity"),
	}
	w.service = New(Config{DB: w.db, Log: rpctest.Log(t), Access: o, Media: o, Library: o, Accommodations: a, Items: a, Wrong: memory, Now: w.now})
	w.harness = rpctest.New(t, rpctest.Everything)
	w.service.Register(w.harness)
	conn := w.harness.As("edge")
	w.attempts = assessmentpb.NewAttemptServiceClient(conn)
	w.QuizServiceClient, w.mine = assessmentpb.NewQuizServiceClient(conn), assessmentpb.NewMyQuizServiceClient(conn)
	w.bank = &bankWorld{assessmentpb.NewBankServiceClient(conn), t, w.service, o}
	w.course = w.bank.course(w.teacher)
	return w
}

func (w *quizWorld) question(title string) string {
	w.t.Helper()
	return w.bank.add(w.as(w.teacher), w.course, "", truth(title, title+"?")).GetId()
}

func asked(questionID string) *assessmentpb.QuizSlot {
	return &assessmentpb.QuizSlot{Source: &assessmentpb.QuizSlot_Question{Question: &assessmentpb.FixedQuestion{QuestionId: questionID}}}
}

func drawn(categoryID string, n int32, tags ...string) *assessmentpb.QuizSlot {
	return &assessmentpb.QuizSlot{Source: &assessmentpb.QuizSlot_Draw{Draw: &assessmentpb.QuestionDraw{CategoryId: categoryID, Count: n, Tags: tags}}}
}

func section(slots ...*assessmentpb.QuizSlot) *assessmentpb.QuizSection {
	return &assessmentpb.QuizSection{Slots: slots}
}

func (w *quizWorld) create(settings *assessmentpb.QuizSettings) *assessmentpb.Quiz {
	w.t.Helper()
	z, err := w.CreateQuiz(w.as(w.teacher), &assessmentpb.CreateQuizRequest{CourseId: w.course, Title: " The Stoics ", Settings: settings})
	if err != nil {
		w.t.Fatalf("CreateQuiz: %v", err)
	}
	return z
}

func (w *quizWorld) publish(quizID string) *assessmentpb.Quiz {
	w.t.Helper()
	z, err := w.PublishQuiz(w.as(w.teacher), &assessmentpb.PublishQuizRequest{CourseId: w.course, QuizId: quizID})
	if err != nil {
		w.t.Fatalf("PublishQuiz: %v", err)
	}
	return z
}

func (w *quizWorld) update(quizID string, settings *assessmentpb.QuizSettings) {
	w.t.Helper()
	if _, err := w.UpdateQuiz(w.as(w.teacher), &assessmentpb.UpdateQuizRequest{CourseId: w.course, QuizId: quizID, Settings: settings}); err != nil {
		w.t.Fatalf("UpdateQuiz: %v", err)
	}
}

// in runs a function in a transaction.
func (w *quizWorld) in(fn func(tx *pg.Tx) error) {
	w.t.Helper()
	if err := w.db.InTx(context.Background(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		return fn(tx)
	}); err != nil {
		w.t.Fatal(err)
	}
}

// place has the course show a quiz at the item, from a moment on.
func (w *quizWorld) place(quizID string, from *time.Time) {
	w.t.Helper()
	w.sequence++
	it := &coursespb.PublishedItem{Id: w.item, Kind: "quiz", Title: "Test", ActivityRef: quizID}
	if from != nil {
		it.Schedule = &releasepb.Schedule{AvailableFrom: &releasepb.Moment{When: &releasepb.Moment_At{At: timestamppb.New(*from)}}}
	}
	hear(w.world, w.service.coursePublished, &coursespb.CoursePublished{CourseId: w.course, Sequence: w.sequence, Items: []*coursespb.PublishedItem{it}})
}

// placed makes a quiz, publishes it and has the course show it.
func (w *quizWorld) placed(settings *assessmentpb.QuizSettings) string {
	w.t.Helper()
	z := w.create(settings)
	w.publish(z.GetId())
	w.place(z.GetId(), nil)
	return z.GetId()
}

// query returns rows of one text each.
func (w *quizWorld) query(sql string, args ...any) []string {
	w.t.Helper()
	rows, err := w.db.Query(context.Background(), sql, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// codes returns "path code" of the fields of an error, with the error's own first.
func codesOf(err error) []string {
	out := []string{fault.CodeOf(err)}
	var f *fault.Error
	if e, ok := err.(*fault.Error); ok { //nolint:errorlint // as the client returns it
		f = e
	}
	for _, one := range f.Fields {
		out = append(out, one.Path+" "+one.Code)
	}
	return out
}

func TestQuizDraft(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	ctx := w.as(w.teacher)
	first, second := w.question("First"), w.question("Second")
	category := w.bank.category(ctx, w.course, "", "Physics")
	settings := &assessmentpb.QuizSettings{
		Instructions: "Read.", TimeLimitSeconds: 600, Attempts: 2, AddressRanges: []string{"192.0.2.0/24", "2001:db8::1"},
		Sections: []*assessmentpb.QuizSection{section(asked(first), drawn(category, 3, " Ethics ", "ethics")), section(asked(second))},
	}
	z := w.create(settings)
	if z.GetTitle() != "The Stoics" || z.GetQuestionCount() != 5 || z.GetVersion() != 0 || !z.GetChanged() || z.GetHasPassword() {
		t.Errorf("made: %v", z)
	}
	want := proto.CloneOf(settings)
	want.Sections[0].Slots[1].GetDraw().Tags = []string{"ethics"}
	got, err := w.GetQuiz(ctx, &assessmentpb.GetQuizRequest{CourseId: w.course, QuizId: z.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.GetSettings(), protocmp.Transform()); diff != "" {
		t.Errorf("draft (-want +got):\n%s", diff)
	}
	// What only published versions have is left out.
	sent := proto.CloneOf(settings)
	sent.Sections[0].Slots[0].GetQuestion().Points, sent.Sections[0].Slots[1].GetDraw().DrawnFrom = "7", []*assessmentpb.FixedQuestion{{QuestionId: second, Version: 1}}
	updated, err := w.UpdateQuiz(rpc.WithIfMatch(ctx, got.GetEtag()), &assessmentpb.UpdateQuizRequest{CourseId: w.course, QuizId: z.GetId(), Settings: sent})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, updated.GetSettings(), protocmp.Transform()); diff != "" {
		t.Errorf("draft (-want +got):\n%s", diff)
	}
	if _, err := w.UpdateQuiz(rpc.WithIfMatch(ctx, got.GetEtag()), &assessmentpb.UpdateQuizRequest{CourseId: w.course, QuizId: z.GetId(), Settings: sent}); fault.CodeOf(err) != "etag.stale" {
		t.Errorf("a stale change: %v", err)
	}
	other := w.as(id.New("account"))
	if _, err := w.UpdateQuiz(other, &assessmentpb.UpdateQuizRequest{CourseId: w.course, QuizId: z.GetId(), Settings: sent}); fault.CodeOf(err) != "etag.required" {
		t.Errorf("another's change unseen: %v", err)
	}
	if _, err := w.PublishQuiz(other, &assessmentpb.PublishQuizRequest{CourseId: w.course, QuizId: z.GetId()}); fault.CodeOf(err) != "etag.required" {
		t.Errorf("publishing another's change unseen: %v", err)
	}
	w.later(time.Hour)
	if _, err := w.UpdateQuiz(other, &assessmentpb.UpdateQuizRequest{CourseId: w.course, QuizId: z.GetId(), Title: new("Zeno")}); err != nil {
		t.Errorf("an hour later: %v", err)
	}
	list, err := w.ListQuizzes(ctx, &assessmentpb.ListQuizzesRequest{CourseId: w.course})
	if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetTitle() != "Zeno" || list.GetItems()[0].GetSettings() != nil {
		t.Errorf("list: %v, %v", list, err)
	}
	if _, err := w.GetQuiz(ctx, &assessmentpb.GetQuizRequest{CourseId: id.New("course"), QuizId: z.GetId()}); fault.CodeOf(err) != "quiz.not_found" {
		t.Errorf("of another course: %v", err)
	}
	uses := w.query(`SELECT question_id || draft || published_version FROM quiz_question WHERE quiz_id = $1 ORDER BY 1`, z.GetId())
	if diff := cmp.Diff([]string{first + "true0", second + "true0"}, uses); diff != "" {
		t.Errorf("uses (-want +got):\n%s", diff)
	}
	if _, err := w.DeleteQuiz(rpc.WithIfMatch(ctx, "*"), &assessmentpb.DeleteQuizRequest{CourseId: w.course, QuizId: z.GetId()}); err != nil {
		t.Fatal(err)
	}
	if uses := w.query(`SELECT question_id FROM quiz_question`); len(uses) > 0 {
		t.Errorf("a deleted quiz uses %v", uses)
	}
	if _, err := w.bank.DeleteCategory(ctx, &assessmentpb.DeleteCategoryRequest{CourseId: w.course, CategoryId: category}); err != nil {
		t.Errorf("its category: %v", err)
	}
}

func TestQuizFields(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	known, elsewhere := w.question("Known"), id.New("question")
	other := w.bank.add(w.as(w.teacher), w.bank.course(w.teacher), "", truth("Other", "?")).GetId()
	many := make([]*assessmentpb.QuizSlot, 6)
	for i := range many {
		many[i] = drawn(id.New("category"), 100)
	}
	for name, c := range map[string]struct {
		settings *assessmentpb.QuizSettings
		want     []string
	}{
		"no such question": {
			&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(), section(asked(known), asked(elsewhere))}},
			[]string{"settings.sections[1].slots[1].question.question_id question.not_found"},
		},
		"another bank": {
			&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(asked(other))}},
			[]string{"settings.sections[0].slots[0].question.question_id question.not_found"},
		},
		"no such version": {
			&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(&assessmentpb.QuizSlot{
				Source: &assessmentpb.QuizSlot_Question{Question: &assessmentpb.FixedQuestion{QuestionId: known, Version: 2}},
			})}},
			[]string{"settings.sections[0].slots[0].question.question_id question.not_found"},
		},
		"no such category": {
			&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(drawn(id.New("category"), 1))}},
			[]string{"settings.sections[0].slots[0].draw.category_id category.not_found"},
		},
		"twice": {
			&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(asked(known)), section(asked(known))}},
			[]string{"settings.sections[1].slots[0].question.question_id quiz.question_twice"},
		},
		"too many": {
			&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(many...)}},
			[]string{"settings.sections quiz.too_many_questions"},
		},
		"grace without": {
			&assessmentpb.QuizSettings{GraceSeconds: 10},
			[]string{"settings.grace_seconds quiz.no_grace"},
		},
		"grace of nothing": {
			&assessmentpb.QuizSettings{Overtime: "grace"},
			[]string{"settings.grace_seconds quiz.grace_missing"},
		},
		"numbers": {
			&assessmentpb.QuizSettings{MaxPoints: "0", PassPercent: "100.5", Sections: []*assessmentpb.QuizSection{section(&assessmentpb.QuizSlot{Source: asked(known).GetSource(), Points: "1000000.5"})}},
			[]string{"settings.sections[0].slots[0].points number.range", "settings.max_points number.range", "settings.pass_percent number.range"},
		},
		"networks": {
			&assessmentpb.QuizSettings{AddressRanges: []string{"10.0.0.0/8", "10.0.0.0/33", "::ffff:1.2.3.4/95", "fe80::1%eth0", "office"}},
			[]string{
				"settings.address_ranges[1] address.invalid", "settings.address_ranges[2] address.invalid",
				"settings.address_ranges[3] address.invalid", "settings.address_ranges[4] address.invalid",
			},
		},
	} {
		_, err := w.CreateQuiz(w.as(w.teacher), &assessmentpb.CreateQuizRequest{CourseId: w.course, Title: "Quiz", Settings: c.settings})
		if diff := cmp.Diff(append([]string{"quiz.invalid"}, c.want...), codesOf(err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, err := w.bank.ShareBank(w.as(w.teacher), &assessmentpb.ShareBankRequest{CourseId: strings.TrimSpace(w.query(`SELECT course_id FROM question WHERE id = $1`, other)[0]), WithCourseId: w.course}); err != nil {
		t.Fatal(err)
	}
	w.create(&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(asked(other))}})
}

func TestPublishQuiz(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	ctx := w.as(w.teacher)
	physics := w.bank.category(ctx, w.course, "", "Physics")
	inner := w.bank.category(ctx, w.course, physics, "Fire")
	fixed := w.bank.add(ctx, w.course, physics, truth("Fixed", "?"), "hard").GetId()
	hard := w.bank.add(ctx, w.course, physics, truth("Hard", "?"), "hard").GetId()
	deep := w.bank.add(ctx, w.course, inner, &questionpb.QuestionContent{Title: "Deep", Prompt: "?", Points: "2.50", Body: truth("", "").GetBody()}, "hard").GetId()
	w.bank.add(ctx, w.course, physics, truth("Easy", "?"))
	w.bank.add(ctx, w.course, physics, &questionpb.QuestionContent{Title: "Text", Prompt: "Read.", Body: &questionpb.QuestionContent_Description{Description: &questionpb.DescriptionQuestion{}}}, "hard")
	draw := drawn(physics, 2, "hard")
	draw.GetDraw().Deep = true
	settings := &assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(asked(fixed), draw)}}
	z := w.create(settings)
	got := w.publish(z.GetId())
	if got.GetVersion() != 1 || got.GetChanged() {
		t.Errorf("published: %v", got)
	}
	pin := func(questionID string, version int32, points string) *assessmentpb.FixedQuestion {
		return &assessmentpb.FixedQuestion{QuestionId: questionID, Version: version, Points: points, Kind: "true_false"}
	}
	version := func(n int32) *assessmentpb.QuizSettings {
		t.Helper()
		v, err := w.GetQuizVersion(ctx, &assessmentpb.GetQuizVersionRequest{CourseId: w.course, QuizId: z.GetId(), Number: strconv.Itoa(int(n))})
		if err != nil {
			t.Fatal(err)
		}
		return v.GetSettings()
	}
	want := proto.CloneOf(settings)
	want.Sections[0].Slots[0].Source = &assessmentpb.QuizSlot_Question{Question: pin(fixed, 1, "1")}
	want.Sections[0].Slots[1].GetDraw().DrawnFrom = []*assessmentpb.FixedQuestion{pin(hard, 1, "1"), pin(deep, 1, "2.5")}
	if diff := cmp.Diff(want, version(1), protocmp.Transform()); diff != "" {
		t.Errorf("first version (-want +got):\n%s", diff)
	}
	// Nothing new is no new version.
	if got := w.publish(z.GetId()); got.GetVersion() != 1 {
		t.Errorf("published again: %v", got)
	}
	// Questions go on; what is published stays.
	if _, err := w.bank.UpdateQuestion(ctx, &assessmentpb.UpdateQuestionRequest{CourseId: w.course, QuestionId: fixed, Content: truth("Fixed", "Really?")}); err != nil {
		t.Fatal(err)
	}
	seen, err := w.GetQuiz(ctx, &assessmentpb.GetQuizRequest{CourseId: w.course, QuizId: z.GetId()})
	if err != nil || seen.GetOutdatedQuestions() != 1 {
		t.Errorf("%d outdated, %v", seen.GetOutdatedQuestions(), err)
	}
	if diff := cmp.Diff(want, version(1), protocmp.Transform()); diff != "" {
		t.Errorf("first version later (-want +got):\n%s", diff)
	}
	if got := w.publish(z.GetId()); got.GetVersion() != 2 {
		t.Errorf("published with a newer question: %v", got)
	}
	want.Sections[0].Slots[0].GetQuestion().Version = 2
	if diff := cmp.Diff(want, version(2), protocmp.Transform()); diff != "" {
		t.Errorf("second version (-want +got):\n%s", diff)
	}
	list, err := w.ListQuizVersions(ctx, &assessmentpb.ListQuizVersionsRequest{CourseId: w.course, QuizId: z.GetId(), PageSize: 1})
	if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetVersion() != 2 || list.GetNextCursor() == "" {
		t.Errorf("versions: %v, %v", list, err)
	}
	list, err = w.ListQuizVersions(ctx, &assessmentpb.ListQuizVersionsRequest{CourseId: w.course, QuizId: z.GetId(), Cursor: list.GetNextCursor()})
	if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetVersion() != 1 || list.GetNextCursor() != "" {
		t.Errorf("versions: %v, %v", list, err)
	}
	// A question that is asked stays in the bank.
	if _, err := w.bank.DeleteQuestion(ctx, &assessmentpb.DeleteQuestionRequest{CourseId: w.course, QuestionId: deep}); fault.CodeOf(err) != "question.used" {
		t.Errorf("deleting what may be drawn: %v", err)
	}
	refused := func(want []string, settings *assessmentpb.QuizSettings) {
		t.Helper()
		w.update(z.GetId(), settings)
		_, err := w.PublishQuiz(ctx, &assessmentpb.PublishQuizRequest{CourseId: w.course, QuizId: z.GetId()})
		if diff := cmp.Diff(want, codesOf(err)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	refused([]string{"quiz.empty", "settings.sections quiz.empty"}, &assessmentpb.QuizSettings{})
	refused([]string{"quiz.pool_too_small", "settings.sections[0].slots[1].draw.count quiz.pool_too_small"},
		&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(asked(hard), drawn(physics, 2, "hard"))}})
	// Each can be had, all together can't.
	refused([]string{"quiz.pool_too_small", "settings.sections[0].slots[1].draw.count quiz.pool_too_small"},
		&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(drawn(physics, 2, "hard"), drawn(physics, 2))}})
}

func TestDeleteQuiz(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	ctx := w.as(w.teacher)
	quizID := w.placed(&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(asked(w.question("One")))}})
	refused := func(want string) {
		t.Helper()
		if _, err := w.DeleteQuiz(ctx, &assessmentpb.DeleteQuizRequest{CourseId: w.course, QuizId: quizID}); fault.CodeOf(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	refused("quiz.placed")
	ana := id.New("account")
	attemptID, err := w.service.admit(t.Context(), w.course, w.item, ana, "")
	if err != nil {
		t.Fatal(err)
	}
	w.exec(`UPDATE attempt SET state = 'in_progress', started_at = now() WHERE id = $1`, attemptID)
	w.place("", nil)
	refused("quiz.begun")
	if got, err := w.GetQuiz(ctx, &assessmentpb.GetQuizRequest{CourseId: w.course, QuizId: quizID}); err != nil || len(got.GetPlaces()) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func ids(kind string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = id.New(kind)
	}
	return out
}

// itemAccess is how an item stands for somebody.
type itemAccess = learningpb.ItemAccess

// itemOpen is an item that is open, with changes.
func itemOpen(change func(*itemAccess)) *itemAccess {
	it := &itemAccess{Enrolled: true, State: "open"}
	if change != nil {
		change(it)
	}
	return it
}
