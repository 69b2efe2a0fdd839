package app

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/identity"
	"github.com/stoa-lms/stoa/internal/service/media"
	"github.com/stoa-lms/stoa/internal/service/notify"
)

// The profiles: production refuses what is for trying things out.
const (
	development = "development"
	production  = "production"
)

// Config is every setting of a process. Each can be given as a flag or as an
// environment variable; the zero value of a setting without a default is
// unset.
type Config struct {
	Profile string `help:"What the process is for: development or production. Production refuses development payments and generated keys." default:"development" env:"STOA_PROFILE"`

	DataDir     string `help:"Folder for the embedded database, the bucket and generated keys." default:"./stoa-data" env:"STOA_DATA_DIR" type:"path"`
	DatabaseURL string `help:"PostgreSQL to use instead of the embedded one, as postgres://user:password@host/database." env:"STOA_DATABASE_URL"`
	Connections Int    `help:"Most database connections of this process for one service." default:"8" env:"STOA_DATABASE_CONNECTIONS"`
	Migrate     Bool   `help:"Bring the database's tables up to date at start." default:"true" env:"STOA_MIGRATE"`

	HTTPAddr         string `name:"http-addr" help:"Where the edge listens. Port 0 picks one and prints it." default:"127.0.0.1:8080" env:"STOA_HTTP_ADDR"`
	TLSCertFile      string `name:"tls-cert-file" help:"Certificate of the edge, with those between; read again when it changes. Without, a proxy has to end TLS." env:"STOA_TLS_CERT_FILE" type:"path"`
	TLSKeyFile       string `name:"tls-key-file" help:"Key of that certificate." env:"STOA_TLS_KEY_FILE" type:"path"`
	HTTPRedirectAddr string `name:"http-redirect-addr" help:"Where those who come without TLS are sent to STOA_PUBLIC_URL, as :80. Off when empty." env:"STOA_HTTP_REDIRECT_ADDR"`

	PublicURL   string `help:"Where browsers reach the edge, such as https://learn.example.org. The address it listens on when empty." env:"STOA_PUBLIC_URL"`
	IssuerName  string `help:"Who issues certificates and badges, such as Example University. The host of STOA_PUBLIC_URL when empty." env:"STOA_ISSUER_NAME"`
	RPCAddr     string `help:"Where other processes reach the services of this one. Needed when a process runs some of the services; :9090 then when empty." env:"STOA_RPC_ADDR"`
	OpsAddr     string `help:"Where operators reach metrics, health and profiles. Port 0 picks one and prints it; off when empty." default:"127.0.0.1:0" env:"STOA_OPS_ADDR"`
	RPCCAFile   string `name:"rpc-ca-file" help:"Authorities whose certificates other processes must show. Needed in production by a process that runs some of the services, with STOA_RPC_CERT_FILE and STOA_RPC_KEY_FILE." env:"STOA_RPC_CA_FILE" type:"path"`
	RPCCertFile string `name:"rpc-cert-file" help:"Certificate of this process, with the name SERVICE.stoa of each service that it runs; 'stoa admin certs' makes some. Read again when it changes." env:"STOA_RPC_CERT_FILE" type:"path"`
	RPCKeyFile  string `name:"rpc-key-file" help:"Key of that certificate." env:"STOA_RPC_KEY_FILE" type:"path"`
	RPCInsecure Bool   `name:"rpc-insecure" help:"Let processes speak without TLS in production too, because the network encrypts and tells them apart." default:"false" env:"STOA_RPC_INSECURE"`

	Peers string `help:"Where services of other processes are, as courses=host:9090,media=host:9090. A service that is not named is at NAME:9090." env:"STOA_PEERS"`

	ServiceKey string `help:"Key that proves to a service which service calls and for whom: 32 bytes in base64, the same for all processes. Several, newest first, with commas, while it is changed. Made and kept in the data folder when empty and one process runs everything." env:"STOA_SERVICE_KEY"`

	KeysetFile   string `help:"File with the keys that encrypt personal secrets, the same for all processes, as 'stoa admin keys new' makes it. Made and kept in the data folder when empty." env:"STOA_KEYSET_FILE" type:"path"`
	KMSURL       string `name:"kms-url" help:"Key of a key management service that wraps the keyset's file, as awskms:///alias/stoa?region=eu-central-1, or base64key:// to try it out. The file is as it is when empty." env:"STOA_KMS_URL"`
	KMSAccessKey string `name:"kms-access-key" help:"Access key for the KMS. What the machine is allowed when empty." env:"STOA_KMS_ACCESS_KEY"`
	KMSSecretKey string `name:"kms-secret-key" help:"Secret key for the KMS." env:"STOA_KMS_SECRET_KEY"`

	OIDCProviders string `name:"oidc-providers" help:"Who else people may sign in with, as JSON: [{\"name\":\"google\",\"issuer\":\"https://accounts.google.com\",\"client_id\":\"…\",\"client_secret\":\"…\"}]; kind is oidc or github. They send browsers back to STOA_PUBLIC_URL/sign-in/NAME/callback." env:"STOA_OIDC_PROVIDERS"`
	OIDCFile      string `name:"oidc-file" help:"File with the same, in place of STOA_OIDC_PROVIDERS." env:"STOA_OIDC_FILE" type:"path"`

	AMQPURL         string `name:"amqp-url" help:"RabbitMQ for events, as amqp://user:password@host:5672/. Within the process when empty." env:"STOA_AMQP_URL"`
	RedisURL        string `help:"Redis for what processes share and may lose, as redis://host:6379. Within the process when empty." env:"STOA_REDIS_URL"`
	BucketURL       string `help:"Where files are kept: file:///folder, or s3://bucket?endpoint=https://host&region=name. A folder in the data folder when empty." env:"STOA_BUCKET_URL"`
	BucketAccessKey string `help:"Access key of an S3 bucket." env:"STOA_BUCKET_ACCESS_KEY"`
	BucketSecretKey string `help:"Secret key of an S3 bucket." env:"STOA_BUCKET_SECRET_KEY"`

	MediaScanner string `help:"Who looks through files for malware before they are shown: a clamd, as clamd://host:3310 or clamd:///run/clamav/clamd.ctl. Nobody when empty." env:"STOA_MEDIA_SCANNER"`
	MediaWorkers Int    `help:"How many videos this process works on at once, where media runs in it; besides one thing that takes less. None of either when 0." default:"1" env:"STOA_MEDIA_WORKERS"`
	MediaTempDir string `help:"Folder for files while they are worked on, with room for a few of the largest. The system's when empty." env:"STOA_MEDIA_TEMP_DIR" type:"path"`

	SMTPURL  string `name:"smtp-url" help:"Mail server, as smtp://user:password@host:587, which must offer STARTTLS, or smtps://; smtp+plain:// for one on the same machine. Mails are held when empty." env:"STOA_SMTP_URL"`
	MailFrom string `help:"Sender of mails, as Stoa <no-reply@learn.example.org>. Needed with STOA_SMTP_URL." env:"STOA_MAIL_FROM"`

	SellerName    string `help:"Who sells, as invoices say it: the name of the company. STOA_ISSUER_NAME when empty." env:"STOA_SELLER_NAME"`
	SellerAddress string `help:"The address of the company for invoices, its lines parted by semicolons, at most 6." env:"STOA_SELLER_ADDRESS"`
	SellerTaxID   string `help:"The tax number of the company for invoices, such as a VAT id." env:"STOA_SELLER_TAX_ID"`

	Payments      string `help:"How orders are paid: stripe, development (a pay page on which no money moves) or none, which takes no orders." default:"development" env:"STOA_PAYMENTS"`
	PayoutDay     Int    `name:"payout-day" help:"Day of the month on which teachers are paid what they have; the last day in months that are shorter. Only when staff say so when 0." default:"0" env:"STOA_PAYOUT_DAY"`
	PayoutMinimum Int    `name:"payout-minimum" help:"Units of a currency that a teacher must have to be paid." default:"10" env:"STOA_PAYOUT_MINIMUM"`
	Review        string `name:"course-review" help:"Whether moderators approve a course before it comes into the marketplace for the first time: off or required." default:"off" env:"STOA_COURSE_REVIEW"`
	Demo          Bool   `help:"Load the demo school." default:"false" env:"STOA_DEMO"`

	StripeKey                string `help:"Secret or restricted key of the platform's Stripe account. Needed with STOA_PAYMENTS=stripe." env:"STOA_STRIPE_KEY"`
	StripeKeyFile            string `help:"File with it, in place of STOA_STRIPE_KEY." env:"STOA_STRIPE_KEY_FILE" type:"path"`
	StripeWebhookSecrets     string `help:"Signing secrets of the endpoints at Stripe, with commas; docs/payments.md says how to change them. Needed with STOA_PAYMENTS=stripe." env:"STOA_STRIPE_WEBHOOK_SECRETS"`
	StripeWebhookSecretsFile string `help:"File with them, in place of STOA_STRIPE_WEBHOOK_SECRETS." env:"STOA_STRIPE_WEBHOOK_SECRETS_FILE" type:"path"`
	StripeTax                Bool   `help:"Have Stripe Tax compute the tax that is part of prices." default:"false" env:"STOA_STRIPE_TAX"`
	StripeURL                string `name:"stripe-url" help:"Another address for Stripe's, to try things out. Refused in production." env:"STOA_STRIPE_URL"`

	EmbedHosts string `help:"Hosts whose pages lessons may show in frames, with commas. www.youtube-nocookie.com and player.vimeo.com stand for YouTube and Vimeo with all their forms of addresses. None when empty." default:"www.youtube-nocookie.com,player.vimeo.com,www.geogebra.org,www.desmos.com,codepen.io,phet.colorado.edu" env:"STOA_EMBED_HOSTS"`

	TrustedProxies  string   `help:"Networks of proxies whose X-Forwarded-For is believed, as 10.0.0.0/8,192.168.1.7/32. The address that connects is the caller's when empty." env:"STOA_TRUSTED_PROXIES"`
	RateLimit       Int      `help:"Requests a second that one address may make; four times as many at once. No bound when 0." default:"200" env:"STOA_RATE_LIMIT"`
	SignInRateLimit Int      `name:"sign-in-rate-limit" help:"Sign-ins and sign-ups a second that one address may make; twenty times as many at once. No bound when 0." default:"10" env:"STOA_SIGN_IN_RATE_LIMIT"`
	RequestTimeout  Duration `help:"Time that a request may take; transfers of files may take longer." default:"20s" env:"STOA_REQUEST_TIMEOUT"`
	MaxUpload       Int      `help:"Size in bytes that an uploaded file may have." default:"2147483648" env:"STOA_MAX_UPLOAD"`
	MaxArchive      Int      `help:"Size in bytes that an archive of a course may have that is imported, and its files together." default:"21474836480" env:"STOA_MAX_ARCHIVE"`
	ImportDir       string   `help:"Folder for archives of courses while they are imported, with room for the largest of them; processes may share it. A folder in the data folder when empty." env:"STOA_IMPORT_DIR" type:"path"`

	MediaCourseQuota    Int      `help:"Bytes that all files of a course may have. No bound when 0." default:"53687091200" env:"STOA_MEDIA_COURSE_QUOTA"`
	MediaAccountQuota   Int      `help:"Bytes that all files may have that an account has uploaded. No bound when 0." default:"214748364800" env:"STOA_MEDIA_ACCOUNT_QUOTA"`
	SubmissionQuota     Int      `help:"Bytes that all files may have that an account has uploaded to hand them in, in one course. No bound when 0." default:"2147483648" env:"STOA_SUBMISSION_QUOTA"`
	SimilarityURL       string   `name:"similarity-url" help:"Service that compares what students hand in with others' work, as docs/similarity.md describes: an https address. None when empty." env:"STOA_SIMILARITY_URL"`
	SimilaritySecret    string   `help:"Secret that it shares with the platform, at least 32 characters." env:"STOA_SIMILARITY_SECRET"`
	ProctoringURL       string   `name:"proctoring-url" help:"Service that watches exams, as docs/exams.md describes: the https address at which it takes students over. None when empty." env:"STOA_PROCTORING_URL"`
	ProctoringSecret    string   `help:"Secret that it shares with the platform, at least 32 characters." env:"STOA_PROCTORING_SECRET"`
	MediaCourseUploads  Int      `help:"Unfinished uploads in pieces that a course may have. No bound when 0." default:"200" env:"STOA_MEDIA_COURSE_UPLOADS"`
	MediaAccountUploads Int      `help:"Unfinished uploads in pieces that an account may have. No bound when 0." default:"50" env:"STOA_MEDIA_ACCOUNT_UPLOADS"`
	MediaUploadLifetime Duration `help:"Time after which an upload in pieces is given up to which nothing comes." default:"24h" env:"STOA_MEDIA_UPLOAD_LIFETIME"`

	Drain Duration `help:"Time that requests in progress have to finish when the process is stopped." default:"20s" env:"STOA_DRAIN"`

	LogFormat string `help:"Format of the log: text or json." default:"text" env:"STOA_LOG_FORMAT"`
	LogLevel  string `help:"Least level of what is logged: debug, info, warn or error." default:"info" env:"STOA_LOG_LEVEL"`
	TracesURL string `help:"Where traces are sent by OTLP over HTTP, as http://host:4318. None are made when empty." env:"STOA_TRACES_URL"`
}

// Int is a whole number of which a wrong text is found by [Config.Faults], with
// all other faults.
type Int struct {
	V   int64
	err error
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (i *Int) UnmarshalText(text []byte) error {
	var err error
	if i.V, err = strconv.ParseInt(string(text), 10, 64); err != nil || i.V < 0 {
		i.err = fmt.Errorf("%q is not a whole number from 0 on", text)
	}
	return nil
}

// Duration is a time span, as [Int] is a number.
type Duration struct {
	V   time.Duration
	err error
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Duration) UnmarshalText(text []byte) error {
	var err error
	if d.V, err = time.ParseDuration(string(text)); err != nil || d.V <= 0 {
		d.err = fmt.Errorf("%q is not a time span such as 20s or 5m", text)
	}
	return nil
}

// Bool is a yes or no, as [Int] is a number.
type Bool struct {
	V   bool
	err error
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *Bool) UnmarshalText(text []byte) error {
	switch strings.ToLower(string(text)) {
	case "1", "true", "yes", "on":
		b.V = true
	case "0", "false", "no", "off", "":
	default:
		b.err = fmt.Errorf("%q is neither 1 nor 0", text)
	}
	return nil
}

var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$`)

// embedHosts returns the hosts of STOA_EMBED_HOSTS; never nil.
func (c *Config) embedHosts() []string {
	hosts := []string{}
	for host := range strings.SplitSeq(c.EmbedHosts, ",") {
		if host = strings.ToLower(strings.TrimSpace(host)); host != "" {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// Faults returns all that is wrong with the settings for a process that runs the
// named services, each line naming the setting and what would be right.
func (c *Config) Faults(services []string) []string {
	var faults []string
	add := func(setting, format string, args ...any) {
		faults = append(faults, setting+": "+fmt.Sprintf(format, args...))
	}
	for setting, err := range map[string]error{
		"STOA_DATABASE_CONNECTIONS": c.Connections.err, "STOA_MIGRATE": c.Migrate.err, "STOA_DEMO": c.Demo.err, "STOA_STRIPE_TAX": c.StripeTax.err, "STOA_RPC_INSECURE": c.RPCInsecure.err,
		"STOA_RATE_LIMIT": c.RateLimit.err, "STOA_SIGN_IN_RATE_LIMIT": c.SignInRateLimit.err,
		"STOA_REQUEST_TIMEOUT": c.RequestTimeout.err, "STOA_MAX_UPLOAD": c.MaxUpload.err, "STOA_MAX_ARCHIVE": c.MaxArchive.err, "STOA_MEDIA_WORKERS": c.MediaWorkers.err, "STOA_DRAIN": c.Drain.err,
		"STOA_MEDIA_COURSE_QUOTA": c.MediaCourseQuota.err, "STOA_MEDIA_ACCOUNT_QUOTA": c.MediaAccountQuota.err, "STOA_SUBMISSION_QUOTA": c.SubmissionQuota.err,
		"STOA_MEDIA_COURSE_UPLOADS": c.MediaCourseUploads.err, "STOA_MEDIA_ACCOUNT_UPLOADS": c.MediaAccountUploads.err,
		"STOA_MEDIA_UPLOAD_LIFETIME": c.MediaUploadLifetime.err,
		"STOA_PAYOUT_DAY":            c.PayoutDay.err, "STOA_PAYOUT_MINIMUM": c.PayoutMinimum.err,
	} {
		if err != nil {
			add(setting, "%v", err)
		}
	}
	oneOf := func(setting, value string, known ...string) {
		if !slices.Contains(known, value) {
			add(setting, "%q is not one of %s", value, strings.Join(known, ", "))
		}
	}
	oneOf("STOA_PROFILE", c.Profile, development, production)
	if c.PayoutDay.V > 31 {
		add("STOA_PAYOUT_DAY", "the days of a month are 1 to 31; 0 is none")
	}
	if c.PayoutMinimum.V > 1_000_000 {
		add("STOA_PAYOUT_MINIMUM", "at most 1000000 units")
	}
	oneOf("STOA_PAYMENTS", c.Payments, "stripe", "development", "none")
	if len(services) == 0 || slices.Contains(services, commerce.Schema.Name) {
		c.stripeFaults(add)
	}
	oneOf("STOA_COURSE_REVIEW", cmp.Or(c.Review, "off"), "off", "required")
	oneOf("STOA_LOG_FORMAT", c.LogFormat, "text", "json")
	oneOf("STOA_LOG_LEVEL", c.LogLevel, "debug", "info", "warn", "error")
	for _, host := range c.embedHosts() {
		if !hostName.MatchString(host) {
			add("STOA_EMBED_HOSTS", "%q is no name of a host, such as www.example.org", host)
		}
	}
	for _, name := range services {
		if !slices.Contains(Names(), name) {
			add("serve", "there is no service %q; there are %s", name, strings.Join(Names(), ", "))
		}
	}
	address := func(setting, value string) {
		if value == "" {
			return
		}
		if _, err := net.ResolveTCPAddr("tcp", value); err != nil {
			add(setting, "%q is not an address such as 127.0.0.1:8080", value)
		}
	}
	if c.HTTPAddr == "" {
		add("STOA_HTTP_ADDR", "must not be empty")
	}
	address("STOA_HTTP_ADDR", c.HTTPAddr)
	address("STOA_RPC_ADDR", c.RPCAddr)
	address("STOA_HTTP_REDIRECT_ADDR", c.HTTPRedirectAddr)
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		add("STOA_TLS_CERT_FILE", "needs STOA_TLS_KEY_FILE, and the other way round")
	}
	if c.TLSCertFile != "" && strings.HasPrefix(c.PublicURL, "http:") {
		add("STOA_PUBLIC_URL", "must begin with https:// where STOA_TLS_CERT_FILE is set")
	}
	if c.HTTPRedirectAddr != "" && !strings.HasPrefix(c.PublicURL, "https:") {
		add("STOA_HTTP_REDIRECT_ADDR", "needs a STOA_PUBLIC_URL that begins with https://")
	}
	if (c.RPCCAFile == "") != (c.RPCCertFile == "") || (c.RPCCAFile == "") != (c.RPCKeyFile == "") {
		add("STOA_RPC_CA_FILE", "needs STOA_RPC_CERT_FILE and STOA_RPC_KEY_FILE, and the other way round")
	}
	address("STOA_OPS_ADDR", c.OpsAddr)
	if c.Connections.err == nil && (c.Connections.V < 4 || c.Connections.V > 1000) {
		// Events take three, requests need one.
		add("STOA_DATABASE_CONNECTIONS", "%d is not from 4 to 1000", c.Connections.V)
	}
	if c.MediaWorkers.err == nil && c.MediaWorkers.V > 64 {
		add("STOA_MEDIA_WORKERS", "%d is not from 0 to 64", c.MediaWorkers.V)
	}
	if _, err := c.scanner(); err != nil {
		add("STOA_MEDIA_SCANNER", "%v", err)
	}
	if c.MaxUpload.err == nil && c.MaxUpload.V < 1 {
		add("STOA_MAX_UPLOAD", "must be at least 1")
	}
	if c.MaxArchive.err == nil && c.MaxArchive.V < 1 {
		add("STOA_MAX_ARCHIVE", "must be at least 1")
	}
	if c.DatabaseURL != "" {
		if _, err := pgxpool.ParseConfig(c.DatabaseURL); err != nil {
			// The text of the error may hold the password.
			add("STOA_DATABASE_URL", "is not an address such as postgres://user:password@host/database")
		}
	}
	web := func(setting, value string, schemes ...string) {
		if value == "" {
			return
		}
		u, err := url.Parse(value)
		if err != nil || !slices.Contains(schemes, u.Scheme) || u.Host == "" && u.Scheme != "file" {
			add(setting, "is not an address that begins with %s://", strings.Join(schemes, ":// or "))
		}
	}
	web("STOA_PUBLIC_URL", c.PublicURL, "http", "https")
	web("STOA_SIMILARITY_URL", c.SimilarityURL, "http", "https")
	switch {
	case c.SimilarityURL != "" && len(c.SimilaritySecret) < 32:
		add("STOA_SIMILARITY_SECRET", "must have at least 32 characters where STOA_SIMILARITY_URL is set")
	case strings.HasPrefix(c.SimilarityURL, "http:") && c.Profile == production:
		add("STOA_SIMILARITY_URL", "must begin with https:// in production")
	}
	web("STOA_PROCTORING_URL", c.ProctoringURL, "http", "https")
	switch {
	case c.ProctoringURL != "" && len(c.ProctoringSecret) < 32:
		add("STOA_PROCTORING_SECRET", "must have at least 32 characters where STOA_PROCTORING_URL is set")
	case strings.HasPrefix(c.ProctoringURL, "http:") && c.Profile == production:
		add("STOA_PROCTORING_URL", "must begin with https:// in production")
	}
	web("STOA_AMQP_URL", c.AMQPURL, "amqp", "amqps")
	web("STOA_BUCKET_URL", c.BucketURL, "file", "s3")
	web("STOA_TRACES_URL", c.TracesURL, "http", "https")
	if c.RedisURL != "" {
		if _, err := rueidis.ParseURL(c.RedisURL); err != nil {
			add("STOA_REDIS_URL", "is not an address such as redis://host:6379")
		}
	}
	if c.KMSURL != "" && !strings.HasPrefix(c.KMSURL, "awskms:") && !strings.HasPrefix(c.KMSURL, "base64key:") {
		add("STOA_KMS_URL", "is not an address that begins with awskms:// or base64key://")
	}
	if strings.HasPrefix(c.KMSURL, "base64key:") && c.Profile == production {
		add("STOA_KMS_URL", "base64key:// is no KMS but a key beside what it wraps, and is refused in production")
	}
	if len(c.IssuerName) > 200 || !utf8.ValidString(c.IssuerName) {
		add("STOA_ISSUER_NAME", "is longer than 200 bytes, or no text")
	}
	for _, t := range []struct{ name, text string }{
		{"STOA_SELLER_NAME", c.SellerName}, {"STOA_SELLER_ADDRESS", c.SellerAddress}, {"STOA_SELLER_TAX_ID", c.SellerTaxID},
	} {
		if len(t.text) > 500 || !utf8.ValidString(t.text) || strings.Count(t.text, ";") > 6 {
			add(t.name, "is longer than 500 bytes or 6 lines, or no text")
		}
	}
	if _, err := c.mailer(); err != nil {
		add("STOA_SMTP_URL", "%v", err)
	}
	if strings.HasPrefix(c.BucketURL, "s3:") && (c.BucketAccessKey == "" || c.BucketSecretKey == "") {
		add("STOA_BUCKET_ACCESS_KEY", "an s3:// bucket needs STOA_BUCKET_ACCESS_KEY and STOA_BUCKET_SECRET_KEY")
	}
	if c.ServiceKey != "" {
		if _, err := auth.NewKeys(c.ServiceKey); err != nil {
			add("STOA_SERVICE_KEY", "%v", err)
		}
	}
	if _, err := parseProxies(c.TrustedProxies); err != nil {
		add("STOA_TRUSTED_PROXIES", "%v", err)
	}
	if c.OIDCProviders != "" && c.OIDCFile != "" {
		add("STOA_OIDC_FILE", "can't be given together with STOA_OIDC_PROVIDERS")
	} else if _, err := c.providers(); err != nil {
		add(c.providerSetting(), "%v", err)
	}
	if _, err := parsePeers(c.Peers); err != nil {
		add("STOA_PEERS", "%v", err)
	}
	if len(services) > 0 && len(services) < len(Names()) {
		needed := map[string]string{"STOA_SERVICE_KEY": c.ServiceKey}
		if len(services) > 1 || services[0] != edgeName { // which has no tables and no events
			needed["STOA_DATABASE_URL"], needed["STOA_AMQP_URL"] = c.DatabaseURL, c.AMQPURL
			needed["STOA_KEYSET_FILE"] = c.KeysetFile
		}
		for setting, value := range needed {
			if value == "" {
				add(setting, "is needed by a process that runs some of the services: all processes must name the same")
			}
		}
	}
	if c.Profile == production {
		if c.Payments == "development" {
			add("STOA_PAYMENTS", "development payments let anybody buy for nothing and are refused in production; use stripe or none")
		}
		if c.ServiceKey == "" {
			add("STOA_SERVICE_KEY", "is needed in production: make one with `openssl rand -base64 32`")
		}
		if c.KeysetFile == "" && !slices.Equal(services, []string{edgeName}) {
			add("STOA_KEYSET_FILE", "is needed in production: make one with `stoa admin keys new`, and keep a copy apart from those of the database")
		}
		if len(services) > 0 && len(services) < len(Names()) && c.RPCCAFile == "" && !c.RPCInsecure.V {
			add("STOA_RPC_CA_FILE", "is needed in production by a process that runs some of the services, see `stoa admin certs`; or STOA_RPC_INSECURE=1 where the network encrypts")
		}
		if c.PublicURL == "" {
			add("STOA_PUBLIC_URL", "is needed in production")
		}
		if c.Demo.V {
			add("STOA_DEMO", "the demo school has known passwords and is refused in production")
		}
	}
	slices.Sort(faults)
	return faults
}

// mailer returns what hands mails to the mail server, nil where there is none.
func (c *Config) mailer() (*notify.Mailer, error) {
	if c.SMTPURL == "" {
		return nil, nil //nolint:nilnil // none is a setting like others
	}
	return notify.NewMailer(c.SMTPURL, c.MailFrom)
}

// scanner returns what looks for malware, nil where there is none.
func (c *Config) scanner() (*media.Scanner, error) {
	if c.MediaScanner == "" {
		return nil, nil //nolint:nilnil // none is a setting like others
	}
	return media.NewScanner(c.MediaScanner)
}

// parseProxies reads networks.
func parseProxies(text string) ([]netip.Prefix, error) {
	var proxies []netip.Prefix
	for network := range strings.SplitSeq(text, ",") {
		if network = strings.TrimSpace(network); network == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return nil, fmt.Errorf("%q is not a network such as 10.0.0.0/8", network)
		}
		proxies = append(proxies, prefix.Masked())
	}
	return proxies, nil
}

// parsePeers reads name=host:port pairs.
func parsePeers(text string) (map[string]string, error) {
	peers := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		pair = strings.TrimSpace(pair)
		if pair == "" {
			continue
		}
		name, addr, ok := strings.Cut(pair, "=")
		if _, _, err := net.SplitHostPort(addr); !ok || err != nil {
			return nil, fmt.Errorf("%q is not name=host:port", pair)
		}
		if !slices.Contains(Names(), name) {
			return nil, fmt.Errorf("there is no service %q", name)
		}
		peers[name] = addr
	}
	return peers, nil
}

// serviceKey returns the configured key, or one made at the first start and
// kept in the data folder.
func (c *Config) serviceKey() (string, error) {
	if c.ServiceKey != "" {
		return c.ServiceKey, nil
	}
	text, err := c.made("service.key", func() ([]byte, error) {
		raw := make([]byte, 32)
		_, err := rand.Read(raw)
		return []byte(base64.StdEncoding.EncodeToString(raw) + "\n"), err
	})
	return strings.TrimSpace(string(text)), err
}

// providerSetting is the setting that names providers.
func (c *Config) providerSetting() string {
	if c.OIDCFile != "" {
		return "STOA_OIDC_FILE"
	}
	return "STOA_OIDC_PROVIDERS"
}

// providers returns who else people may sign in with.
func (c *Config) providers() ([]identity.Provider, error) {
	text := []byte(c.OIDCProviders)
	if c.OIDCFile != "" {
		var err error
		if text, err = os.ReadFile(c.OIDCFile); err != nil {
			return nil, err
		}
	}
	return identity.ParseProviders(text)
}

// importDir is the folder for archives that are imported.
func (c *Config) importDir() string {
	if c.ImportDir != "" {
		return c.ImportDir
	}
	return filepath.Join(c.DataDir, "imports")
}

// made returns a file of the data folder, made at the first time.
func (c *Config) made(name string, content func() ([]byte, error)) ([]byte, error) {
	path := filepath.Join(c.DataDir, name)
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the folder
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return text, err
	}
	if text, err = content(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	// Written beside and renamed, so that a crash leaves none or all of it.
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return text, os.Rename(path+".new", path)
}

// bucketURL returns where files are kept.
func (c *Config) bucketURL() (string, error) {
	if c.BucketURL != "" {
		return c.BucketURL, nil
	}
	dir, err := filepath.Abs(filepath.Join(c.DataDir, "bucket"))
	if err != nil {
		return "", err
	}
	return (&url.URL{Scheme: "file", Path: dir}).String(), nil
}

func (c *Config) logLevel() slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return slog.LevelInfo
	}
	return l
}
