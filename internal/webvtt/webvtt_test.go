package webvtt_test

import (
	"strings"
	"testing"

	"github.com/stoa-lms/stoa/internal/webvtt"
)

func TestNormal(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"WebVTT": {
			"\ufeffWEBVTT - a title\nKind: captions\n\nSTYLE\n::cue { background: url(http://x) }\n\nNOTE a word\n\nintro\n00:01.000 --> 00:02.500 align:start onclick:x\n<v Ann>Hi</v> <i>you</i> & <img src=x>\n\n01:00:00.000 --> 01:00:01.000\nBye",
			"WEBVTT\n\n00:00:01.000 --> 00:00:02.500 align:start\n<v Ann>Hi</v> <i>you</i> & &lt;img src=x&gt;\n\n01:00:00.000 --> 01:00:01.000\nBye\n",
		},
		"SRT": {"1\r\n00:00:01,000 --> 00:00:02,000\r\nOne\r\nTwo\r\n\r\n2\r\n00:00:03,000 --> 00:00:04,000\r\nThree\r\n", "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nOne\nTwo\n\n00:00:03.000 --> 00:00:04.000\nThree\n"},
		"times of single words": {
			"WEBVTT\n\n00:00:00.000 --> 00:00:02.000 align:start position:0%\nwell<00:00:00.719><c> then</c><00:00:01.200><c.colorE5E5E5> we</c>\n<c></c>\n<i.foreign>ad hoc</i> 1 <c 2\n",
			"WEBVTT\n\n00:00:00.000 --> 00:00:02.000 align:start position:0%\nwell then we\n<i>ad hoc</i> 1 &lt;c 2\n",
		},
		"fonts":          {"1\n00:00:01,000 --> 00:00:02,000\n<font color=\"#ffff00\">Hi</font>\n", "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nHi\n"},
		"nothing":        {"WEBVTT\n", ""},
		"another file":   {"WEBVTTX\n\n00:01.000 --> 00:02.000\nx\n", ""},
		"backwards":      {"WEBVTT\n\n00:02.000 --> 00:01.000\nx\n", ""},
		"sixty seconds":  {"WEBVTT\n\n00:60.000 --> 00:61.000\nx\n", ""},
		"no empty line":  {"WEBVTT\n\n00:01.000 --> 00:02.000\nx\n00:03.000 --> 00:04.000\ny\n", ""},
		"no times":       {"WEBVTT\n\nhello\n", ""},
		"times of words": {"WEBVTT\n\nsoon --> later\nx\n", ""},
	} {
		got, err := webvtt.Normal(c.text)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
	}
}

// FuzzNormal: whatever comes in, what comes out is WebVTT that reads as itself.
func FuzzNormal(f *testing.F) {
	f.Add("WEBVTT\n\n00:01.000 --> 00:02.000\n<b>x</b> <\n")
	f.Add("1\n00:00:01,000 --> 00:00:02,000\nx\n")
	f.Add("WEBVTT\n\n00:01.000 --> 00:02.000\n<c.x>a</c>-<00:01.500><c>-</c>>\n<c></c>\nb\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := webvtt.Normal(text)
		if err != nil {
			return
		}
		again, err := webvtt.Normal(got)
		if err != nil || again != got || !strings.HasPrefix(got, "WEBVTT\n\n") {
			t.Errorf("%v\n%q\n%q", err, got, again)
		}
	})
}
