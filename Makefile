# Everything to type; `make` alone lists it. What a recipe cannot say well is in shared/scripts/.

.DEFAULT_GOAL := help
# For execute-<pattern>: what to start, and with what; for replay: which history; RELEASE=1 optimizes;
# for pgo: how many runs.
export TYPE INPUT FILE ID RUN RELEASE RUNS
# As they were typed: make would take a `$` in them for a variable of its own.
$(foreach name,TYPE INPUT FILE ID RUN FROM NAME DIR,$(if $(findstring command,$(origin $(name))),$(eval override $(name) := $$(value $(name)))$(eval export $(name))))
# Tests wait for the server most of their time, more than cores of them do so side by side.
export RUST_TEST_THREADS ?= 4
PATTERNS := $(notdir $(patsubst %/Cargo.toml,%,$(wildcard samples/*/Cargo.toml)))
SAMPLE := @shared/scripts/sample
SERVER := @shared/scripts/server

.PHONY: help list server stop clean-server codec-server certs up up-cluster up-mtls up-observability down new new-sample replay soak test test-new bench bench-setup bench-build lint fmt supply-chain

help: ## This list
	@echo 'make run-<pattern>      the whole sample: server, worker, starter, result (ARGS="…" goes to the starter; RELEASE=1)'
	@echo 'make worker-<pattern>   its worker alone, in the foreground (ARGS="…")'
	@echo 'make start-<pattern>    its starter alone (ARGS="…")'
	@echo 'make execute-<pattern>  any JSON as input, by the Temporal CLI in place of the starter (TYPE=… INPUT=…)'
	@echo 'make test-<pattern>     its tests alone'
	@echo 'make record-<pattern>   its history recorded anew, for the replay test (ARGS="…")'
	@echo 'make pgo-<pattern>      its worker, optimized by what runs of the starter show of it; many minutes (ARGS="…", RUNS=200)'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1	\2/p' '$(firstword $(MAKEFILE_LIST))' | awk -F '\t' '{ printf "make %-18s %s\n", $$1, $$2 }'
	@echo
	@$(MAKE) --no-print-directory list

list: ## The patterns, a line each
	@for p in $(PATTERNS); do printf '%-20s %s\n' "$$p" "$$(sed -n 's/^description = "\(.*\)"/\1/p' "samples/$$p/Cargo.toml")"; done

run-%:
	$(SAMPLE) run '$*' $(ARGS)

worker-%:
	$(SAMPLE) worker '$*' $(ARGS)

start-%:
	$(SAMPLE) start '$*' $(ARGS)

execute-%:
	$(SAMPLE) execute '$*'

record-%:
	$(SAMPLE) record '$*' $(ARGS)

pgo-%:
	$(SAMPLE) pgo '$*' $(ARGS)

replay: ## A history in today's code, and why it is not accepted (FILE=<JSON>, or ID=<workflow id> RUN=<run id>)
	$(SAMPLE) replay '$(PATTERN)'

new: ## A sample as a project of your own (FROM=<pattern> NAME=<my-app> DIR=<path>)
	@cargo run --quiet --bin new-project

new-sample: ## The skeleton of another sample, for contributors (NAME=<pattern>)
	@cargo run --quiet --bin new-project -- sample

server: ## Start the local server with its Web UI, unless one answers at TEMPORAL_ADDRESS
	$(SERVER) start

stop: ## Stop it; what it holds stays
	$(SERVER) stop

clean-server: ## Stop it and drop what it holds
	$(SERVER) clean

codec-server: ## Decrypt for the Web UI and the CLI, at http://127.0.0.1:8081 (ARGS=--help)
	@cargo run --quiet --bin encryption-codec-server -- $(ARGS)

certs: ## Certificates for mTLS in .temporal/certs, unless they are there (ARGS=--force)
	@cargo run --quiet --bin mtls-certs -- $(ARGS)

up: ## The same server in a container, by docker-compose.yml
	@shared/scripts/compose up

up-cluster: ## The server proper with PostgreSQL, in containers
	@shared/scripts/compose up cluster

up-mtls: certs ## The same, open only to clients with certificates
	@shared/scripts/compose up mtls

up-observability: ## Beside them: Grafana, Prometheus and Jaeger, in containers
	@shared/scripts/compose up observability

down: ## End what these started; ARGS=--volumes drops what it holds
	@shared/scripts/compose down $(ARGS)

test: ## All tests, on a server of their own
	$(SERVER) exec shared/scripts/test

test-%:
	$(SERVER) exec shared/scripts/test $*

# Builds them in the target directory of the samples, where the SDK is already.
test-new: ## Samples taken out, then built, tested and run; minutes (FROM="<pattern> …", all or one)
	cargo test --test new-project-tests builds:: -- --ignored --nocapture

soak: ## All workers under load, killed again and again, with their server and network (MINUTES=5 SEED=…)
	cargo build --workspace --bins
	@cargo run --quiet --bin soak -- --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED))

bench: ## What a workflow costs, beside workers in other languages; minutes (ROUNDS=3, QUICK=1 for a look, PART=workers alone)
	cargo build --release --package throughput --bin throughput-worker --bin throughput-bench
	for part in $(or $(PART),workers switches payloads open); do \
		shared/scripts/server exec "$${CARGO_TARGET_DIR:-target}/release/throughput-bench" "$$part" $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(QUICK),--quick) || exit 1; \
	done

bench-setup: ## Install those other workers in .temporal/bench
	@samples/throughput/peers/setup

bench-build: ## How long a change takes, to the result of hello; and a first build, beside the SDK's own; minutes
	$(SERVER) exec shared/scripts/build-times change
	$(SERVER) exec shared/scripts/build-times first

lint: ## Format check and clippy, warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="$$RUSTDOCFLAGS -D warnings" cargo doc --workspace --no-deps --quiet

# The tools: cargo install --locked cargo-deny cargo-machete. The advisories come by git.
supply-chain: ## What comes in with the dependencies: licences, sources, advisories, what nobody uses
	cargo deny check
	cargo machete

fmt: ## Format everything
	cargo fmt --all
