"""What a network costs: parameters, and FLOPs as fvcore counts them.

fvcore counts one multiply-add as one FLOP, batch normalisation in eval mode as two a value and pooling as one a
value read; it does not see element-wise products, means or softmax.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from eamlib.layers import (
    CoefficientPredictor,
    DynamicConv2d,
    DyNetConv2d,
    EAMAttention,
    KernelAttention,
    SqueezeExcitation,
)
from eamlib.watch import evaluating

PARTS = ("convolution", "attention", "aggregation", "normalization", "classifier")
_ATTENTIONS = (CoefficientPredictor, KernelAttention, EAMAttention, SqueezeExcitation)
_MULTIPLY_ADDS = {"conv", "linear", "addmm", "matmul", "bmm"}  # fvcore's names of what multiplies and adds
# What decides how a layer is run, and the value that mixes its kernels before the one convolution.
_AGGREGATED = {DynamicConv2d: ("strategy", "grouped"), DyNetConv2d: ("fuse", "kernels")}


@dataclass(frozen=True)
class Cost:
    """The price of one image.

    Attributes:
        parameters: learnable numbers.
        flops: multiply-adds by fvcore's rules, eval mode, batch 1.
        by_part: ``flops`` split into convolution, attention (what computes the mixing weights, and
            squeeze-and-excitation), aggregation (mixing the kernels), normalization and classifier (the final
            pooling and linear layer, and whatever lies outside the other four). The parts sum to ``flops``.
        multiply_adds: what of ``by_part`` is multiply-adds, without normalisation, pooling and upsampling: the
            count that most papers print.

    Example:
        >>> found = cost(nn.Conv2d(16, 32, kernel_size=3, padding=1, bias=False), (16, 8, 8))
        >>> found.parameters == 32 * 16 * 3 * 3
        True
        >>> found.flops == found.parameters * 8 * 8 == found.by_part["convolution"]
        True
    """

    parameters: int
    flops: int
    by_part: dict[str, int]
    multiply_adds: dict[str, int]


def cost(model: nn.Module, input_size: tuple[int, int, int] = (3, 224, 224)) -> Cost:
    """Count the parameters of ``model`` and the FLOPs of one forward pass over one image.

    A dynamic convolution is counted in its aggregated form, mix the kernels and then convolve, whichever way the
    layer is set to run. ``model`` is left as it was, its mode and these settings included. One on the meta device is
    counted on a copy.

    Args:
        model: any module that takes ``[1, *input_size]``.
        input_size: (channels, height, width).

    Raises:
        ValueError: if ``input_size`` is not three positive integers.

    Example:
        >>> model = create_model("mobilenet_v1", "eam-rcr", num_classes=100)
        >>> f"{cost(model).parameters:,}"  # the 12.89 M of the EAM paper
        '12,889,292'
        >>> cost(model, (3, 64, 64)).by_part["attention"]
        45264
    """
    if len(input_size) != 3 or any(not isinstance(n, int) or n < 1 for n in input_size):
        raise ValueError(
            f"input_size = {input_size!r} must be (channels, height, width), three integers of at least 1."
        )
    own = _own_operations(model, input_size)
    parts, multiply_adds = dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)
    modules = dict(model.named_modules())
    in_attention = {
        f"{name}.{inner}".strip(".")
        for name, module in modules.items()
        if isinstance(module, _ATTENTIONS)
        for inner, _ in module.named_modules()
    }
    for name, operations in own.items():
        for operation, flops in operations.items():
            part = _part(name, operation, modules[name], in_attention)
            parts[part] += round(flops)
            if operation in _MULTIPLY_ADDS:
                multiply_adds[part] += round(flops)
    parameters = sum(p.numel() for p in model.parameters())
    return Cost(parameters, flops=sum(parts.values()), by_part=parts, multiply_adds=multiply_adds)


def _part(name: str, operation: str, module: nn.Module, in_attention: set[str]) -> str:
    if name in in_attention:
        return "attention"
    # A pointwise DyNet convolution multiplies the pixels by its mixed kernels, as matrices.
    if operation == "conv" or (operation == "bmm" and isinstance(module, DyNetConv2d)):
        return "convolution"
    if operation == "batch_norm":
        return "normalization"
    if isinstance(module, tuple(_AGGREGATED)):
        return "aggregation"
    return "classifier"


def _own_operations(model: nn.Module, input_size: tuple[int, int, int]) -> dict[str, dict[str, float]]:
    """FLOPs by module and operation, those of the submodules taken out."""
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        # A trace needs numbers. Zeros will do, as the channels that RCR reads too.
        model = copy.deepcopy(model).to_empty(device="cpu")
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.detach().zero_()
    example = next(model.parameters(), torch.zeros(()))
    image = torch.zeros(1, *input_size, device=example.device, dtype=example.dtype)
    with _counting(model), warnings.catch_warnings():
        # fvcore uses torch.jit, on import and to trace; its successor it does not know yet.
        warnings.filterwarnings("ignore", "`torch.jit", category=FutureWarning)
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(model, image)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        total = analysis.by_module_and_operator()
    children = {name: [n for n, _ in module.named_children()] for name, module in model.named_modules()}
    own = {}
    for name, operations in total.items():
        inner = [total[f"{name}.{child}".strip(".")] for child in children[name]]
        own[name] = {op: flops - sum(i.get(op, 0) for i in inner) for op, flops in operations.items()}
    return own


@contextmanager
def _counting(model: nn.Module) -> Iterator[None]:
    """Eval mode, no gradients and the aggregated form while counting, then everything as before."""
    dynamic = [(m, *how) for m in model.modules() for kind, how in _AGGREGATED.items() if isinstance(m, kind)]
    before = [getattr(module, name) for module, name, _ in dynamic]
    try:
        for module, name, aggregated in dynamic:
            setattr(module, name, aggregated)
        with evaluating(model):
            yield
    finally:
        for (module, name, _), value in zip(dynamic, before, strict=True):
            setattr(module, name, value)
