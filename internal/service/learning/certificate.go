package learning

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pdf"
	"github.com/stoa-lms/stoa/internal/pg"
)

// Errors of certificates.
var (
	ErrCertificateNotFound = fault.New(fault.NotFound, "certificate.not_found", "There is no such certificate.")
	ErrCertificateNotValid = fault.New(fault.Conflict, "certificate.not_valid", "The certificate was revoked.")
	ErrCertificateDisabled = fault.New(fault.Conflict, "certificate.disabled", "The course has no certificates. Switch them on first.")
	ErrNameUnknown         = fault.New(fault.Conflict, "certificate.name_unknown", "The name for the certificate is not known yet. Try again in a moment.")
)

// The states of a certificate as it was issued once.
const (
	stateValid      = "valid"
	stateRevoked    = "revoked"
	stateSuperseded = "superseded"
)

// certificate is what somebody has for a completed course, as it was issued once.
type certificate struct {
	ID            string
	CourseID      string
	AccountID     string
	CompletedAt   time.Time
	FirstIssuedAt time.Time
	Shared        bool
	Revision      int32
	Serial        string
	StatusIndex   int64
	PersonName    string
	CourseTitle   string
	Language      string
	Title         string
	SignatoryName string
	SignatoryRole string
	IssuerName    string
	IssuedAt      time.Time
	Reason        string
	State         string
	EndedAt       *time.Time
	EndReason     string
}

// A name that had not come when it was issued is the one that has come since.
const certificateColumns = `
	c.id, c.course_id, c.account_id, c.completed_at, c.issued_at AS first_issued_at, c.shared, r.revision, r.serial, r.status_index,
	coalesce(nullif(r.person_name, ''), (SELECT name FROM account a WHERE a.account_id = c.account_id), '') AS person_name,
	r.course_title, r.language, r.title, r.signatory_name, r.signatory_role, r.issuer_name, r.issued_at, r.reason, r.state, r.ended_at, r.end_reason`

// current is each certificate as it was issued last.
const current = ` FROM certificate c JOIN certificate_revision r ON r.certificate_id = c.id AND r.revision = c.revision `

// serials are written in Crockford's letters and digits: none looks like another.
var serials = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// newSerial returns 80 random bits, which nobody guesses, in 16 characters.
func newSerial() string {
	var raw [10]byte
	_, _ = rand.Read(raw[:]) // it never fails
	return serials.EncodeToString(raw[:])
}

// parseSerial returns a serial as it is kept of what somebody has typed.
func parseSerial(text string) string {
	return strings.NewReplacer("-", "", " ", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(text))
}

// writeSerial returns a serial as people read it.
func writeSerial(serial string) string {
	var groups []string
	for ; len(serial) > 4; serial = serial[4:] {
		groups = append(groups, serial[:4])
	}
	return strings.Join(append(groups, serial), "-")
}

// issue gives those of the accounts a certificate of the course who have completed
// it and have none, unless the course has none. However often it is called, and
// whoever calls it beside, each has one.
func (s *Service) issue(ctx context.Context, tx *pg.Tx, courseID string, accounts ...string) (int, error) {
	if len(accounts) == 0 {
		return 0, nil
	}
	ids, numbers := make([]string, len(accounts)), make([]string, len(accounts))
	for i := range accounts {
		ids[i], numbers[i] = id.New("certificate"), newSerial()
	}
	rows, err := tx.Query(ctx, `
		WITH wanted AS (
			SELECT * FROM unnest($2::text[], $3::text[], $4::text[]) AS w (account_id, id, serial)
		), made AS (
			INSERT INTO certificate (id, course_id, account_id, completed_at, issued_at, revision)
			SELECT w.id, $1, w.account_id, l.completed_at, $5, 1
			FROM wanted w JOIN learner l ON l.course_id = $1 AND l.account_id = w.account_id AND l.completed_at IS NOT NULL
			WHERE NOT EXISTS (SELECT FROM certificate_settings g WHERE g.course_id = $1 AND NOT g.enabled)
			ORDER BY w.account_id
			ON CONFLICT ON CONSTRAINT certificate_person_course DO NOTHING
			RETURNING id, account_id
		), revision AS (
			INSERT INTO certificate_revision (certificate_id, revision, serial, person_name, course_title, language,
				title, signatory_name, signatory_role, issuer_name, issued_at, issued_by, reason)
			SELECT m.id, 1, w.serial, coalesce(a.name, ''), coalesce(k.title, ''), coalesce(k.language, ''),
				coalesce(g.title, ''), coalesce(g.signatory_name, ''), coalesce(g.signatory_role, ''), $6, $5, '', ''
			FROM made m JOIN wanted w USING (id)
				LEFT JOIN account a ON a.account_id = m.account_id
				LEFT JOIN course k ON k.course_id = $1
				LEFT JOIN certificate_settings g ON g.course_id = $1
		)
		SELECT id, account_id FROM made`,
		courseID, accounts, ids, numbers, s.now(), s.issuerName)
	if err != nil {
		return 0, fmt.Errorf("issue certificates: %w", err)
	}
	var entries []audit.Entry
	var certificateID, accountID string
	_, err = pgx.ForEachRow(rows, []any{&certificateID, &accountID}, func() error {
		entries = append(entries, audit.Entry{Action: "certificate.issued", Object: certificateID, Course: courseID, Person: accountID})
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("issue certificates: %w", err)
	}
	return len(entries), audit.Record(ctx, tx, entries...)
}

// nameCertificates writes a name that was not known onto what was issued without.
func nameCertificates(ctx context.Context, tx *pg.Tx, accountID, name string) error {
	_, err := tx.Exec(ctx, `
		UPDATE certificate_revision r SET person_name = $2
		FROM certificate c WHERE c.account_id = $1 AND r.certificate_id = c.id AND r.person_name = ''`, accountID, name)
	if err != nil {
		return fmt.Errorf("name certificates: %w", err)
	}
	return nil
}

// issueMissing is how many certificates are issued in one call at most.
const issueMissing = 1000

// issueToOthers gives certificates to those who completed the course while it had
// none, and reports whether there are more.
func (s *Service) issueToOthers(ctx context.Context, tx *pg.Tx, courseID string) (int, bool, error) {
	settings, err := readSettings(ctx, tx, courseID, "")
	if err != nil {
		return 0, false, err
	}
	if !settings.Enabled {
		return 0, false, ErrCertificateDisabled
	}
	rows, err := tx.Query(ctx, `
		SELECT l.account_id FROM learner l
		WHERE l.course_id = $1 AND l.completed_at IS NOT NULL
			AND NOT EXISTS (SELECT FROM certificate c WHERE c.course_id = $1 AND c.account_id = l.account_id)
		ORDER BY l.account_id LIMIT $2`, courseID, issueMissing+1)
	if err != nil {
		return 0, false, fmt.Errorf("who lacks a certificate: %w", err)
	}
	accounts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, false, fmt.Errorf("who lacks a certificate: %w", err)
	}
	more := len(accounts) > issueMissing
	n, err := s.issue(ctx, tx, courseID, accounts[:min(len(accounts), issueMissing)]...)
	if n == 0 {
		tx.Exempt("nobody lacked one")
	}
	return n, more, err
}

// oneCertificate returns the certificate that what follows FROM and WHERE names.
func oneCertificate(ctx context.Context, q pg.Querier, rest string, args ...any) (certificate, error) {
	rows, err := q.Query(ctx, `SELECT `+certificateColumns+rest, args...)
	if err != nil {
		return certificate{}, fmt.Errorf("read certificate: %w", err)
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[certificate])
	if pg.NoRows(err) {
		return certificate{}, ErrCertificateNotFound
	}
	if err != nil {
		return certificate{}, fmt.Errorf("read certificate: %w", err)
	}
	return c, nil
}

func certificateOf(ctx context.Context, q pg.Querier, accountID, certificateID string) (certificate, error) {
	return oneCertificate(ctx, q, current+`WHERE c.id = $1 AND c.account_id = $2`, certificateID, accountID)
}

// bySerial returns what was issued with a serial, if its holder shares it.
func bySerial(ctx context.Context, q pg.Querier, serial string) (certificate, error) {
	return oneCertificate(ctx, q, ` FROM certificate_revision r JOIN certificate c ON c.id = r.certificate_id WHERE r.serial = $1 AND c.shared`, parseSerial(serial))
}

// certificatesBy lists certificates of an account or a course, newest first.
func certificatesBy(ctx context.Context, q pg.Querier, column, value string, size int, cursor string) ([]certificate, string, error) {
	before, beforeID, err := page.After(cursor)
	if err != nil {
		return nil, "", err
	}
	rows, err := q.Query(ctx, `SELECT `+certificateColumns+current+`
		WHERE c.`+column+` = $1 AND (c.issued_at, c.id) < ($2, $3) ORDER BY c.issued_at DESC, c.id DESC LIMIT $4`, value, before, beforeID, size+1)
	if err != nil {
		return nil, "", fmt.Errorf("list certificates: %w", err)
	}
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[certificate])
	if err != nil {
		return nil, "", fmt.Errorf("list certificates: %w", err)
	}
	if len(items) <= size {
		return items, "", nil
	}
	last := items[size-1]
	return items[:size], page.TimeCursor(last.FirstIssuedAt, last.ID), nil
}

// lockCertificate returns a certificate of the course as it is once nobody else
// changes it.
func lockCertificate(ctx context.Context, tx *pg.Tx, courseID, certificateID string) (certificate, error) {
	if _, err := tx.Exec(ctx, `SELECT FROM certificate WHERE id = $1 FOR UPDATE`, certificateID); err != nil {
		return certificate{}, fmt.Errorf("lock certificate: %w", err)
	}
	return oneCertificate(ctx, tx, current+`WHERE c.id = $1 AND c.course_id = $2`, certificateID, courseID)
}

func (s *Service) revoke(ctx context.Context, tx *pg.Tx, courseID, certificateID, reason string) (certificate, error) {
	c, err := lockCertificate(ctx, tx, courseID, certificateID)
	if err != nil {
		return certificate{}, err
	}
	if c.State != stateValid {
		return certificate{}, ErrCertificateNotValid
	}
	now := s.now()
	if err := endRevision(ctx, tx, c, stateRevoked, reason, now); err != nil {
		return certificate{}, err
	}
	c.State, c.EndedAt, c.EndReason = stateRevoked, &now, reason
	return c, audit.Record(ctx, tx, audit.Entry{
		Action: "certificate.revoked", Object: c.ID, Course: c.CourseID, Person: c.AccountID, Reason: reason,
		After: map[string]any{"revision": c.Revision},
	})
}

func endRevision(ctx context.Context, tx *pg.Tx, c certificate, state, reason string, at time.Time) error {
	_, err := tx.Exec(ctx, `
		UPDATE certificate_revision SET state = $3, ended_at = $4, end_reason = $5 WHERE certificate_id = $1 AND revision = $2`,
		c.ID, c.Revision, state, at, reason)
	if err != nil {
		return fmt.Errorf("end certificate: %w", err)
	}
	return nil
}

func (s *Service) reissue(ctx context.Context, tx *pg.Tx, courseID, certificateID, name, reason string) (certificate, error) {
	if given := name; given != "" {
		if name = pdf.Clean(given); name == "" {
			return certificate{}, fault.InvalidField("person_name", "field.invalid", "A name has letters.")
		}
	}
	c, err := lockCertificate(ctx, tx, courseID, certificateID)
	if err != nil {
		return certificate{}, err
	}
	now := s.now()
	if c.State == stateValid {
		if err := endRevision(ctx, tx, c, stateSuperseded, reason, now); err != nil {
			return certificate{}, err
		}
	}
	var named bool
	err = tx.QueryRow(ctx, `
		WITH counted AS (
			UPDATE certificate SET revision = revision + 1 WHERE id = $1
		)
		INSERT INTO certificate_revision (certificate_id, revision, serial, person_name, course_title, language,
			title, signatory_name, signatory_role, issuer_name, issued_at, issued_by, reason)
		SELECT $1, $2, $3, coalesce(nullif($4, ''), (SELECT name FROM account WHERE account_id = $5), ''),
			coalesce((SELECT title FROM course WHERE course_id = $6), $7), coalesce((SELECT language FROM course WHERE course_id = $6), $8),
			coalesce(g.title, ''), coalesce(g.signatory_name, ''), coalesce(g.signatory_role, ''), $9, $10, $11, $12
		FROM (SELECT) one LEFT JOIN certificate_settings g ON g.course_id = $6
		RETURNING person_name <> ''`,
		c.ID, c.Revision+1, newSerial(), name, c.AccountID, c.CourseID, c.CourseTitle, c.Language, s.issuerName, now, auth.From(ctx).Account, reason).Scan(&named)
	if err != nil {
		return certificate{}, fmt.Errorf("reissue certificate: %w", err)
	}
	if !named {
		return certificate{}, ErrNameUnknown
	}
	err = audit.Record(ctx, tx, audit.Entry{
		Action: "certificate.reissued", Object: c.ID, Course: c.CourseID, Person: c.AccountID, Reason: reason,
		Before: map[string]any{"revision": c.Revision, "state": c.State}, After: map[string]any{"revision": c.Revision + 1},
	})
	if err != nil {
		return certificate{}, err
	}
	return oneCertificate(ctx, tx, current+`WHERE c.id = $1`, c.ID)
}

// share says whether anybody may verify a certificate of the account.
func share(ctx context.Context, tx *pg.Tx, accountID, certificateID string, shared bool) (certificate, error) {
	tag, err := tx.Exec(ctx, `UPDATE certificate SET shared = $3 WHERE id = $1 AND account_id = $2 AND shared <> $3`, certificateID, accountID, shared)
	if err != nil {
		return certificate{}, fmt.Errorf("share certificate: %w", err)
	}
	c, err := certificateOf(ctx, tx, accountID, certificateID)
	if err != nil {
		return certificate{}, err
	}
	if tag.RowsAffected() == 0 {
		tx.Exempt("it was shared like this already")
		return c, nil
	}
	return c, audit.Record(ctx, tx, audit.Entry{
		Action: "certificate.sharing_changed", Object: c.ID, Course: c.CourseID, Person: c.AccountID,
		Before: map[string]any{"shared": !shared}, After: map[string]any{"shared": shared},
	})
}
