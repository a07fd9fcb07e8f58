"""Checkpoints that outlive a kill, a full disk and a flipped bit.

A checkpoint is one file, ``epoch-0007.pt``: what ``torch.save`` writes, followed by its SHA-256. It is written aside
and then renamed, so that it is whole under its own name; the checksum shows whether it has been damaged since.

No pickle is trusted: PyTorch opens only tensors and plain values (``weights_only=True``).
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from eamlib._files import replace

DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        path: its file.
        weights: name -> state dict, on the CPU.
        state: everything else, by name.
    """

    path: Path
    weights: dict[str, dict[str, Tensor]]
    state: dict


def path_of(folder: str | Path, epoch: int) -> Path:
    """The file of the checkpoint of ``epoch``."""
    return Path(folder) / f"epoch-{epoch:04d}.pt"


def save(folder: str | Path, epoch: int, weights: Mapping[str, Mapping[str, Tensor]], state: dict) -> Path:
    """Write the checkpoint of ``epoch`` and return its path; of the others, only the previous epoch's stays.

    Args:
        folder: of the checkpoints; it is made if it is missing.
        epoch: from 1.
        weights: name -> state dict.
        state: tensors and plain values (numbers, strings, lists, dicts) by name.

    Raises:
        OSError: if it cannot be written; what was written of it is removed, and earlier checkpoints are intact.
    """
    path, content = path_of(folder, epoch), io.BytesIO()
    torch.save({"weights": dict(weights), "state": state}, content)
    content.write(hashlib.sha256(content.getbuffer()).digest())
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, content.getbuffer())
    others = [other for number, other in _epochs(path.parent) if number not in (epoch - 1, epoch)]
    for other in (*others, *path.parent.glob(".epoch-*")):  # the latter a killed run left unfinished
        with suppress(OSError):
            other.unlink()
    return path


def latest(folder: str | Path) -> Checkpoint | None:
    """The last intact checkpoint in ``folder``; None if there is none.

    A torn or corrupted checkpoint is skipped with a warning, as is one of version 0.1.0, which was a folder.

    Raises:
        ValueError: if a checkpoint has the right checksum but holds more than tensors and plain values; it is not
            opened.
    """
    for _, path in reversed(_epochs(Path(folder))):
        try:
            content = _verified(path)
        except (OSError, ValueError) as error:
            why = f"is torn, corrupted or of an earlier version ({error})"
            warnings.warn(f"checkpoint {path} {why}; trying the one before.", stacklevel=2)
            continue
        try:
            return Checkpoint(path, **torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
        except Exception as error:  # whatever is in it, this library did not write it
            raise ValueError(
                f"{path} is not opened: it holds more than tensors and plain values, or other than a checkpoint of "
                "this library does. Allowed: another folder, or this one without it."
            ) from error
    return None


def _epochs(folder: Path) -> list[tuple[int, Path]]:
    """The numbers and paths of all checkpoints, good or not, in order."""
    found = [(re.fullmatch(r"epoch-(\d+)(\.pt)?", path.name), path) for path in folder.glob("epoch-*")]
    return sorted((int(match[1]), path) for match, path in found if match)


def _verified(path: Path) -> bytes:
    """What ``torch.save`` wrote, compared with its checksum."""
    content = path.read_bytes()
    if hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
        raise ValueError("it does not have its checksum")
    return content[:-DIGEST]
