package app

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/auth"
)

var goodKey = base64.StdEncoding.EncodeToString(make([]byte, 32))

// defaults returns the settings of a process to which nobody has given any.
func defaults(tb testing.TB) Config {
	tb.Helper()
	var c Config
	if err := kong.ApplyDefaults(&c); err != nil {
		tb.Fatal(err)
	}
	return c
}

// goodProviders are as somebody would name them.
const goodProviders = `[{"name":"google","issuer":"https://accounts.google.com","client_id":"a","client_secret":"b"},
	{"name":"github","kind":"github","client_id":"a","client_secret":"b"}]`

// settings returns which settings the faults name.
func settings(faults []string) []string {
	var names []string
	for _, f := range faults {
		name, _, _ := strings.Cut(f, ":")
		names = append(names, name)
	}
	return names
}

func set(tb testing.TB, v interface{ UnmarshalText([]byte) error }, text string) {
	tb.Helper()
	if err := v.UnmarshalText([]byte(text)); err != nil {
		tb.Errorf("%q ends the program before it could tell all faults: %v", text, err)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	ready := func(c *Config) { // for production
		c.Profile, c.Payments, c.ServiceKey, c.KeysetFile, c.PublicURL = production, "none", goodKey, "keyset.json", "https://learn.example.org"
	}
	spread := func(c *Config) { // over processes
		c.DatabaseURL, c.AMQPURL, c.ServiceKey, c.KeysetFile = "postgres://stoa@db/stoa", "amqp://mq/", goodKey, "keyset.json"
		c.RPCCAFile, c.RPCCertFile, c.RPCKeyFile = "ca.crt", "tls.crt", "tls.key"
	}
	for name, c := range map[string]struct {
		change   func(*Config)
		services []string
		want     []string
	}{
		"nothing set":  {func(*Config) {}, nil, nil},
		"all services": {func(*Config) {}, Names(), nil},
		"profile":      {func(c *Config) { c.Profile = "prod" }, nil, []string{"STOA_PROFILE"}},
		"payments":     {func(c *Config) { c.Payments = "gold" }, nil, []string{"STOA_PAYMENTS"}},
		"payouts": {func(c *Config) {
			set(t, &c.PayoutDay, "32")
			set(t, &c.PayoutMinimum, "lots")
		}, nil, []string{"STOA_PAYOUT_DAY", "STOA_PAYOUT_MINIMUM"}},
		"stripe": {func(c *Config) {
			c.Payments, c.StripeKey, c.StripeWebhookSecrets, c.StripeURL = "stripe", "sk_test_51abc", "whsec_0123456789abcdef, whsec_fedcba9876543210", "http://127.0.0.1:12111"
		}, nil, nil},
		"stripe, nothing else":        {func(c *Config) { c.Payments = "stripe" }, nil, []string{"STOA_STRIPE_KEY", "STOA_STRIPE_WEBHOOK_SECRETS"}},
		"stripe, where none is asked": {func(c *Config) { spread(c); c.Payments = "stripe" }, []string{"courses"}, nil},
		"stripe, wrong": {func(c *Config) {
			c.Payments, c.StripeKey, c.StripeWebhookSecrets, c.StripeURL = "stripe", "pk_test_51abc", "whsec_0123456789abcdef,secret", "stripe"
		}, nil, []string{"STOA_STRIPE_KEY", "STOA_STRIPE_URL", "STOA_STRIPE_WEBHOOK_SECRETS"}},
		"stripe, live in development": {func(c *Config) {
			c.Payments, c.StripeKey, c.StripeWebhookSecrets = "stripe", "rk_live_51abc", "whsec_0123456789abcdef"
		}, nil, []string{"STOA_STRIPE_KEY"}},
		"stripe, test in production": {func(c *Config) {
			ready(c)
			c.Payments, c.StripeKey, c.StripeWebhookSecrets, c.StripeURL = "stripe", "sk_test_51abc", "whsec_0123456789abcdef", "https://stripe.example.org"
		}, nil, []string{"STOA_STRIPE_KEY", "STOA_STRIPE_URL"}},
		"stripe, live in production": {func(c *Config) {
			ready(c)
			c.Payments, c.StripeKey, c.StripeWebhookSecrets = "stripe", "sk_live_51abc", "whsec_0123456789abcdef"
		}, nil, nil},
		"stripe, no key's file":    {func(c *Config) { c.Payments, c.StripeKeyFile = "stripe", "no/such/file" }, nil, []string{"STOA_STRIPE_KEY_FILE"}},
		"stripe, no secrets' file": {func(c *Config) { c.Payments, c.StripeWebhookSecretsFile = "stripe", "no/such/file" }, nil, []string{"STOA_STRIPE_WEBHOOK_SECRETS_FILE"}},
		"stripe, key twice":        {func(c *Config) { c.Payments, c.StripeKey, c.StripeKeyFile = "stripe", "a", "b" }, nil, []string{"STOA_STRIPE_KEY_FILE"}},
		"stripe, secrets twice":    {func(c *Config) { c.Payments, c.StripeWebhookSecrets, c.StripeWebhookSecretsFile = "stripe", "a", "b" }, nil, []string{"STOA_STRIPE_WEBHOOK_SECRETS_FILE"}},
		"log":                      {func(c *Config) { c.LogFormat, c.LogLevel = "xml", "loud" }, nil, []string{"STOA_LOG_FORMAT", "STOA_LOG_LEVEL"}},
		"numbers": {func(c *Config) {
			set(t, &c.Connections, "many")
			set(t, &c.RateLimit, "-1")
			set(t, &c.MaxUpload, "2GB")
		}, nil, []string{"STOA_DATABASE_CONNECTIONS", "STOA_MAX_UPLOAD", "STOA_RATE_LIMIT"}},
		"a host":                     {func(c *Config) { c.EmbedHosts = "a.example.org, https://b.example.org" }, nil, []string{"STOA_EMBED_HOSTS"}},
		"bounds":                     {func(c *Config) { c.Connections.V, c.MaxUpload.V = 1, 0 }, nil, []string{"STOA_DATABASE_CONNECTIONS", "STOA_MAX_UPLOAD"}},
		"too many connections":       {func(c *Config) { c.Connections.V = 1001 }, nil, []string{"STOA_DATABASE_CONNECTIONS"}},
		"too few connections":        {func(c *Config) { c.Connections.V = 3 }, nil, []string{"STOA_DATABASE_CONNECTIONS"}},
		"fewest connections":         {func(c *Config) { c.Connections.V = 4 }, nil, nil},
		"proxies":                    {func(c *Config) { c.TrustedProxies = "10.0.0.0/8, 192.168.1.7/32,fd00::/8," }, nil, nil},
		"a proxy that is no network": {func(c *Config) { c.TrustedProxies = "10.0.0.0/8,proxy" }, nil, []string{"STOA_TRUSTED_PROXIES"}},
		"the edge alone":             {func(*Config) {}, []string{"edge"}, []string{"STOA_SERVICE_KEY"}},
		"most connections":           {func(c *Config) { c.Connections.V = 1000 }, nil, nil},
		"no rate limits":             {func(c *Config) { c.RateLimit.V, c.SignInRateLimit.V = 0, 0 }, nil, nil},
		"times":                      {func(c *Config) { set(t, &c.RequestTimeout, "20"); set(t, &c.Drain, "-1s") }, nil, []string{"STOA_DRAIN", "STOA_REQUEST_TIMEOUT"}},
		"yes or no":                  {func(c *Config) { set(t, &c.Migrate, "perhaps"); set(t, &c.Demo, "2") }, nil, []string{"STOA_DEMO", "STOA_MIGRATE"}},
		"addresses":                  {func(c *Config) { c.HTTPAddr, c.RPCAddr, c.OpsAddr = "8080", "localhost", "1:2:3" }, nil, []string{"STOA_HTTP_ADDR", "STOA_OPS_ADDR", "STOA_RPC_ADDR"}},
		"no address":                 {func(c *Config) { c.HTTPAddr = "" }, nil, []string{"STOA_HTTP_ADDR"}},
		"nothing for operators":      {func(c *Config) { c.OpsAddr = "" }, nil, nil},
		"any port":                   {func(c *Config) { c.HTTPAddr, c.RPCAddr = "127.0.0.1:0", ":9090" }, nil, nil},
		"database":                   {func(c *Config) { c.DatabaseURL = "mysql//x" }, nil, []string{"STOA_DATABASE_URL"}},
		"public address":             {func(c *Config) { c.PublicURL = "learn.example.org" }, nil, []string{"STOA_PUBLIC_URL"}},
		"public address, no host":    {func(c *Config) { c.PublicURL = "https://" }, nil, []string{"STOA_PUBLIC_URL"}},
		"broker":                     {func(c *Config) { c.AMQPURL = "http://mq" }, nil, []string{"STOA_AMQP_URL"}},
		"cache":                      {func(c *Config) { c.RedisURL = "localhost:6379" }, nil, []string{"STOA_REDIS_URL"}},
		"traces":                     {func(c *Config) { c.TracesURL = "collector:4318" }, nil, []string{"STOA_TRACES_URL"}},
		"bucket":                     {func(c *Config) { c.BucketURL = "gs://b" }, nil, []string{"STOA_BUCKET_URL"}},
		"bucket, folder":             {func(c *Config) { c.BucketURL = "file:///srv/files" }, nil, nil},
		"bucket without keys":        {func(c *Config) { c.BucketURL = "s3://b?region=x" }, nil, []string{"STOA_BUCKET_ACCESS_KEY"}},
		"bucket with one key":        {func(c *Config) { c.BucketURL, c.BucketAccessKey = "s3://b?region=x", "a" }, nil, []string{"STOA_BUCKET_ACCESS_KEY"}},
		"bucket with keys":           {func(c *Config) { c.BucketURL, c.BucketAccessKey, c.BucketSecretKey = "s3://b?region=x", "a", "b" }, nil, nil},
		"short key":                  {func(c *Config) { c.ServiceKey = "c2hvcnQ=" }, nil, []string{"STOA_SERVICE_KEY"}},
		"two keys":                   {func(c *Config) { c.ServiceKey = goodKey + "," + goodKey }, nil, nil},
		"unknown service":            {func(*Config) {}, []string{"couses"}, []string{"STOA_AMQP_URL", "STOA_DATABASE_URL", "STOA_KEYSET_FILE", "STOA_SERVICE_KEY", "serve"}},
		"part":                       {func(*Config) {}, []string{"courses"}, []string{"STOA_AMQP_URL", "STOA_DATABASE_URL", "STOA_KEYSET_FILE", "STOA_SERVICE_KEY"}},
		"part, no broker":            {func(c *Config) { spread(c); c.AMQPURL = "" }, []string{"courses", "media"}, []string{"STOA_AMQP_URL"}},
		"part, all named":            {spread, []string{"courses"}, nil},
		"peers":                      {func(c *Config) { c.Peers = "courses=host:9090, media=[::1]:9091," }, nil, nil},
		"peers, no port":             {func(c *Config) { c.Peers = "courses=host" }, nil, []string{"STOA_PEERS"}},
		"peers, no name":             {func(c *Config) { c.Peers = "host:9090" }, nil, []string{"STOA_PEERS"}},
		"peers, unknown":             {func(c *Config) { c.Peers = "kurse=host:9090" }, nil, []string{"STOA_PEERS"}},
		"providers":                  {func(c *Config) { c.OIDCProviders = goodProviders }, nil, nil},
		"providers, wrong":           {func(c *Config) { c.OIDCProviders = `[{"name":"a"}]` }, nil, []string{"STOA_OIDC_PROVIDERS"}},
		"providers, no file":         {func(c *Config) { c.OIDCFile = "no/such/file" }, nil, []string{"STOA_OIDC_FILE"}},
		"providers, twice":           {func(c *Config) { c.OIDCProviders, c.OIDCFile = goodProviders, "x" }, nil, []string{"STOA_OIDC_FILE"}},
		"production":                 {ready, nil, nil},
		"production, part":           {func(c *Config) { spread(c); ready(c) }, []string{"edge"}, nil},
		"production, nothing set":    {func(c *Config) { c.Profile = production }, nil, []string{"STOA_KEYSET_FILE", "STOA_PAYMENTS", "STOA_PUBLIC_URL", "STOA_SERVICE_KEY"}},
		"production, pretend money":  {func(c *Config) { ready(c); c.Payments = "development" }, nil, []string{"STOA_PAYMENTS"}},
		"production, demo":           {func(c *Config) { ready(c); c.Demo.V = true }, nil, []string{"STOA_DEMO"}},
		"production, generated key":  {func(c *Config) { ready(c); c.ServiceKey = "" }, nil, []string{"STOA_SERVICE_KEY"}},
		"production, unknown origin": {func(c *Config) { ready(c); c.PublicURL = "" }, nil, []string{"STOA_PUBLIC_URL"}},
		"production, part, in the open": {func(c *Config) {
			spread(c)
			ready(c)
			c.RPCCAFile, c.RPCCertFile, c.RPCKeyFile = "", "", ""
		}, []string{"edge"}, []string{"STOA_RPC_CA_FILE"}},
		"production, part, a mesh": {func(c *Config) {
			spread(c)
			ready(c)
			c.RPCCAFile, c.RPCCertFile, c.RPCKeyFile, c.RPCInsecure.V = "", "", "", true
		}, []string{"edge"}, nil},
		"production, no KMS":        {func(c *Config) { ready(c); c.KMSURL = "base64key://x" }, nil, []string{"STOA_KMS_URL"}},
		"KMS":                       {func(c *Config) { c.KMSURL = "awskms:///alias/stoa?region=x" }, nil, nil},
		"KMS of another kind":       {func(c *Config) { c.KMSURL = "vault://x" }, nil, []string{"STOA_KMS_URL"}},
		"certificate without a key": {func(c *Config) { c.TLSCertFile, c.RPCCertFile = "a", "b" }, nil, []string{"STOA_RPC_CA_FILE", "STOA_TLS_CERT_FILE"}},
		"TLS at an open address": {func(c *Config) {
			c.TLSCertFile, c.TLSKeyFile, c.PublicURL, c.HTTPRedirectAddr = "a", "b", "http://x", ":80"
		}, nil, []string{"STOA_HTTP_REDIRECT_ADDR", "STOA_PUBLIC_URL"}},
		"mail":              {func(c *Config) { c.SMTPURL, c.MailFrom = "smtp://u:p@mx.example.org", "Stoa <a@b.c>" }, nil, nil},
		"mail of nobody":    {func(c *Config) { c.SMTPURL = "smtp://mx.example.org" }, nil, []string{"STOA_SMTP_URL"}},
		"development, demo": {func(c *Config) { c.Demo.V = true }, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := defaults(t)
			c.change(&cfg)
			faults := cfg.Faults(c.services)
			if diff := cmp.Diff(c.want, settings(faults)); diff != "" {
				t.Errorf("settings with a fault (-want +got):\n%s\n%s", diff, strings.Join(faults, "\n"))
			}
			for _, f := range faults {
				if _, says, _ := strings.Cut(f, ": "); len(says) < 5 {
					t.Errorf("%q does not say what is wrong", f)
				}
			}
		})
	}
}

// broken returns settings that are all wrong, with a password wherever one can
// be.
func brokenConfig(tb testing.TB) Config {
	tb.Helper()
	c := Config{
		Profile: "x", Payments: "x", Review: "x", LogFormat: "x", LogLevel: "x", HTTPAddr: "x", RPCAddr: "x", OpsAddr: "x", Peers: "x", TrustedProxies: "x",
		DatabaseURL: "postgres://stoa:hunter2@db:port/stoa", PublicURL: "x://u:hunter2@h", AMQPURL: "amqp://u:hunter2@[h", RedisURL: "redis://u:hunter2@h/x/y/z",
		BucketURL: "s3x://k:hunter2@b", TracesURL: "://hunter2", ServiceKey: "hunter2", OIDCProviders: `[{"name":"a","client_secret":"hunter2"}]`,
		KMSURL: "x://hunter2", SMTPURL: "smtp://u:hunter2@h:x", HTTPRedirectAddr: "x", TLSCertFile: "x", RPCCAFile: "x",
	}
	for _, v := range []interface{ UnmarshalText([]byte) error }{&c.Connections, &c.Migrate, &c.Demo, &c.RPCInsecure, &c.RateLimit, &c.SignInRateLimit, &c.RequestTimeout, &c.MaxUpload, &c.MaxArchive, &c.Drain} {
		set(tb, v, "x")
	}
	return c
}

func TestAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	cfg := brokenConfig(t)
	faults := cfg.Faults([]string{"nothing"})
	want := []string{
		"STOA_AMQP_URL", "STOA_BUCKET_URL", "STOA_COURSE_REVIEW", "STOA_DATABASE_CONNECTIONS", "STOA_DATABASE_URL", "STOA_DEMO", "STOA_DRAIN", "STOA_HTTP_ADDR", "STOA_HTTP_REDIRECT_ADDR", "STOA_HTTP_REDIRECT_ADDR", "STOA_KEYSET_FILE", "STOA_KMS_URL",
		"STOA_LOG_FORMAT", "STOA_LOG_LEVEL", "STOA_MAX_ARCHIVE", "STOA_MAX_UPLOAD", "STOA_MIGRATE", "STOA_OIDC_PROVIDERS", "STOA_OPS_ADDR", "STOA_PAYMENTS", "STOA_PEERS", "STOA_PROFILE",
		"STOA_PUBLIC_URL", "STOA_RATE_LIMIT", "STOA_REDIS_URL", "STOA_REQUEST_TIMEOUT", "STOA_RPC_ADDR", "STOA_RPC_CA_FILE", "STOA_RPC_INSECURE", "STOA_SERVICE_KEY", "STOA_SIGN_IN_RATE_LIMIT", "STOA_SMTP_URL",
		"STOA_TLS_CERT_FILE", "STOA_TRACES_URL", "STOA_TRUSTED_PROXIES", "serve",
	}
	if diff := cmp.Diff(want, settings(faults)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// The same each time, and in one error.
	if again := cfg.Faults([]string{"nothing"}); !slices.Equal(faults, again) {
		t.Errorf("the faults come in another order:\n%s", cmp.Diff(faults, again))
	}
	text := FaultsError(faults).Error()
	for _, f := range faults {
		if !strings.Contains(text, f) {
			t.Errorf("%q is not told", f)
		}
	}
	if strings.Contains(text, "hunter2") {
		t.Errorf("a password is told:\n%s", text)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"0": 0, "8": 8, "2147483648": 2147483648, "9223372036854775807": 9223372036854775807} {
		var i Int
		if set(t, &i, text); i.err != nil || i.V != want {
			t.Errorf("%q is read as %d, %v", text, i.V, i.err)
		}
	}
	for _, text := range []string{"", "-1", "1.5", "1e3", "8 ms", "8,000", "0x10", "9223372036854775808", "8\n9", "eight"} {
		var i Int
		if set(t, &i, text); i.err == nil {
			t.Errorf("%q is read as the number %d", text, i.V)
		}
	}
	for text, want := range map[string]time.Duration{"20s": 20 * time.Second, "1m30s": 90 * time.Second, "250ms": 250 * time.Millisecond} {
		var d Duration
		if set(t, &d, text); d.err != nil || d.V != want {
			t.Errorf("%q is read as %v, %v", text, d.V, d.err)
		}
	}
	for _, text := range []string{"", "20", "0s", "-1s", "a day"} {
		var d Duration
		if set(t, &d, text); d.err == nil {
			t.Errorf("%q is read as the time %v", text, d.V)
		}
	}
	for text, want := range map[string]bool{"1": true, "true": true, "YES": true, "on": true, "0": false, "False": false, "no": false, "off": false, "": false} {
		var b Bool
		if set(t, &b, text); b.err != nil || b.V != want {
			t.Errorf("%q is read as %t, %v", text, b.V, b.err)
		}
	}
	for _, text := range []string{"2", "y", "ja", "truee"} {
		var b Bool
		if set(t, &b, text); b.err == nil {
			t.Errorf("%q is read as %t", text, b.V)
		}
	}
}

func TestServiceKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "data")
	cfg := Config{DataDir: dir}
	made, err := cfg.serviceKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := auth.NewKeys(made); err != nil {
		t.Errorf("the key that was made: %v", err)
	}
	if again, err := cfg.serviceKey(); err != nil || again != made {
		t.Errorf("the second start has another key (%v)", err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "service.key"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v: more than the key is left", entries, err)
	}
	other, err := (&Config{DataDir: t.TempDir()}).serviceKey()
	if err != nil || other == made {
		t.Errorf("two installations have one key (%v)", err)
	}
	// A key that is set is used, and nothing is made.
	empty := t.TempDir()
	if got, err := (&Config{DataDir: empty, ServiceKey: goodKey}).serviceKey(); err != nil || got != goodKey {
		t.Errorf("%q, %v", got, err)
	}
	if entries, err := os.ReadDir(empty); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v: something was made", entries, err)
	}
	if _, err := (&Config{DataDir: "/dev/null/data"}).serviceKey(); err == nil {
		t.Error("a folder that can't be made")
	}
}
