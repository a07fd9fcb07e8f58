import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from eamlib import cost, create_model
from eamlib.__main__ import main
from eamlib.layers import DyNetConv2d
from eamlib.models.shufflenet_v2 import stage_widths
from eamlib.papers.dynet import COUNT_ROWS, CUT_ROWS, count_table, cut_table

pytest.importorskip("fvcore")

# Multiply-adds in millions: of the static network; of the dynamic one's convolutions and classifier; of all of it.
EXPECTED = {
    "dy_mobile": (300.8, 130.5, 136.4),
    "dy_resnet18": (1814.1, 577.5, 594.8),
    "dy_resnet50": (4089.2, 1127.4, 1174.4),
    "dy_shuffle": (144.9, 87.7, 91.8),
}


@pytest.fixture(scope="module")
def cuts():
    return {row.dynamic: (row, ours) for row, ours in cut_table()}


@pytest.fixture(scope="module")
def counts():
    return {row.model: (row, ours.multiply_adds) for row, ours in count_table()}


def test_the_counts_are_these(cuts):
    assert {
        name: tuple(round(n / 1e6, 1) for n in (ours.original, ours.convolutions, ours.everything))
        for name, (_, ours) in cuts.items()
    } == EXPECTED


@pytest.mark.parametrize("name", ["dy_mobile", "dy_resnet18", "dy_resnet50"])
def test_both_versions_cuts_come_out_each_in_its_own_count(cuts, name):
    row, ours = cuts[name]
    assert abs(ours.first - row.first) < 0.15
    assert abs(ours.second - row.second) < 0.15


def test_both_cuts_of_dy_shuffle_come_out_over_the_printed_count(cuts):
    row, ours = cuts["dy_shuffle"]
    over_printed = ours.over(row.printed * 10**6)
    assert abs(over_printed.first - row.first) < 0.2
    assert abs(over_printed.second - row.second) < 0.2
    assert [round(cut, 1) for cut in (ours.first, ours.second)] == [39.5, 36.7]  # over ours they do not


def test_the_other_originals_are_nearer_by_our_count(cuts):
    for name in ("dy_mobile", "dy_resnet18", "dy_resnet50"):
        row, ours = cuts[name]
        over_printed = ours.over(row.printed * 10**6)
        assert abs(ours.first - row.first) < abs(over_printed.first - row.first), name
        assert abs(ours.second - row.second) < abs(over_printed.second - row.second), name


@pytest.mark.parametrize(("width_mult", "printed"), [(1.0, 146), (1.5, 299), (2.0, 591)])
def test_the_release_of_shufflenet_v2_costs_what_its_paper_prints(width_mult, printed):
    counted = sum(cost(create_model("shufflenet_v2", width_mult=width_mult)).multiply_adds.values())
    half, kept = stage_widths(width_mult)[0] // 2, 24
    # The first unit's left branch keeps its 24 channels, and the right one makes the rest.
    released = counted + 28**2 * (half - kept) ** 2
    assert round(released / 1e6) == printed != round(counted / 1e6)
    if width_mult == 1.0:
        assert f"{released / 1e6:.1f} M" in CUT_ROWS[0].remark


@pytest.mark.parametrize(
    ("name", "within"), [("fix_mobile", 0.003), ("dy_mobile", 0.003), ("fix_shuffle", 0.04), ("dy_shuffle", 0.04)]
)
def test_the_ablations_counts_are_near(counts, name, within):
    row, ours = counts[name]
    assert abs(ours["convolution"] / 1e6 / row.printed - 1) < within


def test_only_these_widths_fit_the_ablations_counts():
    fitting = {
        (name, width_mult, printed)
        for name in ("fix_mobile", "fix_shuffle")
        for width_mult in (1.0, 1.5)
        for printed in (129, 171)
        if abs(cost(create_model(name, width_mult=width_mult)).multiply_adds["convolution"] / 1e6 / printed - 1) < 0.04
    }
    assert fitting == {("fix_mobile", 1.0, 129), ("fix_shuffle", 1.5, 171)}


def test_the_segmentation_network(counts):
    _, static = counts["fcn_resnet50"]
    row, dynamic = counts["fcn_dy_resnet50"]
    assert round(static["convolution"] / 1e9, 1) == 311.3  # printed: 310.8
    assert round(dynamic["convolution"] / 1e9, 1) == 100.9  # printed: 95.6
    head = 256 * (9 * 1024 + 19) * 96**2  # what half of the head's 512 channels cost
    assert round((dynamic["convolution"] - head) / 1e9, 1) == 79.1
    assert "79.1 G" in row.remark


def test_dynet_keeps_the_widths_of_mobilenet_v3():
    for name in ("mobilenet_v3_small", "mobilenet_v3_large"):
        static, dynamic = (cost(create_model(name, conv)).multiply_adds for conv in ("static", "dynet"))
        assert static["convolution"] == dynamic["convolution"]
        assert static["aggregation"] == 0 < dynamic["aggregation"]


@pytest.mark.parametrize("name", ["dy_mobile", "fix_mobile", "dy_shuffle", "fix_shuffle", "dy_resnet18", "dy_resnet50"])
@torch.no_grad()
def test_another_counter_agrees_on_the_convolutions(name, monkeypatch):
    # As matrices, pointwise kernels would look to it like the mixing.
    monkeypatch.setattr(DyNetConv2d, "_is_pointwise", lambda layer: False)
    model = create_model(name, num_classes=5).eval()
    ours = cost(model, (3, 64, 64))
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 64, 64))
    theirs = counter.get_flop_counts()["Global"]
    assert theirs[torch.ops.aten.convolution] == 2 * ours.by_part["convolution"]  # it counts two for a multiply-add
    products = sum(flops for operation, flops in theirs.items() if operation != torch.ops.aten.convolution)
    assert products == 2 * sum(ours.multiply_adds[part] for part in ("attention", "aggregation", "classifier"))


@pytest.mark.parametrize(
    ("kernel_size", "options", "numbers"), [(3, {"padding": 1, "groups": 2}, 8 * 8 * 9), (1, {}, 8 * 16)]
)
def test_the_parts_by_hand_and_however_the_layer_is_run(kernel_size, options, numbers):
    for fuse in ("auto", "kernels", "maps"):
        layer = DyNetConv2d(16, 8, kernel_size, **options, fuse=fuse)
        counted = cost(layer, (16, 10, 10))
        assert counted.multiply_adds == {
            "convolution": 100 * numbers,
            "attention": 16 * 8 * 6,
            "aggregation": 6 * numbers,
            "normalization": 0,
            "classifier": 0,
        }
        assert counted.by_part["attention"] == 16 * 8 * 6 + 16 * 100  # pooling reads each value once
        assert layer.fuse == fuse and layer.training


def test_command_prints_every_row(capsys):
    assert main(["cost", "--paper", "dynet"]) == 0
    printed = capsys.readouterr().out
    for row in CUT_ROWS:
        static, convolutions, everything = EXPECTED[row.dynamic]
        both = r"[\d.]+ +[\d.]+"
        figures = rf"{static} +{row.printed} +{convolutions} +{both} +{row.first} +{everything} +{both} +{row.second}"
        assert re.search(rf"^{re.escape(row.network)}\** +{figures}$", printed, re.MULTILINE), row.network
    for row in COUNT_ROWS:
        assert re.search(rf"^{re.escape(row.network)}\** +{row.printed:,} ", printed, re.MULTILINE), row.network
    readings = re.findall(r"^(\w+) +(\w+) +([16]) +(\w+) +(?:yes|no) .* %$", printed, re.MULTILINE)
    assert [reading[0] for reading in readings] == ["input"] * 12 + ["half", "quarter"]
    assert re.search(r"^input +half +1 +branch +yes +146.0 +39.97 +37.15 +0.15 +-3.9 %$", printed, re.MULTILINE)


def test_an_unknown_paper_is_named(capsys):
    assert main(["cost", "--paper", "dynett"]) == 2
    assert "--paper = 'dynett' is unknown. Did you mean 'dynet'? Allowed: eam, dynet." in capsys.readouterr().err
