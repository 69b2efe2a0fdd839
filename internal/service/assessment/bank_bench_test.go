package assessment

import (
	"fmt"
	"testing"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// BenchmarkListQuestions lists and searches banks of growing size: the first page
// costs the same in all of them.
func BenchmarkListQuestions(b *testing.B) {
	for _, size := range []int{100, 10_000, 100_000} {
		w := newBankWorld(b)
		teacher := id.New("account")
		ctx, courseID := rpctest.Account(b.Context(), teacher), w.course(teacher)
		w.add(ctx, courseID, "", truth("Rare", "A word that nothing else has: zyzzyva."), "one")
		pattern := w.add(ctx, courseID, "", truth("Common", "A question as all are."))
		// Copies of one question, of which each tenth is tagged and has a word of its own.
		for _, sql := range []string{
			`INSERT INTO question (id, course_id, version, tags, tag_words, marks, content_words, created_by, created_at, updated_at)
			SELECT 'question_' || lpad(n::text, 26, '0'), course_id, 1, '{}', '', marks || CASE n % 10 WHEN 0 THEN '{#tenth}'::text[] ELSE '{}' END,
				content_words || to_tsvector('simple', 'number ' || n || CASE n % 10 WHEN 0 THEN ' decimal' ELSE '' END), created_by, created_at, updated_at
			FROM question, generate_series(1, $2::integer) AS n WHERE id = $1`,
			`INSERT INTO question_version (question_id, version, kind, title, body, hash, created_by, created_at)
			SELECT 'question_' || lpad(n::text, 26, '0'), 1, kind, title, body, hash, created_by, created_at
			FROM question_version, generate_series(1, $2::integer) AS n WHERE question_id = $1`,
		} {
			if _, err := w.service.db.Exec(ctx, sql, pattern.GetId(), size); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := w.service.db.Exec(ctx, `ANALYZE question, question_version`); err != nil {
			b.Fatal(err)
		}
		for name, req := range map[string]*assessmentpb.ListQuestionsRequest{
			"newest": {}, "tag": {Tags: []string{"tenth"}}, "rare": {Query: "zyzzyva"}, "common": {Query: "question"},
			"two": {Query: "question decimal"}, "begun": {Query: "questi"},
		} {
			req.CourseId = courseID
			b.Run(fmt.Sprint(name, "/", size), func(b *testing.B) {
				for b.Loop() {
					if res, err := w.ListQuestions(ctx, req); err != nil || len(res.GetItems()) == 0 {
						b.Fatal(len(res.GetItems()), err)
					}
				}
			})
		}
	}
}
