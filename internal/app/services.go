package app

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/access"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/audit"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/courses"
	"github.com/stoa-lms/stoa/internal/service/discovery"
	"github.com/stoa-lms/stoa/internal/service/grades"
	"github.com/stoa-lms/stoa/internal/service/identity"
	"github.com/stoa-lms/stoa/internal/service/learning"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
	"github.com/stoa-lms/stoa/internal/service/media"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
	"github.com/stoa-lms/stoa/internal/service/notify"
)

// service is how a service with tables is put into a process.
type service struct {
	schema pg.Schema
	// hears returns its handlers, also of a service that was not started.
	hears func() []bus.Handler
	start func(p *process, db *pg.DB) (started, error)
}

// started is what runs beside a service's RPCs.
type started struct {
	handlers []bus.Handler
	run      func(context.Context) error // nil when there is nothing to do
}

// all services with tables. The edge has none and is started apart.
var all = []service{
	{identity.Schema, new(identity.Service).Handlers, func(p *process, db *pg.DB) (started, error) {
		vault, err := secret.NewVault(p.secrets, db)
		if err != nil {
			return started{}, err
		}
		providers, err := p.cfg.providers()
		if err != nil {
			return started{}, err
		}
		s := identity.New(identity.Config{DB: db, Log: p.log, Vault: vault, Keys: p.secrets, Store: p.limiter, PublicURL: p.publicURL(), Providers: providers})
		s.Register(p.server)
		return started{s.Handlers(), s.Run}, nil
	}},
	{access.Schema, new(access.Service).Handlers, func(p *process, db *pg.DB) (started, error) {
		vault, err := secret.NewVault(p.secrets, db)
		if err != nil {
			return started{}, err
		}
		s := access.New(access.Config{DB: db, Log: p.log, Vault: vault, Attempts: p.limiter})
		s.Register(p.server)
		return started{s.Handlers(), s.Run}, nil
	}},
	{courses.Schema, new(courses.Service).Handlers, func(p *process, db *pg.DB) (started, error) {
		s := courses.New(courses.Config{
			DB:       db,
			Access:   accesspb.NewAccessServiceClient(p.conn("courses", "access")),
			Media:    mediapb.NewMediaServiceClient(p.conn("courses", "media")),
			Learning: learningpb.NewItemServiceClient(p.conn("courses", "learning")),
			Carry:    assessmentpb.NewCarryServiceClient(p.conn("courses", "assessment")),
			Review:   p.cfg.Review == "required",

			EmbedHosts: p.cfg.embedHosts(),
			Library:    mediapb.NewLibraryServiceClient(p.conn("courses", "media")), Log: p.log,
			Imports: p.cfg.importDir(), MaxArchive: p.cfg.MaxArchive.V,
		})
		s.Register(p.server)
		return started{s.Handlers(), s.Run}, nil
	}},
	{media.Schema, new(media.Service).Handlers, func(p *process, db *pg.DB) (started, error) {
		bucket, err := p.bucket()
		if err != nil {
			return started{}, err
		}
		key, err := p.derivedKey("stoa media links")
		if err != nil {
			return started{}, err
		}
		scanner, err := p.cfg.scanner()
		if err != nil {
			return started{}, err
		}
		s := media.New(media.Config{
			DB: db, Log: p.log, Bucket: bucket, Key: [32]byte(key), MaxSize: p.cfg.MaxUpload.V,
			UploadLifetime: p.cfg.MediaUploadLifetime.V, Limits: media.Limits{
				CourseQuota: p.cfg.MediaCourseQuota.V, AccountQuota: p.cfg.MediaAccountQuota.V, SubmissionQuota: p.cfg.SubmissionQuota.V,
				CourseUploads: int(p.cfg.MediaCourseUploads.V), AccountUploads: int(p.cfg.MediaAccountUploads.V),
			},
			Checker: p.permissions, Scanner: scanner, Workers: int(p.cfg.MediaWorkers.V), TempDir: p.cfg.MediaTempDir,
		})
		s.Register(p.server)
		return started{s.Handlers(), s.Run}, nil
	}},
	{learning.Schema, new(learning.Service).Handlers, func(p *process, db *pg.DB) (started, error) {
		vault, err := secret.NewVault(p.secrets, db)
		if err != nil {
			return started{}, err
		}
		fonts, err := p.fonts()
		if err != nil {
			return started{}, err
		}
		if missing := fonts.Missing(); len(missing) > 0 {
			p.log.Warn("certificates can't be written in all scripts: fonts are missing", "packages", strings.Join(missing, " "))
		}
		s := learning.New(learning.Config{
			DB: db, Log: p.log, Vault: vault, Fonts: fonts, PublicURL: p.publicURL(), IssuerName: p.issuerName(),
			Access: accesspb.NewAccommodationServiceClient(p.conn("learning", "access")),
		})
		s.Register(p.server)
		return started{s.Handlers(), s.Run}, nil
	}},
	{assessment.Schema, new(assessment.Service).Handlers, func(p *process, db *pg.DB) (started, error) {
		vault, err := secret.NewVault(p.secrets, db)
		if err != nil {
			return started{}, err
		}
		s := assessment.New(assessment.Config{
			DB: db, Log: p.log, Vault: vault,
			Access:         accesspb.NewAccessServiceClient(p.conn("assessment", "access")),
			Accommodations: accesspb.NewAccommodationServiceClient(p.conn("assessment", "access")),
			Items:          learningpb.NewItemServiceClient(p.conn("assessment", "learning")), Wrong: p.limiter,
			Media:   mediapb.NewMediaServiceClient(p.conn("assessment", "media")),
			Library: mediapb.NewLibraryServiceClient(p.conn("assessment", "media")),
			Files:   mediapb.NewSubmissionFileServiceClient(p.conn("assessment", "media")),
			Similarity: &assessment.Similarity{
				URL: p.cfg.SimilarityURL, Secret: []byte(p.cfg.SimilaritySecret), PublicURL: p.publicURL(),
			},
			Proctoring: &assessment.Proctoring{
				URL: p.cfg.ProctoringURL, Secret: []byte(p.cfg.ProctoringSecret), PublicURL: p.publicURL(),
			},
		})
		s.Register(p.server)
		return started{s.Handlers(), s.Run}, nil
	}},
	{grades.Schema, new(grades.Service).Handlers, func(p *process, db *pg.DB) (started, error) {
		learns := p.conn("grades", "learning")
		s := grades.New(grades.Config{DB: db, Log: p.log, Items: learningpb.NewItemServiceClient(learns), Deadlines: learningpb.NewDeadlineServiceClient(learns)})
		s.Register(p.server)
		return started{s.Handlers(), s.Run}, nil
	}},
	{commerce.Schema, new(commerce.Service).Handlers, func(p *process, db *pg.DB) (started, error) {
		vault, err := secret.NewVault(p.secrets, db)
		if err != nil {
			return started{}, err
		}
		fonts, err := p.fonts()
		if err != nil {
			return started{}, err
		}
		stripe, err := p.cfg.Stripe()
		if err != nil {
			return started{}, err
		}
		s := commerce.New(commerce.Config{
			DB: db, Log: p.log, Vault: vault, Attempts: p.limiter, Fonts: fonts, Seller: p.seller(), Stripe: stripe,
			Access:              accesspb.NewAccessServiceClient(p.conn("commerce", "access")),
			Entitlements:        accesspb.NewEntitlementServiceClient(p.conn("commerce", "access")),
			Seats:               accesspb.NewSeatServiceClient(p.conn("commerce", "access")),
			PublicURL:           p.publicURL(),
			DevelopmentPayments: p.cfg.Payments == "development",
			PayoutDay:           int(p.cfg.PayoutDay.V),
			PayoutMinimum:       p.cfg.PayoutMinimum.V,
		})
		s.Register(p.server)
		return started{s.Handlers(), s.Run}, nil
	}},
	{discovery.Schema, new(discovery.Service).Handlers, func(p *process, db *pg.DB) (started, error) {
		s := discovery.New(discovery.Config{DB: db})
		s.Register(p.server)
		return started{s.Handlers(), nil}, nil
	}},
	{audit.Schema, new(audit.Service).Handlers, func(p *process, db *pg.DB) (started, error) {
		s := audit.New(audit.Config{DB: db, Log: p.log, Keys: p.secrets})
		s.Register(p.server)
		return started{s.Handlers(), s.Run}, nil
	}},
	{notify.Schema, new(notify.Service).Handlers, func(p *process, db *pg.DB) (started, error) {
		vault, err := secret.NewVault(p.secrets, db)
		if err != nil {
			return started{}, err
		}
		mailer, err := p.cfg.mailer()
		if err != nil {
			return started{}, err
		}
		if mailer == nil && p.cfg.Profile == production {
			p.log.Warn("no mail is sent: STOA_SMTP_URL is not set")
		}
		s := notify.New(notify.Config{
			DB: db, Log: p.log, Vault: vault, Mailer: mailer, PublicURL: p.publicURL(), DevelopmentMail: p.cfg.Profile == development,
		})
		s.Register(p.server)
		return started{s.Handlers(), s.Run}, nil
	}},
}

// edgeName is the service without tables.
const edgeName = "edge"

// Names returns the names of all services.
func Names() []string {
	names := make([]string, 0, len(all)+1)
	for _, s := range all {
		names = append(names, s.schema.Name)
	}
	return append(names, edgeName)
}

// Schemas returns the tables of all services.
func Schemas() []pg.Schema {
	schemas := make([]pg.Schema, len(all))
	for i, s := range all {
		schemas[i] = s.schema
	}
	return schemas
}

// topology returns which events each service of an installation hears, whether
// it runs in this process or not.
func topology() map[string][]string {
	members := make([]bus.Member, len(all))
	for i, s := range all {
		members[i] = bus.Member{Name: s.schema.Name, Handlers: s.hears()}
	}
	return bus.Topology(members...)
}

// derivedKey returns a key for one purpose, made of the newest service key.
func (p *process) derivedKey(purpose string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, []byte(newest(p.key)), nil, purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return key, nil
}
