# The front doors. Everything here is also what .ci/run uses.

GO ?= go

.PHONY: tour test race soak asan nocgo systems debug c hosts rust vendor proof model tools bench plots diagrams ci

tour:            ## every example of the article, with what it costs
	$(GO) run ./cmd/wakelab

test:            ## the tests
	$(GO) test ./...

race:            ## the tests under the race detector
	$(GO) test -race ./...

soak:            ## a minute of random spawns, wakes, aborts, panics and closes under the race detector, and the counts at its end
	FFIWAKER_SOAK=60s $(GO) test -count=1 -race -run TestSoak -v ./executor

asan:            ## the tests with C under AddressSanitizer and LeakSanitizer
	$(GO) test -asan ./...

nocgo:           ## the tests of a build without cgo
	CGO_ENABLED=0 $(GO) test ./...

systems:         ## go vet of the Go half, for each system of docs/COMPAT.md
	for at in linux/arm64 darwin/arm64 windows/amd64 freebsd/amd64; do \
		CGO_ENABLED=0 GOOS=$${at%/*} GOARCH=$${at#*/} $(GO) vet ./... || exit 1; done

debug:           ## a collection before each use of a C pointer, and a collector that never rests
	GOGC=1 $(GO) test -count=1 -short -tags ffiwakerdebug ./...

c:               ## the programs in pure C: strict warnings, C++, ASan, TSan, valgrind
	internal/test/purec/run

hosts:           ## libffiwaker, and every C host built, run and compared
	$(MAKE) -C hosts check

rust:            ## the Rust crate's tests, and async-ffi's
	cargo test --manifest-path interop/rust/Cargo.toml
	interop/asyncffi/test/run

vendor:          ## copy rawwaker.h, rawwaker.c and LICENSE into the Rust crate
	cp rawwaker.h rawwaker.c LICENSE interop/rust/vendor/

proof:           ## kits, broken things, faults, models, fuzzing, other machines, mutants: one table, under 20 minutes (docs/PROOF.md)
	@.ci/install
	internal/proof/run

model:           ## the state words in spin and in loom, and their broken twins
	@.ci/install
	internal/proof/model/run

tools:           ## what those need, by apt
	.ci/install

bench:           ## measure every figure, print it, keep it in bench/results and bench/RESULTS.md
	@$(GO) run ./bench -save

plots:           ## measure the cost curves, keep them there too, and draw them in docs/
	$(GO) run ./bench -plots

diagrams:        ## the diagrams of docs/CONCURRENCY.md: each docs/diagrams/*.dot as an SVG, by graphviz
	docs/diagrams/draw

ci:              ## all that CI runs
	.ci/run
