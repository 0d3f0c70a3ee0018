# The verbs of the project. Only Python >= 3.11, pip and make are needed; everything else comes from the package index.
PYTHON ?= python3
VENV ?= .venv
SEED ?= 0
FAULTS ?= 200
TESTERS ?= 2
CALLS ?= 10000
BIN = $(VENV)/bin

.PHONY: chaos hostile demo test check compose-check format clean bench-ablation bench-audit bench-calibration bench-drift bench-methods bench-service bench-throughput bench-tuning

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[check]'
	touch $@

demo: $(VENV)/.installed  ## the main job on real images: requests, unlearning, audit, signed reports
	$(BIN)/expunge demo --seed $(SEED) --output demo

test: $(VENV)/.installed  ## all tests; starts real PostgreSQL and Valkey by itself
	$(BIN)/python -m pytest --numprocesses $(TESTERS) --dist loadfile

check: $(VENV)/.installed  ## format, lint, types, import contracts, sizes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

compose-check: $(VENV)/.installed  ## docker compose on a real engine: start, kill every container, restore a backup
	$(BIN)/python -m deploy.compose_check --seed $(SEED)

bench-calibration: $(VENV)/.installed  ## how often the audit errs; resumable, half an hour on two cores
	$(BIN)/python -m benchmarks.calibration

bench-drift: $(VENV)/.installed  ## ten requests in a row on one model, and what is left of all of them; resumable
	$(BIN)/python -m benchmarks.drift

bench-methods: $(VENV)/.installed  ## every method audited on fresh draws; resumable
	$(BIN)/python -m benchmarks.methods

bench-ablation: $(VENV)/.installed  ## what each part of MUDA is worth; resumable
	$(BIN)/python -m benchmarks.methods --table ablation

bench-tuning: $(VENV)/.installed  ## hyper-parameters of every method on one budget; resumable
	$(BIN)/python -m benchmarks.tuning

bench-audit: $(VENV)/.installed  ## the share of an audit that is spent outside network passes
	OMP_NUM_THREADS=2 $(BIN)/python -m benchmarks.audit

bench-service: $(VENV)/.installed  ## the HTTP service beside bare FastAPI routes on PostgreSQL and Redis; ten minutes
	$(BIN)/python -m benchmarks.service

bench-throughput: $(VENV)/.installed  ## images per second of our training loop beside a bare one
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.throughput

chaos: $(VENV)/.installed  ## kills and pauses on a real installation; fails when anything was lost or doubled
	$(BIN)/python -m tests.chaos --faults $(FAULTS) --seed $(SEED)

hostile: $(VENV)/.installed  ## made-up and damaged calls to every route; fails on a 5xx or an undocumented answer
	EXPUNGE_HOSTILE_CALLS=$(CALLS) EXPUNGE_HOSTILE_SEED=$(SEED) $(BIN)/python -m pytest -q -s --timeout=0 tests/service/http/hostile

clean:
	rm -rf $(VENV) demo .expunge build *.egg-info
