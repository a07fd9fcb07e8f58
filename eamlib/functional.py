"""A convolution whose kernel differs per sample: the one place that knows how it is run.

For sample b the kernel is the attention-weighted sum of K kernels, w_b = sum_k a_bk W_k (Chen et al. 2020,
https://arxiv.org/abs/1912.03458, equation 2; Zhang et al. 2020, https://arxiv.org/abs/2004.10694). All
strategies compute the same numbers and differ in time and memory only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from eamlib._checks import one_of

Size = int | tuple[int, int]


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
        attention: mixing weights, one row a sample, ``[B, K]``. They need not sum to one.
        bias: K biases, ``[K, O]``, mixed by the same attention, or None.
        stride, padding, dilation, groups: as in :func:`torch.nn.functional.conv2d`.
        strategy: how it is run. ``"grouped"`` mixes the kernels, lays the batch along the channels and runs one
            convolution with B * groups groups. ``"loop"`` runs one convolution a sample: slow, obviously right,
            and what every other strategy is tested against. ``"auto"`` picks; today it picks ``"grouped"``.

    Returns:
        ``[B, O, H', W']``.

    Raises:
        ValueError: if the shapes do not fit together or ``strategy`` is unknown.

    Source: Chen et al. 2020, section 3; the grouped form is section 3.3 of CondConv (Yang et al. 2019).
    """
    one_of("strategy", strategy, ("auto", *_STRATEGIES))
    _check_shapes(input, weight, attention, bias, groups)
    if len(input) == 0:
        # No sample, no kernel to mix: any of the K gives the empty output its shape.
        return F.conv2d(input, weight[0], None if bias is None else bias[0], stride, padding, dilation, groups)
    run = _STRATEGIES["grouped" if strategy == "auto" else strategy]
    return run(input, weight, attention, bias, stride, padding, dilation, groups)


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
        weight: a kernel a sample, ``[B, O, C / groups, kh, kw]``.
        bias: a bias a sample, ``[B, O]``, or None.
        stride, padding, dilation, groups: as in :func:`torch.nn.functional.conv2d`.

    Returns:
        ``[B, O, H', W']``.

    Source: section 3.3 of CondConv (Yang et al. 2019).
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


def _loop(input, weight, attention, bias, stride, padding, dilation, groups):
    outputs = []
    for sample, mix in zip(input, attention, strict=True):
        kernel = torch.einsum("k,koihw->oihw", mix, weight)
        kernel_bias = None if bias is None else mix @ bias
        outputs.append(F.conv2d(sample, kernel, kernel_bias, stride, padding, dilation, groups))
    return torch.stack(outputs)


_STRATEGIES = {"grouped": _grouped, "loop": _loop}


def _check_shapes(input: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, groups: int) -> None:
    if input.dim() != 4:
        raise ValueError(f"input has shape {list(input.shape)}; allowed is [B, C, H, W].")
    if weight.dim() != 5 or weight.shape[0] == 0:
        raise ValueError(f"weight has shape {list(weight.shape)}; allowed is [K, O, C / groups, kh, kw] with K >= 1.")
    batch, channels = input.shape[:2]
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
