package blob

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stoa-lms/stoa/internal/id"
)

// folderParts keeps the parts of each upload in a folder of its own, as files
// named by their number and SHA-256.
type folderParts struct{ root string }

// stage is where uploads are; the file key in each names the object.
const stage = ".multipart"

// plainKey is a key that is the path of its file as it is.
var plainKey = regexp.MustCompile(`^[a-z0-9_-]+(/[a-z0-9_-]+)*$`)

func (p folderParts) dir(upload string) (string, error) {
	if !id.Valid("parts", upload) {
		return "", ErrNotFound
	}
	return filepath.Join(p.root, stage, upload), nil
}

// of returns the folder of an upload, when it is one of key.
func (p folderParts) of(key, upload string) (string, error) {
	dir, err := p.dir(upload)
	if err != nil {
		return "", err
	}
	named, err := os.ReadFile(filepath.Join(dir, "key")) //nolint:gosec // the id was looked at
	if errors.Is(err, os.ErrNotExist) || err == nil && string(named) != key {
		return "", ErrNotFound
	}
	return dir, err
}

func (p folderParts) create(_ context.Context, key, _ string, _ bool) (string, error) {
	if !plainKey.MatchString(key) {
		return "", fmt.Errorf("blob: key %q", key)
	}
	upload := id.New("parts")
	dir := filepath.Join(p.root, stage, upload)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return upload, writeFile(filepath.Join(dir, "key"), strings.NewReader(key), nil)
}

func (p folderParts) put(ctx context.Context, key, upload string, number int32, content io.ReadSeeker, size int64) (Part, error) {
	dir, err := p.of(key, upload)
	if err != nil {
		return Part{}, err
	}
	if number < 1 || number > MaxParts {
		return Part{}, fmt.Errorf("%w: number %d", ErrBadPart, number)
	}
	sum := sha256.New()
	temp := filepath.Join(dir, id.New("new"))
	in := io.TeeReader(io.LimitReader(&source{ctx: ctx, r: content}, size), sum)
	if err := writeFile(temp, in, &size); err != nil {
		_ = os.Remove(temp)
		if errors.Is(err, os.ErrNotExist) { // aborted or completed meanwhile
			err = ErrNotFound
		}
		return Part{}, err
	}
	part := Part{Number: number, ETag: hex.EncodeToString(sum.Sum(nil)), Size: size}
	part.SHA256 = part.ETag
	if err := os.Rename(temp, filepath.Join(dir, partName(part))); err != nil {
		return Part{}, ErrNotFound
	}
	// What had the number before is another file, unless it was the same.
	others, err := filepath.Glob(filepath.Join(dir, fmt.Sprintf("%05d.*", number)))
	if err != nil {
		return Part{}, err
	}
	for _, other := range others {
		if filepath.Base(other) != partName(part) {
			_ = os.Remove(other)
		}
	}
	return part, syncDir(dir)
}

func partName(p Part) string { return fmt.Sprintf("%05d.%s", p.Number, p.ETag) }

func (p folderParts) list(_ context.Context, key, upload string) ([]Part, error) {
	dir, err := p.of(key, upload)
	if err != nil {
		return nil, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var parts []Part
	for _, f := range files { // by name, and so by number
		text, etag, ok := strings.Cut(f.Name(), ".")
		number, err := strconv.ParseInt(text, 10, 32)
		if !ok || err != nil {
			continue
		}
		info, err := f.Info()
		if err != nil {
			continue // replaced meanwhile
		}
		parts = append(parts, Part{Number: int32(number), ETag: etag, Size: info.Size(), SHA256: etag})
	}
	return parts, nil
}

func (p folderParts) complete(ctx context.Context, key, upload string, parts []Part) error {
	dir, err := p.of(key, upload)
	if err != nil {
		return err
	}
	if len(parts) == 0 || !slices.IsSortedFunc(parts, func(a, b Part) int { return cmp.Compare(a.Number, b.Number) }) {
		return fmt.Errorf("%w: they are not in order", ErrBadPart)
	}
	readers := make([]io.Reader, len(parts))
	for i, part := range parts {
		f, err := os.Open(filepath.Join(dir, filepath.Base(partName(part)))) //nolint:gosec // within the folder of the upload
		if err != nil {
			return fmt.Errorf("%w: number %d is not stored", ErrBadPart, part.Number)
		}
		defer func() { _ = f.Close() }()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if i < len(parts)-1 && info.Size() < MinPart {
			return fmt.Errorf("%w: number %d has %d bytes", ErrBadPart, part.Number, info.Size())
		}
		readers[i] = f
	}
	whole, final := filepath.Join(dir, id.New("whole")), filepath.Join(p.root, filepath.FromSlash(key))
	if err := join(ctx, whole, readers); err != nil {
		return errors.Join(err, os.Remove(whole))
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o700); err != nil {
		return err
	}
	if err := os.Rename(whole, final); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(final)); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// join writes one file of many, as far as can be within the kernel.
func join(ctx context.Context, path string, parts []io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // within the folder of the upload
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, f.Close())
		}
		if _, err := io.Copy(f, part); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

func (p folderParts) abort(_ context.Context, _, upload string) error {
	dir, err := p.dir(upload)
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

func (p folderParts) begun(_ context.Context, prefix string, before time.Time) ([]Multipart, error) {
	dirs, err := os.ReadDir(filepath.Join(p.root, stage))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	const most = 1000
	var found []Multipart
	for _, d := range dirs {
		name := filepath.Join(p.root, stage, d.Name(), "key")
		info, err := os.Stat(name)
		if err != nil || !info.ModTime().Before(before) {
			continue // gone meanwhile, or young
		}
		key, err := os.ReadFile(name) //nolint:gosec // within the bucket
		if err == nil && strings.HasPrefix(string(key), prefix) && len(found) < most {
			found = append(found, Multipart{Key: string(key), Upload: d.Name(), Begun: info.ModTime().UTC()})
		}
	}
	return found, nil
}

func (folderParts) sign(context.Context, string, string, Part, time.Duration) (Signed, error) {
	return Signed{}, ErrNoAddresses
}

// writeFile writes a new file for good; one of another size than is wanted is
// ErrBadPart.
func writeFile(path string, content io.Reader, size *int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // within the bucket
	if err != nil {
		return err
	}
	n, err := io.Copy(f, content)
	if err == nil && size != nil && n != *size {
		err = fmt.Errorf("%w: %d bytes in place of %d", ErrBadPart, n, *size)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// syncDir makes the names in a folder last.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // within the bucket
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
