# What developers and CI call. `make help` lists it.
#
# The agents of tests and demo run as user postgres, who must be able to reach their program: when root works here, the
# virtual environment lies outside the checkout (which may be private), else in .venv. haagent is installed in it, not
# linked, and anew when its sources have changed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= /usr/bin/python3
ifeq ($(shell id -u),0)
  PLACE := /var/tmp/haagent-$(shell printf %s '$(CURDIR)' | sha256sum | cut -c1-12)
  VENV := $(PLACE)/venv
else
  PLACE := $(CURDIR)/.cache
  VENV := $(CURDIR)/.venv
endif
BIN := $(VENV)/bin
PATRONI := $(PLACE)/patroni
CHECK_PATRONI := $(PLACE)/check_patroni
SCHEMATHESIS := $(PLACE)/schemathesis
VIP_MANAGER := $(PLACE)/vip-manager
RUN := env PATH="$(BIN):$$PATH" $(BIN)/python
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

SOURCES := $(shell find haagent -name __pycache__ -prune -o \( -type d -o -type f \) -print)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- what the others need ------------------------------------------------------------------------------------------

$(PLACE)/place:
	@mkdir -p -m 755 $(PLACE)
	@[ -O $(PLACE) ] || { echo "$(PLACE) belongs to someone else; remove it"; exit 1; }
	@touch $@

.PHONY: as-root
as-root:
	@[ "$$(id -u)" = 0 ] || { echo "This makes network namespaces: run it as root, such as with sudo."; exit 1; }

.PHONY: run-packages test-packages bench-packages
run-packages:
	@tests/packages.sh run
test-packages:
	@tests/packages.sh run test
bench-packages:
	@tests/packages.sh run bench

$(VENV)/.dependencies: pyproject.toml $(PLACE)/place
	@echo "Making the virtual environment $(VENV) ..."
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(PIP) setuptools wheel
	@$(PIP) --upgrade '.[dev]'
	@touch $@

$(VENV)/.installed: $(VENV)/.dependencies $(SOURCES)
	@rm -rf build
	@$(PIP) --no-deps --force-reinstall --no-build-isolation .
	@rm -rf build
	@touch $@

$(PATRONI)/.installed: $(PLACE)/place
	@echo "Installing Patroni, for its patronictl and to compare with ..."
	@[ -x $(PATRONI)/bin/python ] || $(PYTHON) -m venv $(PATRONI)
	@$(PATRONI)/bin/python -m pip install --quiet --disable-pip-version-check 'patroni[etcd3]>=4.1,<4.2' 'psycopg[binary]'
	@touch $@

$(CHECK_PATRONI)/.installed: $(PLACE)/place
	@echo "Installing check_patroni ..."
	@[ -x $(CHECK_PATRONI)/bin/python ] || $(PYTHON) -m venv $(CHECK_PATRONI)
	@$(CHECK_PATRONI)/bin/python -m pip install --quiet --disable-pip-version-check 'check_patroni>=2.2,<3'
	@touch $@

$(SCHEMATHESIS)/.installed: $(PLACE)/place
	@echo "Installing schemathesis ..."
	@[ -x $(SCHEMATHESIS)/bin/python ] || $(PYTHON) -m venv $(SCHEMATHESIS)
	@$(SCHEMATHESIS)/bin/python -m pip install --quiet --disable-pip-version-check 'schemathesis>=4.30,<5'
	@touch $@

$(VIP_MANAGER)/.installed: $(PLACE)/place
	@echo "Fetching vip-manager ..."
	@mkdir -p $(VIP_MANAGER)
	@tests/compat/fetch-vip-manager.sh $(VIP_MANAGER)
	@touch $@

.PHONY: clients clients-place
clients: $(PATRONI)/.installed $(CHECK_PATRONI)/.installed $(SCHEMATHESIS)/.installed $(VIP_MANAGER)/.installed
clients-place:
	@echo $(PLACE)

# --- what people call ----------------------------------------------------------------------------------------------

.PHONY: demo
demo: run-packages ## a cluster on this machine fails over while a client writes (KEEP=1 leaves it running)
	@$(MAKE) --no-print-directory $(VENV)/.installed
	@$(RUN) -m tests.demo $(if $(KEEP),--keep)

.PHONY: demo-stop
demo-stop: $(VENV)/.installed ## end a demo that was left running
	@$(RUN) -m tests.demo --stop

.PHONY: test
test: as-root test-packages ## all tests, installing what is missing: unit, contract, simulation, integration, compat
	@$(MAKE) --no-print-directory $(VENV)/.installed clients
	@$(MAKE) --no-print-directory soak HOURS=200
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target test-integration test-others

# Real clusters leave a machine idle most of the time: the two run beside each other.
ROWS := $(PLACE)/rows-of-the-soak.json
PYTEST := timeout --signal=TERM --kill-after=60 1440 $(RUN) -m pytest --durations=15
.PHONY: test-integration test-others
test-integration:
	@$(PYTEST) tests/integration
test-others:
	@$(PYTEST) --ignore=tests/integration $(if $(wildcard $(ROWS)),--rows-of-the-soak=$(ROWS))

.PHONY: check
check: $(VENV)/.dependencies ## the daily check: format, lint, types, layers, unit tests
	@$(RUN) -m ruff format --check --quiet .
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m mypy
	@$(BIN)/lint-imports
	@$(RUN) -m pytest -q tests/unit

.PHONY: bench
bench: as-root bench-packages ## measure haagent and Patroni side by side: outages, idle cost, REST; commit fence and guard (RUNS=3)
	@$(MAKE) --no-print-directory $(VENV)/.installed $(PATRONI)/.installed
	@$(RUN) -m tests.bench --runs $(or $(RUNS),3) --patroni $(PATRONI)
	@$(RUN) -m tests.bench.fence
	@$(RUN) -m tests.bench.guard

.PHONY: sim
sim: $(VENV)/.dependencies ## one simulated cluster under faults, a line an event; a failing plan is shortened (SEED=1 SEEDS=1)
	@$(RUN) -m tests.sim.run --seed $(or $(SEED),1) --seeds $(or $(SEEDS),1) --shorten

.PHONY: test-fence
test-fence: as-root test-packages ## build and try the commit fence on PostgreSQL 14 to 18, fetching what is missing (seven minutes)
	@$(MAKE) --no-print-directory $(VENV)/.installed
	@PYTHON=$(BIN)/python fence/test-all-versions.sh

.PHONY: mutants
mutants: $(VENV)/.dependencies ## hunt known-bad edits of the code with drawn faults; one that survives is a gap (SEEDS=1000 NAME=part)
	@$(RUN) -m tests.sim.mutants --seeds $(or $(SEEDS),1000) $(if $(NAME),--only '$(NAME)')

.PHONY: soak
soak: $(VENV)/.dependencies ## many simulated hours on all cores, ending with the first violation (HOURS=200 FIRST=seed)
	@$(RUN) -m tests.sim.soak --hours $(or $(HOURS),200) --rows $(ROWS) $(if $(FIRST),--first $(FIRST))

.PHONY: chaos
chaos: as-root test-packages ## a real cluster under drawn faults, judged, with a report (MINUTES=10 SEED=1 SYNC=on|quorum STRICT=1)
	@$(MAKE) --no-print-directory $(VENV)/.installed
	@$(RUN) -m tests.chaos --seed $(or $(SEED),1) --minutes $(or $(MINUTES),10) --sync $(or $(SYNC),off) \
		$(if $(STRICT),--strict) $(if $(NO_FENCE),--no-fence) $(if $(REPORT),--report $(REPORT)) \
		$(foreach number,$(ROUND),--only $(number)) $(if $(ROUND_S),--round-seconds $(ROUND_S))

.PHONY: calm
calm: as-root test-packages ## no fault, hence no alarm: a real cluster with the default timing (MINUTES=60 LOAD=1 for busy cores)
	@$(MAKE) --no-print-directory $(VENV)/.installed
	@$(RUN) -m tests.chaos.calm --minutes $(or $(MINUTES),60) $(if $(LOAD),--load)

.PHONY: generate
generate: $(VENV)/.dependencies ## render what is declared once: sample file, manual, schema, OpenAPI
	@$(RUN) -m haagent.config.render
	@$(RUN) -m haagent.rest.openapi
	@$(RUN) -m haagent.manual

.PHONY: clean
clean: ## remove what was made here: environments, caches, builds
	@rm -rf $(PLACE) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
