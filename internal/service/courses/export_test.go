package courses

// CourseOwnerChanged is the handler of the event, for tests.
var CourseOwnerChanged = (*Service).courseOwnerChanged
