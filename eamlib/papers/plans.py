"""Plans: what is run, and what will count as an answer, written down and committed before the runs.

A plan is a JSON file below ``results/plans/``. It is never edited: whoever changes their mind writes another. A record
that belongs to one names it, with a digest of its text, so that no run can be called planned afterwards.
"""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eamlib._checks import number_between, one_of, positive_int, positive_number
from eamlib._extras import ADDRESS
from eamlib.papers.accuracy import TABLES, Row
from eamlib.papers.training_runs import SIZES, Plan, Unit

__all__ = ["Contrast", "Part", "Protocol", "read"]


@dataclass(frozen=True)
class Part:
    """Some rows on some image sets.

    Attributes:
        name: short.
        purpose: what it is for.
        data: image sets.
        rows: of :data:`eamlib.papers.accuracy.TABLES`, each with its table's name.
        epochs: of every run.
        seeds: runs of each row at least, from seed 0 on.
        most: runs of each row at most.
        width: of every row; None keeps the paper's.

    Example:
        >>> part = read("results/plans/attention.json").part("gate")
        >>> part.data[0], part.seeds, [row.title for _, row in part.rows]
        ('cifar100', 2, ['DyNet (Ding)'])
    """

    name: str
    purpose: str
    data: tuple[str, ...]
    rows: tuple[tuple[str, Row], ...]
    epochs: int
    seeds: int
    most: int
    width: float | None

    def plan(self, data: str, seeds: int | None = None) -> Plan:
        """How much is run on one of its image sets; None takes the most seeds."""
        return Plan("laptop", data, self.epochs, self.most if seeds is None else seeds, self.width)

    def units(self, seeds: int | None = None) -> list[Unit]:
        """Its runs, set by set, and seed by seed; None takes as many seeds as must be."""
        seeds = self.seeds if seeds is None else min(seeds, self.most)
        return [unit for data in self.data for unit in self.plan(data, seeds).units(row for _, row in self.rows)]


@dataclass(frozen=True)
class Contrast:
    """A comparison that the plan promises: the accuracy of one row less that of another, seed by seed.

    Attributes:
        name: short.
        table: of both rows.
        first, second: names of the rows.
        of_attentions: whether it compares attentions, so that it needs data where attention matters.

    Example:
        >>> Contrast("RCR – DyNet", "attention", "eam-rcr", "dynamic", of_attentions=True).second
        'dynamic'
    """

    name: str
    table: str
    first: str
    second: str
    of_attentions: bool


@dataclass(frozen=True)
class Protocol:
    """A plan.

    Attributes:
        name: of its file.
        digest: of its text, which a record of a planned run repeats.
        question: what it is to answer.
        parts: in the order in which time is spent.
        contrasts: what is compared.
        margin: points, within which two rows count as equal.
        gate: points that exchanging the attention must cost, or attentions are not compared on that image set.
        rules: stopping rule, analysis, and what counts as settled, in words.

    Example:
        >>> protocol = read("results/plans/attention.json")
        >>> [contrast.name for contrast in protocol.contrasts], protocol.margin
        (['DyNet – static', 'DyNet – placebo', 'RCR – DyNet', 'CGR – DyNet'], 0.25)
    """

    name: str
    digest: str
    question: str
    parts: tuple[Part, ...]
    contrasts: tuple[Contrast, ...]
    margin: float
    gate: float
    rules: dict[str, str]

    def part(self, name: str) -> Part:
        """The part called ``name``.

        Raises:
            ValueError: if there is none.
        """
        return {part.name: part for part in self.parts}[one_of("--part", name, (part.name for part in self.parts))]

    def units(self, parts: tuple[str, ...] = (), seeds: int | None = None) -> list[Unit]:
        """The runs of some parts, or of all, each once, in the order in which time is spent."""
        chosen = [self.part(name) for name in parts] or self.parts
        return list(dict.fromkeys(unit for part in chosen for unit in part.units(seeds)))

    @property
    def possible(self) -> list[Unit]:
        """Every run that belongs to it, the least and what may follow, each once."""
        return list(dict.fromkeys(unit for part in self.parts for unit in part.units(part.most)))

    @property
    def note(self) -> dict[str, str]:
        """What a record of a planned run says of its plan."""
        return {"name": self.name, "digest": self.digest}

    def refuse_unplanned(self, unit: Unit) -> None:
        """Raise a ``ValueError`` if ``unit`` is no run of this plan."""
        if unit not in self.possible:
            raise ValueError(f"{unit.data}/{unit.name} is not in plan {self.name}; allowed are the runs that it lists.")

    def records(self, results: str | Path) -> Iterator[tuple[Unit, dict]]:
        """The plan's runs that have a record which names this very plan."""
        for unit in self.possible:
            record = unit.record(results)
            if record is not None and record.get("plan") == self.note:
                yield unit, record


def read(path: str | Path) -> Protocol:
    """Read a plan.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: with the file's name, if it is no plan: a name in it is unknown, a number out of its range, or
            something is missing.

    Example:
        >>> protocol = read("results/plans/attention.json")
        >>> len(protocol.units(("gate",)))  # one row, four image sets, two seeds
        8
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"plan = '{path}' is no file. Plans and records come with the repository: begin in a clone of {ADDRESS}."
        )
    text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text)
        contrasts = tuple(Contrast(**contrast) for contrast in content["contrasts"])
        for contrast in contrasts:
            table = TABLES[one_of("table", contrast.table, TABLES)]
            table.row(contrast.first), table.row(contrast.second)
        return Protocol(
            path.stem,
            hashlib.sha256(text.encode()).hexdigest()[:16],
            content["question"],
            tuple(_part(**part) for part in content["parts"]),
            contrasts,
            positive_number("margin", content["margin"]),
            positive_number("gate", content["gate"]),
            dict(content["rules"]),
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no plan: {error}.") from error
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is no plan: {error.args[0]} is missing or unknown.") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def refuse_uncommitted(path: str | Path) -> None:
    """Raise a ``ValueError`` if a plan lies in a checkout and is not committed as it is."""
    path = Path(path).absolute()
    try:
        git = functools.partial(subprocess.run, cwd=path.parent, capture_output=True, check=False)
        if git(["git", "rev-parse", "--git-dir"]).returncode:
            return
        committed = git(["git", "show", f"HEAD:./{path.name}"])
    except OSError:  # no git
        return
    if committed.returncode or committed.stdout != path.read_bytes():
        raise ValueError(f"{path} is not committed as it is; a plan comes before its runs. Commit it first.")


def _part(
    name: str, purpose: str, data: list[str], rows: list[str], epochs: int, seeds: int, most: int, width: float | None
) -> Part:
    found = []
    for of_row in rows:
        table, _, row = of_row.partition("/")
        found.append((table, TABLES[one_of("table", table, TABLES)].row(row)))
    return Part(
        name,
        purpose,
        tuple(one_of("data", name, SIZES) for name in data),
        tuple(found),
        positive_int("epochs", epochs),
        positive_int("seeds", seeds),
        int(number_between("most", positive_int("most", most), seeds, float("inf"))),
        None if width is None else positive_number("width", width),
    )
