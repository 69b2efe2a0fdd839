package courses

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// archives answers the RPCs about courses that are taken along.
type archives struct {
	coursespb.UnimplementedArchiveServiceServer

	courses *Service
}

// landed adds to a course that was made what is made for its readers: that is not
// kept with an idempotency key.
func (r *archives) landed(c *coursespb.CourseCopy, err error) (*coursespb.CourseCopy, error) {
	if err != nil {
		return nil, err
	}
	_, err = (&server{courses: r.courses}).landed(c.GetCourse(), nil)
	return c, err
}

// ExportCourse implements coursespb.ArchiveServiceServer.
func (r *archives) ExportCourse(req *coursespb.ExportCourseRequest, stream grpc.ServerStreamingServer[coursespb.ExportCourseResponse]) error {
	return r.courses.exportCourse(req, stream)
}

// GetExportCheck implements coursespb.ArchiveServiceServer.
func (r *archives) GetExportCheck(ctx context.Context, req *coursespb.GetExportCheckRequest) (*coursespb.GetExportCheckResponse, error) {
	return r.courses.checkExport(ctx, req)
}

// ImportCourse implements coursespb.ArchiveServiceServer.
func (r *archives) ImportCourse(stream grpc.ClientStreamingServer[coursespb.ImportCourseRequest, coursespb.CourseImport]) error {
	return r.courses.uploadCourse(stream)
}

// ImportModules implements coursespb.ArchiveServiceServer.
func (r *archives) ImportModules(stream grpc.ClientStreamingServer[coursespb.ImportModulesRequest, coursespb.CourseImport]) error {
	return r.courses.uploadModules(stream)
}

// ImportUploaded implements coursespb.ArchiveServiceServer.
func (r *archives) ImportUploaded(ctx context.Context, req *coursespb.ImportUploadedRequest) (*coursespb.CourseImport, error) {
	return r.courses.importUploaded(ctx, req)
}

// GetCourseImport implements coursespb.ArchiveServiceServer.
func (r *archives) GetCourseImport(ctx context.Context, req *coursespb.GetCourseImportRequest) (*coursespb.CourseImport, error) {
	return r.courses.getImport(ctx, req.GetImportId())
}

// ListCourseImports implements coursespb.ArchiveServiceServer.
func (r *archives) ListCourseImports(ctx context.Context, req *coursespb.ListCourseImportsRequest) (*coursespb.ListCourseImportsResponse, error) {
	return r.courses.listImports(ctx, page.Size(req.GetPageSize()), req.GetCursor())
}

// DuplicateCourse implements coursespb.ArchiveServiceServer.
func (r *archives) DuplicateCourse(ctx context.Context, req *coursespb.DuplicateCourseRequest) (*coursespb.CourseCopy, error) {
	return r.landed(r.courses.duplicateCourse(ctx, req))
}

// CopyModules implements coursespb.ArchiveServiceServer.
func (r *archives) CopyModules(ctx context.Context, req *coursespb.CopyModulesRequest) (*coursespb.CopyModulesResponse, error) {
	return r.courses.copyModules(ctx, req)
}

// MarkTemplate implements coursespb.ArchiveServiceServer.
func (r *archives) MarkTemplate(ctx context.Context, req *coursespb.MarkTemplateRequest) (*coursespb.Template, error) {
	return r.courses.markTemplate(ctx, req)
}

// ShowTemplate implements coursespb.ArchiveServiceServer.
func (r *archives) ShowTemplate(ctx context.Context, req *coursespb.ShowTemplateRequest) (*coursespb.Template, error) {
	return r.courses.showTemplate(ctx, req)
}

// UnmarkTemplate implements coursespb.ArchiveServiceServer.
func (r *archives) UnmarkTemplate(ctx context.Context, req *coursespb.UnmarkTemplateRequest) (*emptypb.Empty, error) {
	return r.courses.unmarkTemplate(ctx, req)
}

// ListTemplates implements coursespb.ArchiveServiceServer.
func (r *archives) ListTemplates(ctx context.Context, req *coursespb.ListTemplatesRequest) (*coursespb.ListTemplatesResponse, error) {
	return r.courses.listTemplates(ctx, req.GetVisibility(), page.Size(req.GetPageSize()), req.GetCursor())
}

// CreateFromTemplate implements coursespb.ArchiveServiceServer.
func (r *archives) CreateFromTemplate(ctx context.Context, req *coursespb.CreateFromTemplateRequest) (*coursespb.CourseCopy, error) {
	return r.landed(r.courses.createFromTemplate(ctx, req))
}

// GetArchiveSchema implements coursespb.ArchiveServiceServer.
func (r *archives) GetArchiveSchema(context.Context, *coursespb.GetArchiveSchemaRequest) (*structpb.Struct, error) {
	return archiveSchema()
}
