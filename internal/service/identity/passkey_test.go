package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// softKey is an authenticator with one passkey, and the browser before it: ES256,
// no attestation. Its fields are what a test makes it lie about.
type softKey struct {
	rpID, origin string
	flags        byte
	counter      uint32

	key    *ecdsa.PrivateKey
	id     []byte
	handle []byte
}

const (
	flagPresent  = 1
	flagVerified = 4
	flagMade     = 64
)

func newSoftKey(t *testing.T) *softKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &softKey{
		rpID: "learn.example.org", origin: "https://learn.example.org", flags: flagPresent | flagVerified,
		key: key, id: []byte(rand.Text()),
	}
}

var raw64 = base64.RawURLEncoding

// asked is what of a ceremony's options an authenticator needs.
type asked struct {
	PublicKey struct {
		Challenge string `json:"challenge"`
		RP        struct {
			ID string `json:"id"`
		} `json:"rp"`
		RPID string `json:"rpId"`
		User struct {
			ID string `json:"id"`
		} `json:"user"`
		AllowCredentials   []struct{ ID string }
		ExcludeCredentials []struct{ ID string }
		UserVerification   string `json:"userVerification"`
	} `json:"publicKey"`
}

func read(t *testing.T, c *identitypb.PasskeyCeremony) asked {
	t.Helper()
	var a asked
	if err := json.Unmarshal([]byte(c.GetOptions()), &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func (k *softKey) clientData(t *testing.T, kind, challenge string) []byte {
	t.Helper()
	return encode(t, map[string]any{"type": kind, "challenge": challenge, "origin": k.origin, "crossOrigin": false})
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (k *softKey) authData(flags byte) []byte {
	hash := sha256.Sum256([]byte(k.rpID))
	return binary.BigEndian.AppendUint32(append(hash[:], flags), k.counter)
}

// make answers a registration.
func (k *softKey) make(t *testing.T, c *identitypb.PasskeyCeremony) *identitypb.CreatePasskeyRequest {
	t.Helper()
	a := read(t, c)
	var err error
	if k.handle, err = raw64.DecodeString(a.PublicKey.User.ID); err != nil {
		t.Fatal(err)
	}
	public, err := k.key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	data := append(k.authData(k.flags|flagMade), make([]byte, 16)...)
	data = append(binary.BigEndian.AppendUint16(data, uint16(len(k.id))), k.id...) //nolint:gosec // an id is short
	// A COSE key: {1: 2, 3: -7, -1: 1, -2: x, -3: y}.
	data = append(append(data, 0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32), public[1:33]...)
	data = append(append(data, 0x22, 0x58, 32), public[33:]...)
	object := []byte("\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58")
	object = append(append(object, byte(len(data))), data...) //nolint:gosec // it fits
	return &identitypb.CreatePasskeyRequest{CeremonyId: c.GetCeremonyId(), Credential: string(encode(t, map[string]any{
		"id": raw64.EncodeToString(k.id), "rawId": raw64.EncodeToString(k.id), "type": "public-key",
		"response": map[string]any{
			"clientDataJSON":    raw64.EncodeToString(k.clientData(t, "webauthn.create", a.PublicKey.Challenge)),
			"attestationObject": raw64.EncodeToString(object),
		},
	}))}
}

// answer answers a question for the passkey.
func (k *softKey) answer(t *testing.T, c *identitypb.PasskeyCeremony) *identitypb.PasskeyAnswer {
	t.Helper()
	k.counter++
	client, data := k.clientData(t, "webauthn.get", read(t, c).PublicKey.Challenge), k.authData(k.flags)
	clientHash := sha256.Sum256(client)
	digest := sha256.Sum256(append(slices.Clone(data), clientHash[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, k.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return &identitypb.PasskeyAnswer{CeremonyId: c.GetCeremonyId(), Credential: string(encode(t, map[string]any{
		"id": raw64.EncodeToString(k.id), "rawId": raw64.EncodeToString(k.id), "type": "public-key",
		"response": map[string]any{
			"clientDataJSON": raw64.EncodeToString(client), "authenticatorData": raw64.EncodeToString(data),
			"signature": raw64.EncodeToString(signature), "userHandle": raw64.EncodeToString(k.handle),
		},
	}))}
}

// register gives the session's account a passkey.
func (e *factorEnv) register(t *testing.T, s *identitypb.Session, k *softKey) *identitypb.ConfirmedFactor {
	t.Helper()
	sure := confirmedAs(t.Context(), s)
	c, err := e.factors.BeginPasskeyRegistration(sure, &identitypb.BeginPasskeyRegistrationRequest{})
	if err != nil {
		t.Fatal(err)
	}
	done, err := e.factors.CreatePasskey(sure, k.make(t, c))
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// beginSignIn asks for a passkey, of a challenge where there is a token.
func (e *factorEnv) beginSignIn(t *testing.T, challenge string) *identitypb.PasskeyCeremony {
	t.Helper()
	c, err := e.factors.BeginPasskeySignIn(t.Context(), &identitypb.BeginPasskeySignInRequest{ChallengeToken: challenge})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (e *factorEnv) signInBy(t *testing.T, answer *identitypb.PasskeyAnswer) (*identitypb.Session, error) {
	t.Helper()
	return e.factors.CreatePasskeySession(t.Context(), &identitypb.CreatePasskeySessionRequest{Passkey: answer})
}

func TestPasskey(t *testing.T) {
	t.Parallel()
	e := newFactorEnv(t)
	a := e.account(t, "ada@example.org")
	s := e.signIn(t, "ada@example.org")
	me, sure := as(t.Context(), s), confirmedAs(t.Context(), s)
	_, err := e.factors.BeginPasskeyRegistration(me, &identitypb.BeginPasskeyRegistrationRequest{})
	wantCode(t, err, "auth.step_up_required")
	_, err = e.factors.BeginPasskeyConfirmation(me, &identitypb.BeginPasskeyConfirmationRequest{})
	wantCode(t, err, "factor.none")

	c, err := e.factors.BeginPasskeyRegistration(sure, &identitypb.BeginPasskeyRegistrationRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, c).PublicKey; got.RP.ID != "learn.example.org" {
		t.Errorf("asks for a passkey of %q", got.RP.ID)
	}
	k := newSoftKey(t)
	req := k.make(t, c)
	req.Name = "My key"
	// Not in another session, though it is of the same account.
	_, err = e.factors.CreatePasskey(confirmedAs(t.Context(), e.signIn(t, "ada@example.org")), req)
	wantCode(t, err, "passkey.ceremony_over")
	done, err := e.factors.CreatePasskey(sure, req)
	if err != nil {
		t.Fatal(err)
	}
	if f := done.GetFactor(); f.GetKind() != "passkey" || f.GetName() != "My key" || f.GetConfirmedAt() == nil || len(done.GetRecoveryCodes()) != 10 {
		t.Errorf("made %v", done)
	}
	_, err = e.factors.CreatePasskey(sure, req)
	wantCode(t, err, "passkey.ceremony_over")

	// Without a password.
	question := e.beginSignIn(t, "")
	if got := read(t, question).PublicKey; len(got.AllowCredentials) != 0 || got.UserVerification != "required" || got.RPID != "learn.example.org" {
		t.Errorf("asks %+v", got)
	}
	got, err := e.signInBy(t, k.answer(t, question))
	if err != nil || got.GetAccountId() != a.GetId() || got.GetToken() == "" {
		t.Fatalf("signed in %v: %v", got, err)
	}

	// As second factor.
	token := e.challenge(t)
	question = e.beginSignIn(t, token)
	if got := read(t, question).PublicKey; len(got.AllowCredentials) != 1 || got.UserVerification != "required" {
		t.Errorf("asks %+v", got)
	}
	got, err = e.factors.CompleteSession(t.Context(), &identitypb.CompleteSessionRequest{
		ChallengeToken: token, Proof: &identitypb.CompleteSessionRequest_Passkey{Passkey: k.answer(t, question)},
	})
	if err != nil || got.GetAccountId() != a.GetId() {
		t.Fatalf("signed in %v: %v", got, err)
	}

	// To confirm who one is.
	question, err = e.factors.BeginPasskeyConfirmation(me, &identitypb.BeginPasskeyConfirmationRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.factors.Confirm(me, &identitypb.ConfirmRequest{Proof: &identitypb.ConfirmRequest_Passkey{Passkey: k.answer(t, question)}}); err != nil {
		t.Fatal(err)
	}
	list, err := e.factors.ListFactors(me, &identitypb.ListFactorsRequest{})
	if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetLastUsedAt() == nil {
		t.Errorf("factors %v: %v", list, err)
	}

	// A second key brings no new codes, and the first is told as known.
	c, err = e.factors.BeginPasskeyRegistration(sure, &identitypb.BeginPasskeyRegistrationRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, c).PublicKey; len(got.ExcludeCredentials) != 1 {
		t.Errorf("does not exclude the key there is: %+v", got)
	}
	_, err = e.factors.CreatePasskey(sure, k.make(t, c))
	wantCode(t, err, "passkey.known")
	if second := e.register(t, s, newSoftKey(t)); len(second.GetRecoveryCodes()) != 0 {
		t.Errorf("%d recovery codes with a second key", len(second.GetRecoveryCodes()))
	}

	e.clock.Add(ceremonyLifetime)
	if err := e.service.sweepPending(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.clock.Add(time.Second)
	if err := e.service.sweepPending(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM ceremony`); n != 0 {
		t.Errorf("%d ceremonies after the sweep", n)
	}
}

// What makes an assertion none.
func TestPasskeyAttacks(t *testing.T) {
	t.Parallel()
	e := newFactorEnv(t)
	e.account(t, "ada@example.org")
	s := e.signIn(t, "ada@example.org")
	k := newSoftKey(t)
	e.register(t, s, k)
	for name, lie := range map[string]func(*softKey){
		"another origin":        func(k *softKey) { k.origin = "https://learn.example.org.evil.example" },
		"without TLS":           func(k *softKey) { k.origin = "http://learn.example.org" },
		"another site's id":     func(k *softKey) { k.rpID = "evil.example" },
		"nobody verified":       func(k *softKey) { k.flags = flagPresent },
		"nobody there":          func(k *softKey) { k.flags = flagVerified },
		"another's key":         func(k *softKey) { k.key = newSoftKey(t).key },
		"the counter stays":     func(k *softKey) { k.counter-- },
		"the counter goes back": func(k *softKey) { k.counter = 0 },
		"another account":       func(k *softKey) { k.handle = []byte("account_01h455vb4pex5vsknk084sn02q") },
		"no account":            func(k *softKey) { k.handle = nil },
		"unknown key":           func(k *softKey) { k.id = []byte("unknown") },
	} {
		if _, err := e.signInBy(t, k.answer(t, e.beginSignIn(t, ""))); err != nil {
			t.Fatalf("before %s: %v", name, err)
		}
		liar := *k
		lie(&liar)
		question := e.beginSignIn(t, "")
		_, err := e.signInBy(t, liar.answer(t, question))
		wantCode(t, err, "passkey.refused")
		// The question is gone, whoever answered it.
		_, err = e.signInBy(t, k.answer(t, question))
		wantCode(t, err, "passkey.ceremony_over")
	}

	// One that never counts is no copy: those that are on many devices do not.
	still := newSoftKey(t)
	e.register(t, s, still)
	for range 2 {
		still.counter = 0
		still.counter--
		if _, err := e.signInBy(t, still.answer(t, e.beginSignIn(t, ""))); err != nil {
			t.Errorf("a key without a counter: %v", err)
		}
	}

	// An answer is good once, and for its own question.
	question := e.beginSignIn(t, "")
	answer := k.answer(t, question)
	ok := together(t, 6, func(int) error {
		_, err := e.signInBy(t, answer)
		return err
	}, "passkey.ceremony_over")
	if ok != 1 {
		t.Errorf("one answer opened %d sessions", ok)
	}
	answer.CeremonyId = e.beginSignIn(t, "").GetCeremonyId()
	_, err := e.signInBy(t, answer)
	wantCode(t, err, "passkey.refused")

	// Nor for another purpose.
	token := e.challenge(t)
	_, err = e.signInBy(t, k.answer(t, e.beginSignIn(t, token)))
	wantCode(t, err, "passkey.ceremony_over")
	_, err = e.factors.CompleteSession(t.Context(), &identitypb.CompleteSessionRequest{
		ChallengeToken: token, Proof: &identitypb.CompleteSessionRequest_Passkey{Passkey: k.answer(t, e.beginSignIn(t, ""))},
	})
	wantCode(t, err, "passkey.ceremony_over")
	_, err = e.factors.Confirm(as(t.Context(), s), &identitypb.ConfirmRequest{
		Proof: &identitypb.ConfirmRequest_Passkey{Passkey: k.answer(t, e.beginSignIn(t, ""))},
	})
	wantCode(t, err, "passkey.ceremony_over")

	// Nor of another account.
	e.account(t, "eve@example.org")
	theirs := newSoftKey(t)
	e.register(t, e.signIn(t, "eve@example.org"), theirs)
	_, err = e.factors.CompleteSession(t.Context(), &identitypb.CompleteSessionRequest{
		ChallengeToken: token, Proof: &identitypb.CompleteSessionRequest_Passkey{Passkey: theirs.answer(t, e.beginSignIn(t, token))},
	})
	wantCode(t, err, "passkey.refused")

	// Nor too late.
	question = e.beginSignIn(t, "")
	e.clock.Add(ceremonyLifetime)
	_, err = e.signInBy(t, k.answer(t, question))
	wantCode(t, err, "passkey.ceremony_over")

	for _, text := range []string{"{}", "[]", "not JSON", `{"id":"x","rawId":"eA","type":"public-key","response":{}}`, strings.Repeat("x", 30_000)} {
		_, err = e.signInBy(t, &identitypb.PasskeyAnswer{CeremonyId: e.beginSignIn(t, "").GetCeremonyId(), Credential: text})
		wantCode(t, err, "passkey.refused")
	}
}

func TestRegistrationAttacks(t *testing.T) {
	t.Parallel()
	e := newFactorEnv(t)
	e.account(t, "ada@example.org")
	sure := confirmedAs(t.Context(), e.signIn(t, "ada@example.org"))
	for name, lie := range map[string]func(*softKey){
		"another origin":    func(k *softKey) { k.origin = "https://evil.example" },
		"another site's id": func(k *softKey) { k.rpID = "evil.example" },
		"nobody verified":   func(k *softKey) { k.flags = flagPresent },
	} {
		c, err := e.factors.BeginPasskeyRegistration(sure, &identitypb.BeginPasskeyRegistrationRequest{})
		if err != nil {
			t.Fatal(name, err)
		}
		k := newSoftKey(t)
		lie(k)
		_, err = e.factors.CreatePasskey(sure, k.make(t, c))
		wantCode(t, err, "passkey.refused")
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM factor`); n != 0 {
		t.Errorf("%d passkeys", n)
	}
}

func TestPasskeysNeedADomain(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"https://learn.example.org": true, "http://localhost:8080": true, "http://127.0.0.1:8080": false, "": false, "::": false,
	} {
		if got := newPasskeys(address) != nil; got != want {
			t.Errorf("passkeys at %q: %t", address, got)
		}
	}
	e := newFactorEnv(t, func(cfg *Config) { cfg.PublicURL = "http://127.0.0.1:8080" })
	_, err := e.factors.BeginPasskeySignIn(t.Context(), &identitypb.BeginPasskeySignInRequest{})
	wantCode(t, err, "passkey.unavailable")
}

func TestPasskeysAreBounded(t *testing.T) {
	t.Parallel()
	e := newFactorEnv(t)
	e.account(t, "ada@example.org")
	s := e.signIn(t, "ada@example.org")
	sure := confirmedAs(t.Context(), s)
	reqs := make([]*identitypb.CreatePasskeyRequest, maxPasskeys+3)
	for i := range reqs {
		c, err := e.factors.BeginPasskeyRegistration(sure, &identitypb.BeginPasskeyRegistrationRequest{})
		if err != nil {
			t.Fatal(err)
		}
		reqs[i] = newSoftKey(t).make(t, c)
	}
	ok := together(t, len(reqs), func(i int) error {
		_, err := e.factors.CreatePasskey(sure, reqs[i])
		return err
	}, "factor.too_many")
	if ok != maxPasskeys {
		t.Errorf("%d passkeys were made", ok)
	}
	_, err := e.factors.BeginPasskeyRegistration(sure, &identitypb.BeginPasskeyRegistrationRequest{})
	wantCode(t, err, "factor.too_many")
}
