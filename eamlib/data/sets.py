"""Image sets, ready for any network of the library.

The small sets are held in memory as RGB images of 32 × 32 or 64 × 64 pixels in uint8: grey images repeat their one
channel, which costs no memory. ``digits`` travels with scikit-learn and needs no download. ImageNet100 stays on disk:
:mod:`eamlib.data.imagenet`.
"""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from eamlib._assets import published_bytes
from eamlib._checks import integer_within, one_of, positive_int
from eamlib._extras import need
from eamlib._files import cache_folder, fetch
from eamlib.data import cifar, imagenet, own_images, tiny_imagenet
from eamlib.data.decoded import decoded, rgb

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
            https://www.cs.toronto.edu/~kriz/cifar.html), ``"tiny_imagenet"`` (200 classes of ImageNet in 64 × 64
            pixels, 500 training and 50 test images each; Le and Yang 2015,
            https://cs231n.stanford.edu/tiny-imagenet-200.zip), ``"tiny_imagenet_100"`` (the first 100 of these classes,
            in the order of its ``wnids.txt``: a stand-in for ImageNet100 that everybody can have), or
            ``"imagenet100"`` (100 classes of ImageNet, 50 test images each and about 1,300 for training; Russakovsky et
            al. 2015, https://arxiv.org/abs/1409.0575).
        root: folder of the data files, in torchvision's layout: ``FashionMNIST/raw``, ``cifar-10-batches-py``,
            ``cifar-100-python``, and ``imagenet/train`` and ``imagenet/val`` with a folder for each class. CIFAR may
            also lie there as PNG files, ``cifar10/train/<class>/*.png`` and ``cifar10/test/<class>/*.png``, and Tiny
            ImageNet lies in ``tiny-imagenet-200``, as it is published. None takes ``EAMLIB_DATA``, else
            ``~/.cache/eamlib``. Digits need none.
        train: the training images, else the test images (of ImageNet and Tiny ImageNet those for validation).
        download: fetch what is missing, where the set can be fetched: ImageNet cannot.
        classes: for ImageNet100 alone: a text file with another list of 100 WordNet ids, one a line. None takes
            the list that :mod:`eamlib.data.imagenet` names.

    Returns:
        An :class:`ImageSet`, in memory; of ImageNet100 an :class:`eamlib.data.imagenet.ImageFolderSet`, on disk.

    Raises:
        ValueError: if the name is unknown, a file is truncated or not what it should be, PNG files are not the original
            CIFAR, a class has no images, or ``classes`` is given for another set or is no list of 100 classes.
        FileNotFoundError: if files are missing, and ``download`` is False or fails: no network, another hash than the
            one that torchvision or we know, a folder that cannot be written to. Nothing half-fetched stays.
        OSError: if an archive cannot be unpacked, the disk being full, say.

    Example:
        >>> train, test = load("digits"), load("digits", train=False)
        >>> len(train), len(test), len(train.classes)
        (1433, 364, 10)
    """
    one_of("name", name, DATASETS)
    if name == "imagenet100":
        return imagenet.load(_root(root), train, classes)
    if classes is not None:
        raise ValueError(f"classes = {str(classes)!r} is for imagenet100; allowed for {name} is None.")
    return _LOADERS[name](root, train, download)


def folder(
    path: str | Path, *, train: bool | None = None, size: int | None = None, seed: int = 0
) -> ImageSet | imagenet.ImageFolderSet:
    """Your own images: a folder with a folder of images for each class.

    Images may be of any size and mode (grey, palette, with transparency, 16 bits) and lie at any depth below their
    class. Labels follow the names of the classes.

    Args:
        path: with ``train/`` and ``val/`` or ``test/`` below it, or with the classes themselves.
        train: the training images, else the others. Where the folder has no split of its own, a fifth of each class is
            held out. None takes all images of ``path``, whose folders are then classes.
        size: pixels a side of squares that are held in memory, each the middle of an image. None leaves the images on
            disk, where training crops and mirrors them at random and makes them 224 × 224.
        seed: of the split.

    Returns:
        An :class:`ImageSet`, or with ``size=None`` an :class:`eamlib.data.imagenet.ImageFolderSet`, named after the
        folder.

    Raises:
        FileNotFoundError: if ``path`` is no folder, or has one half of a split alone.
        ValueError: if there are fewer than two classes, a class is empty, both halves of a split have different
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
    files, labels, classes = own_images.listed(path, train, integer_within("seed", seed, 0))
    name = path.resolve().name
    if size is None:
        return imagenet.ImageFolderSet(name, tuple(files), labels, classes)
    return ImageSet(name, decoded(name, files, size, own_images.square), labels, classes)


def sample(name: str = "fashion_mnist") -> ImageSet:
    """The first 2,000 test images of a set, which come with the book: for looking into networks trained on it.

    Args:
        name: ``"fashion_mnist"`` or ``"cifar100"``. Of the latter, in the order of :func:`load`, they are a random
            sample.

    Raises:
        ValueError: if the name is another.
        FileNotFoundError: if they are not in this checkout and cannot be fetched:
            ``eamlib._assets.published_bytes`` says from where.

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

    They are no test set: few, and but some of them show what is among ImageNet's classes (``chelsea`` is a cat,
    ``coffee`` an espresso); ``brick``, ``grass`` and ``gravel`` are textures.

    Args:
        size: pixels a side.
        crops: 20 squares of each photograph instead of the one in its middle: 2 × 4 of three quarters of its height,
            then 3 × 4 of half of it, evenly spread. They overlap, so that they are far from 240 independent images.
            The first crop of every photograph comes first, then the second of every one, so that every twelfth image
            is of the same photograph: folds that are dealt in turn, as :func:`eamlib.redundancy.premise` deals four,
            share none.

    Returns:
        An :class:`ImageSet` of ``[12, 3, size, size]`` or ``[240, 3, size, size]``; a label says which photograph it
        is, ``classes`` are their names. Grey photographs repeat their one channel.

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
    squares = [_squares(torch.tensor(array), size, crops) for array in pixels.values()]
    images = torch.stack(squares, 1).flatten(0, 1)
    return ImageSet("photographs", images, torch.arange(len(images)) % len(pixels), tuple(pixels))


_SKIMAGE_PHOTOGRAPHS = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "rocket")


def _squares(pixels: Tensor, size: int, crops: bool) -> Tensor:
    """Squares of a photograph ``[H, W]`` or ``[H, W, 3]``, as high as it is wide at most, ``[n, 3, size, size]``."""
    image = (pixels[..., None].expand(-1, -1, 3) if pixels.dim() == 2 else pixels).permute(2, 0, 1)
    height, width = image.shape[1:]
    cut = []
    for share, rows, columns in ((0.75, 2, 4), (0.5, 3, 4)) if crops else ((1, 1, 1),):
        side = int(share * min(height, width))
        for top in _spread(height - side, rows):
            cut += [image[:, top : top + side, left : left + side] for left in _spread(width - side, columns)]
    resized = [
        F.interpolate(square[None].float(), (size, size), mode="bilinear", align_corners=False, antialias=True)
        for square in cut
    ]
    return torch.cat(resized).round().clamp(0, 255).to(torch.uint8)


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


def _root(root: str | Path | None) -> Path:
    return cache_folder() if root is None else Path(root).expanduser()


def _digits(root: object, train: bool, download: bool) -> ImageSet:
    """A fixed stratified split: of every class, each fifth image in the set's own order is a test image.

    The 43 writers follow one another in that order, so that each may appear on both sides: the test accuracy is
    about new images, not about new writers.
    """
    need("train", "sklearn")
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
    part = "train" if train else "t10k"
    count = 60_000 if train else 10_000
    grey = _read_idx(_fashion_mnist_file(f"{part}-images-idx3-ubyte", root, download), (count, 28, 28))
    labels = _read_idx(_fashion_mnist_file(f"{part}-labels-idx1-ubyte", root, download), (count,))
    return _garments(grey, labels)


def _garments(grey: Tensor, labels: Tensor) -> ImageSet:
    """Fashion-MNIST of bytes ``[N, 28, 28]`` and ``[N]``."""
    grey = F.pad(grey[:, None], (2, 2, 2, 2))  # 28 to 32 pixels; the background is black anyway
    return ImageSet("fashion_mnist", grey.expand(-1, 3, -1, -1), labels.long(), GARMENTS)


def _fashion_mnist_file(name: str, root: str | Path | None, download: bool) -> Path:
    given = root is not None
    root = _root(root)
    # torchvision's own layout, and the files themselves.
    folders = [root / "FashionMNIST" / "raw", root]
    if not given:
        folders.append(DEBIAN_FASHION_MNIST)
    for path in (folder / file for folder in folders for file in (name, f"{name}.gz")):
        if path.exists():
            return path
    if not download:
        raise FileNotFoundError(
            f"root = {str(root)!r} lacks {name} of Fashion-MNIST (looked in {', '.join(map(str, folders))}). "
            "Allowed: a folder with the four idx files, plain or .gz; or download=True."
        )
    need("train", "torchvision")
    from torchvision.datasets import FashionMNIST

    path = folders[0] / f"{name}.gz"
    fetch(f"{FashionMNIST.mirrors[0]}{path.name}", f"md5:{dict(FashionMNIST.resources)[path.name]}", path)
    return path


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


def _read(module: ModuleType, name: str, root: str | Path | None, train: bool, download: bool) -> ImageSet:
    return ImageSet(name, *module.read(name, _root(root), train, download))


_LOADERS = {
    "digits": _digits,
    "fashion_mnist": _fashion_mnist,
    **{name: partial(_read, module, name) for module in (cifar, tiny_imagenet) for name in module.CLASSES},
}
IN_MEMORY = tuple(_LOADERS)
DATASETS = (*IN_MEMORY, "imagenet100")
# Pixels a side of what a network is given, and the stride of the stem that suits them.
_TINY = tuple(tiny_imagenet.CLASSES)
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
