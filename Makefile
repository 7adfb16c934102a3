# make demo   sets everything up in .venv and shows completions by the real server
# make test   sets everything up in .venv and runs the tests
# Both may be run again at any time; what is done already is not done twice.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

NODE := .editors/node/node_modules/.bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-editors lint lint-lua format format-lua bench clean

help:
	@echo "make demo     set up, then show ghost text from the real server (about 2 minutes the first time)"
	@echo "make test     set up, then run the tests"
	@echo "make test-editors   fetch real editors into .editors and run the tests that drive them"
	@echo "make lint     ruff and mypy, as CI runs them"
	@echo "make lint-lua   luacheck and StyLua on the Neovim plugin; make test-editors does it too"
	@echo "make format   let ruff put the code in shape"
	@echo "make bench    speed of our decoding beside transformers' generate"
	@echo "make clean    remove .venv and caches"

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "== making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.product: $(VENV)/.made pyproject.toml constraints.txt
	@echo "== installing starcoder-lsp and what it needs (torch is the large one)"
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.product
	@echo "== installing what the tests need"
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(VENV)/.product

demo: $(VENV)/.product
	@$(BIN)/starcoder-lsp demo

test: $(VENV)/.dev
	@$(BIN)/python -m pytest

.editors/%/run: .ci/install-editor
	@echo "== unpacking $* into .editors"
	@.ci/install-editor $* .editors/$*
	@touch $@

.editors/code-server/node_modules/.bin/code-server:
	@echo "== putting VS Code (code-server), Node 24 and Chromium in place (a minute or two)"
	@.ci/install-vscode .editors

editors/vscode/dist/starcoder.vsix: .editors/code-server/node_modules/.bin/code-server \
		editors/vscode/package.json $(wildcard editors/vscode/src/*.ts editors/vscode/src/*/*.ts \
		editors/vscode/webview/*.ts editors/vscode/media/* editors/vscode/test/*.ts)
	@echo "== checking, testing and packaging the VS Code extension"
	@cd editors/vscode && export PATH="$(CURDIR)/$(NODE):$$PATH" && \
		npm install --loglevel=error > /dev/null && npm run --silent check && npm test --silent && \
		npm run --silent package

.editors/stylua/node_modules: .editors/code-server/node_modules/.bin/code-server
	@mkdir -p .editors/stylua && cd .editors/stylua && export PATH="$(CURDIR)/$(NODE):$$PATH" && \
		npm install --no-audit --no-fund --loglevel=error @johnnymorganz/stylua@2.5.2 > /dev/null
	@touch $@

LUA := editors/neovim
STYLUA := PATH="$(CURDIR)/$(NODE):$$PATH" node .ci/stylua.mjs .editors/stylua/node_modules

lint-lua: .editors/luacheck/run .editors/stylua/node_modules
	@.editors/luacheck/run --quiet --config $(LUA)/.luacheckrc $(LUA)
	@$(STYLUA) check $(LUA)

format-lua: .editors/stylua/node_modules
	@$(STYLUA) write $(LUA)

EDITORS := $(patsubst %,.editors/%/run,nvim-0.12 nvim-0.10 nvim-0.7 emacs helix)

test-editors: $(VENV)/.dev $(EDITORS) lint-lua editors/vscode/dist/starcoder.vsix
	@STARCODER_LSP_EDITORS=required $(BIN)/python -m pytest tests/editors

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.product
	@$(BIN)/python -m benchmarks.decode

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
