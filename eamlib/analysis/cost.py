"""What a network costs: parameters, and FLOPs by the rules of fvcore.

One multiply-add is one FLOP. Batch normalisation in eval mode counts two per value, the other normalisations five,
adaptive average pooling one per value read, bilinear upsampling four per value written. Element-wise products, means,
softmax and the other poolings count nothing.
"""

from __future__ import annotations

import copy
import inspect
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from eamlib.analysis._unchanged import same_modules, same_random_numbers
from eamlib.analysis.watch import evaluating
from eamlib.layers import (
    CoefficientPredictor,
    DynamicConv2d,
    DyNetConv2d,
    EAMAttention,
    KernelAttention,
    SqueezeExcitation,
)

PARTS = ("convolution", "attention", "aggregation", "normalization", "classifier")
_ATTENTIONS = (CoefficientPredictor, KernelAttention, EAMAttention, SqueezeExcitation)
_ATTENTION_FUNCTIONS = (F.scaled_dot_product_attention, F.multi_head_attention_forward)
# What decides how a layer is run, and the value that mixes its kernels before the one convolution.
_AGGREGATED = {DynamicConv2d: ("strategy", "grouped"), DyNetConv2d: ("fuse", "kernels")}


@dataclass(frozen=True)
class Cost:
    """The price of one image.

    Attributes:
        parameters: learnable numbers.
        flops: multiply-adds by fvcore's rules, eval mode, batch 1.
        by_part: ``flops`` split into convolution, attention (what computes the mixing weights,
            squeeze-and-excitation, and self-attention where PyTorch's own functions compute it), aggregation (mixing
            the kernels), normalization and classifier (the final pooling and linear layer, and whatever lies outside
            the other four). The parts sum to ``flops``.
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

    The forward pass is run, and whatever it calls counts as often as it is called; a parameter counts once. A dynamic
    convolution is counted as if it mixed its kernels and then convolved, whatever its strategy. ``model`` and the
    global random numbers are left as they were. On the meta device nothing is computed, and the count is the same.

    Args:
        model: any module that takes ``[1, *input_size]``, in the dtype and on the device of its parameters.
        input_size: (channels, height, width).

    Raises:
        ValueError: if ``input_size`` is not three positive integers, ``model`` is no module, has parameters that get
            their shape from the first image, or fails on an image of this size.

    Warns:
        UserWarning: once, with the names of what could not be counted: operators that are not PyTorch's own, the few of
            PyTorch's that have no rule here, and code that takes numbers out of PyTorch.

    Example:
        >>> model = eamlib.create_model("mobilenet_v1", "eam-rcr", num_classes=100)
        >>> f"{cost(model).parameters:,}"  # the 12.89 M of the EAM paper
        '12,889,292'
        >>> cost(model, (3, 64, 64)).by_part["attention"]
        45264
    """
    _check(model, input_size)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    tensors = [*model.parameters(), *model.buffers()]
    if {"meta"} < {tensor.device.type for tensor in tensors}:  # where a part has numbers, the whole does without
        model = copy.deepcopy(model).to("meta")
        tensors = [*model.parameters(), *model.buffers()]
    example = next((tensor for tensor in tensors if tensor.is_floating_point()), torch.zeros(()))
    image = example.new_zeros(1, *input_size)
    with same_random_numbers(), same_modules(model), evaluating(model), _counting(model) as tally:
        for module in model.modules():
            for kind, (name, value) in _AGGREGATED.items():
                if isinstance(module, kind):
                    setattr(module, name, value)
        try:
            model(image)
        except Exception as error:
            raise ValueError(
                f"input_size = {tuple(input_size)}: {type(model).__name__} fails on an image of shape "
                f"{list(image.shape)}, {image.dtype} on {image.device}, in eval mode: {type(error).__name__}: {error}"
            ) from error
    if tally.unknown:
        names = ", ".join(f"{name} ({count}×)" for name, count in sorted(tally.unknown.items()))
        warnings.warn(f"{type(model).__name__} costs more than was counted. Not counted: {names}.", stacklevel=2)
    return Cost(parameters, sum(tally.flops.values()), tally.flops, tally.multiply_adds)


def _check(model: object, input_size: object) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(f"model = {model!r} must be an nn.Module.")
    three = isinstance(input_size, tuple | list) and len(input_size) == 3
    if not three or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in input_size):
        raise ValueError(
            f"input_size = {input_size!r} must be (channels, height, width), three integers of at least 1."
        )
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise ValueError(f"model has no shape yet for its {name!r}; run it on an image once.")


class _Tally(TorchDispatchMode):
    """The FLOPs so far, by part, and what had no rule. It counts the multiply-adds itself, where all that PyTorch calls
    comes down to a few operators."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.flops, self.multiply_adds = dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)
        self.unknown: Counter[str] = Counter()
        self.running = [model]  # the modules that are being called, the innermost last
        self.function: Callable | None = None  # PyTorch's, that is being called

    def add(self, flops: int, *, multiply_add: bool = False, convolution: bool = False, norm: bool = False) -> None:
        innermost = self.running[-1]
        if self.function in _ATTENTION_FUNCTIONS or any(isinstance(module, _ATTENTIONS) for module in self.running):
            part = "attention"
        # A pointwise DyNet convolution multiplies the pixels by its mixed kernels, as matrices: its one einsum here.
        elif convolution or (self.function is torch.einsum and isinstance(innermost, DyNetConv2d)):
            part = "convolution"
        elif norm:
            part = "normalization"
        else:
            part = "aggregation" if isinstance(innermost, tuple(_AGGREGATED)) else "classifier"
        self.flops[part] += flops
        self.multiply_adds[part] += flops * multiply_add

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        namespace, _, name = operator.name().partition("::")
        name = name.partition(".")[0].rstrip("_")
        if namespace == "aten" and name not in _PRODUCTS:
            # Outside of torch.inference_mode, only what has no decomposition comes here.
            with self:
                output = operator.decompose(*args, **kwargs)
            if output is not NotImplemented:
                return output
        output = operator(*args, **kwargs)
        if namespace == "aten" and name in _PRODUCTS:
            self.add(_PRODUCTS[name](args, output), multiply_add=True, convolution=name == "convolution")
        elif namespace not in _NAMESPACES or _UNKNOWN.search(name):
            self.unknown[operator.name()] += 1
        return output


@contextmanager
def _counting(model: nn.Module) -> Iterator[_Tally]:
    """While entered, whatever ``model`` calls goes into the tally. The hooks stay: see :func:`same_modules`."""
    tally = _Tally(model)

    def begin(module, _):
        tally.running.append(module)

    def end(*_):
        tally.running.pop()

    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            tally.unknown["normalisation and pooling in TorchScript"] += 1
        else:
            module.register_forward_pre_hook(begin)
            module.register_forward_hook(end, always_call=True)
    # Attention's fused kernels are operators of their own, other ones on each device. Past the two modes PyTorch takes
    # no fused path, nor what torch.compile has made.
    with sdpa_kernel(SDPBackend.MATH), tally, _Functions(tally):
        yield tally


class _Functions(TorchFunctionMode):
    """Notes which function of PyTorch's runs, and counts by those that are known under no other name further down."""

    def __init__(self, tally: _Tally):
        super().__init__()
        self.tally = tally

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        self.tally.function = function
        output = function(*args, **kwargs)
        self.tally.function = None
        if function in _OTHERS:
            given = inspect.signature(function).bind(*args, **kwargs)
            given.apply_defaults()
            self.tally.add(_OTHERS[function](given.arguments, output), norm=function in _NORMS)
        elif function in _WAYS_OUT:
            self.tally.unknown[f"what is done with Tensor.{function.__name__}"] += 1
        return output


def _convolution(args, output) -> int:
    input, weight, transposed = args[0], args[1], args[6]
    positions = (input if transposed else output).shape[2:]
    return weight.numel() * len(input) * math.prod(positions)


def _product(first: int) -> Callable[[tuple, Tensor], int]:
    """Every number of the output is a sum along the rows of the ``first`` argument."""
    return lambda args, output: args[first].shape[-1] * output.numel()


_PRODUCTS = {
    "convolution": _convolution,
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "vdot"), _product(0)),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), _product(1)),
    "addbmm": lambda args, output: args[1].numel() * output.shape[1],
    # One layer of an LSTM in one direction: both matrices multiply a vector a step.
    "mkldnn_rnn_layer": lambda args, _: (args[1].numel() + args[2].numel()) * math.prod(args[0].shape[:-1]),
}
# Operators of PyTorch's that multiply and add, and have no rule; and where its own operators are.
_UNKNOWN = re.compile(
    r"mm(_|$)|conv(_|olution)|_rnn$|attention|transformer|fft|linalg_(?!vector_norm)|cdist|^_trilinear"
)
_NAMESPACES = ("aten", "prim", "prims", "profiler")

_OTHERS = {
    F.batch_norm: lambda given, output: output.numel() * ((5 if given["training"] else 2) - (given["weight"] is None)),
    **dict.fromkeys(
        (F.layer_norm, F.group_norm, F.instance_norm),
        lambda given, output: output.numel() * (5 - (given["weight"] is None)),
    ),
    F.adaptive_avg_pool2d: lambda given, _: given["input"].numel(),
    F.interpolate: lambda given, output: (
        output.numel() * {"nearest": 1, "bilinear": 4}.get(given["mode"], 0) if output.dim() == 4 else 0
    ),
    F.grid_sample: lambda _, output: 4 * output.numel(),
}
_NORMS = (F.batch_norm, F.layer_norm, F.group_norm, F.instance_norm)
# How numbers leave PyTorch: whoever asks for them computes without it.
_WAYS_OUT = (Tensor.numpy, Tensor.data_ptr, Tensor.__array__, Tensor.__dlpack__)
