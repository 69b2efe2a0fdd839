package courses

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// whole is all of what a course earns, in basis points.
const whole = 10_000

// share is what one of the staff gets, as it is stored.
type share struct {
	AccountID   string `json:"account_id"`
	BasisPoints int32  `json:"basis_points"`
}

// split is how what a course earns is shared from a moment on.
type split struct {
	Version   int32
	ValidFrom time.Time
	Shares    []share
	AuthorID  string
	CreatedAt time.Time
}

func (p split) shares() []*coursespb.RevenueShare {
	out := make([]*coursespb.RevenueShare, len(p.Shares))
	for i, s := range p.Shares {
		out[i] = &coursespb.RevenueShare{AccountId: s.AccountID, BasisPoints: s.BasisPoints}
	}
	return out
}

func (p split) message(courseID string) *coursespb.RevenueSplit {
	out := &coursespb.RevenueSplit{CourseId: courseID, Version: p.Version, Shares: p.shares(), AuthorId: p.AuthorID}
	if p.Version > 0 {
		out.ValidFrom, out.CreatedAt = timestamppb.New(p.ValidFrom), timestamppb.New(p.CreatedAt)
	}
	return out
}

// checkShares refuses shares that are not the whole, those of one person twice,
// and those of people who have no role in the course.
func (s *Service) checkShares(ctx context.Context, req *coursespb.SetRevenueSplitRequest) ([]share, error) {
	bad := func(path, code, hint string) error {
		return &fault.Error{Kind: fault.Invalid, Code: code, Message: "What a course earns can't be shared so.", Fields: []fault.Field{{Path: path, Code: code, Hint: hint}}}
	}
	sum := int32(0)
	seen := map[string]bool{}
	var shares []share
	var accounts []string
	for i, one := range req.GetShares() {
		if seen[one.GetAccountId()] {
			return nil, bad(index("shares", i)+".account_id", "revenue.twice", "Name each person once.")
		}
		seen[one.GetAccountId()] = true
		sum += one.GetBasisPoints()
		shares, accounts = append(shares, share{one.GetAccountId(), one.GetBasisPoints()}), append(accounts, one.GetAccountId())
	}
	if sum != whole {
		return nil, bad("shares", "revenue.sum", fmt.Sprintf("The shares have to make 10,000 together; these make %d.", sum))
	}
	if at := req.GetValidFrom(); at != nil {
		// A minute for clocks that differ; what begins at once leaves it out.
		if now := s.now(); at.AsTime().Before(now.Add(-time.Minute)) || at.AsTime().After(now.AddDate(1, 0, 0)) {
			return nil, bad("valid_from", "revenue.valid_from", "Name a time from now on, at most a year ahead, or leave it out.")
		}
	}
	staff, err := s.access.ListCourseStaff(ctx, &accesspb.ListCourseStaffRequest{CourseId: req.GetCourseId(), AccountIds: accounts})
	if err != nil {
		return nil, err
	}
	has := map[string]bool{}
	for _, accountID := range staff.GetAccountIds() {
		has[accountID] = true
	}
	for i, accountID := range accounts {
		if !has[accountID] {
			return nil, bad(index("shares", i)+".account_id", "revenue.not_staff", "Give them a role in the course first.")
		}
	}
	return shares, nil
}

func (s *Service) setRevenueSplit(ctx context.Context, req *coursespb.SetRevenueSplitRequest) (*coursespb.RevenueSplit, error) {
	courseID := req.GetCourseId()
	shares, err := s.checkShares(ctx, req)
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.RevenueSplit, error) {
		if err := lockCourse(ctx, tx, courseID); err != nil {
			return nil, err
		}
		var last int32
		var archived bool
		if err := tx.QueryRow(ctx, `
			SELECT coalesce((SELECT max(version) FROM revenue_split WHERE course_id = $1), 0), archived_at IS NOT NULL FROM course WHERE id = $1`, courseID).
			Scan(&last, &archived); err != nil {
			return nil, err
		}
		if archived {
			return nil, ErrArchived
		}
		now := s.now()
		p := split{Version: last + 1, ValidFrom: now, Shares: shares, AuthorID: auth.From(ctx).Account, CreatedAt: now}
		if at := req.GetValidFrom(); at != nil && at.AsTime().After(now) {
			p.ValidFrom = at.AsTime().UTC().Truncate(time.Microsecond)
		}
		if _, err := tx.Exec(ctx, `INSERT INTO revenue_split (course_id, version, valid_from, shares, author_id, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
			courseID, p.Version, p.ValidFrom, p.Shares, p.AuthorID, p.CreatedAt); err != nil {
			return nil, err
		}
		if err := audit.Record(ctx, tx, audit.Entry{
			Action: "revenue.split_set", Object: courseID, Course: courseID,
			After: map[string]any{"version": p.Version, "valid_from": p.ValidFrom, "shares": p.Shares},
		}); err != nil {
			return nil, err
		}
		return p.message(courseID), bus.Publish(ctx, tx, &coursespb.RevenueSplitChanged{
			CourseId: courseID, Version: p.Version, Shares: p.shares(), ValidFrom: timestamppb.New(p.ValidFrom),
		})
	})
}

const splitOf = `SELECT version, valid_from, shares, author_id, created_at FROM revenue_split WHERE course_id = $1 `

func (s *Service) getRevenueSplit(ctx context.Context, courseID string, size int, cursor string) (*coursespb.GetRevenueSplitResponse, error) {
	before := int64(math.MaxInt32)
	values, err := page.Values(cursor, 1)
	if err != nil {
		return nil, err
	}
	if values != nil {
		if before, err = strconv.ParseInt(values[0], 10, 32); err != nil {
			return nil, page.ErrCursor
		}
	}
	c, err := readCourse(ctx, s.db, draftOf+`WHERE c.id = $1`, courseID)
	if err != nil {
		return nil, err
	}
	current := split{Shares: []share{{c.OwnerID, whole}}}
	rows, err := s.db.Query(ctx, splitOf+`AND valid_from <= $2 ORDER BY version DESC LIMIT 1`, courseID, s.now())
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[split])
	if err != nil {
		return nil, err
	}
	if len(found) > 0 {
		current = found[0]
	}
	if rows, err = s.db.Query(ctx, splitOf+`AND version < $2 ORDER BY version DESC LIMIT $3`, courseID, before, size+1); err != nil {
		return nil, err
	}
	if found, err = pgx.CollectRows(rows, pgx.RowToStructByName[split]); err != nil {
		return nil, err
	}
	out := &coursespb.GetRevenueSplitResponse{Current: current.message(courseID)}
	if len(found) > size {
		out.NextCursor, found = page.Cursor(fmt.Sprint(found[size-1].Version)), found[:size]
	}
	for _, p := range found {
		out.Items = append(out.Items, p.message(courseID))
	}
	return out, nil
}
