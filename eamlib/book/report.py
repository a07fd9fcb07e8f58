"""The paper's figures against ours, made of the records alone: whoever has them makes the same table."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from textwrap import fill

from eamlib._budget import BUDGETS
from eamlib._files import replace
from eamlib.data.sets import INPUT_SIZES
from eamlib.papers.accuracy import TABLES, Row, Table
from eamlib.papers.statistics import next_run, paired, seeds_needed, summarize
from eamlib.papers.training_runs import RECIPE, Plan

CUT = "An interval of Student's t that would go beyond what an accuracy can be, 0 to 100 %, is cut there."
NAMES = {
    "digits": "digits",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "tiny_imagenet": "Tiny ImageNet",
    "tiny_imagenet_100": "Tiny ImageNet-100",
    "imagenet100": "ImageNet100",
    "imagenet": "ImageNet",
}


def build(table: Table, plan: Plan, results: str | Path) -> dict:
    """The table as plain values.

    Returns:
        ``table`` (its name), ``plan``, ``devices`` and ``commits`` (of the records), and ``rows``, each with ``name``,
        ``title``, ``printed``, ``baseline``, ``accuracy`` (by seed: test accuracy in percent after the last epoch),
        ``ours`` (:class:`~eamlib.papers.statistics.Summary`), ``difference`` (to the baseline:
        :class:`~eamlib.papers.statistics.Paired`, None of a baseline), ``seeds_needed`` (to tell the printed
        difference from none, if it were the true one and runs differed as ours do), ``why`` and ``records`` (paths
        below ``results``).

    Example:
        >>> from eamlib.papers.accuracy import TABLES
        >>> from eamlib.papers.training_runs import plan
        >>> built = build(TABLES["tricks"], plan("smoke", seeds=5), "results")
        >>> row = built["rows"][0]
        >>> row["title"], row["ours"]["n"], row["records"][0]
        ('static, the whole recipe', 5, 'digits/mobilenet_v1-x0.25-static-e6-seed0.json')
    """
    found = {row.name: _records(row, plan, results) for row in table.rows}
    accuracy = {
        name: {seed: record["history"][-1]["test_accuracy"] for seed, record in by_seed.items()}
        for name, by_seed in found.items()
    }
    rows = []
    for row in table.rows:
        ours = summarize(list(accuracy[row.name].values()))
        difference = paired(accuracy[row.name], accuracy[row.baseline]) if row.baseline else None
        needed, printed = None, _printed_difference(table, row, plan.data)
        if printed is not None and difference.sd:
            needed = seeds_needed(printed, difference.sd)
        rows.append(
            {
                "name": row.name,
                "title": row.title,
                "printed": dict(row.printed),
                "baseline": row.baseline,
                "accuracy": accuracy[row.name],
                "ours": asdict(ours),
                "difference": difference and asdict(difference),
                "seeds_needed": needed,
                "why": why(row, plan, list(accuracy[row.name].values())),
                "records": [str(plan.unit(row, seed).path(".")) for seed in found[row.name]],
            }
        )
    all_records = [record for by_seed in found.values() for record in by_seed.values()]
    values = {
        "table": table.name,
        "plan": asdict(plan),
        "devices": sorted({record["device"] for record in all_records}),
        "commits": sorted({str(record["commit"]) for record in all_records}),
        "rows": rows,
    }
    return rounded(values)


def why(row: Row, plan: Plan, accuracy: list[float]) -> str:
    """Why our figure for a row is not the paper's, as far as the configuration tells.

    Args:
        accuracy: ours, one a seed.

    Example:
        >>> from eamlib.papers.accuracy import TABLES
        >>> from eamlib.papers.training_runs import plan
        >>> why(TABLES["pooling"].row("avg"), plan("smoke", width=0.25), [97.0, 97.4])
        'other data; width 0.25 for 1; 6 epochs, a full run has 200; no augmentation; 2 of 3 seeds done'
    """
    if not accuracy:
        return "not run yet"
    reasons = []
    printed = row.printed.get(plan.data)
    if not row.printed:
        reasons.append("not in the paper's table")
    elif printed is None:
        reasons.append("other data")
    if plan.width not in (None, row.width_mult):
        reasons.append(f"width {plan.width:g} for {row.width_mult:g}")
    full = BUDGETS["full"].epochs
    if plan.epochs < full:
        reasons.append(f"{_epochs(plan)}, a full run has {full}")
    if not plan.unit(row, 0).configuration["augment"]:
        reasons.append("no augmentation")
    if not reasons:
        reasons.append("the paper's recipe is not known to us")
    expected = next_run(summarize(accuracy))
    if printed is not None and expected is not None:
        within = expected[0] <= printed <= expected[1]
        reasons.append(
            f"the paper's figure lies {'within' if within else 'outside'} what one more run of ours may give"
        )
    if len(accuracy) < plan.seeds:
        reasons.append(f"{len(accuracy)} of {plan.seeds} seeds done")
    return "; ".join(reasons)


def markdown(built: dict) -> str:
    """The table of :func:`build` as Markdown.

    Example:
        >>> from eamlib.papers.accuracy import TABLES
        >>> from eamlib.papers.training_runs import plan
        >>> built = build(TABLES["tricks"], plan("smoke", seeds=5), "results")
        >>> markdown(built).splitlines()[0]
        '# This book: what each part of the recipe is good for, in MobileNetV1 ×0.25'
    """
    table, plan = TABLES[built["table"]], Plan(**built["plan"])
    # The paper's column for these data; where it has none, all of its columns.
    columns = [plan.data] if plan.data in table.rows[0].printed else list(table.rows[0].printed)
    numbers = {row.name: number for number, row in enumerate(table.rows, start=1)}
    head = [
        "",
        "row",
        f"ours, {NAMES[plan.data]}",
        *(f"paper, {NAMES[name]}" for name in columns),
        "seeds",
        "95 % interval",
        "against",
        "difference",
        "95 % interval",
        "p",
        "seeds to tell",
        "why it differs",
    ]
    lines = [head]
    for row, ours in zip(table.rows, built["rows"], strict=True):
        summary, difference = ours["ours"], ours["difference"] or {}
        lines.append(
            [
                str(numbers[row.name]),
                row.title,
                _mean_and_sd(summary),
                *(_paper_cell(table, row, name) for name in columns),
                str(summary["n"]),
                interval(summary, least=0),
                str(numbers[row.baseline]) if row.baseline else "–",
                number(difference.get("mean"), "+.2f"),
                interval(difference, "+.2f"),
                _p(difference.get("p")),
                number(ours["seeds_needed"], "d"),
                ours["why"],
            ]
        )
    width = "the paper's widths" if plan.width is None else f"width {plan.width:g} in every row"
    recipe = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in RECIPE.items())
    size = INPUT_SIZES[plan.data]
    precision = "" if plan.precision == "float32" else f", {plan.precision}"
    notes = [
        "Top-1 test accuracy in percent after the last epoch; ours as mean ± standard deviation over seeds. "
        'Differences are to the row that "against" names, the paper\'s in brackets, ours seed by seed with the p-value '
        'of the paired t test. "Seeds to tell": how many pairs of runs show the paper\'s difference with probability '
        "0.8, if it is the true one and runs differ as ours do. –: too few seeds, or not in the text of the paper that "
        "we hold.",
        f"Ours: {_epochs(plan)} of {NAMES[plan.data]} at {size} × {size} pixels, {width}, {recipe}{precision}. "
        f"Devices: {'; '.join(built['devices']) or '–'}. Commits: {', '.join(built['commits']) or '–'}.",
        table.remark,
        CUT if any(_is_cut(ours["ours"], 0) or _is_cut(ours["difference"] or {}) for ours in built["rows"]) else "",
    ]
    title = f"# {table.paper}: {table.title}\n"
    return "\n".join([title, *aligned(lines), ""]) + "".join(f"\n{note}\n" for note in notes if note)


def save(built: dict, results: str | Path) -> Path:
    """Write a table of :func:`build` as Markdown and as JSON; the path of the first.

    Example:
        >>> from eamlib.papers.accuracy import TABLES
        >>> from eamlib.papers.training_runs import plan
        >>> built = build(TABLES["tricks"], plan("smoke", seeds=5), "results")
        >>> print(save(built, "mine"))
        mine/tables/tricks-digits-smoke.md
    """
    path = Path(results) / "tables" / f"{built['table']}-{Plan(**built['plan']).label}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, markdown(built))
    replace(path.with_name(f"{path.stem}.json"), json.dumps(built, indent=1, ensure_ascii=False) + "\n")
    return path


def rebuild(path: str | Path, results: str | Path) -> dict:
    """The table whose JSON lies at ``path``, made anew of the records that it names.

    Example:
        >>> built = rebuild("results/tables/tricks-digits-smoke.json", "results")
        >>> built["table"], len(built["rows"])
        ('tricks', 11)
    """
    saved = json.loads(Path(path).read_text(encoding="utf-8"))
    return build(TABLES[saved["table"]], Plan(**saved["plan"]), results)


def _epochs(plan: Plan) -> str:
    return f"{plan.epochs} epoch{'' if plan.epochs == 1 else 's'}"


def _records(row: Row, plan: Plan, results: str | Path) -> dict[int, dict]:
    found = {seed: plan.unit(row, seed).record(results) for seed in range(plan.seeds)}
    return {seed: record for seed, record in found.items() if record is not None}


def _printed_difference(table: Table, row: Row, data: str) -> float | None:
    if row.baseline is None:
        return None
    ours, theirs = row.printed.get(data), table.row(row.baseline).printed.get(data)
    return None if ours is None or theirs is None else round(ours - theirs, 2)


def _paper_cell(table: Table, row: Row, data: str) -> str:
    if row.printed.get(data) is None:
        return "–"
    difference = _printed_difference(table, row, data)
    return f"{row.printed[data]:.2f}" + ("" if difference is None else f" ({number(difference, '+.2f')})")


def _mean_and_sd(summary: dict) -> str:
    if summary["n"] < 2:
        return number(summary["mean"], ".2f")
    return f"{summary['mean']:.2f} ± {summary['sd']:.2f}"


def interval(summary: dict, form: str = ".2f", *, least: float = -100) -> str:
    """The ``low`` and ``high`` of a summary as a cell of a table, cut at ``least`` and 100: no accuracy lies beyond.

    Example:
        >>> interval({"low": -0.5, "high": 1.25}, "+.2f"), interval({"low": None, "high": None})
        ('−0.50 to +1.25', '–')
        >>> interval({"low": 91.5, "high": 102.5}, least=0)
        '91.50 to 100.00'
    """
    if summary.get("low") is None:
        return "–"
    return f"{number(max(least, summary['low']), form)} to {number(min(100, summary['high']), form)}"


def _is_cut(summary: dict, least: float = -100) -> bool:
    return summary.get("low") is not None and (summary["low"] < least or summary["high"] > 100)


def number(value: float | None, form: str = ".2f") -> str:
    """A number as a cell of a table, with a minus sign that is one.

    Example:
        >>> number(-0.5), number(0.5, "+.1f"), number(None)
        ('−0.50', '+0.5', '–')
    """
    return "–" if value is None else format(value, form).replace("-", "−")


def _p(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def aligned(lines: list[list[str]]) -> list[str]:
    """The rows of a Markdown table, padded so that they can be read as they are.

    Example:
        >>> aligned([["row", "seeds"], ["static", "3"]])
        ['| row    | seeds |', '| ------ | ----- |', '| static | 3     |']
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]


def fitted(markdown: str, width: int) -> str:
    """Markdown for a terminal: text is wrapped, and a table that is too wide loses its last columns, which a line then
    names.

    Example:
        >>> table = aligned([["row", "ours", "p"], ["static", "93.80", "0.05"]])
        >>> fitted("\\n".join(table), 20).splitlines()[0]
        '| row    | ours  |'
    """
    blocks, lost = [], []
    for is_table, lines in groupby(markdown.splitlines(), lambda line: line.startswith("|")):
        if not is_table:
            blocks += (fill(line, width) for line in lines)
            continue
        head, _, *rows = ([cell.strip() for cell in line[2:-2].split(" | ")] for line in lines)
        table = [head, *rows]
        while len(aligned(table)[0]) > width:
            lost.append(table[0][-1])
            table = [line[:-1] for line in table]
        blocks += aligned(table)
    if lost:
        blocks += ["", fill(f"Left out for want of width: {'; '.join(dict.fromkeys(lost))}.", width)]
    return "\n".join(blocks)


def rounded(values: dict) -> dict:
    """``values`` as JSON holds them, floats to a millionth: the last bits of a logarithm are another machine's.

    Example:
        >>> rounded({"mean": 1 / 3, "values": (2 / 3, None, "n")})
        {'mean': 0.333333, 'values': [0.666667, None, 'n']}
    """
    return json.loads(json.dumps(values), parse_float=lambda text: round(float(text), 6))
