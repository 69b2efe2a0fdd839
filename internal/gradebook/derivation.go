package gradebook

import "github.com/stoa-lms/stoa/internal/exact"

// Derivation is how a total came about: steps, each made of those before it, from
// which a reader can calculate the total again. As JSON, numbers are texts without
// loss: "62.5", or "1/3".
type Derivation struct {
	// Which calculation.
	Version int `json:"version"`
	// "full" or "posted", "current" or "final".
	Seen  string `json:"seen"`
	Basis string `json:"basis"`
	// In the order of calculation.
	Nodes []Node `json:"nodes"`
	// Which node is the total, rounded; -1 where there is none. Behind it are its letter
	// and whether it passes.
	Total int `json:"total"`
}

// Node is a step.
type Node struct {
	// What sort of step, one of [Kinds].
	Kind string `json:"kind"`
	// The item, category or period that it is of, by Kind; empty for the course.
	Ref string `json:"ref,omitempty"`
	// The period within which a category is calculated, where periods have weights.
	Period string `json:"period,omitempty"`
	// What that is called.
	Label string `json:"label,omitempty"`
	// By which of [Formulas] the value comes of the inputs.
	Formula string  `json:"formula"`
	Inputs  []Input `json:"inputs,omitempty"`
	// For "expression": the course's own formula.
	Expression string `json:"expression,omitempty"`
	// For "letter": the letter.
	Text string `json:"text,omitempty"`
	// Without loss; 0 where Empty.
	Value exact.Number `json:"value"`
	// To be shown: rounded as the course does. Nothing is calculated with it.
	Rounded string `json:"rounded"`
	// That there is no value: nothing counts, or there is no score.
	Empty bool `json:"empty,omitempty"`
}

// Input is what a step is made of.
type Input struct {
	// What it is in the formula.
	Name string `json:"name"`
	// The item, category or period that it is of, where there are many of a name; of
	// attempts their number, from 1.
	Ref string `json:"ref,omitempty"`
	// The step that it comes from; -1 for what is given.
	Node int `json:"node"`
	// Its value there.
	Value exact.Number `json:"value"`
	// Its weight, or the points that it counts of.
	Of *exact.Number `json:"of,omitempty"`
	// That there is no value.
	Empty bool `json:"empty,omitempty"`
}

// Kinds are the sorts of steps, and what each is.
var Kinds = map[string]string{
	"mark":          "points that were given for an item",
	"late":          "what lateness leaves of them",
	"missing":       "points of what was never handed in",
	"calculated":    "points of a calculated item",
	"item_override": "points that a teacher has set in place of what would be calculated",
	"override":      "the percentage that a teacher has set for a category, a period or the course",
	"excused":       "that an item does not count",
	"unscored":      "that an item has no score; 0 in a final total",
	"percent":       "points of an item as a percentage",
	"drop":          "what is dropped of a category: how many",
	"category":      "what a category comes to",
	"course":        "what the course comes to, or within a period",
	"periods":       "what the periods come to",
	"curve":         "a percentage after a curve",
	"cap":           "a percentage after a limit",
	"total":         "the total, or what a category or a period comes to, rounded",
	"letter":        "the least percentage of its letter, which is in text",
	"pass":          "1 where the pass mark is reached, 0 otherwise",
}

// Formulas say how the value of a step comes of its inputs, by their names. Where
// there are several of a name, Σ goes over them; of is an input's Of.
var Formulas = map[string]string{
	"given":      "the one input",
	"best":       "the raw of the attempt that lateness leaves the most of by the formula late, the first of equal ones; each has a raw and a late, of the same ref. A late of at most grace takes nothing, nor does any where there is no rate",
	"late":       "raw − points × min(rate × ⌈late ÷ interval⌉, max(raw ÷ points × 100 − floor, 0)) ÷ 100",
	"missing":    "points × (100 − deduction) ÷ 100",
	"expression": "the expression, each reference being the input of its name",
	"percent":    "score ÷ points × 100",
	"points":     "100 × (Σ earned + Σ extra + Σ category × of ÷ 100 + Σ extra_category × of ÷ 100) ÷ (Σ of of earned + Σ of of category)",
	"sum":        "Σ extra + Σ extra_category × of ÷ 100, in points: nothing but extra credit counts",
	"mean":       "Σ mean × of ÷ Σ of of mean + Σ extra_mean × of ÷ full",
	"drop":       "how many inputs are dropped_lowest or dropped_highest; no kept one has a lesser (value − ratio ÷ 100 × of), by weights of × (value − ratio), than a dropped_lowest one",
	"add":        "percent + by",
	"scale":      "percent × 100 ÷ by",
	"linear":     "to + (percent − from) × (to_2 − to) ÷ (from_2 − from)",
	"min":        "the lesser of the inputs",
	"half_even":  "percent rounded to places, a half to the even neighbour",
	"half_up":    "percent rounded to places, a half away from 0",
	"letter":     "min, which percent is not below, or which is that of the last letter",
	"at_least":   "1 where percent is not below mark, 0 otherwise",
}

func given(name string, n exact.Number) Input { return Input{Name: name, Node: none, Value: n} }

func from(name string, node int, n exact.Number) Input {
	return Input{Name: name, Node: node, Value: n}
}
