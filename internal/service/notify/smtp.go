package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// The schemes of STOA_SMTP_URL.
const (
	schemeSTARTTLS = "smtp"       // encrypted by STARTTLS, or not at all
	schemeTLS      = "smtps"      // encrypted from the first byte
	schemePlain    = "smtp+plain" // not encrypted, for a server on the same machine
)

// smtpTimeout bounds the connecting to a mail server and, apart, the handing
// over of a mail. Both together are well below lease.
const smtpTimeout = 30 * time.Second

// Mailer hands mails to an SMTP server.
type Mailer struct {
	scheme, host   string
	port           int
	user, password string
	from           *mail.Address
	tls            *tls.Config
}

// NewMailer returns a mailer for a server, as smtp://user:password@host:587,
// that writes in the name of from. It connects when it sends.
func NewMailer(server, from string) (*Mailer, error) {
	u, err := url.Parse(server)
	if err != nil { // whose text may hold the password
		return nil, errors.New("is not an address such as smtp://user:password@host:587")
	}
	m := &Mailer{scheme: u.Scheme, host: u.Hostname(), user: u.User.Username()}
	m.password, _ = u.User.Password()
	standard := map[string]int{schemeSTARTTLS: 587, schemeTLS: 465, schemePlain: 25}
	var known bool
	if m.port, known = standard[u.Scheme]; !known || m.host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, errors.New("is not an address such as smtp://user:password@host:587, or smtps://")
	}
	if p := u.Port(); p != "" {
		if m.port, err = strconv.Atoi(p); err != nil || m.port < 1 || m.port > 65535 {
			return nil, errors.New("has no port from 1 to 65535")
		}
	}
	if m.scheme == schemePlain && m.host != "localhost" && !net.ParseIP(m.host).IsLoopback() {
		return nil, errors.New("smtp+plain:// is for a server on the same machine: others could read all mails")
	}
	if m.from, err = mail.ParseAddress(from); err != nil {
		return nil, errors.New("the sender is not an address such as Stoa <no-reply@example.org>")
	}
	m.tls = &tls.Config{ServerName: m.host, MinVersion: tls.VersionTLS12}
	return m, nil
}

// refusal is what the mail server answered to a mail.
type refusal struct {
	code  int
	reply string
}

func (r *refusal) Error() string { return r.reply }

// permanent reports whether the answer would be the same another time.
func (r *refusal) permanent() bool { return r.code >= 500 && r.code < 600 }

// send hands a mail to the server. It returns nil once the server has taken it,
// a refusal when it answered that it won't, and another error when it can't be
// known to have taken it.
func (m *Mailer) send(ctx context.Context, mailID string, at time.Time, l letter) error {
	msg, err := m.message(mailID, at, l)
	if err != nil {
		return &refusal{code: 553, reply: err.Error()}
	}
	var conn net.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close()
		}
	}()
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		var err error
		if m.scheme == schemeTLS {
			conn, err = (&tls.Dialer{Config: m.tls}).DialContext(ctx, network, address)
		} else {
			conn, err = new(net.Dialer).DialContext(ctx, network, address)
		}
		return conn, err
	}
	options := []gomail.Option{
		gomail.WithPort(m.port), gomail.WithTimeout(smtpTimeout), gomail.WithTLSConfig(m.tls), gomail.WithDialContextFunc(dial),
		gomail.WithHELO(m.domain()), gomail.WithTLSPolicy(gomail.TLSMandatory), gomail.WithoutNoop(), gomail.WithoutRset(),
	}
	authType := gomail.SMTPAuthAutoDiscover
	switch m.scheme {
	case schemeTLS:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS)) // it is there already
		authType = gomail.SMTPAuthPlain
	case schemePlain:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
		authType = gomail.SMTPAuthPlainNoEnc
	}
	if m.user != "" {
		options = append(options, gomail.WithSMTPAuth(authType), gomail.WithUsername(m.user), gomail.WithPassword(m.password))
	}
	client, err := gomail.NewClient(m.host, options...)
	if err != nil {
		return fmt.Errorf("mail client: %w", err)
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return fmt.Errorf("connect to the mail server: %w", err)
	}
	err = client.SendWithSMTPClient(session, msg)
	if msg.IsDelivered() { // whatever came after
		_ = session.Quit()
		return nil
	}
	if refused, ok := errors.AsType[*gomail.SendError](err); ok && refused.ErrorCode() != 0 {
		reply, _, _ := strings.Cut(refused.Error(), ", affected ")
		return &refusal{code: refused.ErrorCode(), reply: reply}
	}
	return fmt.Errorf("hand over: %w", err)
}

// message is a mail as it goes over the wire: the same at each try.
func (m *Mailer) message(mailID string, at time.Time, l letter) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(m.from)
	if err := msg.AddToFormat(l.Name, l.To); err != nil {
		return nil, errors.New("the address can't be one")
	}
	msg.SetMessageIDWithValue(mailID + "@" + m.domain())
	msg.SetDateWithValue(at)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.Subject(l.Subject)
	msg.SetBodyString(gomail.TypeTextPlain, l.Text)
	msg.AddAlternativeString(gomail.TypeTextHTML, l.HTML)
	return msg, nil
}

// domain is the one that mails come from.
func (m *Mailer) domain() string {
	_, domain, _ := strings.Cut(m.from.Address, "@")
	return domain
}
