package assessment

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// maxAnswered bounds what is answered at once, in bytes.
const maxAnswered = 3 << 20

// StartAttempt implements [assessmentpb.AttemptServiceServer]. Where an attempt is
// prepared it begins in one short transaction.
func (h *attemptServer) StartAttempt(ctx context.Context, req *assessmentpb.StartAttemptRequest) (*assessmentpb.Attempt, error) {
	account := auth.From(ctx).Account
	// What was prepared may be gone when it is begun, where the quiz was published anew:
	// then another is made.
	for range 3 {
		a, err := h.start(ctx, req, account)
		if err == nil {
			err = h.service.guardLockdown(ctx, a)
		}
		if err == nil {
			return bounded(h.service.view(ctx, h.service.db, a, 0))
		}
		if !errors.Is(err, errPreparedGone) {
			return nil, err
		}
	}
	return nil, ErrAttemptNotFound
}

// errPreparedGone is told where what was to be begun is not there any more.
var errPreparedGone = errors.New("the prepared attempt is gone")

func (h *attemptServer) start(ctx context.Context, req *assessmentpb.StartAttemptRequest, account string) (*attempt, error) {
	s := h.service
	prepared, entry, running, refusedWith := s.startable(ctx, req, account)
	var begun *attempt
	done, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (_ *assessmentpb.Attempt, err error) {
		tx.Exempt("an attempt of one's own, which is its own record")
		begun = nil
		switch {
		case running != "":
			return &assessmentpb.Attempt{Id: running}, nil
		case refusedWith != nil:
			return nil, refusedWith
		}
		begun, err = s.begin(ctx, tx, prepared, entry)
		return &assessmentpb.Attempt{Id: prepared}, err
	})
	if err != nil || begun != nil && begun.ID == done.GetId() {
		return begun, err
	}
	begun, err = readAttempt(ctx, s.db, done.GetId())
	if err == nil {
		err = s.elsewhere(ctx, s.db, begun)
	}
	return begun, err
}

// startable returns the attempt of somebody that runs at an item, or the one that is
// prepared and that they may begin.
func (s *Service) startable(ctx context.Context, req *assessmentpb.StartAttemptRequest, account string) (prepared string, entry examEntry, running string, err error) {
	err = s.db.QueryRow(ctx, `
		SELECT id FROM attempt WHERE course_id = $1 AND item_id = $2 AND account_id = $3 AND state = 'in_progress' AND NOT preview
			AND (closes_at IS NULL OR closes_at > $4)`,
		req.GetCourseId(), req.GetItemId(), account, s.time()).Scan(&running)
	if err == nil || !pg.NoRows(err) {
		return "", entry, running, err
	}
	prepared, entry, err = s.admission(ctx, req.GetCourseId(), req.GetItemId(), account, req.GetPassword())
	return prepared, entry, "", err
}

// beginSQL begins an attempt that is prepared and whose window is open.
var beginSQL = `
	UPDATE attempt SET state = 'in_progress', started_at = $2, revision = revision + 1, withheld = $3, network = $4, ` + expireBy(expiryFrom("$2::timestamptz")) + `
	WHERE id = $1 AND state = 'prepared' AND (open_until IS NULL OR open_until > $2) RETURNING ` + attemptColumns

// begin begins an attempt that is prepared. Who comes second finds it begun.
func (s *Service) begin(ctx context.Context, tx *pg.Tx, id string, entry examEntry) (*attempt, error) {
	a, err := oneAttempt(ctx, tx, beginSQL, id, s.time(), entry.withheld, entry.network(ctx, s, id))
	if !errors.Is(err, ErrAttemptNotFound) {
		return a, err
	}
	a, err = readAttempt(ctx, tx, id)
	switch {
	case errors.Is(err, ErrAttemptNotFound) || err == nil && !a.running() && a.State != statePrepared:
		return nil, errPreparedGone
	case err != nil || a.running():
		return a, err
	default:
		return nil, ErrAttemptClosed
	}
}

// own returns an attempt of the caller that has begun.
func (h *attemptServer) own(ctx context.Context, id string) (*attempt, error) {
	a, err := readAttempt(ctx, h.service.db, id)
	if err != nil {
		return nil, err
	}
	return a, a.owned(auth.From(ctx).Account)
}

// ofCourse returns an attempt of a course that has begun.
func (h *attemptServer) ofCourse(ctx context.Context, course, id string) (*attempt, error) {
	a, err := readAttempt(ctx, h.service.db, id)
	if err != nil {
		return nil, err
	}
	if a.CourseID != course || a.State == statePrepared || a.Preview {
		return nil, ErrAttemptNotFound
	}
	return a, nil
}

// GetAttempt implements [assessmentpb.AttemptServiceServer].
func (h *attemptServer) GetAttempt(ctx context.Context, req *assessmentpb.GetAttemptRequest) (*assessmentpb.Attempt, error) {
	a, err := h.own(ctx, req.GetAttemptId())
	if err == nil {
		err = h.service.guardShown(ctx, a)
	}
	if err != nil {
		return nil, err
	}
	return bounded(h.service.view(ctx, h.service.db, a, req.GetPage()))
}

func bounded(a *assessmentpb.Attempt, err error) (*assessmentpb.Attempt, error) {
	if err != nil {
		return nil, err
	}
	if proto.Size(a) > maxAnswered {
		return nil, ErrAttemptTooLarge
	}
	return a, nil
}

// GetAttemptForMarking implements [assessmentpb.AttemptServiceServer].
func (h *attemptServer) GetAttemptForMarking(ctx context.Context, req *assessmentpb.GetAttemptForMarkingRequest) (*assessmentpb.Attempt, error) {
	s := h.service
	a, err := h.ofCourse(ctx, req.GetCourseId(), req.GetAttemptId())
	if err != nil {
		return nil, err
	}
	l, err := s.layoutOf(ctx, s.db, a)
	if err != nil {
		return nil, err
	}
	results, err := s.rebuild(ctx, s.db, []*attempt{a})
	if err != nil {
		return nil, err
	}
	rubrics, err := rubricResults(ctx, s.db, a.ID, true)
	if err != nil {
		return nil, err
	}
	rekeys, err := rekeysOf(ctx, s.db, a, true)
	if err != nil {
		return nil, err
	}
	names, err := s.pseudonyms(ctx, s.db, []string{a.ID})
	if err != nil {
		return nil, err
	}
	out := s.summaryForStaff(a)
	described(out, l)
	if out.Notices, err = readNotices(ctx, s.db, a); err != nil {
		return nil, err
	}
	unnamed(out, names)
	for _, r := range results[a.ID].questions {
		sl := l.slot(r.slot)
		if req.GetPage() > 0 && sl.Page != req.GetPage()-1 {
			continue
		}
		in, err := s.instance(ctx, s.db, sl.shown(), a.Engine, sl.seed())
		if err != nil {
			return nil, err
		}
		v := sl.view(in, r.done)
		v.MaxPoints, v.Rekeys = r.rules.MaxPoints.String(), rekeys[r.slot]
		v.Outcome, v.Rubric = r.in.Outcome(r.rules, r.state), rubrics[r.slot]
		v.QuestionId, v.QuestionVersion, v.KeyVersion = sl.QuestionID, sl.QuestionVersion, r.key
		out.Questions = append(out.Questions, v)
	}
	return bounded(out, nil)
}

// summaryForStaff returns an attempt without its questions as those see it who may read
// what students answered. That breaks are eased for its student is none of their business.
func (s *Service) summaryForStaff(a *attempt) *assessmentpb.Attempt {
	out := s.summary(a, true)
	out.Breaks, out.Uncounted, out.Reviewable = false, a.Uncounted, true
	for _, c := range a.Clients {
		out.Clients = append(out.Clients, c.message())
	}
	return out
}

// ListMyAttempts implements [assessmentpb.AttemptServiceServer].
func (h *attemptServer) ListMyAttempts(ctx context.Context, req *assessmentpb.ListMyAttemptsRequest) (*assessmentpb.ListMyAttemptsResponse, error) {
	s := h.service
	before, beforeID, err := page.After(req.GetCursor())
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	list, err := s.listAttempts(ctx, `
		SELECT `+attemptColumns+` FROM attempt
		WHERE account_id = $1 AND NOT preview AND started_at IS NOT NULL AND (started_at, id) < ($2, $3) AND ($4 = '' OR course_id = $4) AND ($5 = '' OR item_id = $5)
		ORDER BY started_at DESC, id DESC LIMIT $6`, auth.From(ctx).Account, before, beforeID, req.GetCourseId(), req.GetItemId(), size+1)
	if err != nil {
		return nil, err
	}
	res := &assessmentpb.ListMyAttemptsResponse{}
	if len(list) > size {
		list = list[:size]
		last := list[size-1]
		res.NextCursor = page.TimeCursor(*last.StartedAt, last.ID)
	}
	reviews, err := s.reviewsOf(ctx, s.db, list)
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		review := reviews[a.ID]
		one := s.summary(a, !a.running() && review.GetMarks())
		one.Reviewable = !a.running() && review.GetAttempt()
		res.Items = append(res.Items, one)
	}
	return res, veil(ctx, s.db, list, reviews, res.GetItems())
}

// ListAttempts implements [assessmentpb.AttemptServiceServer].
func (h *attemptServer) ListAttempts(ctx context.Context, req *assessmentpb.ListAttemptsRequest) (*assessmentpb.ListAttemptsResponse, error) {
	s := h.service
	after, err := page.Values(req.GetCursor(), 3)
	if err != nil {
		return nil, err
	}
	account, number, id := "", int64(0), ""
	if after != nil {
		account, id = after[0], after[2]
		if number, err = strconv.ParseInt(after[1], 10, 32); err != nil {
			return nil, page.ErrCursor
		}
	}
	hidden, err := s.anonymous(ctx, s.db, req.GetCourseId(), req.GetItemId())
	if err != nil {
		return nil, err
	}
	order := `account_id, number, id`
	if len(hidden) > 0 { // neither the order nor the cursor tells whose they are
		order, account, number = `''::text, 0, id`, "", 0
	}
	size := page.Size(req.GetPageSize())
	// Of an account that is not to be known there is nothing, nor more of it.
	list, err := s.listAttempts(ctx, `
		SELECT `+attemptColumns+` FROM attempt a
		WHERE course_id = $1 AND item_id = $2 AND NOT preview AND ($3 = '' OR account_id = $3 AND NOT (quiz_id = ANY ($9) AND `+hiddenSQL+`))
			AND ($4 = '' OR state = $4) AND (`+order+`) > ($5, $6, $7)
		ORDER BY `+strings.TrimPrefix(order, `''::text, 0, `)+` LIMIT $8`, req.GetCourseId(), req.GetItemId(), req.GetAccountId(), req.GetState(), account, number, id, size+1, hidden)
	if err != nil {
		return nil, err
	}
	res := &assessmentpb.ListAttemptsResponse{}
	if len(list) > size {
		list = list[:size]
		last := list[size-1]
		res.NextCursor = page.Cursor(last.AccountID, strconv.Itoa(int(last.Number)), last.ID)
		if len(hidden) > 0 {
			res.NextCursor = page.Cursor("", "0", last.ID)
		}
	}
	names, err := s.pseudonyms(ctx, s.db, idsOf(list))
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		if req.GetAccountId() != "" && names[a.ID] != "" {
			continue
		}
		one := s.summaryForStaff(a)
		unnamed(one, names)
		res.Items = append(res.Items, one)
	}
	return res, nil
}

func (s *Service) listAttempts(ctx context.Context, sql string, args ...any) ([]*attempt, error) {
	rows, err := s.db.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("list attempts: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanAttempt)
	if err != nil {
		return nil, fmt.Errorf("list attempts: %w", err)
	}
	return list, nil
}

// ListAttemptStates implements [assessmentpb.AttemptServiceServer].
func (h *attemptServer) ListAttemptStates(ctx context.Context, req *assessmentpb.ListAttemptStatesRequest) (*assessmentpb.ListAttemptStatesResponse, error) {
	s := h.service
	n := len(req.GetAttempts())
	ids, revisions, notices := make([]string, n), make([]int64, n), make([]int32, n)
	for i, k := range req.GetAttempts() {
		ids[i], revisions[i], notices[i] = k.GetAttemptId(), k.GetRevision(), k.GetNotices()
	}
	rows, err := s.db.Query(ctx, `
		SELECT a.id, CASE WHEN a.state = 'graded' AND `+veiledSQL+` THEN 'submitted' ELSE a.state END, a.expires_at, a.grace_until, a.paused_at,
			extract(epoch FROM a.extra_time)::int, a.revision, CASE WHEN a.state = 'in_progress' THEN a.last_seq ELSE `+shownSeqSQL+` END, a.account_id,
			k.revision <> a.revision, k.notices
		FROM unnest($1::text[], $2::bigint[], $3::int[]) AS k (id, revision, notices) JOIN attempt a ON a.id = k.id AND a.state <> 'prepared'`, ids, revisions, notices)
	if err != nil {
		return nil, fmt.Errorf("states of attempts: %w", err)
	}
	now := timestamppb.New(s.time())
	res := &assessmentpb.ListAttemptStatesResponse{}
	var changed []string
	var behind []int32
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		var a attempt
		var extra, known int32
		var differs bool
		err := row.Scan(&a.ID, &a.State, &a.ExpiresAt, &a.GraceUntil, &a.PausedAt, &extra, &a.Revision, &a.LastSeq, &a.AccountID, &differs, &known)
		if err == nil {
			res.Items = append(res.Items, &assessmentpb.AttemptState{
				AttemptId: a.ID, State: a.State, ExpiresAt: stamp(a.ExpiresAt), GraceUntil: stamp(a.GraceUntil), PausedAt: stamp(a.PausedAt),
				ExtraSeconds: extra, Revision: a.Revision, LastSeq: a.LastSeq, ServerTime: now, AccountId: a.AccountID,
			})
		}
		if differs {
			changed, behind = append(changed, a.ID), append(behind, known)
		}
		return struct{}{}, err
	})
	if err != nil {
		return nil, fmt.Errorf("states of attempts: %w", err)
	}
	if len(changed) == 0 {
		return res, nil
	}
	told, err := noticesBehind(ctx, s.db, changed, behind)
	for _, st := range res.GetItems() {
		st.Notices = told[st.GetAttemptId()]
	}
	return res, err
}
