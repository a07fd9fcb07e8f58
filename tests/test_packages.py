"""What ``import eamlib`` brings, and what it does not."""

import subprocess
import sys

import pytest

import eamlib

HEAVY = (
    "torchvision",
    "sklearn",
    "skimage",
    "matplotlib",
    "seaborn",
    "pandas",
    "fvcore",
    "scipy",
    "onnx",
    "safetensors",
)


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_packages_load_when_they_are_touched():
    code = """
import sys, eamlib
assert "eamlib.data" not in sys.modules and {"data", "training", "redundancy", "plots"} <= {*dir(eamlib)}
print(len(eamlib.data.load("digits")), eamlib.training.fit.__name__, eamlib.redundancy.__name__, eamlib.plots.__name__)
"""
    assert run(code).split() == ["1433", "fit", "eamlib.redundancy", "eamlib.plots"]


def test_the_import_is_light():
    assert run(f"import sys, eamlib; print([name for name in {HEAVY} if name in sys.modules])").strip() == "[]"


@pytest.mark.parametrize(("name", "module"), eamlib._ON_TOUCH.items())
def test_every_package_that_is_named_is_there(name, module):
    assert getattr(eamlib, name).__name__ == module


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'eamlib' has no attribute 'dataset'"):
        eamlib.dataset  # noqa: B018
