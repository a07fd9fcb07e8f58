"""What comes with the library but not in its package: records, weights and sample images, from the repository.

Each has the SHA-256 that ``published.txt`` lists.
"""

from __future__ import annotations

import json
from importlib.metadata import distribution
from pathlib import Path

from eamlib._files import cache_folder, fetch


def published_bytes(name: str) -> bytes:
    """Read a file that comes with the book.

    A checkout reads its own ``results/``. Elsewhere the file is fetched, once, from the repository as it was when this
    library was made: at the commit that pip installed from, as on Colab, else at the tag of the version, ``v0.1.0``.
    It must have the SHA-256 that the library's ``published.txt`` lists, and is kept below ``EAMLIB_DATA``, else
    ``~/.cache/eamlib``.

    Args:
        name: its path below ``results/``.

    Raises:
        FileNotFoundError: if no such file comes with this version, or it cannot be fetched, with the reason, its
            address and where to put it.

    Example:
        >>> published_bytes("weights/fashion_mnist/mobilenet_v1-x0.25-static-e5-seed0.safetensors")[8:24]
        b'{"__metadata__":'
    """
    local = Path(__file__).parents[1] / "results" / name
    if local.exists():
        return local.read_bytes()
    known = published_hashes()
    if name not in known:
        raise FileNotFoundError(f"{name!r} does not come with this eamlib; allowed is what published_hashes() lists.")
    address, ref = source()
    path = cache_folder() / "published" / ref / name
    fetch(f"{address}/{ref}/results/{name}", known[name], path)
    return path.read_bytes()


def published_hashes() -> dict[str, str]:
    """The files that come with this version, and their SHA-256; ``make numbers`` writes the list.

    Example:
        >>> len(published_hashes()["images/cifar100-test-2000.webp"])
        64
    """
    lines = Path(__file__).with_name("published.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split() for line in lines)


def source() -> tuple[str, str]:
    """Where the repository's files are, and the commit or tag that this library was made from."""
    installed = distribution("eamlib")
    urls = dict(url.split(", ") for url in installed.metadata.get_all("Project-URL"))
    address = urls["Repository"].replace("github.com", "raw.githubusercontent.com")
    # pip writes this file where it installed from a repository or a folder.
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    return address, origin.get("vcs_info", {}).get("commit_id", f"v{installed.version}")
