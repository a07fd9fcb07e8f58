"""One command gives the repository another address, and leaves no old one behind."""

import re
import shutil
import subprocess
import sys

import address
import pytest
from conftest import ADDRESS, ROOT
from test_project import repository_files

OWNER, NAME = "Some-One", "my.book"
NEW = f"https://github.com/{OWNER}/{NAME}"


@pytest.fixture
def copy(tmp_path):
    """The repository's text, in a repository of its own."""
    for path in repository_files():
        if "results" not in path.parts and path.stat().st_size < 500_000:
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "--all", "--force"], cwd=tmp_path, check=True)
    return tmp_path


def test_every_place_is_changed_and_back(copy):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file() and ".git" not in path.parts}
    changed = address.replace(copy, NEW)
    assert {"pyproject.toml", "README.md", "CITATION.cff", "_config.yml", "book/how_to_read.md"} <= set(changed)
    owner, name = ADDRESS.split("/")[-2:]
    left = [
        f"{path}: {found[0]}"
        for path in before
        for found in re.finditer(rf"\S*{owner}(/|\.github\.io/){name}\S*", path.read_bytes().decode(errors="ignore"))
    ]
    assert not left
    assert address.current(copy) == NEW
    first = sorted(copy.glob("notebooks/01*/*.ipynb"))[0]
    notebook = first.read_text(encoding="utf-8")
    assert f"colab.research.google.com/github/{OWNER}/{NAME}/blob/main/notebooks/01" in notebook
    assert f"git+{NEW}" in notebook
    readme = (copy / "README.md").read_text(encoding="utf-8")
    assert f"https://{OWNER.lower()}.github.io/{NAME}/" in readme and f"/gh/{OWNER}/{NAME}/" in readme
    assert f"git clone {NEW} && cd {NAME}" in (copy / "book" / "how_to_read.md").read_text(encoding="utf-8")
    address.replace(copy, ADDRESS)
    assert not [path for path, content in before.items() if path.read_bytes() != content]


@pytest.mark.parametrize(
    "wrong",
    ["", "me/fork", "http://github.com/me/fork", "https://github.com/me", f"{NEW}/tree", f"{NEW}.git"],
)
def test_what_is_no_address_is_refused_before_anything_is_written(tmp_path, wrong):
    before = (ROOT / "pyproject.toml").read_bytes()
    (tmp_path / "pyproject.toml").write_bytes(before)
    command = [sys.executable, ROOT / "book" / "tools" / "address.py", wrong]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "allowed: https://github.com/OWNER/NAME" in done.stderr
    assert (tmp_path / "pyproject.toml").read_bytes() == before
