package main

import (
	"net/http"

	"google.golang.org/protobuf/reflect/protoreflect"
)

func statementRoutes() map[protoreflect.FullName]func(protoreflect.MethodDescriptor) route {
	export := func(path string, query ...string) func(protoreflect.MethodDescriptor) route {
		return func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodGet, path: path, query: query, edit: gradesFile("text/csv", "application/pdf")}
		}
	}
	return map[protoreflect.FullName]func(protoreflect.MethodDescriptor) route{
		"stoa.commerce.v1.StatementService.ExportMyStatement":       export("/v1/me/statement", "since", "until", "format"),
		"stoa.commerce.v1.StatementService.ExportMyPayoutStatement": export("/v1/me/payouts/{payout_id}/statement", "format"),
		"stoa.commerce.v1.StatementService.ExportPayoutStatement":   export("/v1/payouts/{payout_id}/statement", "format"),
		"stoa.commerce.v1.StatementService.ExportTeacherStatement":  export("/v1/payouts/teachers/{teacher_id}/statement", "since", "until", "format"),
	}
}
