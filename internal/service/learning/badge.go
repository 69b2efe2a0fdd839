package learning

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pdf"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// ErrBadgeNotFound is told for a document of badges that there is not.
var ErrBadgeNotFound = fault.New(fault.NotFound, "badge.not_found", "There is no such document.")

// The contexts of what is signed: Verifiable Credentials 2.0 and Open Badges 3.0.
const (
	credentialsContext = "https://www.w3.org/ns/credentials/v2" //nolint:gosec // no secret
	badgesContext      = "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.3.json"
)

// object is a JSON object.
type object = map[string]any

// did names the platform as issuer by where browsers reach it (did:web).
func (s *Service) did() string {
	u, err := url.Parse(s.publicURL)
	if err != nil { // the settings refuse it
		return ""
	}
	return "did:web:" + strings.ReplaceAll(u.Host, ":", "%3A")
}

// profile is who issues badges.
func (s *Service) profile() object {
	return object{"id": s.did(), "type": []string{"Profile"}, "name": s.issuerName, "url": s.publicURL}
}

// subject names a person in badges: the same in all of theirs, and of no use for
// finding their account.
func (s *Service) subject(accountID string) string {
	raw := s.vault.Keys().Index("learning badge subject", accountID)
	u, _ := uuid.FromBytes(raw[:16]) // it is as long as that
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return "urn:uuid:" + u.String()
}

// achievement is what a course is for those who complete it.
func (s *Service) achievement(courseID, title, heading, lang string) object {
	w := wordsFor(lang)
	if pdf.Clean(heading) == "" {
		heading = w.heading
	}
	a := object{
		"id": s.publicURL + "/v1/badges/achievement/" + courseID, "type": []string{"Achievement"}, "achievementType": "Course",
		"name": title, "description": heading + ": " + title, "criteria": object{"narrative": w.statement + ": " + title},
	}
	return a
}

// credential is a certificate as an Open Badge, not signed yet. The identifier is
// the name, because the platform's services do not share addresses. It names no
// schema: no context has the type that 1EdTech gives its own, and strict
// verifiers refuse what no context has.
func (s *Service) credential(c certificate) object {
	list, bit := c.StatusIndex/statusBits, c.StatusIndex%statusBits
	address := s.statusAddress(list)
	return object{
		"@context":  []string{credentialsContext, badgesContext},
		"id":        s.pageOf(c),
		"type":      []string{"VerifiableCredential", "OpenBadgeCredential"},
		"name":      c.CourseTitle,
		"issuer":    s.profile(),
		"validFrom": c.IssuedAt.UTC().Format(time.RFC3339),
		"credentialSubject": object{
			"id": s.subject(c.AccountID), "type": []string{"AchievementSubject"},
			"identifier": []object{{
				"type": "IdentityObject", "hashed": false, "identityHash": c.PersonName, "identityType": "name",
			}},
			"activityEndDate": c.CompletedAt.UTC().Format(time.DateOnly),
			"achievement":     s.achievement(c.CourseID, c.CourseTitle, c.Title, c.Language),
		},
		"credentialStatus": object{
			"id": address + "#" + strconv.FormatInt(bit, 10), "type": "BitstringStatusListEntry", "statusPurpose": "revocation",
			"statusListIndex": strconv.FormatInt(bit, 10), "statusListCredential": address,
		},
	}
}

// badgeFile returns a certificate as signed badge.
func (s *Service) badgeFile(ctx context.Context, c certificate, format string) (*learningpb.File, error) {
	keys, err := s.badgeKeys(ctx)
	if err != nil {
		return nil, err
	}
	if format == "jwt" {
		token, err := s.signJWT(ctx, keys, s.credential(c), c.IssuedAt)
		if err != nil {
			return nil, err
		}
		return file([]byte(token), "application/vc+jwt", "badge-"+writeSerial(c.Serial)+".jwt"), nil
	}
	text, err := s.signProof(ctx, keys, s.credential(c), c.IssuedAt)
	if err != nil {
		return nil, err
	}
	return file(text, "application/vc+ld+json", "badge-"+writeSerial(c.Serial)+".json"), nil
}

// badgeDocument returns what a verifier of badges needs.
func (s *Service) badgeDocument(ctx context.Context, kind, name string) (*learningpb.File, error) {
	var doc any
	switch kind {
	case "status":
		return s.statusList(ctx, name)
	case "achievement":
		if !id.Valid("course", name) {
			return nil, ErrBadgeNotFound
		}
		var title, lang string
		err := s.db.QueryRow(ctx, `SELECT title, language FROM course WHERE course_id = $1`, name).Scan(&title, &lang)
		if pg.NoRows(err) {
			return nil, ErrBadgeNotFound
		}
		if err != nil {
			return nil, fmt.Errorf("read achievement: %w", err)
		}
		a := s.achievement(name, title, "", lang)
		a["@context"] = []string{credentialsContext, badgesContext}
		doc = a
	case "issuer":
		p := s.profile()
		p["@context"] = []string{credentialsContext, badgesContext}
		doc = p
	default:
		keys, err := s.badgeKeys(ctx)
		if err != nil {
			return nil, err
		}
		if doc = s.keyDocument(keys, kind, name); doc == nil {
			return nil, ErrBadgeNotFound
		}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("badge document: %w", err)
	}
	return file(text, map[string]string{"jwks": "application/jwk-set+json", "key": "application/jwk+json", "did": "application/did+json"}[kind], kind+".json"), nil
}

func file(content []byte, contentType, name string) *learningpb.File {
	if contentType == "" {
		contentType = "application/ld+json"
	}
	sum := sha256.Sum256(content)
	return &learningpb.File{Content: content, ContentType: contentType, Etag: hex.EncodeToString(sum[:16]), Filename: name}
}
