import pytest
import torch
import torch.nn.functional as F

from eamlib.functional import dynamic_conv2d


def operands(groups=1, kernels=3, batch=4, bias=True):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.double, requires_grad=True)

    return {
        "input": draw(batch, 6, 9, 8),
        "weight": draw(kernels, 4 * groups, 6 // groups, 3, 1),
        "attention": draw(batch, kernels),
        "bias": draw(kernels, 4 * groups) if bias else None,
    }


@pytest.mark.parametrize(
    ("groups", "options"),
    [
        (1, {}),
        (1, {"stride": 2, "padding": 1}),
        (2, {"stride": (1, 2), "padding": (2, 0), "dilation": 2}),
        (6, {"padding": "same"}),
        (3, {"padding": "valid"}),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_grouped_equals_loop_forward_and_backward(groups, options, bias):
    given = operands(groups, bias=bias)
    leaves = [tensor for tensor in given.values() if tensor is not None]
    results = {}
    for strategy in ("loop", "grouped", "auto"):
        output = dynamic_conv2d(**given, groups=groups, strategy=strategy, **options)
        results[strategy] = (output, *torch.autograd.grad(output.square().sum(), leaves))
    for strategy in ("grouped", "auto"):
        torch.testing.assert_close(results[strategy], results["loop"], rtol=1e-10, atol=1e-10)


def test_one_kernel_with_attention_one_is_a_plain_convolution():
    given = operands(kernels=1)
    given["attention"] = torch.ones(4, 1, dtype=torch.double)
    expected = F.conv2d(given["input"], given["weight"][0], given["bias"][0], padding=1)
    torch.testing.assert_close(dynamic_conv2d(**given, padding=1), expected)


def test_every_sample_gets_its_own_kernel():
    given = operands()
    given["attention"] = torch.eye(3, dtype=torch.double)[[0, 1, 2, 0]]
    output = dynamic_conv2d(**given)
    for sample, kernel in enumerate((0, 1, 2, 0)):
        alone = F.conv2d(given["input"][sample], given["weight"][kernel], given["bias"][kernel])
        torch.testing.assert_close(output[sample], alone)


@pytest.mark.parametrize("strategy", ["grouped", "loop"])
def test_empty_batch_has_the_right_shape(strategy):
    given = operands(batch=0)
    assert dynamic_conv2d(**given, stride=2, strategy=strategy).shape == (0, 4, 4, 4)


def test_channels_last_input():
    given = operands()
    expected = dynamic_conv2d(**given)
    given["input"] = given["input"].to(memory_format=torch.channels_last)
    torch.testing.assert_close(dynamic_conv2d(**given), expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input": torch.zeros(6, 9, 8)}, r"input has shape \[6, 9, 8\]; allowed is \[B, C, H, W\]"),
        ({"input": torch.zeros(4, 5, 9, 8)}, "input has 5 channels; .* takes 6"),
        ({"weight": torch.zeros(4, 6, 3, 1)}, "weight has shape"),
        ({"weight": torch.zeros(0, 4, 6, 3, 1)}, "K >= 1"),
        ({"groups": 4}, "input has 6 channels; .* takes 24"),
        ({"groups": 0}, "groups = 0"),
        ({"weight": torch.zeros(3, 4, 2, 3, 1), "groups": 3}, "groups = 3 does not divide the 4 output"),
        ({"attention": torch.zeros(4, 2)}, r"attention has shape \[4, 2\]; allowed is \[B, K\] = \[4, 3\]"),
        ({"bias": torch.zeros(4)}, r"bias has shape \[4\]; allowed is \[K, O\] = \[3, 4\]"),
        ({"strategy": "groupde"}, "strategy = 'groupde' is unknown. Did you mean 'grouped'"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        dynamic_conv2d(**(operands() | wrong))


@pytest.mark.cuda
def test_grouped_equals_loop_on_cuda():
    given = {name: tensor.detach().cuda() for name, tensor in operands().items()}
    torch.testing.assert_close(dynamic_conv2d(**given), dynamic_conv2d(**given, strategy="loop"))
