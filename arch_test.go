// Package stoa holds the rules of the repository as tests.
package stoa_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/stoa-lms/stoa/"

// file is a parsed Go file of the repository.
type file struct {
	path    string // relative, with slashes
	pkg     string // the folder
	test    bool
	imports []string // inside the module, without its prefix
	doc     bool
}

// repository parses every Go file; asking the go command would let the test
// cache answer for files that have changed since.
func repository(t *testing.T) []file {
	t.Helper()
	var files []file
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); p != "." && (strings.HasPrefix(name, ".") || name == "bin" || name == "node_modules" || name == "stoa-data" || name == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		f := file{path: filepath.ToSlash(p), pkg: path.Dir(filepath.ToSlash(p)), test: strings.HasSuffix(p, "_test.go"), doc: documented(parsed)}
		for _, imp := range parsed.Imports {
			target, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return err
			}
			if inner, ok := strings.CutPrefix(target, module); ok {
				f.imports = append(f.imports, inner)
			}
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("only %d files found: the test must run at the root", len(files))
	}
	return files
}

func documented(f *ast.File) bool { return f.Doc != nil && len(strings.TrimSpace(f.Doc.Text())) > 0 }

// serviceOf returns the service that a folder belongs to, and whether it is the
// service's contract.
func serviceOf(pkg string) (name string, contract bool) {
	rest, ok := strings.CutPrefix(pkg, "internal/service/")
	if !ok {
		return "", false
	}
	name, sub, _ := strings.Cut(rest, "/")
	return name, sub == name+"pb"
}

func TestImports(t *testing.T) {
	t.Parallel()
	for _, f := range repository(t) {
		from, fromContract := serviceOf(f.pkg)
		for _, imp := range f.imports {
			to, toContract := serviceOf(imp)
			switch {
			case fromContract && (from == "courses" || from == "assessment") && to == "media" && toContract:
				// A lesson, and what was handed in, tells all that media tells of its files.
			case fromContract && to != "":
				t.Errorf("%s: a contract imports the service %s; contracts are leaves", f.path, to)
			case from != "" && to != "" && from != to && !toContract:
				t.Errorf("%s: the service %s imports %s of the service %s; only its contract may be imported", f.path, from, imp, to)
			case from == "" && to != "" && !toContract && !mayKnowServices(f.pkg) && (f.pkg != "internal/demo" || !f.test): // whose tests run the platform
				t.Errorf("%s: a library imports the service %s", f.path, to)
			case from == "" && to != "" && toContract && !mayKnowContracts(f.pkg) && !f.test:
				t.Errorf("%s: a library imports the contract of %s", f.path, to)
			case imp == "internal/app" && !strings.HasPrefix(f.pkg, "cmd/") && f.pkg != "internal/app" && !f.test:
				t.Errorf("%s: only commands import app", f.path)
			case !f.test && !forTests(f.pkg) && forTests(imp):
				t.Errorf("%s: production code imports %s, which is for tests", f.path, imp)
			}
		}
	}
}

// mayKnowServices: app puts them together, the commands ask some of them.
func mayKnowServices(pkg string) bool {
	return pkg == "internal/app" || strings.HasPrefix(pkg, "cmd/") || strings.HasPrefix(pkg, "test/") || strings.HasPrefix(pkg, "bench")
}

func mayKnowContracts(pkg string) bool {
	return mayKnowServices(pkg) || pkg == "internal/demo" || pkg == "internal/openapi" || pkg == "."
}

func forTests(pkg string) bool {
	return strings.HasSuffix(pkg, "test") || pkg == "internal/testserver" || pkg == "cmd/testservers" || strings.HasPrefix(pkg, "test/") || strings.HasPrefix(pkg, "bench")
}

// TestCallsHaveNoCycle: who calls whom is read off the clients that a service
// holds. The edge calls everybody and nobody calls it.
func TestCallsHaveNoCycle(t *testing.T) {
	t.Parallel()
	client := regexp.MustCompile(`(\w+)pb\.\w+ServiceClient\b`)
	calls := map[string]map[string]bool{}
	for _, f := range repository(t) {
		from, contract := serviceOf(f.pkg)
		if from == "" || contract || f.test {
			continue
		}
		text, err := os.ReadFile(f.path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range client.FindAllStringSubmatch(string(text), -1) {
			if calls[from] == nil {
				calls[from] = map[string]bool{}
			}
			calls[from][m[1]] = true
		}
	}
	if !calls["edge"]["courses"] && !calls["edge"]["identity"] {
		t.Fatal("no call of the edge was found: the test reads nothing")
	}
	var visit func(at string, trail []string)
	visit = func(at string, trail []string) {
		if slices.Contains(trail, at) {
			t.Fatalf("services call each other in a circle: %s", strings.Join(append(trail, at), " → "))
		}
		for _, to := range slices.Sorted(maps.Keys(calls[at])) {
			visit(to, append(slices.Clone(trail), at))
		}
	}
	for from := range calls {
		visit(from, nil)
	}
}

func TestPackagesAreDocumented(t *testing.T) {
	t.Parallel()
	docs := map[string]bool{}
	for _, f := range repository(t) {
		if f.test || strings.HasSuffix(f.path, ".pb.go") || strings.HasSuffix(f.path, ".pb.gw.go") {
			continue
		}
		docs[f.pkg] = docs[f.pkg] || f.doc
	}
	for pkg, ok := range docs {
		if !ok {
			t.Errorf("%s has no package comment", pkg)
		}
	}
}

// TestServiceComments: the comment of a service answers what it owns, what it
// answers, what it sends, what it hears and whom it calls.
func TestServiceComments(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir("internal/service")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		// What others hear may be agreed on before who says it is there.
		if code, err := filepath.Glob(filepath.Join("internal/service", name, "*.go")); err != nil || len(code) == 0 {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("internal/service", name, name+".go"), nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text := strings.ToLower(parsed.Doc.Text())
		at := 0
		for _, word := range []string{"own", "answer", "send", "hear", "call"} {
			i := strings.Index(text[at:], word)
			if i < 0 {
				t.Errorf("%s: the package comment does not say, in its place, what it %ss", name, word)
				break
			}
			at += i
		}
	}
}

// TestNothingIsSkipped: a missing server fails a test and says how to start it.
func TestNothingIsSkipped(t *testing.T) {
	t.Parallel()
	skip := regexp.MustCompile(`\b[tb]\.Skip(f|Now)?\(`)
	for _, f := range repository(t) {
		if !f.test || f.path == "arch_test.go" {
			continue
		}
		text, err := os.ReadFile(f.path)
		if err != nil {
			t.Fatal(err)
		}
		if skip.Match(text) {
			t.Errorf("%s skips", f.path)
		}
	}
}

// TestUnracedAreKnown: what the race detector leaves out is there, and is run without it.
func TestUnracedAreKnown(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, names, _ := strings.Cut(strings.ReplaceAll(string(text), "\\\n", ""), "\nUNRACED := ")
	names, _, _ = strings.Cut(names, "\n")
	unknown := map[string]bool{}
	for name := range strings.FieldsSeq(names) {
		unknown[name] = true
	}
	if len(unknown) == 0 {
		t.Fatal("the Makefile leaves nothing out")
	}
	test := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, f := range repository(t) {
		if !f.test {
			continue
		}
		text, err := os.ReadFile(f.path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range test.FindAllSubmatch(text, -1) {
			delete(unknown, string(m[1]))
		}
	}
	for name := range unknown {
		t.Errorf("there is no test %s", name)
	}
}
