import dataclasses
import math
import warnings

import pytest
import torch
from torch import nn

from eamlib import CollapseWarning, convert, diagnose
from eamlib.layers import DynamicConv2d


class Given(nn.Module):
    """An attention that answers image i with row i, over and over."""

    def __init__(self, *rows):
        super().__init__()
        self.register_buffer("rows", torch.tensor(rows))

    def forward(self, input):
        return self.rows[torch.arange(len(input)) % len(self.rows)]


def network(*attentions):
    layers = [DynamicConv2d(3, 3, 1, num_kernels=a.rows.shape[1], attention=a) for a in attentions]
    return nn.Sequential(*layers)


IMAGES = [torch.randn(4, 3, 5, 5)] * 2


def test_by_hand():
    [layer] = diagnose(network(Given([0.75, 0.25], [0.25, 0.75])), IMAGES)
    row = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert (layer.name, layer.images, layer.verdict) == ("0", 8, "dynamic")
    torch.testing.assert_close(layer.use, torch.tensor([0.5, 0.5]).double())
    assert layer.use_entropy == pytest.approx(1)
    assert layer.entropy == pytest.approx(row)
    assert layer.information == pytest.approx(1 - row)


@pytest.mark.parametrize(
    ("rows", "entropy", "information", "verdict"),
    [
        (([1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]), 0, 0.5, "dynamic"),
        (([0.25, 0.25, 0.25, 0.25],), 1, 0, "static"),
        (([0.7, 0.1, 0.1, 0.1],), 0.678, 0, "static"),
        (([0.25 + 0.012, 0.25 - 0.012, 0.25, 0.25], [0.25, 0.25, 0.25 + 0.012, 0.25 - 0.012]), 1, 0, "static"),
        (([0.30, 0.20, 0.30, 0.20], [0.20, 0.30, 0.20, 0.30]), 0.985, 0.0145, "dynamic"),
        (([1.0],), 0, 0, "static"),
    ],
)
def test_verdicts(rows, entropy, information, verdict):
    [layer] = diagnose(network(Given(*rows)), IMAGES)
    assert layer.entropy == pytest.approx(entropy, abs=1e-3)
    assert layer.information == pytest.approx(information, abs=1e-3)
    assert layer.information >= 0
    assert layer.verdict == verdict


def test_collapse_is_warned_of_once_with_every_layer():
    model = network(Given([0.97, 0.03]), Given([0.9, 0.1]), Given([0.0, 1.0]))
    with pytest.warns(CollapseWarning, match="more than 95% of the use in '0', '2': the other") as caught:
        layers = diagnose(model, IMAGES)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert [layer.verdict for layer in layers] == ["collapsed", "static", "collapsed"]


def test_a_converted_network_is_not_warned_of():
    torch.manual_seed(0)
    model = convert(nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layers = diagnose(model, IMAGES)
    assert [layer.name for layer in layers] == ["2", "4"]
    assert all(layer.entropy > 0.8 for layer in layers)


def test_the_list_is_a_table():
    pandas = pytest.importorskip("pandas")
    layers = diagnose(network(Given([0.75, 0.25], [0.25, 0.75]), Given([0.2, 0.3, 0.5])), IMAGES)
    table = pandas.DataFrame(layers)
    assert list(table) == [field.name for field in dataclasses.fields(layers[0])]
    assert table.loc[1, "information"] == layers[1].information
    assert [len(use) for use in table["use"]] == [2, 3]


def test_labels_are_not_read_and_everything_is_as_it_was():
    model = network(Given([0.75, 0.25])).train()
    diagnose(model, [(images, torch.zeros(99)) for images in IMAGES])
    assert model.training and not model[0]._forward_pre_hooks


@pytest.mark.parametrize(
    ("poison", "message"),
    [
        (lambda model, images: images[0].fill_(math.nan), "layer '0' is NaN in its call 1; its input already held NaN"),
        (
            lambda model, images: model[1].attention.predict[2].bias.fill_(math.nan),
            "'1' is NaN in its call 1; its input held no",
        ),
    ],
)
def test_nan_is_traced_to_its_layer(poison, message):
    model = nn.Sequential(*[DynamicConv2d(8, 8, 1) for _ in range(3)]).train()
    images = torch.randn(2, 8, 4, 4)
    with torch.no_grad():
        poison(model, images)
    with pytest.raises(ValueError, match=message):
        diagnose(model, [images])
    assert all(module.training and not module._forward_pre_hooks for module in model.modules())


class Shared(nn.Module):
    """One layer under two names, called twice, with ``between`` done to what it answers first."""

    def __init__(self, layer, between):
        super().__init__()
        self.first, self.between, self.second = layer, between, nn.Sequential(layer)

    def forward(self, x):
        return self.second(self.between(self.first(input=x)))


def test_a_layer_in_two_places_is_named_by_both():
    model = Shared(DynamicConv2d(3, 3, 1), lambda x: x / 0 * 0)
    with pytest.raises(ValueError, match="layer 'first' = 'second.0' is NaN in its call 2; its input already held"):
        diagnose(model, IMAGES)
    with pytest.raises(ValueError, match="layer 'first' = 'second.0' is NaN in its call 3; its input already held"):
        diagnose(Shared(model.first, nn.Identity()), [IMAGES[0], IMAGES[1] * math.nan])
    model = Shared(DynamicConv2d(3, 3, 1, num_kernels=2, attention=Given([0.97, 0.03])), nn.ReLU(inplace=True))
    with pytest.warns(CollapseWarning, match="of the use in 'first' = 'second.0': the other"):
        [layer] = diagnose(model, IMAGES)
    assert (layer.name, layer.images) == ("first", 16)  # twice eight


def test_calls_are_judged_together():
    attention = Given([1.0, 0.0])
    # The other kernel for everything in the second call: not one mixture for all.
    model = Shared(DynamicConv2d(3, 3, 1, num_kernels=2, attention=attention), lambda x: turn(attention, x))
    [layer] = diagnose(model, IMAGES[:1])
    assert layer.use.tolist() == [0.5, 0.5] and layer.verdict == "dynamic"


def turn(attention, x):
    attention.rows = attention.rows.flip(1)
    return x


@pytest.mark.parametrize(
    "labels", [[0, 1, 2, 3], ("a", "b", "c", "d"), None, [{"boxes": []}] * 4, torch.zeros(4), {"label": 1}]
)
def test_labels_of_any_kind_are_not_read(labels):
    [layer] = diagnose(network(Given([0.75, 0.25])), [(IMAGES[0], labels)])
    assert layer.images == 4


@pytest.mark.parametrize(
    ("model", "batches", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 3, 1)), IMAGES, "has no dynamic layer; at least one DynamicConv2d is needed"),
        (network(Given([0.5, 0.5])), [IMAGES[0][:1]], "batches holds 1 image; at least 2"),
        (network(Given([0.5, 0.9])), IMAGES, "attention of layer '0' sums to 1.4 … 1.4, its least weight is 0.5"),
        (network(Given([1.5, -0.5])), IMAGES, "its least weight is -0.5"),
        (network(Given([0.5, 0.5])), [], "batches holds no image"),
    ],
)
def test_bad_input_is_named(model, batches, message):
    with pytest.raises(ValueError, match=message):
        diagnose(model, batches)
