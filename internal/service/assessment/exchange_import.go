package assessment

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/question/exchange"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// ImportQuestions implements assessmentpb.ExchangeServiceServer.
func (r *exchangeServer) ImportQuestions(stream grpc.ClientStreamingServer[assessmentpb.ImportQuestionsRequest, assessmentpb.QuestionExchangeReport]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return ErrExchangeEmpty
	}
	if err != nil {
		return err
	}
	file, err := os.CreateTemp("", "stoa-questions-*")
	if err != nil {
		return err
	}
	defer func() {
		_ = file.Close() // it is thrown away
		_ = os.Remove(file.Name())
	}()
	sum, err := spool(file, stream, first)
	if err != nil {
		return err
	}
	res, err := r.service.importQuestions(stream.Context(), first, file, sum)
	if err != nil {
		return err
	}
	return stream.SendAndClose(res)
}

// spool keeps what comes in a file, and returns its SHA-256.
func spool(file io.Writer, stream grpc.ClientStreamingServer[assessmentpb.ImportQuestionsRequest, assessmentpb.QuestionExchangeReport], req *assessmentpb.ImportQuestionsRequest) ([]byte, error) {
	sum, size := sha256.New(), int64(0)
	for {
		if size += int64(len(req.GetChunk())); size > exchange.DefaultLimits.Bytes {
			return nil, exchange.ErrTooLarge
		}
		_, _ = sum.Write(req.GetChunk()) // a hash takes everything
		if _, err := file.Write(req.GetChunk()); err != nil {
			return nil, err
		}
		var err error
		if req, err = stream.Recv(); errors.Is(err, io.EOF) {
			if size == 0 {
				return nil, ErrExchangeEmpty
			}
			return sum.Sum(nil), nil
		} else if err != nil {
			return nil, err
		}
	}
}

// incomingQuestion is a question of a file.
type incomingQuestion struct {
	written

	item     exchange.Item // without the bytes of its pictures
	category []string
}

// importQuestions reads a file twice: first all of it, so that nothing is stored of
// one that can't be read, and where there are pictures once more, to store them one
// at a time.
func (s *Service) importQuestions(ctx context.Context, req *assessmentpb.ImportQuestionsRequest, file *os.File, sum []byte) (*assessmentpb.QuestionExchangeReport, error) {
	format, err := formatOf(req, file)
	if err != nil {
		return nil, err
	}
	base, err := s.base(ctx, req)
	if err != nil {
		return nil, err
	}
	var list []incomingQuestion
	pictures := false
	report, err := readFile(ctx, format, file, func(it exchange.Item) error {
		one := incomingQuestion{item: it, category: append(slices.Clone(base), it.Category...)}
		pictures = pictures || len(it.Files) > 0
		for i := range one.item.Files {
			one.item.Files[i].Data = nil
		}
		list = append(list, one)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, one := range list {
		if len(one.category) > maxDepth {
			list[i].category = one.category[:maxDepth]
			report.Change(one.item.Entry, exchange.Note{Code: "category.too_deep", Field: "category", Hint: fmt.Sprintf("Categories are at most %d deep; the last ones are left out.", maxDepth)})
		}
	}
	if req.GetDryRun() {
		return told(string(format), report, nil), nil
	}
	called := map[string]string{}
	if pictures {
		if called, err = s.storePictures(ctx, req, format, file, report, sum); err != nil {
			return nil, err
		}
		if _, err = s.hold(ctx, req.GetCourseId(), slices.Collect(maps.Values(called))); err != nil {
			return nil, err
		}
	}
	list = slices.DeleteFunc(list, func(one incomingQuestion) bool { return report.Entries[one.item.Entry].Outcome == exchange.Refused })
	for i := range list {
		if list[i].written, err = write("content", question.WithMedia(list[i].item.Content, called), list[i].item.Tags); err != nil {
			return nil, err
		}
		list[i].item.Content = nil // its encoded form is kept
	}
	return s.storeQuestions(ctx, req, format, list, report, sum)
}

func formatOf(req *assessmentpb.ImportQuestionsRequest, file *os.File) (exchange.Format, error) {
	if req.GetFormat() != "" {
		return exchange.Format(req.GetFormat()), nil
	}
	head := make([]byte, 4<<10)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if format := exchange.Detect(head[:n]); format != "" {
		return format, nil
	}
	return "", exchange.ErrFormat
}

func readFile(ctx context.Context, format exchange.Format, file *os.File, sink func(exchange.Item) error) (*exchange.Report, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return exchange.Read(ctx, format, file, sink)
}

// base returns the path of the category that questions are put in.
func (s *Service) base(ctx context.Context, req *assessmentpb.ImportQuestionsRequest) ([]string, error) {
	if req.GetCategoryId() == "" {
		return nil, nil
	}
	all, err := tree(ctx, s.db, []string{req.GetCourseId()})
	if err != nil {
		return nil, err
	}
	c, ok := find(all, req.GetCategoryId())
	if !ok {
		return nil, fault.InvalidField("category_id", "category.not_found", "Name a category of this course's own bank, or none.")
	}
	return c.Path, nil
}

// storePictures has media store the pictures of a file, and returns their ids by those
// that they have in the file. A repeated call gets the same ones. Questions with one
// that media does not take as a picture are refused.
func (s *Service) storePictures(ctx context.Context, req *assessmentpb.ImportQuestionsRequest, format exchange.Format, file *os.File, report *exchange.Report, sum []byte) (map[string]string, error) {
	key := rpc.IdempotencyKey(ctx)
	if key == "" {
		key = id.New("claim")
	}
	// Keys have their bounds, whatever the caller's is.
	hashed := sha256.Sum256([]byte(key))
	key = "question-import/" + hex.EncodeToString(hashed[:16]) + "/" + hex.EncodeToString(sum[:8]) + "/"
	called, bad := map[string]string{}, map[string]exchange.Note{}
	_, err := readFile(ctx, format, file, func(it exchange.Item) error {
		for _, f := range it.Files {
			if called[f.ID] == "" && bad[f.ID].Code == "" {
				m, err := s.storePicture(rpc.WithIdempotencyKey(ctx, key+f.ID), req.GetCourseId(), f)
				switch {
				case fault.Is(err, fault.Invalid):
					bad[f.ID] = exchange.Note{Code: fault.CodeOf(err), Hint: "The picture " + f.Name + " is not taken as it is."}
				case err != nil:
					return err
				case !strings.HasPrefix(m.GetContentType(), "image/"):
					bad[f.ID] = exchange.Note{Code: "media.not_picture", Hint: "The file " + f.Name + " is no picture."}
				default:
					called[f.ID] = m.GetId()
				}
			}
			if note, is := bad[f.ID]; is {
				report.Refuse(it.Entry, note)
			}
		}
		return nil
	})
	return called, err
}

func (s *Service) storePicture(ctx context.Context, courseID string, f exchange.File) (*mediapb.Media, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.library.ImportMedia(ctx)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(f.Data)
	name := f.Name
	if r := []rune(strings.ToValidUTF8(name, "_")); len(r) > 200 {
		name = string(r[len(r)-200:])
	}
	req := &mediapb.ImportMediaRequest{CourseId: courseID, Filename: name, Sha256: hex.EncodeToString(sum[:]), AccountId: auth.From(ctx).Account}
	in := bytes.NewReader(f.Data)
	for first := true; first || in.Len() > 0; first = false {
		chunk := make([]byte, min(in.Len(), 512<<10))
		_, _ = in.Read(chunk) // it has them
		req.Chunk = chunk
		if stream.Send(req) != nil {
			break // it says why at the end
		}
		req = &mediapb.ImportMediaRequest{}
	}
	m, err := stream.CloseAndRecv()
	return m, fault.FromStatus(err)
}

// storeQuestions adds questions and their categories in one transaction.
func (s *Service) storeQuestions(ctx context.Context, req *assessmentpb.ImportQuestionsRequest, format exchange.Format, list []incomingQuestion, report *exchange.Report, sum []byte) (*assessmentpb.QuestionExchangeReport, error) {
	same := &assessmentpb.ImportQuestionsRequest{CourseId: req.GetCourseId(), Format: req.GetFormat(), CategoryId: req.GetCategoryId(), Chunk: sum}
	return idempotency.Do(ctx, s.db, same, func(tx *pg.Tx) (*assessmentpb.QuestionExchangeReport, error) {
		if err := lockBank(ctx, tx, req.GetCourseId()); err != nil {
			return nil, err
		}
		made, places, err := s.makeCategories(ctx, tx, req, list)
		if err != nil {
			return nil, err
		}
		by := map[string][]written{}
		var order []string
		added := map[int]string{}
		for _, one := range list {
			at := places[pathKey(one.category)]
			if by[at] == nil {
				order = append(order, at)
			}
			by[at] = append(by[at], one.written)
			added[one.item.Entry] = one.ID
		}
		for _, at := range order {
			for some := range slices.Chunk(by[at], 1000) {
				if err := s.insertQuestions(ctx, tx, req.GetCourseId(), at, some); err != nil {
					return nil, err
				}
			}
		}
		out := told(string(format), report, added)
		out.CategoriesMade = int32(made) //nolint:gosec // G115: at most 2,000
		if len(list) == 0 {
			tx.Exempt("nothing of the file was added")
			return out, nil
		}
		return out, audit.Record(ctx, tx, audit.Entry{Action: "questions.imported", Object: req.GetCourseId(), Course: req.GetCourseId(), After: map[string]any{
			"format": string(format), "questions": len(list), "refused": report.Refused, "categories": made, "category": req.GetCategoryId(),
			"first": list[0].ID, "sha256": hex.EncodeToString(sum),
		}})
	})
}

func pathKey(path []string) string { return strings.Join(path, "\x00") }

// makeCategories makes the categories that a bank lacks, and returns how many, and all
// by their paths.
func (s *Service) makeCategories(ctx context.Context, tx *pg.Tx, req *assessmentpb.ImportQuestionsRequest, list []incomingQuestion) (int, map[string]string, error) {
	all, err := tree(ctx, tx, []string{req.GetCourseId()})
	if err != nil {
		return 0, nil, err
	}
	places := map[string]string{"": ""}
	for _, c := range all {
		places[pathKey(c.Path)] = c.ID
	}
	if req.GetCategoryId() != "" {
		if _, ok := find(all, req.GetCategoryId()); !ok { // it was deleted meanwhile
			return 0, nil, fault.InvalidField("category_id", "category.not_found", "Name a category of this course's own bank, or none.")
		}
	}
	var ids, parents, names []string
	for _, one := range list {
		for n := range one.category {
			key := pathKey(one.category[:n+1])
			if places[key] != "" {
				continue
			}
			places[key] = id.New("category")
			ids, parents, names = append(ids, places[key]), append(parents, places[pathKey(one.category[:n])]), append(names, one.category[n])
		}
	}
	if len(all)+len(ids) > maxCategories {
		return 0, nil, ErrCategoriesFull
	}
	if len(ids) == 0 {
		return 0, places, nil
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO question_category (id, course_id, parent_id, name, created_at)
		SELECT c.id, $1, nullif(c.parent, ''), c.name, $2 FROM unnest($3::text[], $4::text[], $5::text[]) AS c (id, parent, name)`,
		req.GetCourseId(), s.time(), ids, parents, names); err != nil {
		return 0, nil, categoryFault(err)
	}
	return len(ids), places, nil
}
