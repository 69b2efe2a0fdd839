// Package notify owns what people are told: notifications within Stoa, and
// mails, which it hands to an SMTP server, or holds where there is none. What is
// personal in them is sealed with the key of the person, but for notifications.
//
// It answers notifypb.NotifyService: one's own notifications, and the mails of
// the development outbox.
//
// It sends nothing, and no one depends on it.
//
// It hears identity's AccountCreated and AccountUpdated (whom to tell and how)
// and SecurityMailRequested (a mail that identity has sealed for it),
// courses' CoursePublished (what courses are called and whose they are) and
// CourseReviewed (what moderators say), access'
// EnrollmentStarted, WaitlistOffered, WaitlistOfferExpired and
// InvitationMailRequested (sealed, too), commerce's OrderPaid,
// SubscriptionRenewalFailed, SubscriptionEnded, LinesRefunded, PaymentReturned, RefundRequestDeclined,
// DisputeOpened, DisputeSettled, PayoutPaid, PayoutFailed
// and PayoutReversed, learning's CourseCompleted and grades' GradePosted. What
// names a course or a person that it has not heard of yet fails, and the bus
// tries it again later.
//
// It calls nobody.
package notify

import (
	"context"
	"embed"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/notify/notifypb"
)

//go:embed migrations/*.sql
var files embed.FS

// Schema is the service's tables.
var Schema = pg.Schema{Name: "notify", Migrations: pg.Sub(files)}

// Errors that the service tells.
var (
	// ErrNotificationNotFound is told for a notification that is not the
	// caller's, whether it is somebody else's or nobody's.
	ErrNotificationNotFound = fault.New(fault.NotFound, "notification.not_found", "You have no such notification.")
	// ErrNoDevelopmentMail is told where there is no development outbox.
	ErrNoDevelopmentMail = fault.New(fault.NotFound, "not_found", "There is no development outbox here.")
)

// How long things are kept, how many rows one statement deletes, and how often
// that is looked after.
const (
	keepNotifications = 365 * 24 * time.Hour
	keepMail          = 30 * 24 * time.Hour
	sweepBatch        = 1000
	sweepEvery        = time.Hour
)

// Config is what the service needs.
type Config struct {
	DB              *pg.DB           // the schema "notify"
	Log             *slog.Logger     // for what nobody is told
	Now             func() time.Time // nil is time.Now
	Vault           *secret.Vault    // of the schema
	Mailer          *Mailer          // nil holds all mails
	PublicURL       string           // where browsers reach the platform
	DevelopmentMail bool             // show the mails that are not sent; never in production
}

// Service tells people what happened.
type Service struct {
	db              *pg.DB
	log             *slog.Logger
	clock           func() time.Time
	vault           *secret.Vault
	mailer          *Mailer
	publicURL       string
	developmentMail bool
	wake            chan struct{} // a mail was written
}

// New returns the service.
func New(cfg Config) *Service {
	s := &Service{
		db: cfg.DB, log: cfg.Log, clock: cfg.Now, vault: cfg.Vault, mailer: cfg.Mailer, publicURL: cfg.PublicURL,
		developmentMail: cfg.DevelopmentMail, wake: make(chan struct{}, senders),
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	return s
}

// Register adds the service's RPCs to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	notifypb.RegisterNotifyServiceServer(r, &server{service: s})
}

// Handlers returns what the service does on others' events.
func (s *Service) Handlers() []bus.Handler {
	return []bus.Handler{
		bus.Copy(s.accountCreated),
		bus.Copy(s.accountUpdated),
		bus.Copy(s.securityMailRequested),
		bus.Copy(s.coursePublished),
		bus.Copy(s.courseReviewed),
		bus.Copy(s.enrollmentStarted),
		bus.Copy(s.waitlistOffered),
		bus.Copy(s.waitlistOfferExpired),
		bus.Copy(s.orderPaid),
		bus.Copy(s.subscriptionRenewalFailed),
		bus.Copy(s.subscriptionEnded),
		bus.Copy(s.linesRefunded),
		bus.Copy(s.paymentReturned),
		bus.Copy(s.refundRequestDeclined),
		bus.Copy(s.disputeOpened),
		bus.Copy(s.disputeSettled),
		bus.Copy(s.payoutPaid),
		bus.Copy(s.payoutFailed),
		bus.Copy(s.payoutReversed),
		bus.Copy(s.courseCompleted),
		bus.Copy(s.gradePosted),
		bus.Copy(s.invitationMailRequested),
	}
}

// Run sends mails as they come. Beside, at once and every hour, it deletes what
// is kept no longer and seals what is plain. It ends with ctx; any number of
// processes may run it.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	if s.mailer != nil {
		wg.Go(func() { s.sendAll(ctx) })
	}
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		if err := errors.Join(s.sweep(ctx), s.sealPlain(ctx)); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "notify: delete what is old and seal what is plain, trying again in an hour", "error", err.Error())
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// sweep deletes what is kept no longer, in batches so that no statement holds
// many rows.
func (s *Service) sweep(ctx context.Context) error {
	for _, deleteOld := range []func(context.Context) (int64, error){s.deleteOldNotifications, s.deleteOldMail} {
		for {
			n, err := deleteOld(ctx)
			if err != nil {
				return err
			}
			if n < sweepBatch {
				break
			}
		}
	}
	return nil
}

// now is the time as the database stores it.
func (s *Service) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }
