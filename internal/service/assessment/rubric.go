package assessment

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// maxRubrics bounds the rubrics of a course.
const maxRubrics = 1000

// Errors of rubrics.
var (
	ErrRubricNotFound     = fault.New(fault.NotFound, "rubric.not_found", "The course has no such rubric.")
	ErrRubricsFull        = fault.New(fault.Conflict, "rubric.too_many", "A course has at most %d rubrics.", maxRubrics)
	ErrRubricUsed         = fault.New(fault.Conflict, "rubric.used", "Something is marked by this rubric. Detach it first.")
	ErrRubricNotPublished = fault.New(fault.Conflict, "rubric.not_published", "This rubric has no version yet. Publish it first.")
	ErrRubricNotAttached  = fault.New(fault.Conflict, "rubric.not_attached", "This question is not marked by this rubric.")
	ErrRubricOutdated     = fault.New(fault.Conflict, "rubric.outdated", "Another version of this rubric was published. Read it, and choose anew.")
)

// rubricServer answers about rubrics.
type rubricServer struct {
	assessmentpb.UnimplementedRubricServiceServer

	service *Service
}

// rubric is its row.
type rubric struct {
	ID                string
	CourseID          string
	Title             string
	Draft             []byte
	Revision          int64
	Version           int32
	PublishedRevision int64
	EditedBy          string
	CreatedAt         time.Time
	UpdatedAt         time.Time
}

const rubricColumns = `id, course_id, title, draft, revision, version, published_revision, edited_by, created_at, updated_at`

// readRubric returns a rubric of a course; lock is "" or how its row is locked.
func readRubric(ctx context.Context, q pg.Querier, course, rubricID, lock string) (rubric, error) {
	rows, err := q.Query(ctx, `SELECT `+rubricColumns+` FROM rubric WHERE course_id = $1 AND id = $2 AND deleted_at IS NULL `+lock, course, rubricID)
	if err != nil {
		return rubric{}, fmt.Errorf("read rubric: %w", err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[rubric])
	if pg.NoRows(err) {
		return rubric{}, ErrRubricNotFound
	}
	if err != nil {
		return rubric{}, fmt.Errorf("read rubric: %w", err)
	}
	return r, nil
}

func (r rubric) etag() string { return strconv.FormatInt(r.Revision, 10) }

// state is what the audit log says of a rubric.
func (r rubric) state() any { return map[string]any{"revision": r.Revision, "version": r.Version} }

// message tells a rubric, without what is marked by it.
func (r rubric) message(whole bool) (*assessmentpb.Rubric, error) {
	out := &assessmentpb.Rubric{
		Id: r.ID, CourseId: r.CourseID, Title: r.Title, Version: r.Version, Changed: r.Revision != r.PublishedRevision,
		CreatedAt: timestamppb.New(r.CreatedAt), UpdatedAt: timestamppb.New(r.UpdatedAt), Etag: r.etag(),
	}
	if !whole {
		return out, nil
	}
	out.Content = &assessmentpb.RubricContent{}
	if err := proto.Unmarshal(r.Draft, out.GetContent()); err != nil {
		return nil, fmt.Errorf("draft of %s: %w", r.ID, err)
	}
	return out, nil
}

// match holds a change to If-Match, as the drafts of quizzes are.
func (r rubric) match(ctx context.Context, now time.Time) error {
	edited := r.UpdatedAt
	return quiz{Revision: r.Revision, EditedBy: r.EditedBy, EditedAt: &edited}.match(ctx, now)
}

// CreateRubric implements [assessmentpb.RubricServiceServer].
func (h *rubricServer) CreateRubric(ctx context.Context, req *assessmentpb.CreateRubricRequest) (*assessmentpb.Rubric, error) {
	s := h.service
	draft, err := checkRubric(req.GetContent())
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.Rubric, error) {
		n, err := lockRubrics(ctx, tx, req.GetCourseId())
		if err != nil {
			return nil, err
		}
		if n >= maxRubrics {
			return nil, ErrRubricsFull
		}
		now := s.time()
		r := rubric{
			ID: id.New("rubric"), CourseID: req.GetCourseId(), Title: strings.TrimSpace(req.GetTitle()), Draft: draft, Revision: 1,
			EditedBy: auth.From(ctx).Account, CreatedAt: now, UpdatedAt: now,
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO rubric (id, course_id, title, draft, created_by, edited_by, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5, $6, $6)`,
			r.ID, r.CourseID, r.Title, r.Draft, r.EditedBy, now); err != nil {
			return nil, fmt.Errorf("insert rubric: %w", err)
		}
		if err := audit.Record(ctx, tx, audit.Entry{Action: "rubric.created", Object: r.ID, Course: r.CourseID, After: r.state()}); err != nil {
			return nil, err
		}
		return r.message(true)
	})
}

// ListRubrics implements [assessmentpb.RubricServiceServer].
func (h *rubricServer) ListRubrics(ctx context.Context, req *assessmentpb.ListRubricsRequest) (*assessmentpb.ListRubricsResponse, error) {
	before := "rubric`" // sorts after every id
	values, err := page.Values(req.GetCursor(), 1)
	if err != nil {
		return nil, err
	}
	if values != nil {
		if before = values[0]; !id.Valid("rubric", before) {
			return nil, page.ErrCursor
		}
	}
	size := page.Size(req.GetPageSize())
	rows, err := h.service.db.Query(ctx, `
		SELECT `+strings.Replace(rubricColumns, "draft", "''::bytea AS draft", 1)+` FROM rubric
		WHERE course_id = $1 AND id < $2 AND deleted_at IS NULL ORDER BY id DESC LIMIT $3`, req.GetCourseId(), before, size+1)
	if err != nil {
		return nil, fmt.Errorf("list rubrics: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[rubric])
	if err != nil {
		return nil, fmt.Errorf("list rubrics: %w", err)
	}
	out := &assessmentpb.ListRubricsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.Cursor(list[size-1].ID)
	}
	for _, r := range list {
		m, err := r.message(false)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, m)
	}
	return out, nil
}

// GetRubric implements [assessmentpb.RubricServiceServer].
func (h *rubricServer) GetRubric(ctx context.Context, req *assessmentpb.GetRubricRequest) (*assessmentpb.Rubric, error) {
	r, err := readRubric(ctx, h.service.db, req.GetCourseId(), req.GetRubricId(), "")
	if err != nil {
		return nil, err
	}
	out, err := r.message(true)
	if err != nil {
		return nil, err
	}
	out.Uses, err = rubricUses(ctx, h.service.db, r.ID)
	return out, err
}

// change changes a rubric whose row it locks, and returns it.
func (h *rubricServer) change(ctx context.Context, req proto.Message, course, rubricID string, change func(*pg.Tx, *rubric) (audit.Entry, error)) (*assessmentpb.Rubric, error) {
	return idempotency.Do(ctx, h.service.db, req, func(tx *pg.Tx) (*assessmentpb.Rubric, error) {
		r, err := readRubric(ctx, tx, course, rubricID, "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		if err := r.match(ctx, h.service.time()); err != nil {
			return nil, err
		}
		before := r.state()
		entry, err := change(tx, &r)
		if err != nil {
			return nil, err
		}
		entry.Object, entry.Course, entry.Before, entry.After = r.ID, r.CourseID, before, r.state()
		if err := audit.Record(ctx, tx, entry); err != nil {
			return nil, err
		}
		return r.message(true)
	})
}

// UpdateRubric implements [assessmentpb.RubricServiceServer].
func (h *rubricServer) UpdateRubric(ctx context.Context, req *assessmentpb.UpdateRubricRequest) (*assessmentpb.Rubric, error) {
	s := h.service
	draft, err := checkRubric(req.GetContent())
	if err != nil {
		return nil, err
	}
	return h.change(ctx, req, req.GetCourseId(), req.GetRubricId(), func(tx *pg.Tx, r *rubric) (audit.Entry, error) {
		r.Title, r.Draft, r.Revision, r.EditedBy, r.UpdatedAt = strings.TrimSpace(req.GetTitle()), draft, r.Revision+1, auth.From(ctx).Account, s.time()
		_, err := tx.Exec(ctx, `UPDATE rubric SET title = $2, draft = $3, revision = $4, edited_by = $5, updated_at = $6 WHERE id = $1`,
			r.ID, r.Title, r.Draft, r.Revision, r.EditedBy, r.UpdatedAt)
		return audit.Entry{Action: "rubric.updated"}, err
	})
}

// PublishRubric implements [assessmentpb.RubricServiceServer].
func (h *rubricServer) PublishRubric(ctx context.Context, req *assessmentpb.PublishRubricRequest) (*assessmentpb.Rubric, error) {
	s := h.service
	return h.change(ctx, req, req.GetCourseId(), req.GetRubricId(), func(tx *pg.Tx, r *rubric) (audit.Entry, error) {
		entry := audit.Entry{Action: "rubric.published"}
		if r.Revision == r.PublishedRevision {
			return entry, nil
		}
		r.Version++
		r.PublishedRevision = r.Revision
		if _, err := tx.Exec(ctx, `INSERT INTO rubric_version (rubric_id, version, title, content, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
			r.ID, r.Version, r.Title, r.Draft, auth.From(ctx).Account, s.time()); err != nil {
			return entry, fmt.Errorf("store version: %w", err)
		}
		_, err := tx.Exec(ctx, `UPDATE rubric SET version = $2, published_revision = $3 WHERE id = $1`, r.ID, r.Version, r.PublishedRevision)
		return entry, err
	})
}

// DeleteRubric implements [assessmentpb.RubricServiceServer].
func (h *rubricServer) DeleteRubric(ctx context.Context, req *assessmentpb.DeleteRubricRequest) (*emptypb.Empty, error) {
	s := h.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		r, err := readRubric(ctx, tx, req.GetCourseId(), req.GetRubricId(), "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, r.etag()); err != nil {
			return nil, err
		}
		var used bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM rubric_use WHERE rubric_id = $1)`, r.ID).Scan(&used); err != nil {
			return nil, fmt.Errorf("uses of rubric: %w", err)
		}
		if used {
			return nil, ErrRubricUsed
		}
		if _, err := tx.Exec(ctx, `UPDATE rubric SET deleted_at = $2 WHERE id = $1`, r.ID, s.time()); err != nil {
			return nil, fmt.Errorf("delete rubric: %w", err)
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{Action: "rubric.deleted", Object: r.ID, Course: r.CourseID, Before: r.state()})
	})
}
