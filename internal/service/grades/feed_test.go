package grades

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// mirror keeps a gradebook by its changes alone, as a client does.
type mirror struct {
	w       *world
	cursor  string
	cells   map[[2]string]*gradespb.Cell
	totals  map[string]*gradespb.StudentTotals
	columns map[string]*gradespb.Column
	last    int64
}

func newMirror(w *world) *mirror {
	return &mirror{w: w, cells: map[[2]string]*gradespb.Cell{}, totals: map[string]*gradespb.StudentTotals{}, columns: map[string]*gradespb.Column{}}
}

// follow reads all changes there are.
func (m *mirror) follow() {
	m.w.t.Helper()
	for more := true; more; {
		res, err := m.w.grid.ListGradeChanges(m.w.staff(), &gradespb.ListGradeChangesRequest{CourseId: m.w.course, Cursor: m.cursor, PageSize: 7})
		if err != nil {
			m.w.t.Fatalf("ListGradeChanges: %v", err)
		}
		for _, c := range res.GetItems() {
			if c.GetSeq() <= m.last {
				m.w.t.Errorf("change %d behind %d", c.GetSeq(), m.last)
			}
			m.last = c.GetSeq()
			switch {
			case c.GetCell() != nil:
				m.cells[[2]string{c.GetCell().GetAccountId(), c.GetCell().GetItemId()}] = c.GetCell()
			case c.GetStudent() != nil:
				m.totals[c.GetStudent().GetAccountId()] = c.GetStudent()
			default:
				m.columns[c.GetColumn().GetItemId()] = c.GetColumn()
			}
		}
		m.cursor, more = res.GetNextCursor(), res.GetMore()
	}
}

// TestChangesMissNothing follows a gradebook while many change it at once: what the
// changes came to is what the grid is.
func TestChangesMissNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 3)
	w.publish(1, halves(q[:2], q[2:]), q...)
	people := make([]string, 6)
	for i := range people {
		people[i] = w.enroll(fmt.Sprint("Student ", i))
		w.give(w.mark(people[i], q[0], "1", "10"))
	}
	w.settled()
	m := newMirror(w)
	stop, followed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(followed)
		for {
			m.follow()
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for i := range 15 {
				p := people[(i*5+n)%len(people)]
				if n%2 == 0 {
					w.give(w.mark(p, q[i%3], fmt.Sprint(i%10), "10"))
				} else {
					w.set(p, q[i%3], &gradespb.GradeEdit{Feedback: new(fmt.Sprint("Teacher ", n, " round ", i))})
				}
			}
		})
	}
	wg.Go(func() {
		for range 3 {
			if _, err := w.columns.CreateColumn(w.staff(), &gradespb.CreateColumnRequest{CourseId: w.course, Title: "Of staff", Points: "10", Category: "exams"}); err != nil {
				t.Error(err)
			}
			w.settled()
		}
	})
	wg.Wait()
	w.settled()
	hear(w, w.service.accountUpdated, &identitypb.AccountUpdated{AccountId: people[0], Name: "Ágnes", Version: 2})
	hear(w, w.service.enrollmentEnded, &accesspb.EnrollmentEnded{CourseId: w.course, AccountId: people[1], Version: 2})
	close(stop)
	<-followed
	m.follow()
	for _, p := range people {
		st := w.student(p)
		want := &gradespb.StudentTotals{AccountId: p, Name: st.GetName(), Enrolled: st.GetEnrolled(), Totals: st.GetTotals()}
		if diff := cmp.Diff(want, m.totals[p], protocmp.Transform()); diff != "" {
			t.Errorf("totals (-grid +changes):\n%s", diff)
		}
		for _, c := range st.GetCells() {
			if got := m.cells[[2]string{p, c.GetItemId()}]; c.GetEtag() != "0" {
				if diff := cmp.Diff(c, got, protocmp.Transform()); diff != "" {
					t.Errorf("cell (-grid +changes):\n%s", diff)
				}
			}
		}
	}
	book, err := w.grid.GetGradebook(w.staff(), &gradespb.GetGradebookRequest{CourseId: w.course})
	if err != nil || len(book.GetColumns()) != 6 || book.GetStudents() != 5 || book.GetCalculating() {
		t.Fatalf("%v, %v", book, err)
	}
	for _, c := range book.GetColumns() {
		if diff := cmp.Diff(c, m.columns[c.GetItemId()], protocmp.Transform()); diff != "" {
			t.Errorf("column (-grid +changes):\n%s", diff)
		}
	}
	if book.GetChangesCursor() != m.cursor {
		t.Errorf("cursor %q, followed to %q", book.GetChangesCursor(), m.cursor)
	}
}

// TestWindow reads a grid page by page, by names in several scripts, by section and by
// columns.
func TestWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 3)
	w.publish(1, nil, q...)
	names := []string{"Ágnes", "ada", "Zoë", "Bo", "bo", "Öz", "李", "ábel"}
	var red []string
	group := id.New("group")
	hear(w, w.service.groupChanged, &accesspb.GroupChanged{GroupId: group, CourseId: w.course, Name: "Red", Version: 1})
	for i, name := range names {
		account := w.enroll(name)
		w.give(w.mark(account, q[i%3], "5", "10"))
		if i%2 == 0 {
			red = append(red, name)
			hear(w, w.service.groupMembershipChanged, &accesspb.GroupMembershipChanged{CourseId: w.course, AccountId: account, GroupId: group, Member: true, Version: 1})
		}
	}
	w.settled()
	list := func(req *gradespb.ListGradeRowsRequest) []string {
		t.Helper()
		var out []string
		req.CourseId = w.course
		for {
			res, err := w.grid.ListGradeRows(w.staff(), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range res.GetItems() {
				out = append(out, row.GetName())
				want := 3
				if len(req.GetItemIds()) > 0 {
					want = len(req.GetItemIds())
				}
				if len(row.GetCells()) != want || row.GetTotals().GetCurrent().GetPercent() != "50" {
					t.Errorf("%v", row)
				}
			}
			if req.Cursor = res.GetNextCursor(); req.GetCursor() == "" {
				return out
			}
		}
	}
	want := []string{"ábel", "ada", "Ágnes", "Bo", "bo", "Öz", "Zoë", "李"}
	for _, size := range []int32{1, 3, 100} {
		if diff := cmp.Diff(want, list(&gradespb.ListGradeRowsRequest{PageSize: size, ItemIds: q[1:]})); diff != "" {
			t.Errorf("by name, %d a page (-want +got):\n%s", size, diff)
		}
	}
	if got := list(&gradespb.ListGradeRowsRequest{SectionIds: []string{group}, PageSize: 2}); len(got) != len(red) {
		t.Errorf("%v, want %v", got, red)
	}
	if diff := cmp.Diff([]string{"ábel", "ada", "Ágnes"}, list(&gradespb.ListGradeRowsRequest{Name: "Á"})); diff != "" {
		t.Errorf("by the beginning of a name (-want +got):\n%s", diff)
	}
	for _, cursor := range []string{"x", "e30", seqCursor(5)} {
		if _, err := w.grid.ListGradeRows(w.staff(), &gradespb.ListGradeRowsRequest{CourseId: w.course, Cursor: cursor}); code(err) != "request.invalid" {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
	stats, err := w.columns.GetItemStatistics(w.staff(), &gradespb.GetItemStatisticsRequest{CourseId: w.course, ItemId: q[0]})
	if err != nil {
		t.Fatal(err)
	}
	expected := &gradespb.ItemStatistics{
		ItemId: q[0], Count: 3, MaxPoints: "10", Mean: "5", Median: "5", Lowest: "5", Highest: "5", Deviation: "0", Distribution: []int32{0, 0, 0, 0, 0, 3, 0, 0, 0, 0},
	}
	if diff := cmp.Diff(expected, stats, protocmp.Transform()); diff != "" {
		t.Errorf("statistics (-want +got):\n%s", diff)
	}
}
