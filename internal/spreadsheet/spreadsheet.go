// Package spreadsheet keeps texts of people from becoming formulas where a file of ours is
// opened by a spreadsheet (CWE-1236).
package spreadsheet

import "regexp"

// What is taken for a formula at the beginning of a cell; and within, behind what a
// spreadsheet takes for the end of a cell that is set to another separator than ours.
var (
	begins = regexp.MustCompile(`^(?:[\t\r\n]|[\s\x{a0}\x{3000}\x{feff}]*[=+\-@'|%＝＋－＠])`)
	within = regexp.MustCompile(`[;\t][\s"]*[=+\-@|%＝＋－＠]`)
)

// Harmless returns a text that no spreadsheet takes for a formula: with a ' in front of
// what would be one. Who reads it again takes it off.
func Harmless(text string) string {
	text = within.ReplaceAllStringFunc(text, func(s string) string { return s[:1] + "'" + s[1:] })
	if begins.MatchString(text) {
		return "'" + text
	}
	return text
}
