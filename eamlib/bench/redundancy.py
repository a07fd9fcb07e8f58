"""What the measures of redundancy take: beside a forward pass, and of one wide layer over many images."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from eamlib._checks import positive_int
from eamlib.analysis.watch import evaluating
from eamlib.bench.process import alone, peak
from eamlib.bench.timing import MOST, Target, finish, interleaved
from eamlib.models import create_model
from eamlib.redundancy import Reading, premise
from eamlib.redundancy import measure as measure_redundancy

SIZE, BATCH = 224, 16
CHANNELS, MAP, MAPS_BATCH = 1024, 7, 100
MOST_MEMORY = 2 * 2**30
MEASURES = {
    "measure": lambda model, batches: measure_redundancy(model, batches, nn.Identity),
    "premise": lambda model, batches: premise(model, batches, [Reading()], nn.Identity),
}


def measure(
    device: torch.device,
    seconds: float = 30.0,
    rounds: int = MOST,
    width_mult: float = 1.0,
    images: int = 10_000,
    channels: int = CHANNELS,
) -> Iterator[dict]:
    """Yield two results: a network and a layer.

    The network is MobileNetV1 on a batch of 16 images of 224 × 224 pixels: its forward pass alone, and the same while
    all its convolutions' outputs are measured, or all their means.

    The layer is nothing but its maps of 7 × 7, noise that is made as it is wanted, 100 images at a time: what
    :func:`eamlib.redundancy.measure` takes, and :func:`eamlib.redundancy.premise` of the default reading. Each has a
    process of its own. ``peak`` is the most memory that it had, with PyTorch and all; on CUDA, of what is allocated
    there. ``seconds`` is what it took, less the making of the maps.

    Args:
        device: where to run.
        seconds, rounds: to spend on the network, see :func:`eamlib.bench.timing.interleaved`.
        width_mult: of the network.
        images, channels: of the layer.

    Raises:
        ValueError: if a number is out of its range.
    """
    positive_int("images", images)
    positive_int("channels", channels)
    model = create_model("mobilenet_v1", num_classes=1000, width_mult=width_mult).to(device)
    batch = torch.randn(BATCH, 3, SIZE, SIZE, device=device)
    ways = {
        "forward pass": lambda: _forward(model, batch),
        "measured": lambda: measure_redundancy(model, [batch]),
        "measured, means": lambda: measure_redundancy(model, [batch], view="means"),
    }
    times = interleaved(ways, device, seconds, rounds)
    yield {"work": "network", "size": SIZE, "batch": BATCH, "width_mult": width_mult, "times": times}
    measures = {name: alone(_of_layer, name, device, images, channels) for name in MEASURES}
    yield {
        "work": "layer",
        "channels": channels,
        "map": MAP,
        "images": images,
        "device": device.type,
        "measures": measures,
    }


def _forward(model: nn.Module, images: Tensor) -> None:
    with evaluating(model):
        model(images)


def _of_layer(name: str, device: torch.device, images: int, channels: int) -> dict:
    model = nn.Sequential(nn.Identity()).to(device)
    making = []
    start = time.perf_counter()
    MEASURES[name](model, _maps(device, images, channels, making))
    finish(device)
    return {"peak": peak(device), "seconds": time.perf_counter() - start - sum(making)}


def _maps(device: torch.device, images: int, channels: int, making: list[float]) -> Iterator[Tensor]:
    """Batches of noise, and in ``making`` the seconds that each took."""
    for first in range(0, images, MAPS_BATCH):
        finish(device)
        start = time.perf_counter()
        maps = torch.randn(min(MAPS_BATCH, images - first), channels, MAP, MAP, device=device)
        finish(device)
        making.append(time.perf_counter() - start)
        yield maps


def targets(result: dict) -> list[Target]:
    """The memory that measuring a layer may take, in GiB; of the network, none."""
    if result["work"] == "network":
        return []
    gib = result["measures"]["measure"]["peak"] / 2**30
    return [Target("measure, peak in GiB", gib, "≤", MOST_MEMORY / 2**30)]


def lines(result: dict) -> Iterator[str]:
    """A result as a table: images per second, and the peak."""
    yield from (_lines_of_network if result["work"] == "network" else _lines_of_layer)(result)
    yield from map(str, targets(result))


def _lines_of_network(result: dict) -> Iterator[str]:
    yield (
        f"network: MobileNetV1 ×{result['width_mult']:g}, {result['size']} × {result['size']} pixels, batch "
        f"{result['batch']}, float32; the outputs of all convolutions.\n"
    )
    yield f"{'':<24}{'images per second':>18} {'25–75 %':>17} {'÷ forward pass':>15}"
    alone = result["times"]["forward pass"]["ms"]
    for name, times in result["times"].items():
        rate, high, low = (1000 * result["batch"] / times[key] for key in ("ms", "low", "high"))
        yield f"{name:<24}{rate:>18.1f} {low:>8.1f}–{high:<8.1f} {times['ms'] / alone:>15.2f}"


def _lines_of_layer(result: dict) -> Iterator[str]:
    where = "allocated on the GPU" if result["device"] == "cuda" else "of the whole process"
    yield (
        f"layer: {result['channels']} channels, maps of {result['map']} × {result['map']} pixels, "
        f"{result['images']:,} images, float32."
    )
    yield f"Peak: {where}. The making of the maps does not count.\n"
    yield f"{'':<24}{'images per second':>18} {'seconds':>9} {'peak, MiB':>10}"
    for name, taken in result["measures"].items():
        rate = result["images"] / taken["seconds"]
        yield f"{name:<24}{rate:>18,.0f} {taken['seconds']:>9.1f} {taken['peak'] / 2**20:>10,.0f}"
