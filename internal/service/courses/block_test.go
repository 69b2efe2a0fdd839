package courses_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"google.golang.org/protobuf/encoding/protojson"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/courses"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// blocks reads blocks of JSON, as the edge does.
func blocks(document string) ([]*coursespb.Block, error) {
	req := &coursespb.CreateLessonRequest{}
	err := protojson.Unmarshal([]byte(`{"blocks":`+document+`}`), req)
	return req.GetBlocks(), err
}

// All kinds of blocks, as they are written and as they are read.
func TestKindsOfBlocks(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	quiz, task := f.activity(courseID, moduleID, "quiz", "q"), f.activity(courseID, moduleID, "assignment", "w")
	picture, film, sound, deck := f.media.add(courseID, "image/png"), f.media.add(courseID, "video/mp4"), f.media.add(courseID, "audio/mpeg"),
		f.media.add(courseID, "application/vnd.oasis.opendocument.presentation")
	sent := must(blocks(fmt.Sprintf(`[
		{"html": {"source": "<p onclick=\"x()\">Hi<script>alert(1)</script> <a href=\"javascript:x()\">there</a></p>"}},
		{"image": {"media_id": %q, "decorative": true}},
		{"video": {"media_id": %q, "title": "T", "caption": "c", "transcript": "*said*"}},
		{"audio": {"media_id": %q}},
		{"slides": {"media_id": %q, "title": "D"}},
		{"embed": {"url": "https://www.youtube.com/watch?feature=x&v=dQw4w9WgXcQ&t=1m30s", "title": "V"}},
		{"code": {"source": "\tx <- 1  \n", "language": "r", "highlight_lines": [2, 1]}},
		{"math": {"source": "\\frac{a}{b} < c"}},
		{"math": {"source": "x", "display": "inline", "alt": "x"}},
		{"callout": {"kind": "tip", "title": "t", "text": "**b**", "collapsed": true}},
		{"divider": {}},
		{"quiz": {"activity_id": %q}},
		{"assignment": {"activity_id": %q}}]`, picture, film, sound, deck, quiz, task)))
	l := must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: courseID, ModuleId: moduleID, Title: "l", Blocks: sent}))
	same(t, "removed", []string{"onclick of <p>", "<script>", "<a>", "href of <a>"}, l.GetBlocks()[0].GetHtml().GetRemoved())
	want := must(blocks(`[
		{"html": {"source": "<p>Hi there</p>", "html": "<p>Hi there</p>"}},
		{"image": {"decorative": true}},
		{"video": {"title": "T", "caption": "c", "transcript": "*said*", "transcript_html": "<p><em>said</em></p>\n"}},
		{"audio": {}},
		{"slides": {"title": "D"}},
		{"embed": {"url": "https://www.youtube-nocookie.com/embed/dQw4w9WgXcQ?start=90", "title": "V", "provider": "youtube",
			"frame_url": "https://www.youtube-nocookie.com/embed/dQw4w9WgXcQ?start=90",
			"sandbox": "allow-scripts allow-same-origin allow-forms allow-popups allow-presentation",
			"allow": "autoplay; encrypted-media; fullscreen; picture-in-picture"}},
		{"code": {"source": "\tx <- 1  \n", "language": "r", "highlight_lines": [2, 1]}},
		{"math": {"source": "\\frac{a}{b} < c", "display": "display"}},
		{"math": {"source": "x", "display": "inline", "alt": "x"}},
		{"callout": {"kind": "tip", "title": "t", "text": "**b**", "collapsed": true, "html": "<p><strong>b</strong></p>\n"}},
		{"divider": {}},
		{"quiz": {"title": "q"}},
		{"assignment": {"title": "w"}}]`))
	image, video, audio, slides := want[1].GetImage(), want[2].GetVideo(), want[3].GetAudio(), want[4].GetSlides()
	image.MediaId, image.Media, image.Url = picture, f.media.told(courseID, picture), "/v1/media/"+picture+"/content"
	video.MediaId, video.Media = film, f.media.told(courseID, film)
	audio.MediaId, audio.Media = sound, f.media.told(courseID, sound)
	slides.MediaId, slides.Media = deck, f.media.told(courseID, deck)
	want[11].GetQuiz().ActivityId, want[12].GetAssignment().ActivityId = quiz, task
	get := &coursespb.GetLessonRequest{CourseId: courseID, LessonId: l.GetId()}
	draft := must(f.GetLesson(f.teacher, get))
	same(t, "the draft", want, draft.GetBlocks())
	f.publish(courseID)
	same(t, "published", want, must(f.GetLesson(f.learner, get)).GetBlocks())
	event, _ := f.events()[0].(*coursespb.CoursePublished)
	same(t, "what is played", []string{film, sound}, event.GetItems()[3].GetPlayableMediaIds())

	// What was read can be sent back, and is then what it was.
	again := must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: l.GetId(), Blocks: &coursespb.Blocks{Items: draft.GetBlocks()}}))
	same(t, "sent back", draft, again)

	// An activity that is gone has no title; what is published stays. Who is to publish is
	// warned, and learners are not shown the block then.
	gone := func() (lessons []string) {
		for _, w := range must(f.PreviewPublication(f.teacher, &coursespb.PreviewPublicationRequest{CourseId: courseID})).GetFindings() {
			if w.GetCode() == "lesson.activity_gone" {
				lessons = append(lessons, w.GetItemId())
			}
		}
		return lessons
	}
	same(t, "nothing is gone", []string(nil), gone())
	must(f.DeleteActivity(f.teacher, &coursespb.DeleteActivityRequest{CourseId: courseID, ActivityId: quiz}))
	if title := must(f.GetLesson(f.teacher, get)).GetBlocks()[11].GetQuiz().GetTitle(); title != "" {
		t.Errorf("an activity that is gone is called %q", title)
	}
	same(t, "published still", want, must(f.GetLesson(f.learner, get)).GetBlocks())
	same(t, "shows what is gone", []string{l.GetId()}, gone())
	f.publish(courseID)
	same(t, "published without", slices.Delete(want, 11, 12), must(f.GetLesson(f.learner, get)).GetBlocks())
}

func TestRefusedBlocks(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	picture, paper, task := f.media.add(courseID, "image/png"), f.media.add(courseID, "application/pdf"), f.activity(courseID, moduleID, "assignment", "w")
	for document, want := range map[string]string{
		`[{"divider":{}},{"embed":{"url":"http://youtu.be/dQw4w9WgXcQ","title":"t"}}]`: "block.invalid blocks[1].embed.url embed.not_allowed",
		`[{"embed":{"url":"https://evil.example/","title":"t"}}]`:                      "block.invalid blocks[0].embed.url embed.not_allowed",
		`[{"embed":{"url":"https://codepen.io.evil.example/","title":"t"}}]`:           "block.invalid blocks[0].embed.url embed.not_allowed",
		`[{"embed":{"url":"https://codepen.io@evil.example/","title":"t"}}]`:           "block.invalid blocks[0].embed.url embed.not_allowed",
		`[{"embed":{"url":"https://codepen.io:8443/","title":"t"}}]`:                   "block.invalid blocks[0].embed.url embed.not_allowed",
		`[{"embed":{"url":"https://codepen.io/\"><script>","title":"t"}}]`:             "block.invalid blocks[0].embed.url embed.not_allowed",
		`[{"embed":{"url":"javascript:alert(1)//https://codepen.io/","title":"t"}}]`:   "block.invalid blocks[0].embed.url embed.not_allowed",
		`[{"embed":{"url":"https://codepen.io/a"}}]`:                                   "request.invalid blocks[0].embed.title string.min_len",
		`[{"image":{"media_id":"` + picture + `","alt":" "}}]`:                         "block.invalid blocks[0].image.alt image.alt",
		`[{"video":{"media_id":"` + picture + `"}}]`:                                   "media.wrong_kind blocks[0].video.media_id media.wrong_kind",
		`[{"slides":{"media_id":"` + picture + `"}}]`:                                  "media.wrong_kind blocks[0].slides.media_id media.wrong_kind",
		`[{"audio":{"media_id":"` + paper + `"}}]`:                                     "media.wrong_kind blocks[0].audio.media_id media.wrong_kind",
		`[{"image":{"media_id":"` + paper + `","alt":"a"}}]`:                           "media.not_image blocks[0].image.media_id media.not_image",
		`[{"math":{"source":"\\href{javascript:x}{y}"}}]`:                              "block.invalid blocks[0].math.source math.command",
		`[{"math":{"source":"\\def\\a{\\a\\a}\\a"}}]`:                                  "block.invalid blocks[0].math.source math.command",
		`[{"quiz":{"activity_id":"` + task + `"}}]`:                                    "block.invalid blocks[0].quiz.activity_id quiz.not_found",
		`[{"assignment":{"activity_id":"` + id.New("activity") + `"}}]`:                "block.invalid blocks[0].assignment.activity_id assignment.not_found",
		`[{"code":{"source":"x","highlight_lines":[0]}}]`:                              "request.invalid blocks[0].code.highlight_lines[0] int32.gte_lte",
		`[{"callout":{"kind":"shout","text":"x"}}]`:                                    "request.invalid blocks[0].callout.kind string.in",
	} {
		_, err := f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: courseID, ModuleId: moduleID, Title: "l", Blocks: must(blocks(document))})
		if got := fault.CodeOf(err) + " " + strings.Join(fields(err), " "); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", document, got, want)
		}
	}
}

// schema returns the published schema.
func (f *fixture) schema() *jsonschema.Schema {
	f.t.Helper()
	text := must(json.Marshal(must(f.GetBlockSchema(f.stranger, &coursespb.GetBlockSchemaRequest{})).AsMap()))
	c := jsonschema.NewCompiler()
	if err := c.AddResource("blocks.json", must(jsonschema.UnmarshalJSON(strings.NewReader(string(text))))); err != nil {
		f.t.Fatal(err)
	}
	return must(c.Compile("blocks.json"))
}

// What the published schema accepts the server accepts, and the other way round.
func TestBlockSchema(t *testing.T) {
	t.Parallel()
	f := setup(t)
	schema := f.schema()
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	ids := map[string]string{
		"image": f.media.add(courseID, "image/png"), "video": f.media.add(courseID, "video/mp4"), "audio": f.media.add(courseID, "audio/ogg"),
		"slides": f.media.add(courseID, "application/pdf"), "file": f.media.add(courseID, "text/plain"),
		"quiz": f.activity(courseID, moduleID, "quiz", "q"), "assignment": f.activity(courseID, moduleID, "assignment", "w"),
	}
	var taken, refused int
	rapid.Check(t, func(rt *rapid.T) {
		document := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) any { return anyBlock(rt, ids) }), 0, 3).Draw(rt, "blocks")
		text := must(json.Marshal(document))
		says := schema.Validate(must(jsonschema.UnmarshalJSON(strings.NewReader(string(text)))))
		sent, err := blocks(string(text))
		if err == nil {
			_, err = f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: courseID, ModuleId: moduleID, Title: "l", Blocks: sent})
			if err != nil && fault.KindOf(err) != fault.Invalid {
				rt.Fatalf("%s: %v", text, err)
			}
		}
		if (says == nil) != (err == nil) {
			rt.Fatalf("%s: the schema says %v, the server %v", text, says, err)
		}
		if err == nil {
			taken++
		} else {
			refused++
		}
	})
	if taken < 3 || refused < 3 { // of 20 at least
		t.Errorf("%d documents taken, %d refused: the test says little", taken, refused)
	}
}

// anyBlock draws a block, right or nearly right.
func anyBlock(rt *rapid.T, ids map[string]string) any {
	kind := rapid.SampledFrom([]string{
		"markdown", "html", "image", "video", "audio", "slides", "file", "embed", "code", "math", "callout", "divider", "quiz", "assignment",
	}).Draw(rt, "kind")
	b := map[string]any{}
	text := func(name string, more ...string) {
		choices := append([]string{"", " ", "text", "ü😀\u2028\ufeff", "a\tb\r\nc", "bad\u0000", "bad\u007f", "bad\uffff", "\\frac{1}{2}", "\\href{x}{y}", "\\define", "<p onclick=x>&"}, more...)
		if n := rapid.IntRange(0, 20).Draw(rt, name); n == 0 {
			b[name] = strings.Repeat("é", rapid.SampledFrom([]int{200, 201, 1000, 1001, 10000, 10001}).Draw(rt, "length"))
		} else if n < 12 {
			b[name] = rapid.SampledFrom(choices[2:4]).Draw(rt, name)
		} else if n < 17 {
			b[name] = rapid.SampledFrom(choices).Draw(rt, name)
		}
	}
	named := func(name string) {
		switch rapid.IntRange(0, 12).Draw(rt, name) {
		case 0:
		case 1:
			b[name] = rapid.SampledFrom([]any{"", "media_1", "lesson_01h455vb4pex5vsknk084sn02q", ids[kind] + "0", strings.ToUpper(ids[kind])}).Draw(rt, name)
		default:
			b[name] = ids[kind]
		}
	}
	switch kind {
	case "markdown":
		text("text")
		text("html")
	case "html":
		text("source", "<script>x</script>")
	case "image":
		named("media_id")
		text("alt")
		text("caption")
		if rapid.Bool().Draw(rt, "decorative") {
			b["decorative"] = rapid.Bool().Draw(rt, "decorates")
		}
	case "video", "audio":
		named("media_id")
		text("title")
		text("transcript")
	case "slides", "file":
		named("media_id")
		text("title")
		if kind == "file" && rapid.IntRange(0, 5).Draw(rt, "size") == 0 {
			b["size"] = 5
		}
	case "embed":
		b["title"] = "t"
		text("title")
		b["url"] = rapid.SampledFrom([]string{
			"https://youtu.be/dQw4w9WgXcQ", "https://youtu.be/short", "https://www.youtube.com/watch?v=dQw4w9WgXcQ#x", "https://vimeo.com/123/abcdef01",
			"https://player.vimeo.com/video/1?h=abcdef01&x=y", "https://codepen.io", "https://codepen.io/a%20b?c=d", "https://codepen.io/a%2", "https://codepen.io/ü",
			"https://codepen.iox", "https://CODEPEN.io/", "//codepen.io/", "https://www.youtube.com/shorts/dQw4w9WgXcQ?si=1", "https://evil.example/https://codepen.io/",
		}).Draw(rt, "url") + rapid.SampledFrom([]string{"", "", "", "\n", "\"", "?a", strings.Repeat("a", 2000)}).Draw(rt, "end")
	case "code":
		text("source")
		text("language", "go", "c++", "C")
		if rapid.Bool().Draw(rt, "lines") {
			b["highlight_lines"] = rapid.SliceOfN(rapid.SampledFrom([]any{1, 2, 3, 100000, 0, 100001, -1, 1.5}), 0, 4).Draw(rt, "lines")
		}
	case "math":
		text("source")
		text("display", "inline", "display")
	case "callout":
		b["kind"] = rapid.SampledFrom([]string{"note", "tip", "warning", "danger", "Note", ""}).Draw(rt, "kind of callout")
		text("text")
		b["collapsed"] = rapid.Bool().Draw(rt, "collapsed")
	case "quiz", "assignment":
		named("activity_id")
	}
	switch rapid.IntRange(0, 30).Draw(rt, "fault") {
	case 0:
		b["unknown"] = "x"
	case 1:
		return map[string]any{}
	case 2:
		return map[string]any{kind: b, "divider": map[string]any{}}
	case 3:
		return map[string]any{"poem": b}
	case 4:
		return map[string]any{kind: []any{b}}
	case 5:
		b["title"] = 5
	}
	return map[string]any{kind: b}
}

// The fields that the server sets are those of which the contract says so.
func TestServerSetFields(t *testing.T) {
	t.Parallel()
	field := regexp.MustCompile(`(?s)((?:\s*//[^\n]*\n)+)\s*(?:repeated )?[\w.]+ (\w+) = \d+`)
	message := regexp.MustCompile(`(?ms)^message (\w+Block) \{\n(.*?)^\}`)
	want := map[string]bool{}
	for _, name := range []string{"coursespb/courses.proto", "coursespb/block.proto"} {
		text := must(os.ReadFile(name)) //nolint:gosec // of the two above
		for _, m := range message.FindAllStringSubmatch(string(text), -1) {
			for _, fd := range field.FindAllStringSubmatch(m[2], -1) {
				if strings.Contains(strings.Join(strings.Fields(strings.ReplaceAll(fd[1], "//", " ")), " "), "set by the server") {
					want["stoa.courses.v1."+m[1]+"."+fd[2]] = true
				}
			}
		}
	}
	got := map[string]bool{}
	for name := range courses.ServerSet {
		got[string(name)] = true
	}
	same(t, "set by the server", want, got)
}
