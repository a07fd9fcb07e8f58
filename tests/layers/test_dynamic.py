import copy

import pytest
import torch
from torch import nn

from eamlib.functional import dynamic_conv2d
from eamlib.layers import DynamicConv2d, DyNetConv2d, EAMAttention, KernelAttention


def test_forward_is_the_functional_with_its_attention():
    layer = DynamicConv2d(8, 6, 3, stride=2, padding=1, groups=2, bias=True, num_kernels=3)
    x = torch.randn(4, 8, 9, 9)
    expected = dynamic_conv2d(x, layer.weight, layer.attention(x), layer.bias, 2, 1, 1, 2, strategy="loop")
    torch.testing.assert_close(layer(x), expected)
    assert layer(x).shape == (4, 6, 5, 5)


def test_equal_kernels_make_a_plain_convolution():
    layer, plain = DynamicConv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(plain.weight.expand_as(layer.weight))
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(layer(x), plain(x))


def test_each_kernel_is_initialised_like_a_convolution():
    layer = DynamicConv2d(64, 64, 3, num_kernels=4)
    bound = 1 / (64 * 9) ** 0.5  # nn.Conv2d draws uniformly up to 1 / sqrt(fan in)
    for kernel in layer.weight:
        assert 0.98 * bound < kernel.abs().max() <= bound
    assert not torch.equal(layer.weight[0], layer.weight[1])


def test_every_parameter_gets_a_gradient():
    layer = DynamicConv2d(8, 8, 3, bias=True, attention=EAMAttention(8))
    layer(torch.randn(4, 8, 7, 7)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


def test_state_dict_and_deepcopy_round_trip():
    layer = DynamicConv2d(8, 8, 1, attention=EAMAttention(8))
    other = DynamicConv2d(8, 8, 1, attention=EAMAttention(8))
    other.load_state_dict(layer.state_dict())
    x = torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(other(x), layer(x))
    torch.testing.assert_close(copy.deepcopy(layer)(x), layer(x))


def test_device_and_dtype():
    layer = DynamicConv2d(8, 8, 3, bias=True, device="meta", dtype=torch.double)
    assert {p.device.type for p in layer.parameters()} == {"meta"}
    assert {p.dtype for p in layer.parameters()} == {torch.double}


def test_moving_to_channels_last_changes_neither_output_nor_parameters():
    layer = DynamicConv2d(8, 6, 3, bias=True)
    x = torch.randn(2, 8, 9, 9)
    expected, parameters = layer(x), list(layer.parameters())
    layer.to(memory_format=torch.channels_last)
    assert all(a is b for a, b in zip(layer.parameters(), parameters, strict=True))
    assert layer.weight.shape == (4, 6, 8, 3, 3) and layer.weight.is_contiguous()
    torch.testing.assert_close(layer(x.to(memory_format=torch.channels_last)), expected)
    assert layer.to(torch.double, memory_format=torch.channels_last).weight.dtype == torch.double


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DynamicConv2d(0, 8, 3), "in_channels = 0"),
        (lambda: DynamicConv2d(8, 0, 3), "out_channels = 0"),
        (lambda: DynamicConv2d(8, 8, 3, num_kernels=0), "num_kernels = 0 must be an integer of at least 1"),
        (lambda: DynamicConv2d(8, 8, 3, groups=3), "groups = 3 does not divide in_channels = 8"),
        (lambda: DynamicConv2d(9, 8, 3, groups=3), "groups = 3 does not divide out_channels = 8"),
        (lambda: DynamicConv2d(8, 8, 3, strategy="lop"), "strategy = 'lop' is unknown. Did you mean 'loop'"),
        (
            lambda: DynamicConv2d(8, 8, 3)(torch.zeros(1, 4, 9, 9)),
            r"input has shape \[1, 4, 9, 9\]; allowed is \[B, 8, H, W\]",
        ),
        (lambda: DynamicConv2d(8, 8, 3)(torch.zeros(8, 9, 9)), r"input has shape \[8, 9, 9\]"),
        (
            lambda: DynamicConv2d(8, 8, 3, num_kernels=2, attention=EAMAttention(8))(torch.zeros(1, 8, 9, 9)),
            r"attention has shape \[1, 4\]; allowed is \[B, K\] = \[1, 2\]",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("shape", "instead"),
    [
        ((8, 9, 9), r"One image goes in as \[1, C, H, W\]"),
        ((2, 8, 9), r"no 1-D form: a signal \[B, C, L\] goes in as \[B, C, 1, L\], with kernel_size=\(1, k\)"),
        ((2, 8, 4, 9, 9), "no 3-D form: the frames of a video go in as a batch"),
    ],
)
def test_what_is_no_batch_of_maps_is_told_how_to_come(shape, instead):
    own = nn.Sequential(nn.Flatten(), nn.LazyLinear(4), nn.Softmax(1))  # an attention that looks at no shape
    for layer in (DynamicConv2d(8, 6, 3), DynamicConv2d(8, 6, 3, attention=own), DyNetConv2d(8, 6, 3)):
        with pytest.raises(ValueError, match=rf"input has shape .*; allowed is \[B, 8, H, W\]\. .*{instead}"):
            layer(torch.randn(shape))


def test_a_signal_is_a_map_of_one_row():
    layer = DynamicConv2d(8, 6, (1, 3), padding=(0, 1), num_kernels=1)
    signal = torch.randn(2, 8, 20)
    expected = nn.functional.conv1d(signal, layer.weight[0].squeeze(2), padding=1)
    torch.testing.assert_close(layer(signal.unsqueeze(2)).squeeze(2), expected)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda layer, image: image.fill_(float("nan")), r"input, \[2, 8, 5, 5\], already holds NaN"),
        (
            lambda layer, image: layer.attention.predict[0].weight.detach().fill_(float("inf")),
            "input is finite, but predict.0.weight of the attention is not",
        ),
        (lambda layer, image: image.fill_(3e38), "the attention's own parameters are finite, but too large"),
    ],
)
def test_a_nan_in_the_attention_says_where_it_came_from(spoil, cause):
    layer, image = DynamicConv2d(8, 6, 1), torch.ones(2, 8, 5, 5)
    spoil(layer, image)
    with pytest.raises(FloatingPointError, match=rf"the attention of DynamicConv2d\(8, 6, .*\) is NaN: .*{cause}"):
        layer(image)


@pytest.mark.parametrize("attention", [KernelAttention(6), EAMAttention(6, output_size=2)])
def test_maps_without_pixels_are_named_before_the_attention_is_nan(attention):
    layer = DynamicConv2d(6, 6, 3, padding=1, attention=attention)
    with pytest.raises(ValueError, match=r"input has shape \[2, 6, 0, 5\]; allowed is .* only B may be 0"):
        layer(torch.zeros(2, 6, 0, 5))
