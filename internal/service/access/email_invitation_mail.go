package access

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// sendInvitations gives each invitation a new code and asks for its mail. An
// address that has had its mails of the day gets none, which nobody is told. The
// invitations have their addresses and messages in plain, and one inviter.
func (s *Service) sendInvitations(ctx context.Context, tx *pg.Tx, list []emailInvitation) error {
	mailed, err := s.countMails(ctx, tx, list)
	if err != nil {
		return err
	}
	names, err := namesOf(ctx, tx, []string{list[0].InvitedBy})
	if err != nil {
		return err
	}
	ids, hashes := make([]string, len(list)), make([][]byte, len(list))
	var events []proto.Message
	for i, one := range list {
		code := newCode()
		ids[i], hashes[i] = one.ID, codeHash(code)
		if !mailed[string(one.EmailIndex)] {
			continue
		}
		mailID := id.New("mail")
		plain, err := proto.Marshal(&accesspb.InvitationMail{
			To: one.to, Inviter: names[one.InvitedBy], Message: one.text, Code: code, ExpiresAt: timestamppb.New(one.ExpiresAt),
		})
		if err != nil {
			return fmt.Errorf("invitation mail: %w", err)
		}
		events = append(events, &accesspb.InvitationMailRequested{
			MailId: mailID, InvitationId: one.ID, CourseId: one.CourseID, Locale: one.Locale,
			Sealed: s.vault.Keys().Seal("invitation mail\n"+mailID, plain),
		})
	}
	if _, err := tx.Exec(ctx, `
		UPDATE email_invitation i SET code_hash = n.code_hash FROM unnest($1::text[], $2::bytea[]) AS n (id, code_hash) WHERE i.id = n.id`, ids, hashes); err != nil {
		return fmt.Errorf("codes of invitations: %w", err)
	}
	return bus.Publish(ctx, tx, events...)
}

// countMails counts a mail to the address of each invitation, and returns by
// index to which of them one may go.
func (s *Service) countMails(ctx context.Context, tx *pg.Tx, list []emailInvitation) (map[string]bool, error) {
	indexes := make([][]byte, len(list))
	for i, one := range list {
		indexes[i] = one.EmailIndex
	}
	// In one order, so that two who mail the same addresses wait for one another
	// and not in a circle.
	slices.SortFunc(indexes, bytes.Compare)
	now := s.now()
	rows, err := tx.Query(ctx, `
		INSERT INTO invitation_address AS a (email_index, mailed_at, until)
		SELECT n.email_index, ARRAY[$2::timestamptz], $2::timestamptz + $3::interval
		FROM unnest($1::bytea[]) WITH ORDINALITY AS n (email_index, place) ORDER BY n.place
		ON CONFLICT (email_index) DO UPDATE SET
			mailed_at = array_append(ARRAY(SELECT m FROM unnest(a.mailed_at) AS m WHERE m > $2::timestamptz - $3::interval), $2::timestamptz),
			until = EXCLUDED.until
		WHERE (SELECT count(*) FROM unnest(a.mailed_at) AS m WHERE m > $2::timestamptz - $3::interval) < $4
		RETURNING email_index`, indexes, now, quotaTime, maxMailsToOne)
	if err != nil {
		return nil, fmt.Errorf("count mails: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return nil, fmt.Errorf("count mails: %w", err)
	}
	out := make(map[string]bool, len(found))
	for _, index := range found {
		out[string(index)] = true
	}
	return out, nil
}

// checkQuotas refuses invitations, of which n have been inserted, that are too
// many for the course or for who invites.
func (s *Service) checkQuotas(ctx context.Context, tx *pg.Tx, courseID string, terms inviteTerms, n int) error {
	if n == 0 {
		return nil
	}
	if !terms.counted {
		var open int
		if err := tx.QueryRow(ctx, `
			SELECT count(*) FROM (SELECT FROM email_invitation WHERE course_id = $1 AND state = '`+inviteOpen+`' LIMIT $2) AS open`,
			courseID, maxEmailInvitations+1).Scan(&open); err != nil {
			return fmt.Errorf("count invitations: %w", err)
		}
		if open > maxEmailInvitations {
			return ErrTooManyEmailInvitations
		}
	}
	by := terms.by
	if !id.Valid("account", by) {
		return nil // a service answers for itself
	}
	// Who invites to several courses at once takes turns, too; what others have
	// done meanwhile is seen by the next statement.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('stoa.inviter'), hashtext($1))`, by); err != nil {
		return fmt.Errorf("take turns: %w", err)
	}
	var made int
	var first *time.Time
	if err := tx.QueryRow(ctx, `
		SELECT count(*), min(created_at) FROM (
			SELECT created_at FROM email_invitation WHERE invited_by = $1 AND created_at > $2 ORDER BY created_at LIMIT $3) AS made`,
		by, s.now().Add(-quotaTime), maxInvitesOfOne+n).Scan(&made, &first); err != nil {
		return fmt.Errorf("count invitations: %w", err)
	}
	if made <= maxInvitesOfOne {
		return nil
	}
	sources, err := s.sources(ctx, tx, rolesSQL, subject{account: by})
	if err != nil {
		return err
	}
	for _, one := range sources[0] {
		if one.allows(accountRead, "") {
			return nil
		}
	}
	return &fault.Error{
		Kind: fault.Exhausted, Code: "invitation.quota", Retry: first.Add(quotaTime).Sub(s.now()) + time.Second,
		Message: fmt.Sprintf("You can invite %d addresses within 24 hours. Come back when Retry-After says.", maxInvitesOfOne),
	}
}
