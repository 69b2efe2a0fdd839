package assessment

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// receiptFormat is the name of the canonical form, which never changes.
const receiptFormat = "stoa-receipt-1"

// receipt is its row.
type receipt struct {
	ID          string
	AttemptID   string
	Number      int32
	SubmittedAt time.Time
	SubmittedBy string
	Operations  int32
	LastSeq     int64
	Header      string
	SHA256      []byte `db:"sha256"`
	KeyID       string
	Signature   []byte
	CreatedAt   time.Time
}

func (r *receipt) message() *assessmentpb.Receipt {
	return &assessmentpb.Receipt{
		Id: r.ID, AttemptId: r.AttemptID, Number: r.Number, SubmittedAt: timestamppb.New(r.SubmittedAt), SubmittedBy: r.SubmittedBy,
		Operations: r.Operations, LastSeq: r.LastSeq, Sha256: hex.EncodeToString(r.SHA256), KeyId: r.KeyID,
		Signature: base64.StdEncoding.EncodeToString(r.Signature), Header: r.Header, CreatedAt: timestamppb.New(r.CreatedAt),
	}
}

// readReceipt returns the newest receipt of an attempt.
func readReceipt(ctx context.Context, q pg.Querier, attempt string) (*receipt, error) {
	rows, err := q.Query(ctx, `SELECT * FROM receipt WHERE attempt_id = $1 ORDER BY number DESC LIMIT 1`, attempt)
	if err != nil {
		return nil, fmt.Errorf("read receipt: %w", err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[receipt])
	if pg.NoRows(err) {
		return nil, ErrReceiptNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read receipt: %w", err)
	}
	return r, nil
}

// line is an operation of the log as the canonical form has it.
type line struct {
	AttemptID  string
	Seq        int64
	ClientID   string
	ClientSeq  int64
	Kind       string
	Slot       int32
	Page       int32
	Value      []byte
	ReceivedAt time.Time
	Verdict    string
	Accepted   bool // by staff
}

// text writes it, without the end of the line.
func (l *line) text() []byte {
	o := object{make([]byte, 0, 160+len(l.Value))}
	o.raw("answer", l.Value)
	o.string("client", l.ClientID)
	o.string("kind", l.Kind)
	o.number("n", l.ClientSeq)
	o.number("page", int64(l.Page))
	o.time("received", l.ReceivedAt)
	o.number("seq", l.Seq)
	o.number("slot", int64(l.Slot))
	verdict := l.Verdict
	if l.Accepted {
		verdict = "accepted_later"
	}
	o.string("verdict", verdict)
	return o.end()
}

// header writes the first line, without its end.
func (a *attempt) header(number, operations int32) []byte {
	o := object{make([]byte, 0, 400)}
	o.string("account", a.AccountID)
	o.string("attempt", a.ID)
	o.string("by", a.by())
	o.string("format", receiptFormat)
	o.number("number", int64(number))
	o.number("operations", int64(operations))
	o.string("quiz", a.QuizID)
	o.number("quiz_version", int64(a.QuizVersion))
	o.time("submitted", *a.SubmittedAt)
	return o.end()
}

// issue makes a receipt of an attempt that is submitted, of what of its log counts.
func (s *Service) issue(ctx context.Context, tx *pg.Tx, a *attempt) (*receipt, error) {
	list, err := s.issueAll(ctx, tx, []*attempt{a})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// issueMissing makes receipts of those attempts that have none of their submission.
func (s *Service) issueMissing(ctx context.Context, tx *pg.Tx, list []*attempt) error {
	rows, err := tx.Query(ctx, `
		SELECT DISTINCT r.attempt_id FROM receipt r JOIN attempt a ON a.id = r.attempt_id AND a.submitted_at = r.submitted_at WHERE r.attempt_id = ANY ($1)`, idsOf(list))
	if err != nil {
		return fmt.Errorf("read receipts: %w", err)
	}
	have, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("read receipts: %w", err)
	}
	_, err = s.issueAll(ctx, tx, slices.DeleteFunc(slices.Clone(list), func(a *attempt) bool { return slices.Contains(have, a.ID) }))
	return err
}

func idsOf(list []*attempt) []string {
	ids := make([]string, len(list))
	for i, a := range list {
		ids[i] = a.ID
	}
	return ids
}

// issueAll makes a receipt of each of some attempts that are submitted and locked.
func (s *Service) issueAll(ctx context.Context, tx *pg.Tx, list []*attempt) ([]*receipt, error) {
	if len(list) == 0 {
		return nil, nil
	}
	receipts, err := s.beginReceipts(ctx, tx, list)
	if err != nil {
		return nil, err
	}
	sums := map[string]hash.Hash{}
	for i, a := range list {
		r := receipts[i]
		header := a.header(r.Number, r.Operations)
		r.Header = string(header)
		sums[a.ID] = sha256.New()
		_, _ = sums[a.ID].Write(append(header, '\n'))
	}
	if err := eachLine(ctx, tx, idsOf(list), func(l *line) { _, _ = sums[l.AttemptID].Write(append(l.text(), '\n')) }); err != nil {
		return nil, err
	}
	insert := &pgx.Batch{}
	for _, r := range receipts {
		r.SHA256 = sums[r.AttemptID].Sum(nil)
		s.sign(r)
		insert.Queue(`
			INSERT INTO receipt (id, attempt_id, number, submitted_at, submitted_by, operations, last_seq, header, sha256, key_id, signature, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
			r.ID, r.AttemptID, r.Number, r.SubmittedAt, r.SubmittedBy, r.Operations, r.LastSeq, r.Header, r.SHA256, r.KeyID, r.Signature, r.CreatedAt)
	}
	if err := tx.SendBatch(ctx, insert).Close(); err != nil {
		return nil, fmt.Errorf("store receipts: %w", err)
	}
	return receipts, nil
}

// beginReceipts returns receipts without their hashes, in the order of the attempts.
func (s *Service) beginReceipts(ctx context.Context, tx *pg.Tx, list []*attempt) ([]*receipt, error) {
	rows, err := tx.Query(ctx, `
		SELECT a.id, 1 + (SELECT count(*) FROM receipt r WHERE r.attempt_id = a.id), count(o.seq), coalesce(max(o.seq), 0)
		FROM unnest($1::text[]) AS a (id) LEFT JOIN answer_operation o ON o.attempt_id = a.id AND o.client_id <> $2 AND `+countingSQL+`
		GROUP BY a.id`, idsOf(list), serverClient)
	if err != nil {
		return nil, fmt.Errorf("count operations: %w", err)
	}
	counted := map[string]receipt{}
	var c receipt
	_, err = pgx.ForEachRow(rows, []any{&c.AttemptID, &c.Number, &c.Operations, &c.LastSeq}, func() error {
		counted[c.AttemptID] = c
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count operations: %w", err)
	}
	out := make([]*receipt, len(list))
	for i, a := range list {
		c := counted[a.ID]
		out[i] = &receipt{
			ID: id.New("receipt"), AttemptID: a.ID, Number: c.Number, SubmittedAt: *a.SubmittedAt, SubmittedBy: a.by(),
			Operations: c.Operations, LastSeq: c.LastSeq, Signature: []byte{}, CreatedAt: s.time(),
		}
	}
	return out, nil
}

// eachLine reads what of logs counts, one operation after the other.
func eachLine(ctx context.Context, q pg.Querier, attempts []string, see func(*line)) error {
	rows, err := q.Query(ctx, `
		SELECT attempt_id, seq, client_id, client_seq, kind, slot, page, value, received_at, verdict, verdict NOT IN ('accepted', 'late')
		FROM answer_operation o WHERE attempt_id = ANY ($1) AND client_id <> $2 AND `+countingSQL+` ORDER BY attempt_id, seq`, attempts, serverClient)
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	var l line
	_, err = pgx.ForEachRow(rows, []any{
		&l.AttemptID, &l.Seq, &l.ClientID, &l.ClientSeq, &l.Kind, &l.Slot, &l.Page, &l.Value, &l.ReceivedAt, &l.Verdict, &l.Accepted,
	}, func() error {
		see(&l)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	return nil
}

// GetReceipt implements [assessmentpb.AttemptServiceServer].
func (h *attemptServer) GetReceipt(ctx context.Context, req *assessmentpb.GetReceiptRequest) (*assessmentpb.Receipt, error) {
	a, err := h.own(ctx, req.GetAttemptId())
	if err != nil {
		return nil, err
	}
	if !a.submitted() {
		return nil, ErrReceiptNotFound
	}
	r, err := readReceipt(ctx, h.service.db, a.ID)
	if err != nil {
		return nil, err
	}
	if !r.SubmittedAt.Equal(*a.SubmittedAt) { // of before it was reopened
		return nil, ErrReceiptNotFound
	}
	return r.message(), nil
}
