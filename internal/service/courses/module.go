package courses

import (
	"context"
	"strings"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

func (s *Service) createModule(ctx context.Context, req *coursespb.CreateModuleRequest) (*coursespb.Module, error) {
	courseID, title := req.GetCourseId(), strings.TrimSpace(req.GetTitle())
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Module, error) {
		if err := lockCourse(ctx, tx, courseID); err != nil {
			return nil, err
		}
		n, err := countItems(ctx, tx, courseID, "module")
		if err != nil {
			return nil, err
		}
		if n >= MaxModules {
			return nil, ErrTooManyModules
		}
		it := item{ID: id.New("module"), Revision: 1}
		if it.VersionID, err = s.insertVersion(ctx, tx, it.ID, content{Title: title}); err != nil {
			return nil, err
		}
		if err := insertItem(ctx, tx, courseID, "module", it); err != nil {
			return nil, err
		}
		return protoModule(courseID, it, title, int32(n)), s.touch(ctx, tx, courseID, audit.Entry{Action: "module.created", Object: it.ID, After: it}) //nolint:gosec // at most MaxModules
	})
}

func (s *Service) updateModule(ctx context.Context, req *coursespb.UpdateModuleRequest) (*coursespb.Module, error) {
	courseID := req.GetCourseId()
	if req.Position != nil {
		if err := editsAll(ctx); err != nil {
			return nil, err
		}
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Module, error) {
		if req.Position != nil {
			if err := lockCourse(ctx, tx, courseID); err != nil {
				return nil, err
			}
		}
		it, err := lockItem(ctx, tx, courseID, "module", req.GetModuleId(), ErrModuleNotFound)
		if err != nil {
			return nil, err
		}
		if err := s.matchItem(ctx, tx, courseID, it, req.Title != nil); err != nil {
			return nil, err
		}
		was := it
		c, err := readVersion(ctx, tx, it.VersionID)
		if err != nil {
			return nil, err
		}
		if title := strings.TrimSpace(req.GetTitle()); req.Title != nil && title != c.Title {
			c.Title = title
			if it.VersionID, err = s.insertVersion(ctx, tx, it.ID, c); err != nil {
				return nil, err
			}
		}
		if err := s.move(ctx, tx, courseID, &it, "", req.Position); err != nil {
			return nil, err
		}
		if err := s.save(ctx, tx, courseID, was, &it); err != nil {
			return nil, err
		}
		place, err := placeOf(ctx, tx, courseID, it.ID)
		return protoModule(courseID, it, c.Title, place), err
	})
}

func (s *Service) deleteModule(ctx context.Context, req *coursespb.DeleteModuleRequest) (*emptypb.Empty, error) {
	courseID, moduleID := req.GetCourseId(), req.GetModuleId()
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		if err := lockCourse(ctx, tx, courseID); err != nil {
			return nil, err
		}
		it, err := lockItem(ctx, tx, courseID, "module", moduleID, ErrModuleNotFound)
		if err != nil {
			return nil, err
		}
		if err := s.matchItem(ctx, tx, courseID, it, true); err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM item WHERE course_id = $1 AND (id = $2 OR parent_id = $2)`, courseID, moduleID); err != nil {
			return nil, err
		}
		return &emptypb.Empty{}, s.touch(ctx, tx, courseID, audit.Entry{Action: "module.deleted", Object: it.ID, Before: it})
	})
}

// move gives an item the place asked for among the children of a parent, the
// end of them when none is and it is a new parent. The course is locked.
func (s *Service) move(ctx context.Context, tx *pg.Tx, courseID string, it *item, parentID string, place *int32) (err error) {
	switch {
	case place == nil && it.ParentID == parentID:
		return nil
	case place == nil:
		it.ParentID = parentID
		it.Position, err = positionAt(ctx, tx, courseID, parentID, it.ID, MaxLessons)
		return err
	}
	if it.ParentID == parentID {
		now, err := placeOf(ctx, tx, courseID, it.ID)
		if err != nil || now == *place {
			return err
		}
	}
	it.ParentID = parentID
	it.Position, err = positionAt(ctx, tx, courseID, parentID, it.ID, int(*place))
	return err
}

// save writes an item that differs from what it was.
func (s *Service) save(ctx context.Context, tx *pg.Tx, courseID string, was item, it *item) error {
	if *it == was {
		return nil
	}
	if err := s.updateItem(ctx, tx, it); err != nil {
		return err
	}
	kind, _, _ := strings.Cut(it.ID, "_")
	return s.touch(ctx, tx, courseID, audit.Entry{Action: kind + ".updated", Object: it.ID, Before: was, After: *it})
}
