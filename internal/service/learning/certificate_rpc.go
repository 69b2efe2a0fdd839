package learning

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// certificateServer answers the contract of certificates.
type certificateServer struct {
	learningpb.UnimplementedCertificateServiceServer

	service *Service
}

func (r *certificateServer) GetCertificateSettings(ctx context.Context, req *learningpb.GetCertificateSettingsRequest) (*learningpb.CertificateSettings, error) {
	c, err := readSettings(ctx, r.service.db, req.GetCourseId(), "")
	if err != nil {
		return nil, err
	}
	return settingsPB(c), nil
}

func (r *certificateServer) UpdateCertificateSettings(ctx context.Context, req *learningpb.UpdateCertificateSettingsRequest) (*learningpb.CertificateSettings, error) {
	return idempotency.Do(ctx, r.service.db, req, func(tx *pg.Tx) (*learningpb.CertificateSettings, error) {
		c, err := r.service.updateSettings(ctx, tx, req)
		if err != nil {
			return nil, err
		}
		return settingsPB(c), nil
	})
}

func (r *certificateServer) IssueCertificates(ctx context.Context, req *learningpb.IssueCertificatesRequest) (*learningpb.IssueCertificatesResponse, error) {
	return idempotency.Do(ctx, r.service.db, req, func(tx *pg.Tx) (*learningpb.IssueCertificatesResponse, error) {
		n, more, err := r.service.issueToOthers(ctx, tx, req.GetCourseId())
		if err != nil {
			return nil, err
		}
		return &learningpb.IssueCertificatesResponse{Issued: int32(n), More: more}, nil //nolint:gosec // at most issueMissing
	})
}

func (r *certificateServer) ListCertificates(ctx context.Context, req *learningpb.ListCertificatesRequest) (*learningpb.ListCertificatesResponse, error) {
	items, next, err := certificatesBy(ctx, r.service.db, "course_id", req.GetCourseId(), page.Size(req.GetPageSize()), req.GetCursor())
	if err != nil {
		return nil, err
	}
	return &learningpb.ListCertificatesResponse{Items: r.service.certificatesPB(items), NextCursor: next}, nil
}

func (r *certificateServer) RevokeCertificate(ctx context.Context, req *learningpb.RevokeCertificateRequest) (*learningpb.Certificate, error) {
	return idempotency.Do(ctx, r.service.db, req, func(tx *pg.Tx) (*learningpb.Certificate, error) {
		return r.service.told(r.service.revoke(ctx, tx, req.GetCourseId(), req.GetCertificateId(), req.GetReason()))
	})
}

func (r *certificateServer) ReissueCertificate(ctx context.Context, req *learningpb.ReissueCertificateRequest) (*learningpb.Certificate, error) {
	return idempotency.Do(ctx, r.service.db, req, func(tx *pg.Tx) (*learningpb.Certificate, error) {
		return r.service.told(r.service.reissue(ctx, tx, req.GetCourseId(), req.GetCertificateId(), req.GetPersonName(), req.GetReason()))
	})
}

func (r *certificateServer) ListMyCertificates(ctx context.Context, req *learningpb.ListMyCertificatesRequest) (*learningpb.ListMyCertificatesResponse, error) {
	items, next, err := certificatesBy(ctx, r.service.db, "account_id", auth.From(ctx).Account, page.Size(req.GetPageSize()), req.GetCursor())
	if err != nil {
		return nil, err
	}
	return &learningpb.ListMyCertificatesResponse{Items: r.service.certificatesPB(items), NextCursor: next}, nil
}

func (r *certificateServer) GetCertificate(ctx context.Context, req *learningpb.GetCertificateRequest) (*learningpb.Certificate, error) {
	return r.service.told(certificateOf(ctx, r.service.db, auth.From(ctx).Account, req.GetCertificateId()))
}

func (r *certificateServer) ShareCertificate(ctx context.Context, req *learningpb.ShareCertificateRequest) (*learningpb.Certificate, error) {
	return idempotency.Do(ctx, r.service.db, req, func(tx *pg.Tx) (*learningpb.Certificate, error) {
		return r.service.told(share(ctx, tx, auth.From(ctx).Account, req.GetCertificateId(), req.GetShared()))
	})
}

func (r *certificateServer) DownloadCertificate(ctx context.Context, req *learningpb.DownloadCertificateRequest) (*learningpb.File, error) {
	c, err := certificateOf(ctx, r.service.db, auth.From(ctx).Account, req.GetCertificateId())
	if err != nil {
		return nil, err
	}
	return r.service.pdfFile(c)
}

func (r *certificateServer) DownloadBadge(ctx context.Context, req *learningpb.DownloadBadgeRequest) (*learningpb.File, error) {
	c, err := certificateOf(ctx, r.service.db, auth.From(ctx).Account, req.GetCertificateId())
	if err != nil {
		return nil, err
	}
	if c.State != stateValid {
		return nil, ErrCertificateNotValid
	}
	if c.PersonName == "" {
		return nil, ErrNameUnknown
	}
	return r.service.badgeFile(ctx, c, req.GetFormat())
}

func (r *certificateServer) DownloadSharedBadge(ctx context.Context, req *learningpb.DownloadSharedBadgeRequest) (*learningpb.File, error) {
	c, err := bySerial(ctx, r.service.db, req.GetSerial())
	if err != nil {
		return nil, err
	}
	if c.State != stateValid || c.PersonName == "" {
		return nil, ErrCertificateNotFound
	}
	return r.service.badgeFile(ctx, c, req.GetFormat())
}

func (r *certificateServer) GetVerification(ctx context.Context, req *learningpb.GetVerificationRequest) (*learningpb.Verification, error) {
	c, err := bySerial(ctx, r.service.db, req.GetSerial())
	if err != nil {
		return nil, err
	}
	v := &learningpb.Verification{
		Serial: writeSerial(c.Serial), State: c.State, PersonName: c.PersonName, CourseTitle: c.CourseTitle, IssuerName: c.IssuerName, Language: c.Language,
		CompletedAt: timestamppb.New(c.CompletedAt), IssuedAt: timestamppb.New(c.IssuedAt), EndedAt: optional(c.EndedAt),
	}
	if c.State == stateSuperseded {
		// It may have been replaced because nobody should be called so any more.
		v.PersonName = ""
	}
	return v, nil
}

func (r *certificateServer) DownloadBadgeDocument(ctx context.Context, req *learningpb.DownloadBadgeDocumentRequest) (*learningpb.File, error) {
	return r.service.badgeDocument(ctx, req.GetKind(), req.GetId())
}

// told returns a certificate as it is answered.
func (s *Service) told(c certificate, err error) (*learningpb.Certificate, error) {
	if err != nil {
		return nil, err
	}
	out := &learningpb.Certificate{
		Id: c.ID, CourseId: c.CourseID, AccountId: c.AccountID, Serial: writeSerial(c.Serial), PersonName: c.PersonName, CourseTitle: c.CourseTitle,
		Language: c.Language, SignatoryName: c.SignatoryName, SignatoryRole: c.SignatoryRole, IssuerName: c.IssuerName,
		CompletedAt: timestamppb.New(c.CompletedAt), IssuedAt: timestamppb.New(c.IssuedAt), Revision: c.Revision, ReissueReason: c.Reason,
		State: c.State, Shared: c.Shared, Url: s.pageOf(c),
	}
	if c.State == stateRevoked {
		out.RevokedAt, out.RevocationReason = optional(c.EndedAt), c.EndReason
	}
	return out, nil
}

func (s *Service) certificatesPB(items []certificate) []*learningpb.Certificate {
	out := make([]*learningpb.Certificate, len(items))
	for i, c := range items {
		out[i], _ = s.told(c, nil)
	}
	return out
}

// pageOf is where anybody verifies a certificate.
func (s *Service) pageOf(c certificate) string {
	return s.publicURL + "/certificates/" + writeSerial(c.Serial)
}
