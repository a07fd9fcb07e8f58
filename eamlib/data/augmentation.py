"""Random crops, flips and cutout, drawn per image and applied to the whole batch on its device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from eamlib._checks import integer_within


def augment(
    images: Tensor,
    *,
    pad: int = 4,
    flip: bool = True,
    cutout: int = 0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Shift, mirror and cover each image of a batch at random, for training.

    Args:
        images: uint8 or floating point, ``[B, C, H, W]``, on any device.
        pad: how many pixels the image may move in each direction, 0 to min(H, W) - 1; what comes in from outside is
            its reflection.
        flip: mirror left and right with probability ½. Leave it off for digits and letters.
        cutout: side in pixels of a square that is covered with each channel's mean over the batch, 0 (none) to
            min(H, W). Its centre is any pixel, so part of it may lie outside (DeVries and Taylor 2017,
            https://arxiv.org/abs/1708.04552).
        generator: of all draws; None takes torch's own on the CPU. A generator on the CPU gives the same draws whatever
            the device of the images. Crops and flips do not depend on ``cutout``.

    Returns:
        New images of the same shape, dtype and device.

    Raises:
        ValueError: if the images have another shape or dtype, or a number is out of its range.

    Example:
        >>> images = torch.arange(2 * 3 * 8 * 8, dtype=torch.uint8).view(2, 3, 8, 8)
        >>> first, second = (augment(images, pad=2, generator=torch.Generator().manual_seed(0)) for _ in range(2))
        >>> first.shape, torch.equal(first, second)
        (torch.Size([2, 3, 8, 8]), True)
        >>> torch.equal(augment(images, pad=0, flip=False), images)
        True
    """
    if images.dim() != 4:
        raise ValueError(f"images has shape {list(images.shape)}; allowed is [B, C, H, W].")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise ValueError(f"images are of {images.dtype}; allowed are uint8 and floating point.")
    batch, _, height, width = images.shape
    integer_within("pad", pad, 0, min(height, width) - 1)
    integer_within("cutout", cutout, 0, min(height, width))
    # Everything is drawn, needed or not, and moved at once.
    counts = (2 * pad + 1, 2 * pad + 1, 2, height, width)
    down, right, mirrored, row, column = _draw(counts, batch, generator).to(images.device, non_blocking=True)

    # Reflection and crop need no padded copy: they say which pixel of the image each new pixel is.
    y, x = (torch.arange(size, device=images.device) for size in (height, width))
    rows, columns = _reflect(y + down - pad, height), _reflect(x + right - pad, width)
    if flip:
        columns = torch.where(mirrored.bool(), columns.flip(1), columns)
    source = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)[:, None].expand(-1, images.shape[1], -1)
    result = images.flatten(2).gather(2, source).view(images.shape)
    if cutout:
        inside_y, inside_x = _within(y, row - cutout // 2, cutout), _within(x, column - cutout // 2, cutout)
        hole = inside_y[:, None, :, None] & inside_x[:, None, None, :]
        result = torch.where(hole, _channel_means(images), result)
    return result


def _draw(counts: Sequence[int], batch: int, generator: torch.Generator | None) -> Tensor:
    """For each count integers from 0 to count - 1, one per image: int64, ``[len(counts), batch, 1]``."""
    device = "cpu" if generator is None else generator.device
    return torch.stack([torch.randint(count, (batch, 1), generator=generator, device=device) for count in counts])


def _reflect(index: Tensor, size: int) -> Tensor:
    """Send what lies outside 0 … size - 1 back inside, the edge pixel not repeated: … 2 1 0 1 2 …"""
    return size - 1 - (size - 1 - index.abs()).abs()


def _within(index: Tensor, start: Tensor, length: int) -> Tensor:
    return (index >= start) & (index < start + length)


def _channel_means(images: Tensor) -> Tensor:
    if images.is_floating_point():
        return images.mean((0, 2, 3), keepdim=True)
    return images.mean((0, 2, 3), keepdim=True, dtype=torch.float32).round().to(images.dtype)
