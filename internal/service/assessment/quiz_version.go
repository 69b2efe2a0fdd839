package assessment

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/maypok86/otter/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// quizVersion is a published version of a quiz, ready for attempts. It is shared and
// never changed.
type quizVersion struct {
	CourseID string
	QuizID   string
	Number   int32
	Settings *assessmentpb.QuizSettings

	title     string
	slots     []versionSlot
	draws     []versionDraw
	overlap   bool              // whether a question can be drawn by more than one of them
	count     int               // of the questions of an attempt
	maxPoints *exact.Number     // nil where they differ between attempts
	pools     map[string]string // the pool of each question that may be drawn, for statistics
}

// versionSlot is a slot of a version, in the order of the settings.
type versionSlot struct {
	section   int
	behaviour string
	points    *exact.Number // of each of its questions; nil for their own
	fixed     *assessmentpb.FixedQuestion
	draw      int // the place in draws, where fixed is nil
}

// versionDraw is what is drawn for a slot.
type versionDraw struct {
	count int
	from  []*assessmentpb.FixedQuestion
}

// newQuizVersion reads settings that were published.
func newQuizVersion(courseID, quizID string, number int32, title string, settings *assessmentpb.QuizSettings) *quizVersion {
	v := &quizVersion{CourseID: courseID, QuizID: quizID, Number: number, title: title, Settings: settings}
	seen := map[string]int{}
	total, constant := exact.Number{}, true
	eachSlot(settings, func(_ string, section int, slot *assessmentpb.QuizSlot) {
		one := versionSlot{section: section, behaviour: orElse(slot.GetBehaviour(), v.behaviour()), fixed: slot.GetQuestion()}
		if n, err := exact.Parse(slot.GetPoints()); err == nil {
			one.points = &n
		}
		if draw := slot.GetDraw(); draw != nil {
			one.draw = len(v.draws)
			v.draws = append(v.draws, versionDraw{int(draw.GetCount()), draw.GetDrawnFrom()})
			v.count += int(draw.GetCount())
			for _, q := range draw.GetDrawnFrom() {
				at, ok := seen[q.GetQuestionId()]
				v.overlap = v.overlap || ok && at != one.draw
				seen[q.GetQuestionId()] = one.draw
			}
			if each, same := one.drawnPoints(draw.GetDrawnFrom()); same {
				total = total.Add(each.Mul(exact.Int(int64(draw.GetCount()))))
			} else {
				constant = false
			}
		} else {
			v.count++
			total = total.Add(one.pointsOf(one.fixed))
		}
		v.slots = append(v.slots, one)
	})
	v.pools = poolsOf(settings)
	if n, err := exact.Parse(settings.GetMaxPoints()); err == nil {
		v.maxPoints = &n
	} else if constant {
		v.maxPoints = &total
	}
	return v
}

// pointsOf returns what a question is worth in the slot.
func (s versionSlot) pointsOf(q *assessmentpb.FixedQuestion) exact.Number {
	if s.points != nil && q.GetKind() != "description" {
		return *s.points
	}
	n, err := exact.Parse(q.GetPoints())
	if err != nil {
		return exact.Number{}
	}
	return n
}

// drawnPoints returns what all that can be drawn is worth, and whether that is the
// same.
func (s versionSlot) drawnPoints(from []*assessmentpb.FixedQuestion) (exact.Number, bool) {
	if len(from) == 0 {
		return exact.Number{}, true
	}
	first := s.pointsOf(from[0])
	for _, q := range from[1:] {
		if !s.pointsOf(q).Equal(first) {
			return exact.Number{}, false
		}
	}
	return first, true
}

func (v *quizVersion) behaviour() string  { return orElse(v.Settings.GetBehaviour(), "deferred") }
func (v *quizVersion) gradeKept() string  { return orElse(v.Settings.GetGradeKept(), "best") }
func (v *quizVersion) navigation() string { return orElse(v.Settings.GetNavigation(), "free") }
func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// quizVersionKey names a version.
type quizVersionKey struct {
	quiz   string
	number int32
}

// maxCachedQuestions bounds the versions that are kept in memory, by the questions
// that they name.
const maxCachedQuestions = 500_000

func newQuizVersions() *otter.Cache[quizVersionKey, *quizVersion] {
	return otter.Must(&otter.Options[quizVersionKey, *quizVersion]{
		MaximumWeight: maxCachedQuestions,
		Weigher: func(_ quizVersionKey, v *quizVersion) uint32 {
			n := len(v.slots) + 1
			for _, d := range v.draws {
				n += len(d.from)
			}
			return uint32(n) //nolint:gosec // at most 10,501
		},
	})
}

// quizVersion returns a version of a quiz that was published, or with a number below 0 a
// draft that is tried, ErrQuizNotFound for none. It is read by q where it is not in memory; q is not a transaction that has
// stored it.
func (s *Service) quizVersion(ctx context.Context, q pg.Querier, quizID string, number int32) (*quizVersion, error) {
	v, err := s.quizVersions.Get(ctx, quizVersionKey{quizID, number}, otter.LoaderFunc[quizVersionKey, *quizVersion](func(ctx context.Context, key quizVersionKey) (*quizVersion, error) {
		return readQuizVersion(context.WithoutCancel(ctx), q, key) // others may wait for it too
	}))
	if errors.Is(err, otter.ErrNotFound) {
		return nil, ErrQuizNotFound
	}
	return v, err
}

func readQuizVersion(ctx context.Context, q pg.Querier, key quizVersionKey) (*quizVersion, error) {
	var courseID, title string
	var text []byte
	table := "quiz_version"
	if key.number < 0 {
		table = "quiz_preview"
	}
	err := q.QueryRow(ctx, `
		SELECT z.course_id, v.title, v.settings FROM `+table+` v JOIN quiz z ON z.id = v.quiz_id WHERE v.quiz_id = $1 AND v.version = $2`, key.quiz, key.number).
		Scan(&courseID, &title, &text)
	if pg.NoRows(err) {
		return nil, otter.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read version of quiz: %w", err)
	}
	settings := &assessmentpb.QuizSettings{}
	if err := proto.Unmarshal(text, settings); err != nil {
		return nil, fmt.Errorf("version %d of %s: %w", key.number, key.quiz, err)
	}
	return newQuizVersion(courseID, key.quiz, key.number, title, settings), nil
}

// ListQuizVersions implements assessmentpb.QuizServiceServer.
func (r *quizServer) ListQuizVersions(ctx context.Context, req *assessmentpb.ListQuizVersionsRequest) (*assessmentpb.ListQuizVersionsResponse, error) {
	z, err := readQuiz(ctx, r.service.db, req.GetCourseId(), req.GetQuizId(), "")
	if err != nil {
		return nil, err
	}
	before := int32(1<<31 - 1)
	if values, err := page.Values(req.GetCursor(), 1); err != nil {
		return nil, err
	} else if values != nil {
		n, err := strconv.ParseInt(values[0], 10, 32)
		if err != nil {
			return nil, page.ErrCursor
		}
		before = int32(n)
	}
	size := page.Size(req.GetPageSize())
	list, err := listQuizVersions(ctx, r.service.db, `quiz_id = $1 AND version < $2 ORDER BY version DESC LIMIT $3`, z.ID, before, size+1)
	if err != nil {
		return nil, err
	}
	out := &assessmentpb.ListQuizVersionsResponse{Items: list}
	if len(list) > size {
		out.Items = list[:size]
		out.NextCursor = page.Cursor(strconv.Itoa(int(list[size-1].GetVersion())))
	}
	return out, nil
}

func listQuizVersions(ctx context.Context, q pg.Querier, where string, args ...any) ([]*assessmentpb.QuizVersion, error) {
	rows, err := q.Query(ctx, `SELECT quiz_id, version, title, message, created_by, created_at FROM quiz_version WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("list versions of quiz: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.QuizVersion, error) {
		v := &assessmentpb.QuizVersion{}
		var at time.Time
		err := row.Scan(&v.QuizId, &v.Version, &v.Title, &v.Message, &v.PublishedBy, &at)
		v.PublishedAt = timestamppb.New(at)
		return v, err
	})
	if err != nil {
		return nil, fmt.Errorf("list versions of quiz: %w", err)
	}
	return list, nil
}

// GetQuizVersion implements assessmentpb.QuizServiceServer.
func (r *quizServer) GetQuizVersion(ctx context.Context, req *assessmentpb.GetQuizVersionRequest) (*assessmentpb.QuizVersion, error) {
	z, err := readQuiz(ctx, r.service.db, req.GetCourseId(), req.GetQuizId(), "")
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseInt(req.GetNumber(), 10, 32)
	if err != nil {
		return nil, ErrQuizNotFound
	}
	list, err := listQuizVersions(ctx, r.service.db, `quiz_id = $1 AND version = $2`, z.ID, number)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrQuizNotFound
	}
	v, err := r.service.quizVersion(ctx, r.service.db, z.ID, list[0].GetVersion())
	if err != nil {
		return nil, err
	}
	list[0].Settings = proto.CloneOf(v.Settings)
	return list[0], nil
}
