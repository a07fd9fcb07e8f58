"""ImageNet100: a hundred classes of an ImageNet folder, streamed from disk.

Several lists of a hundred classes go by this name, and the EAM paper does not print its own. ``imagenet100.txt``,
beside this file, is that of Tian et al. 2019, Contrastive Multiview Coding, https://arxiv.org/abs/1906.05849.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from eamlib._checks import integer_within, positive_int
from eamlib._extras import need
from eamlib.data.decoded import rgb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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

    ``dataset[i]`` is (PIL image in RGB, of its own size; label). :meth:`loader` makes batches of them, and
    :meth:`stream` those that are asked for.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> Image.new("RGB", (300, 260), "red").save("strawberry.JPEG")
        >>> pictures = ImageFolderSet("fruit", (Path("strawberry.JPEG"),), torch.tensor([0]), ("strawberry",))
        >>> images, labels = next(iter(pictures.loader(batch_size=1, train=False)))
        >>> images.shape, labels
        (torch.Size([1, 3, 224, 224]), tensor([0]))
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

    def loader(
        self, batch_size: int, *, train: bool, workers: int = 0, generator: torch.Generator | None = None
    ) -> DataLoader:
        """Batches for one epoch each time it is iterated: float ``[B, 3, 224, 224]`` and int64 ``[B]``.

        The pixels are normalised with ImageNet's usual statistics. The last batch may be smaller.

        Args:
            batch_size: images a batch, B.
            train: shuffle, and of each image a random crop (8 to 100 % of its area, sides 3:4 to 4:3), which is
                mirrored half of the time; else, in order, the central square of the image with a short side of 256
                pixels.
            workers: processes that decode, beside this one; with 0 it decodes itself, which is for trying out.
            generator: of the order and the crops, on the CPU; None takes torch's own. The same seed gives the same
                batches, whatever the number of workers.

        Raises:
            ValueError: if ``batch_size`` or ``workers`` is out of its range; and while it is iterated, with its
                path, if an image is truncated or none.
        """
        epochs = _Epochs(len(self), positive_int("batch_size", batch_size), train, generator)
        return self._decoded(epochs, _transform(train, normalized=True), workers)

    def stream(self, batches: Iterable[Tensor], *, seeds: Tensor | None = None, workers: int = 0) -> DataLoader:
        """The images of ``batches``: uint8 ``[B, 3, 224, 224]``, a quarter of a float's bytes, and int64 ``[B]``.

        Args:
            batches: the indices of each, ``[B]``.
            seeds: int64, ``[N]``: for each image of the set the seed of its random crop and flip. None takes the
                central squares.
            workers: as in :meth:`loader`; the images do not depend on it.

        Raises:
            ValueError: as in :meth:`loader`.
        """
        train = seeds is not None
        keys = list(_keys(batches, seeds if train else torch.zeros(len(self), dtype=torch.long)))
        return self._decoded(keys, _transform(train, normalized=False), workers)

    def _decoded(self, keys: Iterable, transform: Callable[[Image], Tensor], workers: int) -> DataLoader:
        return DataLoader(
            _Squares(self, transform),
            batch_sampler=keys,
            num_workers=integer_within("workers", workers, 0),
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
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
    missing = [wnid for wnid in wnids if not (folder / wnid).is_dir()]
    if missing:
        raise FileNotFoundError(
            f"{folder} has no folder for {len(missing)} of the {len(wnids)} listed classes: {', '.join(missing)}."
        )
    files, labels = [], []
    for label, wnid in enumerate(wnids):
        found = sorted(path for path in (folder / wnid).iterdir() if path.suffix.lower() in (".jpeg", ".jpg"))
        if not found:
            raise ValueError(f"class {wnid} is empty: {folder / wnid} holds no .JPEG file.")
        files += found
        labels += [label] * len(found)
    return ImageFolderSet("imagenet100", tuple(files), torch.tensor(labels), wnids)


def _read_class_list(path: Path) -> tuple[str, ...]:
    """The ids of a list, sorted: its order does not matter, and the labels are those of torchvision's ImageFolder."""
    if not path.is_file():
        raise FileNotFoundError(f"classes = {str(path)!r} is no file; allowed is a text file of 100 WordNet ids.")
    wnids = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        wnid = line.partition("#")[0].strip()
        if wnid and not re.fullmatch(r"n[0-9]{8}", wnid):
            raise ValueError(f"{path}, line {number}: {wnid!r} is no WordNet id; allowed are n and eight digits.")
        if wnid in wnids:
            raise ValueError(f"{path}, line {number}: {wnid} stands there twice.")
        if wnid:
            wnids.append(wnid)
    if len(wnids) != 100:
        raise ValueError(f"{path} lists {len(wnids)} classes; ImageNet100 has 100.")
    return tuple(sorted(wnids))


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


@dataclass(frozen=True)
class _Epochs:
    """The keys of :class:`_Squares`, batch by batch, for each epoch anew."""

    count: int
    batch_size: int
    shuffle: bool
    generator: torch.Generator | None

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order, seeds = torch.arange(self.count), torch.zeros(self.count, dtype=torch.long)
        if self.shuffle:
            order, seeds = torch.randperm(self.count, generator=self.generator), draw_seeds(self.count, self.generator)
        # Not returned: a DataLoader may ask for an iterator that it throws away, and nothing must be drawn for that.
        yield from _keys(order.split(self.batch_size), seeds)


def draw_seeds(count: int, generator: torch.Generator | None) -> Tensor:
    """A seed for each image of a set: int64, ``[count]``, from 0 on."""
    return torch.randint(2**63 - 1, (count,), generator=generator)


def _keys(batches: Iterable[Tensor], seeds: Tensor) -> Iterator[list[tuple[int, int]]]:
    return (list(zip(batch.tolist(), seeds[batch].tolist(), strict=True)) for batch in batches)


def _transform(train: bool, normalized: bool) -> Callable[[Image], Tensor]:
    need("train", "torchvision")
    from torchvision.transforms import v2

    if train:
        crop = v2.RandomResizedCrop(224, scale=AUGMENTATION["scale"], ratio=AUGMENTATION["ratio"])
        steps = [crop, v2.RandomHorizontalFlip(), v2.PILToTensor()]
    else:
        steps = [v2.Resize(256), v2.CenterCrop(224), v2.PILToTensor()]
    if normalized:
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    return v2.Compose(steps)
