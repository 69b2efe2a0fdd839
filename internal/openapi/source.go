package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/scanner"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// source reads the comments of contracts from their files, because the
// descriptors that are linked into programs have lost them.
type source struct {
	root  string                                      // of the repository
	files map[string]map[protoreflect.FullName]string // path → thing → what stands above it
}

// comment returns what stands above d in its contract, as one paragraph.
func (s *source) comment(d protoreflect.Descriptor) (string, error) {
	path := d.ParentFile().Path()
	if s.files[path] == nil {
		text, err := os.ReadFile(filepath.Join(s.root, filepath.FromSlash(path)))
		if err != nil {
			return "", err
		}
		s.files[path] = comments(string(text))
	}
	if text := s.files[path][d.FullName()]; text != "" {
		return text, nil
	}
	return "", fmt.Errorf("%s has no comment in %s", d.FullName(), path)
}

// comments returns the comment right above each message, field, oneof, service
// and RPC of a contract, which the compiler has found to be well formed.
func comments(text string) map[protoreflect.FullName]string {
	var (
		found     = map[protoreflect.FullName]string{}
		scope     []string // package, then the names of blocks; empty for those that name nothing
		statement []string
		depth     int // of brackets within the statement
		above     []string
		last      int // line of the last token or comment
		s         scanner.Scanner
	)
	name := func(own string) protoreflect.FullName {
		outer := slices.DeleteFunc(slices.Clone(scope), func(part string) bool { return part == "" })
		return protoreflect.FullName(strings.Join(append(outer, own), "."))
	}
	s.Init(strings.NewReader(text))
	s.Mode = scanner.ScanIdents | scanner.ScanFloats | scanner.ScanStrings | scanner.ScanComments
	for tok := s.Scan(); tok != scanner.EOF; tok = s.Scan() {
		if len(statement) == 0 && s.Line > last+1 {
			above = nil
		}
		if tok == scanner.Comment {
			if len(statement) == 0 && s.Line > last {
				above = append(above, strings.Fields(strings.TrimPrefix(s.TokenText(), "//"))...)
			}
			last = s.Line
			continue
		}
		last = s.Line
		end := depth == 0 && (tok == ';' || tok == '{' && (len(statement) == 0 || statement[0] != "option"))
		switch {
		case end:
			own := named(statement)
			if own != "" && len(above) > 0 {
				found[name(own)] = strings.Join(above, " ")
			}
			switch {
			case tok == ';' && len(statement) > 1 && statement[0] == "package":
				scope = []string{strings.Join(statement[1:], "")}
			case tok == '{' && (statement[0] == "oneof" || statement[0] == "extend"):
				scope = append(scope, "") // what is in it is named by what is around it
			case tok == '{':
				scope = append(scope, own)
			}
			statement, above = nil, nil
		case depth == 0 && tok == '}':
			scope, above = scope[:len(scope)-1], nil
		default:
			depth += strings.Count("{[(", string(tok)) - strings.Count("}])", string(tok))
			statement = append(statement, s.TokenText())
		}
	}
	return found
}

// named returns the name that a statement gives to something.
func named(statement []string) string {
	if len(statement) < 2 {
		return ""
	}
	switch statement[0] {
	case "message", "service", "rpc", "oneof", "enum":
		return statement[1]
	case "option", "package", "syntax", "import", "reserved", "extend":
		return ""
	default:
		if i := slices.Index(statement, "="); i > 0 {
			return statement[i-1]
		}
		return ""
	}
}
