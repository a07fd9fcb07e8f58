"""Recorded runs: one JSON file per run, which says where its numbers come from."""

from __future__ import annotations

import base64
import json
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from torch import Tensor

from eamlib._assets import published_bytes, source
from eamlib._files import replace

# What a number of a history may be at most; the least is 0.
_MOST = {"loss": 1e9, "train_accuracy": 100, "test_accuracy": 100, "seconds": 1e9}


def provenance(device: torch.device | str, *packages: str) -> dict:
    """Where and with what a result was made: device, versions, commit (an installed library's tag), date (UTC).

    Args:
        packages: whose versions are named beside those of Python, torch, torchvision and numpy, if installed.

    Example:
        >>> sorted(provenance("cpu"))
        ['commit', 'date', 'device', 'threads', 'versions']
    """
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **_versions("torch", "torchvision", "numpy", *packages)},
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def device_name(device: torch.device | str, threads: int | None = None) -> str:
    """The name of the GPU, or of the processor with the number of threads; None takes those in use.

    Example:
        >>> device_name("cpu", threads=1).endswith(", 1 thread")
        True
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads() if threads is None else threads
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"


def refuse_existing(path: str | Path) -> Path:
    """Return ``path`` if a record can be written there: ask before any work is done.

    Raises:
        FileExistsError: if the file exists: no run replaces another's record.
        FileNotFoundError: if its folder does not exist.
        OSError: if nothing can be written there.

    Example:
        >>> path = refuse_existing("run.json")
        >>> write({"seed": 0}, path)
        >>> refuse_existing("run.json")
        Traceback (most recent call last):
            ...
        FileExistsError: run.json exists; a record is never overwritten. Name another file or move it away.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists; a record is never overwritten. Name another file or move it away.")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"the folder of {path} does not exist; make it first.")
    TemporaryFile(dir=path.absolute().parent).close()
    return path


def write(record: dict, path: str | Path) -> None:
    """Write a record as JSON, each list of plain values on one line. When this returns, it is on the disk.

    Raises:
        FileExistsError: if the file exists, even if another process wrote it meanwhile.
        OSError: if it cannot be written.

    Example:
        >>> from pathlib import Path
        >>> write({"configuration": {"seed": 0}, "losses": [2.3, 1.7]}, "run.json")
        >>> print(Path("run.json").read_text(), end="")
        {
         "configuration": {
          "seed": 0
         },
         "losses": [2.3, 1.7]
        }
    """
    # No text holds a line break in JSON: what matches is a list, and only the room between its items is changed.
    in_lines = json.dumps(record, indent=1)
    text = re.sub(r"\[\n *([^\[\]{}]*)\n *\]", lambda found: "[" + re.sub(r"\n *", " ", found[1]) + "]", in_lines)
    replace(refuse_existing(path), text + "\n", existing=False)


def read(path: str | Path) -> dict:
    """Read a record back.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is not a JSON object.

    Example:
        >>> write({"seed": 0}, "run.json")
        >>> read("run.json")
        {'seed': 0}
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a record: {error}.") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path} is not a record: it holds {record!r:.40}, and no object.")
    return record


def read_run(path: str | Path) -> dict:
    """Read the record of a training run back.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: with the path, if an epoch or an entry is missing, or a number is out of its range.

    Example:
        >>> place = {"device": "a CPU", "versions": {"torch": "2.14"}, "date": "2026-11-27"}
        >>> line = {"epoch": 1, "loss": 0.5, "train_accuracy": 90.0, "test_accuracy": 150.0, "seconds": 2.0}
        >>> write({"configuration": {"epochs": 1}, "history": [line], **place}, "run.json")
        >>> read_run("run.json")
        Traceback (most recent call last):
            ...
        ValueError: run.json is not a record of a run: test_accuracy = 150.0 in epoch 1; allowed is 0 to 100. ...
    """
    record = read(path)
    if wrong := _wrong(record):
        raise ValueError(f"{path} is not a record of a run: {wrong}. Move it away, and the run can be done again.")
    return record


def _wrong(record: dict) -> str | None:
    """What is wrong with the record of a run."""
    for name, kind in {"configuration": dict, "history": list, "device": str, "versions": dict, "date": str}.items():
        if not record.get(name) or not isinstance(record[name], kind):
            return f"{name} = {record.get(name)!r:.40}"
    history, epochs = record["history"], record["configuration"].get("epochs")
    if len(history) != epochs:
        return f"history has {len(history)} of epochs = {epochs!r}"
    for epoch, line in enumerate(history, start=1):
        if not isinstance(line, dict) or line.get("epoch") != epoch:
            return f"line {epoch} of the history is {line!r:.40}"
        for name, most in _MOST.items():
            value = line.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                return f"{name} = {value!r} in epoch {epoch}; allowed is 0 to {most:g}"
    return None


def pack(answers: Tensor) -> str:
    """Which images a network classifies correctly, bool ``[N]``, as text: one bit per image, in base64.

    Example:
        >>> pack(torch.tensor([True, False, True]))
        'oA=='
    """
    return base64.b64encode(np.packbits(answers.numpy())).decode()


def unpack(record: dict) -> np.ndarray:
    """Which test images the network of a record classifies correctly, bool ``[N]``, in the order of the set.

    Raises:
        ValueError: if it holds no answers, or they contradict its accuracy or its number of images.

    Example:
        >>> history, images = [{"test_accuracy": 200 / 3}], {"test": 3}
        >>> unpack({"answers": "oA==", "images": images, "history": history})
        array([ True, False,  True])
        >>> unpack({"answers": "4A==", "images": images, "history": history})
        Traceback (most recent call last):
            ...
        ValueError: answers hold 3 right of 3 images, and the last test accuracy is 66.67 %.
    """
    if "answers" not in record:
        raise ValueError("the record holds no answers; records of planned runs do.")
    count, accuracy = record["images"]["test"], record["history"][-1]["test_accuracy"]
    packed = np.frombuffer(base64.b64decode(record["answers"], validate=True), np.uint8)
    if len(packed) != -(-count // 8):
        raise ValueError(f"answers hold {8 * len(packed)} bits; the record has {count} test images.")
    answers = np.unpackbits(packed, count=count).astype(bool)
    if round(100 * answers.sum() / count, 6) != round(accuracy, 6):
        raise ValueError(
            f"answers hold {answers.sum()} right of {count} images, and the last test accuracy is {accuracy:.2f} %."
        )
    return answers


def published(name: str) -> dict:
    """Read a record that comes with the book.

    Args:
        name: its path below ``results/``.

    Raises:
        FileNotFoundError: if no such record comes with this version, or it cannot be fetched.

    Example:
        >>> record = published("fashion_mnist/mobilenet_v1-x0.25-static-e5-seed0.json")
        >>> record["configuration"]["model"], len(record["history"])
        ('mobilenet_v1', 5)
    """
    return json.loads(published_bytes(name))


def _versions(*packages: str) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """Of our own checkout; of an installed library the commit or tag that it was made from, not that of another
    repository that it happens to lie in."""
    root = Path(__file__).parents[2]
    try:
        if not (root / ".git").exists():
            return source()[1]
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError, PackageNotFoundError):
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
