package assessment

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// Errors of beginning an attempt.
var (
	ErrAttemptLeft      = fault.New(fault.Forbidden, "attempt.access_ended", "You do not take this course any more. What you have answered is kept.")
	ErrAttemptLocked    = fault.New(fault.Forbidden, "attempt.locked", "This quiz is not open to you yet.")
	ErrAttemptClosed    = fault.New(fault.Conflict, "attempt.closed", "This quiz is closed for you.")
	ErrAttemptNoneLeft  = fault.New(fault.Conflict, "attempt.none_left", "You have no attempt left.")
	ErrAttemptTooSoon   = fault.New(fault.Conflict, "attempt.too_soon", "Your next attempt can't begin yet.")
	ErrAttemptEnrolling = &fault.Error{
		Kind: fault.Unavailable, Code: "attempt.enrolling", Message: "You have only just been enrolled, and this quiz is about to know. Try again.", Retry: time.Second,
	}
	ErrAttemptNetwork = fault.New(fault.Forbidden, "attempt.network", "This quiz can be taken from certain networks alone, and you are in none of them.")
)

// standing is how a quiz at an item stands for somebody: what learning says of the
// item, and what access says is eased for them.
type standing struct {
	accountID     string
	enrolled      bool
	state         string // as learning tells it
	reasons       []string
	opensAt       *time.Time
	closesAt      *time.Time // by rules, or when it can't be done late any more: the earlier
	due           *time.Time
	timePercent   int32
	extraAttempts int32
	breaks        bool
}

// standings asks how a quiz at an item stands for some people, at most 500, in their
// order. It calls other services: never in a transaction.
func (s *Service) standings(ctx context.Context, courseID, itemID string, accounts []string) ([]*standing, error) {
	items, err := s.items.ListItemAccess(ctx, &learningpb.ListItemAccessRequest{CourseId: courseID, ItemId: itemID, AccountIds: accounts})
	if err != nil {
		return nil, err
	}
	if len(items.GetItems()) != len(accounts) {
		return nil, fmt.Errorf("learning told of %d of %d accounts", len(items.GetItems()), len(accounts))
	}
	eased, err := s.easedFor(ctx, courseID, accounts)
	if err != nil {
		return nil, err
	}
	out := make([]*standing, len(accounts))
	for i, it := range items.GetItems() {
		out[i] = &standing{
			accountID: it.GetAccountId(), enrolled: it.GetEnrolled(), state: it.GetState(), reasons: it.GetReasons(),
			opensAt: momentOf(it.GetOpensAt()), closesAt: earlier(momentOf(it.GetClosesAt()), momentOf(it.GetUntil())), due: momentOf(it.GetDue()),
		}
		out[i].ease(eased[it.GetAccountId()])
	}
	return out, nil
}

// easedFor returns what is eased for people in a course; of one accommodation for the
// course and one for all courses the more generous counts, each by itself.
func (s *Service) easedFor(ctx context.Context, courseID string, accounts []string) (map[string]*accesspb.Ease, error) {
	answer, err := s.accommodations.ListAccommodations(ctx, &accesspb.ListAccommodationsRequest{AccountIds: accounts, CourseId: courseID})
	if err != nil {
		return nil, err
	}
	out := map[string]*accesspb.Ease{}
	for _, a := range answer.GetItems() {
		one, ease := out[a.GetAccountId()], a.GetEase()
		if one == nil {
			one = &accesspb.Ease{}
			out[a.GetAccountId()] = one
		}
		one.TimePercent = max(one.GetTimePercent(), ease.GetTimePercent())
		one.ExtraAttempts = max(one.GetExtraAttempts(), ease.GetExtraAttempts())
		one.Breaks = one.GetBreaks() || ease.GetBreaks()
	}
	return out, nil
}

func (st *standing) ease(e *accesspb.Ease) {
	st.timePercent = min(max(e.GetTimePercent(), 100), 500)
	st.extraAttempts, st.breaks = e.GetExtraAttempts(), e.GetBreaks()
}

func momentOf(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	at := t.AsTime().UTC().Truncate(time.Microsecond)
	return &at
}

func earlier(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.Before(*a) {
		return b
	}
	return a
}

// window is when somebody may begin an attempt.
type window struct {
	from, until *time.Time // nil for no bound
}

// window returns it. Of what is closed now and opens by itself it is the next one.
func (st *standing) window() window {
	if st.state == "open" {
		return window{nil, st.closesAt}
	}
	return window{st.opensAt, st.closesAt}
}

// begun is an attempt that somebody has begun at an item.
type begun struct {
	ID          string
	Number      int32
	State       string
	StartedAt   *time.Time
	ClosesAt    *time.Time
	SubmittedAt *time.Time
}

// ended returns when an attempt ended, as far as that is known.
func (b begun) ended() time.Time {
	for _, t := range []*time.Time{b.SubmittedAt, b.ClosesAt, b.StartedAt} {
		if t != nil {
			return *t
		}
	}
	return time.Time{}
}

// refuse returns why somebody may not begin an attempt at a moment, nil where they may:
// each refusal with its hint, and with when it ends where that comes by itself. It is
// pure. Attempts are those that were begun, by their numbers. Password and network are
// looked at apart.
func (st *standing) refuse(settings *assessmentpb.QuizSettings, attempts []begun, now time.Time) *fault.Error {
	// Access let them in: learning is about to hear it.
	if !st.enrolled {
		return ErrAttemptEnrolling
	}
	if st.state == "hidden" || st.state == "absent" {
		return ErrAttemptNotFound
	}
	w := st.window()
	if w.until != nil && !now.Before(*w.until) {
		return refusal(ErrAttemptClosed, nil, "It closed on "+said(*w.until)+".")
	}
	if st.state != "open" {
		return refusal(ErrAttemptLocked, w.from, st.reasons...)
	}
	if err := allowed(settings, st.extraAttempts, len(attempts)); err != nil {
		return err
	}
	if at := nextAttempt(settings, attempts); at.After(now) {
		if w.until != nil && !at.Before(*w.until) {
			return refusal(ErrAttemptClosed, nil, "Your next attempt could begin on "+said(at)+", and it closes on "+said(*w.until)+".")
		}
		return refusal(ErrAttemptTooSoon, &at, "It can begin on "+said(at)+".")
	}
	return nil
}

// allowed refuses who has begun all attempts that there are.
func allowed(settings *assessmentpb.QuizSettings, extra int32, begun int) *fault.Error {
	all := attemptsOf(settings, extra)
	if all == 0 || begun < int(all) {
		return nil
	}
	return refusal(ErrAttemptNoneLeft, nil, fmt.Sprintf("There are %d, and you have begun all of them.", all))
}

// attemptsOf returns how many attempts there are with what is eased, 0 for no bound.
func attemptsOf(settings *assessmentpb.QuizSettings, extra int32) int32 {
	if settings.GetAttempts() == 0 {
		return 0
	}
	return settings.GetAttempts() + extra
}

// nextAttempt returns when the next attempt may begin.
func nextAttempt(settings *assessmentpb.QuizSettings, attempts []begun) time.Time {
	delay := time.Duration(settings.GetFirstDelaySeconds()) * time.Second
	if len(attempts) > 1 {
		delay = time.Duration(settings.GetLaterDelaySeconds()) * time.Second
	}
	if len(attempts) == 0 || delay == 0 {
		return time.Time{}
	}
	return attempts[len(attempts)-1].ended().Add(delay)
}

func said(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// refusal is an error with its hints, and with when it ends.
func refusal(err *fault.Error, opens *time.Time, hints ...string) *fault.Error {
	out := &fault.Error{Kind: err.Kind, Code: err.Code, Message: err.Message}
	for _, hint := range hints {
		out.Fields = append(out.Fields, fault.Field{Path: "item_id", Code: err.Code, Hint: hint})
	}
	if opens != nil {
		out.Fields = append(out.Fields, fault.Field{Path: "opens_at", Code: "attempt.opens_at", Hint: said(*opens)})
	}
	return out
}

// elsewhere refuses to show an attempt that runs to who calls from none of the networks that
// its quiz can be taken from, by the version that was published last: an error in them can
// be mended meanwhile. What is answered is taken from everywhere, so that nothing is lost
// for a line that has changed.
func (s *Service) elsewhere(ctx context.Context, q pg.Querier, a *attempt) error {
	if !a.running() || a.Preview {
		return nil
	}
	var number int32
	if err := q.QueryRow(ctx, `SELECT version FROM quiz WHERE id = $1`, a.QuizID).Scan(&number); err != nil {
		return fmt.Errorf("version of quiz: %w", err)
	}
	version, err := s.quizVersion(ctx, q, a.QuizID, number)
	if err != nil {
		return err
	}
	return checkNetwork(version.Settings.GetAddressRanges(), rpc.Address(ctx))
}

// checkNetwork refuses who calls from none of the networks. The address is as the edge
// tells it: of IPv6 the /64, so that a network that is smaller than that is held to
// its /64. Without an address nobody called from outside.
func checkNetwork(ranges []string, address string) error {
	if len(ranges) == 0 {
		return nil
	}
	a, err := netip.ParseAddr(address)
	if err != nil {
		return ErrAttemptNetwork
	}
	a = a.Unmap()
	if slices.ContainsFunc(ranges, func(text string) bool {
		p, err := parseRange(text)
		if err != nil {
			return false
		}
		if a.Is6() && p.Addr().Is6() && p.Bits() > 64 {
			p = netip.PrefixFrom(p.Addr(), 64).Masked()
		}
		return p.Contains(a)
	}) {
		return nil
	}
	return refusal(ErrAttemptNetwork, nil, "Your address is "+a.String()+".")
}
