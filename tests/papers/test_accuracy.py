from itertools import combinations

import pytest
import torch

from eamlib.layers import DynamicConv2d, DyNetConv2d, EAMAttention, KernelAttention, UniformAttention
from eamlib.papers.accuracy import OURS, TABLES
from eamlib.papers.training_runs import RECIPE, Plan
from eamlib.training.recipe import Recipe

PLAN = Plan("full", "cifar10", 200)
ROWS = [(table, row) for table in TABLES.values() for row in table.rows]
OF_EAM = [table for table in TABLES.values() if table.paper == "Ding et al. 2021"]


def test_every_table_has_its_rows():
    assert {name: len(table.rows) for name, table in TABLES.items()} == {
        "baseline": 28,
        "channels": 4,
        "selection": 8,
        "pooling": 3,
        "output-size": 7,
        "g_t": 4,
        "fix-dy": 4,
        "tricks": 11,
        "attention": 5,
    }, "a row came or went: bring the number here up to it, and the tables of results/ by `make numbers`"
    for table in TABLES.values():
        assert len({row.name for row in table.rows}) == len({row.title for row in table.rows}) == len(table.rows)


@pytest.mark.parametrize(("table", "row"), ROWS, ids=lambda thing: thing.name)
def test_a_row_is_compared_with_a_row_of_its_table(table, row):
    if row.baseline is not None:
        baseline = table.row(row.baseline)
        assert baseline.width_mult == row.width_mult and (
            baseline.printed.keys() == row.printed.keys() or not (baseline.printed and row.printed)
        )
        assert (
            baseline.network.removeprefix("fix_") == row.network.removeprefix("dy_") or baseline.network == row.network
        )


def test_rows_are_the_same_run_where_and_only_where_their_figures_are_the_same():
    rows = [row for table in OF_EAM for row in table.rows if row.printed]
    for one, other in combinations(rows, 2):
        assert (PLAN.unit(one, 0) == PLAN.unit(other, 0)) == (one.printed == other.printed)
    assert len(PLAN.units(rows)) == PLAN.seeds * 34


@pytest.mark.parametrize(
    ("table", "row", "baseline"),
    [
        ("channels", "n4", "mobilenet_v1-x1-eam-rcr"),
        ("selection", "rcr", "mobilenet_v1-x1-eam-rcr"),
        ("selection", "cgr", "mobilenet_v1-x1-eam-cgr"),
        ("pooling", "avg", "mobilenet_v1-x1-eam-rcr"),
        ("output-size", "p5", "mobilenet_v1-x1-eam-rcr"),
        *((name, "dynamic", "mobilenet_v1-x1-dynamic") for name in ("channels", "selection", "pooling", "output-size")),
    ],
)
def test_the_ablations_repeat_rows_of_the_first_table_under_other_names(table, row, baseline):
    assert PLAN.unit(TABLES[table].row(row), 0) == PLAN.unit(TABLES["baseline"].row(baseline), 0)


@pytest.mark.parametrize(("network", "gain"), [("mobilenet_v1", 0.43), ("mobilenet_v2", 0.56)])
def test_the_gains_that_the_papers_cost_table_prints(network, gain):
    eam = TABLES["baseline"].row(f"{network}-x1-eam-rcr")
    dynamic = TABLES["baseline"].row(eam.baseline)
    assert round(eam.printed["imagenet100"] - dynamic.printed["imagenet100"], 2) == gain


def test_each_part_of_the_recipe_is_changed_once():
    usual = Recipe(epochs=1, **RECIPE)
    for row in TABLES["tricks"].rows:
        assert len(row.changes) == (row.baseline is not None)
        for name, value in row.changes.items():
            assert name in ("augment", "temperature") or getattr(usual, name) != value
            assert dict(PLAN.unit(row, 0).changes) == row.changes


def test_what_is_not_in_our_text_is_none_and_said():
    for table in TABLES.values():
        if table.paper == OURS:  # its rows are none of a paper's, or those of the first table
            printed = {(row.network, row.conv, row.width_mult): row.printed for row in TABLES["baseline"].rows}
            for row in table.rows:
                assert not row.printed or row.printed == printed[row.network, row.conv, row.width_mult]
            continue
        unknown = {row.printed[data] is None for row in table.rows for data in row.printed}
        assert unknown == {table.number is None}
        assert ("not in the text that we hold" in table.remark) == (table.number is None)


ATTENTIONS = {"dynamic": KernelAttention, "dynamic-uniform": UniformAttention, "eam": EAMAttention}


@pytest.mark.parametrize(("table", "row"), ROWS, ids=lambda thing: thing.name)
def test_a_row_builds_the_network_that_it_names(table, row):
    with torch.device("meta"):
        model = PLAN.unit(row, 0).build()
    layers = [module for module in model.modules() if isinstance(module, DynamicConv2d | DyNetConv2d)]
    kind = row.conv.split("-")[0]
    assert bool(layers) == (kind != "static")
    for layer in layers:
        assert isinstance(layer, DyNetConv2d) == (kind == "dynet")
        if kind == "dynet":
            assert layer.group_size == row.options.get("group_size", 6)
        else:
            assert type(layer.attention) is ATTENTIONS.get(row.conv, ATTENTIONS[kind])
        if row.conv in ("eam-rcr", "eam-cgr", "eam-cgr-max"):
            attention = layer.attention
            assert (attention.select.out_channels, attention.pool, attention.output_size) == tuple(
                row.options.get(name, default)
                for name, default in (("channels", 4), ("pool", "avg"), ("output_size", 5))
            )


def test_an_unknown_row_is_named():
    with pytest.raises(ValueError, match="row = 'n3' is unknown. Did you mean 'n8'. Allowed: dynamic, n2, n4, n8"):
        TABLES["channels"].row("n3")
