"""A trained network made dynamic: its convolutions become K equal kernels under an attention.

The weights of an attention sum to one, so a mixture of equal kernels is that kernel, and the network answers as before.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

import torch
from torch import nn

from eamlib._checks import no_hooks, one_of
from eamlib.analysis._copied import copied
from eamlib.layers.dynamic import DynamicConv2d
from eamlib.layers.geometry import ConvGeometry, conv2d_arguments
from eamlib.layers.spec import CONVS, dynamic_layer

IMAGE_CHANNELS = 4  # grey, RGB, RGBA: what reads no more of them reads the image
_OTHER_CONVOLUTIONS = (nn.Conv1d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_REFUSED = {
    "static": "the convolutions are static already",
    "dynet": "its coefficients do not sum to one, so that the network would not answer as before",
}


def convert(
    model: nn.Module, conv: str = "eam-rcr", *, where: Callable[[str, nn.Conv2d], bool] | None = None, **conv_options
) -> nn.Module:
    """Return a copy of ``model`` whose convolutions are dynamic and which answers as ``model`` does.

    Each picked layer becomes a :class:`eamlib.layers.DynamicConv2d` whose K kernels and biases are copies of the
    trained ones, on their device and in their dtype; ``requires_grad`` and each module's mode are kept too. A module
    that is used twice is converted once. Layers that share a weight share its K kernels, each under an attention of its
    own. A tensor that a forward pass left in an attribute is copied without its graph.

    Training parts the kernels, since an attention just drawn gives each of them other shares of the images. To tune by
    SGD as before, take K times the learning rate for the kernels (chapter 12).

    Args:
        model: any module that contains ``nn.Conv2d``, or is one. It is left as it is. ``nn.Conv1d``, ``nn.Conv3d`` and
            transposed convolutions have no dynamic form here: they stay static in the copy.
        conv: ``"dynamic"``, or ``"eam-"`` and the name of a selection.
        where: ``where(name, conv)`` is True for the layers to convert; the name is that of ``named_modules``. Layers
            that are dynamic already are not looked into. None leaves static

            - what reads the image, as Ding et al. 2021 do (section 4.1.4): convolutions of at most 4 input channels;
            - what is part of a squeeze-and-excitation, recognised by the name of its class (torchvision's
              ``SqueezeExcitation``, timm's ``SqueezeExcite`` and ``SEModule``);
            - what cannot be converted: subclasses of ``nn.Conv2d``, and padding with something else than zeros.

            Give ``where`` for images of more channels, or to leave a classifier that is a convolution (``conv_head`` in
            timm's MobileNetV3).
        conv_options: ``num_kernels``, ``strategy`` and the attention's own, as in :func:`eamlib.create_model`. With
            ``seed``, layer i draws its channels with seed + i.

    Raises:
        ValueError: if ``conv`` or an option is unknown, ``model`` has no convolution or none is picked (the message
            says why), or a picked one is of a subclass of ``nn.Conv2d`` (its forward may do more), pads with something
            else than zeros, carries hooks (they would be lost), has fewer input channels than the attention reads, or
            shares its weight with what stays static.

    Source: replicated kernels follow the "sparse upcycling" of Komatsuzaki et al. 2023,
    https://arxiv.org/abs/2212.05055, which makes the experts of a mixture from one trained layer.

    Example:
        >>> static = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3)).eval()
        >>> dynamic = convert(static, "eam-rcr", num_kernels=4)
        >>> dynamic[2].weight.shape  # the first layer reads the image, and stays static
        torch.Size([4, 32, 16, 3, 3])
        >>> images = torch.randn(2, 3, 8, 8)
        >>> torch.allclose(dynamic(images), static(images), atol=1e-5)
        True
    """
    one_of("conv", conv, CONVS)
    if conv in _REFUSED:
        allowed = ", ".join(name for name in CONVS if name not in _REFUSED)
        raise ValueError(f"conv = {conv!r} converts nothing: {_REFUSED[conv]}. Allowed: {allowed}.")
    build = dynamic_layer(conv, **conv_options)
    picked = _picked(model, where)
    _no_tie_is_cut(model, picked)
    kernels: dict[int, nn.Parameter] = {}
    return copied(model, {layer: _dynamic(name, layer, build, kernels) for layer, name in picked.items()})


def _picked(model: nn.Module, where: Callable[[str, nn.Conv2d], bool] | None) -> dict[nn.Conv2d, str]:
    found = list(_convolutions(model))
    if not found:
        others = Counter(type(module).__name__ for module in model.modules() if isinstance(module, _OTHER_CONVOLUTIONS))
        of_these = ", ".join(f"{count} {kind}" for kind, count in others.items())
        also = f"; of {of_these} there is no dynamic form" if of_these else ""
        raise ValueError(f"model = {type(model).__name__} holds no nn.Conv2d outside of dynamic layers{also}.")
    picked, left = {}, defaultdict(list)
    for name, layer, excites in found:
        reason = _stays(layer, excites) if where is None else None if where(name, layer) else "where is not True"
        if reason is None:
            picked[layer] = name
        else:
            left[reason].append(repr(name))
    if picked:
        return picked
    reasons = (
        f"{reason}: {', '.join(names[:5])}{f', … ({len(names)})' if len(names) > 5 else ''}"
        for reason, names in left.items()
    )
    raise ValueError(
        f"where = {where} picks none of the {len(found)} convolutions of {type(model).__name__}; {'; '.join(reasons)}."
    )


def _stays(layer: nn.Conv2d, excites: bool) -> str | None:
    """Why a layer stays static unless ``where`` says otherwise."""
    if excites:
        return "part of a squeeze-and-excitation"
    if layer.in_channels <= IMAGE_CHANNELS:
        return f"at most {IMAGE_CHANNELS} input channels, those of the image"
    return _special(layer)


def _no_tie_is_cut(model: nn.Module, picked: dict[nn.Conv2d, str]) -> None:
    owners = {id(parameter): name for layer, name in picked.items() for parameter in layer.parameters(recurse=False)}
    for name, module in model.named_modules():
        if module in picked:
            continue
        for own, parameter in module.named_parameters(recurse=False):
            if id(parameter) in owners:
                raise ValueError(
                    f"layer {owners[id(parameter)]!r} shares a parameter with {f'{name}.{own}'.removeprefix('.')!r}, "
                    "which stays static; allowed is where = … that picks both or neither."
                )


def _convolutions(module: nn.Module, name: str = "", excites: bool = False) -> Iterator[tuple[str, nn.Conv2d, bool]]:
    """Name, layer and whether it is part of a squeeze-and-excitation; nothing of what is inside a dynamic layer."""
    if isinstance(module, ConvGeometry):
        return
    if isinstance(module, nn.Conv2d):
        yield name, module, excites
    excites = excites or any(part in type(module).__name__ for part in ("SqueezeExcit", "SEModule"))
    for key, child in module.named_children():
        yield from _convolutions(child, f"{name}.{key}".removeprefix("."), excites)


def _special(layer: nn.Conv2d) -> str | None:
    """What it is, if more than an ``nn.Conv2d`` that pads with zeros."""
    if type(layer) is not nn.Conv2d:  # not isinstance: a parametrised, lazy or "same"-padding one is of a subclass
        return f"a {type(layer).__name__}, whose forward may do more than that of nn.Conv2d"
    return None if layer.padding_mode == "zeros" else f"a Conv2d with padding_mode = {layer.padding_mode!r}"


def _dynamic(
    name: str, layer: nn.Conv2d, build: Callable[..., DynamicConv2d], kernels: dict[int, nn.Parameter]
) -> DynamicConv2d:
    """``kernels``: what became of each trained parameter so far, by its id."""
    if special := _special(layer):
        raise ValueError(
            f"where picks layer {name!r}, {special}; allowed is nn.Conv2d itself with padding_mode = 'zeros'."
        )
    no_hooks(name, layer)
    try:
        dynamic = build(*conv2d_arguments(layer), device=layer.weight.device, dtype=layer.weight.dtype)
    except ValueError as error:
        raise ValueError(f"layer {name!r} cannot be converted: {error}") from error
    for own, trained in layer.named_parameters(recurse=False):
        if id(trained) not in kernels:
            copies = getattr(dynamic, own)
            with torch.no_grad():
                kernels[id(trained)] = copies.copy_(trained).requires_grad_(trained.requires_grad)
        setattr(dynamic, own, kernels[id(trained)])
    return dynamic.train(layer.training)
