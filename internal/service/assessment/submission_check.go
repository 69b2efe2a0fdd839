package assessment

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// fileFacts is what is known of a file, as far as rules ask for it.
type fileFacts struct {
	MediaID     string
	Filename    string
	ContentType string
	Size        int64
	SHA256      string
	State       string // "refused" where malware was found; as media tells it
}

// submissionFields collects what is wrong with what is handed in.
type submissionFields []fault.Field

func (f *submissionFields) add(path, code, hint string, args ...any) {
	if len(*f) < 20 {
		*f = append(*f, fault.Field{Path: path, Code: code, Hint: fmt.Sprintf(hint, args...)})
	}
}

func (f submissionFields) err(message string) error {
	if len(f) == 0 {
		return nil
	}
	return &fault.Error{Kind: fault.Invalid, Code: f[0].Code, Message: message, Fields: f}
}

// checkKinds refuses content that the assignment does not take at all.
func checkKinds(settings *assessmentpb.AssignmentSettings, content *assessmentpb.SubmissionContent) error {
	var bad submissionFields
	if content.GetText() != "" && settings.GetText() == nil {
		bad.add("content.text", "submission.kind", "No text is handed in here.")
	}
	if content.GetUrl() != "" && settings.GetUrl() == nil {
		bad.add("content.url", "submission.kind", "No address is handed in here.")
	}
	if n := len(content.GetMediaIds()); n > 0 && settings.GetFiles() == nil {
		bad.add("content.media_ids", "submission.kind", "No files are handed in here.")
	} else if n > 0 && n > int(settings.GetFiles().GetMaxCount()) {
		bad.add("content.media_ids", "submission.too_many_files", "Send at most %d.", settings.GetFiles().GetMaxCount())
	}
	return bad.err("The assignment does not take this.")
}

// checkFiles refuses files that the assignment does not take.
func checkFiles(settings *assessmentpb.AssignmentFiles, ids []string, files map[string]fileFacts) error {
	var bad submissionFields
	for i, mediaID := range ids {
		f := files[mediaID]
		at := fmt.Sprintf("content.media_ids[%d]", i)
		ext := strings.TrimPrefix(strings.ToLower(path.Ext(f.Filename)), ".")
		switch {
		case f.State == "refused":
			bad.add(at, "submission.file_refused", "Malware was found in %s.", f.Filename)
		case settings.GetMaxBytes() > 0 && f.Size > settings.GetMaxBytes():
			bad.add(at, "submission.file_refused", "%s has %d bytes; at most %d are taken.", f.Filename, f.Size, settings.GetMaxBytes())
		case len(settings.GetExtensions()) > 0 && !hasExtension(f.Filename, settings.GetExtensions()):
			bad.add(at, "submission.file_refused", "%s is of a kind that is not taken; these are: %s.", f.Filename, strings.Join(settings.GetExtensions(), ", "))
		case len(settings.GetExtensions()) > 0 && !looksLike(ext, f.ContentType):
			bad.add(at, "submission.file_refused", "%s is not what its name says: its bytes are those of %s.", f.Filename, f.ContentType)
		}
	}
	return bad.err("The assignment does not take this file.")
}

func hasExtension(name string, extensions []string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(extensions, func(ext string) bool { return strings.HasSuffix(name, "."+ext) })
}

// contentTypes are the types that bytes of files have which are called so, as far as
// they can be told. What is not here may be anything.
var contentTypes = map[string][]string{
	"pdf": {"application/pdf"}, "png": {"image/png"}, "jpg": {"image/jpeg"}, "jpeg": {"image/jpeg"}, "gif": {"image/gif"}, "webp": {"image/webp"},
	"tif": {"image/tiff"}, "tiff": {"image/tiff"}, "bmp": {"image/bmp"},
	"docx": {"application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
	"xlsx": {"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
	"pptx": {"application/vnd.openxmlformats-officedocument.presentationml.presentation"},
	"odt":  {"application/vnd.oasis.opendocument.text"}, "ods": {"application/vnd.oasis.opendocument.spreadsheet"}, "odp": {"application/vnd.oasis.opendocument.presentation"},
	"doc": {"application/msword"}, "xls": {"application/vnd.ms-excel"}, "ppt": {"application/vnd.ms-powerpoint"},
	"zip": {"application/zip"}, "gz": {"application/x-gzip", "application/gzip"}, "tgz": {"application/x-gzip", "application/gzip"}, "7z": {"application/x-7z-compressed"},
	"mp4": {"video/mp4"}, "mov": {"video/quicktime", "video/mp4"}, "webm": {"video/webm"}, "mp3": {"audio/mpeg"}, "m4a": {"audio/mp4", "video/mp4"},
	"rtf": {"application/rtf"}, "epub": {"application/epub+zip"},
}

// looksLike reports whether bytes of a type may be of a file that is called so.
func looksLike(ext, contentType string) bool {
	known, ok := contentTypes[ext]
	if !ok {
		return true
	}
	t, _, _ := strings.Cut(contentType, ";")
	return slices.Contains(known, t)
}

// checkWhole refuses what is not whole, or too much, when it is handed in.
func checkWhole(settings *assessmentpb.AssignmentSettings, content *assessmentpb.SubmissionContent) error {
	const code = "submission.incomplete"
	var bad submissionFields
	words, files := wordCount(content.GetText()), len(content.GetMediaIds())
	anything := strings.TrimSpace(content.GetText()) != "" || content.GetUrl() != "" || files > 0
	if t := settings.GetText(); t != nil {
		switch has := strings.TrimSpace(content.GetText()) != ""; {
		case !has && t.GetOptional() && anything:
		case !has:
			bad.add("content.text", code, "A text is handed in here.")
		case words < int(t.GetMinWords()):
			bad.add("content.text", code, "It has %d words; at least %d are asked for.", words, t.GetMinWords())
		case t.GetMaxWords() > 0 && words > int(t.GetMaxWords()):
			bad.add("content.text", code, "It has %d words; at most %d are taken.", words, t.GetMaxWords())
		}
	}
	if f := settings.GetFiles(); f != nil {
		switch {
		case files < int(f.GetMinCount()):
			bad.add("content.media_ids", code, "There are %d files; at least %d are asked for.", files, f.GetMinCount())
		case files == 0 && !anything:
			bad.add("content.media_ids", code, "Nothing is handed in.")
		}
	}
	if u := settings.GetUrl(); u != nil {
		switch given := content.GetUrl(); {
		case given == "" && u.GetOptional() && anything:
		case given == "":
			bad.add("content.url", code, "An address is handed in here.")
		default:
			checkURL(&bad, given, u.GetHosts())
		}
	}
	return bad.err("This is not what the assignment asks for.")
}

// checkURL refuses what is no address that somebody can open.
func checkURL(bad *submissionFields, given string, hosts []string) {
	const code = "submission.incomplete"
	u, err := url.Parse(given)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.ContainsFunc(given, unicode.IsControl):
		bad.add("content.url", code, "Send an address such as https://example.org/work.")
	case len(hosts) > 0 && !slices.ContainsFunc(hosts, func(host string) bool {
		at := strings.ToLower(u.Hostname())
		return at == host || strings.HasSuffix(at, "."+host)
	}):
		bad.add("content.url", code, "Send an address at %s.", strings.Join(hosts, ", "))
	}
}

// wordCount returns how many words a text has: what stands between spaces and has a
// letter or a digit; of scripts that write without spaces each character is one.
func wordCount(text string) int {
	n, in := 0, false
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		text = text[size:]
		switch {
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar) && !unicode.Is(unicode.Mn, r):
			n, in = n+1, false
		case unicode.IsSpace(r):
			in = false
		case !in && (unicode.IsLetter(r) || unicode.IsDigit(r)):
			n, in = n+1, true
		}
	}
	return n
}
