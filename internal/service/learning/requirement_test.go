package learning

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/release/releasepb"
)

type need = releasepb.Requirement

func completion1(needs ...*need) *releasepb.Completion {
	return &releasepb.Completion{Requirements: needs}
}

func TestRuleOf(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		needs []*need
		want  rule
	}{
		"nothing":          {nil, rule{}},
		"viewed":           {[]*need{{Kind: "viewed"}}, rule{viewed: true}},
		"watched twice":    {[]*need{{Kind: "watched", WatchPercent: 40}, {Kind: "watched", WatchPercent: 90}}, rule{watchPercent: 90}},
		"watched a little": {[]*need{{Kind: "watched"}}, rule{watchPercent: 1}},
		"scored twice":     {[]*need{{Kind: "scored", MinPercent: "9.5"}, {Kind: "scored", MinPercent: "62.25"}}, rule{minPercent: "62.25"}},
		"scored the other": {[]*need{{Kind: "scored", MinPercent: "62.25"}, {Kind: "scored", MinPercent: "9.5"}}, rule{minPercent: "62.25"}},
		"scored at all":    {[]*need{{Kind: "scored"}}, rule{minPercent: "0"}},
		"marked by staff":  {[]*need{{Kind: "manual", Self: true}, {Kind: "manual"}}, rule{manual: "staff"}},
		"staff first":      {[]*need{{Kind: "manual"}, {Kind: "manual", Self: true}}, rule{manual: "staff"}},
		"marked by self":   {[]*need{{Kind: "manual", Self: true}}, rule{manual: "self"}},
		"all":              {[]*need{{Kind: "submitted"}, {Kind: "passed"}, {Kind: "viewed"}}, rule{viewed: true, submitted: true, passed: true}},
	} {
		if diff := cmp.Diff(c.want, ruleOf(completion1(c.needs...)), cmp.AllowUnexported(rule{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
