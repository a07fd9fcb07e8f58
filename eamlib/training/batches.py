"""Batches of images on the device that trains on them, of sets in memory and of sets on disk alike.

Both kinds have one method, :meth:`read`, from the indices of batches to their pixels. These are uint8 until they are on
the device. Where several processes train together, each reads its own part of every batch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from eamlib._checks import integer_within
from eamlib.data.imagenet import ImageFolderSet, draw_seeds
from eamlib.data.sets import ImageSet


def feed(
    dataset: ImageSet | ImageFolderSet,
    device: torch.device,
    *,
    augment: Callable[..., Tensor] | None = None,
    workers: int | None = None,
    process: int = 0,
    processes: int = 1,
) -> InMemory | OnDisk:
    """What reads ``dataset``.

    Args:
        augment: of sets in memory, as :class:`eamlib.training.recipe.Recipe` has it.
        workers: of sets on disk: processes that decode; None takes one a core, 16 at most.
        process, processes: this process's number, and of how many.

    Raises:
        ValueError: if ``augment`` is given for a set on disk, or ``workers`` for one in memory or out of its range.
    """
    on_disk = isinstance(dataset, ImageFolderSet)
    check_workers(workers, dataset.name, on_disk)
    if not on_disk:
        return InMemory(dataset, device, augment, process, processes)
    if augment is not None:
        raise ValueError(
            f"augment = {augment!r} is for sets in memory; allowed for {dataset.name} is None: its images are cropped "
            "and mirrored at random while they are read."
        )
    return OnDisk(dataset, device, _workers() if workers is None else workers, process, processes)


def check_set(argument: str, dataset: object) -> None:
    """Raise a ``ValueError`` if ``dataset`` is no image set of this library, which says how to make one of it."""
    if isinstance(dataset, ImageSet | ImageFolderSet):
        return
    advice = "of tensors make one: eamlib.data.ImageSet(name, images, labels, classes), images in uint8"
    if hasattr(dataset, "samples") and hasattr(dataset, "root"):  # torchvision's ImageFolder
        advice = f"eamlib.data.folder({str(dataset.root)!r}) reads the same folder"
    raise ValueError(f"{argument} is a {type(dataset).__name__}; allowed are the sets of eamlib.data: {advice}.")


def check_workers(workers: int | None, name: str, on_disk: bool) -> None:
    """Raise a ``ValueError`` unless ``workers`` is None, or the number of them and the set called ``name`` on disk."""
    if workers is not None and not on_disk:
        raise ValueError(f"workers = {workers!r} is for sets on disk; allowed for {name} is None.")
    if workers is not None:
        integer_within("workers", workers, 0)


class InMemory:
    """Reads a set that lives on the device as uint8, and augments there."""

    at_once = 512  # images of a batch that is only tested

    def __init__(self, dataset: ImageSet, device: torch.device, augment: Callable | None, process: int, processes: int):
        self.images, self.labels = dataset.images.to(device), dataset.labels.to(device)
        self.shape = self.images.shape[1:]
        self.device, self.augment, self.process, self.processes = device, augment, process, processes

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, batches: Sequence[Tensor], draws: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each batch this process's part.

        Args:
            batches: the indices of each, on the CPU.
            draws: of the augmentation, on the CPU; None reads the images as they are tested.

        Yields:
            Images, uint8 ``[B, 3, H, W]``, and labels, int64 ``[B]``, on the device; as :func:`parts` makes them.
        """
        indices = torch.cat(tuple(batches)).to(self.device)  # at once: a copy for each batch would take its time
        for batch in indices.split([len(batch) for batch in batches]):
            images, labels = self.images[batch], self.labels[batch]
            if self.augment is not None and draws is not None:
                # The whole batch in every process, so that all of them draw the same.
                images = self.augment(images, generator=draws)
            yield parts(images, labels, self.processes)[self.process]


class OnDisk:
    """Reads a set that stays on disk; it is decoded, cropped and mirrored by processes of their own."""

    at_once = 128  # images
    shape = (3, 224, 224)

    def __init__(self, dataset: ImageFolderSet, device: torch.device, workers: int, process: int, processes: int):
        self.dataset, self.device, self.workers = dataset, device, workers
        self.process, self.processes = process, processes

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, batches: Sequence[Tensor], draws: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """As :meth:`InMemory.read`; the images do not depend on the number of workers.

        Raises:
            ValueError: with its path, if an image is truncated or none.
        """
        seeds = None if draws is None else draw_seeds(len(self.dataset), draws)
        mine = [parts(batch, self.dataset.labels[batch], self.processes)[self.process] for batch in batches]
        decoded = self.dataset.stream([indices for indices, _ in mine], seeds=seeds, workers=self.workers)
        try:
            for (images, _), (_, labels) in zip(decoded, mine, strict=True):
                yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
        except (EOFError, ConnectionError, FileNotFoundError) as error:  # the pipe of a worker that is gone
            time.sleep(1)  # for PyTorch's own report, which a signal brings here, or later where nobody expects it
            raise RuntimeError("a DataLoader worker (pid unknown) has left its pipe.") from error


@contextmanager
def lost_workers_named(kept: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Say in a sentence what PyTorch reports of lost workers by tracebacks, and behind it what is ``kept``.

    Around what reads and what is done with it: PyTorch reports a worker's death by a signal, wherever the program is.

    Raises:
        ChildProcessError: if one was killed, or found no room in shared memory.
    """
    try:
        yield
    except RuntimeError as error:
        said = f"{error} {error.__cause__}"
        of_a_worker = "DataLoader worker" in said
        if "</torch_" in said or (of_a_worker and "shared memory" in said):  # the name of its files there
            what = (
                "the workers, processes that decode images, found no room in shared memory (/dev/shm), through which "
                "they hand them over. Do without them, workers = 0, or enlarge it, in Docker by --shm-size."
            )
        elif of_a_worker and "(pid" in said:
            what = (
                "a worker, a process that decodes images, was killed, most often for want of memory. Take fewer "
                "workers, or a smaller batch, which is another run."
            )
        else:  # its own error, or nobody's
            raise
        raise ChildProcessError(f"{what} {kept()}".rstrip()) from error


def parts(images: Tensor, labels: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
    """A batch in so many parts, each of at least one image.

    Those who run them wait for one another. Where nothing is left of a small batch, its first image stands in, with the
    label -100, which ``cross_entropy`` ignores.
    """
    pairs = zip(images.tensor_split(count), labels.tensor_split(count), strict=True)
    return [(x, y) if len(y) else (images[:1], torch.full_like(labels[:1], -100)) for x, y in pairs]


def cores() -> int:
    """How many of this machine's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _workers() -> int:
    """The cores of each of this machine's processes, 16 at most: more wait for the disk."""
    return min(16, max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))  # which launchers set
