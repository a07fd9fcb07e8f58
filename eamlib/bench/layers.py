"""Every way to run a dynamic convolution, on the separable layers of MobileNetV1 ×1.0.

The attention is given, K = 4, and no part of the time: what is compared is the operator alone. "static" is
``F.conv2d`` with one kernel, "grouped" the form in which CondConv was published, "timm" its best-known code,
``timm.layers.CondConv2d``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn

from eamlib._checks import one_of
from eamlib._extras import installing
from eamlib.analysis.watch import evaluating, watch
from eamlib.bench.timing import MOST, Target, interleaved
from eamlib.functional.ways import STRATEGIES, dynamic_conv2d, fastest
from eamlib.layers.convolution import DepthwiseSeparable
from eamlib.models import create_model

KERNELS = 4
NEAR = 1.15  # times the best strategy: as good


@dataclass(frozen=True)
class Work:
    """What the layers are given to do, and the ratios hoped for on two CPU cores in float32.

    Attributes:
        size: of the network's square images, in pixels.
        stem_stride: of the network's first convolution.
        batch: images at a time.
        training: forward and backward, to input, weight and attention; else forward alone.
        static: "auto" should take at most so many times what "static" takes.
        published: the better of "timm" and "grouped" should take at least so many times what "auto" takes.
    """

    size: int
    stem_stride: int
    batch: int
    training: bool
    static: float
    published: float


WORKS = {
    "32-inference": Work(32, 1, 32, False, static=1.6, published=6.0),
    "32-training": Work(32, 1, 32, True, static=1.6, published=5.0),
    "224-inference": Work(224, 2, 16, False, static=0.95, published=1.6),
    "224-single": Work(224, 2, 1, False, static=1.0, published=1.3),
}


@dataclass(frozen=True)
class Layer:
    """The shapes of a convolution: kernels and maps are square, and ``size`` is that of the input's."""

    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    padding: int
    groups: int
    size: int


def separable_layers(size: int, stem_stride: int) -> Counter[Layer]:
    """The 26 layers of MobileNetV1's blocks in the order of the network: each distinct one, and how many there are."""
    with torch.device("meta"):
        model = create_model("mobilenet_v1", stem_stride=stem_stride)
        image = torch.empty(1, 3, size, size)
    blocks = [block for block in model.modules() if isinstance(block, DepthwiseSeparable)]
    convs = [conv for block in blocks for conv in block.modules() if isinstance(conv, nn.Conv2d)]
    with evaluating(model), watch(dict(enumerate(convs)), lambda name, inputs, output: inputs[0].shape[2]) as seen:
        model(image)
    return Counter(
        Layer(
            conv.in_channels, conv.out_channels, conv.kernel_size[0], conv.stride[0], conv.padding[0], conv.groups, side
        )
        for conv, (side,) in zip(convs, seen.values(), strict=True)
    )


def measure(
    device: torch.device,
    work: Sequence[str] | None = None,
    dtype: str = "float32",
    seconds: float = 1.5,
    rounds: int = MOST,
) -> Iterator[dict]:
    """Yield one result per work: its settings, and the times of every distinct layer.

    Args:
        device: where to run.
        work: names of :data:`WORKS`; None takes all.
        dtype: ``"float32"`` or ``"bfloat16"``.
        seconds, rounds: to spend on a layer, see :func:`eamlib.bench.timing.interleaved`.

    Raises:
        ValueError: if a name is unknown or a number out of its range.
    """
    one_of("dtype", dtype, ("float32", "bfloat16"))
    names = [one_of("work", name, WORKS) for name in (work or WORKS)]
    for name in names:
        settings = WORKS[name]
        layers = [
            {"layer": asdict(layer), "count": count}
            | measure_layer(layer, settings, getattr(torch, dtype), device, seconds, rounds)
            for layer, count in separable_layers(settings.size, settings.stem_stride).items()
        ]
        yield {"work": name, **asdict(settings), "dtype": dtype, "layers": layers}


def measure_layer(
    layer: Layer, work: Work, dtype: torch.dtype, device: torch.device, seconds: float, rounds: int = MOST
) -> dict:
    """The ``times`` of every way that can run ``layer``, in ms, and the strategy that "auto" has ``picked``."""
    factory = {"dtype": dtype, "device": device}
    stride, padding, groups = layer.stride, layer.padding, layer.groups
    shape = (KERNELS, layer.out_channels, layer.in_channels // groups, layer.kernel_size, layer.kernel_size)
    input = torch.randn(work.batch, layer.in_channels, layer.size, layer.size, **factory)
    weight = torch.randn(shape, **factory)
    attention = torch.randn(work.batch, KERNELS, **factory).softmax(1)
    kernel = weight[0].clone()
    output = F.conv2d(input, kernel, None, stride, padding, 1, groups)
    gradient = torch.randn_like(output)

    def way(run: Callable, *leaves: torch.Tensor) -> Callable[[], object]:
        if not work.training:
            return lambda: run(*leaves)
        return lambda: torch.autograd.grad(run(*leaves), leaves, gradient)

    def static(input, kernel):
        return F.conv2d(input, kernel, None, stride, padding, 1, groups)

    def dynamic(strategy: str) -> Callable:
        return lambda *operands: dynamic_conv2d(*operands, None, stride, padding, 1, groups, strategy=strategy)

    for leaf in (input, weight, attention, kernel):
        leaf.requires_grad_(work.training)
    ways = {"static": way(static, input, kernel)}
    for strategy in STRATEGIES:
        if _can_run(dynamic(strategy), input, weight, attention):
            ways[strategy] = way(dynamic(strategy), input, weight, attention)
    if (timm := _timm()) is not None:
        sizes = (layer.in_channels, layer.out_channels, layer.kernel_size, stride, padding)
        theirs = timm(*sizes, groups=groups, num_experts=KERNELS, **factory)
        ways["timm"] = way(lambda input, _, attention: theirs(input, attention), input, theirs.weight, attention)
    ways["auto"] = way(dynamic("auto"), input, weight, attention)
    with torch.set_grad_enabled(work.training):
        picked = fastest(input, weight, (stride, stride), (padding, padding), (1, 1), groups)
        return {"picked": picked, "times": interleaved(ways, device, seconds, rounds)}


@torch.no_grad()
def _can_run(run: Callable, input, weight, attention) -> bool:
    try:
        run(input[:1], weight, attention[:1])
    except ValueError:
        return False
    return True


def _timm() -> type[nn.Module] | None:
    try:
        from timm.layers import CondConv2d
    except ImportError:
        return None
    return CondConv2d


def sums(result: dict) -> dict[str, dict[str, float]]:
    """``ms``, ``low`` and ``high`` of every way that can run all layers, summed over all of them."""
    rows = result["layers"]
    ways = [way for way in ("static", *STRATEGIES, "timm", "auto") if all(way in row["times"] for row in rows)]
    return {
        way: {key: sum(row["count"] * row["times"][way][key] for row in rows) for key in ("ms", "low", "high")}
        for way in ways
    }


def targets(result: dict) -> list[Target]:
    """The three ratios of a work beside what was hoped for."""
    total = {way: times["ms"] for way, times in sums(result).items()}
    others = [way for way in ("timm", "grouped") if way in total]
    better = min(others, key=total.get)
    count = sum(row["count"] for row in result["layers"])
    near = sum(row["count"] for row in result["layers"] if _is_near(row["times"]))
    label = f"{better} ÷ auto, the better of {' and '.join(others)}" if len(others) > 1 else f"{better} ÷ auto"
    return [
        Target("auto ÷ static", total["auto"] / total["static"], "≤", result["static"]),
        Target(label, total[better] / total["auto"], "≥", result["published"]),
        Target(f"layers of {count} where auto is within 15 % of the best strategy", near, "≥", 0.9 * count),
    ]


def _is_near(times: dict) -> bool:
    return times["auto"]["ms"] <= NEAR * min(times[way]["ms"] for way in STRATEGIES if way in times)


def lines(result: dict) -> Iterator[str]:
    """A result as a table, the sums over all layers, and the targets."""
    rows = result["layers"]
    ways = [way for way in ("static", *STRATEGIES, "timm", "auto") if any(way in row["times"] for row in rows)]
    task = "forward and backward" if result["training"] else "inference"
    yield (
        f"{result['work']}: {result['size']} × {result['size']} pixels, stem stride {result['stem_stride']}, "
        f"batch {result['batch']}, {task}, {result['dtype']}."
    )
    yield f"Median ms per layer, K = {KERNELS}; * marks the best dynamic way.\n"
    yield f"{'layer':<30}{'':>4}" + "".join(f"{way:>9} " for way in ways) + " auto is"
    for row in rows:
        times = {way: times["ms"] for way, times in row["times"].items()}
        best = min((way for way in times if way not in ("static", "auto")), key=times.get)
        cells = (f"{times[way]:>9.2f}{'*' if way == best else ' '}" if way in times else f"{'–':>9} " for way in ways)
        yield f"{_label(row['layer']):<30}{'×' + str(row['count']):>4}" + "".join(cells) + f" {row['picked']}"
    total, count = sums(result), sum(row["count"] for row in rows)
    for name, key in ((f"all {count} layers", "ms"), ("  25th percentile", "low"), ("  75th percentile", "high")):
        cells = (f"{total[way][key]:>9.1f} " if way in total else f"{'–':>9} " for way in ways)
        yield f"{name:<34}" + "".join(cells)
    yield "\ngrouped is the form in which CondConv was published. A – cannot run the layer, or not all of them."
    if "timm" not in ways:
        yield f"timm is not installed, so its CondConv2d has no column: {installing('bench')}"
    yield "Targets, stated for float32 on 2 CPU cores; ratios of the sums:"
    yield from map(str, targets(result))


def _label(layer: dict) -> str:
    kind = "depthwise" if layer["groups"] > 1 else "pointwise"
    channels = f"{layer['in_channels']}→{layer['out_channels']}"
    stride = f" /{layer['stride']}" if layer["stride"] > 1 else ""
    return f"{kind} {channels}{stride}, {layer['size']} × {layer['size']}"
