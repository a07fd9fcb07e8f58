"""Whole networks: MobileNetV1 static, dynamic and with EAM, and how much of the time the attention takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eamlib.analysis.watch import watch
from eamlib.bench.timing import MOST, Target, interleaved
from eamlib.layers import DynamicConv2d
from eamlib.models import create_model

NUM_CLASSES = 100
NETWORKS = {
    "static": ("static", {}),
    "dynamic": ("dynamic", {}),
    "dynamic, grouped": ("dynamic", {"strategy": "grouped"}),
    "EAM": ("eam-rcr", {}),
    "EAM, grouped": ("eam-rcr", {"strategy": "grouped"}),
}
ATTENTIONS = {"dynamic": "attention of dynamic", "EAM": "attention of EAM"}


@dataclass(frozen=True)
class Work:
    """What the networks are given to do: ``batch`` images of ``size`` × ``size`` pixels.

    ``training`` is forward, loss, backward and a step of SGD; else it is inference. ``autocast`` is to bfloat16.
    """

    size: int
    stem_stride: int
    batch: int
    training: bool
    autocast: bool = False


WORKS = {
    "32-inference": Work(32, 1, 32, training=False),
    "32-training": Work(32, 1, 32, training=True),
    "224-single": Work(224, 2, 1, training=False),
}
CUDA_WORKS = {"32-training-autocast": Work(32, 1, 32, training=True, autocast=True)}


def measure(device: torch.device, seconds: float = 15.0, rounds: int = MOST, width_mult: float = 1.0) -> Iterator[dict]:
    """Yield one result per work: its settings, and the times of every network.

    Where the work is inference, the attentions are timed beside the networks: all those of a network, on the very
    inputs that they get in it.

    Args:
        device: where to run; on CUDA there is one work more.
        seconds, rounds: to spend on a work, see :func:`eamlib.bench.timing.interleaved`.
        width_mult: of the networks.

    Raises:
        ValueError: if a number is out of its range.
    """
    for name, work in (WORKS | (CUDA_WORKS if device.type == "cuda" else {})).items():
        times = interleaved(_ways(work, device, width_mult), device, seconds, rounds)
        yield {"work": name, **asdict(work), "width_mult": width_mult, "times": times}


def _ways(work: Work, device: torch.device, width_mult: float) -> dict[str, Callable[[], object]]:
    images = torch.randn(work.batch, 3, work.size, work.size, device=device)
    labels = torch.randint(NUM_CLASSES, (work.batch,), device=device)
    ways, attentions = {}, {}
    for name, (conv, options) in NETWORKS.items():
        model = create_model(
            "mobilenet_v1",
            conv,
            num_classes=NUM_CLASSES,
            width_mult=width_mult,
            stem_stride=work.stem_stride,
            **options,
        ).to(device)
        if work.training:
            ways[name] = training_step(model.train(), images, labels, work.autocast)
        else:
            ways[name] = _inference(model.eval(), images)
            if name in ATTENTIONS:
                attentions[ATTENTIONS[name]] = _attentions(model, images)
    return ways | attentions


def training_step(model: nn.Module, images: Tensor, labels: Tensor, autocast: bool = False) -> Callable[[], None]:
    """What trains ``model`` for one step of SGD with momentum, at a rate too low for the loss to leave its range."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
            loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _inference(model: nn.Module, images: Tensor) -> Callable[[], Tensor]:
    return torch.no_grad()(lambda: model(images))


@torch.no_grad()
def _attentions(model: nn.Module, images: Tensor) -> Callable[[], None]:
    attentions = {name: layer.attention for name, layer in model.named_modules() if isinstance(layer, DynamicConv2d)}
    with watch(attentions, before=True) as seen:
        model(images)

    @torch.no_grad()
    def run() -> None:
        for name, (maps,) in seen.items():
            attentions[name](maps)

    return run


def targets(result: dict) -> list[Target]:
    """The two ratios of EAM's training step in bfloat16; of other works, none."""
    if not result["autocast"]:
        return []
    ms = {name: times["ms"] for name, times in result["times"].items()}
    return [
        Target("EAM ÷ static", ms["EAM"] / ms["static"], "≤", 1.5),
        Target("EAM, grouped ÷ EAM", ms["EAM, grouped"] / ms["EAM"], "≥", 5.0),
    ]


def lines(result: dict) -> Iterator[str]:
    """A result as a table: ms per batch, and for an attention its share of its network's time."""
    task = "training step" if result["training"] else "inference"
    yield (
        f"{result['work']}: MobileNetV1 ×{result['width_mult']:g}, {result['size']} × {result['size']} pixels, "
        f"batch {result['batch']}, {task}, {'bfloat16 autocast' if result['autocast'] else 'float32'}.\n"
    )
    yield f"{'':<24}{'median ms':>10} {'25–75 %':>17} {'÷ static':>9}"
    times = result["times"]
    for name in NETWORKS:
        yield f"{name:<24}{_cells(times[name])} {times[name]['ms'] / times['static']['ms']:>9.2f}"
    for network, name in ATTENTIONS.items():
        if name in times:
            share = 100 * times[name]["ms"] / times[network]["ms"]
            yield f"{name:<24}{_cells(times[name])} {share:>7.1f} % of the network's time"
    yield from map(str, targets(result))


def _cells(times: dict) -> str:
    return f"{times['ms']:>10.2f} {times['low']:>8.2f}–{times['high']:<8.2f}"
