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
	"qt  ": "video/quicktime", "M4A ": "audio/mp4", "M4B ": "audio/mp4", "F4A ": "audio/mp4",
	"3gp4": "video/3gpp", "3gp5": "video/3gpp", "3gp6": "video/3gpp", "3g2a": "video/3gpp2",
	"avif": "image/avif", "avis": "image/avif",
	"heic": "image/heic", "heix": "image/heic", "mif1": "image/heif",
}

// heads are the formats by the bytes that they begin with, of those that
// [http.DetectContentType] does not know or tells less well.
var heads = []struct{ head, contentType string }{
	{"fLaC", "audio/flac"},
	{"FLV\x01", "video/x-flv"},
	{"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf"},
	{"\x00\x00\x01\xba", "video/mpeg"},
	{"\x00\x00\x01\xb3", "video/mpeg"},
	{"#!AMR", "audio/amr"},
	{"II*\x00", "image/tiff"},
	{"MM\x00*", "image/tiff"},
	{"{\\rtf", "application/rtf"},
	{"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"},
}

// oggs are what is in an Ogg file, by the first bytes of its first packet.
var oggs = []struct{ head, contentType string }{
	{"\x01vorbis", "audio/ogg"}, {"OpusHead", "audio/ogg"}, {"Speex   ", "audio/ogg"}, {"\x7fFLAC", "audio/ogg"}, {"\x80theora", "video/ogg"},
}

// declared are the ZIP formats that say in their first entry, which is not
// compressed, what they are. They are told by that, whatever the name says.
var declared = []string{
	"application/vnd.oasis.opendocument.text", "application/vnd.oasis.opendocument.presentation",
	"application/vnd.oasis.opendocument.spreadsheet", "application/epub+zip",
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
	case len(head) >= 2 && head[0] == 0xff && (head[1] == 0xfb || head[1] == 0xfa || head[1] == 0xf3 || head[1] == 0xf2):
		return "audio/mpeg", nil
	case len(head) >= 2 && head[0] == 0xff && (head[1] == 0xf1 || head[1] == 0xf9):
		return "audio/aac", nil
	case isTransportStream(head):
		return "video/mp2t", nil
	case isVTT(head):
		return "text/vtt; charset=utf-8", nil
	case bytes.HasPrefix(head, []byte("\x1aE\xdf\xa3")) && bytes.Contains(head, []byte("matroska")):
		return "video/x-matroska", nil
	}
	for _, h := range heads {
		if bytes.HasPrefix(head, []byte(h.head)) {
			return h.contentType, nil
		}
	}
	if t := sniffOgg(head); t != "" {
		return t, nil
	}
	t := http.DetectContentType(head)
	switch {
	case strings.HasPrefix(t, "text/html"), strings.HasPrefix(t, "text/xml"):
		return "", ErrTypeRefused
	case t == "application/zip":
		if said := zipSays(head); said != "" {
			return said, nil
		}
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

// isVTT reports whether a text begins as captions do: the word on a line of its
// own, or with a title after it.
func isVTT(head []byte) bool {
	rest, ok := bytes.CutPrefix(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), []byte("WEBVTT"))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// isTransportStream looks for the byte with which each packet of an MPEG
// transport stream begins.
func isTransportStream(head []byte) bool {
	const packet, sync = 188, 0x47
	return len(head) > 2*packet && head[0] == sync && head[packet] == sync && head[2*packet] == sync
}

// sniffOgg tells what an Ogg file has by its first packet, which is behind the
// header of a page with one segment.
func sniffOgg(head []byte) string {
	const page = 28
	if !bytes.HasPrefix(head, []byte("OggS")) || len(head) < page {
		return ""
	}
	for _, o := range oggs {
		if bytes.HasPrefix(head[page:], []byte(o.head)) {
			return o.contentType
		}
	}
	return ""
}

// zipSays returns what a ZIP archive says in its first entry that it is.
func zipSays(head []byte) string {
	const name = 30
	if len(head) < name {
		return ""
	}
	said, ok := bytes.CutPrefix(head[name:], []byte("mimetype"))
	if !ok {
		return ""
	}
	for _, d := range declared {
		if bytes.HasPrefix(said, []byte(d)) && !bytes.HasPrefix(said, []byte(d+"-")) {
			return d
		}
	}
	return ""
}
