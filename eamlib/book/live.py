"""A trained network for the page that runs it: batch norms folded, eight bits a weight, in the order in which
``book/_static/live/network.js`` reads it."""

from __future__ import annotations

import base64
import json

import numpy as np
import torch
from torch import Tensor, nn

from eamlib.analysis.fold import fold_batch_norm
from eamlib.analysis.names import CONVOLUTIONS, layer_names
from eamlib.analysis.watch import outputs_of
from eamlib.book import weights
from eamlib.data import sample
from eamlib.layers import DynamicConv2d
from eamlib.training import normalize

RUN = "cifar100/mobilenet_v1-x0.25-{}-e20-seed0"
NETWORKS = ("eam-rcr", "dynamic", "static")
IMAGES = 200  # of the 2,000 that come with the book: the first ones, which are no choice of ours


def network(conv: str) -> nn.Module:
    """The network that the page runs, in PyTorch: published weights of CIFAR-100, batch norms folded, every row of a
    matrix and every filter of a kernel rounded to 255 values.

    Raises:
        FileNotFoundError: if no such weights are published.
    """
    model = fold_batch_norm(weights.load(RUN.format(conv)), torch.zeros(1, 3, 32, 32))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                whole, scale = _eight_bits(parameter)
                parameter.copy_(whole * scale.view(*scale.shape, *[1] * (whole.dim() - scale.dim())))
    return model.eval()


def _eight_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers from −127 to 127, and the scale of each row; a dynamic layer has K · O rows."""
    rows = 2 if weight.dim() == 5 else 1
    scale = weight.detach().flatten(rows).abs().amax(-1).clamp_min(1e-12) / 127
    return (weight.detach() / scale.view(*scale.shape, *[1] * (weight.dim() - rows))).round(), scale


class _Packed:
    """Whole numbers and fractions, each in the order in which they are asked for."""

    def __init__(self):
        self.whole: list[Tensor] = []
        self.fractions: list[Tensor] = []

    def matrix(self, weight: Tensor) -> None:
        whole, scale = _eight_bits(weight)
        self.whole.append(whole.flatten())
        self.fractions.append(scale.flatten())

    def vector(self, values: Tensor) -> None:
        self.fractions.append(values.detach().flatten())

    def base64(self) -> dict[str, str]:
        whole = torch.cat(self.whole).to(torch.int8).numpy()
        fractions = torch.cat(self.fractions).float().numpy().astype("<f4")
        return {"whole": _base64(whole), "fractions": _base64(fractions)}


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")


def packed(conv: str) -> str:
    """:func:`network` as a script that hands its layers and their numbers to the page."""
    model, numbers, layers = network(conv), _Packed(), []
    for (name, layer), mean in zip(_convolutions(model), _mean_attentions(model), strict=True):
        layers.append(_described(name, layer))
        numbers.matrix(layer.weight)
        bias = layer.bias
        numbers.vector(bias[0] if bias.dim() == 2 else bias)  # a folded norm's shift is the same for all K kernels
        if isinstance(layer, DynamicConv2d):
            first, last = layer.attention.predict[0], layer.attention.predict[-1]
            numbers.matrix(first.weight)
            numbers.matrix(last.weight)
            numbers.vector(last.bias)
            numbers.vector(layer.attention.temperature)
            numbers.vector(mean)
    numbers.matrix(model.classifier[-1].weight)
    numbers.vector(model.classifier[-1].bias)
    mean, std = (statistic.flatten().tolist() for statistic in weights.PIXEL_STATISTICS["cifar100"])
    about = {"name": conv, "mean": mean, "std": std, "layers": layers} | numbers.base64()
    return f"liveNetwork({json.dumps(about)});\n"


def packed_images() -> str:
    """The first images of the sample, as a script that hands them and their labels to the page."""
    shown = sample("cifar100")
    about = {
        "classes": [name.replace("_", " ") for name in shown.classes],
        "labels": shown.labels[:IMAGES].tolist(),
        "pixels": _base64(shown.images[:IMAGES].numpy()),
    }
    return f"liveImages({json.dumps(about)});\n"


def _convolutions(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers by the names that the page shows."""
    names = layer_names(model)
    return [(names[path], layer) for path, layer in model.named_modules() if isinstance(layer, CONVOLUTIONS)]


def _described(name: str, layer: nn.Module) -> dict:
    about = {
        "name": name,
        "inputs": layer.in_channels,
        "outputs": layer.out_channels,
        "size": layer.kernel_size[0],
        "stride": layer.stride[0],
        "depthwise": layer.groups > 1,
        "kernels": 1,
    }
    if isinstance(layer, DynamicConv2d):
        select = getattr(layer.attention, "select", None)
        about |= {"kernels": layer.num_kernels, "hidden": layer.attention.predict[0].out_features}
        about["reads"] = None if select is None else select.indices.tolist()
    return about


def _mean_attentions(model: nn.Module) -> list[Tensor]:
    """The mean of every layer's attention over all 2,000 images of the sample; empty where it has none."""
    layers = dict(_convolutions(model))
    attentions = {name: layer.attention for name, layer in layers.items() if isinstance(layer, DynamicConv2d)}
    images, statistics = sample("cifar100").images, weights.PIXEL_STATISTICS["cifar100"]
    answers = outputs_of(model, (normalize(batch, *statistics) for batch in images.split(500)), attentions)
    return [answers[name].mean(0) if name in answers else torch.empty(0) for name in layers]
