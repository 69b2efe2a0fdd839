package courses

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// The files of an archive.
const (
	manifestFile = "stoa.json"
	courseFile   = "course.json"
	mediaFile    = "media.json"
	moduleFile   = "module.json"
	lessonFile   = "lesson.json"
	activityFile = "activity.json"

	modulesFolder = "modules"
	mediaFolder   = "media"

	captionsFolder = "captions"
)

// itemFile returns the file that says what an item of a kind is.
func itemFile(kind string) string {
	switch kind {
	case "module":
		return moduleFile
	case "lesson":
		return lessonFile
	default:
		return activityFile
	}
}

// localKind returns how items of a kind are called within an archive.
func localKind(kind string) string {
	if kind == "quiz" || kind == "assignment" {
		return "activity"
	}
	return kind
}

// localNames returns how the parts of a course are called within its archive:
// counted by kind, in their order.
func localNames(parts []part) map[string]string {
	names, n := make(map[string]string, len(parts)), map[string]int{}
	for _, p := range parts {
		kind := localKind(p.Kind)
		n[kind]++
		names[p.ID] = kind + "-" + strconv.Itoa(n[kind])
	}
	return names
}

// folders returns the folder of each part, by its id: its place among those
// beside it, so that they sort, and its title, so that people find it.
func folders(parts []part) map[string]string {
	count := map[string]int{}
	for _, p := range parts {
		count[p.ParentID]++
	}
	out, place := make(map[string]string, len(parts)), map[string]int{}
	for _, p := range parts {
		place[p.ParentID]++
		width := max(2, len(strconv.Itoa(count[p.ParentID])))
		above := modulesFolder
		if p.ParentID != "" {
			above = out[p.ParentID]
		}
		out[p.ID] = fmt.Sprintf("%s/%0*d-%s", above, width, place[p.ParentID], slug(p.Title, localKind(p.Kind)))
	}
	return out
}

// folderName is what a folder of an item is called: its place, and a title that
// nobody reads.
var folderName = regexp.MustCompile(`^([0-9]{1,6})(-[a-z0-9._-]*)?$`)

// maxSlug bounds a title in a path.
const maxSlug = 40

// slug returns a title as it can be in a path: small letters without accents and
// digits, with dashes between; otherwise what it is.
func slug(title, otherwise string) string {
	var b strings.Builder
	dash := false
	for _, r := range norm.NFKD.String(title) {
		switch r = unicode.ToLower(r); {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			if dash && b.Len() > 0 {
				b.WriteByte('-')
			}
			dash = false
			b.WriteRune(r)
		case unicode.Is(unicode.Mn, r):
		default:
			dash = true
		}
		if b.Len() >= maxSlug {
			break
		}
	}
	if b.Len() == 0 {
		return otherwise
	}
	return b.String()
}

// textFile returns what the file is called in which the text of the n-th block of
// a lesson is, from 1; "" for a block whose text stays with it.
func textFile(kind string, n int) string {
	name, ok := map[string]string{
		blockMarkdown: "text-%02d.md", blockHTML: "html-%02d.html", blockCode: "code-%02d.txt", blockCallout: "callout-%02d.md",
		blockVideo: "transcript-%02d.md", blockAudio: "transcript-%02d.md",
	}[kind]
	if !ok {
		return ""
	}
	return fmt.Sprintf(name, n)
}

// extension returns what the name of a file of a type ends with, for people.
func extension(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	if ext, ok := extensions[strings.TrimSpace(t)]; ok {
		return ext
	}
	return "bin"
}

var extensions = map[string]string{
	"image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp", "image/avif": "avif", "image/bmp": "bmp",
	"video/mp4": "mp4", "video/webm": "webm", "video/quicktime": "mov", "video/x-matroska": "mkv", "video/avi": "avi", "video/mpeg": "mpg",
	"audio/mpeg": "mp3", "audio/wave": "wav", "audio/wav": "wav", "audio/ogg": "ogg", "audio/flac": "flac", "audio/mp4": "m4a", "audio/aac": "aac",
	"application/ogg": "ogg", "application/pdf": "pdf", "application/zip": "zip", "application/gzip": "gz", "application/x-gzip": "gz",
	"text/plain": "txt", "text/csv": "csv", "text/vtt": "vtt", "application/json": "json",
	"application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
	"application/vnd.openxmlformats-officedocument.wordprocessingml.document":   "docx",
	"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet":         "xlsx",
	"application/vnd.oasis.opendocument.presentation":                           "odp",
	"application/vnd.oasis.opendocument.text":                                   "odt",
}
