// Command openapi writes the OpenAPI 3.1 document of the REST interface from the
// contracts, after they were compiled with their comments:
//
//	go run ./internal/openapi
//
// It does not post-process what protoc-gen-openapiv3 writes, because that knows
// neither the limits of validate.proto nor the rules of options.proto, describes
// another error than ours and 200 for every answer: all but the names would be
// written over. Read from the descriptors, the same is one walk.
//
// What a contract says and this can't tell in OpenAPI is an error, so that no
// rule is lost in silence.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// output is where the edge embeds the document, from the root of the repository.
const output = "internal/service/edge/assets/openapi.json"

func main() {
	out := flag.String("o", output, "file to write")
	flag.Parse()
	if err := run(context.Background(), ".", *out); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root, out string) error {
	files, err := contracts(ctx, root)
	if err != nil {
		return err
	}
	text, err := generate(files)
	if err != nil {
		return err
	}
	return os.WriteFile(out, text, 0o644) //nolint:gosec // a source file
}

// generate returns the document of the services in files.
func generate(files *protoregistry.Files) ([]byte, error) {
	d, err := document(files)
	if err != nil {
		return nil, err
	}
	return d.Encode()
}

// contracts compiles every contract of the repository at root.
func contracts(ctx context.Context, root string) (*protoregistry.Files, error) {
	buf, err := findBuf(root)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, buf, "build", "--as-file-descriptor-set", "-o", "-") //nolint:gosec // our own tool
	cmd.Dir = root
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("buf build: %w\n%s", err, stderr.Bytes())
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(stdout.Bytes(), &set); err != nil {
		return nil, fmt.Errorf("buf build: %w", err)
	}
	return protodesc.NewFiles(&set)
}

// findBuf returns the newest buf that the Makefile has put into bin.
func findBuf(root string) (string, error) {
	found, err := filepath.Glob(filepath.Join(root, "bin", "buf-[0-9]*"))
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", errors.New("there is no bin/buf-…: run `make tools`")
	}
	return filepath.Abs(slices.Max(found))
}
