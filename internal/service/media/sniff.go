package media

import (
	"bytes"
	"net/http"
	"path"
	"strings"
)

// sniffLen is how many of a file's first bytes its type is told from.
const sniffLen = 512

// archives are the formats that are ZIP archives by their bytes, by extension.
// Whichever of them is claimed, no browser runs it.
var archives = map[string]string{
	".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
	".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	".odt":  "application/vnd.oasis.opendocument.text",
	".odp":  "application/vnd.oasis.opendocument.presentation",
	".ods":  "application/vnd.oasis.opendocument.spreadsheet",
	".epub": "application/epub+zip",
}

// documents are the formats of older office programs, likewise.
var documents = map[string]string{
	".doc": "application/msword",
	".ppt": "application/vnd.ms-powerpoint",
	".xls": "application/vnd.ms-excel",
}

// brands are the file formats by the major brand of their ftyp box. Others are
// taken as MP4.
var brands = map[string]string{
	"qt  ": "video/quicktime", "M4A ": "audio/mp4", "M4B ": "audio/mp4",
	"avif": "image/avif", "avis": "image/avif",
	"heic": "image/heic", "heix": "image/heic", "mif1": "image/heif",
}

// sniff returns the type of a file by its first bytes. The name decides only
// between formats that look the same and of which none can be run. What a
// browser might run, whatever it is called, is refused: HTML, SVG and all other
// XML, in which either may be embedded.
func sniff(head []byte, filename string) (string, error) {
	if len(head) > sniffLen {
		head = head[:sniffLen]
	}
	if isMarkup(head) {
		return "", ErrTypeRefused
	}
	ext := strings.ToLower(path.Ext(filename))
	switch {
	case len(head) >= 12 && string(head[4:8]) == "ftyp":
		if t, ok := brands[string(head[8:12])]; ok {
			return t, nil
		}
		return "video/mp4", nil
	case bytes.HasPrefix(head, []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")):
		if t, ok := documents[ext]; ok {
			return t, nil
		}
		return "application/octet-stream", nil
	case bytes.HasPrefix(head, []byte("fLaC")):
		return "audio/flac", nil
	case len(head) >= 2 && head[0] == 0xff && (head[1] == 0xfb || head[1] == 0xf3 || head[1] == 0xf2):
		return "audio/mpeg", nil
	case bytes.HasPrefix(head, []byte("\x1aE\xdf\xa3")) && bytes.Contains(head, []byte("matroska")):
		return "video/x-matroska", nil
	}
	t := http.DetectContentType(head)
	switch {
	case strings.HasPrefix(t, "text/html"), strings.HasPrefix(t, "text/xml"):
		return "", ErrTypeRefused
	case t == "application/zip":
		if known, ok := archives[ext]; ok {
			return known, nil
		}
	}
	return t, nil
}

// isMarkup reports whether a text begins with a tag, a declaration or a comment.
func isMarkup(head []byte) bool {
	// UTF-16 with the same beginning reads like this.
	if bytes.HasPrefix(head, []byte{0xff, 0xfe}) || bytes.HasPrefix(head, []byte{0xfe, 0xff}) {
		head = bytes.ReplaceAll(head[2:], []byte{0}, nil)
	}
	head = bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))
	head = bytes.TrimLeft(head, " \t\r\n\f")
	if len(head) < 2 || head[0] != '<' {
		return false
	}
	c := head[1]
	return c == '!' || c == '?' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
