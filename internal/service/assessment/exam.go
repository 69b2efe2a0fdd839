package assessment

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/maypok86/otter/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// Errors of exams.
var (
	ErrExamNotFound        = fault.New(fault.NotFound, "exam.not_found", "The course shows no quiz at this item.")
	ErrExamActionNotFound  = fault.New(fault.NotFound, "exam_action.not_found", "There is no such action.")
	ErrExamActionNotTime   = fault.New(fault.Conflict, "exam_action.not_time", "This action gave no time.")
	ErrExamNotByClock      = fault.New(fault.Conflict, "exam.not_by_clock", "This attempt was submitted by somebody. Only what the clock has ended can go on.")
	ErrExamTooOld          = fault.New(fault.Conflict, "exam.too_old", "This attempt ended more than %d hours ago.", int(reopenWithin.Hours()))
	ErrExamOtherAttempt    = fault.New(fault.Conflict, "exam.other_attempt", "The student has another attempt that runs.")
	ErrExamNotAdmitted     = fault.New(fault.Forbidden, "exam.not_admitted", "A proctor lets people in. You are on the list: wait, then begin again.")
	ErrExamLockdown        = fault.New(fault.Forbidden, "exam.lockdown", "This exam is taken in its lock-down browser alone.")
	ErrNoProctoring        = fault.New(fault.Conflict, "exam.no_proctoring", "No outside service watches this exam.")
	ErrExamEventsRate      = fault.New(fault.Exhausted, "exam_events.rate", "Too many events. Send them again when Retry-After says.")
	ErrLockdownKeyNotFound = fault.New(fault.NotFound, "lockdown_key.not_found", "The quiz has no such key.")
	ErrLockdownKeyLast     = fault.New(fault.Conflict, "lockdown_key.last", "It is the last key of a quiz that lets in lock-down browsers alone: without it nobody could take it. Add another one first, or publish the quiz without lockdown.")
	ErrLockdownKeyless     = &fault.Error{
		Kind: fault.Invalid, Code: "quiz.no_lockdown_key", Message: "The quiz lets in lock-down browsers alone, and knows none: nobody could take it.",
		Fields: []fault.Field{{Path: "settings.exam.lockdown", Code: "quiz.no_lockdown_key", Hint: "Add a key of the lock-down browser to the quiz first, or set lockdown to false."}},
	}
	ErrLockdownKeys       = fault.New(fault.Conflict, "lockdown_key.too_many", "A quiz has at most %d keys of lock-down browsers.", maxLockdownKeys)
	ErrProctorReport      = fault.New(fault.NotFound, "proctor_report.not_found", "There is no such attempt, or the signature is not right.")
	ErrProctorReportStale = fault.New(fault.Invalid, "proctor_report.stale", "The report is older than five minutes, or from the future.")
	ErrProctorReports     = fault.New(fault.Conflict, "proctor_report.too_many", "An attempt has at most %d reports.", maxProctorReports)
)

// examServer answers about exams.
type examServer struct {
	assessmentpb.UnimplementedExamServiceServer

	service *Service
}

// exams is what the service has of exams in memory.
type exams struct {
	proctoring *Proctoring
	keys       *otter.Cache[string, []lockdownKey]
	refused    *otter.Cache[string, struct{}] // whose refusal was noted lately
	watching   chan struct{}                  // has room for calls that wait for changes
}

func newExams(p *Proctoring) exams {
	return exams{
		proctoring: p,
		keys:       forAWhile[[]lockdownKey](1_000, lockdownKeysFor),
		refused:    forAWhile[struct{}](50_000, refusalEvery),
		watching:   make(chan struct{}, maxWatching),
	}
}

// forAWhile returns a cache of what is looked up again after a while.
func forAWhile[V any](most int, d time.Duration) *otter.Cache[string, V] {
	return otter.Must(&otter.Options[string, V]{MaximumSize: most, ExpiryCalculator: otter.ExpiryCreating[string, V](d)})
}

// isFault reports whether an error may be told.
func isFault(err error) bool {
	return errors.As(err, new(*fault.Error))
}

// examAt holds an item to show a quiz, or to have shown one.
func examAt(ctx context.Context, q pg.Querier, course, item string) error {
	var is bool
	if err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM placement WHERE course_id = $1 AND item_id = $2 AND kind = 'quiz')`, course, item).Scan(&is); err != nil {
		return fmt.Errorf("exam of item: %w", err)
	}
	if !is {
		return ErrExamNotFound
	}
	return nil
}

// examOf returns what an exam demands besides, nil where it is none.
func (s *Service) examOf(ctx context.Context, q pg.Querier, a *attempt) (*assessmentpb.ExamSettings, error) {
	version, err := s.quizVersion(ctx, q, a.QuizID, a.QuizVersion)
	if err != nil {
		return nil, err
	}
	return version.Settings.GetExam(), nil
}

// exam returns what the exam of a batch demands, nil where it is none.
func (b *batch) exam() *assessmentpb.ExamSettings { return b.layout.version.Settings.GetExam() }

// enter looks at who sends a batch of an exam: whether their browser may, and whether
// their network is another one.
func (b *batch) enter(c *appendCall) error {
	a := b.attempt
	if b.exam() == nil || !a.running() && !a.inTime(c.now) || a.closed(c.now) {
		return nil
	}
	if err := b.service.lockedOut(b.ctx, b.tx, a, c.proof); err != nil {
		return err
	}
	network := b.service.network(a.ID, c.address)
	if len(network) == 0 || slices.Equal(network, a.Network) {
		return nil
	}
	if len(a.Network) > 0 {
		b.noted = append(b.noted, noteOf(a, eventAddressChanged, noted{clientID: c.req.GetClientId()}))
	}
	a.Network = network
	return nil
}

// network returns what is kept of a network address with an attempt: what tells that it
// changes, and not which it is.
func (s *Service) network(attempt, address string) []byte {
	if address == "" || s.vault == nil {
		return nil
	}
	return s.vault.Keys().Index("assessment network\n"+attempt, address)[:16]
}

// examEntry is what somebody brings who may begin.
type examEntry struct {
	exam     bool
	withheld bool
}

// network is that of who begins, in exams.
func (e examEntry) network(ctx context.Context, s *Service, attempt string) []byte {
	if out := s.network(attempt, rpc.Address(ctx)); e.exam && out != nil {
		return out
	}
	return []byte{}
}

// enterExam refuses who may not begin an exam: whose browser is not locked down, or whom
// no proctor has let in, who is on the list then.
func (s *Service) enterExam(ctx context.Context, version *quizVersion, itemID, accountID string) (examEntry, error) {
	exam := version.Settings.GetExam()
	if exam == nil {
		return examEntry{}, nil
	}
	if exam.GetLockdown() {
		err := s.checkLockdown(ctx, s.db, version.QuizID, itemID, accountID, rpc.ProofOf(ctx))
		if err != nil {
			return examEntry{}, s.noteRefusedAtDoor(ctx, version.CourseID, itemID, accountID, err)
		}
	}
	if exam.GetProctored() {
		if err := s.checkAdmitted(ctx, version.CourseID, itemID, accountID); err != nil {
			return examEntry{}, err
		}
	}
	return examEntry{exam: true, withheld: exam.GetWithhold() == withholdAlways}, nil
}

// answer notes whether a question is answered.
func (a *attempt) answer(slot int32, is bool) {
	if slot < 1 {
		return
	}
	i, bit := int(slot-1)/8, byte(1)<<((slot-1)%8)
	switch {
	case is:
		if i >= len(a.Answered) {
			a.Answered = append(slices.Clone(a.Answered), make([]byte, i+1-len(a.Answered))...)
		} else {
			a.Answered = slices.Clone(a.Answered)
		}
		a.Answered[i] |= bit
	case i < len(a.Answered):
		a.Answered = slices.Clone(a.Answered)
		a.Answered[i] &^= bit
	}
}

// answered reports whether something stands at a question.
func (f *folded) answered() bool { return f != nil && f.answer != nil && f.answer.GetCleared() == nil }

// count returns how many bits are set.
func count(bitmap []byte) int32 {
	n := 0
	for _, b := range bitmap {
		n += bits.OnesCount8(b)
	}
	return int32(n)
}

// targets is who something is done to.
type targets interface {
	GetCourseId() string
	GetItemId() string
	GetAttemptIds() []string
	GetEverybody() bool
}

// target is an attempt that something is done to.
type target struct {
	ID        string
	AccountID string
}

// action is something that staff do to attempts that run.
type action struct {
	kind    string
	reason  string
	seconds int32
	beyond  bool

	notice  string // the kind of what students are told; none when empty
	message string
	event   string
	record  audit.Entry // what of the audit log's entry is its own

	// set is what of an attempt changes, and where narrows those it is done to. Their
	// parameters begin at $6: $1 are ids, $2 to $4 the notice, $5 is now.
	set, where string
	args       []any
	// then is done with those that have changed.
	then func(tx *pg.Tx, actionID string, done []target) error
}

// act does something to the attempts of a request that run, in one statement for any
// number of them, and notes it: for staff, for students, and in the log of each. Their
// rows are locked first, in one order, so that an attempt that ends meanwhile has either
// ended or is changed.
func (s *Service) act(ctx context.Context, tx *pg.Tx, req targets, by string, do action) (*assessmentpb.ExamAction, error) {
	if req.GetEverybody() == (len(req.GetAttemptIds()) > 0) {
		return nil, fault.InvalidField("attempt_ids", "field.exclusive", "Name attempts, or set everybody.")
	}
	if err := examAt(ctx, tx, req.GetCourseId(), req.GetItemId()); err != nil {
		return nil, err
	}
	var named []string
	if !req.GetEverybody() {
		named = req.GetAttemptIds()
	}
	rows, err := tx.Query(ctx, `
		SELECT id FROM attempt WHERE course_id = $1 AND item_id = $2 AND state = 'in_progress' AND ($3::text[] IS NULL AND NOT preview OR id = ANY ($3))
		ORDER BY id FOR NO KEY UPDATE`, req.GetCourseId(), req.GetItemId(), named)
	if err != nil {
		return nil, fmt.Errorf("lock attempts: %w", err)
	}
	locked, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("lock attempts: %w", err)
	}
	now := s.time()
	done, err := change(ctx, tx, do, locked, by, now)
	if err != nil {
		return nil, err
	}
	out := &assessmentpb.ExamAction{
		Id: id.New("examaction"), Kind: do.kind, CourseId: req.GetCourseId(), ItemId: req.GetItemId(), Everybody: req.GetEverybody(),
		Attempts: int32(len(done)), Seconds: do.seconds, BeyondWindow: do.beyond, Reason: do.reason, AccountId: by, CreatedAt: timestamppb.New(now), //nolint:gosec // G115: far below
	}
	if !req.GetEverybody() {
		for _, t := range done {
			out.AttemptIds = append(out.AttemptIds, t.ID)
		}
		for _, one := range named {
			if !slices.Contains(out.GetAttemptIds(), one) {
				out.SkippedIds = append(out.SkippedIds, one)
			}
		}
	}
	if err := s.storeAction(ctx, tx, out, do, done); err != nil {
		return nil, err
	}
	return out, s.recordAction(ctx, tx, out, do, done)
}

// change changes attempts that are locked, and tells their students.
func change(ctx context.Context, tx *pg.Tx, do action, ids []string, by string, now time.Time) ([]target, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	set := []string{"revision = revision + 1"}
	if do.set != "" {
		set = append(set, do.set)
	}
	args := []any{ids, do.notice, do.message, by, now}
	told := `, unused AS (SELECT $2::text, $3::text, $4::text, $5::timestamptz)`
	if do.notice != "" {
		set = append(set, "notices = notices + 1")
		told = `, told AS (
			INSERT INTO attempt_notice (attempt_id, number, kind, body, account_id, created_at) SELECT id, notices, $2::text, $3::text, $4::text, $5::timestamptz FROM changed)`
	}
	where := ""
	if do.where != "" {
		where = " AND (" + do.where + ")"
	}
	rows, err := tx.Query(ctx, `
		WITH changed AS (
			UPDATE attempt SET `+strings.Join(set, ", ")+` WHERE id = ANY ($1) AND state = 'in_progress'`+where+` RETURNING *
		)`+told+`
		SELECT id, account_id FROM changed ORDER BY id`, append(args, do.args...)...)
	if err != nil {
		return nil, fmt.Errorf("%s attempts: %w", do.kind, err)
	}
	done, err := pgx.CollectRows(rows, pgx.RowToStructByName[target])
	if err != nil {
		return nil, fmt.Errorf("%s attempts: %w", do.kind, err)
	}
	return done, nil
}
