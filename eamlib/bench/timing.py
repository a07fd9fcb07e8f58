"""Times of several ways to do one thing, taken side by side, and the bounds that their ratios should keep."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from eamlib._checks import positive_int, positive_number

LEAST, MOST = 5, 60  # rounds
NUMERICS = {"tf32": False, "cudnn_benchmark": True}


@contextmanager
def same_numerics() -> Iterator[dict[str, bool]]:
    """The same rule for all that a GPU multiplies while the block runs: full float32, and of cuDNN's ways the fastest.

    Left alone PyTorch gives TF32 to convolutions and not to matrix products, so to a static layer and not to a dynamic
    one that is run as products.

    Yields:
        The rule, for the record.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32
    matmul.allow_tf32 = NUMERICS["tf32"]
    try:
        with cudnn.flags(enabled=True, benchmark=NUMERICS["cudnn_benchmark"], allow_tf32=NUMERICS["tf32"]):
            yield dict(NUMERICS)
    finally:
        matmul.allow_tf32 = before


def interleaved(
    ways: Mapping[str, Callable[[], object]], device: torch.device, seconds: float, rounds: int = MOST
) -> dict[str, dict]:
    """Time ``ways`` side by side, see :func:`in_rounds`.

    Args:
        ways: what to run, by name.
        device: on CUDA, a time ends when all the work is done.
        seconds, rounds: as :func:`in_rounds` has them.

    Returns:
        By name what :func:`summary` makes of the times.

    Raises:
        ValueError: if ``seconds`` is not above 0 or ``rounds`` is below 1.
    """
    timed = {name: partial(_timed, run, device) for name, run in ways.items()}
    return {name: summary(times) for name, times in in_rounds(timed, seconds, rounds).items()}


def in_rounds(ways: Mapping[str, Callable[[], float]], seconds: float, rounds: int = MOST) -> dict[str, list[float]]:
    """Run ``ways`` in rounds: in each, every way runs once, in a new order, so that a busy moment hits all alike.

    A first round that is not counted warms up. From the sixth counted one on, a way that has had its share of
    ``seconds`` sits out: the slow ones do not hold up the rest.

    Args:
        ways: by name, what runs and returns the seconds that count.
        seconds: to spend, on all ways together.
        rounds: at most; fewer than five also shorten the least.

    Returns:
        By name the seconds of every counted run.

    Raises:
        ValueError: if ``seconds`` is not above 0 or ``rounds`` is below 1.
    """
    share = positive_number("seconds", seconds) / len(ways)
    least = min(LEAST, positive_int("rounds", rounds))
    for run in ways.values():
        run()
    taken = {name: [] for name in ways}
    waiting, order = list(ways), random.Random(0)
    while waiting:
        order.shuffle(waiting)
        for name in waiting:
            taken[name].append(ways[name]())
        waiting = [
            name
            for name in waiting
            if len(taken[name]) < least or (len(taken[name]) < rounds and sum(taken[name]) < share)
        ]
    return taken


def _timed(run: Callable[[], object], device: torch.device) -> float:
    finish(device)
    start = time.perf_counter()
    run()
    finish(device)
    return time.perf_counter() - start


def finish(device: torch.device) -> None:
    """Wait until ``device`` has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def summary(times: list[float]) -> dict:
    """``ms`` (median), ``low`` and ``high`` (25th and 75th percentile), in milliseconds, and ``rounds``."""
    low, median, high = (1e3 * np.percentile(times, (25, 50, 75))).tolist()
    return {"ms": median, "low": low, "high": high, "rounds": len(times)}


@dataclass(frozen=True)
class Target:
    """A figure and the bound that it should keep: at most (``"≤"``) or at least (``"≥"``)."""

    what: str
    value: float
    sign: str
    bound: float

    @property
    def met(self) -> bool:
        return self.value <= self.bound if self.sign == "≤" else self.value >= self.bound

    def __str__(self) -> str:
        verdict = "met" if self.met else "not met"
        return f"  {self.what:<62}{self.value:>7.3g}   target {self.sign} {self.bound:.3g}: {verdict}"
