package notify

import (
	"context"
	"fmt"
	"net/url"
	"regexp"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// invitationMailRequested writes a mail that invites an address to a course. It
// is sealed with a key of the invitation, because nobody with an account need
// have the address.
func (s *Service) invitationMailRequested(ctx context.Context, tx *pg.Tx, e *accesspb.InvitationMailRequested) error {
	c, err := readCourse(ctx, tx, e.GetCourseId())
	if err != nil {
		return err
	}
	plain, err := s.vault.Keys().Unseal("invitation mail\n"+e.GetMailId(), e.GetSealed())
	if err != nil {
		return err
	}
	var m accesspb.InvitationMail
	if err := proto.Unmarshal(plain, &m); err != nil {
		return fmt.Errorf("invitation mail: %w", err)
	}
	if m.GetCode() == "" {
		return fmt.Errorf("the mail %s has no code", e.GetMailId())
	}
	return s.write(ctx, tx, post{
		id: e.GetMailId(), account: e.GetInvitationId(), kind: invitation, locale: e.GetLocale(), to: m.GetTo(),
		dedupeKey: string(invitation) + ":" + e.GetMailId() + ":" + e.GetInvitationId(),
		facts: facts{
			Course: c.Title, Inviter: m.GetInviter(), Message: m.GetMessage(), Code: m.GetCode(),
			Day:  m.GetExpiresAt().AsTime().Format("2006-01-02 15:04 UTC"),
			Link: s.publicURL + pageOf[invitation] + "?token=" + url.QueryEscape(m.GetCode()),
		},
	})
}

// link is what a mail program makes a link of.
var link = regexp.MustCompile(`(?i)[a-z][a-z0-9+.-]*://\S*|\S*@\S+|\S+\.[a-z]{2,}\S*|mailto:\S*|tel:\S*`)

// unlinked returns a text that somebody wrote to a stranger without the links in
// it: they would be followed because the mail is ours.
func unlinked(s string) string { return link.ReplaceAllString(s, "[…]") }
