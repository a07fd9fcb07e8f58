"""The 1×1 and the depthwise dynamic convolution on a CPU, in C: ``tiled.c`` and ``depthwise.c``.

PyTorch has no operator that multiplies by a mixture of matrices without writing the mixture to memory first, and for
the small maps of a network's end that writing is most of the time. Its convolution of as many groups as there are
planes copies its operands into other layouts, which takes several times as long as convolving them.

Both are operators of PyTorch as well, ``torch.ops.eamlib``, which a compiled graph calls. Without a graph they are
called as they are: the way through PyTorch's dispatcher and back into Python takes longer than many of these products.
"""

from __future__ import annotations

import torch
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


# What torch.compiler.assume_constant_result sets; the decorator would load the compiler, as long again as torch takes.
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
    multiply = _mixed_op if torch.compiler.is_compiling() else _Mixed.apply
    return multiply(input, weight, attention, channels_last)


def depthwise_conv2d(input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """Every channel of every sample convolved with a kernel of its own, differentiable.

    Args:
        input: ``[B, H, W, C]``.
        weight: ``[B, kh, kw, C]``, of the same dtype, for which :func:`why_not` is None.
        stride, padding, dilation: of rows and columns.

    Returns:
        ``[B, H', W', C]``.
    """
    convolve = _depthwise_op if torch.compiler.is_compiling() else _Depthwise.apply
    return convolve(input, weight, stride, padding, dilation)


def _dense(*tensors: Tensor) -> list[Tensor]:
    """The tensors as C reads them; one that is negated or zero only in name is written out."""
    return [(tensor.clone() if tensor._is_zerotensor() else tensor.resolve_neg()).contiguous() for tensor in tensors]


def _mixed(input: Tensor, weight: Tensor, attention: Tensor, channels_last: bool) -> Tensor:
    if channels_last:
        return _mixed_of_input(input, weight.transpose(1, 2), attention, channels_last)
    output = _mixed_like(input, weight, attention, channels_last)
    call("forward", (len(input), *weight.shape, input.shape[2]), (*_dense(input, weight, attention), output))
    return output


def _mixed_like(input: Tensor, weight: Tensor, attention: Tensor, channels_last: bool) -> Tensor:
    batch, rows = input.shape[0], weight.shape[1]
    return input.new_empty((batch, input.shape[1], rows) if channels_last else (batch, rows, input.shape[2]))


def _mixed_of_input(gradient: Tensor, weight: Tensor, attention: Tensor, channels_last: bool) -> Tensor:
    output = _mixed_of_input_like(gradient, weight, attention, channels_last)
    sizes = (len(gradient), *weight.shape, gradient.shape[1 if channels_last else 2], channels_last)
    call("backward_input", sizes, (*_dense(gradient, weight, attention), output))
    return output


def _mixed_of_input_like(gradient: Tensor, weight: Tensor, attention: Tensor, channels_last: bool) -> Tensor:
    return _mixed_like(gradient, weight.transpose(1, 2), attention, channels_last)


def _mixed_of_weight(
    input: Tensor, gradient: Tensor, weight: Tensor, attention: Tensor, channels_last: bool
) -> tuple[Tensor, Tensor]:
    rows, columns = weight.shape[1:]
    if rows * columns <= (rows + columns) * input.shape[1 if channels_last else 2]:
        # The samples' outer products take less memory than their maps: writing them down costs little, and PyTorch's
        # matrix products take about half the time of the tiles.
        outer = torch.bmm(gradient.mT, input) if channels_last else torch.bmm(gradient, input.mT)
        outer = outer.flatten(1)
        return (attention.t() @ outer).view_as(weight), outer @ weight.flatten(1).t()
    outputs = _mixed_of_weight_like(input, gradient, weight, attention, channels_last)
    sizes = (len(input), *weight.shape, input.shape[1 if channels_last else 2], channels_last)
    call("backward_weight", sizes, (*_dense(input, gradient, weight, attention), *outputs))
    return outputs


def _mixed_of_weight_like(input, gradient, weight, attention, channels_last) -> tuple[Tensor, Tensor]:
    return weight.new_empty(weight.shape), attention.new_empty(attention.shape)


def _keep_mixed(ctx, inputs, output):
    *tensors, ctx.channels_last = inputs
    ctx.save_for_backward(*tensors)


def _mixed_backward(ctx, gradient):
    input, weight, attention = ctx.saved_tensors
    if torch.is_grad_enabled():  # create_graph=True: these gradients are to be differentiated themselves
        if ctx.channels_last:
            input, gradient = input.mT, gradient.mT
        of_input = torch.einsum("bk,koc,bop->bcp", attention, weight, gradient)
        outer = gradient @ input.mT
        of_weight = torch.einsum("bk,boc->koc", attention, outer)
        return (
            of_input.mT if ctx.channels_last else of_input,
            of_weight,
            torch.einsum("koc,boc->bk", weight, outer),
            None,
        )
    of_input = of_weight = of_attention = None
    if ctx.needs_input_grad[0]:
        of_input = _mixed_of_input_op(gradient, weight, attention, ctx.channels_last)
    if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
        of_weight, of_attention = _mixed_of_weight_op(input, gradient, weight, attention, ctx.channels_last)
    return of_input, of_weight, of_attention, None


def _sizes(input: Tensor, weight: Tensor, output: Tensor, *pairs: Pair) -> tuple[int, ...]:
    batch, *size, channels = input.shape
    return (
        batch,
        channels,
        *size,
        *output.shape[1:3],
        *weight.shape[1:3],
        *(number for pair in pairs for number in pair),
    )


def _depthwise(input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    output = _depthwise_like(input, weight, stride, padding, dilation)
    sizes = _sizes(input, weight, output, stride, padding, dilation)
    call("depthwise_forward", sizes, (*_dense(input, weight), output))
    return output


def _depthwise_like(input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    size = output_size(input.shape[1:3], weight.shape[1:3], stride, padding, dilation)
    return input.new_empty(input.shape[0], *size, input.shape[3])


def _depthwise_of_both(
    input: Tensor, gradient: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> tuple[Tensor, Tensor]:
    of_input, of_weight = _depthwise_of_both_like(input, gradient, weight, stride, padding, dilation)
    sizes = _sizes(input, weight, gradient, stride, padding, dilation)
    input, gradient, weight = _dense(input, gradient, weight)
    call("depthwise_of_input", sizes, (of_input, weight, gradient))
    call("depthwise_of_weight", sizes, (input, of_weight, gradient))
    return of_input, of_weight


def _depthwise_of_both_like(input, gradient, weight, stride, padding, dilation) -> tuple[Tensor, Tensor]:
    return input.new_empty(input.shape), weight.new_empty(weight.shape)


def _keep_depthwise(ctx, inputs, output):
    input, weight, *ctx.pairs = inputs
    ctx.save_for_backward(input, weight)


def _depthwise_backward(ctx, gradient):
    input, weight = ctx.saved_tensors
    if torch.is_grad_enabled():  # as above
        # Channels of samples as channels of one image.
        planes, kernels, of_planes = (t.permute(0, 3, 1, 2).flatten(0, 1) for t in (input, weight, gradient))
        of_planes, of_kernels, _ = torch.ops.aten.convolution_backward(
            of_planes[None],
            planes[None],
            kernels[:, None],
            None,
            *ctx.pairs,
            False,
            [0, 0],
            len(kernels),
            [True, True, False],
        )
        both = (
            t.reshape(len(input), -1, *size).permute(0, 2, 3, 1)
            for t, size in ((of_planes, input.shape[1:3]), (of_kernels, weight.shape[1:3]))
        )
    else:
        both = _depthwise_of_both_op(input, gradient, weight, *ctx.pairs)
    return *both, None, None, None


def _called_directly(forward, keep, backward):
    """``forward`` with its derivative, by the shortest way."""

    def remembering(ctx, *inputs):
        keep(ctx, inputs, None)
        return forward(*inputs)

    return type(
        forward.__name__, (Function,), {"forward": staticmethod(remembering), "backward": staticmethod(backward)}
    )


def _operator(function, like, schema: str, backward=None, keep=None):
    """``function`` as an operator of PyTorch, with outputs ``like`` those of another."""
    made = torch.library.custom_op(f"eamlib::{function.__name__.strip('_')}", function, mutates_args=(), schema=schema)
    made.register_fake(like)
    if backward:
        made.register_autograd(backward, setup_context=keep)
    return made


_PAIRS = "int[2] stride, int[2] padding, int[2] dilation"
_Mixed = _called_directly(_mixed, _keep_mixed, _mixed_backward)
_mixed_op = _operator(
    _mixed,
    _mixed_like,
    "(Tensor input, Tensor weight, Tensor attention, bool channels_last) -> Tensor",
    _mixed_backward,
    _keep_mixed,
)
_mixed_of_input_op = _operator(
    _mixed_of_input,
    _mixed_of_input_like,
    "(Tensor gradient, Tensor weight, Tensor attention, bool channels_last) -> Tensor",
)
_mixed_of_weight_op = _operator(
    _mixed_of_weight,
    _mixed_of_weight_like,
    "(Tensor input, Tensor gradient, Tensor weight, Tensor attention, bool channels_last) -> (Tensor, Tensor)",
)
_Depthwise = _called_directly(_depthwise, _keep_depthwise, _depthwise_backward)
_depthwise_op = _operator(
    _depthwise,
    _depthwise_like,
    f"(Tensor input, Tensor weight, {_PAIRS}) -> Tensor",
    _depthwise_backward,
    _keep_depthwise,
)
_depthwise_of_both_op = _operator(
    _depthwise_of_both,
    _depthwise_of_both_like,
    f"(Tensor input, Tensor gradient, Tensor weight, {_PAIRS}) -> (Tensor, Tensor)",
)
