package assessment

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// shelf is media that keeps what it is given.
type shelf struct {
	*outside

	mu    sync.Mutex
	bytes map[string][]byte // by id
	byKey map[string]string // ids, by the key of the call
	kind  string            // of files that come
}

type shelfUpload struct {
	grpc.ClientStream

	shelf *shelf
	key   string
	first *mediapb.ImportMediaRequest
	data  []byte
}

func (u *shelfUpload) Send(req *mediapb.ImportMediaRequest) error {
	if u.first == nil {
		u.first = req
	}
	u.data = append(u.data, req.GetChunk()...)
	return nil
}

func (u *shelfUpload) CloseAndRecv() (*mediapb.Media, error) {
	s := u.shelf
	s.mu.Lock()
	defer s.mu.Unlock()
	mediaID := s.byKey[u.key]
	if mediaID == "" {
		mediaID = id.New("media")
		s.byKey[u.key], s.bytes[mediaID] = mediaID, u.data
		s.outside.mu.Lock()
		s.files[u.first.GetCourseId()+mediaID] = s.kind
		s.outside.mu.Unlock()
	}
	return &mediapb.Media{Id: mediaID, ContentType: s.kind}, nil
}

func (s *shelf) ImportMedia(ctx context.Context, _ ...grpc.CallOption) (grpc.ClientStreamingClient[mediapb.ImportMediaRequest, mediapb.Media], error) {
	return &shelfUpload{shelf: s, key: rpc.IdempotencyKey(ctx)}, nil
}

type shelfDownload struct {
	grpc.ClientStream

	parts []*mediapb.ReadMediaResponse
}

func (d *shelfDownload) Recv() (*mediapb.ReadMediaResponse, error) {
	if len(d.parts) == 0 {
		return nil, io.EOF
	}
	one := d.parts[0]
	d.parts = d.parts[1:]
	return one, nil
}

func (s *shelf) ReadMedia(_ context.Context, req *mediapb.ReadMediaRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[mediapb.ReadMediaResponse], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &shelfDownload{parts: []*mediapb.ReadMediaResponse{{Media: &mediapb.Media{Id: req.GetMediaId(), Filename: "a.png"}}, {Chunk: s.bytes[req.GetMediaId()]}}}, nil
}

// exchangeWorld is a bank whose questions come and go as files.
type exchangeWorld struct {
	*bankWorld
	assessmentpb.ExchangeServiceClient

	shelf *shelf
}

func newExchangeWorld(t testing.TB) *exchangeWorld {
	t.Helper()
	o := &outside{editor: map[string]bool{}, files: map[string]string{}}
	m := &shelf{outside: o, bytes: map[string][]byte{}, byKey: map[string]string{}, kind: "image/png"}
	s := New(Config{DB: pgtest.Open(t, Schema), Log: rpctest.Log(t), Access: o, Media: m, Library: m})
	h := rpctest.New(t, func(account, course, _ string) bool { return o.editor[account+course] })
	s.Register(h)
	conn := h.As("edge")
	return &exchangeWorld{&bankWorld{assessmentpb.NewBankServiceClient(conn), t, s, o}, assessmentpb.NewExchangeServiceClient(conn), m}
}

func (w *exchangeWorld) take(ctx context.Context, req *assessmentpb.ImportQuestionsRequest, file string) (*assessmentpb.QuestionExchangeReport, error) {
	w.t.Helper()
	stream, err := w.ImportQuestions(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	for first := true; first || file != ""; first = false {
		n := min(len(file), 100_000)
		req.Chunk, file = []byte(file[:n]), file[n:]
		if stream.Send(req) != nil {
			break
		}
		req = &assessmentpb.ImportQuestionsRequest{}
	}
	return stream.CloseAndRecv()
}

func (w *exchangeWorld) export(ctx context.Context, req *assessmentpb.ExportQuestionsRequest) string {
	w.t.Helper()
	stream, err := w.ExportQuestions(ctx, req)
	if err != nil {
		w.t.Fatal(err)
	}
	var out strings.Builder
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		if err != nil {
			w.t.Fatal(err)
		}
		out.Write(res.GetChunk())
	}
}

func moodleWithPicture(t testing.TB) string {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 4, 4))); err != nil {
		t.Fatal(err)
	}
	return `<quiz><question type="category"><category><text>$course$/top/Maths/Primes</text></category></question>
	<question type="truefalse"><name><text>With a picture</text></name><questiontext format="html"><text>&lt;p&gt;See &lt;img src="@@PLUGINFILE@@/a.png" alt="it"&gt;&lt;/p&gt;</text>
	<file name="a.png" path="/" encoding="base64">` + base64.StdEncoding.EncodeToString(b.Bytes()) + `</file></questiontext><tags><tag><text>easy</text></tag></tags>
	<answer fraction="100"><text>true</text></answer><answer fraction="0"><text>false</text></answer></question>
	<question type="unknown"><name><text>Strange</text></name></question></quiz>`
}

// TestExchange imports a file, exports it in all formats and imports that again: the
// same questions with the same pictures.
func TestExchange(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t)
	teacher := id.New("account")
	courseID := w.course(teacher)
	ctx := rpctest.Account(t.Context(), teacher)
	file := moodleWithPicture(t)

	dry, err := w.take(ctx, &assessmentpb.ImportQuestionsRequest{CourseId: courseID, DryRun: true}, file)
	if err != nil || dry.GetFormat() != "moodle_xml" || dry.GetKept() != 1 || dry.GetRefused() != 1 || dry.GetAdded() != 0 {
		t.Fatalf("dry run: %v %v", dry, err)
	}
	if list := w.titles(ctx, &assessmentpb.ListQuestionsRequest{CourseId: courseID}); len(list) != 0 || len(w.shelf.bytes) != 0 {
		t.Errorf("a dry run has stored %v and %d pictures", list, len(w.shelf.bytes))
	}

	base := w.category(ctx, courseID, "", "Imported")
	keyed := rpc.WithIdempotencyKey(ctx, "once")
	var first *assessmentpb.QuestionExchangeReport
	for range 2 {
		got, err := w.take(keyed, &assessmentpb.ImportQuestionsRequest{CourseId: courseID, Format: "moodle_xml", CategoryId: base}, file)
		if err != nil || got.GetAdded() != 1 || got.GetCategoriesMade() != 2 || got.GetEntries()[0].GetQuestionId() == "" || got.GetEntries()[1].GetOutcome() != "refused" {
			t.Fatalf("import: %v %v", got, err)
		}
		if first != nil {
			if d := cmp.Diff(first, got, protocmp.Transform()); d != "" {
				t.Errorf("the second call answers something else:\n%s", d)
			}
		}
		first = got
	}
	if n := len(w.shelf.bytes); n != 1 {
		t.Errorf("%d pictures are stored", n)
	}
	q, err := w.GetQuestion(ctx, &assessmentpb.GetQuestionRequest{CourseId: courseID, QuestionId: first.GetEntries()[0].GetQuestionId()})
	if err != nil {
		t.Fatal(err)
	}
	for mediaID := range w.shelf.bytes {
		if want := "See ![it](media:" + mediaID + ")"; q.GetContent().GetPrompt() != want {
			t.Errorf("%q, want %q", q.GetContent().GetPrompt(), want)
		}
	}
	cats, err := w.ListCategories(ctx, &assessmentpb.ListCategoriesRequest{CourseId: courseID})
	if err != nil || len(cats.GetItems()) != 3 {
		t.Fatalf("%v %v", cats, err)
	}

	for _, format := range []string{"moodle_xml", "qti_2.1", "qti_2.2", "qti_3.0"} {
		text := w.export(ctx, &assessmentpb.ExportQuestionsRequest{CourseId: courseID, Format: format, CategoryId: base})
		other := w.course(teacher)
		got, err := w.take(ctx, &assessmentpb.ImportQuestionsRequest{CourseId: other, Format: format}, text)
		if err != nil || got.GetAdded() != 1 || got.GetRefused() != 0 {
			t.Errorf("%s: %v %v", format, got, err)
			continue
		}
		back, err := w.GetQuestion(ctx, &assessmentpb.GetQuestionRequest{CourseId: other, QuestionId: got.GetEntries()[0].GetQuestionId()})
		if err != nil || len(back.GetTags()) != 1 || back.GetCategoryId() == "" || !strings.Contains(back.GetContent().GetPrompt(), "media:media_") {
			t.Errorf("%s: %v %v", format, back, err)
		}
	}
	check, err := w.CheckQuestionExport(ctx, &assessmentpb.CheckQuestionExportRequest{CourseId: courseID, Format: "aiken"})
	if err != nil || check.GetRefused() != 1 {
		t.Errorf("check: %v %v", check, err)
	}
}

func TestExchangeRefuses(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t)
	teacher := id.New("account")
	courseID := w.course(teacher)
	ctx := rpctest.Account(t.Context(), teacher)
	for name, one := range map[string]struct {
		req  *assessmentpb.ImportQuestionsRequest
		file string
		code string
	}{
		"empty":    {&assessmentpb.ImportQuestionsRequest{}, "", "exchange.empty"},
		"format":   {&assessmentpb.ImportQuestionsRequest{}, "hello", "exchange.format"},
		"entities": {&assessmentpb.ImportQuestionsRequest{}, `<!DOCTYPE quiz SYSTEM "x"><quiz></quiz>`, "exchange.hostile"},
		"cut off":  {&assessmentpb.ImportQuestionsRequest{}, moodleWithPicture(t)[:500], "exchange.malformed"},
		"category": {&assessmentpb.ImportQuestionsRequest{CategoryId: id.New("category")}, "a {T}", "category.not_found"},
		"large":    {&assessmentpb.ImportQuestionsRequest{Format: "gift"}, strings.Repeat("// comment\n", 64<<20/11+2), "exchange.too_large"},
		"many":     {&assessmentpb.ImportQuestionsRequest{Format: "gift"}, strings.Repeat("x\n\n", 20_002), "exchange.too_large"},
	} {
		one.req.CourseId = courseID
		_, err := w.take(ctx, one.req, one.file)
		wantFault(t, name, err, one.code, "")
	}
	w.shelf.kind = "application/pdf"
	got, err := w.take(ctx, &assessmentpb.ImportQuestionsRequest{CourseId: courseID}, moodleWithPicture(t))
	if err != nil || got.GetAdded() != 0 || got.GetEntries()[0].GetNotes()[0].GetCode() != "media.not_picture" {
		t.Errorf("no picture: %v %v", got, err)
	}
	if list := w.titles(ctx, &assessmentpb.ListQuestionsRequest{CourseId: courseID}); len(list) != 0 {
		t.Errorf("stored %v", list)
	}
	stranger := rpctest.Account(t.Context(), id.New("account"))
	if _, err := w.take(stranger, &assessmentpb.ImportQuestionsRequest{CourseId: courseID}, "a {T}"); err == nil {
		t.Error("a stranger has imported")
	}
}

// TestExchangeRace imports one file many times at once under one key, and another file
// that names the same categories: each is added once.
func TestExchangeRace(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t)
	teacher := id.New("account")
	courseID := w.course(teacher)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			ctx := rpc.WithIdempotencyKey(rpctest.Account(context.Background(), teacher), fmt.Sprint("key", i%2))
			if _, err := w.take(ctx, &assessmentpb.ImportQuestionsRequest{CourseId: courseID, Format: "gift"}, fmt.Sprintf("$CATEGORY: A/B\n\n::q%d:: Is it so? {T}\n", i%2)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	ctx := rpctest.Account(t.Context(), teacher)
	list := w.titles(ctx, &assessmentpb.ListQuestionsRequest{CourseId: courseID})
	cats, err := w.ListCategories(ctx, &assessmentpb.ListCategoriesRequest{CourseId: courseID})
	if err != nil || len(list) != 2 || len(cats.GetItems()) != 2 {
		t.Errorf("%v, %v, %v", list, cats, err)
	}
}
