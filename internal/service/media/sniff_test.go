package media

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestSniff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ content, name, want string }{
		{"\x89PNG\r\n\x1a\n", "x.html", "image/png"},
		{"\xff\xd8\xff\xe0", "x", "image/jpeg"},
		{"GIF89a", "x", "image/gif"},
		{"RIFF....WEBPVP8 ", "x", "image/webp"},
		{"%PDF-1.7", "x.txt", "application/pdf"},
		{"PK\x03\x04....", "a.zip", "application/zip"},
		{"PK\x03\x04....", "Slides.PPTX", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
		{"PK\x03\x04....", "a.odp", "application/vnd.oasis.opendocument.presentation"},
		{"PK\x03\x04....", "a.html", "application/zip"},
		{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old.doc", "application/msword"},
		{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "setup.msi", "application/octet-stream"},
		{"# Title\n\nText", "a.md", "text/plain; charset=utf-8"},
		{"a,b\n1,2\n", "a.csv", "text/plain; charset=utf-8"},
		{"1 < 2 <script>", "a.txt", "text/plain; charset=utf-8"},
		{"< 3", "a.txt", "text/plain; charset=utf-8"},
		{"not a zip", "a.pptx", "text/plain; charset=utf-8"},
		{"\x00\x00\x00\x18ftypmp42....mp42isom", "x", "video/mp4"},
		{"\x00\x00\x00\x18ftypisom....", "x", "video/mp4"},
		{"\x00\x00\x00\x18ftypqt  ....", "x", "video/quicktime"},
		{"\x00\x00\x00\x18ftypM4A ....", "x", "audio/mp4"},
		{"\x00\x00\x00\x18ftypavif....", "x", "image/avif"},
		{"\x1aE\xdf\xa3\x01webm", "x", "video/webm"},
		{"\x1aE\xdf\xa3\x01\x42\x82matroska", "x", "video/x-matroska"},
		{"ID3\x03", "x", "audio/mpeg"},
		{"\xff\xfb\x90\x00", "x", "audio/mpeg"},
		{"fLaC\x00", "x", "audio/flac"},
		{"\x00\x01\x02", "x.png", "application/octet-stream"},
		{"<!DOCTYPE html>", "a.png", ""},
		{"\n\t <HTML>", "a", ""},
		{"<html xmlns='http://www.w3.org/1999/xhtml'>", "a", ""},
		{"<script>alert(1)</script>", "a.txt", ""},
		{"<svg onload=alert(1)>", "a.png", ""},
		{"<?xml version='1.0'?><svg/>", "a.svg", ""},
		{"\xef\xbb\xbf<svg>", "a", ""},
		{"\xef\xbb\xbf  <?xml version='1.0'?>", "a", ""},
		{"\xff\xfe<\x00s\x00v\x00g\x00", "a", ""},
		{"\xfe\xff\x00<\x00h\x00t\x00m\x00l", "a", ""},
		{"<custom-element>", "a", ""},
		{"<!-- a comment -->", "a", ""},
	} {
		got, err := sniff([]byte(c.content), c.name)
		if got != c.want || (c.want == "") != errors.Is(err, ErrTypeRefused) {
			t.Errorf("sniff(%q, %s) = %q, %v, want %q", c.content, c.name, got, err, c.want)
		}
	}
}

// Whatever it is, a browser is never told to run it.
func FuzzSniff(f *testing.F) {
	f.Add([]byte("<svg>"), "a.svg")
	f.Add([]byte("\xef\xbb\xbf<html>"), "a.pptx")
	f.Fuzz(func(t *testing.T, head []byte, name string) {
		got, err := sniff(head, name)
		if err != nil {
			return
		}
		for _, part := range []string{"html", "xml", "svg", "javascript"} {
			if strings.Contains(strings.ReplaceAll(got, "openxml", ""), part) {
				t.Errorf("sniff(%q, %q) = %q", head, name, got)
			}
		}
	})
}

func TestCleanName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"a.png": "a.png", "": "file", "..": "file", ".": "file", "/": "file", "dir/": "file",
		"../../etc/passwd": "passwd", `C:\Users\me\Notes.docx`: "Notes.docx", `a/b\c.txt`: "c.txt",
		"e\u0301.txt": "\u00e9.txt", "a\x00b\nc.txt": "abc.txt", "invoice\u202efdp.exe": "invoicefdp.exe",
		" spaced .txt ": "spaced .txt", "A\x00\u0300.txt": "\u00c0.txt", "\u00a0x": "x", ".profile": ".profile", "\xff\xfe.txt": ".txt",
		"😀👩‍🏫.png": "😀👩‍🏫.png", strings.Repeat("é", 300): strings.Repeat("é", 200),
	} {
		if got := cleanName(name); got != want {
			t.Errorf("cleanName(%q) = %q, want %q", name, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		got := cleanName(rapid.String().Draw(t, "name"))
		if got == "" || strings.ContainsAny(got, "/\\\x00\n") || utf8.RuneCountInString(got) > maxFilename || !utf8.ValidString(got) {
			t.Fatalf("%q", got)
		}
		if again := cleanName(got); again != got {
			t.Fatalf("cleaned again %q becomes %q", got, again)
		}
	})
}
