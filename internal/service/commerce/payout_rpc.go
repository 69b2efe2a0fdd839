package commerce

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/money"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

func (r payoutRun) message() *commercepb.PayoutRun {
	return &commercepb.PayoutRun{
		Id: r.ID, Currency: r.Currency, Period: r.Period, State: r.State, Payouts: r.Payouts, Amount: &moneypb.Money{Amount: r.Amount, Currency: r.Currency},
		CreatedAt: timestamppb.New(r.CreatedAt), DoneAt: stamp(r.DoneAt), CreatedBy: r.CreatedBy,
	}
}

func (p payout) message() *commercepb.Payout {
	if p.State == payoutReversed { // a process of before has not written how much
		p.Reversed = p.Amount
	}
	return &commercepb.Payout{
		Id: p.ID, RunId: p.RunID, TeacherId: p.TeacherID, Period: p.Period, State: p.State, Amount: p.money(p.Amount), Opening: p.money(p.Opening), Closing: p.money(p.Closing),
		CreatedAt: timestamppb.New(p.CreatedAt), PaidAt: stamp(p.PaidAt), Problem: p.Problem, Reversed: p.money(p.Reversed),
	}
}

// CreatePayoutRun implements the contract.
func (h *payoutServer) CreatePayoutRun(ctx context.Context, req *commercepb.CreatePayoutRunRequest) (*commercepb.PayoutRun, error) {
	if h.provider == nil {
		return nil, ErrPayoutsOff
	}
	period := req.GetMonth()
	switch {
	case !money.Accepted(req.GetCurrency()):
		return nil, fault.InvalidField("currency", "payout.currency", "Nothing is sold in this currency.")
	case period > monthOf(h.now()):
		return nil, fault.InvalidField("month", "payout.month", "This month is yet to come.")
	case period == "":
		period = h.now().Format(time.RFC3339Nano)
	}
	return idempotency.Do(ctx, h.DB, req, func(tx *pg.Tx) (*commercepb.PayoutRun, error) {
		r, err := h.beginRun(ctx, tx, req.GetCurrency(), period, auth.From(ctx).Account)
		return r.message(), err
	})
}

// GetPayoutRun implements the contract.
func (h *payoutServer) GetPayoutRun(ctx context.Context, req *commercepb.GetPayoutRunRequest) (*commercepb.PayoutRun, error) {
	list, err := payoutRuns(ctx, h.DB, `id = $1`, req.GetRunId())
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrPayoutRunNotFound
	}
	return list[0].message(), nil
}

// ListPayoutRuns implements the contract.
func (h *payoutServer) ListPayoutRuns(ctx context.Context, req *commercepb.ListPayoutRunsRequest) (*commercepb.ListPayoutRunsResponse, error) {
	before, last, err := page.After(req.GetCursor())
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	list, err := payoutRuns(ctx, h.DB, `(created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3`, before, last, size+1)
	if err != nil {
		return nil, err
	}
	res := &commercepb.ListPayoutRunsResponse{}
	if len(list) > size {
		list = list[:size]
		res.NextCursor = page.TimeCursor(list[size-1].CreatedAt, list[size-1].ID)
	}
	for _, r := range list {
		res.Items = append(res.Items, r.message())
	}
	return res, nil
}

// GetPayout implements the contract.
func (h *payoutServer) GetPayout(ctx context.Context, req *commercepb.GetPayoutRequest) (*commercepb.Payout, error) {
	p, err := onePayout(ctx, h.DB, `id = $1`, req.GetPayoutId())
	if err != nil {
		return nil, err
	}
	return p.message(), nil
}

// GetMyPayout implements the contract.
func (h *payoutServer) GetMyPayout(ctx context.Context, req *commercepb.GetMyPayoutRequest) (*commercepb.Payout, error) {
	p, err := onePayout(ctx, h.DB, `id = $1 AND teacher_id = $2`, req.GetPayoutId(), auth.From(ctx).Account)
	if err != nil {
		return nil, err
	}
	p.Problem = ""
	return p.message(), nil
}

// ListPayouts implements the contract.
func (h *payoutServer) ListPayouts(ctx context.Context, req *commercepb.ListPayoutsRequest) (*commercepb.ListPayoutsResponse, error) {
	return h.listPayouts(ctx, req.GetRunId(), req.GetTeacherId(), req.GetPageSize(), req.GetCursor())
}

// ListMyPayouts implements the contract.
func (h *payoutServer) ListMyPayouts(ctx context.Context, req *commercepb.ListMyPayoutsRequest) (*commercepb.ListPayoutsResponse, error) {
	res, err := h.listPayouts(ctx, "", auth.From(ctx).Account, req.GetPageSize(), req.GetCursor())
	for _, p := range res.GetItems() {
		p.Problem = ""
	}
	return res, err
}

func (h *payoutServer) listPayouts(ctx context.Context, run, teacher string, pageSize int32, cursor string) (*commercepb.ListPayoutsResponse, error) {
	before, last, err := page.After(cursor)
	if err != nil {
		return nil, err
	}
	size := page.Size(pageSize)
	where, args := ``, []any{before, last, size + 1}
	for _, f := range []struct{ column, value string }{{"run_id", run}, {"teacher_id", teacher}} {
		if f.value != "" {
			args = append(args, f.value)
			where += f.column + ` = $` + strconv.Itoa(len(args)) + ` AND `
		}
	}
	list, err := payouts(ctx, h.DB, where+`(created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3`, args...)
	if err != nil {
		return nil, err
	}
	res := &commercepb.ListPayoutsResponse{}
	if len(list) > size {
		list = list[:size]
		res.NextCursor = page.TimeCursor(list[size-1].CreatedAt, list[size-1].ID)
	}
	for _, p := range list {
		res.Items = append(res.Items, p.message())
	}
	return res, nil
}

// ListPayoutLines implements the contract.
func (h *payoutServer) ListPayoutLines(ctx context.Context, req *commercepb.ListPayoutLinesRequest) (*commercepb.ListPayoutLinesResponse, error) {
	p, err := onePayout(ctx, h.DB, `id = $1`, req.GetPayoutId())
	if err != nil {
		return nil, err
	}
	return h.statement(ctx, p, req.GetPageSize(), req.GetCursor())
}

// ListMyPayoutLines implements the contract.
func (h *payoutServer) ListMyPayoutLines(ctx context.Context, req *commercepb.ListMyPayoutLinesRequest) (*commercepb.ListPayoutLinesResponse, error) {
	p, err := onePayout(ctx, h.DB, `id = $1 AND teacher_id = $2`, req.GetPayoutId(), auth.From(ctx).Account)
	if err != nil {
		return nil, err
	}
	return h.statement(ctx, p, req.GetPageSize(), req.GetCursor())
}

// statement lists what a payout covers.
func (h *payoutServer) statement(ctx context.Context, p payout, pageSize int32, cursor string) (*commercepb.ListPayoutLinesResponse, error) {
	values, err := page.Values(cursor, 2)
	if err != nil {
		return nil, err
	}
	after, position := p.AfterEntry, int64(1)<<14
	if values != nil {
		if after, err = strconv.ParseInt(values[0], 10, 64); err != nil {
			return nil, page.ErrCursor
		}
		if position, err = strconv.ParseInt(values[1], 10, 16); err != nil {
			return nil, page.ErrCursor
		}
	}
	size := page.Size(pageSize)
	rows, err := h.DB.Query(ctx, `
		SELECT e.kind, e.booked_at, p.entry_id, p.position, p.amount, coalesce(l.id, '') AS line_id, coalesce(l.course_id, '') AS course_id, coalesce(l.title, '') AS title
		FROM (
			SELECT * FROM ledger_posting p
			WHERE p.account = $1 AND p.currency = $2 AND (p.entry_id, p.position) > ($3, $4) AND p.entry_id > $5 AND p.entry_id <= $6
			ORDER BY p.entry_id, p.position LIMIT $7
		) p
		JOIN ledger_entry e ON e.id = p.entry_id LEFT JOIN order_line l ON l.id = p.line_id
		ORDER BY p.entry_id, p.position`,
		accountTeacher+p.TeacherID, p.Currency, after, position, p.AfterEntry, p.ThroughEntry, size+1)
	if err != nil {
		return nil, err
	}
	type row struct {
		Kind     string
		BookedAt time.Time
		EntryID  int64
		Position int16
		Amount   int64
		LineID   string
		CourseID string
		Title    string
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
	if err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	res := &commercepb.ListPayoutLinesResponse{}
	if len(list) > size {
		list = list[:size]
		last := list[size-1]
		res.NextCursor = page.Cursor(strconv.FormatInt(last.EntryID, 10), strconv.Itoa(int(last.Position)))
	}
	for _, r := range list {
		res.Items = append(res.Items, &commercepb.PayoutLine{
			Kind: r.Kind, BookedAt: timestamppb.New(r.BookedAt), LineId: r.LineID, CourseId: r.CourseID, Title: r.Title,
			Amount: &moneypb.Money{Amount: -r.Amount, Currency: p.Currency},
		})
	}
	return res, nil
}

// ReversePayout implements the contract.
func (h *payoutServer) ReversePayout(ctx context.Context, req *commercepb.ReversePayoutRequest) (*commercepb.Payout, error) {
	if _, err := idempotency.Do(ctx, h.DB, req, func(tx *pg.Tx) (*commercepb.Payout, error) {
		p, err := onePayout(ctx, tx, `id = $1 FOR UPDATE`, req.GetPayoutId())
		if err != nil {
			return nil, err
		}
		switch p.State {
		case payoutReversing, payoutReversed:
			tx.Exempt("it is taken back")
			return p.message(), nil
		case payoutPaid:
		default:
			return nil, ErrPayoutNotPaid
		}
		if p.Reversing = req.GetAmount(); p.Reversing == 0 {
			p.Reversing = p.Amount - p.Reversed
		}
		switch {
		case p.Reversing > p.Amount-p.Reversed:
			return nil, wrong("amount", "payout.too_much", "At most "+strconv.FormatInt(p.Amount-p.Reversed, 10)+" is left of the payout.")
		case !charged(p.Reversing, p.Currency):
			return nil, wrong("amount", "payout.digits", "In a currency with three decimals an amount ends in 0.")
		}
		// A try that was refused is another call: another key.
		var tries int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM provider_call WHERE kind = $1 AND object_id = $2`, callReversal, p.ID).Scan(&tries); err != nil {
			return nil, err
		}
		if err := h.askAs(ctx, tx, callReversal+":"+p.ID+":"+strconv.Itoa(tries), callReversal, p.ID); err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `UPDATE payout SET state = 'reversing', reversing = $2, problem = '' WHERE id = $1`, p.ID, p.Reversing); err != nil {
			return nil, err
		}
		p.State, p.Problem = payoutReversing, ""
		return p.message(), audit.Record(ctx, tx, audit.Entry{
			Action: "payout.reversed", Object: p.ID, Person: p.TeacherID, Reason: req.GetReason(), After: map[string]any{"state": p.State, "amount": p.Reversing, "currency": p.Currency},
		})
	}); err != nil {
		return nil, err
	}
	return h.GetPayout(ctx, &commercepb.GetPayoutRequest{PayoutId: req.GetPayoutId()})
}
