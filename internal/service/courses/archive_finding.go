package courses

import "github.com/stoa-lms/stoa/internal/service/courses/coursespb"

// maxReported bounds how many findings a report has, half of them warnings; all
// are counted.
const maxReported = 200

// findings are what was seen in an archive that is not as it should be.
type findings struct {
	list     []*coursespb.ArchiveFinding
	errors   int
	warnings int
}

// add notes something for which an archive is refused. path is that of the file,
// empty for all of them together.
func (f *findings) add(path, code, hint string) { f.addField(path, "", code, hint) }

// addField is add of a field in a file.
func (f *findings) addField(path, field, code, hint string) {
	f.errors++
	f.keep(&coursespb.ArchiveFinding{Severity: "error", Path: path, Field: field, Code: code, Hint: hint})
}

// warn notes something that is left out, or is to be looked at.
func (f *findings) warn(path, field, code, hint string) {
	if f.warnings++; f.warnings > maxReported/2 {
		return
	}
	f.keep(&coursespb.ArchiveFinding{Severity: "warning", Path: path, Field: field, Code: code, Hint: hint})
}

func (f *findings) keep(found *coursespb.ArchiveFinding) {
	if len(f.list) < maxReported {
		f.list = append(f.list, found)
	}
}

// first returns the first finding for which an archive is refused, nil without.
func (f *findings) first() *coursespb.ArchiveFinding {
	for _, found := range f.list {
		if found.GetSeverity() == "error" {
			return found
		}
	}
	return nil
}
