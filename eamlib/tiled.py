"""The 1×1 dynamic convolution on a CPU, by the C kernel of ``tiled.c``.

PyTorch has no operator that multiplies by a mixture of matrices without writing the mixture to memory first, and for
the small maps of a network's end that writing is most of the time. The kernel is compiled when it is first needed,
for this very processor, which takes some two seconds, and kept in the user's cache folder. Where there is no C
compiler, or ``EAMLIB_TILED=0`` is set, the other strategies do the work.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

_SOURCE = Path(__file__).with_suffix(".c")
_REALS = {torch.float32: "float", torch.float64: "double"}
# The first that compiles and loads is taken. The library is linked without OpenMP's own runtime: it finds the one that
# PyTorch has loaded, and so shares its threads and their number.
_FLAGS = (("-march=native", "-fopenmp"), ("-march=native",), ("-mcpu=native",), ())


def is_traced() -> bool:
    """Whether a graph is being made of the code, or ``torch.func`` transforms it: nothing may then depend on the
    numbers in a tensor or on the batch."""
    graph = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return graph or torch._C._are_functorch_transforms_active()


def why_not(input: Tensor) -> str | None:
    """Why the kernel cannot run on tensors such as ``input``; None if it can."""
    if input.device.type != "cpu":
        return f"it runs on the CPU, and input is on {input.device}"
    if input.dtype not in _REALS:
        return f"it knows float32 and float64, and input is {input.dtype}".replace("torch.", "")
    if is_traced() or type(input) not in (Tensor, torch.nn.Parameter):
        return "a graph is being traced or a function transformed, and C is no part of either"
    library = _library(_REALS[input.dtype])
    return library if isinstance(library, str) else None


def mixed_matmul(input: Tensor, weight: Tensor, attention: Tensor) -> Tensor:
    """``(sum_k attention[b, k] weight[k]) @ input[b]`` for every sample b, differentiable.

    Args:
        input: ``[B, C, P]``.
        weight: ``[K, O, C]``.
        attention: ``[B, K]``. All three of the same dtype, for which :func:`why_not` is None.

    Returns:
        ``[B, O, P]``.

    Raises:
        MemoryError: if there is none left for a copy of ``input``.
    """
    return _MixedMatmul.apply(input.contiguous(), weight.contiguous(), attention.contiguous())


class _MixedMatmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, weight, attention):
        ctx.save_for_backward(input, weight, attention)
        output = input.new_empty(len(input), weight.shape[1], input.shape[2])
        _call("forward", input, weight, (input, weight, attention, output))
        return output

    @staticmethod
    def backward(ctx, gradient):
        input, weight, attention = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: these gradients are to be differentiated themselves
            mixed = torch.einsum("bk,koc->boc", attention, weight)
            outer = gradient @ input.mT
            of_weight = torch.einsum("bk,boc->koc", attention, outer)
            return mixed.mT @ gradient, of_weight, torch.einsum("koc,boc->bk", weight, outer)
        gradient = gradient.contiguous()
        of_input = of_weight = of_attention = None
        if ctx.needs_input_grad[0]:
            of_input = torch.empty_like(input)
            _call("backward_input", input, weight, (gradient, weight, attention, of_input))
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            of_weight, of_attention = torch.empty_like(weight), torch.empty_like(attention)
            tensors = (input, gradient, weight, attention, of_weight, of_attention)
            _call("backward_weight", input, weight, tensors)
        return of_input, of_weight, of_attention


def _call(function: str, input: Tensor, weight: Tensor, tensors: tuple[Tensor, ...]) -> None:
    run = getattr(_library(_REALS[input.dtype]), function)
    if run(len(input), *weight.shape, input.shape[2], *(tensor.data_ptr() for tensor in tensors)):
        raise MemoryError(f"no memory for a copy of an input of shape {list(input.shape)}.")


@functools.cache
def _library(real: str) -> ctypes.CDLL | str:
    """The compiled kernel for one type of number, or why there is none."""
    if os.environ.get("EAMLIB_TILED") == "0":
        return "EAMLIB_TILED=0 forbids it"
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return f"it is compiled at its first use, and there is no C compiler {os.environ.get('CC', 'cc')!r}"
    failures = []
    for flags in _FLAGS:
        try:
            library = ctypes.CDLL(str(_compiled(compiler, ["-O3", "-fPIC", f"-DREAL={real}", *flags])))
        except (OSError, subprocess.SubprocessError) as error:
            failures.append(str(getattr(error, "stderr", None) or error).strip())
            continue
        for function, tensors in (("forward", 4), ("backward_input", 4), ("backward_weight", 6)):
            getattr(library, function).argtypes = [ctypes.c_long] * 5 + [ctypes.c_void_p] * tensors
        return library
    return f"compiling it failed: {failures[0]}"


def _compiled(compiler: str, flags: list[str]) -> Path:
    """The shared library, from the cache if this processor and compiler have made it before."""
    key = "\n".join([_SOURCE.read_text(), _identity(compiler), *flags, _processor()])
    path = _cache() / f"tiled-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            compiled, linked = Path(folder, "tiled.o"), Path(folder, "tiled.so")
            for arguments in ([*flags, "-c", _SOURCE, "-o", compiled], ["-shared", compiled, "-o", linked]):
                subprocess.run([compiler, *arguments], check=True, capture_output=True, text=True, timeout=120)
            linked.replace(path)  # whole or not at all, whoever else compiles it at the same time
    return path


def _identity(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True, timeout=60).stdout


def _processor() -> str:
    """What -march=native stands for: a home folder may be shared by machines of different kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "".join(line for line in dict.fromkeys(lines) if line.startswith(("model name", "flags", "Features")))
    except OSError:
        return platform.processor() + platform.machine()


def _cache() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "eamlib"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):
        pass
    return Path(tempfile.mkdtemp(prefix="eamlib-"))
