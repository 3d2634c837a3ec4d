# Everything to type; `make` alone lists it. What a recipe cannot say well is in shared/scripts/.

.DEFAULT_GOAL := help
# For execute-<pattern>: what to start, and with what.
export TYPE INPUT
# Tests wait for the server most of their time, more than cores of them do so side by side.
export RUST_TEST_THREADS ?= 8
PATTERNS := $(notdir $(patsubst %/Cargo.toml,%,$(wildcard samples/*/Cargo.toml)))
SAMPLE := @shared/scripts/sample
SERVER := @shared/scripts/server

.PHONY: help list server stop clean-server codec-server certs up up-cluster up-mtls down test lint fmt

help: ## This list
	@echo 'make run-<pattern>      the whole sample: server, worker, starter, result (ARGS="…" goes to the starter)'
	@echo 'make worker-<pattern>   its worker alone, in the foreground (ARGS="…")'
	@echo 'make start-<pattern>    its starter alone (ARGS="…")'
	@echo 'make execute-<pattern>  any JSON as input, by the Temporal CLI in place of the starter (TYPE=… INPUT=…)'
	@echo 'make test-<pattern>     its tests alone'
	@echo 'make record-<pattern>   its history recorded anew, for the replay test (ARGS="…")'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1	\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F '\t' '{ printf "make %-18s %s\n", $$1, $$2 }'
	@echo
	@$(MAKE) --no-print-directory list

list: ## The patterns, a line each
	@for p in $(PATTERNS); do printf '%-20s %s\n' "$$p" "$$(sed -n 's/^description = "\(.*\)"/\1/p' samples/$$p/Cargo.toml)"; done

run-%:
	$(SAMPLE) run $* $(ARGS)

worker-%:
	$(SAMPLE) worker $* $(ARGS)

start-%:
	$(SAMPLE) start $* $(ARGS)

execute-%:
	$(SAMPLE) execute $*

record-%:
	$(SAMPLE) record $* $(ARGS)

server: ## Start the local server with its Web UI, unless one answers at TEMPORAL_ADDRESS
	$(SERVER) start

stop: ## Stop it; what it holds stays
	$(SERVER) stop

clean-server: ## Stop it and drop what it holds
	$(SERVER) clean

codec-server: ## Decrypt for the Web UI and the CLI, at http://127.0.0.1:8081 (ARGS=--help)
	@cargo run --quiet --package encryption --bin encryption-codec-server -- $(ARGS)

certs: ## Certificates for mTLS in .temporal/certs, unless they are there (ARGS=--force)
	@cargo run --quiet --package mtls --bin mtls-certs -- $(ARGS)

up: ## The same server in a container, by docker-compose.yml
	@shared/scripts/compose up

up-cluster: ## The server proper with PostgreSQL, in containers
	@shared/scripts/compose up cluster

up-mtls: certs ## The same, open only to clients with certificates
	@shared/scripts/compose up mtls

down: ## End what these started; ARGS=--volumes drops what it holds
	@shared/scripts/compose down $(ARGS)

test: ## All tests, on a server of their own
	$(SERVER) exec cargo test --workspace

test-%:
	$(SERVER) exec cargo test --package $*

lint: ## Format check and clippy, warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

fmt: ## Format everything
	cargo fmt --all
