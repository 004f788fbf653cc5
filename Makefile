# `make demo` and `make test` do all the set-up themselves. PYTHON=python3.12 make demo chooses another Python.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# One thread per worker: several pools of threads on the same cores are slower than one thread each.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --durations 20 --durations-min 10

.PHONY: help demo test test-slow quick lab notebooks book wheel slides lint check install

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s%s\n", $$1, $$2}' Makefile

demo: $(VENV)/installed  ## train MiSLAS and cross-entropy on a long tail of letters, and report
	$(BIN)/python -m ltlib report --method mislas --baseline cross_entropy

test: check  ## lint, types, all tests but the slow ones, every notebook in its smallest size
	$(PYTEST) -m "not slow"
	LTLIB_RUNS="$$(mktemp -d)" LTLIB_PROFILE=smoke $(PYTEST) \
		--nbval-lax --nbval-current-env --nbval-cell-timeout 300 notebooks

test-slow: $(VENV)/installed  ## the tests that `make test` leaves out
	$(PYTEST) -m slow

quick: check  ## lint, types, and the tests beside what you changed: under two minutes on two cores
	$(PYTEST) -m "not slow" $$($(BIN)/python -m tests.quick)

lab: $(VENV)/installed  ## open the lessons in JupyterLab
	$(BIN)/python -m ltlib lab

notebooks: $(VENV)/installed  ## execute the lessons in the lesson profile and store their outputs
	$(BIN)/python -m ltlib.lesson.build

# CommonHTML, which nbconvert takes for formulas, spoils tables on slides that are not shown yet: hence SVG.
MATHJAX = https://cdnjs.cloudflare.com/ajax/libs/mathjax/2.7.7/MathJax.js?config=TeX-AMS_SVG-full,Safe
book: $(VENV)/installed  ## the web book, in build/book
	$(BIN)/python docs/build.py

wheel: $(VENV)/installed  ## the wheel, with lessons and results, in dist
	$(BIN)/python -m pip wheel --no-deps -w dist .

slides: $(VENV)/installed  ## the lessons as slides, in build/slides (a browser fetches reveal.js when it opens them)
	$(BIN)/jupyter nbconvert --to slides --no-input --output-dir build/slides --SlidesExporter.reveal_scroll=True \
		--SlidesExporter.reveal_width=1280 --SlidesExporter.reveal_height=800 \
		--SlidesExporter.mathjax_url="$(MATHJAX)" $(SLIDES) notebooks/[0-9][0-9]_*.ipynb

lint: $(VENV)/installed  ## format, mend what can be mended, and check types
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/pyright

check: $(VENV)/installed  ## check format, lint and types, and change nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

install: $(VENV)/installed  ## set up the environment, and nothing else

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable ".[test]" --constraint constraints.txt
	touch $@
