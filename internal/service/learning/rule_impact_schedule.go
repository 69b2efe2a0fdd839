package learning

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// impactBatch is how many learners are looked at together.
const impactBatch = 2_000

// step is an item on the way to another, with the schedule it has there.
type step struct {
	itemID   string
	schedule *releasepb.Schedule
}

// rescheduling is that some items come under other schedules, all of them under the
// same: so each learner loses all of them or none.
type rescheduling struct {
	item    *versionItem
	was, is []step // ways to item
	rules   int    // place among the rules that are asked of, -1 for none
	items   []string
	impacts impact
}

// rescheduled measures who can't work on items any more that are open to them now,
// because they are not available yet or no more, and adds them to touched. Effective
// moments are made of the schedules there would be and of overrides, for some learners
// at a time, in a few statements whatever the items.
func (s *Service) rescheduled(ctx context.Context, courseID string, asked []*learningpb.ItemSchedules, touched map[string]bool) ([]impact, error) {
	if len(asked) == 0 {
		return nil, nil
	}
	versions, err := s.versionsOf(ctx, s.db, courseID)
	if err != nil || versions == nil {
		return nil, err
	}
	v := versions[0]
	rows, err := s.db.Query(ctx, `SELECT DISTINCT item_id FROM deadline_override WHERE course_id = $1`, courseID)
	if err != nil {
		return nil, fmt.Errorf("measure schedules: %w", err)
	}
	overridden, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("measure schedules: %w", err)
	}
	list, rules, err := reschedulings(v, asked, setOf(overridden))
	if err != nil || len(list) == 0 {
		return nil, err
	}
	at := s.now()
	for after := ""; ; {
		rows, err := s.db.Query(ctx, `
			SELECT l.account_id FROM learner l WHERE `+touchable+` AND l.account_id > $2 ORDER BY l.account_id LIMIT $3`, courseID, after, impactBatch)
		if err != nil {
			return nil, fmt.Errorf("measure schedules: %w", err)
		}
		accounts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, fmt.Errorf("measure schedules: %w", err)
		}
		if len(accounts) > 0 {
			if err := s.reschedule(ctx, courseID, v, accounts, list, rules, at, touched); err != nil {
				return nil, err
			}
			after = accounts[len(accounts)-1]
		}
		if len(accounts) < impactBatch {
			break
		}
	}
	var out []impact
	for _, c := range list {
		if c.impacts.learners > 0 {
			for _, itemID := range c.items {
				out = append(out, impact{itemID, "rescheduled", c.impacts.learners, c.impacts.accounts})
			}
		}
	}
	return out, nil
}

// reschedulings puts items together that are on the same way under the same rules, and
// have neither a schedule nor an override of their own, before and after. It returns
// also the different rules.
func reschedulings(v *version, asked []*learningpb.ItemSchedules, overridden map[string]bool) ([]*rescheduling, [][]*releasepb.Rule, error) {
	var out []*rescheduling
	var rules [][]*releasepb.Rule
	placeOf, byKey := map[string]int{}, map[string]*rescheduling{}
	for _, one := range asked {
		it := v.byID[one.GetItemId()]
		if it == nil {
			continue
		}
		c := &rescheduling{item: it, rules: -1}
		for _, itemID := range it.path {
			c.was = append(c.was, step{itemID, v.byID[itemID].GetSchedule()})
		}
		for _, own := range one.GetWay() {
			c.is = append(c.is, step{own.GetItemId(), own.GetSchedule()})
		}
		if list := v.rules(it); len(list) > 0 {
			var key strings.Builder
			for _, r := range list {
				text, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
				if err != nil {
					return nil, nil, err
				}
				fmt.Fprintf(&key, "%d:%s", len(text), text)
			}
			place, ok := placeOf[key.String()]
			if !ok {
				place, rules = len(rules), append(rules, list)
				placeOf[key.String()] = place
			}
			c.rules = place
		}
		if last := c.is[len(c.is)-1]; it.GetSchedule() == nil && last.schedule == nil && !overridden[it.GetId()] {
			var ids []string
			for _, way := range [][]step{c.was[:len(c.was)-1], c.is[:len(c.is)-1]} {
				for _, st := range way {
					ids = append(ids, st.itemID)
				}
				ids = append(ids, "|")
			}
			key := fmt.Sprint(c.rules, ids)
			if like := byKey[key]; like != nil {
				like.items = append(like.items, it.GetId())
				continue
			}
			byKey[key] = c
		}
		c.items = []string{it.GetId()}
		out = append(out, c)
	}
	return out, rules, nil
}

// reschedule adds what some learners lose.
func (s *Service) reschedule(ctx context.Context, courseID string, v *version, accounts []string, list []*rescheduling, rules [][]*releasepb.Rule, at time.Time, touched map[string]bool) error {
	people, err := s.timings(ctx, s.db, courseID, accounts)
	if err != nil {
		return err
	}
	var items []string
	for _, c := range list {
		for _, st := range slices.Concat(c.was, c.is) {
			items = append(items, st.itemID)
		}
	}
	slices.Sort(items)
	overrides, err := readOverrides(ctx, s.db, courseID, targetsOf(people), slices.Compact(items))
	if err != nil {
		return err
	}
	lost := make([][]string, len(list)) // accounts
	var asked []string
	for _, t := range people {
		if t.version != v {
			continue // of a cohort that is pinned since, or published anew
		}
		loses := false
		for i, c := range list {
			if t.openBy(c.was, overrides, at) && !t.openBy(c.is, overrides, at) {
				lost[i], loses = append(lost[i], t.accountID), true
			}
		}
		if loses {
			asked = append(asked, t.accountID)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	open, err := s.openByRules(ctx, courseID, v, asked, rules, at)
	if err != nil {
		return err
	}
	for i, c := range list {
		for _, account := range lost[i] {
			if c.rules >= 0 && !open[account][c.rules] {
				continue
			}
			touched[account] = true
			if c.impacts.learners++; len(c.impacts.accounts) < maxNamed {
				c.impacts.accounts = append(c.impacts.accounts, account)
			}
		}
	}
	return nil
}

// openBy reports whether schedules and overrides have an item open at a moment: it and
// all that it is in are available, and it can be handed in.
func (t *timing) openBy(way []step, overrides map[string]targets, at time.Time) bool {
	for i, st := range way {
		d, ok := t.deadlineOf(st.itemID, st.schedule, overrides[st.itemID])
		if !ok {
			continue
		}
		if from := d.availableFrom.at; from != nil && from.After(at) {
			return false
		}
		if until := d.until.at; i == len(way)-1 && until != nil && !until.After(at) {
			return false
		}
	}
	return true
}

// openByRules returns for some learners which of some rules hold now, at most
// maxStatement of them in one statement.
func (s *Service) openByRules(ctx context.Context, courseID string, v *version, accounts []string, rules [][]*releasepb.Rule, at time.Time) (map[string][]bool, error) {
	out := make(map[string][]bool, len(accounts))
	for batch := range slices.Chunk(rules, maxStatement) {
		b := newRuleSQL(at, s.known(at), courseID, accounts)
		flags := make([]string, len(batch))
		for i, list := range batch {
			flags[i] = "coalesce(" + b.all(v, list) + ", false)"
		}
		rows, err := s.db.Query(ctx, `
			SELECT l.account_id, ARRAY[`+strings.Join(flags, ", ")+`] FROM learner l WHERE l.course_id = $1 AND l.account_id = ANY ($2)`, b.args...)
		if err != nil {
			return nil, fmt.Errorf("measure schedules: %w", err)
		}
		for _, account := range accounts {
			out[account] = append(out[account], make([]bool, len(batch))...)
		}
		var account string
		var holds []bool
		if _, err := pgx.ForEachRow(rows, []any{&account, &holds}, func() error {
			copy(out[account][len(out[account])-len(batch):], holds)
			return nil
		}); err != nil {
			return nil, fmt.Errorf("measure schedules: %w", err)
		}
	}
	return out, nil
}
