"""Recompute a paper's cost tables.

eam: every row of the EAM paper's cost tables, parameters and FLOPs as printed and as counted here (fvcore's rules, eval
mode, batch 1, 3 × 224 × 224, 100 classes), and where the FLOPs go. dynet: what the two versions of the DyNet paper say
that dynamic convolutions save, and what they save here.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from itertools import pairwise

from eamlib._checks import one_of
from eamlib.commands import option, width


def arguments(parser: ArgumentParser) -> None:
    option(parser, "--paper", "eam or dynet", "eam")


def run(options: Namespace) -> None:
    papers = {"eam": _eam, "dynet": _dynet}
    remarks: dict[str, str] = {}
    papers[one_of("--paper", options.paper, papers)](remarks)
    for remark, stars in remarks.items():
        print(f"{stars} {remark}")


def _eam(remarks: dict[str, str]) -> None:
    from eamlib.papers.eam import cost_table

    print("Paper: Ding et al. 2021. Ours: counted now by fvcore's rules; a multiply-add is one FLOP. Figures in M.\n")
    parts = ("convolution", "attention", "aggregation")
    figures = ("ours", "paper", "difference")
    lines = [("", "parameters", "", "", "FLOPs", "", "", "% of ours:", "", "")]
    lines.append(("network", *figures, *figures, "conv.", *parts[1:]))
    for row, ours in cost_table():
        parameters, flops = _against(row.parameters, ours.parameters, 3), _against(row.flops, ours.flops, 2)
        shares = (f"{100 * ours.by_part[part] / ours.flops:.2f}" for part in parts)
        counted = (f"{ours.parameters:,}", *parameters, f"{ours.flops / 1e6:.2f}", *flops)
        lines.append((_named(row, remarks), *counted, *shares))
    _print_table(lines)
    print("\nThe rest of the FLOPs is batch normalisation and the classifier.")


def _dynet(remarks: dict[str, str]) -> None:
    from eamlib.papers.dynet import count_table, cut_table

    print("Paper: Zhang et al. 2020, and its first version of 2019. Ours: multiply-adds counted now, in M.\n")
    print("FLOPs at 3 × 224 × 224 with 1000 classes, classifiers included, and the cut in %: of our count of the")
    print("original, and of the count that the original's own paper prints. Version 1 counted the convolutions alone,")
    print("version 2 also what predicts the coefficients and mixes the kernels.\n")
    cut = ("ours", "of ours", "of paper", "printed")
    lines = [("", "original", "", "version 1", *[""] * 3, "version 2", *[""] * 3)]
    lines.append(("network", "ours", "paper", *cut, *cut))
    for row, ours in cut_table():
        printed = ours.over(row.printed * 10**6)
        first = (ours.convolutions / 1e6, ours.first, printed.first, row.first)
        second = (ours.everything / 1e6, ours.second, printed.second, row.second)
        counted = (f"{figure:.1f}" for figure in (*first, *second))
        lines.append((_named(row, remarks), f"{ours.original / 1e6:.1f}", str(row.printed), *counted))
    _print_table(lines)
    print("\nPrinted counts. Ours: the convolutions; in brackets with predictors, mixing and classifier.\n")
    lines = [("network", "paper", "ours", "", "difference")]
    for row, ours in count_table():
        convolution, everything = ours.multiply_adds["convolution"] / 1e6, sum(ours.multiply_adds.values()) / 1e6
        difference = f"{100 * (convolution / row.printed - 1):+.1f} %"
        counted = (f"{row.printed:,}", f"{convolution:,.1f}", f"({everything:,.1f})", difference)
        lines.append((_named(row, remarks), *counted))
    _print_table(lines)
    _print_readings()


def _print_readings() -> None:
    from eamlib.book.dy_shuffle import reading_table
    from eamlib.papers.dynet import COUNT_ROWS, CUT_ROWS

    table, printed = reading_table(), CUT_ROWS[0]
    [wider] = (row.printed for row in COUNT_ROWS if row.model == "dy_shuffle")
    near = [row for row in table if row.miss < 0.5]
    others = [next(row for row in table if row.reading.middle == middle) for middle in ("half", "quarter")]
    print(f"\nWhat the units of Dy-shuffle may be (eamlib.book.dy_shuffle.Reading), in {len(table)} counts: with the")
    print(f"classifier (head) or without, over the original's printed count or over ours. {len(near)} miss both cuts")
    print("by less than half a point; below them, the nearest with another width of the first 1 × 1. ×1.5: the")
    print("convolutions.\n")
    lines = [("1 × 1", "branch", "multiple", "predictor", "head", "over", "v1", "v2", "miss", "×1.5")]
    lines.append(("paper", *[""] * 5, str(printed.first), str(printed.second), "", f"{wider} M"))
    for row in near + others:
        read, cut = map(str, vars(row.reading).values()), row.cut
        counted = (f"{cut.original / 1e6:.1f}", f"{cut.first:.2f}", f"{cut.second:.2f}", f"{row.miss:.2f}")
        difference = f"{100 * (row.wider / wider / 1e6 - 1):+.1f} %"
        lines.append((*read, "yes" if row.classifier else "no", *counted, difference))
    _print_table(lines)
    print()


def _print_table(lines: list[tuple[str, ...]]) -> None:
    """Print a table; where the terminal is too narrow, group by group: they begin where the first line has a word."""
    columns = []
    for column in zip(*lines, strict=True):
        most = max(map(len, column))
        columns.append([text.rjust(most) if columns else text.ljust(most) for text in column])
    begin = [1]
    if len("  ".join(column[0] for column in columns)) > width():
        begin = [i for i, text in enumerate(lines[0]) if text]
    groups = [zip(columns[0], *columns[start:end], strict=True) for start, end in pairwise([*begin, len(columns)])]
    print("\n\n".join("\n".join("  ".join(line).rstrip() for line in group) for group in groups))


def _named(row, remarks: dict[str, str]) -> str:
    """The network of a row, with the mark of its remark, which joins ``remarks`` where it is new."""
    return row.network + (remarks.setdefault(row.remark, "*" * (len(remarks) + 1)) if row.remark else "")


def _against(printed: float | None, ours: int, digits: int) -> tuple[str, str]:
    """The printed figure in millions, and our difference to it."""
    return ("–", "–") if printed is None else (f"{printed:.2f}", f"{ours / 1e6 - printed:+.{digits}f}")
