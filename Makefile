# `make demo` and `make test` set up all they need, then run; `make` lists the targets.
# Nothing is written outside this directory except missing Debian packages.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Linters of what is packaged are no part of powerd's own environment.
LINTERS := build/linters
# What powerd runs on and nothing else, as the Debian package bundles it; and what lists and audits that.
RUNTIME := build/runtime
AUDITORS := build/auditors
ARGS ?=
# Tests start hundreds of processes: without bytecode each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check
NOT_INSTALLED := echo "cannot install the Python packages of pyproject.toml: pip failed, see above" >&2; exit 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup test demo bench soak fuzz sbom audit audit-ci lint format generated docs dist deb deb-test lint-packaging clean

help:                ## list the targets
	@sed -n 's/^\([a-z-]*\): .*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(VENV)/.test $(VENV)/.system  ## everything that tests and benchmarks need

test: setup lint     ## lint, types, and the whole suite; every branch of the core
	@# The core's own suite covers every branch of it; measuring that slows down whatever runs under it.
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-fail-under=100 tests/core
	@# Most of the rest waits for real processes; in the order of their names the long files come first.
	$(BIN)/pytest -n 5 --dist loadfile --no-loadscope-reorder --ignore=tests/core

demo: $(VENV)/.demo  ## a whole rack on this machine; options in ARGS, e.g. ARGS="--hosts 8 --json"
	@$(BIN)/powerd demo $(ARGS)

bench: setup         ## the benchmark tables, as text and JSON
	@$(BIN)/python -m benchmarks $(ARGS)

soak: setup          ## a rack of real processes under random faults for 30 minutes; options in ARGS, e.g. ARGS="--seed 7"
	@$(BIN)/python -m tests.chaos $(ARGS)

fuzz: setup          ## coverage-guided inputs for every parser, a million and more; options in ARGS
	@$(BIN)/python -m tests.fuzz $(ARGS)

lint: $(VENV)/.test  ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.test  ## rewrite the code in the one format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

generated: $(VENV)/.test  ## write what is made from code: pages of docs/, the dashboard
	$(BIN)/python -m powerd.settings.reference config/powerd.toml docs/configuration.md
	$(BIN)/python -m powerd.metrics.docs docs/metrics.md
	$(BIN)/python -m tests.faults docs/faults.md
	$(BIN)/python packaging/grafana/dashboard.py > packaging/grafana/powerd.json

docs: $(VENV)/.docs  ## the documents as a site, in build/docs/; a broken link fails
	$(BIN)/sphinx-build --quiet --nitpicky --fail-on-warning --keep-going --fresh-env docs build/docs

dist: $(VENV)/.test  ## wheel and source distribution, in dist/, with a look at what is in them
	@$(INSTALL) build
	rm -f dist/powerd-*
	$(BIN)/python -m build --outdir dist .
	$(BIN)/pytest -q --no-cov tests/packaging/on_dist.py

deb: $(VENV)/.deb    ## the Debian package, in dist/, checked by lintian
	@packaging/debian/build dist
	lintian --fail-on error,warning --allow-root dist/powerd_*.changes

deb-test: setup deb build/base.tar  ## install, upgrade and purge that package on a Debian of its own; as root
	TRIAL_BASE=build/base.tar $(BIN)/pytest -x --no-cov -o timeout=600 tests/packaging/on_debian.py \
		tests/packaging/on_ansible.py

lint-packaging: $(VENV)/.demo $(LINTERS)/.done  ## role and manifests by their own linters; the role's configuration by powerd
	$(LINTERS)/bin/yamllint --strict --config-file packaging/yamllint.yml packaging/ansible packaging/kubernetes
	cd packaging/ansible && PATH="$(CURDIR)/$(LINTERS)/bin:$$PATH" ansible-lint --offline --profile production .
	mkdir -p build/try
	PATH="$(CURDIR)/$(BIN):$$PATH" TRY_DIRECTORY="$(CURDIR)/build/try" ANSIBLE_ROLES_PATH=packaging/ansible/roles \
		$(LINTERS)/bin/ansible-playbook -i packaging/ansible/inventory.yml packaging/ansible/try.yml
	$(LINTERS)/bin/kubernetes-validate --strict packaging/kubernetes/daemonset.yaml packaging/kubernetes/namespace.yaml

sbom: $(RUNTIME)/.done $(AUDITORS)/.done  ## what powerd runs on, as CycloneDX, in dist/powerd.cdx.json
	@mkdir -p dist
	@$(AUDITORS)/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
		--output-file dist/powerd.cdx.json $(RUNTIME)/bin/python
	@echo "dist/powerd.cdx.json: $$(grep -c '"purl"' dist/powerd.cdx.json) packages"

audit: sbom          ## known vulnerabilities of all of that; fails where the advisories cannot be had
	@$(AUDITORS)/bin/python .ci/audit.py $(RUNTIME)/lib/python3*/site-packages

audit-ci: sbom       ## the same, but where the advisories cannot be had it says so and goes on
	@$(AUDITORS)/bin/python .ci/audit.py --unless-offline $(RUNTIME)/lib/python3*/site-packages

clean:               ## remove what the targets above made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage build dist
	find powerd tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: a target that was set up once takes no time the next time.

$(VENV)/.python: .ci/need
	@.ci/need $(PYTHON)=python3
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/need "$$($(PYTHON) -c \
		'import sysconfig; print(sysconfig.get_path("stdlib"))')/ensurepip/__init__.py=python3-venv"
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: pyproject.toml $(VENV)/.python
	@$(INSTALL) -e '.[demo]' || { $(NOT_INSTALLED); }
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.python
	@$(INSTALL) -e '.[demo,simulate,test]' || { $(NOT_INSTALLED); }
	@touch $@ $(VENV)/.demo

# The brokers; a compiler for the fake NVML library; promtool; systemd-analyze; openssl; a browser for the page;
# networks that can be cut.
$(VENV)/.system: .ci/need $(VENV)/.python
	@.ci/need mosquitto=mosquitto mosquitto_pub=mosquitto-clients gcc=gcc /usr/include/stdio.h=libc6-dev \
		promtool=prometheus systemd-analyze=systemd openssl=openssl chromium=chromium nats-server=nats-server \
		nft=nftables ip=iproute2
	@touch $@

$(VENV)/.docs: pyproject.toml $(VENV)/.python
	@$(INSTALL) -e '.[docs]' || { $(NOT_INSTALLED); }
	@touch $@

$(LINTERS)/.done: $(VENV)/.python
	$(PYTHON) -m venv $(LINTERS)
	@$(LINTERS)/bin/python -m pip install -q --disable-pip-version-check ansible-lint kubernetes-validate yamllint
	@touch $@

$(RUNTIME)/.done: pyproject.toml packaging/debian/constraints.txt $(VENV)/.python
	@rm -rf $(RUNTIME)
	$(PYTHON) -m venv --without-pip $(RUNTIME)
	@$(BIN)/python -m pip -q --disable-pip-version-check --python $(RUNTIME)/bin/python install --no-compile \
		--constraint packaging/debian/constraints.txt . || { $(NOT_INSTALLED); }
	@touch $@

$(AUDITORS)/.done: $(VENV)/.python
	$(PYTHON) -m venv $(AUDITORS)
	@$(AUDITORS)/bin/python -m pip install -q --disable-pip-version-check cyclonedx-bom pip-audit || { $(NOT_INSTALLED); }
	@touch $@

# A minimal Debian, with what an administrator would have beside powerd.
build/base.tar: .ci/need
	@.ci/need mmdebstrap=mmdebstrap
	mkdir -p build
	mmdebstrap --quiet --variant=minbase \
		--include=systemd,dbus,python3,mosquitto,procps,ansible-core,python3-apt bookworm $@

# What builds and judges a Debian package. It is made for Debian's own interpreter, whatever PYTHON is.
$(VENV)/.deb: .ci/need $(VENV)/.python
	@.ci/need dpkg-buildpackage=dpkg-dev dh=debhelper lintian=lintian gcc=gcc /usr/bin/python3=python3 \
		/usr/share/doc/python3-venv=python3-venv
	@touch $@
