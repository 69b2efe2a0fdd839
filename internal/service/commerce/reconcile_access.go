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
	AccountID string     // who has access by it
	Since     *time.Time // from when on; nil while they have none
	Live      bool
	Fulfilled bool
	Quantity  int32
	Starts    *time.Time // from when on it gives access, where that is not since
	Until     *time.Time // until when; nil for ever
}

// lines that give access to who bought them, gifts that do to who took them, lines of
// periods that do for a while, and blocks of seats.
var (
	boughtLines = `
		SELECT id, course_id, buyer_id AS account_id, paid_at AS since, live, fulfilled, quantity, NULL::timestamptz AS starts, NULL::timestamptz AS until FROM order_line
		WHERE kind = 'course' AND id > $1 ORDER BY id LIMIT ` + onePage
	giftLines = `
		SELECT l.id, l.course_id, coalesce(g.redeemed_by, '') AS account_id, g.redeemed_at AS since, l.live, true AS fulfilled, l.quantity, NULL::timestamptz AS starts, NULL::timestamptz AS until
		FROM order_line l JOIN gift g ON g.line_id = l.id WHERE l.kind = 'gift' AND l.id > $1 ORDER BY l.id LIMIT ` + onePage
	periodLines = `
		SELECT l.id, l.course_id, l.buyer_id AS account_id, l.paid_at AS since, l.live, l.fulfilled, l.quantity, o.period_start AS starts, o.access_until AS until
		FROM order_line l JOIN orders o ON o.id = l.order_id WHERE l.kind = 'subscription' AND l.id > $1 ORDER BY l.id LIMIT ` + onePage
	seatLines = `
		SELECT id, course_id, buyer_id AS account_id, paid_at AS since, live, fulfilled, quantity, NULL::timestamptz AS starts, NULL::timestamptz AS until FROM order_line
		WHERE kind = 'seats' AND id > $1 ORDER BY id LIMIT ` + onePage
)

// givenBy is what access has given by a line, as it is compared with it.
type givenBy struct {
	lineID, courseID string
	revoked          bool
	endsAt           *timestamppb.Timestamp
	seats            int32
}

// giver lists what access has given by lines, behind one, gives by some and ends what some
// gave; it returns of which there was something.
type giver struct {
	list func(ctx context.Context, after string) ([]givenBy, error)
	give func(ctx context.Context, lines []comparedLine) ([]finding, error)
	end  func(ctx context.Context, lines []string, reason string) ([]string, error)
}

// grants are what lines give of a source.
func (s *Service) grants(source string) giver {
	return giver{
		list: func(ctx context.Context, after string) ([]givenBy, error) {
			res, err := s.Entitlements.ListSourceGrants(ctx, &accesspb.ListSourceGrantsRequest{
				Source: source, AfterSourceId: after, AfterCourseId: behindAll, PageSize: reconcilePage,
			})
			out := make([]givenBy, len(res.GetGrants()))
			for i, g := range res.GetGrants() {
				out[i] = givenBy{lineID: g.GetSourceId(), courseID: g.GetCourseId(), revoked: g.GetRevoked(), endsAt: g.GetEndsAt()}
			}
			return out, err
		},
		give: func(ctx context.Context, lines []comparedLine) ([]finding, error) {
			return s.giveAccess(ctx, source, lines)
		},
		end: func(ctx context.Context, lines []string, reason string) ([]string, error) {
			_, err := s.Entitlements.RevokeEntitlements(ctx, &accesspb.RevokeEntitlementsRequest{Source: source, SourceIds: lines, Reason: reason})
			return lines, err
		},
	}
}

// blocks are what lines of seats give.
func (s *Service) blocks() giver {
	return giver{
		list: func(ctx context.Context, after string) ([]givenBy, error) {
			res, err := s.Seats.ListSoldSeatBlocks(ctx, &accesspb.ListSoldSeatBlocksRequest{AfterSourceId: after, AfterCourseId: behindAll, PageSize: reconcilePage})
			out := make([]givenBy, len(res.GetBlocks()))
			for i, b := range res.GetBlocks() {
				out[i] = givenBy{lineID: b.GetSourceId(), courseID: b.GetCourseId(), revoked: b.GetRevoked(), endsAt: b.GetEndsAt(), seats: b.GetSeats()}
			}
			return out, err
		},
		give: s.giveSeats,
		end: func(ctx context.Context, lines []string, reason string) ([]string, error) {
			res, err := s.Seats.RevokeSeatBlocks(ctx, &accesspb.RevokeSeatBlocksRequest{SourceIds: lines, Reason: reason})
			return res.GetSourceIds(), err
		},
	}
}

// grantBatch bounds how much is given or ended at once, as access does.
const grantBatch = 100

// reconcileBought and reconcileGifts compare lines with the grants that access has of them.
func (s *Service) reconcileBought(ctx context.Context, after string) (stepResult, error) {
	return s.reconcileAccess(ctx, after, s.grants("order"), boughtLines)
}

func (s *Service) reconcileGifts(ctx context.Context, after string) (stepResult, error) {
	return s.reconcileAccess(ctx, after, s.grants("gift"), giftLines)
}

// reconcileSubscribed is that for periods of subscriptions.
func (s *Service) reconcileSubscribed(ctx context.Context, after string) (stepResult, error) {
	return s.reconcileAccess(ctx, after, s.grants("subscription"), periodLines)
}

// reconcileSeats is that for blocks of seats.
func (s *Service) reconcileSeats(ctx context.Context, after string) (stepResult, error) {
	return s.reconcileAccess(ctx, after, s.blocks(), seatLines)
}

// reconcileAccess compares a page of lines with what access has given by them. Both are in
// the order of the lines' ids.
func (s *Service) reconcileAccess(ctx context.Context, after string, by giver, sql string) (stepResult, error) {
	now := s.now()
	settled := now.Add(-settleWithin)
	// The grants first: who has access by a line at this moment has paid before, so that
	// the line, read after, says so.
	grants, err := by.list(ctx, after)
	if err != nil {
		return stepResult{}, err
	}
	rows, err := s.DB.Query(ctx, sql, after)
	if err != nil {
		return stepResult{}, err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByName[comparedLine])
	if err != nil {
		return stepResult{}, fmt.Errorf("lines: %w", err)
	}
	// Both are whole up to where the first full page ends.
	res := stepResult{done: true}
	if n := len(lines); n == reconcilePage {
		res.done, res.after = false, lines[n-1].ID
	}
	if n := len(grants); n == reconcilePage && (res.done || grants[n-1].lineID < res.after) {
		res.done, res.after = false, grants[n-1].lineID
	}
	within := func(id string) bool { return res.done || id <= res.after }
	granted := map[string]*givenBy{}
	for i, g := range grants {
		if within(g.lineID) {
			granted[g.lineID] = &grants[i]
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
		due := l.Since != nil && l.Live
		over := l.Until != nil && !l.Until.After(now) // what it gave has ended by itself
		has := g.gives(now)
		switch {
		case due && l.Since.After(settled): // it may be on its way
		case due && over && has && l.Until.After(settled): // so may its end
		case due && over && has:
			end = append(end, l.ID)
		case due && over && l.Fulfilled:
		case due && g == nil, due && !g.revoked && !l.Fulfilled:
			give = append(give, l)
		case due && !has:
			res.findings = append(res.findings, finding{Kind: paidAccessRevoked, Object: l.ID, Detail: "The line is paid and its access was revoked."})
		case due && g.seats > 0 && g.seats < l.Quantity:
			res.findings = append(res.findings, finding{Kind: paidAccessRevoked, Object: l.ID, Detail: fmt.Sprintf("%d seats are paid, and there are %d.", l.Quantity, g.seats)})
		case !due && has:
			end = append(end, l.ID)
		}
	}
	for id, g := range granted {
		if g.gives(now) {
			res.findings = append(res.findings, finding{Kind: accessUnknownLine, Object: id, Detail: "There is access to " + g.courseID + " by a line that is no order's."})
		}
	}
	healed, err := by.give(ctx, give)
	if err != nil {
		return stepResult{}, err
	}
	res.findings = append(res.findings, healed...)
	if end, err = s.endedBefore(ctx, end, settled); err != nil {
		return stepResult{}, err
	}
	for len(end) > 0 {
		some := end[:min(len(end), grantBatch)]
		ended, err := by.end(ctx, some, "reconciled: the line is not paid")
		if err != nil {
			return stepResult{}, err
		}
		for _, id := range ended {
			res.findings = append(res.findings, finding{Kind: accessWithoutPay, Object: id, Detail: "There was access by a line that is not paid.", Healed: true})
		}
		end = end[len(some):]
	}
	return res, nil
}

// endedBefore returns those of lines that were not given back since a moment: of what was,
// the end of access may be on its way.
func (s *Service) endedBefore(ctx context.Context, lines []string, since time.Time) ([]string, error) {
	if len(lines) == 0 {
		return nil, nil
	}
	rows, err := s.DB.Query(ctx, `
		SELECT id FROM unnest($1::text[]) WITH ORDINALITY AS l (id, n)
		WHERE NOT EXISTS (SELECT FROM refund_line b JOIN refund r ON r.id = b.refund_id WHERE b.line_id = l.id AND r.settled_at > $2)
			AND NOT EXISTS (SELECT FROM dispute_line b JOIN dispute d ON d.id = b.dispute_id WHERE b.line_id = l.id AND d.settled_at > $2) ORDER BY n`, lines, since)
	if err != nil {
		return nil, err
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("lines given back: %w", err)
	}
	return out, nil
}

// gives reports whether it, nil for nothing, gives access at a moment.
func (g *givenBy) gives(now time.Time) bool {
	return g != nil && !g.revoked && (!g.endsAt.IsValid() || g.endsAt.AsTime().After(now))
}

// behindAll is a course behind all others in the order of bytes.
const behindAll = "course_7zzzzzzzzzzzzzzzzzzzzzzzzz"

// healUnfulfilled gives access by lines that are paid and should have given it by now.
func (s *Service) healUnfulfilled(ctx context.Context) (int, error) {
	rows, err := s.DB.Query(ctx, `
		SELECT l.id, course_id, l.buyer_id AS account_id, l.paid_at AS since, live, fulfilled, quantity, kind, o.period_start AS starts, o.access_until AS until
		FROM order_line l JOIN orders o ON o.id = l.order_id
		WHERE l.paid_at < $1 AND NOT fulfilled AND live AND kind <> 'gift' ORDER BY l.paid_at, l.id LIMIT $2`, s.now().Add(-settleWithin), reconcilePage)
	if err != nil {
		return 0, err
	}
	type unfulfilled struct {
		comparedLine
		Kind string
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByName[unfulfilled])
	if err != nil {
		return 0, fmt.Errorf("lines: %w", err)
	}
	var courses, seats, periods []comparedLine
	for _, l := range lines {
		switch l.Kind {
		case lineSeats:
			seats = append(seats, l.comparedLine)
		case lineSubscription:
			periods = append(periods, l.comparedLine)
		default:
			courses = append(courses, l.comparedLine)
		}
	}
	findings, err := s.giveAccess(ctx, "order", courses)
	if err == nil {
		var more []finding
		more, err = s.giveAccess(ctx, "subscription", periods)
		findings = append(findings, more...)
	}
	if err == nil {
		var more []finding
		more, err = s.giveSeats(ctx, seats)
		findings = append(findings, more...)
	}
	if len(findings) > 0 {
		if failed := s.DB.InTx(ctx, func(tx *pg.Tx) error { return s.report(ctx, tx, findings) }); failed != nil {
			return 0, failed
		}
	}
	return len(findings), err
}

// giveAccess has access give what lines have paid for, and marks them.
func (s *Service) giveAccess(ctx context.Context, source string, lines []comparedLine) (findings []finding, err error) {
	return s.give(ctx, lines, func(some []comparedLine) error {
		req := &accesspb.GrantEntitlementsRequest{}
		for _, l := range some {
			starts := l.Since
			if l.Starts != nil && l.Starts.Before(*starts) {
				starts = l.Starts
			}
			req.Grants = append(req.Grants, &accesspb.GrantEntitlementsRequest_Grant{
				CourseId: l.CourseID, AccountId: l.AccountID, Source: source, SourceId: l.ID, StartsAt: timestamppb.New(*starts), EndsAt: stamp(l.Until),
			})
		}
		_, err := s.Entitlements.GrantEntitlements(ctx, req)
		return err
	})
}

// giveSeats has access make the blocks of seats that lines have paid for, and marks them.
func (s *Service) giveSeats(ctx context.Context, lines []comparedLine) (findings []finding, err error) {
	return s.give(ctx, lines, func(some []comparedLine) error {
		req := &accesspb.GrantSeatBlocksRequest{}
		for _, l := range some {
			req.Grants = append(req.Grants, &accesspb.GrantSeatBlocksRequest_Grant{
				CourseId: l.CourseID, HolderId: l.AccountID, SourceId: l.ID, Seats: l.Quantity, StartsAt: timestamppb.New(*l.Since),
			})
		}
		_, err := s.Seats.GrantSeatBlocks(ctx, req)
		return err
	})
}

func (s *Service) give(ctx context.Context, lines []comparedLine, ask func([]comparedLine) error) (findings []finding, err error) {
	for len(lines) > 0 {
		some := lines[:min(len(lines), grantBatch)]
		lines = lines[len(some):]
		if err := ask(some); err != nil {
			return findings, err
		}
		for _, l := range some {
			if !l.Fulfilled {
				if err := s.DB.InTx(ctx, func(tx *pg.Tx) error { return s.fulfil(ctx, tx, l.ID, l.CourseID, nil) }); err != nil {
					return findings, err
				}
			}
			findings = append(findings, finding{
				Kind: paidWithoutAccess, Object: l.ID, Detail: "It gave no access, which was due at " + l.Since.UTC().Format(time.RFC3339) + ".", Healed: true,
			})
		}
	}
	return findings, nil
}
