package assessment

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/stoa-lms/stoa/internal/pg"
)

// store adds to the sums of a quiz at an item, whose row of statistics is locked: in a
// few statements, for any number of attempts.
func (d *delta) store(ctx context.Context, tx *pg.Tx, quizID, itemID string) error {
	if err := d.storeSums(ctx, tx, quizID, itemID); err != nil {
		return err
	}
	if err := d.storeAnswers(ctx, tx, quizID, itemID); err != nil {
		return err
	}
	return d.storeScores(ctx, tx, quizID, itemID)
}

func (d *delta) storeSums(ctx context.Context, tx *pg.Tx, quizID, itemID string) error {
	var kinds, keys []string
	var versions []int32
	var classes []int16
	var counts []int64
	var columns [sumColumns][]string
	for _, k := range slices.SortedFunc(maps.Keys(d.sums), sumKey.compare) {
		s := d.sums[k]
		if s.zero() {
			continue
		}
		kinds, keys, versions, classes, counts = append(kinds, k.kind), append(keys, k.key), append(versions, k.version), append(classes, k.class), append(counts, s.n)
		for i := range columns {
			columns[i] = append(columns[i], s.v[i].String())
		}
	}
	if len(keys) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO statistics_sum AS s (quiz_id, item_id, kind, key, version, class, n, m, x, x2, x3, x4, t, t2, xt)
		SELECT $1, $2, d.kind, d.key, d.version, d.class, d.n, d.m::numeric, d.x::numeric, d.x2::numeric, d.x3::numeric, d.x4::numeric, d.t::numeric, d.t2::numeric, d.xt::numeric
		FROM unnest($3::text[], $4::text[], $5::int[], $6::smallint[], $7::bigint[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[])
			AS d (kind, key, version, class, n, m, x, x2, x3, x4, t, t2, xt)
		ON CONFLICT ON CONSTRAINT statistics_sum_pkey DO UPDATE SET n = s.n + EXCLUDED.n, m = s.m + EXCLUDED.m, x = s.x + EXCLUDED.x, x2 = s.x2 + EXCLUDED.x2,
			x3 = s.x3 + EXCLUDED.x3, x4 = s.x4 + EXCLUDED.x4, t = s.t + EXCLUDED.t, t2 = s.t2 + EXCLUDED.t2, xt = s.xt + EXCLUDED.xt`,
		quizID, itemID, kinds, keys, versions, classes, counts, columns[sumM], columns[sumX], columns[sumX2], columns[sumX3], columns[sumX4], columns[sumT], columns[sumT2], columns[sumXT]); err != nil {
		return fmt.Errorf("add to sums: %w", err)
	}
	if !d.less {
		return nil
	}
	if _, err := tx.Exec(ctx, `
		DELETE FROM statistics_sum s USING unnest($3::text[], $4::text[], $5::int[], $6::smallint[]) AS d (kind, key, version, class)
		WHERE s.quiz_id = $1 AND s.item_id = $2 AND s.kind = d.kind AND s.key = d.key AND s.version = d.version AND s.class = d.class AND s.n = 0`,
		quizID, itemID, kinds, keys, versions, classes); err != nil {
		return fmt.Errorf("end sums: %w", err)
	}
	return nil
}

func (d *delta) storeAnswers(ctx context.Context, tx *pg.Tx, quizID, itemID string) error {
	var questions, parts, answers, rests []string
	var versions []int32
	var classes []int16
	var counts []int64
	for k, s := range d.answers {
		if s.n == 0 && s.rest.Sign() == 0 {
			continue
		}
		questions, versions, parts, answers, classes = append(questions, k.question), append(versions, k.version), append(parts, k.part), append(answers, k.answer), append(classes, k.class)
		counts, rests = append(counts, s.n), append(rests, s.rest.String())
	}
	if len(questions) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO statistics_answer AS s (quiz_id, item_id, question_id, version, part, answer, class, n, rest)
		SELECT $1, $2, d.question_id, d.version, d.part, d.answer, d.class, d.n, d.rest::numeric
		FROM unnest($3::text[], $4::int[], $5::text[], $6::text[], $7::smallint[], $8::bigint[], $9::text[]) AS d (question_id, version, part, answer, class, n, rest)
		ON CONFLICT ON CONSTRAINT statistics_answer_pkey DO UPDATE SET n = s.n + EXCLUDED.n, rest = s.rest + EXCLUDED.rest`,
		quizID, itemID, questions, versions, parts, answers, classes, counts, rests); err != nil {
		return fmt.Errorf("add to answers: %w", err)
	}
	if !d.less {
		return nil
	}
	if _, err := tx.Exec(ctx, `
		DELETE FROM statistics_answer s USING unnest($3::text[], $4::int[], $5::text[], $6::text[], $7::smallint[]) AS d (question_id, version, part, answer, class)
		WHERE s.quiz_id = $1 AND s.item_id = $2 AND s.question_id = d.question_id AND s.version = d.version AND s.part = d.part AND s.answer = d.answer AND s.class = d.class AND s.n = 0`,
		quizID, itemID, questions, versions, parts, answers, classes); err != nil {
		return fmt.Errorf("end answers: %w", err)
	}
	return nil
}

func (d *delta) storeScores(ctx context.Context, tx *pg.Tx, quizID, itemID string) error {
	var percents []int32
	var points []string
	var classes []int16
	var counts []int64
	for k, n := range d.scores {
		if n != 0 {
			percents, points, classes, counts = append(percents, k.percent), append(points, strconv.FormatInt(k.x, 10)), append(classes, k.class), append(counts, n)
		}
	}
	if len(percents) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO statistics_score AS s (quiz_id, item_id, percent, x, class, n)
		SELECT $1, $2, d.percent, d.x::numeric, d.class, d.n FROM unnest($3::int[], $4::text[], $5::smallint[], $6::bigint[]) AS d (percent, x, class, n)
		ON CONFLICT ON CONSTRAINT statistics_score_pkey DO UPDATE SET n = s.n + EXCLUDED.n`, quizID, itemID, percents, points, classes, counts); err != nil {
		return fmt.Errorf("add to scores: %w", err)
	}
	if !d.less {
		return nil
	}
	if _, err := tx.Exec(ctx, `
		DELETE FROM statistics_score s USING unnest($3::int[], $4::text[], $5::smallint[]) AS d (percent, x, class)
		WHERE s.quiz_id = $1 AND s.item_id = $2 AND s.percent = d.percent AND s.x = d.x::numeric AND s.class = d.class AND s.n = 0`, quizID, itemID, percents, points, classes); err != nil {
		return fmt.Errorf("end scores: %w", err)
	}
	return nil
}
