package story_test

import "testing"

// TestAccessToken is a program that acts for somebody, within its scopes, until
// its token is revoked.
func TestAccessToken(t *testing.T) {
	t.Parallel()
	in := shared(t)
	p := in.signUp(t, "Token Holder")
	made := p.do(t, 201, "POST", "/v1/me/tokens", map[string]any{"name": "script", "scopes": []string{"me.read"}})
	program := &person{in: in, name: "script", account: p.account, token: made.text("token")}
	if a := program.do(t, 200, "GET", "/v1/me", nil); a.text("id") != p.account {
		t.Errorf("acts for %s", a)
	}
	program.do(t, 403, "PATCH", "/v1/me", map[string]any{"bio": "x"})
	program.do(t, 403, "POST", "/v1/me/tokens", map[string]any{"name": "another", "scopes": []string{"me.read"}})
	p.do(t, 204, "DELETE", "/v1/me/tokens/"+made.text("id"), nil)
	for program.reads(t, "/v1/me") { // believed for a second at most
		pause()
	}
	program.do(t, 401, "GET", "/v1/me", nil)

	// A new password ends the other sessions and gives this one a new token.
	other := p.do(t, 200, "POST", "/v1/me/password", map[string]any{"current_password": password, "new_password": "seven wooden benches"})
	fresh := &person{in: in, name: p.name, account: p.account, token: other.text("token")}
	fresh.do(t, 200, "GET", "/v1/me", nil)
}

// reads reports whether a page can be read.
func (p *person) reads(t *testing.T, path string) bool {
	t.Helper()
	a, err := p.try(t.Context(), "GET", path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a.status < 300
}
