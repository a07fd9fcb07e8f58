"""A training of a fraction of a second, in which everything has a state that can be lost: what several tests share."""

import random
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from eamlib.data import ImageSet, imagenet
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


def imagenet_folder(root, wnids=None, train=2, test=1):
    """An ImageNet folder in miniature: JPEG files of noise, so many a class."""
    from PIL import Image

    listed = [line for line in imagenet.CLASS_LIST.read_text().splitlines() if not line.startswith("#")]
    for part, count in (("train", train), ("val", test)):
        for wnid in wnids or listed:
            folder = root / "imagenet" / part / wnid
            folder.mkdir(parents=True)
            for name in (f"{wnid}_{i}.JPEG" for i in range(count)):
                noise = random.Random(part + name).randbytes(40 * 30 * 3)
                Image.frombytes("RGB", (40, 30), noise).save(folder / name)
    return root


def on_disk(root):
    """24 training and 4 test images of the first four classes of an ImageNet folder, made where it is missing."""
    if not (root / "imagenet").exists():
        imagenet_folder(root)
        for wnid in imagenet.load(root, train=True).classes[:4]:
            file = root / "imagenet" / "train" / wnid / f"{wnid}_0.JPEG"
            for i in range(2, 6):
                file.with_name(f"{wnid}_{i}.JPEG").write_bytes(file.read_bytes())
    whole = imagenet.load(root, train=True), imagenet.load(root, train=False)
    return [replace(s, files=s.files[:count], labels=s.labels[:count]) for s, count in zip(whole, (24, 4), strict=True)]


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


def run(folder: str | Path | None = None, model: nn.Module | None = None, sets=None, **options):
    """Train with everything that can be lost, unless ``options`` say otherwise; the model and its history."""
    model = network() if model is None else model
    train, test = sets or (images(), images(40, seed=1))
    options = {"device": "cpu", "progress": False} | EVERYTHING | options
    return model, fit(model, train, test, folder=folder, **options)


def of_photographs(network):
    """A network of this module for images of 224 × 224 pixels."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(12), *network)


def numbers(history):
    """A history without its seconds."""
    return [{name: value for name, value in line.items() if name != "seconds"} for line in history]


def record(unit, *accuracy, **more):
    """The record of a run, made up: test accuracies of its last epochs, 10 % before, and whatever else."""
    lines = [10.0] * (unit.epochs - len(accuracy)) + list(accuracy)
    history = [
        {"epoch": epoch, "loss": 1.0, "train_accuracy": 50.0, "test_accuracy": value, "seconds": 1.0}
        for epoch, value in enumerate(lines, start=1)
    ]
    place = {"device": "a GPU", "versions": {"torch": "2.14"}, "commit": None, "date": "2026-11-27T00:00:00+00:00"}
    return {"configuration": unit.configuration, "history": history} | place | more


def kept(folder: str | Path):
    """All that the last checkpoint in ``folder`` holds, without the seconds, as plain values that == compares."""
    from eamlib.training import checkpoint

    found = checkpoint.latest(folder)
    found.state["history"] = numbers(found.state["history"])
    return found.path.name, _plain(found.weights), _plain(found.state)


def _plain(thing):
    if isinstance(thing, torch.Tensor):
        return (thing.dtype, tuple(thing.shape), thing.numpy().tobytes())
    if isinstance(thing, dict):
        return {name: _plain(value) for name, value in thing.items()}
    return [_plain(value) for value in thing] if isinstance(thing, list | tuple) else thing
