package commerce

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// Teller is a [Provider] that says by itself when something has happened. What it says
// is never taken for how things stand: that is looked up, so that a lie changes nothing,
// and neither does the order in which it comes.
type Teller interface {
	Provider

	// ReadEvent reads what was sent, once it has proved that the provider did so
	// within the last minutes. It fails with a *fault.Error of kind Invalid.
	ReadEvent(body []byte, signature string, now time.Time) (Event, error)
	// About says which kind of news an event of a type is: [aboutPayment] and so on,
	// or nothing when it is none that matters here.
	About(eventType string) string
	// News looks up how what an event is about stands now. It is empty for what is
	// not of this platform.
	News(ctx context.Context, e Event) (News, error)

	// EventByID returns an event that the provider still has.
	EventByID(ctx context.Context, id string) (Event, error)
	// Events lists the events since a moment, newest first, behind the one that
	// after names; at most 100, none at the end.
	Events(ctx context.Context, since time.Time, after string) ([]Event, error)
}

// Event is that something has happened at the provider.
type Event struct {
	ID         string
	Type       string
	ObjectID   string // what it is about
	Account    string // of a teacher, in which it happened; empty for the platform's
	HappenedAt time.Time
	Problem    string // what the operator should know of it
	// Whether it is of the other of the provider's modes, real money or none, than what is
	// done here: whoever is told of both, in one of them nothing of it is there.
	OtherMode bool
}

// otherMode is the problem of an event of the other mode: it is not taken in again either.
const otherMode = "it is of the other mode, with real money or without, than the key"

// News is how a thing stands; one of these, or none.
type News struct {
	Payment      *PaymentNews
	Refund       *RefundNews
	Dispute      *DisputeNews
	Account      *AccountNews
	Subscription *SubscriptionNews
}

// What news is about.
const (
	aboutPayment      = "payment"
	aboutRefund       = "refund"
	aboutDispute      = "dispute"
	aboutAccount      = "account"
	aboutSubscription = "subscription" // and of the payment of a period but the first
)

// heard takes in news.
func (s *Service) heard(ctx context.Context, tx *pg.Tx, n News) error {
	switch {
	case n.Payment != nil:
		return s.heardPayment(ctx, tx, *n.Payment)
	case n.Refund != nil:
		return s.heardRefund(ctx, tx, *n.Refund)
	case n.Dispute != nil:
		return s.heardDispute(ctx, tx, *n.Dispute)
	case n.Account != nil:
		return s.heardAccount(ctx, tx, *n.Account)
	case n.Subscription != nil:
		return s.heardSubscription(ctx, tx, *n.Subscription)
	default:
		return errNotOurs
	}
}

// hear takes in news, with what is written down besides. Of what went back of a payment that
// is not heard of yet that is asked for and heard before.
func (s *Service) hear(ctx context.Context, n News, besides func(tx *pg.Tx) error) error {
	once := func() error {
		return s.DB.InTx(ctx, func(tx *pg.Tx) error {
			if err := s.heard(ctx, tx, n); err != nil {
				return err
			}
			return besides(tx)
		})
	}
	if err := once(); !errors.Is(err, errPaymentUnheard) {
		return err
	}
	if err := s.hearBefore(ctx, n); err != nil {
		return err
	}
	return once()
}

// hearBefore asks how the payment stands of which some went back, and takes that in.
func (s *Service) hearBefore(ctx context.Context, n News) error {
	var payment, named string
	switch {
	case n.Refund != nil:
		payment, named = n.Refund.PaymentID, n.Refund.PaymentRef
	case n.Dispute != nil:
		payment, named = n.Dispute.PaymentID, n.Dispute.PaymentRef
	}
	var ref *string
	err := s.DB.QueryRow(ctx, `SELECT ref FROM payment WHERE provider = $1 AND (id = $2 OR ref = $3)`, s.provider.Name(), payment, named).Scan(&ref)
	if pg.NoRows(err) || err == nil && ref == nil {
		return errPaymentUnheard
	}
	if err != nil {
		return err
	}
	paid, err := s.provider.Payment(ctx, *ref)
	if err != nil {
		return err
	}
	return s.DB.InTx(ctx, func(tx *pg.Tx) error { return s.heardPayment(ctx, tx, paid) })
}

// errNotOurs is of events about what the platform has nothing to do with.
var errNotOurs = fault.New(fault.NotFound, "payment_event.not_ours", "This does not concern the platform.")

// The states of an event.
const (
	eventWaiting = "waiting"
	eventIgnored = "ignored"
)

// eventServer answers for the events of the provider.
type eventServer struct {
	service *Service
	commercepb.UnimplementedEventServiceServer
}

// teller returns the provider, if it tells by itself and has the name.
func (s *Service) teller(name string) (Teller, bool) {
	t, ok := s.provider.(Teller)
	return t, ok && t.Name() == name
}

// TakeProviderEvent implements the contract.
func (e *eventServer) TakeProviderEvent(ctx context.Context, req *commercepb.TakeProviderEventRequest) (*emptypb.Empty, error) {
	s := e.service
	t, ok := s.teller(req.GetProvider())
	if !ok {
		return nil, ErrEventNotFound
	}
	ev, err := t.ReadEvent(req.GetBody(), req.GetSignature(), s.now())
	if err != nil {
		eventsTaken.WithLabelValues("refused").Inc()
		s.Log.WarnContext(ctx, "an event of the payment provider was refused", "error", err.Error())
		return nil, err
	}
	if ev.Problem != "" {
		s.Log.WarnContext(ctx, "an event of the payment provider is not as it should be", "event", ev.ID, "problem", ev.Problem)
	}
	outcome := "duplicate"
	if err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
		kept, err := s.keep(ctx, tx, t, ev, req.GetBody())
		if kept {
			outcome = "taken"
		}
		return err
	}); err != nil {
		return nil, err
	}
	eventsTaken.WithLabelValues(outcome).Inc()
	return &emptypb.Empty{}, nil
}

// keep writes an event down, once, to be taken in after tx.
func (s *Service) keep(ctx context.Context, tx *pg.Tx, t Teller, e Event, body []byte) (bool, error) {
	tx.Exempt("what it is about is recorded where it changes something")
	state := eventWaiting
	if t.About(e.Type) == "" || e.OtherMode {
		state = eventIgnored
	}
	now := s.now()
	tag, err := tx.Exec(ctx, `
		INSERT INTO provider_event (provider, id, type, object_id, account, happened_at, received_at, body, state, next_at, problem)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $7, $10)
		ON CONFLICT ON CONSTRAINT provider_event_pkey DO NOTHING`,
		t.Name(), e.ID, e.Type, e.ObjectID, e.Account, e.HappenedAt, now, body, state, e.Problem)
	if err != nil {
		return false, err
	}
	tx.AfterCommit(func() { signal(s.told) })
	return tag.RowsAffected() > 0, nil
}
