package assessment

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

func essaySettings() *assessmentpb.AssignmentSettings {
	return &assessmentpb.AssignmentSettings{Points: "10", Text: &assessmentpb.AssignmentText{}}
}

func TestAssignmentDraft(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	ctx := w.as(w.teacher)
	a, err := w.CreateAssignment(ctx, &assessmentpb.CreateAssignmentRequest{CourseId: w.course, Title: " On Duties ", Settings: &assessmentpb.AssignmentSettings{
		Instructions: "Write.", Text: &assessmentpb.AssignmentText{MaxWords: 500}, Files: &assessmentpb.AssignmentFiles{Extensions: []string{"pdf", "docx"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := &assessmentpb.AssignmentSettings{
		Instructions: "Write.", Points: "100", Text: &assessmentpb.AssignmentText{Format: "markdown", MaxWords: 500},
		Files: &assessmentpb.AssignmentFiles{MaxCount: 10, Extensions: []string{"docx", "pdf"}}, GradeKept: "last", Late: "until",
	}
	if diff := cmp.Diff(want, a.GetSettings(), protocmp.Transform()); diff != "" || a.GetTitle() != "On Duties" || a.GetVersion() != 0 || !a.GetChanged() {
		t.Errorf("made %v (-want +got):\n%s", a, diff)
	}
	change := &assessmentpb.UpdateAssignmentRequest{CourseId: w.course, AssignmentId: a.GetId(), Title: new("On Ends")}
	if _, err := w.UpdateAssignment(rpc.WithIfMatch(ctx, a.GetEtag()), change); err != nil {
		t.Fatal(err)
	}
	if _, err := w.UpdateAssignment(rpc.WithIfMatch(ctx, a.GetEtag()), change); fault.CodeOf(err) != "etag.stale" {
		t.Errorf("a stale change: %v", err)
	}
	if p := w.publishAssignment(a.GetId()); p.GetVersion() != 1 || p.GetChanged() {
		t.Errorf("published %v", p)
	}
	if p := w.publishAssignment(a.GetId()); p.GetVersion() != 1 {
		t.Errorf("the same again is %d", p.GetVersion())
	}
	w.show(a.GetId())
	got, err := w.GetAssignment(ctx, &assessmentpb.GetAssignmentRequest{CourseId: w.course, AssignmentId: a.GetId()})
	if err != nil || len(got.GetPlaces()) != 1 || got.GetPlaces()[0].GetItemId() != w.item {
		t.Errorf("places: %v, %v", got.GetPlaces(), err)
	}
	list, err := w.ListAssignments(ctx, &assessmentpb.ListAssignmentsRequest{CourseId: w.course})
	if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetTitle() != "On Ends" || list.GetItems()[0].GetSettings() != nil {
		t.Errorf("list: %v, %v", list, err)
	}
	versions, err := w.ListAssignmentVersions(ctx, &assessmentpb.ListAssignmentVersionsRequest{CourseId: w.course, AssignmentId: a.GetId()})
	if err != nil || len(versions.GetItems()) != 1 || versions.GetItems()[0].GetPublishedBy() != w.teacher {
		t.Errorf("versions: %v, %v", versions, err)
	}
	copied, err := w.CopyAssignment(ctx, &assessmentpb.CopyAssignmentRequest{CourseId: w.course, AssignmentId: a.GetId(), Title: "Again"})
	if err != nil || copied.GetTitle() != "Again" || copied.GetVersion() != 0 || cmp.Diff(want, copied.GetSettings(), protocmp.Transform()) != "" {
		t.Errorf("copy: %v, %v", copied, err)
	}
	remove := &assessmentpb.DeleteAssignmentRequest{CourseId: w.course, AssignmentId: a.GetId()}
	if _, err := w.DeleteAssignment(ctx, remove); fault.CodeOf(err) != "assignment.placed" {
		t.Errorf("one that is shown: %v", err)
	}
	if _, err := w.DeleteAssignment(ctx, &assessmentpb.DeleteAssignmentRequest{CourseId: w.course, AssignmentId: copied.GetId()}); err != nil {
		t.Error(err)
	}
	w.hands(w.student("Ana"), "text")
	w.show("")
	if _, err := w.DeleteAssignment(ctx, remove); fault.CodeOf(err) != "assignment.submitted" {
		t.Errorf("one with submissions: %v", err)
	}
	if _, err := w.GetAssignment(ctx, &assessmentpb.GetAssignmentRequest{CourseId: id.New("course"), AssignmentId: a.GetId()}); fault.CodeOf(err) != "assignment.not_found" {
		t.Errorf("of another course: %v", err)
	}
}

func TestAssignmentFields(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	for name, c := range map[string]struct {
		settings *assessmentpb.AssignmentSettings
		want     string
	}{
		"no points":       {&assessmentpb.AssignmentSettings{Points: "0"}, "settings.points"},
		"too many points": {&assessmentpb.AssignmentSettings{Points: "1000000.000001"}, "settings.points"},
		"percent":         {&assessmentpb.AssignmentSettings{PassPercent: "100.5"}, "settings.pass_percent"},
		"words":           {&assessmentpb.AssignmentSettings{Text: &assessmentpb.AssignmentText{MinWords: 5, MaxWords: 4}}, "settings.text.min_words"},
		"files":           {&assessmentpb.AssignmentSettings{Files: &assessmentpb.AssignmentFiles{MinCount: 5, MaxCount: 4}}, "settings.files.min_count"},
		"late":            {&assessmentpb.AssignmentSettings{LateSeconds: 5}, "settings.late_seconds"},
		"within":          {&assessmentpb.AssignmentSettings{Late: "within"}, "settings.late_seconds"},
		"group":           {&assessmentpb.AssignmentSettings{Group: &assessmentpb.GroupWork{GroupIds: []string{id.New("group")}}}, "settings.group.group_ids"},
		"weight":          {&assessmentpb.AssignmentSettings{PeerReview: &assessmentpb.PeerReview{Reviews: 2, Seconds: 3600, WeightPercent: "101"}}, "settings.peer_review.weight_percent"},
	} {
		_, err := w.CreateAssignment(w.as(w.teacher), &assessmentpb.CreateAssignmentRequest{CourseId: w.course, Title: name, Settings: c.settings})
		if diff := cmp.Diff([]string{"assignment.invalid", c.want + " assignment.invalid"}, codesOf(err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	a, err := w.CreateAssignment(w.as(w.teacher), &assessmentpb.CreateAssignmentRequest{CourseId: w.course, Title: "Empty"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.PublishAssignment(w.as(w.teacher), &assessmentpb.PublishAssignmentRequest{CourseId: w.course, AssignmentId: a.GetId()}); fault.CodeOf(err) != "assignment.empty" {
		t.Errorf("nothing to hand in: %v", err)
	}
}

// A teacher makes an assignment; a student drafts, hands in and sees the mark once it is
// posted.
func TestAssignmentJourney(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	settings := essaySettings()
	settings.Files, settings.Statement = &assessmentpb.AssignmentFiles{Extensions: []string{"pdf"}}, "It is my own work."
	w.assign(settings)
	ana := w.student("Ana")
	w.due(ana, w.now().Add(time.Hour), time.Time{})
	if my := w.my(ana); my.GetState() != "none" || !my.GetCanSubmit() || my.GetSettings().GetStatement() == "" {
		t.Errorf("before: %v", my)
	}
	pdf, wrong := w.upload(ana, "Essay.PDF", "%PDF-1.7 essay"), w.upload(ana, "fake.pdf", "no document")
	if _, err := w.save(ana, &assessmentpb.SubmissionContent{MediaIds: []string{wrong}}); fault.CodeOf(err) != "submission.file_refused" {
		t.Errorf("a file that is not what it is called: %v", err)
	}
	draft, err := w.save(ana, &assessmentpb.SubmissionContent{Text: "One *two* three.", MediaIds: []string{pdf}})
	if err != nil {
		t.Fatal(err)
	}
	if draft.GetWords() != 3 || draft.GetSavedBy() != ana || len(draft.GetFiles()) != 1 || draft.GetFiles()[0].GetMedia().GetUrl() != "/for/"+ana+"/"+pdf {
		t.Errorf("draft: %v", draft)
	}
	if my := w.my(ana); my.GetState() != "draft" || cmp.Diff(draft, my.GetDraft(), protocmp.Transform()) != "" {
		t.Errorf("with a draft: %v", my)
	}
	_, err = w.SubmitAssignment(w.as(ana), &assessmentpb.SubmitAssignmentRequest{CourseId: w.course, ItemId: w.item})
	if fault.CodeOf(err) != "submission.statement_required" {
		t.Errorf("without the statement: %v", err)
	}
	w.later(time.Minute)
	at := w.now()
	handed, err := w.submit(ana)
	if err != nil {
		t.Fatal(err)
	}
	if handed.GetNumber() != 1 || !handed.GetSubmittedAt().AsTime().Equal(at) || handed.GetLateSeconds() != 0 || handed.GetTextHtml() != "<p>One <em>two</em> three.</p>\n" ||
		len(handed.GetFiles()) != 1 || handed.GetMark() != nil || len(handed.GetHash()) != 64 || cmp.Diff([]string{ana}, handed.GetAccountIds()) != "" {
		t.Errorf("handed in: %v", handed)
	}
	if my := w.my(ana); my.GetState() != "submitted" || my.GetDraft() != nil || my.GetAttemptsUsed() != 1 || len(my.GetSubmissions()) != 1 {
		t.Errorf("after: %v", my)
	}
	submissionID := w.submissionID(ana)
	want := []*assessmentpb.MarkChanged{{
		CourseId: w.course, ItemId: w.item, AccountId: ana, SourceId: submissionID, State: "submitted", MaxPoints: "10", SubmittedAt: timestamppb.New(at),
		Attempts: 1, Cause: "submission", ChangedAt: timestamppb.New(at), Version: 1,
	}}
	if diff := cmp.Diff(want, outboxOf[assessmentpb.MarkChanged](w.quizWorld), protocmp.Transform()); diff != "" {
		t.Errorf("told the gradebook (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]*assessmentpb.ActivityResultChanged{{CourseId: w.course, ItemId: w.item, AccountId: ana, SubmittedAt: timestamppb.New(at), Version: 1}},
		outboxOf[assessmentpb.ActivityResultChanged](w.quizWorld), protocmp.Transform()); diff != "" {
		t.Errorf("told learning (-want +got):\n%s", diff)
	}
	w.posts(1, false)
	list := w.entries(nil)
	if e := list["Ana"]; len(list) != 1 || e.GetState() != "submitted" || e.GetFileCount() != 1 || e.GetSubmissionId() != submissionID || e.GetWords() != 3 {
		t.Errorf("list: %v", list)
	}
	w.later(time.Minute)
	marked, err := w.staff.MarkSubmission(w.as(w.teacher), &assessmentpb.MarkSubmissionRequest{
		CourseId: w.course, SubmissionId: submissionID, Number: 1, Percent: "87.5", Comment: "Well *argued*.", Comments: []*assessmentpb.InlineComment{
			{Key: "a", Body: "Why?", Anchor: &assessmentpb.InlineComment_Text{Text: &assessmentpb.TextAnchor{Start: 0, End: 3}}},
			{Key: "b", Body: "Here.", Anchor: &assessmentpb.InlineComment_File{File: &assessmentpb.FileAnchor{MediaId: pdf, Page: 2, X: 10, Y: 20, Width: 9990, Height: 1}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if m := marked.GetVersion().GetMark(); m.GetPoints() != "8.75" || m.GetPointsOf() != "10" || m.GetMarkedBy() != w.teacher || m.GetRevision() != 1 || len(m.GetComments()) != 2 || marked.GetEtag() != "1" {
		t.Errorf("marked: %v", marked)
	}
	if my := w.my(ana); my.GetState() != "submitted" || my.GetPoints() != "" || my.GetSubmissions()[0].GetMark() != nil {
		t.Errorf("an unposted mark shows: %v", my)
	}
	told := outboxOf[assessmentpb.MarkChanged](w.quizWorld)
	if len(told) != 1 || told[0].GetState() != "marked" || told[0].GetPoints() != "8.75" || told[0].GetCause() != "marking" || told[0].GetVersion() != 2 || told[0].GetMarkedBy() != w.teacher {
		t.Errorf("told the gradebook: %v", told)
	}
	w.posts(2, true, ana)
	my := w.my(ana)
	if my.GetState() != "marked" || my.GetPoints() != "8.75" || my.GetPointsOf() != "10" {
		t.Errorf("posted: %v", my)
	}
	got, err := w.GetMySubmission(w.as(ana), &assessmentpb.GetMySubmissionRequest{CourseId: w.course, ItemId: w.item, Number: 1})
	if m := got.GetMark(); err != nil || m.GetPoints() != "8.75" || m.GetCommentHtml() != "<p>Well <em>argued</em>.</p>\n" || len(m.GetComments()) != 2 || m.GetMarkedBy() != "" {
		t.Errorf("posted: %v, %v", got, err)
	}
}
