"""What holds the recipe back: one change at a time, on images that no training saw."""

import pytest
import torch
from torch import nn

from eamlib import data
from eamlib.bench import recipe


@pytest.fixture
def digits(monkeypatch):
    """Digits in CIFAR's place, and a network that takes no time."""
    few = data.load("digits")
    few = few.subset(slice(200))
    monkeypatch.setattr(recipe.data, "load", lambda name: few)
    made = []

    def network(name, conv, *, width_mult, **options):
        made.append(width_mult)
        return nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Flatten(), nn.Linear(64, 10))

    monkeypatch.setattr(recipe, "create_model", network)
    return few, made


def test_each_change_is_trained_alone_and_judged_on_what_it_did_not_see(digits, tmp_path):
    few, made = digits
    work = ["the plan's recipe", "width ×0.5", "twice the epochs"]
    results = list(recipe.measure(torch.device("cpu"), work, epochs=1, folder=tmp_path))
    assert [(result["work"], result["epochs"]) for result in results] == list(zip(work, (1, 1, 2), strict=True))
    assert made == [0.25, 0.5, 0.25]
    out = sum(int((few.labels == label).sum()) // 10 for label in range(10))
    assert {tuple(result["images"]) for result in results} == {(len(few) - out, out)}
    assert f"{results[0]['held_out']:.2f} % of {out} held-out images" in "".join(recipe.lines(results[0]))


def test_every_tenth_image_of_each_class_is_held_out(digits):
    few, _ = digits
    train, held_out = recipe.split(few)
    for label in range(10):
        count = int((few.labels == label).sum())
        assert int((held_out.labels == label).sum()) == count // 10
        assert int((train.labels == label).sum()) == count - count // 10
    tenth = few.images[few.labels == 3][9]
    assert any(torch.equal(image, tenth) for image in held_out.images)


def test_an_unknown_change_is_named(digits):
    with pytest.raises(ValueError, match="work = 'more luck' is unknown"):
        next(recipe.measure(torch.device("cpu"), ["more luck"]))
