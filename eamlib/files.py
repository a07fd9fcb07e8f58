"""Files that are there whole or not at all, and files that are fetched."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path


def replace(path: str | Path, content: str | bytes | memoryview, *, existing: bool = True) -> None:
    """Write a file aside, bring it to the disk and rename it: no half of it is ever seen, whatever was there before.

    Args:
        content: text is written as UTF-8.
        existing: whether a file that is there already is replaced.

    Raises:
        FileExistsError: if there is one and it is not to be replaced, even one that another process wrote meanwhile.
        OSError: if it cannot be written, the disk being full, say; what was there before is as it was.
    """
    with aside(path, existing=existing) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def aside(path: str | Path, *, existing: bool = True) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` where the block ends well and goes where it does not."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield unfinished
        _sync(unfinished)
        (os.replace if existing else _rename_to_new)(unfinished, path)
        _sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def _rename_to_new(unfinished: Path, path: Path) -> None:
    try:
        os.link(unfinished, path)  # looks and takes the name in one step
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links
        if path.exists():
            raise FileExistsError(f"{path} exists.") from None
        os.replace(unfinished, path)


def _sync(path: Path) -> None:
    """Bring to the disk what a file holds, or which files a folder has."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def fetching(name: str, root: Path, url: str, wanted: str) -> Iterator[None]:
    """Whatever goes wrong in the block, which fetches ``name``, is a ``FileNotFoundError`` that says what to do."""
    try:
        yield
    except (OSError, RuntimeError, HTTPException) as error:
        reason = " ".join(str(error).split())
        raise FileNotFoundError(
            f"{name} is not in root = {str(root)!r} and could not be fetched from {url}: {reason}. "
            f"Without a network, put {wanted} there."
        ) from error
