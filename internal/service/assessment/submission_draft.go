package assessment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

func moment(text string) (*timestamppb.Timestamp, bool) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, false
	}
	return timestamppb.New(at), true
}

// ready is what is known of who hands in before a transaction begins, as it takes calls
// to know it. The transaction looks whether it still holds.
type ready struct {
	itemID    string
	version   *assignmentVersion
	unit      unit
	members   []string
	standings map[string]*standing
	arrived   time.Time // when the call came: what counts
}

// prepareWork asks all that is to be known of the caller's assignment at an item. It
// calls other services: never in a transaction.
func (s *Service) prepareWork(ctx context.Context, courseID, itemID string, arrived time.Time) (*ready, error) {
	v, err := s.assignmentAt(ctx, s.db, courseID, itemID)
	if err != nil {
		return nil, err
	}
	account := auth.From(ctx).Account
	r := &ready{itemID: itemID, version: v, arrived: arrived, standings: map[string]*standing{}}
	own, err := s.standings(ctx, courseID, itemID, []string{account})
	if err != nil {
		return nil, err
	}
	// Who may not know of it is told before anything else is.
	switch st := own[0]; {
	case !st.enrolled: // access let them in: learning is about to hear it
		return nil, ErrSubmissionEnrolling
	case st.state == "hidden" || st.state == "absent":
		return nil, ErrAssignmentNotFound
	}
	r.standings[account] = own[0]
	if r.unit, err = unitNow(ctx, s.db, v, account); err != nil {
		return nil, err
	}
	if r.members, err = r.unit.members(ctx, s.db, courseID); err != nil {
		return nil, err
	}
	others := slices.DeleteFunc(slices.Clone(r.members), func(a string) bool { return a == account })
	for some := range slices.Chunk(others, maxStandings) {
		list, err := s.standings(ctx, courseID, itemID, some)
		if err != nil {
			return nil, err
		}
		for _, st := range list {
			r.standings[st.accountID] = st
		}
	}
	return r, nil
}

// maxStandings is for how many people it is asked at once how an item stands.
const maxStandings = 500

// own is how the item stands for the caller.
func (r *ready) own(ctx context.Context) *standing { return r.standings[auth.From(ctx).Account] }

// withWork does something with the caller's work, whose row is locked, once what was
// asked before still holds; it asks again where it does not. The row is made where there
// is none.
func withWork[M any, R interface {
	*M
	proto.Message
}](ctx context.Context, s *Service, req proto.Message, courseID, itemID string, do func(tx *pg.Tx, r *ready, w *work) (R, error)) (R, error) {
	arrived := s.time()
	for range 5 {
		r, err := s.prepareWork(ctx, courseID, itemID, arrived)
		if err != nil {
			return nil, err
		}
		out, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (R, error) {
			// Nobody publishes or deletes it while something is handed in.
			var number int32
			err := tx.QueryRow(ctx, `SELECT version FROM assignment WHERE id = $1 AND deleted_at IS NULL FOR SHARE`, r.version.AssignmentID).Scan(&number)
			if pg.NoRows(err) {
				return nil, ErrAssignmentNotFound
			}
			if err != nil {
				return nil, fmt.Errorf("lock assignment: %w", err)
			}
			w, err := s.lockWork(ctx, tx, r)
			if err != nil {
				return nil, err
			}
			// Looked at once the row is locked: who comes into the group from here on comes
			// after this.
			u, err := unitNow(ctx, tx, r.version, auth.From(ctx).Account)
			if err != nil {
				return nil, err
			}
			members, err := u.members(ctx, tx, courseID)
			if err != nil {
				return nil, err
			}
			if number != r.version.Number || u.accountID != r.unit.accountID || u.groupID != r.unit.groupID || !slices.Equal(members, r.members) {
				return nil, errUnitMoved
			}
			return do(tx, r, w)
		})
		if !errors.Is(err, errUnitMoved) {
			return out, err
		}
	}
	return nil, errUnitMoved
}

// lockWork returns the row of a unit's work, made where there is none, as nobody else can
// change it any more.
func (s *Service) lockWork(ctx context.Context, tx *pg.Tx, r *ready) (*work, error) {
	now := s.time()
	if _, err := tx.Exec(ctx, `
		INSERT INTO submission (id, course_id, item_id, assignment_id, account_id, group_id, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
		ON CONFLICT ON CONSTRAINT submission_of DO NOTHING`,
		id.New("submission"), r.version.CourseID, r.itemID, r.version.AssignmentID, r.unit.accountID, r.unit.groupID, now); err != nil {
		return nil, fmt.Errorf("insert submission: %w", err)
	}
	w, err := readWork(ctx, tx, workOfUnit+` FOR UPDATE`, r.version.AssignmentID, r.itemID, r.unit.accountID, r.unit.groupID)
	if err == nil && w == nil {
		err = errors.New("a submission is gone that was just made")
	}
	return w, err
}

// usedBy returns how often something was handed in and not taken back.
func usedBy(ctx context.Context, q pg.Querier, submissionID string) (int, error) {
	var n int
	if err := q.QueryRow(ctx, `SELECT count(*) FROM submission_version WHERE submission_id = $1 AND withdrawn_at IS NULL`, submissionID).Scan(&n); err != nil {
		return 0, fmt.Errorf("count versions: %w", err)
	}
	return n, nil
}

// matchDraft holds a change of a draft to If-Match: who brings none may not overwrite
// what another of the group has changed within the hour.
func (w *work) match(ctx context.Context, now time.Time) error {
	etag := strconv.FormatInt(w.DraftRevision, 10)
	if w.DraftAt == nil {
		return rpc.Match(ctx, etag)
	}
	return quiz{Revision: w.DraftRevision, EditedBy: w.DraftBy, EditedAt: w.DraftAt}.match(ctx, now)
}

// SaveDraft implements assessmentpb.MySubmissionServiceServer.
func (h *mySubmissionServer) SaveDraft(ctx context.Context, req *assessmentpb.SaveDraftRequest) (*assessmentpb.SubmissionDraft, error) {
	s := h.service
	content := &assessmentpb.SubmissionContent{}
	if req.GetContent() != nil {
		content = req.GetContent()
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(content)
	if err != nil {
		return nil, err
	}
	files, err := s.lookAtFiles(ctx, req.GetCourseId(), req.GetItemId(), content.GetMediaIds())
	if err != nil {
		return nil, err
	}
	var saved *work
	out, err := withWork(ctx, s, req, req.GetCourseId(), req.GetItemId(), func(tx *pg.Tx, r *ready, w *work) (*assessmentpb.SubmissionDraft, error) {
		saved = w
		if err := checkKinds(r.version.Settings, content); err != nil {
			return nil, err
		}
		used, err := usedBy(ctx, tx, w.ID)
		if err != nil {
			return nil, err
		}
		if refused := refuseSubmission(r.version.Settings, r.own(ctx), w, used, r.arrived); refused != nil {
			return nil, refused
		}
		tx.Exempt("a draft, which is not handed in")
		if w.DraftAt != nil && string(w.Draft) == string(text) {
			return draftOf(w, content), nil
		}
		if err := w.match(ctx, r.arrived); err != nil {
			return nil, err
		}
		known, err := s.nameFiles(ctx, tx, w, content.GetMediaIds(), files)
		if err != nil {
			return nil, err
		}
		if err := checkFiles(r.version.Settings.GetFiles(), content.GetMediaIds(), known); err != nil {
			return nil, err
		}
		now, who := s.time(), auth.From(ctx).Account
		w.Draft, w.DraftRevision, w.DraftBy, w.DraftAt = text, w.DraftRevision+1, who, &now
		if _, err := tx.Exec(ctx, `UPDATE submission SET draft = $2, draft_revision = $3, draft_by = $4, draft_at = $5, updated_at = $5 WHERE id = $1`,
			w.ID, text, w.DraftRevision, who, now); err != nil {
			return nil, fmt.Errorf("store draft: %w", err)
		}
		return draftOf(w, content), nil
	})
	if err != nil {
		return nil, err
	}
	if saved == nil { // told again
		if saved, err = s.workNow(ctx, req.GetCourseId(), req.GetItemId()); err != nil || saved == nil {
			return out, err
		}
	}
	// Their addresses are of the moment, and not kept with the answer.
	out.Files, err = s.showFiles(ctx, req.GetCourseId(), saved.ID, out.GetContent().GetMediaIds(), shownTo{account: auth.From(ctx).Account})
	return out, err
}

// workNow returns the caller's work at an item as it is, nil for none.
func (s *Service) workNow(ctx context.Context, courseID, itemID string) (*work, error) {
	v, err := s.assignmentAt(ctx, s.db, courseID, itemID)
	if err != nil {
		return nil, err
	}
	u, err := unitNow(ctx, s.db, v, auth.From(ctx).Account)
	if err != nil {
		return nil, err
	}
	return workOf(ctx, s.db, v.AssignmentID, itemID, u)
}

// DiscardDraft implements assessmentpb.MySubmissionServiceServer.
func (h *mySubmissionServer) DiscardDraft(ctx context.Context, req *assessmentpb.DiscardDraftRequest) (*emptypb.Empty, error) {
	s := h.service
	return withWork(ctx, s, req, req.GetCourseId(), req.GetItemId(), func(tx *pg.Tx, r *ready, w *work) (*emptypb.Empty, error) {
		if w.DraftAt == nil {
			return nil, ErrSubmissionNoDraft
		}
		if err := w.match(ctx, r.arrived); err != nil {
			return nil, err
		}
		tx.Exempt("a draft, which is not handed in")
		if err := s.dropDraftFiles(ctx, tx, w.ID, nil); err != nil {
			return nil, err
		}
		return &emptypb.Empty{}, clearDraft(ctx, tx, w)
	})
}

// clearDraft takes a draft away.
func clearDraft(ctx context.Context, tx *pg.Tx, w *work) error {
	w.Draft, w.DraftAt, w.DraftBy, w.DraftRevision = nil, nil, "", w.DraftRevision+1
	if _, err := tx.Exec(ctx, `UPDATE submission SET draft = NULL, draft_at = NULL, draft_by = '', draft_revision = $2 WHERE id = $1`, w.ID, w.DraftRevision); err != nil {
		return fmt.Errorf("clear draft: %w", err)
	}
	return nil
}
