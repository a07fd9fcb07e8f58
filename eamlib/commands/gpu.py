"""Ask a GPU everything in one call of a few minutes: tests, benchmarks, trainings, and runs of the plan.

The parts follow one another, each within its share of the time. What a part prints goes to DIR/NAME.txt, and its record
to DIR/NAME.json, which names the GPU. Last, several processes side by side train runs of the plan until the time is
over. A part that ended is not run again, and the plan's runs go on after their last finished epoch: repeat the same
command as often as you like. Nothing here needs fvcore or Jupyter.

Begin in a clone of the book, with the images under EAMLIB_DATA. --dry-run shows the parts, --check says whether the
records are sound: CONTRIBUTING.md says how to send them.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path

from eamlib._checks import positive_int, positive_number
from eamlib.commands import option, shared

LESS_MEMORY = "Lower --processes."
_CLEAN_UP = 10.0  # seconds that a part which is stopped has to end


@dataclass(frozen=True)
class Part:
    """What is run, ``python ARGUMENTS``, and its share of the time."""

    name: str
    share: float
    arguments: tuple[str, ...]


def arguments(parser: ArgumentParser) -> None:
    option(parser, "--out", "folder of what comes out", "gpu", metavar="DIR")
    option(parser, "--minutes", "for all of it", 9.0, type=float)
    option(parser, "--processes", "trainings side by side", 4, type=int)
    option(parser, "--dry-run", "run nothing: show the parts and their minutes", action="store_true")
    option(parser, "--check", "run nothing: read every record in the folder", action="store_true")
    shared(parser, "--device")


def run(options: Namespace) -> None:
    minutes, processes = positive_number("--minutes", options.minutes), positive_int("--processes", options.processes)
    out = Path(options.out).absolute()
    if options.check:
        _check(out)
        return
    if options.dry_run:
        for part in parts(out, options.device or "cuda", processes):
            print(f"{part.name:<12}{minutes * part.share:5.1f} min  python {shlex.join(part.arguments)}")
        return
    from eamlib.training.loop import pick_device

    device = pick_device(options.device)
    out.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    todo = parts(out, str(device), processes)
    last = [part for part in todo if part.name.startswith("plan")]
    for part in todo:
        if part in last:
            continue
        if (out / f"{part.name}.txt").exists():
            print(f"{part.name}: done before")
            continue
        left = 60 * minutes - (time.monotonic() - begun) - _CLEAN_UP
        _report(out, [part], _together(out, [part], min(left, 60 * minutes * part.share)))
    _report(out, last, _together(out, last, 60 * minutes - (time.monotonic() - begun) - _CLEAN_UP))


def parts(out: Path, device: str, processes: int) -> list[Part]:
    """All of them, in order; the plan's have no share but what is left."""
    name = _images()
    shared = ("--device", device)

    def bench(what: str) -> tuple[str, ...]:
        return "-m", "eamlib", "bench", what, *shared, "--json", str(out / f"{what}.json")

    def training(conv: str, *more: str) -> tuple[str, ...]:
        command = "-m", "eamlib", "train", "mobilenet_v1", "--conv", conv, "--data", name, "--width", "1"
        more = "--batch-size", "512", "--epochs", "2", "--channels-last", *more
        return *command, *more, *shared, "--json", str(out / f"train-{conv}.json")

    tests = "-m", "pytest", "-q", "-m", "cuda", "--continue-on-collection-errors", "--ignore", "tests/book", "tests"
    plan = "-m", "eamlib", "reproduce", "plan", "--results", str(out / "results"), "--work", str(out / "runs")
    return [
        Part("tests", 0.15, tests),
        Part("layers", 0.12, bench("layers")),
        Part("models", 0.08, bench("models")),
        Part("train", 0.15, bench("train")),
        Part("train-static", 0.05, training("static", "--precision", "fp16")),
        Part("train-eam-rcr", 0.05, training("eam-rcr", "--precision", "fp16")),
        *(
            Part(f"plan-{i}", 0.4, (*plan, "--channels-last", "--keep", *shared, "--shard", f"{i}/{processes}"))
            for i in range(1, processes + 1)
        ),
    ]


def _images() -> str:
    """The largest set of small images that is there."""
    from eamlib import data

    for name in ("cifar10", "fashion_mnist"):
        try:
            data.load(name, train=False, download=False)
            return name
        except (FileNotFoundError, ModuleNotFoundError):
            continue
    return "digits"


def _together(out: Path, parts: list[Part], seconds: float) -> list[int | None]:
    """Run parts side by side, and return the exit status of each; None where its time was over."""
    end = time.monotonic() + max(0.0, seconds)
    running = []
    for part in parts:
        with (out / f"{part.name}.log").open("w", encoding="utf-8") as log:
            command = [sys.executable, *part.arguments]
            running.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True))
    states: list[int | None] = []
    for process in running:
        try:
            states.append(process.wait(max(0.0, end - time.monotonic())))
        except subprocess.TimeoutExpired:
            states.append(None)
    for process in running:
        _stop(process)
    return states


def _stop(process: subprocess.Popen) -> None:
    """End a process and those that it has started; a training has its checkpoint of the last epoch."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, sign)
        try:
            process.wait(_CLEAN_UP / 2)
        except subprocess.TimeoutExpired:
            continue


def _report(out: Path, parts: list[Part], states: list[int | None]) -> None:
    for part, state in zip(parts, states, strict=True):
        log = out / f"{part.name}.log"
        if state is None:
            print(f"{part.name}: its time is over; the same command goes on. So far: {log}", flush=True)
            continue
        log = log.replace(out / f"{part.name}.txt")
        print(f"{part.name}: {'ended' if state == 0 else f'exit status {state}'}; {log}", flush=True)


def _check(out: Path) -> None:
    from eamlib.bench import BENCHES
    from eamlib.papers import records

    found = sorted(out.rglob("*.json"))
    if not found:
        raise FileNotFoundError(f"--out = '{out}' holds no record.")
    for path in found:
        record = records.read(path)
        try:
            if "history" in record:
                records.read_run(path)
            else:
                for result in record["results"]:
                    list(BENCHES[record["configuration"]["bench"]].lines(result))
            print(f"{path.relative_to(out)}: sound, of {record['device']}")
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is not sound: {error!r} is missing or of another kind.") from error
