package deploy_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write media-seccomp.json anew")

// namespaces are the flags of clone(2) that each make one.
var namespaces = map[string]uint64{
	"CLONE_NEWNS": unix.CLONE_NEWNS, "CLONE_NEWCGROUP": unix.CLONE_NEWCGROUP, "CLONE_NEWUTS": unix.CLONE_NEWUTS, "CLONE_NEWIPC": unix.CLONE_NEWIPC,
	"CLONE_NEWUSER": unix.CLONE_NEWUSER, "CLONE_NEWPID": unix.CLONE_NEWPID, "CLONE_NEWNET": unix.CLONE_NEWNET,
}

// sandbox returns the rule that media's tools need: a process is cloned into
// exactly the namespaces that tool.go names, and into no others.
func sandbox(t *testing.T) specs.LinuxSyscall {
	t.Helper()
	source, err := os.ReadFile("../internal/service/media/tool.go")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`Cloneflags:.*`).FindAllString(string(source), -1)
	if len(line) != 1 {
		t.Fatalf("tool.go clones %d times", len(line))
	}
	var all, wanted uint64
	for name, flag := range namespaces {
		all |= flag
		if strings.Contains(line[0], "."+name) {
			wanted |= flag
		}
	}
	if wanted&unix.CLONE_NEWUSER == 0 {
		t.Fatalf("without a user namespace it takes capabilities: %s", line[0])
	}
	return specs.LinuxSyscall{
		Names: []string{"clone"}, Action: specs.ActAllow,
		Args: []specs.LinuxSeccompArg{{Index: 0, Value: all, ValueTwo: wanted, Op: specs.OpMaskedEqual}},
	}
}

// unconditional is Docker's default profile as it is for a container without
// capabilities on the two kinds of machines that images are built for. Docker's
// own form has conditions, which containerd does not know and would take as met.
func unconditional() specs.LinuxSeccomp {
	profile := seccomp.DefaultProfile()
	out := specs.LinuxSeccomp{DefaultAction: profile.DefaultAction, DefaultErrnoRet: profile.DefaultErrnoRet}
	for _, a := range profile.ArchMap {
		if a.Arch == specs.ArchX86_64 || a.Arch == specs.ArchAARCH64 {
			out.Architectures = append(append(out.Architectures, a.Arch), a.SubArches...)
		}
	}
	ours := []string{"amd64", "x32", "x86", "arm64", "arm"}
	for _, rule := range profile.Syscalls {
		if c := rule.Includes; c != nil && (len(c.Caps) > 0 || len(c.Arches) > 0 && !slices.ContainsFunc(c.Arches, func(a string) bool { return slices.Contains(ours, a) })) {
			continue
		}
		out.Syscalls = append(out.Syscalls, rule.LinuxSyscall)
	}
	return out
}

// TestSeccomp: media's profile is Docker's default and allows one call besides,
// and a runtime that reads the plain form reads all of it.
func TestSeccomp(t *testing.T) {
	t.Parallel()
	want := unconditional()
	refuses := func(p specs.LinuxSeccomp, name string) bool {
		return !slices.ContainsFunc(p.Syscalls, func(s specs.LinuxSyscall) bool {
			return s.Action == specs.ActAllow && len(s.Args) == 0 && slices.Contains(s.Names, name)
		})
	}
	if want.DefaultAction != specs.ActErrno || refuses(want, "openat") {
		t.Fatalf("the default is no list of what is allowed: %v", want)
	}
	rule := sandbox(t)
	want.Syscalls = append(want.Syscalls, rule)
	if *update {
		text, err := json.MarshalIndent(want, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("media-seccomp.json", append(text, '\n'), 0o644); err != nil { //nolint:gosec // anybody may read it
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("media-seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	var got specs.LinuxSeccomp
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields() // a condition is unknown, and would be left out
	if err := strict.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("go test ./deploy -run TestSeccomp -update writes it anew (-want +got):\n%s", diff)
	}
	for _, name := range []string{"unshare", "setns", "mount", "clone", "clone3", "bpf", "keyctl", "perf_event_open", "open_by_handle_at", "init_module"} {
		if !refuses(got, name) {
			t.Errorf("%s is allowed", name)
		}
	}

	// As Docker reads it, on this machine: its own default, and the rule.
	container := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}}
	loaded, err := seccomp.LoadProfile(string(text), container)
	if err != nil {
		t.Fatal(err)
	}
	byDefault, err := seccomp.GetDefaultProfile(container)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range byDefault.Syscalls {
		if !slices.ContainsFunc(loaded.Syscalls, func(l specs.LinuxSyscall) bool { return cmp.Equal(l, s) }) {
			t.Errorf("Docker allows %v, the profile does not", s)
		}
	}
	if !slices.ContainsFunc(loaded.Syscalls, func(l specs.LinuxSyscall) bool { return cmp.Equal(l, rule) }) {
		t.Errorf("the profile does not allow %v", rule)
	}
}
