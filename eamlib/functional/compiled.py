"""The library's C, compiled when it is first needed, for this very processor, and kept in the user's cache folder.

Compiling takes some two seconds. Where there is no C compiler, or ``EAMLIB_TILED=0`` is set, what is written in C is
not there, and :func:`library` says why.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

_SOURCES = tuple(Path(__file__).with_name(name) for name in ("tiled.c", "depthwise.c"))
# The sizes that each function takes, and its tensors.
_FUNCTIONS = {
    "forward": (5, 4),
    "backward_input": (6, 4),
    "backward_weight": (6, 6),
    "depthwise_forward": (14, 3),
    "depthwise_of_input": (14, 3),
    "depthwise_of_weight": (14, 3),
}
REALS = {torch.float32: "float", torch.float64: "double"}
# The first that compiles and loads is taken. The library is linked without OpenMP's own runtime: it finds the one that
# PyTorch has loaded, and so shares its threads and their number.
_FLAGS = (("-march=native", "-fopenmp"), ("-march=native",), ("-mcpu=native",), ())


def call(function: str, sizes: tuple[int, ...], tensors: tuple[Tensor, ...]) -> None:
    """Run a function of the library on contiguous tensors of one dtype.

    Raises:
        MemoryError: if there is none left for what it lays out anew.
    """
    addresses = (tensor.data_ptr() for tensor in tensors)
    if getattr(library(REALS[tensors[0].dtype]), function)(*sizes, *addresses):
        raise MemoryError(f"no memory for a copy of an input of shape {list(tensors[0].shape)}.")


@functools.cache
def library(real: str) -> ctypes.CDLL | str:
    """The functions for one type of number, ``"float"`` or ``"double"``, or why there are none."""
    if os.environ.get("EAMLIB_TILED") == "0":
        return "EAMLIB_TILED=0 forbids it"
    name = os.environ.get("CC", "cc")
    compiler = shutil.which(name)
    if compiler is None:
        return _missed(f"it is compiled at its first use, and there is no C compiler {name!r}")
    failures = []
    for flags in _FLAGS:
        try:
            found = ctypes.CDLL(str(_built(compiler, ["-O3", "-fPIC", f"-DREAL={real}", *flags])))
        except (OSError, subprocess.SubprocessError) as error:
            failures.append(str(getattr(error, "stderr", None) or error).strip())
            continue
        for function, (sizes, tensors) in _FUNCTIONS.items():
            getattr(found, function).argtypes = [ctypes.c_long] * sizes + [ctypes.c_void_p] * tensors
        return found
    return _missed(f"compiling it failed: {failures[0]}")


@functools.cache
def _missed(why: str) -> str:
    """Said once: without the C everything works, and some of it takes several times as long."""
    logging.getLogger("eamlib").warning("Dynamic convolutions run on the CPU without eamlib's C: %s.", why)
    return why


def _built(compiler: str, flags: list[str]) -> Path:
    """The shared library, from the cache if this processor and compiler have made it before.

    Its name ends in its own checksum: what was cut short or changed on the disk is not loaded, but made anew.
    """
    texts = [source.read_text(encoding="utf-8") for source in _SOURCES]
    key = _checksum("\n".join([*texts, _identity(compiler), *flags, _processor()]).encode())
    folder = _cache()
    for path in folder.glob(f"eamlib-{key}-*.so"):
        if _is_ours(path) and path.stem.endswith(_checksum(path.read_bytes())):
            return path
        path.unlink(missing_ok=True)  # another process may have met it too
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        objects = [Path(scratch, source.stem).with_suffix(".o") for source in _SOURCES]
        linked = Path(scratch, "eamlib.so")
        steps = [[*flags, "-c", source, "-o", made] for source, made in zip(_SOURCES, objects, strict=True)]
        for arguments in (*steps, ["-shared", *objects, "-o", linked]):
            subprocess.run([compiler, *arguments], check=True, capture_output=True, text=True, timeout=120)
        # Whole or not at all, whoever else compiles it at the same time.
        return linked.replace(folder / f"eamlib-{key}-{_checksum(linked.read_bytes())}.so")


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


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
    """A folder that nobody else can write to: what lies there will run as this user."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "eamlib"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if _is_ours(folder, but_for_the_mode=True):
            folder.chmod(0o700)
        if _is_ours(folder) and os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):
        pass
    return _cache_of_this_process()


@functools.cache
def _cache_of_this_process() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="eamlib-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _is_ours(path: Path, but_for_the_mode: bool = False) -> bool:
    """Whether it is this user's, no link, and closed to others' writing."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
        return False
    return but_for_the_mode or not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
