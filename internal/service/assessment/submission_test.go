package assessment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

func TestWordCount(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"": 0, " \n\t ": 0, "one": 1, "one two\nthree": 3, "don't well-known": 2, "— … *": 0, "# 1. One": 2, "日本語": 3, "Go言語 rocks": 4, "naïve café": 2,
	} {
		if got := wordCount(text); got != want {
			t.Errorf("%q has %d words, want %d", text, got, want)
		}
	}
}

// What may be handed in, and how late it is, at each moment around the dates.
func TestSubmissionDates(t *testing.T) {
	t.Parallel()
	due := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	until := due.Add(2 * time.Hour)
	for name, c := range map[string]struct {
		late    string
		seconds int32
		closes  time.Time
	}{
		"until": {"until", 0, until}, "refuse": {"refuse", 0, due}, "within": {"within", 3600, due.Add(time.Hour)}, "within more": {"within", 36000, until},
	} {
		settings := &assessmentpb.AssignmentSettings{Late: c.late, LateSeconds: c.seconds}
		st := &standing{enrolled: true, state: "open", due: &due, closesAt: &until}
		for at, want := range map[time.Time]string{c.closes: "", c.closes.Add(time.Microsecond): "submission.closed", due.Add(-time.Hour): ""} {
			got := ""
			if err := refuseSubmission(settings, st, nil, 0, at); err != nil {
				got = err.Code
			}
			if got != want {
				t.Errorf("%s at %s: %q, want %q", name, at, got, want)
			}
		}
	}
	for after, want := range map[time.Duration]int64{0: 0, -time.Second: 0, time.Microsecond: 1, time.Second: 1, time.Second + 1: 2, time.Hour: 3600} {
		if got := lateBy(&due, due.Add(after)); got != want {
			t.Errorf("%s after: %d seconds late, want %d", after, got, want)
		}
	}
	if lateBy(nil, due) != 0 {
		t.Error("late without a due date")
	}
}

func TestLateness(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	w.assign(essaySettings())
	ana, ben, cleo := w.student("Ana"), w.student("Ben"), w.student("Cleo")
	due := w.now().Add(time.Hour)
	for _, account := range []string{ana, ben, cleo} {
		w.due(account, due, due.Add(time.Hour))
	}
	w.later(time.Hour) // the very moment counts as in time
	if got := w.hands(ana, "a"); got.GetLateSeconds() != 0 {
		t.Errorf("at the moment: %d", got.GetLateSeconds())
	}
	w.later(time.Microsecond)
	if got := w.hands(ben, "b"); got.GetLateSeconds() != 1 {
		t.Errorf("a microsecond late: %d", got.GetLateSeconds())
	}
	if got := w.my(ben).GetState(); got != "late" {
		t.Errorf("Ben's is %s", got)
	}
	list := w.entries(nil)
	if list["Ana"].GetState() != "submitted" || list["Ben"].GetState() != "late" || list["Ben"].GetLateSeconds() != 1 || list["Cleo"].GetState() != "missing" {
		t.Errorf("list: %v", list)
	}
	w.later(time.Hour)
	if _, err := w.save(cleo, &assessmentpb.SubmissionContent{Text: "c"}); codeIf(err) != "submission.closed" {
		t.Errorf("after the end: %v", err)
	}
	outboxOf[assessmentpb.MarkChanged](w.quizWorld)
	// Ben is given more time: it counts when it is asked for.
	w.due(ben, due.Add(24*time.Hour), due.Add(25*time.Hour))
	for _, want := range []int32{1, 0} {
		res, err := w.staff.RecomputeLateness(w.as(w.teacher), &assessmentpb.RecomputeLatenessRequest{CourseId: w.course, ItemId: w.item})
		if err != nil || res.GetChanged() != want {
			t.Errorf("recomputed: %v, %v, want %d", res, err, want)
		}
	}
	told := outboxOf[assessmentpb.MarkChanged](w.quizWorld)
	if len(told) != 1 || told[0].GetAccountId() != ben || told[0].GetLateSeconds() != 0 || told[0].GetCause() != "extension" {
		t.Errorf("told: %v", told)
	}
	// Or when it is marked.
	w.due(ben, due.Add(-30*time.Minute), due)
	w.mark(ben, 1, "5")
	if told := outboxOf[assessmentpb.MarkChanged](w.quizWorld); len(told) != 1 || told[0].GetLateSeconds() != 1801 || told[0].GetPoints() != "5" {
		t.Errorf("told: %v", told)
	}
	// Or by itself, once learning says that dates have changed.
	w.due(ana, due.Add(-10*time.Second), due)
	hear(w.world, w.service.deadlinesChanged, &learningpb.DeadlinesChanged{CourseId: w.course, AccountIds: []string{ana}})
	for more := true; more; {
		var err error
		if more, err = w.service.assignmentsDue(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if told := outboxOf[assessmentpb.MarkChanged](w.quizWorld); len(told) != 1 || told[0].GetAccountId() != ana || told[0].GetLateSeconds() != 10 {
		t.Errorf("told: %v", told)
	}
}

func TestSubmissionRules(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	w.assign(&assessmentpb.AssignmentSettings{
		Attempts: 2, Text: &assessmentpb.AssignmentText{Format: "plain", MinWords: 2, MaxWords: 4, Optional: true},
		Files: &assessmentpb.AssignmentFiles{MinCount: 1, MaxCount: 2, MaxBytes: 20}, Url: &assessmentpb.AssignmentURL{Hosts: []string{"example.org"}, Optional: true},
	})
	ana, ben := w.student("Ana"), w.student("Ben")
	small := func() string { return w.upload(ana, "notes.txt", "short") }
	large, foreign := w.upload(ana, "large.txt", strings.Repeat("x", 21)), w.upload(ben, "his.txt", "short")
	for name, c := range map[string]struct {
		content *assessmentpb.SubmissionContent
		want    []string // at saving, or else at handing in
	}{
		"nothing":         {&assessmentpb.SubmissionContent{}, []string{"submission.incomplete", "content.text submission.incomplete", "content.media_ids submission.incomplete", "content.url submission.incomplete"}},
		"too many":        {&assessmentpb.SubmissionContent{MediaIds: []string{small(), small(), small()}}, []string{"submission.too_many_files", "content.media_ids submission.too_many_files"}},
		"too large":       {&assessmentpb.SubmissionContent{MediaIds: []string{small(), large}}, []string{"submission.file_refused", "content.media_ids[1] submission.file_refused"}},
		"somebody else's": {&assessmentpb.SubmissionContent{MediaIds: []string{foreign}}, []string{"media.not_found", "content.media_ids[0] media.not_found"}},
		"nobody's":        {&assessmentpb.SubmissionContent{MediaIds: []string{id.New("media")}}, []string{"media.not_found", "content.media_ids[0] media.not_found"}},
		"few words":       {&assessmentpb.SubmissionContent{MediaIds: []string{small()}, Text: "one"}, []string{"submission.incomplete", "content.text submission.incomplete"}},
		"many words":      {&assessmentpb.SubmissionContent{MediaIds: []string{small()}, Text: "one two three four five"}, []string{"submission.incomplete", "content.text submission.incomplete"}},
		"no file":         {&assessmentpb.SubmissionContent{Text: "one two"}, []string{"submission.incomplete", "content.media_ids submission.incomplete"}},
		"a script":        {&assessmentpb.SubmissionContent{MediaIds: []string{small()}, Url: "javascript:alert(1)"}, []string{"submission.incomplete", "content.url submission.incomplete"}},
		"another host":    {&assessmentpb.SubmissionContent{MediaIds: []string{small()}, Url: "https://notexample.org/"}, []string{"submission.incomplete", "content.url submission.incomplete"}},
		"a password":      {&assessmentpb.SubmissionContent{MediaIds: []string{small()}, Url: "https://a:b@example.org/"}, []string{"submission.incomplete", "content.url submission.incomplete"}}, //nolint:gosec // no credentials
	} {
		_, err := w.save(ana, c.content)
		if err == nil {
			_, err = w.submit(ana)
		}
		if diff := cmp.Diff(c.want, codesOf(err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, err := w.submit(ben); codeIf(err) != "submission.no_draft" {
		t.Errorf("without a draft: %v", err)
	}
	for i := range 2 {
		if _, err := w.save(ana, &assessmentpb.SubmissionContent{MediaIds: []string{small()}, Text: "one two", Url: "https://work.example.org/a"}); err != nil {
			t.Fatal(err)
		}
		got, err := w.submit(ana)
		if err != nil || got.GetNumber() != int32(i+1) || got.GetTextHtml() != "" {
			t.Errorf("handed in: %v, %v", got, err)
		}
	}
	if _, err := w.save(ana, &assessmentpb.SubmissionContent{MediaIds: []string{small()}}); codeIf(err) != "submission.none_left" {
		t.Errorf("a third time: %v", err)
	}
	w.around.mu.Lock()
	w.around.eases[ana] = []*accesspb.Ease{{ExtraAttempts: 1}}
	w.around.mu.Unlock()
	if my := w.my(ana); my.GetAttempts() != 3 || !my.GetCanSubmit() {
		t.Errorf("eased: %v", my)
	}
	// What the course hides is not there.
	w.around.say(ana, &learningpb.ItemAccess{Enrolled: true, State: "hidden"})
	for name, call := range map[string]func() error{
		"GetMyAssignment": func() error {
			_, err := w.GetMyAssignment(w.as(ana), &assessmentpb.GetMyAssignmentRequest{CourseId: w.course, ItemId: w.item})
			return err
		},
		"SaveDraft": func() error {
			_, err := w.save(ana, &assessmentpb.SubmissionContent{MediaIds: []string{small()}})
			return err
		},
		"SubmitAssignment": func() error { _, err := w.submit(ana); return err },
		"GetMySubmission": func() error {
			_, err := w.GetMySubmission(w.as(ana), &assessmentpb.GetMySubmissionRequest{CourseId: w.course, ItemId: w.item, Number: 1})
			return err
		},
	} {
		if err := call(); codeIf(err) != "assignment.not_found" {
			t.Errorf("%s of what is hidden: %v", name, err)
		}
	}
	// Access has let them in, and learning is about to hear it.
	w.around.say(ana, &learningpb.ItemAccess{State: "open"})
	if my := w.my(ana); my.GetRefusal().GetCode() != "submission.enrolling" || my.GetCanSubmit() {
		t.Errorf("just enrolled: %v", my)
	}
	_, saving := w.save(ana, &assessmentpb.SubmissionContent{MediaIds: []string{small()}})
	_, submitting := w.submit(ana)
	for name, err := range map[string]error{"SaveDraft": saving, "SubmitAssignment": submitting} {
		if e, ok := errors.AsType[*fault.Error](fault.FromStatus(err)); !ok || e.Code != "submission.enrolling" || e.Kind != fault.Unavailable || e.Retry != time.Second {
			t.Errorf("%s of who has just been enrolled: %v", name, err)
		}
	}
	w.around.say(ana, &learningpb.ItemAccess{Enrolled: true, State: "locked", Reasons: []string{"First this."}})
	if my := w.my(ana); my.GetRefusal().GetCode() != "submission.locked" || cmp.Diff([]string{"First this."}, my.GetRefusal().GetReasons()) != "" || my.GetCanSubmit() {
		t.Errorf("locked: %v", my)
	}
}

// Files stay as long as something names them, and go with a draft.
func TestDraftFiles(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	settings := essaySettings()
	settings.Text.Optional, settings.Files = true, &assessmentpb.AssignmentFiles{}
	w.assign(settings)
	ana := w.student("Ana")
	a, b, c := w.upload(ana, "a.txt", "a"), w.upload(ana, "b.txt", "b"), w.upload(ana, "c.txt", "c")
	save := func(ids ...string) {
		t.Helper()
		if _, err := w.save(ana, &assessmentpb.SubmissionContent{MediaIds: ids}); err != nil {
			t.Fatal(err)
		}
	}
	kept := func() (out []string) {
		w.file()
		for _, one := range []string{a, b, c} {
			if f := w.store.files[one]; f != nil {
				out = append(out, strings.TrimSuffix(f.facts.GetFilename(), ".txt")+map[bool]string{true: "+"}[f.kept])
			}
		}
		return out
	}
	for _, step := range []struct {
		do   func()
		want []string
	}{
		{func() {}, []string{"a", "b", "c"}},
		{func() { save(a, b) }, []string{"a+", "b+", "c"}},
		{func() { save(a) }, []string{"a+", "c"}},
		{func() {
			if _, err := w.submit(ana); err != nil {
				t.Fatal(err)
			}
		}, []string{"a+", "c"}},
		{func() { save(a, c) }, []string{"a+", "c+"}},
		{func() {
			if _, err := w.DiscardDraft(w.as(ana), &assessmentpb.DiscardDraftRequest{CourseId: w.course, ItemId: w.item}); err != nil {
				t.Fatal(err)
			}
		}, []string{"a+"}},
	} {
		step.do()
		if diff := cmp.Diff(step.want, kept()); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
	if _, err := w.save(ana, &assessmentpb.SubmissionContent{MediaIds: []string{b}}); codeIf(err) != "media.not_found" {
		t.Errorf("a file that is gone: %v", err)
	}
	if _, err := w.DiscardDraft(w.as(ana), &assessmentpb.DiscardDraftRequest{CourseId: w.course, ItemId: w.item}); codeIf(err) != "submission.no_draft" {
		t.Errorf("no draft: %v", err)
	}
	// A file is of one submission alone.
	w.item = id.New("activity")
	w.assign(settings)
	if _, err := w.save(ana, &assessmentpb.SubmissionContent{MediaIds: []string{a}}); codeIf(err) != "media.not_found" {
		t.Errorf("a file of another submission: %v", err)
	}
	// One in which malware was found since is not handed in.
	bad := w.upload(ana, "bad.txt", "bad")
	save(bad)
	w.store.files[bad].facts.State = "refused"
	if _, err := w.submit(ana); codeIf(err) != "submission.file_refused" {
		t.Errorf("malware: %v", err)
	}
}

func TestDraftConflicts(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	settings := essaySettings()
	settings.Group = &assessmentpb.GroupWork{}
	w.assign(settings)
	ana, ben := w.student("Ana"), w.student("Ben")
	w.group("Red", ana, ben)
	first, err := w.save(ana, &assessmentpb.SubmissionContent{Text: "Ana's"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.save(ben, &assessmentpb.SubmissionContent{Text: "Ben's"}); codeIf(err) != "etag.required" {
		t.Errorf("over another's: %v", err)
	}
	content := &assessmentpb.SubmissionContent{Text: "both"}
	second, err := w.SaveDraft(rpc.WithIfMatch(w.as(ben), first.GetEtag()), &assessmentpb.SaveDraftRequest{CourseId: w.course, ItemId: w.item, Content: content})
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.SaveDraft(rpc.WithIfMatch(w.as(ben), first.GetEtag()), &assessmentpb.SaveDraftRequest{CourseId: w.course, ItemId: w.item, Content: content})
	if err != nil || again.GetEtag() != second.GetEtag() {
		t.Errorf("the same again: %v, %v", again, err)
	}
	if _, err := w.SaveDraft(rpc.WithIfMatch(w.as(ana), first.GetEtag()), &assessmentpb.SaveDraftRequest{CourseId: w.course, ItemId: w.item, Content: &assessmentpb.SubmissionContent{Text: "x"}}); codeIf(err) != "etag.stale" {
		t.Errorf("stale: %v", err)
	}
	if _, err := w.SubmitAssignment(rpc.WithIfMatch(w.as(ana), first.GetEtag()), &assessmentpb.SubmitAssignmentRequest{CourseId: w.course, ItemId: w.item}); codeIf(err) != "etag.stale" {
		t.Errorf("handing in what one has not seen: %v", err)
	}
	if got := w.my(ana).GetDraft(); got.GetContent().GetText() != "both" || got.GetSavedBy() != ben {
		t.Errorf("draft: %v", got)
	}
}

// Two of a group hand in at once: one version, or two that are one after the other, and
// each of them gets the mark. With a key, once.
func TestGroupRace(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	settings := essaySettings()
	settings.Group = &assessmentpb.GroupWork{Required: true}
	w.assign(settings)
	ana, ben, cleo := w.student("Ana"), w.student("Ben"), w.student("Cleo")
	red := w.group("Red", ana, ben)
	if _, err := w.save(cleo, &assessmentpb.SubmissionContent{Text: "alone"}); codeIf(err) != "submission.no_group" {
		t.Errorf("in no group: %v", err)
	}
	if _, err := w.save(ana, &assessmentpb.SubmissionContent{Text: "ours"}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var codes []string
	for _, account := range []string{ana, ben, ana, ben} {
		wg.Go(func() {
			_, err := w.SubmitAssignment(rpc.WithIdempotencyKey(w.as(account), "once"), &assessmentpb.SubmitAssignmentRequest{CourseId: w.course, ItemId: w.item})
			mu.Lock()
			defer mu.Unlock()
			codes = append(codes, codeIf(err))
		})
	}
	wg.Wait()
	slices.Sort(codes)
	// One of them had the draft, with its key both times; the other found none.
	if diff := cmp.Diff([]string{"", "", "submission.no_draft", "submission.no_draft"}, codes); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
	if got := w.query(`SELECT account_id FROM submission_member ORDER BY account_id`); cmp.Diff(slices.Sorted(slices.Values([]string{ana, ben})), got) != "" {
		t.Errorf("members: %v", got)
	}
	// Who comes later has not handed it in, and who leaves has.
	w.joins(red, cleo, true, 1)
	w.joins(red, ben, false, 2)
	outboxOf[assessmentpb.MarkChanged](w.quizWorld)
	w.mark(ana, 1, "7")
	var marked []string
	for _, e := range outboxOf[assessmentpb.MarkChanged](w.quizWorld) {
		marked = append(marked, e.GetAccountId()+" "+e.GetPoints())
	}
	slices.Sort(marked)
	if diff := cmp.Diff(slices.Sorted(slices.Values([]string{ana + " 7", ben + " 7"})), marked); diff != "" {
		t.Errorf("marks (-want +got):\n%s", diff)
	}
	my := w.my(cleo)
	if my.GetGroupName() != "Red" || my.GetPoints() != "" || len(my.GetSubmissions()) != 1 || my.GetSubmissions()[0].GetMark() != nil || my.GetState() != "submitted" {
		t.Errorf("who came later: %v", my)
	}
	if my := w.my(ben); my.GetPoints() != "7" || len(my.GetSubmissions()) != 1 || my.GetSubmissions()[0].GetMark().GetPoints() != "7" || my.GetCanSubmit() {
		t.Errorf("who has left: %v", my)
	}
	// In two groups one hands in for none.
	w.group("Blue", ana)
	if _, err := w.save(ana, &assessmentpb.SubmissionContent{Text: "x"}); codeIf(err) != "submission.several_groups" {
		t.Errorf("in two groups: %v", err)
	}
}

func TestResubmission(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	settings := essaySettings()
	settings.AllowWithdraw = true
	assignmentID := w.assign(settings)
	ana := w.student("Ana")
	w.due(ana, w.now().Add(time.Hour), time.Time{})
	state := func() string {
		rows := w.query(`SELECT state || ' ' || source_number || ' ' || points || '/' || max_points || ' ' || attempts FROM assignment_mark WHERE account_id = $1`, ana)
		return strings.Join(rows, "; ")
	}
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"first", func() { w.hands(ana, "first") }, "submitted 1 /10 1"},
		{"marked", func() { w.mark(ana, 1, "8") }, "marked 1 8/10 1"},
		{"second", func() { w.hands(ana, "second") }, "submitted 2 /10 2"},
		{"second marked", func() { w.mark(ana, 2, "6") }, "marked 2 6/10 2"},
		{"the best counts", func() { settings.GradeKept = "best"; w.change(assignmentID, settings) }, "marked 1 8/10 2"},
		{"of more points", func() { settings.Points = "15"; w.change(assignmentID, settings) }, "marked 1 12/15 2"},
		{"remarked", func() { w.mark(ana, 2, "9") }, "marked 2 13.5/15 2"},
		{"third", func() { w.hands(ana, "third") }, "marked 2 13.5/15 3"},
		{"third withdrawn", func() {
			my, err := w.WithdrawSubmission(w.as(ana), &assessmentpb.WithdrawSubmissionRequest{CourseId: w.course, ItemId: w.item})
			if err != nil || my.GetDraft().GetContent().GetText() != "third" || my.GetAttemptsUsed() != 2 || my.GetState() != "marked" {
				t.Errorf("withdrawn: %v, %v", my, err)
			}
		}, "marked 2 13.5/15 2"},
		{"the mark taken back", func() { w.mark(ana, 2, "") }, "marked 1 12/15 2"},
	} {
		step.do()
		w.file()
		if got := state(); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
	// What was marked can't be taken back.
	if _, err := w.WithdrawSubmission(w.as(ana), &assessmentpb.WithdrawSubmissionRequest{CourseId: w.course, ItemId: w.item}); codeIf(err) != "submission.not_withdrawable" {
		t.Errorf("a marked one: %v", err)
	}
	if _, err := w.staff.MarkSubmission(w.as(w.teacher), &assessmentpb.MarkSubmissionRequest{CourseId: w.course, SubmissionId: w.submissionID(ana), Number: 3, Points: "1"}); codeIf(err) != "submission.withdrawn" {
		t.Errorf("marking what was withdrawn: %v", err)
	}
	marks, err := w.staff.ListMarks(w.as(w.teacher), &assessmentpb.ListMarksRequest{CourseId: w.course, SubmissionId: w.submissionID(ana), Number: 2})
	var points []string
	for _, m := range marks.GetItems() {
		points = append(points, fmt.Sprint(m.GetRevision(), ":", m.GetPoints(), "/", m.GetPointsOf()))
	}
	if diff := cmp.Diff([]string{"3:/10", "2:9/10", "1:6/10"}, points); err != nil || diff != "" {
		t.Errorf("history (-want +got, %v):\n%s", err, diff)
	}
	// After it is due nothing is taken back.
	w.submitDraft(ana)
	w.later(2 * time.Hour)
	if _, err := w.WithdrawSubmission(w.as(ana), &assessmentpb.WithdrawSubmissionRequest{CourseId: w.course, ItemId: w.item}); codeIf(err) != "submission.not_withdrawable" {
		t.Errorf("after it was due: %v", err)
	}
}

// TestBestOfAssignment: the gradebook is told which versions could be the best after
// lateness, with who marked each.
func TestBestOfAssignment(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	settings := essaySettings()
	settings.GradeKept = "best"
	assignmentID := w.assign(settings)
	ana := w.student("Ana")
	w.due(ana, w.now(), w.now().Add(24*time.Hour))
	w.hands(ana, "in time")
	w.later(time.Hour)
	w.hands(ana, "late")
	w.later(time.Hour)
	w.hands(ana, "later")
	outboxOf[assessmentpb.MarkChanged](w.quizWorld)
	for _, step := range []struct {
		name string
		do   func()
		want string // points and lateness of the one told, then of the others
	}{
		{"the late one", func() { w.mark(ana, 2, "8") }, "8@3600"},
		{"the later one is worse", func() { w.mark(ana, 3, "7") }, ""},
		{"the one in time", func() { w.mark(ana, 1, "7.5") }, "8@3600 7.5@0"},
		{"the later one is the best", func() { w.mark(ana, 3, "9") }, "9@7200 8@3600 7.5@0"},
		{"the late one is as good as that in time", func() { w.mark(ana, 2, "7.5") }, "9@7200 7.5@0"},
		{"another maximum", func() { settings.Points = "15"; w.change(assignmentID, settings); w.file() }, "13.5@7200 11.25@0"},
		{"anonymous", func() { settings.Anonymous = true; w.change(assignmentID, settings); w.file() }, "13.5@7200 11.25@0"},
		{"the mark in time is taken back", func() { w.mark(ana, 1, "") }, "13.5@7200 11.25@3600"},
		{"the last counts", func() { settings.GradeKept = "last"; w.change(assignmentID, settings); w.file() }, "13.5@7200"},
	} {
		step.do()
		got := ""
		for i, e := range outboxOf[assessmentpb.MarkChanged](w.quizWorld) {
			if i > 0 {
				got += "; "
			}
			got += fmt.Sprintf("%s@%d", e.GetPoints(), e.GetLateSeconds())
			for _, o := range e.GetOthers() {
				got += fmt.Sprintf(" %s@%d", o.GetPoints(), o.GetLateSeconds())
				if o.GetMarkedBy() != w.teacher || o.GetSourceId() != e.GetSourceId() || (o.GetSourceId() == "") != e.GetAnonymous() ||
					o.GetSubmittedAt().AsTime().After(e.GetSubmittedAt().AsTime()) {
					t.Errorf("%s: %v beside %v", step.name, o, e)
				}
			}
		}
		if got != step.want {
			t.Errorf("%s: told %q, want %q", step.name, got, step.want)
		}
	}
}

// TestWithdrawOfGroup: what one of a group has been shown a mark of the others do not take
// back; what nobody has been shown they do.
func TestWithdrawOfGroup(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	settings := essaySettings()
	settings.AllowWithdraw, settings.Group = true, &assessmentpb.GroupWork{}
	w.assign(settings)
	ana, ben, late := w.student("Ana"), w.student("Ben"), w.student("Cy")
	g := w.group("Red", ana, ben)
	w.posts(1, false)
	may := func(who string, want bool) {
		t.Helper()
		if got := w.my(who).GetCanWithdraw(); got != want {
			t.Errorf("can_withdraw of %s: %v", who, got)
		}
	}
	w.hands(ana, "ours")
	w.joins(g, late, true, 1)
	w.mark(ana, 1, "8")
	for _, who := range []string{ana, ben, late} {
		may(who, true)
	}
	w.posts(2, true, ben)
	for _, who := range []string{ana, ben, late} {
		may(who, false)
		if _, err := w.WithdrawSubmission(w.as(who), &assessmentpb.WithdrawSubmissionRequest{CourseId: w.course, ItemId: w.item}); codeIf(err) != "submission.not_withdrawable" {
			t.Errorf("%s takes back what another was shown a mark of: %v", who, err)
		}
	}
	w.posts(3, false, ben)
	may(ana, true)
	if _, err := w.WithdrawSubmission(w.as(ana), &assessmentpb.WithdrawSubmissionRequest{CourseId: w.course, ItemId: w.item}); err != nil {
		t.Error(err)
	}
}

// TestWithdrawTellsNoMark has a group's work be marked while the gradebook shows marks of
// it to everybody, to nobody, or to some: of who may take it back only those are told
// something else than before who are shown the mark, and it is taken back by nobody once
// it is shown to somebody.
func TestWithdrawTellsNoMark(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		posts         func(w *workWorld, ana, ben string)
		before, after string // who may, of Ana and Ben, whose it is, and of Cy, who came later
	}{
		"everybody":    {func(*workWorld, string, string) {}, "Ana Ben", ""},
		"nobody":       {func(w *workWorld, _, _ string) { w.posts(1, false) }, "Ana Ben Cy", "Ana Ben Cy"},
		"Ben alone":    {func(w *workWorld, _, ben string) { w.posts(1, false); w.posts(2, true, ben) }, "Ben", ""},
		"all but Ana":  {func(w *workWorld, ana, _ string) { w.posts(1, false, ana) }, "Ben", ""},
		"none of them": {func(w *workWorld, ana, ben string) { w.posts(1, false, ana, ben) }, "Ana Ben Cy", "Ana Ben Cy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorkWorld(t)
			settings := essaySettings()
			settings.AllowWithdraw, settings.Group = true, &assessmentpb.GroupWork{}
			w.assign(settings)
			ana, ben, late := w.student("Ana"), w.student("Ben"), w.student("Cy")
			g := w.group("Red", ana, ben)
			c.posts(w, ana, ben)
			w.hands(ana, "ours")
			w.joins(g, late, true, 1)
			accounts := map[string]string{"Ana": ana, "Ben": ben, "Cy": late}
			// Who is told that they may; those who are not are refused.
			may := func() string {
				t.Helper()
				var out []string
				for _, name := range []string{"Ana", "Ben", "Cy"} {
					if w.my(accounts[name]).GetCanWithdraw() {
						out = append(out, name)
					} else if _, err := w.WithdrawSubmission(w.as(accounts[name]), &assessmentpb.WithdrawSubmissionRequest{CourseId: w.course, ItemId: w.item}); codeIf(err) != "submission.not_withdrawable" {
						t.Errorf("%s takes it back all the same: %v", name, err)
					}
				}
				return strings.Join(out, " ")
			}
			expect(t, "before it is marked", may(), c.before)
			w.mark(ana, 1, "8")
			after := may()
			expect(t, "once it is marked", after, c.after)
			if name, _, _ := strings.Cut(after, " "); name != "" {
				if _, err := w.WithdrawSubmission(w.as(accounts[name]), &assessmentpb.WithdrawSubmissionRequest{CourseId: w.course, ItemId: w.item}); err != nil {
					t.Errorf("%s does not take it back: %v", name, err)
				}
			}
		})
	}
}

// TestWithdrawUnposted has what is marked be taken back as what is not, until the mark is
// posted: whether it can be tells nothing of one that is not.
func TestWithdrawUnposted(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	settings := essaySettings()
	settings.AllowWithdraw = true
	w.assign(settings)
	ana := w.student("Ana")
	w.due(ana, w.now().Add(time.Hour), time.Time{})
	w.posts(1, false)
	withdraw := func() error {
		_, err := w.WithdrawSubmission(w.as(ana), &assessmentpb.WithdrawSubmissionRequest{CourseId: w.course, ItemId: w.item})
		return err
	}
	w.hands(ana, "first")
	w.mark(ana, 1, "8")
	if !w.my(ana).GetCanWithdraw() {
		t.Error("can_withdraw tells that it is marked")
	}
	if err := withdraw(); err != nil {
		t.Errorf("marked and not posted: %v", err)
	}
	rows := w.query(`SELECT state || ' ' || points FROM assignment_mark WHERE account_id = $1`, ana)
	expect(t, "counts", strings.Join(rows, "; "), "none ")
	history, err := w.staff.ListMarks(w.as(w.teacher), &assessmentpb.ListMarksRequest{CourseId: w.course, SubmissionId: w.submissionID(ana), Number: 1})
	if err != nil || len(history.GetItems()) != 1 || history.GetItems()[0].GetPoints() != "8" {
		t.Errorf("history: %v, %v", history, err)
	}
	w.submitDraft(ana)
	w.mark(ana, 2, "9")
	w.posts(2, true, ana)
	my := w.my(ana)
	if my.GetCanWithdraw() || my.GetPoints() != "9" {
		t.Errorf("posted: %v", my)
	}
	for _, v := range my.GetSubmissions() {
		if want := map[int32]string{2: "9"}[v.GetNumber()]; v.GetMark().GetPoints() != want {
			t.Errorf("mark of %d: %v", v.GetNumber(), v.GetMark())
		}
	}
	expect(t, "a posted one", codeIf(withdraw()), "submission.not_withdrawable")
}

// codeIf is the code of a refusal; empty for none.
func codeIf(err error) string {
	if err == nil {
		return ""
	}
	return fault.CodeOf(err)
}

func (w *workWorld) submitDraft(account string) {
	w.t.Helper()
	if _, err := w.submit(account); err != nil {
		w.t.Fatal(err)
	}
}

// change publishes other settings.
func (w *workWorld) change(assignmentID string, settings *assessmentpb.AssignmentSettings) {
	w.t.Helper()
	if _, err := w.UpdateAssignment(w.as(w.teacher), &assessmentpb.UpdateAssignmentRequest{CourseId: w.course, AssignmentId: assignmentID, Settings: settings}); err != nil {
		w.t.Fatal(err)
	}
	w.publishAssignment(assignmentID)
}

func TestPromisesOfAssignments(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	settings := essaySettings()
	settings.Anonymous = true
	assignmentID := w.assign(settings)
	w.hands(w.student("Ana"), "text")
	for name, change := range map[string]func(*assessmentpb.AssignmentSettings){
		"named":  func(s *assessmentpb.AssignmentSettings) { s.Anonymous = false },
		"groups": func(s *assessmentpb.AssignmentSettings) { s.Group = &assessmentpb.GroupWork{} },
	} {
		other := proto.CloneOf(settings)
		change(other)
		if _, err := w.UpdateAssignment(w.as(w.teacher), &assessmentpb.UpdateAssignmentRequest{CourseId: w.course, AssignmentId: assignmentID, Settings: other}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.PublishAssignment(w.as(w.teacher), &assessmentpb.PublishAssignmentRequest{CourseId: w.course, AssignmentId: assignmentID}); codeIf(err) != "assignment.submitted" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReturned(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	settings := essaySettings()
	settings.Attempts = 1
	w.assign(settings)
	ana := w.student("Ana")
	w.hands(ana, "first")
	if my := w.my(ana); my.GetCanSubmit() {
		t.Errorf("after the only attempt: %v", my)
	}
	for range 2 { // once is as good as twice
		got, err := w.staff.ReturnSubmission(w.as(w.teacher), &assessmentpb.ReturnSubmissionRequest{CourseId: w.course, SubmissionId: w.submissionID(ana), Note: "Once more."})
		if err != nil || got.GetEntry().GetState() != "returned" {
			t.Errorf("returned: %v, %v", got, err)
		}
	}
	if my := w.my(ana); my.GetState() != "returned" || my.GetReturnedNote() != "Once more." || my.GetAttempts() != 2 || !my.GetCanSubmit() {
		t.Errorf("returned: %v", my)
	}
	w.hands(ana, "second")
	if my := w.my(ana); my.GetState() != "submitted" || my.GetCanSubmit() || my.GetReturnedNote() != "" {
		t.Errorf("done again: %v", my)
	}
}

func TestMarkConflicts(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	w.assign(essaySettings())
	ana := w.student("Ana")
	w.hands(ana, "text")
	submissionID := w.submissionID(ana)
	give := func(ctx context.Context, change func(*assessmentpb.MarkSubmissionRequest)) error {
		req := &assessmentpb.MarkSubmissionRequest{CourseId: w.course, SubmissionId: submissionID, Number: 1, Points: "5"}
		if change != nil {
			change(req)
		}
		_, err := w.staff.MarkSubmission(ctx, req)
		return err
	}
	for name, c := range map[string]struct {
		change func(*assessmentpb.MarkSubmissionRequest)
		want   string
	}{
		"too many points": {func(r *assessmentpb.MarkSubmissionRequest) { r.Points = "100.1" }, "points mark.invalid"},
		"both":            {func(r *assessmentpb.MarkSubmissionRequest) { r.Percent = "5" }, "percent mark.invalid"},
		"percent":         {func(r *assessmentpb.MarkSubmissionRequest) { r.Points, r.Percent = "", "1000.1" }, "percent mark.invalid"},
		"beyond the text": {func(r *assessmentpb.MarkSubmissionRequest) {
			r.Comments = []*assessmentpb.InlineComment{{Key: "a", Body: "?", Anchor: &assessmentpb.InlineComment_Text{Text: &assessmentpb.TextAnchor{Start: 2, End: 5}}}}
		}, "comments[0].text mark.invalid"},
		"no such file": {func(r *assessmentpb.MarkSubmissionRequest) {
			r.Comments = []*assessmentpb.InlineComment{{Key: "a", Body: "?", Anchor: &assessmentpb.InlineComment_File{File: &assessmentpb.FileAnchor{MediaId: id.New("media")}}}}
		}, "comments[0].file.media_id mark.invalid"},
		"a key twice": {func(r *assessmentpb.MarkSubmissionRequest) {
			c := &assessmentpb.InlineComment{Key: "a", Body: "?", Anchor: &assessmentpb.InlineComment_Text{Text: &assessmentpb.TextAnchor{End: 1}}}
			r.Comments = []*assessmentpb.InlineComment{c, c}
		}, "comments[1].key mark.invalid"},
	} {
		if diff := cmp.Diff([]string{"mark.invalid", c.want}, codesOf(give(w.as(w.teacher), c.change))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if err := give(w.as(w.teacher), nil); err != nil {
		t.Fatal(err)
	}
	if err := give(w.as(w.teacher), func(r *assessmentpb.MarkSubmissionRequest) { r.Points = "6" }); err != nil {
		t.Errorf("one's own again: %v", err)
	}
	if err := give(rpc.WithIfMatch(w.as(w.teacher), "1"), nil); codeIf(err) != "etag.stale" {
		t.Errorf("stale: %v", err)
	}
	if err := give(w.as(w.teacher), func(r *assessmentpb.MarkSubmissionRequest) { r.SubmissionId = id.New("submission") }); codeIf(err) != "submission.not_found" {
		t.Errorf("no such submission: %v", err)
	}
	if err := give(w.as(ana), nil); codeIf(err) != "not_found" {
		t.Errorf("a student marks: %v", err)
	}
	// Feedback files go with the mark.
	mediaID := w.store.add(w.course, w.teacher, "feedback", "remarks.txt", "text/plain", []byte("good"))
	got, err := w.staff.AddFeedbackFile(w.as(w.teacher), &assessmentpb.AddFeedbackFileRequest{CourseId: w.course, SubmissionId: submissionID, Number: 1, MediaId: mediaID})
	if err != nil || len(got.GetVersion().GetFeedbackFiles()) != 1 {
		t.Fatalf("feedback file: %v, %v", got, err)
	}
	w.posts(1, false)
	read := func() *assessmentpb.MySubmission {
		out, err := w.GetMySubmission(w.as(ana), &assessmentpb.GetMySubmissionRequest{CourseId: w.course, ItemId: w.item, Number: 1})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got := read(); got.GetMark() != nil || got.GetFeedbackFiles() != nil {
		t.Errorf("not posted: %v", got)
	}
	w.posts(2, true, ana)
	if got := read(); got.GetMark().GetPoints() != "6" || len(got.GetFeedbackFiles()) != 1 || got.GetFeedbackFiles()[0].GetFilename() != "remarks.txt" {
		t.Errorf("posted: %v", got)
	}
	remove := &assessmentpb.DeleteFeedbackFileRequest{CourseId: w.course, SubmissionId: submissionID, Number: 1, MediaId: mediaID}
	if _, err := w.staff.DeleteFeedbackFile(w.as(w.teacher), remove); err != nil {
		t.Fatal(err)
	}
	w.file()
	if _, err := w.staff.DeleteFeedbackFile(w.as(w.teacher), remove); codeIf(err) != "media.not_found" || len(read().GetFeedbackFiles()) != 0 || w.store.files[mediaID] != nil {
		t.Errorf("deleted: %v", err)
	}
}

// What is anonymous tells nothing of who it is, in no answer, until it is posted.
func TestAnonymous(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	settings := essaySettings()
	settings.Anonymous, settings.Files, settings.Group = true, &assessmentpb.AssignmentFiles{}, &assessmentpb.GroupWork{}
	w.assign(settings)
	w.posts(1, false)
	ana, ben, cleo := w.student("Ana-Lena"), w.student("Benedict"), w.student("Cleopatra")
	red := w.group("Crimson", ben, cleo)
	due := w.now().Add(-time.Hour)
	w.due(ana, due, time.Time{})
	file := w.upload(ana, "Ana-Lena essay.txt", "text")
	if _, err := w.save(ana, &assessmentpb.SubmissionContent{Text: "text", MediaIds: []string{file}}); err != nil {
		t.Fatal(err)
	}
	w.submitDraft(ana)
	w.later(time.Second)
	w.hands(ben, "ours")
	secrets := []string{ana, ben, cleo, red, "Ana-Lena", "Benedict", "Cleopatra", "Crimson", "2026-05-04"}
	secrets = append(secrets, w.query(`SELECT encode(hash, 'hex') FROM submission_version`)...)
	check := func(what string, m proto.Message) {
		t.Helper()
		text := fmt.Sprint(m)
		for _, s := range secrets {
			if strings.Contains(text, s) && !strings.Contains(s, "2026") {
				t.Errorf("%s tells %q: %s", what, s, text)
			}
		}
	}
	list, err := w.staff.ListSubmissions(w.as(w.teacher), &assessmentpb.ListSubmissionsRequest{CourseId: w.course, ItemId: w.item})
	if err != nil || len(list.GetItems()) != 2 {
		t.Fatalf("list: %v, %v", list, err)
	}
	check("the list", list)
	byCode := map[string]string{}
	for _, e := range list.GetItems() {
		byCode[e.GetParticipant()] = e.GetSubmissionId()
		if !e.GetAnonymous() || e.GetSubmittedAt() != nil || e.GetLateSeconds() != 0 {
			t.Errorf("an entry tells when: %v", e)
		}
		got, err := w.staff.GetSubmission(w.as(w.teacher), &assessmentpb.GetSubmissionRequest{CourseId: w.course, SubmissionId: e.GetSubmissionId()})
		if err != nil {
			t.Fatal(err)
		}
		if got.GetVersion().GetSubmittedAt() != nil || got.GetVersion().GetHash() != "" {
			t.Errorf("a version tells when: %v", got)
		}
		for _, f := range got.GetVersion().GetFiles() {
			if f.GetFilename() != "file-1.txt" || f.GetMedia().GetFilename() != "file-1.txt" || !strings.Contains(f.GetMedia().GetUrl(), "/anonymous/") {
				t.Errorf("a file tells its name: %v", f)
			}
			f.Media.Url = strings.ReplaceAll(f.GetMedia().GetUrl(), w.teacher, "")
		}
		check("a submission", got)
	}
	if len(byCode) != 2 {
		t.Errorf("pseudonyms: %v", byCode)
	}
	for _, req := range []*assessmentpb.ListSubmissionsRequest{{GroupId: red}, {CohortId: id.New("cohort")}} {
		req.CourseId, req.ItemId = w.course, w.item
		if _, err := w.staff.ListSubmissions(w.as(w.teacher), req); codeIf(err) != "submission.anonymous" {
			t.Errorf("narrowed: %v", err)
		}
	}
	for _, e := range outboxOf[assessmentpb.MarkChanged](w.quizWorld) {
		if e.GetSourceId() != "" || !e.GetAnonymous() {
			t.Errorf("the gradebook is told: %v", e)
		}
	}
	for _, entry := range w.query(`SELECT encode(payload, 'escape') FROM outbox WHERE name LIKE '%Recorded' AND position(convert_to('submission.submitted', 'UTF8') IN payload) > 0`) {
		for _, submissionID := range byCode {
			if strings.Contains(entry, submissionID) {
				t.Errorf("the audit log names who and what: %q", entry)
			}
		}
	}
	// The mark is posted: now it is told, of them alone.
	w.mark(ana, 1, "5")
	w.mark(ben, 1, "6")
	w.posts(2, true, ana)
	entries := w.entries(nil)
	if e := entries["Ana-Lena"]; e == nil || e.GetAccounts()[0].GetAccountId() != ana || byCode[e.GetParticipant()] != e.GetSubmissionId() || e.GetLateSeconds() != 3600 {
		t.Errorf("posted: %v", entries)
	}
	if entries["Benedict"] != nil || entries["Cleopatra"] != nil {
		t.Errorf("not posted: %v", entries)
	}
	w.posts(3, true, ben, cleo)
	if e := w.entries(nil)["Benedict"]; e == nil {
		e = w.entries(nil)["Cleopatra"]
		if e.GetGroupName() != "Crimson" || len(e.GetAccounts()) != 2 {
			t.Errorf("posted: %v", e)
		}
	}
}

func TestListSubmissions(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	w.assign(essaySettings())
	names := map[string]string{}
	for _, name := range []string{"none", "draft", "submitted", "late", "marked", "returned", "missing", "gone"} {
		names[name] = w.student(name)
	}
	past := w.now().Add(-time.Hour)
	w.due(names["late"], past, time.Time{})
	w.due(names["missing"], past, time.Time{})
	if _, err := w.save(names["draft"], &assessmentpb.SubmissionContent{Text: "draft"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"submitted", "late", "marked", "returned", "gone"} {
		w.hands(names[name], name)
	}
	w.mark(names["marked"], 1, "10")
	if _, err := w.staff.ReturnSubmission(w.as(w.teacher), &assessmentpb.ReturnSubmissionRequest{CourseId: w.course, SubmissionId: w.submissionID(names["returned"])}); err != nil {
		t.Fatal(err)
	}
	hear(w.world, w.service.enrollmentEnded, &accesspb.EnrollmentEnded{CourseId: w.course, AccountId: names["gone"], Version: 2})
	left := w.student("left")
	hear(w.world, w.service.enrollmentEnded, &accesspb.EnrollmentEnded{CourseId: w.course, AccountId: left, Version: 2})
	group, cohort := w.group("Red", names["draft"], names["late"]), id.New("cohort")
	hear(w.world, w.service.cohortMembershipChanged, &accesspb.CohortMembershipChanged{CourseId: w.course, AccountId: names["marked"], CohortId: cohort, Version: 1})
	got := func(req *assessmentpb.ListSubmissionsRequest) string {
		var out []string
		for name, e := range w.entries(req) {
			out = append(out, name+":"+e.GetState())
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	for _, c := range []struct {
		req  *assessmentpb.ListSubmissionsRequest
		want string
	}{
		{&assessmentpb.ListSubmissionsRequest{PageSize: 3}, "draft:draft gone:submitted late:late marked:marked missing:missing none:none returned:returned submitted:submitted"},
		{&assessmentpb.ListSubmissionsRequest{State: "none"}, "none:none"},
		{&assessmentpb.ListSubmissionsRequest{State: "draft"}, "draft:draft"},
		{&assessmentpb.ListSubmissionsRequest{State: "submitted"}, "gone:submitted submitted:submitted"},
		{&assessmentpb.ListSubmissionsRequest{State: "late"}, "late:late"},
		{&assessmentpb.ListSubmissionsRequest{State: "handed_in", PageSize: 1}, "gone:submitted late:late submitted:submitted"},
		{&assessmentpb.ListSubmissionsRequest{State: "missing", PageSize: 1}, "missing:missing"},
		{&assessmentpb.ListSubmissionsRequest{State: "marked"}, "marked:marked"},
		{&assessmentpb.ListSubmissionsRequest{State: "returned"}, "returned:returned"},
		{&assessmentpb.ListSubmissionsRequest{GroupId: group}, "draft:draft late:late"},
		{&assessmentpb.ListSubmissionsRequest{CohortId: cohort}, "marked:marked"},
	} {
		if got := got(c.req); got != c.want {
			t.Errorf("%v:\n got %s\nwant %s", c.req, got, c.want)
		}
	}
	for _, cursor := range []string{"x", "WyJhIl0"} {
		if _, err := w.staff.ListSubmissions(w.as(w.teacher), &assessmentpb.ListSubmissionsRequest{CourseId: w.course, ItemId: w.item, Cursor: cursor}); codeIf(err) != "cursor.invalid" && codeIf(err) != "request.invalid" {
			t.Errorf("a cursor of somebody's: %v", err)
		}
	}
}

// Copies keep the newest, whatever comes first or twice.
func TestSubmissionPeople(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	ana, groupID := id.New("account"), id.New("group")
	for range 2 {
		hear(w.world, w.service.accountUpdated, &identitypb.AccountUpdated{AccountId: ana, Name: "Ana Newer", Version: 3})
		hear(w.world, w.service.accountCreated, &identitypb.AccountCreated{AccountId: ana, Name: "Ana"})
		w.joins(groupID, ana, false, 2)
		w.joins(groupID, ana, true, 1)
		hear(w.world, w.service.groupChanged, &accesspb.GroupChanged{GroupId: groupID, CourseId: w.course, Name: "New", Version: 2})
		hear(w.world, w.service.groupChanged, &accesspb.GroupChanged{GroupId: groupID, CourseId: w.course, Name: "Old", Version: 1})
		hear(w.world, w.service.cohortMembershipChanged, &accesspb.CohortMembershipChanged{CourseId: w.course, AccountId: ana, CohortId: "cohort_b", Version: 2})
		hear(w.world, w.service.cohortMembershipChanged, &accesspb.CohortMembershipChanged{CourseId: w.course, AccountId: ana, CohortId: "cohort_a", Version: 1})
	}
	got := slices.Concat(w.query(`SELECT name FROM person`), w.query(`SELECT member::text FROM group_member`), w.query(`SELECT name FROM course_group`), w.query(`SELECT cohort_id FROM cohort_member`))
	if diff := cmp.Diff([]string{"Ana Newer", "false", "New", "cohort_b"}, got); diff != "" {
		t.Errorf("copies (-want +got):\n%s", diff)
	}
}

// Anyone can compute the hash of what was handed in from what its student has.
func TestSubmissionHash(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	settings := essaySettings()
	settings.Files = &assessmentpb.AssignmentFiles{}
	w.assign(settings)
	ana := w.student("Ana")
	if _, err := w.save(ana, &assessmentpb.SubmissionContent{Text: "One", MediaIds: []string{w.upload(ana, "a.txt", "a")}}); err != nil {
		t.Fatal(err)
	}
	w.submitDraft(ana)
	got, err := w.GetMySubmission(w.as(ana), &assessmentpb.GetMySubmissionRequest{CourseId: w.course, ItemId: w.item, Number: 1})
	if err != nil {
		t.Fatal(err)
	}
	f := got.GetFiles()[0]
	text := fmt.Sprintf(`{"account_ids":["%s"],"assignment_version":1,"content":{"media_ids":["%s"],"text":"One"},"files":[{"filename":"a.txt","media_id":"%s","sha256":"%s","size":1}],"number":1,"submitted_at":"2026-05-04T09:00:00.000000Z","submitted_by":"%s"}`,
		ana, f.GetMediaId(), f.GetMediaId(), f.GetSha256(), ana)
	if sum := sha256.Sum256([]byte(text)); hex.EncodeToString(sum[:]) != got.GetHash() {
		t.Errorf("the hash is another than that of %s", text)
	}
}

// Any history of drafts, submissions, withdrawals and marks leaves what counts as a simple
// model says, and versions of events that grow by one.
func TestSubmissionHistories(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	settings := essaySettings()
	settings.AllowWithdraw, settings.GradeKept = true, "best"
	w.assign(settings)
	rapid.Check(t, func(rt *rapid.T) {
		ana := w.student("Ana")
		type version struct {
			points    int
			marked    bool
			touched   bool
			withdrawn bool
		}
		var model []*version
		for i := range rapid.IntRange(1, 8).Draw(rt, "steps") {
			w.later(time.Second)
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0, 1:
				w.hands(ana, fmt.Sprint("text ", i))
				model = append(model, &version{})
			case 2:
				_, err := w.WithdrawSubmission(w.as(ana), &assessmentpb.WithdrawSubmissionRequest{CourseId: w.course, ItemId: w.item})
				var last *version
				for _, v := range model {
					if !v.withdrawn {
						last = v
					}
				}
				want := ""
				switch {
				case last == nil:
					want = "submission.nothing"
				case last.touched:
					want = "submission.not_withdrawable"
				default:
					last.withdrawn = true
				}
				if codeIf(err) != want {
					rt.Fatalf("withdrawing: %v, want %q", err, want)
				}
			case 3:
				if len(model) == 0 {
					continue
				}
				n := rapid.IntRange(0, len(model)-1).Draw(rt, "version")
				if v := model[n]; !v.withdrawn {
					v.points, v.marked, v.touched = rapid.IntRange(0, 10).Draw(rt, "points"), true, true
					w.mark(ana, int32(n+1), fmt.Sprint(v.points)) //nolint:gosec // few
				}
			}
		}
		state, best, source, n := "none", -1, 0, 0
		for i, v := range model {
			if v.withdrawn {
				continue
			}
			n++
			if best < 0 && !v.marked {
				state, source = "submitted", i+1
			}
			if v.marked && v.points > best {
				state, best, source = "marked", v.points, i+1
			}
		}
		points := ""
		if best >= 0 {
			points = fmt.Sprint(best)
		}
		want := []string{fmt.Sprintf("%s %d %s %d", state, source, points, n)}
		if len(model) == 0 {
			want = []string{}
		}
		got := w.query(`SELECT state || ' ' || source_number || ' ' || points || ' ' || attempts FROM assignment_mark WHERE account_id = $1`, ana)
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("what counts (-want +got):\n%s", diff)
		}
		var versions, expected []int64
		for i, e := range outboxOf[assessmentpb.MarkChanged](w.quizWorld) {
			versions, expected = append(versions, e.GetVersion()), append(expected, int64(i+1))
		}
		if diff := cmp.Diff(expected, versions); diff != "" {
			rt.Fatalf("versions (-want +got):\n%s", diff)
		}
	})
}
