package notify

import (
	_ "embed"
	"fmt"
	htmltemplate "html/template"
	"maps"
	"regexp"
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
	seatOffered     kind = "seat_offered"
	seatExpired     kind = "seat_expired"
	courseApproved  kind = "course_approved"
	courseReturned  kind = "course_returned"
	gradePosted     kind = "grade_posted"
	moneyBack       kind = "refund"
	refundDeclined  kind = "refund_declined"
	disputeOpened   kind = "dispute_opened"
	disputeWon      kind = "dispute_won"
	disputeLost     kind = "dispute_lost"
	payoutPaid      kind = "payout_paid"
	payoutFailed    kind = "payout_failed"
	payoutReversed  kind = "payout_reversed"

	subscriptionPaid   kind = "subscription_paid"
	subscriptionFailed kind = "subscription_failed"
	subscriptionEnded  kind = "subscription_ended"
)

// Kinds of mails that come with no notification: identity asks for them.
const (
	verifyEmail     kind = "verify_email"
	resetPassword   kind = "reset_password"
	changeEmail     kind = "change_email"
	emailChanged    kind = "email_changed"
	accountExists   kind = "account_exists"
	passwordChanged kind = "password_changed"
	newDevice       kind = "new_device"
	locked          kind = "locked"
)

// invitation is the kind of mail that access asks for.
const invitation kind = "invitation"

// facts are what a text may tell; which of them are set depends on the kind.
type facts struct {
	Name    string // of whom is told
	Student string // the student's name
	Course  string // the course's title
	Amount  string // what was paid, or given back
	Order   string // the order's id
	Day     string // when it was paid
	Cohort  string // the run of the course
	Until   string // until when something holds, in UTC
	Lines   []line // what was bought
	Link    string // where to go on
	Address string // the network address it came from
	Device  string // the program it came from
	Inviter string // the name of who invites
	Message string // what they write
	Code    string // what the link carries, to be typed
	Remarks int    // how many remarks there are
	Item    string // what of a course it is about
	Unpaid  bool   // that it ended because it was not paid
	Unused  bool   // that nothing was bought with it
}

// line is a course that was bought.
type line struct {
	Course string
	Amount string
}

// words are a text in one language with its facts put in. Some kinds have no
// mail, and some no notification. html is the text once more, as a page.
type words struct {
	title, body         string
	subject, text, html string
}

// source is the templates of one kind in one language, and what the button says
// that a mail's link is.
type source struct {
	title, body   string
	subject, text string
	button        string
}

// Sentences that several mails have.
const (
	fromEn   = `{{with .Device}} Program: {{.}}.{{end}}{{with .Address}} Network address: {{.}}.{{end}}`
	notYouEn = "If it was not you, choose a new password at once and end the sessions that you don't know."
	fromDe   = `{{with .Device}} Programm: {{.}}.{{end}}{{with .Address}} Netzadresse: {{.}}.{{end}}`
	notYouDe = "Wenn du es nicht warst, wähle gleich ein neues Passwort und beende die Sitzungen, die du nicht kennst."
)

// texts are all that people are told, by language and kind; those of money are apart.
var texts = with(moneyTexts, map[string]map[kind]source{
	"en": {
		welcome: {
			title:   "Welcome to Stoa",
			body:    "Hello {{.Name}}! Find a course in the marketplace, or make one of your own.",
			subject: "Welcome to Stoa",
			text:    "Hello{{greet .Name}},\n\nwelcome to Stoa. Find a course in the marketplace, or make one of your own.\n\nStoa\n",
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
			text: "Hello{{greet .Name}},\n\nthank you for your order {{.Order}} of {{.Day}}.\n\n" +
				"{{range .Lines}}- {{.Course}}: {{.Amount}}\n{{end}}\nTotal: {{.Amount}}\n\nStoa\n",
		},
		subscriptionPaid: {
			title:   "You paid {{.Amount}} for {{.Course}}",
			body:    "Your subscription is paid until {{.Until}}.",
			subject: "Your receipt of {{.Day}}",
			text: "Hello{{greet .Name}},\n\nyour subscription to {{.Course}} is paid until {{.Until}}. This is order {{.Order}} of {{.Day}}.\n\n" +
				"{{range .Lines}}- {{.Course}}: {{.Amount}}\n{{end}}\nTotal: {{.Amount}}\n\nStoa\n",
		},
		subscriptionFailed: {
			title:   "{{.Course}} could not be charged",
			body:    "{{with .Day}}It is tried again on {{.}}. {{end}}See to how you pay: your access lasts until {{.Until}}.",
			subject: "Your subscription to {{.Course}} could not be charged",
			text: "Hello{{greet .Name}},\n\nthe payment for the next period of your subscription to {{.Course}} has failed.{{with .Day}} It is tried again on {{.}}.{{end}} " +
				"Your access lasts until {{.Until}}. Change how you pay here:\n\n{{.Link}}\n\nStoa\n",
		},
		subscriptionEnded: {
			title:   "Your subscription to {{.Course}} has ended",
			body:    "{{if .Unpaid}}It could not be charged. {{end}}You can subscribe anew whenever you like.",
			subject: "Your subscription to {{.Course}} has ended",
			text:    "Hello{{greet .Name}},\n\nyour subscription to {{.Course}} ended on {{.Day}}{{if .Unpaid}}, because it could not be charged{{end}}. You can subscribe anew whenever you like.\n\nStoa\n",
		},
		courseCompleted: {
			title: "You have completed {{.Course}}",
			body:  "Well done! You have viewed every lesson.",
		},
		gradePosted: {
			title: "A grade is posted in {{.Course}}",
			body:  "See it in your grades: {{.Item}}.",
		},
		seatOffered: {
			title:   "A seat for {{.Course}} is held for you",
			body:    "Join {{.Cohort}} by {{.Until}}; after that it goes to the next.",
			subject: "A seat for {{.Course}} is held for you",
			text:    "Hello{{greet .Name}},\n\nyou waited for a seat of {{.Cohort}}, a run of {{.Course}}. One is held for you until {{.Until}}: join it by then. After that it goes to the next who waits.\n\nStoa\n",
		},
		seatExpired: {
			title: "The seat for {{.Course}} went to the next",
			body:  "You have not joined {{.Cohort}} in time. You can wait again.",
		},
		courseApproved: {
			title:   "{{.Course}} was approved",
			body:    "You can publish it now.{{with .Message}} The moderators say: “{{.}}”{{end}}",
			subject: "{{.Course}} was approved",
			text:    "Hello{{greet .Name}},\n\n{{.Course}} was approved as you submitted it. You can publish it now.{{with .Message}} The moderators say: “{{.}}”{{end}}\n\nStoa\n",
		},
		courseReturned: {
			title:   "{{.Course}} was returned",
			body:    "The moderators say: “{{.Message}}”{{if .Remarks}} Remarks on parts of it: {{.Remarks}}.{{end}}",
			subject: "{{.Course}} was returned",
			text: "Hello{{greet .Name}},\n\n{{.Course}} can't come into the marketplace as it is. The moderators say: “{{.Message}}”{{if .Remarks}} Remarks on parts of it: {{.Remarks}}.{{end}}\n\n" +
				"Change what they name, and submit it again.\n\nStoa\n",
		},
		verifyEmail: {
			subject: "Confirm your address",
			text:    "Hello{{greet .Name}},\n\nplease confirm that this address is yours:\n\n{{.Link}}\n\nIf you have not signed up with Stoa, you need do nothing.\n\nStoa\n",
			button:  "Confirm address",
		},
		resetPassword: {
			subject: "Choose a new password",
			text:    "Hello{{greet .Name}},\n\nhere you can choose a new password:\n\n{{.Link}}\n\nIf you have not asked for it, you need do nothing: your password stays as it is.\n\nStoa\n",
			button:  "Choose a password",
		},
		changeEmail: {
			subject: "Confirm your new address",
			text:    "Hello{{greet .Name}},\n\nplease confirm that your account is to have this address from now on:\n\n{{.Link}}\n\nIf you have not asked for it, you need do nothing.\n\nStoa\n",
			button:  "Confirm new address",
		},
		emailChanged: {
			subject: "Your address was changed",
			text:    "Hello{{greet .Name}},\n\nyour account has another address since {{.Day}}, and mails no longer go to this one." + fromEn + "\n\n" + notYouEn + "\n\nStoa\n",
		},
		accountExists: {
			subject: "You have an account already",
			text:    "Hello{{greet .Name}},\n\nsomebody, probably you, wanted to make an account with this address. You have one already: sign in with it, or choose a new password if you have forgotten yours.\n\nIf it was not you, you need do nothing.\n\nStoa\n",
		},
		passwordChanged: {
			subject: "Your password was changed",
			text:    "Hello{{greet .Name}},\n\nyour password was changed on {{.Day}}." + fromEn + "\n\n" + notYouEn + "\n\nStoa\n",
		},
		newDevice: {
			subject: "You signed in from a new device",
			text:    "Hello{{greet .Name}},\n\nsomebody signed in to your account on {{.Day}} from a device that we have not seen before." + fromEn + "\n\n" + notYouEn + "\n\nStoa\n",
		},
		locked: {
			subject: "Signing in is blocked for a while",
			text:    "Hello{{greet .Name}},\n\nsomebody tried many wrong passwords for your account, so that nobody can sign in with a password for a while, last on {{.Day}}." + fromEn + "\n\nIf it was you, wait a little, or choose a new password. If it was not you, your account is safe.\n\nStoa\n",
		},
		invitation: {
			subject: "You are invited to {{.Course}}",
			text: "Hello,\n\nyou are invited{{with greet .Inviter}} by{{.}}{{end}} to take the course “{{.Course}}”.{{with .Message}} They write: “{{.}}”{{end}}\n\n{{.Link}}\n\n" +
				"Sign in with any account, or make one. The code of the invitation is {{.Code}}. It lets one person in, until {{.Day}}. If you don't want to come, you need do nothing.\n\nStoa\n",
			button: "Accept the invitation",
		},
	},
	"de": {
		welcome: {
			title:   "Willkommen bei Stoa",
			body:    "Hallo {{.Name}}! Finde einen Kurs im Marktplatz oder mach einen eigenen.",
			subject: "Willkommen bei Stoa",
			text:    "Hallo{{greet .Name}},\n\nwillkommen bei Stoa. Finde einen Kurs im Marktplatz oder mach einen eigenen.\n\nStoa\n",
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
			text: "Hallo{{greet .Name}},\n\ndanke für deine Bestellung {{.Order}} vom {{.Day}}.\n\n" +
				"{{range .Lines}}- {{.Course}}: {{.Amount}}\n{{end}}\nSumme: {{.Amount}}\n\nStoa\n",
		},
		subscriptionPaid: {
			title:   "Du hast {{.Amount}} für {{.Course}} bezahlt",
			body:    "Dein Abonnement ist bis {{.Until}} bezahlt.",
			subject: "Deine Quittung vom {{.Day}}",
			text: "Hallo{{greet .Name}},\n\ndein Abonnement von {{.Course}} ist bis {{.Until}} bezahlt. Dies ist die Bestellung {{.Order}} vom {{.Day}}.\n\n" +
				"{{range .Lines}}- {{.Course}}: {{.Amount}}\n{{end}}\nSumme: {{.Amount}}\n\nStoa\n",
		},
		subscriptionFailed: {
			title:   "{{.Course}} konnte nicht abgebucht werden",
			body:    "{{with .Day}}Am {{.}} wird es wieder versucht. {{end}}Sieh nach, wie du zahlst: Dein Zugang gilt bis {{.Until}}.",
			subject: "Dein Abonnement von {{.Course}} konnte nicht abgebucht werden",
			text: "Hallo{{greet .Name}},\n\ndie Zahlung für den nächsten Zeitraum deines Abonnements von {{.Course}} ist fehlgeschlagen.{{with .Day}} Am {{.}} wird es wieder versucht.{{end}} " +
				"Dein Zugang gilt bis {{.Until}}. Hier änderst du, wie du zahlst:\n\n{{.Link}}\n\nStoa\n",
		},
		subscriptionEnded: {
			title:   "Dein Abonnement von {{.Course}} ist beendet",
			body:    "{{if .Unpaid}}Es konnte nicht abgebucht werden. {{end}}Du kannst es jederzeit neu abschließen.",
			subject: "Dein Abonnement von {{.Course}} ist beendet",
			text:    "Hallo{{greet .Name}},\n\ndein Abonnement von {{.Course}} endete am {{.Day}}{{if .Unpaid}}, weil es nicht abgebucht werden konnte{{end}}. Du kannst es jederzeit neu abschließen.\n\nStoa\n",
		},
		courseCompleted: {
			title: "Du hast {{.Course}} abgeschlossen",
			body:  "Gut gemacht! Du hast jede Lektion angesehen.",
		},
		seatOffered: {
			title:   "Ein Platz in {{.Course}} ist für dich frei",
			body:    "Tritt {{.Cohort}} bis {{.Until}} bei; danach bekommt ihn der Nächste.",
			subject: "Ein Platz in {{.Course}} ist für dich frei",
			text:    "Hallo{{greet .Name}},\n\ndu hast auf einen Platz in {{.Cohort}} gewartet, einem Durchgang von {{.Course}}. Bis {{.Until}} ist einer für dich frei: Tritt bis dahin bei. Danach bekommt ihn, wer als Nächstes wartet.\n\nStoa\n",
		},
		gradePosted: {
			title: "In {{.Course}} gibt es eine neue Note",
			body:  "Du findest sie bei deinen Noten: {{.Item}}.",
		},
		seatExpired: {
			title: "Der Platz in {{.Course}} ging weiter",
			body:  "Du bist {{.Cohort}} nicht rechtzeitig beigetreten. Du kannst wieder warten.",
		},
		courseApproved: {
			title:   "{{.Course}} ist freigegeben",
			body:    "Du kannst den Kurs jetzt veröffentlichen.{{with .Message}} Die Moderation schreibt: „{{.}}“{{end}}",
			subject: "{{.Course}} ist freigegeben",
			text:    "Hallo{{greet .Name}},\n\n{{.Course}} ist so freigegeben, wie du den Kurs eingereicht hast. Du kannst ihn jetzt veröffentlichen.{{with .Message}} Die Moderation schreibt: „{{.}}“{{end}}\n\nStoa\n",
		},
		courseReturned: {
			title:   "{{.Course}} kommt zurück",
			body:    "Die Moderation schreibt: „{{.Message}}“{{if .Remarks}} Anmerkungen zu einzelnen Teilen: {{.Remarks}}.{{end}}",
			subject: "{{.Course}} kommt zurück",
			text: "Hallo{{greet .Name}},\n\n{{.Course}} kann so noch nicht auf den Marktplatz. Die Moderation schreibt: „{{.Message}}“{{if .Remarks}} Anmerkungen zu einzelnen Teilen: {{.Remarks}}.{{end}}\n\n" +
				"Ändere, was sie nennt, und reiche den Kurs noch einmal ein.\n\nStoa\n",
		},
		verifyEmail: {
			subject: "Bestätige deine Adresse",
			text:    "Hallo{{greet .Name}},\n\nbitte bestätige, dass diese Adresse deine ist:\n\n{{.Link}}\n\nWenn du dich nicht bei Stoa angemeldet hast, brauchst du nichts zu tun.\n\nStoa\n",
			button:  "Adresse bestätigen",
		},
		resetPassword: {
			subject: "Wähle ein neues Passwort",
			text:    "Hallo{{greet .Name}},\n\nhier kannst du ein neues Passwort wählen:\n\n{{.Link}}\n\nWenn du nicht darum gebeten hast, brauchst du nichts zu tun: Dein Passwort bleibt, wie es ist.\n\nStoa\n",
			button:  "Passwort wählen",
		},
		changeEmail: {
			subject: "Bestätige deine neue Adresse",
			text:    "Hallo{{greet .Name}},\n\nbitte bestätige, dass dein Konto von nun an diese Adresse haben soll:\n\n{{.Link}}\n\nWenn du nicht darum gebeten hast, brauchst du nichts zu tun.\n\nStoa\n",
			button:  "Neue Adresse bestätigen",
		},
		emailChanged: {
			subject: "Deine Adresse wurde geändert",
			text:    "Hallo{{greet .Name}},\n\ndein Konto hat seit {{.Day}} eine andere Adresse, und an diese gehen keine Mails mehr." + fromDe + "\n\n" + notYouDe + "\n\nStoa\n",
		},
		accountExists: {
			subject: "Du hast schon ein Konto",
			text:    "Hallo{{greet .Name}},\n\njemand, vermutlich du, wollte mit dieser Adresse ein Konto anlegen. Du hast schon eines: Melde dich damit an, oder wähle ein neues Passwort, wenn du deines vergessen hast.\n\nWenn du es nicht warst, brauchst du nichts zu tun.\n\nStoa\n",
		},
		passwordChanged: {
			subject: "Dein Passwort wurde geändert",
			text:    "Hallo{{greet .Name}},\n\ndein Passwort wurde geändert: {{.Day}}." + fromDe + "\n\n" + notYouDe + "\n\nStoa\n",
		},
		newDevice: {
			subject: "Anmeldung von einem neuen Gerät",
			text:    "Hallo{{greet .Name}},\n\njemand hat sich mit deinem Konto von einem Gerät angemeldet, das wir noch nicht kennen: {{.Day}}." + fromDe + "\n\n" + notYouDe + "\n\nStoa\n",
		},
		locked: {
			subject: "Die Anmeldung ist eine Weile gesperrt",
			text:    "Hallo{{greet .Name}},\n\njemand hat für dein Konto viele falsche Passwörter versucht, so dass sich eine Weile niemand mit Passwort anmelden kann, zuletzt: {{.Day}}." + fromDe + "\n\nWenn du es warst, warte ein wenig, oder wähle ein neues Passwort. Wenn nicht, ist dein Konto sicher.\n\nStoa\n",
		},
		invitation: {
			subject: "Du bist eingeladen: {{.Course}}",
			text: "Hallo,\n\ndu bist{{with greet .Inviter}} von{{.}}{{end}} eingeladen, am Kurs „{{.Course}}“ teilzunehmen.{{with .Message}} Dazu schreibt man dir: „{{.}}“{{end}}\n\n{{.Link}}\n\n" +
				"Melde dich mit irgendeinem Konto an, oder leg eines an. Der Code der Einladung ist {{.Code}}. Er lässt eine Person hinein, bis {{.Day}}. Wenn du nicht kommen willst, brauchst du nichts zu tun.\n\nStoa\n",
			button: "Einladung annehmen",
		},
	},
})

// with adds texts to others.
func with(more, all map[string]map[kind]source) map[string]map[kind]source {
	for language, kinds := range more {
		maps.Copy(all[language], kinds)
	}
	return all
}

// templates are texts, parsed: language, kind, and which part.
var templates = parse()

func parse() *template.Template {
	root := template.New("").Funcs(template.FuncMap{"greet": greet})
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
	if out.text == "" {
		return out, nil
	}
	var err error
	out.html, err = asPage(languageOf(locale), k, out, f.Link)
	return out, err
}

//go:embed layout.html
var layoutText string

var layout = htmltemplate.Must(htmltemplate.New("").Parse(layoutText))

// paragraph is a part of a mail's page: lines, or the link on its own.
type paragraph struct {
	Lines []string
	Link  string
}

// asPage makes the page of a mail's text. No fact makes a link of itself: only a
// paragraph that is the link as a whole does.
func asPage(language string, k kind, w words, link string) (string, error) {
	var paragraphs []paragraph
	for text := range strings.SplitSeq(strings.TrimSpace(w.text), "\n\n") {
		if text == link && link != "" {
			paragraphs = append(paragraphs, paragraph{Link: link})
		} else {
			paragraphs = append(paragraphs, paragraph{Lines: strings.Split(text, "\n")})
		}
	}
	var b strings.Builder
	err := layout.Execute(&b, struct {
		Language, Subject, Button string
		Paragraphs                []paragraph
	}{language, w.subject, texts[language][k].button, paragraphs})
	if err != nil {
		return "", fmt.Errorf("page of %s: %w", k, err)
	}
	return b.String(), nil
}

// likeLink is what a mail program may make a link of.
var likeLink = regexp.MustCompile(`[/:@]|\S\.\S`)

// greet returns a name as it follows a greeting. What looks like a link or an
// address is left out: somebody who signs up with the address of another must
// not be able to tell them anything in our name.
func greet(name string) string {
	if name == "" || likeLink.MatchString(name) {
		return ""
	}
	return " " + name
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

// programOf returns what is known of a program by how it calls itself, such as
// "Firefox, Linux": nothing of what a stranger may put there is told.
func programOf(userAgent string) string {
	var known []string
	for _, words := range [][][2]string{
		{{"Edg", "Edge"}, {"OPR/", "Opera"}, {"Firefox", "Firefox"}, {"FxiOS", "Firefox"}, {"CriOS", "Chrome"}, {"Chrome", "Chrome"}, {"Safari", "Safari"}},
		{{"Windows", "Windows"}, {"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Macintosh", "macOS"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"}},
	} {
		for _, w := range words {
			if strings.Contains(userAgent, w[0]) {
				known = append(known, w[1])
				break
			}
		}
	}
	return strings.Join(known, ", ")
}

// cleaned makes each fact that somebody typed one line, so that it can neither
// end a header nor pass for a text of ours.
func (f facts) cleaned() facts {
	f.Name, f.Student, f.Course, f.Cohort = oneLine(f.Name), oneLine(f.Student), oneLine(f.Course), oneLine(f.Cohort)
	f.Item = oneLine(f.Item)
	f.Address, f.Inviter, f.Message = oneLine(f.Address), oneLine(f.Inviter), unlinked(shorten(f.Message, maxMessage))
	lines := make([]line, len(f.Lines))
	for i, l := range f.Lines {
		lines[i] = line{Course: oneLine(l.Course), Amount: l.Amount}
	}
	f.Lines = lines
	return f
}

// maxFact bounds a fact in characters, and maxMessage what somebody writes.
const (
	maxFact    = 200
	maxMessage = 500
)

// oneLine returns s without line ends, other control characters and characters
// that turn the direction of what follows, with single spaces, and not longer
// than a text bears.
func oneLine(s string) string { return shorten(s, maxFact) }

// shorten is oneLine for another length.
func shorten(s string, most int) string {
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
	if letters := []rune(s); len(letters) > most {
		s = string(letters[:most-1]) + "…"
	}
	return s
}
