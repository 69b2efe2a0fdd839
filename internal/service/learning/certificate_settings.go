package learning

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// certificateSettings is how certificates of a course look.
type certificateSettings struct {
	CourseID      string
	Enabled       bool
	Title         string
	SignatoryName string
	SignatoryRole string
	Revision      int64
}

// readSettings returns those of a course, which it has by default where it has
// said nothing.
func readSettings(ctx context.Context, q pg.Querier, courseID, lock string) (certificateSettings, error) {
	rows, err := q.Query(ctx, `SELECT course_id, enabled, title, signatory_name, signatory_role, revision FROM certificate_settings WHERE course_id = $1`+lock, courseID)
	if err != nil {
		return certificateSettings{}, fmt.Errorf("read settings: %w", err)
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[certificateSettings])
	if pg.NoRows(err) {
		return certificateSettings{CourseID: courseID, Enabled: true, Revision: 1}, nil
	}
	if err != nil {
		return certificateSettings{}, fmt.Errorf("read settings: %w", err)
	}
	return c, nil
}

func (s *Service) updateSettings(ctx context.Context, tx *pg.Tx, req *learningpb.UpdateCertificateSettingsRequest) (certificateSettings, error) {
	if _, err := tx.Exec(ctx, `INSERT INTO certificate_settings (course_id) VALUES ($1) ON CONFLICT DO NOTHING`, req.GetCourseId()); err != nil {
		return certificateSettings{}, fmt.Errorf("update settings: %w", err)
	}
	before, err := readSettings(ctx, tx, req.GetCourseId(), ` FOR UPDATE`)
	if err != nil {
		return certificateSettings{}, err
	}
	if err := rpc.Match(ctx, strconv.FormatInt(before.Revision, 10)); err != nil {
		return certificateSettings{}, err
	}
	after := certificateSettings{
		CourseID: req.GetCourseId(), Enabled: req.GetEnabled(), Title: req.GetTitle(),
		SignatoryName: req.GetSignatoryName(), SignatoryRole: req.GetSignatoryRole(), Revision: before.Revision + 1,
	}
	_, err = tx.Exec(ctx, `
		UPDATE certificate_settings SET enabled = $2, title = $3, signatory_name = $4, signatory_role = $5, revision = $6 WHERE course_id = $1`,
		after.CourseID, after.Enabled, after.Title, after.SignatoryName, after.SignatoryRole, after.Revision)
	if err != nil {
		return certificateSettings{}, fmt.Errorf("update settings: %w", err)
	}
	return after, audit.Record(ctx, tx, audit.Entry{
		Action: "certificate_settings.updated", Object: after.CourseID, Course: after.CourseID,
		Before: map[string]any{"enabled": before.Enabled, "revision": before.Revision},
		After:  map[string]any{"enabled": after.Enabled, "revision": after.Revision},
	})
}

func settingsPB(c certificateSettings) *learningpb.CertificateSettings {
	return &learningpb.CertificateSettings{
		CourseId: c.CourseID, Enabled: c.Enabled, Title: c.Title, SignatoryName: c.SignatoryName, SignatoryRole: c.SignatoryRole,
		Etag: strconv.FormatInt(c.Revision, 10),
	}
}
