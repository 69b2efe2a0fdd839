package commerce

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/text/language"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// The fields under which they are sealed.
const (
	sealedDetails = "billing_details"
	sealedBuyer   = "invoice.buyer"
)

// keptFor names the key of what is kept of a buyer although the account goes: books are
// kept for as long as the law asks.
func keptFor(account string) string { return "books:" + account }

// billingDetails returns what an account has said, and its revision; 0 for nothing.
func (s *Service) billingDetails(ctx context.Context, q pg.Querier, account, lock string) (*commercepb.BillingDetails, int64, error) {
	var (
		sealed   []byte
		revision int64
	)
	err := q.QueryRow(ctx, `SELECT sealed, revision FROM billing_details WHERE account_id = $1 `+lock, account).Scan(&sealed, &revision)
	if pg.NoRows(err) {
		return &commercepb.BillingDetails{Etag: "0"}, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("billing details: %w", err)
	}
	keys, err := s.Vault.KeysBy(ctx, q, account)
	if err != nil {
		return nil, 0, err
	}
	details := &commercepb.BillingDetails{Etag: strconv.FormatInt(revision, 10)}
	key, ok := keys[account]
	if !ok {
		return details, revision, nil // they were erased
	}
	plain, err := key.Unseal(sealedDetails, sealed)
	if err != nil {
		return nil, 0, fmt.Errorf("billing details of %s: %w", account, err)
	}
	if err := proto.Unmarshal(plain, details); err != nil {
		return nil, 0, fmt.Errorf("billing details of %s: %w", account, err)
	}
	details.Etag = strconv.FormatInt(revision, 10)
	return details, revision, nil
}

// GetBillingDetails implements the contract.
func (h *invoiceServer) GetBillingDetails(ctx context.Context, _ *commercepb.GetBillingDetailsRequest) (*commercepb.BillingDetails, error) {
	details, _, err := h.service.billingDetails(ctx, h.service.DB, auth.From(ctx).Account, "")
	return details, err
}

// SetBillingDetails implements the contract.
func (h *invoiceServer) SetBillingDetails(ctx context.Context, req *commercepb.SetBillingDetailsRequest) (*commercepb.BillingDetails, error) {
	country := strings.ToUpper(req.GetCountry())
	if country != "" {
		if r, err := language.ParseRegion(country); err != nil || !r.IsCountry() || r.String() != country {
			return nil, ErrCountry
		}
	}
	me := auth.From(ctx).Account
	s := h.service
	// What is kept for the key of the call does not have it.
	_, err := idempotency.Do(ctx, s.DB, req, func(tx *pg.Tx) (*commercepb.GetBillingDetailsRequest, error) {
		if _, err := tx.Exec(ctx, `INSERT INTO billing_details (account_id, sealed, revision, updated_at) VALUES ($1, '', 0, $2) ON CONFLICT DO NOTHING`, me, s.now()); err != nil {
			return nil, err
		}
		var revision int64
		if err := tx.QueryRow(ctx, `SELECT revision FROM billing_details WHERE account_id = $1 FOR UPDATE`, me).Scan(&revision); err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, strconv.FormatInt(revision, 10)); err != nil {
			return nil, err
		}
		key, err := s.Vault.KeyIn(ctx, tx, me)
		if err != nil {
			return nil, err
		}
		plain, err := proto.Marshal(&commercepb.BillingDetails{
			Name: req.GetName(), Company: req.GetCompany(), Address: req.GetAddress(), PostalCode: req.GetPostalCode(), City: req.GetCity(),
			Country: country, TaxId: req.GetTaxId(),
		})
		if err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `UPDATE billing_details SET sealed = $2, revision = $3, updated_at = $4 WHERE account_id = $1`,
			me, key.Seal(sealedDetails, plain), revision+1, s.now()); err != nil {
			return nil, err
		}
		return &commercepb.GetBillingDetailsRequest{}, audit.Record(ctx, tx, audit.Entry{Action: "billing_details.set", Object: me, Person: me})
	})
	if err != nil {
		return nil, err
	}
	return h.GetBillingDetails(ctx, nil)
}

// sealBuyers writes into invoices that are to be issued what their buyers have said.
func (s *Service) sealBuyers(ctx context.Context, tx *pg.Tx, list []invoice) error {
	buyers := make([]string, len(list))
	for i := range list {
		buyers[i] = list[i].BuyerID
	}
	rows, err := tx.Query(ctx, `SELECT account_id, sealed FROM billing_details WHERE account_id = ANY ($1) AND revision > 0`, buyers)
	if err != nil {
		return err
	}
	said := map[string][]byte{}
	var (
		account string
		sealed  []byte
		persons []string
	)
	if _, err := pgx.ForEachRow(rows, []any{&account, &sealed}, func() error {
		said[account] = append([]byte(nil), sealed...)
		persons = append(persons, account)
		return nil
	}); err != nil {
		return fmt.Errorf("billing details: %w", err)
	}
	if len(said) == 0 {
		return nil
	}
	theirs, err := s.Vault.KeysBy(ctx, tx, persons...)
	if err != nil {
		return err
	}
	for i, p := range persons {
		persons[i] = keptFor(p)
	}
	kept, err := s.Vault.KeysIn(ctx, tx, persons...)
	if err != nil {
		return err
	}
	for i := range list {
		b := list[i].BuyerID
		key, ok := theirs[b]
		if !ok || said[b] == nil {
			continue
		}
		plain, err := key.Unseal(sealedDetails, said[b])
		if err != nil {
			return fmt.Errorf("billing details of %s: %w", b, err)
		}
		var details commercepb.BillingDetails
		if err := proto.Unmarshal(plain, &details); err != nil {
			return fmt.Errorf("billing details of %s: %w", b, err)
		}
		list[i].Country, list[i].Buyer = details.GetCountry(), kept[keptFor(b)].Seal(sealedBuyer, plain)
	}
	return nil
}

// buyerOf returns what an invoice says of its buyer; nil for nothing.
func (s *Service) buyerOf(ctx context.Context, i invoice) (*commercepb.BillingDetails, error) {
	if i.Buyer == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	key, err := s.Vault.Key(ctx, keptFor(i.BuyerID))
	if err != nil {
		return nil, err
	}
	plain, err := key.Unseal(sealedBuyer, i.Buyer)
	if err != nil {
		return nil, fmt.Errorf("buyer of invoice %s: %w", i.ID, err)
	}
	details := &commercepb.BillingDetails{}
	if err := proto.Unmarshal(plain, details); err != nil {
		return nil, fmt.Errorf("buyer of invoice %s: %w", i.ID, err)
	}
	return details, nil
}
