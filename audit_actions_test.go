package stoa_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestActionsAreDocumented holds the table of docs/audit.md to the actions that
// the services record.
func TestActionsAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if first, _, ok := strings.Cut(strings.TrimPrefix(line, "|"), "|"); ok && strings.HasPrefix(line, "| `") {
			for _, m := range regexp.MustCompile("`([a-z_]+\\.[a-z_]+)`").FindAllStringSubmatch(first, -1) {
				documented[m[1]] = true
			}
		}
	}
	found := map[string]bool{}
	for _, f := range repository(t) {
		if f.test || !strings.HasPrefix(f.pkg, "internal/service/") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			kv, ok := n.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			key, _ := kv.Key.(*ast.Ident)
			lit, _ := kv.Value.(*ast.BasicLit)
			if key == nil || key.Name != "Action" {
				return true
			}
			if _, together := kv.Value.(*ast.BinaryExpr); together {
				return true // one that is put together is in the table by its states
			}
			if lit == nil {
				if f.pkg != "internal/service/audit" { // which only hands on what others recorded
					t.Errorf("%s records an action that can't be read off the code: write it out where it is decided", f.path)
				}
				return true
			}
			action, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			found[action] = true
			if !documented[action] {
				t.Errorf("%s records %q, which is not in the table of docs/audit.md", f.path, action)
			}
			return true
		})
	}
	if len(found) < 15 {
		t.Errorf("only %d actions were found", len(found))
	}
	for action := range documented {
		noun, _, _ := strings.Cut(action, ".")
		if !found[action] && noun != "order" && noun != "module" && noun != "lesson" && noun != "activity" { // whose states are put together
			t.Errorf("docs/audit.md has %q, which nothing records", action)
		}
	}
}
