# Each target works on a fresh Debian machine, as root, with nothing before it.
.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-interop test-browser test-windows lint lint-native sanitize fuzz soak mutation bench bench-quick clean-lab

BIN := .venv/bin
SECONDS := 60
MINUTES := 10
# A file of tests stays in one process, with the namespaces it made; end-to-end tests come first, as they are collected.
ABREAST := -n 3 --dist loadfile --no-loadscope-reorder

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the client at work: in the lab as root, in memory without
	@.ci/install demo
	$(BIN)/wiresock-py demo

test: ## unit, vector, property, contract and short end-to-end tests
	@.ci/install test
	$(BIN)/python -m pytest -m "not slow" $(ABREAST)

test-slow: ## the tests that wait for real timers or count to very many
	@.ci/install test
	$(BIN)/python -m pytest -m slow

test-interop: ## other people's WireGuards in both roles, in real time (two minutes)
	@.ci/install interop go
	$(BIN)/python -m tests.interop

test-browser: ## a real browser through the tunnel while curl goes direct
	@.ci/install test browser
	$(BIN)/python -m pytest tests/e2e/browser.py

test-windows: ## on Windows CPython under Wine: unit tests, the driver's bindings, the client at work
	@.ci/install windows
	$(BIN)/python -m tests.windows $(if $(REPORTS),--reports $(REPORTS))

lint: ## ruff, mypy for both systems, the import contracts
	@.ci/install test lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 -p wiresock_py
	$(BIN)/lint-imports

lint-native: ## the compiled data path's own tests and lints, where there is Rust
	cargo fmt --check --manifest-path native/Cargo.toml
	cargo clippy --manifest-path native/Cargo.toml --all-targets --locked -- -D warnings
	cargo test --manifest-path native/Cargo.toml --locked

sanitize: ## the compiled data path's tests, in Rust and Python, under AddressSanitizer
	@.ci/install test
	$(BIN)/python -m tests.sanitize

fuzz: ## coverage-guided fuzzing of all that reads hostile bytes, SECONDS=60 for each target
	@.ci/install test fuzz
	$(BIN)/python -m tests.fuzz $(if $(RUNS),python --runs $(RUNS),--seconds $(SECONDS))

soak: ## the client for MINUTES=10 while everything around it changes: does anything leak, grow, vanish? (root)
	@.ci/install test
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

mutation: ## change each constant of the WireGuard core in turn: does a test of behaviour notice?
	@.ci/install test
	$(BIN)/python -m tests.mutation

bench: ## this client beside others' at one server; tables and pictures into the documents (half an hour)
	@.ci/install bench go
	$(BIN)/python -m benchmarks all --publish $(BENCH)

bench-quick: ## the same in a few minutes, coarser, into .cache/benchmarks
	@.ci/install bench go
	$(BIN)/python -m benchmarks all --quick $(BENCH)

clean-lab: ## remove namespaces and processes that a killed run left behind
	@.ci/install demo
	$(BIN)/python -m wiresock_py.lab clean
