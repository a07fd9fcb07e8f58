"""The set-up cell in a new environment that has what Colab ships, and where the repository is not at hand.

The environment is made of Colab's own versions (``colab_packages.txt``), but for PyTorch: its five gigabytes are linked
from the environment that runs the tests. The set-up cell runs to the letter; git and requests are told to take the
repository's address for a copy of this working tree.

It takes a minute or two, and is all that tries, before a change is merged, whether pip finds versions that leave
Colab's alone. The chapters are not run again: the book's build runs them, and each week Colab's own image does.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from conftest import ADDRESS, NOTEBOOKS, PROJECT, ROOT
from exercises import parse
from packaging.requirements import Requirement
from test_project import repository_files

LISTED = [
    Requirement(line)
    for line in (ROOT / "tests" / "colab_packages.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
LINKED = re.compile(r"torch|torchvision|triton|(nvidia|cuda)[-_].*")
# Beside .venv, so that the two are in one file system and can share files.
HERE = ROOT / "_build" / "colab"
# The chapters' records come from the repository, which the tests do not ask for: it may be older, or not yet there.
# What is asked for must be of the very commit that the set-up cell installed.
PUBLISHED = f"""
import io, pathlib, subprocess, requests

repository = {str(HERE / "repository")!r}

def send(self, request, **_):
    commit = subprocess.check_output(["git", "-C", repository, "rev-parse", "HEAD"], text=True).strip()
    address = "{ADDRESS.replace("github.com", "raw.githubusercontent.com")}/" + commit + "/"
    assert request.url.startswith(address), request.url + " is not of the repository at " + commit
    file = pathlib.Path(repository, request.url.removeprefix(address))
    answer = requests.Response()
    answer.status_code = 200 if file.is_file() else 404
    answer.raw = io.BytesIO(file.read_bytes() if file.is_file() else b"")
    answer.url = request.url
    return answer

requests.adapters.HTTPAdapter.send = send
"""


def test_our_ranges_hold_what_colab_ships():
    """Else its version would be replaced, which Colab's own packages do not survive, or nothing could be installed."""
    project = PROJECT["project"]
    ours = map(Requirement, project["dependencies"] + project["optional-dependencies"]["notebooks"])
    ships = {listed.name: str(listed.specifier).removeprefix("==") for listed in LISTED}
    assert not [str(need) for need in ours if need.name in ships and ships[need.name] not in need.specifier]


def run(*command: str | Path, **options) -> str:
    """What a command printed; where it failed, all that it said is in the failure."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, re.sub(r"\x1b\[[\d;]*m", "", f"{done.stdout[-3000:]}\n{done.stderr[-8000:]}")
    return done.stdout


@pytest.fixture(scope="module")
def repository():
    """This working tree, as a commit of it would be cloned."""
    run("rm", "-rf", HERE)
    folder = HERE / "repository"
    for path in repository_files():
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    git = "git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-C", folder
    run(*git, "init", "--quiet", "--initial-branch=main")
    run(*git, "add", "--all", "--force")
    run(*git, "commit", "--quiet", "--no-verify", "--message=The working tree")
    yield folder
    run("rm", "-rf", HERE)  # its links would keep the gigabytes of an environment that is deleted


@pytest.fixture(scope="module")
def colab(repository):
    """The new environment's Python, before any notebook has run."""
    if sys.version_info[:2] not in [(3, 11), (3, 12)]:
        pytest.skip("some of Colab's versions are made for Python 3.11 and 3.12 only")
    run(sys.executable, "-m", "venv", HERE / "venv")
    python = HERE / "venv" / "bin" / "python"
    try:
        run(python, "-m", "pip", "install", "--quiet", *(str(p) for p in LISTED if p.name == "pip"))
    except AssertionError:
        pytest.skip("no package index can be reached")
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    for distribution in metadata.distributions():
        if LINKED.fullmatch(distribution.name.lower()):
            for file in distribution.files:
                if ".." not in file.parts:  # no command of theirs is needed
                    link(Path(file.locate()), site / file)
    wanted = [str(listed) if not LINKED.fullmatch(listed.name) else listed.name for listed in LISTED]
    run(python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", *wanted)
    run(python, "-m", "pip", "check")
    (site / "published.py").write_text(PUBLISHED)
    (site / "published.pth").write_text("import published\n")
    return python


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:  # another file system
        shutil.copy2(source, target)


def versions(python) -> set[str]:
    return set(run(python, "-m", "pip", "list", "--format=freeze").split())


@pytest.fixture(scope="module")
def environment(repository):
    """The variables of a process there: nothing of ours, and the repository's address leads to the copy."""
    ours = "PYTHON", "JUPYTER", "MPL"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"EAMLIB_BUDGET": "smoke", "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    environment["EAMLIB_DATA"] = str(HERE / "data")
    environment["JUPYTER_PATH"] = str(HERE / "venv" / "share" / "jupyter")
    environment |= {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": ADDRESS,
        "PATH": f"{HERE / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    return environment


@pytest.fixture(scope="module")
def execute(colab, environment):
    """A function that executes a notebook in an empty folder and returns it."""

    def execute(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
        file = HERE / "content" / name / f"{name}.ipynb"
        file.parent.mkdir(parents=True)
        nbformat.write(notebook, file)
        run(colab.with_name("jupyter"), "execute", "--inplace", file, env=environment)
        return nbformat.read(file, as_version=4)

    return execute


def test_list_is_as_on_colab(colab):
    """What has to come by the set-up cell is not there yet, and all else is."""
    there = versions(colab)
    assert {str(listed) for listed in LISTED if not LINKED.fullmatch(listed.name)} <= there
    assert not [entry for entry in there if re.match(r"eamlib|fvcore|jupyterquiz|onnx", entry, re.IGNORECASE)]


@pytest.fixture(scope="module")
def set_up(colab, execute):
    """What the first lines of the set-up cell print, and the versions before and after them."""
    source = next(cell.source for cell in nbformat.read(NOTEBOOKS[0], as_version=4).cells if cell.cell_type == "code")
    lines, _ = source.split("\nimport ", 1)
    cell = nbformat.v4.new_code_cell(f"{lines}\nprint(eamlib.__file__)")
    before = versions(colab)
    [cell] = execute(nbformat.v4.new_notebook(cells=[cell]), "set_up").cells
    return "".join(output.text for output in cell.outputs), before, versions(colab)


def test_set_up_cell_adds_and_changes_nothing(set_up):
    said, before, after = set_up
    assert before < after
    assert {entry.split("==")[0].lower() for entry in after - before} >= {"eamlib", "fvcore", "jupyterquiz", "onnx"}
    assert "ERROR" not in said
    assert said.split()[-1].startswith(str(HERE / "venv")), "the installed library is the one imported"


FETCH = """
from eamlib.book import weights
from eamlib.papers import records

assert records.published("tables/tricks-digits-smoke.json")["rows"]
assert weights.load("fashion_mnist/mobilenet_v1-x0.25-static-e5-seed0")
"""


def test_chapters_find_what_they_import_and_what_they_fetch(set_up, execute):
    """An import is what breaks first with other versions, and what is fetched lies beside the book's build."""
    cells = [cell for path in NOTEBOOKS for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    nodes = [node for cell in cells for node in ast.walk(parse(cell.source))]
    imports = sorted({ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)})
    assert len(imports) > 50
    sources = ["\n".join(imports), FETCH]
    execute(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources]), "chapters")


def test_script_for_colabs_image_tells_what_fails_and_what_changed(set_up, environment, tmp_path):
    """The weekly build runs it in the image; here it has our likeness of it, from which it removes a package."""
    cells = {"good": ["import eamlib"], "bad": ["%pip uninstall --quiet --yes einops", "1 / 0"]}
    for name, sources in cells.items():
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    content = tmp_path / "content"
    content.mkdir()
    command = "bash", str(ROOT / "tests" / "in_colab.sh"), str(tmp_path / "good.ipynb"), str(tmp_path / "bad.ipynb")
    done = subprocess.run(command, cwd=content, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Failed: bad.ipynb" in done.stdout and "set-up cell: einops==0.8.2" in done.stdout
    assert "einops==0.8.2" in (content / "colab" / "packages.txt").read_text().split()
