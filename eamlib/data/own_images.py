"""A folder of class folders, of any images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
HELD_OUT = 0.2  # the share of each class that is tested on, where the folder has no split of its own


def listed(path: Path, train: bool | None, seed: int) -> tuple[list[Path], Tensor, tuple[str, ...]]:
    """Files, labels int64 ``[N]`` and class names; for :func:`eamlib.data.folder`, which says what is raised."""
    if not path.is_dir():
        raise FileNotFoundError(f"path = '{path}' is no folder.")
    halves = [[path / "train"], [path / "val", path / "test"]]
    found = [next((folder for folder in half if folder.is_dir()), None) for half in halves]
    if train is None or found == [None, None]:
        files, labels, classes = _of(path)
        if train is None:
            return files, labels, classes
        chosen = _split(labels, train, seed)
        return [files[i] for i in chosen], labels[chosen], classes
    if None in found:
        there, missing = ("train/", "val/ or test/") if found[0] else ("val/ or test/", "train/")
        raise FileNotFoundError(
            f"path = '{path}' has {there} and no {missing}; allowed are both, or neither: then one folder is split."
        )
    folder, other = found if train else reversed(found)
    files, labels, classes = _of(folder)
    if alone := sorted({*_classes(other)} ^ {*classes}):
        raise ValueError(f"'{folder}' and '{other}' hold different classes: {', '.join(alone)} in one of them alone.")
    return files, labels, classes


def _of(folder: Path) -> tuple[list[Path], Tensor, tuple[str, ...]]:
    classes = _classes(folder)
    found = [sorted(p for p in (folder / name).rglob("*") if p.suffix.lower() in SUFFIXES) for name in classes]
    if empty := [name for name, of_class in zip(classes, found, strict=True) if not of_class]:
        raise ValueError(f"'{folder}' holds no image for {', '.join(empty)}; read are {', '.join(SUFFIXES)}.")
    labels = torch.tensor([label for label, of_class in enumerate(found) for _ in of_class])
    return [file for of_class in found for file in of_class], labels, classes


def _classes(folder: Path) -> tuple[str, ...]:
    classes = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if len(classes) < 2:
        raise ValueError(f"'{folder}' holds {len(classes)} folders; needed are at least 2, one for each class.")
    return classes


def _split(labels: Tensor, train: bool, seed: int) -> Tensor:
    """The images of one side, in order: of each class a fifth is held out, at least one image."""
    draws = torch.Generator().manual_seed(seed)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label, count in enumerate(labels.bincount().tolist()):
        if count < 2:
            raise ValueError(f"class number {label} has {count} image; a split needs at least 2 of each class.")
        of_class = (labels == label).nonzero().flatten()
        held_out[of_class[torch.randperm(count, generator=draws)[: max(1, round(HELD_OUT * count))]]] = True
    return (~held_out if train else held_out).nonzero().flatten()


def square(pixels: np.ndarray, size: int) -> np.ndarray:
    """The middle square of an image ``[H, W, 3]``, uint8, scaled to ``[size, size, 3]``."""
    height, width, _ = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = torch.tensor(pixels[top : top + side, left : left + side]).permute(2, 0, 1)[None]
    if side != size:
        cut = F.interpolate(cut.float(), (size, size), mode="bilinear", align_corners=False, antialias=True)
    return cut[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
