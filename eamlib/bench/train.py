"""The library's training loop against the plain one: images per second, and how long each waits for its batches.

Both train MobileNetV1 ×0.25 on Fashion-MNIST, in batches of 128, with the same crops and flips, the same
optimizer and the same schedule.

"plain" is the loop of most tutorials: a data set of PIL images, torchvision's transforms on one image at a time, a
``DataLoader`` that shuffles and whose workers stay, pinned memory on CUDA, ``loss.item()`` at every step, float32. It
is measured without workers, with 2, and where there are more cores with one per core. The transforms are torchvision's
v1 on PIL images, which take less time than those of v2.

"ours" is :func:`eamlib.training.fit` as it is, with each option that a user may switch on for speed.

An epoch of so many steps is timed, from asking for the first batch to the end of the last step; ``fit``'s own time of
an epoch also has the test, here of one image. What the plain loop waits for is the time between asking for a batch and
having it: ``loss.item()`` has emptied the GPU's queue by then, so that nothing is computed meanwhile. ``fit`` makes its
batches where it trains, in one queue with the steps. So directly after each epoch the same batches are made once more,
alone and to the end, and that time counts as its waiting. On CUDA this is rather too much: in an epoch the CPU may
prepare a batch while the GPU still computes the step before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from statistics import median
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from eamlib import data
from eamlib._checks import one_of
from eamlib._extras import need
from eamlib.bench.timing import MOST, Target, finish, in_rounds, summary
from eamlib.data.augmentation import augment
from eamlib.data.sets import ImageSet
from eamlib.models import create_model
from eamlib.training.batches import InMemory, cores, feed
from eamlib.training.loop import fit, normalize, pixel_statistics

WORKS = {"static": "static", "eam": "eam-rcr"}
DATA = "fashion_mnist"
WIDTH_MULT = 0.25
BATCH_SIZE = 128
PAD = 2  # pixels of reflection around an image, of which a crop is taken
LEARNING_RATE, WARM_UP, MOMENTUM, WEIGHT_DECAY = 0.1, 0.1, 0.9, 5e-4
STEPS = {"cpu": 30, "cuda": 200}  # an epoch's
BOUNDS = {"cpu": 2.0, "cuda": 5.0}
OPTIONS = {
    "ours": {},
    "ours (channels_last)": {"channels_last": True},
    "ours (compile)": {"compile": True},
    "ours (channels_last, compile)": {"channels_last": True, "compile": True},
}


class Epoch(NamedTuple):
    """``seconds`` of an epoch, and those of them that were spent ``waiting`` for batches."""

    seconds: float
    waiting: float


def measure(
    device: torch.device, work: Sequence[str] | None = None, seconds: float = 90.0, rounds: int = MOST
) -> Iterator[dict]:
    """Yield one result per work: its settings, and the times of every loop.

    The first epoch of each loop is no part of them, but kept beside them: it compiles, and starts the workers.

    Args:
        device: where to train; on CUDA there is one loop more.
        work: names of :data:`WORKS`, which is what the convolutions are; None takes all.
        seconds, rounds: to spend on a work, see :func:`eamlib.bench.timing.in_rounds`.

    Raises:
        ValueError: if a name is unknown or a number out of its range.
        FileNotFoundError: if the images are missing and cannot be fetched.
        ModuleNotFoundError: if a package is missing that a loop needs.
    """
    need("bench", "PIL", "torchvision", "tqdm")
    names = [one_of("work", name, WORKS) for name in (work or WORKS)]
    steps = STEPS[device.type]
    images = data.load(DATA).subset(slice(steps * BATCH_SIZE))
    for name in names:
        loops = _loops(WORKS[name], images, device)
        epochs = {loop: [] for loop in loops}
        times = in_rounds({loop: partial(_run, loops[loop], epochs[loop]) for loop in loops}, seconds, rounds)
        yield {
            "work": name,
            "conv": WORKS[name],
            "width_mult": WIDTH_MULT,
            "data": DATA,
            "batch": BATCH_SIZE,
            "steps": steps,
            "device": device.type,
            "loops": {
                loop: summary(times[loop])
                | {"waiting": median(e.waiting / e.seconds for e in counted), "first": first.seconds}
                for loop, (first, *counted) in epochs.items()
            },
        }


def _run(loop: Callable[[], Epoch], epochs: list[Epoch]) -> float:
    epochs.append(loop())
    return epochs[-1].seconds


def _loops(conv: str, images: ImageSet, device: torch.device) -> dict[str, Callable[[], Epoch]]:
    workers = sorted({0, 2, max(2, cores())})
    options = OPTIONS | (_in_16_bits() if device.type == "cuda" else {})
    if not _can_compile(device):
        options = {name: chosen for name, chosen in options.items() if "compile" not in chosen}
    plain = {f"plain ({count} workers)": _plain(_network(conv, images), images, device, count) for count in workers}
    ours = {name: _ours(_network(conv, images), images, device, chosen) for name, chosen in options.items()}
    return plain | ours


def _in_16_bits() -> dict[str, dict]:
    """One loop more, in bf16, or in fp16 where the GPU would only emulate that."""
    precision = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    how = {"channels_last": True, "compile": True, "precision": precision}
    return {f"ours (channels_last, compile, {precision})": how}


def _can_compile(device: torch.device) -> bool:
    """Whether ``torch.compile`` finds what it needs, on a CPU a C++ compiler."""
    try:
        torch.compile(lambda input: input + 1)(torch.zeros(1, device=device))
    except RuntimeError:
        return False
    return True


def _network(conv: str, images: ImageSet) -> nn.Module:
    return create_model("mobilenet_v1", conv, num_classes=len(images.classes), width_mult=WIDTH_MULT, stem_stride=1)


class Pictures(Dataset):
    """An image set as torchvision has its own: ``dataset[i]`` is (PIL image through ``transform``, label)."""

    def __init__(self, images: ImageSet, transform: Callable):
        from PIL import Image

        self.to_picture = Image.fromarray
        self.pixels = images.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = images.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.to_picture(self.pixels[index])), self.labels[index]


def _plain(model: nn.Module, images: ImageSet, device: torch.device, workers: int) -> Callable[[], Epoch]:
    from torchvision import transforms

    mean, std = (statistic.flatten().tolist() for statistic in pixel_statistics(images))
    transform = transforms.Compose(
        [
            transforms.RandomCrop(images.images.shape[-1], padding=PAD, padding_mode="reflect"),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )
    loader = DataLoader(
        Pictures(images, transform),
        BATCH_SIZE,
        shuffle=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
    )
    model.to(device).train()

    def epoch() -> Epoch:
        optimizer = torch.optim.SGD(
            model.parameters(), LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, LEARNING_RATE, total_steps=len(loader), pct_start=WARM_UP, cycle_momentum=False
        )
        running_loss, waits = 0.0, []
        start = time.perf_counter()
        for pictures, labels in _awaited(loader, waits):
            pictures, labels = pictures.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(pictures), labels)
            loss.backward()
            optimizer.step()
            schedule.step()
            running_loss += loss.item()
        return Epoch(time.perf_counter() - start, sum(waits))

    return epoch


def _awaited(batches: Iterable, waits: list[float]) -> Iterator:
    """``batches``, and in ``waits`` the seconds that each was waited for."""
    asked = time.perf_counter()
    for batch in batches:
        waits.append(time.perf_counter() - asked)
        yield batch
        asked = time.perf_counter()


def _ours(model: nn.Module, images: ImageSet, device: torch.device, options: dict) -> Callable[[], Epoch]:
    layout = torch.channels_last if options.get("channels_last") else torch.preserve_format
    statistics = [statistic.to(device) for statistic in pixel_statistics(images)]
    shifts = partial(augment, pad=PAD)
    of_device = feed(images, device, augment=shifts)

    def epoch() -> Epoch:
        (line,) = fit(
            model,
            images,
            images.subset(slice(1)),
            device=device,
            progress=False,
            epochs=1,
            batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            warm_up=WARM_UP,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
            augment=shifts,
            **options,
        )
        return Epoch(line["seconds"], _seconds_of_batches(of_device, *statistics, layout))

    return epoch


def _seconds_of_batches(images: InMemory, mean: Tensor, std: Tensor, layout: torch.memory_format) -> float:
    """What ``fit`` takes to make the batches of an epoch from ``images``, which are on the device."""
    draws = torch.Generator().manual_seed(0)
    finish(images.device)
    start = time.perf_counter()
    for pixels, _ in images.read(torch.randperm(len(images), generator=draws).split(BATCH_SIZE), draws):
        normalize(pixels, mean, std).to(memory_format=layout)
    finish(images.device)
    return time.perf_counter() - start


def targets(result: dict) -> list[Target]:
    """The images per second of our best loop against those of the best plain one; of the static network alone, for
    which the bound was set."""
    if result["conv"] != "static":
        return []
    ms = {loop: times["ms"] for loop, times in result["loops"].items()}
    plain, ours = (min((loop for loop in ms if loop.startswith(kind)), key=ms.get) for kind in ("plain", "ours"))
    return [Target(f"{ours} ÷ {plain}", ms[plain] / ms[ours], "≥", BOUNDS[result["device"]])]


def lines(result: dict) -> Iterator[str]:
    """A result as a table, and the target."""
    loops, images = result["loops"], result["steps"] * result["batch"]
    yield (
        f"{result['work']}: MobileNetV1 ×{result['width_mult']:g}, conv {result['conv']}, {result['data']}, 32 × 32 "
        f"pixels, batch {result['batch']}, {result['steps']} steps an epoch, float32 unless another is said."
    )
    yield "Images per second; waiting: part of the time until a batch is ready. The first epoch compiles, and counts no"
    yield "further.\n"
    yield f"{'':<38}{'median':>9} {'25–75 %':>17} {'÷ best plain':>13} {'waiting':>9} {'first epoch':>13}"
    best = min(times["ms"] for loop, times in loops.items() if loop.startswith("plain"))
    for loop, times in loops.items():
        rate, high, low = (1000 * images / times[key] for key in ("ms", "low", "high"))
        yield (
            f"{loop:<38}{rate:>9,.0f} {low:>8,.0f}–{high:<8,.0f} {best / times['ms']:>13.2f} "
            f"{100 * times['waiting']:>7.1f} % {times['first']:>11.1f} s"
        )
    if not any("compile" in loop for loop in loops):
        yield "torch.compile lacks something here, on a CPU a C++ compiler, so it has no rows."
    if result["conv"] == "static":
        yield "Target, stated for 2 CPU cores or one GPU; ratio of the medians, the best of each:"
    yield from map(str, targets(result))
