package learning

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// statusBits is how many badges a list says of whether they are revoked: as few as
// the Bitstring Status List allows, so that nobody can tell by the list that is
// fetched whose badge is looked at.
const statusBits = 131072

func (s *Service) statusAddress(list int64) string {
	return s.publicURL + "/v1/badges/status/" + strconv.FormatInt(list, 10)
}

// statusList returns which badges of a list are revoked or superseded, as signed
// Bitstring Status List.
func (s *Service) statusList(ctx context.Context, name string) (*learningpb.File, error) {
	list, err := strconv.ParseInt(name, 10, 32)
	if err != nil || list < 0 || strconv.FormatInt(list, 10) != name {
		return nil, ErrBadgeNotFound
	}
	rows, err := s.db.Query(ctx, `
		SELECT status_index FROM certificate_revision WHERE status_index = (SELECT max(status_index) FROM certificate_revision)
		UNION ALL
		(SELECT status_index FROM certificate_revision WHERE state <> 'valid' AND status_index >= $1 AND status_index < $2)`,
		list*statusBits, (list+1)*statusBits)
	if err != nil {
		return nil, fmt.Errorf("read status list: %w", err)
	}
	ended, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("read status list: %w", err)
	}
	var newest int64
	if len(ended) > 0 { // the first row is the newest of all
		newest, ended = ended[0], ended[1:]
	}
	if list > newest/statusBits {
		return nil, ErrBadgeNotFound
	}
	var bits [statusBits / 8]byte
	for _, index := range ended {
		bit := index % statusBits
		bits[bit/8] |= 0x80 >> (bit % 8)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(bits[:]) // a buffer takes everything
	_ = z.Close()
	keys, err := s.badgeKeys(ctx)
	if err != nil {
		return nil, err
	}
	now := s.now()
	address := s.statusAddress(list)
	text, err := s.signProof(ctx, keys, object{
		"@context":  []string{credentialsContext},
		"id":        address,
		"type":      []string{"VerifiableCredential", "BitstringStatusListCredential"},
		"issuer":    s.did(),
		"validFrom": now.Format("2006-01-02T15:04:05Z"),
		"credentialSubject": object{
			"id": address + "#list", "type": "BitstringStatusList", "statusPurpose": "revocation",
			"encodedList": "u" + base64.RawURLEncoding.EncodeToString(packed.Bytes()),
		},
	}, now)
	if err != nil {
		return nil, err
	}
	return file(text, "application/vc+ld+json", "status-"+name+".json"), nil
}
