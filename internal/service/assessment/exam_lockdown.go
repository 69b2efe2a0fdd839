package assessment

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// The schemes by which a lock-down browser is known.
const (
	schemeSEBConfig  = "seb_config"
	schemeSEBBrowser = "seb_browser"
	schemeHMAC       = "hmac"
)

const (
	maxLockdownKeys = 20
	// lockdownKeysFor is how long keys are remembered: a process follows what another one
	// has changed within it.
	lockdownKeysFor = 2 * time.Second
	// lockdownAge is how far the time that a request was signed at may be off.
	lockdownAge = 5 * time.Minute
	// refusalEvery is how often a refusal of the same student is noted.
	refusalEvery = time.Minute
)

// lockdownKey is a key of a quiz, opened.
type lockdownKey struct {
	id     string
	scheme string
	key    string
}

// lockdownHolder is what the vault knows the data key of lock-down keys by.
const lockdownHolder = "lockdown_key"

// lockdownKeys returns the keys of a quiz, as they were a moment ago at most.
func (s *Service) lockdownKeys(ctx context.Context, q pg.Querier, quizID string) ([]lockdownKey, error) {
	if list, ok := s.exams.keys.GetIfPresent(quizID); ok {
		return list, nil
	}
	rows, err := q.Query(ctx, `SELECT id, scheme, sealed FROM lockdown_key WHERE quiz_id = $1 ORDER BY id`, quizID)
	if err != nil {
		return nil, fmt.Errorf("keys of quiz: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (lockdownKey, error) {
		var k lockdownKey
		var sealed []byte
		err := row.Scan(&k.id, &k.scheme, &sealed)
		k.key = string(sealed)
		return k, err
	})
	if err != nil {
		return nil, fmt.Errorf("keys of quiz: %w", err)
	}
	if len(list) > 0 {
		data, err := s.vault.KeysBy(ctx, q, lockdownHolder)
		if err != nil {
			return nil, fmt.Errorf("keys of quiz: %w", err)
		}
		if data[lockdownHolder] == nil {
			return nil, fmt.Errorf("keys of quiz: %w", secret.ErrUnreadable)
		}
		for i, k := range list {
			plain, err := data[lockdownHolder].Unseal(k.id, []byte(k.key))
			if err != nil {
				return nil, fmt.Errorf("key %s: %w", k.id, err)
			}
			list[i].key = string(plain)
		}
	}
	s.exams.keys.Set(quizID, list)
	return list, nil
}

// proves reports whether a request was made by a browser that has keys of a quiz: of Safe
// Exam Browser one of each kind that the quiz has, or of another one of its secrets. A
// quiz without keys knows none.
func proves(keys []lockdownKey, p rpc.Proof) bool {
	seb, config, browser := false, true, true
	for _, k := range keys {
		switch k.scheme {
		case schemeSEBConfig:
			seb, config = true, false
		case schemeSEBBrowser:
			seb, browser = true, false
		}
	}
	for _, k := range keys {
		switch k.scheme {
		case schemeSEBConfig:
			config = config || provesSEB(k.key, p.ConfigKeyHash, p)
		case schemeSEBBrowser:
			browser = browser || provesSEB(k.key, p.RequestHash, p)
		case schemeHMAC:
			if provesHMAC(k.key, p) {
				return true
			}
		}
	}
	return seb && config && browser
}

// provesSEB reports whether a hash is the one that Safe Exam Browser makes of an address
// and a key: the SHA-256 of both in a row, in hexadecimal. The address is that of the
// request, or of the page where the browser leaves headers to the page.
func provesSEB(key, hash string, p rpc.Proof) bool {
	for _, url := range []string{p.URL, p.Page} {
		if url != "" && sebHash(url, key) == strings.ToLower(hash) {
			return true
		}
	}
	return false
}

// sebHash is what Safe Exam Browser sends for an address.
func sebHash(url, key string) string {
	sum := sha256.Sum256([]byte(url + key))
	return hex.EncodeToString(sum[:])
}

// lockdownHeader is Stoa-Lockdown: a version, the time in seconds since 1970, a nonce and
// the HMAC.
var lockdownHeader = regexp.MustCompile(`^v1;t=([0-9]{1,10});n=([A-Za-z0-9_-]{8,64});s=([0-9a-f]{64})$`)

// provesHMAC reports whether Stoa-Lockdown signs the request with a secret, at about the
// time at which it came.
func provesHMAC(secret string, p rpc.Proof) bool {
	m := lockdownHeader.FindStringSubmatch(p.Signature)
	if m == nil {
		return false
	}
	at, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || time.Unix(at, 0).Before(p.At.Add(-lockdownAge)) || time.Unix(at, 0).After(p.At.Add(lockdownAge)) {
		return false
	}
	return hmac.Equal([]byte(lockdownSignature(secret, p, m[1], m[2])), []byte(m[3]))
}

// lockdownSignature is the HMAC of a request, which no line feed can be in.
func lockdownSignature(secret string, p rpc.Proof, at, nonce string) string {
	body := p.Body
	if body == "" {
		sum := sha256.Sum256(nil)
		body = hex.EncodeToString(sum[:])
	}
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(strings.Join([]string{"stoa lockdown v1", p.Method, p.URL, at, nonce, body}, "\n")))
	return hex.EncodeToString(h.Sum(nil))
}

// checkLockdown refuses a request for an exam that no lock-down browser of it has made,
// but of a student who may do without.
func (s *Service) checkLockdown(ctx context.Context, q pg.Querier, quizID, itemID, accountID string, p rpc.Proof) error {
	keys, err := s.lockdownKeys(ctx, q, quizID)
	if err != nil || proves(keys, p) {
		return err
	}
	var excused bool
	if err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM exam_student WHERE item_id = $1 AND account_id = $2 AND excused_at IS NOT NULL)`, itemID, accountID).Scan(&excused); err != nil {
		return fmt.Errorf("look for an excuse: %w", err)
	}
	if !excused {
		return ErrExamLockdown
	}
	return nil
}

// lockedOut refuses a request of the owner of an attempt that runs, where its exam is
// locked down and no lock-down browser of it has made the request. What is over may be
// looked at with any browser.
func (s *Service) lockedOut(ctx context.Context, q pg.Querier, a *attempt, p rpc.Proof) error {
	if !a.running() || a.Preview {
		return nil
	}
	exam, err := s.examOf(ctx, q, a)
	if err != nil || !exam.GetLockdown() {
		return err
	}
	return s.checkLockdown(ctx, q, a.QuizID, a.ItemID, a.AccountID, p)
}

// guardLockdown is lockedOut for a request that is no transaction. A refusal is noted.
func (s *Service) guardLockdown(ctx context.Context, a *attempt) error {
	return s.noteRefused(ctx, a.ID, s.lockedOut(ctx, s.db, a, rpc.ProofOf(ctx)))
}

// guardShown refuses to show what an attempt asks to who takes the course no more; and
// while it runs to another browser than its exam demands, and elsewhere than in the networks
// that the quiz can be taken from.
func (s *Service) guardShown(ctx context.Context, a *attempt) error {
	if err := stays(ctx, s.db, a); err != nil {
		return err
	}
	if err := s.guardLockdown(ctx, a); err != nil || a.PausedAt != nil {
		return err
	}
	return s.elsewhere(ctx, s.db, a)
}

// noteRefused notes with an attempt that a request was refused for want of a lock-down
// browser, once a minute at most, and returns the refusal. Other errors it only returns.
func (s *Service) noteRefused(ctx context.Context, attemptID string, refusal error) error {
	if fault.CodeOf(refusal) != ErrExamLockdown.Code || !s.refusedAnew(attemptID) {
		return refusal
	}
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("what was noted is its own record")
		a, err := readAttempt(ctx, tx, attemptID)
		if err != nil {
			return err
		}
		return s.noteEvents(ctx, tx, []noted{noteOf(a, eventLockdownRefused, noted{})})
	})
	if err != nil {
		s.log.WarnContext(ctx, "a refusal could not be noted", "attempt", attemptID, "error", err.Error())
	}
	return refusal
}

// refusedAnew reports whether a refusal was not noted lately.
func (s *Service) refusedAnew(key string) bool {
	_, anew := s.exams.refused.SetIfAbsent(key, struct{}{})
	return anew
}

// noteRefusedAtDoor counts that somebody was refused before they have begun, once a
// minute at most, and returns the refusal. Other errors it only returns.
func (s *Service) noteRefusedAtDoor(ctx context.Context, courseID, itemID, accountID string, refusal error) error {
	if fault.CodeOf(refusal) != ErrExamLockdown.Code || !s.refusedAnew(itemID+accountID) {
		return refusal
	}
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("what was noted is its own record")
		_, err := tx.Exec(ctx, `
			INSERT INTO exam_student AS s (course_id, item_id, account_id, refusals) VALUES ($1, $2, $3, 1)
			ON CONFLICT ON CONSTRAINT exam_student_pkey DO UPDATE SET refusals = s.refusals + 1`, courseID, itemID, accountID)
		return err
	})
	if err != nil {
		s.log.WarnContext(ctx, "a refusal could not be noted", "account", accountID, "error", err.Error())
	}
	return refusal
}

// ExcuseLockdown implements [assessmentpb.ExamServiceServer].
func (h *examServer) ExcuseLockdown(ctx context.Context, req *assessmentpb.ExcuseLockdownRequest) (*emptypb.Empty, error) {
	s := h.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		if err := examAt(ctx, tx, req.GetCourseId(), req.GetItemId()); err != nil {
			return nil, err
		}
		by, at, why, entry := auth.From(ctx).Account, new(s.time()), req.GetReason(), audit.Entry{Action: "exam.lockdown_excused"}
		if !req.GetExcused() {
			by, at, why, entry = "", nil, "", audit.Entry{Action: "exam.lockdown_demanded"}
		}
		entry.Object, entry.Course, entry.Person, entry.Reason = req.GetItemId(), req.GetCourseId(), req.GetAccountId(), req.GetReason()
		if _, err := tx.Exec(ctx, `
			INSERT INTO exam_student AS s (course_id, item_id, account_id, excused_by, excused_at, excuse) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT ON CONSTRAINT exam_student_pkey DO UPDATE SET excused_by = EXCLUDED.excused_by, excused_at = EXCLUDED.excused_at, excuse = EXCLUDED.excuse`,
			req.GetCourseId(), req.GetItemId(), req.GetAccountId(), by, at, why); err != nil {
			return nil, fmt.Errorf("excuse student: %w", err)
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, entry)
	})
}

// lockQuizOf locks a quiz of a course, so that its keys are counted by one at a time.
func lockQuizOf(ctx context.Context, tx *pg.Tx, courseID, quizID string) error {
	var is bool
	err := tx.QueryRow(ctx, `SELECT true FROM quiz WHERE id = $1 AND course_id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE`, quizID, courseID).Scan(&is)
	if pg.NoRows(err) {
		return ErrQuizNotFound
	}
	if err != nil {
		return fmt.Errorf("lock quiz: %w", err)
	}
	return nil
}

var sebKey = regexp.MustCompile(`^[0-9A-Fa-f]{64}$`)

// CreateLockdownKey implements [assessmentpb.ExamServiceServer].
func (h *examServer) CreateLockdownKey(ctx context.Context, req *assessmentpb.CreateLockdownKeyRequest) (*assessmentpb.LockdownKey, error) {
	s, key := h.service, req.GetKey()
	if req.GetScheme() != schemeHMAC {
		if !sebKey.MatchString(key) {
			return nil, fault.InvalidField("key", "field.pattern", "A key of Safe Exam Browser has 64 hexadecimal digits.")
		}
		key = strings.ToLower(key)
	}
	// The call is remembered without the key.
	known := proto.CloneOf(req)
	known.Key = hex.EncodeToString(s.vault.Keys().Index("assessment lockdown key call", req.GetKey()))
	return idempotency.Do(ctx, s.db, known, func(tx *pg.Tx) (*assessmentpb.LockdownKey, error) {
		if err := lockQuizOf(ctx, tx, req.GetCourseId(), req.GetQuizId()); err != nil {
			return nil, err
		}
		var n int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM lockdown_key WHERE quiz_id = $1`, req.GetQuizId()).Scan(&n); err != nil {
			return nil, fmt.Errorf("count keys: %w", err)
		}
		if n >= maxLockdownKeys {
			return nil, ErrLockdownKeys
		}
		out := &assessmentpb.LockdownKey{Id: id.New("lockdownkey"), Scheme: req.GetScheme(), Label: req.GetLabel(), CreatedBy: auth.From(ctx).Account, CreatedAt: timestamppb.New(s.time())}
		data, err := s.vault.KeyIn(ctx, tx, lockdownHolder)
		if err != nil {
			return nil, fmt.Errorf("seal key: %w", err)
		}
		if _, err := tx.Exec(ctx, `INSERT INTO lockdown_key (id, quiz_id, scheme, label, sealed, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			out.GetId(), req.GetQuizId(), out.GetScheme(), out.GetLabel(), data.Seal(out.GetId(), []byte(key)), out.GetCreatedBy(), out.GetCreatedAt().AsTime()); err != nil {
			return nil, fmt.Errorf("store key: %w", err)
		}
		tx.AfterCommit(func() { s.exams.keys.Invalidate(req.GetQuizId()) })
		return out, audit.Record(ctx, tx, audit.Entry{
			Action: "lockdown_key.created", Object: out.GetId(), Course: req.GetCourseId(), After: map[string]any{"quiz": req.GetQuizId(), "scheme": out.GetScheme()},
		})
	})
}

// ListLockdownKeys implements [assessmentpb.ExamServiceServer].
func (h *examServer) ListLockdownKeys(ctx context.Context, req *assessmentpb.ListLockdownKeysRequest) (*assessmentpb.ListLockdownKeysResponse, error) {
	q := h.service.db
	var is bool
	if err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM quiz WHERE id = $1 AND course_id = $2 AND deleted_at IS NULL)`, req.GetQuizId(), req.GetCourseId()).Scan(&is); err != nil {
		return nil, fmt.Errorf("read quiz: %w", err)
	}
	if !is {
		return nil, ErrQuizNotFound
	}
	rows, err := q.Query(ctx, `SELECT id, scheme, label, created_by, created_at FROM lockdown_key WHERE quiz_id = $1 ORDER BY id`, req.GetQuizId())
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.LockdownKey, error) {
		var k assessmentpb.LockdownKey
		var at time.Time
		err := row.Scan(&k.Id, &k.Scheme, &k.Label, &k.CreatedBy, &at)
		k.CreatedAt = timestamppb.New(at)
		return &k, err
	})
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return &assessmentpb.ListLockdownKeysResponse{Items: list}, nil
}

// DeleteLockdownKey implements [assessmentpb.ExamServiceServer].
func (h *examServer) DeleteLockdownKey(ctx context.Context, req *assessmentpb.DeleteLockdownKeyRequest) (*emptypb.Empty, error) {
	s := h.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		if err := lockQuizOf(ctx, tx, req.GetCourseId(), req.GetQuizId()); errors.Is(err, ErrQuizNotFound) {
			return nil, ErrLockdownKeyNotFound
		} else if err != nil {
			return nil, err
		}
		var scheme string
		err := tx.QueryRow(ctx, `
			DELETE FROM lockdown_key k USING quiz z WHERE k.id = $1 AND k.quiz_id = $2 AND z.id = k.quiz_id AND z.course_id = $3 AND z.deleted_at IS NULL RETURNING k.scheme`,
			req.GetKeyId(), req.GetQuizId(), req.GetCourseId()).Scan(&scheme)
		if pg.NoRows(err) {
			return nil, ErrLockdownKeyNotFound
		}
		if err != nil {
			return nil, fmt.Errorf("delete key: %w", err)
		}
		if err := s.keepLastKey(ctx, tx, req.GetQuizId()); err != nil {
			return nil, err
		}
		tx.AfterCommit(func() { s.exams.keys.Invalidate(req.GetQuizId()) })
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{
			Action: "lockdown_key.deleted", Object: req.GetKeyId(), Course: req.GetCourseId(), Before: map[string]any{"quiz": req.GetQuizId(), "scheme": scheme},
		})
	})
}

// keepLastKey refuses that a locked quiz has no key any more where what is published of
// it demands one.
func (s *Service) keepLastKey(ctx context.Context, tx *pg.Tx, quizID string) error {
	var left, version int32
	if err := tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM lockdown_key WHERE quiz_id = $1), version FROM quiz WHERE id = $1`, quizID).Scan(&left, &version); err != nil {
		return fmt.Errorf("count keys: %w", err)
	}
	if left > 0 || version == 0 {
		return nil
	}
	published, err := s.quizVersion(ctx, tx, quizID, version)
	if err != nil {
		return err
	}
	if published.Settings.GetExam().GetLockdown() {
		return ErrLockdownKeyLast
	}
	return nil
}
