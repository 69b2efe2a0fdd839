package grades

import (
	"context"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/gradebook"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// message returns all that is known of a student, for staff.
func (l *ledger) message() *gradespb.StudentGrades {
	out := &gradespb.StudentGrades{
		CourseId: l.book.CourseID, AccountId: l.AccountID, Name: l.Name, Enrolled: l.Enrolled, Totals: totalsOf(&l.result).message(),
		OverridesEtag: strconv.FormatInt(l.Revision, 10),
	}
	for i, it := range l.book.present {
		out.Cells = append(out.Cells, l.book.cellMessage(l.AccountID, it, l.cells[it.ItemID], &l.result.Full.Current.Items[i]))
	}
	out.Categories, out.Periods = l.book.groups(&l.result.Full)
	for _, o := range l.overrides {
		out.Overrides = append(out.Overrides, &gradespb.TotalOverride{
			Category: o.Category, Period: o.Period, Percent: o.Percent, Posted: o.Posted, Reason: o.Reason, SetBy: o.SetBy, SetAt: timestamppb.New(o.SetAt),
		})
	}
	return out
}

// GetStudentGrades implements gradespb.GradeServiceServer.
func (r *gradeServer) GetStudentGrades(ctx context.Context, req *gradespb.GetStudentGradesRequest) (*gradespb.StudentGrades, error) {
	l, err := r.service.ledgerOf(ctx, r.service.db, req.GetCourseId(), req.GetAccountId(), ErrStudentNotFound)
	if err != nil {
		return nil, err
	}
	return l.message(), nil
}

// ExplainStudentGrade implements gradespb.GradeServiceServer.
func (r *gradeServer) ExplainStudentGrade(ctx context.Context, req *gradespb.ExplainStudentGradeRequest) (*gradespb.GradeDerivation, error) {
	l, err := r.service.ledgerOf(ctx, r.service.db, req.GetCourseId(), req.GetAccountId(), ErrStudentNotFound)
	if err != nil {
		return nil, err
	}
	return l.explain(seenOf(req.GetSeen()), basisOf(req.GetBasis()), gradebook.Part{Category: req.GetCategory(), Period: req.GetPeriod()})
}

// explain derives the total, or what a part comes to.
func (l *ledger) explain(seen gradebook.Seen, basis gradebook.Basis, of gradebook.Part) (*gradespb.GradeDerivation, error) {
	if !l.book.hasPlace(of.Category, of.Period) {
		return nil, ErrUnknownPlace
	}
	if of == (gradebook.Part{}) {
		return derivationMessage(l.book.Explain(&l.row, seen, basis)), nil
	}
	return derivationMessage(l.book.ExplainPart(&l.row, seen, basis, of)), nil
}

// EstimateStudentGrades implements gradespb.GradeServiceServer.
func (r *gradeServer) EstimateStudentGrades(ctx context.Context, req *gradespb.EstimateStudentGradesRequest) (*gradespb.GradeEstimate, error) {
	l, err := r.service.ledgerOf(ctx, r.service.db, req.GetCourseId(), req.GetAccountId(), ErrStudentNotFound)
	if err != nil {
		return nil, err
	}
	return l.estimate(seenOf(req.GetSeen()), req.GetAssumptions())
}

// SetTotal implements gradespb.GradeServiceServer.
func (r *gradeServer) SetTotal(ctx context.Context, req *gradespb.SetTotalRequest) (*gradespb.StudentGrades, error) {
	s, noPosting := r.service, mayEdit(ctx, true)
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*gradespb.StudentGrades, error) {
		tx.Exempt("nothing has changed")
		d, err := s.open(ctx, tx, req.GetCourseId(), req.GetAccountId())
		if err != nil {
			return nil, err
		}
		st := d.seats[req.GetAccountId()]
		if st == nil {
			return nil, ErrStudentNotFound
		}
		if err := rpc.Match(ctx, strconv.FormatInt(st.Revision, 10)); err != nil {
			return nil, err
		}
		set := totalOverride{
			AccountID: st.AccountID, Category: req.GetCategory(), Period: req.GetPeriod(), Percent: req.GetPercent(), Posted: req.GetPosted(),
			SetBy: auth.From(ctx).Account, SetAt: d.now, Reason: req.GetReason(),
		}
		if !d.book.hasPlace(set.Category, set.Period) {
			return nil, ErrUnknownPlace
		}
		if st.posts(set) && noPosting != nil {
			return nil, noPosting
		}
		changed, err := d.setTotal(ctx, st, set, fromStaff, set.Reason, 0)
		if err != nil {
			return nil, err
		}
		if changed {
			if err := d.settle(ctx); err != nil {
				return nil, err
			}
			if err := audit.Record(ctx, tx, audit.Entry{
				Action: "grade_total.set", Object: req.GetCourseId(), Course: req.GetCourseId(), Person: req.GetAccountId(), Reason: req.GetReason(),
				After: map[string]any{"category": set.Category, "period": set.Period, "percent": set.Percent, "posted": set.Posted},
			}); err != nil {
				return nil, err
			}
		}
		l, err := s.ledgerOf(ctx, tx, req.GetCourseId(), req.GetAccountId(), ErrStudentNotFound)
		if err != nil {
			return nil, err
		}
		return l.message(), nil
	})
}

// hasPlace reports whether the course has a category and a period; empty ones always.
func (b *book) hasPlace(category, period string) bool {
	if _, ok := b.Category(category); category != "" && !ok {
		return false
	}
	for _, p := range b.Policy().Periods {
		if p.Key == period {
			return true
		}
	}
	return period == ""
}

// posts reports whether a percentage that is set shows or hides it, and not only what it
// is.
func (st *seat) posts(o totalOverride) bool {
	posted := false
	for _, was := range st.overrides {
		if was.Category == o.Category && was.Period == o.Period {
			posted = was.Posted
		}
	}
	return o.Percent != "" && o.Posted != posted
}

// setTotal sets a percentage in place of a total, or takes it back where it has none,
// and reports whether that changes anything.
func (d *desk) setTotal(ctx context.Context, st *seat, o totalOverride, source, reason string, undoes int64) (bool, error) {
	var before, after state
	kept := st.overrides[:0:0]
	for _, was := range st.overrides {
		if was.Category == o.Category && was.Period == o.Period {
			percent, posted := was.Percent, was.Posted
			before = state{Points: &percent, Posted: &posted, Reason: was.Reason, By: was.SetBy}
			continue
		}
		kept = append(kept, was)
	}
	if o.Percent != "" {
		percent, err := decimal(o.Percent)
		if err != nil {
			return false, fmt.Errorf("percent: %w", err)
		}
		o.Percent = *percent
		posted := o.Posted
		after = state{Points: percent, Posted: &posted, Reason: o.Reason, By: o.SetBy}
		kept = append(kept, o)
	}
	if after.is(before) {
		return false, nil
	}
	st.overrides, st.touched = kept, true
	var err error
	if o.Percent == "" {
		_, err = d.tx.Exec(ctx, `
			DELETE FROM total_override WHERE course_id = $1 AND account_id = $2 AND category = $3 AND period = $4`, d.book.CourseID, st.AccountID, o.Category, o.Period)
	} else {
		_, err = d.tx.Exec(ctx, `
			INSERT INTO total_override AS o (course_id, account_id, category, period, percent, posted, set_by, set_at, reason)
			VALUES ($1, $2, $3, $4, $5::text::numeric, $6, $7, $8, $9)
			ON CONFLICT ON CONSTRAINT total_override_pkey DO UPDATE SET percent = EXCLUDED.percent, posted = EXCLUDED.posted,
				set_by = EXCLUDED.set_by, set_at = EXCLUDED.set_at, reason = EXCLUDED.reason`,
			d.book.CourseID, st.AccountID, o.Category, o.Period, o.Percent, o.Posted, o.SetBy, o.SetAt, o.Reason)
	}
	if err != nil {
		return false, fmt.Errorf("set total: %w", err)
	}
	d.history = append(d.history, &change{
		AccountID: st.AccountID, Place: placeOf(o.Category, o.Period), Kind: kindTotal, Before: before, After: after, Source: source,
		ChangedBy: auth.From(ctx).Account, ChangedAt: d.now, Reason: reason, Undoes: undoes,
	})
	return true, nil
}
