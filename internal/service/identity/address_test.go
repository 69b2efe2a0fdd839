package identity

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// showing returns the columns of the schema that show a text, as text or as
// bytes.
func (e *env) showing(t *testing.T, text string) []string {
	t.Helper()
	rows, err := e.db.Query(t.Context(), `
		SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns AS c
		JOIN information_schema.tables AS t USING (table_schema, table_name)
		WHERE c.table_schema = $1 AND t.table_type = 'BASE TABLE' ORDER BY 1, 2`, Schema.Name)
	if err != nil {
		t.Fatal(err)
	}
	type column struct{ TableName, ColumnName, DataType string }
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByName[column])
	if err != nil || len(columns) < 80 {
		t.Fatalf("%d columns, %v", len(columns), err)
	}
	var found []string
	for _, c := range columns {
		table, name := pgx.Identifier{c.TableName}.Sanitize(), pgx.Identifier{c.ColumnName}.Sanitize()
		where := `position(lower($1) IN lower(` + name + `::text)) > 0`
		if c.DataType == "bytea" {
			where = `position(lower($1) IN lower(encode(` + name + `, 'escape'))) > 0`
		}
		if query[bool](t, e.db, `SELECT EXISTS (SELECT FROM `+table+` WHERE `+where+`)`, text) {
			found = append(found, c.TableName+"."+c.ColumnName)
		}
	}
	return found
}

// before makes an account as a process of before has made it, with goodPassword.
func (e *env) before(t *testing.T, accountID, address string) {
	t.Helper()
	hash, err := e.service.hasher.hash(t.Context(), goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, e.db, `
		INSERT INTO account (id, email, name, locale, time_zone, password_hash, created_at, updated_at)
		VALUES ($1, $2, 'Ada Lovelace', 'en', 'UTC', $3, now(), now())`, accountID, address, hash)
}

// another is the service as another process runs it, on the same database.
func (e *env) another(t *testing.T) *Service {
	t.Helper()
	vault, err := secret.NewVault(e.keys, e.db)
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{
		DB: e.db, Log: rpctest.Log(t), Now: e.clock.Now, PasswordCost: cheap, Vault: vault, Keys: e.keys, Store: e.service.store,
	})
}

// Whatever somebody does with an address, no table shows it, and neither does
// what is sent.
func TestNoAddressIsPlain(t *testing.T) {
	t.Parallel()
	e := newFederationEnv(t)
	accounts := identitypb.NewAccountServiceClient(e.harness.As("edge"))
	hidden := []string{"zebra.quagga", "savanna.example"}
	look := func(after string) {
		t.Helper()
		for _, text := range hidden {
			if found := e.showing(t, text); len(found) > 0 {
				t.Errorf("after %s: %q is in %q", after, text, found)
			}
		}
	}
	n := 0
	once := func(a *identitypb.Account) context.Context {
		n++
		return rpc.WithIdempotencyKey(rpctest.Account(t.Context(), a.GetId()), fmt.Sprint("key ", n))
	}
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const address = "Zebra.Quagga@Savanna.example"
	signUp := &identitypb.CreateAccountRequest{Email: address, Password: goodPassword, Name: "Ada Lovelace"}
	first, err := e.CreateAccount(rpc.WithIdempotencyKey(t.Context(), "sign up"), signUp)
	must(first, err)
	again, err := e.CreateAccount(rpc.WithIdempotencyKey(t.Context(), "sign up"), signUp)
	must(again, err)
	same(t, again, first)
	must(e.CreateAccount(rpc.WithIdempotencyKey(t.Context(), "the same"), signUp))
	look("sign-up, before mails are written")
	if keys := query[int](t, e.db, `SELECT count(*) FROM person_key`); keys != 1 {
		t.Errorf("%d data keys, want that of the one account", keys)
	}
	e.letters(t)
	look("sign-up")
	e.clock.Add(time.Hour) // no mail is too many
	must(accounts.RequestEmailVerification(once(first), &identitypb.RequestEmailVerificationRequest{}))
	verify := e.letter(t, mailVerifyEmail).GetToken()
	must(accounts.VerifyEmail(once(first), &identitypb.VerifyEmailRequest{Token: verify}))
	look("verification")

	update := once(first)
	for range 2 {
		me, err := e.UpdateMe(update, &identitypb.UpdateMeRequest{Bio: new("x")})
		if err != nil || me.GetEmail() != "zebra.quagga@savanna.example" || me.GetEtag() != "3" {
			t.Errorf("%v, %v", me, err)
		}
	}
	look("a change of the profile")
	for range 12 { // so many that a mail is due
		e.try(t.Context(), address, "wrong password")
		e.clock.Add(accountPatience.Most)
	}
	look("guesses, before mails are written")
	e.kinds(t)

	must(accounts.RequestPasswordReset(rpc.WithIdempotencyKey(t.Context(), "reset"), &identitypb.RequestPasswordResetRequest{Email: address}))
	look("asking for a reset")
	reset := e.letter(t, mailResetPassword).GetToken()
	must(accounts.CompletePasswordReset(once(first), &identitypb.CompletePasswordResetRequest{Token: reset, Password: "another good password"}))
	look("a reset")

	must(accounts.RequestEmailChange(once(first), &identitypb.RequestEmailChangeRequest{Email: "new.zebra.quagga@savanna.example", Password: "another good password"}))
	look("asking for a change")
	change := e.letter(t, mailChangeEmail).GetToken()
	must(accounts.CompleteEmailChange(once(first), &identitypb.CompleteEmailChangeRequest{Token: change}))
	look("a change")

	session, err := e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: "new.zebra.quagga@savanna.example", Password: "another good password"})
	must(session, err)
	must(e.factors.CreateTotpFactor(confirmedAs(t.Context(), session), &identitypb.CreateTotpFactorRequest{}))
	must(e.factors.BeginPasskeyRegistration(confirmedAs(t.Context(), session), &identitypb.BeginPasskeyRegistrationRequest{}))
	look("factors")

	e.school.is("1", "federated.zebra.quagga@savanna.example", true)
	must(e.enter(t, "school"))
	look("sign-in at a provider")

	admin := e.account(t, "root@example.org")
	for _, call := range []func(context.Context) (*identitypb.AccountState, error){
		func(ctx context.Context) (*identitypb.AccountState, error) {
			return accounts.SuspendAccount(ctx, &identitypb.SuspendAccountRequest{AccountId: first.GetId(), Reason: "x"})
		},
		func(ctx context.Context) (*identitypb.AccountState, error) {
			return accounts.ReinstateAccount(ctx, &identitypb.ReinstateAccountRequest{AccountId: first.GetId()})
		},
	} {
		ctx := once(admin)
		for range 2 {
			if got, err := call(ctx); err != nil || got.GetEmail() != "new.zebra.quagga@savanna.example" {
				t.Errorf("%v, %v", got, err)
			}
		}
	}
	look("suspension")

	// The look sees what is there: an address as a text, and as bytes.
	e.before(t, "account_before", "zebra.quagga@savanna.example")
	exec(t, e.db, `UPDATE account SET email_sealed = 'Zebra.Quagga'::bytea WHERE id = 'account_before'`)
	same(t, e.showing(t, hidden[0]), []string{"account.email", "account.email_sealed"})
}

// Of many who sign up with one address, which an account of before may have, one
// gets it at most; the others leave no key behind.
func TestSignUpAgainstRowOfBefore(t *testing.T) {
	t.Parallel()
	e := newFederationEnv(t)
	accounts := identitypb.NewAccountServiceClient(e.harness.As("edge"))
	e.before(t, "account_before", "grace@example.org")
	ada := e.account(t, "ada@example.org")
	for range 2 { // before and after it is sealed
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				_, err := e.CreateAccount(t.Context(), &identitypb.CreateAccountRequest{Email: "Grace@example.org", Password: goodPassword, Name: "Grace"})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		// Not by a change, and not by who comes from a provider either.
		ctx := rpctest.Account(t.Context(), ada.GetId())
		if _, err := accounts.RequestEmailChange(ctx, &identitypb.RequestEmailChangeRequest{Email: "grace@example.org", Password: goodPassword}); err != nil {
			t.Fatal(err)
		}
		letters := e.letters(t)
		at := slices.IndexFunc(letters, func(l letter) bool { return l.kind == mailChangeEmail })
		_, err := accounts.CompleteEmailChange(t.Context(), &identitypb.CompleteEmailChangeRequest{Token: letters[at].GetToken()})
		wantCode(t, err, "account.email_taken")
		told := slices.ContainsFunc(letters, func(l letter) bool {
			return l.kind == mailAccountExists && l.account == "account_before" && l.GetTo() == "grace@example.org"
		})
		if !told {
			t.Errorf("who has the account was not told of the sign-ups: %v", letters)
		}
		e.school.is("1", "grace@example.org", true)
		_, err = e.enter(t, "school")
		wantCode(t, err, "federation.link_required")
		if err := e.service.sealPlain(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.clock.Add(time.Hour) // no mail is too many
	}
	accountsMade, keys := query[int](t, e.db, `SELECT count(*) FROM account`), query[int](t, e.db, `SELECT count(*) FROM person_key`)
	if accountsMade != 2 || keys != 2 {
		t.Errorf("%d accounts and %d keys, want 2", accountsMade, keys)
	}
}

// The key of a person is all that it takes to forget their address.
func TestErasedAddress(t *testing.T) {
	t.Parallel()
	e := newFactorEnv(t)
	accounts := identitypb.NewAccountServiceClient(e.harness.As("edge"))
	a := e.account(t, "ada@example.org")
	s := e.signIn(t, "ada@example.org")
	ctx := confirmedAs(t.Context(), s)
	reset := func() string {
		if _, err := accounts.RequestPasswordReset(t.Context(), &identitypb.RequestPasswordResetRequest{Email: "ada@example.org"}); err != nil {
			t.Fatal(err)
		}
		letters := e.letters(t)
		if len(letters) == 0 {
			return ""
		}
		return letters[len(letters)-1].GetToken()
	}
	token := reset()
	err := e.db.InTx(t.Context(), func(tx *pg.Tx) error {
		return e.service.vault.Erase(t.Context(), tx, a.GetId())
	})
	if err != nil {
		t.Fatal(err)
	}
	me, err := e.GetMe(ctx, &identitypb.GetMeRequest{})
	if err != nil || me.GetEmail() != "" || me.GetName() != a.GetName() {
		t.Errorf("%v, %v", me, err)
	}
	state, err := accounts.ListAccounts(ctx, &identitypb.ListAccountsRequest{AccountId: a.GetId()})
	if err != nil || len(state.GetItems()) != 1 || state.GetItems()[0].GetEmail() != "" {
		t.Errorf("%v, %v", state, err)
	}
	// Nobody finds it by the address.
	found, err := accounts.ListAccounts(ctx, &identitypb.ListAccountsRequest{Email: "ada@example.org"})
	if err != nil || len(found.GetItems()) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	_, err = AccountByEmail(t.Context(), e.db, e.keys, "ada@example.org")
	wantCode(t, err, "account.not_found")
	_, err = e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: "ada@example.org", Password: goodPassword})
	wantCode(t, err, "session.bad_credentials")
	_, err = accounts.CompletePasswordReset(t.Context(), &identitypb.CompletePasswordResetRequest{Token: token, Password: "another good password"})
	wantCode(t, err, "account.link_invalid")
	if got := reset(); got != "" {
		t.Error("a reset was sent")
	}
	_, err = accounts.RequestEmailVerification(ctx, &identitypb.RequestEmailVerificationRequest{})
	wantCode(t, err, "account.no_email")
	// All else goes on, and tells that there is no address.
	before := len(e.events(t))
	if _, err := e.UpdateMe(ctx, &identitypb.UpdateMeRequest{Name: new("Nobody")}); err != nil {
		t.Error(err)
	}
	if told := e.events(t)[before:]; len(told) != 1 || told[0].(*identitypb.AccountUpdated).GetEmail() != "" {
		t.Errorf("told %v", told)
	}
	if _, err := accounts.ChangePassword(ctx, &identitypb.ChangePasswordRequest{CurrentPassword: goodPassword, NewPassword: "another good password"}); err != nil {
		t.Error(err)
	}
	if _, err := e.factors.CreateTotpFactor(ctx, &identitypb.CreateTotpFactorRequest{}); err != nil {
		t.Error(err)
	}
	if _, err := e.factors.BeginPasskeyRegistration(ctx, &identitypb.BeginPasskeyRegistrationRequest{}); err != nil {
		t.Error(err)
	}
	if mails := e.kinds(t); len(mails) != 0 {
		t.Errorf("mails %q to nobody", mails)
	}
	// Once the index is gone too, the address is free.
	exec(t, e.db, `UPDATE account SET email_index = NULL WHERE id = $1`, a.GetId())
	if other := e.account(t, "ada@example.org"); e.signIn(t, "ada@example.org").GetAccountId() != other.GetId() {
		t.Error("signed in to another account")
	}
}

// A rotation of the envelope keys changes neither what is read nor what is found.
func TestAddressesOutliveRotation(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	index := e.service.emailIndex("ada@example.org")
	text := e.keyset
	for _, change := range []func([]byte) ([]byte, error){secret.Add, secret.Promote} {
		var err error
		if text, err = change(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.keys.Replace(text); err != nil {
		t.Fatal(err)
	}
	fresh := e.another(t)
	for n := 1; n > 0; {
		var err error
		if n, err = fresh.vault.Rewrap(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
	}
	if told := e.events(t); told[0].(*identitypb.AccountCreated).GetEmail() != "ada@example.org" {
		t.Errorf("an event from before: %v", told)
	}
	text, gone, err := secret.Retire(text, func(int64) bool { return false })
	if err != nil || len(gone) != 1 || e.keys.Replace(text) != nil {
		t.Fatalf("retired %v, %v", gone, err)
	}
	fresh = e.another(t)
	if got, err := fresh.accountByID(t.Context(), e.db, a.GetId(), ``); err != nil || got.Email != "ada@example.org" {
		t.Errorf("%q, %v", got.Email, err)
	}
	if !bytes.Equal(index, fresh.emailIndex("ADA@example.org")) {
		t.Error("the index is another")
	}
	if got, err := AccountByEmail(t.Context(), e.db, e.keys, "ada@example.org"); err != nil || got != a.GetId() {
		t.Errorf("%q, %v", got, err)
	}
}

// What is sealed for one account or one field is of no use for another.
func TestSealedAddressIsBound(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ada, bob := e.account(t, "ada@example.org"), e.account(t, "bob@example.org")
	exec(t, e.db, `UPDATE account SET email_sealed = (SELECT email_sealed FROM account WHERE id = $2) WHERE id = $1`, ada.GetId(), bob.GetId())
	if got, err := e.service.addressOf(t.Context(), ada.GetId()); err != nil || got != "" {
		t.Errorf("the address of another: %q, %v", got, err)
	}
	link := e.letter(t, mailVerifyEmail).GetToken() // of the other there is no address to write to
	exec(t, e.db, `UPDATE one_time_token SET email_sealed = (SELECT email_sealed FROM account WHERE id = $1) WHERE account_id = $1`, bob.GetId())
	_, err := e.accounts.VerifyEmail(t.Context(), &identitypb.VerifyEmailRequest{Token: link})
	wantCode(t, err, "account.link_invalid")
}
