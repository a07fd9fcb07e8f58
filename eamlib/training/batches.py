"""Batches of images on the device that trains on them, from sets in memory and sets on disk.

Both kinds have one method, ``read``, from the indices of batches to their pixels, which stay uint8 until they are on
the device. If several processes train together, each reads its own part of every batch.
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
        augment: for sets in memory, as in :class:`eamlib.training.recipe.Recipe`.
        workers: for sets on disk, the number of decoding processes; None takes one per core, 16 at most.
        process, processes: this process's number, from 0, and how many there are.

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
    """Raise a ``ValueError`` that says how to make an image set of ``dataset``, unless it is one of this library."""
    if isinstance(dataset, ImageSet | ImageFolderSet):
        return
    advice = "of tensors make one: eamlib.data.ImageSet(name, images, labels, classes), images in uint8"
    if hasattr(dataset, "samples") and hasattr(dataset, "root"):  # torchvision's ImageFolder
        advice = f"eamlib.data.folder({str(dataset.root)!r}) reads the same folder"
    raise ValueError(f"{argument} is a {type(dataset).__name__}; allowed are the sets of eamlib.data: {advice}.")


def check_workers(workers: int | None, name: str, on_disk: bool) -> None:
    """Raise a ``ValueError`` unless ``workers`` is None, or a number of workers and the set ``name`` is on disk."""
    if workers is not None and not on_disk:
        raise ValueError(f"workers = {workers!r} is for sets on disk; allowed for {name} is None.")
    if workers is not None:
        integer_within("workers", workers, 0)


class InMemory:
    """Reads a set that lives on the device as uint8, and augments it there."""

    at_once = 512  # images of a batch that is only tested

    def __init__(self, dataset: ImageSet, device: torch.device, augment: Callable | None, process: int, processes: int):
        self.images, self.labels = dataset.images.to(device), dataset.labels.to(device)
        self.shape = self.images.shape[1:]
        self.device, self.augment, self.process, self.processes = device, augment, process, processes

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, batches: Sequence[Tensor], draws: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's part of each batch.

        Args:
            batches: the indices of each, on the CPU.
            draws: generator for the augmentation, on the CPU; None reads the images without it, as for a test.

        Yields:
            Images, uint8 ``[B, 3, H, W]``, and labels, int64 ``[B]``, on the device, split as in :func:`parts`.
        """
        indices = torch.cat(tuple(batches)).to(self.device)  # at once: a copy for each batch would take its time
        for batch in indices.split([len(batch) for batch in batches]):
            images, labels = self.images[batch], self.labels[batch]
            if self.augment is not None and draws is not None:
                # The whole batch in every process, so that all of them draw the same.
                images = self.augment(images, generator=draws)
            yield parts(images, labels, self.processes)[self.process]


class OnDisk:
    """Reads a set that stays on disk; workers decode, crop and mirror it."""

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
            ValueError: with its path, if an image is damaged.
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
    """Turn PyTorch's tracebacks about lost workers into one sentence, followed by what is ``kept``.

    Enter it around reading and all that is done with the images: PyTorch reports a worker's death by a signal, wherever
    the program is at that moment.

    Raises:
        ChildProcessError: if a worker was killed, or found no room in shared memory.
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
    """A batch in ``count`` parts of at least one image each, since processes wait for one another.

    If a batch is too small, its first image stands in, with the label -100, which ``cross_entropy`` ignores.
    """
    pairs = zip(images.tensor_split(count), labels.tensor_split(count), strict=True)
    return [(x, y) if len(y) else (images[:1], torch.full_like(labels[:1], -100)) for x, y in pairs]


def cores() -> int:
    """How many cores of this machine the process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _workers() -> int:
    """One worker per core, shared among this machine's processes; more than 16 would wait for the disk."""
    return min(16, max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))  # which launchers set
