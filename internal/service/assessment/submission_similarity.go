package assessment

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// Errors of comparing work with others' work.
var (
	ErrNoSimilarity       = fault.New(fault.Conflict, "similarity.unavailable", "The platform has no service that compares work.")
	ErrSimilarityNotFound = fault.New(fault.NotFound, "similarity.not_found", "There is no such check.")
	ErrSimilarityStale    = fault.New(fault.Invalid, "similarity.stale", "The report is older than five minutes, or from the future.")
)

const (
	// similarityTries is how often work is sent before it is given up.
	similarityTries = 8
	// similarityFirst is after how long it is sent again the first time.
	similarityFirst = 30 * time.Second
	// similarityPatience is how long a report may take; then it is sent again.
	similarityPatience = 24 * time.Hour
	// similarityLease is how long who sends one has it.
	similarityLease = time.Minute
	// similarityAge is how old a report may be when it comes.
	similarityAge = 5 * time.Minute
)

// Similarity is a service that compares what is handed in with others' work: where it
// takes it, and the secret that signs both ways. docs/similarity.md describes it.
type Similarity struct {
	URL    string
	Secret []byte
	// PublicURL is where the platform is reached, for addresses of files and of the
	// report.
	PublicURL string
	Client    *http.Client // nil for one with a time limit that follows no redirects
}

func (c *Similarity) enabled() bool { return c != nil && c.URL != "" }

// similarityRequest is what is sent, as JSON.
type similarityRequest struct {
	CheckID   string           `json:"check_id"`
	ReportURL string           `json:"report_url"`
	Text      string           `json:"text,omitempty"`
	Files     []similarityFile `json:"files,omitempty"`
}

type similarityFile struct {
	Name        string `json:"name"`
	ContentType string `json:"content_type"`
	Size        int64  `json:"size"`
	SHA256      string `json:"sha256"`
	URL         string `json:"url"` // good for an hour
}

// signSimilarity signs lines, each of which has no line feed in it.
func signSimilarity(secret []byte, lines ...string) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(h.Sum(nil))
}

// similarityCheck is its row.
type similarityCheck struct {
	ID           string
	SubmissionID string
	Number       int32
	State        string
	Tries        int32
	Percent      *string
	ReportURL    string
	Problem      string
	RequestedAt  time.Time
	ReportedAt   *time.Time
}

const similarityColumns = `id, submission_id, number, state, tries, percent::text AS percent, report_url, problem, requested_at, reported_at`

func (c similarityCheck) message() *assessmentpb.SimilarityCheck {
	out := &assessmentpb.SimilarityCheck{
		Id: c.ID, State: c.State, ReportUrl: c.ReportURL, Problem: c.Problem, RequestedAt: timestamppb.New(c.RequestedAt), ReportedAt: stampOf(c.ReportedAt),
	}
	if c.Percent != nil {
		out.Percent = trimmed(*c.Percent)
	}
	return out
}

// requestSimilarity has a version compared, once the transaction is through.
func (s *Service) requestSimilarity(ctx context.Context, tx *pg.Tx, submissionID string, number int32, by string) error {
	tx.AfterCommit(s.wakeSimilarity)
	if _, err := tx.Exec(ctx, `
		INSERT INTO similarity_check (id, submission_id, number, next_at, requested_at, requested_by) VALUES ($1, $2, $3, $4, $4, $5)`,
		id.New("similarity"), submissionID, number, s.time(), by); err != nil {
		return fmt.Errorf("request check: %w", err)
	}
	return nil
}

// checksOf returns what comparing a version has found, newest first.
func (s *Service) checksOf(ctx context.Context, submissionID string, number int32) ([]*assessmentpb.SimilarityCheck, error) {
	rows, err := s.db.Query(ctx, `SELECT `+similarityColumns+` FROM similarity_check WHERE submission_id = $1 AND number = $2 ORDER BY id DESC LIMIT 10`, submissionID, number)
	if err != nil {
		return nil, fmt.Errorf("checks of version: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[similarityCheck])
	if err != nil {
		return nil, fmt.Errorf("checks of version: %w", err)
	}
	var out []*assessmentpb.SimilarityCheck
	for _, c := range list {
		out = append(out, c.message())
	}
	return out, nil
}

// RequestSimilarityCheck implements assessmentpb.SubmissionServiceServer. A check that has
// not come to its end is taken up again in place of another one.
func (r *submissionServer) RequestSimilarityCheck(ctx context.Context, req *assessmentpb.RequestSimilarityCheckRequest) (*assessmentpb.SimilarityCheck, error) {
	s := r.service
	if !s.similarity.enabled() {
		return nil, ErrNoSimilarity
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.SimilarityCheck, error) {
		w, v, err := lockVersion(ctx, tx, req.GetCourseId(), req.GetSubmissionId(), req.GetNumber())
		if err != nil {
			return nil, err
		}
		tag, err := tx.Exec(ctx, `
			UPDATE similarity_check SET state = 'waiting', tries = 0, next_at = $3, problem = ''
			WHERE id = (SELECT id FROM similarity_check WHERE submission_id = $1 AND number = $2 ORDER BY id DESC LIMIT 1) AND state <> 'done'`, w.ID, v.Number, s.time())
		if err != nil {
			return nil, fmt.Errorf("check again: %w", err)
		}
		if tag.RowsAffected() == 0 {
			if err := s.requestSimilarity(ctx, tx, w.ID, v.Number, auth.From(ctx).Account); err != nil {
				return nil, err
			}
		}
		tx.AfterCommit(s.wakeSimilarity)
		rows, err := tx.Query(ctx, `SELECT `+similarityColumns+` FROM similarity_check WHERE submission_id = $1 AND number = $2 ORDER BY id DESC LIMIT 1`, w.ID, v.Number)
		if err != nil {
			return nil, fmt.Errorf("read check: %w", err)
		}
		c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[similarityCheck])
		if err != nil {
			return nil, fmt.Errorf("read check: %w", err)
		}
		return c.message(), audit.Record(ctx, tx, audit.Entry{Action: "similarity.requested", Object: c.ID, Course: w.CourseID, After: map[string]any{"submission": w.ID, "number": v.Number}})
	})
}

// ReportSimilarity implements assessmentpb.SubmissionServiceServer.
func (r *submissionServer) ReportSimilarity(ctx context.Context, req *assessmentpb.ReportSimilarityRequest) (*emptypb.Empty, error) {
	s := r.service
	if !s.similarity.enabled() {
		return nil, ErrSimilarityNotFound
	}
	want := signSimilarity(s.similarity.Secret, "stoa similarity report v1", req.GetCheckId(), strconv.FormatInt(req.GetTimestamp(), 10), req.GetPercent(), req.GetReportUrl())
	if !hmac.Equal([]byte(want), []byte(req.GetSignature())) {
		return nil, ErrSimilarityNotFound
	}
	now := s.time()
	if at := time.Unix(req.GetTimestamp(), 0); at.Before(now.Add(-similarityAge)) || at.After(now.Add(similarityAge)) {
		return nil, ErrSimilarityStale
	}
	if n, err := exact.Parse(req.GetPercent()); err != nil || n.Cmp(exact.Int(100)) > 0 {
		return nil, fault.InvalidField("percent", "field.range", "Send a percentage from 0 to 100.")
	}
	if link := req.GetReportUrl(); link != "" {
		if u, err := url.Parse(link); err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
			return nil, fault.InvalidField("report_url", "field.type", "Send an address that begins with https://, or none.")
		}
	}
	return &emptypb.Empty{}, s.db.InTx(ctx, func(tx *pg.Tx) error {
		var submissionID, courseID string
		var last int64
		err := tx.QueryRow(ctx, `
			SELECT c.submission_id, s.course_id, c.report_time FROM similarity_check c JOIN submission s ON s.id = c.submission_id
			WHERE c.id = $1 FOR UPDATE OF c`, req.GetCheckId()).Scan(&submissionID, &courseID, &last)
		if pg.NoRows(err) {
			return ErrSimilarityNotFound
		}
		if err != nil {
			return fmt.Errorf("lock check: %w", err)
		}
		if req.GetTimestamp() <= last {
			tx.Exempt("told before, or something later was")
			return nil
		}
		if _, err := tx.Exec(ctx, `
			UPDATE similarity_check SET state = 'done', percent = $2::text::numeric, report_url = $3, problem = '', reported_at = $4, report_time = $5 WHERE id = $1`,
			req.GetCheckId(), req.GetPercent(), req.GetReportUrl(), now, req.GetTimestamp()); err != nil {
			return fmt.Errorf("store report: %w", err)
		}
		return audit.Record(ctx, tx, audit.Entry{Action: "similarity.reported", Object: req.GetCheckId(), Course: courseID, After: map[string]any{"submission": submissionID}})
	})
}

// wakeSimilarity has what is to be compared looked at.
func (s *Service) wakeSimilarity() {
	select {
	case s.unchecked <- struct{}{}:
	default: // somebody is about to look anyway
	}
}

// keepComparing sends what is to be compared, until ctx ends. Any number of processes may
// run it: who works on one moves its time on.
func (s *Service) keepComparing(ctx context.Context) {
	if !s.similarity.enabled() {
		return
	}
	for ctx.Err() == nil {
		more, err := s.compareNext(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "work could not be compared yet", "error", err.Error())
		}
		if !more {
			s.wait(ctx, s.unchecked, 10*time.Second)
		}
	}
}

// compareNext sends the next of what is to be compared, or gives it up, and reports
// whether there may be more.
func (s *Service) compareNext(ctx context.Context) (bool, error) {
	var c *similarityCheck
	now := s.time()
	if err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a mark of the worker for itself")
		rows, err := tx.Query(ctx, `
			UPDATE similarity_check k SET next_at = $2, state = 'waiting' FROM (
				SELECT id FROM similarity_check WHERE state IN ('waiting', 'sent') AND next_at <= $1 ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED) AS due
			WHERE k.id = due.id RETURNING k.id, submission_id, number, state, tries, percent::text AS percent, report_url, problem, requested_at, reported_at`, now, now.Add(similarityLease))
		if err != nil {
			return fmt.Errorf("next check: %w", err)
		}
		list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[similarityCheck])
		if err != nil {
			return fmt.Errorf("next check: %w", err)
		}
		if c = nil; len(list) > 0 {
			c = list[0]
		}
		return nil
	}); err != nil || c == nil {
		return false, err
	}
	if c.Tries >= similarityTries {
		return true, s.leaveCheck(ctx, c, "failed", orElse(c.Problem, "similarity.no_report"), c.Tries, now)
	}
	problem, err := s.sendCheck(ctx, c)
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		s.log.WarnContext(ctx, "the service that compares work did not take it", "check", c.ID, "try", c.Tries+1, "problem", problem, "error", err.Error())
		return true, s.leaveCheck(ctx, c, "waiting", problem, c.Tries+1, now.Add(similarityFirst<<min(c.Tries, 7)))
	default:
		return true, s.leaveCheck(ctx, c, "sent", "", c.Tries+1, now.Add(similarityPatience))
	}
}

// leaveCheck notes what became of a check; its report may have come meanwhile.
func (s *Service) leaveCheck(ctx context.Context, c *similarityCheck, state, problem string, tries int32, next time.Time) error {
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a mark of the worker for itself")
		if _, err := tx.Exec(ctx, `UPDATE similarity_check SET state = $2, problem = $3, tries = $4, next_at = $5 WHERE id = $1 AND state <> 'done'`, c.ID, state, problem, tries, next); err != nil {
			return fmt.Errorf("leave check: %w", err)
		}
		return nil
	})
}

// sendCheck sends a version. It returns a code with what went wrong.
func (s *Service) sendCheck(ctx context.Context, c *similarityCheck) (problem string, err error) {
	body, err := s.similarityBody(ctx, c)
	if err != nil {
		return "similarity.files", err
	}
	ctx, cancel := context.WithTimeout(ctx, similarityLease/2)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.similarity.URL, bytes.NewReader(body))
	if err != nil {
		return "similarity.address", err
	}
	at := strconv.FormatInt(s.time().Unix(), 10)
	sum := sha256.Sum256(body)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Stoa-Timestamp", at)
	req.Header.Set("Stoa-Signature", signSimilarity(s.similarity.Secret, "stoa similarity request v1", at, hex.EncodeToString(sum[:])))
	res, err := s.similarity.client().Do(req)
	if err != nil {
		return "similarity.unreachable", err
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection is used again
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return "similarity.refused", fmt.Errorf("answered %s", res.Status)
	}
	return "", nil
}

func (c *Similarity) client() *http.Client {
	if c.Client != nil {
		return c.Client
	}
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// similarityBody is what is sent of a version: its text and its files, without who handed
// it in.
func (s *Service) similarityBody(ctx context.Context, c *similarityCheck) ([]byte, error) {
	var text []byte
	var courseID string
	if err := s.db.QueryRow(ctx, `
		SELECT v.content, s.course_id FROM submission_version v JOIN submission s ON s.id = v.submission_id
		WHERE v.submission_id = $1 AND v.number = $2`, c.SubmissionID, c.Number).Scan(&text, &courseID); err != nil {
		return nil, fmt.Errorf("content of version: %w", err)
	}
	content, err := contentOf(text)
	if err != nil {
		return nil, err
	}
	base := strings.TrimSuffix(s.similarity.PublicURL, "/")
	out := similarityRequest{CheckID: c.ID, ReportURL: base + "/v1/similarity-checks/" + c.ID + "/report", Text: content.GetText()}
	if len(content.GetMediaIds()) == 0 {
		return json.Marshal(out)
	}
	res, err := s.files.ShowSubmissionFiles(ctx, &mediapb.ShowSubmissionFilesRequest{CourseId: courseID, MediaIds: content.GetMediaIds()})
	if err != nil {
		return nil, err
	}
	for _, m := range res.GetItems() {
		if m.GetUrl() == "" {
			if m.GetState() == "refused" {
				continue
			}
			return nil, errors.New("a file is not ready")
		}
		i := slices.Index(content.GetMediaIds(), m.GetId())
		out.Files = append(out.Files, similarityFile{Name: neutralName(i, m.GetFilename()), ContentType: m.GetContentType(), Size: m.GetSize(), SHA256: m.GetSha256(), URL: base + m.GetUrl()})
	}
	slices.SortFunc(out.Files, func(a, b similarityFile) int { return strings.Compare(a.Name, b.Name) })
	return json.Marshal(out)
}
