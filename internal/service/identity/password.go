package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// Cost is what it takes to hash a password with argon2id.
type Cost struct {
	Memory uint32 // in KiB
	Passes uint32
	Lanes  uint8
}

// DefaultCost is the second of the choices that OWASP's password storage sheet
// gives as equal. It takes the least memory of those that need few passes, so
// that a small machine bears many sign-ins at a time.
var DefaultCost = Cost{Memory: 19 << 10, Passes: 2, Lanes: 1}

// Bounds of the parameters read from the database, so that a damaged row can't
// take all memory.
const (
	maxMemory = 1 << 20 // KiB
	maxPasses = 64
)

const (
	saltSize = 16
	hashSize = 32
)

// hasher hashes passwords, as many at a time as there are processors: more
// would not be faster and would take memory without bound.
type hasher struct {
	cost  Cost
	slots chan struct{}
	dummy string // the hash of no password, to be compared where there is no account
	count atomic.Int64
}

func newHasher(cost Cost) *hasher {
	nothing := phc{cost: cost, salt: make([]byte, saltSize), sum: make([]byte, hashSize)}
	return &hasher{cost: cost, slots: make(chan struct{}, runtime.GOMAXPROCS(0)), dummy: nothing.String()}
}

// hash returns the password's hash in the PHC format, with a salt of its own.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	p := phc{cost: h.cost, salt: make([]byte, saltSize)}
	if _, err := rand.Read(p.salt); err != nil {
		return "", fmt.Errorf("identity: salt: %w", err)
	}
	var err error
	p.sum, err = h.sum(ctx, password, p.salt, p.cost)
	if err != nil {
		return "", err
	}
	return p.String(), nil
}

// verify reports whether hash was made of the password, and whether it should
// be made anew because it took another cost than today's. The empty hash of an
// account without a password takes as long, and is no password's.
func (h *hasher) verify(ctx context.Context, password, hash string) (ok, stale bool, err error) {
	none := hash == ""
	if none {
		hash = h.dummy
	}
	p, err := parsePHC(hash)
	if err != nil {
		return false, false, err
	}
	sum, err := h.sum(ctx, password, p.salt, p.cost)
	if err != nil {
		return false, false, err
	}
	ok = subtle.ConstantTimeCompare(sum, p.sum) == 1 && !none
	return ok, ok && p.cost != h.cost, nil
}

// digest returns text that stands for the password in the fingerprint of a
// request: the same for the same password and context, and as hard to guess the
// password from as its hash is.
func (h *hasher) digest(ctx context.Context, password, where string) (string, error) {
	salt := sha256.Sum256([]byte("stoa password digest\n" + where))
	sum, err := h.sum(ctx, password, salt[:], h.cost)
	if err != nil {
		return "", err
	}
	return base64.RawStdEncoding.EncodeToString(sum), nil
}

// sum is argon2id. Passwords are the same however the keyboard composes them.
func (h *hasher) sum(ctx context.Context, password string, salt []byte, cost Cost) ([]byte, error) {
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("identity: wait to hash a password: %w", ctx.Err())
	}
	defer func() { <-h.slots }()
	h.count.Add(1)
	return argon2.IDKey(norm.NFC.AppendString(nil, password), salt, cost.Passes, cost.Memory, cost.Lanes, hashSize), nil
}

// phc is a hash with all it takes to make it again.
type phc struct {
	cost      Cost
	salt, sum []byte
}

func (p phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.cost.Memory, p.cost.Passes, p.cost.Lanes,
		base64.RawStdEncoding.EncodeToString(p.salt), base64.RawStdEncoding.EncodeToString(p.sum))
}

var errHash = errors.New("identity: a stored password hash is not one of ours")

func parsePHC(s string) (phc, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return phc{}, errHash
	}
	var p phc
	var version int
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return phc{}, errHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.cost.Memory, &p.cost.Passes, &p.cost.Lanes); err != nil {
		return phc{}, errHash
	}
	c := p.cost
	if c.Memory < 1 || c.Memory > maxMemory || c.Passes < 1 || c.Passes > maxPasses || c.Lanes < 1 {
		return phc{}, errHash
	}
	var err1, err2 error
	p.salt, err1 = base64.RawStdEncoding.DecodeString(parts[4])
	p.sum, err2 = base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(p.sum) != hashSize || p.String() != s {
		return phc{}, errHash
	}
	return p, nil
}
