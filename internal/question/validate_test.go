package question

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/fault"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// faultsOf returns what an error says is wrong, as "path code".
func faultsOf(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		t.Fatalf("not a fault: %v", err)
	}
	out := []string{}
	for _, one := range f.Fields {
		if one.Hint == "" {
			t.Errorf("%s has no hint", one.Path)
		}
		out = append(out, one.Path+" "+one.Code)
	}
	return out
}

// TestValidate changes good questions and looks at what is told.
func TestValidate(t *testing.T) {
	t.Parallel()
	for _, q := range samples() {
		if err := Validate(q); err != nil {
			t.Errorf("%v: %v", q, err)
		}
	}
	sum := calculatedQuestion("a + b")
	for name, c := range map[string]struct {
		q    *pb.QuestionContent
		want []string
	}{
		"nothing":            {nil, []string{" required"}},
		"no body":            {&pb.QuestionContent{Title: "T", Prompt: "P"}, []string{"body required"}},
		"nil body":           {with(single(), func(q *pb.QuestionContent) { q.Body = &pb.QuestionContent_TrueFalse{} }), nil},
		"nil option":         {with(single(), func(q *pb.QuestionContent) { q.GetChoice().Options[1] = nil }), []string{"choice.options[1].text string.min_len"}},
		"no title":           {with(single(), func(q *pb.QuestionContent) { q.Title = " " }), []string{"title string.pattern"}},
		"no prompt":          {with(single(), func(q *pb.QuestionContent) { q.Prompt = "\u200b\n" }), []string{"prompt required"}},
		"floor":              {with(single(), func(q *pb.QuestionContent) { q.Floor = "1/2" }), []string{"floor fraction.range"}},
		"penalty":            {with(single(), func(q *pb.QuestionContent) { q.Penalty = "3/2" }), []string{"penalty fraction.range"}},
		"divided by nothing": {with(single(), func(q *pb.QuestionContent) { q.Penalty = "1/0" }), []string{"penalty fraction.invalid"}},
		"control character":  {with(single(), func(q *pb.QuestionContent) { q.Prompt = "a\x00b" }), []string{"prompt text.control"}},
		"media":              {with(hotSpotQuestion(), func(q *pb.QuestionContent) { q.GetHotSpot().MediaId = "course_01h455vb4pex5vsknk084sn02q" }), []string{"hot_spot.media_id id.invalid"}},
		"one option":         {with(single(), func(q *pb.QuestionContent) { q.GetChoice().Options = q.GetChoice().Options[:1] }), []string{"choice.options repeated.min_items"}},
		"no right option":    {with(single(), func(q *pb.QuestionContent) { q.GetChoice().Options[0].Fraction = "0.9" }), []string{"choice.options choice.no_right"}},
		"too right":          {with(single(), func(q *pb.QuestionContent) { q.GetChoice().Options[0].Fraction = "1.1" }), []string{"choice.options[0].fraction fraction.range", "choice.options choice.no_right"}},
		"key twice":          {with(single(), func(q *pb.QuestionContent) { q.GetChoice().Options[2].Key = "a" }), []string{"choice.options[2].key key.twice"}},
		"bounds of one":      {with(single(), func(q *pb.QuestionContent) { q.GetChoice().MaxChosen = 2 }), []string{"choice.multiple choice.single"}},
		"too few right":      {with(multiple("weights"), func(q *pb.QuestionContent) { q.GetChoice().Options[0].Fraction = "0" }), []string{"body right.unreachable"}},
		"too few to choose":  {with(multiple("weights"), func(q *pb.QuestionContent) { q.GetChoice().MaxChosen = 2 }), []string{"body right.unreachable"}},
		"bounds":             {with(multiple("weights"), func(q *pb.QuestionContent) { q.GetChoice().MinChosen, q.GetChoice().MaxChosen = 6, 3 }), []string{"choice.min_chosen choice.bounds", "choice.max_chosen choice.bounds"}},
		"no right text":      {shortQuestion(short("Rome", "1/2")), []string{"short_answer.patterns pattern.no_right"}},
		"shadowed":           {shortQuestion(short("*", "0", "Rome", "1")), []string{"body right.unreachable"}},
		"empty pattern":      {shortQuestion(short("Rome", "1", " ", "0")), []string{"short_answer.patterns[1].pattern pattern.empty"}},
		"no number":          {numericQuestion(near("", "absolute", "1")), []string{"numeric.answers[0].value number.invalid"}},
		"value of a range":   {numericQuestion(near("1", "range", "")), []string{"numeric.answers[0].value tolerance.range"}},
		"range turned":       {numericQuestion(&pb.NumericQuestion{Answers: []*pb.NumericAnswer{{Tolerance: &pb.Tolerance{Kind: "range", Low: "2", High: "1"}}}}), []string{"numeric.answers[0].tolerance.high tolerance.order"}},
		"figures":            {numericQuestion(near("1", "significant_figures", "")), []string{"numeric.answers[0].tolerance.digits tolerance.digits"}},
		"another near":       {numericQuestion(near("1", "nearly", "")), []string{"numeric.answers[0].tolerance.kind string.in"}},
		"number shadowed":    {numericQuestion(&pb.NumericQuestion{Answers: []*pb.NumericAnswer{{Value: "1", Fraction: "0"}, {Value: "1"}}}), []string{"body right.unreachable"}},
		"units": {numericQuestion(inUnits(metres(), func(u *pb.UnitRules) {
			u.Units[0].Multiplier, u.Units[1].Symbol, u.Units[2].Multiplier = "2", "metre", "0"
		})), []string{"numeric.units.units[0].multiplier unit.first", "numeric.units.units[1].symbol unit.twice", "numeric.units.units[2].multiplier unit.zero"}},
		"unit like a number": {numericQuestion(inUnits(metres(), func(u *pb.UnitRules) { u.Units[0].Symbol = "2m" })), []string{"numeric.units.units[0].symbol unit.symbol"}},
		"no variables":       {with(sum, func(q *pb.QuestionContent) { q.Variables, q.Prompt = nil, "What?" }), []string{"variables required", "calculated.answers[0].formula formula.invalid"}},
		"formula":            {with(sum, func(q *pb.QuestionContent) { q.GetCalculated().Answers[0].Formula = "a +" }), []string{"calculated.answers[0].formula formula.invalid"}},
		"a truth":            {with(sum, func(q *pb.QuestionContent) { q.GetCalculated().Answers[0].Formula = "a < b" }), []string{"calculated.answers[0].formula formula.truth"}},
		"formula in a text":  {with(sum, func(q *pb.QuestionContent) { q.GeneralFeedback = "{=a+} {=c} {=a<b}" }), []string{"general_feedback formula.invalid", "general_feedback formula.invalid", "general_feedback formula.truth"}},
		"divided by b":       {with(sum, func(q *pb.QuestionContent) { q.GetCalculated().Answers[0].Formula = "a / b" }), []string{"calculated.answers[0].formula formula.undefined"}},
		"divided in a text":  {with(sum, func(q *pb.QuestionContent) { q.Prompt = "{=sqrt(b)}" }), []string{"prompt formula.undefined"}},
		"not constrained":    {with(sum, func(q *pb.QuestionContent) { q.Variables.Constraints = []string{"a", "a <"} }), []string{"variables.constraints[0] formula.number", "variables.constraints[1] formula.invalid"}},
		"never":              {with(sum, func(q *pb.QuestionContent) { q.Variables.Constraints = []string{"a < b and b < a"} }), []string{"variables.constraints variables.none"}},
		"hardly ever":        {with(sum, func(q *pb.QuestionContent) { q.Variables.Constraints = []string{"a == 10 and b == 5"} }), []string{"variables.constraints variables.none"}},
		"no row":             {with(trip(), func(q *pb.QuestionContent) { q.Variables.Constraints = []string{"t > 200"} }), []string{"variables.constraints variables.none"}},
		"names": {with(sum, func(q *pb.QuestionContent) {
			q.Variables.Variables = append(q.Variables.Variables, &pb.QuestionVariable{Name: "pi", Range: &pb.VariableRange{Min: "1", Max: "2"}}, &pb.QuestionVariable{Name: "and", Range: &pb.VariableRange{Min: "1", Max: "2"}}, &pb.QuestionVariable{Name: "a", Range: &pb.VariableRange{Min: "1", Max: "2"}})
		}), []string{"variables.variables[2].name variable.taken", "variables.variables[3].name variable.taken", "variables.variables[4].name variable.twice"}},
		"ranges": {with(sum, func(q *pb.QuestionContent) {
			q.Variables.Variables[0].Range.Max = "0"
			q.Variables.Variables[1].Range.Step = "0"
		}), []string{"variables.variables[0].range.max range.order", "variables.variables[1].range.step range.step"}},
		"too many values": {with(sum, func(q *pb.QuestionContent) { q.Variables.Variables[0].Range.Step = "0.000001" }), []string{"variables.variables[0].range.step range.too_many"}},
		"short rows":      {with(trip(), func(q *pb.QuestionContent) { q.Variables.Rows[3].Values = []string{"1"} }), []string{"variables.rows[3].values row.length"}},
		"rows lacking":    {with(trip(), func(q *pb.QuestionContent) { q.Variables.Rows = nil }), []string{"variables.rows required"}},
		"too long a formula": {with(sum, func(q *pb.QuestionContent) {
			q.GetCalculated().Answers[0].Formula = strings.Repeat("sin(a)+", 60) + "b"
		}), []string{"variables formula.too_much"}},
		"too much work": {with(trip(), func(q *pb.QuestionContent) {
			q.GetCalculated().Answers[0].Formula = strings.Repeat("sin(d)+", 40) + "t"
		}), []string{"variables.rows formula.too_much"}},
		"a range of formulas": {with(sum, func(q *pb.QuestionContent) { q.GetCalculated().Answers[0].Tolerance = &pb.Tolerance{Kind: "range"} }), []string{"calculated.answers[0].tolerance.kind tolerance.range"}},
		"stem without":        {with(matchingQuestion(), func(q *pb.QuestionContent) { q.GetMatching().Stems[1].RightKeys = []string{"x", "p", "p"} }), []string{"matching.stems[1].right_keys[0] key.unknown", "matching.stems[1].right_keys[2] key.twice"}},
		"gaps":                {with(blanksQuestion(), func(q *pb.QuestionContent) { q.Prompt = "[[1]] [[1]] [[2]] [[3]] [[4]] [[5]] [[6]]" }), []string{"blanks.gaps[0].key gap.mark", "prompt gap.unknown"}},
		"group of a gap":      {with(blanksQuestion(), func(q *pb.QuestionContent) { q.GetBlanks().Items[0].Group = "" }), []string{"blanks.gaps[3].drag.right_keys[0] key.unknown", "blanks.gaps[4].drag.right_keys[0] key.unknown"}},
		"one item for two":    {with(blanksQuestion(), func(q *pb.QuestionContent) { q.GetBlanks().Gaps[4].GetDrag().RightKeys = []string{"seine"} }), []string{"blanks.items[0].reuse item.reuse"}},
		"in a gap":            {with(blanksQuestion(), func(q *pb.QuestionContent) { q.GetBlanks().Gaps[0].GetTyped().Patterns[0].Fraction = "2" }), []string{"blanks.gaps[0].typed.patterns[0].fraction fraction.range", "blanks.gaps[0].typed.patterns pattern.no_right"}},
		"belongs nowhere":     {with(categoriseQuestion(), func(q *pb.QuestionContent) { q.GetCategorise().Items = q.GetCategorise().Items[3:] }), []string{"categorise.items categorise.nowhere"}},
		"in one":              {with(categoriseQuestion(), func(q *pb.QuestionContent) { q.GetCategorise().Several = false }), []string{"categorise.items[0].right_keys categorise.several", "categorise.items[2].right_keys categorise.several"}},
		"all right":           {with(hotSpotQuestion(), func(q *pb.QuestionContent) { q.GetHotSpot().Regions[2].Right = true }), []string{"hot_spot.regions region.no_wrong"}},
		"none right": {with(hotSpotQuestion(), func(q *pb.QuestionContent) {
			q.GetHotSpot().Regions[0].Right, q.GetHotSpot().Regions[1].Right = false, false
		}), []string{"hot_spot.regions region.no_right"}},
		"off the picture": {with(hotSpotQuestion(), func(q *pb.QuestionContent) {
			q.GetHotSpot().Regions[2].GetPolygon().Points[0].X = 2000
			q.GetHotSpot().Width = 100
		}), []string{"hot_spot.regions[1] region.outside", "hot_spot.regions[2] region.outside"}},
		"few marks":          {with(hotSpotQuestion(), func(q *pb.QuestionContent) { q.GetHotSpot().MaxMarks = 1 }), []string{"hot_spot.max_marks region.marks"}},
		"words":              {with(essayQuestion(), func(q *pb.QuestionContent) { q.GetEssay().MaxWords = 2 }), []string{"essay.max_words essay.bounds"}},
		"nothing to hand in": {with(essayQuestion(), func(q *pb.QuestionContent) { q.GetEssay().Format, q.GetEssay().Attachments = "none", nil }), []string{"essay.attachments essay.nothing"}},
		"files":              {with(fileQuestion(), func(q *pb.QuestionContent) { q.GetFileUpload().Files.MinCount = 4 }), []string{"file_upload.files.min_count files.bounds"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, faultsOf(t, Validate(c.q))); diff != "" {
				t.Error(diff)
			}
		})
	}
	large := single()
	large.GetChoice().Options = nil
	for range 50 {
		large.GetChoice().Options = append(large.GetChoice().Options, &pb.ChoiceOption{Text: strings.Repeat("a", 5000), Feedback: strings.Repeat("b", 10_000), Fraction: "1"})
	}
	if got := faultsOf(t, Validate(large)); !slices.Equal(got, []string{" question.too_large"}) {
		t.Errorf("a large question: %v", got)
	}
	if _, err := Compile(single(), Version+1); !errors.Is(err, ErrEngine) {
		t.Errorf("another engine: %v", err)
	}
}

func TestCheckAnswer(t *testing.T) {
	t.Parallel()
	none := &pb.Answer{Content: &pb.Answer_Choice{Choice: &pb.ChoiceAnswer{None: true}}}
	for name, c := range map[string]struct {
		q    *pb.QuestionContent
		a    *pb.Answer
		want []string
	}{
		"nothing":             {single(), nil, []string{" required"}},
		"no content":          {single(), &pb.Answer{}, []string{"content required"}},
		"another kind":        {single(), say("a"), []string{"content answer.kind"}},
		"cleared":             {single(), &pb.Answer{Content: &pb.Answer_Cleared{Cleared: &pb.ClearedAnswer{}}}, nil},
		"nothing asked":       {descriptionQuestion(), &pb.Answer{Content: &pb.Answer_Cleared{Cleared: &pb.ClearedAnswer{}}}, []string{"content answer.kind"}},
		"two of one":          {single(), choose("a", "b"), []string{"choice.keys choice.too_many"}},
		"unknown":             {multiple(""), choose("x"), []string{"choice.keys[0] key.unknown"}},
		"twice":               {multiple(""), choose("a", "a"), []string{"choice.keys repeated.unique"}},
		"none":                {multiple(""), none, nil},
		"none of one":         {single(), none, []string{"choice.none choice.none"}},
		"what is no number":   {numericQuestion(near("1", "absolute", "0")), count("one"), nil},
		"unit not asked":      {numericQuestion(near("1", "absolute", "0")), with(count("1"), func(a *pb.Answer) { a.GetNumber().Unit = "m" }), []string{"number.unit unit.not_asked"}},
		"unit unknown":        {numericQuestion(inUnits(metres(), func(u *pb.UnitRules) { u.Input = "select" })), with(count("1"), func(a *pb.Answer) { a.GetNumber().Unit = "mile" }), []string{"number.unit unit.unknown"}},
		"stem twice":          {matchingQuestion(), pairs("it", "r", "it", "x"), []string{"matching.pairs[1].choice_key key.unknown", "matching.pairs[1].stem_key key.twice"}},
		"order":               {orderingQuestion("", "a", "b"), order("b", "c"), []string{"ordering.keys[1] key.unknown"}},
		"part of an order":    {orderingQuestion("", "a", "b"), order("b"), nil},
		"gaps":                {blanksQuestion(), gaps("1", "#f", "2", "text", "4", "#x", "9", "text", "4", "#rhine", "5", "#rhine"), []string{"blanks.gaps[0].key gap.typed", "blanks.gaps[1].text gap.chosen", "blanks.gaps[2].key key.unknown", "blanks.gaps[3].gap_key key.unknown", "blanks.gaps[4].gap_key key.twice", "blanks.gaps[5].key item.used"}},
		"places":              {categoriseQuestion(), place([]string{"2", "even", "odd"}, []string{"2"}, []string{"9"}), []string{"categorise.placements[0].category_keys[1] key.unknown", "categorise.placements[1].item_key key.twice", "categorise.placements[2].item_key key.unknown"}},
		"marks":               {hotSpotQuestion(), point(801, 0, "x", "wall", "wall"), []string{"hot_spot.marks region.too_many", "hot_spot.marks[0].point region.outside", "hot_spot.marks[1].region_key key.unknown", "hot_spot.marks[3].region_key key.twice"}},
		"files of a text":     {essayQuestion(), &pb.Answer{Content: &pb.Answer_Essay{Essay: &pb.EssayAnswer{MediaIds: []string{pictureID, "media_01h455vb4pex5vsknk084sn02r", "media_01h455vb4pex5vsknk084sn02s"}}}}, []string{"essay.media_ids files.too_many"}},
		"many bytes":          {essayQuestion(), write(strings.Repeat("é", 100_001)), []string{"essay.text string.max_bytes"}},
		"as many as there be": {essayQuestion(), write(strings.Repeat("é", 100_000)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, faultsOf(t, instance(t, c.q, Seed{}).CheckAnswer(c.a))); diff != "" {
				t.Error(diff)
			}
		})
	}
	if err := instance(t, essayQuestion(), Seed{}).CheckAnswer(write(strings.Repeat("é", 140_000))); !errors.Is(err, ErrAnswerTooLarge) {
		t.Errorf("a large answer: %v", err)
	}
}

// TestKeys: keys that are made stay when others are moved, and tell nothing of the
// order.
func TestKeys(t *testing.T) {
	t.Parallel()
	q := ask("Order.", func(q *pb.QuestionContent) {
		q.Body = &pb.QuestionContent_Ordering{Ordering: &pb.OrderingQuestion{Items: []*pb.OrderingItem{{Text: "one"}, {Text: "two"}, {Text: "two"}, {Text: "three"}}}}
	})
	a := Normalise(q).GetOrdering().GetItems()
	q.GetOrdering().Items = append(q.GetOrdering().Items[3:], q.GetOrdering().Items[0])
	b := Normalise(q).GetOrdering().GetItems()
	if a[0].GetKey() != b[1].GetKey() || a[3].GetKey() != b[0].GetKey() || a[1].GetKey() == a[2].GetKey() || len(a[0].GetKey()) != 12 {
		t.Errorf("%v and %v", a, b)
	}
}
