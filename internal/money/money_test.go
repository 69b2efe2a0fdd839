package money_test

import (
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/money"
)

// currencies are those accepted, with the digits that ISO 4217 gives them.
var currencies = map[string]int{
	"AUD": 2, "BRL": 2, "CAD": 2, "CHF": 2, "CZK": 2, "DKK": 2, "EUR": 2, "GBP": 2, "HKD": 2, "INR": 2, "JPY": 0,
	"KRW": 0, "KWD": 3, "MXN": 2, "NOK": 2, "NZD": 2, "PLN": 2, "SEK": 2, "SGD": 2, "USD": 2, "ZAR": 2,
}

func TestFormat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		amount   int64
		currency string
		want     string
	}{
		{4900, "EUR", "EUR 49.00"},
		{0, "EUR", "EUR 0.00"},
		{5, "EUR", "EUR 0.05"},
		{-5, "EUR", "EUR -0.05"},
		{-50, "USD", "USD -0.50"},
		{-4901, "USD", "USD -49.01"},
		{1, "JPY", "JPY 1"},
		{0, "JPY", "JPY 0"},
		{-1200, "JPY", "JPY -1200"},
		{1, "KWD", "KWD 0.001"},
		{-12, "KWD", "KWD -0.012"},
		{12345, "KWD", "KWD 12.345"},
		{math.MaxInt64, "EUR", "EUR 92233720368547758.07"},
		{math.MinInt64, "EUR", "EUR -92233720368547758.08"},
		{math.MinInt64, "JPY", "JPY -9223372036854775808"},
	} {
		if got := money.Format(c.amount, c.currency); got != c.want {
			t.Errorf("Format(%d, %s) = %q, want %q", c.amount, c.currency, got, c.want)
		}
	}
}

func TestAcceptedAndUnit(t *testing.T) {
	t.Parallel()
	for currency, digits := range currencies {
		if !money.Accepted(currency) {
			t.Errorf("%s is not accepted", currency)
		}
		if got, want := money.Unit(currency), int64(math.Pow10(digits)); got != want {
			t.Errorf("Unit(%s) = %d, want %d", currency, got, want)
		}
	}
	for currency := range currencies {
		least, most := money.Least(currency), money.Most(currency)
		// Cards are charged in hundredths, in eight digits at most.
		if step := max(money.Unit(currency)/100, 1); least <= 0 || least%step != 0 || most%step != 0 || most < 10_000*least || most > 99_999_999 {
			t.Errorf("%s is charged from %d to %d", currency, least, most)
		}
	}
	for _, currency := range []string{"", "eur", "EURO", "XXX", "BTC", " EUR", "EUR "} {
		if money.Accepted(currency) || money.Unit(currency) != 0 || money.Least(currency) != 0 || money.Most(currency) != 0 {
			t.Errorf("%q is accepted", currency)
		}
	}
}

// What Format writes is read back to the same amount.
func TestFormatIsExact(t *testing.T) {
	t.Parallel()
	names := make([]string, 0, len(currencies))
	for name := range currencies {
		names = append(names, name)
	}
	rapid.Check(t, func(t *rapid.T) {
		amount, currency := rapid.Int64().Draw(t, "amount"), rapid.SampledFrom(names).Draw(t, "currency")
		text := money.Format(amount, currency)
		number, ok := strings.CutPrefix(text, currency+" ")
		if !ok {
			t.Fatalf("%q does not begin with the currency", text)
		}
		_, fraction, _ := strings.Cut(number, ".")
		if len(fraction) != currencies[currency] {
			t.Fatalf("%q has %d digits behind the point", text, len(fraction))
		}
		value, ok := new(big.Rat).SetString(number)
		if !ok {
			t.Fatalf("%q is no number", number)
		}
		value.Mul(value, new(big.Rat).SetInt64(money.Unit(currency)))
		if !value.IsInt() || value.Num().Cmp(big.NewInt(amount)) != 0 {
			t.Fatalf("%d became %q, which is %s", amount, text, value)
		}
	})
}
