package edge

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/money"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/notify/notifypb"
)

//go:embed assets/*.html
var pageFiles embed.FS

//go:embed assets/style.css
var styleSheet []byte

//go:embed assets/openapi.json
var openAPIDocument []byte

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"money": func(m interface {
		GetAmount() int64
		GetCurrency() string
	},
	) string {
		return money.Format(m.GetAmount(), m.GetCurrency())
	},
}).ParseFS(pageFiles, "assets/*.html"))

// show writes a page; one that can't be made is a 500 and not half a page.
func (e *Edge) show(w http.ResponseWriter, r *http.Request, name string, data any) {
	var buf bytes.Buffer
	if err := pages.ExecuteTemplate(&buf, name, data); err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = buf.WriteTo(w)
}

func (e *Edge) homePage(w http.ResponseWriter, r *http.Request) {
	e.show(w, r, "home.html", struct {
		Status
		Development bool
	}{e.Status(), e.Development})
}

func asset(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("file") != "style.css" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "max-age=3600")
	_, _ = w.Write(styleSheet)
}

func openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age=300")
	_, _ = w.Write(openAPIDocument)
}

// payPage is the development provider's page for one payment.
func (e *Edge) payPage(w http.ResponseWriter, r *http.Request) {
	p, err := e.commerce.GetDevelopmentPayment(r.Context(), &commercepb.GetDevelopmentPaymentRequest{PaymentId: r.PathValue("payment_id")})
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	e.show(w, r, "pay.html", p)
}

// settle does what a button of the pay page says.
func (e *Edge) settle(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(e.Timeout))
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	if err := r.ParseForm(); err != nil || !utf8.ValidString(r.PostForm.Get("outcome")) {
		writeProblem(w, r, e.Log, fault.New(fault.Invalid, "request.bad_form", "The form can't be read."))
		return
	}
	seconds := int64(0)
	if text := r.PostForm.Get("period_seconds"); text != "" {
		var err error
		if seconds, err = strconv.ParseInt(text, 10, 32); err != nil {
			writeProblem(w, r, e.Log, fault.InvalidField("period_seconds", "field.number", "A number of seconds, 0 for the interval of the plan."))
			return
		}
	}
	p, err := e.commerce.SettleDevelopmentPayment(r.Context(), &commercepb.SettleDevelopmentPaymentRequest{
		PaymentId: r.PathValue("payment_id"), Outcome: r.PostForm.Get("outcome"), PeriodSeconds: int32(seconds),
	})
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	http.Redirect(w, r, "/pay/"+p.GetId(), http.StatusSeeOther)
}

// mailPage shows the mails that the development outbox holds.
func (e *Edge) mailPage(w http.ResponseWriter, r *http.Request) {
	if !e.Development {
		e.notFound(w, r)
		return
	}
	res, err := e.notify.ListDevelopmentMail(r.Context(), &notifypb.ListDevelopmentMailRequest{PageSize: 100})
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	e.show(w, r, "mail.html", res.GetItems())
}
