package courses

import (
	"slices"
	"strings"
)

// CohortChanged and CohortMembershipChanged are handlers of events, for tests.
var (
	CohortChanged           = (*Service).cohortChanged
	CohortMembershipChanged = (*Service).cohortMembershipChanged
)

// PublicationColumns are all columns of a publication that the code knows of.
func PublicationColumns() []string {
	return append(slices.Clone(notOfPublication), strings.Split(landingColumns, ", ")...)
}
