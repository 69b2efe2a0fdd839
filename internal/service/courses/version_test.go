package courses_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/service/courses"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// Saving what was saved before points to the row that is there.
func TestContentComesAgain(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	l := must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: courseID, ModuleId: moduleID, Title: "l", Blocks: []*coursespb.Block{markdown("one")}}))
	save := func(text string) *coursespb.Lesson {
		return must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{
			CourseId: courseID, LessonId: l.GetId(), Blocks: &coursespb.Blocks{Items: []*coursespb.Block{markdown(text)}},
		}))
	}
	two := save("two")
	back := save("one")
	if two.GetContentVersion() != 2 || two.GetContentHash() == l.GetContentHash() {
		t.Errorf("another content: %d %s", two.GetContentVersion(), two.GetContentHash())
	}
	if back.GetContentVersion() != 1 || back.GetContentHash() != l.GetContentHash() || back.GetEtag() != "3" {
		t.Errorf("the first again: %d %s %s", back.GetContentVersion(), back.GetContentHash(), back.GetEtag())
	}
	three := save("three")
	var rows int
	if err := f.db.QueryRow(t.Context(), `SELECT count(*) FROM item_version WHERE item_id = $1`, l.GetId()).Scan(&rows); err != nil || rows != 3 || three.GetContentVersion() != 3 {
		t.Errorf("%d rows for three contents: %v", rows, err)
	}
	// Equal contents of two lessons have one hash, and a row each.
	twin := must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: courseID, ModuleId: moduleID, Title: "l", Blocks: []*coursespb.Block{markdown("one")}}))
	if twin.GetContentHash() != l.GetContentHash() {
		t.Errorf("twins: %s and %s", twin.GetContentHash(), l.GetContentHash())
	}
}

// What a program of before has written has no hash, and is told one.
func TestContentWithoutHash(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	l := must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{
		CourseId: courseID, ModuleId: f.module(courseID, "m"), Title: "l", Blocks: []*coursespb.Block{markdown("*one*")},
	}))
	if _, err := f.db.Exec(t.Context(), `DELETE FROM rendering`); err != nil {
		t.Fatal(err)
	}
	if _, err := f.db.Exec(t.Context(), `UPDATE item_version SET hash = NULL, number = 0`); err != nil {
		t.Fatal(err)
	}
	get := &coursespb.GetLessonRequest{CourseId: courseID, LessonId: l.GetId()}
	l.ContentVersion = 0
	same(t, "read", l, must(f.GetLesson(f.teacher, get)))
	var renderer, rows int
	if err := f.db.QueryRow(t.Context(), `SELECT count(*), max(renderer) FROM rendering`).Scan(&rows, &renderer); err != nil || rows != 1 {
		t.Errorf("%d renderings: %v", rows, err)
	}
	// What another renderer has made is made anew; what ours has made is told.
	for of, want := range map[int]string{renderer - 1: "<p><em>one</em></p>\n", renderer: "<p>kept</p>"} {
		if _, err := f.db.Exec(t.Context(), `UPDATE rendering SET renderer = $1, html = '["<p>kept</p>"]'`, of); err != nil {
			t.Fatal(err)
		}
		if got := must(f.GetLesson(f.teacher, get)).GetBlocks()[0].GetMarkdown().GetHtml(); got != want {
			t.Errorf("rendering of %d: %s, want %s", of, got, want)
		}
	}
}

// Saving one lesson of a thousand touches what is that lesson's.
func TestSaveTouchesOneLesson(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID, lessons := f.large(1_000)
	f.publish(courseID)
	var before int64
	if err := f.db.QueryRow(t.Context(), `SELECT txid_snapshot_xmax(txid_current_snapshot())`).Scan(&before); err != nil {
		t.Fatal(err)
	}
	must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{
		CourseId: courseID, LessonId: lessons[500], Blocks: &coursespb.Blocks{Items: []*coursespb.Block{markdown("changed")}},
	}))
	got := map[string]int{}
	for _, table := range []string{"course", "draft", "item", "item_version", "rendering", "publication", "publication_item", "outbox"} {
		var n int
		if err := f.db.QueryRow(t.Context(), `SELECT count(*) FROM `+pgx.Identifier{table}.Sanitize()+` WHERE xmin::text::bigint >= $1`, before).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			got[table] = n
		}
	}
	// The outbox has what goes into the audit log.
	same(t, "rows written", map[string]int{"draft": 1, "item": 1, "item_version": 1, "rendering": 1, "outbox": 1}, got)
}

// large makes a course of n lessons by SQL, ten in a module.
func (f *fixture) large(n int) (courseID string, lessons []string) {
	f.t.Helper()
	courseID = f.course()
	var ids, parents, kinds []string
	for i := range n {
		if i%10 == 0 {
			ids, parents, kinds = append(ids, id.New("module")), append(parents, ""), append(kinds, "module")
		}
		lesson := id.New("lesson")
		ids, parents, kinds = append(ids, lesson), append(parents, ids[len(ids)-1-i%10]), append(kinds, "lesson")
		lessons = append(lessons, lesson)
	}
	if _, err := f.db.Exec(f.t.Context(), `
		WITH n AS (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS u (item_id, parent_id, kind, place)),
		v AS (
			INSERT INTO item_version (item_id, title, preview, body, author_id, created_at, hash, number, settings)
			SELECT item_id, 'Title of ' || place, false, CASE kind WHEN 'module' THEN '[]' ELSE '[{"type": "markdown", "text": "Some text."}]' END::jsonb, '', now(), sha256(item_id::bytea), 1,
				CASE place % 5 WHEN 0 THEN '{"minutes": 5, "required": false}' ELSE '{}' END::jsonb
			FROM n ORDER BY place RETURNING id, item_id)
		INSERT INTO item (id, course_id, parent_id, kind, position, version_id)
		SELECT v.item_id, $4, n.parent_id, n.kind, n.place * 4294967296, v.id FROM v JOIN n USING (item_id)`, ids, parents, kinds, courseID); err != nil {
		f.t.Fatal(err)
	}
	return courseID, lessons
}

// The migration gives rows of before the hash that Go gives them, and each
// content of an item one row.
func TestHashOfRowsOfBefore(t *testing.T) {
	t.Parallel()
	before := fstest.MapFS{}
	for _, name := range []string{"0001_courses.sql", "0002_owner.sql"} {
		before[name] = &fstest.MapFile{Data: must(fs.ReadFile(courses.Schema.Migrations, name))}
	}
	url := pgtest.New(t, pg.Schema{Name: courses.Schema.Name, Migrations: before})
	conn := must(pgx.Connect(t.Context(), url))
	defer func() { _ = conn.Close(t.Context()) }()
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(`SET search_path = courses`)
	exec(`INSERT INTO course (id, owner_id, title, subtitle, description, language, level, category, tags, outcomes, created_at) VALUES ('c', '', '', '', '', '', '', '', '{}', '{}', now())`)
	titles := []string{"plain", `q"uo\te`, "tab\tand\r\nlines", "ü 😀 \u2028\u2029 </script>&", `\u2028`, "\u0001\u001f\u007f", ""}
	bodies := []string{
		`[]`, `[{"type":"markdown","text":"a \"b\" \\u2028 <&> ü😀"}]`,
		`[{"type":"image","media_id":"m","alt":"a","caption":"c"},{"type":"file","title":"t","media_id":"m"},{"type":"markdown","text":"\t\b\f\u0001\n"}]`,
	}
	n := 0
	for _, title := range titles {
		for _, body := range bodies {
			for _, preview := range []bool{false, true, false} { // the third is the first again
				exec(`INSERT INTO item_version (item_id, title, preview, body, author_id, created_at) VALUES ($1, $2, $3, $4, '', now())`,
					fmt.Sprintf("lesson_%d", n/3), title, preview, body)
				n++
			}
		}
	}
	exec(`INSERT INTO item_version (item_id, title, preview, body, author_id, created_at) VALUES ('module_x', 'm', false, '[]', '', now())`)
	exec(`INSERT INTO item (id, course_id, parent_id, kind, position, version_id) SELECT item_id, 'c', 'module_x', 'lesson', 1, max(id) FROM item_version WHERE item_id LIKE 'lesson%' GROUP BY item_id`)
	if err := pg.Migrate(t.Context(), url, courses.Schema); err != nil {
		t.Fatal(err)
	}
	rows := must(conn.Query(t.Context(), `SELECT id, item_id, title, preview, body, number, hash FROM item_version ORDER BY id`))
	type row struct {
		ID      int64
		ItemID  string
		Title   string
		Preview bool
		Body    []byte
		Number  int
		Hash    []byte
	}
	first := map[string]int64{}
	for i, r := range must(pgx.CollectRows(rows, pgx.RowToStructByPos[row])) {
		kind, number := "lesson", i%3+1
		if i == n {
			kind, number = "module", 1
		}
		want := must(courses.Hash(kind, r.Title, r.Preview, r.Body))
		if number == 3 {
			want = nil
		}
		if !bytes.Equal(want, r.Hash) || r.Number != number {
			t.Errorf("%q %s: hash %x number %d, want %x %d", r.Title, r.Body, r.Hash, r.Number, want, number)
		}
		if number == 1 {
			first[r.ItemID] = r.ID
		}
	}
	rows = must(conn.Query(t.Context(), `SELECT id, version_id FROM item`))
	var itemID string
	var versionID int64
	if _, err := pgx.ForEachRow(rows, []any{&itemID, &versionID}, func() error {
		if versionID != first[itemID] {
			t.Errorf("%s is at %d, want %d", itemID, versionID, first[itemID])
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// The canonical form says the same, has one form, and is what it was before it
// was stored.
func TestCanonical(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		v := map[string]any{}
		for range rapid.IntRange(0, 4).Draw(rt, "n") {
			v[rapid.StringMatching(`[a-z_]{1,6}`).Draw(rt, "key")] = rapid.OneOf(
				rapid.Map(rapid.String(), func(s string) any { return s }),
				rapid.Map(rapid.SampledFrom([]string{"\u2028", `\u2028`, `\\u2029`, "\u2029\\", "<&>", "\"\\\b\f\n"}), func(s string) any { return s }),
				rapid.Map(rapid.Int32(), func(n int32) any { return []any{n, true, nil} }),
			).Draw(rt, "value")
		}
		text := must(courses.Canonical(v))
		var back any
		if err := json.Unmarshal(text, &back); err != nil {
			rt.Fatal(err)
		}
		same(rt, "the value", must(json.Marshal(v)), must(json.Marshal(back)))
		same(rt, "again", text, must(courses.Canonical(back)))
		for _, escaped := range []string{`\u003c`, `\u003e`, `\u0026`} {
			if bytes.Contains(bytes.ReplaceAll(text, []byte(`\\`), nil), []byte(escaped)) {
				rt.Errorf("%s escapes more than it has to", text)
			}
		}
		if bytes.Contains(bytes.ReplaceAll(text, []byte(`\\`), nil), []byte(`\u202`)) {
			rt.Errorf("%s escapes more than it has to", text)
		}
	})
}
