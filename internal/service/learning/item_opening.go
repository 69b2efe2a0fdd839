package learning

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// maxOpeningSpan is how long a span of time may be that openings are asked for in.
const maxOpeningSpan = 24 * time.Hour

// errOpeningSpan is told for a longer one.
var errOpeningSpan = fault.InvalidField("until", "openings.span", "Ask for at most a day, from after on.")

// itemOpening is a moment at which an item becomes available to somebody.
type itemOpening struct {
	AvailableFrom time.Time
	CourseID      string
	ItemID        string
}

// ListOpenings implements learningpb.ItemServiceServer.
func (r *itemServer) ListOpenings(ctx context.Context, req *learningpb.ListOpeningsRequest) (*learningpb.ListOpeningsResponse, error) {
	after, until, err := openingSpan(req.GetAfter(), req.GetUntil())
	if err != nil {
		return nil, err
	}
	last, err := readOpening(req.GetCursor())
	if err != nil {
		return nil, err
	}
	if last.AvailableFrom.IsZero() {
		last.AvailableFrom = after
	}
	size := page.Size(req.GetPageSize())
	// Goes from each to the next one that is another, however many people have it.
	rows, err := r.service.db.Query(ctx, `
		WITH RECURSIVE opening AS (
			(SELECT available_from, course_id, item_id FROM effective_deadline
				WHERE available_from > $1 AND available_from <= $2 AND (available_from, course_id, item_id) > ($3, $4, $5)
				ORDER BY available_from, course_id, item_id LIMIT 1)
			UNION ALL
			SELECT next.* FROM opening o CROSS JOIN LATERAL (
				SELECT d.available_from, d.course_id, d.item_id FROM effective_deadline d
				WHERE d.available_from <= $2 AND (d.available_from, d.course_id, d.item_id) > (o.available_from, o.course_id, o.item_id)
				ORDER BY d.available_from, d.course_id, d.item_id LIMIT 1) AS next
		)
		SELECT available_from, course_id, item_id FROM opening LIMIT $6`, after, until, last.AvailableFrom, last.CourseID, last.ItemID, size+1)
	if err != nil {
		return nil, fmt.Errorf("list openings: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[itemOpening])
	if err != nil {
		return nil, fmt.Errorf("list openings: %w", err)
	}
	out := &learningpb.ListOpeningsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = list[size-1].cursor()
	}
	for _, o := range list {
		out.Items = append(out.Items, &learningpb.Opening{CourseId: o.CourseID, ItemId: o.ItemID, AvailableFrom: timestamppb.New(o.AvailableFrom)})
	}
	return out, nil
}

// ListOpeningAccounts implements learningpb.ItemServiceServer.
func (r *itemServer) ListOpeningAccounts(ctx context.Context, req *learningpb.ListOpeningAccountsRequest) (*learningpb.ListOpeningAccountsResponse, error) {
	after, until, err := openingSpan(req.GetAfter(), req.GetUntil())
	if err != nil {
		return nil, err
	}
	rows, err := r.service.db.Query(ctx, `
		SELECT account_id FROM effective_deadline
		WHERE course_id = $1 AND item_id = $2 AND available_from > $3 AND available_from <= $4 AND account_id > $5 ORDER BY account_id LIMIT $6`,
		req.GetCourseId(), req.GetItemId(), after, until, req.GetAfterAccountId(), page.Size(req.GetPageSize()))
	if err != nil {
		return nil, fmt.Errorf("list to whom an item opens: %w", err)
	}
	accounts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list to whom an item opens: %w", err)
	}
	return &learningpb.ListOpeningAccountsResponse{AccountIds: accounts}, nil
}

func openingSpan(from, to *timestamppb.Timestamp) (after, until time.Time, err error) {
	after, until = from.AsTime(), to.AsTime()
	if until.Sub(after) > maxOpeningSpan {
		return after, until, errOpeningSpan
	}
	return after, until, nil
}

func (o itemOpening) cursor() string {
	return page.Cursor(strconv.FormatInt(o.AvailableFrom.UnixMicro(), 10), o.CourseID, o.ItemID)
}

// readOpening reads a cursor; none is the zero value.
func readOpening(cursor string) (itemOpening, error) {
	values, err := page.Values(cursor, 3)
	if err != nil || values == nil {
		return itemOpening{}, err
	}
	at, _, err := page.After(page.Cursor(values[0], values[1]))
	return itemOpening{at, values[1], values[2]}, err
}
