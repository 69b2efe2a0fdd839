package assessment

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

const (
	// launchFor is how long an attempt may be handed over with an address.
	launchFor = 15 * time.Minute
	// proctorAge is how old a report may be when it comes.
	proctorAge = 5 * time.Minute
	// maxProctorReports bounds the reports of an attempt.
	maxProctorReports = 1000
	// verdictPage is how many verdicts are told.
	verdictPage = 100
)

// When a grade waits until somebody has decided what a proctor saw.
const (
	withholdFlagged = "flagged"
	withholdAlways  = "always"
)

const verdictClear = "clear"

// Proctoring is a service that watches exams: where it takes an attempt over, and the
// secret that signs both ways. docs/exams.md describes it.
type Proctoring struct {
	URL    string
	Secret []byte
	// PublicURL is where the platform is reached, for the address of reports.
	PublicURL string
}

func (p *Proctoring) enabled() bool { return p != nil && p.URL != "" }

// launch is what the service is told of an attempt, as JSON. It does not learn who takes
// it.
type launch struct {
	AttemptID string `json:"attempt_id"`
	CourseID  string `json:"course_id"`
	ItemID    string `json:"item_id"`
	ReportURL string `json:"report_url"`
	ExpiresAt int64  `json:"expires_at"`
	Nonce     string `json:"nonce"`
}

// sign signs lines, each of which has no line feed in it.
func (p *Proctoring) sign(lines ...string) string {
	h := hmac.New(sha256.New, p.Secret)
	h.Write([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(h.Sum(nil))
}

// reportSignature is what a report has to bring.
func (p *Proctoring) reportSignature(attemptID string, at int64, body []byte) string {
	sum := sha256.Sum256(body)
	return p.sign("stoa proctor report v1", attemptID, strconv.FormatInt(at, 10), hex.EncodeToString(sum[:]))
}

// LaunchProctoring implements [assessmentpb.ExamServiceServer].
func (h *examServer) LaunchProctoring(ctx context.Context, req *assessmentpb.LaunchProctoringRequest) (*assessmentpb.ProctoringLaunch, error) {
	s := h.service
	a, err := readAttempt(ctx, s.db, req.GetAttemptId())
	if err == nil {
		err = a.owned(auth.From(ctx).Account)
	}
	if err == nil && !a.running() {
		err = ErrAttemptOver
	}
	if err != nil {
		return nil, err
	}
	exam, err := s.examOf(ctx, s.db, a)
	if err != nil {
		return nil, err
	}
	if !exam.GetOutsideProctor() || !s.exams.proctoring.enabled() {
		return nil, ErrNoProctoring
	}
	to, err := url.Parse(s.exams.proctoring.URL)
	if err != nil {
		return nil, fmt.Errorf("address of the proctoring service: %w", err)
	}
	ends := s.time().Add(launchFor)
	payload, err := json.Marshal(launch{
		AttemptID: a.ID, CourseID: a.CourseID, ItemID: a.ItemID, ExpiresAt: ends.Unix(), Nonce: rand.Text(),
		ReportURL: strings.TrimSuffix(s.exams.proctoring.PublicURL, "/") + "/v1/attempts/" + a.ID + "/proctor-reports",
	})
	if err != nil {
		return nil, err
	}
	text := base64.RawURLEncoding.EncodeToString(payload)
	query := to.Query()
	query.Set("token", text+"."+s.exams.proctoring.sign("stoa proctor launch v1", text))
	to.RawQuery = query.Encode()
	return &assessmentpb.ProctoringLaunch{Url: to.String(), ExpiresAt: timestamppb.New(ends)}, s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("when a student was sent to the proctor, which is its own record")
		_, err := tx.Exec(ctx, `
			INSERT INTO exam_attempt AS x (attempt_id, item_id, account_id, handed_over_at) VALUES ($1, $2, $3, $4)
			ON CONFLICT ON CONSTRAINT exam_attempt_pkey DO UPDATE SET handed_over_at = coalesce(x.handed_over_at, EXCLUDED.handed_over_at)`, a.ID, a.ItemID, a.AccountID, s.time())
		return err
	})
}

// TakeProctorReport implements [assessmentpb.ExamServiceServer].
func (h *examServer) TakeProctorReport(ctx context.Context, req *assessmentpb.TakeProctorReportRequest) (*emptypb.Empty, error) {
	s := h.service
	p := s.exams.proctoring
	if !p.enabled() || !hmac.Equal([]byte(p.reportSignature(req.GetAttemptId(), req.GetTimestamp(), req.GetBody())), []byte(req.GetSignature())) {
		return nil, ErrProctorReport
	}
	now := s.time()
	if at := time.Unix(req.GetTimestamp(), 0); at.Before(now.Add(-proctorAge)) || at.After(now.Add(proctorAge)) {
		return nil, ErrProctorReportStale
	}
	report, err := readProctorReport(req.GetBody())
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, s.db.InTx(ctx, func(tx *pg.Tx) error {
		a, err := lockAttempt(ctx, tx, req.GetAttemptId())
		if fault.Is(err, fault.NotFound) || err == nil && a.State == statePrepared {
			return ErrProctorReport
		}
		if err != nil {
			return err
		}
		exam, err := s.examOf(ctx, tx, a)
		if err != nil {
			return err
		}
		if !exam.GetOutsideProctor() {
			return ErrProctorReport
		}
		return s.keepReport(ctx, tx, a, exam, report, req.GetTimestamp())
	})
}

// readProctorReport reads what a service sends, whose signature is right.
func readProctorReport(body []byte) (*assessmentpb.ProctorReport, error) {
	report := &assessmentpb.ProctorReport{}
	if err := (protojson.UnmarshalOptions{}).Unmarshal(body, report); err != nil {
		return nil, fault.New(fault.Invalid, "proctor_report.malformed", "The body is not the JSON of a report.")
	}
	if err := rpc.Check(report); err != nil {
		return nil, err
	}
	for i, e := range report.GetEvents() {
		if e.GetAt() != nil && !e.GetAt().IsValid() {
			return nil, fault.InvalidField("events["+strconv.Itoa(i)+"].at", "field.type", "Send a time.")
		}
	}
	if link := report.GetVerdict().GetUrl(); link != "" {
		if u, err := url.Parse(link); err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
			return nil, fault.InvalidField("verdict.url", "field.type", "Send an address that begins with https://, or none.")
		}
	}
	return report, nil
}

// keepReport keeps a report of an attempt that is locked, unless it has come before.
func (s *Service) keepReport(ctx context.Context, tx *pg.Tx, a *attempt, exam *assessmentpb.ExamSettings, report *assessmentpb.ProctorReport, signed int64) error {
	tx.Exempt("what was noted is its own record")
	var reports int
	var again bool
	if err := tx.QueryRow(ctx, `SELECT count(*), coalesce(bool_or(report_id = $2), false) FROM exam_report WHERE attempt_id = $1`, a.ID, report.GetId()).Scan(&reports, &again); err != nil {
		return fmt.Errorf("read reports: %w", err)
	}
	switch {
	case again:
		return nil
	case reports >= maxProctorReports:
		return ErrProctorReports
	}
	if _, err := tx.Exec(ctx, `INSERT INTO exam_report (attempt_id, report_id, received_at) VALUES ($1, $2, $3)`, a.ID, report.GetId(), s.time()); err != nil {
		return fmt.Errorf("store report: %w", err)
	}
	events := make([]noted, len(report.GetEvents()))
	for i, e := range report.GetEvents() {
		events[i] = noteOf(a, e.GetKind(), noted{clientID: report.GetId(), clientSeq: int64(i + 1), duration: e.GetDurationMs(), detail: e.GetText()})
		events[i].source = sourceService
		if e.GetAt() != nil {
			events[i].happened = new(e.GetAt().AsTime().Truncate(time.Microsecond))
		}
	}
	if err := s.noteEvents(ctx, tx, events); err != nil || report.GetVerdict() == nil {
		return err
	}
	v := report.GetVerdict()
	standing, err := lockVerdict(ctx, tx, a)
	if err != nil {
		return err
	}
	// What staff have decided holds, and of a service the newest.
	counts := standing.source != "staff" && signed >= standing.signed
	withheld := a.Withheld
	if counts {
		switch {
		case v.GetVerdict() == verdictClear:
			withheld = false
		case exam.GetWithhold() == withholdFlagged || exam.GetWithhold() == withholdAlways:
			withheld = true
		}
	}
	one := verdict{source: sourceService, report: report.GetId(), verdict: v.GetVerdict(), body: v.GetText(), url: v.GetUrl(), withheld: withheld, signed: signed}
	if err := s.giveVerdict(ctx, tx, a, standing, one, counts); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{
		Action: "exam.verdict_reported", Object: a.ID, Course: a.CourseID, Person: a.AccountID,
		Before: map[string]any{"verdict": standing.verdict, "withheld": a.Withheld}, After: map[string]any{"verdict": one.verdict, "withheld": withheld, "counts": counts},
	})
}

// verdict is what is thought of an attempt.
type verdict struct {
	number   int32
	source   string
	report   string
	verdict  string
	body     string
	url      string
	account  string
	withheld bool
	signed   int64
}

// lockVerdict returns the verdict that holds, and keeps others from being given.
func lockVerdict(ctx context.Context, tx *pg.Tx, a *attempt) (verdict, error) {
	var v verdict
	err := tx.QueryRow(ctx, `
		INSERT INTO exam_attempt AS x (attempt_id, item_id, account_id) VALUES ($1, $2, $3)
		ON CONFLICT ON CONSTRAINT exam_attempt_pkey DO UPDATE SET item_id = x.item_id
		RETURNING verdicts, verdict_source, verdict, verdict_time`, a.ID, a.ItemID, a.AccountID).Scan(&v.number, &v.source, &v.verdict, &v.signed)
	if err != nil {
		return v, fmt.Errorf("lock verdicts: %w", err)
	}
	return v, nil
}

// giveVerdict keeps a verdict of an attempt that is locked, and has it hold where it
// counts. Where the grade does not wait any more, or does now, the gradebook is told.
func (s *Service) giveVerdict(ctx context.Context, tx *pg.Tx, a *attempt, standing, v verdict, counts bool) error {
	if _, err := tx.Exec(ctx, `
		INSERT INTO exam_verdict (attempt_id, number, source, report_id, verdict, body, url, withheld, account_id, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		a.ID, standing.number+1, v.source, v.report, v.verdict, v.body, v.url, v.withheld, v.account, s.time()); err != nil {
		return fmt.Errorf("store verdict: %w", err)
	}
	if _, err := tx.Exec(ctx, `
		UPDATE exam_attempt SET verdicts = $2, verdict = CASE WHEN $6 THEN $3 ELSE verdict END, verdict_source = CASE WHEN $6 THEN $4 ELSE verdict_source END,
			verdict_time = GREATEST(verdict_time, $5) WHERE attempt_id = $1`, a.ID, standing.number+1, v.verdict, v.source, v.signed, counts); err != nil {
		return fmt.Errorf("store verdict: %w", err)
	}
	if v.withheld == a.Withheld {
		return nil
	}
	if _, err := tx.Exec(ctx, `UPDATE attempt SET withheld = $2 WHERE id = $1`, a.ID, v.withheld); err != nil {
		return fmt.Errorf("store verdict: %w", err)
	}
	if !a.submitted() {
		return nil
	}
	return s.attemptChanged(ctx, tx, a, "decision")
}

// DecideVerdict implements [assessmentpb.ExamServiceServer].
func (h *examServer) DecideVerdict(ctx context.Context, req *assessmentpb.DecideVerdictRequest) (*assessmentpb.Verdict, error) {
	s := h.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.Verdict, error) {
		a, err := lockAttempt(ctx, tx, req.GetAttemptId())
		if err != nil {
			return nil, err
		}
		if a.CourseID != req.GetCourseId() || a.State == statePrepared {
			return nil, ErrAttemptNotFound
		}
		standing, err := lockVerdict(ctx, tx, a)
		if err != nil {
			return nil, err
		}
		v := verdict{source: "staff", verdict: req.GetVerdict(), body: req.GetText(), account: auth.From(ctx).Account, withheld: req.GetKeepWithheld()}
		if err := s.giveVerdict(ctx, tx, a, standing, v, true); err != nil {
			return nil, err
		}
		return &assessmentpb.Verdict{
				Number: standing.number + 1, Source: v.source, Verdict: v.verdict, Text: v.body, Withheld: v.withheld, AccountId: v.account, CreatedAt: timestamppb.New(s.time()),
			}, audit.Record(ctx, tx, audit.Entry{
				Action: "exam.verdict_decided", Object: a.ID, Course: a.CourseID, Person: a.AccountID,
				Before: map[string]any{"verdict": standing.verdict, "withheld": a.Withheld}, After: map[string]any{"verdict": v.verdict, "withheld": v.withheld},
			})
	})
}

// ListVerdicts implements [assessmentpb.ExamServiceServer].
func (h *examServer) ListVerdicts(ctx context.Context, req *assessmentpb.ListVerdictsRequest) (*assessmentpb.ListVerdictsResponse, error) {
	s := h.service
	a, err := readAttempt(ctx, s.db, req.GetAttemptId())
	if err != nil {
		return nil, err
	}
	if a.CourseID != req.GetCourseId() || a.State == statePrepared {
		return nil, ErrAttemptNotFound
	}
	rows, err := s.db.Query(ctx, `
		SELECT number, source, verdict, body, url, withheld, account_id, created_at FROM exam_verdict WHERE attempt_id = $1 ORDER BY number DESC LIMIT $2`, a.ID, verdictPage)
	if err != nil {
		return nil, fmt.Errorf("list verdicts: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.Verdict, error) {
		var v assessmentpb.Verdict
		var at time.Time
		err := row.Scan(&v.Number, &v.Source, &v.Verdict, &v.Text, &v.Url, &v.Withheld, &v.AccountId, &at)
		v.CreatedAt = timestamppb.New(at)
		return &v, err
	})
	if err != nil {
		return nil, fmt.Errorf("list verdicts: %w", err)
	}
	return &assessmentpb.ListVerdictsResponse{Items: list}, nil
}
