"""How far a reproduction is, and the minutes that the rest of it takes here."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from eamlib._checks import one_of
from eamlib.data.sets import INPUT_SIZES
from eamlib.papers import records
from eamlib.papers.accuracy import Row
from eamlib.papers.training_runs import RECIPE, SIZES, Plan, Unit
from eamlib.training.loop import seed_everything
from eamlib.training.recipe import Recipe
from eamlib.training.run import HISTORY

IMAGES_TIMED = {32: 32, 224: 8}  # by their size, on a CPU, where a whole batch would take seconds


@dataclass(frozen=True)
class Progress:
    """How far a row is.

    Attributes:
        row: of the table.
        units: its runs.
        done: how many of them have their record.
        epochs_left: of the others together; what their checkpoints hold is done.
        minutes: what these take here; 0 where nothing is left.
        measured: whether that comes from records of this device; else from one training step, timed now.
    """

    row: Row
    units: tuple[Unit, ...]
    done: int
    epochs_left: int
    minutes: float
    measured: bool


class Forecast:
    """Looks up or measures what an epoch takes, each distinct variant of a network once.

    Args:
        results, work: the folders of :func:`eamlib.papers.reproduce.run_unit`.
        device: where the rest is to be trained.
        how: how it is to be run, as in :func:`~eamlib.papers.reproduce.run_unit`; records of runs that were run
            otherwise do not count.
    """

    def __init__(self, results: str | Path, work: str | Path, device: torch.device, **how):
        self.results, self.work, self.device, self.how = Path(results), Path(work), device, how
        self._name = records.device_name(device)
        self._known: dict[str, tuple[float, bool]] = {}

    def rows(self, plan: Plan, rows: Iterable[Row], share: Iterable[Unit]) -> Iterator[Progress]:
        """The progress of each row of which there is a unit in ``share``, one after another."""
        share = set(share)
        for row in rows:
            units = [unit for seed in range(plan.seeds) if (unit := plan.unit(row, seed)) in share]
            if units:
                left = {unit: self.epochs_left(unit) for unit in units}
                epochs = sum(left.values())
                seconds, measured = self.an_epoch(units[0]) if epochs else (0.0, True)
                done = sum(unit.record(self.results) is not None for unit in units)
                yield Progress(row, tuple(units), done, epochs, epochs * seconds / 60, measured)

    def epochs_left(self, unit: Unit) -> int:
        """Epochs that are neither in a record nor in a checkpoint."""
        if unit.record(self.results) is not None:
            return 0
        history = self.work / unit.data / unit.name / HISTORY
        return unit.epochs - (history.read_text().count("\n") if history.exists() else 0)

    def an_epoch(self, unit: Unit) -> tuple[float, bool]:
        """Seconds of an epoch, and whether they come from records of this device."""
        if unit.variant not in self._known:
            found = [
                line["seconds"]
                for path in sorted((self.results / unit.data).glob(f"{unit.variant}-e[0-9]*-seed*.json"))
                if (record := records.read_run(path))["device"] == self._name and record.get("how", {}) == self.how
                for line in record["history"]
            ]
            self._known[unit.variant] = (median(found), True) if found else (self._timed(unit), False)
        return self._known[unit.variant]

    def _timed(self, unit: Unit) -> float:
        """Of the network alone, not compiled: images are decoded at the same time, where there are cores enough."""
        train, test, classes = SIZES[one_of("data", unit.data, SIZES)]
        size = INPUT_SIZES[unit.data]
        batch = RECIPE["batch_size"] if self.device.type == "cuda" else IMAGES_TIMED[size]
        seed_everything(0)
        model = unit.build().to(self.device)
        recipe = Recipe(**unit.recipe)
        optimizer = recipe.optimizer(model)
        images = torch.randn(batch, 3, size, size, device=self.device)
        labels = torch.randint(classes, (batch,), device=self.device)
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(recipe.precision)

        def step() -> float:
            start = time.perf_counter()
            with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
                loss = torch.nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            return time.perf_counter() - start

        step()  # the first one warms up
        # Backward takes about twice as long as forward, and of a test image there is no backward.
        return min(step(), step()) / batch * (train + test / 3)
