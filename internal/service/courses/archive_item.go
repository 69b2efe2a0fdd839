package courses

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// noteError notes what an error tells, as of a file: each of its fields where it
// names some.
func noteError(note *findings, file string, err error) {
	told, ok := errors.AsType[*fault.Error](err)
	if !ok {
		note.add(file, "archive.broken", "It can't be read.")
		return
	}
	if len(told.Fields) == 0 {
		note.add(file, told.Code, told.Message)
	}
	for _, f := range told.Fields {
		note.addField(file, f.Path, f.Code, f.Hint)
	}
}

// left is what refs notes while an archive is read: what is named and not there
// is an error, what can only be of the course that it comes from a warning.
func (p *archivePlan) left(file, field, code, hint string) {
	switch code {
	case "copy.cohort", "copy.group", "copy.other_course":
		p.note.warn(file, field, code, hint)
	default:
		p.note.addField(file, field, "archive.ref", "It names something that is not in the archive.")
	}
}

var localID = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// head reads how an item is called within the archive and of which kind it is,
// and gives it an id.
func (p *archivePlan) head(n *archiveNode) {
	file := n.file()
	switch n.kind {
	case "module":
		m := &coursespb.ArchiveModule{}
		if p.decode(file, maxItemJSON, m) {
			n.local = m.GetId()
		}
	case "lesson":
		m := &coursespb.ArchiveLesson{}
		if p.decode(file, maxItemJSON, m) {
			n.local = m.GetId()
		}
	default:
		m := &coursespb.ArchiveActivity{}
		if !p.decode(file, maxItemJSON, m) {
			return
		}
		if m.GetKind() != "quiz" && m.GetKind() != "assignment" {
			p.note.addField(file, "kind", "archive.kind", "It is a quiz or an assignment.")
			return
		}
		n.local, n.kind = m.GetId(), m.GetKind()
		if m.GetActivityRef() != "" && p.version < carriedVersion {
			p.note.addField(manifestFile, "version", "archive.version", "What an activity shows is of version "+strconv.Itoa(carriedVersion)+" of the format.")
			return
		}
	}
	n.id = id.New(localKind(n.kind))
	if n.local == "" && p.note.errors > 0 {
		return
	}
	if !localID.MatchString(n.local) {
		p.note.addField(file, "id", "archive.id", "It has small letters, digits, dashes and underlines, at most 64.")
	} else if p.kinds[n.local] != "" {
		p.note.addField(file, "id", "archive.id_twice", "Give each item a name of its own.")
	}
	p.kinds[n.local] = n.kind
}

// read returns the content of an item as it is in the archive.
func (p *archivePlan) read(n archiveNode) (c content, ok bool) {
	file := n.file()
	switch n.kind {
	case "module":
		m := &coursespb.ArchiveModule{}
		ok = p.decode(file, maxItemJSON, m)
		c = content{Title: m.GetTitle(), Settings: settings{m.GetSettings()}}
	case "lesson":
		m := &coursespb.ArchiveLesson{}
		ok = p.decode(file, maxItemJSON, m)
		c = content{Title: m.GetTitle(), Preview: m.GetPreview(), Settings: settings{m.GetSettings()}}
		if ok {
			c.Body, ok = p.blocks(n, m.GetBlocks())
		}
	default:
		m := &coursespb.ArchiveActivity{}
		ok = p.decode(file, maxItemJSON, m)
		c = content{Title: m.GetTitle(), Settings: settings{m.GetSettings()}, ActivityRef: m.GetActivityRef()}
	}
	return c, ok
}

// blocks returns blocks with their texts.
func (p *archivePlan) blocks(n archiveNode, list []*coursespb.ArchiveBlock) ([]block, bool) {
	var size int64
	for _, b := range list {
		if b.GetTextFile() != "" {
			size += p.listed[n.folder+"/"+b.GetTextFile()].GetSize()
		}
	}
	if size > MaxBody {
		p.note.add(n.file(), ErrLessonTooLarge.Code, ErrLessonTooLarge.Message)
		return nil, false
	}
	body, good := make([]block, len(list)), true
	for i, b := range list {
		at := index("blocks", i)
		if b.GetBlock().GetContent() == nil {
			p.note.addField(n.file(), at+".block", "archive.block", "Say what kind of block it is.")
			good = false
			continue
		}
		body[i] = newBlock(b.GetBlock())
		if b.GetTextFile() == "" {
			continue
		}
		if body[i].Text != "" || textFile(body[i].Type, 1) == "" {
			p.note.addField(n.file(), at+".text_file", "archive.text_twice", "Its text is in the block itself, or it has none.")
			good = false
			continue
		}
		if name := b.GetTextFile(); !plainName.MatchString(name) || p.usedTwice(n.folder+"/"+name) {
			p.note.addField(n.file(), at+".text_file", "archive.text_file", "Name a file beside this one, each once.")
			good = false
			continue
		}
		text, ok := p.text(n.folder+"/"+b.GetTextFile(), n.file(), at+".text_file")
		if ok && !utf8.ValidString(text) {
			p.note.add(n.folder+"/"+b.GetTextFile(), "archive.encoding", "Write it in UTF-8.")
			ok = false
		}
		body[i].Text = text
		good = good && ok
	}
	return body, good
}

var plainName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

// usedTwice reports whether two blocks name a file, as long as the first reading
// goes on.
func (p *archivePlan) usedTwice(name string) bool { return !p.checked && p.used[name] }

// target is where an archive goes.
type target struct {
	course string
	refs   refs
	types  map[string]string // of files, by their ids there
	kinds  map[string]string // of items, by their ids there
}

// item returns the content of an item of the archive as it is to be stored. It is
// held to all that one is held to which is written by its RPC, but for what media
// says of its files.
func (s *Service) item(ctx context.Context, p *archivePlan, n archiveNode, to target) (content, bool) {
	c, ok := p.read(n)
	if !ok {
		return c, false
	}
	before := p.note.errors
	if c.Settings.M == nil || proto.Size(c.Settings.M) == 0 {
		c.Settings = settings{}
	}
	file := n.file()
	given := c.Settings.M
	c = to.refs.content(file, c)
	moduleID := ""
	if n.above >= 0 {
		moduleID = p.nodes[n.above].id
	}
	blocks := make([]*coursespb.Block, len(c.Body))
	for i, b := range c.Body {
		blocks[i] = b.proto()
	}
	var said *coursespb.ItemSettings // as it was said, with what it names there
	if given != nil {
		said = proto.CloneOf(given)
		said.Release = c.Settings.M.GetRelease()
	}
	var req proto.Message
	switch n.kind {
	case "module":
		req = &coursespb.CreateModuleRequest{CourseId: to.course, Title: c.Title, Settings: said}
	case "lesson":
		req = &coursespb.CreateLessonRequest{CourseId: to.course, ModuleId: moduleID, Title: c.Title, Preview: c.Preview, Blocks: blocks, Settings: said}
	default:
		req = &coursespb.CreateActivityRequest{CourseId: to.course, ModuleId: moduleID, Kind: n.kind, Title: c.Title, Settings: said, ActivityRef: c.ActivityRef}
		if c.ActivityRef != "" && !id.Valid(n.kind, c.ActivityRef) {
			p.note.addField(file, "activity_ref", "archive.kind", "It names something of another kind.")
			return c, false
		}
	}
	if !p.check(file, rpc.Check(req)) || !p.check(file, checkSettings(n.kind, said)) {
		return c, false
	}
	c.Title, c.Settings = strings.TrimSpace(c.Title), changedSettings(settings{}, said)
	s.checkBody(ctx, p, file, to, &c)
	return c, p.note.errors == before
}

// checkBody holds the blocks of a lesson to what blocks are held to.
func (s *Service) checkBody(ctx context.Context, p *archivePlan, file string, to target, c *content) {
	plain := make([]*coursespb.Block, len(c.Body))
	for i, b := range c.Body {
		b.MediaID = "" // media can't be asked about what it does not have
		plain[i] = b.proto()
	}
	made, err := s.checkBlocks(ctx, to.course, "blocks", plain)
	if !p.check(file, err) {
		return
	}
	for i := range made.body {
		made.body[i].MediaID = c.Body[i].MediaID
		at := index("blocks", i)
		if m := made.body[i].MediaID; m != "" && !fits(made.body[i].Type, &mediapb.Media{ContentType: to.types[m]}) {
			p.note.addField(file, at+".media_id", "media.wrong_kind", "The file can't be shown there.")
		}
		if it := made.body[i].ItemID; it != "" && to.kinds[it] != made.body[i].Type {
			p.note.addField(file, at+".activity_id", "archive.kind", "It names something of another kind.")
		}
	}
	size, err := sizeOf(made.body)
	if err != nil || size > MaxBody {
		p.note.add(file, ErrLessonTooLarge.Code, ErrLessonTooLarge.Message)
	}
	c.Body = made.body
}

// landing returns what the course is called and how it looks as it is to be
// stored.
func (s *Service) landing(ctx context.Context, p *archivePlan, to target) Landing {
	given := p.course
	l := Landing{
		CoverMediaID: given.GetCoverMediaId(), PromoVideoMediaID: given.GetPromoVideoMediaId(),
		Release: stored[*releasepb.Rule]{given.GetRelease()}, Grading: stored[*coursespb.GradingPolicy]{given.GetGrading()},
	}
	for field, mediaID := range map[string]string{"cover_media_id": l.CoverMediaID, "promo_video_media_id": l.PromoVideoMediaID} {
		if mediaID != "" && to.refs.media[mediaID] == "" {
			p.left(courseFile, field, "archive.ref", "")
		}
	}
	moved := to.refs.landing(l, courseFile)
	for field, use := range map[string]use{
		"cover_media_id": {id: moved.CoverMediaID, kind: blockImage}, "promo_video_media_id": {id: moved.PromoVideoMediaID, kind: blockVideo},
	} {
		if use.id != "" && !fits(use.kind, &mediapb.Media{ContentType: to.types[use.id]}) {
			p.note.addField(courseFile, field, "media.wrong_kind", "The file can't be shown there.")
		}
	}
	req := &coursespb.UpdateCourseRequest{
		CourseId: to.course, Title: &given.Title, Subtitle: &given.Subtitle, Description: &p.description, Language: &given.Language, Level: &given.Level,
		Category: &given.Category, Tags: &coursespb.Words{Values: given.GetTags()}, Outcomes: &coursespb.Words{Values: given.GetOutcomes()},
		Audience: &coursespb.Words{Values: given.GetAudience()}, Faq: &coursespb.Questions{Items: given.GetFaq()}, TimeZone: &given.TimeZone,
		Release: moved.Release.M, Grading: moved.Grading.M,
	}
	if !p.check(courseFile, rpc.Check(req)) || !p.check(courseFile, s.checkLanding(ctx, req)) {
		return l
	}
	for i, tag := range given.GetTags() {
		if utf8.RuneCountInString(tag) > maxTag {
			p.note.addField(courseFile, index("tags", i), "string.max_len", "A tag has at most 40 characters.")
		}
	}
	if req.GetGrading() != nil {
		p.check(courseFile, checkGrading("grading", req.GetGrading(), to.kinds))
	}
	out := Landing{Tags: []string{}, Outcomes: []string{}, Audience: []string{}, FAQ: []question{}}.changed(req)
	out.CoverMediaID, out.PromoVideoMediaID = moved.CoverMediaID, moved.PromoVideoMediaID
	return out
}

// newTarget returns where an archive goes in a course, with new ids for its items.
// media are the ids of its files there, by their names in the archive.
func (p *archivePlan) newTarget(courseID string, media map[string]string) target {
	to := target{
		course: courseID, types: map[string]string{}, kinds: map[string]string{},
		refs: refs{items: map[string]string{}, media: media, courses: true, left: p.left},
	}
	for _, n := range p.nodes {
		if n.local != "" {
			to.refs.items[n.local] = n.id
			to.kinds[n.id] = n.kind
		}
	}
	for name, mediaID := range media {
		to.types[mediaID] = p.types[name]
	}
	to.refs.activity = func(local string) string { return p.carried.ids[local] }
	return to
}

// inspect reads all of an archive and notes what is wrong with it, as of one that
// goes to a course.
func (s *Service) inspect(ctx context.Context, p *archivePlan, courseID string) error {
	for i := range p.nodes {
		p.head(&p.nodes[i])
	}
	p.headCarried()
	if p.note.errors > 0 {
		return nil // ids are not known: all that names them would be noted too
	}
	media := map[string]string{}
	for _, f := range p.media {
		media[f.GetId()] = id.New("media")
	}
	to := p.newTarget(courseID, media)
	s.landing(ctx, p, to)
	items := make([]release.Item, 0, len(p.nodes))
	files := map[string]string{}
	shown := map[string]bool{to.refs.media[p.course.GetCoverMediaId()]: true, to.refs.media[p.course.GetPromoVideoMediaId()]: true}
	for _, n := range p.nodes {
		if err := ctx.Err(); err != nil {
			return err
		}
		c, ok := s.item(ctx, p, n, to)
		if !ok {
			continue
		}
		for _, b := range c.Body {
			shown[b.MediaID] = true
		}
		p.carried.placed[c.ActivityRef] = true
		it := release.Item{ID: n.id, Kind: n.kind, Required: required(c.Settings), Release: c.Settings.M.GetRelease(), Title: c.Title, Completion: completion(n.kind, c.Settings)}
		if n.above >= 0 {
			it.ParentID = p.nodes[n.above].id
		}
		items = append(items, it)
		files[n.id] = n.file()
	}
	p.checked = true
	if p.note.errors > 0 {
		return nil
	}
	if err := s.inspectCarried(ctx, p, to, shown); err != nil {
		return err
	}
	for _, f := range release.CheckCourse(items) {
		p.note.addField(files[f.ItemID], "settings.release", f.Code, f.Message)
	}
	for i, f := range p.media {
		if !shown[media[f.GetId()]] {
			p.note.addField(mediaFile, index("files", i), "archive.file_unused", "Nothing in the archive shows it.")
		}
	}
	p.noteUnused()
	p.verifyCaptions()
	p.verifyMedia()
	return nil
}
