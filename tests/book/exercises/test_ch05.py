"""Chapter 05: its checks tell right answers from wrong ones, its numbers are what PyTorch computes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from eamlib import create_model
from eamlib.book.exercises import QUIZZES, check
from eamlib.layers import DynamicConv2d


def right_number(exercise, question):
    return next(a["value"] for a in QUIZZES[exercise][question]["answers"] if a.get("correct"))


def mix_outputs(x, weight, attention, padding=0, groups=1):
    outputs = torch.stack([F.conv2d(x, kernel, padding=padding, groups=groups) for kernel in weight])
    return torch.einsum("bk,kbohw->bohw", attention, outputs)


def without_weights(x, weight, attention, padding=0, groups=1):
    return sum(F.conv2d(x, kernel, padding=padding, groups=groups) for kernel in weight) / len(weight)


def without_sum(x, weight, attention, padding=0, groups=1):
    outputs = torch.stack([F.conv2d(x, kernel, padding=padding, groups=groups) for kernel in weight], dim=1)
    return attention[:, :, None, None, None] * outputs


def first_row_for_all(x, weight, attention, padding=0, groups=1):
    return mix_outputs(x, weight, attention[:1].expand(len(x), -1), padding, groups)


def softmax_again(x, weight, attention, padding=0, groups=1):
    return mix_outputs(x, weight, attention.softmax(1), padding, groups)


def one_convolution(x, weight, attention, padding=0, groups=1):
    """One behind the other: right for one group only."""
    outputs = F.conv2d(x, weight.flatten(0, 1), padding=padding, groups=groups)
    outputs = outputs.unflatten(1, (len(weight), -1))
    return torch.einsum("bk,bkohw->bohw", attention, outputs)


def one_interleaved_convolution(x, weight, attention, padding=0, groups=1):
    grouped = weight.unflatten(1, (groups, -1)).transpose(0, 1)  # [g, K, O / g, C / g, k, k]
    outputs = F.conv2d(x, grouped.flatten(0, 2), padding=padding, groups=groups)
    outputs = outputs.unflatten(1, (groups, len(weight), -1))
    return torch.einsum("bk,bgkohw->bgohw", attention, outputs).flatten(1, 2)


def a_kernel_for_each_image(x, weight, attention, padding=0, groups=1):
    kernels = torch.einsum("bk,koihw->boihw", attention, weight)
    pairs = zip(x, kernels, strict=True)
    return torch.stack([F.conv2d(image, kernel, padding=padding, groups=groups) for image, kernel in pairs])


def batch_along_the_channels(x, weight, attention, padding=0, groups=1):
    kernels = torch.einsum("bk,koihw->boihw", attention, weight).flatten(0, 1)
    maps = F.conv2d(x.flatten(0, 1)[None], kernels, padding=padding, groups=len(x) * groups)
    return maps.unflatten(1, (len(x), -1))[0]


def mixed_kernels_on_patches(x, weight, attention, padding=0, groups=1):
    """No convolution at all, and yet a kernel for each image."""
    kernels = torch.einsum("bk,koihw->boihw", attention, weight)
    side = weight.shape[-1]
    patches = F.unfold(x, side, padding=padding).unflatten(1, (groups, -1))  # [B, g, C / g * k * k, P]
    kernels = kernels.flatten(2).unflatten(1, (groups, -1))  # [B, g, O / g, C / g * k * k]
    height = x.shape[2] + 2 * padding - side + 1
    return (kernels @ patches).flatten(1, 2).unflatten(2, (height, -1))


def mixed_kernels_one_by_one(x, weight, attention, padding=0, groups=1):
    pairs = zip(x.split(1), attention, strict=True)
    side = weight.shape[-1]
    maps = []
    for image, a in pairs:
        kernel = sum(a[k] * weight[k] for k in range(len(weight))).flatten(1).unflatten(0, (groups, -1))
        patches = F.unfold(image, side, padding=padding).unflatten(1, (groups, -1))
        maps.append((kernel @ patches).flatten(1, 2).unflatten(2, (x.shape[2] + 2 * padding - side + 1, -1)))
    return torch.cat(maps)


def convolutions_for_each_image(x, weight, attention, padding=0, groups=1):
    return torch.cat([mix_outputs(x[b : b + 1], weight, attention[b : b + 1], padding, groups) for b in range(len(x))])


def stored_kernels_on_patches(x, weight, attention, padding=0, groups=1):
    """What each stored kernel answers, by products of matrices: allowed, for no kernel is mixed."""
    side = weight.shape[-1]
    patches = F.unfold(x, side, padding=padding).unflatten(1, (groups, -1))
    kernels = weight.flatten(2).unflatten(1, (groups, -1))  # [K, g, O / g, C / g * k * k]
    outputs = (kernels[:, None] @ patches).flatten(2, 3).unflatten(3, (x.shape[2] + 2 * padding - side + 1, -1))
    return torch.einsum("bk,kbohw->bohw", attention, outputs)


@pytest.mark.parametrize("answer", [mix_outputs, one_interleaved_convolution, stored_kernels_on_patches])
def test_mix_outputs_right(answer):
    assert check("5.3", answer).passed is True


@pytest.mark.parametrize(
    ("answer", "keyword"),
    [
        (without_weights, "average"),
        (without_sum, "over K"),
        (first_row_for_all, "row of its own"),
        (softmax_again, "softmax already"),
        (one_convolution, "group by group"),
        (a_kernel_for_each_image, "stored kernels"),
        (batch_along_the_channels, "stored kernels"),
        (mixed_kernels_on_patches, "stored kernels"),
        (mixed_kernels_one_by_one, "stored kernels"),
        (convolutions_for_each_image, "are enough"),
        (lambda x, weight, attention, padding=0, groups=1: 3, "tensor"),
        (lambda x: x, "TypeError"),
    ],
)
def test_mix_outputs_wrong(answer, keyword):
    verdict = check("5.3", answer)
    assert verdict.passed is False
    assert keyword in verdict.message


def folding(kernel, bias=lambda layer, a: a @ layer.bias, groups=True, keep=True):
    """A solution of 5.4 from parts, so that each part can be wrong."""

    def fold(layer, attention):
        conv = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            layer.stride if keep else 1,
            layer.padding,
            layer.dilation,
            layer.groups if groups else 1,
            bias=layer.bias is not None and bias is not None,
        )
        conv.weight = nn.Parameter(kernel(layer, attention).detach())
        if conv.bias is not None:
            conv.bias.data.copy_(bias(layer, attention))
        return conv

    return fold


def mixture(layer, attention):
    return torch.tensordot(attention, layer.weight, 1)


def test_fold_right():
    assert check("5.4", folding(mixture)).passed is True


@pytest.mark.parametrize(
    ("answer", "keyword"),
    [
        (folding(lambda layer, a: layer.weight.mean(0)), "average"),
        (folding(lambda layer, a: layer.weight.sum(0)), "add"),
        (folding(lambda layer, a: layer.weight[a.argmax()]), "favourite"),
        (folding(lambda layer, a: layer.weight[0] * 0), "mixture"),
        (folding(mixture, bias=None), "bias"),
        (folding(mixture, bias=lambda layer, a: layer.bias.mean(0)), "biases"),
        (folding(mixture, groups=False), "groups"),
        (folding(mixture, keep=False), "stride"),
        (lambda layer, attention: mixture(layer, attention), "nn.Conv2d"),
    ],
)
def test_fold_wrong(answer, keyword):
    verdict = check("5.4", answer)
    assert verdict.passed is False
    assert keyword in verdict.message


def test_fold_must_not_change_the_layer():
    def in_place(layer, attention):
        layer.weight.data *= attention[:, None, None, None, None]
        return folding(lambda layer, a: layer.weight.sum(0))(layer, attention)

    verdict = check("5.4", in_place)
    assert verdict.passed is False
    assert "leave it" in verdict.message


def test_design_right():
    assert check("5.5", (3, 32)).passed is True


@pytest.mark.parametrize(
    ("answer", "keyword"),
    [
        ((3, 16), "too many"),
        ((4, 64), "too many"),
        ((2, 4), "kernel more"),
        ((3, 64), "wider attention"),
        ((3, 5), "one of"),
        ((3.0, 32), "sensible"),
        (3, "pair"),
    ],
)
def test_design_wrong(answer, keyword):
    verdict = check("5.5", answer)
    assert verdict.passed is False
    assert keyword in verdict.message


def unanswered(*args, **kwargs): ...


@pytest.mark.parametrize("exercise", ["5.3", "5.4", "5.5"])
def test_dots_are_no_answer(exercise):
    assert check(exercise, ...).passed is None


@pytest.mark.parametrize("exercise", ["5.3", "5.4"])
def test_a_function_of_dots_is_no_answer(exercise):
    assert check(exercise, unanswered).passed is None


def multiplications(layer, x):
    """MACs of a dynamic pointwise layer without its convolution, counted where they happen."""
    macs = layer.weight.numel() * len(x)  # each stored weight times its coefficient, once an image

    def count(module, args, output):
        nonlocal macs
        macs += output.numel() * module.in_features

    for module in layer.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(count)
    layer(x)
    return macs


def test_parameters_of_the_pointwise_layer():
    layer = DynamicConv2d(256, 256, 1)
    assert right_number("5.2", 0) == sum(p.numel() for p in layer.parameters()) == 278_788


def test_extra_macs_of_the_pointwise_layer():
    layer = DynamicConv2d(256, 256, 1)
    assert right_number("5.2", 1) == multiplications(layer, torch.zeros(1, 256, 14, 14))


def test_where_the_attention_outgrows_a_depthwise_layer():
    def attention_is_larger(channels):
        layer = DynamicConv2d(channels, channels, 3, groups=channels)
        return sum(p.numel() for p in layer.attention.parameters()) > layer.weight.numel()

    assert right_number("5.2", 2) == next(c for c in range(4, 200) if attention_is_larger(c))


def test_softmax_of_two_equal_maxima():
    limit = (torch.tensor([2.0, 2, 1, 0]) / 1e-3).softmax(0)
    torch.testing.assert_close(limit, torch.tensor([0.5, 0.5, 0, 0]))
    right = next(a["answer"] for a in QUIZZES["5.1"][0]["answers"] if a.get("correct"))
    assert right == "(½, ½, 0, 0)"


def test_the_budget_admits_no_fourth_kernel():
    network = create_model("mobilenet_v1", "dynamic", num_classes=100, num_kernels=4, reduction=64)
    assert sum(p.numel() for p in network.parameters()) > 10_000_000
