package assessment

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// Errors where two mark the same.
var (
	ErrMarkingNotTwo    = fault.New(fault.Conflict, "marking.not_two", "One person marks this: there is nothing to agree on.")
	ErrMarkingNotBoth   = fault.New(fault.Conflict, "marking.not_both", "Two mark this, and not both have yet.")
	ErrMarkingBothGiven = fault.New(fault.Conflict, "marking.both_given", "Two mark this, and both have: their mark is settled now.")
	ErrMarkingPeersOnly = fault.New(fault.Conflict, "marking.peers_only", "Reviews by students alone make this mark. Exclude some of them, or set what they come to.")
)

// partSettled is the part of what the staff gives in the end; 1 and 2 are the markers'.
const partSettled = 3

// givenRow is a row of given_mark.
type givenRow struct {
	Seq       int32
	Part      int32
	AccountID string
	Points    *string
	Comment   string
	Comments  []byte
	Rubric    []byte
	Reason    string
	GivenAt   time.Time
	MaxPoints *string // of an answer: of which points are
}

const givenColumns = `seq, part, account_id, points, comment, comments, rubric, reason, given_at`

// points returns what was given, nil for nothing.
func (g *givenRow) points() (*exact.Number, error) {
	if g == nil || g.Points == nil {
		return nil, nil //nolint:nilnil // none is an answer
	}
	n, err := exact.Parse(*g.Points)
	if err != nil {
		return nil, fmt.Errorf("given mark %d: %w", g.Seq, err)
	}
	return &n, nil
}

// mark returns what was given as a mark that can be applied.
func (g *givenRow) mark() (givenMark, error) {
	if g == nil {
		return givenMark{}, nil
	}
	m := givenMark{comment: g.Comment, by: g.AccountID}
	var err error
	if m.points, err = g.points(); err != nil {
		return m, err
	}
	parts := &assessmentpb.SubmissionMark{}
	if err := proto.Unmarshal(g.Comments, parts); err != nil {
		return m, fmt.Errorf("given mark %d: %w", g.Seq, err)
	}
	m.comments = parts.GetComments()
	if g.Rubric != nil {
		m.rubric = &assessmentpb.RubricMarks{}
		if err := proto.Unmarshal(g.Rubric, m.rubric); err != nil {
			return m, fmt.Errorf("given mark %d: %w", g.Seq, err)
		}
	}
	return m, nil
}

// given is what was given to a version, the newest of each part.
type given struct {
	part [partSettled + 1]*givenRow
	last int32 // the number of the newest of all
}

// givenTo returns what was given to a version.
func givenTo(ctx context.Context, q pg.Querier, submissionID string, number int32) (*given, error) {
	rows, err := q.Query(ctx, `
		SELECT DISTINCT ON (part) `+givenColumns+`, NULL AS max_points FROM given_mark WHERE submission_id = $1 AND number = $2 ORDER BY part, seq DESC`, submissionID, number)
	if err != nil {
		return nil, fmt.Errorf("read given marks: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[givenRow])
	if err != nil {
		return nil, fmt.Errorf("read given marks: %w", err)
	}
	out := &given{}
	for _, g := range list {
		out.part[g.Part] = g
		out.last = max(out.last, g.Seq)
	}
	return out, nil
}

// both reports whether two have marked it.
func (g *given) both() bool { return g.part[1] != nil && g.part[2] != nil }

// own returns what somebody gave as one of two, nil for nothing.
func (g *given) own(who string) *givenRow {
	for _, one := range g.part[1:partSettled] {
		if one != nil && one.AccountID == who {
			return one
		}
	}
	return nil
}

// etag changes with each mark that somebody may know of: until both have marked it, with
// their own alone, so that one can save though the other has.
func (g *given) etag(v handed, two bool, who string) string {
	seq := g.seen(two, who)
	if seq == 0 {
		return fmt.Sprint(v.MarkRevision)
	}
	return fmt.Sprintf("%d.%d", v.MarkRevision, seq)
}

// seen returns the number of the newest mark that somebody may know of, 0 for none.
func (g *given) seen(two bool, who string) int32 {
	switch {
	case two && g.both():
		return g.last
	case two:
		if own := g.own(who); own != nil {
			return own.Seq
		}
	case g.part[partSettled] != nil:
		return g.part[partSettled].Seq
	}
	return 0
}

// nextPart returns which of the two somebody is who gives a mark, and whether they have
// given one before.
func (g *given) nextPart(who string) (part int32, again bool) {
	if own := g.own(who); own != nil {
		return own.Part, true
	}
	if g.part[1] != nil {
		return 2, false
	}
	return 1, false
}

// match holds a mark to If-Match: who brings none may not mark what somebody else has
// marked within the hour, as far as they may know of it.
func (g *given) match(ctx context.Context, v handed, two bool, now time.Time) error {
	etag, by, at := g.etag(v, two, auth.From(ctx).Account), v.MarkedBy, v.MarkedAt
	if last := g.part[partSettled]; last != nil && (at == nil || last.GivenAt.After(*at)) {
		by, at = last.AccountID, &last.GivenAt
	}
	return heldTo(ctx, etag, by, at, now)
}

// heldTo holds a change to If-Match: who brings none may not change what somebody else has
// changed within the hour.
func heldTo(ctx context.Context, etag, by string, at *time.Time, now time.Time) error {
	if rpc.IfMatch(ctx) != "" || at == nil || by == auth.From(ctx).Account || now.Sub(*at) >= time.Hour {
		return rpc.Match(ctx, etag)
	}
	return &fault.Error{
		Kind: fault.Precondition, Code: "etag.required", Etag: etag,
		Message: "Somebody else has changed this lately: say which version your change is based on.",
		Fields:  []fault.Field{{Path: "If-Match", Code: "etag.required", Hint: `Read it, and send its ETag. The current version is "` + etag + `".`}},
	}
}

// give notes a mark of a part of a locked version.
func (s *Service) give(ctx context.Context, tx *pg.Tx, v handed, g *given, part int32, m givenMark, reason string) error {
	row, err := g.add(part, m, reason, s.time())
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO given_mark (submission_id, number, `+givenColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		v.SubmissionID, v.Number, row.Seq, row.Part, row.AccountID, row.Points, row.Comment, row.Comments, row.Rubric, row.Reason, row.GivenAt); err != nil {
		return fmt.Errorf("store given mark: %w", err)
	}
	return nil
}

// add makes a mark of a part the newest one, and returns its row.
func (g *given) add(part int32, m givenMark, reason string, at time.Time) (*givenRow, error) {
	if g.last >= maxMarks {
		return nil, ErrMarkingFull
	}
	comments, err := m.remarks()
	if err != nil {
		return nil, err
	}
	rubric, err := m.choices()
	if err != nil {
		return nil, err
	}
	g.last++
	row := &givenRow{Seq: g.last, Part: part, AccountID: m.by, Comment: m.comment, Comments: comments, Rubric: rubric, Reason: reason, GivenAt: at}
	if m.points != nil {
		row.Points = new(m.points.String())
	}
	g.part[part] = row
	return row, nil
}

// markedByStaff gives a mark of the caller's to a locked version, by what the assignment
// says now: it is the mark, or one of two, or the part of it that reviews by students do
// not make.
func (s *Service) markedByStaff(ctx context.Context, tx *pg.Tx, w *work, v handed, as *assignmentVersion, m givenMark) error {
	two := as.Settings.GetDoubleMarking()
	g, err := givenTo(ctx, tx, w.ID, v.Number)
	if err != nil {
		return err
	}
	if two && g.both() {
		return ErrMarkingBothGiven
	}
	if err := s.freeSubmission(ctx, tx, as, w.ID, m.by); err != nil {
		return err
	}
	if !two {
		if err := g.match(ctx, v, false, s.time()); err != nil {
			return err
		}
		if err := s.settle(ctx, tx, w, v, as, g, m, ""); err != nil {
			return err
		}
		return s.endOwnClaim(ctx, tx, w, v, m)
	}
	part, again := g.nextPart(m.by)
	if m.points == nil {
		return markFault("points", "Send points, percent or a rubric: each of two gives a mark.")
	}
	if err := rpc.Match(ctx, g.etag(v, true, m.by)); err != nil {
		return err
	}
	if !again {
		if _, err := tx.Exec(ctx, `INSERT INTO given_marker (submission_id, number, part, account_id) VALUES ($1, $2, $3, $4)`, w.ID, v.Number, part, m.by); err != nil {
			return fmt.Errorf("store marker: %w", err)
		}
	}
	if err := s.give(ctx, tx, v, g, part, m, ""); err != nil {
		return err
	}
	if err := s.endOwnClaim(ctx, tx, w, v, m); err != nil || !g.both() {
		return err
	}
	agreed, err := s.agreement(ctx, tx, v, as, g)
	if err != nil || agreed == nil {
		return err
	}
	return s.settle(ctx, tx, w, v, as, g, *agreed, "")
}

// endOwnClaim ends the claim of who has marked what was handed in last.
func (s *Service) endOwnClaim(ctx context.Context, tx *pg.Tx, w *work, v handed, m givenMark) error {
	if v.Number != w.Number || m.points == nil {
		return nil
	}
	return endClaim(ctx, tx, w.ID, m.by)
}

// agreement returns what two who have marked a version agree on, nil where they are too
// far apart: their marks may differ by a part of the version's points. It is exact.
func (s *Service) agreement(ctx context.Context, q pg.Querier, v handed, as *assignmentVersion, g *given) (*givenMark, error) {
	most, err := exact.Parse(v.MaxPoints)
	if err != nil {
		return nil, err
	}
	return g.agreement(ctx, q, most, as.Settings.GetTwoMarkers())
}

// agreement returns what two agree on by a rule, nil where they are too far apart.
func (g *given) agreement(ctx context.Context, q pg.Querier, most exact.Number, rule *assessmentpb.TwoMarkers) (*givenMark, error) {
	a, err := g.part[1].mark()
	if err != nil {
		return nil, err
	}
	b, err := g.part[2].mark()
	if err != nil {
		return nil, err
	}
	points, agree := agreedPoints(*a.points, *b.points, most, orElse(rule.GetTolerancePercent(), defaultTolerance), rule.GetAgreed() == "higher")
	if !agree {
		return nil, nil //nolint:nilnil // they do not
	}
	m := &givenMark{points: &points, comment: bothSaid(a.comment, b.comment), source: "agreement"}
	for i, list := range [][]*assessmentpb.InlineComment{a.comments, b.comments} {
		for j, c := range list {
			one := proto.CloneOf(c)
			one.Key = fmt.Sprintf("%d-%d", i+1, j+1) // so that keys differ
			m.comments = append(m.comments, one)
		}
	}
	m.rubric, err = agreedRubric(ctx, q, a, b, rule.GetAgreed() == "higher")
	return m, err
}

// defaultTolerance is by how many percent of the points two may differ where the
// assignment does not say.
const defaultTolerance = "5"

// agreedPoints returns what two marks come to, and whether they do by themselves: where
// they differ by at most a percentage of the most points. It is pure and rounds nothing.
func agreedPoints(a, b, most exact.Number, tolerancePercent string, higher bool) (exact.Number, bool) {
	apart := a.Sub(b)
	if apart.Sign() < 0 {
		apart = apart.Neg()
	}
	if apart.Mul(exact.Int(100)).Cmp(pointsIn(tolerancePercent).Mul(most)) > 0 {
		return exact.Number{}, false
	}
	if higher {
		return exact.Max(a, b), true
	}
	return a.Add(b).Div(exact.Int(2)), true
}

// agreedRubric returns what is shown of the choices of two: what they are on average, or
// those of the higher one; nil where that can't be said.
func agreedRubric(ctx context.Context, q pg.Querier, a, b givenMark, higher bool) (*assessmentpb.RubricMarks, error) {
	switch order := a.points.Cmp(*b.points); {
	case higher && order > 0:
		return a.rubric, nil
	case higher && order < 0:
		return b.rubric, nil
	case a.rubric == nil || b.rubric == nil || a.rubric.GetRubricId() != b.rubric.GetRubricId() || a.rubric.GetVersion() != b.rubric.GetVersion():
		return nil, nil //nolint:nilnil // they have marked by different things
	}
	list, err := rubricVersions(ctx, q, `SELECT `+versionColumns+` FROM rubric_version v WHERE v.rubric_id = $1 AND v.version = $2`, a.rubric.GetRubricId(), a.rubric.GetVersion())
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return meanMarks(list[0], a.rubric, b.rubric), nil
}

// settle gives what the staff gives in the end to a locked version. Where reviews by
// students count as well, the mark is made of both once they are all there.
func (s *Service) settle(ctx context.Context, tx *pg.Tx, w *work, v handed, as *assignmentVersion, g *given, m givenMark, reason string) error {
	peers := peersWeigh(as.Settings)
	if peers && m.points != nil && staffWeight(as.Settings).Sign() == 0 {
		return ErrMarkingPeersOnly
	}
	if peers || as.Settings.GetDoubleMarking() || g.part[partSettled] != nil { // what was noted is not to come back
		if err := s.give(ctx, tx, v, g, partSettled, m, reason); err != nil {
			return err
		}
	}
	if peers {
		return s.combine(ctx, tx, w, v, as, g, true)
	}
	return s.applyMark(ctx, tx, w, v.Number, m)
}

// SettleMark implements [assessmentpb.MarkingServiceServer].
func (h *markingServer) SettleMark(ctx context.Context, req *assessmentpb.SettleMarkRequest) (*assessmentpb.Submission, error) {
	s := h.service
	if _, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.SubmissionMark, error) {
		w, v, err := lockVersion(ctx, tx, req.GetCourseId(), req.GetSubmissionId(), req.GetNumber())
		if err != nil {
			return nil, err
		}
		as, err := s.settingsNow(ctx, tx, w)
		if err != nil {
			return nil, err
		}
		g, err := givenTo(ctx, tx, w.ID, v.Number)
		switch {
		case err != nil:
			return nil, err
		case v.WithdrawnAt != nil:
			return nil, ErrSubmissionWithdrawn
		case !as.Settings.GetDoubleMarking():
			return nil, ErrMarkingNotTwo
		case !g.both():
			return nil, ErrMarkingNotBoth
		}
		if err := g.match(ctx, v, true, s.time()); err != nil {
			return nil, err
		}
		m, err := givenBy(ctx, tx, &assessmentpb.MarkSubmissionRequest{
			Points: req.GetPoints(), Percent: req.GetPercent(), Rubric: req.GetRubric(), Comment: req.GetComment(), Comments: req.GetComments(),
		}, w, v)
		if err != nil {
			return nil, err
		}
		if m.points == nil {
			return nil, markFault("points", "Send points, percent or a rubric.")
		}
		m.source = "agreement"
		before := g.last
		if err := s.settle(ctx, tx, w, v, as, g, m, req.GetReason()); err != nil {
			return nil, err
		}
		if err := endClaim(ctx, tx, w.ID, ""); err != nil {
			return nil, err
		}
		return &assessmentpb.SubmissionMark{}, audit.Record(ctx, tx, audit.Entry{
			Action: "submission.settled", Object: w.ID, Course: w.CourseID, Before: map[string]any{"given": before}, After: map[string]any{"number": v.Number, "given": g.last},
		})
	}); err != nil {
		return nil, err
	}
	return s.submissionFor(ctx, req.GetCourseId(), req.GetSubmissionId(), req.GetNumber())
}

// ListGivenMarks implements [assessmentpb.MarkingServiceServer].
func (h *markingServer) ListGivenMarks(ctx context.Context, req *assessmentpb.ListGivenMarksRequest) (*assessmentpb.ListGivenMarksResponse, error) {
	s, who := h.service, auth.From(ctx).Account
	w, err := workOfCourse(ctx, s.db, req.GetCourseId(), req.GetSubmissionId(), "")
	if err != nil {
		return nil, err
	}
	if req.GetNumber() > w.LastNumber {
		return nil, ErrSubmissionNotFound
	}
	g, err := givenTo(ctx, s.db, w.ID, req.GetNumber())
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `
		SELECT `+givenColumns+`, NULL AS max_points FROM given_mark WHERE submission_id = $1 AND number = $2 AND ($3 OR account_id = $4) ORDER BY seq DESC LIMIT 100`,
		w.ID, req.GetNumber(), g.both() || g.part[partSettled] != nil, who)
	if err != nil {
		return nil, fmt.Errorf("read given marks: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[givenRow])
	if err != nil {
		return nil, fmt.Errorf("read given marks: %w", err)
	}
	out := &assessmentpb.ListGivenMarksResponse{}
	if out.Items, err = givenMessages(ctx, s.db, list); err != nil {
		return nil, err
	}
	out.Items = out.GetItems()[:bearable(out.GetItems())]
	return out, nil
}

// givenMessages tells given marks.
func givenMessages(ctx context.Context, q pg.Querier, list []*givenRow) ([]*assessmentpb.GivenMark, error) {
	out, chosen := make([]*assessmentpb.GivenMark, len(list)), make([]*assessmentpb.RubricMarks, len(list))
	for i, g := range list {
		m, err := g.mark()
		if err != nil {
			return nil, err
		}
		out[i] = &assessmentpb.GivenMark{
			Seq: g.Seq, Role: "marker", GivenBy: g.AccountID, GivenAt: timestamppb.New(g.GivenAt), Points: orNothing(g.Points), Comment: g.Comment, Comments: m.comments, Reason: g.Reason,
		}
		if g.Part == partSettled {
			out[i].Role = "settled"
		}
		chosen[i] = m.rubric
	}
	results, err := resultsOf(ctx, q, chosen, true)
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i].Rubric = results[i]
	}
	return out, nil
}

// twoMarks tells how a version stands that two mark: nobody is told what another has
// given before both have.
func (g *given) twoMarks(ctx context.Context, q pg.Querier) (*assessmentpb.TwoMarks, error) {
	out := &assessmentpb.TwoMarks{State: "to_mark"}
	var shown []*givenRow
	for _, one := range g.part[1:] {
		if one == nil {
			continue
		}
		if one.Part != partSettled {
			out.Given++
		}
		if g.both() || one.AccountID == auth.From(ctx).Account {
			shown = append(shown, one)
		}
	}
	switch {
	case g.part[partSettled] != nil:
		out.State = "agreed"
	case g.both():
		out.State = "to_agree"
	}
	var err error
	out.Marks, err = givenMessages(ctx, q, shown)
	return out, err
}

// describeMarking adds to what was handed in how it is marked.
func (s *Service) describeMarking(ctx context.Context, as *assignmentVersion, w *work, v handed, out *assessmentpb.Submission) error {
	g, err := givenTo(ctx, s.db, w.ID, v.Number)
	if err != nil {
		return err
	}
	two := as.Settings.GetDoubleMarking()
	out.Etag = g.etag(v, two, auth.From(ctx).Account)
	if out.Rubric, err = rubricFor(ctx, s.db, rubricTarget{id: w.AssignmentID}); err != nil {
		return err
	}
	if two {
		if out.TwoMarks, err = g.twoMarks(ctx, s.db); err != nil {
			return err
		}
	}
	if as.Settings.GetPeerReview() != nil {
		out.PeerMark, err = s.peerMark(ctx, as, v, g)
	}
	return err
}
