"""The 1×1 and the depthwise dynamic convolution on a CPU, in C: ``tiled.c`` and ``depthwise.c``.

PyTorch has no operator that multiplies by a mixture of matrices without writing the mixture to memory first, and for
the small maps of a network's end that writing is most of the time. Its convolution of as many groups as there are
planes copies its operands into other layouts, which takes several times as long as convolving them.

Both are operators of PyTorch as well, ``torch.ops.eamlib``, which a compiled graph calls. Without a graph they are
called as they are: the way through PyTorch's dispatcher and back into Python takes longer than many of these products.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function, forward_ad

from eamlib.functional.compiled import REALS, call, library

Pair = tuple[int, int]


def is_exported() -> bool:
    """Whether a graph is being made for others to run, or ``torch.func`` transforms the code: nothing may then depend
    on the numbers in a tensor or on the batch, and all operators have to be PyTorch's own."""
    graph = torch.compiler.is_exporting() or torch.jit.is_tracing()
    return graph or torch._C._are_functorch_transforms_active()


def is_traced() -> bool:
    """Whether a graph is being made, to be exported or compiled: one that is to serve any batch."""
    return torch.compiler.is_compiling() or is_exported()


def why_not(input: Tensor) -> str | None:
    """Why the C cannot run on tensors such as ``input``; None if it can."""
    if input.device.type != "cpu":
        return f"it runs on the CPU, and input is on {input.device}"
    if input.dtype not in REALS:
        return f"it knows float32 and float64, and input is {input.dtype}".replace("torch.", "")
    if is_exported() or type(input) not in (Tensor, torch.nn.Parameter):
        return "a graph is being exported or a function transformed, and C is no part of either"
    if forward_ad._current_level >= 0:
        return "it has no forward-mode derivative"
    return _why_no_library(REALS[input.dtype])


def _why_no_library(real: str) -> str | None:
    found = library(real)
    return found if isinstance(found, str) else None


# As by torch.compiler.assume_constant_result, which would load the compiler, for seconds, with every `import eamlib`.
_why_no_library._dynamo_marked_constant = True


def output_size(input: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    """H', W' of a convolution."""

    def size(axis):
        covered = dilation[axis] * (kernel[axis] - 1) + 1
        return (input[axis] + 2 * padding[axis] - covered) // stride[axis] + 1

    return size(0), size(1)


def as_maps(columns: Tensor, size: Pair) -> Tensor:
    """``[B, C, H W]`` as ``[B, C, H, W]``."""
    # Not unflatten: PyTorch's older ONNX exporter then takes the example's height and width for everybody's.
    return columns.reshape(*columns.shape[:2], *size)


def mixed_matmul(input: Tensor, weight: Tensor, attention: Tensor, channels_last: bool = False) -> Tensor:
    """``(sum_k attention[b, k] weight[k]) @ input[b]`` for every sample b, differentiable.

    Args:
        input: ``[B, C, P]``.
        weight: ``[K, O, C]``.
        attention: ``[B, K]``. All three of the same dtype, for which :func:`why_not` is None.
        channels_last: whether the channels of ``input`` and of the result lie last: ``[B, P, C]`` and ``[B, P, O]``.

    Returns:
        ``[B, O, P]``.

    Raises:
        MemoryError: if there is none left for a copy of ``input``.
    """
    return _mixed.run(input, weight, attention, channels_last, False)


def depthwise_conv2d(input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """Every channel of every sample convolved with a kernel of its own, differentiable.

    Args:
        input: ``[B, H, W, C]``.
        weight: ``[B, kh, kw, C]``, of the same dtype, for which :func:`why_not` is None.
        stride, padding, dilation: of rows and columns.

    Returns:
        ``[B, H', W', C]``.
    """
    return _depthwise.run(input, weight, stride, padding, dilation)


class _Operator:
    """What C computes, as an operator ``torch.ops.eamlib.name`` of PyTorch, and called without PyTorch's dispatcher.

    Args:
        name, schema: of the operator.
        like: of the arguments, makes new outputs: what a graph is told of them, and what C writes to.
        write: ``write(outputs, *arguments)``.
    """

    def __init__(self, name: str, schema: str, like: Callable, write: Callable):
        def computed(*arguments):
            outputs = like(*arguments)
            write(outputs, *arguments)
            return outputs

        self.computed = computed
        self.operator = torch.library.custom_op(f"eamlib::{name}", computed, mutates_args=(), schema=schema)
        self.operator.register_fake(like)

    def differentiable(self, keep: Callable, backward: Callable) -> None:
        """``keep(ctx, inputs, output)`` notes what ``backward(ctx, gradient)`` needs."""
        self.operator.register_autograd(backward, setup_context=keep)

        def forward(ctx, *arguments):
            keep(ctx, arguments, None)
            return self.computed(*arguments)

        methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
        self.directly = type("Direct", (Function,), methods).apply

    def run(self, *arguments):
        return (self.operator if torch.compiler.is_compiling() else self.directly)(*arguments)


def _dense(*tensors: Tensor) -> list[Tensor]:
    """The tensors as C reads them; one that is negated or zero only in name is written out."""
    return [(tensor.clone() if tensor._is_zerotensor() else tensor.resolve_neg()).contiguous() for tensor in tensors]


def _differentiated(function: Callable, gradient: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """The gradients of ``inputs`` by PyTorch's own operators, to be differentiated once more."""
    return torch.func.vjp(function, *inputs)[1](gradient)


def _mixed_like(input, weight, attention, channels_last, transposed) -> Tensor:
    # Not len(input), which a graph would take for the same number in every batch.
    batch, rows = input.shape[0], weight.shape[2 if transposed else 1]
    return input.new_empty((batch, input.shape[1], rows) if channels_last else (batch, rows, input.shape[2]))


def _write_mixed(output, input, weight, attention, channels_last, transposed) -> None:
    if channels_last and not transposed:  # which C has for transposed matrices alone
        weight, transposed = weight.transpose(1, 2), True
    sizes = (len(input), *weight.shape, input.shape[1 if channels_last else 2])
    tensors = (*_dense(input, weight, attention), output)
    if transposed:
        call("backward_input", (*sizes, channels_last), tensors)
    else:
        call("forward", sizes, tensors)


def _mixed_of_weight_like(input, gradient, weight, attention, channels_last) -> tuple[Tensor, Tensor]:
    return weight.new_empty(weight.shape), attention.new_empty(attention.shape)


def _write_mixed_of_weight(outputs, input, gradient, weight, attention, channels_last) -> None:
    rows, columns = weight.shape[1:]
    pixels = input.shape[1 if channels_last else 2]
    if rows * columns <= (rows + columns) * pixels:
        # The samples' outer products take less memory than their maps: writing them down costs little, and PyTorch's
        # matrix products take about half the time of the tiles.
        outer = torch.bmm(gradient.mT, input) if channels_last else torch.bmm(gradient, input.mT)
        outer, (of_weight, of_attention) = outer.flatten(1), outputs
        torch.mm(attention.t(), outer, out=of_weight.view(len(weight), -1))
        torch.mm(outer, weight.flatten(1).t(), out=of_attention)
    else:
        sizes = (len(input), *weight.shape, pixels, channels_last)
        call("backward_weight", sizes, (*_dense(input, gradient, weight, attention), *outputs))


def _keep_mixed(ctx, inputs, output) -> None:
    *tensors, ctx.channels_last, _ = inputs
    ctx.save_for_backward(*tensors)


def _mixed_backward(ctx, gradient):
    input, weight, attention = ctx.saved_tensors
    if torch.is_grad_enabled():  # create_graph=True
        product = "bk,koc,bpc->bpo" if ctx.channels_last else "bk,koc,bcp->bop"

        def multiply(input, weight, attention):
            return torch.einsum(product, attention, weight, input)

        return *_differentiated(multiply, gradient, input, weight, attention), None, None
    of_input = of_weight = of_attention = None
    if ctx.needs_input_grad[0]:
        of_input = _mixed.operator(gradient, weight, attention, ctx.channels_last, True)
    if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
        of_weight, of_attention = _mixed_of_weight.operator(input, gradient, weight, attention, ctx.channels_last)
    return of_input, of_weight, of_attention, None, None


def _sizes(input: Tensor, weight: Tensor, output: Tensor, *pairs: Pair) -> tuple[int, ...]:
    batch, *size, channels = input.shape
    return (batch, channels, *size, *output.shape[1:3], *weight.shape[1:3], *chain.from_iterable(pairs))


def _depthwise_like(input, weight, stride, padding, dilation) -> Tensor:
    size = output_size(input.shape[1:3], weight.shape[1:3], stride, padding, dilation)
    return input.new_empty(input.shape[0], *size, input.shape[3])


def _write_depthwise(output, input, weight, *pairs) -> None:
    call("depthwise_forward", _sizes(input, weight, output, *pairs), (*_dense(input, weight), output))


def _depthwise_of_both_like(input, gradient, weight, stride, padding, dilation) -> tuple[Tensor, Tensor]:
    return input.new_empty(input.shape), weight.new_empty(weight.shape)


def _write_depthwise_of_both(outputs, input, gradient, weight, *pairs) -> None:
    sizes = _sizes(input, weight, gradient, *pairs)
    (of_input, of_weight), (input, gradient, weight) = outputs, _dense(input, gradient, weight)
    call("depthwise_of_input", sizes, (of_input, weight, gradient))
    call("depthwise_of_weight", sizes, (input, of_weight, gradient))


def _keep_depthwise(ctx, inputs, output) -> None:
    input, weight, *ctx.pairs = inputs
    ctx.save_for_backward(input, weight)


def _depthwise_backward(ctx, gradient):
    input, weight = ctx.saved_tensors
    if torch.is_grad_enabled():  # as above
        both = _differentiated(lambda *two: _channels_of_one_image(*two, *ctx.pairs), gradient, input, weight)
    else:
        both = _depthwise_of_both.operator(input, gradient, weight, *ctx.pairs)
    return *both, None, None, None


def _channels_of_one_image(input: Tensor, weight: Tensor, *pairs: Pair) -> Tensor:
    """:func:`depthwise_conv2d` in PyTorch: the channels of all samples are those of one image, each a group."""
    planes, kernels = (tensor.permute(0, 3, 1, 2).flatten(0, 1) for tensor in (input, weight))
    maps = F.conv2d(planes[None], kernels[:, None], None, *pairs, len(kernels))[0]
    return maps.unflatten(0, (len(input), -1)).permute(0, 2, 3, 1)


_PAIRS = "int[2] stride, int[2] padding, int[2] dilation"
_mixed = _Operator(
    "mixed",
    "(Tensor input, Tensor weight, Tensor attention, bool channels_last, bool transposed) -> Tensor",
    _mixed_like,
    _write_mixed,
)
_mixed.differentiable(_keep_mixed, _mixed_backward)
_mixed_of_weight = _Operator(
    "mixed_of_weight",
    "(Tensor input, Tensor gradient, Tensor weight, Tensor attention, bool channels_last) -> (Tensor, Tensor)",
    _mixed_of_weight_like,
    _write_mixed_of_weight,
)
_depthwise = _Operator(
    "depthwise", f"(Tensor input, Tensor weight, {_PAIRS}) -> Tensor", _depthwise_like, _write_depthwise
)
_depthwise.differentiable(_keep_depthwise, _depthwise_backward)
_depthwise_of_both = _Operator(
    "depthwise_of_both",
    f"(Tensor input, Tensor gradient, Tensor weight, {_PAIRS}) -> (Tensor, Tensor)",
    _depthwise_of_both_like,
    _write_depthwise_of_both,
)
