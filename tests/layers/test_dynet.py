import copy
import gc
import weakref
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from eamlib import create_model
from eamlib.layers import (
    BlockPredictor,
    Chain,
    CoefficientPredictor,
    DepthwiseSeparable,
    DyNetConv2d,
    conv_builder,
    run_chains,
    share_predictor,
)
from eamlib.models.dy_mobile import NarrowResidual
from eamlib.models.resnet import BasicBlock
from eamlib.models.shufflenet_v2 import ShuffleUnit

# in_channels, out_channels, kernel_size and the rest of a convolution's arguments.
SHAPES = [
    (8, 6, 1, {}),
    (8, 6, 1, {"stride": (2, 1), "bias": True}),
    (8, 6, 1, {"padding": 1}),
    (8, 6, 3, {"stride": 2, "padding": 1, "bias": True}),
    (8, 12, 3, {"padding": 2, "dilation": 2, "groups": 4, "group_size": 2}),
    (6, 6, (3, 1), {"padding": (1, 0), "groups": 6, "bias": True, "group_size": 1}),
    (4, 8, 3, {"padding": "same", "groups": 2}),
]


def one_channel_after_the_other(layer, x):
    """The definition: for every sample and output channel mix its kernels, then convolve."""
    eta = layer.coefficients(x).unflatten(1, (layer.out_channels, layer.group_size))
    weight = layer.weight.unflatten(0, (layer.out_channels, layer.group_size))
    outputs = []
    for b, sample in enumerate(x):
        kernel = torch.stack(
            [sum(e * w for e, w in zip(eta[b, t], weight[t], strict=True)) for t in range(len(weight))]
        )
        bias = None if layer.bias is None else (eta[b] * layer.bias.view_as(eta[b])).sum(1)
        outputs.append(F.conv2d(sample, kernel, bias, layer.stride, layer.padding, layer.dilation, layer.groups))
    return torch.stack(outputs)


def run(layer, x, fuse):
    """Output and the gradients of every parameter and of the input."""
    layer.fuse = fuse
    x = x.clone().requires_grad_()
    output = layer(x)
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return output, *torch.autograd.grad((output * weights).sum(), [x, *layer.parameters()])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float, 1e-5), (torch.double, 1e-12)])
@pytest.mark.parametrize(("in_channels", "out_channels", "kernel_size", "options"), SHAPES)
def test_kernels_fused_are_maps_fused_and_their_gradients_too(
    in_channels, out_channels, kernel_size, options, dtype, tolerance
):
    torch.manual_seed(0)
    layer = DyNetConv2d(in_channels, out_channels, kernel_size, **options, dtype=dtype)
    x = torch.randn(3, in_channels, 7, 6, dtype=dtype)
    kernels, maps = run(layer, x, "kernels"), run(layer, x, "maps")
    torch.testing.assert_close(kernels[0], one_channel_after_the_other(layer, x), rtol=tolerance, atol=tolerance)
    for a, b in zip(kernels, maps, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * max(1, b.abs().max().item()))


def test_auto_fuses_maps_in_training_and_kernels_after(monkeypatch):
    layer, ran = DyNetConv2d(4, 4, 3, padding=1), []
    for way in ("_fuse_maps", "_fuse_kernels"):
        original = getattr(layer, way)
        monkeypatch.setattr(layer, way, lambda *a, way=way, original=original: ran.append(way) or original(*a))
    x = torch.randn(2, 4, 5, 5)
    outputs = [layer.train()(x), layer.eval()(x)]
    assert ran == ["_fuse_maps", "_fuse_kernels"]
    torch.testing.assert_close(*outputs)


def test_one_kernel_of_coefficient_one_is_a_plain_convolution():
    class Ones(nn.Module):
        def forward(self, input):
            return input.new_ones(len(input), 6)

    layer, plain = DyNetConv2d(4, 6, 3, group_size=1, coefficients=Ones()), nn.Conv2d(4, 6, 3, bias=False)
    layer.weight.data.copy_(plain.weight)
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(layer(x), plain(x))


def test_kernels_are_drawn_as_a_convolution_draws_its_own():
    layer = DyNetConv2d(64, 64, 3)
    bound = 1 / (64 * 9) ** 0.5  # nn.Conv2d draws uniformly up to 1 / sqrt(fan in)
    for kernels in layer.weight.chunk(6):
        assert 0.98 * bound < kernels.abs().max() <= bound


@pytest.mark.parametrize("fuse", ["kernels", "maps"])
def test_a_sample_does_not_depend_on_the_others_and_a_batch_may_be_empty(fuse):
    layer = DyNetConv2d(4, 6, 3, fuse=fuse)
    x = torch.randn(5, 4, 6, 6)
    torch.testing.assert_close(layer(x)[3:4], layer(x[3:4]))
    assert layer(x[:0]).shape == (0, 6, 4, 4)


def test_device_and_dtype():
    layer = DyNetConv2d(8, 8, 3, bias=True, device="meta", dtype=torch.double)
    assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.double)}


def test_builder_passes_its_options():
    layer = conv_builder("dynet", group_size=2, fuse="maps")(8, 16, 3, 2, dilation=2)
    assert (layer.group_size, layer.fuse, layer.padding, layer.dilation) == (2, "maps", (2, 2), (2, 2))
    assert layer(torch.randn(2, 8, 8, 8)).shape == (2, 16, 4, 4)


# One predictor a block.


def dynet_block(**options):
    torch.manual_seed(0)
    return DepthwiseSeparable(4, 6, conv=conv_builder("dynet", **options)).eval()


@pytest.mark.parametrize(
    ("name", "blocks", "alone"),
    [
        ("mobilenet_v1", 13, 0),
        ("mobilenet_v2", 17, 1),  # alone: the last 1 × 1 convolution
        ("mobilenet_v3_small", 11, 1),
        ("shufflenet_v2", 16, 1),
        ("resnet18", 8, 0),
        ("resnet50", 16, 0),
        ("fcn_resnet50", 16, 1),  # the head's
        ("dy_mobile", 17, 0),
        ("dy_shuffle", 16, 0),
        ("dy_resnet50", 16, 0),
    ],
)
def test_every_block_of_every_network_has_one_predictor(name, blocks, alone):
    with torch.device("meta"):
        model = create_model(name, "dynet")
    predictors = [m for m in model.modules() if isinstance(m, CoefficientPredictor)]
    assert sum(isinstance(p, BlockPredictor) for p in predictors) == blocks
    assert len(predictors) == blocks + alone
    wanted = sum(m.num_coefficients for m in model.modules() if isinstance(m, DyNetConv2d))
    assert sum(p.predict[-2].out_features for p in predictors) == wanted
    assert all((len(p.predict) == 4) == ("resnet" in name) for p in predictors if isinstance(p, BlockPredictor))


def test_each_convolution_of_a_block_gets_its_slice_of_what_the_blocks_input_says():
    block = dynet_block()
    x = torch.randn(3, 4, 6, 6)
    first, second = (part[0] for part in (block[0], block[1]))
    eta = block.predictor.predict(x.mean((2, 3)))
    assert first.coefficients is None and eta.shape == (3, 24 + 36)
    _, *after_first = block[0]
    _, *after_second = block[1]
    middle = nn.Sequential(*after_first)(first(x, eta[:, :24]))
    torch.testing.assert_close(block(x), nn.Sequential(*after_second)(second(middle, eta[:, 24:])))


def test_a_static_block_has_no_predictor_and_a_chain_is_then_a_sequential():
    block = DepthwiseSeparable(4, 6)
    assert block.predictor is None and share_predictor(block, 4) is None
    assert not [key for key in block.state_dict() if "predictor" in key]
    x = torch.randn(2, 4, 5, 5)
    [output] = run_chains(None, x, Chain())
    assert output is x


def test_a_block_survives_a_copy_and_a_state_dict():
    block, x = dynet_block(), torch.randn(2, 4, 5, 5)
    expected = block(x)
    twin = copy.deepcopy(block)
    twin.predictor.predict[0].bias.data.add_(1)
    torch.testing.assert_close(block(x), expected)  # the copy has a predictor of its own
    assert not torch.allclose(twin(x), expected)
    twin.load_state_dict(block.state_dict())
    torch.testing.assert_close(twin(x), expected)


def test_a_block_keeps_nothing_of_a_batch():
    block, x = dynet_block().train(), torch.randn(2, 4, 5, 5)
    output = block(x)
    before, seen = {name: type(value) for name, value in vars(block).items()}, weakref.ref(output)
    torch.testing.assert_close(block.eval()(x[:1]), block(x)[:1])  # batches of several sizes, one after the other
    del output
    gc.collect()
    assert seen() is None and before == {name: type(value) for name, value in vars(block).items()}
    copy.deepcopy(block)  # fails where a module holds a tensor of a graph


# The backward pass is compiled too: no other test shows that both ways to fuse keep one graph for any batch.
@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler's own
@pytest.mark.parametrize("fuse", ["kernels", "maps"])
def test_the_compiler_sees_one_graph_of_a_block_for_any_batch(fuse):
    torch.compiler.reset()
    block = dynet_block(fuse=fuse)
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    for batch in (2, 3, 5):
        x = torch.randn(batch, 4, 6, 6)
        expected = torch.autograd.grad(block(x).sum(), block.parameters())
        for a, b in zip(torch.autograd.grad(compiled(x).sum(), block.parameters()), expected, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.filterwarnings("default")  # the exporter's own
def test_with_maps_fused_a_block_exports_for_any_batch():
    block = dynet_block(fuse="maps")
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(block, (torch.randn(2, 4, 6, 6),), dynamic_shapes=({0: batch},))
    x = torch.randn(7, 4, 6, 6)
    torch.testing.assert_close(program.module()(x), block(x))


@pytest.mark.filterwarnings("default")  # the compiler's own
@pytest.mark.parametrize(  # blocks and not networks, which take half a minute each and are made of nothing else
    "make",
    [
        partial(NarrowResidual, 8, 12, 2),
        partial(ShuffleUnit, 8, 8, 1),
        partial(ShuffleUnit, 8, 12, 2),
        partial(BasicBlock, 8, 4, 2, (1, 1)),
    ],
)
@torch.no_grad()
def test_the_compiler_sees_one_graph_of_the_blocks_of_networks(make):
    torch.compiler.reset()
    torch.manual_seed(0)
    block, x = make(conv=conv_builder("dynet")).eval(), torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(torch.compile(block, backend="eager", fullgraph=True)(x), block(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DyNetConv2d(0, 8, 3), "in_channels = 0"),
        (lambda: DyNetConv2d(8, 0, 3), "out_channels = 0"),
        (lambda: DyNetConv2d(8, 8, 3, group_size=0), "group_size = 0 must be an integer of at least 1"),
        (lambda: DyNetConv2d(8, 8, 3, group_size=1.5), "group_size = 1.5 must be"),
        (lambda: DyNetConv2d(8, 8, 3, groups=3), "groups = 3 does not divide in_channels = 8"),
        (lambda: DyNetConv2d(9, 8, 3, groups=3), "groups = 3 does not divide out_channels = 8"),
        (lambda: DyNetConv2d(8, 8, 3, fuse="map"), "fuse = 'map' is unknown. Did you mean 'maps'"),
        (lambda: CoefficientPredictor(8, 0), "num_coefficients = 0"),
        (lambda: CoefficientPredictor(8, 6, hidden=0), "hidden = 0"),
        (
            lambda: CoefficientPredictor(8, 6)(torch.zeros(1, 4, 9, 9)),
            r"input has shape \[1, 4, 9, 9\]; allowed is \[B, 8, H, W\]",
        ),
        (lambda: DyNetConv2d(8, 8, 3)(torch.zeros(1, 4, 9, 9)), r"input has shape \[1, 4, 9, 9\]; allowed is \[B, 8"),
        (lambda: DyNetConv2d(8, 8, 3)(torch.zeros(8, 9, 9)), r"input has shape \[8, 9, 9\]"),
        (
            lambda: DyNetConv2d(8, 4, 3, coefficients=CoefficientPredictor(8, 8))(torch.zeros(2, 8, 9, 9)),
            r"coefficients has shape \[2, 8\]; allowed is \[B, O · group_size\] = \[2, 24\]",
        ),
        (
            lambda: DyNetConv2d(8, 4, 3)(torch.zeros(2, 8, 9, 9), torch.zeros(1, 24)),
            r"coefficients has shape \[1, 24\]; allowed is .* = \[2, 24\]",
        ),
        (lambda: dynet_block()[0](torch.zeros(1, 4, 5, 5)), "coefficients = None, but this layer's predictor belongs"),
        (lambda: dynet_block()(torch.zeros(1, 3, 5, 5)), r"input has shape \[1, 3, 5, 5\]; allowed is \[B, 4, H, W\]"),
        (
            lambda: conv_builder("dynet", num_kernels=4),
            "option 'num_kernels' is unknown to conv = 'dynet'. Allowed: fuse",
        ),
        (lambda: create_model("dy_mobile", group_size=-1), "group_size = -1"),
        (lambda: create_model("dy_shuffle", width_mult=0.7), "width_mult = 0.7 is no width"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
