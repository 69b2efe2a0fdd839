package assessment

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// hiddenSQL is whether an attempt, as a, is of somebody who is not named to graders where
// answers are marked anonymously: until all that they have begun at the item is graded,
// and their grade posted.
var hiddenSQL = `(` + unpostedSQL + `
	OR EXISTS (SELECT FROM attempt o WHERE o.item_id = a.item_id AND o.account_id = a.account_id AND o.state IN ('in_progress', 'submitted') AND NOT o.preview))`

// pseudonyms returns what the students of attempts are called to graders; those that
// may be named are left out.
func (s *Service) pseudonyms(ctx context.Context, q pg.Querier, attempts []string) (map[string]string, error) {
	rows, err := q.Query(ctx, `
		SELECT a.id, a.item_id, a.account_id, a.quiz_id, z.version, z.pseudonym_key::text FROM attempt a JOIN quiz z ON z.id = a.quiz_id
		WHERE a.id = ANY ($1) AND NOT a.preview AND a.state <> 'prepared' AND `+hiddenSQL, attempts)
	if err != nil {
		return nil, fmt.Errorf("read who is anonymous: %w", err)
	}
	type hidden struct {
		ID, ItemID, AccountID, QuizID string
		Version                       int32
		PseudonymKey                  string
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[hidden])
	if err != nil {
		return nil, fmt.Errorf("read who is anonymous: %w", err)
	}
	out := map[string]string{}
	for _, h := range list {
		version, err := s.quizVersion(ctx, q, h.QuizID, h.Version)
		if err != nil {
			return nil, err
		}
		if version.Settings.GetAnonymousMarking() {
			out[h.ID] = pseudonym(h.PseudonymKey, h.ItemID, h.AccountID)
		}
	}
	return out, nil
}

// anonymous returns the quizzes at an item whose answers are marked anonymously now: of the
// one that it shows, and of those that it has shown.
func (s *Service) anonymous(ctx context.Context, q pg.Querier, course, item string) ([]string, error) {
	rows, err := q.Query(ctx, `
		SELECT id, version FROM quiz WHERE version > 0 AND id IN (
			SELECT ref FROM placement WHERE course_id = $1 AND item_id = $2 UNION SELECT quiz_id FROM attempt WHERE course_id = $1 AND item_id = $2)`, course, item)
	if err != nil {
		return nil, fmt.Errorf("read quizzes: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (quizVersionKey, error) {
		var key quizVersionKey
		return key, row.Scan(&key.quiz, &key.number)
	})
	if err != nil {
		return nil, fmt.Errorf("read quizzes: %w", err)
	}
	out := []string{}
	for _, key := range list {
		version, err := s.quizVersion(ctx, q, key.quiz, key.number)
		if err != nil {
			return nil, err
		}
		if version.Settings.GetAnonymousMarking() {
			out = append(out, key.quiz)
		}
	}
	return out, nil
}

// pseudonym is what somebody is called at an item: 50 bits that nobody can make of the
// account without the key.
func pseudonym(key, item, account string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(item + "\n" + account))
	return base32.StdEncoding.EncodeToString(mac.Sum(nil))[:10]
}

// What follows is told under a pseudonym without the moments at which a student has done
// something: the gradebook and the log of an exam have them with names.

// unnamed has an attempt be told under a pseudonym, where there is one of its student.
func unnamed(a *assessmentpb.Attempt, names map[string]string) {
	name := names[a.GetId()]
	if name == "" {
		return
	}
	a.AccountId, a.Pseudonym = "", name
	a.StartedAt, a.ExpiresAt, a.GraceUntil, a.ClosesAt, a.PausedAt, a.SavedAt, a.SubmittedAt = nil, nil, nil, nil, nil, nil, nil
	a.RemainingMs, a.ExtraSeconds, a.Clients, a.Notices = nil, 0, nil, nil
}

// unnamedAnswer has an answer that is to be marked be told under a pseudonym.
func unnamedAnswer(m *assessmentpb.QueuedAnswer, name string) {
	m.AccountId, m.Pseudonym, m.SubmittedAt = "", name, nil
}

// unnamedOperation has an operation of the log be told so.
func unnamedOperation(o *assessmentpb.LoggedOperation) {
	o.ReceivedAt, o.Operation.ClientTime, o.Line = nil, nil, ""
}

// unnamedReceipt has a receipt be told so: its header has the account, and so has what
// its hash is of.
func unnamedReceipt(r *assessmentpb.Receipt) {
	r.SubmittedAt, r.CreatedAt, r.Header, r.Sha256, r.Signature = nil, nil, "", "", ""
}
