package access

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/email"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// sourceSeat is access by a seat.
const sourceSeat = "seat"

// The states of a seat that was given out.
const (
	seatOffered   = "offered"
	seatTaken     = "taken"
	seatWithdrawn = "withdrawn" // nobody had come
	seatReleased  = "released"  // taken back from somebody
)

// seat is one of a block, from when it was given out until it is free again.
type seat struct {
	ID         string
	BlockID    string
	EmailIndex []byte
	Address    []byte // sealed
	AccountID  *string
	State      string
	OfferedAt  time.Time
	ExpiresAt  *time.Time
	TakenAt    *time.Time
	EndedAt    *time.Time
}

const seatColumns = `id, block_id, email_index, address, account_id, state, offered_at, expires_at, taken_at, ended_at`

// seats returns the seats of a condition.
func seats(ctx context.Context, q pg.Querier, where string, args ...any) ([]seat, error) {
	rows, err := q.Query(ctx, `SELECT `+seatColumns+` FROM seat WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("seats: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[seat])
	if err != nil {
		return nil, fmt.Errorf("seats: %w", err)
	}
	return list, nil
}

// first returns the first seat of a list, if there is one.
func first(list []seat) seat {
	if len(list) == 0 {
		return seat{}
	}
	return list[0]
}

// entry is the seat as the audit log has it.
func (s seat) entry() map[string]any {
	return map[string]any{"block_id": s.BlockID, "state": s.State, "expires_at": s.ExpiresAt, "taken_at": s.TakenAt, "ended_at": s.EndedAt}
}

// message is the seat without what is personal. One whose invitation is past its
// end is withdrawn before anybody has noted it.
func (s seat) message(now time.Time) *accesspb.Seat {
	if s.State == seatOffered && s.ExpiresAt != nil && !s.ExpiresAt.After(now) {
		s.State, s.EndedAt = seatWithdrawn, s.ExpiresAt
	}
	return &accesspb.Seat{
		Id: s.ID, BlockId: s.BlockID, State: s.State, OfferedAt: timestamppb.New(s.OfferedAt), ExpiresAt: timestampOf(s.ExpiresAt),
		TakenAt: timestampOf(s.TakenAt), EndedAt: timestampOf(s.EndedAt),
	}
}

// insertSeat writes a seat that is given out of a block, which is locked.
func (s *Service) insertSeat(ctx context.Context, tx *pg.Tx, b seatBlock, one seat) error {
	if b.Taken+b.Offered >= b.Seats {
		return ErrNoSeat
	}
	forget := b.EndsAt
	if forget != nil {
		at := forget.Add(keepInvites)
		forget = &at
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO seat (id, block_id, email_index, address, account_id, state, offered_at, expires_at, taken_at, forget_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		one.ID, one.BlockID, one.EmailIndex, one.Address, one.AccountID, one.State, one.OfferedAt, one.ExpiresAt, one.TakenAt, forget); err != nil {
		return fmt.Errorf("insert seat: %w", err)
	}
	column := `offered = offered + 1`
	if one.State == seatTaken {
		column = `taken = taken + 1`
	}
	if _, err := tx.Exec(ctx, `UPDATE seat_block SET `+column+` WHERE id = $1`, b.ID); err != nil {
		return fmt.Errorf("count seat: %w", err)
	}
	return nil
}

// offerSeat offers a seat of a block, which is locked, to an address.
func (s *Service) offerSeat(ctx context.Context, tx *pg.Tx, b seatBlock, address string, terms inviteTerms) (seat, error) {
	index := email.Index(s.vault.Keys(), Schema.Name, address)
	if held, err := seats(ctx, tx, `block_id = $1 AND email_index = $2 AND ended_at IS NULL`, b.ID, index); err != nil || len(held) > 0 {
		return first(held), err
	}
	one := seat{ID: id.New("seat"), BlockID: b.ID, EmailIndex: index, State: seatOffered, OfferedAt: s.now(), ExpiresAt: &terms.expiresAt}
	key, err := s.vault.KeyIn(ctx, tx, one.ID)
	if err != nil {
		return seat{}, err
	}
	one.Address = key.Seal(addressField, []byte(address))
	if err := s.insertSeat(ctx, tx, b, one); err != nil {
		return seat{}, err
	}
	terms.seat = one.ID
	if _, err := s.invite(ctx, tx, b.CourseID, []emailInvite{{address: address}}, terms); err != nil {
		return seat{}, err
	}
	return one, audit.Record(ctx, tx, audit.Entry{Action: "seat.offered", Object: one.ID, Course: b.CourseID, After: one.entry()})
}

// takeSeat gives the account that holds a block, which is locked, a seat of it.
func (s *Service) takeSeat(ctx context.Context, tx *pg.Tx, b seatBlock) (seat, error) {
	if held, err := seats(ctx, tx, `block_id = $1 AND account_id = $2 AND ended_at IS NULL`, b.ID, b.HolderID); err != nil || len(held) > 0 {
		return first(held), err
	}
	if err := s.refuseStaff(ctx, tx, b.CourseID, b.HolderID); err != nil {
		return seat{}, err
	}
	now := s.now()
	one := seat{ID: id.New("seat"), BlockID: b.ID, AccountID: &b.HolderID, State: seatTaken, OfferedAt: now, TakenAt: &now}
	if err := s.insertSeat(ctx, tx, b, one); err != nil {
		return seat{}, err
	}
	_, err := s.seatAccess(ctx, tx, b, one)
	return one, err
}

// fillSeat gives the account the seat that an invitation offers, of a block that
// is locked.
func (s *Service) fillSeat(ctx context.Context, tx *pg.Tx, seatID, account string) (entitlement, error) {
	list, err := seats(ctx, tx, `id = $1`, seatID)
	if err != nil {
		return entitlement{}, err
	}
	if len(list) == 0 || list[0].State != seatOffered {
		return entitlement{}, errInvitation
	}
	one := list[0]
	b, err := lockSeatBlock(ctx, tx, `id = $1`, one.BlockID)
	if err != nil {
		return entitlement{}, err
	}
	now := s.now()
	if b.over(now) {
		return entitlement{}, errInvitation
	}
	one.State, one.AccountID, one.TakenAt = seatTaken, &account, &now
	_, err = tx.Exec(ctx, `UPDATE seat SET state = $2, account_id = $3, taken_at = $4 WHERE id = $1`, one.ID, one.State, account, now)
	if pg.Violates(err, "seat_account") {
		return entitlement{}, ErrSeatHeld
	}
	if err != nil {
		return entitlement{}, fmt.Errorf("fill seat: %w", err)
	}
	if _, err := tx.Exec(ctx, `UPDATE seat_block SET offered = offered - 1, taken = taken + 1 WHERE id = $1`, b.ID); err != nil {
		return entitlement{}, fmt.Errorf("count seat: %w", err)
	}
	return s.seatAccess(ctx, tx, b, one)
}

// seatAccess gives who has taken a seat access within the period of the block.
func (s *Service) seatAccess(ctx context.Context, tx *pg.Tx, b seatBlock, one seat) (entitlement, error) {
	starts := s.now()
	if b.StartsAt.After(starts) {
		starts = b.StartsAt
	}
	granted, err := s.grant(ctx, tx, []entitlement{{
		AccountID: *one.AccountID, CourseID: b.CourseID, Source: sourceSeat, SourceID: one.ID, StartsAt: starts, EndsAt: b.EndsAt,
	}})
	if err != nil {
		return entitlement{}, err
	}
	return granted[0], audit.Record(ctx, tx, audit.Entry{Action: "seat.taken", Object: one.ID, Course: b.CourseID, Person: *one.AccountID, After: one.entry()})
}

// releaseSeat takes back a seat of a block, which is locked.
func (s *Service) releaseSeat(ctx context.Context, tx *pg.Tx, b seatBlock, seatID string) (seat, error) {
	list, err := seats(ctx, tx, `id = $1 AND block_id = $2`, seatID, b.ID)
	if err != nil {
		return seat{}, err
	}
	if len(list) == 0 {
		return seat{}, ErrSeatNotFound
	}
	now := s.now()
	one := list[0]
	switch {
	case one.EndedAt != nil:
		return one, nil
	case b.over(now):
		return seat{}, ErrSeatBlockEnded
	case one.State == seatTaken:
		if until := one.TakenAt.Add(time.Duration(b.ReassignAfterDays) * 24 * time.Hour); until.After(now) {
			return seat{}, fault.New(fault.Conflict, "seat.held_until", "This seat can be taken back from %s on.", until.Format(time.RFC3339))
		}
		if b.MaxReassignments != anyNumber && b.Reassignments >= b.MaxReassignments {
			return seat{}, ErrSeatReassignments
		}
		if _, err := tx.Exec(ctx, `UPDATE seat_block SET reassignments = reassignments + 1 WHERE id = $1`, b.ID); err != nil {
			return seat{}, fmt.Errorf("count reassignment: %w", err)
		}
	}
	ended, err := s.endSeats(ctx, tx, b.CourseID, list, "the seat was taken back")
	if err != nil {
		return seat{}, err
	}
	return ended.seats[0], nil
}

// endedSeats are seats that have ended together, and how many of them were
// offered and taken.
type endedSeats struct {
	seats          []seat
	offered, taken int32
}

// endSeats ends seats of one block, which is locked: offered ones with their
// invitations, taken ones with the access that they gave.
func (s *Service) endSeats(ctx context.Context, tx *pg.Tx, courseID string, list []seat, reason string) (endedSeats, error) {
	var out endedSeats
	var offered, taken []string
	for _, one := range list {
		if one.State == seatTaken {
			taken = append(taken, one.ID)
		} else {
			offered = append(offered, one.ID)
		}
	}
	if len(offered) > 0 {
		revoked, err := emailInvitations(ctx, tx, `
			UPDATE email_invitation SET state = '`+inviteRevoked+`', ended_at = $2 WHERE seat_id = ANY($1) AND state = '`+inviteOpen+`'
			RETURNING `+emailInvitationColumns, offered, s.now())
		if err != nil {
			return out, err
		}
		entries := make([]audit.Entry, len(revoked))
		for i, one := range revoked {
			entries[i] = audit.Entry{Action: "email_invitation.revoked", Object: one.ID, Course: courseID, Reason: reason, After: one.entry()}
		}
		if err := audit.Record(ctx, tx, entries...); err != nil {
			return out, err
		}
	}
	if len(taken) > 0 {
		if _, err := s.revoke(ctx, tx, reason, `source = $4 AND source_id = ANY($5)`, sourceSeat, taken); err != nil {
			return out, err
		}
	}
	return s.freeSeats(ctx, tx, courseID, append(offered, taken...))
}

// freeSeats has seats that are offered or taken, and whose block is locked, be
// free again.
func (s *Service) freeSeats(ctx context.Context, tx *pg.Tx, courseID string, ids []string) (endedSeats, error) {
	var out endedSeats
	now := s.now()
	rows, err := tx.Query(ctx, `
		UPDATE seat SET state = CASE state WHEN '`+seatTaken+`' THEN '`+seatReleased+`' ELSE '`+seatWithdrawn+`' END,
			ended_at = $2, forget_at = least(forget_at, $3)
		WHERE id = ANY($1) AND ended_at IS NULL RETURNING `+seatColumns, ids, now, now.Add(keepInvites))
	if err != nil {
		return out, fmt.Errorf("free seats: %w", err)
	}
	if out.seats, err = pgx.CollectRows(rows, pgx.RowToStructByName[seat]); err != nil {
		return out, fmt.Errorf("free seats: %w", err)
	}
	entries, blocks, states := make([]audit.Entry, len(out.seats)), make([]string, len(out.seats)), make([]string, len(out.seats))
	for i, one := range out.seats {
		blocks[i], states[i] = one.BlockID, one.State
		if one.State == seatReleased {
			out.taken++
			entries[i] = audit.Entry{Action: "seat.released", Object: one.ID, Course: courseID, Person: *one.AccountID, After: one.entry()}
		} else {
			out.offered++
			entries[i] = audit.Entry{Action: "seat.withdrawn", Object: one.ID, Course: courseID, After: one.entry()}
		}
	}
	if _, err := tx.Exec(ctx, `
		UPDATE seat_block b SET taken = b.taken - n.taken, offered = b.offered - n.offered FROM (
			SELECT block_id, count(*) FILTER (WHERE state = '`+seatReleased+`') AS taken, count(*) FILTER (WHERE state = '`+seatWithdrawn+`') AS offered
			FROM unnest($1::text[], $2::text[]) AS n (block_id, state) GROUP BY block_id) AS n
		WHERE b.id = n.block_id`, blocks, states); err != nil {
		return out, fmt.Errorf("count seats: %w", err)
	}
	return out, audit.Record(ctx, tx, entries...)
}

// expireSeats frees the seats of one block that were offered until now, and
// returns how many there were.
func (s *Service) expireSeats(ctx context.Context, tx *pg.Tx) (int64, error) {
	// The block first, as everybody has it; one that somebody has is for the next time.
	list, err := seatBlocks(ctx, tx, `id IN (
		SELECT s.block_id FROM email_invitation i JOIN seat s ON s.id = i.seat_id
		WHERE i.state = '`+inviteOpen+`' AND i.expires_at <= $1 AND i.seat_id <> '' ORDER BY i.expires_at LIMIT 1) FOR UPDATE SKIP LOCKED`, s.now())
	if err != nil || len(list) == 0 {
		return 0, err
	}
	ended, err := s.expireSeatsOf(ctx, tx, list[0])
	return int64(ended.offered), err
}

// expireSeatsOf frees the seats of a block, which is locked, that were offered
// until now.
func (s *Service) expireSeatsOf(ctx context.Context, tx *pg.Tx, b seatBlock) (endedSeats, error) {
	rows, err := tx.Query(ctx, `
		UPDATE email_invitation SET state = '`+inviteExpired+`', ended_at = expires_at
		WHERE seat_id IN (SELECT id FROM seat WHERE block_id = $1 AND state = '`+seatOffered+`') AND state = '`+inviteOpen+`' AND expires_at <= $2
		RETURNING seat_id`, b.ID, s.now())
	if err != nil {
		return endedSeats{}, fmt.Errorf("expire seats: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(ids) == 0 {
		return endedSeats{}, err
	}
	return s.freeSeats(ctx, tx, b.CourseID, ids)
}

// sweepSeats deletes seats that ended long ago, or whose block did, with their keys.
func (s *Service) sweepSeats(ctx context.Context, tx *pg.Tx) (int64, error) {
	rows, err := tx.Query(ctx, `
		DELETE FROM seat WHERE id IN (SELECT id FROM seat WHERE forget_at <= $1 ORDER BY forget_at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id`,
		s.now(), dueBatch)
	if err != nil {
		return 0, fmt.Errorf("delete seats: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, fmt.Errorf("delete seats: %w", err)
	}
	return int64(len(ids)), s.vault.Erase(ctx, tx, ids...)
}

// shown returns seats as their holder sees them: with the addresses that they
// were offered to and the names of who took them.
func (s *Service) shown(ctx context.Context, list []seat) ([]*accesspb.Seat, error) {
	ids, accounts := make([]string, len(list)), []string{}
	for i, one := range list {
		ids[i] = one.ID
		if one.AccountID != nil {
			accounts = append(accounts, *one.AccountID)
		}
	}
	keys, err := s.vault.KeysOf(ctx, ids...)
	if err != nil {
		return nil, err
	}
	names, err := namesOf(ctx, s.db, accounts)
	if err != nil {
		return nil, err
	}
	out := make([]*accesspb.Seat, len(list))
	for i, one := range list {
		out[i] = one.message(s.now())
		if one.AccountID != nil {
			out[i].AccountName = names[*one.AccountID]
		}
		if key := keys[one.ID]; key != nil && one.Address != nil {
			plain, err := key.Unseal(addressField, one.Address)
			if err != nil && !errors.Is(err, secret.ErrUnreadable) {
				return nil, err
			}
			out[i].Address = string(plain)
		}
	}
	return out, nil
}

// ListMySeats implements accesspb.SeatServiceServer.
func (s *Service) ListMySeats(ctx context.Context, req *accesspb.ListMySeatsRequest) (*accesspb.ListMySeatsResponse, error) {
	before, beforeID, err := after(req.GetCursor(), "seat")
	if err != nil {
		return nil, err
	}
	if held, err := seatBlocks(ctx, s.db, `id = $1 AND holder_id = $2`, req.GetBlockId(), auth.From(ctx).Account); err != nil || len(held) == 0 {
		return nil, cmp.Or(err, error(ErrSeatBlockNotFound))
	}
	limit := page.Size(req.GetPageSize())
	list, err := seats(ctx, s.db, `block_id = $1 AND (offered_at, id) < ($2, $3) ORDER BY offered_at DESC, id DESC LIMIT $4`,
		req.GetBlockId(), before, beforeID, limit+1)
	if err != nil {
		return nil, err
	}
	out := &accesspb.ListMySeatsResponse{}
	if len(list) > limit {
		list = list[:limit]
		out.NextCursor = page.TimeCursor(list[limit-1].OfferedAt, list[limit-1].ID)
	}
	out.Items, err = s.shown(ctx, list)
	return out, err
}

// AssignSeat implements accesspb.SeatServiceServer.
func (s *Service) AssignSeat(ctx context.Context, req *accesspb.AssignSeatRequest) (*accesspb.Seat, error) {
	account := auth.From(ctx).Account
	if req.GetMyself() == (req.GetAddress() != "") {
		return nil, invalid("seat.for_whom", "address", "Name an address, or say myself.")
	}
	address := email.Normal(req.GetAddress())
	if !req.GetMyself() && !email.Valid(address) {
		return nil, invalid("email.invalid", "address", "An address looks like name@example.org.")
	}
	locale, err := inviteLocale(req.GetLocale())
	if err != nil {
		return nil, err
	}
	ends, err := s.inviteEnd(moment(req.GetExpiresAt()))
	if err != nil {
		return nil, err
	}
	terms := inviteTerms{message: strings.TrimSpace(req.GetMessage()), locale: locale, mail: true, by: account}
	// What is kept of the request must not let anybody guess the address.
	known := proto.CloneOf(req)
	known.Address = hex.EncodeToString(email.Index(s.vault.Keys(), Schema.Name, address))
	return s.showing(ctx, known, func(tx *pg.Tx) (seat, error) {
		b, err := lockSeatBlock(ctx, tx, `id = $1 AND holder_id = $2`, req.GetBlockId(), account)
		switch {
		case err != nil:
			return seat{}, err
		case b.over(s.now()):
			return seat{}, ErrSeatBlockEnded
		}
		ended, err := s.expireSeatsOf(ctx, tx, b)
		if err != nil {
			return seat{}, err
		}
		b.Offered -= ended.offered
		if req.GetMyself() {
			return s.takeSeat(ctx, tx, b)
		}
		terms.expiresAt = ends
		if b.EndsAt != nil && b.EndsAt.Before(ends) {
			terms.expiresAt = *b.EndsAt
		}
		return s.offerSeat(ctx, tx, b, address, terms)
	})
}

// ReleaseSeat implements accesspb.SeatServiceServer.
func (s *Service) ReleaseSeat(ctx context.Context, req *accesspb.ReleaseSeatRequest) (*accesspb.Seat, error) {
	return s.showing(ctx, req, func(tx *pg.Tx) (seat, error) {
		b, err := lockSeatBlock(ctx, tx, `id = $1 AND holder_id = $2`, req.GetBlockId(), auth.From(ctx).Account)
		if err != nil {
			return seat{}, err
		}
		return s.releaseSeat(ctx, tx, b, req.GetSeatId())
	})
}

// showing does a write whose answer is a seat. What is kept of the answer has
// nothing personal, which is filled in afterwards.
func (s *Service) showing(ctx context.Context, req proto.Message, write func(tx *pg.Tx) (seat, error)) (*accesspb.Seat, error) {
	out, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Seat, error) {
		one, err := write(tx)
		return one.message(s.now()), err
	})
	if err != nil {
		return nil, err
	}
	list, err := seats(ctx, s.db, `id = $1`, out.GetId())
	if err != nil {
		return nil, err
	}
	now, err := s.shown(ctx, list)
	if err != nil || len(now) == 0 {
		return out, err
	}
	out.Address, out.AccountName = now[0].GetAddress(), now[0].GetAccountName()
	return out, nil
}
