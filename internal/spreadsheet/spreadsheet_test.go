package spreadsheet

import "testing"

func TestHarmless(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Ana": "Ana", "": "", "=1": "'=1", "+1": "'+1", "-1": "'-1", "@SUM": "'@SUM", "\tx": "'\tx", "＝1": "'＝1", "a=1": "a=1", "'x": "''x", " =1": "' =1", "-": "'-", "a;b": "a;b", "a;=1": "a;'=1", "a; \"=1": "a;' \"=1", "a\t-1": "a\t'-1", ";=1;@x": ";'=1;'@x", "- one\n- two": "'- one\n- two",
	} {
		if got := Harmless(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
