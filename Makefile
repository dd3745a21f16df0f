# Every module of the repository, the core first.
MODULES := . $(patsubst %/go.mod,%,$(shell find ./*/ -name go.mod | sort))
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: test test-valkey check mutants simulate spec long bench bench-guard

# All tests of all modules, with the race detector.
test:
	@for m in $(MODULES); do (cd $$m && echo "== test $$m" && go test -race -timeout 30m ./...) || exit 1; done

# The conformance suite, the faults and tracking on Valkey, by its binary in the PATH or
# another one: make test-valkey VALKEY=/path/to/valkey-server
VALKEY ?= valkey-server
test-valkey:
	@NEARCACHE_REQUIRE_REAL=1 NEARCACHE_REDIS_SERVER=$(VALKEY) go test -race -timeout 30m . ./l2 ./tiered/tieredtest ./internal/redistest \
		-run '^Test(Fault|Tracking|Foreign|Server|Sentinel|Cluster|ReadWhileItsSlotMoves)'

# Each guard of the protocol removed in turn: the judge must miss it.
mutants:
	@go test -race -tags nearcache_mutants -run TestTheJudgeMissesEveryGuard -v .

# Twelve hours of virtual time; NEARCACHE_SEEDS for more.
simulate:
	@NEARCACHE_SEEDS=$${NEARCACHE_SEEDS:-36} go test -run TestSimulation -timeout 2h -v .

# Tests that want minutes, and the machine to themselves: outages of Redis under load, a
# tag of a million values.
long:
	@NEARCACHE_LONG=1 go test -race -run 'TestReadsOutliveRedis|TestFaultSentinel|TestFaultCluster|TestTagOfMany' -timeout 30m -v .

# The protocol's model, searched within large bounds.
spec:
	@NEARCACHE_SPEC=large go test -timeout 2h -v ./spec

# Side by side with other caches; tables and charts in bench/results. It takes less
# than 25 minutes; BENCH=-quick takes 2, BENCH=-help tells more.
bench:
	@go run -C bench . $(BENCH)

# A hit against a bare Ristretto's Get, and with metrics and traces against one without,
# each in one run: fails where it has become slow.
bench-guard:
	@go test -C bench -run '^$$' -bench Guard -benchtime 1x .
	@go test -C bench/observed -run '^$$' -bench Guard -benchtime 1x .

# Formatting, vet and staticcheck.
check:
	@test -z "$$(gofmt -l .)" || { echo "gofmt: run it on:"; gofmt -l .; exit 1; }
	@for m in $(MODULES); do (cd $$m && echo "== check $$m" && go build -o /dev/null ./... && go vet ./... && go run $(STATICCHECK) ./...) || exit 1; done

# The servers in containers: needs a Docker engine, and no registry.
.PHONY: test-containers
test-containers:
	@cd testcontainers && NEARCACHE_REQUIRE_DOCKER=1 go test -race -v ./...

# What a browser makes of it: needs a Chromium.
.PHONY: test-browser
test-browser:
	@cd browsertest && NEARCACHE_REQUIRE_BROWSER=1 go test -race -v ./...
