# How `sam build` packages the function and its layer, without Docker, for the Python and the processor of the target:
# both stand in the name of the folder HERE whose Makefile includes this file (see ContextPath in template.yaml).
# SAM runs it in a copy of the source folder, with ARTIFACTS_DIR set. It lies in the layer's source folder so that a
# change to it makes `sam build --cached` build the layer anew. Paths may have spaces.

TARGET := $(lastword $(notdir $(HERE)))
RUNTIME := $(firstword $(subst -, ,$(TARGET)))
ARCHITECTURE := $(lastword $(subst -, ,$(TARGET)))
MACHINE := $(ARCHITECTURE:arm64=aarch64)

# botocore brings the descriptions of some 400 services, two thirds of the layer. A test finds a missing one.
AWS_SERVICES := dynamodb secretsmanager sns

# Any Python's pip can install for another one.
VENV_PYTHON := $(HERE)/../../../.venv/bin/python
PIP := $(shell for python in "$$PYTHON" "$(VENV_PYTHON)" python3 python; do \
	"$$python" -m pip --version >/dev/null 2>&1 && { echo "\"$$python\" -m pip"; break; }; done)
# Bytecode has to be written by the very version that reads it.
COMPILER := $(shell for python in "$$PYTHON" "$(VENV_PYTHON)" $(RUNTIME) python3 python; do \
	test "$$("$$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])' 2>/dev/null)" = $(RUNTIME) && \
	{ echo "\"$$python\""; break; }; done)

# Without bytecode in the package every cold start compiles it anew, since Lambda's file system is read-only.
# Unchecked, because packaging changes the time stamps that it would be checked against.
ifdef COMPILER
compile = $(COMPILER) -m compileall -q --invalidation-mode unchecked-hash -s "$(ARTIFACTS_DIR)" -p $(1) "$(ARTIFACTS_DIR)"
else
compile = @echo "no $(RUNTIME) on this machine: the package is built without bytecode, and cold starts take longer"
endif

build-EventServiceFunction build-MigrationFunction build-ReadApiFunction:
	mkdir -p "$(ARTIFACTS_DIR)/event_service"
	find . -type f \( -name '*.py' -o -name '*.sql' -o -name '*.pem' \) | tar -cf - -T - | \
		tar -xf - -C "$(ARTIFACTS_DIR)/event_service"
	$(call compile,/var/task)

build-DependenciesLayer:
	$(if $(PIP),,$(error no pip was found: name a Python that has it, PYTHON=... sam build))
	$(PIP) install --quiet --disable-pip-version-check --no-deps --require-hashes --no-compile --only-binary=:all: \
		--implementation cp --python-version $(RUNTIME:python%=%) \
		--platform manylinux_2_28_$(MACHINE) --platform manylinux2014_$(MACHINE) \
		--target "$(ARTIFACTS_DIR)/python" --requirement requirements.txt
	rm -rf "$(ARTIFACTS_DIR)/python/bin"
	find "$(ARTIFACTS_DIR)/python/botocore/data" -mindepth 1 -maxdepth 1 -type d \
		$(foreach service,$(AWS_SERVICES),! -name $(service)) -exec rm -rf {} +
	$(call compile,/opt)
