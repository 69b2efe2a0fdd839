package stoa_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	requirement = regexp.MustCompile(`^\| (V\d+\.\d+\.\d+) \| ([12]) \| ([^|]+) \| ([^|]+) \| ?(.*)\|$`)
	named       = regexp.MustCompile("`([^`]+)`")
	linked      = regexp.MustCompile(`\]\(([^)]+)\)`)
	testName    = regexp.MustCompile(`^Test[A-Z]\w+$`)
	pathName    = regexp.MustCompile(`^(internal|deploy|test|cmd)/[\w./-]+$`)
)

// TestSecurityTable holds docs/security.md to what is there: every requirement
// once, with a state that is known, and every file and test that it names.
func TestSecurityTable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := testNames(t)
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		for _, m := range linked.FindAllStringSubmatch(line, -1) {
			if _, err := os.Stat(filepath.Join("docs", m[1])); err != nil {
				t.Errorf("docs/security.md links to %s, which is not there", m[1])
			}
		}
		for _, m := range named.FindAllStringSubmatch(line, -1) {
			if testName.MatchString(m[1]) && !tests[m[1]] {
				t.Errorf("there is no test %s: %s", m[1], line)
			}
			if pathName.MatchString(m[1]) {
				if _, err := os.Stat(m[1]); err != nil {
					t.Errorf("there is no %s: %s", m[1], line)
				}
			}
		}
		if !strings.HasPrefix(line, "| V") {
			continue
		}
		m := requirement.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("not read as a requirement: %s", line)
			continue
		}
		if seen[m[1]] {
			t.Errorf("%s comes twice", m[1])
		}
		seen[m[1]] = true
		switch m[4] {
		case "holds", "partly", "not yet", "none":
		default:
			t.Errorf("%s has the state %q", m[1], m[4])
		}
	}
	if len(seen) < 180 {
		t.Errorf("only %d requirements were found", len(seen))
	}
}

// testNames returns the names of all tests of the repository.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	names := map[string]bool{}
	for _, f := range repository(t) {
		if !f.test {
			continue
		}
		text, err := os.ReadFile(f.path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range function.FindAllStringSubmatch(string(text), -1) {
			names[m[1]] = true
		}
	}
	return names
}
