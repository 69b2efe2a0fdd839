package media_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// cue is WebVTT of one cue as it is kept.
func cue(text string) string { return "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n" + text + "\n" }

func mp4(text string) []byte { return []byte("\x00\x00\x00\x18ftypisom...." + text) }

func (f *fixture) captions(course string, describe bool, ids ...string) (list []*mediapb.ReadCaptionsResponse) {
	f.t.Helper()
	stream, err := f.copies.ReadCaptions(f.t.Context(), &mediapb.ReadCaptionsRequest{CourseId: course, MediaIds: ids, DescribeOnly: describe})
	if err != nil {
		f.t.Fatal(err)
	}
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			f.t.Fatal(err)
		}
		list = append(list, res)
	}
}

func (f *fixture) importCaptions(key string, list ...*mediapb.ImportedCaption) error {
	_, err := f.copies.ImportCaptions(rpc.WithIdempotencyKey(f.t.Context(), key), &mediapb.ImportCaptionsRequest{CourseId: f.course, Captions: list})
	return err
}

// lines are captions as a line each: which file, language, label, main, words.
func lines(list []*mediapb.ReadCaptionsResponse, names map[string]string) (out []string) {
	for _, c := range list {
		main := ""
		if c.GetMain() {
			main = " main"
		}
		words := strings.TrimSuffix(c.GetContent()[strings.LastIndex(strings.TrimSuffix(c.GetContent(), "\n"), "\n")+1:], "\n")
		out = append(out, fmt.Sprintf("%s %s %s%s: %s", names[c.GetMediaId()], c.GetLanguage(), c.GetLabel(), main, words))
	}
	return out
}

// TestCaptionsTaken: captions of many files are set and read together, in the
// order that is asked for, and are those that PutCaption would have made.
func TestCaptionsTaken(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a, b, none := f.mustUpload("a.mp4", mp4("a")).GetId(), f.mustUpload("b.mp4", mp4("b")).GetId(), f.mustUpload("c.mp4", mp4("c")).GetId()
	names := map[string]string{a: "a", b: "b", none: "c"}
	first := []*mediapb.ImportedCaption{
		{MediaId: b, Language: "pt-br", Content: "1\r\n00:00:01,000 --> 00:00:02,000\r\nOlá <script>\r\n"},
		{MediaId: a, Language: "de", Label: " Deutsch \"AT\"", Content: cue("Hallo"), Main: true},
		{MediaId: a, Language: "en", Content: "\ufeffWEBVTT\n\nSTYLE\n::cue {}\n\n00:01.000 --> 00:02.000\nHi"},
	}
	if err := f.importCaptions("first", first...); err != nil {
		t.Fatal(err)
	}
	want := []string{"b pt-BR português: Olá &lt;script&gt;", "a de Deutsch 'AT' main: Hallo", "a en English: Hi"}
	got := f.captions(f.course, false, b, none, a)
	if d := cmp.Diff(want, lines(got, names)); d != "" {
		t.Error(d)
	}
	for i, c := range f.captions(f.course, true, b, none, a) {
		sum := sha256.Sum256([]byte(got[i].GetContent()))
		if c.GetContent() != "" || c.GetSize() != int64(len(got[i].GetContent())) || c.GetSha256() != hex.EncodeToString(sum[:]) || c.GetSha256() != got[i].GetSha256() || c.GetLanguage() != got[i].GetLanguage() {
			t.Errorf("described: %v of %v", c, got[i])
		}
	}
	if list := f.captions(id.New("course"), false, a, b); len(list) != 0 {
		t.Errorf("another course's: %v", list)
	}
	// What is set again is replaced, and another is the main one then; what is not
	// named stays.
	second := []*mediapb.ImportedCaption{{MediaId: a, Language: "en", Label: "E", Content: cue("Hello"), Main: true}}
	for range 2 {
		if err := f.importCaptions("second", second...); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"a de Deutsch 'AT': Hallo", "a en E main: Hello"}, lines(f.captions(f.course, false, a), names)); d != "" {
		t.Error(d)
	}
	if n := f.count(`SELECT revision FROM caption WHERE language = 'en'`); n != 2 {
		t.Errorf("revision %d: a repetition was done", n)
	}
	code(t, f.importCaptions("second", first...), fault.New(fault.Conflict, "idempotency.key_reused", ""))
	// What comes of them is what they are.
	var again []*mediapb.ImportedCaption
	before := f.captions(f.course, false, a, b)
	for _, c := range before {
		again = append(again, &mediapb.ImportedCaption{MediaId: none, Language: c.GetLanguage() + "-x-" + names[c.GetMediaId()], Label: c.GetLabel(), Content: c.GetContent()})
	}
	if err := f.importCaptions("again", again...); err != nil {
		t.Fatal(err)
	}
	for i, c := range f.captions(f.course, false, none) {
		if c.GetContent() == "" || !strings.Contains(before[0].GetContent()+before[1].GetContent()+before[2].GetContent(), c.GetContent()) {
			t.Errorf("%d: %q", i, c.GetContent())
		}
	}
	// A deleted file has none for others, and takes none.
	if err := f.delete(a, false); err != nil {
		t.Fatal(err)
	}
	if list := f.captions(f.course, false, a); len(list) != 0 {
		t.Errorf("of a deleted file: %v", list)
	}
	code(t, f.importCaptions("gone", second...), fault.New(fault.NotFound, "media.not_found", ""))
}

// TestCaptionsRefused: all or none, and it is told which.
func TestCaptionsRefused(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a, text := f.mustUpload("a.mp4", mp4("a")).GetId(), f.mustUpload("a.txt", []byte("words")).GetId()
	good := &mediapb.ImportedCaption{MediaId: a, Language: "de", Content: cue("Hallo")}
	for name, c := range map[string]struct {
		bad  *mediapb.ImportedCaption
		kind fault.Kind
		want string // the code, and the first field
	}{
		"no captions":        {&mediapb.ImportedCaption{MediaId: a, Language: "en", Content: "hello"}, fault.Invalid, "caption.malformed captions[1].content"},
		"nothing":            {&mediapb.ImportedCaption{MediaId: a, Language: "en"}, fault.Invalid, "request.invalid captions[1].content"},
		"no language":        {&mediapb.ImportedCaption{MediaId: a, Language: "xx", Content: cue("x")}, fault.Invalid, "caption.language captions[1].language"},
		"a language twice":   {&mediapb.ImportedCaption{MediaId: a, Language: "DE", Content: cue("x")}, fault.Invalid, "caption.twice captions[1].language"},
		"more than it keeps": {&mediapb.ImportedCaption{MediaId: a, Language: "en", Content: cue(strings.Repeat(">", 1<<20))}, fault.Invalid, "caption.too_large captions[1].content"},
		"more than it takes": {&mediapb.ImportedCaption{MediaId: a, Language: "en", Content: cue(strings.Repeat("x", 2<<20))}, fault.Invalid, "request.invalid captions[1].content"},
		"of a text":          {&mediapb.ImportedCaption{MediaId: text, Language: "en", Content: cue("x")}, fault.Conflict, "media.no_captions "},
		"of no file":         {&mediapb.ImportedCaption{MediaId: id.New("media"), Language: "en", Content: cue("x")}, fault.NotFound, "media.not_found "},
	} {
		err := f.importCaptions("", good, c.bad)
		told, _ := errors.AsType[*fault.Error](err)
		if told == nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := told.Code + " "
		if len(told.Fields) > 0 {
			got += told.Fields[0].Path
		}
		if got != c.want || told.Kind != c.kind {
			t.Errorf("%s: %v %q, want %q", name, told.Kind, got, c.want)
		}
	}
	code(t, f.importCaptions("", &mediapb.ImportedCaption{MediaId: a, Language: "de", Content: cue("x"), Main: true}, &mediapb.ImportedCaption{MediaId: a, Language: "en", Content: cue("x"), Main: true}),
		fault.New(fault.Invalid, "caption.main_twice", ""))
	if n := f.count(`SELECT count(*) FROM caption`); n != 0 {
		t.Errorf("%d captions of what was refused", n)
	}
	// A file has so many, whoever adds one more.
	var many []*mediapb.ImportedCaption
	for i := range 51 {
		many = append(many, &mediapb.ImportedCaption{MediaId: a, Language: fmt.Sprintf("en-x-a%d", i), Label: "x", Content: cue("x")})
	}
	code(t, f.importCaptions("", many...), fault.New(fault.Exhausted, "caption.too_many", ""))
	if err := f.importCaptions("", many[:50]...); err != nil {
		t.Fatal(err)
	}
	code(t, f.importCaptions("", many[50]), fault.New(fault.Exhausted, "caption.too_many", ""))
	if err := f.importCaptions("", many[:3]...); err != nil {
		t.Errorf("of those there are: %v", err)
	}
	if list := f.captions(f.course, false, a); len(list) != 50 {
		t.Errorf("%d captions are read", len(list))
	}
}

// TestCaptionsRace: of those who set captions of the same files at a time, each is
// whole, and no file has two main ones.
func TestCaptionsRace(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ids := []string{f.mustUpload("a.mp4", mp4("a")).GetId(), f.mustUpload("b.mp4", mp4("b")).GetId()}
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			var list []*mediapb.ImportedCaption
			for i := range ids {
				list = append(list, &mediapb.ImportedCaption{MediaId: ids[(n+i)%2], Language: []string{"de", "en", "fr"}[n%3], Label: "x", Content: cue(fmt.Sprintf("%d", n)), Main: true})
			}
			if err := f.importCaptions("", list...); err != nil {
				t.Errorf("%d: %v", n, err)
			}
		})
	}
	wg.Wait()
	list := f.captions(f.course, false, ids...)
	mains := map[string]int{}
	for i, c := range list {
		if c.GetMain() {
			mains[c.GetMediaId()]++
		}
		if other := list[(i+len(list)/2)%len(list)]; other.GetContent() != c.GetContent() || other.GetMain() != c.GetMain() {
			t.Errorf("half of one: %v, %v", c, other)
		}
	}
	if len(list) != 6 || mains[ids[0]] != 1 || mains[ids[1]] != 1 {
		t.Errorf("%d captions, main ones: %v", len(list), mains)
	}
}

// TestCaptionsOfWhatIsHeld: a video that a question shows is taken along with its
// captions after it was deleted, as its bytes are.
func TestCaptionsOfWhatIsHeld(t *testing.T) {
	t.Parallel()
	f := setup(t)
	held, gone := f.mustUpload("a.mp4", mp4("a")).GetId(), f.mustUpload("b.mp4", mp4("b")).GetId()
	if err := f.importCaptions("first", &mediapb.ImportedCaption{MediaId: held, Language: "en", Content: cue("Hi")}, &mediapb.ImportedCaption{MediaId: gone, Language: "en", Content: cue("Bye")}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.copies.HoldMedia(t.Context(), &mediapb.HoldMediaRequest{CourseId: f.course, MediaIds: []string{held}}); err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{held, gone} {
		if err := f.delete(m, false); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"held en English: Hi"}, lines(f.captions(f.course, false, held, gone), map[string]string{held: "held", gone: "gone"})); d != "" {
		t.Error(d)
	}
}
