package assessment

import (
	"math/big"
	"strings"
)

// The formulas of docs/statistics.md, over exact sums. What is a fraction is exact until
// it is told; roots are taken with 300 bits. x are the points of an item in each of n
// attempts, t those of all items of the attempt, r = t - x the rest; all in millionths.

// rat makes a fraction of whole numbers.
func rat(num, den *big.Int) *big.Rat { return new(big.Rat).SetFrac(num, den) }

func intOf(n int64) *big.Int           { return big.NewInt(n) }
func times(a, b *big.Int) *big.Int     { return new(big.Int).Mul(a, b) }
func minus(a, b *big.Int) *big.Int     { return new(big.Int).Sub(a, b) }
func fraction(num, den int64) *big.Rat { return big.NewRat(num, den) }

// toldRat writes a fraction as figures are told, rounded half to even to 6 places; empty
// for none.
func toldRat(r *big.Rat) string {
	if r == nil {
		return ""
	}
	return toldText(roundedRat(r))
}

// roundedRat writes a fraction with 6 places.
func roundedRat(r *big.Rat) string {
	scaled := new(big.Rat).Mul(r, big.NewRat(1_000_000, 1))
	whole, rest := new(big.Int).QuoRem(scaled.Num(), scaled.Denom(), new(big.Int))
	switch twice := new(big.Int).Abs(new(big.Int).Lsh(rest, 1)); twice.Cmp(scaled.Denom()) {
	case 1:
		whole.Add(whole, intOf(int64(scaled.Sign())))
	case 0:
		if whole.Bit(0) == 1 {
			whole.Add(whole, intOf(int64(scaled.Sign())))
		}
	}
	return rat(whole, intOf(1_000_000)).FloatString(6)
}

// toldText writes a decimal without zeros at its end.
func toldText(text string) string {
	text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	if text == "-0" {
		return "0"
	}
	return text
}

// root returns the square root of a fraction that is not negative, with the sign of the
// second number; nil for nil.
func root(r *big.Rat, sign int) *big.Rat {
	if r == nil {
		return nil
	}
	f := new(big.Float).SetPrec(300).SetRat(r)
	out, _ := f.Sqrt(f).Rat(nil)
	if sign < 0 {
		out.Neg(out)
	}
	return out
}

// points brings millionths into points.
func inPoints(r *big.Rat) *big.Rat {
	if r == nil {
		return nil
	}
	return new(big.Rat).Mul(r, big.NewRat(1, 1_000_000))
}

// mean is Σx / n.
func (s *sums) mean(column int) *big.Rat {
	if s.n == 0 {
		return nil
	}
	return rat(&s.v[column], intOf(s.n))
}

// facility is the mean as a share of the mean of what could be had: Σx / Σm.
func (s *sums) facility() *big.Rat {
	if s.v[sumM].Sign() <= 0 {
		return nil
	}
	return rat(&s.v[sumX], &s.v[sumM])
}

// spread is n Σx² - (Σx)², which is n (n - 1) times the variance of a sample.
func (s *sums) spread() *big.Int {
	return minus(times(intOf(s.n), &s.v[sumX2]), times(&s.v[sumX], &s.v[sumX]))
}

// spreadT is spread for the whole.
func (s *sums) spreadT() *big.Int {
	return minus(times(intOf(s.n), &s.v[sumT2]), times(&s.v[sumT], &s.v[sumT]))
}

// sample returns what n (n - 1) times a variance or covariance is; nil of fewer than two.
func (s *sums) sample(of *big.Int) *big.Rat {
	if s.n < 2 {
		return nil
	}
	return rat(of, times(intOf(s.n), intOf(s.n-1)))
}

// deviation is the standard deviation of a sample.
func (s *sums) deviation() *big.Rat { return root(s.sample(s.spread()), 1) }

// covariance is that of an item and the whole, in a sample.
func (s *sums) covariance() *big.Rat {
	return s.sample(minus(times(intOf(s.n), &s.v[sumXT]), times(&s.v[sumX], &s.v[sumT])))
}

// discrimination is the correlation of an item with the rest, Pearson's r:
// (n Σxr - Σx Σr) / √((n Σx² - (Σx)²) (n Σr² - (Σr)²)).
func (s *sums) discrimination() *big.Rat {
	r := minus(&s.v[sumT], &s.v[sumX])
	xr := minus(&s.v[sumXT], &s.v[sumX2])
	r2 := new(big.Int).Add(minus(&s.v[sumT2], new(big.Int).Lsh(&s.v[sumXT], 1)), &s.v[sumX2])
	n := intOf(s.n)
	return correlation(minus(times(n, xr), times(&s.v[sumX], r)), s.spread(), minus(times(n, r2), times(r, r)))
}

// correlation is cov / √(a b); nil where there is no spread.
func correlation(cov, a, b *big.Int) *big.Rat {
	if a.Sign() <= 0 || b.Sign() <= 0 {
		return nil
	}
	return root(rat(times(cov, cov), times(a, b)), cov.Sign())
}

// chosen is the correlation of giving an answer, as 1 or 0, with the rest: its
// point-biserial correlation.
func (s *sums) chosen(n int64, rest *big.Int) *big.Rat {
	r := minus(&s.v[sumT], &s.v[sumX])
	r2 := new(big.Int).Add(minus(&s.v[sumT2], new(big.Int).Lsh(&s.v[sumXT], 1)), &s.v[sumX2])
	return correlation(minus(times(intOf(s.n), rest), times(intOf(n), r)), intOf(n*(s.n-n)), minus(times(intOf(s.n), r2), times(r, r)))
}

// moments returns the central moments m2, m3 and m4 of x, exact; nil of none.
func (s *sums) moments() (m2, m3, m4 *big.Rat) {
	if s.n == 0 {
		return nil, nil, nil
	}
	mean, x2, x3, x4 := s.mean(sumX), s.mean(sumX2), s.mean(sumX3), s.mean(sumX4)
	mul := func(list ...*big.Rat) *big.Rat {
		out := fraction(1, 1)
		for _, f := range list {
			out.Mul(out, f)
		}
		return out
	}
	add := func(list ...*big.Rat) *big.Rat {
		out := new(big.Rat)
		for _, f := range list {
			out.Add(out, f)
		}
		return out
	}
	m2 = add(x2, mul(fraction(-1, 1), mean, mean))
	m3 = add(x3, mul(fraction(-3, 1), mean, x2), mul(fraction(2, 1), mean, mean, mean))
	m4 = add(x4, mul(fraction(-4, 1), mean, x3), mul(fraction(6, 1), mean, mean, x2), mul(fraction(-3, 1), mean, mean, mean, mean))
	return m2, m3, m4
}

// shape returns skewness k3 / k2^(3/2) and kurtosis k4 / k2², by Fisher's k-statistics;
// nil where there are too few or no spread.
func (s *sums) shape() (skewness, kurtosis *big.Rat) {
	m2, m3, m4 := s.moments()
	n := s.n
	if n < 3 || m2.Sign() == 0 {
		return nil, nil
	}
	k2 := new(big.Rat).Mul(m2, fraction(n, n-1))
	k3 := new(big.Rat).Mul(m3, rat(times(intOf(n), intOf(n)), times(intOf(n-1), intOf(n-2))))
	square := new(big.Rat).Mul(k2, k2)
	skewness = root(new(big.Rat).Quo(new(big.Rat).Mul(k3, k3), new(big.Rat).Mul(square, k2)), k3.Sign())
	if n < 4 {
		return skewness, nil
	}
	k4 := new(big.Rat).Sub(new(big.Rat).Mul(fraction(n+1, 1), m4), new(big.Rat).Mul(fraction(3*(n-1), 1), new(big.Rat).Mul(m2, m2)))
	k4.Mul(k4, rat(times(intOf(n), intOf(n)), times(times(intOf(n-1), intOf(n-2)), intOf(n-3))))
	return skewness, k4.Quo(k4, square)
}

// alpha is Cronbach's: k / (k - 1) (1 - Σ variances of the k places / variance of the
// whole). why says why there is none.
func alpha(whole *sums, places []*sums) (a *big.Rat, why string) {
	k := int64(len(places))
	if whole.n < 2 || k < 2 {
		return nil, "few"
	}
	sum := new(big.Int)
	for _, p := range places {
		if p.n != whole.n {
			return nil, "places"
		}
		sum.Add(sum, p.spread())
	}
	all := whole.spreadT()
	if all.Sign() == 0 {
		return nil, "same"
	}
	a = new(big.Rat).Sub(fraction(1, 1), rat(sum, all))
	return a.Mul(a, fraction(k, k-1)), ""
}
