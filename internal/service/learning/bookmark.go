package learning

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// bookmark is a bookmark as it is stored.
type bookmark struct {
	BookmarkID string
	CourseID   string
	ItemID     string
	Block      int32
	MediaID    string
	PositionMs int64
	Label      []byte
	CreatedAt  time.Time
}

const bookmarkColumns = `bookmark_id, course_id, item_id, block, media_id, position_ms, label, created_at`

const labelField = "bookmark label"

// pb returns the bookmark without its label, as answers are kept for repeated calls.
func (b bookmark) pb() *learningpb.Bookmark {
	return &learningpb.Bookmark{
		Id: b.BookmarkID, CourseId: b.CourseID, ItemId: b.ItemID, Anchor: anchorPB(b.Block, b.MediaID, b.PositionMs), CreatedAt: timestamppb.New(b.CreatedAt),
	}
}

// CreateBookmark implements learningpb.NoteServiceServer.
func (s *Service) CreateBookmark(ctx context.Context, req *learningpb.CreateBookmarkRequest) (*learningpb.Bookmark, error) {
	account := auth.From(ctx).Account
	out, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*learningpb.Bookmark, error) {
		if err := s.seenItem(ctx, tx, account, req.GetCourseId(), req.GetItemId()); err != nil {
			return nil, err
		}
		n, err := lockOwn(ctx, tx, "bookmark", account)
		if err != nil {
			return nil, err
		}
		b := bookmark{BookmarkID: id.New("bookmark"), CreatedAt: s.now()}
		a := req.GetAnchor()
		err = tx.QueryRow(ctx, `
			SELECT bookmark_id, created_at FROM bookmark
			WHERE account_id = $1 AND course_id = $2 AND item_id = $3 AND block = $4 AND media_id = $5 AND position_ms = $6`,
			account, req.GetCourseId(), req.GetItemId(), a.GetBlock(), a.GetMediaId(), a.GetPositionMs()).Scan(&b.BookmarkID, &b.CreatedAt)
		if err != nil && !pg.NoRows(err) {
			return nil, fmt.Errorf("bookmark: %w", err)
		}
		if pg.NoRows(err) && n >= maxKept {
			return nil, ErrBookmarksFull
		}
		if req.GetLabel() != "" {
			key, err := s.vault.KeyIn(ctx, tx, account)
			if err != nil {
				return nil, err
			}
			b.Label = key.Seal(labelField+b.BookmarkID, []byte(req.GetLabel()))
		}
		b.CourseID, b.ItemID, b.Block, b.MediaID, b.PositionMs = req.GetCourseId(), req.GetItemId(), a.GetBlock(), a.GetMediaId(), a.GetPositionMs()
		_, err = tx.Exec(ctx, `
			INSERT INTO bookmark (`+bookmarkColumns+`, account_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			ON CONFLICT (bookmark_id) DO UPDATE SET label = EXCLUDED.label`,
			b.BookmarkID, b.CourseID, b.ItemID, b.Block, b.MediaID, b.PositionMs, b.Label, b.CreatedAt, account)
		if err != nil {
			return nil, fmt.Errorf("store bookmark: %w", err)
		}
		return b.pb(), audit.Record(ctx, tx, audit.Entry{Action: "bookmark.set", Object: b.BookmarkID, Course: b.CourseID, Person: account})
	})
	if err != nil {
		return nil, err
	}
	out.Label = req.GetLabel()
	return out, nil
}

// DeleteBookmark implements learningpb.NoteServiceServer.
func (s *Service) DeleteBookmark(ctx context.Context, req *learningpb.DeleteBookmarkRequest) (*learningpb.DeleteBookmarkResponse, error) {
	account := auth.From(ctx).Account
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*learningpb.DeleteBookmarkResponse, error) {
		var course string
		err := tx.QueryRow(ctx, `DELETE FROM bookmark WHERE bookmark_id = $1 AND account_id = $2 RETURNING course_id`, req.GetBookmarkId(), account).Scan(&course)
		if pg.NoRows(err) {
			return nil, ErrBookmarkNotFound
		}
		if err != nil {
			return nil, fmt.Errorf("delete bookmark: %w", err)
		}
		return &learningpb.DeleteBookmarkResponse{}, audit.Record(ctx, tx, audit.Entry{
			Action: "bookmark.deleted", Object: req.GetBookmarkId(), Course: course, Person: account,
		})
	})
}

// ListBookmarks implements learningpb.NoteServiceServer.
func (s *Service) ListBookmarks(ctx context.Context, req *learningpb.ListBookmarksRequest) (*learningpb.ListBookmarksResponse, error) {
	account := auth.From(ctx).Account
	beforeID, err := before("bookmark", req.GetCursor())
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := s.db.Query(ctx, `
		SELECT `+bookmarkColumns+` FROM bookmark WHERE account_id = $1 AND ($2 = '' OR course_id = $2) AND bookmark_id < $3
		ORDER BY bookmark_id DESC LIMIT $4`, account, req.GetCourseId(), beforeID, size+1)
	if err != nil {
		return nil, fmt.Errorf("bookmarks: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[bookmark])
	if err != nil {
		return nil, fmt.Errorf("bookmarks: %w", err)
	}
	out := &learningpb.ListBookmarksResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.Cursor(list[size-1].BookmarkID)
	}
	keys, err := s.vault.KeysOf(ctx, account)
	if err != nil {
		return nil, err
	}
	for _, b := range list {
		m := b.pb()
		if key := keys[account]; key != nil && b.Label != nil {
			label, err := key.Unseal(labelField+b.BookmarkID, b.Label)
			if err != nil {
				return nil, fmt.Errorf("bookmark %s: %w", b.BookmarkID, err)
			}
			m.Label = string(label)
		}
		out.Items = append(out.Items, m)
	}
	return out, nil
}
