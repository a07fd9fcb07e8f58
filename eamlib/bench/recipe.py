"""What holds the static network back: the plan's recipe with one thing changed at a time, judged on held-out images.

MobileNetV1 ×0.25 on CIFAR-10, whose test images stay unseen: every tenth training image of each class is held out, and
the others are trained on. Accuracy on both, in the last epoch, says which of two it is: a network that cannot fit what
it sees wants more steps, more capacity or less regularisation; one that fits and fails wants more of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from eamlib import data
from eamlib._checks import one_of, positive_int
from eamlib.data.sets import ImageSet, one_in
from eamlib.models import create_model
from eamlib.papers.training_runs import Unit
from eamlib.training.loop import fit, seed_everything

PLANNED = Unit("mobilenet_v1", "static", 0.25, (), "cifar10", epochs=30, seed=0)
SHARE = 10  # one of so many training images is held out
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
    train, held_out = split(data.load(PLANNED.data))
    for name in names:
        change = dict(CHANGES[name])
        total = epochs * change.pop("times", 1)
        network = PLANNED.arguments | {"width_mult": change.pop("width_mult", PLANNED.width_mult)}
        recipe = PLANNED.recipe | change | {"epochs": total}
        seed_everything(PLANNED.seed)
        model = create_model(PLANNED.model, PLANNED.conv, **network)
        place = Path(folder, f"{name.replace(' ', '-')}-e{total}")
        history = fit(model, train, held_out, device=device, channels_last=True, folder=place, **recipe)
        last = history[-1]
        yield {
            "work": name,
            "epochs": total,
            "images": [len(train), len(held_out)],
            "loss": last["loss"],
            "trained": last["train_accuracy"],
            "held_out": last["test_accuracy"],
        }


def split(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """What is trained on, and every tenth image of each class."""
    out = one_in(SHARE, images.labels, first=SHARE - 1)
    return images.subset(~out), images.subset(out)


def lines(result: dict) -> Iterator[str]:
    """A result as a line."""
    yield (
        f"{result['work']:<22}{result['epochs']:>3} epochs: {result['held_out']:.2f} % of {result['images'][1]:,} "
        f"held-out images, {result['trained']:.2f} % of those trained on, as augmented; loss {result['loss']:.3f}"
    )
