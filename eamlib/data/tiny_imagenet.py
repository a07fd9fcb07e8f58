"""Tiny ImageNet as it is published: 64 × 64 pixels of 200 ImageNet classes, 500 images each to train and 50 to test.

Le and Yang 2015, Tiny ImageNet Visual Recognition Challenge. Its test images have no labels, so that, as everywhere,
those for validation are tested on.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from eamlib._extras import need
from eamlib._files import fetch, unpack
from eamlib.data.decoded import decoded

CLASSES = {"tiny_imagenet": 200, "tiny_imagenet_100": 100}
FOLDER = "tiny-imagenet-200"
URL = f"https://cs231n.stanford.edu/{FOLDER}.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
PER_CLASS = {True: 500, False: 50}
SIZE = 64


def read(name: str, root: Path, train: bool, download: bool) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Images uint8 ``[N, 3, 64, 64]``, labels int64 ``[N]`` and WordNet ids, sorted; for :func:`eamlib.data.load`,
    which says what is raised."""
    folder = _folder(root, download)
    listed = _lines(folder / "wnids.txt")
    if len(set(listed)) != CLASSES["tiny_imagenet"]:
        raise ValueError(f"{folder / 'wnids.txt'} lists {len(set(listed))} classes; Tiny ImageNet has 200.")
    wnids = tuple(sorted(listed[: CLASSES[name]]))
    files, labels = [], []
    of_class = _of_training if train else _of_validation(folder)
    for label, wnid in enumerate(wnids):
        found = of_class(folder, wnid)
        if len(found) != PER_CLASS[train]:
            raise ValueError(
                f"class {wnid} has {len(found)} images in {folder / ('train' if train else 'val')}; Tiny ImageNet has "
                f"{PER_CLASS[train]} of each class there. Delete the folder and load again."
            )
        files += found
        labels += [label] * len(found)
    return decoded(f"{name}-{'train' if train else 'val'}", files, SIZE), torch.tensor(labels), wnids


def _of_training(folder: Path, wnid: str) -> list[Path]:
    return sorted((folder / "train" / wnid / "images").glob("*.JPEG"))


def _of_validation(folder: Path):
    path = folder / "val" / "val_annotations.txt"
    by_class: dict[str, list[Path]] = {}
    for line in _lines(path):  # file, class, and the box of the object
        file, wnid, *_ = line.split("\t")
        by_class.setdefault(wnid, []).append(folder / "val" / "images" / file)
    return lambda folder, wnid: sorted(by_class.get(wnid, ()))


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. Delete the folder {FOLDER} and load again.")
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def _folder(root: Path, download: bool) -> Path:
    need("train", "torchvision")
    from torchvision.datasets.utils import check_integrity

    for folder in (root / FOLDER, root):
        if (folder / "wnids.txt").is_file():
            return folder
    archive = root / f"{FOLDER}.zip"
    if archive.exists() and not check_integrity(archive, MD5):
        raise ValueError(f"{archive} is truncated or damaged: its MD5 is wrong. Delete it and fetch it again.")
    if not archive.exists() and not download:
        raise FileNotFoundError(
            f"root = {str(root)!r} holds no Tiny ImageNet. Allowed: a folder with {FOLDER}/ or {archive.name} (from "
            f"{URL}); or download=True."
        )
    fetch(URL, f"md5:{MD5}", archive)
    unpack(archive, FOLDER)
    return root / FOLDER
