# All commands; `make` alone lists them. Longer ones are scripts in shared/scripts/.

.DEFAULT_GOAL := help
# TYPE and INPUT are for execute-<pattern>, FILE, ID and RUN for replay, RUNS for pgo-<pattern>. RELEASE=1
# builds with optimization.
export TYPE INPUT FILE ID RUN RELEASE RUNS
# Passes these on as they were typed. Otherwise make would read a `$` in them as a variable of its own.
$(foreach name,TYPE INPUT FILE ID RUN FROM NAME DIR,$(if $(findstring command,$(origin $(name))),$(eval override $(name) := $$(value $(name)))$(eval export $(name))))
# Tests mostly wait for the server, so more of them can run side by side than there are cores.
export RUST_TEST_THREADS ?= 4
PATTERNS := $(notdir $(patsubst %/Cargo.toml,%,$(wildcard samples/*/Cargo.toml)))
SAMPLE := @shared/scripts/sample
SERVER := @shared/scripts/server

.PHONY: help list server stop clean-server codec-server certs up up-cluster up-mtls up-observability down new new-sample replay soak test test-new bench bench-setup bench-build lint fmt supply-chain

help: ## Print this list
	@echo 'make run-<pattern>      Run a sample: server, worker, starter, result (ARGS="…" goes to the starter; RELEASE=1)'
	@echo 'make worker-<pattern>   Run only its worker, in the foreground (ARGS="…")'
	@echo 'make start-<pattern>    Run only its starter (ARGS="…")'
	@echo 'make execute-<pattern>  Run it with the Temporal CLI instead of the starter, with any JSON as input (TYPE=… INPUT=…)'
	@echo 'make test-<pattern>     Run only its tests'
	@echo 'make record-<pattern>   Record its history again, for the replay test (ARGS="…")'
	@echo 'make pgo-<pattern>      Build its worker with profile-guided optimization; takes many minutes (ARGS="…", RUNS=200)'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1	\2/p' '$(firstword $(MAKEFILE_LIST))' | awk -F '\t' '{ printf "make %-18s %s\n", $$1, $$2 }'
	@echo
	@$(MAKE) --no-print-directory list

list: ## List the patterns
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

replay: ## Replay a history with today's code, and say why it fails (FILE=<JSON>, or ID=<workflow id> RUN=<run id>)
	$(SAMPLE) replay '$(PATTERN)'

new: ## Create a project of your own from a sample (FROM=<pattern> NAME=<my-app> DIR=<path>)
	@cargo run --quiet --bin new-project

new-sample: ## Create the skeleton of another sample, for contributors (NAME=<pattern>)
	@cargo run --quiet --bin new-project -- sample

server: ## Start the local server with its Web UI, unless one answers at TEMPORAL_ADDRESS
	$(SERVER) start

stop: ## Stop the local server, and keep its data
	$(SERVER) stop

clean-server: ## Stop the local server, and delete its data
	$(SERVER) clean

codec-server: ## Run a codec server that decrypts for the Web UI and the CLI, at http://127.0.0.1:8081 (ARGS=--help)
	@cargo run --quiet --bin encryption-codec-server -- $(ARGS)

certs: ## Create certificates for mTLS in .temporal/certs, unless they exist (ARGS=--force)
	@cargo run --quiet --bin mtls-certs -- $(ARGS)

up: ## Start the development server in a container
	@shared/scripts/compose up

up-cluster: ## Start a full Temporal server with PostgreSQL, in containers
	@shared/scripts/compose up cluster

up-mtls: certs ## Start the same server, which accepts only clients with certificates
	@shared/scripts/compose up mtls

up-observability: ## Start Grafana, Prometheus and Jaeger in containers, in addition to any server
	@shared/scripts/compose up observability

down: ## Stop all containers (ARGS=--volumes deletes their data)
	@shared/scripts/compose down $(ARGS)

test: ## Run all tests, on a server of their own
	$(SERVER) exec shared/scripts/test

test-%:
	$(SERVER) exec shared/scripts/test $*

# Builds the projects in the target directory of the samples, which already has the SDK.
test-new: ## Create projects from samples, then build, test and run them; takes minutes (FROM="<pattern> …", all or one)
	cargo test --test new-project-tests builds:: -- --ignored --nocapture

soak: ## Put all workers under load while workers, server and network fail again and again (MINUTES=5 SEED=…)
	cargo build --workspace --bins
	@cargo run --quiet --bin soak -- --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED))

bench: ## Measure what a workflow costs, also in other languages; takes minutes (ROUNDS=3, QUICK=1, PART=workers)
	cargo build --release --package throughput --bin throughput-worker --bin throughput-bench
	for part in $(or $(PART),workers switches payloads open); do \
		shared/scripts/server exec "$${CARGO_TARGET_DIR:-target}/release/throughput-bench" "$$part" $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(QUICK),--quick) || exit 1; \
	done

bench-setup: ## Install the workers in other languages for bench, in .temporal/bench
	@samples/throughput/peers/setup

bench-build: ## Measure how long a change of hello and a first build take; takes minutes
	$(SERVER) exec shared/scripts/build-times change
	$(SERVER) exec shared/scripts/build-times first

lint: ## Check format, code and wording; warnings are errors
	@shared/scripts/english
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="$$RUSTDOCFLAGS -D warnings" cargo doc --workspace --no-deps --quiet

# Needs cargo-deny and cargo-machete (`cargo install --locked`), and fetches the advisories with git.
supply-chain: ## Check the dependencies: licences, sources, advisories, unused ones
	cargo deny check
	cargo machete

fmt: ## Format everything
	cargo fmt --all
