# Short names for what is run most often. `make` alone lists them; .ci/run is all that CI runs.

GO ?= go

.PHONY: help tour test race soak asan nocgo systems debug flake c hosts examples rust vendor lint api proof proof-long model tools bench plots diagrams ci

help:            ## list these targets
	@sed -nE 's/^([a-z-]+): +## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "%-10s %s\n", $$1, $$2 }'

tour:            ## run every example of the article, and print what it costs
	$(GO) run ./cmd/wakelab

test:            ## run the tests
	$(GO) test ./...

race:            ## run the tests under the race detector
	$(GO) test -race ./...

soak:            ## spawn, wake, abort, panic and close at random for a minute under the race detector
	FFIWAKER_SOAK=60s $(GO) test -count=1 -race -run TestSoak -v ./executor

asan:            ## run the tests with C under AddressSanitizer and LeakSanitizer
	$(GO) test -asan ./...

nocgo:           ## run the tests of a build without cgo
	CGO_ENABLED=0 $(GO) test ./...

systems:         ## vet the Go half for each system of docs/COMPAT.md
	for at in linux/arm64 darwin/arm64 windows/amd64 freebsd/amd64; do \
		CGO_ENABLED=0 GOOS=$${at%/*} GOARCH=$${at#*/} $(GO) vet ./... || exit 1; done

debug:           ## run the tests with GOGC=1 and a collection before each use of a C pointer
	GOGC=1 $(GO) test -count=1 -short -tags ffiwakerdebug ./...

flake:           ## run each suite 50 times beside 4 busy processes, and print what failed
	internal/proof/flake

c:               ## run the programs in pure C: strict warnings, C++, ASan, TSan, valgrind
	internal/test/purec/run

hosts:           ## build libffiwaker and every C host, run them, compare their output
	$(MAKE) -C hosts check

examples:        ## test the bindings of libcurl, hiredis, libpq and io_uring, with real servers
	@.ci/install
	examples/run

rust:            ## test the Rust crate and the async-ffi adapter
	cargo test --manifest-path interop/rust/Cargo.toml
	interop/asyncffi/test/run

vendor:          ## copy rawwaker.h, rawwaker.c and LICENSE into the Rust crate
	cp rawwaker.h rawwaker.c LICENSE interop/rust/vendor/

lint:            ## staticcheck, shellcheck and clang's analyzer
	.ci/lint staticcheck
	.ci/lint shellcheck
	.ci/lint analyzer

api:             ## write api/ anew, when a change of an API is intended; add it to CHANGELOG.md too
	.ci/api go write
	.ci/api c write

proof:           ## run a cut of every layer of docs/PROOF.md, and print one table
	@.ci/install
	internal/proof/run

proof-long:      ## run every layer whole, which takes hours
	@.ci/install
	internal/proof/run long

model:           ## check the state words in spin and loom, and that broken twins fail
	@.ci/install
	internal/proof/model/run

tools:           ## install, with apt, what the checks need
	.ci/install

bench:           ## measure every figure, print it, keep it in bench/results and bench/RESULTS.md
	@$(GO) run ./bench -save

plots:           ## measure the cost curves, keep them there too, and draw them in docs/
	$(GO) run ./bench -plots

diagrams:        ## draw the diagrams of docs/CONCURRENCY.md with graphviz
	docs/diagrams/draw

ci:              ## run all that CI runs
	.ci/run
