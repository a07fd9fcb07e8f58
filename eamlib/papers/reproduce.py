"""Train what a table needs, run by run. Any run may be interrupted, and any may be done elsewhere.

``results`` takes one record per run, and a run that has its record is never done again. ``work`` takes checkpoints
while a run is under way, and its lock (:mod:`eamlib.training.lock`). Several machines may share both folders.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

import torch
from torch import nn

from eamlib import data
from eamlib._checks import one_of
from eamlib._extras import need
from eamlib.papers import records
from eamlib.papers.plans import Protocol
from eamlib.papers.training_runs import Unit
from eamlib.training.batches import check_workers
from eamlib.training.exchanged import exchange
from eamlib.training.lock import Busy, hold
from eamlib.training.loop import check_precision, fit, pick_device, pixel_statistics, right_answers, seed_everything

__all__ = ["Outcome", "reproduce", "run_unit"]


@dataclass(frozen=True)
class Outcome:
    """What became of a unit: ``state`` is "trained", "done" (before), "busy" (elsewhere) or "diverged".

    Example:
        >>> from eamlib.papers.accuracy import TABLES
        >>> from eamlib.papers.training_runs import plan
        >>> Outcome(plan("smoke").unit(TABLES["pooling"].row("avg"), seed=0), "busy", "held by another process").state
        'busy'
    """

    unit: Unit
    state: str
    message: str


def run_unit(
    unit: Unit,
    *,
    results: str | Path,
    work: str | Path,
    device: torch.device | str | None = None,
    keep: bool = False,
    progress: bool = True,
    plan: Protocol | None = None,
    **how,
) -> Outcome:
    """Train a unit, or finish what was begun, and write its record.

    Args:
        unit: what to train.
        results: folder of the records; this one's is :meth:`eamlib.papers.training_runs.Unit.path`.
        work: folder for checkpoints and locks.
        device: None takes CUDA where there is one.
        keep: leave the last two checkpoints where they are.
        progress: show a bar.
        plan: the plan that the run belongs to, which its record then names.
        how: ``compile``, ``channels_last`` and ``workers`` of :func:`eamlib.training.fit`, where not the default.

    The record has ``configuration``, ``plan`` (if given), ``history`` (:func:`eamlib.training.fit`), ``images`` (of
    training and test), ``answers`` (which test images are classified correctly: :func:`eamlib.papers.records.pack`),
    ``exchange`` (of networks with a kernel attention on images in memory: :func:`eamlib.training.exchanged.exchange`),
    ``images_per_second`` (training images, over training and test), ``how`` (if given) and
    :func:`eamlib.papers.records.provenance`, of the process that finished the run.

    Raises:
        ValueError: if there is a record or a checkpoint of another configuration, the record is not of a whole run, or
            the run is not in ``plan``.
        FileNotFoundError: if the data are missing.
        OSError: if nothing can be written, before the first step where that shows by then; what was kept stays.

    Example:
        >>> from eamlib.papers.accuracy import TABLES
        >>> from eamlib.papers.training_runs import plan
        >>> unit = plan("smoke", width=0.25).unit(TABLES["tricks"].row("all"), seed=0)
        >>> run_unit(unit, results="results", work="runs").state  # before now: its record comes with the book
        'done'
    """
    if plan is not None:
        plan.refuse_unplanned(unit)
    folder = Path(work).absolute() / unit.data / unit.name
    path = unit.path(Path(results).absolute())
    try:
        with hold(folder.with_name(f"{unit.name}.lock")):
            record = unit.record(results)
            if record is not None:
                return Outcome(unit, "done", _accuracy(record))
            path.parent.mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=path.parent).close()  # a folder that cannot be written to says so before the first step
            where = records.provenance(pick_device(device), "scipy")
            train, test = data.load(unit.data), data.load(unit.data, train=False)
            seed_everything(unit.seed)
            place = {"device": device, "folder": folder, "progress": progress}
            model = unit.build()
            history = fit(model, train, test, **place, **how, **unit.recipe)
            seconds = sum(line["seconds"] for line in history)
            record = {
                "configuration": unit.configuration,
                **({"plan": plan.note} if plan else {}),
                "history": history,
                "images": {"train": len(train), "test": len(test)},
                **_examined(unit, model, train, test),
                "images_per_second": round(len(train) * len(history) / seconds, 1),
                **({"how": how} if how else {}),
                **where,
            }
            state = "trained"
            try:
                records.write(record, path)
            except FileExistsError:  # another was faster, with checkpoints elsewhere
                state, record = "done", unit.record(results)
            if not keep:
                shutil.rmtree(folder)
            return Outcome(unit, state, _accuracy(record))
    except Busy as busy:
        return Outcome(unit, "busy", str(busy))
    except FloatingPointError as error:
        return Outcome(unit, "diverged", str(error))


def _examined(unit: Unit, model: nn.Module, train, test) -> dict:
    """What the trained network answers, image by image, and what it loses where its attention is exchanged."""
    mean, std = pixel_statistics(train)
    answers = {"answers": records.pack(right_answers(model, test, mean=mean, std=std))}
    if unit.recipe["temperature"] is None or unit.data not in data.IN_MEMORY:
        return answers
    return answers | {"exchange": [vars(one) for one in exchange(model, test, train)]}


def _accuracy(record: dict) -> str:
    return f"{record['history'][-1]['test_accuracy']:.2f} %"


def on_ray(units: Sequence[Unit], run: Callable[[Unit], Outcome]) -> Iterator[Outcome]:
    """Run the units on a Ray cluster: that of ``RAY_ADDRESS``, or one that runs here, else this machine alone.

    A unit takes a GPU where this process sees one, else as many cores as this process has threads. Every machine needs
    this library, the data, and the folders of results and work under the same paths.

    Raises:
        ModuleNotFoundError: if Ray is not installed.
    """
    need("ray", "ray")
    import ray

    ours = not ray.is_initialized()
    if ours:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told without being asked
        ray.init()
    try:

        @ray.remote(num_cpus=torch.get_num_threads(), num_gpus=int(torch.cuda.is_available()))
        def on_a_worker(unit: Unit) -> Outcome:
            return run(unit)

        waiting = [on_a_worker.remote(unit) for unit in units]
        while waiting:
            [ready], waiting = ray.wait(waiting)
            yield ray.get(ready)
    finally:
        if ours:
            ray.shutdown()


def reproduce(
    units: Iterable[Unit],
    *,
    results: str | Path = "results",
    work: str | Path = "runs",
    device: torch.device | str | None = None,
    engine: str = "local",
    keep: bool = False,
    progress: bool = True,
    plan: Protocol | None = None,
    **how,
) -> Iterator[Outcome]:
    """Train those units that have no record yet, and yield what became of each as it ends.

    Args:
        units: of a :class:`eamlib.papers.training_runs.Plan`, or a share of them.
        engine: ``"local"``, one after another, or ``"ray"``, over a cluster.
        results, work, device, keep, progress, plan, how: as in :func:`run_unit`.

    Raises:
        ValueError: if ``engine`` is unknown, there is no such device, it cannot train in a unit's precision,
            ``workers`` is out of its range or not for a unit's data, a record belongs to another configuration or is
            not of a whole run, or a launcher has started several processes, each of which would train the same units.
            Nothing is written then.
        ModuleNotFoundError: if a package of the engine or of the tables is missing.

    Example:
        >>> from eamlib.papers.accuracy import TABLES
        >>> from eamlib.papers.training_runs import plan
        >>> units = plan("smoke", width=0.25, seeds=2).units([TABLES["tricks"].row("all")])
        >>> list(reproduce(units))  # both are recorded under results/, and none is left to train
        []
    """
    need("reproduce", "scipy", "tqdm")  # the tables, too: hours later would be late
    one_of("--engine", engine, ("local", "ray"))
    here, units = pick_device(device), list(units)
    for unit in units:
        check_precision(unit.precision, here)
        check_workers(how.get("workers"), unit.data, on_disk=unit.data not in data.IN_MEMORY)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("WORLD_SIZE is above 1: a run takes one process. Spread the runs with --shard i/n instead.")
    units = [unit for unit in units if unit.record(results) is None]
    run = partial(
        run_unit,
        results=Path(results).absolute(),
        work=Path(work).absolute(),
        device=device,
        keep=keep,
        progress=progress and engine == "local",
        plan=plan,
        **how,
    )
    return on_ray(units, run) if engine == "ray" else map(run, units)
