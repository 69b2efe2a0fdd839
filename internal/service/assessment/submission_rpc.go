package assessment

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// workOfCourse returns what was handed in in a course; nothing where nothing was.
func workOfCourse(ctx context.Context, q pg.Querier, courseID, submissionID, lock string) (*work, error) {
	w, err := readWork(ctx, q, `id = $1 AND course_id = $2 AND last_number > 0 `+lock, submissionID, courseID)
	if err == nil && w == nil {
		err = ErrSubmissionNotFound
	}
	return w, err
}

// GetSubmission implements assessmentpb.SubmissionServiceServer.
func (r *submissionServer) GetSubmission(ctx context.Context, req *assessmentpb.GetSubmissionRequest) (*assessmentpb.Submission, error) {
	return r.service.submissionFor(ctx, req.GetCourseId(), req.GetSubmissionId(), req.GetNumber())
}

// entryOf returns who has handed something in, and the version of the assignment by which
// it is shown: that which is published now.
func (s *Service) entryOf(ctx context.Context, w *work) (*entry, *assignmentVersion, error) {
	var number int32
	if err := s.db.QueryRow(ctx, `SELECT version FROM assignment WHERE id = $1`, w.AssignmentID).Scan(&number); err != nil {
		return nil, nil, fmt.Errorf("assignment of submission: %w", err)
	}
	v, err := s.assignmentVersion(ctx, s.db, w.AssignmentID, number)
	if err != nil {
		return nil, nil, err
	}
	rows, err := s.db.Query(ctx, `
		WITH coded AS (
			SELECT u.account_id, u.group_id, encode(sha256(p.salt || convert_to(u.account_id || u.group_id, 'UTF8')), 'hex') COLLATE "C" AS code
			FROM submission u, placement p WHERE u.id = $4 AND p.course_id = $1 AND p.item_id = $2
		)`+entryColumns, w.CourseID, w.ItemID, w.AssignmentID, w.ID)
	if err != nil {
		return nil, nil, fmt.Errorf("read submission: %w", err)
	}
	list, err := collectEntries(rows)
	if err != nil {
		return nil, nil, err
	}
	if len(list) != 1 {
		return nil, nil, ErrSubmissionNotFound
	}
	return list[0], v, s.fillEntries(ctx, v, w.ItemID, list)
}

// submissionFor returns what was handed in as those see it who read and mark it.
func (s *Service) submissionFor(ctx context.Context, courseID, submissionID string, number int32) (*assessmentpb.Submission, error) {
	w, err := workOfCourse(ctx, s.db, courseID, submissionID, "")
	if err != nil {
		return nil, err
	}
	e, as, err := s.entryOf(ctx, w)
	if err != nil {
		return nil, err
	}
	told, err := s.entryMessages(ctx, []*entry{e})
	if err != nil {
		return nil, err
	}
	out := &assessmentpb.Submission{Entry: told[0], CourseId: w.CourseID, ItemId: w.ItemID, AssignmentId: w.AssignmentID}
	all, err := handedIn(ctx, s.db, []string{w.ID})
	if err != nil {
		return nil, err
	}
	versions := all[w.ID]
	if number == 0 {
		if number = w.Number; number == 0 {
			number = w.LastNumber
		}
	}
	at := slices.IndexFunc(versions, func(v handed) bool { return v.Number == number })
	if at < 0 {
		return nil, ErrSubmissionNotFound
	}
	late, err := latenessOf(ctx, s.db, w.ID)
	if err != nil {
		return nil, err
	}
	for _, v := range versions[:min(len(versions), 100)] {
		out.Versions = append(out.Versions, v.message(late[v.Number], e.revealed))
	}
	if out.Version, err = s.wholeVersion(ctx, w, versions[at], late[number], e.revealed); err != nil {
		return nil, err
	}
	return out, s.describeMarking(ctx, as, w, versions[at], out)
}

// latenessOf returns how late versions are, of those who handed in together for whom it is
// the least, by number.
func latenessOf(ctx context.Context, q pg.Querier, submissionID string) (map[int32]int64, error) {
	rows, err := q.Query(ctx, `SELECT number, min(late_seconds) FROM submission_member WHERE submission_id = $1 GROUP BY number`, submissionID)
	if err != nil {
		return nil, fmt.Errorf("lateness of submission: %w", err)
	}
	out := map[int32]int64{}
	var number int32
	var late int64
	if _, err := pgx.ForEachRow(rows, []any{&number, &late}, func() error {
		out[number] = late
		return nil
	}); err != nil {
		return nil, fmt.Errorf("lateness of submission: %w", err)
	}
	return out, nil
}

// message tells a version without its content.
func (v handed) message(late int64, revealed bool) *assessmentpb.SubmissionVersion {
	out := &assessmentpb.SubmissionVersion{
		Number: v.Number, AssignmentVersion: v.AssignmentVersion, Late: late > 0, Withdrawn: v.WithdrawnAt != nil,
		StatementAccepted: v.StatementAccepted, Words: v.Words,
	}
	if revealed {
		// The hash is made of who and when as well.
		out.SubmittedAt, out.SubmittedBy, out.WithdrawnAt, out.Hash = timestamppb.New(v.SubmittedAt), v.SubmittedBy, stampOf(v.WithdrawnAt), hex.EncodeToString(v.Hash)
	}
	return out
}

// wholeVersion tells a version with its content and its mark.
func (s *Service) wholeVersion(ctx context.Context, w *work, v handed, late int64, revealed bool) (*assessmentpb.SubmissionVersion, error) {
	out := v.message(late, revealed)
	shown, err := s.showVersion(ctx, w, v, int(v.Number), shownTo{account: auth.From(ctx).Account, staff: true, anonymous: !revealed})
	if err != nil {
		return nil, err
	}
	out.Content, out.TextHtml, out.Files, out.FeedbackFiles = shown.content, shown.html, shown.files, shown.feedback
	marks, err := s.marksOfVersions(ctx, w.ID, []handed{v})
	if err != nil {
		return nil, err
	}
	out.Mark = marks[v.Number]
	out.SimilarityChecks, err = s.checksOf(ctx, w.ID, v.Number)
	return out, err
}

// MarkSubmission implements assessmentpb.SubmissionServiceServer.
func (r *submissionServer) MarkSubmission(ctx context.Context, req *assessmentpb.MarkSubmissionRequest) (*assessmentpb.Submission, error) {
	s := r.service
	dues, err := s.duesOf(ctx, req.GetCourseId(), req.GetSubmissionId(), req.GetNumber())
	if fault.Is(err, fault.Unavailable) { // it is marked by what is known
		dues, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.SubmissionMark, error) {
		w, v, err := lockVersion(ctx, tx, req.GetCourseId(), req.GetSubmissionId(), req.GetNumber())
		if err != nil {
			return nil, err
		}
		if v.WithdrawnAt != nil {
			return nil, ErrSubmissionWithdrawn
		}
		as, err := s.settingsNow(ctx, tx, w)
		if err != nil {
			return nil, err
		}
		m, err := givenBy(ctx, tx, req, w, v)
		if err != nil {
			return nil, err
		}
		changed, err := setLateness(ctx, tx, w.ItemID, dues)
		if err != nil {
			return nil, err
		}
		if err := s.markedByStaff(ctx, tx, w, v, as, m); err != nil {
			return nil, err
		}
		if len(changed) > 0 { // where this makes no mark yet, nothing else tells it
			if err := s.submissionChanged(ctx, tx, w, changed, "extension"); err != nil {
				return nil, err
			}
		}
		return &assessmentpb.SubmissionMark{}, audit.Record(ctx, tx, audit.Entry{
			Action: "submission.marked", Object: w.ID, Course: w.CourseID,
			Before: map[string]any{"revision": v.MarkRevision}, After: map[string]any{"number": v.Number, "marked": m.points != nil},
		})
	}); err != nil {
		return nil, err
	}
	return s.submissionFor(ctx, req.GetCourseId(), req.GetSubmissionId(), req.GetNumber())
}

// lockVersion returns what was handed in and one version of it, locked.
func lockVersion(ctx context.Context, tx *pg.Tx, courseID, submissionID string, number int32) (*work, handed, error) {
	w, err := workOfCourse(ctx, tx, courseID, submissionID, "FOR UPDATE")
	if err != nil {
		return nil, handed{}, err
	}
	rows, err := tx.Query(ctx, `SELECT `+handedColumns+` FROM submission_version v WHERE v.submission_id = $1 AND v.number = $2 FOR UPDATE`, w.ID, number)
	if err != nil {
		return nil, handed{}, fmt.Errorf("lock version: %w", err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[handed])
	if pg.NoRows(err) {
		return nil, v, ErrSubmissionNotFound
	}
	if err != nil {
		return nil, v, fmt.Errorf("lock version: %w", err)
	}
	return w, v, nil
}

// markFault is the error of a mark that can't be.
func markFault(path, hint string, args ...any) error {
	return &fault.Error{
		Kind: fault.Invalid, Code: "mark.invalid", Message: "The mark has something that can't be.",
		Fields: []fault.Field{{Path: path, Code: "mark.invalid", Hint: fmt.Sprintf(hint, args...)}},
	}
}

// givenBy returns the mark that a request gives to a version.
func givenBy(ctx context.Context, q pg.Querier, req *assessmentpb.MarkSubmissionRequest, w *work, v handed) (givenMark, error) {
	m := givenMark{comment: req.GetComment(), comments: req.GetComments(), source: "marking", by: auth.From(ctx).Account}
	most, err := exact.Parse(v.MaxPoints)
	if err != nil {
		return m, err
	}
	switch {
	case req.GetRubric() != nil && (req.GetPoints() != "" || req.GetPercent() != ""):
		return m, markFault("rubric", "Send points, percent or a rubric, not more than one of them.")
	case req.GetRubric() != nil:
		fraction, err := chosenIn(ctx, q, rubricTarget{id: w.AssignmentID}, req.GetRubric())
		if err != nil {
			return m, err
		}
		n := fraction.Mul(most)
		m.points, m.rubric = &n, req.GetRubric()
	case req.GetPoints() != "" && req.GetPercent() != "":
		return m, markFault("percent", "Send points or percent, not both.")
	case req.GetPoints() != "":
		n, err := exact.Parse(req.GetPoints())
		if err != nil || n.Cmp(most.Mul(exact.Int(10))) > 0 {
			return m, markFault("points", "Send at most %s.", most.Mul(exact.Int(10)))
		}
		m.points = &n
	case req.GetPercent() != "":
		n, err := exact.Parse(req.GetPercent())
		if err != nil || n.Cmp(exact.Int(1000)) > 0 {
			return m, markFault("percent", "Send at most 1000.")
		}
		n = n.Mul(most).Div(exact.Int(100)).Round(6, exact.HalfEven)
		m.points = &n
	}
	if len(m.comments) == 0 {
		return m, nil
	}
	var text []byte
	if err := q.QueryRow(ctx, `SELECT content FROM submission_version WHERE submission_id = $1 AND number = $2`, v.SubmissionID, v.Number).Scan(&text); err != nil {
		return m, fmt.Errorf("content of version: %w", err)
	}
	content, err := contentOf(text)
	if err != nil {
		return m, err
	}
	return m, checkComments(m.comments, content)
}

// checkComments refuses remarks on what a version does not have.
func checkComments(list []*assessmentpb.InlineComment, content *assessmentpb.SubmissionContent) error {
	length := len([]rune(content.GetText()))
	seen := map[string]bool{}
	for i, c := range list {
		at := fmt.Sprintf("comments[%d]", i)
		if seen[c.GetKey()] {
			return markFault(at+".key", "Send keys that differ.")
		}
		seen[c.GetKey()] = true
		if t := c.GetText(); t != nil && (t.GetStart() >= t.GetEnd() || int(t.GetEnd()) > length) {
			return markFault(at+".text", "The text has %d characters: send a part of it that is not empty.", length)
		}
		f := c.GetFile()
		if f == nil {
			continue
		}
		switch {
		case !slices.Contains(content.GetMediaIds(), f.GetMediaId()):
			return markFault(at+".file.media_id", "Send a file of this version.")
		case f.GetPage() == 0 && (f.GetX() != 0 || f.GetY() != 0 || f.GetWidth() != 0 || f.GetHeight() != 0):
			return markFault(at+".file.page", "A place is on a page.")
		case f.GetX()+f.GetWidth() > 10_000 || f.GetY()+f.GetHeight() > 10_000:
			return markFault(at+".file", "The place ends outside of the page.")
		}
	}
	return nil
}

// ListMarks implements assessmentpb.SubmissionServiceServer.
func (r *submissionServer) ListMarks(ctx context.Context, req *assessmentpb.ListMarksRequest) (*assessmentpb.ListMarksResponse, error) {
	s := r.service
	w, err := workOfCourse(ctx, s.db, req.GetCourseId(), req.GetSubmissionId(), "")
	if err != nil {
		return nil, err
	}
	if req.GetNumber() > w.LastNumber {
		return nil, ErrSubmissionNotFound
	}
	list, err := s.readMarks(ctx, `m.submission_id = $1 AND m.number = $2`, w.ID, req.GetNumber())
	if err != nil {
		return nil, err
	}
	out := &assessmentpb.ListMarksResponse{}
	for _, m := range list {
		out.Items = append(out.Items, m.mark)
	}
	return out, nil
}

// ReturnSubmission implements assessmentpb.SubmissionServiceServer.
func (r *submissionServer) ReturnSubmission(ctx context.Context, req *assessmentpb.ReturnSubmissionRequest) (*assessmentpb.Submission, error) {
	s := r.service
	if _, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		w, err := workOfCourse(ctx, tx, req.GetCourseId(), req.GetSubmissionId(), "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		if w.Number == 0 {
			return nil, &fault.Error{Kind: fault.Conflict, Code: ErrSubmissionNothing.Code, Message: ErrSubmissionNothing.Message}
		}
		more := 1
		if w.Returned { // once more only once
			more = 0
		}
		if _, err := tx.Exec(ctx, `
			UPDATE submission SET returned = true, returns = returns + $2, returned_note = $3, returned_by = $4, returned_at = $5, updated_at = $5 WHERE id = $1`,
			w.ID, more, req.GetNote(), auth.From(ctx).Account, s.time()); err != nil {
			return nil, fmt.Errorf("return submission: %w", err)
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{Action: "submission.returned", Object: w.ID, Course: w.CourseID, After: map[string]any{"number": w.Number}})
	}); err != nil {
		return nil, err
	}
	return s.submissionFor(ctx, req.GetCourseId(), req.GetSubmissionId(), 0)
}

// AddFeedbackFile implements assessmentpb.SubmissionServiceServer.
func (r *submissionServer) AddFeedbackFile(ctx context.Context, req *assessmentpb.AddFeedbackFileRequest) (*assessmentpb.Submission, error) {
	s := r.service
	known, err := namedFiles(ctx, s.db, []string{req.GetMediaId()}, "")
	if err != nil {
		return nil, err
	}
	looked := map[string]fileFacts{}
	if len(known) == 0 {
		if looked, err = s.askFiles(ctx, req.GetCourseId(), "feedback", []string{req.GetMediaId()}, true); err != nil {
			return nil, err
		}
	}
	if _, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		w, v, err := lockVersion(ctx, tx, req.GetCourseId(), req.GetSubmissionId(), req.GetNumber())
		if err != nil {
			return nil, err
		}
		f, ok := looked[req.GetMediaId()]
		if !ok {
			return nil, fileUnknown("media_id")
		}
		if err := s.addFeedback(ctx, tx, w, v.Number, []fileFacts{f}); err != nil {
			return nil, err
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{Action: "submission.feedback_added", Object: w.ID, Course: w.CourseID, After: map[string]any{"number": v.Number, "file": f.MediaID}})
	}); err != nil {
		return nil, err
	}
	return s.submissionFor(ctx, req.GetCourseId(), req.GetSubmissionId(), req.GetNumber())
}

// addFeedback adds files to the feedback on a version of locked work.
func (s *Service) addFeedback(ctx context.Context, tx *pg.Tx, w *work, number int32, files []fileFacts) error {
	var n int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM submission_file WHERE submission_id = $1 AND number = $2 AND purpose = 'feedback' AND state = 'kept'`, w.ID, number).Scan(&n); err != nil {
		return fmt.Errorf("count feedback files: %w", err)
	}
	if n+len(files) > maxFeedbackFiles {
		return ErrFeedbackFull
	}
	batch := &pgx.Batch{}
	for _, f := range files {
		queueFile(batch, w, number, "feedback", "kept", f, auth.From(ctx).Account, s.time())
	}
	tx.AfterCommit(s.wakeFiles)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		if pg.Violates(err, "submission_file_pkey") {
			return fileUnknown("media_id")
		}
		return fmt.Errorf("add feedback: %w", err)
	}
	return nil
}

// DeleteFeedbackFile implements assessmentpb.SubmissionServiceServer.
func (r *submissionServer) DeleteFeedbackFile(ctx context.Context, req *assessmentpb.DeleteFeedbackFileRequest) (*emptypb.Empty, error) {
	s := r.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		w, v, err := lockVersion(ctx, tx, req.GetCourseId(), req.GetSubmissionId(), req.GetNumber())
		if err != nil {
			return nil, err
		}
		tag, err := tx.Exec(ctx, `UPDATE submission_file SET state = 'dropped' WHERE media_id = $1 AND submission_id = $2 AND number = $3 AND purpose = 'feedback' AND state = 'kept'`,
			req.GetMediaId(), w.ID, v.Number)
		if err != nil {
			return nil, fmt.Errorf("delete feedback: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil, ErrFileNotFound
		}
		tx.AfterCommit(s.wakeFiles)
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{Action: "submission.feedback_deleted", Object: w.ID, Course: w.CourseID, Before: map[string]any{"number": v.Number, "file": req.GetMediaId()}})
	})
}

// duesOf asks by when a version is due for those who handed it in, as that is now. Of who
// takes the course no more it stays as it was. It calls learning: never in a transaction.
func (s *Service) duesOf(ctx context.Context, courseID, submissionID string, number int32) ([]dueAt, error) {
	w, err := workOfCourse(ctx, s.db, courseID, submissionID, "")
	if err != nil {
		return nil, err
	}
	members, err := membersOfVersion(ctx, s.db, w.ID, number)
	if err != nil {
		return nil, err
	}
	return s.duesFor(ctx, courseID, w.ItemID, members)
}

func (s *Service) duesFor(ctx context.Context, courseID, itemID string, accounts []string) ([]dueAt, error) {
	var out []dueAt
	for some := range slices.Chunk(accounts, maxStandings) {
		list, err := s.standings(ctx, courseID, itemID, some)
		if err != nil {
			return nil, err
		}
		for _, st := range list {
			if st.enrolled && st.state != "absent" {
				out = append(out, dueAt{st.accountID, st.due})
			}
		}
	}
	return out, nil
}

// RecomputeLateness implements assessmentpb.SubmissionServiceServer. It does so for some
// people after the other, each in a transaction of its own.
func (r *submissionServer) RecomputeLateness(ctx context.Context, req *assessmentpb.RecomputeLatenessRequest) (*assessmentpb.RecomputeLatenessResponse, error) {
	s := r.service
	v, err := s.assignmentAt(ctx, s.db, req.GetCourseId(), req.GetItemId())
	if err != nil {
		return nil, err
	}
	out := &assessmentpb.RecomputeLatenessResponse{}
	for after := ""; ; {
		rows, err := s.db.Query(ctx, `
			SELECT DISTINCT account_id FROM submission_member WHERE item_id = $1 AND account_id > $2 ORDER BY account_id LIMIT $3`, req.GetItemId(), after, maxStandings)
		if err != nil {
			return nil, fmt.Errorf("who has handed in: %w", err)
		}
		accounts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, fmt.Errorf("who has handed in: %w", err)
		}
		if len(accounts) == 0 {
			return out, nil
		}
		after = accounts[len(accounts)-1]
		dues, err := s.duesFor(ctx, req.GetCourseId(), req.GetItemId(), accounts)
		if err != nil {
			return nil, err
		}
		n := 0
		if err := s.db.InTx(ctx, func(tx *pg.Tx) error {
			changed, err := setLateness(ctx, tx, req.GetItemId(), dues)
			if err != nil {
				return err
			}
			if n = len(changed); n == 0 {
				tx.Exempt("nothing differs")
				return nil
			}
			if err := s.remarkWork(ctx, tx, req.GetCourseId(), req.GetItemId(), v.AssignmentID, changed, "extension"); err != nil {
				return err
			}
			return audit.Record(ctx, tx, audit.Entry{Action: "submission.lateness_recomputed", Object: v.AssignmentID, Course: req.GetCourseId(), After: map[string]any{"item": req.GetItemId(), "accounts": n}})
		}); err != nil {
			return nil, err
		}
		out.Changed += int32(n)
	}
}
