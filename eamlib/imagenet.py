"""ImageNet100: a hundred classes of an ImageNet folder, streamed from disk.

Several lists of a hundred classes go by this name, and the EAM paper does not print its own. ``imagenet100.txt``,
beside this file, is that of Tian et al. 2019, Contrastive Multiview Coding, https://arxiv.org/abs/1906.05849.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from eamlib._checks import integer_within, positive_int

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image

CLASS_LIST = Path(__file__).with_name("imagenet100.txt")
# Of the pixels of ImageNet's training images, scaled to [0, 1]: what torchvision's weights expect.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class ImageFolderSet(Dataset):
    """Labelled images that stay on disk: the companion of :class:`eamlib.data.ImageSet` for what memory cannot hold.

    Attributes:
        name: of the set.
        files: the images' paths, N of them.
        labels: int64, ``[N]``, from 0 to len(classes) - 1.
        classes: the names behind the labels; of ImageNet WordNet ids, in their order.

    ``dataset[i]`` is (PIL image in RGB, of its own size; label). :meth:`loader` makes batches of them.
    """

    name: str
    files: tuple[Path, ...]
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        from PIL import Image

        path = self.files[index]
        try:
            with Image.open(path) as image:
                return image.convert("RGB"), int(self.labels[index])
        except (OSError, SyntaxError) as error:
            raise ValueError(
                f"{path} cannot be read: truncated or no image ({error}). Replace it, or delete it and load again."
            ) from error

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
            generator: of the order, on the CPU; it also seeds the workers, who draw the crops. Without workers
                these are drawn from torch's own generator: seed it as well. The same seeds with as many workers
                give the same batches.

        Raises:
            ValueError: if ``batch_size`` or ``workers`` is out of its range; and while it is iterated, with its
                path, if an image is truncated or none.
        """
        return DataLoader(
            self,
            batch_size=positive_int("batch_size", batch_size),
            shuffle=train,
            num_workers=integer_within("workers", workers, 0),
            collate_fn=partial(_batch, _transform(train)),
            generator=generator,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
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


def _transform(train: bool) -> Callable[[Image], Tensor]:
    from torchvision.transforms import v2

    square = [v2.RandomResizedCrop(224), v2.RandomHorizontalFlip()] if train else [v2.Resize(256), v2.CenterCrop(224)]
    return v2.Compose([*square, v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])


def _batch(transform: Callable[[Image], Tensor], pairs: list[tuple[Image, int]]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*pairs, strict=True)
    return torch.stack([transform(image) for image in images]), torch.tensor(labels)
