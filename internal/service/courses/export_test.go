package courses

// CourseOwnerChanged is the handler of the event, for tests.
var CourseOwnerChanged = (*Service).courseOwnerChanged

// RunImports works on imports until none is due, for tests.
var RunImports = (*Service).runImports

// SweepClaims is a part of Tidy, for tests.
var SweepClaims = (*Service).sweepClaims
