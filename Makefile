# make demo     the whole thing, with no account and no setup; ARGS="--chaos" and the like go to it
# make quick    unit tests without RabbitMQ, sockets and processes, in seconds; ARGS as for test
# make test     all tests; ARGS="-k frames" and the like go to pytest
#               COVERAGE=1 measures what they cover, as CI does, and fails below the floor
# make faults   kill -9, dead nodes, bad networks at random, under load; ARGS="--short --mode socket"
# make fuzz     a million strange inputs; ARGS="--inputs 1000" and the like
# make clients  Slack's own client libraries before the simulated Slack and the gateway; docs/clients.md
# make lint     style, types and the arrows between the rooms
# make bench    the pump against the obvious script and others; ARGS=quick for a short one
# make schema   writes the JSON Schema of /status into docs/
# make dist     sdist, wheel and Debian package of the last commit, with checksums, in dist/
# make format   puts the code into the one form
# make clean    removes all that these made
#
# Each sets up what it needs. PYTHON=/path/to/python3.12 chooses the Python, and makes .venv anew if it
# has another one; RABBITMQ_SERVER=/path/to/rabbitmq-server chooses the RabbitMQ.

wanted := $(PYTHON)
PYTHON ?= python3 python3.13 python3.12 python3.11
ARGS ?=

# Programs that only tests need, each with its package in Debian. A test whose program isn't there is
# skipped and says so; apt-get is asked for those that are missing, where there is one.
tools := chromium=chromium amqp-consume=amqp-tools curl=curl jq=jq
ifdef CI
# Its package starts a server, so on a person's machine it is not for us to install.
tools += promtool=prometheus
# Only root can use it.
tools += debootstrap=debootstrap
endif

bin := .venv/bin
# What is in .venv: rtmpump with what it needs; then also what tests and lint need.
runtime := .venv/.runtime
ready := .venv/.ready
# Runs a command, with one line that shows it is alive: $(live) TEXT COMMAND…
live := -m rtmpump.sandbox.live_line
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Whose Python it is: version and place.
whose := -c 'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null
ifneq ($(wanted),)
ifneq ($(shell $(firstword $(wanted)) $(whose)),$(shell $(bin)/python $(whose)))
other_python := other-python
endif
endif

.PHONY: demo quick test bench faults fuzz clients lint schema dist format clean rabbitmq tools other-python
.DELETE_ON_ERROR:
# Two targets may install into the same .venv.
.NOTPARALLEL:

# The demo finds or installs RabbitMQ itself, if it needs one of its own.
demo: $(runtime)
	@$(bin)/rtmpump demo $(ARGS)

quick: $(ready)
	@$(bin)/python -m pytest --quick -q -n auto --maxprocesses 4 $(ARGS)

pytest := pytest -n 4 --dist worksteal
# Rooms whose tests run the whole program for long: measured they would cost half as much again, so they
# are run without. So are the tests of the guard of quick tests, which is off where coverage measures.
whole := clients deploy docs e2e test_quick.py
test: $(ready) rabbitmq tools
ifndef COVERAGE
	@$(bin)/python -m $(pytest) $(ARGS)
else
	@rm -rf .coverage_data && mkdir .coverage_data
	@$(bin)/coverage run -m $(pytest) $(whole:%=--ignore=tests/%)
	@$(bin)/coverage combine --quiet
	@$(bin)/coverage report
	@$(bin)/python -m $(pytest) $(whole:%=tests/%)
endif

bench: $(ready) rabbitmq
	@$(bin)/python -m tests.bench $(ARGS)

faults: $(ready) rabbitmq
	@$(bin)/python -m tests.faults $(ARGS)

fuzz: $(ready)
	@$(bin)/python -m tests.fuzz $(ARGS)

clients: $(ready) rabbitmq
	@$(bin)/python -m tests.clients $(ARGS)

lint: $(ready)
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports

schema: $(ready)
	@$(bin)/python -m rtmpump.http.status >docs/status.schema.json

dist: $(ready)
	@rm -rf dist
	@$(bin)/python deploy/debian/build.py dist

format: $(ready)
	$(bin)/ruff check --fix-only --quiet .
	$(bin)/ruff format .

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage_data .import_linter_cache .clients dist
	find rtmpump tests -name __pycache__ -prune -exec rm -rf {} +

rabbitmq: $(ready)
	@$(bin)/python -m rtmpump.sandbox.rabbitmq.node --ensure

tools:
	@missing=; \
	for tool in $(tools); do \
	  command -v "$${tool%=*}" >/dev/null || missing="$$missing $${tool#*=}"; \
	done; \
	if [ -n "$$missing" ] && command -v apt-get >/dev/null; then \
	  as_root=; [ "$$(id -u)" = 0 ] || as_root='sudo -n'; \
	  echo "installing for the tests:$$missing"; \
	  { $$as_root apt-get update -q; \
	    $$as_root env DEBIAN_FRONTEND=noninteractive \
	      apt-get install -q -y --no-install-recommends $$missing; } >/dev/null \
	  || echo "apt-get could not install them; the tests that need them are skipped" >&2; \
	fi

# hatchling goes in first, so that it has the version of constraints.txt: pip builds an isolated
# package without them.
pip := $(bin)/python -m pip install --quiet -c constraints.txt
install = $(bin)/python $(live) "installing $(1) into .venv" \
  sh -ec '$(pip) hatchling; $(pip) --no-build-isolation -e "$(2)"'
sources := $(bin)/python pyproject.toml constraints.txt $(other_python)

$(runtime): $(sources)
	@$(call install,packages,.)
	@touch $@

$(ready): $(sources)
	@$(call install,packages and those of the tests,.[dev])
	@touch $(runtime) $@

# Debian has the module venv in a package of its own.
$(bin)/python: $(other_python)
	@for python in $(PYTHON); do \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "rtmpump needs Python 3.11 or later, and there is none among: $(PYTHON)" >&2; \
	  echo "Install one, or name one: make PYTHON=/path/to/python3.11" >&2; \
	  exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	  as_root=; [ "$$(id -u)" = 0 ] || as_root='sudo -n'; \
	  if ! { $$as_root apt-get update -q && $$as_root apt-get install -q -y python3-venv; } >&2; then \
	    echo "$$python has no module venv; install it: apt-get install python3-venv" >&2; \
	    exit 1; \
	  fi; \
	fi; \
	$$python $(live) "making .venv with $$($$python --version)" $$python -m venv --clear .venv
