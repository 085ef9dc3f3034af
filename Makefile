# Everything one does here, a target each; `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SPARK := $(VENV)/.spark-installed
MIRROR := $(wildcard ../shared/data)

# Tests start the program a thousand times: Python is to keep what it compiles.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install system-deps demo lint lint-types lint-rest check test coverage flink lowest docs fuzz faults soak zoo bench lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | awk -F ':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

install: $(INSTALLED) ## set up .venv, again only when what it is made from has changed

# pip compiles module by module on one processor, and the tests of other projects too.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	-$(BIN)/python -m compileall -q -j 0 -x '/tests/' $(VENV)/lib
	touch $@

# Spark is an archive of 450 MB that only its tests need; all that it needs itself is there already.
$(SPARK): tests/spark.lock $(INSTALLED)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --no-build-isolation --requirement tests/spark.lock
	touch $@

# A mirror of the data sets beside the checkout saves the downloads; see docs/how-to/send-data.md.
ifneq ($(MIRROR),)
demo check test coverage flink lowest soak zoo bench: export STREAM_DETECTOR_DATA ?= $(abspath $(MIRROR))
endif

demo: $(INSTALLED) ## train, stream, detect and read the alerts back, in one table; DEMO_ARGS=--console for the page
	$(BIN)/stream-detector demo $(DEMO_ARGS)

system-deps: ## install what the tests need beyond Python and make, by apt (Debian)
	.ci/system-deps

lint: $(INSTALLED) ## lint, format, types, import contracts and documentation
	@$(MAKE) --no-print-directory --jobs=2 lint-types lint-rest $(WITH_LINT)

lint-types: $(INSTALLED)
	$(BIN)/mypy --strict
	MYPYPATH=benchmarks $(BIN)/mypy --strict benchmarks

lint-rest: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/python docs/generate.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

check: lint ## the same, and the fast unit tests
	$(BIN)/pytest -q -m "not keras and not slow" tests/unit

# Half of the time would be waiting, so more processes than processors; each takes up to 1.5 GB of memory.
SIDE_BY_SIDE = --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder
TEST_PROCESSES ?= 4

test: WITH_LINT := $(SPARK)
test: lint ## make lint, then every test; those on a real Kafka need one, Docker, or Java and Maven
	$(BIN)/pytest -q $(SIDE_BY_SIDE)

coverage: $(INSTALLED) $(SPARK) ## every test, and which lines and branches of the package they reach
	$(BIN)/pytest -q $(SIDE_BY_SIDE) --cov --cov-report=term-missing:skip-covered

lowest: ## every test with the lowest versions that pyproject.toml asks for; needs uv
	uv venv --quiet --clear --python $(PYTHON) $(VENV)-lowest
	uv pip install --quiet --python $(VENV)-lowest --resolution lowest-direct --editable '.[all,spark]'
	$(VENV)-lowest/bin/pytest -q $(SIDE_BY_SIDE) --override-ini filterwarnings=default

# PyFlink's dependencies are of other versions than ours, so it has an environment of its own.
FLINK := $(VENV)-flink
FLINK_INSTALLED := $(FLINK)/.installed

flink: $(INSTALLED) $(FLINK_INSTALLED) ## the jobs of examples/flink on a real Kafka: needs Java and Maven
	FLINK_PYTHON=$(abspath $(FLINK)/bin/python) $(BIN)/pytest -q tests/integration/test_flink.py

$(FLINK_INSTALLED): examples/flink/requirements.lock examples/flink/pom.xml pyproject.toml
	test -x $(FLINK)/bin/python || $(PYTHON) -m venv $(FLINK)
	$(FLINK)/bin/python -m pip install --quiet --require-hashes --requirement examples/flink/requirements.lock
	$(FLINK)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	mvn --batch-mode --quiet --file examples/flink/pom.xml dependency:copy-dependencies \
		-DoutputDirectory=$$($(FLINK)/bin/python -c 'import pyflink; print(pyflink.__path__[0])')/lib
	touch $@

docs: $(INSTALLED) ## the documentation as a site on http://127.0.0.1:8000
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

fuzz: $(INSTALLED) ## a million records of any kind, and a bundle with each byte changed; FUZZ_ARGS="--seed 7" ...
	$(BIN)/python tests/fuzz/run.py $(FUZZ_ARGS)

faults: $(INSTALLED) ## what crashes and lost answers do to delivery, on a real Kafka, for two hours; FAULTS_ARGS="--faults killed" ...
	$(BIN)/python benchmarks/faults.py $(FAULTS_ARGS)

soak: $(INSTALLED) ## what detect uses over half an hour of steady load, on a real Kafka; SOAK_ARGS="--client confluent" ...
	$(BIN)/python benchmarks/soak.py $(SOAK_ARGS)

zoo: $(INSTALLED) ## train and measure every recipe of models/, for an hour, and write models/README.md
	$(BIN)/python benchmarks/zoo.py $(ZOO_ARGS)
	$(BIN)/python benchmarks/zoo_studies.py
	$(BIN)/python benchmarks/zoo_pictures.py

bench: $(INSTALLED) ## throughput against a bare poll loop and peers; BENCH_ARGS="--json FILE" ...
	$(BIN)/python benchmarks/throughput.py $(BENCH_ARGS)

lock: ## renew requirements.lock, deploy/image.lock and that of examples/flink from pyproject.toml; needs uv
	printf 'hatchling\neditables\n' | uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--extra all --generate-hashes --no-header --no-annotate --output-file requirements.lock pyproject.toml -
	printf 'hatchling\npooch\n' | uv pip compile --quiet --universal --python-version 3.11 --constraint requirements.lock \
		--extra confluent --extra registry --extra console --extra route --extra otel \
		--generate-hashes --no-header --no-annotate --output-file deploy/image.lock pyproject.toml -
	printf 'apache-flink==2.3.0\nhatchling\neditables\n' | uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --output-file examples/flink/requirements.lock pyproject.toml -

clean: ## remove .venv and every cache; bundles stay
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-flink build dist .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
