package assessment

import (
	"context"
	"encoding/csv"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// reader stands for access: what the caller may.
type reader struct {
	accesspb.AccessServiceClient

	permissions []string
}

func (r *reader) ResolvePermissions(context.Context, *accesspb.ResolvePermissionsRequest, ...grpc.CallOption) (*accesspb.ResolvePermissionsResponse, error) {
	return &accesspb.ResolvePermissionsResponse{Answers: []*accesspb.ResolvePermissionsResponse_Answer{{Permissions: r.permissions}}}, nil
}

// statisticsWorld is a quiz of three letters whose attempts are counted.
type statisticsWorld struct {
	*rekeyWorld

	statistics assessmentpb.StatisticsServiceClient
	access     *reader
}

func newStatisticsWorld(t testing.TB, settings *assessmentpb.QuizSettings) *statisticsWorld {
	t.Helper()
	w := &statisticsWorld{rekeyWorld: newRekeyWorld(t, settings), access: &reader{permissions: []string{"course.view", "question.read", "submission.read"}}}
	w.statistics = assessmentpb.NewStatisticsServiceClient(w.harness.As("edge"))
	w.service.access = w.access
	return w
}

func (w *statisticsWorld) get(attempts string) *assessmentpb.QuizStatistics {
	w.t.Helper()
	s, err := w.statistics.GetQuizStatistics(w.as(w.teacher), &assessmentpb.GetQuizStatisticsRequest{CourseId: w.quiz.course, ItemId: w.quiz.item, Attempts: attempts})
	if err != nil {
		w.t.Fatalf("GetQuizStatistics: %v", err)
	}
	return s
}

func (w *statisticsWorld) of(questionID string) *assessmentpb.QuestionStatistics {
	w.t.Helper()
	q, err := w.statistics.GetQuestionStatistics(w.as(w.teacher), &assessmentpb.GetQuestionStatisticsRequest{CourseId: w.quiz.course, ItemId: w.quiz.item, QuestionId: questionID, Version: 1})
	if err != nil {
		w.t.Fatalf("GetQuestionStatistics: %v", err)
	}
	return q
}

// TestStatistics holds the figures of six attempts to those calculated by hand. A third
// is 0.333333 as it is stored.
//
//	      q1  q2  q3   total
//	aaa   1   1   1    3
//	aac   1   1   0    2
//	aac   1   1   0    2
//	acc   1   0   0    1
//	cac   0   1   0    1
//	ccc   0   0   0    0
//
// Of the totals: mean 9/6 = 1.5; sum of squares 9 + 4 + 4 + 1 + 1 = 19, variance
// (19 - 6 × 2.25) / 5 = 1.1, deviation √1.1 = 1.048809; the middle ones are 1 and 2. Third
// moment about the mean (1.5³ + 2 × 0.5³ - 2 × 0.5³ - 1.5³) / 6 = 0. Fourth (2 × 5.0625 +
// 4 × 0.0625) / 6 = 1.729167, second 5.5 / 6 = 0.916667: k4 = 36 (7 × 1.729167 - 15 ×
// 0.840278) / (5 × 4 × 3) = 0.6 × (12.104167 - 12.604167) = -0.3, over 1.1² = -0.247934.
//
// Of q1 and q2 each: mean 4/6, variance (4 - 16/6) / 5 = 0.266667, deviation 0.516398; of q3
// mean 1/6, variance (1 - 1/6) / 5 = 0.166667. Alpha: 3/2 × (1 - 0.7 / 1.1) = 0.545455; the
// error ratio √0.454545 = 0.674200, the standard error 0.674200 × 1.048809 = 0.707107.
//
// q1 with its rest (2, 1, 1, 0, 1, 0; sum 5, squares 7): n Σxr - Σx Σr = 6 × 4 - 4 × 5 = 4;
// n Σx² - (Σx)² = 24 - 16 = 8; n Σr² - (Σr)² = 42 - 25 = 17: 4 / √136 = 0.342997. q3 with
// its rest (2, 2, 2, 1, 1, 0; sum 8, squares 14): 6 × 2 - 8 = 4; 5; 84 - 64 = 20: 4 / √100
// = 0.4. c at q1 is all that is not a: -0.342997.
//
// Covariances with the total: q1 (6 × 8 - 4 × 9) / 30 = 0.4, q2 the same, q3 (6 × 3 - 9) /
// 30 = 0.3. Roots 0.632456, 0.632456, 0.547723, their sum 1.812634: weights 0.348915,
// 0.348915, 0.302169.
func TestStatistics(t *testing.T) {
	t.Parallel()
	w := newStatisticsWorld(t, &assessmentpb.QuizSettings{})
	for _, answers := range []string{"aaa", "aac", "aac", "acc", "cac", "ccc"} {
		w.taken(answers)
	}
	w.scored()
	s := w.get("")
	expect(t, "the quiz", fmt.Sprintln(s.GetCount(), s.GetMean(), s.GetMaxPoints(), s.GetFacility(), s.GetMedian(), s.GetStandardDeviation(), s.GetSkewness(), s.GetKurtosis(),
		s.GetAlpha(), s.GetErrorRatio(), s.GetStandardError(), s.GetNoAlpha()), "6 1.5 3 0.5 1.5 1.048809 0 -0.247934 0.545455 0.6742 0.707107 \n")
	var percents []string
	for _, p := range s.GetPercents() {
		percents = append(percents, fmt.Sprint(p.GetPercent(), ":", p.GetCount()))
	}
	expect(t, "percents", strings.Join(percents, " "), "0:1 33:2 66:2 100:1")
	got := map[string]int{}
	for _, p := range s.GetPlaces() {
		f := p.GetFigures()
		got[fmt.Sprintln(f.GetCount(), f.GetMean(), f.GetMaxPoints(), f.GetFacility(), f.GetStandardDeviation(), f.GetRelativeDeviation(), f.GetDiscrimination(), p.GetIntendedWeight(), p.GetEffectiveWeight())]++
	}
	if diff := cmp.Diff(map[string]int{
		"6 0.666667 1 0.666667 0.516398 0.516398 0.342997 0.333333 0.348915\n": 2,
		"6 0.166667 1 0.166667 0.408248 0.408248 0.4 0.333333 0.302169\n":      1,
	}, got); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
	q := w.of(w.question)
	var answers []string
	for _, a := range q.GetAnswers() {
		answers = append(answers, fmt.Sprint(a.GetAnswer(), " ", a.GetCount(), " ", a.GetShare(), " ", a.GetDiscrimination()))
	}
	expect(t, "answers", strings.Join(answers, ", "), "a 4 0.666667 0.342997, c 2 0.333333 -0.342997")
	// (1 + 1/3 + 0) / 3
	expect(t, "guessing", q.GetFigures().GetRandomGuess(), "0.444444")
	expect(t, "what it is", fmt.Sprint(q.GetKind(), q.GetTitle(), q.GetDrawn()), "choiceLetter 1false")

	list, err := w.statistics.ListQuestionStatistics(w.as(w.teacher), &assessmentpb.ListQuestionStatisticsRequest{CourseId: w.quiz.course, ItemId: w.quiz.item, PageSize: 2})
	if err != nil || len(list.GetItems()) != 2 || list.GetNextCursor() == "" {
		t.Fatalf("questions: %v, %v", list, err)
	}
	list, err = w.statistics.ListQuestionStatistics(w.as(w.teacher), &assessmentpb.ListQuestionStatisticsRequest{CourseId: w.quiz.course, ItemId: w.quiz.item, PageSize: 2, Cursor: list.GetNextCursor()})
	if err != nil || len(list.GetItems()) != 1 || list.GetNextCursor() != "" {
		t.Errorf("questions: %v, %v", list, err)
	}
	expect(t, "another item", codeOf(w.statistics.GetQuizStatistics(w.as(w.teacher), &assessmentpb.GetQuizStatisticsRequest{CourseId: w.quiz.course, ItemId: id.New("activity")})), "quiz.not_found")
	expect(t, "another course", codeOf(w.statistics.GetQuizStatistics(w.as(w.teacher), &assessmentpb.GetQuizStatisticsRequest{CourseId: id.New("course"), ItemId: w.quiz.item})), "quiz.not_found")
	expect(t, "another question", codeOf(w.statistics.GetQuestionStatistics(w.as(w.teacher), &assessmentpb.GetQuestionStatisticsRequest{
		CourseId: w.quiz.course, ItemId: w.quiz.item, QuestionId: id.New("question"), Version: 1,
	})), "question.not_found")

	file := w.export("")
	if len(file) != 1+3+6 || !slices.Equal(file[0], append([]string{"\ufeffrow"}, statisticsColumns[1:]...)) || file[1][0] != "question" || file[2][0] != "answer" {
		t.Errorf("the file: %v", file)
	}
}

// export returns the lines of the file.
func (w *statisticsWorld) export(attempts string) [][]string {
	w.t.Helper()
	stream, err := w.statistics.ExportQuizStatistics(w.as(w.teacher), &assessmentpb.ExportQuizStatisticsRequest{CourseId: w.quiz.course, ItemId: w.quiz.item, Attempts: attempts})
	if err != nil {
		w.t.Fatal(err)
	}
	var text strings.Builder
	for {
		m, err := stream.Recv()
		if err != nil {
			break
		}
		text.Write(m.GetChunk())
	}
	lines, err := csv.NewReader(strings.NewReader(text.String())).ReadAll()
	if err != nil {
		w.t.Fatal(err)
	}
	return lines
}

// TestStatisticsOfFew tells nothing of few students to those who may not see them, counts
// neither staff who try the quiz nor who is excluded, and the attempts that are asked for.
func TestStatisticsOfFew(t *testing.T) {
	t.Parallel()
	w := newStatisticsWorld(t, &assessmentpb.QuizSettings{})
	if s := w.get(""); s.GetCount() != 0 || s.GetMean() != "" || s.GetNoAlpha() != "few" || s.GetWithheld() {
		t.Errorf("of nobody: %v", s)
	}
	ada, ben := w.taken("abb"), w.taken("aaa")
	w.scored()
	again := w.begun(ada.account)
	w.answered(again, "aab")
	third := w.begun(ada.account)
	w.answered(third, "ccc")
	w.scored()
	tried := w.taken("aaa")
	w.exec(`UPDATE attempt SET preview = true WHERE id = $1`, tried.attempt.GetId())
	w.scored()
	for attempts, want := range map[string]string{
		// Those of Ada are 1.666667, 2.333333 and 0, as they are stored; that of Ben is 3.
		"first": "2: 2.333334", "last": "2: 1.5", "highest": "2: 2.666666", "all": "4: 1.75",
	} {
		s := w.get(attempts)
		expect(t, attempts, fmt.Sprint(s.GetCount(), ": ", s.GetMean()), want)
	}
	w.access.permissions = []string{"course.view", "question.read"}
	if s := w.get("first"); !s.GetWithheld() || s.GetCount() != 2 || s.GetMean() != "" || s.GetMedian() != "" || len(s.GetPlaces()) != 0 || len(s.GetPercents()) != 0 {
		t.Errorf("of few: %v", s)
	}
	if q := w.of(w.question); !q.GetFigures().GetWithheld() || q.GetFigures().GetMean() != "" || len(q.GetAnswers()) != 0 {
		t.Errorf("of few: %v", q)
	}
	for _, line := range w.export("")[1:] {
		if line[0] != "question" || line[10] != "" || line[12] != "" {
			t.Errorf("of few: %v", line)
		}
	}
	w.access.permissions = append(w.access.permissions, "submission.read")

	exclude := func() {
		if _, err := w.statistics.ExcludeFromStatistics(w.as(w.teacher), &assessmentpb.ExcludeFromStatisticsRequest{CourseId: w.quiz.course, ItemId: w.quiz.item, AccountId: ada.account, Reason: "A test account"}); err != nil {
			t.Fatal(err)
		}
	}
	exclude()
	exclude()
	expect(t, "without Ada", fmt.Sprint(w.get("all").GetCount(), w.get("all").GetMean()), "13")
	list, err := w.statistics.ListStatisticsExclusions(w.as(w.teacher), &assessmentpb.ListStatisticsExclusionsRequest{CourseId: w.quiz.course, ItemId: w.quiz.item})
	if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetReason() != "A test account" {
		t.Errorf("excluded: %v, %v", list, err)
	}
	for range 2 {
		if _, err := w.statistics.IncludeInStatistics(w.as(w.teacher), &assessmentpb.IncludeInStatisticsRequest{CourseId: w.quiz.course, ItemId: w.quiz.item, AccountId: ada.account}); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, "with Ada", fmt.Sprint(w.get("all").GetCount(), w.get("all").GetMean()), "41.75")
	expect(t, "at no item", codeOf(w.statistics.ExcludeFromStatistics(w.as(w.teacher), &assessmentpb.ExcludeFromStatisticsRequest{CourseId: w.quiz.course, ItemId: id.New("activity"), AccountId: ben.account})), "quiz.not_found")
	w.checked()
}

// TestStatisticsFollow goes through random histories, of attempts, re-keys and their
// undoing, exclusions and attempts that are taken away: sums that follow are those made
// anew, to the last digit, and the figures are those of an implementation of its own.
func TestStatisticsFollow(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // a test
			w := newStatisticsWorld(t, &assessmentpb.QuizSettings{MaxPoints: []string{"", "10", "7"}[seed]})
			accounts := ids("account", 5)
			keys := []int32{w.version(rightIs("b")), w.version(rightIs("c"))}
			var applied []string
			for range 60 {
				account := accounts[random.IntN(len(accounts))]
				switch random.IntN(12) {
				case 0:
					k, err := w.tryPreview(keyed2(keys[random.IntN(2)]))
					if err == nil {
						w.worked()
						applied = append(applied, w.apply(k.GetId()).GetId())
					}
				case 1:
					k, err := w.tryPreview(func(r *assessmentpb.CreateRekeyRequest) {
						if r.Action = []string{"full", "drop", "points"}[random.IntN(3)]; r.Action == "points" {
							r.Points = []string{"0.7", "3"}[random.IntN(2)]
						}
					})
					if err == nil {
						w.worked()
						applied = append(applied, w.apply(k.GetId()).GetId())
					}
				case 2:
					if len(applied) > 0 {
						at := random.IntN(len(applied))
						w.undo(applied[at])
						applied = slices.Delete(applied, at, at+1)
					}
				case 3:
					if _, err := w.statistics.ExcludeFromStatistics(w.as(w.teacher), &assessmentpb.ExcludeFromStatisticsRequest{CourseId: w.quiz.course, ItemId: w.quiz.item, AccountId: account}); err != nil {
						t.Fatal(err)
					}
				case 4:
					if _, err := w.statistics.IncludeInStatistics(w.as(w.teacher), &assessmentpb.IncludeInStatisticsRequest{CourseId: w.quiz.course, ItemId: w.quiz.item, AccountId: account}); err != nil {
						t.Fatal(err)
					}
				case 5:
					w.takenAway(account)
				default:
					st := w.begun(account)
					answers := ""
					for range 3 {
						answers += string("abc-"[random.IntN(4)])
					}
					w.answered(st, answers)
					if random.IntN(3) > 0 {
						w.scored()
					}
				}
			}
			w.checked() // some are not scored yet
			w.scored()
			w.checked()
		})
	}
}

// takenAway has the last attempt of somebody count no more, as one that is annulled.
func (w *statisticsWorld) takenAway(account string) {
	w.t.Helper()
	if err := w.db.InTx(w.t.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		if _, err := tx.Exec(w.t.Context(), `
			UPDATE attempt SET state = 'abandoned', submitted_at = NULL WHERE id = (
				SELECT id FROM attempt WHERE quiz_id = $1 AND account_id = $2 AND state = 'graded' ORDER BY number DESC LIMIT 1)`, w.quiz.quiz, account); err != nil {
			return err
		}
		return w.service.countPeople(w.t.Context(), tx, w.quiz.quiz, w.quiz.item, []string{account}, nil)
	}); err != nil {
		w.t.Fatal(err)
	}
}

// figuresOf writes the sums of a quiz at an item, each row.
func (w *statisticsWorld) figuresOf() []string {
	w.t.Helper()
	rows, err := w.db.Query(w.t.Context(), `
		SELECT 'sum '||kind||' '||key||' '||version||' '||class||': '||concat_ws(' ', n, m, x, x2, x3, x4, t, t2, xt) FROM statistics_sum WHERE quiz_id = $1
		UNION ALL SELECT 'answer '||question_id||' '||version||' '||part||' '||answer||' '||class||': '||concat_ws(' ', n, rest) FROM statistics_answer WHERE quiz_id = $1
		UNION ALL SELECT 'score '||percent||' '||x||' '||class||': '||n FROM statistics_score WHERE quiz_id = $1
		ORDER BY 1`, w.quiz.quiz)
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// checked holds the sums to those that are made of nothing, and the figures to an
// implementation of its own that goes over the attempts.
func (w *statisticsWorld) checked() {
	w.t.Helper()
	before := w.figuresOf()
	w.exec(`DELETE FROM statistics_sum WHERE quiz_id = $1`, w.quiz.quiz)
	w.exec(`DELETE FROM statistics_answer WHERE quiz_id = $1`, w.quiz.quiz)
	w.exec(`DELETE FROM statistics_score WHERE quiz_id = $1`, w.quiz.quiz)
	w.exec(`DELETE FROM statistics_attempt WHERE quiz_id = $1`, w.quiz.quiz)
	if err := w.db.InTx(w.t.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		rows, err := tx.Query(w.t.Context(), `SELECT DISTINCT account_id FROM attempt WHERE quiz_id = $1`, w.quiz.quiz)
		if err != nil {
			return err
		}
		accounts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		return w.service.countPeople(w.t.Context(), tx, w.quiz.quiz, w.quiz.item, accounts, nil)
	}); err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(w.figuresOf(), before); diff != "" {
		w.t.Errorf("sums that follow differ from those made anew (-anew +followed):\n%s", diff)
	}
	for _, attempts := range []string{"first", "last", "highest", "all"} {
		if diff := cmp.Diff(w.naive(attempts), w.told(attempts)); diff != "" {
			w.t.Errorf("%s (-naive +told):\n%s", attempts, diff)
		}
	}
}

// told writes some figures as they are told.
func (w *statisticsWorld) told(attempts string) map[string]string {
	s := w.get(attempts)
	out := map[string]string{"": fmt.Sprintln(s.GetCount(), near4(s.GetMean()), near4(s.GetMedian()), near4(s.GetStandardDeviation()), near4(s.GetSkewness()), near4(s.GetKurtosis()), near4(s.GetAlpha()))}
	for _, p := range s.GetPlaces() {
		f := p.GetFigures()
		out[p.GetQuestionId()] = fmt.Sprintln(f.GetCount(), near4(f.GetFacility()), near4(f.GetStandardDeviation()), near4(f.GetDiscrimination()))
	}
	return out
}

// near4 writes a number with 4 places, as binary floats agree with.
func near4(text string) string {
	if text == "" {
		return "none"
	}
	var f float64
	if _, err := fmt.Sscan(text, &f); err != nil {
		return text
	}
	return four(f)
}

func four(f float64) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "none"
	}
	if math.Abs(f) < 0.00005 {
		f = 0
	}
	return fmt.Sprintf("%.3f", f)
}

// naive calculates the same from the attempts themselves, in two passes and binary floats.
func (w *statisticsWorld) naive(attempts string) map[string]string {
	w.t.Helper()
	rows, err := w.db.Query(w.t.Context(), `
		SELECT a.account_id, a.state = 'graded' AND a.scored_at IS NOT NULL AND NOT EXISTS (SELECT FROM statistics_exclusion e WHERE e.item_id = a.item_id AND e.account_id = a.account_id), a.points::float8,
			array_agg(x.question_id ORDER BY x.slot), array_agg(x.points::float8 ORDER BY x.slot), array_agg(x.max_points::float8 ORDER BY x.slot)
		FROM attempt a JOIN attempt_question x ON x.attempt_id = a.id
		WHERE a.quiz_id = $1 AND NOT a.preview AND a.state IN ('submitted', 'graded') AND a.scored_at IS NOT NULL GROUP BY a.id ORDER BY a.account_id, a.number`, w.quiz.quiz)
	if err != nil {
		w.t.Fatal(err)
	}
	type one struct {
		account   string
		graded    bool
		points    *float64
		questions []string
		got, most []*float64
	}
	people := map[string][]*one{}
	var o one
	if _, err := pgx.ForEachRow(rows, []any{&o.account, &o.graded, &o.points, &o.questions, &o.got, &o.most}, func() error {
		c := o
		people[o.account] = append(people[o.account], &c)
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	var chosen []*one
	for _, account := range slices.Sorted(maps.Keys(people)) {
		list := people[account]
		switch attempts {
		case "first":
			list = list[:1]
		case "last":
			list = list[len(list)-1:]
		case "highest":
			var best *one
			for _, a := range list {
				if a.graded && (best == nil || *a.points > *best.points) {
					best = a
				}
			}
			if list = nil; best != nil {
				list = []*one{best}
			}
		}
		for _, a := range list {
			if a.graded {
				chosen = append(chosen, a)
			}
		}
	}
	var totals, sums []float64
	items, rests, most := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
	for _, a := range chosen {
		totals = append(totals, *a.points)
		sum := 0.0
		for _, p := range a.got {
			if p != nil {
				sum += *p
			}
		}
		sums = append(sums, sum)
		for i, q := range a.questions {
			if *a.most[i] == 0 {
				continue
			}
			got := 0.0
			if a.got[i] != nil {
				got = *a.got[i]
			}
			items[q], rests[q], most[q] = append(items[q], got), append(rests[q], sum-got), append(most[q], *a.most[i])
		}
	}
	variance := func(list []float64) float64 { return covarianceOf(list, list) }
	n := float64(len(totals))
	m2, m3, m4 := centralMoment(totals, 2), centralMoment(totals, 3), centralMoment(totals, 4)
	k2, k3 := n/(n-1)*m2, n*n/((n-1)*(n-2))*m3
	k4 := n * n / ((n - 1) * (n - 2) * (n - 3)) * ((n+1)*m4 - 3*(n-1)*m2*m2)
	skewness, kurtosis := k3/math.Pow(k2, 1.5), k4/(k2*k2)
	if n < 3 || m2 < 1e-12 {
		skewness = math.NaN()
	}
	if n < 4 || m2 < 1e-12 {
		kurtosis = math.NaN()
	}
	spread, same := 0.0, true
	for _, list := range items {
		spread += variance(list)
		same = same && len(list) == len(totals)
	}
	k := float64(len(items))
	a := k / (k - 1) * (1 - spread/variance(sums))
	if !same || k < 2 || n < 2 || variance(sums) < 1e-12 {
		a = math.NaN()
	}
	sorted := slices.Sorted(slices.Values(totals))
	median := math.NaN()
	if len(sorted) > 0 {
		median = (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
	}
	out := map[string]string{"": fmt.Sprintln(len(totals), four(meanOf(totals)), four(median), four(math.Sqrt(variance(totals))), four(skewness), four(kurtosis), four(a))}
	for q, list := range items {
		r := covarianceOf(list, rests[q]) / math.Sqrt(variance(list)*variance(rests[q]))
		if variance(list) < 1e-12 || variance(rests[q]) < 1e-12 {
			r = math.NaN()
		}
		out[q] = fmt.Sprintln(len(list), four(meanOf(list)/meanOf(most[q])), four(math.Sqrt(variance(list))), four(r))
	}
	return out
}

func meanOf(list []float64) float64 {
	sum := 0.0
	for _, f := range list {
		sum += f
	}
	return sum / float64(len(list))
}

func centralMoment(list []float64, power float64) float64 {
	m, sum := meanOf(list), 0.0
	for _, f := range list {
		sum += math.Pow(f-m, power)
	}
	return sum / float64(len(list))
}

func covarianceOf(a, b []float64) float64 {
	ma, mb, sum := meanOf(a), meanOf(b), 0.0
	for i := range a {
		sum += (a[i] - ma) * (b[i] - mb)
	}
	return sum / float64(len(a)-1)
}
