"""List what the library fetches where it is installed without the repository, with SHA-256: part of `make numbers`."""

from hashlib import sha256
from pathlib import Path

from eamlib._files import replace

ROOT = Path(__file__).parents[2]
LIST = ROOT / "eamlib" / "published.txt"


def listed(results: Path) -> str:
    """A line for every file below ``results``, but for the pages and pictures that are there to be looked at."""
    files = sorted(path for path in results.rglob("*.*") if path.is_file() and path.suffix not in (".md", ".svg"))
    return "".join(
        f"{path.relative_to(results).as_posix()} {sha256(path.read_bytes()).hexdigest()}\n" for path in files
    )


if __name__ == "__main__":
    replace(LIST, listed(ROOT / "results"))
