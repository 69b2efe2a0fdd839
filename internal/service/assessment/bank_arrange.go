package assessment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// ArrangeQuestions implements assessmentpb.BankServiceServer.
func (r *bankServer) ArrangeQuestions(ctx context.Context, req *assessmentpb.ArrangeQuestionsRequest) (*assessmentpb.ArrangeQuestionsResponse, error) {
	add, remove := cleanTags(req.GetAddTags()), cleanTags(req.GetRemoveTags())
	return idempotency.Do(ctx, r.service.db, req, func(tx *pg.Tx) (*assessmentpb.ArrangeQuestionsResponse, error) {
		// Locked first and read then: a row that was waited for is read as it is now.
		if _, err := tx.Exec(ctx, `SELECT FROM question WHERE id = ANY($2) AND course_id = $1 ORDER BY id FOR UPDATE`, req.GetCourseId(), req.GetQuestionIds()); err != nil {
			return nil, err
		}
		rows, err := tx.Query(ctx, `
			SELECT `+bankQuestionColumns+` FROM question q JOIN question_version v ON v.question_id = q.id AND v.version = q.version
			WHERE q.id = ANY($2) AND q.course_id = $1 AND q.deleted_at IS NULL ORDER BY q.id`, req.GetCourseId(), req.GetQuestionIds())
		if err != nil {
			return nil, err
		}
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[bankQuestion])
		if err != nil {
			return nil, err
		}
		if err := allFound(req.GetQuestionIds(), found); err != nil {
			return nil, err
		}
		if err := place(ctx, tx, req.GetCourseId(), req.GetCategoryId()); err != nil {
			return nil, err
		}
		var ids, categories, tagLists, tagWords, markLists []string
		for _, q := range found {
			category, tags := q.CategoryID, slices.DeleteFunc(cleanTags(append(slices.Clone(q.Tags), add...)), func(t string) bool { return slices.Contains(remove, t) })
			if req.CategoryId != nil {
				category = req.GetCategoryId()
			}
			if category == q.CategoryID && slices.Equal(tags, q.Tags) {
				continue
			}
			if len(tags) > maxTags {
				return nil, fault.InvalidField("add_tags", "question.too_many_tags", fmt.Sprintf("%s would have %d tags; %d are the most.", q.ID, len(tags), maxTags))
			}
			ids, categories = append(ids, q.ID), append(categories, category)
			tagLists, tagWords, markLists = append(tagLists, jsonList(tags)), append(tagWords, strings.Join(tags, " ")), append(markLists, jsonList(marks(q.Kind, tags)))
		}
		res := &assessmentpb.ArrangeQuestionsResponse{Changed: int32(len(ids))} //nolint:gosec // at most 500
		if len(ids) == 0 {
			tx.Exempt("nothing changes")
			return res, nil
		}
		if _, err := tx.Exec(ctx, `
			UPDATE question q SET category_id = nullif(n.category, ''), tags = ARRAY(SELECT jsonb_array_elements_text(n.tags::jsonb)), tag_words = n.words,
				marks = ARRAY(SELECT jsonb_array_elements_text(n.marks::jsonb)), updated_at = $1, revision = revision + 1
			FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) AS n (id, category, tags, words, marks) WHERE q.id = n.id`,
			r.service.time(), ids, categories, tagLists, tagWords, markLists); err != nil {
			return nil, err
		}
		return res, audit.Record(ctx, tx, audit.Entry{Action: "questions.arranged", Object: req.GetCourseId(), Course: req.GetCourseId(), After: map[string]any{
			"questions": len(ids), "first": ids[0], "category": req.CategoryId, "add_tags": add, "remove_tags": remove,
		}})
	})
}

// allFound refuses a list of questions of which some were not found.
func allFound(asked []string, found []bankQuestion) error {
	if len(found) == len(asked) {
		return nil
	}
	bad := &fault.Error{Kind: fault.Invalid, Code: "question.not_found", Message: ErrQuestionNotFound.Message}
	for i, questionID := range asked {
		if !slices.ContainsFunc(found, func(q bankQuestion) bool { return q.ID == questionID }) {
			bad.Fields = append(bad.Fields, fault.Field{Path: fmt.Sprintf("question_ids[%d]", i), Code: bad.Code, Hint: "The bank has no such question."})
		}
	}
	return bad
}

// CopyQuestions implements assessmentpb.BankServiceServer.
func (r *bankServer) CopyQuestions(ctx context.Context, req *assessmentpb.CopyQuestionsRequest) (*assessmentpb.CopyQuestionsResponse, error) {
	s := r.service
	rows, err := s.db.Query(ctx, `
		SELECT `+bankQuestionColumns+` FROM question q JOIN question_version v ON v.question_id = q.id AND v.version = q.version
		WHERE q.id = ANY($2) AND q.deleted_at IS NULL
			AND (q.course_id = $1 OR EXISTS (SELECT FROM bank_share b WHERE b.course_id = q.course_id AND b.with_course_id = $1))
		ORDER BY array_position($2, q.id)`, req.GetCourseId(), req.GetQuestionIds())
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[bankQuestion])
	if err != nil {
		return nil, err
	}
	if err := allFound(req.GetQuestionIds(), found); err != nil {
		return nil, err
	}
	from := found[0].CourseID
	copies := make([]written, len(found))
	var pictures []string
	for i, q := range found {
		if q.CourseID != from {
			return nil, fault.InvalidField(fmt.Sprintf("question_ids[%d]", i), "question.not_found", "Copy questions of one bank at a time.")
		}
		content, err := q.content()
		if err != nil {
			return nil, err
		}
		pictures = append(pictures, question.Media(content)...)
	}
	called, err := s.copyPictures(ctx, from, req.GetCourseId(), pictures)
	if err != nil {
		return nil, err
	}
	for i, q := range found {
		content, err := q.content()
		if err != nil {
			return nil, err
		}
		if copies[i], err = write(fmt.Sprintf("question_ids[%d]", i), question.WithMedia(content, called), q.Tags); err != nil {
			return nil, err
		}
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.CopyQuestionsResponse, error) {
		if err := lockBank(ctx, tx, req.GetCourseId()); err != nil {
			return nil, err
		}
		res := &assessmentpb.CopyQuestionsResponse{}
		for i := range copies {
			copies[i].ID = id.New("question")
			res.QuestionIds = append(res.QuestionIds, copies[i].ID)
		}
		if err := s.insertQuestions(ctx, tx, req.GetCourseId(), req.GetCategoryId(), copies); err != nil {
			return nil, err
		}
		return res, audit.Record(ctx, tx, audit.Entry{Action: "questions.copied", Object: req.GetCourseId(), Course: req.GetCourseId(), After: map[string]any{
			"from": from, "questions": len(copies), "first": copies[0].ID, "category": req.GetCategoryId(),
		}})
	})
}

// copyPictures gives a course the pictures of another and returns how they are called
// there. A repeated call gets the same ones.
func (s *Service) copyPictures(ctx context.Context, from, to string, pictures []string) (map[string]string, error) {
	slices.Sort(pictures)
	pictures = slices.Compact(pictures)
	called := make(map[string]string, len(pictures))
	if from == to {
		return nil, nil
	}
	key := rpc.IdempotencyKey(ctx)
	if key == "" {
		key = id.New("claim")
	}
	for batch := range slices.Chunk(pictures, 1000) {
		sum := sha256.Sum256([]byte(key + "\n" + strings.Join(batch, "\n")))
		res, err := s.library.CopyMedia(rpc.WithIdempotencyKey(ctx, "bank/"+hex.EncodeToString(sum[:16])), &mediapb.CopyMediaRequest{FromCourseId: from, ToCourseId: to, MediaIds: batch})
		if err != nil {
			return nil, err
		}
		for _, c := range res.GetItems() {
			called[c.GetFromMediaId()] = c.GetMediaId()
		}
	}
	_, err := s.hold(ctx, to, slices.Collect(maps.Values(called)))
	return called, err
}
