package courses_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/courses"
)

// sealed packs files as an archive, with the list of them as it has to be.
func sealed(t testing.TB, files map[string]string, method uint16) []byte {
	t.Helper()
	return sealedAs(t, 1, files, method)
}

// sealedAs is sealed as a version of the format.
func sealedAs(t testing.TB, version int, files map[string]string, method uint16) []byte {
	t.Helper()
	type file struct {
		Path   string `json:"path"`
		SHA256 string `json:"sha256"`
		Size   int    `json:"size"`
	}
	list := struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
		Origin  string `json:"origin"`
		Files   []file `json:"files"`
	}{Format: "stoa-course", Version: version, Origin: "course_01h455vb4pex5vsknk084sn02q"}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if name != "stoa.json" {
			sum := sha256.Sum256([]byte(files[name]))
			list.Files = append(list.Files, file{name, hex.EncodeToString(sum[:]), len(files[name])})
		}
	}
	files = maps.Clone(files)
	if files["stoa.json"] == "" {
		files["stoa.json"] = string(must(json.Marshal(list)))
	}
	return packed(t, files, method)
}

func packed(t testing.TB, files map[string]string, method uint16) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f := must(w.CreateHeader(&zip.FileHeader{Name: name, Method: method}))
		must(f.Write([]byte(files[name])))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// small is a course of one lesson.
func small() map[string]string {
	return map[string]string{
		"course.json":                   `{"title": "T", "language": "en", "level": "all", "time_zone": "UTC"}`,
		"media.json":                    `{}`,
		"modules/01-m/module.json":      `{"id": "m", "title": "M"}`,
		"modules/01-m/01-l/lesson.json": `{"id": "l", "title": "L", "blocks": [{"block": {"markdown": {}}, "text_file": "text-01.md"}]}`,
		"modules/01-m/01-l/text-01.md":  "Hello",
	}
}

func with(change func(map[string]string)) map[string]string {
	files := small()
	change(files)
	return files
}

// TestArchiveRefused: what is wrong is told with the file and a code, and nothing
// comes of it.
func TestArchiveRefused(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	lesson := func(text string) map[string]string {
		return with(func(m map[string]string) {
			m["modules/01-m/01-l/lesson.json"] = text
			delete(m, "modules/01-m/01-l/text-01.md")
		})
	}
	block := func(b string) map[string]string { return lesson(`{"id": "l", "title": "L", "blocks": [` + b + `]}`) }
	media := func(content, name, kind string) map[string]string {
		sum := sha256.Sum256([]byte(content))
		path := "media/" + hex.EncodeToString(sum[:]) + ".bin"
		return with(func(m map[string]string) {
			m[path] = content
			m["media.json"] = fmt.Sprintf(`{"files": [{"id": "media-1", "path": %q, "filename": %q, "content_type": %q}]}`, path, name, kind)
			m["modules/01-m/01-l/lesson.json"] = `{"id": "l", "title": "L", "blocks": [{"block": {"markdown": {}}, "text_file": "text-01.md"}, {"block": {"file": {"media_id": "media-1"}}}]}`
		})
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string // path, field and code of the first finding
	}{
		"another format":  {with(func(m map[string]string) { m["stoa.json"] = `{"format": "zip", "version": 1}` }), "stoa.json format archive.format"},
		"another version": {with(func(m map[string]string) { m["stoa.json"] = `{"format": "stoa-course", "version": 5, "pages": []}` }), "stoa.json version archive.version"},
		"a file that is not listed": {with(func(m map[string]string) {
			m["stoa.json"] = `{"format": "stoa-course", "version": 1, "origin": "course_01h455vb4pex5vsknk084sn02q"}`
		}), "course.json  archive.file_extra"},
		"a key that there is not":   {with(func(m map[string]string) { m["course.json"] = `{"title": "T", "price": 5}` }), "course.json price archive.key"},
		"a key deep down":           {block(`{"block": {"image": {"media_id": "m", "source": {}}}}`), "modules/01-m/01-l/lesson.json blocks[0].block.image.source archive.key"},
		"no JSON":                   {with(func(m map[string]string) { m["course.json"] = `{"title"` }), "course.json  archive.json"},
		"JSON twice":                {with(func(m map[string]string) { m["course.json"] += m["course.json"] }), "course.json  archive.json"},
		"a key twice":               {with(func(m map[string]string) { m["course.json"] = `{"title": "T", "title": "U"}` }), "course.json  archive.json"},
		"a number for a text":       {with(func(m map[string]string) { m["course.json"] = `{"title": 7}` }), "course.json  archive.json"},
		"deep JSON":                 {with(func(m map[string]string) { m["course.json"] = `{"tags": ` + strings.Repeat("[", 100_000) }), "course.json  archive.json_depth"},
		"JSON of nothing":           {with(func(m map[string]string) { m["course.json"] = `{"tags": [` + strings.Repeat("[],", 800_000) + `[]]}` }), "course.json  archive.file_too_large"},
		"deep rules":                {lesson(`{"id": "l", "title": "L", "settings": {"release": ` + strings.Repeat(`{"not": `, 20) + `{"date": {}}` + strings.Repeat("}", 20) + `}}`), "modules/01-m/01-l/lesson.json settings.release"},
		"no UTF-8 in JSON":          {with(func(m map[string]string) { m["course.json"] = "{\"title\": \"\xff\"}" }), "course.json  archive.encoding"},
		"no UTF-8 in a text":        {with(func(m map[string]string) { m["modules/01-m/01-l/text-01.md"] = "\xff" }), "modules/01-m/01-l/text-01.md  archive.encoding"},
		"a control character":       {with(func(m map[string]string) { m["modules/01-m/01-l/text-01.md"] = "a\x00b" }), "modules/01-m/01-l/lesson.json blocks[0].markdown.text text.control"},
		"no title":                  {lesson(`{"id": "l", "title": " "}`), "modules/01-m/01-l/lesson.json title"},
		"no course":                 {with(func(m map[string]string) { delete(m, "course.json") }), "course.json  archive.file_missing"},
		"no text":                   {with(func(m map[string]string) { delete(m, "modules/01-m/01-l/text-01.md") }), "modules/01-m/01-l/lesson.json blocks[0].text_file archive.text_missing"},
		"a text elsewhere":          {lesson(`{"id": "l", "title": "L", "blocks": [{"block": {"markdown": {}}, "text_file": "../module.json"}]}`), "modules/01-m/01-l/lesson.json blocks[0].text_file archive.text_file"},
		"a text of JSON":            {lesson(`{"id": "l", "title": "L", "blocks": [{"block": {"markdown": {}}, "text_file": "lesson.json"}]}`), "modules/01-m/01-l/lesson.json blocks[0].text_file archive.text_file"},
		"a large text":              {with(func(m map[string]string) { m["modules/01-m/01-l/text-01.md"] = strings.Repeat("x", 2<<20) }), "modules/01-m/01-l/lesson.json  lesson.too_large"},
		"a large course":            {with(func(m map[string]string) { m["course.json"] = strings.Repeat(" ", 9<<20) }), "course.json  archive.file_too_large"},
		"a file that nothing names": {with(func(m map[string]string) { m["modules/01-m/notes.md"] = "x" }), "modules/01-m/notes.md  archive.file_unused"},
		"a file at the top":         {with(func(m map[string]string) { m["readme.md"] = "x" }), "readme.md  archive.file_unused"},
		"a folder without a place":  {with(func(m map[string]string) { m["modules/m/module.json"] = `{"id": "x", "title": "X"}` }), "modules/m  archive.folder"},
		"a folder of two":           {with(func(m map[string]string) { m["modules/01-m/lesson.json"] = `{"id": "x", "title": "X"}` }), "modules/01-m  archive.folder"},
		"two of one place":          {with(func(m map[string]string) { m["modules/1-n/module.json"] = `{"id": "x", "title": "X"}` }), "modules/1-n  archive.place_twice"},
		"a lesson at the top":       {with(func(m map[string]string) { m["modules/02-n/lesson.json"] = `{"id": "x", "title": "X"}` }), "modules/02-n  item.needs_module"},
		"modules too deep": {with(func(m map[string]string) {
			m["modules/01-m/02-a/module.json"], m["modules/01-m/02-a/01-b/module.json"], m["modules/01-m/02-a/01-b/01-c/module.json"] = `{"id": "x", "title": "X"}`, `{"id": "y", "title": "X"}`, `{"id": "z", "title": "X"}`
		}), "modules/01-m/02-a/01-b/01-c  item.too_deep"},
		"a name twice":                {lesson(`{"id": "m", "title": "L"}`), "modules/01-m/01-l/lesson.json id archive.id_twice"},
		"no name":                     {lesson(`{"title": "L"}`), "modules/01-m/01-l/lesson.json id archive.id"},
		"a rule of an item elsewhere": {lesson(`{"id": "l", "title": "L", "settings": {"release": {"completed": {"item_id": "other"}}}}`), "modules/01-m/01-l/lesson.json settings.release.completed archive.ref"},
		"a rule that never opens":     {lesson(`{"id": "l", "title": "L", "settings": {"release": {"completed": {"item_id": "l"}}}}`), "modules/01-m/01-l/lesson.json settings.release"},
		"a block of nothing":          {block(`{}`), "modules/01-m/01-l/lesson.json blocks[0].block archive.block"},
		"a file that there is not":    {block(`{"block": {"image": {"media_id": "media-9", "alt": "x"}}}`), "modules/01-m/01-l/lesson.json blocks[0] archive.ref"},
		"a formula that reaches out":  {block(`{"block": {"math": {"source": "\\href{javascript:x}{y}", "display": "display"}}}`), "modules/01-m/01-l/lesson.json blocks[0].math.source math.command"},
		"a frame of anywhere":         {block(`{"block": {"embed": {"url": "https://evil.example/x", "title": "x"}}}`), "modules/01-m/01-l/lesson.json blocks[0].embed.url embed.not_allowed"},
		"a zone that there is not": {with(func(m map[string]string) {
			m["course.json"] = `{"title": "T", "language": "en", "level": "all", "time_zone": "Mars/Olympus"}`
		}), "course.json time_zone time_zone.unknown"},
		"a quiz that is a lesson": {with(func(m map[string]string) {
			m["modules/01-m/02-q/activity.json"] = `{"id": "q", "kind": "poll", "title": "Q"}`
		}), "modules/01-m/02-q/activity.json kind archive.kind"},
		"a type that is not": {media("image/png:x", "x.png", "image/jpeg"), "archive.media_type"},
		"a page":             {media("text/html:<script>", "x.html", "text/html"), "media.type_refused"},
		"a picture that is none": {with(func(m map[string]string) {
			maps.Copy(m, media("video/mp4:x", "x", "video/mp4"))
			m["course.json"] = `{"title": "T", "language": "en", "level": "all", "time_zone": "UTC", "cover_media_id": "media-1"}`
		}), "course.json cover_media_id media.wrong_kind"},
		"media under another name": {with(func(m map[string]string) {
			m["media/x.bin"] = "x"
			m["media.json"] = `{"files": [{"id": "media-1", "path": "media/x.bin", "filename": "x", "content_type": "text/plain"}]}`
		}), "media.json files[0].path archive.media_path"},
		"media that is the description": {with(func(m map[string]string) {
			m["course.json"] = `{"title": "T", "language": "en", "level": "all", "time_zone": "UTC", "description_file": "media.json"}`
		}), "course.json description_file archive.text_missing"},
	} {
		i := f.imported("", sealed(t, c.files, zip.Store), false)
		first := ""
		for _, found := range i.GetFindings() {
			if found.GetSeverity() == "error" {
				first = found.GetPath() + " " + found.GetField() + " " + found.GetCode()
				break
			}
		}
		if i.GetState() != "failed" || i.GetCode() != "course_import.refused" || !strings.Contains(first, c.want) {
			t.Errorf("%s: first %q, want %q, of %v", name, first, c.want, i)
		}
	}
	// The plain ones are what they are without the fault, and hashes count.
	if i := f.imported("", sealed(t, small(), zip.Deflate), true); i.GetState() != "done" || i.GetCourseId() != "" {
		t.Errorf("nothing wrong, looked at: %v", i)
	}
	if i := f.imported("", sealed(t, media("image/png:x", "x.png", "image/png"), zip.Deflate), false); i.GetState() != "done" {
		t.Errorf("nothing wrong: %v", i)
	}
	for _, name := range []string{"modules/01-m/01-l/text-01.md", "course.json"} {
		files := unzipped(t, sealed(t, small(), zip.Store))
		files[name] = strings.ToUpper(files[name])
		if i := f.imported("", packed(t, files, zip.Store), true); i.GetState() != "failed" || i.GetFindings()[0].GetCode() != "archive.hash" {
			t.Errorf("other bytes of %s: %v", name, i)
		}
	}
	if err := courses.SweepClaims(f.own, t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.library.total() != 1 {
		t.Errorf("%d files are left of what was refused", f.library.total())
	}
}

// raw is a file of an archive with headers that say anything.
type raw struct {
	name        string
	method      uint16
	flags       uint16
	creator     uint16
	mode        uint32
	crc         uint32
	packed      []byte
	size        uint32
	localName   string // "": name
	offset      *uint32
	claimPacked *uint32
}

// rawZip writes an archive by hand.
//
//nolint:gosec // small numbers
func rawZip(files []raw, comment string) []byte {
	var out, dir bytes.Buffer
	le := binary.LittleEndian
	for _, f := range files {
		at := uint32(out.Len())
		if f.offset != nil {
			at = *f.offset
		}
		packedLen := uint32(len(f.packed))
		if f.claimPacked != nil {
			packedLen = *f.claimPacked
		}
		local := f.localName
		if local == "" {
			local = f.name
		}
		head := make([]byte, 30)
		le.PutUint32(head, 0x04034b50)
		le.PutUint16(head[6:], f.flags)
		le.PutUint16(head[8:], f.method)
		le.PutUint32(head[14:], f.crc)
		le.PutUint32(head[18:], packedLen)
		le.PutUint32(head[22:], f.size)
		le.PutUint16(head[26:], uint16(len(local)))
		out.Write(head)
		out.WriteString(local)
		out.Write(f.packed)
		entry := make([]byte, 46)
		le.PutUint32(entry, 0x02014b50)
		le.PutUint16(entry[4:], f.creator)
		le.PutUint16(entry[8:], f.flags)
		le.PutUint16(entry[10:], f.method)
		le.PutUint32(entry[16:], f.crc)
		le.PutUint32(entry[20:], packedLen)
		le.PutUint32(entry[24:], f.size)
		le.PutUint16(entry[28:], uint16(len(f.name)))
		le.PutUint32(entry[38:], f.mode)
		le.PutUint32(entry[42:], at)
		dir.Write(entry)
		dir.WriteString(f.name)
	}
	end := make([]byte, 22)
	le.PutUint32(end, 0x06054b50)
	le.PutUint16(end[8:], uint16(len(files)))
	le.PutUint16(end[10:], uint16(len(files)))
	le.PutUint32(end[12:], uint32(dir.Len()))
	le.PutUint32(end[16:], uint32(out.Len()))
	le.PutUint16(end[20:], uint16(len(comment)))
	out.Write(dir.Bytes())
	out.Write(end)
	out.WriteString(comment)
	return out.Bytes()
}

func plainFile(name, text string) raw {
	return raw{name: name, packed: []byte(text), size: uint32(len(text)), crc: crc32.ChecksumIEEE([]byte(text))} //nolint:gosec // a small number
}

// TestHostileZip: what is wrong with the list of an archive is told before it is
// kept.
func TestHostileZip(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	good := plainFile("a.txt", "hello")
	change := func(do func(*raw)) []byte {
		r := good
		do(&r)
		return rawZip([]raw{r, plainFile("b.txt", "x")}, "")
	}
	zero := bytes.Repeat([]byte{0}, 32<<20)
	bomb := packed(t, map[string]string{"bomb.txt": string(zero)}, zip.Deflate)
	whole := sealed(t, small(), zip.Deflate)
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"nothing":                     {nil, "course_import.empty"},
		"text":                        {[]byte("no archive at all, but of some length"), "course_import.not_archive"},
		"half of one":                 {whole[:len(whole)/2], "course_import.not_archive"},
		"one without its last byte":   {whole[:len(whole)-1], "course_import.not_archive"},
		"something before it":         {append([]byte("#!/bin/sh\n"), whole...), "course_import.not_archive"},
		"a comment":                   {rawZip([]raw{good}, "PK\x05\x06"), "course_import.not_archive"},
		"a list that is cut":          {rawZip([]raw{good}, "")[10:], "course_import.not_archive"},
		"a path upwards":              {change(func(r *raw) { r.name = "../a.txt" }), "archive.path"},
		"a path upwards inside":       {change(func(r *raw) { r.name = "modules/../../a.txt" }), "archive.path"},
		"an absolute path":            {change(func(r *raw) { r.name = "/etc/passwd" }), "archive.path"},
		"a drive":                     {change(func(r *raw) { r.name = "c:/a.txt" }), "archive.path"},
		"backslashes":                 {change(func(r *raw) { r.name = "..\\a.txt" }), "archive.path"},
		"a zero byte":                 {change(func(r *raw) { r.name = "a\x00.txt" }), "archive.path"},
		"no UTF-8":                    {change(func(r *raw) { r.name = "a\xff.txt" }), "archive.path"},
		"upper case":                  {change(func(r *raw) { r.name = "A.txt" }), "archive.path"},
		"no name":                     {change(func(r *raw) { r.name, r.localName = "", "" }), "archive.path"},
		"a long name":                 {change(func(r *raw) { r.name = strings.Repeat("a", 5000) }), "archive.path"},
		"a name twice":                {rawZip([]raw{good, good}, ""), "archive.file_twice"},
		"a file that is a folder":     {rawZip([]raw{plainFile("a", "x"), plainFile("a/b", "y")}, ""), "archive.path"},
		"a link":                      {change(func(r *raw) { r.creator, r.mode = 3<<8, uint32(0o120777)<<16 }), "archive.special_file"},
		"a device":                    {change(func(r *raw) { r.creator, r.mode = 3<<8, uint32(0o020666)<<16 }), "archive.special_file"},
		"a pipe":                      {change(func(r *raw) { r.creator, r.mode = 3<<8, uint32(0o010666)<<16 }), "archive.special_file"},
		"encrypted":                   {change(func(r *raw) { r.flags = 1 }), "archive.encrypted"},
		"another method":              {change(func(r *raw) { r.method = 12 }), "archive.method"},
		"two names":                   {change(func(r *raw) { r.localName = "c.txt" }), "archive.lying_header"},
		"stored and smaller":          {change(func(r *raw) { r.size = 3 }), "archive.lying_header"},
		"beyond the end":              {change(func(r *raw) { r.claimPacked, r.size = new(uint32(100_000)), 100_000 }), "archive.lying_header"},
		"nowhere":                     {change(func(r *raw) { r.offset = new(uint32(7)) }), "archive.lying_header"},
		"behind everything":           {change(func(r *raw) { r.offset = new(uint32(0xfffffff0)) }), "archive.lying_header"},
		"the same bytes twice":        {rawZip([]raw{good, func() raw { r := good; r.offset = new(uint32(0)); return r }()}, ""), "archive.file_twice"},
		"a file within a file":        {rawZip([]raw{{name: "a.txt", packed: rawZip([]raw{plainFile("b.txt", "x")}, "")[:36], size: 36}, {name: "b.txt", packed: []byte("x"), size: 1, crc: crc32.ChecksumIEEE([]byte("x")), offset: new(uint32(35))}}, ""), "archive.overlap"},
		"a bomb":                      {bomb, "archive.ratio"},
		"a list with gigabytes to go": {change(func(r *raw) { r.method, r.size = 8, 0xfffffff0 }), "archive.ratio"},
	} {
		_, err := f.send(f.teacher, "", c.content, false)
		got := fault.CodeOf(err)
		if got == "course_import.refused" {
			got = strings.Join(fields(err), ", ")
		}
		if !strings.Contains(got, c.want) || fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v (%s), want %s", name, err, got, c.want)
		}
	}
	// More than an archive may have, in all and by what its files come to.
	if _, err := f.send(f.teacher, "", make([]byte, 64<<20+1), false); fault.CodeOf(err) != "course_import.too_large" || fault.KindOf(err) != fault.TooLarge {
		t.Errorf("too large: %v", err)
	}
	defer func() {
		if entries := must(os.ReadDir(f.dir)); len(entries) > 1 {
			t.Errorf("%v are left", entries)
		}
	}()
	if testing.Short() {
		return // the race detector makes of a second a minute
	}
	text := strings.Repeat("Some words that shrink a little, with a number: %d. ", 20)
	sparse := map[string]string{}
	for i := range 70 {
		var b strings.Builder
		for j := range 1000 {
			fmt.Fprintf(&b, text[:52], i*j*7919)
		}
		sparse[fmt.Sprintf("f%d.txt", i)] = strings.Repeat(b.String(), 20)
	}
	_, err := f.send(f.teacher, "", packed(t, sparse, zip.Deflate), false)
	if got := fields(err); len(got) != 1 || got[0] != " archive.too_large" {
		t.Errorf("files that are too large together: %v, %v", err, got)
	}
}

// TestLyingBytes: bytes that are others than the list says are told when they are
// read, whoever lies.
func TestLyingBytes(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	for _, at := range []string{"Hello", `"title": "M"`} {
		content := sealed(t, small(), zip.Store)
		i := bytes.Index(content, []byte(at))
		content[i+len(at)-2] ^= 1 // the CRC is that of before
		if got := f.imported("", content, true); got.GetState() != "failed" || got.GetFindings()[0].GetCode() != "archive.broken" {
			t.Errorf("%s: %v", at, got)
		}
	}
	// A file that says that it is smaller than it is.
	files := small()
	content := sealed(t, files, zip.Deflate)
	z := must(zip.NewReader(bytes.NewReader(content), int64(len(content))))
	var list []raw
	for _, file := range z.File {
		r := must(file.OpenRaw())
		one := raw{name: file.Name, method: file.Method, crc: file.CRC32, size: uint32(file.UncompressedSize64), packed: must(io.ReadAll(r))} //nolint:gosec // a small number
		if file.Name == "modules/01-m/01-l/text-01.md" {
			one.size--
		}
		list = append(list, one)
	}
	got := f.imported("", rawZip(list, ""), true)
	if got.GetState() != "failed" || got.GetFindings()[0].GetCode() != "archive.size" {
		t.Errorf("smaller: %v", got)
	}
}

// FuzzZip holds the reader of ZIP to another one: what it takes, both read alike.
func FuzzZip(f *testing.F) {
	f.Add(rawZip([]raw{plainFile("a.txt", "hello"), plainFile("b/c.md", "")}, ""))
	f.Add(packed(f, small(), zip.Deflate))
	f.Add(sealed(f, small(), zip.Store))
	f.Add(rawZip([]raw{{name: "d/", mode: uint32(fs.ModeDir), creator: 3 << 8}}, ""))
	f.Fuzz(func(t *testing.T, content []byte) {
		mine, err := courses.ReadZip(content)
		if err != nil {
			return
		}
		z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
		if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
			t.Fatalf("taken, and refused by another: %v", err)
		}
		theirs := map[string]string{}
		for _, file := range z.File {
			if strings.HasSuffix(file.Name, "/") {
				continue
			}
			r, err := file.Open()
			if err != nil {
				t.Fatalf("%s: %v", file.Name, err)
			}
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatalf("%s: %v", file.Name, err)
			}
			theirs[file.Name] = string(text)
		}
		if !maps.Equal(mine, theirs) {
			t.Fatalf("read as %v, by another as %v", mine, theirs)
		}
	})
}

// FuzzArchive has all of an archive read, of files in any state.
func FuzzArchive(f *testing.F) {
	for name, text := range small() {
		f.Add(name, text)
	}
	f.Add("modules/01-m/01-l/lesson.json", `{"id": "l", "settings": {"release": {"any": {"rules": [{"cohort": {}}]}}}}`)
	f.Add("course.json", `{"grading": {"categories": [{"item_ids": ["l"]}]}}`)
	for name, text := range captioned() {
		f.Add(name, text)
	}
	own := courses.New(courses.Config{Imports: f.TempDir()})
	f.Fuzz(func(t *testing.T, name, text string) {
		if name == "" || strings.HasSuffix(name, "/") {
			return // a folder, which has no bytes
		}
		version, files := 1, small()
		if len(text)%2 == 0 {
			version, files = 2, captioned()
		}
		files[name] = text
		began := time.Now()
		courses.Inspect(t.Context(), own, packed(t, sealedFiles(t, version, files), zip.Store))
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func sealedFiles(t testing.TB, version int, files map[string]string) map[string]string {
	t.Helper()
	out := maps.Clone(files)
	maps.Copy(out, unzipped(t, sealedAs(t, version, files, zip.Store)))
	return out
}
