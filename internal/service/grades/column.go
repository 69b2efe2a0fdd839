package grades

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// nullable is a decimal as it is stored, nil for an empty one.
func nullable(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// columnOf returns a column that is there.
func (b *book) columnOf(itemID string) (*item, error) {
	it := b.items[itemID]
	if it == nil || !it.Present {
		return nil, ErrItemNotFound
	}
	return it, nil
}

// GetColumn implements gradespb.ColumnServiceServer.
func (r *columnServer) GetColumn(ctx context.Context, req *gradespb.GetColumnRequest) (*gradespb.Column, error) {
	b, err := r.service.bookOf(ctx, r.service.db, req.GetCourseId())
	if errors.Is(err, ErrNoGradebook) {
		return nil, ErrItemNotFound
	}
	if err != nil {
		return nil, err
	}
	it, err := b.columnOf(req.GetItemId())
	if err != nil {
		return nil, err
	}
	return b.columnMessage(it), nil
}

// changeColumns changes columns of a gradebook, and answers the one that was. It is
// refused where by what is there then the column can't be counted.
func (s *Service) changeColumns(ctx context.Context, tx *pg.Tx, courseID string, change func(b *book) (itemID string, entry audit.Entry, err error)) (*gradespb.Column, error) {
	if err := s.changeCourse(ctx, tx, courseID); err != nil {
		return nil, err
	}
	before, err := readBook(ctx, tx, courseID)
	if err != nil {
		return nil, err
	}
	itemID, entry, err := change(before)
	if err != nil {
		return nil, err
	}
	b, err := readBook(ctx, tx, courseID)
	if err != nil {
		return nil, err
	}
	if err := newProblems(before, b); err != nil {
		return nil, err
	}
	if err := s.courseChanged(ctx, tx, courseID, itemID); err != nil {
		return nil, err
	}
	if b, err = readBook(ctx, tx, courseID); err != nil {
		return nil, err
	}
	out := b.columnMessage(b.items[itemID])
	entry.Object, entry.Course, entry.After = itemID, courseID, out
	if was := before.items[itemID]; was != nil {
		entry.Before = before.columnMessage(was)
	}
	return out, audit.Record(ctx, tx, entry)
}

// newProblems refuses what can't be counted after a change and could before.
func newProblems(before, after *book) error {
	was := map[string]bool{}
	for _, p := range before.problems {
		was[p.GetPath()+p.GetCode()] = true
	}
	refused := &fault.Error{Kind: fault.Invalid, Code: "grading.invalid", Message: "With this nothing can be counted."}
	for _, p := range after.problems {
		if !was[p.GetPath()+p.GetCode()] && len(refused.Fields) < 20 {
			refused.Fields = append(refused.Fields, fault.Field{Path: p.GetPath(), Code: p.GetCode(), Hint: p.GetHint()})
		}
	}
	if refused.Fields == nil {
		return nil
	}
	return refused
}

// CreateColumn implements gradespb.ColumnServiceServer.
func (r *columnServer) CreateColumn(ctx context.Context, req *gradespb.CreateColumnRequest) (*gradespb.Column, error) {
	s := r.service
	itemID := id.New("column")
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*gradespb.Column, error) {
		return s.changeColumns(ctx, tx, req.GetCourseId(), func(b *book) (string, audit.Entry, error) {
			n, last := 0, int32(0)
			for _, it := range b.items {
				if it.Source == ofStaff {
					last = max(last, it.Position)
					if it.Present {
						n++
					}
				}
			}
			if n >= maxColumns {
				return "", audit.Entry{}, ErrTooManyColumns
			}
			kind, posting := "manual", req.GetPosting()
			if req.GetFormula() != "" {
				kind = calculatedKind
			}
			if posting == "" {
				posting = b.Posting
			}
			_, err := tx.Exec(ctx, `
				INSERT INTO item (course_id, item_id, source, kind, title, position, present, points, category, period, weight, extra_credit, never_drop,
					excluded, formula, pass_percent, posting, revision)
				VALUES ($1, $2, 'staff', $3, $4, $5, true, $6::text::numeric, $7, $8, $9::text::numeric, $10, $11, $12, $13, $14::text::numeric, $15, 0)`,
				req.GetCourseId(), itemID, kind, req.GetTitle(), last+1, nullable(req.GetPoints()), req.GetCategory(), req.GetPeriod(),
				nullable(req.GetWeight()), req.GetExtraCredit(), req.GetNeverDrop(), req.GetExcluded(), req.GetFormula(), nullable(req.GetPassPercent()), posting)
			if err != nil {
				return "", audit.Entry{}, fmt.Errorf("create column: %w", err)
			}
			return itemID, audit.Entry{Action: "grade_column.created"}, nil
		})
	})
}

// UpdateColumn implements gradespb.ColumnServiceServer.
func (r *columnServer) UpdateColumn(ctx context.Context, req *gradespb.UpdateColumnRequest) (*gradespb.Column, error) {
	s := r.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*gradespb.Column, error) {
		return s.changeColumns(ctx, tx, req.GetCourseId(), func(b *book) (string, audit.Entry, error) {
			it, err := b.columnOf(req.GetItemId())
			if err != nil {
				return "", audit.Entry{}, err
			}
			if err := rpc.Match(ctx, strconv.FormatInt(it.Revision, 10)); err != nil {
				return "", audit.Entry{}, err
			}
			ofOthers := req.Title != nil || req.Category != nil || req.Period != nil || req.Weight != nil || req.ExtraCredit != nil ||
				req.NeverDrop != nil || req.Excluded != nil || req.Formula != nil
			fixed := it.Source == ofCourse && (ofOthers || it.calculated() && req.Points != nil)
			kind := req.Formula != nil && (req.GetFormula() == "") != (it.Formula == "")
			nothing := it.Source == ofStaff && req.Points != nil && req.GetPoints() == ""
			if fixed || kind || nothing {
				return "", audit.Entry{}, ErrColumnFixed
			}
			if err := s.tellPosting(ctx, tx, b, it, req); err != nil {
				return "", audit.Entry{}, err
			}
			_, err = tx.Exec(ctx, `
				UPDATE item SET title = coalesce($3, title), category = coalesce($4, category), period = coalesce($5, period),
					extra_credit = coalesce($6, extra_credit), never_drop = coalesce($7, never_drop), excluded = coalesce($8, excluded),
					formula = coalesce($9, formula), posting = coalesce($10, posting),
					points = CASE WHEN $11::text IS NULL THEN points ELSE nullif($11, '')::numeric END,
					weight = CASE WHEN $12::text IS NULL THEN weight ELSE nullif($12, '')::numeric END,
					pass_percent = CASE WHEN $13::text IS NULL THEN pass_percent ELSE nullif($13, '')::numeric END
				WHERE course_id = $1 AND item_id = $2`, req.GetCourseId(), it.ItemID, req.Title, req.Category, req.Period, req.ExtraCredit, req.NeverDrop,
				req.Excluded, req.Formula, req.Posting, req.Points, req.Weight, req.PassPercent)
			if err != nil {
				return "", audit.Entry{}, fmt.Errorf("update column: %w", err)
			}
			return it.ItemID, audit.Entry{Action: "grade_column.updated"}, nil
		})
	})
}

// tellPosting says that grades of an item are posted otherwise from now on.
func (s *Service) tellPosting(ctx context.Context, tx *pg.Tx, b *book, it *item, req *gradespb.UpdateColumnRequest) error {
	if req.Posting == nil || req.GetPosting() == it.Posting {
		return nil
	}
	if !it.automatic() {
		// What is there and nobody has posted stays hidden.
		if _, err := tx.Exec(ctx, `
			UPDATE cell c SET posted = false WHERE course_id = $1 AND item_id = $2 AND posted IS NULL AND `+graded, b.CourseID, it.ItemID); err != nil {
			return fmt.Errorf("keep hidden: %w", err)
		}
	}
	// Whose grades stay as they are is said before what holds for all others.
	automatic := req.GetPosting() == "automatic"
	decided, err := collectTexts(tx.Query(ctx, `
		SELECT account_id FROM cell WHERE course_id = $1 AND item_id = $2 AND posted = $3 ORDER BY account_id`, b.CourseID, it.ItemID, !automatic))
	if err != nil {
		return fmt.Errorf("decided postings: %w", err)
	}
	if err := s.tellPosted(ctx, tx, b.CourseID, it.ItemID, req.GetPosting(), !automatic, decided); err != nil {
		return err
	}
	version, err := s.number(ctx, tx, b.CourseID, 1)
	if err != nil {
		return err
	}
	return bus.Publish(ctx, tx, &gradespb.PostingChanged{
		CourseId: b.CourseID, ItemId: it.ItemID, Policy: req.GetPosting(), Posted: automatic, Version: version + 1,
	})
}

// DeleteColumn implements gradespb.ColumnServiceServer.
func (r *columnServer) DeleteColumn(ctx context.Context, req *gradespb.DeleteColumnRequest) (*emptypb.Empty, error) {
	s := r.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		_, err := s.changeColumns(ctx, tx, req.GetCourseId(), func(b *book) (string, audit.Entry, error) {
			it, err := b.columnOf(req.GetItemId())
			if err != nil {
				return "", audit.Entry{}, err
			}
			if it.Source != ofStaff {
				return "", audit.Entry{}, ErrColumnFixed
			}
			if err := rpc.Match(ctx, strconv.FormatInt(it.Revision, 10)); err != nil {
				return "", audit.Entry{}, err
			}
			if _, err := tx.Exec(ctx, `UPDATE item SET present = false WHERE course_id = $1 AND item_id = $2`, req.GetCourseId(), it.ItemID); err != nil {
				return "", audit.Entry{}, fmt.Errorf("delete column: %w", err)
			}
			return it.ItemID, audit.Entry{Action: "grade_column.deleted"}, nil
		})
		return &emptypb.Empty{}, err
	})
}

// UpdateGradebookSettings implements gradespb.ColumnServiceServer.
func (r *columnServer) UpdateGradebookSettings(ctx context.Context, req *gradespb.UpdateGradebookSettingsRequest) (*gradespb.GradebookSettings, error) {
	return r.settings(ctx, req.GetCourseId(), req, func(tx *pg.Tx) (audit.Entry, error) {
		if _, err := tx.Exec(ctx, `
			UPDATE course SET posting = coalesce($2, posting), statistics = coalesce($3, statistics) WHERE course_id = $1`,
			req.GetCourseId(), req.Posting, req.Statistics); err != nil {
			return audit.Entry{}, fmt.Errorf("update settings: %w", err)
		}
		if req.Posting != nil {
			if err := r.service.tellDefault(ctx, tx, req.GetCourseId(), req.GetPosting()); err != nil {
				return audit.Entry{}, err
			}
		}
		return audit.Entry{Action: "gradebook.updated"}, r.service.courseRevised(ctx, tx, req.GetCourseId())
	})
}

// tellDefault says how grades of new items are posted, so that nobody takes one for posted
// before its gradebook has heard of it. Of items that are there, that theirs are posted by
// themselves has to have been said before: that they are not, is (tellManual).
func (s *Service) tellDefault(ctx context.Context, tx *pg.Tx, courseID, policy string) error {
	var said []proto.Message
	say := func(itemID, policy string) {
		said = append(said, &gradespb.PostingChanged{CourseId: courseID, ItemId: itemID, Policy: policy, Posted: policy == "automatic"})
	}
	if policy == "manual" {
		items, err := collectTexts(tx.Query(ctx, `
			SELECT item_id FROM item WHERE course_id = $1 AND source = 'course' AND posting = 'automatic' ORDER BY item_id`, courseID))
		if err != nil {
			return fmt.Errorf("automatic items: %w", err)
		}
		for _, itemID := range items {
			say(itemID, "automatic")
		}
	}
	say("", policy)
	version, err := s.number(ctx, tx, courseID, len(said))
	if err != nil {
		return err
	}
	for i, e := range said {
		e.(*gradespb.PostingChanged).Version = version + int64(i) + 1
	}
	return bus.Publish(ctx, tx, said...)
}

// RecalculateGradebook implements gradespb.ColumnServiceServer.
func (r *columnServer) RecalculateGradebook(ctx context.Context, req *gradespb.RecalculateGradebookRequest) (*gradespb.GradebookSettings, error) {
	return r.settings(ctx, req.GetCourseId(), req, func(tx *pg.Tx) (audit.Entry, error) {
		return audit.Entry{Action: "gradebook.recalculated"}, r.service.courseChanged(ctx, tx, req.GetCourseId())
	})
}

// settings changes a gradebook as a whole.
func (r *columnServer) settings(ctx context.Context, courseID string, req proto.Message, change func(tx *pg.Tx) (audit.Entry, error)) (*gradespb.GradebookSettings, error) {
	s := r.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*gradespb.GradebookSettings, error) {
		if err := lockGradebookToChange(ctx, tx, courseID); err != nil {
			return nil, err
		}
		before, err := readBook(ctx, tx, courseID)
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, strconv.FormatInt(before.Revision, 10)); err != nil {
			return nil, err
		}
		entry, err := change(tx)
		if err != nil {
			return nil, err
		}
		b, err := readBook(ctx, tx, courseID)
		if err != nil {
			return nil, err
		}
		out := b.settingsMessage()
		entry.Object, entry.Course, entry.Before, entry.After = courseID, courseID, before.settingsMessage(), out
		return out, audit.Record(ctx, tx, entry)
	})
}

func (b *book) settingsMessage() *gradespb.GradebookSettings {
	return &gradespb.GradebookSettings{CourseId: b.CourseID, Posting: b.Posting, Statistics: b.Statistics, Etag: strconv.FormatInt(b.Revision, 10)}
}
