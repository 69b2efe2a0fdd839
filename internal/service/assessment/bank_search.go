package assessment

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
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
	bank string
	all  string // a tsquery of marks: the bank, its categories, a kind and tags
	any  bool   // whether there is no more in it than the bank
}

func filterOf(ctx context.Context, db pg.Querier, bank string, req *assessmentpb.ListQuestionsRequest) (questionFilter, error) {
	all := []string{lexeme("=" + bank)}
	if req.GetKind() != "" {
		all = append(all, lexeme("~"+req.GetKind()))
	}
	for _, t := range cleanTags(req.GetTags()) {
		all = append(all, lexeme("#"+t))
	}
	if req.GetCategoryId() != "" {
		categories, err := tree(ctx, db, []string{bank})
		if err != nil {
			return questionFilter{}, err
		}
		if _, ok := find(categories, req.GetCategoryId()); !ok {
			return questionFilter{}, ErrCategoryNotFound
		}
		in := []string{req.GetCategoryId()}
		if req.GetDeep() {
			in = under(categories, req.GetCategoryId())
		}
		for i := range in {
			in[i] = lexeme("/" + in[i])
		}
		all = append(all, "("+strings.Join(in, " | ")+")")
	}
	return questionFilter{bank: bank, all: strings.Join(all, " & "), any: len(all) == 1}, nil
}

// lexeme returns a word as a tsquery that holds just it.
func lexeme(word string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(word) + "'"
}

// found is a question that a list has.
type found struct {
	ID   string
	Rank int64
}

// newestQuestions lists without a query.
func newestQuestions(ctx context.Context, db *pg.DB, f questionFilter, size int, cursor string) ([]bankQuestion, string, error) {
	before := "question_~" // after every id
	if values, err := page.Values(cursor, 1); err != nil {
		return nil, "", err
	} else if values != nil {
		before = values[0]
	}
	list, err := matches(ctx, db, f, words{}, before, size+1)
	if err != nil {
		return nil, "", err
	}
	next := ""
	if len(list) > size {
		list = list[:size]
		next = page.Cursor(list[size-1].ID)
	}
	items, err := questionsOf(ctx, db, list)
	return items, next, err
}

// mostRanked is how many of the questions that have the words are ranked: the newest.
const mostRanked = 500

// searchQuestions lists what has the words, best first. Where nothing has them the
// last word may be the beginning of one.
func searchQuestions(ctx context.Context, db *pg.DB, f questionFilter, query string, size int, cursor string) ([]bankQuestion, string, error) {
	const whole, begun = "whole", "begun"
	search, after := whole, found{Rank: math.MaxInt64}
	values, err := page.Values(cursor, 3)
	if err != nil {
		return nil, "", err
	}
	if values != nil {
		if after.Rank, err = strconv.ParseInt(values[1], 10, 64); err != nil || values[0] != whole && values[0] != begun {
			return nil, "", page.ErrCursor
		}
		search, after.ID = values[0], values[2]
	}
	var list []found
	if search == whole {
		if list, err = matches(ctx, db, f, words{asked: query}, "question_~", mostRanked); err != nil {
			return nil, "", err
		}
	}
	if at := lastWord(query); at < len(query) && (search == begun || len(list) == 0 && values == nil) {
		search = begun
		if list, err = matches(ctx, db, f, words{asked: query[:at], begun: lexeme(strings.ToLower(query[at:])) + ":*"}, "question_~", mostRanked); err != nil {
			return nil, "", err
		}
	}
	best := func(a, b found) int { return cmp.Or(cmp.Compare(b.Rank, a.Rank), cmp.Compare(b.ID, a.ID)) }
	list = slices.DeleteFunc(list, func(q found) bool { return best(q, after) <= 0 })
	slices.SortFunc(list, best)
	next := ""
	if len(list) > size {
		list = list[:size]
		next = page.Cursor(search, strconv.FormatInt(list[size-1].Rank, 10), list[size-1].ID)
	}
	items, err := questionsOf(ctx, db, list)
	return items, next, err
}

// words are what is searched for: all of asked, and one that begins with begun, a
// tsquery. Without both every question matches.
type words struct{ asked, begun string }

// mostGathered is how many questions are gathered through the index on words. What
// more have is that common that the bank's list, from its newest on, soon has enough.
const mostGathered = 3_000

// matches returns the newest of those that match, before an id, the newest first. It
// tells the database how, which can't know how common words are together: so the work
// has a bound however large the bank is and whatever is asked for.
func matches(ctx context.Context, db *pg.DB, f questionFilter, w words, before string, limit int) (list []found, err error) {
	const asked = `(websearch_to_tsquery('simple', $2) && $3::tsquery)`
	const where = ` WHERE ($2 = '' AND $3 = '' OR numnode` + asked + ` > 0) AND words @@ ($1::tsquery && ` + asked + `) AND deleted_at IS NULL AND id < $4`
	const ranked = `SELECT id, (1000000 * ts_rank(words, ` + asked + `))::bigint AS rank FROM `
	collect := func(tx *pg.Tx, settings, query string, args ...any) error {
		if _, err := tx.Exec(ctx, settings); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, query, append([]any{pgx.QueryExecModeCacheDescribe, f.all, w.asked, w.begun, before, limit}, args...)...)
		if err == nil {
			list, err = pgx.CollectRows(rows, pgx.RowToStructByName[found])
		}
		return err
	}
	err = db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("nothing is written")
		if !f.any || w != (words{}) {
			// Through the index on words. Where there are too many the last one says so.
			err := collect(tx, `SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = on`, `
				WITH gathered AS MATERIALIZED (SELECT id, words FROM question`+where+` LIMIT $6 + 1)
				(`+ranked+`gathered WHERE (SELECT count(*) FROM gathered) <= $6 ORDER BY id DESC LIMIT $5)
				UNION ALL SELECT '', -1 WHERE (SELECT count(*) FROM gathered) > $6`, mostGathered)
			if err != nil || len(list) == 0 || list[0].ID != "" {
				return err
			}
		}
		// Through the bank's list.
		return collect(tx, `SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = on; SET LOCAL enable_bitmapscan = off`,
			ranked+`question`+where+` AND course_id = $6 ORDER BY id DESC LIMIT $5`, f.bank)
	})
	if err != nil {
		return nil, fmt.Errorf("questions that match: %w", err)
	}
	return list, nil
}

// questionsOf returns questions as lists show them, in the order of a list.
func questionsOf(ctx context.Context, db pg.Querier, list []found) ([]bankQuestion, error) {
	ids := make([]string, len(list))
	for i, q := range list {
		ids[i] = q.ID
	}
	rows, err := db.Query(ctx, `
		SELECT `+bankQuestionColumns+` FROM unnest($1::text[]) WITH ORDINALITY AS l (id, n)
			JOIN question q ON q.id = l.id JOIN question_version v ON v.question_id = q.id AND v.version = q.version
		WHERE q.deleted_at IS NULL ORDER BY l.n`, ids)
	if err != nil {
		return nil, err
	}
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[bankQuestion])
	if err != nil {
		return nil, fmt.Errorf("questions: %w", err)
	}
	return items, nil
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
