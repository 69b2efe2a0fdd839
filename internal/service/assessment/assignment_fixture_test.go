package assessment

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// workWorld is a course with a teacher and students who hand in.
type workWorld struct {
	*quizWorld
	assessmentpb.AssignmentServiceClient
	assessmentpb.MySubmissionServiceClient

	staff   assessmentpb.SubmissionServiceClient
	store   *store
	markers sync.Map // accounts that are staff as the teacher is
}

func newWorkWorld(t testing.TB) *workWorld {
	t.Helper()
	w := &workWorld{
		quizWorld: &quizWorld{
			world:   &world{t: t, db: pgtest.Open(t, Schema), around: newAround(), clock: time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)},
			outside: &outside{editor: map[string]bool{}, files: map[string]string{}}, course: id.New("course"), teacher: id.New("account"), item: id.New("activity"),
		},
		store: &store{files: map[string]*stored{}},
	}
	w.serve(&Similarity{})
	return w
}

// serve makes the service answer; another one on the same database is another process.
func (w *workWorld) serve(similarity *Similarity) {
	w.harness = rpctest.New(w.t, func(account, _, permission string) bool {
		_, marks := w.markers.Load(account)
		return account == w.teacher || marks || permission == "assessment.take"
	})
	mediapb.RegisterSubmissionFileServiceServer(w.harness, w.store)
	w.service = New(Config{
		DB: w.db, Log: rpctest.Log(w.t), Access: w.outside, Accommodations: w.around, Items: w.around, Now: w.now,
		Files: mediapb.NewSubmissionFileServiceClient(w.harness.As("assessment")), Similarity: similarity,
	})
	w.service.Register(w.harness)
	conn := w.harness.As("edge")
	w.AssignmentServiceClient, w.MySubmissionServiceClient = assessmentpb.NewAssignmentServiceClient(conn), assessmentpb.NewMySubmissionServiceClient(conn)
	w.staff = assessmentpb.NewSubmissionServiceClient(conn)
}

// stored is a file that media has.
type stored struct {
	facts   *mediapb.Media
	purpose string
	by      string
	bytes   []byte
	kept    bool
}

// store stands for media: it has files in memory.
type store struct {
	mediapb.UnimplementedSubmissionFileServiceServer

	mu      sync.Mutex
	files   map[string]*stored
	dropped []string
}

func (s *store) add(course, account, purpose, name, contentType string, content []byte) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := sha256.Sum256(content)
	f := &stored{purpose: purpose, by: account, bytes: content, facts: &mediapb.Media{
		Id: id.New("media"), CourseId: course, Filename: name, ContentType: contentType, Size: int64(len(content)), Sha256: hex.EncodeToString(sum[:]), State: "ready",
	}}
	s.files[f.facts.GetId()] = f
	return f.facts.GetId()
}

func (s *store) find(ids []string, match func(*stored) bool) *mediapb.SubmissionFiles {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &mediapb.SubmissionFiles{}
	for _, mediaID := range ids {
		if f := s.files[mediaID]; f != nil && match(f) {
			out.Items = append(out.Items, proto.CloneOf(f.facts))
		}
	}
	return out
}

func (s *store) KeepSubmissionFiles(_ context.Context, req *mediapb.KeepSubmissionFilesRequest) (*mediapb.SubmissionFiles, error) {
	return s.find(req.GetMediaIds(), func(f *stored) bool {
		ok := f.facts.GetCourseId() == req.GetCourseId() && f.purpose == req.GetPurpose() && slices.Contains(req.GetAccountIds(), f.by)
		f.kept = f.kept || ok && !req.GetLookOnly()
		return ok
	}), nil
}

func (s *store) DropSubmissionFiles(_ context.Context, req *mediapb.DropSubmissionFilesRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, mediaID := range req.GetMediaIds() {
		delete(s.files, mediaID)
		s.dropped = append(s.dropped, mediaID)
	}
	return &emptypb.Empty{}, nil
}

func (s *store) ShowSubmissionFiles(_ context.Context, req *mediapb.ShowSubmissionFilesRequest) (*mediapb.SubmissionFiles, error) {
	out := s.find(req.GetMediaIds(), func(f *stored) bool { return f.facts.GetCourseId() == req.GetCourseId() })
	for _, m := range out.GetItems() {
		m.Url = "/for/" + req.GetAccountId() + map[bool]string{true: "/staff"}[req.GetStaff()] + map[bool]string{true: "/anonymous"}[req.GetAnonymous()] + "/" + m.GetId()
	}
	return out, nil
}

func (s *store) ReadSubmissionFile(req *mediapb.ReadSubmissionFileRequest, stream grpc.ServerStreamingServer[mediapb.DownloadMediaResponse]) error {
	s.mu.Lock()
	f := s.files[req.GetMediaId()]
	s.mu.Unlock()
	switch {
	case f == nil || f.facts.GetState() == "refused":
		return fault.New(fault.NotFound, "media.not_found", "There is no such file.")
	case f.facts.GetState() != "ready":
		return fault.New(fault.Conflict, "media.not_ready", "The file is being scanned.")
	}
	if err := stream.Send(&mediapb.DownloadMediaResponse{Media: f.facts}); err != nil {
		return err
	}
	for some := range slices.Chunk(f.bytes, 1000) {
		if err := stream.Send(&mediapb.DownloadMediaResponse{Chunk: some}); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) ImportFeedbackFile(stream grpc.ClientStreamingServer[mediapb.ImportFeedbackFileRequest, mediapb.Media]) error {
	var first *mediapb.ImportFeedbackFileRequest
	var content bytes.Buffer
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if first == nil {
			first = req
		}
		content.Write(req.GetChunk())
	}
	mediaID := s.add(first.GetCourseId(), first.GetAccountId(), "feedback", first.GetFilename(), "text/plain", content.Bytes())
	return stream.SendAndClose(s.find([]string{mediaID}, func(*stored) bool { return true }).GetItems()[0])
}

// upload has somebody upload a file to hand it in.
func (w *workWorld) upload(account, name, content string) string {
	contentType := "text/plain; charset=utf-8"
	if bytes.HasPrefix([]byte(content), []byte("%PDF")) {
		contentType = "application/pdf"
	}
	return w.store.add(w.course, account, "submission", name, contentType, []byte(content))
}

// student enrolls somebody.
func (w *workWorld) student(name string) string {
	w.t.Helper()
	account := id.New("account")
	hear(w.world, w.service.accountCreated, &identitypb.AccountCreated{AccountId: account, Name: name})
	hear(w.world, w.service.enrollmentStarted, &accesspb.EnrollmentStarted{CourseId: w.course, AccountId: account})
	return account
}

// group makes a group of people.
func (w *workWorld) group(name string, accounts ...string) string {
	w.t.Helper()
	groupID := id.New("group")
	hear(w.world, w.service.groupChanged, &accesspb.GroupChanged{GroupId: groupID, CourseId: w.course, Name: name, Version: 1})
	for _, account := range accounts {
		w.joins(groupID, account, true, 1)
	}
	return groupID
}

func (w *workWorld) joins(groupID, account string, member bool, version int64) {
	w.t.Helper()
	hear(w.world, w.service.groupMembershipChanged, &accesspb.GroupMembershipChanged{GroupId: groupID, CourseId: w.course, AccountId: account, Member: member, Version: version})
}

// assign makes an assignment, publishes it and has the course show it.
func (w *workWorld) assign(settings *assessmentpb.AssignmentSettings) string {
	w.t.Helper()
	a, err := w.CreateAssignment(w.as(w.teacher), &assessmentpb.CreateAssignmentRequest{CourseId: w.course, Title: "On Duties", Settings: settings})
	if err != nil {
		w.t.Fatalf("CreateAssignment: %v", err)
	}
	w.publishAssignment(a.GetId())
	w.show(a.GetId())
	return a.GetId()
}

func (w *workWorld) publishAssignment(assignmentID string) *assessmentpb.Assignment {
	w.t.Helper()
	a, err := w.PublishAssignment(w.as(w.teacher), &assessmentpb.PublishAssignmentRequest{CourseId: w.course, AssignmentId: assignmentID})
	if err != nil {
		w.t.Fatalf("PublishAssignment: %v", err)
	}
	return a
}

func (w *workWorld) show(assignmentID string) {
	w.t.Helper()
	w.sequence++
	hear(w.world, w.service.coursePublished, &coursespb.CoursePublished{
		CourseId: w.course, Sequence: w.sequence, Items: []*coursespb.PublishedItem{{Id: w.item, Kind: "assignment", Title: "Essay", ActivityRef: assignmentID}},
	})
}

// due has learning say by when it is due for somebody, and until when it is taken; zero
// for no time.
func (w *workWorld) due(account string, due, until time.Time) {
	it := &learningpb.ItemAccess{Enrolled: true, State: "open"}
	if !due.IsZero() {
		it.Due = timestamppb.New(due)
	}
	if !until.IsZero() {
		it.Until = timestamppb.New(until)
	}
	w.around.say(account, it)
}

func (w *workWorld) save(account string, content *assessmentpb.SubmissionContent) (*assessmentpb.SubmissionDraft, error) {
	return w.SaveDraft(w.as(account), &assessmentpb.SaveDraftRequest{CourseId: w.course, ItemId: w.item, Content: content})
}

func (w *workWorld) submit(account string) (*assessmentpb.MySubmission, error) {
	return w.SubmitAssignment(w.as(account), &assessmentpb.SubmitAssignmentRequest{CourseId: w.course, ItemId: w.item, StatementAccepted: true})
}

// hands has somebody draft and hand in a text.
func (w *workWorld) hands(account, text string) *assessmentpb.MySubmission {
	w.t.Helper()
	if _, err := w.save(account, &assessmentpb.SubmissionContent{Text: text}); err != nil {
		w.t.Fatalf("SaveDraft: %v", err)
	}
	out, err := w.submit(account)
	if err != nil {
		w.t.Fatalf("SubmitAssignment: %v", err)
	}
	return out
}

func (w *workWorld) my(account string) *assessmentpb.MyAssignment {
	w.t.Helper()
	out, err := w.GetMyAssignment(w.as(account), &assessmentpb.GetMyAssignmentRequest{CourseId: w.course, ItemId: w.item})
	if err != nil {
		w.t.Fatalf("GetMyAssignment: %v", err)
	}
	return out
}

// entries returns those who hand in, by the name of the first of them or, where it is not
// told, by their pseudonym.
func (w *workWorld) entries(req *assessmentpb.ListSubmissionsRequest) map[string]*assessmentpb.SubmissionEntry {
	w.t.Helper()
	if req == nil {
		req = &assessmentpb.ListSubmissionsRequest{}
	}
	req.CourseId, req.ItemId = w.course, w.item
	out := map[string]*assessmentpb.SubmissionEntry{}
	for {
		res, err := w.staff.ListSubmissions(w.as(w.teacher), req)
		if err != nil {
			w.t.Fatalf("ListSubmissions: %v", err)
		}
		for _, e := range res.GetItems() {
			key := e.GetParticipant()
			if len(e.GetAccounts()) > 0 {
				key = e.GetAccounts()[0].GetName()
			}
			out[key] = e
		}
		if req.Cursor = res.GetNextCursor(); req.GetCursor() == "" {
			return out
		}
	}
}

// submissionID returns what was handed in by somebody, for who reads it.
func (w *workWorld) submissionID(account string) string {
	w.t.Helper()
	return w.query(`SELECT submission_id FROM submission_member WHERE account_id = $1 AND item_id = $2 ORDER BY submission_id DESC LIMIT 1`, account, w.item)[0]
}

func (w *workWorld) mark(account string, number int32, points string) *assessmentpb.Submission {
	w.t.Helper()
	out, err := w.staff.MarkSubmission(rpc.WithIfMatch(w.as(w.teacher), "*"), &assessmentpb.MarkSubmissionRequest{
		CourseId: w.course, SubmissionId: w.submissionID(account), Number: number, Points: points, Comment: "Well *argued*.",
	})
	if err != nil {
		w.t.Fatalf("MarkSubmission: %v", err)
	}
	return out
}

// posts has the gradebook say whether grades are posted, for some or everybody else.
func (w *workWorld) posts(version int64, posted bool, accounts ...string) {
	w.t.Helper()
	hear(w.world, w.service.postingChanged, &gradespb.PostingChanged{CourseId: w.course, ItemId: w.item, Policy: "manual", Posted: posted, Version: version, AccountIds: accounts})
}

// file does what the worker does with files.
func (w *workWorld) file() {
	w.t.Helper()
	for _, step := range []func(context.Context) (bool, error){w.service.tellFiles, w.service.dropFiles, w.service.remarkAssignments} {
		for more := true; more; {
			var err error
			if more, err = step(auth.With(context.Background(), auth.Principal{})); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}
