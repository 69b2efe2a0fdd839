package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// request is one request as bytes, and where it goes.
type request struct {
	addr string
	text []byte
}

func target(base, path string) (request, error) {
	u, err := url.Parse(base)
	if err != nil {
		return request{}, err
	}
	return request{u.Host, fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, u.Host)}, nil
}

// load sends the request over a number of connections, again and again, and
// returns how many a second were answered with 200. It costs little itself: the
// bytes of the request are ready, and of an answer only its length is read.
func load(ctx context.Context, r request, connections int, d time.Duration) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var answered atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, connections)
	begin := time.Now()
	for range connections {
		wg.Go(func() {
			n, err := drive(ctx, r)
			answered.Add(n)
			if err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	select {
	case err := <-errs:
		return 0, err
	default:
		return float64(answered.Load()) / took.Seconds(), nil
	}
}

func drive(ctx context.Context, r request) (int64, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", r.addr)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	in := bufio.NewReaderSize(c, 64<<10)
	var n int64
	for ctx.Err() == nil {
		if _, err := c.Write(r.text); err != nil {
			return n, err
		}
		if err := answer(in); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// answer reads one response to its end.
func answer(in *bufio.Reader) error {
	status, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.Contains(status, []byte(" 200 ")) {
		return fmt.Errorf("answered %s", bytes.TrimSpace(status))
	}
	length := -1
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && textproto.CanonicalMIMEHeaderKey(string(name)) == "Content-Length" {
			if length, err = strconv.Atoi(strings.TrimSpace(string(value))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("an answer without a length")
	}
	_, err = io.CopyN(io.Discard, in, int64(length))
	return err
}

func median[T cmp.Ordered](values []T) T {
	s := slices.Sorted(slices.Values(values))
	return s[len(s)/2]
}
