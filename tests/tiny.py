"""A training of a fraction of a second, in which everything has a state that can be lost: what several tests share."""

from pathlib import Path

import torch
from torch import nn

from eamlib.data import ImageSet
from eamlib.layers import DynamicConv2d, EAMAttention
from eamlib.training import fit, seed_everything


def images(count=70, seed=0):
    """Noise with a bright corner, which is the label."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 156, (count, 3, 12, 12), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 4, (count,), generator=generator)
    for image, label in zip(pixels, labels.tolist(), strict=True):
        image[:, 6 * (label // 2) :, 6 * (label % 2) :][:, :6, :6] += 90
    return ImageSet("corners", pixels, labels, tuple("abcd"))


def network():
    """Dropout draws from torch's own generator, batch normalisation has buffers, the attention a temperature."""
    seed_everything(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        DynamicConv2d(8, 8, 3, attention=EAMAttention(8, select="rcr", channels=2, output_size=2)),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(72, 4),
    )


def without_batch_norm():
    """The same whatever the parts of a batch are."""
    seed_everything(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(200, 4))


def flip(images, *, generator):
    flipped = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(flipped.to(images.device)[:, None, None, None], images.flip(3), images)


EVERYTHING = {"epochs": 6, "batch_size": 16, "augment": flip, "temperature": 30.0, "ema": 0.9, "label_smoothing": 0.1}


def run(folder: str | Path | None = None, model: nn.Module | None = None, **options):
    """Train with everything that can be lost, unless ``options`` say otherwise; the model and its history."""
    model = network() if model is None else model
    options = {"device": "cpu", "progress": False} | EVERYTHING | options
    return model, fit(model, images(), images(40, seed=1), folder=folder, **options)


def numbers(history):
    """A history without its seconds."""
    return [{name: value for name, value in line.items() if name != "seconds"} for line in history]


def kept(folder: str | Path):
    """All that the last checkpoint in ``folder`` holds, without the seconds, as plain values that == compares."""
    from eamlib import checkpoint

    found = checkpoint.latest(folder)
    found.state["history"] = numbers(found.state["history"])
    weights = {file.name: file.read_bytes() for file in found.path.glob("*.safetensors")}
    return found.path.name, weights, _plain(found.state)


def _plain(thing):
    if isinstance(thing, torch.Tensor):
        return (thing.dtype, tuple(thing.shape), thing.numpy().tobytes())
    if isinstance(thing, dict):
        return {name: _plain(value) for name, value in thing.items()}
    return [_plain(value) for value in thing] if isinstance(thing, list | tuple) else thing
