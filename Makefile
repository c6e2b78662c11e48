# Everything goes through .venv, which is made from requirements.lock when it is missing or out of date.
PYTHON ?= python3
PROFILE ?= cpu
CONTENT ?= builtin
STYLE ?= builtin
ARGS ?=
# Processes that the tests run in, each with one thread, and notebooks at a time of `make smoke`. One more than
# two cores, because many tests wait for the commands that they started.
JOBS ?= 3
# Notebooks at a time of `make` and `make quick`; RUNS=1 gives each all cores and shows a bar over its cells.
RUNS ?= 2
# CPU=1 installs PyTorch without CUDA, from its own index: 4 GB less.
CPU ?=
BIN := .venv/bin
READY := .venv/ready

.DELETE_ON_ERROR:
.PHONY: all env test stress mutate lint smoke quick status verify reference bench train study tables report crate readme lab lock clean distclean help

all: $(READY)  ## run every notebook: results/<profile>/ and figures/<profile>/ (PROFILE=cpu)
	$(BIN)/python -m replication run --profile $(PROFILE) --jobs $(RUNS)

env: $(READY)  ## set up .venv from requirements.lock (CPU=1 without CUDA)

# The stamp is written last, so a killed installation is taken up again.
$(READY): $(if $(CPU),build/cpu.lock) requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is older than 3.11; name a newer one with make PYTHON=python3.12" >&2; exit 1; }
	@# A killed venv leaves a python without pip: such an environment is made anew.
	$(BIN)/python -m pip --version 2>/dev/null | grep -q '^pip ' || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on $(if $(CPU),--extra-index-url \
	  https://download.pytorch.org/whl/cpu -r build/cpu.lock,-r requirements.lock)
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --quiet -e .
	touch $@

build/cpu.lock: requirements.lock
	mkdir -p build
	grep -vE '^(nvidia-|cuda-|triton)' requirements.lock > $@

test: $(READY)  ## run the tests in JOBS processes (ARGS=-x passes options to pytest)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

lint: $(READY)  ## check the formatting of code and notebooks, and the order of imports
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m replication layout

stress: $(READY)  ## kill trainings at random moments, for minutes
	$(BIN)/python -m pytest -m stress $(ARGS)

mutate: $(READY)  ## break the package on purpose, edit by edit, and see which the tests notice (ARGS=words of files)
	$(BIN)/python tests/mutate.py $(ARGS)

smoke: $(READY)  ## run every notebook in minutes, JOBS at a time, at sizes that say nothing
	$(BIN)/python -m replication run --profile smoke --jobs $(JOBS)

quick: $(READY)  ## every table in minutes and coarsely, for a first look
	$(BIN)/python -m replication run --profile quick --jobs $(RUNS)

status: $(READY)  ## say which notebooks and tables of PROFILE are current, and how long the others took last time
	@$(BIN)/python -m replication status --profile $(PROFILE) || test $$? = 1

verify: $(READY)  ## set results/PROFILE beside the committed results/reference/PROFILE, table by table
	$(BIN)/python -m replication verify --profile $(PROFILE)

reference: $(READY)  ## for maintainers: what a finished make has written becomes the reference
	$(BIN)/python -m replication reference --profile $(PROFILE)

bench: $(READY)  ## measure parameters, operations, latency, memory: results/bench/<hardware and versions>.csv
	$(BIN)/python -m replication benchmark --profile $(PROFILE)

train: $(READY)  ## train what checkpoints/ lacks (CONTENT=folder STYLE=folder PROFILE=cpu)
	$(BIN)/python -m replication train --profile $(PROFILE) --content $(CONTENT) --style $(STYLE)

study: $(READY)  ## write a blind voting page for people: build/study/<profile>/vote.html (and key.json, to keep)
	$(BIN)/python -m replication study --profile $(PROFILE)

tables: $(READY)  ## write the tables of PROFILE as CSV, Markdown, LaTeX (booktabs) and HTML: build/tables/<profile>/
	$(BIN)/python -m replication tables --profile $(PROFILE)

report: $(READY)  ## write what PROFILE has produced as a static site: build/report/<profile>/index.html
	$(BIN)/python -m replication report --profile $(PROFILE)

crate: $(READY)  ## write what PROFILE has produced as an RO-Crate to deposit: build/crate/<profile>/
	$(BIN)/python -m replication crate --profile $(PROFILE)

readme: $(READY)  ## put the tables of results/reference/cpu into README.md
	$(BIN)/python -m replication readme

lab: $(READY)  ## open the notebooks in JupyterLab (ARGS=--no-browser passes options to it)
	$(BIN)/jupyter lab notebooks $$(test "$$(id -u)" != 0 || echo --allow-root) $(ARGS)

lock:  ## write requirements.lock anew from pyproject.toml, in a fresh environment
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --disable-pip-version-check --progress-bar on '.[test]'
	build/lock/bin/python -m pip freeze --exclude replication-workbook --exclude pip --exclude setuptools \
	  | sed -e 's/+[a-z0-9.]*$$//' -e '/^\(nvidia-\|cuda-\|triton\)/s/$$/; sys_platform == "linux" and platform_machine == "x86_64"/' \
	  > build/requirements.lock
	mv build/requirements.lock requirements.lock
	rm -rf build/lock

clean:  ## remove build/: caches, stored cells, executed notebooks, training runs
	rm -rf build

distclean: clean  ## remove build/ and .venv
	rm -rf .venv

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
