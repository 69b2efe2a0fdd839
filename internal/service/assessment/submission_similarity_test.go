package assessment

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// comparer is a service that compares work, as docs/similarity.md describes one. It is
// written from that alone.
type comparer struct {
	*httptest.Server

	secret string

	mu     sync.Mutex
	fails  int
	checks []map[string]any
	bad    []string
}

func newComparer(t *testing.T) *comparer {
	c := &comparer{secret: strings.Repeat("s", 32)}
	c.Server = httptest.NewServer(http.HandlerFunc(c.take))
	t.Cleanup(c.Close)
	return c
}

func (c *comparer) hmac(lines ...string) string {
	h := hmac.New(sha256.New, []byte(c.secret))
	_, _ = io.WriteString(h, strings.Join(lines, "\n"))
	return hex.EncodeToString(h.Sum(nil))
}

func (c *comparer) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := sha256.Sum256(body)
	if err != nil || r.Header.Get("Stoa-Signature") != c.hmac("stoa similarity request v1", r.Header.Get("Stoa-Timestamp"), hex.EncodeToString(sum[:])) {
		c.bad = append(c.bad, "a signature that is not right")
	}
	if c.fails > 0 {
		c.fails--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var check map[string]any
	if err := json.Unmarshal(body, &check); err != nil {
		c.bad = append(c.bad, err.Error())
	}
	c.checks = append(c.checks, check)
	w.WriteHeader(http.StatusAccepted)
}

func (c *comparer) taken() []map[string]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.checks)
}

func TestSimilarity(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	c := newComparer(t)
	w.serve(&Similarity{URL: c.URL, Secret: []byte(c.secret), PublicURL: "https://learn.example.org/"})
	settings := essaySettings()
	settings.Similarity, settings.Files = true, &assessmentpb.AssignmentFiles{}
	w.assign(settings)
	ana := w.student("Ana")
	work := func() {
		t.Helper()
		for more := true; more; {
			var err error
			if more, err = w.service.compareNext(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func() *assessmentpb.SimilarityCheck {
		t.Helper()
		got, err := w.staff.GetSubmission(w.as(w.teacher), &assessmentpb.GetSubmissionRequest{CourseId: w.course, SubmissionId: w.submissionID(ana)})
		if err != nil || len(got.GetVersion().GetSimilarityChecks()) != 1 {
			t.Fatalf("checks: %v, %v", got, err)
		}
		return got.GetVersion().GetSimilarityChecks()[0]
	}
	c.fails = 2
	file := w.upload(ana, "Ana's essay.txt", "essay")
	if _, err := w.save(ana, &assessmentpb.SubmissionContent{Text: "text", MediaIds: []string{file}}); err != nil {
		t.Fatal(err)
	}
	w.submitDraft(ana)
	work()
	if got := check(); got.GetState() != "waiting" || got.GetProblem() != "similarity.refused" {
		t.Errorf("away: %v", got)
	}
	work()
	if c.fails != 1 {
		t.Error("it was sent again at once")
	}
	for range 2 {
		w.later(similarityFirst * 2)
		work()
	}
	checkID := check().GetId()
	if got := check(); got.GetState() != "sent" {
		t.Errorf("taken: %v", got)
	}
	sum := sha256.Sum256([]byte("essay"))
	want := []map[string]any{{
		"check_id": checkID, "report_url": "https://learn.example.org/v1/similarity-checks/" + checkID + "/report", "text": "text",
		"files": []any{map[string]any{
			"name": "file-1.txt", "content_type": "text/plain; charset=utf-8", "size": 5.0, "sha256": hex.EncodeToString(sum[:]), "url": "https://learn.example.org/for//" + file,
		}},
	}}
	if diff := cmp.Diff(want, c.taken()); diff != "" || len(c.bad) > 0 {
		t.Errorf("sent %v (-want +got):\n%s", c.bad, diff)
	}
	report := func(change func(*assessmentpb.ReportSimilarityRequest)) error {
		req := &assessmentpb.ReportSimilarityRequest{CheckId: checkID, Percent: "41.5", ReportUrl: "https://compare.example.org/1", Timestamp: w.now().Unix()}
		sign := func() {
			req.Signature = c.hmac("stoa similarity report v1", req.GetCheckId(), fmt.Sprint(req.GetTimestamp()), req.GetPercent(), req.GetReportUrl())
		}
		sign()
		if change != nil {
			change(req)
			if req.GetSignature() == "" {
				sign()
			}
		}
		_, err := w.staff.ReportSimilarity(context.Background(), req)
		return err
	}
	for name, r := range map[string]struct {
		change func(*assessmentpb.ReportSimilarityRequest)
		want   string
	}{
		"forged":   {func(r *assessmentpb.ReportSimilarityRequest) { r.Percent = "0" }, "similarity.not_found"},
		"another":  {func(r *assessmentpb.ReportSimilarityRequest) { r.CheckId, r.Signature = id.New("similarity"), "" }, "similarity.not_found"},
		"old":      {func(r *assessmentpb.ReportSimilarityRequest) { r.Timestamp, r.Signature = r.GetTimestamp()-301, "" }, "similarity.stale"},
		"future":   {func(r *assessmentpb.ReportSimilarityRequest) { r.Timestamp, r.Signature = r.GetTimestamp()+301, "" }, "similarity.stale"},
		"too much": {func(r *assessmentpb.ReportSimilarityRequest) { r.Percent, r.Signature = "100.01", "" }, "field.range"},
		"a script": {func(r *assessmentpb.ReportSimilarityRequest) { r.ReportUrl, r.Signature = "javascript:alert(1)", "" }, "field.type"},
		"not so":   {func(r *assessmentpb.ReportSimilarityRequest) { r.Signature = strings.Repeat("0", 64) }, "similarity.not_found"},
		"not https": {func(r *assessmentpb.ReportSimilarityRequest) {
			r.ReportUrl, r.Signature = "http://compare.example.org/", ""
		}, "field.type"},
	} {
		if err := report(r.change); refusedAs(err) != r.want {
			if e, ok := err.(*fault.Error); !ok || len(e.Fields) == 0 || e.Fields[0].Code != r.want { //nolint:errorlint // as the client returns it
				t.Errorf("%s: %v, want %s", name, err, r.want)
			}
		}
	}
	if got := check(); got.GetState() != "sent" {
		t.Errorf("a report that was refused counts: %v", got)
	}
	for range 2 {
		if err := report(nil); err != nil {
			t.Fatal(err)
		}
	}
	// One from before comes late.
	if err := report(func(r *assessmentpb.ReportSimilarityRequest) {
		r.Timestamp, r.Percent, r.Signature = r.GetTimestamp()-10, "1", ""
	}); err != nil {
		t.Fatal(err)
	}
	if got := check(); got.GetState() != "done" || got.GetPercent() != "41.5" || got.GetReportUrl() != "https://compare.example.org/1" {
		t.Errorf("reported: %v", got)
	}
	if e := w.entries(nil)["Ana"]; e.GetSimilarityPercent() != "41.5" {
		t.Errorf("list: %v", e)
	}
	// Students are not told.
	my, err := w.GetMySubmission(w.as(ana), &assessmentpb.GetMySubmissionRequest{CourseId: w.course, ItemId: w.item, Number: 1})
	if err != nil || strings.Contains(fmt.Sprint(my, w.my(ana)), "41.5") {
		t.Errorf("a student sees %v, %v", my, err)
	}
}

// What is never taken is given up, and can be asked for again.
func TestSimilarityParks(t *testing.T) {
	t.Parallel()
	w := newWorkWorld(t)
	c := newComparer(t)
	c.fails = 1000
	w.serve(&Similarity{URL: c.URL, Secret: []byte(c.secret), PublicURL: "https://learn.example.org"})
	settings := essaySettings()
	settings.Similarity = true
	w.assign(settings)
	ana := w.student("Ana")
	w.hands(ana, "text")
	state := func() string {
		return strings.Join(w.query(`SELECT state || ' ' || tries || ' ' || problem FROM similarity_check`), ";")
	}
	for range 20 {
		if _, err := w.service.compareNext(context.Background()); err != nil {
			t.Fatal(err)
		}
		w.later(2 * time.Hour)
	}
	if got := state(); got != "failed 8 similarity.refused" || c.fails != 992 {
		t.Errorf("given up: %s, tried %d times", got, 1000-c.fails)
	}
	c.fails = 0
	ask := &assessmentpb.RequestSimilarityCheckRequest{CourseId: w.course, SubmissionId: w.submissionID(ana), Number: 1}
	got, err := w.staff.RequestSimilarityCheck(w.as(w.teacher), ask)
	if err != nil || got.GetState() != "waiting" {
		t.Errorf("asked again: %v, %v", got, err)
	}
	if _, err := w.service.compareNext(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != "sent 1 " {
		t.Errorf("sent: %s", got)
	}
	// A report that does not come has it sent again.
	w.later(similarityPatience + time.Second)
	if _, err := w.service.compareNext(context.Background()); err != nil || len(c.taken()) != 2 {
		t.Errorf("sent %d times, %v", len(c.taken()), err)
	}
	w.serve(&Similarity{})
	if _, err := w.staff.RequestSimilarityCheck(w.as(w.teacher), ask); fault.CodeOf(err) != "similarity.unavailable" {
		t.Errorf("without a service: %v", err)
	}
}
