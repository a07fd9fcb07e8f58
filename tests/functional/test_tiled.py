from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import forward_ad

from eamlib.functional import tiled


def operands(dtype=torch.double, batch=3, kernels=4, rows=26, columns=70, pixels=37):
    generator = torch.Generator().manual_seed(0)
    shapes = (batch, columns, pixels), (kernels, rows, columns), (batch, kernels)
    return [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes]


def needs_compiler():
    if reason := tiled.why_not(torch.zeros(1)):
        pytest.skip(f"tiled: {reason}")


# Numbers of pixels below, at and above the lanes of a vector; rows, columns and samples that fill no tile.
@pytest.mark.parametrize("pixels", [1, 3, 4, 7, 8, 15, 16, 17, 49, 130, 300])
@pytest.mark.parametrize(
    ("batch", "kernels", "rows", "columns"), [(1, 1, 1, 1), (2, 4, 25, 33), (40, 3, 9, 5), (3, 2, 13, 300)]
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_equals_two_products_forward_and_backward(batch, kernels, rows, columns, pixels, channels_last):
    needs_compiler()
    input, weight, attention = operands(batch=batch, kernels=kernels, rows=rows, columns=columns, pixels=pixels)
    expected = torch.einsum("bk,koc,bcp->bop", attention, weight, input)
    if channels_last:
        found = tiled.mixed_matmul(input.mT, weight, attention, channels_last=True).mT
    else:
        found = tiled.mixed_matmul(input, weight, attention)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    gradient = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, (input, weight, attention), gradient),
        torch.autograd.grad(expected, (input, weight, attention), gradient),
        rtol=1e-10,
        atol=1e-10,
    )


def test_results_do_not_depend_on_the_threads():
    needs_compiler()
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            leaves = operands(torch.float32, batch=35)
            output = tiled.mixed_matmul(*leaves)
            results.append((output, *torch.autograd.grad(output.sin().sum(), leaves)))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=0)


@pytest.mark.parametrize("channels_last", [False, True])
def test_gradients_of_gradients(channels_last):
    needs_compiler()
    input, weight, attention = operands(rows=3, columns=5, pixels=4)
    if channels_last:
        input = input.detach().mT.contiguous().requires_grad_()
    multiply = partial(tiled.mixed_matmul, channels_last=channels_last)
    assert torch.autograd.gradgradcheck(multiply, (input, weight, attention), fast_mode=True)


def depthwise(channels, size, kernel, dtype=torch.double, batch=2):
    generator = torch.Generator().manual_seed(0)
    shapes = (batch, *size, channels), (batch, *kernel, channels)
    return [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes]


def as_one_image(input, weight, *geometry):
    """The channels of all samples as those of one image, which PyTorch convolves in as many groups."""
    planes, kernels = (tensor.permute(0, 3, 1, 2).flatten(0, 1) for tensor in (input, weight))
    maps = F.conv2d(planes[None], kernels[:, None], None, *geometry, len(planes))[0]
    return maps.unflatten(0, (len(input), -1)).permute(0, 2, 3, 1)


# Channels that fill a block, half of one, and neither.
@pytest.mark.parametrize("channels", [1, 8, 16, 21, 40])
@pytest.mark.parametrize(
    ("size", "kernel", "geometry"),
    [
        ((7, 9), (3, 3), ((1, 1), (1, 1), (1, 1))),
        ((8, 8), (3, 3), ((2, 2), (1, 1), (1, 1))),
        ((1, 1), (3, 3), ((2, 2), (1, 1), (1, 1))),  # eight of nine taps lie on padding
        ((12, 13), (3, 5), ((2, 3), (1, 0), (2, 1))),
        ((9, 9), (1, 1), ((3, 3), (2, 2), (1, 1))),  # whole outputs lie on padding
        ((11, 5), (2, 2), ((1, 1), (0, 0), (3, 2))),
    ],
)
def test_depthwise_equals_groups_forward_and_backward(channels, size, kernel, geometry):
    needs_compiler()
    leaves = depthwise(channels, size, kernel)
    found, expected = tiled.depthwise_conv2d(*leaves, *geometry), as_one_image(*leaves, *geometry)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    gradient = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, leaves, gradient),
        torch.autograd.grad(expected, leaves, gradient),
        rtol=1e-10,
        atol=1e-10,
    )


def test_depthwise_gradients_of_gradients():
    needs_compiler()
    leaves = depthwise(2, (3, 4), (3, 2))
    convolve = partial(tiled.depthwise_conv2d, stride=(2, 1), padding=(1, 1), dilation=(1, 1))
    assert torch.autograd.gradgradcheck(convolve, leaves, fast_mode=True)


# Slow: PyTorch compiles each operator. What a graph is told of shapes and gradients is compared with C's nowhere else.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # PyTorch's check looks at it
def test_operators_say_the_shape_and_the_gradient_that_they_have():
    needs_compiler()
    pairs = (2, 1), (1, 1), (1, 1)
    for last in (False, True):
        torch.library.opcheck(tiled._mixed.operator, (*operands(columns=37), last, False))
    torch.library.opcheck(tiled._depthwise.operator, (*depthwise(5, (4, 6), (3, 3)), *pairs))


# -x of a complex number's imaginary part, and the zeros of an automatic derivative, are so in name alone: their memory
# holds something else, or nothing.
@pytest.mark.parametrize(
    "lie",
    [
        lambda shape: torch.randn(shape, dtype=torch.cdouble).conj().imag,
        partial(torch._efficientzerotensor, dtype=torch.double),
    ],
)
def test_tensors_whose_memory_is_not_what_they_say(lie):
    needs_compiler()
    input, weight, attention = (tensor.detach() for tensor in operands())
    given = lie(input.shape)
    assert given.is_neg() or given._is_zerotensor()
    expected = torch.einsum("bk,koc,bcp->bop", attention, weight, given.clone())
    torch.testing.assert_close(tiled.mixed_matmul(given, weight, attention), expected)


def test_forward_mode_differentiation_takes_another_way():
    needs_compiler()
    with forward_ad.dual_level():
        assert "forward-mode" in tiled.why_not(torch.zeros(1))
    assert tiled.why_not(torch.zeros(1)) is None
