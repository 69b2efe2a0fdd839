// Package webvtt reads captions: WebVTT and SRT of anybody, made into WebVTT that
// can be shown to anybody.
package webvtt

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// MaxCues bounds the cues of a text.
const MaxCues = 20_000

// Error says what of a text is no captions, and where.
type Error struct {
	Line int // from 1
	Hint string
}

// Error returns the line and the hint.
func (e *Error) Error() string { return fmt.Sprintf("Line %d: %s", e.Line, e.Hint) }

var timing = regexp.MustCompile(`^((?:\d{1,4}:)?\d{1,2}:\d{2}[.,]\d{3})[ \t]+-->[ \t]+((?:\d{1,4}:)?\d{1,2}:\d{2}[.,]\d{3})([ \t]+[^>]*)?$`)

// cueSetting is what a cue may say of its place.
var cueSetting = regexp.MustCompile(`^(vertical:(rl|lr)|line:-?\d{1,4}(\.\d{1,4})?%?(,(start|center|end))?|position:\d{1,3}(\.\d{1,4})?%(,(line-left|center|line-right))?|size:\d{1,3}(\.\d{1,4})?%|align:(start|center|end|left|right))$`)

// Normal reads WebVTT, or SRT, and writes it anew as WebVTT: cues with their
// times, places and words, and nothing that changes a page. What it returns it
// returns unchanged. Its errors are an [Error].
func Normal(text string) (string, error) {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\x00", "\ufffd").Replace(strings.TrimPrefix(text, "\ufeff"))
	lines := strings.Split(text, "\n")
	bad := func(line int, hint string) error {
		return &Error{Line: line + 1, Hint: hint}
	}
	vtt := strings.HasPrefix(lines[0], "WEBVTT")
	at := 0
	if vtt {
		if rest := lines[0][len("WEBVTT"):]; rest != "" && rest[0] != ' ' && rest[0] != '\t' {
			return "", bad(0, "The first line is WEBVTT.")
		}
		for at < len(lines) && lines[at] != "" { // what is said of the file
			if at > 0 && strings.Contains(lines[at], "-->") {
				return "", bad(at, "An empty line comes before the first cue.")
			}
			at++
		}
	}
	var b strings.Builder
	b.WriteString("WEBVTT\n")
	cues := 0
	for at < len(lines) {
		if strings.TrimSpace(lines[at]) == "" {
			at++
			continue
		}
		begin := at
		for at < len(lines) && strings.TrimSpace(lines[at]) != "" {
			at++
		}
		block := lines[begin:at]
		if vtt && (block[0] == "NOTE" || strings.HasPrefix(block[0], "NOTE ") || block[0] == "STYLE" || block[0] == "REGION") && !strings.Contains(block[0], "-->") {
			continue
		}
		if !strings.Contains(block[0], "-->") { // a number or a name
			block, begin = block[1:], begin+1
		}
		if len(block) == 0 || !strings.Contains(block[0], "-->") {
			return "", bad(begin, "A cue begins with its times, as 00:00:01.000 --> 00:00:04.000.")
		}
		m := timing.FindStringSubmatch(strings.TrimRight(block[0], " \t"))
		if m == nil {
			return "", bad(begin, "Times are written as 00:00:01.000 --> 00:00:04.000.")
		}
		from, okFrom := readTime(m[1])
		to, okTo := readTime(m[2])
		if !okFrom || !okTo || to <= from {
			return "", bad(begin, "A cue ends after it begins, and minutes and seconds are below 60.")
		}
		if cues++; cues > MaxCues {
			return "", bad(begin, fmt.Sprintf("There are at most %d cues.", MaxCues))
		}
		fmt.Fprintf(&b, "\n%s --> %s", Time(from), Time(to))
		if vtt {
			for setting := range strings.FieldsSeq(m[3]) {
				if cueSetting.MatchString(setting) {
					b.WriteString(" " + setting)
				}
			}
		}
		b.WriteString("\n")
		for i, line := range block[1:] {
			if strings.Contains(line, "-->") {
				return "", bad(begin+1+i, "An empty line comes between cues.")
			}
			if text := cueText(line); strings.TrimSpace(text) != "" { // it may have had nothing but marks
				b.WriteString(text + "\n")
			}
		}
	}
	if cues == 0 {
		return "", bad(0, "There are no cues.")
	}
	return b.String(), nil
}

// cueTag is what may stand between angle brackets in a cue.
var cueTag = regexp.MustCompile(`^</?(b|i|u|ruby|rt)>|^<v(\.[\w.-]+)?[ \t][^<>&]{1,100}>|^</v>|^<lang [A-Za-z0-9-]{1,35}>|^</lang>`)

// mark is what programs write between the words and nobody is to read: classes, the
// times of single words, and fonts. Of a class of a tag that may stand the tag stays.
var mark = regexp.MustCompile(`^</?c(\.[\w.-]+)?[ \t]*>|^<(\d{1,4}:)?\d{1,2}:\d{2}\.\d{3}>|^</?font([ \t][^<>&]{0,100})?>|^<(b|i|u)\.[\w.-]+>`)

// cueText leaves out marks, and escapes what else is no tag of WebVTT.
func cueText(line string) string {
	var b strings.Builder
	for line != "" {
		if line[0] == '<' {
			if m := mark.FindStringSubmatch(line); m != nil {
				if tag := m[len(m)-1]; tag != "" {
					b.WriteString("<" + tag + ">")
				}
				line = line[len(m[0]):]
				continue
			}
			if tag := cueTag.FindString(line); tag != "" {
				b.WriteString(tag)
				line = line[len(tag):]
				continue
			}
			b.WriteString("&lt;")
			line = line[1:]
			continue
		}
		n := strings.IndexByte(line, '<')
		if n < 0 {
			n = len(line)
		}
		b.WriteString(strings.ReplaceAll(line[:n], ">", "&gt;"))
		line = line[n:]
	}
	return b.String()
}

// readTime reads [hours:]minutes:seconds with thousandths after a point or a
// comma.
func readTime(text string) (time.Duration, bool) {
	fields := strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == '.' || r == ',' })
	var n [4]int64
	for i, field := range fields {
		v, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, false
		}
		n[4-len(fields)+i] = v
	}
	if n[1] > 59 || n[2] > 59 {
		return 0, false
	}
	return time.Duration(((n[0]*60+n[1])*60+n[2])*1000+n[3]) * time.Millisecond, true
}

// Time writes a time as WebVTT does.
func Time(d time.Duration) string {
	ms := d.Milliseconds()
	return fmt.Sprintf("%02d:%02d:%02d.%03d", ms/3_600_000, ms/60_000%60, ms/1000%60, ms%1000)
}
