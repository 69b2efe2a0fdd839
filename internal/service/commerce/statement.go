package commerce

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// The errors of statements.
var (
	ErrStatementPeriod = &fault.Error{
		Kind: fault.Invalid, Code: "statement.period", Message: "There is no such time.",
		Fields: []fault.Field{{Path: "until", Code: "statement.period", Hint: "since and until are times as RFC 3339, such as 2026-01-01T00:00:00Z, until the later one."}},
	}
	ErrStatementLong = fault.New(fault.Conflict, "statement.too_long", "The statement has more than %d pages. Ask for a shorter time, or for CSV.", maxStatementPages)
)

// statement is what was booked on what a teacher can be paid, in a time or for a payout.
type statement struct {
	teacher string
	about   []string // what it is of, as it is read
	parts   []statementPart
	at      time.Time // when it was true
}

// statementPart is a statement in one currency: what there was before, which postings it
// has, and what there is after unless that is what they come to.
type statementPart struct {
	currency       string
	opening        int64
	after, through int64 // entries
	since, until   time.Time
}

// statementLine is a posting as its teacher sees it: above zero is theirs.
type statementLine struct {
	EntryID  int64
	Position int16
	Kind     string
	BookedAt time.Time
	OrderID  string
	LineID   string
	CourseID string
	Title    string
	Amount   int64
}

// maxEntry is behind every entry.
const maxEntry = int64(1) << 62

// statementPage is how many lines are read at once.
const statementPage = 1000

// payoutStatement is the statement of a payout.
func payoutStatement(p payout) statement {
	return statement{
		teacher: p.TeacherID, about: []string{"Payout " + p.ID, "Period " + p.Period}, at: p.CreatedAt,
		parts: []statementPart{{currency: p.Currency, opening: p.Opening, after: p.AfterEntry, through: p.ThroughEntry, until: time.Unix(1<<40, 0)}},
	}
}

// periodStatement is a teacher's statement of a time.
func (s *Service) periodStatement(ctx context.Context, teacher, since, until string) (statement, error) {
	from, err1 := time.Parse(time.RFC3339, since)
	to, err2 := time.Parse(time.RFC3339, until)
	if err1 != nil || err2 != nil || !from.Before(to) || from.Year() < 1970 || to.Year() > 9999 {
		return statement{}, ErrStatementPeriod
	}
	const day = "2 January 2006 15:04 UTC"
	st := statement{teacher: teacher, about: []string{"From " + from.UTC().Format(day) + " until " + to.UTC().Format(day)}, at: s.now()}
	rows, err := s.DB.Query(ctx, `
		SELECT a.currency, (-coalesce(b.amount, 0))::bigint
		FROM ledger_account a
		CROSS JOIN LATERAL (
			SELECT sum(p.amount) AS amount FROM ledger_posting p JOIN ledger_entry e ON e.id = p.entry_id
			WHERE p.account = a.account AND p.currency = a.currency AND e.booked_at < $2
		) b
		WHERE a.account = $1 ORDER BY a.currency`, accountTeacher+teacher, from)
	if err != nil {
		return st, err
	}
	st.parts, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p statementPart, err error) {
		p.through, p.since, p.until = maxEntry, from, to
		return p, row.Scan(&p.currency, &p.opening)
	})
	if err != nil {
		return st, fmt.Errorf("opening balances: %w", err)
	}
	return st, nil
}

// lines hands the lines of a part over, one after the other, some of which are in memory
// at a time.
func (s *Service) lines(ctx context.Context, teacher string, part statementPart, each func(statementLine) error) error {
	after, position := part.after, int64(1)<<14
	for {
		rows, err := s.DB.Query(ctx, `
			SELECT p.entry_id, p.position, e.kind, e.booked_at, coalesce(e.order_id, '') AS order_id,
				coalesce(l.id, '') AS line_id, coalesce(l.course_id, '') AS course_id, coalesce(l.title, '') AS title, -p.amount AS amount
			FROM ledger_posting p JOIN ledger_entry e ON e.id = p.entry_id LEFT JOIN order_line l ON l.id = p.line_id
			WHERE p.account = $1 AND p.currency = $2 AND (p.entry_id, p.position) > ($3, $4) AND p.entry_id <= $5 AND e.booked_at >= $6 AND e.booked_at < $7
			ORDER BY p.entry_id, p.position LIMIT $8`,
			accountTeacher+teacher, part.currency, after, position, part.through, part.since, part.until, statementPage)
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByName[statementLine])
		if err != nil {
			return fmt.Errorf("statement: %w", err)
		}
		for _, l := range list {
			if err := each(l); err != nil {
				return err
			}
			after, position = l.EntryID, int64(l.Position)
		}
		if len(list) < statementPage {
			return nil
		}
	}
}

// export sends a statement in a format.
func (s *Service) export(ctx context.Context, st statement, format string, send func([]byte) error) error {
	if format == "pdf" {
		return s.statementPDF(ctx, st, send)
	}
	return s.statementCSV(ctx, st, send)
}

// statementServer is the contract of statements.
type statementServer struct {
	commercepb.UnimplementedStatementServiceServer
	service *Service
}

// ExportMyPayoutStatement implements the contract.
func (h *statementServer) ExportMyPayoutStatement(req *commercepb.ExportMyPayoutStatementRequest, stream grpc.ServerStreamingServer[commercepb.ExportMyPayoutStatementResponse]) error {
	ctx, s := stream.Context(), h.service
	p, err := onePayout(ctx, s.DB, `id = $1 AND teacher_id = $2`, req.GetPayoutId(), auth.From(ctx).Account)
	if err != nil {
		return err
	}
	return s.export(ctx, payoutStatement(p), req.GetFormat(), func(chunk []byte) error {
		return stream.Send(&commercepb.ExportMyPayoutStatementResponse{Chunk: chunk})
	})
}

// ExportMyStatement implements the contract.
func (h *statementServer) ExportMyStatement(req *commercepb.ExportMyStatementRequest, stream grpc.ServerStreamingServer[commercepb.ExportMyStatementResponse]) error {
	ctx, s := stream.Context(), h.service
	st, err := s.periodStatement(ctx, auth.From(ctx).Account, req.GetSince(), req.GetUntil())
	if err != nil {
		return err
	}
	return s.export(ctx, st, req.GetFormat(), func(chunk []byte) error {
		return stream.Send(&commercepb.ExportMyStatementResponse{Chunk: chunk})
	})
}

// ExportPayoutStatement implements the contract.
func (h *statementServer) ExportPayoutStatement(req *commercepb.ExportPayoutStatementRequest, stream grpc.ServerStreamingServer[commercepb.ExportPayoutStatementResponse]) error {
	ctx, s := stream.Context(), h.service
	p, err := onePayout(ctx, s.DB, `id = $1`, req.GetPayoutId())
	if err != nil {
		return err
	}
	if err := s.exported(ctx, p.ID, p.TeacherID, map[string]any{"format": req.GetFormat()}); err != nil {
		return err
	}
	return s.export(ctx, payoutStatement(p), req.GetFormat(), func(chunk []byte) error {
		return stream.Send(&commercepb.ExportPayoutStatementResponse{Chunk: chunk})
	})
}

// ExportTeacherStatement implements the contract.
func (h *statementServer) ExportTeacherStatement(req *commercepb.ExportTeacherStatementRequest, stream grpc.ServerStreamingServer[commercepb.ExportTeacherStatementResponse]) error {
	ctx, s := stream.Context(), h.service
	st, err := s.periodStatement(ctx, req.GetTeacherId(), req.GetSince(), req.GetUntil())
	if err != nil {
		return err
	}
	if err := s.exported(ctx, "", req.GetTeacherId(), map[string]any{"format": req.GetFormat(), "since": req.GetSince(), "until": req.GetUntil()}); err != nil {
		return err
	}
	return s.export(ctx, st, req.GetFormat(), func(chunk []byte) error {
		return stream.Send(&commercepb.ExportTeacherStatementResponse{Chunk: chunk})
	})
}

// exported records that staff take what a teacher has earned out of the platform.
func (s *Service) exported(ctx context.Context, object, teacher string, after map[string]any) error {
	return s.DB.InTx(ctx, func(tx *pg.Tx) error {
		return audit.Record(ctx, tx, audit.Entry{Action: "statement.exported", Object: object, Person: teacher, After: after})
	})
}
