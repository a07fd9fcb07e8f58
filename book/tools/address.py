"""Give the repository another address, wherever it stands: `make address URL=https://github.com/me/my-fork`.

It is kept in pyproject.toml. All else that repeats it (set-up cells, links to Colab and Binder, badges, the address of
the published book) is changed along, and `git diff` shows what was.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ADDRESS = re.compile(r"https://github\.com/([\w-]+)/([\w.-]*[\w-])(?<!\.git)")


def current(root: Path) -> str:
    """The repository's address, from pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]


def parts(address: str) -> tuple[str, str]:
    """Owner and name of the repository at an address.

    Raises:
        ValueError: if it is none of GitHub's.
    """
    if not (found := ADDRESS.fullmatch(address)):
        raise ValueError(f"URL = '{address}' is no address of a repository; allowed: https://github.com/OWNER/NAME.")
    return found[1], found[2]


def replace(root: Path, address: str) -> list[str]:
    """Write another address into every text file that git knows below ``root``, and return which were changed."""
    owner, name = parts(address)
    old_owner, old_name = map(re.escape, parts(current(root)))
    changes = {
        # GitHub, its raw files, Colab and Binder; Pages; the folder that `git clone` makes.
        rf"(github(?:usercontent)?\.com/|/github/|/gh/){old_owner}/{old_name}": f"{owner}/{name}",
        rf"((?<![\w-])){old_owner.lower()}\.github\.io/{old_name}": f"{owner.lower()}.github.io/{name}",
        rf"(&& cd ){old_name}": name,
    }
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    changed = []
    for file in filter(None, listing.split("\0")):
        try:
            old = (root / file).read_bytes().decode()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
        new = old
        for pattern, written in changes.items():
            new = re.sub(rf"{pattern}(?![\w-])", rf"\g<1>{written}", new)
        if new != old:
            (root / file).write_bytes(new.encode())
            changed.append(file)
    return changed


if __name__ == "__main__":
    try:
        changed = replace(Path(), sys.argv[1])
    except ValueError as error:
        sys.exit(str(error))
    print(*changed or ["It stands everywhere already."], sep="\n")
