package access

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// offerFor is how long a course is offered to a new owner.
const offerFor = 7 * 24 * time.Hour

// The states of a transfer.
const (
	transferOffered  = "offered"
	transferAccepted = "accepted"
	transferDeclined = "declined"
	transferReplaced = "replaced"
)

// transfer is the offer of a course to a new owner.
type transfer struct {
	ID        string    `json:"-"`
	CourseID  string    `json:"-"`
	FromID    string    `json:"from_id"`
	ToID      string    `json:"to_id"`
	OfferedBy string    `json:"offered_by"`
	Reason    string    `json:"-"`
	State     string    `json:"state"`
	OfferedAt time.Time `json:"-"`
	ExpiresAt time.Time `json:"expires_at"`
}

const transferSQL = `SELECT id, course_id, from_id, to_id, offered_by, reason, state, offered_at, expires_at FROM transfer `

// mayTransfer refuses those who may not give a course away: it takes all that
// its new owner will have.
func (s *Service) mayTransfer(ctx context.Context, tx *pg.Tx, who auth.Principal, courseID string) error {
	h, err := s.heldBy(ctx, tx, who, courseID, "")
	if err != nil {
		return err
	}
	return h.covers(roleOwner, roles[roleOwner].permissions, forever)
}

// owners returns who owns a course without an end, the first first.
func owners(ctx context.Context, tx *pg.Tx, courseID string) ([]string, error) {
	rows, err := tx.Query(ctx, `
		SELECT account_id FROM role_grant WHERE course_id = $1 AND role = $2 AND item_id = '' AND expires_at IS NULL
		ORDER BY granted_at, id LIMIT 100`, courseID, roleOwner)
	if err != nil {
		return nil, fmt.Errorf("owners: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("owners: %w", err)
	}
	return list, nil
}

// offer offers a course in the name of who calls: the owner's own, or that of
// the first owner when the platform's staff does it.
func (s *Service) offer(ctx context.Context, tx *pg.Tx, courseID, toID, reason string) (transfer, error) {
	who := auth.From(ctx)
	if err := lockRoles(ctx, tx, courseID); err != nil {
		return transfer{}, err
	}
	if err := s.mayTransfer(ctx, tx, who, courseID); err != nil {
		return transfer{}, err
	}
	list, err := owners(ctx, tx, courseID)
	if err != nil {
		return transfer{}, err
	}
	if len(list) == 0 {
		return transfer{}, ErrNotFound
	}
	from := list[0]
	for _, owner := range list {
		switch owner {
		case toID:
			return transfer{}, ErrTransferToOwner
		case who.Account:
			from = owner
		}
	}
	now := s.now()
	t := transfer{
		ID: id.New("transfer"), CourseID: courseID, FromID: from, ToID: toID, OfferedBy: who.Account, Reason: reason,
		State: transferOffered, OfferedAt: now, ExpiresAt: now.Add(offerFor),
	}
	if _, err := tx.Exec(ctx, `UPDATE transfer SET state = $2 WHERE course_id = $1 AND state = $3`, courseID, transferReplaced, transferOffered); err != nil {
		return transfer{}, fmt.Errorf("replace offer: %w", err)
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO transfer (id, course_id, from_id, to_id, offered_by, reason, offered_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		t.ID, t.CourseID, t.FromID, t.ToID, t.OfferedBy, t.Reason, t.OfferedAt, t.ExpiresAt)
	if err != nil {
		return transfer{}, fmt.Errorf("offer: %w", err)
	}
	return t, audit.Record(ctx, tx, audit.Entry{Action: "transfer.offered", Object: t.ID, Course: courseID, Person: toID, Reason: reason, After: t})
}

// offered returns an offer to who calls that stands, locked with the roles of
// its course.
func (s *Service) offered(ctx context.Context, tx *pg.Tx, transferID string) (transfer, error) {
	const mine = `WHERE id = $1 AND to_id = $2 AND state = '` + transferOffered + `' AND expires_at > $3`
	who := auth.From(ctx).Account
	var courseID string
	err := tx.QueryRow(ctx, `SELECT course_id FROM transfer `+mine, transferID, who, s.now()).Scan(&courseID)
	if pg.NoRows(err) {
		return transfer{}, ErrTransferNotFound
	}
	if err != nil {
		return transfer{}, fmt.Errorf("transfer: %w", err)
	}
	if err := lockRoles(ctx, tx, courseID); err != nil {
		return transfer{}, err
	}
	rows, err := tx.Query(ctx, transferSQL+mine+` FOR UPDATE`, transferID, who, s.now())
	if err != nil {
		return transfer{}, fmt.Errorf("transfer: %w", err)
	}
	t, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[transfer])
	if pg.NoRows(err) {
		return transfer{}, ErrTransferNotFound
	}
	if err != nil {
		return transfer{}, fmt.Errorf("transfer: %w", err)
	}
	return t, nil
}

// accept makes who calls the owner of the course that they are offered, if who
// offered it could still do so.
func (s *Service) accept(ctx context.Context, tx *pg.Tx, transferID string) (transfer, error) {
	was, err := s.offered(ctx, tx, transferID)
	if err != nil {
		return transfer{}, err
	}
	t := was
	if err := s.mayTransfer(ctx, tx, auth.Principal{Account: t.OfferedBy}, t.CourseID); err != nil {
		return transfer{}, ErrTransferNotFound
	}
	tag, err := tx.Exec(ctx, `DELETE FROM role_grant WHERE account_id = $1 AND course_id = $2 AND role = $3 AND item_id = '' AND expires_at IS NULL`,
		t.FromID, t.CourseID, roleOwner)
	if err != nil {
		return transfer{}, fmt.Errorf("accept: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return transfer{}, ErrTransferNotFound
	}
	if err := tellRole(ctx, tx, givenRole{AccountID: t.FromID, CourseID: t.CourseID, Role: roleOwner}, false); err != nil {
		return transfer{}, err
	}
	now := s.now()
	for account, role := range map[string]string{t.ToID: roleOwner, t.FromID: roleCoTeacher} {
		_, err := giveRole(ctx, tx, givenRole{AccountID: account, CourseID: t.CourseID, Role: role, GrantedBy: t.OfferedBy, GrantedAt: now, Reason: t.Reason})
		if err != nil {
			return transfer{}, err
		}
	}
	t.State = transferAccepted
	var version int64
	err = tx.QueryRow(ctx, `
		UPDATE transfer SET state = $2, version = (SELECT coalesce(max(version), 0) + 1 FROM transfer WHERE course_id = $3)
		WHERE id = $1 RETURNING version`, t.ID, t.State, t.CourseID).Scan(&version)
	if err != nil {
		return transfer{}, fmt.Errorf("accept: %w", err)
	}
	if _, err := tx.Exec(ctx, `UPDATE course SET owner_id = $2 WHERE course_id = $1`, t.CourseID, t.ToID); err != nil {
		return transfer{}, fmt.Errorf("accept: %w", err)
	}
	err = audit.Record(ctx, tx, audit.Entry{Action: "course.transferred", Object: t.CourseID, Course: t.CourseID, Person: t.ToID, Reason: t.Reason, Before: was, After: t})
	if err != nil {
		return transfer{}, err
	}
	return t, bus.Publish(ctx, tx, &accesspb.CourseOwnerChanged{CourseId: t.CourseID, OwnerId: t.ToID, PreviousOwnerId: t.FromID, Version: version})
}

func (s *Service) decline(ctx context.Context, tx *pg.Tx, transferID string) (transfer, error) {
	was, err := s.offered(ctx, tx, transferID)
	if err != nil {
		return transfer{}, err
	}
	t := was
	t.State = transferDeclined
	if _, err := tx.Exec(ctx, `UPDATE transfer SET state = $2 WHERE id = $1`, t.ID, t.State); err != nil {
		return transfer{}, fmt.Errorf("decline: %w", err)
	}
	return t, audit.Record(ctx, tx, audit.Entry{Action: "transfer.declined", Object: t.ID, Course: t.CourseID, Person: t.ToID, Before: was, After: t})
}

// TransferCourse implements accesspb.RoleServiceServer.
func (s *Service) TransferCourse(ctx context.Context, req *accesspb.TransferCourseRequest) (*accesspb.Transfer, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Transfer, error) {
		t, err := s.offer(ctx, tx, req.GetCourseId(), req.GetAccountId(), req.GetReason())
		return toTransfer(t), err
	})
}

// AcceptTransfer implements accesspb.RoleServiceServer.
func (s *Service) AcceptTransfer(ctx context.Context, req *accesspb.AcceptTransferRequest) (*accesspb.Transfer, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Transfer, error) {
		t, err := s.accept(ctx, tx, req.GetTransferId())
		return toTransfer(t), err
	})
}

// DeclineTransfer implements accesspb.RoleServiceServer.
func (s *Service) DeclineTransfer(ctx context.Context, req *accesspb.DeclineTransferRequest) (*accesspb.Transfer, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Transfer, error) {
		t, err := s.decline(ctx, tx, req.GetTransferId())
		return toTransfer(t), err
	})
}

// ListMyTransfers implements accesspb.RoleServiceServer.
func (s *Service) ListMyTransfers(ctx context.Context, req *accesspb.ListMyTransfersRequest) (*accesspb.ListMyTransfersResponse, error) {
	before, beforeID, err := after(req.GetCursor(), "transfer")
	if err != nil {
		return nil, err
	}
	limit := page.Size(req.GetPageSize())
	rows, err := s.db.Query(ctx, transferSQL+`
		WHERE to_id = $1 AND state = '`+transferOffered+`' AND expires_at > $2 AND (offered_at, id) < ($3, $4)
		ORDER BY offered_at DESC, id DESC LIMIT $5`, auth.From(ctx).Account, s.now(), before, beforeID, limit+1)
	if err != nil {
		return nil, fmt.Errorf("transfers: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[transfer])
	if err != nil {
		return nil, fmt.Errorf("transfers: %w", err)
	}
	out := &accesspb.ListMyTransfersResponse{}
	if len(list) > limit {
		list = list[:limit]
		out.NextCursor = page.TimeCursor(list[limit-1].OfferedAt, list[limit-1].ID)
	}
	for _, t := range list {
		out.Items = append(out.Items, toTransfer(t))
	}
	return out, nil
}

func toTransfer(t transfer) *accesspb.Transfer {
	return &accesspb.Transfer{
		Id: t.ID, CourseId: t.CourseID, FromId: t.FromID, ToId: t.ToID, Reason: t.Reason, State: t.State,
		OfferedAt: timestamppb.New(t.OfferedAt), ExpiresAt: timestamppb.New(t.ExpiresAt),
	}
}
