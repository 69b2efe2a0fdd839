package audit

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/audit/auditpb"
)

// filter is a condition on entries; each has an index in the order of the answer.
type filter struct {
	where []string
	args  []any
}

func (f *filter) add(condition string, arg any) {
	f.args = append(f.args, arg)
	f.where = append(f.where, fmt.Sprintf(condition, len(f.args)))
}

// equal adds a condition on a column unless the value is empty. The column is
// named twice so that the index of those that are not empty serves.
func (f *filter) equal(column, value string) {
	if value != "" {
		f.add(column+` <> '' AND `+column+` = $%d`, value)
	}
}

// list returns a page of entries, newest first, and the cursor of the next.
func (s *Service) list(ctx context.Context, f filter, asked int32, cursor string) ([]entry, string, error) {
	before := int64(math.MaxInt64)
	values, err := page.Values(cursor, 1)
	if err != nil {
		return nil, "", err
	}
	if values != nil {
		if before, err = strconv.ParseInt(values[0], 10, 64); err != nil {
			return nil, "", page.ErrCursor
		}
	}
	f.add(`sequence < $%d`, before)
	size := page.Size(asked)
	rows, err := s.db.Query(ctx, `SELECT `+columns+` FROM entry WHERE `+strings.Join(f.where, ` AND `)+
		fmt.Sprintf(` ORDER BY sequence DESC LIMIT %d`, size+1), f.args...)
	if err != nil {
		return nil, "", fmt.Errorf("entries: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[entry])
	if err != nil {
		return nil, "", fmt.Errorf("entries: %w", err)
	}
	if len(found) <= size {
		return found, "", nil
	}
	return found[:size], page.Cursor(strconv.FormatInt(found[size-1].Sequence, 10)), nil
}

// ListEntries implements auditpb.AuditServiceServer.
func (s *Service) ListEntries(ctx context.Context, req *auditpb.ListEntriesRequest) (*auditpb.ListEntriesResponse, error) {
	var f filter
	f.equal("actor_id", req.GetActorId())
	f.equal("object_id", req.GetObjectId())
	f.equal("person_id", req.GetPersonId())
	f.equal("course_id", req.GetCourseId())
	f.equal("request_id", req.GetRequestId())
	switch action := req.GetAction(); {
	case strings.HasSuffix(action, "."):
		f.add(`starts_with(action, $%d)`, action)
	case action != "":
		f.add(`action = $%d`, action)
	}
	for _, bound := range []struct{ field, value, condition string }{
		{"since", req.GetSince(), `at >= $%d`}, {"until", req.GetUntil(), `at < $%d`},
	} {
		if bound.value == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, bound.value)
		if err != nil {
			return nil, &fault.Error{
				Kind: fault.Invalid, Code: "time.invalid", Message: "A time is not one.",
				Fields: []fault.Field{{Path: bound.field, Code: "time.invalid", Hint: "A time looks like 2026-03-01T12:00:00Z."}},
			}
		}
		f.add(bound.condition, at)
	}
	list, next, err := s.list(ctx, f, req.GetPageSize(), req.GetCursor())
	if err != nil {
		return nil, err
	}
	return &auditpb.ListEntriesResponse{Items: messages(list), NextCursor: next}, nil
}

// ListCourseEntries implements auditpb.AuditServiceServer.
func (s *Service) ListCourseEntries(ctx context.Context, req *auditpb.ListCourseEntriesRequest) (*auditpb.ListCourseEntriesResponse, error) {
	var f filter
	f.equal("course_id", req.GetCourseId())
	list, next, err := s.list(ctx, f, req.GetPageSize(), req.GetCursor())
	if err != nil {
		return nil, err
	}
	return &auditpb.ListCourseEntriesResponse{Items: messages(list), NextCursor: next}, nil
}

// GetEntry implements auditpb.AuditServiceServer.
func (s *Service) GetEntry(ctx context.Context, req *auditpb.GetEntryRequest) (*auditpb.Entry, error) {
	rows, err := s.db.Query(ctx, `SELECT `+columns+` FROM entry WHERE entry_id = $1`, req.GetEntryId())
	if err != nil {
		return nil, fmt.Errorf("entry: %w", err)
	}
	e, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[entry])
	if pg.NoRows(err) {
		return nil, ErrEntryNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("entry: %w", err)
	}
	return e.message(), nil
}

// ExportEntries implements auditpb.AuditServiceServer.
func (s *Service) ExportEntries(req *auditpb.ExportEntriesRequest, stream grpc.ServerStreamingServer[auditpb.ExportEntriesResponse]) error {
	ctx := stream.Context()
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		return audit.Record(ctx, tx, audit.Entry{
			Action: "audit.exported", Object: auth.From(ctx).Account, After: map[string]any{"after": req.GetAfter()},
		})
	})
	if err != nil {
		return err
	}
	return Export(ctx, s.db, req.GetAfter(), func(list []*auditpb.Entry) error {
		for len(list) > 0 {
			n := fitting(list)
			if err := stream.Send(&auditpb.ExportEntriesResponse{Entries: list[:n]}); err != nil {
				return err
			}
			list = list[n:]
		}
		return nil
	})
}

// maxSent bounds the entries of one message of an export, in bytes.
const maxSent = 1 << 20

// fitting returns how many of the entries go into one message: one at least,
// which is far from the bound of a message.
func fitting(list []*auditpb.Entry) int {
	size := 0
	for i, e := range list {
		if size += proto.Size(e); size > maxSent && i > 0 {
			return i
		}
	}
	return len(list)
}
