package assessment

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

const (
	// smallGroup is of how many attempts figures tell on none of them.
	smallGroup = 5
	// maxToldAnswers is how many answers are told of a question.
	maxToldAnswers = 500
)

// statisticsServer answers about statistics.
type statisticsServer struct {
	assessmentpb.UnimplementedStatisticsServiceServer

	service *Service
}

// measured names the sums of a quiz at an item, and which of them are asked for.
type measured struct {
	QuizID    string
	Version   int32
	ChangedAt *time.Time

	courseID string
	itemID   string
	attempts string
	classes  []int16
	seen     *bool // whether the caller may see what students answered; nil while nobody has asked
}

// statisticsOf finds the quiz of an item whose statistics are asked for.
func (s *Service) statisticsOf(ctx context.Context, courseID, itemID, quizID, attempts string) (*measured, error) {
	rows, err := s.db.Query(ctx, `
		SELECT z.id AS quiz_id, z.version, t.changed_at FROM quiz z LEFT JOIN statistics t ON t.quiz_id = z.id AND t.item_id = $2
		WHERE z.course_id = $1 AND z.version > 0 AND z.id = coalesce(nullif($3, ''), (SELECT ref FROM placement p WHERE p.course_id = $1 AND p.item_id = $2 AND p.kind = 'quiz'))
			AND (t.quiz_id IS NOT NULL OR EXISTS (SELECT FROM placement p WHERE p.course_id = $1 AND p.item_id = $2 AND p.ref = z.id))`, courseID, itemID, quizID)
	if err != nil {
		return nil, fmt.Errorf("find statistics: %w", err)
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[measured])
	if pg.NoRows(err) {
		return nil, ErrQuizNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("find statistics: %w", err)
	}
	c.courseID, c.itemID, c.attempts = courseID, itemID, orElse(attempts, "first")
	c.classes = classesOf(c.attempts)
	return c, nil
}

// classesOf returns the classes of attempts that are asked for.
func classesOf(attempts string) []int16 {
	bit := map[string]int16{"first": classFirst, "last": classLast, "highest": classHighest, "all": classCounts}[attempts]
	var out []int16
	for c := int16(classCounts); c < 2*classCounts; c++ {
		if c&bit != 0 {
			out = append(out, c)
		}
	}
	return out
}

// withheld reports whether figures of so many attempts are kept from the caller. Who may
// see what students answered is asked for where it matters alone.
func (s *Service) withheld(ctx context.Context, c *measured, n int64) (bool, error) {
	if n >= smallGroup || n == 0 {
		return false, nil
	}
	if c.seen == nil {
		err := s.may(ctx, c.courseID, "submission.read")
		switch code := fault.CodeOf(err); {
		case err == nil:
		case code == auth.ErrForbidden.Code, code == auth.ErrHidden.Code, code == auth.ErrScope.Code:
		default:
			return false, err
		}
		c.seen = new(err == nil)
	}
	return !*c.seen, nil
}

// summed is a row of sums, of the classes that are asked for together.
type summed struct {
	sums

	kind    string
	key     string
	version int32
}

const summedColumns = `kind, key, version, sum(n)::bigint, sum(m)::text, sum(x)::text, sum(x2)::text, sum(x3)::text, sum(x4)::text, sum(t)::text, sum(t2)::text, sum(xt)::text`

// readSums returns rows of sums, by their keys.
func readSums(ctx context.Context, q pg.Querier, c *measured, where string, args ...any) ([]*summed, error) {
	args = append([]any{c.QuizID, c.itemID, c.classes}, args...)
	rows, err := q.Query(ctx, `SELECT `+summedColumns+` FROM statistics_sum WHERE quiz_id = $1 AND item_id = $2 AND class = ANY ($3) AND `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read sums: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*summed, error) {
		one := &summed{}
		var text [sumColumns]string
		to := []any{&one.kind, &one.key, &one.version, &one.n}
		for i := range text {
			to = append(to, &text[i])
		}
		if err := row.Scan(to...); err != nil {
			return nil, err
		}
		for i, t := range text {
			if _, ok := one.v[i].SetString(t, 10); !ok {
				return nil, fmt.Errorf("sum %q of %s", t, one.key)
			}
		}
		return one, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read sums: %w", err)
	}
	return list, nil
}

// GetQuizStatistics implements [assessmentpb.StatisticsServiceServer].
func (h *statisticsServer) GetQuizStatistics(ctx context.Context, req *assessmentpb.GetQuizStatisticsRequest) (*assessmentpb.QuizStatistics, error) {
	s := h.service
	c, err := s.statisticsOf(ctx, req.GetCourseId(), req.GetItemId(), req.GetQuizId(), req.GetAttempts())
	if err != nil {
		return nil, err
	}
	list, err := readSums(ctx, s.db, c, `kind <> 'drawn' GROUP BY kind, key, version ORDER BY kind, key, version`)
	if err != nil {
		return nil, err
	}
	whole, places, percents := &sums{}, []*placeSums{}, []*assessmentpb.PercentCount{}
	for _, one := range list {
		switch {
		case one.kind == "quiz":
			whole = &one.sums
		case one.kind == "percent":
			n, err := strconv.ParseInt(one.key, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("percent of %s: %w", c.QuizID, err)
			}
			percents = append(percents, &assessmentpb.PercentCount{Percent: int32(n), Count: one.n})
		case len(places) > 0 && places[len(places)-1].kind == one.kind && places[len(places)-1].key == one.key:
			places[len(places)-1].plus(&one.sums) // another version of the question
		default:
			places = append(places, &placeSums{summed: one})
		}
	}
	out := &assessmentpb.QuizStatistics{QuizId: c.QuizID, ItemId: c.itemID, Attempts: c.attempts, Count: whole.n, ChangedAt: stampOf(c.ChangedAt)}
	if out.Withheld, err = s.withheld(ctx, c, whole.n); err != nil || out.Withheld {
		return out, err
	}
	slices.SortFunc(percents, func(a, b *assessmentpb.PercentCount) int { return int(a.GetPercent() - b.GetPercent()) })
	out.Percents = percents
	median, err := readMedian(ctx, s.db, c)
	if err != nil {
		return nil, err
	}
	out.Median = toldRat(inPoints(median))
	wholeFigures(out, whole, places)
	return out, s.placeFigures(ctx, c, out, places)
}

// placeSums is a question, all its versions together, or a pool.
type placeSums struct {
	*summed
}

// wholeFigures fills in what is told of a quiz.
func wholeFigures(out *assessmentpb.QuizStatistics, whole *sums, places []*placeSums) {
	skewness, kurtosis := whole.shape()
	deviation := whole.deviation()
	out.Mean, out.MaxPoints, out.Facility = toldRat(inPoints(whole.mean(sumX))), toldRat(inPoints(whole.mean(sumM))), toldRat(whole.facility())
	out.StandardDeviation, out.Skewness, out.Kurtosis = toldRat(inPoints(deviation)), toldRat(skewness), toldRat(kurtosis)
	list := make([]*sums, len(places))
	for i, p := range places {
		list[i] = &p.sums
	}
	a, why := alpha(whole, list)
	out.Alpha, out.NoAlpha = toldRat(a), why
	if a != nil {
		ratio := root(new(big.Rat).Sub(fraction(1, 1), a), 1)
		out.ErrorRatio = toldRat(ratio)
		out.StandardError = toldRat(inPoints(new(big.Rat).Mul(ratio, deviation)))
	}
}

// placeFigures fills in what is told of the places of a quiz.
func (s *Service) placeFigures(ctx context.Context, c *measured, out *assessmentpb.QuizStatistics, places []*placeSums) error {
	worth := new(big.Int)
	shares, spread := make([]*big.Rat, len(places)), new(big.Rat)
	for i, p := range places {
		worth.Add(worth, &p.v[sumM])
		if cov := p.covariance(); cov != nil && cov.Sign() >= 0 {
			shares[i] = root(cov, 1)
			spread.Add(spread, shares[i])
		}
	}
	categories, err := s.poolCategories(ctx, c)
	if err != nil {
		return err
	}
	for i, p := range places {
		one := &assessmentpb.PlaceStatistics{}
		if p.kind == "pool" {
			one.Pool, one.CategoryId = p.key, categories[p.key]
		} else {
			one.QuestionId = p.key
		}
		if one.Figures, err = s.figures(ctx, c, &p.sums); err != nil {
			return err
		}
		if worth.Sign() > 0 {
			one.IntendedWeight = toldRat(rat(&p.v[sumM], worth))
		}
		if !one.GetFigures().GetWithheld() && shares[i] != nil && spread.Sign() > 0 {
			one.EffectiveWeight = toldRat(new(big.Rat).Quo(shares[i], spread))
		}
		out.Places = append(out.Places, one)
	}
	return nil
}

// poolCategories returns from which category each pool of the version published last
// draws, where that is one.
func (s *Service) poolCategories(ctx context.Context, c *measured) (map[string]string, error) {
	version, err := s.quizVersion(ctx, s.db, c.QuizID, c.Version)
	if err != nil {
		return nil, err
	}
	draws := drawsOf(version.Settings)
	out := map[string]string{}
	for i, name := range poolNames(draws) {
		if was, ok := out[name]; ok && was != draws[i].GetCategoryId() {
			out[name] = ""
			continue
		}
		out[name] = draws[i].GetCategoryId()
	}
	return out, nil
}

// figures returns what is told of a question or a pool.
func (s *Service) figures(ctx context.Context, c *measured, of *sums) (*assessmentpb.ItemFigures, error) {
	out := &assessmentpb.ItemFigures{Count: of.n}
	var err error
	if out.Withheld, err = s.withheld(ctx, c, of.n); err != nil || out.Withheld {
		return out, err
	}
	deviation, most := of.deviation(), of.mean(sumM)
	out.Mean, out.MaxPoints, out.Facility = toldRat(inPoints(of.mean(sumX))), toldRat(inPoints(most)), toldRat(of.facility())
	out.StandardDeviation, out.Discrimination = toldRat(inPoints(deviation)), toldRat(of.discrimination())
	if deviation != nil && most.Sign() > 0 {
		out.RelativeDeviation = toldRat(new(big.Rat).Quo(deviation, most))
	}
	return out, nil
}

// readMedian returns the median of what attempts count, nil of none: the mean of the two
// in the middle. It goes by the counts of percents to those that have them, so that it
// reads no more for more attempts.
func readMedian(ctx context.Context, q pg.Querier, c *measured) (*big.Rat, error) {
	var low, high *string
	err := q.QueryRow(ctx, `
		WITH p AS (
			SELECT key::int AS percent, sum(n)::bigint AS n FROM statistics_sum WHERE quiz_id = $1 AND item_id = $2 AND kind = 'percent' AND class = ANY ($3) GROUP BY key
		), c AS (
			SELECT percent, n, (sum(n) OVER (ORDER BY percent))::bigint AS upto, (sum(n) OVER ())::bigint AS total FROM p
		), b AS (
			SELECT percent, upto - n AS below, (total + 1) / 2 AS lo, total / 2 + 1 AS hi FROM c WHERE upto >= (total + 1) / 2 AND upto - n < total / 2 + 1
		), s AS (
			SELECT s.percent, s.x, sum(s.n)::bigint AS n FROM statistics_score s
			WHERE s.quiz_id = $1 AND s.item_id = $2 AND s.class = ANY ($3) AND s.percent IN (SELECT percent FROM b) GROUP BY s.percent, s.x
		), o AS (
			SELECT s.x, b.lo, b.hi, b.below + sum(s.n) OVER (PARTITION BY s.percent ORDER BY s.x) AS upto FROM s JOIN b USING (percent)
		)
		SELECT (min(x) FILTER (WHERE upto >= lo))::text, (min(x) FILTER (WHERE upto >= hi))::text FROM o`, c.QuizID, c.itemID, c.classes).Scan(&low, &high)
	if err != nil {
		return nil, fmt.Errorf("read median: %w", err)
	}
	if low == nil || high == nil {
		return nil, nil
	}
	a, ok := new(big.Int).SetString(*low, 10)
	b, fine := new(big.Int).SetString(*high, 10)
	if !ok || !fine {
		return nil, fmt.Errorf("median of %s: %q, %q", c.QuizID, *low, *high)
	}
	return rat(a.Add(a, b), intOf(2)), nil
}

// ListQuestionStatistics implements [assessmentpb.StatisticsServiceServer].
func (h *statisticsServer) ListQuestionStatistics(ctx context.Context, req *assessmentpb.ListQuestionStatisticsRequest) (*assessmentpb.ListQuestionStatisticsResponse, error) {
	s := h.service
	c, err := s.statisticsOf(ctx, req.GetCourseId(), req.GetItemId(), req.GetQuizId(), req.GetAttempts())
	if err != nil {
		return nil, err
	}
	after, version := "", int64(0)
	if values, err := page.Values(req.GetCursor(), 2); err != nil {
		return nil, err
	} else if values != nil {
		after = values[0]
		if version, err = strconv.ParseInt(values[1], 10, 32); err != nil {
			return nil, page.ErrCursor
		}
	}
	size := page.Size(req.GetPageSize())
	list, err := s.questionFigures(ctx, c, after, int32(version), size+1)
	if err != nil {
		return nil, err
	}
	res := &assessmentpb.ListQuestionStatisticsResponse{Items: list}
	if len(list) > size {
		res.Items = list[:size]
		last := list[size-1]
		res.NextCursor = page.Cursor(last.GetQuestionId(), strconv.Itoa(int(last.GetVersion())))
	}
	return res, nil
}

// questionFigures returns the figures of versions of questions behind one, by question
// and version: in three statements for any number of them.
func (s *Service) questionFigures(ctx context.Context, c *measured, after string, version int32, limit int) ([]*assessmentpb.QuestionStatistics, error) {
	list, err := readSums(ctx, s.db, c, `kind IN ('question', 'drawn') AND (key, version) > ($4, $5) GROUP BY kind, key, version ORDER BY key, version, kind DESC LIMIT $6`,
		after, version, 2*limit)
	if err != nil {
		return nil, err
	}
	// Drawn in one version of the quiz and asked in another, it is one question.
	var questions []*summed
	drawn := map[*summed]bool{}
	for _, one := range list {
		if n := len(questions); n > 0 && questions[n-1].key == one.key && questions[n-1].version == one.version {
			questions[n-1].plus(&one.sums)
			continue
		}
		questions = append(questions, one)
		drawn[one] = one.kind == "drawn"
	}
	questions = questions[:min(limit, len(questions))]
	about, err := s.aboutQuestions(ctx, questions)
	if err != nil {
		return nil, err
	}
	out := make([]*assessmentpb.QuestionStatistics, len(questions))
	for i, one := range questions {
		a := about[questionKey{one.key, one.version}]
		out[i] = &assessmentpb.QuestionStatistics{QuestionId: one.key, Version: one.version, Title: a.title, Kind: a.kind, Drawn: drawn[one]}
		if out[i].Figures, err = s.figures(ctx, c, &one.sums); err != nil {
			return nil, err
		}
		out[i].Figures.RandomGuess = a.guess
	}
	return out, nil
}

type aboutQuestion struct{ title, kind, guess string }

// aboutQuestions returns what versions of questions are.
func (s *Service) aboutQuestions(ctx context.Context, list []*summed) (map[questionKey]aboutQuestion, error) {
	ids := column(list, func(q *summed) string { return q.key })
	versions := column(list, func(q *summed) int32 { return q.version })
	rows, err := s.db.Query(ctx, `
		SELECT v.question_id, v.version, v.title, v.kind FROM unnest($1::text[], $2::int[]) AS n (id, version) JOIN question_version v ON v.question_id = n.id AND v.version = n.version`, ids, versions)
	if err != nil {
		return nil, fmt.Errorf("read questions: %w", err)
	}
	out := map[questionKey]aboutQuestion{}
	var k questionKey
	var a aboutQuestion
	if _, err := pgx.ForEachRow(rows, []any{&k.id, &k.version, &a.title, &a.kind}, func() error {
		out[k] = a
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read questions: %w", err)
	}
	for k, a := range out {
		of, err := s.question(ctx, s.db, k, question.Version)
		if err != nil {
			return nil, err
		}
		if guess, ok := of.Guess(); ok {
			a.guess = decimal(guess.Text(6))
			out[k] = a
		}
	}
	return out, nil
}

// GetQuestionStatistics implements [assessmentpb.StatisticsServiceServer].
func (h *statisticsServer) GetQuestionStatistics(ctx context.Context, req *assessmentpb.GetQuestionStatisticsRequest) (*assessmentpb.QuestionStatistics, error) {
	s := h.service
	c, err := s.statisticsOf(ctx, req.GetCourseId(), req.GetItemId(), req.GetQuizId(), req.GetAttempts())
	if err != nil {
		return nil, err
	}
	list, err := s.questionFigures(ctx, c, req.GetQuestionId(), req.GetVersion()-1, 1)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 || list[0].GetQuestionId() != req.GetQuestionId() || list[0].GetVersion() != req.GetVersion() {
		return nil, ErrQuestionNotFound
	}
	return list[0], s.addAnswers(ctx, c, list)
}

// addAnswers adds how often each answer was given to figures of questions: in two
// statements for any number of them.
func (s *Service) addAnswers(ctx context.Context, c *measured, list []*assessmentpb.QuestionStatistics) error {
	of := map[questionKey]*assessmentpb.QuestionStatistics{}
	for _, q := range list {
		if !q.GetFigures().GetWithheld() {
			of[questionKey{q.GetQuestionId(), q.GetVersion()}] = q
		}
	}
	if len(of) == 0 {
		return nil
	}
	ids := column(list, (*assessmentpb.QuestionStatistics).GetQuestionId)
	wholes, err := readSums(ctx, s.db, c, `kind IN ('question', 'drawn') AND key = ANY ($4) GROUP BY kind, key, version`, ids)
	if err != nil {
		return err
	}
	all := map[questionKey]*sums{}
	for _, w := range wholes {
		k := questionKey{w.key, w.version}
		if all[k] == nil {
			all[k] = &sums{}
		}
		all[k].plus(&w.sums)
	}
	rows, err := s.db.Query(ctx, `
		SELECT question_id, version, part, answer, sum(n)::bigint, sum(rest)::text FROM statistics_answer
		WHERE quiz_id = $1 AND item_id = $2 AND class = ANY ($3) AND question_id = ANY ($4) GROUP BY question_id, version, part, answer
		ORDER BY question_id, version, part, sum(n) DESC, answer`, c.QuizID, c.itemID, c.classes, ids)
	if err != nil {
		return fmt.Errorf("read answers: %w", err)
	}
	var k questionKey
	var part, answer, text string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&k.id, &k.version, &part, &answer, &n, &text}, func() error {
		q, whole := of[k], all[k]
		if q == nil || whole == nil {
			return nil
		}
		if len(q.GetAnswers()) == maxToldAnswers {
			q.MoreAnswers = true
			return nil
		}
		rest, ok := new(big.Int).SetString(text, 10)
		if !ok {
			return fmt.Errorf("sum %q of %s", text, k.id)
		}
		one := &assessmentpb.AnswerStatistics{Part: part, Answer: answer, Count: n, Discrimination: toldRat(whole.chosen(n, rest))}
		if whole.n > 0 {
			one.Share = toldRat(fraction(n, whole.n))
		}
		q.Answers = append(q.Answers, one)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read answers: %w", err)
	}
	return nil
}
