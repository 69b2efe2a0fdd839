package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"slices"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/cert"
	"github.com/stoa-lms/stoa/internal/fault"
)

// TLS is by what processes know one another: each shows a certificate of the
// authorities with the names of the services that it runs, and what it says in
// the name of a service it must have the name of.
type TLS struct {
	pair *cert.File[*tls.Certificate]
	pool *cert.File[*x509.CertPool]
}

// OpenTLS returns what the files have, which are read again when they change.
func OpenTLS(caFile, certFile, keyFile string, log *slog.Logger) (*TLS, error) {
	pair, err := cert.Pair(certFile, keyFile, log)
	if err != nil {
		return nil, err
	}
	pool, err := cert.Pool(caFile, log)
	if err != nil {
		return nil, err
	}
	return &TLS{pair, pool}, nil
}

// Names reports whether the certificate has the names of all services, which
// others need to call them.
func (t *TLS) Names(services ...string) error {
	leaf := t.pair.Current().Leaf
	for _, s := range services {
		if err := leaf.VerifyHostname(cert.NameOf(s)); err != nil {
			return err
		}
	}
	return nil
}

// config is made for each connection, with what the files have by then. Nothing
// is resumed: who reconnects is looked at again.
func (t *TLS) config() *tls.Config {
	pool := t.pool.Current()
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{*t.pair.Current()},
		RootCAs:      pool, ClientCAs: pool,
		ClientAuth:             tls.RequireAndVerifyClientCert,
		SessionTicketsDisabled: true,
	}
}

// clientTLS encrypts connections to one service.
type clientTLS struct {
	tls     *TLS
	service string
}

// ClientHandshake expects the name of the service, wherever it is reached.
func (c clientTLS) ClientHandshake(ctx context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(c.tls.config()).ClientHandshake(ctx, cert.NameOf(c.service), conn)
}

func (clientTLS) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("rpc: a client answers no calls")
}

func (clientTLS) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls", SecurityVersion: "1.3"} //nolint:staticcheck // the transport reads SecurityVersion nowhere else
}
func (c clientTLS) Clone() credentials.TransportCredentials { return c }
func (clientTLS) OverrideServerName(string) error           { return nil }

// serverTLS encrypts connections from other processes. The pipe in memory, on
// which nobody else is, stays as it is.
type serverTLS struct{ tls *TLS }

// memoryInfo marks a connection in memory.
type memoryInfo struct{}

func (memoryInfo) AuthType() string { return "memory" }

func (s serverTLS) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if conn.LocalAddr().Network() == "bufconn" {
		return conn, memoryInfo{}, nil
	}
	return credentials.NewTLS(s.tls.config()).ServerHandshake(conn)
}

func (serverTLS) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("rpc: a server makes no calls")
}

func (serverTLS) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}
func (s serverTLS) Clone() credentials.TransportCredentials { return s }
func (serverTLS) OverrideServerName(string) error           { return nil }

// askingPermissions is the service as which every process asks what callers may.
const askingPermissions = "auth"

var errImpostor = fault.New(fault.Unauthenticated, "service.impostor", "The certificate is not that of the service.")

// checkPeer refuses a call in the name of a service that the other side's
// certificate has not.
func (s *Server) checkPeer(ctx context.Context) error {
	service := auth.From(ctx).Service
	p, ok := peer.FromContext(ctx)
	if s.tls == nil || !ok || service == "" || service == askingPermissions {
		return nil // a call in memory has no peer; who claims nothing may nothing
	}
	switch info := p.AuthInfo.(type) {
	case memoryInfo:
		return nil
	case credentials.TLSInfo:
		if certs := info.State.PeerCertificates; len(certs) > 0 && slices.Contains(certs[0].DNSNames, cert.NameOf(service)) {
			return nil
		}
	}
	return errImpostor
}
