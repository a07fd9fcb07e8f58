"""What is public in the library, and the examples in its docstrings."""

import doctest
import importlib
import inspect
from types import ModuleType

import torch

# The modules that the API reference promises to list, every public function and class of them.
MODULES = (
    "eamlib",
    "eamlib.functional",
    "eamlib.functional.roofline",
    "eamlib.bench.timing",
    "eamlib.layers",
    "eamlib.models",
    "eamlib.models.mobilenet_v1",
    "eamlib.models.mobilenet_v2",
    "eamlib.models.mobilenet_v3",
    "eamlib.models.resnet",
    "eamlib.models.shufflenet_v2",
    "eamlib.models.fcn",
    "eamlib.models.dy_mobile",
    "eamlib.models.dy_shuffle",
    "eamlib.models.dy_resnet",
    "eamlib.data",
    "eamlib.data.imagenet",
    "eamlib.data.segmentation",
    "eamlib.data.augmentation",
    "eamlib.training.recipe",
    "eamlib.training",
    "eamlib.training.lock",
    "eamlib.papers.records",
    "eamlib.analysis.watch",
    "eamlib.training.exchanged",
    "eamlib.redundancy",
    "eamlib.plots",
    "eamlib.book.explore",
    "eamlib.book.steps",
    "eamlib.book.exercises",
    "eamlib.papers.eam",
    "eamlib.papers.dynet",
    "eamlib.papers.accuracy",
    "eamlib.papers.statistics",
    "eamlib.papers.training_runs",
    "eamlib.papers.reproduce",
    "eamlib.book.plans",
    "eamlib.book.report",
    "eamlib.book.findings",
    "eamlib.book.contrasts",
    "eamlib.book.comparisons",
    "eamlib.book.claims",
    "eamlib.book.printed_figures",
    "eamlib.book.dy_shuffle",
    "eamlib.book.weights",
    "eamlib.book.networks",
    "eamlib.book.redundancy_records",
)


def public(module: ModuleType) -> dict[str, object]:
    """Its public names: ``__all__``; without one, what it defines and its constants. Of an architecture, the networks
    that :func:`eamlib.create_model` makes."""
    own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    if module.__name__.startswith("eamlib.models."):
        from eamlib import list_models

        return {name: own[name] for name in list_models() if _is_of(module, own.get(name))}
    if hasattr(module, "__all__"):
        return {name: own[name] for name in module.__all__}
    return {name: value for name, value in own.items() if name.isupper() or _is_of(module, value)}


def _is_of(module: ModuleType, value: object) -> bool:
    return getattr(value, "__module__", None) == module.__name__


def documented() -> dict[str, object]:
    """Every public function and class of :data:`MODULES`, once, by its full name."""
    found = {}
    for name in MODULES:
        for own, value in public(importlib.import_module(name)).items():
            if (inspect.isclass(value) or inspect.isroutine(value)) and value not in found.values():
                found[f"{name}.{own}"] = value
    return found


def run(name: str) -> None:
    """Run the example of a public name, after ``import torch, eamlib``, ``from torch import nn`` and ``import *`` from
    its module."""
    module, _, own = name.rpartition(".")
    names = {"torch": torch, "nn": torch.nn, "eamlib": importlib.import_module("eamlib")}
    names |= public(importlib.import_module(module))
    example = doctest.DocTestParser().get_doctest(inspect.getdoc(names[own]), names, name, name, 0)
    assert example.examples, f"{name} has no example"
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    torch.manual_seed(0)
    assert runner.run(example, out=said.append).failed == 0, "".join(said)
