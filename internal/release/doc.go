// Package release evaluates the rules of when parts of a course are open and the
// moments by which they are due.
package release
