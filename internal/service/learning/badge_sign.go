package learning

import (
	"bytes"
	"context"
	"crypto"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/piprate/json-gold/ld"
)

//go:embed contexts/*.jsonld
var contextFiles embed.FS

// contexts are the JSON-LD contexts that signatures depend on, as their makers
// publish them: nothing is fetched to sign.
var contexts = map[string]string{ //nolint:gosec // no secrets
	credentialsContext: "contexts/credentials-v2.jsonld",
	badgesContext:      "contexts/open-badges-3.0.3.jsonld",
}

// loader finds contexts.
type loader struct{}

// LoadDocument implements [ld.DocumentLoader].
func (loader) LoadDocument(u string) (*ld.RemoteDocument, error) {
	text, err := contextFiles.ReadFile(contexts[u])
	if err != nil {
		return nil, fmt.Errorf("no context %s", u)
	}
	doc, err := ld.DocumentFromReader(bytes.NewReader(text))
	return &ld.RemoteDocument{DocumentURL: u, Document: doc}, err
}

// canonical returns a JSON-LD document as text that is the same for all that says
// the same (RDF Dataset Canonicalization). What no context has is an error.
func canonical(doc object, from ld.DocumentLoader) (string, error) {
	raw, err := json.Marshal(doc)
	if err != nil {
		return "", err
	}
	generic, err := ld.DocumentFromReader(bytes.NewReader(raw))
	if err != nil {
		return "", err
	}
	options := ld.NewJsonLdOptions("")
	options.DocumentLoader = from
	options.Algorithm = ld.AlgorithmURDNA2015
	options.Format = "application/n-quads"
	options.SafeMode = true
	out, err := ld.NewJsonLdProcessor().Normalize(generic, options)
	if err != nil {
		return "", err
	}
	text, ok := out.(string)
	if !ok || text == "" {
		return "", errors.New("nothing to sign")
	}
	return text, nil
}

// hashed returns what the cryptosuite eddsa-rdfc-2022 signs of a document and the
// proof that it is to have.
func hashed(doc, proof object, from ld.DocumentLoader) ([]byte, error) {
	proof = maps.Clone(proof)
	proof["@context"] = doc["@context"]
	config, err := canonical(proof, from)
	if err != nil {
		return nil, fmt.Errorf("canonical proof: %w", err)
	}
	text, err := canonical(doc, from)
	if err != nil {
		return nil, fmt.Errorf("canonical credential: %w", err)
	}
	return append(sum256(config), sum256(text)...), nil
}

// signProof returns a credential with a Data Integrity proof of today's key.
func (s *Service) signProof(ctx context.Context, keys []badgeKey, doc object, created time.Time) ([]byte, error) {
	key, ok := newestKey(keys, algorithmEd25519)
	if !ok {
		return nil, errors.New("no key for proofs")
	}
	signer, err := s.signer(ctx, key)
	if err != nil {
		return nil, err
	}
	proof := object{
		"type": "DataIntegrityProof", "cryptosuite": "eddsa-rdfc-2022", "created": created.UTC().Format("2006-01-02T15:04:05Z"),
		"verificationMethod": s.did() + "#" + key.ID, "proofPurpose": "assertionMethod",
	}
	digest, err := hashed(doc, proof, loader{})
	if err != nil {
		return nil, err
	}
	signature, err := signer.Sign(nil, digest, crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("sign badge: %w", err)
	}
	proof["proofValue"] = base58(signature)
	doc["proof"] = proof
	return json.Marshal(doc)
}

// signJWT returns a credential as JWT of today's key: its members are the claims
// (Open Badges 3.0, 8.2), with those of JWT that say the same.
func (s *Service) signJWT(ctx context.Context, keys []badgeKey, doc object, from time.Time) (string, error) {
	key, ok := newestKey(keys, algorithmRS256)
	if !ok {
		return "", errors.New("no key for JWTs")
	}
	private, err := s.signer(ctx, key)
	if err != nil {
		return "", err
	}
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", s.publicURL+"/v1/badges/key/"+key.ID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: private}, options)
	if err != nil {
		return "", fmt.Errorf("sign badge: %w", err)
	}
	doc["iss"], doc["jti"], doc["nbf"] = s.did(), doc["id"], from.Unix()
	if subject, ok := doc["credentialSubject"].(object); ok {
		doc["sub"] = subject["id"]
	}
	claims, err := json.Marshal(doc)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		return "", fmt.Errorf("sign badge: %w", err)
	}
	return signed.CompactSerialize()
}
