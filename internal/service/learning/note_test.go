package learning

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

func (w *world) note(account, course, item, text string) *learningpb.Note {
	w.t.Helper()
	n, err := w.notes.CreateNote(w.as(account), &learningpb.CreateNoteRequest{CourseId: course, ItemId: item, Text: text})
	if err != nil {
		w.t.Fatalf("CreateNote: %v", err)
	}
	return n
}

func TestNotes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, ana, ben, l := id.New("course"), id.New("account"), id.New("account"), newIDs("lesson", 2)
	hear(w, w.service.coursePublished, published(course, 1, l...))

	req := &learningpb.CreateNoteRequest{CourseId: course, ItemId: l[0], Text: "Marcus said *this*", Anchor: &learningpb.Anchor{MediaId: id.New("media"), PositionMs: 61_500}}
	n, err := w.notes.CreateNote(rpc.WithIdempotencyKey(w.as(ana), "k"), req)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := w.notes.CreateNote(rpc.WithIdempotencyKey(w.as(ana), "k"), req); err != nil || !cmp.Equal(n, again, protocmp.Transform()) {
		t.Errorf("with the same key: %v, %v", again, err)
	}
	get := func(who string) (*learningpb.Note, error) {
		return w.notes.GetNote(w.as(who), &learningpb.GetNoteRequest{NoteId: n.GetId()})
	}
	if got, err := get(ana); err != nil || !cmp.Equal(n, got, protocmp.Transform()) {
		t.Errorf("read: %v, %v, want %v", got, err, n)
	}
	if _, err := get(ben); fault.CodeOf(err) != "note.not_found" {
		t.Errorf("by somebody else: %v", err)
	}
	update := func(who, etag string) (*learningpb.Note, error) {
		return w.notes.UpdateNote(metadata.AppendToOutgoingContext(w.as(who), rpc.KeyIfMatch, etag), &learningpb.UpdateNoteRequest{NoteId: n.GetId(), Text: "Seneca said that"})
	}
	if _, err := update(ben, `"1"`); fault.CodeOf(err) != "note.not_found" {
		t.Errorf("changed by somebody else: %v", err)
	}
	changed, err := update(ana, `"1"`)
	if err != nil || changed.GetText() != "Seneca said that" || changed.GetEtag() != "2" || changed.GetAnchor() != nil {
		t.Errorf("changed: %v, %v", changed, err)
	}
	if _, err := update(ana, `"1"`); fault.CodeOf(err) != "etag.stale" {
		t.Errorf("changed on top of an old one: %v", err)
	}
	// No text of theirs is anywhere in the database as it is.
	for _, table := range []string{"note", "idempotency", "outbox"} {
		var text string
		if err := w.db.QueryRow(t.Context(), `SELECT coalesce(string_agg(encode(convert_to(t::text, 'UTF8'), 'escape'), ''), '') FROM `+table+` t`).Scan(&text); err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"Marcus", "Seneca", fmt.Sprintf("%x", "Marcus"), fmt.Sprintf("%x", "Seneca")} {
			if strings.Contains(text, word) {
				t.Errorf("%s holds %q", table, word)
			}
		}
	}
	if _, err := w.notes.CreateNote(w.as(ana), &learningpb.CreateNoteRequest{CourseId: course, ItemId: id.New("lesson"), Text: "x"}); fault.CodeOf(err) != "item.not_found" {
		t.Errorf("on no item: %v", err)
	}
	for name, text := range map[string]string{"none": "", "long": strings.Repeat("ä", 10_001)} {
		if _, err := w.notes.CreateNote(w.as(ana), &learningpb.CreateNoteRequest{CourseId: course, ItemId: l[0], Text: text}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.notes.DeleteNote(w.as(ana), &learningpb.DeleteNoteRequest{NoteId: n.GetId()}); err != nil {
		t.Error(err)
	}
	if _, err := w.notes.DeleteNote(w.as(ana), &learningpb.DeleteNoteRequest{NoteId: n.GetId()}); fault.CodeOf(err) != "note.not_found" {
		t.Errorf("deleted twice: %v", err)
	}
}

func TestListAndExportNotes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	courses, ana, l := newIDs("course", 2), id.New("account"), newIDs("lesson", 2)
	var all []string // newest first
	for _, c := range courses {
		hear(w, w.service.coursePublished, published(c, 1, l...))
	}
	for i := range 120 {
		text := fmt.Sprint("Note ", i)
		if i%40 == 7 {
			text += " on Virtue"
		}
		all = append([]string{w.note(ana, courses[i%2], l[i/2%2], text).GetText()}, all...)
	}
	w.note(id.New("account"), courses[0], l[0], "Virtue of somebody else")
	list := func(req *learningpb.ListNotesRequest) []string {
		t.Helper()
		var out []string
		for range 100 {
			res, err := w.notes.ListNotes(w.as(ana), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range res.GetItems() {
				out = append(out, n.GetText())
			}
			if req.Cursor = res.GetNextCursor(); req.GetCursor() == "" {
				return out
			}
		}
		t.Fatal("pages without an end")
		return nil
	}
	if diff := cmp.Diff(all, list(&learningpb.ListNotesRequest{PageSize: 7})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"Note 87 on Virtue", "Note 47 on Virtue", "Note 7 on Virtue"}, list(&learningpb.ListNotesRequest{Query: " viRtue", PageSize: 1})); diff != "" {
		t.Error(diff)
	}
	if got := list(&learningpb.ListNotesRequest{CourseId: courses[1]}); len(got) != 60 {
		t.Errorf("%d of a course", len(got))
	}
	if got := list(&learningpb.ListNotesRequest{CourseId: courses[1], ItemId: l[0]}); len(got) != 30 {
		t.Errorf("%d of an item", len(got))
	}
	if _, err := w.notes.ListNotes(w.as(ana), &learningpb.ListNotesRequest{Cursor: "x"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a bad cursor: %v", err)
	}
	stream, err := w.notes.ExportNotes(w.as(ana), &learningpb.ExportNotesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text.Write(m.GetChunk())
	}
	if n := strings.Count("\n"+text.String(), "\n# Stoicism\n"); n != 2 {
		t.Errorf("%d courses in the export", n)
	}
	if n := strings.Count(text.String(), "\n## Lesson lesson_"); n != 4 {
		t.Errorf("%d items in the export", n)
	}
	for _, note := range all {
		if !strings.Contains(text.String(), "\n"+note+"\n") {
			t.Errorf("%q is not in the export", note)
		}
	}
	if strings.Contains(text.String(), "somebody else") {
		t.Error("the export has a note of somebody else")
	}
}

func TestBookmarks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, ana, l := id.New("course"), id.New("account"), newIDs("lesson", 2)
	hear(w, w.service.coursePublished, published(course, 1, l...))
	set := func(item, label string, block int32) *learningpb.Bookmark {
		b, err := w.notes.CreateBookmark(w.as(ana), &learningpb.CreateBookmarkRequest{CourseId: course, ItemId: item, Label: label, Anchor: &learningpb.Anchor{Block: block}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a, b := set(l[0], "Here", 3), set(l[1], "", 0)
	if again := set(l[0], "There", 3); again.GetId() != a.GetId() || again.GetLabel() != "There" || !again.GetCreatedAt().AsTime().Equal(a.GetCreatedAt().AsTime()) {
		t.Errorf("the same place: %v, want %v", again, a)
	}
	var got []string
	for cursor := ""; ; {
		res, err := w.notes.ListBookmarks(w.as(ana), &learningpb.ListBookmarksRequest{CourseId: course, PageSize: 1, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range res.GetItems() {
			got = append(got, fmt.Sprint(m.GetId(), m.GetLabel(), m.GetAnchor().GetBlock()))
		}
		if cursor = res.GetNextCursor(); cursor == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{b.GetId() + "0", a.GetId() + "There3"}, got); diff != "" {
		t.Error(diff)
	}
	del := func(who string) error {
		_, err := w.notes.DeleteBookmark(w.as(who), &learningpb.DeleteBookmarkRequest{BookmarkId: a.GetId()})
		return err
	}
	if err := del(id.New("account")); fault.CodeOf(err) != "bookmark.not_found" {
		t.Errorf("deleted by somebody else: %v", err)
	}
	if err := del(ana); err != nil {
		t.Error(err)
	}
	if err := del(ana); fault.CodeOf(err) != "bookmark.not_found" {
		t.Errorf("deleted twice: %v", err)
	}
}

// However many are written at once, there are no more than are allowed.
func TestNotesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, ana, l := id.New("course"), id.New("account"), newIDs("lesson", 1)
	hear(w, w.service.coursePublished, published(course, 1, l...))
	w.note(ana, course, l[0], "the first")
	if _, err := w.db.Exec(t.Context(), `
		INSERT INTO note SELECT 'note_' || n, account_id, course_id, item_id, 0, '', 0, text, 1, created_at, updated_at FROM note, generate_series(1, $1) AS n`, maxKept-3); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	for range 6 {
		go func() {
			_, err := w.notes.CreateNote(w.as(ana), &learningpb.CreateNoteRequest{CourseId: course, ItemId: l[0], Text: "x"})
			errs <- err
		}()
	}
	full := 0
	for range 6 {
		if err := <-errs; fault.CodeOf(err) == "note.too_many" {
			full++
		} else if err != nil {
			t.Error(err)
		}
	}
	if full != 4 {
		t.Errorf("%d refused, want 4", full)
	}
}
