package commerce_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pdf"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// fakeAccess says where accounts are enrolled.
type fakeAccess struct {
	accesspb.UnimplementedAccessServiceServer
	mu       sync.Mutex
	enrolled map[string]bool // account + course
}

func (f *fakeAccess) ListEntitled(_ context.Context, req *accesspb.ListEntitledRequest) (*accesspb.ListEntitledResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	res := &accesspb.ListEntitledResponse{}
	for _, c := range req.GetCourseIds() {
		if f.enrolled[req.GetAccountId()+c] {
			res.CourseIds = append(res.CourseIds, c)
		}
	}
	return res, nil
}

// shop is commerce on a database of its own.
type shop struct {
	testing.TB
	url       string // of its database
	db        *pg.DB
	client    commercepb.CommerceServiceClient
	revenue   commercepb.RevenueServiceClient
	refunds   commercepb.RefundServiceClient
	payouts   commercepb.PayoutServiceClient
	invoices  commercepb.InvoiceServiceClient
	events    commercepb.EventServiceClient
	access    *fakeAccess
	grants    *fakeGrants
	seats     *fakeSeats
	reconcile commercepb.ReconcileServiceClient
	cfg       commerce.Config
	svc       *commerce.Service
	now       atomic.Int64
	catalog   commercepb.CatalogServiceClient
	bundles   commercepb.BundleServiceClient
	coupons   commercepb.CouponServiceClient
	desk      commercepb.CheckoutServiceClient
	plans     commercepb.PlanServiceClient
	subs      commercepb.SubscriptionServiceClient
	conn      grpc.ClientConnInterface // for contracts that few tests call
}

func newShop(t testing.TB) *shop {
	t.Helper()
	return openShop(t, func(*shop, *commerce.Config) {})
}

// openShop is [newShop] with other settings.
func openShop(t testing.TB, change func(*shop, *commerce.Config)) *shop {
	t.Helper()
	url := pgtest.New(t, commerce.Schema)
	// A test does most things a few times: to plan each time is most of what that costs.
	s := &shop{TB: t, url: url, db: pgtest.OpenURL(t, with(url, "plan_cache_mode=force_generic_plan"), commerce.Schema.Name), access: &fakeAccess{enrolled: map[string]bool{}}, seats: &fakeSeats{blocks: map[string]int32{}}, grants: &fakeGrants{source: map[string]string{}, grants: map[string]*accesspb.SourceGrant{}}}
	s.now.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Unix())
	keyset, err := secret.Generate()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := secret.Parse(keyset)
	if err != nil {
		t.Fatal(err)
	}
	vault, err := secret.NewVault(keys, s.db)
	if err != nil {
		t.Fatal(err)
	}
	fonts, err := pdf.FindFonts(pdf.FontDirs...)
	if err != nil {
		t.Fatal(err)
	}
	h := rpctest.New(t, rpctest.Everything)
	accesspb.RegisterAccessServiceServer(h, s.access)
	accesspb.RegisterEntitlementServiceServer(h, s.grants)
	accesspb.RegisterSeatServiceServer(h, s.seats)
	attempts, err := cache.NewMemoryAt(func() time.Time { return time.Unix(s.now.Load(), 0) })
	if err != nil {
		t.Fatal(err)
	}
	cfg := commerce.Config{
		DB: s.db, Log: rpctest.Log(t), Vault: vault, Attempts: attempts, Fonts: fonts,
		Seller:       commerce.Seller{Name: "Stoa Test Ltd", Address: []string{"1 Portico", "Athens"}, TaxID: "EL123456789"},
		Access:       accesspb.NewAccessServiceClient(h.As("commerce")),
		Entitlements: accesspb.NewEntitlementServiceClient(h.As("commerce")), Seats: accesspb.NewSeatServiceClient(h.As("commerce")),
		PublicURL: "http://stoa.test", DevelopmentPayments: true,
		Now: func() time.Time { return time.Unix(s.now.Load(), 0) },
	}
	change(s, &cfg)
	s.cfg = cfg
	s.start(h)
	return s
}

// start starts the service, on the database as it is.
func (s *shop) start(h *rpctest.Harness) {
	s.svc = commerce.New(s.cfg)
	s.svc.Register(h)
	s.conn = h.As("edge")
	s.client = commercepb.NewCommerceServiceClient(s.conn)
	s.events = commercepb.NewEventServiceClient(h.As("edge"))
	s.reconcile = commercepb.NewReconcileServiceClient(h.As("edge"))
	s.invoices = commercepb.NewInvoiceServiceClient(h.As("edge"))
	s.revenue = commercepb.NewRevenueServiceClient(h.As("edge"))
	s.catalog = commercepb.NewCatalogServiceClient(h.As("edge"))
	s.bundles = commercepb.NewBundleServiceClient(h.As("edge"))
	s.coupons = commercepb.NewCouponServiceClient(h.As("edge"))
	s.desk = commercepb.NewCheckoutServiceClient(h.As("edge"))
	s.plans = commercepb.NewPlanServiceClient(h.As("edge"))
	s.subs = commercepb.NewSubscriptionServiceClient(h.As("edge"))
	s.refunds = commercepb.NewRefundServiceClient(h.As("edge"))
	s.payouts = commercepb.NewPayoutServiceClient(h.As("edge"))
}

// restart is what happens when the process has died and another one is there: nothing is
// left but the database.
func (s *shop) restart() {
	s.Helper()
	s.start(rpctest.New(s, rpctest.Everything))
}

// with adds a setting to the URL of a database.
func with(url, setting string) string {
	if strings.Contains(url, "?") {
		return url + "&" + setting
	}
	return url + "?" + setting
}

// deliver has the service handle an event, in a transaction.
func (s *shop) deliver(event proto.Message) {
	s.Helper()
	if err := s.svc.Deliver(s.Context(), event); err != nil {
		s.Fatal(err)
	}
}

// course puts a published course up for sale.
func (s *shop) course(seller string, amount int64, currency string) string {
	s.Helper()
	course := id.New("course")
	s.deliver(&coursespb.CoursePublished{CourseId: course, OwnerId: seller, Sequence: 1, Title: "Course " + course[len(course)-4:]})
	if _, err := s.client.SetPrice(rpctest.Account(s.Context(), seller), &commercepb.SetPriceRequest{
		CourseId: course, Price: &moneypb.Money{Amount: amount, Currency: currency},
	}); err != nil {
		s.Fatal(err)
	}
	return course
}

func (s *shop) order(buyer string, courses ...string) *commercepb.Order {
	s.Helper()
	o, err := s.client.CreateOrder(rpctest.Account(s.Context(), buyer), &commercepb.CreateOrderRequest{CourseIds: courses})
	if err != nil {
		s.Fatal(err)
	}
	return o
}

func (s *shop) settle(o *commercepb.Order, outcome string) (*commercepb.DevelopmentPayment, error) {
	_, payment, _ := strings.Cut(o.GetPayUrl(), "/pay/")
	return s.client.SettleDevelopmentPayment(s.Context(), &commercepb.SettleDevelopmentPaymentRequest{PaymentId: payment, Outcome: outcome})
}

// sent returns the events in the outbox of the given type.
func sent[E proto.Message](s *shop) []E {
	s.Helper()
	var zero E
	name := zero.ProtoReflect().Descriptor().FullName()
	rows, err := s.db.Query(s.Context(), `SELECT payload FROM outbox WHERE name = $1 ORDER BY position`, string(name))
	if err != nil {
		s.Fatal(err)
	}
	defer rows.Close()
	var events []E
	for rows.Next() {
		var payload []byte
		if err := rows.Scan(&payload); err != nil {
			s.Fatal(err)
		}
		mt, err := protoregistry.GlobalTypes.FindMessageByName(name)
		if err != nil {
			s.Fatal(err)
		}
		m := mt.New().Interface()
		if err := proto.Unmarshal(payload, m); err != nil {
			s.Fatal(err)
		}
		events = append(events, m.(E))
	}
	if err := rows.Err(); err != nil {
		s.Fatal(err)
	}
	return events
}

func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	if err == nil && code == "" {
		return
	}
	if got := fault.CodeOf(err); err == nil || got != code {
		t.Fatalf("error %v, want code %s", err, code)
	}
}

func TestOrderPaidAndFulfilled(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	a, b := s.course(seller, 4900, "EUR"), s.course(seller, 1000, "EUR")
	o := s.order(buyer, a, b)
	if o.GetState() != "awaiting_payment" || o.GetTotal().GetAmount() != 5900 || len(o.GetLines()) != 2 {
		t.Fatalf("order %v", o)
	}
	p, err := s.settle(o, "decline")
	if err != nil || p.GetState() != "declined" {
		t.Fatalf("declined: %v, %v", p, err)
	}
	for range 2 { // paying a paid one changes nothing
		p, err = s.settle(o, "succeed")
		if err != nil || p.GetState() != "succeeded" {
			t.Fatalf("paid: %v, %v", p, err)
		}
	}
	events := sent[*commercepb.OrderPaid](s)
	if len(events) != 1 || events[0].GetOrderId() != o.GetId() || len(events[0].GetLines()) != 2 || events[0].GetLines()[0].GetSellerId() != seller {
		t.Fatalf("OrderPaid: %v", events)
	}
	for range 2 {
		for _, l := range o.GetLines() {
			s.deliver(&accesspb.EntitlementGranted{EntitlementId: id.New("entitlement"), AccountId: buyer, CourseId: l.GetCourseId(), Source: "order", SourceId: l.GetId()})
		}
	}
	got, err := s.client.GetOrder(rpctest.Account(t.Context(), buyer), &commercepb.GetOrderRequest{OrderId: o.GetId()})
	if err != nil || got.GetState() != "fulfilled" || got.GetPayUrl() != "" || !got.GetLines()[1].GetFulfilled() {
		t.Fatalf("order %v, %v", got, err)
	}
	if n := len(sent[*commercepb.OrderFulfilled](s)); n != 1 {
		t.Fatalf("%d OrderFulfilled, want 1", n)
	}
	sales, err := s.client.ListSales(rpctest.Account(t.Context(), seller), &commercepb.ListSalesRequest{CourseId: a})
	if err != nil || len(sales.GetItems()) != 1 || sales.GetItems()[0].GetPrice().GetAmount() != 4900 || sales.GetItems()[0].GetBuyerId() != buyer {
		t.Fatalf("sales %v, %v", sales, err)
	}
}

func TestOrderRefusals(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	euro, yen, free := s.course(seller, 4900, "EUR"), s.course(seller, 500, "JPY"), s.course(seller, 0, "EUR")
	taken, enrolled := s.course(seller, 100, "EUR"), s.course(seller, 100, "EUR")
	s.deliver(&coursespb.CourseUnpublished{CourseId: taken, Sequence: 2})
	s.deliver(&coursespb.CoursePublished{CourseId: taken, OwnerId: seller, Sequence: 1}) // late: out of date
	s.access.enrolled[buyer+enrolled] = true
	unpriced := id.New("course")
	s.deliver(&coursespb.CoursePublished{CourseId: unpriced, OwnerId: seller, Sequence: 1, Title: "No price"})
	for name, tc := range map[string]struct {
		who     string
		courses []string
		code    string
	}{
		"unknown":       {buyer, []string{id.New("course")}, "order.course_not_for_sale"},
		"unpublished":   {buyer, []string{taken}, "order.course_not_for_sale"},
		"no price":      {buyer, []string{unpriced}, "order.course_not_for_sale"},
		"free":          {buyer, []string{free}, "order.course_free"},
		"own":           {seller, []string{euro}, "order.own_course"},
		"two currency":  {buyer, []string{euro, yen}, "order.mixed_currencies"},
		"has it":        {buyer, []string{euro, enrolled}, "order.already_enrolled"},
		"none":          {buyer, nil, "request.invalid"},
		"twice":         {buyer, []string{euro, euro}, "request.invalid"},
		"not an id":     {buyer, []string{"course_1"}, "request.invalid"},
		"other id kind": {buyer, []string{buyer}, "request.invalid"},
	} {
		_, err := s.client.CreateOrder(rpctest.Account(t.Context(), tc.who), &commercepb.CreateOrderRequest{CourseIds: tc.courses})
		if fault.CodeOf(err) != tc.code {
			t.Errorf("%s: %v, want %s", name, err, tc.code)
		}
	}
	list, err := s.client.ListOrders(rpctest.Account(t.Context(), buyer), &commercepb.ListOrdersRequest{})
	if err != nil || len(list.GetItems()) != 0 {
		t.Fatalf("a refused order left %v, %v", list, err)
	}
}

func TestOneOpenOrderForACourse(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer := id.New("account")
	course := s.course(id.New("account"), 4900, "EUR")
	var made, refused atomic.Int32
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			_, err := s.client.CreateOrder(rpctest.Account(t.Context(), buyer), &commercepb.CreateOrderRequest{CourseIds: []string{course}})
			switch {
			case err == nil:
				made.Add(1)
			case fault.CodeOf(err) == "order.open_order":
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 || refused.Load() != 9 {
		t.Fatalf("%d made and %d refused, want 1 and 9", made.Load(), refused.Load())
	}
}

func TestSameKeySameOrder(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer := id.New("account")
	a, b := s.course(id.New("account"), 4900, "EUR"), s.course(id.New("account"), 700, "EUR")
	ctx := rpc.WithIdempotencyKey(rpctest.Account(t.Context(), buyer), "key-1")
	orders := make([]*commercepb.Order, 8)
	var wg sync.WaitGroup
	for i := range orders {
		wg.Go(func() {
			var err error
			if orders[i], err = s.client.CreateOrder(ctx, &commercepb.CreateOrderRequest{CourseIds: []string{a}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, o := range orders[1:] {
		if diff := cmp.Diff(orders[0], o, protocmp.Transform()); diff != "" {
			t.Fatal(diff)
		}
	}
	_, err := s.client.CreateOrder(ctx, &commercepb.CreateOrderRequest{CourseIds: []string{b}})
	wantCode(t, err, "idempotency.key_reused")
}

func TestCancelAndPayAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for range 10 {
		buyer := id.New("account")
		o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
		var payErr, cancelErr error
		var wg sync.WaitGroup
		wg.Go(func() { _, payErr = s.settle(o, "succeed") })
		wg.Go(func() {
			_, cancelErr = s.client.CancelOrder(rpctest.Account(t.Context(), buyer), &commercepb.CancelOrderRequest{OrderId: o.GetId()})
		})
		wg.Wait()
		if (payErr == nil) == (cancelErr == nil) {
			t.Fatalf("pay: %v, cancel: %v; exactly one must win", payErr, cancelErr)
		}
		got, err := s.client.GetOrder(rpctest.Account(t.Context(), buyer), &commercepb.GetOrderRequest{OrderId: o.GetId()})
		if err != nil || (got.GetState() == "paid") != (payErr == nil) {
			t.Fatalf("order %v, %v; pay: %v", got, err, payErr)
		}
	}
}

func TestSomebodyElsesOrder(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	o := s.order(id.New("account"), s.course(id.New("account"), 4900, "EUR"))
	stranger := rpctest.Account(t.Context(), id.New("account"))
	_, err := s.client.GetOrder(stranger, &commercepb.GetOrderRequest{OrderId: o.GetId()})
	wantCode(t, err, "order.not_found")
	_, err = s.client.CancelOrder(stranger, &commercepb.CancelOrderRequest{OrderId: o.GetId()})
	wantCode(t, err, "order.not_found")
	_, err = s.client.GetDevelopmentPayment(t.Context(), &commercepb.GetDevelopmentPaymentRequest{PaymentId: id.New("payment")})
	wantCode(t, err, "payment.not_found")
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer := id.New("account")
	course := s.course(id.New("account"), 4900, "EUR")
	o := s.order(buyer, course)
	s.now.Add(24*60*60 + 1)
	_, err := s.settle(o, "succeed") // expired, though nobody has looked yet
	wantCode(t, err, "payment.closed")
	n, err := s.svc.Expire(t.Context())
	if err != nil || n != 1 {
		t.Fatalf("expired %d, %v", n, err)
	}
	got, err := s.client.GetOrder(rpctest.Account(t.Context(), buyer), &commercepb.GetOrderRequest{OrderId: o.GetId()})
	if err != nil || got.GetState() != "expired" {
		t.Fatalf("order %v, %v", got, err)
	}
	s.order(buyer, course) // the course is free to be ordered again
}

func TestPrice(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	course := id.New("course")
	ctx := rpctest.Account(t.Context(), id.New("account"))
	_, err := s.client.GetPrice(ctx, &commercepb.GetPriceRequest{CourseId: course})
	wantCode(t, err, "price.not_set")
	for name, tc := range map[string]struct {
		price *moneypb.Money
		code  string
	}{
		"absent":               {nil, "required"},
		"negative":             {&moneypb.Money{Amount: -1, Currency: "EUR"}, "price.range"},
		"huge":                 {&moneypb.Money{Amount: 1 << 60, Currency: "EUR"}, "int64.gte_lte"},
		"over":                 {&moneypb.Money{Amount: 10_000_01, Currency: "EUR"}, "price.range"},
		"a cent":               {&moneypb.Money{Amount: 1, Currency: "EUR"}, "price.range"},
		"no such":              {&moneypb.Money{Amount: 100, Currency: "XXX"}, "price.currency"},
		"lower case":           {&moneypb.Money{Amount: 100, Currency: "eur"}, "string.pattern"},
		"over, no cent":        {&moneypb.Money{Amount: 1_000_001, Currency: "JPY"}, "price.range"},
		"less than is charged": {&moneypb.Money{Amount: 49, Currency: "JPY"}, "price.range"},
	} {
		_, err := s.client.SetPrice(ctx, &commercepb.SetPriceRequest{CourseId: course, Price: tc.price})
		fe, ok := err.(*fault.Error) //nolint:errorlint // the client returns it itself
		if !ok || len(fe.Fields) == 0 || fe.Fields[0].Code != tc.code {
			t.Errorf("%s: %v, want field code %s", name, err, tc.code)
		}
	}
	p, err := s.client.SetPrice(ctx, &commercepb.SetPriceRequest{CourseId: course, Price: &moneypb.Money{Amount: 4900, Currency: "EUR"}})
	if err != nil {
		t.Fatal(err)
	}
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := s.client.SetPrice(rpc.WithIfMatch(ctx, `"`+p.GetEtag()+`"`), &commercepb.SetPriceRequest{
				CourseId: course, Price: &moneypb.Money{Amount: 5000 + int64(i), Currency: "EUR"},
			})
			if err == nil {
				won.Add(1)
			} else if !fault.Is(err, fault.Precondition) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d writers won, want 1", won.Load())
	}
	events := sent[*commercepb.PriceSet](s)
	if len(events) != 2 || events[1].GetVersion() != 2 {
		t.Fatalf("PriceSet: %v", events)
	}
}

func TestListsGoOnFromTheCursor(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer := id.New("account")
	ctx := rpctest.Account(t.Context(), buyer)
	var want []string
	for range 5 {
		o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
		want = append([]string{o.GetId()}, want...)
	}
	var got []string
	cursor := ""
	for {
		page, err := s.client.ListOrders(ctx, &commercepb.ListOrdersRequest{PageSize: 2, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.GetItems() {
			got = append(got, o.GetId())
		}
		if cursor = page.GetNextCursor(); cursor == "" {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	_, err := s.client.ListOrders(ctx, &commercepb.ListOrdersRequest{Cursor: "x"})
	wantCode(t, err, "request.invalid")
}

func TestNoDevelopmentPaymentsElsewhere(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	course := s.course(id.New("account"), 4900, "EUR")
	_, payment, _ := strings.Cut(s.order(id.New("account"), course).GetPayUrl(), "/pay/")
	s.svc.NoProvider()
	_, err := s.client.CreateOrder(rpctest.Account(t.Context(), id.New("account")), &commercepb.CreateOrderRequest{CourseIds: []string{course}})
	wantCode(t, err, "order.payments_off")
	_, err = s.client.GetDevelopmentPayment(t.Context(), &commercepb.GetDevelopmentPaymentRequest{PaymentId: payment})
	wantCode(t, err, "payment.not_found")
	_, err = s.client.SettleDevelopmentPayment(t.Context(), &commercepb.SettleDevelopmentPaymentRequest{PaymentId: payment, Outcome: "succeed"})
	wantCode(t, err, "payment.not_found")
}

// hasField reports whether an error says this of a field.
func hasField(err error, code string) bool {
	var told *fault.Error
	return errors.As(err, &told) && len(told.Fields) > 0 && told.Fields[0].Code == code
}
