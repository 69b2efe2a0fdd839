package courses

// CourseOwnerChanged is the handler of the event, for tests.
var CourseOwnerChanged = (*Service).courseOwnerChanged

// ServerSet are the fields of blocks that the server sets.
var ServerSet = serverSet
