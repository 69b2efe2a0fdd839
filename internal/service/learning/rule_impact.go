package learning

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// Bounds of what is told of an impact, and of one statement that measures it.
const (
	maxImpacts   = 100
	maxNamed     = 10
	maxStatement = 10
)

// impact is whom a publishing touches by one item.
type impact struct {
	itemID, change string
	learners       int32
	accounts       []string
}

// MeasureImpact implements learningpb.ItemServiceServer.
func (r *itemServer) MeasureImpact(ctx context.Context, req *learningpb.MeasureImpactRequest) (*learningpb.MeasureImpactResponse, error) {
	touched := map[string]bool{}
	removed, err := r.service.removed(ctx, req.GetCourseId(), req.GetRemovedIds(), touched)
	if err != nil {
		return nil, err
	}
	closed, err := r.service.closed(ctx, req.GetCourseId(), req.GetChanged(), touched)
	if err != nil {
		return nil, err
	}
	rescheduled, err := r.service.rescheduled(ctx, req.GetCourseId(), req.GetRescheduled(), touched)
	if err != nil {
		return nil, err
	}
	list := slices.Concat(removed, closed, rescheduled)
	slices.SortStableFunc(list, func(a, b impact) int { return cmp.Compare(b.learners, a.learners) })
	out := &learningpb.MeasureImpactResponse{Learners: int32(len(touched))} //nolint:gosec // people
	for _, one := range list[:min(len(list), maxImpacts)] {
		out.Items = append(out.Items, &learningpb.ItemImpact{ItemId: one.itemID, Change: one.change, Learners: one.learners, AccountIds: one.accounts})
	}
	return out, nil
}

// touchable holds for a learner l of the course $1 who sees the newest version.
const touchable = `l.course_id = $1 AND l.enrolled_at IS NOT NULL AND NOT l.ended AND l.pinned_version = 0`

// removed measures who has completed or begun items, and adds them to touched.
func (s *Service) removed(ctx context.Context, courseID string, itemIDs []string, touched map[string]bool) ([]impact, error) {
	if len(itemIDs) == 0 {
		return nil, nil
	}
	const begun = `
		WITH begun AS MATERIALIZED (
			SELECT u.item_id, l.account_id FROM learner l JOIN (
				SELECT lesson_id AS item_id, account_id FROM lesson_completion WHERE course_id = $1 AND lesson_id = ANY ($2)
				UNION SELECT resume_lesson_id, account_id FROM learner WHERE course_id = $1 AND resume_lesson_id = ANY ($2)
				UNION SELECT item_id, account_id FROM item_result WHERE course_id = $1 AND item_id = ANY ($2)
				UNION SELECT item_id, account_id FROM item_fact WHERE course_id = $1 AND item_id = ANY ($2) AND (viewed_at IS NOT NULL OR marked_at IS NOT NULL OR position_at IS NOT NULL)
			) AS u USING (account_id) WHERE ` + touchable + `)`
	rows, err := s.db.Query(ctx, begun+`
		SELECT item_id, count(*)::int, (array_agg(account_id ORDER BY account_id))[1:`+fmt.Sprint(maxNamed)+`] FROM begun GROUP BY item_id ORDER BY item_id`, courseID, itemIDs)
	if err != nil {
		return nil, fmt.Errorf("measure removed: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (impact, error) {
		one := impact{change: "removed"}
		return one, row.Scan(&one.itemID, &one.learners, &one.accounts)
	})
	if err != nil {
		return nil, fmt.Errorf("measure removed: %w", err)
	}
	rows, err = s.db.Query(ctx, begun+`SELECT DISTINCT account_id FROM begun`, courseID, itemIDs)
	if err != nil {
		return nil, fmt.Errorf("measure removed: %w", err)
	}
	accounts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("measure removed: %w", err)
	}
	for _, account := range accounts {
		touched[account] = true
	}
	return list, nil
}

// change is that some items come under other rules, all of them under the same.
type change struct {
	item    *versionItem
	rules   []*releasepb.Rule
	items   []string
	impacts impact
}

// closed measures for whom items would be closed that are open now, and adds them
// to touched. Items under the same rules are measured together.
func (s *Service) closed(ctx context.Context, courseID string, changed []*learningpb.ItemRules, touched map[string]bool) ([]impact, error) {
	if len(changed) == 0 {
		return nil, nil
	}
	versions, err := s.versionsOf(ctx, s.db, courseID)
	if err != nil || versions == nil {
		return nil, err
	}
	v := versions[0]
	changes, err := changesOf(v, changed)
	if err != nil {
		return nil, err
	}
	var out []impact
	for batch := range slices.Chunk(changes, maxStatement) {
		if err := s.measure(ctx, courseID, v, batch, touched); err != nil {
			return nil, err
		}
		for _, c := range batch {
			if c.impacts.learners > 0 {
				for _, itemID := range c.items {
					out = append(out, impact{itemID, "closed", c.impacts.learners, c.impacts.accounts})
				}
			}
		}
	}
	return out, nil
}

// changesOf puts items together whose rules are and would be the same.
func changesOf(v *version, changed []*learningpb.ItemRules) ([]*change, error) {
	var out []*change
	byRules := map[string]*change{}
	for _, one := range changed {
		it := v.byID[one.GetItemId()]
		if it == nil {
			continue
		}
		var key strings.Builder
		for _, list := range [][]*releasepb.Rule{v.rules(it), one.GetRules()} {
			for _, r := range list {
				text, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
				if err != nil {
					return nil, err
				}
				fmt.Fprintf(&key, "%d:%s", len(text), text)
			}
			key.WriteString("|")
		}
		c := byRules[key.String()]
		if c == nil {
			c = &change{item: it, rules: one.GetRules()}
			byRules[key.String()], out = c, append(out, c)
		}
		c.items = append(c.items, it.GetId())
	}
	return out, nil
}

// measure counts in one statement who loses what of some changes.
func (s *Service) measure(ctx context.Context, courseID string, v *version, changes []*change, touched map[string]bool) error {
	at := s.now()
	b := newRuleSQL(at, s.known(at), courseID)
	flags := make([]string, len(changes))
	for i, c := range changes {
		flags[i] = "(" + b.all(v, v.rules(c.item)) + " AND NOT " + b.all(v, c.rules) + ")"
	}
	rows, err := s.db.Query(ctx, `
		SELECT account_id, flags FROM (SELECT l.account_id, ARRAY[`+strings.Join(flags, ", ")+`] AS flags FROM learner l WHERE `+touchable+` OFFSET 0) AS m
		WHERE true = ANY (flags) ORDER BY account_id`, b.args...)
	if err != nil {
		return fmt.Errorf("measure closed: %w", err)
	}
	var account string
	var lost []bool
	_, err = pgx.ForEachRow(rows, []any{&account, &lost}, func() error {
		touched[account] = true
		for i, c := range changes {
			if lost[i] {
				if c.impacts.learners++; len(c.impacts.accounts) < maxNamed {
					c.impacts.accounts = append(c.impacts.accounts, account)
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("measure closed: %w", err)
	}
	return nil
}
