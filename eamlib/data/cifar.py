"""CIFAR-10 and CIFAR-100, from torchvision's files or from folders of PNG files.

Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html. Both forms hold the same 60,000 images in different
orders. Ours is that of a digest of pixels and label, whatever the form, so that a seed draws the same batches from
both. Any part of that order is a random sample of the set.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import torch
from torch import Tensor

from eamlib._extras import need
from eamlib._files import fetch, unpack
from eamlib.data.class_folders import classes_of, images_of
from eamlib.data.decoded import decoded

CLASSES = ("cifar10", "cifar100")
# For each part of a set, the digest of the images and labels of the original, whatever their order.
ORIGINALS = {
    ("cifar10", True): "eb94276b7ab522050225f54d805cb1a5",
    ("cifar10", False): "f777f82aee66887557c992322ef900e1",
    ("cifar100", True): "df0bee6f603471f92f0394c7024c381a",
    ("cifar100", False): "edf063e75e351f8a025bb0be7deb6ea9",
}


def read(name: str, root: Path, train: bool, download: bool) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Images uint8 ``[N, 3, 32, 32]``, labels int64 ``[N]`` and class names; for :func:`eamlib.data.load`, which says
    what is raised."""
    need("train", "torchvision")
    from torchvision import datasets

    source, part = getattr(datasets, name.upper()), "train" if train else "test"
    place = root / source.base_folder
    folders = [folder / part for folder in (root / name, root) if (folder / part).is_dir()]
    if folders and not place.is_dir() and not (root / source.filename).exists():
        place = folders[0]
        files, labels, classes = images_of(place, classes_of(place), (".png",))
        images = decoded(f"{name}-{part}", files, 32)
    else:
        images, labels, classes = _of_torchvision(source, root, train, download)
    order, digest = _order(images, labels)
    if digest != ORIGINALS[name, train]:
        raise ValueError(
            f"{place} is not the original {name}: of its {len(labels):,} images in {len(classes)} classes, pixels or "
            "labels are others. Allowed are the original images as lossless PNG, or torchvision's files; other images: "
            "eamlib.data.folder."
        )
    return images[order], labels[order], classes


def _order(images: Tensor, labels: Tensor) -> tuple[Tensor, str]:
    """The order by a digest of label and pixels, and the digest of all of them."""
    pairs = zip(labels.numpy().astype("<i2")[:, None], images.flatten(1).numpy(), strict=True)
    digests = [hashlib.blake2b(label.tobytes() + pixels.tobytes(), digest_size=16).digest() for label, pixels in pairs]
    order = sorted(range(len(digests)), key=digests.__getitem__)
    return torch.tensor(order), hashlib.blake2b(b"".join(digests[i] for i in order), digest_size=16).hexdigest()


def _of_torchvision(source: type, root: Path, train: bool, download: bool) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    folder, archive = root / source.base_folder, root / source.filename
    if not folder.is_dir():
        fetch(source.url, f"md5:{source.tgz_md5}", archive, download)
        unpack(archive, folder.name)
    with warnings.catch_warnings():
        # The pickles are older than NumPy 2.4, whose first releases say so.
        warnings.filterwarnings("ignore", message=r"dtype\(\): align")
        try:
            whole = source(str(root), train=train)  # compares every file with its MD5 before it reads one
        except RuntimeError as error:
            raise ValueError(f"A file of {folder} is missing or damaged. Delete the folder and load again.") from error
    images = torch.from_numpy(whole.data).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(whole.targets), tuple(whole.classes)
