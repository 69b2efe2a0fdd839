package access

import (
	"slices"
	"sync"
	"testing"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

func TestAccommodations(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, learner, teacher := e.course(t, 0), e.person(t), id.New("account")
	ctx := rpctest.Account(t.Context(), teacher)
	const note = "has broken an arm"
	everywhere, err := e.SetAccommodation(rpc.WithIdempotencyKey(ctx, "a"), &accesspb.SetAccommodationRequest{
		AccountId: learner, Ease: &accesspb.Ease{TimePercent: 125, Breaks: true}, Note: note,
	})
	if err != nil {
		t.Fatal(err)
	}
	req := &accesspb.SetCourseAccommodationRequest{CourseId: courseID, AccountId: learner, Ease: &accesspb.Ease{TimePercent: 150, ExtraAttempts: 1, ExtraDays: 7}, Note: note}
	// At once: one stands, the others are history.
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := e.SetCourseAccommodation(ctx, req); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := query[int](t, e.db, `SELECT count(*) FROM accommodation WHERE course_id <> '' AND ended_at IS NULL`); n != 1 {
		t.Errorf("%d stand", n)
	}
	history, err := e.ListCourseAccommodations(ctx, &accesspb.ListCourseAccommodationsRequest{CourseId: courseID, PageSize: 15})
	if err != nil || len(history.GetItems()) != 15 || history.GetItems()[0].GetNote() != note {
		t.Fatalf("%v, %v", history, err)
	}
	rest, err := e.ListCourseAccommodations(ctx, &accesspb.ListCourseAccommodationsRequest{CourseId: courseID, Cursor: history.GetNextCursor()})
	if err != nil || len(rest.GetItems()) != 5 {
		t.Fatalf("%v, %v", rest, err)
	}

	mine, err := e.ListMyAccommodations(rpctest.Account(t.Context(), learner), &accesspb.ListMyAccommodationsRequest{})
	if err != nil || len(mine.GetItems()) != 2 || mine.GetItems()[0].GetNote() != note {
		t.Fatalf("%v, %v", mine, err)
	}
	others, err := e.ListMyAccommodations(ctx, &accesspb.ListMyAccommodationsRequest{})
	if err != nil || len(others.GetItems()) != 0 {
		t.Fatalf("another is told %v, %v", others, err)
	}
	for _, name := range []string{roleMember, roleStudent, roleVisitor, "teaching_assistant", "grader", "observer"} {
		if slices.Contains(roles[name].permissions, accommodationRead) {
			t.Errorf("a %s sees accommodations", name)
		}
	}
	engine := accesspb.NewAccommodationServiceClient(e.harness.As("assessment"))
	all, err := engine.ListAccommodations(t.Context(), &accesspb.ListAccommodationsRequest{AccountIds: []string{learner, teacher}, CourseId: courseID})
	if err != nil || len(all.GetItems()) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	if a := all.GetItems()[0]; a.GetId() != everywhere.GetId() || a.GetEase().GetTimePercent() != 125 || !a.GetEase().GetBreaks() || a.GetNote() != "" {
		t.Errorf("everywhere: %v", a)
	}

	withdraw := &accesspb.WithdrawAccommodationRequest{AccommodationId: everywhere.GetId()}
	if _, err := e.WithdrawAccommodation(ctx, withdraw); err != nil {
		t.Fatal(err)
	}
	_, err = e.WithdrawAccommodation(ctx, withdraw)
	wantCode(t, err, fault.CodeOf(ErrNotFound))
	standing := &accesspb.WithdrawCourseAccommodationRequest{CourseId: e.course(t, 0), AccommodationId: all.GetItems()[1].GetId()}
	_, err = e.WithdrawCourseAccommodation(ctx, standing)
	wantCode(t, err, fault.CodeOf(ErrNotFound))
	standing.CourseId = courseID
	if _, err := e.WithdrawCourseAccommodation(ctx, standing); err != nil {
		t.Fatal(err)
	}
	if n := len(e.events(t)); n != 23 {
		t.Errorf("%d events, want one for each change", n)
	}
	// The note is nowhere in the clear.
	for _, sql := range []string{
		`SELECT count(*) FROM accommodation WHERE position($1::bytea IN note) > 0`,
		`SELECT count(*) FROM outbox WHERE position($1::bytea IN payload) > 0`,
		`SELECT count(*) FROM idempotency WHERE position($1::bytea IN result) > 0`,
	} {
		if n := query[int](t, e.db, sql, []byte(note)); n != 0 {
			t.Errorf("%d: %s", n, sql)
		}
	}
	_, err = e.SetAccommodation(ctx, &accesspb.SetAccommodationRequest{AccountId: id.New("account"), Ease: &accesspb.Ease{TimePercent: 100}})
	wantCode(t, err, "account.unknown")
}
