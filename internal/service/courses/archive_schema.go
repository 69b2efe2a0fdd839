package courses

import (
	"fmt"
	"slices"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/stoa-lms/stoa/internal/auth/authpb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// archived are the JSON files of an archive, and what none of them may lack
// beside what its message demands.
var archived = []struct {
	file     string
	message  proto.Message
	demanded []string
}{
	{manifestFile, &coursespb.ArchiveManifest{}, []string{"files"}},
	{courseFile, &coursespb.ArchiveCourse{}, []string{"title", "language", "level", "time_zone"}},
	{mediaFile, &coursespb.ArchiveMedia{}, nil},
	{moduleFile, &coursespb.ArchiveModule{}, []string{"id", "title"}},
	{lessonFile, &coursespb.ArchiveLesson{}, []string{"id", "title"}},
	{activityFile, &coursespb.ArchiveActivity{}, []string{"id", "kind", "title"}},
	{"category.json", &assessmentpb.CarriedCategory{}, nil},
	{"question.json", &assessmentpb.CarriedQuestion{}, nil},
	{"rubric.json", &assessmentpb.CarriedRubric{}, nil},
	{"quiz.json", &assessmentpb.CarriedQuiz{}, nil},
	{"assignment.json", &assessmentpb.CarriedAssignment{}, nil},
}

// apart are the texts of blocks, which are in files beside.
var apart = map[protoreflect.FullName]bool{
	"stoa.courses.v1.MarkdownBlock.text":    true,
	"stoa.courses.v1.HtmlBlock.source":      true,
	"stoa.courses.v1.CodeBlock.source":      true,
	"stoa.courses.v1.CalloutBlock.text":     true,
	"stoa.courses.v1.VideoBlock.transcript": true,
	"stoa.courses.v1.AudioBlock.transcript": true,
}

// archiveSchema returns the JSON Schema of the files of an archive.
func archiveSchema() (*structpb.Struct, error) {
	g := &archiveSchemas{defs: map[string]any{}, names: map[string]protoreflect.FullName{}}
	var files []any
	for _, a := range archived {
		name, err := g.message(a.message.ProtoReflect().Descriptor(), a.demanded)
		if err != nil {
			return nil, err
		}
		g.defs[a.file] = map[string]any{"$ref": "#/$defs/" + name}
		files = append(files, map[string]any{"$ref": "#/$defs/" + name})
	}
	return structpb.NewStruct(map[string]any{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"title":       "The JSON files of an archive of a course",
		"description": "Each file is held to the schema of its name in $defs; those in categories, questions, rubrics, quizzes and assignments to category.json, question.json, rubric.json, quiz.json and assignment.json. What names something names it as it is called within the archive.",
		"anyOf":       files,
		"$defs":       g.defs,
	})
}

type archiveSchemas struct {
	defs  map[string]any
	names map[string]protoreflect.FullName // of messages, by those in defs
}

// message adds the schema of a message and of those in it, and returns its name.
func (g *archiveSchemas) message(md protoreflect.MessageDescriptor, demanded []string) (string, error) {
	name := string(md.Name())
	if of := g.names[name]; of != "" && of != md.FullName() {
		name = string(md.FullName())
	}
	if g.defs[name] != nil {
		return name, nil
	}
	g.names[name] = md.FullName()
	properties := map[string]any{}
	schema := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	g.defs[name] = schema // before those in it: rules are in rules
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		if serverSet[fd.FullName()] || fd.FullName() == "stoa.courses.v1.Question.answer_html" || fd.FullName() == "stoa.courses.v1.ItemSettings.clear" {
			continue
		}
		property, err := g.field(fd)
		if err != nil {
			return "", err
		}
		properties[string(fd.Name())] = property
	}
	for i := range md.Oneofs().Len() {
		o := md.Oneofs().Get(i)
		if o.IsSynthetic() {
			continue
		}
		var one []any
		for j := range o.Fields().Len() {
			one = append(one, map[string]any{"required": []any{string(o.Fields().Get(j).Name())}})
		}
		schema["oneOf"] = one
	}
	lacks, err := demandedOf(md)
	if err != nil {
		return "", err
	}
	required := []any{}
	for _, field := range append(lacks, anyOf(demanded)...) {
		f, _ := field.(string)
		if fd := md.Fields().ByName(protoreflect.Name(f)); fd != nil && !apart[fd.FullName()] && !slices.Contains(required, field) {
			required = append(required, field)
		}
	}
	if len(required) > 0 {
		schema["required"] = required
	}
	return name, nil
}

func anyOf(words []string) []any {
	out := make([]any, len(words))
	for i, w := range words {
		out[i] = w
	}
	return out
}

// field describes a field: its type, and the limits that its contract names.
func (g *archiveSchemas) field(fd protoreflect.FieldDescriptor) (map[string]any, error) {
	one := map[string]any{}
	switch fd.Kind() {
	case protoreflect.BoolKind:
		one["type"] = "boolean"
	case protoreflect.StringKind:
		one["type"] = "string"
	case protoreflect.Int32Kind, protoreflect.Int64Kind:
		one["type"] = "integer"
	case protoreflect.MessageKind:
		if fd.Message().FullName() == "google.protobuf.Timestamp" {
			one["type"], one["format"] = "string", "date-time"
			break
		}
		name, err := g.message(fd.Message(), nil)
		if err != nil {
			return nil, err
		}
		one["$ref"] = "#/$defs/" + name
	default:
		return nil, fmt.Errorf("%s: a field of type %s can't be told", fd.FullName(), fd.Kind())
	}
	schema := one
	if fd.IsList() {
		schema = map[string]any{"type": "array", "items": one}
	}
	rules, _ := proto.GetExtension(fd.Options(), validate.E_Field).(*validate.FieldRules)
	if rules == nil {
		return schema, nil
	}
	kind, _ := proto.GetExtension(fd.Options(), authpb.E_Id).(string)
	switch {
	case rules.GetString().HasConst():
		schema["const"] = rules.GetString().GetConst()
	case rules.GetInt64().HasGte():
		schema["minimum"] = rules.GetInt64().GetGte()
	case apart[fd.FullName()], kind == "course":
		// Its limits are those of a text in a file, or an id that stays one.
	default:
		return schema, limit(schema, rules.ProtoReflect(), "")
	}
	return schema, nil
}
