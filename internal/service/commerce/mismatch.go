package commerce

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/telemetry"
)

// The kinds of mismatches, and what is to be done about each. Those that the reconciler
// heals are healed in one certain way.
const (
	paidWithoutAccess  = "paid_without_access" // healed: access is given
	paidAccessRevoked  = "paid_access_revoked" // somebody has revoked it by hand
	accessWithoutPay   = "access_without_pay"  // healed: access by the line ends
	accessUnknownLine  = "access_unknown_line" // nobody knows why there is access
	bookedDiffers      = "booked_differs"      // the ledger says something else than the order
	paidUnpaid         = "paid_unpaid"         // the order is paid, its payment is not
	paymentUnknown     = "payment_unknown"     // the provider has a payment of nobody's
	paymentUnheard     = "payment_unheard"     // healed: it is heard
	paymentDiffers     = "payment_differs"     // the provider has another amount or fee
	refundUnheard      = "refund_unheard"      // healed: it is heard
	disputeUnheard     = "dispute_unheard"     // healed: it is heard
	buyerOwed          = "buyer_owed"          // something is the buyer's and does not go back
	transactionDiffers = "transaction_differs" // the ledger has another amount for it
	transactionUnknown = "transaction_unknown" // the provider moved money for something else
	balanceDiffers     = "balance_differs"     // the provider has another balance than the ledger
)

// cures say what to do about each kind.
var cures = map[string]string{
	paidWithoutAccess:  "Access is given.",
	paidAccessRevoked:  "Give the money back, or give access again; dismiss it when both agreed on it.",
	accessWithoutPay:   "Access by this line ends.",
	accessUnknownLine:  "Find out who made the grant; revoke it if nobody knows.",
	bookedDiffers:      "Run `stoa admin ledger verify`; what is wrong is corrected by an entry, never by a change.",
	paidUnpaid:         "Look the payment up at the provider: either it is there and was not heard, or the order was marked paid by mistake.",
	paymentUnknown:     "Look it up at the provider; give it back if nothing was sold for it.",
	paymentUnheard:     "What the provider says is taken in.",
	paymentDiffers:     "Look it up at the provider: the order was paid with another amount than the ledger says.",
	refundUnheard:      "What the provider says is taken in.",
	disputeUnheard:     "What the provider says is taken in.",
	buyerOwed:          "Retry the refund, or give it back by hand at the provider.",
	transactionDiffers: "Look it up at the provider, and correct the books by an entry.",
	transactionUnknown: "Look it up at the provider, and book it.",
	balanceDiffers:     "What moved the one and not the other is among the other mismatches; without any, an entry was made that has no payment, refund or payout behind it.",
}

// finding is a mismatch that was seen.
type finding struct {
	Kind   string
	Object string
	Detail string
	Healed bool
}

var openMismatches = promauto.With(telemetry.Registry).NewGaugeVec(prometheus.GaugeOpts{
	Name: "stoa_commerce_mismatches", Help: "Mismatches between orders, the ledger, access and the payment provider that are open.",
}, []string{"kind"})

// report keeps what was seen, and tells the log of what is new and needs somebody.
func (s *Service) report(ctx context.Context, tx *pg.Tx, list []finding) error {
	now := s.now()
	for _, f := range list {
		var state string
		err := tx.QueryRow(ctx, `
			UPDATE mismatch SET seen_at = $3, detail = $4,
				state = CASE WHEN $5 THEN 'healed' ELSE state END, ended_at = CASE WHEN $5 THEN $3 ELSE ended_at END
			WHERE kind = $1 AND object_id = $2 AND state IN ('open', 'dismissed') RETURNING state`,
			f.Kind, f.Object, now, f.Detail, f.Healed).Scan(&state)
		if err == nil {
			continue
		}
		if !pg.NoRows(err) {
			return fmt.Errorf("mismatch: %w", err)
		}
		state = "open"
		var ended *time.Time
		if f.Healed {
			state, ended = "healed", &now
		}
		made, err := tx.Exec(ctx, `
			INSERT INTO mismatch (id, kind, object_id, detail, cure, state, found_at, seen_at, ended_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8)
			ON CONFLICT (kind, object_id) WHERE state IN ('open', 'dismissed') DO NOTHING`,
			id.New("mismatch"), f.Kind, f.Object, f.Detail, cures[f.Kind], state, now, ended)
		if err != nil {
			return fmt.Errorf("mismatch: %w", err)
		}
		if made.RowsAffected() == 0 {
			continue
		}
		if err := audit.Record(ctx, tx, audit.Entry{Action: "mismatch.found", Object: f.Object, After: map[string]any{"kind": f.Kind, "healed": f.Healed}}); err != nil {
			return err
		}
		tx.AfterCommit(func() {
			s.Log.ErrorContext(ctx, "the reconciler found a mismatch", "kind", f.Kind, "object", f.Object, "detail", f.Detail, "healed", f.Healed, "cure", cures[f.Kind])
		})
	}
	return nil
}

// measure tells how many are open.
func (s *Service) measure(ctx context.Context) error {
	rows, err := s.DB.Query(ctx, `SELECT kind, count(*) FROM mismatch WHERE state = 'open' GROUP BY kind`)
	if err != nil {
		return err
	}
	for kind := range cures {
		openMismatches.WithLabelValues(kind).Set(0)
	}
	var (
		kind string
		n    float64
	)
	_, err = pgx.ForEachRow(rows, []any{&kind, &n}, func() error {
		openMismatches.WithLabelValues(kind).Set(n)
		return nil
	})
	return err
}

type mismatch struct {
	ID       string
	Kind     string
	ObjectID string
	Detail   string
	Cure     string
	State    string
	FoundAt  time.Time
	SeenAt   time.Time
	EndedAt  *time.Time
	Reason   string
}

const mismatchColumns = `id, kind, object_id, detail, cure, state, found_at, seen_at, ended_at, reason`

func (m mismatch) message() *commercepb.Mismatch {
	return &commercepb.Mismatch{
		Id: m.ID, Kind: m.Kind, ObjectId: m.ObjectID, Detail: m.Detail, Cure: m.Cure, State: m.State,
		FoundAt: timestamppb.New(m.FoundAt), SeenAt: timestamppb.New(m.SeenAt), EndedAt: stamp(m.EndedAt), Reason: m.Reason,
	}
}

// ListMismatches implements the contract.
func (h *reconcileServer) ListMismatches(ctx context.Context, req *commercepb.ListMismatchesRequest) (*commercepb.ListMismatchesResponse, error) {
	before, last, err := page.After(req.GetCursor())
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := h.service.DB.Query(ctx, `
		SELECT `+mismatchColumns+` FROM mismatch WHERE (found_at, id) < ($1, $2) AND ($3 = '' OR state = $3) ORDER BY found_at DESC, id DESC LIMIT $4`,
		before, last, req.GetState(), size+1)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[mismatch])
	if err != nil {
		return nil, fmt.Errorf("mismatches: %w", err)
	}
	res := &commercepb.ListMismatchesResponse{}
	if len(list) > size {
		list = list[:size]
		res.NextCursor = page.TimeCursor(list[size-1].FoundAt, list[size-1].ID)
	}
	for _, m := range list {
		res.Items = append(res.Items, m.message())
	}
	return res, nil
}

// DismissMismatch implements the contract.
func (h *reconcileServer) DismissMismatch(ctx context.Context, req *commercepb.DismissMismatchRequest) (*commercepb.Mismatch, error) {
	s := h.service
	return idempotency.Do(ctx, s.DB, req, func(tx *pg.Tx) (*commercepb.Mismatch, error) {
		rows, err := tx.Query(ctx, `SELECT `+mismatchColumns+` FROM mismatch WHERE id = $1 FOR UPDATE`, req.GetMismatchId())
		if err != nil {
			return nil, err
		}
		m, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[mismatch])
		switch {
		case pg.NoRows(err):
			return nil, ErrMismatchNotFound
		case err != nil:
			return nil, fmt.Errorf("mismatch: %w", err)
		case m.State == "dismissed":
			return m.message(), nil
		case m.State != "open":
			return nil, ErrMismatchEnded
		}
		now := s.now()
		m.State, m.EndedAt, m.Reason = "dismissed", &now, req.GetReason()
		if _, err := tx.Exec(ctx, `UPDATE mismatch SET state = $2, ended_at = $3, ended_by = $4, reason = $5 WHERE id = $1`,
			m.ID, m.State, m.EndedAt, auth.From(ctx).Account, m.Reason); err != nil {
			return nil, err
		}
		return m.message(), audit.Record(ctx, tx, audit.Entry{Action: "mismatch.dismissed", Object: m.ObjectID, After: map[string]any{"kind": m.Kind}})
	})
}
