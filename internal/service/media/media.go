// Package media takes in the files of courses and the pictures of profiles, and
// hands them out.
//
// It owns the files and the pictures, uploads that come in pieces, and how much
// room courses and accounts take: what is known of them is in its schema, their
// bytes are in a bucket, and so is what it makes of them: sizes of pictures,
// streams of videos and sounds, pages of slides. That is done by workers beside
// the calls, from a queue in the schema, with the programs of others.
//
// It answers who brings a file into a course, what files a course has and what
// became of them, captions, and the bytes of what is ready to whoever holds an
// address signed by this service; others keep ids of media only. Addresses are
// given out by whoever has found the reader entitled: to staff by this service, to
// learners by the service that shows the file. They are bound to the account, the
// course, the item and a time, and with each call it is asked whether the account may
// still read the item, of staff whether it may still see all files; those of files that questions show, whether it
// may still take quizzes there. Files that versions of questions have are held: they are
// never gone. A picture of a profile is written anew, and
// anybody has it who knows its address. Files that students hand in, and those that
// they get back, are kept apart from those of courses: who may read them is said by
// the service assessment.
//
// It sends AvatarChanged, MediaChanged and MediaDeleted.
//
// It hears CoursePublished and CourseUnpublished of courses, after which the cover of
// a published course can be fetched, and its promotional video watched, by anybody.
//
// It calls nobody. Of permissions it asks what the guard asks.
package media

import (
	"context"
	"embed"
	"log/slog"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/blob"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

//go:embed migrations/*.sql
var files embed.FS

// Schema is the service's tables.
var Schema = pg.Schema{Name: "media", Migrations: pg.Sub(files)}

// Errors that the service tells.
var (
	ErrNotFound    = fault.New(fault.NotFound, "media.not_found", "There is no such file.")
	ErrLinkExpired = fault.New(fault.Forbidden, "media.link_expired", "This link has expired. Open the page that it is on again.")
	ErrEmpty       = fault.New(fault.Invalid, "media.empty", "The file is empty.")
	ErrTypeRefused = fault.New(fault.Invalid, "media.type_refused", "Web pages, SVG pictures and other XML are not taken, because a browser would run what is in them. Upload them in a ZIP archive.")
)

// DefaultUploadLifetime is how long an upload in pieces may stand still when the
// configuration does not say.
const DefaultUploadLifetime = 24 * time.Hour

// DefaultMaxSize is the size in bytes that a file has at most when the
// configuration names none.
const DefaultMaxSize = 2 << 30

// Config is what the service needs.
type Config struct {
	DB     *pg.DB
	Bucket *blob.Bucket
	Log    *slog.Logger
	// Key signs addresses; all processes of the service have the same.
	Key [32]byte
	// MaxSize is the size of the largest file in bytes; 0 is DefaultMaxSize.
	MaxSize int64
	// Limits bounds what courses and accounts may store.
	Limits Limits
	// UploadLifetime is how long an upload in pieces may stand still; 0 is
	// DefaultUploadLifetime.
	UploadLifetime time.Duration
	// Scanner looks through every file before anything else; nil for none.
	Scanner *Scanner
	// Workers is how many videos are processed at once; 0 processes nothing here.
	Workers int
	// TempDir is where files are while they are processed; the system's when empty.
	TempDir string
	// Checker says who may still read what a part of a file belongs to: the one
	// that the guard asks.
	Checker auth.Checker
	Now     func() time.Time // nil: time.Now
}

// Service is the media service.
type Service struct {
	db      *pg.DB
	bucket  *blob.Bucket
	log     *slog.Logger
	key     [32]byte
	maxSize int64
	pixels  *semaphore.Weighted // of pictures that are being read
	now     func() time.Time

	limits    Limits
	lifetime  time.Duration
	toFinish  chan struct{} // wakes runFinish
	checker   auth.Checker
	scanner   *Scanner
	workers   int
	temp      string
	wake      chan struct{} // has a value when there may be a task
	cache     *otter.Cache[string, *shownFile]
	toolEvery time.Duration
	backOff   time.Duration // after the first try that failed
}

// New returns a service. It panics when the key is zero, with which anybody
// could sign addresses.
func New(cfg Config) *Service {
	if cfg.Key == [32]byte{} {
		panic("media: Config.Key is not set")
	}
	s := &Service{db: cfg.DB, bucket: cfg.Bucket, log: cfg.Log, key: cfg.Key, maxSize: cfg.MaxSize, now: cfg.Now, pixels: semaphore.NewWeighted(maxPixels)}
	s.limits, s.lifetime, s.toFinish = cfg.Limits, cfg.UploadLifetime, make(chan struct{}, 1)
	if s.lifetime <= 0 {
		s.lifetime = DefaultUploadLifetime
	}
	s.checker, s.scanner, s.workers, s.temp = cfg.Checker, cfg.Scanner, cfg.Workers, cfg.TempDir
	s.wake, s.toolEvery, s.backOff = make(chan struct{}, 1), toolEvery, 5*time.Second
	s.cache = otter.Must(&otter.Options[string, *shownFile]{
		MaximumWeight: 200_000, Weigher: func(_ string, f *shownFile) uint32 { return uint32(1 + len(f.variants)) }, //nolint:gosec // at most maxParts
		ExpiryCalculator: otter.ExpiryWriting[string, *shownFile](shownFor),
	})
	if s.maxSize <= 0 {
		s.maxSize = DefaultMaxSize
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// Register adds the service's RPCs to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	mediapb.RegisterMediaServiceServer(r, &server{media: s})
	mediapb.RegisterAvatarServiceServer(r, &server{media: s})
	mediapb.RegisterUploadServiceServer(r, &server{media: s})
	mediapb.RegisterMultipartServiceServer(r, &server{media: s})
	mediapb.RegisterLibraryServiceServer(r, &server{media: s})
	mediapb.RegisterProcessingServiceServer(r, &server{media: s})
	mediapb.RegisterSubmissionFileServiceServer(r, &submissionFileServer{media: s})
}

// Handlers returns what the service does on events.
func (s *Service) Handlers() []bus.Handler {
	return []bus.Handler{bus.Copy(s.coursePublished), bus.Copy(s.courseUnpublished)}
}

// sweepEvery is how often abandoned uploads are looked for.
const sweepEvery = time.Hour

// Run processes files, and deletes what uploads have left behind that did not come
// to their end, avatars that were replaced and what was made of files that are
// gone, and finishes uploads, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.work(ctx) })
	wg.Go(func() { s.runFinish(ctx) })
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if n, err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "media: sweeping abandoned uploads failed, trying again later", "error", err.Error())
		} else if n > 0 {
			s.log.InfoContext(ctx, "media: swept abandoned uploads", "count", n)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// utc returns the time as the database keeps it.
func (s *Service) utc() time.Time { return s.now().UTC().Truncate(time.Microsecond) }
