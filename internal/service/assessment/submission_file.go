package assessment

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// maxFeedbackFiles is how many files the feedback on a version has at most.
const maxFeedbackFiles = 50

// Errors of files.
var (
	ErrFeedbackFull = fault.New(fault.Conflict, "submission.too_many_files", "The feedback on one version has at most %d files.", maxFeedbackFiles)
	ErrFileNotFound = fault.New(fault.NotFound, "media.not_found", "There is no such file.")
)

// fileUnknown is told of a file that the caller has not uploaded for this.
func fileUnknown(path string) error {
	return &fault.Error{
		Kind: fault.Invalid, Code: "media.not_found", Message: "There is no such file.",
		Fields: []fault.Field{{Path: path, Code: "media.not_found", Hint: "Send files that you have uploaded for this."}},
	}
}

// namedFile is a file as it is known here.
type namedFile struct {
	fileFacts

	SubmissionID string
	Purpose      string
	Standing     string // of its row: draft, kept, dropped, gone
}

// namedFiles returns what is known of files.
func namedFiles(ctx context.Context, q pg.Querier, ids []string, lock string) (map[string]namedFile, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := q.Query(ctx, `
		SELECT media_id, filename, content_type, size, sha256, '' AS state, submission_id, purpose, state AS standing FROM submission_file
		WHERE media_id = ANY ($1) ORDER BY media_id `+lock, ids)
	if err != nil {
		return nil, fmt.Errorf("files of submission: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[namedFile])
	if err != nil {
		return nil, fmt.Errorf("files of submission: %w", err)
	}
	out := map[string]namedFile{}
	for _, f := range list {
		out[f.MediaID] = f
	}
	return out, nil
}

func factsOf(m *mediapb.Media) fileFacts {
	return fileFacts{MediaID: m.GetId(), Filename: m.GetFilename(), ContentType: m.GetContentType(), Size: m.GetSize(), SHA256: m.GetSha256(), State: m.GetState()}
}

// lookAtFiles asks what is known of those of some files that nothing has named yet and
// the caller has uploaded. It calls media: never in a transaction. Who may not know of
// the item learns nothing of it by this.
func (s *Service) lookAtFiles(ctx context.Context, courseID, _ string, ids []string) (map[string]fileFacts, error) {
	known, err := namedFiles(ctx, s.db, ids, "")
	if err != nil {
		return nil, err
	}
	fresh := slices.DeleteFunc(slices.Clone(ids), func(m string) bool { _, ok := known[m]; return ok })
	return s.askFiles(ctx, courseID, "submission", fresh, true)
}

// askFiles returns what is known of files that the caller has uploaded, and has them
// kept where it is not only to look.
func (s *Service) askFiles(ctx context.Context, courseID, purpose string, ids []string, look bool) (map[string]fileFacts, error) {
	out := map[string]fileFacts{}
	if len(ids) == 0 {
		return out, nil
	}
	res, err := s.files.KeepSubmissionFiles(ctx, &mediapb.KeepSubmissionFilesRequest{
		CourseId: courseID, AccountIds: []string{auth.From(ctx).Account}, MediaIds: ids, Purpose: purpose, LookOnly: look,
	})
	if err != nil {
		return nil, err
	}
	for _, m := range res.GetItems() {
		out[m.GetId()] = factsOf(m)
	}
	return out, nil
}

// nameFiles makes the draft of locked work name these files and no others of the draft,
// and returns what is known of them.
func (s *Service) nameFiles(ctx context.Context, tx *pg.Tx, w *work, ids []string, looked map[string]fileFacts) (map[string]fileFacts, error) {
	if err := s.dropDraftFiles(ctx, tx, w.ID, ids); err != nil {
		return nil, err
	}
	known, err := namedFiles(ctx, tx, ids, "")
	if err != nil {
		return nil, err
	}
	out := map[string]fileFacts{}
	batch := &pgx.Batch{}
	for i, mediaID := range ids {
		if f, ok := known[mediaID]; ok {
			if f.SubmissionID != w.ID || f.Purpose != "submission" || f.Standing != "draft" && f.Standing != "kept" {
				return nil, fileUnknown(fmt.Sprintf("content.media_ids[%d]", i))
			}
			out[mediaID] = f.fileFacts
			continue
		}
		f, ok := looked[mediaID]
		if !ok {
			return nil, fileUnknown(fmt.Sprintf("content.media_ids[%d]", i))
		}
		out[mediaID] = f
		queueFile(batch, w, 0, "submission", "draft", f, auth.From(ctx).Account, s.time())
	}
	if batch.Len() == 0 {
		return out, nil
	}
	tx.AfterCommit(s.wakeFiles)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		if pg.Violates(err, "submission_file_pkey") { // another submission was quicker
			return nil, fileUnknown("content.media_ids")
		}
		return nil, fmt.Errorf("name files: %w", err)
	}
	return out, nil
}

func queueFile(batch *pgx.Batch, w *work, number int32, purpose, state string, f fileFacts, by string, at time.Time) {
	batch.Queue(`
		INSERT INTO submission_file (media_id, submission_id, course_id, number, purpose, state, filename, content_type, size, sha256, added_by, added_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		f.MediaID, w.ID, w.CourseID, number, purpose, state, f.Filename, f.ContentType, f.Size, f.SHA256, by, at)
}

// dropDraftFiles has the files of a draft deleted that are not named any more. Those that
// a version has stay.
func (s *Service) dropDraftFiles(ctx context.Context, tx *pg.Tx, submissionID string, named []string) error {
	tag, err := tx.Exec(ctx, `UPDATE submission_file SET state = 'dropped' WHERE submission_id = $1 AND state = 'draft' AND media_id <> ALL ($2)`,
		submissionID, append([]string{}, named...))
	if err != nil {
		return fmt.Errorf("drop files: %w", err)
	}
	if tag.RowsAffected() > 0 {
		tx.AfterCommit(s.wakeFiles)
	}
	return nil
}

// shownTo is whom files are shown to, who was found entitled to read them.
type shownTo struct {
	account   string
	staff     bool
	anonymous bool
}

// showFiles returns files of a submission in an order, with addresses for who reads them.
// It calls media.
func (s *Service) showFiles(ctx context.Context, courseID, submissionID string, ids []string, to shownTo) ([]*assessmentpb.SubmissionFile, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	known, err := namedFiles(ctx, s.db, ids, "")
	if err != nil {
		return nil, err
	}
	shown := map[string]*mediapb.Media{}
	for some := range slices.Chunk(ids, 200) {
		res, err := s.files.ShowSubmissionFiles(ctx, &mediapb.ShowSubmissionFilesRequest{
			CourseId: courseID, MediaIds: some, AccountId: to.account, Staff: to.staff, Anonymous: to.anonymous,
		})
		if err != nil {
			return nil, err
		}
		for _, m := range res.GetItems() {
			shown[m.GetId()] = m
		}
	}
	var out []*assessmentpb.SubmissionFile
	for i, mediaID := range ids {
		f, ok := known[mediaID]
		if !ok || f.SubmissionID != submissionID {
			continue
		}
		one := &assessmentpb.SubmissionFile{MediaId: mediaID, Filename: f.Filename, ContentType: f.ContentType, Size: f.Size, Sha256: f.SHA256, Media: shown[mediaID]}
		if to.anonymous && f.Purpose == "submission" {
			one.Filename = neutralName(i, f.Filename)
		}
		if one.Media != nil {
			one.Media.Filename = one.GetFilename()
		}
		out = append(out, one)
	}
	return out, nil
}

// neutralName is what a file is called where its name is not to be told.
func neutralName(i int, name string) string {
	ext := strings.ToLower(path.Ext(name))
	if len(ext) < 2 || len(ext) > 11 || strings.Trim(ext[1:], "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		ext = ""
	}
	return fmt.Sprintf("file-%d%s", i+1, ext)
}

// shownVersion is the content of a version as it is shown.
type shownVersion struct {
	content  *assessmentpb.SubmissionContent
	html     string
	files    []*assessmentpb.SubmissionFile
	feedback []*assessmentpb.SubmissionFile
}

// showVersion returns the content of a version, and the files of the feedback on the one
// of a number.
func (s *Service) showVersion(ctx context.Context, w *work, v handed, feedback int, to shownTo) (shownVersion, error) {
	var out shownVersion
	var text []byte
	if err := s.db.QueryRow(ctx, `SELECT content FROM submission_version WHERE submission_id = $1 AND number = $2`, w.ID, v.Number).Scan(&text); err != nil {
		return out, fmt.Errorf("content of version: %w", err)
	}
	var err error
	if out.content, err = contentOf(text); err != nil {
		return out, err
	}
	version, err := s.assignmentVersion(ctx, s.db, w.AssignmentID, v.AssignmentVersion)
	if err != nil {
		return out, err
	}
	if t := version.Settings.GetText(); t != nil && t.GetFormat() == "markdown" && out.content.GetText() != "" {
		out.html = s.markdown.Render(out.content.GetText())
	}
	if out.files, err = s.showFiles(ctx, w.CourseID, w.ID, out.content.GetMediaIds(), to); err != nil {
		return out, err
	}
	if feedback == 0 {
		return out, nil
	}
	rows, err := s.db.Query(ctx, `
		SELECT media_id FROM submission_file WHERE submission_id = $1 AND number = $2 AND purpose = 'feedback' AND state = 'kept' ORDER BY added_at, media_id`, w.ID, feedback)
	if err != nil {
		return out, fmt.Errorf("feedback files: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return out, fmt.Errorf("feedback files: %w", err)
	}
	out.feedback, err = s.showFiles(ctx, w.CourseID, w.ID, ids, to)
	return out, err
}

// wakeFiles has what is to be kept and dropped looked at, and what else the worker does.
func (s *Service) wakeFiles() {
	select {
	case s.unfiled <- struct{}{}:
	default: // somebody is about to look anyway
	}
}

// keepFiling has media keep what drafts name and drop what nothing names any more, marks
// follow assignments that were published anew, and reviewing by students begin and end,
// until ctx ends. Any number of processes may run it: all of it may be done twice.
func (s *Service) keepFiling(ctx context.Context) {
	const beat = 5 * time.Second
	for ctx.Err() == nil {
		for _, step := range []func(context.Context) (bool, error){s.tellFiles, s.dropFiles, s.remarkAssignments, s.assignmentsDue, s.beginPeersDue, s.losePeersDue, s.endPeersDue, s.markPeers} {
			for more := true; more && ctx.Err() == nil; {
				var err error
				if more, err = step(ctx); err != nil && ctx.Err() == nil {
					s.log.WarnContext(ctx, "files that are handed in could not be kept or dropped yet", "error", err.Error())
				}
			}
		}
		s.wait(ctx, s.unfiled, beat)
	}
}

// fileBatch is how many files media is told of at once.
const fileBatch = 200

// tellFiles has media keep files that are named here.
func (s *Service) tellFiles(ctx context.Context) (bool, error) {
	rows, err := s.db.Query(ctx, `
		SELECT media_id, course_id, purpose, added_by FROM submission_file WHERE NOT told AND state IN ('draft', 'kept') ORDER BY added_at LIMIT $1`, fileBatch)
	if err != nil {
		return false, fmt.Errorf("files to keep: %w", err)
	}
	type untold struct{ MediaID, CourseID, Purpose, AddedBy string }
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[untold])
	if err != nil || len(list) == 0 {
		return false, err
	}
	groups := map[untold][]string{}
	for _, f := range list {
		key := untold{"", f.CourseID, f.Purpose, f.AddedBy}
		groups[key] = append(groups[key], f.MediaID)
	}
	for key, ids := range groups {
		if _, err := s.files.KeepSubmissionFiles(ctx, &mediapb.KeepSubmissionFilesRequest{
			CourseId: key.CourseID, AccountIds: []string{key.AddedBy}, MediaIds: ids, Purpose: key.Purpose,
		}); err != nil {
			return false, err
		}
		if err := s.markFiles(ctx, `UPDATE submission_file SET told = true WHERE media_id = ANY ($1)`, ids); err != nil {
			return false, err
		}
	}
	return len(list) == fileBatch, nil
}

// dropFiles has media delete files that nothing names any more.
func (s *Service) dropFiles(ctx context.Context) (bool, error) {
	rows, err := s.db.Query(ctx, `SELECT course_id, media_id FROM submission_file WHERE state = 'dropped' ORDER BY course_id, media_id LIMIT $1`, fileBatch)
	if err != nil {
		return false, fmt.Errorf("files to drop: %w", err)
	}
	groups := map[string][]string{}
	var courseID, mediaID string
	n := 0
	if _, err := pgx.ForEachRow(rows, []any{&courseID, &mediaID}, func() error {
		groups[courseID] = append(groups[courseID], mediaID)
		n++
		return nil
	}); err != nil {
		return false, fmt.Errorf("files to drop: %w", err)
	}
	for courseID, ids := range groups {
		if _, err := s.files.DropSubmissionFiles(ctx, &mediapb.DropSubmissionFilesRequest{CourseId: courseID, MediaIds: ids}); err != nil {
			return false, err
		}
		if err := s.markFiles(ctx, `UPDATE submission_file SET state = 'gone', filename = '' WHERE media_id = ANY ($1) AND state = 'dropped'`, ids); err != nil {
			return false, err
		}
	}
	return n == fileBatch, nil
}

func (s *Service) markFiles(ctx context.Context, sql string, ids []string) error {
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a mark of the worker for itself")
		if _, err := tx.Exec(ctx, sql, ids); err != nil {
			return fmt.Errorf("mark files: %w", err)
		}
		return nil
	})
}

// stillThere refuses files that media does not have any more, or in which malware was
// found since. It calls media.
func (s *Service) stillThere(ctx context.Context, courseID string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	res, err := s.files.ShowSubmissionFiles(ctx, &mediapb.ShowSubmissionFilesRequest{CourseId: courseID, MediaIds: ids, AccountId: auth.From(ctx).Account})
	if err != nil {
		return err
	}
	states := map[string]string{}
	for _, m := range res.GetItems() {
		states[m.GetId()] = m.GetState()
	}
	var bad submissionFields
	for i, mediaID := range ids {
		at := fmt.Sprintf("content.media_ids[%d]", i)
		switch state, ok := states[mediaID]; {
		case !ok:
			bad.add(at, "submission.file_refused", "The file was deleted: upload it again.")
		case state == "refused":
			bad.add(at, "submission.file_refused", "Malware was found in the file.")
		}
	}
	return bad.err("A file can't be handed in.")
}
