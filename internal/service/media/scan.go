package media

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"
)

// Scanner looks for malware in what a clamd answers for, by its command
// INSTREAM.
type Scanner struct{ network, address string }

// NewScanner returns a scanner of clamd://host:port, or of clamd:///path of a
// socket.
func NewScanner(address string) (*Scanner, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "clamd" || u.RawQuery != "" || u.User != nil:
	case u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return &Scanner{"unix", u.Path}, nil
	case u.Port() != "" && u.Hostname() != "" && u.Path == "":
		return &Scanner{"tcp", u.Host}, nil
	}
	return nil, errors.New("is not an address such as clamd://host:3310 or clamd:///run/clamav/clamd.ctl")
}

// scannerError says that the scanner did not answer, or not with a verdict.
type scannerError struct{ err error }

func (e *scannerError) Error() string { return "media: scanner: " + e.err.Error() }
func (e *scannerError) Unwrap() error { return e.err }

const (
	scanChunk = 64 << 10
	// scanStall is how long the scanner may take for the next bytes or the verdict.
	scanStall = 2 * time.Minute
)

// Ping reports whether the scanner answers.
func (c *Scanner) Ping(ctx context.Context) error {
	answer, err := c.ask(ctx, "zPING\x00", nil)
	if err == nil && answer != "PONG" {
		err = fmt.Errorf("answered %q", answer)
	}
	return err
}

// Scan reports whether malware is in what it reads, and its name.
func (c *Scanner) Scan(ctx context.Context, content io.Reader) (found bool, name string, err error) {
	answer, err := c.ask(ctx, "zINSTREAM\x00", content)
	if err != nil {
		return false, "", err
	}
	verdict, ok := strings.CutPrefix(answer, "stream: ")
	switch name, found := strings.CutSuffix(verdict, " FOUND"); {
	case ok && found:
		return true, name, nil
	case ok && verdict == "OK":
		return false, "", nil
	case strings.Contains(answer, "size limit exceeded"):
		return false, "", problemError(problemScanSize)
	default:
		return false, "", &scannerError{fmt.Errorf("answered %q", answer)}
	}
}

func (c *Scanner) ask(ctx context.Context, command string, content io.Reader) (string, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	conn, err := d.DialContext(ctx, c.network, c.address)
	if err != nil {
		return "", &scannerError{err}
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn, command); err != nil {
		return "", &scannerError{err}
	}
	if content != nil {
		if err := send(conn, content); err != nil {
			return "", err
		}
	}
	_ = conn.SetDeadline(time.Now().Add(scanStall))
	answer, err := io.ReadAll(io.LimitReader(conn, 4096))
	if err != nil && len(answer) == 0 {
		return "", &scannerError{err}
	}
	return strings.TrimRight(string(answer), "\x00\n"), nil
}

// send sends pieces, each after its length, and a length of zero. A scanner that
// has heard enough closes: what it says of that is read by the caller.
func send(conn net.Conn, content io.Reader) error {
	buf := make([]byte, 4+scanChunk)
	for {
		n, err := io.ReadFull(content, buf[4:])
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		binary.BigEndian.PutUint32(buf, uint32(n)) //nolint:gosec // at most scanChunk
		_ = conn.SetDeadline(time.Now().Add(scanStall))
		if _, err := conn.Write(buf[:4+n]); err != nil || n == 0 {
			return nil //nolint:nilerr // the answer tells
		}
	}
}

// scan has an object looked through, once.
func (s *Service) scan(ctx context.Context, t *task, f file) error {
	if err := s.enter(ctx, t, stateScanning, "", 0); err != nil {
		return err
	}
	in, err := s.bucket.Open(ctx, object(t.ObjectID), 0, -1)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	found, name, err := s.scanner.Scan(ctx, in)
	if err != nil {
		return err
	}
	if found {
		s.log.WarnContext(ctx, "media: malware was found", "media", f.ID, "name", name)
		return problemError(problemMalware)
	}
	t.Scanned = true
	_, err = s.db.Exec(ctx, `UPDATE task SET scanned = true WHERE object_id = $1 AND worker = $2`, t.ObjectID, t.worker)
	return err
}
