package courses

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// publishing is a publishing that is asked for.
type publishing struct {
	courseID string
	message  string
	etag     string // of the draft it is about, "" for whatever it is
	accept   string // token of the impact that is accepted

	revertTo int32 // the version to publish again, 0 for the draft
	discard  bool  // what the draft has besides
}

// errMeasureAgain says that between the measuring and the lock a change came by
// which others may be touched.
var errMeasureAgain = errors.New("courses: what is taken away has changed")

// publish makes a publication of the draft as it is, or of a version of before. A
// draft that was not changed since it was published is not published again.
// Learning is asked before the transaction; in it nothing is published that takes
// more away than what was measured.
func (s *Service) publish(ctx context.Context, req proto.Message, p publishing) (*coursespb.Course, error) {
	for range 3 {
		m, err := s.measure(ctx, p.courseID, p.revertTo)
		if err != nil {
			return nil, err
		}
		c, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Course, error) {
			return s.publishIn(ctx, tx, p, m)
		})
		if !errors.Is(err, errMeasureAgain) {
			return c, err
		}
	}
	return nil, ErrChanging
}

func (s *Service) publishIn(ctx context.Context, tx *pg.Tx, p publishing, m measured) (*coursespb.Course, error) {
	c, err := lockDraft(ctx, tx, p.courseID, p.revertTo > 0)
	if err != nil {
		return nil, err
	}
	if err := rpc.Match(ctx, etag(c.Revision)); err != nil {
		return nil, err
	}
	if p.etag != "" && p.etag != etag(c.Changes) {
		return nil, staleDraft(c)
	}
	if c.ArchivedAt != nil {
		return nil, ErrArchived
	}
	if p.revertTo == 0 && c.Published && !c.Changed {
		return draftCourse(c), nil
	}
	if p.revertTo > 0 {
		if err := checkRevert(ctx, tx, c, p); err != nil {
			return nil, err
		}
	}
	if err := s.checkImpact(ctx, tx, c, p, m); err != nil {
		return nil, err
	}
	// What was approved is the draft, and not a version of before.
	if s.review && !c.Published && !c.ReviewPassed && (p.revertTo > 0 || !c.approved()) {
		return nil, ErrReviewRequired
	}
	if p.revertTo > 0 {
		if err := s.revertDraft(ctx, tx, c.ID, p.revertTo); err != nil {
			return nil, err
		}
	}
	if err := s.insertPublication(ctx, tx, c.ID, c.PublishedNumber+1, p.message); err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, `UPDATE course SET review_passed = true WHERE id = $1 AND NOT review_passed`, c.ID); err != nil {
		return nil, err
	}
	after := map[string]any{"version": c.PublishedNumber + 1}
	entry := audit.Entry{Action: "course.published", Object: c.ID, Course: c.ID, Reason: p.message, After: after}
	if p.revertTo > 0 {
		after["reverted_to"] = p.revertTo
		entry = audit.Entry{Action: "course.reverted", Object: c.ID, Course: c.ID, Reason: p.message, After: after}
		if _, err := tx.Exec(ctx, `UPDATE publication SET reverted_to = $3 WHERE course_id = $1 AND number = $2`, c.ID, c.PublishedNumber+1, p.revertTo); err != nil {
			return nil, err
		}
	}
	if m.impact.GetLearners() > 0 {
		after["learners_touched"] = m.impact.GetLearners()
	}
	if c, err = readCourse(ctx, tx, draftOf+`WHERE c.id = $1`, c.ID); err != nil {
		return nil, err
	}
	event, err := publishedEvent(ctx, tx, c)
	if err != nil {
		return nil, err
	}
	if err := sumUp(ctx, tx, event); err != nil {
		return nil, err
	}
	if err := audit.Record(ctx, tx, entry); err != nil {
		return nil, err
	}
	return draftCourse(c), bus.Publish(ctx, tx, event)
}

// sumUp keeps with a publication what its rules mean for others, and refuses it where
// courses would wait for each other.
func sumUp(ctx context.Context, tx *pg.Tx, e *coursespb.CoursePublished) error {
	n := publishedNeeds(e)
	if n.rule() != nil {
		if err := lockNeeds(ctx, tx); err != nil {
			return err
		}
		if err := refuseCircle(ctx, tx, e.GetCourseId(), e.GetTitle(), n); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `UPDATE publication SET gates = $3, needs = $4 WHERE course_id = $1 AND number = $2`,
		e.GetCourseId(), e.GetVersion(), gatesOf(e), stored[*releasepb.Rule]{n.rule()})
	return err
}

// lockDraft keeps all others from changing a course and its draft until tx ends,
// its items too where they are to be changed, and returns the course.
func lockDraft(ctx context.Context, tx *pg.Tx, courseID string, items bool) (course, error) {
	if err := lockCourse(ctx, tx, courseID); err != nil {
		return course{}, err
	}
	if items {
		if _, err := tx.Exec(ctx, `SELECT FROM item WHERE course_id = $1 ORDER BY id FOR UPDATE`, courseID); err != nil {
			return course{}, err
		}
	}
	// Who saves a lesson has done so before this, or does it after.
	if _, err := tx.Exec(ctx, `SELECT FROM draft WHERE course_id = $1 FOR UPDATE`, courseID); err != nil {
		return course{}, err
	}
	return readCourse(ctx, tx, draftOf+`WHERE c.id = $1`, courseID)
}

// staleDraft is told to who has looked at another state of the draft.
func staleDraft(c course) error {
	err := &fault.Error{
		Kind: fault.Precondition, Code: "etag.stale", Etag: etag(c.Changes),
		Message: "The draft has changed since you looked at it.",
	}
	err.Fields = []fault.Field{{Path: "draft_etag", Code: err.Code, Hint: `The current state is "` + err.Etag + `". Look at it again.`}}
	return err
}

// insertPublication copies what the draft points at, in three statements
// whatever its size.
func (s *Service) insertPublication(ctx context.Context, tx *pg.Tx, courseID string, number int32, message string) error {
	if err := refuseTemplate(ctx, tx, courseID); err != nil {
		return err
	}
	at := s.now()
	tag, err := tx.Exec(ctx, `
		INSERT INTO publication (course_id, number, message, author_id, published_at, lesson_count,
			title, subtitle, description, language, level, category, tags, outcomes, cover_media_id,
			time_zone, audience, promo_video_media_id, faq, release, grading)
		SELECT c.id, $2, $3, $4, $5, n.lessons,
			c.title, c.subtitle, c.description, c.language, c.level, c.category, c.tags, c.outcomes, c.cover_media_id,
			c.time_zone, c.audience, c.promo_video_media_id, c.faq, c.release, c.grading
		FROM course c, (
			SELECT count(*) FILTER (WHERE kind = 'lesson') AS lessons, count(*) AS leaves FROM item WHERE course_id = $1 AND kind <> 'module') n
		WHERE c.id = $1 AND n.leaves > 0`, courseID, number, message, auth.From(ctx).Account, at)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return ErrNoLessons
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO publication_item (course_id, number, item_id, parent_id, kind, position, version_id)
		SELECT course_id, $2, id, parent_id, kind, row_number() OVER (PARTITION BY parent_id ORDER BY position, id) - 1, version_id
		FROM item WHERE course_id = $1`, courseID, number); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		UPDATE course c SET published = true, published_number = $2, published_at = $3, published_changes = d.changes,
			sequence = sequence + 1, revision = revision + 1
		FROM draft d WHERE c.id = $1 AND d.course_id = c.id`, courseID, number, at)
	return err
}

// publishedEvent tells a publication of c, that of c.PublishedNumber.
func publishedEvent(ctx context.Context, tx *pg.Tx, c course) (*coursespb.CoursePublished, error) {
	o, err := readOutline(ctx, tx, publishedOutline, c.ID, c.PublishedNumber, "")
	if err != nil {
		return nil, err
	}
	event := &coursespb.CoursePublished{
		CourseId: c.ID, OwnerId: c.OwnerID, Sequence: c.Sequence, Version: c.PublishedNumber,
		Title: c.Title, Subtitle: c.Subtitle, Description: c.Description, Language: c.Language, Level: c.Level,
		Category: c.Category, Tags: c.Tags, Outcomes: c.Outcomes, CoverMediaId: c.CoverMediaID,
		PublishedAt: timestamppb.New(*c.PublishedAt),
		TimeZone:    c.TimeZone, Release: c.Release.M, Grading: c.Grading.M, PromoVideoMediaId: c.PromoVideoMediaID,
	}
	for _, e := range o.items {
		event.Items = append(event.Items, publishedItem(e))
	}
	for _, m := range o.modules {
		pm := &coursespb.PublishedModule{Id: m.ID, Title: m.Title}
		for _, l := range m.lessons {
			pm.Lessons = append(pm.Lessons, &coursespb.PublishedLesson{Id: l.ID, Title: l.Title, Preview: l.Preview})
		}
		event.Modules = append(event.Modules, pm)
	}
	if proto.Size(event) > bus.MaxEvent {
		return nil, ErrTooLarge
	}
	return event, nil
}

func publishedItem(e entry) *coursespb.PublishedItem {
	return &coursespb.PublishedItem{
		Id: e.ID, ParentId: e.ParentID, Kind: e.Kind, Title: e.Title, Preview: e.Preview, Required: required(e.Settings),
		Release: e.Settings.M.GetRelease(), Completion: completion(e.Kind, e.Settings), Schedule: e.Settings.M.GetSchedule(),
		Minutes: e.Settings.M.GetMinutes(), PlayableMediaIds: e.PlayableMediaIDs, ActivityRef: e.ActivityRef,
	}
}

func (s *Service) unpublishCourse(ctx context.Context, req *coursespb.UnpublishCourseRequest) (*coursespb.Course, error) {
	// What a moderator takes out comes back by another review.
	moderator, err := auth.Has(ctx, "course.review")
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Course, error) {
		if err := lockCourse(ctx, tx, req.GetCourseId()); err != nil {
			return nil, err
		}
		c, err := readCourse(ctx, tx, draftOf+`WHERE c.id = $1`, req.GetCourseId())
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, etag(c.Revision)); err != nil {
			return nil, err
		}
		if !c.Published {
			return draftCourse(c), nil
		}
		c.Published, c.Sequence, c.Revision = false, c.Sequence+1, c.Revision+1
		if moderator {
			c.ReviewPassed, c.ReviewState = false, ""
		}
		if _, err := tx.Exec(ctx, `UPDATE course SET published = false, sequence = $2, revision = $3, review_passed = $4, review_state = $5 WHERE id = $1`,
			c.ID, c.Sequence, c.Revision, c.ReviewPassed, c.ReviewState); err != nil {
			return nil, err
		}
		if err := audit.Record(ctx, tx, audit.Entry{
			Action: "course.unpublished", Object: c.ID, Course: c.ID, Reason: req.GetReason(), Before: map[string]any{"version": c.PublishedNumber},
		}); err != nil {
			return nil, err
		}
		return draftCourse(c), bus.Publish(ctx, tx, &coursespb.CourseUnpublished{CourseId: c.ID, Sequence: c.Sequence})
	})
}

// publication is one publishing of a course.
type publication struct {
	Number      int32
	Message     string
	AuthorID    string
	PublishedAt time.Time
	LessonCount int32
	RevertedTo  int32
}

func (p publication) message() *coursespb.Version {
	return &coursespb.Version{
		Number: p.Number, Message: p.Message, AuthorId: p.AuthorID,
		PublishedAt: timestamppb.New(p.PublishedAt), LessonCount: p.LessonCount, RevertedTo: p.RevertedTo,
	}
}

// listVersions returns a page of a course's publications, the newest first,
// and the cursor of the next.
func (s *Service) listVersions(ctx context.Context, courseID string, size int, cursor string) ([]publication, string, error) {
	before := int64(math.MaxInt32)
	values, err := page.Values(cursor, 1)
	if err != nil {
		return nil, "", err
	}
	if values != nil {
		if before, err = strconv.ParseInt(values[0], 10, 32); err != nil {
			return nil, "", page.ErrCursor
		}
	}
	rows, err := s.db.Query(ctx, `
		SELECT number, message, author_id, published_at, lesson_count, reverted_to FROM publication
		WHERE course_id = $1 AND number < $2 ORDER BY number DESC LIMIT $3`, courseID, before, size+1)
	if err != nil {
		return nil, "", err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[publication])
	if err != nil || len(found) <= size {
		return found, "", err
	}
	return found[:size], page.Cursor(fmt.Sprint(found[size-1].Number)), nil
}
