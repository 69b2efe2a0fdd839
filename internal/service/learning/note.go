package learning

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

const (
	maxKept   = 5_000 // notes of a person, and bookmarks
	maxLooked = 500   // notes that one page of a search opens
	noteField = "note"
)

// note is a note as it is stored.
type note struct {
	NoteID     string
	CourseID   string
	ItemID     string
	Block      int32
	MediaID    string
	PositionMs int64
	Text       []byte
	Revision   int32
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

const noteColumns = `note_id, course_id, item_id, block, media_id, position_ms, text, revision, created_at, updated_at`

// pb returns the note without its text, as answers are kept for repeated calls.
func (n note) pb() *learningpb.Note {
	return &learningpb.Note{
		Id: n.NoteID, CourseId: n.CourseID, ItemId: n.ItemID, Anchor: anchorPB(n.Block, n.MediaID, n.PositionMs),
		Etag: strconv.Itoa(int(n.Revision)), CreatedAt: timestamppb.New(n.CreatedAt), UpdatedAt: timestamppb.New(n.UpdatedAt),
	}
}

func anchorPB(block int32, media string, ms int64) *learningpb.Anchor {
	if block == 0 && media == "" && ms == 0 {
		return nil
	}
	return &learningpb.Anchor{Block: block, MediaId: media, PositionMs: ms}
}

// seenItem refuses an item that the version somebody sees does not have, or that is
// hidden from them.
func (s *Service) seenItem(ctx context.Context, q pg.Querier, accountID, courseID, itemID string) error {
	var found bool
	err := q.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM course k LEFT JOIN learner l ON l.course_id = k.course_id AND l.account_id = $2
			JOIN published_item i ON i.course_id = k.course_id AND i.version = `+seen+` AND i.item_id = $3
			WHERE k.course_id = $1)`, courseID, accountID, itemID).Scan(&found)
	if err != nil {
		return fmt.Errorf("item: %w", err)
	}
	closed, err := s.closedTo(ctx, q, accountID, []string{courseID})
	if err != nil {
		return err
	}
	if !found || closed[place{courseID, itemID}] == hidden {
		return ErrItemNotFound
	}
	return nil
}

// lockOwn has whoever adds to somebody's notes or bookmarks take turns, so that
// those counted are all there are.
func lockOwn(ctx context.Context, tx *pg.Tx, table, accountID string) (int, error) {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('learning.' || $1), hashtext($2))`, table, accountID); err != nil {
		return 0, fmt.Errorf("lock: %w", err)
	}
	var n int
	err := tx.QueryRow(ctx, `SELECT count(*) FROM `+pgx.Identifier{table}.Sanitize()+` WHERE account_id = $1`, accountID).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count: %w", err)
	}
	return n, nil
}

// CreateNote implements learningpb.NoteServiceServer.
func (s *Service) CreateNote(ctx context.Context, req *learningpb.CreateNoteRequest) (*learningpb.Note, error) {
	account := auth.From(ctx).Account
	out, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*learningpb.Note, error) {
		if err := s.seenItem(ctx, tx, account, req.GetCourseId(), req.GetItemId()); err != nil {
			return nil, err
		}
		if n, err := lockOwn(ctx, tx, "note", account); err != nil {
			return nil, err
		} else if n >= maxKept {
			return nil, ErrNotesFull
		}
		key, err := s.vault.KeyIn(ctx, tx, account)
		if err != nil {
			return nil, err
		}
		now := s.now()
		n := note{
			NoteID: id.New("note"), CourseID: req.GetCourseId(), ItemID: req.GetItemId(), Block: req.GetAnchor().GetBlock(),
			MediaID: req.GetAnchor().GetMediaId(), PositionMs: req.GetAnchor().GetPositionMs(), Revision: 1, CreatedAt: now, UpdatedAt: now,
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO note (`+noteColumns+`, account_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			n.NoteID, n.CourseID, n.ItemID, n.Block, n.MediaID, n.PositionMs, key.Seal(noteField+n.NoteID, []byte(req.GetText())), n.Revision, now, now, account)
		if err != nil {
			return nil, fmt.Errorf("store note: %w", err)
		}
		return n.pb(), audit.Record(ctx, tx, audit.Entry{Action: "note.created", Object: n.NoteID, Course: n.CourseID, Person: account})
	})
	if err != nil {
		return nil, err
	}
	out.Text = req.GetText()
	return out, nil
}

// ownNote returns a note of the caller, locked where it is to be changed.
func ownNote(ctx context.Context, q pg.Querier, noteID, lock string) (note, error) {
	rows, err := q.Query(ctx, `SELECT `+noteColumns+` FROM note WHERE note_id = $1 AND account_id = $2 `+lock, noteID, auth.From(ctx).Account)
	if err != nil {
		return note{}, fmt.Errorf("note: %w", err)
	}
	n, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[note])
	if pg.NoRows(err) {
		return note{}, ErrNoteNotFound
	}
	if err != nil {
		return note{}, fmt.Errorf("note: %w", err)
	}
	return n, nil
}

// opened returns notes of the caller with their texts. Those of a person whose key
// was erased are gone.
func (s *Service) opened(ctx context.Context, list []note) ([]*learningpb.Note, error) {
	account := auth.From(ctx).Account
	keys, err := s.vault.KeysOf(ctx, account)
	if err != nil {
		return nil, err
	}
	key := keys[account]
	if key == nil {
		return nil, nil
	}
	out := make([]*learningpb.Note, len(list))
	for i, n := range list {
		text, err := key.Unseal(noteField+n.NoteID, n.Text)
		if err != nil {
			return nil, fmt.Errorf("note %s: %w", n.NoteID, err)
		}
		out[i] = n.pb()
		out[i].Text = string(text)
	}
	return out, nil
}

// GetNote implements learningpb.NoteServiceServer.
func (s *Service) GetNote(ctx context.Context, req *learningpb.GetNoteRequest) (*learningpb.Note, error) {
	n, err := ownNote(ctx, s.db, req.GetNoteId(), "")
	if err != nil {
		return nil, err
	}
	out, err := s.opened(ctx, []note{n})
	if err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, ErrNoteNotFound
	}
	return out[0], nil
}

// UpdateNote implements learningpb.NoteServiceServer.
func (s *Service) UpdateNote(ctx context.Context, req *learningpb.UpdateNoteRequest) (*learningpb.Note, error) {
	account := auth.From(ctx).Account
	out, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*learningpb.Note, error) {
		n, err := ownNote(ctx, tx, req.GetNoteId(), "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, strconv.Itoa(int(n.Revision))); err != nil {
			return nil, err
		}
		key, err := s.vault.KeyIn(ctx, tx, account)
		if err != nil {
			return nil, err
		}
		n.Block, n.MediaID, n.PositionMs = req.GetAnchor().GetBlock(), req.GetAnchor().GetMediaId(), req.GetAnchor().GetPositionMs()
		n.Revision++
		n.UpdatedAt = s.now()
		_, err = tx.Exec(ctx, `
			UPDATE note SET block = $2, media_id = $3, position_ms = $4, text = $5, revision = $6, updated_at = $7 WHERE note_id = $1`,
			n.NoteID, n.Block, n.MediaID, n.PositionMs, key.Seal(noteField+n.NoteID, []byte(req.GetText())), n.Revision, n.UpdatedAt)
		if err != nil {
			return nil, fmt.Errorf("update note: %w", err)
		}
		return n.pb(), audit.Record(ctx, tx, audit.Entry{Action: "note.updated", Object: n.NoteID, Course: n.CourseID, Person: account})
	})
	if err != nil {
		return nil, err
	}
	out.Text = req.GetText()
	return out, nil
}

// DeleteNote implements learningpb.NoteServiceServer.
func (s *Service) DeleteNote(ctx context.Context, req *learningpb.DeleteNoteRequest) (*learningpb.DeleteNoteResponse, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*learningpb.DeleteNoteResponse, error) {
		n, err := ownNote(ctx, tx, req.GetNoteId(), "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, strconv.Itoa(int(n.Revision))); err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM note WHERE note_id = $1`, n.NoteID); err != nil {
			return nil, fmt.Errorf("delete note: %w", err)
		}
		return &learningpb.DeleteNoteResponse{}, audit.Record(ctx, tx, audit.Entry{
			Action: "note.deleted", Object: n.NoteID, Course: n.CourseID, Person: auth.From(ctx).Account,
		})
	})
}

// before returns the id behind which a page of ids of a kind goes on, from the
// largest down.
func before(kind, cursor string) (string, error) {
	values, err := page.Values(cursor, 1)
	if err != nil {
		return "", err
	}
	if values == nil {
		return kind + "`", nil // sorts after every id
	}
	if !id.Valid(kind, values[0]) {
		return "", page.ErrCursor
	}
	return values[0], nil
}

// notesOf returns some notes of the caller, newest first.
func (s *Service) notesOf(ctx context.Context, courseID, itemID, beforeID string, limit int) ([]note, error) {
	which := `($2 = '' AND $3 = '')`
	switch {
	case courseID != "" && itemID != "":
		which = `course_id = $2 AND item_id = $3`
	case courseID != "":
		which = `course_id = $2 AND $3 = ''`
	case itemID != "":
		which = `$2 = '' AND item_id = $3`
	}
	rows, err := s.db.Query(ctx, `
		SELECT `+noteColumns+` FROM note WHERE account_id = $1 AND `+which+` AND note_id < $4 ORDER BY note_id DESC LIMIT $5`,
		auth.From(ctx).Account, courseID, itemID, beforeID, limit)
	if err != nil {
		return nil, fmt.Errorf("notes: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[note])
	if err != nil {
		return nil, fmt.Errorf("notes: %w", err)
	}
	return list, nil
}

// ListNotes implements learningpb.NoteServiceServer. A search opens a bounded number
// of notes for each page: sealed texts have no index.
func (s *Service) ListNotes(ctx context.Context, req *learningpb.ListNotesRequest) (*learningpb.ListNotesResponse, error) {
	beforeID, err := before("note", req.GetCursor())
	if err != nil {
		return nil, err
	}
	size, query := page.Size(req.GetPageSize()), strings.ToLower(strings.TrimSpace(req.GetQuery()))
	look := size
	if query != "" {
		look = maxLooked
	}
	list, err := s.notesOf(ctx, req.GetCourseId(), req.GetItemId(), beforeID, look+1)
	if err != nil {
		return nil, err
	}
	more := len(list) > look
	list = list[:min(len(list), look)]
	notes, err := s.opened(ctx, list)
	if err != nil {
		return nil, err
	}
	out := &learningpb.ListNotesResponse{}
	last := ""
	for _, n := range notes {
		if len(out.Items) == size {
			more = true
			break
		}
		last = n.GetId()
		if query == "" || strings.Contains(strings.ToLower(n.GetText()), query) {
			out.Items = append(out.Items, n)
		}
	}
	if more && last != "" {
		out.NextCursor = page.Cursor(last)
	}
	return out, nil
}

// ExportNotes implements learningpb.NoteServiceServer. It holds a hundred notes at a
// time.
func (s *Service) ExportNotes(_ *learningpb.ExportNotesRequest, stream grpc.ServerStreamingServer[learningpb.ExportNotesResponse]) error {
	ctx := stream.Context()
	course, item, noteID := "", "", ""
	if err := stream.Send(&learningpb.ExportNotesResponse{}); err != nil {
		return err
	}
	for {
		rows, err := s.db.Query(ctx, `
			SELECT `+noteColumns+` FROM note WHERE account_id = $1 AND (course_id, item_id, note_id) > ($2, $3, $4)
			ORDER BY course_id, item_id, note_id LIMIT 100`, auth.From(ctx).Account, course, item, noteID)
		if err != nil {
			return fmt.Errorf("notes: %w", err)
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByName[note])
		if err != nil {
			return fmt.Errorf("notes: %w", err)
		}
		if len(list) == 0 {
			return nil
		}
		text, err := s.markdownOf(ctx, list, course, item)
		if err != nil {
			return err
		}
		for len(text) > 0 {
			n := min(len(text), 256<<10)
			if err := stream.Send(&learningpb.ExportNotesResponse{Chunk: text[:n]}); err != nil {
				return err
			}
			text = text[n:]
		}
		last := list[len(list)-1]
		course, item, noteID = last.CourseID, last.ItemID, last.NoteID
	}
}

// markdownOf returns notes as Markdown, with a heading where another course or item
// begins. Titles are those of the newest version; what has left it is named by its id.
func (s *Service) markdownOf(ctx context.Context, list []note, course, item string) ([]byte, error) {
	courses, items := make([]string, len(list)), make([]string, len(list))
	for i, n := range list {
		courses[i], items[i] = n.CourseID, n.ItemID
	}
	titles := map[place]string{}
	rows, err := s.db.Query(ctx, `
		SELECT k.course_id, '', k.title FROM course k WHERE k.course_id = ANY($1::text[])
		UNION ALL
		SELECT i.course_id, i.item_id, i.title FROM course k JOIN published_item i ON i.course_id = k.course_id AND i.version = k.version
		WHERE k.course_id = ANY($1::text[]) AND i.item_id = ANY($2::text[])`, courses, items)
	if err != nil {
		return nil, fmt.Errorf("titles: %w", err)
	}
	var p place
	var title string
	if _, err = pgx.ForEachRow(rows, []any{&p.CourseID, &p.ItemID, &title}, func() error { titles[p] = title; return nil }); err != nil {
		return nil, fmt.Errorf("titles: %w", err)
	}
	closed, err := s.closedTo(ctx, s.db, auth.From(ctx).Account, courses)
	if err != nil {
		return nil, err
	}
	notes, err := s.opened(ctx, list)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	heading := func(level string, p place, fallback string) {
		text := titles[p]
		if text == "" || closed[p] != "" {
			text = fallback
		}
		fmt.Fprintf(&b, "%s %s\n\n", level, strings.Join(strings.Fields(text), " "))
	}
	for _, n := range notes {
		if n.GetCourseId() != course {
			course, item = n.GetCourseId(), ""
			heading("#", place{course, ""}, course)
		}
		if n.GetItemId() != item {
			item = n.GetItemId()
			heading("##", place{course, item}, item)
		}
		fmt.Fprintf(&b, "### %s", n.GetCreatedAt().AsTime().Format("2006-01-02 15:04 UTC"))
		if a := n.GetAnchor(); a.GetMediaId() != "" {
			fmt.Fprintf(&b, ", at %s", time.Duration(a.GetPositionMs())*time.Millisecond)
		} else if a.GetBlock() > 0 {
			fmt.Fprintf(&b, ", at block %d", a.GetBlock())
		}
		fmt.Fprintf(&b, "\n\n%s\n\n", strings.TrimRight(strings.ToValidUTF8(n.GetText(), string(utf8.RuneError)), "\n"))
	}
	return []byte(b.String()), nil
}
