package assessment

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/question/exchange"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// Errors of files of questions.
var (
	ErrExchangeEmpty = fault.New(fault.Invalid, "exchange.empty", "Send a file.")
)

const (
	maxReport  = 2 << 20  // of what is told of a file, in bytes
	maxPicture = 16 << 20 // of a picture in a file
	exportPage = 200      // questions that are read at once
)

// exchangeServer answers about files of questions.
type exchangeServer struct {
	assessmentpb.UnimplementedExchangeServiceServer

	service *Service
}

// exportTypes are the types and the ends of names of files.
var exportTypes = map[exchange.Format][2]string{
	exchange.GIFT: {"text/plain; charset=utf-8", ".gift.txt"}, exchange.Aiken: {"text/plain; charset=utf-8", ".aiken.txt"},
	exchange.MoodleXML: {"application/xml", ".xml"}, exchange.CSV: {"text/csv; charset=utf-8", ".csv"},
	exchange.QTI21: {"application/zip", ".zip"}, exchange.QTI22: {"application/zip", ".zip"}, exchange.QTI30: {"application/zip", ".zip"},
}

// ExportQuestions implements assessmentpb.ExchangeServiceServer.
func (r *exchangeServer) ExportQuestions(req *assessmentpb.ExportQuestionsRequest, stream grpc.ServerStreamingServer[assessmentpb.ExportQuestionsResponse]) error {
	format := exchange.Format(req.GetFormat())
	ids, paths, err := r.service.exported(stream.Context(), req)
	if err != nil {
		return err
	}
	kind := exportTypes[format]
	if err := stream.Send(&assessmentpb.ExportQuestionsResponse{Filename: "questions" + kind[1], ContentType: kind[0]}); err != nil {
		return err
	}
	out := bufio.NewWriterSize(writerFunc(func(p []byte) error {
		return stream.Send(&assessmentpb.ExportQuestionsResponse{Chunk: p})
	}), 64<<10)
	if _, err := exchange.Write(stream.Context(), format, out, r.service.exportItems(stream.Context(), req.GetCourseId(), ids, paths)); err != nil {
		return err
	}
	return out.Flush()
}

// CheckQuestionExport implements assessmentpb.ExchangeServiceServer.
func (r *exchangeServer) CheckQuestionExport(ctx context.Context, req *assessmentpb.CheckQuestionExportRequest) (*assessmentpb.QuestionExchangeReport, error) {
	ids, paths, err := r.service.exported(ctx, &assessmentpb.ExportQuestionsRequest{
		CourseId: req.GetCourseId(), Format: req.GetFormat(), CategoryId: req.GetCategoryId(), QuestionIds: req.GetQuestionIds(),
	})
	if err != nil {
		return nil, err
	}
	report, err := exchange.Write(ctx, exchange.Format(req.GetFormat()), io.Discard, r.service.exportItems(ctx, req.GetCourseId(), ids, paths))
	if err != nil {
		return nil, err
	}
	return told(req.GetFormat(), report, nil), nil
}

// writerFunc hands on what is written.
type writerFunc func(p []byte) error

// Write implements [io.Writer].
func (f writerFunc) Write(p []byte) (int, error) {
	for chunk := range slices.Chunk(p, 512<<10) { // a message has its bounds
		if err := f(chunk); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// exported returns the questions to write, by category and in the order in which they
// were made, and the paths of categories.
func (s *Service) exported(ctx context.Context, req *assessmentpb.ExportQuestionsRequest) ([]string, map[string][]string, error) {
	all, err := tree(ctx, s.db, []string{req.GetCourseId()})
	if err != nil {
		return nil, nil, err
	}
	paths := make(map[string][]string, len(all))
	order := []string{""}
	for _, c := range all {
		paths[c.ID] = c.Path
		order = append(order, c.ID)
	}
	if req.GetCategoryId() != "" {
		if _, ok := find(all, req.GetCategoryId()); !ok {
			return nil, nil, fault.InvalidField("category_id", "category.not_found", "Name a category of this course's own bank, or none.")
		}
		in := under(all, req.GetCategoryId())
		order = slices.DeleteFunc(order, func(c string) bool { return !slices.Contains(in, c) })
	}
	rows, err := s.db.Query(ctx, `
		SELECT id FROM question
		WHERE course_id = $1 AND deleted_at IS NULL AND coalesce(category_id, '') = ANY($2) AND ($3::text[] IS NULL OR id = ANY($3))
		ORDER BY array_position($2, coalesce(category_id, '')), created_at, id`, req.GetCourseId(), order, req.GetQuestionIds())
	if err != nil {
		return nil, nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, nil, err
	}
	for i, one := range req.GetQuestionIds() {
		if !slices.Contains(ids, one) {
			return nil, nil, fault.InvalidField(fmt.Sprintf("question_ids[%d]", i), "question.not_found", "The course's own bank has no such question there.")
		}
	}
	return ids, paths, nil
}

// exportItems returns questions with their pictures, some at a time.
func (s *Service) exportItems(ctx context.Context, courseID string, ids []string, paths map[string][]string) iter.Seq2[exchange.Item, error] {
	return func(yield func(exchange.Item, error) bool) {
		for page := range slices.Chunk(ids, exportPage) {
			rows, err := s.db.Query(ctx, `
				SELECT `+bankQuestionColumns+` FROM question q JOIN question_version v ON v.question_id = q.id AND v.version = q.version
				WHERE q.id = ANY($1) ORDER BY array_position($1, q.id)`, page)
			var found []bankQuestion
			if err == nil {
				found, err = pgx.CollectRows(rows, pgx.RowToStructByName[bankQuestion])
			}
			if err != nil {
				yield(exchange.Item{}, err)
				return
			}
			for _, q := range found {
				item, err := s.exportItem(ctx, courseID, q, paths)
				if !yield(item, err) || err != nil {
					return
				}
			}
		}
	}
}

func (s *Service) exportItem(ctx context.Context, courseID string, q bankQuestion, paths map[string][]string) (exchange.Item, error) {
	content, err := q.content()
	if err != nil {
		return exchange.Item{}, err
	}
	item := exchange.Item{Content: content, Tags: q.Tags, Category: paths[q.CategoryID]}
	for _, mediaID := range question.Media(content) {
		f, err := s.readPicture(ctx, courseID, mediaID)
		switch {
		case fault.Is(err, fault.NotFound) || errors.Is(err, errPicture):
			// The report says that it is missing.
		case err != nil:
			return exchange.Item{}, err
		default:
			item.Files = append(item.Files, f)
		}
	}
	return item, nil
}

// errPicture is of a picture that is too large to be written into a file.
var errPicture = errors.New("assessment: a picture is too large for a file")

func (s *Service) readPicture(ctx context.Context, courseID, mediaID string) (exchange.File, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.library.ReadMedia(ctx, &mediapb.ReadMediaRequest{CourseId: courseID, MediaId: mediaID})
	if err != nil {
		return exchange.File{}, fault.FromStatus(err)
	}
	f := exchange.File{ID: mediaID}
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err != nil {
			return f, fault.FromStatus(err)
		}
		if m := res.GetMedia(); m != nil {
			f.Name = m.GetFilename()
		}
		if f.Data = append(f.Data, res.GetChunk()...); len(f.Data) > maxPicture {
			return f, errPicture
		}
	}
}

// told returns a report as it is answered: what does not fit is what says least.
func told(format string, report *exchange.Report, added map[int]string) *assessmentpb.QuestionExchangeReport {
	out := &assessmentpb.QuestionExchangeReport{
		Format: format, Kept: int32(report.Kept), Changed: int32(report.Changed), Refused: int32(report.Refused), Added: int32(len(added)), //nolint:gosec // G115: at most 200,000
	}
	rank := map[string]int{exchange.Refused: 0, exchange.Changed: 1, exchange.Kept: 2}
	order := make([]int, len(report.Entries))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(rank[report.Entries[a].Outcome], rank[report.Entries[b].Outcome])
	})
	size := 0
	entries := make(map[int]*assessmentpb.QuestionExchangeEntry, len(order))
	for _, i := range order {
		e := report.Entries[i]
		one := &assessmentpb.QuestionExchangeEntry{At: e.At, Title: e.Title, Outcome: e.Outcome, QuestionId: added[i]}
		for _, n := range e.Notes {
			one.Notes = append(one.Notes, &assessmentpb.QuestionExchangeNote{Code: n.Code, Field: n.Field, Hint: n.Hint})
		}
		if size += proto.Size(one); size > maxReport {
			break
		}
		entries[i] = one
	}
	for i := range report.Entries {
		if one := entries[i]; one != nil {
			out.Entries = append(out.Entries, one)
		}
	}
	out.Omitted = int32(len(report.Entries) - len(out.GetEntries())) //nolint:gosec // G115: at most 200,000
	return out
}
