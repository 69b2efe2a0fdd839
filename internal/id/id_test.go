package id_test

import (
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/id"
)

// The vectors are those of the TypeID specification 0.3.
func TestFormat(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"00000000-0000-0000-0000-000000000000": "course_00000000000000000000000000",
		"00000000-0000-0000-0000-000000000001": "course_00000000000000000000000001",
		"00000000-0000-0000-0000-00000000000a": "course_0000000000000000000000000a",
		"00000000-0000-0000-0000-000000000020": "course_00000000000000000000000010",
		"ffffffff-ffff-ffff-ffff-ffffffffffff": "course_7zzzzzzzzzzzzzzzzzzzzzzzzz",
		"01890a5d-ac96-774b-bcce-b302099a8057": "course_01h455vb4pex5vsknk084sn02q",
	} {
		if got := id.Format("course", uuid.MustParse(in)); got != want {
			t.Errorf("Format(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestNewIsValidAndOrdered(t *testing.T) {
	t.Parallel()
	last := ""
	for range 1000 {
		got := id.New("order")
		if !id.Valid("order", got) {
			t.Fatalf("%q is not valid", got)
		}
		if got <= last {
			t.Fatalf("%q does not sort after %q", got, last)
		}
		last = got
	}
}

func TestValidRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "course", "course_", "lesson_01h455vb4pex5vsknk084sn02q", "course_01h455vb4pex5vsknk084sn02",
		"course_81h455vb4pex5vsknk084sn02q", "course_01H455VB4PEX5VSKNK084SN02Q", "course_01h455vb4pex5vsknk084sn0iq",
		"course-01h455vb4pex5vsknk084sn02q", "course_01h455vb4pex5vsknk084sn02\x00",
	} {
		if id.Valid("course", s) {
			t.Errorf("Valid(%q) = true", s)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		if id.Valid("course", s) && len(s) != 33 {
			t.Fatalf("%q accepted", s)
		}
	})
}
