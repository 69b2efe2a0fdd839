package commerce

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// message is an order as its buyer sees it.
func message(o order) *commercepb.Order {
	m := &commercepb.Order{
		Id: o.ID, BuyerId: o.BuyerID, State: o.State, Total: o.total(),
		CreatedAt: timestamppb.New(o.CreatedAt), ExpiresAt: timestamppb.New(o.ExpiresAt), PaidAt: stamp(o.PaidAt), CouponId: o.CouponID,
		PeriodStart: stamp(o.PeriodStart), PeriodEnd: stamp(o.PeriodEnd),
	}
	if o.SubscriptionID != nil {
		m.SubscriptionId = *o.SubscriptionID
	}
	list := int64(0)
	if o.State == awaitingPayment && o.PayURL != nil {
		m.PayUrl = *o.PayURL
	}
	for _, l := range o.lines {
		m.Lines = append(m.Lines, &commercepb.OrderLine{
			Id: l.ID, CourseId: l.CourseID, Title: l.Title, Fulfilled: l.Fulfilled, Kind: l.Kind, Quantity: l.Quantity, BundleId: l.BundleID,
			Price: &moneypb.Money{Amount: l.Amount, Currency: o.Currency}, List: &moneypb.Money{Amount: l.ListAmount, Currency: o.Currency},
		})
		list += l.ListAmount
	}
	m.ListTotal, m.Discount = &moneypb.Money{Amount: list, Currency: o.Currency}, &moneypb.Money{Amount: list - o.Total, Currency: o.Currency}
	return m
}

func (o *order) paidEvent() *commercepb.OrderPaid {
	e := &commercepb.OrderPaid{OrderId: o.ID, BuyerId: o.BuyerID, Total: o.total(), PaidAt: stamp(o.PaidAt), PeriodEnd: stamp(o.PeriodEnd)}
	if o.SubscriptionID != nil {
		e.SubscriptionId = *o.SubscriptionID
	}
	for _, l := range o.lines {
		e.Lines = append(e.Lines, &commercepb.PaidLine{
			LineId: l.ID, CourseId: l.CourseID, SellerId: l.SellerID, Title: l.Title,
			Price: &moneypb.Money{Amount: l.Amount, Currency: o.Currency}, Kind: l.Kind, Quantity: l.Quantity, BundleId: l.BundleID,
			StartsAt: stamp(o.PeriodStart), EndsAt: stamp(o.AccessUntil),
			BundleTitle: l.BundleTitle,
		})
	}
	return e
}

// sale is a paid order line as its teacher sees it.
type sale struct {
	ID, OrderID, CourseID, BuyerID string
	Amount                         int64
	Currency                       string
	PaidAt                         time.Time
	Kind                           string
	Quantity                       int32
	CouponOrigin                   string
	Channel                        string
}

func (l sale) message() *commercepb.Sale {
	return &commercepb.Sale{
		LineId: l.ID, OrderId: l.OrderID, CourseId: l.CourseID, BuyerId: l.BuyerID,
		Price: &moneypb.Money{Amount: l.Amount, Currency: l.Currency}, PaidAt: timestamppb.New(l.PaidAt),
		Kind: l.Kind, Quantity: l.Quantity, CouponOrigin: l.CouponOrigin, Channel: l.Channel,
	}
}

func stamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
