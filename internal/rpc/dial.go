package rpc

import (
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/stoa-lms/stoa/internal/auth"
)

// retries: a call that never reached the other side is made again; nothing else
// is, because only the caller knows whether it may be.
const serviceConfig = `{"loadBalancingConfig":[{"round_robin":{}}]}`

// Dial returns a connection over the network to the process at addr
// (host:port) that runs the service to, for the service from as the caller. It
// connects at first use and again whenever the other side comes back; while it
// is away calls fail with Unavailable. It is encrypted unless security is nil.
func Dial(addr, to, from string, keys *auth.Keys, security *TLS) (*grpc.ClientConn, error) {
	c := client{service: from, keys: keys}
	creds := insecure.NewCredentials()
	if security != nil {
		creds = clientTLS{security, to}
	}
	cc, err := grpc.NewClient("dns:///"+addr,
		grpc.WithTransportCredentials(creds),
		grpc.WithUnaryInterceptor(c.unary),
		grpc.WithStreamInterceptor(c.stream),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			MinConnectTimeout: 2 * time.Second,
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("rpc: dial %s: %w", addr, err)
	}
	return cc, nil
}
