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
	marks      string   // a tsquery; empty for all
}

func filterOf(ctx context.Context, db pg.Querier, bank string, req *assessmentpb.ListQuestionsRequest) (questionFilter, error) {
	f := questionFilter{bank: bank}
	var all []string
	if req.GetKind() != "" {
		all = append(all, lexeme("~"+req.GetKind()))
	}
	for _, t := range cleanTags(req.GetTags()) {
		all = append(all, lexeme("#"+t))
	}
	f.marks = strings.Join(all, " & ")
	if req.GetCategoryId() == "" {
		return f, nil
	}
	categories, err := tree(ctx, db, []string{bank})
	if err != nil {
		return f, err
	}
	if _, ok := find(categories, req.GetCategoryId()); !ok {
		return f, ErrCategoryNotFound
	}
	f.categories = []string{req.GetCategoryId()}
	if req.GetDeep() {
		f.categories = under(categories, req.GetCategoryId())
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
	if f.marks != "" {
		where = `q.words @@ $5::tsquery AND ` + where
	}
	rows, err := db.Query(ctx, `
		WITH page AS MATERIALIZED (
			SELECT q.id FROM question q
			WHERE `+where+` AND q.deleted_at IS NULL AND q.id < $2 AND ($3::text[] IS NULL OR q.category_id = ANY($3)) AND ($5::text IS NOT NULL)
			ORDER BY q.id DESC LIMIT $4
		)
		SELECT `+bankQuestionColumns+` FROM page JOIN question q ON q.id = page.id JOIN question_version v ON v.question_id = q.id AND v.version = q.version
		ORDER BY q.id DESC`, planned, f.bank, before, f.categories, size+1, f.marks)
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

// planned has the database plan a query for its values: whether words are common
// decides between the index on words and that in the order of the list.
const planned = pgx.QueryExecModeCacheDescribe

// Searches: for whole words, and where nothing has them with the last one begun.
const (
	wholeSearch = "whole"
	begunSearch = "begun"
)

// searchQuestions lists what has the words. Of more than 1,000 the newest 1,000 are
// ranked, so that a word that most questions have costs no more than a rare one. Where
// nothing has them the last word may be the beginning of one. Not both at once: how
// common it is what begins with a word the database can't tell.
func searchQuestions(ctx context.Context, db pg.Querier, f questionFilter, query string, size int, cursor string) ([]bankQuestion, string, error) {
	search, rank, before := wholeSearch, int64(math.MaxInt64), ""
	values, err := page.Values(cursor, 3)
	if err != nil {
		return nil, "", err
	}
	if values != nil {
		if rank, err = strconv.ParseInt(values[1], 10, 64); err != nil || values[0] != wholeSearch && values[0] != begunSearch {
			return nil, "", page.ErrCursor
		}
		search, before = values[0], values[2]
	}
	ranked, err := rankQuestions(ctx, db, f, search, query, rank, before, size+1)
	if err == nil && len(ranked) == 0 && values == nil {
		search = begunSearch
		ranked, err = rankQuestions(ctx, db, f, search, query, rank, before, size+1)
	}
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
	return items[:size], page.Cursor(search, strconv.FormatInt(last.Rank, 10), last.ID), nil
}

// rankQuestions returns what a search finds behind a rank and an id.
func rankQuestions(ctx context.Context, db pg.Querier, f questionFilter, search, query string, rank int64, before string, limit int) ([]rankedQuestion, error) {
	asked, begun := `websearch_to_tsquery('simple', $5)`, ""
	if search == begunSearch {
		word := lastWord(query)
		if word == len(query) {
			return nil, nil
		}
		asked += ` && $8::tsquery`
		begun, query = lexeme(strings.ToLower(query[word:]))+":*", query[:word]
	}
	rows, err := db.Query(ctx, `
		WITH found AS MATERIALIZED (
			SELECT q.id, q.words FROM question q
			WHERE q.course_id = $4 AND q.words @@ (`+asked+`) AND ($6 = '' OR q.words @@ $6::tsquery) AND ($8::text IS NOT NULL) AND q.deleted_at IS NULL AND ($3::text[] IS NULL OR q.category_id = ANY($3))
			ORDER BY q.id DESC LIMIT 1000
		), ranked AS (
			SELECT id, (1000000 * ts_rank(words, `+asked+`))::bigint AS rank FROM found
		), page AS MATERIALIZED (
			SELECT id, rank FROM ranked WHERE (rank, id) < ($1, $2) ORDER BY rank DESC, id DESC LIMIT $7
		)
		SELECT `+bankQuestionColumns+`, page.rank FROM page JOIN question q ON q.id = page.id JOIN question_version v ON v.question_id = q.id AND v.version = q.version
		ORDER BY page.rank DESC, q.id DESC`,
		planned, rank, before, f.categories, f.bank, query, f.marks, limit, begun)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[rankedQuestion])
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
