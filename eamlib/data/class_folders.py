"""Folders of images with a folder for each class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
HELD_OUT = 0.2  # the share of each class that is tested on, where the folder has no split of its own


def images_of(
    folder: Path, classes: Iterable[str], suffixes: Sequence[str] = SUFFIXES
) -> tuple[list[Path], Tensor, tuple[str, ...]]:
    """The files below ``folder/<class>``, at any depth, class by class; their labels, int64 ``[N]``; the classes.

    Raises:
        ValueError: if a class has none; the message names every such class.
    """
    found = {name: sorted(p for p in (folder / name).rglob("*") if p.suffix.lower() in suffixes) for name in classes}
    if empty := [name for name, files in found.items() if not files]:
        raise ValueError(f"'{folder}' holds no image for {', '.join(empty)}; read are {', '.join(suffixes)}.")
    labels = torch.tensor([label for label, files in enumerate(found.values()) for _ in files])
    return [file for files in found.values() for file in files], labels, tuple(found)


def classes_of(folder: Path) -> tuple[str, ...]:
    """The names of the folders in ``folder``, sorted, but for hidden ones.

    Raises:
        ValueError: if there are fewer than two.
    """
    classes = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if len(classes) < 2:
        raise ValueError(f"'{folder}' holds {len(classes)} folders; needed are at least 2, one for each class.")
    return classes


def one_side(path: Path, train: bool | None, seed: int) -> tuple[list[Path], Tensor, tuple[str, ...]]:
    """Of a folder the training or the other images, or with ``train`` None all of them, as :func:`images_of` has them.

    For :func:`eamlib.data.folder`, which says what is raised.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"path = '{path}' is no folder.")
    if train is None:
        return images_of(path, classes_of(path))
    training = path / "train"
    testing = next((side for side in (path / "val", path / "test") if side.is_dir()), path / "val")
    sides = [side for side in (training, testing) if side.is_dir()]
    if not sides:
        files, labels, classes = images_of(path, classes_of(path))
        chosen = _drawn(labels, classes, train, seed)
        return [files[i] for i in chosen], labels[chosen], classes
    if len(sides) == 1:
        missing = "val/ or test/" if sides == [training] else "train/"
        raise FileNotFoundError(
            f"path = '{path}' has {sides[0].name}/ and no {missing}; allowed are both, or neither: then it is split."
        )
    if alone := sorted({*classes_of(training)} ^ {*classes_of(testing)}):
        raise ValueError(f"'{training}' and '{testing}' hold different classes: {', '.join(alone)} in one of them.")
    side = training if train else testing
    return images_of(side, classes_of(side))


def _drawn(labels: Tensor, classes: Sequence[str], train: bool, seed: int) -> Tensor:
    """The images of one side, in order: of each class a fifth is held out, at least one image."""
    draws = torch.Generator().manual_seed(seed)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label, name in enumerate(classes):
        of_class = (labels == label).nonzero().flatten()
        if len(of_class) < 2:
            raise ValueError(f"class {name!r} has one image; a split needs at least 2 of each class.")
        order = torch.randperm(len(of_class), generator=draws)
        held_out[of_class[order[: max(1, round(HELD_OUT * len(of_class)))]]] = True
    return (held_out != train).nonzero().flatten()
