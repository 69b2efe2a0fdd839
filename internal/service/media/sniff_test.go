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
		{"\xff\xfa\x90\x00", "x", "audio/mpeg"},
		{"\xff\xf1\x50\x80\x03", "x", "audio/aac"},
		{"\x00\x01\x02", "x.png", "application/octet-stream"},
		{"\x00\x00\x00\x20ftypM4V ....", "x", "video/mp4"},
		{"\x00\x00\x00\x18ftyp3gp4....", "x", "video/3gpp"},
		{"\x00\x00\x00\x18ftypheic....", "x.jpg", "image/heic"},
		{"RIFF....WAVEfmt ", "x", "audio/wave"},
		{"RIFF....AVI LIST", "x", "video/avi"},
		{"OggS\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00....\x00\x00\x00\x00....\x01\x13OpusHead\x01\x02", "x", "audio/ogg"},
		{"OggS\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00....\x00\x00\x00\x00....\x01\x1e\x01vorbis", "x", "audio/ogg"},
		{"OggS\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00....\x00\x00\x00\x00....\x01\x2a\x80theora", "x", "video/ogg"},
		{"FLV\x01\x05", "x", "video/x-flv"},
		{"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9", "x.wmv", "video/x-ms-asf"},
		{"\x00\x00\x01\xba\x44", "x", "video/mpeg"},
		{strings.Repeat("G"+strings.Repeat("\xff", 187), 3), "x.ts", "video/mp2t"},
		{"II*\x00\x08\x00", "x", "image/tiff"},
		{"{\\rtf1\\ansi", "x.doc", "application/rtf"},
		{"WEBVTT\n\n00:01.000 --> 00:02.000\nHello", "x", "text/vtt; charset=utf-8"},
		{"\xef\xbb\xbfWEBVTT - Titles\r\n", "x.txt", "text/vtt; charset=utf-8"},
		{"WEBVTTX", "a.vtt", "text/plain; charset=utf-8"},
		{"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00........\x00\x00\x00\x00\x13\x00\x08\x02[Content_Types].xml", "a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
		{"PK\x03\x04\x14\x00\x00\x00\x00\x00................\x08\x00\x00\x00mimetypeapplication/vnd.oasis.opendocument.presentationPK", "a.docx", "application/vnd.oasis.opendocument.presentation"},
		{"PK\x03\x04\x14\x00\x00\x00\x00\x00................\x08\x00\x00\x00mimetypeapplication/epub+zipPK", "book", "application/epub+zip"},
		{"PK\x03\x04\x14\x00\x00\x00\x00\x00................\x08\x00\x00\x00mimetypetext/htmlPK", "a.html", "application/zip"},
		// Of what is two things at once the first bytes count, and a browser is told
		// that and not to look for itself.
		{"GIF89a/*<script>alert(1)</script>*/=1;alert(1)", "a.js", "image/gif"},
		{"%PDF-1.7\n<script>alert(1)</script>PK\x03\x04", "a.zip", "application/pdf"},
		{"\xff\xd8\xff\xe0\x00\x10JFIF<?php __HALT_COMPILER(); ?>", "a.phar", "image/jpeg"},
		{"PK\x03\x04<html><script>alert(1)</script>", "a.html", "application/zip"},
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
