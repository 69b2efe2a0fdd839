package learning

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/pg"
)

// The algorithms of keys: that of Data Integrity proofs, and the one of JWTs that
// every verifier of Open Badges knows.
const (
	algorithmEd25519 = "Ed25519"
	algorithmRS256   = "RS256"
)

// keyLife is how long a key signs. Its public part is published for ever.
const keyLife = 365 * 24 * time.Hour

// keyHolder is what the vault knows the keys' data key by.
const keyHolder = "badge_key"

// badgeKey is a key that badges are signed with.
type badgeKey struct {
	ID         string
	Algorithm  string
	PublicKey  []byte // PKIX
	PrivateKey []byte // PKCS #8, sealed
	CreatedAt  time.Time
}

// badgeKeys returns all keys, newest first, having made those that are due.
func (s *Service) badgeKeys(ctx context.Context) ([]badgeKey, error) {
	keys, err := readKeys(ctx, s.db)
	if err != nil || !slices.ContainsFunc([]string{algorithmEd25519, algorithmRS256}, func(a string) bool { return s.keyDue(keys, a) }) {
		return keys, err
	}
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		// Of several who find that one is due, one makes it.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('learning.badge_key'))`); err != nil {
			return fmt.Errorf("lock badge keys: %w", err)
		}
		if keys, err = readKeys(ctx, tx); err != nil {
			return err
		}
		tx.Exempt("another process has made the keys meanwhile")
		for _, algorithm := range []string{algorithmEd25519, algorithmRS256} {
			if !s.keyDue(keys, algorithm) {
				continue
			}
			k, err := s.makeKey(ctx, tx, algorithm)
			if err != nil {
				return err
			}
			keys = append([]badgeKey{k}, keys...)
		}
		return nil
	})
	return keys, err
}

func readKeys(ctx context.Context, q pg.Querier) ([]badgeKey, error) {
	rows, err := q.Query(ctx, `SELECT id, algorithm, public_key, private_key, created_at FROM badge_key ORDER BY created_at DESC, id`)
	if err != nil {
		return nil, fmt.Errorf("read badge keys: %w", err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowToStructByName[badgeKey])
	if err != nil {
		return nil, fmt.Errorf("read badge keys: %w", err)
	}
	return keys, nil
}

// newestKey returns the key that signs.
func newestKey(keys []badgeKey, algorithm string) (badgeKey, bool) {
	i := slices.IndexFunc(keys, func(k badgeKey) bool { return k.Algorithm == algorithm })
	if i < 0 {
		return badgeKey{}, false
	}
	return keys[i], true
}

func (s *Service) keyDue(keys []badgeKey, algorithm string) bool {
	k, ok := newestKey(keys, algorithm)
	return !ok || s.now().Sub(k.CreatedAt) > keyLife
}

func (s *Service) makeKey(ctx context.Context, tx *pg.Tx, algorithm string) (badgeKey, error) {
	var private crypto.Signer
	var err error
	if algorithm == algorithmEd25519 {
		_, private, err = ed25519.GenerateKey(rand.Reader)
	} else {
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		return badgeKey{}, fmt.Errorf("make badge key: %w", err)
	}
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return badgeKey{}, fmt.Errorf("make badge key: %w", err)
	}
	k := badgeKey{Algorithm: algorithm, CreatedAt: s.now()}
	if k.PublicKey, err = x509.MarshalPKIXPublicKey(private.Public()); err != nil {
		return badgeKey{}, fmt.Errorf("make badge key: %w", err)
	}
	if k.ID, err = keyID(private.Public()); err != nil {
		return badgeKey{}, err
	}
	sealing, err := s.vault.KeyIn(ctx, tx, keyHolder)
	if err != nil {
		return badgeKey{}, err
	}
	k.PrivateKey = sealing.Seal(k.ID, plain)
	_, err = tx.Exec(ctx, `INSERT INTO badge_key (id, algorithm, public_key, private_key, created_at) VALUES ($1, $2, $3, $4, $5)`,
		k.ID, k.Algorithm, k.PublicKey, k.PrivateKey, k.CreatedAt)
	if err != nil {
		return badgeKey{}, fmt.Errorf("store badge key: %w", err)
	}
	return k, audit.Record(ctx, tx, audit.Entry{Action: "badge_key.made", Object: k.ID, After: map[string]any{"algorithm": k.Algorithm}})
}

// keyID names a key by itself: as Multikey where there is a form for it, else by
// its JWK thumbprint (RFC 7638).
func keyID(public crypto.PublicKey) (string, error) {
	if k, ok := public.(ed25519.PublicKey); ok {
		return multikey(k), nil
	}
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("name badge key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// multikey writes an Ed25519 key as Multikey: its multicodec prefix and itself.
func multikey(k ed25519.PublicKey) string { return base58(append([]byte{0xed, 0x01}, k...)) }

// signer opens the private part of a key.
func (s *Service) signer(ctx context.Context, k badgeKey) (crypto.Signer, error) {
	sealing, err := s.vault.KeysOf(ctx, keyHolder)
	if err != nil {
		return nil, err
	}
	if sealing[keyHolder] == nil {
		return nil, errors.New("the data key of badge keys is gone")
	}
	plain, err := sealing[keyHolder].Unseal(k.ID, k.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("open badge key: %w", err)
	}
	private, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, fmt.Errorf("open badge key: %w", err)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("badge key is a %T", private)
	}
	return signer, nil
}

// jwk is the public part of a key.
func (k badgeKey) jwk() (jose.JSONWebKey, error) {
	public, err := x509.ParsePKIXPublicKey(k.PublicKey)
	algorithm := k.Algorithm
	if algorithm == algorithmEd25519 {
		algorithm = string(jose.EdDSA)
	}
	return jose.JSONWebKey{Key: public, KeyID: k.ID, Algorithm: algorithm, Use: "sig"}, err
}

// keyDocument returns the public keys: all as "jwks", one as "key", and as "did"
// those of the issuer.
func (s *Service) keyDocument(keys []badgeKey, kind, name string) any {
	did := s.did()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	var methods []object
	var ids []string
	for _, k := range keys {
		public, err := k.jwk()
		if err != nil {
			continue // not a key that this program has made
		}
		if kind == "key" && k.ID == name {
			return public
		}
		set.Keys = append(set.Keys, public)
		method := object{"id": did + "#" + k.ID, "controller": did}
		if k.Algorithm == algorithmEd25519 {
			method["type"], method["publicKeyMultibase"] = "Multikey", k.ID
		} else {
			method["type"], method["publicKeyJwk"] = "JsonWebKey", public
		}
		methods, ids = append(methods, method), append(ids, did+"#"+k.ID)
	}
	switch kind {
	case "jwks":
		return set
	case "did":
		return object{
			"@context": []string{"https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1", "https://w3id.org/security/jwk/v1"},
			"id":       did, "verificationMethod": methods, "assertionMethod": ids,
		}
	default:
		return nil
	}
}

// base58 writes bytes in Bitcoin's alphabet with the prefix that Multibase has
// for it.
func base58(raw []byte) string {
	const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	var digits []byte // least first
	for _, b := range raw {
		carry := int(b)
		for i := range digits {
			carry += int(digits[i]) << 8
			digits[i] = byte(carry % 58) //nolint:gosec // below 58
			carry /= 58
		}
		for ; carry > 0; carry /= 58 {
			digits = append(digits, byte(carry%58))
		}
	}
	out := []byte{'z'}
	for i := 0; i < len(raw) && raw[i] == 0; i++ {
		out = append(out, alphabet[0])
	}
	for _, d := range slices.Backward(digits) {
		out = append(out, alphabet[d])
	}
	return string(out)
}

func sum256(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}
