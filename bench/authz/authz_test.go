// Package authz measures a warm permission check beside Cedar's, for the same
// roles, the same person and the same question in one run:
//
//	cd bench/authz && go test -bench .
//
// It is a module of its own so that the program does not get Cedar.
package authz

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/app"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// rolesOf returns n roles on a course, of which the last has the permission that
// is asked for.
func rolesOf(n int) [][]string {
	roles := make([][]string, n)
	for i := range roles {
		for k := range 8 {
			roles[i] = append(roles[i], fmt.Sprintf("thing%d.act%d", i, k))
		}
	}
	roles[n-1] = append(roles[n-1], "course.edit")
	return roles
}

// access answers what all the roles allow together.
type access struct {
	accesspb.AccessServiceClient
	roles [][]string
}

func (a access) ResolvePermissions(context.Context, *accesspb.ResolvePermissionsRequest, ...grpc.CallOption) (*accesspb.ResolvePermissionsResponse, error) {
	answer := &accesspb.ResolvePermissionsResponse_Answer{}
	for _, r := range a.roles {
		answer.Permissions = append(answer.Permissions, r...)
	}
	return &accesspb.ResolvePermissionsResponse{Answers: []*accesspb.ResolvePermissionsResponse_Answer{answer}}, nil
}

func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{1, 5, 50} {
		roles := rolesOf(n)
		account, course := id.New("account"), id.New("course")

		checker, err := app.NewChecker(access{roles: roles})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("stoa/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			q, now := auth.Question{Account: account, Course: course, Permission: "course.edit"}, time.Now()
			for b.Loop() {
				if ok, err := checker.Allowed(b.Context(), q, now); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
		keys, err := auth.NewKeys(base64.StdEncoding.EncodeToString(make([]byte, 32)))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("stoa-guard/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			guard, req := auth.NewGuard(keys, checker), &coursespb.UpdateCourseRequest{CourseId: course}
			ctx := auth.With(b.Context(), auth.Principal{Account: account, Session: id.New("session"), Service: "edge"})
			handle := func(context.Context, any) (any, error) { return nil, nil }
			for b.Loop() {
				if _, err := guard.Call(ctx, "/stoa.courses.v1.CoursesService/UpdateCourse", req, handle); err != nil {
					b.Fatal(err)
				}
			}
		})

		policies := cedar.NewPolicySet()
		attributes, parents := types.RecordMap{}, []types.EntityUID{}
		for i, list := range roles {
			var actions []string
			for _, p := range list {
				actions = append(actions, fmt.Sprintf("Action::%q", p))
			}
			var policy cedar.Policy
			text := fmt.Sprintf("permit (principal, action in [%s], resource) when { principal in resource.role%d };", strings.Join(actions, ", "), i)
			if err := policy.UnmarshalCedar([]byte(text)); err != nil {
				b.Fatal(err)
			}
			policies.Add(types.PolicyID(fmt.Sprintf("role%d", i)), &policy)
			role := types.NewEntityUID("Role", types.String(fmt.Sprintf("%s/%d", course, i)))
			attributes[types.String(fmt.Sprintf("role%d", i))] = role
			parents = append(parents, role)
		}
		who, where := types.NewEntityUID("Account", types.String(account)), types.NewEntityUID("Course", types.String(course))
		entities := types.EntityMap{
			who:   {UID: who, Parents: types.NewEntityUIDSet(parents...)},
			where: {UID: where, Attributes: types.NewRecord(attributes)},
		}
		b.Run(fmt.Sprintf("cedar/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			req := cedar.Request{Principal: who, Action: types.NewEntityUID("Action", "course.edit"), Resource: where}
			for b.Loop() {
				if ok, diagnostic := cedar.Authorize(policies, entities, req); !ok {
					b.Fatal(diagnostic)
				}
			}
		})
	}
}
