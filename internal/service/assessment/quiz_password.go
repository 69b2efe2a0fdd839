package assessment

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/fault"
)

// Passwords of quizzes are short, told to a room, and the same for all in it. They are
// kept as argon2id makes them, with the second of the parameters that OWASP's password
// storage sheet gives as equal. That one is right is remembered, so that a thousand
// who type it in the same second cost one hash and not a thousand.
const (
	passwordMemory = 19 << 10 // KiB
	passwordPasses = 2
	passwordPrefix = "argon2id:1:"
)

// passwordPatience is how wrong passwords are borne, by account and quiz.
var passwordPatience = cache.Patience{Free: 5, First: 5 * time.Second, Most: 5 * time.Minute, Forget: 15 * time.Minute}

// Errors of passwords.
var (
	ErrAttemptPassword = fault.New(fault.Forbidden, "attempt.password", "This quiz asks for a password, and it is another one.")
	errPasswordWait    = fault.New(fault.Exhausted, "attempt.password_wait", "Too many wrong passwords. Try again when Retry-After says.")
)

// doorman checks the passwords of quizzes. Its zero value is ready.
type doorman struct {
	mu    sync.Mutex
	key   []byte
	right map[string]bool // of what was right, by a keyed hash of hash and password
}

// maxRight bounds what is remembered.
const maxRight = 10_000

// hashing lets two hash at once: more would take memory without bound.
var hashing = make(chan struct{}, 2)

func passwordSum(ctx context.Context, password string, salt []byte) ([]byte, error) {
	select {
	case hashing <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait to hash a password: %w", ctx.Err())
	}
	defer func() { <-hashing }()
	return argon2.IDKey(norm.NFC.AppendString(nil, password), salt, passwordPasses, passwordMemory, 1, 32), nil
}

// hashPassword returns what is kept of a password.
func hashPassword(ctx context.Context, password string) (string, error) {
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("salt: %w", err)
	}
	sum, err := passwordSum(ctx, password, salt)
	if err != nil {
		return "", err
	}
	return passwordPrefix + base64.RawStdEncoding.EncodeToString(append(salt, sum...)), nil
}

// sealPassword returns the hash of a password that a request brings, and the request
// as it may be remembered: with something in its place from which it is as hard to
// guess as from the hash. Both are as they were where there is none.
func sealPassword[M proto.Message](ctx context.Context, req M, password string, set func(M, string)) (M, string, error) {
	if password == "" {
		return req, "", nil
	}
	hash, err := hashPassword(ctx, password)
	if err != nil {
		return req, "", err
	}
	salt := sha256.Sum256([]byte("stoa quiz password\n" + string(req.ProtoReflect().Descriptor().FullName())))
	digest, err := passwordSum(ctx, password, salt[:])
	if err != nil {
		return req, "", err
	}
	known := proto.CloneOf(req)
	set(known, base64.RawStdEncoding.EncodeToString(digest))
	return known, hash, nil
}

// check reports whether the password is the one that the hash was made of.
func (d *doorman) check(ctx context.Context, password, hash string) (bool, error) {
	if password == "" || len(password) > 400 {
		return false, nil
	}
	known, err := d.known(password, hash)
	if err != nil {
		return false, err
	}
	d.mu.Lock()
	right := d.right[known]
	d.mu.Unlock()
	if right {
		return true, nil
	}
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimPrefix(hash, passwordPrefix))
	if err != nil || len(raw) != 48 || !strings.HasPrefix(hash, passwordPrefix) {
		return false, fmt.Errorf("a stored hash of a quiz's password is damaged: %w", err)
	}
	sum, err := passwordSum(ctx, password, raw[:16])
	if err != nil || subtle.ConstantTimeCompare(sum, raw[16:]) != 1 {
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.right) >= maxRight {
		clear(d.right)
	}
	d.right[known] = true
	return true, nil
}

// known is what a right password is remembered by: nothing that could be guessed from
// without the key, which this process alone has.
func (d *doorman) known(password, hash string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.key == nil {
		key := make([]byte, 32)
		if _, err := rand.Read(key); err != nil {
			return "", fmt.Errorf("key: %w", err)
		}
		d.key, d.right = key, map[string]bool{}
	}
	mac := hmac.New(sha256.New, d.key)
	mac.Write([]byte(hash + "\n" + norm.NFC.String(password)))
	return string(mac.Sum(nil)), nil
}

// checkPassword refuses who does not know the password of a quiz. Wrong ones are
// counted, and make the next attempt wait.
func (s *Service) checkPassword(ctx context.Context, accountID, quizID, password, hash string) error {
	if hash == "" {
		return nil
	}
	key := "quiz-password:" + quizID + ":" + accountID
	if s.wrong != nil {
		wait, err := s.wrong.Wait(ctx, key)
		if err != nil {
			return err
		}
		if wait > 0 {
			return &fault.Error{Kind: errPasswordWait.Kind, Code: errPasswordWait.Code, Message: errPasswordWait.Message, Retry: wait}
		}
	}
	right, err := s.door.check(ctx, password, hash)
	if err != nil {
		return err
	}
	if right {
		if s.wrong != nil {
			return s.wrong.Clear(ctx, key)
		}
		return nil
	}
	if s.wrong != nil && password != "" { // who sends none has not guessed
		if _, err := s.wrong.Fail(ctx, key, passwordPatience); err != nil {
			return err
		}
	}
	return &fault.Error{
		Kind: ErrAttemptPassword.Kind, Code: ErrAttemptPassword.Code, Message: ErrAttemptPassword.Message,
		Fields: []fault.Field{{Path: "password", Code: ErrAttemptPassword.Code, Hint: "Send the password that you were told."}},
	}
}
