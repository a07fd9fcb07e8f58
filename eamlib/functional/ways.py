"""A convolution whose kernel differs per sample: the one place that knows how it is run.

For sample b the kernel is the attention-weighted sum of K kernels, w_b = sum_k a_bk W_k (Chen et al. 2020,
https://arxiv.org/abs/1912.03458, equation 2; Zhang et al. 2020, https://arxiv.org/abs/2004.10694). All strategies
compute the same numbers and differ in time and memory only. The seven are four ideas: one
convolution of B · groups groups (``"grouped"``; ``"chunked"`` does it in pieces of the batch), products of matrices
(``"bmm"``; ``"tiled"`` does them in C), K convolutions whose outputs are mixed (``"fuse"``), and one convolution of K
scaled inputs (``"concat"``). ``"loop"`` is what the tests hold them against.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from eamlib._checks import feature_maps, one_of
from eamlib.functional import measured, tiled
from eamlib.functional.roofline import made, predict
from eamlib.functional.tiled import as_maps, is_traced, output_size

Size = int | tuple[int, int]
_CHUNK = 8 << 20  # bytes that a piece of the batch may make on a CPU, to be in a cache still when they are used


def dynamic_conv2d(
    input: Tensor,
    weight: Tensor,
    attention: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    strategy: str = "auto",
) -> Tensor:
    """Convolve every sample with its own mixture of K kernels.

    Args:
        input: feature maps, ``[B, C, H, W]``.
        weight: the K kernels, ``[K, O, C / groups, kh, kw]``.
        attention: mixing weights, one row per sample, ``[B, K]``. They need not sum to one.
        bias: K biases, ``[K, O]``, mixed by the same attention, or None.
        stride, padding, dilation, groups: as in :func:`torch.nn.functional.conv2d`.
        strategy: how it is run. Seven names stand for four ideas and a test:

            - ``"grouped"`` mixes one kernel per sample, lays the batch along the channels and runs one convolution of
              B · groups groups. An ONNX file of it has the batch size of its example; where the batch is declared open,
              the exporter refuses. ``"chunked"`` is ``"grouped"`` in pieces of the batch that fit a CPU's cache.
            - ``"bmm"`` mixes too, and multiplies matrices; kernels larger than 1×1 go through ``unfold``. It takes
              ``groups=1`` only. ``"tiled"`` is ``"bmm"`` in C, which never writes a mixed kernel to memory, and takes
              depthwise layers as well: on a CPU, in float32 and float64, where there is a C compiler.
            - ``"fuse"`` runs K static convolutions over the batch at once and mixes their outputs.
            - ``"concat"`` scales the input by each of the K weights, lays the copies along the channels and runs one
              static convolution.
            - ``"loop"`` runs one convolution per sample: obviously right, and what the tests hold the others against.

            ``"auto"`` takes the one that :func:`fastest` names.

    Returns:
        ``[B, O, H', W']``.

    Raises:
        ValueError: if the shapes, dtypes or devices do not fit together, or ``strategy`` is unknown or cannot run this
            convolution; the message says why.

    Source: Chen et al. 2020, section 3; the grouped form is section 3.3 of CondConv (Yang et al. 2019).

    Example:
        >>> images, weight = torch.randn(5, 8, 6, 6), torch.randn(4, 16, 8, 3, 3)  # K = 4 kernels
        >>> attention = torch.randn(5, 4).softmax(dim=1)  # one row per image
        >>> output = dynamic_conv2d(images, weight, attention, padding=1)
        >>> output.shape
        torch.Size([5, 16, 6, 6])
        >>> one_by_one = dynamic_conv2d(images, weight, attention, padding=1, strategy="loop")
        >>> torch.allclose(output, one_by_one, atol=1e-4)
        True
    """
    one_of("strategy", strategy, ("auto", *STRATEGIES))
    stride, dilation = _pair("stride", stride, 1), _pair("dilation", dilation, 1)
    _check_shapes(input, weight, attention, bias, groups)
    input, weight, attention, bias = _of_one_kind(input, weight, attention, bias)
    input, padding = _padded(input, weight, stride, padding, dilation)
    if strategy in _REFUSALS and (reason := _REFUSALS[strategy](input, weight, groups)):
        raise ValueError(f"strategy = {strategy!r} cannot run this convolution: {reason}.")
    if input.shape[0] == 0:  # not len: it makes a number of a batch that a traced graph leaves open
        strategy = "fuse"  # static convolutions know what to do without a sample
    elif strategy == "auto":
        strategy = fastest(input, weight, stride, padding, dilation, groups)
    return STRATEGIES[strategy](input, weight, attention, bias, stride, padding, dilation, groups)


def per_sample_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve sample b with kernel b: the batch is laid along the channels, for one convolution of B · groups groups.

    Args:
        input: feature maps, ``[B, C, H, W]`` with B >= 1.
        weight: one kernel per sample, ``[B, O, C / groups, kh, kw]``.
        bias: one bias per sample, ``[B, O]``, or None.
        stride, padding, dilation, groups: as in :func:`torch.nn.functional.conv2d`.

    Returns:
        ``[B, O, H', W']``.

    Source: section 3.3 of CondConv (Yang et al. 2019).

    Example:
        >>> images, kernels = torch.randn(5, 8, 6, 6), torch.randn(5, 16, 8, 3, 3)  # one kernel per image
        >>> output = per_sample_conv2d(images, kernels)
        >>> output.shape
        torch.Size([5, 16, 4, 4])
        >>> torch.allclose(output[2:3], nn.functional.conv2d(images[2:3], kernels[2]), atol=1e-4)
        True
    """
    batch, channels, height, width = input.shape
    # reshape, not view: a channels_last input has no [1, B * C, H, W] view.
    side_by_side = input.reshape(1, batch * channels, height, width)
    bias = None if bias is None else bias.flatten()
    output = F.conv2d(side_by_side, weight.flatten(0, 1), bias, stride, padding, dilation, batch * groups)
    return output.view(batch, weight.shape[1], *output.shape[2:])


def _grouped(input, weight, attention, bias, stride, padding, dilation, groups):
    mixed = (attention @ weight.flatten(1)).unflatten(1, weight.shape[1:])
    mixed_bias = None if bias is None else attention @ bias
    return per_sample_conv2d(input, mixed, mixed_bias, stride, padding, dilation, groups)


def _chunked(input, weight, attention, bias, *geometry):
    height, width = output_size(input.shape[2:], weight.shape[3:], *geometry[:3])
    of_a_sample = input[0].numel() + weight[0].numel() + weight.shape[1] * height * width
    return _by_pieces(
        lambda input, attention: _grouped(input, weight, attention, bias, *geometry), input, attention, of_a_sample
    )


def _bmm(input, weight, attention, bias, *geometry, multiply=None):
    columns, size = _columns(input, weight, *geometry[:3])
    output = (multiply or _mixed_matmul)(columns, weight.flatten(2), attention)
    return _with_bias(as_maps(output, size), attention, bias)


def _mixed_matmul(columns, weight, attention):
    """:func:`eamlib.functional.tiled.mixed_matmul` in PyTorch: it writes the mixed kernels of a piece of the batch."""
    matrices = weight.flatten(1)

    def multiply(columns, attention):
        return (attention @ matrices).view(-1, *weight.shape[1:]) @ columns

    return _by_pieces(multiply, columns, attention, matrices.shape[1])


def _by_pieces(run, input, attention, numbers):
    """``run`` over pieces of the batch, a sample of which makes so many ``numbers``: on a CPU, and where no graph is
    made, which would remember how many pieces there were."""
    if is_traced() or not input.is_cpu:
        return run(input, attention)
    samples = max(1, _CHUNK // (numbers * input.element_size()))
    pieces = [run(*piece) for piece in zip(input.split(samples), attention.split(samples), strict=True)]
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _tiled(input, weight, attention, bias, stride, padding, dilation, groups):
    if groups > 1:
        # [K, O, 1, kh, kw] to one kernel per sample with its channels last, as in the maps; PyTorch counts them second.
        kernels = weight.squeeze(2).permute(0, 2, 3, 1)
        mixed = (attention @ kernels.flatten(1)).unflatten(1, kernels.shape[1:])
        output = tiled.depthwise_conv2d(input.permute(0, 2, 3, 1), mixed, stride, padding, dilation).permute(0, 3, 1, 2)
        if not has_channels_last(input):
            output = output.contiguous()
    elif weight.shape[3:] == (1, 1) and padding == (0, 0) and has_channels_last(input):
        pixels = input[:, :, :: stride[0], :: stride[1]].permute(0, 2, 3, 1)
        output = tiled.mixed_matmul(pixels.flatten(1, 2), weight.flatten(2), attention, channels_last=True)
        output = output.unflatten(1, pixels.shape[1:3]).permute(0, 3, 1, 2)
    else:
        return _bmm(input, weight, attention, bias, stride, padding, dilation, multiply=tiled.mixed_matmul)
    return _with_bias(output, attention, bias)


def has_channels_last(maps: Tensor) -> bool:
    """Whether ``[B, C, H, W]`` lie in memory as ``[B, H, W, C]``, and cannot be taken for the usual layout as well."""
    return maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()


def _fuse(input, weight, attention, bias, stride, padding, dilation, groups):
    kernels, out_channels = weight.shape[:2]
    # A convolution with groups takes the outputs of a group side by side: [groups, K, O / groups, ...].
    wide = weight.unflatten(1, (groups, out_channels // groups)).transpose(0, 1).flatten(0, 2)
    maps = F.conv2d(input, wide, None, stride, padding, dilation, groups)
    maps = maps.unflatten(1, (groups, kernels, out_channels // groups))
    return _with_bias(torch.einsum("bk,bgkohw->bgohw", attention, maps).flatten(1, 2), attention, bias)


def _concat(input, weight, attention, bias, stride, padding, dilation, groups):
    out_channels, group_channels = weight.shape[1:3]
    batch = input.shape[0]
    if groups == 1 and weight.shape[3:] == (1, 1):
        # The batch is laid along a row of pixels: one product [O, K C] @ [K C, B H' W'].
        columns, size = _columns(input, weight, stride, padding, dilation)
        scaled = attention.t()[:, None, :, None] * columns.transpose(0, 1).contiguous()
        wide = weight.flatten(2).transpose(0, 1).reshape(out_channels, -1, 1, 1)
        output = F.conv2d(scaled.reshape(1, -1, batch, columns.shape[2]), wide)[0]
        return _with_bias(as_maps(output.transpose(0, 1), size), attention, bias)
    copies = input.unflatten(1, (groups, 1, group_channels)) * attention[:, None, :, None, None, None]
    wide = weight.transpose(0, 1).flatten(1, 2)
    output = F.conv2d(copies.flatten(1, 3), wide, None, stride, padding, dilation, groups)
    return _with_bias(output, attention, bias)


def _loop(input, weight, attention, bias, stride, padding, dilation, groups):
    outputs = []
    for sample, mix in zip(input, attention, strict=True):
        kernel = (mix @ weight.flatten(1)).unflatten(0, weight.shape[1:])
        kernel_bias = None if bias is None else mix @ bias
        outputs.append(F.conv2d(sample, kernel, kernel_bias, stride, padding, dilation, groups))
    return torch.stack(outputs)


STRATEGIES = {
    "grouped": _grouped,
    "chunked": _chunked,
    "bmm": _bmm,
    "tiled": _tiled,
    "fuse": _fuse,
    "concat": _concat,
    "loop": _loop,
}


def _no_bmm(input: Tensor, weight: Tensor, groups: int) -> str | None:
    return None if groups == 1 else f"it multiplies whole matrices, and groups = {groups}"


def _not_tiled(input: Tensor, weight: Tensor, groups: int) -> str | None:
    if groups > 1 and weight.shape[1:3] != (groups, 1):
        return f"it knows one group, or as many as there are inputs and outputs, and groups = {groups}"
    return tiled.why_not(input)


_REFUSALS = {"bmm": _no_bmm, "tiled": _not_tiled}


def _columns(input, weight, stride, padding, dilation):
    """The input as one matrix per sample, ``[B, C kh kw, H' W']``, and (H', W')."""
    kernel_size = weight.shape[3:]
    size = output_size(input.shape[2:], kernel_size, stride, padding, dilation)
    if kernel_size == (1, 1) and padding == (0, 0):
        if stride != (1, 1):
            input = input[:, :, :: stride[0], :: stride[1]]
        return input.flatten(2), size
    return F.unfold(input, kernel_size, dilation, padding, stride), size


def _with_bias(output: Tensor, attention: Tensor, bias: Tensor | None) -> Tensor:
    return output if bias is None else output + (attention @ bias)[:, :, None, None]


def _pair(argument: str, value: Size, least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else value
    if isinstance(pair, tuple | list) and len(pair) == 2:
        first, second = pair
        if isinstance(first, int) and isinstance(second, int) and first >= least and second >= least:
            return first, second
    raise ValueError(f"{argument} = {value!r}; allowed is an integer of at least {least}, or a pair of them.")


def _padded(input, weight, stride, padding, dilation) -> tuple[Tensor, tuple[int, int]]:
    """The input and its padding as a pair of numbers; "same" pads an even kernel more on one side, and is done here."""
    if isinstance(padding, str):
        if one_of("padding", padding, ("same", "valid")) == "valid":
            return input, (0, 0)
        if stride != (1, 1):
            raise ValueError(f"padding = 'same' is for stride 1, and stride = {list(stride)}.")
        total = [spread * (taps - 1) for spread, taps in zip(dilation, weight.shape[3:], strict=True)]
        if any(n % 2 for n in total):
            input = F.pad(input, (0, total[1] % 2, 0, total[0] % 2))
        return input, (total[0] // 2, total[1] // 2)
    padding = _pair("padding", padding, 0)
    height, width = output_size(input.shape[2:], weight.shape[3:], stride, padding, dilation)
    if height < 1 or width < 1:
        raise ValueError(
            f"weight {list(weight.shape)} with dilation = {list(dilation)} is larger than the padded input: "
            f"{list(input.shape)} with padding = {list(padding)}."
        )
    return input, padding


def _of_one_kind(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """The tensors in autocast's dtype, but for float64, which PyTorch's own operators leave alone too. Then they have
    to agree."""
    kind = tensors[0].device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        tensors = tuple(t if t is None or t.dtype == torch.float64 else t.to(dtype) for t in tensors)
    input, *others = tensors
    for name, tensor in zip(("weight", "attention", "bias"), others, strict=True):
        if tensor is not None and (tensor.dtype != input.dtype or tensor.device != input.device):
            raise ValueError(
                f"{name} is {tensor.dtype} on {tensor.device}; input is {input.dtype} on {input.device}, "
                "and all have to be of one dtype on one device."
            )
    return tensors


def fastest(
    input: Tensor,
    weight: Tensor,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> str:
    """The strategy that ``"auto"`` takes: on CUDA the fastest when measured, else the fastest by prediction.

    The first call with a shape, dtype and geometry tries on CUDA the ways that can run, training and inference apart,
    and the answer is kept while the process lives. ``EAMLIB_AUTOTUNE=0`` takes the prediction of
    :mod:`eamlib.functional.roofline` there, too, and ``EAMLIB_AUTOTUNE=1`` measures on a CPU as well. The prediction is
    also taken in PyTorch's deterministic mode and while CUDA captures a graph.

    Never ``"loop"``. While a graph is traced the choice must not depend on the batch: it is ``"tiled"`` where that can
    run, otherwise ``"bmm"`` for one group and ``"fuse"`` for several, which onnxruntime runs twice as fast as
    ``"concat"`` in a depthwise layer.

    Args:
        input, weight: as in :func:`dynamic_conv2d`, with at least one sample.
        stride, padding, dilation: pairs of integers.
        groups: of the convolution.

    Example:
        >>> images, depthwise = torch.randn(2, 8, 6, 6), torch.randn(4, 8, 1, 3, 3)
        >>> fastest(images, depthwise, padding=(1, 1), groups=8) in {"grouped", "chunked", "fuse", "concat"}
        True
    """
    can_tile = _not_tiled(input, weight, groups) is None
    if is_traced():
        return "tiled" if can_tile else "bmm" if groups == 1 else "fuse"
    (batch, channels, *size), (kernels, out_channels, _, *kernel_size) = input.shape, weight.shape
    pixels = math.prod(size), math.prod(output_size(size, kernel_size, stride, padding, dilation))
    training = torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad)
    kind = (
        (batch, channels, out_channels, tuple(kernel_size), groups, *pixels, kernels),
        can_tile,
        input.element_size(),
        input.device.type,
        torch.get_num_threads(),
        training,
        has_channels_last(input),
    )
    if not measured.is_wanted(input):
        return _by_prediction(*kind)[0]
    key = kind, tuple(size), stride, padding, dilation, input.dtype, input.device, input.requires_grad
    if key not in _MEASURED:
        attention = input.new_full((batch, kernels), 1 / kernels).requires_grad_(training)
        geometry = None, stride, padding, dilation, groups  # without a bias
        ways = {name: lambda *three, run=STRATEGIES[name]: run(*three, *geometry) for name in _by_prediction(*kind)}
        _MEASURED[key] = measured.fastest(ways, made(*kind[0], input.element_size()), input, weight, attention)
    return _MEASURED[key]


_MEASURED: dict[tuple, str] = {}


@functools.cache  # of positional arguments: a call with named ones takes longer than a look into the cache
def _by_prediction(shape, can_tile, element_size, device, threads, training, channels_last) -> list[str]:
    """The strategies that can run, the fastest first."""
    machine = {"element_size": element_size, "device": device, "threads": threads}
    seconds = predict(*shape, **machine, training=training, channels_last=channels_last)
    refused = {"loop"} | (set() if can_tile else {"tiled"}) | (set() if shape[4] == 1 else {"bmm"})
    return sorted(seconds.keys() - refused, key=seconds.get)


def _check_shapes(input: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, groups: int) -> None:
    batch, channels = feature_maps("input", input).shape[:2]
    if weight.dim() != 5 or 0 in weight.shape:
        raise ValueError(
            f"weight has shape {list(weight.shape)}; allowed is [K, O, C / groups, kh, kw], K >= 1, with no size of 0."
        )
    kernels, out_channels, group_channels = weight.shape[:3]
    if groups < 1 or channels != group_channels * groups:
        raise ValueError(
            f"input has {channels} channels; weight {list(weight.shape)} with groups = {groups} "
            f"takes {group_channels * groups}."
        )
    if out_channels % groups:
        raise ValueError(f"groups = {groups} does not divide the {out_channels} output channels of weight.")
    if attention.shape != (batch, kernels):
        raise ValueError(
            f"attention has shape {list(attention.shape)}; allowed is [B, K] = {[batch, kernels]} "
            "for this input and weight."
        )
    if bias is not None and bias.shape != (kernels, out_channels):
        raise ValueError(f"bias has shape {list(bias.shape)}; allowed is [K, O] = {[kernels, out_channels]} or None.")
