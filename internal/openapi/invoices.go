package main

import (
	"net/http"

	"google.golang.org/protobuf/reflect/protoreflect"
)

func invoiceRoutes() map[protoreflect.FullName]func(protoreflect.MethodDescriptor) route {
	return map[protoreflect.FullName]func(protoreflect.MethodDescriptor) route{
		"stoa.commerce.v1.InvoiceService.DownloadInvoice": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodGet, path: "/v1/me/invoices/{invoice_id}/pdf", edit: certificateFile("application/pdf")}
		},
		"stoa.commerce.v1.InvoiceService.ExportTaxReport": func(md protoreflect.MethodDescriptor) route {
			return route{rpc: md, method: http.MethodGet, path: "/v1/invoices/tax-report", query: []string{"since", "until"}, edit: gradesFile("text/csv")}
		},
	}
}
