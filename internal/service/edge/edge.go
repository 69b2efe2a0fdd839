// Package edge is where the outside world comes in: REST made from the
// contracts, gRPC passed on, and the pages of the platform itself.
//
// It owns no tables. It answers HTTP/1.1 and HTTP/2 (with and without TLS in
// front) on one address. It sends no events and hears none. It calls every
// service on behalf of who signed in: it turns the token of a request into a
// signed principal, and holds the request to its bounds of size, rate and time.
package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/maypok86/otter/v2"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/audit/auditpb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/discovery/discoverypb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
	"github.com/stoa-lms/stoa/internal/service/notify/notifypb"
)

// Config is what the edge needs.
type Config struct {
	Log *slog.Logger
	// Conns holds the connection to each service by its name.
	Conns map[string]grpc.ClientConnInterface
	// Limiter counts requests.
	Limiter cache.Limiter
	// Proxies are the networks whose X-Forwarded-For is believed.
	Proxies []netip.Prefix
	// Rate is how many requests one address may make; a zero Every is no bound.
	Rate cache.Limit
	// SignInRate is the same for signing in and signing up.
	SignInRate cache.Limit
	// Timeout bounds a request that is no transfer of a file.
	Timeout time.Duration
	// MaxUpload bounds an uploaded file in bytes.
	MaxUpload int64
	// MaxArchive bounds an archive of a course in bytes.
	MaxArchive int64
	// PublicURL is where browsers reach the platform: what lock-down browsers sign.
	PublicURL string
	// SecureCookies says that the platform is reached over TLS: browsers send the
	// session cookie over it only, and come over it only.
	SecureCookies bool
	// Development shows the pages of the development provider and outbox.
	Development bool
	// Status describes the process for the page at /.
	Status func() Status
	// Ready says what this process waits for; nil when it can serve.
	Ready func(ctx context.Context) error
}

// Status is what the page at / says.
type Status struct {
	Version  string
	Services []string
	SignIns  []SignIn // of the demo school
}

// SignIn is an account to try.
type SignIn struct{ Who, Email, Password string }

// Edge answers the outside world.
type Edge struct {
	Config
	identity   identitypb.IdentityServiceClient
	media      mediapb.MediaServiceClient
	avatars    mediapb.AvatarServiceClient
	uploads    mediapb.UploadServiceClient
	parts      mediapb.MultipartServiceClient
	processing mediapb.ProcessingServiceClient
	commerce   commercepb.CommerceServiceClient
	payments   commercepb.EventServiceClient
	notify     notifypb.NotifyServiceClient
	tokens     *otter.Cache[string, auth.Principal]
	audit      auditpb.AuditServiceClient
	invoices   commercepb.InvoiceServiceClient
	statements commercepb.StatementServiceClient
	imports    accesspb.ImportServiceClient
	accounts   identitypb.AccountServiceClient
	factors    identitypb.FactorServiceClient
	federation identitypb.FederationServiceClient

	certificates learningpb.CertificateServiceClient

	invitations accesspb.InvitationServiceClient
	notes       learningpb.NoteServiceClient
	calendar    learningpb.CalendarServiceClient
	archives    coursespb.ArchiveServiceClient
	exchange    assessmentpb.ExchangeServiceClient
	attempts    assessmentpb.AttemptServiceClient
	submissions assessmentpb.SubmissionServiceClient
	exams       assessmentpb.ExamServiceClient
	statistics  assessmentpb.StatisticsServiceClient

	submissionFiles mediapb.SubmissionFileServiceClient
	gradeFiles      gradespb.GradeTransferServiceClient

	streams     *streams
	presence    *presence
	routes      *http.ServeMux
	grpc        *grpc.Server
	crossOrigin *http.CrossOriginProtection
}

// tokenTTL is how long an ended session may still be believed here.
const tokenTTL = time.Second

// maxBody bounds a JSON body: the largest lesson fits.
const maxBody = 3 << 20

// New returns an edge over the given connections.
func New(cfg Config) (*Edge, error) {
	for _, name := range []string{"identity", "access", "courses", "media", "learning", "assessment", "grades", "commerce", "discovery", "audit", "notify"} {
		if cfg.Conns[name] == nil {
			return nil, fmt.Errorf("edge: no connection to %s", name)
		}
	}
	tokens, err := otter.New(&otter.Options[string, auth.Principal]{
		MaximumSize:      50_000,
		ExpiryCalculator: otter.ExpiryCreating[string, auth.Principal](tokenTTL),
	})
	if err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	e := &Edge{
		Config:       cfg,
		identity:     identitypb.NewIdentityServiceClient(cfg.Conns["identity"]),
		media:        mediapb.NewMediaServiceClient(cfg.Conns["media"]),
		avatars:      mediapb.NewAvatarServiceClient(cfg.Conns["media"]),
		uploads:      mediapb.NewUploadServiceClient(cfg.Conns["media"]),
		parts:        mediapb.NewMultipartServiceClient(cfg.Conns["media"]),
		processing:   mediapb.NewProcessingServiceClient(cfg.Conns["media"]),
		commerce:     commercepb.NewCommerceServiceClient(cfg.Conns["commerce"]),
		payments:     commercepb.NewEventServiceClient(cfg.Conns["commerce"]),
		notify:       notifypb.NewNotifyServiceClient(cfg.Conns["notify"]),
		tokens:       tokens,
		invoices:     commercepb.NewInvoiceServiceClient(cfg.Conns["commerce"]),
		statements:   commercepb.NewStatementServiceClient(cfg.Conns["commerce"]),
		audit:        auditpb.NewAuditServiceClient(cfg.Conns["audit"]),
		imports:      accesspb.NewImportServiceClient(cfg.Conns["access"]),
		accounts:     identitypb.NewAccountServiceClient(cfg.Conns["identity"]),
		factors:      identitypb.NewFactorServiceClient(cfg.Conns["identity"]),
		federation:   identitypb.NewFederationServiceClient(cfg.Conns["identity"]),
		certificates: learningpb.NewCertificateServiceClient(cfg.Conns["learning"]),

		invitations: accesspb.NewInvitationServiceClient(cfg.Conns["access"]),
		notes:       learningpb.NewNoteServiceClient(cfg.Conns["learning"]),
		calendar:    learningpb.NewCalendarServiceClient(cfg.Conns["learning"]),
		archives:    coursespb.NewArchiveServiceClient(cfg.Conns["courses"]),
		attempts:    assessmentpb.NewAttemptServiceClient(cfg.Conns["assessment"]),
		exchange:    assessmentpb.NewExchangeServiceClient(cfg.Conns["assessment"]),
		submissions: assessmentpb.NewSubmissionServiceClient(cfg.Conns["assessment"]),
		exams:       assessmentpb.NewExamServiceClient(cfg.Conns["assessment"]),
		statistics:  assessmentpb.NewStatisticsServiceClient(cfg.Conns["assessment"]),

		submissionFiles: mediapb.NewSubmissionFileServiceClient(cfg.Conns["media"]),
		gradeFiles:      gradespb.NewGradeTransferServiceClient(cfg.Conns["grades"]),
	}
	e.streams = newStreams(e.attempts)
	e.presence = newPresence(e.exams, e.streams.attempts, e.Log)
	e.grpc = e.passOn()
	e.crossOrigin = http.NewCrossOriginProtection()
	if e.routes, err = e.mux(); err != nil {
		return nil, err
	}
	return e, nil
}

// ServeHTTP implements [http.Handler].
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.handle(w, r) }

func (e *Edge) mux() (*http.ServeMux, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", e.homePage)
	mux.HandleFunc("GET /docs", e.docsPage)
	mux.HandleFunc("GET /assets/{file}", asset)
	mux.HandleFunc("GET /v1/openapi.json", openAPI)
	mux.HandleFunc("GET /healthz", e.healthz)
	mux.HandleFunc("GET /readyz", e.readyz)
	mux.HandleFunc("GET /pay/{payment_id}", e.payPage)
	mux.HandleFunc("POST /pay/{payment_id}", e.settle)
	mux.HandleFunc("GET /mail", e.mailPage)
	mux.HandleFunc("GET "+flowPath+"/{provider}", e.startSignIn)
	mux.HandleFunc("GET "+flowPath+"/{provider}/callback", e.finishSignIn)
	mux.HandleFunc("GET "+challengePath, e.secondFactor)
	mux.HandleFunc("POST "+challengePath, e.complete)
	for path := range links {
		mux.HandleFunc("GET "+path, e.linkPage)
		mux.HandleFunc("POST "+path, e.followLink)
	}
	mux.HandleFunc("POST /v1/courses/{course_id}/media", e.upload)
	mux.HandleFunc("POST /v1/courses/{course_id}/submission-files", e.uploadSubmissionFile)
	mux.HandleFunc("POST /v1/courses/{course_id}/feedback-files", e.uploadFeedbackFile)
	mux.HandleFunc("GET /v1/courses/{course_id}/items/{item_id}/submissions/archive", e.downloadSubmissions)
	mux.HandleFunc("POST /v1/courses/{course_id}/items/{item_id}/feedback-archives", e.uploadFeedbackArchive)
	e.tus(mux)
	mux.HandleFunc("PUT /v1/uploads/{upload_id}/parts/{number}", e.putPart)
	mux.HandleFunc("POST /v1/courses/{course_id}/imports", e.importPeople)
	mux.HandleFunc("GET /v1/courses/{course_id}/imports/{import_id}/report", e.importReport)
	mux.HandleFunc("GET /v1/courses/{course_id}/archive", e.exportCourse)
	mux.HandleFunc("POST /v1/course-imports", e.importCourse)
	mux.HandleFunc("POST /v1/courses/{course_id}/module-imports", e.importModules)
	mux.HandleFunc("GET /v1/courses/{course_id}/questions/export", e.exportQuestions)
	mux.HandleFunc("POST /v1/courses/{course_id}/question-imports", e.importQuestions)
	mux.HandleFunc("GET /v1/courses/{course_id}/items/{item_id}/statistics/export", e.exportStatistics)
	mux.HandleFunc("GET /v1/courses/{course_id}/gradebook/export", e.exportGrades)
	mux.HandleFunc("POST /v1/courses/{course_id}/gradebook/imports", e.importGrades)
	mux.HandleFunc("GET /v1/me/courses/{course_id}/grades/export", e.exportMyGrades)
	mux.HandleFunc("GET /v1/audit/export", e.exportAudit)
	mux.HandleFunc("GET /v1/me/invoices/{invoice_id}/pdf", e.downloadInvoice)
	mux.HandleFunc("GET /v1/invoices/tax-report", e.exportTaxReport)
	mux.HandleFunc("GET /v1/me/statement", e.exportMyStatement)
	mux.HandleFunc("GET /v1/me/payouts/{payout_id}/statement", e.exportMyPayoutStatement)
	mux.HandleFunc("GET /v1/payouts/{payout_id}/statement", e.exportPayoutStatement)
	mux.HandleFunc("GET /v1/payouts/teachers/{teacher_id}/statement", e.exportTeacherStatement)
	mux.HandleFunc("GET /v1/media/{media_id}/content", e.download)
	mux.HandleFunc("GET /v1/media/{media_id}/parts/{token}/{part...}", e.downloadPart)
	mux.HandleFunc("PUT /v1/me/avatar", e.putAvatar)
	mux.HandleFunc("GET /v1/avatars/{avatar_id}", e.getAvatar)
	mux.HandleFunc("GET /certificates/{serial}", e.certificatePage)
	for _, b := range certificateFiles {
		mux.HandleFunc("GET "+b.path, e.certificateFile(b))
	}
	mux.HandleFunc("GET /v1/me/notes/export", e.exportNotes)
	mux.HandleFunc("GET /v1/attempts/{attempt_id}/stream", e.streamAttempt)
	mux.HandleFunc("POST /v1/attempts/{attempt_id}/proctor-reports", e.takeProctorReport)
	mux.HandleFunc("POST /v1/webhooks/stripe", e.takeStripeEvent)
	mux.HandleFunc("GET "+calendarPath+"{file}", e.readCalendar)
	mux.HandleFunc("/", e.notFound)
	if err := e.rest(mux); err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	return mux, nil
}

// rest adds the routes of the contracts. Each service has a gateway of its own,
// so that a request is matched against a few patterns and not against all; what
// no pattern takes goes to one that knows them all, which says what is wrong.
func (e *Edge) rest(mux *http.ServeMux) error {
	ctx := context.Background() // it bounds nothing: the clients are made already
	everything := e.gateway()
	for _, s := range []struct {
		file     protoreflect.FileDescriptor
		register func(*runtime.ServeMux) error
	}{
		{identitypb.File_internal_service_identity_identitypb_identity_proto, func(g *runtime.ServeMux) error {
			return identitypb.RegisterIdentityServiceHandlerClient(ctx, g, e.identity)
		}},
		{identitypb.File_internal_service_identity_identitypb_factors_proto, func(g *runtime.ServeMux) error {
			return identitypb.RegisterFactorServiceHandlerClient(ctx, g, e.factors)
		}},
		{identitypb.File_internal_service_identity_identitypb_federation_proto, func(g *runtime.ServeMux) error {
			return identitypb.RegisterFederationServiceHandlerClient(ctx, g, e.federation)
		}},
		{identitypb.File_internal_service_identity_identitypb_accounts_proto, func(g *runtime.ServeMux) error {
			return identitypb.RegisterAccountServiceHandlerClient(ctx, g, e.accounts)
		}},
		{identitypb.File_internal_service_identity_identitypb_tokens_proto, func(g *runtime.ServeMux) error {
			return identitypb.RegisterTokenServiceHandlerClient(ctx, g, identitypb.NewTokenServiceClient(e.Conns["identity"]))
		}},
		{accesspb.File_internal_service_access_accesspb_access_proto, func(g *runtime.ServeMux) error {
			return accesspb.RegisterAccessServiceHandlerClient(ctx, g, accesspb.NewAccessServiceClient(e.Conns["access"]))
		}},
		{accesspb.File_internal_service_access_accesspb_entitlements_proto, func(g *runtime.ServeMux) error {
			return accesspb.RegisterEntitlementServiceHandlerClient(ctx, g, accesspb.NewEntitlementServiceClient(e.Conns["access"]))
		}},
		{accesspb.File_internal_service_access_accesspb_accommodations_proto, func(g *runtime.ServeMux) error {
			return accesspb.RegisterAccommodationServiceHandlerClient(ctx, g, accesspb.NewAccommodationServiceClient(e.Conns["access"]))
		}},
		{accesspb.File_internal_service_access_accesspb_invitations_proto, func(g *runtime.ServeMux) error {
			return accesspb.RegisterInvitationServiceHandlerClient(ctx, g, e.invitations)
		}},
		{accesspb.File_internal_service_access_accesspb_cohorts_proto, func(g *runtime.ServeMux) error {
			return accesspb.RegisterCohortServiceHandlerClient(ctx, g, accesspb.NewCohortServiceClient(e.Conns["access"]))
		}},
		{accesspb.File_internal_service_access_accesspb_email_invitations_proto, func(g *runtime.ServeMux) error {
			return accesspb.RegisterEmailInvitationServiceHandlerClient(ctx, g, accesspb.NewEmailInvitationServiceClient(e.Conns["access"]))
		}},
		{accesspb.File_internal_service_access_accesspb_imports_proto, func(g *runtime.ServeMux) error {
			return accesspb.RegisterImportServiceHandlerClient(ctx, g, e.imports)
		}},
		{accesspb.File_internal_service_access_accesspb_seats_proto, func(g *runtime.ServeMux) error {
			return accesspb.RegisterSeatServiceHandlerClient(ctx, g, accesspb.NewSeatServiceClient(e.Conns["access"]))
		}},
		{accesspb.File_internal_service_access_accesspb_groups_proto, func(g *runtime.ServeMux) error {
			return accesspb.RegisterGroupServiceHandlerClient(ctx, g, accesspb.NewGroupServiceClient(e.Conns["access"]))
		}},
		{accesspb.File_internal_service_access_accesspb_roles_proto, func(g *runtime.ServeMux) error {
			return accesspb.RegisterRoleServiceHandlerClient(ctx, g, accesspb.NewRoleServiceClient(e.Conns["access"]))
		}},
		{coursespb.File_internal_service_courses_coursespb_courses_proto, func(g *runtime.ServeMux) error {
			return coursespb.RegisterCoursesServiceHandlerClient(ctx, g, coursespb.NewCoursesServiceClient(e.Conns["courses"]))
		}},
		{coursespb.File_internal_service_courses_coursespb_content_proto, func(g *runtime.ServeMux) error {
			return coursespb.RegisterContentServiceHandlerClient(ctx, g, coursespb.NewContentServiceClient(e.Conns["courses"]))
		}},
		{coursespb.File_internal_service_courses_coursespb_versions_proto, func(g *runtime.ServeMux) error {
			return coursespb.RegisterVersionServiceHandlerClient(ctx, g, coursespb.NewVersionServiceClient(e.Conns["courses"]))
		}},
		{coursespb.File_internal_service_courses_coursespb_reviews_proto, func(g *runtime.ServeMux) error {
			return coursespb.RegisterReviewServiceHandlerClient(ctx, g, coursespb.NewReviewServiceClient(e.Conns["courses"]))
		}},
		{coursespb.File_internal_service_courses_coursespb_revenue_proto, func(g *runtime.ServeMux) error {
			return coursespb.RegisterRevenueServiceHandlerClient(ctx, g, coursespb.NewRevenueServiceClient(e.Conns["courses"]))
		}},
		{coursespb.File_internal_service_courses_coursespb_archives_proto, func(g *runtime.ServeMux) error {
			return coursespb.RegisterArchiveServiceHandlerClient(ctx, g, e.archives)
		}},
		{mediapb.File_internal_service_media_mediapb_media_proto, func(g *runtime.ServeMux) error {
			return mediapb.RegisterMediaServiceHandlerClient(ctx, g, e.media)
		}},
		{mediapb.File_internal_service_media_mediapb_uploads_proto, func(g *runtime.ServeMux) error {
			return mediapb.RegisterUploadServiceHandlerClient(ctx, g, e.uploads)
		}},
		{mediapb.File_internal_service_media_mediapb_multipart_proto, func(g *runtime.ServeMux) error {
			return mediapb.RegisterMultipartServiceHandlerClient(ctx, g, e.parts)
		}},
		{mediapb.File_internal_service_media_mediapb_library_proto, func(g *runtime.ServeMux) error {
			return mediapb.RegisterLibraryServiceHandlerClient(ctx, g, mediapb.NewLibraryServiceClient(e.Conns["media"]))
		}},
		{mediapb.File_internal_service_media_mediapb_processing_proto, func(g *runtime.ServeMux) error {
			return mediapb.RegisterProcessingServiceHandlerClient(ctx, g, e.processing)
		}},
		{mediapb.File_internal_service_media_mediapb_submission_files_proto, func(g *runtime.ServeMux) error {
			return mediapb.RegisterSubmissionFileServiceHandlerClient(ctx, g, e.submissionFiles)
		}},
		{mediapb.File_internal_service_media_mediapb_avatars_proto, func(g *runtime.ServeMux) error {
			return mediapb.RegisterAvatarServiceHandlerClient(ctx, g, e.avatars)
		}},
		{learningpb.File_internal_service_learning_learningpb_outline_proto, func(g *runtime.ServeMux) error {
			return learningpb.RegisterOutlineServiceHandlerClient(ctx, g, learningpb.NewOutlineServiceClient(e.Conns["learning"]))
		}},
		{learningpb.File_internal_service_learning_learningpb_deadlines_proto, func(g *runtime.ServeMux) error {
			return learningpb.RegisterDeadlineServiceHandlerClient(ctx, g, learningpb.NewDeadlineServiceClient(e.Conns["learning"]))
		}},
		{learningpb.File_internal_service_learning_learningpb_learning_proto, func(g *runtime.ServeMux) error {
			return learningpb.RegisterLearningServiceHandlerClient(ctx, g, learningpb.NewLearningServiceClient(e.Conns["learning"]))
		}},
		{learningpb.File_internal_service_learning_learningpb_certificates_proto, func(g *runtime.ServeMux) error {
			return learningpb.RegisterCertificateServiceHandlerClient(ctx, g, e.certificates)
		}},
		{learningpb.File_internal_service_learning_learningpb_progress_proto, func(g *runtime.ServeMux) error {
			return learningpb.RegisterProgressServiceHandlerClient(ctx, g, learningpb.NewProgressServiceClient(e.Conns["learning"]))
		}},
		{learningpb.File_internal_service_learning_learningpb_notes_proto, func(g *runtime.ServeMux) error {
			return learningpb.RegisterNoteServiceHandlerClient(ctx, g, e.notes)
		}},
		{learningpb.File_internal_service_learning_learningpb_calendar_proto, func(g *runtime.ServeMux) error {
			return learningpb.RegisterCalendarServiceHandlerClient(ctx, g, e.calendar)
		}},
		{assessmentpb.File_internal_service_assessment_assessmentpb_bank_proto, func(g *runtime.ServeMux) error {
			return assessmentpb.RegisterBankServiceHandlerClient(ctx, g, assessmentpb.NewBankServiceClient(e.Conns["assessment"]))
		}},
		{assessmentpb.File_internal_service_assessment_assessmentpb_previews_proto, func(g *runtime.ServeMux) error {
			return assessmentpb.RegisterPreviewServiceHandlerClient(ctx, g, assessmentpb.NewPreviewServiceClient(e.Conns["assessment"]))
		}},
		{assessmentpb.File_internal_service_assessment_assessmentpb_question_media_proto, func(g *runtime.ServeMux) error {
			return assessmentpb.RegisterQuestionMediaServiceHandlerClient(ctx, g, assessmentpb.NewQuestionMediaServiceClient(e.Conns["assessment"]))
		}},
		{assessmentpb.File_internal_service_assessment_assessmentpb_exchange_proto, func(g *runtime.ServeMux) error {
			return assessmentpb.RegisterExchangeServiceHandlerClient(ctx, g, e.exchange)
		}},
		{gradespb.File_internal_service_grades_gradespb_grades_proto, func(g *runtime.ServeMux) error {
			return gradespb.RegisterGradeServiceHandlerClient(ctx, g, gradespb.NewGradeServiceClient(e.Conns["grades"]))
		}},
		{gradespb.File_internal_service_grades_gradespb_grid_proto, func(g *runtime.ServeMux) error {
			return gradespb.RegisterGridServiceHandlerClient(ctx, g, gradespb.NewGridServiceClient(e.Conns["grades"]))
		}},
		{gradespb.File_internal_service_grades_gradespb_columns_proto, func(g *runtime.ServeMux) error {
			return gradespb.RegisterColumnServiceHandlerClient(ctx, g, gradespb.NewColumnServiceClient(e.Conns["grades"]))
		}},
		{gradespb.File_internal_service_grades_gradespb_transfers_proto, func(g *runtime.ServeMux) error {
			return gradespb.RegisterGradeTransferServiceHandlerClient(ctx, g, e.gradeFiles)
		}},
		{assessmentpb.File_internal_service_assessment_assessmentpb_quizzes_proto, func(g *runtime.ServeMux) error {
			return assessmentpb.RegisterQuizServiceHandlerClient(ctx, g, assessmentpb.NewQuizServiceClient(e.Conns["assessment"]))
		}},
		{assessmentpb.File_internal_service_assessment_assessmentpb_attempts_proto, func(g *runtime.ServeMux) error {
			return assessmentpb.RegisterAttemptServiceHandlerClient(ctx, g, e.attempts)
		}},
		{assessmentpb.File_internal_service_assessment_assessmentpb_marking_proto, func(g *runtime.ServeMux) error {
			return assessmentpb.RegisterMarkingServiceHandlerClient(ctx, g, assessmentpb.NewMarkingServiceClient(e.Conns["assessment"]))
		}},
		{assessmentpb.File_internal_service_assessment_assessmentpb_rubrics_proto, func(g *runtime.ServeMux) error {
			return assessmentpb.RegisterRubricServiceHandlerClient(ctx, g, assessmentpb.NewRubricServiceClient(e.Conns["assessment"]))
		}},
		{assessmentpb.File_internal_service_assessment_assessmentpb_peer_reviews_proto, func(g *runtime.ServeMux) error {
			if err := assessmentpb.RegisterPeerReviewServiceHandlerClient(ctx, g, assessmentpb.NewPeerReviewServiceClient(e.Conns["assessment"])); err != nil {
				return err
			}
			return assessmentpb.RegisterMyPeerReviewServiceHandlerClient(ctx, g, assessmentpb.NewMyPeerReviewServiceClient(e.Conns["assessment"]))
		}},
		{assessmentpb.File_internal_service_assessment_assessmentpb_exams_proto, func(g *runtime.ServeMux) error {
			return assessmentpb.RegisterExamServiceHandlerClient(ctx, g, e.exams)
		}},
		{assessmentpb.File_internal_service_assessment_assessmentpb_my_quizzes_proto, func(g *runtime.ServeMux) error {
			return assessmentpb.RegisterMyQuizServiceHandlerClient(ctx, g, assessmentpb.NewMyQuizServiceClient(e.Conns["assessment"]))
		}},
		{assessmentpb.File_internal_service_assessment_assessmentpb_assignments_proto, func(g *runtime.ServeMux) error {
			return assessmentpb.RegisterAssignmentServiceHandlerClient(ctx, g, assessmentpb.NewAssignmentServiceClient(e.Conns["assessment"]))
		}},
		{assessmentpb.File_internal_service_assessment_assessmentpb_my_submissions_proto, func(g *runtime.ServeMux) error {
			return assessmentpb.RegisterMySubmissionServiceHandlerClient(ctx, g, assessmentpb.NewMySubmissionServiceClient(e.Conns["assessment"]))
		}},
		{assessmentpb.File_internal_service_assessment_assessmentpb_submissions_proto, func(g *runtime.ServeMux) error {
			return assessmentpb.RegisterSubmissionServiceHandlerClient(ctx, g, e.submissions)
		}},
		{assessmentpb.File_internal_service_assessment_assessmentpb_rekeys_proto, func(g *runtime.ServeMux) error {
			return assessmentpb.RegisterRekeyServiceHandlerClient(ctx, g, assessmentpb.NewRekeyServiceClient(e.Conns["assessment"]))
		}},
		{assessmentpb.File_internal_service_assessment_assessmentpb_statistics_proto, func(g *runtime.ServeMux) error {
			return assessmentpb.RegisterStatisticsServiceHandlerClient(ctx, g, e.statistics)
		}},
		{commercepb.File_internal_service_commerce_commercepb_commerce_proto, func(g *runtime.ServeMux) error {
			return commercepb.RegisterCommerceServiceHandlerClient(ctx, g, e.commerce)
		}},
		{commercepb.File_internal_service_commerce_commercepb_invoice_proto, func(g *runtime.ServeMux) error {
			return commercepb.RegisterInvoiceServiceHandlerClient(ctx, g, e.invoices)
		}},
		{commercepb.File_internal_service_commerce_commercepb_reconcile_proto, func(g *runtime.ServeMux) error {
			return commercepb.RegisterReconcileServiceHandlerClient(ctx, g, commercepb.NewReconcileServiceClient(e.Conns["commerce"]))
		}},
		{commercepb.File_internal_service_commerce_commercepb_revenue_proto, func(g *runtime.ServeMux) error {
			return commercepb.RegisterRevenueServiceHandlerClient(ctx, g, commercepb.NewRevenueServiceClient(e.Conns["commerce"]))
		}},
		{commercepb.File_internal_service_commerce_commercepb_catalog_proto, func(g *runtime.ServeMux) error {
			return commercepb.RegisterCatalogServiceHandlerClient(ctx, g, commercepb.NewCatalogServiceClient(e.Conns["commerce"]))
		}},
		{commercepb.File_internal_service_commerce_commercepb_bundles_proto, func(g *runtime.ServeMux) error {
			return commercepb.RegisterBundleServiceHandlerClient(ctx, g, commercepb.NewBundleServiceClient(e.Conns["commerce"]))
		}},
		{commercepb.File_internal_service_commerce_commercepb_subscriptions_proto, func(g *runtime.ServeMux) error {
			if err := commercepb.RegisterPlanServiceHandlerClient(ctx, g, commercepb.NewPlanServiceClient(e.Conns["commerce"])); err != nil {
				return err
			}
			return commercepb.RegisterSubscriptionServiceHandlerClient(ctx, g, commercepb.NewSubscriptionServiceClient(e.Conns["commerce"]))
		}},
		{commercepb.File_internal_service_commerce_commercepb_coupons_proto, func(g *runtime.ServeMux) error {
			return commercepb.RegisterCouponServiceHandlerClient(ctx, g, commercepb.NewCouponServiceClient(e.Conns["commerce"]))
		}},
		{commercepb.File_internal_service_commerce_commercepb_checkout_proto, func(g *runtime.ServeMux) error {
			return commercepb.RegisterCheckoutServiceHandlerClient(ctx, g, commercepb.NewCheckoutServiceClient(e.Conns["commerce"]))
		}},
		{commercepb.File_internal_service_commerce_commercepb_refund_proto, func(g *runtime.ServeMux) error {
			return commercepb.RegisterRefundServiceHandlerClient(ctx, g, commercepb.NewRefundServiceClient(e.Conns["commerce"]))
		}},
		{commercepb.File_internal_service_commerce_commercepb_payout_proto, func(g *runtime.ServeMux) error {
			return commercepb.RegisterPayoutServiceHandlerClient(ctx, g, commercepb.NewPayoutServiceClient(e.Conns["commerce"]))
		}},
		{discoverypb.File_internal_service_discovery_discoverypb_discovery_proto, func(g *runtime.ServeMux) error {
			return discoverypb.RegisterDiscoveryServiceHandlerClient(ctx, g, discoverypb.NewDiscoveryServiceClient(e.Conns["discovery"]))
		}},
		{auditpb.File_internal_service_audit_auditpb_audit_proto, func(g *runtime.ServeMux) error {
			return auditpb.RegisterAuditServiceHandlerClient(ctx, g, e.audit)
		}},
		{notifypb.File_internal_service_notify_notifypb_notify_proto, func(g *runtime.ServeMux) error {
			return notifypb.RegisterNotifyServiceHandlerClient(ctx, g, e.notify)
		}},
	} {
		own := e.gateway()
		if err := errors.Join(s.register(own), s.register(everything)); err != nil {
			return err
		}
		for _, pattern := range patterns(s.file) {
			mux.Handle(pattern, e.bounded(own))
		}
	}
	mux.Handle("/v1/", e.bounded(everything))
	return nil
}

// patterns returns the routes that a contract declares, as [http.ServeMux] has
// them.
func patterns(file protoreflect.FileDescriptor) []string {
	var list []string
	for i := range file.Services().Len() {
		methods := file.Services().Get(i).Methods()
		for j := range methods.Len() {
			rule, ok := proto.GetExtension(methods.Get(j).Options(), annotations.E_Http).(*annotations.HttpRule)
			if !ok || rule == nil {
				continue
			}
			switch p := rule.GetPattern().(type) {
			case *annotations.HttpRule_Get:
				list = append(list, "GET "+p.Get)
			case *annotations.HttpRule_Post:
				list = append(list, "POST "+p.Post)
			case *annotations.HttpRule_Put:
				list = append(list, "PUT "+p.Put)
			case *annotations.HttpRule_Patch:
				list = append(list, "PATCH "+p.Patch)
			case *annotations.HttpRule_Delete:
				list = append(list, "DELETE "+p.Delete)
			}
		}
	}
	return list
}

// gateway returns an empty gateway of our conventions.
func (e *Edge) gateway() *runtime.ServeMux {
	// The gateway has one parser for the whole program.
	parseStrictly.Do(func() { runtime.NewServeMux(runtime.SetQueryParameterParser(strictQuery{})) })
	return runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, codec{}),
		runtime.WithErrorHandler(e.restError),
		runtime.WithRoutingErrorHandler(e.routingError),
		runtime.WithIncomingHeaderMatcher(incomingHeader),
		runtime.WithMetadata(func(ctx context.Context, _ *http.Request) metadata.MD { return addressOf(ctx) }),
		runtime.WithOutgoingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithForwardResponseOption(e.restResponse),
		runtime.WithDisablePathLengthFallback(),
	)
}

var parseStrictly sync.Once
