package notify

import (
	"fmt"
	"strings"
	"text/template"
	"unicode"
)

// kind is what a notification is about, as its contract lists them.
type kind string

const (
	welcome         kind = "welcome"
	enrollment      kind = "enrollment"
	newStudent      kind = "new_student"
	sale            kind = "sale"
	receipt         kind = "receipt"
	courseCompleted kind = "course_completed"
)

// facts are what a text may tell; which of them are set depends on the kind.
type facts struct {
	Name    string // of whom is told
	Student string // the student's name
	Course  string // the course's title
	Amount  string // what was paid
	Order   string // the order's id
	Day     string // when it was paid
	Lines   []line // what was bought
}

// line is a course that was bought.
type line struct {
	Course string
	Amount string
}

// words are a text in one language with its facts put in. Only some kinds have
// a mail.
type words struct {
	title, body   string
	subject, text string
}

// source is the templates of one kind in one language.
type source struct {
	title, body   string
	subject, text string
}

// texts are all that people are told, by language and kind.
var texts = map[string]map[kind]source{
	"en": {
		welcome: {
			title:   "Welcome to Stoa",
			body:    "Hello {{.Name}}! Find a course in the marketplace, or make one of your own.",
			subject: "Welcome to Stoa",
			text:    "Hello {{.Name}},\n\nwelcome to Stoa. Find a course in the marketplace, or make one of your own.\n\nStoa\n",
		},
		enrollment: {
			title: "You are enrolled in {{.Course}}",
			body:  "Begin with the first lesson whenever you like.",
		},
		newStudent: {
			title: "{{.Student}} takes {{.Course}}",
			body:  "You have a new student.",
		},
		sale: {
			title: "You sold {{.Course}}",
			body:  "The price was {{.Amount}}.",
		},
		receipt: {
			title:   "You paid {{.Amount}}",
			body:    `{{if eq (len .Lines) 1}}{{range .Lines}}{{.Course}} is yours.{{end}}{{else}}{{len .Lines}} courses are yours.{{end}}`,
			subject: "Your receipt of {{.Day}}",
			text: "Hello {{.Name}},\n\nthank you for your order {{.Order}} of {{.Day}}.\n\n" +
				"{{range .Lines}}- {{.Course}}: {{.Amount}}\n{{end}}\nTotal: {{.Amount}}\n\nStoa\n",
		},
		courseCompleted: {
			title: "You have completed {{.Course}}",
			body:  "Well done! You have viewed every lesson.",
		},
	},
	"de": {
		welcome: {
			title:   "Willkommen bei Stoa",
			body:    "Hallo {{.Name}}! Finde einen Kurs im Marktplatz oder mach einen eigenen.",
			subject: "Willkommen bei Stoa",
			text:    "Hallo {{.Name}},\n\nwillkommen bei Stoa. Finde einen Kurs im Marktplatz oder mach einen eigenen.\n\nStoa\n",
		},
		enrollment: {
			title: "Du nimmst an {{.Course}} teil",
			body:  "Beginne mit der ersten Lektion, wann du magst.",
		},
		newStudent: {
			title: "{{.Student}} nimmt an {{.Course}} teil",
			body:  "Du hast eine neue Teilnehmerin oder einen neuen Teilnehmer.",
		},
		sale: {
			title: "Du hast {{.Course}} verkauft",
			body:  "Der Preis war {{.Amount}}.",
		},
		receipt: {
			title:   "Du hast {{.Amount}} bezahlt",
			body:    `{{if eq (len .Lines) 1}}{{range .Lines}}{{.Course}} gehört dir.{{end}}{{else}}{{len .Lines}} Kurse gehören dir.{{end}}`,
			subject: "Deine Quittung vom {{.Day}}",
			text: "Hallo {{.Name}},\n\ndanke für deine Bestellung {{.Order}} vom {{.Day}}.\n\n" +
				"{{range .Lines}}- {{.Course}}: {{.Amount}}\n{{end}}\nSumme: {{.Amount}}\n\nStoa\n",
		},
		courseCompleted: {
			title: "Du hast {{.Course}} abgeschlossen",
			body:  "Gut gemacht! Du hast jede Lektion angesehen.",
		},
	},
}

// templates are texts, parsed: language, kind, and which part.
var templates = parse()

func parse() *template.Template {
	root := template.New("")
	for language, kinds := range texts {
		for k, s := range kinds {
			for part, text := range map[string]string{"title": s.title, "body": s.body, "subject": s.subject, "text": s.text} {
				template.Must(root.New(language + "/" + string(k) + "/" + part).Parse(text))
			}
		}
	}
	return root
}

// tell returns what somebody with the given locale is told.
func tell(k kind, locale string, f facts) (words, error) {
	var out words
	f = f.cleaned()
	for _, part := range []struct {
		name string
		to   *string
	}{{"title", &out.title}, {"body", &out.body}, {"subject", &out.subject}, {"text", &out.text}} {
		var b strings.Builder
		if err := templates.ExecuteTemplate(&b, languageOf(locale)+"/"+string(k)+"/"+part.name, f); err != nil {
			return words{}, fmt.Errorf("text of %s: %w", k, err)
		}
		*part.to = b.String()
	}
	return out, nil
}

// languageOf returns the language of a BCP 47 tag, English when there are no
// texts in it.
func languageOf(locale string) string {
	base, _, _ := strings.Cut(strings.ToLower(locale), "-")
	if _, ok := texts[base]; ok {
		return base
	}
	return "en"
}

// cleaned makes each fact that somebody typed one line, so that it can neither
// end a header nor pass for a text of ours.
func (f facts) cleaned() facts {
	f.Name, f.Student, f.Course = oneLine(f.Name), oneLine(f.Student), oneLine(f.Course)
	lines := make([]line, len(f.Lines))
	for i, l := range f.Lines {
		lines[i] = line{Course: oneLine(l.Course), Amount: l.Amount}
	}
	f.Lines = lines
	return f
}

// maxFact bounds a fact in characters.
const maxFact = 200

// oneLine returns s without line ends, other control characters and characters
// that turn the direction of what follows, with single spaces, and not longer
// than a text bears.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		case r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069', r == '\u200e', r == '\u200f', r == '\u061c':
			return -1
		default:
			return r
		}
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if letters := []rune(s); len(letters) > maxFact {
		s = string(letters[:maxFact-1]) + "…"
	}
	return s
}
