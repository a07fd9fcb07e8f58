"""What makes a dynamic segmentation network trail: one change at a time, each judged in the same ways."""

import pytest
import torch
from torch import nn

from eamlib.bench import segmentation
from eamlib.layers import DynamicConv2d, KernelAttention

pytest.importorskip("sklearn")


@pytest.fixture
def little(monkeypatch):
    """A few images and a network that takes no time."""
    monkeypatch.setattr(segmentation, "IMAGES", {True: 8, False: 4})

    def network(name, conv, *, num_classes, **options):
        layer = nn.Conv2d(3, 6, 3, padding=1) if conv == "static" else DynamicConv2d(3, 6, 3, padding=1)
        return nn.Sequential(layer, nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, num_classes, 1))

    monkeypatch.setattr(segmentation, "create_model", network)


def test_each_change_is_trained_with_each_seed_and_judged_in_the_same_ways(little):
    work = ["static", "dynamic", "four times as long"]
    results = list(segmentation.measure(torch.device("cpu"), work, epochs=1, rounds=2))
    assert [(r["work"], r["seed"], r["epochs"]) for r in results] == [
        (name, seed, epochs) for seed in (0, 1) for name, epochs in zip(work, (1, 1, 4), strict=True)
    ]
    ways = {"as trained", "recalibrated", "training images"}
    assert [set(r["mean_iou"]) - ways for r in results[:3]] == [set(), {"mean attention"}, {"mean attention"}]
    assert all(0 <= value <= 100 for r in results for value in r["mean_iou"].values())
    assert [sum(r["layers"].values()) for r in results[:3]] == [0, 1, 1]
    assert f"as trained {results[1]['mean_iou']['as trained']:.1f}" in "".join(segmentation.lines(results[1]))


@pytest.mark.parametrize("change", segmentation.CHANGES.values(), ids=segmentation.CHANGES)
def test_a_network_begins_as_the_change_says(little, change):
    torch.manual_seed(0)
    plain = segmentation.network(segmentation.Change(change.conv))[0]
    torch.manual_seed(0)
    changed = segmentation.network(change)[0]
    expected = plain.weight[:1].expand_as(plain.weight) if change.alike else plain.weight
    assert torch.equal(changed.weight, change.scale * expected)
    if change.conv == "dynamic":
        assert changed.attention.temperature == change.temperature


def test_coefficients_have_their_own_learning_rate(little):
    """At rate 0 they stay as they are and the kernels learn."""
    model = nn.Sequential(DynamicConv2d(3, 5, 3, padding=1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train = segmentation.segmentation.load("digits", 8, classes=4)
    segmentation.fit(model, train, 1, attention_rate=0.0)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"0.weight"}


def test_a_temperature_falls_to_one_and_nothing_else_is_left_behind(little):
    model = nn.Sequential(DynamicConv2d(3, 5, 3, padding=1))
    train = segmentation.segmentation.load("digits", 64, classes=4)
    segmentation.fit(model, train, 1, batch_size=4, cooling=30.0)
    [attention] = [m for m in model.modules() if isinstance(m, KernelAttention)]
    assert attention.temperature.item() == 1


@pytest.mark.parametrize(
    ("options", "message"), [({"work": ["luck"]}, "'luck' is unknown"), ({"epochs": 0}, "epochs = 0")]
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        next(segmentation.measure(torch.device("cpu"), **options))
