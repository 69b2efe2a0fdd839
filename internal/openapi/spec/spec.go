// Package spec holds an OpenAPI 3.1 document: the part of the format that Stoa's
// own document uses, with Stoa's extensions. It is written by the generator in
// the folder above and read by the page that shows it. What stands in an order
// keeps it.
package spec

import "strings"

// Document is a whole document.
type Document struct {
	OpenAPI    string        `json:"openapi"`
	Info       Info          `json:"info"`
	Servers    []Server      `json:"servers"`
	Tags       []Tag         `json:"tags"`
	Paths      Map[PathItem] `json:"paths"`
	Components Components    `json:"components"`
}

// Info says what the document describes.
type Info struct {
	Title       string  `json:"title"`
	Summary     string  `json:"summary"`
	Version     string  `json:"version"`
	Description string  `json:"description"`
	License     License `json:"license"`
}

// License is what the interface is given out under.
type License struct {
	Name       string `json:"name"`
	Identifier string `json:"identifier"`
}

// Server is where the interface is.
type Server struct {
	URL         string `json:"url"`
	Description string `json:"description"`
}

// Tag is a group of operations: those of one service.
type Tag struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// PathItem holds the operations of a path by their methods in lower case.
type PathItem = Map[*Operation]

// Operation is one thing that can be asked for.
type Operation struct {
	OperationID string         `json:"operationId"`
	Tags        []string       `json:"tags"`
	Summary     string         `json:"summary"`
	Description string         `json:"description"`
	Permission  Permission     `json:"x-permission"`
	Security    []Security     `json:"security"`
	Parameters  []*Parameter   `json:"parameters,omitempty"`
	RequestBody *RequestBody   `json:"requestBody,omitempty"`
	Responses   Map[*Response] `json:"responses"`
}

// Permission is what an operation demands of its caller.
type Permission struct {
	// Scope is public, self, platform or course.
	Scope string `json:"scope"`
	// Permission is demanded on the platform or on the course of the path.
	Permission string `json:"permission,omitempty"`
	// Deferred is true where the answer depends on the thing itself as well.
	Deferred bool `json:"deferred,omitempty"`
}

// Security is one way to be let in; an empty one is to come as nobody.
type Security map[string][]string

// Parameter stands in the path, the query or a header.
type Parameter struct {
	Ref         string  `json:"$ref,omitempty"`
	Name        string  `json:"name,omitempty"`
	In          string  `json:"in,omitempty"`
	Required    bool    `json:"required,omitempty"`
	Description string  `json:"description,omitempty"`
	Schema      *Schema `json:"schema,omitempty"`
}

// RequestBody is what is sent.
type RequestBody struct {
	Description string         `json:"description,omitempty"`
	Required    bool           `json:"required,omitempty"`
	Content     Map[MediaType] `json:"content"`
}

// MediaType is the form of a body.
type MediaType struct {
	Schema *Schema `json:"schema,omitempty"`
}

// Response is one answer.
type Response struct {
	Ref         string         `json:"$ref,omitempty"`
	Description string         `json:"description,omitempty"`
	Headers     Map[*Header]   `json:"headers,omitempty"`
	Content     Map[MediaType] `json:"content,omitempty"`
	Errors      []Error        `json:"x-errors,omitempty"`
}

// Error is a stable code that an answer may carry.
type Error struct {
	Code string `json:"code"`
	When string `json:"when,omitempty"`
}

// Header is a header of an answer.
type Header struct {
	Ref         string  `json:"$ref,omitempty"`
	Description string  `json:"description,omitempty"`
	Schema      *Schema `json:"schema,omitempty"`
}

// Components are what is named once and referred to.
type Components struct {
	Schemas         Map[*Schema]        `json:"schemas"`
	Parameters      Map[*Parameter]     `json:"parameters"`
	Headers         Map[*Header]        `json:"headers"`
	Responses       Map[*Response]      `json:"responses"`
	SecuritySchemes Map[SecurityScheme] `json:"securitySchemes"`
}

// SecurityScheme is a way to say who calls.
type SecurityScheme struct {
	Type        string `json:"type"`
	Scheme      string `json:"scheme,omitempty"`
	In          string `json:"in,omitempty"`
	Name        string `json:"name,omitempty"`
	Description string `json:"description"`
}

// Schema is the form of a value.
type Schema struct {
	Ref         string       `json:"$ref,omitempty"`
	Type        string       `json:"type,omitempty"`
	Format      string       `json:"format,omitempty"`
	Description string       `json:"description,omitempty"`
	ReadOnly    bool         `json:"readOnly,omitempty"`
	Const       string       `json:"const,omitempty"`
	Enum        []string     `json:"enum,omitempty"`
	Pattern     string       `json:"pattern,omitempty"`
	MinLength   *uint64      `json:"minLength,omitempty"`
	MaxLength   *uint64      `json:"maxLength,omitempty"`
	Minimum     *int64       `json:"minimum,omitempty"`
	Maximum     *int64       `json:"maximum,omitempty"`
	Items       *Schema      `json:"items,omitempty"`
	MinItems    *uint64      `json:"minItems,omitempty"`
	MaxItems    *uint64      `json:"maxItems,omitempty"`
	UniqueItems bool         `json:"uniqueItems,omitempty"`
	Properties  Map[*Schema] `json:"properties,omitempty"`
	Required    []string     `json:"required,omitempty"`
	OneOf       []*Schema    `json:"oneOf,omitempty"`
	// AdditionalProperties is false where what is not known is refused.
	AdditionalProperties *bool    `json:"additionalProperties,omitempty"`
	Examples             []string `json:"examples,omitempty"`
}

// RefName returns the last part of a reference: "Course" of
// "#/components/schemas/Course".
func RefName(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

// Parameter returns p itself, or what it refers to; nil when that is not there.
func (d *Document) Parameter(p *Parameter) *Parameter {
	if p.Ref == "" {
		return p
	}
	found, _ := d.Components.Parameters.Get(RefName(p.Ref))
	return found
}

// Response returns r itself, or what it refers to; nil when that is not there.
func (d *Document) Response(r *Response) *Response {
	if r.Ref == "" {
		return r
	}
	found, _ := d.Components.Responses.Get(RefName(r.Ref))
	return found
}
