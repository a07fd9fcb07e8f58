"""What the explorers of maps share: checked images, layers whose maps can be drawn, and maps as bytes."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eamlib._checks import integer_within, some_images
from eamlib.analysis.names import layer_names
from eamlib.analysis.watch import outputs_of
from eamlib.book.explore.controls import Choice
from eamlib.redundancy.measure import pick

SIDE = 32  # pixels: what is larger is drawn smaller, for the page's sake
BATCH = 250

Layers = Sequence[str] | Mapping[str, str]


class Watched:
    """A network, images, and the maps of chosen layers, one image at a time.

    Args:
        model: in any mode.
        images: ``[N, C, H, W]``, as the model takes them.
        layers: names, or text to name; without a text a layer has that of :func:`eamlib.analysis.names.layer_names`.
        shown: indices of the images that a static page offers.
        names: one text per image.
        side: which maps of a layer are meant, its ``"input"`` or its ``"output"``.

    Raises:
        ValueError: as :func:`eamlib.book.explore.channels`.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        layers: Layers,
        shown: Sequence[int],
        names: Sequence[str] | None,
        side: str,
    ):
        some_images("images", images)
        if names is not None and len(names) != len(images):
            raise ValueError(f"names has {len(names)} texts for {len(images)} images; allowed is one per image.")
        if not shown or not layers:
            raise ValueError(f"{'layers' if shown else 'shown'} is empty; at least one is needed.")
        for index in shown:
            integer_within("shown", index, 0, len(images) - 1)
        self.model, self.images, self.side = model, images, side
        self.shown, self.names = tuple(shown), names
        self.names_of_layers = layer_names(model)
        self.layers = dict(layers) if isinstance(layers, Mapping) else self._texts(pick(model, layers))
        chosen = pick(model, list(self.layers.values()))
        # One look at the first image: every layer of these classes that runs and has maps.
        same = {
            name: layer for name, layer in model.named_modules() if isinstance(layer, tuple(map(type, chosen.values())))
        }
        self.shapes = {}

        def note(name: str, inputs: tuple, output: Any) -> Tensor:
            maps = inputs[0] if side == "input" else output
            if isinstance(maps, Tensor) and maps.dim() == 4:
                self.shapes[name] = tuple(maps.shape[1:])
            elif name in chosen:
                found = f"of shape {list(maps.shape)}" if isinstance(maps, Tensor) else type(maps).__name__
                raise ValueError(f"layers: the {side} of {name!r} is {found}; allowed is [B, C, H, W].")
            return torch.zeros(1)

        outputs_of(model, [images[:1]], same, note, before=side == "input")
        self.maps = lru_cache(maxsize=64)(self._maps)

    def image_control(self) -> Choice:
        def text(index: int) -> str:
            return f"{index}" if self.names is None else f"{index}: {self.names[index]}"

        return Choice(
            "image",
            "Image",
            {text(index): index for index in self.shown},
            finer={text(index): index for index in range(len(self.images))},
        )

    def layer_control(self) -> Choice:
        """The static form's layers come first: they may have texts of their own."""
        return Choice("layer", "Layer", self.layers, finer=self.layers | self._texts(self._others()))

    def _others(self) -> list[str]:
        return [name for name in self.shapes if name not in self.layers.values()]

    def _texts(self, names: Iterable[str]) -> dict[str, str]:
        """Text to name; of layers that share a text, with the name."""
        texts = {name: self.names_of_layers[name] for name in names}
        often = Counter(texts.values())
        return {text if often[text] == 1 else f"{text} ({name})": name for name, text in texts.items()}

    def alike(self) -> dict[str, str]:
        """Text to name of all layers that are of a kind with one of the static form's, wherever they stand."""

        def kind(name: str) -> str:
            return self.names_of_layers[name].rpartition(", ")[2]

        kinds = {kind(name) for name in self.layers.values()}
        texts = {name: text for text, name in (self._texts(self._others()) | self.layers).items()}
        return {texts[name]: name for name in self.shapes if kind(name) in kinds}

    def batches(self) -> list[Tensor]:
        return list(self.images.split(BATCH))

    def _maps(self, image: int, layer: str) -> Tensor:
        """The maps ``[1, C, H, W]`` of one layer for one image."""
        chosen = {layer: self.model.get_submodule(layer)}
        return outputs_of(self.model, [self.images[image : image + 1]], chosen, before=self.side == "input")[layer]

    def picture(self, image: int) -> dict[str, Any]:
        """The image itself, from its least to its largest value."""
        pixels = reduced(self.images[image : image + 1].float(), 2 * SIDE)[0]
        grey = len(pixels) != 3 or bool((pixels == pixels[:1]).all())
        pixels = pixels.mean(0, keepdim=True) if grey else pixels
        return planes(pixels, like=pixels[None])

    def drawn(self, image: int, layer: str) -> dict[str, Any]:
        """All maps of a layer for one image, each in its own range, at most 32 pixels a side."""
        return {**planes(reduced(self.maps(image, layer), SIDE)[0]), "full": list(self.shapes[layer])}


def reduced(maps: Tensor, side: int) -> Tensor:
    """Maps ``[B, C, H, W]`` of at most ``side`` pixels a side, by averaging."""
    height, width = maps.shape[2:]
    scale = side / max(height, width, side)
    if scale == 1:
        return maps
    return F.adaptive_avg_pool2d(maps, (max(1, round(scale * height)), max(1, round(scale * width))))


def encoded(numbers: Tensor) -> str:
    """The bytes of a tensor as text, in base64."""
    return base64.b64encode(numbers.cpu().contiguous().numpy().tobytes()).decode()


def planes(maps: Tensor, like: Tensor | None = None) -> dict[str, Any]:
    """Maps ``[C, H, W]`` for the script, as bytes from 0 at a map's least value to 255 at its largest.

    A constant map is 0.

    Args:
        like: other maps ``[C, …]``, or one for all, ``[1, …]``, whose ranges are taken instead.
    """
    low, high = (maps if like is None else like).flatten(1).aminmax(dim=1)
    low, spread = low[:, None, None], (high - low).where(high > low, 1.0)[:, None, None]
    return {
        "size": list(maps.shape),
        "bytes": encoded(((maps - low) / spread * 255).round().clamp(0, 255).to(torch.uint8)),
    }
