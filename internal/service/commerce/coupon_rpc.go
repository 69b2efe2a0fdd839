package commerce

import (
	"context"
	"crypto/rand"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/money"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// maxCoupons hold at once of a teacher, or of the platform, and maxCodes has one.
const (
	maxCoupons = 1000
	maxCodes   = 100_000
)

// validCode is how a code is kept.
var validCode = regexp.MustCompile(`^[A-Z0-9-]{4,40}$`)

// codeLetters have no two that look alike. A code of twelve is one of 10^17 and one of
// sixteen one of 10^23; wrong ones are counted besides.
const (
	codeLetters  = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
	couponLetter = 12
	giftLetters  = 16
	codeGroup    = 4
)

// newCode returns a code of so many letters as people are shown it.
func newCode(length int) string {
	var b strings.Builder
	raw := make([]byte, 1)
	for n := 0; n < length; {
		_, _ = rand.Read(raw)                                     // it never fails
		if int(raw[0]) >= 256/len(codeLetters)*len(codeLetters) { // so that no letter is likelier
			continue
		}
		if n > 0 && n%codeGroup == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(codeLetters[int(raw[0])%len(codeLetters)])
		n++
	}
	return b.String()
}

// couponServer is the contract of coupons.
type couponServer struct {
	commercepb.UnimplementedCouponServiceServer
	service *Service
}

// newCoupon is the coupon of terms, or says what is wrong with them.
func newCoupon(t *commercepb.CouponTerms, path string, now time.Time) (*coupon, error) {
	c := &coupon{
		ID: id.New("coupon"), Name: strings.TrimSpace(t.GetName()), Percent: t.GetPercent(), StartsAt: now, MaxUses: t.GetMaxUses(), MaxUsesEach: t.GetMaxUsesEach(),
		FirstOrderOnly: t.GetFirstOrderOnly(), CourseIDs: append([]string{}, t.GetCourseIds()...), BundleIDs: append([]string{}, t.GetBundleIds()...),
		ForSeats: t.GetForSeats(), CreatedAt: now,
	}
	if (c.Percent > 0) == (len(t.GetAmounts()) > 0) {
		return nil, wrong(path+"percent", "coupon.reduction", "A coupon takes a percentage or amounts, and not both.")
	}
	for field, list := range map[string][]*moneypb.Money{"amounts": t.GetAmounts(), "minimums": t.GetMinimums()} {
		seen := map[string]bool{}
		for i, m := range list {
			at := itemPath(path+field, i)
			switch {
			case !money.Accepted(m.GetCurrency()):
				return nil, wrong(at+".currency", "price.currency", "This currency is not accepted here. EUR, USD and GBP are among those that are.")
			case m.GetAmount() <= 0 || seen[m.GetCurrency()]:
				return nil, wrong(at, "coupon.reduction", "Each currency has one amount, which is above zero.")
			}
			seen[m.GetCurrency()] = true
		}
	}
	c.Currencies, c.Amounts = columns(t.GetAmounts())
	c.MinimumCurrencies, c.Minimums = columns(t.GetMinimums())
	if t.GetStartsAt() != nil {
		c.StartsAt = t.GetStartsAt().AsTime().Truncate(time.Microsecond)
	}
	if t.GetEndsAt() != nil {
		ends := t.GetEndsAt().AsTime().Truncate(time.Microsecond)
		if c.EndsAt = &ends; !ends.After(c.StartsAt) || !ends.After(now) {
			return nil, wrong(path+"ends_at", "coupon.window", "A coupon ends after it begins, and not before now.")
		}
	}
	return c, nil
}

// create writes a coupon with its code.
func (h *couponServer) create(ctx context.Context, tx *pg.Tx, c *coupon, code string) (*commercepb.Coupon, error) {
	c.CreatedBy = auth.From(ctx).Account
	if code = strings.ToUpper(strings.TrimSpace(code)); code != "" && !validCode.MatchString(code) {
		return nil, wrong("code", "coupon.code", "A code has 4 to 40 letters from A to Z, digits and hyphens.")
	}
	if err := h.checkProducts(ctx, tx, c); err != nil {
		return nil, err
	}
	// Those who make them take turns, so that each counts the others.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('stoa.coupon'), hashtext($1))`, c.Origin+c.TeacherID); err != nil {
		return nil, err
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO coupon (id, origin, teacher_id, name, percent, currencies, amounts, minimum_currencies, minimums, starts_at, ends_at, max_uses,
			max_uses_each, first_order_only, course_ids, bundle_ids, for_seats, created_by, created_at)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19 WHERE (
			SELECT count(*) FROM coupon WHERE origin = $2 AND (origin = 'platform' OR teacher_id = $3) AND ended_at IS NULL AND (ends_at IS NULL OR ends_at > $19)) < $20`,
		c.ID, c.Origin, c.TeacherID, c.Name, c.Percent, c.Currencies, c.Amounts, c.MinimumCurrencies, c.Minimums, c.StartsAt, c.EndsAt, c.MaxUses,
		c.MaxUsesEach, c.FirstOrderOnly, c.CourseIDs, c.BundleIDs, c.ForSeats, c.CreatedBy, c.CreatedAt, maxCoupons)
	if err != nil {
		return nil, err
	}
	if tag.RowsAffected() == 0 {
		return nil, ErrManyCoupons
	}
	if code != "" {
		if n, err := addCodes(ctx, tx, c.ID, []string{code}, 0); err != nil {
			return nil, err
		} else if n == 0 {
			return nil, told(fault.Conflict, "code", "coupon.code_taken", "Another coupon has this code, or had it.")
		}
		c.Codes = 1
	}
	return c.message(c.CreatedAt), audit.Record(ctx, tx, audit.Entry{Action: "coupon.created", Object: c.ID, Person: c.TeacherID, After: c.entry()})
}

// checkProducts refuses a coupon for what is not there, or of a teacher for what is not
// theirs.
func (h *couponServer) checkProducts(ctx context.Context, tx *pg.Tx, c *coupon) error {
	known, err := offers(ctx, tx, c.CourseIDs, c.CreatedAt)
	if err != nil {
		return err
	}
	for i, course := range c.CourseIDs {
		if o := known[course]; o == nil || o.SellerID == nil || c.TeacherID != "" && *o.SellerID != c.TeacherID {
			return wrong(itemPath("terms.course_ids", i), "coupon.products", "There is no such course that this coupon could be for.")
		}
	}
	sets, err := bundlesByID(ctx, tx, c.BundleIDs, "")
	if err != nil {
		return err
	}
	for i, one := range c.BundleIDs {
		if b := sets[one]; b == nil || c.TeacherID != "" && b.OwnerID != c.TeacherID {
			return wrong(itemPath("terms.bundle_ids", i), "coupon.products", "There is no such bundle that this coupon could be for.")
		}
	}
	return nil
}

// addCodes writes those codes of a coupon that nobody has, and returns how many.
func addCodes(ctx context.Context, tx *pg.Tx, couponID string, codes []string, maxUses int32) (int, error) {
	tag, err := tx.Exec(ctx, `
		INSERT INTO coupon_code (code, coupon_id, max_uses) SELECT c, $2, $3 FROM unnest($1::text[]) AS c ORDER BY c ON CONFLICT DO NOTHING`, codes, couponID, maxUses)
	if err != nil || tag.RowsAffected() == 0 {
		return 0, err
	}
	n := int(tag.RowsAffected())
	_, err = tx.Exec(ctx, `UPDATE coupon SET codes = codes + $2 WHERE id = $1`, couponID, n)
	return n, err
}

// CreateMyCoupon implements the contract.
func (h *couponServer) CreateMyCoupon(ctx context.Context, req *commercepb.CreateMyCouponRequest) (*commercepb.Coupon, error) {
	c, err := newCoupon(req.GetTerms(), "terms.", h.service.now())
	if err != nil {
		return nil, err
	}
	c.Origin, c.TeacherID = originTeacher, auth.From(ctx).Account
	// That a code is taken says that there is one: who makes coupons to find codes is
	// counted as who tries them.
	guesses := "coupon:" + c.TeacherID
	if req.GetCode() != "" {
		if err := h.service.guessing(ctx, guesses, "coupon.rate"); err != nil {
			return nil, err
		}
	}
	out, err := idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.Coupon, error) { return h.create(ctx, tx, c, req.GetCode()) })
	if fault.CodeOf(err) == "coupon.code_taken" {
		if err := h.service.missed(ctx, guesses); err != nil {
			return nil, err
		}
	}
	return out, err
}

// CreateCoupon implements the contract.
func (h *couponServer) CreateCoupon(ctx context.Context, req *commercepb.CreateCouponRequest) (*commercepb.Coupon, error) {
	c, err := newCoupon(req.GetTerms(), "terms.", h.service.now())
	if err != nil {
		return nil, err
	}
	c.Origin, c.TeacherID = originPlatform, req.GetTeacherId()
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.Coupon, error) { return h.create(ctx, tx, c, req.GetCode()) })
}

// The conditions on whose coupons somebody manages; $1 is an account.
const (
	mine     = `origin = 'teacher' AND teacher_id = $1`
	platform = `origin = 'platform' AND $1 <> ''`
	anyones  = `$1 <> ''`
)

// lock returns a coupon of a condition, locked.
func (h *couponServer) lock(ctx context.Context, tx *pg.Tx, whose, couponID string) (*coupon, error) {
	list, err := coupons(ctx, tx, whose+` AND id = $2 FOR UPDATE`, auth.From(ctx).Account, couponID)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrCouponNotFound
	}
	return list[0], nil
}

// end ends a coupon.
func (h *couponServer) end(ctx context.Context, tx *pg.Tx, whose, couponID string) (*commercepb.Coupon, error) {
	c, err := h.lock(ctx, tx, whose, couponID)
	if err != nil {
		return nil, err
	}
	now := h.service.now()
	if c.EndedAt != nil {
		tx.Exempt("it is so already")
		return c.message(now), nil
	}
	c.EndedAt = &now
	if _, err := tx.Exec(ctx, `UPDATE coupon SET ended_at = $2 WHERE id = $1`, c.ID, now); err != nil {
		return nil, err
	}
	return c.message(now), audit.Record(ctx, tx, audit.Entry{Action: "coupon.ended", Object: c.ID, Person: c.TeacherID, After: map[string]any{"ended_at": now}})
}

// EndMyCoupon implements the contract.
func (h *couponServer) EndMyCoupon(ctx context.Context, req *commercepb.EndMyCouponRequest) (*commercepb.Coupon, error) {
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.Coupon, error) { return h.end(ctx, tx, mine, req.GetCouponId()) })
}

// EndCoupon implements the contract.
func (h *couponServer) EndCoupon(ctx context.Context, req *commercepb.EndCouponRequest) (*commercepb.Coupon, error) {
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.Coupon, error) { return h.end(ctx, tx, anyones, req.GetCouponId()) })
}

// list returns a page of coupons, and the cursor of the next.
func (h *couponServer) list(ctx context.Context, whose string, pageSize int32, cursor string) ([]*commercepb.Coupon, string, error) {
	before, last, err := page.After(cursor)
	if err != nil {
		return nil, "", err
	}
	size, next := page.Size(pageSize), ""
	list, err := coupons(ctx, h.service.DB, whose+` AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $4`,
		auth.From(ctx).Account, before, last, size+1)
	if err != nil {
		return nil, "", err
	}
	if len(list) > size {
		list = list[:size]
		next = page.TimeCursor(list[size-1].CreatedAt, list[size-1].ID)
	}
	var out []*commercepb.Coupon
	for _, c := range list {
		out = append(out, c.message(h.service.now()))
	}
	return out, next, nil
}

// ListMyCoupons implements the contract.
func (h *couponServer) ListMyCoupons(ctx context.Context, req *commercepb.ListMyCouponsRequest) (*commercepb.ListMyCouponsResponse, error) {
	items, next, err := h.list(ctx, mine, req.GetPageSize(), req.GetCursor())
	return &commercepb.ListMyCouponsResponse{Items: items, NextCursor: next}, err
}

// ListCoupons implements the contract.
func (h *couponServer) ListCoupons(ctx context.Context, req *commercepb.ListCouponsRequest) (*commercepb.ListCouponsResponse, error) {
	items, next, err := h.list(ctx, platform, req.GetPageSize(), req.GetCursor())
	return &commercepb.ListCouponsResponse{Items: items, NextCursor: next}, err
}

// generate makes codes for a coupon and returns how many it has.
func (h *couponServer) generate(ctx context.Context, tx *pg.Tx, whose, couponID string, count, maxUses int32) (int32, error) {
	c, err := h.lock(ctx, tx, whose, couponID)
	if err != nil {
		return 0, err
	}
	switch {
	case c.state(h.service.now()) == "ended":
		return 0, ErrCouponEnded
	case c.Codes+count > maxCodes:
		return 0, ErrManyCodes
	}
	for left := int(count); left > 0; { // a code that is there already is drawn again
		codes := make([]string, left)
		for i := range codes {
			codes[i] = newCode(couponLetter)
		}
		n, err := addCodes(ctx, tx, c.ID, codes, max(maxUses, 1))
		if err != nil {
			return 0, err
		}
		left -= n
	}
	return c.Codes + count, audit.Record(ctx, tx, audit.Entry{
		Action: "coupon.codes_generated", Object: c.ID, Person: c.TeacherID, After: map[string]any{"count": count, "max_uses": max(maxUses, 1)},
	})
}

// GenerateMyCodes implements the contract.
func (h *couponServer) GenerateMyCodes(ctx context.Context, req *commercepb.GenerateMyCodesRequest) (*commercepb.GenerateMyCodesResponse, error) {
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.GenerateMyCodesResponse, error) {
		n, err := h.generate(ctx, tx, mine, req.GetCouponId(), req.GetCount(), req.GetMaxUses())
		return &commercepb.GenerateMyCodesResponse{Codes: n}, err
	})
}

// GenerateCodes implements the contract.
func (h *couponServer) GenerateCodes(ctx context.Context, req *commercepb.GenerateCodesRequest) (*commercepb.GenerateCodesResponse, error) {
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.GenerateCodesResponse, error) {
		n, err := h.generate(ctx, tx, platform, req.GetCouponId(), req.GetCount(), req.GetMaxUses())
		return &commercepb.GenerateCodesResponse{Codes: n}, err
	})
}

// codes returns a page of the codes of a coupon, and the cursor of the next.
func (h *couponServer) codes(ctx context.Context, whose, couponID string, pageSize int32, cursor string) ([]*commercepb.CouponCode, string, error) {
	values, err := page.Values(cursor, 1)
	if err != nil {
		return nil, "", err
	}
	after := ""
	if values != nil {
		after = values[0]
	}
	list, err := coupons(ctx, h.service.DB, whose+` AND id = $2`, auth.From(ctx).Account, couponID)
	if err != nil {
		return nil, "", err
	}
	if len(list) == 0 {
		return nil, "", ErrCouponNotFound
	}
	size, next := page.Size(pageSize), ""
	rows, err := h.service.DB.Query(ctx, `SELECT code, uses, max_uses FROM coupon_code WHERE coupon_id = $1 AND code > $2 ORDER BY code LIMIT $3`, couponID, after, size+1)
	if err != nil {
		return nil, "", err
	}
	var out []*commercepb.CouponCode
	var one struct {
		code          string
		uses, maxUses int32
	}
	if _, err := pgx.ForEachRow(rows, []any{&one.code, &one.uses, &one.maxUses}, func() error {
		out = append(out, &commercepb.CouponCode{Code: one.code, Uses: one.uses, MaxUses: one.maxUses})
		return nil
	}); err != nil {
		return nil, "", fmt.Errorf("codes: %w", err)
	}
	if len(out) > size {
		out = out[:size]
		next = page.Cursor(out[size-1].GetCode())
	}
	return out, next, nil
}

// ListMyCodes implements the contract.
func (h *couponServer) ListMyCodes(ctx context.Context, req *commercepb.ListMyCodesRequest) (*commercepb.ListMyCodesResponse, error) {
	items, next, err := h.codes(ctx, mine, req.GetCouponId(), req.GetPageSize(), req.GetCursor())
	return &commercepb.ListMyCodesResponse{Items: items, NextCursor: next}, err
}

// ListCodes implements the contract.
func (h *couponServer) ListCodes(ctx context.Context, req *commercepb.ListCodesRequest) (*commercepb.ListCodesResponse, error) {
	items, next, err := h.codes(ctx, platform, req.GetCouponId(), req.GetPageSize(), req.GetCursor())
	return &commercepb.ListCodesResponse{Items: items, NextCursor: next}, err
}
