package assessment

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// assignmentVersion is a published version of an assignment. It is shared and never
// changed.
type assignmentVersion struct {
	CourseID     string
	AssignmentID string
	Number       int32
	Title        string
	Settings     *assessmentpb.AssignmentSettings
	Points       exact.Number
}

type assignmentVersionKey struct {
	assignmentID string
	number       int32
}

// assignmentVersion returns a published version.
func (s *Service) assignmentVersion(ctx context.Context, q pg.Querier, assignmentID string, number int32) (*assignmentVersion, error) {
	key := assignmentVersionKey{assignmentID, number}
	if v, ok := s.assignmentVersions.GetIfPresent(key); ok {
		return v, nil
	}
	v := &assignmentVersion{AssignmentID: assignmentID, Number: number, Settings: &assessmentpb.AssignmentSettings{}}
	var text []byte
	if err := q.QueryRow(ctx, `
		SELECT a.course_id, v.title, v.settings FROM assignment_version v JOIN assignment a ON a.id = v.assignment_id
		WHERE v.assignment_id = $1 AND v.version = $2`, assignmentID, number).Scan(&v.CourseID, &v.Title, &text); err != nil {
		return nil, fmt.Errorf("version of assignment: %w", err)
	}
	if err := proto.Unmarshal(text, v.Settings); err != nil {
		return nil, fmt.Errorf("version %d of %s: %w", number, assignmentID, err)
	}
	var err error
	if v.Points, err = exact.Parse(v.Settings.GetPoints()); err != nil {
		return nil, fmt.Errorf("points of %s: %w", assignmentID, err)
	}
	s.assignmentVersions.Set(key, v)
	return v, nil
}

// PublishAssignment implements assessmentpb.AssignmentServiceServer.
func (r *assignmentServer) PublishAssignment(ctx context.Context, req *assessmentpb.PublishAssignmentRequest) (*assessmentpb.Assignment, error) {
	s := r.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.Assignment, error) {
		a, err := readAssignment(ctx, tx, req.GetCourseId(), req.GetAssignmentId(), "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		if err := a.match(ctx, s.time()); err != nil {
			return nil, err
		}
		before := a.state()
		made, err := s.publishAssignment(ctx, tx, &a, req.GetMessage())
		if err != nil {
			return nil, err
		}
		if !made && a.Revision == a.PublishedRevision {
			tx.Exempt("what is published is what there was")
			return a.message(true)
		}
		if _, err := tx.Exec(ctx, `UPDATE assignment SET version = $2, published_revision = $3 WHERE id = $1`, a.ID, a.Version, a.Revision); err != nil {
			return nil, fmt.Errorf("publish assignment: %w", err)
		}
		a.PublishedRevision = a.Revision
		if err := audit.Record(ctx, tx, audit.Entry{Action: "assignment.published", Object: a.ID, Course: a.CourseID, Before: before, After: a.state()}); err != nil {
			return nil, err
		}
		return a.message(true)
	})
}

// publishAssignment makes a version of the draft of a locked assignment, and reports
// whether it differs from the last one: otherwise there is no new one.
func (s *Service) publishAssignment(ctx context.Context, tx *pg.Tx, a *assignment, message string) (bool, error) {
	drafted, err := a.settings()
	if err != nil {
		return false, err
	}
	settings, err := checkedSettings(drafted)
	if err != nil {
		return false, err
	}
	if !takesSomething(settings) {
		return false, ErrAssignmentEmpty
	}
	if err := checkGroups(ctx, tx, a.CourseID, settings); err != nil {
		return false, err
	}
	text, err := settingsText(settings)
	if err != nil {
		return false, err
	}
	if a.Version > 0 {
		last, err := s.assignmentVersion(ctx, tx, a.ID, a.Version)
		if err != nil {
			return false, err
		}
		was, err := settingsText(last.Settings)
		if err != nil {
			return false, err
		}
		if bytes.Equal(was, text) && last.Title == a.Title {
			return false, nil
		}
		if err := keepsPromises(ctx, tx, a.ID, last.Settings, settings); err != nil {
			return false, err
		}
	}
	a.Version++
	if _, err := tx.Exec(ctx, `
		INSERT INTO assignment_version (assignment_id, version, title, settings, message, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		a.ID, a.Version, a.Title, text, message, auth.From(ctx).Account, s.time()); err != nil {
		return false, fmt.Errorf("insert version of assignment: %w", err)
	}
	if _, err := tx.Exec(ctx, `UPDATE assignment SET peer_reviewed = $2, peer_only = $3 WHERE id = $1`,
		a.ID, settings.GetPeerReview() != nil, peersWeigh(settings) && staffWeight(settings).Sign() == 0); err != nil {
		return false, fmt.Errorf("publish assignment: %w", err)
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO assignment_remark (assignment_id) SELECT $1 WHERE EXISTS (SELECT FROM assignment_mark WHERE assignment_id = $1)
		ON CONFLICT ON CONSTRAINT assignment_remark_pkey DO NOTHING`, a.ID); err != nil {
		return false, fmt.Errorf("mark anew: %w", err)
	}
	tx.AfterCommit(s.wakeFiles)
	return true, nil
}

// keepsPromises refuses to have work handed in by others than before, or to tell who has
// handed in what where that was not to be told.
func keepsPromises(ctx context.Context, tx *pg.Tx, assignmentID string, was, is *assessmentpb.AssignmentSettings) error {
	if (was.GetGroup() == nil) == (is.GetGroup() == nil) && (!was.GetAnonymous() || is.GetAnonymous()) {
		return nil
	}
	var submitted bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM submission WHERE assignment_id = $1 AND last_number > 0)`, assignmentID).Scan(&submitted); err != nil {
		return fmt.Errorf("submissions of assignment: %w", err)
	}
	if submitted {
		return ErrAssignmentSubmitted
	}
	return nil
}

// ListAssignmentVersions implements assessmentpb.AssignmentServiceServer.
func (r *assignmentServer) ListAssignmentVersions(ctx context.Context, req *assessmentpb.ListAssignmentVersionsRequest) (*assessmentpb.ListAssignmentVersionsResponse, error) {
	db := r.service.db
	values, err := page.Values(req.GetCursor(), 1)
	if err != nil {
		return nil, err
	}
	before := int64(math.MaxInt32)
	if values != nil {
		if before, err = strconv.ParseInt(values[0], 10, 32); err != nil {
			return nil, page.ErrCursor
		}
	}
	if _, err := readAssignment(ctx, db, req.GetCourseId(), req.GetAssignmentId(), ""); err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := db.Query(ctx, `
		SELECT version, title, settings, message, created_by, created_at FROM assignment_version
		WHERE assignment_id = $1 AND version < $2 ORDER BY version DESC LIMIT $3`, req.GetAssignmentId(), before, size+1)
	if err != nil {
		return nil, fmt.Errorf("versions of assignment: %w", err)
	}
	out := &assessmentpb.ListAssignmentVersionsResponse{}
	out.Items, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.AssignmentVersion, error) {
		var (
			text []byte
			at   time.Time
		)
		v := &assessmentpb.AssignmentVersion{Settings: &assessmentpb.AssignmentSettings{}}
		if err := row.Scan(&v.Number, &v.Title, &text, &v.Message, &v.PublishedBy, &at); err != nil {
			return nil, err
		}
		v.PublishedAt = timestamppb.New(at)
		return v, proto.Unmarshal(text, v.GetSettings())
	})
	if err != nil {
		return nil, fmt.Errorf("versions of assignment: %w", err)
	}
	if len(out.GetItems()) > size {
		out.Items = out.GetItems()[:size]
		out.NextCursor = page.Cursor(strconv.Itoa(int(out.GetItems()[size-1].GetNumber())))
	}
	return out, nil
}
