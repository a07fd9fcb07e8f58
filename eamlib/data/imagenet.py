"""ImageNet100: a hundred classes of an ImageNet folder, streamed from disk.

Several lists of a hundred classes go by this name, and the EAM paper does not print its own. ``imagenet100.txt``,
beside this file, is that of Tian et al. 2019, Contrastive Multiview Coding, https://arxiv.org/abs/1906.05849.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from eamlib._checks import integer_within
from eamlib._extras import need
from eamlib.data.class_folders import images_of
from eamlib.data.decoded import rgb

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ImageFolderSet"]

CLASS_LIST = Path(__file__).with_name("imagenet100.txt")
# Of the pixels of ImageNet's training images, scaled to [0, 1]: what torchvision's weights expect.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# What is done to a training image: a random crop, so much of the area and with sides of such a ratio, which is mirrored
# half of the time (Szegedy et al. 2015, https://arxiv.org/abs/1409.4842).
AUGMENTATION = {"scale": [0.08, 1.0], "ratio": [3 / 4, 4 / 3], "flip": True}


@dataclass(frozen=True, eq=False)
class ImageFolderSet(Dataset):
    """Labelled images that stay on disk: the companion of :class:`eamlib.data.ImageSet` for what memory cannot hold.

    Attributes:
        name: of the set.
        files: the images' paths, N of them.
        labels: int64, ``[N]``, from 0 to len(classes) - 1.
        classes: the names behind the labels; of ImageNet WordNet ids, in their order.

    ``dataset[i]`` is (PIL image in RGB, of its own size; label), and :meth:`stream` reads batches.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> Image.new("RGB", (300, 260), "red").save("strawberry.JPEG")
        >>> pictures = ImageFolderSet("fruit", (Path("strawberry.JPEG"),), torch.tensor([0]), ("strawberry",))
        >>> images, labels = next(iter(pictures.stream([torch.tensor([0])])))
        >>> images.shape, images.dtype, labels
        (torch.Size([1, 3, 224, 224]), torch.uint8, tensor([0]))
    """

    name: str
    files: tuple[Path, ...]
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        need("train", "PIL")
        from PIL import Image

        return Image.fromarray(rgb(self.files[index])), int(self.labels[index])

    def stream(self, batches: Iterable[Tensor], *, seeds: Tensor | None = None, workers: int = 0) -> DataLoader:
        """The images of ``batches``: uint8 ``[B, 3, 224, 224]``, a quarter of a float's bytes, and int64 ``[B]``.

        An epoch of training reads ``torch.randperm(len(dataset)).split(batch_size)``, with new seeds of
        ``eamlib.data.imagenet.draw_seeds(len(dataset))``.

        Args:
            batches: the indices of each, ``[B]``.
            seeds: int64, ``[N]``: for each image of the set the seed of its random crop (8 to 100 % of its area, sides
                3:4 to 4:3), which is mirrored half of the time. None takes the central square of the image with a short
                side of 256 pixels.
            workers: processes that decode, beside this one; with 0 it decodes itself, which is for trying out. The
                images do not depend on it.

        Raises:
            ValueError: if ``workers`` is out of its range; and while it is iterated, with its path, if an image is
                truncated or none.
        """
        drawn = torch.zeros(len(self), dtype=torch.long) if seeds is None else seeds
        return DataLoader(
            _Squares(self, _transform(train=seeds is not None)),
            batch_sampler=[list(zip(batch.tolist(), drawn[batch].tolist(), strict=True)) for batch in batches],
            num_workers=integer_within("workers", workers, 0),
            pin_memory=torch.cuda.is_available(),
            # Of the workers' seeds, which nothing depends on. Else it would draw them from torch's own generator, and
            # reading images would change what dropout draws.
            generator=torch.Generator(),
        )


def load(root: Path, train: bool, classes: str | Path | None = None) -> ImageFolderSet:
    """The images of the listed classes under ``root``; for :func:`eamlib.data.load`, which says what is raised."""
    wnids = _read_class_list(CLASS_LIST if classes is None else Path(classes))
    part = "train" if train else "val"
    folder = next((f for f in (root / "imagenet" / part, root / part) if f.is_dir()), None)
    if folder is None:
        raise FileNotFoundError(
            f"root = {str(root)!r} holds no imagenet/{part}. Expected is {root}/imagenet/{part}/n01558993/*.JPEG, a "
            "folder for each class, as torchvision.datasets.ImageNet unpacks the archives. They cannot be fetched "
            "from here: https://image-net.org gives them to who registers."
        )
    files, labels, classes = images_of(folder, wnids, (".jpeg", ".jpg"))
    return ImageFolderSet("imagenet100", tuple(files), labels, classes)


def _read_class_list(path: Path) -> list[str]:
    """The ids of a list, sorted: its order does not matter, and the labels are those of torchvision's ImageFolder."""
    if not path.is_file():
        raise FileNotFoundError(f"classes = {str(path)!r} is no file; allowed is a text file of 100 WordNet ids.")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    wnids = sorted({line.partition("#")[0].strip() for line in lines} - {""})
    if wrong := [wnid for wnid in wnids if not re.fullmatch(r"n[0-9]{8}", wnid)]:
        raise ValueError(f"{path} has {wrong[0]!r}, which is no WordNet id; allowed are n and eight digits.")
    if len(wnids) != 100:
        raise ValueError(f"{path} lists {len(wnids)} different classes; ImageNet100 has 100.")
    return wnids


@dataclass(frozen=True)
class _Squares(Dataset):
    """What a worker makes: (index, seed of all that is drawn) -> (image, label)."""

    images: ImageFolderSet
    transform: Callable[[Image], Tensor]

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        index, seed = key
        image, label = self.images[index]
        with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's own generator
            torch.default_generator.manual_seed(seed)
            return self.transform(image), label


def draw_seeds(count: int, generator: torch.Generator | None = None) -> Tensor:
    """A seed for each image of a set: int64, ``[count]``, from 0 on."""
    return torch.randint(2**63 - 1, (count,), generator=generator)


def _transform(train: bool) -> Callable[[Image], Tensor]:
    need("train", "torchvision")
    from torchvision.transforms import v2

    if train:
        crop = v2.RandomResizedCrop(224, scale=AUGMENTATION["scale"], ratio=AUGMENTATION["ratio"])
        return v2.Compose([crop, v2.RandomHorizontalFlip(), v2.PILToTensor()])
    return v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.PILToTensor()])
