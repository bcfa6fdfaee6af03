# The whole project from one place: `make demo` runs the main job, `make test` the tests.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
ARGS   ?=

.PHONY: demo test bench lab docs readme playground test-playground test-browser clean

demo: $(READY)  ## Train on words, draw them, read them back: runs/demo/ in minutes
	$(BIN)/dnd-demo $(ARGS)

test: $(READY)  ## Everything that must hold; ends with "N passed, N failed"
	@$(BIN)/python .ci/checks.py $(ARGS)

bench: $(READY)  ## Times of every way to draw in results/speed-cpu.json (RELEASED=folder: the released one too)
	$(BIN)/python nbs/course/bench_speed.py results/speed-cpu.json $(if $(RELEASED),--released $(RELEASED)) $(ARGS)

lab: $(READY)  ## Read and run the notebooks
	$(BIN)/jupyter lab nbs

docs: $(READY) readme  ## The docs site in _docs/: with Quarto if there is one, else without
	@$(BIN)/python site/build.py $(ARGS)

readme: $(READY)  ## README.md from nbs/index.ipynb
	$(BIN)/python .ci/readme.py

# onnxruntime-web, and what the browser tests need
NPM := site/playground/node_modules/.ready
$(NPM): site/playground/package-lock.json
	@command -v npm >/dev/null || { echo "The playground needs npm: install Node.js 20 or later from https://nodejs.org and try again"; exit 1; }
	npm ci --prefix site/playground --no-audit --no-fund --ignore-scripts --silent
	@touch $@

playground: $(READY) $(NPM)  ## A page that draws in the browser, in _playground/
	$(BIN)/python site/playground/build.py _playground

test-playground: playground  ## Does it draw what Python draws? In node and in Chromium
	$(BIN)/python site/playground/expected.py _playground _playground/expected.json
	cd site/playground && node test.mjs ../../_playground ../../_playground/expected.json
	cd site/playground && node test_browser.mjs ../../_playground ../../_playground/expected.json
	rm _playground/expected.json

test-browser: docs $(NPM)  ## The site and JupyterLab, in Chromium
	node site/test_site.mjs _docs
	node site/test_lab.mjs $(BIN)/jupyter

# Where Python may not keep bytecode (common in containers), every process would compile torch again, ten seconds each.
BYTECODE := $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)

# uv installs in seconds, plain pip in minutes; both give the same environment.
$(READY): settings.ini setup.py
	@echo "Installing into $(VENV): this happens once and takes a few minutes"
	@if command -v uv >/dev/null; then \
		{ test -x $(BIN)/python || uv venv -q --seed --python $(PYTHON) $(VENV); } && \
		uv pip install -q $(BYTECODE) --python $(BIN)/python -e '.[dev]'; \
	else \
		{ test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); } && \
		$(BIN)/python -m pip install -qq -e '.[dev]'; \
	fi
	@touch $@

clean:  ## Remove what was built (keeps .venv and runs/)
	rm -rf _docs _proc _playground site/playground/node_modules build dist *.egg-info .quarto nbs/nbdev.yml nbs/sidebar.yml
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
