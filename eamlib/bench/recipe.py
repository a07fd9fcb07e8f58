"""What holds the static network back: the plan's recipe with one thing changed at a time, judged on held-out images.

MobileNetV1 ×0.25 on CIFAR-10, whose test images stay unseen: every tenth training image of each class is held out, and
the others are trained on. Accuracy on both, in the last epoch, says which of two it is: a network that cannot fit what
it sees wants more steps, more capacity or less regularisation; one that fits and fails wants more of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from eamlib import data
from eamlib._checks import one_of, positive_int
from eamlib.data.augmentation import augment
from eamlib.data.sets import ImageSet
from eamlib.models import create_model
from eamlib.training.loop import fit, seed_everything

SHARE = 10  # one of so many training images is held out
RECIPE = {"batch_size": 128, "label_smoothing": 0.1, "augment": partial(augment, pad=4)}
CHANGES = {
    "the plan's recipe": {},
    "no label smoothing": {"label_smoothing": 0.0},
    "weight decay 1e-4": {"weight_decay": 1e-4},
    "batches of 64": {"batch_size": 64},
    "batches of 32": {"batch_size": 32},
    "no crops, no flips": {"augment": None},
    "width ×0.5": {"width_mult": 0.5},
    "twice the epochs": {"times": 2},
}


def measure(
    device: torch.device, work: Sequence[str] | None = None, epochs: int = 10, folder: str | Path = "runs/recipe"
) -> Iterator[dict]:
    """Yield a result a change: accuracies in percent on the held-out images and on those that were trained on.

    Args:
        device: where to train.
        work: names of :data:`CHANGES`; None takes all.
        epochs: of each.
        folder: of the checkpoints; killed at any moment, the same call goes on.

    Raises:
        ValueError: if a name is unknown or ``epochs`` is below 1.
        FileNotFoundError: if the images are missing and cannot be fetched.
    """
    positive_int("epochs", epochs)
    names = [one_of("work", name, CHANGES) for name in (work or CHANGES)]
    train, held_out = split(data.load("cifar10"))
    for name in names:
        options = RECIPE | CHANGES[name]
        width, times = options.pop("width_mult", 0.25), options.pop("times", 1)
        seed_everything(0)
        model = create_model("mobilenet_v1", num_classes=10, width_mult=width, stem_stride=1)
        place = Path(folder, f"{name.replace(' ', '-')}-e{epochs * times}")
        history = fit(
            model, train, held_out, device=device, channels_last=True, folder=place, epochs=epochs * times, **options
        )
        last = history[-1]
        yield {
            "work": name,
            "epochs": epochs * times,
            "images": [len(train), len(held_out)],
            "loss": last["loss"],
            "trained": last["train_accuracy"],
            "held_out": last["test_accuracy"],
        }


def split(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """What is trained on, and every tenth image of each class."""
    rank = torch.zeros(len(images), dtype=torch.long)
    for label in range(len(images.classes)):
        of_class = images.labels == label
        rank[of_class] = torch.arange(int(of_class.sum()))
    out = rank % SHARE == SHARE - 1
    return _of(images, ~out), _of(images, out)


def _of(images: ImageSet, which: Tensor) -> ImageSet:
    return replace(images, images=images.images[which], labels=images.labels[which])


def lines(result: dict) -> Iterator[str]:
    """A result as a line."""
    yield (
        f"{result['work']:<22}{result['epochs']:>3} epochs: {result['held_out']:.2f} % of {result['images'][1]:,} "
        f"held-out images, {result['trained']:.2f} % of those trained on, as augmented; loss {result['loss']:.3f}"
    )
