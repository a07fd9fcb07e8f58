"""The schedules, and that a recipe out of range is refused."""

import math
import re

import pytest
import torch
from torch import nn

from eamlib.training.recipe import Recipe


def test_the_learning_rate_is_torchs_one_cycle():
    steps = 230
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, steps, pct_start=0.1, cycle_momentum=False)
    for step in range(steps):
        assert Recipe(epochs=1, learning_rate=0.3).learning_rate_at(step, steps) == schedule.get_last_lr()[0]
        optimizer.step()
        if step + 1 < steps:
            schedule.step()


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11])
def test_a_short_run_has_a_learning_rate_too(steps):
    rates = [Recipe(epochs=1).learning_rate_at(step, steps) for step in range(steps)]
    assert all(0 < rate <= 0.1 for rate in rates) and max(rates) > 0.05


def test_the_learning_rate_can_stay_at_its_maximum_or_begin_there():
    constant = Recipe(epochs=1, schedule="constant")
    rates = [constant.learning_rate_at(step, 100) for step in (0, 9, 10, 99)]
    assert rates[0] == pytest.approx(0.1 / 25) and rates[1:] == [0.1, 0.1, 0.1]
    rates = [Recipe(epochs=1, warm_up=0.0).learning_rate_at(step, 100) for step in range(100)]
    assert rates == sorted(rates, reverse=True) and rates[0] == pytest.approx(0.1, rel=1e-3) and rates[-1] < 1e-6


def test_without_momentum_there_is_plain_sgd():
    [group, _] = Recipe(epochs=1, momentum=0.0).optimizer(nn.Linear(2, 2)).param_groups
    assert (group["momentum"], group["nesterov"]) == (0.0, False)


def test_the_temperature_falls_along_a_line_to_1():
    recipe = Recipe(epochs=1, temperature=31.0)
    assert [recipe.temperature_at(step, 100) for step in (0, 5, 10, 99)] == [31, 16, 1, 1]
    assert Recipe(epochs=1).temperature_at(5, 100) is None


def test_the_average_soon_forgets_the_start():
    recipe = Recipe(epochs=1, ema=0.99)
    assert [recipe.ema_at(step) for step in (0, 10, 10**6)] == [0.1, 11 / 20, 0.99]


def test_normalisation_and_biases_do_not_decay():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    decayed, spared = Recipe(epochs=1, weight_decay=0.1).optimizer(model).param_groups
    assert [p.shape for p in decayed["params"]] == [model[0].weight.shape, model[3].weight.shape]
    assert (decayed["weight_decay"], spared["weight_decay"], len(spared["params"])) == (0.1, 0.0, 4)
    assert decayed["nesterov"] and decayed["momentum"] == 0.9


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("batch_size", 0),
        ("learning_rate", 0),
        ("learning_rate", math.nan),
        ("schedule", "linear"),
        ("warm_up", 1.0),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("weight_decay", -1e-4),
        ("weight_decay", math.inf),
        ("label_smoothing", 1.0),
        ("augment", "flip"),
        ("temperature", 0),
        ("temperature", 1e-46),  # which float32 rounds to 0
        ("temperature", 1e39),
        ("ema", 1.0),
        ("ema", True),
        ("precision", "float16"),
        ("accumulate", 0),
        ("accumulate", 65),
    ],
)
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=re.escape(f"{name} = {value!r}")):
        Recipe(**({"epochs": 1} | {name: value}))
