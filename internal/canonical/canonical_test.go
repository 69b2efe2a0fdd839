package canonical_test

import (
	"testing"

	"github.com/stoa-lms/stoa/internal/canonical"
)

// TestSort has the example of RFC 8785, section 3.2.3, without its numbers, and what
// Go's encoder does otherwise.
func TestSort(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{ "b": [1, 2 , {"z":null,"a":true}], "a": "x" }`:  `{"a":"x","b":[1,2,{"a":true,"z":null}]}`,
		`"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/"`:  `"€$\u000f\nA'B\"\\\\\"/"`,
		`"<b>&\u2028\u2029\\u2028"`:                        "\"<b>&\u2028\u2029\\\\u2028\"",
		`{"a":12345678901234567890,"A":1,"":2,"\u00e9":3}`: `{"":2,"A":1,"a":12345678901234567890,"é":3}`,
	} {
		got, err := canonical.Sort([]byte(text))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", text, got, err, want)
		}
	}
	if _, err := canonical.Sort([]byte(`{"a":`)); err == nil {
		t.Error("half a document is sorted")
	}
	got, err := canonical.JSON(map[string]any{"b": "<", "a": 1})
	if err != nil || string(got) != `{"a":1,"b":"<"}` {
		t.Errorf("got %s, %v", got, err)
	}
}
