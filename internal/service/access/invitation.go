package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// sourceCode is access by an invitation's code.
const sourceCode = "code"

// maxInvitations are the open ones of a course.
const maxInvitations = 500

// codePatience is how wrong codes of one account are borne.
var codePatience = cache.Patience{Free: 10, First: time.Minute, Most: time.Hour, Forget: time.Hour}

// codeLetters have no two that look alike; a code of codeLength of them is one of
// 10^23, which nobody guesses, so that a plain hash of it is kept.
const (
	codeLetters = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
	codeLength  = 16
	codeGroup   = 4
)

// newCode returns a code as people are shown it.
func newCode() string {
	var b strings.Builder
	raw := make([]byte, 1)
	for n := 0; n < codeLength; {
		_, _ = rand.Read(raw)   // it never fails
		if int(raw[0]) >= 240 { // a multiple of the letters, so that none is likelier
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

// codeHash is by what a code is known, however it was typed.
func codeHash(code string) []byte {
	plain := strings.Map(func(r rune) rune {
		if r == '-' || unicode.IsSpace(r) {
			return -1
		}
		return unicode.ToUpper(r)
	}, code)
	sum := sha256.Sum256([]byte("stoa invitation\n" + plain))
	return sum[:]
}

// invitation is a code that lets into a course, without the code.
type invitation struct {
	ID         string
	CourseID   string
	Note       string
	Uses       int32
	MaxUses    int32
	AccessDays int32
	ExpiresAt  *time.Time
	CreatedBy  string
	CreatedAt  time.Time
	RevokedAt  *time.Time
}

const invitationColumns = `id, course_id, note, uses, max_uses, access_days, expires_at, created_by, created_at, revoked_at`

// open reports whether the invitation lets anybody in.
func (i invitation) open(now time.Time) bool {
	return i.RevokedAt == nil && (i.ExpiresAt == nil || i.ExpiresAt.After(now)) && (i.MaxUses == 0 || i.Uses < i.MaxUses)
}

func (i invitation) message() *accesspb.Invitation {
	return &accesspb.Invitation{
		Id: i.ID, CourseId: i.CourseID, Note: i.Note, Uses: i.Uses, MaxUses: i.MaxUses, AccessDays: i.AccessDays,
		ExpiresAt: timestampOf(i.ExpiresAt), RevokedAt: timestampOf(i.RevokedAt), CreatedBy: i.CreatedBy, CreatedAt: timestamppb.New(i.CreatedAt),
	}
}

// CreateInvitation implements accesspb.InvitationServiceServer.
func (s *Service) CreateInvitation(ctx context.Context, req *accesspb.CreateInvitationRequest) (*accesspb.Invitation, error) {
	i := invitation{
		ID: id.New("invitation"), CourseID: req.GetCourseId(), Note: strings.TrimSpace(req.GetNote()), MaxUses: req.GetMaxUses(),
		AccessDays: req.GetAccessDays(), ExpiresAt: moment(req.GetExpiresAt()), CreatedBy: auth.From(ctx).Account, CreatedAt: s.now(),
	}
	if i.ExpiresAt != nil && !i.ExpiresAt.After(i.CreatedAt) {
		return nil, invalid("invitation.expired", "expires_at", "Name a time that is to come.")
	}
	code := newCode()
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		// Those who make them for one course take turns, so that each counts the others.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('stoa.invitation'), hashtext($1))`, i.CourseID); err != nil {
			return fmt.Errorf("take turns: %w", err)
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO invitation (id, course_id, code_hash, note, max_uses, access_days, expires_at, created_by, created_at)
			SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 WHERE (
				SELECT count(*) FROM invitation WHERE course_id = $2 AND revoked_at IS NULL
				AND (expires_at IS NULL OR expires_at > $9) AND (max_uses = 0 OR uses < max_uses)) < $10`,
			i.ID, i.CourseID, codeHash(code), i.Note, i.MaxUses, i.AccessDays, i.ExpiresAt, i.CreatedBy, i.CreatedAt, maxInvitations)
		if err != nil {
			return fmt.Errorf("insert invitation: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return ErrTooManyInvitations
		}
		return audit.Record(ctx, tx, audit.Entry{
			Action: "invitation.created", Object: i.ID, Course: i.CourseID,
			After: map[string]any{"max_uses": i.MaxUses, "access_days": i.AccessDays, "expires_at": i.ExpiresAt},
		})
	})
	if err != nil {
		return nil, err
	}
	out := i.message()
	out.Code = code
	return out, nil
}

// ListInvitations implements accesspb.InvitationServiceServer.
func (s *Service) ListInvitations(ctx context.Context, req *accesspb.ListInvitationsRequest) (*accesspb.ListInvitationsResponse, error) {
	before, beforeID, err := after(req.GetCursor(), "invitation")
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := s.db.Query(ctx, `
		SELECT `+invitationColumns+` FROM invitation WHERE course_id = $1 AND (created_at, id) < ($2, $3)
		ORDER BY created_at DESC, id DESC LIMIT $4`, req.GetCourseId(), before, beforeID, size+1)
	if err != nil {
		return nil, fmt.Errorf("invitations: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[invitation])
	if err != nil {
		return nil, fmt.Errorf("invitations: %w", err)
	}
	out := &accesspb.ListInvitationsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.TimeCursor(list[size-1].CreatedAt, list[size-1].ID)
	}
	for _, i := range list {
		out.Items = append(out.Items, i.message())
	}
	return out, nil
}

// DeleteInvitation implements accesspb.InvitationServiceServer.
func (s *Service) DeleteInvitation(ctx context.Context, req *accesspb.DeleteInvitationRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		tag, err := tx.Exec(ctx, `UPDATE invitation SET revoked_at = coalesce(revoked_at, $3) WHERE id = $1 AND course_id = $2`,
			req.GetInvitationId(), req.GetCourseId(), s.now())
		if err != nil {
			return nil, fmt.Errorf("revoke invitation: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil, ErrInvitationNotFound
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{Action: "invitation.revoked", Object: req.GetInvitationId(), Course: req.GetCourseId()})
	})
}

// AcceptInvitation implements accesspb.InvitationServiceServer.
func (s *Service) AcceptInvitation(ctx context.Context, req *accesspb.AcceptInvitationRequest) (*accesspb.Entitlement, error) {
	account := auth.From(ctx).Account
	key := "invitation:" + account
	wait, err := s.attempts.Wait(ctx, key)
	if err != nil {
		return nil, err
	}
	if wait > 0 {
		return nil, &fault.Error{
			Kind: fault.Exhausted, Code: "invitation.rate", Retry: wait,
			Message: "Too many codes that are none. Come back when Retry-After says.",
		}
	}
	out, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Entitlement, error) {
		e, err := s.useCode(ctx, tx, account, req.GetCode())
		if err != nil {
			return nil, err
		}
		e.Reason, e.GrantedBy = "", ""
		return e.message(s.now()), nil
	})
	if errors.Is(err, errInvitation) {
		if _, failErr := s.attempts.Fail(ctx, key, codePatience); failErr != nil {
			return nil, failErr
		}
	}
	return out, err
}

// useCode gives the account access by a code, once.
func (s *Service) useCode(ctx context.Context, tx *pg.Tx, account, code string) (entitlement, error) {
	// The row is locked: of a hundred who take the last use one gets it.
	rows, err := tx.Query(ctx, `SELECT `+invitationColumns+` FROM invitation WHERE code_hash = $1 FOR UPDATE`, codeHash(code))
	if err != nil {
		return entitlement{}, fmt.Errorf("invitation: %w", err)
	}
	i, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[invitation])
	if pg.NoRows(err) {
		return s.useMailedCode(ctx, tx, account, code)
	}
	if err != nil {
		return entitlement{}, fmt.Errorf("invitation: %w", err)
	}
	sourceID := i.ID + "/" + account
	rows, err = tx.Query(ctx, `SELECT `+entitlementColumns+` FROM entitlement WHERE source = $1 AND source_id = $2`, sourceCode, sourceID)
	if err != nil {
		return entitlement{}, fmt.Errorf("entitlement of a code: %w", err)
	}
	e, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[entitlement])
	if err == nil || !pg.NoRows(err) {
		return e, err // used by the same person before
	}
	now := s.now()
	if !i.open(now) {
		return entitlement{}, errInvitation
	}
	if err := s.refuseStaff(ctx, tx, i.CourseID, account); err != nil {
		return entitlement{}, err
	}
	if _, err := tx.Exec(ctx, `UPDATE invitation SET uses = uses + 1 WHERE id = $1`, i.ID); err != nil {
		return entitlement{}, fmt.Errorf("use invitation: %w", err)
	}
	e = entitlement{AccountID: account, CourseID: i.CourseID, Source: sourceCode, SourceID: sourceID, StartsAt: now}
	if i.AccessDays > 0 {
		ends := now.Add(time.Duration(i.AccessDays) * 24 * time.Hour)
		e.EndsAt = &ends
	}
	granted, err := s.grant(ctx, tx, []entitlement{e})
	if err != nil {
		return entitlement{}, err
	}
	return granted[0], nil
}

// useMailedCode gives the account access by the code of a mail, once.
func (s *Service) useMailedCode(ctx context.Context, tx *pg.Tx, account, code string) (entitlement, error) {
	i, err := s.lockInvitation(ctx, tx, `code_hash = $1`, codeHash(code))
	if errors.Is(err, ErrEmailInvitationNotFound) {
		return entitlement{}, errInvitation
	}
	if err != nil {
		return entitlement{}, err
	}
	return s.acceptInvitation(ctx, tx, account, i)
}
