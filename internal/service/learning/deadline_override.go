package learning

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// Bounds of overrides: of a course, and of one call.
const (
	maxOverrides = 100_000
	maxPairs     = 10_000
)

// deadlineServer answers the contract of deadlines.
type deadlineServer struct {
	learningpb.UnimplementedDeadlineServiceServer

	service *Service
}

// storedOverride is an override as it is kept.
type storedOverride struct {
	ItemID        string
	TargetID      string
	AvailableFrom []byte
	Due           []byte
	Until         []byte
	SetBy         string
	SetAt         time.Time
	Revision      int64
}

const overrideColumns = `item_id, target_id, available_from, due, until, set_by, set_at, revision`

func (o storedOverride) message(courseID string) (*learningpb.DeadlineOverride, error) {
	read, err := newOverride(o.ItemID, o.TargetID, o.AvailableFrom, o.Due, o.Until)
	if err != nil {
		return nil, err
	}
	return &learningpb.DeadlineOverride{
		CourseId: courseID, ItemId: o.ItemID, TargetId: o.TargetID, AvailableFrom: read.availableFrom, Due: read.due, Until: read.until,
		SetBy: o.SetBy, SetAt: timestamppb.New(o.SetAt), Etag: strconv.FormatInt(o.Revision, 10),
	}, nil
}

// setting is what is to be said, to whom, of what.
type setting struct {
	courseID      string
	items         []string
	targets       []string
	availableFrom *learningpb.MomentOverride
	due           *learningpb.MomentOverride
	until         *learningpb.MomentOverride
}

// check refuses what says nothing, and moments that are none or out of order.
func (g setting) check() error {
	if g.availableFrom == nil && g.due == nil && g.until == nil {
		return fault.InvalidField("due", "deadline_override.empty", "Send available_from, due, until or several of them.")
	}
	schedule := &releasepb.Schedule{AvailableFrom: g.availableFrom.GetMoment(), Due: g.due.GetMoment(), Until: g.until.GetMoment()}
	var wrong []fault.Field
	for _, one := range []struct {
		path string
		to   *learningpb.MomentOverride
	}{{"available_from", g.availableFrom}, {"due", g.due}, {"until", g.until}} {
		if one.to != nil && one.to.GetNone() == nil {
			wrong = append(wrong, release.ValidateMoment(one.to.GetMoment(), one.path+".moment")...)
		}
	}
	if wrong == nil {
		wrong = release.ValidateSchedule(schedule)
	}
	if wrong != nil {
		return &fault.Error{Kind: fault.Invalid, Code: "request.invalid", Message: "The request has a field that is not accepted.", Fields: wrong}
	}
	if len(g.items)*len(g.targets) > maxPairs {
		return fault.InvalidField("target_ids", "deadline_override.too_many", fmt.Sprintf("At most %d pairs of an item and a target are set at once.", maxPairs))
	}
	return nil
}

// of returns the targets of a kind.
func (g setting) of(kind string) []string {
	var out []string
	for _, target := range g.targets {
		if strings.HasPrefix(target, kind+"_") {
			out = append(out, target)
		}
	}
	return out
}

// checkTargets refuses items and targets that the course does not have.
func (s *Service) checkTargets(ctx context.Context, g setting) error {
	versions, err := s.versionsOf(ctx, s.db, g.courseID)
	if err != nil {
		return err
	}
	for _, itemID := range g.items {
		known := false
		for _, v := range versions {
			known = known || v.byID[itemID] != nil
		}
		if !known {
			return ErrItemNotFound
		}
	}
	rows, err := s.db.Query(ctx, `
		SELECT account_id FROM learner WHERE course_id = $1 AND account_id = ANY ($2) AND enrolled_at IS NOT NULL AND NOT ended
		UNION ALL SELECT group_id FROM course_group WHERE course_id = $1 AND group_id = ANY ($2) AND NOT deleted
		UNION ALL SELECT cohort_id FROM cohort WHERE course_id = $1 AND cohort_id = ANY ($2)`, g.courseID, g.targets)
	if err != nil {
		return fmt.Errorf("targets: %w", err)
	}
	known, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("targets: %w", err)
	}
	is := setOf(known)
	refused := &fault.Error{Kind: ErrTargetUnknown.Kind, Code: ErrTargetUnknown.Code, Message: ErrTargetUnknown.Message}
	for i, target := range g.targets {
		if !is[target] && len(refused.Fields) < 20 {
			refused.Fields = append(refused.Fields, fault.Field{Path: fmt.Sprintf("target_ids[%d]", i), Code: refused.Code, Hint: "Send an account that is enrolled, a group or a cohort of the course."})
		}
	}
	if refused.Fields != nil {
		return refused
	}
	return nil
}

// follow has effective deadlines follow overrides of some targets: those of
// cohorts and groups soon. What it returns does it for persons at once, after the
// overrides are written.
func (s *Service) follow(ctx context.Context, tx *pg.Tx, g setting) (func() error, error) {
	// Before it looks who is in a group: who comes into it later has their own
	// deadlines made after this.
	if err := lockDeadlines(ctx, tx, g.courseID); err != nil {
		return nil, err
	}
	if many := append(g.of("group"), g.of("cohort")...); len(many) > 0 {
		if err := s.enqueueWhere(ctx, tx, `
			SELECT $1::text, account_id FROM group_member WHERE course_id = $1 AND group_id = ANY ($2) AND member
			UNION SELECT $1::text, account_id FROM cohort_member WHERE course_id = $1 AND cohort_id = ANY ($2)`, g.courseID, many); err != nil {
			return nil, err
		}
	}
	return func() error {
		if persons := g.of("account"); len(persons) > 0 {
			return s.remake(ctx, tx, g.courseID, persons, g.items)
		}
		return nil
	}, nil
}

// set writes overrides, between the two steps of follow.
func (s *Service) set(ctx context.Context, tx *pg.Tx, g setting, then func() error) error {
	from, err := storedMoment(g.availableFrom)
	if err != nil {
		return err
	}
	due, err := storedMoment(g.due)
	if err != nil {
		return err
	}
	until, err := storedMoment(g.until)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO deadline_override AS o (course_id, item_id, target_id, available_from, due, until, set_by, set_at, revision)
		SELECT $1, i, t, $4, $5, $6, $7, $8, 1 FROM unnest($2::text[]) AS i, unnest($3::text[]) AS t
		ON CONFLICT (course_id, item_id, target_id) DO UPDATE SET available_from = EXCLUDED.available_from, due = EXCLUDED.due,
			until = EXCLUDED.until, set_by = EXCLUDED.set_by, set_at = EXCLUDED.set_at, revision = o.revision + 1`,
		g.courseID, g.items, g.targets, from, due, until, auth.From(ctx).Account, s.now()); err != nil {
		return fmt.Errorf("set overrides: %w", err)
	}
	var n int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM (SELECT FROM deadline_override WHERE course_id = $1 LIMIT $2) AS o`, g.courseID, maxOverrides+1).Scan(&n); err != nil {
		return fmt.Errorf("count overrides: %w", err)
	}
	if n > maxOverrides {
		return ErrTooManyOverrides
	}
	return then()
}

// override returns an override of a course.
func (s *Service) override(ctx context.Context, q pg.Querier, courseID, itemID, targetID string) (storedOverride, error) {
	rows, err := q.Query(ctx, `SELECT `+overrideColumns+` FROM deadline_override WHERE course_id = $1 AND item_id = $2 AND target_id = $3`, courseID, itemID, targetID)
	if err != nil {
		return storedOverride{}, fmt.Errorf("override: %w", err)
	}
	o, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[storedOverride])
	if pg.NoRows(err) {
		return storedOverride{}, ErrOverrideNotFound
	}
	return o, err
}

// SetDeadlineOverride implements learningpb.DeadlineServiceServer.
func (r *deadlineServer) SetDeadlineOverride(ctx context.Context, req *learningpb.SetDeadlineOverrideRequest) (*learningpb.DeadlineOverride, error) {
	s := r.service
	g := setting{req.GetCourseId(), []string{req.GetItemId()}, []string{req.GetTargetId()}, req.GetAvailableFrom(), req.GetDue(), req.GetUntil()}
	if err := g.check(); err != nil {
		return nil, err
	}
	if err := s.checkTargets(ctx, g); err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*learningpb.DeadlineOverride, error) {
		then, err := s.follow(ctx, tx, g) // locks before it looks
		if err != nil {
			return nil, err
		}
		was, err := s.override(ctx, tx, g.courseID, req.GetItemId(), req.GetTargetId())
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
		if err := rpc.Match(ctx, strconv.FormatInt(was.Revision, 10)); err != nil {
			return nil, err
		}
		if err := s.set(ctx, tx, g, then); err != nil {
			return nil, err
		}
		is, err := s.override(ctx, tx, g.courseID, req.GetItemId(), req.GetTargetId())
		if err != nil {
			return nil, err
		}
		out, err := is.message(g.courseID)
		if err != nil {
			return nil, err
		}
		var before any
		if was.Revision > 0 {
			if before, err = was.message(g.courseID); err != nil {
				return nil, err
			}
		}
		return out, audit.Record(ctx, tx, audit.Entry{
			Action: "deadline_override.set", Object: req.GetItemId(), Course: g.courseID, Person: personOf(req.GetTargetId()), Before: before, After: out,
		})
	})
}

// personOf returns the account that a target is, "" for others.
func personOf(target string) string {
	if id.Valid("account", target) {
		return target
	}
	return ""
}

// SetDeadlineOverrides implements learningpb.DeadlineServiceServer.
func (r *deadlineServer) SetDeadlineOverrides(ctx context.Context, req *learningpb.SetDeadlineOverridesRequest) (*learningpb.SetDeadlineOverridesResponse, error) {
	s := r.service
	g := setting{req.GetCourseId(), distinct(req.GetItemIds()), distinct(req.GetTargetIds()), req.GetAvailableFrom(), req.GetDue(), req.GetUntil()}
	if err := g.check(); err != nil {
		return nil, err
	}
	if err := s.checkTargets(ctx, g); err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*learningpb.SetDeadlineOverridesResponse, error) {
		then, err := s.follow(ctx, tx, g)
		if err != nil {
			return nil, err
		}
		if err := s.set(ctx, tx, g, then); err != nil {
			return nil, err
		}
		entries := make([]audit.Entry, len(g.targets))
		for i, target := range g.targets {
			entries[i] = audit.Entry{
				Action: "deadline_override.set_many", Object: target, Course: g.courseID, Person: personOf(target),
				After: map[string]any{"item_ids": g.items, "available_from": g.availableFrom.GetMoment(), "due": g.due.GetMoment(), "until": g.until.GetMoment()},
			}
		}
		return &learningpb.SetDeadlineOverridesResponse{Overrides: int32(len(g.items) * len(g.targets))}, audit.Record(ctx, tx, entries...) //nolint:gosec // at most maxPairs
	})
}

// distinct returns the texts, each once, in order.
func distinct(list []string) []string {
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}

// DeleteDeadlineOverride implements learningpb.DeadlineServiceServer.
func (r *deadlineServer) DeleteDeadlineOverride(ctx context.Context, req *learningpb.DeleteDeadlineOverrideRequest) (*emptypb.Empty, error) {
	s := r.service
	g := setting{courseID: req.GetCourseId(), items: []string{req.GetItemId()}, targets: []string{req.GetTargetId()}}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		then, err := s.follow(ctx, tx, g)
		if err != nil {
			return nil, err
		}
		was, err := s.override(ctx, tx, g.courseID, req.GetItemId(), req.GetTargetId())
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, strconv.FormatInt(was.Revision, 10)); err != nil {
			return nil, err
		}
		before, err := was.message(g.courseID)
		if err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM deadline_override WHERE course_id = $1 AND item_id = $2 AND target_id = $3`, g.courseID, was.ItemID, was.TargetID); err != nil {
			return nil, fmt.Errorf("delete override: %w", err)
		}
		if err := then(); err != nil {
			return nil, err
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{
			Action: "deadline_override.deleted", Object: was.ItemID, Course: g.courseID, Person: personOf(was.TargetID), Before: before,
		})
	})
}

// ListDeadlineOverrides implements learningpb.DeadlineServiceServer.
func (r *deadlineServer) ListDeadlineOverrides(ctx context.Context, req *learningpb.ListDeadlineOverridesRequest) (*learningpb.ListDeadlineOverridesResponse, error) {
	after, err := pair(req.GetCursor())
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := r.service.db.Query(ctx, `
		SELECT `+overrideColumns+` FROM deadline_override
		WHERE course_id = $1 AND ($2 = '' OR item_id = $2) AND ($3 = '' OR target_id = $3) AND (item_id, target_id) > ($4, $5)
		ORDER BY item_id, target_id LIMIT $6`, req.GetCourseId(), req.GetItemId(), req.GetTargetId(), after[0], after[1], size+1)
	if err != nil {
		return nil, fmt.Errorf("list overrides: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[storedOverride])
	if err != nil {
		return nil, fmt.Errorf("list overrides: %w", err)
	}
	out := &learningpb.ListDeadlineOverridesResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.Cursor(list[size-1].ItemID, list[size-1].TargetID)
	}
	for _, o := range list {
		m, err := o.message(req.GetCourseId())
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, m)
	}
	return out, nil
}

// pair returns the two ids of a cursor, empty ones for the first page.
func pair(cursor string) ([2]string, error) {
	values, err := page.Values(cursor, 2)
	if err != nil || values == nil {
		return [2]string{}, err
	}
	return [2]string{values[0], values[1]}, nil
}
