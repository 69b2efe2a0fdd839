package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"golang.org/x/oauth2"
)

// askGitHub returns whom a token of GitHub is of. GitHub has no ID tokens: the
// answer is believed because we asked for it over TLS, with a token that came for
// a code of this very sign-in.
func (p *provider) askGitHub(ctx context.Context, token *oauth2.Token) (person, error) {
	var user struct {
		ID    int64  `json:"id"`
		Login string `json:"login"`
		Name  string `json:"name"`
	}
	if err := p.get(ctx, token, "/user", &user); err != nil {
		return person{}, err
	}
	if user.ID <= 0 {
		return person{}, fmt.Errorf("%w: %s: no user", ErrFederationRefused, p.Name)
	}
	var emails []struct {
		Email    string `json:"email"`
		Primary  bool   `json:"primary"`
		Verified bool   `json:"verified"`
	}
	if err := p.get(ctx, token, "/user/emails", &emails); err != nil {
		return person{}, err
	}
	// A login can be given up and taken by another; the number stays.
	out := person{Issuer: p.Issuer, Subject: strconv.FormatInt(user.ID, 10), Name: user.Name}
	if out.Name == "" {
		out.Name = user.Login
	}
	for _, e := range emails {
		if e.Primary && e.Verified {
			out.Email = e.Email
		}
	}
	return out, nil
}

// get asks GitHub's API.
func (p *provider) get(ctx context.Context, token *oauth2.Token, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.api+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("github: %w", err)
	}
	token.SetAuthHeader(req)
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("X-Github-Api-Version", "2022-11-28")
	res, err := p.client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrProviderAway, p.Name, err)
	}
	defer func() { _ = res.Body.Close() }()
	switch {
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %s: %s", ErrProviderAway, p.Name, res.Status)
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%w: %s: %s", ErrFederationRefused, p.Name, res.Status)
	}
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrProviderAway, p.Name, err)
	}
	return nil
}
