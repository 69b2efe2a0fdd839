package edge

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/stoa-lms/stoa/internal/openapi/spec"
)

// docsPage shows the OpenAPI document to people.
func (e *Edge) docsPage(w http.ResponseWriter, r *http.Request) {
	page, err := docs()
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "max-age=300")
	_, _ = w.Write(page)
}

// docs is the page, made once because it takes ten milliseconds.
var docs = sync.OnceValues(func() ([]byte, error) {
	d, err := spec.Decode(openAPIDocument)
	if err != nil {
		return nil, err
	}
	return docsOf(d)
})

func docsOf(d *spec.Document) ([]byte, error) {
	var buf bytes.Buffer
	if err := pages.ExecuteTemplate(&buf, "docs.html", viewOf(d)); err != nil {
		return nil, fmt.Errorf("edge: docs: %w", err)
	}
	return buf.Bytes(), nil
}

// docsView is the document as its page shows it. Texts are runs, so that what
// stands between backticks becomes code.
type docsView struct {
	MaxBody int // in MiB
	Groups  []docsGroup
	Usual   []docsResponse // errors that many operations have
	Schemas []docsSchema
}

type docsGroup struct {
	Name, Title string
	Text        []run
	Operations  []docsOperation
}

type docsOperation struct {
	ID, Method, Path, Summary string
	Text, Who                 []run
	Parameters                []docsField
	Body                      []docsField
	BodyText                  []run
	BodyRequired              bool
	Answers                   []docsResponse // of success
	Errors                    []docsResponse // of its own
	Usual                     []string       // statuses of the usual errors
}

type docsField struct {
	Name, Where        string
	Type               []run
	Schema             string // what the type is made of, to link to
	Required, ReadOnly bool
	Text, Limits       []run
}

type docsResponse struct {
	Status  string
	Text    []run
	Schema  string
	Headers []string
	Errors  []docsError
}

type docsError struct {
	Code string
	When []run
}

type docsSchema struct {
	Name   string
	Text   []run
	OneOf  bool
	Fields []docsField
}

// run is a piece of a text.
type run struct {
	Text string
	Code bool
}

// runs cuts a text at its backticks.
func runs(text string) []run {
	var out []run
	for i, part := range strings.Split(text, "`") {
		if part != "" {
			out = append(out, run{part, i%2 == 1})
		}
	}
	return out
}

func viewOf(d *spec.Document) *docsView {
	v := &docsView{MaxBody: maxBody >> 20}
	usual := map[spec.Error]bool{}
	for _, r := range d.Components.Responses {
		for _, e := range r.Value.Errors {
			usual[e] = true
		}
	}
	v.Usual = usualErrors(d)
	groups := map[string]int{}
	for i, t := range d.Tags {
		groups[t.Name] = i
		v.Groups = append(v.Groups, docsGroup{Name: t.Name, Title: strings.ToUpper(t.Name[:1]) + t.Name[1:], Text: runs(t.Description)})
	}
	bodies := map[string]bool{}
	for _, path := range d.Paths {
		for _, op := range path.Value {
			shown := operationView(d, strings.ToUpper(op.Name), path.Name, op.Value, usual)
			if body := op.Value.RequestBody; body != nil {
				for _, form := range body.Content {
					if form.Value.Schema != nil {
						bodies[spec.RefName(form.Value.Schema.Ref)] = true
					}
				}
			}
			g := &v.Groups[groups[op.Value.Tags[0]]]
			g.Operations = append(g.Operations, shown)
		}
	}
	for _, s := range d.Components.Schemas {
		if !bodies[s.Name] { // a body is shown with its operation
			v.Schemas = append(v.Schemas, docsSchema{
				Name: s.Name, Text: runs(s.Value.Description), OneOf: len(s.Value.OneOf) > 0, Fields: fieldViews(s.Value),
			})
		}
	}
	return v
}

func operationView(d *spec.Document, method, path string, op *spec.Operation, usual map[spec.Error]bool) docsOperation {
	v := docsOperation{
		ID: op.OperationID, Method: method, Path: path, Summary: op.Summary,
		Who: runs(whoMay(op)),
	}
	if op.Description != op.Summary+"." {
		v.Text = runs(op.Description)
	}
	for _, p := range op.Parameters {
		if p = d.Parameter(p); p != nil {
			f := fieldView(p.Name, p.Schema, p.Required)
			f.Where, f.Text = p.In, runs(p.Description)
			v.Parameters = append(v.Parameters, f)
		}
	}
	if op.RequestBody != nil {
		v.BodyRequired = op.RequestBody.Required
		for _, form := range op.RequestBody.Content {
			v.BodyText = runs(strings.TrimSpace(op.RequestBody.Description + " `" + form.Name + "`"))
			if form.Value.Schema != nil {
				if s, ok := d.Components.Schemas.Get(spec.RefName(form.Value.Schema.Ref)); ok {
					v.Body = fieldViews(s)
					if len(s.OneOf) > 0 {
						v.BodyText = append(v.BodyText, runs(" with exactly one of the fields that are not required")...)
					}
				}
			}
		}
	}
	for _, member := range op.Responses {
		r := d.Response(member.Value)
		if r == nil {
			continue
		}
		shown := responseView(member.Name, r)
		if len(r.Errors) == 0 {
			v.Answers = append(v.Answers, shown)
			continue
		}
		shown.Errors = nil
		for _, e := range r.Errors {
			if !usual[e] {
				shown.Errors = append(shown.Errors, docsError{e.Code, runs(e.When)})
			}
		}
		if len(shown.Errors) > 0 {
			v.Errors = append(v.Errors, shown)
		}
		if len(shown.Errors) < len(r.Errors) {
			v.Usual = append(v.Usual, member.Name)
		}
	}
	return v
}

// whoMay says in words what a rule demands.
func whoMay(op *spec.Operation) string {
	p := op.Permission
	nobody := slices.ContainsFunc(op.Security, func(s spec.Security) bool { return len(s) == 0 })
	switch {
	case p.Scope == "public":
		return "Anybody."
	case p.Scope == "self":
		return "Whoever is signed in, for what is their own."
	case p.Scope == "platform":
		return "Who holds `" + p.Permission + "` on the platform."
	case p.Deferred:
		return "Who holds `" + p.Permission + "` on the course; everybody, where the thing itself is open to all."
	case nobody:
		return "Who holds `" + p.Permission + "` on the course: everybody, once it is published."
	default:
		return "Who holds `" + p.Permission + "` on the course."
	}
}

// usualErrors gathers the shared answers by their status.
func usualErrors(d *spec.Document) []docsResponse {
	var out []docsResponse
	for _, member := range d.Components.Responses {
		title, _, _ := strings.Cut(member.Value.Description, ":")
		for _, path := range d.Paths {
			for _, op := range path.Value {
				for _, r := range op.Value.Responses {
					if spec.RefName(r.Value.Ref) != member.Name {
						continue
					}
					i := slices.IndexFunc(out, func(o docsResponse) bool { return o.Status == r.Name })
					if i < 0 {
						i, out = len(out), append(out, docsResponse{Status: r.Name, Text: runs(title)})
					}
					for _, e := range member.Value.Errors {
						if !slices.ContainsFunc(out[i].Errors, func(o docsError) bool { return o.Code == e.Code }) {
							out[i].Errors = append(out[i].Errors, docsError{e.Code, runs(e.When)})
						}
					}
				}
			}
		}
	}
	slices.SortStableFunc(out, func(x, y docsResponse) int { return cmp.Compare(x.Status, y.Status) })
	return out
}

func responseView(status string, r *spec.Response) docsResponse {
	v := docsResponse{Status: status, Text: runs(r.Description)}
	for _, form := range r.Content {
		if form.Value.Schema != nil {
			v.Schema = spec.RefName(form.Value.Schema.Ref)
		}
	}
	for _, h := range r.Headers {
		v.Headers = append(v.Headers, h.Name)
	}
	return v
}

func fieldViews(s *spec.Schema) []docsField {
	out := make([]docsField, 0, len(s.Properties))
	for _, p := range s.Properties {
		out = append(out, fieldView(p.Name, p.Value, slices.Contains(s.Required, p.Name)))
	}
	return out
}

func fieldView(name string, s *spec.Schema, required bool) docsField {
	f := docsField{
		Name: name, Required: required, ReadOnly: s.ReadOnly, Text: runs(s.Description),
		Type: runs(typeOf(s)), Limits: runs(strings.Join(limitsOf(s), "; ")),
	}
	one := s
	if s.Items != nil {
		one = s.Items
	}
	if one.Ref != "" {
		f.Schema = spec.RefName(one.Ref)
	}
	return f
}

var idPattern = regexp.MustCompile(`^\^\(?([a-z_]+)_\[0-7\]`)

// typeOf names a type; of what is made of a schema it says only whether it is
// many, because the schema is linked to.
func typeOf(s *spec.Schema) string {
	switch {
	case s.Items != nil:
		return strings.TrimSpace("list of " + typeOf(s.Items))
	case s.Ref != "":
		return ""
	case idPattern.MatchString(s.Pattern):
		return "id, `" + idPattern.FindStringSubmatch(s.Pattern)[1] + "_…`"
	case s.Type == "":
		return "anything"
	case s.Format == "" || s.Format == "int32":
		return s.Type
	case s.Type == "string":
		return s.Format
	default:
		return s.Type + ", " + s.Format
	}
}

// limitsOf says in words what a value must keep to.
func limitsOf(s *spec.Schema) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	between(add, s.MinLength, s.MaxLength, "characters")
	between(add, s.MinItems, s.MaxItems, "entries")
	between(add, s.Minimum, s.Maximum, "")
	if s.UniqueItems {
		add("each once")
	}
	if len(s.Enum) > 0 {
		values := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			if values[i] = "`" + v + "`"; v == "" {
				values[i] = "empty"
			}
		}
		add("one of %s", strings.Join(values, ", "))
	}
	if s.Const != "" {
		add("always `%s`", s.Const)
	}
	if s.Pattern != "" && !idPattern.MatchString(s.Pattern) {
		add("matches `%s`", s.Pattern)
	}
	if s.Items != nil {
		for _, l := range limitsOf(s.Items) {
			add("each %s", l)
		}
	}
	return out
}

func between[N uint64 | int64](add func(string, ...any), least, most *N, what string) {
	if what != "" {
		what = " " + what
	}
	switch {
	case least != nil && most != nil:
		add("%d to %d%s", *least, *most, what)
	case least != nil:
		add("at least %d%s", *least, what)
	case most != nil:
		add("at most %d%s", *most, what)
	}
}
