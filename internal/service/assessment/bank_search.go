package assessment

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// ListQuestions implements assessmentpb.BankServiceServer.
func (r *bankServer) ListQuestions(ctx context.Context, req *assessmentpb.ListQuestionsRequest) (*assessmentpb.ListQuestionsResponse, error) {
	db, bank := r.service.db, req.GetBankCourseId()
	if bank == "" {
		bank = req.GetCourseId()
	}
	if err := usesBank(ctx, db, req.GetCourseId(), bank); err != nil {
		return nil, err
	}
	f, err := filterOf(ctx, db, bank, req)
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	var (
		items []bankQuestion
		next  string
	)
	if req.GetQuery() != "" {
		items, next, err = searchQuestions(ctx, db, f, req.GetQuery(), size, req.GetCursor())
	} else {
		items, next, err = newestQuestions(ctx, db, f, size, req.GetCursor())
	}
	if err != nil {
		return nil, err
	}
	res := &assessmentpb.ListQuestionsResponse{NextCursor: next, Items: make([]*assessmentpb.BankQuestion, len(items))}
	for i, q := range items {
		if res.Items[i], err = q.pb(true); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// questionFilter is which questions of a bank are wanted.
type questionFilter struct {
	bank       string
	categories []string // nil for all
	marks      string   // a tsquery
	marked     bool     // whether marks has more than the bank
}

func filterOf(ctx context.Context, db pg.Querier, bank string, req *assessmentpb.ListQuestionsRequest) (questionFilter, error) {
	f := questionFilter{bank: bank, marks: lexeme("=" + bank)}
	if req.GetKind() != "" {
		f.marks, f.marked = f.marks+" & "+lexeme("~"+req.GetKind()), true
	}
	for _, t := range cleanTags(req.GetTags()) {
		f.marks, f.marked = f.marks+" & "+lexeme("#"+t), true
	}
	if req.GetCategoryId() == "" {
		return f, nil
	}
	all, err := tree(ctx, db, []string{bank})
	if err != nil {
		return f, err
	}
	if _, ok := find(all, req.GetCategoryId()); !ok {
		return f, ErrCategoryNotFound
	}
	f.categories = []string{req.GetCategoryId()}
	if req.GetDeep() {
		f.categories = under(all, req.GetCategoryId())
	}
	return f, nil
}

// lexeme returns a word as a tsquery that holds just it.
func lexeme(word string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(word) + "'"
}

// newestQuestions lists without a query: by the bank's or the category's index, or by
// that of words where tags or a kind are asked for.
func newestQuestions(ctx context.Context, db pg.Querier, f questionFilter, size int, cursor string) ([]bankQuestion, string, error) {
	before := "question_~" // after every id
	if values, err := page.Values(cursor, 1); err != nil {
		return nil, "", err
	} else if values != nil {
		before = values[0]
	}
	where := `q.course_id = $1`
	if f.marked {
		where = `q.words @@ $5::tsquery AND ` + where
	}
	rows, err := db.Query(ctx, `
		WITH page AS MATERIALIZED (
			SELECT q.id FROM question q
			WHERE `+where+` AND q.deleted_at IS NULL AND q.id < $2 AND ($3::text[] IS NULL OR q.category_id = ANY($3)) AND ($5::text IS NOT NULL)
			ORDER BY q.id DESC LIMIT $4
		)
		SELECT `+bankQuestionColumns+` FROM page JOIN question q ON q.id = page.id JOIN question_version v ON v.question_id = q.id AND v.version = q.version
		ORDER BY q.id DESC`, f.bank, before, f.categories, size+1, f.marks)
	if err != nil {
		return nil, "", err
	}
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[bankQuestion])
	if err != nil {
		return nil, "", fmt.Errorf("questions: %w", err)
	}
	if len(items) <= size {
		return items, "", nil
	}
	return items[:size], page.Cursor(items[size-1].ID), nil
}

// rankedQuestion is a question that was found by words.
type rankedQuestion struct {
	bankQuestion

	Rank int64
}

// searchQuestions lists what has the words. Of more than 1,000 the newest 1,000 are
// ranked, so that a word that most questions have costs no more than a rare one.
func searchQuestions(ctx context.Context, db pg.Querier, f questionFilter, query string, size int, cursor string) ([]bankQuestion, string, error) {
	rank, before := int64(math.MaxInt64), ""
	if values, err := page.Values(cursor, 2); err != nil {
		return nil, "", err
	} else if values != nil {
		if rank, err = strconv.ParseInt(values[0], 10, 64); err != nil {
			return nil, "", page.ErrCursor
		}
		before = values[1]
	}
	rows, err := db.Query(ctx, `
		WITH asked AS (SELECT websearch_to_tsquery('simple', $5) && $6::tsquery AS words
		), found AS MATERIALIZED (
			SELECT q.id, q.words FROM question q, asked
			WHERE q.words @@ ($4::tsquery && asked.words) AND q.deleted_at IS NULL AND ($3::text[] IS NULL OR q.category_id = ANY($3))
			ORDER BY q.id DESC LIMIT 1000
		), ranked AS (
			SELECT found.id, (1000000 * ts_rank(found.words, asked.words))::bigint AS rank FROM found, asked
		), page AS MATERIALIZED (
			SELECT id, rank FROM ranked WHERE (rank, id) < ($1, $2) ORDER BY rank DESC, id DESC LIMIT $7
		)
		SELECT `+bankQuestionColumns+`, page.rank FROM page JOIN question q ON q.id = page.id JOIN question_version v ON v.question_id = q.id AND v.version = q.version
		ORDER BY page.rank DESC, q.id DESC`, rank, before, f.categories, f.marks, wholeWords(query), begunWord(query), size+1)
	if err != nil {
		return nil, "", err
	}
	ranked, err := pgx.CollectRows(rows, pgx.RowToStructByName[rankedQuestion])
	if err != nil {
		return nil, "", fmt.Errorf("search: %w", err)
	}
	items := make([]bankQuestion, len(ranked))
	for i, q := range ranked {
		items[i] = q.bankQuestion
	}
	if len(items) <= size {
		return items, "", nil
	}
	last := ranked[size-1]
	return items[:size], page.Cursor(strconv.FormatInt(last.Rank, 10), last.ID), nil
}

// lastWord returns where the last word of a query begins, if it may be the beginning
// of a longer one: it stands at the end and in no quotation marks.
func lastWord(query string) int {
	if strings.Count(query, `"`)%2 != 0 {
		return len(query)
	}
	start := strings.LastIndexFunc(query, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) + 1
	for start > 0 && start < len(query) && query[start]&0xC0 == 0x80 { // behind a sign of several bytes
		start++
	}
	if start > 0 && strings.HasSuffix(query[:start], "-") {
		return len(query)
	}
	return start
}

func wholeWords(query string) string { return query[:lastWord(query)] }

// begunWord returns the last word as a tsquery for what begins with it.
func begunWord(query string) string {
	word := strings.ToLower(query[lastWord(query):])
	if word == "" {
		return ""
	}
	return lexeme(word) + ":*"
}
