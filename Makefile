# make book   builds the book           make test   lints, and tests the library
# Both set themselves up, can be killed at any moment and repeated, and do nothing twice.

PYTHON ?= python3
export EAMLIB_BUDGET ?= smoke
export TQDM_DISABLE = 1
# The chapters' small networks gain little from a second thread, and lose a factor of ten where anything
# else wants the cores; with one, a page's numbers do not depend on how many there are.
export OMP_NUM_THREADS ?= 1
# Notebooks at a time. With more than one a book is built sooner, and the times on its pages are those of a busy machine.
export JOBS ?= 1
# This environment's kernel, whatever other `python3` kernels the user has.
export JUPYTER_PATH = $(CURDIR)/.venv/share/jupyter
export PIP_DISABLE_PIP_VERSION_CHECK = 1

BIN := .venv/bin
PAGE := _build/html/index.html

.PHONY: book pdf browser slides student solutions collect exam test pages faults check lint links numbers speed format address clean help sizes FORCE
.NOTPARALLEL:

# A warning is given only when its page is read: after a build that failed or was killed all pages are
# read again, or the next build would pass in silence. Notebooks that ran stay cached.
book: .venv/book  ## build the book and print where its first page is
	@test -e _build/complete || rm -rf _build/.doctrees
	@rm -f _build/complete
	$(BIN)/jupyter-book build . -n -W --keep-going
	@touch _build/complete
	@$(BIN)/python -c 'import pathlib; print("The book:", pathlib.Path("$(PAGE)").resolve().as_uri())'

pdf: browser .venv/dev book  ## print the book and its cheat sheet as PDF; needs Chromium or Chrome
	$(BIN)/python book/tools/pdf.py

# Asked first, with nothing but Python: whoever has no browser is told before minutes of work.
browser:
	@$(PYTHON) book/tools/browser.py

slides: .venv/dev book  ## make a deck of slides for every page, with speaker notes; one for a lecture per chapter with CORE=1
	$(BIN)/python book/tools/slides.py $(if $(CORE),chapter)

# URL is the folder on GitHub that they will lie in: their links to Colab then open them from there.
student: .venv/dev  ## write the notebooks to hand out, without solutions, to _build/student (make student URL=…)
	@$(BIN)/python book/tools/exercises.py student $(URL)

solutions: .venv/dev  ## write the teacher's notebooks, solved and with hidden tests, to _build/solutions
	@$(BIN)/python book/tools/exercises.py solutions

collect:  ## sort a class's downloads for nbgrader into the folder submitted beside them: make collect FROM=downloads
	@$(PYTHON) book/tools/collect.py "$(FROM)"

exam: .venv/dev  ## write an exam and its answers to _build/exam (make exam SEED=7 BANK=my_questions.md SHEET=allowed)
	@$(BIN)/python book/tools/exam.py $(SEED) $(if $(BANK),--bank "$(BANK)") $(if $(SHEET),--sheet)

# Two processes, since each has one thread. The one that is done first takes tests from the other. A file of the pages' tests
# stays with one of them, which shares what its tests share; in the order of their names, test_browser, the longest, begins early.
PYTEST := $(BIN)/python -m pytest -n 2

test: .venv/dev lint  ## lint, and run the library's tests and the examples in its documentation
	$(PYTEST) --dist worksteal -m "not slow" --doctest-modules eamlib tests --ignore tests/book --ignore tests/faults

pages: .venv/dev book  ## build the book, and test its pages in a browser and on Colab's packages, slides, PDF and exercises
	$(PYTEST) --dist loadfile --no-loadscope-reorder tests/book

faults: .venv/dev  ## kill trainings, damage checkpoints and let processes race: minutes
	$(PYTEST) --dist worksteal tests/faults/killing.py tests/faults/damage.py tests/faults/racing.py

check: test pages faults  ## all of the tests
	$(PYTEST) --dist worksteal -m slow --ignore tests/book

lint: .venv/dev  ## check style, format and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

links: book  ## ask every external address on the pages whether it answers; needs a network
	$(BIN)/jupyter-book build . --builder custom --custom-builder linkcheck

# Not after `book`, which fails where a number is to be written: what a page computes is taken from its last run.
numbers: .venv/book  ## after new records or rows: write tables, the list of records and the prose's numbers anew
	$(BIN)/python book/tools/tables.py
	$(BIN)/python book/tools/published.py
	$(BIN)/python book/tools/write_numbers.py

sizes: .venv/dev book  ## say how long each page is: words, cells, minutes, screens (needs Chromium)
	PYTHONPATH=tests $(BIN)/python book/tools/page_sizes.py

speed: .venv/dev book  ## measure how fast each page shows and how large it is (needs Chromium)
	PYTHONPATH=tests $(BIN)/python book/tools/pageload.py

format: .venv/dev  ## format the code and strip the notebooks' outputs
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout --keep-id $(shell find notebooks -name "*.ipynb")

address:  ## give the repository another address, wherever it stands: make address URL=https://github.com/me/fork
	@$(PYTHON) book/tools/address.py "$(URL)"

clean:  ## remove all that was made
	rm -rf .venv _build build *.egg-info .pytest_cache .ruff_cache

help:  ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

# The stamp is written last and names its folder, because an environment cannot be moved: one that is
# half-made, was moved, or has lost its interpreter is made anew. Where it is whole and other packages are asked for
# than when it was made, these are installed into it. A file's date says nothing of that: git gives it a new one.
MADE := $(shell exec 2> /dev/null; $(BIN)/python -c "" && cat .venv/book)
NEEDS := $(shell cat requirements.txt pyproject.toml | cksum)

.venv/book:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("The book needs Python 3.11 or later, \
	and $(PYTHON) is %d.%d. Name another one: make PYTHON=python3.12" % sys.version_info[:2])'
ifneq ($(MADE),$(CURDIR))
	@echo "Making .venv: some minutes, and about 5 GB, most of it PyTorch."
	rm -rf .venv
	$(PYTHON) -m venv .venv
else
	@echo "requirements.txt or pyproject.toml is another one: installing what it asks for into .venv."
	@rm $@
endif
	$(BIN)/pip install --quiet -r requirements.txt
	@echo "$(NEEDS)" > .venv/needs
	@pwd > $@

ifneq ($(MADE) $(shell cat .venv/needs 2> /dev/null),$(CURDIR) $(NEEDS))
.venv/book: FORCE
endif

# The first stamp is away while the second is made: killed here, the environment is half-made again.
.venv/dev: .venv/book
	@rm $<
	$(BIN)/pip install --quiet -e '.[dev]'
	@pwd > $<
	@touch $@
