package question

import (
	"github.com/cockroachdb/apd/v3"
)

// working is how formulas are evaluated: 34 digits, as decimal128 of IEEE 754 has.
var working = &apd.Context{
	Precision: 34, MaxExponent: maxExponent, MinExponent: -maxExponent, Rounding: apd.RoundHalfEven,
	Traps: apd.SystemOverflow | apd.SystemUnderflow | apd.Overflow | apd.DivisionUndefined | apd.DivisionByZero | apd.DivisionImpossible | apd.InvalidOperation,
}

// wide is what functions use between.
var wide = &apd.Context{Precision: 80, MaxExponent: 2 * maxExponent, MinExponent: -2 * maxExponent, Rounding: apd.RoundHalfEven, Traps: working.Traps}

func constant(text string) *apd.Decimal {
	d, _, err := apd.NewFromString(text)
	if err != nil {
		panic(err)
	}
	return d
}

var (
	zero = apd.New(0, 0)
	one  = apd.New(1, 0)
	two  = apd.New(2, 0)

	// π to 140 digits, so that an angle of 10^12 is reduced to 80 digits that count.
	piWide = constant("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798214808651328230664709384460955058223172")

	constants = map[string]*apd.Decimal{
		"pi": rounded(piWide),
		"e":  rounded(constant("2.71828182845904523536028747135266249775724709369995957496696762772407663")),
	}

	// What is below it is noise of a sine at a multiple of π, and is 0.
	noise = apd.New(1, -30)
	// The largest angle of which a sine is taken.
	largestAngle = apd.New(1, 12)
	// Beyond it, exp and powers are out of range anyway.
	largestPower = apd.New(1000, 0)
)

func rounded(d *apd.Decimal) *apd.Decimal {
	out, err := checked(func(z *apd.Decimal) (apd.Condition, error) { return working.Round(z, d) })
	if err != nil {
		panic(err)
	}
	return out
}

// checked returns what an operation makes, where it is a number.
func checked(op func(z *apd.Decimal) (apd.Condition, error)) (*apd.Decimal, error) {
	z := new(apd.Decimal)
	cond, err := op(z)
	switch {
	case cond.Overflow() || cond.SystemOverflow():
		return nil, errTooLarge
	case cond.Underflow() || cond.SystemUnderflow():
		return zero, nil
	case err != nil || z.Form != apd.Finite:
		return nil, errUndefined
	}
	return z, nil
}

func add(x, y *apd.Decimal) (*apd.Decimal, error) {
	return checked(func(z *apd.Decimal) (apd.Condition, error) { return working.Add(z, x, y) })
}

func sub(x, y *apd.Decimal) (*apd.Decimal, error) {
	return checked(func(z *apd.Decimal) (apd.Condition, error) { return working.Sub(z, x, y) })
}

func mul(x, y *apd.Decimal) (*apd.Decimal, error) {
	return checked(func(z *apd.Decimal) (apd.Condition, error) { return working.Mul(z, x, y) })
}

func quo(x, y *apd.Decimal) (*apd.Decimal, error) {
	return checked(func(z *apd.Decimal) (apd.Condition, error) { return working.Quo(z, x, y) })
}

// rem returns what is left of x ÷ y, with the sign of x.
func rem(x, y *apd.Decimal) (*apd.Decimal, error) {
	return checked(func(z *apd.Decimal) (apd.Condition, error) { return working.Rem(z, x, y) })
}

// mod returns what is left of x ÷ y, with the sign of y.
func mod(x, y *apd.Decimal) (*apd.Decimal, error) {
	r, err := rem(x, y)
	if err != nil || r.IsZero() || r.Negative == y.Negative {
		return r, err
	}
	return add(r, y)
}

func pow(x, y *apd.Decimal) (*apd.Decimal, error) {
	if new(apd.Decimal).Abs(y).Cmp(largestPower) > 0 {
		return nil, errTooLarge
	}
	if y.IsZero() {
		if x.IsZero() {
			return nil, errUndefined
		}
		return one, nil
	}
	if x.IsZero() {
		if y.Negative {
			return nil, errUndefined
		}
		return zero, nil
	}
	return checked(func(z *apd.Decimal) (apd.Condition, error) { return working.Pow(z, x, y) })
}

func exp(x *apd.Decimal) (*apd.Decimal, error) {
	if x.Cmp(largestPower) > 0 {
		return nil, errTooLarge
	}
	if new(apd.Decimal).Abs(x).Cmp(largestPower) > 0 {
		return zero, nil
	}
	return checked(func(z *apd.Decimal) (apd.Condition, error) { return working.Exp(z, x) })
}

func ln(x *apd.Decimal) (*apd.Decimal, error) {
	return checked(func(z *apd.Decimal) (apd.Condition, error) { return working.Ln(z, x) })
}

func log10(x *apd.Decimal) (*apd.Decimal, error) {
	return checked(func(z *apd.Decimal) (apd.Condition, error) { return working.Log10(z, x) })
}

func sqrt(x *apd.Decimal) (*apd.Decimal, error) {
	return checked(func(z *apd.Decimal) (apd.Condition, error) { return working.Sqrt(z, x) })
}

func cbrt(x *apd.Decimal) (*apd.Decimal, error) {
	return checked(func(z *apd.Decimal) (apd.Condition, error) { return working.Cbrt(z, x) })
}

// negligible reports whether d is nothing beside x, or at all.
func negligible(d, x *apd.Decimal) bool {
	if d.IsZero() {
		return true
	}
	bound := new(apd.Decimal).Abs(x)
	bound.Exponent -= 30
	return new(apd.Decimal).Abs(d).Cmp(bound) < 0
}

// series is a calculation in wide decimals that goes on until something fails.
type series struct {
	ed *apd.ErrDecimal
}

func newSeries() series {
	ed := apd.MakeErrDecimal(wide)
	return series{&ed}
}

func (s series) op(f func(z *apd.Decimal)) *apd.Decimal {
	z := new(apd.Decimal)
	f(z)
	return z
}

func (s series) add(x, y *apd.Decimal) *apd.Decimal {
	return s.op(func(z *apd.Decimal) { s.ed.Add(z, x, y) })
}

func (s series) sub(x, y *apd.Decimal) *apd.Decimal {
	return s.op(func(z *apd.Decimal) { s.ed.Sub(z, x, y) })
}

func (s series) mul(x, y *apd.Decimal) *apd.Decimal {
	return s.op(func(z *apd.Decimal) { s.ed.Mul(z, x, y) })
}

func (s series) quo(x, y *apd.Decimal) *apd.Decimal {
	return s.op(func(z *apd.Decimal) { s.ed.Quo(z, x, y) })
}

func (s series) sqrt(x *apd.Decimal) *apd.Decimal {
	return s.op(func(z *apd.Decimal) { s.ed.Sqrt(z, x) })
}

// done rounds what was calculated.
func (s series) done(x *apd.Decimal) (*apd.Decimal, error) {
	if s.ed.Err() != nil {
		return nil, errUndefined
	}
	return checked(func(z *apd.Decimal) (apd.Condition, error) { return working.Round(z, x) })
}
