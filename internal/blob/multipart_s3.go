package blob

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// s3Parts takes objects in parts by the multipart uploads of S3.
type s3Parts struct {
	client *s3.Client
	signer *s3.PresignClient
	bucket string
}

func (p *s3Parts) create(ctx context.Context, key, contentType string, summed bool) (string, error) {
	in := &s3.CreateMultipartUploadInput{Bucket: &p.bucket, Key: &key, ContentType: &contentType}
	if summed {
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmSha256, types.ChecksumTypeComposite
	}
	out, err := p.client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return "", err
	}
	return aws.ToString(out.UploadId), nil
}

func (p *s3Parts) put(ctx context.Context, key, upload string, number int32, content io.ReadSeeker, size int64) (Part, error) {
	out, err := p.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &p.bucket, Key: &key, UploadId: &upload, PartNumber: &number, Body: content, ContentLength: &size,
	})
	if err != nil {
		return Part{}, err
	}
	return Part{Number: number, ETag: plain(out.ETag), Size: size}, nil
}

func plain(etag *string) string { return strings.Trim(aws.ToString(etag), `"`) }

func (p *s3Parts) list(ctx context.Context, key, upload string) ([]Part, error) {
	var parts []Part
	pages := s3.NewListPartsPaginator(p.client, &s3.ListPartsInput{Bucket: &p.bucket, Key: &key, UploadId: &upload})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, part := range page.Parts {
			sum, _ := base64.StdEncoding.DecodeString(aws.ToString(part.ChecksumSHA256)) // empty where there is none
			parts = append(parts, Part{
				Number: aws.ToInt32(part.PartNumber), ETag: plain(part.ETag), Size: aws.ToInt64(part.Size), SHA256: hex.EncodeToString(sum),
			})
		}
	}
	return parts, nil
}

func (p *s3Parts) complete(ctx context.Context, key, upload string, parts []Part) error {
	named := make([]types.CompletedPart, len(parts))
	for i, part := range parts {
		named[i] = types.CompletedPart{PartNumber: aws.Int32(part.Number), ETag: aws.String(`"` + part.ETag + `"`)}
		if part.SHA256 != "" {
			sum, err := base64sum(part.SHA256)
			if err != nil {
				return err
			}
			named[i].ChecksumSHA256 = &sum
		}
	}
	_, err := p.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &p.bucket, Key: &key, UploadId: &upload, MultipartUpload: &types.CompletedMultipartUpload{Parts: named},
	})
	return err
}

func (p *s3Parts) abort(ctx context.Context, key, upload string) error {
	_, err := p.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &p.bucket, Key: &key, UploadId: &upload})
	return err
}

func (p *s3Parts) begun(ctx context.Context, prefix string, before time.Time) ([]Multipart, error) {
	out, err := p.client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &p.bucket, Prefix: &prefix})
	if err != nil {
		return nil, err
	}
	var found []Multipart
	for _, u := range out.Uploads {
		if at := aws.ToTime(u.Initiated).UTC(); at.Before(before) {
			found = append(found, Multipart{Key: aws.ToString(u.Key), Upload: aws.ToString(u.UploadId), Begun: at})
		}
	}
	return found, nil
}

func (p *s3Parts) sign(ctx context.Context, key, upload string, part Part, lifetime time.Duration) (Signed, error) {
	sum, err := base64sum(part.SHA256)
	if err != nil {
		return Signed{}, err
	}
	req, err := p.signer.PresignUploadPart(ctx, &s3.UploadPartInput{
		Bucket: &p.bucket, Key: &key, UploadId: &upload, PartNumber: &part.Number, ContentLength: &part.Size,
		ChecksumSHA256: &sum, ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	}, s3.WithPresignExpires(lifetime))
	if err != nil {
		return Signed{}, fmt.Errorf("blob: sign part of %s: %w", key, err)
	}
	headers := http.Header{}
	for name, values := range req.SignedHeader {
		if name = http.CanonicalHeaderKey(name); name != "Host" {
			headers[name] = values
		}
	}
	return Signed{URL: req.URL, Headers: headers}, nil
}

// base64sum writes a hash in hex as S3 has it.
func base64sum(text string) (string, error) {
	sum, err := hex.DecodeString(text)
	if err != nil {
		return "", fmt.Errorf("blob: SHA-256 of a part: %w", err)
	}
	return base64.StdEncoding.EncodeToString(sum), nil
}
