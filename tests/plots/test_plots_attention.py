import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from eamlib import diagnose, plots
from eamlib.analysis.watch import outputs_of
from eamlib.layers import DynamicConv2d, channel_selection
from eamlib.plots.attention import class_means, information
from eamlib.redundancy import Reading, premise

matplotlib.use("Agg")
CLASSES = ("cat", "crane", "cow")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def pictures(figure):
    return [ax.get_images()[0].get_array() for ax in figure.axes if ax.get_images()]


def test_readings_shows_what_is_selected_and_its_summaries():
    image, maps = torch.rand(3, 20, 20), torch.rand(1, 16, 10, 10)
    selections = {name: channel_selection(name, 16, seed=0) for name in ("rcr", "cgr", "slice1")}
    figure = plots.readings(image, maps, selections, sizes=(5, 1))
    first, *rest = pictures(figure)
    np.testing.assert_allclose(first, image.mean(0), rtol=1e-6)
    assert len(rest) == 3 * 3 * 4
    np.testing.assert_allclose(np.stack(rest[:4]), selections["rcr"](maps)[0])
    np.testing.assert_allclose(rest[-12], maps[0, 4])
    np.testing.assert_allclose(rest[-8], maps[0, 4].unfold(0, 2, 2).unfold(1, 2, 2).mean((2, 3)), rtol=1e-5)
    np.testing.assert_allclose(rest[-4], maps[0, 4].mean().view(1, 1), rtol=1e-5)
    assert {ax.get_ylabel() for ax in figure.axes} >= {"image", *selections}
    assert {ax.get_title(loc="left") for ax in figure.axes} >= {"5 × 5", "1 × 1"}


def test_readings_of_fewer_than_four_and_of_one_scale():
    figure = plots.readings(torch.rand(1, 8, 8), torch.rand(1, 8, 8, 8), {"two": channel_selection("cgr", 8, 2)})
    two = figure.axes[1:3]
    assert len(figure.axes) == 1 + 3 * 2
    assert two[0].get_images()[0].get_clim() == two[1].get_images()[0].get_clim()
    assert two[0].get_images()[0].get_clim()[0] == 0


def test_readings_refuses_what_is_no_image():
    selections = {"cgr": channel_selection("cgr", 8)}
    with pytest.raises(ValueError, match=r"image has shape \[1, 3, 8, 8\]"):
        plots.readings(torch.rand(1, 3, 8, 8), torch.rand(1, 8, 8, 8), selections)
    with pytest.raises(ValueError, match=r"maps has shape \[2, 8, 8, 8\]"):
        plots.readings(torch.rand(3, 8, 8), torch.rand(2, 8, 8, 8), selections)
    with pytest.raises(ValueError, match="selections is empty"):
        plots.readings(torch.rand(3, 8, 8), torch.rand(1, 8, 8, 8), {})


def test_class_means_by_hand():
    attention = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    means = class_means(attention, torch.tensor([0, 0, 2]), 3)
    torch.testing.assert_close(means[[0, 2]], torch.tensor([[0.75, 0.25], [0.0, 1.0]]))
    assert means[1].isnan().all()


def test_attention_by_class_writes_the_numbers():
    attention = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.2, 0.8]])
    ax = plots.attention_by_class(attention, torch.tensor([0, 0, 2, 1]), CLASSES)
    assert [text.get_text() for text in ax.texts] == ["0.75", "0.25", "0.20", "0.80", "0.00", "1.00"]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(CLASSES)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2"]


def test_attention_by_class_refuses():
    with pytest.raises(ValueError, match=r"attention has shape \[4\] for 4 labels"):
        plots.attention_by_class(torch.rand(4), torch.zeros(4).long(), CLASSES)
    with pytest.raises(ValueError, match="for 3 labels"):
        plots.attention_by_class(torch.rand(4, 2), torch.zeros(3).long(), CLASSES)
    with pytest.raises(ValueError, match="labels run from 0 to 3; allowed is 0 to 2"):
        plots.attention_by_class(torch.rand(4, 2), torch.arange(4), CLASSES)


def network():
    torch.manual_seed(0)
    return nn.Sequential(DynamicConv2d(8, 8, 3, padding=1), nn.ReLU(), DynamicConv2d(8, 8, 1))


@pytest.fixture
def epochs():
    """A layer that learns to tell three classes, and one that never looks."""
    labels = torch.arange(30) % 3
    blind = torch.full((30, 4), 0.25)
    seeing = torch.eye(4)[labels]
    return {e: {"blind": blind, "seeing": (1 - s) * blind + s * seeing} for e, s in ((1, 0.0), (3, 0.5), (6, 1.0))}


def heat_maps(figure):
    return [ax.collections[0].get_array() for ax in figure.axes if ax.get_title()]


def test_attention_over_training_shows_classes_and_information(epochs):
    labels = torch.arange(30) % 3
    figure = plots.attention_over_training(epochs, labels, CLASSES)
    *maps, last = heat_maps(figure)
    assert len(maps) + 1 == len(epochs)
    np.testing.assert_allclose(maps[0], 0.25)
    np.testing.assert_allclose(last, np.eye(4)[:3])  # the layer with most information is the one that is shown
    lines = figure.axes[-1].get_lines()
    assert [line.get_label() for line in lines] == ["1", "3", "6"]
    shown = np.array([line.get_ydata() for line in lines])
    np.testing.assert_allclose(shown[:, 0], 0, atol=1e-6)
    # Three kernels of four, used alike: log 3 / log 4 of what four would tell.
    np.testing.assert_allclose(shown[[0, 2], 1], [0, np.log(3) / np.log(4)], atol=1e-6)
    assert 0 < shown[1, 1] < shown[2, 1]
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == 3


def test_attention_over_training_of_another_layer(epochs):
    figure = plots.attention_over_training(epochs, torch.arange(30) % 3, CLASSES, layer="blind")
    assert len(heat_maps(figure)) == len(epochs)
    for shown in heat_maps(figure):
        np.testing.assert_allclose(shown, 0.25)
    with pytest.raises(ValueError, match="layer = 'deaf'"):
        plots.attention_over_training(epochs, torch.arange(30) % 3, CLASSES, layer="deaf")
    with pytest.raises(ValueError, match="epochs is empty"):
        plots.attention_over_training({}, torch.arange(30) % 3, CLASSES)


def test_information_is_that_of_diagnose():
    model, images = network(), [torch.randn(20, 8, 6, 6)] * 2
    attentions = {name: layer.attention for name, layer in model.named_modules() if isinstance(layer, DynamicConv2d)}
    ours = information(outputs_of(model, images, attentions))
    assert ours == {layer.name: pytest.approx(layer.information) for layer in diagnose(model, images)}


@pytest.fixture(scope="module")
def found():
    images = [torch.randn(60, 8, 6, 6, generator=torch.Generator().manual_seed(0))]
    readings = [Reading(channels=2, output_size=1, seed=seed) for seed in (0, 1, 2)]
    return premise(network(), images, readings)


def test_premise_by_depth_is_the_mean_over_draws_with_a_band(found):
    ax = plots.premise_by_depth({"three draws": found, "one": found[::3]})
    three, one = ax.get_lines()
    r2 = np.array([p.mean_r2 for p in found]).reshape(2, 3)
    np.testing.assert_allclose(three.get_ydata(), r2.mean(1))
    np.testing.assert_allclose(one.get_ydata(), r2[:, 0])
    [band] = ax.collections
    corners = band.get_paths()[0].vertices[:, 1]
    assert (corners.min(), corners.max()) == (pytest.approx(r2.min()), pytest.approx(r2.max()))
    assert ax.get_ylim()[0] <= min(0, r2.min())
    assert three.get_marker() != one.get_marker() and three.get_linestyle() != one.get_linestyle()


def test_premise_by_depth_of_the_attention(found):
    [line] = plots.premise_by_depth({"one": found[::3]}, of="attention").get_lines()
    np.testing.assert_allclose(line.get_ydata(), [p.attention_r2 for p in found[::3]])


def test_premise_by_depth_refuses(found):
    with pytest.raises(ValueError, match="of = 'pixels'"):
        plots.premise_by_depth({"one": found}, of="pixels")
    with pytest.raises(ValueError, match="found is empty"):
        plots.premise_by_depth({})
    with pytest.raises(ValueError, match="other layers"):
        plots.premise_by_depth({"both": found, "one": found[:3]})
    plain = premise(network(), [torch.randn(20, 8, 6, 6)], [Reading(channels=2)], ["1"])
    with pytest.raises(ValueError, match="layer '1' has no attention"):
        plots.premise_by_depth({"relu": plain}, of="attention")
