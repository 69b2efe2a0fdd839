package story_test

import (
	"bytes"
	"strings"
	"testing"
)

// TestCertificate follows a certificate from the last lesson to who verifies it,
// to a name that is corrected, and to its end.
func TestCertificate(t *testing.T) {
	t.Parallel()
	in := shared(t)
	teacher, student, other, nobody := in.signUp(t, "Ada Teacher"), in.signUp(t, "Sam Student"), in.signUp(t, "Out Sider"), in.nobody()
	course, lessons := draft(t, teacher, "Python for <plotting>")
	publish(t, teacher, course, 0)
	student.manages(t, "the enrollment", 201, "POST", "/v1/courses/"+course+"/enrollments", nil)
	eventually(t, soon, "the certificate is there", func() (bool, string) {
		for _, l := range lessons {
			if a, err := student.try(t.Context(), "POST", "/v1/courses/"+course+"/lessons/"+l+"/view", nil); err != nil || a.status != 200 {
				return false, a.String()
			}
		}
		a, err := student.try(t.Context(), "GET", "/v1/me/certificates", nil)
		return err == nil && len(a.items()) == 1 && a.text("items.0.person_name") != "", a.String()
	})
	c := student.do(t, 200, "GET", "/v1/me/certificates", nil).items()[0]
	mine, page := "/v1/me/certificates/"+c.text("id"), "/certificates/"+c.text("serial")

	file := student.do(t, 200, "GET", mine+"/pdf", nil)
	if !bytes.HasPrefix(file.body, []byte("%PDF-1.7")) || file.header.Get("Content-Type") != "application/pdf" || !strings.Contains(file.header.Get("Content-Disposition"), ".pdf") {
		t.Errorf("got %v", file.header)
	}
	student.do(t, 304, "GET", mine+"/pdf", nil, "If-None-Match", file.header.Get("ETag"))
	student.do(t, 400, "GET", mine+"/pdf?x=1", nil)
	other.do(t, 404, "GET", mine+"/pdf", nil)
	nobody.do(t, 401, "GET", mine+"/pdf", nil)
	other.do(t, 404, "GET", mine+"/badge", nil)

	shown := nobody.do(t, 200, "GET", page, nil)
	for _, want := range []string{"This certificate is valid", "Sam Student", "Python for &lt;plotting&gt;", c.text("serial")} {
		if !strings.Contains(string(shown.body), want) {
			t.Errorf("the page lacks %q:\n%s", want, shown.body)
		}
	}
	if !strings.Contains(shown.header.Get("X-Robots-Tag"), "noindex") {
		t.Error("the page may be found by search engines")
	}
	nobody.do(t, 404, "GET", "/certificates/0000-0000-0000-0000", nil)
	nobody.do(t, 404, "GET", "/v1/certificates/0000-0000-0000-0000", nil)

	// What a verifier fetches names each other.
	badge := nobody.do(t, 200, "GET", "/v1"+page+"/badge?format=json", nil)
	did := nobody.do(t, 200, "GET", "/.well-known/did.json", nil)
	if badge.text("issuer.id") != did.text("id") || !strings.HasPrefix(badge.text("proof.verificationMethod"), did.text("id")+"#") {
		t.Errorf("the badge is of another issuer: %s", badge)
	}
	status := nobody.do(t, 200, "GET", badge.text("credentialStatus.statusListCredential"), nil)
	if status.text("id") != badge.text("credentialStatus.statusListCredential") || status.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("the list is another: %s", status)
	}
	nobody.do(t, 200, "GET", badge.text("credentialSubject.achievement.id"), nil)
	nobody.do(t, 200, "GET", "/v1/badges/issuer", nil)
	key := nobody.do(t, 200, "GET", "/.well-known/jwks.json", nil).text("keys.0.kid")
	nobody.do(t, 200, "GET", "/v1/badges/key/"+key, nil)
	nobody.do(t, 404, "GET", "/v1/badges/key/other", nil)
	nobody.do(t, 400, "GET", "/v1/badges/other/other", nil)
	if token := student.do(t, 200, "GET", mine+"/badge?format=jwt", nil); bytes.Count(token.body, []byte(".")) != 2 {
		t.Errorf("no JWT: %s", token.body)
	}
	student.do(t, 400, "GET", mine+"/badge?format=xml", nil)

	// Its holder may keep it to themselves.
	student.do(t, 200, "PUT", mine+"/sharing", map[string]any{"shared": false})
	nobody.do(t, 404, "GET", page, nil)
	nobody.do(t, 404, "GET", "/v1"+page+"/badge", nil)
	student.do(t, 200, "PUT", mine+"/sharing", map[string]any{"shared": true})

	staff := "/v1/courses/" + course + "/certificates/" + c.text("id")
	other.do(t, 403, "POST", staff+"/revoke", map[string]any{"reason": "mine now"})
	student.do(t, 403, "POST", staff+"/revoke", map[string]any{"reason": "mine"})
	again := teacher.do(t, 200, "POST", staff+"/reissue", map[string]any{"person_name": "Samuel Student", "reason": "a full name"})
	if body := string(nobody.do(t, 200, "GET", page, nil).body); !strings.Contains(body, "was replaced") || strings.Contains(body, "Sam Student") {
		t.Errorf("the page of the first:\n%s", body)
	}
	teacher.do(t, 200, "POST", staff+"/revoke", map[string]any{"reason": "copied"})
	if body := string(nobody.do(t, 200, "GET", "/certificates/"+again.text("serial"), nil).body); !strings.Contains(body, "was revoked") {
		t.Errorf("the page of the second:\n%s", body)
	}
	student.do(t, 409, "GET", mine+"/pdf", nil)
	if items := teacher.do(t, 200, "GET", "/v1/courses/"+course+"/certificates", nil).items(); len(items) != 1 || items[0].text("state") != "revoked" {
		t.Errorf("staff sees %v", items)
	}
}
