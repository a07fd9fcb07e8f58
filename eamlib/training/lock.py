"""One owner at a time: a lock that the kernel keeps, and releases when its owner ends, however it ends.

It depends on no clock and no sign of life, so an owner that is merely stopped still owns the lock. It works between all
processes of a machine, in containers too, and between machines that share a disk with locks, such as NFS. On a network
disk without locks (NFS with ``nolock``, for example) two machines may both succeed. Windows has no such lock.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

_held: set[FileIO] = set()
# A lock is its owner's alone: a process that it forks, to decode images for example, may live a little longer.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: [file.close() for file in _held])


class Busy(Exception):
    """Somebody else holds the lock; the message says who.

    Example:
        >>> with hold("run/lock"):
        ...     try:
        ...         with hold("run/lock"):
        ...             pass
        ...     except Busy as busy:
        ...         print(busy)
        run/lock is held by process ... on ... since ... UTC.
    """


@contextmanager
def hold(path: str | Path) -> Iterator[Callable[[], None]]:
    """Hold the lock at ``path`` while the block runs; its folder is made if it is missing.

    Yields:
        A function that raises :class:`Busy` if the lock is lost, because its file was deleted, which lets others in.

    Raises:
        Busy: if a process holds it, this one included.
        OSError: if the file cannot be written, or its disk has no locks.

    Example:
        >>> from pathlib import Path
        >>> with hold("run/lock"):
        ...     Path("run/lock").exists()
        True
        >>> Path("run/lock").exists()
        False
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _taken(path) as file:

        def check() -> None:
            if not _is_at(path, file):
                raise Busy(f"{path}, which this process held, was removed: another may be at work there by now.")

        _held.add(file)
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%F %T} UTC".encode())
            yield check
        finally:
            _held.discard(file)
            if not file.closed and _is_at(path, file):  # else this is a child, or the lock was lost
                path.unlink()


def _taken(path: Path) -> FileIO:
    """The file at ``path``, open and locked."""
    import fcntl  # Windows has none

    while True:
        with ExitStack() as opened:
            file = opened.enter_context(path.open("ab+", buffering=0))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise Busy(f"{path} is held by {file.read().decode() or 'another process'}.") from None
            if _is_at(path, file):  # else its owner removed it between our two steps
                opened.pop_all()
                return file


def _is_at(path: Path, file: FileIO) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    return False
