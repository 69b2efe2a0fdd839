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
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// maxAssignments is how many assignments a course has at most.
const maxAssignments = 2_000

// Errors of making assignments.
var (
	ErrAssignmentNotFound  = fault.New(fault.NotFound, "assignment.not_found", "The course has no such assignment.")
	ErrAssignmentsFull     = fault.New(fault.Conflict, "assignment.too_many", "A course has at most %d assignments.", maxAssignments)
	ErrAssignmentSubmitted = fault.New(fault.Conflict, "assignment.submitted", "Something was handed in to this assignment.")
	ErrAssignmentPlaced    = fault.New(fault.Conflict, "assignment.placed", "The published course shows this assignment. Take it out of the course first.")
	ErrAssignmentEmpty     = &fault.Error{
		Kind: fault.Invalid, Code: "assignment.empty", Message: "Nothing can be handed in to the assignment.",
		Fields: []fault.Field{{Path: "settings", Code: "assignment.empty", Hint: "Say whether text, files or an address are handed in."}},
	}
)

// assignmentServer answers about assignments to their authors.
type assignmentServer struct {
	assessmentpb.UnimplementedAssignmentServiceServer

	service *Service
}

// assignment is its row.
type assignment struct {
	ID                string
	CourseID          string
	Title             string
	Draft             []byte
	Revision          int64
	PublishedRevision int64
	Version           int32
	EditedBy          string
	EditedAt          time.Time
	CreatedAt         time.Time
	UpdatedAt         time.Time
}

const assignmentColumns = `id, course_id, title, draft, revision, published_revision, version, edited_by, edited_at, created_at, updated_at`

// readAssignment returns an assignment of a course; lock is "" or how its row is locked.
func readAssignment(ctx context.Context, q pg.Querier, courseID, assignmentID, lock string) (assignment, error) {
	rows, err := q.Query(ctx, `SELECT `+assignmentColumns+` FROM assignment WHERE course_id = $1 AND id = $2 AND deleted_at IS NULL `+lock, courseID, assignmentID)
	if err != nil {
		return assignment{}, fmt.Errorf("read assignment: %w", err)
	}
	a, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[assignment])
	if pg.NoRows(err) {
		return assignment{}, ErrAssignmentNotFound
	}
	if err != nil {
		return assignment{}, fmt.Errorf("read assignment: %w", err)
	}
	return a, nil
}

// settings returns the draft.
func (a assignment) settings() (*assessmentpb.AssignmentSettings, error) {
	out := &assessmentpb.AssignmentSettings{}
	if err := proto.Unmarshal(a.Draft, out); err != nil {
		return nil, fmt.Errorf("draft of %s: %w", a.ID, err)
	}
	return out, nil
}

// message tells an assignment, without where it stands.
func (a assignment) message(whole bool) (*assessmentpb.Assignment, error) {
	out := &assessmentpb.Assignment{
		Id: a.ID, CourseId: a.CourseID, Title: a.Title, Version: a.Version, Changed: a.Revision != a.PublishedRevision,
		CreatedAt: timestamppb.New(a.CreatedAt), UpdatedAt: timestamppb.New(a.UpdatedAt), Etag: strconv.FormatInt(a.Revision, 10),
	}
	if !whole {
		return out, nil
	}
	var err error
	out.Settings, err = a.settings()
	return out, err
}

// state is what the audit log says of an assignment.
func (a assignment) state() any {
	return map[string]any{"revision": a.Revision, "version": a.Version}
}

// match holds a change to If-Match, as those of quizzes are.
func (a assignment) match(ctx context.Context, now time.Time) error {
	return quiz{Revision: a.Revision, EditedBy: a.EditedBy, EditedAt: &a.EditedAt}.match(ctx, now)
}

// CreateAssignment implements assessmentpb.AssignmentServiceServer.
func (r *assignmentServer) CreateAssignment(ctx context.Context, req *assessmentpb.CreateAssignmentRequest) (*assessmentpb.Assignment, error) {
	s := r.service
	settings, err := checkedSettings(req.GetSettings())
	if err != nil {
		return nil, err
	}
	if err := s.checkInstructions(ctx, req.GetCourseId(), map[string]string{"settings.instructions": settings.GetInstructions()}); err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.Assignment, error) {
		a := assignment{ID: id.New("assignment"), CourseID: req.GetCourseId(), Title: strings.TrimSpace(req.GetTitle())}
		if err := s.insertAssignment(ctx, tx, &a, settings, ""); err != nil {
			return nil, err
		}
		if err := audit.Record(ctx, tx, audit.Entry{Action: "assignment.created", Object: a.ID, Course: a.CourseID, After: a.state()}); err != nil {
			return nil, err
		}
		return a.message(true)
	})
}

// insertAssignment adds an assignment with a draft.
func (s *Service) insertAssignment(ctx context.Context, tx *pg.Tx, a *assignment, settings *assessmentpb.AssignmentSettings, from string) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('assessment.assignments'), hashtext($1))`, a.CourseID); err != nil {
		return fmt.Errorf("lock assignments: %w", err)
	}
	var n int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM assignment WHERE course_id = $1 AND deleted_at IS NULL`, a.CourseID).Scan(&n); err != nil {
		return fmt.Errorf("count assignments: %w", err)
	}
	if n >= maxAssignments {
		return ErrAssignmentsFull
	}
	if err := checkGroups(ctx, tx, a.CourseID, settings); err != nil {
		return err
	}
	text, err := settingsText(settings)
	if err != nil {
		return err
	}
	now, who := s.time(), auth.From(ctx).Account
	a.Draft, a.Revision, a.EditedBy, a.EditedAt, a.CreatedAt, a.UpdatedAt = text, 1, who, now, now, now
	if _, err := tx.Exec(ctx, `
		INSERT INTO assignment (id, course_id, title, draft, revision, edited_by, edited_at, created_by, created_at, updated_at, copied_from)
		VALUES ($1, $2, $3, $4, 1, $5, $6, $5, $6, $6, $7)`, a.ID, a.CourseID, a.Title, a.Draft, who, now, from); err != nil {
		return fmt.Errorf("insert assignment: %w", err)
	}
	if from != "" {
		return s.copyRubrics(ctx, tx, from, a.ID, a.CourseID, nil)
	}
	return nil
}

// settingsText is how settings are kept.
func settingsText(settings *assessmentpb.AssignmentSettings) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(settings)
}

// ListAssignments implements assessmentpb.AssignmentServiceServer.
func (r *assignmentServer) ListAssignments(ctx context.Context, req *assessmentpb.ListAssignmentsRequest) (*assessmentpb.ListAssignmentsResponse, error) {
	before := "assignment`" // sorts after every id
	values, err := page.Values(req.GetCursor(), 1)
	if err != nil {
		return nil, err
	}
	if values != nil {
		if before = values[0]; !id.Valid("assignment", before) {
			return nil, page.ErrCursor
		}
	}
	size := page.Size(req.GetPageSize())
	rows, err := r.service.db.Query(ctx, `
		SELECT `+strings.Replace(assignmentColumns, "draft", "''::bytea AS draft", 1)+` FROM assignment
		WHERE course_id = $1 AND id < $2 AND deleted_at IS NULL ORDER BY id DESC LIMIT $3`, req.GetCourseId(), before, size+1)
	if err != nil {
		return nil, fmt.Errorf("list assignments: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[assignment])
	if err != nil {
		return nil, fmt.Errorf("list assignments: %w", err)
	}
	out := &assessmentpb.ListAssignmentsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.Cursor(list[size-1].ID)
	}
	for _, a := range list {
		m, err := a.message(false)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, m)
	}
	return out, nil
}

// GetAssignment implements assessmentpb.AssignmentServiceServer.
func (r *assignmentServer) GetAssignment(ctx context.Context, req *assessmentpb.GetAssignmentRequest) (*assessmentpb.Assignment, error) {
	db := r.service.db
	a, err := readAssignment(ctx, db, req.GetCourseId(), req.GetAssignmentId(), "")
	if err != nil {
		return nil, err
	}
	out, err := a.message(true)
	if err != nil {
		return nil, err
	}
	rows, err := db.Query(ctx, `SELECT item_id, title FROM placement WHERE ref = $1 AND course_id = $2 AND present ORDER BY item_id LIMIT $3`, a.ID, a.CourseID, maxPlaces)
	if err != nil {
		return nil, fmt.Errorf("places of assignment: %w", err)
	}
	out.Places, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.AssignmentPlace, error) {
		p := &assessmentpb.AssignmentPlace{}
		return p, row.Scan(&p.ItemId, &p.Title)
	})
	if err != nil {
		return nil, fmt.Errorf("places of assignment: %w", err)
	}
	return out, nil
}

// UpdateAssignment implements assessmentpb.AssignmentServiceServer.
func (r *assignmentServer) UpdateAssignment(ctx context.Context, req *assessmentpb.UpdateAssignmentRequest) (*assessmentpb.Assignment, error) {
	s := r.service
	settings, err := checkedSettings(req.GetSettings())
	if err != nil {
		return nil, err
	}
	if err := s.checkInstructions(ctx, req.GetCourseId(), map[string]string{"settings.instructions": settings.GetInstructions()}); err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.Assignment, error) {
		a, err := readAssignment(ctx, tx, req.GetCourseId(), req.GetAssignmentId(), "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		now := s.time()
		if err := a.match(ctx, now); err != nil {
			return nil, err
		}
		was := a.state()
		if req.Title != nil {
			a.Title = strings.TrimSpace(req.GetTitle())
		}
		if req.GetSettings() != nil {
			if err := checkGroups(ctx, tx, a.CourseID, settings); err != nil {
				return nil, err
			}
			if a.Draft, err = settingsText(settings); err != nil {
				return nil, err
			}
		}
		a.Revision, a.EditedBy, a.EditedAt, a.UpdatedAt = a.Revision+1, auth.From(ctx).Account, now, now
		if _, err := tx.Exec(ctx, `UPDATE assignment SET title = $2, draft = $3, revision = $4, edited_by = $5, edited_at = $6, updated_at = $6 WHERE id = $1`,
			a.ID, a.Title, a.Draft, a.Revision, a.EditedBy, now); err != nil {
			return nil, fmt.Errorf("update assignment: %w", err)
		}
		if err := audit.Record(ctx, tx, audit.Entry{Action: "assignment.updated", Object: a.ID, Course: a.CourseID, Before: was, After: a.state()}); err != nil {
			return nil, err
		}
		return a.message(true)
	})
}

// CopyAssignment implements assessmentpb.AssignmentServiceServer.
func (r *assignmentServer) CopyAssignment(ctx context.Context, req *assessmentpb.CopyAssignmentRequest) (*assessmentpb.Assignment, error) {
	s := r.service
	to := orElse(req.GetToCourseId(), req.GetCourseId())
	if to != req.GetCourseId() {
		if err := s.may(ctx, to, "assessment.edit"); err != nil {
			return nil, err
		}
	}
	c, err := s.planAssignmentCopy(ctx, req.GetCourseId(), req.GetAssignmentId(), to)
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.Assignment, error) {
		a, err := s.storeAssignmentCopy(ctx, tx, c, id.New("assignment"), strings.TrimSpace(req.GetTitle()))
		if err != nil {
			return nil, err
		}
		return a.message(true)
	})
}

// DeleteAssignment implements assessmentpb.AssignmentServiceServer. Who hands in at the
// same time is before it, and it stays, or behind it, and finds none.
func (r *assignmentServer) DeleteAssignment(ctx context.Context, req *assessmentpb.DeleteAssignmentRequest) (*emptypb.Empty, error) {
	s := r.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		a, err := readAssignment(ctx, tx, req.GetCourseId(), req.GetAssignmentId(), "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		if err := a.match(ctx, s.time()); err != nil {
			return nil, err
		}
		var submitted, placed bool
		if err := tx.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM submission WHERE assignment_id = $1 AND last_number > 0),
				EXISTS (SELECT FROM placement WHERE ref = $1 AND course_id = $2 AND present)`, a.ID, a.CourseID).Scan(&submitted, &placed); err != nil {
			return nil, fmt.Errorf("uses of assignment: %w", err)
		}
		switch {
		case submitted:
			return nil, ErrAssignmentSubmitted
		case placed:
			return nil, ErrAssignmentPlaced
		}
		for _, sql := range []string{
			`UPDATE submission_file SET state = 'dropped' WHERE state = 'draft' AND submission_id IN (SELECT id FROM submission WHERE assignment_id = $1)`,
			`UPDATE submission SET draft = NULL, draft_at = NULL, draft_revision = draft_revision + 1 WHERE assignment_id = $1`,
			`UPDATE assignment SET deleted_at = now() WHERE id = $1`,
		} {
			if _, err := tx.Exec(ctx, sql, a.ID); err != nil {
				return nil, fmt.Errorf("delete assignment: %w", err)
			}
		}
		tx.AfterCommit(s.wakeFiles)
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{Action: "assignment.deleted", Object: a.ID, Course: a.CourseID, Before: a.state()})
	})
}
