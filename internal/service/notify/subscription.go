package notify

import (
	"context"
	"strconv"
	"time"

	"github.com/stoa-lms/stoa/internal/money"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// periodPaid tells the buyer that a period of a subscription is paid, also by mail, and
// each seller of its courses, once for all of theirs.
func (s *Service) periodPaid(ctx context.Context, tx *pg.Tx, e *commercepb.OrderPaid) error {
	accounts := []string{e.GetBuyerId()}
	earned := map[string]int64{}
	for _, l := range e.GetLines() {
		if _, ok := earned[l.GetSellerId()]; !ok {
			accounts = append(accounts, l.GetSellerId())
		}
		earned[l.GetSellerId()] += l.GetPrice().GetAmount()
	}
	who, err := s.people(ctx, tx, accounts...)
	if err != nil {
		return err
	}
	buyer := who[e.GetBuyerId()]
	paid := note{to: buyer, kind: subscriptionPaid, about: e.GetOrderId(), facts: facts{
		Name: buyer.Name, Order: e.GetOrderId(), Amount: format(e.GetTotal()), Day: e.GetPaidAt().AsTime().Format(time.DateOnly),
		Course: e.GetPlanTitle(), Until: e.GetPeriodEnd().AsTime().Format(time.DateOnly),
	}}
	for _, l := range e.GetLines() {
		paid.facts.Lines = append(paid.facts.Lines, line{Course: l.GetTitle(), Amount: format(l.GetPrice())})
	}
	notes := []note{paid}
	for _, account := range accounts[1:] {
		notes = append(notes, note{to: who[account], kind: sale, about: e.GetOrderId(), facts: facts{
			Course: e.GetPlanTitle(), Amount: money.Format(earned[account], e.GetTotal().GetCurrency()),
		}})
	}
	if err := s.notify(ctx, tx, notes...); err != nil {
		return err
	}
	return s.mail(ctx, tx, paid)
}

// subscriptionRenewalFailed tells the buyer, also by mail, once for each try.
func (s *Service) subscriptionRenewalFailed(ctx context.Context, tx *pg.Tx, e *commercepb.SubscriptionRenewalFailed) error {
	who, err := s.people(ctx, tx, e.GetBuyerId())
	if err != nil {
		return err
	}
	n := note{to: who[e.GetBuyerId()], kind: subscriptionFailed, about: e.GetSubscriptionId() + " " + strconv.FormatInt(e.GetVersion(), 10), facts: facts{
		Name: who[e.GetBuyerId()].Name, Course: e.GetPlanTitle(), Until: e.GetAccessUntil().AsTime().Format("2006-01-02 15:04 UTC"), Link: e.GetUrl(),
	}}
	if at := e.GetNextAttemptAt(); at.IsValid() {
		n.facts.Day = at.AsTime().Format(time.DateOnly)
	}
	if err := s.notify(ctx, tx, n); err != nil {
		return err
	}
	return s.mail(ctx, tx, n)
}

// subscriptionEnded tells the buyer, also by mail.
func (s *Service) subscriptionEnded(ctx context.Context, tx *pg.Tx, e *commercepb.SubscriptionEnded) error {
	who, err := s.people(ctx, tx, e.GetBuyerId())
	if err != nil {
		return err
	}
	n := note{to: who[e.GetBuyerId()], kind: subscriptionEnded, about: e.GetSubscriptionId(), facts: facts{
		Name: who[e.GetBuyerId()].Name, Course: e.GetPlanTitle(), Day: e.GetEndedAt().AsTime().Format(time.DateOnly), Unpaid: e.GetReason() == "given_up",
	}}
	if err := s.notify(ctx, tx, n); err != nil {
		return err
	}
	return s.mail(ctx, tx, n)
}
