"""Image files, decoded once and kept as one array."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eamlib._extras import need
from eamlib._files import aside, cache_folder


def decoded(name: str, files: Sequence[Path], size: int, *, fit: bool = False) -> Tensor:
    """The pixels of image files, uint8 ``[N, 3, size, size]``, in the order of ``files``.

    They are decoded at the first call and kept below ``eamlib._files.cache_folder()``, under ``name`` and a digest of
    the files' paths, sizes and times, so that a changed file is decoded anew. Where nothing can be kept, because the
    disk is full or the folder read-only, they are decoded at every call.

    Args:
        name: of the set; what is kept is named after it.
        files: paths.
        size: pixels a side.
        fit: take the middle square of each image and scale it; else an image of another size is refused.

    Raises:
        ValueError: with its path, if a file is truncated, no image, or of another size.
        FileNotFoundError: if a file is missing.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> Image.new("L", (8, 8), 200).save("grey.png")
        >>> decoded("example", [Path("grey.png")], size=8)[0, :, 0, 0].tolist()
        [200, 200, 200]
    """
    path = cache_folder() / "decoded" / f"{name}-{size}-{_digest(files)}.npy"
    shape = (len(files), 3, size, size)
    with suppress(OSError, ValueError, EOFError):  # missing, or another program's
        kept = np.load(path)
        if kept.shape == shape and kept.dtype == np.uint8:
            return torch.from_numpy(kept)
    pixels = torch.empty(shape, dtype=torch.uint8)
    for i, file in enumerate(files):
        image = torch.tensor(rgb(file)).permute(2, 0, 1)
        height, width = image.shape[1:]
        if fit:
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            image = scaled(image[:, top : top + side, left : left + side], size)
        elif (height, width) != (size, size):
            raise ValueError(f"{file} is an image of {width} × {height} pixels; allowed in {name} is {size} × {size}.")
        pixels[i] = image
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside(path) as unfinished, unfinished.open("wb") as file:
            np.save(file, pixels.numpy())
    return pixels


def rgb(source: str | Path | BinaryIO) -> np.ndarray:
    """The pixels of an image file, or of an open one, in RGB: uint8 ``[H, W, 3]``.

    Grey images repeat their one channel, and those of 16 bits are scaled to 8.

    Raises:
        Unreadable: with its path, if it is missing, truncated or no image.
    """
    need("train", "PIL")
    from PIL import Image

    try:
        with Image.open(source) as image:
            if image.mode.startswith("I"):  # PIL's own conversion makes white of all that is above 255
                grey = (np.asarray(image) / 257).round().clip(0, 255).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        why = f"truncated or no image ({error})"
        raise Unreadable(f"{source} cannot be read: {why}. Replace it, or delete it and load again.") from error


def scaled(image: Tensor, size: int) -> Tensor:
    """A square image, uint8 ``[C, S, S]``, as ``[C, size, size]``."""
    pixels = F.interpolate(image[None].float(), (size, size), mode="bilinear", align_corners=False, antialias=True)
    return pixels[0].round().clamp(0, 255).to(torch.uint8)


class Unreadable(ValueError):
    """An image that cannot be read, in one line.

    A ``DataLoader`` makes the error of a worker anew of the whole traceback, of which the last line says what it is.
    """

    def __init__(self, message: str):
        *_, last = message.strip().splitlines()
        super().__init__(last.removeprefix(f"{__name__}.{type(self).__name__}: "))


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        found = file.stat()
        digest.update(f"{file.absolute()}\n{found.st_size}\n{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
