# How `sam build` packages the functions and their layer without Docker. The target's Makefile includes this file
# (ContextPath in template.yaml chooses the target) and says which RUNTIME to build for, and which options make pip install
# for it (PIP_TARGET). SAM runs it in a copy of the source folder, with ARTIFACTS_DIR set. It is in the layer's source
# folder so that `sam build --cached` builds the layer again when it changes. Paths may contain spaces.

# botocore brings the descriptions of some 400 services, two thirds of the layer. A test finds a missing one.
AWS_SERVICES := dynamodb secretsmanager sns

VENV_PYTHON := $(HERE)/../../../.venv/bin/python
# The pip of any Python can install for another one.
INSTALLER := $(shell for python in "$$PYTHON" "$(VENV_PYTHON)" python3 python; do \
	"$$python" -m pip --version >/dev/null 2>&1 && { echo "\"$$python\""; break; }; done)
# Only the version that reads bytecode can write it.
COMPILER := $(shell for python in "$$PYTHON" "$(VENV_PYTHON)" $(RUNTIME) python3 python; do \
	test "$$("$$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])' 2>/dev/null)" = $(RUNTIME) && \
	{ echo "\"$$python\""; break; }; done)

# Lambda's file system is read-only: without bytecode in the package, every cold start compiles all of it.
# Unchecked, because packaging changes the time stamps that it would be checked against.
ifdef COMPILER
compile = $(COMPILER) -m compileall -q --invalidation-mode unchecked-hash -s "$(ARTIFACTS_DIR)" -p $(1) "$(ARTIFACTS_DIR)"
else
compile = @echo "no $(RUNTIME) on this machine: the package is built without bytecode, and cold starts take longer"
endif

build-EventServiceFunction build-OperationsFunction build-ReadApiFunction build-SweeperFunction:
	mkdir -p "$(ARTIFACTS_DIR)/event_service"
	find . -type f \( -name '*.py' -o -name '*.sql' -o -name '*.pem' \) | tar -cf - -T - | \
		tar -xf - -C "$(ARTIFACTS_DIR)/event_service"
	$(call compile,/var/task)

build-DependenciesLayer:
	$(if $(INSTALLER),,$(error no Python with pip was found: name one, PYTHON=... sam build))
	$(INSTALLER) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --no-compile \
		--only-binary=:all: $(PIP_TARGET) --target "$(ARTIFACTS_DIR)/python" --requirement requirements.txt
	rm -rf "$(ARTIFACTS_DIR)/python/bin"
	find "$(ARTIFACTS_DIR)/python/botocore/data" -mindepth 1 -maxdepth 1 -type d \
		$(foreach service,$(AWS_SERVICES),! -name $(service)) -exec rm -rf {} +
	$(call compile,/opt)
