package courses_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// library is a media service in memory: as the real one it does what comes twice
// under one key once, takes files in or refuses them by their bytes, and has what
// it was asked to delete no more.
type library struct {
	mediapb.UnimplementedMediaServiceServer
	mediapb.UnimplementedLibraryServiceServer

	mu    sync.Mutex
	files map[string]map[string]*stored // by course and id
	keys  map[string]proto.Message
	// fail is asked before each call that changes something.
	fail   func(method string) error
	copies int // calls
}

type stored struct {
	*mediapb.Media

	bytes    []byte
	captions []*mediapb.ReadCaptionsResponse // by language
}

// typeOf is the type of bytes that begin with it, as "image/png:…".
func typeOf(content []byte) string {
	if m := kindPrefix.FindSubmatch(content); m != nil {
		return string(m[1])
	}
	return "application/octet-stream"
}

var kindPrefix = regexp.MustCompile(`^([a-z]+/[a-z0-9.-]+):`)

// put makes a file of a course.
func (l *library) put(course, name, content string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.add(course, name, []byte(content)).GetId()
}

func (l *library) add(course, name string, content []byte) *mediapb.Media {
	sum := sha256.Sum256(content)
	m := &mediapb.Media{
		Id: id.New("media"), CourseId: course, Filename: name, ContentType: typeOf(content), Size: int64(len(content)), Sha256: hex.EncodeToString(sum[:]), State: "ready",
	}
	if l.files[course] == nil {
		l.files[course] = map[string]*stored{}
	}
	l.files[course][m.GetId()] = &stored{Media: m, bytes: content}
	return m
}

func (l *library) count(course string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.files[course])
}

func (l *library) total() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, files := range l.files {
		n += len(files)
	}
	return n
}

func (l *library) failing(method string) error {
	if l.fail == nil {
		return nil
	}
	return l.fail(method)
}

func (l *library) BatchGetMedia(_ context.Context, req *mediapb.BatchGetMediaRequest) (*mediapb.BatchGetMediaResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	res := &mediapb.BatchGetMediaResponse{}
	for _, mediaID := range req.GetMediaIds() {
		if f := l.files[req.GetCourseId()][mediaID]; f != nil {
			res.Items = append(res.Items, proto.CloneOf(f.Media))
		}
	}
	return res, nil
}

func (l *library) CopyMedia(ctx context.Context, req *mediapb.CopyMediaRequest) (*mediapb.CopyMediaResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.copies++
	if err := l.failing("CopyMedia"); err != nil {
		return nil, err
	}
	key := "copy " + rpc.IdempotencyKey(ctx)
	if was, ok := l.keys[key].(*mediapb.CopyMediaResponse); ok {
		return was, nil
	}
	res := &mediapb.CopyMediaResponse{}
	for _, mediaID := range req.GetMediaIds() {
		if l.files[req.GetFromCourseId()][mediaID] == nil {
			return nil, fault.New(fault.NotFound, "media.not_found", "no file")
		}
	}
	for _, mediaID := range req.GetMediaIds() {
		f := l.files[req.GetFromCourseId()][mediaID]
		copied := l.add(req.GetToCourseId(), f.GetFilename(), f.bytes).GetId()
		for _, c := range f.captions {
			l.setCaption(req.GetToCourseId(), &mediapb.ImportedCaption{MediaId: copied, Language: c.GetLanguage(), Label: c.GetLabel(), Main: c.GetMain(), Content: c.GetContent()})
		}
		res.Items = append(res.Items, &mediapb.CopiedMedia{FromMediaId: mediaID, MediaId: copied})
	}
	l.keys[key] = res
	return res, nil
}

func (l *library) ReadMedia(req *mediapb.ReadMediaRequest, stream grpc.ServerStreamingServer[mediapb.ReadMediaResponse]) error {
	l.mu.Lock()
	f := l.files[req.GetCourseId()][req.GetMediaId()]
	l.mu.Unlock()
	if f == nil {
		return fault.New(fault.NotFound, "media.not_found", "no file")
	}
	if err := stream.Send(&mediapb.ReadMediaResponse{Media: f.Media}); err != nil {
		return err
	}
	for piece := range slices.Chunk(f.bytes[req.GetOffset():], max(7, len(f.bytes)/3)) {
		if err := stream.Send(&mediapb.ReadMediaResponse{Chunk: piece}); err != nil {
			return err
		}
	}
	return nil
}

func (l *library) ImportMedia(stream grpc.ClientStreamingServer[mediapb.ImportMediaRequest, mediapb.Media]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	content := bytes.Clone(first.GetChunk())
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		content = append(content, req.GetChunk()...)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("ImportMedia"); err != nil {
		return err
	}
	key := "import " + rpc.IdempotencyKey(stream.Context())
	if was, ok := l.keys[key].(*mediapb.Media); ok {
		return stream.SendAndClose(was)
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != first.GetSha256() {
		return fault.New(fault.Invalid, "media.checksum_mismatch", "other bytes")
	}
	if typeOf(content) == "text/html" {
		return fault.New(fault.Invalid, "media.type_refused", "a page")
	}
	m := l.add(first.GetCourseId(), first.GetFilename(), content)
	l.keys[key] = m
	return stream.SendAndClose(m)
}

func (l *library) DeleteCourseMedia(_ context.Context, req *mediapb.DeleteCourseMediaRequest) (*mediapb.DeleteCourseMediaResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("DeleteCourseMedia"); err != nil {
		return nil, err
	}
	res := &mediapb.DeleteCourseMediaResponse{}
	for mediaID := range l.files[req.GetCourseId()] {
		if len(req.GetMediaIds()) == 0 || slices.Contains(req.GetMediaIds(), mediaID) {
			delete(l.files[req.GetCourseId()], mediaID)
			res.Deleted++
		}
	}
	return res, nil
}

// rights is an access service that knows who may what.
type rights struct {
	fakeAccess

	may func(account, course, permission string) bool
}

func (r *rights) ResolvePermissions(_ context.Context, req *accesspb.ResolvePermissionsRequest) (*accesspb.ResolvePermissionsResponse, error) {
	res := &accesspb.ResolvePermissionsResponse{}
	for _, one := range req.GetSubjects() {
		a := &accesspb.ResolvePermissionsResponse_Answer{}
		for _, p := range []string{"course.create", "course.view", "course.edit", "template.publish", "assessment.edit", "question.edit"} {
			if r.may(one.GetAccountId(), one.GetCourseId(), p) {
				a.Permissions = append(a.Permissions, p)
			}
		}
		res.Answers = append(res.Answers, a)
	}
	return res, nil
}

// archiveFixture is the service on a database of its own beside such a library.
type archiveFixture struct {
	*fixture
	coursespb.ArchiveServiceClient

	library *library
	rights  *rights
	dir     string
	other   context.Context //nolint:containedctx // somebody who makes courses and edits none of the teacher's
	conn    *rpctest.Harness
	deny    map[string]bool // "account course permission"
	mu      sync.Mutex
}

func (f *archiveFixture) allowed(account, course, permission string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.deny[account+" "+course+" "+permission] || f.deny[account+"  "+permission] && course == "" {
		return false
	}
	if account == f.teacherID {
		return permission != "template.publish" || f.deny["teacher may publish templates"]
	}
	if course == "" {
		return permission == "course.create"
	}
	return permission == "course.view" && f.shown.Load()
}

func setupArchive(t testing.TB) *archiveFixture {
	t.Helper()
	f := &archiveFixture{
		fixture: &fixture{t: t, db: pgtest.Open(t, courses.Schema), teacherID: id.New("account")},
		library: &library{files: map[string]map[string]*stored{}, keys: map[string]proto.Message{}}, dir: t.TempDir(), deny: map[string]bool{},
	}
	f.shown.Store(true)
	f.rights = &rights{may: f.allowed}
	f.conn = rpctest.NewChecked(t, checker(func(q auth.Question) bool { return f.allowed(q.Account, q.Course, q.Permission) }))
	f.own = f.process(f.db)
	f.own.Register(f.conn)
	accesspb.RegisterAccessServiceServer(f.conn, f.rights)
	mediapb.RegisterMediaServiceServer(f.conn, f.library)
	mediapb.RegisterLibraryServiceServer(f.conn, f.library)
	f.CoursesServiceClient = coursespb.NewCoursesServiceClient(f.conn.As("edge"))
	f.ContentServiceClient = coursespb.NewContentServiceClient(f.conn.As("edge"))
	f.ArchiveServiceClient = coursespb.NewArchiveServiceClient(f.conn.As("edge"))
	f.teacher, f.stranger = rpctest.Account(t.Context(), f.teacherID), t.Context()
	f.other = rpctest.Account(t.Context(), id.New("account"))
	return f
}

// process returns a service as another process has it, with the same folder.
func (f *archiveFixture) process(db *pg.DB) *courses.Service {
	return courses.New(courses.Config{
		DB: db, Log: rpctest.Log(f.t), Imports: f.dir, MaxArchive: 64 << 20,
		Access:  accesspb.NewAccessServiceClient(f.conn.As("courses")),
		Media:   mediapb.NewMediaServiceClient(f.conn.As("courses")),
		Library: mediapb.NewLibraryServiceClient(f.conn.As("courses")),
		Now:     func() time.Time { return start.Add(time.Duration(f.clock.Add(1)) * time.Millisecond) },
	})
}

// later has time go by.
func (f *archiveFixture) later(d time.Duration) { f.clock.Add(d.Milliseconds()) }

// export returns a course as an archive.
func (f *archiveFixture) export(course string, version int32) []byte {
	f.t.Helper()
	content, _, err := f.tryExport(f.teacher, course, version)
	if err != nil {
		f.t.Fatalf("export: %v", err)
	}
	return content
}

func (f *archiveFixture) tryExport(ctx context.Context, course string, version int32) ([]byte, string, error) {
	stream, err := f.ExportCourse(ctx, &coursespb.ExportCourseRequest{CourseId: course, Version: version})
	if err != nil {
		return nil, "", err
	}
	var out bytes.Buffer
	name := ""
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out.Bytes(), name, nil
		}
		if err != nil {
			return nil, "", err
		}
		if res.GetFilename() != "" {
			name = res.GetFilename()
		}
		out.Write(res.GetChunk())
	}
}

// send sends an archive, to a course when one is named.
func (f *archiveFixture) send(ctx context.Context, course string, content []byte, dryRun bool) (*coursespb.CourseImport, error) {
	if course == "" {
		stream, err := f.ImportCourse(ctx)
		if err != nil {
			return nil, err
		}
		req := &coursespb.ImportCourseRequest{DryRun: dryRun}
		for first := true; first || len(content) > 0; first = false {
			n := min(len(content), 100_000)
			req.Chunk, content = content[:n], content[n:]
			if stream.Send(req) != nil {
				break
			}
			req = &coursespb.ImportCourseRequest{}
		}
		return stream.CloseAndRecv()
	}
	stream, err := f.ImportModules(ctx)
	if err != nil {
		return nil, err
	}
	_ = stream.Send(&coursespb.ImportModulesRequest{CourseId: course, DryRun: dryRun, Chunk: content}) // it says why at the end
	return stream.CloseAndRecv()
}

// imported sends an archive and returns what has become of it.
func (f *archiveFixture) imported(course string, content []byte, dryRun bool) *coursespb.CourseImport {
	f.t.Helper()
	i, err := f.send(f.teacher, course, content, dryRun)
	if err != nil {
		f.t.Fatalf("send: %v", err)
	}
	if err := courses.RunImports(f.own, f.t.Context()); err != nil {
		f.t.Fatalf("run: %v", err)
	}
	return f.state(i.GetId())
}

func (f *archiveFixture) state(importID string) *coursespb.CourseImport {
	f.t.Helper()
	return must(f.GetCourseImport(f.teacher, &coursespb.GetCourseImportRequest{ImportId: importID}))
}

// rich makes a course that has everything a course can have.
func (f *archiveFixture) rich() string {
	f.t.Helper()
	c := f.course()
	png, png2 := f.library.put(c, "Säule.png", "image/png:a column"), f.library.put(c, "other name.png", "image/png:a column")
	video, audio := f.library.put(c, "talk.mp4", "video/mp4:moving"), f.library.put(c, "talk.mp3", "audio/mpeg:sounding")
	slides, file := f.library.put(c, "deck.pdf", "application/pdf:pages"), f.library.put(c, "exercises.zip", "application/zip:"+strings.Repeat("x", 300_000))
	m1 := f.module(c, "Grundlagen & Übung / ../ etc")
	m2 := must(f.CreateModule(f.teacher, &coursespb.CreateModuleRequest{CourseId: c, ParentId: m1, Title: "Zweites"})).GetId()
	m3 := must(f.CreateModule(f.teacher, &coursespb.CreateModuleRequest{CourseId: c, ParentId: m2, Title: "漢字"})).GetId()
	first := must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: c, ModuleId: m1, Title: "First", Preview: true, Blocks: []*coursespb.Block{
		{Content: &coursespb.Block_Markdown{Markdown: &coursespb.MarkdownBlock{Text: "# One\r\n\ttab, no end of line & <b>\u2028 \U0001f3db"}}},
		{Content: &coursespb.Block_Markdown{Markdown: &coursespb.MarkdownBlock{Text: "\n\n  spaces around \n\n"}}},
	}})).GetId()
	quiz := must(f.CreateActivity(f.teacher, &coursespb.CreateActivityRequest{CourseId: c, ModuleId: m3, Kind: "quiz", Title: "Test", ActivityRef: "quiz_1"})).GetId()
	task := must(f.CreateActivity(f.teacher, &coursespb.CreateActivityRequest{CourseId: c, ModuleId: m3, Kind: "assignment", Title: "Task"})).GetId()
	at := func(day int) *timestamppb.Timestamp {
		return timestamppb.New(time.Date(2026, 3, day, 17, 30, 0, 0, time.UTC))
	}
	must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{
		CourseId: c, ModuleId: m3, Title: "Everything",
		Blocks: []*coursespb.Block{
			{Content: &coursespb.Block_Html{Html: &coursespb.HtmlBlock{Source: "<p>Clean <em>text</em></p>"}}},
			{Content: &coursespb.Block_Image{Image: &coursespb.ImageBlock{MediaId: png, Alt: "A column", Caption: "\"Doric\""}}},
			{Content: &coursespb.Block_Image{Image: &coursespb.ImageBlock{MediaId: png2, Decorative: true}}},
			{Content: &coursespb.Block_Video{Video: &coursespb.VideoBlock{MediaId: video, Title: "Talk", Transcript: "What is said"}}},
			{Content: &coursespb.Block_Audio{Audio: &coursespb.AudioBlock{MediaId: audio, Caption: "Listen"}}},
			{Content: &coursespb.Block_Slides{Slides: &coursespb.SlidesBlock{MediaId: slides}}},
			{Content: &coursespb.Block_File{File: &coursespb.FileBlock{MediaId: file, Title: "Exercises"}}},
			{Content: &coursespb.Block_Embed{Embed: &coursespb.EmbedBlock{Url: "https://youtu.be/dQw4w9WgXcQ", Title: "A film"}}},
			{Content: &coursespb.Block_Code{Code: &coursespb.CodeBlock{Source: "func main() {}\n", Language: "go", HighlightLines: []int32{1}}}},
			{Content: &coursespb.Block_Math{Math: &coursespb.MathBlock{Source: `e^{i\pi}`, Display: "inline", Alt: "e"}}},
			{Content: &coursespb.Block_Callout{Callout: &coursespb.CalloutBlock{Kind: "tip", Title: "Hint", Text: "Open *me*", Collapsed: true}}},
			{Content: &coursespb.Block_Divider{Divider: &coursespb.DividerBlock{}}},
			{Content: &coursespb.Block_Quiz{Quiz: &coursespb.ActivityBlock{ActivityId: quiz}}},
			{Content: &coursespb.Block_Assignment{Assignment: &coursespb.ActivityBlock{ActivityId: task}}},
		},
		Settings: &coursespb.ItemSettings{
			Release: all(completed(first), &releasepb.Rule{
				Condition: &releasepb.Rule_Date{Date: &releasepb.DateCondition{From: at(2)}}, WhenClosed: "hide", Reason: "Not before March",
			}, &releasepb.Rule{Condition: &releasepb.Rule_Cohort{Cohort: &releasepb.CohortCondition{CohortIds: []string{id.New("cohort")}}}}),
			Completion: &releasepb.Completion{Requirements: []*releasepb.Requirement{{Kind: "watched", WatchPercent: 90}}},
			Schedule: &releasepb.Schedule{
				AvailableFrom: &releasepb.Moment{When: &releasepb.Moment_At{At: at(1)}},
				Due:           &releasepb.Moment{When: &releasepb.Moment_AfterStart{AfterStart: &releasepb.RelativeMoment{Days: 7, Time: "18:00"}}},
			},
			Required: new(false), Minutes: new(int32(45)),
		},
	}))
	f.lesson(c, m1, "Last") // behind the nested module
	must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{
		CourseId: c, Title: new("Architektur für alle"), Subtitle: new("Säulen"), Description: new("# About\n\nIt."),
		Language: new("de"), Level: new("beginner"), Category: new("Art"), Tags: wordList("art", "stone"), Outcomes: wordList("Tell columns apart"),
		Audience: wordList("Everybody"), TimeZone: new("Europe/Zurich"), CoverMediaId: &png, PromoVideoMediaId: &video,
		Faq:     &coursespb.Questions{Items: []*coursespb.Question{{Question: "Why?", Answer: "*Because*"}}},
		Release: &releasepb.Rule{Condition: &releasepb.Rule_CourseCompleted{CourseCompleted: &releasepb.CourseCompletedCondition{CourseId: id.New("course")}}},
		Grading: &coursespb.GradingPolicy{
			Method: "weighted", PassMark: "60", Categories: []*coursespb.GradingCategory{
				{Key: "tests", Title: "Tests", Weight: "40", ItemIds: []string{quiz}, NeverDrop: []string{quiz}}, {Key: "tasks", Title: "Tasks", Weight: "60", ItemIds: []string{task}},
			},
			Letters: []*coursespb.GradingLetter{{Letter: "A", MinPercent: "62.5"}, {Letter: "F", MinPercent: "0"}},
			Periods: []*coursespb.GradingPeriod{{Key: "spring", Title: "Spring", ItemIds: []string{quiz, task}}},
			Items:   []*coursespb.GradingItem{{ItemId: task, ExtraCredit: true}},
			Calculated: []*coursespb.CalculatedItem{
				{Key: "both", Title: "Both", Points: "10", Category: "tests", Formula: "max(percent[" + quiz + "], points[" + task + "]) / 10"},
				{Key: "half", Title: "Half", Points: "5", Excluded: true, Formula: "points[calculated:both] / 2 + category[tasks]"},
			},
		},
	}))
	return c
}

func wordList(values ...string) *coursespb.Words { return &coursespb.Words{Values: values} }

func all(rules ...*releasepb.Rule) *releasepb.Rule {
	return &releasepb.Rule{Condition: &releasepb.Rule_All{All: &releasepb.Rules{Rules: rules}}}
}
