// Package exchange reads and writes questions in the formats of others: GIFT, Aiken,
// Moodle XML, QTI 2.1, 2.2 and 3.0, and tables as CSV. It is pure: it opens no file
// and no connection, and it stores nothing.
//
// [Read] hands on what it reads one question at a time, and [Write] writes one at a
// time, so that both need the memory of a question and not of a file. Both tell in a
// [Report] what became of each: it is kept, or changed in the ways that are named, or
// refused for a reason. Nothing is left out without a word: Write reads each question
// back from what it has written, and tells each field that is not the same.
//
// # Texts
//
// HTML becomes the Markdown of the package question, and Markdown becomes HTML. Where
// HTML alone would not give the same Markdown again, a comment beside it has it; that
// counts only as long as it still makes the HTML that it stands in, so that what
// others have edited is what is read. A format that knows Markdown has it as it is.
//
// # Files
//
// A picture in a file gets the id [FileID], made of its bytes, and is named by it in
// the content. The caller stores it and puts the real id there by
// [question.WithMedia].
//
// # Hostile input
//
// Sizes, numbers and depths are bounded by [Limits]. XML with a document type, with
// entities of its own or in another encoding than UTF-8 is refused, and so are
// packages with links, with paths that lead out of them, or that unpack to more than
// is allowed.
package exchange

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/question"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// Format is the name of a format.
type Format string

// The formats there are. To read QTI any of its three will do: the version is told by
// the file.
const (
	GIFT      Format = "gift"
	Aiken     Format = "aiken"
	MoodleXML Format = "moodle_xml"
	QTI21     Format = "qti_2.1"
	QTI22     Format = "qti_2.2"
	QTI30     Format = "qti_3.0"
	CSV       Format = "csv"
)

// Formats are all formats.
var Formats = []Format{GIFT, Aiken, MoodleXML, QTI21, QTI22, QTI30, CSV}

// Limits bound what is read.
type Limits struct {
	Bytes     int64 // of what is read
	Items     int   // questions, those that are refused among them
	ItemBytes int64 // of one question with its files, as it is in the file
	Unpacked  int64 // of all that is read of a package
	Files     int   // of a package
	Depth     int   // of elements in elements
	Nodes     int   // elements and texts of one question
}

// DefaultLimits are those of [Read].
var DefaultLimits = Limits{
	Bytes: 64 << 20, Items: 20_000, ItemBytes: 16 << 20, Unpacked: 256 << 20, Files: 50_000, Depth: 100, Nodes: 100_000,
}

// Errors of a file as a whole.
var (
	ErrFormat    = fault.New(fault.Invalid, "exchange.format", "The file is in none of the formats that can be read.")
	ErrMalformed = fault.New(fault.Invalid, "exchange.malformed", "The file can't be read.")
	ErrTooLarge  = fault.New(fault.TooLarge, "exchange.too_large", "The file has more than is read at once: divide it.")
	ErrHostile   = fault.New(fault.Invalid, "exchange.hostile", "The file has something that is not taken from anybody, such as a document type, a link or a path that leads out of it.")
)

// malformed says what of a file can't be read.
func malformed(at, format string, args ...any) error {
	out := *ErrMalformed
	out.Fields = []fault.Field{{Path: at, Code: out.Code, Hint: fmt.Sprintf(format, args...)}}
	return &out
}

// Item is a question with what the bank keeps beside it.
type Item struct {
	Content  *pb.QuestionContent
	Category []string // names from the top down
	Tags     []string
	Files    []File // the pictures that Content names
	Entry    int    // its place in the entries of the report
}

// File is a picture.
type File struct {
	ID   string // by which Content names it
	Name string
	Data []byte
}

// FileID returns the id by which a picture that was read is named.
func FileID(data []byte) string {
	sum := sha256.Sum256(data)
	u, err := uuid.FromBytes(sum[:16])
	if err != nil { // 16 bytes are an id
		panic(err)
	}
	return id.Format("media", u)
}

// Read reads questions and hands each to sink, normalised and valid. An error of sink
// ends it and is returned. An error of the file is a *[fault.Error]; what came before
// was handed on already.
func Read(ctx context.Context, format Format, in io.Reader, sink func(Item) error) (*Report, error) {
	return ReadLimited(ctx, DefaultLimits, format, in, sink)
}

// ReadLimited is Read with other limits.
func ReadLimited(ctx context.Context, limits Limits, format Format, in io.Reader, sink func(Item) error) (*Report, error) {
	r := &reader{ctx: ctx, limits: limits, sink: sink, report: &Report{}, text: newMarkup()}
	bounded := &boundedReader{in: in, left: limits.Bytes}
	var err error
	switch format {
	case GIFT:
		err = r.readGIFT(bounded)
	case Aiken:
		err = r.readAiken(bounded)
	case CSV:
		err = r.readCSV(bounded)
	case MoodleXML:
		err = r.readMoodle(bounded)
	case QTI21, QTI22, QTI30:
		err = r.readQTI(in, bounded)
	default:
		err = ErrFormat
	}
	if bounded.over { // whatever the format made of the end
		err = ErrTooLarge
	}
	return r.report, err
}

// boundedReader ends with ErrTooLarge where there is more than it may give.
type boundedReader struct {
	in   io.Reader
	left int64
	over bool
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		var one [1]byte
		n, err := b.in.Read(one[:])
		if n > 0 {
			b.over = true
			return 0, ErrTooLarge
		}
		return 0, err
	}
	n, err := b.in.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// reader is what reading has in common.
type reader struct {
	ctx    context.Context //nolint:containedctx // lives as long as the call
	limits Limits
	sink   func(Item) error
	report *Report
	text   *markup
}

// next has a question begin, and ends a read that goes on for too long.
func (r *reader) next() error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if len(r.report.Entries) >= r.limits.Items {
		return ErrTooLarge
	}
	return nil
}

// take hands on a question that was read, or notes why it is refused.
func (r *reader) take(at string, d *draft, err error) error {
	if stop := r.next(); stop != nil {
		return stop
	}
	e := Entry{At: at, Outcome: Kept, Notes: d.notes}
	if err == nil {
		err = d.finish()
	}
	e.Title = shorten(d.Content.GetTitle(), 200)
	if len(e.Notes) > 0 || len(d.notes) > 0 {
		e.Outcome, e.Notes = Changed, d.notes
	}
	if err != nil {
		notes, ok := reasons(err)
		if !ok {
			return err
		}
		e.Outcome, e.Notes = Refused, notes
	}
	d.Entry = len(r.report.Entries)
	r.report.add(e)
	if e.Outcome == Refused {
		return nil
	}
	return r.sink(d.Item)
}

// draft is a question while it is read or written.
type draft struct {
	Item

	notes []Note
}

func newDraft() *draft { return &draft{Item: Item{Content: &pb.QuestionContent{}}} }

// changed notes that something of a question is not as it was.
func (d *draft) changed(code, format string, args ...any) {
	n := Note{Code: code, Hint: fmt.Sprintf(format, args...)}
	if len(d.notes) < maxNotes && !slices.Contains(d.notes, n) {
		d.notes = append(d.notes, n)
	}
}

// finish brings a question that was read into its normal form, and refuses one that
// is not valid.
func (d *draft) finish() error {
	q := d.Content
	if strings.TrimSpace(q.GetTitle()) == "" {
		q.Title = titleOf(q.GetPrompt())
	}
	if t := shorten(q.GetTitle(), 200); t != q.GetTitle() {
		d.changed("title.shortened", "A title has at most 200 characters.")
		q.Title = t
	}
	if len(d.Tags) > maxTags {
		d.changed("tags.too_many", "A question has at most %d tags; the first ones are kept.", maxTags)
		d.Tags = d.Tags[:maxTags]
	}
	for i, t := range d.Tags {
		d.Tags[i] = shorten(t, 50)
	}
	if len(d.Category) > maxDepth {
		d.changed("category.too_deep", "Categories are at most %d deep; the last ones are left out.", maxDepth)
		d.Category = d.Category[:maxDepth]
	}
	for i, c := range d.Category {
		d.Category[i] = shorten(c, 100)
	}
	if err := question.Validate(q); err != nil {
		return err
	}
	d.Content = question.Normalise(q)
	named := question.Media(d.Content)
	d.Files = slices.DeleteFunc(d.Files, func(f File) bool { return !slices.Contains(named, f.ID) })
	return nil
}

// What the bank takes.
const (
	maxTags  = 20
	maxDepth = 10
)

// shorten cuts a text to so many characters.
func shorten(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	if r := []rune(s); len(r) > n {
		return strings.TrimSpace(string(r[:n-1])) + "…"
	}
	return s
}

// titleOf makes a title of what is asked.
func titleOf(prompt string) string {
	line := ""
	for l := range strings.SplitSeq(prompt, "\n") {
		if line = strings.TrimSpace(strings.NewReplacer("\\", "", "*", "", "`", "", "#", "").Replace(l)); line != "" {
			break
		}
	}
	if line == "" {
		return "Question"
	}
	return shorten(line, 80)
}

// refuse is why a question is not taken.
func refuse(code, format string, args ...any) error {
	return &fault.Error{Kind: fault.Invalid, Code: code, Message: fmt.Sprintf(format, args...)}
}

// reasons returns why a question was refused; false for an error that ends the read.
func reasons(err error) ([]Note, bool) {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f == ErrTooLarge || f == ErrHostile || f.Code == ErrMalformed.Code {
		return nil, false
	}
	if len(f.Fields) == 0 {
		return []Note{{Code: f.Code, Hint: f.Message}}, true
	}
	var out []Note
	for _, one := range f.Fields[:min(len(f.Fields), maxNotes)] {
		out = append(out, Note{Field: one.Path, Code: one.Code, Hint: one.Hint})
	}
	return out, true
}

// Detect returns the format that a file begins like, empty where it is like none. The
// first 4 KiB are enough.
func Detect(prefix []byte) Format {
	text := bytes.TrimSpace(bytes.TrimPrefix(prefix, []byte("\xef\xbb\xbf")))
	switch {
	case bytes.HasPrefix(text, []byte("PK\x03\x04")):
		return QTI21
	case bytes.HasPrefix(text, []byte("<")):
		switch {
		case bytes.Contains(text, []byte("<quiz")):
			return MoodleXML
		case bytes.Contains(text, []byte("imsqtiasi_v3p0")) || bytes.Contains(text, []byte("<qti-assessment-item")):
			return QTI30
		case bytes.Contains(text, []byte("imsqti_v2p2")):
			return QTI22
		case bytes.Contains(text, []byte("assessmentItem")):
			return QTI21
		}
		return ""
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	header := strings.ToLower(string(line))
	switch {
	case strings.Contains(header, "kind") && strings.Contains(header, "prompt") && strings.ContainsAny(header, ",;\t"):
		return CSV
	case aikenAnswer.Match(text):
		return Aiken
	case bytes.ContainsAny(text, "{}") || bytes.HasPrefix(text, []byte("::")) || bytes.HasPrefix(text, []byte("//")) || bytes.HasPrefix(text, []byte("$CATEGORY")):
		return GIFT
	}
	return ""
}

// lines hands on the lines of a text, with their numbers from 1, without their ends.
func (r *reader) lines(in io.Reader, f func(n int, line string) error) error {
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 64<<10), int(min(r.limits.ItemBytes, 1<<30)))
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSuffix(s.Text(), "\r")
		if n == 1 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		if strings.ContainsRune(line, 0) {
			return malformed(fmt.Sprintf("line %d", n), "It is no text.")
		}
		if err := f(n, strings.ToValidUTF8(line, "\uFFFD")); err != nil {
			return err
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return ErrTooLarge
	}
	return s.Err()
}

// Write writes questions. What can't be written is refused in the report and left out.
// A question's files are needed where it shows pictures.
func Write(ctx context.Context, format Format, out io.Writer, items iter.Seq2[Item, error]) (*Report, error) {
	w := &writer{report: &Report{}, text: newMarkup()}
	var c codec
	switch format {
	case GIFT:
		c = &giftCodec{w: w}
	case Aiken:
		c = &aikenCodec{w: w}
	case MoodleXML:
		c = &moodleCodec{w: w}
	case CSV:
		c = &csvCodec{w: w}
	case QTI21, QTI22, QTI30:
		c = newQTICodec(w, format)
	default:
		return w.report, ErrFormat
	}
	if err := c.begin(out); err != nil {
		return w.report, err
	}
	for item, err := range items {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return w.report, err
		}
		if err := w.put(out, c, item); err != nil {
			return w.report, err
		}
	}
	return w.report, c.end(out)
}

// writer is what writing has in common.
type writer struct {
	report *Report
	text   *markup
	n      int
}

// codec is how a format is written.
type codec interface {
	begin(out io.Writer) error
	// encode returns a question as it is written. What it changes, it need not note
	// where reading shows it.
	encode(d *draft) ([]byte, error)
	// decode reads what encode made, and nothing else.
	decode(data []byte) (*draft, error)
	// write writes what encode made.
	write(out io.Writer, d *draft, data []byte) error
	end(out io.Writer) error
}

// put writes a question, and tells what is not the same when it is read back.
func (w *writer) put(out io.Writer, c codec, item Item) error {
	w.n++
	d := &draft{Item: item}
	d.Content = question.Normalise(item.Content)
	e := Entry{At: fmt.Sprintf("question %d", w.n), Title: shorten(item.Content.GetTitle(), 200), Outcome: Kept}
	data, err := c.encode(d)
	if err == nil {
		var back *draft
		if back, err = c.decode(data); err == nil {
			err = back.finish()
		}
		if err == nil {
			e.Notes = append(d.notes, lost(d, back)...)
		} else if _, ok := reasons(err); ok {
			first, _ := reasons(err)
			err = refuse("format.unable", "The format can't carry it: %s", first[0].Hint)
		}
	}
	if err != nil {
		notes, ok := reasons(err)
		if !ok {
			return err
		}
		e.Outcome, e.Notes = Refused, notes
		w.report.add(e)
		return nil
	}
	if len(e.Notes) > 0 {
		e.Outcome = Changed
	}
	w.report.add(e)
	return c.write(out, d, data)
}
