package courses_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compiled returns what holds a value to the schema of a file of archives.
func compiled(t *testing.T, schema map[string]any) func(file string, v any) error {
	t.Helper()
	text, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("archive.json", must(jsonschema.UnmarshalJSON(strings.NewReader(string(text))))); err != nil {
		t.Fatal(err)
	}
	files := map[string]*jsonschema.Schema{}
	for _, file := range []string{"stoa.json", "course.json", "media.json", "module.json", "lesson.json", "activity.json", "category.json", "question.json", "rubric.json", "quiz.json", "assignment.json"} {
		files[file] = must(c.Compile("archive.json#/$defs/" + file))
	}
	return func(file string, v any) error { return files[file].Validate(v) }
}
