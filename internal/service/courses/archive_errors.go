package courses

import "github.com/stoa-lms/stoa/internal/fault"

// Errors of archives, copies and templates.
var (
	ErrArchiveMedia    = fault.New(fault.Conflict, "course_archive.media", "Files that the course shows are missing or not ready. Put that right, and export it then.")
	ErrArchiveChanged  = fault.New(fault.Conflict, "course_archive.changed", "Captions were changed while the course was exported. Export it again.")
	ErrArchiveTooLarge = fault.New(fault.Invalid, "course_archive.too_large", "The course has more texts and files than an archive takes. Make two courses of it.")

	ErrImportNotFound   = fault.New(fault.NotFound, "course_import.not_found", "There is no such import of yours.")
	ErrImportEmpty      = fault.New(fault.Invalid, "course_import.empty", "The archive is empty.")
	ErrArchiveRefused   = fault.New(fault.Invalid, "course_import.refused", "The archive is not accepted as it is.")
	ErrNotArchive       = fault.New(fault.Invalid, "course_import.not_archive", "This is no ZIP file.")
	ErrTooManyImports   = fault.New(fault.Exhausted, "course_import.too_many", "You have %d imports that are not finished, or send %d at a time. Wait for one of them.", maxImports, maxReceived)
	ErrImportNoRoom     = fault.New(fault.Unavailable, "course_import.no_room", "There is no room for the archive now. Try again later.")
	ErrMediaNotReady    = fault.New(fault.Conflict, "media.not_ready", "The file is still being looked at.")
	ErrTemplateNotFound = fault.New(fault.NotFound, "template.not_found", "There is no such template.")
	ErrTemplateShown    = fault.New(fault.Conflict, "template.published", "A template is never published. Take the course out of the marketplace first, or make a copy of it and mark that.")
	ErrIsTemplate       = fault.New(fault.Conflict, "course.is_template", "A template is never published. Make a course of it, or unmark it first.")
	ErrNoDates          = fault.New(fault.Invalid, "course_copy.no_dates", "The course names no dates. Leave new_start out.")
)
