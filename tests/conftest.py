"""What the tests share: where the book's sources and pages are, and what a device must have."""

import tomllib
from pathlib import Path

import pytest
import torch
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ADDRESS = PROJECT["project"]["urls"]["Repository"]
HTML = ROOT / "_build" / "html"
NOTEBOOKS = sorted(ROOT.glob("notebooks/**/*.ipynb"), key=str)


def pytest_runtest_setup(item):
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


def page_of(path: Path) -> str:
    """The page of a file, as a path below the site's address without a suffix."""
    return path.relative_to(ROOT).with_suffix("").as_posix()


def toc_pages() -> list[str]:
    """The table of contents' pages, in order, as paths without a suffix."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"]] + [page["file"] for chapter in chapters for page in (chapter, *chapter.get("sections", ()))]


@pytest.fixture(scope="session")
def html() -> Path:
    """The folder of the built pages."""
    if not (HTML / "execution.json").exists():
        pytest.skip("the book is not built: run `make book`")
    return HTML


@pytest.fixture(scope="session")
def site(html):
    """The address of the built pages."""
    from chromium import served

    with served(html) as address:
        yield address


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium, which logs what it asks for."""
    from browser import started

    with started(log=True) as driver:
        yield driver


@pytest.fixture
def unseen():
    """Figures in the book's style that no window shows, and that nothing remembers."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    from eamlib import plots

    before = plt.get_backend()
    plt.switch_backend("agg")
    with mpl.rc_context():
        plots.style()
        yield
    plt.close("all")
    plt.switch_backend(before)
