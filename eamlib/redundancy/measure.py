"""The statistics of a network's maps, batch by batch, and of its kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from eamlib._checks import one_of
from eamlib.analysis.names import CONVOLUTIONS
from eamlib.analysis.watch import Batch, evaluating, predictions, watch
from eamlib.redundancy.statistics import CONSTANT, ChannelStatistics

Layers = Sequence[str] | type[nn.Module] | Sequence[type[nn.Module]]


def means(maps: Tensor) -> Tensor:
    """Each map's mean ``[B, C]``, in float32 at least; 0 where it is no more than rounding."""
    return _unrounded(_mean(maps), maps)[:, :, 0, 0]


def within(maps: Tensor) -> Tensor:
    """``maps`` less each one's mean, in float32 at least; 0 where no more than rounding is left."""
    return _unrounded(maps - _mean(maps), maps)


def _mean(maps: Tensor) -> Tensor:
    return maps.mean((2, 3), keepdim=True, dtype=torch.promote_types(maps.dtype, torch.float32))


def _unrounded(values: Tensor, maps: Tensor) -> Tensor:
    return values.masked_fill(values.abs() < CONSTANT * maps.abs().amax((2, 3), keepdim=True), 0)


VIEWS = {"pixels": lambda maps: maps, "within": within, "means": means}


def measure(
    model: nn.Module,
    batches: Iterable[Batch],
    layers: Layers = CONVOLUTIONS,
    *,
    side: str = "output",
    view: str = "pixels",
) -> dict[str, ChannelStatistics]:
    """The statistics of the maps of chosen layers over images, by the layers' names.

    Each layer keeps a matrix of C × C numbers, however many images come.

    Args:
        model: it runs in eval mode, on its device, without gradients; its mode is restored.
        batches: images ``[B, C, H, W]``, or pairs of these and labels, which are not read.
        layers: names as in ``model.named_modules()``, or a class or several: all their instances. A layer that an
            image passes twice counts both.
        side: ``"output"`` of the layers, or their ``"input"``.
        view: what a sample is. ``"pixels"``: a position of a map, in any image. ``"within"``: the same, less the map's
            own mean. ``"means"``: a map's mean, which is what an attention reads.

    Raises:
        ValueError: if a name is unknown, no layer is of the class, there is no image, or a layer does not run, has no
            maps ``[B, C, H, W]``, or has NaN or infinite ones.

    Example:
        >>> model = eamlib.create_model("resnet18", width_mult=0.25, num_classes=10)
        >>> found = measure(model, [torch.randn(4, 3, 32, 32)], nn.ReLU)
        >>> name, statistics = next(iter(found.items()))
        >>> name, statistics.channels, statistics.count  # one sample per pixel, 4 · 16 · 16
        ('features.0.2', 16, 1024)
    """
    chosen = pick(model, layers)
    one_of("side", side, ("output", "input"))
    look = VIEWS[one_of("view", view, VIEWS)]
    found: dict[str, ChannelStatistics] = {}

    def note(name: str, maps: Tensor) -> None:
        if name not in found:
            found[name] = ChannelStatistics(maps.shape[1])
        found[name].update(look(maps))

    run(model, batches, chosen, note, side)
    return {name: found[name] for name in chosen}


def run(
    model: nn.Module,
    batches: Iterable[Batch],
    chosen: dict[str, nn.Module],
    note: Callable[[str, Tensor], None],
    side: str,
) -> None:
    """Run ``model`` over ``batches`` and hand ``note`` the name and the maps of every call of the ``chosen`` layers.

    Raises:
        ValueError: if a layer does not run or has no maps ``[B, C, H, W]``, or there is no image; and what ``note``
            raises, with the layer's name.
    """
    ran = set()

    def hand_over(name: str, inputs: tuple, output: object) -> None:
        ran.add(name)
        maps = maps_of(name, side, output if side == "output" else next(iter(inputs), None))
        try:
            if len(maps):
                note(name, maps)
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from error

    with evaluating(model), watch(chosen, hand_over, before=side == "input"):
        for _ in predictions(model, batches):
            pass
    if idle := [name for name in chosen if name not in ran]:
        raise ValueError(f"layer {idle[0]!r} did not run: the model does not use it, in eval mode at least.")


def maps_of(name: str, side: str, value: object) -> Tensor:
    """Return ``value``, the input or output of a layer, if it is ``[B, C, H, W]``, else raise a ``ValueError``."""
    if isinstance(value, Tensor) and value.dim() == 4:
        return value
    what = f"of shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    raise ValueError(f"layer {name!r}: its {side} is {what}; allowed is [B, C, H, W].")


def pick(model: nn.Module, layers: Layers) -> dict[str, nn.Module]:
    """The layers of ``model`` by name.

    Raises:
        ValueError: if there is no name, one is unknown, or no layer is of the class.
    """
    every = dict(model.named_modules())
    if isinstance(layers, str):
        raise ValueError(f"layers = {layers!r} is one name; allowed is a list of names, [{layers!r}], or a class.")
    kinds = (layers,) if isinstance(layers, type) else tuple(layers)
    if not kinds:
        raise ValueError(f"layers = {layers!r} is empty; at least one name or class is needed.")
    if all(isinstance(kind, type) for kind in kinds):
        chosen = {name: module for name, module in every.items() if isinstance(module, kinds)}
        if not chosen:
            wanted = ", ".join(kind.__name__ for kind in kinds)
            raise ValueError(f"layers = {wanted}: {type(model).__name__} has none.")
        return chosen
    return {name: every[one_of("layers", name, (name for name in every if name))] for name in kinds}


def kernels(model: nn.Module, layers: Layers = CONVOLUTIONS) -> dict[str, ChannelStatistics]:
    """The statistics of the weights of convolutions: channels are the filters, samples are their weights.

    A filter is what makes one output map, ``C/g · k · k`` weights. All filters of a dynamic convolution are taken: K
    times O of a :class:`eamlib.layers.DynamicConv2d`, g times O of a :class:`eamlib.layers.DyNetConv2d`.

    Args:
        layers: as in :func:`measure`; ``nn.Conv2d`` or a dynamic convolution.

    Raises:
        ValueError: as :func:`measure`, or if a layer is no such convolution.

    Example:
        >>> layer = nn.Conv2d(8, 3, 3, bias=False)
        >>> layer.weight.data[2] = -layer.weight.data[0]  # a filter and its negative
        >>> found = kernels(nn.Sequential(layer))["0"]
        >>> [(pair.of, pair.channel, round(pair.r)) for pair in found.duplicates()]
        [(0, 2, -1)]
    """
    found = {}
    for name, layer in pick(model, layers).items():
        if not isinstance(layer, CONVOLUTIONS):
            allowed = ", ".join(kind.__name__ for kind in CONVOLUTIONS)
            raise ValueError(f"layers: {name!r} is a {type(layer).__name__}; allowed are {allowed}.")
        filters = layer.weight.detach().flatten(0, -4).flatten(1)  # [… · O, C/g · k · k]
        found[name] = ChannelStatistics(len(filters))
        found[name].update(filters.T)
    return found
