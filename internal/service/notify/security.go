package notify

import (
	"context"
	"fmt"
	"net/url"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// pageOf is where the link of a mail leads: a page of the edge that takes the
// token.
var pageOf = map[kind]string{
	verifyEmail:   "/verify-email",
	resetPassword: "/reset-password",
	changeEmail:   "/change-email",
	invitation:    "/invitation",
}

// security are the kinds that identity asks for.
var security = map[kind]bool{
	verifyEmail: true, resetPassword: true, changeEmail: true, emailChanged: true,
	accountExists: true, passwordChanged: true, newDevice: true, locked: true,
}

// securityMailRequested writes a mail about the security of an account. It goes
// to the address that it names, which need not be the account's.
func (s *Service) securityMailRequested(ctx context.Context, tx *pg.Tx, e *identitypb.SecurityMailRequested) error {
	k := kind(e.GetKind())
	if !security[k] {
		return fmt.Errorf("there is no mail %q about security", e.GetKind())
	}
	plain, err := s.vault.Keys().Unseal("identity mail\n"+e.GetMailId(), e.GetSealed())
	if err != nil {
		return err
	}
	var m identitypb.SecurityMail
	if err := proto.Unmarshal(plain, &m); err != nil {
		return fmt.Errorf("security mail: %w", err)
	}
	f := facts{Name: m.GetName(), Address: m.GetAddress(), Device: programOf(m.GetUserAgent()), Day: m.GetAt().AsTime().Format("2006-01-02 15:04 UTC")}
	if page, ok := pageOf[k]; ok {
		if m.GetToken() == "" {
			return fmt.Errorf("the mail %q has no token", e.GetKind())
		}
		f.Link = s.publicURL + page + "?token=" + url.QueryEscape(m.GetToken())
	}
	return s.write(ctx, tx, post{
		id: e.GetMailId(), account: e.GetAccountId(), kind: k, locale: e.GetLocale(), to: m.GetTo(),
		dedupeKey: string(k) + ":" + e.GetMailId() + ":" + e.GetAccountId(), facts: f,
	})
}
