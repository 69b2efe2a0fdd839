package release

import (
	"errors"
	"strconv"
	"strings"
)

// Percent is a percentage in ten-thousandths, so that decimals with four places
// are exact.
type Percent int64

const percentPlaces = 4

var errPercent = errors.New("release: not a decimal with at most 4 places")

// ParsePercent returns the percentage that a decimal such as "62.5" says.
func ParsePercent(text string) (Percent, error) {
	digits, negative := strings.CutPrefix(text, "-")
	whole, fraction, dotted := strings.Cut(digits, ".")
	if whole == "" || len(whole) > 12 || dotted && fraction == "" || len(fraction) > percentPlaces {
		return 0, errPercent
	}
	for _, c := range whole + fraction {
		if c < '0' || c > '9' {
			return 0, errPercent
		}
	}
	n, err := strconv.ParseInt(whole+fraction+strings.Repeat("0", percentPlaces-len(fraction)), 10, 64)
	if err != nil {
		return 0, errPercent
	}
	if negative {
		n = -n
	}
	return Percent(n), nil
}

// String returns the percentage as a decimal without needless zeros.
func (p Percent) String() string {
	sign := ""
	if p < 0 {
		sign, p = "-", -p
	}
	text := sign + strconv.FormatInt(int64(p)/10_000, 10)
	if rest := int64(p) % 10_000; rest > 0 {
		text += "." + strings.TrimRight(strconv.FormatInt(10_000+rest, 10)[1:], "0")
	}
	return text
}
