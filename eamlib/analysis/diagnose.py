"""Whether the attention of a dynamic network does its work: to give each image a mixture of its own."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eamlib.analysis.mixtures import dynamic_layers, mixtures_that_ran, names_of, watch_mixtures
from eamlib.analysis.watch import Batch, evaluating, predictions
from eamlib.layers.dynamic import DynamicConv2d

COLLAPSED_USE = 0.95
STATIC_INFORMATION = 0.001


class CollapseWarning(UserWarning):
    """A dynamic convolution of K kernels works with one of them.

    Example:
        >>> import warnings
        >>> layer = eamlib.layers.DynamicConv2d(8, 16, 1)
        >>> layer.attention.predict[2].bias.data[0] = 20  # in favour of one kernel
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     [found] = diagnose(layer, [torch.randn(4, 8, 5, 5)])
        >>> caught[0].category.__name__, found.verdict
        ('CollapseWarning', 'collapsed')
    """


@dataclass(frozen=True, eq=False)
class LayerAttention:
    """How one layer mixes its K kernels. Entropies are fractions of log K, from 0 (one kernel) to 1 (all alike).

    Attributes:
        name: of the layer; the first one, where it stands in several places.
        images: how many it saw; one that reaches the layer twice counts twice.
        use: ``[K]``, the mean attention over the images, on the CPU.
        entropy: of an image's attention, the mean over the images.
        use_entropy: of ``use``.
        information: ``use_entropy`` − ``entropy``, the mutual information of image and kernel. 0: every image gets the
            same mixture. 1: every image has one kernel for itself, and all are used alike.

    Example:
        >>> [found] = diagnose(eamlib.layers.DynamicConv2d(8, 16, 1, num_kernels=2), [torch.zeros(3, 8, 5, 5)])
        >>> found.images, found.use.shape
        (3, torch.Size([2]))
        >>> found.information, found.verdict  # three equal images get the same mixture
        (0.0, 'static')
    """

    name: str
    images: int
    use: Tensor
    entropy: float
    use_entropy: float
    information: float

    @property
    def verdict(self) -> str:
        """``"collapsed"`` where one of several kernels has over 95 % of the use, ``"static"`` where information is
        below 0.001, else ``"dynamic"``; see :func:`diagnose`."""
        if len(self.use) > 1 and self.use.max() > COLLAPSED_USE:
            return "collapsed"
        return "static" if self.information < STATIC_INFORMATION else "dynamic"


def diagnose(model: nn.Module, batches: Iterable[Batch]) -> list[LayerAttention]:
    """Say of every :class:`eamlib.layers.DynamicConv2d` how it uses its kernels over ``batches``.

    ``pandas.DataFrame(diagnose(model, batches))`` is a table of it.

    A layer has collapsed if one kernel gets more than 95 % of the use; a warning names it. A layer is static if its
    information is below 0.001: from image to image a kernel's share then varies by about 0.01, and
    :func:`eamlib.freeze` costs next to nothing. No warning is given, since this is a fault only after training: many a
    new attention begins there (chapter 12).

    Args:
        model: it runs in eval mode; its mode is restored.
        batches: images ``[B, C, H, W]``, or pairs of these and labels, which are not read.

    Warns:
        CollapseWarning: once, with the names of all layers that have collapsed.
        UserWarning: once, with the names of layers that did not run, which are left out.

    Raises:
        ValueError: if ``model`` has no such layer or runs none of them, there are fewer than two images, or an
            attention is NaN or no row of weights that sum to one.

    Example:
        >>> model = eamlib.create_model("mobilenet_v1", "eam-rcr", width_mult=0.25, num_classes=10)
        >>> found = diagnose(model, [torch.randn(4, 3, 32, 32)])
        >>> len(found), found[0].name, found[0].use.shape  # thirteen blocks of two convolutions
        (26, 'features.1.0.0', torch.Size([4]))
    """
    layers = dynamic_layers(model, DynamicConv2d)
    with evaluating(model), watch_mixtures(model, layers) as seen:
        for _ in predictions(model, batches):
            pass
    diagnoses = [diagnosis(name, attention) for name, attention in mixtures_that_ran(model, seen).items()]
    collapsed = [names_of(model, layers[layer.name]) for layer in diagnoses if layer.verdict == "collapsed"]
    if collapsed:
        warnings.warn(
            f"One kernel gets more than {COLLAPSED_USE:.0%} of the use in {', '.join(collapsed)}: the other "
            "kernels of the layer are idle. A higher temperature at the start of the training spreads the use.",
            CollapseWarning,
            stacklevel=2,
        )
    return diagnoses


def diagnosis(name: str, attention: Tensor) -> LayerAttention:
    """What the attention ``[B, K]`` of one layer says of it.

    Raises:
        ValueError: if there are fewer than two images, or a row is no weights that sum to one.
    """
    images, kernels = attention.shape
    if images < 2:
        raise ValueError(f"batches holds {images} image; at least 2 are needed to tell whether mixtures differ.")
    sums = attention.sum(1)
    # Half precision rounds each weight of a softmax by up to half a percent.
    if attention.min() < 0 or (sums - 1).abs().max() > 0.02:
        raise ValueError(
            f"the attention of layer {name!r} sums to {sums.min():.3g} … {sums.max():.3g}, its least weight is "
            f"{attention.min():.3g}; entropy is defined for weights of at least 0 that sum to 1."
        )
    use = attention.mean(0)
    unit = math.log(kernels) or 1.0  # a single kernel has no entropy in any unit
    entropy = torch.special.entr(attention).sum(1).mean().item() / unit
    use_entropy = torch.special.entr(use).sum().item() / unit
    # Never negative, but for rounding: entropy is concave.
    return LayerAttention(name, images, use, entropy, use_entropy, max(0.0, use_entropy - entropy))
