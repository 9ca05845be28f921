# nebula-resource. `make help` lists what there is to do.
#
# Everything runs in .venv, which `.ci/environment` makes and keeps in step with .requirements/*.txt:
# `make demo` installs run.txt, `make test` dev.txt, which holds run.txt and more; either order works.

SHELL := /bin/sh
.DEFAULT_GOAL := help

PYTHON ?=
PORT ?= 8000
TRAFFIC ?= 1
# DATA: the folder of the demo's databases; the service chooses and prints one when it is not given.

export PYTHON PORT TRAFFIC
ifdef DATA
export DATA
endif
# Five thousand tests are compiled once, not by each process anew, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE
# pyright would ask the package index whether it is the newest; the lock decides that here.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

RUN := .venv/bin/python -m
UV := .venv/bin/uv
COMPILE := $(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-header $(if $(UPGRADE),--upgrade)
DEMO_EXTRAS := --extra service --extra di --extra postgres --extra redis --extra http

say = @printf '\n== %s\n' '$@'

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo '  PYTHON=python3.12 chooses the interpreter of .venv; PORT, TRAFFIC=0 and DATA=folder are the demo'"'"'s.'

.PHONY: demo
demo: run-environment ## start the service on 127.0.0.1:8000 with embedded SQLite and a traffic generator
# `exec`: the service is make's own child, so a signal sent to it is its own affair and its exit code is the recipe's.
	@exec $(RUN) app

.PHONY: test check
test: dev-environment ## lint, types, floors and every test, against real PostgreSQL and Redis
# What only reads goes side by side, while Debian's packages are fetched where they are missing.
	@$(MAKE) --no-print-directory --jobs --output-sync=target lint mypy pyright floors servers
	@$(MAKE) --no-print-directory pytest
	@printf '\n== all passed\n'
check: test ## the same: what CI runs

.PHONY: lint
lint: dev-environment ## ruff: rules and format; bandit: nothing of high severity
	$(say)
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) bandit --quiet --severity-level high --recursive nebula_resource containers app

.PHONY: types
types: ## mypy --strict and pyright
	@$(MAKE) --no-print-directory --jobs --output-sync=target mypy pyright

.PHONY: mypy pyright
mypy pyright: dev-environment
	$(say)
	@$(RUN) $@

.PHONY: floors
floors: dev-environment ## imports go down, never up, never sideways
	$(say)
	@.venv/bin/lint-imports

.PHONY: servers
servers: dev-environment ## find PostgreSQL and Redis for the tests, or say what is missing
	$(say)
	@$(RUN) tests.servers

.PHONY: pytest
pytest: dev-environment ## every test; ARGS='tests/unit -k shelf' chooses
	$(say)
ifdef ARGS
	@$(RUN) pytest $(ARGS)
else
# What holds on a busy machine uses every core; what measures real time has the machine to itself.
	@$(RUN) pytest --numprocesses auto --dist worksteal -m 'not alone'
	@$(RUN) pytest -m alone
endif

.PHONY: coverage
coverage: dev-environment ## the tests once more, with the branches that were never taken
	@$(RUN) coverage run -m pytest $(ARGS)
	@$(RUN) coverage report

.PHONY: format
format: dev-environment ## let ruff fix and format
	@$(RUN) ruff check --fix .
	@$(RUN) ruff format .

.PHONY: docs
docs: dev-environment ## the documentation site, in build/site
	$(say)
	@NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --config-file .docs/mkdocs.yml
	@echo 'open build/site/index.html'

.PHONY: dashboard
dashboard: dev-environment ## write the Grafana dashboard anew from the code that builds it
	@PYTHONPATH=.docker/grafana/builder $(RUN) nebula_dashboard

.PHONY: bench
bench: dev-environment ## the benchmarks: ratios against a floor, in one run
	@$(RUN) benchmarks $(ARGS)

.PHONY: sweep
sweep: dev-environment ## every scene of the cancellation sweeps over a pool, on all processors; ARGS='line:all' chooses
	@nice $(RUN) tests.races.every_scene $(ARGS)

.PHONY: lock
lock: dev-environment ## resolve .requirements/*.txt anew from pyproject.toml (UPGRADE=1: to the newest)
	@$(COMPILE) $(DEMO_EXTRAS) --output-file .requirements/run.txt
	@$(COMPILE) --all-extras --group dev --group bench --constraints .requirements/run.txt --output-file .requirements/dev.txt

.PHONY: clean
clean: ## remove caches and builds; .venv stays
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov build dist
	@find nebula_resource containers app tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: run-environment dev-environment
run-environment:
	@.ci/environment run
dev-environment:
	@.ci/environment dev
