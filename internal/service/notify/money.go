package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// moneyTexts are what buyers are told of money that comes back, and teachers of disputes
// and payouts.
var moneyTexts = map[string]map[kind]source{
	"en": {
		moneyBack: {
			title:   "You get {{.Amount}} back",
			body:    "It is for your order {{.Order}}. It may take some days until you see it.",
			subject: "You get {{.Amount}} back",
			text: "Hello{{greet .Name}},\n\nof what you paid for your order {{.Order}} you get {{.Amount}} back{{if .Lines}}:{{else}}.{{end}}" +
				"{{if .Unused}} It came too late, or was not what was asked for, so nothing was bought with it.{{end}}" +
				"{{range .Lines}}\n- {{.Course}}: {{.Amount}}{{end}}\n\nIt goes the way that it came, and may take some days until you see it.\n\nStoa\n",
		},
		refundDeclined: {
			title:   "You get no money back for {{.Course}}",
			body:    "Your request was declined.{{with .Message}} The answer: “{{.}}”{{end}}",
			subject: "You get no money back for {{.Course}}",
			text: "Hello{{greet .Name}},\n\nyou asked to have back what you paid for {{.Course}} with your order {{.Order}}. That was declined." +
				"{{with .Message}} The answer: “{{.}}”{{end}}\n\nStoa\n",
		},
		disputeOpened: {
			title:   "A buyer's bank wants money back for {{.Course}}",
			body:    "Your share of it is held until that is settled. You need do nothing.",
			subject: "A buyer's bank wants money back for {{.Course}}",
			text: "Hello{{greet .Name}},\n\na buyer's bank wants back what was paid for {{.Course}} with order {{.Order}}. Your share of it is held until that is settled. " +
				"You need do nothing: the platform answers the bank.\n\nStoa\n",
		},
		disputeWon: {
			title: "A dispute over {{.Course}} was won",
			body:  "The money stays, and so does your share.",
		},
		disputeLost: {
			title:   "A dispute over {{.Course}} was lost",
			body:    "The buyer's bank keeps the money. Your share of it is taken back.",
			subject: "A dispute over {{.Course}} was lost",
			text: "Hello{{greet .Name}},\n\nthe buyer's bank keeps what was paid for {{.Course}} with order {{.Order}}. Your share of it is taken back, " +
				"and the buyer's access has ended where nothing of it is left.\n\nStoa\n",
		},
		payoutPaid: {
			title:   "You were paid {{.Amount}}",
			body:    "It is on its way to your bank. The statement has every line behind it.",
			subject: "You were paid {{.Amount}}",
			text: "Hello{{greet .Name}},\n\n{{.Amount}} that you have earned went to your account at the payment provider on {{.Day}}, from which it goes to your bank. " +
				"The statement of payout {{.Order}} has every line behind it.\n\nStoa\n",
		},
		payoutFailed: {
			title:   "You could not be paid {{.Amount}}",
			body:    "It stays yours, and is paid with the next run. See whether your payout account lacks something.",
			subject: "You could not be paid {{.Amount}}",
			text: "Hello{{greet .Name}},\n\nthe payment provider did not take {{.Amount}} for you. It stays yours, and is paid with the next run. " +
				"See whether your payout account lacks something.\n\nStoa\n",
		},
		payoutReversed: {
			title:   "{{.Amount}} of a payout was taken back",
			body:    "It is yours, and is paid with another run.",
			subject: "{{.Amount}} of a payout was taken back",
			text:    "Hello{{greet .Name}},\n\n{{.Amount}} of payout {{.Order}} was taken back by the platform. It is yours, and is paid with another run.\n\nStoa\n",
		},
	},
	"de": {
		moneyBack: {
			title:   "Du bekommst {{.Amount}} zurück",
			body:    "Es geht um deine Bestellung {{.Order}}. Bis du es siehst, können einige Tage vergehen.",
			subject: "Du bekommst {{.Amount}} zurück",
			text: "Hallo{{greet .Name}},\n\nvon dem, was du für deine Bestellung {{.Order}} bezahlt hast, bekommst du {{.Amount}} zurück{{if .Lines}}:{{else}}.{{end}}" +
				"{{if .Unused}} Es kam zu spät oder war nicht das, was verlangt war. Darum wurde nichts damit gekauft.{{end}}" +
				"{{range .Lines}}\n- {{.Course}}: {{.Amount}}{{end}}\n\nEs geht den Weg zurück, den es gekommen ist. Bis du es siehst, können einige Tage vergehen.\n\nStoa\n",
		},
		refundDeclined: {
			title:   "Für {{.Course}} gibt es kein Geld zurück",
			body:    "Deine Bitte wurde abgelehnt.{{with .Message}} Die Antwort: „{{.}}“{{end}}",
			subject: "Für {{.Course}} gibt es kein Geld zurück",
			text: "Hallo{{greet .Name}},\n\ndu hast gebeten, zurückzubekommen, was du mit deiner Bestellung {{.Order}} für {{.Course}} bezahlt hast. Das wurde abgelehnt." +
				"{{with .Message}} Die Antwort: „{{.}}“{{end}}\n\nStoa\n",
		},
		disputeOpened: {
			title:   "Eine Bank will Geld für {{.Course}} zurück",
			body:    "Dein Anteil bleibt einbehalten, bis das geklärt ist. Du brauchst nichts zu tun.",
			subject: "Eine Bank will Geld für {{.Course}} zurück",
			text: "Hallo{{greet .Name}},\n\ndie Bank von jemandem, der gekauft hat, will zurück, was mit der Bestellung {{.Order}} für {{.Course}} bezahlt wurde. " +
				"Dein Anteil bleibt einbehalten, bis das geklärt ist. Du brauchst nichts zu tun: Die Plattform antwortet der Bank.\n\nStoa\n",
		},
		disputeWon: {
			title: "Der Streit um {{.Course}} ist gewonnen",
			body:  "Das Geld bleibt, und damit dein Anteil.",
		},
		disputeLost: {
			title:   "Der Streit um {{.Course}} ist verloren",
			body:    "Die Bank behält das Geld. Dein Anteil daran geht zurück.",
			subject: "Der Streit um {{.Course}} ist verloren",
			text: "Hallo{{greet .Name}},\n\ndie Bank behält, was mit der Bestellung {{.Order}} für {{.Course}} bezahlt wurde. Dein Anteil daran geht zurück, " +
				"und der Zugang ist beendet, wo nichts davon übrig ist.\n\nStoa\n",
		},
		payoutPaid: {
			title:   "Du hast {{.Amount}} bekommen",
			body:    "Es ist auf dem Weg zu deiner Bank. Die Abrechnung hat jede Zeile dazu.",
			subject: "Du hast {{.Amount}} bekommen",
			text: "Hallo{{greet .Name}},\n\n{{.Amount}}, die du verdient hast, gingen am {{.Day}} an dein Konto beim Zahlungsanbieter und von dort an deine Bank. " +
				"Die Abrechnung der Auszahlung {{.Order}} hat jede Zeile dazu.\n\nStoa\n",
		},
		payoutFailed: {
			title:   "{{.Amount}} konnten nicht ausgezahlt werden",
			body:    "Das Geld bleibt deines und kommt mit der nächsten Auszahlung. Sieh nach, ob deinem Konto etwas fehlt.",
			subject: "{{.Amount}} konnten nicht ausgezahlt werden",
			text: "Hallo{{greet .Name}},\n\nder Zahlungsanbieter hat {{.Amount}} für dich nicht angenommen. Das Geld bleibt deines und kommt mit der nächsten Auszahlung. " +
				"Sieh nach, ob deinem Konto für Auszahlungen etwas fehlt.\n\nStoa\n",
		},
		payoutReversed: {
			title:   "{{.Amount}} einer Auszahlung wurden zurückgeholt",
			body:    "Das Geld ist deines und kommt mit einer anderen Auszahlung.",
			subject: "{{.Amount}} einer Auszahlung wurden zurückgeholt",
			text:    "Hallo{{greet .Name}},\n\ndie Plattform hat {{.Amount}} der Auszahlung {{.Order}} zurückgeholt. Das Geld ist deines und kommt mit einer anderen Auszahlung.\n\nStoa\n",
		},
	},
}

// boughtAs says what somebody has bought, in the language of a locale.
func boughtAs(locale string, l interface {
	GetTitle() string
	GetKind() string
	GetQuantity() int32
	GetBundleTitle() string
},
) string {
	gift, seat, seats := "Gift: ", "1 seat: ", "%d seats: "
	if languageOf(locale) == "de" {
		gift, seat, seats = "Geschenk: ", "1 Platz: ", "%d Plätze: "
	}
	switch {
	case l.GetKind() == "gift":
		return gift + l.GetTitle()
	case l.GetKind() == "seats" && l.GetQuantity() <= 1:
		return seat + l.GetTitle()
	case l.GetKind() == "seats":
		return fmt.Sprintf(seats, l.GetQuantity()) + l.GetTitle()
	case l.GetBundleTitle() != "":
		return l.GetBundleTitle() + ": " + l.GetTitle()
	default:
		return l.GetTitle()
	}
}

// tellAll makes notes with the mails that go with them, where their kind has one.
func (s *Service) tellAll(ctx context.Context, tx *pg.Tx, notes ...note) error {
	if err := s.notify(ctx, tx, notes...); err != nil {
		return err
	}
	for _, n := range notes {
		if texts["en"][n.kind].subject == "" {
			continue
		}
		if err := s.mail(ctx, tx, n); err != nil {
			return err
		}
	}
	return nil
}

// linesRefunded tells the buyer what they get back, also by mail. Of a dispute that was
// lost their bank tells them.
func (s *Service) linesRefunded(ctx context.Context, tx *pg.Tx, e *commercepb.LinesRefunded) error {
	if e.GetRefundId() == "" {
		return nil
	}
	who, err := s.people(ctx, tx, e.GetBuyerId())
	if err != nil {
		return err
	}
	n := note{to: who[e.GetBuyerId()], kind: moneyBack, about: e.GetRefundId(), facts: facts{Order: e.GetOrderId()}}
	total := &moneypb.Money{}
	for _, l := range e.GetLines() {
		if l.GetAmount().GetAmount() == 0 {
			continue
		}
		total.Amount, total.Currency = total.GetAmount()+l.GetAmount().GetAmount(), l.GetAmount().GetCurrency()
		n.facts.Lines = append(n.facts.Lines, line{Course: boughtAs(n.to.Locale, l), Amount: format(l.GetAmount())})
	}
	if total.GetAmount() == 0 {
		return nil
	}
	n.facts.Name, n.facts.Amount = n.to.Name, format(total)
	if len(e.GetLines()) == 1 {
		n.courseID = e.GetLines()[0].GetCourseId()
	}
	return s.tellAll(ctx, tx, n)
}

// paymentReturned tells the buyer that money went back which belongs to nothing that they
// bought, also by mail.
func (s *Service) paymentReturned(ctx context.Context, tx *pg.Tx, e *commercepb.PaymentReturned) error {
	who, err := s.people(ctx, tx, e.GetBuyerId())
	if err != nil {
		return err
	}
	p := who[e.GetBuyerId()]
	return s.tellAll(ctx, tx, note{
		to: p, kind: moneyBack, about: e.GetRefundId(), facts: facts{Name: p.Name, Order: e.GetOrderId(), Amount: format(e.GetAmount()), Unused: e.GetUnused()},
	})
}

// refundRequestDeclined tells who asked for their money, also by mail.
func (s *Service) refundRequestDeclined(ctx context.Context, tx *pg.Tx, e *commercepb.RefundRequestDeclined) error {
	who, err := s.people(ctx, tx, e.GetBuyerId())
	if err != nil {
		return err
	}
	p := who[e.GetBuyerId()]
	return s.tellAll(ctx, tx, note{
		to: p, kind: refundDeclined, about: e.GetRequestId(), courseID: e.GetCourseId(),
		facts: facts{Name: p.Name, Course: boughtAs(p.Locale, e), Order: e.GetOrderId(), Message: e.GetAnswer()},
	})
}

func (s *Service) disputeOpened(ctx context.Context, tx *pg.Tx, e *commercepb.DisputeOpened) error {
	return s.disputed(ctx, tx, disputeOpened, e)
}

func (s *Service) disputeSettled(ctx context.Context, tx *pg.Tx, e *commercepb.DisputeSettled) error {
	k := disputeLost
	if e.GetWon() {
		k = disputeWon
	}
	return s.disputed(ctx, tx, k, e)
}

// disputed tells the teacher of each line of an order how a dispute of it stands.
func (s *Service) disputed(ctx context.Context, tx *pg.Tx, k kind, e interface {
	GetDisputeId() string
	GetOrderId() string
	GetLines() []*commercepb.DisputedLine
},
) error {
	var sellers []string
	for _, l := range e.GetLines() {
		sellers = append(sellers, l.GetSellerId())
	}
	who, err := s.people(ctx, tx, sellers...)
	if err != nil {
		return err
	}
	var notes []note
	for _, l := range e.GetLines() {
		p := who[l.GetSellerId()]
		notes = append(notes, note{
			to: p, kind: k, about: e.GetDisputeId() + " " + l.GetLineId(), courseID: l.GetCourseId(),
			facts: facts{Name: p.Name, Course: l.GetTitle(), Order: e.GetOrderId()},
		})
	}
	return s.tellAll(ctx, tx, notes...)
}

func (s *Service) payoutPaid(ctx context.Context, tx *pg.Tx, e *commercepb.PayoutPaid) error {
	return s.payout(ctx, tx, payoutPaid, e.GetPayoutId(), e.GetTeacherId(), e, e.GetPaidAt().AsTime())
}

func (s *Service) payoutFailed(ctx context.Context, tx *pg.Tx, e *commercepb.PayoutFailed) error {
	return s.payout(ctx, tx, payoutFailed, e.GetPayoutId(), e.GetTeacherId(), e, e.GetFailedAt().AsTime())
}

// payoutReversed may tell of a payout several times: what was taken back by then tells
// them apart.
func (s *Service) payoutReversed(ctx context.Context, tx *pg.Tx, e *commercepb.PayoutReversed) error {
	about := fmt.Sprintf("%s %d", e.GetPayoutId(), e.GetReversed().GetAmount())
	return s.payout(ctx, tx, payoutReversed, about, e.GetTeacherId(), e, e.GetReversedAt().AsTime())
}

// payout tells a teacher of a payout, also by mail.
func (s *Service) payout(ctx context.Context, tx *pg.Tx, k kind, about, teacher string, e interface {
	GetPayoutId() string
	GetAmount() *moneypb.Money
}, at time.Time,
) error {
	who, err := s.people(ctx, tx, teacher)
	if err != nil {
		return err
	}
	p := who[teacher]
	return s.tellAll(ctx, tx, note{
		to: p, kind: k, about: about, facts: facts{Name: p.Name, Amount: format(e.GetAmount()), Order: e.GetPayoutId(), Day: at.Format(time.DateOnly)},
	})
}
