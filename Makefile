# run: start Stoa here.  test: all tests.  check: what CI checks besides.
SHELL := /bin/bash
BIN := $(CURDIR)/bin
GO ?= go
# Without paths, so that what was compiled in one checkout is not compiled in the next.
export GOFLAGS += -buildvcs=false -trimpath

BUF := $(BIN)/buf-1.75.0
LINT := $(BIN)/golangci-lint-2.15.0
S3 := $(BIN)/versitygw
STRIPE := $(BIN)/stripe-mock
PLUGINS := $(BIN)/protoc-gen-go-1.36.12 $(BIN)/protoc-gen-go-grpc-1.6.2 $(BIN)/protoc-gen-grpc-gateway-2.33.0
VERSION := $(shell git describe --tags --always 2>/dev/null || echo development)

.PHONY: run test check gen gen-check baseline schema lint race bench build tools servers clean

run: servers-run build ## start Stoa in one process with the demo school
	STOA_DEMO=$${STOA_DEMO:-1} exec $(BIN)/stoa serve

build:
	$(GO) build -ldflags "-X main.version=$(VERSION)" -o $(BIN)/stoa ./cmd/stoa

# Packages at a time: more than there are processors, because tests wait for servers.
P := -p $(shell echo $$((1 + $$(getconf _NPROCESSORS_ONLN))))

# Without what is linked for debuggers, and without vetting, which the linter does. A package
# may take its time on a machine that is slow or busy.
QUICK := -ldflags=-w -vet=off -timeout 30m

# The stories take longest, so they begin first.
test: servers $(S3) $(STRIPE) ## every test, on real servers started for it
	$(GO) build -o $(BIN)/testservers ./cmd/testservers
	$(BIN)/testservers -- $(GO) test $(P) $(QUICK) $(TESTFLAGS) ./test/story ./...

check: gen-check ## lint, generated code, contracts, race detector
	$(MAKE) --no-print-directory -j2 --output-sync=target lint race

# The linter's memory is collected less often, up to a bound: that halves its time.
lint: $(LINT) $(BUF)
	GOGC=400 GOMEMLIMIT=5GiB $(LINT) run
	$(GO) -C bench/authz vet ./...
	$(BUF) lint
	$(BUF) breaking --against third_party/baseline/contracts.binpb

# The race detector leaves out the demo school, which does no more than the tests of the
# services, the servers that tests start, which other tests start too, and packages that
# have no goroutines and share nothing.
ALONE := canonical|demo|email|exact|fault|id|markdown|money|openapi|page|pg/embedded|question/exchange|release|spreadsheet|testserver|webvtt

# And these tests, which are long because much is read, refused or converted in them, one
# thing after another.
UNRACED := TestArchiveCarriesRubrics TestArchiveOfCaptions TestArchiveRefused TestAssignmentJourney TestAvatarIsWrittenAnew \
	TestCaptionsFail TestCaptionsRefused TestCarriedIsChecked TestCarriedRefused TestCohortTimesChange \
	TestCopiesTellTheirLength TestDeadlinesAreAsTheModel TestDeadlinesOverRandomHistories TestDiffIsBounded \
	TestDisputeNewsInAnyOrder TestDocsAreTrue TestDocsDescribeTheProblem TestDocsHaveEveryOperation TestDocsPage \
	TestDocsPageEscapes TestExchangeRefuses TestExportIsBounded TestFormats TestGatesOfRowsOfBefore TestHostileFeedback \
	TestHostileFiles TestHostileZip TestImportFileOfTooManyRows TestImportRefusals TestIncrementalIsFull \
	TestItemAccessIsTheEvaluator TestLargestDiff TestLimits TestLongStatement TestMalware TestManyCaptions \
	TestManyFiles TestMarkAnotherAnswer TestMemory TestModelOfRoles TestPaymentNewsInAnyOrder \
	TestPermissionQueryUsesIndexes TestPictures TestPostMany TestPromoVideoIsOpen TestPublishToMany TestRefundInParts \
	TestRefundNewsInAnyOrder TestRenewalsMoneyAtStripe TestReplayFetches TestSchemaDumps \
	TestSlides TestSound TestSubmissionPreviews TestSubscriptionLifeAtStripe TestTools TestTransactionsInOrder TestVideo \
	TestWhoCanSeeIsTheEvaluator

race: servers $(S3) $(STRIPE)
	$(GO) build -o $(BIN)/testservers ./cmd/testservers
	$(BIN)/testservers -- $(GO) test $(P) -race -short $(QUICK) -skip '^('$$(tr ' ' '|' <<<'$(UNRACED)')')$$' \
		$$($(GO) list ./internal/... | grep -vE '/internal/($(ALONE))(/|$$)')

gen: $(BUF) $(PLUGINS) ## make all generated code
	$(BUF) generate
	$(GO) run ./internal/openapi

gen-check: gen
	@git diff --exit-code -- internal third_party || { echo "generated code differs: run \`make gen\` and commit"; exit 1; }
	@test -z "$$(git status --porcelain -- 'internal/*.pb.go' 'internal/*.pb.gw.go')" || { echo "generated files are not committed"; exit 1; }

schema: servers ## write the dumps of the tables after a migration was added
	$(GO) build -o $(BIN)/testservers ./cmd/testservers
	$(BIN)/testservers -only postgres -- $(GO) test ./internal/app -run TestSchemaDumps -update

baseline: $(BUF) ## take today's contracts as those that later ones may not break
	mkdir -p third_party/baseline
	$(BUF) build --path internal --exclude-source-info -o third_party/baseline/contracts.binpb

bench: servers build
	$(GO) run ./bench

# Tools, each named by its version so that a new one is fetched once.
define install
	mkdir -p $(BIN)/.new && GOFLAGS=-buildvcs=false GOBIN=$(BIN)/.new $(GO) install $(1) && mv $(BIN)/.new/$(2) $@
endef
$(BUF):
	$(call install,github.com/bufbuild/buf/cmd/buf@v1.75.0,buf)
$(LINT):
	$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0,golangci-lint)
$(S3):
	$(call install,github.com/versity/versitygw/cmd/versitygw@v1.8.0,versitygw)
$(STRIPE):
	$(call install,github.com/stripe/stripe-mock@v0.203.0,stripe-mock)
$(BIN)/protoc-gen-go-1.36.12:
	$(call install,google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12,protoc-gen-go)
$(BIN)/protoc-gen-go-grpc-1.6.2:
	$(call install,google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2,protoc-gen-go-grpc)
$(BIN)/protoc-gen-grpc-gateway-2.33.0:
	$(call install,github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-grpc-gateway@v2.33.0,protoc-gen-grpc-gateway)

tools: $(BUF) $(LINT) $(S3) $(STRIPE) $(PLUGINS)

servers: ## install the servers that tests start
	@./deploy/install-servers.sh postgresql redis rabbitmq ffmpeg poppler libreoffice fonts

servers-run: ## install the server that `make run` starts
	@./deploy/install-servers.sh postgresql
	@./deploy/install-servers.sh ffmpeg poppler libreoffice fonts || echo "Going on without them: videos and slides wait until they are installed, and certificates know fewer scripts; see stoa doctor." >&2

clean:
	rm -rf $(BIN)
