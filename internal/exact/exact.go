// Package exact has the numbers of grades: fractions that are never rounded until
// somebody says so, once. Points, weights and percentages are decimals when they come
// and go, and a third of a point is a third between.
package exact

import (
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"strconv"
	"strings"
)

// maxDigits bounds a number that is read: its digits before and after the point,
// or of numerator and denominator each.
const maxDigits = 60

// ErrSyntax is told for a text that is no number, or has too many digits.
var ErrSyntax = errors.New("not a number")

// Number is a fraction. The zero Number is 0. Numbers are values: no method changes
// one, and two that are equal by Equal may differ by ==.
type Number struct {
	num int64
	den int64 // above 0; 0 stands for 1, so that the zero value is 0
	// big is set where num and den do not suffice; it is never changed.
	big *big.Rat
}

// Int returns n.
func Int(n int64) Number { return Number{num: n, den: 1} }

// Ratio returns num / den. It panics where den is 0, as a division of integers does.
func Ratio(num, den int64) Number {
	if den == 0 {
		panic("exact: division by zero")
	}
	if num == minInt || den == minInt {
		return fromRat(big.NewRat(num, den))
	}
	if den < 0 {
		num, den = -num, -den
	}
	return reduced(num, den)
}

const minInt = -1 << 63

// Parse reads a decimal such as "-62.5", or a fraction such as "1/3": what String
// writes. Its digits are limited to 60 on each side of the point or the stroke;
// exponents are refused. The error is ErrSyntax.
func Parse(s string) (Number, error) {
	num, den, isRatio := strings.Cut(s, "/")
	if isRatio {
		if !isInteger(num, true) || !isInteger(den, false) {
			return Number{}, ErrSyntax
		}
		r, ok := new(big.Rat).SetString(s)
		if !ok {
			return Number{}, ErrSyntax
		}
		return fromRat(r), nil
	}
	whole, part, hasPart := strings.Cut(s, ".")
	if !isInteger(whole, true) || hasPart && !isInteger(part, false) {
		return Number{}, ErrSyntax
	}
	if len(whole)+len(part) <= 18 {
		n, err := strconv.ParseInt(whole+part, 10, 64)
		if err != nil {
			return Number{}, ErrSyntax
		}
		return reduced(n, pow10(len(part))), nil
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return Number{}, ErrSyntax
	}
	return fromRat(r), nil
}

// MustParse is Parse for constants: it panics where Parse fails.
func MustParse(s string) Number {
	n, err := Parse(s)
	if err != nil {
		panic(fmt.Sprintf("exact: %q: %v", s, err))
	}
	return n
}

func isInteger(s string, signed bool) bool {
	if signed {
		s = strings.TrimPrefix(s, "-")
	}
	if s == "" || len(s) > maxDigits {
		return false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func pow10(n int) int64 {
	p := int64(1)
	for range n {
		p *= 10
	}
	return p
}

// reduced returns num / den in lowest terms; den is above 0.
func reduced(num, den int64) Number {
	a, b := num, den
	if a < 0 {
		a = -a
	}
	for b != 0 {
		a, b = b, a%b
	}
	if a > 1 {
		num, den = num/a, den/a
	}
	return Number{num: num, den: den}
}

// fromRat returns r, which is not changed afterwards, as small as it can be.
func fromRat(r *big.Rat) Number {
	if r.Num().IsInt64() && r.Denom().IsInt64() && r.Num().Int64() != minInt {
		return Number{num: r.Num().Int64(), den: r.Denom().Int64()}
	}
	return Number{big: r}
}

func (a Number) denominator() int64 {
	if a.den == 0 {
		return 1
	}
	return a.den
}

// rat returns a as a big.Rat that must not be changed.
func (a Number) rat() *big.Rat {
	if a.big != nil {
		return a.big
	}
	return big.NewRat(a.num, a.denominator())
}

// mul returns a × b where it fits.
func mul(a, b int64) (int64, bool) {
	hi, lo := bits.Mul64(magnitude(a), magnitude(b))
	if hi != 0 || lo > 1<<63-1 {
		return 0, false
	}
	if (a < 0) != (b < 0) {
		return -int64(lo), true
	}
	return int64(lo), true
}

func magnitude(a int64) uint64 {
	if a < 0 {
		return -uint64(a) //nolint:gosec // G115: of the least integer too this is the magnitude
	}
	return uint64(a)
}

// Add returns a + b.
func (a Number) Add(b Number) Number {
	if a.big == nil && b.big == nil {
		ad, bd := a.denominator(), b.denominator()
		x, ok1 := mul(a.num, bd)
		y, ok2 := mul(b.num, ad)
		den, ok3 := mul(ad, bd)
		if sum := x + y; ok1 && ok2 && ok3 && (sum > x) == (y > 0) && sum != minInt {
			return reduced(sum, den)
		}
	}
	return fromRat(new(big.Rat).Add(a.rat(), b.rat()))
}

// Sub returns a − b.
func (a Number) Sub(b Number) Number { return a.Add(b.Neg()) }

// Mul returns a × b.
func (a Number) Mul(b Number) Number {
	if a.big == nil && b.big == nil {
		num, ok1 := mul(a.num, b.num)
		den, ok2 := mul(a.denominator(), b.denominator())
		if ok1 && ok2 {
			return reduced(num, den)
		}
	}
	return fromRat(new(big.Rat).Mul(a.rat(), b.rat()))
}

// Div returns a ÷ b. It panics where b is 0, as a division of integers does.
func (a Number) Div(b Number) Number {
	if b.Sign() == 0 {
		panic("exact: division by zero")
	}
	if b.big == nil {
		return a.Mul(Ratio(b.denominator(), b.num))
	}
	return fromRat(new(big.Rat).Quo(a.rat(), b.rat()))
}

// Neg returns −a.
func (a Number) Neg() Number {
	if a.big != nil {
		return fromRat(new(big.Rat).Neg(a.big))
	}
	return Number{num: -a.num, den: a.den}
}

// Sign returns -1, 0 or 1.
func (a Number) Sign() int {
	switch {
	case a.big != nil:
		return a.big.Sign()
	case a.num < 0:
		return -1
	case a.num > 0:
		return 1
	}
	return 0
}

// Cmp returns -1 where a is less than b, 0 where they are equal, and 1 otherwise.
func (a Number) Cmp(b Number) int {
	if a.big == nil && b.big == nil {
		x, ok1 := mul(a.num, b.denominator())
		y, ok2 := mul(b.num, a.denominator())
		if ok1 && ok2 {
			switch {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return 0
		}
	}
	return a.rat().Cmp(b.rat())
}

// Equal returns whether a and b are the same number. go-cmp uses it.
func (a Number) Equal(b Number) bool { return a.Cmp(b) == 0 }

// Min returns the lesser of a and b.
func Min(a, b Number) Number {
	if b.Cmp(a) < 0 {
		return b
	}
	return a
}

// Max returns the greater of a and b.
func Max(a, b Number) Number {
	if b.Cmp(a) > 0 {
		return b
	}
	return a
}

// Mode is what becomes of a half when a number is rounded.
type Mode uint8

// The modes there are.
const (
	// HalfEven rounds a half to the even neighbour, as IEEE 754's roundTiesToEven.
	HalfEven Mode = iota
	// HalfUp rounds a half away from zero, as schools teach it.
	HalfUp
)

// Round returns the nearest number of so many decimal places, 0 to 18.
func (a Number) Round(places int, mode Mode) Number {
	if places < 0 || places > 18 {
		panic("exact: places out of range")
	}
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(places)), nil)
	if a.big == nil {
		if places == 0 && a.denominator() == 1 {
			return a
		}
		if n, ok := mul(a.num, scale.Int64()); ok {
			return reduced(roundedQuotient(n, a.denominator(), mode), scale.Int64())
		}
	}
	r := a.rat()
	num := new(big.Int).Mul(r.Num(), scale)
	quo, rem := new(big.Int).QuoRem(num, r.Denom(), new(big.Int))
	twice := rem.Abs(rem).Lsh(rem, 1)
	if c := twice.Cmp(r.Denom()); c > 0 || c == 0 && (mode == HalfUp || quo.Bit(0) == 1) {
		quo.Add(quo, big.NewInt(int64(num.Sign())))
	}
	return fromRat(new(big.Rat).SetFrac(quo, scale))
}

func roundedQuotient(num, den int64, mode Mode) int64 {
	quo, rem := num/den, num%den
	away := magnitude(rem)
	// away < den ≤ 2^63-1, so that twice it fits.
	whole := magnitude(den)
	if twice := 2 * away; twice > whole || twice == whole && (mode == HalfUp || quo%2 != 0) {
		if num < 0 {
			return quo - 1
		}
		return quo + 1
	}
	return quo
}

// Text returns a rounded half to even to so many decimal places, 0 to 18, all of
// them written: "62.50". Round first where another mode is wanted.
func (a Number) Text(places int) string { return a.Round(places, HalfEven).rat().FloatString(places) }

// String returns a without loss: a decimal of at most 18 places where it is one,
// such as "62.5", and a fraction in lowest terms otherwise, such as "1/3". Parse
// reads it again.
func (a Number) String() string {
	if a.big == nil {
		if text, ok := decimal(a.num, a.denominator()); ok {
			return text
		}
	}
	r := a.rat()
	if r.IsInt() {
		return r.Num().String()
	}
	if places, finite := r.FloatPrec(); finite && places <= 18 {
		return r.FloatString(places)
	}
	return r.String()
}

// decimal writes num ÷ den, in lowest terms, where it is a decimal of few places: what
// nearly all numbers of grades are.
func decimal(num, den int64) (string, bool) {
	places := 0
	for scale := int64(1); den > scale || scale%den != 0; scale *= 10 {
		if places++; places > 9 {
			return "", false
		}
	}
	n, ok := mul(num, pow10(places)/den)
	if !ok {
		return "", false
	}
	text := strconv.FormatInt(n, 10)
	if places == 0 {
		return text, true
	}
	text, negative := strings.CutPrefix(text, "-")
	if len(text) <= places {
		text = strings.Repeat("0", places+1-len(text)) + text
	}
	text = text[:len(text)-places] + "." + text[len(text)-places:]
	if negative {
		text = "-" + text
	}
	return text, true
}

// MarshalText writes what String does.
func (a Number) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what Parse does.
func (a *Number) UnmarshalText(text []byte) error {
	n, err := Parse(string(text))
	if err != nil {
		return err
	}
	*a = n
	return nil
}

// Sum returns the sum of all, 0 of none.
func Sum(numbers ...Number) Number {
	var sum Number
	for _, n := range numbers {
		sum = sum.Add(n)
	}
	return sum
}
