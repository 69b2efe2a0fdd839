package gradebook

import "github.com/stoa-lms/stoa/internal/exact"

// Derivation is how a total came about: steps, each made of those before it, from
// which a reader can calculate the total again. It has JSON of its own.
type Derivation struct {
	// Which calculation.
	Version int `json:"version"`
	// "full" or "posted", "current" or "final".
	Seen  string `json:"seen"`
	Basis string `json:"basis"`
	// In the order of calculation. The last is the total, or there is none.
	Nodes []Node `json:"nodes"`
}

// Node is a step.
type Node struct {
	// What sort of step:.
	Kind string `json:"kind"`
	// The item, category or period that it is of; empty for the course.
	Ref string `json:"ref,omitempty"`
	// The period within which, where periods have weights.
	Period string `json:"period,omitempty"`
	// What it is called.
	Label string `json:"label,omitempty"`
	// By which formula of [Formulas] the value comes of the inputs.
	Formula string  `json:"formula"`
	Inputs  []Input `json:"inputs,omitempty"`
	// For calculated items: the formula of the course.
	Expression string `json:"expression,omitempty"`
	// For letters.
	Text string `json:"text,omitempty"`
	// Without loss.
	Value exact.Number `json:"value"`
	// To be shown: rounded as the course does. Nothing is calculated with it.
	Rounded string `json:"rounded"`
	// That there is no value: an empty category, an item without a score.
	Empty bool `json:"empty,omitempty"`
}

// Input is what a step is made of.
type Input struct {
	// What it is in the formula.
	Name string `json:"name"`
	// The step that it comes from; -1 for what is given.
	Node int `json:"node"`
	// Its value there.
	Value exact.Number `json:"value"`
	// The item or category, where a formula takes many of the same name.
	Ref string `json:"ref,omitempty"`
}
