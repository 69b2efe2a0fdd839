// Package deploy_test holds the files of this folder to what the program is and
// to what a container may do.
package deploy_test

import (
	"encoding"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/stoa-lms/stoa/internal/app"
)

// files are the texts that are checked, and what they are checked against.
type files struct {
	compose, dockerfile, ignore, env string
	gomod                            string
	tools                            string   // where media says what it needs
	commands                         []string // the program's
}

func read(t *testing.T) files {
	t.Helper()
	text := func(path string) string {
		b, err := os.ReadFile(path) //nolint:gosec // a path of our own
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	return files{
		compose: text("compose.yaml"), dockerfile: text("Dockerfile"), ignore: text("../.dockerignore"), env: text(".env.example"),
		gomod: text("../go.mod"), tools: text("../internal/service/media/tool.go"), commands: commands(t),
	}
}

// commands returns the names of the program's commands, read off the fields
// with a tag cmd of the type cli.
func commands(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("../cmd/stoa/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range paths {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != "cli" {
				return true
			}
			for _, field := range spec.Type.(*ast.StructType).Fields.List {
				if field.Tag == nil || len(field.Names) == 0 {
					continue
				}
				text, err := strconv.Unquote(field.Tag.Value)
				if err != nil {
					t.Fatal(err)
				}
				tag := reflect.StructTag(text)
				if _, ok := tag.Lookup("cmd"); !ok {
					continue
				}
				name := tag.Get("name")
				if name == "" {
					name = strings.ToLower(field.Names[0].Name)
				}
				names = append(names, name)
			}
			return false
		})
	}
	if !slices.Contains(names, "serve") {
		t.Fatalf("the commands of the program were not found, only %q", names)
	}
	return names
}

// composed is what is read of a compose file.
type composed struct {
	Services map[string]container `yaml:"services"`
	Networks map[string]struct {
		Internal bool `yaml:"internal"`
	} `yaml:"networks"`
	Volumes map[string]any `yaml:"volumes"`
}

type container struct {
	Image string `yaml:"image"`
	Build struct {
		Dockerfile string `yaml:"dockerfile"`
		Target     string `yaml:"target"`
	} `yaml:"build"`
	Init        bool              `yaml:"init"`
	User        string            `yaml:"user"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Ports       []string          `yaml:"ports"`
	Volumes     []string          `yaml:"volumes"`
	Tmpfs       []string          `yaml:"tmpfs"`
	Networks    []string          `yaml:"networks"`
	NetworkMode string            `yaml:"network_mode"`
	Restart     string            `yaml:"restart"`
	Privileged  bool              `yaml:"privileged"`
	ReadOnly    bool              `yaml:"read_only"`
	CapDrop     []string          `yaml:"cap_drop"`
	CapAdd      []string          `yaml:"cap_add"`
	SecurityOpt []string          `yaml:"security_opt"`
	MemLimit    string            `yaml:"mem_limit"`
	StopGrace   string            `yaml:"stop_grace_period"`
	Health      struct {
		Test    []string `yaml:"test"`
		Disable bool     `yaml:"disable"`
	} `yaml:"healthcheck"`
	DependsOn map[string]struct {
		Condition string `yaml:"condition"`
	} `yaml:"depends_on"`
}

// stoa reports whether the container runs an image of ours.
func (c container) stoa() bool { return strings.HasPrefix(c.Image, "${IMAGE") }

// slim reports whether it is the one without tools.
func (c container) slim() bool { return strings.HasSuffix(c.Image, "-slim") }

// job reports whether the container ends by itself.
func (c container) job() bool { return c.Restart == "no" }

// settings are the names of the program's settings, with their fields.
func settings() map[string]reflect.StructField {
	known := map[string]reflect.StructField{}
	for f := range reflect.TypeFor[app.Config]().Fields() {
		if env := f.Tag.Get("env"); env != "" {
			known[env] = f
		}
	}
	return known
}

// config returns the settings that a process with this environment has.
func config(env map[string]string) (app.Config, error) {
	var cfg app.Config
	for name, f := range settings() {
		value, ok := env[name]
		if !ok || value == "" {
			value = f.Tag.Get("default")
		}
		field := reflect.ValueOf(&cfg).Elem().FieldByIndex(f.Index)
		switch to := field.Addr().Interface().(type) {
		case *string:
			*to = value
		case encoding.TextUnmarshaler:
			if err := to.UnmarshalText([]byte(value)); err != nil {
				return cfg, err
			}
		default:
			return cfg, fmt.Errorf("%s is of a kind that this test does not know", name)
		}
	}
	return cfg, nil
}

// variable is how compose names a value of .env: ${NAME}, ${NAME:-else} or
// ${NAME:?complaint}.
var variable = regexp.MustCompile(`\$\{(\w+)(?:(:[-?])([^}]*))?\}`)

// expand puts values of .env in.
func expand(text string, env map[string]string) string {
	return variable.ReplaceAllStringFunc(text, func(s string) string {
		m := variable.FindStringSubmatch(s)
		if v := env[m[1]]; v != "" || m[2] != ":-" {
			return v
		}
		return m[3]
	})
}

// example is an .env file: every NAME= in it, and whether it is commented out.
func example(text string) (values map[string]string, off map[string]bool) {
	values, off = map[string]string{}, map[string]bool{}
	line := regexp.MustCompile(`(?m)^(#?)([A-Z][A-Z0-9_]*)=(.*)$`)
	for _, m := range line.FindAllStringSubmatch(text, -1) {
		if _, ok := values[m[2]]; ok && m[1] == "#" {
			continue // a comment that shows another value
		}
		values[m[2]], off[m[2]] = m[3], m[1] == "#"
	}
	return values, off
}

// filled is an .env file in which somebody filled in what has no default.
func filled(more ...string) map[string]string {
	env := map[string]string{
		"POSTGRES_PASSWORD": "p1", "RABBITMQ_PASSWORD": "p2", "REDIS_PASSWORD": "p3", "S3_ACCESS_KEY": "k", "S3_SECRET_KEY": "s",
		"STOA_SERVICE_KEY": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "STOA_PUBLIC_URL": "https://learn.example.org",
	}
	for _, pair := range more {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	return env
}

// faults collects what is wrong.
type faults []string

func (f *faults) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// look returns all that is wrong with the files.
func look(f files) (found faults) {
	var c composed
	if err := yaml.Unmarshal([]byte(f.compose), &c); err != nil {
		found.add("compose.yaml: %v", err)
		return found
	}
	d := readDockerfile(f.dockerfile)
	found.services(c, f.commands)
	found.images(c, d)
	for _, name := range slices.Sorted(maps.Keys(c.Services)) {
		found.hardened(name, c)
		if c.Services[name].stoa() {
			found.environment(name, c)
			found.stoa(name, c.Services[name], d, f.commands)
		}
	}
	found.env(f)
	found.dockerfile(d, f)
	found.ignore(f.ignore)
	return found
}

// services: there is a container for each service, and one for nothing else.
func (f *faults) services(c composed, commands []string) {
	want := app.Names()
	if len(want) < 9 {
		f.add("the program has only the services %q", want)
	}
	for _, name := range want {
		s, ok := c.Services[name]
		switch {
		case !ok:
			f.add("%s: is missing", name)
		case !s.stoa():
			f.add("%s: does not run our image, but %s", name, s.Image)
		case !slices.Equal(s.Command, []string{"serve", name}):
			f.add("%s: runs %q, not its service", name, s.Command)
		}
	}
	shared := 0
	for name, s := range c.Services {
		if !s.stoa() {
			continue
		}
		if len(s.Command) == 0 || !slices.Contains(commands, s.Command[0]) {
			f.add("%s: the program has no command %q", name, s.Command)
			continue
		}
		if s.Command[0] == "serve" && !slices.Contains(want, name) {
			f.add("%s: is no service of the program", name)
		}
		if s.Command[0] == "migrate" && s.job() {
			shared++
		}
	}
	if shared != 1 {
		f.add("there are %d jobs that migrate", shared)
	}
	if edge := c.Services["edge"]; len(edge.Ports) != 1 || !strings.HasSuffix(edge.Ports[0], ":8080") {
		f.add("edge: publishes %q, not its port alone", edge.Ports)
	}
}

// images: who works on files or writes certificates has the tools and fonts for
// it, all others have nothing but the program, and both images are built here.
func (f *faults) images(c composed, d dockerfile) {
	built := map[string]string{}
	for name, s := range c.Services {
		if s.stoa() && s.Build.Dockerfile != "" {
			built[s.Image] = s.Build.Target
			if s.Build.Dockerfile != "deploy/Dockerfile" {
				f.add("%s: is built by %s", name, s.Build.Dockerfile)
			}
		}
	}
	for name, s := range c.Services {
		if !s.stoa() {
			continue
		}
		tools := name == "media" || name == "learning"
		if tools == s.slim() {
			f.add("%s: runs %s; tools and fonts are for media and learning", name, s.Image)
		}
		stage := "stoa"
		if s.slim() {
			stage = "stoa-slim"
		}
		if built[s.Image] != stage || d.stage(stage) < 0 {
			f.add("%s: its image %s is built from the stage %q, not %s", name, s.Image, built[s.Image], stage)
		}
	}
	// Tools leave processes behind when they are killed, and we wait only for our own.
	if !c.Services["media"].Init {
		f.add("media: nothing waits for what tools leave behind")
	}
	for name, dirs := range map[string][]string{"media": {"/temp", "/tmp"}, "courses": {"/imports"}} {
		s := c.Services[name]
		for _, dir := range dirs {
			writable := func(m string) bool { return strings.Contains(":"+m+":", ":"+dir+":") }
			if !slices.ContainsFunc(append(slices.Clone(s.Volumes), s.Tmpfs...), writable) {
				f.add("%s: can't write %s", name, dir)
			}
		}
	}
	for name, dir := range map[string]string{"STOA_MEDIA_TEMP_DIR": "/temp", "STOA_IMPORT_DIR": "/imports"} {
		if got := c.Services["edge"].Environment[name]; got != dir {
			f.add("compose.yaml: %s is %q, not the volume %s", name, got, dir)
		}
	}
}

// hardened: what is asked of every container, ours or not.
func (f *faults) hardened(name string, c composed) {
	s := c.Services[name]
	uid, _, _ := strings.Cut(s.User, ":")
	// Giving a new volume away takes root; such a job can do nothing else.
	giver := s.job() && s.NetworkMode == "none" && slices.Equal(s.CapAdd, []string{"CHOWN"})
	switch {
	case uid == "":
		f.add("%s: does not say as whom it runs", name)
	case (uid == "0" || uid == "root") && !giver:
		f.add("%s: runs as root", name)
	}
	if len(s.CapAdd) > 0 && !giver {
		f.add("%s: adds the capabilities %q", name, s.CapAdd)
	}
	if s.Privileged {
		f.add("%s: is privileged", name)
	}
	if !slices.Equal(s.CapDrop, []string{"ALL"}) {
		f.add("%s: does not drop all capabilities", name)
	}
	if !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
		f.add("%s: may gain privileges", name)
	}
	// Who runs tools has the profile that lets it take the network from them.
	var seccomp []string
	for _, option := range s.SecurityOpt {
		if profile, ok := strings.CutPrefix(strings.Replace(option, ":", "=", 1), "seccomp="); ok {
			seccomp = append(seccomp, profile)
		}
	}
	if name == "media" && !slices.Equal(seccomp, []string{"media-seccomp.json"}) || name != "media" && len(seccomp) > 0 {
		f.add("%s: has the seccomp profiles %q", name, seccomp)
	}
	if !s.ReadOnly {
		f.add("%s: can write its root file system", name)
	}
	if s.MemLimit == "" {
		f.add("%s: has no limit of memory", name)
	}
	if !s.job() && s.Restart != "unless-stopped" {
		f.add("%s: is not restarted", name)
	}
	if !s.job() && (s.Health.Disable || len(s.Health.Test) < 2) {
		f.add("%s: has no health check", name)
	}
	if name != "edge" && len(s.Ports) > 0 {
		f.add("%s: publishes %q; only the edge may", name, s.Ports)
	}
	if s.NetworkMode != "" && s.NetworkMode != "none" {
		f.add("%s: has the network of %s", name, s.NetworkMode)
	}
	if !s.stoa() {
		for _, n := range s.Networks {
			if !c.Networks[n].Internal {
				f.add("%s: is in the network %s, which has a way out", name, n)
			}
		}
		if _, tag, ok := strings.Cut(s.Image, ":"); !ok || tag == "latest" {
			f.add("%s: its image %s has no version", name, s.Image)
		}
	}
	// Of the host's files a service sees the keyset, if it keeps data, and the
	// certificate of its own.
	var secrets []string
	if len(s.Command) == 2 && s.Command[0] == "serve" {
		if name != "edge" {
			secrets = append(secrets, "${SECRETS:-./secrets}/keyset:/run/stoa/keyset:ro")
		}
		secrets = append(secrets, "${SECRETS:-./secrets}/certs/"+name+":/run/stoa/certs:ro")
	}
	for _, v := range secrets {
		if !slices.Contains(s.Volumes, v) {
			f.add("%s: does not mount %s", name, v)
		}
	}
	for _, v := range s.Volumes {
		if slices.Contains(secrets, v) {
			continue
		}
		volume, _, _ := strings.Cut(v, ":")
		if _, ok := c.Volumes[volume]; !ok {
			f.add("%s: mounts %s, which is no volume", name, v)
		}
	}
	for on, d := range s.DependsOn {
		other, ok := c.Services[on]
		want := "service_healthy"
		if other.job() {
			want = "service_completed_successfully"
		}
		if !ok || d.Condition != want {
			f.add("%s: waits for %s (%s), which must be there and %s", name, on, d.Condition, want)
		}
	}
}

// environment: a process of ours accepts its settings, and they lead where
// something is.
func (f *faults) environment(name string, c composed) {
	s := c.Services[name]
	known := settings()
	for key := range s.Environment {
		if _, ok := known[key]; !ok && key != "GOMEMLIMIT" {
			f.add("%s: %s is no setting of the program", name, key)
		}
	}
	most, err1 := size(s.Environment["GOMEMLIMIT"])
	limit, err2 := size(s.MemLimit)
	if err1 != nil || err2 != nil || most == 0 || most*10 > limit*9 {
		f.add("%s: GOMEMLIMIT %q leaves too little of the limit %q", name, s.Environment["GOMEMLIMIT"], s.MemLimit)
	}
	if other := c.Services["edge"]; name != "edge" {
		for _, key := range slices.Sorted(maps.Keys(known)) {
			if s.Environment[key] != other.Environment[key] {
				f.add("%s: has another %s than the edge", name, key)
			}
		}
	}
	var services []string
	if len(s.Command) == 2 && s.Command[0] == "serve" {
		services = s.Command[1:]
	}
	for what, env := range map[string]map[string]string{
		"production":  filled(),
		"development": filled("STOA_PROFILE=development", "STOA_PAYMENTS=development", "STOA_DEMO=1"),
	} {
		values := map[string]string{}
		for key, value := range s.Environment {
			values[key] = expand(value, env)
		}
		cfg, err := config(values)
		if err != nil {
			f.add("%s: %v", name, err)
			return
		}
		if cfg.Profile != what {
			f.add("%s: its profile is %q where .env asks for %s", name, cfg.Profile, what)
		}
		for _, fault := range cfg.Faults(services) {
			f.add("%s: in %s, %s", name, what, fault)
		}
		if what == "production" {
			f.leads(name, c, cfg)
		}
	}
}

// leads: the addresses that a process is given are those of containers that it
// can reach.
func (f *faults) leads(name string, c composed, cfg app.Config) {
	s := c.Services[name]
	reach := func(what, host string) {
		other, ok := c.Services[host]
		if !ok {
			f.add("%s: %s is at %q, which is no container", name, what, host)
			return
		}
		if !slices.ContainsFunc(s.Networks, func(n string) bool { return slices.Contains(other.Networks, n) }) {
			f.add("%s: %s is at %s, which it has no network with", name, what, host)
		}
	}
	for what, address := range map[string]string{
		"STOA_DATABASE_URL": cfg.DatabaseURL, "STOA_AMQP_URL": cfg.AMQPURL, "STOA_REDIS_URL": cfg.RedisURL, "STOA_BUCKET_URL": cfg.BucketURL,
	} {
		u, err := url.Parse(address)
		if err != nil || address == "" {
			f.add("%s: %s is %q", name, what, address)
			continue
		}
		if endpoint := u.Query().Get("endpoint"); endpoint != "" {
			if u, err = url.Parse(endpoint); err != nil {
				f.add("%s: %s: %v", name, what, err)
				continue
			}
		}
		reach(what, u.Hostname())
	}
	if _, port, err := net.SplitHostPort(cfg.RPCAddr); err != nil || port != "9090" || cfg.Peers != "" {
		f.add("%s: listens for services at %q, and others look for it at %s:9090", name, cfg.RPCAddr, name)
	}
	for _, peer := range app.Names() {
		reach("the service "+peer, peer)
	}
}

// size reads a number of bytes such as 256m or 200MiB.
func size(text string) (int64, error) {
	digits := strings.TrimRight(strings.ToLower(text), "gmkib")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, err
	}
	switch unit := strings.ToLower(text[len(digits):]); {
	case strings.HasPrefix(unit, "g"):
		n <<= 30
	case strings.HasPrefix(unit, "m"):
		n <<= 20
	case strings.HasPrefix(unit, "k"):
		n <<= 10
	}
	return n, nil
}

// stoa: what is asked of our containers alone.
func (f *faults) stoa(name string, s container, d dockerfile, commands []string) {
	stage := d.stage("stoa")
	if s.slim() {
		stage = d.stage("stoa-slim")
	}
	if user := d.one(stage, "USER"); s.User != user {
		f.add("%s: runs as %q, but the image is made for %q", name, s.User, user)
	}
	cfg, err := config(s.Environment)
	if err != nil {
		f.add("%s: %v", name, err)
		return
	}
	grace, err := time.ParseDuration(s.StopGrace)
	if err != nil || grace <= cfg.Drain.V {
		f.add("%s: has %q to stop, which is not longer than the %s that it lets requests finish", name, s.StopGrace, cfg.Drain.V)
	}
	uid, gid, _ := strings.Cut(s.User, ":")
	if !slices.ContainsFunc(s.Tmpfs, func(m string) bool {
		return strings.HasPrefix(m, cfg.DataDir+":") && strings.Contains(m, "uid="+uid) && strings.Contains(m, "gid="+gid)
	}) {
		f.add("%s: can't write its data folder %s", name, cfg.DataDir)
	}
	if !s.job() && len(s.Health.Test) > 0 {
		f.probe(name, s.Health.Test[1:], cfg.OpsAddr, commands)
	}
}

// probe: a health check is a command of the program that asks the operators'
// address whether the process is ready.
func (f *faults) probe(name string, command []string, opsAddr string, commands []string) {
	if len(command) != 3 || command[0] != "/stoa" {
		f.add("%s: its health check %q does not run the program", name, command)
		return
	}
	if !slices.Contains(commands, command[1]) {
		f.add("%s: its health check runs %q, which is no command of the program", name, command[1])
	}
	_, port, err := net.SplitHostPort(opsAddr)
	if want := "http://127.0.0.1:" + port + "/readyz"; err != nil || command[2] != want {
		f.add("%s: its health check asks %s, not %s", name, command[2], want)
	}
}

// env: what a person has to fill in is told, and nothing secret has a default.
func (f *faults) env(in files) {
	values, off := example(in.env)
	used := map[string]bool{}
	for _, m := range variable.FindAllStringSubmatch(in.compose, -1) {
		name, kind := m[1], m[2]
		used[name] = true
		if _, ok := values[name]; !ok && !strings.HasPrefix(name, "STOA_") {
			f.add(".env.example: lacks %s", name)
		}
		if _, ok := settings()[name]; strings.HasPrefix(name, "STOA_") && !ok {
			f.add("compose.yaml: ${%s} is no setting of the program", name)
		}
		// What only some need is told by the program where it is missing.
		secret := strings.Contains(name, "PASSWORD") || strings.HasSuffix(name, "_KEY") && !strings.HasPrefix(name, "STOA_STRIPE_")
		if secret && (kind != ":?" || m[3] == "") {
			f.add("compose.yaml: %s does not say that the secret is missing", m[0])
		}
		if kind == ":?" && (values[name] != "" || off[name]) {
			f.add(".env.example: %s must be there to be filled in", name)
		}
		if kind == "" {
			f.add("compose.yaml: %s has no default and no complaint", m[0])
		}
	}
	for name := range values {
		if !used[name] {
			f.add(".env.example: %s is used nowhere", name)
		}
	}
}

// dockerfile is a list of stages, each with its instructions.
type dockerfile [][][2]string

func readDockerfile(text string) dockerfile {
	var d dockerfile
	text = regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(text, "")
	text = regexp.MustCompile(`\\\n\s*`).ReplaceAllString(text, " ")
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if word == "" {
			continue
		}
		if word == "FROM" {
			d = append(d, nil)
		}
		if len(d) > 0 {
			d[len(d)-1] = append(d[len(d)-1], [2]string{word, strings.TrimSpace(rest)})
		}
	}
	return d
}

// stage returns the number of the stage of a name, -1 when there is none.
func (d dockerfile) stage(name string) int {
	return slices.IndexFunc(d, func(in [][2]string) bool { return strings.HasSuffix(in[0][1], " AS "+name) })
}

// all returns the arguments of an instruction in a stage.
func (d dockerfile) all(stage int, word string) []string {
	var args []string
	if stage < 0 || stage >= len(d) {
		return nil
	}
	for _, in := range d[stage] {
		if in[0] == word {
			args = append(args, in[1])
		}
	}
	return args
}

// one returns the arguments of an instruction that a stage has once.
func (d dockerfile) one(stage int, word string) string {
	if args := d.all(stage, word); len(args) == 1 {
		return args[0]
	}
	return ""
}

func (f *faults) dockerfile(d dockerfile, in files) {
	build, slim, full := d.stage("build"), d.stage("stoa-slim"), d.stage("stoa")
	if len(d) != 3 || build != 0 || slim != 1 || full != 2 {
		f.add("Dockerfile: its %d stages are not build, stoa-slim and, which is built by default, stoa", len(d))
		return
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(in.gomod)
	if from := d.one(build, "FROM"); len(version) != 2 || !strings.Contains(from, " golang:"+version[1]+" ") {
		f.add("Dockerfile: builds with %q, not with go.mod's version %q", from, version)
	}
	run := strings.Join(d.all(build, "RUN"), "\n")
	for _, want := range []string{"-trimpath", "-X main.version=$VERSION", "./cmd/stoa"} {
		if !strings.Contains(run, want) {
			f.add("Dockerfile: builds without %s", want)
		}
	}
	if !slices.ContainsFunc(d.all(build, "ENV"), func(s string) bool { return strings.Contains(s, "CGO_ENABLED=0") }) {
		f.add("Dockerfile: the program may need a C library, which scratch has not")
	}
	if copies := d.all(build, "COPY"); len(copies) < 2 || !strings.HasPrefix(copies[0], "go.mod go.sum ") {
		f.add("Dockerfile: modules are no layer of their own")
	}
	if from := d.one(slim, "FROM"); from != "scratch AS stoa-slim" {
		f.add("Dockerfile: the image without tools is made from %q", from)
	}
	if from := d.one(full, "FROM"); from != "debian:bookworm-slim AS stoa" {
		f.add("Dockerfile: the image with tools is made from %q", from)
	}
	if len(d.all(slim, "RUN")) > 0 {
		f.add("Dockerfile: something is installed in the image without tools")
	}
	if !slices.ContainsFunc(d.all(slim, "COPY"), func(s string) bool { return strings.HasSuffix(s, " /etc/ssl/certs/ca-certificates.crt") }) {
		f.add("Dockerfile: the image without tools has no certificates")
	}
	f.installed(d.one(full, "RUN"), in.tools)
	f.image(d, slim, in.commands, "/imports")
	f.image(d, full, in.commands, "/imports", "/temp")
}

// installed: what media says that it needs is installed, with fonts and
// certificates, and nothing else that is not needed for it.
func (f *faults) installed(run, tools string) {
	want := []string{"ca-certificates", "tzdata", "fonts-liberation", "fonts-noto-core", "fonts-noto-cjk"}
	_, table, _ := strings.Cut(tools, "\nvar tools = map[string]string{\n")
	table, _, _ = strings.Cut(table, "\n}\n")
	for _, m := range regexp.MustCompile(`"\w+": "([a-z-]+)"`).FindAllStringSubmatch(table, -1) {
		if !slices.Contains(want, m[1]) {
			want = append(want, m[1])
		}
	}
	if len(want) < 8 {
		f.add("tool.go: the tools that media needs were not found, only %q", want)
	}
	_, args, _ := strings.Cut(run, "apt-get install ")
	args, after, _ := strings.Cut(args, " && ")
	words := strings.Fields(args)
	for _, option := range []string{"-y", "--no-install-recommends"} {
		if !slices.Contains(words, option) {
			f.add("Dockerfile: installs without %s", option)
		}
	}
	got := slices.DeleteFunc(words, func(s string) bool { return strings.HasPrefix(s, "-") })
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		f.add("Dockerfile: installs %q, not %q", got, want)
	}
	if after != "rm -rf /var/lib/apt/lists/*" {
		f.add("Dockerfile: keeps the lists of packages")
	}
}

// image: what is asked of an image that is run. Whoever runs it can write the
// folders.
func (f *faults) image(d dockerfile, stage int, commands []string, folders ...string) {
	name := "Dockerfile: " + strings.Fields(d.one(stage, "FROM"))[2]
	user := d.one(stage, "USER")
	if !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user) {
		f.add("%s: runs as %q, which is not a number that is not root", name, user)
	}
	env := map[string]string{}
	for _, line := range d.all(stage, "ENV") {
		for pair := range strings.FieldsSeq(line) {
			key, value, _ := strings.Cut(pair, "=")
			if _, ok := settings()[key]; !ok {
				f.add("%s: %s is no setting of the program", name, key)
			}
			env[key] = value
		}
	}
	cfg, err := config(env)
	if err != nil {
		f.add("%s: %v", name, err)
		return
	}
	if found := cfg.Faults(nil); len(found) > 0 {
		f.add("%s: %q", name, found)
	}
	if d.one(stage, "VOLUME") != cfg.DataDir {
		f.add("%s: the data folder %s is no volume", name, cfg.DataDir)
	}
	for _, folder := range append(folders, cfg.DataDir) {
		if !slices.ContainsFunc(d.all(stage, "COPY"), func(s string) bool {
			return strings.Contains(s, "--chown="+user+" ") && strings.HasSuffix(s, " "+folder)
		}) {
			f.add("%s: %s is no folder that %s owns", name, folder, user)
		}
	}
	exposed := strings.Fields(d.one(stage, "EXPOSE"))
	for _, addr := range []string{cfg.HTTPAddr, ":9090", cfg.OpsAddr} {
		if !slices.Contains(exposed, strings.TrimPrefix(addr, ":")) {
			f.add("%s: exposes %q, not %s", name, exposed, addr)
		}
	}
	if entry, cmd := d.one(stage, "ENTRYPOINT"), d.one(stage, "CMD"); entry != `["/stoa"]` || cmd != `["serve"]` {
		f.add("%s: starts %s %s", name, entry, cmd)
	}
	_, check, _ := strings.Cut(d.one(stage, "HEALTHCHECK"), "CMD ")
	f.probe(name, regexp.MustCompile(`[^\[\]", ]+`).FindAllString(check, -1), cfg.OpsAddr, commands)
	for _, label := range []string{"title", "description", "source", "licenses", "version", "revision"} {
		if !strings.Contains(d.one(stage, "LABEL"), "org.opencontainers.image."+label+"=") {
			f.add("%s: lacks the label %s", name, label)
		}
	}
}

// ignore: what goes into a build is named, so that a secret which lies about
// does not.
func (f *faults) ignore(text string) {
	var rules []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			rules = append(rules, line)
		}
	}
	if len(rules) == 0 || rules[0] != "*" {
		f.add(".dockerignore: does not begin with *")
	}
	for _, rule := range rules {
		path, ok := strings.CutPrefix(rule, "!")
		if !ok {
			continue
		}
		if path == "deploy" || strings.HasPrefix(path, "deploy/") || strings.ContainsAny(path, "*?") {
			f.add(".dockerignore: %s may let secrets in", rule)
		}
		if _, err := os.Stat("../" + path); err != nil {
			f.add(".dockerignore: %v", err)
		}
	}
	for _, want := range []string{"!go.mod", "!go.sum", "!cmd", "!internal", "!LICENSE"} {
		if !slices.Contains(rules, want) {
			f.add(".dockerignore: lacks %s", want)
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	for _, fault := range look(read(t)) {
		t.Error(fault)
	}
}

// TestNoSecrets: an .env that somebody filled in is not committed.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(".gitignore")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Fields(string(text)), ".env") {
		t.Error(".gitignore does not name .env")
	}
}

// TestFaultsAreFound breaks the files one by one and expects to be told.
func TestFaultsAreFound(t *testing.T) {
	t.Parallel()
	good := read(t)
	before := look(good)
	compose, docker, env, ignore := &good.compose, &good.dockerfile, &good.env, &good.ignore
	for name, c := range map[string]struct {
		text     *string
		old, new string
		want     string
	}{
		"a service missing":            {compose, "\n  courses:\n    <<: *stoa\n    command: [serve, courses]\n    volumes: [\"${SECRETS:-./secrets}/keyset:/run/stoa/keyset:ro\", \"${SECRETS:-./secrets}/certs/courses:/run/stoa/certs:ro\", \"imports:/imports\"]\n", "\n", "courses: is missing"},
		"another's certificate":        {compose, "/certs/media:", "/certs/access:", "media: does not mount"},
		"a keyset that can be written": {compose, "/run/stoa/keyset:ro\", \"${SECRETS:-./secrets}/certs/media", "/run/stoa/keyset\", \"${SECRETS:-./secrets}/certs/media", "is no volume"},
		"a keyset where no data is":    {compose, "[\"${SECRETS:-./secrets}/certs/edge", "[\"${SECRETS:-./secrets}/keyset:/run/stoa/keyset:ro\", \"${SECRETS:-./secrets}/certs/edge", "edge: mounts"},
		"calls in the open":            {compose, "  STOA_RPC_CA_FILE: /run/stoa/certs/ca.crt\n", "", "STOA_RPC_CA_FILE"},
		"a service too many":           {compose, "\n  courses:\n", "\n  gradebook:\n    <<: *stoa\n    command: [serve, gradebook]\n\n  courses:\n", "gradebook: is no service"},
		"another's service":            {compose, "command: [serve, access]", "command: [serve, learning]", `access: runs ["serve" "learning"]`},
		"no such command":              {compose, "command: [migrate]", "command: [upgrade]", `the program has no command ["upgrade"]`},
		"no migration":                 {compose, "command: [migrate]", "command: [version]", "0 jobs that migrate"},
		"not a setting":                {compose, "STOA_DRAIN:", "STOA_DRAIN_TIME:", "STOA_DRAIN_TIME is no setting"},
		"a wrong setting":              {compose, "STOA_DRAIN: 20s", "STOA_DRAIN: soon", "is not a time span"},
		"a setting of one alone":       {compose, "      GOMEMLIMIT: 440MiB\n    mem_limit: 512m\n\n  access:", "      GOMEMLIMIT: 440MiB\n      STOA_PROFILE: development\n    mem_limit: 512m\n\n  access:", "identity: has another STOA_PROFILE"},
		"development by default":       {compose, "${STOA_PROFILE:-production}", "${STOA_PROFILE:-development}", "its profile is \"development\""},
		"development payments":         {compose, "${STOA_PAYMENTS:-none}", "${STOA_PAYMENTS:-development}", "refused in production"},
		"no broker":                    {compose, "  STOA_AMQP_URL:", "  #", "STOA_AMQP_URL: is needed"},
		"a server of another name":     {compose, "@postgres:5432", "@database:5432", `"database", which is no container`},
		"a network apart":              {compose, "networks: [stores, services]", "networks: [services]", "which it has no network with"},
		"another port for services":    {compose, "STOA_RPC_ADDR: :9090", "STOA_RPC_ADDR: :9091", "others look for it at"},
		"root":                         {compose, "user: postgres\n", "user: root\n", "postgres: runs as root"},
		"root by number":               {compose, "  image: ${IMAGE:-stoa:local}-slim\n  user: \"65532:65532\"", "  image: ${IMAGE:-stoa:local}-slim\n  user: \"0\"", "edge: runs as root"},
		"nobody named":                 {compose, "    user: redis\n", "", "redis: does not say as whom"},
		"root that reaches others":     {compose, "    network_mode: none\n", "", "bucket: runs as root"},
		"root that may more":           {compose, "cap_add: [CHOWN]", "cap_add: [CHOWN, DAC_OVERRIDE]", "bucket: adds the capabilities"},
		"capabilities":                 {compose, "  cap_drop: [ALL]\n", "", "does not drop all"},
		"tools with a network":         {compose, ", \"seccomp=media-seccomp.json\"", "", "media: has the seccomp profiles []"},
		"no profile":                   {compose, "seccomp=media-seccomp.json", "seccomp:unconfined", "media: has the seccomp profiles [\"unconfined\"]"},
		"another's profile":            {compose, "[\"no-new-privileges:true\"]\n  logging", "[\"no-new-privileges:true\", \"seccomp=media-seccomp.json\"]\n  logging", "edge: has the seccomp profiles"},
		"privileges":                   {compose, "  security_opt: [\"no-new-privileges:true\"]\n", "", "may gain privileges"},
		"a root that can be written":   {compose, "  read_only: true\n", "", "edge: can write its root"},
		"no health check":              {compose, "    healthcheck:\n      test: [CMD-SHELL, redis-cli ping | grep -q PONG]", "    healthcheck:\n      disable: true", "redis: has no health check"},
		"no health check of ours":      {compose, "  healthcheck:\n    test: [CMD, /stoa, health, \"http://127.0.0.1:9100/readyz\"]", "  healthcheck:", "edge: has no health check"},
		"a shell that is not there":    {compose, "test: [CMD, /stoa, health, \"http://127.0.0.1:9100/readyz\"]", "test: [CMD, curl, -f, \"http://127.0.0.1:9100/readyz\"]", "does not run the program"},
		"no such health command":       {compose, "[CMD, /stoa, health,", "[CMD, /stoa, healthy,", `runs "healthy", which is no command`},
		"a check of another port":      {compose, "STOA_OPS_ADDR: :9100", "STOA_OPS_ADDR: :9101", "its health check asks"},
		"another port published":       {compose, "  commerce:\n    <<: *stoa\n", "  commerce:\n    <<: *stoa\n    ports: [\"9090:9090\"]\n", "commerce: publishes"},
		"no port published":            {compose, "    ports: [\"${LISTEN:-127.0.0.1:8080}:8080\"]\n", "", "edge: publishes []"},
		"killed while it drains":       {compose, "stop_grace_period: 40s", "stop_grace_period: 20s", "which is not longer than the 20s"},
		"killed while it drains more":  {compose, "STOA_DRAIN: 20s", "STOA_DRAIN: 60s", "which is not longer than the 1m0s"},
		"killed by default":            {compose, "  stop_grace_period: 40s", "  #", `has "" to stop`},
		"no limit":                     {compose, "    mem_limit: 128m\n", "", "redis: has no limit"},
		"a collector beyond the limit": {compose, "GOMEMLIMIT: 200MiB", "GOMEMLIMIT: 250MiB", "leaves too little"},
		"a data folder of root":        {compose, "mode=0700,uid=65532,gid=65532", "mode=0700", "can't write its data folder"},
		"the network's way out":        {compose, "stores: {internal: true}", "stores: {}", "which has a way out"},
		"the host's files":             {compose, "[\"objects:/objects\"]\n    working_dir", "[\"/var/run/docker.sock:/objects\"]\n    working_dir", "is no volume"},
		"whatever is newest":           {compose, "image: redis:7", "image: redis", "has no version"},
		"not waiting":                  {compose, "  rabbitmq: {condition: service_healthy}\n  redis", "  rabbitmq: {condition: service_started}\n  redis", "waits for rabbitmq"},
		"a default secret":             {compose, "${STOA_SERVICE_KEY:?set it in deploy/.env, made with openssl rand -base64 32}", "${STOA_SERVICE_KEY:-secret}", "does not say that the secret is missing"},
		"an example secret":            {env, "POSTGRES_PASSWORD=", "POSTGRES_PASSWORD=stoa", "must be there to be filled in"},
		"an example too few":           {env, "REDIS_PASSWORD=", "", "lacks REDIS_PASSWORD"},
		"an example too many":          {env, "REDIS_PASSWORD=", "REDIS_PASSWORD=\nKAFKA_PASSWORD=", "KAFKA_PASSWORD is used nowhere"},
		"root in the image":            {docker, "USER 65532:65532", "USER root", "which is not a number"},
		"nobody in the image":          {docker, "USER 65532:65532\n", "", `runs as ""`},
		"a folder of root":             {docker, "--chown=65532:65532 ", "", "/data is no folder that"},
		"no volume":                    {docker, "VOLUME /data\n", "", "/data is no volume"},
		"another image":                {docker, "FROM scratch", "FROM alpine:3", "the image without tools is made from"},
		"another image for tools":      {docker, "FROM debian:bookworm-slim", "FROM debian:latest", "the image with tools is made from"},
		"the wrong image by default":   {docker, "AS stoa\n", "AS tools\n", "which is built by default, stoa"},
		"a tool too few":               {docker, "poppler-utils ", "", "Dockerfile: installs"},
		"a tool too many":              {docker, "poppler-utils ", "poppler-utils curl ", "Dockerfile: installs"},
		"all that is recommended":      {docker, " --no-install-recommends", "", "installs without --no-install-recommends"},
		"lists of packages":            {docker, " \\\n\t&& rm -rf /var/lib/apt/lists/*", "", "keeps the lists"},
		"a shell where none is needed": {docker, "FROM scratch AS stoa-slim\n", "FROM scratch AS stoa-slim\nRUN apt-get install -y curl\n", "is installed in the image without tools"},
		"no folder for files":          {docker, "/out/temp /temp", "/out/temp /tmp", "/temp is no folder that"},
		"two users in the image":       {docker, "\n# The last", "\nUSER root\n# The last", "stoa-slim: runs as"},
		"media without tools":          {compose, "    image: ${IMAGE:-stoa:local}\n    build:", "    build:", "media: runs ${IMAGE:-stoa:local}-slim"},
		"learning without fonts":       {compose, "    image: ${IMAGE:-stoa:local} # for its fonts\n", "", "learning: runs ${IMAGE:-stoa:local}-slim"},
		"tools for all":                {compose, "local}-slim", "local}", "edge: runs ${IMAGE:-stoa:local};"},
		"the wrong image built":        {compose, "target: stoa\n", "target: stoa-slim\n", "media: its image"},
		"nobody for what is left":      {compose, "    init: true", "    #", "nothing waits for what tools leave"},
		"nowhere for LibreOffice":      {compose, ", \"/tmp:size=64m,mode=1777\"", "", "media: can't write /tmp"},
		"nowhere for files":            {compose, ", \"temp:/temp\"", "", "media: can't write /temp"},
		"nowhere for archives":         {compose, ", \"imports:/imports\"", "", "courses: can't write /imports"},
		"archives where no volume is":  {compose, "STOA_IMPORT_DIR: /imports", "STOA_IMPORT_DIR: /archives", "STOA_IMPORT_DIR is \"/archives\""},
		"another Go":                   {docker, "golang:1.26", "golang:1.25", "not with go.mod's version"},
		"a C library":                  {docker, "CGO_ENABLED=0", "CGO_ENABLED=1", "may need a C library"},
		"no setting in the image":      {docker, "STOA_OPS_ADDR=", "STOA_METRICS_ADDR=", "STOA_METRICS_ADDR is no setting"},
		"a port too few":               {docker, "EXPOSE 8080 9090 9100", "EXPOSE 8080 9100", "exposes"},
		"no health check in the image": {docker, `CMD ["/stoa", "health", "http://127.0.0.1:9100/readyz"]`, "NONE", "its health check [] does not run"},
		"a shell to start":             {docker, `ENTRYPOINT ["/stoa"]`, `ENTRYPOINT /stoa`, "starts /stoa"},
		"no certificates":              {docker, "COPY --from=build /etc/ssl", "#", "no certificates"},
		"no version":                   {docker, "-X main.version=$VERSION", "", "builds without -X main.version"},
		"a label too few":              {docker, "image.licenses", "image.license", "lacks the label licenses"},
		"modules with all else":        {docker, "COPY go.mod go.sum ./\nRUN go mod download\n", "", "no layer of their own"},
		"everything in the build":      {ignore, "\n*\n", "\n", "does not begin with *"},
		"secrets in the build":         {ignore, "!cmd", "!cmd\n!deploy", "!deploy may let secrets in"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := good
			var to *string
			switch c.text {
			case compose:
				to = &broken.compose
			case docker:
				to = &broken.dockerfile
			case env:
				to = &broken.env
			case ignore:
				to = &broken.ignore
			}
			if *to = strings.Replace(*c.text, c.old, c.new, 1); *to == *c.text {
				t.Fatalf("there is no %q to break", c.old)
			}
			var told []string
			for _, fault := range look(broken) {
				if !slices.Contains(before, fault) {
					told = append(told, fault)
				}
			}
			if !slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, c.want) }) {
				t.Errorf("told is %q, not %q", told, c.want)
			}
		})
	}
}
