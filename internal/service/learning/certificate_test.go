package learning

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pdf"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// certifying is the service with all that certificates need.
type certifying struct {
	*world
	certificates learningpb.CertificateServiceClient
}

func newCertifying(t testing.TB, allow rpctest.Allow) *certifying {
	t.Helper()
	w := &world{t: t, db: pgtest.Open(t, Schema), clock: time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)}
	text, err := secret.Generate()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := secret.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	vault, err := secret.NewVault(keys, w.db)
	if err != nil {
		t.Fatal(err)
	}
	w.service = New(Config{
		DB: w.db, Now: w.tick, Vault: vault, Fonts: systemFonts(t), PublicURL: "https://learn.example.org:8443", IssuerName: "Example Academy",
	})
	h := rpctest.New(t, allow)
	w.service.Register(h)
	w.client = learningpb.NewLearningServiceClient(h.As("edge"))
	return &certifying{w, learningpb.NewCertificateServiceClient(h.As("edge"))}
}

// systemFonts reads the fonts of the system once for all tests.
var readFonts = sync.OnceValues(func() (*pdf.Fonts, error) { return pdf.FindFonts(pdf.FontDirs...) })

func systemFonts(t testing.TB) *pdf.Fonts {
	t.Helper()
	f, err := readFonts()
	if err != nil {
		t.Fatal(err)
	}
	if missing := f.Missing(); len(missing) > 0 {
		t.Fatalf("install the packages %q", missing)
	}
	return f
}

// completed returns a course in a language and somebody who has completed it.
func (w *certifying) completed(name, title, lang string) (account, course string) {
	w.t.Helper()
	account, course = id.New("account"), id.New("course")
	lesson := id.New("lesson")
	e := published(course, 1, lesson)
	e.Title, e.Language = title, lang
	hear(w.world, w.service.coursePublished, e)
	if name != "" {
		hear(w.world, w.service.accountCreated, &identitypb.AccountCreated{AccountId: account, Name: name})
	}
	hear(w.world, w.service.enrollmentStarted, enrolled(course, account, 0))
	w.view(account, course, lesson)
	return account, course
}

// only returns the one certificate that somebody has.
func (w *certifying) only(account string) *learningpb.Certificate {
	w.t.Helper()
	list, err := w.certificates.ListMyCertificates(w.as(account), &learningpb.ListMyCertificatesRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(list.GetItems()) != 1 {
		w.t.Fatalf("%d certificates, want one", len(list.GetItems()))
	}
	return list.GetItems()[0]
}

func (w *certifying) count(course string) (n int) {
	w.t.Helper()
	if err := w.db.QueryRow(context.Background(), `SELECT count(*) FROM certificate WHERE course_id = $1`, course).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *certifying) verify(serial string) (*learningpb.Verification, error) {
	return w.certificates.GetVerification(context.Background(), &learningpb.GetVerificationRequest{Serial: serial})
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if got := fault.CodeOf(fault.FromStatus(err)); got != code {
		t.Errorf("error %q (%v), want %q", got, err, code)
	}
}

func TestCertificateForWhoCompletes(t *testing.T) {
	t.Parallel()
	w := newCertifying(t, rpctest.Everything)
	account, course := w.completed("Ada Lovelace", "Analysis", "de")
	got := w.only(account)
	want := &learningpb.Certificate{
		Id: got.GetId(), CourseId: course, AccountId: account, Serial: got.GetSerial(), PersonName: "Ada Lovelace", CourseTitle: "Analysis", Language: "de",
		IssuerName: "Example Academy", CompletedAt: w.progress(account, course).GetCompletedAt(), IssuedAt: got.GetIssuedAt(), Revision: 1,
		State: "valid", Shared: true, Url: "https://learn.example.org:8443/certificates/" + got.GetSerial(),
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	// Names change, the certificate does not.
	hear(w.world, w.service.accountUpdated, &identitypb.AccountUpdated{AccountId: account, Name: "Ada King", Version: 2})
	e := published(course, 2, id.New("lesson"))
	e.Title = "Analysis II"
	hear(w.world, w.service.coursePublished, e)
	if diff := cmp.Diff(want, w.only(account), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestOneCertificateWhateverHappensTwice(t *testing.T) {
	t.Parallel()
	w := newCertifying(t, rpctest.Everything)
	account, course := id.New("account"), id.New("course")
	lessons := newIDs("lesson", 2)
	hear(w.world, w.service.coursePublished, published(course, 1, lessons...))
	hear(w.world, w.service.enrollmentStarted, enrolled(course, account, 0))
	// Both last lessons at once, many times, with and without a key, while the
	// course is published again and the enrollment comes again.
	ctx := w.as(account)
	var all sync.WaitGroup
	for i := range 8 {
		for _, lesson := range lessons {
			for _, ctx := range []context.Context{ctx, rpc.WithIdempotencyKey(ctx, "click "+lesson)} {
				all.Go(func() {
					_, err := w.client.ViewLesson(ctx, &learningpb.ViewLessonRequest{CourseId: course, LessonId: lesson})
					if err != nil && fault.CodeOf(fault.FromStatus(err)) != "lesson.not_found" { // it has just left the course
						t.Error(err)
					}
				})
			}
		}
		all.Go(func() { hear(w.world, w.service.coursePublished, published(course, int64(2+i), lessons[:1+i%2]...)) })
		all.Go(func() { hear(w.world, w.service.enrollmentStarted, enrolled(course, account, i)) })
	}
	all.Wait()
	w.only(account)
	// Whoever issues again, even beside, issues none.
	for range 8 {
		all.Go(func() {
			err := w.db.InTx(context.Background(), func(tx *pg.Tx) error {
				tx.Exempt("a test")
				n, err := w.service.issue(context.Background(), tx, course, account, account, id.New("account"))
				if n != 0 {
					t.Errorf("%d issued again", n)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	w.only(account)
}

func TestThousandsCompleteAtOnce(t *testing.T) {
	t.Parallel()
	w := newCertifying(t, rpctest.Everything)
	course, many := id.New("course"), 5000
	lessons := newIDs("lesson", 2)
	hear(w.world, w.service.coursePublished, published(course, 1, lessons...))
	accounts := newIDs("account", many)
	for sql, args := range map[string][]any{
		`INSERT INTO learner (course_id, account_id, enrolled_at) SELECT $1, a, now() FROM unnest($2::text[]) a`:                           {course, accounts},
		`INSERT INTO lesson_completion (course_id, account_id, lesson_id, completed_at) SELECT $1, a, $3, now() FROM unnest($2::text[]) a`: {course, accounts, lessons[0]},
		`INSERT INTO account (account_id, name, version) SELECT a, 'Name of ' || a, 1 FROM unnest($1::text[]) a`:                           {accounts},
	} {
		if err := w.db.InTx(context.Background(), func(tx *pg.Tx) error {
			tx.Exempt("a test")
			_, err := tx.Exec(context.Background(), sql, args...)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	settled := func() {
		t.Helper()
		for more := true; more; {
			var err error
			if more, err = w.service.nextCrowd(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	hear(w.world, w.service.coursePublished, published(course, 2, lessons[0]))
	settled()
	t.Logf("%d completed and certified in %v", many, time.Since(start))
	hear(w.world, w.service.coursePublished, published(course, 3, lessons[0]))
	settled()
	if n := w.count(course); n != many {
		t.Errorf("%d certificates, want %d", n, many)
	}
	seen, cursor := map[string]bool{}, ""
	for {
		page, err := w.certificates.ListCertificates(w.as(accounts[0]), &learningpb.ListCertificatesRequest{CourseId: course, PageSize: 100, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.GetItems() {
			if seen[c.GetSerial()] || c.GetPersonName() != "Name of "+c.GetAccountId() {
				t.Fatalf("twice, or of another: %v", c)
			}
			seen[c.GetSerial()] = true
		}
		if cursor = page.GetNextCursor(); cursor == "" {
			break
		}
	}
	if len(seen) != many {
		t.Errorf("%d listed, want %d", len(seen), many)
	}
}

func TestCertificatesSwitchedOff(t *testing.T) {
	t.Parallel()
	w := newCertifying(t, rpctest.Everything)
	course, lesson, staff := id.New("course"), id.New("lesson"), w.as(id.New("account"))
	hear(w.world, w.service.coursePublished, published(course, 1, lesson))
	before, err := w.certificates.GetCertificateSettings(staff, &learningpb.GetCertificateSettingsRequest{CourseId: course})
	if err != nil || !before.GetEnabled() {
		t.Fatalf("%v, %v: want certificates by default", before, err)
	}
	set := &learningpb.UpdateCertificateSettingsRequest{CourseId: course, Title: "Diploma", SignatoryName: "Zeno", SignatoryRole: "Founder"}
	off, err := w.certificates.UpdateCertificateSettings(rpc.WithIfMatch(staff, `"`+before.GetEtag()+`"`), set)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.certificates.UpdateCertificateSettings(rpc.WithIfMatch(staff, `"`+before.GetEtag()+`"`), set)
	wantCode(t, err, "etag.stale")
	var accounts []string
	for i := range 3 {
		accounts = append(accounts, id.New("account"))
		hear(w.world, w.service.accountCreated, &identitypb.AccountCreated{AccountId: accounts[i], Name: fmt.Sprint("Learner ", i)})
		hear(w.world, w.service.enrollmentStarted, enrolled(course, accounts[i], i))
		w.view(accounts[i], course, lesson)
	}
	if n := w.count(course); n != 0 {
		t.Fatalf("%d certificates of a course that has none", n)
	}
	_, err = w.certificates.IssueCertificates(staff, &learningpb.IssueCertificatesRequest{CourseId: course})
	wantCode(t, err, "certificate.disabled")
	set.Enabled = true
	on, err := w.certificates.UpdateCertificateSettings(rpc.WithIfMatch(staff, off.GetEtag()), set)
	if err != nil || on.GetEtag() == off.GetEtag() {
		t.Fatalf("%v, %v", on, err)
	}
	for _, want := range []int32{3, 0} {
		res, err := w.certificates.IssueCertificates(staff, &learningpb.IssueCertificatesRequest{CourseId: course})
		if err != nil || res.GetIssued() != want || res.GetMore() {
			t.Fatalf("%v, %v: want %d", res, err, want)
		}
	}
	if c := w.only(accounts[1]); c.GetSignatoryName() != "Zeno" || c.GetPersonName() != "Learner 1" {
		t.Errorf("got %v", c)
	}
}

func TestNameThatComesLate(t *testing.T) {
	t.Parallel()
	w := newCertifying(t, rpctest.Everything)
	account, _ := w.completed("", "Ethics", "en")
	c := w.only(account)
	_, err := w.certificates.DownloadCertificate(w.as(account), &learningpb.DownloadCertificateRequest{CertificateId: c.GetId()})
	wantCode(t, err, "certificate.name_unknown")
	_, err = w.certificates.DownloadBadge(w.as(account), &learningpb.DownloadBadgeRequest{CertificateId: c.GetId()})
	wantCode(t, err, "certificate.name_unknown")
	hear(w.world, w.service.accountCreated, &identitypb.AccountCreated{AccountId: account, Name: "Hypatia"})
	hear(w.world, w.service.accountUpdated, &identitypb.AccountUpdated{AccountId: account, Name: "Somebody else", Version: 2})
	if got := w.only(account).GetPersonName(); got != "Hypatia" {
		t.Errorf("the name is %q", got)
	}
}

func TestRevokeAndReissue(t *testing.T) {
	t.Parallel()
	w := newCertifying(t, rpctest.Everything)
	account, course := w.completed("Jon Smith", "Logic", "en")
	staff := w.as(id.New("account"))
	first := w.only(account)

	second, err := w.certificates.ReissueCertificate(staff, &learningpb.ReissueCertificateRequest{
		CourseId: course, CertificateId: first.GetId(), PersonName: " John \u202eSmith ", Reason: "misspelt",
	})
	if err != nil {
		t.Fatal(err)
	}
	if second.GetId() != first.GetId() || second.GetSerial() == first.GetSerial() || second.GetRevision() != 2 || second.GetPersonName() != "John Smith" || second.GetReissueReason() != "misspelt" {
		t.Errorf("got %v", second)
	}
	if v, err := w.verify(first.GetSerial()); err != nil || v.GetState() != "superseded" || v.GetPersonName() != "" || v.GetEndedAt() == nil {
		t.Errorf("the first: %v, %v", v, err)
	}
	if v, err := w.verify(strings.ToLower(strings.ReplaceAll(second.GetSerial(), "-", " "))); err != nil || v.GetState() != "valid" || v.GetPersonName() != "John Smith" {
		t.Errorf("the second: %v, %v", v, err)
	}

	revoke := &learningpb.RevokeCertificateRequest{CourseId: course, CertificateId: first.GetId(), Reason: "copied"}
	revoked, err := w.certificates.RevokeCertificate(staff, revoke)
	if err != nil || revoked.GetState() != "revoked" || revoked.GetRevokedAt() == nil || revoked.GetRevocationReason() != "copied" {
		t.Fatalf("%v, %v", revoked, err)
	}
	_, err = w.certificates.RevokeCertificate(staff, revoke)
	wantCode(t, err, "certificate.not_valid")
	_, err = w.certificates.DownloadCertificate(w.as(account), &learningpb.DownloadCertificateRequest{CertificateId: first.GetId()})
	wantCode(t, err, "certificate.not_valid")
	_, err = w.certificates.DownloadBadge(w.as(account), &learningpb.DownloadBadgeRequest{CertificateId: first.GetId()})
	wantCode(t, err, "certificate.not_valid")
	_, err = w.certificates.DownloadSharedBadge(context.Background(), &learningpb.DownloadSharedBadgeRequest{Serial: second.GetSerial()})
	wantCode(t, err, "certificate.not_found")
	if v, err := w.verify(second.GetSerial()); err != nil || v.GetState() != "revoked" {
		t.Errorf("the revoked: %v, %v", v, err)
	}

	third, err := w.certificates.ReissueCertificate(staff, &learningpb.ReissueCertificateRequest{CourseId: course, CertificateId: first.GetId(), Reason: "was a mistake"})
	if err != nil || third.GetState() != "valid" || third.GetRevision() != 3 || third.GetPersonName() != "Jon Smith" {
		t.Fatalf("%v, %v", third, err)
	}
	if v, err := w.verify(second.GetSerial()); err != nil || v.GetState() != "revoked" {
		t.Errorf("the revoked, after: %v, %v", v, err)
	}
	_, err = w.certificates.ReissueCertificate(staff, &learningpb.ReissueCertificateRequest{CourseId: course, CertificateId: first.GetId(), PersonName: "\u202e", Reason: "x"})
	wantCode(t, err, "request.invalid")
	w.only(account)
}

func TestReissuesAtOnce(t *testing.T) {
	t.Parallel()
	w := newCertifying(t, rpctest.Everything)
	account, course := w.completed("Jon Smith", "Logic", "en")
	c, staff := w.only(account), w.as(id.New("account"))
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			if _, err := w.certificates.ReissueCertificate(staff, &learningpb.ReissueCertificateRequest{CourseId: course, CertificateId: c.GetId(), Reason: "again"}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := w.only(account).GetRevision(); got != 7 {
		t.Errorf("revision %d, want 7", got)
	}
	var valid int
	if err := w.db.QueryRow(context.Background(), `SELECT count(*) FROM certificate_revision WHERE certificate_id = $1 AND state = 'valid'`, c.GetId()).Scan(&valid); err != nil || valid != 1 {
		t.Errorf("%d valid at once, %v", valid, err)
	}
}

func TestSharing(t *testing.T) {
	t.Parallel()
	w := newCertifying(t, rpctest.Everything)
	account, _ := w.completed("Ada Lovelace", "Analysis", "en")
	c := w.only(account)
	for _, shared := range []bool{false, false, true} {
		got, err := w.certificates.ShareCertificate(w.as(account), &learningpb.ShareCertificateRequest{CertificateId: c.GetId(), Shared: shared})
		if err != nil || got.GetShared() != shared {
			t.Fatalf("%v, %v", got, err)
		}
		_, err = w.verify(c.GetSerial())
		_, badge := w.certificates.DownloadSharedBadge(context.Background(), &learningpb.DownloadSharedBadgeRequest{Serial: c.GetSerial()})
		if shared {
			if err != nil || badge != nil {
				t.Errorf("%v, %v", err, badge)
			}
			continue
		}
		wantCode(t, err, "certificate.not_found")
		wantCode(t, badge, "certificate.not_found")
	}
	for _, serial := range []string{"0", "7K3M-Q9XV-2HTR-5WBN", "'; --", strings.Repeat("Z", 64), "\u202e"} {
		_, err := w.verify(serial)
		wantCode(t, err, "certificate.not_found")
	}
}

// TestCertificatesOfOthers holds every door against those whom it is not for.
func TestCertificatesOfOthers(t *testing.T) {
	t.Parallel()
	mine, elsewhere := id.New("account"), id.New("course")
	account, course := id.New("account"), id.New("course")
	w := newCertifying(t, func(who, where, permission string) bool {
		return who == mine && where == elsewhere || who == account && where == course && permission == "lesson.read"
	})
	lesson := id.New("lesson")
	hear(w.world, w.service.coursePublished, published(course, 1, lesson))
	hear(w.world, w.service.enrollmentStarted, enrolled(course, account, 0))
	w.view(account, course, lesson)
	c, other := w.only(account), w.as(mine)
	for name, call := range map[string]func(ctx context.Context, course string) error{
		"settings": func(ctx context.Context, course string) error {
			_, err := w.certificates.GetCertificateSettings(ctx, &learningpb.GetCertificateSettingsRequest{CourseId: course})
			return err
		},
		"set": func(ctx context.Context, course string) error {
			_, err := w.certificates.UpdateCertificateSettings(ctx, &learningpb.UpdateCertificateSettingsRequest{CourseId: course})
			return err
		},
		"issue": func(ctx context.Context, course string) error {
			_, err := w.certificates.IssueCertificates(ctx, &learningpb.IssueCertificatesRequest{CourseId: course})
			return err
		},
		"list": func(ctx context.Context, course string) error {
			_, err := w.certificates.ListCertificates(ctx, &learningpb.ListCertificatesRequest{CourseId: course})
			return err
		},
		"revoke": func(ctx context.Context, course string) error {
			_, err := w.certificates.RevokeCertificate(ctx, &learningpb.RevokeCertificateRequest{CourseId: course, CertificateId: c.GetId(), Reason: "x"})
			return err
		},
		"reissue": func(ctx context.Context, course string) error {
			_, err := w.certificates.ReissueCertificate(ctx, &learningpb.ReissueCertificateRequest{CourseId: course, CertificateId: c.GetId(), Reason: "x"})
			return err
		},
	} {
		// The holder is no staff, and neither is the staff of another course.
		for _, ctx := range []context.Context{w.as(account), other, context.Background()} {
			if err := fault.FromStatus(call(ctx, course)); !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Forbidden) && !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	_, err := w.certificates.RevokeCertificate(other, &learningpb.RevokeCertificateRequest{CourseId: elsewhere, CertificateId: c.GetId(), Reason: "x"})
	wantCode(t, err, "certificate.not_found")
	_, err = w.certificates.ReissueCertificate(other, &learningpb.ReissueCertificateRequest{CourseId: elsewhere, CertificateId: c.GetId(), Reason: "x"})
	wantCode(t, err, "certificate.not_found")
	_, err = w.certificates.GetCertificate(other, &learningpb.GetCertificateRequest{CertificateId: c.GetId()})
	wantCode(t, err, "certificate.not_found")
	_, err = w.certificates.ShareCertificate(other, &learningpb.ShareCertificateRequest{CertificateId: c.GetId()})
	wantCode(t, err, "certificate.not_found")
	_, err = w.certificates.DownloadCertificate(other, &learningpb.DownloadCertificateRequest{CertificateId: c.GetId()})
	wantCode(t, err, "certificate.not_found")
	_, err = w.certificates.DownloadBadge(other, &learningpb.DownloadBadgeRequest{CertificateId: c.GetId()})
	wantCode(t, err, "certificate.not_found")
	if got := w.only(account); got.GetState() != "valid" || !got.GetShared() || got.GetRevision() != 1 {
		t.Errorf("it was changed: %v", got)
	}
}
