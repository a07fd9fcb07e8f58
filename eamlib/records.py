"""Recorded runs: one JSON file a run, with all that is needed to say where its numbers come from."""

from __future__ import annotations

import base64
import json
import platform
import re
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import torch
from torch import Tensor

from eamlib.files import replace


def provenance(device: torch.device | str, *packages: str) -> dict:
    """Where and with what a result was made: device, versions, commit (None outside a checkout), date (UTC).

    ``packages`` are named in the versions beside those that every result rests on, where they are installed.

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


def device_name(device: torch.device | str) -> str:
    """The name of the GPU, or of the processor and how many cores of it are used.

    Example:
        >>> device_name("cpu").endswith(("thread", "threads"))
        True
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"


def refuse_existing(path: str | Path) -> Path:
    """Return ``path`` if a record can be written there, before any work is done.

    Raises:
        FileExistsError: if there is a file already: no run replaces another's record.
        FileNotFoundError: if its folder does not exist.

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
    return path


def write(record: dict, path: str | Path) -> None:
    """Write a record as JSON, a list of plain values on one line.

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
    replace(refuse_existing(path), text + "\n")


def read(path: str | Path) -> dict:
    """Read a record back.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no JSON.

    Example:
        >>> write({"seed": 0}, "run.json")
        >>> read("run.json")
        {'seed': 0}
    """
    try:
        return json.loads(Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not a record: {error}.") from error


def pack(answers: Tensor) -> str:
    """Which images a network knows, bool ``[N]``, as text: a bit per image, in base64.

    Example:
        >>> pack(torch.tensor([True, False, True]))
        'oA=='
    """
    return base64.b64encode(np.packbits(answers.numpy())).decode()


def unpack(record: dict) -> np.ndarray:
    """Which test images the network of a record knows, bool ``[N]``, in the order of the set.

    Raises:
        ValueError: if it holds no answers, or they are not those of its accuracy and its number of images.

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

    Args and errors are those of :func:`published_bytes`.

    Example:
        >>> record = published("fashion_mnist/mobilenet_v1-x0.25-static-e5-seed0.json")
        >>> record["configuration"]["model"], len(record["history"])
        ('mobilenet_v1', 5)
    """
    return json.loads(published_bytes(name))


def published_bytes(name: str) -> bytes:
    """Read a file that comes with the book: from ``results/`` in a checkout, else, once, from the repository.

    Args:
        name: its path below ``results/``.

    Raises:
        OSError: if it is neither here nor there.

    Example:
        >>> published_bytes("README.md")[:2]
        b'# '
    """
    local = Path(__file__).parents[1] / "results" / name
    if local.exists():
        return local.read_bytes()
    address = next(
        url.split(", ")[1] for url in metadata("eamlib").get_all("Project-URL") if url.startswith("Repository")
    )
    return _fetched(f"{address.replace('github.com', 'raw.githubusercontent.com')}/main/results/{name}")


@cache
def _fetched(url: str) -> bytes:
    try:
        with urlopen(url, timeout=60) as response:
            return response.read()
    except OSError as error:
        advice = "It is part of the repository, at this address or in a clone."
        raise OSError(f"{url} cannot be read: {error}. {advice}") from error


def _versions(*packages: str) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
