package courses_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// TestAuthorsAndPublishersAtOnce: two authors save the same lessons under
// If-Match while one publishes, one goes back to earlier versions and learners
// read. Afterwards each save that was acknowledged is in the history, none was
// made on another version than it named, and each publication is the draft as it
// was at one moment.
func TestAuthorsAndPublishersAtOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	var lessons []string
	for range 3 {
		lessons = append(lessons, f.lesson(courseID, moduleID, "l"))
	}
	// What the draft is at each of its moments, noted by the transaction that makes it.
	var role string
	if err := f.db.QueryRow(t.Context(), `SELECT current_user`).Scan(&role); err != nil {
		t.Fatal(err)
	}
	if _, err := f.db.Exec(t.Context(), `
		SET ROLE NONE;
		CREATE TABLE moment (changes bigint, items text);
		GRANT ALL ON moment TO PUBLIC;
		CREATE FUNCTION note_moment() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO moment SELECT NEW.changes, string_agg(i.id || ':' || i.version_id || ':' || i.parent_id, ' ' ORDER BY i.id) FROM item i WHERE i.course_id = NEW.course_id;
			RETURN NULL;
		END $$;
		CREATE TRIGGER note_moment AFTER UPDATE OF changes ON draft FOR EACH ROW EXECUTE FUNCTION note_moment();
		SET ROLE `+role); err != nil {
		t.Fatal(err)
	}
	f.write(courseID, lessons[0], "begin")
	f.publish(courseID)

	type save struct{ lesson, base, etag, text string }
	var mu sync.Mutex
	var saves []save
	stale := 0
	var authors, others sync.WaitGroup
	rounds := 25
	if testing.Short() {
		rounds = 8
	}
	for who, account := range []string{f.teacherID, f.editorID} {
		authors.Go(func() {
			ctx := rpctest.Account(t.Context(), account)
			for i := range rounds {
				lessonID := lessons[i%len(lessons)]
				base := must(f.GetLesson(f.teacher, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: lessonID})).GetEtag()
				text := fmt.Sprintf("author %d, save %d", who, i)
				l, err := f.UpdateLesson(rpc.WithIfMatch(ctx, base), &coursespb.UpdateLessonRequest{
					CourseId: courseID, LessonId: lessonID, Blocks: &coursespb.Blocks{Items: []*coursespb.Block{markdown(text)}},
				})
				mu.Lock()
				switch {
				case err == nil:
					saves = append(saves, save{lessonID, base, l.GetEtag(), text})
				case fault.CodeOf(err) == "etag.stale":
					stale++
				default:
					t.Errorf("save: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	loop := func(do func(i int) error, allowed ...string) {
		others.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				err := do(i)
				ok := err == nil
				for _, code := range allowed {
					ok = ok || fault.CodeOf(err) == code
				}
				if !ok {
					t.Errorf("beside: %v", err)
					return
				}
			}
		})
	}
	loop(func(int) error {
		_, err := f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: courseID})
		return err
	})
	// What was looked at is what is published, or nothing.
	loop(func(int) error {
		c := must(f.GetCourse(f.teacher, &coursespb.GetCourseRequest{CourseId: courseID}))
		_, err := f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: courseID, DraftEtag: c.GetDraftEtag()})
		return err
	}, "etag.stale")
	loop(func(i int) error {
		if i%10 != 9 {
			_, err := f.GetOutline(f.learner, &coursespb.GetOutlineRequest{CourseId: courseID})
			return err
		}
		_, err := f.RevertCourse(f.teacher, &coursespb.RevertCourseRequest{CourseId: courseID, Version: int32(1 + i/10%3), DiscardDraft: true})
		return err
	}, "version.not_found")
	authors.Wait()
	close(done)
	others.Wait()

	if len(saves) == 0 {
		t.Fatal("nothing was saved")
	}
	for _, s := range saves {
		var was, is string
		if err := f.db.QueryRow(t.Context(), `
			SELECT coalesce(max(v.body->0->>'text') FILTER (WHERE r.revision = $2::bigint), ''), coalesce(max(v.body->0->>'text') FILTER (WHERE r.revision = $3::bigint), '')
			FROM item_revision r JOIN item_version v ON v.id = r.version_id WHERE r.item_id = $1`, s.lesson, s.base, s.etag).Scan(&was, &is); err != nil {
			t.Fatal(err)
		}
		var base, etag int
		if _, err := fmt.Sscan(s.base+" "+s.etag, &base, &etag); err != nil || etag != base+1 {
			t.Errorf("a save on %s made %s", s.base, s.etag)
		}
		if is != s.text {
			t.Errorf("revision %s of %s is %q and was acknowledged as %q", s.etag, s.lesson, is, s.text)
		}
	}
	rows, err := f.db.Query(t.Context(), `
		SELECT p.number FROM (
			SELECT number, string_agg(item_id || ':' || version_id || ':' || parent_id, ' ' ORDER BY item_id) AS items
			FROM publication_item WHERE course_id = $1 GROUP BY number) p
		WHERE NOT EXISTS (SELECT FROM moment m WHERE m.items = p.items)`, courseID)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var number int
		if err := rows.Scan(&number); err != nil {
			t.Fatal(err)
		}
		t.Errorf("version %d is no state that the draft ever had", number)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	versions := 0
	for i, e := range f.events() {
		ev, ok := e.(*coursespb.CoursePublished)
		if !ok || int(ev.GetSequence()) != i+1 || int(ev.GetVersion()) != i+1 {
			t.Errorf("event %d: %v", i, e)
		}
		versions++
	}
	t.Logf("%d saves, %d told of a faster one, %d versions", len(saves), stale, versions)
}
