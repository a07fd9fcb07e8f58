"""The training runs of a reproduction, each named by everything that tells it from another.

Rows of several tables may be the same network. It is trained once: a run belongs to a configuration, not to a row.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from eamlib import data
from eamlib._budget import BUDGETS, budget
from eamlib._checks import differences, one_of, positive_int, positive_number
from eamlib.data import imagenet
from eamlib.data.augmentation import augment
from eamlib.models import create_model
from eamlib.papers import records
from eamlib.papers.accuracy import OTHERWISE, Row
from eamlib.training.recipe import PRECISIONS

# How every row is trained. Neither paper's recipe for its images is in the text that we hold: these are the usual
# values for CIFAR.
RECIPE = {"batch_size": 128, "learning_rate": 0.1, "weight_decay": 5e-4, "label_smoothing": 0.1}
# Crops and flips (data.AUGMENTATIONS) from this many epochs on; images on disk are always cropped and mirrored. In a
# shorter run they cost more than they bring: more than a point in 5 epochs of Fashion-MNIST
# (results/tables/tricks-fashion_mnist-laptop.md).
AUGMENT_FROM = 20
TEMPERATURE = 30.0  # at the start, of rows with a kernel attention (Chen et al. 2020, section 3.2)

# Training images, test images, classes: so that a plan can be made before anything is downloaded.
SIZES = {
    "digits": (1_433, 364, 10),
    "fashion_mnist": (60_000, 10_000, 10),
    "cifar10": (50_000, 10_000, 10),
    "cifar100": (50_000, 10_000, 100),
    "tiny_imagenet": (100_000, 10_000, 200),
    "tiny_imagenet_100": (50_000, 5_000, 100),
    "imagenet100": (126_689, 5_000, 100),  # with the list of classes that comes with the library
}
# An option's part of a run's name.
_PARTS = {
    "channels": "n{}",
    "output_size": "p{}",
    "pool": "{}pool",
    "group_size": "g{}",
    "expand_first": "expand",
}


@dataclass(frozen=True)
class Unit:
    """One training run.

    Attributes:
        model, conv, width_mult, options: the network, for :func:`eamlib.create_model`; ``options`` in a fixed order.
        data: name of an image set.
        epochs: passes over its training images.
        seed: of weights, RCR's draw, order and augmentation.
        changes: what differs from the usual recipe; in a fixed order.

    Example:
        >>> from eamlib.papers.accuracy import TABLES
        >>> unit = plan("smoke", width=0.25).unit(TABLES["channels"].row("n2"), seed=0)
        >>> unit.name, str(unit.path("results"))
        ('mobilenet_v1-x0.25-eam-rcr-n2-e6-seed0', 'results/digits/mobilenet_v1-x0.25-eam-rcr-n2-e6-seed0.json')
    """

    model: str
    conv: str
    width_mult: float
    options: tuple[tuple[str, object], ...]
    data: str
    epochs: int
    seed: int
    changes: tuple[tuple[str, object], ...] = ()

    @classmethod
    def of(cls, configuration: dict) -> Unit:
        """The unit with this configuration."""
        plain = {name: configuration[name] for name in cls.__dataclass_fields__ if name in configuration}
        mappings = {name: tuple(sorted(configuration.get(name, {}).items())) for name in ("options", "changes")}
        return cls(**plain | mappings)

    @property
    def network(self) -> str:
        """The network's part of the name, ``mobilenet_v1-x0.25-eam-rcr-n2``."""
        parts = [self.model, f"x{self.width_mult:g}", self.conv]
        return "-".join(parts + [_PARTS[option].format(value) for option, value in self.options])

    @property
    def variant(self) -> str:
        """The network and the changes of its recipe, ``mobilenet_v1-x0.25-static-no_momentum``."""
        return "-".join([self.network, *(f"{name}_{value}" if value else f"no_{name}" for name, value in self.changes)])

    @property
    def name(self) -> str:
        """Such as ``mobilenet_v1-x0.25-eam-rcr-n2-e30-seed0``; no two units of one data set share it."""
        return f"{self.variant}-e{self.epochs}-seed{self.seed}"

    @property
    def precision(self) -> str:
        """Of :class:`eamlib.training.recipe.Recipe`."""
        return dict(self.changes).get("precision", "float32")

    @property
    def recipe(self) -> dict:
        """The keyword arguments of :func:`eamlib.training.fit` that the result depends on."""
        recipe = self._plain_recipe
        shifts = recipe["augment"]
        # Images on disk are cropped and mirrored while they are read.
        in_memory = shifts is not None and self.data in data.IN_MEMORY
        return recipe | {"augment": functools.partial(augment, **shifts) if in_memory else None}

    @property
    def configuration(self) -> dict:
        """Everything that the result depends on, as a record holds it."""
        network = {"model": self.model, "conv": self.conv, "width_mult": self.width_mult, "options": dict(self.options)}
        changes = {"changes": dict(self.changes)} if self.changes else {}
        place = {"stem_stride": data.STEM_STRIDES[self.data], "data": self.data}
        return network | place | self._plain_recipe | changes

    @property
    def _plain_recipe(self) -> dict:
        """With the augmentation's arguments for the augmentation."""
        changes = dict(self.changes)
        augmented = (self.epochs >= AUGMENT_FROM) != (changes.pop("augment", None) == OTHERWISE)
        if self.data in data.IN_MEMORY:
            shifts = data.AUGMENTATIONS[self.data] if augmented else None
        else:
            shifts = imagenet.AUGMENTATION
        return {
            "epochs": self.epochs,
            **RECIPE,
            "temperature": TEMPERATURE if self.conv == "dynamic" or self.conv.startswith("eam-") else None,
            "augment": shifts,
            "seed": self.seed,
            **changes,
        }

    def build(self) -> nn.Module:
        """The network, with fresh weights."""
        return create_model(self.model, self.conv, **self.arguments)

    @property
    def arguments(self) -> dict:
        """The keyword arguments of :func:`eamlib.create_model`."""
        return {
            "num_classes": SIZES[self.data][2],
            "width_mult": self.width_mult,
            "stem_stride": data.STEM_STRIDES[self.data],
            **dict(self.options),
        }

    def path(self, results: str | Path) -> Path:
        """Where its record lies."""
        return Path(results) / self.data / f"{self.name}.json"

    def record(self, results: str | Path) -> dict | None:
        """Its record; None while there is none.

        Raises:
            ValueError: if what lies there is of another configuration, or not the record of a whole run.
        """
        path = self.path(results)
        if not path.exists():
            return None
        record = records.read_run(path)
        if found := differences(self.configuration, record["configuration"]):
            raise ValueError(f"{path} records another run: {found}. Move it away, or name another --results.")
        return record


@dataclass(frozen=True)
class Plan:
    """How much of a paper is to be done.

    Attributes:
        budget: the effort, by name, which sets data and epochs unless they are given.
        data: name of the image set, for all rows.
        epochs: of all rows.
        seeds: runs of each row, from seed 0 on.
        width: the width multiplier of all rows; None keeps the paper's.
        precision: of all rows.

    Example:
        >>> from eamlib.papers.accuracy import TABLES
        >>> units = plan("smoke", width=0.25, seeds=2).units(TABLES["pooling"].rows)
        >>> len(units), units[0].name  # three rows, two seeds
        (6, 'mobilenet_v1-x0.25-dynamic-e6-seed0')
    """

    budget: str
    data: str
    epochs: int
    seeds: int = 3
    width: float | None = None
    precision: str = "float32"

    def unit(self, row: Row, seed: int) -> Unit:
        """The run of a row."""
        width = row.width_mult if self.width is None else self.width
        precision = {} if self.precision == "float32" else {"precision": self.precision}
        options, changes = (tuple(sorted(mapping.items())) for mapping in (row.options, precision | dict(row.changes)))
        return Unit(row.network, row.conv, width, options, self.data, self.epochs, seed, changes)

    def units(self, rows: Iterable[Row]) -> list[Unit]:
        """The runs of ``rows``, each once, seed by seed: all rows can soon be compared."""
        rows = tuple(rows)
        return list(dict.fromkeys(self.unit(row, seed) for seed in range(self.seeds) for row in rows))

    @property
    def label(self) -> str:
        """``digits-smoke``, say; what is not the budget's is added, as in ``digits-smoke-x0.25-e2``."""
        width = "" if self.width is None else f"-x{self.width:g}"
        epochs = "" if self.epochs == BUDGETS[self.budget].epochs else f"-e{self.epochs}"
        precision = "" if self.precision == "float32" else f"-{self.precision}"
        return f"{self.data}-{self.budget}{width}{epochs}{precision}"


def plan(
    budget_name: str | None = None,
    *,
    data_name: str | None = None,
    epochs: int | None = None,
    seeds: int = 3,
    width: float | None = None,
    precision: str = "float32",
) -> Plan:
    """A plan; None takes the budget's value, or the paper's.

    Raises:
        ValueError: if a name is unknown or a number is out of its range.

    Example:
        >>> wanted = plan("smoke", width=0.25, epochs=2)
        >>> wanted.data, wanted.epochs, wanted.label
        ('digits', 2, 'digits-smoke-x0.25-e2')
    """
    effort = budget(budget_name)
    return Plan(
        budget=effort.name,
        data=one_of("--data", data_name or effort.dataset, SIZES),
        epochs=positive_int("--epochs", effort.epochs if epochs is None else epochs),
        seeds=positive_int("--seeds", seeds),
        width=None if width is None else positive_number("--width", width),
        precision=one_of("--precision", precision, PRECISIONS),
    )


def shard(units: list[Unit], part: str) -> list[Unit]:
    """Share i of n of the units: every n-th from the i-th on. The n shares together are all units, each once.

    Args:
        part: ``"i/n"``, i from 1 to n.

    Raises:
        ValueError: if it has another form.

    Example:
        >>> from eamlib.papers.accuracy import TABLES
        >>> units = plan("smoke", width=0.25, seeds=5).units(TABLES["pooling"].rows)
        >>> [len(shard(units, part)) for part in ("1/3", "2/3", "3/3")]
        [5, 5, 5]
    """
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", part)
    if not match or int(match[1]) > int(match[2]):
        raise ValueError(f"--shard = {part!r} must be i/n with i from 1 to n: 1/4, 2/4, 3/4 and 4/4 share the work.")
    return units[int(match[1]) - 1 :: int(match[2])]


def check(units: Iterable[Unit]) -> None:
    """Build every distinct network on the meta device.

    Raises:
        ValueError: if a network does not exist at its width, or its run changes an augmentation that is always on.

    Example:
        >>> from eamlib.papers.accuracy import TABLES
        >>> check(plan("smoke", width=0.001).units(TABLES["pooling"].rows))
        Traceback (most recent call last):
            ...
        ValueError: mobilenet_v1-x0.001-dynamic cannot be built: width_mult = 0.001 leaves a layer of 32 channels ...
    """
    units = tuple(units)
    for unit in units:
        if unit.data not in data.IN_MEMORY and "augment" in dict(unit.changes):
            raise ValueError(f"{unit.name} changes the augmentation, and that of {unit.data} is always on.")
    for unit in {unit.network: unit for unit in units}.values():
        try:
            with torch.device("meta"):
                unit.build()
        except ValueError as error:
            raise ValueError(f"{unit.network} cannot be built: {error}") from error
