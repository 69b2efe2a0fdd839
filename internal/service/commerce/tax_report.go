package commerce

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// reportPage is how many invoices are read at once.
const reportPage = 1000

// ExportTaxReport implements the contract.
func (h *invoiceServer) ExportTaxReport(req *commercepb.ExportTaxReportRequest, stream grpc.ServerStreamingServer[commercepb.ExportTaxReportResponse]) error {
	ctx, s := stream.Context(), h.service
	since, err1 := time.Parse(time.RFC3339, req.GetSince())
	until, err2 := time.Parse(time.RFC3339, req.GetUntil())
	if err1 != nil || err2 != nil || !since.Before(until) {
		return ErrReportPeriod
	}
	if err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
		return audit.Record(ctx, tx, audit.Entry{Action: "tax_report.exported", Object: auth.From(ctx).Account, After: map[string]any{"since": since, "until": until}})
	}); err != nil {
		return err
	}
	var chunk bytes.Buffer
	w := csv.NewWriter(&chunk)
	if err := w.Write([]string{"number", "kind", "issued_at", "order_id", "corrects", "country", "currency", "net", "tax", "gross"}); err != nil {
		return err
	}
	for after := ""; ; {
		list, err := s.reported(ctx, since, after, until)
		if err != nil {
			return err
		}
		for _, r := range list {
			sign := int64(1)
			if r.Kind == kindCreditNote {
				sign = -1
			}
			amount := func(v int64) string { return decimals(sign*v, r.Currency) }
			if err := w.Write([]string{
				r.number(), r.Kind, r.IssuedAt.UTC().Format(time.RFC3339), r.OrderID, r.Corrected, r.Country, r.Currency,
				amount(r.Total - r.Tax), amount(r.Tax), amount(r.Total),
			}); err != nil {
				return err
			}
			since, after = r.IssuedAt, r.ID
		}
		w.Flush()
		for chunk.Len() > 0 {
			if err := stream.Send(&commercepb.ExportTaxReportResponse{Chunk: chunk.Next(256 << 10)}); err != nil {
				return err
			}
		}
		if len(list) < reportPage {
			return nil
		}
	}
}

// reported is an invoice in a report.
type reported struct {
	invoice
	Corrected string // the number of the invoice that it corrects
}

// reported returns the invoices from a time on until another, behind one of the id after.
func (s *Service) reported(ctx context.Context, since time.Time, after string, until time.Time) ([]reported, error) {
	rows, err := s.DB.Query(ctx, `
		SELECT i.id, i.series, i.position, i.kind, i.issued_at, i.order_id, i.country, i.currency, i.total, i.tax, c.series, c.position
		FROM invoice i LEFT JOIN invoice c ON c.id = i.corrects
		WHERE (i.issued_at, i.id) > ($1, $2) AND i.issued_at < $3 ORDER BY i.issued_at, i.id LIMIT $4`, since, after, until, reportPage)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r reported, err error) {
		var (
			series   *string
			position *int64
		)
		err = row.Scan(&r.ID, &r.Series, &r.Position, &r.Kind, &r.IssuedAt, &r.OrderID, &r.Country, &r.Currency, &r.Total, &r.Tax, &series, &position)
		if series != nil {
			r.Corrected = invoice{Series: *series, Position: *position}.number()
		}
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("tax report: %w", err)
	}
	return list, nil
}
