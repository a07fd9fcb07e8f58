"""CIFAR-10 and CIFAR-100, from torchvision's files or from folders of PNG files.

Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html. Both forms hold the same 60,000 images in different
orders. Ours is that of a digest of pixels and label, whatever the form, so that a seed draws the same batches from
both. Any part of that order is a random sample of the set.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eamlib._extras import need
from eamlib._files import fetch, unpack
from eamlib.data.decoded import decoded

# For each part of a set, the digest of the images and labels of the original, whatever their order.
ORIGINALS = {
    ("cifar10", True): "eb94276b7ab522050225f54d805cb1a5",
    ("cifar10", False): "f777f82aee66887557c992322ef900e1",
    ("cifar100", True): "df0bee6f603471f92f0394c7024c381a",
    ("cifar100", False): "edf063e75e351f8a025bb0be7deb6ea9",
}
CLASSES = {"cifar10": 10, "cifar100": 100}


def read(name: str, root: Path, train: bool, download: bool) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Images uint8 ``[N, 3, 32, 32]``, labels int64 ``[N]`` and class names; for :func:`eamlib.data.load`, which says
    what is raised."""
    need("train", "torchvision")
    from torchvision import datasets

    source = getattr(datasets, name.upper())
    theirs, part = root / source.base_folder, "train" if train else "test"
    if not theirs.is_dir() and not (root / source.filename).exists():
        for folder in (root / name, root):
            if (folder / part).is_dir():
                return _of_folders(name, folder / part, train)
    images, labels, classes = _of_torchvision(source, root, train, download)
    order = _order(images, labels)[0]
    return images[order], labels[order], classes


def _of_folders(name: str, folder: Path, train: bool) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """The images of ``folder/<class>/*.png``; the labels follow the names of the classes, as the originals' do."""
    classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    if len(classes) != CLASSES[name]:
        raise ValueError(f"{folder} holds {len(classes)} folders; allowed is one for each of {CLASSES[name]} classes.")
    files = [sorted((folder / of_class).glob("*.png")) for of_class in classes]
    if empty := [of_class for of_class, found in zip(classes, files, strict=True) if not found]:
        raise ValueError(f"{folder} holds no .png file for {len(empty)} of its classes: {', '.join(empty)}.")
    labels = torch.tensor([label for label, found in enumerate(files) for _ in found])
    images = decoded(f"{name}-{folder.name}", [file for found in files for file in found], 32)
    order, digest = _order(images, labels)
    if digest != ORIGINALS[name, train]:
        raise ValueError(
            f"{folder} is not the original {name}: of its {len(labels):,} images, pixels or labels are others. Allowed "
            f"are the original images as lossless PNG, or torchvision's files; other images: eamlib.data.folder."
        )
    return images[order], labels[order], classes


def _order(images: Tensor, labels: Tensor) -> tuple[Tensor, str]:
    """The order by a digest of pixels and label, and the digest of all of them."""
    pixels = np.ascontiguousarray(images.numpy()).reshape(len(images), -1)
    prefixes = labels.numpy().astype("<i2").tobytes()
    digests = [
        hashlib.blake2b(prefixes[2 * i : 2 * i + 2] + row.tobytes(), digest_size=16).digest()
        for i, row in enumerate(pixels)
    ]
    order = sorted(range(len(digests)), key=digests.__getitem__)
    return torch.tensor(order), hashlib.blake2b(b"".join(digests[i] for i in order), digest_size=16).hexdigest()


def _of_torchvision(source: type, root: Path, train: bool, download: bool) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    from torchvision.datasets.utils import check_integrity

    kind, folder, archive = source.__name__, root / source.base_folder, root / source.filename
    if not folder.is_dir():
        if archive.exists() and not check_integrity(archive, source.tgz_md5):
            raise ValueError(f"{archive} is truncated or damaged: its MD5 is wrong. Delete it and fetch it again.")
        if not archive.exists() and not download:
            raise FileNotFoundError(
                f"root = {str(root)!r} holds no {kind}. Allowed: a folder with {folder.name}/, {archive.name} (from "
                f"{source.url}) or {kind.lower()}/train and {kind.lower()}/test with a folder of PNG files for each "
                "class; or download=True."
            )
        fetch(source.url, f"md5:{source.tgz_md5}", archive)
        unpack(archive, source.base_folder)
    files = {**dict(source.train_list + source.test_list), source.meta["filename"]: source.meta["md5"]}
    if absent := [name for name in files if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder} lacks {', '.join(absent)}. Delete the folder and load again.")
    with warnings.catch_warnings():
        # The pickles are older than NumPy 2.4, whose first releases say so.
        warnings.filterwarnings("ignore", message=r"dtype\(\): align")
        try:
            whole = source(str(root), train=train)  # compares every file with its MD5 before it reads one
        except RuntimeError as error:
            bad = [name for name, md5 in files.items() if not check_integrity(folder / name, md5)]
            raise ValueError(
                f"{', '.join(bad)} in {folder} truncated or damaged: wrong MD5. Delete the folder and load again."
            ) from error
    images = torch.from_numpy(whole.data).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(whole.targets), tuple(whole.classes)
