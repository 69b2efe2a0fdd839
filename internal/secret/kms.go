package secret

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskmsapi "github.com/aws/aws-sdk-go-v2/service/kms"
	"gocloud.dev/secrets"
	"gocloud.dev/secrets/awskms"
	"gocloud.dev/secrets/localsecrets"
)

// KMS wraps a whole keyset, so that it can be read with the consent of a key
// management service alone.
type KMS struct{ keeper *secrets.Keeper }

// KMSConfig says which key of which service wraps.
type KMSConfig struct {
	URL                  string // awskms://key?region=…&endpoint=…, or base64key://… to try it out
	AccessKey, SecretKey string // of AWS; what the machine is allowed when empty
}

// wrappedMark begins a keyset that a KMS wrapped.
const wrappedMark = "kms:"

var errKMSURL = errors.New("secret: the KMS is not an address such as awskms:///alias/stoa?region=eu-central-1 or base64key://KEY")

// OpenKMS returns the key. It asks the service at first use.
func OpenKMS(ctx context.Context, cfg KMSConfig) (*KMS, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil { // which may hold a key
		return nil, errKMSURL
	}
	switch u.Scheme {
	case localsecrets.Scheme:
		key, err := localsecrets.Base64Key(u.Host)
		if err != nil {
			return nil, errKMSURL
		}
		return &KMS{localsecrets.NewKeeper(key)}, nil
	case awskms.Scheme:
		keeper, err := openAWS(ctx, cfg, u)
		if err != nil {
			return nil, err
		}
		return &KMS{keeper}, nil
	default:
		return nil, errKMSURL
	}
}

// openAWS makes the client with the keys that are given. Only without any it is
// left to the library to find out what the machine is allowed.
func openAWS(ctx context.Context, cfg KMSConfig, u *url.URL) (*secrets.Keeper, error) {
	options := awskms.KeeperOptions{EncryptionContext: map[string]string{"stoa": "keyset"}}
	if cfg.AccessKey == "" {
		keeper, err := (&awskms.URLOpener{Options: options}).OpenKeeperURL(ctx, u)
		if err != nil {
			return nil, fmt.Errorf("secret: KMS: %w", err)
		}
		return keeper, nil
	}
	query := u.Query()
	keyID := strings.TrimPrefix(u.Host+u.Path, "/")
	if keyID == "" || query.Get("region") == "" {
		return nil, errKMSURL
	}
	client := awskmsapi.New(awskmsapi.Options{
		Region: query.Get("region"),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: cfg.AccessKey, SecretAccessKey: cfg.SecretKey}, nil
		}),
	}, func(o *awskmsapi.Options) {
		if endpoint := query.Get("endpoint"); endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
	})
	return awskms.OpenKeeper(client, keyID, &options), nil
}

// Wrap returns a keyset as it is kept where a KMS is used.
func (k *KMS) Wrap(ctx context.Context, keyset []byte) ([]byte, error) {
	if _, _, err := parse(keyset); err != nil {
		return nil, err
	}
	raw, err := k.keeper.Encrypt(ctx, keyset)
	if err != nil {
		return nil, fmt.Errorf("secret: KMS: %w", err)
	}
	return []byte(wrappedMark + base64.StdEncoding.EncodeToString(raw) + "\n"), nil
}

// Unwrap returns the keyset that [KMS.Wrap] wrapped.
func (k *KMS) Unwrap(ctx context.Context, text []byte) ([]byte, error) {
	encoded, ok := bytes.CutPrefix(text, []byte(wrappedMark))
	if !ok {
		return nil, errors.New("secret: the keyset is not wrapped by the KMS: see `stoa admin keys wrap`")
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(encoded)))
	if err != nil {
		return nil, errors.New("secret: the wrapped keyset is not base64")
	}
	keyset, err := k.keeper.Decrypt(ctx, raw)
	if err != nil {
		return nil, fmt.Errorf("secret: KMS: %w", err)
	}
	return keyset, nil
}

// Close ends the connection.
func (k *KMS) Close() error { return k.keeper.Close() }
