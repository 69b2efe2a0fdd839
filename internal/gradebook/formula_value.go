package gradebook

import "github.com/stoa-lms/stoa/internal/exact"

// maybe is a number, or that there is none.
type maybe struct {
	n  exact.Number
	ok bool
}

// value calculates a formula over the values of its references.
func (f *Formula) value(ref func(i int) maybe) maybe {
	var room [16]maybe
	stack := room[:0]
	for _, o := range f.ops {
		switch o.code {
		case opConstant:
			stack = append(stack, maybe{o.value, true})
		case opReference:
			stack = append(stack, ref(o.count))
		default:
			at := len(stack) - o.count
			result := apply(o.code, stack[at:])
			stack = append(stack[:at], result)
		}
	}
	return stack[0]
}

func apply(code opcode, of []maybe) maybe {
	switch code {
	case opMin, opMax, opAvg, opSum:
		return aggregate(code, of)
	case opIf:
		switch {
		case !of[0].ok:
			return maybe{}
		case of[0].n.Sign() != 0:
			return of[1]
		}
		return of[2]
	case opDefault:
		if of[0].ok {
			return of[0]
		}
		return of[1]
	case opNeg:
		return maybe{of[0].n.Neg(), of[0].ok}
	default:
		if !of[0].ok || !of[1].ok {
			return maybe{}
		}
		return operate(code, of[0].n, of[1].n)
	}
}

func operate(code opcode, a, b exact.Number) maybe {
	switch code {
	case opAdd:
		return maybe{a.Add(b), true}
	case opSub:
		return maybe{a.Sub(b), true}
	case opMul:
		return maybe{a.Mul(b), true}
	case opDiv:
		if b.Sign() == 0 {
			return maybe{}
		}
		return maybe{a.Div(b), true}
	default:
		c := a.Cmp(b)
		holds := map[opcode]bool{
			opLess: c < 0, opLessEqual: c <= 0, opGreater: c > 0, opGreaterEqual: c >= 0, opEqual: c == 0, opUnequal: c != 0,
		}[code]
		if holds {
			return maybe{exact.Int(1), true}
		}
		return maybe{exact.Int(0), true}
	}
}

// aggregate is over those that have a value; there is none when none has.
func aggregate(code opcode, of []maybe) maybe {
	var result maybe
	count := int64(0)
	for _, m := range of {
		switch {
		case !m.ok:
			continue
		case !result.ok:
			result = m
		case code == opMin:
			result.n = exact.Min(result.n, m.n)
		case code == opMax:
			result.n = exact.Max(result.n, m.n)
		default:
			result.n = result.n.Add(m.n)
		}
		count++
	}
	if code == opAvg && result.ok {
		result.n = result.n.Div(exact.Int(count))
	}
	return result
}
