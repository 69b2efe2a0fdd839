package courses

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Limits of an archive, whoever made it.
const (
	// maxArchiveFiles bounds the entries of an archive.
	maxArchiveFiles = 200_000
	// maxArchiveDirectory bounds their list, in bytes.
	maxArchiveDirectory = 48 << 20
	// maxArchivePath bounds the name of a file, and maxArchiveDepth in how many
	// folders it is: a text of a lesson in the innermost module is in five.
	maxArchivePath  = 400
	maxArchiveDepth = 5
	// maxArchiveRatio is how much a file may shrink by compression, from
	// ratioCounts bytes on. Text hardly ever shrinks to a fiftieth.
	maxArchiveRatio = 200
	ratioCounts     = 1 << 20
)

// zipArchive is a ZIP file that nobody has vouched for. Everything that two
// readers of ZIP could take in two ways is refused: comments behind the list,
// gaps before it, entries that overlap, local headers that say something else.
type zipArchive struct {
	r     io.ReaderAt
	files map[string]*zipFile
	names []string // sorted
}

// zipFile is a file in it.
type zipFile struct {
	name   string
	method uint16
	flags  uint16
	crc    uint32
	packed int64 // bytes in the archive
	size   int64 // bytes of the file
	offset int64 // of its local header
	data   int64 // where its bytes begin
}

const (
	zipStored   = 0
	zipDeflated = 8

	zipEncrypted  = 1<<0 | 1<<6 | 1<<13
	zipDescriptor = 1 << 3
)

var (
	errZip  = errors.New("no zip")
	errBomb = errors.New("more than it says")
)

// openZip reads the list of an archive of so many bytes and holds it and each
// entry to the limits. total bounds the bytes of all files together. What is
// wrong with single entries is noted; an error means that there is no list.
func openZip(r io.ReaderAt, size, total int64, note *findings) (*zipArchive, error) {
	start, length, count, err := findDirectory(r, size)
	if err != nil {
		return nil, err
	}
	if count > maxArchiveFiles || length > maxArchiveDirectory {
		note.add("", "archive.too_many_files", "An archive has at most "+strconv.Itoa(maxArchiveFiles)+" files.")
		return nil, nil
	}
	list, err := readDirectory(r, start, length, count)
	if err != nil {
		return nil, err
	}
	a := &zipArchive{r: r, files: make(map[string]*zipFile, len(list))}
	var sum int64
	for i := range list {
		e := &list[i]
		if !e.check(note) {
			continue
		}
		if err := e.locate(r, start); err != nil {
			note.add(e.name, "archive.lying_header", "Its two headers differ. Pack the archive anew.")
			continue
		}
		if e.size > math.MaxInt64-sum {
			sum = math.MaxInt64
		} else {
			sum += e.size
		}
		if strings.HasSuffix(e.name, "/") {
			continue // a folder
		}
		if a.files[e.name] != nil {
			note.add(e.name, "archive.file_twice", "Keep one file of this name.")
			continue
		}
		a.files[e.name] = &e.zipFile
		a.names = append(a.names, e.name)
	}
	if sum > total {
		note.add("", "archive.too_large", "The files of an archive have at most "+strconv.FormatInt(total, 10)+" bytes together.")
	}
	slices.Sort(a.names)
	for i := 1; i < len(a.names); i++ {
		// A file can't be a folder as well.
		if strings.HasPrefix(a.names[i], a.names[i-1]+"/") {
			note.add(a.names[i-1], "archive.path", "There is a folder of this name.")
		}
	}
	noteOverlaps(list, note)
	return a, nil
}

// findDirectory returns where the list of entries is, how long, and how many
// they are. It ends where its trailer begins, which ends the file.
func findDirectory(r io.ReaderAt, size int64) (start, length int64, count uint64, err error) {
	const (
		endLen, locatorLen, end64Len = 22, 20, 56
	)
	var end [endLen]byte
	if size < endLen || readAt(r, end[:], size-endLen) != nil || le32(end[:]) != 0x06054b50 || le16(end[20:]) != 0 {
		return 0, 0, 0, errZip
	}
	disk, dirDisk, here := uint32(le16(end[4:])), uint32(le16(end[6:])), uint64(le16(end[8:]))
	count, length, start = uint64(le16(end[10:])), int64(le32(end[12:])), int64(le32(end[16:]))
	until := size - endLen
	var locator [locatorLen]byte
	if until >= locatorLen+end64Len && readAt(r, locator[:], until-locatorLen) == nil && le32(locator[:]) == 0x07064b50 {
		var end64 [end64Len]byte
		at := until - locatorLen - end64Len
		if le64(locator[8:]) != uint64(at) || le32(locator[4:]) != 0 || le32(locator[16:]) > 1 ||
			readAt(r, end64[:], at) != nil || le32(end64[:]) != 0x06064b50 || le64(end64[4:]) != end64Len-12 {
			return 0, 0, 0, errZip
		}
		disk, dirDisk, here = le32(end64[16:]), le32(end64[20:]), le64(end64[24:])
		count, length, start = le64(end64[32:]), signed(le64(end64[40:])), signed(le64(end64[48:]))
		until = at
	}
	if disk != 0 || dirDisk != 0 || here != count || length < 0 || start < 0 || start > until || start+length != until {
		return 0, 0, 0, errZip
	}
	return start, length, count, nil
}

// signed returns a number that is no offset as one that is none either.
func signed(n uint64) int64 {
	if n > math.MaxInt64 {
		return -1
	}
	return int64(n)
}

// zipEntry is a line of the list.
type zipEntry struct {
	zipFile

	creator uint16
	mode    uint32
}

// readDirectory reads the whole list, which has to hold what it says and no
// more.
func readDirectory(r io.ReaderAt, start, length int64, count uint64) ([]zipEntry, error) {
	in := bufio.NewReaderSize(io.NewSectionReader(r, start, length), 64<<10)
	list := make([]zipEntry, 0, min(count, 4096))
	var head [46]byte
	for left := length; left > 0; {
		if uint64(len(list)) == count {
			return nil, errZip
		}
		if _, err := io.ReadFull(in, head[:]); err != nil || le32(head[:]) != 0x02014b50 || le16(head[34:]) != 0 {
			return nil, errZip
		}
		nameLen, extraLen, commentLen := int(le16(head[28:])), int(le16(head[30:])), int(le16(head[32:]))
		rest := make([]byte, nameLen+extraLen+commentLen)
		if _, err := io.ReadFull(in, rest); err != nil {
			return nil, errZip
		}
		left -= int64(len(head) + len(rest))
		e := zipEntry{creator: le16(head[4:]), mode: le32(head[38:]), zipFile: zipFile{
			name: string(rest[:nameLen]), flags: le16(head[8:]), method: le16(head[10:]), crc: le32(head[16:]),
			packed: int64(le32(head[20:])), size: int64(le32(head[24:])), offset: int64(le32(head[42:])),
		}}
		if err := e.widen(rest[nameLen : nameLen+extraLen]); err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	if uint64(len(list)) != count {
		return nil, errZip
	}
	return list, nil
}

// widen takes the numbers that had no room in 32 bits from the extra fields.
func (e *zipEntry) widen(extra []byte) error {
	wide := []*int64{}
	for _, n := range []*int64{&e.size, &e.packed, &e.offset} {
		if *n == math.MaxUint32 {
			wide = append(wide, n)
		}
	}
	for len(extra) >= 4 {
		tag, n := le16(extra), int(le16(extra[2:]))
		if len(extra) < 4+n {
			return errZip
		}
		field := extra[4 : 4+n]
		extra = extra[4+n:]
		if tag != 1 {
			continue
		}
		for _, to := range wide {
			if len(field) < 8 {
				return errZip
			}
			if *to = signed(le64(field)); *to < 0 {
				return errZip
			}
			field = field[8:]
		}
		return nil
	}
	if len(wide) > 0 {
		return errZip
	}
	return nil
}

// archivePath is what a file of an archive may be called. There is no upper
// case, so that no two names are one on some disk.
var archivePath = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*/?$`)

// check notes what is wrong with an entry by itself, and reports whether it is
// one to look into.
func (e *zipEntry) check(note *findings) bool {
	switch mode := fs.FileMode(e.mode >> 16 & 0o170000); {
	case len(e.name) > maxArchivePath || strings.Count(e.name, "/") > maxArchiveDepth+1 || !archivePath.MatchString(e.name):
		note.add(shownPath(e.name), "archive.path", "Names have small letters, digits, dots, dashes and underlines, with / between folders, and begin with a letter or a digit.")
	case e.flags&zipEncrypted != 0:
		note.add(e.name, "archive.encrypted", "Pack the archive without a password.")
	case e.creator>>8 == 3 && mode != 0 && mode != 0o100000 && (mode != 0o040000 || !strings.HasSuffix(e.name, "/")):
		note.add(e.name, "archive.special_file", "Links, devices and pipes are not taken.")
	case e.method != zipStored && e.method != zipDeflated:
		note.add(e.name, "archive.method", "Pack the archive with deflate, or without compression.")
	case e.method == zipStored && e.packed != e.size, strings.HasSuffix(e.name, "/") && e.size != 0:
		note.add(e.name, "archive.lying_header", "Its sizes can't be right. Pack the archive anew.")
	case e.size > ratioCounts && e.size/maxArchiveRatio > e.packed:
		note.add(e.name, "archive.ratio", "It shrinks more than a file of a course does. Pack it without compression.")
	default:
		return true
	}
	return false
}

// shownPath makes a name fit to be told.
func shownPath(name string) string {
	name = strings.ToValidUTF8(name, "?")
	name = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '?'
		}
		return r
	}, name)
	if len(name) > maxArchivePath {
		name = strings.ToValidUTF8(name[:maxArchivePath], "") + "…"
	}
	return name
}

// locate reads the local header of an entry, which has to say the same, and
// finds its bytes, which end before the list.
func (e *zipEntry) locate(r io.ReaderAt, until int64) error {
	var head [30]byte
	if e.offset > until-int64(len(head)) || readAt(r, head[:], e.offset) != nil || le32(head[:]) != 0x04034b50 {
		return errZip
	}
	const compared = zipEncrypted | zipDescriptor | 1<<11
	if (le16(head[6:])^e.flags)&compared != 0 || le16(head[8:]) != e.method {
		return errZip
	}
	name := make([]byte, le16(head[26:]))
	if readAt(r, name, e.offset+int64(len(head))) != nil || string(name) != e.name {
		return errZip
	}
	packed, size := int64(le32(head[18:])), int64(le32(head[22:]))
	if e.flags&zipDescriptor == 0 {
		if le32(head[14:]) != e.crc || packed != e.packed && packed != math.MaxUint32 || size != e.size && size != math.MaxUint32 {
			return errZip
		}
	}
	e.data = e.offset + int64(len(head)) + int64(len(name)) + int64(le16(head[28:]))
	if e.data > until || e.packed > until-e.data {
		return errZip
	}
	if e.flags&zipDescriptor == 0 {
		return nil
	}
	// The same again behind the bytes, with a mark before it or without.
	var tail [8]byte
	at := e.data + e.packed
	if until-at < int64(len(tail)) || readAt(r, tail[:], at) != nil {
		return errZip
	}
	if le32(tail[:]) != e.crc && (le32(tail[:]) != 0x08074b50 || le32(tail[4:]) != e.crc) {
		return errZip
	}
	return nil
}

// noteOverlaps notes entries whose bytes are those of others too.
func noteOverlaps(list []zipEntry, note *findings) {
	order := make([]*zipEntry, 0, len(list))
	for i := range list {
		if list[i].data > 0 {
			order = append(order, &list[i])
		}
	}
	slices.SortFunc(order, func(a, b *zipEntry) int { return cmp.Compare(a.offset, b.offset) })
	for i := 1; i < len(order); i++ {
		if order[i].offset < order[i-1].data+order[i-1].packed {
			note.add(order[i].name, "archive.overlap", "It has its bytes in common with "+order[i-1].name+".")
		}
	}
}

// open returns the bytes of a file. Reading fails unless they are as many as the
// list says and have the checksum that it says.
func (a *zipArchive) open(f *zipFile) io.Reader {
	var in io.Reader = io.NewSectionReader(a.r, f.data, f.packed)
	if f.method == zipDeflated {
		in = flate.NewReader(in)
	}
	return &zipReader{in: in, left: f.size, want: f.crc}
}

type zipReader struct {
	in   io.Reader
	left int64
	sum  uint32
	want uint32
}

// Read implements [io.Reader].
func (z *zipReader) Read(p []byte) (int, error) {
	if z.left == 0 {
		// One byte more than it says is too many.
		var one [1]byte
		switch n, err := io.ReadFull(z.in, one[:]); {
		case n > 0:
			return 0, errBomb
		case !errors.Is(err, io.EOF), z.sum != z.want:
			return 0, errZip
		}
		return 0, io.EOF
	}
	n, err := z.in.Read(p[:min(int64(len(p)), z.left)])
	z.left -= int64(n)
	z.sum = crc32.Update(z.sum, crc32.IEEETable, p[:n])
	if errors.Is(err, io.EOF) {
		err = nil
		if z.left > 0 {
			err = errZip
		}
	}
	return n, err
}

// read returns all of a small file.
func (a *zipArchive) read(f *zipFile) ([]byte, error) {
	var out bytes.Buffer
	out.Grow(int(min(f.size, ratioCounts)))
	_, err := io.Copy(&out, a.open(f))
	return out.Bytes(), err
}

func readAt(r io.ReaderAt, p []byte, at int64) error {
	if at < 0 {
		return errZip
	}
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	return err
}

func le16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }
func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
