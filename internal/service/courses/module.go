package courses

import (
	"context"
	"strings"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

func (s *Service) createModule(ctx context.Context, req *coursespb.CreateModuleRequest) (*coursespb.Module, error) {
	courseID := req.GetCourseId()
	if err := checkSettings("module", req.GetSettings()); err != nil {
		return nil, err
	}
	c := content{Title: strings.TrimSpace(req.GetTitle()), Settings: changedSettings(settings{}, req.GetSettings())}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Module, error) {
		if err := lockCourse(ctx, tx, courseID); err != nil {
			return nil, err
		}
		it := item{ID: id.New("module"), Kind: "module", ParentID: req.GetParentId(), Revision: 1}
		if err := checkParent(ctx, tx, courseID, it, it.ParentID); err != nil {
			return nil, err
		}
		if err := s.add(ctx, tx, courseID, &it, c, nil); err != nil {
			return nil, err
		}
		if err := s.touch(ctx, tx, courseID, audit.Entry{Action: "module.created", Object: it.ID, After: it}); err != nil {
			return nil, err
		}
		place, err := placeOf(ctx, tx, courseID, it.ID)
		return protoModule(courseID, it, c, place), err
	})
}

// add puts a new item with its content at the end of its siblings, where the
// course has room. The course is locked.
func (s *Service) add(ctx context.Context, tx *pg.Tx, courseID string, it *item, c content, html []string) (err error) {
	if err := checkRoom(ctx, tx, courseID, it.Kind); err != nil {
		return err
	}
	if it.VersionID, err = s.insertVersion(ctx, tx, *it, c, html); err != nil {
		return err
	}
	if err := insertItem(ctx, tx, courseID, *it); err != nil {
		return err
	}
	if c.Settings.M.GetRelease() == nil {
		return nil // what is new and always open closes nothing
	}
	return checkReleases(ctx, tx, courseID)
}

func (s *Service) updateModule(ctx context.Context, req *coursespb.UpdateModuleRequest) (*coursespb.Module, error) {
	courseID := req.GetCourseId()
	structural := req.Position != nil || req.ParentId != nil || req.GetSettings() != nil
	if structural {
		if err := editsAll(ctx); err != nil {
			return nil, err
		}
	}
	if err := checkSettings("module", req.GetSettings()); err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Module, error) {
		if structural {
			if err := lockCourse(ctx, tx, courseID); err != nil {
				return nil, err
			}
		}
		it, err := lockItem(ctx, tx, courseID, "module", req.GetModuleId(), ErrModuleNotFound)
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
		next.Settings = changedSettings(c.Settings, req.GetSettings())
		if err := s.replace(ctx, tx, &it, c, next, nil); err != nil {
			return nil, err
		}
		if err := s.place(ctx, tx, courseID, &it, req.ParentId, req.Position); err != nil {
			return nil, err
		}
		if err := s.save(ctx, tx, courseID, was, &it, req.GetSettings() != nil); err != nil {
			return nil, err
		}
		place, err := placeOf(ctx, tx, courseID, it.ID)
		return protoModule(courseID, it, next, place), err
	})
}

func (s *Service) deleteModule(ctx context.Context, req *coursespb.DeleteModuleRequest) (*emptypb.Empty, error) {
	return s.deleteItem(ctx, req, req.GetCourseId(), "module", req.GetModuleId(), ErrModuleNotFound)
}

// move gives an item the place asked for among the children of a parent, the
// end of them when none is and it is a new parent. The course is locked.
func (s *Service) move(ctx context.Context, tx *pg.Tx, courseID string, it *item, parentID string, place *int32) (err error) {
	switch {
	case place == nil && it.ParentID == parentID:
		return nil
	case place == nil:
		it.ParentID = parentID
		it.Position, err = positionAt(ctx, tx, courseID, parentID, it.ID, maxSiblings)
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

// save writes an item that differs from what it was. With another parent or other
// settings, everything has to be able to open still.
func (s *Service) save(ctx context.Context, tx *pg.Tx, courseID string, was item, it *item, set bool) error {
	if *it == was {
		return nil
	}
	if err := updateItem(ctx, tx, it); err != nil {
		return err
	}
	if set || it.ParentID != was.ParentID {
		if err := checkReleases(ctx, tx, courseID); err != nil {
			return err
		}
	}
	kind, _, _ := strings.Cut(it.ID, "_")
	return s.touch(ctx, tx, courseID, audit.Entry{Action: kind + ".updated", Object: it.ID, Before: was, After: *it})
}
