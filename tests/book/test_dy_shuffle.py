from functools import partial

import pytest
import torch
from torch import nn

from eamlib import cost, create_model
from eamlib.book.dy_shuffle import READINGS, Reading, reading_table
from eamlib.layers import ConvNormAct, conv_builder
from eamlib.layers.convolution import static_conv
from eamlib.layers.dynet import Chain, share_predictor
from eamlib.models.shufflenet_v2 import ShuffleNetV2
from eamlib.papers.dynet import COUNT_ROWS, CUT_ROWS

pytest.importorskip("fvcore")


class Unit(nn.Module):
    """A unit of Dy-shuffle as a reading has it; it does not shuffle, which costs nothing."""

    def __init__(self, in_channels, out_channels, stride, *, conv, reading):
        super().__init__()
        half, quarter = out_channels // 2, out_channels // 4
        read = middle = made = quarter
        if stride == 2:
            read = in_channels
            middle = {"input": read, "half": half, "quarter": quarter}[reading.middle]
            made = {"half": half, "quarter": quarter, "rest": out_channels - read}[reading.made]
        while middle % reading.multiple:
            middle += 1
        left = ConvNormAct(read, read, 3, 2, groups=read), ConvNormAct(read, out_channels - made, 1)
        self.shortcut = nn.Sequential(*left) if stride == 2 else nn.Identity()
        self.layers = Chain(
            ConvNormAct(read, middle, 1, conv=conv),
            ConvNormAct(middle, middle, 3, stride, groups=middle, conv=conv),
            ConvNormAct(middle, made, 1, conv=conv),
        )
        self.whole = reading.predictor == "unit"
        self.predictor = share_predictor(self, in_channels if self.whole else read)
        self.split = (in_channels - read, read) if stride == 1 else None

    def forward(self, input):
        left, right = input.split(self.split, dim=1) if self.split else (input, input)
        predicted = self.predictor(input if self.whole else right)
        output = self.layers(right, iter(predicted))
        return torch.cat((self.shortcut(left), output), dim=1)


@pytest.mark.parametrize("reading", READINGS[::5], ids=str)  # every value of every choice, in changing company
def test_a_reading_costs_what_its_network_is_counted_to_cost(reading):
    unit = partial(Unit, reading=reading)
    network = ShuffleNetV2(conv_builder("dynet"), 1000, 1.0, 2, unit=unit, last_conv=static_conv)
    counted = cost(network).multiply_adds
    convolutions, everything = reading.count()
    assert convolutions == counted["convolution"]
    assert everything == sum(counted.values()) - counted["classifier"]


@pytest.mark.parametrize("width_mult", [0.5, 1.0, 1.5, 2.0])
def test_the_librarys_own_reading_is_the_first(width_mult):
    counted = cost(create_model("dy_shuffle", width_mult=width_mult)).multiply_adds
    everything = sum(counted.values()) - counted["classifier"]
    assert Reading().count(width_mult) == (counted["convolution"], everything)
    assert Reading() in READINGS


def test_the_search_of_the_readings():
    table = reading_table()
    assert len(set(READINGS)) == 36 and len(set(table)) == 144
    assert [row.miss for row in table] == sorted(row.miss for row in table)
    near = [row for row in table if row.miss < 0.5]
    assert len(near) == 12
    assert {(row.reading.middle, row.reading.predictor) for row in near} == {("input", "branch")}
    # Rounding costs about as much as the classifier, and the left branch's width hardly anything.
    fitting = {(row.reading, row.classifier, row.cut.original) for row in near if row.miss < 0.2}
    assert fitting == {
        (Reading(made=made, multiple=multiple), multiple == 1, 146_000_000)
        for made in ("half", "rest")
        for multiple in (1, 6)
    }
    assert min(row.miss for row in table if row.reading.middle != "input") > 1.7


def test_no_reading_fits_the_cuts_and_the_count_at_one_and_a_half():
    [printed] = {row.printed for row in COUNT_ROWS if row.width_mult == 1.5}
    off = {row: abs(row.wider / 1e6 / printed - 1) for row in reading_table()}
    assert min(distance for row, distance in off.items() if row.miss < 0.5) > 0.02
    assert min(row.miss for row, distance in off.items() if distance < 0.02) > 1.7
    [ours] = {row.wider for row in off if row.reading == Reading()}
    assert f"{100 * (1 - ours / 1e6 / printed):.1f} % short" in CUT_ROWS[0].remark


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"middle": "inputs"}, "middle = 'inputs' is unknown. Did you mean 'input'.* Allowed: input, half, quarter"),
        ({"made": "input"}, "made = 'input' is unknown. Allowed: half, quarter, rest"),
        ({"multiple": 0}, "multiple = 0 must be an integer of at least 1"),
        ({"predictor": None}, "predictor = None is unknown. Allowed: branch, unit"),
    ],
)
def test_an_unknown_reading_is_named(choices, message):
    with pytest.raises(ValueError, match=message):
        Reading(**choices)


def test_a_reading_of_an_unknown_width_is_named():
    with pytest.raises(ValueError, match="width_mult = 1.25 is no width"):
        Reading().count(1.25)
