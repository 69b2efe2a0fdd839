package courses

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// touched is what a version that is about to be published would take away, as far
// as courses can say: learning knows from whom.
type touched struct {
	removed []string // items of the published version that it would not have
	changed []*learningpb.ItemRules

	rescheduled []*learningpb.ItemSchedules
}

func (t touched) empty() bool {
	return len(t.removed) == 0 && len(t.changed) == 0 && len(t.rescheduled) == 0
}

// digest names what is touched: the same for the same removals, rules and schedules.
func (t touched) digest() string {
	h := sha256.New()
	for _, itemID := range t.removed {
		fmt.Fprintf(h, "removed %s\n", itemID)
	}
	for _, c := range t.changed {
		fmt.Fprintf(h, "changed %s\n", c.GetItemId())
		for _, r := range c.GetRules() {
			text, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
			fmt.Fprintf(h, "%d %x %v\n", len(text), text, err)
		}
	}
	for _, r := range t.rescheduled {
		text, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
		fmt.Fprintf(h, "rescheduled %s %d %x %v\n", r.GetItemId(), len(text), text, err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// measured is what would be touched, and whom.
type measured struct {
	touched

	changes int64 // of the draft when it was looked at
	number  int32 // that was published then
	impact  *learningpb.MeasureImpactResponse
	err     error // why learning did not say
}

// measure finds what a publishing would take away, and asks learning from whom.
// Nothing is asked where nothing is taken away. That learning does not answer is
// in the result: who publishes with a key that has been used gets what was done.
func (s *Service) measure(ctx context.Context, courseID string, revertTo int32) (measured, error) {
	var m measured
	// The counter first: what changes while the rest is read shows by it.
	err := s.db.QueryRow(ctx, `SELECT c.published_number, d.changes FROM course c JOIN draft d ON d.course_id = c.id WHERE c.id = $1`, courseID).
		Scan(&m.number, &m.changes)
	if pg.NoRows(err) {
		return m, nil // publishing says so
	}
	if err != nil {
		return m, err
	}
	if m.touched, err = findTouched(ctx, s.db, courseID, m.number, revertTo); err != nil || m.empty() {
		return m, err
	}
	m.impact, m.err = s.learning.MeasureImpact(ctx, &learningpb.MeasureImpactRequest{CourseId: courseID, RemovedIds: m.removed, Changed: m.changed, Rescheduled: m.rescheduled})
	return m, nil
}

// checkImpact refuses a publishing that takes something from learners unless that
// was accepted. The draft is locked.
func (s *Service) checkImpact(ctx context.Context, tx *pg.Tx, c course, p publishing, m measured) error {
	if c.Changes != m.changes || c.PublishedNumber != m.number {
		now, err := findTouched(ctx, tx, c.ID, c.PublishedNumber, p.revertTo)
		if err != nil {
			return err
		}
		if now.digest() != m.digest() {
			return errMeasureAgain
		}
	}
	switch {
	case m.err != nil && fault.Is(fault.FromStatus(m.err), fault.Unavailable):
		return ErrNotMeasured
	case m.err != nil:
		return fmt.Errorf("measure impact: %w", m.err)
	case m.impact.GetLearners() == 0 || accepts(p.accept, m.impact):
		return nil
	}
	return touchesLearners(m.impact)
}

// touchesLearners tells whom a publishing would take something from, by which
// items, and how to go on.
func touchesLearners(impact *learningpb.MeasureImpactResponse) error {
	token := tokenOf(impact)
	var names []string
	for _, it := range impact.GetItems()[:min(len(impact.GetItems()), 10)] {
		names = append(names, fmt.Sprintf("%s %s (%d)", it.GetChange(), it.GetItemId(), it.GetLearners()))
	}
	if more := len(impact.GetItems()) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return &fault.Error{
		Kind: fault.Precondition, Code: "publication.touches_learners",
		Message: fmt.Sprintf("Publishing this takes something from %d learners: %s.", impact.GetLearners(), strings.Join(names, ", ")),
		Fields: []fault.Field{{
			Path: "accept_impact", Code: "publication.touches_learners",
			Hint: `Look at the publication preview. To publish all the same, send accept_impact "` + token + `".`,
		}},
	}
}

// tokenOf names an impact: how many learners are touched, and by which items. It
// is empty where nobody is.
func tokenOf(impact *learningpb.MeasureImpactResponse) string {
	if impact.GetLearners() == 0 {
		return ""
	}
	var items []string
	for _, it := range impact.GetItems() {
		items = append(items, it.GetChange()+" "+it.GetItemId())
	}
	slices.Sort(items)
	sum := sha256.Sum256([]byte(strings.Join(items, "\n")))
	return strconv.Itoa(int(impact.GetLearners())) + "-" + hex.EncodeToString(sum[:12])
}

// accepts reports whether who has sent a token has accepted an impact: the same
// items, and not many more learners than they were told of. A learner or two who
// have gone on while somebody made up their mind do not make another question.
func accepts(token string, impact *learningpb.MeasureImpactResponse) bool {
	count, items, ok := strings.Cut(token, "-")
	learners, err := strconv.ParseInt(count, 10, 32)
	if !ok || err != nil || learners < 0 {
		return false
	}
	_, now, _ := strings.Cut(tokenOf(impact), "-")
	return items == now && int64(impact.GetLearners()) <= learners+max(5, learners/10)
}

// preview says what publishing the draft would do.
func (s *Service) preview(ctx context.Context, courseID string) (*coursespb.PublicationPreview, error) {
	m, err := s.measure(ctx, courseID, 0)
	if err != nil {
		return nil, err
	}
	if m.err != nil {
		if fault.Is(fault.FromStatus(m.err), fault.Unavailable) {
			return nil, ErrNotMeasured
		}
		return nil, fmt.Errorf("measure impact: %w", m.err)
	}
	c, err := readCourse(ctx, s.db, draftOf+`WHERE c.id = $1`, courseID)
	if err != nil {
		return nil, err
	}
	d, err := s.compare(ctx, courseID, side{number: c.PublishedNumber, empty: c.PublishedNumber == 0}, side{})
	if err != nil {
		return nil, err
	}
	out := &coursespb.PublicationPreview{
		// What was measured: where the draft has gone on since, publishing says so.
		DraftEtag: etag(m.changes), Version: c.PublishedNumber, Summary: d.summary(),
		Impact: &coursespb.Impact{Learners: m.impact.GetLearners(), Token: tokenOf(m.impact)}, Publishable: true,
	}
	if c.Changed || !c.Published {
		out.Version++
	}
	for _, it := range m.impact.GetItems() {
		out.Impact.Items = append(out.Impact.Items, &coursespb.ImpactItem{
			ItemId: it.GetItemId(), Title: d.titleBefore(it.GetItemId()), Change: it.GetChange(), Learners: it.GetLearners(), AccountIds: it.GetAccountIds(),
		})
	}
	if out.Findings, err = s.findings(ctx, c); err != nil {
		return nil, err
	}
	for _, f := range out.GetFindings() {
		out.Publishable = out.Publishable && f.GetLevel() != "error"
	}
	return out, nil
}

// mostFindings bounds the findings about items of one kind.
const mostFindings = 50

// findings returns what forbids publishing a draft and what should be looked at.
func (s *Service) findings(ctx context.Context, c course) ([]*coursespb.Finding, error) {
	var out []*coursespb.Finding
	refused := func(e *fault.Error) {
		out = append(out, &coursespb.Finding{Level: "error", Code: e.Code, Message: e.Message})
	}
	warn := func(code, message, itemID string) {
		out = append(out, &coursespb.Finding{Level: "warning", Code: code, Message: message, ItemId: itemID})
	}
	var lessons int
	var emptyLessons, emptyModules, broken []string
	if err := s.db.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM item WHERE course_id = $1 AND kind <> 'module'),
			ARRAY(SELECT i.id FROM item i JOIN item_version v ON v.id = i.version_id
				WHERE i.course_id = $1 AND i.kind = 'lesson' AND v.body = '[]' ORDER BY i.id LIMIT $2),
			ARRAY(SELECT i.id FROM item i WHERE i.course_id = $1 AND i.kind = 'module'
				AND NOT EXISTS (SELECT FROM item k WHERE k.course_id = $1 AND k.parent_id = i.id) ORDER BY i.id LIMIT $2),
			ARRAY(SELECT i.id FROM item i JOIN item_version v ON v.id = i.version_id
				WHERE i.course_id = $1 AND i.kind = 'lesson' AND v.body @? '$[*].item_id' AND EXISTS (
					SELECT FROM jsonb_array_elements(v.body) AS b
					WHERE b ? 'item_id' AND NOT EXISTS (SELECT FROM item a WHERE a.course_id = $1 AND a.id = b->>'item_id')
				) ORDER BY i.id LIMIT $2)`,
		c.ID, mostFindings).Scan(&lessons, &emptyLessons, &emptyModules, &broken); err != nil {
		return nil, err
	}
	if c.ArchivedAt != nil {
		refused(ErrArchived)
	}
	if lessons == 0 {
		refused(ErrNoLessons)
	}
	if s.review && !c.Published && !c.ReviewPassed && !c.approved() {
		refused(ErrReviewRequired)
	}
	items, err := releaseItems(ctx, s.db, c.ID)
	if err != nil {
		return nil, err
	}
	if err := refuseDraftCircle(ctx, s.db, c.ID, items); err != nil {
		closed, ok := errors.AsType[*fault.Error](err)
		if !ok {
			return nil, err
		}
		refused(&fault.Error{Code: closed.Code, Message: closed.Message + " " + closed.Fields[0].Hint})
	}
	if strings.TrimSpace(c.Description) == "" {
		warn("course.no_description", "The landing page does not say what the course is about.", "")
	}
	if c.CoverMediaID == "" {
		warn("course.no_cover", "The course has no picture.", "")
	}
	for _, itemID := range emptyLessons {
		warn("lesson.empty", "The lesson shows nothing.", itemID)
	}
	for _, itemID := range broken {
		warn("lesson.activity_gone", "The lesson shows a quiz or an assignment that is not in the course any more. Learners do not see that block.", itemID)
	}
	for _, itemID := range emptyModules {
		warn("module.empty", "The module has nothing in it.", itemID)
	}
	return out, nil
}

// rulesOf returns the rules that an item is under, from the course down to itself.
func rulesOf(outer *releasepb.Rule, itemID string, parents map[string]string, rules map[string]*releasepb.Rule) []*releasepb.Rule {
	var chain []*releasepb.Rule
	for range mostAbove {
		if r := rules[itemID]; r != nil {
			chain = append(chain, r)
		}
		if itemID = parents[itemID]; itemID == "" {
			break
		}
	}
	if outer != nil {
		chain = append(chain, outer)
	}
	slices.Reverse(chain)
	return chain
}

// mostAbove bounds the way from an item to the top: the course, three modules and
// the item itself are what there can be.
const mostAbove = 5
