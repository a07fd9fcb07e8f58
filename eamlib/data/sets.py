"""Image sets, ready for any network of the library.

The small sets are held in memory as RGB images of 32 × 32 or 64 × 64 pixels in uint8: grey images repeat their one
channel, which costs no memory. ``digits`` travels with scikit-learn and needs no download. ImageNet100 stays on disk:
:mod:`eamlib.data.imagenet`.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import math
import zlib
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from eamlib._assets import published_bytes
from eamlib._checks import integer_within, one_of, positive_int
from eamlib._extras import need
from eamlib._files import cache_folder, fetch
from eamlib.data import cifar, imagenet, tiny_imagenet
from eamlib.data.class_folders import one_side
from eamlib.data.decoded import decoded, rgb, scaled

# Where Debian's package dataset-fashion-mnist puts the 70,000 images.
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
GARMENTS = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


@dataclass(frozen=True, eq=False)
class ImageSet(Dataset):
    """Labelled images held in memory.

    Attributes:
        name: of the set.
        images: uint8, ``[N, 3, 32, 32]``; Tiny ImageNet's and photographs are larger, and your own may have any number
            of channels (``create_model(in_channels=…)``).
        labels: int64, ``[N]``, from 0 to len(classes) - 1.
        classes: the names behind the labels.

    ``dataset[i]`` is (float image in [0, 1], label), so that a ``DataLoader`` takes it as it is.

    Example:
        >>> digits = load("digits")
        >>> digits.images.shape, digits.images.dtype
        (torch.Size([1433, 3, 32, 32]), torch.uint8)
        >>> image, label = digits[0]
        >>> image.shape, image.dtype, digits.classes[label]
        (torch.Size([3, 32, 32]), torch.float32, '0')
    """

    name: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def subset(self, which: Tensor | slice) -> ImageSet:
        """Some of the images with their labels: indices, a mask ``[N]`` of bools, or a slice."""
        return dataclasses.replace(self, images=self.images[which], labels=self.labels[which])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index] / 255, int(self.labels[index])


def load(
    name: str,
    *,
    root: str | Path | None = None,
    train: bool = True,
    download: bool = True,
    classes: str | Path | None = None,
) -> ImageSet | imagenet.ImageFolderSet:
    """Load an image set.

    Args:
        name: ``"digits"`` (1,797 handwritten digits, scikit-learn), ``"fashion_mnist"`` (70,000 garments, Xiao et
            al. 2017), ``"cifar10"`` or ``"cifar100"`` (60,000 photographs each, Krizhevsky 2009,
            https://www.cs.toronto.edu/~kriz/cifar.html), ``"tiny_imagenet"`` (200 classes of ImageNet at 64 × 64
            pixels, 500 training and 50 test images each; Le and Yang 2015,
            https://cs231n.stanford.edu/tiny-imagenet-200.zip), ``"tiny_imagenet_100"`` (the first 100 of them in the
            order of its ``wnids.txt``, a freely available stand-in for ImageNet100), or ``"imagenet100"`` (100 classes
            of ImageNet, about 1,300 training and 50 test images each; Russakovsky et al. 2015,
            https://arxiv.org/abs/1409.0575).
        root: folder of the data files, in torchvision's layout: ``FashionMNIST/raw``, ``cifar-10-batches-py``,
            ``cifar-100-python``, ``imagenet/train`` and ``imagenet/val`` with a folder for each class; and
            ``tiny-imagenet-200`` as it is published. CIFAR may also be PNG files, ``cifar10/train/<class>/*.png`` and
            ``cifar10/test/<class>/*.png``. None takes ``EAMLIB_DATA``, else ``~/.cache/eamlib``. Digits need none.
        train: the training images, else the test images (of ImageNet and Tiny ImageNet those for validation).
        download: fetch what is missing; ImageNet cannot be fetched.
        classes: for ImageNet100 alone: a text file with another list of 100 WordNet ids, one per line. None takes
            the list that :mod:`eamlib.data.imagenet` names.

    Returns:
        An :class:`ImageSet`, in memory; of ImageNet100 an :class:`eamlib.data.imagenet.ImageFolderSet`, on disk.

    Raises:
        ValueError: if the name is unknown, a file is truncated or not the original, a class has no images, or
            ``classes`` is given for another set or does not list 100 classes.
        FileNotFoundError: if a file is missing, and ``download`` is False or fails: no network, a wrong hash, a folder
            that cannot be written to. No half-fetched file stays.
        OSError: if an archive cannot be unpacked, because the disk is full, say.

    Example:
        >>> train, test = load("digits"), load("digits", train=False)
        >>> len(train), len(test), len(train.classes)
        (1433, 364, 10)
    """
    one_of("name", name, DATASETS)
    if name != "imagenet100" and classes is not None:
        raise ValueError(f"classes = {str(classes)!r} is for imagenet100; allowed for {name} is None.")
    if name == "digits":
        return _digits(train)
    if name == "fashion_mnist":
        return _fashion_mnist(root, train, download)
    if name == "imagenet100":
        return imagenet.load(_place(root), train, classes)
    read = cifar.read if name in cifar.CLASSES else tiny_imagenet.read
    return ImageSet(name, *read(name, _place(root), train, download))


def folder(
    path: str | Path, *, train: bool | None = None, size: int | None = None, seed: int = 0
) -> ImageSet | imagenet.ImageFolderSet:
    """Your own images: a folder with a folder of images for each class.

    Images may be of any size and mode (grey, palette, with transparency, 16 bits) and lie at any depth below their
    class. Labels follow the sorted names of the classes.

    Args:
        path: a folder that holds ``train/`` and ``val/`` or ``test/``, or the classes themselves.
        train: the training images, else the others. Where the folder has no split of its own, a fifth of each class is
            held out. None takes all images of ``path``, whose folders are then classes.
        size: hold the middle square of each image in memory, with so many pixels a side. None leaves the images on
            disk; training then crops them to 224 × 224 and mirrors them at random.
        seed: of the split.

    Returns:
        An :class:`ImageSet`, or with ``size=None`` an :class:`eamlib.data.imagenet.ImageFolderSet`, named after the
        folder.

    Raises:
        FileNotFoundError: if ``path`` is no folder, or has only one half of a split.
        ValueError: if there are fewer than two classes, a class is empty, the halves of a split have different
            classes, or a number is out of its range; with its path, if a file is truncated or no image.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> for name, colour in (("lemon", "yellow"), ("lime", "green")):
        ...     Path("fruit", name).mkdir(parents=True)
        ...     for i in range(5):
        ...         Image.new("RGB", (40, 30), colour).save(f"fruit/{name}/{i}.png")
        >>> fruit = folder("fruit", train=True, size=32)
        >>> fruit.images.shape, fruit.classes, fruit.labels.tolist()
        (torch.Size([8, 3, 32, 32]), ('lemon', 'lime'), [0, 0, 0, 0, 1, 1, 1, 1])
        >>> len(folder("fruit", train=False))
        2
    """
    path = Path(path).expanduser()
    if size is not None:
        positive_int("size", size)
    files, labels, classes = one_side(path, train, integer_within("seed", seed, 0))
    name = path.resolve().name
    if size is None:
        return imagenet.ImageFolderSet(name, tuple(files), labels, classes)
    return ImageSet(name, decoded(name, files, size, fit=True), labels, classes)


def sample(name: str = "fashion_mnist") -> ImageSet:
    """The first 2,000 test images of a set, which come with the book: for looking into networks trained on it.

    Args:
        name: ``"fashion_mnist"`` or ``"cifar100"``; the latter's are a random sample, since :func:`load` orders CIFAR
            by a digest.

    Raises:
        ValueError: if the name is another.
        FileNotFoundError: if they are neither in this checkout nor can be fetched; the message says from where.

    Example:
        >>> garments = sample()
        >>> garments.images.shape, garments.classes[:3]
        (torch.Size([2000, 3, 32, 32]), ('T-shirt', 'trouser', 'pullover'))
        >>> photographs = sample("cifar100")
        >>> photographs.images.shape, photographs.classes[photographs.labels[0]]
        (torch.Size([2000, 3, 32, 32]), 'hamster')
    """
    one_of("name", name, SAMPLES)
    if name == "fashion_mnist":
        with np.load(io.BytesIO(published_bytes("images/fashion_mnist-test-2000.npz"))) as file:
            return _garments(torch.from_numpy(file["images"]), torch.from_numpy(file["labels"]))
    about = json.loads(published_bytes(f"images/{name}-test-2000.json"))
    mosaic = torch.from_numpy(rgb(io.BytesIO(published_bytes(f"images/{name}-test-2000.webp"))).copy())
    tiles = mosaic.unflatten(1, (-1, 32)).unflatten(0, (-1, 32)).permute(0, 2, 4, 1, 3)  # [row, column, 3, 32, 32]
    return ImageSet(name, tiles.flatten(0, 1).contiguous(), torch.tensor(about["labels"]), tuple(about["classes"]))


SAMPLES = ("fashion_mnist", "cifar100")


def photographs(size: int = 224, *, crops: bool = False) -> ImageSet:
    """Twelve photographs that travel with scikit-image and scikit-learn, for looking into networks of ImageNet.

    They are no test set: they are few, and only some show one of ImageNet's classes (``chelsea`` is a cat, ``coffee``
    an espresso).

    Args:
        size: pixels a side.
        crops: 20 squares of each photograph instead of the one in its middle: 2 × 4 of three quarters of its height,
            then 3 × 4 of half of it, evenly spread. They overlap, so they are far from 240 independent images. Every
            twelfth image is of the same photograph, so the four folds that :func:`eamlib.redundancy.premise` deals in
            turn share none.

    Returns:
        An :class:`ImageSet` of ``[12, 3, size, size]`` or ``[240, 3, size, size]``; ``classes`` are the names of the
        photographs. Grey photographs repeat their one channel.

    Raises:
        ModuleNotFoundError: if one of the two packages is missing; the message says how to install it.
        ValueError: if ``size`` is below 1.

    Example:
        >>> found = photographs(64)
        >>> found.images.shape, found.classes[:3]
        (torch.Size([12, 3, 64, 64]), ('astronaut', 'brick', 'camera'))
    """
    positive_int("size", size)
    need("redundancy", "skimage", "sklearn")
    from skimage import data as skimage
    from sklearn.datasets import load_sample_images

    # Of scikit-image those that are in its wheel: the others would be downloaded.
    pixels = {name: getattr(skimage, name)() for name in _SKIMAGE_PHOTOGRAPHS}
    pixels["motorcycle"] = skimage.stereo_motorcycle()[0]
    pixels |= zip(("china", "flower"), load_sample_images().images, strict=True)
    images = torch.stack([_squares(torch.tensor(array), size, crops) for array in pixels.values()], 1).flatten(0, 1)
    return ImageSet("photographs", images, torch.arange(len(images)) % len(pixels), tuple(pixels))


_SKIMAGE_PHOTOGRAPHS = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "rocket")


def _squares(pixels: Tensor, size: int, crops: bool) -> Tensor:
    """Squares of a photograph ``[H, W]`` or ``[H, W, 3]``: ``[n, 3, size, size]``."""
    image = (pixels[..., None].expand(-1, -1, 3) if pixels.dim() == 2 else pixels).permute(2, 0, 1)
    height, width = image.shape[1:]
    cut = []
    for share, rows, columns in ((0.75, 2, 4), (0.5, 3, 4)) if crops else ((1, 1, 1),):
        side = int(share * min(height, width))
        for top, left in product(_spread(height - side, rows), _spread(width - side, columns)):
            cut.append(scaled(image[:, top : top + side, left : left + side], size))
    return torch.stack(cut)


def _spread(room: int, count: int) -> list[int]:
    """``count`` positions from 0 to ``room``, evenly; one is in the middle."""
    return [room // 2] if count == 1 else [i * room // (count - 1) for i in range(count)]


def held_in_memory(argument: str, name: object) -> str:
    """Return ``name`` if :func:`load` makes an :class:`ImageSet` of it, else raise a ``ValueError``."""
    if name in DATASETS and name not in IN_MEMORY:
        raise ValueError(
            f"{argument} = {name!r} stays on disk; allowed are the sets in memory: {', '.join(IN_MEMORY)}."
        )
    return one_of(argument, name, IN_MEMORY)


def one_in(n: int, labels: Tensor, first: int = 0) -> Tensor:
    """Every n-th image of each class in the set's own order, from number ``first`` on: bool ``[N]`` for ``labels``."""
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        chosen[(labels == label).nonzero().flatten()[first::n]] = True
    return chosen


def _digits(train: bool) -> ImageSet:
    """A fixed stratified split: of every class, each fifth image in the set's own order is a test image.

    The 43 writers follow one another in that order, so that each may appear on both sides: the test accuracy is
    about new images, not about new writers.
    """
    need("train", "sklearn")
    from sklearn.datasets import load_digits

    digits = load_digits()
    labels = torch.from_numpy(digits.target).long()
    in_test = one_in(5, labels)
    chosen = in_test != train
    grey = torch.from_numpy(digits.images).float()[:, None] * (255 / 16)  # the 8 × 8 pixels count from 0 to 16
    grey = F.interpolate(grey, size=(32, 32), mode="bilinear", align_corners=False)[chosen]
    return ImageSet("digits", grey.round().to(torch.uint8).expand(-1, 3, -1, -1), labels[chosen], tuple("0123456789"))


def _fashion_mnist(root: str | Path | None, train: bool, download: bool) -> ImageSet:
    part, count = ("train", 60_000) if train else ("t10k", 10_000)
    grey = _read_idx(_fashion_mnist_file(f"{part}-images-idx3-ubyte", root, download), (count, 28, 28))
    labels = _read_idx(_fashion_mnist_file(f"{part}-labels-idx1-ubyte", root, download), (count,))
    return _garments(grey, labels)


def _garments(grey: Tensor, labels: Tensor) -> ImageSet:
    """Fashion-MNIST of bytes ``[N, 28, 28]`` and ``[N]``."""
    grey = F.pad(grey[:, None], (2, 2, 2, 2))  # 28 to 32 pixels; the background is black anyway
    return ImageSet("fashion_mnist", grey.expand(-1, 3, -1, -1), labels.long(), GARMENTS)


def _fashion_mnist_file(name: str, root: str | Path | None, download: bool) -> Path:
    place = _place(root)
    folders = [place / "FashionMNIST" / "raw", place]  # torchvision's own layout, and the files themselves
    if root is None:
        folders.append(DEBIAN_FASHION_MNIST)
    for path in (folder / file for folder in folders for file in (name, f"{name}.gz")):
        if path.exists():
            return path
    need("train", "torchvision")
    from torchvision.datasets import FashionMNIST

    path = folders[0] / f"{name}.gz"
    fetch(f"{FashionMNIST.mirrors[0]}{path.name}", f"md5:{dict(FashionMNIST.resources)[path.name]}", path, download)
    return path


def _read_idx(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Read unsigned bytes in the idx format: two zero bytes, type 8, rank, the sizes as big-endian int32, data."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is truncated or no gzip file ({error}); fetch it again.") from error
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes()
    if not content.startswith(header) or len(content) != len(header) + math.prod(shape):
        raise ValueError(f"{path} is truncated or no idx file of {' × '.join(map(str, shape))} bytes; fetch it again.")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape).copy())


def _place(root: str | Path | None) -> Path:
    return cache_folder() if root is None else Path(root).expanduser()


IN_MEMORY = ("digits", "fashion_mnist", *cifar.CLASSES, *tiny_imagenet.CLASSES)
DATASETS = (*IN_MEMORY, "imagenet100")
_TINY = tuple(tiny_imagenet.CLASSES)
# Pixels a side of what a network is given, and the stride of the stem that suits them.
INPUT_SIZES = dict.fromkeys(IN_MEMORY, 32) | dict.fromkeys(_TINY, 64) | {"imagenet100": 224}
STEM_STRIDES = dict.fromkeys(IN_MEMORY, 1) | dict.fromkeys((*_TINY, "imagenet100"), 2)
# What :func:`eamlib.data.augmentation.augment` may do to each set in memory.
AUGMENTATIONS = {
    # A mirrored digit is another sign or none. Two pixels are half a pixel of the original 8 × 8.
    "digits": {"pad": 2, "flip": False},
    # A mirrored garment is a garment. Most touch the edge, so that a wider shift would double more of them.
    "fashion_mnist": {"pad": 2, "flip": True},
    # Crop and flip as in He et al. 2016, https://arxiv.org/abs/1512.03385 (there after zeros, not reflection). Cutout
    # is for who wants it: 16 on CIFAR-10 and 8 on CIFAR-100 in its paper.
    "cifar10": {"pad": 4, "flip": True},
    "cifar100": {"pad": 4, "flip": True},
    # The same shift in proportion.
    **{name: {"pad": 8, "flip": True} for name in _TINY},
}
