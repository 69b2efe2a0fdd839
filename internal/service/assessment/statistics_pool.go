package assessment

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// drawsOf returns the draws of a version of a quiz, in its order.
func drawsOf(settings *assessmentpb.QuizSettings) []*assessmentpb.QuestionDraw {
	var out []*assessmentpb.QuestionDraw
	eachSlot(settings, func(_ string, _ int, slot *assessmentpb.QuizSlot) {
		if slot.GetDraw() != nil {
			out = append(out, slot.GetDraw())
		}
	})
	return out
}

// joined returns for each draw the first one that it is one pool with: that has questions
// in common with it, or with one that has.
func joined(draws []*assessmentpb.QuestionDraw) []int {
	root := make([]int, len(draws))
	first := map[string]int{}
	for i, d := range draws {
		root[i] = i
		for _, q := range d.GetDrawnFrom() {
			at, ok := first[q.GetQuestionId()]
			if !ok {
				first[q.GetQuestionId()] = i
				continue
			}
			a, b := root[at], root[i]
			for j := range root[:i+1] {
				if root[j] == a || root[j] == b {
					root[j] = min(a, b)
				}
			}
		}
	}
	return root
}

// poolNames returns the pool of each draw. A name is made of what is drawn from, so that
// it stays the same in the next version: from which category, and with which tags.
func poolNames(draws []*assessmentpb.QuestionDraw) []string {
	root := joined(draws)
	parts := map[int][]string{}
	for i, d := range draws {
		parts[root[i]] = append(parts[root[i]], fmt.Sprintf("%s %t %s", d.GetCategoryId(), d.GetDeep(), strings.Join(d.GetTags(), "\x00")))
	}
	out := make([]string, len(draws))
	for i := range draws {
		list := slices.Clone(parts[root[i]])
		slices.Sort(list)
		sum := sha256.Sum256([]byte(strings.Join(slices.Compact(list), "\x01")))
		out[i] = "pool_" + hex.EncodeToString(sum[:10])
	}
	return out
}

// poolsOf returns the pool of each question that a version of a quiz may draw.
func poolsOf(settings *assessmentpb.QuizSettings) map[string]string {
	draws := drawsOf(settings)
	if len(draws) == 0 {
		return nil
	}
	out := map[string]string{}
	for i, name := range poolNames(draws) {
		for _, q := range draws[i].GetDrawnFrom() {
			out[q.GetQuestionId()] = name
		}
	}
	return out
}
