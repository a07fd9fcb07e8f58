"""Imitating a trained attention by a small network that reads something else, EAM's four channels for example.

:func:`eamlib.redundancy.premise` asks by least squares what a reading tells. Here the reading has to do the work: in
each layer a network of its own learns to answer what the layer's attention answers, and can take its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eamlib._checks import integer_within, positive_int, positive_number
from eamlib.analysis.mixtures import dynamic_layers
from eamlib.analysis.watch import Batch, outputs_of
from eamlib.layers import DynamicConv2d, EAMAttention, KernelAttention

_STATIC = 1e-4  # bits: an attention that says less of an image is the same for all in effect


@dataclass(frozen=True, eq=False)
class Imitation:
    """How well one layer's attention is imitated, on images that nothing was learned from.

    Attributes:
        layer: its name.
        attention: the imitation, a module ``[B, C, H, W] -> [B, K]``.
        divergence: the Kullback-Leibler divergence of its answers from those of the layer's own attention, in bits per
            image.
        constant: the same of the best constant, the mean attention over the training images. Over those images it
            would be the mutual information of image and kernel (:class:`eamlib.LayerAttention`).

    Example:
        >>> half = Imitation("layer", nn.Identity(), divergence=0.05, constant=0.1)
        >>> half.share
        0.5
    """

    layer: str
    attention: nn.Module
    divergence: float
    constant: float

    @property
    def share(self) -> float:
        """The imitated share of what the layer's attention tells about an image. 1 is all of it, 0 no better than the
        constant. It is 0, too, where the layer's own attention is in effect the same for all images."""
        return 1 - self.divergence / self.constant if self.constant > _STATIC else 0.0


def imitate(
    model: nn.Module,
    train: Iterable[Batch],
    test: Iterable[Batch],
    attentions: Mapping[str, Callable[[int, int], EAMAttention | KernelAttention]],
    *,
    epochs: int = 20,
    batch_size: int = 200,
    learning_rate: float = 0.01,
    seed: int = 0,
) -> dict[str, list[Imitation]]:
    """Teach every dynamic layer's attention to others.

    ``model`` is frozen. What an imitation reads, and what it is to answer, is noted in the network as it is, layer by
    layer; each imitation then learns by Adam, with a cosine schedule, to minimise the Kullback-Leibler divergence. What
    is noted lies in memory: per image and layer the K weights and n · p² numbers of each imitation.

    Args:
        model: with :class:`~eamlib.layers.DynamicConv2d` layers; it runs in eval mode and is left as it is.
        train: the images that are learned from, ``[B, C, H, W]``, or pairs of these and labels, which are not read.
        test: those that the imitations are judged on.
        attentions: by a name, what makes an imitation of (in_channels, num_kernels): the class
            :class:`~eamlib.layers.KernelAttention`, or ``functools.partial(EAMAttention, select="cgr")``.
        epochs: passes over the training images.
        batch_size: images per step.
        learning_rate: at the start; it falls to 0.
        seed: of the imitations' weights and of the order of the images.

    Returns:
        By the names of ``attentions``, an :class:`Imitation` per layer, in the model's order.

    Raises:
        ValueError: if ``model`` has no such layer, a number is out of its range, one of ``attentions`` makes something
            else, or as :func:`eamlib.analysis.watch.outputs_of`.

    Example:
        >>> from functools import partial
        >>> model = eamlib.create_model("mobilenet_v1", "dynamic", width_mult=0.25, num_classes=10)
        >>> images = torch.randn(40, 3, 32, 32)
        >>> cgr = {"cgr": partial(EAMAttention, select="cgr")}
        >>> found = imitate(model, [images[:20]], [images[20:]], cgr, epochs=1)
        >>> len(found["cgr"]), found["cgr"][0].layer
        (26, 'features.1.0.0')
    """
    positive_int("epochs", epochs)
    positive_int("batch_size", batch_size)
    positive_number("learning_rate", learning_rate)
    integer_within("seed", seed, 0)
    layers = dynamic_layers(model, DynamicConv2d)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        imitations = {
            name: [_made(of, make, layer) for of, make in attentions.items()] for name, layer in layers.items()
        }

        def own_and_read(name: str, inputs: tuple, _: None) -> Tensor:
            read = (imitation.descriptor(inputs[0]) for imitation in imitations[name])
            return torch.cat([layers[name].attention(inputs[0]), *read], 1)

        learned, judged = (outputs_of(model, batches, layers, own_and_read, before=True) for batches in (train, test))
        found: dict[str, list[Imitation]] = {of: [] for of in attentions}
        for name, of_layer in imitations.items():
            sizes = [layers[name].num_kernels, *(imitation.predict[0].in_features for imitation in of_layer)]
            own, *learn_from = learned[name].split(sizes, 1)
            own_judged, *judge_by = judged[name].split(sizes, 1)
            constant = _bits(own_judged, own.mean(0, keepdim=True))
            for of, imitation, read, unseen in zip(attentions, of_layer, learn_from, judge_by, strict=True):
                _learn(imitation, own, read, epochs, batch_size, learning_rate)
                with torch.no_grad():
                    answers = _logits(imitation, unseen).softmax(1)
                found[of].append(Imitation(name, imitation, _bits(own_judged, answers), constant))
    return found


def _made(name: str, make: Callable[[int, int], nn.Module], layer: DynamicConv2d) -> nn.Module:
    made = make(layer.in_channels, layer.num_kernels)
    if not isinstance(made, EAMAttention | KernelAttention):
        raise ValueError(
            f"attentions[{name!r}] makes a {type(made).__name__}; allowed is an EAMAttention or a KernelAttention."
        )
    return made.to(layer.weight)


def _learn(imitation: nn.Module, own: Tensor, read: Tensor, epochs: int, batch_size: int, rate: float) -> None:
    optimizer = torch.optim.Adam(imitation.parameters(), lr=rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(own)).split(batch_size):
            # Less the entropy of what is imitated, which no weight changes, it is the divergence.
            loss = F.cross_entropy(_logits(imitation, read[rows]), own[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()


def _logits(imitation: nn.Module, read: Tensor) -> Tensor:
    return imitation.predict(read) / imitation.temperature


def _bits(own: Tensor, answers: Tensor) -> float:
    """The mean divergence of the attentions ``answers`` from ``own``, ``[N, K]`` or one for all."""
    # Less than the smallest normal number is rounding, and 0 has no logarithm.
    logarithms = answers.clamp(min=torch.finfo(answers.dtype).tiny).double().log().expand_as(own)
    return (F.kl_div(logarithms, own.double(), reduction="batchmean") / math.log(2)).item()
