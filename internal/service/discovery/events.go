package discovery

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// coursePublished makes a course's page anew. The description is rendered here,
// once, and not for everybody who reads it.
func (s *Service) coursePublished(ctx context.Context, tx *pg.Tx, e *coursespb.CoursePublished) error {
	description := s.html.Render(e.GetDescription())
	tags := strings.Join(e.GetTags(), " ")
	lessons := 0
	modules := make([]module, len(e.GetModules()))
	for i, m := range e.GetModules() {
		modules[i] = module{Title: m.GetTitle(), Lessons: make([]lesson, len(m.GetLessons()))}
		for j, l := range m.GetLessons() {
			modules[i].Lessons[j] = lesson{ID: l.GetId(), Title: l.GetTitle(), Preview: l.GetPreview()}
		}
		lessons += len(m.GetLessons())
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO listing (course_id, sequence, published, published_at, teacher_id, title, subtitle,
			description, description_html, language, level, category, tags, tag_words, alike, outcomes,
			cover_media_id, modules, lesson_count)
		VALUES ($1, $2, true, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, array_to_tsvector($14), $15, $16, $17, $18)
		ON CONFLICT (course_id) DO UPDATE SET
			sequence = EXCLUDED.sequence, published = true, published_at = EXCLUDED.published_at,
			teacher_id = EXCLUDED.teacher_id, title = EXCLUDED.title, subtitle = EXCLUDED.subtitle,
			description = EXCLUDED.description, description_html = EXCLUDED.description_html,
			language = EXCLUDED.language, level = EXCLUDED.level, category = EXCLUDED.category,
			tags = EXCLUDED.tags, tag_words = EXCLUDED.tag_words, alike = EXCLUDED.alike, outcomes = EXCLUDED.outcomes,
			cover_media_id = EXCLUDED.cover_media_id, modules = EXCLUDED.modules, lesson_count = EXCLUDED.lesson_count
		WHERE listing.sequence < EXCLUDED.sequence`,
		e.GetCourseId(), e.GetSequence(), e.GetPublishedAt().AsTime(), e.GetOwnerId(), e.GetTitle(), e.GetSubtitle(),
		e.GetDescription(), description, e.GetLanguage(), e.GetLevel(), e.GetCategory(), list(e.GetTags()),
		tags, alike(e.GetTitle()+" "+tags), list(e.GetOutcomes()), e.GetCoverMediaId(), modules, lessons)
	if err != nil {
		return fmt.Errorf("store course: %w", err)
	}
	return nil
}

// courseUnpublished hides a course. A publishing that happened before and is
// heard after changes nothing.
func (s *Service) courseUnpublished(ctx context.Context, tx *pg.Tx, e *coursespb.CourseUnpublished) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO listing (course_id, sequence) VALUES ($1, $2)
		ON CONFLICT (course_id) DO UPDATE SET sequence = EXCLUDED.sequence, published = false
		WHERE listing.sequence < EXCLUDED.sequence`, e.GetCourseId(), e.GetSequence())
	if err != nil {
		return fmt.Errorf("hide course: %w", err)
	}
	return nil
}

// priceSet keeps what a course costs, and when it will cost less: what holds is seen when
// it is read, so that nothing has to happen when a reduction begins or ends.
func (s *Service) priceSet(ctx context.Context, tx *pg.Tx, e *commercepb.PriceSet) error {
	currencies, amounts := columns(e.GetFurther())
	tag, err := tx.Exec(ctx, `
		INSERT INTO listing (course_id, price_version, price_amount, price_currency, further_currencies, further_amounts) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (course_id) DO UPDATE SET
			price_version = EXCLUDED.price_version, price_amount = EXCLUDED.price_amount, price_currency = EXCLUDED.price_currency,
			further_currencies = EXCLUDED.further_currencies, further_amounts = EXCLUDED.further_amounts
		WHERE listing.price_version < EXCLUDED.price_version`,
		e.GetCourseId(), e.GetVersion(), e.GetPrice().GetAmount(), e.GetPrice().GetCurrency(), currencies, amounts)
	if err != nil {
		return fmt.Errorf("store price: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return nil // newer news is known, or the same
	}
	batch := &pgx.Batch{}
	batch.Queue(`DELETE FROM reduction WHERE course_id = $1`, e.GetCourseId())
	for _, r := range e.GetReductions() {
		currencies, amounts := columns(r.GetPrices())
		batch.Queue(`
			INSERT INTO reduction (course_id, reduction_id, starts_at, ends_at, currencies, amounts) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT ON CONSTRAINT reduction_pkey DO NOTHING`,
			e.GetCourseId(), r.GetReductionId(), r.GetStartsAt().AsTime(), r.GetEndsAt().AsTime(), currencies, amounts)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("store reductions: %w", err)
	}
	return nil
}

// columns are prices as they are stored.
func columns(prices []*moneypb.Money) (currencies []string, amounts []int64) {
	currencies, amounts = []string{}, []int64{}
	for _, m := range prices {
		currencies, amounts = append(currencies, m.GetCurrency()), append(amounts, m.GetAmount())
	}
	return currencies, amounts
}

func (s *Service) enrollmentStarted(ctx context.Context, tx *pg.Tx, e *accesspb.EnrollmentStarted) error {
	_, err := tx.Exec(ctx, `
		WITH counted AS (
			INSERT INTO counted_enrollment (enrollment_id) VALUES ($1)
			ON CONFLICT (enrollment_id) DO NOTHING RETURNING 1
		)
		INSERT INTO listing (course_id, enrollment_count) SELECT $2, 1 FROM counted
		ON CONFLICT (course_id) DO UPDATE SET enrollment_count = listing.enrollment_count + 1`,
		e.GetEnrollmentId(), e.GetCourseId())
	if err != nil {
		return fmt.Errorf("count enrollment: %w", err)
	}
	return nil
}

func (s *Service) accountCreated(ctx context.Context, tx *pg.Tx, e *identitypb.AccountCreated) error {
	return storeName(ctx, tx, e.GetAccountId(), e.GetName(), 1)
}

func (s *Service) accountUpdated(ctx context.Context, tx *pg.Tx, e *identitypb.AccountUpdated) error {
	return storeName(ctx, tx, e.GetAccountId(), e.GetName(), e.GetVersion())
}

func storeName(ctx context.Context, tx *pg.Tx, accountID, name string, version int64) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO teacher (account_id, name, version) VALUES ($1, $2, $3)
		ON CONFLICT (account_id) DO UPDATE SET name = EXCLUDED.name, version = EXCLUDED.version
		WHERE teacher.version < EXCLUDED.version`, accountID, name, version)
	if err != nil {
		return fmt.Errorf("store name: %w", err)
	}
	return nil
}

// list is never nil, which would be NULL in the database.
func list(words []string) []string {
	if words == nil {
		return []string{}
	}
	return words
}
