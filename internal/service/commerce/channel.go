package commerce

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// The ways by which orders come: revenue rules tell them apart.
const (
	channelMarketplace = "marketplace"  // by nobody's link
	channelTeacher     = "teacher_link" // by a link of a teacher whose course it is
	channelAffiliate   = "affiliate"    // by a link of somebody else
)

// referralLetters has a referral code: it is no secret, only short and of one account.
const referralLetters = 8

// setChannels writes into the lines of an order that is placed what way they came. A code
// that nobody has is none, and so is the buyer's own.
func setChannels(ctx context.Context, q pg.Querier, o *order, code string) error {
	for i := range o.lines {
		o.lines[i].Channel = channelMarketplace
	}
	if code = strings.ToUpper(strings.TrimSpace(code)); code == "" {
		return nil
	}
	var referrer string
	err := q.QueryRow(ctx, `SELECT account_id FROM referral WHERE code = $1 AND account_id <> $2`, code, o.BuyerID).Scan(&referrer)
	if pg.NoRows(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("referral: %w", err)
	}
	var courses []string
	for _, l := range o.lines {
		courses = append(courses, l.CourseID)
	}
	// Who shares in a course is a teacher of it too.
	rows, err := q.Query(ctx, `
		SELECT course_id FROM (
			SELECT DISTINCT ON (course_id) course_id, account_ids FROM revenue_split WHERE course_id = ANY ($1) AND valid_from <= $2 ORDER BY course_id, version DESC
		) s WHERE $3 = ANY (account_ids)`, courses, o.CreatedAt, referrer)
	if err != nil {
		return err
	}
	teaches, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("courses of a referrer: %w", err)
	}
	for i := range o.lines {
		l := &o.lines[i]
		l.Channel, l.ReferrerID = channelAffiliate, referrer
		if l.SellerID == referrer || slices.Contains(teaches, l.CourseID) {
			l.Channel = channelTeacher
		}
	}
	return nil
}

// CreateReferralCode implements the contract.
func (h *checkoutServer) CreateReferralCode(ctx context.Context, req *commercepb.CreateReferralCodeRequest) (*commercepb.ReferralCode, error) {
	me := auth.From(ctx).Account
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.ReferralCode, error) {
		m := &commercepb.ReferralCode{}
		for m.Code == "" { // another account may have the one that is drawn
			tag, err := tx.Exec(ctx, `INSERT INTO referral (account_id, code, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, me, newCode(referralLetters), h.service.now())
			if err != nil {
				return nil, err
			}
			if tag.RowsAffected() > 0 {
				if err := audit.Record(ctx, tx, audit.Entry{Action: "referral.created", Object: me, Person: me}); err != nil {
					return nil, err
				}
			} else {
				tx.Exempt("the account has one already")
			}
			if err := tx.QueryRow(ctx, `SELECT code FROM referral WHERE account_id = $1`, me).Scan(&m.Code); err != nil && !pg.NoRows(err) {
				return nil, fmt.Errorf("referral: %w", err)
			}
		}
		return m, nil
	})
}
