package notify

import (
	"context"

	"github.com/stoa-lms/stoa/internal/email"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// accountCreated welcomes somebody, in the language and at the address that
// they have by now: a change of them may have been heard first.
func (s *Service) accountCreated(ctx context.Context, tx *pg.Tx, e *identitypb.AccountCreated) error {
	address, err := email.Of(s.vault.Keys(), e)
	if err != nil {
		return err
	}
	err = s.storePerson(ctx, tx, person{AccountID: e.GetAccountId(), Email: address, Name: e.GetName(), Locale: e.GetLocale(), Version: 1})
	if err != nil {
		return err
	}
	who, err := s.people(ctx, tx, e.GetAccountId())
	if err != nil {
		return err
	}
	p := who[e.GetAccountId()]
	n := note{to: p, kind: welcome, about: p.AccountID, facts: facts{Name: p.Name}}
	if err := s.notify(ctx, tx, n); err != nil {
		return err
	}
	return s.mail(ctx, tx, n)
}

func (s *Service) accountUpdated(ctx context.Context, tx *pg.Tx, e *identitypb.AccountUpdated) error {
	address, err := email.Of(s.vault.Keys(), e)
	if err != nil {
		return err
	}
	return s.storePerson(ctx, tx, person{AccountID: e.GetAccountId(), Email: address, Name: e.GetName(), Locale: e.GetLocale(), Version: e.GetVersion()})
}

func (s *Service) coursePublished(ctx context.Context, tx *pg.Tx, e *coursespb.CoursePublished) error {
	return storeCourse(ctx, tx, course{CourseID: e.GetCourseId(), Sequence: e.GetSequence(), Title: e.GetTitle(), OwnerID: e.GetOwnerId()})
}

// enrollmentStarted tells the student and the teacher, unless they are one.
func (s *Service) enrollmentStarted(ctx context.Context, tx *pg.Tx, e *accesspb.EnrollmentStarted) error {
	c, err := readCourse(ctx, tx, e.GetCourseId())
	if err != nil {
		return err
	}
	who, err := s.people(ctx, tx, e.GetAccountId(), c.OwnerID)
	if err != nil {
		return err
	}
	student := who[e.GetAccountId()]
	f := facts{Course: c.Title, Student: student.Name}
	notes := []note{{to: student, kind: enrollment, about: e.GetEnrollmentId(), courseID: c.CourseID, facts: f}}
	if c.OwnerID != student.AccountID {
		notes = append(notes, note{to: who[c.OwnerID], kind: newStudent, about: e.GetEnrollmentId(), courseID: c.CourseID, facts: f})
	}
	return s.notify(ctx, tx, notes...)
}

// orderPaid tells the buyer, also by mail, and the seller of each line.
func (s *Service) orderPaid(ctx context.Context, tx *pg.Tx, e *commercepb.OrderPaid) error {
	if e.GetSubscriptionId() != "" {
		return s.periodPaid(ctx, tx, e)
	}
	accounts := []string{e.GetBuyerId()}
	for _, l := range e.GetLines() {
		accounts = append(accounts, l.GetSellerId())
	}
	who, err := s.people(ctx, tx, accounts...)
	if err != nil {
		return err
	}
	buyer := who[e.GetBuyerId()]
	paid := facts{
		Name: buyer.Name, Order: e.GetOrderId(), Amount: format(e.GetTotal()),
		Day: e.GetPaidAt().AsTime().Format("2006-01-02"),
	}
	var notes []note
	for _, l := range e.GetLines() {
		paid.Lines = append(paid.Lines, line{Course: boughtAs(buyer.Locale, l), Amount: format(l.GetPrice())})
		seller := who[l.GetSellerId()]
		notes = append(notes, note{
			to: seller, kind: sale, about: l.GetLineId(), courseID: l.GetCourseId(),
			facts: facts{Course: boughtAs(seller.Locale, l), Amount: format(l.GetPrice())},
		})
	}
	bought := note{to: buyer, kind: receipt, about: e.GetOrderId(), facts: paid}
	if len(e.GetLines()) == 1 {
		bought.courseID = e.GetLines()[0].GetCourseId()
	}
	if err := s.notify(ctx, tx, append(notes, bought)...); err != nil {
		return err
	}
	return s.mail(ctx, tx, bought)
}

func (s *Service) courseCompleted(ctx context.Context, tx *pg.Tx, e *learningpb.CourseCompleted) error {
	c, err := readCourse(ctx, tx, e.GetCourseId())
	if err != nil {
		return err
	}
	who, err := s.people(ctx, tx, e.GetAccountId())
	if err != nil {
		return err
	}
	return s.notify(ctx, tx, note{
		to: who[e.GetAccountId()], kind: courseCompleted, about: c.CourseID, courseID: c.CourseID,
		facts: facts{Course: c.Title},
	})
}

// courseReviewed tells who has submitted a course, and whose it is, what the
// moderators say, also by mail. The course may never have been published, so that
// nothing of it need be known here.
func (s *Service) courseReviewed(ctx context.Context, tx *pg.Tx, e *coursespb.CourseReviewed) error {
	accounts := []string{e.GetSubmittedBy()}
	if e.GetOwnerId() != e.GetSubmittedBy() {
		accounts = append(accounts, e.GetOwnerId())
	}
	who, err := s.people(ctx, tx, accounts...)
	if err != nil {
		return err
	}
	k := courseApproved
	if e.GetState() == "returned" {
		k = courseReturned
	}
	for _, account := range accounts {
		p := who[account]
		n := note{
			to: p, kind: k, about: e.GetReviewId(), courseID: e.GetCourseId(),
			facts: facts{Name: p.Name, Course: e.GetTitle(), Message: e.GetComment(), Remarks: int(e.GetRemarkCount())},
		}
		if err := s.notify(ctx, tx, n); err != nil {
			return err
		}
		if err := s.mail(ctx, tx, n); err != nil {
			return err
		}
	}
	return nil
}

// waitlistOffered tells who waited for a seat that one is held, also by mail.
func (s *Service) waitlistOffered(ctx context.Context, tx *pg.Tx, e *accesspb.WaitlistOffered) error {
	n, err := s.aboutSeat(ctx, tx, seatOffered, e)
	if err != nil {
		return err
	}
	n.facts.Until = e.GetEndsAt().AsTime().Format("2006-01-02 15:04 UTC")
	if err := s.notify(ctx, tx, n); err != nil {
		return err
	}
	return s.mail(ctx, tx, n)
}

func (s *Service) waitlistOfferExpired(ctx context.Context, tx *pg.Tx, e *accesspb.WaitlistOfferExpired) error {
	n, err := s.aboutSeat(ctx, tx, seatExpired, e)
	if err != nil {
		return err
	}
	return s.notify(ctx, tx, n)
}

// aboutSeat is a note about a seat that somebody waited for.
func (s *Service) aboutSeat(ctx context.Context, tx *pg.Tx, k kind, e interface {
	GetEntryId() string
	GetCohortName() string
	GetCourseId() string
	GetAccountId() string
},
) (note, error) {
	c, err := readCourse(ctx, tx, e.GetCourseId())
	if err != nil {
		return note{}, err
	}
	who, err := s.people(ctx, tx, e.GetAccountId())
	if err != nil {
		return note{}, err
	}
	p := who[e.GetAccountId()]
	return note{to: p, kind: k, about: e.GetEntryId(), courseID: c.CourseID, facts: facts{Name: p.Name, Course: c.Title, Cohort: e.GetCohortName()}}, nil
}

// mail writes the mail that goes with a note.
func (s *Service) mail(ctx context.Context, tx *pg.Tx, n note) error {
	return s.write(ctx, tx, post{
		id: id.New("mail"), account: n.to.AccountID, kind: n.kind, locale: n.to.Locale, to: n.to.Email,
		dedupeKey: n.dedupeKey(), facts: n.facts,
	})
}

func format(m *moneypb.Money) string { return money.Format(m.GetAmount(), m.GetCurrency()) }
