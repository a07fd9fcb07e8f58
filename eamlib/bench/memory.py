"""The memory that training takes: its peak, and what autograd keeps for the backward pass."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from eamlib._checks import positive_int
from eamlib.bench.models import NUM_CLASSES, training_step
from eamlib.bench.process import alone, peak
from eamlib.bench.timing import Target
from eamlib.models import create_model

WAYS = {
    "static": ("static", {}),
    "auto": ("dynamic", {}),
    "grouped": ("dynamic", {"strategy": "grouped"}),
    "concat": ("dynamic", {"strategy": "concat"}),
    "fuse": ("dynamic", {"strategy": "fuse"}),
}
SIZE = 32


def measure(device: torch.device, batch: int = 128, width_mult: float = 1.0) -> Iterator[dict]:
    """Yield one result: the bytes that training MobileNetV1 takes on images of 32 × 32 pixels, for every way.

    ``peak`` is what two steps of SGD add to the most memory so far, in a process of its own: of the resident set, and
    on CUDA of what is allocated there. ``saved`` is as :func:`saved_bytes` counts.

    Args:
        device: where to train.
        batch: images a step.
        width_mult: of the network.

    Raises:
        ValueError: if a number is out of its range.
    """
    positive_int("batch", batch)
    ways = {name: alone(_train, conv, options, device, batch, width_mult) for name, (conv, options) in WAYS.items()}
    yield {"size": SIZE, "batch": batch, "width_mult": width_mult, "ways": ways}


def _train(conv: str, options: dict, device: torch.device, batch: int, width_mult: float) -> dict:
    model = create_model(
        "mobilenet_v1", conv, num_classes=NUM_CLASSES, width_mult=width_mult, stem_stride=1, **options
    ).to(device)
    images = torch.randn(batch, 3, SIZE, SIZE, device=device)
    step = training_step(model.train(), images, torch.randint(NUM_CLASSES, (batch,), device=device))
    before = peak(device)
    step()
    step()
    return {"peak": peak(device) - before, "saved": saved_bytes(model, images)}


def saved_bytes(model: nn.Module, images: Tensor) -> int:
    """The bytes that autograd keeps for the backward pass of ``model`` over ``images``.

    Every storage counts once and whole, and parameters not at all: they are there anyway. Two runs give the same.
    """
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        answer = model(images)  # held while the hooks note, or a storage freed could share its address with another
    del answer
    return sum(size for address, size in storages.items() if address not in parameters)


def targets(result: dict) -> list[Target]:
    """The memory beyond static's that "auto" takes, as a part of what "grouped" takes."""
    peak = {way: memory["peak"] for way, memory in result["ways"].items()}
    ratio = (peak["auto"] - peak["static"]) / (peak["grouped"] - peak["static"])
    return [Target("(auto − static) ÷ (grouped − static), by the peaks", ratio, "≤", 1 / 3)]


def lines(result: dict) -> Iterator[str]:
    """A result as a table: MiB, and MiB beyond the static network's."""
    yield (
        f"MobileNetV1 ×{result['width_mult']:g}, {result['size']} × {result['size']} pixels, batch {result['batch']}, "
        "float32, training."
    )
    yield "Peak: what two steps add to the memory; saved: what autograd keeps for the backward pass.\n"
    yield f"{'MiB':<12}{'peak':>9} {'beyond static':>14} {'saved':>9} {'beyond static':>14}"
    static = result["ways"]["static"]
    for way, memory in result["ways"].items():
        cells = (f"{memory[key] / 2**20:>9.1f} {(memory[key] - static[key]) / 2**20:>14.1f}" for key in static)
        yield f"{way:<12}" + " ".join(cells)
    yield from map(str, targets(result))
