// Package assessment owns questions, quizzes and exams, what students answered in
// them, the log of each attempt, assignments, what was handed in to them, and the marks
// that follow from all of it.
//
// It answers assessmentpb.BankService: the banks of questions, their versions, and
// with which courses they are shared; assessmentpb.ExchangeService: their questions in
// the formats of others; assessmentpb.QuizService: quizzes as their authors
// see them; assessmentpb.MyQuizService: as those who take them do;
// assessmentpb.AttemptService: attempts, the log of answers, and receipts;
// assessmentpb.ExamService: exams while they run, for those who watch them;
// assessmentpb.QuestionMediaService: the files of what is asked;
// assessmentpb.PreviewService: quizzes as staff try them; assessmentpb.CarryService:
// quizzes and assignments as archives of courses take them along;
// assessmentpb.AssignmentService: assignments as their authors see them;
// assessmentpb.MySubmissionService: as those who hand in do;
// assessmentpb.SubmissionService: what was handed in, for those who read and mark it;
// assessmentpb.MarkingService: what people mark, and who marks it now;
// assessmentpb.RubricService: rubrics and marking guides;
// assessmentpb.PeerReviewService and assessmentpb.MyPeerReviewService: reviews of work by
// students, for the staff and for those who write them;
// assessmentpb.RekeyService: what was answered, scored anew; and
// assessmentpb.StatisticsService: how well quizzes and questions measure.
//
// It sends MarkChanged, which the gradebook alone may hear, and ActivityResultChanged,
// which says that something was handed in.
//
// It hears courses' CoursePublished: where in a course quizzes and assignments stand,
// and ActivitiesCopied: which quizzes and assignments copies of courses show,
// and ActivitiesImported: what has become of those of an archive;
// access's EnrollmentStarted, EnrollmentEnded and EnrollmentResumed, for whom attempts
// are made ahead, and AccommodationChanged, for whom anew; its CohortMembershipChanged,
// GroupChanged and GroupMembershipChanged, who hands in together; learning's
// DeadlinesChanged, for whom something is due at another time; grades'
// PostingChanged, which says whose grades may be shown; and identity's AccountCreated
// and AccountUpdated, what people are called.
//
// It calls access (who may do something in another course, how exams are eased for
// people), learning (what is open to whom, and by when it is due) and media (pictures
// of questions, files that are handed in and given back).
package assessment

import (
	"embed"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/markdown"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

//go:embed migrations/*.sql
var files embed.FS

// Schema is the service's tables.
var Schema = pg.Schema{Name: "assessment", Migrations: pg.Sub(files)}

// Errors that the service tells.
var (
	ErrQuizNotFound = fault.New(fault.NotFound, "quiz.not_found", "The course has no such quiz.")
	ErrQuizBegun    = fault.New(fault.Conflict, "quiz.begun", "Somebody has begun this quiz: it can't be deleted.")
	ErrQuizPlaced   = fault.New(fault.Conflict, "quiz.placed", "The published course shows this quiz. Take it out of the course first.")
)

// Config is what the service needs.
type Config struct {
	DB  *pg.DB // the schema "assessment"
	Log *slog.Logger
	// Access says who may share a bank with which course, and Accommodations how exams
	// are eased for people; nil when nobody's are.
	Access         accesspb.AccessServiceClient
	Accommodations accesspb.AccommodationServiceClient
	// Items says what is open to whom.
	Items learningpb.ItemServiceClient
	// Wrong counts wrong passwords of quizzes; nobody does when nil.
	Wrong cache.Attempts
	// Files has what students hand in and are given back.
	Files mediapb.SubmissionFileServiceClient
	// Similarity compares what is handed in with others' work; nil where nobody does.
	Similarity *Similarity
	// Proctoring is a service that watches exams; nil where nobody does.
	Proctoring *Proctoring
	// Media and Library have the pictures of questions.
	Media   mediapb.MediaServiceClient
	Library mediapb.LibraryServiceClient
	// Vault seals the keys that receipts are signed with; none is signed when nil.
	Vault *secret.Vault
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Service keeps quizzes, attempts and assignments.
type Service struct {
	db  *pg.DB
	log *slog.Logger
	now func() time.Time

	accommodations accesspb.AccommodationServiceClient
	items          learningpb.ItemServiceClient
	wrong          cache.Attempts
	door           doorman
	quizVersions   *otter.Cache[quizVersionKey, *quizVersion]
	unprepared     chan struct{} // has a value when there is something to prepare

	access  accesspb.AccessServiceClient
	media   mediapb.MediaServiceClient
	library mediapb.LibraryServiceClient

	files              mediapb.SubmissionFileServiceClient
	similarity         *Similarity
	markdown           *markdown.Renderer
	assignmentVersions *otter.Cache[assignmentVersionKey, *assignmentVersion]
	unfiled            chan struct{} // has a value when files are to be kept or dropped
	unchecked          chan struct{} // has a value when work is to be compared
	archives           chan struct{} // has room for archives of feedback that are read

	vault     *secret.Vault
	questions *otter.Cache[compiledKey, *question.Question]
	layouts   *otter.Cache[string, *layout]
	signer    atomic.Pointer[signer]
	unscored  chan struct{} // has a value when there are attempts to be scored
	appends   *appends
	exams     exams
	rekeying  chan struct{} // has a value when there are re-keys to work on
}

// forGood returns a cache of what is never changed.
func forGood[K comparable, V any](most int) *otter.Cache[K, V] {
	return otter.Must(&otter.Options[K, V]{MaximumSize: most})
}

// New returns the service.
func New(cfg Config) *Service {
	s := &Service{
		db: cfg.DB, log: cfg.Log, now: cfg.Now, access: cfg.Access, media: cfg.Media, library: cfg.Library,
		accommodations: cfg.Accommodations, items: cfg.Items, wrong: cfg.Wrong, quizVersions: newQuizVersions(), unprepared: make(chan struct{}, 1),
		vault: cfg.Vault, questions: forGood[compiledKey, *question.Question](20_000), layouts: forGood[string, *layout](20_000), unscored: make(chan struct{}, 1),
	}
	s.files, s.similarity, s.markdown = cfg.Files, cfg.Similarity, markdown.New()
	s.assignmentVersions = forGood[assignmentVersionKey, *assignmentVersion](2_000)
	s.unfiled, s.unchecked, s.archives = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, maxFeedbackArchives)
	s.appends = &appends{service: s}
	s.exams = newExams(cfg.Proctoring)
	s.rekeying = make(chan struct{}, 1)
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// time returns what the clock says, as the database keeps it.
func (s *Service) time() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// Register adds the service's RPCs to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	assessmentpb.RegisterBankServiceServer(r, &bankServer{service: s})
	assessmentpb.RegisterExchangeServiceServer(r, &exchangeServer{service: s})
	assessmentpb.RegisterCarryServiceServer(r, &carryServer{service: s})
	assessmentpb.RegisterPreviewServiceServer(r, &previewServer{service: s})
	assessmentpb.RegisterQuestionMediaServiceServer(r, &questionMediaServer{service: s})
	assessmentpb.RegisterQuizServiceServer(r, &quizServer{service: s})
	assessmentpb.RegisterMyQuizServiceServer(r, &myQuizServer{service: s})
	assessmentpb.RegisterAttemptServiceServer(r, &attemptServer{service: s})
	assessmentpb.RegisterExamServiceServer(r, &examServer{service: s})
	assessmentpb.RegisterAssignmentServiceServer(r, &assignmentServer{service: s})
	assessmentpb.RegisterMySubmissionServiceServer(r, &mySubmissionServer{service: s})
	assessmentpb.RegisterSubmissionServiceServer(r, &submissionServer{service: s})
	assessmentpb.RegisterMarkingServiceServer(r, &markingServer{service: s})
	assessmentpb.RegisterRubricServiceServer(r, &rubricServer{service: s})
	assessmentpb.RegisterPeerReviewServiceServer(r, &peerServer{service: s})
	assessmentpb.RegisterMyPeerReviewServiceServer(r, &myPeerServer{service: s})
	assessmentpb.RegisterRekeyServiceServer(r, &rekeyServer{service: s})
	assessmentpb.RegisterStatisticsServiceServer(r, &statisticsServer{service: s})
}

// Handlers returns what the service does on others' events.
func (s *Service) Handlers() []bus.Handler {
	return []bus.Handler{
		bus.Copy(s.coursePublished),
		bus.Copy(s.activitiesCopied),
		bus.Copy(s.activitiesImported),
		bus.Copy(s.enrollmentStarted),
		bus.Copy(s.enrollmentEnded),
		bus.Copy(s.enrollmentResumed),
		bus.Copy(s.easedAnew),
		bus.Copy(s.postingChanged),
		bus.Copy(s.deadlinesChanged),
		bus.Copy(s.accountCreated),
		bus.Copy(s.accountUpdated),
		bus.Copy(s.groupChanged),
		bus.Copy(s.groupMembershipChanged),
		bus.Copy(s.cohortMembershipChanged),
	}
}

// quizServer answers about quizzes.
type quizServer struct {
	assessmentpb.UnimplementedQuizServiceServer

	service *Service
}
