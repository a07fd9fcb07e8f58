"""What the records of a plan say, by the rules that the plan laid down before them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from statistics import fmean

from eamlib._extras import need
from eamlib._files import replace
from eamlib.book.claims import conclude
from eamlib.book.comparisons import dunnett, equivalence, improvement, pooled, rows_differ, same_images
from eamlib.book.report import NAMES, aligned, interval, number, rounded
from eamlib.papers import records
from eamlib.papers.accuracy import TABLES
from eamlib.papers.plans import Contrast, Part, Protocol
from eamlib.papers.statistics import holm, paired, seeds_needed, summarize
from eamlib.training.exchanged import EXCHANGES, Exchanged

__all__ = ["findings", "markdown", "save"]

# The rows of an ablation that every row of it is compared with: what the plan's main part trains anyway.
CONTROL = ("attention", "eam-rcr")


def findings(protocol: Protocol, results: str | Path) -> dict:
    """Everything, as plain values.

    Args:
        protocol: the plan.
        results: folder of the records.

    Returns:
        ``plan`` and ``digest``; ``done``, runs with a record and runs that the plan asks for at least, by part;
        ``gate``, ``rows``, ``contrasts`` (as :func:`eamlib.book.contrasts.forest` takes them), ``ablation`` and
        ``alike`` (how the answers of two rows to the same images correlate), each a list of dicts.

    Raises:
        ValueError: with its path, if a record's answers are not those of its accuracy.

    Example:
        >>> from eamlib.papers import plans
        >>> found = findings(plans.read("results/plans/attention.json"), "results")
        >>> [contrast["label"] for contrast in found["contrasts"] if contrast["data"] == "CIFAR-100"]
        ['DyNet – static', 'DyNet – placebo', 'RCR – DyNet', 'CGR – DyNet']
    """
    found = dict(protocol.records(results))
    accuracy = {unit: record["history"][-1]["test_accuracy"] for unit, record in found.items()}
    answers = {}
    for unit, record in found.items():
        try:
            answers[unit] = records.unpack(record)
        except ValueError as error:
            raise ValueError(f"{unit.path(results)}: {error}") from error

    def by_seed(part: Part, data: str, row, values: Mapping = accuracy) -> dict:
        units = part.plan(data).units([row])
        return {unit.seed: values[unit] for unit in units if unit in values}

    gates = _gates(protocol, found)
    passed = {gate["data"]: gate["passed"] for gate in gates}
    rows, contrasts, alike = [], [], []
    for part in protocol.parts:
        for data in part.data:
            table = {row.name: by_seed(part, data, row) for _, row in part.rows}
            for (_, row), runs in zip(part.rows, table.values(), strict=True):
                of_row = asdict(summarize(list(runs.values()))) | {"printed": row.printed.get(data)}
                rows.append({"part": part.name, "data": data, "row": row.name, "title": row.title} | of_row)
            of_part = [c for c in protocol.contrasts if {(c.table, c.first), (c.table, c.second)} <= _names(part)]
            if of_part:
                contrasts += _contrasts(protocol, of_part, table, data, passed.get(data))
                both = {row.name: by_seed(part, data, row, answers) for _, row in part.rows}
                alike += _alike(both, data)
    values = {
        "plan": protocol.name,
        "digest": protocol.digest,
        "done": [
            {
                "part": part.name,
                "done": sum(unit in found for unit in part.units(part.most)),
                "least": len(part.units()),
                "least_done": sum(unit in found for unit in part.units()),
            }
            for part in protocol.parts
        ],
        "gate": gates,
        "rows": rows,
        "contrasts": contrasts,
        "ablation": _ablation(protocol, accuracy),
        "alike": alike,
    }
    return rounded(values)


def _called(protocol: Protocol, name: str) -> list[tuple[Part, str]]:
    """The part of this name with each of its data sets; none where the plan has no such part."""
    return [(part, data) for part in protocol.parts if part.name == name for data in part.data]


def _names(part: Part) -> set[tuple[str, str]]:
    return {(table, row.name) for table, row in part.rows}


def _gates(protocol: Protocol, found: Mapping) -> list[dict]:
    """By data set of the part called gate: the mean accuracy with each attention, and whether the set passes."""
    gates = []
    for part, data in _called(protocol, "gate"):
        units = part.plan(data).units(row for _, row in part.rows)
        tests = [[Exchanged(**one) for one in found[unit]["exchange"]] for unit in units if unit in found]
        gate = {"data": data, "seeds": len(tests), "least": len(units)}
        for again in (False, True):
            for attention in EXCHANGES:
                of_it = [
                    one for test in tests for one in test if (one.attention, one.recalibrated) == (attention, again)
                ]
                name = f"{attention}{' recalibrated' if again else ''}"
                gate[name] = fmean(one.accuracy for one in of_it) if of_it else None
        costs = [-one.difference for test in tests for one in test if one.attention == "mean" and one.recalibrated]
        gate["cost"] = fmean(costs) if costs else None
        gate["passed"] = fmean(costs) >= protocol.gate if len(tests) == len(units) else None
        gates.append(gate)
    return gates


def _contrasts(
    protocol: Protocol, contrasts: Sequence[Contrast], table: Mapping, data: str, passed: bool | None
) -> list[dict]:
    """The contrasts on one data set, a family of their own."""
    spread = pooled([table])
    runs = [(table[contrast.first], table[contrast.second]) for contrast in contrasts]
    differences = [paired(*both, spread) for both in runs]
    p = holm([difference.p for difference in differences])
    p_same = holm([equivalence(difference, protocol.margin, spread) for difference in differences])
    lines = []
    for i, contrast in enumerate(contrasts):
        printed = [TABLES[contrast.table].row(name).printed.get(data) for name in (contrast.first, contrast.second)]
        told = seeds_needed(protocol.margin, spread.sd, alpha=0.05 / len(contrasts)) if spread and spread.sd else None
        lines.append(
            {
                "label": contrast.name,
                "data": NAMES[data],
                **{name: getattr(differences[i], name) for name in ("n", "mean", "low", "high")},
                "p_adjusted": p[i],
                "p_same_adjusted": p_same[i],
                "improvement": asdict(improvement(*runs[i])),
                "printed": None if None in printed else round(printed[0] - printed[1], 2),
                # Until the gate has been run, no contrast of attentions is tested.
                "verdict": conclude(
                    differences[i], p[i], p_same[i], passed=not contrast.of_attentions or passed is True
                ),
                "margin": protocol.margin,
                "sd": spread and spread.sd,
                "seeds_needed": told,
            }
        )
    return lines


def _alike(answers: Mapping[str, Mapping], data: str) -> list[dict]:
    """How the answers of each two rows to the same test images correlate, over the seeds that both have."""
    lines = []
    for first, second in combinations(answers, 2):
        rho = [
            same_images(answers[first][seed], answers[second][seed]).rho
            for seed in sorted(answers[first].keys() & answers[second].keys())
        ]
        if rho:
            lines.append({"data": NAMES[data], "first": first, "second": second, "seeds": len(rho), "rho": fmean(rho)})
    return lines


def _ablation(protocol: Protocol, accuracy: Mapping) -> list[dict]:
    """All rows of the part called ablation, together with their control."""
    lines = []
    for part, data in _called(protocol, "ablation"):
        plan = part.plan(data)
        control = plan.units([TABLES[CONTROL[0]].row(CONTROL[1])])
        table = {CONTROL[1]: {unit.seed: accuracy[unit] for unit in control if unit in accuracy}}
        for _, row in part.rows:
            table[row.name] = {unit.seed: accuracy[unit] for unit in plan.units([row]) if unit in accuracy}
        table = {name: runs for name, runs in table.items() if runs}
        if CONTROL[1] not in table or len(table) < 2:
            continue
        test = rows_differ(table)
        lines.append(
            {
                "data": NAMES[data],
                "control": CONTROL[1],
                "f": test and asdict(test),
                "rows": {name: asdict(difference) for name, difference in dunnett(table, CONTROL[1]).items()},
            }
        )
    return lines


def markdown(found: dict) -> str:
    """:func:`findings` as a page of Markdown tables.

    Example:
        >>> from eamlib.papers import plans
        >>> found = findings(plans.read("results/plans/attention.json"), "results")
        >>> markdown(found).splitlines()[0]
        '# Plan attention: what its records say'
    """
    done = [[f"{d['part']}", f"{d['least_done']} of {d['least']}", str(d["done"])] for d in found["done"]]
    gate = [
        [
            NAMES[g["data"]],
            {True: "passed", False: "not testable here", None: "open" if g["seeds"] else "not run yet"}[g["passed"]],
            f"{g['seeds']} of {g['least']}",
            number(g["cost"], "+.2f"),
            *(number(g[name]) for name in EXCHANGES),
            *(number(g[f"{name} recalibrated"]) for name in EXCHANGES),
        ]
        for g in found["gate"]
    ]
    rows = [
        [
            r["part"],
            NAMES[r["data"]],
            r["title"],
            str(r["n"]),
            number(r["mean"]),
            number(r["sd"]),
            number(r["printed"]),
        ]
        for r in found["rows"]
        if r["n"]
    ]
    contrasts = [
        [
            c["label"],
            c["data"],
            c["verdict"],
            str(c["n"]),
            number(c["mean"], "+.2f"),
            interval(c, "+.2f"),
            number(c["p_adjusted"], ".3f"),
            number(c["p_same_adjusted"], ".3f"),
            number(c["improvement"]["probability"] if c["n"] > 1 else None),  # one pair of runs is no frequency
            number(c["printed"], "+.2f"),
        ]
        for c in found["contrasts"]
    ]
    parts = [
        f"# Plan {found['plan']}: what its records say\n",
        "Made of the records alone by `python -m eamlib reproduce report`.\n",
        *_section("Runs", ["part", "of the least", "runs recorded"], done),
        *_section(
            "Gate: test accuracy (%) of DyNet with its own attention and with others",
            [
                "data",
                "verdict",
                "seeds",
                "cost of the mean",
                *EXCHANGES,
                *(f"{name}, recalibrated" for name in EXCHANGES),
            ],
            gate,
        ),
        *_section(
            "Contrasts: differences of test accuracy (points), seed by seed",
            [
                "contrast",
                "data",
                "verdict",
                "seeds",
                "difference",
                "95 % interval",
                "p, none",
                "p, as large as the margin",
                "P(better)",
                "the paper's",
            ],
            contrasts,
        ),
        *_section("Rows: test accuracy (%)", ["part", "data", "row", "seeds", "mean", "sd", "the paper's"], rows),
    ]
    for ablation in found["ablation"]:
        test = ablation["f"]
        head = f"Ablation on {ablation['data']}, against {ablation['control']}"
        if test is not None:
            head += f": F({test['df']}, {test['df_error']}) = {test['f']:.2f}, p = {test['p']:.3f}"
        lines = [
            [
                name,
                str(d["n"]),
                number(d["mean"], "+.2f"),
                number(d["low"], "+.2f"),
                number(d["high"], "+.2f"),
                number(d["p"], ".3f"),
            ]
            for name, d in ablation["rows"].items()
        ]
        parts += _section(head, ["row", "seeds", "difference", "low", "high", "p (Dunnett)"], lines)
    alike = [[a["data"], a["first"], a["second"], str(a["seeds"]), number(a["rho"])] for a in found["alike"]]
    parts += _section(
        "How alike two rows err: correlation of their answers", ["data", "first", "second", "seeds", "ρ"], alike
    )
    return "\n".join(parts) + "\n"


def _section(title: str, head: list[str], lines: list[list[str]]) -> list[str]:
    return [f"## {title}\n", *aligned([head, *lines]), ""] if lines else []


def save(found: dict, folder: str | Path) -> Path:
    """Write :func:`findings` as ``report.md`` and ``report.json``, and draw ``forest.svg`` and ``grid.svg``.

    Returns:
        The path of the first.

    Raises:
        ModuleNotFoundError: if matplotlib is missing; nothing is written then.

    Example:
        >>> from eamlib.papers import plans
        >>> found = findings(plans.read("results/plans/attention.json"), "results")
        >>> path = save(found, "found")
        >>> path.name, sorted(file.suffix for file in path.parent.iterdir())
        ('report.md', ['.json', '.md', '.svg', '.svg'])
    """
    need("reproduce", "matplotlib")
    import matplotlib.pyplot as plt

    from eamlib.book.contrasts import forest, verdict_grid

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / "report.md", markdown(found))
    replace(folder / "report.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    pictures = {"forest.svg": forest(found["contrasts"]), "grid.svg": verdict_grid(found["contrasts"]).figure}
    for name, figure in pictures.items():
        # Nothing in the file is of this day or this machine.
        with plt.rc_context({"svg.hashsalt": "eamlib"}):
            figure.savefig(folder / name, metadata={"Date": None}, bbox_inches="tight")
        plt.close(figure)
    return folder / "report.md"
