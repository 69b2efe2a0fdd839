package assessment

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// SubmitAssignment implements assessmentpb.MySubmissionServiceServer.
func (h *mySubmissionServer) SubmitAssignment(ctx context.Context, req *assessmentpb.SubmitAssignmentRequest) (*assessmentpb.MySubmission, error) {
	s := h.service
	if w, err := s.workNow(ctx, req.GetCourseId(), req.GetItemId()); err == nil && w != nil {
		if content, err := w.content(); err != nil {
			return nil, err
		} else if err := s.stillThere(ctx, req.GetCourseId(), content.GetMediaIds()); err != nil {
			return nil, err
		}
	}
	out, err := withWork(ctx, s, req, req.GetCourseId(), req.GetItemId(), func(tx *pg.Tx, r *ready, w *work) (*assessmentpb.MySubmission, error) {
		content, err := w.content()
		if err != nil {
			return nil, err
		}
		used, err := usedBy(ctx, tx, w.ID)
		if err != nil {
			return nil, err
		}
		if refused := refuseSubmission(r.version.Settings, r.own(ctx), w, used, r.arrived); refused != nil {
			return nil, refused
		}
		if content == nil {
			return nil, ErrNothingToSubmit
		}
		if err := rpc.Match(ctx, fmt.Sprint(w.DraftRevision)); err != nil {
			return nil, err
		}
		if err := checkKinds(r.version.Settings, content); err != nil {
			return nil, err
		}
		if err := checkWhole(r.version.Settings, content); err != nil {
			return nil, err
		}
		if r.version.Settings.GetStatement() != "" && !req.GetStatementAccepted() {
			return nil, ErrStatementRequired
		}
		return s.handIn(ctx, tx, r, w, content, req.GetStatementAccepted())
	})
	if err != nil {
		return nil, err
	}
	m, err := s.myWorkAt(ctx, req.GetCourseId(), req.GetItemId())
	if err != nil {
		return nil, err
	}
	return s.wholeSubmission(ctx, m, out.GetNumber())
}

// handIn makes a version of the draft of locked work.
func (s *Service) handIn(ctx context.Context, tx *pg.Tx, r *ready, w *work, content *assessmentpb.SubmissionContent, stated bool) (*assessmentpb.MySubmission, error) {
	files, err := namedFiles(ctx, tx, content.GetMediaIds(), "FOR UPDATE")
	if err != nil {
		return nil, err
	}
	facts := map[string]fileFacts{}
	for i, mediaID := range content.GetMediaIds() {
		f, ok := files[mediaID]
		if !ok || f.SubmissionID != w.ID || f.Standing != "draft" && f.Standing != "kept" {
			return nil, fileUnknown(fmt.Sprintf("content.media_ids[%d]", i))
		}
		facts[mediaID] = f.fileFacts
	}
	if err := checkFiles(r.version.Settings.GetFiles(), content.GetMediaIds(), facts); err != nil {
		return nil, err
	}
	at, err := s.submittedAt(ctx, tx, w, r.arrived)
	if err != nil {
		return nil, err
	}
	account := auth.From(ctx).Account
	out := &assessmentpb.MySubmission{
		Number: w.LastNumber + 1, AssignmentVersion: r.version.Number, SubmittedAt: timestamppb.New(at), SubmittedBy: account,
		Words: int32(wordCount(content.GetText())), AccountIds: r.members, //nolint:gosec // at most 200,000
	}
	sum := sha256.Sum256(proofOf(out, content, facts))
	if _, err := tx.Exec(ctx, `
		INSERT INTO submission_version (submission_id, number, assignment_version, content, words, hash, statement_accepted, submitted_by, submitted_at, max_points)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::numeric)`,
		w.ID, out.GetNumber(), r.version.Number, w.Draft, out.GetWords(), sum[:], stated, account, at, r.version.Points.String()); err != nil {
		return nil, fmt.Errorf("insert version: %w", err)
	}
	dues, lates := make([]*time.Time, len(r.members)), make([]int64, len(r.members))
	for i, member := range r.members {
		dues[i] = r.standings[member].due
		lates[i] = lateBy(dues[i], at)
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO submission_member (submission_id, number, account_id, item_id, due_at, late_seconds)
		SELECT $1, $2, m.account_id, $3, m.due_at, m.late FROM unnest($4::text[], $5::timestamptz[], $6::bigint[]) AS m (account_id, due_at, late)`,
		w.ID, out.GetNumber(), w.ItemID, r.members, dues, lates); err != nil {
		return nil, fmt.Errorf("insert members: %w", err)
	}
	if _, err := tx.Exec(ctx, `UPDATE submission_file SET state = 'kept' WHERE submission_id = $1 AND media_id = ANY ($2)`, w.ID, append([]string{}, content.GetMediaIds()...)); err != nil {
		return nil, fmt.Errorf("keep files: %w", err)
	}
	w.LastNumber, w.Number = out.GetNumber(), out.GetNumber()
	if _, err := tx.Exec(ctx, `UPDATE submission SET last_number = $2, number = $2, returned = false, updated_at = $3 WHERE id = $1`, w.ID, w.Number, at); err != nil {
		return nil, fmt.Errorf("store submission: %w", err)
	}
	if err := clearDraft(ctx, tx, w); err != nil {
		return nil, err
	}
	if r.version.Settings.GetSimilarity() && s.similarity.enabled() {
		if err := s.requestSimilarity(ctx, tx, w.ID, out.GetNumber(), ""); err != nil {
			return nil, err
		}
	}
	if err := s.peersMoved(ctx, tx, r.version, w); err != nil {
		return nil, err
	}
	if err := s.submissionChanged(ctx, tx, w, r.members, "submission"); err != nil {
		return nil, err
	}
	// Without the submission: who reads it may not know whose it is.
	return out, audit.Record(ctx, tx, audit.Entry{
		Action: "submission.submitted", Object: w.AssignmentID, Course: w.CourseID, After: map[string]any{"number": w.Number, "item": w.ItemID},
	})
}

// submittedAt is when something counts as handed in: when the call came, however long it
// waited since, but not before what was handed in last.
func (s *Service) submittedAt(ctx context.Context, tx *pg.Tx, w *work, arrived time.Time) (time.Time, error) {
	var last *time.Time
	if err := tx.QueryRow(ctx, `SELECT max(submitted_at) FROM submission_version WHERE submission_id = $1`, w.ID).Scan(&last); err != nil {
		return arrived, fmt.Errorf("last version: %w", err)
	}
	if last != nil && !last.Before(arrived) {
		return last.Add(time.Microsecond), nil
	}
	return arrived, nil
}

// proofOf is the canonical JSON that the hash of a version is made of: all that its
// authors have as well. docs/answers.md describes it; it never changes.
func proofOf(v *assessmentpb.MySubmission, content *assessmentpb.SubmissionContent, files map[string]fileFacts) []byte {
	list := func(n int, each func(b []byte, i int) []byte) []byte {
		b := []byte{'['}
		for i := range n {
			if i > 0 {
				b = append(b, ',')
			}
			b = each(b, i)
		}
		return append(b, ']')
	}
	var o object
	o.raw("account_ids", list(len(v.GetAccountIds()), func(b []byte, i int) []byte { return appendCanonicalText(b, v.GetAccountIds()[i]) }))
	o.number("assignment_version", int64(v.GetAssignmentVersion()))
	o.raw("content", canonical(content))
	if n := len(content.GetMediaIds()); n > 0 {
		o.raw("files", list(n, func(b []byte, i int) []byte {
			f := files[content.GetMediaIds()[i]]
			var one object
			one.string("filename", f.Filename)
			one.string("media_id", f.MediaID)
			one.string("sha256", f.SHA256)
			one.number("size", f.Size)
			return append(b, one.end()...)
		}))
	}
	o.number("number", int64(v.GetNumber()))
	o.time("submitted_at", v.GetSubmittedAt().AsTime())
	o.string("submitted_by", v.GetSubmittedBy())
	return o.end()
}

// markShown is to whom the gradebook shows the mark of a version, whether it has one yet or
// not, of those whose work the version is.
type markShown struct {
	Caller, Somebody bool
}

// withdrawable reports whether what was handed in last may be taken back at a moment. What
// one of those whose work it is was shown a mark of none of them may take from them, and
// nobody is told by this of a mark that they are not shown. So only who is shown it may do
// otherwise once it is there; who is not may take back what nobody is shown a mark of, and
// nothing that somebody is or would be, marked or not.
func withdrawable(settings *assessmentpb.AssignmentSettings, st *standing, v handed, shown markShown, now time.Time) bool {
	end := earlier(st.due, st.closesAt)
	free := !shown.Somebody || shown.Caller && v.MarkRevision == 0
	return settings.GetAllowWithdraw() && v.WithdrawnAt == nil && free && (end == nil || !now.After(*end))
}

// shownVersions returns of submissions to whom marks of them are shown, by submission and
// number.
func shownVersions(ctx context.Context, q pg.Querier, submissions []string, caller string) (map[string]map[int32]markShown, error) {
	rows, err := q.Query(ctx, `
		SELECT m.submission_id, m.number, bool_or(m.account_id = $2) FROM submission_member m JOIN submission w ON w.id = m.submission_id
		WHERE m.submission_id = ANY ($1) AND `+postedSQL("w.course_id", "w.item_id", "m.account_id")+`
		GROUP BY m.submission_id, m.number`, submissions, caller)
	if err != nil {
		return nil, fmt.Errorf("shown versions: %w", err)
	}
	out := map[string]map[int32]markShown{}
	var (
		submissionID string
		number       int32
		shown        = markShown{Somebody: true}
	)
	if _, err := pgx.ForEachRow(rows, []any{&submissionID, &number, &shown.Caller}, func() error {
		if out[submissionID] == nil {
			out[submissionID] = map[int32]markShown{}
		}
		out[submissionID][number] = shown
		return nil
	}); err != nil {
		return nil, fmt.Errorf("shown versions: %w", err)
	}
	return out, nil
}

// WithdrawSubmission implements assessmentpb.MySubmissionServiceServer.
func (h *mySubmissionServer) WithdrawSubmission(ctx context.Context, req *assessmentpb.WithdrawSubmissionRequest) (*assessmentpb.MyAssignment, error) {
	s := h.service
	if _, err := withWork(ctx, s, req, req.GetCourseId(), req.GetItemId(), func(tx *pg.Tx, r *ready, w *work) (*assessmentpb.MyAssignment, error) {
		return &assessmentpb.MyAssignment{}, s.withdraw(ctx, tx, r, w)
	}); err != nil {
		return nil, err
	}
	return s.wholeAssignment(ctx, req.GetCourseId(), req.GetItemId())
}

func (s *Service) withdraw(ctx context.Context, tx *pg.Tx, r *ready, w *work) error {
	if w.Number == 0 {
		return ErrSubmissionNothing
	}
	all, err := handedIn(ctx, tx, []string{w.ID})
	if err != nil {
		return err
	}
	list, account := counted(all[w.ID]), auth.From(ctx).Account
	if len(list) == 0 {
		return ErrNotWithdrawable
	}
	shown, err := shownVersions(ctx, tx, []string{w.ID}, account)
	if err != nil {
		return err
	}
	if !withdrawable(r.version.Settings, r.own(ctx), list[0], shown[w.ID][list[0].Number], r.arrived) {
		return ErrNotWithdrawable
	}
	last, before := list[0].Number, int32(0)
	if len(list) > 1 {
		before = list[1].Number
	}
	if _, err := tx.Exec(ctx, `UPDATE submission_version SET withdrawn_at = $3, withdrawn_by = $4 WHERE submission_id = $1 AND number = $2`, w.ID, last, s.time(), account); err != nil {
		return fmt.Errorf("withdraw: %w", err)
	}
	if w.DraftAt == nil { // it goes on as the draft
		w.DraftRevision++
		if _, err := tx.Exec(ctx, `
			UPDATE submission SET draft = (SELECT content FROM submission_version WHERE submission_id = $1 AND number = $2), draft_revision = $3, draft_by = $4, draft_at = $5
			WHERE id = $1`, w.ID, last, w.DraftRevision, account, s.time()); err != nil {
			return fmt.Errorf("draft of what was withdrawn: %w", err)
		}
	}
	if _, err := tx.Exec(ctx, `UPDATE submission SET number = $2, updated_at = $3 WHERE id = $1`, w.ID, before, s.time()); err != nil {
		return fmt.Errorf("store submission: %w", err)
	}
	w.Number = before
	if err := s.peersMoved(ctx, tx, r.version, w); err != nil {
		return err
	}
	members, err := membersOfVersion(ctx, tx, w.ID, last)
	if err != nil {
		return err
	}
	if err := s.submissionChanged(ctx, tx, w, members, "submission"); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{Action: "submission.withdrawn", Object: w.AssignmentID, Course: w.CourseID, After: map[string]any{"number": last, "item": w.ItemID}})
}
