package demo

// password is everybody's in the demo school: the porch is what Stoa means.
const password = "painted-porch-2026" //nolint:gosec // it is meant to be known

// person is somebody of the demo school. Who has a bio teaches.
type person struct {
	who      string // what they show, in a few words
	name     string
	email    string
	timeZone string
	bio      string
	did      []step // what a student did, in order
}

// The courses, by their folder.
const (
	statistics = "statistics"
	english    = "english"
	git        = "git"
)

// people are all of the demo school, those to try first at the top. They live
// their lives from the last to the first; see [school.complete].
var people = []person{
	{
		who: "teacher of two courses", name: "Mara Q.", email: "mara@example.org", timeZone: "Europe/Vienna",
		bio: "I have taught numbers to people who were sure that numbers were not for them: nurses, journalists, bakers. " +
			"Most of what I know about teaching I learnt from the questions at the end of a lesson.",
	},
	{
		who: "teacher of one course", name: "Tomas V.", email: "tomas@example.org", timeZone: "America/Montevideo",
		bio: "Editor for twenty years, mostly of texts whose authors knew too much. I cut, and then I ask what is missing.",
	},
	{
		who: "student, completed a course", name: "Ines K.", email: "ines@example.org", timeZone: "Europe/Lisbon",
		did: []step{enroll(git), study(git, all)},
	},
	{
		who: "student, half-way", name: "Joel P.", email: "joel@example.org", timeZone: "Europe/Helsinki",
		did: []step{enroll(git), study(git, 4)},
	},
	{
		who: "student, bought two courses", name: "Lena S.", email: "lena@example.org", timeZone: "Europe/Berlin",
		did: []step{buy(statistics), buy(english), study(statistics, 2)},
	},
	{
		who: "student, never enrolled", name: "Noor A.", email: "noor@example.org", timeZone: "Asia/Dubai",
	},
	{
		who: "student, just enrolled", name: "Otto B.", email: "otto@example.org", timeZone: "Europe/Vienna",
		did: []step{enroll(git)},
	},
	{
		who: "student, bought, not begun", name: "Pia D.", email: "pia@example.org", timeZone: "Europe/Rome",
		did: []step{buy(statistics)},
	},
	{
		who: "student, paid course done", name: "Remy F.", email: "remy@example.org", timeZone: "Europe/Brussels",
		did: []step{buy(english), study(english, all)},
	},
	{
		who: "student, order not paid", name: "Sana G.", email: "sana@example.org", timeZone: "Asia/Kolkata",
		did: []step{order(statistics)},
	},
	{
		who: "student, order cancelled", name: "Timo H.", email: "timo@example.org", timeZone: "Europe/Tallinn",
		did: []step{cancel(english)},
	},
	{
		who: "student, payment declined", name: "Uma J.", email: "uma@example.org", timeZone: "America/Toronto",
		did: []step{decline(statistics)},
	},
}

// lastStudent is who does something last.
func lastStudent() person {
	for _, p := range people {
		if p.bio == "" {
			return p
		}
	}
	return person{}
}

// byEmail returns who has an address.
func byEmail(email string) (person, bool) {
	for _, p := range people {
		if p.email == email {
			return p, true
		}
	}
	return person{}, false
}
