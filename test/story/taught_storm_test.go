package story_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// storm: people view lessons and the teacher publishes new ones while processes
// are killed. What was acknowledged is so afterwards, and nothing else.
func (c *taught) storm(t *testing.T) {
	t.Helper()
	const kills, learners, least = 4, 4, 8
	r := seed(t)
	teacher := c.teacher
	course := teacher.do(t, 201, "POST", "/v1/courses", map[string]any{"title": "Learning in a storm"}).text("id")
	path := "/v1/courses/" + course
	module := teacher.do(t, 201, "POST", path+"/modules", map[string]any{"title": "All"}).text("id")
	var mu sync.Mutex
	var lessons []string // of the versions whose publishing was acknowledged
	add := func() (string, error) {
		a, err := teacher.insist(t, path+"/lessons", map[string]any{"module_id": module, "title": "A lesson"}, 201)
		return a.text("id"), err
	}
	first, err := add()
	if err != nil {
		t.Fatal(err)
	}
	lessons = append(lessons, first)
	publish(t, teacher, course, 0)
	people := make([]*person, learners)
	for i := range people {
		people[i] = c.in.signUp(t, fmt.Sprintf("Student %d", i))
		if _, err := people[i].insist(t, path+"/enrollments", nil, 201); err != nil {
			t.Fatal(err)
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var killed atomic.Int32
	var wg sync.WaitGroup
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(c.in.processes)), func(name string) bool {
		return !slices.Contains([]string{"stoa", "courses", "learning", "access", "edge"}, name)
	})
	wg.Go(func() {
		for killed.Load() < kills && after(ctx, time.Duration(300+r.IntN(700))*time.Millisecond) {
			p := c.in.processes[names[r.IntN(len(names))]]
			p.kill()
			p.start()
			killed.Add(1)
		}
	})
	published := 1
	wg.Go(func() {
		for n := 1; (n < least || killed.Load() < kills) && after(ctx, rand.N(100*time.Millisecond)); n++ { //nolint:gosec // they write for a while
			lesson, err := add()
			if err != nil {
				t.Error(err)
				return
			}
			a, err := teacher.insist(t, path+"/publish", map[string]any{"message": "One more"}, 200)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			published = a.number("published_version")
			lessons = append(lessons, lesson)
			mu.Unlock()
		}
	})
	viewed := make([][]string, learners)
	for i, p := range people {
		wg.Go(func() {
			for n := 0; n < least && ctx.Err() == nil; {
				after(ctx, rand.N(200*time.Millisecond)) //nolint:gosec // they read for a while
				mu.Lock()
				ready, lesson := n < len(lessons), lessons[min(n, len(lessons)-1)]
				mu.Unlock()
				if !ready {
					continue
				}
				if n++; (n+i)%3 == 0 {
					continue // nobody reads all
				}
				if _, err := p.insist(t, path+"/lessons/"+lesson+"/view", nil, 200); err != nil {
					t.Error(err)
					return
				}
				viewed[i] = append(viewed[i], lesson)
			}
		})
	}
	wg.Wait()
	if t.Failed() || killed.Load() < kills {
		t.Fatalf("killed %d times", killed.Load())
	}
	c.in.waitReady()
	if a := teacher.do(t, 200, "GET", path, nil); a.number("published_version") != published || published != len(lessons) || a.at("has_unpublished_changes") == true {
		t.Errorf("published is %s; acknowledged was %d, with %d lessons", a, published, len(lessons))
	}
	for i, p := range people {
		p.sees(t, soon, p.name+" sees the last version", path+"/learner-outline", func(a answer) bool { return a.number("version") == published })
		var done []string
		a := p.do(t, 200, "GET", path+"/progress", nil)
		for n := range a.number("completed_lessons") {
			done = append(done, a.text(fmt.Sprintf("lessons.%d.lesson_id", n)))
		}
		if !slices.Equal(done, viewed[i]) || a.number("total_lessons") != len(lessons) {
			t.Errorf("%s has done %v, was told %v", p.name, done, viewed[i])
		}
	}
	t.Logf("%d versions were published while %d of %s were killed", published, killed.Load(), names)
	if c.in.broker != nil {
		c.in.nothingLeft(t)
	}
}
