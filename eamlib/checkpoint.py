"""Checkpoints that outlive a kill, a full disk and a flipped bit.

A checkpoint is a folder, ``epoch-0007``, with ``state.pt``, one safetensors file for each set of weights, and
``SHA256SUMS``, which ``sha256sum -c`` understands. It is written aside and then renamed: under its own name it is
whole. What happens to it afterwards, the sums tell.

No pickle is trusted: safetensors holds nothing but numbers, and of ``state.pt`` PyTorch opens tensors and plain values
alone (``weights_only=True``).
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

ASIDE = ".unfinished"
SUMS = "SHA256SUMS"
STATE = "state.pt"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        path: its folder.
        weights: name -> state dict, on the CPU.
        state: everything else, by name.
    """

    path: Path
    weights: dict[str, dict[str, Tensor]]
    state: dict


def path_of(folder: str | Path, epoch: int) -> Path:
    """Where the checkpoint of ``epoch`` lies."""
    return Path(folder) / f"epoch-{epoch:04d}"


def save(folder: str | Path, epoch: int, weights: Mapping[str, Mapping[str, Tensor]], state: dict) -> Path:
    """Write the checkpoint of ``epoch`` and return its folder; all others but that of the epoch before are removed.

    Args:
        folder: where the checkpoints lie; it is made where it is missing.
        epoch: from 1.
        weights: name -> state dict; each becomes ``name.safetensors``.
        state: tensors and plain values (numbers, strings, lists, dicts) by name.

    Raises:
        OSError: if it cannot be written; what was written of it is removed, and earlier checkpoints are as they were.
    """
    from safetensors.torch import save as to_safetensors

    folder = Path(folder)
    aside, path = folder / ASIDE, path_of(folder, epoch)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    files = {f"{name}.safetensors": to_safetensors(_plain(tensors)) for name, tensors in weights.items()}
    files[STATE] = buffer.getvalue()
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()]
    files[SUMS] = "".join(sums).encode()

    shutil.rmtree(aside, ignore_errors=True)  # a killed run may have left it
    try:
        aside.mkdir(parents=True)
        for name, content in files.items():
            _write(aside / name, content)
        _sync(aside)
        if path.exists():  # found corrupted, or else the run would have gone on from it
            shutil.rmtree(path)
        os.replace(aside, path)
        _sync(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for number, other in _epochs(folder):
        if number not in (epoch - 1, epoch):
            shutil.rmtree(other, ignore_errors=True)
    return path


def latest(folder: str | Path) -> Checkpoint | None:
    """The last checkpoint in ``folder`` that is whole; None if there is none.

    A torn or corrupted one is named in a warning and passed over.

    Raises:
        ValueError: if ``state.pt`` has its checksum and yet holds more than tensors and plain values: somebody else
            wrote it, and it is not opened.
    """
    from safetensors.torch import load as from_safetensors

    for _, path in reversed(_epochs(Path(folder))):
        try:
            files = _verified(path)
        except (OSError, ValueError) as error:
            warnings.warn(f"checkpoint {path} is torn or corrupted ({error}); trying the one before.", stacklevel=2)
            continue
        try:
            state = torch.load(io.BytesIO(files.pop(STATE)), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(
                f"{path / STATE} is not opened: it holds more than tensors and plain values, which no checkpoint of "
                "this library does. Allowed: another folder, or this one without it."
            ) from error
        weights = {Path(name).stem: from_safetensors(content) for name, content in files.items()}
        return Checkpoint(path, weights, state)
    return None


def _epochs(folder: Path) -> list[tuple[int, Path]]:
    """The numbers and folders of all checkpoints, good or not, in order."""
    found = [(re.fullmatch(r"epoch-(\d+)", path.name), path) for path in folder.glob("epoch-*")]
    return sorted((int(match[1]), path) for match, path in found if match)


def _verified(path: Path) -> dict[str, bytes]:
    """The files of a checkpoint by name, read once and compared with their sums."""
    lines = (path / SUMS).read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    if STATE not in sums:  # its line is the last one
        raise ValueError(f"{SUMS} is cut off")
    files = {name: (path / name).read_bytes() for name in sums}
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != sums[name]:
            raise ValueError(f"{name} does not have its checksum")
    return files


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies as safetensors wants them: on the CPU, contiguous, none sharing memory with another."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Bring a folder's entries to the disk, as fsync brings a file's content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
