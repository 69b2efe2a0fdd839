package courses

import (
	"bytes"
	"context"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/canonical"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// Landing is what the landing page of a course tells.
type Landing struct {
	Title        string   `json:"title"`
	Subtitle     string   `json:"subtitle"`
	Description  string   `json:"description"`
	Language     string   `json:"language"`
	Level        string   `json:"level"`
	Category     string   `json:"category"`
	Tags         []string `json:"tags"`
	Outcomes     []string `json:"outcomes"`
	CoverMediaID string   `json:"cover_media_id"`

	TimeZone          string                           `json:"time_zone"`
	Audience          []string                         `json:"audience"`
	FAQ               []question                       `json:"faq"`
	PromoVideoMediaID string                           `json:"promo_video_media_id"`
	Release           stored[*releasepb.Rule]          `json:"release"`
	Grading           stored[*coursespb.GradingPolicy] `json:"grading"`
}

// question is something that is often asked.
type question struct {
	Question string `json:"question"`
	Answer   string `json:"answer"` // Markdown
}

// course is a course with its draft's landing page or with that of its
// published version.
type course struct {
	Landing

	ID              string
	OwnerID         string
	Published       bool
	PublishedNumber int32
	PublishedAt     *time.Time
	Sequence        int64
	Revision        int64
	Changed         bool  // the draft, since it was published
	Changes         int64 // of the draft, how many; 0 in what is published
	CreatedAt       time.Time
	UpdatedAt       time.Time // of what the landing page is of

	RequireEtag   bool
	EditedBy      string // the landing page of the draft, last
	EditedAt      *time.Time
	ArchivedAt    *time.Time
	Closed        bool
	ReviewState   string
	ReviewChanges int64
	ReviewPassed  bool
}

var (
	// facts are the columns that are the same for the draft and what is published.
	facts = `c.id, c.owner_id, c.published, c.published_at, c.sequence, c.revision, c.created_at, c.require_etag, c.edited_by, c.edited_at,
		c.archived_at, c.closed, c.review_state, c.review_changes, c.review_passed, `
	draftOf = `SELECT ` + facts + `c.published_number, c.published_changes <> d.changes AS changed, d.changes, d.changed_at AS updated_at,
		c.title, c.subtitle, c.description, c.language, c.level, c.category, c.tags, c.outcomes, c.cover_media_id,
		c.time_zone, c.audience, c.faq, c.promo_video_media_id, c.release, c.grading
		FROM course c JOIN draft d ON d.course_id = c.id `
	// publishedOf takes a version and an account, as [seen] does.
	publishedOf = `SELECT ` + facts + `p.number AS published_number, false AS changed, 0::bigint AS changes, p.published_at AS updated_at,
		p.title, p.subtitle, p.description, p.language, p.level, p.category, p.tags, p.outcomes, p.cover_media_id,
		p.time_zone, p.audience, p.faq, p.promo_video_media_id, p.release, p.grading
		FROM course c ` + seen("$2", "$3") + ` JOIN publication p ON p.course_id = c.id AND p.number = s.number
		WHERE c.id = $1 AND ` + shown("$2")
)

// readCourse returns the course that a query of the two above selects.
func readCourse(ctx context.Context, db pg.Querier, sql string, courseID string, args ...any) (course, error) {
	rows, err := db.Query(ctx, sql, append([]any{courseID}, args...)...)
	if err != nil {
		return course{}, err
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[course])
	if pg.NoRows(err) {
		return course{}, auth.ErrHidden
	}
	return c, err
}

// lockCourse keeps all others from changing the course's landing page and
// structure, and from publishing it, until tx ends.
func lockCourse(ctx context.Context, tx *pg.Tx, courseID string) error {
	var one int
	err := tx.QueryRow(ctx, `SELECT 1 FROM course WHERE id = $1 FOR NO KEY UPDATE`, courseID).Scan(&one)
	if pg.NoRows(err) {
		return auth.ErrHidden
	}
	return err
}

// touch notes that the draft was changed, and how. It is the last thing that a
// transaction does but for publishing events: all that change a draft lock in
// the same order, the course, then items, then this. Nothing of an archived
// course changes.
func (s *Service) touch(ctx context.Context, tx *pg.Tx, courseID string, change audit.Entry) error {
	tag, err := tx.Exec(ctx, `UPDATE draft SET changes = changes + 1, changed_at = greatest(changed_at, $2) WHERE course_id = $1 AND NOT archived`,
		courseID, s.now())
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return ErrArchived
	}
	change.Course = courseID
	return audit.Record(ctx, tx, change)
}

// seesDraft reports whether the caller is shown the draft: staff who did not
// ask for what learners see, and moderators who ask for it.
func seesDraft(ctx context.Context, view string) (bool, error) {
	if view == "published" {
		return false, nil
	}
	staff, err := auth.Has(ctx, "course.edit")
	if err != nil || staff || view != "draft" {
		return staff, err
	}
	return auth.Has(ctx, "course.review")
}

func (s *Service) createCourse(ctx context.Context, req *coursespb.CreateCourseRequest) (*coursespb.Course, error) {
	c := course{
		ID: id.New("course"), OwnerID: auth.From(ctx).Account, Revision: 1, Changed: true, CreatedAt: s.now(),
		Landing: Landing{
			Title: strings.TrimSpace(req.GetTitle()), Subtitle: strings.TrimSpace(req.GetSubtitle()), Description: req.GetDescription(),
			Language: req.GetLanguage(), Level: req.GetLevel(), Category: strings.TrimSpace(req.GetCategory()),
			Tags: words(req.GetTags()), Outcomes: words(req.GetOutcomes()), TimeZone: "UTC",
		},
	}
	c.UpdatedAt = c.CreatedAt
	if c.Language == "" {
		c.Language = "en"
	}
	if c.Level == "" {
		c.Level = "all"
	}
	// Before the course is there, so that there never is one that nobody may
	// edit. A role on a course that does not come to be gives nothing.
	_, err := s.access.AssignCourseRole(ctx, &accesspb.AssignCourseRoleRequest{CourseId: c.ID, AccountId: c.OwnerID, Role: "owner"})
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Course, error) {
		if _, err := tx.Exec(ctx, `
			INSERT INTO course (id, owner_id, title, subtitle, description, language, level, category, tags, outcomes, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			c.ID, c.OwnerID, c.Title, c.Subtitle, c.Description, c.Language, c.Level, c.Category, c.Tags, c.Outcomes, c.CreatedAt,
		); err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO draft (course_id, owner_id, changed_at) VALUES ($1, $2, $3)`, c.ID, c.OwnerID, c.CreatedAt); err != nil {
			return nil, err
		}
		return draftCourse(c), audit.Record(ctx, tx, audit.Entry{
			Action: "course.created", Object: c.ID, Course: c.ID, After: map[string]any{"title": c.Title, "owner_id": c.OwnerID},
		})
	})
}

func (s *Service) getCourse(ctx context.Context, courseID, view string) (*coursespb.Course, error) {
	draft, err := seesDraft(ctx, view)
	if err != nil {
		return nil, err
	}
	if draft {
		c, err := readCourse(ctx, s.db, draftOf+`WHERE c.id = $1`, courseID)
		if err != nil {
			return nil, err
		}
		return draftCourse(c), nil
	}
	c, err := readCourse(ctx, s.db, publishedOf, courseID, 0, viewer(ctx, view))
	if err != nil {
		return nil, err
	}
	return publishedCourse(c), nil
}

// addPromo adds to a course what media tells of its promotional video. Who reads
// the course's lessons, staff among them, gets addresses of their own: what they are
// shown may be a draft, or a version that their cohort is pinned to. All others are
// shown what is published, and get addresses that end with it.
func (s *Service) addPromo(ctx context.Context, c *coursespb.Course) error {
	if c.GetPromoVideoMediaId() == "" {
		return nil
	}
	reads, err := auth.Has(ctx, "lesson.read")
	if err != nil {
		return err
	}
	who := &mediapb.Viewer{Landing: true}
	if reads {
		who = &mediapb.Viewer{AccountId: auth.From(ctx).Account}
	}
	found, err := s.findMedia(ctx, c.GetId(), []use{{id: c.GetPromoVideoMediaId()}}, who)
	c.PromoVideo = found[c.GetPromoVideoMediaId()] // absent for a file that is no longer there
	return err
}

// listCourses returns a page of an account's courses, last changed first, and
// the cursor of the next.
func (s *Service) listCourses(ctx context.Context, owner string, size int, cursor string) ([]course, string, error) {
	at, courseID, err := page.After(cursor)
	if err != nil {
		return nil, "", err
	}
	rows, err := s.db.Query(ctx, draftOf+`
		WHERE d.owner_id = $1 AND (d.changed_at, d.course_id) < ($2, $3)
		ORDER BY d.changed_at DESC, d.course_id DESC LIMIT $4`, owner, at, courseID, size+1)
	if err != nil {
		return nil, "", err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[course])
	if err != nil || len(found) <= size {
		return found, "", err
	}
	last := found[size-1]
	return found[:size], page.TimeCursor(last.UpdatedAt, last.ID), nil
}

func (s *Service) updateCourse(ctx context.Context, req *coursespb.UpdateCourseRequest) (*coursespb.Course, error) {
	for i, tag := range req.GetTags().GetValues() {
		if utf8.RuneCountInString(tag) > maxTag {
			return nil, fault.InvalidField(index("tags.values", i), "string.max_len", "A tag has at most 40 characters.")
		}
	}
	if err := s.checkLanding(ctx, req); err != nil {
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
		if err := s.matchLanding(ctx, c); err != nil {
			return nil, err
		}
		landing := c.changed(req)
		if req.RequireEtag != nil && req.GetRequireEtag() != c.RequireEtag {
			if c, err = s.requireEtag(ctx, tx, c, req.GetRequireEtag()); err != nil {
				return nil, err
			}
		}
		changed := c.differences(landing)
		if len(changed) == 0 {
			return draftCourse(c), nil
		}
		if slices.Contains(changed, "grading") && !landing.Grading.absent() {
			if err := checkDraftGrading(ctx, tx, c.ID, landing.Grading.M); err != nil {
				return nil, err
			}
		}
		if _, err := tx.Exec(ctx, `
			UPDATE course SET title = $2, subtitle = $3, description = $4, language = $5, level = $6, category = $7,
				tags = $8, outcomes = $9, cover_media_id = $10, time_zone = $11, audience = $12, faq = $13, promo_video_media_id = $14,
				release = $15, grading = $16, revision = revision + 1, edited_by = $17, edited_at = $18
			WHERE id = $1`, c.ID, landing.Title, landing.Subtitle, landing.Description, landing.Language, landing.Level,
			landing.Category, landing.Tags, landing.Outcomes, landing.CoverMediaID, landing.TimeZone, landing.Audience, landing.FAQ,
			landing.PromoVideoMediaID, landing.Release, landing.Grading, auth.From(ctx).Account, s.now()); err != nil {
			return nil, err
		}
		if slices.Contains(changed, "release") && !landing.Release.absent() {
			items, err := releaseItems(ctx, tx, c.ID)
			if err != nil {
				return nil, err
			}
			if err := refuseDraftCircle(ctx, tx, c.ID, items); err != nil {
				return nil, err
			}
		}
		if err := s.touch(ctx, tx, c.ID, audit.Entry{Action: "course.updated", Object: c.ID, After: map[string]any{"fields": changed}}); err != nil {
			return nil, err
		}
		c, err = readCourse(ctx, tx, draftOf+`WHERE c.id = $1`, req.GetCourseId())
		return draftCourse(c), err
	})
}

// differences returns the names of the fields that another landing page has
// otherwise. What they say is in the course, not in the audit log.
func (l Landing) differences(other Landing) []string {
	var names []string
	a, b := reflect.ValueOf(l), reflect.ValueOf(other)
	for i := range a.NumField() {
		if !equal(a.Field(i).Interface(), b.Field(i).Interface()) {
			names = append(names, a.Type().Field(i).Tag.Get("json"))
		}
	}
	return names
}

// equal reports whether two values are the same as they are stored.
func equal(a, b any) bool {
	x, errX := canonical.JSON(a)
	y, errY := canonical.JSON(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// checkLanding refuses what does not depend on the draft.
func (s *Service) checkLanding(ctx context.Context, req *coursespb.UpdateCourseRequest) error {
	var uses []use
	if cover := req.GetCoverMediaId(); cover != "" {
		uses = append(uses, use{path: "cover_media_id", id: cover, kind: blockImage})
	}
	if video := req.GetPromoVideoMediaId(); video != "" {
		uses = append(uses, use{path: "promo_video_media_id", id: video, kind: blockVideo})
	}
	if err := s.checkMedia(ctx, req.GetCourseId(), uses); err != nil {
		return err
	}
	if zone := req.GetTimeZone(); req.TimeZone != nil {
		// "Local" is a name to Go, and the machine's zone.
		if _, err := time.LoadLocation(zone); err != nil || zone == "" || zone == "Local" {
			return refused("time_zone.unknown", "There is no such time zone.", []fault.Field{
				{Path: "time_zone", Code: "time_zone.unknown", Hint: "Name one of the IANA time zones, such as Europe/Zurich."},
			})
		}
	}
	if rule := req.GetRelease(); rule != nil {
		bad := within("release", release.Validate(rule))
		return refused("release.invalid", "What is said of when the course is open can't be.", append(bad, asksForItems(rule, "release", req.GetCourseId())...))
	}
	return nil
}

// checkDraftGrading refuses a policy that does not fit a draft, which is locked.
func checkDraftGrading(ctx context.Context, tx *pg.Tx, courseID string, p *coursespb.GradingPolicy) error {
	kinds, err := kindsOf(ctx, tx, courseID, gradingItems(p))
	if err != nil {
		return err
	}
	return checkGrading("grading", p, kinds)
}

// maxTag bounds a tag in characters.
const maxTag = 40

// changed returns the landing page with what the request sets.
func (l Landing) changed(req *coursespb.UpdateCourseRequest) Landing {
	set := func(field *string, to *string) {
		if to != nil {
			*field = strings.TrimSpace(*to)
		}
	}
	set(&l.Title, req.Title)
	set(&l.Subtitle, req.Subtitle)
	set(&l.Language, req.Language)
	set(&l.Level, req.Level)
	set(&l.Category, req.Category)
	set(&l.CoverMediaID, req.CoverMediaId)
	if req.Description != nil {
		l.Description = req.GetDescription() // spaces mean something in Markdown
	}
	if req.GetTags() != nil {
		l.Tags = words(req.GetTags().GetValues())
	}
	if req.GetOutcomes() != nil {
		l.Outcomes = words(req.GetOutcomes().GetValues())
	}
	set(&l.TimeZone, req.TimeZone)
	set(&l.PromoVideoMediaID, req.PromoVideoMediaId)
	if req.GetAudience() != nil {
		l.Audience = words(req.GetAudience().GetValues())
	}
	if req.GetFaq() != nil {
		l.FAQ = []question{}
		for _, q := range req.GetFaq().GetItems() {
			l.FAQ = append(l.FAQ, question{Question: strings.TrimSpace(q.GetQuestion()), Answer: q.GetAnswer()})
		}
	}
	for _, name := range req.GetClear() {
		switch name {
		case "release":
			l.Release.M = nil
		case "grading":
			l.Grading.M = nil
		}
	}
	if req.GetRelease() != nil {
		l.Release.M = usual(&coursespb.ItemSettings{Release: req.GetRelease()}).M.GetRelease()
	}
	if req.GetGrading() != nil {
		l.Grading.M = req.GetGrading()
	}
	return l
}

// words returns the words that say something, each once; never nil.
func words(list []string) []string {
	out := make([]string, 0, len(list))
	seen := map[string]bool{}
	for _, w := range list {
		w = strings.TrimSpace(w)
		if key := strings.ToLower(w); w != "" && !seen[key] {
			seen[key] = true
			out = append(out, w)
		}
	}
	return out
}
