"""A dynamic network made static: each layer keeps the mixture of its kernels that it uses on average.

What accuracy this costs is what the dynamics were worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eamlib._checks import no_hooks
from eamlib.analysis._copied import copied
from eamlib.analysis.fold import fold_batch_norm
from eamlib.analysis.mixtures import dynamic_layers, mixtures_that_ran, watch_mixtures
from eamlib.analysis.watch import Batch, evaluating, predictions
from eamlib.layers.dynamic import DynamicConv2d
from eamlib.layers.dynet import BlockPredictor, DyNetConv2d
from eamlib.layers.geometry import conv2d_arguments


@dataclass(frozen=True, eq=False)
class Frozen:
    """What :func:`freeze` returns.

    Attributes:
        model: the static network.
        attention: by layer, the mean weights that it was mixed with: ``[K]``, of a DyNet convolution ``[O · g]``; on
            the CPU, in double precision.
        accuracy_before, accuracy_after: top-1 in percent, of the network given and of ``model``; None without labels.
        images: how many the means are over.

    Example:
        >>> frozen = freeze(eamlib.layers.DynamicConv2d(8, 16, 1), [torch.randn(5, 8, 4, 4)])
        >>> frozen.model
        Conv2d(8, 16, kernel_size=(1, 1), stride=(1, 1), bias=False)
        >>> {name: attention.shape for name, attention in frozen.attention.items()}, frozen.images
        ({'': torch.Size([4])}, 5)
    """

    model: nn.Module
    attention: dict[str, Tensor]
    accuracy_before: float | None
    accuracy_after: float | None
    images: int


def freeze(model: nn.Module, batches: Iterable[Batch], *, fold: bool = False) -> Frozen:
    """Return a copy of ``model`` with an ``nn.Conv2d`` in the place of every dynamic convolution.

    Its kernel is Σ_k ā_k W_k, where ā is the layer's mean attention over all images, and its bias likewise. Where the
    attention is the same for every image, the copy answers as ``model`` does. DyNet convolutions are averaged channel
    by channel, and the predictors of their blocks are left out. Layers that share kernels get one kernel each, mixed by
    their own attention.

    Args:
        model: it runs in eval mode; its mode is restored, and it is left as it is.
        batches: images ``[B, C, H, W]``, or pairs of these and labels ``[B]``, a tensor or a list, as a ``DataLoader``
            gives them. With labels they are read twice, the second time for the accuracy of the copy, so they may not
            be an iterator.
        fold: fold the batch norms of the copy into its convolutions, by :func:`eamlib.fold_batch_norm`.

    Warns:
        UserWarning: once, with the names of layers that did not run: they stay dynamic.

    Raises:
        ValueError: if ``model`` has no dynamic layer or runs none of them, a layer carries hooks (they would be
            lost), an attention is NaN, there is no image, labels come from an iterator, or they do not fit the output;
            with ``fold``, as :func:`eamlib.fold_batch_norm`.

    Example:
        >>> dynamic = nn.Sequential(eamlib.layers.DynamicConv2d(8, 16, 3, padding=1), nn.ReLU())
        >>> images = torch.randn(6, 8, 5, 5)
        >>> frozen = freeze(dynamic, [images])
        >>> frozen.model[0].weight.shape  # K = 4 kernels were, one is
        torch.Size([16, 8, 3, 3])
        >>> mixed = torch.einsum("k,kocij->ocij", frozen.attention["0"].float(), dynamic[0].weight)
        >>> torch.allclose(frozen.model[0].weight, mixed, atol=1e-6)
        True
    """
    layers = dynamic_layers(model, DynamicConv2d, DyNetConv2d)
    for name, layer in layers.items():
        no_hooks(name, layer)
    with evaluating(model), watch_mixtures(model, layers) as seen:
        accuracy_before, images, few = _accuracy(model, batches)
    attention = {name: rows.mean(0) for name, rows in mixtures_that_ran(model, seen).items()}

    static = {layers[name]: _static(layers[name], mean) for name, mean in attention.items()}
    # A block whose predictor is None runs its chains as plain ones.
    predictors = {
        module: None
        for block in model.modules()
        for module in block.children()
        if isinstance(module, BlockPredictor) and not static.keys().isdisjoint(block.modules())
    }
    frozen = copied(model, static | predictors)
    if fold:
        frozen = fold_batch_norm(frozen, few)

    accuracy_after = None
    if accuracy_before is not None:
        with evaluating(frozen):
            accuracy_after, *_ = _accuracy(frozen, batches)
    return Frozen(frozen, attention, accuracy_before, accuracy_after, images)


def _accuracy(model: nn.Module, batches: Iterable[Batch]) -> tuple[float | None, int, Tensor]:
    """Top-1 accuracy in percent, None without labels; the number of images, and a few of them."""
    count = labelled = correct = 0
    few = torch.empty(0)
    for images, labels, output in predictions(model, batches):
        few = few if len(few) else images[:2].clone()
        count += len(images)
        if labels is None:
            continue
        if isinstance(batches, Iterator):
            raise ValueError(
                f"batches = {type(batches).__name__} can be read once, and with labels it is read twice; "
                "allowed is a list or a DataLoader."
            )
        try:
            labels = torch.as_tensor(labels)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"labels = {labels!r} are no numbers of classes: {error}.") from error
        if not isinstance(output, Tensor) or output.argmax(1).shape != labels.shape:
            what = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"labels of shape {list(labels.shape)} do not fit what the model answers, {what}.")
        labelled += labels.numel()
        correct += (output.argmax(1) == labels.to(output.device)).sum().item()
    return 100 * correct / labelled if labelled else None, count, few


def _static(layer: DynamicConv2d | DyNetConv2d, attention: Tensor) -> nn.Conv2d:
    static = nn.Conv2d(*conv2d_arguments(layer), device=layer.weight.device, dtype=layer.weight.dtype)
    with torch.no_grad():
        for name, parameter in static.named_parameters():
            kernels = getattr(layer, name)
            parameter.copy_(_mixed(layer, kernels.cpu().double(), attention)).requires_grad_(kernels.requires_grad)
    return static.train(layer.training)


def _mixed(layer: DynamicConv2d | DyNetConv2d, kernels: Tensor, attention: Tensor) -> Tensor:
    if isinstance(layer, DynamicConv2d):
        return torch.einsum("k,k...->...", attention, kernels)
    each_channels = (layer.out_channels, layer.group_size)
    return torch.einsum("og,og...->o...", attention.unflatten(0, each_channels), kernels.unflatten(0, each_channels))
