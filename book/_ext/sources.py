"""Where the numbers in the prose come from: the functions that a marker may call (see `prose.py`).

Each has a kind, which says what mark the number must have on its page: "paper", "recorded", "library" (our own code
and files, the same for everyone) or "output" (what a cell of the page computed when it ran).
"""

import json
import math
import re
from functools import cache
from pathlib import Path

import torch
from bs4 import BeautifulSoup

from eamlib import create_model, data, list_models
from eamlib._budget import BUDGETS
from eamlib.book import partners
from eamlib.book import redundancy_records as measured
from eamlib.book.exercises import CHECKS, QUIZZES
from eamlib.papers import accuracy as accuracies
from eamlib.papers import dynet, eam, records, training_runs

ROOT = Path(__file__).parents[2]
RESULTS, NOTEBOOKS = ROOT / "results", ROOT / "notebooks"
KINDS: dict[str, str] = {}
NAMES: dict[str, object] = {"pi": math.pi, "e": math.e}


class NotRun(Exception):
    """The page has not run yet, or has changed since it ran."""


def source(kind):
    """Decorator: make a function known to the markers, remembering its answers."""

    def register(function):
        KINDS[function.__name__] = kind
        NAMES[function.__name__] = cache(function)
        return function

    return register


for function in (abs, len, max, min, round, sum, math.ceil, math.comb, math.exp, math.floor, math.log, math.sqrt):
    NAMES[function.__name__] = function


# ---- papers


@source("paper")
def paper(table, row, column):
    """A printed top-1 accuracy, in percent: paper("baseline", "mobilenet_v1-x1-dynamic", "cifar10")."""
    return accuracies.TABLES[table].row(row).printed[column]


@source("paper")
def paper_cost(network, what, table="cost"):
    """A printed count of the EAM paper in millions, "parameters" or "flops": of "MobileNetV1, EAM RCR", say."""
    [row] = (row for row in eam.COST_ROWS if (row.network, row.table) == (network, table))
    return getattr(row, what)


@source("paper")
def paper_cut(network, version):
    """A printed share (%) of FLOPs that the DyNet paper saves, "first" or "second" version; "printed": its original's
    multiply-adds in millions."""
    [row] = (row for row in dynet.CUT_ROWS if row.network == network)
    return getattr(row, version)


@source("paper")
def paper_count(network):
    """A printed count of the DyNet paper, in millions of multiply-adds."""
    [row] = (row for row in dynet.COUNT_ROWS if row.network == network)
    return row.printed


# ---- records


@source("recorded")
def record(name):
    """A file below results/, as plain values."""
    return records.read(RESULTS / name)


@source("recorded")
def accuracy(name):
    """Test accuracy (%) after the last epoch, the mean over all recorded seeds of fashion_mnist/…-e5, say."""
    files = sorted(RESULTS.glob(f"{name}-seed*.json"))
    if not files:
        raise FileNotFoundError(f"no record results/{name}-seed….json")
    return sum(record(str(file.relative_to(RESULTS)))["history"][-1]["test_accuracy"] for file in files) / len(files)


@source("recorded")
def slowdown(work, variant):
    """How many times as long as the static MobileNetV1 a variant of it takes, by the recorded benchmark of networks."""
    [times] = (r["times"] for r in record("benchmarks/models-cpu.json")["results"] if r["work"] == work)
    return times[variant]["ms"] / times["static"]["ms"]


@source("recorded")
def row(table, name):
    """A row of a recorded table, results/tables/TABLE.json, as plain values."""
    [found] = (row for row in record(f"tables/{table}.json")["rows"] if row["name"] == name)
    return found


@source("recorded")
def premise(network, select, channels, size, first=0.0):
    """The mean R² with which readings tell a network's descriptors, by its record of redundancy: over the layers from a
    share of the depth on."""
    rows = [r for r in measured.published(network)["premise"] if r["pool"] == "avg"]
    deepest = max(r["depth"] for r in rows)
    wanted = [r for r in rows if (r["select"], r["n"], r["p"]) == (select, channels, size)]
    values = [r["mean_r2"] for r in wanted if r["depth"] > first * deepest]
    return sum(values) / len(values)


@source("recorded")
def exchanged(run, attention):
    """The recorded accuracy (%) of a run with its "own" attention, or the "mean" or "another" image's, recalibrated."""
    [row] = (r for r in record(f"{run}.json")["exchange"] if r["recalibrated"] and r["attention"] == attention)
    return 100 * row["right"] / row["images"]


@source("library")
def partnered(layer, view="pixels"):
    """The share (%) of the channels of a layer that have a partner, in the figure of the landing page."""
    return 100 * partners.partnered(view)[layer]


@source("library")
def chapters():
    """How many chapters there are."""
    return len({path.relative_to(NOTEBOOKS).parts[0][:2] for path in NOTEBOOKS.rglob("*.ipynb")})


@source("library")
def pages():
    """How many pages the chapters have."""
    return len(list(NOTEBOOKS.rglob("*.ipynb")))


@source("library")
def exercises():
    """How many exercises the chapters have."""
    return len(CHECKS | QUIZZES)


@source("library")
def networks():
    """How many architectures the library builds by name."""
    return len(list_models())


@source("library")
def looked_at(network):
    """How many images a network's record of redundancy is about."""
    return measured.published(network)["configuration"]["count"]


@source("library")
def widest(network):
    """The most channels that a layer has, of a network with a record of redundancy."""
    return max(layer["channels"] for layer in measured.published(network)["layers"])


@source("library")
def sample():
    """How many test images lie beside the weights."""
    return len(data.sample())


@source("library")
def published(folder, suffix):
    """How many files with this suffix lie below results/FOLDER."""
    return len(list((RESULTS / folder).rglob(f"*{suffix}")))


# ---- the library


@source("library")
def parameters(model, conv=None, **options):
    """How many parameters a network has; arguments as `create_model` has."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in create_model(model, conv, **options).parameters())


@source("library")
def convolution_weights(model, kind, **options):
    """The weights of a static network's "depthwise" or "pointwise" convolutions."""
    with torch.device("meta"):
        layers = [m for m in create_model(model, **options).modules() if isinstance(m, torch.nn.Conv2d)]
    of_kind = {
        "depthwise": [m for m in layers if m.groups > 1],
        "pointwise": [m for m in layers if m.kernel_size == (1, 1)],
    }
    return sum(m.weight.numel() for m in of_kind[kind])


@source("library")
def images(name, part="all"):
    """How many images a data set has: "train", "test" or all of them."""
    train, test, _ = training_runs.SIZES[name]
    return {"train": train, "test": test, "all": train + test}[part]


@source("library")
def epochs(budget):
    """How long a budget trains."""
    return BUDGETS[budget].epochs


@source("library")
def setting(name):
    """One of the settings of the reproduction: AUGMENT_FROM, TEMPERATURE, or of its recipe."""
    return training_runs.RECIPE[name] if name in training_runs.RECIPE else getattr(training_runs, name)


@source("library")
def error(accuracy, count):
    """The binomial standard error, in points, of an accuracy in percent on so many images."""
    return math.sqrt(accuracy * (100 - accuracy) / count)


@source("library")
def student(share, degrees):
    """The quantile of Student's distribution: student(0.975, 2) is 4.30."""
    from scipy import stats

    return float(stats.t.ppf(share, degrees))


@source("library")
def strategies():
    """In how many ways the library runs a dynamic convolution."""
    from eamlib.functional import STRATEGIES

    return len(STRATEGIES)


# ---- what the page has printed

KINDS["output"] = "output"


def output(file, executed, cell, row="", column=0):
    """A number that a cell of this page printed.

    Args:
        file, executed: the notebook, and the folder of those that have run.
        cell: its id.
        row: how the line, or the row of the table, begins; its numbers are those behind that.
        column: which of the numbers, from 0; negative ones count from the end.

    Raises:
        NotRun: if the page as it stands has not run.
        ValueError: if there is no such cell, row or number.
    """
    lines = _printed(file, executed, cell)
    for line in lines:
        if line.startswith(row):
            rest = line[len(row) :]
            numbers = re.findall(r"(?<![\w.])[+−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?", rest)
            if not numbers:
                continue
            number = numbers[column].replace(",", "").replace("−", "-").replace("+", "")
            return float(number) if re.search(r"[.e]", number) else int(number)
    raise ValueError(f"cell {cell} has printed no line {row!r} with a number; it printed {lines[:12]}")


def _printed(file, executed, cell):
    """The lines of a cell's outputs, of tables the rows' cells joined by blanks."""
    code = _code(file)
    if cell not in code:
        raise ValueError(f"{file.name} has no code cell {cell}")
    for path in Path(executed).glob("executed/*/base.ipynb") if executed else ():
        ran = _code(path)
        if ran.keys() == code.keys() and all(ran[id][0] == code[id][0] for id in code):
            return [line for output in ran[cell][1] for line in _lines(output)]
    raise NotRun(f"{file.name} has not run as it stands: build the book first")


def _code(notebook):
    """A notebook's code cells by id: source and outputs."""
    return _read(notebook, Path(notebook).stat().st_mtime_ns)


@cache
def _read(notebook, modified):
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    return {cell["id"]: ("".join(cell["source"]), cell["outputs"]) for cell in cells if cell["cell_type"] == "code"}


def _lines(output):
    if output["output_type"] == "stream":
        yield from "".join(output["text"]).splitlines()
        return
    data = output.get("data", {})
    if "text/html" in data:
        soup = BeautifulSoup("".join(data["text/html"]), "html.parser")
        for row in soup.find_all("tr"):
            yield " ".join(cell.get_text(strip=True) for cell in row.find_all(["th", "td"])).strip()
        return
    yield from "".join(data.get("text/plain", [])).splitlines()
