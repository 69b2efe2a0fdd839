package secret

import (
	"crypto/rand"
	"encoding/binary"

	"golang.org/x/crypto/chacha20poly1305"
)

// What is sealed is a version, the id of the key, a nonce and the XChaCha20-
// Poly1305 ciphertext (draft-irtf-cfrg-xchacha-03), whose nonces may be random.
const (
	sealVersion = 1
	headSize    = 1 + 8
	nonceSize   = chacha20poly1305.NonceSizeX
)

// keyIDOf returns the id of the key that sealed.
func keyIDOf(sealed []byte) (int64, bool) {
	if len(sealed) < headSize+nonceSize+chacha20poly1305.Overhead || sealed[0] != sealVersion {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(sealed[1:headSize])), true //nolint:gosec // ids are positive
}

// sealWith encrypts plain; the purpose and the head are authenticated with it.
func sealWith(key []byte, id int64, purpose string, plain []byte) []byte {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil { // no key of keySize fails
		panic(err)
	}
	out := make([]byte, headSize+nonceSize, headSize+nonceSize+len(plain)+aead.Overhead())
	out[0] = sealVersion
	binary.BigEndian.PutUint64(out[1:headSize], uint64(id)) //nolint:gosec // ids are positive
	_, _ = rand.Read(out[headSize:])                        // it never fails
	return aead.Seal(out, out[headSize:], plain, additional(out, purpose))
}

func unsealWith(key []byte, purpose string, sealed []byte) ([]byte, error) {
	if _, ok := keyIDOf(sealed); !ok {
		return nil, ErrUnreadable
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, ErrUnreadable
	}
	plain, err := aead.Open(nil, sealed[headSize:headSize+nonceSize], sealed[headSize+nonceSize:], additional(sealed, purpose))
	if err != nil {
		return nil, ErrUnreadable
	}
	return plain, nil
}

// additional is what is authenticated besides: the head and the purpose.
func additional(sealed []byte, purpose string) []byte {
	return append([]byte(purpose+"\n"), sealed[:headSize]...)
}
