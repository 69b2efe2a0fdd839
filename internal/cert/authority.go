package cert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// caYears is how long an authority is valid.
const caYears = 10

// NameOf is what a service is called in certificates.
func NameOf(service string) string { return service + ".stoa" }

// Make writes to dir an authority (ca.crt, ca.key), if it has none, and for each
// service a folder NAME with a new certificate of it and its key (tls.crt,
// tls.key), valid from now for the given time, and the authorities to trust
// (ca.crt). More authorities may follow the one that signs in dir's ca.crt, to be
// trusted while it is changed.
func Make(dir string, services []string, now time.Time, validity time.Duration) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ca, caKey, err := authority(dir, now)
	if err != nil {
		return err
	}
	trusted, err := os.ReadFile(filepath.Join(dir, "ca.crt")) //nolint:gosec // the operator names the folder
	if err != nil {
		return err
	}
	for _, service := range services {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		template := newTemplate(NameOf(service), now, validity)
		template.DNSNames = []string{NameOf(service)}
		template.KeyUsage = x509.KeyUsageDigitalSignature
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		own := filepath.Join(dir, service)
		if err := os.MkdirAll(own, 0o700); err != nil {
			return err
		}
		if err := replace(filepath.Join(own, "ca.crt"), trusted); err != nil {
			return err
		}
		if err := write(own, "tls", template, ca, key, caKey); err != nil {
			return err
		}
	}
	return nil
}

// authority returns the authority of a folder, made when there is none.
func authority(dir string, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	certText, err := os.ReadFile(filepath.Join(dir, "ca.crt"))   //nolint:gosec // the operator names the folder
	keyText, keyErr := os.ReadFile(filepath.Join(dir, "ca.key")) //nolint:gosec // the same
	if errors.Is(err, os.ErrNotExist) && errors.Is(keyErr, os.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		template := newTemplate("Stoa services", now, caYears*365*24*time.Hour)
		template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
		template.KeyUsage = x509.KeyUsageCertSign
		if err := write(dir, "ca", template, template, key, key); err != nil {
			return nil, nil, err
		}
		return authority(dir, now)
	}
	if err := errors.Join(err, keyErr); err != nil {
		return nil, nil, err
	}
	certBlock, _ := pem.Decode(certText)
	keyBlock, _ := pem.Decode(keyText)
	if certBlock == nil || keyBlock == nil {
		return nil, nil, errors.New("ca.crt or ca.key is not readable")
	}
	ca, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("ca.crt: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("ca.key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(ca.PublicKey) {
		return nil, nil, errors.New("ca.key is not the key of ca.crt")
	}
	return ca, key, nil
}

// newTemplate begins an hour early: clocks differ.
func newTemplate(name string, now time.Time, validity time.Duration) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // it never fails
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(validity),
	}
}

// write signs a certificate and writes it with its key, the key first: whoever
// reads in between finds a pair that does not fit, and tries again.
func write(dir, name string, template, parent *x509.Certificate, key *ecdsa.PrivateKey, signer crypto.Signer) error {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return fmt.Errorf("certificate of %s: %w", template.Subject.CommonName, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("key of %s: %w", template.Subject.CommonName, err)
	}
	for _, f := range []struct {
		name  string
		block *pem.Block
	}{{name + ".key", &pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}}, {name + ".crt", &pem.Block{Type: "CERTIFICATE", Bytes: der}}} {
		if err := replace(filepath.Join(dir, f.name), pem.EncodeToMemory(f.block)); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a file at once.
func replace(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o600); err != nil { //nolint:gosec // the operator names the folder
		return err
	}
	return os.Rename(path+".new", path)
}
