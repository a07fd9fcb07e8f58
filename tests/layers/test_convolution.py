import pytest
import torch
from torch import nn

from eamlib.layers import ClassifierHead, ConvNormAct, DepthwiseSeparable, DynamicConv2d, conv_builder


def test_separable_block_is_depthwise_then_pointwise():
    depthwise, pointwise = DepthwiseSeparable(8, 12, stride=2)
    assert depthwise[0].weight.shape == (8, 1, 3, 3) and depthwise[0].stride == (2, 2)
    assert pointwise[0].weight.shape == (12, 8, 1, 1)
    assert DepthwiseSeparable(8, 12, 2)(torch.randn(2, 8, 9, 9)).shape == (2, 12, 5, 5)


def test_activation_may_be_left_out():
    assert [type(part) for part in ConvNormAct(3, 4, 3, activation=None)] == [nn.Conv2d, nn.BatchNorm2d]


def test_head_gives_logits():
    assert ClassifierHead(8, 5)(torch.randn(2, 8, 3, 3)).shape == (2, 5)


def test_builder_passes_options_to_the_attention():
    layer = conv_builder("eam-cgr", num_kernels=2, channels=3, pool="max", strategy="loop")(8, 16, 3, 2)
    assert isinstance(layer, DynamicConv2d) and layer.strategy == "loop" and layer.num_kernels == 2
    assert layer.attention.select.out_channels == 3 and layer.attention.pool == "max"
    assert layer(torch.randn(2, 8, 8, 8)).shape == (2, 16, 4, 4)


@pytest.mark.parametrize("conv", ["static", "dynamic"])
def test_a_dilated_convolution_keeps_the_size_and_reaches_further(conv):
    layer = conv_builder(conv)(8, 4, 3, dilation=4)
    assert layer.dilation == (4, 4)
    assert layer(torch.randn(2, 8, 9, 9)).shape == (2, 4, 9, 9)


def test_layers_of_one_network_draw_different_channels_and_a_seed_repeats_them():
    def draws():
        build = conv_builder("eam-rcr", seed=7)
        return [build(512, 8, 1).attention.select.indices.tolist() for _ in range(3)]

    assert draws() == draws()
    assert len({tuple(indices) for indices in draws()}) == 3


@pytest.mark.parametrize(
    ("conv", "options", "message"),
    [
        ("dynamo", {}, "conv = 'dynamo' is unknown. Did you mean 'dynamic'"),
        ("static", {"num_kernels": 4}, "option 'num_kernels' is unknown to conv = 'static'. Allowed: none"),
        (
            "dynamic",
            {"channels": 4},
            "option 'channels' is unknown to conv = 'dynamic'. Allowed: num_kernels, red",
        ),
        ("eam-rcr", {"select": "cgr"}, "option 'select' is unknown"),
    ],
)
def test_bad_input_is_named(conv, options, message):
    with pytest.raises(ValueError, match=message):
        conv_builder(conv, **options)
