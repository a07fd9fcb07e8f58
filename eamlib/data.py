"""Image sets, in memory, ready for any network of the library.

Every set comes as RGB images of 32 × 32 pixels in uint8: grey images repeat their one channel, which costs no
memory. ``digits`` travels with scikit-learn and needs no download.
"""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from eamlib._checks import one_of

# Where Debian's package dataset-fashion-mnist puts the 70,000 images.
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
GARMENTS = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


@dataclass(frozen=True, eq=False)
class ImageSet(Dataset):
    """Labelled images held in memory.

    Attributes:
        name: of the set.
        images: uint8, ``[N, 3, 32, 32]``.
        labels: int64, ``[N]``, from 0 to len(classes) - 1.
        classes: the names behind the labels.

    ``dataset[i]`` is (float image in [0, 1], label), so that a ``DataLoader`` takes it as it is.
    """

    name: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index] / 255, int(self.labels[index])


def load(name: str, *, root: str | Path | None = None, train: bool = True, download: bool = True) -> ImageSet:
    """Load an image set.

    Args:
        name: ``"digits"`` (1,797 handwritten digits, scikit-learn) or ``"fashion_mnist"`` (70,000 garments, Xiao et
            al. 2017).
        root: folder of the data files, in torchvision's layout. None takes ``EAMLIB_DATA``, else
            ``~/.cache/eamlib``. Digits need none.
        train: the training images, else the test images.
        download: fetch what is missing, where the set can be fetched.

    Raises:
        ValueError: if the name is unknown, or a file is truncated or not what it should be.
        FileNotFoundError: if files are missing and ``download`` is False.
    """
    return _LOADERS[one_of("name", name, _LOADERS)](root, train, download)


def _digits(root: object, train: bool, download: bool) -> ImageSet:
    """A fixed stratified split: of every class, each fifth image in the set's own order is a test image.

    The 43 writers follow one another in that order, so that each may appear on both sides: the test accuracy is
    about new images, not about new writers.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    labels = torch.from_numpy(digits.target).long()
    in_test = torch.zeros(len(labels), dtype=torch.bool)
    for digit in range(10):
        in_test[(labels == digit).nonzero().flatten()[::5]] = True
    chosen = ~in_test if train else in_test

    grey = torch.from_numpy(digits.images).float()[:, None] * (255 / 16)  # the 8 × 8 pixels count from 0 to 16
    grey = F.interpolate(grey, size=(32, 32), mode="bilinear", align_corners=False)
    return ImageSet(
        name="digits",
        images=grey[chosen].round().to(torch.uint8).expand(-1, 3, -1, -1),
        labels=labels[chosen],
        classes=tuple("0123456789"),
    )


def _fashion_mnist(root: str | Path | None, train: bool, download: bool) -> ImageSet:
    folder = _fashion_mnist_folder(root, download)
    part = "train" if train else "t10k"
    count = 60_000 if train else 10_000
    grey = _read_idx(_find(folder, f"{part}-images-idx3-ubyte"), (count, 28, 28))
    labels = _read_idx(_find(folder, f"{part}-labels-idx1-ubyte"), (count,))
    grey = F.pad(grey[:, None], (2, 2, 2, 2))  # 28 to 32 pixels; the background is black anyway
    return ImageSet("fashion_mnist", grey.expand(-1, 3, -1, -1), labels.long(), GARMENTS)


def _fashion_mnist_folder(root: str | Path | None, download: bool) -> Path:
    given = root is not None
    root = Path(root or os.environ.get("EAMLIB_DATA") or "~/.cache/eamlib").expanduser()
    # torchvision's own layout, and the files themselves.
    candidates = [root / "FashionMNIST" / "raw", root]
    if not given:
        candidates.append(DEBIAN_FASHION_MNIST)
    for folder in candidates:
        if any(folder.glob("*-ubyte*")):
            return folder
    if not download:
        raise FileNotFoundError(
            f"root = {str(root)!r} holds no Fashion-MNIST (looked in {', '.join(map(str, candidates))}). "
            "Allowed: a folder with the four idx files, plain or .gz; or download=True."
        )
    from torchvision.datasets import FashionMNIST

    FashionMNIST(str(root), download=True)
    return candidates[0]


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise FileNotFoundError(f"{folder} lacks {name} (or {name}.gz), one of the four files of Fashion-MNIST.")


def _read_idx(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Read unsigned bytes in the idx format: two zero bytes, type 8, rank, the sizes as big-endian int32, data."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is truncated or no gzip file ({error}); fetch it again.") from error
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes()
    if content[: len(header)] != header:
        raise ValueError(f"{path} is not an idx file of {' × '.join(map(str, shape))} bytes; fetch it again.")
    expected = len(header) + int(np.prod(shape))
    if len(content) != expected:
        raise ValueError(f"{path} holds {len(content)} bytes, {expected} are expected: truncated? Fetch it again.")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape).copy())


_LOADERS = {"digits": _digits, "fashion_mnist": _fashion_mnist}
DATASETS = tuple(_LOADERS)
