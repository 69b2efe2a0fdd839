package access

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// noteField is what the key of a person seals a note for.
const noteField = "accommodation.note"

// accommodation is that exams and deadlines are eased for a person.
type accommodation struct {
	ID            string
	AccountID     string
	CourseID      string
	TimePercent   int32
	ExtraAttempts int32
	ExtraDays     int32
	Breaks        bool
	Note          []byte
	GrantedAt     time.Time
	EndedAt       *time.Time
}

const accommodationColumns = `id, account_id, course_id, time_percent, extra_attempts, extra_days, breaks, note, granted_at, ended_at`

// SetCourseAccommodation implements accesspb.AccommodationServiceServer.
func (s *Service) SetCourseAccommodation(ctx context.Context, req *accesspb.SetCourseAccommodationRequest) (*accesspb.Accommodation, error) {
	return s.setAccommodation(ctx, req, req.GetAccountId(), req.GetCourseId(), req.GetEase(), req.GetNote())
}

// SetAccommodation implements accesspb.AccommodationServiceServer.
func (s *Service) SetAccommodation(ctx context.Context, req *accesspb.SetAccommodationRequest) (*accesspb.Accommodation, error) {
	return s.setAccommodation(ctx, req, req.GetAccountId(), "", req.GetEase(), req.GetNote())
}

// setAccommodation answers without the note: the answer is kept for those who
// ask again, and the note is kept sealed alone.
func (s *Service) setAccommodation(ctx context.Context, req proto.Message, accountID, courseID string, ease *accesspb.Ease, note string) (*accesspb.Accommodation, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Accommodation, error) {
		// The person's row keeps two changes at once in a line.
		err := tx.QueryRow(ctx, `SELECT account_id FROM person WHERE account_id = $1 FOR UPDATE`, accountID).Scan(new(string))
		if pg.NoRows(err) {
			return nil, errAccountUnknown
		}
		if err != nil {
			return nil, fmt.Errorf("person: %w", err)
		}
		now := s.now()
		a := accommodation{
			ID: id.New("accommodation"), AccountID: accountID, CourseID: courseID, TimePercent: ease.GetTimePercent(),
			ExtraAttempts: ease.GetExtraAttempts(), ExtraDays: ease.GetExtraDays(), Breaks: ease.GetBreaks(), GrantedAt: now,
		}
		if note != "" {
			key, err := s.vault.KeyIn(ctx, tx, accountID)
			if err != nil {
				return nil, err
			}
			a.Note = key.Seal(noteField, []byte(note))
		}
		_, err = tx.Exec(ctx, `UPDATE accommodation SET ended_at = $3, ended_by = $4 WHERE account_id = $1 AND course_id = $2 AND ended_at IS NULL`,
			accountID, courseID, now, actor(ctx))
		if err != nil {
			return nil, fmt.Errorf("accommodation: %w", err)
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO accommodation (id, account_id, course_id, time_percent, extra_attempts, extra_days, breaks, note, granted_by, granted_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			a.ID, accountID, courseID, a.TimePercent, a.ExtraAttempts, a.ExtraDays, a.Breaks, a.Note, actor(ctx), now)
		if err != nil {
			return nil, fmt.Errorf("accommodation: %w", err)
		}
		return toAccommodation(a), tellAccommodation(ctx, tx, a)
	})
}

// WithdrawCourseAccommodation implements accesspb.AccommodationServiceServer.
func (s *Service) WithdrawCourseAccommodation(ctx context.Context, req *accesspb.WithdrawCourseAccommodationRequest) (*accesspb.Accommodation, error) {
	return s.withdraw(ctx, req, req.GetCourseId(), req.GetAccommodationId())
}

// WithdrawAccommodation implements accesspb.AccommodationServiceServer.
func (s *Service) WithdrawAccommodation(ctx context.Context, req *accesspb.WithdrawAccommodationRequest) (*accesspb.Accommodation, error) {
	return s.withdraw(ctx, req, "", req.GetAccommodationId())
}

func (s *Service) withdraw(ctx context.Context, req proto.Message, courseID, accommodationID string) (*accesspb.Accommodation, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Accommodation, error) {
		rows, err := tx.Query(ctx, `
			UPDATE accommodation SET ended_at = $3, ended_by = $4 WHERE id = $1 AND course_id = $2 AND ended_at IS NULL
			RETURNING `+accommodationColumns, accommodationID, courseID, s.now(), actor(ctx))
		if err != nil {
			return nil, fmt.Errorf("withdraw: %w", err)
		}
		a, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[accommodation])
		if pg.NoRows(err) {
			return nil, ErrNotFound
		}
		if err != nil {
			return nil, fmt.Errorf("withdraw: %w", err)
		}
		return toAccommodation(a), tellAccommodation(ctx, tx, a)
	})
}

// tellAccommodation records a change and tells it.
func tellAccommodation(ctx context.Context, tx *pg.Tx, a accommodation) error {
	entry := audit.Entry{Action: "accommodation.set", Object: a.ID, Course: a.CourseID, Person: a.AccountID, After: toAccommodation(a)}
	if a.EndedAt != nil {
		entry = audit.Entry{Action: "accommodation.withdrawn", Object: a.ID, Course: a.CourseID, Person: a.AccountID, Before: toAccommodation(a)}
	}
	if err := audit.Record(ctx, tx, entry); err != nil {
		return err
	}
	return bus.Publish(ctx, tx, &accesspb.AccommodationChanged{
		AccommodationId: a.ID, AccountId: a.AccountID, CourseId: a.CourseID, Withdrawn: a.EndedAt != nil,
	})
}

// ListCourseAccommodations implements accesspb.AccommodationServiceServer.
func (s *Service) ListCourseAccommodations(ctx context.Context, req *accesspb.ListCourseAccommodationsRequest) (*accesspb.ListCourseAccommodationsResponse, error) {
	values, err := page.Values(req.GetCursor(), 1)
	if err != nil {
		return nil, err
	}
	before := "accommodation`" // sorts after every id
	if values != nil {
		if before = values[0]; !id.Valid("accommodation", before) {
			return nil, page.ErrCursor
		}
	}
	limit := page.Size(req.GetPageSize())
	list, err := s.accommodations(ctx, `course_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3`, req.GetCourseId(), before, limit+1)
	if err != nil {
		return nil, err
	}
	out := &accesspb.ListCourseAccommodationsResponse{}
	if len(list) > limit {
		list = list[:limit]
		out.NextCursor = page.Cursor(list[limit-1].ID)
	}
	out.Items, err = s.withNotes(ctx, list)
	return out, err
}

// ListMyAccommodations implements accesspb.AccommodationServiceServer.
func (s *Service) ListMyAccommodations(ctx context.Context, _ *accesspb.ListMyAccommodationsRequest) (*accesspb.ListMyAccommodationsResponse, error) {
	list, err := s.accommodations(ctx, `account_id = $1 AND ended_at IS NULL ORDER BY id DESC LIMIT 500`, auth.From(ctx).Account)
	if err != nil {
		return nil, err
	}
	items, err := s.withNotes(ctx, list)
	return &accesspb.ListMyAccommodationsResponse{Items: items}, err
}

// ListAccommodations implements accesspb.AccommodationServiceServer.
func (s *Service) ListAccommodations(ctx context.Context, req *accesspb.ListAccommodationsRequest) (*accesspb.ListAccommodationsResponse, error) {
	list, err := s.accommodations(ctx, `account_id = ANY($1) AND course_id IN ('', $2) AND ended_at IS NULL ORDER BY account_id, course_id`,
		req.GetAccountIds(), req.GetCourseId())
	if err != nil {
		return nil, err
	}
	out := &accesspb.ListAccommodationsResponse{}
	for _, a := range list {
		out.Items = append(out.Items, toAccommodation(a))
	}
	return out, nil
}

func (s *Service) accommodations(ctx context.Context, where string, args ...any) ([]accommodation, error) {
	rows, err := s.db.Query(ctx, `SELECT `+accommodationColumns+` FROM accommodation WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("accommodations: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[accommodation])
	if err != nil {
		return nil, fmt.Errorf("accommodations: %w", err)
	}
	return list, nil
}

// withNotes opens the notes. Those of a person whose key was erased are gone.
func (s *Service) withNotes(ctx context.Context, list []accommodation) ([]*accesspb.Accommodation, error) {
	persons := make([]string, len(list))
	for i, a := range list {
		persons[i] = a.AccountID
	}
	keys, err := s.vault.KeysOf(ctx, persons...)
	if err != nil {
		return nil, err
	}
	out := make([]*accesspb.Accommodation, len(list))
	for i, a := range list {
		out[i] = toAccommodation(a)
		if key := keys[a.AccountID]; key != nil && a.Note != nil {
			note, err := key.Unseal(noteField, a.Note)
			if err != nil {
				return nil, fmt.Errorf("note of %s: %w", a.ID, err)
			}
			out[i].Note = string(note)
		}
	}
	return out, nil
}

func toAccommodation(a accommodation) *accesspb.Accommodation {
	return &accesspb.Accommodation{
		Id: a.ID, AccountId: a.AccountID, CourseId: a.CourseID, GrantedAt: timestamppb.New(a.GrantedAt), EndedAt: timestampOf(a.EndedAt),
		Ease: &accesspb.Ease{TimePercent: a.TimePercent, ExtraAttempts: a.ExtraAttempts, ExtraDays: a.ExtraDays, Breaks: a.Breaks},
	}
}
