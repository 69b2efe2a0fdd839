package courses

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// contents answers the RPCs of the contract about items.
type contents struct {
	coursespb.UnimplementedContentServiceServer

	courses *Service
}

// CreateActivity adds a quiz or an assignment.
func (r *contents) CreateActivity(ctx context.Context, req *coursespb.CreateActivityRequest) (*coursespb.Activity, error) {
	return r.courses.createActivity(ctx, req)
}

// GetActivity returns a quiz or an assignment.
func (r *contents) GetActivity(ctx context.Context, req *coursespb.GetActivityRequest) (*coursespb.Activity, error) {
	return readActivity(ctx, r.courses.db, req.GetCourseId(), req.GetActivityId())
}

// UpdateActivity changes or moves a quiz or an assignment.
func (r *contents) UpdateActivity(ctx context.Context, req *coursespb.UpdateActivityRequest) (*coursespb.Activity, error) {
	return r.courses.updateActivity(ctx, req)
}

// DeleteActivity removes a quiz or an assignment.
func (r *contents) DeleteActivity(ctx context.Context, req *coursespb.DeleteActivityRequest) (*emptypb.Empty, error) {
	return r.courses.deleteActivity(ctx, req)
}

// MoveItem moves an item of any kind.
func (r *contents) MoveItem(ctx context.Context, req *coursespb.MoveItemRequest) (*coursespb.OutlineItem, error) {
	return r.courses.moveItem(ctx, req)
}

// GetBlockSchema returns the schema of lessons' blocks.
func (r *contents) GetBlockSchema(context.Context, *coursespb.GetBlockSchemaRequest) (*structpb.Struct, error) {
	return blockSchema(r.courses.rules)
}
