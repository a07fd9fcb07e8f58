import numpy as np
import pytest
import torch
from torch import nn

from eamlib import create_model
from eamlib.analysis.watch import outputs_of
from eamlib.layers import DynamicConv2d, DyNetConv2d
from eamlib.redundancy import kernels, measure

IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 5, 1),
        nn.Flatten(),
        nn.Linear(180, 2),
    )


def covariance(maps):
    """NumPy's, of all positions of all maps."""
    return torch.from_numpy(np.cov(maps.double().movedim(1, 0).flatten(1).numpy(), bias=True))


def test_maps_are_noted_before_what_follows_changes_them_in_place():
    model = network()
    expected = outputs_of(model, [IMAGES], {"1": model[1]}, keep=lambda name, inputs, output: output.clone())["1"]
    assert (expected < 0).any()
    torch.testing.assert_close(measure(model, [IMAGES], ["1"])["1"].covariance, covariance(expected))


def test_batches_in_any_size_with_or_without_labels_are_one():
    model = network()
    whole = measure(model, [IMAGES])
    parts = measure(model, [(part, torch.zeros(len(part))) for part in (IMAGES[:0], *IMAGES.split(4))])
    for name in whole:
        torch.testing.assert_close(parts[name].correlation, whole[name].correlation)


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        (["3", "0"], ["3", "0"]),
        (("0", "1"), ["0", "1"]),
        (nn.ReLU, ["2"]),
        ((nn.Conv2d, nn.BatchNorm2d), ["0", "1", "3"]),
        ([nn.Conv2d, nn.ReLU], ["0", "2", "3"]),
    ],
)
def test_layers_by_name_or_by_class(layers, names):
    assert list(measure(network(), [IMAGES], layers)) == names


def test_the_layers_are_the_convolutions_if_none_are_named():
    model = nn.Sequential(nn.Conv2d(3, 6, 1), DynamicConv2d(6, 6, 1), DyNetConv2d(6, 6, 1), nn.ReLU())
    assert list(measure(model, [IMAGES])) == ["0", "1", "2"]


def test_input_is_what_the_layer_gets():
    found = measure(network(), [IMAGES], ["0", "3"], side="input")
    torch.testing.assert_close(found["0"].covariance, covariance(IMAGES))
    assert found["3"].channels == 4 and found["3"].mean.min() >= 0


@pytest.mark.parametrize(
    ("view", "samples"),
    [
        ("pixels", IMAGES),
        ("within", IMAGES - IMAGES.mean((2, 3), keepdim=True)),
        ("means", IMAGES.mean((2, 3), keepdim=True)),
    ],
)
def test_views(view, samples):
    found = measure(nn.Sequential(nn.Identity()), [IMAGES], nn.Identity, view=view)["0"]
    torch.testing.assert_close(found.covariance, covariance(samples))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_rounding_leaves_of_a_pattern_or_a_mean_is_dead(dtype):
    flat = (1000 * torch.rand(6, 3, 1, 1)).expand(6, 3, 7, 7)
    level = torch.rand(6, 3, 7, 7) * 1000
    level = level - level.flip(3)
    model = nn.Sequential(nn.Identity())
    assert measure(model, [flat.to(dtype)], nn.Identity, view="within")["0"].dead.all()
    assert measure(model, [level.to(dtype)], nn.Identity, view="means")["0"].dead.all()
    assert not measure(model, [level.to(dtype)], nn.Identity, view="within")["0"].dead.any()
    assert not measure(model, [flat.to(dtype)], nn.Identity, view="means")["0"].dead.any()


def test_half_precision_does_not_round_the_means():
    maps = (1000 + 8 * torch.randn(6, 3, 8, 8)).half()
    found = measure(nn.Sequential(nn.Identity()), [maps], nn.Identity, view="means")["0"]
    torch.testing.assert_close(found.mean, maps.double().mean((0, 2, 3)), rtol=1e-6, atol=0)


def test_a_layer_that_runs_twice_counts_both():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, input):
            return self.relu(1 - self.relu(input))

    found = measure(Twice(), [IMAGES], nn.ReLU)["relu"]
    once = IMAGES.relu()
    assert found.count == 2 * 6 * 64
    torch.testing.assert_close(found.covariance, covariance(torch.cat([once, (1 - once).relu()])))


def test_planted_dead_and_copied_channels_are_found_in_a_network():
    model = network()
    with torch.no_grad():
        model[0].weight[1] = 0
        model[0].weight[3] = -2 * model[0].weight[2]
    found = measure(model, [IMAGES], ["0"])["0"]
    assert found.dead.tolist() == [False, True, False, False]
    [pair] = found.duplicates(0.999)
    assert (pair.channel, pair.of) == (3, 2) and pair.scale == pytest.approx(-2, rel=1e-4)


def test_dead_images_make_dead_channels_and_no_nan():
    for found in measure(network(), [torch.zeros(4, 3, 8, 8)], nn.Conv2d).values():
        assert found.dead.all() and not found.correlation.any()


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2", "dy_mobile"])
def test_networks_of_the_library(name):
    options = {"width_mult": 0.5} if name == "mobilenet_v2" else {}
    model = create_model(name, num_classes=10, stem_stride=1, **options).train()
    found = measure(model, [torch.randn(2, 3, 32, 32)])
    convolutions = (nn.Conv2d, DynamicConv2d, DyNetConv2d)
    assert list(found) == [name for name, layer in model.named_modules() if isinstance(layer, convolutions)]
    assert all(torch.isfinite(one.correlation).all() and one.effective_rank() <= one.channels for one in found.values())
    assert model.training and not any(layer._forward_hooks for layer in model.modules())


def test_a_network_of_torchvision():
    models = pytest.importorskip("torchvision").models
    found = measure(models.squeezenet1_1(num_classes=3), [torch.randn(2, 3, 64, 64)], nn.ReLU)
    assert found["features.1"].channels == 64 and len(found) == 26


@pytest.mark.parametrize("side", ["output", "input"])
def test_modes_and_hooks_are_restored_even_after_an_error(side):
    model = network()
    model[1].eval()
    for images in (IMAGES, torch.zeros(1, 7, 8, 8)):
        try:
            measure(model, [images], side=side)
        except RuntimeError:
            assert images.shape[1] == 7
        assert [module.training for module in model.modules()] == [True, True, False, True, True, True, True]
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert model[1].num_batches_tracked == 0


class Pair(nn.Module):
    def forward(self, *, input=None):
        return input, input


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.pair, self.idle = Pair(), nn.ReLU()

    def forward(self, input):
        return self.pair(input=input)[0]


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (network, {"layers": ["o"]}, "layers = 'o' is unknown"),
        (network, {"layers": "0"}, r"layers = '0' is one name; allowed is a list of names, \['0'\], or a class"),
        (network, {"layers": []}, r"layers = \[\] is empty"),
        (network, {"layers": nn.Conv3d}, "layers = Conv3d: Sequential has none"),
        (network, {"layers": ["5"]}, r"layer '5': its output is of shape \[6, 2\]; allowed is \[B, C, H, W\]"),
        (network, {"side": "inputs"}, "side = 'inputs' is unknown. Did you mean 'input'"),
        (network, {"view": "mean"}, "view = 'mean' is unknown. Did you mean 'means'"),
        (network, {"batches": []}, "batches holds no image"),
        (network, {"batches": [torch.full((1, 3, 8, 8), torch.nan)]}, "layer '0': samples holds NaN"),
        (
            lambda: nn.Sequential(nn.Identity()),
            {"layers": ["0"], "view": "means", "batches": [torch.full((1, 3, 8, 8), torch.inf)]},
            "layer '0': samples holds NaN or infinite",
        ),
        (Outer, {"layers": ["pair"]}, "layer 'pair': its output is a tuple; allowed is"),
        (Outer, {"layers": ["pair"], "side": "input"}, "layer 'pair': its input is a NoneType; allowed is"),
        (Outer, {"layers": ["idle"]}, "layer 'idle' did not run"),
    ],
)
def test_bad_input_is_named(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        measure(model(), **{"batches": [IMAGES], **arguments})


def test_kernels_are_rows_of_weights():
    layers = {
        "plain": (nn.Conv2d(3, 4, 3), 4, 3 * 9),
        "depthwise": (nn.Conv2d(4, 4, 3, groups=4), 4, 9),
        "dynamic": (DynamicConv2d(4, 5, 1, num_kernels=3), 3 * 5, 4),
        "dynet": (DyNetConv2d(4, 5, 3, group_size=2), 2 * 5, 4 * 9),
    }
    found = kernels(nn.ModuleDict({name: layer for name, (layer, *_) in layers.items()}))
    assert list(found) == list(layers)
    for name, (layer, filters, weights) in layers.items():
        rows = layer.weight.detach().double().reshape(filters, weights)
        assert (found[name].channels, found[name].count) == (filters, weights)
        torch.testing.assert_close(found[name].correlation, torch.from_numpy(np.corrcoef(rows.numpy())))


def test_kernels_that_repeat_each_other_are_found():
    layer = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        layer.weight[2] = 1 - layer.weight[0]
        layer.weight[3] = 0.5
    found = kernels(nn.Sequential(layer), ["0"])["0"]
    [pair] = found.duplicates()
    assert (pair.channel, pair.of) == (2, 0) and pair.r == pytest.approx(-1)
    assert found.dead.tolist() == [False, False, False, True]


def test_only_convolutions_have_kernels():
    with pytest.raises(ValueError, match="layers: '2' is a ReLU; allowed are Conv2d, DynamicConv2d, DyNetConv2d"):
        kernels(network(), nn.ReLU)


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d])
def test_only_those_of_two_dimensions(kind):
    model = nn.Sequential(kind(8, 8, 3))
    for layers in (["0"], kind, [kind]):
        with pytest.raises(ValueError, match=f"layers: '0' is a {kind.__name__}; allowed are Conv2d, DynamicConv2d"):
            kernels(model, layers)
    with pytest.raises(ValueError, match="layers = Conv2d, DynamicConv2d, DyNetConv2d: Sequential has none"):
        kernels(model)


@pytest.mark.cuda
@pytest.mark.parametrize("view", ["pixels", "within", "means"])
def test_cuda_agrees_with_the_cpu(view):
    model = network().double()
    here = measure(model, [IMAGES.double()], view=view)
    there = measure(model.cuda(), [IMAGES.double()], view=view)
    for name in here:
        torch.testing.assert_close(there[name].covariance.cpu(), here[name].covariance)
