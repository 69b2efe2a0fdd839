package identity

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/email"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// account is a person's account without the password.
type account struct {
	ID          string
	Email       string // empty once the key of its person was erased
	EmailSealed []byte
	Name        string
	Bio         string
	Locale      string
	TimeZone    string
	Revision    int64
	CreatedAt   time.Time

	Kind            string
	Links           []string
	EmailVerifiedAt *time.Time
	SuspendedAt     *time.Time
	SuspendedReason string

	AvatarID      string // empty for none
	AvatarVersion int64  // of the event that said so
}

const accountColumns = `id, coalesce(email, '') AS email, email_sealed, name, bio, locale, time_zone, revision, created_at,
	kind, links, email_verified_at, suspended_at, suspended_reason, avatar_id, avatar_version`

func (a account) etag() string { return strconv.FormatInt(a.Revision, 10) }

// normalName returns a name as it is shown: on one line, with single spaces.
func normalName(name string) (string, error) {
	name = norm.NFC.String(strings.Join(strings.Fields(name), " "))
	visible := func(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) }
	if !strings.ContainsFunc(name, visible) {
		return "", fault.InvalidField("name", "profile.name", "A name has at least one letter.")
	}
	return name, nil
}

// normalLocale returns the canonical form of a language tag.
func normalLocale(locale string) (string, error) {
	tag, err := language.Parse(locale)
	if err != nil || tag == language.Und {
		return "", invalidProfile("profile.locale", "locale", `A language is a BCP 47 tag such as "en" or "de-AT".`)
	}
	return tag.String(), nil
}

// checkTimeZone refuses what is no zone for everybody: "Local" is the server's
// own, and the folders hold copies that only some machines have.
func checkTimeZone(zone string) error {
	wrong := zone == "" || zone == "Local" || zone == "localtime" || zone == "posixrules" ||
		strings.HasPrefix(zone, "posix/") || strings.HasPrefix(zone, "right/")
	if !wrong {
		_, err := time.LoadLocation(zone)
		wrong = err != nil
	}
	if wrong {
		return invalidProfile("profile.time_zone", "time_zone", `A time zone is an IANA name such as "Europe/Vienna" or "UTC".`)
	}
	return nil
}

func invalidProfile(code, path, hint string) error {
	return &fault.Error{
		Kind: fault.Invalid, Code: code,
		Message: "The profile has a field that is not accepted.",
		Fields:  []fault.Field{{Path: path, Code: code, Hint: hint}},
	}
}

// newAccount returns the account that a request asks for.
func newAccount(req *identitypb.CreateAccountRequest, now time.Time) (account, error) {
	a := account{
		ID: id.New("account"), Email: email.Normal(req.GetEmail()),
		Locale: req.GetLocale(), TimeZone: req.GetTimeZone(), Revision: 1, CreatedAt: now, Kind: kindPerson,
	}
	var err error
	if a.Name, err = normalName(req.GetName()); err != nil {
		return account{}, err
	}
	if a.Locale == "" {
		a.Locale = "en"
	}
	if a.Locale, err = normalLocale(a.Locale); err != nil {
		return account{}, err
	}
	if a.TimeZone == "" {
		a.TimeZone = "UTC"
	}
	return a, checkTimeZone(a.TimeZone)
}

// insertAccount makes the account and says so, or returns ErrEmailTaken, after
// which the transaction may go on.
func (s *Service) insertAccount(ctx context.Context, tx *pg.Tx, a account, passwordHash string) error {
	key, err := s.vault.KeyIn(ctx, tx, a.ID)
	if err != nil {
		return err
	}
	// One statement, so that a row that is sealed meanwhile is seen either plain
	// or by its index.
	tag, err := tx.Exec(ctx, `
		INSERT INTO account (id, email_sealed, email_index, name, locale, time_zone, password_hash, created_at, updated_at, email_verified_at)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $8, $9 WHERE NOT EXISTS (SELECT FROM account WHERE email = $10)
		ON CONFLICT ON CONSTRAINT account_email_index DO NOTHING`,
		a.ID, key.Seal(emailField, []byte(a.Email)), s.emailIndex(a.Email),
		a.Name, a.Locale, a.TimeZone, passwordHash, a.CreatedAt, a.EmailVerifiedAt, a.Email)
	if err != nil {
		return fmt.Errorf("insert account: %w", err)
	}
	if tag.RowsAffected() == 0 {
		if err := s.vault.Erase(ctx, tx, a.ID); err != nil { // it would be nobody's
			return err
		}
		return ErrEmailTaken
	}
	if err := audit.Record(ctx, tx, audit.Entry{Action: "account.created", Object: a.ID, Person: a.ID}); err != nil {
		return err
	}
	return bus.Publish(ctx, tx, &identitypb.AccountCreated{
		AccountId: a.ID, EmailSealed: email.Seal(s.keys, a.ID, a.Email), Name: a.Name, Locale: a.Locale, TimeZone: a.TimeZone,
		EmailVerified: a.EmailVerifiedAt != nil,
	})
}

// accountByID returns an account; lock is what follows the statement.
func (s *Service) accountByID(ctx context.Context, q pg.Querier, accountID, lock string) (account, error) {
	rows, err := q.Query(ctx, `SELECT `+accountColumns+` FROM account WHERE id = $1 `+lock, accountID)
	if err != nil {
		return account{}, fmt.Errorf("account: %w", err)
	}
	a, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[account])
	if pg.NoRows(err) {
		return account{}, ErrAccountNotFound
	}
	if err != nil {
		return account{}, fmt.Errorf("account: %w", err)
	}
	if a.Email == "" { // a row of before has it plain
		a.Email, err = s.unseal(ctx, q, a.ID, emailField, a.EmailSealed)
	}
	return a, err
}

// lockAccount locks an account for those who need nothing else of it, and
// returns its kind.
func lockAccount(ctx context.Context, tx *pg.Tx, accountID string) (kind string, err error) {
	err = tx.QueryRow(ctx, `SELECT kind FROM account WHERE id = $1 FOR NO KEY UPDATE`, accountID).Scan(&kind)
	if pg.NoRows(err) {
		return "", ErrAccountNotFound
	}
	if err != nil {
		return "", fmt.Errorf("lock account: %w", err)
	}
	return kind, nil
}

// profile is what to change of an account; nil stays.
type profile struct {
	name, bio, locale, timeZone *string
	links                       []string // with changeLinks
	changeLinks                 bool
}

// newProfile returns the change that a request asks for.
func newProfile(req *identitypb.UpdateMeRequest) (profile, error) {
	p := profile{bio: req.Bio, timeZone: req.TimeZone, changeLinks: req.Links != nil}
	for i, link := range req.GetLinks().GetItems() {
		u, err := url.Parse(link)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.ContainsFunc(link, unicode.IsSpace) {
			return profile{}, invalidProfile("profile.link", fmt.Sprintf("links.items[%d]", i), `A link is the address of a page such as "https://example.org/ada".`)
		}
		p.links = append(p.links, u.String())
	}
	if req.Name != nil {
		name, err := normalName(req.GetName())
		if err != nil {
			return profile{}, err
		}
		p.name = &name
	}
	if req.Locale != nil {
		locale, err := normalLocale(req.GetLocale())
		if err != nil {
			return profile{}, err
		}
		p.locale = &locale
	}
	if req.TimeZone != nil {
		if err := checkTimeZone(req.GetTimeZone()); err != nil {
			return profile{}, err
		}
	}
	return p, nil
}

// apply returns the account with the change.
func (p profile) apply(a account) account {
	for _, f := range []struct {
		to   *string
		from *string
	}{{&a.Name, p.name}, {&a.Bio, p.bio}, {&a.Locale, p.locale}, {&a.TimeZone, p.timeZone}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if p.changeLinks {
		a.Links = p.links
	}
	return a
}

// fields are the names of what is to be changed.
func (p profile) fields() []string {
	var names []string
	for name, v := range map[string]*string{"name": p.name, "bio": p.bio, "locale": p.locale, "time_zone": p.timeZone} {
		if v != nil {
			names = append(names, name)
		}
	}
	if p.changeLinks {
		names = append(names, "links")
	}
	slices.Sort(names)
	return names
}

// updateAccount changes the profile and says so. A change to what is there
// already is none.
func (s *Service) updateAccount(ctx context.Context, tx *pg.Tx, accountID string, p profile) (account, error) {
	was, err := s.accountByID(ctx, tx, accountID, `FOR NO KEY UPDATE`)
	if err != nil {
		return account{}, err
	}
	if err := rpc.Match(ctx, was.etag()); err != nil {
		return account{}, err
	}
	a := p.apply(was)
	if a.Name == was.Name && a.Bio == was.Bio && a.Locale == was.Locale && a.TimeZone == was.TimeZone && slices.Equal(a.Links, was.Links) {
		return a, nil
	}
	a.Revision++
	_, err = tx.Exec(ctx, `
		UPDATE account SET name = $2, bio = $3, locale = $4, time_zone = $5, revision = $6, updated_at = $7,
			links = coalesce($8::text[], '{}') WHERE id = $1`,
		a.ID, a.Name, a.Bio, a.Locale, a.TimeZone, a.Revision, s.now(), a.Links)
	if err != nil {
		return account{}, fmt.Errorf("update account: %w", err)
	}
	err = audit.Record(ctx, tx, audit.Entry{
		Action: "account.updated", Object: a.ID, Person: a.ID,
		Before: map[string]any{"version": was.Revision}, After: map[string]any{"version": a.Revision, "fields": p.fields()},
	})
	if err != nil {
		return account{}, err
	}
	if a.Kind != kindPerson { // others keep people only
		return a, nil
	}
	return a, bus.Publish(ctx, tx, s.updated(a))
}

// updated tells what an account has become.
func (s *Service) updated(a account) *identitypb.AccountUpdated {
	return &identitypb.AccountUpdated{
		AccountId: a.ID, EmailSealed: email.Seal(s.keys, a.ID, a.Email), Name: a.Name, Locale: a.Locale, TimeZone: a.TimeZone,
		Version: a.Revision, EmailVerified: a.EmailVerifiedAt != nil, AvatarId: a.AvatarID,
	}
}
