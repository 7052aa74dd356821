# Everything a person runs here, each with its own set-up. Needs Python >= 3.11, make and a package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

SUBSCRIBERS ?= 20000
RATE ?=
LANG_UI ?= vi
STATE ?= demo-state
FUZZ_SECONDS ?= 60
SEEDS ?= 1000
SOAK_SECONDS ?= 86400
SOAK_FIRST ?= 1000000

.DEFAULT_GOAL := help
.PHONY: help install demo test coverage prove soak fuzz check format interop bench lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## virtual environment with the locked dependencies

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## a whole campaign against five simulated carriers
	@$(BIN)/python -m demo --state $(STATE) --subscribers $(SUBSCRIBERS) --lang $(LANG_UI) $(if $(RATE),--rate $(RATE))

check: $(STAMP) ## lint, types, layers, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

test: check coverage ## the gates and every test
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not interop" --ignore=tests/unit/smpp

coverage: $(STAMP) ## the tests of the SMPP package, which must run through every branch of it
	$(BIN)/coverage run --branch --source=broadcaster/smpp --data-file=$(VENV)/.coverage -m pytest -q -p no:xdist tests/unit/smpp
	$(BIN)/coverage report --data-file=$(VENV)/.coverage --show-missing --skip-covered --fail-under=100

prove: $(STAMP) ## what `make test` takes a dose of, in full: malformed PDUs, receipt histories, generated PDUs, kills, power cuts, SEEDS simulations, broken promises
	BROADCASTER_PROVE=1 $(BIN)/python -m pytest -n auto tests/fuzz tests/protocol/test_catalogue_in_time.py \
		tests/integration/test_kills.py tests/integration/test_power_loss.py
	$(BIN)/python tests/sim/replay.py --count $(SEEDS) --least 20
	$(BIN)/python -m tests.mutants.hunt

soak: $(STAMP) ## simulations for SOAK_SECONDS, from seed SOAK_FIRST on
	$(BIN)/python tests/sim/replay.py --first $(SOAK_FIRST) --seconds $(SOAK_SECONDS)

fuzz: $(STAMP) ## let a coverage-guided fuzzer at the parsers for FUZZ_SECONDS; its corpus stays in .venv/fuzz
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-fuzz.lock
	$(BIN)/python tests/fuzz/explore.py --seconds $(FUZZ_SECONDS) --corpus $(VENV)/fuzz

interop: $(STAMP) ## our SMPP link against foreign ones: smpp34, smpplib, aiosmpplib, node-smpp, Kannel, tshark
	sh tests/interop/install.sh
	$(BIN)/python -m pytest tests/interop

bench: $(STAMP) ## measurements, as ratios in one run
	PYTHONPATH=. $(BIN)/python tests/bench/campaign.py
	$(BIN)/python tests/bench/pipeline.py 100000 1000000
	$(BIN)/python tests/bench/link.py
	$(BIN)/python tests/bench/simulator.py

format: $(STAMP) ## mend layout and simple lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(STAMP) ## resolve the locked dependencies anew (needs uv on the PATH)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
		--group dev pyproject.toml --upgrade --output-file requirements.lock

clean: ## remove the environment, caches and the demo's state
	rm -rf $(VENV) $(STATE) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build *.egg-info
