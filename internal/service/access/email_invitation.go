package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/email"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// The states of an invitation by e-mail.
const (
	inviteOpen     = "open"
	inviteAccepted = "accepted"
	inviteDeclined = "declined"
	inviteRevoked  = "revoked"
	inviteExpired  = "expired"
)

// What bounds invitations by e-mail.
const (
	maxEmailInvitations = 100_000 // that are open, of a course
	maxInvitesOfOne     = 1000    // that one person makes within quotaTime
	maxMailsToOne       = 5       // that one address is sent within quotaTime
	quotaTime           = 24 * time.Hour

	maxMails  = 3 // of one invitation
	mailEvery = time.Hour

	inviteFor     = 30 * 24 * time.Hour // unless another end is asked for
	inviteForMost = 366 * 24 * time.Hour
	keepInvites   = 90 * 24 * time.Hour // after their end
)

// The fields of an invitation that are sealed.
const (
	addressField = "address"
	messageField = "message"
)

// emailInvite is whom to invite.
type emailInvite struct {
	address     string     // as [email.Normal] returns it, and valid
	from, until *time.Time // when access begins and ends; nil for when it is accepted, and for no end
}

// expires is until when the invitation can be accepted: not longer than there
// would be access by it.
func (e emailInvite) expires(terms inviteTerms) time.Time {
	if e.until != nil && e.until.Before(terms.expiresAt) {
		return *e.until
	}
	return terms.expiresAt
}

// inviteTerms are what holds for all who are invited together.
type inviteTerms struct {
	accessDays int32
	expiresAt  time.Time
	message    string
	locale     string
	mail       bool   // false: no mail is sent
	counted    bool   // the open ones of the course were counted lately, and are not now
	by         string // who invites: an account, or the name of a service
	seat       string // that is offered to the one who is invited; "" for none
}

// emailInvitation is an invitation of an address to a course.
type emailInvitation struct {
	ID         string
	CourseID   string
	EmailIndex []byte
	Address    []byte // sealed
	Message    []byte // sealed
	AccessDays int32
	AccessFrom *time.Time
	AccessEnds *time.Time
	Locale     string
	InvitedBy  string
	CreatedAt  time.Time
	ExpiresAt  time.Time
	Mails      int32
	MailedAt   *time.Time
	State      string
	EndedAt    *time.Time
	AcceptedBy *string
	SeatID     string

	to, text, inviter string // address, message and name in plain, where they were asked for
}

const emailInvitationColumns = `id, course_id, email_index, address, message, access_days, access_from, access_ends, locale, invited_by, created_at, expires_at,
	mails, mailed_at, state, ended_at, accepted_by, seat_id`

// emailInvitations returns the rows of a statement that returns emailInvitationColumns.
func emailInvitations(ctx context.Context, q pg.Querier, sql string, args ...any) ([]emailInvitation, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("invitations by e-mail: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[emailInvitation])
	if err != nil {
		return nil, fmt.Errorf("invitations by e-mail: %w", err)
	}
	return list, nil
}

// state is the invitation's state at a time: one past its end is expired before
// anybody has noted it.
func (i emailInvitation) state(now time.Time) string {
	if i.State == inviteOpen && !i.ExpiresAt.After(now) {
		return inviteExpired
	}
	return i.State
}

// ended is when the invitation ended, nil while it is open.
func (i emailInvitation) ended(now time.Time) *time.Time {
	if i.EndedAt == nil && i.state(now) == inviteExpired {
		return &i.ExpiresAt
	}
	return i.EndedAt
}

func (i emailInvitation) message(now time.Time) *accesspb.EmailInvitation {
	out := &accesspb.EmailInvitation{
		Id: i.ID, CourseId: i.CourseID, Address: i.to, State: i.state(now), AccessDays: i.AccessDays,
		AccessFrom: timestampOf(i.AccessFrom), AccessEnds: timestampOf(i.AccessEnds), Message: i.text, Locale: i.Locale,
		ExpiresAt: timestamppb.New(i.ExpiresAt), InviterName: i.inviter, CreatedAt: timestamppb.New(i.CreatedAt),
		Mails: i.Mails, MailedAt: timestampOf(i.MailedAt), EndedAt: timestampOf(i.ended(now)),
	}
	if id.Valid("account", i.InvitedBy) {
		out.InvitedBy = i.InvitedBy
	}
	if i.AcceptedBy != nil {
		out.AcceptedBy = *i.AcceptedBy
	}
	return out
}

// entry is the invitation as the audit log has it.
func (i emailInvitation) entry() map[string]any {
	return map[string]any{"state": i.State, "access_days": i.AccessDays, "access_from": i.AccessFrom, "access_ends": i.AccessEnds, "expires_at": i.ExpiresAt, "mails": i.Mails}
}

// openInvitations are the ids and ends of the open invitations to the course $1 of
// the addresses with the indexes $2, for the seat $3. They are found one by one by
// the index of the table, whatever the planner knew of it when it made the plan.
const openInvitations = `(
	SELECT i.id, i.expires_at FROM unnest($2::bytea[]) AS a (email_index) CROSS JOIN LATERAL (
		SELECT id, expires_at FROM email_invitation
		WHERE course_id = $1 AND email_index = a.email_index AND seat_id = $3 AND state = '` + inviteOpen + `' OFFSET 0) AS i) AS open`

// invite invites addresses to a course, and returns their invitations in the
// order of the list, with their addresses. An address that has an open
// invitation to the course keeps it, gets the end and the access, and no mail; one that
// offers a seat is apart from it. The statements are the same for one address and
// for hundreds.
func (s *Service) invite(ctx context.Context, tx *pg.Tx, courseID string, list []emailInvite, terms inviteTerms) ([]emailInvitation, error) {
	if len(list) == 0 {
		return nil, nil
	}
	// Those who invite to one course take turns, so that each sees and counts the others'.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('stoa.email_invitation'), hashtext($1))`, courseID); err != nil {
		return nil, fmt.Errorf("take turns: %w", err)
	}
	var published bool
	if err := tx.QueryRow(ctx, `SELECT published FROM course WHERE course_id = $1`, courseID).Scan(&published); err != nil && !pg.NoRows(err) {
		return nil, fmt.Errorf("course: %w", err)
	}
	if !published {
		return nil, ErrInviteUnpublished
	}
	now := s.now()
	indexes := make([][]byte, len(list))
	for i, one := range list {
		indexes[i] = email.Index(s.vault.Keys(), Schema.Name, one.address)
	}
	// One that is past its end makes room for the new one.
	if _, err := tx.Exec(ctx, `
		UPDATE email_invitation SET state = '`+inviteExpired+`', ended_at = expires_at
		WHERE id IN (SELECT id FROM `+openInvitations+` WHERE expires_at <= $4)`, courseID, indexes, terms.seat, now); err != nil {
		return nil, fmt.Errorf("expire invitations: %w", err)
	}
	byIndex, err := s.moveEnds(ctx, tx, courseID, list, indexes, terms)
	if err != nil {
		return nil, err
	}
	var fresh []emailInvitation
	for i, invited := range list {
		index := indexes[i]
		if _, ok := byIndex[string(index)]; ok {
			continue
		}
		one := emailInvitation{
			ID: id.New("invitation"), CourseID: courseID, EmailIndex: index, AccessDays: terms.accessDays, Locale: terms.locale, InvitedBy: terms.by,
			AccessFrom: invited.from, AccessEnds: invited.until, CreatedAt: now, ExpiresAt: invited.expires(terms), State: inviteOpen,
			SeatID: terms.seat, to: invited.address, text: terms.message,
		}
		if terms.mail {
			one.Mails, one.MailedAt = 1, &now
		}
		byIndex[string(index)] = one
		fresh = append(fresh, one)
	}
	if err := s.insertInvitations(ctx, tx, fresh, terms.mail); err != nil {
		return nil, err
	}
	if err := s.checkQuotas(ctx, tx, courseID, terms, len(fresh)); err != nil {
		return nil, err
	}
	out := make([]emailInvitation, len(list))
	for i, one := range list {
		out[i] = byIndex[string(indexes[i])]
		out[i].to = one.address
	}
	return out, nil
}

// moveEnds gives the open invitations of the addresses other times, and returns
// all that are open, by index.
func (s *Service) moveEnds(ctx context.Context, tx *pg.Tx, courseID string, list []emailInvite, indexes [][]byte, terms inviteTerms) (map[string]emailInvitation, error) {
	open, err := emailInvitations(ctx, tx, `
		SELECT `+emailInvitationColumns+` FROM email_invitation WHERE id IN (SELECT id FROM `+openInvitations+`) ORDER BY id FOR UPDATE`,
		courseID, indexes, terms.seat)
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]emailInvite, len(list))
	for i, one := range list {
		if _, twice := wanted[string(indexes[i])]; !twice {
			wanted[string(indexes[i])] = one
		}
	}
	byIndex := make(map[string]emailInvitation, len(indexes))
	var (
		moved       []string
		ends        []time.Time
		from, until []*time.Time
		entries     []audit.Entry
	)
	for _, one := range open {
		before, want := one.entry(), wanted[string(one.EmailIndex)]
		if expires := want.expires(terms); !one.ExpiresAt.Equal(expires) || one.AccessDays != terms.accessDays || !sameTime(one.AccessFrom, want.from) || !sameTime(one.AccessEnds, want.until) {
			one.ExpiresAt, one.AccessDays, one.AccessFrom, one.AccessEnds = expires, terms.accessDays, want.from, want.until
			moved, ends, from, until = append(moved, one.ID), append(ends, expires), append(from, want.from), append(until, want.until)
			entries = append(entries, audit.Entry{Action: "email_invitation.moved", Object: one.ID, Course: courseID, Before: before, After: one.entry()})
		}
		byIndex[string(one.EmailIndex)] = one
	}
	if len(moved) == 0 {
		return byIndex, nil
	}
	if _, err := tx.Exec(ctx, `
		UPDATE email_invitation i SET expires_at = n.expires_at, access_days = $5, access_from = n.access_from, access_ends = n.access_ends
		FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[]) AS n (id, expires_at, access_from, access_ends)
		WHERE i.id = n.id`, moved, ends, from, until, terms.accessDays); err != nil {
		return nil, fmt.Errorf("move invitations: %w", err)
	}
	return byIndex, audit.Record(ctx, tx, entries...)
}

// sameTime reports whether two times that may be absent are one.
func sameTime(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(*b)
}

// insertInvitations writes invitations that are new, each with its mail.
func (s *Service) insertInvitations(ctx context.Context, tx *pg.Tx, list []emailInvitation, mail bool) error {
	if len(list) == 0 {
		return nil
	}
	var ids []string
	for _, one := range list {
		ids = append(ids, one.ID)
	}
	keys, err := s.vault.KeysIn(ctx, tx, ids...)
	if err != nil {
		return err
	}
	var (
		indexes, addresses, messages [][]byte
		ends                         []time.Time
		from, until                  []*time.Time
		entries                      []audit.Entry
	)
	for _, one := range list {
		key := keys[one.ID]
		indexes, addresses = append(indexes, one.EmailIndex), append(addresses, key.Seal(addressField, []byte(one.to)))
		var message []byte
		if one.text != "" {
			message = key.Seal(messageField, []byte(one.text))
		}
		messages = append(messages, message)
		ends, from, until = append(ends, one.ExpiresAt), append(from, one.AccessFrom), append(until, one.AccessEnds)
		entries = append(entries, audit.Entry{Action: "email_invitation.created", Object: one.ID, Course: one.CourseID, After: one.entry()})
	}
	first := list[0] // all are alike in what follows
	if _, err := tx.Exec(ctx, `
		INSERT INTO email_invitation (id, email_index, address, message, expires_at, access_from, access_ends,
			course_id, access_days, locale, invited_by, created_at, mails, mailed_at, seat_id)
		SELECT n.*, $8, $9, $10, $11, $12, $13, $14, $15
		FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::bytea[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[]) AS n`,
		ids, indexes, addresses, messages, ends, from, until,
		first.CourseID, first.AccessDays, first.Locale, first.InvitedBy, first.CreatedAt, first.Mails, first.MailedAt, first.SeatID); err != nil {
		return fmt.Errorf("insert invitations: %w", err)
	}
	if err := audit.Record(ctx, tx, entries...); err != nil || !mail {
		return err
	}
	return s.sendInvitations(ctx, tx, list)
}

// verifiedAccounts returns who has which of the addresses, by the text of its
// index, where the address was shown to be theirs. One that two have, while it
// goes from one account to another, is nobody's.
func (s *Service) verifiedAccounts(ctx context.Context, q pg.Querier, indexes [][]byte) (map[string]string, error) {
	rows, err := q.Query(ctx, `
		SELECT email_index, min(account_id) FROM person WHERE email_index = ANY($1) AND email_verified
		GROUP BY email_index HAVING count(*) = 1`, indexes)
	if err != nil {
		return nil, fmt.Errorf("accounts of addresses: %w", err)
	}
	out := map[string]string{}
	var index []byte
	var account string
	if _, err := pgx.ForEachRow(rows, []any{&index, &account}, func() error { out[string(index)] = account; return nil }); err != nil {
		return nil, fmt.Errorf("accounts of addresses: %w", err)
	}
	return out, nil
}

// resend sends the mail of an invitation again, with a new code.
func (s *Service) resend(ctx context.Context, tx *pg.Tx, courseID, invitationID string) (emailInvitation, error) {
	i, err := s.lockInvitation(ctx, tx, `id = $1 AND course_id = $2`, invitationID, courseID)
	if err != nil {
		return emailInvitation{}, err
	}
	now := s.now()
	if i.state(now) != inviteOpen {
		return emailInvitation{}, ErrEmailInvitationEnded
	}
	var wait time.Duration
	switch {
	case i.Mails >= maxMails:
		wait = i.ExpiresAt.Sub(now)
	case i.MailedAt != nil:
		wait = i.MailedAt.Add(mailEvery).Sub(now)
	}
	if wait > 0 {
		return emailInvitation{}, &fault.Error{
			Kind: fault.Exhausted, Code: "invitation.mail_rate", Retry: wait,
			Message: fmt.Sprintf("An invitation is mailed once an hour, and %d times at most. Come back when Retry-After says.", maxMails),
		}
	}
	key, err := s.vault.KeyIn(ctx, tx, i.ID)
	if err != nil {
		return emailInvitation{}, err
	}
	if err := i.unseal(key); err != nil {
		return emailInvitation{}, err
	}
	before := i.entry()
	i.Mails, i.MailedAt = i.Mails+1, &now
	if _, err := tx.Exec(ctx, `UPDATE email_invitation SET mails = $2, mailed_at = $3 WHERE id = $1`, i.ID, i.Mails, now); err != nil {
		return emailInvitation{}, fmt.Errorf("mail invitation: %w", err)
	}
	if err := audit.Record(ctx, tx, audit.Entry{Action: "email_invitation.mailed", Object: i.ID, Course: courseID, Before: before, After: i.entry()}); err != nil {
		return emailInvitation{}, err
	}
	return i, s.sendInvitations(ctx, tx, []emailInvitation{i})
}

// lockInvitation returns the one invitation of a condition and keeps others from
// changing it until tx ends. When it offers a seat, its block is locked before,
// as everybody does who changes both.
func (s *Service) lockInvitation(ctx context.Context, tx *pg.Tx, where string, args ...any) (emailInvitation, error) {
	if _, err := seatBlocks(ctx, tx, `id IN (
		SELECT block_id FROM seat WHERE id IN (SELECT seat_id FROM email_invitation WHERE `+where+` AND seat_id <> '')) FOR UPDATE`, args...); err != nil {
		return emailInvitation{}, err
	}
	list, err := emailInvitations(ctx, tx, `SELECT `+emailInvitationColumns+` FROM email_invitation WHERE `+where+` FOR UPDATE`, args...)
	if err != nil {
		return emailInvitation{}, err
	}
	if len(list) == 0 {
		return emailInvitation{}, ErrEmailInvitationNotFound
	}
	return list[0], nil
}

// end gives an open invitation, which is locked, the state that ends it, and
// fills in the entry that tells it. A seat that it offered is free again, unless
// it was accepted.
func (s *Service) end(ctx context.Context, tx *pg.Tx, i emailInvitation, state string, entry audit.Entry) error {
	now := s.now()
	entry.Object, entry.Course, entry.Before = i.ID, i.CourseID, i.entry()
	i.State, i.EndedAt = state, &now
	entry.After = i.entry()
	if state == inviteAccepted {
		i.AcceptedBy = &entry.Person
	}
	if _, err := tx.Exec(ctx, `UPDATE email_invitation SET state = $2, ended_at = $3, accepted_by = $4 WHERE id = $1`, i.ID, i.State, now, i.AcceptedBy); err != nil {
		return fmt.Errorf("end invitation: %w", err)
	}
	if err := audit.Record(ctx, tx, entry); err != nil || i.SeatID == "" || state == inviteAccepted {
		return err
	}
	_, err := s.freeSeats(ctx, tx, i.CourseID, []string{i.SeatID})
	return err
}

// acceptInvitation gives the account access by an invitation, which is locked.
func (s *Service) acceptInvitation(ctx context.Context, tx *pg.Tx, account string, i emailInvitation) (entitlement, error) {
	if i.AcceptedBy != nil && *i.AcceptedBy == account {
		return invitedAccess(ctx, tx, i, account)
	}
	now := s.now()
	if i.state(now) != inviteOpen {
		return entitlement{}, errInvitation
	}
	if err := s.refuseStaff(ctx, tx, i.CourseID, account); err != nil {
		return entitlement{}, err
	}
	if err := s.end(ctx, tx, i, inviteAccepted, audit.Entry{Action: "email_invitation.accepted", Person: account}); err != nil {
		return entitlement{}, err
	}
	if i.SeatID != "" {
		return s.fillSeat(ctx, tx, i.SeatID, account)
	}
	e := entitlement{AccountID: account, CourseID: i.CourseID, Source: sourceCode, SourceID: i.ID, StartsAt: now, EndsAt: i.AccessEnds}
	if i.AccessFrom != nil && i.AccessFrom.After(now) {
		e.StartsAt = *i.AccessFrom
	}
	if i.AccessDays > 0 {
		ends := e.StartsAt.Add(time.Duration(i.AccessDays) * 24 * time.Hour)
		e.EndsAt = &ends
	}
	granted, err := s.grant(ctx, tx, []entitlement{e})
	if err != nil {
		return entitlement{}, err
	}
	return granted[0], nil
}

// invitedAccess returns what an invitation has given to who accepted it.
func invitedAccess(ctx context.Context, tx *pg.Tx, i emailInvitation, account string) (entitlement, error) {
	source, sourceID := sourceCode, i.ID
	if i.SeatID != "" {
		source, sourceID = sourceSeat, i.SeatID
	}
	rows, err := tx.Query(ctx, `SELECT `+entitlementColumns+` FROM entitlement WHERE source = $1 AND source_id = $2 AND account_id = $3`,
		source, sourceID, account)
	if err != nil {
		return entitlement{}, fmt.Errorf("entitlement of an invitation: %w", err)
	}
	e, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[entitlement])
	if err != nil {
		return entitlement{}, fmt.Errorf("entitlement of an invitation: %w", err)
	}
	return e, nil
}

// unseal fills in what is sealed; what was erased stays empty.
func (i *emailInvitation) unseal(key *secret.PersonKey) error {
	if key == nil {
		return nil
	}
	for _, one := range []struct {
		field  string
		sealed []byte
		to     *string
	}{{addressField, i.Address, &i.to}, {messageField, i.Message, &i.text}} {
		if one.sealed == nil {
			continue
		}
		plain, err := key.Unseal(one.field, one.sealed)
		if err != nil && !errors.Is(err, secret.ErrUnreadable) {
			return err
		}
		*one.to = string(plain)
	}
	return nil
}
