package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/stoa-lms/stoa/internal/openapi/spec"
)

const description = `Stoa is a learning management system and a course marketplace. This is its REST interface.

**Signing in.** ` + "`POST /v1/sessions`" + ` answers with a token, to be sent as ` + "`Authorization: Bearer …`" + `; browsers get it as a cookie too.
What an operation demands of its caller stands in ` + "`x-permission`" + `.

**Writes** may carry an ` + "`Idempotency-Key`" + `: repeated with the same key, a write happens once and is answered as the first time.
Those of what has a version may carry ` + "`If-Match`" + ` with the ` + "`ETag`" + ` it was read with, and are refused with 412 when somebody else was faster.

**Lists** come in pages: send ` + "`next_cursor`" + ` of one page as ` + "`cursor`" + ` of the next, until it is empty.

**Errors** are told as ` + "`application/problem+json`" + ` (RFC 9457) with a stable ` + "`code`" + `; those that a response may carry stand in its ` + "`x-errors`" + `.
Where a single field is at fault, ` + "`code`" + ` may be ` + "`request.invalid`" + `, and the listed code stands with the field in ` + "`fields`" + `.

**JSON.** Names are in snake_case. Fields that an operation does not know are refused. 64-bit integers are numbers, all within 2^53.
Ids are text with the kind of thing in front, such as ` + "`course_01h455vb4pex5vsknk084sn02q`" + `. Times are RFC 3339 in UTC.`

// tagOrder is the order in which a reader meets the services; others follow.
var tagOrder = []string{"identity", "courses", "media", "discovery", "commerce", "access", "learning", "assessment", "grades", "notify", "audit"}

// builder makes the document.
type builder struct {
	source  *source
	doc     *spec.Document
	schemas *schemas
	ids     map[string]bool
}

// document describes every RPC in files that has an address over HTTP, and the
// routes that the edge writes by hand.
func document(files *protoregistry.Files, root string) (*spec.Document, error) {
	services := servicesOf(files)
	if len(services) == 0 {
		return nil, errors.New("there is no service in the contracts")
	}
	contracts := &source{root: root, files: map[string]map[protoreflect.FullName]string{}}
	b := &builder{
		source: contracts,
		doc: &spec.Document{
			OpenAPI: "3.1.0",
			Info: spec.Info{
				Title: "Stoa", Summary: "Courses: made, sold, taken.", Version: "1", Description: description,
				License: spec.License{Name: "Apache 2.0", Identifier: "Apache-2.0"},
			},
			Servers:    []spec.Server{{URL: "/", Description: "The platform that this document comes from."}},
			Components: common(),
		},
		schemas: &schemas{
			source:   contracts,
			named:    problemSchemas(),
			messages: map[string]protoreflect.FullName{"Problem": "", "ProblemField": ""},
			sent:     map[protoreflect.FullName]bool{},
			answered: map[protoreflect.FullName]bool{},
		},
		ids: map[string]bool{},
	}
	byHand := handWritten()
	var methods []route
	for _, sd := range services {
		text, err := contracts.comment(sd)
		if err != nil {
			return nil, err
		}
		b.tag(tagOf(sd), text)
		for i := range sd.Methods().Len() {
			md := sd.Methods().Get(i)
			r, ok, err := routeOf(md)
			if err != nil {
				return nil, err
			}
			if edit := byHand[md.FullName()]; edit != nil {
				delete(byHand, md.FullName())
				r, ok = edit(md), true
			}
			if !ok {
				continue
			}
			if !r.byHand() {
				mark(b.schemas.sent, md.Input())
			}
			mark(b.schemas.answered, md.Output())
			methods = append(methods, r)
		}
	}
	for name := range byHand {
		return nil, fmt.Errorf("there is no %s any more, which has a route written by hand", name)
	}
	for _, r := range methods {
		if err := b.add(r); err != nil {
			return nil, fmt.Errorf("%s: %w", r.rpc.FullName(), err)
		}
	}
	slices.SortStableFunc(b.schemas.named, func(x, y spec.Member[*spec.Schema]) int { return cmp.Compare(x.Name, y.Name) })
	b.doc.Components.Schemas = b.schemas.named
	return b.doc, nil
}

// tag adds what a service says of itself. The services of one package share a
// tag.
func (b *builder) tag(name, text string) {
	for i := range b.doc.Tags {
		if t := &b.doc.Tags[i]; t.Name == name {
			t.Description += " " + text
			return
		}
	}
	b.doc.Tags = append(b.doc.Tags, spec.Tag{Name: name, Description: text})
}

// servicesOf returns Stoa's services in the order of [tagOrder].
func servicesOf(files *protoregistry.Files) []protoreflect.ServiceDescriptor {
	var services []protoreflect.ServiceDescriptor
	files.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Services().Len() {
			if strings.HasPrefix(string(fd.Package()), "stoa.") {
				services = append(services, fd.Services().Get(i))
			}
		}
		return true
	})
	place := func(sd protoreflect.ServiceDescriptor) int {
		if i := slices.Index(tagOrder, tagOf(sd)); i >= 0 {
			return i
		}
		return len(tagOrder)
	}
	slices.SortFunc(services, func(x, y protoreflect.ServiceDescriptor) int {
		return cmp.Or(cmp.Compare(place(x), place(y)), cmp.Compare(x.FullName(), y.FullName()))
	})
	return services
}

// tagOf returns "courses" of "stoa.courses.v1.CoursesService".
func tagOf(sd protoreflect.ServiceDescriptor) string {
	return strings.Split(string(sd.FullName()), ".")[1]
}

// add puts an operation into its path.
func (b *builder) add(r route) error {
	op, err := b.operation(r)
	if err != nil {
		return err
	}
	if b.ids[op.OperationID] {
		return errors.New("another RPC has the same name")
	}
	b.ids[op.OperationID] = true
	method := strings.ToLower(r.method)
	for i := range b.doc.Paths {
		if at := &b.doc.Paths[i]; at.Name == r.path {
			if _, ok := at.Value.Get(method); ok {
				return fmt.Errorf("%s %s stands twice", r.method, r.path)
			}
			at.Value.Add(method, op)
			return nil
		}
	}
	b.doc.Paths.Add(r.path, spec.PathItem{{Name: method, Value: op}})
	return nil
}
