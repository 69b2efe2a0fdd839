package courses

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

const (
	maxDepth    = 3 // of modules in modules
	maxSiblings = MaxModules + MaxLessons
)

// above returns a module and those that it is in, from the inside out; none for
// the top, and for a module that the draft does not have.
func above(ctx context.Context, tx *pg.Tx, courseID, moduleID string) ([]string, error) {
	rows, err := tx.Query(ctx, `
		WITH RECURSIVE up AS (
			SELECT id, parent_id, 1 AS step FROM item WHERE course_id = $1 AND id = $2 AND kind = 'module'
			UNION ALL
			SELECT i.id, i.parent_id, up.step + 1 FROM up JOIN item i ON i.id = up.parent_id AND i.course_id = $1)
		SELECT id FROM up ORDER BY step`, courseID, moduleID)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// below returns an item and all that is in it, with how many modules deep the
// deepest module of it goes, 0 when it is none itself.
func below(ctx context.Context, tx *pg.Tx, courseID, itemID string) (ids []string, depth int, err error) {
	rows, err := tx.Query(ctx, `
		WITH RECURSIVE down AS (
			SELECT id, kind, 1 AS depth FROM item WHERE course_id = $1 AND id = $2
			UNION ALL
			SELECT i.id, i.kind, down.depth + 1 FROM down JOIN item i ON i.course_id = $1 AND i.parent_id = down.id)
		SELECT id, CASE kind WHEN 'module' THEN depth ELSE 0 END FROM down`, courseID, itemID)
	if err != nil {
		return nil, 0, err
	}
	var one string
	var deep int
	_, err = pgx.ForEachRow(rows, []any{&one, &deep}, func() error {
		ids, depth = append(ids, one), max(depth, deep)
		return nil
	})
	return ids, depth, err
}

// checkParent refuses a module in which an item can't be. The course is locked,
// so that no two moves make a circle together.
func checkParent(ctx context.Context, tx *pg.Tx, courseID string, it item, parentID string) error {
	if parentID == "" {
		if it.Kind != "module" {
			return ErrNeedsModule
		}
		return nil
	}
	chain, err := above(ctx, tx, courseID, parentID)
	switch {
	case err != nil:
		return err
	case len(chain) == 0:
		return ErrModuleNotFound
	case it.Kind != "module":
		return nil
	case slices.Contains(chain, it.ID):
		return ErrInItself
	}
	_, depth, err := below(ctx, tx, courseID, it.ID)
	if err == nil && len(chain)+max(depth, 1) > maxDepth {
		err = ErrTooDeep
	}
	return err
}

// place moves an item to a parent and a place among its children; nil for where
// it is, and the end under another parent. The course is locked unless both are
// nil.
func (s *Service) place(ctx context.Context, tx *pg.Tx, courseID string, it *item, parentID *string, at *int32) error {
	to := it.ParentID
	if parentID != nil && *parentID != to {
		to = *parentID
		if err := checkParent(ctx, tx, courseID, *it, to); err != nil {
			return err
		}
	}
	return s.move(ctx, tx, courseID, it, to, at)
}

// named returns a module that a request names; nil for none.
func named(moduleID *string) *string {
	if moduleID != nil && *moduleID == "" {
		return nil
	}
	return moduleID
}

func (s *Service) moveItem(ctx context.Context, req *coursespb.MoveItemRequest) (*coursespb.OutlineItem, error) {
	courseID := req.GetCourseId()
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.OutlineItem, error) {
		if err := lockCourse(ctx, tx, courseID); err != nil {
			return nil, err
		}
		it, err := lockItem(ctx, tx, courseID, "", req.GetItemId(), ErrItemNotFound)
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, etag(it.Revision)); err != nil {
			return nil, err
		}
		was := it
		if err := s.place(ctx, tx, courseID, &it, new(req.GetParentId()), new(req.GetPosition())); err != nil {
			return nil, err
		}
		if err := s.save(ctx, tx, courseID, was, &it, false); err != nil {
			return nil, err
		}
		o, err := readOutline(ctx, tx, draftOutline, courseID)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(o.items, func(e entry) bool { return e.ID == it.ID })
		return protoEntry(o.items[i]), nil
	})
}

// deleteItem removes an item and all that is in it from a draft, unless a rule of
// what stays names some of it.
func (s *Service) deleteItem(ctx context.Context, req proto.Message, courseID, kind, itemID string, absent error) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		if err := lockCourse(ctx, tx, courseID); err != nil {
			return nil, err
		}
		it, err := lockItem(ctx, tx, courseID, kind, itemID, absent)
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, etag(it.Revision)); err != nil {
			return nil, err
		}
		ids, _, err := below(ctx, tx, courseID, itemID)
		if err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM item WHERE course_id = $1 AND id = ANY($2)`, courseID, ids); err != nil {
			return nil, err
		}
		if err := checkReleases(ctx, tx, courseID); err != nil {
			return nil, err
		}
		noun, _, _ := strings.Cut(it.ID, "_")
		return &emptypb.Empty{}, s.touch(ctx, tx, courseID, audit.Entry{Action: noun + ".deleted", Object: it.ID, Before: it})
	})
}
