package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"
)

// openS3 makes the client field by field. The SDK's own configuration would
// read files and the environment, and ask the metadata address of a cloud.
func openS3(ctx context.Context, u *url.URL, cfg Config) (*Bucket, error) {
	if u.Host == "" || u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("blob: URL %q: a bucket is written as s3://bucket?region=…&endpoint=…", u)
	}
	if cfg.AccessKey == "" || cfg.SecretKey == "" {
		return nil, errors.New("blob: an S3 bucket needs an access key and a secret key")
	}
	q := u.Query()
	for name := range q {
		if name != "region" && name != "endpoint" {
			return nil, fmt.Errorf("blob: URL %q: unknown parameter %q, there are region and endpoint", u, name)
		}
	}
	opts := s3.Options{
		Region: "us-east-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: cfg.AccessKey, SecretAccessKey: cfg.SecretKey, Source: "stoa"}, nil
		}),
		HTTPClient:       &http.Client{Transport: transport()},
		RetryMaxAttempts: 3,
		// Most servers that speak S3 don't know the newer checksums.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	}
	if region := q.Get("region"); region != "" {
		opts.Region = region
	}
	if endpoint := q.Get("endpoint"); endpoint != "" {
		e, err := url.Parse(endpoint)
		if err != nil || e.Host == "" || e.Scheme != "http" && e.Scheme != "https" {
			return nil, fmt.Errorf("blob: URL %q: the endpoint is written as http://host:port or https://host:port", u)
		}
		opts.BaseEndpoint = aws.String(endpoint)
		// Servers at an address of their own have no name per bucket.
		opts.UsePathStyle = true
	}
	client := s3.New(opts)
	b, err := s3blob.OpenBucket(ctx, client, u.Host, &s3blob.Options{
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
	})
	if err != nil {
		return nil, fmt.Errorf("blob: open %s: %w", u.Host, err)
	}
	return &Bucket{b, uploadS3, &s3Parts{client, s3.NewPresignClient(client), u.Host}}, nil
}

// uploadS3 lets the driver read, so that it learns how reading failed and
// throws away the parts that the server has already got.
func uploadS3(ctx context.Context, b *blob.Bucket, key string, r io.Reader, opts *blob.WriterOptions) error {
	return b.Upload(ctx, key, r, opts)
}

// transport bounds each wait for the server, not a transfer as a whole.
func transport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConns:          100,
		MaxIdleConnsPerHost:   32,
		ForceAttemptHTTP2:     true,
	}
}

// status returns the HTTP status of an S3 server's answer, 0 when err is no
// such answer.
func status(err error) int {
	if answer, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err); ok {
		return answer.HTTPStatusCode()
	}
	return 0
}

// unanswered reports whether an S3 server could not be reached or says that it
// has trouble of its own. Of a folder's errors none does.
func unanswered(err error) bool {
	if code := status(err); code != 0 {
		return code >= 500 || code == http.StatusTooManyRequests
	}
	if _, ok := errors.AsType[*smithy.OperationError](err); ok {
		return true // the call was made and had no answer
	}
	_, ok := errors.AsType[net.Error](err)
	return ok
}

// noBucket tells an absent bucket, which the operator has to make, from an
// absent object.
func noBucket(err error) bool {
	ae, ok := errors.AsType[smithy.APIError](err)
	return ok && ae.ErrorCode() == "NoSuchBucket"
}

// noUpload tells an upload in parts that is not there.
func noUpload(err error) bool {
	ae, ok := errors.AsType[smithy.APIError](err)
	return ok && ae.ErrorCode() == "NoSuchUpload"
}

// badPart tells parts that S3 makes no object of.
func badPart(err error) bool {
	ae, ok := errors.AsType[smithy.APIError](err)
	return ok && slices.Contains([]string{"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "BadDigest", "InvalidDigest"}, ae.ErrorCode())
}
