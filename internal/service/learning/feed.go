package learning

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	ics "github.com/arran4/golang-ical"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// maxEntries bounds a calendar that is read at its secret address.
const maxEntries = 5_000

func hashOf(token string) []byte {
	sum := sha256.Sum256([]byte("calendar feed\n" + token))
	return sum[:]
}

// CreateCalendarFeed implements learningpb.CalendarServiceServer. The secret is not
// in what is kept for repeated calls.
func (s *Service) CreateCalendarFeed(ctx context.Context, req *learningpb.CreateCalendarFeedRequest) (*learningpb.CalendarFeed, error) {
	account, token := auth.From(ctx).Account, ""
	out, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*learningpb.CalendarFeed, error) {
		token = rand.Text() + rand.Text()
		now := s.now()
		_, err := tx.Exec(ctx, `
			INSERT INTO calendar_feed (account_id, token_hash, created_at) VALUES ($1, $2, $3)
			ON CONFLICT (account_id) DO UPDATE SET token_hash = EXCLUDED.token_hash, created_at = EXCLUDED.created_at`, account, hashOf(token), now)
		if err != nil {
			return nil, fmt.Errorf("store feed: %w", err)
		}
		return &learningpb.CalendarFeed{CreatedAt: timestamppb.New(now)}, audit.Record(ctx, tx, audit.Entry{Action: "calendar_feed.created", Object: account, Person: account})
	})
	if err != nil {
		return nil, err
	}
	if token != "" {
		out.Token, out.Path = token, "/v1/calendar/"+token+".ics"
	}
	return out, nil
}

// DeleteCalendarFeed implements learningpb.CalendarServiceServer.
func (s *Service) DeleteCalendarFeed(ctx context.Context, req *learningpb.DeleteCalendarFeedRequest) (*learningpb.DeleteCalendarFeedResponse, error) {
	account := auth.From(ctx).Account
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*learningpb.DeleteCalendarFeedResponse, error) {
		tag, err := tx.Exec(ctx, `DELETE FROM calendar_feed WHERE account_id = $1`, account)
		if err != nil {
			return nil, fmt.Errorf("delete feed: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil, ErrFeedNotFound
		}
		return &learningpb.DeleteCalendarFeedResponse{}, audit.Record(ctx, tx, audit.Entry{Action: "calendar_feed.deleted", Object: account, Person: account})
	})
}

// ReadCalendarFeed implements learningpb.CalendarServiceServer.
func (s *Service) ReadCalendarFeed(req *learningpb.ReadCalendarFeedRequest, stream grpc.ServerStreamingServer[learningpb.ReadCalendarFeedResponse]) error {
	res, err := s.readFeed(stream.Context(), req.GetToken())
	if err != nil {
		return err
	}
	return stream.Send(res)
}

func (s *Service) readFeed(ctx context.Context, token string) (*learningpb.ReadCalendarFeedResponse, error) {
	var account string
	err := s.db.QueryRow(ctx, `SELECT account_id FROM calendar_feed WHERE token_hash = $1`, hashOf(token)).Scan(&account)
	if pg.NoRows(err) {
		return nil, ErrFeedNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	now := s.now()
	from := now.AddDate(-1, 0, 0)
	list, more, err := entriesOf(ctx, s.db, account, from, now.AddDate(1, 0, 0), from.Add(-time.Microsecond), "", maxEntries)
	if more && err == nil { // what was gives way to what is to come
		from = now.AddDate(0, 0, -7)
		list, _, err = entriesOf(ctx, s.db, account, from, now.AddDate(1, 0, 0), from.Add(-time.Microsecond), "", maxEntries)
	}
	if err != nil {
		return nil, err
	}
	if list, err = s.shownOf(ctx, account, list); err != nil {
		return nil, err
	}
	content := calendarOf(list, now)
	// The stamp says when it was read; all else what it says.
	sum := sha256.Sum256([]byte(calendarOf(list, time.Unix(0, 0))))
	return &learningpb.ReadCalendarFeedResponse{Content: []byte(content), Etag: hex.EncodeToString(sum[:16])}, nil
}

// saying is what a calendar program shows of each kind of entry.
var saying = map[string]string{
	"available": "Opens", "due": "Due", "until": "Closes", "cohort_starts": "Begins", "cohort_ends": "Ends",
}

// calendarOf returns entries as a calendar of RFC 5545, all times in UTC.
func calendarOf(list []entry, stamp time.Time) string {
	cal := ics.NewCalendar()
	cal.SetProductId("-//Stoa//Calendar//EN")
	cal.SetCalscale("GREGORIAN")
	cal.SetXWRCalName("Stoa")
	cal.SetRefreshInterval("PT1H", ics.WithValue("DURATION"))
	for _, e := range list {
		title := oneLine(e.Title)
		if title == "" {
			title = "Something that is not open yet"
		}
		event := cal.AddEvent(e.uid() + "@stoa")
		event.SetDtStampTime(stamp.UTC())
		event.SetStartAt(e.At.UTC())
		event.SetSummary(saying[e.Kind] + ": " + title)
		event.SetDescription(oneLine(e.CourseTitle))
		event.SetTimeTransparency(ics.TransparencyTransparent)
	}
	return cal.Serialize(ics.WithNewLineWindows)
}

// oneLine returns text without line breaks and other control characters, which are
// no text in a calendar.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "\uFFFD"), func(r rune) bool { return r < ' ' || r == 0x7f || r == ' ' || r == 0x85 || r == 0x2028 || r == 0x2029 }), " ")
}
