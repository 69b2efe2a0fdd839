package courses

import "github.com/stoa-lms/stoa/internal/fault"

// Errors of archives, copies and templates.
var (
	ErrVersionNotFound = fault.New(fault.NotFound, "version.not_found", "No such version of this course was published.")
)
