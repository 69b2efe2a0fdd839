package question

import "github.com/cockroachdb/apd/v3"

// function is one that formulas may call.
type function struct {
	least, most int // how many numbers it takes
	cost        int // beyond that of a node
	eval        func(in []*apd.Decimal) (*apd.Decimal, error)
}

// slow is what a function costs that sums a series.
const slow = 100

func ofOne(cost int, f func(x *apd.Decimal) (*apd.Decimal, error)) function {
	return function{1, 1, cost, func(in []*apd.Decimal) (*apd.Decimal, error) { return f(in[0]) }}
}

func ofTwo(cost int, f func(x, y *apd.Decimal) (*apd.Decimal, error)) function {
	return function{2, 2, cost, func(in []*apd.Decimal) (*apd.Decimal, error) { return f(in[0], in[1]) }}
}

// best returns the first of which cmp is kept with all others.
func best(keep int) function {
	return function{1, 20, 0, func(in []*apd.Decimal) (*apd.Decimal, error) {
		out := in[0]
		for _, x := range in[1:] {
			if x.Cmp(out) == keep {
				out = x
			}
		}
		return out, nil
	}}
}

// functions are those that formulas may call.
var functions = map[string]function{
	"abs":   ofOne(0, func(x *apd.Decimal) (*apd.Decimal, error) { return new(apd.Decimal).Abs(x), nil }),
	"acos":  ofOne(slow, acos),
	"asin":  ofOne(slow, asin),
	"atan":  ofOne(slow, func(x *apd.Decimal) (*apd.Decimal, error) { s := newSeries(); return s.done(s.atan(x)) }),
	"atan2": ofTwo(slow, atan2),
	"cbrt":  ofOne(slow, cbrt),
	"ceil": ofOne(0, func(x *apd.Decimal) (*apd.Decimal, error) {
		return checked(func(z *apd.Decimal) (apd.Condition, error) { return working.Ceil(z, x) })
	}),
	"cos":  ofOne(slow, func(x *apd.Decimal) (*apd.Decimal, error) { _, c, err := sincos(x); return c, err }),
	"cosh": ofOne(slow, func(x *apd.Decimal) (*apd.Decimal, error) { return hyperbolic(x, series.add) }),
	"deg2rad": ofOne(10, func(x *apd.Decimal) (*apd.Decimal, error) {
		s := newSeries()
		return s.done(s.quo(s.mul(x, piWide), half))
	}),
	"exp": ofOne(slow, exp),
	"floor": ofOne(0, func(x *apd.Decimal) (*apd.Decimal, error) {
		return checked(func(z *apd.Decimal) (apd.Condition, error) { return working.Floor(z, x) })
	}),
	"ln":    ofOne(slow, ln),
	"log":   ofOne(slow, ln),
	"log10": ofOne(slow, log10),
	"log2":  ofOne(slow, func(x *apd.Decimal) (*apd.Decimal, error) { return quotient(ln, x, two) }),
	"max":   best(1),
	"min":   best(-1),
	"mod":   ofTwo(0, mod),
	"pow":   ofTwo(slow, pow),
	"rad2deg": ofOne(10, func(x *apd.Decimal) (*apd.Decimal, error) {
		s := newSeries()
		return s.done(s.quo(s.mul(x, half), piWide))
	}),
	"round": {1, 2, 0, func(in []*apd.Decimal) (*apd.Decimal, error) {
		places := int64(0)
		if len(in) == 2 {
			var err error
			if places, err = in[1].Int64(); err != nil || places < 0 || places > 30 {
				return nil, errUndefined
			}
		}
		return integral(in[0], apd.RoundHalfUp, int32(places))
	}},
	"sign":  ofOne(0, func(x *apd.Decimal) (*apd.Decimal, error) { return apd.New(int64(x.Sign()), 0), nil }),
	"sin":   ofOne(slow, func(x *apd.Decimal) (*apd.Decimal, error) { s, _, err := sincos(x); return s, err }),
	"sinh":  ofOne(slow, func(x *apd.Decimal) (*apd.Decimal, error) { return hyperbolic(x, series.sub) }),
	"sqrt":  ofOne(10, sqrt),
	"tan":   ofOne(slow, tan),
	"tanh":  ofOne(slow, tanh),
	"trunc": ofOne(0, func(x *apd.Decimal) (*apd.Decimal, error) { return integral(x, apd.RoundDown, 0) }),
}

// half is half a turn in degrees.
var half = apd.New(180, 0)

// integral rounds to so many places, halves away from zero or all towards it: of apd's
// other modes Quantize rounds what is far below the last place to 0.
func integral(x *apd.Decimal, mode apd.Rounder, places int32) (*apd.Decimal, error) {
	if x.Exponent >= -places {
		return x, nil
	}
	ctx := *working
	ctx.Rounding = mode
	return checked(func(z *apd.Decimal) (apd.Condition, error) { return ctx.Quantize(z, x, -places) })
}

func quotient(f func(x *apd.Decimal) (*apd.Decimal, error), x, y *apd.Decimal) (*apd.Decimal, error) {
	a, err := f(x)
	if err != nil {
		return nil, err
	}
	b, err := f(y)
	if err != nil {
		return nil, err
	}
	return quo(a, b)
}

// sincos returns the sine and the cosine of an angle, one below 10^-30 as 0. The angle
// is reduced by multiples of π/2 to at most π/4, where Taylor's series are summed
// until nothing is added to 80 digits.
func sincos(x *apd.Decimal) (sine, cosine *apd.Decimal, err error) {
	if new(apd.Decimal).Abs(x).Cmp(largestAngle) > 0 {
		return nil, nil, errTooLarge
	}
	s := newSeries()
	quarter := new(apd.Decimal)
	precise := wide.WithPrecision(120)
	ed := apd.MakeErrDecimal(precise)
	right := new(apd.Decimal)
	ed.Quo(right, piWide, two)
	ed.Quo(quarter, x, right)
	ed.RoundToIntegralValue(quarter, quarter)
	r := new(apd.Decimal)
	ed.Mul(r, quarter, right)
	ed.Sub(r, x, r)
	turns, convErr := quarter.Int64()
	if ed.Err() != nil || convErr != nil {
		return nil, nil, errUndefined
	}
	square := s.mul(r, r)
	sin := s.taylor(r, square, 1)
	cos := s.taylor(one, square, 0)
	switch ((turns % 4) + 4) % 4 {
	case 1:
		sin, cos = cos, new(apd.Decimal).Neg(sin)
	case 2:
		sin, cos = new(apd.Decimal).Neg(sin), new(apd.Decimal).Neg(cos)
	case 3:
		sin, cos = new(apd.Decimal).Neg(cos), sin
	}
	if sine, err = s.done(sin); err != nil {
		return nil, nil, err
	}
	if cosine, err = s.done(cos); err != nil {
		return nil, nil, err
	}
	return quiet(sine), quiet(cosine), nil
}

// taylor sums first - first·x²/((k+1)(k+2)) + …
func (s series) taylor(first, square *apd.Decimal, k int64) *apd.Decimal {
	sum, term := new(apd.Decimal).Set(first), new(apd.Decimal).Set(first)
	for ; k < 200; k += 2 {
		term = s.quo(s.mul(term, square), apd.New(-(k+1)*(k+2), 0))
		next := s.add(sum, term)
		if next.Cmp(sum) == 0 {
			break
		}
		sum = next
	}
	return sum
}

// quiet makes noise 0.
func quiet(x *apd.Decimal) *apd.Decimal {
	if new(apd.Decimal).Abs(x).Cmp(noise) < 0 {
		return zero
	}
	return x
}

func tan(x *apd.Decimal) (*apd.Decimal, error) {
	sin, cos, err := sincos(x)
	if err != nil {
		return nil, err
	}
	return quo(sin, cos)
}

// atan halves the angle four times by atan(x) = 2 atan(x / (1 + √(1 + x²))) and sums
// the series of what is left.
func (s series) atan(x *apd.Decimal) *apd.Decimal {
	times := apd.New(1, 0)
	for range 4 {
		x = s.quo(x, s.add(one, s.sqrt(s.add(one, s.mul(x, x)))))
		times = s.mul(times, two)
	}
	square := new(apd.Decimal).Neg(s.mul(x, x))
	sum, power := new(apd.Decimal).Set(x), new(apd.Decimal).Set(x)
	for k := int64(3); k < 400; k += 2 {
		power = s.mul(power, square)
		next := s.add(sum, s.quo(power, apd.New(k, 0)))
		if next.Cmp(sum) == 0 {
			break
		}
		sum = next
	}
	return s.mul(sum, times)
}

// asin is atan(x / √(1 - x²)).
func (s series) asin(x *apd.Decimal) *apd.Decimal {
	root := s.sqrt(s.sub(one, s.mul(x, x)))
	if root.IsZero() {
		right := s.quo(piWide, two)
		right.Negative = x.Negative
		return right
	}
	return s.atan(s.quo(x, root))
}

func asin(x *apd.Decimal) (*apd.Decimal, error) {
	if new(apd.Decimal).Abs(x).Cmp(one) > 0 {
		return nil, errUndefined
	}
	s := newSeries()
	return s.done(s.asin(x))
}

func acos(x *apd.Decimal) (*apd.Decimal, error) {
	if new(apd.Decimal).Abs(x).Cmp(one) > 0 {
		return nil, errUndefined
	}
	s := newSeries()
	z, err := s.done(s.sub(s.quo(piWide, two), s.asin(x)))
	if err != nil {
		return nil, err
	}
	return quiet(z), nil
}

// atan2 returns the angle of the point (x, y), -π to π; of 0, 0 there is none.
func atan2(y, x *apd.Decimal) (*apd.Decimal, error) {
	s := newSeries()
	switch {
	case x.IsZero() && y.IsZero():
		return nil, errUndefined
	case x.IsZero():
		right := s.quo(piWide, two)
		right.Negative = y.Negative
		return s.done(right)
	case x.Negative && y.Negative && !y.IsZero():
		return s.done(s.sub(s.atan(s.quo(y, x)), piWide))
	case x.Negative:
		return s.done(s.add(s.atan(s.quo(y, x)), piWide))
	default:
		return s.done(s.atan(s.quo(y, x)))
	}
}

// hyperbolic returns (e^x ± e^-x) / 2.
func hyperbolic(x *apd.Decimal, op func(s series, x, y *apd.Decimal) *apd.Decimal) (*apd.Decimal, error) {
	if new(apd.Decimal).Abs(x).Cmp(largestPower) > 0 {
		return nil, errTooLarge
	}
	s := newSeries()
	up, down := new(apd.Decimal), new(apd.Decimal)
	if cond, err := wide.Exp(up, x); err != nil || cond.Overflow() {
		return nil, errTooLarge
	}
	if cond, err := wide.Exp(down, new(apd.Decimal).Neg(x)); err != nil || cond.Overflow() {
		return nil, errTooLarge
	}
	return s.done(s.quo(op(s, up, down), two))
}

// tanh is sinh / cosh, which is ±1 where both are out of range.
func tanh(x *apd.Decimal) (*apd.Decimal, error) {
	if new(apd.Decimal).Abs(x).Cmp(apd.New(100, 0)) > 0 {
		return apd.New(int64(x.Sign()), 0), nil
	}
	sinh, err := hyperbolic(x, series.sub)
	if err != nil {
		return nil, err
	}
	cosh, err := hyperbolic(x, series.add)
	if err != nil {
		return nil, err
	}
	return quo(sinh, cosh)
}
