package courses

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// Limits of single files of an archive, in bytes.
const (
	maxManifest   = 48 << 20
	maxCourseJSON = 8 << 20
	maxItemJSON   = 4 << 20
	maxMediaJSON  = 48 << 20
	// maxValues bounds how many values a JSON file has: criteria of grading that
	// name 5,000 items in each of 50 categories have fewer.
	maxValues = 700_000
)

// archivePlan is what an archive says: what is in it and in which order. The
// contents are read when they are needed.
type archivePlan struct {
	zip         *zipArchive
	listed      map[string]*coursespb.ArchiveFile
	version     int32 // of the format
	origin      string
	course      *coursespb.ArchiveCourse
	description string
	media       []*coursespb.ArchiveMediaFile
	types       map[string]string // of files, by their names in the archive
	captions    int64             // bytes of the captions that were listed
	nodes       []archiveNode     // parents before children, siblings in their order
	kinds       map[string]string // of items, by their names in the archive
	used        map[string]bool   // files that something names
	checked     bool              // all has been read once
	carried     carriedPlan
	note        *findings
}

// archiveNode is an item in an archive.
type archiveNode struct {
	folder string
	kind   string // of file: "module", "lesson" or "activity"; then of item
	above  int    // its parent among the nodes; -1 at the top
	depth  int
	place  int
	local  string // how it is called within the archive
	id     string // how it is called in the course that it becomes part of
}

func (n archiveNode) file() string { return n.folder + "/" + itemFile(n.kind) }

// readArchive reads what an archive says of itself. What is wrong is noted; nil
// is returned when it is too much to go on.
func readArchive(r io.ReaderAt, size, total int64, note *findings) *archivePlan {
	z, err := openZip(r, size, total, note)
	if err != nil {
		note.add("", "archive.not_zip", "Send a ZIP file that is whole, with nothing before it or behind.")
	}
	if z == nil || err != nil || note.errors > 0 {
		return nil
	}
	p := &archivePlan{
		zip: z, listed: map[string]*coursespb.ArchiveFile{}, types: map[string]string{}, kinds: map[string]string{}, used: map[string]bool{manifestFile: true}, note: note,
	}
	if !p.readManifest() || !p.compare() {
		return nil
	}
	p.course = &coursespb.ArchiveCourse{}
	if p.decode(courseFile, maxCourseJSON, p.course) && p.course.GetDescriptionFile() != "" {
		p.description, _ = p.text(p.course.GetDescriptionFile(), courseFile, "description_file")
	}
	list := &coursespb.ArchiveMedia{}
	if p.decode(mediaFile, maxMediaJSON, list) {
		p.readMedia(list)
	}
	p.readFolders()
	p.readCarried()
	return p
}

// readManifest reads the list of all files. Of another format, and of another
// version, only that is told.
func (p *archivePlan) readManifest() bool {
	f := p.zip.files[manifestFile]
	if f == nil {
		p.note.add(manifestFile, "archive.format", "This is no archive of a course: it has no "+manifestFile+" at its top.")
		return false
	}
	if f.size > maxManifest {
		p.note.add(manifestFile, "archive.file_too_large", tooLarge(maxManifest))
		return false
	}
	text, err := p.zip.read(f)
	if err != nil {
		p.note.add(manifestFile, "archive.broken", "Its bytes are not what the archive says.")
		return false
	}
	var head coursespb.ArchiveManifest
	if decodable(text, p.mostValues(manifestFile)) && (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, &head) == nil {
		switch {
		case head.GetFormat() != archiveFormat:
			p.note.addField(manifestFile, "format", "archive.format", "This is no archive of a course.")
			return false
		case head.GetVersion() < firstVersion || head.GetVersion() > newestVersion:
			p.note.addField(manifestFile, "version", "archive.version", "It is of version "+strconv.Itoa(int(head.GetVersion()))+" of the format; this program reads "+strconv.Itoa(firstVersion)+" to "+strconv.Itoa(newestVersion)+".")
			return false
		}
	}
	var m coursespb.ArchiveManifest
	if !decodeArchive(manifestFile, text, p.mostValues(manifestFile), &m, p.note) || !p.check(manifestFile, rpc.Check(&m)) {
		return false
	}
	p.version, p.origin = m.GetVersion(), m.GetOrigin()
	for i, f := range m.GetFiles() {
		if p.listed[f.GetPath()] != nil || f.GetPath() == manifestFile {
			p.note.addField(manifestFile, index("files", i), "archive.file_twice", "Name each file once, and not this one.")
		}
		p.listed[f.GetPath()] = f
	}
	return true
}

// check notes the fields that an error names, as those of a file. It reports
// whether there was no error.
func (p *archivePlan) check(file string, err error) bool {
	if err == nil {
		return true
	}
	noteError(p.note, file, err)
	return false
}

// compare holds the files that there are to those that are listed.
func (p *archivePlan) compare() bool {
	before := p.note.errors
	for _, name := range p.zip.names {
		listed := p.listed[name]
		switch {
		case name == manifestFile:
		case listed == nil:
			p.note.add(name, "archive.file_extra", "It is not listed in "+manifestFile+".")
		case listed.GetSize() != p.zip.files[name].size:
			p.note.add(name, "archive.size", manifestFile+" says that it has "+strconv.FormatInt(listed.GetSize(), 10)+" bytes.")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.listed)) {
		if p.zip.files[name] == nil {
			p.note.add(shownPath(name), "archive.file_missing", "It is listed in "+manifestFile+" and not there.")
		}
	}
	return p.note.errors == before
}

// mostValues bounds how many values a JSON file of the archive has. Lists of files
// have five of each file that there is, and two more where it has captions.
func (p *archivePlan) mostValues(name string) int {
	if name == manifestFile || name == mediaFile {
		return 1000 + 7*len(p.zip.files)
	}
	return maxValues
}

func decodable(text []byte, most int) bool {
	depth, values := shapeOf(text)
	return depth <= maxJSONDepth && values <= most
}

func tooLarge(most int64) string {
	return "It has at most " + strconv.FormatInt(most, 10) + " bytes."
}

// file returns the bytes of a small file, which have to be those that are listed.
func (p *archivePlan) file(name string, most int64) ([]byte, bool) {
	f := p.zip.files[name]
	if f == nil {
		p.note.add(name, "archive.file_missing", "Every archive has it.")
		return nil, false
	}
	p.used[name] = true
	if f.size > most {
		p.note.add(name, "archive.file_too_large", tooLarge(most))
		return nil, false
	}
	text, err := p.zip.read(f)
	if err != nil {
		p.note.add(name, "archive.broken", "Its bytes are not what the archive says.")
		return nil, false
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != p.listed[name].GetSha256() {
		p.note.add(name, "archive.hash", "Its bytes are others than those that "+manifestFile+" has the hash of.")
		return nil, false
	}
	return text, true
}

func (p *archivePlan) decode(name string, most int64, m proto.Message) bool {
	text, ok := p.file(name, most)
	return ok && decodeArchive(name, text, p.mostValues(name), m, p.note)
}

// text returns the text that a field of a file names.
func (p *archivePlan) text(name, by, field string) (string, bool) {
	if p.listed[name] == nil || p.zip.files[name] == nil || strings.HasSuffix(name, ".json") || strings.HasPrefix(name, mediaFolder+"/") {
		p.note.addField(by, field, "archive.text_missing", "There is no such file of text.")
		return "", false
	}
	text, ok := p.file(name, MaxBody)
	return string(text), ok
}

// readMedia takes the names of the files that the course shows.
func (p *archivePlan) readMedia(list *coursespb.ArchiveMedia) {
	if !p.check(mediaFile, rpc.Check(list)) {
		return
	}
	for i, f := range list.GetFiles() {
		at := index("files", i)
		listed := p.listed[f.GetPath()]
		switch base := strings.TrimPrefix(f.GetPath(), mediaFolder+"/"); {
		case p.types[f.GetId()] != "":
			p.note.addField(mediaFile, at+".id", "archive.id_twice", "Give each file a name of its own.")
		case listed == nil || p.zip.files[f.GetPath()] == nil:
			p.note.addField(mediaFile, at+".path", "archive.file_missing", "There is no such file.")
		case path.Dir(f.GetPath()) != mediaFolder || !strings.HasPrefix(base, listed.GetSha256()+"."):
			p.note.addField(mediaFile, at+".path", "archive.media_path", "Files are in "+mediaFolder+"/ under the SHA-256 of their bytes.")
		case f.GetFilename() == "" || f.GetContentType() == "":
			p.note.addField(mediaFile, at, "archive.media", "Say what it is called, and of which type it is.")
		default:
			p.types[f.GetId()] = f.GetContentType()
			p.used[f.GetPath()] = true
			p.media = append(p.media, f)
			p.listCaptions(at, f)
		}
	}
}

// readFolders finds the items and their order.
func (p *archivePlan) readFolders() {
	has := map[string][]string{} // the items' files in each folder
	children := map[string]map[string]bool{}
	for _, name := range p.zip.names {
		if !strings.HasPrefix(name, modulesFolder+"/") {
			continue
		}
		folder := path.Dir(name)
		if base := path.Base(name); base == moduleFile || base == lessonFile || base == activityFile {
			has[folder] = append(has[folder], strings.TrimSuffix(base, ".json"))
		}
		for in := folder; in != modulesFolder && in != "."; in = path.Dir(in) {
			above := path.Dir(in)
			if children[above] == nil {
				children[above] = map[string]bool{}
			}
			children[above][in] = true
		}
	}
	p.addChildren(modulesFolder, -1, 0, has, children)
	modules, rest := 0, 0
	for _, n := range p.nodes {
		if n.kind == "module" {
			modules++
		} else {
			rest++
		}
	}
	if modules > MaxModules {
		p.note.add("", ErrTooManyModules.Code, ErrTooManyModules.Message)
	}
	if rest > MaxLessons {
		p.note.add("", ErrTooManyLessons.Code, ErrTooManyLessons.Message)
	}
}

// addChildren adds the items in a folder, in the order of the numbers that their
// folders begin with.
func (p *archivePlan) addChildren(folder string, above, depth int, has map[string][]string, children map[string]map[string]bool) {
	var list []archiveNode
	taken := map[int]string{}
	for _, child := range slices.Sorted(maps.Keys(children[folder])) {
		match := folderName.FindStringSubmatch(path.Base(child))
		kinds := has[child]
		if match == nil || len(kinds) != 1 {
			p.note.add(child, "archive.folder", "A folder of an item begins with its place, as 01-welcome, and has one of "+moduleFile+", "+lessonFile+" and "+activityFile+".")
			continue
		}
		n := archiveNode{folder: child, kind: kinds[0], above: above, depth: depth}
		n.place, _ = strconv.Atoi(match[1])
		switch {
		case taken[n.place] != "":
			p.note.add(child, "archive.place_twice", "It has the place of "+taken[n.place]+".")
		case n.kind == "module" && depth >= maxDepth:
			p.note.add(child, ErrTooDeep.Code, ErrTooDeep.Message)
		case n.kind != "module" && above < 0:
			p.note.add(child, ErrNeedsModule.Code, ErrNeedsModule.Message)
		case n.kind != "module" && len(children[child]) > 0:
			p.note.add(child, "archive.folder", "Only modules have others in them.")
		default:
			list = append(list, n)
		}
		taken[n.place] = child
	}
	slices.SortFunc(list, func(a, b archiveNode) int { return cmp.Compare(a.place, b.place) })
	for _, n := range list {
		p.nodes = append(p.nodes, n)
		if n.kind == "module" {
			p.addChildren(n.folder, len(p.nodes)-1, depth+1, has, children)
		}
	}
}

// noteUnused notes files that nothing names. All contents have been read.
func (p *archivePlan) noteUnused() {
	for _, name := range p.zip.names {
		if !p.used[name] {
			p.note.add(name, "archive.file_unused", "Nothing in the archive names it.")
		}
	}
}

// verifyMedia reads all files that the course shows and holds them to their
// hashes.
func (p *archivePlan) verifyMedia() {
	done := map[string]bool{}
	for _, f := range p.media {
		if done[f.GetPath()] {
			continue
		}
		done[f.GetPath()] = true
		hash := sha256.New()
		if _, err := io.Copy(hash, p.zip.open(p.zip.files[f.GetPath()])); err != nil {
			p.note.add(f.GetPath(), "archive.broken", "Its bytes are not what the archive says.")
		} else if hex.EncodeToString(hash.Sum(nil)) != p.listed[f.GetPath()].GetSha256() {
			p.note.add(f.GetPath(), "archive.hash", "Its bytes are others than those that "+manifestFile+" has the hash of.")
		}
	}
}
