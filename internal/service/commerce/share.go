package commerce

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
)

// shareCharged is [shareSteps] where amount and weights can be charged: then no part is more
// than its weight unless amount is more than all.
func shareCharged(amount int64, weights []int64, currency string) ([]int64, error) {
	if slices.ContainsFunc(weights, func(w int64) bool { return !charged(w, currency) }) {
		return share(amount, weights)
	}
	return shareSteps(amount, weights, currency)
}

// shareSteps is [share] of an amount that can be charged in a currency, in parts that can be.
func shareSteps(amount int64, weights []int64, currency string) ([]int64, error) {
	if !charged(amount, currency) {
		return share(amount, weights)
	}
	step := chargeStep(currency)
	parts, err := share(amount/step, weights)
	for i := range parts {
		parts[i] *= step
	}
	return parts, err
}

// share divides an amount by weights so that no minor unit is lost or made: each gets
// its part rounded towards zero, and what is left goes one by one to those with the
// largest remainders, of equal ones to the first (the method of Hamilton, also called
// that of largest remainders). The parts have the amount's sign, or are zero. Weights
// are not negative, and one is not zero.
func share(amount int64, weights []int64) ([]int64, error) {
	total := new(big.Int)
	for _, w := range weights {
		if w < 0 {
			return nil, fmt.Errorf("a weight of %d", w)
		}
		total.Add(total, big.NewInt(w))
	}
	if total.Sign() == 0 {
		return nil, fmt.Errorf("%d weights make nothing", len(weights))
	}
	type rest struct {
		at  int
		rem *big.Int
	}
	parts, rests := make([]int64, len(weights)), make([]rest, len(weights))
	left := amount
	for i, w := range weights {
		product := new(big.Int).Mul(big.NewInt(amount), big.NewInt(w))
		part, rem := new(big.Int).QuoRem(product, total, new(big.Int))
		parts[i] = part.Int64() // not more than amount
		rests[i] = rest{i, rem.Abs(rem)}
		left -= parts[i]
	}
	slices.SortFunc(rests, func(a, b rest) int { return cmp.Or(b.rem.Cmp(a.rem), cmp.Compare(a.at, b.at)) })
	one := int64(cmp.Compare(left, 0))
	for _, r := range rests {
		if left == 0 {
			break
		}
		parts[r.at] += one
		left -= one
	}
	return parts, nil
}
