"""Which convolution a network is made of, by name.

An architecture is written once and takes ``conv``: "static", "dynamic" or one of the EAM variants. This file
turns the name and its options into what builds one layer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from itertools import count

from eamlib._checks import did_you_mean, one_of
from eamlib.layers.attention import EAMAttention, KernelAttention, UniformAttention
from eamlib.layers.convolution import ConvBuilder, padded, static_conv
from eamlib.layers.dynamic import DynamicConv2d
from eamlib.layers.dynet import DyNetConv2d
from eamlib.layers.selection import SELECTIONS

CONVS = ("static", "dynamic", "dynamic-uniform", "dynet", *(f"eam-{select}" for select in SELECTIONS))


def conv_builder(conv: str = "static", **options) -> ConvBuilder:
    """Return what builds a layer from (in_channels, out_channels, kernel_size, stride=1, groups=1, dilation=1).

    Args:
        conv: ``"static"``; ``"dynamic"`` (attention over all channels, Chen et al. 2020); ``"dynamic-uniform"`` (the
            placebo: K kernels, each weighted 1 / K); ``"dynet"`` (coefficients per output channel, Zhang et al. 2020);
            ``"eam-"`` and the name of a selection (Ding et al. 2021).
        options: of the attention, and ``num_kernels`` and ``strategy``; of ``"dynet"``, ``group_size`` and ``fuse``.
            With ``seed``, layer i draws its channels with seed + i, so that layers of the same width do not all pick
            the same ones.

    Raises:
        ValueError: if ``conv`` or an option is unknown.

    Example:
        >>> build = conv_builder("eam-cgr", num_kernels=2, channels=4)
        >>> layer = build(32, 64, 3, stride=2)
        >>> type(layer).__name__, layer(torch.randn(1, 32, 8, 8)).shape
        ('DynamicConv2d', torch.Size([1, 64, 4, 4]))
        >>> conv_builder("static")(32, 64, 3)
        Conv2d(32, 64, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
    """
    one_of("conv", conv, CONVS)
    if conv == "static":
        _refuse_unknown(options, (), conv)
        return static_conv
    if conv == "dynet":
        _refuse_unknown(options, ("group_size", "fuse"), conv)
        return padded(partial(DyNetConv2d, **options))
    return padded(dynamic_layer(conv, **options))


def dynamic_layer(conv: str, **options) -> Callable[..., DynamicConv2d]:
    """Return what builds a :class:`DynamicConv2d` from the arguments of ``nn.Conv2d``, without ``padding_mode``.

    Args:
        conv: ``"dynamic"``, ``"dynamic-uniform"``, or ``"eam-"`` and the name of a selection.
        options: as in :func:`conv_builder`.

    Raises:
        ValueError: if an option is unknown.
    """
    attention_class, fixed = UniformAttention if conv == "dynamic-uniform" else KernelAttention, {}
    if conv.startswith("eam-"):
        attention_class, fixed = EAMAttention, {"select": conv.removeprefix("eam-")}
    strategy = options.pop("strategy", "auto")
    taken = set(inspect.signature(attention_class).parameters) - {"in_channels", "device", "dtype", *fixed}
    _refuse_unknown(options, taken | {"strategy"}, conv)
    kernels = {"num_kernels": options.get("num_kernels", 4), "strategy": strategy}
    layers_before = count()

    def build(in_channels: int, *shape, device=None, dtype=None) -> DynamicConv2d:
        factory = {"device": device, "dtype": dtype}
        seeded = {} if options.get("seed") is None else {"seed": options["seed"] + next(layers_before)}
        attention = attention_class(in_channels, **options | fixed | factory | seeded)
        return DynamicConv2d(in_channels, *shape, attention=attention, **kernels, **factory)

    return build


def _refuse_unknown(options: dict, taken, conv: str) -> None:
    for option in options:
        if option not in taken:
            allowed = ", ".join(sorted(taken)) if taken else "none"
            near = did_you_mean(option, taken, likeness=0.7)  # another convolution's option is no misspelling
            raise ValueError(f"option {option!r} is unknown to conv = {conv!r}.{near} Allowed: {allowed}.")
