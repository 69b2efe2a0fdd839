// Package money knows the currencies that Stoa accepts and formats amounts in
// minor units for people.
package money

import (
	"fmt"
	"strings"
)

// currency is one that is accepted: the digits of its minor unit, by ISO 4217, and between
// what prices are, in minor units.
type currency struct {
	digits      int
	least, most int64
}

// currencies are those accepted. The least is what Stripe charges at least
// (docs.stripe.com/currencies, minimum charge amounts), or about as much where Stripe names
// none; the most is what 10,000 euros are, roughly.
var currencies = map[string]currency{
	"AUD": {2, 50, 1_000_000}, "BRL": {2, 50, 10_000_000}, "CAD": {2, 50, 1_000_000}, "CHF": {2, 50, 1_000_000},
	"CZK": {2, 1500, 50_000_000}, "DKK": {2, 250, 10_000_000}, "EUR": {2, 50, 1_000_000}, "GBP": {2, 30, 1_000_000},
	"HKD": {2, 400, 10_000_000}, "INR": {2, 50, 50_000_000}, "JPY": {0, 50, 1_000_000}, "KRW": {0, 1000, 10_000_000},
	"KWD": {3, 500, 10_000_000}, "MXN": {2, 1000, 10_000_000}, "NOK": {2, 300, 10_000_000}, "NZD": {2, 50, 1_000_000},
	"PLN": {2, 200, 10_000_000}, "SEK": {2, 300, 10_000_000}, "SGD": {2, 50, 1_000_000}, "USD": {2, 50, 1_000_000},
	"ZAR": {2, 1000, 10_000_000},
}

// Accepted reports whether prices may be set in the currency.
func Accepted(currency string) bool {
	_, ok := currencies[currency]
	return ok
}

// Least is the smallest amount above zero that is charged in a currency, in minor units; 0
// for one that is not accepted.
func Least(currency string) int64 { return currencies[currency].least }

// Most is the largest price in a currency, in minor units; 0 for one that is not accepted.
func Most(currency string) int64 { return currencies[currency].most }

// Unit returns how many minor units one unit of the currency has: 100 for EUR,
// 1 for JPY; 0 for a currency that is not accepted.
func Unit(currency string) int64 {
	c, ok := currencies[currency]
	if !ok {
		return 0
	}
	unit := int64(1)
	for range c.digits {
		unit *= 10
	}
	return unit
}

// Format returns an amount in minor units for a person, such as "EUR 49.00".
func Format(amount int64, currency string) string {
	e := currencies[currency].digits
	sign := ""
	if amount < 0 {
		sign = "-"
	}
	digits := strings.TrimPrefix(fmt.Sprintf("%0*d", e+1, amount), "-")
	digits = strings.Repeat("0", max(0, e+1-len(digits))) + digits
	if e == 0 {
		return currency + " " + sign + digits
	}
	return currency + " " + sign + digits[:len(digits)-e] + "." + digits[len(digits)-e:]
}
