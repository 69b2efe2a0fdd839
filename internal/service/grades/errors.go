package grades

import (
	"errors"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/page"
)

// errorsAsFault returns the error that may be told.
func errorsAsFault(err error) (*fault.Error, bool) { return errors.AsType[*fault.Error](err) }

// collectTexts returns rows of one text.
func collectTexts(rows pgx.Rows, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// seqCursor is a cursor for lists by numbers of changes.
func seqCursor(seq int64) string { return page.Cursor(strconv.FormatInt(seq, 10)) }

// cursorSeq reads one; an empty one is otherwise.
func cursorSeq(cursor string, otherwise int64) (int64, error) {
	values, err := page.Values(cursor, 1)
	if err != nil {
		return 0, err
	}
	if values == nil {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil {
		return 0, page.ErrCursor
	}
	return n, nil
}

// placeOf names the place of an override of a total; cutPlace takes it apart.
func placeOf(category, period string) string { return category + "\n" + period }

func cutPlace(place string) (category, period string) {
	category, period, _ = strings.Cut(place, "\n")
	return category, period
}
