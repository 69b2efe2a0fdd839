// Package money knows the currencies that Stoa accepts and formats amounts in
// minor units for people.
package money

import (
	"fmt"
	"strings"
)

// exponents are the minor-unit digits of ISO 4217 for the currencies accepted.
var exponents = map[string]int{
	"AUD": 2, "BRL": 2, "CAD": 2, "CHF": 2, "CZK": 2, "DKK": 2, "EUR": 2, "GBP": 2, "HKD": 2, "INR": 2,
	"JPY": 0, "KRW": 0, "KWD": 3, "MXN": 2, "NOK": 2, "NZD": 2, "PLN": 2, "SEK": 2, "SGD": 2, "USD": 2, "ZAR": 2,
}

// Accepted reports whether prices may be set in the currency.
func Accepted(currency string) bool {
	_, ok := exponents[currency]
	return ok
}

// Unit returns how many minor units one unit of the currency has: 100 for EUR,
// 1 for JPY; 0 for a currency that is not accepted.
func Unit(currency string) int64 {
	e, ok := exponents[currency]
	if !ok {
		return 0
	}
	unit := int64(1)
	for range e {
		unit *= 10
	}
	return unit
}

// Format returns an amount in minor units for a person, such as "EUR 49.00".
func Format(amount int64, currency string) string {
	e := exponents[currency]
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
