package blob

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"gocloud.dev/blob"

	"github.com/stoa-lms/stoa/internal/fault"
)

// MinPart is how long each part but the last has to be: S3 asks for it.
const MinPart = 5 << 20

// MaxParts is how many parts an object has at most.
const MaxParts = 10_000

// ErrBadPart is told for parts of which an object can't be made: one is not
// there, is not the one that was named, or is too short.
var ErrBadPart = fault.New(fault.Invalid, "blob.bad_part", "The parts are not those that were stored, or one but the last is too short.")

// ErrNoAddresses is told by a bucket that nobody but we can write to.
var ErrNoAddresses = errors.New("blob: a folder has no addresses")

// Part is one of the runs of bytes that an object is put together of.
type Part struct {
	Number int32  // from 1 on; there may be gaps
	ETag   string // tells its content, without quotes
	Size   int64
	SHA256 string // in hex, where the bucket was told it with the part
}

// Multipart is an object whose parts are being stored.
type Multipart struct {
	Key, Upload string
	Begun       time.Time
}

// Signed is a request that somebody else may make.
type Signed struct {
	URL     string
	Headers http.Header
}

// multiparts is how a kind of bucket takes an object in parts. The promises are
// those of the methods of Bucket.
type multiparts interface {
	create(ctx context.Context, key, contentType string, summed bool) (string, error)
	put(ctx context.Context, key, upload string, number int32, content io.ReadSeeker, size int64) (Part, error)
	list(ctx context.Context, key, upload string) ([]Part, error)
	complete(ctx context.Context, key, upload string, parts []Part) error
	abort(ctx context.Context, key, upload string) error
	begun(ctx context.Context, prefix string, before time.Time) ([]Multipart, error)
	sign(ctx context.Context, key, upload string, part Part, lifetime time.Duration) (Signed, error)
}

// CreateMultipart begins an object that comes in parts, and returns the name of
// the upload. Nothing is at key before it is complete. With summed all parts come
// by [Bucket.SignPart], and the bucket compares their SHA-256.
func (b *Bucket) CreateMultipart(ctx context.Context, key, contentType string, summed bool) (string, error) {
	upload, err := b.parts.create(ctx, key, contentType, summed)
	if err != nil {
		return "", told("begin", key, err)
	}
	return upload, nil
}

// PutPart stores a part, in place of what had its number. When it returns nil,
// all of it is stored for good. It fails with ErrNotFound for an upload that is
// not there.
func (b *Bucket) PutPart(ctx context.Context, key, upload string, number int32, content io.ReadSeeker, size int64) (Part, error) {
	part, err := b.parts.put(ctx, key, upload, number, content, size)
	if err != nil {
		return Part{}, told("put part of", key, err)
	}
	return part, nil
}

// ListParts returns the parts that are stored, by their numbers. It fails with
// ErrNotFound for an upload that is not there.
func (b *Bucket) ListParts(ctx context.Context, key, upload string) ([]Part, error) {
	parts, err := b.parts.list(ctx, key, upload)
	if err != nil {
		return nil, told("list parts of", key, err)
	}
	return parts, nil
}

// CompleteMultipart makes an object of parts, in the order of their numbers, and
// forgets all others. Either the whole object is there or nothing has changed. It
// fails with ErrBadPart when a part is not as it is named, and with ErrNotFound
// for an upload that is not there, such as one that was completed.
func (b *Bucket) CompleteMultipart(ctx context.Context, key, upload string, parts []Part) error {
	if err := b.parts.complete(ctx, key, upload, parts); err != nil {
		return told("complete", key, err)
	}
	return nil
}

// AbortMultipart deletes the parts of an upload. One that is not there is no
// error.
func (b *Bucket) AbortMultipart(ctx context.Context, key, upload string) error {
	if err := b.parts.abort(ctx, key, upload); err != nil && !errors.Is(told("", key, err), ErrNotFound) {
		return told("abort", key, err)
	}
	return nil
}

// Multiparts returns uploads of keys with a prefix that began before a time and
// are neither complete nor aborted, at most a thousand.
func (b *Bucket) Multiparts(ctx context.Context, prefix string, before time.Time) ([]Multipart, error) {
	found, err := b.parts.begun(ctx, prefix, before)
	if err != nil {
		return nil, told("list uploads of", prefix, err)
	}
	return found, nil
}

// SignPart returns a request that stores a part of an upload that was created
// with summed, and no other bytes than those that part names by size and SHA-256.
// A folder fails with ErrNoAddresses.
func (b *Bucket) SignPart(ctx context.Context, key, upload string, part Part, lifetime time.Duration) (Signed, error) {
	return b.parts.sign(ctx, key, upload, part, lifetime)
}

// DeletePrefix deletes all objects whose keys begin so.
func (b *Bucket) DeletePrefix(ctx context.Context, prefix string) error {
	for list := b.bucket.List(&blob.ListOptions{Prefix: prefix}); ; {
		o, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return told("list", prefix, err)
		}
		if err := b.Delete(ctx, o.Key); err != nil {
			return err
		}
	}
}
