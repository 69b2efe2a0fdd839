package courses

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	asks "github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

const (
	// maxCarried bounds what quizzes and assignments ask in an archive, in files of each
	// kind, and maxCarriedBytes in bytes, as assessment does.
	maxCarried      = 10_000
	maxCarriedBytes = 64 << 20
)

// carriedPlan is what quizzes and assignments of an archive ask.
type carriedPlan struct {
	paths  []string // categories, questions, rubrics, quizzes, assignments: in this order
	list   []*assessmentpb.ImportActivitiesRequest
	ids    map[string]string // by their names in the archive
	placed map[string]bool   // quizzes and assignments that activities show, by their ids
	used   map[string]bool   // questions, categories and rubrics that are named, by their names
}

// carriedFolders are the kinds of what is taken along, in the order of what they name.
var carriedFolders = []struct{ folder, kind string }{
	{categoriesFolder, "category"}, {questionsFolder, "question"}, {rubricsFolder, "rubric"}, {quizzesFolder, "quiz"}, {assignmentsFolder, "assignment"},
}

// readCarried finds the files of what quizzes and assignments ask.
func (p *archivePlan) readCarried() {
	p.carried = carriedPlan{ids: map[string]string{}, placed: map[string]bool{}, used: map[string]bool{}}
	var size int64
	for _, kind := range carriedFolders {
		n := 0
		var found []string
		for _, name := range p.zip.names {
			if path.Dir(name) != kind.folder || path.Ext(name) != ".json" {
				continue
			}
			if n++; n > maxCarried {
				p.note.add(kind.folder, "archive.too_many_questions", "An archive has at most "+strconv.Itoa(maxCarried)+" of each of them.")
				return
			}
			if size += p.listed[name].GetSize(); size > maxCarriedBytes {
				p.note.add(name, "archive.questions_too_large", "What quizzes and assignments ask has at most "+strconv.Itoa(maxCarriedBytes)+" bytes together.")
				return
			}
			found = append(found, name)
		}
		if kind.folder == rubricsFolder && len(found) > 0 && p.version < rubricsVersion {
			p.note.addField(manifestFile, "version", "archive.version", "Rubrics are of version "+strconv.Itoa(rubricsVersion)+" of the format.")
			return
		}
		p.carried.paths = append(p.carried.paths, found...)
	}
	if len(p.carried.paths) > 0 && p.version < carriedVersion {
		p.note.addField(manifestFile, "version", "archive.version", "What quizzes and assignments ask is of version "+strconv.Itoa(carriedVersion)+" of the format.")
		p.carried.paths = nil
	}
}

// headCarried reads what quizzes and assignments ask, and gives each of it an id.
func (p *archivePlan) headCarried() {
	if p.carried.list != nil {
		return
	}
	for _, name := range p.carried.paths {
		req := &assessmentpb.ImportActivitiesRequest{Path: name}
		var m proto.Message
		switch path.Dir(name) {
		case categoriesFolder:
			c := &assessmentpb.CarriedCategory{}
			m, req.Carried = c, &assessmentpb.ImportActivitiesRequest_Category{Category: c}
		case questionsFolder:
			q := &assessmentpb.CarriedQuestion{}
			m, req.Carried = q, &assessmentpb.ImportActivitiesRequest_Question{Question: q}
		case rubricsFolder:
			r := &assessmentpb.CarriedRubric{}
			m, req.Carried = r, &assessmentpb.ImportActivitiesRequest_Rubric{Rubric: r}
		case quizzesFolder:
			z := &assessmentpb.CarriedQuiz{}
			m, req.Carried = z, &assessmentpb.ImportActivitiesRequest_Quiz{Quiz: z}
		default:
			a := &assessmentpb.CarriedAssignment{}
			m, req.Carried = a, &assessmentpb.ImportActivitiesRequest_Assignment{Assignment: a}
		}
		if !p.decode(name, maxItemJSON, m) {
			continue
		}
		kind, field, local := carriedID(req)
		switch {
		case !localID.MatchString(*local):
			p.note.addField(name, field, "archive.id", "It has small letters, digits, dashes and underlines, at most 64.")
		case p.carried.ids[*local] != "":
			p.note.addField(name, field, "archive.id_twice", "Give each of them a name of its own.")
		default:
			p.carried.ids[*local] = id.New(kind)
			p.carried.list = append(p.carried.list, req)
		}
	}
	p.carried.list = parentsFirst(p.carried.list)
}

// carriedID returns what something is, and where its name is.
func carriedID(req *assessmentpb.ImportActivitiesRequest) (kind, field string, at *string) {
	switch {
	case req.GetCategory() != nil:
		return "category", "category_id", &req.GetCategory().CategoryId
	case req.GetQuestion() != nil:
		return "question", "question_id", &req.GetQuestion().QuestionId
	case req.GetRubric() != nil:
		return "rubric", "rubric_id", &req.GetRubric().RubricId
	case req.GetQuiz() != nil:
		return "quiz", "quiz_id", &req.GetQuiz().QuizId
	default:
		return "assignment", "assignment_id", &req.GetAssignment().AssignmentId
	}
}

// parentsFirst puts categories behind those that they are in. Those that are in each
// other stay where they are, and are refused by who takes them in.
func parentsFirst(list []*assessmentpb.ImportActivitiesRequest) []*assessmentpb.ImportActivitiesRequest {
	n := 0
	for n < len(list) && list[n].GetCategory() != nil {
		n++
	}
	in := map[string][]*assessmentpb.ImportActivitiesRequest{}
	for _, c := range list[:n] {
		in[c.GetCategory().GetParentId()] = append(in[c.GetCategory().GetParentId()], c)
	}
	out, next := make([]*assessmentpb.ImportActivitiesRequest, 0, len(list)), in[""]
	for len(next) > 0 {
		out = append(out, next[0])
		next = append(next[1:], in[next[0].GetCategory().GetCategoryId()]...)
	}
	for _, c := range list[:n] {
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return append(out, list[n:]...)
}

// requests returns what is taken in, with the ids that all has there. What names
// something that is not in the archive is noted.
func (p *archivePlan) requests(to target) []*assessmentpb.ImportActivitiesRequest {
	out := make([]*assessmentpb.ImportActivitiesRequest, 0, len(p.carried.list))
	for _, one := range p.carried.list {
		req := proto.CloneOf(one)
		kind, _, at := carriedID(req)
		*at = p.carried.ids[*at]
		named := func(want, field, local string) string {
			got := p.carried.ids[local]
			if local != "" && !id.Valid(want, got) {
				p.note.addField(req.GetPath(), field, "archive.ref", "It names something that is not in the archive.")
			}
			return got
		}
		var files []string
		switch {
		case req.GetCategory() != nil:
			req.GetCategory().ParentId = named("category", "parent_id", req.GetCategory().GetParentId())
		case req.GetQuestion() != nil:
			q := req.GetQuestion()
			q.CategoryId = p.carried.ids[q.GetCategoryId()]
			if one.GetQuestion().GetCategoryId() != "" && !id.Valid("category", q.GetCategoryId()) {
				p.note.addField(req.GetPath(), "category_id", "archive.ref", "It names something that is not in the archive.")
			}
			files = asks.Names(q.GetContent())
			if q.GetContent() != nil {
				q.Content = asks.WithMedia(q.GetContent(), to.refs.media)
				p.checkShown(req.GetPath(), q, to)
			}
		case req.GetRubric() != nil:
		default:
			p.requestMarked(req, named)
			for _, text := range instructions(req.GetQuiz().GetSettings(), req.GetAssignment().GetSettings()) {
				files = append(files, asks.NamesIn(*text)...)
			}
			renameSettings(req.GetQuiz().GetSettings(), req.GetAssignment().GetSettings(), to.refs.media, func(local string) string {
				p.carried.used[local] = local != ""
				want := "question"
				if id.Valid("category", p.carried.ids[local]) {
					want = "category"
				}
				return named(want, "settings.sections", local)
			})
		}
		for _, file := range files {
			if to.refs.media[file] == "" {
				p.note.addField(req.GetPath(), "", "archive.ref", "It names the file "+shownPath(file)+", which is not in the archive.")
			}
		}
		if p.check(req.GetPath(), unprefixed(kind, rpc.Check(req))) {
			out = append(out, req)
		}
	}
	return out
}

// requestMarked has what is marked by rubrics name them as they are called there.
func (p *archivePlan) requestMarked(req *assessmentpb.ImportActivitiesRequest, named func(want, field, local string) string) {
	rubric := func(field string, at *string) {
		p.carried.used[*at] = *at != ""
		*at = named("rubric", field, *at)
	}
	for i, use := range req.GetQuiz().GetRubrics() {
		field := "rubrics[" + strconv.Itoa(i) + "]"
		use.QuestionId = named("question", field+".question_id", use.GetQuestionId())
		rubric(field+".rubric_id", &use.RubricId)
	}
	if a := req.GetAssignment(); a != nil {
		rubric("rubric_id", &a.RubricId)
		rubric("peer_rubric_id", &a.PeerRubricId)
	}
}

// unprefixed takes the name of what is sent out of the paths of fields.
func unprefixed(kind string, err error) error {
	told, ok := err.(*fault.Error) //nolint:errorlint // as Check returns it
	if !ok {
		return err
	}
	out := *told
	out.Fields = slices.Clone(told.Fields)
	for i := range out.Fields {
		out.Fields[i].Path = strings.TrimPrefix(out.Fields[i].Path, kind+".")
	}
	return &out
}

// checkShown refuses questions that show files where they can't be shown.
func (p *archivePlan) checkShown(file string, q *assessmentpb.CarriedQuestion, to target) {
	kind := func(mediaID string) string {
		kind, _, _ := strings.Cut(to.types[mediaID], "/")
		return kind
	}
	wrong := func(field string) {
		p.note.addField(file, field, "media.wrong_kind", "The file can't be shown there.")
	}
	if spot := q.GetContent().GetHotSpot().GetMediaId(); spot != "" && to.types[spot] != "" && kind(spot) != "image" {
		wrong("content.hot_spot.media_id")
	}
	for _, mediaID := range asks.ShownInPlace(q.GetContent()) {
		if k := kind(mediaID); k != "image" && k != "audio" && k != "video" {
			wrong("content")
		}
	}
}

// inspectCarried holds what quizzes and assignments ask to what is asked of it by those
// who keep it, and notes the files that it shows.
func (s *Service) inspectCarried(ctx context.Context, p *archivePlan, to target, shown map[string]bool) error {
	list := p.requests(to)
	for _, req := range list {
		for _, mediaID := range asks.Names(req.GetQuestion().GetContent()) {
			shown[mediaID] = true
		}
		for _, text := range instructions(req.GetQuiz().GetSettings(), req.GetAssignment().GetSettings()) {
			for _, mediaID := range asks.NamesIn(*text) {
				shown[mediaID] = true
			}
		}
	}
	p.noteUnasked()
	if p.note.errors > 0 || len(list) == 0 {
		return nil
	}
	return s.sendCarried(ctx, p, &assessmentpb.ImportActivitiesHead{CourseId: to.course, MediaCourseId: to.course, AccountId: id.New("account"), DryRun: true}, list, p.note)
}

// noteUnasked notes what nothing in the archive shows or asks.
func (p *archivePlan) noteUnasked() {
	for _, one := range p.carried.list {
		_, _, local := carriedID(one)
		used := true
		switch {
		case one.GetQuestion() != nil:
			used = p.carried.used[*local] || p.carried.used[one.GetQuestion().GetCategoryId()]
		case one.GetRubric() != nil:
			used = p.carried.used[*local]
		case one.GetCategory() == nil:
			used = p.carried.placed[p.carried.ids[*local]]
		}
		if !used && !p.under(one.GetQuestion().GetCategoryId()) {
			p.note.add(one.GetPath(), "archive.file_unused", "Nothing in the archive names it.")
		}
	}
}

// under reports whether a category is in one that is drawn from.
func (p *archivePlan) under(local string) bool {
	for range p.carried.list { // no further than there are
		if local == "" {
			return false
		}
		if p.carried.used[local] {
			return true
		}
		i := slices.IndexFunc(p.carried.list, func(one *assessmentpb.ImportActivitiesRequest) bool {
			return one.GetCategory().GetCategoryId() == local
		})
		if i < 0 {
			return false
		}
		local = p.carried.list[i].GetCategory().GetParentId()
	}
	return false
}

// sendCarried sends what is taken in, and notes what is wrong with it.
func (s *Service) sendCarried(ctx context.Context, p *archivePlan, head *assessmentpb.ImportActivitiesHead, list []*assessmentpb.ImportActivitiesRequest, note *findings) error {
	if s.carry == nil {
		note.add(p.carried.paths[0], "archive.version", "Quizzes and assignments are not taken in here.")
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.carry.ImportActivities(ctx)
	if err != nil {
		return err
	}
	send := func(req *assessmentpb.ImportActivitiesRequest) bool { return stream.Send(req) == nil } // it says why at the end
	if send(&assessmentpb.ImportActivitiesRequest{Carried: &assessmentpb.ImportActivitiesRequest_Head{Head: head}}) {
		for _, req := range list {
			if !send(req) {
				break
			}
		}
	}
	res, err := stream.CloseAndRecv()
	if err = fault.FromStatus(err); fault.Is(err, fault.Invalid) {
		noteError(note, "", err)
		return nil
	}
	for _, f := range res.GetFindings() {
		note.addField(f.GetPath(), f.GetField(), f.GetCode(), f.GetHint())
	}
	return err
}

// mayImportCarried reports whether who imports may have quizzes put into the course.
func (s *Service) mayImportCarried(ctx context.Context, i courseImport, p *archivePlan) (bool, error) {
	if i.CourseID == "" || len(p.carried.list) == 0 {
		return true, nil
	}
	for _, permission := range []string{"assessment.edit", "question.edit"} {
		if err := s.may(ctx, i.AccountID, i.CourseID, permission); fault.Is(err, fault.Forbidden) || fault.Is(err, fault.NotFound) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	return true, nil
}

// importCarried has quizzes and assignments taken in before the course or its modules
// are there: nobody sees them before. They name files of the course that the archive
// goes to.
func (s *Service) importCarried(ctx context.Context, i *courseImport, p *archivePlan, to target, note *findings) error {
	if len(p.carried.list) == 0 {
		return nil
	}
	if err := s.ofImport(ctx, *i, `carries = $3`, true); err != nil {
		return err
	}
	i.Carries = true
	list := p.requests(to)
	if f := p.note.first(); f != nil {
		return fmt.Errorf("courses: %s is not what it was: %v", f.GetPath(), f)
	}
	head := &assessmentpb.ImportActivitiesHead{CourseId: i.StagingID, MediaCourseId: to.course, AccountId: i.AccountID}
	if err := s.sendCarried(ctx, p, head, list, note); err != nil {
		return err
	}
	if note.errors > 0 {
		return &failure{importRefused}
	}
	return nil
}

// tellCarried says where what was taken in belongs, in the transaction in which that
// comes to be.
func (p *archivePlan) tellCarried(ctx context.Context, tx *pg.Tx, i courseImport) error {
	if !i.Carries {
		return nil
	}
	return bus.Publish(ctx, tx, &coursespb.ActivitiesImported{StagingCourseId: i.StagingID, CourseId: i.CourseID})
}
