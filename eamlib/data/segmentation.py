"""A segmentation set made of real images, and the mean IoU.

Digits or garments are cut out of an image set and pasted on crops of the two photographs that come with scikit-learn.
The pixels are photographed and handwritten, the masks are exact, and nothing is downloaded for the digits.
The photographs are by danielbuechele (china.jpg) and vultilion (flower.jpg) on Flickr, under CC BY 2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from eamlib import data
from eamlib._checks import integer_within, positive_int
from eamlib._extras import need
from eamlib.data.sets import held_in_memory

BACKGROUND = 0
_TRAIN_SHARE = 0.7  # of a photograph's width: the training crops lie to the left of it, the test crops to the right


@dataclass(frozen=True, eq=False)
class SegmentationSet(Dataset):
    """Images with a class for every pixel, held in memory.

    Attributes:
        name: of the set.
        images: uint8, ``[N, 3, H, W]``.
        masks: int64, ``[N, H, W]``, from 0, the background, to len(classes) - 1.
        classes: the names behind the numbers, "background" first.

    ``dataset[i]`` is (float image in [0, 1], mask), so that a ``DataLoader`` takes it as it is.

    Example:
        >>> pasted = load("digits", count=3, size=32, classes=2)
        >>> image, mask = pasted[0]
        >>> image.shape, mask.shape, pasted.classes
        (torch.Size([3, 32, 32]), torch.Size([32, 32]), ('background', '0', '1'))
    """

    name: str
    images: Tensor
    masks: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index] / 255, self.masks[index]


def load(
    objects: str = "digits",
    count: int = 600,
    *,
    size: int = 64,
    train: bool = True,
    classes: int | None = None,
    max_objects: int = 2,
    seed: int = 0,
    root: str | Path | None = None,
    download: bool = True,
) -> SegmentationSet:
    """Paste objects on photographs: ``count`` images of ``size`` × ``size`` pixels and their masks.

    Each crop has a random place and scale and may be mirrored; each object has a random place, scale (½ to ⅞ of the
    image) and pair of colours, for its dark and its light pixels. A later object covers an earlier one. Training and
    test images share neither objects (each comes from its own part of the image set) nor any part of a photograph
    (test crops lie in the right 30 % of each). The same arguments give the same set.

    Args:
        objects: an image set that :func:`eamlib.data.load` holds in memory; its classes become 1, 2, …
        count: how many images.
        size: of an image, at least 16.
        train: the training images, else the test images.
        classes: how many of the set's classes to use, from the first; None uses all.
        max_objects: the most objects that an image holds; the least is 1.
        seed: of all that is drawn.
        root, download: as in :func:`eamlib.data.load`.

    Raises:
        ValueError: if ``objects`` is unknown or a number is out of its range.

    Example:
        >>> train = load("digits", count=4, size=32)
        >>> train.images.shape, train.masks.shape, len(train.classes)  # ten digits and the background
        (torch.Size([4, 3, 32, 32]), torch.Size([4, 32, 32]), 11)
        >>> torch.equal(train.images, load("digits", count=4, size=32).images)
        True
    """
    positive_int("count", count)
    positive_int("max_objects", max_objects)
    integer_within("size", size, 16)
    held_in_memory("objects", objects)
    source = data.load(objects, root=root, train=train, download=download)
    if classes is not None:
        chosen = source.labels < integer_within("classes", classes, 1, len(source.classes))
        source = data.ImageSet(source.name, source.images[chosen], source.labels[chosen], source.classes[:classes])
    photographs = _photographs(train)
    # Two streams, or the test images would repeat the training images' places and colours.
    generator = torch.Generator().manual_seed(2 * seed + train)
    pairs = [_draw(source, photographs, size, max_objects, generator) for _ in range(count)]
    images, masks = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    return SegmentationSet(f"{objects} on photographs", images, masks, ("background", *source.classes))


def confusion(prediction: Tensor, truth: Tensor, num_classes: int) -> Tensor:
    """Count the pixels of true class i that were called j: int64, ``[num_classes, num_classes]``.

    Args:
        prediction, truth: integer classes of the same shape, ``[H, W]`` or ``[N, H, W]``.

    Raises:
        ValueError: if the shapes differ, or a class lies outside 0 … num_classes - 1.

    Example:
        >>> truth = torch.tensor([[0, 0], [1, 1]])
        >>> prediction = torch.tensor([[0, 1], [1, 1]])
        >>> confusion(prediction, truth, num_classes=2)
        tensor([[1, 1],
                [0, 2]])
    """
    positive_int("num_classes", num_classes)
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction has shape {list(prediction.shape)}, truth {list(truth.shape)}; they must agree.")
    for argument, value in (("prediction", prediction), ("truth", truth)):
        if value.is_floating_point():
            raise ValueError(f"{argument} is of {value.dtype}; allowed are integer classes. Take the argmax first?")
        if value.numel() and not (value.min() >= 0 and value.max() < num_classes):
            raise ValueError(
                f"{argument} has classes from {value.min()} to {value.max()}; allowed are 0 … {num_classes - 1}."
            )
    pairs = truth.long() * num_classes + prediction.long()
    return torch.bincount(pairs.flatten(), minlength=num_classes**2).view(num_classes, num_classes)


def iou(matrix: Tensor) -> Tensor:
    """Intersection over union of each class, ``[..., classes, classes] -> [..., classes]``, from :func:`confusion`.

    NaN for a class that is neither in the truth nor predicted; ``iou(matrix).nanmean(-1)`` is the mean IoU.

    Raises:
        ValueError: if the matrix is not square.

    Example:
        >>> matrix = torch.tensor([[1, 1], [0, 2]])
        >>> iou(matrix)  # 1 of 2 pixels, 2 of 3
        tensor([0.5000, 0.6667], dtype=torch.float64)
        >>> iou(matrix).nanmean().item()
        0.5833333333333333
    """
    if matrix.dim() < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"matrix has shape {list(matrix.shape)}; allowed is [..., classes, classes].")
    matrix = matrix.double()
    both = matrix.diagonal(dim1=-2, dim2=-1)
    return both / (matrix.sum(-1) + matrix.sum(-2) - both)


def _photographs(train: bool) -> list[Tensor]:
    """The training or the test part of each photograph, uint8 ``[3, H, W]``."""
    need("train", "sklearn")
    from sklearn.datasets import load_sample_images

    photographs = [torch.tensor(photograph).permute(2, 0, 1) for photograph in load_sample_images().images]
    halves = [pixels.tensor_split([round(_TRAIN_SHARE * pixels.shape[2])], dim=2) for pixels in photographs]
    return [left if train else right for left, right in halves]


def _draw(
    source: data.ImageSet, photographs: list[Tensor], size: int, max_objects: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    def integer(low: int, high: int) -> int:
        """Uniform from low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=generator))

    def scaled(part: Tensor, side: int) -> Tensor:
        """Bytes ``[C, H, W]`` as floats ``[C, side, side]``."""
        floats = part[None].float() / 255
        return F.interpolate(floats, (side, side), mode="bilinear", antialias=True, align_corners=False)[0]

    photograph = photographs[integer(0, len(photographs) - 1)]
    _, height, width = photograph.shape
    crop = integer(64, 128)
    top, left = integer(0, height - crop), integer(0, width - crop)
    image = scaled(photograph[:, top : top + crop, left : left + crop], size)
    if integer(0, 1):
        image = image.flip(-1)
    mask = torch.full((size, size), BACKGROUND)
    for _ in range(integer(1, max_objects)):
        index = integer(0, len(source) - 1)
        side = integer(size // 2, 7 * size // 8)
        grey = scaled(source.images[index, :1], side)
        shape = grey[0] > 0.3
        dark, light = torch.rand(2, 3, 1, 1, generator=generator)
        y, x = integer(0, size - side), integer(0, size - side)
        place = (slice(y, y + side), slice(x, x + side))
        image[:, *place] = torch.where(shape, dark + (light - dark) * grey, image[:, *place])
        mask[place][shape] = source.labels[index] + 1
    return (255 * image).round().clamp(0, 255).to(torch.uint8), mask
