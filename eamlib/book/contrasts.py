"""Planned contrasts: their differences with intervals, and what is known of which claim on which data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from eamlib._checks import one_of
from eamlib.plots.look import axes, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_KEYS = ("label", "data", "n", "mean", "low", "high", "p_adjusted", "improvement", "printed", "verdict", "margin")
# Fill and ink of a cell, and mark in the forest: told apart in grey print as well.
_VERDICTS = {
    "settled": ("#08306b", "white", "o"),
    "bounded": ("#c6dbef", "black", "s"),
    "not tested": ("white", "#404040", "x"),
}
_COLUMNS = {"P(better)": 0.0, "adjusted p": 0.45, "verdict": 0.8}  # beside the forest, and where


def forest(contrasts: Sequence[Mapping]) -> Figure:
    """One line per contrast: the difference with its interval over the margin's band, and the paper's difference as a
    hollow mark; beside them the probability of an improvement, the adjusted p-value and the verdict.

    The interval of a contrast that is not tested may leave the picture; an arrow then stands where it does.

    Args:
        contrasts: from top to bottom, each with

            - ``label``: what is compared; ``data``: on what; ``n``: pairs of runs;
            - ``mean``, ``low``, ``high``: the difference in points and its 95 % interval; None where there is none;
            - ``improvement``: ``probability``, ``low`` and ``high`` of
              :class:`eamlib.book.comparisons.Improvement`, or None;
            - ``p_adjusted``: or None; ``printed``: the paper's difference in points, or None;
            - ``verdict``: ``"settled"``, ``"bounded"`` or ``"not tested"``; ``margin``: in points.

    Raises:
        ValueError: if there is no contrast, or one lacks a key or has another verdict.

    Example:
        >>> improvement = {"probability": 0.83, "low": 0.24, "high": 0.99}
        >>> contrast = {"label": "RCR − DyNet", "data": "CIFAR-100", "n": 3, "mean": 0.47, "low": 0.08, "high": 0.85}
        >>> contrast |= {"p_adjusted": 0.04, "improvement": improvement, "printed": 0.07, "margin": 0.25}
        >>> figure = forest([contrast | {"verdict": "settled"}])
        >>> [text.get_text() for text in figure.axes[1].texts][:3]
        ['0.83 [0.24, 0.99]', '0.040', 'settled']
    """
    _check(contrasts)
    limit = 1.08 * max(map(_reach, contrasts))
    size = (8.4, 1.5 + 0.5 * len(contrasts))
    figure, (ax, beside) = pyplot().subplots(1, 2, figsize=size, sharey=True, width_ratios=(1, 1.1))
    for y, contrast in enumerate(contrasts):
        band = ax.barh(y, 2 * contrast["margin"], 1, -contrast["margin"], color="#e6e6e6", lw=0, zorder=0)
        _draw(ax, y, contrast, limit)
        # One pair of runs is no frequency.
        better = _interval(contrast["improvement"] if contrast["n"] > 1 else None, "probability", ".2f")
        for x, cell in zip(_COLUMNS.values(), (better, _p(contrast["p_adjusted"]), contrast["verdict"]), strict=True):
            beside.text(x, y, cell, va="center", fontsize=10)
    for head, x in _COLUMNS.items():
        beside.text(x, -0.75, head, va="bottom", fontsize=10, fontweight="bold")
    ax.axvline(0, color="#404040", lw=1)
    labels = [f"{c['label']}\n{c['data']}, {c['n']} pair{'' if c['n'] == 1 else 's'}" for c in contrasts]
    ax.set_yticks(range(len(contrasts)), labels, fontsize=10)
    ax.set(xlim=(-limit, limit), ylim=(len(contrasts) - 0.4, -0.6), xlabel="difference, points")
    ax.grid(False, axis="y")
    beside.set(xlim=(0, 1), frame_on=False)
    beside.axis("off")
    # Of the marks that occur, each once.
    drawn = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    marks = {name: drawn[name] for name in (*_VERDICTS, "the paper's") if name in drawn} | {"margin": band}
    look = {"loc": "outside lower center", "ncol": len(marks), "frameon": False, "fontsize": 10}
    figure.legend(marks.values(), marks.keys(), **look)
    return figure


def _draw(ax: Axes, y: int, contrast: Mapping, limit: float) -> None:
    mean, low, high, printed = (contrast[key] for key in ("mean", "low", "high", "printed"))
    if printed is not None:
        ax.plot(printed, y - 0.22, "D", color="C1", mfc="white", mew=1.6, ms=6, label="the paper's")
    if mean is None:
        return
    y += 0.12
    if low is not None:
        ax.plot((low, high), (y, y), color="C0", lw=2)
        for outside, edge, arrow in ((low < -limit, -limit, "<"), (high > limit, limit, ">")):
            if outside:
                ax.plot(edge, y, arrow, color="C0", ms=7, clip_on=False)
    ax.plot(mean, y, _VERDICTS[contrast["verdict"]][2], color="C0", ms=7, mew=2, label=contrast["verdict"])


def verdict_grid(contrasts: Sequence[Mapping], ax: Axes | None = None) -> Axes:
    """What is known of each claim on each set of data: settled, bounded or not tested, with difference and interval.

    Args:
        contrasts: as :func:`forest` takes them; a claim is a ``label``. A claim that lacks a contrast on some data is
            not tested there.
        ax: where to draw; None makes a new figure.

    Raises:
        ValueError: as :func:`forest` does, and if a claim has two contrasts on the same data.

    Example:
        >>> contrast = {"label": "RCR − DyNet", "data": "CIFAR-100", "n": 3, "mean": 0.47, "low": 0.08, "high": 0.85}
        >>> contrast |= {"p_adjusted": 0.04, "improvement": None, "printed": 0.07, "margin": 0.25}
        >>> ax = verdict_grid([contrast | {"verdict": "settled"}])
        >>> ax.texts[0].get_text()
        'settled\\n+0.47 [+0.08, +0.85]'
    """
    _check(contrasts)
    labels, data = (list(dict.fromkeys(contrast[key] for contrast in contrasts)) for key in ("label", "data"))
    cells = {(contrast["label"], contrast["data"]): contrast for contrast in contrasts}
    if len(cells) < len(contrasts):
        raise ValueError("contrasts has two of one label on the same data; allowed is one.")
    ax = axes(ax, figsize=(2.2 + 1.75 * len(data), 0.9 + 0.52 * len(labels)))
    for y, label in enumerate(labels):
        for x, name in enumerate(data):
            contrast = cells.get((label, name), {"verdict": "not tested", "mean": None})
            fill, ink, _ = _VERDICTS[contrast["verdict"]]
            ax.bar(x, 1, 1, y - 0.5, color=fill, edgecolor="#808080")
            difference = "" if contrast["mean"] is None else "\n" + _interval(contrast, "mean", "+.2f")
            ax.text(x, y, contrast["verdict"] + difference, ha="center", va="center", color=ink, fontsize=9.5)
    ax.set_xticks(range(len(data)), data)
    ax.set_yticks(range(len(labels)), labels)
    ax.set(xlim=(-0.5, len(data) - 0.5), ylim=(len(labels) - 0.5, -0.5))
    ax.grid(False)
    ax.xaxis.tick_top()
    ax.spines[:].set_visible(False)
    return ax


def _check(contrasts: Sequence[Mapping]) -> None:
    if not contrasts:
        raise ValueError("contrasts is empty; at least one is needed.")
    for contrast in contrasts:
        if missing := [key for key in _KEYS if key not in contrast]:
            raise ValueError(
                f"contrast {contrast.get('label')!r} lacks {', '.join(missing)}; needed: {', '.join(_KEYS)}."
            )
        one_of("verdict", contrast["verdict"], _VERDICTS)


def _reach(contrast: Mapping) -> float:
    """How far from zero its picture must go."""
    names = ("mean", "printed") if contrast["verdict"] == "not tested" else ("mean", "printed", "low", "high")
    return max([2 * contrast["margin"], *(abs(contrast[name]) for name in names if contrast[name] is not None)])


def _interval(found: Mapping | None, name: str, form: str) -> str:
    """A number with its interval, if there is one."""
    if found is None or found[name] is None:
        return "–"
    interval = "" if found["low"] is None else f" [{found['low']:{form}}, {found['high']:{form}}]"
    return f"{found[name]:{form}}{interval}".replace("-", "−")


def _p(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
