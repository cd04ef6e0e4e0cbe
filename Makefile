# `make book` and `make test` are the two commands to know; `make help` lists the rest.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV ?= .venv
PYTHON ?=
PIP := pip==26.3
UV := uv==0.13.9
PY := $(VENV)/bin/python
MMER := $(VENV)/bin/mmer
FUZZ := .fuzz-venv
ATHERIS := atheris==3.0.0
STAMP := $(VENV)/.installed
HTML := _build/html/index.html
export PATH := $(abspath $(VENV)/bin):$(PATH)
# Byte code is written when a module is first used (pip leaves it out, which halves the set-up).
unexport PYTHONPATH PYTHONDONTWRITEBYTECODE

# After set-up nothing needs the network, so nothing may ask for it.
export HF_HUB_OFFLINE := 1
export TRANSFORMERS_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := false
export JUPYTER_PLATFORM_DIRS := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1
export REPOSITORY

# uv installs in a sixth of pip's time, but does not read pip's settings (an index of one's own,
# packages on a disk): it is told them, and looks through all indexes as pip does.
from_pip = "$$($(PY) -m pip config get global.$(1) 2>/dev/null || true)"
uv = UV_INDEX_URL=$(call from_pip,index-url) UV_EXTRA_INDEX_URL=$(call from_pip,extra-index-url) \
  UV_FIND_LINKS=$(call from_pip,find-links) UV_INDEX_STRATEGY=unsafe-best-match UV_SYSTEM_CERTS=1 \
  $(VENV)/bin/uv pip install --python $(PY)

no_deps := --no-deps -r requirements-no-deps.lock

# First thing in a recipe: names the stage, and says at its end how long it took.
stage = echo "== $(1)"; trap 's=$$?; echo "== $(1): $$SECONDS s$$([ $$s = 0 ] || echo ", failed")"' EXIT

# Runs a command without its words, which go to a file; of one that fails the last are shown, after
# the second command, if there is one.
LOG := .make.log
quietly = { $(1); } >> $(LOG) 2>&1 || { $(2) tail -n 20 $(LOG); echo "The whole log: $(abspath $(LOG))"; exit 1; }

.PHONY: help env data train chapters book notebooks test pages fuzz lint format serve lab wheel lock licences sbom audit clean distclean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

env: $(STAMP) ## make the environment in .venv (PYTHON=... chooses the interpreter)

$(STAMP): requirements.lock requirements-no-deps.lock pyproject.toml
	@$(call stage,environment); \
	if [ ! -x $(PY) ]; then \
	  for p in $(or $(PYTHON),python3.11 python3 python3.12 python3.13); do \
	    if "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$p; break; fi; \
	  done; \
	  if [ -z "$${found:-}" ]; then \
	    echo "mmer needs Python 3.11 or newer; $(or $(PYTHON),python3) is $$($(or $(PYTHON),python3) -V 2>&1 || true)."; \
	    echo "Name one that is: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; \
	  fi; \
	  echo "$$("$$found" -V), new environment in $(VENV)"; \
	  "$$found" -m venv $(VENV); \
	fi; \
	echo "about 220 packages, half a minute or more"; \
	$(call quietly,$(PY) -m pip install --disable-pip-version-check $(PIP) $(UV)); \
	$(call quietly,$(uv) -r requirements.lock || $(PY) -m pip install --no-compile -r requirements.lock); \
	$(call quietly,$(uv) $(no_deps) || $(PY) -m pip install --no-compile $(no_deps)); \
	$(call quietly,$(PY) -m pip install --no-deps --no-build-isolation -e .); \
	touch $(STAMP)

data: env ## make the demo corpus (cached)
	@$(call stage,demo corpus); $(MMER) data demo

train: env ## make the demo corpus and train the models that the chapters look into (cached)
	@$(call stage,corpus and trainings); $(PY) -m mmer_lib.book.prepare

chapters: train ## run the chapters that have changed, several at a time
	@$(call stage,chapters); $(PY) book/_ext/execute.py

# A failed build forgets what sphinx has read, or the next one would not repeat its warnings.
# REPOSITORY=https://github.com/OWNER/NAME gives the pages buttons for Colab and Binder.
book: chapters ## run every chapter and build the book
	@$(call stage,pages); \
	$(call quietly,$(VENV)/bin/jupyter-book build book --config _config.yml --path-output . -q -n -W --keep-going,\
	  rm -rf _build/.doctrees;)
	@echo; echo "The book is built. Open $(abspath $(HTML))"; \
	echo 'To run a chapter yourself: make lab. To check everything: make test.'

notebooks: env ## write book/notebooks from the chapters; what you changed there stays
	@$(PY) book/_ext/notebooks.py $(REPOSITORY)

test: lint chapters ## check the style, run the tests and every chapter
	@$(call stage,tests); OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses 4 -q \
	  --ignore tests/book/test_pages.py

pages: env ## look at every built page in a browser without a network (needs Chromium)
	@$(call stage,pages in a browser); MMER_REQUIRE_BOOK=1 $(PY) -m pytest -q tests/book/test_pages.py

# atheris has wheels for few platforms (Linux, macOS), so it is not in the lock: it has a small
# environment of its own, which sees the packages of .venv.
fuzz: env ## feed the readers damaged files (RUNS=20000 for each; TARGETS="csd csv" for some)
	@$(call stage,fuzz); \
	[ -x $(FUZZ)/bin/python ] || $(PY) -m venv $(FUZZ); \
	$(FUZZ)/bin/python -m pip install --disable-pip-version-check -q $(ATHERIS); \
	packages='import site; print(site.getsitepackages()[0])'; \
	$(PY) -c "$$packages" > "$$($(FUZZ)/bin/python -c "$$packages")/mmer.pth"; \
	$(FUZZ)/bin/python -m tests.fuzz.run --runs $(or $(RUNS),20000) $(TARGETS)

lint: env ## check the style alone
	@$(call stage,lint); $(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

format: env ## put the style right
	@$(VENV)/bin/ruff check --fix . ; $(VENV)/bin/ruff format .

serve: ## show the built book on http://localhost:8000
	@[ -f $(HTML) ] || { echo "no book yet: make book"; exit 1; }
	@$(PY) -m http.server --bind 127.0.0.1 --directory _build/html 8000

lab: notebooks ## open JupyterLab where the chapters lie as notebooks
	@$(VENV)/bin/jupyter lab --LabApp.default_url=/lab/tree/book/notebooks

wheel: env ## build the wheel into dist/
	@$(call stage,wheel); $(PY) -m build --wheel --no-isolation --outdir dist

lock: ## write requirements.lock anew from the pins in pyproject.toml
	@$(call stage,lock); \
	rm -rf .lock-venv; $(or $(PYTHON),python3.11) -m venv .lock-venv; \
	.lock-venv/bin/python -m pip install $(PIP); \
	.lock-venv/bin/python -m pip install ".[data,book,test]"; \
	.lock-venv/bin/python -m pip check; \
	{ echo "# Every package of the environment. Written by \`make lock\`; the pins to edit are in pyproject.toml."; \
	  .lock-venv/bin/python -m pip list --format=freeze --exclude pip --exclude uv --exclude mmer \
	  | sed -E 's/\+[a-z0-9.]+$$//' | grep -vE '^(nvidia|cuda|triton)' | LC_ALL=C sort -f; } > requirements.lock; \
	rm -rf .lock-venv

# What looks at the packages stays out of the environment that it looks at.
TOOLS := .tools-venv
$(TOOLS)/.installed: Makefile
	@$(call stage,tools); rm -rf $(TOOLS); $(or $(PYTHON),python3.11) -m venv $(TOOLS); \
	$(TOOLS)/bin/python -m pip install $(PIP); \
	$(TOOLS)/bin/python -m pip install pip-licenses==5.5.5 cyclonedx-bom==7.5.0 pip-audit==2.10.1; \
	touch $@

licences: env $(TOOLS)/.installed ## write data/licences.csv, the licence of every package
	@$(call stage,licences); $(TOOLS)/bin/pip-licenses --python=$(PY) --with-system --format=json \
	| $(PY) -m benchmarks.dependencies licences > $(TOOLS)/made; mv $(TOOLS)/made data/licences.csv

sbom: env $(TOOLS)/.installed ## write data/sbom.cdx.json, the bill of materials (CycloneDX)
	@$(call stage,bill of materials); $(TOOLS)/bin/cyclonedx-py environment --output-reproducible \
	--short-PURLs --pyproject pyproject.toml $(PY) \
	| $(PY) -m benchmarks.dependencies sbom > $(TOOLS)/made; mv $(TOOLS)/made data/sbom.cdx.json

# Without --strict, pip-audit calls packages that it could not look up free of advisories.
audit: $(TOOLS)/.installed ## ask the advisory service about every package (needs the network)
	@$(call stage,audit); $(TOOLS)/bin/pip-audit --strict --no-deps --disable-pip -r requirements.lock -r requirements-no-deps.lock

clean: ## remove what was built
	@rm -rf _build dist .pytest_cache .ruff_cache .hypothesis; \
	find mmer_lib tests -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## remove the environment too
	@rm -rf .venv .lock-venv .fuzz-venv $(TOOLS)
