package notify

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// post office: an SMTP server in the process that keeps what it gets.
type office struct {
	t        *testing.T
	server   *smtp.Server
	close    func()
	addr     string
	pool     *x509.CertPool
	withAuth bool

	mu      sync.Mutex
	refuse  []error // what it answers to the next mails, nil takes one
	got     []received
	arrived chan struct{}
	hold    chan struct{} // when not nil: taking waits for it
}

type received struct {
	from, to string
	raw      []byte
}

const password = "it's a secret: 50%"

// newOffice starts a server; implicit is TLS from the first byte.
func newOffice(t *testing.T, withTLS, implicit, withAuth bool) *office {
	t.Helper()
	o := &office{t: t, withAuth: withAuth, arrived: make(chan struct{}, 1000)}
	o.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return o.session(), nil }))
	o.server.Domain = "mx.example.org"
	o.server.AllowInsecureAuth = !withTLS
	o.server.EnableSMTPUTF8 = true
	o.server.ReadTimeout, o.server.WriteTimeout = 10*time.Second, 10*time.Second
	o.server.ErrorLog = quiet{}
	if withTLS {
		cert, pool := certificate(t)
		o.pool = pool
		o.server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.addr = l.Addr().String()
	if implicit {
		l = tls.NewListener(l, o.server.TLSConfig)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = o.server.Serve(l) })
	o.close = func() {
		_ = o.server.Close()
		_ = l.Close() // of which the server does not know before it serves
	}
	t.Cleanup(func() {
		o.close()
		wg.Wait()
	})
	return o
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// mailer returns one for the office, by a scheme and with credentials.
func (o *office) mailer(scheme, credentials string) *Mailer {
	o.t.Helper()
	m, err := NewMailer(scheme+"://"+credentials+o.addr, "Stoa <no-reply@learn.example.org>")
	if err != nil {
		o.t.Fatal(err)
	}
	m.tls.RootCAs = o.pool
	return m
}

func (o *office) session() smtp.Session {
	s := &session{office: o}
	if o.withAuth {
		return &authSession{s}
	}
	return s
}

func (o *office) mails() []received {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]received(nil), o.got...)
}

type session struct {
	office *office
	mail   received
}

func (*session) Reset()        {}
func (*session) Logout() error { return nil }
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.mail.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mail.to = to
	s.office.mu.Lock()
	defer s.office.mu.Unlock()
	if len(s.office.refuse) == 0 {
		return nil
	}
	err := s.office.refuse[0]
	s.office.refuse = s.office.refuse[1:]
	return err
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mail.raw = raw
	s.office.mu.Lock()
	s.office.got = append(s.office.got, s.mail)
	hold := s.office.hold
	s.office.mu.Unlock()
	s.office.arrived <- struct{}{}
	if hold != nil {
		<-hold
	}
	return nil
}

type authSession struct{ *session }

func (*authSession) AuthMechanisms() []string { return []string{sasl.Plain} }
func (*authSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, pass string) error {
		if user != "stoa" || pass != password {
			return errors.New("wrong user or password")
		}
		return nil
	}), nil
}

func (s *authSession) Mail(from string, o *smtp.MailOptions) error { return s.session.Mail(from, o) }

// certificate returns one of 127.0.0.1, and the pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

var aLetter = letter{To: "ana@example.org", Name: "Ana Müller", Subject: "Grüße", Text: "Hello\n\n.\n\nText ü\n", HTML: "<p>Hello</p>"}

func TestMailerSettings(t *testing.T) {
	t.Parallel()
	const from = "no-reply@example.org"
	for _, server := range []string{
		"smtp://mx.example.org", "smtp://u:p%40@mx.example.org:2525", "smtps://mx.example.org", "smtp+plain://localhost", "smtp+plain://127.0.0.1:1025", "smtp+plain://[::1]:25",
	} {
		if _, err := NewMailer(server, from); err != nil {
			t.Errorf("%s: %v", server, err)
		}
	}
	for _, server := range []string{"", "mx.example.org:25", "http://mx.example.org", "smtp://", "smtp://h:0", "smtp://h:70000", "smtp://u:hunter2@h:x", "smtp+plain://mx.example.org", "smtp://h/x", "smtp://h?tls=no"} {
		if _, err := NewMailer(server, from); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", server, err)
		}
	}
	for _, from := range []string{"", "stoa", "a@b, c@d"} {
		if _, err := NewMailer("smtp://h", from); err == nil {
			t.Errorf("from %q passed", from)
		}
	}
}

// A mail arrives encrypted, by who may, with both of its bodies.
func TestMailArrives(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, scheme            string
		tls, implicit, withAuth bool
	}{
		{"STARTTLS", "smtp", true, false, true},
		{"TLS", "smtps", true, true, true},
		{"TLS without a password", "smtps", true, true, false},
		{"plain on the same machine", "smtp+plain", false, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, tt.tls, tt.implicit, tt.withAuth)
			credentials := ""
			if tt.withAuth {
				credentials = "stoa:it%27s%20a%20secret:%2050%25@" //nolint:gosec // of the test
			}
			if err := o.mailer(tt.scheme, credentials).send(t.Context(), "mail_1", may, aLetter); err != nil {
				t.Fatal(err)
			}
			got := o.mails()
			if len(got) != 1 || got[0].from != "no-reply@learn.example.org" || got[0].to != "ana@example.org" {
				t.Fatalf("%+v", got)
			}
			m, err := mail.ReadMessage(bytes.NewReader(got[0].raw))
			if err != nil {
				t.Fatal(err)
			}
			for header, want := range map[string]string{
				"Message-Id": "<mail_1@learn.example.org>", "Subject": "Grüße", "From": `"Stoa" <no-reply@learn.example.org>`,
				"To": `Ana Müller <ana@example.org>`, "Date": "Fri, 01 May 2026 09:00:00 +0000", "Auto-Submitted": "auto-generated",
			} {
				if text, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get(header)); err != nil || text != want {
					t.Errorf("%s: %q, want %q", header, text, want)
				}
			}
			_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
			if err != nil {
				t.Fatal(err)
			}
			var bodies []string
			parts := multipart.NewReader(m.Body, params["boundary"])
			for {
				p, err := parts.NextRawPart()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(quotedprintable.NewReader(p))
				if err != nil {
					t.Fatal(err)
				}
				bodies = append(bodies, p.Header.Get("Content-Type")+"|"+strings.ReplaceAll(string(text), "\r\n", "\n"))
			}
			want := []string{"text/plain; charset=UTF-8|" + aLetter.Text, "text/html; charset=UTF-8|" + aLetter.HTML}
			if fmt.Sprint(bodies) != fmt.Sprint(want) {
				t.Errorf("%q, want %q", bodies, want)
			}
		})
	}
}

// Nothing is told to a server that isn't the one that is meant or can't encrypt.
func TestMailGoesToNobodyElse(t *testing.T) {
	t.Parallel()
	const who = "stoa:it%27s%20a%20secret:%2050%25@"
	plain := newOffice(t, false, false, true)
	foreign := newOffice(t, true, false, true)
	foreign.pool = x509.NewCertPool()
	right := newOffice(t, true, false, true)
	for name, m := range map[string]*Mailer{
		"no STARTTLS":           plain.mailer("smtp", who),
		"no TLS":                plain.mailer("smtps", who),
		"a foreign certificate": foreign.mailer("smtp", who),
		"a wrong password":      right.mailer("smtp", "stoa:x@"),
	} {
		err := m.send(t.Context(), "mail_1", may, aLetter)
		if r, ok := errors.AsType[*refusal](err); err == nil || ok && r.permanent() {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(plain.mails()) + len(foreign.mails()) + len(right.mails()); n != 0 {
		t.Errorf("%d mails arrived", n)
	}
}

// No text makes a line of a header.
func TestHeadersAreNotInjected(t *testing.T) {
	t.Parallel()
	o := newOffice(t, false, false, false)
	m := o.mailer("smtp+plain", "")
	const evil = "x\r\nBcc: all@example.org\r\n\r\nBuy"
	for i, l := range []letter{
		{To: "ana@example.org", Name: evil, Subject: "s", Text: "t", HTML: "h"},
		{To: "ana@example.org", Name: "Ana", Subject: evil, Text: "t", HTML: "h"},
		{To: "ana@example.org\r\nBcc: all@example.org", Name: "Ana", Subject: "s", Text: "t", HTML: "h"},
		{To: "ana@example.org, all@example.org", Name: "Ana", Subject: "s", Text: "t", HTML: "h"},
	} {
		_ = m.send(t.Context(), "mail_1", may, l) // refused, or sent as one mail to one person
		for _, got := range o.mails() {
			head, err := mail.ReadMessage(bytes.NewReader(got.raw))
			if err != nil {
				t.Fatal(err)
			}
			if head.Header.Get("Bcc") != "" || got.to != "ana@example.org" {
				t.Errorf("%d: %q", i, got.raw)
			}
		}
	}
}

// sendAllNow sends what is due.
func sendAllNow(t *testing.T, s *Service) {
	t.Helper()
	for {
		found, err := s.sendNext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			return
		}
	}
}

// mail returns the mail to an account.
func (w *world) mail(account string) Mail {
	w.t.Helper()
	all, err := Mails(w.t.Context(), w.db, "", 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range all {
		if m.AccountID == account {
			return m
		}
	}
	w.t.Fatalf("no mail to %s", account)
	return Mail{}
}

// sending is a world whose mails go to an office.
func sending(t *testing.T) (*world, *office) {
	t.Helper()
	w, o := newWorld(t), newOffice(t, false, false, false)
	w.service = w.another(o.mailer("smtp+plain", ""))
	return w, o
}

func messageID(t *testing.T, raw []byte) string {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return m.Header.Get("Message-Id")
}

func TestQueue(t *testing.T) {
	t.Parallel()
	w, o := sending(t)
	o.refuse = []error{&smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "Greylisted <Ana@example.org>, come back"}}
	ana := w.person("Ana", "en")
	sendAllNow(t, w.service)
	m := w.mail(ana)
	if m.State != queued || m.Attempts != 1 || !strings.Contains(m.Reply, "451") || strings.Contains(strings.ToLower(m.Reply), "ana@") || !m.NextAt.Equal(may.Add(firstPause)) {
		t.Errorf("after 451: %+v", m)
	}
	sendAllNow(t, w.service) // not yet
	if n := len(o.mails()); n != 0 {
		t.Fatalf("%d mails too early", n)
	}
	w.pass(firstPause)
	sendAllNow(t, w.service)
	if m := w.mail(ana); m.State != sent || m.Attempts != 2 || m.NextAt != nil || m.Reply != "" {
		t.Errorf("taken at the second try: %+v", m)
	}
	var letters int
	if err := w.db.QueryRow(t.Context(), `SELECT count(letter) FROM mail`).Scan(&letters); err != nil || letters != 0 {
		t.Errorf("%d letters are kept after sending, %v", letters, err)
	}

	o.refuse = []error{&smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user"}}
	ben := w.person("Ben", "en")
	sendAllNow(t, w.service)
	w.pass(24 * time.Hour)
	sendAllNow(t, w.service)
	if m := w.mail(ben); m.State != failed || m.Attempts != 1 || !strings.Contains(m.Reply, "No such user") {
		t.Errorf("after 550: %+v", m)
	}
	// An operator may have it sent all the same.
	if n, err := Retry(t.Context(), w.db, w.mail(ana).ID); n != 0 || err != nil {
		t.Errorf("what was sent is sent again: %d, %v", n, err)
	}
	if n, err := Retry(t.Context(), w.db); n != 1 || err != nil {
		t.Errorf("retry: %d, %v", n, err)
	}
	w.mu.Lock()
	w.clock = time.Now().Add(time.Minute) // Retry has the database's clock
	w.mu.Unlock()
	sendAllNow(t, w.service)
	if m := w.mail(ben); m.State != sent {
		t.Errorf("after a retry: %+v", m)
	}
	if got := o.mails(); len(got) != 2 || got[0].to != "Ana@example.org" || got[1].to != "Ben@example.org" {
		t.Errorf("%d mails", len(got))
	}
}

// A server that is away is tried ever more seldom, and given up after two days.
func TestServerAway(t *testing.T) {
	t.Parallel()
	w, o := sending(t)
	o.close()
	ana := w.person("Ana", "en")
	tries := 0
	for {
		sendAllNow(t, w.service)
		m := w.mail(ana)
		if tries++; m.Attempts != tries || tries > 100 {
			t.Fatalf("%d tries: %+v", tries, m)
		}
		if m.State == failed {
			break
		}
		if wait := m.NextAt.Sub(w.now()); wait < firstPause || wait > longestPause {
			t.Fatalf("waits %s", wait)
		}
		w.pass(m.NextAt.Sub(w.now()))
	}
	if passed := w.now().Sub(may); passed < giveUpAfter || passed > giveUpAfter+2*longestPause {
		t.Errorf("given up after %s", passed)
	}
}

// Any number of processes send each mail once.
func TestSentOnce(t *testing.T) {
	t.Parallel()
	w, o := sending(t)
	const people = 40
	for range people {
		w.person("x", "de")
	}
	var wg sync.WaitGroup
	for range 6 {
		s := w.another(o.mailer("smtp+plain", ""))
		wg.Go(func() { sendAllNow(t, s) })
	}
	wg.Wait()
	ids := map[string]int{}
	for _, m := range o.mails() {
		ids[messageID(t, m.raw)]++
	}
	if len(ids) != people || len(o.mails()) != people {
		t.Errorf("%d mails of which %d differ, want %d", len(o.mails()), len(ids), people)
	}
}

// Who crashes between sending and noting leaves the mail to another, who sends
// it again under the same name, once the lease is over; what comes of the first
// is not noted any more.
func TestCrashBetween(t *testing.T) {
	t.Parallel()
	w, o := sending(t)
	o.hold = make(chan struct{})
	ana := w.person("Ana", "en")
	var first sync.WaitGroup
	first.Go(func() {
		if _, err := w.service.sendNext(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	<-o.arrived // the server has it, the sender does not know
	other := w.another(o.mailer("smtp+plain", ""))
	if found, err := other.sendNext(t.Context()); found || err != nil {
		t.Fatalf("sent beside: %v, %v", found, err)
	}
	w.pass(lease)
	o.mu.Lock()
	held := o.hold
	o.hold = nil
	o.mu.Unlock()
	sendAllNow(t, other)
	if m := w.mail(ana); m.State != sent || m.Attempts != 2 {
		t.Errorf("%+v", m)
	}
	close(held)
	first.Wait()
	if m := w.mail(ana); m.State != sent || m.Attempts != 2 {
		t.Errorf("after the first came back: %+v", m)
	}
	got := o.mails()
	if len(got) != 2 || messageID(t, got[0].raw) != messageID(t, got[1].raw) || messageID(t, got[0].raw) == "" {
		t.Errorf("%d mails", len(got))
	}
}

// Run sends what is written without waiting for its next look.
func TestRunSends(t *testing.T) {
	t.Parallel()
	w, o := sending(t)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.service.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for range 3 {
		w.person("Ana", "en")
		select {
		case <-o.arrived:
		case <-time.After(time.Minute):
			t.Fatal("no mail came")
		}
	}
	stop()
	wg.Wait()
}

// request is what identity sends.
func (w *world) request(k kind, m *identitypb.SecurityMail) *identitypb.SecurityMailRequested {
	w.t.Helper()
	plain, err := proto.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	mailID := id.New("mail")
	return &identitypb.SecurityMailRequested{
		MailId: mailID, AccountId: id.New("account"), Kind: string(k), Locale: "en", Sealed: w.keys.Seal("identity mail\n"+mailID, plain),
	}
}

func TestSecurityMails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	content := func() *identitypb.SecurityMail {
		return &identitypb.SecurityMail{
			To: "ana@example.org", Name: "Ana", Token: "a+b/c=", Address: "192.0.2.7", At: timestamppb.New(may),
			UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0 http://evil.example",
		}
	}
	for k := range security {
		e := w.request(k, content())
		hear(w, w.service.securityMailRequested, e, e)
		mails := w.mails()
		m := mails[0]
		if m.GetId() != e.GetMailId() || m.GetTo() != "ana@example.org" || !strings.HasPrefix(m.GetText(), "Hello Ana,\n") || strings.Contains(m.GetText(), "evil") {
			t.Errorf("%s: %+v", k, m)
		}
		link := "https://learn.example.org" + pageOf[k] + "?token=a%2Bb%2Fc%3D\n"
		if strings.Contains(m.GetText(), "token=") != (pageOf[k] != "") || pageOf[k] != "" && !strings.Contains(m.GetText(), link) {
			t.Errorf("%s: the link of %q", k, m.GetText())
		}
		if k == newDevice && !strings.Contains(m.GetText(), "Program: Firefox, Linux. Network address: 192.0.2.7.") {
			t.Errorf("%q", m.GetText())
		}
		w.pass(time.Second)
	}
	if n := len(w.mails()); n != len(security) {
		t.Errorf("%d mails, want %d", n, len(security))
	}
	// The name that somebody gives with another's address tells them nothing.
	m := content()
	m.Name = "free money at evil.example"
	hear(w, w.service.securityMailRequested, w.request(verifyEmail, m))
	if text := w.mails()[0].GetText(); !strings.HasPrefix(text, "Hello,\n") {
		t.Errorf("%q", text)
	}
	for name, e := range map[string]*identitypb.SecurityMailRequested{
		"an unknown kind":        w.request("unheard_of", content()),
		"a kind that is no mail": w.request(newStudent, content()),
		"no token":               w.request(resetPassword, &identitypb.SecurityMail{To: "a@b.c"}),
		"of another mail": func() *identitypb.SecurityMailRequested {
			e := w.request(locked, content())
			e.MailId = id.New("mail")
			return e
		}(),
	} {
		if err := try(w, w.service.securityMailRequested, e); err == nil {
			t.Errorf("%s passed", name)
		}
	}
}

// What a process of before has written is read, and sealed.
func TestPlainRowsAreSealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	zeno := w.person("Zeno", "en")
	ana := id.New("account")
	for _, sql := range []string{
		`INSERT INTO person (account_id, email, name, locale, version) VALUES ($1, 'ana@example.org', 'Ana', 'en', 1)`,
		`INSERT INTO mail (id, to_address, subject, body_text, created_at, state, dedupe_key)
		 VALUES ('mail_old', 'ana@example.org', 'Welcome', 'Hello', '2020-01-01', 'held', 'welcome:' || $1 || ':' || $1)`,
	} {
		if _, err := w.db.Exec(t.Context(), sql, ana); err != nil {
			t.Fatal(err)
		}
	}
	// One of before has changed an address that was sealed: what is plain is newer.
	if _, err := w.db.Exec(t.Context(), `UPDATE person SET email = 'new@example.org', version = 2 WHERE account_id = $1`, zeno); err != nil {
		t.Fatal(err)
	}
	see := func() {
		t.Helper()
		if m := w.mails(); len(m) != 2 || m[1].GetTo() != "ana@example.org" || m[1].GetText() != "Hello" {
			t.Errorf("%v", m)
		}
		err := w.db.InTx(t.Context(), func(tx *pg.Tx) error {
			tx.Exempt("a test")
			who, err := w.service.people(t.Context(), tx, ana, zeno)
			if who[ana].Email != "ana@example.org" || who[zeno].Email != "new@example.org" {
				t.Errorf("%+v", who)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	see()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := w.another(nil).sealPlain(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	see()
	var plain int
	err := w.db.QueryRow(t.Context(), `
		SELECT (SELECT count(*) FROM person WHERE email <> '' OR position('example'::bytea IN email_sealed) > 0) +
		       (SELECT count(*) FROM mail WHERE to_address <> '' OR subject <> '' OR body_text <> '' OR position('example'::bytea IN letter) > 0)`).Scan(&plain)
	if err != nil || plain != 0 {
		t.Errorf("%d rows are plain, %v", plain, err)
	}
}

// Erasing a person's key leaves nobody to write to and nothing to read.
func TestErasedPerson(t *testing.T) {
	t.Parallel()
	w, o := sending(t)
	ana := w.person("Ana", "en")
	err := w.db.InTx(t.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		return w.service.vault.Erase(t.Context(), tx, ana)
	})
	if err != nil {
		t.Fatal(err)
	}
	fresh := w.another(o.mailer("smtp+plain", ""))
	sendAllNow(t, fresh)
	if m := w.mail(ana); m.State != failed || len(o.mails()) != 0 {
		t.Errorf("%+v, %d mails", m, len(o.mails()))
	}
	err = w.db.InTx(t.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		who, err := fresh.people(t.Context(), tx, ana)
		if who[ana].Email != "" {
			t.Errorf("%+v", who)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
