package assessment

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// written is what an author wrote, checked and in the form that is kept.
type written struct {
	ID    string
	Tags  []string
	kind  string
	title string
	body  []byte
	hash  []byte
	words string // of all but the title
}

// maxWords bounds the text that a question is found by, in bytes.
const maxWords = 64 << 10

// write checks a question and brings it into the form that is kept. Faults name
// fields below path.
func write(path string, content *questionpb.QuestionContent, tags []string) (written, error) {
	if err := question.Validate(content); err != nil {
		return written{}, below(path, err)
	}
	content = question.Normalise(content)
	hash, err := question.Hash(content)
	if err != nil {
		return written{}, err
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(content)
	if err != nil {
		return written{}, err
	}
	w := written{
		ID: id.New("question"), Tags: cleanTags(tags),
		kind: question.KindOf(content), title: content.GetTitle(), body: body, hash: hash[:], words: question.Texts(content, maxWords),
	}
	return w, nil
}

// below returns a fault whose fields are below a path.
func below(path string, err error) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err
	}
	out := *f
	out.Fields = slices.Clone(f.Fields)
	for i := range out.Fields {
		out.Fields[i].Path = strings.TrimSuffix(path+"."+out.Fields[i].Path, ".")
	}
	return &out
}

// cleanTags returns tags as they are kept.
func cleanTags(tags []string) []string {
	out := make([]string, 0, len(tags))
	for _, t := range tags {
		if t = strings.ToLower(strings.Join(strings.Fields(t), " ")); t != "" {
			out = append(out, t)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// marks are the words of a question that no text has: by them, lists are filtered.
func marks(kind string, tags []string) []string {
	out := []string{"~" + kind}
	for _, t := range tags {
		out = append(out, "#"+t)
	}
	return out
}

// jsonList returns texts as a JSON array, for lists of lists.
func jsonList(list []string) string {
	if list == nil {
		list = []string{}
	}
	raw, err := json.Marshal(list)
	if err != nil { // no value of []string fails
		return "[]"
	}
	return string(raw)
}

// checkPictures refuses questions that show what is no file of the course, or can't be
// shown where they do, and has media hold those that they do. Call it before the
// transaction.
func (s *Service) checkPictures(ctx context.Context, courseID, path string, content *questionpb.QuestionContent) error {
	ids := question.Media(content)
	if len(ids) == 0 {
		return nil
	}
	if len(ids) > maxPictures {
		return fault.InvalidField(path, "question.too_many_pictures", fmt.Sprintf("A question shows at most %d files.", maxPictures))
	}
	found, err := s.hold(ctx, courseID, ids)
	if err != nil {
		return err
	}
	inPlace := question.ShownInPlace(content)
	bad := &fault.Error{Kind: fault.Invalid, Code: "media.not_found", Message: "A file is named that is not of this course, or can't be shown there."}
	for _, mediaID := range ids {
		kind, _, _ := strings.Cut(found[mediaID].GetContentType(), "/")
		switch {
		case found[mediaID] == nil:
			bad.Fields = append(bad.Fields, fault.Field{Path: path, Code: bad.Code, Hint: "Upload " + mediaID + " to this course first."})
		case content.GetHotSpot().GetMediaId() == mediaID && kind != "image":
			bad.Fields = append(bad.Fields, fault.Field{Path: path, Code: bad.Code, Hint: "Name a picture to mark; " + mediaID + " is none."})
		case slices.Contains(inPlace, mediaID) && kind != "image" && kind != "audio" && kind != "video":
			bad.Fields = append(bad.Fields, fault.Field{Path: path, Code: bad.Code, Hint: "Link to " + mediaID + ", without the exclamation mark: it is no picture, sound or video."})
		}
	}
	if bad.Fields == nil {
		return nil
	}
	return bad
}

// maxPictures is how many files a question names.
const maxPictures = 200

// insertQuestions adds questions with their first versions to a bank, which the
// caller has locked.
func (s *Service) insertQuestions(ctx context.Context, tx *pg.Tx, courseID, categoryID string, questions []written) error {
	var there int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM (SELECT FROM question WHERE course_id = $1 AND deleted_at IS NULL LIMIT $2) AS q`, courseID, maxQuestions).Scan(&there); err != nil {
		return err
	}
	if there+len(questions) > maxQuestions {
		return ErrQuestionsFull
	}
	if err := place(ctx, tx, courseID, categoryID); err != nil {
		return err
	}
	var (
		ids, kinds, titles, words, tagLists, markLists, tagWords []string
		bodies, hashes                                           [][]byte
	)
	for _, q := range questions {
		ids, kinds, titles, words = append(ids, q.ID), append(kinds, q.kind), append(titles, q.title), append(words, q.words)
		tagLists, markLists = append(tagLists, jsonList(q.Tags)), append(markLists, jsonList(marks(q.kind, q.Tags)))
		tagWords, bodies, hashes = append(tagWords, strings.Join(q.Tags, " ")), append(bodies, q.body), append(hashes, q.hash)
	}
	now, by := s.time(), auth.From(ctx).Account
	if _, err := tx.Exec(ctx, `
		INSERT INTO question (id, course_id, category_id, version, tags, tag_words, marks, content_words, created_by, created_at, updated_at)
		SELECT q.id, $1, nullif($2, ''), 1, ARRAY(SELECT jsonb_array_elements_text(q.tags::jsonb)), q.tag_words, ARRAY(SELECT jsonb_array_elements_text(q.marks::jsonb)),
			setweight(to_tsvector('simple', q.title), 'A') || setweight(to_tsvector('simple', q.words), 'C'), $3, $4, $4
		FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[]) AS q (id, tags, tag_words, marks, title, words)`,
		courseID, categoryID, by, now, ids, tagLists, tagWords, markLists, titles, words); err != nil {
		return fmt.Errorf("store questions: %w", err)
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO question_version (question_id, version, kind, title, body, hash, created_by, created_at)
		SELECT q.id, 1, q.kind, q.title, q.body, q.hash, $1, $2
		FROM unnest($3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[]) AS q (id, kind, title, body, hash)`,
		by, now, ids, kinds, titles, bodies, hashes); err != nil {
		return fmt.Errorf("store versions: %w", err)
	}
	return nil
}

// bankQuestion is a question with one of its versions.
type bankQuestion struct {
	ID         string
	CourseID   string
	CategoryID string
	Tags       []string
	Current    int32
	Revision   int64
	CreatedAt  time.Time
	UpdatedAt  time.Time
	Version    int32
	Kind       string
	Title      string
	Body       []byte
	Hash       []byte
	Author     string
}

const bankQuestionColumns = `q.id, q.course_id, coalesce(q.category_id, '') AS category_id, q.tags, q.version AS current, q.revision, q.created_at, q.updated_at,
	v.version, v.kind, v.title, v.body, v.hash, v.created_by AS author`

// content reads what a question asks.
func (q bankQuestion) content() (*questionpb.QuestionContent, error) {
	var c questionpb.QuestionContent
	if err := proto.Unmarshal(q.Body, &c); err != nil {
		return nil, fmt.Errorf("question %s, version %d: %w", q.ID, q.Version, err)
	}
	return &c, nil
}

// pb returns a question; of a list only with title and points.
func (q bankQuestion) pb(short bool) (*assessmentpb.BankQuestion, error) {
	c, err := q.content()
	if err != nil {
		return nil, err
	}
	if short {
		c = &questionpb.QuestionContent{Title: c.GetTitle(), Points: c.GetPoints()}
	}
	return &assessmentpb.BankQuestion{
		Id: q.ID, CourseId: q.CourseID, CategoryId: q.CategoryID, Tags: q.Tags, Version: q.Version, CurrentVersion: q.Current, Kind: q.Kind, Content: c,
		Hash: hex.EncodeToString(q.Hash), CreatedAt: timestamppb.New(q.CreatedAt), UpdatedAt: timestamppb.New(q.UpdatedAt), AuthorId: q.Author,
		Etag: strconv.FormatInt(q.Revision, 10),
	}, nil
}

// readQuestion returns a question that a course may use with one of its versions, the
// current one for 0. With own it has to be of the course's own bank, and is locked.
func readQuestion(ctx context.Context, q pg.Querier, courseID, questionID string, version int32, own bool) (bankQuestion, error) {
	if own {
		if _, err := q.Exec(ctx, `SELECT FROM question WHERE id = $1 AND course_id = $2 FOR UPDATE`, questionID, courseID); err != nil {
			return bankQuestion{}, err
		}
	}
	rows, err := q.Query(ctx, `
		SELECT `+bankQuestionColumns+`
		FROM question q JOIN question_version v ON v.question_id = q.id AND v.version = CASE $3::integer WHEN 0 THEN q.version ELSE $3 END
		WHERE q.id = $2 AND q.deleted_at IS NULL
			AND (q.course_id = $1 OR NOT $4 AND EXISTS (SELECT FROM bank_share s WHERE s.course_id = q.course_id AND s.with_course_id = $1))`,
		courseID, questionID, version, own)
	if err != nil {
		return bankQuestion{}, err
	}
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[bankQuestion])
	if pg.NoRows(err) {
		return bankQuestion{}, ErrQuestionNotFound
	}
	return found, err
}

// CreateQuestion implements assessmentpb.BankServiceServer.
func (r *bankServer) CreateQuestion(ctx context.Context, req *assessmentpb.CreateQuestionRequest) (*assessmentpb.BankQuestion, error) {
	s := r.service
	w, err := write("content", req.GetContent(), req.GetTags())
	if err != nil {
		return nil, err
	}
	if err := s.checkPictures(ctx, req.GetCourseId(), "content", req.GetContent()); err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.BankQuestion, error) {
		if err := lockBank(ctx, tx, req.GetCourseId()); err != nil {
			return nil, err
		}
		if err := s.insertQuestions(ctx, tx, req.GetCourseId(), req.GetCategoryId(), []written{w}); err != nil {
			return nil, err
		}
		q, err := readQuestion(ctx, tx, req.GetCourseId(), w.ID, 0, false)
		if err != nil {
			return nil, err
		}
		out, err := q.pb(false)
		if err != nil {
			return nil, err
		}
		return out, audit.Record(ctx, tx, audit.Entry{Action: "question.created", Object: q.ID, Course: q.CourseID, After: q.state()})
	})
}

// state is what the audit log keeps of a question.
func (q bankQuestion) state() any {
	return map[string]any{"version": q.Current, "kind": q.Kind, "hash": hex.EncodeToString(q.Hash), "category": q.CategoryID, "tags": q.Tags}
}

// GetQuestion implements assessmentpb.BankServiceServer.
func (r *bankServer) GetQuestion(ctx context.Context, req *assessmentpb.GetQuestionRequest) (*assessmentpb.BankQuestion, error) {
	q, err := readQuestion(ctx, r.service.db, req.GetCourseId(), req.GetQuestionId(), req.GetVersion(), false)
	if err != nil {
		return nil, err
	}
	return q.pb(false)
}

// UpdateQuestion implements assessmentpb.BankServiceServer.
func (r *bankServer) UpdateQuestion(ctx context.Context, req *assessmentpb.UpdateQuestionRequest) (*assessmentpb.BankQuestion, error) {
	s := r.service
	var w written
	if req.GetContent() != nil {
		var err error
		if w, err = write("content", req.GetContent(), nil); err != nil {
			return nil, err
		}
		if err := s.checkPictures(ctx, req.GetCourseId(), "content", req.GetContent()); err != nil {
			return nil, err
		}
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.BankQuestion, error) {
		q, err := readQuestion(ctx, tx, req.GetCourseId(), req.GetQuestionId(), 0, true)
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, strconv.FormatInt(q.Revision, 10)); err != nil {
			return nil, err
		}
		before, now := q.state(), s.time()
		if req.CategoryId != nil {
			q.CategoryID = req.GetCategoryId()
			if err := place(ctx, tx, q.CourseID, q.CategoryID); err != nil {
				return nil, err
			}
		}
		if req.GetTags() != nil {
			q.Tags = cleanTags(req.GetTags().GetTags())
		}
		if req.GetContent() != nil && !slices.Equal(w.hash, q.Hash) {
			if w.kind != q.Kind {
				return nil, fault.InvalidField("content", "question.other_kind", fmt.Sprintf("This question is of the kind %q. Make a new one.", q.Kind))
			}
			if err := newVersion(ctx, tx, &q, w, now); err != nil {
				return nil, err
			}
		}
		if err := tx.QueryRow(ctx, `
			UPDATE question SET category_id = nullif($2, ''), tags = $3, tag_words = $4, marks = $5, updated_at = $6, revision = revision + 1
			WHERE id = $1 RETURNING revision, updated_at`,
			q.ID, q.CategoryID, q.Tags, strings.Join(q.Tags, " "), marks(q.Kind, q.Tags), now).Scan(&q.Revision, &q.UpdatedAt); err != nil {
			return nil, err
		}
		out, err := q.pb(false)
		if err != nil {
			return nil, err
		}
		return out, audit.Record(ctx, tx, audit.Entry{Action: "question.updated", Object: q.ID, Course: q.CourseID, Before: before, After: q.state()})
	})
}

// newVersion gives a question that is locked another version, which becomes current.
func newVersion(ctx context.Context, tx *pg.Tx, q *bankQuestion, w written, now time.Time) error {
	var last int32
	if err := tx.QueryRow(ctx, `SELECT max(version) FROM question_version WHERE question_id = $1`, q.ID).Scan(&last); err != nil {
		return err
	}
	if last >= maxVersions {
		return ErrVersionsFull
	}
	q.Current, q.Version, q.Title, q.Body, q.Hash, q.Author = last+1, last+1, w.title, w.body, w.hash, auth.From(ctx).Account
	if _, err := tx.Exec(ctx, `
		INSERT INTO question_version (question_id, version, kind, title, body, hash, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		q.ID, q.Version, q.Kind, q.Title, q.Body, q.Hash, q.Author, now); err != nil {
		return err
	}
	return pointAt(ctx, tx, q.ID, q.Version, w.title, w.words)
}

// pointAt makes a version the current one, by whose words the question is found.
func pointAt(ctx context.Context, tx *pg.Tx, questionID string, version int32, title, words string) error {
	_, err := tx.Exec(ctx, `
		UPDATE question SET version = $2, content_words = setweight(to_tsvector('simple', $3), 'A') || setweight(to_tsvector('simple', $4), 'C') WHERE id = $1`,
		questionID, version, title, words)
	return err
}

// SetQuestionVersion implements assessmentpb.BankServiceServer.
func (r *bankServer) SetQuestionVersion(ctx context.Context, req *assessmentpb.SetQuestionVersionRequest) (*assessmentpb.BankQuestion, error) {
	return idempotency.Do(ctx, r.service.db, req, func(tx *pg.Tx) (*assessmentpb.BankQuestion, error) {
		q, err := readQuestion(ctx, tx, req.GetCourseId(), req.GetQuestionId(), req.GetVersion(), true)
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, strconv.FormatInt(q.Revision, 10)); err != nil {
			return nil, err
		}
		before := map[string]any{"version": q.Current}
		content, err := q.content()
		if err != nil {
			return nil, err
		}
		if err := pointAt(ctx, tx, q.ID, q.Version, q.Title, question.Texts(content, maxWords)); err != nil {
			return nil, err
		}
		q.Current = q.Version
		if err := tx.QueryRow(ctx, `UPDATE question SET updated_at = $2, revision = revision + 1 WHERE id = $1 RETURNING revision, updated_at`,
			q.ID, r.service.time()).Scan(&q.Revision, &q.UpdatedAt); err != nil {
			return nil, err
		}
		out, err := q.pb(false)
		if err != nil {
			return nil, err
		}
		return out, audit.Record(ctx, tx, audit.Entry{Action: "question.version_set", Object: q.ID, Course: q.CourseID, Before: before, After: map[string]any{"version": q.Current}})
	})
}

// DeleteQuestion implements assessmentpb.BankServiceServer.
func (r *bankServer) DeleteQuestion(ctx context.Context, req *assessmentpb.DeleteQuestionRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, r.service.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		q, err := readQuestion(ctx, tx, req.GetCourseId(), req.GetQuestionId(), 0, true)
		if err != nil {
			return nil, err
		}
		// Who writes a quiz holds the question's row, so that none comes to use it now.
		var used bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM quiz_question WHERE question_id = $1)`, q.ID).Scan(&used); err != nil {
			return nil, err
		}
		if used {
			return nil, ErrQuestionUsed
		}
		if _, err := tx.Exec(ctx, `UPDATE question SET deleted_at = $2, revision = revision + 1 WHERE id = $1`, q.ID, r.service.time()); err != nil {
			return nil, err
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{Action: "question.deleted", Object: q.ID, Course: q.CourseID, Before: q.state()})
	})
}

// ListQuestionVersions implements assessmentpb.BankServiceServer.
func (r *bankServer) ListQuestionVersions(ctx context.Context, req *assessmentpb.ListQuestionVersionsRequest) (*assessmentpb.ListQuestionVersionsResponse, error) {
	if _, err := readQuestion(ctx, r.service.db, req.GetCourseId(), req.GetQuestionId(), 0, false); err != nil {
		return nil, err
	}
	size, before := page.Size(req.GetPageSize()), int64(maxVersions)+1
	if values, err := page.Values(req.GetCursor(), 1); err != nil {
		return nil, err
	} else if values != nil {
		if before, err = strconv.ParseInt(values[0], 10, 32); err != nil {
			return nil, page.ErrCursor
		}
	}
	rows, err := r.service.db.Query(ctx, `
		SELECT version, title, hash, created_by, created_at FROM question_version WHERE question_id = $1 AND version < $2 ORDER BY version DESC LIMIT $3`,
		req.GetQuestionId(), before, size+1)
	if err != nil {
		return nil, err
	}
	items, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.QuestionVersion, error) {
		var (
			v    assessmentpb.QuestionVersion
			hash []byte
			at   time.Time
		)
		err := row.Scan(&v.Version, &v.Title, &hash, &v.AuthorId, &at)
		v.Hash, v.CreatedAt = hex.EncodeToString(hash), timestamppb.New(at)
		return &v, err
	})
	if err != nil {
		return nil, err
	}
	res := &assessmentpb.ListQuestionVersionsResponse{Items: items}
	if len(items) > size {
		res.Items = items[:size]
		res.NextCursor = page.Cursor(strconv.Itoa(int(items[size-1].GetVersion())))
	}
	return res, nil
}
