package courses

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// activity is a quiz or an assignment of a draft as it is shown.
type activity struct {
	content

	ID        string
	Kind      string
	ModuleID  string
	Place     int32
	Revision  int64
	UpdatedAt time.Time
	Hash      []byte
	Number    int32
}

// readActivity returns a quiz or an assignment of a draft.
func readActivity(ctx context.Context, db pg.Querier, courseID, activityID string) (*coursespb.Activity, error) {
	rows, err := db.Query(ctx, `
		SELECT i.id, i.kind, i.parent_id AS module_id, i.revision, v.created_at AS updated_at, v.hash, v.number,
			v.title, v.preview, v.body, v.settings, v.activity_ref,
			(SELECT count(*) FROM item s
				WHERE s.course_id = i.course_id AND s.parent_id = i.parent_id AND (s.position, s.id) < (i.position, i.id))::int AS place
		FROM item i JOIN item_version v ON v.id = i.version_id
		WHERE i.course_id = $1 AND i.id = $2 AND i.kind IN ('quiz', 'assignment')`, courseID, activityID)
	if err != nil {
		return nil, err
	}
	a, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[activity])
	if pg.NoRows(err) {
		return nil, ErrActivityNotFound
	}
	if err != nil {
		return nil, err
	}
	hash, err := a.shownHash(a.Kind, a.Hash)
	return &coursespb.Activity{
		Id: a.ID, CourseId: courseID, ModuleId: a.ModuleID, Kind: a.Kind, ActivityRef: a.ActivityRef, Title: a.Title, Position: a.Place,
		Settings: a.Settings.M, UpdatedAt: timestamppb.New(a.UpdatedAt), ContentHash: hash, ContentVersion: a.Number, Etag: etag(a.Revision),
	}, err
}

func (s *Service) createActivity(ctx context.Context, req *coursespb.CreateActivityRequest) (*coursespb.Activity, error) {
	courseID := req.GetCourseId()
	if err := checkSettings(req.GetKind(), req.GetSettings()); err != nil {
		return nil, err
	}
	c := content{
		Title: strings.TrimSpace(req.GetTitle()), ActivityRef: req.GetActivityRef(), Settings: changedSettings(settings{}, req.GetSettings()),
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Activity, error) {
		if err := lockCourse(ctx, tx, courseID); err != nil {
			return nil, err
		}
		if _, err := lockItem(ctx, tx, courseID, "module", req.GetModuleId(), ErrModuleNotFound); err != nil {
			return nil, err
		}
		it := item{ID: id.New("activity"), Kind: req.GetKind(), ParentID: req.GetModuleId(), Revision: 1}
		if err := s.add(ctx, tx, courseID, &it, c, nil); err != nil {
			return nil, err
		}
		if err := s.touch(ctx, tx, courseID, audit.Entry{Action: "activity.created", Object: it.ID, After: it}); err != nil {
			return nil, err
		}
		return readActivity(ctx, tx, courseID, it.ID)
	})
}

func (s *Service) updateActivity(ctx context.Context, req *coursespb.UpdateActivityRequest) (*coursespb.Activity, error) {
	courseID := req.GetCourseId()
	structural := req.Position != nil || req.ModuleId != nil || req.GetSettings() != nil
	if structural {
		if err := editsAll(ctx); err != nil {
			return nil, err
		}
	}
	// Nothing in settings depends on which of the two it is.
	if err := checkSettings("quiz", req.GetSettings()); err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Activity, error) {
		if structural {
			if err := lockCourse(ctx, tx, courseID); err != nil {
				return nil, err
			}
		}
		it, err := lockItem(ctx, tx, courseID, "activity", req.GetActivityId(), ErrActivityNotFound)
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, etag(it.Revision)); err != nil {
			return nil, err
		}
		was := it
		c, err := readVersion(ctx, tx, it.VersionID)
		if err != nil {
			return nil, err
		}
		next := c
		if req.Title != nil {
			next.Title = strings.TrimSpace(req.GetTitle())
		}
		if req.ActivityRef != nil {
			next.ActivityRef = req.GetActivityRef()
		}
		next.Settings = changedSettings(c.Settings, req.GetSettings())
		if err := s.replace(ctx, tx, &it, c, next, nil); err != nil {
			return nil, err
		}
		if err := s.place(ctx, tx, courseID, &it, named(req.ModuleId), req.Position); err != nil {
			return nil, err
		}
		if err := s.save(ctx, tx, courseID, was, &it, req.GetSettings() != nil); err != nil {
			return nil, err
		}
		return readActivity(ctx, tx, courseID, it.ID)
	})
}

func (s *Service) deleteActivity(ctx context.Context, req *coursespb.DeleteActivityRequest) (*emptypb.Empty, error) {
	return s.deleteItem(ctx, req, req.GetCourseId(), "activity", req.GetActivityId(), ErrActivityNotFound)
}

// checkActivities refuses blocks that name no quiz or assignment of the draft.
func checkActivities(ctx context.Context, tx *pg.Tx, courseID string, uses []use) error {
	if len(uses) == 0 {
		return nil
	}
	ids := make([]string, len(uses))
	for i, u := range uses {
		ids[i] = u.id
	}
	kinds, err := kindsOf(ctx, tx, courseID, ids)
	if err != nil {
		return err
	}
	var bad []fault.Field
	for _, u := range uses {
		if kinds[u.id] != u.kind {
			bad = append(bad, fault.Field{Path: u.path, Code: u.kind + ".not_found", Hint: "Add it to this course first."})
		}
	}
	return refused("block.invalid", "A block names a quiz or an assignment that is not of this course.", bad)
}

// kindsOf returns of which kind items of a draft are, by id.
func kindsOf(ctx context.Context, tx *pg.Tx, courseID string, ids []string) (map[string]string, error) {
	rows, err := tx.Query(ctx, `SELECT id, kind FROM item WHERE course_id = $1 AND id = ANY($2)`, courseID, ids)
	if err != nil {
		return nil, err
	}
	kinds := map[string]string{}
	var itemID, kind string
	_, err = pgx.ForEachRow(rows, []any{&itemID, &kind}, func() error {
		kinds[itemID] = kind
		return nil
	})
	return kinds, err
}
