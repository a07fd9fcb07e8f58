"""Files that are there whole or not at all, and files that are fetched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path


def replace(path: str | Path, content: str | bytes) -> None:
    """Write a file aside and rename it, so that no half of it is ever seen, whatever was there before.

    Args:
        content: text is written as UTF-8.

    Raises:
        OSError: if it cannot be written, the disk being full, say; what was there before is as it was.
    """
    with aside(path) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` where the block ends well and goes where it does not."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


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
