"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: str | Path, content: str | bytes) -> None:
    """Write a file aside and rename it, so that no half of it is ever seen, whatever was there before.

    Args:
        content: text is written as UTF-8.

    Raises:
        OSError: if it cannot be written, the disk being full, say; what was there before is as it was.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
