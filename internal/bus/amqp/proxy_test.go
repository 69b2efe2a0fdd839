package amqp_test

import (
	"bytes"
	"errors"
	"net"
	"net/url"
	"sync"
	"testing"
)

// buffer is a log that many may write to.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

type mode int

const (
	pass   mode = iota
	refuse      // ends all connections and the new ones
	stall       // forwards nothing, nor ends anything
)

// proxy is the network between a broker and RabbitMQ.
type proxy struct {
	url, server string

	mu    sync.Mutex
	now   mode
	moved chan struct{} // closed at the next change
	conns map[net.Conn]bool
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	u, err := url.Parse(rabbitURL(t))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{server: u.Host, moved: make(chan struct{}), conns: map[net.Conn]bool{}}
	u.Host = listener.Addr().String()
	p.url = u.String()
	t.Cleanup(func() {
		_ = listener.Close()
		p.set(refuse)
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	return p
}

func (p *proxy) set(m mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = m
	close(p.moved)
	p.moved = make(chan struct{})
	if m == refuse {
		for conn := range p.conns {
			_ = conn.Close()
		}
		clear(p.conns)
	}
}

func (p *proxy) mode() (mode, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now, p.moved
}

func (p *proxy) keep(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now == refuse {
		_ = conn.Close()
		return
	}
	p.conns[conn] = true
}

func (p *proxy) serve(client net.Conn) {
	p.keep(client)
	server, err := (&net.Dialer{}).Dial("tcp", p.server)
	if err != nil {
		_ = client.Close()
		return
	}
	p.keep(server)
	go p.forward(client, server)
	p.forward(server, client)
}

func (p *proxy) forward(to, from net.Conn) {
	defer func() { _ = errors.Join(to.Close(), from.Close()) }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		for now, moved := p.mode(); now == stall; now, moved = p.mode() {
			<-moved
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
