package story_test

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/auth/authpb"
	"github.com/stoa-lms/stoa/internal/id"

	_ "github.com/stoa-lms/stoa/internal/app" // all contracts
)

// door is an RPC as REST shows it.
type door struct {
	name         string
	method, path string
	rule         auth.Rule
	streams      bool
	input        protoreflect.MessageDescriptor
}

// byHand are the routes of streams, which the edge has by hand.
var byHand = map[string]string{
	"/stoa.access.v1.ImportService/UploadImport":                  "POST /v1/courses/{course_id}/imports",
	"/stoa.access.v1.ImportService/ExportImportReport":            "GET /v1/courses/{course_id}/imports/{import_id}/report",
	"/stoa.grades.v1.GradeTransferService/ExportGrades":           "GET /v1/courses/{course_id}/gradebook/export",
	"/stoa.grades.v1.GradeTransferService/ExportMyGrades":         "GET /v1/me/courses/{course_id}/grades/export",
	"/stoa.grades.v1.GradeTransferService/UploadGradeImport":      "POST /v1/courses/{course_id}/gradebook/imports",
	"/stoa.audit.v1.AuditService/ExportEntries":                   "GET /v1/audit/export",
	"/stoa.commerce.v1.InvoiceService/DownloadInvoice":            "GET /v1/me/invoices/{invoice_id}/pdf",
	"/stoa.commerce.v1.InvoiceService/ExportTaxReport":            "GET /v1/invoices/tax-report",
	"/stoa.commerce.v1.StatementService/ExportMyStatement":        "GET /v1/me/statement",
	"/stoa.commerce.v1.StatementService/ExportMyPayoutStatement":  "GET /v1/me/payouts/{payout_id}/statement",
	"/stoa.commerce.v1.StatementService/ExportPayoutStatement":    "GET /v1/payouts/{payout_id}/statement",
	"/stoa.commerce.v1.StatementService/ExportTeacherStatement":   "GET /v1/payouts/teachers/{teacher_id}/statement",
	"/stoa.media.v1.AvatarService/UploadAvatar":                   "PUT /v1/me/avatar",
	"/stoa.media.v1.AvatarService/DownloadAvatar":                 "GET /v1/avatars/{avatar_id}",
	"/stoa.media.v1.UploadService/CreateUpload":                   "POST /v1/courses/{course_id}/uploads",
	"/stoa.media.v1.UploadService/AppendUpload":                   "PATCH /v1/courses/{course_id}/uploads/{upload_id}",
	"/stoa.media.v1.UploadService/DeleteUpload":                   "DELETE /v1/courses/{course_id}/uploads/{upload_id}",
	"/stoa.media.v1.MultipartService/PutPart":                     "PUT /v1/uploads/{upload_id}/parts/{number}?expires=1&size=1&sha256=x&signature=x",
	"/stoa.media.v1.MediaService/UploadMedia":                     "POST /v1/courses/{course_id}/media?filename=a.txt",
	"/stoa.media.v1.MediaService/DownloadMedia":                   "GET /v1/media/{media_id}/content",
	"/stoa.media.v1.ProcessingService/DownloadPart":               "GET /v1/media/{media_id}/parts/AAAA/hls/master.m3u8",
	"/stoa.learning.v1.CertificateService/DownloadCertificate":    "GET /v1/me/certificates/{certificate_id}/pdf",
	"/stoa.learning.v1.CertificateService/DownloadBadge":          "GET /v1/me/certificates/{certificate_id}/badge",
	"/stoa.learning.v1.CertificateService/DownloadSharedBadge":    "GET /v1/certificates/0000-0000-0000-0000/badge",
	"/stoa.learning.v1.CertificateService/DownloadBadgeDocument":  "GET /.well-known/jwks.json",
	"/stoa.learning.v1.CalendarService/ReadCalendarFeed":          "GET /v1/calendar/{token}.ics",
	"/stoa.learning.v1.NoteService/ExportNotes":                   "GET /v1/me/notes/export",
	"/stoa.courses.v1.ArchiveService/ExportCourse":                "GET /v1/courses/{course_id}/archive",
	"/stoa.courses.v1.ArchiveService/ImportCourse":                "POST /v1/course-imports",
	"/stoa.courses.v1.ArchiveService/ImportModules":               "POST /v1/courses/{course_id}/module-imports",
	"/stoa.media.v1.SubmissionFileService/UploadSubmissionFile":   "POST /v1/courses/{course_id}/submission-files?filename=a.txt",
	"/stoa.media.v1.SubmissionFileService/UploadFeedbackFile":     "POST /v1/courses/{course_id}/feedback-files?filename=a.txt",
	"/stoa.assessment.v1.SubmissionService/DownloadSubmissions":   "GET /v1/courses/{course_id}/items/{item_id}/submissions/archive",
	"/stoa.assessment.v1.SubmissionService/UploadFeedbackArchive": "POST /v1/courses/{course_id}/items/{item_id}/feedback-archives",
	"/stoa.assessment.v1.ExchangeService/ExportQuestions":         "GET /v1/courses/{course_id}/questions/export?format=gift",
	"/stoa.assessment.v1.ExchangeService/ImportQuestions":         "POST /v1/courses/{course_id}/question-imports?dry_run=true",
	"/stoa.assessment.v1.StatisticsService/ExportQuizStatistics":  "GET /v1/courses/{course_id}/items/{item_id}/statistics/export",
}

// doors returns every RPC of every contract, those without a REST form too.
func doors(t testing.TB) []door {
	t.Helper()
	var all []door
	protoregistry.GlobalFiles.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(fd.Package()), "stoa.") {
			return true
		}
		for i := range fd.Services().Len() {
			for j := range fd.Services().Get(i).Methods().Len() {
				md := fd.Services().Get(i).Methods().Get(j)
				rule, err := auth.DeclaredRule(md)
				if err != nil {
					t.Error(err)
					continue
				}
				d := door{name: "/" + string(fd.Services().Get(i).FullName()) + "/" + string(md.Name()), rule: rule, streams: md.IsStreamingClient(), input: md.Input()}
				if h, ok := proto.GetExtension(md.Options(), annotations.E_Http).(*annotations.HttpRule); ok && h != nil {
					switch p := h.GetPattern().(type) {
					case *annotations.HttpRule_Get:
						d.method, d.path = http.MethodGet, p.Get
					case *annotations.HttpRule_Post:
						d.method, d.path = http.MethodPost, p.Post
					case *annotations.HttpRule_Put:
						d.method, d.path = http.MethodPut, p.Put
					case *annotations.HttpRule_Patch:
						d.method, d.path = http.MethodPatch, p.Patch
					case *annotations.HttpRule_Delete:
						d.method, d.path = http.MethodDelete, p.Delete
					}
				}
				if route, ok := byHand[d.name]; ok {
					d.method, d.path, _ = strings.Cut(route, " ")
				}
				if d.path == "" && rule.Scope != authpb.Scope_SCOPE_SERVICE && rule.Scope != authpb.Scope_SCOPE_EDGE {
					t.Errorf("%s has no route that this test knows of", d.name)
				}
				all = append(all, d)
			}
		}
		return true
	})
	if len(all) < 40 {
		t.Fatalf("only %d RPCs found", len(all))
	}
	return all
}

var variable = regexp.MustCompile(`\{(\w+)\}`)

// open fills the path: the given course, and new ids of the right kind.
func (d door) open(course string) string {
	return variable.ReplaceAllStringFunc(d.path, func(v string) string {
		name := strings.Trim(v, "{}")
		if name == "course_id" {
			return course
		}
		field := d.input.Fields().ByName(protoreflect.Name(name))
		if field.Kind() != protoreflect.StringKind {
			return "1"
		}
		kind, _ := proto.GetExtension(field.Options(), authpb.E_Id).(string)
		return id.New(kind)
	})
}

// TestEveryDoor walks every RPC as nobody, as an outsider and as the student of
// another course to a draft and to a published course, with a forged token, with
// one that may only read, and as a suspended account: only what is declared
// passes.
func TestEveryDoor(t *testing.T) {
	t.Parallel()
	in := shared(t)
	teacher, outsider := in.signUp(t, "Door Teacher"), in.signUp(t, "Out Sider")
	hidden, _ := draft(t, teacher, "Hidden")
	shown, _ := draft(t, teacher, "Shown")
	publish(t, teacher, shown, 4900)
	before := teacher.do(t, 200, "GET", "/v1/courses/"+shown+"/outline", nil)
	// Who takes another course is an outsider to these all the same.
	student := in.signUp(t, "Student Elsewhere")
	elsewhere, _ := draft(t, teacher, "Elsewhere")
	publish(t, teacher, elsewhere, 0)
	student.manages(t, "the enrollment", 201, "POST", "/v1/courses/"+elsewhere+"/enrollments", nil)
	// Who teaches and lets a program read what is theirs and one course's outline.
	scopes := []string{"me.read", "course.view"}
	reader := &person{in: in, name: "a program that may only read", token: teacher.do(t, 201, "POST", "/v1/me/tokens",
		map[string]any{"name": "Reader", "scopes": scopes}).text("token")}
	suspended := in.signUp(t, "Somebody Suspended")
	in.admin(t, "Door Admin").do(t, 200, "POST", "/v1/accounts/"+suspended.account+"/suspend", map[string]any{"reason": "A test of every door"})
	suspended.sees(t, soon, "the suspension is known", "/v1/me", func(a answer) bool { return a.status != 200 })
	forged := &person{in: in, name: "forged", token: outsider.token[:len(outsider.token)-2] + "xx"}

	// What an outsider may do on a published course: look at it.
	mayLook := map[string]bool{"course.view": true}
	for _, d := range doors(t) {
		if d.path == "" {
			continue
		}
		var body any
		var header []string
		if d.streams {
			header = []string{"Content-Type", "text/csv"}
		}
		if strings.Contains(d.name, "UploadService/") { // what its protocol asks of each request
			header = []string{"Tus-Resumable", "1.0.0", "Upload-Offset", "0", "Upload-Length", "27", "Content-Type", "application/offset+octet-stream"}
		}
		if d.method != http.MethodGet && d.method != http.MethodDelete {
			body = map[string]any{}
			if d.streams {
				body = []byte("email\nsomebody@example.org\n")
			}
		}
		ask := func(p *person, course string) answer {
			a, err := p.try(t.Context(), d.method, d.open(course), body, header...)
			if err != nil {
				t.Errorf("%s: %v", d.name, err)
			}
			if a.status >= 500 {
				t.Errorf("%s as %s: %s", d.name, p.name, a)
			}
			return a
		}
		got := func(p *person, course string) int { return ask(p, course).status }
		if d.rule.Scope == authpb.Scope_SCOPE_SERVICE || d.rule.Scope == authpb.Scope_SCOPE_EDGE {
			t.Errorf("%s is for services and has a REST form", d.name)
		}
		if s := got(forged, shown); s != 401 {
			t.Errorf("%s with a forged token: %d", d.name, s)
		}
		// Ended sessions are no sessions, and a suspended account gets no new one.
		if s := got(suspended, shown); s != 401 && s != 403 {
			t.Errorf("%s as a suspended account: %d", d.name, s)
		}
		if d.rule.Scope == authpb.Scope_SCOPE_PUBLIC {
			continue
		}
		switch a := ask(reader, shown); {
		case d.rule.Scope == authpb.Scope_SCOPE_SELF && d.rule.Permission == "":
			if a.text("code") != "auth.session_required" {
				t.Errorf("%s with a token: %s", d.name, a)
			}
		case !slices.Contains(scopes, d.rule.Permission):
			if a.text("code") != "auth.scope_missing" && (!d.rule.Deferred || a.status != 404) {
				t.Errorf("%s with a token that may only read: %s", d.name, a)
			}
		case a.text("code") == "auth.scope_missing" || a.status == 401:
			t.Errorf("%s with a token that may do this: %s", d.name, a)
		}
		public := d.rule.Scope == authpb.Scope_SCOPE_COURSE && mayLook[d.rule.Permission]
		if s := got(in.nobody(), shown); s != 401 && (!public || s != 200 && s != 404) {
			t.Errorf("%s as nobody: %d", d.name, s)
		}
		if d.rule.Scope != authpb.Scope_SCOPE_COURSE {
			continue
		}
		for _, p := range []*person{outsider, student} {
			if s := got(p, hidden); s != 404 {
				t.Errorf("%s as %s to a draft: %d", d.name, p.name, s)
			}
			// What is there to look at, and a deferred rule's own look, may find nothing.
			if s := got(p, shown); s != 403 && (!public || s != 200 && s != 404) && (!d.rule.Deferred || s != 404) {
				t.Errorf("%s as %s to a published course: %d", d.name, p.name, s)
			}
		}
	}
	if after := teacher.do(t, 200, "GET", "/v1/courses/"+shown+"/outline", nil); string(after.body) != string(before.body) {
		t.Errorf("an outsider has changed something:\n%s\n%s", before, after)
	}
}
