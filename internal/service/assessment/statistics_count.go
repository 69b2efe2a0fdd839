package assessment

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/pg"
)

// Classes of attempts, added up: sums are kept by class, so that an attempt is in one
// row of them whichever attempts are asked for.
const (
	classFirst   = 1
	classLast    = 2
	classHighest = 4
	classCounts  = 8
)

// contribution is what an attempt adds to sums. Points are in millionths, as they are
// stored, so that sums of them and of their products are exact.
type contribution struct {
	X     int64         `json:"x"` // what it counts
	M     int64         `json:"m"` // what it counts at most
	Items []contributed `json:"i"`
}

// contributed is what a question of an attempt adds.
type contributed struct {
	Question string      `json:"q"`
	Version  int32       `json:"v"`
	Pool     string      `json:"p,omitempty"`
	X        int64       `json:"x"`
	M        int64       `json:"m"`
	Answers  [][2]string `json:"a,omitempty"` // part and answer
}

// millionths returns a number rounded as it is stored.
func millionths(n exact.Number) int64 {
	whole := n.Round(6, exact.HalfEven).Mul(exact.Int(1_000_000)).String()
	out, err := strconv.ParseInt(whole, 10, 64)
	if err != nil { // no quiz has so many points
		return 0
	}
	return out
}

// contributionOf returns what an attempt adds that has all its marks. Questions that are
// worth nothing add nothing.
func contributionOf(a *attempt, version *quizVersion, r *result) (*contribution, error) {
	most, err := exact.Parse(a.MaxPoints)
	if err != nil {
		return nil, fmt.Errorf("points of %s: %w", a.ID, err)
	}
	total, err := exact.Parse(r.total)
	if err != nil {
		return nil, fmt.Errorf("points of %s: %w", a.ID, err)
	}
	c := &contribution{X: millionths(total), M: millionths(most)}
	for i := range r.questions {
		q := &r.questions[i]
		if q.rules.MaxPoints.Sign() <= 0 {
			continue
		}
		one := contributed{Question: q.shown.id, Version: q.shown.version, Pool: version.pools[q.shown.id], X: millionths(q.points()), M: millionths(q.rules.MaxPoints)}
		var done *folded
		if done = q.done; done == nil {
			done = &folded{}
		}
		for _, resp := range q.in.Responses(done.answer) {
			one.Answers = append(one.Answers, [2]string{resp.Part, resp.Answer})
		}
		c.Items = append(c.Items, one)
	}
	return c, nil
}

// sumKey names a row of statistics_sum.
type sumKey struct {
	kind    string
	key     string
	version int32
	class   int16
}

func (k sumKey) compare(o sumKey) int {
	if c := strings.Compare(k.kind, o.kind); c != 0 {
		return c
	}
	if c := strings.Compare(k.key, o.key); c != 0 {
		return c
	}
	if k.version != o.version {
		return int(k.version - o.version)
	}
	return int(k.class - o.class)
}

// Columns of statistics_sum.
const (
	sumM = iota
	sumX
	sumX2
	sumX3
	sumX4
	sumT
	sumT2
	sumXT
	sumColumns
)

// sums is a row of statistics_sum, or what is added to it.
type sums struct {
	n int64
	v [sumColumns]big.Int
}

// add adds a product of powers, signed.
func (s *sums) add(column int, sign int64, factors ...int64) {
	product := big.NewInt(sign)
	for _, f := range factors {
		product.Mul(product, big.NewInt(f))
	}
	s.v[column].Add(&s.v[column], product)
}

// plus adds a row.
func (s *sums) plus(o *sums) {
	s.n += o.n
	for i := range s.v {
		s.v[i].Add(&s.v[i], &o.v[i])
	}
}

func (s *sums) zero() bool {
	for i := range s.v {
		if s.v[i].Sign() != 0 {
			return false
		}
	}
	return s.n == 0
}

type answerKey struct {
	question string
	version  int32
	part     string
	answer   string
	class    int16
}

type scoreKey struct {
	percent int32
	x       int64
	class   int16
}

type answerSums struct {
	n    int64
	rest big.Int
}

// delta is what changes of sums together.
type delta struct {
	sums    map[sumKey]*sums
	answers map[answerKey]*answerSums
	scores  map[scoreKey]int64
	less    bool // whether something is taken out
}

func newDelta() *delta {
	return &delta{sums: map[sumKey]*sums{}, answers: map[answerKey]*answerSums{}, scores: map[scoreKey]int64{}}
}

// at returns the row of a key.
func (d *delta) at(k sumKey) *sums {
	s := d.sums[k]
	if s == nil {
		s = &sums{}
		d.sums[k] = s
	}
	return s
}

// percentOf returns how many percent points are, rounded down, 0 to 100.
func percentOf(x, m int64) int32 {
	if m <= 0 || x <= 0 {
		return 0
	}
	var p big.Int
	p.Div(p.Mul(big.NewInt(x), big.NewInt(100)), big.NewInt(m))
	return int32(min(p.Int64(), 100)) //nolint:gosec // at most 100
}

// add puts what an attempt adds in, or takes it out where the sign is -1.
func (d *delta) add(c *contribution, class int16, sign int64) {
	d.less = d.less || sign < 0
	var t int64
	pools := map[string]*contributed{}
	for i := range c.Items {
		it := &c.Items[i]
		t += it.X
		if it.Pool != "" {
			p := pools[it.Pool]
			if p == nil {
				p = &contributed{}
				pools[it.Pool] = p
			}
			p.X, p.M = p.X+it.X, p.M+it.M
		}
	}
	item := func(k sumKey, x, m int64) {
		s := d.at(k)
		s.n += sign
		s.add(sumM, sign, m)
		s.add(sumX, sign, x)
		s.add(sumX2, sign, x, x)
		s.add(sumT, sign, t)
		s.add(sumT2, sign, t, t)
		s.add(sumXT, sign, x, t)
	}
	whole := sumKey{"quiz", "", 0, class}
	item(whole, c.X, c.M)
	d.at(whole).add(sumX3, sign, c.X, c.X, c.X)
	d.at(whole).add(sumX4, sign, c.X, c.X, c.X, c.X)
	percent := percentOf(c.X, c.M)
	d.at(sumKey{"percent", strconv.Itoa(int(percent)), 0, class}).n += sign
	d.scores[scoreKey{percent, c.X, class}] += sign
	for name, p := range pools {
		item(sumKey{"pool", name, 0, class}, p.X, p.M)
	}
	for i := range c.Items {
		it := &c.Items[i]
		kind := "question"
		if it.Pool != "" {
			kind = "drawn"
		}
		item(sumKey{kind, it.Question, it.Version, class}, it.X, it.M)
		for _, a := range it.Answers {
			k := answerKey{it.Question, it.Version, a[0], a[1], class}
			s := d.answers[k]
			if s == nil {
				s = &answerSums{}
				d.answers[k] = s
			}
			s.n += sign
			s.rest.Add(&s.rest, big.NewInt(sign*(t-it.X)))
		}
	}
}

// countAttempts has statistics follow attempts that were scored, in the transaction that
// scored them.
func (s *Service) countAttempts(ctx context.Context, tx *pg.Tx, list []*attempt, results map[string]*result) error {
	type place struct{ quiz, item string }
	accounts := map[place][]string{}
	fresh := map[place]map[string]*contribution{}
	var order []place
	for _, a := range list {
		if a.Preview {
			continue
		}
		p := place{a.QuizID, a.ItemID}
		if accounts[p] == nil {
			order, fresh[p] = append(order, p), map[string]*contribution{}
		}
		accounts[p] = append(accounts[p], a.AccountID)
		if r := results[a.ID]; r.state() == stateGraded {
			version, err := s.quizVersion(ctx, tx, a.QuizID, a.QuizVersion)
			if err != nil {
				return err
			}
			if fresh[p][a.ID], err = contributionOf(a, version, r); err != nil {
				return err
			}
		}
	}
	// Who counts at several locks them in one order.
	slices.SortFunc(order, func(a, b place) int { return strings.Compare(a.quiz+" "+a.item, b.quiz+" "+b.item) })
	for _, p := range order {
		if err := s.countPeople(ctx, tx, p.quiz, p.item, accounts[p], fresh[p]); err != nil {
			return err
		}
	}
	return nil
}

// countedAttempt is an attempt as it is, and as it is in the sums.
type countedAttempt struct {
	AccountID string
	ID        string
	Graded    bool
	Points    *string
	Excluded  bool
	Class     int16
	Body      []byte

	is      int16
	isBody  []byte
	highest *exact.Number
}

// countPeople has the sums of a quiz at an item follow what there is of some accounts. Of
// attempts that were just scored it is told what they add; of all others that stays. It is
// the one place that writes sums. Call it too where attempts are no more, or count no more.
func (s *Service) countPeople(ctx context.Context, tx *pg.Tx, quizID, itemID string, accounts []string, fresh map[string]*contribution) error {
	if _, err := tx.Exec(ctx, `
		INSERT INTO statistics (quiz_id, item_id, changed_at) VALUES ($1, $2, $3)
		ON CONFLICT ON CONSTRAINT statistics_pkey DO UPDATE SET changed_at = EXCLUDED.changed_at`, quizID, itemID, s.time()); err != nil {
		return fmt.Errorf("lock statistics: %w", err)
	}
	rows, err := tx.Query(ctx, `
		SELECT a.account_id, a.id, a.state = 'graded' AS graded, a.points::text AS points,
			EXISTS (SELECT FROM statistics_exclusion e WHERE e.item_id = a.item_id AND e.account_id = a.account_id) AS excluded, coalesce(c.class, 0) AS class, c.body
		FROM attempt a LEFT JOIN statistics_attempt c ON c.attempt_id = a.id
		WHERE a.item_id = $2 AND a.quiz_id = $1 AND a.account_id = ANY ($3) AND NOT a.preview AND a.state IN ('submitted', 'graded') AND a.scored_at IS NOT NULL
		ORDER BY a.account_id, a.number`, quizID, itemID, accounts)
	if err != nil {
		return fmt.Errorf("attempts to count: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[countedAttempt])
	if err != nil {
		return fmt.Errorf("attempts to count: %w", err)
	}
	gone, err := s.goneOf(ctx, tx, quizID, itemID, accounts)
	if err != nil {
		return err
	}
	if err := classify(list); err != nil {
		return err
	}
	if err := s.bodies(ctx, tx, list, fresh); err != nil {
		return err
	}
	return storeCounted(ctx, tx, quizID, itemID, append(list, gone...))
}

// goneOf returns what is in the sums of attempts that are not scored any more, or that
// there are no more.
func (s *Service) goneOf(ctx context.Context, tx *pg.Tx, quizID, itemID string, accounts []string) ([]*countedAttempt, error) {
	rows, err := tx.Query(ctx, `
		SELECT c.account_id, c.attempt_id AS id, false AS graded, NULL::text AS points, false AS excluded, c.class, c.body FROM statistics_attempt c
		WHERE c.quiz_id = $1 AND c.item_id = $2 AND c.account_id = ANY ($3)
			AND NOT EXISTS (SELECT FROM attempt a WHERE a.id = c.attempt_id AND NOT a.preview AND a.state IN ('submitted', 'graded') AND a.scored_at IS NOT NULL)`, quizID, itemID, accounts)
	if err != nil {
		return nil, fmt.Errorf("attempts to count no more: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[countedAttempt])
	if err != nil {
		return nil, fmt.Errorf("attempts to count no more: %w", err)
	}
	return list, nil
}

// classify says in which class each attempt is, of a list by account and number. The
// first and the last are of those that are scored, and count once they have all marks; the highest
// is the earliest of those that have most points.
func classify(list []*countedAttempt) error {
	for from := 0; from < len(list); {
		to := from
		for to < len(list) && list[to].AccountID == list[from].AccountID {
			to++
		}
		var best *countedAttempt
		for _, a := range list[from:to] {
			if !a.Graded || a.Excluded || a.Points == nil {
				continue
			}
			a.is = classCounts
			n, err := exact.Parse(*a.Points)
			if err != nil {
				return fmt.Errorf("points of %s: %w", a.ID, err)
			}
			if a.highest = &n; best == nil || n.Cmp(*best.highest) > 0 {
				best = a
			}
		}
		if best != nil {
			best.is |= classHighest
		}
		for at, class := range map[int]int16{from: classFirst, to - 1: classLast} {
			if list[at].is != 0 {
				list[at].is |= class
			}
		}
		if from == to-1 && list[from].is != 0 {
			list[from].is |= classFirst | classLast
		}
		from = to
	}
	return nil
}

// bodies finds what the attempts add that have all marks.
func (s *Service) bodies(ctx context.Context, tx *pg.Tx, list []*countedAttempt, fresh map[string]*contribution) error {
	var lacking []string
	for _, a := range list {
		switch c := fresh[a.ID]; {
		case !a.Graded:
		case c != nil:
			var err error
			if a.isBody, err = json.Marshal(c); err != nil {
				return fmt.Errorf("count %s: %w", a.ID, err)
			}
		case a.Body != nil:
			a.isBody = a.Body
		default:
			lacking = append(lacking, a.ID)
		}
	}
	for some := range slices.Chunk(lacking, scoreBatch) {
		attempts, err := readAttempts(ctx, tx, `id = ANY ($1)`, some)
		if err != nil {
			return err
		}
		of := make([]*attempt, 0, len(attempts))
		for _, a := range attempts {
			of = append(of, a)
		}
		results, err := s.rebuild(ctx, tx, of)
		if err != nil {
			return err
		}
		for _, one := range list {
			a := attempts[one.ID]
			if a == nil || !one.Graded {
				continue
			}
			version, err := s.quizVersion(ctx, tx, a.QuizID, a.QuizVersion)
			if err != nil {
				return err
			}
			c, err := contributionOf(a, version, results[a.ID])
			if err != nil {
				return err
			}
			if one.isBody, err = json.Marshal(c); err != nil {
				return fmt.Errorf("count %s: %w", a.ID, err)
			}
		}
	}
	return nil
}

// storeCounted takes out of the sums what attempts have added, and puts in what they add now,
// where that differs.
func storeCounted(ctx context.Context, tx *pg.Tx, quizID, itemID string, list []*countedAttempt) error {
	d := newDelta()
	var dropped, ids, accounts []string
	var classes []int16
	var bodies [][]byte
	for _, a := range list {
		if a.Class == a.is && bytes.Equal(a.Body, a.isBody) {
			continue
		}
		for _, one := range []struct {
			class int16
			body  []byte
			sign  int64
		}{{a.Class, a.Body, -1}, {a.is, a.isBody, 1}} {
			if one.class == 0 {
				continue
			}
			c := &contribution{}
			if err := json.Unmarshal(one.body, c); err != nil {
				return fmt.Errorf("count %s: %w", a.ID, err)
			}
			d.add(c, one.class, one.sign)
		}
		if a.isBody == nil {
			dropped = append(dropped, a.ID)
			continue
		}
		ids, accounts, classes, bodies = append(ids, a.ID), append(accounts, a.AccountID), append(classes, a.is), append(bodies, a.isBody)
	}
	if len(dropped) > 0 {
		if _, err := tx.Exec(ctx, `DELETE FROM statistics_attempt WHERE attempt_id = ANY ($1)`, dropped); err != nil {
			return fmt.Errorf("count no more: %w", err)
		}
	}
	if len(ids) > 0 {
		if _, err := tx.Exec(ctx, `
			INSERT INTO statistics_attempt (attempt_id, quiz_id, item_id, account_id, class, body)
			SELECT n.id, $1, $2, n.account, n.class, n.body FROM unnest($3::text[], $4::text[], $5::smallint[], $6::bytea[]) AS n (id, account, class, body)
			ON CONFLICT ON CONSTRAINT statistics_attempt_pkey DO UPDATE SET class = EXCLUDED.class, body = EXCLUDED.body`,
			quizID, itemID, ids, accounts, classes, bodies); err != nil {
			return fmt.Errorf("count attempts: %w", err)
		}
	}
	return d.store(ctx, tx, quizID, itemID)
}
