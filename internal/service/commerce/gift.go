package commerce

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// What of a gift is sealed with the buyer's key.
const (
	giftFromField = "gift_from"
	giftNoteField = "gift_note"
	giftCodeField = "gift_code"
)

// The errors of gifts.
var (
	ErrGiftInvalid  = fault.New(fault.NotFound, "gift.invalid", "There is no gift with this code, or it was taken or paid back already. Look at how it is written.")
	ErrGiftEnrolled = fault.New(fault.Conflict, "gift.already_enrolled", "You are enrolled in this course already. The gift stays as it is: somebody else can take it.")
	ErrGiftOwn      = fault.New(fault.Conflict, "gift.own_course", "This course is your own. The gift stays as it is: somebody else can take it.")
)

// giftHash is by what a code is known, however it was typed. Nobody guesses one of 10^23,
// so that a plain hash of it is kept.
func giftHash(code string) []byte {
	plain := strings.Map(func(r rune) rune {
		if r == '-' || unicode.IsSpace(r) {
			return -1
		}
		return unicode.ToUpper(r)
	}, code)
	sum := sha256.Sum256([]byte("stoa gift\n" + plain))
	return sum[:]
}

// gift is a course that was bought for somebody else.
type gift struct {
	LineID     string
	OrderID    string
	BuyerID    string
	CourseID   string
	Title      string
	SellerID   string
	Live       bool // the line was not paid back
	FromName   []byte
	Note       []byte
	Code       []byte
	BoughtAt   *time.Time
	RedeemedBy *string
	RedeemedAt *time.Time
}

const giftColumns = `g.line_id, g.order_id, g.buyer_id, g.course_id, l.title, l.seller_id, l.live, g.from_name, g.note, g.code, g.bought_at, g.redeemed_by, g.redeemed_at`

// gifts returns those of a condition.
func gifts(ctx context.Context, q pg.Querier, where string, args ...any) ([]gift, error) {
	rows, err := q.Query(ctx, `SELECT `+giftColumns+` FROM gift g JOIN order_line l ON l.id = g.line_id WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[gift])
	if err != nil {
		return nil, fmt.Errorf("gifts: %w", err)
	}
	return list, nil
}

// open unseals a field of a gift; what was never written is empty.
func open(key *secret.PersonKey, field string, sealed []byte) (string, error) {
	if sealed == nil {
		return "", nil
	}
	plain, err := key.Unseal(field, sealed)
	return string(plain), err
}

// note is what the buyer has written, nil for nothing.
func (g gift) note(key *secret.PersonKey) (*commercepb.GiftNote, error) {
	from, err := open(key, giftFromField, g.FromName)
	if err != nil {
		return nil, err
	}
	note, err := open(key, giftNoteField, g.Note)
	if err != nil || from == "" && note == "" {
		return nil, err
	}
	return &commercepb.GiftNote{FromName: from, Note: note}, nil
}

// issueGifts gives the gifts of an order that is paid their codes.
func (s *Service) issueGifts(ctx context.Context, tx *pg.Tx, o *order, now time.Time) error {
	var lines []string
	var hashes, codes [][]byte
	var entries []audit.Entry
	for i := range o.lines {
		l := &o.lines[i]
		if l.Kind != lineGift {
			continue
		}
		key, err := s.Vault.KeyIn(ctx, tx, o.BuyerID)
		if err != nil {
			return err
		}
		code := newCode(giftLetters)
		lines, hashes, codes = append(lines, l.ID), append(hashes, giftHash(code)), append(codes, key.Seal(giftCodeField, []byte(code)))
		l.Fulfilled = true
		entries = append(entries, audit.Entry{Action: "gift.issued", Object: l.ID, Course: l.CourseID, Person: o.BuyerID})
	}
	if len(lines) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, `
		UPDATE gift g SET code_hash = n.hash, code = n.code, bought_at = $4
		FROM unnest($1::text[], $2::bytea[], $3::bytea[]) AS n (line_id, hash, code) WHERE g.line_id = n.line_id`, lines, hashes, codes, now); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE order_line SET fulfilled = true WHERE id = ANY ($1)`, lines); err != nil {
		return err
	}
	return audit.Record(ctx, tx, entries...)
}

// ListMyGifts implements the contract.
func (h *checkoutServer) ListMyGifts(ctx context.Context, req *commercepb.ListMyGiftsRequest) (*commercepb.ListMyGiftsResponse, error) {
	s, me := h.service, auth.From(ctx).Account
	before, last, err := page.After(req.GetCursor())
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	list, err := gifts(ctx, s.DB, `g.buyer_id = $1 AND g.bought_at IS NOT NULL AND (g.bought_at, g.line_id) < ($2, $3) ORDER BY g.bought_at DESC, g.line_id DESC LIMIT $4`, me, before, last, size+1)
	res := &commercepb.ListMyGiftsResponse{}
	if err != nil || len(list) == 0 {
		return res, err
	}
	if len(list) > size {
		list = list[:size]
		res.NextCursor = page.TimeCursor(*list[size-1].BoughtAt, list[size-1].LineID)
	}
	key, err := s.Vault.Key(ctx, me)
	if err != nil {
		return nil, err
	}
	for _, g := range list {
		m := &commercepb.Gift{
			LineId: g.LineID, OrderId: g.OrderID, CourseId: g.CourseID, Title: g.Title, State: "open", BoughtAt: stamp(g.BoughtAt), RedeemedAt: stamp(g.RedeemedAt),
		}
		switch {
		case !g.Live:
			m.State = "returned"
		case g.RedeemedAt != nil:
			m.State = "redeemed"
		}
		if m.Code, err = open(key, giftCodeField, g.Code); err != nil {
			return nil, fmt.Errorf("code of gift %s: %w", g.LineID, err)
		}
		if m.Gift, err = g.note(key); err != nil {
			return nil, fmt.Errorf("note of gift %s: %w", g.LineID, err)
		}
		res.Items = append(res.Items, m)
	}
	return res, nil
}

// tellsWithin is how long it may take until access has heard that a gift was taken.
const tellsWithin = time.Hour

// takenJustNow returns those of courses of which an account has taken a gift lately.
func (s *Service) takenJustNow(ctx context.Context, q pg.Querier, account string, courses []string) ([]string, error) {
	rows, err := q.Query(ctx, `
		SELECT DISTINCT g.course_id FROM gift g JOIN order_line l ON l.id = g.line_id
		WHERE g.redeemed_by = $1 AND g.course_id = ANY ($2) AND g.redeemed_at > $3 AND l.live`, account, courses, s.now().Add(-tellsWithin))
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("gifts taken just now: %w", err)
	}
	return list, nil
}

// comesAnyway reports whether an account, whose turn it is, gets a course of which access
// need not have heard yet: by a gift that it has taken, or an order of its own that is paid.
func (s *Service) comesAnyway(ctx context.Context, tx *pg.Tx, account, course string) (bool, error) {
	taken, err := s.takenJustNow(ctx, tx, account, []string{course})
	if err != nil || len(taken) > 0 {
		return len(taken) > 0, err
	}
	var bought bool
	err = tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM order_line WHERE buyer_id = $1 AND course_id = $2 AND kind = 'course' AND live AND paid_at IS NOT NULL AND NOT fulfilled)`, account, course).Scan(&bought)
	return bought, err
}

// RedeemGift implements the contract.
func (h *checkoutServer) RedeemGift(ctx context.Context, req *commercepb.RedeemGiftRequest) (*commercepb.RedeemedGift, error) {
	s, me := h.service, auth.From(ctx).Account
	guesses := "gift:" + me
	if err := s.guessing(ctx, guesses, "gift.rate"); err != nil {
		return nil, err
	}
	out, err := h.redeem(ctx, req, me)
	if errors.Is(err, ErrGiftInvalid) {
		if err := s.missed(ctx, guesses); err != nil {
			return nil, err
		}
	}
	return out, err
}

func (h *checkoutServer) redeem(ctx context.Context, req *commercepb.RedeemGiftRequest, me string) (*commercepb.RedeemedGift, error) {
	s := h.service
	hash := giftHash(req.GetCode())
	list, err := gifts(ctx, s.DB, `g.code_hash = $1`, hash)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrGiftInvalid
	}
	has, err := s.entitled(ctx, me, []string{list[0].CourseID})
	if err != nil {
		return nil, err
	}
	out, err := idempotency.Do(ctx, s.DB, req, func(tx *pg.Tx) (*commercepb.RedeemedGift, error) {
		if err := takeTurns(ctx, tx, me); err != nil {
			return nil, err
		}
		// Who pays back locks the order too: a gift is taken or paid back first.
		if _, err := lockOrder(ctx, tx, ErrGiftInvalid, `id = $1`, list[0].OrderID); err != nil {
			return nil, err
		}
		now, err := gifts(ctx, tx, `g.code_hash = $1 FOR UPDATE OF g`, hash)
		if err != nil {
			return nil, err
		}
		g := now[0]
		switch {
		case g.RedeemedBy != nil && *g.RedeemedBy == me && g.Live:
			tx.Exempt("it was taken before")
			return g.redeemed(), nil
		case g.RedeemedBy != nil || !g.Live:
			return nil, ErrGiftInvalid
		case g.SellerID == me:
			return nil, ErrGiftOwn
		case len(has) > 0:
			return nil, ErrGiftEnrolled
		}
		if comes, err := s.comesAnyway(ctx, tx, me, g.CourseID); err != nil || comes {
			return nil, cmp.Or(err, error(ErrGiftEnrolled))
		}
		at := s.now()
		g.RedeemedBy, g.RedeemedAt = &me, &at
		if _, err := tx.Exec(ctx, `UPDATE gift SET redeemed_by = $2, redeemed_at = $3 WHERE line_id = $1`, g.LineID, me, at); err != nil {
			return nil, err
		}
		if err := audit.Record(ctx, tx, audit.Entry{Action: "gift.redeemed", Object: g.LineID, Course: g.CourseID, Person: me}); err != nil {
			return nil, err
		}
		return g.redeemed(), bus.Publish(ctx, tx, &commercepb.GiftRedeemed{
			LineId: g.LineID, OrderId: g.OrderID, CourseId: g.CourseID, AccountId: me, RedeemedAt: timestamppb.New(at),
		})
	})
	if err != nil {
		return nil, err
	}
	// What was written is not kept with the answer.
	key, err := s.Vault.Key(ctx, list[0].BuyerID)
	if err != nil {
		return nil, err
	}
	if out.Gift, err = list[0].note(key); err != nil {
		return nil, fmt.Errorf("note of gift %s: %w", list[0].LineID, err)
	}
	return out, nil
}

func (g gift) redeemed() *commercepb.RedeemedGift {
	return &commercepb.RedeemedGift{CourseId: g.CourseID, Title: g.Title, RedeemedAt: stamp(g.RedeemedAt)}
}
