"""One process at a time: a file that says who is at work, and that does not outlive them.

The file is made by ``O_EXCL``, which one process alone succeeds in, also on a disk that several machines share. It
names machine and process, and its owner touches it while it lives: a death on this machine is known at once, one on
another after :data:`SILENCE`.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SILENCE = 600.0  # seconds without a sign of life after which an owner elsewhere counts as dead
BEAT = 30.0  # seconds from one sign to the next


class Busy(Exception):
    """Somebody else holds the lock; the message says who."""


@contextmanager
def hold(path: str | Path) -> Iterator[None]:
    """Hold the lock at ``path`` while the block runs; its folder is made where it is missing.

    Raises:
        Busy: if a living process holds it, this one included.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "start": _start(os.getpid())}
    mine = json.dumps(owner).encode()
    if not _create(path, mine):
        _remove_if_stale(path)
        if not _create(path, mine):
            raise Busy(f"{path} was taken by another process a moment ago.")
    done = threading.Event()
    pulse = threading.Thread(target=_beat, args=(path, done), daemon=True)
    pulse.start()
    try:
        yield
    finally:
        done.set()
        pulse.join()
        if _content(path) == mine:  # who was silent for long may have lost it
            path.unlink(missing_ok=True)


def _create(path: Path, content: bytes) -> bool:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return True


def _remove_if_stale(path: Path) -> None:
    """Remove the lock of a dead process; raise :class:`Busy` if it lives.

    Two that find the same dead one must not remove each other's new lock: the removal is itself locked.
    """
    content = _content(path)
    if content is None:  # released meanwhile
        return
    _refuse_living(path, content)
    guard = path.with_name(f"{path.name}.removal")
    if not _create(guard, b""):
        raise Busy(f"{path} is being taken over by another process; if none is at work, delete {guard}.")
    try:
        if _content(path) == content:
            path.unlink()
    finally:
        guard.unlink()


def _refuse_living(path: Path, content: bytes) -> None:
    try:
        silent = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return
    try:
        owner = json.loads(content)
    except json.JSONDecodeError:  # not yet written, or its owner died before it was
        owner = {"host": None, "pid": None}
    here = owner["host"] == socket.gethostname() and os.name == "posix"
    if _lives(owner) if here else silent < SILENCE:
        raise Busy(
            f"process {owner['pid']} on {owner['host']} is at it; last sign of life {max(0, silent):.0f} s ago "
            f"({path})."
        )


def _lives(owner: dict) -> bool:
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _start(owner["pid"]) == owner["start"]  # else its number has gone to another


def _start(pid: int) -> int | None:
    """When a process started, in the kernel's ticks; None where there is no /proc."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _beat(path: Path, done: threading.Event) -> None:
    while not done.wait(BEAT):
        try:
            os.utime(path)
        except FileNotFoundError:
            return
