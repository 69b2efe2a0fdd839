// Package discovery owns the marketplace: what is published and has a price, in
// a shape made for finding it.
//
// It answers discoverypb.DiscoveryService: searching and listing the
// marketplace, and a course's page in it. Anybody may ask.
//
// It sends nothing.
//
// It hears courses' CoursePublished and CourseUnpublished, commerce's PriceSet
// (what courses cost, and when they cost less), access' EnrollmentStarted (how
// many take a course), and identity's AccountCreated and AccountUpdated
// (teachers' names). They may come in any order: what is known of a course is
// kept until it is whole.
//
// It calls nobody.
package discovery

import (
	"embed"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/markdown"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/discovery/discoverypb"
)

//go:embed migrations/*.sql
var files embed.FS

// Schema is the service's tables.
var Schema = pg.Schema{Name: "discovery", Migrations: pg.Sub(files)}

// ErrListingNotFound is told for a course that is not in the marketplace.
var ErrListingNotFound = fault.New(fault.NotFound, "listing.not_found", "There is no such course in the marketplace.")

// Config is what the service needs.
type Config struct {
	DB  *pg.DB           // the schema "discovery"
	Now func() time.Time // nil is time.Now
}

// Service keeps the marketplace.
type Service struct {
	db    *pg.DB
	clock func() time.Time
	html  *markdown.Renderer
}

// New returns the service.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{db: cfg.DB, clock: cfg.Now, html: markdown.New()}
}

// Register adds the service's RPCs to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	discoverypb.RegisterDiscoveryServiceServer(r, &server{service: s})
}

// Handlers returns what the service does on others' events.
func (s *Service) Handlers() []bus.Handler {
	return []bus.Handler{
		bus.Copy(s.coursePublished),
		bus.Copy(s.courseUnpublished),
		bus.Copy(s.priceSet),
		bus.Copy(s.enrollmentStarted),
		bus.Copy(s.accountCreated),
		bus.Copy(s.accountUpdated),
	}
}
