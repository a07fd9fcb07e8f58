"""Train what an accuracy table of a paper needs, and print its figures against ours.

Train every row of an accuracy table, each with several seeds, and print and save the paper's figures against ours. A
run that is recorded is never done again, and one that was interrupted goes on after its last finished epoch: repeat the
same command as often as you like. Begin with --list. To publish a table, give --results results.

Tables: baseline, channels, selection, pooling and output-size of the EAM paper; g_t and fix-dy of the DyNet paper; of
our own tricks, which takes the recipe apart, and attention, which has a placebo; all. Instead of a table: plan, the
runs that a plan lists (results/plans/), which says beforehand what is run and what counts as an answer; or report, what
the records of a plan say. A first try, a minute on a CPU: reproduce pooling --budget smoke --width 0.25 --seeds 2. On a
Slurm cluster: sbatch --array=1-8 --wrap 'python -m eamlib reproduce baseline --data cifar100 --budget full --shard
$SLURM_ARRAY_TASK_ID/8'. On two GPUs: the same with --shard 1/2 --device cuda:0 and --shard 2/2 --device cuda:1.
"""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

from eamlib._checks import one_of
from eamlib.commands import of_recipe, option, shared, width
from eamlib.training.lock import Busy

LESS_MEMORY = (
    "Lower --workers, let fewer processes share the machine, or take another --device: the batch is the recipe's. What "
    "is recorded and kept stays, and the same command goes on."
)


def arguments(parser: ArgumentParser) -> None:
    option(parser, "table", "a table, all, plan or report; see below", "plan", nargs="?")
    option(parser, "--list", "train nothing: show the rows, what is done and the minutes left", action="store_true")
    planned = parser.add_argument_group("of a plan, which sets data, epochs, width and the least number of seeds")
    option(planned, "--plan", "the plan", "results/plans/attention.json", metavar="FILE")
    option(planned, "--part", "this part of it alone; may be repeated", action="append")

    what = parser.add_argument_group("what is trained")
    option(what, "--row", "this row alone, by its name in --list; may be repeated", action="append")
    option(what, "--seeds", "runs of each row, from seed 0 on (default: 3; of a plan, its least)", type=int)
    option(what, "--budget", "smoke, laptop, colab or full: sets data and epochs (default: EAMLIB_BUDGET)")
    option(what, "--data", "the image set, instead of the budget's, by its name in train --help")
    of_recipe(what, epochs="passes over the training images, instead of the budget's")
    option(what, "--width", "width of every row, instead of the paper's; 0.25 suits a laptop", type=float)
    of_recipe(what, precision="float32, bf16 or fp16; the last two have records and tables of their own")
    shared(parser.add_argument_group("how it is run"), "--compile", "--channels-last", "--workers")

    where = parser.add_argument_group("where")
    option(where, "--shard", "do share i of n of the runs, while other processes do the others", "1/1", metavar="i/n")
    option(where, "--engine", "local, one run after another, or ray, over a Ray cluster", "local")
    results = "for records and tables, the same for all processes (default: runs; of a plan results)"
    option(where, "--results", results, metavar="DIR")
    shared(where, "--device", "--work")
    option(where, "--keep", "keep the last checkpoints of finished runs, too", action="store_true")


def run(options: Namespace) -> None:
    from eamlib.papers.accuracy import TABLES

    one_of("table", options.table, (*TABLES, "all", "plan", "report"))
    if options.results is None:  # who tries a table leaves what is committed as it is
        options.results = "results" if options.table in ("plan", "report") else "runs"
    {"plan": _plan, "report": _report}.get(options.table, _tables)(options)


def _report(options: Namespace) -> None:
    from eamlib.book import findings
    from eamlib.papers import plans

    found = findings.findings(plans.read(options.plan), options.results)
    path = findings.save(found, Path(options.results) / "plans" / f"{found['plan']}-report")
    print(_on_screen(findings.markdown(found)))
    print(f"Saved as {path}, with its values as JSON and its two pictures beside it.")


def _plan(options: Namespace) -> None:
    from eamlib.papers import plans

    for name in ("row", "budget", "data", "epochs", "width", "precision"):
        if (value := getattr(options, name)) not in (None, "float32"):
            raise ValueError(f"--{name} = {value!r} is the plan's; allowed with a plan are --part and --seeds.")
    plan = plans.read(options.plan)
    chosen = [plan.part(name) for name in options.part or ()] or plan.parts
    units = plan.units(tuple(part.name for part in chosen), options.seeds)
    if not options.list:
        plans.refuse_uncommitted(options.plan)
        _train(options, units, plan=plan)
        return
    print(f"Plan {plan.name}: {plan.question}")
    rows = []
    for part in chosen:
        seeds = part.seeds if options.seeds is None else min(options.seeds, part.most)
        for name in part.data:
            title = f"{part.name}, {name}: {seeds} of at most {part.most} seeds"
            rows.append((title, part.plan(name, seeds), [row for _, row in part.rows]))
    _list(options, rows, units)


def _tables(options: Namespace) -> None:
    from eamlib.book import report
    from eamlib.papers.accuracy import TABLES
    from eamlib.papers.training_runs import check, plan

    tables = list(TABLES.values()) if options.table == "all" else [TABLES[options.table]]
    if options.part:
        raise ValueError(f"--part = {options.part[0]!r} is of a plan; allowed with a table is --row.")
    if options.row and len(tables) > 1:
        raise ValueError(f"--row = {options.row[0]!r} wants one table; allowed: {', '.join(TABLES)}.")
    chosen = [tables[0].row(name) for name in dict.fromkeys(options.row or ())]
    count = 3 if options.seeds is None else options.seeds
    given = {name: getattr(options, name) for name in ("epochs", "width", "precision")}
    wanted = plan(options.budget, data_name=options.data, seeds=count, **given)
    units = wanted.units(row for table in tables for row in chosen or table.rows)
    check(units)
    if options.list:
        seeds = "seed 0" if wanted.seeds == 1 else f"seeds 0 to {wanted.seeds - 1}"
        widths = "the paper's widths" if wanted.width is None else f"width {wanted.width:g}"
        precision = "" if wanted.precision == "float32" else f", {wanted.precision}"
        print(f"Budget {wanted.budget}: {wanted.epochs} epochs of {wanted.data}, {widths}, {seeds}{precision}.")
        rows = [(f"{table.name}: {table.title} ({table.paper})", wanted, chosen or table.rows) for table in tables]
        _list(options, rows, units)
        return

    def show() -> None:
        for table in tables:
            built = report.build(table, wanted, options.results)
            print(f"\n{_on_screen(report.markdown(built))}\nSaved as {report.save(built, options.results)}.")

    _train(options, units, show)


def _on_screen(markdown: str) -> str:
    from eamlib.book.report import fitted

    return markdown if width() == math.inf else fitted(markdown, int(width()))


def _how(options: Namespace) -> dict:
    """What is asked for of how the runs are run."""
    given = {name: getattr(options, name) for name in ("compile", "channels_last", "workers")}
    return {name: value for name, value in given.items() if value is not None and value is not False}


def _train(options: Namespace, units: list, show: Callable[[], None] = lambda: None, **plan) -> None:
    """Train the share of ``units`` that is asked for, and then ``show`` what there is, before those that diverged, or
    that others have not yet ended, are an error."""
    from eamlib.book.weights import again
    from eamlib.papers.reproduce import reproduce
    from eamlib.papers.training_runs import shard

    units = shard(units, options.shard)
    place = {name: getattr(options, name) for name in ("results", "work", "device", "engine", "keep")}
    for unit in units if options.keep else ():
        if unit.record(options.results) and not any(Path(options.work, unit.data, unit.name).glob("epoch-*.pt")):
            elsewhere = again(unit, f"{options.results}-again")
            print(f"{unit.data}/{unit.name}: done before, and its checkpoint is gone. {elsewhere}", flush=True)
    diverged, busy = [], []
    for outcome in reproduce(units, **place, **_how(options), **plan):
        print(f"{outcome.unit.data}/{outcome.unit.name}: {outcome.state}, {outcome.message}", flush=True)
        diverged += [outcome.unit.name] if outcome.state == "diverged" else []
        busy += [outcome.unit] if outcome.state == "busy" else []
    show()
    if diverged:
        raise FloatingPointError(f"{len(diverged)} of {len(units)} runs diverged: {', '.join(diverged)}.")
    if waiting := [unit.name for unit in busy if unit.record(options.results) is None]:
        raise Busy(f"others are at work on {len(waiting)} of {len(units)} runs: {', '.join(waiting)}.")


def _list(options: Namespace, rows: list, units: list) -> None:
    """Print what is done of ``rows``, (title, plan, rows of a table) each, as far as ``units`` has it."""
    from eamlib import data
    from eamlib.book.forecast import Forecast
    from eamlib.papers import records
    from eamlib.papers.training_runs import shard
    from eamlib.training.loop import check_precision, pick_device

    device = pick_device(options.device)
    check_precision(rows[0][1].precision, device)
    units = shard(units, options.shard)
    forecast = Forecast(options.results, options.work, device, **_how(options))
    note = ", decoding not counted" if any(plan.data not in data.IN_MEMORY for _, plan, _ in rows) else ""
    print(f"On {records.device_name(device)}. Minutes from records of this device; ~ from one step, timed now{note}.")
    room = 43 if width() > 100 else 0  # for titles
    counted, total = set(), 0.0
    for title, plan, of_title in rows:
        print(f"\n{title}")
        print(f"  {'row':<34}{'':<{room}}{'done':>10}{'minutes left':>14}")
        for progress in forecast.rows(plan, of_title, units):
            row, minutes = progress.row, f"{'' if progress.measured else '~'}{progress.minutes:,.1f}"
            done = f"{progress.done} of {len(progress.units)}"
            print(f"  {row.name:<34}{row.title[:room]:<{room}}{done:>10}{minutes:>14}", flush=True)
            total += 0 if progress.units[0] in counted else progress.minutes
            counted.update(progress.units)
    print(f"\nIn all {total:,.1f} minutes, one run after another; rows that are the same runs count once.")
