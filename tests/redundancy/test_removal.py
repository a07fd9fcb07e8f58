import time

import numpy as np
import pytest
import torch
from torch import nn

from eamlib import create_model
from eamlib.redundancy import ChannelStatistics, measure, removal_order, without

IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network(scale=-2.0, dead=None):
    """Channel 4 of its first layer is ``scale`` times channel 1 and 0.3 more."""
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(inplace=True), nn.Conv2d(5, 2, 1)).eval()
    with torch.no_grad():
        model[0].weight[4], model[0].bias[4] = scale * model[0].weight[1], scale * model[0].bias[1] + 0.3
        if dead is not None:
            model[0].weight[dead], model[0].bias[dead] = 0, 0.7
    return model


def of(samples):
    statistics = ChannelStatistics(samples.shape[1])
    statistics.update(torch.as_tensor(samples))
    return statistics


def run(model, removed, statistics=None, fill="mean"):
    with torch.no_grad(), without(model, removed, statistics, fill=fill):
        return model(IMAGES)


def test_order_takes_dead_ones_then_one_of_two_copies_and_the_other_as_any():
    samples = torch.randn(4000, 6, dtype=torch.float64)
    samples[:, 2], samples[:, 5] = 3.0, 1 - 4 * samples[:, 0]
    order = removal_order(of(samples))
    assert sorted(order) == list(range(6))
    assert order[0] == 2 and order[1] in (0, 5)
    # What is left is noise: the other copy then falls anywhere, but another seed of noise puts it elsewhere.
    positions = set()
    for seed in range(8):
        noise = torch.randn(40, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        noise[:, 5] = -noise[:, 0]
        order = removal_order(of(noise))
        assert order[0] in (0, 5)
        positions.add(order.index(5 - order[0]))
    assert len(positions) > 1


def test_the_second_copy_stays_where_it_says_most():
    samples = torch.randn(4000, 4, dtype=torch.float64)
    samples[:, 1] += samples[:, 2]
    samples[:, 3] = samples[:, 0]
    order = removal_order(of(samples))
    assert order[0] in (0, 3) and order[1] in (1, 2) and order[-1] != order[0]
    assert order.index(3 - order[0]) >= 2


def test_order_is_what_regressions_anew_at_every_step_say():
    random = np.random.default_rng(0)
    samples = random.normal(size=(80, 9)) @ random.normal(size=(9, 9))
    left, expected = list(range(9)), []
    while left:
        correlation = np.corrcoef(samples[:, left].T) if len(left) > 1 else np.ones((1, 1))
        expected.append(left.pop(int(np.diag(np.linalg.inv(correlation)).argmax())))
    assert removal_order(of(samples))[:-2] == expected[:-2]  # the last two predict each other alike


def test_order_of_dead_channels_alone():
    assert removal_order(of(torch.ones(5, 3))) == [0, 1, 2]
    assert removal_order(ChannelStatistics(2)) == [0, 1]


def test_order_of_a_wide_layer_does_not_take_minutes():
    statistics = of(torch.randn(700, 512) @ torch.randn(512, 512))
    start = time.perf_counter()
    assert sorted(removal_order(statistics)) == list(range(512))
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("scale", [-2.0, 0.5])
@pytest.mark.parametrize("gone", [1, 4])
def test_the_rest_makes_up_for_a_copy_and_the_mean_does_not(scale, gone):
    model = network(scale)
    with torch.no_grad():
        expected = model(IMAGES)
    statistics = measure(model, [IMAGES], ["0"])
    torch.testing.assert_close(run(model, {"0": [gone]}, statistics, "rest"), expected)
    assert (run(model, {"0": [gone]}, statistics, "mean") - expected).abs().max() > 1e-3
    assert (run(model, {"0": [1, 4]}, statistics, "rest") - expected).abs().max() > 1e-3


@pytest.mark.parametrize("fill", ["mean", "rest"])
def test_a_dead_channel_is_not_missed(fill):
    model = network(dead=2)
    with torch.no_grad():
        expected = model(IMAGES)
    torch.testing.assert_close(run(model, {"0": [2]}, measure(model, [IMAGES], ["0"]), fill), expected)
    assert (run(model, {"0": [2]}, fill="zero") - expected).abs().max() > 1e-3


def test_what_stands_in_by_hand():
    layer = nn.Sequential(nn.Conv2d(3, 3, 1))
    with torch.no_grad():
        maps = layer(IMAGES)
    statistics = measure(layer, [IMAGES], ["0"])
    kept = maps[:, [0, 1]]
    zero, mean, rest = (run(layer, {"0": [2]}, statistics, fill) for fill in ("zero", "mean", "rest"))
    for filled in (zero, mean, rest):
        torch.testing.assert_close(filled[:, [0, 1]], kept)
    assert not zero[:, 2].any()
    torch.testing.assert_close(mean[:, 2], maps[:, 2].mean().expand_as(mean[:, 2]))
    rows = [channel.flatten().double() for channel in maps.unbind(1)]
    features = torch.stack([rows[0], rows[1], torch.ones_like(rows[0])], 1)
    solution = torch.linalg.lstsq(features, rows[2][:, None]).solution
    torch.testing.assert_close(rest[:, 2].flatten().double(), (features @ solution)[:, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fill", ["zero", "mean", "rest"])
def test_all_channels_may_go_and_none(fill):
    model = network()
    statistics = measure(model, [IMAGES], ["0"])
    with torch.no_grad():
        torch.testing.assert_close(run(model, {"0": []}, statistics, fill), model(IMAGES))
        torch.testing.assert_close(run(model, {}, statistics, fill), model(IMAGES))
    answer = run(model, {"0": range(5)}, statistics, fill)
    torch.testing.assert_close(answer, answer[:1, :, :1, :1].expand_as(answer))


def test_channels_come_in_any_order_twice_or_from_numpy():
    model = network()
    expected = run(model, {"0": [0, 3]}, fill="zero")
    for channels in ([3, 0, 3], (3, 0), np.array([0, 3]), torch.tensor([0, 3])):
        torch.testing.assert_close(run(model, {"0": channels}, fill="zero"), expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("fill", ["zero", "mean", "rest"])
def test_layout_and_half_precision_stay(fill, layout):
    layer = nn.Sequential(nn.Identity())
    statistics = measure(layer, [IMAGES], ["0"])
    images = IMAGES.bfloat16().to(memory_format=layout)
    with without(layer, {"0": [1]}, statistics, fill=fill):
        answer = layer(images)
    assert answer.dtype == torch.bfloat16 and answer.is_contiguous(memory_format=layout)
    assert not torch.equal(answer, images) and torch.equal(images, IMAGES.bfloat16())


def test_a_whole_network_loses_channels_in_every_layer():
    model = create_model("mobilenet_v1", width_mult=0.25, num_classes=4, stem_stride=1).eval().double()
    images = torch.randn(4, 3, 32, 32).double()
    statistics = measure(model, [images], nn.ReLU)
    removed = {name: removal_order(one)[: one.channels // 2] for name, one in statistics.items()}
    before = model(images)
    for fill in ("zero", "mean", "rest"):
        with without(model, removed, statistics, fill=fill) as same:
            assert same is model and (model(images) - before).abs().max() > 0
    torch.testing.assert_close(model(images), before)


def test_hooks_are_gone_even_after_an_error():
    model = network().train()
    with pytest.raises(RuntimeError, match="expected input"), without(model, {"0": [1]}, fill="zero"):
        model(IMAGES[:, :2])
    with pytest.raises(ValueError, match="holds channel 7"):
        run(model, {"0": [1], "2": [7]}, measure(model, [IMAGES]))
    assert not any(module._forward_hooks for module in model.modules())


class Tuple(nn.Module):
    def forward(self, input):
        return input, input


STATISTICS = {"0": of(torch.randn(9, 5)), "2": of(torch.randn(9, 7))}


@pytest.mark.parametrize(
    ("removed", "statistics", "fill", "message"),
    [
        ({"0": [1]}, STATISTICS, "means", "fill = 'means' is unknown. Did you mean 'mean'"),
        ({"first": [1]}, STATISTICS, "mean", "layers = 'first' is unknown"),
        ({"0": [1]}, None, "mean", "statistics has no layer '0', which fill = 'mean' needs"),
        ({"1": [1]}, STATISTICS, "rest", "statistics has no layer '1', which fill = 'rest' needs"),
        ({"0": [1, 5]}, STATISTICS, "mean", r"removed\['0'\] holds channel 5; allowed is from 0 to 4"),
        ({"0": [-1]}, STATISTICS, "rest", r"removed\['0'\] holds channel -1; allowed is from 0 to 4"),
        ({"0": [-1]}, None, "zero", r"removed\['0'\] holds channel -1; allowed is at least 0"),
        ({"0": [5]}, None, "zero", r"removed\['0'\] holds channel 5; allowed is from 0 to 4"),
        ({"2": [1]}, STATISTICS, "mean", r"statistics\['2'\] is of 7 channels; allowed are 2, the layer's own"),
        ({"3": [1]}, None, "zero", "layer '3': its output is a tuple; allowed is"),
    ],
)
def test_bad_input_is_named(removed, statistics, fill, message):
    with pytest.raises(ValueError, match=message):
        run(nn.Sequential(*network(), Tuple()), removed, statistics, fill)


@pytest.mark.cuda
@pytest.mark.parametrize("fill", ["zero", "mean", "rest"])
def test_cuda_agrees_with_the_cpu(fill):
    model = network().double()
    images = IMAGES.double()
    statistics = measure(model, [images], ["0"])
    with torch.no_grad(), without(model, {"0": [1, 4]}, statistics, fill=fill):
        here = model(images)
    model.cuda()
    with torch.no_grad(), without(model, {"0": [1, 4]}, measure(model, [images], ["0"]), fill=fill):
        torch.testing.assert_close(model(images.cuda()).cpu(), here)
