"""What each way to run a dynamic convolution should take: a small model of multiplications, bytes and calls.

It is there to rank, not to time: on the processor that it was fitted to it predicts within a factor of two or so, on
others within several, and the ways differ by tens. Six numbers describe a device. Those of the CPU were fitted to an
AMD EPYC with AVX-512. Those of four GPUs are their data sheets', rounded, with a cache taken to be twice as fast as the
memory; another GPU is measured once.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Device:
    """How fast a device is.

    Attributes:
        macs: multiply-adds per second in a large convolution in float32, of one CPU thread or of a whole GPU.
        half: the same in 16 bits.
        near: bytes per second from a cache.
        fresh: bytes per second of memory that is touched for the first time: allocations larger than ``cache``. On a
            GPU, whose memory PyTorch keeps, of its main memory.
        cache: bytes that stay near.
        call: seconds to launch one operator.

    Example:
        >>> CPU.macs / CPU.near  # the roofline's corner for what lies in a cache, in multiply-adds per byte
        3.125
        >>> round(CPU.macs / CPU.fresh, 1)  # and for memory that nobody has used yet
        16.7
    """

    macs: float
    half: float
    near: float
    fresh: float
    cache: float
    call: float


CPU = Device(macs=100e9, half=100e9, near=32e9, fresh=6e9, cache=32e6, call=10e-6)
GPUS = {
    "T4": Device(macs=4e12, half=32e12, near=0.64e12, fresh=0.32e12, cache=4e6, call=10e-6),
    "L4": Device(macs=15e12, half=60e12, near=0.6e12, fresh=0.3e12, cache=48e6, call=10e-6),
    "A100": Device(macs=9.7e12, half=156e12, near=3.1e12, fresh=1.55e12, cache=40e6, call=10e-6),
    "H100": Device(macs=33e12, half=495e12, near=6.7e12, fresh=3.35e12, cache=50e6, call=10e-6),
}
_PIECE = 8e6  # bytes of a piece of the batch
_UNFOLD = 4e9  # bytes per second that F.unfold writes on a CPU: it is not vectorised over pixels


@functools.cache
def gpu(name: str | None = None) -> Device:
    """The GPU with this name, ``"Tesla T4"`` say: of the table where it lists one, else measured. None takes the one at
    hand, and the A100 where there is none.

    Example:
        >>> gpu("Tesla T4") is GPUS["T4"]
        True
    """
    if name is None and not torch.cuda.is_available():
        return GPUS["A100"]
    name = name or torch.cuda.get_device_name()
    words = name.replace("-", " ").split()
    for card, device in GPUS.items():
        if card in words:
            return device
    return _measured_gpu()


def _measured_gpu() -> Device:
    n = 4096
    rates = []
    for dtype in (torch.float32, torch.float16):
        matrix = torch.randn(n, n, device="cuda", dtype=dtype)
        rates.append(n**3 / _seconds(lambda matrix=matrix: matrix @ matrix))
    source = torch.ones(2**26, device="cuda")
    memory = 2 * source.nbytes / _seconds(source.clone)
    cache = getattr(torch.cuda.get_device_properties("cuda"), "L2_cache_size", 32e6)
    return Device(*rates, near=2 * memory, fresh=memory, cache=cache, call=10e-6)


def _seconds(run) -> float:
    taken = []
    for _ in range(4):  # the first warms up
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken)


def predict(
    batch: int,
    in_channels: int,
    out_channels: int,
    kernel_size: tuple[int, int],
    groups: int,
    pixels_in: int,
    pixels_out: int,
    num_kernels: int,
    *,
    element_size: int = 4,
    device: str = "cpu",
    threads: int = 1,
    training: bool = False,
    channels_last: bool = False,
) -> dict[str, float]:
    """Seconds of one forward pass by strategy; the backward pass scales all of them nearly alike. On a GPU ``"tiled"``
    and ``"chunked"`` are left out.

    With M = O · C / groups · kh · kw numbers in a kernel, P = ``pixels_out`` and s = ``element_size``:

    - every way multiplies B · M · P times; ``"fuse"`` and ``"concat"`` do so K times, write and read K copies of the
      output or of the input, and have K kernels rearranged;
    - ``"grouped"``, ``"chunked"``, ``"bmm"`` and ``"loop"`` write B mixed kernels and read them: B · M · s bytes, twice
      again where the convolution rearranges its weights;
    - ``"grouped"`` has input and output rearranged, ``"chunked"`` too, but a piece of the batch that fits the cache;
    - ``"tiled"`` mixes in the cache, K more multiplications per number of a kernel, and copies the input once; in a
      depthwise layer it multiplies at a quarter of the speed, and needs the channels last;
    - ``"bmm"`` and ``"tiled"`` unfold the input unless the kernel is 1×1;
    - with the channels last, ``"grouped"``, ``"chunked"`` and ``"bmm"`` lay out the maps anew;
    - ``"loop"`` launches three operators per sample, ``"chunked"`` three per piece.

    Args:
        batch, in_channels, out_channels, kernel_size, groups, num_kernels: of the convolution.
        pixels_in, pixels_out: H · W and H' · W'.
        element_size: bytes of a number.
        device: ``"cpu"``, or any other type, which counts as a GPU.
        threads: of the CPU.
        channels_last: how the input lies in memory.
        training: all that is made is then kept for the backward pass, and nothing is near for being small.

    Example:
        >>> seconds = predict(8, 64, 64, (1, 1), 1, 49, 49, 4, element_size=4, device="cpu", threads=1, training=False)
        >>> min(seconds, key=seconds.get), max(seconds, key=seconds.get)
        ('tiled', 'loop')
    """
    cpu = device == "cpu"
    machine = CPU if cpu else gpu()
    macs = (machine.half if element_size == 2 else machine.macs) * (threads if cpu else 1)
    kernel = out_channels * in_channels // groups * kernel_size[0] * kernel_size[1]
    inputs = batch * in_channels * pixels_in * element_size
    outputs = batch * out_channels * pixels_out * element_size
    kernels, mixed = num_kernels * kernel * element_size, batch * kernel * element_size
    unfolded = 0 if kernel_size == (1, 1) else batch * in_channels * kernel_size[0] * kernel_size[1] * pixels_out

    def multiply(count: float) -> float:
        return count / macs

    def move(count: float, times: int) -> float:
        return times * (count / machine.near + max(0, count - machine.cache) / machine.fresh)

    once = multiply(batch * kernel * pixels_out)
    columns = unfolded * element_size / (_UNFOLD if cpu else machine.near)
    in_pieces = cpu and not training  # mixed kernels are used while near
    pieces = 1 + (inputs + outputs + mixed) // _PIECE
    # cuDNN runs groups that are no depthwise convolution one after the other, each too small for the device.
    lost = 1.15 if cpu else 1.0 if groups == in_channels else 8.0
    # K kernels beside each other make a depthwise convolution one of many thin groups, which no library is fast at.
    slim = max(1, 32 * groups // in_channels) if groups > 1 else 1
    seconds = {
        "grouped": lost * once + move(mixed, 4) + move(inputs + outputs, 1) + 2 * machine.call,
        "bmm": (2.0 if cpu else 1.0) * once
        + (2 * mixed / machine.near if in_pieces else move(mixed, 2))
        + columns
        + 2 * machine.call,
        "fuse": slim * num_kernels * once + move(num_kernels * outputs, 3) + move(kernels, 2) + 2 * machine.call,
        "concat": slim * num_kernels * once + move(num_kernels * inputs, 3) + move(kernels, 3) + 2 * machine.call,
        "loop": once + 4 * mixed / machine.near + 3 * batch * machine.call,
    }
    if cpu:
        near = 4 * mixed + inputs + 2 * outputs
        seconds["chunked"] = lost * once + near / machine.near + (3 * pieces + 1) * machine.call
        mixing, anew = 1 + num_kernels / pixels_out, move(inputs + outputs, 2)
        if groups == 1:
            seconds["tiled"] = 1.1 * once * mixing + inputs / machine.near + columns + machine.call
        else:
            seconds["tiled"] = 4 * once + move(inputs + outputs, 1) + 2 * machine.call + (0 if channels_last else anew)
        if channels_last:
            for way in ("grouped", "chunked", "bmm"):
                seconds[way] += anew
    return seconds


def made(
    batch: int,
    in_channels: int,
    out_channels: int,
    kernel_size: tuple[int, int],
    groups: int,
    pixels_in: int,
    pixels_out: int,
    num_kernels: int,
    element_size: int,
) -> dict[str, int]:
    """Bytes that each strategy makes on the way, beyond its output; arguments as in :func:`predict`.

    Example:
        >>> found = made(32, 512, 512, (1, 1), 1, 16, 16, 4, element_size=4)
        >>> found["grouped"] // 2**20, found["fuse"] // 2**20, found["tiled"]  # 32 mixed kernels, 4 outputs, nothing
        (32, 4, 0)
    """
    area = kernel_size[0] * kernel_size[1]
    mixed = batch * out_channels * in_channels // groups * area
    columns = 0 if area == 1 else batch * in_channels * area * pixels_out
    numbers = {
        "grouped": mixed,
        "chunked": mixed,
        "bmm": mixed + columns,
        "tiled": columns,
        "fuse": num_kernels * batch * out_channels * pixels_out,
        "concat": num_kernels * batch * in_channels * pixels_in,
    }
    return {way: count * element_size for way, count in numbers.items()}
