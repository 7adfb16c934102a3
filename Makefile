# Every target sets up what it needs. Targets can be repeated: finished steps are skipped.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

VSCODE := editors/vscode
LUA    := editors/neovim
# Run npm and node with the Node of .editors.
WITH_NODE := PATH="$(CURDIR)/.editors/node/node_modules/.bin:$$PATH"

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-editors test-go test-plots test-sandbox test-servers test-team fuzz check lint \
	lint-lua lint-vscode lint-workflows format format-lua bench rehearse-gpu lock wheel sbom clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.product ## install starcoder-lsp into .venv

demo: $(VENV)/.product ## show suggestions from the real server (about 2 minutes the first time)
	@$(BIN)/starcoder-lsp demo
	@echo "The server is $(CURDIR)/$(BIN)/starcoder-lsp. README.md, \"Set up your editor\", says what is next."

test: $(VENV)/.dev ## run the tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile

EDITORS := $(patsubst %,.editors/%/run,nvim-0.12 nvim-0.10 nvim-0.7 emacs helix)

FUZZ ?= 5000

fuzz: $(VENV)/.dev ## run the fuzzers with many random examples (half an hour; FUZZ=N sets the number)
	@STARCODER_LSP_FUZZ=$(FUZZ) $(BIN)/python -m pytest tests/fuzz --timeout 3600

test-editors: $(VENV)/.dev $(EDITORS) .editors/plots/run .editors/jest/node_modules $(VSCODE)/dist/starcoder.vsix ## run the tests that drive real editors, installed into .editors (Debian)
	@cd $(VSCODE) && $(WITH_NODE) npm test --silent
	@STARCODER_LSP_EDITORS=required $(BIN)/python -m pytest tests/editors -n 2 --dist loadfile

test-servers: $(VENV)/.dev ## run the tests with vLLM, vllm-router, LiteLLM and llama.cpp, installed into .servers (Linux)
	@.ci/install-servers $(BIN)/python
	@$(BIN)/python -m pytest tests/servers tests/team/test_front_ends.py --timeout 600

test-sandbox: $(VENV)/.dev .editors/bubblewrap/run ## run the tests of the sandbox, with bubblewrap (installed into .editors, Debian) and without
	@STARCODER_LSP_SANDBOX=required $(BIN)/python -m pytest tests/sandbox tests/fim/evaluation

test-plots: $(VENV)/.dev .editors/plots/run ## run code of answers that draws with matplotlib, seaborn and geopandas (installed into .editors)
	@STARCODER_LSP_PLOTS=required $(BIN)/python -m pytest tests/e2e/test_plots.py

test-go: $(VENV)/.dev .editors/go/run ## run generated tests with a real Go, if none is installed with that of Debian (in .editors)
	@$(BIN)/python -m pytest tests/chat/tasks/checking -k go

test-team: $(VENV)/.dev .editors/nginx/run .editors/promtool/run ## run the examples of docs/team with nginx and promtool (installed into .editors, Debian)
	@STARCODER_LSP_TEAM=required $(BIN)/python -m pytest tests/team

check: lint lint-lua lint-vscode lint-workflows ## run all linters and type checkers: Python, Lua, TypeScript, CI

lint: $(VENV)/.dev ## run the Python linters only: ruff and mypy, without Node and Lua tools
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

STYLUA := $(WITH_NODE) node .ci/stylua.mjs .editors/stylua/node_modules

lint-lua: .editors/luacheck/run .editors/stylua/node_modules
	@.editors/luacheck/run --quiet --config $(LUA)/.luacheckrc $(LUA)
	@$(STYLUA) check $(LUA)

lint-vscode: $(VSCODE)/node_modules/.package-lock.json
	@cd $(VSCODE) && $(WITH_NODE) npm run --silent check

lint-workflows: $(VENV)/.dev
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: $(VENV)/.dev ## format the Python code with ruff and apply its safe fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

format-lua: .editors/stylua/node_modules ## format the Lua code with StyLua
	@$(STYLUA) write $(LUA)

rehearse-gpu: $(VENV)/.dev ## run the GPU kit on the CPU, with small shapes (two minutes)
	@OUT=$(VENV)/rehearsal $(BIN)/python -m benchmarks.gpu --rehearse --budget 1800

bench: $(VENV)/.product ## compare the decoding speed with that of transformers' generate
	@$(BIN)/python -m benchmarks.decode

# torch is pinned here and not in pyproject.toml, so that users can choose another version.
# triton is the version that CUDA builds of torch 2.13.0 require.
TORCH  := torch==2.13.0
PINNED := $(TORCH) triton==3.7.1

lock: $(VENV)/.made ## resolve the newest versions of all dependencies and write the lock files
	@$(BIN)/python -m uv --version > /dev/null 2>&1 || $(BIN)/pip install --quiet --no-deps uv
	@$(BIN)/python .ci/lock.py $(PINNED)

wheel: $(VENV)/.dev ## build the wheel and the source archive into dist, with the locked hatchling
	@$(BIN)/hatchling build --directory dist

sbom: $(VENV)/.dev ## write dist/sbom.json: the packages of the product, in CycloneDX
	@mkdir -p dist
	@cat requirements.lock requirements-torch.lock requirements-cuda.lock > dist/all.lock
	@$(BIN)/python -W ignore -m cyclonedx_py requirements dist/all.lock --pyproject pyproject.toml \
		--output-reproducible --output-file dist/sbom.json
	@rm dist/all.lock

clean: ## remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info

# Files that mark finished steps.

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is required, but '$(PYTHON)' is $$($(PYTHON) -V 2>&1)." \
			"Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "== creating a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# The lock files name all packages, so pip resolves nothing (--no-deps). It runs no code of a package
# to build it (--only-binary), except our own, which is built with the locked hatchling.
INSTALL := $(BIN)/pip install --quiet --no-deps
LOCKED  := $(INSTALL) --require-hashes --only-binary :all: --requirement

# pip first selects the build of torch that suits this machine, then its hash is checked.
$(VENV)/.product: $(VENV)/.made pyproject.toml requirements.lock requirements-torch.lock requirements-cuda.lock
	@echo "== installing starcoder-lsp and its dependencies (torch is the large one)"
	@$(LOCKED) requirements.lock
	@$(BIN)/pip download --quiet --no-deps --only-binary :all: --dest $(VENV)/torch $(TORCH)
	@PIP_FIND_LINKS= $(LOCKED) requirements-torch.lock --no-index --find-links $(VENV)/torch
	@rm -rf $(VENV)/torch
	@! $(BIN)/python .ci/needs_cuda.py || $(LOCKED) requirements-cuda.lock
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.product requirements-dev.lock
	@echo "== installing the dependencies of the tests"
	@$(LOCKED) requirements-dev.lock
	@touch $@

# A project's environment for the code of answers: `run` is its Python.
.editors/plots/run: .ci/plots.lock $(VENV)/.made
	@echo "== installing matplotlib, seaborn and geopandas into .editors (100 MB)"
	@$(BIN)/python -m venv --clear .editors/plots/.venv
	@.editors/plots/.venv/bin/$(subst $(BIN)/,,$(LOCKED)) $< --no-compile
	@printf '#!/bin/sh\nexec %s "$$@"\n' "$(CURDIR)/.editors/plots/.venv/bin/python" > $@
	@chmod +x $@

.editors/%/run: .ci/install-editor
	@echo "== installing $* into .editors"
	@.ci/install-editor $* .editors/$*
	@touch $@

.editors/code-server/node_modules/.bin/code-server:
	@echo "== installing VS Code (code-server), Node 24 and Chromium (a minute or two)"
	@.ci/install-vscode .editors

.editors/stylua/node_modules: .editors/code-server/node_modules/.bin/code-server
	@mkdir -p .editors/stylua && cd .editors/stylua && \
		$(WITH_NODE) npm install --no-audit --no-fund --loglevel=error @johnnymorganz/stylua@2.5.2 > /dev/null
	@touch $@

.editors/jest/node_modules: .editors/code-server/node_modules/.bin/code-server
	@mkdir -p .editors/jest && cd .editors/jest && \
		$(WITH_NODE) npm install --no-audit --no-fund --loglevel=error jest@30.5.2 ts-jest@29.4.15 \
			@types/jest@30.0.0 typescript@5.9.3 > /dev/null
	@touch $@

$(VSCODE)/node_modules/.package-lock.json: .editors/code-server/node_modules/.bin/code-server \
		$(VSCODE)/package.json $(VSCODE)/package-lock.json
	@echo "== installing the dependencies of the VS Code extension"
	@cd $(VSCODE) && $(WITH_NODE) npm ci --loglevel=error > /dev/null
	@touch $@

$(VSCODE)/dist/starcoder.vsix: $(VSCODE)/node_modules/.package-lock.json \
		$(wildcard $(VSCODE)/src/*.ts $(VSCODE)/src/*/*.ts $(VSCODE)/webview/*.ts $(VSCODE)/media/* \
		$(VSCODE)/*.md $(VSCODE)/esbuild.mjs)
	@echo "== packaging the VS Code extension"
	@cd $(VSCODE) && $(WITH_NODE) npm run --silent package
