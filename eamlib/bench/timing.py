"""Times of several ways to do one thing, taken side by side, and what a device reaches at best.

Every time in the book and in its benchmarks is taken by :func:`interleaved`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from eamlib._checks import positive_int, positive_number

__all__ = ["Ceilings", "ceilings", "interleaved"]

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
    ways: Mapping[Hashable, Callable[[], object]],
    device: torch.device | str = "cpu",
    seconds: float | None = None,
    rounds: int = MOST,
    *,
    threads: int | None = None,
) -> dict[Hashable, dict[str, float]]:
    """Time ``ways`` in rounds: in each, every way runs once, in a new order, so that a busy moment hits all alike.

    A first round that is not counted warms up. From the sixth counted round on, a way that has had its share of
    ``seconds`` sits out, so that the slow ones do not hold up the rest.

    Args:
        ways: what to run, by name.
        device: on CUDA, a time ends when all the work is done.
        seconds: to spend, on all ways together; None runs all rounds.
        rounds: at most; fewer than five also shorten the least.
        threads: of the CPU meanwhile; None leaves them as they are.

    Returns:
        By name, in milliseconds, the ``least`` time, which other work on the machine can only lengthen; ``ms``, the
        median; ``low`` and ``high``, the quartiles; and the ``rounds`` that were counted.

    Raises:
        ValueError: if ``seconds`` is not above 0, or ``rounds`` or ``threads`` is below 1.

    Example:
        >>> x = torch.randn(100, 100)
        >>> times = interleaved({"product": lambda: x @ x, "sum": lambda: x + x}, rounds=9, threads=1)
        >>> list(times), times["sum"]["rounds"]
        (['product', 'sum'], 9)
        >>> times["sum"]["least"] <= times["sum"]["low"] <= times["sum"]["ms"]
        True
    """
    timed = {name: partial(_timed, run, torch.device(device)) for name, run in ways.items()}
    with _threads(threads):
        return {name: summary(times) for name, times in in_rounds(timed, seconds, rounds).items()}


def in_rounds(
    ways: Mapping[Hashable, Callable[[], float]], seconds: float | None = None, rounds: int = MOST
) -> dict[Hashable, list[float]]:
    """The seconds of every counted run, by name, of ways that return their own; else as :func:`interleaved`."""
    share = float("inf") if seconds is None else positive_number("seconds", seconds) / len(ways)
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


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else positive_int("threads", count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    """What :func:`interleaved` returns of the seconds of one way."""
    least, low, median, high = (1e3 * np.percentile(times, (0, 25, 50, 75))).tolist()
    return {"least": least, "ms": median, "low": low, "high": high, "rounds": len(times)}


@dataclass(frozen=True)
class Ceilings:
    """What a device reaches at best, as :func:`ceilings` measures it.

    Attributes:
        macs: π, multiply-adds per second.
        bytes: β, bytes per second, each byte counted when it is read and when it is written.
        call: seconds that one call of a convolution takes, however little it has to do.

    Example:
        >>> Ceilings(macs=100e9, bytes=20e9, call=5e-6).corner
        5.0
    """

    macs: float
    bytes: float
    call: float

    @property
    def corner(self) -> float:
        """π/β, the multiply-adds per byte at which arithmetic and memory take equally long."""
        return self.macs / self.bytes


def ceilings(device: torch.device | str = "cpu", *, threads: int | None = None, rounds: int = 9) -> Ceilings:
    """Measure the two ceilings of a roofline, and the latency of a call, in float32.

    A large matrix product and a wide 7 × 7 convolution bid for π: the library of one may be better than that of the
    other. A copy of 256 MiB shows β, and a convolution of one number by another the latency. Each counts by its least
    time.

    Args:
        device, threads, rounds: as :func:`interleaved` has them.

    Raises:
        ValueError: if ``threads`` or ``rounds`` is below 1.

    Example:
        >>> found = ceilings(threads=1, rounds=1)
        >>> found.corner == found.macs / found.bytes
        True
    """
    n, batch = (4096, 64) if torch.device(device).type == "cuda" else (1024, 8)
    matrix = torch.randn(n, n, device=device)
    maps = torch.randn(batch, 128, 28, 28, device=device)
    kernels = torch.randn(128, 128, 7, 7, device=device)
    one = torch.ones(1, 1, 1, 1, device=device)
    source = torch.ones(2**26, device=device)  # more than any cache of a CPU's core
    copy = torch.empty_like(source)
    ways = {
        "product": lambda: matrix @ matrix,
        "convolution": lambda: F.conv2d(maps, kernels, padding=3),
        "copy": lambda: copy.copy_(source),
        "call": lambda: F.conv2d(one, one),
    }
    times = interleaved(ways, device, rounds=rounds, threads=threads)
    least = {name: time["least"] / 1e3 for name, time in times.items()}
    bids = n**3 / least["product"], maps.numel() * kernels[0].numel() / least["convolution"]
    return Ceilings(max(bids), 2 * source.nbytes / least["copy"], least["call"])


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
