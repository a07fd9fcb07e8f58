"""Tiny ImageNet as it is published: 64 × 64 pixels of 200 ImageNet classes, 500 images each to train and 50 to test.

Le and Yang 2015, Tiny ImageNet Visual Recognition Challenge. Its test images have no labels, so that, as everywhere,
those for validation are tested on.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from eamlib._files import fetch, unpack
from eamlib.data.class_folders import images_of
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
    folder = next((place for place in (root / FOLDER, root) if (place / "wnids.txt").is_file()), None)
    if folder is None:
        folder, archive = root / FOLDER, root / f"{FOLDER}.zip"
        fetch(URL, f"md5:{MD5}", archive, download)
        unpack(archive, FOLDER)
    wnids = tuple(sorted((folder / "wnids.txt").read_text(encoding="utf-8").split()[: CLASSES[name]]))
    if train:
        files, labels, _ = images_of(folder / "train", wnids, (".jpeg",))
    else:
        lines = (folder / "val" / "val_annotations.txt").read_text(encoding="utf-8").splitlines()
        rows = (line.split("\t") for line in lines)  # file, class, and the box of the object
        pairs = sorted((wnid, folder / "val" / "images" / file) for file, wnid, *_ in rows if wnid in wnids)
        files, labels = [file for _, file in pairs], torch.tensor([wnids.index(wnid) for wnid, _ in pairs]).long()
    part = "train" if train else "val"
    counts = labels.bincount(minlength=CLASSES[name])
    if counts.tolist() != [PER_CLASS[train]] * CLASSES[name]:
        raise ValueError(
            f"{folder / part} holds {counts.min()} to {counts.max()} images of each of {len(wnids)} classes; Tiny "
            f"ImageNet has {PER_CLASS[train]} of each of 200. Delete the folder {FOLDER} and load again."
        )
    return decoded(f"{name}-{part}", files, SIZE), labels, wnids
