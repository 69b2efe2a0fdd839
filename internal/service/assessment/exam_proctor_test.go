package assessment

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// service is a proctoring service of a test.
type service struct {
	*hall

	proctoring *Proctoring
}

func openService(t *testing.T, withhold string) *service {
	t.Helper()
	h := openHall(t, &assessmentpb.QuizSettings{Exam: &assessmentpb.ExamSettings{OutsideProctor: true, Withhold: withhold}})
	p := &Proctoring{URL: "https://proctor.example.org/take?customer=7", Secret: []byte(strings.Repeat("p", 32)), PublicURL: "https://learn.example.org/"}
	h.service.exams.proctoring = p
	return &service{h, p}
}

// send sends a report, signed now.
func (s *service) send(st *student, body string) error {
	return s.sendAt(st, s.now(), body)
}

func (s *service) sendAt(st *student, at time.Time, body string) error {
	_, err := s.exams.TakeProctorReport(context.Background(), &assessmentpb.TakeProctorReportRequest{
		AttemptId: st.attempt.GetId(), Timestamp: at.Unix(), Body: []byte(body), Signature: s.proctoring.reportSignature(st.attempt.GetId(), at.Unix(), []byte(body)),
	})
	return err
}

func (s *service) verdicts(st *student) []string {
	s.t.Helper()
	res, err := s.exams.ListVerdicts(s.hall.proctor, &assessmentpb.ListVerdictsRequest{CourseId: s.course, AttemptId: st.attempt.GetId()})
	if err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, v := range res.GetItems() {
		out = append(out, v.GetSource()+" "+v.GetVerdict())
	}
	return out
}

func (s *service) decide(st *student, verdict string, keep bool) {
	s.t.Helper()
	if _, err := s.exams.DecideVerdict(s.hall.proctor, &assessmentpb.DecideVerdictRequest{CourseId: s.course, AttemptId: st.attempt.GetId(), Verdict: verdict, Text: "We have looked", KeepWithheld: keep}); err != nil {
		s.t.Fatal(err)
	}
}

func TestLaunch(t *testing.T) {
	t.Parallel()
	s := openService(t, "")
	st := s.begin(0)
	got, err := s.exams.LaunchProctoring(s.as(st.account), &assessmentpb.LaunchProctoringRequest{AttemptId: st.attempt.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(got.GetUrl())
	if err != nil || u.Host != "proctor.example.org" || u.Path != "/take" || u.Query().Get("customer") != "7" {
		t.Fatalf("address: %s, %v", got.GetUrl(), err)
	}
	text, signature, _ := strings.Cut(u.Query().Get("token"), ".")
	if s.proctoring.sign("stoa proctor launch v1", text) != signature {
		t.Error("the token is not signed")
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	var told launch
	if err != nil || json.Unmarshal(raw, &told) != nil {
		t.Fatalf("token: %s, %v", raw, err)
	}
	if told.AttemptID != st.attempt.GetId() || told.ReportURL != "https://learn.example.org/v1/attempts/"+st.attempt.GetId()+"/proctor-reports" ||
		told.ExpiresAt != s.now().Add(launchFor).Unix() || strings.Contains(string(raw), st.account) {
		t.Errorf("told: %s", raw)
	}
	if saw := s.sees(st); !saw.GetHandedOverAt().AsTime().Equal(s.now()) {
		t.Errorf("in the list: %v", saw)
	}
	st.submit()
	_, err = s.exams.LaunchProctoring(s.as(st.account), &assessmentpb.LaunchProctoringRequest{AttemptId: st.attempt.GetId()})
	expect(t, "what is over", codeOf(nil, err), "attempt.over")
	other := openHall(t, &assessmentpb.QuizSettings{})
	o := other.begin(0)
	_, err = other.exams.LaunchProctoring(other.as(o.account), &assessmentpb.LaunchProctoringRequest{AttemptId: o.attempt.GetId()})
	expect(t, "no exam", codeOf(nil, err), "exam.no_proctoring")
}

func TestProctorReports(t *testing.T) {
	t.Parallel()
	s := openService(t, "")
	st, other := s.begin(0), s.begin(0)
	body := `{"id": "report-0001", "events": [{"kind": "second_person", "at": "2026-05-04T09:00:00Z", "duration_ms": 2000, "text": "Somebody looks in"}], "verdict": {"verdict": "suspicious", "text": "See 9:00", "url": "https://proctor.example.org/r/1"}}`
	at := s.now()
	signature := s.proctoring.reportSignature(st.attempt.GetId(), at.Unix(), []byte(body))
	for what, req := range map[string]*assessmentpb.TakeProctorReportRequest{
		"no signature":       {AttemptId: st.attempt.GetId(), Timestamp: at.Unix(), Body: []byte(body), Signature: strings.Repeat("0", 64)},
		"another attempt":    {AttemptId: other.attempt.GetId(), Timestamp: at.Unix(), Body: []byte(body), Signature: signature},
		"another time":       {AttemptId: st.attempt.GetId(), Timestamp: at.Unix() + 1, Body: []byte(body), Signature: signature},
		"another body":       {AttemptId: st.attempt.GetId(), Timestamp: at.Unix(), Body: []byte(strings.Replace(body, "suspicious", "clear", 1)), Signature: signature},
		"a space more":       {AttemptId: st.attempt.GetId(), Timestamp: at.Unix(), Body: []byte(body + " "), Signature: signature},
		"another secret":     {AttemptId: st.attempt.GetId(), Timestamp: at.Unix(), Body: []byte(body), Signature: (&Proctoring{Secret: []byte("x")}).reportSignature(st.attempt.GetId(), at.Unix(), []byte(body))},
		"a launch as report": {AttemptId: st.attempt.GetId(), Timestamp: at.Unix(), Body: []byte(body), Signature: s.proctoring.sign("stoa proctor launch v1", st.attempt.GetId())},
	} {
		_, err := s.exams.TakeProctorReport(context.Background(), req)
		expect(t, what, codeOf(nil, err), "proctor_report.not_found")
	}
	for _, d := range []time.Duration{-6 * time.Minute, 6 * time.Minute} {
		expect(t, "stale", codeOf(nil, s.sendAt(st, at.Add(d), body)), "proctor_report.stale")
	}
	if got := s.verdicts(st); got != nil || len(s.events(st)) != 0 {
		t.Errorf("refused ones were kept: %v", got)
	}
	for range 2 { // replayed it counts once
		if err := s.sendAt(st, at, body); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"service suspicious"}, s.verdicts(st)); diff != "" {
		t.Error("verdicts: ", diff)
	}
	if diff := cmp.Diff([]string{"second_person"}, s.events(st)); diff != "" {
		t.Error("events: ", diff)
	}
	if saw := s.sees(st); saw.GetVerdict() != "suspicious" || saw.GetVerdictSource() != "service" || saw.GetWithheld() {
		t.Errorf("in the list: %v", saw)
	}
	// What was signed earlier and comes later does not hold, but is kept.
	s.later(time.Minute)
	if err := s.send(st, `{"id": "report-0003", "verdict": {"verdict": "violation"}}`); err != nil {
		t.Fatal(err)
	}
	if err := s.sendAt(st, at, `{"id": "report-0002", "verdict": {"verdict": "clear"}}`); err != nil {
		t.Fatal(err)
	}
	expect(t, "the newest", s.sees(st).GetVerdict(), "violation")
	s.decide(st, "clear", false)
	if err := s.send(st, `{"id": "report-0004", "verdict": {"verdict": "violation"}}`); err != nil {
		t.Fatal(err)
	}
	if saw := s.sees(st); saw.GetVerdict() != "clear" || saw.GetVerdictSource() != "staff" {
		t.Errorf("what staff have decided: %v", saw)
	}
	if diff := cmp.Diff([]string{"service violation", "staff clear", "service clear", "service violation", "service suspicious"}, s.verdicts(st)); diff != "" {
		t.Error("verdicts: ", diff)
	}
	for what, bad := range map[string]string{
		"no JSON": `{`, "no id": `{"events": []}`, "a field more": `{"id": "report-0009", "x": 1}`, "no verdict": `{"id": "report-0009", "verdict": {"verdict": "guilty"}}`,
		"no address": `{"id": "report-0009", "verdict": {"verdict": "clear", "url": "javascript:alert(1)"}}`, "no kind": `{"id": "report-0009", "events": [{"kind": "A B"}]}`,
	} {
		if code := codeOf(nil, s.send(st, bad)); code != "proctor_report.malformed" && code != "request.invalid" {
			t.Errorf("%s: %s", what, code)
		}
	}
	unknown := &student{world: s.world, attempt: &assessmentpb.Attempt{Id: id.New("attempt")}}
	expect(t, "no attempt", codeOf(nil, s.send(unknown, `{"id": "report-0001"}`)), "proctor_report.not_found")
	s.exec(`INSERT INTO exam_report (attempt_id, report_id, received_at) SELECT $1, 'r' || i, $2 FROM generate_series(1, $3) AS i`, other.attempt.GetId(), s.now(), maxProctorReports)
	expect(t, "too many", codeOf(nil, s.send(other, `{"id": "report-0001"}`)), "proctor_report.too_many")
	s.service.exams.proctoring = nil
	expect(t, "no service", codeOf(nil, s.send(st, body)), "proctor_report.not_found")
	if err := s.db.InTx(t.Context(), execOf(`DELETE FROM exam_verdict`)); err == nil {
		t.Error("verdicts were deleted")
	}
}

// A grade waits until somebody has decided, and shows nowhere until then.
func TestWithheld(t *testing.T) {
	t.Parallel()
	for withhold, c := range map[string]struct {
		report                string // of the service, after the end
		before, after, decide string
	}{
		"always":  {`{"id": "report-0001", "verdict": {"verdict": "clear"}}`, "submitted", "marked", "marked"},
		"flagged": {`{"id": "report-0001", "verdict": {"verdict": "suspicious"}}`, "marked", "submitted", "marked"},
		"never":   {`{"id": "report-0001", "verdict": {"verdict": "violation"}}`, "marked", "marked", "marked"},
	} {
		s := openService(t, withhold)
		st := s.begin(0)
		st.send(laptop, pick(1, 1, "a"))
		st.submit()
		s.scored()
		check := func(what, want string) {
			t.Helper()
			expect(t, withhold+" "+what, s.mark(st), want)
			a := st.get()
			if (a.GetPoints() != "") != (want == "marked") {
				t.Errorf("%s %s: the student sees %q points", withhold, what, a.GetPoints())
			}
			for _, q := range a.GetQuestions() {
				if q.GetOutcome().GetPoints() != "" && want != "marked" {
					t.Errorf("%s %s: the student sees points of a question", withhold, what)
				}
			}
			if saw := s.sees(st); saw.GetWithheld() != (want != "marked") || len(s.students("withheld")) == 1 != saw.GetWithheld() {
				t.Errorf("%s %s: in the list: %v", withhold, what, saw)
			}
			mine, err := assessmentpb.NewMyQuizServiceClient(s.harness.As("edge")).GetMyQuiz(s.as(st.account), &assessmentpb.GetMyQuizRequest{CourseId: s.course, ItemId: s.item})
			if err != nil || (mine.GetMyAttempts()[0].GetPoints() != "") != (want == "marked") || (mine.GetPoints() != "") != (want == "marked") {
				t.Errorf("%s %s: %v, %v", withhold, what, mine, err)
			}
		}
		check("before", c.before)
		if err := s.send(st, c.report); err != nil {
			t.Fatal(err)
		}
		check("after the report", c.after)
		s.decide(st, "violation", true)
		check("kept back", "submitted")
		s.decide(st, "violation", false)
		check("decided", c.decide)
	}
}

// What the service sends is read without harm, whatever it is.
func FuzzProctorReport(f *testing.F) {
	f.Add([]byte(`{"id": "report-0001", "events": [{"kind": "x", "at": "2026-05-04T09:00:00Z"}], "verdict": {"verdict": "clear", "url": "https://x.example/"}}`))
	f.Add([]byte(`{"id": "report-0001", "events": [{"kind": "x", "at": "0000-00-00T00:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		report, err := readProctorReport(body)
		if err == nil && (len(report.GetId()) < 8 || len(report.GetEvents()) > 100) {
			t.Errorf("taken: %v", report)
		}
		if err != nil && !isFault(err) {
			t.Errorf("an error that is not told: %v", err)
		}
	})
}
