"""Files that are there whole or not at all: written, fetched or unpacked."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from eamlib._extras import need


def cache_folder() -> Path:
    """Where data files lie unless another place is named: ``EAMLIB_DATA``, else ``~/.cache/eamlib``."""
    return Path(os.environ.get("EAMLIB_DATA") or "~/.cache/eamlib").expanduser()


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


def fetch(url: str, known_hash: str, path: Path, download: bool = True) -> None:
    """Fetch a file, unless it is there with this hash.

    Args:
        url: http or https.
        known_hash: SHA-256, or ``"md5:…"``.
        path: where it goes; folders are made. Nothing but a whole file with the right hash ever stands there.
        download: whether it may be fetched.

    Raises:
        FileNotFoundError: if that fails, whatever the reason: no network, an answer that is an error, a connection that
            breaks, another hash, a folder that cannot be written to; or if it may not be fetched.
    """
    import pooch

    try:
        if not download and pooch.core.download_action(path, known_hash)[0] != "fetch":
            raise OSError("download = False")
        pooch.retrieve(url, known_hash, path.name, path.parent, processor=_for_all)
    except (OSError, ValueError) as error:  # every error of requests is an OSError; another hash is a ValueError
        reason = " ".join(str(error).split()).rstrip(".")
        raise FileNotFoundError(
            f"{path} is missing or damaged and could not be fetched from {url}: {reason}. "
            "Try again, or put the file there yourself."
        ) from error


def _for_all(path: str, action: str, _: object) -> str:
    """What is fetched was a temporary file, which nobody but its owner may read; data folders are shared."""
    if action != "fetch":
        os.chmod(path, 0o644)
    return path


def unpack(archive: Path, name: str) -> None:
    """Unpack ``name``, the one folder of an archive, beside it.

    Raises:
        OSError: if it cannot be written, the disk being full, say; nothing of it stays.
    """
    need("train", "torchvision")
    from torchvision.datasets.utils import extract_archive

    folder = archive.with_name(name)
    with TemporaryDirectory(dir=archive.parent) as unfinished:
        extract_archive(str(archive), unfinished)
        try:
            os.replace(Path(unfinished, name), folder)
        except OSError:
            if not folder.is_dir():  # else another process was first
                raise
