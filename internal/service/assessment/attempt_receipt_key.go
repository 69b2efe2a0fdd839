package assessment

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// receiptKeyLife is how long a key signs. Its public part is published for ever.
const receiptKeyLife = 365 * 24 * time.Hour

// receiptKeyHolder is what the vault knows the data key of private keys by.
const receiptKeyHolder = "receipt_key"

// receiptKey is a key that receipts are signed with.
type receiptKey struct {
	ID         string
	PublicKey  []byte
	PrivateKey []byte // its seed, sealed
	CreatedAt  time.Time
}

// signer is the key that signs now, opened.
type signer struct {
	id        string
	private   ed25519.PrivateKey
	createdAt time.Time
}

// sign signs a receipt by the key that was opened. A service without a vault, as in
// tests, signs none.
func (s *Service) sign(r *receipt) {
	if k := s.signer.Load(); k != nil {
		r.KeyID = k.id
		r.Signature = ed25519.Sign(k.private, []byte(receiptFormat+" "+hex.EncodeToString(r.SHA256)))
	}
}

// openSigner opens the key that signs receipts now, having made it where it is due. It
// is called before a transaction that issues some: it has one of its own.
func (s *Service) openSigner(ctx context.Context) error {
	if s.vault == nil {
		return nil
	}
	if k := s.signer.Load(); k != nil && s.time().Sub(k.createdAt) < receiptKeyLife {
		return nil
	}
	var k *receiptKey
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		// Of several who find that one is due, one makes it.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('assessment.receipt_key'))`); err != nil {
			return fmt.Errorf("lock receipt keys: %w", err)
		}
		keys, err := readReceiptKeys(ctx, tx, 1)
		if err != nil {
			return err
		}
		if len(keys) > 0 && s.time().Sub(keys[0].CreatedAt) < receiptKeyLife {
			k = &keys[0]
			return nil
		}
		k, err = s.makeReceiptKey(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	sealing, err := s.vault.KeysOf(ctx, receiptKeyHolder)
	if err != nil {
		return err
	}
	if sealing[receiptKeyHolder] == nil {
		return errors.New("the data key of receipt keys is gone")
	}
	seed, err := sealing[receiptKeyHolder].Unseal(k.ID, k.PrivateKey)
	if err != nil {
		return fmt.Errorf("open receipt key: %w", err)
	}
	s.signer.Store(&signer{k.ID, ed25519.NewKeyFromSeed(seed), k.CreatedAt})
	return nil
}

func (s *Service) makeReceiptKey(ctx context.Context, tx *pg.Tx) (*receiptKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make receipt key: %w", err)
	}
	k := &receiptKey{ID: id.New("receiptkey"), PublicKey: public, CreatedAt: s.time()}
	sealing, err := s.vault.KeyIn(ctx, tx, receiptKeyHolder)
	if err != nil {
		return nil, err
	}
	k.PrivateKey = sealing.Seal(k.ID, private.Seed())
	if _, err := tx.Exec(ctx, `INSERT INTO receipt_key (id, public_key, private_key, created_at) VALUES ($1, $2, $3, $4)`,
		k.ID, k.PublicKey, k.PrivateKey, k.CreatedAt); err != nil {
		return nil, fmt.Errorf("store receipt key: %w", err)
	}
	return k, audit.Record(ctx, tx, audit.Entry{Action: "receipt_key.made", Object: k.ID})
}

func readReceiptKeys(ctx context.Context, q pg.Querier, limit int) ([]receiptKey, error) {
	rows, err := q.Query(ctx, `SELECT id, public_key, private_key, created_at FROM receipt_key ORDER BY created_at DESC, id LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("read receipt keys: %w", err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowToStructByName[receiptKey])
	if err != nil {
		return nil, fmt.Errorf("read receipt keys: %w", err)
	}
	return keys, nil
}

// ListReceiptKeys implements [assessmentpb.AttemptServiceServer].
func (h *attemptServer) ListReceiptKeys(ctx context.Context, _ *assessmentpb.ListReceiptKeysRequest) (*assessmentpb.ListReceiptKeysResponse, error) {
	keys, err := readReceiptKeys(ctx, h.service.db, 1000)
	if err != nil {
		return nil, err
	}
	res := &assessmentpb.ListReceiptKeysResponse{}
	for _, k := range keys {
		res.Items = append(res.Items, &assessmentpb.ReceiptKey{
			Id: k.ID, PublicKey: base64.StdEncoding.EncodeToString(k.PublicKey), CreatedAt: timestamppb.New(k.CreatedAt),
		})
	}
	return res, nil
}
