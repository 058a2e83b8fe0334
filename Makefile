# Every target does its own set-up: from a clean clone, `make demo` and `make test` need nothing but Python and make.

.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TEMPLATES := template.yaml infra/database.yaml infra/monitoring.yaml infra/existing.yaml
# In an environment by itself, because it needs an older boto3.
CHECKOV := $(VENV)/checkov
BUNDLE := event_service/certificates/rds-global-bundle.pem
# The first Python 3.11 or newer that runs; `make PYTHON=...` chooses another.
PYTHON ?= $(shell for name in python3.13 python3.14 python3.12 python3.11 python3 python; do \
	$$name -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$name; break; }; done)

# In the order of their names: the short unit tests come last, and both workers end at about the same time.
TESTS = $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

.PHONY: help demo test verify bench soak rebuild local invoke lint format build validate certificates lock clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS='	' read -r target text; do \
		printf '  make %-10s %s\n' "$$target" "$$text"; done

demo: $(READY) ## Build, start everything, publish a reminder's life to the event topic and show the results
	@$(BIN)/python -m local.demo

test: lint ## Run what CI runs: linters, types, import rules and tests on real backends; of large matrices a fixed sample
	$(TESTS)

verify: lint ## Run every test in full, then the soak, then the benchmark (about an hour)
	EVENT_SERVICE_TESTS=full $(TESTS)
	$(BIN)/python -m tests.soak $(SOAK)
	$(BIN)/python -m benchmarks $(BENCH)

bench: $(READY) ## Compare the service with the documented way, record by record (11 minutes); parts: make bench BENCH='--only rebuild'
	@$(BIN)/python -m benchmarks $(BENCH)

soak: $(READY) ## Send events for 5 minutes while processes are killed and connections break; account for every event
	@$(BIN)/python -m tests.soak $(SOAK)

rebuild: $(READY) ## Rebuild the notifications from 100,000 events, and measure memory and speed
	@$(BIN)/python -m tests.soak.rebuild

local: $(READY) ## Keep the service running on the embedded stack; prints how to use it
	@$(BIN)/python -m local.serve

invoke: $(READY) ## Run the built function on one sample: make invoke EVENT=events/reminder-created.json
	@$(BIN)/python -m local.invoke $(EVENT)

lint: $(READY) ## Check style, types, the templates and which module may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/cfn-lint $(TEMPLATES)

format: $(READY) ## Format the code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

build: $(READY) ## Build for AWS: the runtime and processor in template.yaml
	$(BIN)/sam build

validate: $(READY) $(CHECKOV)/.ready ## Check the templates in full: cfn-lint, sam validate, checkov
	$(BIN)/cfn-lint $(TEMPLATES)
	set -e; for template in $(TEMPLATES); do $(BIN)/sam validate --lint --region us-east-1 --template "$$template"; done
	$(CHECKOV)/bin/checkov --config-file .ci/checkov.yaml --file $(TEMPLATES)

certificates: $(READY) ## Fetch AWS's current bundle of the certificate authorities of Amazon RDS, and list its regions
	curl --fail --silent --show-error --output $(BUNDLE).new https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem
	$(BIN)/python -c 'import pathlib, event_service.certificates as c; print(*c.regions(pathlib.Path("$(BUNDLE).new").resolve()))'
	mv $(BUNDLE).new $(BUNDLE)

lock: $(READY) ## Renew the lock files from pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		pyproject.toml --group dev --output-file requirements.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		pyproject.toml --constraint requirements.txt --output-file layers/dependencies/requirements.txt
	echo checkov | $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
		--no-header - --output-file .ci/checkov.txt

clean: ## Remove everything that was built or installed
	rm -rf $(VENV) .aws-sam .local .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(CHECKOV)/.ready: .ci/checkov.txt $(READY)
	@echo "installing checkov into $(CHECKOV) (once)"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(CHECKOV)
	@$(BIN)/uv pip install --quiet --python $(CHECKOV)/bin/python --require-hashes --no-deps -r .ci/checkov.txt
	@touch $@

$(READY): requirements.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found: install one, or name it with make PYTHON=..." >&2; exit 1; }
	@test ! -L $(VENV) || { echo "$(VENV) is a link: its packages belong to another checkout, and are not replaced" >&2; exit 1; }
	@echo "installing the locked packages into $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes -r requirements.txt
	@touch $@
