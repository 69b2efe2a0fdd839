package assessment

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// deadline is the time of an attempt in the simplest way there is: a budget that is used
// up while the clock runs, and a window that comes nearer while it is not held. Nothing
// of it is computed from a start.
type deadline struct {
	limited, windowed bool
	budget            time.Duration // what of the time is left
	window            time.Duration // until the end of the window
	state             string        // "running", "break", "held" or "over"
	ended             time.Duration // how long ago
}

func (d *deadline) left() time.Duration {
	switch {
	case !d.limited:
		return d.window
	case !d.windowed:
		return d.budget
	default:
		return min(d.budget, d.window)
	}
}

func (d *deadline) ends() bool { return d.limited || d.windowed }

// pass lets a second pass.
func (d *deadline) pass() {
	switch d.state {
	case "over":
		d.ended += time.Second
		return
	case "held":
		return
	case "running":
		d.budget -= time.Second
	}
	d.window -= time.Second
	over := d.state == "running" && d.ends() && d.left() < 0 || d.state == "break" && d.windowed && d.window < 0
	if over {
		d.state, d.ended = "over", time.Second
	}
}

func (d *deadline) give(more time.Duration, beyond bool) {
	d.budget += more
	if beyond {
		d.window += more
	}
}

// Time is given and taken back, held and released, stopped by the student and reopened in
// any order: the end is where the model has it.
func TestDeadlinesAreAsTheModel(t *testing.T) {
	t.Parallel()
	hall := openHall(t, &assessmentpb.QuizSettings{Attempts: 100})
	rapid.Check(t, func(t *rapid.T) {
		h := hall
		m := &deadline{limited: rapid.Bool().Draw(t, "limited"), windowed: rapid.Bool().Draw(t, "windowed"), budget: 10 * time.Minute, state: "running"}
		h.mu.Lock()
		h.clock = time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
		h.mu.Unlock()
		st := &student{world: h.world, account: id.New("account")}
		it := &learningpb.ItemAccess{Enrolled: true, State: "open"}
		if m.windowed {
			m.window = time.Duration(rapid.IntRange(60, 1200).Draw(t, "window")) * time.Second
			it.ClosesAt = timestamppb.New(h.now().Add(m.window))
			m.budget = min(m.budget, m.window)
		}
		h.around.say(st.account, it)
		var err error
		if st.attempt, err = h.attempts.StartAttempt(h.as(st.account), &assessmentpb.StartAttemptRequest{CourseId: h.course, ItemId: h.item}); err != nil {
			t.Fatal(err)
		}
		h.exec(`UPDATE attempt SET breaks = true WHERE id = $1`, st.attempt.GetId())
		if !m.limited {
			h.exec(`UPDATE attempt SET time_limit = NULL WHERE id = $1`, st.attempt.GetId())
			h.exec(`UPDATE attempt SET `+expireSQL+` WHERE id = $1`, st.attempt.GetId())
		}
		type given struct {
			action *assessmentpb.ExamAction
			undone bool
		}
		var gifts []*given
		check := func(what string) {
			h.end()
			a := st.get()
			got := map[bool]string{true: a.GetState()}[a.GetState() != stateInProgress]
			switch {
			case got != "":
				got = "over"
			case a.GetPausedAt() == nil:
				got = "running"
			default:
				got = "break"
				if h.heldNow(st) {
					got = "held"
				}
			}
			if got != m.state {
				t.Fatalf("%s: %s, want %s (%+v)", what, got, m.state, m)
			}
			if got == "running" && m.ends() != (a.GetExpiresAt() != nil) || a.GetExpiresAt() != nil && got == "running" && a.GetExpiresAt().AsTime().Sub(h.now()) != m.left() {
				t.Fatalf("%s: it ends in %s, want %s (%+v)", what, a.GetExpiresAt().AsTime().Sub(h.now()), m.left(), m)
			}
			if got == "over" && a.GetSubmittedAt().AsTime().Sub(h.now().Add(-m.ended)) > time.Second {
				t.Fatalf("%s: it ended %s", what, a.GetSubmittedAt().AsTime())
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check("always") },
			"wait": func(t *rapid.T) {
				for range rapid.IntRange(1, 400).Draw(t, "seconds") {
					m.pass()
					h.later(time.Second)
				}
				h.later(inFlight) // and what is due is ended
				h.end()
				h.later(-inFlight)
			},
			"give": func(t *rapid.T) {
				minutes, beyond := int32(rapid.IntRange(1, 5).Draw(t, "minutes")), rapid.Bool().Draw(t, "beyond") //nolint:gosec // G115: at most 5
				a := h.give(minutes, beyond, st)
				if (a.GetAttempts() == 1) != (m.state != "over") {
					t.Fatalf("given to %d while it is %s", a.GetAttempts(), m.state)
				}
				if m.state != "over" {
					m.give(time.Duration(minutes)*time.Minute, beyond)
					gifts = append(gifts, &given{action: a})
				}
			},
			"take back": func(t *rapid.T) {
				if len(gifts) == 0 {
					t.Skip()
				}
				g := gifts[rapid.IntRange(0, len(gifts)-1).Draw(t, "which")]
				before := m.left()
				h.takeBack(g.action)
				if g.undone || m.state == "over" {
					g.undone = true
					return
				}
				g.undone = true
				amount := time.Duration(g.action.GetSeconds()) * time.Second
				// In a break what is left is what there was when it began, or what the
				// window leaves.
				if m.ends() && (m.state != "break" || m.limited) {
					amount = min(amount, max(before-time.Minute, 0))
				} else if m.windowed {
					amount = min(amount, max(m.window-time.Minute, 0))
				}
				m.give(-amount, g.action.GetBeyondWindow())
			},
			"hold": func(*rapid.T) {
				h.hold(st)
				if m.state != "over" {
					m.state = "held"
				}
			},
			"release": func(*rapid.T) {
				h.release(st)
				if m.state == "held" {
					m.state = "running"
				}
			},
			"break": func(*rapid.T) {
				_, err := h.attempts.PauseAttempt(h.as(st.account), &assessmentpb.PauseAttemptRequest{AttemptId: st.attempt.GetId()})
				if m.state == "running" {
					m.state = "break"
				}
				if (err == nil) != (m.state != "over") {
					t.Fatalf("a break while it is %s: %v", m.state, err)
				}
			},
			"go on": func(*rapid.T) {
				_, err := h.attempts.ResumeAttempt(h.as(st.account), &assessmentpb.ResumeAttemptRequest{AttemptId: st.attempt.GetId()})
				if m.state == "break" {
					m.state = "running"
				}
				if (err == nil) != (m.state == "running") {
					t.Fatalf("it goes on while it is %s: %v", m.state, err)
				}
			},
			"reopen": func(t *rapid.T) {
				minutes := int32(rapid.IntRange(1, 5).Draw(t, "minutes")) //nolint:gosec // G115: at most 5
				_, err := h.exams.ReopenAttempt(h.proctor, &assessmentpb.ReopenAttemptRequest{CourseId: h.course, AttemptId: st.attempt.GetId(), Minutes: minutes, Reason: "x"})
				if (err == nil) != (m.state == "over") {
					t.Fatalf("reopened while it is %s: %v", m.state, err)
				}
				if m.state == "over" {
					m.budget, m.window = max(m.budget, 0), max(m.window, 0)
					m.give(time.Duration(minutes)*time.Minute, true)
					m.state = "running"
				}
			},
		})
	})
}

// heldNow reports whether it is staff who hold an attempt.
func (h *hall) heldNow(st *student) bool {
	h.t.Helper()
	var held bool
	if err := h.db.QueryRow(context.Background(), `SELECT held FROM attempt WHERE id = $1`, st.attempt.GetId()).Scan(&held); err != nil {
		h.t.Fatal(fmt.Errorf("held: %w", err))
	}
	return held
}
