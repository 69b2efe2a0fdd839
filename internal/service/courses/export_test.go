package courses

// CourseOwnerChanged is the handler of the event, for tests.
var CourseOwnerChanged = (*Service).courseOwnerChanged

// CohortChanged and CohortMembershipChanged are handlers of events, for tests.
var (
	CohortChanged           = (*Service).cohortChanged
	CohortMembershipChanged = (*Service).cohortMembershipChanged
)
