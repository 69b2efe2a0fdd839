package access

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
)

// What becomes of a row.
const (
	outcomeWaiting  = "waiting"
	outcomeEnrolled = "enrolled"
	outcomeAlready  = "already"
	outcomeInvited  = "invited"
	outcomeRefused  = "refused"
)

// What a row is refused for when it is applied, besides what others refuse.
const (
	rowQuota = "invitation.quota"
)

// Why an import fails.
const (
	importPermission = "import.permission"
	importBroken     = "import.broken"
)

// Rows that can't be applied are tried again, after 1, 2, 4 … seconds.
const maxImportFailures = 9

// countEvery is how many batches of an import go by between two counts of the
// open invitations of its course.
const countEvery = 20

// keepImporting applies imports until ctx ends.
func (s *Service) keepImporting(ctx context.Context) {
	tick := time.NewTicker(dueEvery)
	defer tick.Stop()
	for {
		if err := s.runImports(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "access: rows of an import, trying again", "error", err.Error())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// runImports applies the rows of imports until none are due.
func (s *Service) runImports(ctx context.Context) error {
	for {
		worked, err := s.runImport(ctx)
		if err != nil || !worked {
			return err
		}
	}
}

// runImport applies the next rows of one import, and reports whether any was
// due. Grants, invitations and what is told of them are one transaction: a
// process that dies leaves rows that are applied or wait.
func (s *Service) runImport(ctx context.Context) (worked bool, err error) {
	var importID string
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		importID = ""
		// Of the imports of a course the first one goes first; courses take turns.
		// One that another process works on is passed over, and its course with it.
		list, err := imports(ctx, tx, `
			SELECT `+importJobColumns+` FROM import i
			WHERE state IN ('`+importQueued+`', '`+importRunning+`') AND next_at <= $1 AND NOT EXISTS (
				SELECT FROM import o WHERE o.course_id = i.course_id AND o.state IN ('`+importQueued+`', '`+importRunning+`')
				AND (o.queued_at, o.id) < (i.queued_at, i.id))
			ORDER BY next_at, id LIMIT 1 FOR UPDATE SKIP LOCKED`, s.now())
		if err != nil || len(list) == 0 {
			return err
		}
		importID = list[0].ID
		return s.applyRows(ctx, tx, list[0])
	})
	if err != nil && importID != "" && ctx.Err() == nil {
		err = errors.Join(err, s.postponeImport(ctx, importID))
	}
	return importID != "", err
}

// postponeImport has rows that could not be applied tried again later, so that
// they hold up no others, and gives them up in the end.
func (s *Service) postponeImport(ctx context.Context, importID string) error {
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("rows that are tried again; the end of their import is recorded")
		list, err := imports(ctx, tx, `
			SELECT `+importJobColumns+` FROM import WHERE id = $1 AND state IN ('`+importQueued+`', '`+importRunning+`') FOR UPDATE`, importID)
		if err != nil || len(list) == 0 {
			return err
		}
		i := list[0]
		if i.Failures++; i.Failures > maxImportFailures {
			_, err := s.finishImport(by(ctx, i.CreatedBy), tx, i, importFailed, importBroken)
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE import SET failures = $2, next_at = $3 WHERE id = $1`, i.ID, i.Failures, s.now().Add(time.Second<<(i.Failures-1))); err != nil {
			return fmt.Errorf("postpone import: %w", err)
		}
		return nil
	})
}

// by returns a context in which an account has what it asked for earlier done.
func by(ctx context.Context, accountID string) context.Context {
	return auth.With(ctx, auth.Principal{Account: accountID})
}

// importRow is a row that is applied.
type importRow struct {
	Line     int32
	Who      *string
	Address  []byte // sealed
	StartsAt *time.Time
	EndsAt   *time.Time
	Reason   *string
	Outcome  string
	Code     *string
	Field    *string

	account string // who is enrolled; empty for who is invited
	made    string
	twin    *importRow // a row before that is about the same person
}

func (r *importRow) refuse(code, field string) {
	r.Outcome, r.Code, r.Field = outcomeRefused, &code, &field
}

// starts is when access by the row begins.
func (r *importRow) starts(i importJob) time.Time {
	if r.StartsAt != nil {
		return *r.StartsAt
	}
	return i.CreatedAt
}

// applyRows applies the next rows of an import, which is locked, in the name of
// who uploaded it. The statements are the same for one row and for hundreds.
func (s *Service) applyRows(ctx context.Context, tx *pg.Tx, i importJob) error {
	tx.Exempt("what became of rows; the grants, the invitations and the import's end are recorded")
	ctx = by(ctx, i.CreatedBy)
	sources, err := s.sources(ctx, tx, rolesSQL, subject{i.CreatedBy, i.CourseID}, subject{account: i.CreatedBy})
	if err != nil {
		return err
	}
	if _, may := answerOf(sources[0]).permissions[enrollmentManage]; !may {
		_, err := s.finishImport(ctx, tx, i, importFailed, importPermission)
		return err
	}
	_, lookUp := answerOf(sources[1]).permissions[accountRead]
	rows, err := tx.Query(ctx, `
		SELECT line, who, address, starts_at, ends_at, reason, outcome, code, field FROM import_row
		WHERE import_id = $1 AND line > $2 ORDER BY line LIMIT $3`, i.ID, i.AtLine, importBatch)
	if err != nil {
		return fmt.Errorf("rows: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByNameLax[importRow])
	if err != nil {
		return fmt.Errorf("rows: %w", err)
	}
	if i.DryRun { // done and undone: nothing foretells better
		if _, err := tx.Raw().Exec(ctx, `SAVEPOINT dry_run`); err != nil {
			return fmt.Errorf("savepoint: %w", err)
		}
	}
	if err := s.letIn(ctx, tx, i, list, i.LookUp && lookUp); err != nil {
		return err
	}
	if i.DryRun {
		if _, err := tx.Raw().Exec(ctx, `ROLLBACK TO SAVEPOINT dry_run`); err != nil {
			return fmt.Errorf("savepoint: %w", err)
		}
		for _, r := range list {
			r.made = ""
		}
	}
	return s.noteOutcomes(ctx, tx, i, list)
}

// noteOutcomes writes what became of the rows, and ends the import behind the last.
func (s *Service) noteOutcomes(ctx context.Context, tx *pg.Tx, i importJob, list []*importRow) error {
	n := len(list)
	lines, who, outcomes := make([]int32, n), make([]*string, n), make([]string, n)
	codes, fields, made := make([]*string, n), make([]*string, n), make([]string, n)
	for k, r := range list {
		lines[k], who[k], outcomes[k], codes[k], fields[k], made[k] = r.Line, r.Who, r.Outcome, r.Code, r.Field, r.made
		switch i.AtLine = r.Line; r.Outcome {
		case outcomeEnrolled:
			i.Enrolled++
		case outcomeAlready:
			i.Already++
		case outcomeInvited:
			i.Invited++
		case outcomeRefused:
			i.Refused++
		}
	}
	if _, err := tx.Exec(ctx, `
		UPDATE import_row r SET who = n.who, outcome = n.outcome, code = n.code, field = n.field, made_id = nullif(n.made_id, ''), address = NULL, reason = NULL
		FROM unnest($2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) AS n (line, who, outcome, code, field, made_id)
		WHERE r.import_id = $1 AND r.line = n.line`, i.ID, lines, who, outcomes, codes, fields, made); err != nil {
		return fmt.Errorf("outcomes: %w", err)
	}
	i.State = importRunning
	if _, err := tx.Exec(ctx, `
		UPDATE import SET state = $2, at_line = $3, enrolled = $4, already = $5, invited = $6, refused = $7, failures = 0, next_at = $8 WHERE id = $1`,
		i.ID, i.State, i.AtLine, i.Enrolled, i.Already, i.Invited, i.Refused, s.now()); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	if n < importBatch {
		_, err := s.finishImport(ctx, tx, i, importDone, "")
		return err
	}
	return nil
}

// letIn enrolls or invites who the waiting rows are about, and notes on each what
// became of it.
func (s *Service) letIn(ctx context.Context, tx *pg.Tx, i importJob, list []*importRow, lookUp bool) error {
	facts, err := s.importFacts(ctx, tx, i, list, lookUp)
	if err != nil {
		return err
	}
	var enroll, invite []*importRow
	first := map[string]*importRow{}
	for _, r := range list {
		if r.Outcome != outcomeWaiting {
			continue
		}
		switch before := first[*r.Who]; {
		case before != nil && before.Outcome != outcomeRefused:
			r.twin = before
		case facts.earlier[*r.Who]:
			r.Outcome = outcomeAlready
		case r.account == "" && facts.accepted[*r.Who]:
			r.Outcome = outcomeAlready
		case r.account == "":
			invite = append(invite, r)
		case !facts.known[r.account]:
			r.refuse(fault.CodeOf(errAccountUnknown), "account_id")
		case facts.staff[r.account]:
			r.refuse(ErrOwnCourse.Code, "")
		case facts.covered[r.Line]:
			r.Outcome = outcomeAlready
		default:
			enroll = append(enroll, r)
		}
		if r.twin == nil {
			first[*r.Who] = r
		}
	}
	if err := s.enrollRows(ctx, tx, i, enroll); err != nil {
		return err
	}
	if err := s.inviteRows(ctx, tx, i, invite); err != nil {
		return err
	}
	for _, r := range list {
		switch {
		case r.twin == nil:
		case r.twin.Outcome == outcomeRefused:
			r.refuse(*r.twin.Code, *r.twin.Field)
		default:
			r.Outcome = outcomeAlready
		}
	}
	return nil
}

// importFacts are what is known of those whom rows are about, by account, by
// who, or by line.
type importFacts struct {
	known    map[string]bool // accounts that there are
	staff    map[string]bool // of the course
	earlier  map[string]bool // who stands in the file before
	accepted map[string]bool // addresses whose invitation was accepted by somebody who still has access
	covered  map[int32]bool  // lines of those who have access by hand for that time
}

// importFacts finds out about the waiting rows, and who has their addresses if
// that may be looked up.
func (s *Service) importFacts(ctx context.Context, tx *pg.Tx, i importJob, list []*importRow, lookUp bool) (importFacts, error) {
	var (
		f                importFacts
		accounts, everys []string
		indexes          [][]byte
		byAddress        []*importRow
		err              error
	)
	for _, r := range list {
		if r.Outcome != outcomeWaiting {
			continue
		}
		if id.Valid("account", *r.Who) {
			r.account = *r.Who
			accounts = append(accounts, r.account)
			continue
		}
		index, err := hex.DecodeString(*r.Who)
		if err != nil {
			return f, fmt.Errorf("index of an address: %w", err)
		}
		indexes, byAddress = append(indexes, index), append(byAddress, r)
	}
	if f.known, err = set[string](ctx, tx, `SELECT account_id FROM person WHERE account_id = ANY($1)`, accounts); err != nil {
		return f, err
	}
	if lookUp {
		holders, err := s.verifiedAccounts(ctx, tx, indexes)
		if err != nil {
			return f, err
		}
		for k, r := range byAddress {
			if account := holders[string(indexes[k])]; account != "" {
				r.account, r.Who, f.known[account] = account, &account, true
			}
		}
	}
	var (
		lines    []int32
		holders  []string
		from, to []*time.Time
	)
	for _, r := range list {
		if r.Outcome != outcomeWaiting {
			continue
		}
		if everys = append(everys, *r.Who); r.account != "" {
			starts := r.starts(i)
			lines, holders, from, to = append(lines, r.Line), append(holders, r.account), append(from, &starts), append(to, r.EndsAt)
		}
	}
	if f.staff, err = set[string](ctx, tx, `
		SELECT account_id FROM role_grant WHERE course_id = $2 AND account_id = ANY($3) AND item_id = '' AND `+unexpired+`
		UNION SELECT owner_id FROM course WHERE course_id = $2 AND owner_id = ANY($3)`, s.now(), i.CourseID, holders); err != nil {
		return f, err
	}
	if f.earlier, err = set[string](ctx, tx, `
		SELECT DISTINCT who FROM import_row WHERE import_id = $1 AND line <= $2 AND who = ANY($3) AND outcome <> '`+outcomeRefused+`'`,
		i.ID, i.AtLine, everys); err != nil {
		return f, err
	}
	if f.accepted, err = set[string](ctx, tx, `
		SELECT encode(i.email_index, 'hex') FROM email_invitation i
		WHERE i.course_id = $2 AND i.email_index = ANY($3) AND i.state = '`+inviteAccepted+`'
		AND EXISTS (SELECT FROM entitlement WHERE account_id = i.accepted_by AND course_id = $2 AND `+live+`)`,
		s.now(), i.CourseID, indexes); err != nil {
		return f, err
	}
	f.covered, err = set[int32](ctx, tx, `
		SELECT q.line FROM unnest($3::int[], $4::text[], $5::timestamptz[], $6::timestamptz[]) AS q (line, account_id, starts_at, ends_at)
		WHERE EXISTS (
			SELECT FROM entitlement g WHERE g.account_id = q.account_id AND g.course_id = $2 AND g.source = '`+sourceManual+`'
			AND g.revoked_at IS NULL AND (g.ends_at IS NULL OR g.ends_at > $1)
			AND g.starts_at <= greatest(q.starts_at, $1) AND (g.ends_at IS NULL OR g.ends_at >= q.ends_at))`,
		s.now(), i.CourseID, lines, holders, from, to)
	return f, err
}

// set returns the values of a statement's one column.
func set[T comparable](ctx context.Context, tx *pg.Tx, sql string, args ...any) (map[T]bool, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	out := make(map[T]bool, len(list))
	for _, v := range list {
		out[v] = true
	}
	return out, nil
}

// enrollRows gives access to who the rows are about. A row is a source of its
// own, so that whatever comes twice is one grant.
func (s *Service) enrollRows(ctx context.Context, tx *pg.Tx, i importJob, list []*importRow) error {
	if len(list) == 0 {
		return nil
	}
	grants := make([]entitlement, len(list))
	for k, r := range list {
		grants[k] = entitlement{
			AccountID: r.account, CourseID: i.CourseID, Source: sourceManual, SourceID: i.ID + "/" + strconv.Itoa(int(r.Line)),
			StartsAt: r.starts(i), EndsAt: r.EndsAt, Reason: *r.Reason,
		}
	}
	granted, err := s.grant(ctx, tx, grants)
	if err != nil {
		return err
	}
	made := make(map[string]string, len(granted))
	for _, g := range granted {
		made[g.SourceID] = g.ID
	}
	for k, r := range list {
		if r.made = made[grants[k].SourceID]; r.made == "" {
			r.Outcome = outcomeAlready
		} else {
			r.Outcome = outcomeEnrolled
		}
	}
	return nil
}

// inviteRows invites the addresses of the rows, or refuses all of them as
// invitations are refused.
func (s *Service) inviteRows(ctx context.Context, tx *pg.Tx, i importJob, list []*importRow) error {
	if len(list) == 0 {
		return nil
	}
	key, err := s.vault.KeyIn(ctx, tx, i.ID)
	if err != nil {
		return err
	}
	addresses := make([]emailInvite, len(list))
	for k, r := range list {
		address, err := key.Unseal(addressOfRow, r.Address)
		if err != nil {
			return fmt.Errorf("address of line %d: %w", r.Line, err)
		}
		addresses[k] = emailInvite{address: string(address), from: r.StartsAt, until: r.EndsAt}
	}
	terms := inviteTerms{
		expiresAt: i.CreatedAt.Add(inviteFor), locale: i.Locale, mail: i.Invite, by: i.CreatedBy,
		// Counting costs by what there is: it is done for one batch of many.
		counted: i.AtLine/importBatch%countEvery != 0,
	}
	now := s.now()
	if _, err := tx.Raw().Exec(ctx, `SAVEPOINT invite`); err != nil {
		return fmt.Errorf("savepoint: %w", err)
	}
	made, err := s.invite(ctx, tx, i.CourseID, addresses, terms)
	if fault.Is(err, fault.Conflict) || fault.Is(err, fault.Exhausted) || fault.Is(err, fault.Invalid) {
		for _, r := range list {
			r.refuse(fault.CodeOf(err), "")
		}
		if _, err := tx.Raw().Exec(ctx, `ROLLBACK TO SAVEPOINT invite`); err != nil {
			return fmt.Errorf("savepoint: %w", err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	for k, r := range list {
		r.made, r.Outcome = made[k].ID, outcomeInvited
		if made[k].CreatedAt.Before(now) {
			r.made, r.Outcome = "", outcomeAlready
		}
	}
	return nil
}
