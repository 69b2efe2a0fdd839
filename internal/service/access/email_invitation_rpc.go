package access

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"golang.org/x/text/language"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/email"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// CreateEmailInvitations implements accesspb.EmailInvitationServiceServer.
func (s *Service) CreateEmailInvitations(ctx context.Context, req *accesspb.CreateEmailInvitationsRequest) (*accesspb.CreateEmailInvitationsResponse, error) {
	list, err := toInvites(req.GetAddresses())
	if err != nil {
		return nil, err
	}
	locale, err := inviteLocale(req.GetLocale())
	if err != nil {
		return nil, err
	}
	terms := inviteTerms{accessDays: req.GetAccessDays(), message: strings.TrimSpace(req.GetMessage()), locale: locale, mail: true, by: actor(ctx)}
	if terms.expiresAt, err = s.inviteEnd(moment(req.GetExpiresAt())); err != nil {
		return nil, err
	}
	if err := s.setAccess(list, req); err != nil {
		return nil, err
	}
	// What is kept of a request is a hash that anybody can make of an address; of
	// these nobody can without the keyset.
	known := proto.CloneOf(req)
	for i, one := range list {
		known.Addresses[i] = hex.EncodeToString(email.Index(s.vault.Keys(), Schema.Name, one.address))
	}
	known.Addresses = known.Addresses[:len(list)]
	out, err := idempotency.Do(ctx, s.db, known, func(tx *pg.Tx) (*accesspb.CreateEmailInvitationsResponse, error) {
		made, err := s.invite(ctx, tx, req.GetCourseId(), list, terms)
		out := &accesspb.CreateEmailInvitationsResponse{}
		for _, one := range made {
			one.to, one.text = "", "" // what is kept of the answer has nothing personal
			out.Items = append(out.Items, one.message(s.now()))
		}
		return out, err
	})
	if err != nil {
		return nil, err
	}
	return out, s.fillIn(ctx, out.GetItems()...)
}

// setAccess sets when all who are invited have access.
func (s *Service) setAccess(list []emailInvite, req *accesspb.CreateEmailInvitationsRequest) error {
	from, until := moment(req.GetAccessFrom()), moment(req.GetAccessEnds())
	switch {
	case until != nil && req.GetAccessDays() > 0:
		return invalid("invitation.access", "access_ends", "Say for how many days, or until when, not both.")
	case until != nil && (!until.After(s.now()) || from != nil && !until.After(*from)):
		return invalid("entitlement.period", "access_ends", "Access ends after it begins, at a time that is to come.")
	}
	for i := range list {
		list[i].from, list[i].until = from, until
	}
	return nil
}

// toInvites returns addresses in their normal form, each once, or what is wrong
// with which.
func toInvites(addresses []string) ([]emailInvite, error) {
	var (
		list   []emailInvite
		faults []fault.Field
	)
	seen := map[string]bool{}
	for i, one := range addresses {
		address := email.Normal(one)
		switch {
		case !email.Valid(address):
			faults = append(faults, fault.Field{Path: fmt.Sprintf("addresses[%d]", i), Code: "email.invalid", Hint: "An address looks like name@example.org."})
		case !seen[address]:
			seen[address] = true
			list = append(list, emailInvite{address: address})
		}
	}
	if len(faults) > 0 {
		return nil, &fault.Error{Kind: fault.Invalid, Code: "email.invalid", Message: "Some addresses can't be ones. Nobody was invited.", Fields: faults}
	}
	return list, nil
}

// inviteLocale returns the language of mails, English when none is named.
func inviteLocale(locale string) (string, error) {
	if locale == "" {
		return "en", nil
	}
	tag, err := language.Parse(locale)
	if err != nil {
		return "", invalid("invitation.locale", "locale", `A language is a BCP 47 tag such as "en" or "de-AT".`)
	}
	return tag.String(), nil
}

// inviteEnd returns when invitations end for which an end was asked, or none.
func (s *Service) inviteEnd(asked *time.Time) (time.Time, error) {
	now := s.now()
	if asked == nil {
		return now.Add(inviteFor), nil
	}
	if !asked.After(now) || asked.After(now.Add(inviteForMost)) {
		return time.Time{}, invalid("invitation.expires_at", "expires_at", "Name a time that is to come, at most a year ahead.")
	}
	return *asked, nil
}

// fillIn puts what is sealed, and who invited, into answers that are kept without.
func (s *Service) fillIn(ctx context.Context, items ...*accesspb.EmailInvitation) error {
	ids := make([]string, len(items))
	for n, one := range items {
		ids[n] = one.GetId()
	}
	list, err := emailInvitations(ctx, s.db, `SELECT `+emailInvitationColumns+` FROM email_invitation WHERE id = ANY($1)`, ids)
	if err != nil {
		return err
	}
	if err := s.reveal(ctx, list); err != nil {
		return err
	}
	found := make(map[string]emailInvitation, len(list))
	for _, one := range list {
		found[one.ID] = one
	}
	for _, one := range items {
		i := found[one.GetId()]
		one.Address, one.Message, one.InviterName = i.to, i.text, i.inviter
	}
	return nil
}

// reveal fills in what is sealed of invitations, and the names of who invited.
func (s *Service) reveal(ctx context.Context, list []emailInvitation) error {
	ids, inviters := make([]string, len(list)), make([]string, len(list))
	for n, one := range list {
		ids[n], inviters[n] = one.ID, one.InvitedBy
	}
	keys, err := s.vault.KeysOf(ctx, ids...)
	if err != nil {
		return err
	}
	names, err := namesOf(ctx, s.db, inviters)
	if err != nil {
		return err
	}
	for n := range list {
		list[n].inviter = names[list[n].InvitedBy]
		if err := list[n].unseal(keys[list[n].ID]); err != nil {
			return err
		}
	}
	return nil
}

// listInvitations returns a page of the invitations of a condition, newest
// first, and the cursor of the next. $1 and $2 are where the page begins, $3 how
// many there are.
func (s *Service) listInvitations(ctx context.Context, size int32, cursor, where string, args ...any) ([]*accesspb.EmailInvitation, string, error) {
	before, beforeID, err := after(cursor, "invitation")
	if err != nil {
		return nil, "", err
	}
	limit := page.Size(size)
	list, err := emailInvitations(ctx, s.db, `
		SELECT `+emailInvitationColumns+` FROM email_invitation WHERE (created_at, id) < ($1, $2) AND `+where+`
		ORDER BY created_at DESC, id DESC LIMIT $3`, append([]any{before, beforeID, limit + 1}, args...)...)
	if err != nil {
		return nil, "", err
	}
	var next string
	if len(list) > limit {
		list = list[:limit]
		next = page.TimeCursor(list[limit-1].CreatedAt, list[limit-1].ID)
	}
	if err := s.reveal(ctx, list); err != nil {
		return nil, "", err
	}
	var out []*accesspb.EmailInvitation
	for _, one := range list {
		out = append(out, one.message(s.now()))
	}
	return out, next, nil
}

// ListEmailInvitations implements accesspb.EmailInvitationServiceServer.
func (s *Service) ListEmailInvitations(ctx context.Context, req *accesspb.ListEmailInvitationsRequest) (*accesspb.ListEmailInvitationsResponse, error) {
	where, args := `course_id = $4`, []any{req.GetCourseId()}
	switch state := req.GetState(); state {
	case "":
	case inviteOpen:
		where += ` AND state = '` + inviteOpen + `' AND expires_at > $5`
		args = append(args, s.now())
	case inviteExpired:
		where += ` AND (state = '` + inviteExpired + `' OR state = '` + inviteOpen + `' AND expires_at <= $5)`
		args = append(args, s.now())
	default:
		where += ` AND state = $5`
		args = append(args, state)
	}
	items, next, err := s.listInvitations(ctx, req.GetPageSize(), req.GetCursor(), where, args...)
	return &accesspb.ListEmailInvitationsResponse{Items: items, NextCursor: next}, err
}

// ResendEmailInvitation implements accesspb.EmailInvitationServiceServer.
func (s *Service) ResendEmailInvitation(ctx context.Context, req *accesspb.ResendEmailInvitationRequest) (*accesspb.EmailInvitation, error) {
	out, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.EmailInvitation, error) {
		i, err := s.resend(ctx, tx, req.GetCourseId(), req.GetInvitationId())
		i.to, i.text = "", "" // what is kept of the answer has nothing personal
		return i.message(s.now()), err
	})
	if err != nil {
		return nil, err
	}
	return out, s.fillIn(ctx, out)
}

// RevokeEmailInvitation implements accesspb.EmailInvitationServiceServer.
func (s *Service) RevokeEmailInvitation(ctx context.Context, req *accesspb.RevokeEmailInvitationRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		i, err := s.lockInvitation(ctx, tx, `id = $1 AND course_id = $2`, req.GetInvitationId(), req.GetCourseId())
		if err != nil || i.state(s.now()) != inviteOpen {
			return &emptypb.Empty{}, err
		}
		return &emptypb.Empty{}, s.end(ctx, tx, i, inviteRevoked, audit.Entry{Action: "email_invitation.revoked"})
	})
}

// mine is the condition on invitations to the verified address of the account
// whose id is the argument with the given number.
func mine(n int) string {
	return fmt.Sprintf(`email_index = (SELECT p.email_index FROM person p WHERE p.account_id = $%d AND p.email_verified)`, n)
}

// ListMyEmailInvitations implements accesspb.EmailInvitationServiceServer.
func (s *Service) ListMyEmailInvitations(ctx context.Context, req *accesspb.ListMyEmailInvitationsRequest) (*accesspb.ListMyEmailInvitationsResponse, error) {
	items, next, err := s.listInvitations(ctx, req.GetPageSize(), req.GetCursor(),
		mine(4)+` AND state = '`+inviteOpen+`' AND expires_at > $5`, auth.From(ctx).Account, s.now())
	return &accesspb.ListMyEmailInvitationsResponse{Items: items, NextCursor: next}, err
}

// AcceptEmailInvitation implements accesspb.EmailInvitationServiceServer.
func (s *Service) AcceptEmailInvitation(ctx context.Context, req *accesspb.AcceptEmailInvitationRequest) (*accesspb.Entitlement, error) {
	account := auth.From(ctx).Account
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Entitlement, error) {
		i, err := s.lockInvitation(ctx, tx, `id = $1 AND `+mine(2), req.GetInvitationId(), account)
		if err != nil {
			return nil, err
		}
		e, err := s.acceptInvitation(ctx, tx, account, i)
		if err != nil {
			return nil, err
		}
		e.Reason, e.GrantedBy = "", ""
		return e.message(s.now()), nil
	})
}

// DeclineEmailInvitation implements accesspb.EmailInvitationServiceServer.
func (s *Service) DeclineEmailInvitation(ctx context.Context, req *accesspb.DeclineEmailInvitationRequest) (*emptypb.Empty, error) {
	account := auth.From(ctx).Account
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		i, err := s.lockInvitation(ctx, tx, `id = $1 AND `+mine(2), req.GetInvitationId(), account)
		switch {
		case err != nil:
			return nil, err
		case i.State == inviteDeclined:
			return &emptypb.Empty{}, nil
		case i.state(s.now()) != inviteOpen:
			return nil, errInvitation
		}
		return &emptypb.Empty{}, s.end(ctx, tx, i, inviteDeclined, audit.Entry{Action: "email_invitation.declined", Person: account})
	})
}
