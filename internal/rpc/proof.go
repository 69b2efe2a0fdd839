package rpc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"time"

	"google.golang.org/grpc/metadata"
)

// KeyProof carries what a request from outside brings to show which browser made it.
const KeyProof = "stoa-proof"

// Proof is what a request from outside brings to show which browser made it, and what
// of the request it is about, as the edge saw both. Only the edge makes one.
type Proof struct {
	Method string `json:"method,omitempty"`
	// URL is the address that was asked for, as browsers know it, without a fragment.
	URL string `json:"url,omitempty"`
	// Page is that of the page which asked, where the browser signs that instead.
	Page string `json:"page,omitempty"`
	// Body is the SHA-256 of the body, in hexadecimal.
	Body string `json:"body,omitempty"`
	// At is when the request came; of a stream, when it was opened.
	At time.Time `json:"at,omitzero"`

	ConfigKeyHash string `json:"config,omitempty"`    // X-SafeExamBrowser-ConfigKeyHash
	RequestHash   string `json:"request,omitempty"`   // X-SafeExamBrowser-RequestHash
	Signature     string `json:"signature,omitempty"` // Stoa-Lockdown
}

// WithProof returns a context whose outgoing call carries the proof.
func WithProof(ctx context.Context, p Proof) context.Context {
	text, err := json.Marshal(p)
	if err != nil { // no value of Proof fails
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, KeyProof, base64.RawURLEncoding.EncodeToString(text))
}

// ProofOf returns what a call has brought; nothing of it where it has brought none.
func ProofOf(ctx context.Context) Proof {
	var p Proof
	text, err := base64.RawURLEncoding.DecodeString(incoming(ctx, KeyProof))
	if err != nil || json.Unmarshal(text, &p) != nil {
		return Proof{}
	}
	return p
}
