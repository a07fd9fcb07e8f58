"""Networks by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch import nn

from eamlib._checks import one_of, positive_int, positive_number
from eamlib.layers.geometry import conv2d_arguments
from eamlib.layers.spec import conv_builder

_BUILDERS: dict[str, Callable[..., nn.Module]] = {}
_OWN_CONV: dict[str, str] = {}


def register_model(builder: Callable[..., nn.Module], *, conv: str = "static") -> Callable[..., nn.Module]:
    """Decorator: make ``builder`` known to :func:`create_model` under its own name, made of ``conv`` unless told."""
    _BUILDERS[builder.__name__] = builder
    _OWN_CONV[builder.__name__] = conv
    return builder


def list_models() -> list[str]:
    """The names that :func:`create_model` knows, sorted.

    Example:
        >>> list_models()[:3]
        ['dy_mobile', 'dy_resnet18', 'dy_resnet50']
    """
    return sorted(_BUILDERS)


def own_conv(name: str) -> str:
    """What the network is made of when no ``conv`` is named: "dynet" for those called ``dy_…``, else "static".

    Example:
        >>> own_conv("dy_resnet18"), own_conv("resnet18")
        ('dynet', 'static')
    """
    return _OWN_CONV[one_of("name", name, list_models())]


def create_model(
    name: str,
    conv: str | None = None,
    *,
    num_classes: int = 1000,
    width_mult: float = 1.0,
    stem_stride: int = 2,
    in_channels: int = 3,
    **conv_options,
) -> nn.Module:
    """Build a network made of the convolution called ``conv``: ``[B, 3, H, W] -> [B, num_classes]``, and for the
    segmentation networks (``fcn_…``) ``[B, num_classes, H, W]``.

    Args:
        name: one of :func:`list_models`.
        conv: one of :data:`eamlib.layers.CONVS`; None takes :func:`eamlib.models.own_conv`. The first convolution and
            the classifier stay static in every network (Ding et al. 2021, section 4.1.4).
        num_classes: length of the output.
        width_mult: multiplies every layer's channels; ``shufflenet_v2`` exists at 0.5, 1.0, 1.5 and 2.0 only.
        stem_stride: of the first convolution: 2 for images of 224 pixels, 1 for images of 32. Each network's own
            docstring says what else is then usual and done.
        in_channels: of the images, instead of 3.
        conv_options: reach the attention (``num_kernels``, ``reduction``, ``channels``, ``pool``, ``output_size``,
            ``hidden``, ``temperature``, ``seed``) and ``strategy``, or the DyNet convolution (``group_size``,
            ``fuse``); or are arguments of one network (``mobilenet_v2``: ``expand_first``).

    Raises:
        ValueError: if a name or an option is unknown, or a number is out of its range.

    Example:
        >>> model = create_model("mobilenet_v2", "eam-cgr", num_classes=10, width_mult=0.25, stem_stride=1)
        >>> model(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
        >>> create_model("resnet18", "eam-rcr", channels=1000)
        Traceback (most recent call last):
            ...
        ValueError: channels = 1000 selects more than the 64 channels of the input; ...
    """
    builder = _BUILDERS[one_of("name", name, list_models())]
    positive_int("num_classes", num_classes)
    positive_number("width_mult", width_mult)
    positive_int("in_channels", in_channels)
    if stem_stride not in (1, 2):
        raise ValueError(f"stem_stride = {stem_stride!r} must be 1 or 2.")
    shared = {"conv", "num_classes", "width_mult", "stem_stride"}
    of_network = set(inspect.signature(builder).parameters) - shared
    network_options = {key: conv_options.pop(key) for key in of_network & conv_options.keys()}
    model = builder(
        conv=conv_builder(own_conv(name) if conv is None else conv, **conv_options),
        num_classes=num_classes,
        width_mult=width_mult,
        stem_stride=stem_stride,
        **network_options,
    )
    if in_channels != 3:
        _read_channels(model, in_channels)
    return model


def _read_channels(model: nn.Module, in_channels: int) -> None:
    """Give a fresh network another first convolution, which is static in all of them."""
    name, stem = next((name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d))
    _, *others = conv2d_arguments(stem)
    model.set_submodule(name, nn.Conv2d(in_channels, *others, device=stem.weight.device, dtype=stem.weight.dtype))
