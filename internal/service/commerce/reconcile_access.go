package commerce

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// comparedLine is a line as it is compared with the grants of access.
type comparedLine struct {
	ID        string
	CourseID  string
	BuyerID   string
	PaidAt    *time.Time
	Live      bool
	Fulfilled bool
}

const comparedColumns = `id, course_id, buyer_id, paid_at, live, fulfilled`

// grantBatch bounds how much is given or ended at once, as access does.
const grantBatch = 100

// reconcileAccess compares a page of lines with the grants that access has of them. Both
// are in the order of the lines' ids.
func (s *Service) reconcileAccess(ctx context.Context, after string) (stepResult, error) {
	settled := s.now().Add(-settleWithin)
	// The grants first: who has access by a line at this moment has paid before, so that
	// the line, read after, says so.
	got, err := s.Entitlements.ListSourceGrants(ctx, &accesspb.ListSourceGrantsRequest{
		Source: "order", AfterSourceId: after, AfterCourseId: behindAll, PageSize: reconcilePage,
	})
	if err != nil {
		return stepResult{}, err
	}
	rows, err := s.DB.Query(ctx, `SELECT `+comparedColumns+` FROM order_line WHERE id > $1 ORDER BY id LIMIT $2`, after, reconcilePage)
	if err != nil {
		return stepResult{}, err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByName[comparedLine])
	if err != nil {
		return stepResult{}, fmt.Errorf("lines: %w", err)
	}
	grants := got.GetGrants()
	// Both are whole up to where the first full page ends.
	res := stepResult{done: true}
	if n := len(lines); n == reconcilePage {
		res.done, res.after = false, lines[n-1].ID
	}
	if n := len(grants); n == reconcilePage && (res.done || grants[n-1].GetSourceId() < res.after) {
		res.done, res.after = false, grants[n-1].GetSourceId()
	}
	within := func(id string) bool { return res.done || id <= res.after }
	granted := map[string]*accesspb.SourceGrant{}
	for _, g := range grants {
		if within(g.GetSourceId()) {
			granted[g.GetSourceId()] = g
		}
	}
	var give []comparedLine
	var end []string
	for _, l := range lines {
		if !within(l.ID) {
			break
		}
		res.compared++
		g := granted[l.ID]
		delete(granted, l.ID)
		due := l.PaidAt != nil && l.Live
		switch {
		case due && l.PaidAt.After(settled): // it may be on its way
		case due && g == nil, due && !g.GetRevoked() && !l.Fulfilled:
			give = append(give, l)
		case due && g.GetRevoked():
			res.findings = append(res.findings, finding{Kind: paidAccessRevoked, Object: l.ID, Detail: "The line is paid and its access was revoked."})
		case !due && g != nil && !g.GetRevoked():
			end = append(end, l.ID)
		}
	}
	for id, g := range granted {
		if !g.GetRevoked() {
			res.findings = append(res.findings, finding{Kind: accessUnknownLine, Object: id, Detail: "There is access to " + g.GetCourseId() + " by a line that is no order's."})
		}
	}
	healed, err := s.giveAccess(ctx, give)
	if err != nil {
		return stepResult{}, err
	}
	res.findings = append(res.findings, healed...)
	for len(end) > 0 {
		some := end[:min(len(end), grantBatch)]
		if _, err := s.Entitlements.RevokeEntitlements(ctx, &accesspb.RevokeEntitlementsRequest{Source: "order", SourceIds: some, Reason: "reconciled: the line is not paid"}); err != nil {
			return stepResult{}, err
		}
		for _, id := range some {
			res.findings = append(res.findings, finding{Kind: accessWithoutPay, Object: id, Detail: "There was access by a line that is not paid.", Healed: true})
		}
		end = end[len(some):]
	}
	return res, nil
}

// behindAll is a course behind all others in the order of bytes.
const behindAll = "course_7zzzzzzzzzzzzzzzzzzzzzzzzz"

// healUnfulfilled gives access by lines that are paid and should have given it by now.
func (s *Service) healUnfulfilled(ctx context.Context) (int, error) {
	rows, err := s.DB.Query(ctx, `
		SELECT `+comparedColumns+` FROM order_line WHERE paid_at < $1 AND NOT fulfilled AND live ORDER BY paid_at, id LIMIT $2`, s.now().Add(-settleWithin), reconcilePage)
	if err != nil {
		return 0, err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByName[comparedLine])
	if err != nil {
		return 0, fmt.Errorf("lines: %w", err)
	}
	findings, err := s.giveAccess(ctx, lines)
	if len(findings) > 0 {
		if failed := s.DB.InTx(ctx, func(tx *pg.Tx) error { return s.report(ctx, tx, findings) }); failed != nil {
			return 0, failed
		}
	}
	return len(findings), err
}

// giveAccess has access give what lines have paid for, and marks them.
func (s *Service) giveAccess(ctx context.Context, lines []comparedLine) (findings []finding, err error) {
	for len(lines) > 0 {
		some := lines[:min(len(lines), grantBatch)]
		lines = lines[len(some):]
		req := &accesspb.GrantEntitlementsRequest{}
		for _, l := range some {
			req.Grants = append(req.Grants, &accesspb.GrantEntitlementsRequest_Grant{
				CourseId: l.CourseID, AccountId: l.BuyerID, Source: "order", SourceId: l.ID, StartsAt: timestamppb.New(*l.PaidAt),
			})
		}
		if _, err := s.Entitlements.GrantEntitlements(ctx, req); err != nil {
			return findings, err
		}
		for _, l := range some {
			if err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
				return s.entitlementGranted(ctx, tx, &accesspb.EntitlementGranted{AccountId: l.BuyerID, CourseId: l.CourseID, Source: "order", SourceId: l.ID})
			}); err != nil {
				return findings, err
			}
			findings = append(findings, finding{
				Kind: paidWithoutAccess, Object: l.ID, Detail: "It was paid at " + l.PaidAt.UTC().Format(time.RFC3339) + " and gave no access.", Healed: true,
			})
		}
	}
	return findings, nil
}
