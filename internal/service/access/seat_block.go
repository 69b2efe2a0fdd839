package access

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// anyNumber of seats of a block can be taken back.
const anyNumber = -1

// seatBlock is seats of a course that its holder gives out. Whoever changes a
// seat of it, or the invitation that offers one, locks its row before.
type seatBlock struct {
	ID                string
	CourseID          string
	HolderID          string
	SourceID          string
	Seats             int32
	Taken             int32
	Offered           int32
	StartsAt          time.Time
	EndsAt            *time.Time
	ReassignAfterDays int32
	MaxReassignments  int32
	Reassignments     int32
	Revision          int64
	CreatedBy         string
	CreatedAt         time.Time
	RevokedAt         *time.Time
	RevokeReason      *string
}

const seatBlockColumns = `id, course_id, holder_id, source_id, seats, taken, offered, starts_at, ends_at, reassign_after_days,
	max_reassignments, reassignments, revision, created_by, created_at, revoked_at, revoke_reason`

// seatBlocks returns the blocks of a condition.
func seatBlocks(ctx context.Context, q pg.Querier, where string, args ...any) ([]seatBlock, error) {
	rows, err := q.Query(ctx, `SELECT `+seatBlockColumns+` FROM seat_block WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("blocks of seats: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[seatBlock])
	if err != nil {
		return nil, fmt.Errorf("blocks of seats: %w", err)
	}
	return list, nil
}

// lockSeatBlock returns the one block of a condition, locked.
func lockSeatBlock(ctx context.Context, tx *pg.Tx, where string, args ...any) (seatBlock, error) {
	list, err := seatBlocks(ctx, tx, where+` FOR UPDATE`, args...)
	if err != nil {
		return seatBlock{}, err
	}
	if len(list) == 0 {
		return seatBlock{}, ErrSeatBlockNotFound
	}
	return list[0], nil
}

// state follows from the times; it is not stored.
func (b seatBlock) state(now time.Time) string {
	switch {
	case b.RevokedAt != nil:
		return "revoked"
	case b.EndsAt != nil && !b.EndsAt.After(now):
		return "ended"
	case b.StartsAt.After(now):
		return "scheduled"
	default:
		return "live"
	}
}

// over reports whether the block has no seats to give any more.
func (b seatBlock) over(now time.Time) bool {
	state := b.state(now)
	return state == "revoked" || state == "ended"
}

func (b seatBlock) message(now time.Time) *accesspb.SeatBlock {
	out := &accesspb.SeatBlock{
		Id: b.ID, CourseId: b.CourseID, HolderId: b.HolderID, Seats: b.Seats, Taken: b.Taken, Offered: b.Offered,
		StartsAt: timestamppb.New(b.StartsAt), EndsAt: timestampOf(b.EndsAt), ReassignAfterDays: b.ReassignAfterDays,
		MaxReassignments: b.MaxReassignments, Reassignments: b.Reassignments, SourceId: b.SourceID, State: b.state(now),
		CreatedAt: timestamppb.New(b.CreatedAt), RevokedAt: timestampOf(b.RevokedAt), Etag: etag(b.Revision),
	}
	if b.RevokeReason != nil {
		out.RevokeReason = *b.RevokeReason
	}
	return out
}

// entry is the block as the audit log has it.
func (b seatBlock) entry() map[string]any {
	return map[string]any{
		"seats": b.Seats, "taken": b.Taken, "offered": b.Offered, "starts_at": b.StartsAt, "ends_at": b.EndsAt, "source_id": b.SourceID,
		"reassign_after_days": b.ReassignAfterDays, "max_reassignments": b.MaxReassignments, "reassignments": b.Reassignments, "revoked_at": b.RevokedAt,
	}
}

// newSeatBlock returns a block to make; field is where its end was asked for.
func (s *Service) newSeatBlock(ctx context.Context, b seatBlock, starts, ends *time.Time, most *int32, field string) (seatBlock, error) {
	now := s.now()
	b.ID, b.CreatedBy, b.CreatedAt, b.Revision = id.New("block"), actor(ctx), now, 1
	b.StartsAt, b.EndsAt, b.MaxReassignments = now, ends, anyNumber
	if starts != nil {
		b.StartsAt = *starts
	}
	if most != nil {
		b.MaxReassignments = *most
	}
	if ends != nil && (!ends.After(b.StartsAt) || !ends.After(now)) {
		return seatBlock{}, invalid("seat_block.period", field, "The seats end after they begin, and not before now.")
	}
	return b, nil
}

// makeSeatBlocks writes the blocks that are not there yet, but none for what was given
// back.
func (s *Service) makeSeatBlocks(ctx context.Context, tx *pg.Tx, list []seatBlock) error {
	sold := make([]string, len(list))
	for i, b := range list {
		sold[i] = b.SourceID
	}
	gone, err := endedSources(ctx, tx, sold)
	if err != nil {
		return err
	}
	if len(gone) > 0 {
		tx.Exempt("what was given back gives nothing")
		list = slices.DeleteFunc(slices.Clone(list), func(b seatBlock) bool { return slices.Contains(gone, b.SourceID) })
	}
	var (
		ids, courses, holders, sources []string
		seats, after, most             []int32
		starts                         []time.Time
		ends                           []*time.Time
	)
	for _, b := range list {
		ids, courses, holders, sources = append(ids, b.ID), append(courses, b.CourseID), append(holders, b.HolderID), append(sources, b.SourceID)
		seats, after, most = append(seats, b.Seats), append(after, b.ReassignAfterDays), append(most, b.MaxReassignments)
		starts, ends = append(starts, b.StartsAt), append(ends, b.EndsAt)
	}
	rows, err := tx.Query(ctx, `
		INSERT INTO seat_block (id, course_id, holder_id, source_id, seats, reassign_after_days, max_reassignments, starts_at, ends_at, created_by, created_at)
		SELECT n.*, $10, $11 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::int[], $7::int[], $8::timestamptz[], $9::timestamptz[])
			AS n (id, course_id, holder_id, source_id, seats, reassign_after_days, max_reassignments, starts_at, ends_at)
		ORDER BY n.source_id, n.course_id
		ON CONFLICT DO NOTHING RETURNING `+seatBlockColumns,
		ids, courses, holders, sources, seats, after, most, starts, ends, actor(ctx), s.now())
	if err != nil {
		return fmt.Errorf("make blocks of seats: %w", err)
	}
	made, err := pgx.CollectRows(rows, pgx.RowToStructByName[seatBlock])
	if err != nil {
		return fmt.Errorf("make blocks of seats: %w", err)
	}
	entries := make([]audit.Entry, len(made))
	var events []proto.Message
	for i, b := range made {
		entries[i] = audit.Entry{Action: "seat_block.created", Object: b.ID, Course: b.CourseID, Person: b.HolderID, After: b.entry()}
		if b.SourceID != "" { // who sold them waits for it
			events = append(events, &accesspb.SeatBlockCreated{
				BlockId: b.ID, CourseId: b.CourseID, HolderId: b.HolderID, SourceId: b.SourceID, Seats: b.Seats,
			})
		}
	}
	return tell(ctx, tx, entries, events)
}

// changeSeatBlock writes the number of seats and the rules of a block, which is
// locked, and ends the seats that are too many.
func (s *Service) changeSeatBlock(ctx context.Context, tx *pg.Tx, was, b seatBlock) (seatBlock, error) {
	if was.over(s.now()) {
		return seatBlock{}, ErrSeatBlockEnded
	}
	if many := b.Taken + b.Offered - b.Seats; many > 0 {
		list, err := seats(ctx, tx, `
			block_id = $1 AND ended_at IS NULL ORDER BY state = '`+seatTaken+`', coalesce(taken_at, offered_at) DESC, id DESC LIMIT $2`, b.ID, many)
		if err != nil {
			return seatBlock{}, err
		}
		ended, err := s.endSeats(ctx, tx, b.CourseID, list, "the block has fewer seats")
		if err != nil {
			return seatBlock{}, err
		}
		b.Taken, b.Offered = b.Taken-ended.taken, b.Offered-ended.offered
	}
	b.Revision++
	if _, err := tx.Exec(ctx, `
		UPDATE seat_block SET seats = $2, reassign_after_days = $3, max_reassignments = $4, revision = $5 WHERE id = $1`,
		b.ID, b.Seats, b.ReassignAfterDays, b.MaxReassignments, b.Revision); err != nil {
		return seatBlock{}, fmt.Errorf("change block of seats: %w", err)
	}
	return b, audit.Record(ctx, tx, audit.Entry{
		Action: "seat_block.changed", Object: b.ID, Course: b.CourseID, Person: b.HolderID, Before: was.entry(), After: b.entry(),
	})
}

// revokeSeatBlocks ends blocks, which are locked, with all that their seats gave.
func (s *Service) revokeSeatBlocks(ctx context.Context, tx *pg.Tx, list []seatBlock, reason string) error {
	now := s.now()
	for i := range list { // nearly always one
		b := &list[i]
		was := *b
		open, err := seats(ctx, tx, `block_id = $1 AND ended_at IS NULL ORDER BY id`, b.ID)
		if err != nil {
			return err
		}
		ended, err := s.endSeats(ctx, tx, b.CourseID, open, reason)
		if err != nil {
			return err
		}
		b.Taken, b.Offered, b.RevokedAt, b.RevokeReason = b.Taken-ended.taken, b.Offered-ended.offered, &now, &reason
		if _, err := tx.Exec(ctx, `UPDATE seat_block SET revoked_at = $2, revoke_reason = $3 WHERE id = $1`, b.ID, now, reason); err != nil {
			return fmt.Errorf("revoke block of seats: %w", err)
		}
		err = audit.Record(ctx, tx, audit.Entry{
			Action: "seat_block.revoked", Object: b.ID, Course: b.CourseID, Person: b.HolderID, Reason: reason, Before: was.entry(), After: b.entry(),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// listSeatBlocks returns a page of the blocks whose column is value, newest
// first, and the cursor of the next.
func (s *Service) listSeatBlocks(ctx context.Context, column, value string, size int32, cursor string) ([]*accesspb.SeatBlock, string, error) {
	before, beforeID, err := after(cursor, "block")
	if err != nil {
		return nil, "", err
	}
	limit := page.Size(size)
	list, err := seatBlocks(ctx, s.db, column+` = $1 AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $4`,
		value, before, beforeID, limit+1)
	if err != nil {
		return nil, "", err
	}
	var next string
	if len(list) > limit {
		list = list[:limit]
		next = page.TimeCursor(list[limit-1].CreatedAt, list[limit-1].ID)
	}
	var out []*accesspb.SeatBlock
	for _, b := range list {
		out = append(out, b.message(s.now()))
	}
	return out, next, nil
}

// ListMySeatBlocks implements accesspb.SeatServiceServer.
func (s *Service) ListMySeatBlocks(ctx context.Context, req *accesspb.ListMySeatBlocksRequest) (*accesspb.ListMySeatBlocksResponse, error) {
	items, next, err := s.listSeatBlocks(ctx, "holder_id", auth.From(ctx).Account, req.GetPageSize(), req.GetCursor())
	return &accesspb.ListMySeatBlocksResponse{Items: items, NextCursor: next}, err
}

// ListSeatBlocks implements accesspb.SeatServiceServer.
func (s *Service) ListSeatBlocks(ctx context.Context, req *accesspb.ListSeatBlocksRequest) (*accesspb.ListSeatBlocksResponse, error) {
	items, next, err := s.listSeatBlocks(ctx, "course_id", req.GetCourseId(), req.GetPageSize(), req.GetCursor())
	return &accesspb.ListSeatBlocksResponse{Items: items, NextCursor: next}, err
}

// CreateSeatBlock implements accesspb.SeatServiceServer.
func (s *Service) CreateSeatBlock(ctx context.Context, req *accesspb.CreateSeatBlockRequest) (*accesspb.SeatBlock, error) {
	b, err := s.newSeatBlock(ctx, seatBlock{
		CourseID: req.GetCourseId(), HolderID: req.GetHolderId(), Seats: req.GetSeats(), ReassignAfterDays: req.GetReassignAfterDays(),
	}, moment(req.GetStartsAt()), moment(req.GetEndsAt()), req.MaxReassignments, "ends_at")
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.SeatBlock, error) {
		if err := checkPerson(ctx, tx, b.HolderID); err != nil {
			if fault.CodeOf(err) == "account.unknown" {
				err = invalid("account.unknown", "holder_id", "There is no such account. One that was made a moment ago is known in a moment.")
			}
			return nil, err
		}
		return b.message(s.now()), s.makeSeatBlocks(ctx, tx, []seatBlock{b})
	})
}

// UpdateSeatBlock implements accesspb.SeatServiceServer.
func (s *Service) UpdateSeatBlock(ctx context.Context, req *accesspb.UpdateSeatBlockRequest) (*accesspb.SeatBlock, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.SeatBlock, error) {
		was, err := lockSeatBlock(ctx, tx, `id = $1 AND course_id = $2`, req.GetBlockId(), req.GetCourseId())
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, etag(was.Revision)); err != nil {
			return nil, err
		}
		b := was
		for _, one := range []struct{ from, to *int32 }{
			{req.Seats, &b.Seats}, {req.ReassignAfterDays, &b.ReassignAfterDays}, {req.MaxReassignments, &b.MaxReassignments},
		} {
			if one.from != nil {
				*one.to = *one.from
			}
		}
		if b, err = s.changeSeatBlock(ctx, tx, was, b); err != nil {
			return nil, err
		}
		return b.message(s.now()), nil
	})
}

// RevokeSeatBlock implements accesspb.SeatServiceServer.
func (s *Service) RevokeSeatBlock(ctx context.Context, req *accesspb.RevokeSeatBlockRequest) (*accesspb.SeatBlock, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.SeatBlock, error) {
		b, err := lockSeatBlock(ctx, tx, `id = $1 AND course_id = $2`, req.GetBlockId(), req.GetCourseId())
		if err != nil {
			return nil, err
		}
		list := []seatBlock{b}
		if b.RevokedAt == nil {
			err = s.revokeSeatBlocks(ctx, tx, list, req.GetReason())
		}
		return list[0].message(s.now()), err
	})
}

// GrantSeatBlocks implements accesspb.SeatServiceServer.
func (s *Service) GrantSeatBlocks(ctx context.Context, req *accesspb.GrantSeatBlocksRequest) (*accesspb.GrantSeatBlocksResponse, error) {
	list := make([]seatBlock, len(req.GetGrants()))
	for i, g := range req.GetGrants() {
		var err error
		list[i], err = s.newSeatBlock(ctx, seatBlock{
			CourseID: g.GetCourseId(), HolderID: g.GetHolderId(), SourceID: g.GetSourceId(), Seats: g.GetSeats(), ReassignAfterDays: g.GetReassignAfterDays(),
		}, moment(g.GetStartsAt()), moment(g.GetEndsAt()), g.MaxReassignments, fmt.Sprintf("grants[%d].ends_at", i))
		if err != nil {
			return nil, err
		}
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.GrantSeatBlocksResponse, error) {
		return &accesspb.GrantSeatBlocksResponse{}, s.makeSeatBlocks(ctx, tx, list)
	})
}

// ChangeSeats implements accesspb.SeatServiceServer.
func (s *Service) ChangeSeats(ctx context.Context, req *accesspb.ChangeSeatsRequest) (*accesspb.SeatBlock, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.SeatBlock, error) {
		was, err := lockSeatBlock(ctx, tx, `source_id = $1 AND course_id = $2`, req.GetSourceId(), req.GetCourseId())
		if err != nil {
			return nil, err
		}
		b := was
		if b.Seats = req.GetSeats(); b.Seats == was.Seats {
			return b.message(s.now()), nil
		}
		if b, err = s.changeSeatBlock(ctx, tx, was, b); err != nil {
			return nil, err
		}
		return b.message(s.now()), nil
	})
}

// RevokeSeatBlocks implements accesspb.SeatServiceServer.
func (s *Service) RevokeSeatBlocks(ctx context.Context, req *accesspb.RevokeSeatBlocksRequest) (*accesspb.RevokeSeatBlocksResponse, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.RevokeSeatBlocksResponse, error) {
		list, err := seatBlocks(ctx, tx, `source_id = ANY($1) AND source_id <> '' AND revoked_at IS NULL ORDER BY id FOR UPDATE`, req.GetSourceIds())
		if err != nil {
			return nil, err
		}
		res := &accesspb.RevokeSeatBlocksResponse{Revoked: int32(len(list))} //nolint:gosec // at most some hundreds
		for _, b := range list {
			res.SourceIds = append(res.SourceIds, b.SourceID)
		}
		return res, s.revokeSeatBlocks(ctx, tx, list, req.GetReason())
	})
}

// ListSoldSeatBlocks implements accesspb.SeatServiceServer.
func (s *Service) ListSoldSeatBlocks(ctx context.Context, req *accesspb.ListSoldSeatBlocksRequest) (*accesspb.ListSoldSeatBlocksResponse, error) {
	rows, err := s.db.Query(ctx, `
		SELECT source_id, course_id, seats, revoked_at IS NOT NULL, ends_at FROM seat_block
		WHERE source_id <> '' AND (source_id, course_id) > ($1, $2) ORDER BY source_id, course_id LIMIT $3`,
		req.GetAfterSourceId(), req.GetAfterCourseId(), req.GetPageSize())
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*accesspb.SoldSeatBlock, error) {
		var ends *time.Time
		b := &accesspb.SoldSeatBlock{}
		err := row.Scan(&b.SourceId, &b.CourseId, &b.Seats, &b.Revoked, &ends)
		b.EndsAt = timestampOf(ends)
		return b, err
	})
	if err != nil {
		return nil, fmt.Errorf("blocks that were sold: %w", err)
	}
	return &accesspb.ListSoldSeatBlocksResponse{Blocks: list}, nil
}
