package assessment

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// The key and address of the example in docs/exams.md.
const (
	exampleKey = "81aad4ab9dfd447cc479e6a4a7c9a544e2cafc7f3adeb68b2a21efad68eb4968"
	exampleURL = "https://learn.example.org/v1/attempts/attempt_01h455vb4pex5vsknk084sn02q?page=2"

	documentedHash      = "0f05f7fd0f72afac4f132d89c132fbd1a834dc52934108ced9c0b6d6e3a62bf7"
	documentedBody      = "be376187071afccdf3059e27567b2fdfeba5129bd998f2356e220ba8c42c23aa" // the SHA-256 of {"client_id":"laptop-1","operations":[]}
	documentedSignature = "7ed693d1370062819ec26ee312744fd2894472095952be753c6c843547ef7136"
)

func TestProofs(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	stamp := func(d time.Duration) string { return strconv.FormatInt(at.Add(d).Unix(), 10) }
	secret, other := strings.Repeat("s", 40), strings.Repeat("o", 40)
	signed := func(secret, at string, p rpc.Proof) rpc.Proof {
		p.Signature = "v1;t=" + at + ";n=nonce-123;s=" + lockdownSignature(secret, p, at, "nonce-123")
		return p
	}
	req := rpc.Proof{Method: "POST", URL: exampleURL, Body: strings.Repeat("0f", 32), At: at}
	good := signed(secret, stamp(0), req)
	changed := func(change func(*rpc.Proof)) rpc.Proof { p := good; change(&p); return p }
	config, browser, hmac := lockdownKey{scheme: schemeSEBConfig, key: exampleKey}, lockdownKey{scheme: schemeSEBBrowser, key: other}, lockdownKey{scheme: schemeHMAC, key: secret}
	both := rpc.Proof{URL: exampleURL, ConfigKeyHash: sebHash(exampleURL, exampleKey), RequestHash: sebHash(exampleURL, other), At: at}
	for what, c := range map[string]struct {
		keys []lockdownKey
		p    rpc.Proof
		want bool
	}{
		"no keys":                  {nil, both, false},
		"nothing brought":          {[]lockdownKey{config}, rpc.Proof{URL: exampleURL, At: at}, false},
		"config key":               {[]lockdownKey{config}, both, true},
		"config key in capitals":   {[]lockdownKey{config}, rpc.Proof{URL: exampleURL, ConfigKeyHash: strings.ToUpper(sebHash(exampleURL, exampleKey))}, true},
		"one of several":           {[]lockdownKey{{scheme: schemeSEBConfig, key: other}, config}, both, true},
		"of another address":       {[]lockdownKey{config}, rpc.Proof{URL: exampleURL + "0", ConfigKeyHash: both.ConfigKeyHash}, false},
		"of the page":              {[]lockdownKey{config}, rpc.Proof{URL: exampleURL, Page: "https://learn.example.org/exam", ConfigKeyHash: sebHash("https://learn.example.org/exam", exampleKey)}, true},
		"of no page":               {[]lockdownKey{config}, rpc.Proof{ConfigKeyHash: sebHash("", exampleKey)}, false},
		"both kinds":               {[]lockdownKey{config, browser}, both, true},
		"one kind of two":          {[]lockdownKey{config, browser}, rpc.Proof{URL: exampleURL, ConfigKeyHash: both.ConfigKeyHash}, false},
		"hmac":                     {[]lockdownKey{hmac}, good, true},
		"hmac beside others":       {[]lockdownKey{config, browser, hmac}, good, true},
		"another secret":           {[]lockdownKey{{scheme: schemeHMAC, key: other}}, good, false},
		"a secret for the schemes": {[]lockdownKey{{scheme: schemeSEBConfig, key: secret}}, good, false},
		"another method":           {[]lockdownKey{hmac}, changed(func(p *rpc.Proof) { p.Method = "GET" }), false},
		"another address":          {[]lockdownKey{hmac}, changed(func(p *rpc.Proof) { p.URL += "1" }), false},
		"another body":             {[]lockdownKey{hmac}, changed(func(p *rpc.Proof) { p.Body = strings.Repeat("00", 32) }), false},
		"another nonce":            {[]lockdownKey{hmac}, changed(func(p *rpc.Proof) { p.Signature = strings.Replace(p.Signature, "nonce-123", "nonce-124", 1) }), false},
		"later by five minutes":    {[]lockdownKey{hmac}, changed(func(p *rpc.Proof) { p.At = at.Add(5 * time.Minute) }), true},
		"replayed":                 {[]lockdownKey{hmac}, changed(func(p *rpc.Proof) { p.At = at.Add(5*time.Minute + time.Second) }), false},
		"of the future":            {[]lockdownKey{hmac}, signed(secret, stamp(6*time.Minute), req), false},
		"not well formed":          {[]lockdownKey{hmac}, changed(func(p *rpc.Proof) { p.Signature += "0" }), false},
	} {
		if got := proves(c.keys, c.p); got != c.want {
			t.Errorf("%s: %t", what, got)
		}
	}
	// The examples of docs/exams.md.
	expect(t, "the documented hash", sebHash(exampleURL, exampleKey), documentedHash)
	expect(t, "the documented signature", lockdownSignature("a secret of thirty-two characters", rpc.Proof{Method: "POST", URL: "https://learn.example.org/v1/attempts/attempt_01h455vb4pex5vsknk084sn02q/operations", Body: documentedBody}, "1777885200", "d9Yk3bQz"), documentedSignature)
}

func TestLockdown(t *testing.T) {
	t.Parallel()
	h := openHall(t, watched(&assessmentpb.ExamSettings{Lockdown: true}))
	account := id.New("account")
	proof := rpc.Proof{Method: "POST", URL: exampleURL, ConfigKeyHash: sebHash(exampleURL, exampleKey), At: h.now()}
	start := func(ctx context.Context) (*assessmentpb.Attempt, error) {
		return h.attempts.StartAttempt(ctx, &assessmentpb.StartAttemptRequest{CourseId: h.course, ItemId: h.item})
	}
	_, err := start(rpc.WithProof(h.as(account), proof))
	expect(t, "no key", codeOf(nil, err), "exam.lockdown")
	create := func(scheme, key string) (*assessmentpb.LockdownKey, error) {
		return h.exams.CreateLockdownKey(h.proctor, &assessmentpb.CreateLockdownKeyRequest{CourseId: h.course, QuizId: h.quiz, Scheme: scheme, Key: key, Label: "Room 12"})
	}
	key, err := create(schemeSEBConfig, strings.ToUpper(exampleKey))
	if err != nil || key.GetLabel() != "Room 12" {
		t.Fatalf("key: %v, %v", key, err)
	}
	_, err = create(schemeSEBConfig, strings.Repeat("x", 64))
	expect(t, "no hexadecimal digits", codeOf(nil, err), "request.invalid")
	_, err = start(h.as(account))
	expect(t, "another browser", codeOf(nil, err), "exam.lockdown")
	if saw := h.students("not_begun"); len(saw) != 0 {
		t.Errorf("begun: %v", saw)
	}
	a, err := start(rpc.WithProof(h.as(account), proof))
	if err != nil {
		t.Fatalf("the lock-down browser: %v", err)
	}
	st := &student{world: h.world, account: account, attempt: a}
	// Each read and write of an attempt that runs.
	calls := map[string]func(ctx context.Context) error{
		"start": func(ctx context.Context) error { return second(start(ctx)) },
		"get": func(ctx context.Context) error {
			return second(h.attempts.GetAttempt(ctx, &assessmentpb.GetAttemptRequest{AttemptId: a.GetId()}))
		},
		"log": func(ctx context.Context) error {
			return second(h.attempts.ListMyOperations(ctx, &assessmentpb.ListMyOperationsRequest{AttemptId: a.GetId()}))
		},
		"append": func(ctx context.Context) error {
			return second(h.attempts.AppendAnswers(ctx, &assessmentpb.AppendAnswersRequest{AttemptId: a.GetId(), ClientId: laptop, Operations: []*assessmentpb.Operation{pick(1, 1, "a")}}))
		},
		"finish": func(ctx context.Context) error {
			return second(h.attempts.AppendAnswers(ctx, &assessmentpb.AppendAnswersRequest{AttemptId: a.GetId(), ClientId: phone, Operations: []*assessmentpb.Operation{do(1, opFinish, 0)}}))
		},
		"submit": func(ctx context.Context) error {
			return second(h.attempts.SubmitAttempt(ctx, &assessmentpb.SubmitAttemptRequest{AttemptId: a.GetId()}))
		},
		"files": func(ctx context.Context) error {
			return second(assessmentpb.NewQuestionMediaServiceClient(h.harness.As("edge")).ListAttemptMedia(ctx, &assessmentpb.ListAttemptMediaRequest{AttemptId: a.GetId()}))
		},
		"resume": func(ctx context.Context) error {
			return second(h.attempts.ResumeAttempt(ctx, &assessmentpb.ResumeAttemptRequest{AttemptId: a.GetId()}))
		},
		"pause": func(ctx context.Context) error {
			return second(h.attempts.PauseAttempt(ctx, &assessmentpb.PauseAttemptRequest{AttemptId: a.GetId()}))
		},
	}
	for name, call := range calls {
		expect(t, name, codeOf(nil, call(h.as(account))), "exam.lockdown")
		forged := proof
		forged.ConfigKeyHash = sebHash(exampleURL+"x", exampleKey)
		expect(t, name+" forged", codeOf(nil, call(rpc.WithProof(h.as(account), forged))), "exam.lockdown")
	}
	if err := calls["append"](rpc.WithProof(h.as(account), proof)); err != nil {
		t.Errorf("append: %v", err)
	}
	// A refusal is noted, once a minute.
	if diff := cmp.Diff([]string{"lockdown_refused"}, h.events(st)); diff != "" {
		t.Error("events: ", diff)
	}
	if saw := h.sees(st); saw.GetLockdownRefusals() != 1 || saw.GetExcused() || saw.GetAnswered() != 1 {
		t.Errorf("in the list: %v", saw)
	}
	// Staff let one off.
	excuse := func(is bool) {
		t.Helper()
		if _, err := h.exams.ExcuseLockdown(h.proctor, &assessmentpb.ExcuseLockdownRequest{CourseId: h.course, ItemId: h.item, AccountId: account, Excused: is, Reason: "The browser has crashed"}); err != nil {
			t.Fatal(err)
		}
	}
	excuse(true)
	if err := calls["get"](h.as(account)); err != nil || !h.sees(st).GetExcused() {
		t.Errorf("excused: %v", err)
	}
	excuse(false)
	expect(t, "demanded again", codeOf(nil, calls["get"](h.as(account))), "exam.lockdown")
	// The key is not shown, nor kept as it is.
	list, err := h.exams.ListLockdownKeys(h.proctor, &assessmentpb.ListLockdownKeysRequest{CourseId: h.course, QuizId: h.quiz})
	if err != nil || len(list.GetItems()) != 1 || strings.Contains(list.String(), exampleKey) {
		t.Errorf("keys: %v, %v", list, err)
	}
	var plain int
	if err := h.db.QueryRow(t.Context(), `SELECT count(*) FROM lockdown_key WHERE position(convert_to($1, 'UTF8') IN sealed) > 0`, exampleKey).Scan(&plain); err != nil || plain != 0 {
		t.Errorf("%d are plain, %v", plain, err)
	}
	// Another key has to be shown at once.
	if _, err := create(schemeSEBBrowser, strings.Repeat("ab", 32)); err != nil {
		t.Fatal(err)
	}
	expect(t, "the other key is not shown", codeOf(nil, calls["get"](rpc.WithProof(h.as(account), proof))), "exam.lockdown")
	proof.RequestHash = sebHash(exampleURL, strings.Repeat("ab", 32))
	if err := calls["get"](rpc.WithProof(h.as(account), proof)); err != nil {
		t.Errorf("both: %v", err)
	}
	if _, err := h.exams.DeleteLockdownKey(h.proctor, &assessmentpb.DeleteLockdownKeyRequest{CourseId: h.course, QuizId: h.quiz, KeyId: key.GetId()}); err != nil {
		t.Fatal(err)
	}
	_, err = h.exams.DeleteLockdownKey(h.proctor, &assessmentpb.DeleteLockdownKeyRequest{CourseId: h.course, QuizId: h.quiz, KeyId: key.GetId()})
	expect(t, "deleted twice", codeOf(nil, err), "lockdown_key.not_found")
	for range maxLockdownKeys - 1 {
		if _, err := create(schemeHMAC, strings.Repeat("k", 32)); err != nil {
			t.Fatal(err)
		}
	}
	_, err = create(schemeHMAC, strings.Repeat("k", 32))
	expect(t, "too many keys", codeOf(nil, err), "lockdown_key.too_many")
	// What is over is looked at with any browser.
	proof.At = h.now()
	if err := calls["submit"](rpc.WithProof(h.as(account), proof)); err != nil {
		t.Errorf("submit: %v", err)
	}
	if err := calls["get"](h.as(account)); err != nil {
		t.Errorf("what is over: %v", err)
	}
}

// Nobody is locked out by mistake: a quiz that lets in lock-down browsers alone has a key
// when it is published, and as long as it is.
func TestLockdownNeedsKey(t *testing.T) {
	t.Parallel()
	h := openHall(t, watched(nil))
	quizzes := assessmentpb.NewQuizServiceClient(h.harness.As("edge"))
	settings := quizOf(&assessmentpb.QuizSettings{Exam: &assessmentpb.ExamSettings{Lockdown: true}}, []string{h.addQuestion(h.course, choiceQuestion(9))})
	for _, slot := range settings.GetSections()[0].GetSlots() {
		slot.GetQuestion().Version = 0
	}
	z, err := quizzes.CreateQuiz(h.proctor, &assessmentpb.CreateQuizRequest{CourseId: h.course, Title: "Final", Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	publish := func() error {
		return second(quizzes.PublishQuiz(h.proctor, &assessmentpb.PublishQuizRequest{CourseId: h.course, QuizId: z.GetId()}))
	}
	err = publish()
	expect(t, "without a key", codeOf(nil, err), "quiz.no_lockdown_key")
	if e, ok := errors.AsType[*fault.Error](err); !ok || len(e.Fields) != 1 || e.Fields[0].Path != "settings.exam.lockdown" || e.Fields[0].Hint == "" {
		t.Errorf("without a key: %v", err)
	}
	add := func() string {
		t.Helper()
		k, err := h.exams.CreateLockdownKey(h.proctor, &assessmentpb.CreateLockdownKeyRequest{CourseId: h.course, QuizId: z.GetId(), Scheme: schemeHMAC, Key: strings.Repeat("k", 32)})
		if err != nil {
			t.Fatal(err)
		}
		return k.GetId()
	}
	remove := func(key string) string {
		_, err := h.exams.DeleteLockdownKey(h.proctor, &assessmentpb.DeleteLockdownKeyRequest{CourseId: h.course, QuizId: z.GetId(), KeyId: key})
		if err == nil {
			return ""
		}
		return fault.CodeOf(err)
	}
	expect(t, "the last key of a draft", remove(add()), "")
	one := add()
	if err := publish(); err != nil {
		t.Fatalf("with a key: %v", err)
	}
	expect(t, "the last key", remove(one), "lockdown_key.last")
	// Of two that are deleted at once, one stays.
	two := add()
	codes := make([]string, 2)
	var wg sync.WaitGroup
	for i, key := range []string{one, two} {
		wg.Go(func() { codes[i] = remove(key) })
	}
	wg.Wait()
	slices.Sort(codes)
	if diff := cmp.Diff([]string{"", "lockdown_key.last"}, codes); diff != "" {
		t.Errorf("both at once (-want +got):\n%s", diff)
	}
	settings.Exam.Lockdown = false
	if _, err := quizzes.UpdateQuiz(h.proctor, &assessmentpb.UpdateQuizRequest{CourseId: h.course, QuizId: z.GetId(), Settings: settings}); err != nil {
		t.Fatal(err)
	}
	if err := publish(); err != nil {
		t.Fatal(err)
	}
	keys, err := h.exams.ListLockdownKeys(h.proctor, &assessmentpb.ListLockdownKeysRequest{CourseId: h.course, QuizId: z.GetId()})
	if err != nil || len(keys.GetItems()) != 1 {
		t.Fatalf("keys: %v, %v", keys, err)
	}
	expect(t, "the last key of a quiz for all browsers", remove(keys.GetItems()[0].GetId()), "")
}

// Keys of which a call was made twice are kept once, and the memory of the call does not
// have the key.
func TestLockdownKeyOnce(t *testing.T) {
	t.Parallel()
	h := openHall(t, watched(&assessmentpb.ExamSettings{Lockdown: true}))
	ctx := rpc.WithIdempotencyKey(h.proctor, "one call, twice")
	req := &assessmentpb.CreateLockdownKeyRequest{CourseId: h.course, QuizId: h.quiz, Scheme: schemeHMAC, Key: strings.Repeat("k", 32)}
	one, err := h.exams.CreateLockdownKey(ctx, req)
	two, err2 := h.exams.CreateLockdownKey(ctx, req)
	if err != nil || err2 != nil || one.GetId() != two.GetId() {
		t.Errorf("%v, %v: %v, %v", one, two, err, err2)
	}
	req.Key = strings.Repeat("l", 32)
	_, err = h.exams.CreateLockdownKey(ctx, req)
	expect(t, "another key", codeOf(nil, err), "idempotency.key_reused")
}

func TestAdmission(t *testing.T) {
	t.Parallel()
	h := openHall(t, watched(&assessmentpb.ExamSettings{Proctored: true}))
	one, two, three := id.New("account"), id.New("account"), id.New("account")
	start := func(account string) string {
		_, err := h.attempts.StartAttempt(h.as(account), &assessmentpb.StartAttemptRequest{CourseId: h.course, ItemId: h.item})
		if err == nil {
			return "begun"
		}
		return codeOf(nil, err)
	}
	admit := func(accounts ...string) int32 {
		t.Helper()
		res, err := h.exams.AdmitStudents(h.proctor, &assessmentpb.AdmitStudentsRequest{CourseId: h.course, ItemId: h.item, AccountIds: accounts, Everybody: len(accounts) == 0})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetAdmitted()
	}
	h.enrol(one, two, three)
	since := h.now()
	expect(t, "one", start(one), "exam.not_admitted")
	h.later(time.Minute)
	expect(t, "one again", start(one), "exam.not_admitted")
	expect(t, "two", start(two), "exam.not_admitted")
	waiting := h.students("waiting")
	if len(waiting) != 2 {
		t.Errorf("waiting: %v", waiting)
	}
	for _, st := range waiting {
		if st.GetState() != "waiting" || st.GetAccountId() == one && !st.GetWaitingSince().AsTime().Equal(since) {
			t.Errorf("waiting: %v", st)
		}
	}
	if s, err := h.service.examSummary(t.Context(), h.db, h.course, h.item); err != nil || s.GetWaiting() != 2 || s.GetNotBegun() != 3 {
		t.Errorf("summary: %v, %v", s, err)
	}
	if n := admit(one, three); n != 2 { // three ahead
		t.Errorf("%d were let in", n)
	}
	if n := admit(one); n != 0 {
		t.Errorf("%d were let in again", n)
	}
	expect(t, "one", start(one), "begun")
	expect(t, "three", start(three), "begun")
	expect(t, "two", start(two), "exam.not_admitted")
	if n := admit(); n != 1 {
		t.Errorf("of all who wait %d were let in", n)
	}
	expect(t, "two", start(two), "begun")
	if _, err := h.exams.AdmitStudents(h.proctor, &assessmentpb.AdmitStudentsRequest{CourseId: h.course, ItemId: h.item}); codeOf(nil, err) != "request.invalid" {
		t.Errorf("nobody: %v", err)
	}
}
