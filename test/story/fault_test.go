package story_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"
)

// At least so many students buy and learn while things break, and more, up to
// a bound, until enough has been broken.
const (
	journeys     = 12
	mostJourneys = 48 // one page of lists holds them
)

// seed of what is broken when; STOA_TEST_SEED repeats a run.
func seed(t testing.TB) *rand.Rand {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if text := os.Getenv("STOA_TEST_SEED"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("STOA_TEST_SEED=%d", n)
	return rand.New(rand.NewPCG(n, n)) //nolint:gosec // chance, not secrecy
}

// TestBreakages breaks one installation in several ways, one after the other: what comes
// next finds everything mended.
func TestBreakages(t *testing.T) {
	t.Parallel()
	tellAll(t, distributed(t), []chapter{
		{"events twice and in any order", eventsTwiceAndInAnyOrder},
		{"broker away and Redis gone", brokerAwayAndRedisGone},
		{"killed in a re-key", killedInRekey},
		{"killed while they buy", killedWhileTheyBuy},
	})
}

// TestInterrupted does so in both layouts, with what goes on while processes die.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	inBoth(t, oneProcess, distributed, func(t *testing.T, in *installation) {
		tellAll(t, in, []chapter{
			{"learning", learning},
			{"a video is shown", videoIsShown},
			{"an upload is killed", uploadKilled},
			{"revocation is seen", revocationIsSeen},
		})
	})
}

// chapter is a story that is told after others, and its name.
type chapter struct {
	name string
	tell func(*testing.T, *installation)
}

// tellAll tells stories of one installation, one after the other.
func tellAll(t *testing.T, in *installation, stories []chapter) {
	t.Helper()
	for _, story := range stories {
		t.Run(story.name, func(t *testing.T) {
			in := *in
			in.t = t
			story.tell(t, &in)
		})
	}
}

// killedWhileTheyBuy: any process may die at any moment, the broker stop and
// come back and Redis be gone: every paid order ends in exactly one enrollment,
// every event is handled exactly once, nothing hangs.
func killedWhileTheyBuy(t *testing.T, in *installation) {
	r := seed(t)
	school := openSchool(t, in)

	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var breakages atomic.Int32
	var broken []string
	wg.Go(func() { broken = in.breakThings(ctx, r, &breakages) })
	const enough = 10
	students := school.buyAndLearn(t, func() bool { return breakages.Load() >= enough })
	cancel()
	wg.Wait()
	t.Logf("broken while %d students bought: %s", len(students), strings.Join(broken, ", "))
	if len(broken) < enough {
		t.Errorf("only %d things were broken", len(broken))
	}
	in.waitReady()
	school.settled(t, students)
	in.nothingLeft(t)
}

// TestKilledInOneProcess: the same for the one process with its embedded
// database, which dies with it.
func TestKilledInOneProcess(t *testing.T) {
	t.Parallel()
	in := oneProcess(t)
	r := seed(t)
	school := openSchool(t, in)

	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var kills atomic.Int32
	const enough, most = 5, 12
	wg.Go(func() {
		p := in.processes["stoa"]
		for kills.Load() < most && after(ctx, time.Duration(1000+r.IntN(2000))*time.Millisecond) {
			p.kill()
			p.start()
			if kills.Add(1)%2 == 0 { // every other time it may also die while it starts
				in.progress(ctx)
			}
		}
	})
	students := school.buyAndLearn(t, func() bool { return kills.Load() >= enough })
	cancel()
	wg.Wait()
	t.Logf("killed %d times while %d students bought", kills.Load(), len(students))
	if kills.Load() < enough {
		t.Errorf("killed only %d times", kills.Load())
	}
	in.waitReady()
	school.settled(t, students)
}

// breakThings breaks one thing after the other until ctx ends, mends it, and
// counts.
func (in *installation) breakThings(ctx context.Context, r *rand.Rand, count *atomic.Int32) (broken []string) {
	for i := 0; after(ctx, time.Duration(100+r.IntN(500))*time.Millisecond); i++ {
		count.Add(1)
		switch i {
		case 3:
			broken = append(broken, "broker stopped")
			in.broker.Stop()
			after(ctx, 2*time.Second)
			in.restart(in.broker.Restart)
		case 9:
			broken = append(broken, "Redis killed")
			in.redis.Kill()
			after(ctx, time.Second)
			in.restart(in.redis.Restart)
		default:
			p := in.processes[services[r.IntN(len(services))]]
			broken = append(broken, p.name)
			p.kill()
			if r.IntN(3) == 0 {
				after(ctx, time.Duration(r.IntN(1000))*time.Millisecond)
			}
			p.start()
			if i%2 == 1 {
				in.progress(ctx)
			}
		}
	}
	return broken
}

func (in *installation) restart(fn func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	if err := fn(ctx); err != nil {
		in.t.Error(err)
	}
}

// after waits, and reports whether ctx is still alive then.
func after(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// school is a teacher with a course for sale.
type school struct {
	in      *installation
	teacher *person
	course  string
	lessons []string
}

func openSchool(t testing.TB, in *installation) *school {
	t.Helper()
	s := &school{in: in, teacher: in.signUp(t, "Tess Teacher")}
	s.course, s.lessons = draft(t, s.teacher, "Course in a storm")
	publish(t, s.teacher, s.course, 4900)
	if in.database() == "" {
		return s // an embedded database can't be asked; there is no broker to stop either
	}
	eventually(t, soon, "the course is for sale", func() (bool, string) {
		var onSale bool
		err := in.query(t, fmt.Sprintf(`SELECT count(*) > 0 FROM commerce.product WHERE course_id = '%s' AND on_sale`, s.course), &onSale)
		return err == nil && onSale, fmt.Sprint(err)
	})
	return s
}

// buyer is a student with the order that they have paid.
type buyer struct {
	*person
	order string
}

// buyAndLearn has students sign up, buy, pay, read and finish, a few at a time,
// each as a client that thinks a little and repeats what was not answered, until
// enough has happened to them.
func (s *school) buyAndLearn(t testing.TB, enough func() bool) []buyer {
	t.Helper()
	var (
		mu       sync.Mutex
		students []buyer
		begun    atomic.Int32
		wg       sync.WaitGroup
	)
	for range 5 {
		wg.Go(func() {
			for i := begun.Add(1); i <= journeys || i <= mostJourneys && !enough(); i = begun.Add(1) {
				b, err := s.journey(t, fmt.Sprintf("Student %d", i))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				students = append(students, b)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return students
}

func (s *school) journey(t testing.TB, name string) (buyer, error) {
	p := &person{in: s.in, name: name}
	email := uuid.NewString()[:13] + "@example.com"
	a, err := p.insist(t, "/v1/accounts", map[string]any{"email": email, "password": password, "name": name}, 201)
	if err != nil {
		return buyer{}, err
	}
	p.account = a.text("id")
	if a, err = p.insist(t, "/v1/sessions", map[string]any{"email": email, "password": password}, 201); err != nil {
		return buyer{}, err
	}
	p.token = a.text("token")
	order, err := p.insist(t, "/v1/orders", map[string]any{"course_ids": []string{s.course}}, 201)
	if err != nil {
		return buyer{}, err
	}
	_, payment, _ := strings.Cut(order.text("pay_url"), "/pay/")
	if _, err = p.insist(t, "/v1/development/payments/"+payment+"/settle", map[string]any{"outcome": "succeed"}, 200); err != nil {
		return buyer{}, err
	}
	for _, l := range s.lessons {
		after(t.Context(), rand.N(800*time.Millisecond)) //nolint:gosec // they read for a while
		if _, err = p.insist(t, "/v1/courses/"+s.course+"/lessons/"+l+"/view", nil, 200); err != nil {
			return buyer{}, err
		}
	}
	return buyer{p, order.text("id")}, nil
}

// settled holds the platform to its word: one enrollment, one sale, one of each
// notification for each paid order, and all of them fulfilled.
func (s *school) settled(t testing.TB, students []buyer) {
	t.Helper()
	for _, b := range students {
		b.sees(t, 60*time.Second, b.name+"'s order is fulfilled", "/v1/orders/"+b.order, func(a answer) bool {
			return a.text("state") == "fulfilled"
		})
		b.sees(t, 60*time.Second, b.name+" has finished", "/v1/courses/"+s.course+"/progress", func(a answer) bool {
			return a.number("percent") == 100 && a.text("completed_at") != ""
		})
		if list := b.do(t, 200, "GET", "/v1/me/enrollments", nil).items(); len(list) != 1 {
			t.Errorf("%s has %d enrollments", b.name, len(list))
		}
		if list := b.do(t, 200, "GET", "/v1/orders", nil).items(); len(list) != 1 {
			t.Errorf("%s has %d orders", b.name, len(list))
		}
		told(t, b.person, "welcome", "enrollment", "receipt", "course_completed")
	}
	for path, what := range map[string]string{"sales": "sales", "enrollments": "enrollments", "learners": "learners"} {
		seen := map[string]int{}
		for _, item := range s.teacher.do(t, 200, "GET", "/v1/courses/"+s.course+"/"+path+"?page_size=100", nil).items() {
			who := item.text("buyer_id")
			if who == "" {
				who = item.text("account_id")
			}
			seen[who]++
		}
		for _, b := range students {
			if seen[b.account] != 1 {
				t.Errorf("%s has %d %s, want 1", b.name, seen[b.account], what)
			}
		}
		if len(seen) != len(students) {
			t.Errorf("%d people have %s, want %d", len(seen), what, len(students))
		}
	}
	eventually(t, 60*time.Second, "the teacher was told of each once", func() (bool, string) {
		a, err := s.teacher.try(t.Context(), "GET", "/v1/notifications?page_size=100", nil)
		count := map[string]int{}
		for _, n := range a.items() {
			count[n.text("kind")]++
		}
		return err == nil && count["sale"] == len(students) && count["new_student"] == len(students), fmt.Sprint(count)
	})
	eventually(t, 60*time.Second, "the marketplace counts each once", func() (bool, string) {
		a, err := s.in.nobody().try(t.Context(), "GET", "/v1/marketplace/courses/"+s.course, nil)
		return err == nil && a.number("enrollment_count") == len(students), a.String()
	})
}

// nothingLeft: no event waits, is tried again or was given up.
func (in *installation) nothingLeft(t testing.TB) {
	t.Helper()
	eventually(t, 60*time.Second, "no event is left", func() (bool, string) {
		var left []string
		for _, s := range services[:len(services)-1] {
			var outbox, failed int
			if err := in.query(t, fmt.Sprintf(`SELECT (SELECT count(*) FROM %[1]s.outbox), (SELECT count(*) FROM %[1]s.inbox_failed)`, s), &outbox, &failed); err != nil {
				return false, err.Error()
			}
			if outbox+failed > 0 {
				left = append(left, fmt.Sprintf("%s: %d to send, %d failed", s, outbox, failed))
			}
		}
		return len(left) == 0, strings.Join(left, "; ")
	})
}

func (in *installation) database() string {
	for _, p := range in.processes {
		for _, e := range p.env {
			if url, ok := strings.CutPrefix(e, "STOA_DATABASE_URL="); ok {
				return url
			}
		}
	}
	return ""
}

func (in *installation) query(t testing.TB, sql string, to ...any) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), in.database())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.Background()) }()
	return conn.QueryRow(t.Context(), sql).Scan(to...)
}

// brokerAwayAndRedisGone: what is paid while the broker is away is there
// when it is back, and nobody waits for it meanwhile.
func brokerAwayAndRedisGone(t *testing.T, in *installation) {
	s := openSchool(t, in)
	in.broker.Stop()
	in.redis.Kill()

	student := in.signUp(t, "Patient Student")
	order := student.manages(t, "the order", 201, "POST", "/v1/orders", map[string]any{"course_ids": []string{s.course}})
	pay(t, student, order)
	if a := student.do(t, 200, "GET", "/v1/orders/"+order.text("id"), nil); a.text("state") != "paid" {
		t.Fatalf("order %s", a)
	}
	student.do(t, 403, "GET", "/v1/courses/"+s.course+"/lessons/"+s.lessons[1], nil)

	in.restart(in.broker.Restart)
	eventually(t, soon, "the student is enrolled once the broker is back", enrolled(t, student, s.course))
	in.restart(in.redis.Restart)
	student.do(t, 200, "GET", "/v1/courses/"+s.course+"/lessons/"+s.lessons[1], nil)
	in.nothingLeft(t)
}

// eventsTwiceAndInAnyOrder: everything that was ever sent is sent again, the
// last first, and nothing changes.
func eventsTwiceAndInAnyOrder(t *testing.T, in *installation) {
	tap := tapEvents(t, in.broker.URL)
	s := openSchool(t, in)
	var students []buyer
	for i := range 3 {
		b, err := s.journey(t, fmt.Sprintf("Student %d", i))
		if err != nil {
			t.Fatal(err)
		}
		students = append(students, b)
	}
	s.settled(t, students)
	s.teacher.do(t, 200, "PATCH", "/v1/courses/"+s.course, map[string]any{"title": "Renamed since"})
	s.teacher.do(t, 200, "POST", "/v1/courses/"+s.course+"/publish", nil)
	eventually(t, soon, "the new title is in the marketplace", func() (bool, string) {
		a, err := in.nobody().try(t.Context(), "GET", "/v1/marketplace/courses/"+s.course, nil)
		return err == nil && a.text("title") == "Renamed since", a.String()
	})

	sent := tap.again(t)
	t.Logf("%d events sent again, the last first", sent)
	if sent < 20 {
		t.Errorf("only %d events were seen", sent)
	}
	in.drained(t)
	s.settled(t, students)
	if a := in.nobody().do(t, 200, "GET", "/v1/marketplace/courses/"+s.course, nil); a.text("title") != "Renamed since" {
		t.Errorf("an old event has won: %s", a)
	}
	in.nothingLeft(t)
}

// tap sees every event.
type tap struct {
	channel *amqp.Channel
	queue   string
}

func tapEvents(t testing.TB, url string) *tap {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	q, err := ch.QueueDeclare("tap", false, true, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(q.Name, "#", "stoa.events", false, nil); err != nil {
		t.Fatal(err)
	}
	return &tap{ch, q.Name}
}

// again publishes all that was seen once more: with the same ids, and with ids
// that nobody has seen, as when a sender repeats itself; the last first.
func (p *tap) again(t testing.TB) int {
	t.Helper()
	var seen []amqp.Delivery
	for {
		d, ok, err := p.channel.Get(p.queue, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		seen = append(seen, d)
	}
	for _, d := range slices.Backward(seen) {
		for _, eventID := range []string{d.MessageId, uuid.Must(uuid.NewV7()).String()} {
			if err := p.channel.PublishWithContext(t.Context(), "stoa.events", d.RoutingKey, false, false, amqp.Publishing{
				Headers: d.Headers, ContentType: d.ContentType, DeliveryMode: amqp.Persistent,
				MessageId: eventID, Timestamp: d.Timestamp, Type: d.Type, Body: d.Body,
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return len(seen)
}

// drained waits until the broker holds nothing for any service.
func (in *installation) drained(t testing.TB) {
	t.Helper()
	conn, err := amqp.Dial(in.broker.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "the queues are empty", func() (bool, string) {
		for _, s := range services[:len(services)-1] {
			q, err := ch.QueueDeclarePassive("stoa."+s, true, false, false, false, nil)
			if err != nil {
				if ch, err = conn.Channel(); err != nil { // a refused look closes the channel
					return false, err.Error()
				}
				continue // a service that hears nothing has no queue
			}
			if q.Messages > 0 {
				return false, fmt.Sprintf("%s holds %d", q.Name, q.Messages)
			}
		}
		return true, ""
	})
}
