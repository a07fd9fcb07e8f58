"""Trained networks for the page that runs them: batch norms folded, eight bits per weight, in the order in which
``book/_static/live/network.js`` reads them."""

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

# The published weights of each network.
NETWORKS = {
    "cifar100-eam-rcr": "cifar100/mobilenet_v1-x0.25-eam-rcr-e20-seed0",
    "cifar100-dynamic": "cifar100/mobilenet_v1-x0.25-dynamic-e20-seed0",
    "cifar100-static": "cifar100/mobilenet_v1-x0.25-static-e20-seed0",
    "fashion_mnist-eam-rcr": "fashion_mnist/mobilenet_v1-x0.25-eam-rcr-e5-seed0",
}
IMAGES = 200  # of the 2,000 that come with the book: the first ones, which are no choice of ours


def scripts() -> dict[str, str]:
    """What the page may load, by the name of the file without its suffix."""
    sets = dict.fromkeys(map(data_of, NETWORKS))
    return {name: packed(name) for name in NETWORKS} | {f"{data}-images": packed_images(data) for data in sets}


def data_of(name: str) -> str:
    """The data that a network was trained on."""
    return NETWORKS[name].partition("/")[0]


def images_of(name: str) -> Tensor:
    """The 2,000 images of its sample, as the network takes them."""
    return normalize(sample(data_of(name)).images, *weights.PIXEL_STATISTICS[data_of(name)])


def network(name: str) -> nn.Module:
    """The network that the page runs, in PyTorch: published weights, batch norms folded, every row of a matrix and
    every filter of a kernel rounded to 255 values.

    Raises:
        FileNotFoundError: if its weights are neither in this checkout nor can be fetched.
    """
    model = fold_batch_norm(weights.load(NETWORKS[name]), torch.zeros(1, 3, 32, 32))
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


def packed(name: str) -> str:
    """:func:`network` as a script that hands its layers, their numbers and its answers to the page."""
    model, images, numbers, layers = network(name), images_of(name), _Packed(), []
    for (place, layer), mean in zip(_convolutions(model), _mean_attentions(model, images), strict=True):
        layers.append(_described(place, layer))
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
    with torch.no_grad():
        answers = model(images[:IMAGES]).argmax(1).tolist()
    mean, std = (statistic.flatten().tolist() for statistic in weights.PIXEL_STATISTICS[data_of(name)])
    about = {"name": name, "mean": mean, "std": std, "answers": answers, "layers": layers} | numbers.base64()
    return f"liveNetwork({json.dumps(about)});\n"


def packed_images(data: str) -> str:
    """The first images of the sample, as a script that hands them and their labels to the page."""
    shown = sample(data)
    pixels = shown.images[:IMAGES]
    grey = bool((pixels == pixels[:, :1]).all())  # three times the same: one is enough
    about = {
        "name": data,
        "classes": [name.replace("_", " ") for name in shown.classes],
        "labels": shown.labels[:IMAGES].tolist(),
        "pixels": _base64((pixels[:, :1] if grey else pixels).numpy()),
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


def _mean_attentions(model: nn.Module, images: Tensor) -> list[Tensor]:
    """The mean of every layer's attention over the images; empty where it has none."""
    layers = dict(_convolutions(model))
    attentions = {name: layer.attention for name, layer in layers.items() if isinstance(layer, DynamicConv2d)}
    answers = outputs_of(model, images.split(500), attentions) if attentions else {}
    return [answers[name].mean(0) if name in answers else torch.empty(0) for name in layers]
