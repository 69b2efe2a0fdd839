package access

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// errPeriod is told for an end that is not behind the start.
var errPeriod = invalid("entitlement.period", "ends_at", "Access ends after it begins.")

// errAccountUnknown is told for an account that nobody has.
var errAccountUnknown = invalid("account.unknown", "account_id", "There is no such account. One that was made a moment ago is known in a moment.")

// invalid is a field that is not accepted, with a code of its own.
func invalid(code, field, hint string) error {
	return &fault.Error{Kind: fault.Invalid, Code: code, Message: hint, Fields: []fault.Field{{Path: field, Code: code, Hint: hint}}}
}

// moment returns a time of a request as the database keeps it, nil for none.
func moment(t *timestamppb.Timestamp) *time.Time {
	if t == nil || !t.IsValid() {
		return nil
	}
	at := t.AsTime().Truncate(time.Microsecond)
	return &at
}

// timestampOf returns a time as a message has it, nil for none.
func timestampOf(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}

// after returns where a page by time and id begins.
func after(cursor, kind string) (time.Time, string, error) {
	at, atID, err := page.After(cursor)
	if err == nil && atID != "" && !id.Valid(kind, atID) {
		err = page.ErrCursor
	}
	return at, atID, err
}

// checkPerson refuses an account that nobody has.
func checkPerson(ctx context.Context, q pg.Querier, accountID string) error {
	var known bool
	if err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM person WHERE account_id = $1)`, accountID).Scan(&known); err != nil {
		return fmt.Errorf("person: %w", err)
	}
	if !known {
		return errAccountUnknown
	}
	return nil
}

// CreateEntitlement implements accesspb.EntitlementServiceServer.
func (s *Service) CreateEntitlement(ctx context.Context, req *accesspb.CreateEntitlementRequest) (*accesspb.Entitlement, error) {
	e := entitlement{
		AccountID: req.GetAccountId(), CourseID: req.GetCourseId(), Source: sourceManual, Reason: req.GetReason(),
		StartsAt: s.now(), EndsAt: moment(req.GetEndsAt()),
	}
	if starts := moment(req.GetStartsAt()); starts != nil {
		e.StartsAt = *starts
	}
	if e.EndsAt != nil && !e.EndsAt.After(e.StartsAt) {
		return nil, errPeriod
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Entitlement, error) {
		if err := checkPerson(ctx, tx, e.AccountID); err != nil {
			return nil, err
		}
		granted, err := s.grant(ctx, tx, []entitlement{e})
		if err != nil {
			return nil, err
		}
		return granted[0].message(s.now()), nil
	})
}

// ListEntitlements implements accesspb.EntitlementServiceServer.
func (s *Service) ListEntitlements(ctx context.Context, req *accesspb.ListEntitlementsRequest) (*accesspb.ListEntitlementsResponse, error) {
	list, next, err := s.entitlements(ctx, req.GetAccountId(), req.GetCourseId(), req.GetPageSize(), req.GetCursor())
	if err != nil {
		return nil, err
	}
	out := &accesspb.ListEntitlementsResponse{NextCursor: next}
	for _, e := range list {
		out.Items = append(out.Items, e.message(s.now()))
	}
	return out, nil
}

// ListMyEntitlements implements accesspb.EntitlementServiceServer. What staff
// wrote beside a grant is for staff.
func (s *Service) ListMyEntitlements(ctx context.Context, req *accesspb.ListMyEntitlementsRequest) (*accesspb.ListMyEntitlementsResponse, error) {
	list, next, err := s.entitlements(ctx, auth.From(ctx).Account, "", req.GetPageSize(), req.GetCursor())
	if err != nil {
		return nil, err
	}
	out := &accesspb.ListMyEntitlementsResponse{NextCursor: next}
	for _, e := range list {
		e.Reason, e.GrantedBy = "", ""
		out.Items = append(out.Items, e.message(s.now()))
	}
	return out, nil
}

// UpdateEntitlement implements accesspb.EntitlementServiceServer.
func (s *Service) UpdateEntitlement(ctx context.Context, req *accesspb.UpdateEntitlementRequest) (*accesspb.Entitlement, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Entitlement, error) {
		e, err := lockEntitlement(ctx, tx, req.GetCourseId(), req.GetEntitlementId())
		if err != nil {
			return nil, err
		}
		ends := moment(req.GetEndsAt())
		if e.Source == sourceSubscription && e.EndsAt != nil && (ends == nil || ends.After(*e.EndsAt)) { // commerce would end it as not paid for
			return nil, ErrEntitlementPeriod
		}
		if e, err = s.extend(ctx, tx, e, ends, req.GetReason()); err != nil {
			return nil, err
		}
		return e.message(s.now()), nil
	})
}

// RevokeEntitlement implements accesspb.EntitlementServiceServer.
func (s *Service) RevokeEntitlement(ctx context.Context, req *accesspb.RevokeEntitlementRequest) (*accesspb.Entitlement, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Entitlement, error) {
		e, err := lockEntitlement(ctx, tx, req.GetCourseId(), req.GetEntitlementId())
		if err != nil {
			return nil, err
		}
		revoked, err := s.revoke(ctx, tx, req.GetReason(), `id = $4`, e.ID)
		if err != nil {
			return nil, err
		}
		if len(revoked) > 0 {
			e = revoked[0]
		}
		return e.message(s.now()), nil
	})
}

// GrantEntitlements implements accesspb.EntitlementServiceServer.
func (s *Service) GrantEntitlements(ctx context.Context, req *accesspb.GrantEntitlementsRequest) (*accesspb.GrantEntitlementsResponse, error) {
	list := make([]entitlement, len(req.GetGrants()))
	for i, g := range req.GetGrants() {
		list[i] = entitlement{
			AccountID: g.GetAccountId(), CourseID: g.GetCourseId(), Source: g.GetSource(), SourceID: g.GetSourceId(),
			StartsAt: s.now(), EndsAt: moment(g.GetEndsAt()),
		}
		if starts := moment(g.GetStartsAt()); starts != nil {
			list[i].StartsAt = *starts
		}
		if list[i].EndsAt != nil && !list[i].EndsAt.After(list[i].StartsAt) {
			return nil, invalid("entitlement.period", fmt.Sprintf("grants[%d].ends_at", i), "Access ends after it begins.")
		}
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.GrantEntitlementsResponse, error) {
		_, err := s.grant(ctx, tx, list)
		return &accesspb.GrantEntitlementsResponse{}, err
	})
}

// RevokeEntitlements implements accesspb.EntitlementServiceServer.
func (s *Service) RevokeEntitlements(ctx context.Context, req *accesspb.RevokeEntitlementsRequest) (*accesspb.RevokeEntitlementsResponse, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.RevokeEntitlementsResponse, error) {
		revoked, err := s.revoke(ctx, tx, req.GetReason(), `source = $4 AND source_id = ANY($5)`, req.GetSource(), req.GetSourceIds())
		return &accesspb.RevokeEntitlementsResponse{Revoked: int32(len(revoked))}, err //nolint:gosec // at most some hundreds
	})
}

// ListSourceGrants implements accesspb.EntitlementServiceServer.
func (s *Service) ListSourceGrants(ctx context.Context, req *accesspb.ListSourceGrantsRequest) (*accesspb.ListSourceGrantsResponse, error) {
	rows, err := s.db.Query(ctx, `
		SELECT source_id, course_id, account_id, id, revoked_at IS NOT NULL, ends_at FROM entitlement
		WHERE source = $1 AND source_id <> '' AND (source_id, course_id) > ($2, $3) ORDER BY source_id, course_id LIMIT $4`,
		req.GetSource(), req.GetAfterSourceId(), req.GetAfterCourseId(), req.GetPageSize())
	if err != nil {
		return nil, err
	}
	out := &accesspb.ListSourceGrantsResponse{}
	var (
		g    accesspb.SourceGrant
		ends *time.Time
	)
	_, err = pgx.ForEachRow(rows, []any{&g.SourceId, &g.CourseId, &g.AccountId, &g.EntitlementId, &g.Revoked, &ends}, func() error {
		out.Grants = append(out.Grants, &accesspb.SourceGrant{
			SourceId: g.GetSourceId(), CourseId: g.GetCourseId(), AccountId: g.GetAccountId(), EntitlementId: g.GetEntitlementId(), Revoked: g.GetRevoked(),
			EndsAt: timestampOf(ends),
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("grants of %s: %w", req.GetSource(), err)
	}
	return out, nil
}
