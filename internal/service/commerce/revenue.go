package commerce

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// Shares are in hundredths of a percent.
const (
	allShares            int32 = 10_000
	defaultPlatformShare int32 = 3_000 // where no rule holds
)

// teacherShare is a part of what the platform leaves.
type teacherShare struct {
	AccountID   string
	BasisPoints int32
}

// revenueServer is the contract of revenue.
type revenueServer struct {
	commercepb.UnimplementedRevenueServiceServer
	service *Service
}

// revenueSplitChanged keeps how teachers share what a course earns.
func (s *Service) revenueSplitChanged(ctx context.Context, tx *pg.Tx, e *coursespb.RevenueSplitChanged) error {
	var accounts []string
	var points []int32
	for _, t := range e.GetShares() {
		accounts, points = append(accounts, t.GetAccountId()), append(points, t.GetBasisPoints())
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO revenue_split (course_id, version, valid_from, account_ids, basis_points) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT ON CONSTRAINT revenue_split_pkey DO NOTHING`, e.GetCourseId(), e.GetVersion(), e.GetValidFrom().AsTime(), accounts, points)
	return err
}

// setShares writes into the lines of an order that is placed what holds now: what the
// platform keeps, and how teachers share the rest.
func setShares(ctx context.Context, q pg.Querier, o *order) error {
	var courses, sellers, channels, origins []string
	for _, l := range o.lines {
		courses, sellers = append(courses, l.CourseID), append(sellers, l.SellerID)
		channels, origins = append(channels, l.Channel), append(origins, l.CouponOrigin)
	}
	rows, err := q.Query(ctx, `
		SELECT r.id, r.platform_share, coalesce(s.account_ids, '{}'), coalesce(s.basis_points, '{}')
		FROM unnest($1::text[], $2::text[], $4::text[], $5::text[]) WITH ORDINALITY AS l (course_id, seller_id, channel, coupon_origin, n)
		LEFT JOIN LATERAL (
			SELECT id, platform_share FROM revenue_rule
			WHERE teacher_id IN ('', l.seller_id) AND channel IN ('', l.channel) AND coupon_origin IN ('', l.coupon_origin)
				AND valid_from <= $3 AND (valid_until IS NULL OR valid_until > $3)
			ORDER BY teacher_id DESC, channel DESC, coupon_origin DESC, valid_from DESC, id DESC LIMIT 1 -- what is empty comes last
		) r ON true
		LEFT JOIN LATERAL (
			SELECT account_ids, basis_points FROM revenue_split WHERE course_id = l.course_id AND valid_from <= $3 ORDER BY version DESC LIMIT 1
		) s ON true
		ORDER BY l.n`, courses, sellers, o.CreatedAt, channels, origins)
	if err != nil {
		return err
	}
	var (
		rule     *string
		platform *int32
		accounts []string
		points   []int32
		n        int
	)
	_, err = pgx.ForEachRow(rows, []any{&rule, &platform, &accounts, &points}, func() error {
		l := &o.lines[n]
		n++
		keeps := defaultPlatformShare
		if platform != nil {
			keeps = *platform
		}
		l.RuleID, l.PlatformShare = rule, &keeps
		for i, a := range accounts {
			l.shares = append(l.shares, teacherShare{a, points[i]})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("shares: %w", err)
	}
	return nil
}

type revenueRule struct {
	ID            string
	TeacherID     string
	PlatformShare int32
	ValidFrom     time.Time
	ValidUntil    *time.Time
	Reason        string
	CreatedBy     string
	CreatedAt     time.Time
	Channel       string
	CouponOrigin  string
}

const revenueRuleColumns = `id, teacher_id, platform_share, valid_from, valid_until, reason, created_by, created_at, channel, coupon_origin`

func (r revenueRule) message() *commercepb.RevenueRule {
	return &commercepb.RevenueRule{
		Id: r.ID, TeacherId: r.TeacherID, PlatformShare: r.PlatformShare, ValidFrom: timestamppb.New(r.ValidFrom), ValidUntil: stamp(r.ValidUntil),
		Reason: r.Reason, CreatedAt: timestamppb.New(r.CreatedAt), CreatedBy: r.CreatedBy,
		Channel: r.Channel, CouponOrigin: r.CouponOrigin,
	}
}

// CreateRevenueRule implements the contract.
func (h *revenueServer) CreateRevenueRule(ctx context.Context, req *commercepb.CreateRevenueRuleRequest) (*commercepb.RevenueRule, error) {
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.RevenueRule, error) {
		now := h.service.now()
		r := revenueRule{
			ID: id.New("rule"), TeacherID: req.GetTeacherId(), PlatformShare: req.GetPlatformShare(), ValidFrom: now,
			Reason: req.GetReason(), CreatedBy: auth.From(ctx).Account, CreatedAt: now, Channel: req.GetChannel(), CouponOrigin: req.GetCouponOrigin(),
		}
		if req.GetValidFrom() != nil {
			if r.ValidFrom = req.GetValidFrom().AsTime().Truncate(time.Microsecond); r.ValidFrom.Before(now) {
				return nil, ErrRulePast
			}
		}
		if req.GetValidUntil() != nil {
			until := req.GetValidUntil().AsTime().Truncate(time.Microsecond)
			if r.ValidUntil = &until; !until.After(r.ValidFrom) {
				return nil, wrong("valid_until", "revenue_rule.period", "A rule ends after it begins.")
			}
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO revenue_rule (id, teacher_id, platform_share, valid_from, reason, created_by, created_at, channel, coupon_origin, valid_until)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			r.ID, r.TeacherID, r.PlatformShare, r.ValidFrom, r.Reason, r.CreatedBy, r.CreatedAt, r.Channel, r.CouponOrigin, r.ValidUntil); err != nil {
			return nil, err
		}
		return r.message(), audit.Record(ctx, tx, audit.Entry{
			Action: "revenue_rule.created", Object: r.ID, Person: r.TeacherID,
			After: map[string]any{"platform_share": r.PlatformShare, "valid_from": r.ValidFrom, "valid_until": r.ValidUntil, "channel": r.Channel, "coupon_origin": r.CouponOrigin},
		})
	})
}

// EndRevenueRule implements the contract.
func (h *revenueServer) EndRevenueRule(ctx context.Context, req *commercepb.EndRevenueRuleRequest) (*commercepb.RevenueRule, error) {
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.RevenueRule, error) {
		rows, err := tx.Query(ctx, `SELECT `+revenueRuleColumns+` FROM revenue_rule WHERE id = $1 FOR UPDATE`, req.GetRuleId())
		if err != nil {
			return nil, err
		}
		r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[revenueRule])
		if pg.NoRows(err) {
			return nil, ErrRuleNotFound
		}
		if err != nil {
			return nil, err
		}
		until := h.service.now()
		if until.Before(r.ValidFrom) {
			until = r.ValidFrom
		}
		if r.ValidUntil != nil && !until.Before(*r.ValidUntil) {
			return r.message(), nil
		}
		r.ValidUntil = &until
		if _, err := tx.Exec(ctx, `UPDATE revenue_rule SET valid_until = $2 WHERE id = $1`, r.ID, until); err != nil {
			return nil, err
		}
		return r.message(), audit.Record(ctx, tx, audit.Entry{
			Action: "revenue_rule.ended", Object: r.ID, Person: r.TeacherID, After: map[string]any{"valid_until": until},
		})
	})
}

// ListRevenueRules implements the contract.
func (h *revenueServer) ListRevenueRules(ctx context.Context, req *commercepb.ListRevenueRulesRequest) (*commercepb.ListRevenueRulesResponse, error) {
	before, last, err := page.After(req.GetCursor())
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := h.service.DB.Query(ctx, `
		SELECT `+revenueRuleColumns+` FROM revenue_rule
		WHERE (created_at, id) < ($1, $2) AND ($3 = '' OR teacher_id = $3) ORDER BY created_at DESC, id DESC LIMIT $4`, before, last, req.GetTeacherId(), size+1)
	if err != nil {
		return nil, err
	}
	rules, err := pgx.CollectRows(rows, pgx.RowToStructByName[revenueRule])
	if err != nil {
		return nil, fmt.Errorf("revenue rules: %w", err)
	}
	res := &commercepb.ListRevenueRulesResponse{}
	if len(rules) > size {
		rules = rules[:size]
		res.NextCursor = page.TimeCursor(rules[size-1].CreatedAt, rules[size-1].ID)
	}
	for _, r := range rules {
		res.Items = append(res.Items, r.message())
	}
	return res, nil
}

// GetEarnings implements the contract.
func (h *revenueServer) GetEarnings(ctx context.Context, _ *commercepb.GetEarningsRequest) (*commercepb.Earnings, error) {
	me := auth.From(ctx).Account
	list, err := balances(ctx, h.service.DB, []string{accountHeld + me, accountTeacher + me, accountPayable + me})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b balance) int { return strings.Compare(a.Currency, b.Currency) })
	res := &commercepb.Earnings{}
	for _, b := range list {
		n := len(res.Items)
		if n == 0 || res.Items[n-1].GetHeld().GetCurrency() != b.Currency {
			none := func() *moneypb.Money { return &moneypb.Money{Currency: b.Currency} }
			res.Items = append(res.Items, &commercepb.CurrencyEarnings{Held: none(), Available: none(), Payable: none()})
			n++
		}
		to := res.Items[n-1].GetAvailable()
		switch b.Account {
		case accountHeld + me:
			to = res.Items[n-1].GetHeld()
		case accountPayable + me:
			to = res.Items[n-1].GetPayable()
		}
		to.Amount = -b.Amount // what is owed is a credit
	}
	return res, nil
}

// ListEarnings implements the contract.
func (h *revenueServer) ListEarnings(ctx context.Context, req *commercepb.ListEarningsRequest) (*commercepb.ListEarningsResponse, error) {
	values, err := page.Values(req.GetCursor(), 2)
	if err != nil {
		return nil, err
	}
	before, position := int64(1)<<62, int64(0)
	if values != nil {
		if before, err = strconv.ParseInt(values[0], 10, 64); err != nil {
			return nil, page.ErrCursor
		}
		if position, err = strconv.ParseInt(values[1], 10, 16); err != nil {
			return nil, page.ErrCursor
		}
	}
	me, size := auth.From(ctx).Account, page.Size(req.GetPageSize())
	rows, err := h.service.DB.Query(ctx, `
		SELECT e.kind, e.booked_at, p.entry_id, p.position, p.account, p.currency, p.amount, coalesce(l.id, ''), coalesce(l.course_id, ''), coalesce(l.title, '')
		FROM (
			SELECT p.* FROM unnest($1::text[]) AS a (account)
			CROSS JOIN LATERAL (
				SELECT * FROM ledger_posting p WHERE p.account = a.account AND (p.entry_id, p.position) < ($2, $3) ORDER BY p.entry_id DESC, p.position DESC LIMIT $4
			) p
			ORDER BY p.entry_id DESC, p.position DESC LIMIT $4
		) p
		JOIN ledger_entry e ON e.id = p.entry_id LEFT JOIN order_line l ON l.id = p.line_id
		ORDER BY p.entry_id DESC, p.position DESC`, []string{accountHeld + me, accountTeacher + me, accountPayable + me}, before, position, size+1)
	if err != nil {
		return nil, err
	}
	type row struct {
		Kind     string
		BookedAt time.Time
		Entry    int64
		Position int16
		Account  string
		Currency string
		Amount   int64
		LineID   string
		CourseID string
		Title    string
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return nil, fmt.Errorf("earnings: %w", err)
	}
	res := &commercepb.ListEarningsResponse{}
	if len(list) > size {
		list = list[:size]
		last := list[size-1]
		res.NextCursor = page.Cursor(strconv.FormatInt(last.Entry, 10), strconv.Itoa(int(last.Position)))
	}
	for _, r := range list {
		account := "available"
		switch r.Account {
		case accountHeld + me:
			account = "held"
		case accountPayable + me:
			account = "payable"
		}
		res.Items = append(res.Items, &commercepb.Earning{
			Kind: r.Kind, BookedAt: timestamppb.New(r.BookedAt), LineId: r.LineID, CourseId: r.CourseID, Title: r.Title,
			Account: account, Amount: &moneypb.Money{Amount: -r.Amount, Currency: r.Currency},
		})
	}
	return res, nil
}

// ListLedgerBalances implements the contract.
func (h *revenueServer) ListLedgerBalances(ctx context.Context, req *commercepb.ListLedgerBalancesRequest) (*commercepb.ListLedgerBalancesResponse, error) {
	accounts := []string{accountProvider, accountDisputed, accountProcessing, accountPlatform, accountTax, accountBuyers, accountBank}
	if teacher := req.GetTeacherId(); teacher != "" {
		accounts = []string{accountHeld + teacher, accountTeacher + teacher, accountPayable + teacher}
	}
	list, err := balances(ctx, h.service.DB, accounts)
	if err != nil {
		return nil, err
	}
	res := &commercepb.ListLedgerBalancesResponse{}
	for _, b := range list {
		name := b.Account
		if teacher := req.GetTeacherId(); teacher != "" {
			name = b.Account[:len(b.Account)-len(teacher)-1]
		}
		res.Items = append(res.Items, &commercepb.LedgerBalance{Account: name, Balance: &moneypb.Money{Amount: b.Amount, Currency: b.Currency}})
	}
	return res, nil
}
