package identity

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// factorEnv is the service with all that second factors and providers need.
type factorEnv struct {
	*env
	factors    identitypb.FactorServiceClient
	federation identitypb.FederationServiceClient
}

func newFactorEnv(t *testing.T, change ...func(*Config)) *factorEnv {
	t.Helper()
	db := pgtest.Open(t, Schema)
	text, err := secret.Generate()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := secret.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	vault, err := secret.NewVault(keys, db)
	if err != nil {
		t.Fatal(err)
	}
	e := &factorEnv{env: &env{db: db, clock: &clock{now: time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)}}}
	store, err := cache.NewMemoryAt(e.clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	e.keys = keys
	cfg := Config{
		DB: db, Log: rpctest.Log(t), Now: e.clock.Now, PasswordCost: cheap, Vault: vault, PublicURL: "https://learn.example.org",
		Keys: keys, Store: store,
	}
	for _, fn := range change {
		fn(&cfg)
	}
	e.service = New(cfg)
	e.harness = rpctest.New(t, rpctest.Everything)
	e.service.Register(e.harness)
	conn := e.harness.As("edge")
	e.IdentityServiceClient = identitypb.NewIdentityServiceClient(conn)
	e.factors = identitypb.NewFactorServiceClient(conn)
	e.federation = identitypb.NewFederationServiceClient(conn)
	return e
}

// account makes an account with goodPassword whose address is verified.
func (e *factorEnv) account(t *testing.T, email string) *identitypb.Account {
	t.Helper()
	a := e.env.account(t, email)
	exec(t, e.db, `UPDATE account SET email_verified_at = created_at WHERE id = $1`, a.GetId())
	return a
}

// confirmedAs returns a context in which the session's account calls, having
// confirmed just now who it is.
func confirmedAs(ctx context.Context, s *identitypb.Session) context.Context {
	return auth.With(ctx, auth.Principal{Account: s.GetAccountId(), Session: s.GetId(), Confirmed: time.Now().Unix()})
}

// authenticator is an app that shows codes.
type authenticator struct {
	id, secret string
	recovery   []string
}

// code is what the app shows, some steps from now.
func (a authenticator) code(t *testing.T, e *factorEnv, steps int) string {
	t.Helper()
	code, err := totp.GenerateCode(a.secret, e.clock.Now().Add(time.Duration(steps)*totpPeriod*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// wrong is a code that no step near now has.
func (a authenticator) wrong(t *testing.T, e *factorEnv) string {
	t.Helper()
	for _, code := range []string{"000000", "111111", "222222", "333333", "444444", "555555"} {
		near := false
		for steps := -3; steps <= 3; steps++ {
			near = near || a.code(t, e, steps) == code
		}
		if !near {
			return code
		}
	}
	t.Fatal("all codes are right")
	return ""
}

// enrol gives the session's account an app, and lets the step of its first code
// pass.
func (e *factorEnv) enrol(t *testing.T, s *identitypb.Session) authenticator {
	t.Helper()
	made, err := e.factors.CreateTotpFactor(confirmedAs(t.Context(), s), &identitypb.CreateTotpFactorRequest{})
	if err != nil {
		t.Fatal(err)
	}
	app := authenticator{id: made.GetFactor().GetId(), secret: made.GetSecret()}
	done, err := e.factors.ConfirmFactor(as(t.Context(), s), &identitypb.ConfirmFactorRequest{FactorId: app.id, Code: app.code(t, e, 0)})
	if err != nil {
		t.Fatal(err)
	}
	app.recovery = done.GetRecoveryCodes()
	e.clock.Add(time.Minute)
	return app
}

// challenge signs ada@example.org in as far as the password goes.
func (e *factorEnv) challenge(t *testing.T) string {
	t.Helper()
	s := e.signIn(t, "ada@example.org")
	if s.GetChallenge().GetToken() == "" || s.GetToken() != "" || s.GetId() != "" || s.GetAccountId() != "" {
		t.Fatalf("signing in answers %v", s)
	}
	return s.GetChallenge().GetToken()
}

func byCode(token, code string) *identitypb.CompleteSessionRequest {
	return &identitypb.CompleteSessionRequest{ChallengeToken: token, Proof: &identitypb.CompleteSessionRequest_Code{Code: code}}
}

func byRecovery(token, code string) *identitypb.CompleteSessionRequest {
	return &identitypb.CompleteSessionRequest{ChallengeToken: token, Proof: &identitypb.CompleteSessionRequest_RecoveryCode{RecoveryCode: code}}
}

// together runs fn n times at once and returns how many succeeded; the others
// must fail with one of the codes.
func together(t *testing.T, n int, fn func(i int) error, codes ...string) int {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = fn(i) })
	}
	wg.Wait()
	ok := 0
	for _, err := range errs {
		switch {
		case err == nil:
			ok++
		case !slices.Contains(codes, fault.CodeOf(err)):
			t.Errorf("error %v, want one of %v", err, codes)
		}
	}
	return ok
}

func TestTOTP(t *testing.T) {
	t.Parallel()
	e := newFactorEnv(t)
	e.account(t, "ada@example.org")
	s := e.signIn(t, "ada@example.org")
	me, sure := as(t.Context(), s), confirmedAs(t.Context(), s)

	_, err := e.factors.CreateTotpFactor(me, &identitypb.CreateTotpFactorRequest{})
	wantCode(t, err, "auth.step_up_required")
	first, err := e.factors.CreateTotpFactor(sure, &identitypb.CreateTotpFactorRequest{})
	if err != nil {
		t.Fatal(err)
	}
	made, err := e.factors.CreateTotpFactor(sure, &identitypb.CreateTotpFactorRequest{Name: " My  phone "})
	if err != nil {
		t.Fatal(err)
	}
	app := authenticator{id: made.GetFactor().GetId(), secret: made.GetSecret()}
	u, err := url.Parse(made.GetUri())
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/Stoa:ada@example.org" || u.Query().Get("secret") != app.secret {
		t.Errorf("uri %s: %v", made.GetUri(), err)
	}
	if kept := query[[]byte](t, e.db, `SELECT secret FROM factor`); bytes.Contains(kept, []byte(app.secret)) {
		t.Error("the secret is kept in the clear")
	}
	if got := e.signIn(t, "ada@example.org"); got.GetToken() == "" {
		t.Errorf("a factor that is not confirmed is asked for: %v", got)
	}

	_, err = e.factors.ConfirmFactor(me, &identitypb.ConfirmFactorRequest{FactorId: first.GetFactor().GetId(), Code: app.code(t, e, 0)})
	wantCode(t, err, "factor.not_found") // the second took its place
	_, err = e.factors.ConfirmFactor(me, &identitypb.ConfirmFactorRequest{FactorId: app.id, Code: app.wrong(t, e)})
	wantCode(t, err, "factor.code_wrong")
	done, err := e.factors.ConfirmFactor(me, &identitypb.ConfirmFactorRequest{FactorId: app.id, Code: app.code(t, e, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if codes := slices.Compact(slices.Sorted(slices.Values(done.GetRecoveryCodes()))); len(codes) != 10 || len(codes[0]) != 23 {
		t.Errorf("recovery codes %v", codes)
	}
	if f := done.GetFactor(); f.GetName() != "My phone" || f.GetConfirmedAt() == nil || f.GetLastUsedAt() == nil {
		t.Errorf("factor %v", f)
	}
	_, err = e.factors.ConfirmFactor(me, &identitypb.ConfirmFactorRequest{FactorId: app.id, Code: app.code(t, e, 1)})
	wantCode(t, err, "factor.confirmed")
	_, err = e.factors.CreateTotpFactor(sure, &identitypb.CreateTotpFactorRequest{})
	wantCode(t, err, "factor.totp_exists")

	list, err := e.factors.ListFactors(me, &identitypb.ListFactorsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, list, &identitypb.ListFactorsResponse{Items: []*identitypb.Factor{done.GetFactor()}, RecoveryCodesLeft: 10})
	if got := e.signIn(t, "ada@example.org").GetChallenge().GetFactors(); !slices.Equal(got, []string{"recovery_code", "totp"}) {
		t.Errorf("asks for %v", got)
	}

	// Others do not see it and can't remove it.
	e.account(t, "eve@example.org")
	eve := e.signIn(t, "eve@example.org")
	_, err = e.factors.DeleteFactor(confirmedAs(t.Context(), eve), &identitypb.DeleteFactorRequest{FactorId: app.id})
	wantCode(t, err, "factor.not_found")
	_, err = e.factors.DeleteFactor(me, &identitypb.DeleteFactorRequest{FactorId: app.id})
	wantCode(t, err, "auth.step_up_required")
	if _, err := e.factors.DeleteFactor(sure, &identitypb.DeleteFactorRequest{FactorId: app.id}); err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM recovery_code`); n != 0 {
		t.Errorf("%d recovery codes without a factor", n)
	}
	if got := e.signIn(t, "ada@example.org"); got.GetToken() == "" {
		t.Errorf("a factor that is gone is asked for: %v", got)
	}
	if text := query[string](t, e.db, `SELECT coalesce(string_agg(encode(payload, 'escape'), ' '), '') FROM outbox`); strings.Contains(text, app.secret) {
		t.Error("an event has the secret")
	}
}

func TestFactorsAreForSessions(t *testing.T) {
	t.Parallel()
	e := newFactorEnv(t)
	a := e.account(t, "ada@example.org")
	token := auth.With(t.Context(), auth.Principal{Account: a.GetId(), Token: id.New("token"), Scopes: "me.read me.write", Confirmed: time.Now().Unix()})
	_, err := e.factors.CreateTotpFactor(token, &identitypb.CreateTotpFactorRequest{})
	wantCode(t, err, "auth.session_required")
	_, err = e.factors.Confirm(token, &identitypb.ConfirmRequest{Proof: &identitypb.ConfirmRequest_Password{Password: goodPassword}})
	wantCode(t, err, "auth.session_required")
	_, err = e.federation.LinkIdentity(token, &identitypb.LinkIdentityRequest{Provider: "school"})
	wantCode(t, err, "auth.session_required")
	if _, err := e.factors.ListFactors(token, &identitypb.ListFactorsRequest{}); err != nil {
		t.Error(err)
	}
}

func TestSignInWithCode(t *testing.T) {
	t.Parallel()
	e := newFactorEnv(t)
	a := e.account(t, "ada@example.org")
	app := e.enrol(t, e.signIn(t, "ada@example.org"))

	_, err := e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: "ada@example.org", Password: "not " + goodPassword})
	wantCode(t, err, "session.bad_credentials")
	token := e.challenge(t)
	_, err = e.Authenticate(t.Context(), &identitypb.AuthenticateRequest{Token: token})
	wantCode(t, err, "auth.token_invalid")
	_, err = e.factors.CompleteSession(t.Context(), byCode("not "+token, app.code(t, e, 0)))
	wantCode(t, err, "challenge.over")
	_, err = e.factors.CompleteSession(t.Context(), byCode(token, app.wrong(t, e)))
	wantCode(t, err, "factor.code_wrong")
	s, err := e.factors.CompleteSession(t.Context(), byCode(token, app.code(t, e, 0)))
	if err != nil {
		t.Fatal(err)
	}
	who, err := e.Authenticate(t.Context(), &identitypb.AuthenticateRequest{Token: s.GetToken()})
	if err != nil || who.GetAccountId() != a.GetId() || !who.GetConfirmedAt().AsTime().Equal(e.service.now()) {
		t.Errorf("the session is of %v: %v", who, err)
	}
	e.clock.Add(time.Minute)
	_, err = e.factors.CompleteSession(t.Context(), byCode(token, app.code(t, e, 0)))
	wantCode(t, err, "challenge.over") // good for one session

	token = e.challenge(t)
	e.clock.Add(challengeLifetime)
	_, err = e.factors.CompleteSession(t.Context(), byCode(token, app.code(t, e, 0)))
	wantCode(t, err, "challenge.over")

	token = e.challenge(t)
	for range maxChallengeWrong {
		_, err = e.factors.CompleteSession(t.Context(), byCode(token, app.wrong(t, e)))
		wantCode(t, err, "factor.code_wrong")
	}
	_, err = e.factors.CompleteSession(t.Context(), byCode(token, app.code(t, e, 0)))
	wantCode(t, err, "challenge.over")
	_, err = e.factors.CompleteSession(t.Context(), byRecovery(token, app.recovery[0]))
	wantCode(t, err, "challenge.over")

	// What nobody came back for is swept.
	e.clock.Add(time.Hour)
	if err := e.service.sweepPending(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM challenge`); n != 0 {
		t.Errorf("%d challenges after the sweep", n)
	}
}

func TestOneSessionOfAChallenge(t *testing.T) {
	t.Parallel()
	e := newFactorEnv(t)
	e.account(t, "ada@example.org")
	app := e.enrol(t, e.signIn(t, "ada@example.org"))
	token := e.challenge(t)
	before := query[int](t, e.db, `SELECT count(*) FROM session`)
	ok := together(t, 8, func(i int) error {
		_, err := e.factors.CompleteSession(t.Context(), byRecovery(token, app.recovery[i]))
		return err
	}, "challenge.over")
	if after := query[int](t, e.db, `SELECT count(*) FROM session`); ok != 1 || after != before+1 {
		t.Errorf("%d calls and %d sessions of one challenge", ok, after-before)
	}
	if left := query[int](t, e.db, `SELECT count(*) FROM recovery_code WHERE used_at IS NULL`); left != 9 {
		t.Errorf("%d codes left", left)
	}
}

func TestCodesAreTakenOnce(t *testing.T) {
	t.Parallel()
	e := newFactorEnv(t)
	e.account(t, "ada@example.org")
	app := e.enrol(t, e.signIn(t, "ada@example.org"))
	try := func(code string) error {
		_, err := e.factors.CompleteSession(t.Context(), byCode(e.challenge(t), code))
		return err
	}
	wantCode(t, try(app.code(t, e, -2)), "factor.code_wrong")
	wantCode(t, try(app.code(t, e, 2)), "factor.code_wrong")
	if err := try(app.code(t, e, -1)); err != nil {
		t.Fatalf("the code of the step before: %v", err)
	}
	if err := try(app.code(t, e, 1)); err != nil {
		t.Fatalf("the code of the next step: %v", err)
	}
	for steps := -1; steps <= 1; steps++ {
		wantCode(t, try(app.code(t, e, steps)), "factor.code_wrong") // used, or older than one used
	}
	e.clock.Add(2 * totpPeriod * time.Second)
	code := app.code(t, e, 0)
	tokens := make([]string, 8)
	for i := range tokens {
		tokens[i] = e.challenge(t)
	}
	ok := together(t, len(tokens), func(i int) error {
		_, err := e.factors.CompleteSession(t.Context(), byCode(tokens[i], code))
		return err
	}, "factor.code_wrong")
	if ok != 1 {
		t.Errorf("one code opened %d sessions", ok)
	}
}

func TestWrongCodesAreBounded(t *testing.T) {
	t.Parallel()
	e := newFactorEnv(t)
	e.account(t, "ada@example.org")
	app := e.enrol(t, e.signIn(t, "ada@example.org"))
	// However many sign-ins they are spread over, and at once.
	tokens := make([]string, maxWrongCodes+5)
	for i := range tokens {
		tokens[i] = e.challenge(t)
	}
	together(t, len(tokens), func(i int) error {
		_, err := e.factors.CompleteSession(t.Context(), byCode(tokens[i], app.wrong(t, e)))
		return err
	}, "factor.code_wrong", "factor.tries")
	if n := query[int](t, e.db, `SELECT wrong FROM factor`); n != maxWrongCodes {
		t.Errorf("%d wrong codes were compared", n)
	}
	_, err := e.factors.CompleteSession(t.Context(), byCode(e.challenge(t), app.code(t, e, 0)))
	wantCode(t, err, "factor.tries")
	if fe, ok := errors.AsType[*fault.Error](err); !ok || fe.Retry != wrongCodesFor || fe.Kind != fault.Exhausted {
		t.Errorf("told %+v", fe)
	}
	if _, err := e.factors.CompleteSession(t.Context(), byRecovery(e.challenge(t), app.recovery[0])); err != nil {
		t.Errorf("a recovery code: %v", err)
	}
	e.clock.Add(wrongCodesFor)
	if _, err := e.factors.CompleteSession(t.Context(), byCode(e.challenge(t), app.code(t, e, 0))); err != nil {
		t.Errorf("a day later: %v", err)
	}
	if n := query[int](t, e.db, `SELECT wrong FROM factor`); n != 0 {
		t.Errorf("%d wrong codes after a right one", n)
	}
}

func TestRecoveryCodes(t *testing.T) {
	t.Parallel()
	e := newFactorEnv(t)
	e.account(t, "ada@example.org")
	s := e.signIn(t, "ada@example.org")
	sure := confirmedAs(t.Context(), s)
	_, err := e.factors.CreateRecoveryCodes(sure, &identitypb.CreateRecoveryCodesRequest{})
	wantCode(t, err, "factor.none")
	app := e.enrol(t, s)
	if n := query[int](t, e.db, `SELECT count(*) FROM recovery_code WHERE position($1::bytea IN code_hash) > 0`, []byte(app.recovery[0])); n != 0 {
		t.Error("a code is kept in the clear")
	}
	typed := strings.ToLower(strings.ReplaceAll(app.recovery[0], "-", " "))
	if _, err := e.factors.CompleteSession(t.Context(), byRecovery(e.challenge(t), typed)); err != nil {
		t.Fatal(err)
	}
	_, err = e.factors.CompleteSession(t.Context(), byRecovery(e.challenge(t), app.recovery[0]))
	wantCode(t, err, "factor.code_wrong")
	tokens := make([]string, 6)
	for i := range tokens {
		tokens[i] = e.challenge(t)
	}
	ok := together(t, len(tokens), func(i int) error {
		_, err := e.factors.CompleteSession(t.Context(), byRecovery(tokens[i], app.recovery[1]))
		return err
	}, "factor.code_wrong")
	if ok != 1 {
		t.Errorf("one code opened %d sessions", ok)
	}
	list, err := e.factors.ListFactors(as(t.Context(), s), &identitypb.ListFactorsRequest{})
	if err != nil || list.GetRecoveryCodesLeft() != 8 {
		t.Errorf("%d left: %v", list.GetRecoveryCodesLeft(), err)
	}

	_, err = e.factors.CreateRecoveryCodes(as(t.Context(), s), &identitypb.CreateRecoveryCodesRequest{})
	wantCode(t, err, "auth.step_up_required")
	// A key does not make the answer come again: the codes are kept nowhere.
	keyed := rpc.WithIdempotencyKey(sure, "codes")
	one, err := e.factors.CreateRecoveryCodes(keyed, &identitypb.CreateRecoveryCodesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	two, err := e.factors.CreateRecoveryCodes(keyed, &identitypb.CreateRecoveryCodesRequest{})
	if err != nil || len(two.GetCodes()) != 10 || slices.Equal(one.GetCodes(), two.GetCodes()) {
		t.Errorf("codes %v: %v", two.GetCodes(), err)
	}
	for _, old := range []string{app.recovery[2], one.GetCodes()[0]} {
		_, err = e.factors.CompleteSession(t.Context(), byRecovery(e.challenge(t), old))
		wantCode(t, err, "factor.code_wrong")
	}
	if _, err = e.factors.CompleteSession(t.Context(), byRecovery(e.challenge(t), two.GetCodes()[0])); err != nil {
		t.Error(err)
	}
}

func byPassword(password string) *identitypb.ConfirmRequest {
	return &identitypb.ConfirmRequest{Proof: &identitypb.ConfirmRequest_Password{Password: password}}
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	e := newFactorEnv(t)
	e.account(t, "ada@example.org")
	s := e.signIn(t, "ada@example.org")
	me := as(t.Context(), s)
	e.clock.Add(time.Hour)
	_, err := e.factors.Confirm(me, byPassword("not "+goodPassword))
	wantCode(t, err, "confirmation.refused")
	_, err = e.factors.Confirm(me, &identitypb.ConfirmRequest{Proof: &identitypb.ConfirmRequest_Code{Code: "123456"}})
	wantCode(t, err, "factor.code_wrong")
	_, err = e.factors.Confirm(me, &identitypb.ConfirmRequest{})
	wantCode(t, err, "request.invalid", "proof")
	got, err := e.factors.Confirm(me, byPassword(goodPassword))
	if err != nil {
		t.Fatal(err)
	}
	if got.GetId() != s.GetId() || got.GetToken() == "" || got.GetToken() == s.GetToken() || !got.GetCurrent() {
		t.Errorf("confirmed %v", got)
	}
	_, err = e.Authenticate(t.Context(), &identitypb.AuthenticateRequest{Token: s.GetToken()})
	wantCode(t, err, "auth.token_invalid")
	who, err := e.Authenticate(t.Context(), &identitypb.AuthenticateRequest{Token: got.GetToken()})
	if err != nil || who.GetSessionId() != s.GetId() || !who.GetConfirmedAt().AsTime().Equal(e.service.now()) {
		t.Errorf("the new token is of %v: %v", who, err)
	}

	app := e.enrol(t, s)
	_, err = e.factors.Confirm(me, byPassword(goodPassword))
	wantCode(t, err, "confirmation.factor_required")
	if _, err = e.factors.Confirm(me, &identitypb.ConfirmRequest{Proof: &identitypb.ConfirmRequest_Code{Code: app.code(t, e, 0)}}); err != nil {
		t.Error(err)
	}
	if _, err = e.factors.Confirm(me, &identitypb.ConfirmRequest{Proof: &identitypb.ConfirmRequest_RecoveryCode{RecoveryCode: app.recovery[0]}}); err != nil {
		t.Error(err)
	}

	// A session that has ended confirms nothing.
	if _, err := e.DeleteSession(me, &identitypb.DeleteSessionRequest{SessionId: s.GetId()}); err != nil {
		t.Fatal(err)
	}
	_, err = e.factors.Confirm(me, &identitypb.ConfirmRequest{Proof: &identitypb.ConfirmRequest_RecoveryCode{RecoveryCode: app.recovery[1]}})
	wantCode(t, err, "auth.token_invalid")
	if left := query[int](t, e.db, `SELECT count(*) FROM recovery_code WHERE used_at IS NULL`); left != 9 {
		t.Errorf("%d codes left: one was used up for nothing", left)
	}
}

func TestConfirmationsAreBounded(t *testing.T) {
	t.Parallel()
	e := newFactorEnv(t)
	e.account(t, "ada@example.org")
	s := e.signIn(t, "ada@example.org")
	other := e.signIn(t, "ada@example.org")
	me := as(t.Context(), s)
	refusals := 0
	var mu sync.Mutex
	together(t, 2*maxTries, func(int) error {
		_, err := e.factors.Confirm(me, byPassword("not "+goodPassword))
		if fault.CodeOf(err) == "confirmation.refused" {
			mu.Lock()
			refusals++
			mu.Unlock()
		}
		return err
	}, "confirmation.refused", "confirmation.tries")
	if refusals != maxTries {
		t.Errorf("%d passwords were compared, want %d", refusals, maxTries)
	}
	e.clock.Add(3 * time.Minute)
	_, err := e.factors.Confirm(me, byPassword(goodPassword))
	wantCode(t, err, "confirmation.tries")
	if fe, ok := errors.AsType[*fault.Error](err); !ok || fe.Retry != 7*time.Minute || fe.Kind != fault.Exhausted {
		t.Errorf("told %+v", fe)
	}
	if _, err := e.factors.Confirm(as(t.Context(), other), byPassword(goodPassword)); err != nil {
		t.Errorf("another session: %v", err)
	}
	e.clock.Add(7 * time.Minute)
	for range 2 * maxTries { // right ones are not counted
		if _, err := e.factors.Confirm(me, byPassword(goodPassword)); err != nil {
			t.Fatal(err)
		}
	}
}
