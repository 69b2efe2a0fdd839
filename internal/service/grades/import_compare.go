package grades

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/gradebook"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// importLine is a line of a file.
type importLine struct {
	n       int32
	account string
	version int64
	code    string // why it is refused
	values  []string
}

// compareFile reads a file some lines at a time, and returns what it would change.
func (s *Service) compareFile(ctx context.Context, tx *pg.Tx, b *book, file lines, i *gradeImport) ([]*importChange, error) {
	names, err := file.next()
	if errors.Is(err, io.EOF) {
		return nil, ErrImportEmpty
	}
	if err != nil {
		return nil, err
	}
	h, err := readHeader(b, names)
	if err != nil {
		return nil, err
	}
	h.between = file.between()
	seen := map[string]bool{}
	var out []*importChange
	for n := int32(1); ; {
		batch := make([]*importLine, 0, importRows)
		for len(batch) < importRows {
			fields, err := file.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, err
			}
			if n++; n > maxImportLines {
				return nil, ErrImportTooLarge
			}
			if l := h.line(n, fields); l != nil {
				if i.Rows++; i.Rows > maxImportRows {
					return nil, ErrImportTooLarge
				}
				if l.code == "" && seen[l.account] {
					l.code = "row.twice"
				}
				seen[l.account] = true
				batch = append(batch, l)
			}
		}
		if len(batch) == 0 {
			break
		}
		if out, err = s.compareLines(ctx, tx, b, h, batch, out, i); err != nil {
			return nil, err
		}
		if len(out) > maxImportChanges {
			return nil, ErrImportTooLarge
		}
	}
	if i.Rows == 0 {
		return nil, ErrImportEmpty
	}
	return out, nil
}

// line reads a line; one without any value is none.
func (h *header) line(n int32, fields []string) *importLine {
	if !slices.ContainsFunc(fields, func(f string) bool { return strings.TrimSpace(f) != "" }) {
		return nil
	}
	l := &importLine{n: n, values: make([]string, len(h.items))}
	for i, f := range fields {
		f = strings.TrimSpace(f)
		switch {
		case i == h.account:
			l.account = strings.TrimPrefix(f, "'")
		case i == h.version && f != "":
			v, ok := parseValue(f, h.between)
			if ok {
				l.version, _ = strconv.ParseInt(*v, 10, 64)
			}
			if l.version <= 0 {
				l.code = "version.invalid"
			}
		case i < len(h.items):
			l.values[i] = strings.Clone(strings.ToValidUTF8(f[:min(len(f), 60)], "")) // without a letter that was cut through
		case f != "" && h.between != 0:
			l.code = "row.too_long" // such as 7,5 without quotes, which moves what follows
		}
	}
	l.account = strings.Clone(l.account[:min(len(l.account), 100)])
	if !id.Valid("account", l.account) {
		l.account, l.code = "", "student.not_found"
	}
	return l
}

// compareLines adds what some lines would change.
func (s *Service) compareLines(ctx context.Context, tx *pg.Tx, b *book, h *header, batch []*importLine, out []*importChange, i *gradeImport) ([]*importChange, error) {
	accounts := make([]string, 0, len(batch))
	for _, l := range batch {
		accounts = append(accounts, l.account)
	}
	rows, err := tx.Query(ctx, `SELECT `+studentColumns+` FROM student WHERE course_id = $1 AND account_id = ANY ($2) AND enrolled_at IS NOT NULL`, b.CourseID, accounts)
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	students, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[student])
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	lineOf := map[string]*importLine{}
	for _, l := range batch {
		if l.code == "" {
			lineOf[l.account] = l
		}
	}
	found := map[*importLine][]*importChange{}
	err = s.rows(ctx, tx, b, students, func(st *student, cells map[string]*cell, r *gradebook.Result) error {
		l := lineOf[st.AccountID]
		if l == nil {
			return nil
		}
		changes := []*importChange{}
		for n, it := range h.items {
			if it == nil || l.values[n] == "" {
				continue
			}
			if c := compareValue(h, l, it, cells[it.ItemID], &r.Full.Current.Items[it.index], l.values[n]); c != nil {
				changes = append(changes, c)
			}
		}
		found[l] = changes
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, l := range batch {
		changes, known := found[l]
		if !known {
			if l.code == "" {
				l.code = "student.not_found"
			}
			changes = []*importChange{{Line: l.n, AccountID: l.account, Outcome: outcomeRefused, Code: l.code}}
		}
		for _, c := range changes {
			switch c.Outcome {
			case outcomeChange:
				i.Changes++
			case outcomeConflict:
				i.Conflicts++
			default:
				i.Refused++
			}
		}
		out = append(out, changes...)
	}
	return out, nil
}

// compareValue returns what a value would change; nil for nothing.
func compareValue(h *header, l *importLine, it *item, c *cell, score *gradebook.Score, text string) *importChange {
	out := &importChange{Line: l.n, AccountID: l.account, ItemID: it.ItemID, Before: cellValue(c, score).text, Outcome: outcomeChange}
	switch word := strings.ToUpper(text); word {
	case valueExcused, valueMissing:
		out.After = word
	case valueBack:
		entered := it.Source == ofStaff && !it.calculated() && c != nil && c.Points != nil
		if c == nil || c.Override == nil && c.Status == "" && !entered {
			return nil
		}
		out.After = valueBack
	default:
		points, ok := parseValue(text, h.between)
		switch {
		case !ok:
			out.After, out.Outcome, out.Code = text, outcomeRefused, "value.invalid"
			return out
		case !it.known:
			out.After, out.Outcome, out.Code = *points, outcomeRefused, ErrPointsUnknown.Code
			return out
		}
		out.After = *points
	}
	if out.After == out.Before {
		return nil
	}
	if c != nil {
		out.Seq = c.Seq
	}
	if l.version > 0 && out.Seq > l.version {
		out.Outcome = outcomeConflict
	}
	return out
}

// edit is what a change of a file means: a number counts, whatever was said before.
func (c *importChange) edit(reason string) *gradespb.GradeEdit {
	e := &gradespb.GradeEdit{Reason: reason}
	none := ""
	switch c.After {
	case valueExcused:
		e.Status = new("excused")
	case valueMissing:
		e.Status, e.Points = new("missing"), &none
	case valueBack:
		e.Status, e.Points = &none, &none
	default:
		e.Points = &c.After
		if c.Before == valueExcused || c.Before == valueMissing {
			e.Status = &none
		}
	}
	return e
}
